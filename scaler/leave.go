package scaler

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// RoomAfter is how long an agent is idle before it makes room under a full cap:
// there is no build for it, and others wait.
const RoomAfter = 30 * time.Second

// wantDown marks idle agents that nobody needs: the policy's only removals, and
// never in grace, in quiet-down, or in a pool that grows in this very tick.
func (d *decider) wantDown(a *account) {
	t := a.t
	if d.grace || d.quiet || t.Paused {
		return
	}
	for _, k := range []Kind{Persistent, Ephemeral} {
		if p := t.Pool(k); p != nil && a.dec.Up[k] == 0 {
			d.poolDown(a, p)
		}
	}
}

// makingRoom takes from the agents that a full cap keeps builds waiting for those
// whose place is about to be free anyway.
func (d *decider) makingRoom(byTeam map[string]*account) {
	for _, m := range d.pairs {
		if c := m.verdict.Class; m.counts() && (c == Drained || c == Going || c == Fenced || c == Leaving && m.idle() || m.left && c == Free) {
			d.crowd--
			if a := byTeam[m.Team]; a != nil {
				a.crowd--
			}
		}
	}
}

// poolDown marks what is idle for IDLE_TIMEOUT, most idle first, as far as the
// floors allow. While a full cap keeps builds waiting, as many of the others go that
// are idle for RoomAfter. Where agents run several builds at once few are ever idle: so it
// also empties the emptiest, when the others have had room for its builds as long.
func (d *decider) poolDown(a *account, p *Pool) {
	t, k := a.t, p.Kind
	idle, overdue := d.idlest(p, max(a.crowd, d.crowd))
	size := p.size()
	emptiest := d.emptiest(a, p)
	if len(idle) == 0 && emptiest != nil {
		idle = append(idle, emptiest)
	}
	n := len(idle)
	limit := func(r Rule, to int, noteText string) {
		to = max(to, 0)
		if to < n {
			if r != "" {
				a.step(r, n, to, noteText)
			}
			n = to
		}
	}
	// What waits is taken by the free ones before the coming ones are there.
	limit("", (a.surplus[k]-a.coming[k])/size, "")
	have := a.total(a.stay)
	if t.Mode == ModeAuto && k == Persistent {
		have = a.stay[Persistent]
	}
	if t.Mode != ModeAuto || k == Persistent {
		limit(RuleMinAgents, have-t.MinAgents, "")
	}
	if t.Mode == ModeAuto && k == Persistent {
		limit("", a.stay[Persistent]-a.dec.Level, "")
	}
	limit(RuleMinIdle, (a.total(a.surplus)-t.MinIdle)/size, "")
	if n == 0 {
		return
	}
	if k == Persistent {
		since := d.mem.Down[p.PoolID]
		if since.IsZero() {
			since = d.mem.Started
		}
		if left := t.ScaleDownCooldown - d.in.Now.Sub(since); left > 0 {
			limit(RuleScaleDownCooldown, 0, short(left)+" left")
			return
		}
		d.mem.Down[p.PoolID] = d.in.Now
	}
	for i, m := range idle[:n] {
		m.left = true
		a.crowd--
		d.crowd--
		a.surplus[k] -= m.verdict.Capacity
		a.stay[k]--
		a.dec.Down[k]++
		if m == emptiest {
			delete(d.mem.Roomy, p.PoolID)
			a.emptied++
			d.act(Mark, m, ReasonRoom, "the others have room for its builds, leaving")
			continue
		}
		text := "idle " + short(d.in.Now.Sub(d.mem.Free[m.Name]))
		if i >= overdue {
			a.made++
			text += " while builds wait for its place"
		}
		d.act(Mark, m, ReasonIdle, text+", leaving")
	}
}

// idlest are the pool's agents that are idle for IDLE_TIMEOUT, and of those that are
// idle for RoomAfter as many more as builds wait for a place: most idle first.
func (d *decider) idlest(p *Pool, crowd int) (idle []*member, overdue int) {
	for _, m := range d.byPool[p.PoolID] {
		if m.verdict.Class == Free && m.verdict.Do == "" && !m.left && d.in.Now.Sub(d.mem.Free[m.Name]) >= min(p.IdleTimeout, RoomAfter) {
			idle = append(idle, m)
		}
	}
	slices.SortFunc(idle, func(x, y *member) int {
		return cmp.Or(d.mem.Free[x.Name].Compare(d.mem.Free[y.Name]), strings.Compare(x.Name, y.Name))
	})
	for overdue < len(idle) && d.in.Now.Sub(d.mem.Free[idle[overdue].Name]) >= p.IdleTimeout {
		overdue++
	}
	return idle[:min(len(idle), max(overdue, crowd))], overdue
}

// emptiest is the agent at work that runs the fewest builds, when the pool has
// had an agent's worth of free executors for IDLE_TIMEOUT.
func (d *decider) emptiest(a *account, p *Pool) *member {
	if p.size() == 1 || a.surplus[p.Kind]-a.coming[p.Kind] < p.size() {
		return nil
	}
	since, ok := d.in.Memory.Roomy[p.PoolID]
	if !ok {
		since = d.in.Now
	}
	d.mem.Roomy[p.PoolID] = since
	if d.in.Now.Sub(since) < p.IdleTimeout {
		return nil
	}
	var out *member
	for _, m := range d.byPool[p.PoolID] {
		if m.verdict.Class == Busy && m.verdict.Do == "" && !m.left && (out == nil || m.Node.Busy < out.Node.Busy) {
			out = m
		}
	}
	return out
}

// expel marks an agent that has to go, at work or not: it finishes its build.
func (d *decider) expel(m *member, why Reason, text string) {
	if m.Node == nil || m.mark() == Ours || m.verdict.Do != "" || m.left {
		return
	}
	switch m.verdict.Class {
	case Free, Busy, Coming, Draining, Reconnecting:
		m.left, m.verdict.Capacity = true, 0
		d.act(Mark, m, why, text)
	case FenceInTheWay, Resuming, Awaited, Ended, Fenced, Held, Leaving, Going, Stuck, Drained, Cut, Ghost, Berth, Intruder, Lost, Stray:
	}
}

// expelAll drains the agents of paused teams, and those whose team, or whose
// kind in it, is gone. That comes before the matching: they serve nobody.
func (d *decider) expelAll() {
	if d.grace || d.quiet {
		return
	}
	for _, m := range d.pairs {
		switch {
		case m.Pod == nil:
		case m.pool == nil:
			d.expel(m, ReasonTeamGone, "its team is gone")
		case m.team.Paused:
			d.expel(m, ReasonPaused, "the team is paused")
		}
	}
}
