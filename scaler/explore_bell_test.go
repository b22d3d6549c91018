package scaler

import (
	"fmt"
	"time"
)

// Bellboard in the model. Its looks and writes are steps, and anything may happen between them. What it
// decides and remembers comes from Decide itself. Decide is asked once for each question that comes up.

// without takes safeguards out, one at a time. Then some build dies.
type without struct {
	pins          bool // an item that names the agent does not protect the agent
	grace         bool // there is no grace after a restart
	graceOfOwn    bool // a new process treats Jenkins' session as one that it knows
	mark          bool // an idle agent is removed without a mark
	laterTick     bool // the mark and the removal rest on the same answers
	earlierAnswer bool // the first answer that shows the mark allows the removal
	idle          bool // a marked agent is removed even at work
	preconditions bool // a deletion hits any version of the pod
	deadline      bool // a write is sent however old its answers are
	lease         bool // the old leader goes on writing beside the next leader
	oneSession    bool // nodes and queue may be of two sessions
	ownWords      bool // a toggle of the mark carries no text of its own
	readFirst     bool // a toggle of the mark is sent without reading the mark first
	clearing      bool // the mark of a resuming agent stays
	fenceInTheWay bool // a fence stays though a queued build wants its name
	fence         bool // the pod of an absent Swarm node is deleted without a fence
	oneMark       bool // one mark of the hook is taken for its next mark
	quietMarks    bool // a mark stays though Jenkins is about to restart
	restedInGrace bool // an agent that is idle in the grace counts as idle before the restart
	anyBuild      bool // any running build is taken for the build from before the restart
	sessions      bool // a note of another session counts like a note of this session
	lostWait      bool // a lost Jenkins node is deleted at once
	lostAnew      bool // a hold does not restart the clock of a lost agent
	absent        bool // the API server is not asked for the pod of a lost Jenkins node
	nodeOffline   bool // a Jenkins node without a pod is deleted though an agent is connected
	nodeMarked    bool // a Jenkins node without a pod is deleted without a mark
	nodeAfterPod  bool // the Jenkins node is deleted before the pod
	closedGoing   bool // a mark or a fence goes for an item though the pod is being deleted
	ghostWait     bool // an agent that is away is a ghost at once
}

// beyond lists things that the model assumes Jenkins, Kubernetes and the Swarm client not to do. Each has its
// story, in case they do it after all.
type beyond struct {
	retakes      bool // when a Swarm client registers its offline node anew, Jenkins forgets the mark
	cacheLags    bool // the cache of pods lags behind Bellboard's own deletion
	quickClient  bool // a Swarm client reconnects at once after its connection broke
	quickRestart bool // Jenkins is back before the few seconds of a deletion are over
}

// model is one kind of agent, with or without the hook and each safeguard.
type model struct {
	swarm, ephemeral, hook bool
	beyond                 beyond
	without                without
	policy                 bool // agents go because the policy lets them go, and not because of PAUSED
	out                    []move
	// known has Decide's answers by question. An answer has its top bit set.
	known     map[packed]uint16
	house     Input
	late      bool           // the agent was late wherever it could be
	classes   map[Class]bool // the classes that occurred
	verbs     map[Verb]bool  // the verbs that Decide chose
	killsOnly bool           // the exploration does not look for leaks
	from      *life          // where the stories begin; nil: with a fresh name
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
	// Other agents of the pool start in no time, so they have overtaken this agent as soon as possible.
	id := m.house.Teams[0].Pools[0].PoolID
	m.house.knows(id, startsKnown, time.Second)
	m.house.overtakes(id, time.Second, time.Second, time.Second)
	return m
}

