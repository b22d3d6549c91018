package simulate

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"bellboard/cmd/internal/config"
	"bellboard/scaler"
)

const session = "simulated"

// bellboard runs Bellboard's decision on a world: at each poll it shows the world as Jenkins and Kubernetes
// would, and carries the plan out as the loop does. Each answer and each write takes no time.
type bellboard struct {
	teams  *config.Timetable
	team   scaler.Team // as it is at this poll
	edge   int64       // when a window may change the team next; never: none does
	decide Decide
	poll   int64 // milliseconds

	in     scaler.Input
	began  time.Time
	seats  map[string]*seat
	nodeOf []*seat // by index of in.Jenkins.Nodes
	podOf  []*seat // by index of in.Cluster.Pods
	slots  []*slot // by index of in.Cluster.Slots
	queued int     // index of the oldest waiting item in items
	items  []scaler.Item
	names  uint64

	last   int64 // the last poll
	due    int64 // the next poll that may show or decide anything new
	fresh  bool  // something has changed since the last poll
	acted  bool  // the last poll decided to do something
	noSkip bool
}

// seat is a name: a Jenkins node, a pod, or both.
type seat struct {
	name      string
	node, pod int // indices; -1: none
	agent     *agent
	pool      *scaler.Pool
}

func newBellboard(teams *config.Timetable, poll time.Duration, decide Decide, s *Scenario) *bellboard {
	t := teams.Base[0]
	t.Pools = slices.Clone(t.Pools)
	for i := range t.Pools {
		p := &t.Pools[i]
		p.Slots = p.Slots && s.Cold
		p.Connect, p.Called = scaler.Inbound, false // the way to Jenkins takes no time here
	}
	return &bellboard{
		teams: teams, team: t, decide: decide, poll: max(1, poll.Milliseconds()), seats: map[string]*seat{}, due: -1,
		in: scaler.Input{MaxAgents: 1 << 30, Teams: []scaler.Team{t}, Berths: map[string]bool{}, Secrets: map[string]bool{}},
	}
}

// at returns a time of the world as the decision knows it.
func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func (b *bellboard) next(w *world) int64 {
	if b.due < 0 { // no poll yet: chance chooses when the first one comes
		b.began = at(w.now)
		b.last = w.now + w.picks.Int64N(b.poll) - b.poll
		b.due = b.last + b.poll
	}
	if b.fresh || b.noSkip {
		return b.onGrid(w.now)
	}
	return b.due
}

// onGrid returns the first poll at or after a time.
func (b *bellboard) onGrid(t int64) int64 {
	switch {
	case t == never:
		return never
	case t <= b.last:
		return b.last + b.poll
	}
	return b.last + (t-b.last+b.poll-1)/b.poll*b.poll
}

// look is one poll: observe, decide, act, as the loop does it.
func (b *bellboard) look(w *world) error {
	b.last = w.now
	b.fresh = false
	w.out.Looks++
	b.show(w)
	plan, memory, facts, err := b.ask(w.out.Looks)
	if err != nil {
		return fmt.Errorf("at %s the plan breaks a promise: %w", b.in.Now, err)
	}
	outs := make([]scaler.Outcome, len(plan.Actions))
	for i := range plan.Actions {
		detach(&plan.Actions[i])
	}
	for i := range plan.Actions {
		b.act(w, &plan.Actions[i])
		outs[i] = scaler.Outcome{Action: plan.Actions[i], Result: scaler.Done}
	}
	b.in.Memory, _ = memory.Learn(b.in, facts, outs, b.in.Now)
	b.acted = follows(&plan)
	b.due = b.onGrid(b.rest(w))
	return nil
}

// ask returns the decision of the look with that number.
func (b *bellboard) ask(look int) (scaler.Plan, scaler.Memory, scaler.Facts, error) {
	const checked, then = 20_000, 32
	switch {
	case b.decide != nil:
		return b.decide(b.in)
	case look <= checked || look%then == 0:
		return scaler.Checked(b.in)
	}
	plan, memory, facts := scaler.Decide(b.in)
	return plan, memory, facts, nil
}

