package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"bellboard/scaler"
	"bellboard/scaler/label"
)

// What is asked for. Jenkins writes _class by itself. The queue's "stuck" and a
// task's "name" are left out: for both Jenkins may have to load builds. A busy
// executor's build is asked for only to learn whether it may be seen at all.
const (
	computersTree = "computer[displayName,description,absoluteRemotePath,offline,temporarilyOffline,offlineCause[_class],offlineCauseReason,idle,numExecutors,assignedLabels[name],executors[idle,currentExecutable[number]],oneOffExecutors[idle]]"
	nodeTree      = "displayName,temporarilyOffline,offlineCause[_class],offlineCauseReason,idle,executors[idle],oneOffExecutors[idle]"
	// The first of the jobs at the top: it is there for who may read one.
	jobsTree  = "jobs[name]{0,1}"
	queueTree = "items[id,inQueueSince,why,blocked,buildable,pending,task[url,labelExpression],actions[parameters[name,value]]]"
)

// The root of each document.
const (
	computersClass = "hudson.model.ComputerSet"
	queueClass     = "hudson.model.Queue"
)

// Observe asks for the computers, then for the queue. That order may show an
// agent free that has just taken an item, never an item and its agent both gone.
func (c *Client) Observe(ctx context.Context) (scaler.JenkinsView, error) {
	v, err := c.observe(ctx)
	if err != nil && ctx.Err() == nil {
		c.c.Unseen(cause(err))
	}
	return v, err
}

func (c *Client) observe(ctx context.Context) (scaler.JenkinsView, error) {
	asked := c.c.Clock.Now()
	computers, err := c.document(ctx, Computers, "/computer", computersTree)
	if err != nil {
		return scaler.JenkinsView{}, fmt.Errorf("reading Jenkins' computers: %w", err)
	}
	queue, err := c.document(ctx, Queue, "/queue", queueTree)
	if err != nil {
		return scaler.JenkinsView{}, fmt.Errorf("reading Jenkins' queue: %w", err)
	}
	v := scaler.JenkinsView{
		Session: queue.header.Get("X-Jenkins-Session"), Version: queue.header.Get("X-Jenkins"),
		AskedAt: asked, NodesAt: computers.answered, AnsweredAt: c.c.Clock.Now(),
	}
	if before := computers.header.Get("X-Jenkins-Session"); before != v.Session || before == "" {
		return scaler.JenkinsView{}, fmt.Errorf("reading Jenkins: %w: session %q, then %q", ErrRestarted, before, v.Session)
	}
	c.compareClocks(&computers)
	unseen, err := c.understand(&v, computers.body, queue.body)
	if err != nil {
		return scaler.JenkinsView{}, err
	}
	if len(v.Items) == 0 {
		if err := c.seesNothing(ctx, unseen); err != nil {
			return scaler.JenkinsView{}, fmt.Errorf("reading Jenkins: %w", err)
		}
	}
	return v, nil
}

// understand reads both answers into the view. unseen are the busy nodes of
// ours when the build of none of them can be seen.
func (c *Client) understand(v *scaler.JenkinsView, computers, queue string) (unseen map[string]bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.Nodes, unseen, err = c.known.nodes(computers, c.c.Instance); err != nil {
		return nil, fmt.Errorf("reading Jenkins' computers: %w", err)
	}
	if !c.c.Reader {
		if err := c.known.whole(v.Session, v.Nodes); err != nil {
			return nil, fmt.Errorf("reading Jenkins' computers: %w", err)
		}
	}
	if v.Items, err = c.known.items(queue, v.Nodes); err != nil {
		return nil, fmt.Errorf("reading Jenkins' queue: %w", err)
	}
	for i := range v.Items {
		v.Items[i].Since = v.Items[i].Since.Add(-c.ahead)
	}
	return unseen, nil
}

// compareClocks learns from an answer how far Jenkins' clock is ahead of ours.
// Its Date is cut to the second and was written some time between question and
// answer, so it proves bounds: within them what is known stays as it is, and
// clocks that agree are not corrected to and fro. Only when items entered the
// queue is told by Jenkins' clock. (A proxy may put its own Date in place of
// Jenkins'; its clock is then the one that is compared.)
func (c *Client) compareClocks(a *answer) {
	date, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		return
	}
	c.mu.Lock()
	c.ahead = max(date.Sub(a.answered), min(c.ahead, date.Add(time.Second).Sub(a.asked)))
	ahead := c.ahead
	c.mu.Unlock()
	c.c.Skew(ahead)
}

