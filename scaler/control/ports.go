// Package control is the loop: observe, decide, act, record. It owns time, the hold, the restart grace and
// the write deadline. No other package makes both Jenkins and the cluster do something. control never
// decides: scaler does. control speaks no HTTP: queue and pool do.
package control

import (
	"context"
	"time"

	"bellboard/scaler"
)

// Jenkins is what the loop needs of Jenkins.
type Jenkins interface {
	// Observe asks for the Jenkins nodes, then for the queue. It returns a complete view or an error: "could
	// not read" is never "there is nothing". scaler.CauseOf gives the class of the error. The error is
	// scaler.ErrAway if Jenkins answers nothing at all.
	Observe(ctx context.Context) (scaler.JenkinsView, error)
	// Register makes an inbound Jenkins node: a berth. The deadline is as Mark's. scaler.ErrExists: the name
	// is taken.
	Register(ctx context.Context, name string, pool scaler.Pool, deadline time.Time) error
	// Fence makes an inbound Jenkins node without labels, which keeps a Swarm client of that name out. The
	// deadline is as Mark's. scaler.ErrExists: the client was quicker.
	Fence(ctx context.Context, name string, id scaler.PoolID, deadline time.Time) error
	// Secret reads the secret with which an agent of that name connects. scaler.ErrGone: no such Jenkins
	// node.
	Secret(ctx context.Context, name string) (string, error)
	// Launch has Jenkins call the agent of that node, and does not wait for the connection. scaler.ErrGone:
	// no such Jenkins node.
	Launch(ctx context.Context, name string) error
	// Mark sets the temporary-offline text of a Jenkins node. The deadline is on the loop's clock, and is
	// checked just before the request is sent. scaler.ErrGone: no such Jenkins node.
	Mark(ctx context.Context, name, text string, deadline time.Time) error
	// ClearMark lifts our mark or the hook's: read, toggle with our own text as the message, read. A lost
	// race then leaves our mark, and not a stranger's. ClearMark leaves a Jenkins node alone that carries
	// neither mark (nil).
	ClearMark(ctx context.Context, name, text string) error
	// StillIdle asks anew whether the Jenkins node is idle, and carries the same mark as in seen, or none as
	// in seen. A node that is gone is not idle. When ctx ends, the error is its cause.
	StillIdle(ctx context.Context, seen scaler.Node) (bool, error)
	// DeleteNode deletes a Jenkins node. The deadline is as Mark's. scaler.ErrGone: done already.
	DeleteNode(ctx context.Context, name string, deadline time.Time) error
}

// Cluster is what the loop needs of Kubernetes.
type Cluster interface {
	// Observe returns the cached pods and cache slots of this instance, with pods that were created and are
	// not cached yet. If the caches cannot be trusted, Observe returns an error with its class.
	Observe(ctx context.Context) (scaler.ClusterView, error)
	// Create creates the agent's pod under that name, on that cache slot. The zero Slot means that the pool
	// keeps no cache. A slot without a UID is made; another slot is used if it is as it was seen. After
	// scaler.ErrRejected, scaler.ErrExists and scaler.ErrChanged (of the slot) no pod exists. Any other error
	// leaves open whether the pod exists. scaler.FailureIn gives the class of the failure. Others may evict a
	// spare pod at once, and any other pod after Unprotect.
	Create(ctx context.Context, name string, pool scaler.PoolID, slot scaler.Slot, birth scaler.Birth) (scaler.Pod, error)
	// PutSecret creates the pod's Secret, which the pod owns. A Secret that exists is as good (nil). Errors
	// are as Create's.
	PutSecret(ctx context.Context, pod scaler.Pod, secret string) error
	// Annotate notes on the pod that its Jenkins node was online once.
	Annotate(ctx context.Context, pod scaler.Pod) error
	// Protect tells others not to evict the pod.
	Protect(ctx context.Context, pod scaler.Pod) error
	// Unprotect tells others that they may evict exactly this version of the pod. Deadline and errors are as
	// DeletePod's.
	Unprotect(ctx context.Context, pod scaler.Pod, deadline time.Time) error
	// DeletePod deletes exactly this version of the pod, with the short grace that marks a deletion of
	// Bellboard's. scaler.ErrChanged: the pod has another version, or another pod has the name.
	// scaler.ErrGone: no such pod.
	DeletePod(ctx context.Context, pod scaler.Pod, deadline time.Time) error
	// DeleteSlot deletes exactly this version of the claim. Deadline and errors are as DeletePod's.
	DeleteSlot(ctx context.Context, slot scaler.Slot, deadline time.Time) error
	// LastLog reads the last lines of the failed container's log, in bounded time and length, without text
	// that looks like a secret; "": none.
	LastLog(ctx context.Context, pod scaler.Pod) (string, error)
	// Absent asks the API server itself, and no cache, whether no pod of that name exists.
	Absent(ctx context.Context, name string) (bool, error)
}

// Store keeps what the loop has learnt, for the next process.
type Store interface {
	// Load returns what was saved last, or nil if there is nothing.
	Load(ctx context.Context) ([]byte, error)
	// Save replaces what Load or Save has seen last. scaler.ErrChanged: there is something else now, or
	// nothing any more. Load has to see that first.
	Save(ctx context.Context, data []byte) error
	// Delete removes what was saved, if there is anything.
	Delete(ctx context.Context) error
}
