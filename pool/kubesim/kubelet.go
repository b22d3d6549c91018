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
	waitConfig          // for a Secret in a container's environment
	waitImage           // backing off from a failed pull
)

// A run is the kubelet's side of one pod: how far it has come, and what comes
// next. One timer drives it; what it waits for without a timer is in wait.
type run struct {
	ns, name string
	uid      types.UID
	rand     *rand.Rand
	node     *node
	ip       string

	timer *timer
	wait  waiting
	since time.Time // when the wait for volumes, or for their binding, began

	steps []step
	at    int
	pulls int // failed in a row

	crashes int // of a sidecar

	started  bool // the main process was started
	exited   bool // and has ended, by itself or by us
	code     int  // with that code
	by       string
	stopping bool // a deletion is under way
	restarts int32

	queue   []func(Kubelet) // calls to make, in order
	calling bool
}

func (r *run) runs() bool { return r.started && !r.exited }

// A step of bringing up containers, in the order a kubelet does it.
type step struct {
	do func(c *Cluster, r *run, pod *corev1.Pod, i int)
	i  int // which init container, or container
}

func stepsOf(pod *corev1.Pod) []step {
	var out []step
	for i := range pod.Spec.InitContainers {
		out = append(out, step{do: pullInit, i: i}, step{do: startInit, i: i}, step{do: finishInit, i: i})
	}
	for i := range pod.Spec.Containers {
		out = append(out, step{do: pullMain, i: i})
	}
	return append(out, step{do: startMain})
}

// adopt begins the life of a new pod.
func (c *Cluster) adopt(e *entry) {
	pod := as[*corev1.Pod](e.obj)
	r := &run{
		ns: pod.Namespace, name: pod.Name, uid: pod.UID,
		rand:  c.rand("run/" + pod.Namespace + "/" + pod.Name),
		steps: stepsOf(pod),
	}
	c.runs[pod.UID] = r
	d := between(r.rand, 50*time.Millisecond, 300*time.Millisecond)
	if c.cfg.Schedule != nil {
		d = c.cfg.Schedule(r.rand, pod)
	}
	r.timer = c.after(d, func() { c.schedule(r) })
}

// forget ends the kubelet's care of a pod that is no more.
func (c *Cluster) forget(uid types.UID) {
	r := c.runs[uid]
	if r == nil {
		return
	}
	c.cancel(r.timer)
	delete(c.runs, uid)
	if r.node != nil {
		r.node.pods--
	}
}

// pod is the stored pod: to be read, and copied by whoever changes it.
func (c *Cluster) pod(ns, name string) *corev1.Pod {
	if e := c.table(pods).items[ns+"/"+name]; e != nil {
		return as[*corev1.Pod](e.obj)
	}
	return nil
}

// mine is the pod of a run, nil when it is no more or another has its name.
func (c *Cluster) mine(r *run) *corev1.Pod {
	if pod := c.pod(r.ns, r.name); pod != nil && pod.UID == r.uid {
		return pod
	}
	return nil
}

// edit stores a changed copy of a run's pod.
func (c *Cluster) edit(r *run, f func(*corev1.Pod)) *corev1.Pod {
	pod := c.mine(r)
	if pod == nil {
		return nil
	}
	pod = pod.DeepCopy()
	f(pod)
	c.put(c.table(pods), pod)
	return pod
}

