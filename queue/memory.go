package queue

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"bellboard/scaler"
)

// memory is what earlier answers taught: labels by queue id, and strings and
// sentences that come again in every answer. It is no truth of its own: without
// it some items are unresolved, and the work takes longer. Its methods for a whole
// answer hold its lock for one element at a time, since they wait for the wire between.
type memory struct {
	mu        sync.Mutex
	strings   map[string]string
	jobs      map[string]string // by URL
	sentences map[string]sentence
	owners    map[string]owner  // by description
	typed     map[string]string // label expressions as typed -> their Source
	labels    map[int64]string  // by queue id; "": none
	wanted    map[string]string // the label that all items of a job were known to want; "": not always the same
	session   string            // of the answer before
	mine      map[string]bool   // the inbound nodes of ours in it
	held      map[string]bool   // the nodes of ours in it that a person had taken offline
	computers int               // how many there were
	queued    int               // how many items there were

	unlabelled map[scaler.PoolID]bool // as in Config
}

const (
	// maxRemembered bounds each table; a full one is emptied and filled anew.
	maxRemembered = 1 << 16
	// longest is how many bytes a string has at most that comes into one. Before
	// 2.542 Jenkins names every node in some sentences, so that they change with each.
	longest = 1 << 10
)

func newMemory() *memory {
	return &memory{
		strings: map[string]string{}, jobs: map[string]string{}, sentences: map[string]sentence{},
		owners: map[string]owner{}, typed: map[string]string{}, labels: map[int64]string{},
		wanted: map[string]string{}, mine: map[string]bool{},
	}
}

// forget empties the tables that have grown too large.
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

// owner is whose a node is; the zero value: not the instance's.
type owner struct {
	scaler.PoolID
	fence bool
}

// ownerOf reads a node's description. Many nodes share one.
func (m *memory) ownerOf(instance, description string) owner {
	o, ok := m.owners[description]
	if !ok {
		o.PoolID, o.fence, _ = scaler.ParseOwner(instance, description)
		m.owners[description] = o
	}
	return o
}

// keep returns a string equal to s, the same for all that are equal.
func (m *memory) keep(s string) string {
	if s == "" || len(s) > longest {
		return s
	}
	kept, ok := m.strings[s]
	if !ok {
		kept = s
		m.strings[s] = s
	}
	return kept
}

// shown is a sentence for people, who do not read all of a long one.
func (m *memory) shown(why string) string {
	if len(why) <= longest {
		return m.keep(why)
	}
	end := longest
	for !utf8.RuneStart(why[end]) {
		end--
	}
	return why[:end] + "…"
}

// whole refuses, once, an answer in which half of our inbound nodes or more are
// gone that were in the one before, though nothing here deleted them: Jenkins
// leaves out of a list, without a word, what it fails to write. An answer that
// says the same again is believed. Swarm's nodes go with their clients.
func (m *memory) whole(session string, nodes []scaler.Node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, same := m.mine, m.session == session
	m.session, m.mine = session, make(map[string]bool, len(before))
	still := 0
	for i := range nodes {
		if n := &nodes[i]; n.Mine() && !slices.Contains(n.Labels, "swarm") {
			m.mine[n.Name] = true
			if before[n.Name] {
				still++
			}
		}
	}
	if gone := len(before) - still; same && gone >= fewest && gone >= still {
		return fmt.Errorf("%w: %d of %d nodes of ours are missing that were there before", ErrPartial, gone, len(before))
	}
	return nil
}

// learn remembers which label the items of a job want, while it is always the same.
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

// fewest is how many nodes must be missing to be no coincidence.
const fewest = 3

// deleted tells that a node goes by our own hand.
func (c *Client) deleted(name string) {
	c.known.mu.Lock()
	defer c.known.mu.Unlock()
	delete(c.known.mine, name)
}

// about is room for as many as there were before, and some more.
func (m *memory) about(before *int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *before + *before/8
}

// nodes reads the computers. The built-in node is known by its label. unseen are
// the busy nodes of ours, nil as soon as the build of one can be seen.
func (m *memory) nodes(body io.Reader, instance string) (nodes []scaler.Node, unseen map[string]bool, err error) {
	seen, held := false, map[string]bool{}
	unseen, nodes = map[string]bool{}, make([]scaler.Node, 0, m.about(&m.computers))
	var c computer // one for all, with its slices
	err = elements(body, computersClass, "computer", &c, func() error {
		if !c.whole() {
			return errors.New("a computer without name, idle or temporarilyOffline")
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		n := m.node(&c, instance)
		busy, hidden := c.busy()
		if n.Mine() && busy > 0 {
			seen = seen || hidden < busy
			unseen[n.Name] = true
		}
		if n.Mine() && n.OfflineBy == scaler.Person {
			held[n.Name] = true
		}
		nodes = append(nodes, n)
		c = computer{Workers: c.Workers[:0], OneOff: c.OneOff[:0], Labels: c.Labels[:0]}
		return nil
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

// node is the computer as the core has it.
func (m *memory) node(c *computer, instance string) scaler.Node {
	cause, o := c.cause(), m.ownerOf(instance, c.Description)
	n := scaler.Node{
		Name: m.keep(c.Name), Team: o.Team, Kind: o.Kind, Fence: o.fence,
		Online: c.Remote.value != "", Executors: c.Executors, Idle: c.rests(),
		OfflineBy: m.markedBy(instance, c), Offline: m.keep(cause.Text()),
	}
	n.Busy, _ = c.busy()
	if !c.Remote.is { // the built-in node has no such field
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
			n.Labels = append(n.Labels, m.keep(l.Name))
		}
	}
	slices.Sort(n.Labels)
	if *c.Temporary && c.Cause.At > 0 {
		n.MarkedAt = time.UnixMilli(c.Cause.At)
	}
	if n.Mine() && n.Busy == 1 {
		b := c.build()
		n.Build, n.Mortal = m.keep(b.URL), mortal(b.Class)
	}
	return n
}

// markedBy reads who has a node marked.
func (m *memory) markedBy(instance string, c *computer) scaler.OfflineBy {
	before := scaler.NotMarked
	if m.held[c.Name] {
		before = scaler.Person
	}
	return scaler.ReadMark(instance, *c.Temporary, c.cause(), before)
}

// items reads the queue and resolves each item's label.
func (m *memory) items(body io.Reader, nodes []scaler.Node) (items []scaler.Item, err error) {
	r := newResolver(m, nodes)
	many := m.about(&m.queued)
	labels := make(map[int64]string, many)
	items = make([]scaler.Item, 0, many)
	var it item // one for all, with its slices
	err = elements(body, queueClass, "items", &it, func() error {
		if it.ID == 0 || it.Since == 0 {
			return errors.New("an item without id or inQueueSince")
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		out := scaler.Item{
			ID: it.ID, Job: m.job(&it), Since: time.UnixMilli(it.Since),
			State: state(&it), Why: m.shown(it.Why),
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
	m.labels, m.queued = labels, len(items) // what left the queue is forgotten
	return items, nil
}
