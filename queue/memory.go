package queue

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"bellboard/scaler"
)

// memory is what earlier answers have shown: the labels of items by queue id, and the strings and sentences
// that come again in every answer. A client without a memory leaves some items unresolved and works longer,
// but makes no mistake. A method that reads a whole answer holds the lock for one element at a time. Between
// two elements the method waits for the network.
type memory struct {
	mu        sync.Mutex
	strings   map[string]string
	jobs      map[string]string // names of jobs by URL
	sentences map[string]sentence
	owners    map[string]owner            // owners by description of the node
	typed     map[string]string           // label expressions by the text that a person typed
	labels    map[int64]string            // labels by queue id; "" is no label
	wanted    map[string]string           // the label that all items of a job wanted; "" if they differ
	session   string                      // session of the answer before
	inbound   map[string]bool             // Bellboard's inbound nodes in the answer before
	held      map[string]scaler.OfflineBy // nodes that a person had taken offline in the answer before
	computers int                         // number of nodes in the answer before
	queued    int                         // number of items in the answer before

	unlabelled map[scaler.PoolID]bool // as in Config
}

const (
	// maxRemembered is how many entries a table may have. A table with more is emptied.
	maxRemembered = 1 << 16
	// maxString is how many bytes a string in a table may have. Before 2.542 Jenkins names every node in some
	// sentences, so that these sentences change with each node.
	maxString = 1 << 10
)

func newMemory() *memory {
	return &memory{
		strings: map[string]string{}, jobs: map[string]string{}, sentences: map[string]sentence{},
		owners: map[string]owner{}, typed: map[string]string{}, labels: map[int64]string{},
		wanted: map[string]string{}, inbound: map[string]bool{},
	}
}

// forget empties each table that has too many entries.
func (m *memory) forget() {
	for _, t := range []map[string]string{m.strings, m.jobs, m.typed, m.wanted} {
		if len(t) > maxRemembered {
			clear(t)
		}
	}
	if len(m.sentences) > maxRemembered {
		clear(m.sentences)
	}
	if len(m.owners) > maxRemembered {
		clear(m.owners)
	}
}

// owner is the pool of a node. The zero value is a node that is not the instance's.
type owner struct {
	scaler.PoolID
	fence bool
}

// ownerOf returns the owner in a node's description. Many nodes have the same description.
func (m *memory) ownerOf(instance, description string) owner {
	o, ok := m.owners[description]
	if !ok {
		o.PoolID, o.fence, _ = scaler.ParseOwner(instance, description)
		m.owners[description] = o
	}
	return o
}

// intern returns a string that is equal to s. Equal strings share one copy.
func (m *memory) intern(s string) string {
	if s == "" || len(s) > maxString {
		return s
	}
	if kept, ok := m.strings[s]; ok {
		return kept
	}
	m.strings[s] = s
	return s
}

// shorten returns a sentence for people. A long sentence is cut, because nobody reads all of it.
func (m *memory) shorten(why string) string {
	if len(why) <= maxString {
		return m.intern(why)
	}
	return strings.ToValidUTF8(why[:maxString], "") + "…" // the cut may be inside a character
}

// checkMissing returns an error if at least half of Bellboard's inbound nodes are missing since the last
// answer, apart from nodes that this client deleted. The reason is that Jenkins leaves an element that it
// fails to write out of a list, without an error. A second answer without these nodes is accepted. Swarm
// agents are not counted, since their nodes go with the agents.
func (m *memory) checkMissing(session string, nodes []scaler.Node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, same := m.inbound, m.session == session
	m.session, m.inbound = session, make(map[string]bool, len(before))
	still := 0
	for i := range nodes {
		if n := &nodes[i]; n.Mine() && !slices.Contains(n.Labels, "swarm") {
			m.inbound[n.Name] = true
			if before[n.Name] {
				still++
			}
		}
	}
	if gone := len(before) - still; same && gone >= minMissing && gone >= still {
		return fmt.Errorf("%w: %d of %d nodes of this instance are missing since the answer before", ErrPartial, gone, len(before))
	}
	return nil
}

// learn remembers the label that the items of a job want, as long as all items want the same label.
func (m *memory) learn(it *item, out *scaler.Item) {
	if it.Task.URL == "" || out.Resolution != scaler.Labelled {
		return
	}
	if l, ok := m.wanted[out.Job]; !ok {
		m.wanted[out.Job] = out.Label
	} else if l != out.Label {
		m.wanted[out.Job] = ""
	}
}

// minMissing is how many missing nodes are no coincidence.
const minMissing = 3

// capacity returns room for as many elements as the last answer had, and some more.
func (m *memory) capacity(before *int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *before + *before/8
}

