package scaler

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// RoomAfter is how long an agent is idle before it gives up its place under a full cap to other builds.
const RoomAfter = 30 * time.Second

// departing counts the agents of a team that go in this tick, by their reason.
type departing struct {
	made    int              // they give up their places for builds that wait because of a full cap
	emptied int              // they go after their builds, since the other agents have room for builds
	renewed map[outdated]int // they are to be replaced
}

// outdated says why an agent is to be replaced by a new one.
type outdated struct {
	settings bool          // the agent was made from settings that have changed
	lifetime time.Duration // the agent is older than this MAX_LIFETIME; zero: it is not
}

// down is stage 4: it marks the agents that no rule needs. down is the counterpart of up, and never shrinks a
// pool that grows in the same tick.
func (d *decider) down(teams []*ask) {
	if d.grace || d.quiet {
		return
	}
	d.makingRoom(teams)
	byPriority := slices.Clone(teams)
	slices.SortStableFunc(byPriority, func(a, b *ask) int { return a.t.Priority - b.t.Priority })
	for _, a := range byPriority {
		for _, k := range []Kind{Persistent, Ephemeral} {
			if p := a.t.Pool(k); p != nil && !a.t.Paused && a.dec.Up[k] == 0 {
				d.poolDown(a, p)
			}
		}
	}
	for _, a := range teams {
		if !a.t.Paused {
			d.renew(a)
		}
	}
}

// makingRoom reduces the number of agents that builds wait for because of a full cap. makingRoom subtracts
// the agents whose places become free soon anyway.
func (d *decider) makingRoom(teams []*ask) {
	freed := map[string]int{}
	for _, m := range d.agents {
		c := m.verdict.Class
		goes := c == Drained || c == Going || c == Fenced || c == Leaving && m.idle() || m.retired && c == Free
		if goes && m.counts() {
			freed[m.Team]++
			d.crowd--
		}
	}
	for _, a := range teams {
		a.crowd -= freed[a.t.Name]
	}
}

// poolDown marks the agents that have been idle for IDLE_TIMEOUT, the longest idle first, as far as the
// minimums allow. While a full cap keeps builds waiting, agents that have been idle for RoomAfter go too, as
// many as builds wait for.
//
// Agents that run several builds at once are hardly ever idle. So poolDown also marks the agent at work with
// the fewest builds, if the other agents have had room for its builds for IDLE_TIMEOUT.
func (d *decider) poolDown(a *ask, p *Pool) {
	t, k, size, pool := a.t, p.Kind, p.size(), d.pooled.of(p.PoolID)
	going, expired := d.idlest(a, p)
	emptiest := d.emptiest(a, p)
	if len(going) == 0 && emptiest != nil {
		going = append(going, emptiest)
	}
	// Like a limit of creations, limit keeps the beginning of the list.
	limit := func(s Step, to int) {
		if to = max(to, 0); to < len(going) {
			if s.Rule != "" {
				a.step(s, len(going), to)
			}
			going = going[:to]
		}
	}
	// Jenkins gives waiting builds the free executors before coming agents connect.
	limit(Step{}, (a.surplus[k]-a.coming[k])/size)
	if k == t.floorKind() {
		limit(Step{Rule: RuleMinAgents, Limit: t.MinAgents}, a.stay[k]-t.MinAgents)
	}
	limit(Step{Rule: RuleMinIdle, Limit: t.MinIdle}, (a.total(a.surplus)-t.MinIdle)/size)
	if len(going) > 0 && k == Persistent {
		left := t.ScaleDownCooldown - d.in.Now.Sub(cmp.Or(pool.Down, d.mem.Started))
		if left > 0 {
			limit(Step{Rule: RuleScaleDownCooldown, Left: left}, 0)
		} else {
			pool.Down = d.in.Now
		}
	}
	for i, m := range going {
		d.left[m] = true
		a.crowd--
		d.crowd--
		a.surplus[k] -= m.capacity()
		a.stay[k]--
		a.dec.Down[k]++
		if m == emptiest {
			pool.Roomy = time.Time{}
			a.departs.emptied++
			d.act(Mark, m, ReasonRoom, roomText)
			continue
		}
		crowded := i >= expired
		a.departs.made += yes(crowded)
		d.act(Mark, m, ReasonIdle, idleText(d.idleFor(m), crowded))
	}
}

// freeFor returns how long an agent of the pool is free before it may go.
func (p *Pool) freeFor() time.Duration { return cmp.Or(p.IdleTimeout, FreeAtLeast) }

