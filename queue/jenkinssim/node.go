package jenkinssim

import (
	"slices"
	"strings"

	"bellboard/scaler/label"
)

type nodeClass int

const (
	classDumb nodeClass = iota
	classSwarm
	classBuiltIn
)

const (
	modeNormal    = "NORMAL"
	modeExclusive = "EXCLUSIVE"
)

// slot is one executor: free, given to a pending item, or building.
type slot struct {
	item  *item
	build *build
}

func (s slot) free() bool { return s.item == nil && s.build == nil }

// node is an agent's node and its computer. A computer outlives its node while
// a build is on it: then lingering is true.
type node struct {
	class       nodeClass
	name        string
	description string
	labelString string
	remoteFS    string
	mode        string
	webSocket   bool
	host        string // where Jenkins calls the agent; "": it is called by the agent
	executors   int

	labels  []string // its label string and its own name
	has     map[string]bool
	matched map[string]bool // by canonical expression

	lingering bool
	deletedBy string // who deleted it: byREST, a person, or nobody
	createdBy string // who registered it
	mark      *mark
	stored    *mark // a mark that Jenkins before 2.482 has forgotten for now
	lost      mark  // why it has no channel; class "" while it never had one
	ch        *Channel
	slots     []slot
	builds    int  // started on this registration
	closing   bool // the hook knows of a build that the node has had
	fresh     bool // became available since the queue was last maintained
}

// These say who did something to a node.
const (
	byREST   = "bellboard"
	byPerson = "a person"
	byAgent  = "its agent"
)

func (n *node) setLabels() {
	own := n.name
	if n.class == classBuiltIn {
		own = "built-in"
	}
	n.labels = label.ParseSet(n.labelString)
	n.has = make(map[string]bool, len(n.labels)+1)
	for _, l := range n.labels {
		n.has[l] = true
	}
	if !n.has[own] {
		n.labels = append(n.labels, own)
		n.has[own] = true
	}
	n.matched = map[string]bool{}
}

// matches remembers its answers: a node's labels do not change.
func (n *node) matches(e label.Expr) bool {
	name := e.String()
	m, ok := n.matched[name]
	if !ok {
		m = e.Matches(func(atom string) bool { return n.has[atom] })
		n.matched[name] = m
	}
	return m
}

func (n *node) connected() bool { return n.ch != nil || n.class == classBuiltIn }
func (n *node) offline() bool   { return n.mark != nil || n.lingering || !n.connected() }

// shown is the name in the sentences of "why".
func (n *node) shown() string {
	if n.class == classBuiltIn {
		return "Jenkins"
	}
	return n.name
}

func (n *node) busy() (c int) {
	for _, s := range n.slots {
		if !s.free() {
			c++
		}
	}
	return c
}

// runs counts the builds of one job on the node, those about to start too.
func (n *node) runs(job string) (c int) {
	for _, s := range n.slots {
		if s.build != nil && s.build.Job.Name == job || s.item != nil && s.item.build.Job.Name == job {
			c++
		}
	}
	return c
}

func (n *node) freeSlot() int {
	return slices.IndexFunc(n.slots, slot.free)
}

// restNode is what a request to create a node says.
type restNode struct {
	name, description, labels, remoteFS, mode string
	executors                                 int
	webSocket                                 bool
	host                                      string // where Jenkins calls the agent; "": it is called by the agent
}

// register adds a node, or gives a lingering computer its node back, as
// Jenkins does when a name returns while a build is still on its computer.
func (j *Jenkins) register(r restNode, class nodeClass, by string) {
	n := j.byName[r.name]
	if n == nil {
		n = &node{name: r.name}
		at, _ := slices.BinarySearchFunc(j.computers, n, compareNames)
		j.computers = slices.Insert(j.computers, at, n)
		j.byName[r.name] = n
	}
	n.class, n.description, n.labelString = class, r.description, r.labels
	n.remoteFS, n.mode, n.webSocket, n.host = r.remoteFS, r.mode, r.webSocket, r.host
	n.executors = max(r.executors, 1)
	n.lingering, n.deletedBy, n.createdBy, n.mark, n.builds = false, "", by, nil, 0
	n.closing = false
	n.lost = mark{}
	n.stored, n.lost = nil, mark{}
	if class == classSwarm {
		n.lost = mark{class: causeLaunchFailed, text: textLaunchFailed, at: j.clk.Now()}
	}
	n.fitSlots()
	n.setLabels()
	j.changed()
	j.kick()
}

// fitSlots gives the node as many executors as it has; a busy one stays.
func (n *node) fitSlots() {
	for len(n.slots) < n.executors {
		n.slots = append(n.slots, slot{})
	}
	for last := len(n.slots) - 1; last >= n.executors && n.slots[last].free(); last-- {
		n.slots = n.slots[:last]
	}
}

func compareNames(a, b *node) int { return strings.Compare(a.name, b.name) }

// registered finds a node that exists: not the built-in, not a lingering computer.
func (j *Jenkins) registered(name string) *node {
	n := j.byName[name]
	if n == nil || n.lingering {
		return nil
	}
	return n
}

