package simulate

import (
	"fmt"
	"math"
	"slices"
)

// rival is a policy that counts builds and agents. It looks at the world at times of its own, makes agents,
// and removes agents that have been free for too long.
type rival struct {
	every   int64 // it looks every so many milliseconds
	react   int64 // it also looks so long after a build came or went; 0: it does not
	gap     int64 // but no sooner than so long after the look before
	once    bool  // an agent runs one build and goes
	idle    int64 // an agent that is free for so long goes; never: it stays
	sweep   int64 // how often it looks for such agents; 0: at every look
	restful func(w *world) bool
	grow    func(r *rival, w *world) int // how many agents to make
	shrink  func(r *rival, w *world)     // nil: only idle agents go

	begun     bool
	last      int64
	elapsed   int64 // since the look before
	tick      int64 // the next regular look
	swept     int64
	soon      int64 // the next look after an event
	estimates struct{ queue, idle, coming float64 }
	window    []recommendation
	target    int
}

func (r *rival) next(w *world) int64 {
	if !r.begun {
		r.begun, r.soon, r.last = true, never, math.MinInt64/2
		r.tick = w.now + w.picks.Int64N(r.every)
		r.swept = r.tick
	}
	if r.asleep(w) {
		return r.soon
	}
	if r.tick <= w.now && r.last != w.now { // looks in which nothing happens are skipped
		r.tick += (w.now - r.tick + r.every - 1) / r.every * r.every
	}
	return min(r.tick, r.soon)
}

// asleep reports whether a regular look would find nothing to do.
func (r *rival) asleep(w *world) bool {
	if w.waiting() > 0 || r.restful != nil && !r.restful(w) {
		return false
	}
	if r.shrink != nil {
		return r.restful != nil
	}
	return r.idle == never || w.count[free] == 0
}

func (r *rival) look(w *world) error {
	w.out.Looks++
	r.elapsed, r.last = w.now-r.last, w.now
	if w.now >= r.soon {
		r.soon = never
	}
	if w.now >= r.tick {
		r.tick += (w.now-r.tick)/r.every*r.every + r.every
	}
	for range r.grow(r, w) {
		w.create(creation{once: r.once, patience: 10 * minute})
	}
	if r.shrink != nil {
		r.shrink(r, w)
	}
	if r.idle == never || w.now < r.swept {
		return nil
	}
	r.swept = w.now + r.sweep
	for _, a := range slices.Clone(w.all) {
		if a.state == free && w.now-a.since >= r.idle {
			w.remove(a)
		}
	}
	return nil
}

// stir plans a look soon after an event.
func (r *rival) stir(w *world) {
	if r.react > 0 && r.begun {
		r.soon = min(r.soon, max(w.now+r.react, r.last+r.gap))
	}
}

func (r *rival) arrived(w *world, _ int)     { r.stir(w) }
func (r *rival) left(*world, int)            {}
func (r *rival) connected(*world, *agent)    {}
func (r *rival) vanished(w *world, _ *agent) { r.stir(w) }
func (r *rival) changed(w *world, a *agent) {
	if a.state == leaving {
		w.remove(a)
	}
	if a.running == 0 {
		r.stir(w)
	}
}

// alive returns how many agents start, work or are free.
func (w *world) alive() int { return w.count[starting] + w.count[busy] + w.count[free] }

const (
	second = 1000
	minute = 60 * second
)

// Family names a kind of rival, with the source that it is re-implemented from.
type Family struct{ Name, Source string }

