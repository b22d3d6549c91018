package pool

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	kclock "k8s.io/utils/clock"
	"k8s.io/utils/ptr"
)

const (
	// maxStale is how long Observe uses a cache after the cache's watch has broken.
	maxStale = 30 * time.Second
	// The pauses between two attempts to list and watch grow from minBackoff to maxBackoff. client-go's own
	// pauses grow to a minute after an outage, and every tick would hold that long.
	minBackoff = 500 * time.Millisecond
	maxBackoff = 4 * time.Second
)

// A cache holds this instance's objects of one resource in one namespace. client-go's reflector lists and
// watches the objects, and its store converts each from the API's type O to scaler's type T.
//
// The cache knows whether it is current, since it sees each watch begin and end, and each list arrive. While
// a watch is open, the cache counts as current. If a connection dies in silence, client-go's HTTP/2 pings end
// the watch within 45 s.
type cache[O apiObject, T any] struct {
	toolscache.Store // of *T; a stored *T never changes

	client   *Client
	ns       string
	resource string        // "pods"
	optional bool          // no decision needs the objects, so a missing right to list or watch is no failure
	ready    chan struct{} // closed after the first list, or when an optional cache has given up
	settle   func()        // closes ready

	mu      sync.Mutex
	open    bool            // a watch is open
	current bool            // a watch is open, and the cache has all that came before the watch
	asOf    time.Time       // when the cache was last current, while no watch is; zero: no list has arrived
	err     error           // the error of the last failed list or watch
	warned  map[string]bool // by verb: the log has the warning that the verb is forbidden
}

type apiObject interface {
	metav1.Object
	runtime.Object
}

func newCache[O apiObject, T any](c *Client, ns, resource string, convert func(O) *T) *cache[O, T] {
	ready := make(chan struct{})
	converted := toolscache.WithTransformer(func(obj any) (any, error) {
		o, ok := obj.(O)
		if !ok {
			return nil, fmt.Errorf("among %s: %T", resource, obj)
		}
		return convert(o), nil
	})
	return &cache[O, T]{
		Store: toolscache.NewStore(toolscache.MetaNamespaceKeyFunc, converted), client: c, ns: ns, resource: resource,
		ready: ready, settle: sync.OnceFunc(func() { close(ready) }), warned: map[string]bool{},
	}
}

// A protobufGetter asks for answers in protobuf, which is quicker to decode than JSON.
type protobufGetter struct{ rest.Interface }

// Get begins a GET request.
func (g protobufGetter) Get() *rest.Request { return g.Interface.Get().UseProtobufAsDefault() }

// run follows the API server until ctx ends. run calls fail if no retry can bring the first list.
func (c *cache[O, T]) run(ctx context.Context, fail context.CancelCauseFunc) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	giveUp := fail
	if c.optional {
		giveUp = func(error) {
			c.settle()
			stop()
		}
	}
	getter := protobufGetter{c.client.rest()}
	selector := labels.Set{LabelInstance: c.client.cfg.Instance}.String()
	lw := toolscache.NewFilteredListWatchFromClient(getter, c.resource, c.ns, func(o *metav1.ListOptions) {
		o.LabelSelector = selector
		if o.ResourceVersion == "0" {
			o.ResourceVersion = "" // the newest state, not the one in an API server's cache
		}
	})
	list, begin := lw.ListWithContextFunc, lw.WatchFuncWithContext
	lw.ListWithContextFunc = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		objects, err := list(ctx, o)
		return objects, c.answered("list", err, giveUp)
	}
	lw.WatchFuncWithContext = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		w, err := begin(ctx, o)
		if err := c.answered("watch", err, giveUp); err != nil {
			return nil, err
		}
		return c.opened(w, ptr.Deref(o.SendInitialEvents, false)), nil
	}
	wall := c.client.cfg.Clock.Wall
	backoff := wait.Backoff{Duration: wall(minBackoff), Cap: wall(maxBackoff), Steps: 10, Factor: 2, Jitter: 0.5}
	options := toolscache.ReflectorOptions{Name: "bellboard/" + c.ns + "/" + c.resource, Backoff: &backoff}
	var example O
	r := toolscache.NewReflectorWithOptions(lw, example, c, options)
	pause := backoff.DelayWithReset(kclock.RealClock{}, wall(time.Minute))
	_ = pause.Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		if err := r.ListAndWatchWithContext(ctx); err != nil {
			c.client.cfg.Log.Debug("cache stopped following the API server",
				zap.String("resource", c.resource), zap.String("namespace", c.ns), zap.Error(err))
		}
		return false, nil
	})
}

