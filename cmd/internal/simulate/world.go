package simulate

import (
	"errors"
	"math"
	"math/rand/v2"
)

// never is later than every event.
const never = math.MaxInt64

// state is what an agent does. An agent is in one state at a time, from its creation until it is gone.
type state uint8

const (
	starting state = iota // created, and not connected
	busy                  // runs at least one build
	free                  // connected, and waits for a build
	leaving               // takes no more build, and runs none
	gone
	states
)

// agent is one agent of the simulated pool.
type agent struct {
	state   state
	since   int64 // since when it is in that state
	created int64
	online  int64 // when it connects; never: it fails
	running int   // how many builds it runs
	size    int   // how many builds it may run at once
	builds  int   // how many builds it has begun
	last    int32 // the build that it has begun last
	shut    bool  // takes no more builds
	once    bool  // takes one build only
	slot    *slot
	at      int // its index in world.all
	openAt  int // its index in world.open; -1: it is not there
	seat    *seat
}

// slot is a volume that keeps a cache.
type slot struct {
	created int64
	warm    bool // a build has filled it
	at      int  // its index in bellboard.slots
	name    string
}

// policy decides how many agents there are. The world calls it; it changes the world through create, shut,
// reopen and remove.
type policy interface {
	// next returns when the policy looks at the world next. The world asks after every event.
	next(w *world) int64
	// look is called at that time, after all events of that time.
	look(w *world) error
	// The rest tells what happened. An agent that has ended its last build and takes no more is leaving.
	arrived(w *world, build int)
	left(w *world, build int) // the build has left the queue, and runs
	connected(w *world, a *agent)
	changed(w *world, a *agent) // began or ended a build
	vanished(w *world, a *agent)
}

// kind is the kind of an event. At one time events come in the order of their kinds.
type kind uint8

const (
	ends kind = iota
	connects
	vanishes
)

type event struct {
	at    int64
	seq   int64
	agent *agent
	kind  kind
}

func (e *event) before(o *event) bool {
	switch {
	case e.at != o.at:
		return e.at < o.at
	case e.kind != o.kind:
		return e.kind < o.kind
	}
	return e.seq < o.seq
}

// world is one pool of interchangeable agents with its queue, in virtual time.
type world struct {
	scenario *Scenario
	builds   []Build
	now      int64
	coming   int     // the next build to be submitted
	queue    []int32 // builds that wait, the oldest first
	head     int     // index of the oldest in queue
	open     []*agent
	all      []*agent
	count    [states]int
	running  int // builds that run
	done     int // builds that are over
	events   []event
	seq      int64
	starts   *rand.Rand
	picks    *rand.Rand
	failing  *rand.Rand
	policy   policy
	out      *Result
	waits    []int64
	ended    int64 // when the last build ended
	lines    []*Timeline
	stop     func() error
}

// tail is how long a replay goes on after the last build, until all agents are gone.
const tail = 3_600_000

// stream returns a source of random numbers of its own for one purpose.
func (s *Scenario) stream(purpose uint64) *rand.Rand {
	return rand.New(rand.NewPCG(s.Seed, purpose))
}

// replay runs the builds of one pool against a policy, and adds what happened to out.
func replay(builds []Build, s *Scenario, p policy, out *Result, lines []*Timeline, stop func() error) error {
	w := &world{
		scenario: s, builds: builds, policy: p, out: out, lines: lines, stop: stop,
		starts: s.stream(1), picks: s.stream(2), failing: s.stream(3),
		now: builds[0].Submitted - 60_000,
	}
	return w.run()
}