// The families of rivals.
var (
	familyJenkins   = Family{"jenkins", "jenkinsci/jenkins ff9430ee: hudson/slaves/NodeProvisioner.java, StandardStrategyImpl; CloudRetentionStrategy, OnceRetentionStrategy"}
	familyNoDelay   = Family{"k8s-nodelay", "jenkinsci/kubernetes-plugin a82d78a0: NoDelayProvisionerStrategy.java, KubernetesCloud.provision"}
	familyKEDA      = Family{"keda", "kedacore/keda 8b4f083c: pkg/scaling/executor/scale_jobs.go"}
	familyARC       = Family{"arc", "actions/actions-runner-controller 2ee6b3b8: cmd/ghalistener/scaler/scaler.go, ephemeralrunnerset_controller.go"}
	familyHPA       = Family{"hpa", "kubernetes/kubernetes: replica_calculator.go, autoscaling/v2/defaults.go"}
	familyGitLab    = Family{"taskscaler", "gitlabhq/gitlab-runner d79f3e7b: provider.go, and its documentation of [runners.autoscaler]"}
	familyBuildkite = Family{"buildkite", "buildkite/buildkite-agent-scaler 49c41453"}
	familyFixed     = Family{"fixed", "a pool of n agents for ever; n is a quantile of the concurrency"}
)

// Families returns the rivals' families, with their sources.
func Families() []Family {
	return []Family{familyJenkins, familyNoDelay, familyKEDA, familyARC, familyHPA, familyGitLab, familyBuildkite, familyFixed}
}

func newRival(f Family, name string, r rival) Policy {
	return Policy{Name: f.Name + name, Source: f.Source, make: func(*Scenario, []Build) (policy, error) {
		one := r
		return &one, nil
	}}
}

// kept returns the part of a rival that says when its agents go. Once: after one build, or after 5 min without
// one, which is the plugin's retentionTimeout. Otherwise: after idle minutes. Jenkins looks every minute.
func kept(idleMinutes int) (rival, string) {
	if idleMinutes == 0 {
		return rival{once: true, idle: 5 * minute, sweep: minute}, "+once"
	}
	return rival{idle: int64(idleMinutes) * minute, sweep: minute}, fmt.Sprintf("+idle%d", idleMinutes)
}

// JenkinsStandard returns Jenkins' own NodeProvisioner: every 10 s it smooths the queue's length by a moving
// average (0.9 old, 0.1 new), and provisions what the smoothed values miss.
func JenkinsStandard(idleMinutes int) Policy {
	r, name := kept(idleMinutes)
	r.every = 10 * second
	r.grow = func(r *rival, w *world) int {
		const decay, margin, margin0, marginDecay = 0.9, 0.10, 0.50, 0.5
		e, q, idle, coming := &r.estimates, float64(w.waiting()), float64(len(w.open)), float64(w.count[starting])
		for _, x := range []struct {
			of  *float64
			now float64
		}{{&e.queue, q}, {&e.idle, idle}, {&e.coming, coming}} {
			// Looks at an empty world are skipped, and count as zeros.
			*x.of *= math.Pow(decay, float64(max(1, r.elapsed/r.every)))
			*x.of += (1 - decay) * x.now
		}
		if q <= idle {
			return 0
		}
		online := w.count[busy] + w.count[free]
		none := idle+coming == 0 && online == 0
		if max(idle, e.idle) >= margin && !none {
			return 0
		}
		excess := min(q, e.queue) - min(e.coming, coming)
		if none && excess < 1 {
			excess = 1
		}
		m := min(1, margin+(margin0-margin)*math.Pow(marginDecay, float64(online)))
		if excess <= 1-m {
			return 0
		}
		return int(excess + m)
	}
	r.restful = func(w *world) bool { return w.alive() == 0 }
	return newRival(familyJenkins, name, r)
}

// NoDelay returns the Kubernetes plugin's strategy: for each build that waits an agent at once. The plugin
// subtracts agents that are starting twice, as connecting executors and as agents in provisioning.
func NoDelay(idleMinutes int) Policy {
	r, name := kept(idleMinutes)
	r.every, r.react, r.gap = 10*second, second, second
	r.grow = func(r *rival, w *world) int {
		n := max(0, w.waiting()-len(w.open)-2*w.count[starting])
		if n > 0 {
			r.soon = w.now + second
		}
		return n
	}
	return newRival(familyNoDelay, name, r)
}

