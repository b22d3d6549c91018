package control

import (
	"time"

	"bellboard/scaler"
)

// A holding is the hold that the loop is in.
type holding struct {
	since time.Time // zero: it does not hold
	known map[fault]bool
	told  time.Time // when the log told of it last
}

// A fault is what one hold after another has in common.
type fault struct {
	by    scaler.Source
	cause scaler.HoldCause
}

// hold does nothing, and says why.
func (l *Loop) hold(t *scaler.Tick, by scaler.Source, err error) {
	t.Hold, t.HoldBy, t.HoldCause = err.Error(), by, scaler.CauseOf(err)
	l.memory = l.memory.Blind()
}

// follow notes on the tick when its hold began, or which one it ends, and whether its
// cause is news. A cause that comes back within one hold is none.
func (h *holding) follow(t *scaler.Tick) {
	t.HoldSince = h.since
	if t.Hold == "" {
		*h = holding{}
		return
	}
	if h.since.IsZero() {
		*h = holding{since: t.At, known: map[fault]bool{}}
		t.HoldSince = t.At
	}
	f := fault{t.HoldBy, t.HoldCause}
	t.HoldNews = !h.known[f]
	h.known[f] = true
}
