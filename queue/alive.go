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

// aliveTree is the cheapest question that needs the user and the token.
const aliveTree = "quietingDown"

// How long Jenkins may take for it. A Jenkins that hangs is given more time at each
// question, so that one that is only slow is found alive in the end.
const (
	leastAlive = 2 * time.Second
	mostAlive  = 5 * time.Second
)

// A pulse is what is known of whether Jenkins answers at all.
type pulse struct {
	patience atomic.Int64 // how long Jenkins may take for the next question, if over leastAlive
	tried    atomic.Bool  // the last look failed, and Jenkins answered all the same

	mu      sync.Mutex
	session string
	since   time.Time // of the session: when its first answer was complete
}

// absent is an error of a Jenkins that answers nothing at all.
type absent struct{ error }

func (a absent) Unwrap() []error { return []error{a.error, scaler.ErrAway} }

// look observes a Jenkins that answers. To one that left the last question without an
// answer, or this look, goes a question that costs it nothing. One that answers that
// question is looked at again at once: it may just have come back. That is done once:
// where the small question alone is answered, the loop makes its long pause.
func (c *Client) look(ctx context.Context) (scaler.JenkinsView, error) {
	if c.fuse.silent() {
		if err := c.alive(ctx); err != nil {
			return scaler.JenkinsView{}, absent{err}
		}
	}
	v, err := c.observe(ctx)
	if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
		c.pulse.tried.Store(false)
		return v, err
	}
	if c.alive(ctx) != nil {
		c.pulse.tried.Store(false)
		return v, absent{err}
	}
	if c.pulse.tried.Swap(true) {
		return v, err
	}
	return c.observe(ctx)
}

// alive is nil when Jenkins answers.
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

// known is since when a session is known; zero: it is not the last that gave an answer.
func (p *pulse) known(session string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if session != p.session {
		return time.Time{}
	}
	return p.since
}
