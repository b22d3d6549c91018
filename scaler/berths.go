package scaler

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// freeBerths are the pool's berths that may be taken: none of a Swarm pool.
func (d *decider) freeBerths(id PoolID) []*member {
	if p := d.pools[id]; p == nil || p.Connect != Inbound {
		return nil
	}
	var out []*member
	for _, m := range d.byPool[id] {
		if m.verdict.Class == Berth && !m.left {
			out = append(out, m)
		}
	}
	return out
}

// berths keeps BERTHS registered names per inbound pool, and at least two nodes
// that carry each pool's label set, so that Jenkins' sentences name labels.
func (d *decider) berths() {
	if d.in.Closing {
		return
	}
	have, carry := map[PoolID]int{}, map[PoolID]int{}
	for _, m := range d.pairs {
		switch {
		case m.spare():
			have[m.PoolID]++
		case m.carrier():
			carry[m.PoolID]++
		}
	}
	ids := slices.SortedFunc(maps.Keys(d.pools), func(a, b PoolID) int {
		return cmp.Or(strings.Compare(a.Team, b.Team), cmp.Compare(a.Kind, b.Kind))
	})
	for _, id := range ids {
		p := d.pools[id]
		want := max(p.Berths, 2-carry[id])
		if p.Connect == Swarm {
			want = 2
		}
		for range want - have[id] {
			d.plan.Actions = append(d.plan.Actions, Action{Verb: Register, Pool: id, Reason: ReasonBerths, Text: "keeps its labels known to Jenkins"})
		}
	}
}
