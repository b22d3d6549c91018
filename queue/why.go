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
	saysOffline          // every idle node would take the item, and is offline: nodes are all of them
	saysBare             // the item has no label, or Jenkins has no node at all
)

// sentence is one sentence, read. label is the text as an expression that
// label.Parse reads; it is empty when the sentence names nothing.
type sentence struct {
	says  said
	text  string
	label string
	nodes []string // of saysOffline
}

// read reads a sentence as Jenkins says it with Accept-Language: en. Only
// whole, known sentences count: in a list of every node's own refusal
// ("‘n1’ is offline; ‘x’ …") a label is named only by a node that lacks it.
func read(why string) sentence {
	says, text := saysNothing, ""
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
	} else if reserved(why) {
		says = saysReserved
	} else if nodes, ok := allOffline(why); ok {
		return sentence{says: saysOffline, nodes: nodes}
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

// reserved reports whether nodes refused the item because it has no label. Nodes
// that are merely offline, and the tail of a shortened list, may be among them.
func reserved(why string) bool {
	found := false
	for part := range strings.SplitSeq(why, "; ") {
		switch {
		case strings.HasSuffix(part, " is reserved for jobs with matching label expression"):
			found = true
		case strings.HasSuffix(part, " is offline"):
		case strings.HasPrefix(part, "... and ") && strings.HasSuffix(part, " more"):
		default:
			return false
		}
	}
	return found
}

// allOffline names the nodes of a list in which all are offline and nothing
// else. One that lacked the item's label, or was not for it, would say so.
func allOffline(why string) (nodes []string, ok bool) {
	for part := range strings.SplitSeq(why, "; ") {
		name, ok := within(part, "", " is offline")
		if !ok {
			return nil, false
		}
		nodes = append(nodes, name)
	}
	return nodes, true
}
