package control

import (
	"errors"
	"fmt"
	"time"

	"bellboard/scaler"
)

// Caused gives an error of Observe its class, of the adapter's closed set.
func Caused(c scaler.HoldCause, err error) error { return caused{c, err} }

type caused struct {
	cause scaler.HoldCause
	error
}

func (c caused) Unwrap() error { return c.error }

// CauseOf is the class of an error of Observe.
func CauseOf(err error) scaler.HoldCause {
	if c := (caused{}); errors.As(err, &c) {
		return c.cause
	}
	return scaler.CauseOther
}

// tooOld is the error of answers that came too late.
func tooOld(age, limit time.Duration) error {
	return Caused(scaler.CauseOld, fmt.Errorf("its answers are %s old, over %s", age, limit))
}

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
	t.Hold, t.HoldBy, t.HoldCause = err.Error(), by, CauseOf(err)
	l.memory.Blind()
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
