package queue

import (
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

// sentence is one sentence that was read. label is the text as an expression that label.Parse reads. label
// is empty if the sentence names nothing.
type sentence struct {
	proves proof
	text   string
	label  string
	nodes  []string // the nodes of provesAway
	why    string   // the sentence itself, one string for all items that have this sentence
}

// readSentence reads a sentence as Jenkins says it with Accept-Language: en. A sentence counts only if all of
// it is known. In a list of refusals the known parts count.
func readSentence(why string) sentence {
	var says proof
	text := ""
	if why == "Waiting for next available executor" {
		says = provesBare
	} else if l, ok := between(why, "Waiting for next available executor on ", ""); ok {
		says, text = provesEither, l
	} else if l, ok := between(why, "All nodes of label ", " are offline"); ok {
		says, text = provesLabel, l
	} else if l, ok := between(why, "There are no nodes with the label ", ""); ok {
		says, text = provesLabel, l
	} else if l, ok := lackedLabel(why); ok {
		says, text = provesLabel, l
	} else if n, ok := between(why, "", " is offline"); ok && !strings.ContainsAny(n, "‘’") && !strings.Contains(n, "; ") {
		if says, text = provesNode, n; !strings.HasPrefix(why, "‘") {
			says = provesPerhapsNode
		}
	} else {
		return readRefusals(why)
	}
	if text == "" {
		return sentence{proves: says}
	}
	return sentence{proves: says, text: text, label: label.ParseName(text).Source()}
}

// between returns the text between before and after, without its typographic quotes. Jenkins before 2.125
// writes no quotes.
func between(s, before, after string) (string, bool) {
	s, ok := strings.CutPrefix(s, before)
	if !ok {
		return "", false
	}
	if s, ok = strings.CutSuffix(s, after); !ok || s == "" {
		return "", false
	}
	if inner, ok := strings.CutPrefix(s, "‘"); ok {
		return strings.CutSuffix(inner, "’")
	}
	return s, true
}

// lackedLabel returns the label that a node of a list lacks. In "Must run on A not B" it returns A, the node
// on which a build has to resume.
func lackedLabel(why string) (string, bool) {
	const lacks, must = "’ doesn’t have label ‘", "Must run on "
	if _, rest, ok := strings.Cut(why, lacks); ok {
		// The label may contain any character. The label ends at the end of its part.
		name, _, ok := strings.Cut(rest+"; ", "’; ")
		return name, ok
	}
	for part := range strings.SplitSeq(why, "; ") {
		if rest, ok := strings.CutPrefix(part, must); ok {
			if name, _, ok := strings.Cut(rest, " not "); ok {
				return name, true
			}
		}
	}
	return "", false
}

// readRefusals reads a list of refusals. The list has one part for each node with an idle executor. Jenkins'
// core checks a node in this order: labels, mode, permission of the build, plugins, and last whether the node
// is online. So each part proves something by itself:
//
//   - "is reserved for jobs …": the item has no label, whatever else is in the list.
//   - "is offline", "is not accepting tasks", "lacks permission …": the node has the label of the item, or
//     the item has no label.
//   - A neutral part contradicts none of these. Jenkins says it of a node that is gone, or of a node that
//     Jenkins has already asked for its labels.
//   - "... and 3 more" and unknown words: perhaps the node lacks the label, so that the rest of the list
//     proves nothing. Unknown words are those of a plugin or of another language.
func readRefusals(why string) sentence {
	s := sentence{proves: provesAway}
	for part := range strings.SplitSeq(why, "; ") {
		switch name, ok := awayNode(part); {
		case strings.HasSuffix(part, " is reserved for jobs with matching label expression"):
			return sentence{proves: provesReserved}
		case ok:
			s.nodes = append(s.nodes, name)
		case !isNeutral(part):
			s.proves = provesNothing
		}
	}
	if s.proves == provesNothing || s.nodes == nil {
		return sentence{}
	}
	return s
}

// isNeutral reports whether a part says nothing about the label of the item.
func isNeutral(part string) bool {
	return strings.HasSuffix(part, " has been removed from configuration") ||
		strings.HasSuffix(part, " should be allowed to run first") ||
		part == "Executor slot already in use" || part == "Exception evaluating if the node can take the task"
}

// awayNode returns the name of a node that would take the item but cannot.
func awayNode(part string) (name string, ok bool) {
	if _, name, ok = strings.Cut(part, " lacks permission to run on "); ok {
		return between(name, "", "")
	}
	for _, state := range [...]string{" is offline", " is not accepting tasks"} {
		if name, ok = between(part, "", state); ok {
			return name, true
		}
	}
	return "", false
}