// seesNothing tells an empty queue from one whose items the user may not see:
// Jenkins answers 200 with none to who lacks Job/Read, and hides what its
// executors build, and every job. An executor that has just taken an item shows no
// build either, for a moment, so the computers are asked once more.
func (c *Client) seesNothing(ctx context.Context, unseen map[string]bool) error {
	if len(unseen) == 0 {
		return c.seesJobs(ctx)
	}
	again, err := c.document(ctx, Computers, "/computer", computersTree)
	if err != nil {
		return err
	}
	c.mu.Lock()
	_, still, err := c.known.nodes(again.body, c.c.Instance)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	for name := range still {
		if unseen[name] {
			return fmt.Errorf("%w: the queue is empty and no build can be seen on %d busy agents", ErrBlind, len(still))
		}
	}
	return nil
}

// jobsLast is how long a job that was seen shows that jobs may be.
const jobsLast = time.Minute

// seesJobs asks, now and then, whether any job can be seen.
func (c *Client) seesJobs(ctx context.Context) error {
	c.mu.Lock()
	last := c.sawJob
	c.mu.Unlock()
	if now := c.c.Clock.Now(); !last.IsZero() && now.Sub(last) < jobsLast {
		return nil
	}
	a, err := c.document(ctx, Jobs, "", jobsTree)
	if err != nil {
		return err
	}
	var root struct{ Jobs []struct{} }
	if err := json.Unmarshal([]byte(a.body), &root); err != nil {
		return fmt.Errorf("%w: the list of jobs: %w", ErrNotJenkins, err)
	}
	if len(root.Jobs) == 0 {
		return fmt.Errorf("%w, or Jenkins has no job yet: the queue is empty and no job can be seen", ErrBlind)
	}
	c.mu.Lock()
	c.sawJob = a.answered
	c.mu.Unlock()
	return nil
}

// document reads one JSON document, accepted as far as its text is not needed.
func (c *Client) document(ctx context.Context, e, path, tree string) (answer, error) {
	a, err := c.ask(ctx, request{
		endpoint: e, method: http.MethodGet, timeout: readTimeout, probe: e == Computers,
		path: path, suffix: "api/json", query: map[string]string{"tree": tree},
	})
	if err != nil {
		return a, err
	}
	return a, a.accept()
}

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
	session   string            // of the answer before
	mine      map[string]bool   // the inbound nodes of ours in it
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
		owners: map[string]owner{}, typed: map[string]string{}, labels: map[int64]string{}, mine: map[string]bool{},
	}
}

