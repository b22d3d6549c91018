package scaler

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// creation is a number of agents to make, of one kind and for one reason.
type creation struct {
	kind Kind
	why  Reason
	n    int
}

// creations lists the agents to make, the most urgent first. A limit keeps the beginning of the list.
type creations []creation

// newCreations returns a creation of zero agents for each kind and reason, in the order of urgency.
func newCreations() creations {
	return creations{
		{Persistent, ReasonMinimum, 0},
		{Ephemeral, ReasonMinimum, 0},
		{Persistent, ReasonDemand, 0},
		{Ephemeral, ReasonDemand, 0},
		{Persistent, ReasonSpare, 0},
		{Ephemeral, ReasonSpare, 0},
		{Persistent, ReasonForecast, 0},
		{Ephemeral, ReasonForecast, 0},
	}
}

func (c creations) add(k Kind, why Reason, n int) {
	for i := range c {
		if c[i].kind == k && c[i].why == why {
			c[i].n += n
		}
	}
}

// count returns how many agents the creations have for which of returns true.
func (c creations) count(of func(creation) bool) int {
	n := 0
	for _, x := range c {
		if of(x) {
			n += x.n
		}
	}
	return n
}

// keep keeps the first agents, at most so many, of the creations for which of returns true. keep returns how
// many agents it cut off, and how many of these have builds waiting for them.
func (c creations) keep(of func(creation) bool, most int) (cut, waited int) {
	most = max(0, most)
	for i := range c {
		if !of(c[i]) {
			continue
		}
		over := max(0, c[i].n-most)
		c[i].n -= over
		most -= c[i].n
		cut += over
		if c[i].why == ReasonDemand {
			waited += over
		}
	}
	return cut, waited
}

func anyCreation(creation) bool { return true }

// soft reports whether the team's step and cooldown slow this creation down.
func soft(c creation) bool { return c.why == ReasonDemand }

func aheadOfBuild(c creation) bool { return c.why == ReasonForecast }

func ofKind(k Kind) func(creation) bool { return func(c creation) bool { return c.kind == k } }

// ask is one team during a decision: what the team has, what it needs, and what the limits allow of that.
type ask struct {
	t        *Team
	dec      Decision
	alive    map[Kind]int    // pods that count to the caps
	stay     map[Kind]int    // agents that are not on their way out
	coming   map[Kind]int    // executors of agents on their way
	gone     map[Kind]int    // agents on their way out, but not because of a rule
	surplus  map[Kind]int    // free and coming executors that no waiting item takes
	accepts  kinds           // which of the team's kinds fit the demand that is being shared
	short    map[kinds][]int // items that the team has to serve, by the kinds that they accept
	promised map[Kind]int    // agents that these items need (Ephemeral: those of either kind too)
	up       creations
	pause    map[Kind]Pause         // the back-off of each kind's pool
	cooldown map[Kind]time.Duration // while it is not over, only minimums, spares and replacements are made
	granted  int                    // agents that BELLBOARD_MAX_AGENTS allows, once the teams share them
	crowd    int                    // agents that builds wait for, and that only MAX_AGENTS forbids
	stuck    int                    // pods that do not go away: see stuckPod
	uses     int                    // agents that have just begun a build after they had waited for it
	slots    int                    // cache slots
	veto     *Vetoed                // set if the label of items that have or get an agent is not certain
	departs  departing
	weighed  *TeamMemory  // what the next tick knows of the team
	due      map[Kind]int // agents that are to be there for builds that are about to come
}

func (a *ask) total(m map[Kind]int) int { return m[Ephemeral] + m[Persistent] }

// ups returns how many agents of that kind the creations have.
func (a *ask) ups(k Kind) int {
	n := 0
	for i := range a.up {
		if a.up[i].kind == k {
			n += a.up[i].n
		}
	}
	return n
}

func (a *ask) allUps() int { return a.up.count(anyCreation) }

// size returns how many builds an agent of that kind runs at once.
func (a *ask) size(k Kind) int { return a.t.Pool(k).size() }

// agentsFor returns how many agents of size executors n builds need.
func agentsFor(n, size int) int { return (max(n, 0) + size - 1) / size }

// step records that a rule changed a number from one value to another.
func (a *ask) step(s Step, from, to int) {
	s.From, s.To = from, to
	s.Note = s.note()
	a.dec.Steps = append(a.dec.Steps, s)
}

