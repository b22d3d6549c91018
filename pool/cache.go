package pool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"bellboard/scaler/clock"
)

const (
	// maxStale is how long Observe uses a cache after the cache's watch has broken.
	maxStale = 30 * time.Second
	// The pauses between two attempts to list and watch grow from minBackoff to maxBackoff.
	minBackoff = 500 * time.Millisecond
	maxBackoff = 4 * time.Second
)

// A cache holds this instance's objects of one resource in one namespace. O is the API's type, and T is
// scaler's type. client-go's reflector lists and watches the objects, and calls Add, Update, Delete and
// Replace. The cache keeps no API objects, and converts each version of an object once.
//
// The cache knows whether it is current, since it sees each watch begin and end, and each list arrive. While
// a watch is open, the cache counts as current. If a connection dies in silence, client-go's HTTP/2 pings end
// the watch within 45 s.
type cache[O apiObject, T any] struct {
	client   *Client
	ns       string
	resource string // "pods"
	example  O
	list     func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch    func(context.Context, metav1.ListOptions) (watch.Interface, error)
	convert  func(O) *T
	optional bool          // no decision needs the objects, so a missing right to list or watch is no failure
	ready    chan struct{} // closed after the first list, or when an optional cache has given up
	settle   sync.Once     // closes ready

	mu      sync.Mutex
	objects map[string]*T   // by name; a stored *T never changes, so readers need no lock for the *T
	version string          // the cache has the server's changes up to this version
	listed  bool            // the first list has arrived
	open    *observedWatch  // the open watch; nil: none
	current bool            // a watch is open, and the cache has all that came before the watch
	asOf    time.Time       // when the cache was last current, while no watch is open
	err     error           // the error of the last failed list or watch
	warned  map[string]bool // by verb: the log has the warning that the verb is forbidden
}

type apiObject interface {
	metav1.Object
	runtime.Object
}

// listWatcher is the part of a typed client that a cache needs, such as PodInterface.
type listWatcher[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// newCache makes an empty cache that lists and watches through the typed client.
func newCache[O apiObject, T any, L runtime.Object](
	c *Client, ns, resource string, example O, typed listWatcher[L], convert func(O) *T,
) *cache[O, T] {
	return &cache[O, T]{
		client: c, ns: ns, resource: resource, example: example, watch: typed.Watch, convert: convert,
		list:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return typed.List(ctx, o) },
		ready: make(chan struct{}), objects: map[string]*T{}, warned: map[string]bool{},
	}
}

// run follows the API server until ctx ends. Before the first list, run calls fail with an error that no
// retry can mend.
func (c *cache[O, T]) run(ctx context.Context, fail context.CancelCauseFunc) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	giveUp := fail
	if c.optional {
		giveUp = func(error) {
			c.settle.Do(func() { close(c.ready) })
			stop()
		}
	}
	selector := labels.Set{LabelInstance: c.client.instance}.String()
	lw := &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			if o.ResourceVersion == "0" {
				o.ResourceVersion = "" // the newest state, not the one in an API server's cache
			}
			began := c.client.clock.Now()
			list, err := c.list(ctx, o)
			return list, c.answered("list", began, err, giveUp)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			began := c.client.clock.Now()
			w, err := c.watch(ctx, o)
			if err := c.answered("watch", began, err, giveUp); err != nil {
				return nil, err
			}
			return c.opened(w, o.SendInitialEvents != nil && *o.SendInitialEvents), nil
		},
	}
	wall := c.client.clock.Wall
	r := toolscache.NewReflectorWithOptions(lw, c.example, c, toolscache.ReflectorOptions{
		Name: "bellboard/" + c.ns + "/" + c.resource,
		// client-go's own back-off waits up to a minute after an outage, and every tick would hold that long.
		Backoff: &wait.Backoff{Duration: wall(minBackoff), Cap: wall(maxBackoff), Steps: 10, Factor: 2, Jitter: 0.5},
	})
	for pause := minBackoff; ctx.Err() == nil; pause = min(2*pause, maxBackoff) {
		began := c.client.clock.Now()
		if err := r.ListAndWatchWithContext(ctx); err != nil {
			c.client.log.Debug("cache stopped following the API server",
				zap.String("resource", c.resource), zap.String("namespace", c.ns), zap.Error(err))
		}
		if c.client.clock.Now().Sub(began) > time.Minute {
			pause = minBackoff
		}
		if clock.Sleep(ctx, c.client.clock, pause) != nil {
			return
		}
	}
}

