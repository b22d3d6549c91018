package queue

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"bellboard/scaler"
	"bellboard/scaler/label"
)

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
	case flyweights[it.Task.Class]:
		return scaler.Flyweight
	case it.Class == "hudson.model.Queue$WaitingItem":
		return scaler.Quiet
	case it.Blocked || it.Class == "hudson.model.Queue$BlockedItem" || strings.HasPrefix(it.Why, "Stopping "):
		return scaler.Blocked
	case it.Pending:
		return scaler.Pending
	case it.Why == "Jenkins is about to shut down":
		return scaler.ShuttingDown
	default:
		return scaler.Buildable
	}
}

// resolver finds the labels of one answer's items.
type resolver struct {
	*memory
	nodes    []scaler.Node
	names    map[string]string    // of nodes as sentences call them -> as labels do
	at       map[string]int       // the nodes by name; made when first needed
	worn     map[string]wearer    // every label that a node has besides its name; made when first needed
	mine     int                  // nodes of ours, fences apart
	long     map[string]sentence  // the last few that are too long to be remembered
	inferred map[[2]string]string // labels by job and sentence
}

func newResolver(m *memory, nodes []scaler.Node) resolver {
	r := resolver{
		memory: m, nodes: nodes, names: make(map[string]string, len(nodes)+2),
		long: map[string]sentence{}, inferred: map[[2]string]string{},
	}
	for i := range nodes {
		n := &nodes[i]
		r.names[n.Name] = n.Name
		if n.Name == "built-in" || n.Name == "master" {
			// Sentences call it by its display names, an expression by its label.
			r.names["Jenkins"], r.names["Built-In Node"] = n.Name, n.Name
		}
		if agent(n) {
			r.mine++
		}
	}
	return r
}

// wearer says who has a label that is no name: a node, and one of ours.
type wearer struct{ any, ours bool }

// resolve finds the label of an item. remember is true when the label may be
// used again for the same queue id: never for the name of a node, which is not
// what the item asked for but the only node that had it.
func (r *resolver) resolve(it *item, state scaler.ItemState) (how scaler.Resolution, l string, remember bool) {
	if state == scaler.Flyweight {
		return scaler.Unlabelled, "", false
	}
	var said sentence
	parameter, hidden := it.parameter()
	expression := ""
	if !hidden {
		expression = it.Task.Label.value
	}
	if state == scaler.Buildable || state == scaler.Pending {
		said = r.sentence(it.Why)
	}
	name, isName := r.names[said.text]
	switch {
	case said.says == saysLabel, said.says == saysEither && !isName:
		return scaler.Labelled, said.label, !isName
	case parameter != "":
		l = r.source(parameter)
		_, isName := r.names[l]
		return scaler.Labelled, l, !isName
	case expression != "":
		l = r.source(expression)
		_, isName := r.names[l]
		return scaler.Labelled, l, !isName
	}
	if l, ok := r.labels[it.ID]; ok && l == "" {
		return scaler.Unlabelled, "", true
	} else if ok {
		return scaler.Labelled, l, true
	}
	switch said.says {
	case saysNothing, saysLabel: // a label is answered with above
	case saysEither, saysNode, saysPerhapsNode:
		n, worn := r.node(name), wearer{}
		if isName && (n == nil || !n.Mine()) { // the name of one of ours is nothing else
			worn = r.wornBy(name)
		}
		switch {
		case worn.ours && said.says == saysEither:
			// The sentence is the same whether the label is meant or the node.
			return scaler.Inferred, said.label, false
		case worn.any:
			// Where other nodes have the one node's name for a label, the name
			// would stand for them too.
			return scaler.Unresolved, "", false
		case isName:
			return scaler.Labelled, name, false
		}
		if said.says != saysPerhapsNode {
			return scaler.Labelled, said.label, false
		}
	case saysReserved:
		return scaler.Unlabelled, "", true
	case saysAway:
		if r.serves(said.nodes) {
			return scaler.Unlabelled, "", false
		}
	case saysBare:
		// Jenkins drops every label while it has no node. Two of ours were there
		// in the answer before this one, so here there is none to drop.
		if r.mine >= 2 {
			return scaler.Unlabelled, "", true
		}
	}
	if roams[it.Task.Class] && it.Task.Label.is && !hidden {
		return scaler.Unlabelled, "", true
	}
	if state == scaler.Buildable && (said.says == saysNothing || said.says == saysAway) {
		if l := r.infer(it, said.whole); l != "" {
			return scaler.Inferred, l, false
		}
	}
	return scaler.Unresolved, "", false
}

// infer finds the label of an item whose sentence is a list of refusals in a
// plugin's words. It is what all other items of the job were known to want, if every
// node of the list that must have it has it, and one of ours. Otherwise it is all
// labels of such a node: another node with the same labels fits the item, too.
func (r *resolver) infer(it *item, why string) string {
	job := ""
	if it.Task.URL != "" {
		job = r.job(it)
	}
	key := [2]string{job, why}
	l, ok := r.inferred[key]
	if ok {
		return l
	}
	fit := r.fitting(why)
	if wanted := r.wanted[job]; wanted != "" {
		e := label.Parse(wanted)
		has := func(n *scaler.Node) bool {
			return e.Matches(func(atom string) bool { return slices.Contains(n.Labels, atom) })
		}
		if slices.ContainsFunc(fit, func(n *scaler.Node) bool { return !has(n) }) {
			r.wanted[job] = "" // this item wants something else
		} else if slices.ContainsFunc(r.nodes, func(n scaler.Node) bool { return agent(&n) && has(&n) }) {
			l = wanted
		}
	}
	if l == "" {
		l = fewestLabels(fit)
	}
	r.inferred[key] = l
	return l
}

