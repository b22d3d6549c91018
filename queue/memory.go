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

// memory is what one poll leaves to the next: the labels of items, and what the client has read from texts
// that come again in every answer. Without it some items are unresolved, and the work is longer, but right.
type memory struct {
	jobs       cache[string]          // names of jobs by URL
	sentences  cache[sentence]        // sentences by their text
	owners     cache[scaler.Node]     // nodes with nothing but their owners, by description
	wanted     cache[string]          // the label that all items of a job wanted; "" if they differ
	labels     map[int64]string       // labels by queue id; "" is no label
	computers  int                    // number of nodes in the answer before; the next one may have some more
	queued     int                    // number of items, likewise
	runs       []scaler.Run           // builds on the executors of all nodes, in this answer
	unlabelled map[scaler.PoolID]bool // as in Config

	mu  sync.Mutex           // guards the rest, which writes use too
	own map[string]nodeState // Bellboard's nodes in the answer before
}

// nodeState is what the next poll has to know about a node.
type nodeState struct {
	offlineBy scaler.OfflineBy
	swarm     bool // the node goes with its agent
}

// cache has a value for each text. A cache with too many values is emptied.
type cache[V any] map[string]V

// maxRemembered is how many values a cache may have.
const maxRemembered = 1 << 16

// get returns the value of a text. It calls read for a text that is not in the cache.
func (c *cache[V]) get(text string, read func(string) V) V {
	v, ok := (*c)[text]
	if !ok {
		if *c == nil || len(*c) >= maxRemembered {
			*c = cache[V]{}
		}
		v = read(text)
		(*c)[text] = v
	}
	return v
}

// maxString is how many bytes of a sentence are kept. Before 2.542 some sentences name every node, so that
// they change with each node, and nobody reads all of them.
const maxString = 1 << 10

// shorten returns a sentence for people.
func shorten(why string) string {
	if len(why) <= maxString {
		return why
	}
	return strings.ToValidUTF8(why[:maxString], "") + "…" // the cut may be inside a character
}

// nodes reads the nodes. unseen has Bellboard's busy nodes, if the user can see the build of none of them.
func (m *memory) nodes(body io.Reader, instance string) (nodes []scaler.Node, unseen map[string]bool, err error) {
	seen := false
	unseen, nodes = map[string]bool{}, make([]scaler.Node, 0, m.computers*9/8)
	m.runs = make([]scaler.Run, 0, len(m.runs)*9/8)
	err = m.eachNode(body, instance, func(n Computer) {
		if n.Mine() && n.Busy > 0 {
			seen = seen || n.Unseen < n.Busy
			unseen[n.Name] = true
		}
		nodes = append(nodes, n.Node)
	})
	if err != nil {
		return nil, nil, err
	}
	if seen {
		unseen = nil
	}
	m.computers = len(nodes)
	return nodes, unseen, nil
}

// eachNode reads the nodes and calls each for every node.
func (m *memory) eachNode(body io.Reader, instance string, each func(Computer)) error {
	var c computer // reused for all nodes, with its slices
	return decodeList(body, computersClass, "computer", &c, func() error {
		if !c.complete() {
			return errors.New("a node without displayName, idle or temporarilyOffline")
		}
		each(m.node(&c, instance))
		c = computer{Workers: c.Workers[:0], OneOff: c.OneOff[:0], Labels: c.Labels[:0]}
		return nil
	})
}

// mortal are the builds that end with Jenkins. A build of any other class may resume.
var mortal = map[string]bool{
	"hudson.model.FreeStyleBuild":      true,
	"hudson.matrix.MatrixRun":          true,
	"hudson.maven.MavenModuleSetBuild": true,
}

