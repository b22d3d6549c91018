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
	"k8s.io/client-go/tools/cache"

	"bellboard/scaler/clock"
)

const (
	// maxStale is how long a cache is trusted after its watch broke.
	maxStale = 30 * time.Second
	// The pauses between two tries to follow grow from the least to the most.
	minBackoff = 500 * time.Millisecond
	maxBackoff = 4 * time.Second
)

// A mirror follows this instance's objects of one kind in one namespace.
// client-go's reflector lists and watches, and what it learns goes straight into
// what holds them; nouns are kept, not API objects, so each version of an object is
// converted once.
//
// It knows by itself whether it can be trusted: it sees each watch begin and
// end, and each list arrive. While a watch is open the cache is taken to follow
// the API server; a connection that died in silence is found by client-go's
// HTTP/2 pings, which end the watch within 45 s.
type mirror struct {
	pool     *Client
	ns       string
	resource string         // "pods"
	example  runtime.Object // of its kind
	list     func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch    func(context.Context, metav1.ListOptions) (watch.Interface, error)
	held     holder
	// optional: nothing rests on it, so not being allowed to follow is no failure.
	optional bool
	first    chan struct{} // closed when all objects were known for the first time, or never will be

	mu      sync.Mutex
	version string // the server's changes up to this one are known
	synced  bool
	denied  bool            // it is optional, and may not follow
	stream  *stream         // the open watch, nil: none
	fresh   bool            // and what came before it is known
	at      time.Time       // when the cache was last known to follow, while no watch is open
	err     error           // of the last list or watch
	told    map[string]bool // by verb: the log says that it is not allowed
}

// A holder keeps the nouns. It is called with the mirror locked.
type holder interface {
	put(obj any) error
	drop(obj any) error
	replace(all []any) error // nothing changes when it fails
}

// run follows until ctx ends. failed is told what no retry would mend before
// the first list.
func (f *mirror) run(ctx context.Context, failed chan<- error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ours := labels.Set{LabelInstance: f.pool.instance}.String()
	note := func(verb string, began time.Time, err error) error {
		f.pool.asked(verb, f.resource, began, err)
		f.mu.Lock()
		defer f.mu.Unlock()
		denied := apierrors.IsForbidden(err)
		told := f.told[verb]
		f.told[verb] = denied || told && err != nil
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s %s in %s: %w", verb, f.resource, f.ns, err)
		// Without the right to watch the lists alone go on, and nothing else shows.
		if denied && !told {
			f.pool.log.Warn("not allowed to follow "+f.resource, zap.Error(err))
		}
		f.err = err
		switch {
		case f.synced || !permanent(err) && (!f.pool.failFast || !unreachable(err)):
		case f.denied:
		case f.optional:
			f.denied = true
			close(f.first)
			cancel()
		default:
			select {
			case failed <- err:
			default: // it was told already
			}
		}
		return err
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = ours
			if o.ResourceVersion == "0" {
				o.ResourceVersion = "" // what is, not what some API server's cache remembers
			}
			began := f.pool.clock.Now()
			list, err := f.list(ctx, o)
			if err := note("list", began, err); err != nil {
				return nil, err
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = ours
			began := f.pool.clock.Now()
			w, err := f.watch(ctx, o)
			if err := note("watch", began, err); err != nil {
				return nil, err
			}
			return f.opened(w, o.SendInitialEvents != nil && *o.SendInitialEvents), nil
		},
	}
	wall := f.pool.clock.Wall
	r := cache.NewReflectorWithOptions(lw, f.example, f, cache.ReflectorOptions{
		Name: "bellboard/" + f.ns + "/" + f.resource,
		// client-go's own waits for up to a minute after an outage, in which
		// nothing could be decided.
		Backoff: &wait.Backoff{Duration: wall(minBackoff), Cap: wall(maxBackoff), Steps: 10, Factor: 2, Jitter: 0.5},
	})
	for pause := minBackoff; ctx.Err() == nil; pause = min(2*pause, maxBackoff) {
		began := f.pool.clock.Now()
		if err := r.ListAndWatchWithContext(ctx); err != nil {
			f.pool.log.Debug("a cache stopped following", zap.String("resource", f.resource), zap.String("namespace", f.ns), zap.Error(err))
		}
		if f.pool.clock.Now().Sub(began) > time.Minute {
			pause = minBackoff
		}
		if clock.Sleep(ctx, f.pool.clock, pause) != nil {
			return
		}
	}
}

// A stream is an open watch whose end the mirror notices: the reflector stops
// every watch that it is done with, whatever ended it.
type stream struct {
	watch.Interface
	f *mirror
}

func (s *stream) Stop() {
	s.Interface.Stop()
	s.f.closed(s)
}

// opened: a watch began. One that sends what there is first is only worth
// something when all of that has come (Replace).
func (f *mirror) opened(w watch.Interface, initial bool) watch.Interface {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stream = &stream{Interface: w, f: f}
	f.fresh = !initial
	return f.stream
}

func (f *mirror) closed(s *stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stream != s {
		return
	}
	if f.fresh {
		f.at = f.pool.clock.Now()
	}
	f.stream, f.fresh = nil, false
}

// Add, Update, Delete, Replace, Resync and UpdateResourceVersion are the
// reflector's side.

// Add takes an object that came.
func (f *mirror) Add(obj any) error { return f.Update(obj) }

// Update takes a new version of an object.
func (f *mirror) Update(obj any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held.put(obj)
}

// Delete takes an object away.
func (f *mirror) Delete(obj any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held.drop(obj)
}

// Replace takes the whole list, as of that version.
func (f *mirror) Replace(list []any, version string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.held.replace(list); err != nil {
		return err
	}
	f.version = version
	f.at = f.pool.clock.Now()
	f.fresh = f.stream != nil
	if !f.synced {
		f.synced = true
		if !f.denied {
			close(f.first)
		}
	}
	return nil
}

// Resync has nothing to do.
func (f *mirror) Resync() error { return nil }

// UpdateResourceVersion notes how far the cache has come.
func (f *mirror) UpdateResourceVersion(version string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version = version
}

func (f *mirror) lastError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return orUnknown(f.err)
}

// trusted says when the objects were last known to be all, or why they are not.
// It is called with the mirror locked.
func (f *mirror) trusted() (time.Time, error) {
	now := f.pool.clock.Now()
	at := f.at
	if f.stream != nil && f.fresh {
		at = now
	}
	switch broken := now.Sub(at); {
	case !f.synced:
		return at, staleError(f.resource+" in "+f.ns+": never listed yet", f.err)
	case broken > maxStale:
		return at, staleError(fmt.Sprintf("%s in %s: not followed for %s", f.resource, f.ns, broken.Round(time.Second)), f.err)
	}
	return at, nil
}
