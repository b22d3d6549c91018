package scaler

import (
	"fmt"
	"time"
)

// Bellboard in the model: its looks and writes are steps with anything between
// them; what it decides and remembers is Decide's own work, asked once for every
// question that comes up.

// without takes safeguards out, one at a time, to see what dies.
type without struct {
	pins          bool // an item that names the agent protects nothing
	grace         bool // nothing waits after a restart
	graceOfOwn    bool // a new process takes Jenkins' session for one it knows
	mark          bool // idle is enough to be removed
	laterTick     bool // mark and remove on the same answers
	earlierAnswer bool // the first answer that shows the mark is enough
	idle          bool // the mark is enough to be removed
	preconditions bool // any version of the pod will do
	deadline      bool // a write goes out however old its answers are
	lease         bool // who was the leader writes on beside the next one
	oneSession    bool // computers and queue may be of two sessions
	ownWords      bool // toggles with no text of its own
	readFirst     bool // toggles without a look
	clearing      bool // the mark of a resuming agent stays
	fenceInTheWay bool // a fence that a build waits behind stays
	fence         bool // an absent Swarm node's pod is deleted unfenced
	oneMark       bool // one mark of the hook is taken for the next
	quietMarks    bool // a mark stays though a restart is near
	restedInGrace bool // idle in the grace is as good as idle before the restart
	anyBuild      bool // any build at work is taken for the one from before
	sessions      bool // a note of another session is as good as one of this
	lostWait      bool // a lost node goes at once
	lostAnew      bool // a hold does not start the lost clock anew
	absent        bool // no live look for the pod of a lost node
	nodeOffline   bool // a node without a pod goes though somebody is connected
	nodeMarked    bool // a node without a pod goes unmarked
	nodeAfterPod  bool // the node goes first, then the pod
	closedGoing   bool // a mark is lifted, and a fence deleted, for an item though the pod is being deleted
	ghostWait     bool // an agent that is away is a ghost at once
}

// beyond are things that the model takes Jenkins, Kubernetes and the Swarm client
// not to do. Each has its story, should one of them do it after all.
type beyond struct {
	retakes      bool // a Swarm client that registers its offline node anew makes Jenkins forget the mark
	cacheLags    bool // the cache of pods lags behind Bellboard's own deletion
	quickClient  bool // a Swarm client is back at once after its connection broke
	quickRestart bool // Jenkins is back before the seconds of a deletion are over
}

// model is one kind of agent, with or without the hook and the safeguards.
type model struct {
	swarm, ephemeral, hook bool
	beyond                 beyond
	without                without
	out                    []move
	// known are Decide's answers by question; an answer has its top bit set.
	known     map[packed]uint16
	house     Input
	late      bool           // the agent was, wherever it could be
	classes   map[Class]bool // that were met
	verbs     map[Verb]bool  // that were chosen
	killsOnly bool           // leaks are not looked for
	from      *life          // where the stories begin; nil: with a name that nothing has happened to
	err       error
}

func newModel(swarm, ephemeral, hook bool, w without) *model {
	m := &model{swarm: swarm, ephemeral: ephemeral, hook: hook, without: w, known: map[packed]uint16{}, classes: map[Class]bool{}, verbs: map[Verb]bool{}}
	mode := ModePersistent
	if ephemeral {
		mode = ModeEphemeral
	}
	m.house = newHouse(newTeam("web", mode, []string{"linux"}, func(t *Team) {
		t.Pools[0].Connect = Inbound
		if swarm {
			t.Pools[0].Connect = Swarm
		}
	}))
	// Others of its pool come in no time, and have overtaken it as soon as it can be.
	id := m.house.Teams[0].Pools[0].PoolID
	m.house.knows(id, startsKnown, time.Second)
	m.house.overtakes(id, time.Second, time.Second, time.Second)
	return m
}

// verdictOf is what Decide made of a question.
type verdictOf struct {
	send       uint8
	note       bool
	marked     bool
	rested     bool
	used       bool
	resumed    bool
	recent     bool
	knows      bool // the build at work is the one that is remembered now
	away, lost bool
}

func (v verdictOf) pack() uint16 {
	var b packer
	b.put(v.send, 4)
	b.flag(v.note)
	b.flag(v.marked)
	b.flag(v.away)
	b.flag(v.lost)
	b.flag(v.rested)
	b.flag(v.used)
	b.flag(v.resumed)
	b.flag(v.recent)
	b.flag(v.knows)
	return uint16(b.v[0]) | 1<<15
}

