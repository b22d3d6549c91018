package control

import (
	"go.uber.org/zap"

	"bellboard/scaler"
)

// log writes a line for each piece of news of a tick, and one for each action. Of a standby all but its own
// hold is Debug, since the leader logs the rest. cut: the end of the loop cut the tick short. Such a tick
// says nothing of Jenkins or the cluster, and the next leader sees what became of its writes.
func (l *Loop) log(t *scaler.Tick, cut bool) {
	info, warn, decided := l.cfg.Log.Info, l.cfg.Log.Warn, "decided"
	if l.cfg.DryRun {
		decided = "would"
	}
	if l.cfg.Standby {
		info, warn = l.cfg.Log.Debug, l.cfg.Log.Debug
	}
	tick := zap.String("tick", t.ID)
	for i := range t.News {
		switch n := &t.News[i]; n.Kind {
		case scaler.NewsHold, scaler.NewsStillHeld:
			if !cut {
				l.cfg.Log.Warn("holding: nothing is created, marked or removed", tick, zap.String("source", string(t.HoldBy)),
					zap.String("cause", string(t.HoldCause)), zap.Duration("for", t.At.Sub(t.HoldSince)), zap.String("because", t.Hold))
			}
		case scaler.NewsReadable:
			l.cfg.Log.Info("jenkins and cluster readable again", tick, zap.Duration("after", t.At.Sub(t.HoldSince)), zap.Duration("grace", t.Grace))
		case scaler.NewsScaled:
			d := n.Decision
			info(decided, tick, zap.String("team", d.Team), zap.Any("up", d.Up), zap.Any("down", d.Down), zap.Any("renew", d.Renew),
				zap.String("reason", string(d.Reason)), zap.String("because", d.Text))
		case scaler.NewsBlocked:
			d := n.Decision
			info("blocked", tick, zap.String("team", d.Team), zap.Int("waiting", d.Waiting), zap.String("because", d.Text))
		case scaler.NewsWindow:
			info("window of SCHEDULE", tick, zap.String("team", n.Decision.Team), zap.String("because", n.Text))
		case scaler.NewsFailed:
			f := n.Failed
			warn("an agent failed", tick, zap.String("team", f.Team), zap.String("kind", string(f.Kind)), zap.String("agent", f.Agent),
				zap.String("reason", string(f.Failure)), zap.String("because", f.Text), zap.String("log", f.Log))
		case scaler.NewsLost:
			b := n.Lost
			warn("builds lost their agent", tick, zap.String("team", b.Team), zap.String("kind", string(b.Kind)), zap.String("agent", b.Agent),
				zap.Int("builds", b.Builds), zap.String("because", b.Text), zap.String("log", b.Log))
		case scaler.NewsRejected, scaler.NewsRescue: // the lines of their actions say it
		}
	}
	for i := range t.Outcomes {
		o := &t.Outcomes[i]
		line := l.cfg.Log.Debug
		if !cut && (o.Result == scaler.Failed || o.Result == scaler.Rejected) && (o.Failure == "" || o.Action.Pod != nil) { // the others have a line above
			line = l.cfg.Log.Warn
		}
		line("acted", tick, zap.String("verb", string(o.Action.Verb)), zap.String("agent", o.Action.Agent),
			zap.String("reason", string(o.Action.Reason)), zap.String("because", o.Action.Text), zap.String("result", string(o.Result)), zap.String("error", o.Error))
	}
}