// waitReady returns when the objects are known for the first time, or an optional cache has given up.
func (c *cache[O, T]) waitReady(ctx context.Context, limit <-chan struct{}) error {
	select {
	case <-c.ready:
		return nil
	case <-limit:
		err := orUnknown(c.lastError())
		return fmt.Errorf("follow %s in %s: no list within %s: %w", c.resource, c.ns, startLimit, err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answered counts a list or the begin of a watch, and returns err with the request's name. answered calls
// giveUp if the first list has not arrived and no retry can mend err.
func (c *cache[O, T]) answered(verb string, began time.Time, err error, giveUp func(error)) error {
	c.client.count(verb, c.resource, began, err)
	c.mu.Lock()
	defer c.mu.Unlock()
	warned := c.warned[verb]
	c.warned[verb] = apierrors.IsForbidden(err) || warned && err != nil
	if err == nil {
		return nil
	}
	c.err = fmt.Errorf("%s %s in %s: %w", verb, c.resource, c.ns, err)
	// If only the right to watch is missing, lists keep the cache current. Nothing but this warning shows
	// that.
	if c.warned[verb] && !warned {
		c.client.log.Warn("not allowed to follow "+c.resource, zap.Error(c.err))
	}
	if !c.listed && (permanent(err) || c.client.failFast && unreachable(err)) {
		giveUp(c.err)
	}
	return c.err
}

// An observedWatch is a watch that reports its end. The reflector calls Stop for every watch, whatever ended
// it.
type observedWatch struct {
	watch.Interface
	closed func(*observedWatch)
}

// Stop ends the watch.
func (w *observedWatch) Stop() {
	w.Interface.Stop()
	w.closed(w)
}

// opened notes that a watch has begun. A watch that sends all objects first (initial) makes the cache current
// only after the last of them, when the reflector calls Replace.
func (c *cache[O, T]) opened(w watch.Interface, initial bool) watch.Interface {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open, c.current = &observedWatch{Interface: w, closed: c.closed}, !initial
	return c.open
}

// closed notes that a watch has ended.
func (c *cache[O, T]) closed(w *observedWatch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open != w {
		return
	}
	if c.current {
		c.asOf = c.client.clock.Now()
	}
	c.open, c.current = nil, false
}

// Add stores an object. The reflector calls Add, Update, Delete, Replace, Resync and UpdateResourceVersion.
func (c *cache[O, T]) Add(obj any) error { return c.Update(obj) }

// Update stores a new version of an object.
func (c *cache[O, T]) Update(obj any) error {
	o, ok := obj.(O)
	if !ok {
		return c.unexpected(obj)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects[o.GetName()] = c.convert(o)
	return nil
}

// Delete removes an object.
func (c *cache[O, T]) Delete(obj any) error {
	o, ok := obj.(O)
	if !ok {
		return c.unexpected(obj)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.objects, o.GetName())
	return nil
}

// Replace stores the whole list, which is of that version. After an error nothing has changed.
func (c *cache[O, T]) Replace(list []any, version string) error {
	objects := make(map[string]*T, len(list))
	for _, obj := range list {
		o, ok := obj.(O)
		if !ok {
			return c.unexpected(obj)
		}
		objects[o.GetName()] = c.convert(o)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects, c.version, c.listed = objects, version, true
	c.asOf, c.current = c.client.clock.Now(), c.open != nil
	c.settle.Do(func() { close(c.ready) })
	return nil
}

func (c *cache[O, T]) unexpected(obj any) error { return fmt.Errorf("among %s: %T", c.resource, obj) }

// Resync does nothing, since nothing waits for a resync.
func (c *cache[O, T]) Resync() error { return nil }

// UpdateResourceVersion notes up to which version the cache has the server's changes.
func (c *cache[O, T]) UpdateResourceVersion(version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = version
}

// lastError returns the error of the last list or watch that failed; nil: none has failed.
func (c *cache[O, T]) lastError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// get returns the object of that name, or nil.
func (c *cache[O, T]) get(name string) *T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.objects[name]
}

// view returns all objects and when the cache was last current, or the reason why the cache may not be used.
// An optional cache that may not be used has no objects and no error.
func (c *cache[O, T]) view() ([]*T, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.lastCurrent()
	switch {
	case err != nil && c.optional:
		return nil, c.client.clock.Now(), nil
	case err != nil:
		return nil, at, err
	}
	return slices.Collect(maps.Values(c.objects)), at, nil
}

// lastCurrent returns when the cache was last current, or the reason why the cache may not be used. The
// caller holds the lock.
func (c *cache[O, T]) lastCurrent() (time.Time, error) {
	now := c.client.clock.Now()
	at := c.asOf
	if c.current {
		at = now
	}
	where := c.resource + " in " + c.ns
	switch stale := now.Sub(at); {
	case !c.listed:
		return at, staleError(where+": not listed yet", c.err)
	case stale > maxStale:
		return at, staleError(fmt.Sprintf("%s: not followed for %s", where, stale.Round(time.Second)), c.err)
	}
	return at, nil
}
