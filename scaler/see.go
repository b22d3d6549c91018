package scaler

import (
	"slices"
	"strings"
	"time"
)

// scene is the result of stage 1: pods and Jenkins nodes joined by name, each pair with its class, and what
// earlier ticks remember of them. Later stages change nothing in a scene, except what the next tick
// remembers.
type scene struct {
	in      Input
	grace   bool
	quiet   bool // Jenkins is about to shut down, and an item may not show which agent it waits for
	teams   map[string]*Team
	pools   map[PoolID]*Pool
	agents  []*agent // by name
	byName  map[string]*agent
	byPool  map[PoolID][]*agent
	foreign []*Node
	slots   []*cacheSlot // the warmest first
	remembered
}

// remembered is what this tick leaves to the next one.
type remembered struct {
	mem         Memory               // the agents, pools and slots are added at the end
	foreignOpen map[string]time.Time // AgentMemory.Open of foreign nodes
	pooled      notes[PoolID, PoolMemory]
	slotted     notes[string, SlotMemory]
	facts       Facts
}

// agent is a pod and a Jenkins node of one name, with what the stages find out about them.
type agent struct {
	Pair
	verdict Verdict // the table's verdict; nothing changes it later
	pool    *Pool   // nil: there is no such team, or the team's mode has no such kind
	team    *Team
	stuck   bool // the pod does not go away: see stuckPod
	retired bool // the agent's team is paused or gone, so the agent serves no item
	overdue bool // the agent hangs while starting: no item waits for it
	was     AgentMemory
	is      AgentMemory
}

// capacity returns how many executors the agent adds to the supply.
func (m *agent) capacity() int {
	if m.retired || m.overdue {
		return 0
	}
	return m.verdict.Capacity
}

// labels returns the labels that the agent carries: those of its Jenkins node. (An agent that is older than a
// setting carries the old labels.) Before the agent has a Jenkins node, labels returns the pool's.
func (m *agent) labels() []string {
	switch {
	case m.Node != nil:
		return m.Node.Labels
	case m.pool != nil:
		return m.pool.Labels
	}
	return nil
}

// see returns the scene: it joins pods and Jenkins nodes, classifies them, and remembers what they show.
func see(in Input) scene {
	s := scene{in: in, grace: in.Now.Before(in.GraceUntil), quiet: in.Jenkins.QuietingDown}
	s.teams = make(map[string]*Team, len(in.Teams))
	s.pools = make(map[PoolID]*Pool, 2*len(in.Teams))
	for i := range in.Teams {
		t := &in.Teams[i]
		s.teams[t.Name] = t
		for j := range t.Pools {
			s.pools[t.Pools[j].PoolID] = &t.Pools[j]
		}
	}
	for i := range in.Jenkins.Items {
		s.quiet = s.quiet || in.Jenkins.Items[i].State == ShuttingDown
	}
	s.join()
	s.remember()
	s.lookAtSlots()
	for _, m := range s.agents {
		m.retired = s.toRetire(m)
	}
	s.lookForOverdue()
	return s
}

// join makes the agents: it joins pods and Jenkins nodes of one name, and classifies each pair.
func (s *scene) join() {
	in := &s.in
	byName := make(map[string]*agent, len(in.Cluster.Pods)+len(in.Berths))
	s.byName, s.agents = byName, make([]*agent, 0, len(in.Cluster.Pods)+len(in.Berths))
	all := make([]agent, 0, len(in.Cluster.Pods)) // one allocation for most agents
	add := func(p Pair) {
		all = append(all, agent{Pair: p})
		m := &all[len(all)-1]
		byName[p.Name] = m
		s.agents = append(s.agents, m)
	}
	for i := range in.Cluster.Pods {
		p := &in.Cluster.Pods[i]
		if byName[p.Name] != nil {
			continue // no name is used twice
		}
		add(Pair{Name: p.Name, PoolID: p.PoolID, Pod: p, Connect: p.Connect})
	}
	for i := range in.Jenkins.Nodes {
		n := &in.Jenkins.Nodes[i]
		m := byName[n.Name]
		switch {
		case m != nil && !n.Mine():
			// Somebody has edited the Jenkins node's description. The name and the pod still say whose node
			// it is.
			adopted := *n
			adopted.Team, adopted.Kind = m.Team, m.Kind
			m.Node = &adopted
		case m != nil:
			m.Node = n
		case n.Mine():
			add(Pair{Name: n.Name, PoolID: PoolID{n.Team, n.Kind}, Node: n, Connect: Inbound})
		default:
			s.foreign = append(s.foreign, n)
		}
	}
	s.pin()
	slices.SortFunc(s.agents, func(a, b *agent) int { return strings.Compare(a.Name, b.Name) })
	s.byPool = make(map[PoolID][]*agent, len(s.pools))
	for _, m := range s.agents {
		s.byPool[m.PoolID] = append(s.byPool[m.PoolID], m)
		s.recognize(m)
		m.verdict, m.stuck = Classify(m.Pair, in.Now), m.stuckPod(in.Now)
	}
}

// pin finds the agents that an item of the queue names.
func (s *scene) pin() {
	for i := range s.in.Jenkins.Items {
		it := &s.in.Jenkins.Items[i]
		if it.Resolution != Labelled {
			continue
		}
		// If only one Jenkins node carries a label, Jenkins tells only that node's name, and not the label.
		// While Bellboard removes everything, such an item would keep that Jenkins node for ever, and no
		// build comes to it.
		if m := s.byName[it.Label]; m != nil && (m.Pod != nil || !s.in.Closing) {
			m.Pinned = true
		}
	}
}

