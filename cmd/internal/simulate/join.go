package simulate

import (
	"fmt"
	"slices"
	"strings"
)

// Join joins labels to teams, each given as NAME=LABEL,LABEL. The builds of the labels of a team share their
// agents.
func (h *History) Join(teams []string) error {
	of := map[string]string{}
	for _, t := range teams {
		name, labels, ok := strings.Cut(t, "=")
		if !ok || name == "" || labels == "" {
			return fmt.Errorf("%q is no team; write NAME=LABEL,LABEL", t)
		}
		for l := range strings.SplitSeq(labels, ",") {
			if !slices.Contains(h.Labels, l) {
				return fmt.Errorf("no build has the label %q; the history has %s", l, someOf(h.Labels))
			}
			if of[l] != "" {
				return fmt.Errorf("label %q has two teams, %s and %s; name it once", l, of[l], name)
			}
			of[l] = name
		}
	}
	known := map[string]int32{}
	var labels []string
	to := make([]int32, len(h.Labels))
	for i, l := range h.Labels {
		if t := of[l]; t != "" {
			l = "team " + t
		}
		to[i] = index(known, &labels, l)
	}
	for i := range h.Builds {
		h.Builds[i].Label = to[h.Builds[i].Label]
	}
	h.Labels = labels
	return nil
}

// Only leaves out the builds of all other labels. Without labels it leaves out nothing.
func (h *History) Only(labels []string) error {
	if len(labels) == 0 {
		return nil
	}
	keep := map[int32]bool{}
	for _, l := range labels {
		i := slices.Index(h.Labels, l)
		if i < 0 {
			return fmt.Errorf("no build has the label %q; the history has %s", l, someOf(h.Labels))
		}
		keep[int32(i)] = true
	}
	h.Builds = slices.DeleteFunc(h.Builds, func(b Build) bool { return !keep[b.Label] })
	return nil
}

// someOf lists the first of many texts.
func someOf(all []string) string {
	if len(all) > 12 {
		return strings.Join(all[:12], ", ") + fmt.Sprintf(" and %d more", len(all)-12)
	}
	return strings.Join(all, ", ")
}
