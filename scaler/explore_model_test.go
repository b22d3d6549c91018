package scaler

// The model: Jenkins, Kubernetes, people and one agent, small enough to try every interleaving of their
// steps. The model knows what was seen of a real Jenkins, and nothing of the table. Time has no numbers: a
// thing that needs minutes may happen at any moment that the order of the waits allows.

// The states of Jenkins.
const (
	jenkinsUp    = iota
	jenkinsDown  // restarting: Jenkins answers nothing
	jenkinsEarly // Jenkins answers, and the items of builds that resume are not queued yet
	jenkinsQuiet // a safe restart was asked for: no new build starts
)

// The kinds of Jenkins node that may be registered under the agent's name.
const (
	noComputer = iota
	ownComputer
	fenceComputer
)

// Whose mark the Jenkins node carries. A stranger's mark was set by Bellboard in words that are not
// Bellboard's own. If a mark was set again, it differs from the mark that Bellboard remembers: Jenkins tells
// when each mark was set.
const (
	unmarked = iota
	markOurs
	markHook
	markMonitor
	markPerson
	markStranger
	markHookAgain
	markOursAgain
)

// The states of a build.
const (
	buildWaiting = iota // any agent fits the build, and this agent may get it
	buildNamed          // the build has not begun, and names this agent
	buildHidden         // the build was on the agent when Jenkins stopped, and is not queued yet
	buildPinned         // the build is queued to resume on the agent
	buildRunning
	buildOver
)

// The phases of the agent's pod.
const (
	podUnborn = iota
	podPending
	podRunning
	podEnded
	podGone
)

// The steps that Bellboard may be in the middle of.
const (
	atRest    = iota
	readNodes // the answer with the nodes is half written
	readMarks // the answer with the nodes is complete, and the queue is asked next
	acting    // Bellboard has decided, and has not sent the write yet
	toggling  // Bellboard clears a mark: it has read the mark, and has not toggled it yet
)

// The writes that Bellboard sends.
const (
	sendNothing = iota
	sendMark
	sendClear
	sendToggle
	sendFence
	sendDeletePod
	sendDeleteNode
	sendDeleteLost
	sendDeleteFence
	sendCreate
	sendMarkAndPod // sabotage: both writes on the same answers
	sendNodeAndPod // sabotage: the Jenkins node first, though its pod lives
)

// How long a Swarm client takes, compared with what is under way. From registering to being online it takes
// over a second. After it was cut off, it tries again after ten seconds.
const (
	aSecond    = 1
	tenSeconds = 2
)

// podView is a pod, or how a cache shows a pod.
type podView struct {
	phase                                  uint8
	others, us, connected, disrupted, late bool // late: past START_TIMEOUT
	present                                bool // the pod was made in Jenkins' present session
}

func (p podView) there() bool {
	return p.phase == podPending || p.phase == podRunning || p.phase == podEnded
}

// life is everything that matters about one agent at one moment.
type life struct {
	jenkins, node, mark uint8
	online              bool // Jenkins has a channel to the agent
	silent              bool // the agent behind the channel says nothing
	hung                bool // an executor that Jenkins will never free
	builds              [2]uint8
	pod                 podView
	process             bool // the agent's process is alive, wherever

	// Bellboard: its process, and what the process remembers.
	alive, known, calm, marked, berth, blind bool
	rested                                   bool // the agent was seen idle under the remembered mark
	// used: the agent was seen at work. resumed: the remembered build was seen to go on after the restart.
	used, resumed bool
	recent        bool  // the remembered build was first seen in Jenkins' present session
	build         uint8 // which build is remembered: none, the first, the second
	away, lost    uint8 // not, for a while, for as long as the table asks
	step          uint8

	// While Bellboard reads: what it has read.
	sawNode, sawMark, sawWork uint8 // sawWork: which build runs
	sawOnline, sawIdle, stale bool
	sawPod                    podView
	podMoved                  bool // the pod has changed since Bellboard saw it
	send                      uint8
	note                      bool // Bellboard is about to note "connected" on the pod
	// served: a look since a build waits to resume, or since a restart is near: none, begun, done.
	served   uint8
	underWay uint8 // a write that its sender has given up, and that arrives later
	// waits: a Swarm client is not back before this look is over, or before ten seconds have passed.
	waits         uint8
	underWayMoved bool
}

