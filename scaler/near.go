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
	atoms := expr.Atoms()
	for _, a := range teams {
		for i := range a.t.Pools {
			if n := a.t.near(expr, atoms, a.t.Pools[i].Labels); n != nil && (best == nil || n.size() < best.size()) {
				best = n
			}
		}
	}
	return best
}

func (n *Near) size() int { return len(n.Lacks) + yes(n.Kind != "") }

// near returns which labels the agents with these labels lack.
func (t *Team) near(expr label.Expr, atoms, labels []string) *Near {
	var missing []string
	for _, atom := range atoms {
		if !slices.Contains(labels, atom) {
			missing = append(missing, atom)
		}
	}
	if len(missing) > mostLacks {
		return nil
	}
	least := t.least(expr, labels, missing)
	if least == nil {
		return nil
	}
	if least.Kind == "" && len(least.Lacks) == 1 {
		if i := slices.IndexFunc(t.Labels, func(l string) bool { return alike(l, least.Lacks[0]) }); i >= 0 {
			least.Meant = t.Labels[i]
		}
	}
	shared := slices.ContainsFunc(atoms, func(atom string) bool { return slices.Contains(t.Labels, atom) })
	if !shared && least.Meant == "" {
		return nil
	}
	return least
}

// least returns the fewest of the missing labels with which the agents would fit; nil: they never would.
func (t *Team) least(expr label.Expr, labels, missing []string) (least *Near) {
	for set := 1; set < 1<<len(missing); set++ {
		n := &Near{Team: t.Name}
		for i, atom := range missing {
			switch kind := Kind(atom); {
			case set>>i&1 == 0:
			case !slices.Contains(Kinds(), kind):
				n.Lacks = append(n.Lacks, atom)
			case t.Pool(kind) == nil:
				n.Kind = kind
			}
		}
		fits := bits.OnesCount(uint(set)) == n.size() && expr.Matches(func(atom string) bool {
			if n.Kind != "" && slices.Contains(Kinds(), Kind(atom)) {
				return Kind(atom) == n.Kind
			}
			return slices.Contains(labels, atom) || slices.Contains(n.Lacks, atom)
		})
		if fits && (least == nil || n.size() < least.size()) {
			least = n
		}
	}
	return least
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
