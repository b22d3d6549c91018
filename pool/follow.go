package pool

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

const (
	// maxBroken is how long a cache is trusted after its watch broke.
	maxBroken = 30 * time.Second
	// The pauses between two tries to follow grow from the least to the most.
	leastPause = 500 * time.Millisecond
	mostPause  = 4 * time.Second
)

// A follower is the cache of this instance's pods in one namespace. client-go's
// reflector lists and watches, and writes what it learns straight into it; it
// keeps nouns, not API objects, so each version of a pod is converted once.
//
// It knows by itself whether it can be trusted: it sees each watch begin and
// end, and each list arrive. While a watch is open the cache is taken to follow
// the API server; a connection that died in silence is found by client-go's
// HTTP/2 pings, which end the watch within 45 s.
type follower struct {
	pool  *Pool
	ns    string
	first chan struct{} // closed when all pods were known for the first time

	mu      sync.Mutex
	pods    map[string]*entry // by name
	births  map[string]*entry // by name: created by this process, and maybe not cached yet
	sent    map[string]bool   // by UID: deleted by this process, and maybe not cached as such yet
	version string            // the server's changes up to this one are known
	synced  bool
	stream  *stream   // the open watch, nil: none
	fresh   bool      // and what came before it is known
	at      time.Time // when the cache was last known to follow, while no watch is open
	err     error     // of the last list or watch
}

// An entry is one pod, cached or just created.
type entry struct {
	pod     *scaler.Pod // never changed: it is read without the lock
	claim   bool        // the pod waits for, or has, a volume claim
	claimed bool        // this process has made it
}

func newFollower(p *Pool, ns string) *follower {
	return &follower{pool: p, ns: ns, first: make(chan struct{}), pods: map[string]*entry{}, births: map[string]*entry{}, sent: map[string]bool{}}
}

// run follows until ctx ends. failed is told what no retry would mend before
// the first list.
func (f *follower) run(ctx context.Context, failed chan<- error) {
	ours := labels.Set{LabelInstance: f.pool.instance}.String()
	pods := f.pool.client.CoreV1().Pods(f.ns)
	note := func(verb string, began time.Time, err error) error {
		f.pool.asked(verb, "pods", began, err)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s pods in %s: %w", verb, f.ns, err)
		f.mu.Lock()
		defer f.mu.Unlock()
		// Without the right to watch the lists alone go on, and nothing else shows.
		if denied := apierrors.IsForbidden(err); denied && (f.err == nil || f.err.Error() != err.Error()) {
			f.pool.log.Warn("not allowed to follow pods", zap.Error(err))
		}
		f.err = err
		if !f.synced && (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)) {
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
			list, err := pods.List(ctx, o)
			if err := note("list", began, err); err != nil {
				return nil, err
			}
			return list, nil
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = ours
			began := f.pool.clock.Now()
			w, err := pods.Watch(ctx, o)
			if err := note("watch", began, err); err != nil {
				return nil, err
			}
			return f.opened(w, o.SendInitialEvents != nil && *o.SendInitialEvents), nil
		},
	}
	wall := f.pool.clock.Wall
	r := cache.NewReflectorWithOptions(lw, &corev1.Pod{}, f, cache.ReflectorOptions{
		Name: "bellboard/" + f.ns,
		// client-go's own waits for up to a minute after an outage, in which
		// nothing could be decided.
		Backoff: &wait.Backoff{Duration: wall(leastPause), Cap: wall(mostPause), Steps: 10, Factor: 2, Jitter: 0.5},
	})
	for pause := leastPause; ctx.Err() == nil; pause = min(2*pause, mostPause) {
		began := f.pool.clock.Now()
		if err := r.ListAndWatchWithContext(ctx); err != nil {
			f.pool.log.Debug("the cache of pods stopped following", zap.String("namespace", f.ns), zap.Error(err))
		}
		if f.pool.clock.Now().Sub(began) > time.Minute {
			pause = leastPause
		}
		if clock.Sleep(ctx, f.pool.clock, pause) != nil {
			return
		}
	}
}

// A stream is an open watch whose end the follower notices: the reflector stops
// every watch that it is done with, whatever ended it.
type stream struct {
	watch.Interface
	f *follower
}

func (s *stream) Stop() {
	s.Interface.Stop()
	s.f.closed(s)
}

// opened: a watch began. One that sends what there is first is only worth
// something when all of that has come (Replace).
func (f *follower) opened(w watch.Interface, initial bool) watch.Interface {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stream = &stream{Interface: w, f: f}
	f.fresh = !initial
	return f.stream
}

