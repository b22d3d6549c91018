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

// state returns the state of an item. A part of a build that is being stopped counts as blocked.
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
	nodes   []scaler.Node
	named   map[string]*scaler.Node // nodes by their names in sentences
	holders map[string]holders      // by expression
	agents  int                     // number of Bellboard's nodes that are no fences
	last    string                  // the last sentence that is too long for memory
	long    sentence                // what it says
}

// holders says whether an expression matches the labels of any node, and of an agent of Bellboard's.
type holders struct{ any, ours bool }

func newResolver(m *memory, nodes []scaler.Node) resolver {
	r := resolver{
		memory: m, nodes: nodes, named: make(map[string]*scaler.Node, len(nodes)+2), holders: map[string]holders{},
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
	}
	return r
}

// isAgent reports whether a node is Bellboard's and no fence.
func isAgent(n *scaler.Node) bool { return n.Mine() && !n.Fence }

// fits reports whether an expression matches the node's labels.
func fits(e label.Expr, n *scaler.Node) bool {
	return e.Matches(func(atom string) bool { return slices.Contains(n.Labels, atom) })
}

func (r *resolver) holdersOf(e label.Expr) holders {
	h, ok := r.holders[e.Source()]
	if !ok {
		for i := range r.nodes {
			if n := &r.nodes[i]; fits(e, n) {
				h = holders{any: true, ours: h.ours || isAgent(n)}
			}
		}
		r.holders[e.Source()] = h
	}
	return h
}

// resolve returns the label of an item. remember reports whether the label is valid for the same queue id
// later on. The name of a node is not: that node merely was the only one with the label.
func (r *resolver) resolve(it *item, state scaler.ItemState) (how scaler.Resolution, l string, remember bool) {
	if state == scaler.Flyweight {
		return scaler.Unlabelled, "", false
	}
	var said sentence
	if state == scaler.Buildable || state == scaler.Pending {
		said = r.sentence(it.Why)
	}
	node := r.named[said.text]
	if said.proves == provesLabel || said.proves == provesEither && node == nil {
		return scaler.Labelled, said.label, node == nil
	}
	typed, hidden := it.parameter()
	if !hidden {
		typed = cmp.Or(typed, it.Task.Label.value)
	}
	if typed != "" {
		l = label.Parse(typed).Source()
		return scaler.Labelled, l, r.named[l] == nil
	}
	if l, ok := r.labels[it.ID]; ok && l != "" {
		return scaler.Labelled, l, true
	} else if ok {
		return scaler.Unlabelled, "", true
	}
	if node != nil || said.proves == provesNode {
		how, l = r.onNode(&said, node)
		return how, l, false
	}
	switch {
	case said.proves == provesReserved,
		// Jenkins ignores every label while it has no node. Just before it had two of Bellboard's.
		said.proves == provesBare && r.agents >= 2:
		return scaler.Unlabelled, "", true
	case said.proves == provesAway && r.serves(said.nodes):
		return scaler.Unlabelled, "", false
	case canRoam[it.Task.Class] && it.Task.Label.present && !hidden:
		return scaler.Unlabelled, "", true
	case state == scaler.Buildable && (said.proves == provesNothing || said.proves == provesAway):
		if l := r.infer(it, said.nodes); l != "" {
			return scaler.Inferred, l, false
		}
	}
	return scaler.Unresolved, "", false
}

// onNode returns the label of an item whose sentence names a node, which is nil if it is gone.
func (r *resolver) onNode(said *sentence, node *scaler.Node) (how scaler.Resolution, l string) {
	if node == nil {
		return scaler.Labelled, said.label
	}
	var others holders
	if !node.Mine() { // the name of Bellboard's own node is never a label of others
		others = r.holdersOf(label.ParseName(node.Name))
	}
	switch {
	case others.ours && said.proves == provesEither:
		// The sentence is the same, whether the item wants the label or the node.
		return scaler.Inferred, said.label
	case others.any:
		// Other nodes have the name of this one node as a label. The name would stand for them too.
		return scaler.Unresolved, ""
	default:
		return scaler.Labelled, node.Name
	}
}

// infer returns a label for an item whose sentence is a list of refusals in the words of a plugin. names are
// the nodes that have the label of the item. The first of two rules that fits counts:
//
//   - The label that all other items of the job want, if all those nodes have it, and a node of Bellboard's.
//   - All labels of one of those nodes that is Bellboard's. The item fits another node with the same labels.
func (r *resolver) infer(it *item, names []string) string {
	var fit []*scaler.Node
	for _, name := range names {
		if n := r.named[name]; n != nil {
			fit = append(fit, n)
		}
	}
	job := r.job(it)
	if wanted := r.wanted[job]; wanted != "" {
		e := label.Parse(wanted)
		if slices.ContainsFunc(fit, func(n *scaler.Node) bool { return !fits(e, n) }) {
			r.wanted[job] = "" // this item wants another label than the other items of the job
		} else if r.holdersOf(e).ours {
			return wanted
		}
	}
	return fewestLabels(fit)
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

// canRoam are the tasks whose label is null only if they have none.
var canRoam = map[string]bool{"hudson.model.FreeStyleProject": true, "hudson.maven.MavenModuleSet": true}

// serves reports whether a new agent of a team with one of these nodes serves the item, which wants no label
// or a label that all these nodes have. The team has to take items without a label. If one of the nodes takes
// only items with a label, the item has one: to any other item that node would be reserved.
func (r *resolver) serves(nodes []string) (serves bool) {
	for _, name := range nodes {
		n := r.named[name]
		if n == nil || !isAgent(n) {
			continue
		}
		takes, known := r.unlabelled[scaler.PoolID{Team: n.Team, Kind: n.Kind}]
		if known && !takes {
			return false
		}
		serves = serves || known
	}
	return serves
}

// sentence reads a sentence once for all items that have it. Most items with a long sentence have the same
// one, so that the resolver keeps only the last of those.
func (r *resolver) sentence(why string) sentence {
	if len(why) <= maxString {
		return r.sentences.get(why, readSentence)
	}
	if r.last != why {
		r.last, r.long = why, readSentence(why)
	}
	return r.long
}

// job returns the full name of the item's job, from the URL of the item's task.
func (m *memory) job(it *item) string {
	if j := m.jobs.get(it.Task.URL, JobName); j != "" {
		return j
	}
	return it.Task.Class[strings.LastIndexAny(it.Task.Class, ".$")+1:] // says something at least
}

// JobName returns the full name of the job in a URL: folder/foo for "http://host/jenkins/job/folder/job/foo/"
// and "job/folder/job/foo/12/". A matrix cell keeps its axes: m/label=linux for "job/m/label=linux/".
func JobName(u string) string {
	name := make([]string, 0, 8)
	before := ""
	for part := range strings.SplitSeq(u, "/") {
		if part != "" && (before == "job" || len(name) > 0 && strings.Contains(part, "=")) {
			if clean, err := url.PathUnescape(part); err == nil {
				part = clean
			}
			name, part = append(name, part), "" // a job may have the name job
		}
		before = part
	}
	return strings.Join(name, "/")
}
