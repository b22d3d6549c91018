package queue

import (
	"context"
	"slices"
	"sync"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

const (
	// maxInFlight is how many writes may be in flight at most.
	maxInFlight = 8
	// slow is what a write may take before fewer are sent: writes wait for the
	// lock of Jenkins' queue, and more of them only make it longer.
	slow = time.Second
)

// limiter bounds the writes in flight: half as many when one is slow, one more
// after as many good ones as the bound. Waiters are served in their order.
type limiter struct {
	clock clock.Clock

	mu       sync.Mutex
	limit    int
	inFlight int
	good     int
	cut      time.Time // of the last halving
	waiting  []chan struct{}
}

func newLimiter(c clock.Clock) *limiter { return &limiter{clock: c, limit: maxInFlight} }

// acquire waits for a place, until ctx ends or the deadline (zero: none) passes.
func (l *limiter) acquire(ctx context.Context, deadline time.Time) error {
	l.mu.Lock()
	if l.inFlight < l.limit && len(l.waiting) == 0 {
		l.inFlight++
		l.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	l.waiting = append(l.waiting, turn)
	l.mu.Unlock()

	var late chan struct{}
	if !deadline.IsZero() {
		late = make(chan struct{})
		stop := l.clock.AfterFunc(deadline.Sub(l.clock.Now()), func() { close(late) })
		defer stop()
	}
	var err error
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-late:
		err = scaler.ErrLate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, turn); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
	} else { // the turn came in this very moment: pass it on
		l.inFlight--
		l.admit()
	}
	return err
}

// release gives the place back. asked and answered are when the write was sent
// (zero: it was not) and when it ended, ok is whether it was done.
func (l *limiter) release(asked, answered time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	switch {
	case asked.IsZero():
	case answered.Sub(asked) > slow:
		// Those sent before the last halving suffered from the same load: they
		// say nothing about the new bound.
		if !asked.Before(l.cut) {
			l.limit, l.cut = max(1, l.limit/2), answered
		}
		l.good = 0
	case ok:
		if l.good++; l.good >= l.limit {
			l.limit, l.good = min(maxInFlight, l.limit+1), 0
		}
	}
	l.admit()
}

// admit lets in who may be; the mutex is held.
func (l *limiter) admit() {
	for l.inFlight < l.limit && len(l.waiting) > 0 {
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
		l.inFlight++
	}
}