func (f *follower) closed(s *stream) {
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

// Add takes a pod that came.
func (f *follower) Add(obj any) error { return f.Update(obj) }

// Update takes a new version of a pod.
func (f *follower) Update(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("not a pod: %T", obj)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(f.pods, pod)
	return nil
}

// Delete takes a pod away.
func (f *follower) Delete(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("not a pod: %T", obj)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pods, pod.Name)
	return nil
}

// Replace takes the whole list, as of that version.
func (f *follower) Replace(list []any, version string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	pods := make(map[string]*entry, len(list))
	for _, obj := range list {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return fmt.Errorf("not a pod: %T", obj)
		}
		f.put(pods, pod)
	}
	f.pods, f.version = pods, version
	f.at = f.pool.clock.Now()
	f.fresh = f.stream != nil
	if !f.synced {
		f.synced = true
		close(f.first)
	}
	return nil
}

// Resync has nothing to do.
func (f *follower) Resync() error { return nil }

// UpdateResourceVersion notes how far the cache has come.
func (f *follower) UpdateResourceVersion(version string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version = version
}

// put converts a pod, once per version.
func (f *follower) put(to map[string]*entry, pod *corev1.Pod) {
	old := f.pods[pod.Name]
	if old != nil && old.pod.UID == string(pod.UID) && old.pod.ResourceVersion == pod.ResourceVersion {
		to[pod.Name] = old
		return
	}
	e := &entry{pod: convert(pod), claim: wantsClaim(pod)}
	if known := f.known(pod.Name, pod.UID); known != nil {
		e.claimed = known.claimed
	}
	to[pod.Name] = e
}

// born notes a pod that was just created, so that it counts until the cache has
// come as far as its creation.
func (f *follower) born(pod *corev1.Pod) scaler.Pod {
	noun := convert(pod)
	noun.Requested = true
	f.mu.Lock()
	defer f.mu.Unlock()
	b := &entry{pod: noun, claim: wantsClaim(pod)}
	if !f.shows(b) {
		f.births[pod.Name] = b
	}
	return *noun
}

// deleted notes that the API server has accepted this process' deletion of a pod.
func (f *follower) deleted(pod *scaler.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent[pod.UID] = true
}

// shows reports whether the cache has come as far as that birth. Versions of
// pods can be compared, and a watch tells changes in their order: so a pod that
// is not here then was here and is gone.
func (f *follower) shows(b *entry) bool {
	if e := f.pods[b.pod.Name]; e != nil && e.pod.UID == b.pod.UID {
		return true
	}
	c, err := resourceversion.CompareResourceVersion(f.version, b.pod.ResourceVersion)
	return err == nil && c >= 0
}

// known is the pod of that name and UID, as cached or as born; nil: it is gone.
func (f *follower) known(name string, uid types.UID) *entry {
	if e := f.pods[name]; e != nil && e.pod.UID == string(uid) {
		return e
	}
	if b := f.births[name]; b != nil && b.pod.UID == string(uid) {
		return b
	}
	return nil
}

// claim reports whether a pod is known, and whether it still waits for a claim
// as far as this process knows.
func (f *follower) claim(pod *scaler.Pod) (known, missing bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.known(pod.Name, types.UID(pod.UID))
	return e != nil, e != nil && e.claim && !e.claimed
}

func (f *follower) setClaimed(pod *scaler.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e := f.known(pod.Name, types.UID(pod.UID)); e != nil {
		e.claimed = true
	}
}

func (f *follower) lastError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return orUnknown(f.err)
}

// view appends the namespace's pods to out, and says when they were last known
// to be all.
func (f *follower) view(out []*scaler.Pod) ([]*scaler.Pod, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.pool.clock.Now()
	at := f.at
	if f.stream != nil && f.fresh {
		at = now
	}
	switch broken := now.Sub(at); {
	case !f.synced:
		return nil, at, fmt.Errorf("pods in %s: never listed yet: %w", f.ns, orUnknown(f.err))
	case broken > maxBroken:
		return nil, at, fmt.Errorf("pods in %s: not followed for %s: %w", f.ns, broken.Round(time.Second), orUnknown(f.err))
	}
	going := make(map[string]bool, len(f.sent))
	add := func(pod *scaler.Pod) {
		if f.sent[pod.UID] && !pod.Deleting {
			// The cache has not heard of the deletion yet; no build may be let onto it.
			going[pod.UID] = true
			deleted := *pod
			deleted.Deleting, deleted.DeletingByUs = true, true
			pod = &deleted
		}
		out = append(out, pod)
	}
	for name, b := range f.births {
		if f.shows(b) {
			delete(f.births, name)
		} else {
			add(b.pod)
		}
	}
	for name, e := range f.pods {
		// A birth of that name means that the one cached before it is gone.
		if f.births[name] == nil {
			add(e.pod)
		}
	}
	f.sent = going
	return out, at, nil
}
