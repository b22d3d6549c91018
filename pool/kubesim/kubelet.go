package kubesim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

type waiting int

const (
	waitNothing waiting = iota
	waitNode            // for the scheduler to find one
	waitVolumes         // for a Secret to mount
)

// A run is the kubelet's side of one pod: how far the pod has come, and what comes next.
// One timer drives a run. wait says what a run without a timer waits for.
type run struct {
	ns, name string
	uid      types.UID
	rand     *rand.Rand
	node     *node

	timer *timer
	wait  waiting
	since time.Time // when the wait for volumes, or for their binding, began

	steps   []func(pod *corev1.Pod) // that bring the containers up, in the kubelet's order
	at      int
	pulls   int // that failed in a row
	crashes int // of a sidecar

	started  bool // the main process was started
	exited   bool // the main process has ended
	code     int  // of that end
	by       string
	stopping bool // a deletion is under way

	queue   []func(Kubelet) // calls to make, in order
	calling bool
}

// runs reports whether the main process runs.
func (r *run) runs() bool { return r.started && !r.exited }

// adopt begins the life of a new pod.
func (c *Cluster) adopt(e *entry) {
	pod := as[*corev1.Pod](e.obj)
	r := &run{ns: pod.Namespace, name: pod.Name, uid: pod.UID, rand: c.rand("run/" + key(pod))}
	for i := range pod.Spec.InitContainers {
		r.steps = append(r.steps,
			func(p *corev1.Pod) { c.pull(r, p, p.Spec.InitContainers[i].Image) },
			func(p *corev1.Pod) { c.startInit(r, p, i) },
			func(p *corev1.Pod) { c.finishInit(r, p, i) },
		)
	}
	for i := range pod.Spec.Containers {
		r.steps = append(r.steps, func(p *corev1.Pod) { c.pullMain(r, p, i) })
	}
	r.steps = append(r.steps, func(p *corev1.Pod) { c.startMain(r, p) })
	c.runs[pod.UID] = r
	d := between(r.rand, 50*time.Millisecond, 300*time.Millisecond)
	if c.cfg.Schedule != nil {
		d = c.cfg.Schedule(r.rand, pod)
	}
	r.timer = c.after(d, func() { c.schedule(r) })
}

// forget ends the kubelet's care of a pod that is gone.
func (c *Cluster) forget(uid types.UID) {
	r := c.runs[uid]
	c.cancel(r.timer)
	delete(c.runs, uid)
	if r.node != nil {
		r.node.pods--
	}
}

// pod returns the stored pod, or nil. The caller copies the pod before a change.
func (c *Cluster) pod(ns, name string) *corev1.Pod {
	if e := c.table(pods).items[ns+"/"+name]; e != nil {
		return as[*corev1.Pod](e.obj)
	}
	return nil
}

// mine returns the pod of a run, or nil if the pod is gone or another pod has its name.
func (c *Cluster) mine(r *run) *corev1.Pod {
	if pod := c.pod(r.ns, r.name); pod != nil && pod.UID == r.uid {
		return pod
	}
	return nil
}

// runOf returns the run of a pod, or nil if there is no such pod.
func (c *Cluster) runOf(ns, name string) *run {
	if pod := c.pod(ns, name); pod != nil {
		return c.runs[pod.UID]
	}
	return nil
}

// edit stores a changed copy of a run's pod, and returns the copy.
func (c *Cluster) edit(r *run, f func(*corev1.Pod)) *corev1.Pod {
	pod := c.mine(r).DeepCopy()
	if pod == nil {
		return nil
	}
	f(pod)
	c.put(c.table(pods), pod)
	return pod
}

// receive is the moment in which the kubelet sees the pod.
func (c *Cluster) receive(r *run) {
	if pod := c.mine(r); pod != nil && c.spoiled(pod, Rejected) {
		c.killLocked(r, "NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector", "kubelet")
		return
	}
	c.edit(r, func(p *corev1.Pod) {
		p.Status.StartTime = new(c.now())
		c.showCreating(p)
	})
	c.mount(r)
}

