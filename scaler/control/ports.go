// Package control is the loop: observe, decide, act, record. It owns time, the
// hold, the restart grace, the write deadline and the back-off, and it is the
// only package that makes both Jenkins and the cluster do something. It never
// decides: that is scaler's, and it never speaks HTTP: that is queue's and pool's.
package control

import (
	"context"
	"time"

	"bellboard/scaler"
)

// Jenkins is what the loop needs of Jenkins.
type Jenkins interface {
	// Observe asks for the computers, then for the queue. It returns a complete
	// view or an error: "could not see" is never "there is nothing". scaler.CauseOf says of
	// which class the error is, scaler.ErrAway whether Jenkins answers nothing at all.
	Observe(ctx context.Context) (scaler.JenkinsView, error)
	// Register makes an inbound node: a berth, with a deadline as Mark's. scaler.ErrExists
	// when the name is taken.
	Register(ctx context.Context, name string, pool scaler.Pool, deadline time.Time) error
	// Fence makes an inbound node without labels that keeps a Swarm client of that
	// name out, with a deadline as Mark's. scaler.ErrExists: the client was quicker.
	Fence(ctx context.Context, name string, id scaler.PoolID, deadline time.Time) error
	// Secret reads the secret with which an agent of that name connects. scaler.ErrGone: no such node.
	Secret(ctx context.Context, name string) (string, error)
	// Launch has Jenkins call the node's agent, and does not wait for it to come.
	// scaler.ErrGone: no such node.
	Launch(ctx context.Context, name string) error
	// Mark sets the node's temporary-offline text. deadline is on the loop's
	// clock and is checked just before sending. scaler.ErrGone: no such node.
	Mark(ctx context.Context, name, text string, deadline time.Time) error
	// ClearMark lifts our mark or the hook's: read, toggle with our own text as the
	// message (a lost race then leaves our mark, not a stranger's), read. A node
	// that is not marked by us or the hook is left alone (nil).
	ClearMark(ctx context.Context, name, text string) error
	// StillIdle asks anew whether the node is idle and carries the very mark that it was
	// seen with, or none as then. It is not when it is gone. When ctx ends, its cause is
	// the error.
	StillIdle(ctx context.Context, seen scaler.Node) (bool, error)
	// DeleteNode deletes a node, with a deadline as Mark's. scaler.ErrGone: done already.
	DeleteNode(ctx context.Context, name string, deadline time.Time) error
}

// Cluster is what the loop needs of Kubernetes.
type Cluster interface {
	// Observe returns the cached pods of this instance merged with those created and
	// not cached yet, or an error when the caches cannot be trusted, with its class.
	Observe(ctx context.Context) (scaler.ClusterView, error)
	// Create creates the agent's pod under that name, on that cache slot (the zero
	// Slot: its agents keep none): it makes one that has no UID, and takes any other
	// if it is as it was seen. scaler.ErrRefused, scaler.ErrExists and scaler.ErrChanged (of the slot) are
	// definite: no pod was made; any other error leaves open whether it exists.
	// scaler.Because says which class of failure it is. Others may evict a spare at once,
	// any other agent not before Unprotect.
	Create(ctx context.Context, name string, pool scaler.PoolID, slot scaler.Slot, birth scaler.Birth) (scaler.Pod, error)
	// PutSecret creates the pod's Secret, owned by the pod. Exists = done (nil).
	// scaler.ErrRefused as said above; scaler.Because says which class of failure it is.
	PutSecret(ctx context.Context, pod scaler.Pod, secret string) error
	// Annotate notes on the pod that its node was online once.
	Annotate(ctx context.Context, pod scaler.Pod) error
	// Protect tells others not to evict the pod.
	Protect(ctx context.Context, pod scaler.Pod) error
	// Unprotect tells others that they may evict exactly this version of the pod,
	// with a deadline as DeletePod's. scaler.ErrChanged, scaler.ErrGone as said above.
	Unprotect(ctx context.Context, pod scaler.Pod, deadline time.Time) error
	// DeletePod deletes exactly this pod (UID and resourceVersion as preconditions)
	// with the short grace that marks the deletion as Bellboard's. scaler.ErrChanged, scaler.ErrGone as said above.
	DeletePod(ctx context.Context, pod scaler.Pod, deadline time.Time) error
	// DeleteSlot deletes exactly this version of this claim, with a deadline as
	// DeletePod's. scaler.ErrChanged, scaler.ErrGone as said above.
	DeleteSlot(ctx context.Context, slot scaler.Slot, deadline time.Time) error
	// LastWords reads the last lines of the log of the pod's container at fault, in
	// bounded time and length, without what looks like a secret. "" is none.
	LastWords(ctx context.Context, pod scaler.Pod) (string, error)
	// Absent asks the API server itself (no cache) whether no pod of that name exists.
	Absent(ctx context.Context, name string) (bool, error)
}
