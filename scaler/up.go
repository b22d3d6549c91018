package scaler

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// creation is agents to make of one kind and for one reason.
type creation struct {
	kind Kind
	why  Reason
	n    int
}

// creations is what is to be made, the most urgent first: a limit keeps the head of the list.
type creations []creation

// newCreations is an empty list of each creation that there can be, in the order of urgency.
func newCreations() creations {
	return creations{
		{Persistent, ReasonMinimum, 0}, {Ephemeral, ReasonMinimum, 0}, {Persistent, ReasonDemand, 0}, {Ephemeral, ReasonDemand, 0},
		{Persistent, ReasonLevel, 0}, {Persistent, ReasonSpare, 0}, {Ephemeral, ReasonSpare, 0},
	}
}

func (c creations) add(k Kind, why Reason, n int) {
	for i := range c {
		if c[i].kind == k && c[i].why == why {
			c[i].n += max(n, 0)
		}
	}
}

// count is how many agents of such creations there are.
func (c creations) count(of func(creation) bool) int {
	n := 0
	for _, x := range c {
		if of(x) {
			n += x.n
		}
	}
	return n
}

func anyCreation(creation) bool { return true }

// soft creations are slowed by the step and the cooldown of a team.
func soft(c creation) bool { return c.why == ReasonDemand || c.why == ReasonLevel }

func ofKind(k Kind) func(creation) bool { return func(c creation) bool { return c.kind == k } }

// ask is one team on the way to its decision: what it has, what it is to make, and what
// becomes of that.
type ask struct {
	t        *Team
	dec      Decision
	alive    map[Kind]int // living pods
	stay     map[Kind]int // of them, those that are not leaving
	coming   map[Kind]int // executors that are on the way
	gone     map[Kind]int // agents on their way out that no rule decided about
	surplus  map[Kind]int // free or coming executors that no waiting item takes
	rank     int          // its place in teamOrder
	shares   []share
	promised map[Kind]int // room already promised to shares, by kind (ephemeral: any)
	up       creations
	pause    map[Kind]Pause // of each kind's pool
	cooling  map[Kind]bool  // in the scale-up cooldown: only minimums, spares and replacements
	crowd    int            // agents that builds wait for, and that only MAX_AGENTS forbids
	stuck    int            // pods that do not go away
	veto     *Vetoed        // how sure the label is of items that have or get an agent
	departs  departing
}

func (a *ask) total(m map[Kind]int) int { return m[Ephemeral] + m[Persistent] }

func (a *ask) ups(k Kind) int { return a.up.count(ofKind(k)) }

func (a *ask) allUps() int { return a.up.count(anyCreation) }

// size is how many builds an agent of that kind runs at once.
func (a *ask) size(k Kind) int { return a.t.Pool(k).size() }

// agentsFor is how many agents of size executors n builds need.
func agentsFor(n, size int) int { return (max(n, 0) + size - 1) / size }

// step notes that a rule changed a number.
func (a *ask) step(s Step, from, to int) {
	s.From, s.To = from, to
	s.Note = s.note()
	a.dec.Steps = append(a.dec.Steps, s)
}

// up makes every team's shares, turns them into creations, and limits these.
func (d *decider) up() []*ask {
	teams, byTeam := make([]*ask, 0, len(d.in.Teams)), make(map[string]*ask, len(d.in.Teams))
	for i := range d.in.Teams {
		t := &d.in.Teams[i]
		a := &ask{
			t: t, alive: map[Kind]int{}, stay: map[Kind]int{}, coming: map[Kind]int{}, gone: map[Kind]int{}, surplus: map[Kind]int{},
			promised: map[Kind]int{}, up: newCreations(), pause: map[Kind]Pause{}, cooling: map[Kind]bool{},
			dec: Decision{Team: t.Name, Up: map[Kind]int{}, Down: map[Kind]int{}, Renew: map[Kind]int{}},
		}
		for _, k := range Kinds() {
			id := PoolID{t.Name, k}
			a.pause[k] = d.pauseOf(id)
			if p := d.pooled.of(id); len(p.Starts.Last) > 0 {
				a.dec.Usual = append(a.dec.Usual, p.Starts.Usual)
			}
			left := t.ScaleUpCooldown - d.in.Now.Sub(d.pooled.of(id).Up)
			a.cooling[k] = left > 0 && !d.pooled.of(id).Up.IsZero()
		}
		teams = append(teams, a)
		byTeam[t.Name] = a
	}
	alive := d.tally(byTeam)
	d.share(teams, byTeam)
	for _, a := range teams {
		d.history(a)
		d.want(a)
		for _, l := range d.limits(a) {
			a.limit(l)
		}
	}
	d.shareGlobal(teams, alive)
	for _, a := range teams {
		d.create(a)
	}
	return teams
}

