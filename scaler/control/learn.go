package control

import (
	"time"

	"go.uber.org/zap"

	"bellboard/scaler"
)

// The back-off of a pool whose agents fail: it doubles from the first to the last.
const (
	firstBackoff = 5 * time.Second
	lastBackoff  = 5 * time.Minute
)

type failing struct {
	times int
	until time.Time
}

type backoff map[scaler.PoolID]failing

func (b backoff) until() map[scaler.PoolID]time.Time {
	out := make(map[scaler.PoolID]time.Time, len(b))
	for id, f := range b {
		out[id] = f.until
	}
	return out
}

// failed starts the back-off, or doubles the one before. What fails during one
// was made before it began, and says nothing new.
func (b backoff) failed(id scaler.PoolID, now time.Time) {
	f := b[id]
	if now.Before(f.until) {
		return
	}
	f.until = now.Add(min(firstBackoff<<min(f.times, 10), lastBackoff))
	f.times++
	b[id] = f
}

// learn takes back-off from what became of the actions: a creation that did not
// work or an agent that went without ever connecting starts it, once a tick;
// an agent that connects ends it.
func (l *Loop) learn(t *scaler.Tick) {
	bad, good := map[scaler.PoolID]bool{}, map[scaler.PoolID]bool{}
	t.Facts.Failures = map[scaler.PoolID]int{}
	for i := range t.Outcomes {
		o := &t.Outcomes[i]
		id := o.Action.Pool
		switch {
		case o.Action.Verb == scaler.Annotate && o.Result == scaler.Done:
			good[id] = true
		case o.Action.Verb == scaler.Create && (o.Result == scaler.Failed || o.Result == scaler.Refused):
			bad[id] = true
			if o.Result == scaler.Failed && o.Action.Slot != nil {
				// Nobody knows whether there is a pod now that has it.
				l.memory.Aside[o.Action.Slot.Key()] = t.At.Add(scaler.SlotAside)
			}
		case o.Action.Verb == scaler.DeletePod && o.Result == scaler.Done && !o.Action.Pod.Connected && unasked(o.Action.Reason):
			t.Facts.Failures[id]++
			bad[id] = true
		}
	}
	for id := range good {
		delete(l.backoff, id)
	}
	for id := range bad {
		if !good[id] {
			l.backoff.failed(id, t.At)
		}
	}
}

// unasked: the agent went, and nobody had decided that it should.
func unasked(r scaler.Reason) bool {
	return r == scaler.ReasonEnded || r == scaler.ReasonStuck || r == scaler.ReasonGhost
}

// log writes one line per tick that did or could not do something.
func (l *Loop) log(t *scaler.Tick) {
	if t.Hold != "" {
		if l.holding != t.Hold {
			l.cfg.Log.Warn("holding: nothing is created, marked or removed", zap.String("tick", t.ID),
				zap.String("source", string(t.HoldBy)), zap.String("because", t.Hold))
		}
		l.holding = t.Hold
		return
	}
	if l.holding != "" {
		l.cfg.Log.Info("seeing again", zap.String("tick", t.ID), zap.Duration("grace", t.Grace))
		l.holding = ""
	}
	for i := range t.Plan.Decisions {
		d := &t.Plan.Decisions[i]
		if d.Up[scaler.Ephemeral]+d.Up[scaler.Persistent]+d.Down[scaler.Ephemeral]+d.Down[scaler.Persistent] > 0 {
			l.cfg.Log.Info("decided", zap.String("tick", t.ID), zap.String("team", d.Team), zap.Any("up", d.Up), zap.Any("down", d.Down),
				zap.String("reason", string(d.Reason)), zap.String("because", d.Text))
		}
	}
	for i := range t.Outcomes {
		o := &t.Outcomes[i]
		line := l.cfg.Log.Debug
		if o.Result == scaler.Failed || o.Result == scaler.Refused {
			line = l.cfg.Log.Warn
		}
		line("acted", zap.String("tick", t.ID), zap.String("verb", string(o.Action.Verb)), zap.String("agent", o.Action.Agent),
			zap.String("reason", string(o.Action.Reason)), zap.String("because", o.Action.Text), zap.String("result", string(o.Result)), zap.String("error", o.Error))
	}
}