// mount waits until the Secrets exist that the pod mounts.
func (c *Cluster) mount(r *run) {
	pod := c.mine(r)
	if pod == nil {
		return
	}
	if c.spoiled(pod, NoMount) {
		r.wait, r.since = waitVolumes, c.clock.Now()
		r.timer = c.after(between(r.rand, 5*time.Second, 10*time.Second), func() { c.mount(r) })
		return
	}
	if c.lacksVolume(pod) {
		if r.wait != waitVolumes {
			r.wait, r.since = waitVolumes, c.clock.Now()
		}
		return
	}
	r.wait = waitNothing
	r.timer = c.after(between(r.rand, 50*time.Millisecond, 150*time.Millisecond), func() {
		c.edit(r, func(p *corev1.Pod) {
			p.Status.PodIP = fmt.Sprintf("10.%d.%d.%d", r.node.number, r.node.given/250%250, 2+r.node.given%250)
			c.setCondition(p, corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue})
		})
		c.step(r)
	})
}

func (c *Cluster) lacksVolume(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.Secret != nil && c.table(secrets).items[pod.Namespace+"/"+v.Secret.SecretName] == nil
	})
}

// waiting returns the runs that wait for something, in the order of their pods.
func (c *Cluster) waiting(what waiting) []*run {
	var out []*run
	for _, e := range c.table(pods).sorted("") {
		if r := c.runs[e.obj.GetUID()]; r != nil && !r.stopping && r.wait == what {
			out = append(out, r)
		}
	}
	return out
}

// secretCame lets pods go on that may have waited for a new Secret. A kubelet tries a
// failed mount again after half a second, then twice as long each time, up to two
// minutes. A pod goes on at its next try, not at once.
func (c *Cluster) secretCame(ns string) {
	now := c.clock.Now()
	for _, r := range c.waiting(waitVolumes) {
		if r.ns != ns {
			continue
		}
		try, gap := r.since, 500*time.Millisecond
		for !try.After(now) {
			try = try.Add(gap)
			gap = min(2*gap, 2*time.Minute+2*time.Second)
		}
		c.cancel(r.timer)
		r.timer = c.after(try.Sub(now), func() { c.mount(r) })
	}
}

// step does what comes next in bringing a pod up.
func (c *Cluster) step(r *run) {
	if pod := c.mine(r); pod != nil && !r.stopping && r.at < len(r.steps) {
		r.steps[r.at](pod)
	}
}

// then changes the pod by f after d, and goes on with the next step.
func (c *Cluster) then(r *run, d time.Duration, f func(p *corev1.Pod)) {
	r.timer = c.after(d, func() {
		if f != nil {
			c.edit(r, f)
		}
		r.at++
		c.step(r)
	})
}

// again does the current step once more, after a time between lo and hi.
func (c *Cluster) again(r *run, lo, hi time.Duration) {
	r.timer = c.after(between(r.rand, lo, hi), func() { c.step(r) })
}

// backOff is the kubelet's pause after so many failures before.
func backOff(failures int) time.Duration {
	return min(10*time.Second<<min(failures, 5), 5*time.Minute)
}

func (c *Cluster) pull(r *run, pod *corev1.Pod, image string) {
	d := 50 * time.Millisecond
	switch {
	case c.cfg.Pull != nil:
		d = c.cfg.Pull(r.rand, pod)
	case !r.node.images[image]:
		d = between(r.rand, time.Second, 3*time.Second)
	}
	r.node.images[image] = true
	c.then(r, d, nil)
}

func (c *Cluster) pullMain(r *run, pod *corev1.Pod, i int) {
	image := pod.Spec.Containers[i].Image
	switch {
	case i == 0 && c.spoiled(pod, ImageName):
		c.edit(r, func(p *corev1.Pod) { showBadName(p, 0) })
		c.again(r, 10*time.Second, 15*time.Second)
	case i == 0 && c.failPulls != nil && c.failPulls(pod):
		c.backOffPull(r, image)
	default:
		c.pull(r, pod, image)
	}
}

// backOffPull shows a failed pull as a kubelet does: the error first, then the back-off,
// and then another try.
func (c *Cluster) backOffPull(r *run, image string) {
	gap := backOff(r.pulls)
	r.pulls++
	cause := fmt.Sprintf("failed to pull and unpack image %q: not found", image)
	c.edit(r, func(p *corev1.Pod) { setWaiting(p.Status.ContainerStatuses, 0, "ErrImagePull", cause) })
	r.timer = c.after(3*time.Second, func() {
		c.edit(r, func(p *corev1.Pod) {
			setWaiting(p.Status.ContainerStatuses, 0, "ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", image, cause))
		})
		r.timer = c.after(gap, func() { c.step(r) })
	})
}

