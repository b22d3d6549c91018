package control

import (
	"slices"
	"time"

	"bellboard/scaler"
)

// byJenkins is an error of Jenkins in a creation: no pod was asked for yet.
type byJenkins struct{ error }

func (b byJenkins) Unwrap() error { return b.error }

// failing is a pool's back-off. Without an end it is none yet: one agent died at work,
// and its build may be why.
type failing struct {
	scaler.Backoff
	times map[scaler.Failure]int // since the last one that proved itself
}

// backoff is the pools whose agents fail. Its loss costs one more that fails.
type backoff map[scaler.PoolID]failing

func (b backoff) input() map[scaler.PoolID]scaler.Backoff {
	out := make(map[scaler.PoolID]scaler.Backoff, len(b))
	for id, f := range b {
		if !f.Until.IsZero() {
			out[id] = f.Backoff
		}
	}
	return out
}

// failed starts the back-off, or lengthens the one before. What fails during one
// was made before it began, and says nothing new.
func (b backoff) failed(id scaler.PoolID, why scaler.Failure, came bool, now time.Time, before map[string]bool) {
	f := b[id]
	if now.Before(f.Until) {
		return
	}
	if f.times == nil {
		f.times = map[scaler.Failure]int{}
	}
	f.times[why]++
	f.Failure, f.Came, f.Until, f.Before = why, came, now.Add(why.Pause(f.times[why])), before
	b[id] = f
}

// proven ends the back-offs whose probe has shown what it was made for; one that
// connects and need not last is seen elsewhere.
func (b backoff) proven(pods []scaler.Pod, agents map[string]scaler.AgentMemory, now time.Time) {
	for i := range pods {
		p := &pods[i]
		f, ok := b[p.PoolID]
		w := agents[p.Name].Work
		finished := w.Builds > 0 && !w.On && !p.Ended() && p.DockerFailure == "" // a dead daemon ends builds, too
		if ok && (f.Proves(p, now) || f.Came && f.Concerns(p) && finished) {
			delete(b, p.PoolID)
		}
	}
}

// death is what the end of an agent that had come says of its pool.
type death string

const (
	ofItself death = "of itself" // it had just come, and finished no build
	atWork   death = "at work"   // the same, and its build may be why
	ofAge    death = ""          // it has lived: nothing
)

// death: one build that uses all the memory there is must not stop a pool. Of an
// agent that is older than this process nobody knows whether it was at work.
func (l *Loop) death(t *scaler.Tick, a *scaler.Action) death {
	w := l.memory.Agents[a.Agent].Work
	seen := w.Builds > 0
	lost := slices.ContainsFunc(t.Facts.BuildsLost, func(b scaler.LostBuilds) bool { return b.Agent == a.Agent })
	switch {
	case a.Pod.Lasted(t.At) || !l.backoff[a.Pool].Concerns(a.Pod):
		return ofAge
	case w.On || lost || seen && undocked(a) || a.Pod.ConnectedAt.Before(l.memory.Started):
		return atWork
	case seen:
		return ofAge
	}
	return ofItself
}

// failure is how a pool's agent failed; came: after it had connected.
type failure struct {
	class scaler.Failure
	came  bool
}

// lessons are what one tick's outcomes say of the pools.
type lessons struct {
	*Loop
	tick   *scaler.Tick
	pods   []scaler.Pod
	bad    map[scaler.PoolID]failure
	good   map[scaler.PoolID]bool
	spared map[scaler.PoolID]bool // one died at work, the first time
	unmade map[scaler.PoolID]int
}

// take learns from one outcome.
func (x *lessons) take(o *scaler.Outcome) {
	a := &o.Action
	switch {
	case a.Verb == scaler.Annotate && o.Result == scaler.Done:
		x.good[a.Pool] = true
	case a.Verb == scaler.Launch && o.Result == scaler.NoTime:
		x.memory.NotCalled(a.Agent)
	case a.Verb == scaler.Create:
		x.created(o)
	case a.Verb == scaler.DeletePod && o.Result == scaler.Done && unasked(a):
		o.Failure = scaler.FailureOf(a.Pod)
		switch {
		case a.Pod.Connected:
			x.died(a, o.Failure)
		case x.backoff[a.Pool].Concerns(a.Pod):
			x.bad[a.Pool] = failure{o.Failure, false}
		}
		x.tell(o, failedText(a))
	case o.Result == scaler.Done && undocked(a):
		o.Failure = a.Pod.DockerFailure
		x.died(a, o.Failure)
		x.tell(o, failedText(a))
	}
}

