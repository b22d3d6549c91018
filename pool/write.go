package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// deletionGraceSeconds is the grace of Bellboard's deletions. The grace also tells Bellboard's deletions from
// others': people and tools give 0, 1, 30, or the pod's own grace.
//
// The grace is short, since the agent is idle and preStop sleeps through all of it. Then the kubelet gives
// each container two more seconds, enough for an agent, and for a Docker daemon to leave its data clean. A
// Swarm client would register itself again after ten seconds.
const deletionGraceSeconds = 2

// Create makes or takes the cache slot, then creates the agent's pod under that name. A pod that an earlier
// attempt has created from the same settings is as good, since that attempt's answer may have been lost.
func (c *Client) Create(
	ctx context.Context, name string, id scaler.PoolID, slot scaler.Slot, birth scaler.Birth,
) (scaler.Pod, error) {
	s, ok := c.specs[id]
	if !ok {
		return scaler.Pod{}, fmt.Errorf("no %s agents are configured for team %s", id.Kind, id.Team)
	}
	if s.HasClaim() {
		if slot.Name == "" || slot.Namespace != s.Namespace {
			return scaler.Pod{}, fmt.Errorf("create pod %s: the pod needs a cache slot in namespace %s, not %q in %q",
				name, s.Namespace, slot.Name, slot.Namespace)
		}
		if err := c.takeSlot(ctx, &s, &slot); err != nil {
			return scaler.Pod{}, wrap("create pod "+name, err)
		}
		s.Slot = slot.Name
	}
	want := Build(s, name)
	if s.HasClaim() {
		want.Annotations[AnnotationCache] = string(slot.Warmth())
	}
	if birth.Session != "" {
		want.Annotations[AnnotationSession] = birth.Session + " " + birth.Since.UTC().Format(time.RFC3339)
	}
	if birth.Spare { // as Unprotect leaves it
		delete(want.Labels, LabelBusy)
		delete(want.Annotations, annotationDoNotDisrupt)
		want.Annotations[annotationSafeToEvict] = "true"
	}
	made := &corev1.Pod{}
	if err := c.create(ctx, "pods", want).Into(made); err != nil {
		var lookupErr error
		if made, lookupErr = c.findCreated(ctx, want, err); made == nil {
			remedy := s.QuotaRemedy(err)
			err = c.createError(ctx, want.Namespace, podNeeds(want), err)
			if remedy != "" {
				err = fmt.Errorf("%w; %s", err, remedy)
			}
			if lookupErr != nil {
				err = fmt.Errorf("%w; Bellboard cannot see whether the pod was created nevertheless: %w", err, lookupErr)
			}
			return scaler.Pod{}, wrap("create pod "+name, err)
		}
	}
	pod := convert(made)
	pod.Requested = true
	c.namespaces[s.Namespace].pods.addWritten(pod)
	return *pod, nil
}

// findCreated looks for the pod after a creation that failed and may have been done nevertheless; nil: the
// pod does not exist. The error says why nobody knows.
func (c *Client) findCreated(ctx context.Context, want *corev1.Pod, failure error) (*corev1.Pod, error) {
	if !apierrors.IsAlreadyExists(failure) && !outcomeUnknown(failure) {
		return nil, nil
	}
	got, err := c.getPod(ctx, want.Namespace, want.Name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case got.DeletionTimestamp != nil,
		got.Labels[LabelInstance] != want.Labels[LabelInstance],
		got.Annotations[AnnotationSpecHash] != want.Annotations[AnnotationSpecHash]:
		return nil, nil
	}
	return got, nil
}

// PutSecret creates the Secret that an inbound agent's pod waits for. The garbage collector deletes the
// Secret with the pod, which owns it. A Secret that exists already is as good.
func (c *Client) PutSecret(ctx context.Context, pod scaler.Pod, secret string) error {
	n, ok := c.namespaces[pod.Namespace]
	switch {
	case !ok:
		return fmt.Errorf("pod %s: no agents are configured in namespace %s", pod.Name, pod.Namespace)
	case !n.pods.has(pod.Name, pod.UID):
		return wrap("pod "+pod.Name, scaler.ErrGone)
	case secret == "":
		return fmt.Errorf("pod %s: an inbound agent needs its secret", pod.Name)
	}
	owner := Spec{PoolID: pod.PoolID, Instance: c.cfg.Instance, Namespace: pod.Namespace}
	want := BuildSecret(owner, pod.Name, secret)
	want.OwnerReferences = ownerReference(&pod)
	err := c.create(ctx, "secrets", want).Error()
	if err == nil || apierrors.IsAlreadyExists(err) {
		return nil
	}
	err = c.createError(ctx, pod.Namespace, oneOf(corev1.ResourceSecrets), err)
	return wrap("create the Secret of "+pod.Name, err)
}

// BuildSecret makes the Secret of an inbound agent's pod, without its owner.
func BuildSecret(s Spec, name, secret string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.Namespace, Labels: s.labels()},
		Type:       corev1.SecretTypeOpaque,
		Immutable:  new(true),
		Data:       map[string][]byte{inboundSecretKey: []byte(secret)},
	}
}