// packed is a life in two words.
type packed [2]uint64

// packer packs small numbers into a key.
type packer struct {
	v packed
	n uint
}

func (b *packer) put(x uint8, width uint) {
	if b.n%64+width > 64 {
		b.n += 64 - b.n%64 // no number crosses the border of two words
	}
	b.v[b.n/64] |= uint64(x) << (b.n % 64)
	b.n += width
}

func (b *packer) flag(x bool) {
	if x {
		b.put(1, 1)
		return
	}
	b.put(0, 1)
}

func (b *packer) take(width uint) uint8 {
	if b.n%64+width > 64 {
		b.n += 64 - b.n%64
	}
	x := uint8(b.v[b.n/64] >> (b.n % 64) & (1<<width - 1))
	b.n += width
	return x
}

func (b *packer) is() bool { return b.take(1) == 1 }

func (b *packer) putPod(p podView) {
	b.put(p.phase, 3)
	b.flag(p.others)
	b.flag(p.us)
	b.flag(p.connected)
	b.flag(p.disrupted)
	b.flag(p.late)
	b.flag(p.present)
}

func (b *packer) takePod() podView {
	return podView{phase: b.take(3), others: b.is(), us: b.is(), connected: b.is(), disrupted: b.is(), late: b.is(), present: b.is()}
}

// pack returns a life as a key. The things that Bellboard reads and the things that it sends share their
// bits.
func (l *life) pack() packed {
	var b packer
	b.put(l.jenkins, 2)
	b.put(l.node, 2)
	b.put(l.mark, 3)
	b.flag(l.online)
	b.flag(l.silent)
	b.flag(l.hung)
	b.put(l.builds[0], 3)
	b.put(l.builds[1], 3)
	b.putPod(l.pod)
	b.flag(l.process)
	b.flag(l.alive)
	b.flag(l.known)
	b.flag(l.calm)
	b.flag(l.marked)
	b.flag(l.berth)
	b.flag(l.blind)
	b.flag(l.rested)
	b.flag(l.used)
	b.flag(l.resumed)
	b.flag(l.recent)
	b.put(l.build, 2)
	b.put(l.away, 2)
	b.put(l.lost, 2)
	b.put(l.served, 2)
	b.put(l.underWay, 4)
	b.flag(l.underWayMoved)
	b.put(l.waits, 2)
	b.put(l.step, 3)
	switch l.step {
	case readNodes, readMarks:
		b.put(l.sawNode, 2)
		b.put(l.sawMark, 3)
		b.flag(l.sawOnline)
		b.flag(l.sawIdle)
		b.put(l.sawWork, 2)
		b.flag(l.stale)
		b.putPod(l.sawPod)
		b.flag(l.podMoved)
	case acting, toggling:
		b.put(l.send, 4)
		b.flag(l.note)
		b.flag(l.podMoved)
	}
	return b.v
}

func unpack(v packed) life {
	b := packer{v: v}
	l := life{
		jenkins: b.take(2), node: b.take(2), mark: b.take(3), online: b.is(), silent: b.is(), hung: b.is(),
		builds: [2]uint8{b.take(3), b.take(3)}, pod: b.takePod(), process: b.is(),
		alive: b.is(), known: b.is(), calm: b.is(), marked: b.is(), berth: b.is(), blind: b.is(), rested: b.is(), used: b.is(), resumed: b.is(), recent: b.is(), build: b.take(2),
		away: b.take(2), lost: b.take(2), served: b.take(2), underWay: b.take(4), underWayMoved: b.is(), waits: b.take(2), step: b.take(3),
	}
	switch l.step {
	case readNodes, readMarks:
		l.sawNode, l.sawMark, l.sawOnline, l.sawIdle, l.sawWork, l.stale = b.take(2), b.take(3), b.is(), b.is(), b.take(2), b.is()
		l.sawPod, l.podMoved = b.takePod(), b.is()
	case acting, toggling:
		l.send, l.note, l.podMoved = b.take(4), b.is(), b.is()
	}
	return l
}

