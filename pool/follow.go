package pool

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"

	"bellboard/scaler"
)

// A follower is the cache of this instance's pods in one namespace.
type follower struct {
	mirror

	pods    map[string]*scaler.Pod // by name; what it points to is never changed: it is read without the lock
	pending map[string]*scaler.Pod // by name: created by this process, and maybe not cached yet
	sent    map[string]time.Time   // by UID: deleted by this process, and when its grace by an earlier deletion is over
	patched map[string]*scaler.Pod // by UID: patched by this process, and maybe not cached as such yet
}

func newFollower(p *Client, ns string) *follower {
	f := &follower{pods: map[string]*scaler.Pod{}, pending: map[string]*scaler.Pod{}, sent: map[string]time.Time{}, patched: map[string]*scaler.Pod{}}
	f.mirror = mirror{
		pool: p, ns: ns, resource: "pods", example: &corev1.Pod{}, first: make(chan struct{}), told: map[string]bool{}, held: f,
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return p.client.CoreV1().Pods(ns).List(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return p.client.CoreV1().Pods(ns).Watch(ctx, o)
		},
	}
	return f
}

func (f *follower) put(obj any) error { return f.into(f.pods, obj) }

// into converts a pod, once per version.
func (f *follower) into(pods map[string]*scaler.Pod, obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("not a pod: %T", obj)
	}
	if old := f.pods[pod.Name]; old != nil && old.UID == string(pod.UID) && old.ResourceVersion == pod.ResourceVersion {
		pods[pod.Name] = old
	} else {
		pods[pod.Name] = convert(pod)
	}
	return nil
}

func (f *follower) drop(obj any) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("not a pod: %T", obj)
	}
	delete(f.pods, pod.Name)
	return nil
}

func (f *follower) replace(all []any) error {
	pods := make(map[string]*scaler.Pod, len(all))
	for _, obj := range all {
		if err := f.into(pods, obj); err != nil {
			return err
		}
	}
	f.pods = pods
	return nil
}

// created notes a pod that was just created, so that it counts until the cache has
// come as far as its creation.
func (f *follower) created(pod *corev1.Pod) scaler.Pod {
	noun := convert(pod)
	noun.Requested = true
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.includes(noun) {
		f.pending[pod.Name] = noun
	}
	return *noun
}

// deleted notes that the API server has accepted this process' deletion of a pod.
func (f *follower) deleted(pod *scaler.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent[pod.UID] = pod.Ends
}

// edited notes what the API server has made of a pod that this process patched: what
// was done once need not be done again, and a deletion names the version that is.
func (f *follower) edited(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.patched[string(pod.UID)] = convert(pod)
}

// newer reports whether a is a later version of a pod than b.
func newer(a, b *scaler.Pod) bool {
	c, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err == nil && c > 0
}

// includes reports whether the cache has come as far as that birth. Versions of
// pods can be compared, and a watch tells changes in their order: so a pod that
// is not here then was here and is gone.
func (f *follower) includes(b *scaler.Pod) bool {
	if p := f.pods[b.Name]; p != nil && p.UID == b.UID {
		return true
	}
	c, err := resourceversion.CompareResourceVersion(f.version, b.ResourceVersion)
	return err == nil && c >= 0
}

// has reports whether a pod of that name and UID is there, as cached or as born.
func (f *follower) has(name string, uid types.UID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, b := f.pods[name], f.pending[name]
	return p != nil && p.UID == string(uid) || b != nil && b.UID == string(uid)
}

// view appends the namespace's pods to out, and says when they were last known
// to be all.
func (f *follower) view(out []*scaler.Pod) ([]*scaler.Pod, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.trusted()
	if err != nil {
		return nil, at, err
	}
	going, patched := make(map[string]time.Time, len(f.sent)), make(map[string]*scaler.Pod, len(f.patched))
	add := func(pod *scaler.Pod) {
		if e := f.patched[pod.UID]; e != nil && newer(e, pod) {
			patched[pod.UID] = e
			edited := *e
			edited.Requested = pod.Requested
			pod = &edited
		}
		if ends, sent := f.sent[pod.UID]; sent {
			// The cache may not have heard of the deletion yet, and no build may be let onto it.
			// Of one that shortens another's grace it does not say whose it is, and the kubelet
			// holds to the grace of the first.
			going[pod.UID] = ends
			deleted := *pod
			deleted.Deleting, deleted.DeletingByUs = true, true
			if ends.After(deleted.Ends) {
				deleted.Ends = ends
			}
			pod = &deleted
		}
		out = append(out, pod)
	}
	for name, b := range f.pending {
		if f.includes(b) {
			delete(f.pending, name)
		} else {
			add(b)
		}
	}
	for name, p := range f.pods {
		// A birth of that name means that the one cached before it is gone.
		if f.pending[name] == nil {
			add(p)
		}
	}
	f.sent, f.patched = going, patched
	return out, at, nil
}
