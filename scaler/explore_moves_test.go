package scaler

// move is one step of anybody, and the life after that step.
type move struct {
	to     life
	by     event
	fault  bool
	injury injury
}

// event names a step in a story.
type event uint8

// The events: Jenkins', the agent's, Kubernetes', people's, time's, Bellboard's.
const (
	begin event = iota
	jenkinsRestarts
	jenkinsReturns
	jenkinsQueues
	buildStarts
	buildResumes
	buildByNameStarts
	buildEnds
	monitorMarks
	monitorLifts
	agentRegisters
	agentConnects
	agentRetakes
	agentCut
	agentFallsSilent
	agentSpeaks
	podStarts
	podFails
	podVanishes
	podForgotten
	orphanEnds
	podDisrupted
	podDeletedByOthers
	podGraceEnds
	podKilled
	personOffline
	personOnline
	personNames
	personDeletes
	personRestarts
	personCancels
	jenkinsRestartsSafely
	graceOver
	awayLong
	lostLong
	startTimeout
	jenkinsGivesUpResume
	jenkinsGivesUpCut
	jenkinsHangs
	pingsFail
	crash
	crashInFlight
	answerLost
	bellStarts
	bellBlind
	bellSees
	bellReads
	bellReadsStale
	bellReadsMarks
	bellKeeps
	bellPauses
	bellNotes
	bellSends
	bellSkips
	bellToggles
	arrives
	bellCreates
)

var eventWords = map[event]string{
	begin: "at first", jenkinsRestarts: "Jenkins restarts", jenkinsReturns: "Jenkins answers again", jenkinsQueues: "Jenkins has queued what resumes",
	buildStarts: "a build starts", buildResumes: "a build resumes", buildByNameStarts: "a build that names the agent starts", buildEnds: "a build ends well",
	monitorMarks: "a monitor takes the node offline", monitorLifts: "the monitor takes it back",
	agentRegisters: "the Swarm client registers its node", agentConnects: "the agent connects", agentRetakes: "the Swarm client takes its offline node anew",
	agentCut: "the agent's connection breaks", agentFallsSilent: "the agent falls silent", agentSpeaks: "the agent speaks again",
	podStarts: "the pod starts", podFails: "the pod fails", podVanishes: "the pod vanishes with its machine", podForgotten: "the pod is deleted by force, its process lives on",
	orphanEnds: "the process without a pod ends", podDisrupted: "Kubernetes says it will take the pod", podDeletedByOthers: "somebody deletes the pod gracefully",
	podGraceEnds: "the grace of the others' deletion ends", podKilled: "the grace of Bellboard's deletion ends",
	personOffline: "a person takes the node offline", personOnline: "a person brings the node online", personNames: "a person queues a build by the agent's name",
	personDeletes: "a person deletes the node", personRestarts: "a person asks for a safe restart", personCancels: "a person cancels it",
	jenkinsRestartsSafely: "Jenkins sees no build to wait for, and restarts",
	graceOver:             "the restart grace is over", awayLong: "six minutes away", lostLong: "ten minutes lost", startTimeout: "the start timeout passes",
	jenkinsGivesUpResume: "five minutes: Jenkins aborts the build that waits to resume", jenkinsGivesUpCut: "five minutes: Jenkins aborts the build that was cut off",
	jenkinsHangs: "the build is over, and its executor hangs", pingsFail: "Jenkins' pings fail",
	crash: "Bellboard is killed", crashInFlight: "Bellboard is killed with a write under way", answerLost: "the answer to a write is lost, and it is still under way",
	bellStarts: "Bellboard starts", bellBlind: "Bellboard cannot read: it holds", bellSees: "Bellboard can read again",
	bellReads: "Bellboard reads computers", bellReadsStale: "Bellboard reads computers, its cache of pods lags", bellReadsMarks: "…and their marks",
	bellKeeps: "Bellboard reads the queue and decides", bellPauses: "Bellboard reads the queue and decides that the agent is to go",
	bellNotes: "Bellboard notes that it connected", bellSends: "Bellboard's write is done", bellSkips: "Bellboard does not send it: too late, or refused",
	bellToggles: "Bellboard toggles", arrives: "the write under way arrives", bellCreates: "Bellboard is about to create the pod",
}

// add adds a move. tidy makes the life of the move canonical.
func (m *model) add(to life, by event, fault bool, h injury) {
	to.tidy()
	m.out = append(m.out, move{to, by, fault, h})
}

// moves returns every step that anybody may take now.
func (m *model) moves(l life) []move {
	m.out = m.out[:0]
	m.jenkinsMoves(l)
	m.agentMoves(l)
	m.podMoves(l)
	m.peopleMoves(l)
	m.timeMoves(l)
	m.bellMoves(l)
	return m.out
}

