package kubesim

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A node is a Kubernetes node, with room for any number of pods.
type node struct {
	number int
	name   string
	images map[string]bool // the images that were pulled there
	pods   int             // pods on the node now
	given  int             // pods that were ever on the node, for their addresses
}

func makeNodes() []*node {
	out := make([]*node, 4)
	for i := range out {
		out[i] = &node{
			number: i + 1,
			name:   fmt.Sprintf("node-%d", i+1),
			images: map[string]bool{},
		}
	}
	return out
}

// schedule gives a pod a node, or says on the pod why there is none.
func (c *Cluster) schedule(r *run) {
	pod := c.mine(r)
	if pod == nil {
		return
	}
	if why := c.unplaced(pod); why != "" {
		r.wait = waitNode
		why = fmt.Sprintf("0/%d nodes are available: %s", len(c.nodes), why)
		if was := condition(pod, corev1.PodScheduled); was == nil || was.Message != why {
			c.edit(r, func(p *corev1.Pod) { c.unscheduled(p, corev1.PodReasonUnschedulable, why) })
		}
		return
	}
	n := c.nodes[0]
	for _, other := range c.nodes {
		if other.pods < n.pods {
			n = other
		}
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

func (c *Cluster) unscheduled(p *corev1.Pod, reason, message string) {
	c.setCondition(p, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message})
}

// bindTimeout is how long the scheduler waits for the volumes of a pod for which it has
// chosen a node. The scheduler says nothing on the pod before.
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
			c.unscheduled(p, corev1.PodReasonSchedulerError, `running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded`)
		})
	}
	r.timer = c.after(5*time.Second, func() { c.schedule(r) })
}

// unplaced returns why no node takes the pod, or "" if one does.
func (c *Cluster) unplaced(pod *corev1.Pod) string {
	if c.failSchedule != nil {
		if why := c.failSchedule(pod); why != "" {
			return why
		}
	}
	for _, name := range claimsOf(pod) {
		claim := c.claim(pod.Namespace, name)
		switch {
		case claim == nil:
			return fmt.Sprintf("persistentvolumeclaim %q not found.", name)
		case claim.Status.Phase == corev1.ClaimLost:
			return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q.", name, claim.Spec.VolumeName)
		case claim.DeletionTimestamp != nil:
			return fmt.Sprintf("persistentvolumeclaim %q is being deleted.", name)
		}
		for _, user := range c.usersOf(pod.Namespace, name) {
			if !ended(user) && !c.cfg.LaxClaims { // the scheduler forgets a pod that has ended
				return fmt.Sprintf("%d node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod.", len(c.nodes))
			}
		}
	}
	return ""
}

// rescheduleWaiting tries the pods without a node again, because something has changed.
func (c *Cluster) rescheduleWaiting() {
	for _, r := range c.waiting(waitNode) {
		r.wait = waitNothing
		r.timer = c.after(between(r.rand, 10*time.Millisecond, 50*time.Millisecond), func() { c.schedule(r) })
	}
}
