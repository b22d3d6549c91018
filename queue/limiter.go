package queue

import (
	"context"
	"sync"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

const (
	maxInFlight = 8           // so many writes may be in flight
	slow        = time.Second // after this the limit goes down
)

// limiter limits the writes in flight. Writes wait for the lock of Jenkins' queue, and more writes only make
// that wait longer. So a slow write halves the limit, and as many good writes as the limit raise it by one.
// Waiting writes are served in their order.
type limiter struct {
	clock  clock.Clock
	places chan struct{} // one value for each free place

	mu     sync.Mutex
	limit  int
	excess int // places that do not become free again, because the limit went down
	good   int
	halved time.Time // time of the last halving
}

func newLimiter(c clock.Clock) *limiter {
	l := &limiter{clock: c, places: make(chan struct{}, maxInFlight), limit: maxInFlight}
	for range maxInFlight {
		l.places <- struct{}{}
	}
	return l
}

// acquire waits for a place. It gives up when ctx ends or the deadline passes; a zero deadline never passes.
func (l *limiter) acquire(ctx context.Context, deadline time.Time) error {
	late := make(chan struct{})
	if !deadline.IsZero() {
		defer l.clock.AfterFunc(deadline.Sub(l.clock.Now()), func() { close(late) })()
	}
	select {
	case <-l.places:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late:
		return scaler.ErrExpired
	}
}

// release gives the place back. asked and answered are when the write was sent, if it was, and ended. ok
// reports whether the write was done.
func (l *limiter) release(asked, answered time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.limit
	switch {
	case asked.IsZero():
	case answered.Sub(asked) > slow:
		// A write that was sent before the last halving says nothing about the new limit.
		if !asked.Before(l.halved) {
			l.limit, l.halved = max(1, l.limit/2), answered
		}
		l.good = 0
	case ok:
		if l.good++; l.good >= l.limit {
			l.limit, l.good = min(maxInFlight, l.limit+1), 0
		}
	}
	for l.excess += before - l.limit - 1; l.excess < 0; l.excess++ {
		l.places <- struct{}{}
	}
	for l.excess > 0 {
		select {
		case <-l.places: // a free place goes at once, the others when their writes end
			l.excess--
		default:
			return
		}
	}
}
