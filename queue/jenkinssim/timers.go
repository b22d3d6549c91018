package jenkinssim

import (
	"container/heap"
	"time"
)

// event is something that will happen at a time, unless cancelled.
type event struct {
	at  time.Time
	seq uint64
	do  func()
}

func (e *event) cancel() {
	if e != nil {
		e.do = nil
	}
}

// timers are all events to come behind one timer of the clock. Events of the
// same time happen in the order they were asked for, so that a seed tells the
// whole story.
type timers struct {
	queue   eventHeap
	seq     uint64
	armedAt time.Time
	armed   uint64
	disarm  func() bool
}

// after makes do happen, with the state locked, when d has passed.
func (j *Jenkins) after(d time.Duration, do func()) *event {
	t := &j.timers
	t.seq++
	e := &event{at: j.clk.Now().Add(max(d, 0)), seq: t.seq, do: do}
	heap.Push(&t.queue, e)
	return e
}

func (j *Jenkins) runDue() {
	if j.closed {
		return
	}
	t := &j.timers
	now := j.clk.Now()
	for len(t.queue) > 0 {
		e := t.queue[0]
		if e.do != nil && e.at.After(now) {
			break
		}
		heap.Pop(&t.queue)
		if e.do != nil {
			j.sample(e.at)
			do := e.do
			e.do = nil
			do()
		}
	}
	j.sample(now)
}

// arm sets the clock's timer to the next event.
func (j *Jenkins) arm() {
	t := &j.timers
	for len(t.queue) > 0 && t.queue[0].do == nil {
		heap.Pop(&t.queue)
	}
	if j.closed || len(t.queue) == 0 {
		return
	}
	next := t.queue[0].at
	if t.disarm != nil {
		if !next.Before(t.armedAt) {
			return
		}
		t.disarm()
	}
	t.armedAt = next
	t.armed++
	mine := t.armed
	t.disarm = j.clk.AfterFunc(next.Sub(j.clk.Now()), func() {
		j.mu.Lock()
		if t.armed == mine {
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

// eventHeap is a heap of events by time.
type eventHeap []*event

func (h eventHeap) Len() int      { return len(h) }
func (h eventHeap) Swap(a, b int) { h[a], h[b] = h[b], h[a] }
func (h eventHeap) Less(a, b int) bool {
	if !h[a].at.Equal(h[b].at) {
		return h[a].at.Before(h[b].at)
	}
	return h[a].seq < h[b].seq
}

// Push is for container/heap.
func (h *eventHeap) Push(x any) {
	if e, ok := x.(*event); ok {
		*h = append(*h, e)
	}
}

// Pop is for container/heap.
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return e
}
