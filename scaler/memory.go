package scaler

import (
	"maps"
	"time"
)

// Memory is what one tick leaves to the next: a record for each agent, pool, team, item and slot. Losing the
// memory costs time, never a build: for example, a drain then takes a tick longer. A Learnt is what of it outlives
// the process. Only this package writes a Memory.
type Memory struct {
	Started time.Time // when the process began
	Sees    time.Time // since when Jenkins and Kubernetes have answered in every tick
	Agents  map[string]*AgentMemory
	Pools   map[PoolID]PoolMemory
	Teams   map[string]TeamMemory
	Items   map[int64]*ItemMemory // by queue id
	Left    []Waiting             // items that have just left the queue, and whose build no answer has shown yet
	Runs    map[Run]int           // builds on executors, and on how many each
	Slots   map[SlotKey]SlotMemory
	Vetoes  map[string]Veto // by demand
	Tidied  Tidied          // the last steps for Jenkins nodes that no team needs, and for fences
}

// AgentMemory is what is remembered of one agent, or of one foreign node. A zero time means that the thing is
// not so.
type AgentMemory struct {
	Mark    Marking   // the mark of Bellboard or of the hook that every answer since Mark.Since has shown
	Gone    time.Time // since when no answer has shown the Jenkins node
	Away    time.Time // since when every answer has shown the Jenkins node absent, or offline and idle
	Lost    time.Time // since when every answer has shown the agent in class lost, and marked
	Failing time.Time // since when every answer has shown that the pod is failing
	Free    time.Time // since when the agent has waited for work without running any build
	Open    time.Time // since when at least one executor of the agent has waited for work
	Called  time.Time // when Bellboard last asked Jenkins to call the agent, which has not connected since
	Met     bool      // a start-up has been counted, when Jenkins first showed the agent online
	Work    Work      // what was seen of the agent's builds
}

// PoolMemory is what is remembered of one pool.
type PoolMemory struct {
	Starts   Starts    // the pool's last start-ups
	Roomy    time.Time // since when the pool has had as many free executors as one agent has
	Up, Down time.Time // when the pool last scaled up and down
	Backoff  Backoff   // the pool's pause after agents that failed
	// Unmade is how many agents of the last scale-up were not made, because there was no time or no answer of
	// Jenkins. No cooldown delays these agents.
	Unmade int
}

// TeamMemory is what is remembered of one team. Its slices are shared between ticks, and never written.
type TeamMemory struct {
	Demand int           `json:"demand"` // agents that builds needed in the last tick
	Levels []Level       `json:"levels,omitempty"`
	Gaps   Series        `json:"gaps,omitzero"` // the last gaps of all levels
	Gain   Gain          `json:"gain,omitzero"`
	Ledger Ledger        `json:"ledger,omitzero"`
	Start  time.Duration `json:"start,omitempty"` // half of the agents start in that time
	Lead   time.Duration `json:"lead,omitempty"`  // nine in ten agents start in that time
	Made   int           `json:"made,omitempty"`  // agents made for builds that accept either kind
	// WaitValue is the team's WAIT_VALUE, or the one that was found for TARGET_WAIT_P95.
	WaitValue float64 `json:"waitValue,omitempty"`
}

// ItemMemory is what is remembered of one item of the queue.
type ItemMemory struct {
	Waiting Waiting  // for how long the item has waited, and which team has to serve it
	Seen    Sighting // since when the item has waited for an agent, if it does
}

// SlotMemory is what is remembered of one cache slot.
type SlotMemory struct {
	Aside time.Time // until when no agent gets the slot
	Used  time.Time // when the slot was last seen in use
}

// Blind returns the memory after a tick in which Jenkins or Kubernetes did not answer. The clocks of lost
// agents start anew, because they may only count time in which answers came. For a while no agent is overdue.
func (m Memory) Blind() Memory {
	m.Sees, m.Agents = time.Time{}, maps.Clone(m.Agents)
	for name, a := range m.Agents {
		if !a.Lost.IsZero() {
			b := *a
			b.Lost, m.Agents[name] = time.Time{}, &b
		}
	}
	return m
}

// Agent returns what is remembered of the agent or foreign node of that name.
func (m *Memory) Agent(name string) AgentMemory { return *m.agent(name) }

// agent is Agent without a copy. The record may belong to an earlier tick, so nothing writes it.
func (m *Memory) agent(name string) *AgentMemory {
	if a := m.Agents[name]; a != nil {
		return a
	}
	return &noAgent
}

var noAgent AgentMemory

// notes are the records of a Memory while Decide writes them.
type notes[K comparable, R any] map[K]*R

// of returns the record of k, and adds an empty record if there is none yet.
func (n *notes[K, R]) of(k K) *R {
	if *n == nil {
		*n = notes[K, R]{}
	}
	if (*n)[k] == nil {
		(*n)[k] = new(R)
	}
	return (*n)[k]
}

// memory returns the Memory for the next tick, with all records that are not empty.
func (s *scene) memory() Memory {
	m := s.mem
	for _, a := range s.agents {
		if *a.is != noAgent {
			m.Agents[a.Name] = a.is
		}
	}
	for i := range s.items {
		if s.items[i] == (ItemMemory{}) {
			delete(m.Items, s.in.Jenkins.Items[i].ID)
		}
	}
	m.Pools = make(map[PoolID]PoolMemory, len(s.pooled))
	for id, p := range s.pooled {
		m.Pools[id] = *p
	}
	return m
}

// Marking is one mark that an unbroken run of answers has shown.
type Marking struct {
	Since time.Time // when the first answer with the mark was complete
	By    OfflineBy
	At    time.Time // Node.MarkedAt
	// Rested: one of these answers showed that no build wants to come back to the Jenkins node, which was
	// idle or ran only a build that ends with Jenkins. No build has begun on the Jenkins node since.
	Rested bool
}

// shows reports whether the Jenkins node still carries exactly this mark.
func (m Marking) shows(n *Node) bool {
	return !m.Since.IsZero() && n.closed() && m.By == n.OfflineBy && m.At.Equal(n.MarkedAt)
}

// Tidied is how many steps were taken in one second for Jenkins nodes that no team needs and for fences.
type Tidied struct {
	Second int64 // since the epoch
	Steps  int
}