// created learns from a creation. One for which there was no time, or no answer of Jenkins,
// says nothing of agents, nor does a quota that is full of pods which are about to go.
func (x *lessons) created(o *scaler.Outcome) {
	a := &o.Action
	switch {
	case o.Result == scaler.Late || o.Result == scaler.NoTime || o.FailedBy == scaler.SourceJenkins:
		if a.Reason == scaler.ReasonDemand {
			x.unmade[a.Pool]++
		}
	case o.Failure == scaler.FailureQuota && x.makesRoom(a.Pool, x.pods):
		x.unmade[a.Pool]++
	case o.Result == scaler.Failed || o.Result == scaler.Refused:
		x.bad[a.Pool] = failure{o.Failure, false}
		if o.Result == scaler.Failed && a.Slot != nil {
			// Nobody knows whether there is a pod now that has it.
			x.memory.PutAside(a.Slot.Key(), x.tick.At.Add(scaler.SlotAside))
		}
		if o.Failure != "" && a.Pod == nil {
			x.tell(o, o.Error)
		}
	}
}

// died learns from the end of an agent that had come.
func (x *lessons) died(a *scaler.Action, why scaler.Failure) {
	_, again := x.backoff[a.Pool]
	switch d := x.death(x.tick, a); {
	case d == ofItself || d == atWork && again:
		x.bad[a.Pool] = failure{why, true}
	case d == atWork:
		x.spared[a.Pool] = true
	}
}

// tell adds a failed agent to the tick's facts.
func (x *lessons) tell(o *scaler.Outcome, text string) {
	x.tick.Facts.Failures = append(x.tick.Facts.Failures, scaler.FailedAgent{
		PoolID: o.Action.Pool, Agent: o.Action.Agent, Failure: o.Failure, Text: text, Log: o.Log,
	})
}

// learn takes failures and back-off from what became of the actions: a creation
// that did not work, an agent that went without ever connecting or died as soon as it
// had starts it, once a tick (the first that dies at work does not); an agent that
// connects, or then has to last, ends it. An answer that Jenkins does not give says
// nothing of agents.
func (l *Loop) learn(t *scaler.Tick, pods []scaler.Pod) {
	x := lessons{
		Loop: l, tick: t, pods: pods, bad: map[scaler.PoolID]failure{}, good: map[scaler.PoolID]bool{},
		unmade: map[scaler.PoolID]int{}, spared: map[scaler.PoolID]bool{},
	}
	for i := range t.Outcomes {
		x.take(&t.Outcomes[i])
	}
	l.memory.SetUnmade(x.unmade)
	for id := range x.good {
		if !l.backoff[id].Came {
			delete(l.backoff, id)
		}
	}
	for id, why := range x.bad {
		if why.came || !x.good[id] {
			l.backoff.failed(id, why.class, why.came, l.cfg.Clock.Now(), l.before(t, id)) // a tick may take longer than the pause
		}
	}
	for id := range x.spared {
		if _, ok := l.backoff[id]; !ok {
			l.backoff[id] = failing{Backoff: scaler.Backoff{Came: true, Before: l.before(t, id)}}
		}
	}
	for i := range t.Facts.BuildsLost {
		b := &t.Facts.BuildsLost[i]
		b.Log = l.names.heard[b.Agent]
	}
}

// makesRoom reports whether a pod that Bellboard has deleted still counts to the quota of
// the pool's namespace. It will not in a few seconds, so a refusal means no more than that.
func (l *Loop) makesRoom(id scaler.PoolID, pods []scaler.Pod) bool {
	p, err := l.pool(id)
	return err == nil && slices.ContainsFunc(pods, func(pod scaler.Pod) bool {
		return pod.DeletingByUs && !pod.Ended() && pod.Namespace == p.Namespace
	})
}

// before is the pods of a pool, by name, that were there in the tick or that it may
// have made: of some creations nobody knows how they ended. One that was made and has
// no Secret is not among them: until it has, it is as good as another that tries.
func (l *Loop) before(t *scaler.Tick, id scaler.PoolID) map[string]bool {
	out := map[string]bool{}
	for i := range t.Plan.Agents {
		if a := &t.Plan.Agents[i]; a.PoolID == id && a.Pod {
			out[a.Name] = true
		}
	}
	for i := range t.Outcomes {
		if a := &t.Outcomes[i].Action; a.Pool == id && a.Verb == scaler.Create && a.Pod == nil && !l.names.berths[a.Agent] {
			out[a.Agent] = true
		}
	}
	return out
}

// failedText is what happened to an agent, in Kubernetes' words too.
func failedText(a *scaler.Action) string {
	if a.Pod.TroubleText == "" {
		return a.Text
	}
	return a.Text + ": " + a.Pod.TroubleText
}

// unasked: an agent goes that was never connected, or died, and nobody had decided
// that it should. (One that never came and that somebody else deletes has failed if
// its machine is why.)
func unasked(a *scaler.Action) bool {
	if a.Pod.Connected {
		return a.Reason == scaler.ReasonEnded && a.Pod.Died()
	}
	switch a.Reason { //nolint:exhaustive // the others are decisions
	case scaler.ReasonEnded, scaler.ReasonStuck, scaler.ReasonGhost:
		return true
	case scaler.ReasonLeaving:
		return a.Pod.Failure != ""
	}
	return false
}

// undocked: an agent is marked since its Docker daemon is dead.
func undocked(a *scaler.Action) bool {
	return a.Verb == scaler.Mark && a.Reason == scaler.ReasonDocker
}