func (w *world) run() error {
	turns := 0
	for w.done < len(w.builds) || w.now < w.ended+tail && len(w.all) > 0 {
		if turns++; turns%4096 == 0 && w.stop != nil {
			if err := w.stop(); err != nil {
				return err
			}
		}
		at := w.policy.next(w)
		if w.coming < len(w.builds) {
			at = min(at, w.builds[w.coming].Submitted)
		}
		if len(w.events) > 0 {
			at = min(at, w.events[0].at)
		}
		if w.done == len(w.builds) {
			at = min(at, w.ended+tail)
		}
		if at == never {
			return errors.New("builds wait, and the policy never looks at them again")
		}
		w.advance(max(at, w.now))
		w.happen()
		if w.policy.next(w) <= w.now {
			if err := w.policy.look(w); err != nil {
				return err
			}
			w.dispatch()
		}
	}
	w.finish()
	return nil
}

// advance moves the time.
func (w *world) advance(to int64) {
	for _, t := range w.lines {
		t.add(w, to)
	}
	w.now = to
}

// happen handles all events of this time.
func (w *world) happen() {
	for len(w.events) > 0 && w.events[0].at == w.now {
		switch e := w.pop(); e.kind {
		case ends:
			w.end(e.agent)
		case connects:
			w.connect(e.agent)
		case vanishes:
			w.vanish(e.agent)
		}
	}
	for w.coming < len(w.builds) && w.builds[w.coming].Submitted == w.now {
		w.queue = append(w.queue, int32(w.coming))
		w.policy.arrived(w, w.coming)
		w.coming++
	}
	w.dispatch()
}

// waiting returns how many builds wait.
func (w *world) waiting() int { return len(w.queue) - w.head }

// dispatch gives waiting builds to free executors: the oldest build first, to a random one of the agents. (An
// agent of Jenkins is chosen by a hash of the build's name.)
func (w *world) dispatch() {
	for w.waiting() > 0 && len(w.open) > 0 {
		build := int(w.queue[w.head])
		if w.head++; w.head > 1024 && w.head*2 > len(w.queue) {
			w.queue = append(w.queue[:0], w.queue[w.head:]...)
			w.head = 0
		}
		w.begin(w.open[w.picks.IntN(len(w.open))], build)
	}
}

// begin begins a build on an agent.
func (w *world) begin(a *agent, build int) {
	b := &w.builds[build]
	w.waits = append(w.waits, w.now-b.Submitted)
	length := b.Length
	if a.builds == 0 && (a.slot == nil || !a.slot.warm) {
		cold := w.scenario.penalty(length)
		w.out.cold += cold
		length += cold
	}
	a.builds++
	a.running++
	a.last = int32(build)
	w.running++
	if a.once {
		a.shut = true
	}
	w.settle(a)
	w.push(event{at: w.now + length, kind: ends, agent: a})
	w.policy.left(w, build)
	w.policy.changed(w, a)
}

// end ends a build.
func (w *world) end(a *agent) {
	w.done++
	w.ended = w.now
	w.running--
	a.running--
	if a.slot != nil {
		a.slot.warm = true
	}
	w.settle(a)
	w.policy.changed(w, a)
}

func (w *world) connect(a *agent) {
	if a.state != starting {
		return
	}
	w.move(a, free)
	w.settle(a)
	w.policy.connected(w, a)
}

// settle brings an agent's state and its place among the open agents up to date, after something changed.
func (w *world) settle(a *agent) {
	if a.state != starting && a.state != gone {
		switch {
		case a.running > 0:
			w.move(a, busy)
		case a.shut:
			w.move(a, leaving)
		default:
			w.move(a, free)
		}
	}
	open := (a.state == free || a.state == busy) && !a.shut && a.running < a.size
	switch {
	case open && a.openAt < 0:
		a.openAt = len(w.open)
		w.open = append(w.open, a)
	case !open && a.openAt >= 0:
		last := len(w.open) - 1
		w.open[a.openAt] = w.open[last]
		w.open[a.openAt].openAt = a.openAt
		w.open, a.openAt = w.open[:last], -1
	}
}

// move puts an agent into a state, and books the time in the state before.
func (w *world) move(a *agent, to state) {
	if a.state == to {
		return
	}
	w.out.time[a.state] += w.now - a.since
	w.count[a.state]--
	w.count[to]++
	a.state, a.since = to, w.now
}

