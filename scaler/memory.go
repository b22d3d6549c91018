package scaler

import (
	"maps"
	"time"
)

// Memory is what one tick leaves to the next: one record for each thing that it is about.
// Its loss costs time (a drain takes a tick longer, an idle agent's clock starts anew), never a
// build. Only this package writes it.
type Memory struct {
	Started time.Time // of the process
	Sees    time.Time // since when every look was answered
	Agents  map[string]AgentMemory
	Pools   map[PoolID]PoolMemory
	Teams   map[string]TeamMemory
	Items   map[int64]ItemMemory  // by queue id
	Slots   map[string]SlotMemory // by namespace/name
	Refused map[string]Refusal    // by demand
	Tidied  Tidied                // what was done last for nodes that nobody needs
}

// AgentMemory is what is remembered of one agent, or of a foreign node. A time that is
// zero means: not so.
type AgentMemory struct {
	// Mark is the mark of ours or of the hook that every answer since then showed.
	Mark Marking
	// Gone is when an unbroken run of answers without its node began.
	Gone time.Time
	// Away is since when every answer showed it offline and idle, or absent.
	Away time.Time
	// Lost is since when every answer showed it lost and marked.
	Lost time.Time
	// Failing is since when every answer showed that its pod is failing.
	Failing time.Time
	// Free is since when it waits for work, with none.
	Free time.Time
	// Open is since when it has an executor that waits for work.
	Open time.Time
	// Called is when Jenkins was last asked to call it, if it has not come.
	Called time.Time
	// Met: its first sight online has been counted.
	Met bool
	// Work is what was seen of its builds.
	Work Work
}

// PoolMemory is what is remembered of one pool.
type PoolMemory struct {
	// Starts are its last start-ups.
	Starts Starts
	// Roomy is since when it has an agent's worth of free executors.
	Roomy time.Time
	// Up and Down are its last scaling events.
	Up, Down time.Time
	// Backoff is the pause after agents that failed.
	Backoff Backoff
	// Unmade are the agents of the last scale-up for which there was no time, or no
	// answer of Jenkins: no cooldown delays them.
	Unmade int
}

// TeamMemory is what is remembered of one team.
type TeamMemory struct {
	// Levels is its demand in each of the last 60 minutes, newest last.
	Levels []Level
}

// ItemMemory is what is remembered of one item of the queue.
type ItemMemory struct {
	// Waiting: a team is answerable for it.
	Waiting Waiting
	// Seen: it waits for an agent.
	Seen Sighting
}

// SlotMemory is what is remembered of one cache slot.
type SlotMemory struct {
	Aside time.Time // until when it is not chosen
	Used  time.Time // when it was last seen in use
}

// Blind returns the memory after a look that was not answered. The clock of lost agents starts
// anew: it counts answers, not time in the dark. For a while no agent is overdue.
func (m Memory) Blind() Memory {
	m.Sees, m.Agents = time.Time{}, maps.Clone(m.Agents)
	for name, a := range m.Agents {
		if !a.Lost.IsZero() {
			a.Lost = time.Time{}
			m.Agents[name] = a
		}
	}
	return m
}

// notes are the records of a Memory while it is written.
type notes[K comparable, R any] map[K]*R

// of is the record of k, a new one if there is none yet.
func (n *notes[K, R]) of(k K) *R {
	r := (*n)[k]
	if r == nil {
		if r = new(R); *n == nil {
			*n = notes[K, R]{}
		}
		(*n)[k] = r
	}
	return r
}

// note changes what the next tick remembers of an item.
func (r *remembered) note(item int64, change func(*ItemMemory)) {
	if r.mem.Items == nil {
		r.mem.Items = map[int64]ItemMemory{}
	}
	m := r.mem.Items[item]
	change(&m)
	r.mem.Items[item] = m
}

// memory returns the memory with the records that say anything.
func (s *scene) memory() Memory {
	m := s.mem
	m.Agents = make(map[string]AgentMemory, len(s.agents)+len(s.foreignOpen))
	for _, a := range s.agents {
		if a.is != (AgentMemory{}) {
			m.Agents[a.Name] = a.is
		}
	}
	for name, since := range s.foreignOpen {
		m.Agents[name] = AgentMemory{Open: since}
	}
	m.Pools = make(map[PoolID]PoolMemory, len(s.pooled))
	for id, p := range s.pooled {
		m.Pools[id] = *p
	}
	m.Slots = make(map[string]SlotMemory, len(s.slotted))
	for key, c := range s.slotted {
		m.Slots[key] = *c
	}
	return m
}

// Marking is one mark in an unbroken run of answers.
type Marking struct {
	Since time.Time // when the first answer that showed the mark was complete
	By    OfflineBy
	At    time.Time // Node.MarkedAt
	// Rested: one of the answers showed that no build will want to come back to the node:
	// it was idle, or ran only what ends with Jenkins. No build has begun since.
	Rested bool
}

// shows reports whether the node still carries that very mark.
func (m Marking) shows(n *Node) bool {
	return !m.Since.IsZero() && n != nil && n.closed() && m.By == n.OfflineBy && m.At.Equal(n.MarkedAt)
}

// Tidied is how many steps were taken in one second, since the epoch, for nodes that
// nobody needs and for fences.
type Tidied struct {
	Second int64
	Steps  int
}

// Level is the highest demand (busy + waiting) seen in one minute.
type Level struct {
	Minute int64 // since the epoch
	Demand int
}

// Waiting is one item that a team is answerable for.
type Waiting struct {
	Team  string
	Since time.Time
}