// question packs all that a decision about one agent depends on.
func question(l *life, pod podView, grace, paused bool) packed {
	var b packer
	b.put(l.sawNode, 2)
	b.put(l.sawMark, 3)
	b.flag(l.sawOnline)
	b.flag(l.sawIdle)
	b.flag(l.named())
	b.putPod(pod)
	b.flag(l.marked)
	b.put(l.away, 2)
	b.put(l.lost, 2)
	b.flag(grace)
	b.flag(l.berth)
	b.flag(paused)
	b.flag(l.rested)
	b.flag(l.used)
	b.flag(l.resumed)
	b.flag(l.recent)
	b.put(l.seesBuild(), 2)
	b.flag(l.build > 0)
	b.flag(l.jenkins == jenkinsQuiet)
	return b.v
}

// seesBuild is whether the build at work is none, the one remembered, or another.
func (l *life) seesBuild() uint8 {
	switch l.sawWork {
	case 0:
		return 0
	case l.build:
		return 1
	}
	return 2
}

// ask lets Decide answer, or remembers what it answered.
func (m *model) ask(l *life, pod podView, grace, paused bool) verdictOf {
	q := question(l, pod, grace, paused)
	if m.known[q] == 0 {
		m.known[q] = m.decide(l, pod, grace, paused).pack()
	}
	b := packer{v: packed{uint64(m.known[q])}}
	return verdictOf{send: b.take(4), note: b.is(), marked: b.is(), away: b.is(), lost: b.is(), rested: b.is(), used: b.is(), resumed: b.is(), recent: b.is(), knows: b.is()}
}

// input is the question in Decide's words: the agent in a house with one team.
func (m *model) input(l *life, pod podView, grace, paused bool) (Input, string) {
	in := m.house
	in.Teams = []Team{in.Teams[0]}
	in.Teams[0].Paused = paused
	id := in.Teams[0].Pools[0].PoolID
	name := AgentName(id, "0000000001")
	if grace && !m.without.grace {
		in.GraceUntil = noon.Add(time.Minute)
	}
	in.Secrets = map[string]bool{name: true}
	in.Berths = map[string]bool{}
	for b := range m.house.Berths {
		in.Berths[b] = true
	}
	if l.berth && !m.swarm {
		in.Berths[name] = true
	}
	in.Jenkins.QuietingDown, in.Jenkins.Hook = l.jenkins == jenkinsQuiet, m.hook
	once, again := noon.Add(-time.Hour), noon.Add(-time.Minute)
	if m.without.oneMark {
		again = once
	}
	in.Jenkins.Nodes = append([]Node{}, in.Jenkins.Nodes...)
	if l.sawNode != noComputer {
		mark := [...]OfflineBy{NotMarked, Ours, Hook, Monitor, Person, Person, Hook, Ours}[l.sawMark]
		idle := l.sawIdle || m.without.idle && mark == Ours
		if m.without.mark && mark == NotMarked && idle && !l.berth && paused {
			mark = Ours
		}
		node := Node{Name: name, Team: id.Team, Kind: id.Kind, Fence: l.sawNode == fenceComputer, Online: l.sawOnline, Executors: 1, Idle: idle, OfflineBy: mark}
		switch l.sawMark {
		case unmarked:
		case markHookAgain, markOursAgain:
			node.MarkedAt = again
		default:
			node.MarkedAt = once
		}
		if !idle {
			node.Busy = 1
			node.Build = [...]string{"", "this", "another"}[l.seesBuild()]
			if m.without.anyBuild && node.Build != "" {
				node.Build = "this"
			}
		}
		in.Jenkins.Nodes = append(in.Jenkins.Nodes, node)
	}
	if l.named() && !m.without.pins {
		in.wait(1, name, time.Minute)
	}
	if pod.there() {
		p := Pod{
			PoolID: id, Name: name, Namespace: "ci", UID: "u", ResourceVersion: "1", Phase: PodRunning, Created: noon.Add(-time.Minute),
			Connected: pod.connected, Session: "before", Deleting: pod.others || pod.us, DeletingByUs: pod.us, Disrupted: pod.disrupted, Connect: in.Teams[0].Pools[0].Connect,
		}
		if pod.present || m.without.sessions && pod.connected {
			p.Session = in.Jenkins.Session
		}
		if pod.late {
			p.Created = noon.Add(-time.Hour)
		}
		switch pod.phase {
		case podPending:
			p.Phase = PodPending
		case podEnded:
			p.Phase = PodFailed
			p.Scheduled = p.Created
		default:
			p.Scheduled = p.Created
		}
		in.Cluster.Pods = []Pod{p}
	}
	in.Memory = Memory{Started: noon.Add(-24 * time.Hour), Sees: m.house.Memory.Sees, Pools: m.house.Memory.Pools}
	if l.marked || m.without.earlierAnswer || m.without.mark {
		was := Marking{Since: in.Jenkins.AskedAt.Add(-time.Second), Rested: l.rested || m.without.restedInGrace && l.sawOnline && l.sawIdle}
		if n := len(in.Jenkins.Nodes) - 1; in.Jenkins.Nodes[n].Name == name {
			was.By, was.At = in.Jenkins.Nodes[n].OfflineBy, in.Jenkins.Nodes[n].MarkedAt
		}
		if l.sawMark == markHookAgain || l.sawMark == markOursAgain {
			was.At = once
		}
		alter(&in.Memory.Agents, name, func(m *AgentMemory) { m.Mark = was })
	}
	if l.used {
		w := Work{Pool: id, Builds: 1}
		if l.build > 0 {
			w.Build, w.Since = "this", "before"
		}
		if l.recent {
			w.Since = in.Jenkins.Session
		}
		if l.resumed {
			w.Resumed = in.Jenkins.Session
		}
		alter(&in.Memory.Agents, name, func(m *AgentMemory) { m.Work = w })
	}
	ago := [...]time.Duration{0, time.Minute, LostAfter}
	if l.away > 0 {
		alter(&in.Memory.Agents, name, func(m *AgentMemory) { m.Away = noon.Add(-ago[l.away]) })
		alter(&in.Memory.Agents, name, func(m *AgentMemory) { m.Gone = in.Jenkins.AskedAt }) // no later than in truth
	}
	if m.without.ghostWait {
		alter(&in.Memory.Agents, name, func(m *AgentMemory) { m.Away = noon.Add(-GhostAfter) })
	}
	if l.lost > 0 {
		alter(&in.Memory.Agents, name, func(m *AgentMemory) { m.Lost = noon.Add(-ago[l.lost]) })
	}
	if m.without.lostWait {
		alter(&in.Memory.Agents, name, func(m *AgentMemory) { m.Lost = noon.Add(-LostAfter) })
	}
	return in, name
}