// KEDA returns a ScaledJob: every 30 s it makes as many Jobs as its strategy says. "default" is given the queue
// and the running builds, since it starves otherwise; the other two the queue only. A Job is pending for 70 %
// of its start. A Job that gets no build ends after 5 min.
func KEDA(strategy string) Policy {
	r := rival{every: 30 * second, once: true, idle: 5 * minute}
	r.grow = func(_ *rival, w *world) int {
		switch q := w.waiting(); strategy {
		case "accurate":
			pending := 0
			for _, a := range w.all {
				if a.state == starting && w.now < a.created+(a.online-a.created)*7/10 {
					pending++
				}
			}
			return max(0, q-pending)
		case "eager":
			return q
		default:
			return max(0, q+w.count[busy]-w.alive())
		}
	}
	return newRival(familyKEDA, "-"+strategy+"30", r)
}

// ARC returns a scale set of the Actions Runner Controller: as many runners as builds wait and run, and
// minRunners more. A runner runs one build. Free runners go when there is nothing to do.
func ARC(minRunners int) Policy {
	r := rival{every: 50 * second, react: second, gap: second, once: true, idle: never, target: -1}
	r.grow = func(_ *rival, w *world) int { return max(0, minRunners+w.waiting()+w.count[busy]-w.alive()) }
	r.restful = func(w *world) bool { return w.count[free] <= minRunners }
	r.shrink = func(r *rival, w *world) {
		target := minRunners + w.waiting() + w.count[busy]
		if target == minRunners && r.target == minRunners {
			for _, a := range slices.Clone(w.all) {
				if a.state == free && w.alive() > target {
					w.remove(a)
				}
			}
		}
		r.target = target
	}
	return newRival(familyARC, fmt.Sprintf("-min%d", minRunners), r)
}

// recommendation is what HPA wanted at a time.
type recommendation struct {
	at   int64
	want int
}

// HPA returns a HorizontalPodAutoscaler on the builds that wait and run, one for each agent. It takes no notice
// of which agents are idle: agents at work that it chooses finish their builds first.
func HPA(least int) Policy {
	r := rival{every: 15 * second, idle: never}
	r.restful = func(w *world) bool { return w.count[busy] == 0 && len(w.all) == least }
	want := func(_ *rival, w *world) (desired, have int) {
		for _, a := range w.all {
			if !a.shut {
				have++
			}
		}
		metric := w.waiting() + w.running // also builds on agents that drain: the metric does not tell
		if desired = max(metric, least); have > 0 && math.Abs(1-float64(metric)/float64(have)) <= 0.1 {
			desired = have
		}
		return desired, have
	}
	r.grow = func(r *rival, w *world) int {
		desired, have := want(r, w)
		r.window = slices.DeleteFunc(r.window, func(x recommendation) bool { return w.now-x.at > 5*minute })
		r.window = append(r.window, recommendation{w.now, desired})
		return max(0, min(desired, have+max(4, have))-have)
	}
	r.shrink = func(r *rival, w *world) {
		_, have := want(r, w)
		most := 0
		for _, x := range r.window {
			most = max(most, x.want)
		}
		for n := have - max(most, least); n > 0; n-- {
			a := w.all[w.picks.IntN(len(w.all))]
			for a.shut {
				a = w.all[w.picks.IntN(len(w.all))]
			}
			if a.running > 0 {
				w.shutAgent(a)
			} else {
				w.remove(a)
			}
		}
	}
	return newRival(familyHPA, fmt.Sprintf("-min%d", least), r)
}

