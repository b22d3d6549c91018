package queue

import (
	"strings"

	"bellboard/scaler/label"
)

// said is what one sentence of Jenkins proves about the label of its item.
type said uint8

const (
	saysNothing     said = iota
	saysLabel            // text is the label, whatever else it may be the name of
	saysEither           // text is the label, or the name of the only node that matches it
	saysNode             // text is the name of the only node that matches
	saysPerhapsNode      // the same without quotes: only if there is such a node
	saysReserved         // the item has no label: an exclusive node refused it for that
	saysAway             // no node refused the item for its label; nodes would take it, but are away
	saysBare             // the item has no label, or Jenkins has no node at all
)

// sentence is one sentence, read. label is the text as an expression that
// label.Parse reads; it is empty when the sentence names nothing.
type sentence struct {
	says  said
	text  string
	label string
	nodes []string // of saysAway
	whole string   // the sentence itself: one string for all items that have it
}

// read reads a sentence as Jenkins says it with Accept-Language: en. Only whole,
// known sentences count, and known parts of a list of refusals.
func read(why string) sentence {
	var says said
	text := ""
	if why == "Waiting for next available executor" {
		says = saysBare
	} else if l, ok := within(why, "Waiting for next available executor on ", ""); ok {
		says, text = saysEither, l
	} else if l, ok := within(why, "All nodes of label ", " are offline"); ok {
		says, text = saysLabel, l
	} else if l, ok := within(why, "There are no nodes with the label ", ""); ok {
		says, text = saysLabel, l
	} else if l, ok := lacking(why); ok {
		says, text = saysLabel, l
	} else if n, ok := within(why, "", " is offline"); ok && !strings.ContainsAny(n, "‘’") && !strings.Contains(n, "; ") {
		if says, text = saysNode, n; !strings.HasPrefix(why, "‘") {
			says = saysPerhapsNode
		}
	} else {
		return refusals(why)
	}
	if text == "" {
		return sentence{says: says}
	}
	return sentence{says: says, text: text, label: label.ParseName(text).Source()}
}

// within returns what is between the two, without its typographic quotes;
// Jenkins before 2.125 wrote none.
func within(s, before, after string) (string, bool) {
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

// lacking finds the label that one node of a list lacks, or the node that a
// resuming build must have ("Must run on A not B").
func lacking(why string) (string, bool) {
	const lacks, must = "’ doesn’t have label ‘", "Must run on "
	if _, rest, ok := strings.Cut(why, lacks); ok {
		// The label may have any character; it ends at the end of its part.
		if l, _, ok := strings.Cut(rest, "’; "); ok {
			return l, true
		}
		return strings.CutSuffix(rest, "’")
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

// refusals reads a list of refusals, one part for each node with an idle executor.
// Core asks each node in this order: its labels, its mode, the build's permission,
// plugins, then whether it is there. So each part proves something by itself:
//
//   - "is reserved for jobs …": the item has no label, whatever else is in the list;
//   - "is offline", "is not accepting tasks", "lacks permission …": the node has the
//     item's label, or the item has none;
//   - the neutral ones: nothing that contradicts these, for they are said of no node
//     any more, or of one that was asked for its labels before;
//   - "... and 3 more", and words that are not known, a plugin's or another
//     language's: it may be that the node lacks the label, so nothing follows from
//     what is not said.
func refusals(why string) sentence {
	s := sentence{says: saysAway}
	for part := range strings.SplitSeq(why, "; ") {
		switch name, ok := away(part); {
		case strings.HasSuffix(part, " is reserved for jobs with matching label expression"):
			return sentence{says: saysReserved}
		case ok:
			s.nodes = append(s.nodes, name)
		case !neutral(part):
			s.says = saysNothing
		}
	}
	if s.says == saysNothing || s.nodes == nil {
		return sentence{}
	}
	return s
}

// neutral parts tell nothing of the item's label.
func neutral(part string) bool {
	return strings.HasSuffix(part, " has been removed from configuration") ||
		strings.HasSuffix(part, " should be allowed to run first") ||
		part == "Executor slot already in use" || part == "Exception evaluating if the node can take the task"
}

// away names the node that would take the item, and cannot.
func away(part string) (name string, ok bool) {
	if _, name, ok = strings.Cut(part, " lacks permission to run on "); ok {
		return within(name, "", "")
	}
	for _, state := range [...]string{" is offline", " is not accepting tasks"} {
		if name, ok = within(part, "", state); ok {
			return name, true
		}
	}
	return "", false
}