func (m *model) decide(l *life, pod podView, grace, paused bool) verdictOf {
	in, name := m.input(l, pod, grace, paused)
	plan, memory, _ := Decide(in)
	if m.without == (without{}) {
		if err := plan.Validate(in); err != nil && m.err == nil {
			m.err = fmt.Errorf("the plan about %+v breaks a promise: %w", in, err)
		}
	}
	for _, a := range plan.Agents {
		if a.Name == name {
			m.classes[a.Class] = true
			m.late = m.late || a.Late
		}
	}
	v := verdictOf{}
	v.marked = !memory.Agents[name].Mark.Since.IsZero()
	v.rested = memory.Agents[name].Mark.Rested
	v.used = memory.Agents[name].Work.Builds > 0
	w := memory.Agents[name].Work
	v.resumed, v.recent = w.Resumed == in.Jenkins.Session, w.Since == in.Jenkins.Session
	v.knows = m.without.anyBuild && l.sawWork > 0 || w.Build != "" && w.Build == [...]string{"", "this", "another"}[l.seesBuild()]
	v.away = !memory.Agents[name].Away.IsZero()
	v.lost = !memory.Agents[name].Lost.IsZero()
	for _, a := range plan.Actions {
		if a.Agent != name {
			continue
		}
		m.verbs[a.Verb] = true
		switch a.Verb {
		case Annotate:
			v.note = true
		case Mark:
			v.send = sendMark
		case ClearMark:
			v.send = sendClear
		case Fence:
			v.send = sendFence
		case DeletePod:
			v.send = sendDeletePod
		case DeleteNode:
			v.send = sendDeleteNode
			switch {
			case l.sawNode == fenceComputer:
				v.send = sendDeleteFence
			case a.Reason == ReasonLost:
				v.send = sendDeleteLost
			}
		case Register, Create, PutSecret, Launch, Protect, Unprotect, DeleteSlot:
		}
	}
	return m.spoil(l, pod, v, grace)
}

