package pool

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// deletionGraceSeconds is the grace of Bellboard's deletions, and tells them from others':
// people and tools give 0, 1, 30, or the pod's own. The agent is idle, so the grace is short.
// preStop sleeps through all of it, and then the kubelet gives each container two seconds to
// end. That is enough for an agent, and for a Docker daemon to tell its last words and to
// leave its data clean. It is well under the ten seconds after which a Swarm client would
// register itself anew.
const deletionGraceSeconds = 2

// Create makes or takes the cache slot, then creates the agent's pod under that
// name. A pod of that name that is there already and was made from the same settings
// is the answer, too: an earlier try whose answer was lost. A spare is made as Unprotect
// leaves a pod.
func (p *Client) Create(ctx context.Context, name string, id scaler.PoolID, slot scaler.Slot, birth scaler.Birth) (scaler.Pod, error) {
	s, err := p.spec(id)
	if err != nil {
		return scaler.Pod{}, err
	}
	if s.HasClaim() {
		if slot.Name == "" || slot.Namespace != s.Namespace {
			return scaler.Pod{}, fmt.Errorf("create pod %s: it needs a cache slot in namespace %s, not %q in %q", name, s.Namespace, slot.Name, slot.Namespace)
		}
		if err := p.take(ctx, &s, &slot); err != nil {
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
	if birth.Spare {
		delete(want.Labels, LabelBusy)
		delete(want.Annotations, annotationDoNotDisrupt)
		want.Annotations[annotationSafeToEvict] = "true"
	}
	var made *corev1.Pod
	err = p.call(ctx, "create", "pods", func(ctx context.Context) error {
		made, err = p.client.CoreV1().Pods(s.Namespace).Create(ctx, want, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		var lookupErr error
		if made, lookupErr = p.findCreated(ctx, want, err); made == nil {
			remedy := s.QuotaRemedy(err)
			err = p.classifyRejection(ctx, want.Namespace, needsOf(&want.Spec), createError(err))
			if remedy != "" {
				err = fmt.Errorf("%w; %s", err, remedy)
			}
			if lookupErr != nil {
				err = fmt.Errorf("%w; and whether it was made nevertheless cannot be seen: %w", err, lookupErr)
			}
			return scaler.Pod{}, wrap("create pod "+name, err)
		}
	}
	return p.follower(s.Namespace).created(made), nil
}

// findCreated looks whether the pod is there after a creation that failed with
// an error that leaves it possible. nil: it is not, or the error says why nobody
// knows.
func (p *Client) findCreated(ctx context.Context, want *corev1.Pod, failure error) (*corev1.Pod, error) {
	if !apierrors.IsAlreadyExists(failure) && !outcomeUnknown(failure) {
		return nil, nil
	}
	var got *corev1.Pod
	err := p.call(ctx, "get", "pods", func(ctx context.Context) error {
		var err error
		got, err = p.client.CoreV1().Pods(want.Namespace).Get(ctx, want.Name, metav1.GetOptions{})
		return err
	})
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

// PutSecret makes what an inbound agent's pod waits for, owned by the pod, so that
// it goes with it. What exists is as good.
func (p *Client) PutSecret(ctx context.Context, pod scaler.Pod, secret string) error {
	f := p.follower(pod.Namespace)
	if f == nil {
		return fmt.Errorf("pod %s: no agents are configured in namespace %s", pod.Name, pod.Namespace)
	}
	switch {
	case !f.has(pod.Name, types.UID(pod.UID)):
		return wrap("pod "+pod.Name, scaler.ErrGone)
	case secret == "":
		return fmt.Errorf("pod %s: an inbound agent needs its secret", pod.Name)
	}
	labels := (&Spec{PoolID: pod.PoolID, Instance: p.instance}).labels()
	err := p.call(ctx, "create", "secrets", func(ctx context.Context) error {
		_, err := p.client.CoreV1().Secrets(pod.Namespace).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, Labels: labels, OwnerReferences: ownerReference(&pod)},
			Type:       corev1.SecretTypeOpaque,
			Immutable:  new(true),
			Data:       map[string][]byte{inboundSecretKey: []byte(secret)},
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return wrap("create the Secret of "+pod.Name, p.classifyRejection(ctx, pod.Namespace, secretNeeds, createError(err)))
	}
	return nil
}

// Annotate notes on the pod, and on no later one of its name, that its node was
// online once.
func (p *Client) Annotate(ctx context.Context, pod scaler.Pod) error {
	return p.patch(ctx, "annotate", &pod, map[string]any{
		"annotations": map[string]any{AnnotationConnected: p.clock.Now().UTC().Format(time.RFC3339)},
	}, time.Time{})
}

// Protect puts on the pod what makes drains of its machine, and the autoscalers
// that ask for one, wait for it.
func (p *Client) Protect(ctx context.Context, pod scaler.Pod) error {
	return p.patch(ctx, "protect", &pod, map[string]any{
		"labels":      map[string]any{LabelBusy: "true"},
		"annotations": map[string]any{annotationSafeToEvict: "false", annotationDoNotDisrupt: "true"},
	}, time.Time{})
}

// Unprotect takes that from exactly this version of the pod, and not after the
// deadline: it may have a build by then. Cluster Autoscaler has to be told that the pod
// may go: it leaves a machine alone that has one without a controller, or with an emptyDir.
func (p *Client) Unprotect(ctx context.Context, pod scaler.Pod, deadline time.Time) error {
	return p.patch(ctx, "unprotect", &pod, map[string]any{
		"resourceVersion": pod.ResourceVersion,
		"labels":          map[string]any{LabelBusy: nil},
		"annotations":     map[string]any{annotationSafeToEvict: "true", annotationDoNotDisrupt: nil},
	}, deadline)
}

// patch changes what the pod, and no later one of its name, is described by, and
// not after the deadline (zero: whenever it can). A value of nil takes one away.
func (p *Client) patch(ctx context.Context, what string, pod *scaler.Pod, meta map[string]any, deadline time.Time) error {
	what += " pod " + pod.Name
	meta["uid"] = pod.UID
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return wrap(what, err)
	}
	client := p.client.CoreV1().RESTClient()
	limiter := orUnlimited(client.GetRateLimiter())
	if !deadline.IsZero() {
		limiter = deadlineLimiter{RateLimiter: limiter, clock: p.clock, deadline: deadline}
	}
	made := &corev1.Pod{}
	err = p.call(ctx, "patch", "pods", func(ctx context.Context) error {
		return client.Patch(types.MergePatchType).Namespace(pod.Namespace).Resource("pods").Name(pod.Name).Body(patch).Throttle(limiter).Do(ctx).Into(made)
	})
	switch {
	case err == nil:
		if f := p.follower(pod.Namespace); f != nil {
			f.edited(made)
		}
		return nil
	case apierrors.IsInvalid(err):
		// The only thing in the patch that can be invalid is another pod's UID.
		err = fmt.Errorf("%w: %w", scaler.ErrChanged, err)
	default:
		err = changeError(err)
	}
	return wrap(what, err)
}

// DeletePod deletes exactly the pod that was looked at: another of its name, or
// a later version of it, is left alone (ErrChanged). The deadline is checked on
// the clock after client-go's own queue of requests, so nothing is sent late.
func (p *Client) DeletePod(ctx context.Context, pod scaler.Pod, deadline time.Time) error {
	if pod.UID == "" || pod.ResourceVersion == "" {
		return fmt.Errorf("delete pod %s: neither its UID nor its version may be unknown", pod.Name)
	}
	client := p.client.CoreV1().RESTClient()
	options := &metav1.DeleteOptions{
		GracePeriodSeconds: new(int64(deletionGraceSeconds)),
		Preconditions:      &metav1.Preconditions{UID: new(types.UID(pod.UID)), ResourceVersion: &pod.ResourceVersion},
	}
	err := p.call(ctx, "delete", "pods", func(ctx context.Context) error {
		return client.Delete().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).Body(options).
			Throttle(deadlineLimiter{RateLimiter: orUnlimited(client.GetRateLimiter()), clock: p.clock, deadline: deadline}).
			Do(ctx).Error()
	})
	if err != nil {
		return wrap("delete pod "+pod.Name, changeError(err))
	}
	if f := p.follower(pod.Namespace); f != nil {
		f.deleted(&pod)
	}
	p.left(ctx, &pod)
	return nil
}

// ownerReference lets the garbage collector remove what belongs to a pod that is gone.
func ownerReference(pod *scaler.Pod) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: types.UID(pod.UID)}}
}

// deadlineLimiter is a rate limiter that lets nothing pass after a deadline. client-go
// asks it before it sends a request, and before it repeats one.
type deadlineLimiter struct {
	flowcontrol.RateLimiter
	clock    clock.Clock
	deadline time.Time
}

// Wait waits for the limiter's turn, then looks at the clock. What is late before
// takes nobody's turn.
func (t deadlineLimiter) Wait(ctx context.Context) error {
	if t.clock.Now().Before(t.deadline) {
		if err := t.RateLimiter.Wait(ctx); err != nil {
			return err
		}
	}
	if late := t.clock.Now().Sub(t.deadline); late > 0 {
		return fmt.Errorf("%w (by %s)", scaler.ErrLate, late)
	}
	return nil
}

// orUnlimited is for clients that were told not to limit themselves.
func orUnlimited(l flowcontrol.RateLimiter) flowcontrol.RateLimiter {
	if l == nil {
		return flowcontrol.NewFakeAlwaysRateLimiter()
	}
	return l
}