// escaper makes a label the inside of a quoted one.
var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// fewestLabels is the labels of the node of ours that has the fewest, as an expression.
func fewestLabels(nodes []*scaler.Node) string {
	var least *scaler.Node
	for _, n := range nodes {
		if !agent(n) {
			continue
		}
		if least == nil || cmp.Or(len(n.Labels)-len(least.Labels), slices.Compare(n.Labels, least.Labels)) < 0 {
			least = n
		}
	}
	if least == nil {
		return ""
	}
	atoms := make([]string, 0, len(least.Labels))
	for _, l := range least.Labels {
		atoms = append(atoms, `"`+escaper.Replace(l)+`"`)
	}
	return label.ParseName(strings.Join(atoms, "&&")).Source()
}

// fitting finds the nodes of a list of refusals that have the item's label, whatever it
// is: Jenkins asks for the label first, so what says anything else has it.
func (r *resolver) fitting(why string) (nodes []*scaler.Node) {
	for part := range strings.SplitSeq(why, "; ") {
		name, words, _ := strings.Cut(strings.TrimPrefix(part, "‘"), "’ ")
		if on, ok := strings.CutPrefix(words, "lacks permission to run on ‘"); ok { // a user does
			name = strings.TrimSuffix(on, "’")
		} else if words == "" || strings.HasPrefix(words, "doesn’t have label ") {
			continue
		}
		if n := r.node(r.names[name]); n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// roams are the tasks that show null for a label only if they have none.
var roams = map[string]bool{"hudson.model.FreeStyleProject": true, "hudson.maven.MavenModuleSet": true}

// serves reports whether new agents of a team with one of these nodes serve the item,
// though it may want no label, or one that they all have: some are ours, and those
// take items without a label. One that does not would have said that it is reserved.
func (r *resolver) serves(nodes []string) bool {
	serves := false
	for _, name := range nodes {
		n := r.node(name)
		if n == nil || !agent(n) {
			continue
		}
		switch takes, known := r.unlabelled[scaler.PoolID{Team: n.Team, Kind: n.Kind}]; {
		case known && !takes:
			return false
		case known:
			serves = true
		}
	}
	return serves
}

// agent reports that a node is ours, and no fence.
func agent(n *scaler.Node) bool { return n.Mine() && !n.Fence }

// node finds a node by its name; nil: there is none.
func (r *resolver) node(name string) *scaler.Node {
	if r.at == nil {
		r.at = make(map[string]int, len(r.nodes))
		for i := range r.nodes {
			r.at[r.nodes[i].Name] = i
		}
	}
	i, ok := r.at[name]
	if !ok {
		return nil
	}
	return &r.nodes[i]
}

// wornBy reports which nodes have a node's name for a label.
func (r *resolver) wornBy(name string) wearer {
	if r.worn == nil {
		r.worn = map[string]wearer{}
		for i := range r.nodes {
			n := &r.nodes[i]
			for _, l := range n.Labels {
				r.worn[l] = wearer{any: true, ours: r.worn[l].ours || agent(n)}
			}
		}
	}
	return r.worn[name]
}

// fewLong is how many long sentences are at hand at once: most items that have one have
// the same, and all together may be as long as the answer.
const fewLong = 8

// sentence reads a sentence, once for all items that have it.
func (r *resolver) sentence(why string) sentence {
	if len(why) > longest {
		s, ok := r.long[why]
		if !ok {
			s = read(why)
			s.label, s.whole = strings.Clone(s.label), why // the label is remembered
			if len(r.long) == fewLong {
				clear(r.long)
				clear(r.inferred)
			}
			r.long[why] = s
		}
		return s
	}
	if s, ok := r.sentences[why]; ok {
		return s
	}
	why = r.keep(why)
	s := read(why)
	s.whole = why
	r.sentences[why] = s
	return s
}

// source is an expression as typed in the form that label.Parse reads back.
func (r *resolver) source(typed string) string {
	if s, ok := r.typed[typed]; ok {
		return s
	}
	s := label.Parse(typed).Source()
	r.typed[typed] = s
	return s
}

// job is the full name of the item's job, from the URL of its task.
func (m *memory) job(it *item) string {
	if j, ok := m.jobs[it.Task.URL]; ok && it.Task.URL != "" {
		return j
	}
	j := jobOf(it.Task.URL)
	if j == "" { // the task's class says something at least
		return m.keep(it.Task.Class[strings.LastIndexAny(it.Task.Class, ".$")+1:])
	}
	m.jobs[it.Task.URL] = j
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
		name = append(name, part)
	}
	return strings.Join(name, "/")
}