// node returns the node. The built-in node gets its label as its name.
func (m *memory) node(c *computer, instance string) Computer {
	n := m.owners.get(c.Description, func(text string) scaler.Node {
		pool, fence, _ := scaler.ParseOwner(instance, text)
		return scaler.Node{Team: pool.Team, Kind: pool.Kind, Fence: fence}
	})
	busy, unseen, builds := c.work()
	cause := c.cause()
	n.Name, n.Online = c.Name, c.Remote != ""
	n.Executors, n.Busy, n.Idle = c.Executors, busy, c.idle()
	n.OfflineBy, n.Offline = m.markedBy(instance, c), cause.Text()
	if c.Class == "hudson.model.Hudson$MasterComputer" { // has no absoluteRemotePath
		n.Name, n.Online = "built-in", !c.Offline
		if !slices.Contains(c.Labels, atom{"built-in"}) && slices.Contains(c.Labels, atom{"master"}) {
			n.Name = "master"
		}
	}
	n.Labels = slices.Grow(n.Labels, len(c.Labels))
	for _, l := range c.Labels {
		if l.Name != n.Name {
			n.Labels = append(n.Labels, l.Name)
		}
	}
	slices.Sort(n.Labels)
	if *c.Temporary && c.Cause.At > 0 {
		n.MarkedAt = time.UnixMilli(c.Cause.At)
	}
	for _, b := range builds { // a build that waited for an agent may run on a foreign node
		m.runs = append(m.runs, scaler.Run{Node: n.Name, Job: m.jobs.get(b.URL, JobName), URL: b.URL})
		if n.Mine() && busy == 1 {
			n.Build, n.Mortal = b.URL, mortal[b.Class]
		}
	}
	return Computer{n, c.Description, unseen}
}

// markedBy returns the owner of the node's mark.
func (m *memory) markedBy(instance string, c *computer) scaler.OfflineBy {
	m.mu.Lock()
	defer m.mu.Unlock()
	return scaler.ReadMark(instance, *c.Temporary, c.cause(), m.own[c.Name].offlineBy)
}

// remember remembers Bellboard's nodes. It returns an error if at least half of the inbound nodes are missing
// since the last answer, apart from nodes that this client deleted: Jenkins leaves an element that it fails
// to write out of a list, without an error. A second answer without these nodes is accepted.
func (m *memory) remember(nodes []scaler.Node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.own
	m.own = make(map[string]nodeState, len(before))
	for i := range nodes {
		if n := &nodes[i]; n.Mine() {
			m.own[n.Name] = nodeState{n.OfflineBy, slices.Contains(n.Labels, "swarm")}
		}
	}
	const coincidence = 2 // so many nodes may be missing
	gone, still := 0, 0
	for name, state := range before {
		if _, ok := m.own[name]; ok && !state.swarm {
			still++
		} else if !state.swarm {
			gone++
		}
	}
	if gone > coincidence && gone >= still {
		return fmt.Errorf("%w: %d of %d nodes of this instance are missing since the answer before", ErrPartial, gone, gone+still)
	}
	return nil
}

// items reads the queue and finds the label of each item.
func (m *memory) items(body io.Reader, nodes []scaler.Node) (items []scaler.Item, err error) {
	r := newResolver(m, nodes)
	labels := make(map[int64]string, m.queued*9/8)
	items = make([]scaler.Item, 0, m.queued*9/8)
	var it item // reused for all items, with its slices
	err = decodeList(body, queueClass, "items", &it, func() error {
		if it.ID == 0 || it.Since == 0 {
			return errors.New("an item without id or inQueueSince")
		}
		out := scaler.Item{
			ID: it.ID, Job: m.job(&it), Since: time.UnixMilli(max(it.Since, it.Left)),
			State: state(&it), Why: shorten(it.Why),
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
	m.labels, m.queued = labels, len(items) // an item that has left the queue is forgotten
	return items, nil
}

// learn remembers the label that the items of a job want, as long as all items want the same label.
func (m *memory) learn(it *item, out *scaler.Item) {
	if it.Task.URL == "" || out.Resolution != scaler.Labelled {
		return
	}
	if m.wanted.get(out.Job, func(string) string { return out.Label }) != out.Label {
		m.wanted[out.Job] = ""
	}
}