// tidy makes lives equal that differ in nothing that matters.
func (l *life) tidy() {
	if l.builds[0] > l.builds[1] {
		l.builds[0], l.builds[1] = l.builds[1], l.builds[0]
		l.build, l.sawWork = other(l.build), other(l.sawWork)
	}
	if l.builds[0] == l.builds[1] && (l.build == 2 || l.build == 0 && l.sawWork == 2) {
		l.build, l.sawWork = other(l.build), other(l.sawWork)
	}
	if l.node == noComputer {
		l.mark, l.online, l.hung = unmarked, false, false
	}
	if !l.pod.there() {
		l.pod = podView{phase: l.pod.phase}
	}
	if l.pod.connected || l.pod.phase == podEnded {
		l.pod.late = false
	}
	if !l.process && !l.online {
		l.silent = false
	}
	if !l.alive {
		l.known, l.calm, l.marked, l.berth, l.blind, l.away, l.lost = false, false, false, false, false, 0, 0
		l.rested, l.used, l.resumed, l.recent, l.build = false, false, false, false, 0
		l.rest()
	}
	if !l.marked { // no remembered mark could be taken for this mark
		l.mark = known(l.mark)
	}
	if !l.marked {
		l.rested = false
	}
	if !l.any(buildPinned) && (l.jenkins != jenkinsQuiet || !l.any(buildRunning)) {
		l.served = 0
	}
	if l.step == atRest {
		l.rest()
	}
	if l.step >= acting && l.send != sendDeletePod && l.send != sendMarkAndPod && l.send != sendNodeAndPod {
		l.podMoved = false
	}
	if l.step < acting && !l.stale {
		l.podMoved = false
	}
	if l.underWay != sendDeletePod && l.underWay != sendCreate && !deletesNode(l.underWay) {
		l.underWayMoved = false
	}
	if l.waits == aSecond && l.step == atRest || !l.hurry() {
		l.waits = 0
	}
}

// other returns the other of the two builds.
func other(build uint8) uint8 {
	if build == 0 {
		return 0
	}
	return 3 - build
}

// atWork returns which build runs.
func (l *life) atWork() uint8 {
	switch buildRunning {
	case int(l.builds[0]):
		return 1
	case int(l.builds[1]):
		return 2
	}
	return 0
}

// hurry reports whether something is under way that ends, or reaches the pod, within ten seconds.
func (l *life) hurry() bool { return l.step != atRest || l.pod.us || l.underWay != sendNothing }

// rest forgets an unfinished look or step.
func (l *life) rest() {
	l.step, l.send, l.note, l.podMoved = atRest, sendNothing, false, false
	l.sawNode, l.sawMark, l.sawOnline, l.sawIdle, l.sawWork, l.stale, l.sawPod = 0, 0, false, false, 0, false, podView{}
	if l.served == 1 {
		l.served = 0
	}
}

func (l *life) any(state uint8) bool { return l.builds[0] == state || l.builds[1] == state }

func (l *life) busy() bool { return l.hung || l.any(buildRunning) }

// named reports whether an item in the queue names the agent.
func (l *life) named() bool { return l.any(buildPinned) || l.any(buildNamed) }

// unfinished reports whether a build has begun on the agent, and still needs the agent.
func (l *life) unfinished() bool {
	return l.any(buildRunning) || l.any(buildHidden) || l.any(buildPinned)
}

func (l *life) change(from, to uint8) {
	for i := range l.builds {
		if l.builds[i] == from {
			l.builds[i] = to
		}
	}
}

func (l *life) changeOne(from, to uint8) {
	for i := range l.builds {
		if l.builds[i] == from {
			l.builds[i] = to
			return
		}
	}
}

// touched gives the pod another resourceVersion.
func (l *life) touched() {
	l.podMoved = true
	l.underWayMoved = l.underWayMoved || l.underWay == sendDeletePod
}

