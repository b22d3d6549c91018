// Package clock is the time that Bellboard's adapters, loop and simulators are
// given: the real one in production, a faster one in the demo, and inside a
// testing/synctest bubble the bubble's own. It promises nothing but time: it
// never decides anything, and scaler itself is told the time as an argument.
package clock

import (
	"context"
	"time"
)

// Clock tells the time and calls back later. All durations are in the clock's
// own time: on a clock of speed 20 a minute passes in three seconds.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d. The returned function
	// stops it and reports whether it did so before f was started.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
	// Wall converts a duration of this clock to one of the wall, for what can
	// only be told wall time (socket deadlines, context timeouts).
	Wall(d time.Duration) time.Duration
}

// Real is the machine's own clock.
func Real() Clock { return realClock{} }

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }
func (realClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}
func (realClock) Wall(d time.Duration) time.Duration { return d }

// Fast is a clock that starts now and runs speed times as fast as the wall.
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

func (c *fastClock) Wall(d time.Duration) time.Duration {
	return time.Duration(float64(d) / c.speed)
}

// Sleep waits for d of c's time, or until ctx ends, whose error it returns.
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