// up is stage 3: it shares the shortfall among the teams, turns the shares into creations, and limits these.
func (d *decider) up() []*ask {
	teams, byTeam := make([]*ask, 0, len(d.in.Teams)), make(map[string]*ask, len(d.in.Teams))
	for i := range d.in.Teams {
		a := d.newAsk(&d.in.Teams[i])
		teams = append(teams, a)
		byTeam[a.t.Name] = a
	}
	d.asks = byTeam
	alive := d.tally(byTeam)
	d.share(teams, byTeam)
	for _, a := range teams {
		d.weigh(a)
		a.want()
		d.limits(a)
	}
	d.shareGlobal(teams, alive)
	d.create(teams)
	for _, a := range teams {
		a.weighed.Made += a.up.count(soft)
		d.mem.Teams[a.t.Name] = *a.weighed
	}
	return teams
}

// newAsk returns a team with what earlier ticks say of it.
func (d *decider) newAsk(t *Team) *ask {
	a := &ask{
		t: t, alive: map[Kind]int{}, stay: map[Kind]int{}, coming: map[Kind]int{}, gone: map[Kind]int{},
		surplus: map[Kind]int{}, short: map[kinds][]int{}, promised: map[Kind]int{}, due: map[Kind]int{}, up: newCreations(),
		pause: map[Kind]Pause{}, cooldown: map[Kind]time.Duration{},
		departs: departing{renewed: map[outdated]int{}},
		dec:     Decision{Team: t.Name, Scheduled: t.Scheduled, Up: map[Kind]int{}, Down: map[Kind]int{}, Renew: map[Kind]int{}},
	}
	for _, k := range Kinds() {
		p := d.pooled.of(PoolID{t.Name, k})
		a.pause[k] = d.pauseOf(PoolID{t.Name, k}, &p.Backoff)
		if len(p.Starts.Last) > 0 {
			a.dec.Usual = append(a.dec.Usual, p.Starts.Usual)
		}
		if !p.Up.IsZero() {
			a.cooldown[k] = max(0, t.ScaleUpCooldown-d.in.Now.Sub(p.Up))
		}
	}
	return a
}

// floorKind returns the kind of the agents that MIN_AGENTS asks for.
func (t *Team) floorKind() Kind {
	if t.Mode == ModeEphemeral {
		return Ephemeral
	}
	return Persistent
}

// want adds the creations that the team would get if no limit applied.
func (a *ask) want() {
	t := a.t
	if t.Paused {
		a.dec.Want = a.total(a.stay) + a.dec.Short
		if a.dec.Short > 0 {
			a.step(Step{Rule: RulePaused}, a.dec.Short, 0)
		}
		return
	}
	floor, spare, size := t.floorKind(), Ephemeral, a.size(Persistent)
	if t.Mode == ModePersistent {
		spare = Persistent
	}
	missing := max(0, t.MinAgents-a.stay[floor])
	// In mode auto, items that accept either kind get persistent agents up to the level and the minimum.
	below := func(keep int) int { return max(0, keep-a.stay[Persistent]-a.ups(Persistent)) }
	slack := 0 // executors of agents added here that no item takes yet
	// serve adds agents for the n items of one share.
	serve := func(accepts kinds, n int) {
		add := func(k Kind, agents int) {
			a.up.add(k, ReasonDemand, agents)
			if k == Persistent {
				slack += max(0, agents*size-n)
				agents *= size
			}
			n = max(0, n-agents)
		}
		if accepts.persistent {
			taken := min(n, slack)
			n, slack = n-taken, slack-taken
		}
		switch accepts {
		case onlyEphemeral:
			add(Ephemeral, n)
		case onlyPersistent:
			add(Persistent, agentsFor(n, size))
		default:
			add(Persistent, a.persistentOf(a.try(agentsFor(n, size), below(max(a.dec.Level, t.MinAgents)))))
			add(Persistent, a.instead(n))
			add(Ephemeral, n)
		}
	}
	for _, accepts := range []kinds{onlyEphemeral, onlyPersistent, eitherKind} {
		for _, n := range a.short[accepts] {
			serve(accepts, n)
		}
	}
	// Agents that are missing from the minimum serve waiting items like any other agent, and are made first.
	// No step and no cooldown delays them.
	serving := min(missing, a.ups(floor))
	a.up.add(floor, ReasonDemand, -serving)
	a.up.add(floor, ReasonMinimum, missing)
	beyond := a.total(a.surplus) + slack + (missing-serving)*a.size(floor)
	a.up.add(spare, ReasonSpare, agentsFor(t.MinIdle-beyond, a.size(spare)))
	a.aheadOfBuilds(max(beyond, t.MinIdle))
	a.dec.Want = a.total(a.stay) + a.allUps()
}