// history feeds the level policy.
func (d *decider) history(a *ask) {
	demand := a.dec.Waiting - a.dec.Refused + a.dec.Busy
	levels := observeLevel(d.in.Memory.Teams[a.t.Name].Levels, d.in.Now.Unix()/60, demand)
	d.mem.Teams[a.t.Name] = TeamMemory{Levels: levels}
	if a.t.Mode == ModeAuto {
		level, _ := keepLevel(levels)
		a.dec.Level = min(agentsFor(level, a.size(Persistent)), a.t.MaxPersistent)
	}
}

// floorKind is the kind that MIN_AGENTS and the level are made of.
func (t *Team) floorKind() Kind {
	if t.Mode == ModeEphemeral {
		return Ephemeral
	}
	return Persistent
}

// spareKind is the kind that MIN_IDLE is made of.
func (t *Team) spareKind() Kind {
	if t.Mode == ModePersistent {
		return Persistent
	}
	return Ephemeral
}

// want is what the team would create if no limit said no.
func (d *decider) want(a *ask) {
	t := a.t
	if t.Paused {
		a.dec.Want = a.total(a.stay) + a.dec.Short
		if a.dec.Short > 0 {
			a.step(Step{Rule: RulePaused}, a.dec.Short, 0)
		}
		return
	}
	floor, have := t.floorKind(), a.total(a.stay)
	if t.Mode == ModeAuto {
		have = a.stay[Persistent]
	}
	// A missing minimum serves waiting items like any other agent, and is made
	// first: no step and no cooldown delays it.
	missing := max(0, t.MinAgents-have)
	// Those that insist on a kind choose first: the others can be of either.
	slices.SortStableFunc(a.shares, func(x, y share) int { return x.k.count() - y.k.count() })
	size := a.size(Persistent)
	slack := 0 // executors of agents added here that no item has yet
	for _, c := range a.shares {
		n := c.n
		// add adds agents of a kind for what is left, and says how many of them.
		add := func(k Kind, why Reason, agents int) int {
			a.up.add(k, why, agents)
			if k == Ephemeral {
				n -= agents
				return agents
			}
			slack += max(0, agents*size-n)
			n = max(0, n-agents*size)
			return agents
		}
		if c.k.persistent {
			taken := min(n, slack)
			n, slack = n-taken, slack-taken
		}
		if c.k.persistent && floor == Persistent || c.k.ephemeral && floor == Ephemeral {
			m := min(agentsFor(n, a.size(floor)), missing)
			if c.k.ephemeral && c.k.persistent {
				m = a.persistentOf(m)
			}
			missing -= add(floor, ReasonMinimum, m)
		}
		if c.k.persistent {
			p := agentsFor(n, size)
			if c.k.ephemeral {
				p = a.persistentOf(min(p, max(0, a.dec.Level-a.stay[Persistent]-a.ups(Persistent))))
			}
			add(Persistent, ReasonDemand, p)
		}
		if c.k.ephemeral {
			if c.k.persistent {
				add(Persistent, ReasonDemand, a.instead(n))
			}
			add(Ephemeral, ReasonDemand, n)
		}
	}
	a.up.add(floor, ReasonMinimum, missing)
	beyond := a.total(a.surplus) + slack + missing*a.size(floor)
	if level := a.dec.Level - a.stay[Persistent] - a.ups(Persistent); t.Mode == ModeAuto && level > 0 {
		a.up.add(Persistent, ReasonLevel, level)
		beyond += level * size
	}
	a.up.add(t.spareKind(), ReasonSpare, agentsFor(t.MinIdle-beyond, a.size(t.spareKind())))
	a.dec.Want = a.total(a.stay) + a.allUps()
}

