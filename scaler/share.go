package scaler

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// kinds says which kinds of a team an expression accepts.
type kinds struct{ ephemeral, persistent bool }

var (
	onlyEphemeral  = kinds{ephemeral: true}
	onlyPersistent = kinds{persistent: true}
	eitherKind     = kinds{ephemeral: true, persistent: true}
)

// alive reports whether a container of the agent's pod may still run.
func (m *agent) alive() bool {
	return m.Pod != nil && !m.Pod.Ended() && !m.stuck
}

// counts reports whether the agent's pod counts to the caps. A pod that Bellboard has deleted does not: the
// agent was idle, and the pod is gone in a few seconds, which the next build need not wait for. On a cache
// slot it does count: the next agent is to get that slot, and not an empty one.
func (m *agent) counts() bool { return m.alive() && (!m.Pod.DeletingByUs || m.Pod.Slot != "") }

// stays reports whether the agent is not on its way out. An ephemeral agent that runs a build stays: the end
// of its build is not a scale-down.
func (m *agent) stays() bool {
	if m.Pod == nil || m.pool == nil || m.retired {
		return false
	}
	switch m.verdict.Class {
	case Awaited, Resuming:
		return true
	case Coming, Free, Reconnecting:
		return m.capacity() > 0
	case Busy, Draining, Cut:
		return m.Kind == Ephemeral || m.mark() == NotMarked && m.verdict.Do == ""
	default:
		return false
	}
}

// tally counts the agents of each team, and returns how many pods count to the caps in all.
func (d *decider) tally(byTeam map[string]*ask) (alive int) {
	for _, m := range d.agents {
		if m.counts() {
			alive++
		}
		a := byTeam[m.Team]
		if a == nil {
			continue
		}
		if m.counts() {
			a.alive[m.Kind]++
		}
		if m.stays() {
			a.stay[m.Kind]++
		}
		a.stuck += yes(m.stuck)
		a.uses += yes(d.useOfFree(m))
		if m.online() {
			a.dec.Free += m.capacity()
		} else {
			a.coming[m.Kind] += m.capacity()
		}
		if m.overdue {
			a.dec.Overdue += m.size()
		}
		switch m.verdict.Class {
		case Busy, Draining, Cut:
			a.dec.Busy += max(1, m.Node.Busy)
		case Ended, Leaving, Stuck, Ghost, Fenced:
			if m.Pod != nil && !m.Pod.DeletingByUs {
				a.gone[m.Kind]++
			}
		default:
		}
	}
	for _, s := range d.slots {
		if s.pool != nil && !s.Deleting {
			byTeam[s.Team].slots++
		}
	}
	for _, s := range d.supply {
		if s.pool != nil && byTeam[s.pool.Team] != nil {
			byTeam[s.pool.Team].surplus[s.pool.Kind] += s.free
		}
	}
	for _, a := range byTeam {
		a.dec.Alive, a.dec.Coming = a.total(a.alive), a.total(a.coming)
	}
	return alive
}

// TeamOrder compares two teams that could serve the same shortfall. The team with the fewest labels comes
// first, then the team with the higher PRIORITY, then the name decides.
func TeamOrder(x, y *Team) int {
	return cmp.Or(len(x.Labels)-len(y.Labels), y.Priority-x.Priority, strings.Compare(x.Name, y.Name))
}