// dropNode removes the Jenkins node. A deletion that Jenkins has begun is meant for this very node, and not
// for the next node of that name.
func (l *life) dropNode() {
	l.node = noComputer
	l.underWayMoved = l.underWayMoved || deletesNode(l.underWay)
}

func deletesNode(send uint8) bool {
	return send == sendDeleteNode || send == sendDeleteLost || send == sendDeleteFence
}

// injury says how a build died that would have lived without Bellboard, or what stays for ever.
type injury uint8

// The injuries.
const (
	noHarm injury = iota
	harmPod
	harmNode
	harmName
	harmMark
	harmFence
	harmRestart
	harmLeak
)

func (h injury) String() string {
	return [...]string{
		"no injury", "KILLED: Bellboard ended the agent of a build", "KILLED: Bellboard deleted the node of a running build",
		"KILLED: Bellboard deleted the node that a build would have resumed on", "KILLED: a build waited five minutes behind Bellboard's mark",
		"KILLED: a build waited five minutes for an agent that Bellboard's fence kept out",
		"KILLED: a safe restart did not wait for a build behind Bellboard's mark", "LEAK: this is never removed",
	}[h]
}

// cut ends the channel. A Swarm node goes with the channel, unless a build is on that node.
func (m *model) cut(l *life) {
	l.online = false
	if m.swarm && !m.beyond.quickClient {
		l.waits = tenSeconds
	}
	if m.swarm && !l.busy() && l.node == ownComputer {
		l.dropNode()
	}
}

// endProcess ends the agent's process. Jenkins sees that, unless the channel was silent.
func (m *model) endProcess(l *life, byUs bool) injury {
	h := noHarm
	if l.process && byUs && l.unfinished() {
		h = harmPod
	}
	l.process = false
	if l.online && !l.silent {
		m.cut(l)
	}
	return h
}

// start gives the executor to a build.
func (m *model) start(l *life, from uint8) {
	l.changeOne(from, buildRunning)
	if m.hook {
		l.set(markHook)
		l.served = 0
	}
}

// set puts a mark of the hook or of Bellboard on the Jenkins node.
func (l *life) set(mark uint8) {
	l.mark = mark
	switch {
	case l.marked && mark == markHook:
		l.mark = markHookAgain
	case l.marked:
		l.mark = markOursAgain
	}
}

// known returns the mark if it is the one that Bellboard remembers.
func known(mark uint8) uint8 {
	switch mark {
	case markHookAgain:
		return markHook
	case markOursAgain:
		return markOurs
	}
	return mark
}

func (l *life) ours() bool { return known(l.mark) == markOurs }

// closed reports whether the Jenkins node carries a mark of Bellboard's or of the hook's.
func (l *life) closed() bool { return l.ours() || known(l.mark) == markHook }

// takes reports whether Jenkins may give the node's executor away now.
func (l *life) takes() bool {
	return l.jenkins != jenkinsDown && l.node == ownComputer && l.online && l.mark == unmarked && !l.busy()
}

// removeNode is Jenkins' doDelete. Builds on the Jenkins node end, and a client is disconnected.
func (m *model) removeNode(l *life) injury {
	h := noHarm
	switch {
	case l.node != ownComputer:
	case l.process && l.any(buildRunning):
		h = harmNode
	case l.process && !m.swarm && (l.any(buildPinned) || l.any(buildHidden)):
		h = harmName
	}
	l.change(buildRunning, buildOver)
	l.dropNode()
	return h
}

// giveUp is the end of the five minutes that Jenkins waits for a build to resume. Bellboard is the cause if
// all of this holds:
//
//   - The agent was there.
//   - Only a mark, a fence or a missing Jenkins node stood in the way.
//   - Bellboard had had its look.
func (m *model) giveUp(l *life) injury {
	h := noHarm
	if l.process && !l.silent && l.served == 2 && !l.busy() {
		switch {
		case l.node == fenceComputer:
			h = harmFence
		case l.node == ownComputer && l.online && (l.closed() || l.mark == markStranger):
			h = harmMark
		}
	}
	l.change(buildPinned, buildOver)
	return h
}