func ownerReference(pod *scaler.Pod) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: types.UID(pod.UID)}}
}

// Annotate notes on the pod that its Jenkins node was online once.
func (c *Client) Annotate(ctx context.Context, pod scaler.Pod) error {
	return c.patchPod(ctx, "annotate", &pod, time.Time{}, map[string]any{
		"annotations": map[string]any{AnnotationConnected: c.timestamp()},
	})
}

// Protect has drains of a Kubernetes node, and autoscalers, wait for the pod.
func (c *Client) Protect(ctx context.Context, pod scaler.Pod) error {
	return c.patchPod(ctx, "protect", &pod, time.Time{}, map[string]any{
		"labels":      map[string]any{LabelBusy: "true"},
		"annotations": map[string]any{annotationSafeToEvict: "false", annotationDoNotDisrupt: "true"},
	})
}

// Unprotect lifts the protection from exactly this version of the pod, and not after the deadline, since the
// agent may have a build by then. Cluster Autoscaler needs an explicit "true": it keeps a Kubernetes node
// that has a pod with an emptyDir or without a controller.
func (c *Client) Unprotect(ctx context.Context, pod scaler.Pod, deadline time.Time) error {
	return c.patchPod(ctx, "unprotect", &pod, deadline, map[string]any{
		"resourceVersion": pod.ResourceVersion,
		"labels":          map[string]any{LabelBusy: nil},
		"annotations":     map[string]any{annotationSafeToEvict: "true", annotationDoNotDisrupt: nil},
	})
}

// patchPod merges metadata into exactly this pod, whatever its version. A value of nil removes a key.
func (c *Client) patchPod(
	ctx context.Context, verb string, pod *scaler.Pod, deadline time.Time, metadata map[string]any,
) error {
	metadata["uid"] = pod.UID
	patched := &corev1.Pod{}
	err := c.patch(ctx, objectKey{"pods", pod.Namespace, pod.Name}, deadline, metadata, patched)
	if err = changeError(err); err != nil {
		return wrap(verb+" pod "+pod.Name, err)
	}
	c.namespaces[pod.Namespace].pods.addWritten(convert(patched))
	return nil
}

// DeletePod deletes exactly the pod that the caller looked at. If another pod has the name, or the pod has
// changed, DeletePod returns ErrChanged.
func (c *Client) DeletePod(ctx context.Context, pod scaler.Pod, deadline time.Time) error {
	options := metav1.DeleteOptions{GracePeriodSeconds: new(int64(deletionGraceSeconds))}
	options.Preconditions = exactly(pod.UID, pod.ResourceVersion)
	if err := c.delete(ctx, objectKey{"pods", pod.Namespace, pod.Name}, deadline, &options); err != nil {
		return wrap("delete pod "+pod.Name, err)
	}
	c.namespaces[pod.Namespace].pods.markDeleted(&pod)
	c.leaveSlot(ctx, &pod)
	return nil
}

// patch merges metadata into an object, not after the deadline if there is one, and reads what the API server
// made of the object into out.
func (c *Client) patch(
	ctx context.Context, key objectKey, deadline time.Time, metadata map[string]any, out runtime.Object,
) error {
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	request := c.rest().Patch(types.MergePatchType).Body(body)
	if !deadline.IsZero() {
		request.Throttle(c.until(deadline))
	}
	return c.send(ctx, key, request).Into(out)
}

// exactly returns the precondition that an object has that UID and version.
func exactly(uid, version string) *metav1.Preconditions {
	return &metav1.Preconditions{UID: new(types.UID(uid)), ResourceVersion: &version}
}

// delete deletes exactly the version of an object that the options name, and not after the deadline.
func (c *Client) delete(ctx context.Context, key objectKey, deadline time.Time, o *metav1.DeleteOptions) error {
	if *o.Preconditions.UID == "" || *o.Preconditions.ResourceVersion == "" {
		return errors.New("neither the UID nor the version may be unknown")
	}
	request := c.rest().Delete().Body(o).Throttle(c.until(deadline))
	return changeError(c.send(ctx, key, request).Error())
}

func (c *Client) timestamp() string { return c.cfg.Clock.Now().UTC().Format(time.RFC3339) }

func (c *Client) until(deadline time.Time) flowcontrol.RateLimiter {
	return deadlineLimiter{c.rest().GetRateLimiter(), c.cfg.Clock, deadline}
}

// A deadlineLimiter is client-go's rate limiter, which then lets no request pass after a deadline. client-go
// calls Wait before it sends a request, and before it repeats a request.
type deadlineLimiter struct {
	flowcontrol.RateLimiter // nil: the configuration sets no limit
	clock                   clock.Clock
	deadline                time.Time
}

// Wait waits for a turn, then checks the deadline. A request that is late already takes no turn from others.
func (l deadlineLimiter) Wait(ctx context.Context) error {
	if l.RateLimiter != nil && l.clock.Now().Before(l.deadline) {
		if err := l.RateLimiter.Wait(ctx); err != nil {
			return err
		}
	}
	if late := l.clock.Now().Sub(l.deadline); late > 0 {
		return fmt.Errorf("%w (by %s)", scaler.ErrExpired, late)
	}
	return nil
}
