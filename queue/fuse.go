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

// breaker stops requests to a Jenkins that does not answer. After three failures in a row it lets only two
// kinds of request pass:
//
//   - The small question of each poll, whether Jenkins answers again. The loop paces the polls.
//   - One other request in five seconds, for a process that does not poll.
//
// Without a breaker a Jenkins that falls silent in the middle of a tick would get every write of the tick in
// turn. Each write would wait for its whole timeout.
type breaker struct {
	clock clock.Clock

	mu     sync.Mutex
	failed int       // in a row
	last   time.Time // time of the last failure, or of the last request that passed
}

const (
	// maxFailures is how many failures in a row are no coincidence.
	maxFailures = 3
	// retryAfter is how long no other request passes.
	retryAfter = 5 * time.Second
)

// failing reports whether the last request got no answer.
func (f *breaker) failing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed > 0
}

// allow returns nil if a request may be sent. A probe may always be sent.
func (f *breaker) allow(probe bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if probe || f.failed < maxFailures {
		return nil
	}
	if now := f.clock.Now(); now.Sub(f.last) >= retryAfter {
		f.last = now
		return nil
	}
	return fmt.Errorf("%w: no request was sent, because the last %d requests got no answer", ErrUnavailable, f.failed)
}

// record counts how a request ended. Any answer of Jenkins counts as an answer, even a rejection. The answer
// of a proxy in Jenkins' place counts as a failure, and so does an answer of a Jenkins that is starting. A
// request that was not sent, or that the caller gave up, does not count.
func (f *breaker) record(status int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, scaler.ErrLate):
	case err != nil, status == http.StatusBadGateway, status == http.StatusServiceUnavailable,
		status == http.StatusGatewayTimeout, status == http.StatusTooManyRequests:
		f.failed, f.last = f.failed+1, f.clock.Now()
	default:
		f.failed = 0
	}
}
