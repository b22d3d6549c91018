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

// state returns the state of an item. A part of a build that is being stopped waits for nothing any more
// and counts as blocked.
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

// resolver finds the labels of the items of one answer.
type resolver struct {
	*memory
	nodes    []scaler.Node
	named    map[string]*scaler.Node // nodes by their names in sentences
	holders  map[string]labelHolders // owners of each label
	agents   int                     // number of Bellboard's nodes that are no fences
	long     map[string]sentence     // the last few sentences that are too long for memory
	inferred map[[2]string]string    // inferred labels by job and sentence
}

func newResolver(m *memory, nodes []scaler.Node) resolver {
	r := resolver{
		memory: m, nodes: nodes, named: make(map[string]*scaler.Node, len(nodes)+2),
		holders: map[string]labelHolders{}, long: map[string]sentence{}, inferred: map[[2]string]string{},
	}
	for i := range nodes {
		n := &nodes[i]
		r.named[n.Name] = n
		if n.Name == "built-in" || n.Name == "master" {
			// A sentence has the display name of the built-in node, and an expression has its label.
			r.named["Jenkins"], r.named["Built-In Node"] = n, n
		}
		if isAgent(n) {
			r.agents++
		}
		for _, l := range n.Labels {
			r.holders[l] = labelHolders{any: true, ours: r.holders[l].ours || isAgent(n)}
		}
	}
	return r
}

// labelHolders says of a label, apart from nodes' own names, whether any node has it and whether a node of
// Bellboard's has it.
type labelHolders struct{ any, ours bool }

// resolve returns the label of an item. remember reports whether the label is valid for the same queue id
// later on. The name of a node is never remembered: the item did not ask for that node, which merely was the
// only one with the label.
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
	node := r.named[said.text]
	switch {
	case said.proves == provesLabel, said.proves == provesEither && node == nil:
		return scaler.Labelled, said.label, node == nil
	case parameter != "", expression != "":
		l = r.source(cmp.Or(parameter, expression))
		return scaler.Labelled, l, r.named[l] == nil
	}
	if l, ok := r.labels[it.ID]; ok && l == "" {
		return scaler.Unlabelled, "", true
	} else if ok {
		return scaler.Labelled, l, true
	}
	switch said.proves {
	case provesNothing, provesLabel: // a label has been returned above
	case provesEither, provesNode, provesPerhapsNode:
		var worn labelHolders
		if node != nil && !node.Mine() { // the name of Bellboard's own node is never a label of others
			worn = r.holders[node.Name]
		}
		switch {
		case worn.ours && said.proves == provesEither:
			// The sentence is the same, whether the item wants the label or the node.
			return scaler.Inferred, said.label, false
		case worn.any:
			// Other nodes have the name of this one node as a label. The name would stand for them too.
			return scaler.Unresolved, "", false
		case node != nil:
			return scaler.Labelled, node.Name, false
		}
		if said.proves != provesPerhapsNode {
			return scaler.Labelled, said.label, false
		}
	case provesReserved:
		return scaler.Unlabelled, "", true
	case provesAway:
		if r.serves(said.nodes) {
			return scaler.Unlabelled, "", false
		}
	case provesBare:
		// Jenkins ignores every label while it has no node. The answer just before this one had two nodes of
		// Bellboard's, so that Jenkins has ignored no label here.
		if r.agents >= 2 {
			return scaler.Unlabelled, "", true
		}
	}
	if canRoam[it.Task.Class] && it.Task.Label.present && !hidden {
		return scaler.Unlabelled, "", true
	}
	if state == scaler.Buildable && (said.proves == provesNothing || said.proves == provesAway) {
		if l := r.infer(it, said.why); l != "" {
			return scaler.Inferred, l, false
		}
	}
	return scaler.Unresolved, "", false
}

// infer returns a label for an item whose sentence is a list of refusals in the words of a plugin. The nodes
// of the list that must have the label of the item limit the choice. The first of two rules that fits counts:
//
//   - The label that all other items of the job want, if all those nodes have it, and a node of Bellboard's.
//   - All labels of one of those nodes that is Bellboard's. The item fits another node with the same labels.
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
			r.wanted[job] = "" // this item wants another label than the other items of the job
		} else if slices.ContainsFunc(r.nodes, func(n scaler.Node) bool { return isAgent(&n) && has(&n) }) {
			l = wanted
		}
	}
	if l == "" {
		l = fewestLabels(fit)
	}
	r.inferred[key] = l
	return l
}