// nodes reads the nodes. unseen has Bellboard's busy nodes. It is nil if the user can see the build of at
// least one of them.
func (m *memory) nodes(body io.Reader, instance string) (nodes []scaler.Node, unseen map[string]bool, err error) {
	seen, held := false, map[string]scaler.OfflineBy{}
	unseen, nodes = map[string]bool{}, make([]scaler.Node, 0, m.capacity(&m.computers))
	err = m.eachNode(body, instance, func(c *computer, n scaler.Node) {
		if busy, hidden, _ := c.work(); n.Mine() && busy > 0 {
			seen = seen || hidden < busy
			unseen[n.Name] = true
		}
		if n.Mine() && n.OfflineBy == scaler.Person {
			held[n.Name] = n.OfflineBy
		}
		nodes = append(nodes, n)
	})
	if err != nil {
		return nil, nil, err
	}
	if seen {
		unseen = nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget()
	m.held, m.computers = held, len(nodes)
	return nodes, unseen, nil
}

// eachNode reads the nodes and calls each for every node. It holds the lock during the call.
func (m *memory) eachNode(body io.Reader, instance string, each func(*computer, scaler.Node)) error {
	var c computer // reused for all nodes, with its slices
	return decodeList(body, computersClass, "computer", &c, func() error {
		if !c.complete() {
			return errors.New("a node without displayName, idle or temporarilyOffline")
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		each(&c, m.node(&c, instance))
		c = computer{Workers: c.Workers[:0], OneOff: c.OneOff[:0], Labels: c.Labels[:0]}
		return nil
	})
}

// node returns the node as scaler.Node. The built-in node gets its label as its name.
func (m *memory) node(c *computer, instance string) scaler.Node {
	cause, o := c.cause(), m.ownerOf(instance, c.Description)
	n := scaler.Node{
		Name: m.intern(c.Name), Team: o.Team, Kind: o.Kind, Fence: o.fence,
		Online: c.Remote.value != "", Executors: c.Executors, Idle: c.idle(),
		OfflineBy: m.markedBy(instance, c), Offline: m.intern(cause.Text()),
	}
	busy, _, last := c.work()
	n.Busy = busy
	if !c.Remote.present { // the built-in node has no such field
		n.Online = !c.Offline
	}
	if c.Class == "hudson.model.Hudson$MasterComputer" {
		n.Name = "built-in"
		if !slices.Contains(c.Labels, atom{"built-in"}) && slices.Contains(c.Labels, atom{"master"}) {
			n.Name = "master"
		}
	}
	if len(c.Labels) > 0 {
		n.Labels = make([]string, 0, len(c.Labels))
	}
	for _, l := range c.Labels {
		if l.Name != "" && l.Name != n.Name {
			n.Labels = append(n.Labels, m.intern(l.Name))
		}
	}
	slices.Sort(n.Labels)
	if *c.Temporary && c.Cause.At > 0 {
		n.MarkedAt = time.UnixMilli(c.Cause.At)
	}
	if n.Mine() && n.Busy == 1 {
		n.Build, n.Mortal = m.intern(last.URL), endsWithJenkins(last.Class)
	}
	return n
}

// markedBy returns the owner of the node's mark.
func (m *memory) markedBy(instance string, c *computer) scaler.OfflineBy {
	return scaler.ReadMark(instance, *c.Temporary, c.cause(), m.held[c.Name])
}

// items reads the queue and finds the label of each item.
func (m *memory) items(body io.Reader, nodes []scaler.Node) (items []scaler.Item, err error) {
	r := newResolver(m, nodes)
	many := m.capacity(&m.queued)
	labels := make(map[int64]string, many)
	items = make([]scaler.Item, 0, many)
	var it item // reused for all items, with its slices
	err = decodeList(body, queueClass, "items", &it, func() error {
		if it.ID == 0 || it.Since == 0 {
			return errors.New("an item without id or inQueueSince")
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		out := scaler.Item{
			ID: it.ID, Job: m.job(&it), Since: time.UnixMilli(it.Since),
			State: state(&it), Why: m.shorten(it.Why),
		}
		var remember bool
		out.Resolution, out.Label, remember = r.resolve(&it, out.State)
		if remember {
			labels[it.ID] = out.Label
			m.learn(&it, &out)
		} else if l, ok := m.labels[it.ID]; ok {
			labels[it.ID] = l
		}
		items = append(items, out)
		it = item{Actions: it.Actions[:0]}
		return nil
	})
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.labels, m.queued = labels, len(items) // an item that has left the queue is forgotten
	return items, nil
}
