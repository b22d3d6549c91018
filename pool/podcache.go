package pool

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"bellboard/scaler"
)

// A podCache holds this instance's pods in one namespace: what the watch has shown, merged with what this
// process has done since.
type podCache struct {
	*cache[*corev1.Pod, scaler.Pod]

	// written has the pods that this process has created or patched, by name, until the cache has them so. So
	// a new pod counts, the loop patches no pod twice, and a deletion names the version that exists.
	written map[string]*scaler.Pod
	// deleted has when the grace of an earlier deletion ends, by the UID of a pod that this process deleted.
	deleted map[string]time.Time
}

// addWritten notes the version of a pod that this process has made.
func (c *podCache) addWritten(p *scaler.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written[p.Name] = p
}

// markDeleted notes that the API server has accepted this process' deletion of a pod.
func (c *podCache) markDeleted(pod *scaler.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deleted[pod.UID] = pod.Ends
}

// includes reports whether a cache that has cached under the name of a pod, and the server's changes up to
// version, is as new as that version of the pod. A watch sends changes in the order of their versions. So a
// pod that the cache does not have by then was there and is gone.
func includes(cached *scaler.Pod, version string, p *scaler.Pod) bool {
	if cached != nil && cached.UID == p.UID {
		return !newer(p.ResourceVersion, cached.ResourceVersion)
	}
	return version == p.ResourceVersion || newer(version, p.ResourceVersion)
}

// newer reports whether version a is newer than version b. A version that cannot be compared is not.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}

// has reports whether a pod of that name and UID exists, in the cache or just created.
func (c *podCache) has(name, uid string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	cached, written := c.named(name), c.written[name]
	return cached != nil && cached.UID == uid || written != nil && written.UID == uid
}

// view returns the namespace's pods and when the cache was last current, or why the cache may not be used.
func (c *podCache) view() ([]*scaler.Pod, time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, err := c.lastCurrent()
	if err != nil {
		return nil, at, err
	}
	version := c.LastStoreSyncResourceVersion() // before the pods, which may be newer, but never older
	cached := c.all()
	pods := make(map[string]*scaler.Pod, len(cached))
	for _, p := range cached {
		pods[p.Name] = p
	}
	for name, p := range c.written {
		if includes(pods[name], version, p) {
			delete(c.written, name)
			continue
		}
		pod := *p
		// A cached pod of the same name and another UID is gone.
		pod.Requested = pods[name] == nil || pods[name].UID != p.UID
		pods[name] = &pod
	}
	deleted := make(map[string]time.Time, len(c.deleted))
	for name, p := range pods {
		ends, ok := c.deleted[p.UID]
		if !ok {
			continue
		}
		deleted[p.UID] = ends
		// The watch may not have shown the deletion yet, and no build may start on the pod. If the deletion
		// shortened the grace of an earlier one, the pod does not show whose deletion it is. The kubelet
		// keeps the grace of the first.
		pod := *p
		pod.Deleting, pod.DeletingByUs = true, true
		if ends.After(pod.Ends) {
			pod.Ends = ends
		}
		pods[name] = &pod
	}
	c.deleted = deleted
	return slices.Collect(maps.Values(pods)), at, nil
}