// spoil takes out the safeguards that are in what is done, not in what is seen.
func (m *model) spoil(l *life, pod podView, v verdictOf, grace bool) verdictOf {
	w, removable := &m.without, known(l.sawMark) == markOurs && l.marked && l.sawIdle && !grace && !l.named()
	switch {
	case w.closedGoing && pod.us && l.named() && l.sawNode == fenceComputer:
		v.send = sendDeleteFence
	case w.closedGoing && pod.us && l.named() && (known(l.sawMark) == markOurs || known(l.sawMark) == markHook):
		v.send = sendClear
	case w.quietMarks && v.send == sendClear && l.jenkins == jenkinsQuiet:
		v.send = sendNothing
	case w.clearing && v.send == sendClear && l.named(), w.fenceInTheWay && v.send == sendDeleteFence && l.named():
		v.send = sendNothing
	case w.laterTick && v.send == sendMark && l.sawIdle && pod.there():
		v.send = sendMarkAndPod
	case w.fence && v.send == sendFence:
		v.send = sendDeletePod
	case w.nodeAfterPod && v.send == sendDeletePod && l.sawNode == ownComputer && pod.phase != podEnded:
		v.send = sendNodeAndPod
	case w.nodeOffline && v.send == sendNothing && !pod.there() && l.sawOnline && removable:
		v.send = sendDeleteNode
	case w.nodeMarked && v.send == sendMark && !pod.there() && !l.sawOnline && l.sawIdle && !grace:
		v.send = sendDeleteNode
	}
	return v
}

// look finishes a look: what was decided, and what is remembered of it.
func (m *model) look(l *life, paused bool) {
	pod := l.pod
	if l.stale && (!l.pod.us || m.beyond.cacheLags) {
		pod = l.sawPod // the cache lags behind others, not behind Bellboard's own deletion
	} else {
		l.podMoved = false
	}
	if !l.known {
		l.known, l.calm = true, false
	}
	if m.swarm || l.sawNode != noComputer || pod.there() {
		v := m.ask(l, pod, !l.calm, paused)
		l.send, l.note, l.marked = v.send, v.note, v.marked
		l.rested, l.used, l.resumed, l.recent = v.rested, v.used, v.resumed, v.recent
		if v.knows {
			l.build = l.sawWork
		}
		if l.mark == l.sawMark {
			l.mark = known(l.mark) // that is the mark which is remembered now
		}
		l.away, l.lost = runs(l.away, v.away), runs(l.lost, v.lost)
	} else {
		l.send, l.note, l.marked, l.away, l.lost, l.berth = sendNothing, false, false, 0, 0, false
		l.rested, l.used, l.resumed, l.recent, l.build = false, false, false, false, 0
	}
	l.step = acting
	m.done(l)
}

// runs is a clock of the memory: it runs on, begins or stops.
func runs(old uint8, on bool) uint8 {
	switch {
	case !on:
		return 0
	case old == 0:
		return 1
	}
	return old
}

// done ends the tick when nothing of it is left to do.
func (m *model) done(l *life) {
	if l.send == sendNothing && !l.note {
		if l.served == 1 {
			l.served = 2
		}
		l.rest()
	}
}

func (m *model) bellMoves(l life) {
	to := l
	if l.underWay != sendNothing && m.reaches(l.underWay, &l) {
		to.underWay = sendNothing
		to.served = 0 // what it does, Bellboard has to look at again
		h := m.land(&to, l.underWay, l.underWayMoved)
		m.add(to, arrives, false, h)
		to = l
	}
	if !l.alive {
		to.alive = true
		to.known = m.without.graceOfOwn
		to.calm = m.without.graceOfOwn
		m.add(to, bellStarts, false, noHarm)
		return
	}
	to.alive = false
	m.add(to, crash, true, noHarm)
	if l.step >= acting && l.send != sendNothing && l.underWay == sendNothing {
		to.underWay = l.send
		// A deletion that meets another node than it was meant for does so at once.
		to.underWayMoved = l.send == sendDeletePod && l.podMoved ||
			deletesNode(l.send) && (l.node == noComputer || l.waits == aSecond)
		m.add(to, crashInFlight, true, noHarm)
		to.alive = true
		to.send, to.served = sendNothing, 0
		m.done(&to)
		m.add(to, answerLost, true, noHarm)
	}
	switch to = l; l.step {
	case atRest:
		m.restMoves(l)
	case readNodes:
		if l.jenkins == jenkinsDown {
			return
		}
		to.step, to.sawMark = readMarks, unmarked
		if l.node == l.sawNode {
			to.sawMark = l.mark
		}
		m.add(to, bellReadsMarks, false, noHarm)
	case readMarks:
		if l.jenkins == jenkinsDown {
			return
		}
		// A sender gives a write up after many seconds, or dies and is followed by
		// another after as many: it has arrived before the next decision, or never will.
		if !m.without.lease {
			l.underWay, to.underWay = sendNothing, sendNothing
		}
		m.look(&to, false)
		m.add(to, bellKeeps, false, noHarm)
		paused := l
		m.look(&paused, true)
		if paused != to {
			m.add(paused, bellPauses, false, noHarm)
		}
	case acting:
		m.actMoves(l)
	case toggling:
		h := m.land(&to, sendToggle, false)
		to.send = sendNothing
		if to.ours() && to.served == 1 {
			to.served = 0 // a lost race: the next look finds the mark
		}
		m.done(&to)
		m.add(to, bellToggles, false, h)
	}
}