func (m *model) jenkinsMoves(l life) {
	switch l.jenkins {
	case jenkinsDown:
		// A restart takes longer than the second in which a write may be sent, and longer than a write that
		// is under way. A restart also takes longer than the grace of Bellboard's deletions.
		if l.pod.us && !m.beyond.quickRestart {
			return
		}
		to := l
		to.jenkins, to.underWay = jenkinsEarly, sendNothing
		if !m.without.deadline {
			to.rest()
		}
		m.add(to, jenkinsReturns, false, noHarm)
		return
	case jenkinsEarly:
		to := l
		to.jenkins = jenkinsUp
		if to.any(buildHidden) {
			to.change(buildHidden, buildPinned)
			if m.hook && to.node == ownComputer && to.closed() {
				to.mark = unmarked
			}
		}
		m.add(to, jenkinsQueues, false, noHarm)
	case jenkinsUp:
		to := l
		to.jenkins, to.served = jenkinsQuiet, 0
		m.add(to, personRestarts, true, noHarm)
	case jenkinsQuiet:
		to := l
		to.jenkins = jenkinsUp
		m.add(to, personCancels, false, noHarm)
		if waits, h := m.restartWaits(&l); !waits {
			to = l
			m.restart(&to)
			m.add(to, jenkinsRestartsSafely, false, h)
		}
	}
	to := l
	m.restart(&to)
	m.add(to, jenkinsRestarts, true, noHarm)
	if l.takes() {
		for _, b := range []struct {
			from uint8
			by   event
		}{{buildPinned, buildResumes}, {buildNamed, buildByNameStarts}, {buildWaiting, buildStarts}} {
			if l.any(b.from) && (b.from == buildPinned || !l.any(buildPinned) && l.jenkins != jenkinsQuiet) {
				to := l
				m.start(&to, b.from)
				m.add(to, b.by, false, noHarm)
			}
		}
	}
	if l.any(buildRunning) && l.online && !l.silent {
		to := l
		to.change(buildRunning, buildOver)
		m.add(to, buildEnds, false, noHarm)
	}
	if l.node == ownComputer && l.online && l.mark == unmarked {
		to := l
		to.mark = markMonitor
		m.add(to, monitorMarks, true, noHarm)
	}
	if l.mark == markMonitor {
		to := l
		to.mark = unmarked
		m.add(to, monitorLifts, false, noHarm)
	}
}

// restartWaits reports whether a safe restart has to wait. It waits for builds on Jenkins nodes that are
// online and not marked. With the hook, it waits for builds on marked nodes too. All other builds are cut
// off. Bellboard's mark is the cause, if Bellboard has had its look since the restart was asked for.
func (m *model) restartWaits(l *life) (waits bool, h injury) {
	switch {
	case !l.any(buildRunning) || !l.online:
		return false, noHarm
	case l.mark == unmarked || m.hook:
		return true, noHarm
	case l.ours() && l.process && l.served == 2:
		return false, harmRestart
	}
	return false, noHarm
}

// restart restarts Jenkins. Channels break, and Swarm nodes vanish. Inbound nodes, fences, marks and the
// agents' processes stay. Reads and writes that are under way are broken off.
func (m *model) restart(l *life) {
	l.jenkins, l.online, l.hung, l.known, l.served = jenkinsDown, false, false, false, 0
	l.resumed, l.recent, l.pod.present, l.sawPod.present = false, false, false, false
	l.change(buildRunning, buildHidden)
	l.change(buildPinned, buildHidden)
	if m.swarm && l.node == ownComputer {
		l.node = noComputer
	}
	reading := l.step == readNodes || l.step == readMarks
	if reading && !m.without.oneSession || l.step == toggling || l.step == acting && l.send != sendDeletePod && !m.without.deadline {
		l.rest()
	}
	if l.underWay != sendDeletePod && l.underWay != sendCreate {
		l.underWay = sendNothing
	}
	l.underWayMoved = l.underWayMoved || l.underWay == sendCreate // that pod notes the earlier session
}

func (m *model) agentMoves(l life) {
	if l.silent && l.process {
		to := l
		to.silent = false
		m.add(to, agentSpeaks, false, noHarm)
	}
	if l.process && !l.silent && l.jenkins != jenkinsDown && !l.online && l.waits == 0 {
		switch {
		case l.node == ownComputer:
			to := l
			to.online = true
			m.add(to, agentConnects, false, noHarm)
			if m.swarm && m.beyond.retakes {
				to.online, to.mark, to.waits = false, unmarked, aSecond
				m.add(to, agentRetakes, false, noHarm)
			}
		case l.node == noComputer && m.swarm:
			to := l
			to.node, to.waits = ownComputer, aSecond
			m.add(to, agentRegisters, false, noHarm)
		}
	}
	if l.online && l.process && !l.silent {
		to := l
		m.cut(&to)
		m.add(to, agentCut, true, noHarm)
		to = l
		to.silent = true
		m.add(to, agentFallsSilent, true, noHarm)
	}
	if l.process && !l.pod.there() {
		to := l
		m.endProcess(&to, false)
		m.add(to, orphanEnds, false, noHarm)
	}
}

