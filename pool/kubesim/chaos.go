package kubesim

import (
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RefuseFunc is asked before each request to a resource ("create", "pods";
// subresources as "pods/status"); a Status it gives is the answer, and nothing
// is done. It is called without the cluster locked.
type RefuseFunc = func(r *http.Request, verb, resource string) *metav1.Status

// LoseFunc is asked likewise; when it says true the request is done and the
// connection breaks before the answer.
type LoseFunc = func(r *http.Request, verb, resource string) bool

// Delete is a graceful deletion by somebody else. A negative grace means the
// pod's own.
func (c *Cluster) Delete(ns, name, by string, grace time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.table(pods)
	if e := t.items[ns+"/"+name]; e != nil {
		var period *int64
		if grace >= 0 {
			s := int64(grace / time.Second)
			period = &s
		}
		c.remove(t, e, period, by)
	}
}

// Kill fails a pod at once, as when its node is lost: phase Failed, reason
// NodeLost, and the process is told to end. The pod stays in the API.
func (c *Cluster) Kill(ns, name, by string) {
	c.Evict(ns, name, by, "NodeLost", "Node which was running the pod is unresponsive")
}

// Evict is Kill with another reason and message, as "Evicted" by a node under
// pressure.
func (c *Cluster) Evict(ns, name, by, reason, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pod := c.pod(ns, name); pod != nil {
		if r := c.runs[pod.UID]; r != nil {
			c.killLocked(r, reason, message, by)
		}
	}
}

// Disrupt announces that a pod will be ended by the cluster soon, with the
// condition DisruptionTarget, and does nothing else.
func (c *Cluster) Disrupt(ns, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pod := c.pod(ns, name); pod != nil && !ended(pod) {
		c.disrupt(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
	}
}

func (c *Cluster) disrupt(pod *corev1.Pod, reason, message string) {
	if r := c.runs[pod.UID]; r != nil {
		c.edit(r, func(p *corev1.Pod) {
			c.setCondition(p, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: message})
		})
	}
}

// FailPulls makes the main container's image fail to be pulled for the pods
// that match says true to; nil ends that. A pod in back-off goes on at its
// next try. match is called with the cluster locked and must not call it.
func (c *Cluster) FailPulls(match func(*corev1.Pod) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failPulls = match
}

// FailSchedule keeps pods without a node for the reason that why gives
// ("2 Insufficient cpu."); "" or a nil why lets them be scheduled. why is
// called with the cluster locked and must not call it.
func (c *Cluster) FailSchedule(why func(*corev1.Pod) string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failSchedule = why
	c.rescheduleWaiting()
}

// FailBinding keeps the claims that match says true to without a volume: their
// pods' nodes are chosen, and then nothing comes. nil, or false, ends that at the
// scheduler's next try. match is called with the cluster locked and must not call it.
func (c *Cluster) FailBinding(match func(*corev1.PersistentVolumeClaim) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failBinding = match
}

// LoseVolume takes a bound claim's volume away: it is Lost from then on.
func (c *Cluster) LoseVolume(ns, claim string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.table(claims)
	if e := t.items[ns+"/"+claim]; e != nil {
		claim := as[*corev1.PersistentVolumeClaim](e.obj).DeepCopy()
		claim.Status.Phase = corev1.ClaimLost
		c.put(t, claim)
	}
}

// Refuse answers requests with a Status of the test's choosing; nil ends it.
func (c *Cluster) Refuse(f RefuseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = f
}

// Inject changes pods as they are created, as a webhook of a service mesh does; nil ends
// it. It is called with the cluster locked and must not call it.
func (c *Cluster) Inject(f func(*corev1.Pod)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inject = f
}

// Lose lets requests be done but not answered; nil ends it.
func (c *Cluster) Lose(f LoseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = f
}

// Cut breaks all watches and refuses connections for d.
func (c *Cluster) Cut(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutUntil = c.clock.Now().Add(d)
	c.cutWatches()
}

func (c *Cluster) unreachable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed || c.clock.Now().Before(c.cutUntil)
}
