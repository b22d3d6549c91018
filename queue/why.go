package queue

import (
	"cmp"
	"slices"
	"strings"

	"bellboard/scaler/label"
)

// proof is what one sentence of Jenkins proves about the label of its item.
type proof uint8

const (
	provesNothing     proof = iota
	provesLabel             // text is the label, even if a node has that name
	provesEither            // text is the label, or the name of the only node that has the label
	provesNode              // text is the name of the only node that has the label
	provesPerhapsNode       // the same without quotes, which holds only if a node has that name
	provesReserved          // the item has no label: an exclusive node refused the item for that reason
	provesAway              // no node refused the item for its label, but the nodes are away
	provesBare              // the item has no label, or Jenkins has no node at all
)

// sentence is one sentence that was read.
type sentence struct {
	proves proof
	text   string   // empty if the sentence names nothing
	label  string   // the text as an expression that label.Parse reads
	nodes  []string // of a list of refusals: nodes that have the label of the item, whatever the label is
}

// named returns a sentence with that text. The sentence keeps nothing else of what Jenkins said.
func named(proves proof, text string) sentence {
	text = strings.Clone(text)
	return sentence{proves: proves, text: text, label: label.ParseName(text).Source()}
}

// forms are the sentences with one name.
var forms = []struct {
	before, after string
	proves        proof
}{
	{"Waiting for next available executor on ", "", provesEither},
	{"All nodes of label ", " are offline", provesLabel},
	{"There are no nodes with the label ", "", provesLabel},
}

// readSentence reads a sentence as Jenkins says it with Accept-Language: en. A sentence counts only if all of
// it is known. In a list of refusals the known parts count.
func readSentence(why string) sentence {
	if why == "Waiting for next available executor" {
		return sentence{proves: provesBare}
	}
	for _, f := range forms {
		if text := between(why, f.before, f.after); text != "" {
			return named(f.proves, text)
		}
	}
	if text := lackedLabel(why); text != "" {
		return named(provesLabel, text)
	}
	node := between(why, "", " is offline")
	switch {
	case node == "" || strings.ContainsAny(node, "‘’;"):
		return readRefusals(why)
	case strings.HasPrefix(why, "‘"):
		return named(provesNode, node)
	default:
		return named(provesPerhapsNode, node)
	}
}

// between returns the text between before and after, without its typographic quotes, or "". Jenkins before
// 2.125 writes no quotes.
func between(s, before, after string) string {
	s, begins := strings.CutPrefix(s, before)
	s, ends := strings.CutSuffix(s, after)
	inner, quoted := strings.CutPrefix(s, "‘")
	inner, closed := strings.CutSuffix(inner, "’")
	if !begins || !ends || quoted != closed {
		return ""
	}
	return inner
}

// lackedLabel returns the label that a node of a list lacks. In "Must run on A not B" it returns A, the node
// on which a build has to resume.
func lackedLabel(why string) string {
	if _, rest, ok := strings.Cut(why, "’ doesn’t have label ‘"); ok {
		// The label may contain any character. The label ends at the end of its part.
		label, _, _ := strings.Cut(rest+"; ", "’; ")
		return label
	}
	_, rest, _ := strings.Cut("; "+why, "; Must run on ")
	node, _, _ := strings.Cut(rest, " not ")
	return node
}

// neutral are the ends of parts about a node that is gone, or that Jenkins has already asked for its labels.
var neutral = []string{
	" has been removed from configuration",
	" should be allowed to run first",
	"Executor slot already in use",
	"Exception evaluating if the node can take the task",
}

// readRefusals reads a list of refusals. The list has one part for each node with an idle executor. Jenkins'
// core checks a node in this order: labels, mode, permission of the build, plugins, and last whether the node
// is online. So each part proves something by itself:
//
//   - "is reserved for jobs …": the item has no label, whatever else is in the list.
//   - "is offline", "is not accepting tasks", "lacks permission …": the node has the label of the item, or
//     the item has no label.
//   - A neutral part says nothing about the label.
//   - "... and 3 more", and unknown words of a plugin or in another language: perhaps the node lacks the
//     label, so that the rest of the list proves nothing. Jenkins asks plugins about nodes with the label.
func readRefusals(why string) sentence {
	s := sentence{proves: provesAway}
	for part := range strings.SplitSeq(why, "; ") {
		ends := func(with string) bool { return strings.HasSuffix(part, with) }
		if ends(" is reserved for jobs with matching label expression") {
			return sentence{proves: provesReserved}
		}
		name := awayNode(part)
		if name == "" && !slices.ContainsFunc(neutral, ends) {
			s.proves = provesNothing
			if quoted, _, ok := strings.Cut(strings.TrimPrefix(part, "‘"), "’ "); ok {
				name = quoted
			}
		}
		if name != "" {
			s.nodes = append(s.nodes, name)
		}
	}
	if s.nodes == nil {
		s.proves = provesNothing
	}
	return s
}

// awayNode returns the name of a node that would take the item but cannot.
func awayNode(part string) string {
	if _, node, ok := strings.Cut(part, " lacks permission to run on "); ok {
		return between(node, "", "")
	}
	return cmp.Or(between(part, "", " is offline"), between(part, "", " is not accepting tasks"))
}
