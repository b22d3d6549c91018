package kubesim

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// schedule gives a pod a node, or says on the pod why it cannot.
func (c *Cluster) schedule(r *run) {
	pod := c.pod(r.ns, r.name)
	if pod == nil || pod.UID != r.uid {
		return
	}
	n, why := c.placeFor(pod)
	if why != "" {
		r.wait = waitNode
		now := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: why}
		if was := condition(pod, corev1.PodScheduled); was == nil || was.Message != why {
			c.edit(r, func(p *corev1.Pod) { c.setCondition(p, now) })
		}
		return
	}
	r.wait = waitNothing
	if !c.bindClaims(pod, n.name) {
		c.awaitVolumes(r)
		return
	}
	r.node = n
	n.pods++
	n.given++
	c.edit(r, func(p *corev1.Pod) {
		p.Spec.NodeName = n.name
		c.setCondition(p, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	})
	r.timer = c.after(between(r.rand, 20*time.Millisecond, 80*time.Millisecond), func() { c.receive(r) })
}

// bindTimeout is how long the scheduler waits for the volumes of a pod that it has
// chosen a node for. Until then it says nothing on the pod.
const bindTimeout = 10 * time.Minute

// awaitVolumes looks again every few seconds whether a pod's claims can be bound.
func (c *Cluster) awaitVolumes(r *run) {
	now := c.clock.Now()
	if r.since.IsZero() {
		r.since = now
	}
	if now.Sub(r.since) >= bindTimeout {
		r.since = now
		c.edit(r, func(p *corev1.Pod) {
			c.setCondition(p, corev1.PodCondition{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulerError,
				Message: `running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded`,
			})
		})
	}
	r.timer = c.after(5*time.Second, func() { c.schedule(r) })
}

// placeFor is the node with the fewest pods among those that the pod's claims
// allow, or why there is none.
func (c *Cluster) placeFor(pod *corev1.Pod) (*node, string) {
	head := fmt.Sprintf("0/%d nodes are available: ", len(c.nodes))
	if c.failSchedule != nil {
		if why := c.failSchedule(pod); why != "" {
			return nil, head + why
		}
	}
	var bound string
	for _, name := range claimsOf(pod) {
		e := c.table(claims).items[pod.Namespace+"/"+name]
		if e == nil {
			return nil, head + fmt.Sprintf("persistentvolumeclaim %q not found.", name)
		}
		claim := as[*corev1.PersistentVolumeClaim](e.obj)
		if claim.Status.Phase == corev1.ClaimLost {
			return nil, head + fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q.", name, claim.Spec.VolumeName)
		}
		if claim.DeletionTimestamp != nil {
			return nil, head + fmt.Sprintf("persistentvolumeclaim %q is being deleted.", name)
		}
		for _, user := range c.usersOf(pod.Namespace, name) {
			if ended(user) || c.cfg.LaxClaims {
				continue // the scheduler forgets what has ended
			}
			switch claim.Spec.AccessModes[0] {
			case corev1.ReadWriteOncePod:
				return nil, head + fmt.Sprintf("%d node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod.", len(c.nodes))
			case corev1.ReadWriteOnce:
				bound = user.Spec.NodeName
			case corev1.ReadOnlyMany, corev1.ReadWriteMany: // any node will do
			}
		}
	}
	var best *node
	for _, n := range c.nodes {
		if bound != "" {
			if n.name == bound {
				return n, ""
			}
			continue
		}
		if best == nil || n.pods < best.pods {
			best = n
		}
	}
	return best, ""
}

// rescheduleWaiting tries again what had no node: something has changed.
func (c *Cluster) rescheduleWaiting() {
	for _, r := range c.waiting("", waitNode) {
		r.wait = waitNothing
		r.timer = c.after(between(r.rand, 10*time.Millisecond, 50*time.Millisecond), func() { c.schedule(r) })
	}
}