// limits applies the rules between what a team wants and what it gets, in their order. Nothing else forbids
// an agent that want added, except BELLBOARD_MAX_AGENTS (see shareGlobal). room estimates what these rules
// will allow, for the choice of a team and a kind.
func (d *decider) limits(a *ask) {
	t := a.t
	if d.quiet {
		a.limit(Step{Rule: RuleQuietDown}, anyCreation, 0)
	}
	for _, k := range Kinds() {
		if p := a.pause[k]; p.limits() {
			a.limit(Step{Rule: RuleBackoff, Pause: &p}, ofKind(k), p.May)
		}
		if left := a.cooldown[k]; left > 0 {
			replace := a.gone[k] + d.in.Memory.Pools[PoolID{t.Name, k}].Unmade
			of := func(c creation) bool { return c.kind == k && soft(c) }
			had := a.ups(k)
			if cut, _ := a.up.keep(of, replace); cut > 0 {
				a.step(Step{Rule: RuleScaleUpCooldown, Left: left}, had, had-cut)
			}
		}
	}
	persistent := Step{Rule: RuleMaxPersistent, Limit: t.MaxPersistent}
	a.limit(persistent, ofKind(Persistent), t.MaxPersistent-a.alive[Persistent])
	if t.ScaleUpStep > 0 {
		a.limit(Step{Rule: RuleScaleUpStep, Limit: t.ScaleUpStep}, soft, t.ScaleUpStep)
	}
	a.dec.MaxAgents = t.MaxAgents
	all := Step{Rule: RuleMaxAgents, Limit: t.MaxAgents, Want: a.dec.Want}
	a.crowd = a.limit(all, anyCreation, t.MaxAgents-a.total(a.alive))
}

// limit applies one rule, and returns how many of the agents that the rule forbids have builds waiting for
// them.
func (a *ask) limit(s Step, of func(creation) bool, most int) (waited int) {
	had := a.up.count(of)
	cut, waited := a.up.keep(of, most)
	if cut > 0 {
		a.step(s, had, had-cut)
	}
	return waited
}

// room returns how many more agents the team's limits allow for the demand that is being shared, beyond those
// that are already promised. If there is no room, another team that fits gets the items.
func (a *ask) room() int {
	if a.t.Paused {
		return 0
	}
	most, may := a.t.MaxAgents-a.total(a.alive)-a.total(a.promised), 0
	if a.accepts.ephemeral {
		may = min(a.pause[Ephemeral].May, most)
	} else {
		most = min(most, a.t.MaxPersistent-a.alive[Persistent]-a.promised[Persistent])
	}
	if a.accepts.persistent {
		may += min(a.pause[Persistent].May, most)
	}
	return max(0, min(most, may))
}

// persistentRoom returns how many more persistent agents the limits allow. Beyond that, items that accept
// either kind get ephemeral agents.
func (a *ask) persistentRoom() int {
	return max(0, min(a.pause[Persistent].May, a.t.MaxPersistent-a.alive[Persistent])-a.ups(Persistent))
}

// instead returns how many persistent agents to make for n items that accept either kind, if ephemeral agents
// fail and persistent ones do not.
func (a *ask) instead(n int) (persistent int) {
	over := n - max(0, a.pause[Ephemeral].May-a.ups(Ephemeral))
	made := min(agentsFor(over, a.size(Persistent)), a.persistentRoom())
	if made > 0 {
		p := a.pause[Ephemeral]
		a.step(Step{Rule: RuleFallback, Pause: &p}, n, max(0, n-made*a.size(Persistent)))
	}
	return made
}

