package queue

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"bellboard/scaler"
)

// memory is what earlier answers taught: labels by queue id, and strings and
// sentences that come again in every answer. It is no truth of its own: without
// it some items are unresolved, and the work takes longer.
type memory struct {
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

	unlabelled map[scaler.PoolID]bool // as in Config
}

const (
	// maxRemembered bounds each table; a full one is emptied and filled anew.
	maxRemembered = 1 << 16
	// longest is how many bytes a string has at most that comes into one. Before
	// 2.542 Jenkins names every node in some sentences, so that they change with each.
	longest = 1 << 10
)

func newMemory() memory {
	return memory{
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
		description = strings.Clone(description)
		o.PoolID, o.fence, _ = scaler.ParseOwner(instance, description)
		m.owners[description] = o
	}
	return o
}

// keep returns a string equal to s that does not hold on to the whole answer.
func (m *memory) keep(s string) string {
	if s == "" || len(s) > longest {
		return strings.Clone(s)
	}
	kept, ok := m.strings[s]
	if !ok {
		kept = strings.Clone(s)
		m.strings[kept] = kept
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
	if it.url == "" || out.Resolution != scaler.Labelled {
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
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known.mine, name)
}

// nodes reads the computers. The built-in node is known by its label. unseen are
// the busy nodes of ours, nil as soon as the build of one can be seen.
func (m *memory) nodes(body, instance string) (nodes []scaler.Node, unseen map[string]bool, err error) {
	m.forget()
	s := scanner{in: body}
	seen, held := false, map[string]bool{}
	nodes = make([]scaler.Node, 0, strings.Count(body, `"displayName"`))
	class := s.computers(func(c *computer) {
		n := scaler.Node{
			Name:      m.keep(c.name),
			Online:    c.remote != "",
			Executors: c.executors,
			Busy:      c.busy,
			Idle:      c.rests(),
		}
		if !c.sawRemote { // the built-in node has no such field
			n.Online = !c.offline
		}
		if c.class == "hudson.model.Hudson$MasterComputer" {
			n.Name = "built-in"
			if !slices.Contains(c.labels, "built-in") && slices.Contains(c.labels, "master") {
				n.Name = "master"
			}
		}
		if len(c.labels) > 0 {
			n.Labels = make([]string, 0, len(c.labels))
		}
		for _, l := range c.labels {
			if l != n.Name {
				n.Labels = append(n.Labels, m.keep(l))
			}
		}
		slices.Sort(n.Labels)
		o := m.ownerOf(instance, c.description)
		n.Team, n.Kind, n.Fence = o.Team, o.Kind, o.fence
		if n.Mine() && c.busy > 0 {
			if seen = seen || c.unseen < c.busy; !seen {
				if unseen == nil {
					unseen = map[string]bool{}
				}
				unseen[n.Name] = true
			}
		}
		n.OfflineBy = m.markedBy(instance, c)
		n.Offline = m.keep(c.cause.Text())
		if n.Mine() && n.OfflineBy == scaler.Person {
			held[n.Name] = true
		}
		if c.temporary && c.markedAt > 0 {
			n.MarkedAt = time.UnixMilli(c.markedAt)
		}
		if n.Mine() && c.busy == 1 {
			n.Build, n.Mortal = m.keep(c.build), mortal(c.buildClass)
		}
		nodes = append(nodes, n)
	})
	if err := s.end(); err != nil {
		return nil, nil, err
	}
	if class != computersClass {
		return nil, nil, fmt.Errorf("%w: class %q, not %s", ErrNotJenkins, class, computersClass)
	}
	if seen {
		unseen = nil
	}
	m.held = held
	return nodes, unseen, nil
}

// markedBy reads who has a node marked.
func (m *memory) markedBy(instance string, c *computer) scaler.OfflineBy {
	before := scaler.NotMarked
	if m.held[c.name] {
		before = scaler.Person
	}
	return scaler.ReadMark(instance, c.temporary, c.cause, before)
}

// items reads the queue and resolves each item's label.
func (m *memory) items(body string, nodes []scaler.Node) ([]scaler.Item, error) {
	r := resolver{memory: m, nodes: nodes, names: make(map[string]string, len(nodes)+2), long: map[string]sentence{}}
	for i := range nodes {
		n := &nodes[i]
		r.names[n.Name] = n.Name
		if n.Name == "built-in" || n.Name == "master" {
			// Sentences call it by its display names, an expression by its label.
			r.names["Jenkins"], r.names["Built-In Node"] = n.Name, n.Name
		}
		if n.Mine() && !n.Fence {
			r.mine++
		}
	}
	labels := make(map[int64]string, len(m.labels))
	items := make([]scaler.Item, 0, strings.Count(body, `"inQueueSince"`))
	s := scanner{in: body}
	class := s.items(func(it *item) {
		out := scaler.Item{
			ID: it.id, Job: m.job(it), Since: time.UnixMilli(it.since),
			State: state(it), Why: m.shown(it.why),
		}
		var remember bool
		out.Resolution, out.Label, remember = r.resolve(it, out.State)
		if remember {
			labels[it.id] = out.Label
			m.learn(it, &out)
		} else if l, ok := m.labels[it.id]; ok {
			labels[it.id] = l
		}
		items = append(items, out)
	})
	if err := s.end(); err != nil {
		return nil, err
	}
	if class != queueClass {
		return nil, fmt.Errorf("%w: class %q, not %s", ErrNotJenkins, class, queueClass)
	}
	m.labels = labels // what left the queue is forgotten
	return items, nil
}