// remove deletes a node. Freestyle builds on it fail at once; while a pipeline
// is on it its computer lingers.
func (j *Jenkins) remove(n *node, by string) {
	n.deletedBy = by
	n.lingering = true
	n.executors = 0
	for _, b := range j.alive {
		// Also of those that wait in the queue to resume there.
		if b.begun && b.home == n.name && b.nodeBy == "" {
			b.nodeBy, b.nodeAt = by, j.clk.Now()
		}
	}
	n.mark, n.stored = nil, nil
	j.changed()
	if n.ch != nil {
		j.cut(n, by, true)
	} else {
		j.cutBuilds(n, by, nodeWait)
	}
	j.removed = append(j.removed, n.shown())
	j.after(removedFor, func() {
		j.removed = j.removed[1:]
		j.changed()
	})
	j.dropIfGone(n)
	j.kick()
}

// dropIfGone takes a lingering computer off the list when nothing is on it.
func (j *Jenkins) dropIfGone(n *node) {
	if !n.lingering || n.busy() > 0 || j.byName[n.name] != n {
		return
	}
	if n.ch != nil {
		n.ch.end()
		n.ch = nil
	}
	delete(j.byName, n.name)
	if at, ok := slices.BinarySearchFunc(j.computers, n, compareNames); ok {
		j.computers = slices.Delete(j.computers, at, at+1)
	}
	j.changed()
}

// PersonOffline takes a node temporarily offline as a person in the UI would.
// It reports whether there is such a node.
func (j *Jenkins) PersonOffline(name, text string) bool {
	return j.withNode(name, func(n *node) {
		j.setMark(n, &mark{class: causeUser, text: text, user: "admin"})
	})
}

// PersonOnline lifts whatever temporary cause a node has, as a person in the UI would.
func (j *Jenkins) PersonOnline(name string) bool {
	return j.withNode(name, func(n *node) { j.setMark(n, nil) })
}

// PersonDelete deletes a node as a person in the UI would.
func (j *Jenkins) PersonDelete(name string) bool {
	return j.withNode(name, func(n *node) { j.remove(n, byPerson) })
}

// MonitorOffline takes a node temporarily offline as Jenkins' disk monitor does.
func (j *Jenkins) MonitorOffline(name, text string) bool {
	return j.withNode(name, func(n *node) {
		j.setMark(n, &mark{class: causeDiskSpace, text: text})
	})
}

func (j *Jenkins) withNode(name string, do func(*node)) bool {
	j.enter()
	defer j.leave()
	n := j.registered(name)
	if n == nil {
		return false
	}
	do(n)
	return true
}

// Node is a foreign agent for AddNode: one that Bellboard did not make.
type Node struct {
	Name, Description, Labels string
	// Executors defaults to 1.
	Executors int
	// Exclusive refuses items that ask for no label.
	Exclusive bool
}

// AddNode registers a foreign agent. When connect is true an agent connects to
// it at once, from a host of the node's name, and its channel is returned;
// otherwise the channel is nil. After a restart the agent is for the caller to
// connect again.
func (j *Jenkins) AddNode(n Node, connect bool) *Channel {
	j.enter()
	r := restNode{
		name: n.Name, description: n.Description, labels: n.Labels,
		remoteFS: "/home/jenkins/agent", mode: modeNormal, executors: n.Executors,
	}
	if n.Exclusive {
		r.mode = modeExclusive
	}
	j.register(r, classDumb, byPerson)
	j.leave()
	if !connect {
		return nil
	}
	c, err := j.Connect(n.Name, j.Secret(n.Name), n.Name)
	if err != nil {
		return nil
	}
	return c
}

// NodeInfo is a node as tests like to see it.
type NodeInfo struct {
	Name, Description, Labels string
	// Swarm is true for a node that a Swarm client made.
	Swarm bool
	// Online means that an agent is connected, whether marked or not.
	Online bool
	Busy   int
	// Marked is the text of the temporary offline cause, "" if there is none.
	Marked string
	// Lingering is a deleted node on whose computer a build still is.
	Lingering bool
}

// NodesList returns every listed agent, sorted by name, without the built-in.
func (j *Jenkins) NodesList() []NodeInfo {
	j.enter()
	defer j.leave()
	list := make([]NodeInfo, 0, len(j.computers))
	for _, n := range j.computers {
		if n == j.builtIn {
			continue
		}
		info := NodeInfo{
			Name: n.name, Description: n.description, Labels: n.labelString,
			Swarm: n.class == classSwarm, Online: n.ch != nil, Busy: n.busy(), Lingering: n.lingering,
		}
		if n.mark != nil {
			info.Marked = n.mark.text
		}
		list = append(list, info)
	}
	return list
}

// lostWords is what the log of a freestyle build on the node says when its agent is lost.
func (j *Jenkins) lostWords(n *node) string {
	said := "Agent went offline during the build"
	if c, is := j.cause(n); is {
		said += "\nERROR: " + j.words(c)
	}
	return said
}

func ephemeral(n *node) bool { return strings.Contains(n.description, "kind=ephemeral") }
