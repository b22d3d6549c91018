package scaler

import (
	"maps"
	"slices"
	"time"
)

// Backoff is the pause of a pool whose agents fail. Until the pause ends, Bellboard makes no agent. After
// that Bellboard makes one agent as a probe, and the other agents when the probe has proved itself.
type Backoff struct {
	// Until is the end of the pause. Zero: there is no pause. If Came is set as well, an agent has died at
	// work, and its build may be the reason.
	Until   time.Time
	Failure Failure // failure of the last agent that counts; "": no server answered
	// Came: the failed agent had connected, and then died. So the connection of the next agent proves
	// nothing.
	Came bool
	// Before has the names of the pool's pods that may have been there when the failure was seen. Times
	// cannot tell: the pods' times are by the API server's clock, which is not compared with Bellboard's.
	Before map[string]bool
	// Times counts the failures of each class since the last agent that proved itself.
	Times map[Failure]int
}

// pauses reports whether the back-off limits the pool's creations.
func (b *Backoff) pauses() bool { return !b.Until.IsZero() }

// begun reports whether an agent of the pool has failed since the last agent that proved itself.
func (b *Backoff) begun() bool { return b.pauses() || b.Came }

// Concerns reports whether the pod was made after the failure that the pool backs off for. If an older pod
// fails, it says nothing new. An older pod is no probe either.
func (b *Backoff) Concerns(p *Pod) bool { return !b.Before[p.Name] }

// Proves reports whether the pod shows that the agents of the pool connect again, or live again. (An agent
// that connects proves the first. An agent that has finished a build proves both.)
func (b *Backoff) Proves(p *Pod, now time.Time) bool {
	switch {
	case !b.Concerns(p):
		return false
	case b.Came:
		return !p.Ended() && p.DockerFailure == "" && p.Lasted(now)
	}
	return b.Failure.freed() && p.Failure != b.Failure && !p.Scheduled.IsZero()
}

// fail begins a back-off, or a longer one after the one before. An agent that fails during a pause was made
// before the pause began, and says nothing new.
func (b *Backoff) fail(why Failure, came bool, now time.Time, before map[string]bool) {
	if now.Before(b.Until) {
		return
	}
	times := maps.Clone(b.Times)
	if times == nil {
		times = map[Failure]int{}
	}
	times[why]++
	*b = Backoff{Until: now.Add(why.Pause(times[why])), Failure: why, Came: came, Before: before, Times: times}
}

// endBackoffs ends each back-off whose probe has proved itself.
func (d *scene) endBackoffs() {
	for _, m := range d.agents {
		if m.Pod == nil {
			continue
		}
		b := &d.pooled.of(m.PoolID).Backoff
		// A dead Docker daemon ends builds too.
		finished := m.is.Work.over() && !m.Pod.Ended() && m.Pod.DockerFailure == ""
		if b.begun() && (b.Proves(m.Pod, d.in.Now) || b.Came && b.Concerns(m.Pod) && finished) {
			*b = Backoff{}
		}
	}
}

// unproven returns how many of the pool's pods have not yet proved themselves, and whether one more pod may
// be made. While a pool recovers from failures, there is one such pod at a time. If all of them are overdue,
// one more is made. Before each further pod the wait doubles, so there are few such pods within
// START_TIMEOUT.
func (d *scene) unproven(id PoolID, b *Backoff) (n int, more bool) {
	var last time.Time
	more = true
	for _, m := range d.byPool[id] {
		if m.tries(b) && b.Concerns(m.Pod) && !m.Pod.DeletingByUs {
			n++
			more = more && m.verdict.Class == Coming
			if since := m.Pod.waitsSince(); since.After(last) {
				last = since
			}
		}
	}
	after := d.overdueAfter(id)
	return n, n == 0 || more && after > 0 && d.in.Now.Sub(last) >= after<<min(n-1, 10)
}

