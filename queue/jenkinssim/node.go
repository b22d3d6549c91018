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

func modeOf(exclusive bool) string {
	if exclusive {
		return modeExclusive
	}
	return modeNormal
}

// slot is one executor: free, given to a pending item, or building.
type slot struct {
	item  *item
	build *build
}

func (s slot) free() bool { return s.item == nil && s.build == nil }

// settings are the content of a request to create a node.
type settings struct {
	name, description, labelString, remoteFS, mode string

	executors int
	webSocket bool
	host      string // where Jenkins calls the agent; "": the agent calls Jenkins
	kept      bool   // the node stays when configuration as code is reloaded
}

// node is a Jenkins node and its computer. A computer outlives its node while a build is
// on the computer: then lingering is true.
type node struct {
	settings
	class nodeClass

	labels  []string        // those of labelString, and the node's own name
	matched map[string]bool // by canonical expression

	lingering bool
	createdBy string
	mark      *mark
	stored    *mark // a mark that Jenkins before 2.482 has forgotten for now
	lost      mark  // why the node has no channel; class "": it never had one
	ch        *Channel
	slots     []slot
	builds    int  // started since the registration
	closing   bool // the hook knows of a build that the node has had
	fresh     bool // became available since the queue was last maintained
}

// These are the authors of the creation or deletion of a node.
const (
	byREST   = "bellboard"
	byPerson = "a person"
	byAgent  = "its agent"
)

// setLabels reads the label string. Jenkins adds the node's own name.
func (n *node) setLabels() {
	own := n.name
	if n.class == classBuiltIn {
		own = "built-in"
	}
	n.labels = label.ParseSet(n.labelString)
	if !slices.Contains(n.labels, own) {
		n.labels = append(n.labels, own)
	}
	n.matched = map[string]bool{}
}

// matches reports whether a label expression matches the node. matches caches its answers,
// because a node's labels do not change.
func (n *node) matches(e label.Expr) bool {
	name := e.String()
	m, ok := n.matched[name]
	if !ok {
		m = e.Matches(func(atom string) bool { return slices.Contains(n.labels, atom) })
		n.matched[name] = m
	}
	return m
}

func (n *node) offline() bool {
	return n.mark != nil || n.lingering || n.ch == nil && n.class != classBuiltIn
}

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

// runs counts the builds of one job on the node, also builds that are about to start.
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

// register adds a node. If a build is still on a lingering computer of that name, register
// gives the computer its node back.
func (j *Jenkins) register(s settings, class nodeClass, by string) {
	n := j.byName[s.name]
	if n == nil {
		n = &node{settings: s}
		at, _ := slices.BinarySearchFunc(j.computers, n, compareNames)
		j.computers = slices.Insert(j.computers, at, n)
		j.byName[s.name] = n
	}
	s.executors = max(s.executors, 1)
	*n = node{settings: s, class: class, createdBy: by, ch: n.ch, slots: n.slots}
	if class == classSwarm {
		n.lost = mark{class: causeLaunchFailed, text: textLaunchFailed, at: j.clk.Now()}
	}
	n.fitSlots()
	n.setLabels()
	j.kick()
}

// fitSlots gives the node as many slots as it has executors. A busy slot stays.
func (n *node) fitSlots() {
	for len(n.slots) < n.executors {
		n.slots = append(n.slots, slot{})
	}
	for last := len(n.slots) - 1; last >= n.executors && n.slots[last].free(); last-- {
		n.slots = n.slots[:last]
	}
}

func compareNames(a, b *node) int { return strings.Compare(a.name, b.name) }

// registered returns the node of that name, or nil. The built-in node and a lingering
// computer are no registered nodes.
func (j *Jenkins) registered(name string) *node {
	if n := j.byName[name]; n != nil && !n.lingering {
		return n
	}
	return nil
}

// remove deletes a node. Projects' builds on the node fail at once. While a pipeline is on
// the node, its computer lingers.
func (j *Jenkins) remove(n *node, by string) {
	n.lingering = true
	n.executors = 0
	for _, b := range j.alive {
		// Also of a build that waits in the queue to resume there.
		if b.begun && b.home == n.name && b.nodeBy == "" {
			b.nodeBy, b.nodeAt = by, j.clk.Now()
		}
	}
	n.mark, n.stored = nil, nil
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

// dropIfGone takes a lingering computer off the list if no build is on it.
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

// PersonOffline takes a node temporarily offline, as a person does in the UI. PersonOffline
// reports whether there is such a node.
func (j *Jenkins) PersonOffline(name, text string) bool {
	return j.withNode(name, func(n *node) {
		j.setMark(n, &mark{class: causeUser, text: text, user: "admin"})
	})
}

// PersonOnline lifts any temporary cause of a node, as a person does in the UI.
func (j *Jenkins) PersonOnline(name string) bool {
	return j.withNode(name, func(n *node) { j.setMark(n, nil) })
}

// PersonDelete deletes a node, as a person does in the UI.
func (j *Jenkins) PersonDelete(name string) bool {
	return j.withNode(name, func(n *node) { j.remove(n, byPerson) })
}

// MonitorOffline takes a node temporarily offline, as Jenkins' disk monitor does.
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

// Node is an agent for AddNode that Bellboard did not make.
type Node struct {
	Name, Description, Labels string
	// Executors defaults to 1.
	Executors int
	// Exclusive makes the node refuse items that ask for no label.
	Exclusive bool
}

// AddNode registers an agent that Bellboard did not make. If connect is true, an agent
// connects at once, from a host of the node's name, and AddNode returns its channel. After
// a restart the caller connects the agent again.
func (j *Jenkins) AddNode(n Node, connect bool) *Channel {
	j.enter()
	j.register(settings{
		name: n.Name, description: n.Description, labelString: n.Labels,
		remoteFS: "/home/jenkins/agent", mode: modeOf(n.Exclusive), executors: n.Executors,
	}, classDumb, byPerson)
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

// NodeInfo is a node as tests see it.
type NodeInfo struct {
	Name, Labels string
	// Swarm says that a Swarm client made the node.
	Swarm bool
	// Kept says that the node stays when a newer plugin reloads configuration as code.
	Kept bool
	// Online says that an agent is connected, marked or not.
	Online bool
	Busy   int
	// Marked is the text of the temporary offline cause; "": none.
	Marked string
	// Lingering says that the node was deleted, and a build still is on its computer.
	Lingering bool
}

// NodesList returns every listed agent by name, without the built-in node.
func (j *Jenkins) NodesList() []NodeInfo {
	j.enter()
	defer j.leave()
	list := make([]NodeInfo, 0, len(j.computers))
	for _, n := range j.computers[1:] {
		info := NodeInfo{
			Name: n.name, Labels: n.labelString,
			Swarm: n.class == classSwarm, Kept: n.kept, Online: n.ch != nil, Busy: n.busy(), Lingering: n.lingering,
		}
		if n.mark != nil {
			info.Marked = n.mark.text
		}
		list = append(list, info)
	}
	return list
}

// lostWords is what the log of a project's build says when its agent is lost.
func (j *Jenkins) lostWords(n *node) string {
	said := "Agent went offline during the build"
	if c, is := j.cause(n); is {
		said += "\nERROR: " + j.words(c)
	}
	return said
}

func ephemeral(n *node) bool { return strings.Contains(n.description, "kind=ephemeral") }
