package scaler

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// lives is a set of lives in the order in which they were found, each with the life and the step that led to
// it.
type lives struct {
	keys   []packed
	parent []uint32
	by     []event
	depth  []uint16
	table  []uint32 // open addressing: 1 + the index of a key
}

func newLives() *lives { return &lives{table: make([]uint32, 1<<16)} }

func (s *lives) slot(k packed) uint32 {
	mask := uint32(len(s.table) - 1)
	hi, lo := bits.Mul64(k[0]^k[1]*0xff51afd7ed558ccd^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	at := uint32(hi^lo) & mask
	for s.table[at] != 0 && s.keys[s.table[at]-1] != k {
		at = (at + 1) & mask
	}
	return at
}

func (s *lives) has(k packed) bool { return s.table[s.slot(k)] != 0 }

// add reports whether the life is new.
func (s *lives) add(k packed, parent uint32, by event, depth uint16) bool {
	at := s.slot(k)
	if s.table[at] != 0 {
		return false
	}
	s.keys = append(s.keys, k)
	s.parent, s.by, s.depth = append(s.parent, parent), append(s.by, by), append(s.depth, depth)
	s.table[at] = uint32(len(s.keys))
	if len(s.keys)*2 > len(s.table) {
		s.table = make([]uint32, 2*len(s.table))
		for i, k := range s.keys {
			s.table[s.slot(k)] = uint32(i + 1)
		}
	}
	return true
}

// source is a life from which one more fault leads on.
type source struct {
	key    packed
	parent uint32
	by     event
}

// finding is the result of an exploration.
type finding struct {
	injury injury
	story  string
	faults int
	steps  int
	states int
}

// explore tries everything. First come the lives that need no fault, then those that need one fault, and so
// on. Among lives with equally many faults, explore finds the shortest way to each. So a story that it finds
// has the fewest faults, and then the fewest steps.
func (m *model) explore(faults int) finding {
	seen, settled := newLives(), [2]*lives{newLives(), newLives()}
	first := m.first()
	if m.from != nil {
		first = *m.from
	}
	now := []source{{first.pack(), 0, begin}}
	done := 0 // lives whose moves were tried
	for f := 0; f <= faults; f++ {
		var next []source
		for done < len(seen.keys) || len(now) > 0 {
			// The lives of this round that are already queued are no less deep than the sources. Both come in
			// the order of their depth.
			for len(now) > 0 {
				depth := uint16(0)
				if now[0].by != begin {
					depth = seen.depth[now[0].parent] + 1
				}
				if done < len(seen.keys) && seen.depth[done] < depth {
					break
				}
				seen.add(now[0].key, now[0].parent, now[0].by, depth)
				now = now[1:]
			}
			if done == len(seen.keys) {
				continue
			}
			i := uint32(done)
			done++
			l := unpack(seen.keys[i])
			if h := m.leaks(l, settled); h != noHarm && !m.killsOnly {
				return m.found(seen, i, move{to: l, injury: h}, f)
			}
			for _, mv := range m.moves(l) {
				if mv.fault && f == faults {
					continue
				}
				if mv.injury != noHarm {
					if mv.fault {
						panic("a fault by itself harms nobody")
					}
					return m.found(seen, i, mv, f)
				}
				key := mv.to.pack()
				switch {
				case seen.has(key):
				case mv.fault:
					next = append(next, source{key, i, mv.by})
				default:
					seen.add(key, i, mv.by, seen.depth[i]+1)
				}
			}
		}
		now = next
	}
	return finding{states: len(seen.keys)}
}

// first returns a life that begins with a name that this Bellboard has registered, or is about to use.
func (m *model) first() life {
	l := life{alive: true, known: true, calm: true, berth: true}
	if !m.swarm {
		l.node = ownComputer
	}
	return l
}

// found returns the finding with its story.
func (m *model) found(s *lives, at uint32, last move, faults int) finding {
	var path []uint32
	for i := at; s.by[i] != begin; i = s.parent[i] {
		path = append(path, i)
	}
	var b strings.Builder
	before := unpack(s.keys[0])
	line := func(by event, l life) {
		fmt.Fprintf(&b, "  %-70s %s\n", by.describe(before, l), l.show())
		before = l
	}
	line(begin, before)
	for _, i := range slices.Backward(path) {
		line(s.by[i], unpack(s.keys[i]))
	}
	if last.by != begin {
		line(last.by, last.to)
	}
	fmt.Fprintf(&b, "  %s\n", last.injury)
	return finding{injury: last.injury, story: b.String(), faults: faults, steps: int(s.depth[at]) + 1, states: len(s.keys)}
}

var sendWords = [...]string{
	"nothing", "mark", "clear the mark", "toggle", "fence", "delete the pod", "delete the node", "delete the lost node", "delete the fence", "create the pod",
	"mark, then delete the pod", "delete the node, then the pod",
}

// describe returns what happened, and what is sent.
func (e event) describe(before, after life) string {
	words := eventWords[e]
	if e == bellKeeps || e == bellPauses {
		words += ": " + sendWords[after.send]
	}
	if e == bellSends || e == bellSkips {
		words += ": " + sendWords[before.send]
	}
	if e == arrives {
		words += ": " + sendWords[before.underWay]
	}
	return words
}

// show returns a life in one line.
func (l *life) show() string {
	var w []string
	say := func(ok bool, words string) {
		if ok {
			w = append(w, words)
		}
	}
	say(l.jenkins != jenkinsUp, [...]string{"", "jenkins:down", "jenkins:early", "jenkins:quiet"}[l.jenkins])
	w = append(w, "node:"+[...]string{"absent", "registered", "FENCE"}[l.node])
	say(l.online, "online")
	say(l.mark != unmarked, "marked:"+[...]string{"", "ours", "hook", "monitor", "person", "wordless", "hook, again", "ours, again"}[l.mark])
	say(l.silent, "silent")
	say(l.hung, "hung")
	for _, b := range l.builds {
		say(b != buildWaiting, "build:"+[...]string{"", "named", "hidden", "pinned", "running", "over"}[b])
	}
	w = append(w, "pod:"+[...]string{"unborn", "pending", "running", "ended", "gone"}[l.pod.phase])
	say(l.pod.connected, "connected")
	say(l.pod.disrupted, "disrupted")
	say(l.pod.late, "late")
	say(l.pod.others, "deleted-by-others")
	say(l.pod.us, "deleted-by-us")
	say(l.process && l.pod.phase != podRunning, "process-alive")
	say(!l.process && l.pod.phase == podRunning, "process-dead")
	say(!l.alive, "bellboard:dead")
	say(l.alive && !l.calm, "grace")
	say(l.marked, "mark-seen-before")
	say(l.rested, "rested")
	say(l.used, "used")
	say(l.build > 0, "knows-build")
	say(l.resumed, "resumed")
	say(l.pod.present, "present")
	say(l.blind, "blind")
	say(l.underWay != sendNothing, "under-way:"+sendWords[l.underWay])
	return strings.Join(w, " ")
}

// clean reports whether nothing is left of the agent. A berth that its process knows may stay.
func (m *model) clean(l *life) bool {
	node := l.node == noComputer || l.node == ownComputer && l.berth && l.mark == unmarked && !m.swarm
	return node && (l.pod.phase == podUnborn || l.pod.phase == podGone) && !l.process
}

// leaks follows a life in which nothing more goes wrong, while its team is paused. It follows the life twice:
// with an agent that comes back whenever it can, and with an agent that never comes back. In the end
// everything has to be gone. A life that is known to end well is not followed again.
func (m *model) leaks(l life, settled [2]*lives) injury {
	for i, back := range []bool{true, false} {
		l := l
		for round := 0; ; round++ {
			if m.clean(&l) {
				break
			}
			m.settle(&l, back)
			l.tidy()
			key := l.pack()
			if !settled[i].add(key, 0, begin, 0) {
				// The life is known to end well. Or the walk has gone round in a circle, and this is the
				// first life of that circle.
				if round == 0 || !m.circles(l, back) {
					break
				}
				return harmLeak
			}
			if round > 40 {
				return harmLeak
			}
		}
	}
	return noHarm
}

// circles reports whether the walk from here never ends.
func (m *model) circles(l life, back bool) bool {
	for range 60 {
		if m.clean(&l) {
			return false
		}
		m.settle(&l, back)
		l.tidy()
	}
	return true
}

// settle is one round. Everybody takes the steps that are theirs, minutes pass, and Bellboard takes one whole
// look at the end.
func (m *model) settle(l *life, back bool) {
	l.blind, l.underWay, l.underWayMoved = false, sendNothing, false
	l.rest()
	if !l.alive {
		l.alive = true
		l.known, l.calm = m.without.graceOfOwn, m.without.graceOfOwn
	}
	if l.jenkins != jenkinsUp {
		l.jenkins = jenkinsUp
		if l.any(buildHidden) && m.hook && l.node == ownComputer && l.closed() {
			l.mark = unmarked
		}
		l.change(buildHidden, buildPinned)
	}
	if l.mark == markPerson || l.mark == markStranger || l.mark == markMonitor && (!back || l.any(buildNamed)) {
		l.mark = unmarked // neither a person nor a monitor holds an agent for ever
	}
	if !back || !l.process && l.pod.phase != podPending || !m.swarm && l.node == noComputer {
		l.change(buildNamed, buildOver) // a person cancels a build that names an agent that is gone
	}
	m.settleAgent(l, back)
	if l.known && !l.any(buildPinned) {
		l.calm = true
	}
	l.away, l.lost = min(2, 2*l.away), min(2, 2*l.lost)
	l.pod.late = l.pod.there() && !l.pod.connected
	l.tidy()
	m.wholeLook(l)
}

// settleAgent lets the agent come back, or never, and lets its builds end.
func (m *model) settleAgent(l *life, back bool) {
	if l.process && !l.pod.there() {
		m.endProcess(l, false)
	}
	if l.pod.us || l.pod.others && (!back || !l.online) {
		m.endProcess(l, l.pod.us)
		l.pod.phase = podGone
	}
	if l.silent && l.online && (!back || !l.process) {
		m.cut(l)
	}
	if back {
		l.silent = false
		if l.pod.phase == podPending && !l.pod.us {
			l.pod.phase, l.process = podRunning, true
		}
		if l.process && !l.online && (l.node == ownComputer || l.node == noComputer && m.swarm) {
			l.node, l.online = ownComputer, true
		}
		for _, from := range []uint8{buildPinned, buildNamed} {
			if l.any(from) && l.takes() {
				m.start(l, from)
			}
		}
	}
	if l.online && !l.silent {
		l.change(buildRunning, buildOver)
	}
	if !l.online && l.any(buildRunning) {
		l.change(buildRunning, buildOver)
		if m.swarm {
			l.node = noComputer
		}
	}
	if l.served == 2 {
		l.change(buildPinned, buildOver) // the five minutes are over
	}
}

// wholeLook is a tick of a paused team, with nothing in between.
func (m *model) wholeLook(l *life) {
	if l.any(buildPinned) {
		l.served = 1
	}
	l.sawNode, l.sawMark, l.sawOnline, l.sawIdle, l.sawWork = l.node, l.mark, l.online, !l.busy(), l.atWork()
	m.look(l, true)
	for l.step != atRest {
		switch {
		case l.note:
			l.note = false
			if l.pod.there() {
				l.pod.connected = true
			}
			m.done(l)
		default:
			send := l.send
			if send == sendClear {
				send = sendToggle
			}
			if send == sendMarkAndPod {
				m.land(l, sendMark, false)
				send = sendDeletePod
			}
			if send == sendNodeAndPod {
				m.land(l, sendDeleteNode, false)
				send = sendDeletePod
			}
			m.land(l, send, false)
			l.send = sendNothing
			m.done(l)
		}
	}
}
