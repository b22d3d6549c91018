package scaler

import (
	"math/bits"
	"slices"
	"strings"

	"bellboard/scaler/label"
)

// Near is the team that would serve builds that no team serves, if its agents had more labels.
type Near struct {
	Team  string   `json:"team"`
	Lacks []string `json:"lacks,omitempty"` // labels for the team's LABELS, sorted
	Kind  Kind     `json:"kind,omitempty"`  // a kind that the builds want, and that the team's MODE does not make
	Meant string   `json:"meant,omitempty"` // a label of the team that looks like the only one that it lacks
}

const (
	mostLacks = 5  // for so many missing labels near tries all combinations
	nearMost  = 20 // groups of builds for which the nearest team is looked for, the oldest first
)

// nearest returns the team that lacks fewest labels of an expression, of several the first. It is nil if no team
// has any label of the expression, or one that looks like it.
func nearest(expr label.Expr, teams []*ask) (best *Near) {
	atoms, most := expr.Atoms(), mostLacks
	for _, a := range teams {
		for i := range a.t.Pools {
			if n := a.t.near(expr, atoms, a.t.Pools[i].Labels, most); n != nil {
				best, most = n, n.size()-1
			}
		}
	}
	return best
}

func (n *Near) size() int { return len(n.Lacks) + yes(n.Kind != "") }

// near returns which labels the agents with these labels lack, if they lack at most so many.
func (t *Team) near(expr label.Expr, atoms, labels []string, most int) *Near {
	var room [mostLacks]string
	missing := room[:0]
	for _, atom := range atoms {
		switch {
		case slices.Contains(labels, atom):
		case len(missing) == mostLacks:
			return nil
		default:
			missing = append(missing, atom)
		}
	}
	shared := slices.ContainsFunc(atoms, func(atom string) bool { return slices.Contains(t.Labels, atom) })
	if !shared && !slices.ContainsFunc(missing, func(atom string) bool { return t.meant(atom) != "" }) {
		return nil
	}
	least := t.least(expr, labels, missing, most)
	if least == nil {
		return nil
	}
	if least.Kind == "" && len(least.Lacks) == 1 {
		least.Meant = t.meant(least.Lacks[0])
	}
	if !shared && least.Meant == "" {
		return nil
	}
	return least
}

// meant returns the label of the team that looks like that one.
func (t *Team) meant(atom string) string {
	if i := slices.IndexFunc(t.Labels, func(l string) bool { return alike(l, atom) }); i >= 0 {
		return t.Labels[i]
	}
	return ""
}

// least returns the fewest of the missing labels with which the agents would fit, at most so many; nil: they never
// would.
func (t *Team) least(expr label.Expr, labels, missing []string, most int) *Near {
	best, bestKind := 0, Kind("") // the chosen of the missing labels, as bits, and the kind among these
	for set := 1; set < 1<<len(missing); set++ {
		size, kind := bits.OnesCount(uint(set)), Kind("")
		possible := size <= most
		for i, atom := range missing {
			if k := Kind(atom); set>>i&1 == 1 && slices.Contains(Kinds(), k) {
				possible = possible && kind == "" && t.Pool(k) == nil
				kind = k
			}
		}
		fits := possible && expr.Matches(func(atom string) bool {
			if kind != "" && slices.Contains(Kinds(), Kind(atom)) {
				return Kind(atom) == kind
			}
			i := slices.Index(missing, atom)
			return i >= 0 && set>>i&1 == 1 || slices.Contains(labels, atom)
		})
		if fits {
			best, bestKind, most = set, kind, size-1
		}
	}
	if best == 0 {
		return nil
	}
	n := &Near{Team: t.Name, Kind: bestKind}
	for i, atom := range missing {
		if best>>i&1 == 1 && (bestKind == "" || Kind(atom) != bestKind) {
			n.Lacks = append(n.Lacks, atom)
		}
	}
	return n
}

// alike reports whether two labels are one mistake of typing apart, or two if they are long.
func alike(a, b string) bool {
	a, b = strings.ToLower(a), strings.ToLower(b)
	if min(len(a), len(b)) < 4 {
		return a == b
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+yes(a[i] != b[j]))
		}
	}
	return row[len(b)] <= 1+yes(min(len(a), len(b)) >= 8)
}