// follows reports whether the next poll may decide more, although nothing else happens. It does not after steps
// that are complete in themselves, if no limit has kept a team from an agent.
func follows(p *scaler.Plan) bool {
	for i := range p.Actions {
		switch p.Actions[i].Verb {
		case scaler.Create, scaler.Register, scaler.PutSecret, scaler.Annotate, scaler.Protect, scaler.Unprotect, scaler.DeleteNode:
		case scaler.Launch, scaler.Mark, scaler.ClearMark, scaler.Fence, scaler.DeletePod, scaler.DeleteSlot:
			return true
		}
	}
	if len(p.Actions) == 0 {
		return false
	}
	for i := range p.Decisions {
		if len(p.Decisions[i].Steps) > 0 {
			return true
		}
	}
	return false
}

// detach gives an action pods and slots of its own, since the view changes while the plan is carried out.
func detach(a *scaler.Action) {
	if a.Pod != nil && (a.Verb == scaler.DeletePod || a.Reason == scaler.ReasonDocker) {
		p := *a.Pod
		a.Pod = &p
	}
	if a.Slot != nil {
		s := *a.Slot
		a.Slot = &s
	}
}

// show brings the input up to the time of this poll.
func (b *bellboard) show(w *world) {
	now := at(w.now)
	b.in.Now = now
	b.schedule(now)
	j := &b.in.Jenkins
	j.Session, j.SessionSince, j.AskedAt, j.NodesAt, j.AnsweredAt = session, b.began, now, now, now
	j.Items = b.items[b.queued:]
	b.in.Cluster.At = now
	for _, s := range b.podOf {
		if a := s.agent; a.state == starting {
			b.showStart(w, s, &b.in.Cluster.Pods[s.pod])
		}
	}
}

// schedule brings the team up to the time of this poll. Windows change no pool.
func (b *bellboard) schedule(now time.Time) {
	if now.UnixMilli() < b.edge {
		return
	}
	teams, edge := b.teams.At(now)
	pools := b.team.Pools
	b.team, b.edge = teams[0], never
	b.team.Pools = pools
	b.in.Teams = []scaler.Team{b.team}
	if !edge.IsZero() {
		b.edge = edge.UnixMilli()
	}
}

// The parts of a start at whose ends Kubernetes reports something, in percent of the whole start.
const (
	scheduledAt = 10
	readyAt     = 70
)

// showStart shows how far the start of a pod is.
func (b *bellboard) showStart(w *world, s *seat, p *scaler.Pod) {
	a := s.agent
	took := a.online - a.created
	if a.online == never {
		took = w.scenario.StartMost.Milliseconds()
	}
	if t := a.created + took*scheduledAt/100; p.Scheduled.IsZero() && w.now >= t {
		p.Scheduled, p.Mounted = at(t), at(t)
		if a.slot != nil {
			b.in.Cluster.Slots[a.slot.at].Bound = true
		}
	}
	if t := a.created + took*readyAt/100; p.Ready.IsZero() && w.now >= t && a.online != never {
		p.Ready, p.Phase = at(t), scaler.PodRunning
	}
}

func (b *bellboard) arrived(w *world, build int) {
	b.fresh = true
	x := &w.builds[build]
	b.items = append(b.items, scaler.Item{
		ID: int64(build) + 1, Job: b.job(x.Job), Since: at(x.Submitted), State: scaler.Buildable, Resolution: scaler.Labelled, Label: b.team.Labels[0],
	})
}

// job returns the name of a job.
func (b *bellboard) job(i int32) string { return "job-" + strconv.Itoa(int(i)) }

func (b *bellboard) left(*world, int) {
	b.fresh = true
	if b.queued++; b.queued > 1024 && b.queued*2 > len(b.items) {
		b.items = append(b.items[:0], b.items[b.queued:]...)
		b.queued = 0
	}
}