// recognize adds to an agent what the settings and earlier answers say of it.
func (s *scene) recognize(m *agent) {
	in := &s.in
	m.pool, m.team = s.pools[m.PoolID], s.teams[m.Team]
	m.StartTimeout = 5 * time.Minute
	if m.pool != nil {
		m.StartTimeout, m.Executors = m.pool.StartTimeout, m.pool.size()
	}
	m.Berth = in.Berths[m.Name] && !in.Closing
	m.was = in.Memory.Agents[m.Name]
	m.Marked = m.was.Mark.shows(m.Node) && !in.Jenkins.AskedAt.Before(m.was.Mark.Since)
	m.Quiet, m.Used, m.AtWork = s.quiet && !in.Jenkins.Hook, m.was.Work.over(), m.was.Work.On
	m.Grace = s.grace && !s.settled(m)
	m.Gone = !m.was.Gone.IsZero() && !in.Jenkins.AskedAt.Before(m.was.Gone)
	m.Away, m.LostSince = m.was.Away, m.was.Lost
	if m.Pod != nil && m.Pod.failing() {
		m.Failing = m.was.Failing
	}
}

// settled reports whether no build from before Jenkins' last restart can still want the agent. The restart
// grace then does not apply to the agent.
func (s *scene) settled(m *agent) bool {
	session := s.in.Jenkins.Session
	switch {
	case session == "":
		return false
	case m.Pod != nil && m.Pod.Session == session:
		return true // the pod was made after the restart
	case m.Marked && m.was.Mark.Rested:
		return true // the agent had no build before the restart, and has had none since
	}
	// The agent's only build was seen before the restart. Since then that build has resumed, or is over. A
	// build of the same URL proves it: a pipeline asks for all its agents at once.
	return m.Kind == Ephemeral && m.size() == 1 && m.was.Work.Resumed == session
}

// remember begins the memory for the next tick, and the facts of this tick.
func (s *scene) remember() {
	old, now := s.in.Memory, s.in.Now
	s.mem = Memory{Started: old.Started, Sees: old.Sees, Teams: map[string]TeamMemory{}, Items: make(map[int64]ItemMemory, len(s.in.Jenkins.Items))}
	if s.mem.Sees.IsZero() {
		s.mem.Sees = now
	}
	if s.mem.Started.IsZero() {
		s.mem.Started = now
	}
	s.foreignOpen = make(map[string]time.Time, len(s.foreign))
	for id, p := range old.Pools {
		if !p.Up.IsZero() || !p.Down.IsZero() || p.Backoff.begun() {
			*s.pooled.of(id) = PoolMemory{Up: p.Up, Down: p.Down, Backoff: p.Backoff}
		}
	}
	s.facts = Facts{SecondBuilds: map[PoolID]int{}}
	for _, m := range s.agents {
		s.marking(m)
		s.clocks(m)
		s.work(m)
		if m.verdict.Meet {
			// The note on the pod may fail or be late. That does not make a second start-up.
			m.is.Met = true
			if !m.was.Met {
				s.facts.Startups = append(s.facts.Startups, startup(m.Pod, now))
			}
		}
	}
	for _, n := range s.foreign {
		if n.free() > 0 {
			s.foreignOpen[n.Name] = since(old.Agents[n.Name].Open, now)
		}
	}
	s.learnStarts()
	s.vanished()
	s.endBackoffs()
}

// since returns when an unbroken run began: was, or fresh if was is zero.
func since(was, fresh time.Time) time.Time {
	if was.IsZero() {
		return fresh
	}
	return was
}

// marking remembers which mark the Jenkins node carries, and since when.
func (s *scene) marking(m *agent) {
	if m.Node == nil || !m.Node.closed() {
		return
	}
	is := Marking{Since: s.in.Jenkins.AnsweredAt, By: m.Node.OfflineBy, At: m.Node.MarkedAt}
	if m.was.Mark.shows(m.Node) {
		is = m.was.Mark
	}
	// The hook marks the Jenkins node when a build begins. The first answer with that mark may have read the
	// node as idle before the build began. After a restart of Jenkins, a build may be about to resume.
	ends := m.Node.Idle || m.Node.Mortal && m.Node.Executors == 1
	is.Rested = is.Rested || m.Marked && m.Node.Online && ends && !m.Pinned && !m.Grace
	m.is.Mark = is
}

// clocks continues, begins or ends each clock of an agent.
func (s *scene) clocks(m *agent) {
	now := s.in.Now
	if m.Node == nil {
		m.is.Gone = since(m.was.Gone, s.in.Jenkins.AnsweredAt)
	}
	if m.Pod != nil && !m.online() && m.idle() {
		m.is.Away = since(m.was.Away, now)
	}
	if m.verdict.Class == Lost && m.mark() == Ours {
		m.is.Lost = since(m.was.Lost, now)
	}
	if m.Pod != nil && m.Pod.failing() {
		m.is.Failing = since(m.was.Failing, now)
	}
	if m.verdict.Class == Free {
		m.is.Free = since(m.was.Free, now)
	}
	if m.online() && m.verdict.Capacity > 0 {
		m.is.Open = since(m.was.Open, now)
	}
}

// toRetire reports whether an agent has to go because its team is paused or gone, or because the team no
// longer has the agent's kind. Such an agent finishes its build first.
func (s *scene) toRetire(m *agent) bool {
	switch {
	case s.grace || s.quiet || m.Pod == nil || m.pool != nil && !m.team.Paused:
		return false
	case m.Node == nil || m.mark() == Ours || m.verdict.Do != "":
		return false
	}
	switch m.verdict.Class {
	case Free, Busy, Coming, Draining, Reconnecting:
		return true
	case FenceInTheWay, Resuming, Awaited, Ended, Fenced, Held, Leaving, Going, Stuck, Drained, Cut, Ghost, Berth, Intruder, Lost, Stray:
	}
	return false
}
