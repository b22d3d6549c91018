package kubesim

import (
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Exit codes of a process ended by signal.
const (
	killed     = 137
	terminated = 143
)

// Exit says that a pod's main process, the first container's, has ended by itself.
// Sidecars are stopped after it; other regular containers run on, and keep the pod
// Running. It does nothing when the pod is gone or its process does not run.
func (c *Cluster) Exit(ns, name string, code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pod := c.pod(ns, name)
	if pod == nil {
		return
	}
	r := c.runs[pod.UID]
	if r == nil || !r.runs() {
		return
	}
	r.exited, r.code = true, code
	if r.stopping {
		// A preStop that runs in the container ends with it. The kubelet's own
		// sleep does not (kubernetes#134338): the pod stays until it is over.
		if _, own := preStop(pod); !own {
			c.cancel(r.timer)
			r.timer = c.after(c.stopTime(r, pod), func() { c.vanish(r) })
		}
		return
	}
	switch {
	case pod.Spec.RestartPolicy == corev1.RestartPolicyAlways,
		pod.Spec.RestartPolicy == corev1.RestartPolicyOnFailure && code != 0:
		c.restart(r, code)
		return
	}
	if len(pod.Spec.Containers) > 1 {
		c.edit(r, func(p *corev1.Pod) {
			c.showTerminated(p.Status.ContainerStatuses, 0, code)
			c.setReady(p, false, "ContainersNotReady")
		})
		return
	}
	if !hasSidecar(pod) {
		c.edit(r, func(p *corev1.Pod) { c.showExited(p, code); c.showEnded(p, code) })
		c.rescheduleWaiting()
		return
	}
	c.edit(r, func(p *corev1.Pod) { c.showExited(p, code) })
	r.timer = c.after(c.stopTime(r, pod), func() {
		c.edit(r, func(p *corev1.Pod) { c.showEnded(p, code) })
		c.rescheduleWaiting()
	})
}

// restart brings the main container back after the kubelet's back-off.
func (c *Cluster) restart(r *run, code int) {
	gap := min(10*time.Second<<min(r.restarts, 5), 5*time.Minute)
	r.restarts++
	c.edit(r, func(p *corev1.Pod) {
		c.showExited(p, code)
		for i := range p.Status.ContainerStatuses {
			s := &p.Status.ContainerStatuses[i]
			s.LastTerminationState = s.State
			setWaiting(p.Status.ContainerStatuses, i, "CrashLoopBackOff", "back-off restarting failed container")
		}
	})
	r.timer = c.after(gap, func() { c.runMain(r) })
}

// terminate is the kubelet's answer to a deletion. preStop comes first, for the grace at
// most. Then the process is told to end, and the pod goes. A second deletion with a
// shorter grace changes nothing any more: the kubelet does not cut a hook that runs.
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
	hook, _ := preStop(pod)
	hook = min(hook, grace)
	r.timer = c.after(hook, func() {
		pod := c.mine(r)
		if pod == nil {
			return
		}
		if r.runs() {
			c.endProcess(r, pod, terminated)
		}
		// A kubelet gives two seconds more when preStop has used the grace up.
		left := max(grace-hook, 2*time.Second)
		r.timer = c.after(min(left, c.stopTime(r, pod)), func() { c.vanish(r) })
	})
}

func (c *Cluster) endProcess(r *run, pod *corev1.Pod, code int) {
	r.exited, r.code = true, code
	c.callTerminate(r, pod, r.by)
}

// endNow: the pod leaves the API at once, and its process with it.
func (c *Cluster) endNow(r *run, pod *corev1.Pod, by string) {
	if r != nil && r.runs() {
		r.by = by
		c.endProcess(r, pod, killed)
	}
}

// stopTime is how long containers take to stop once told to.
func (c *Cluster) stopTime(r *run, pod *corev1.Pod) time.Duration {
	d := between(r.rand, 100*time.Millisecond, 300*time.Millisecond)
	if hasSidecar(pod) {
		d += between(r.rand, 300*time.Millisecond, 900*time.Millisecond)
	}
	return d
}

// vanish: the kubelet reports how the containers ended and takes the pod out
// of the API, unless somebody's finalizers still hold it.
func (c *Cluster) vanish(r *run) {
	pod := c.mine(r)
	if pod == nil {
		return
	}
	if !ended(pod) {
		pod = c.edit(r, func(p *corev1.Pod) {
			if r.started {
				c.showExited(p, r.code)
				c.showEnded(p, r.code)
			} else {
				c.showExited(p, killed)
				c.showEnded(p, killed)
			}
			if len(p.Finalizers) > 0 {
				zero := int64(0)
				p.DeletionGracePeriodSeconds = &zero
			}
		})
	}
	t := c.table(pods)
	if len(pod.Finalizers) == 0 {
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
	r.by = by
	ran := r.runs()
	if ran {
		c.endProcess(r, pod, killed)
	}
	pod = c.edit(r, func(p *corev1.Pod) {
		c.showExited(p, killed)
		c.showEnded(p, killed)
		p.Status.Phase = corev1.PodFailed
		p.Status.Reason, p.Status.Message = reason, message
	})
	r.started, r.exited = true, true
	c.rescheduleWaiting()
	if pod != nil && pod.DeletionTimestamp != nil {
		r.timer = c.after(200*time.Millisecond, func() { c.vanish(r) })
	}
}

// preStop is how long the main container's preStop takes, and whether it is
// the kubelet's own sleep. A command is understood when it is a sleep, given
// directly or in a shell; any other takes no time.
func preStop(pod *corev1.Pod) (d time.Duration, own bool) {
	lc := pod.Spec.Containers[0].Lifecycle
	if lc == nil || lc.PreStop == nil {
		return 0, false
	}
	if s := lc.PreStop.Sleep; s != nil {
		return time.Duration(s.Seconds) * time.Second, true
	}
	if lc.PreStop.Exec == nil {
		return 0, false
	}
	words := strings.Fields(strings.Join(lc.PreStop.Exec.Command, " "))
	for i, w := range words {
		if (w == "sleep" || strings.HasSuffix(w, "/sleep")) && i+1 < len(words) {
			return sleepTime(strings.Trim(words[i+1], `;'"`)), false
		}
	}
	return 0, false
}

func sleepTime(s string) time.Duration {
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return time.Duration(n * float64(time.Second))
	}
	d, _ := time.ParseDuration(s)
	return d
}