// tries reports whether the agent's pod may still prove what its pool backs off for. Some agents never prove
// anything: they wait for a person, for a build, or for somebody's deletion of the pod.
func (m *agent) tries(b *Backoff) bool {
	if m.Pod == nil {
		return false
	}
	came := m.Pod.Connected || m.online()
	switch m.verdict.Class {
	case Coming, Stuck, Ended, Drained, Fenced:
		return !came || b.Came
	case Busy, Draining, Free, Cut, Reconnecting:
		return came && b.Came
	case FenceInTheWay, Resuming, Awaited, Held, Leaving, Going, Ghost, Berth, Intruder, Lost, Stray:
	}
	return false
}

// Learn returns the memory with the outcomes of a tick's actions, and the agents that failed according to
// them. now is when the last outcome was known. These begin a back-off, one failure of a pool in each tick:
//
//   - A creation failed.
//   - An agent was removed that had never connected.
//   - An agent died soon after it had connected. (The first agent of a pool that dies at work begins none.)
//
// An agent that connects ends the back-off, unless agents have to stay connected to prove themselves. If
// Jenkins does not answer, that says nothing about agents.
func (m Memory) Learn(in Input, facts Facts, outs []Outcome, now time.Time) (Memory, []FailedAgent) {
	x := lessons{
		in: &in, facts: &facts, memory: &m, bad: map[PoolID]fault{}, good: map[PoolID]bool{}, spared: map[PoolID]bool{}, unmade: map[PoolID]int{},
	}
	m.Pools = maps.Clone(m.Pools)
	if m.Pools == nil {
		m.Pools = map[PoolID]PoolMemory{}
	}
	for i := range outs {
		x.take(&outs[i])
	}
	for id, p := range m.Pools {
		p.Unmade = 0
		if x.good[id] && !p.Backoff.Came {
			p.Backoff = Backoff{}
		}
		m.Pools[id] = p
	}
	for id, n := range x.unmade {
		p := m.Pools[id]
		p.Unmade = n
		m.Pools[id] = p
	}
	for id, f := range x.bad {
		if p := m.Pools[id]; f.came || !x.good[id] {
			// now is not the time of the tick, because a tick may take longer than the pause.
			p.Backoff.fail(f.class, f.came, now, x.before(id, outs))
			m.Pools[id] = p
		}
	}
	for id := range x.spared {
		if p := m.Pools[id]; !p.Backoff.begun() {
			p.Backoff = Backoff{Came: true, Before: x.before(id, outs)}
			m.Pools[id] = p
		}
	}
	return m, x.failed
}

// fault is how a pool's agent failed. came: the agent had connected before.
type fault struct {
	class Failure
	came  bool
}

// lessons collects what the outcomes of one tick say about the pools.
type lessons struct {
	in     *Input
	facts  *Facts
	memory *Memory
	bad    map[PoolID]fault
	good   map[PoolID]bool // an agent has connected
	spared map[PoolID]bool // an agent has died at work, for the first time
	unmade map[PoolID]int
	failed []FailedAgent
}

// take adds one outcome to the lessons.
func (x *lessons) take(o *Outcome) {
	a := &o.Action
	switch {
	case a.Verb == Annotate && o.Result == Done:
		x.good[a.Pool] = true
	case a.Verb == Launch && o.Result == NoTime:
		x.notCalled(a.Agent)
	case a.Verb == Create:
		x.created(o)
	case o.Result == Done && a.Fault() != "":
		switch {
		case a.Pod.Connected:
			x.died(a)
		case x.concerns(a):
			x.bad[a.Pool] = fault{a.Fault(), false}
		}
		x.report(o, failedText(a))
	}
}

// notCalled notes that Jenkins was not asked to call the agent after all.
func (x *lessons) notCalled(agent string) {
	if a, ok := x.memory.Agents[agent]; ok {
		x.memory.Agents = maps.Clone(x.memory.Agents)
		a.Called = time.Time{}
		x.memory.Agents[agent] = a
	}
}

