package scaler

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Backoff is the pause of a pool whose agents fail: Bellboard makes no agent. After that Bellboard makes one
// agent as a probe, and the other agents when the probe has proved itself.
type Backoff struct {
	// Until is the end of the pause. Zero: there is no pause. If Came is set all the same, one agent has died
	// at work, and its build may be the reason.
	Until   time.Time
	Failure Failure // failure of the last agent that counts; "": no server answered
	// Came: the failed agent had connected, and then died. So the next agent's connection proves nothing.
	Came bool
	// Before has the names of the pool's pods that may have been there when the failure was seen. Times
	// cannot tell: the pods' times are by the API server's clock.
	Before map[string]bool
	// Times counts the failures of each class since the last agent that proved itself.
	Times map[Failure]int
}

// pauses reports whether the back-off limits the pool's creations.
func (b *Backoff) pauses() bool { return !b.Until.IsZero() }

// begun reports whether an agent of the pool has failed since the last agent that proved itself.
func (b *Backoff) begun() bool { return b.pauses() || b.Came }

// concerns reports whether the pod was made after the failure that the pool backs off for. An older pod is no
// probe, and says nothing new if it fails.
func (b *Backoff) concerns(p *Pod) bool { return !b.Before[p.Name] }

// proves reports whether the agent shows that the agents of the pool live again, or have room again. (That
// agents connect again is what Learn sees.)
func (b *Backoff) proves(m *agent, now time.Time) bool {
	p := m.Pod
	switch {
	case p == nil || !b.concerns(p):
		return false
	case b.Came:
		// A dead Docker daemon ends builds too.
		return !p.Ended() && p.DockerFailure == "" && (p.Lasted(now) || m.is.Work.over())
	}
	return b.Failure.freed() && p.Failure != b.Failure && !p.Scheduled.IsZero()
}

// fail begins a back-off, or a longer one after the one before. An agent that fails during a pause was made
// before the pause began, and says nothing new.
func (b *Backoff) fail(why Failure, came bool, now time.Time, before map[string]bool) {
	if now.Before(b.Until) {
		return
	}
	times := put(b.Times, why, b.Times[why]+1)
	*b = Backoff{Until: now.Add(why.Pause(times[why])), Failure: why, Came: came, Before: before, Times: times}
}

// endBackoffs ends each back-off whose probe has proved itself.
func (d *scene) endBackoffs() {
	for _, m := range d.agents {
		if b := &d.pooled.of(m.PoolID).Backoff; b.begun() && b.proves(m, d.in.Now) {
			*b = Backoff{}
		}
	}
}

// unproven returns how many of the pool's pods have not yet proved themselves, and whether one more pod may
// be made. While a pool recovers from failures, there is one such pod at a time. If all of them are overdue,
// one more is made. Before each further pod the wait doubles.
func (d *scene) unproven(id PoolID, b *Backoff) (n int, more bool) {
	var last time.Time
	coming := true
	for _, m := range d.byPool[id] {
		if m.tries(b) {
			n++
			coming = coming && m.verdict.Class == Coming
			if since := m.Pod.waitsSince(); since.After(last) {
				last = since
			}
		}
	}
	after := d.overdueAfter(id)
	return n, n == 0 || coming && after > 0 && d.in.Now.Sub(last) >= after<<min(n-1, 10)
}

// tries reports whether the agent's pod may still prove what its pool backs off for. An agent that waits for
// a person, for a build, or for somebody's deletion of the pod never does.
func (m *agent) tries(b *Backoff) bool {
	if m.Pod == nil || m.Pod.DeletingByUs || !b.concerns(m.Pod) {
		return false
	}
	came := m.Pod.Connected || m.online()
	switch m.verdict.Class {
	case Coming, Stuck, Ended, Drained, Fenced:
		return !came || b.Came
	case Busy, Draining, Free, Cut, Reconnecting:
		return came && b.Came
	default:
		return false
	}
}

// Learn returns the memory with the outcomes of a tick's actions, and the agents that failed according to
// them. now is when the last outcome was known. A creation or an agent that fails begins a back-off, one
// failure of a pool in each tick. An agent that connects ends the back-off, unless agents have to stay
// connected to prove themselves. If Jenkins does not answer, that says nothing about agents.
func (m Memory) Learn(in Input, facts Facts, outs []Outcome, now time.Time) (Memory, []FailedAgent) {
	x := lessons{in: &in, facts: &facts, memory: &m}
	for id := range m.Pools {
		x.pools.of(id)
	}
	for i := range outs {
		x.take(&outs[i])
	}
	pools := make(map[PoolID]PoolMemory, len(x.pools))
	for id, l := range x.pools {
		p := m.Pools[id]
		p.Unmade = l.unmade
		if l.connected && !p.Backoff.Came {
			p.Backoff = Backoff{}
		}
		switch {
		case l.failed && (l.came || !l.connected):
			// now is not the time of the tick, because a tick may take longer than the pause.
			p.Backoff.fail(l.class, l.came, now, x.before(id, outs))
		case l.spared && !p.Backoff.begun():
			p.Backoff = Backoff{Came: true, Before: x.before(id, outs)}
		}
		pools[id] = p
	}
	m.Pools = pools
	return m, x.failed
}

// lesson is what the outcomes of one tick say about one pool.
type lesson struct {
	failed, came bool // an agent has failed; it had connected before
	class        Failure
	connected    bool // an agent has connected
	spared       bool // an agent has died at work, for the first time
	unmade       int
}

func (l *lesson) fail(why Failure, came bool) { l.failed, l.class, l.came = true, why, came }