// receive: the kubelet has seen the pod.
func (c *Cluster) receive(r *run) {
	if pod := c.mine(r); pod != nil && c.spoiled(pod, Rejected) {
		c.killLocked(r, "NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector", "kubelet")
		return
	}
	pod := c.edit(r, func(p *corev1.Pod) {
		now := c.now()
		p.Status.StartTime = &now
		p.Status.HostIP = r.node.ip
		p.Status.HostIPs = []corev1.HostIP{{IP: r.node.ip}}
		c.showCreating(p)
	})
	if pod == nil {
		return
	}
	if s := pod.Spec.ActiveDeadlineSeconds; s != nil {
		c.after(time.Duration(*s)*time.Second, func() {
			c.killLocked(r, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline", "kubelet")
		})
	}
	c.mount(r)
}

// mount waits until what the pod mounts exists.
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
		r.ip = fmt.Sprintf("10.%d.%d.%d", r.node.number, r.node.given/250%250, 2+r.node.given%250)
		c.edit(r, func(p *corev1.Pod) {
			p.Status.PodIP = r.ip
			p.Status.PodIPs = []corev1.PodIP{{IP: r.ip}}
			c.setCondition(p, corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue})
		})
		c.step(r)
	})
}

func (c *Cluster) lacksVolume(pod *corev1.Pod) bool {
	lacks := func(name string, optional *bool) bool {
		return (optional == nil || !*optional) && c.table(secrets).items[pod.Namespace+"/"+name] == nil
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil && lacks(v.Secret.SecretName, v.Secret.Optional) {
			return true
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.Secret != nil && lacks(s.Secret.Name, s.Secret.Optional) {
					return true
				}
			}
		}
	}
	return false
}

// waiting are the runs that wait for something, in their pods' order.
func (c *Cluster) waiting(ns string, what ...waiting) []*run {
	var out []*run
	for _, e := range c.table(pods).matching(func(e *entry) bool {
		r := c.runs[e.obj.GetUID()]
		return r != nil && !r.stopping && slices.Contains(what, r.wait) && (ns == "" || r.ns == ns)
	}) {
		out = append(out, c.runs[e.obj.GetUID()])
	}
	return out
}

// secretCame lets pods go on that may have waited for it. A kubelet tries a
// failed mount again after half a second, then ever twice as long up to two
// minutes: the pod goes on at its next try, not at once.
func (c *Cluster) secretCame(ns string) {
	now := c.clock.Now()
	for _, r := range c.waiting(ns, waitVolumes, waitConfig) {
		switch r.wait {
		case waitVolumes:
			try, gap := r.since, 500*time.Millisecond
			for !try.After(now) {
				try = try.Add(gap)
				gap = min(2*gap, 2*time.Minute+2*time.Second)
			}
			c.cancel(r.timer)
			r.timer = c.after(try.Sub(now), func() { c.mount(r) })
		case waitConfig:
			c.cancel(r.timer)
			r.timer = c.after(between(r.rand, time.Second, 10*time.Second), func() { c.step(r) })
		case waitNothing, waitNode, waitImage: // not asked for
		}
	}
}

// step does what comes next in bringing a pod up.
func (c *Cluster) step(r *run) {
	pod := c.mine(r)
	if pod == nil || r.stopping || r.at >= len(r.steps) {
		return
	}
	s := r.steps[r.at]
	s.do(c, r, pod, s.i)
}

// then goes on with the next step after d, having changed the pod by f.
func (c *Cluster) then(r *run, d time.Duration, f func(p *corev1.Pod)) {
	r.timer = c.after(d, func() {
		if f != nil {
			c.edit(r, f)
		}
		r.at++
		c.step(r)
	})
}

// pullTime is how long one container's image takes. A pull time of the
// configuration's is the whole pod's and is spent on the first image.
func (c *Cluster) pullTime(r *run, pod *corev1.Pod, image string) time.Duration {
	if c.cfg.Pull != nil {
		if r.at > 0 {
			return 0
		}
		return c.cfg.Pull(r.rand, pod)
	}
	if r.node.images[image] {
		return 50 * time.Millisecond
	}
	return between(r.rand, time.Second, 3*time.Second)
}

func pullInit(c *Cluster, r *run, pod *corev1.Pod, i int) {
	image := pod.Spec.InitContainers[i].Image
	d := c.pullTime(r, pod, image)
	r.node.images[image] = true
	c.then(r, d, nil)
}

