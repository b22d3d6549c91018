package control

import (
	"time"

	"go.uber.org/zap"

	"bellboard/scaler"
)

// holdReminder is how often the log says that a hold goes on.
const holdReminder = 5 * time.Minute

// log writes one line per tick that did or could not do something. What a reader
// would do, it did not; and of a standby all but its own blindness is Debug, since
// the leader tells it. A tick that was cut short by the end of the loop says nothing of
// Jenkins or the cluster, and what became of its writes is for the next leader to see.
func (l *Loop) log(t *scaler.Tick, cut bool) {
	info, warn, decided := l.cfg.Log.Info, l.cfg.Log.Warn, "decided"
	if l.cfg.DryRun {
		decided = "would"
	}
	if l.cfg.Standby {
		info, warn = l.cfg.Log.Debug, l.cfg.Log.Debug
	}
	if t.Hold != "" {
		if !cut && (t.HoldNews || t.At.Sub(l.holding.told) >= holdReminder) {
			l.holding.told = t.At
			l.cfg.Log.Warn("holding: nothing is created, marked or removed", zap.String("tick", t.ID), zap.String("source", string(t.HoldBy)),
				zap.String("cause", string(t.HoldCause)), zap.Duration("for", t.At.Sub(t.HoldSince)), zap.String("because", t.Hold))
		}
		return
	}
	if !t.HoldSince.IsZero() {
		l.cfg.Log.Info("seeing again", zap.String("tick", t.ID), zap.Duration("after", t.At.Sub(t.HoldSince)), zap.Duration("grace", t.Grace))
	}
	for i := range t.Plan.Decisions {
		d := &t.Plan.Decisions[i]
		if d.Changes() {
			info(decided, zap.String("tick", t.ID), zap.String("team", d.Team), zap.Any("up", d.Up), zap.Any("down", d.Down), zap.Any("renew", d.Renew),
				zap.String("reason", string(d.Reason)), zap.String("because", d.Text))
		}
	}
	for i := range t.Facts.Failures {
		f := &t.Facts.Failures[i]
		warn("an agent failed", zap.String("tick", t.ID), zap.String("team", f.Team), zap.String("kind", string(f.Kind)), zap.String("agent", f.Agent),
			zap.String("reason", string(f.Failure)), zap.String("because", f.Text), zap.String("log", f.Log))
	}
	for i := range t.Facts.BuildsLost {
		b := &t.Facts.BuildsLost[i]
		warn("builds lost their agent", zap.String("tick", t.ID), zap.String("team", b.Team), zap.String("kind", string(b.Kind)), zap.String("agent", b.Agent),
			zap.Int("builds", b.Builds), zap.String("because", b.Text), zap.String("log", b.Log))
	}
	for i := range t.Outcomes {
		o := &t.Outcomes[i]
		line := l.cfg.Log.Debug
		if !cut && (o.Result == scaler.Failed || o.Result == scaler.Refused) && (o.Failure == "" || o.Action.Pod != nil) { // the others are told above
			line = l.cfg.Log.Warn
		}
		line("acted", zap.String("tick", t.ID), zap.String("verb", string(o.Action.Verb)), zap.String("agent", o.Action.Agent),
			zap.String("reason", string(o.Action.Reason)), zap.String("because", o.Action.Text), zap.String("result", string(o.Result)), zap.String("error", o.Error))
	}
}
