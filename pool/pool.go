// Package pool turns scaler's types into Kubernetes objects and back, through client-go.
//
// The package promises:
//
//   - Create makes a pod under the name that the caller chose, and the pod counts exactly once from then on.
//   - A deletion removes exactly the pod or the cache slot that the caller looked at, or nothing.
//   - What belongs to a pod (the pod's Secret) is deleted with the pod.
//   - Observe returns all pods and cache slots of the instance, or an error: "not readable" is never "none".
//
// The package never decides which agent to create or to remove. The package never deletes anything but a pod
// or a cache slot that the caller named. The package never changes an object that does not have this
// instance's label, never reads a Secret, and knows nothing of Jenkins but its URL.
package pool

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

const (
	// callTimeout is the most that one request may take, so that a silent API server cannot stop the loop.
	callTimeout = 15 * time.Second
	// minCallTimeout is that in the wall's time, however fast a simulated clock runs.
	minCallTimeout = 5 * time.Second
	startLimit     = time.Minute // how long Start waits for the API server
)

// Config holds what New needs.
type Config struct {
	Client   kubernetes.Interface
	Instance string // the owner of the pods: the value of LabelInstance
	Specs    []Spec
	Clock    clock.Clock // nil: the computer's clock
	Log      *zap.Logger // nil: no log
	// FailFast has Start fail at once if no server listens at the address, or if the server's name is
	// unknown, since a person waits. A daemon waits, since both may pass.
	FailFast bool
}

// Client reads and writes the pods and cache slots of one instance.
type Client struct {
	cfg        Config
	specs      map[scaler.PoolID]Spec
	namespaces map[string]namespace
	logsDenied atomic.Bool // the log has the warning that Bellboard may not read agents' logs
}

// A namespace holds the caches of one Kubernetes namespace.
type namespace struct {
	pods   *podCache
	claims *cache[*corev1.PersistentVolumeClaim, scaler.Slot]
}

// New makes a client of settings that have no mistakes. New sends no request.
func New(cfg Config) *Client {
	cfg.Clock, cfg.Log = cmp.Or(cfg.Clock, clock.Real()), cmp.Or(cfg.Log, zap.NewNop())
	c := &Client{cfg: cfg, specs: map[scaler.PoolID]Spec{}, namespaces: map[string]namespace{}}
	hasSlots := map[string]bool{} // by namespace: a pool there keeps its cache
	for _, s := range cfg.Specs {
		c.specs[s.PoolID] = s
		hasSlots[s.Namespace] = hasSlots[s.Namespace] || s.HasClaim()
	}
	for ns := range hasSlots {
		pods := &podCache{newCache(c, ns, "pods", convert), map[string]*scaler.Pod{}, map[string]time.Time{}}
		claims := newCache(c, ns, pvcs, convertClaim)
		claims.optional = !hasSlots[ns]
		c.namespaces[ns] = namespace{pods, claims}
	}
	return c
}

// Start begins to follow the pods and cache slots of every namespace until ctx ends. Start returns when all
// of them are known, or with the reason why they cannot be. After an error nothing runs any more.
func (c *Client) Start(ctx context.Context) (err error) {
	ctx, fail := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer func() {
		if err != nil {
			fail(err)
			running.Wait()
		}
	}()
	for _, n := range c.namespaces {
		running.Go(func() { n.pods.run(ctx, fail) })
		running.Go(func() { n.claims.run(ctx, fail) })
	}
	limit, stop := context.WithTimeout(ctx, c.cfg.Clock.Wall(startLimit))
	defer stop()
	for _, n := range c.namespaces {
		if err := cmp.Or(n.pods.waitReady(ctx, limit), n.claims.waitReady(ctx, limit)); err != nil {
			return err
		}
	}
	return nil
}

// Why returns the API server's error that keeps Start waiting; nil: the API server has told none yet.
func (c *Client) Why() error {
	for _, n := range c.namespaces {
		if err := n.pods.lastError(); err != nil {
			return err
		}
	}
	return nil
}

// Observe returns all pods and cache slots of the instance, sorted by name, with the pods that were created
// and are not in the cache yet. If a namespace has not been listed yet, or its watch has been broken for too
// long, Observe returns an error. Observe sends no request.
func (c *Client) Observe(ctx context.Context) (scaler.ClusterView, error) {
	if err := ctx.Err(); err != nil {
		return scaler.ClusterView{}, err
	}
	view := scaler.ClusterView{At: c.cfg.Clock.Now()}
	var pods []*scaler.Pod
	var slots []*scaler.Slot
	for _, n := range c.namespaces {
		somePods, podsAt, podsErr := n.pods.view()
		someSlots, slotsAt, slotsErr := n.claims.view()
		if err := cmp.Or(podsErr, slotsErr); err != nil {
			return scaler.ClusterView{}, err
		}
		pods, slots = append(pods, somePods...), append(slots, someSlots...)
		view.At = slices.MinFunc([]time.Time{view.At, podsAt, slotsAt}, time.Time.Compare)
	}
	view.Pods = sorted(pods, func(p *scaler.Pod) string { return p.Name })
	view.Slots = sorted(slots, func(s *scaler.Slot) string { return s.Name })
	classifyUnboundClaims(&view)
	return view, nil
}

// sorted returns copies of the objects, sorted by name. No two agents and no two slots have one name.
func sorted[T any](objects []*T, name func(*T) string) []T {
	slices.SortFunc(objects, func(a, b *T) int { return strings.Compare(name(a), name(b)) })
	out := make([]T, len(objects))
	for i, o := range objects {
		out[i] = *o
	}
	return out
}

// Absent reports whether no pod of that name exists. Absent asks the API server for each namespace that has
// agents, since the pool's namespace may have been changed after the pod was created.
func (c *Client) Absent(ctx context.Context, name string) (bool, error) {
	for ns := range c.namespaces {
		_, err := c.getPod(ctx, ns, name)
		switch {
		case err == nil:
			return false, nil
		case !apierrors.IsNotFound(err):
			return false, wrap("look for pod "+name, err)
		}
	}
	return true, nil
}

func (c *Client) getPod(ctx context.Context, ns, name string) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	return pod, c.send(ctx, objectKey{"pods", ns, name}, c.rest().Get()).Into(pod)
}

// An objectKey says where an object is in the API. A list and an object to be created have no name.
type objectKey struct{ resource, ns, name string }

func (c *Client) rest() rest.Interface { return c.cfg.Client.CoreV1().RESTClient() }

// send sends one request, with a time limit.
func (c *Client) send(ctx context.Context, key objectKey, request *rest.Request) rest.Result {
	ctx, cancel := context.WithTimeout(ctx, max(c.cfg.Clock.Wall(callTimeout), minCallTimeout))
	defer cancel()
	if key.name != "" {
		request.Name(key.name)
	}
	return request.Namespace(key.ns).Resource(key.resource).Do(ctx)
}

func (c *Client) create(ctx context.Context, resource string, o apiObject) rest.Result {
	return c.send(ctx, objectKey{resource, o.GetNamespace(), ""}, c.rest().Post().Body(o))
}