// share gives the waiting items of each expression to the team that has to serve them: the first team in
// TeamOrder that fits. share skips teams whose limits leave no room.
func (d *decider) share(teams []*ask, byTeam map[string]*ask) {
	teams, items := slices.SortedFunc(slices.Values(teams), func(a, b *ask) int { return TeamOrder(a.t, b.t) }), d.in.Jenkins.Items
	demands := slices.Clone(d.demands)
	slices.SortStableFunc(demands, func(a, b *demand) int { return a.oldest.Compare(b.oldest) })
	looked := 0                                                                // groups for which the nearest team was looked for
	fit, names := make([]*ask, 0, len(teams)), make([]string, 0, len(demands)) // names of all demands
	d.plan.Demands = make([]Demand, 0, len(demands))
	for _, w := range demands {
		for _, a := range teams {
			a.accepts = kinds{}
		}
		for _, s := range w.fits {
			if p := s.home; p != nil {
				k := &byTeam[p.Team].accepts
				k.ephemeral = k.ephemeral || p.Kind == Ephemeral
				k.persistent = k.persistent || p.Kind == Persistent
			}
		}
		fit = fit[:0]
		first := len(names)
		for _, a := range teams {
			if a.accepts != (kinds{}) {
				fit, names = append(fit, a), append(names, a.t.Name)
			}
		}
		d.demand(w, slices.Clip(names[first:]))
		if len(fit) > 0 {
			d.shareOne(w, fit)
			continue
		}
		if w.left == 0 {
			continue
		}
		w.nobody = &Unserved{Label: w.text, Text: noTeamText(w.text, w.inferred)}
		for _, i := range w.items[:w.left] {
			w.nobody.add(&items[i], d.in.Now.Sub(w.oldest))
		}
		if looked < nearMost {
			looked++
			w.nobody.Near = nearest(w.expr, teams)
		}
	}
	d.unserved()
}

// unserved adds the groups of items that no team serves to the plan: those without a label, and then by demand.
func (d *decider) unserved() {
	var unlabelled, unresolved Unserved
	for i := range d.in.Jenkins.Items {
		switch it := &d.in.Jenkins.Items[i]; {
		case it.State != Buildable:
		case it.Resolution == Unresolved:
			unresolved.add(it, d.in.Now.Sub(it.Since))
		case it.Resolution == Unlabelled && !d.unlabelled:
			unlabelled.add(it, d.in.Now.Sub(it.Since))
		}
	}
	if unlabelled.Count > 0 {
		unlabelled.Text = unlabelledText
		d.plan.Unserved = append(d.plan.Unserved, unlabelled)
	}
	for _, w := range d.demands {
		if w.nobody != nil {
			d.plan.Unserved = append(d.plan.Unserved, *w.nobody)
		}
	}
	if unresolved.Count > 0 {
		unresolved.Text = unresolvedText(unresolved.Why)
		d.plan.Unresolved = []Unserved{unresolved}
	}
}

// shareOne gives the items of one demand to the teams that fit it, the first of which shows what is vetoed or
// has no room.
func (d *decider) shareOne(w *demand, fit []*ask) {
	first := fit[0]
	left, veto := d.offered(w)
	kept := w.left - left
	first.dec.Waiting += len(w.items) - w.left
	for _, i := range w.items {
		d.items[i].Waiting.Team = first.t.Name
		first.dec.Oldest = max(first.dec.Oldest, d.in.Now.Sub(d.items[i].Waiting.Since))
	}
	give := func(a *ask, n int) {
		a.short[a.accepts] = append(a.short[a.accepts], n)
		a.dec.Waiting += n
		a.dec.Short += n
	}
	for _, a := range fit {
		k := Ephemeral
		if !a.accepts.ephemeral {
			k = Persistent
		}
		n := min(left, a.room()*a.size(k))
		give(a, n)
		a.promised[k] += agentsFor(n, a.size(k))
		left -= n
	}
	give(first, left) // beyond every team's room
	switch {
	case kept > 0:
		first.dec.Waiting += kept
		first.dec.Short += kept
		first.dec.Vetoed += kept
		first.step(Step{Rule: RuleVetoed, Veto: veto}, w.left, w.left-kept)
	case veto != nil:
		first.veto = veto
	}
}

// add adds an item that waits for so long to the group.
func (g *Unserved) add(it *Item, waits time.Duration) {
	if g.Count == 0 {
		g.Why, g.Jobs = it.Why, make([]string, 0, 3)
	}
	g.Count++
	g.Oldest = max(g.Oldest, waits)
	if len(g.Jobs) < cap(g.Jobs) && !slices.Contains(g.Jobs, it.Job) {
		g.Jobs = append(g.Jobs, it.Job)
	}
}
