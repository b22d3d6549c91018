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

// fuse keeps requests from a Jenkins that does not answer: after enough failures
// in a row nothing goes out but the question of each look whether it is back, which
// is paced by the loop, and one other request in a while, for who does not look. Without it a Jenkins that falls silent in the middle of
// a tick would be sent every write of the tick in turn, and each would wait out
// its time.
type fuse struct {
	clock clock.Clock

	mu     sync.Mutex
	failed int       // in a row
	last   time.Time // when the last of them failed, or one was let through
}

const (
	// enough is how many failures in a row are no coincidence.
	enough = 3
	// while is how long Jenkins has its peace.
	while = 5 * time.Second
)

// silent reports that the last request was left without an answer.
func (f *fuse) silent() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed > 0
}

// blown is nil when a request may be sent: a probe always may.
func (f *fuse) blown(probe bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if probe || f.failed < enough {
		return nil
	}
	if now := f.clock.Now(); now.Sub(f.last) >= while {
		f.last = now
		return nil
	}
	return fmt.Errorf("%w: not asked, since it left %d requests in a row without an answer", ErrUnavailable, f.failed)
}

// note judges how a request ended. Whatever Jenkins says, if it be no, is an
// answer; what a proxy says in its stead, or Jenkins while it starts, is none.
// A request that was not sent, or that its own side gave up, tells nothing.
func (f *fuse) note(status int, err error) {
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