// idlest returns the pool's agents that have been idle for IDLE_TIMEOUT, the longest idle first, and their
// number. Without IDLE_TIMEOUT these are the agents that are not worth keeping. While builds wait because of a
// full cap, agents that have been idle for RoomAfter are added, up to one for each of these builds.
func (d *decider) idlest(a *ask, p *Pool) (idle []*agent, expired int) {
	for _, m := range d.byPool[p.PoolID] {
		if d.mayGo(m, Free) && d.idleFor(m) >= min(p.freeFor(), RoomAfter) {
			idle = append(idle, m)
		}
	}
	slices.SortFunc(idle, func(x, y *agent) int {
		return cmp.Or(x.is.Free.Compare(y.is.Free), strings.Compare(x.Name, y.Name))
	})
	for expired < len(idle) && d.idleFor(idle[expired]) >= p.freeFor() {
		expired++
	}
	expired = max(0, min(expired, a.total(a.surplus)/p.size()-a.held(p)))
	n, crowd := expired, max(a.crowd, d.crowd)
	for n < min(len(idle), crowd) && d.idleFor(idle[n]) >= cmp.Or(min(p.IdleTimeout, RoomAfter), RoomAfter) {
		n++
	}
	return idle[:n], expired
}

// held returns how many free agents the policy keeps. IDLE_TIMEOUT does not end agents that were started ahead
// before their time is over: others would be started in their place.
func (a *ask) held(p *Pool) int {
	if p.IdleTimeout > 0 {
		return a.dec.Weighed.Ahead
	}
	return a.dec.Weighed.Hold
}

// idleFor returns how long an agent has been free.
func (d *decider) idleFor(m *agent) time.Duration { return d.in.Now.Sub(m.is.Free) }

// emptiest returns the agent at work that runs the fewest builds, if its pool has had an agent's worth of
// free executors for IDLE_TIMEOUT. Otherwise emptiest returns nil.
func (d *decider) emptiest(a *ask, p *Pool) *agent {
	if p.size() == 1 || a.surplus[p.Kind]-a.coming[p.Kind] < p.size() {
		return nil
	}
	since := cmp.Or(d.in.Memory.Pools[p.PoolID].Roomy, d.in.Now)
	d.pooled.of(p.PoolID).Roomy = since
	if d.in.Now.Sub(since) < cmp.Or(p.IdleTimeout, RoomAfter) || a.total(a.surplus)/p.size() <= a.held(p) {
		return nil
	}
	var out *agent
	for _, m := range d.byPool[p.PoolID] {
		if d.mayGo(m, Busy) && (out == nil || m.Node.Busy < out.Node.Busy) {
			out = m
		}
	}
	return out
}

// leaves reports whether a rule of this plan sends the agent away or takes its berth.
func (d *decider) leaves(m *agent) bool { return m.retired || d.left[m] }

// mayGo reports whether the agent is of that class, and nothing has been decided for it.
func (d *decider) mayGo(m *agent, c Class) bool {
	return m.verdict.Class == c && m.verdict.Do == "" && !d.leaves(m)
}

// renew marks the agents of a team that are older than MAX_LIFETIME, or that were made from settings that
// have changed: free agents first, then agents at work with the fewest builds, then the oldest. At most a
// tenth of a pool, or one agent, is on its way out at a time. Stage 3 makes new agents for what they served.
func (d *decider) renew(a *ask) {
	for i := range a.t.Pools {
		p := &a.t.Pools[i]
		var old []*agent
		pods, leaving := 0, 0
		for _, m := range d.byPool[p.PoolID] {
			switch {
			case !m.alive():
				continue
			case m.Kind == Ephemeral && m.verdict.Class == Draining && !d.leaves(m):
				// The agent goes after its build in any case, so it does not count as on its way out.
			case d.leaves(m), m.mark() == Ours, m.Pod.DeletingByUs:
				leaving++
			case (d.mayGo(m, Free) || d.mayGo(m, Busy) && m.Kind == Persistent) && d.outdated(m) != (outdated{}):
				old = append(old, m)
			}
			pods++
		}
		slices.SortFunc(old, func(x, y *agent) int {
			return cmp.Or(builds(x)-builds(y), x.Pod.Created.Compare(y.Pod.Created), strings.Compare(x.Name, y.Name))
		})
		for _, m := range old {
			if leaving >= max(1, pods/10) {
				break
			}
			if builds(m) == 0 && a.surplus[p.Kind] < m.capacity() {
				continue // a waiting build is about to take this agent
			}
			leaving++
			d.left[m] = true
			a.surplus[p.Kind] -= m.capacity()
			d.pooled.of(p.PoolID).Down = d.in.Now
			why := d.outdated(m)
			a.dec.Renew[p.Kind]++
			a.departs.renewed[why]++
			d.act(Mark, m, ReasonRenew, renewText(why))
		}
	}
}

// builds returns how many builds an agent runs.
func builds(m *agent) int {
	if m.verdict.Class == Free {
		return 0
	}
	return max(1, m.Node.Busy)
}

// outdated returns why an agent is to be replaced by a new one, and the zero value if it is not.
func (d *decider) outdated(m *agent) outdated {
	switch p := m.pool; {
	case p == nil:
	case p.MaxLifetime > 0 && d.in.Now.Sub(m.Pod.Created) >= p.MaxLifetime:
		return outdated{lifetime: p.MaxLifetime}
	default:
		return outdated{settings: p.Spec != "" && m.Pod.Spec != "" && m.Pod.Spec != p.Spec}
	}
	return outdated{}
}