func pullMain(c *Cluster, r *run, pod *corev1.Pod, i int) {
	image := pod.Spec.Containers[i].Image
	if i == 0 && c.spoiled(pod, ImageName) {
		c.badName(r, image)
		return
	}
	if i == 0 && c.failPulls != nil && c.failPulls(pod) {
		c.backOffPull(r, image)
		return
	}
	if r.pulls > 0 {
		r.pulls = 0
		r.wait = waitNothing
	}
	d := c.pullTime(r, pod, image)
	r.node.images[image] = true
	c.then(r, d, nil)
}

// backOffPull shows a failed pull as a kubelet does: the error first, soon the
// back-off, and another try after ten seconds, then ever twice as long up to
// five minutes.
func (c *Cluster) backOffPull(r *run, image string) {
	r.wait = waitImage
	gap := min(10*time.Second<<min(r.pulls, 5), 5*time.Minute)
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

// startTime is how long starting takes: ready is false for the start of a
// process, true for a sidecar's start-up after it. A start time of the
// configuration's is the whole pod's: sidecars share nine tenths of it.
func (c *Cluster) startTime(r *run, pod *corev1.Pod, sidecar *corev1.Container, ready bool) time.Duration {
	if c.cfg.Start != nil {
		total := c.cfg.Start(r.rand, pod)
		n := 0
		for i := range pod.Spec.InitContainers {
			if isSidecar(&pod.Spec.InitContainers[i]) {
				n++
			}
		}
		switch {
		case n == 0:
			return total
		case sidecar == nil:
			return total / 10
		case ready:
			return total * 9 / 10 / time.Duration(n)
		}
		return 0
	}
	if ready && sidecar.StartupProbe != nil {
		return between(r.rand, 2*time.Second, 4*time.Second)
	}
	if ready {
		return 0
	}
	return between(r.rand, 250*time.Millisecond, 350*time.Millisecond)
}

func startInit(c *Cluster, r *run, pod *corev1.Pod, i int) {
	ctr := &pod.Spec.InitContainers[i]
	if c.lacksConfig(r, pod, ctr, true, i) {
		return
	}
	var sidecar *corev1.Container
	d := between(r.rand, 250*time.Millisecond, 350*time.Millisecond)
	if isSidecar(ctr) && (c.spoiled(pod, SidecarCrash) || c.spoiledOne(pod, ctr, SidecarCrash)) {
		c.crashSidecar(r, i)
		return
	}
	if isSidecar(ctr) {
		sidecar = ctr
		d = c.startTime(r, pod, sidecar, false)
	} else if c.cfg.Start != nil {
		d = 0
	}
	c.then(r, d, func(p *corev1.Pod) {
		c.showRunning(p.Status.InitContainerStatuses, i, sidecar == nil || ctr.StartupProbe == nil)
	})
}

// finishInit waits for an init container's end, or for a sidecar's start-up.
func finishInit(c *Cluster, r *run, pod *corev1.Pod, i int) {
	ctr := &pod.Spec.InitContainers[i]
	last := i == len(pod.Spec.InitContainers)-1
	initialized := func(p *corev1.Pod) {
		if last {
			c.setCondition(p, corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue})
		}
	}
	if isSidecar(ctr) && c.spoiledOne(pod, ctr, Hang) {
		// It holds back what comes after it, and is asked again.
		c.edit(r, func(p *corev1.Pod) { c.showRunning(p.Status.InitContainerStatuses, i, false) })
		r.timer = c.after(between(r.rand, 5*time.Second, 10*time.Second), func() { c.step(r) })
		return
	}
	if isSidecar(ctr) {
		c.then(r, c.startTime(r, pod, ctr, true), func(p *corev1.Pod) {
			c.showRunning(p.Status.InitContainerStatuses, i, true)
			initialized(p)
		})
		return
	}
	d := 500 * time.Millisecond
	if c.cfg.Start != nil {
		d = 0
	}
	c.then(r, d, func(p *corev1.Pod) {
		c.showTerminated(p.Status.InitContainerStatuses, i, 0)
		p.Status.InitContainerStatuses[i].Ready = true
		initialized(p)
	})
}