// creation is what a policy asks for.
type creation struct {
	once     bool
	size     int
	slot     *slot
	patience int64 // an agent that never connects is gone after that; 0: the policy removes it
}

// create makes an agent, which starts at once.
func (w *world) create(c creation) *agent {
	a := &agent{since: w.now, created: w.now, once: c.once, size: max(1, c.size), slot: c.slot, openAt: -1}
	w.out.Launches++
	w.count[starting]++
	least, most := w.scenario.StartLeast.Milliseconds(), w.scenario.StartMost.Milliseconds()
	took := least
	if most > least {
		took += w.starts.Int64N(most - least + 1)
	}
	if a.slot != nil {
		took += w.scenario.Attach.Milliseconds()
	}
	a.online = w.now + took
	if w.scenario.Failing > 0 && w.failing.Float64() < w.scenario.Failing {
		a.online = never
		w.out.Failed++
		if c.patience > 0 {
			w.push(event{at: w.now + c.patience, kind: vanishes, agent: a})
		}
	} else {
		w.push(event{at: a.online, kind: connects, agent: a})
	}
	a.at = len(w.all)
	w.all = append(w.all, a)
	return a
}

// shutAgent lets an agent take no more builds.
func (w *world) shutAgent(a *agent) {
	a.shut = true
	w.settle(a)
}

// reopen lets an agent take builds again.
func (w *world) reopen(a *agent) {
	a.shut = false
	w.settle(a)
}

// remove deletes an agent. An agent that runs a build must not be removed.
func (w *world) remove(a *agent) {
	if a.running > 0 {
		panic("simulate: an agent is removed while it runs a build")
	}
	w.shutAgent(a)
	w.move(a, leaving)
	if w.scenario.Ending == 0 {
		w.vanish(a)
		return
	}
	w.push(event{at: w.now + w.scenario.Ending.Milliseconds(), kind: vanishes, agent: a})
}

func (w *world) vanish(a *agent) {
	if a.state == gone {
		return // removed before it gave up
	}
	w.move(a, gone)
	w.out.paid += w.now - a.created
	last := len(w.all) - 1
	w.all[a.at] = w.all[last]
	w.all[a.at].at = a.at
	w.all = w.all[:last]
	w.policy.vanished(w, a)
}

// newSlot makes a slot, which is paid from now on.
func (w *world) newSlot() *slot {
	w.out.Slots++
	return &slot{created: w.now}
}

// dropSlot deletes a slot.
func (w *world) dropSlot(s *slot) {
	w.out.slots += w.now - s.created
}

// finish books what is still there at the end.
func (w *world) finish() {
	for _, a := range w.all {
		w.out.time[a.state] += w.now - a.since
		w.out.paid += w.now - a.created
	}
	if p, ok := w.policy.(interface{ kept() []*slot }); ok {
		for _, s := range p.kept() {
			w.out.slots += w.now - s.created
		}
	}
	w.out.waits = append(w.out.waits, w.waits...)
}

// push adds an event to the heap.
func (w *world) push(e event) {
	e.seq = w.seq
	w.seq++
	w.events = append(w.events, e)
	for i := len(w.events) - 1; i > 0; {
		up := (i - 1) / 2
		if !w.events[i].before(&w.events[up]) {
			break
		}
		w.events[i], w.events[up] = w.events[up], w.events[i]
		i = up
	}
}

// pop takes the first event from the heap.
func (w *world) pop() event {
	first, last := w.events[0], len(w.events)-1
	w.events[0] = w.events[last]
	w.events[last].agent = nil
	w.events = w.events[:last]
	for i := 0; ; {
		next := 2*i + 1
		if next >= last {
			break
		}
		if next+1 < last && w.events[next+1].before(&w.events[next]) {
			next++
		}
		if !w.events[next].before(&w.events[i]) {
			break
		}
		w.events[i], w.events[next] = w.events[next], w.events[i]
		i = next
	}
	return first
}
