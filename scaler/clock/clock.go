// Package clock is the clock that Bellboard's adapters, loop and simulators are given. In production it is
// the real clock, in the demo a faster one, and in a testing/synctest bubble the bubble's own. The package
// only tells the time, and never decides anything. Package scaler has no clock: it is told the time as an
// argument.
package clock

import (
	"context"
	"time"
)

// Clock tells the time and calls functions later. All durations are in the clock's own time: on a clock of
// speed 20, a minute passes in three seconds.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d. stop cancels the call, and reports whether it was in
	// time.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
	// Wall converts a duration of this clock to wall time, for socket deadlines and context timeouts.
	Wall(d time.Duration) time.Duration
}

// Real returns the computer's own clock.
func Real() Clock { return realClock{} }

type realClock struct{}

func (realClock) Now() time.Time                                  { return time.Now() }
func (realClock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
func (realClock) Wall(d time.Duration) time.Duration              { return d }

// Fast returns a clock that starts now and runs speed times as fast as the wall clock.
func Fast(speed float64) Clock { return &fastClock{start: time.Now(), speed: speed} }

type fastClock struct {
	start time.Time
	speed float64
}

func (c *fastClock) Now() time.Time {
	return c.start.Add(time.Duration(float64(time.Since(c.start)) * c.speed))
}

func (c *fastClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(c.Wall(d), f).Stop
}

func (c *fastClock) Wall(d time.Duration) time.Duration { return time.Duration(float64(d) / c.speed) }

// Sleep waits for the duration d of the clock c. If ctx ends first, Sleep returns ctx's error.
func Sleep(ctx context.Context, c Clock, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	done := make(chan struct{})
	stop := c.AfterFunc(d, func() { close(done) })
	defer stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-done:
		return nil
	}
}