// verdictOf is Decide's answer to a question.
type verdictOf struct {
	send       uint8
	note       bool
	marked     bool
	rested     bool
	used       bool
	resumed    bool
	recent     bool
	knows      bool // the running build is the one that is remembered now
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

// question packs everything that a decision about one agent depends on.
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

// seesBuild returns whether no build runs, the remembered build runs, or another build runs.
func (l *life) seesBuild() uint8 {
	switch l.sawWork {
	case 0:
		return 0
	case l.build:
		return 1
	}
	return 2
}

// ask returns Decide's answer, from Decide or from the answers before.
func (m *model) ask(l *life, pod podView, grace, paused bool) verdictOf {
	q := question(l, pod, grace, paused)
	if m.known[q] == 0 {
		m.known[q] = m.decide(l, pod, grace, paused).pack()
	}
	b := packer{v: packed{uint64(m.known[q])}}
	return verdictOf{send: b.take(4), note: b.is(), marked: b.is(), away: b.is(), lost: b.is(), rested: b.is(), used: b.is(), resumed: b.is(), recent: b.is(), knows: b.is()}
}

// input returns the question as an Input for Decide: the agent in a house with one team.
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
	if m.policy {
		m.letsGo(&in, name, paused)
	}
	if l.marked || m.without.earlierAnswer || m.without.mark {
		was := Marking{Since: in.Jenkins.AskedAt.Add(-time.Second), Rested: l.rested || m.without.restedInGrace && l.sawOnline && l.sawIdle}
		if n := len(in.Jenkins.Nodes) - 1; in.Jenkins.Nodes[n].Name == name {
			was.By, was.At = in.Jenkins.Nodes[n].OfflineBy, in.Jenkins.Nodes[n].MarkedAt
		}
		if l.sawMark == markHookAgain || l.sawMark == markOursAgain {
			was.At = once
		}
		amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Mark = was })
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
		amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Work = w })
	}
	ago := [...]time.Duration{0, time.Minute, LostAfter}
	if l.away > 0 {
		amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Away = noon.Add(-ago[l.away]) })
		// Gone may be this early, but never later than it really was.
		amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Gone = in.Jenkins.AskedAt })
	}
	if m.without.ghostWait {
		amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Away = noon.Add(-GhostAfter) })
	}
	if l.lost > 0 {
		amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Lost = noon.Add(-ago[l.lost]) })
	}
	if m.without.lostWait {
		amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Lost = noon.Add(-LostAfter) })
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
			m.late = m.late || a.Overdue
		}
	}
	v := verdictOf{}
	v.marked = !memory.agent(name).Mark.Since.IsZero()
	v.rested = memory.agent(name).Mark.Rested
	v.used = memory.agent(name).Work.Builds > 0
	w := memory.agent(name).Work
	v.resumed, v.recent = w.Resumed == in.Jenkins.Session, w.Since == in.Jenkins.Session
	v.knows = m.without.anyBuild && l.sawWork > 0 || w.Build != "" && w.Build == [...]string{"", "this", "another"}[l.seesBuild()]
	v.away = !memory.agent(name).Away.IsZero()
	v.lost = !memory.agent(name).Lost.IsZero()
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

// spoil takes out the safeguards that concern actions, not observations.
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

// look finishes a look: it notes what was decided, and what is remembered.
func (m *model) look(l *life, paused bool) {
	pod := l.pod
	if l.stale && (!l.pod.us || m.beyond.cacheLags) {
		pod = l.sawPod // the cache lags behind others' writes, but not behind Bellboard's own deletion
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
			l.mark = known(l.mark) // this mark is the one that is remembered now
		}
		l.away, l.lost = runs(l.away, v.away), runs(l.lost, v.lost)
	} else {
		l.send, l.note, l.marked, l.away, l.lost, l.berth = sendNothing, false, false, 0, 0, false
		l.rested, l.used, l.resumed, l.recent, l.build = false, false, false, false, 0
	}
	l.step = acting
	m.done(l)
}

// runs continues, begins or stops a clock of the memory, and returns it.
func runs(old uint8, on bool) uint8 {
	switch {
	case !on:
		return 0
	case old == 0:
		return 1
	}
	return old
}

// done ends the tick if nothing is left to do.
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
		// If the pod or Jenkins node has already changed, the deletion misses its target from the start.
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
		// A sender gives a write up after many seconds. Or the sender dies, and the next one starts after as
		// many seconds. Either way the write has arrived before the next decision, or never will.
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
			to.served = 0 // Bellboard lost a race: the next look finds the mark
		}
		m.done(&to)
		m.add(to, bellToggles, false, h)
	}
}

// restMoves adds the moves at rest: a look begins, or a hold, or the creation of the pod.
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

// reaches reports whether the server that a write needs answers.
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

// land carries a write out on whatever is there by then.
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