// restMoves: a look begins, or a hold, or the creation of the pod.
func (m *model) restMoves(l life) {
	to := l
	switch {
	case l.blind:
		to.blind = false
		m.add(to, bellSees, false, noHarm)
		return
	case l.jenkins == jenkinsDown:
		return
	}
	if !m.without.lostAnew {
		to.lost = 0
	}
	to.blind = true
	m.add(to, bellBlind, true, noHarm)

	to = l
	to.step = readNodes
	to.sawNode, to.sawOnline, to.sawIdle, to.sawWork = l.node, l.online, !l.busy(), l.atWork()
	if (l.any(buildPinned) || l.jenkins == jenkinsQuiet) && l.served == 0 {
		to.served = 1
	}
	m.add(to, bellReads, false, noHarm)
	if l.pod.there() {
		to.stale, to.sawPod, to.podMoved = true, l.pod, false
		m.add(to, bellReadsStale, true, noHarm)
	}
	if to = l; l.berth && l.pod.phase == podUnborn {
		to.berth = false
		to.step, to.send = acting, sendCreate
		m.add(to, bellCreates, false, noHarm)
	}
}

// reaches: whoever is to do it answers.
func (m *model) reaches(send uint8, l *life) bool {
	return send == sendDeletePod || send == sendCreate || l.jenkins != jenkinsDown
}

func (m *model) actMoves(l life) {
	to := l
	if l.note {
		to.note = false
		if l.pod.there() {
			to.pod.connected = true
			to.touched()
		}
		m.done(&to)
		m.add(to, bellNotes, false, noHarm)
		to = l
	}
	if l.send == sendNothing {
		return
	}
	to.send = sendNothing
	if to.served == 1 {
		to.served = 0 // it has not had its look, if nothing came of it
	}
	m.done(&to)
	m.add(to, bellSkips, false, noHarm)
	to = l
	if !m.reaches(l.send, &l) {
		return
	}
	switch {
	case l.send == sendClear && (l.closed() || m.without.readFirst):
		to.step = toggling
		m.add(to, bellSends, false, noHarm)
		return
	case l.send == sendMarkAndPod, l.send == sendNodeAndPod:
		if to.send = sendMark; l.send == sendNodeAndPod {
			to.send = sendDeleteNode
		}
		h := m.land(&to, to.send, false)
		to.send = sendDeletePod
		m.add(to, bellSends, false, h)
		return
	}
	h := m.land(&to, l.send, l.podMoved && l.send == sendDeletePod)
	to.send = sendNothing
	m.done(&to)
	m.add(to, bellSends, false, h)
}

// land is a write being done, to whatever is there by then.
func (m *model) land(l *life, send uint8, moved bool) injury {
	switch send {
	case sendMark:
		if l.node != noComputer {
			l.set(markOurs)
		}
	case sendToggle:
		switch {
		case l.node == noComputer:
		case l.mark != unmarked:
			l.mark = unmarked
		case m.without.ownWords:
			l.mark = markStranger
		default:
			l.set(markOurs)
		}
	case sendFence:
		if l.node == noComputer {
			l.node = fenceComputer
		}
	case sendDeletePod:
		if l.pod.there() && (!moved || m.without.preconditions) {
			l.pod.us = true
			l.touched()
			if l.pod.phase == podEnded {
				l.pod.phase = podGone
			}
		}
	case sendDeleteNode, sendDeleteFence:
		if !moved {
			return m.removeNode(l)
		}
	case sendDeleteLost:
		if !moved && (!l.pod.there() || m.without.absent) {
			return m.removeNode(l)
		}
	case sendCreate:
		if l.pod.phase == podUnborn {
			l.pod.phase, l.pod.present = podPending, !moved
		}
	}
	return noHarm
}
