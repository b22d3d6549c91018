package queue

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// breaker stops requests to a Jenkins that does not answer. Otherwise, if Jenkins falls silent in the middle
// of a tick, each write of the tick would wait for its whole timeout in turn. After three failures in a row
// the breaker lets only two kinds of request pass:
//
//   - The small question of each poll, whether Jenkins answers again. The loop paces the polls.
//   - One other request in five seconds, for a process that does not poll.
type breaker struct {
	clock clock.Clock

	mu     sync.Mutex
	failed int       // in a row
	last   time.Time // time of the last failure, or of the last request that passed
}

const (
	maxFailures = 3               // so many failures in a row are no coincidence
	retryAfter  = 5 * time.Second // so long no other request passes
)

// failing reports whether the last request got no answer.
func (b *breaker) failing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed > 0
}

// allow returns nil if a request may be sent. A probe may always be sent.
func (b *breaker) allow(probe bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if probe || b.failed < maxFailures {
		return nil
	}
	if now := b.clock.Now(); now.Sub(b.last) >= retryAfter {
		b.last = now
		return nil
	}
	return fmt.Errorf("%w: no request was sent, because the last %d requests got no answer", ErrUnavailable, b.failed)
}

// record counts how a request ended. Any answer of Jenkins is an answer, even a rejection, unless Jenkins is
// starting. The answer of a proxy in Jenkins' place is a failure. A request that was not sent, or that the
// caller gave up, does not count.
func (b *breaker) record(status int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, scaler.ErrExpired):
	case err != nil, status == http.StatusBadGateway, status == http.StatusServiceUnavailable,
		status == http.StatusGatewayTimeout, status == http.StatusTooManyRequests:
		b.failed, b.last = b.failed+1, b.clock.Now()
	default:
		b.failed = 0
	}
}