// waitReady returns when the objects are known for the first time, or an optional cache has given up. limit is
// ctx with the limit of Start.
func (c *cache[O, T]) waitReady(ctx, limit context.Context) error {
	select {
	case <-c.ready:
		return nil
	case <-limit.Done():
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := orUnknown(c.lastError())
	return fmt.Errorf("follow %s in %s: no list within %s: %w", c.resource, c.ns, startLimit, err)
}

// answered notes how a list or the begin of a watch ended, and returns err with the request's name. answered
// calls giveUp if no retry can bring the first list.
func (c *cache[O, T]) answered(verb string, err error, giveUp func(error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	warned := c.warned[verb]
	c.warned[verb] = apierrors.IsForbidden(err) || warned && err != nil
	if err == nil {
		return nil
	}
	c.err = fmt.Errorf("%s %s in %s: %w", verb, c.resource, c.ns, err)
	// If only the right to watch is missing, lists keep the cache current, and only this warning shows that.
	if c.warned[verb] && !warned {
		c.client.cfg.Log.Warn("not allowed to follow "+c.resource, zap.Error(c.err))
	}
	if c.asOf.IsZero() && (permanent(err) || c.client.cfg.FailFast && unreachable(err)) {
		giveUp(c.err)
	}
	return c.err
}

// An observedWatch is a watch that reports its end. The reflector calls Stop for every watch, whatever ended
// it, before the next watch begins.
type observedWatch struct {
	watch.Interface
	closed func()
}

// Stop ends the watch.
func (w *observedWatch) Stop() {
	w.Interface.Stop()
	w.closed()
}

// opened notes that a watch has begun. A watch that sends all objects first (initial) makes the cache current
// only after the last of them, when the reflector calls Replace.
func (c *cache[O, T]) opened(w watch.Interface, initial bool) watch.Interface {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open, c.current = true, !initial
	return &observedWatch{w, c.closed}
}

// closed notes that the watch has ended.
func (c *cache[O, T]) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current {
		c.asOf = c.client.cfg.Clock.Now()
	}
	c.open, c.current = false, false
}

// Replace stores the whole list, which is of that version. After an error nothing has changed.
func (c *cache[O, T]) Replace(list []any, version string) error {
	if err := c.Store.Replace(list, version); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asOf, c.current = c.client.cfg.Clock.Now(), c.open
	c.settle()
	return nil
}

// UpdateResourceVersion notes up to which version the cache has the server's changes. The store itself sees
// the versions of deleted objects only, since those that it stores are converted.
func (c *cache[O, T]) UpdateResourceVersion(version string) { c.Bookmark(version) }

// lastError returns the error of the last list or watch that failed, or nil.
func (c *cache[O, T]) lastError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// named returns the object of that name, or nil.
func (c *cache[O, T]) named(name string) *T {
	o, _, _ := c.GetByKey(c.ns + "/" + name)
	return as[*T](o)
}

// all returns all objects.
func (c *cache[O, T]) all() []*T {
	list := c.List()
	out := make([]*T, len(list))
	for i := range list {
		out[i] = as[*T](list[i])
	}
	return out
}

// view returns all objects and when the cache was last current, or the reason why the cache may not be used.
// An optional cache that may not be used has no objects and no error.
func (c *cache[O, T]) view() ([]*T, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.lastCurrent()
	if err != nil && c.optional {
		return nil, c.client.cfg.Clock.Now(), nil
	}
	return c.all(), at, err
}

// lastCurrent returns when the cache was last current, or the reason why the cache may not be used. The
// caller holds the lock.
func (c *cache[O, T]) lastCurrent() (time.Time, error) {
	now, where := c.client.cfg.Clock.Now(), c.resource+" in "+c.ns
	stale := now.Sub(c.asOf)
	switch {
	case c.asOf.IsZero():
		return now, staleError(where+": not listed yet", c.err)
	case c.current:
		return now, nil
	case stale > maxStale:
		return now, staleError(fmt.Sprintf("%s: not followed for %s", where, stale.Round(time.Second)), c.err)
	}
	return c.asOf, nil
}
