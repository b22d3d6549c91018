package scaler

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// scene is the result of stage 1: pods and Jenkins nodes joined by name, each pair with its class. Later
// stages change nothing in a scene, except what the next tick remembers.
type scene struct {
	in       Input
	grace    bool
	quiet    bool    // Jenkins is about to shut down, and an item may not show which agent it waits for
	starting bool    // some item has an executor, and its build has not begun
	taken    []int64 // items that the memory knows, and that have left the queue or got an executor since
	teams    map[string]*Team
	pools    map[PoolID]*Pool
	agents   []*agent // by name
	byName   map[string]*agent
	byPool   map[PoolID][]*agent
	foreign  []*Node
	slots    []*cacheSlot // the warmest first
	facts    Facts

	// What this tick leaves to the next one.
	mem     Memory       // agents and pools are added at the end
	items   []ItemMemory // in the order of the queue
	resumes []bool       // of the same items: the item has had its agent, and waits for it again
	pooled  notes[PoolID, PoolMemory]
}

// agent is a pod and a Jenkins node of one name, with what the stages find out about them.
type agent struct {
	Pair
	verdict Verdict // the table's verdict; nothing changes it later
	pool    *Pool   // nil: there is no such team, or the team's mode has no such kind
	stuck   bool    // the pod does not go away: see stuckPod
	retired bool    // the agent's team is paused or gone, so the agent serves no item
	overdue bool    // the agent hangs while starting: no item waits for it
	was, is *AgentMemory
}

// carries reports whether the agent has that label. The empty label stands for builds without a label.
func (m *agent) carries(atom string) bool {
	if atom == "" {
		return m.pool != nil && m.pool.Unlabelled
	}
	return slices.Contains(m.labels(), atom)
}

// capacity returns how many executors the agent adds to the supply.
func (m *agent) capacity() int {
	if m.retired || m.overdue {
		return 0
	}
	return m.verdict.Capacity
}

// labels returns the labels of the agent's Jenkins node, which are older than a setting that has changed.
// Before the agent has a Jenkins node, labels returns the pool's.
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
	s := scene{
		in: in, grace: in.Now.Before(in.GraceUntil), quiet: in.Jenkins.QuietingDown,
		teams: make(map[string]*Team, len(in.Teams)), pools: make(map[PoolID]*Pool, 2*len(in.Teams)),
	}
	for i := range in.Teams {
		t := &in.Teams[i]
		s.teams[t.Name] = t
		for j := range t.Pools {
			s.pools[t.Pools[j].PoolID] = &t.Pools[j]
		}
	}
	s.join()
	s.remember()
	s.lookAtSlots()
	s.lookForRetired()
	s.lookForOverdue()
	return s
}

// join makes the agents: it joins pods and Jenkins nodes of one name, and classifies each pair.
func (s *scene) join() {
	in := &s.in
	all := make([]agent, len(in.Cluster.Pods)) // one allocation for most agents
	s.agents = make([]*agent, 0, len(all)+len(in.Berths))
	s.byName = make(map[string]*agent, cap(s.agents))
	add := func(m *agent, p Pair) {
		m.Pair, s.byName[p.Name] = p, m
		s.agents = append(s.agents, m)
	}
	for i := range in.Cluster.Pods {
		p := &in.Cluster.Pods[i]
		if s.byName[p.Name] == nil { // no name is used twice
			add(&all[i], Pair{Name: p.Name, PoolID: p.PoolID, Pod: p, Connect: p.Connect})
		}
	}
	for i := range in.Jenkins.Nodes {
		n := &in.Jenkins.Nodes[i]
		m := s.byName[n.Name]
		switch {
		case m != nil:
			if m.Node = n; !n.Mine() {
				// Somebody has edited the Jenkins node's description. Name and pod still say whose node it
				// is.
				adopted := *n
				adopted.Team, adopted.Kind = m.Team, m.Kind
				m.Node = &adopted
			}
		case n.Mine():
			add(new(agent), Pair{Name: n.Name, PoolID: PoolID{n.Team, n.Kind}, Node: n, Connect: Inbound})
		default:
			s.foreign = append(s.foreign, n)
		}
	}
	s.lookAtItems()
	slices.SortFunc(s.agents, func(a, b *agent) int { return strings.Compare(a.Name, b.Name) })
	are := make([]AgentMemory, len(s.agents))
	for i, m := range s.agents {
		m.is = &are[i]
		s.recognize(m)
		m.verdict, m.stuck = Classify(m.Pair, in.Now), m.stuckPod(in.Now)
	}
	s.byPool = grouped(s.agents, func(m *agent) PoolID { return m.PoolID })
}

// grouped returns the elements of each key in their order. All groups share one array.
func grouped[K comparable, E any](all []E, key func(E) K) map[K][]E {
	sizes := make(map[K]int)
	for _, x := range all {
		sizes[key(x)]++
	}
	groups, room := make(map[K][]E, len(sizes)), make([]E, len(all))
	for k, n := range sizes {
		groups[k], room = room[:0:n], room[n:]
	}
	for _, x := range all {
		k := key(x)
		groups[k] = append(groups[k], x)
	}
	return groups
}