// forget empties the tables that have grown too large.
func (m *memory) forget() {
	for _, t := range []map[string]string{m.strings, m.jobs, m.typed} {
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
	seen := false
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
		n.OfflineBy = scaler.ReadMark(instance, c.temporary, c.causeClass, c.cause)
		n.Offline = m.keep(c.cause)
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
	return nodes, unseen, nil
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

// flyweights are the tasks that run beside the executors and need no agent.
var flyweights = map[string]bool{
	"org.jenkinsci.plugins.workflow.job.WorkflowJob":      true,
	"org.jenkinsci.plugins.workflow.job.AfterRestartTask": true,
	"hudson.matrix.MatrixProject":                         true,
}

// state tells where an item stands. A part of a build that is being stopped
// waits for nothing any more; it counts as blocked.
func state(it *item) scaler.ItemState {
	switch {
	case flyweights[it.taskClass]:
		return scaler.Flyweight
	case it.class == "hudson.model.Queue$WaitingItem":
		return scaler.Quiet
	case it.blocked || it.class == "hudson.model.Queue$BlockedItem" || strings.HasPrefix(it.why, "Stopping "):
		return scaler.Blocked
	case it.pending:
		return scaler.Pending
	case it.why == "Jenkins is about to shut down":
		return scaler.ShuttingDown
	default:
		return scaler.Buildable
	}
}

// resolver finds the labels of one answer's items.
type resolver struct {
	*memory
	nodes []scaler.Node
	names map[string]string   // of nodes as sentences call them -> as labels do
	worn  map[string]bool     // every label that a node has besides its name; made when first needed
	mine  int                 // nodes of ours, fences apart
	long  map[string]sentence // that are too long to be remembered
}

// resolve finds the label of an item. remember is true when the label may be
// used again for the same queue id: never for the name of a node, which is not
// what the item asked for but the only node that had it.
func (r *resolver) resolve(it *item, state scaler.ItemState) (how scaler.Resolution, l string, remember bool) {
	if state == scaler.Flyweight {
		return scaler.Unlabelled, "", false
	}
	var said sentence
	if state == scaler.Buildable || state == scaler.Pending {
		said = r.sentence(it.why)
	}
	name, isName := r.names[said.text]
	switch {
	case said.says == saysLabel, said.says == saysEither && !isName:
		return scaler.Labelled, said.label, !isName
	case it.parameter != "":
		l = r.source(it.parameter)
		_, isName := r.names[l]
		return scaler.Labelled, l, !isName
	case it.expression != "" && !it.overridden:
		l = r.source(it.expression)
		_, isName := r.names[l]
		return scaler.Labelled, l, !isName
	}
	if l, ok := r.labels[it.id]; ok && l == "" {
		return scaler.Unlabelled, "", true
	} else if ok {
		return scaler.Labelled, l, true
	}
	switch said.says {
	case saysNothing, saysLabel: // a label is answered with above
	case saysEither, saysNode, saysPerhapsNode:
		if isName && r.isWorn(name) {
			// Where other nodes have the one node's name for a label, the name
			// would stand for them too.
			return scaler.Unresolved, "", false
		}
		if isName {
			return scaler.Labelled, name, false
		}
		if said.says != saysPerhapsNode {
			return scaler.Labelled, said.label, false
		}
	case saysReserved:
		return scaler.Unlabelled, "", true
	case saysOffline:
		// The item wants no label, or one that all of them carry: new agents of a
		// team that has one among them serve it either way.
		if slices.ContainsFunc(said.nodes, r.isMine) {
			return scaler.Unlabelled, "", true
		}
	case saysBare:
		// Jenkins drops every label while it has no node. Two of ours were there
		// in the answer before this one, so here there is none to drop.
		if r.mine >= 2 {
			return scaler.Unlabelled, "", true
		}
	}
	if roams[it.taskClass] && it.shown && it.expression == "" && !it.overridden {
		return scaler.Unlabelled, "", true
	}
	return scaler.Unresolved, "", false
}

// roams are the tasks that show null for a label only if they have none.
var roams = map[string]bool{"hudson.model.FreeStyleProject": true, "hudson.maven.MavenModuleSet": true}

// isMine reports whether a node of that name is ours, and no fence.
func (r *resolver) isMine(name string) bool {
	return slices.ContainsFunc(r.nodes, func(n scaler.Node) bool { return n.Name == name && n.Mine() && !n.Fence })
}

// isWorn reports whether a node's name is also a label of another.
func (r *resolver) isWorn(name string) bool {
	if r.worn == nil {
		r.worn = map[string]bool{}
		for i := range r.nodes {
			for _, l := range r.nodes[i].Labels {
				r.worn[l] = true
			}
		}
	}
	return r.worn[name]
}

// sentence reads a sentence, once for all items that have it.
func (r *resolver) sentence(why string) sentence {
	if len(why) > longest {
		s, ok := r.long[why]
		if !ok {
			s = read(why)
			s.label = strings.Clone(s.label) // which is remembered
			r.long[why] = s
		}
		return s
	}
	if s, ok := r.sentences[why]; ok {
		return s
	}
	why = r.keep(why)
	s := read(why)
	r.sentences[why] = s
	return s
}

// source is an expression as typed in the form that label.Parse reads back.
func (r *resolver) source(typed string) string {
	if s, ok := r.typed[typed]; ok {
		return s
	}
	typed = strings.Clone(typed)
	s := label.Parse(typed).Source()
	r.typed[typed] = s
	return s
}

// job is the full name of the item's job, from the URL of its task.
func (m *memory) job(it *item) string {
	if j, ok := m.jobs[it.url]; ok && it.url != "" {
		return j
	}
	j := jobOf(it.url)
	if j == "" { // the task's class says something at least
		return m.keep(it.taskClass[strings.LastIndexAny(it.taskClass, ".$")+1:])
	}
	m.jobs[strings.Clone(it.url)] = j
	return j
}

// jobOf reads a URL such as "http://host/jenkins/job/folder/job/foo/" or
// "job/folder/job/foo/12/": folder/foo. A matrix cell keeps its axes:
// "job/m/label=linux/" is m/label=linux.
func jobOf(u string) string {
	var name []string
	parts := strings.Split(strings.Trim(u, "/"), "/")
	for i := 0; i < len(parts); i++ {
		switch {
		case parts[i] == "job" && i+1 < len(parts):
			i++
		case len(name) > 0 && strings.Contains(parts[i], "="):
		default:
			continue
		}
		part, err := url.PathUnescape(parts[i])
		if err != nil {
			part = parts[i]
		}
		name = append(name, strings.Clone(part))
	}
	return strings.Join(name, "/")
}
