package control

import (
	"errors"
	"time"

	"bellboard/scaler"
)

// Because gives an error the class of an agent's failure that it stands for.
func Because(f scaler.Failure, err error) error { return because{f, err} }

type because struct {
	failure scaler.Failure
	error
}

func (b because) Unwrap() error { return b.error }

// FailureIn is the class that an error stands for; "" is none.
func FailureIn(err error) scaler.Failure {
	if b := (because{}); errors.As(err, &b) {
		return b.failure
	}
	return ""
}

// byJenkins is an error of Jenkins in a creation: no pod was asked for yet.
type byJenkins struct{ error }

func (b byJenkins) Unwrap() error { return b.error }

type failing struct {
	scaler.Backoff
	times map[scaler.Failure]int // since the last one that connected
}

// backoff is the pools whose agents fail. Its loss costs one more that fails.
type backoff map[scaler.PoolID]failing

func (b backoff) input() map[scaler.PoolID]scaler.Backoff {
	out := make(map[scaler.PoolID]scaler.Backoff, len(b))
	for id, f := range b {
		out[id] = f.Backoff
	}
	return out
}

// failed starts the back-off, or lengthens the one before. What fails during one
// was made before it began, and says nothing new.
func (b backoff) failed(id scaler.PoolID, why scaler.Failure, now time.Time, before map[string]bool) {
	f := b[id]
	if now.Before(f.Until) {
		return
	}
	if f.times == nil {
		f.times = map[scaler.Failure]int{}
	}
	f.times[why]++
	f.Failure, f.Until, f.Before = why, now.Add(why.Pause(f.times[why])), before
	b[id] = f
}

// proven ends the back-offs whose probe has shown what it was made for without
// being connected yet.
func (b backoff) proven(pods []scaler.Pod) {
	for i := range pods {
		if f, ok := b[pods[i].PoolID]; ok && f.Proves(&pods[i]) {
			delete(b, pods[i].PoolID)
		}
	}
}

// learn takes failures and back-off from what became of the actions: a creation
// that did not work or an agent that went without ever connecting starts it, once
// a tick; an agent that connects ends it. An answer that Jenkins does not give says
// nothing of agents.
func (l *Loop) learn(t *scaler.Tick) {
	bad, good, unmade := map[scaler.PoolID]scaler.Failure{}, map[scaler.PoolID]bool{}, map[scaler.PoolID]int{}
	for i := range t.Outcomes {
		o := &t.Outcomes[i]
		a := &o.Action
		switch {
		case a.Verb == scaler.Annotate && o.Result == scaler.Done:
			good[a.Pool] = true
		case a.Verb == scaler.Launch && o.Result == scaler.NoTime:
			delete(l.memory.Called, a.Agent)
		case a.Verb == scaler.Create && (o.Result == scaler.Late || o.Result == scaler.NoTime || o.FailedBy == scaler.SourceJenkins):
			if a.Reason == scaler.ReasonDemand {
				unmade[a.Pool]++
			}
		case a.Verb == scaler.Create && (o.Result == scaler.Failed || o.Result == scaler.Refused):
			bad[a.Pool] = o.Failure
			if o.Result == scaler.Failed && a.Slot != nil {
				// Nobody knows whether there is a pod now that has it.
				l.memory.Aside[a.Slot.Key()] = t.At.Add(scaler.SlotAside)
			}
			if o.Failure != "" && a.Pod == nil {
				t.Facts.Failures = append(t.Facts.Failures, scaler.FailedAgent{PoolID: a.Pool, Agent: a.Agent, Failure: o.Failure, Text: o.Error})
			}
		case a.Verb == scaler.DeletePod && o.Result == scaler.Done && unasked(a):
			o.Failure = scaler.FailureOf(a.Pod)
			if l.backoff[a.Pool].Concerns(a.Pod) {
				bad[a.Pool] = o.Failure
			}
			t.Facts.Failures = append(t.Facts.Failures, scaler.FailedAgent{PoolID: a.Pool, Agent: a.Agent, Failure: o.Failure, Text: failedText(a), Log: o.Log})
		case o.Result == scaler.Done && undocked(a):
			// It had come, and others do: no pause for that.
			o.Failure = a.Pod.DockerFailure
			t.Facts.Failures = append(t.Facts.Failures, scaler.FailedAgent{PoolID: a.Pool, Agent: a.Agent, Failure: o.Failure, Text: failedText(a), Log: o.Log})
		}
	}
	l.memory.Unmade = unmade
	for id := range good {
		delete(l.backoff, id)
	}
	for id, why := range bad {
		if !good[id] {
			l.backoff.failed(id, why, l.cfg.Clock.Now(), l.before(t, id)) // a tick may take longer than the pause
		}
	}
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

// unasked: an agent goes that was never connected, and nobody had decided that
// it should. (One that somebody else deletes has failed if its machine is why.)
func unasked(a *scaler.Action) bool {
	if a.Pod.Connected {
		return false
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
