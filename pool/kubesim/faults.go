package kubesim

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A Fault is one way in which a pod fails on its node, with the statuses that a
// kubelet writes.
type Fault string

// The faults.
const (
	NoFault      Fault = ""
	Rejected     Fault = "rejected"      // the kubelet does not take it: Failed, NodeAffinity
	NoMount      Fault = "no-mount"      // its volumes never come: ContainerCreating, which tells no reason
	ImageName    Fault = "image-name"    // InvalidImageName
	NoConfig     Fault = "no-config"     // CreateContainerConfigError
	SidecarCrash Fault = "sidecar-crash" // its first sidecar ends with 1, again and again: CrashLoopBackOff
	Crash        Fault = "crash"         // its main container ends with 1 as soon as it runs: Failed
	OutOfMemory  Fault = "out-of-memory" // the same, OOMKilled
)

// Spoil makes pods fail as fault says; nil ends that. One that waits goes on at
// its next try. fault is called with the cluster locked and must not call it.
func (c *Cluster) Spoil(fault func(*corev1.Pod) Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spoil = fault
}

func (c *Cluster) spoiled(pod *corev1.Pod, f Fault) bool { return c.spoil != nil && c.spoil(pod) == f }

// badName shows an image whose name cannot be one. A kubelet looks again at
// every synchronization.
func (c *Cluster) badName(r *run, image string) {
	r.wait = waitImage
	r.pulls++
	c.edit(r, func(p *corev1.Pod) {
		setWaiting(p.Status.ContainerStatuses, 0, "InvalidImageName",
			fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: invalid reference format", image, image))
	})
	r.timer = c.after(between(r.rand, 10*time.Second, 15*time.Second), func() { c.step(r) })
}

// crashSidecar runs a sidecar for a moment, shows how it ended, and begins it
// anew after the kubelet's back-off.
func (c *Cluster) crashSidecar(r *run, i int) {
	gap := min(10*time.Second<<min(r.crashes, 5), 5*time.Minute)
	r.crashes++
	n := int32(r.crashes)
	c.edit(r, func(p *corev1.Pod) {
		s := &p.Status.InitContainerStatuses[i]
		s.State = corev1.ContainerState{}
		c.showRunning(p.Status.InitContainerStatuses, i, false)
		s.RestartCount = n - 1
	})
	r.timer = c.after(between(r.rand, time.Second, 2*time.Second), func() {
		c.edit(r, func(p *corev1.Pod) {
			c.showTerminated(p.Status.InitContainerStatuses, i, 1)
			s := &p.Status.InitContainerStatuses[i]
			s.LastTerminationState = s.State
			s.RestartCount = n
			setWaiting(p.Status.InitContainerStatuses, i, "CrashLoopBackOff",
				fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", gap, s.Name, p.Name, p.Namespace, p.UID))
		})
		r.timer = c.after(gap, func() { c.step(r) })
	})
}

// crashMain ends a main container that has just begun to run.
func (c *Cluster) crashMain(r *run, code int, reason string) {
	c.after(between(r.rand, 300*time.Millisecond, 900*time.Millisecond), func() {
		pod := c.mine(r)
		if pod == nil || !r.runs() || r.stopping {
			return
		}
		r.by = "itself"
		c.endProcess(r, pod, code)
		c.edit(r, func(p *corev1.Pod) {
			c.showExited(p, code)
			p.Status.ContainerStatuses[0].State.Terminated.Reason = reason
		})
		d := time.Duration(0)
		if hasSidecar(pod) {
			d = c.stopTime(r, pod)
		}
		r.timer = c.after(d, func() {
			c.edit(r, func(p *corev1.Pod) { c.showEnded(p, code) })
			c.rescheduleWaiting()
		})
	})
}
