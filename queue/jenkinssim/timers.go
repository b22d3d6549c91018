package jenkinssim

import (
	"slices"
	"time"
)

// event is something that happens at a time, unless it is cancelled.
type event struct {
	at time.Time
	do func()
}

func (e *event) cancel() {
	if e != nil {
		e.do = nil
	}
}

// timers are all events to come, behind one timer of the clock. Events of the same time
// happen in the order in which they were asked for, so that the seed determines everything.
type timers struct {
	queue  []*event // by time
	armed  time.Time
	disarm func() bool // stops the clock's timer; nil: it does not run
}

// after makes do happen, with the state locked, when d has passed.
func (j *Jenkins) after(d time.Duration, do func()) *event {
	e := &event{at: j.clk.Now().Add(max(d, 0)), do: do}
	// The new event comes after all others of its time.
	i, _ := slices.BinarySearchFunc(j.timers.queue, e, func(other, e *event) int {
		if other.at.After(e.at) {
			return 1
		}
		return -1
	})
	j.timers.queue = slices.Insert(j.timers.queue, i, e)
	return e
}

// runDue makes everything happen that is due.
func (j *Jenkins) runDue() {
	t := &j.timers
	now := j.clk.Now()
	for len(t.queue) > 0 && !t.queue[0].at.After(now) {
		do := t.queue[0].do
		t.queue = t.queue[1:]
		if do != nil {
			do()
		}
	}
}

// arm sets the clock's timer to the next event.
func (j *Jenkins) arm() {
	t := &j.timers
	for len(t.queue) > 0 && t.queue[0].do == nil {
		t.queue = t.queue[1:]
	}
	if j.closed || len(t.queue) == 0 {
		return
	}
	next := t.queue[0].at
	if t.disarm != nil {
		if !next.Before(t.armed) {
			return
		}
		t.disarm()
	}
	t.armed = next
	t.disarm = j.clk.AfterFunc(next.Sub(j.clk.Now()), func() {
		j.mu.Lock()
		if t.armed.Equal(next) {
			t.disarm = nil
		}
		j.runDue()
		j.leave()
	})
}

func (t *timers) stop() {
	if t.disarm != nil {
		t.disarm()
		t.disarm = nil
	}
	t.queue = nil
}