func startMain(c *Cluster, r *run, pod *corev1.Pod, _ int) {
	for i := range pod.Spec.Containers {
		if c.lacksConfig(r, pod, &pod.Spec.Containers[i], false, i) {
			return
		}
	}
	r.timer = c.after(c.startTime(r, pod, nil, false), func() { c.runMain(r) })
}

func (c *Cluster) runMain(r *run) {
	pod := c.edit(r, func(p *corev1.Pod) {
		all := true
		for i := range p.Status.ContainerStatuses {
			if ctr := &p.Spec.Containers[i]; i > 0 && c.spoiledOne(p, ctr, ImageName) {
				showBadName(p, i, ctr.Image)
				all = false
				continue
			}
			c.showRunning(p.Status.ContainerStatuses, i, true)
			p.Status.ContainerStatuses[i].RestartCount = r.restarts
		}
		if !all { // of a pod with a container that waits a kubelet says Pending, whatever else runs
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
	r.started, r.exited = true, false
	r.at = len(r.steps)
	c.callStarted(r)
	switch pod := c.mine(r); {
	case c.spoiled(pod, Crash):
		c.crashMain(r, 1, "Error")
	case c.spoiled(pod, OutOfMemory):
		c.crashMain(r, killed, "OOMKilled")
	}
}

// lacksConfig stops a container whose environment names a Secret that does not
// exist (or that Spoil says so of), which shows, unlike a volume's, as a reason of its own.
func (c *Cluster) lacksConfig(r *run, pod *corev1.Pod, ctr *corev1.Container, init bool, i int) bool {
	missing := ""
	need := func(name string, optional *bool) {
		if (optional == nil || !*optional) && c.table(secrets).items[pod.Namespace+"/"+name] == nil {
			missing = name
		}
	}
	for _, e := range ctr.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
			need(e.ValueFrom.SecretKeyRef.Name, e.ValueFrom.SecretKeyRef.Optional)
		}
	}
	for _, e := range ctr.EnvFrom {
		if e.SecretRef != nil {
			need(e.SecretRef.Name, e.SecretRef.Optional)
		}
	}
	spoiled := !init && c.spoiled(pod, NoConfig)
	if spoiled {
		missing = "spoiled"
		r.timer = c.after(between(r.rand, 10*time.Second, 15*time.Second), func() { c.step(r) })
	}
	if missing == "" {
		if r.wait == waitConfig {
			r.wait = waitNothing
		}
		return false
	}
	if r.wait != waitConfig {
		r.wait = waitConfig
		c.edit(r, func(p *corev1.Pod) {
			list := p.Status.ContainerStatuses
			if init {
				list = p.Status.InitContainerStatuses
			}
			setWaiting(list, i, "CreateContainerConfigError", fmt.Sprintf("secret %q not found", missing))
		})
	}
	return true
}

// callStarted and callTerminate tell the plugged-in Kubelet, after the lock is
// let go and in the order of a pod's life.
func (c *Cluster) callStarted(r *run) {
	pod := c.mine(r)
	if pod == nil {
		return
	}
	pod = pod.DeepCopy()
	c.enqueue(r, func(k Kubelet) { k.Started(pod) })
}

func (c *Cluster) callTerminate(r *run, pod *corev1.Pod, by string) {
	pod = pod.DeepCopy()
	c.enqueue(r, func(k Kubelet) { k.Terminate(pod, by) })
}

func (c *Cluster) enqueue(r *run, f func(Kubelet)) {
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
			if k == nil {
				continue
			}
			c.mu.Unlock()
			f(k)
			c.mu.Lock()
		}
		r.calling = false
	})
}
