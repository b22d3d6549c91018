package kubesim

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RefuseFunc is asked before each request to a resource ("create", "pods"; a subresource
// is "pods/status"). If it returns a Status, that is the answer, and nothing is done. The
// cluster is not locked.
type RefuseFunc = func(r *http.Request, verb, resource string) *metav1.Status

// Delete is a graceful deletion by somebody else. A negative grace means the pod's own.
func (c *Cluster) Delete(ns, name, by string, grace time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.table(pods)
	if e := t.items[ns+"/"+name]; e != nil {
		var period *int64
		if grace >= 0 {
			period = new(int64(grace / time.Second))
		}
		c.remove(t, e, period, by)
	}
}

// Kill fails a pod at once, as the loss of its node does: its phase is Failed, the reason
// NodeLost, and the process must end. The pod stays in the API.
func (c *Cluster) Kill(ns, name, by string) {
	c.Evict(ns, name, by, "NodeLost", "Node which was running the pod is unresponsive")
}

// Evict is Kill with another reason and message, such as "Evicted" by a node under
// pressure.
func (c *Cluster) Evict(ns, name, by, reason, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.runOf(ns, name); r != nil {
		c.killLocked(r, reason, message, by)
	}
}

// Disrupt announces by the condition DisruptionTarget that the cluster will soon end a
// pod, and does nothing else.
func (c *Cluster) Disrupt(ns, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.runOf(ns, name); r != nil && !ended(c.mine(r)) {
		c.edit(r, func(p *corev1.Pod) {
			c.setCondition(p, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
				Reason: "DeletionByTaintManager", Message: "Taint manager: deleting due to NoExecute taint",
			})
		})
	}
}

// set changes how the cluster behaves from now on.
func set[T any](c *Cluster, behaviour *T, to T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*behaviour = to
}

// FailPulls makes the pull of the main container's image fail for the pods for which
// match is true. nil ends that, and a pod goes on at its next try. match runs with the
// cluster locked and must not call it.
func (c *Cluster) FailPulls(match func(*corev1.Pod) bool) { set(c, &c.failPulls, match) }

// FailSchedule keeps pods without a node for the reason that why returns, such as
// "2 Insufficient cpu.". "" or a nil why lets them be scheduled. why runs with the cluster
// locked and must not call it.
func (c *Cluster) FailSchedule(why func(*corev1.Pod) string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failSchedule = why
	c.rescheduleWaiting()
}

// FailBinding keeps the claims for which match is true without a volume: the nodes of
// their pods are chosen, and then nothing comes. nil, or false, ends that at the
// scheduler's next try. match runs with the cluster locked and must not call it.
func (c *Cluster) FailBinding(match func(*corev1.PersistentVolumeClaim) bool) {
	set(c, &c.failBinding, match)
}

// LoseVolume takes the volume of a bound claim away: the claim is Lost from then on.
func (c *Cluster) LoseVolume(ns, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if claim := c.claim(ns, name).DeepCopy(); claim != nil {
		claim.Status.Phase = corev1.ClaimLost
		c.put(c.table(claims), claim)
	}
}

// Refuse rejects requests with a Status of the test's choosing. nil ends it.
func (c *Cluster) Refuse(f RefuseFunc) { set(c, &c.refuse, f) }

// Inject changes pods at their creation, as a webhook of a service mesh does. nil ends
// it. f runs with the cluster locked and must not call it.
func (c *Cluster) Inject(f func(*corev1.Pod)) { set(c, &c.inject, f) }

// Lose breaks the connection before the answer to each request for which f is true. The
// request is carried out. f is asked like a RefuseFunc. nil ends that.
func (c *Cluster) Lose(f func(r *http.Request, verb, resource string) bool) { set(c, &c.lose, f) }

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

// The rejections of a real API server that kubesim does not make by itself, in the words
// and with the details of the real one. A RefuseFunc returns them.

// OverQuota is the answer to the creation of a pod beyond a ResourceQuota.
func OverQuota(quota, pod string) *metav1.Status {
	return forbidden("pods", pod, fmt.Sprintf("exceeded quota: %s, requested: pods=1, used: pods=0, limited: pods=0", quota))
}

// Insecure is the answer to a pod that Pod Security admission rejects.
func Insecure(level, pod string) *metav1.Status {
	return forbidden("pods", pod, fmt.Sprintf(
		"violates PodSecurity %q: privileged (container \"docker\" must not set securityContext.privileged=true)", level))
}

// NoPermission is the answer to a user whose roles do not allow the request.
func NoPermission(user, verb, resource, namespace, name string) *metav1.Status {
	plural, _, _ := strings.Cut(resource, "/")
	return forbidden(plural, name, fmt.Sprintf("User %q cannot %s resource %q in API group \"\" in the namespace %q", user, verb, resource, namespace))
}

func forbidden(resource, name, why string) *metav1.Status {
	return &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Message: fmt.Sprintf("%s %q is forbidden: %s", resource, name, why),
		Details: &metav1.StatusDetails{Name: name, Kind: resource},
	}
}