// Taskscaler returns GitLab Runner's autoscaler: an instance for each task, and idle_count or scale_factor times
// the instances in use as idle ones. It looks every 5 s and when a task comes, which is a generous reading.
func Taskscaler(idleCount int, factor float64, idleMinutes int) Policy {
	required := func(w *world) int {
		used := w.count[busy]
		spare := idleCount
		if factor > 0 {
			spare = max(idleCount, int(math.Ceil(factor*float64(used))))
		}
		return used + w.waiting() + spare
	}
	r := rival{every: 5 * second, react: 1, idle: never}
	r.restful = func(w *world) bool { return w.alive() == required(w) }
	r.grow = func(_ *rival, w *world) int { return max(0, required(w)-w.alive()) }
	r.shrink = func(_ *rival, w *world) {
		for n := w.alive() - required(w); n > 0; n-- {
			var oldest *agent
			for _, a := range w.all {
				if a.state == free && w.now-a.since >= int64(idleMinutes)*minute && (oldest == nil || a.since < oldest.since) {
					oldest = a
				}
			}
			if oldest == nil {
				return
			}
			w.remove(oldest)
		}
	}
	return newRival(familyGitLab, fmt.Sprintf("-i%d-f%g-t%d", idleCount, factor, idleMinutes), r)
}

// Buildkite returns Buildkite's agent scaler: every 10 s as many instances as builds wait and run, and a buffer.
// An instance goes after 10 min without a build.
func Buildkite(idleMinutes, buffer int) Policy {
	r := rival{every: 10 * second, idle: int64(idleMinutes) * minute}
	r.grow = func(_ *rival, w *world) int {
		jobs := w.waiting() + w.count[busy]
		return max(0, jobs+min(buffer, jobs)-w.alive())
	}
	return newRival(familyBuildkite, fmt.Sprintf("-idle%d-b%d", idleMinutes, buffer), r)
}

// Fixed returns a pool of as many agents as the share q of the time needs.
func Fixed(q float64) Policy {
	return Policy{Name: fmt.Sprintf("%s@p%g", familyFixed.Name, 100*q), Source: familyFixed.Source, make: func(_ *Scenario, builds []Build) (policy, error) {
		n := max(1, concurrency(builds, q))
		r := rival{every: minute, idle: never}
		r.restful = func(w *world) bool { return w.alive() >= n }
		r.grow = func(_ *rival, w *world) int { return n - w.alive() }
		return &r, nil
	}}
}

// Defaults returns the rivals at their defaults.
func Defaults() []Policy {
	return []Policy{
		JenkinsStandard(10), JenkinsStandard(0), NoDelay(0), NoDelay(5), NoDelay(10), NoDelay(30), KEDA("default"), KEDA("accurate"), KEDA("eager"),
		ARC(0), HPA(1), Taskscaler(0, 0, 10), Taskscaler(0, 0.25, 5), Taskscaler(1, 0.5, 10), Buildkite(10, 0), Fixed(0.9), Fixed(0.99),
	}
}

// Grid returns the rivals at many settings. The best of them was chosen in hindsight, as nobody can.
func Grid() []Policy {
	out := Defaults()
	for _, idle := range []int{1, 2, 3, 7, 15, 20, 45, 60, 120} {
		out = append(out, NoDelay(idle))
	}
	for _, n := range []int{1, 2, 3, 5, 10} {
		out = append(out, ARC(n))
	}
	for _, idle := range []int{0, 1, 2, 5} {
		for _, factor := range []float64{0, 0.25, 0.5} {
			for _, t := range []int{1, 5, 30} {
				out = append(out, Taskscaler(idle, factor, t))
			}
		}
	}
	for _, idle := range []int{1, 3, 30} {
		out = append(out, Buildkite(idle, 0))
	}
	known := map[string]bool{}
	return slices.DeleteFunc(out, func(p Policy) bool {
		twice := known[p.Name]
		known[p.Name] = true
		return twice
	})
}

// concurrency returns how many builds run at once in the share q of the time, if none waits.
func concurrency(builds []Build, q float64) int {
	spent := map[int]int64{}
	total := int64(0)
	sweepLevels(builds, 0, func(level int, from, to int64) {
		spent[level] += to - from
		total += to - from
	})
	need := int64(q * float64(total))
	for level := 0; ; level++ {
		if need -= spent[level]; need <= 0 {
			return level
		}
	}
}