// persistentOf returns how many of n persistent agents are made for items that accept either kind. The others
// are made ephemeral, because there is no room or because persistent agents fail.
func (a *ask) persistentOf(n int) int {
	room := a.persistentRoom()
	if n <= room {
		return n
	}
	p := a.pause[Persistent]
	if p.limits() && max(0, p.May-a.ups(Persistent)) <= room && a.pause[Ephemeral].May > a.ups(Ephemeral) {
		a.step(Step{Rule: RuleFallback, Pause: &p}, n, room)
	}
	return room
}

// limits reports whether the pool backs off.
func (p *Pause) limits() bool { return p.May < math.MaxInt }

// pauseOf returns what the pool's back-off allows now.
func (d *decider) pauseOf(id PoolID, b *Backoff) Pause {
	if !b.pauses() {
		return Pause{Kind: id.Kind, May: math.MaxInt}
	}
	p := Pause{Kind: id.Kind, Failure: b.Failure, Left: max(0, b.Until.Sub(d.in.Now)), Came: b.Came}
	if p.Left == 0 {
		n, more := d.unproven(id, b)
		p.Probes, p.May = n, yes(more)
	}
	return p
}

// shareGlobal shares the agents that BELLBOARD_MAX_AGENTS still allows among the teams that want more: by
// PRIORITY, and among equal teams each next agent to the team with the fewest agents.
func (d *decider) shareGlobal(teams []*ask, alive int) {
	room, want := max(0, d.in.MaxAgents-alive), 0
	for _, a := range teams {
		want += a.allUps()
	}
	if want <= room {
		return
	}
	for _, a := range teams { // a place for an agent without a build would be missing for a build
		a.limit(Step{Rule: RuleGlobalMax, Limit: d.in.MaxAgents}, aheadOfBuild, 0)
	}
	hungry := slices.DeleteFunc(slices.Clone(teams), func(a *ask) bool { return a.allUps() == 0 })
	for ; room > 0 && len(hungry) > 0; room-- {
		next := slices.MinFunc(hungry, func(a, b *ask) int {
			agents := a.dec.Alive + a.granted - b.dec.Alive - b.granted
			return cmp.Or(b.t.Priority-a.t.Priority, agents, strings.Compare(a.t.Name, b.t.Name))
		})
		if next.granted++; next.granted == next.allUps() {
			hungry = slices.DeleteFunc(hungry, func(a *ask) bool { return a == next })
		}
	}
	for _, a := range teams {
		d.crowd += a.limit(Step{Rule: RuleGlobalMax, Limit: d.in.MaxAgents}, anyCreation, a.granted)
	}
}

// create turns creations into actions. Pools take turns: a tick may have no time for all agents, and then no
// pool waits for all agents of another pool.
func (d *decider) create(teams []*ask) {
	var pools [][]Action
	all := 0
	for _, a := range teams {
		for _, k := range []Kind{Persistent, Ephemeral} {
			if a.dec.Up[k] = a.ups(k); a.dec.Up[k] > 0 {
				pools = append(pools, d.createIn(a, k))
				all += a.dec.Up[k]
			}
		}
	}
	if all > 0 {
		d.plan.Actions = slices.Grow(d.plan.Actions, all+len(d.agents)) // upkeep adds some for agents that are there
	}
	for turn := 0; len(pools) > 0; turn++ {
		for _, p := range pools {
			d.plan.Actions = append(d.plan.Actions, p[turn])
		}
		pools = slices.DeleteFunc(pools, func(p []Action) bool { return len(p) == turn+1 })
	}
}

// createIn returns the creations of one pool as actions. Free berths are used first, then new names.
func (d *decider) createIn(a *ask, k Kind) []Action {
	id := PoolID{a.t.Name, k}
	out, berths := make([]Action, 0, a.dec.Up[k]), d.freeBerths(id)
	for _, c := range a.up {
		if c.kind != k || c.n == 0 {
			continue
		}
		act := Action{Verb: Create, Pool: id, Reason: c.why, Text: a.creationText(c.why)}
		act.Spare = c.why == ReasonSpare || c.why == ReasonForecast || a.dec.Short == 0
		for range c.n {
			act.Agent, act.Slot = "", d.takeSlot(id)
			if len(berths) > 0 {
				d.left[berths[0]] = true
				act.Agent, berths = berths[0].Name, berths[1:]
			}
			out = append(out, act)
		}
		if soft(c) && a.cooldown[k] == 0 {
			d.pooled.of(id).Up = d.in.Now
		}
	}
	d.pooled.of(id).Down = d.in.Now
	return out
}