// limit is a rule that keeps the head of a list of creations.
type limit struct {
	Step                     // the rule and its numbers; from and to are filled in
	of   func(creation) bool // what it limits
	most int                 // how many agents of that it lets through
	from func(creation) bool // what its from and to count; nil: the same
}

// limits are the rules between what a team wants and what it makes, in the order in which
// they are applied. All that a rule forbids is forbidden here; room tells the choice of a kind
// what these rules will leave.
func (d *decider) limits(a *ask) []limit {
	t, out := a.t, make([]limit, 0, 8)
	if d.quiet {
		out = append(out, limit{Step: Step{Rule: RuleQuietDown}, of: anyCreation})
	}
	for _, k := range Kinds() {
		if p := a.pause[k]; p.limits() {
			out = append(out, limit{Step: Step{Rule: RuleBackoff, Pause: &p}, of: ofKind(k), most: p.May})
		}
		if a.cooling[k] {
			id := PoolID{t.Name, k}
			out = append(out, limit{
				Step: Step{Rule: RuleScaleUpCooldown, Left: t.ScaleUpCooldown - d.in.Now.Sub(d.pooled.of(id).Up)},
				of:   func(c creation) bool { return c.kind == k && soft(c) }, from: ofKind(k),
				most: a.gone[k] + d.in.Memory.Pools[id].Unmade, // they replace agents that are gone
			})
		}
	}
	out = append(out, limit{
		Step: Step{Rule: RuleMaxPersistent, Limit: t.MaxPersistent}, of: ofKind(Persistent), most: max(0, t.MaxPersistent-a.alive[Persistent]),
	})
	if t.ScaleUpStep > 0 {
		out = append(out, limit{Step: Step{Rule: RuleScaleUpStep, Limit: t.ScaleUpStep}, of: soft, most: t.ScaleUpStep})
	}
	return append(out, limit{
		Step: Step{Rule: RuleMaxAgents, Limit: t.MaxAgents, Want: a.dec.Want}, of: anyCreation, most: max(0, t.MaxAgents-a.total(a.alive)),
	})
}

// limit applies one rule, and returns how many agents it forbids for which builds wait.
func (a *ask) limit(l limit) (waited int) {
	have := a.up.count(l.of)
	if have <= l.most {
		return 0
	}
	if l.from == nil {
		l.from = l.of
	}
	before, left := a.up.count(l.from), l.most
	for i := range a.up {
		c := &a.up[i]
		if !l.of(*c) {
			continue
		}
		kept := min(c.n, left)
		if c.why == ReasonDemand {
			waited += c.n - kept
		}
		c.n, left = kept, left-kept
	}
	a.step(l.Step, before, before-have+l.most)
	if l.Rule == RuleMaxAgents {
		a.crowd = waited
	}
	return waited
}

// room is how many more agents of those kinds the limits of the team leave, beside those
// that are promised. Where they leave none, another team that fits is asked.
func (a *ask) room(k kinds) int {
	if a.t.Paused {
		return 0
	}
	all := a.t.MaxAgents - a.total(a.alive) - a.total(a.promised)
	if !k.ephemeral {
		all = min(all, a.t.MaxPersistent-a.alive[Persistent]-a.promised[Persistent])
	}
	most, may := max(all, 0), 0
	if k.ephemeral {
		may = min(a.pause[Ephemeral].May, most)
	}
	if k.persistent {
		may += min(a.pause[Persistent].May, most)
	}
	return min(most, may)
}

// persistentRoom is how many more persistent agents the limits leave; what may be of either
// kind is made ephemeral beyond it.
func (a *ask) persistentRoom() int {
	return max(0, min(a.pause[Persistent].May, a.t.MaxPersistent-a.alive[Persistent])-a.ups(Persistent))
}