func (b *bellboard) connected(_ *world, a *agent) {
	b.fresh = true
	if s := a.seat; s.node >= 0 {
		b.in.Jenkins.Nodes[s.node].Online = true
	}
	if s := a.seat; s.pod >= 0 {
		p := &b.in.Cluster.Pods[s.pod]
		took := a.online - a.created
		t := a.created + took*scheduledAt/100
		if p.Scheduled.IsZero() {
			p.Scheduled, p.Mounted = at(t), at(t)
		}
		p.Ready, p.Phase = at(a.created+took*readyAt/100), scaler.PodRunning
		if a.slot != nil {
			b.in.Cluster.Slots[a.slot.at].Bound = true
		}
	}
}

func (b *bellboard) changed(w *world, a *agent) {
	b.fresh = true
	if s := a.seat; s.node >= 0 {
		n := &b.in.Jenkins.Nodes[s.node]
		n.Busy, n.Idle, n.Build = a.running, a.running == 0, ""
		if a.running == 1 { // if there are several, Jenkins' answer names none
			n.Build = "http://jenkins/job/" + b.job(w.builds[a.last].Job) + "/" + strconv.Itoa(int(a.last)+1) + "/"
		}
	}
}

func (b *bellboard) vanished(w *world, a *agent) {
	b.fresh = true
	s := a.seat
	if a.slot != nil && a.online <= w.now {
		b.in.Cluster.Slots[a.slot.at].LastUsed = at(w.now)
	}
	if s.node >= 0 {
		b.in.Jenkins.Nodes[s.node].Online = false
	}
	b.dropPod(s)
	delete(b.in.Secrets, s.name)
	b.forget(s)
}

// forget forgets a name that nothing carries any more.
func (b *bellboard) forget(s *seat) {
	if s.node < 0 && s.pod < 0 {
		delete(b.seats, s.name)
	}
}

func (b *bellboard) dropPod(s *seat) {
	pods := b.in.Cluster.Pods
	last := len(pods) - 1
	pods[s.pod], b.podOf[s.pod] = pods[last], b.podOf[last]
	b.podOf[s.pod].pod = s.pod
	b.in.Cluster.Pods, b.podOf = pods[:last], b.podOf[:last]
	s.pod = -1
}

func (b *bellboard) dropNode(s *seat) {
	nodes := b.in.Jenkins.Nodes
	last := len(nodes) - 1
	nodes[s.node], b.nodeOf[s.node] = nodes[last], b.nodeOf[last]
	b.nodeOf[s.node].node = s.node
	b.in.Jenkins.Nodes, b.nodeOf = nodes[:last], b.nodeOf[:last]
	s.node = -1
}

// name returns a new random part of a name. The names of agents have no order in time.
func (b *bellboard) name() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	b.names++
	x := b.names * 0x9e37_79b9_7f4a_7c15 // odd, so no number comes twice
	x ^= x >> 29
	out := make([]byte, 13)
	for i := range out {
		out[i] = alphabet[x%36]
		x /= 36
	}
	return string(out)
}

// register adds a Jenkins node to the view.
func (b *bellboard) register(id scaler.PoolID, name string) {
	p := b.team.Pool(id.Kind)
	s := &seat{name: name, node: len(b.nodeOf), pod: -1, pool: p}
	b.seats[name] = s
	b.nodeOf = append(b.nodeOf, s)
	b.in.Jenkins.Nodes = append(b.in.Jenkins.Nodes, scaler.Node{
		Name: name, Labels: p.Labels, Team: id.Team, Kind: id.Kind, Executors: max(1, p.Executors), Idle: true,
	})
}

