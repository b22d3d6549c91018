package scaler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Input is all that a decision rests on.
type Input struct {
	Now       time.Time
	MaxAgents int // over all teams
	Teams     []Team
	Jenkins   JenkinsView
	Cluster   ClusterView
	// GraceUntil: nothing is removed before it (JENKINS_RESTART_GRACE).
	GraceUntil time.Time
	// Berths are the nodes registered by this process whose pod was never created.
	Berths map[string]bool
	// Closing: everything goes, berths too (the teams are given as paused).
	Closing bool
	// Secrets are the pods whose Secret this process knows to exist.
	Secrets map[string]bool
	Memory  Memory
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

// member is a pair on its way through a decision.
type member struct {
	Pair
	verdict Verdict
	pool    *Pool // nil: no such team, or no such kind in its mode
	team    *Team
	left    bool // taken as a berth, or marked by the policy in this plan
	late    bool // on its way, and no build is to wait for it
	dead    bool // its pod does not go away: see corpse
	was     AgentMemory
	is      AgentMemory
}

// labels are what an agent carries: what its node has (an agent that is older
// than a setting has the old ones), and before it has one, its pool's.
func (m *member) labels() []string {
	switch {
	case m.Node != nil:
		return m.Node.Labels
	case m.pool != nil:
		return m.pool.Labels
	}
	return nil
}

// carrier: its node makes Jenkins name its labels, now and for a while.
func (m *member) carrier() bool {
	return m.Node != nil && !m.Node.Fence && m.Pod != nil && m.verdict.Capacity > 0 && !m.left
}

// spare: a berth of this process, taken by nothing in this plan. One that an
// item names is waited for, and is a berth all the same.
func (m *member) spare() bool {
	return !m.left && (m.verdict.Class == Berth || m.verdict.Class == Awaited && m.Berth && m.Pod == nil)
}

// decider is one run of Decide.
type decider struct {
	in      Input
	grace   bool
	quiet   bool // Jenkins is about to shut down: an item may hide whom it waits for
	pools   map[PoolID]*Pool
	teams   map[string]*Team
	pairs   []*member // by name
	byName  map[string]*member
	byPool  map[PoolID][]*member
	foreign []*Node
	wishes  []*wish
	supply  []*supply
	refused map[string]Refusal // by the key of a wish, before this look finds more
	slots   []*place           // the warmest first
	// unlabelled: some team serves builds that ask for no label.
	unlabelled  bool
	crowd       int // agents that builds wait for, and that only BELLBOARD_MAX_AGENTS forbids
	plan        Plan
	mem         Memory               // its agents, pools and slots are written at the end
	foreignOpen map[string]time.Time // AgentMemory.Open of nodes that are not ours
	pooled      notes[PoolID, PoolMemory]
	places      notes[string, SlotMemory]
	facts       Facts
}

// pool is the pool of that name, or nil.
func (in *Input) pool(id PoolID) *Pool {
	if t := in.team(id.Team); t != nil {
		return t.Pool(id.Kind)
	}
	return nil
}

// team is the team of that name, or nil.
func (in *Input) team(name string) *Team {
	for i := range in.Teams {
		if in.Teams[i].Name == name {
			return &in.Teams[i]
		}
	}
	return nil
}

// Checked is Decide with its plan checked against the promises: see Validate.
func Checked(in Input) (Plan, Memory, Facts, error) {
	plan, memory, facts := Decide(in)
	return plan, memory, facts, plan.Validate(in)
}

// Decide joins, matches and decides. It is total: it never fails and never
// panics, and the same Input gives the same answer. It does not change in.
func Decide(in Input) (Plan, Memory, Facts) {
	d := decider{in: in}
	d.prepare()
	d.join()
	d.remember()
	d.backoffs()
	d.lookAtSlots()
	d.tableActions()
	d.expelAll()
	d.lookForLate()
	d.demand()
	d.decideTeams()
	d.shields()
	d.launches()
	d.berths()
	d.tendSlots()
	d.show()
	d.keep()
	return d.plan, d.mem, d.facts
}

// prepare looks up what the whole run needs.
func (d *decider) prepare() {
	in := &d.in
	d.grace = in.Now.Before(in.GraceUntil)
	d.teams = make(map[string]*Team, len(in.Teams))
	d.pools = make(map[PoolID]*Pool, 2*len(in.Teams))
	for i := range in.Teams {
		t := &in.Teams[i]
		d.teams[t.Name] = t
		for j := range t.Pools {
			d.pools[t.Pools[j].PoolID] = &t.Pools[j]
		}
	}
	d.quiet = in.Jenkins.QuietingDown
	for i := range in.Jenkins.Items {
		d.quiet = d.quiet || in.Jenkins.Items[i].State == ShuttingDown
	}
}

// join makes the pairs: pods and nodes of one name, classified.
func (d *decider) join() {
	in := &d.in
	byName := make(map[string]*member, len(in.Cluster.Pods)+len(in.Berths))
	d.byName, d.pairs = byName, make([]*member, 0, len(in.Cluster.Pods)+len(in.Berths))
	all := make([]member, 0, len(in.Cluster.Pods)) // most members in one piece
	add := func(p Pair) {
		all = append(all, member{Pair: p})
		m := &all[len(all)-1]
		byName[p.Name] = m
		d.pairs = append(d.pairs, m)
	}
	for i := range in.Cluster.Pods {
		p := &in.Cluster.Pods[i]
		if byName[p.Name] != nil {
			continue // a name is never used twice
		}
		add(Pair{Name: p.Name, PoolID: p.PoolID, Pod: p, Connect: p.Connect})
	}
	for i := range in.Jenkins.Nodes {
		n := &in.Jenkins.Nodes[i]
		m := byName[n.Name]
		switch {
		case m != nil && !n.Mine():
			// Somebody has edited its description. Its name and its pod say whose it is.
			adopted := *n
			adopted.Team, adopted.Kind = m.Team, m.Kind
			m.Node = &adopted
		case m != nil:
			m.Node = n
		case n.Mine():
			add(Pair{Name: n.Name, PoolID: PoolID{n.Team, n.Kind}, Node: n, Connect: Inbound})
		default:
			d.foreign = append(d.foreign, n)
		}
	}
	d.pin()
	slices.SortFunc(d.pairs, func(a, b *member) int { return strings.Compare(a.Name, b.Name) })
	d.byPool = make(map[PoolID][]*member, len(d.pools))
	for _, m := range d.pairs {
		d.byPool[m.PoolID] = append(d.byPool[m.PoolID], m)
		d.recognize(m)
		m.verdict, m.dead = Classify(m.Pair, in.Now), m.corpse(in.Now)
	}
}

// pin finds the pairs that an item of the queue names.
func (d *decider) pin() {
	for i := range d.in.Jenkins.Items {
		it := &d.in.Jenkins.Items[i]
		if it.Resolution != Labelled {
			continue
		}
		// Of a label's last node Jenkins tells only the name. At the end of all that
		// must not keep a node for ever on which nobody will come.
		if m := d.byName[it.Label]; m != nil && (m.Pod != nil || !d.in.Closing) {
			m.Pinned = true
		}
	}
}

// recognize adds to a pair what the settings and earlier answers say of it.
func (d *decider) recognize(m *member) {
	in := &d.in
	m.pool, m.team = d.pools[m.PoolID], d.teams[m.Team]
	m.StartTimeout = 5 * time.Minute
	if m.pool != nil {
		m.StartTimeout, m.Executors = m.pool.StartTimeout, m.pool.size()
	}
	m.Berth = in.Berths[m.Name] && !in.Closing
	m.was = in.Memory.Agents[m.Name]
	m.Marked = m.was.Mark.shows(m.Node) && !in.Jenkins.AskedAt.Before(m.was.Mark.Since)
	m.Quiet, m.Used, m.AtWork = d.quiet && !in.Jenkins.Hook, m.was.Work.over(), m.was.Work.On
	m.Grace = d.grace && !d.settled(m)
	m.Gone = !m.was.Gone.IsZero() && !in.Jenkins.AskedAt.Before(m.was.Gone)
	m.Away, m.LostSince = m.was.Away, m.was.Lost
	if m.Pod != nil && m.Pod.failing() {
		m.Failing = m.was.Failing
	}
}

// settled reports whether no build that began before Jenkins' last restart can want the
// agent: the restart grace is not for it.
func (d *decider) settled(m *member) bool {
	session := d.in.Jenkins.Session
	switch {
	case session == "":
		return false
	case m.Pod != nil && m.Pod.Session == session:
		return true // it was made after the restart
	case m.Marked && m.was.Mark.Rested:
		return true // it had no build before the restart, and has taken none since
	}
	// Its only build was seen before the restart, and goes on after it, or is over by now.
	// A build of the same URL is proof enough: a pipeline asks for all its agents at once.
	return m.Kind == Ephemeral && m.size() == 1 && m.was.Work.Resumed == session
}

// marking remembers which mark the node carries, and since when.
func (d *decider) marking(m *member) {
	if m.Node == nil || !m.Node.closed() {
		return
	}
	is := Marking{Since: d.in.Jenkins.AnsweredAt, By: m.Node.OfflineBy, At: m.Node.MarkedAt}
	if m.was.Mark.shows(m.Node) {
		is = m.was.Mark
	}
	// The first answer with the mark may have read "idle" before the build began that the
	// hook marked the node for. After a restart a build may be about to resume.
	ends := m.Node.Idle || m.Node.Mortal && m.Node.Executors == 1
	is.Rested = is.Rested || m.Marked && m.Node.Online && ends && !m.Pinned && !m.Grace
	m.is.Mark = is
}

// remember makes the next tick's memory, and the facts of this one.
func (d *decider) remember() {
	old, now := d.in.Memory, d.in.Now
	d.mem = Memory{Started: old.Started, Sees: old.Sees, Teams: map[string]TeamMemory{}, Items: make(map[int64]ItemMemory, len(d.in.Jenkins.Items))}
	if d.mem.Sees.IsZero() {
		d.mem.Sees = now
	}
	if d.mem.Started.IsZero() {
		d.mem.Started = now
	}
	d.foreignOpen = make(map[string]time.Time, len(d.foreign))
	for id, p := range old.Pools {
		if up, down := p.Up, p.Down; !up.IsZero() || !down.IsZero() {
			*d.pooled.of(id) = PoolMemory{Up: up, Down: down}
		}
	}
	d.facts = Facts{SecondBuilds: map[PoolID]int{}}
	for _, m := range d.pairs {
		d.marking(m)
		d.clocks(m)
		d.work(m)
		if m.verdict.Meet {
			// The note on the pod may fail or be late: that is no second start.
			m.is.Met = true
			if !m.was.Met {
				d.facts.Startups = append(d.facts.Startups, startup(m.Pod, now))
			}
		}
	}
	for _, n := range d.foreign {
		if n.free() > 0 {
			d.foreignOpen[n.Name] = since(old.Agents[n.Name].Open, now)
		}
	}
	d.learnStarts()
	d.vanished()
}

// since is when an unbroken run began: before, or with these answers.
func since(was, fresh time.Time) time.Time {
	if was.IsZero() {
		return fresh
	}
	return was
}

// clocks lets each clock of an agent run on, begin or stop.
func (d *decider) clocks(m *member) {
	now := d.in.Now
	if m.Node == nil {
		m.is.Gone = since(m.was.Gone, d.in.Jenkins.AnsweredAt)
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

// tableActions turns the table's own steps into actions.
func (d *decider) tableActions() {
	carry := map[PoolID]int{}
	for _, m := range d.pairs {
		if m.carrier() || m.spare() {
			carry[m.PoolID]++
		}
	}
	var tidy []*member
	for _, m := range d.pairs {
		v := m.verdict
		if v.Meet {
			d.act(Annotate, m, ReasonConnected, "its node is online")
		}
		if v.Class == Coming && m.keyed() && !m.Pod.Requested && !d.in.Secrets[m.Name] {
			d.act(PutSecret, m, ReasonRestart, "made sure after a restart of Bellboard")
		}
		switch {
		case v.Do == "" || d.waits(m, carry):
		case v.tidies():
			tidy = append(tidy, m)
		default:
			d.act(v.Do, m, v.Reason, d.words(m))
		}
	}
	for _, m := range d.inPace(tidy) {
		d.act(m.verdict.Do, m, m.verdict.Reason, d.words(m))
	}
}

// waits reports whether the table's step for an agent is not for this tick. carry is how
// many nodes make Jenkins name the labels of each pool.
func (d *decider) waits(m *member, carry map[PoolID]int) bool {
	v := m.verdict
	switch {
	case d.quiet && v.Do.Destructive() && v.Class != Ended && v.Class != FenceInTheWay:
		return true // an item may hide which agent it waits for
	case v.Reason == ReasonOneBuild && !m.was.Work.On && d.starting():
		return true // its item would go back into the queue, and the agent for nothing
	}
	// Until fresh berths carry its labels, Jenkins needs the node to name them.
	return v.Class == Stray && v.Do == DeleteNode && m.pool != nil && carry[m.PoolID] < 2 && !d.in.Closing
}

// inPace is those of them whose turn it is, a few each second however often is looked:
// each node that is made or deleted takes the lock of Jenkins' queue, and it suffers
// from bursts. Their turn goes round, so that some that cannot go do not keep the others.
func (d *decider) inPace(tidy []*member) []*member {
	const pace, turn = 8, 5 // in a second; seconds
	second, steps := d.in.Now.Unix(), 0
	if old := d.in.Memory.Tidied; old.Second == second {
		steps = old.Steps
	}
	if n := len(tidy); n > pace {
		first := int(second/turn) * pace % n
		tidy = slices.Concat(tidy[first:], tidy[:first])
	}
	n := min(len(tidy), pace-steps)
	if steps += n; steps > 0 {
		d.mem.Tidied = Tidied{second, steps}
	}
	return tidy[:n]
}

// keyed reports that the agent's pod waits for a Secret of its own. Who calls
// whom may have been changed since the pod was made.
func (m *member) keyed() bool {
	called := m.pool != nil && m.pool.Called && m.pool.Spec == m.Pod.Spec
	return m.Connect == Inbound && !called
}

// starting reports that some item has its executor and has not begun: an agent
// that looks busy may still give it back, if it is marked now. (Jenkins is asked
// for its nodes before its queue: what is not pending there has begun.)
func (d *decider) starting() bool {
	return slices.ContainsFunc(d.in.Jenkins.Items, func(it Item) bool { return it.State == Pending })
}

func (d *decider) act(v Verb, m *member, why Reason, text string) {
	d.plan.Actions = append(d.plan.Actions, Action{Verb: v, Agent: m.Name, Pool: m.PoolID, Reason: why, Text: text, Pod: m.Pod})
}

// words says in a few words what a class means for this agent.
func (d *decider) words(m *member) string {
	switch m.verdict.Class {
	case Resuming, FenceInTheWay:
		return "a build wants its agent back"
	case Draining:
		return "Jenkins is about to restart, and waits for no build on a marked node"
	case Ended:
		return strings.TrimSpace("its pod ended: " + string(m.Pod.Phase) + " " + m.Pod.Trouble)
	case Fenced, Ghost:
		if m.Pod != nil && !m.Pod.Connected { // fenced before it ever came
			return m.stuckText(d.in.Now)
		}
		if m.Node == nil && m.Connect == Inbound {
			return "its Jenkins node was deleted, so its agent cannot come back"
		}
		return "away for over " + short(GhostAfter)
	case Leaving:
		return "its pod is being deleted by somebody else"
	case Stuck:
		return m.stuckText(d.in.Now)
	case Busy, Free, Coming, Reconnecting:
		switch m.verdict.Reason { //nolint:exhaustive // they have no others
		case ReasonOneBuild:
			if m.verdict.Class == Free {
				return "it has had its build, and its mark was lifted"
			}
			return "one build"
		case ReasonDocker:
			return "its Docker daemon is dead (" + string(m.Pod.DockerFailure) + ")"
		}
		return "its node is going"
	case Drained:
		return "idle and marked"
	case Intruder:
		return "an agent without a pod"
	case Lost:
		return "its pod vanished under a build"
	case Stray:
		return "nobody needs this node"
	case Awaited, Held, Going, Cut, Berth:
	}
	return string(m.verdict.Class)
}

// demand matches, and says whose the shortfall is.
func (d *decider) demand() {
	items := d.in.Jenkins.Items
	for _, p := range d.pools {
		d.unlabelled = d.unlabelled || p.Unlabelled
	}
	d.wishes = wishesOf(items, d.unlabelled, func(l string) bool { return d.byName[l] != nil })
	d.recall()
	d.supply = d.suppliesOf()
	match(d.wishes, d.supply)
	d.refusals()
	unresolved := map[string]*Unserved{}
	for i := range items {
		it := &items[i]
		if it.State == Buildable && it.Resolution == Unresolved {
			note(unresolved, it, "", "Jenkins does not name the label: "+it.Why)
		}
	}
	d.plan.Unresolved = sortedUnserved(unresolved)
}

func note(to map[string]*Unserved, it *Item, labelText, why string) {
	u := to[labelText]
	if u == nil {
		u = &Unserved{Label: labelText, Why: it.Why, Text: why}
		to[labelText] = u
	}
	u.Count++
	if len(u.Jobs) < 3 && !slices.Contains(u.Jobs, it.Job) {
		u.Jobs = append(u.Jobs, it.Job)
	}
}

func sortedUnserved(m map[string]*Unserved) []Unserved {
	var out []Unserved
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, *m[k])
	}
	return out
}

// show lists every pair for people.
func (d *decider) show() {
	d.plan.Agents = make([]Agent, 0, len(d.pairs))
	for _, m := range d.pairs {
		a := Agent{Name: m.Name, PoolID: m.PoolID, Class: m.verdict.Class, Pod: m.Pod != nil, Node: m.Node != nil, Online: m.online(), Capacity: m.verdict.Capacity}
		if m.Node != nil {
			a.OfflineBy, a.Text = m.Node.OfflineBy, m.Node.Offline
		}
		if m.Pod != nil && m.Pod.Trouble != "" {
			a.Text = m.Pod.Trouble + ": " + m.Pod.TroubleText
		}
		if m.dead {
			a.Text = "its pod does not go away: it was to end " + short(d.in.Now.Sub(m.Pod.Ends)) + " ago"
		}
		if m.late {
			a.Late, a.Text = true, "late: "+culprit(m.Pod, d.in.Now)
		}
		d.plan.Agents = append(d.plan.Agents, a)
	}
	d.plan.Actions = inOrder(d.plan.Actions)
}

// inOrder sorts actions by urgency. For their agents pools take turns: a tick may
// have no time for all of them, and then no pool waits for all of another's.
func inOrder(actions []Action) []Action {
	order, turn, turns := make([]int, len(actions)), make([]int, len(actions)), map[PoolID]int{}
	for i := range actions {
		order[i] = i
		if a := &actions[i]; a.Verb == Create || a.Verb == PutSecret {
			turn[i] = turns[a.Pool]
			turns[a.Pool]++
		}
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(cmp.Compare(urgency(actions[i].Verb), urgency(actions[j].Verb)), cmp.Compare(turn[i], turn[j]), cmp.Compare(i, j))
	})
	out := make([]Action, len(actions))
	for to, from := range order {
		out[to] = actions[from]
	}
	return out
}

// urgency orders actions: what protects a build, what rests on fresh answers, then the rest.
func urgency(v Verb) int {
	switch v {
	case ClearMark, Protect:
		return 0
	case Mark, Fence, DeletePod, DeleteNode, Unprotect:
		return 1
	case Create, PutSecret:
		return 2
	case Annotate, Launch:
		return 3
	case Register:
		return 4
	case DeleteSlot, ResizeSlot:
		return 5
	}
	return 6
}

// short prints a duration as people write it.
func short(dur time.Duration) string {
	s := dur.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
