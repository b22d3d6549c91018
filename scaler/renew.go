package scaler

import (
	"cmp"
	"slices"
	"strings"
)

// renew marks the agents of a team that are older than MAX_LIFETIME, or made
// from settings that have changed since: free ones first, then those at work,
// which finish their builds, the oldest first. At most a tenth of a pool, or
// one, is on its way out for that at a time; what it served is made anew like
// any other shortfall.
func (d *decider) renew(a *account) {
	if d.grace || d.quiet || a.t.Paused {
		return
	}
	for i := range a.t.Pools {
		p := &a.t.Pools[i]
		old, pods, leaving := d.old(p.PoolID)
		for _, m := range old {
			if leaving >= max(1, pods/10) {
				break
			}
			if builds(m) == 0 && a.surplus[p.Kind] < m.verdict.Capacity {
				continue // a waiting build is about to take it
			}
			a.surplus[p.Kind] -= m.verdict.Capacity
			m.left = true
			leaving++
			d.pooled.of(p.PoolID).Down = d.in.Now
			why := d.outdated(m)
			a.dec.Renew[p.Kind]++
			a.renewed = append(a.renewed, why)
			d.act(Mark, m, ReasonRenew, why+", leaving")
		}
	}
}

// old are the agents of a pool that are to be renewed, in their order, beside how many pods
// it has and how many of them are on their way out.
func (d *decider) old(id PoolID) (old []*member, pods, leaving int) {
	for _, m := range d.byPool[id] {
		if m.Pod == nil || !m.alive() {
			continue
		}
		pods++
		switch {
		case m.Kind == Ephemeral && m.verdict.Class == Draining && !m.left:
			// It goes after its build in any case: nothing of the step.
		case m.left, m.mark() == Ours, m.Pod.DeletingByUs:
			leaving++
		case m.verdict.Do == "" && d.outdated(m) != "" && (m.verdict.Class == Free || m.verdict.Class == Busy && m.Kind == Persistent):
			old = append(old, m)
		}
	}
	slices.SortFunc(old, func(x, y *member) int {
		return cmp.Or(builds(x)-builds(y), x.Pod.Created.Compare(y.Pod.Created), strings.Compare(x.Name, y.Name))
	})
	return old, pods, leaving
}

// builds is how many builds an agent runs.
func builds(m *member) int {
	if m.verdict.Class == Free {
		return 0
	}
	return max(1, m.Node.Busy)
}

// outdated says why an agent is to be replaced by a new one; empty: it is not.
func (d *decider) outdated(m *member) string {
	age := d.in.Now.Sub(m.Pod.Created)
	switch {
	case m.pool.MaxLifetime > 0 && age >= m.pool.MaxLifetime:
		return "older than MAX_LIFETIME=" + short(m.pool.MaxLifetime)
	case m.pool.Spec != "" && m.Pod.Spec != "" && m.Pod.Spec != m.pool.Spec:
		return "made from settings that have changed"
	}
	return ""
}
