package scaler

import "slices"

// kinds says which kinds of a team an expression accepts.
type kinds struct{ ephemeral, persistent bool }

func (k kinds) count() int {
	n := 0
	if k.ephemeral {
		n++
	}
	if k.persistent {
		n++
	}
	return n
}

// share is the part of a shortfall that one team has to serve.
type share struct {
	n int
	k kinds
}

// alive reports whether a container of the agent's pod may still run.
func (m *agent) alive() bool {
	return m.Pod != nil && !m.Pod.Ended() && !m.stuck
}

// counts reports whether the agent's pod counts to the caps. A pod that Bellboard has deleted does not count:
// the agent was idle, and the pod is gone in a few seconds. So the next build need not wait for the end of
// the pod. A deleted pod on a cache slot does count: the next agent is to get that slot, and not an empty
// one.
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
	case Busy:
		return m.verdict.Do == "" || m.Kind == Ephemeral
	case Cut:
		return m.mark() == NotMarked || m.Kind == Ephemeral
	case Draining:
		return m.Kind == Ephemeral
	case FenceInTheWay, Ended, Fenced, Held, Leaving, Going, Stuck, Drained, Ghost, Berth, Intruder, Lost, Stray:
	}
	return false
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
		if m.stuck {
			a.stuck++
		}
		switch m.verdict.Class {
		case Busy, Draining, Cut:
			a.dec.Busy += max(1, m.Node.Busy)
			a.dec.Free += m.capacity()
		case Free:
			a.dec.Free += m.capacity()
		case Coming, Reconnecting:
			a.dec.Coming += m.capacity()
			a.coming[m.Kind] += m.capacity()
			if m.overdue {
				a.dec.Overdue += m.size()
			}
		case Ended, Leaving, Stuck, Ghost, Fenced:
			if m.Pod != nil && !m.Pod.DeletingByUs {
				a.gone[m.Kind]++
			}
		case FenceInTheWay, Resuming, Awaited, Held, Going, Drained, Berth, Intruder, Lost, Stray:
		}
	}
	for _, s := range d.supply {
		if s.pool != nil && byTeam[s.pool.Team] != nil {
			byTeam[s.pool.Team].surplus[s.pool.Kind] += s.free
		}
	}
	for _, a := range byTeam {
		a.dec.Alive = a.total(a.alive)
	}
	return alive
}

// share gives the waiting items of each expression to the team that has to serve them. Among the teams that
// fit, the team with the fewest labels comes first, then the team with the higher PRIORITY, then the name
// decides. share skips teams whose limits leave no room.
func (d *decider) share(teams []*ask, byTeam map[string]*ask) {
	order := slices.Clone(teams)
	slices.SortFunc(order, func(a, b *ask) int { return teamOrder(a.t, b.t) })
	for i, a := range order {
		a.rank = i
	}
	f := fitting{supply: d.supply, byTeam: byTeam, accepts: make([]kinds, len(order))}
	out := unserved{}
	demands := slices.Clone(d.demands)
	slices.SortStableFunc(demands, func(a, b *demand) int { return a.oldest.Compare(b.oldest) })
	for _, w := range demands {
		fit, accept := f.of(w)
		if len(fit) == 0 {
			for _, i := range w.items[:w.left] {
				out.note(&d.in.Jenkins.Items[i], w.key(), w.text, noTeamText(w.text, w.inferred))
			}
			continue
		}
		d.shareOne(w, fit, accept)
	}
	for i := range d.in.Jenkins.Items {
		if it := &d.in.Jenkins.Items[i]; !d.unlabelled && it.State == Buildable && it.Resolution == Unlabelled {
			out.note(it, "", "", unlabelledText)
		}
	}
	d.plan.Unserved = out.sorted()
	d.countWaits()
}

// shareOne gives the items of one demand to the teams that fit it.
func (d *decider) shareOne(w *demand, fit []*ask, accept []kinds) {
	first := fit[0]
	left, veto := d.offered(w)
	kept := w.left - left
	first.dec.Waiting += len(w.items) - w.left
	first.dec.Oldest = max(first.dec.Oldest, d.in.Now.Sub(w.oldest))
	for _, i := range w.items {
		it := &d.in.Jenkins.Items[i]
		d.note(it.ID, func(m *ItemMemory) { m.Waiting = Waiting{Team: first.t.Name, Since: it.Since} })
	}
	give := func(a *ask, k kinds, n int) {
		if n <= 0 {
			return
		}
		a.shares = append(a.shares, share{n: n, k: k})
		a.dec.Waiting += n
		a.dec.Short += n
	}
	for i, a := range fit {
		k, size := Ephemeral, 1
		if !accept[i].ephemeral {
			k, size = Persistent, a.size(Persistent)
		}
		n := min(left, a.room(accept[i])*size)
		give(a, accept[i], n)
		a.promised[k] += agentsFor(n, size)
		left -= n
	}
	give(first, accept[0], left) // beyond every team's room: the first team's decision shows the limit
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

// fitting finds the teams that fit a demand.
type fitting struct {
	supply  []*supply
	byTeam  map[string]*ask
	accepts []kinds // by the team's rank; all zero between two calls of of
	fit     []*ask
	accept  []kinds
}

// of returns the teams that fit the demand, in the order of teamOrder, and which of their kinds fit. The
// caller may use both lists until the next call.
func (f *fitting) of(w *demand) ([]*ask, []kinds) {
	f.fit, f.accept = f.fit[:0], f.accept[:0]
	for _, i := range w.fits {
		p := f.supply[i].home
		if p == nil {
			continue
		}
		a := f.byTeam[p.Team]
		k := &f.accepts[a.rank]
		if *k == (kinds{}) {
			f.fit = append(f.fit, a)
		}
		k.ephemeral = k.ephemeral || p.Kind == Ephemeral
		k.persistent = k.persistent || p.Kind == Persistent
	}
	slices.SortFunc(f.fit, func(a, b *ask) int { return a.rank - b.rank })
	for _, a := range f.fit {
		f.accept = append(f.accept, f.accepts[a.rank])
		f.accepts[a.rank] = kinds{}
	}
	return f.fit, f.accept
}

// countWaits adds a fact for each item that a team had to serve, and that since the last tick left the queue
// or got an executor: how long the item waited.
func (d *decider) countWaits() {
	there := make(map[int64]bool, len(d.in.Jenkins.Items))
	for i := range d.in.Jenkins.Items {
		it := &d.in.Jenkins.Items[i]
		if it.State != Pending {
			there[it.ID] = true
		}
	}
	gone := make([]int64, 0)
	for id, was := range d.in.Memory.Items {
		switch {
		case was.Waiting.Team == "":
		case !there[id]:
			gone = append(gone, id)
		case d.mem.Items[id].Waiting.Team == "":
			d.note(id, func(m *ItemMemory) { m.Waiting = was.Waiting })
		}
	}
	slices.Sort(gone)
	for _, id := range gone {
		w := d.in.Memory.Items[id].Waiting
		d.facts.Waits = append(d.facts.Waits, Wait{Team: w.Team, Took: d.in.Jenkins.AnsweredAt.Sub(w.Since)})
	}
}
