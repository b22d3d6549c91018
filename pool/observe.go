package pool

import (
	"cmp"
	"context"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/scaler"
)

// Observe returns all pods and cache slots of the instance by name: those of the
// caches, and pods created that no cache shows yet. It asks nobody. It is an error when one
// namespace has not been listed, or when its watch has been broken for too long.
func (p *Client) Observe(ctx context.Context) (scaler.ClusterView, error) {
	if err := ctx.Err(); err != nil {
		return scaler.ClusterView{}, err
	}
	view := scaler.ClusterView{At: p.clock.Now()}
	var all []*scaler.Pod
	for _, f := range p.followers {
		pods, at, err := f.view(all)
		if err != nil {
			return scaler.ClusterView{}, err
		}
		all = pods
		if at.Before(view.At) {
			view.At = at
		}
	}
	slices.SortFunc(all, func(a, b *scaler.Pod) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
	})
	var claims []*scaler.Slot
	for _, f := range p.slots {
		slots, at, err := f.view(claims)
		if err != nil {
			return scaler.ClusterView{}, err
		}
		claims = slots
		if at.Before(view.At) {
			view.At = at
		}
	}
	slices.SortFunc(claims, func(a, b *scaler.Slot) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
	})
	for _, s := range claims {
		view.Slots = append(view.Slots, *s)
	}
	view.Pods = make([]scaler.Pod, len(all))
	for i, pod := range all {
		view.Pods[i] = *pod
	}
	classifyUnboundClaims(&view)
	return view, nil
}

// Absent asks the API server itself whether no pod of that name exists, in any
// namespace that agents may be in: a pool's namespace may have been changed
// since the pod was made.
func (p *Client) Absent(ctx context.Context, name string) (bool, error) {
	for _, f := range p.followers {
		err := p.call(ctx, "get", "pods", func(ctx context.Context) error {
			_, err := p.client.CoreV1().Pods(f.ns).Get(ctx, name, metav1.GetOptions{})
			return err
		})
		switch {
		case err == nil:
			return false, nil
		case !apierrors.IsNotFound(err):
			return false, wrap("look for pod "+name, err)
		}
	}
	return true, nil
}
