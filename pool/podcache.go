package pool

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"bellboard/scaler"
)

// A podCache holds this instance's pods in one namespace: what the watch has shown, merged with what this
// process has done since.
type podCache struct {
	*cache[*corev1.Pod, scaler.Pod]

	pending map[string]*scaler.Pod // by name: pods that this process created, and that may not be cached yet
	patched map[string]*scaler.Pod // by UID: versions that this process patched, and that may not be cached yet
	// deleted has the pods that this process deleted, by UID. The value is when the grace of an earlier
	// deletion ends.
	deleted map[string]time.Time
}

func newPodCache(c *Client, ns string) *podCache {
	return &podCache{
		cache:   newCache(c, ns, "pods", &corev1.Pod{}, c.client.CoreV1().Pods(ns), convert),
		pending: map[string]*scaler.Pod{}, patched: map[string]*scaler.Pod{}, deleted: map[string]time.Time{},
	}
}

// addPending notes a pod that was just created. The pod counts until the cache is as new as its creation.
func (c *podCache) addPending(pod *corev1.Pod) scaler.Pod {
	p := convert(pod)
	p.Requested = true
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.includes(p) {
		c.pending[pod.Name] = p
	}
	return *p
}

// markDeleted notes that the API server has accepted this process' deletion of a pod.
func (c *podCache) markDeleted(pod *scaler.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deleted[pod.UID] = pod.Ends
}

// addPatched notes the version of a pod that this process' patch has made. So the loop does not patch the pod
// again, and a deletion names the version that exists.
func (c *podCache) addPatched(pod *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.patched[string(pod.UID)] = convert(pod)
}

// includes reports whether the cache is as new as the creation of that pod. A watch sends changes in the
// order of their versions. So a pod that the cache does not have by then was there and is gone.
func (c *podCache) includes(created *scaler.Pod) bool {
	if p := c.objects[created.Name]; p != nil && p.UID == created.UID {
		return true
	}
	return compare(c.version, created.ResourceVersion) >= 0
}

// compare returns 1, 0 or -1 as version a is newer than version b, the same, or older. A version that cannot
// be compared counts as older.
func compare(a, b string) int {
	order, err := resourceversion.CompareResourceVersion(a, b)
	if err != nil {
		return -1
	}
	return order
}

// has reports whether a pod of that name and UID exists, in the cache or just created.
func (c *podCache) has(name, uid string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	cached, pending := c.objects[name], c.pending[name]
	return cached != nil && cached.UID == uid || pending != nil && pending.UID == uid
}

// view returns the namespace's pods and when the cache was last current, or the reason why the cache may not
// be used.
func (c *podCache) view() ([]*scaler.Pod, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.lastCurrent()
	if err != nil {
		return nil, at, err
	}
	pods := make([]*scaler.Pod, 0, len(c.objects)+len(c.pending))
	for name, p := range c.pending {
		if c.includes(p) {
			delete(c.pending, name)
		} else {
			pods = append(pods, p)
		}
	}
	for name, p := range c.objects {
		// A pending pod of the same name means that the cached pod is gone.
		if c.pending[name] == nil {
			pods = append(pods, p)
		}
	}
	patched, deleted := make(map[string]*scaler.Pod, len(c.patched)), make(map[string]time.Time, len(c.deleted))
	for i, p := range pods {
		if newest := c.patched[p.UID]; newest != nil && compare(newest.ResourceVersion, p.ResourceVersion) > 0 {
			patched[p.UID] = newest
			pod := *newest
			pod.Requested = p.Requested
			pods[i], p = &pod, &pod
		}
		if ends, ok := c.deleted[p.UID]; ok {
			deleted[p.UID] = ends
			// The watch may not have shown the deletion yet, and no build may start on the pod. If the
			// deletion shortened the grace of an earlier one, the pod does not show whose deletion it is. The
			// kubelet keeps the grace of the first.
			pod := *p
			pod.Deleting, pod.DeletingByUs = true, true
			if ends.After(pod.Ends) {
				pod.Ends = ends
			}
			pods[i] = &pod
		}
	}
	c.deleted, c.patched = deleted, patched
	return pods, at, nil
}
