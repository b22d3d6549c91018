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

// awayError is the error of a Jenkins that answers nothing at all.
type awayError struct{ error }

func (a awayError) Unwrap() []error { return []error{a.error, scaler.ErrAway} }

// poll reads a Jenkins that answers. If the last request or this poll got no answer, poll asks the small
// question, which costs Jenkins nothing. If Jenkins answers the small question after a failed poll, it may
// just have come back, and poll polls again at once. It does so only once: if Jenkins answers nothing but
// small questions, the loop makes its long pause.
func (c *Client) poll(ctx context.Context) (scaler.JenkinsView, error) {
	if c.breaker.failing() {
		if err := c.alive(ctx); err != nil {
			return scaler.JenkinsView{}, awayError{err}
		}
	}
	v, err := c.observe(ctx)
	if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
		c.tried = false
	} else if c.alive(ctx) != nil {
		c.tried, err = false, awayError{err}
	} else if !c.tried {
		c.tried = true
		return c.observe(ctx)
	}
	return v, err
}

// alive returns nil if Jenkins answers the small question: for the cheapest field that needs user and token.
func (c *Client) alive(ctx context.Context) error {
	if _, err := c.small(ctx, Alive, "", quietTree, &struct{}{}); err != nil {
		return fmt.Errorf("asking whether Jenkins answers: %w", err)
	}
	return nil
}

// breaker stops requests to a Jenkins that does not answer. Otherwise, if Jenkins falls silent in the middle of
// a tick, each write of the tick would wait for its whole timeout in turn. After three failures in a row the
// breaker lets only two kinds of request pass:
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