// lessons collects what the outcomes of one tick say about the pools.
type lessons struct {
	in     *Input
	facts  *Facts
	memory *Memory
	pools  notes[PoolID, lesson]
	failed []FailedAgent
}

// take adds one outcome to the lessons.
func (x *lessons) take(o *Outcome) {
	a := &o.Action
	pool, b := x.pools.of(a.Pool), x.memory.Pools[a.Pool].Backoff
	switch why := a.Fault(); {
	case a.Verb == Annotate && o.Result == Done:
		pool.connected = true
	case a.Verb == Launch && o.Result == NoTime:
		m := x.memory.Agent(a.Agent)
		m.Called = time.Time{} // Jenkins was not asked to call the agent after all
		x.memory.Agents = put(x.memory.Agents, a.Agent, &m)
	case a.Verb == Create:
		x.created(o, pool)
	case o.Result == Done && why != "":
		if b.concerns(a.Pod) {
			if a.Pod.Connected {
				x.died(a, pool, b.begun())
			} else {
				pool.fail(why, false)
			}
		}
		x.report(o, failedText(a))
	}
}

// created adds the outcome of a creation to the lessons. An outcome says nothing about agents if there was no
// time, if Jenkins did not answer, or if the quota is full and some of its pods are about to go.
func (x *lessons) created(o *Outcome, pool *lesson) {
	a := &o.Action
	switch {
	case o.Result == Expired || o.Result == NoTime || o.FailedBy == SourceJenkins:
		if a.Reason == ReasonDemand {
			pool.unmade++
		}
	case o.Failure == FailureQuota && x.makesRoom(a.Pool):
		pool.unmade++
	case o.Result == Failed || o.Result == Rejected:
		pool.fail(o.Failure, false)
		if o.Result == Failed && a.Slot != nil { // there may now be a pod that uses the slot
			slot := x.memory.Slots[a.Slot.Key()]
			slot.Aside = x.in.Now.Add(SlotAside)
			x.memory.Slots = put(x.memory.Slots, a.Slot.Key(), slot)
		}
		if o.Failure != "" && a.Pod == nil {
			x.report(o, o.Error)
		}
	}
}

// put returns a copy of m in which k has the record r.
func put[K comparable, R any](m map[K]R, k K, r R) map[K]R {
	out := map[K]R{}
	maps.Copy(out, m)
	out[k] = r
	return out
}

// makesRoom reports whether a pod that Bellboard has deleted still counts to the quota of the pool's
// namespace, for a few seconds.
func (x *lessons) makesRoom(id PoolID) bool {
	p := x.in.pool(id)
	return p != nil && slices.ContainsFunc(x.in.Cluster.Pods, func(pod Pod) bool {
		return pod.DeletingByUs && !pod.Ended() && pod.Namespace == p.Namespace
	})
}

// died adds the end of an agent that had connected to the lessons:
//
//   - An agent that has lasted, or that has finished a build, says nothing about its pool.
//   - The first agent that dies at work is spared, so that one build that uses all memory stops no pool.
//   - An agent that is older than this process counts as at work, because nothing shows whether it was.
func (x *lessons) died(a *Action, pool *lesson, again bool) {
	w := x.memory.agent(a.Agent).Work
	lost := slices.ContainsFunc(x.facts.BuildsLost, func(b LostBuilds) bool { return b.Agent == a.Agent })
	atWork := w.On || lost || w.Builds > 0 && a.Verb == Mark || a.Pod.ConnectedAt.Before(x.memory.Started)
	switch {
	case a.Pod.Lasted(x.in.Now), !atWork && w.Builds > 0:
	case atWork && !again:
		pool.spared = true
	default:
		pool.fail(a.Fault(), true)
	}
}

func (x *lessons) report(o *Outcome, text string) {
	why := cmp.Or(o.Failure, o.Action.Fault())
	x.failed = append(x.failed, FailedAgent{PoolID: o.Action.Pool, Agent: o.Action.Agent, Failure: why, Text: text, Log: o.Log})
}

// before returns the names of the pool's pods that were there in the tick, or that the tick may have made:
// the outcome of some creations is not known. A pod that was made without its Secret is as good as a probe
// later.
func (x *lessons) before(id PoolID, outs []Outcome) map[string]bool {
	out := map[string]bool{}
	for i := range x.in.Cluster.Pods {
		if p := &x.in.Cluster.Pods[i]; p.PoolID == id {
			out[p.Name] = true
		}
	}
	for i := range outs {
		o := &outs[i]
		made := o.Result == Done || o.Result == Failed && o.FailedBy == ""
		if a := &o.Action; a.Pool == id && a.Verb == Create && a.Pod == nil && made {
			out[a.Agent] = true
		}
	}
	return out
}

// Fault returns the class of the agent's failure that the action shows, once the action is done, or "":
//
//   - Bellboard marks an agent whose Docker daemon is dead.
//   - Bellboard deletes the pod of an agent that died.
//   - Bellboard deletes the pod of an agent that never connected, unless a rule wanted the agent to go. If
//     somebody else is deleting the pod, the Kubernetes node has to be the reason.
func (a *Action) Fault() Failure {
	switch p := a.Pod; {
	case p == nil:
	case a.Verb == Mark && a.Reason == ReasonDocker:
		return p.DockerFailure
	case a.Verb != DeletePod:
	case p.Connected && (a.Reason != ReasonEnded || p.Phase != PodFailed || p.Deleting || p.Failure == ""):
	case a.Reason == ReasonEnded, a.Reason == ReasonStuck, a.Reason == ReasonGhost,
		a.Reason == ReasonLeaving && p.Failure != "":
		return FailureOf(p)
	}
	return ""
}
