package scaler

import (
	"maps"
	"slices"
	"time"
)

// Backoff is the pause of a pool whose agents fail. Until its end no agent is made; after it
// one agent is, as a probe, and the rest when that one has proved itself.
type Backoff struct {
	// Until is the end of the pause. Zero: there is none. An agent has died at work, and
	// its build may be why.
	Until   time.Time
	Failure Failure // of the last agent that counts; "" when no server answered
	// Came: the agent had connected, and died. Then the connection of the next agent shows nothing.
	Came bool
	// Before is the pool's pods, by name, that may have been there when the failure was seen:
	// the pods' times are by the API server's clock, which is not compared with ours.
	Before map[string]bool
	// Times counts the failures of each class since the last agent that proved itself.
	Times map[Failure]int
}

// pauses reports whether the pool's creations are limited.
func (b *Backoff) pauses() bool { return !b.Until.IsZero() }

// begun reports whether an agent of the pool has failed since the last one that proved itself.
func (b *Backoff) begun() bool { return b.pauses() || b.Came }

// Concerns reports whether the pod was made after the failure that the pool backs off for. A
// pod from before it says nothing new when it fails, and is no probe.
func (b *Backoff) Concerns(p *Pod) bool { return !b.Before[p.Name] }

// Proves reports whether the pod shows that the pool's agents come again, or live again. (An
// agent that connects shows the first, one that has finished a build both.)
func (b *Backoff) Proves(p *Pod, now time.Time) bool {
	switch {
	case !b.Concerns(p):
		return false
	case b.Came:
		return !p.Ended() && p.DockerFailure == "" && p.Lasted(now)
	}
	return b.Failure.freed() && p.Failure != b.Failure && !p.Scheduled.IsZero()
}

// fail begins the back-off, or lengthens the one before. An agent that fails during one was
// made before it began, and says nothing new.
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

// endBackoffs ends the back-offs whose probe has shown what it was made for.
func (d *scene) endBackoffs() {
	for _, m := range d.agents {
		if m.Pod == nil {
			continue
		}
		b := &d.pooled.of(m.PoolID).Backoff
		finished := m.is.Work.over() && !m.Pod.Ended() && m.Pod.DockerFailure == "" // a dead daemon ends builds, too
		if b.begun() && (b.Proves(m.Pod, d.in.Now) || b.Came && b.Concerns(m.Pod) && finished) {
			*b = Backoff{}
		}
	}
}

// unproven counts the pool's pods that have yet to show that they come, and says
// whether one more may be made: while a pool recovers from failures there is one
// at a time, unless those on the way are overdue. Each one more is waited for
// twice as long before the next, so there are few in START_TIMEOUT.
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

// tries reports whether the agent's pod may still show what its pool backs off for. Some
// agents show nothing for ever: they wait for a person, a build, or somebody's deletion.
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

// Learn returns the memory with what became of a tick's actions, and the agents that these
// show to have failed. A creation that did not work begins a back-off, and so does an agent
// that went without ever having connected, or that died as soon as it had: one failure of a
// pool in each tick. (The first agent that dies at work begins none.) An agent that connects
// ends a back-off, unless it has to last. An answer that Jenkins does not give says nothing of
// agents. now is when the last of the outcomes was known.
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
			p.Backoff.fail(f.class, f.came, now, x.before(id, outs)) // a tick may take longer than the pause
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

// fault is how a pool's agent failed; came: after it had connected.
type fault struct {
	class Failure
	came  bool
}

// lessons are what one tick's outcomes say of the pools.
type lessons struct {
	in     *Input
	facts  *Facts
	memory *Memory
	bad    map[PoolID]fault
	good   map[PoolID]bool // an agent has connected
	spared map[PoolID]bool // an agent has died at work, the first time
	unmade map[PoolID]int
	failed []FailedAgent
}

// take learns from one outcome.
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

// created learns from a creation. One for which there was no time, or no answer of Jenkins,
// says nothing of agents, nor does a quota that is full of pods which are about to go.
func (x *lessons) created(o *Outcome) {
	a := &o.Action
	switch {
	case o.Result == Late || o.Result == NoTime || o.FailedBy == SourceJenkins:
		if a.Reason == ReasonDemand {
			x.unmade[a.Pool]++
		}
	case o.Failure == FailureQuota && x.makesRoom(a.Pool):
		x.unmade[a.Pool]++
	case o.Result == Failed || o.Result == Refused:
		x.bad[a.Pool] = fault{o.Failure, false}
		if o.Result == Failed && a.Slot != nil {
			x.putAside(a.Slot.Key()) // there may be a pod now that has it
		}
		if o.Failure != "" && a.Pod == nil {
			x.report(o, o.Error)
		}
	}
}

// putAside notes that a cache slot is not to be chosen for a while.
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

// makesRoom reports whether a pod that Bellboard has deleted still counts to the quota of
// the pool's namespace. In a few seconds it does not, so a refusal means no more than that.
func (x *lessons) makesRoom(id PoolID) bool {
	p := x.in.pool(id)
	return p != nil && slices.ContainsFunc(x.in.Cluster.Pods, func(pod Pod) bool {
		return pod.DeletingByUs && !pod.Ended() && pod.Namespace == p.Namespace
	})
}

// died learns from the end of an agent that had come: one that has lived says nothing of
// its pool. One build that uses all the memory there is must not stop a pool, so the first
// agent that dies at work is spared. Of an agent that is older than this process nothing
// tells whether it was at work.
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

// report adds a failed agent to what is told.
func (x *lessons) report(o *Outcome, text string) {
	why := o.Failure
	if why == "" {
		why = o.Action.Fault()
	}
	x.failed = append(x.failed, FailedAgent{PoolID: o.Action.Pool, Agent: o.Action.Agent, Failure: why, Text: text, Log: o.Log})
}

// before is the pods of a pool, by name, that were there in the tick or that it may have
// made: of some creations nobody knows how they ended. A pod that was made and has no Secret
// is not among them: until it has, it is as good as another probe.
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

// Fault is the class of the agent's failure that the action tells of, once it is done; "":
// none. The action removes an agent that was never connected, or that died, and that no rule
// wanted to go; or it marks an agent whose Docker daemon is dead. (An agent that never came
// and that somebody else deletes has failed if its Kubernetes node is why.)
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
	switch a.Reason { //nolint:exhaustive // the others are decisions
	case ReasonEnded, ReasonStuck, ReasonGhost:
		return FailureOf(a.Pod)
	case ReasonLeaving:
		if a.Pod.Failure != "" {
			return FailureOf(a.Pod)
		}
	}
	return ""
}