// created adds the outcome of a creation to the lessons. Two outcomes say nothing about agents:
//
//   - There was no time, or Jenkins did not answer.
//   - The quota is full, but some of its pods are about to go.
func (x *lessons) created(o *Outcome) {
	a := &o.Action
	switch {
	case o.Result == Expired || o.Result == NoTime || o.FailedBy == SourceJenkins:
		if a.Reason == ReasonDemand {
			x.unmade[a.Pool]++
		}
	case o.Failure == FailureQuota && x.makesRoom(a.Pool):
		x.unmade[a.Pool]++
	case o.Result == Failed || o.Result == Rejected:
		x.bad[a.Pool] = fault{o.Failure, false}
		if o.Result == Failed && a.Slot != nil {
			x.putAside(a.Slot.Key()) // there may now be a pod that uses the slot
		}
		if o.Failure != "" && a.Pod == nil {
			x.report(o, o.Error)
		}
	}
}

// putAside notes that no agent gets the cache slot for a while.
func (x *lessons) putAside(slot string) {
	slots := maps.Clone(x.memory.Slots)
	if slots == nil {
		slots = map[string]SlotMemory{}
	}
	s := slots[slot]
	s.Aside = x.in.Now.Add(SlotAside)
	slots[slot] = s
	x.memory.Slots = slots
}

// makesRoom reports whether a pod that Bellboard has deleted still counts to the quota of the pool's
// namespace. In a few seconds it no longer does, so a rejection by the quota says nothing more than that.
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
func (x *lessons) died(a *Action) {
	w := x.memory.Agents[a.Agent].Work
	lost := slices.ContainsFunc(x.facts.BuildsLost, func(b LostBuilds) bool { return b.Agent == a.Agent })
	atWork := w.On || lost || w.Builds > 0 && a.Verb == Mark || a.Pod.ConnectedAt.Before(x.memory.Started)
	switch b := x.memory.Pools[a.Pool].Backoff; {
	case a.Pod.Lasted(x.in.Now) || !x.concerns(a), !atWork && w.Builds > 0:
	case !atWork || b.begun():
		x.bad[a.Pool] = fault{a.Fault(), true}
	default:
		x.spared[a.Pool] = true
	}
}

func (x *lessons) concerns(a *Action) bool {
	b := x.memory.Pools[a.Pool].Backoff
	return b.Concerns(a.Pod)
}

// report adds a failed agent to the list that Learn returns.
func (x *lessons) report(o *Outcome, text string) {
	why := o.Failure
	if why == "" {
		why = o.Action.Fault()
	}
	x.failed = append(x.failed, FailedAgent{PoolID: o.Action.Pool, Agent: o.Action.Agent, Failure: why, Text: text, Log: o.Log})
}

// before returns the names of the pool's pods that were there in the tick, or that the tick may have made:
// the outcome of some creations is not known. A pod that was made and has no Secret is not among them. Once
// that pod has its Secret, it is as good as another probe.
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

// Fault returns the class of the agent's failure that the action shows, once the action is done. "" means
// that it shows no failure. These actions show one:
//
//   - Bellboard deletes the pod of an agent that never connected, or that died, and no rule wanted the agent
//     to go.
//   - Bellboard deletes the pod of an agent that never connected while somebody else is deleting it, and the
//     Kubernetes node is the reason.
//   - Bellboard marks an agent whose Docker daemon is dead.
func (a *Action) Fault() Failure {
	switch {
	case a.Pod == nil:
		return ""
	case a.Verb == Mark && a.Reason == ReasonDocker:
		return a.Pod.DockerFailure
	case a.Verb != DeletePod:
		return ""
	case a.Pod.Connected && (a.Reason != ReasonEnded || !a.Pod.Died()):
		return ""
	}
	switch a.Reason { //nolint:exhaustive // all other reasons are decisions
	case ReasonEnded, ReasonStuck, ReasonGhost:
		return FailureOf(a.Pod)
	case ReasonLeaving:
		if a.Pod.Failure != "" {
			return FailureOf(a.Pod)
		}
	}
	return ""
}