// lookAtItems finds the agents that an item of the queue names, and what all items say of Jenkins.
func (s *scene) lookAtItems() {
	old := s.in.Memory.Items
	s.items, s.resumes = make([]ItemMemory, len(s.in.Jenkins.Items)), make([]bool, len(s.in.Jenkins.Items))
	s.mem.Items = make(map[int64]*ItemMemory, len(s.items))
	known := 0 // items that the memory knows
	for i := range s.items {
		it := &s.in.Jenkins.Items[i]
		s.quiet = s.quiet || it.State == ShuttingDown
		s.mem.Items[it.ID] = &s.items[i]
		was := old[it.ID]
		if was != nil {
			s.items[i] = *was
			known++
		}
		if it.State == Pending {
			s.starting = true
			if was != nil {
				s.taken = append(s.taken, it.ID)
			}
		}
		// If only one Jenkins node carries a label, Jenkins tells that node's name in place of the label.
		// While Bellboard removes everything, such an item would keep that Jenkins node for ever.
		if it.Resolution != Labelled {
			continue
		}
		if m := s.byName[it.Label]; m != nil {
			s.resumes[i] = true
			m.Pinned = m.Pinned || m.Pod != nil || !s.in.Closing
		}
	}
	if known < len(old) {
		for id := range old {
			if s.mem.Items[id] == nil {
				s.taken = append(s.taken, id)
			}
		}
	}
	slices.Sort(s.taken)
}

// recognize adds to an agent what the settings and earlier answers say of it.
func (s *scene) recognize(m *agent) {
	in := &s.in
	m.pool = s.pools[m.PoolID]
	m.StartTimeout = 5 * time.Minute
	if m.pool != nil {
		m.StartTimeout, m.Executors = m.pool.StartTimeout, m.pool.size()
	}
	m.Berth = in.Berths[m.Name] && !in.Closing
	m.was = in.Memory.agent(m.Name)
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
	// The agent's only build was seen before the restart, and has resumed since. A build of the same URL
	// proves it: a pipeline asks for all its agents at once.
	return m.Kind == Ephemeral && m.size() == 1 && m.was.Work.Resumed == session
}

// remember begins the memory for the next tick, and the facts of this tick.
func (s *scene) remember() {
	old, now := s.in.Memory, s.in.Now
	s.mem.Started, s.mem.Sees = cmp.Or(old.Started, now), cmp.Or(old.Sees, now)
	s.mem.Teams = map[string]TeamMemory{}
	for id, p := range old.Pools {
		if !p.Up.IsZero() || !p.Down.IsZero() || p.Backoff.begun() {
			*s.pooled.of(id) = PoolMemory{Up: p.Up, Down: p.Down, Backoff: p.Backoff}
		}
	}
	s.facts = Facts{SecondBuilds: map[PoolID]int{}}
	s.waits()
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
	s.mem.Agents = make(map[string]*AgentMemory, len(s.agents)+len(s.foreign))
	for _, n := range s.foreign {
		if n.free() > 0 {
			s.mem.Agents[n.Name] = &AgentMemory{Open: cmp.Or(old.agent(n.Name).Open, now)}
		}
	}
	s.learnStarts()
	s.vanished()
	s.endBackoffs()
}

// marking remembers which mark the Jenkins node carries, and since when.
func (s *scene) marking(m *agent) {
	if m.Node == nil || !m.Node.closed() {
		return
	}
	m.is.Mark = Marking{Since: s.in.Jenkins.AnsweredAt, By: m.Node.OfflineBy, At: m.Node.MarkedAt}
	if m.was.Mark.shows(m.Node) {
		m.is.Mark = m.was.Mark
	}
	// The hook marks the Jenkins node when a build begins. The first answer with that mark may have read the
	// node as idle before the build began. After a restart of Jenkins, a build may be about to resume.
	ends := m.Node.Idle || m.Node.Mortal && m.Node.Executors == 1
	if m.Marked && m.Node.Online && ends && !m.Pinned && !m.Grace {
		m.is.Mark.Rested = true
	}
}

// clocks continues, begins or ends each clock of an agent.
func (s *scene) clocks(m *agent) {
	run := func(clock *time.Time, runs bool, was, from time.Time) {
		if runs {
			*clock = cmp.Or(was, from)
		}
	}
	now, class := s.in.Now, m.verdict.Class
	run(&m.is.Gone, m.Node == nil, m.was.Gone, s.in.Jenkins.AnsweredAt)
	run(&m.is.Away, m.Pod != nil && !m.online() && m.idle(), m.was.Away, now)
	run(&m.is.Lost, class == Lost && m.mark() == Ours, m.was.Lost, now)
	run(&m.is.Failing, m.Pod != nil && m.Pod.failing(), m.was.Failing, now)
	run(&m.is.Free, class == Free, m.was.Free, now)
	run(&m.is.Open, m.online() && m.verdict.Capacity > 0, m.was.Open, now)
}

// lookForRetired finds the agents that have to go because their team is paused or gone, or because the team
// no longer has their kind. Such an agent finishes its build first.
func (s *scene) lookForRetired() {
	if s.grace || s.quiet {
		return
	}
	for _, m := range s.agents {
		if m.pool != nil && !s.teams[m.Team].Paused || m.Pod == nil || m.Node == nil {
			continue
		}
		switch m.verdict.Class {
		case Free, Busy, Coming, Draining, Reconnecting:
			m.retired = m.mark() != Ours && m.verdict.Do == ""
		default:
		}
	}
}