func (c *Cluster) startInit(r *run, pod *corev1.Pod, i int) {
	ctr := &pod.Spec.InitContainers[i]
	if isSidecar(ctr) && (c.spoiled(pod, SidecarCrash) || c.spoiledOne(pod, ctr, SidecarCrash)) {
		c.crashSidecar(r, i)
		return
	}
	c.then(r, between(r.rand, 250*time.Millisecond, 350*time.Millisecond), func(p *corev1.Pod) {
		c.showRunning(p.Status.InitContainerStatuses, i, ctr.StartupProbe == nil)
	})
}

// finishInit waits for the end of an init container, or for the start-up of a sidecar.
func (c *Cluster) finishInit(r *run, pod *corev1.Pod, i int) {
	ctr := &pod.Spec.InitContainers[i]
	if isSidecar(ctr) && c.spoiledOne(pod, ctr, Hang) {
		// The sidecar holds back the containers after it.
		c.edit(r, func(p *corev1.Pod) { c.showRunning(p.Status.InitContainerStatuses, i, false) })
		c.again(r, 5*time.Second, 10*time.Second)
		return
	}
	d := 500 * time.Millisecond
	switch {
	case !isSidecar(ctr):
	case ctr.StartupProbe != nil:
		d = between(r.rand, 2*time.Second, 4*time.Second)
	default:
		d = 0
	}
	c.then(r, d, func(p *corev1.Pod) {
		if isSidecar(ctr) {
			c.showRunning(p.Status.InitContainerStatuses, i, true)
		} else {
			c.showTerminated(p.Status.InitContainerStatuses, i, 0)
			p.Status.InitContainerStatuses[i].Ready = true
		}
		if i == len(p.Spec.InitContainers)-1 {
			c.setCondition(p, corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue})
		}
	})
}

func (c *Cluster) startMain(r *run, pod *corev1.Pod) {
	if c.spoiled(pod, NoConfig) {
		c.edit(r, func(p *corev1.Pod) {
			setWaiting(p.Status.ContainerStatuses, 0, "CreateContainerConfigError", `secret "spoiled" not found`)
		})
		c.again(r, 10*time.Second, 15*time.Second)
		return
	}
	d := between(r.rand, 250*time.Millisecond, 350*time.Millisecond)
	if c.cfg.Start != nil {
		d = c.cfg.Start(r.rand, pod)
	}
	r.timer = c.after(d, func() { c.runMain(r) })
}

func (c *Cluster) runMain(r *run) {
	pod := c.edit(r, func(p *corev1.Pod) {
		all := true
		for i := range p.Status.ContainerStatuses {
			if i > 0 && c.spoiledOne(p, &p.Spec.Containers[i], ImageName) {
				showBadName(p, i)
				all = false
				continue
			}
			c.showRunning(p.Status.ContainerStatuses, i, true)
		}
		if !all { // a pod with a container that waits is Pending, whatever else runs
			c.setReady(p, false, "ContainersNotReady")
			return
		}
		p.Status.Phase = corev1.PodRunning
		c.setReady(p, true, "")
	})
	if pod == nil {
		return
	}
	for i := range pod.Spec.Containers {
		if i > 0 && c.spoiledOne(pod, &pod.Spec.Containers[i], Crash) {
			c.crashBeside(r, i)
		}
	}
	r.started = true
	r.at = len(r.steps)
	c.tell(r, func(k Kubelet) { k.Started(pod.DeepCopy()) })
	switch {
	case c.spoiled(pod, Crash):
		c.crashMain(r, 1, "Error")
	case c.spoiled(pod, OutOfMemory):
		c.crashMain(r, killed, "OOMKilled")
	}
}

// tell calls the Kubelet without the lock, and in the order of a pod's life.
func (c *Cluster) tell(r *run, f func(Kubelet)) {
	if c.kubelet == nil || c.closed {
		return
	}
	r.queue = append(r.queue, f)
	if r.calling {
		return
	}
	r.calling = true
	c.calls.Go(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for len(r.queue) > 0 && !c.closed {
			f, k := r.queue[0], c.kubelet
			r.queue = r.queue[1:]
			c.mu.Unlock()
			f(k)
			c.mu.Lock()
		}
		r.calling = false
	})
}