// escaper escapes a label for the inside of quotes.
var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// fewestLabels returns an expression of all labels of one node: the node of Bellboard's with the fewest.
func fewestLabels(nodes []*scaler.Node) string {
	nodes = slices.DeleteFunc(nodes, func(n *scaler.Node) bool { return !isAgent(n) })
	if len(nodes) == 0 {
		return ""
	}
	least := slices.MinFunc(nodes, func(a, b *scaler.Node) int {
		return cmp.Or(len(a.Labels)-len(b.Labels), slices.Compare(a.Labels, b.Labels))
	})
	atoms := make([]string, 0, len(least.Labels))
	for _, l := range least.Labels {
		atoms = append(atoms, `"`+escaper.Replace(l)+`"`)
	}
	return label.ParseName(strings.Join(atoms, "&&")).Source()
}

// fitting returns the nodes of a list of refusals that have the label of the item, whatever the label is.
// Jenkins checks the label first. So a node that refuses for another reason has the label.
func (r *resolver) fitting(why string) (nodes []*scaler.Node) {
	for part := range strings.SplitSeq(why, "; ") {
		name, words, _ := strings.Cut(strings.TrimPrefix(part, "‘"), "’ ")
		if on, ok := strings.CutPrefix(words, "lacks permission to run on ‘"); ok { // a user is first
			name = strings.TrimSuffix(on, "’")
		} else if words == "" || strings.HasPrefix(words, "doesn’t have label ") {
			continue
		}
		if n := r.named[name]; n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// canRoam are the tasks whose label is null only if they have none.
var canRoam = map[string]bool{"hudson.model.FreeStyleProject": true, "hudson.maven.MavenModuleSet": true}

// serves reports whether a new agent of a team with one of these nodes serves the item. The item wants no
// label, or a label that all these nodes have. In both cases the answer is yes if the team takes items
// without a label. The answer is no if one of Bellboard's nodes takes only items with a label. That node
// would have answered an item without a label that it is reserved.
func (r *resolver) serves(nodes []string) bool {
	serves := false
	for _, name := range nodes {
		n := r.named[name]
		if n == nil || !isAgent(n) {
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

// isAgent reports whether a node is Bellboard's and no fence.
func isAgent(n *scaler.Node) bool { return n.Mine() && !n.Fence }

// maxLong is how many long sentences the resolver keeps at once. Most items with a long sentence have the
// same one. All long sentences together may be as long as the answer.
const maxLong = 8

// sentence reads a sentence. It reads a sentence once for all items that have it.
func (r *resolver) sentence(why string) sentence {
	table, long := r.sentences, len(why) > maxString
	if long {
		table = r.long
	}
	if s, ok := table[why]; ok {
		return s
	}
	if long && len(table) == maxLong {
		clear(table)
		clear(r.inferred)
	}
	why = r.intern(why)
	s := readSentence(why)
	s.label, s.why = strings.Clone(s.label), why // the label outlives a long sentence
	table[why] = s
	return s
}

// source returns an expression that a person typed, in the form that label.Parse reads back.
func (r *resolver) source(typed string) string {
	s, ok := r.typed[typed]
	if !ok {
		s = label.Parse(typed).Source()
		r.typed[typed] = s
	}
	return s
}

// job returns the full name of the item's job, from the URL of the item's task.
func (m *memory) job(it *item) string {
	if j, ok := m.jobs[it.Task.URL]; ok && it.Task.URL != "" {
		return j
	}
	j := jobOf(it.Task.URL)
	if j == "" { // the class of the task says something at least
		return m.intern(it.Task.Class[strings.LastIndexAny(it.Task.Class, ".$")+1:])
	}
	m.jobs[it.Task.URL] = j
	return j
}

// jobOf returns the name of the job in a URL. "http://host/jenkins/job/folder/job/foo/" and
// "job/folder/job/foo/12/" are folder/foo. A matrix cell keeps its axes: "job/m/label=linux/" is
// m/label=linux.
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
		if part, err := url.PathUnescape(parts[i]); err == nil {
			parts[i] = part
		}
		name = append(name, parts[i])
	}
	return strings.Join(name, "/")
}
