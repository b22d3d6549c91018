package queue

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"bellboard/scaler"
)

// aliveTree asks for the cheapest field that needs the user and the token.
const aliveTree = "quietingDown"

// The limits for the answer to the small question. A Jenkins that hangs gets more time for each question, so
// that Bellboard in the end finds a slow Jenkins alive.
const (
	leastAlive = 2 * time.Second
	mostAlive  = 5 * time.Second
)

// A pulse is what the client knows about whether Jenkins answers at all.
type pulse struct {
	patience atomic.Int64 // timeout of the next small question, if it is more than leastAlive
	tried    atomic.Bool  // the last poll failed, and Jenkins answered the small question

	mu      sync.Mutex
	session string
	since   time.Time // when the first answer of the session was complete
}

// awayError is the error of a Jenkins that answers nothing at all.
type awayError struct{ error }

func (a awayError) Unwrap() []error { return []error{a.error, scaler.ErrAway} }

// poll reads a Jenkins that answers. If the last request or this poll got no answer, poll asks the small
// question, which costs Jenkins nothing. If Jenkins answers the small question after a failed poll, poll
// polls again at once, because Jenkins may just have come back. It does so only once: if Jenkins answers
// nothing but small questions, the loop makes its long pause.
func (c *Client) poll(ctx context.Context) (scaler.JenkinsView, error) {
	if c.breaker.failing() {
		if err := c.alive(ctx); err != nil {
			return scaler.JenkinsView{}, awayError{err}
		}
	}
	v, err := c.observe(ctx)
	if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
		c.pulse.tried.Store(false)
		return v, err
	}
	if c.alive(ctx) != nil {
		c.pulse.tried.Store(false)
		return v, awayError{err}
	}
	if c.pulse.tried.Swap(true) {
		return v, err
	}
	return c.observe(ctx)
}

// alive returns nil if Jenkins answers the small question.
func (c *Client) alive(ctx context.Context) error {
	limit := max(leastAlive, time.Duration(c.pulse.patience.Load()))
	a, err := c.ask(ctx, request{
		endpoint: Alive, method: http.MethodGet, timeout: limit, probe: true,
		path: "", suffix: "api/json", query: map[string]string{"tree": aliveTree},
	})
	if errors.Is(err, context.DeadlineExceeded) {
		c.pulse.patience.Store(int64(min(2*limit, mostAlive)))
	} else {
		c.pulse.patience.Store(0)
	}
	if err == nil {
		err = a.accept()
	}
	if err != nil {
		return fmt.Errorf("asking whether Jenkins answers: %w", err)
	}
	return nil
}

// met notes which session of Jenkins gave an answer.
func (p *pulse) met(a *answer) {
	session := a.header.Get("X-Jenkins-Session")
	if session == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if session != p.session {
		p.session, p.since = session, a.answered
	}
}

// known returns when the first answer of a session came. It returns zero if another session answered last.
func (p *pulse) known(session string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if session != p.session {
		return time.Time{}
	}
	return p.since
}
