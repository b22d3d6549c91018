package kubesim

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A Fault is one way in which a pod fails on its Kubernetes node, with the statuses that
// a kubelet writes.
type Fault string

// The faults.
const (
	NoFault      Fault = ""
	Rejected     Fault = "rejected"      // the kubelet rejects the pod: Failed, NodeAffinity
	NoMount      Fault = "no-mount"      // the volumes never come: ContainerCreating, without a reason
	ImageName    Fault = "image-name"    // InvalidImageName
	NoConfig     Fault = "no-config"     // CreateContainerConfigError
	SidecarCrash Fault = "sidecar-crash" // the first sidecar ends with 1, again and again: CrashLoopBackOff
	Crash        Fault = "crash"         // the main container ends with 1 as soon as it runs: Failed
	OutOfMemory  Fault = "out-of-memory" // the same, OOMKilled
	Hang         Fault = "hang"          // only for SpoilContainer: the start-up of a sidecar never ends
)

// Spoil makes pods fail as fault says. nil ends that, and a pod that waits goes on at its
// next try. fault runs with the cluster locked and must not call it.
func (c *Cluster) Spoil(fault func(*corev1.Pod) Fault) { set(c, &c.spoil, fault) }

func (c *Cluster) spoiled(pod *corev1.Pod, f Fault) bool { return c.spoil != nil && c.spoil(pod) == f }

// SpoilContainer makes single containers beside the main one fail: a plain container by
// ImageName or Crash, a sidecar by SidecarCrash or Hang. The other containers of the pod
// start and run on. nil ends that. fault runs with the cluster locked and must not call it.
func (c *Cluster) SpoilContainer(fault func(pod *corev1.Pod, container string) Fault) {
	set(c, &c.spoilOne, fault)
}

func (c *Cluster) spoiledOne(pod *corev1.Pod, ctr *corev1.Container, f Fault) bool {
	return c.spoilOne != nil && c.spoilOne(pod, ctr.Name) == f
}

// crashBeside ends a plain container beside the main one, which works on.
func (c *Cluster) crashBeside(r *run, i int) {
	c.after(between(r.rand, 300*time.Millisecond, 900*time.Millisecond), func() {
		if !r.runs() || r.stopping {
			return
		}
		c.edit(r, func(p *corev1.Pod) {
			c.showTerminated(p.Status.ContainerStatuses, i, 1)
			c.setReady(p, false, "ContainersNotReady")
		})
	})
}

// showBadName shows an image whose name is no name of an image.
func showBadName(p *corev1.Pod, i int) {
	image := p.Spec.Containers[i].Image
	setWaiting(p.Status.ContainerStatuses, i, "InvalidImageName",
		fmt.Sprintf("Failed to apply default image tag %q: couldn't parse image name %q: invalid reference format", image, image))
}

// crashSidecar runs a sidecar for a moment, shows how it ended, and starts it again after
// the kubelet's back-off.
func (c *Cluster) crashSidecar(r *run, i int) {
	c.beginSidecar(r, i)
	r.timer = c.after(between(r.rand, time.Second, 2*time.Second), func() {
		c.endSidecar(r, i, func() { c.step(r) })
	})
}

// beginSidecar shows a sidecar that was started again and has not passed its probe.
func (c *Cluster) beginSidecar(r *run, i int) {
	c.edit(r, func(p *corev1.Pod) {
		s := &p.Status.InitContainerStatuses[i]
		s.State = corev1.ContainerState{}
		c.showRunning(p.Status.InitContainerStatuses, i, false)
		s.RestartCount = int32(r.crashes)
	})
}

// endSidecar shows how a sidecar ended, and goes on after the kubelet's back-off.
func (c *Cluster) endSidecar(r *run, i int, then func()) {
	gap := backOff(r.crashes)
	r.crashes++
	c.edit(r, func(p *corev1.Pod) {
		c.showTerminated(p.Status.InitContainerStatuses, i, 1)
		s := &p.Status.InitContainerStatuses[i]
		s.LastTerminationState = s.State
		s.RestartCount = int32(r.crashes)
		setWaiting(p.Status.InitContainerStatuses, i, "CrashLoopBackOff",
			fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", gap, s.Name, p.Name, p.Namespace, p.UID))
	})
	r.timer = c.after(gap, then)
}

// CrashSidecar ends the first sidecar of a running pod with 1, that many times: now, and
// after each time that the sidecar is started again.
func (c *Cluster) CrashSidecar(ns, name string, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pod := c.pod(ns, name)
	i := slices.IndexFunc(pod.Spec.InitContainers, func(ctr corev1.Container) bool { return isSidecar(&ctr) })
	c.fellSidecar(c.runs[pod.UID], i, times)
}

// fellSidecar ends a sidecar while the main process works on, and starts it again. Then
// fellSidecar ends the sidecar again, or lets it pass its probe.
func (c *Cluster) fellSidecar(r *run, i, times int) {
	working := func(f func()) func() { // ends with the main process
		return func() {
			if r.runs() && !r.stopping {
				f()
			}
		}
	}
	c.cancel(r.timer)
	c.endSidecar(r, i, working(func() {
		c.beginSidecar(r, i)
		r.timer = c.after(between(r.rand, 2*time.Second, 4*time.Second), working(func() {
			if times > 1 {
				c.fellSidecar(r, i, times-1)
				return
			}
			c.edit(r, func(p *corev1.Pod) { c.showRunning(p.Status.InitContainerStatuses, i, true) })
		}))
	}))
}

// crashMain ends a main container that has just started to run.
func (c *Cluster) crashMain(r *run, code int, reason string) {
	c.after(between(r.rand, 300*time.Millisecond, 900*time.Millisecond), func() {
		pod := c.mine(r)
		if pod == nil || !r.runs() || r.stopping {
			return
		}
		r.by = "itself"
		c.endProcess(r, pod, code)
		c.finish(r, code, reason)
	})
}