func (m *model) podMoves(l life) {
	if l.pod.phase == podPending && !l.pod.us {
		to := l
		to.pod.phase, to.process = podRunning, true
		to.touched()
		m.add(to, podStarts, false, noHarm)
	}
	if l.pod.phase == podRunning {
		to := l
		m.endProcess(&to, false)
		to.pod.phase = podEnded
		to.touched()
		m.add(to, podFails, true, noHarm)

		to = l
		to.silent, to.process = to.online, false
		to.pod.phase = podGone
		to.touched()
		m.add(to, podVanishes, true, noHarm)

		to = l
		to.pod.phase = podGone
		to.touched()
		m.add(to, podForgotten, true, noHarm)
	}
	if !l.pod.there() {
		return
	}
	if !l.pod.disrupted && l.pod.phase != podEnded {
		to := l
		to.pod.disrupted = true
		to.touched()
		m.add(to, podDisrupted, true, noHarm)
	}
	if !l.pod.others && l.pod.phase != podEnded {
		to := l
		to.pod.others = true
		to.touched()
		m.add(to, podDeletedByOthers, !l.pod.disrupted, noHarm)
	}
	if l.pod.us || l.pod.others {
		to := l
		h := m.endProcess(&to, l.pod.us)
		to.pod.phase = podGone
		to.touched()
		by := podGraceEnds
		if l.pod.us {
			by = podKilled
		}
		m.add(to, by, false, h)
	}
}

// destructive reports whether a write removes something.
func destructive(send uint8) bool {
	switch send {
	case sendFence, sendDeletePod, sendDeleteNode, sendDeleteLost, sendDeleteFence, sendMarkAndPod, sendNodeAndPod:
		return true
	}
	return false
}

func (m *model) peopleMoves(l life) {
	if l.jenkins == jenkinsDown {
		return
	}
	if l.node == ownComputer && l.mark != markPerson {
		to := l
		to.mark = markPerson
		m.add(to, personOffline, true, noHarm)
	}
	// Within the second between the answers and the write, and once a removal is under way, nothing could
	// help. That is the documented exception.
	hurried := l.step == readMarks || l.step == acting && destructive(l.send) && !m.without.deadline
	mayLift := !hurried && !l.pod.us && !destructive(l.underWay)
	if l.mark != unmarked && mayLift {
		to := l
		to.mark = unmarked
		if m.hook && l.node == ownComputer && (l.any(buildRunning) || l.any(buildOver)) && !l.any(buildPinned) {
			to.set(markHook) // the agent has had its build
		}
		m.add(to, personOnline, true, noHarm)
	}
	if l.node == ownComputer && (l.mark == unmarked || mayLift) {
		to := l
		to.change(buildRunning, buildOver)
		to.dropNode()
		if m.swarm {
			to.waits = tenSeconds
		}
		m.add(to, personDeletes, true, noHarm)
	}
	// The hook lifts the mark for such an item. For Bellboard that looks like a person who lifts it.
	lifts := m.hook && l.node == ownComputer && l.closed()
	if l.any(buildWaiting) && (!lifts || mayLift) {
		to := l
		to.changeOne(buildWaiting, buildNamed)
		if lifts {
			to.mark = unmarked
		}
		m.add(to, personNames, true, noHarm)
	}
}

// minutes lets minutes pass. No look and no write takes that long.
func (m *model) minutes(l *life) {
	l.underWay = sendNothing
	if l.step == readNodes || l.step == readMarks || !m.without.deadline {
		l.rest()
	}
}

func (m *model) timeMoves(l life) {
	to := l
	m.minutes(&to)
	base := to
	resumes := l.any(buildHidden) || l.any(buildPinned)
	if l.alive && l.known && !l.calm && !resumes {
		to.calm = true // five minutes have passed since an answer after Jenkins' return
		m.add(to, graceOver, false, noHarm)
		to = base
	}
	if l.away == 1 {
		to.away = 2
		m.add(to, awayLong, false, noHarm)
		to = base
	}
	if l.lost == 1 && (!l.any(buildRunning) || l.online && l.blind) {
		to.lost = 2 // ten minutes: the five that Jenkins waits for a cut-off build are over
		m.add(to, lostLong, false, noHarm)
		to = base
	}
	if (l.pod.phase == podPending || l.pod.phase == podRunning) && !l.pod.connected && !l.pod.late {
		to.pod.late = true
		m.add(to, startTimeout, false, noHarm)
		to = base
	}
	if (l.jenkins == jenkinsUp || l.jenkins == jenkinsQuiet) && l.any(buildPinned) && !l.takes() {
		to.served = l.served
		h := m.giveUp(&to)
		m.add(to, jenkinsGivesUpResume, false, h)
		to = base
	}
	if l.jenkins != jenkinsDown && l.any(buildRunning) && !l.online {
		to.change(buildRunning, buildOver)
		if m.swarm {
			to.dropNode()
		}
		m.add(to, jenkinsGivesUpCut, false, noHarm)
		to = base
		if !m.swarm && !l.process {
			to.change(buildRunning, buildOver)
			to.hung = true
			m.add(to, jenkinsHangs, true, noHarm)
			to = base
		}
	}
	if l.online && l.silent {
		m.cut(&to)
		m.add(to, pingsFail, false, noHarm)
	}
}
