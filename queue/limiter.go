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
	// maxInFlight is how many writes may be in flight.
	maxInFlight = 8
	// slow is how long a write may take before the limit goes down. Writes wait for the lock of Jenkins'
	// queue, and more writes only make that wait longer.
	slow = time.Second
)

// limiter limits the writes in flight. A slow write halves the limit. As many good writes as the limit raise
// it by one. Waiting writes are served in their order.
type limiter struct {
	clock clock.Clock

	mu       sync.Mutex
	limit    int
	inFlight int
	good     int
	halved   time.Time // time of the last halving
	waiting  []chan struct{}
}

func newLimiter(c clock.Clock) *limiter { return &limiter{clock: c, limit: maxInFlight} }

// acquire waits for a place. It gives up when ctx ends or the deadline passes; a zero deadline never passes.
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
	} else { // the place came just now: give it to the next write
		l.inFlight--
		l.admit()
	}
	return err
}

// release gives the place back. asked is when the write was sent, and zero if it was not sent. answered is
// when the write ended. ok reports whether the write was done.
func (l *limiter) release(asked, answered time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	switch {
	case asked.IsZero():
	case answered.Sub(asked) > slow:
		// A write that was sent before the last halving suffered from the same load. It says nothing about
		// the new limit.
		if !asked.Before(l.halved) {
			l.limit, l.halved = max(1, l.limit/2), answered
		}
		l.good = 0
	case ok:
		if l.good++; l.good >= l.limit {
			l.limit, l.good = min(maxInFlight, l.limit+1), 0
		}
	}
	l.admit()
}

// admit gives free places to waiting writes. The caller holds the mutex.
func (l *limiter) admit() {
	for l.inFlight < l.limit && len(l.waiting) > 0 {
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
		l.inFlight++
	}
}
