package queue

import (
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
	if roams[it.taskClass] && it.shown && it.expression == "" && !it.overridden {
		return scaler.Unlabelled, "", true
	}
	return scaler.Unresolved, "", false
}

// roams are the tasks that show null for a label only if they have none.
var roams = map[string]bool{"hudson.model.FreeStyleProject": true, "hudson.maven.MavenModuleSet": true}

// serves reports whether new agents of a team with one of these nodes serve the item,
// though it may want no label, or one that they all have: some are ours, and those
// take items without a label. One that does not would have said that it is reserved.
func (r *resolver) serves(nodes []string) bool {
	serves := false
	for _, name := range nodes {
		i := slices.IndexFunc(r.nodes, func(n scaler.Node) bool { return n.Name == name && n.Mine() && !n.Fence })
		if i < 0 {
			continue
		}
		n := &r.nodes[i]
		switch takes, known := r.unlabelled[scaler.PoolID{Team: n.Team, Kind: n.Kind}]; {
		case known && !takes:
			return false
		case known:
			serves = true
		}
	}
	return serves
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