// instead moves creations that may be of either kind from ephemeral agents that fail to
// persistent ones that do not. (Persistent agents that fail have no room, and are made
// ephemeral in the first place.)
func (a *ask) instead(n int) (persistent int) {
	p := a.pause[Ephemeral]
	over := n - max(0, p.May-a.ups(Ephemeral))
	if over <= 0 {
		return 0
	}
	made := min(agentsFor(over, a.size(Persistent)), a.persistentRoom())
	if made > 0 {
		a.step(Step{Rule: RuleFallback, Pause: &p}, n, max(0, n-made*a.size(Persistent)))
	}
	return made
}

// persistentOf is how many of n persistent agents are made for what may be of either kind:
// the rest are made ephemeral, for want of room or since persistent ones fail.
func (a *ask) persistentOf(n int) int {
	room, p := a.persistentRoom(), a.pause[Persistent]
	if left := max(0, p.May-a.ups(Persistent)); n > room && left <= room && p.limits() && a.pause[Ephemeral].May > a.ups(Ephemeral) {
		a.step(Step{Rule: RuleFallback, Pause: &p}, n, room)
	}
	return min(n, room)
}

// limits reports whether the pool backs off.
func (p *Pause) limits() bool { return p.May < math.MaxInt }

// pauseOf is what the pool's back-off leaves now.
func (d *decider) pauseOf(id PoolID) Pause {
	b := &d.pooled.of(id).Backoff
	if !b.pauses() {
		return Pause{Kind: id.Kind, May: math.MaxInt}
	}
	p := Pause{Kind: id.Kind, Failure: b.Failure, Left: max(0, b.Until.Sub(d.in.Now)), Came: b.Came}
	if p.Left > 0 {
		return p
	}
	var more bool
	if p.Probes, more = d.unproven(id, b); more {
		p.May = 1
	}
	return p
}

// shareGlobal gives what BELLBOARD_MAX_AGENTS leaves to the teams that want more: by
// PRIORITY, then evenly, one at a time to the team with the fewest.
func (d *decider) shareGlobal(teams []*ask, alive int) {
	room, want := max(0, d.in.MaxAgents-alive), 0
	type grant struct {
		a             *ask
		wants, grants int
	}
	all := make([]grant, 0, len(teams))
	for _, a := range teams {
		all = append(all, grant{a: a, wants: a.allUps()})
		want += a.allUps()
	}
	crowd := 0
	if want > room {
		hungry := make([]*grant, len(all))
		for i := range all {
			hungry[i] = &all[i]
		}
		for ; room > 0; room-- {
			hungry = slices.DeleteFunc(hungry, func(s *grant) bool { return s.grants == s.wants })
			best := slices.MinFunc(hungry, func(a, b *grant) int {
				return cmp.Or(
					cmp.Compare(b.a.t.Priority, a.a.t.Priority),
					cmp.Compare(a.a.dec.Alive+a.grants, b.a.dec.Alive+b.grants),
					strings.Compare(a.a.t.Name, b.a.t.Name),
				)
			})
			best.grants++
		}
		for _, s := range all {
			crowd += s.a.limit(limit{Step: Step{Rule: RuleGlobalMax, Limit: d.in.MaxAgents}, of: anyCreation, most: s.grants})
		}
	}
	d.crowd = crowd
}

// create turns creations into actions: on berths first, on new names then.
func (d *decider) create(a *ask) {
	for _, k := range []Kind{Persistent, Ephemeral} {
		n := a.ups(k)
		a.dec.Up[k] = n
		if n == 0 {
			continue
		}
		id := PoolID{a.t.Name, k}
		berths := d.freeBerths(id)
		for _, c := range a.up {
			if c.kind != k || c.n == 0 {
				continue
			}
			text := a.creationText(c.why)
			for range c.n {
				act := Action{Verb: Create, Pool: id, Reason: c.why, Text: text, Slot: d.takeSlot(id), Spare: c.why == ReasonSpare || a.dec.Short == 0}
				if len(berths) > 0 {
					d.left[berths[0]] = true
					act.Agent, berths = berths[0].Name, berths[1:]
				}
				d.plan.Actions = append(d.plan.Actions, act)
			}
		}
		if a.up.count(func(c creation) bool { return c.kind == k && soft(c) }) > 0 && !a.cooling[k] {
			d.pooled.of(id).Up = d.in.Now
		}
		d.pooled.of(id).Down = d.in.Now
	}
}
