package kubesim

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Exit codes of a process that a signal has ended.
const (
	killed     = 137
	terminated = 143
)

// Exit says that a pod's main process, that of the first container, has ended by itself.
// Sidecars are stopped after it. Other plain containers run on, and keep the pod Running.
// Exit does nothing if the pod is gone or its process does not run.
func (c *Cluster) Exit(ns, name string, code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.runOf(ns, name)
	if r == nil || !r.runs() {
		return
	}
	r.exited, r.code = true, code
	if r.stopping {
		// The kubelet's own sleep does not end with the process (kubernetes#134338): the
		// pod stays until the sleep is over.
		return
	}
	if len(c.mine(r).Spec.Containers) > 1 {
		c.edit(r, func(p *corev1.Pod) {
			c.showTerminated(p.Status.ContainerStatuses, 0, code)
			c.setReady(p, false, "ContainersNotReady")
		})
		return
	}
	c.finish(r, code, "")
}

// finish shows the end of the plain containers, then stops the sidecars and ends the pod.
// reason, unless "", says why the main container ended.
func (c *Cluster) finish(r *run, code int, reason string) {
	pod := c.edit(r, func(p *corev1.Pod) {
		c.showExited(p, code)
		if reason != "" {
			p.Status.ContainerStatuses[0].State.Terminated.Reason = reason
		}
	})
	end := func() {
		c.edit(r, func(p *corev1.Pod) { c.showEnded(p, code) })
		c.rescheduleWaiting()
	}
	if hasSidecar(pod) {
		r.timer = c.after(c.stopTime(r, pod), end)
	} else {
		end()
	}
}

// terminate is the kubelet's answer to a deletion. preStop comes first, for the grace at
// most. Then the process is told to end, and the pod goes. A second deletion with a
// shorter grace changes nothing: the kubelet does not cut a hook that runs.
func (c *Cluster) terminate(r *run, grace time.Duration, by string) {
	pod := c.mine(r)
	if pod == nil || r.stopping && grace > 0 {
		return
	}
	c.cancel(r.timer)
	r.stopping = true
	r.wait = waitNothing
	r.by = by
	if grace == 0 && r.runs() {
		c.endProcess(r, pod, killed)
	}
	if !r.runs() {
		r.timer = c.after(c.stopTime(r, pod), func() { c.vanish(r) })
		return
	}
	hook := min(preStop(pod), grace)
	r.timer = c.after(hook, func() {
		pod := c.mine(r)
		if pod == nil {
			return
		}
		if r.runs() {
			c.endProcess(r, pod, terminated)
		}
		// A kubelet gives two seconds more if preStop has used the grace up.
		left := max(grace-hook, 2*time.Second)
		r.timer = c.after(min(left, c.stopTime(r, pod)), func() { c.vanish(r) })
	})
}

// preStop returns how long the main container's preStop sleeps.
func preStop(pod *corev1.Pod) time.Duration {
	lc := pod.Spec.Containers[0].Lifecycle
	if lc == nil || lc.PreStop == nil || lc.PreStop.Sleep == nil {
		return 0
	}
	return time.Duration(lc.PreStop.Sleep.Seconds) * time.Second
}

func (c *Cluster) endProcess(r *run, pod *corev1.Pod, code int) {
	r.exited, r.code = true, code
	copied, by := pod.DeepCopy(), r.by
	c.tell(r, func(k Kubelet) { k.Terminate(copied, by) })
}

// endNow ends the process of a pod that leaves the API at once.
func (c *Cluster) endNow(r *run, pod *corev1.Pod, by string) {
	if r != nil && r.runs() {
		r.by = by
		c.endProcess(r, pod, killed)
	}
}

// stopTime returns how long containers take to stop.
func (c *Cluster) stopTime(r *run, pod *corev1.Pod) time.Duration {
	d := between(r.rand, 100*time.Millisecond, 300*time.Millisecond)
	if hasSidecar(pod) {
		d += between(r.rand, 300*time.Millisecond, 900*time.Millisecond)
	}
	return d
}

// vanish shows how the containers ended and takes the pod out of the API, unless
// finalizers hold it.
func (c *Cluster) vanish(r *run) {
	pod := c.mine(r)
	if pod == nil {
		return
	}
	if !ended(pod) {
		code := killed
		if r.started {
			code = r.code
		}
		pod = c.edit(r, func(p *corev1.Pod) {
			c.showExited(p, code)
			c.showEnded(p, code)
			if len(p.Finalizers) > 0 {
				p.DeletionGracePeriodSeconds = new(int64(0))
			}
		})
	}
	if len(pod.Finalizers) == 0 {
		t := c.table(pods)
		c.drop(t, c.doom(t, pod, 0))
	}
}

// killLocked fails a pod at once, whatever it was doing.
func (c *Cluster) killLocked(r *run, reason, message, by string) {
	pod := c.mine(r)
	if pod == nil || ended(pod) {
		return
	}
	c.cancel(r.timer)
	r.wait = waitNothing
	c.endNow(r, pod, by)
	r.started, r.exited = true, true
	pod = c.edit(r, func(p *corev1.Pod) {
		c.showExited(p, killed)
		c.showEnded(p, killed)
		p.Status.Phase = corev1.PodFailed
		p.Status.Reason, p.Status.Message = reason, message
	})
	c.rescheduleWaiting()
	if pod.DeletionTimestamp != nil {
		r.timer = c.after(200*time.Millisecond, func() { c.vanish(r) })
	}
}