// act carries out one action.
func (b *bellboard) act(w *world, a *scaler.Action) {
	s := b.seats[a.Agent]
	switch a.Verb {
	case scaler.Register:
		a.Agent = scaler.AgentName(a.Pool, b.name())
		b.register(a.Pool, a.Agent)
		b.in.Berths[a.Agent] = true
	case scaler.Create:
		b.create(w, a)
	case scaler.PutSecret:
		b.in.Secrets[a.Agent] = true
	case scaler.Annotate:
		p := &b.in.Cluster.Pods[s.pod]
		p.Connected, p.ConnectedAt = true, b.in.Now
	case scaler.Protect:
		b.in.Cluster.Pods[s.pod].Protected = true
	case scaler.Unprotect:
		b.in.Cluster.Pods[s.pod].Protected = false
	case scaler.Mark:
		n := &b.in.Jenkins.Nodes[s.node]
		n.OfflineBy, n.MarkedAt, n.Offline = scaler.Ours, b.in.Now, string(a.Reason)
		if s.agent != nil && s.agent.state != gone {
			w.shutAgent(s.agent)
		}
	case scaler.ClearMark:
		n := &b.in.Jenkins.Nodes[s.node]
		n.OfflineBy, n.MarkedAt, n.Offline = scaler.NotMarked, time.Time{}, ""
		if s.agent != nil {
			w.reopen(s.agent)
		}
	case scaler.DeletePod:
		p := &b.in.Cluster.Pods[s.pod]
		p.Deleting, p.DeletingByUs, p.Ends = true, true, b.in.Now.Add(w.scenario.Ending)
		w.remove(s.agent)
	case scaler.DeleteNode:
		delete(b.in.Berths, s.name)
		b.dropNode(s)
		b.forget(s)
	case scaler.DeleteSlot:
		b.deleteSlot(w, a)
	case scaler.Launch, scaler.Fence:
		panic("simulate: agents are inbound, so nothing has to be done by " + string(a.Verb))
	}
}

func (b *bellboard) create(w *world, a *scaler.Action) {
	if a.Agent == "" {
		a.Agent = scaler.AgentName(a.Pool, b.name())
		b.register(a.Pool, a.Agent)
	}
	s := b.seats[a.Agent]
	delete(b.in.Berths, a.Agent)
	var cache *slot
	pod := scaler.Pod{
		PoolID: a.Pool, Name: a.Agent, Namespace: s.pool.Namespace, UID: a.Agent, ResourceVersion: "1", Phase: scaler.PodPending, Created: b.in.Now,
		Session: session, SessionSince: b.began, Connect: scaler.Inbound, Spec: s.pool.Spec, Protected: !a.Spare,
	}
	if s.pool.Slots {
		cache = b.slotFor(w, a, s.pool)
		pod.Slot, pod.Warmth = cache.name, b.in.Cluster.Slots[cache.at].Warmth()
	}
	s.agent = w.create(creation{size: s.pool.Executors, slot: cache})
	s.agent.seat = s
	s.pod = len(b.podOf)
	b.podOf = append(b.podOf, s)
	b.in.Cluster.Pods = append(b.in.Cluster.Pods, pod)
	b.in.Secrets[a.Agent] = true
}

// slotFor returns the slot that a creation uses, and makes it if it is a new one.
func (b *bellboard) slotFor(w *world, a *scaler.Action, p *scaler.Pool) *slot {
	if a.Slot == nil {
		c := w.newSlot()
		c.at, c.name = len(b.slots), scaler.SlotName(a.Pool.Team, b.name())
		b.slots = append(b.slots, c)
		b.in.Cluster.Slots = append(b.in.Cluster.Slots, scaler.Slot{
			PoolID: a.Pool, Name: c.name, Namespace: p.Namespace, UID: c.name, ResourceVersion: "1", Created: b.in.Now, LastUsed: b.in.Now, Uses: 1,
			Size: p.SlotSize, Store: p.SlotStore, Keep: p.SlotKeep,
		})
		return c
	}
	i := slices.IndexFunc(b.slots, func(c *slot) bool { return c.name == a.Slot.Name })
	v := &b.in.Cluster.Slots[i]
	v.Uses++
	v.LastUsed = b.in.Now
	return b.slots[i]
}

func (b *bellboard) deleteSlot(w *world, a *scaler.Action) {
	i := slices.IndexFunc(b.slots, func(c *slot) bool { return c.name == a.Slot.Name })
	w.dropSlot(b.slots[i])
	last := len(b.slots) - 1
	b.in.Cluster.Slots[i], b.slots[i] = b.in.Cluster.Slots[last], b.slots[last]
	b.slots[i].at = i
	b.in.Cluster.Slots, b.slots = b.in.Cluster.Slots[:last], b.slots[:last]
}

// kept returns the slots that are still there.
func (b *bellboard) kept() []*slot { return b.slots }
