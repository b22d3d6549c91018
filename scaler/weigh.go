package scaler

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Weighed is what the policy found for one team: the numbers behind its Decision.
type Weighed struct {
	WaitValue float64       `json:"waitValue"` // agent-seconds that one second of waiting may cost
	Start     time.Duration `json:"start"`     // how long an agent takes to start
	Gain      time.Duration `json:"gain"`      // what a kept cache saves a build, without the time to attach the volume
	Pairs     int           `json:"pairs"`     // pairs of builds, warm and cold, from which Gain was learnt
	Hold      int           `json:"hold"`      // free agents that are worth keeping
	Ahead     int           `json:"ahead"`     // agents to have beyond the demand, since builds are about to come
	Slots     int           `json:"slots"`     // cache slots that are worth their volumes
	Costs     time.Duration `json:"costs"`     // what a cache slot costs in a day, in agent time
}

// weigh is the part of stage 3 that learns from a team's demand. It says how many free agents and cache slots
// are worth keeping, how many agents are started ahead, and which agents are persistent.
func (d *decider) weigh(a *ask) {
	x := weighing{ask: a, started: d.mem.Started, now: d.in.Now, was: d.in.Memory.Teams[a.t.Name], w: &a.dec.Weighed}
	taken := a.dec.Free + a.dec.Coming - a.total(a.surplus) // executors that waiting builds will take
	x.demand = agentsFor(a.dec.Busy+taken+a.dec.Short-a.dec.Vetoed, a.size(Persistent))
	x.stay = a.total(a.stay)
	x.learn(d.facts)
	x.price(d.pooled.of(PoolID{a.t.Name, Ephemeral}).Starts.Usual, d.pooled.of(PoolID{a.t.Name, Persistent}).Starts.Usual)
	x.is.Demand, x.is.Levels = min(x.demand, levelsKept), x.follow(max(x.stay, a.slots))
	x.persistent()
	if x.cached() {
		x.slots()
	}
	x.is.Ledger.book(x.now, a.uses, x.start)
	x.is.Ledger.Alive, x.is.Ledger.Held = x.stay, 0
	if x.is.left() > 0 {
		x.ahead()
		x.hold()
	}
	a.weighed = &x.is
}

// weighing is one run of weigh.
type weighing struct {
	*ask
	started, now time.Time // when the process began; the time of this tick
	was, is      TeamMemory
	w            *Weighed
	demand, stay int           // agents that builds need; agents that are not on their way out
	start        time.Duration // what a free agent is worth to a build
	slot         time.Duration // how long a slot may wait for a use and still be worth it
	hope         time.Duration // the same, if a cache saves as much as it possibly does
}

// useOfFree reports whether the agent has just begun a build for which it was not made: it had waited for the
// build, or no build waited when it was made. With the hook, a one-build agent is marked as soon as its build
// begins.
func (d *decider) useOfFree(m *agent) bool {
	switch m.verdict.Class {
	case Busy, Draining:
		waited := !m.was.Free.IsZero() && d.in.Now.Sub(m.was.Free) > blink
		return !m.was.Work.On && (waited || m.Pod != nil && !m.Pod.Protected)
	default:
		return false
	}
}

// learn adds this tick to what is known of the team.
func (x *weighing) learn(facts Facts) {
	x.is = x.was
	x.is.Gain = x.was.Gain.with(facts.Builds, x.t.Name, x.now)
	x.is.seek(x.t, facts.Waits)
}

// follow returns the levels after a look at the demand, and shares what has not changed. reach is how many
// levels are to be remembered at least.
func (x *weighing) follow(reach int) []Level {
	// Times are whole seconds, so that a later process reads exactly what this one knows.
	levels, now := x.was.Levels, x.now.UTC().Truncate(time.Second)
	was := min(max(0, x.was.Demand), len(levels)) // a memory that was stored may lack levels
	demand := min(x.demand, levelsKept)
	reach = min(max(demand, reach), levelsKept)
	if was == demand && reach <= len(levels) {
		return levels
	}
	out := append(make([]Level, 0, max(len(levels), reach)), levels...)
	for len(out) < reach {
		out = append(out, Level{Since: x.started.UTC().Truncate(time.Second)})
	}
	for k := was; k < demand; k++ {
		if out[k].begin(now) {
			x.is.Gaps = x.is.Gaps.with(float64(out[k].Gaps.Last[len(out[k].Gaps.Last)-1]))
			out[k].Ahead = startsAhead(out[k].Every, x.is.Lead, x.is.WaitValue)
		}
	}
	for k := demand; k < was; k++ {
		out[k].Since = now
	}
	return out
}

// cached reports whether the team's persistent agents keep their caches in slots.
func (x *weighing) cached() bool { p := x.t.Pool(Persistent); return p != nil && p.Slots }

// price finds what a free agent and a cache slot are worth.
func (x *weighing) price(ephemeral, persistent Usual) {
	usual, attach := persistent, attachGuess
	switch {
	case persistent.Count == 0:
		usual = ephemeral
	case ephemeral.Count > 0:
		attach = min(max(0, persistent.Half-ephemeral.Half), time.Minute)
	}
	x.is.Start, x.is.Lead = cmp.Or(usual.Half, startGuess), cmp.Or(usual.Most, leadGuess)
	x.w.WaitValue, x.w.Start, x.w.Pairs = x.is.WaitValue, x.is.Start, x.is.Gain.pairs()
	x.start = x.is.startWorth()
	if x.cached() {
		x.w.Gain = max(0, x.is.Gain.saves()-attach)
		x.w.Costs = seconds(x.t.CachePrice * (24 * time.Hour).Seconds())
		x.slot = x.lasts(x.w.Gain)
		x.hope = max(x.slot, x.lasts(x.is.Gain.hopes()-attach))
	}
}

// lasts returns how long a slot may wait for a use that it shortens by so much, and still be worth its volume.
func (x *weighing) lasts(gain time.Duration) time.Duration {
	if x.t.CachePrice == 0 {
		return math.MaxInt64
	}
	return seconds((1 + x.w.WaitValue) * max(0, gain.Seconds()) / x.t.CachePrice)
}

// kindOf returns the kind of a level's agents in mode auto. With cache slots, a level has persistent agents if
// its slot is worth its volume; otherwise if an agent would nearly be kept until its next build.
func (x *weighing) kindOf(k int) Kind {
	pays := false
	if x.cached() {
		pays = x.slot > SlotsEvery && keeps(&x.is.Levels[k].Gaps, 0, x.slot) // slots are not weighed more often
	} else if gaps := x.is.gapsOf(k); gaps != nil {
		// An agent that goes before its next use may yet catch a build.
		pays = keeps(gaps, 0, seconds(1.5*x.start.Seconds()))
	}
	if pays {
		return Persistent
	}
	return Ephemeral
}

// persistent finds how many agents may be persistent in mode auto: as many as levels say, and as many as there
// are slots, whose volumes are paid already.
func (x *weighing) persistent() {
	if x.t.Mode != ModeAuto {
		return
	}
	for k := range x.is.Demand {
		x.dec.Level += yes(x.kindOf(k) == Persistent)
	}
	x.dec.Level = min(max(x.dec.Level, min(x.ask.slots, x.demand)), x.t.MaxPersistent)
}

// slots finds how many cache slots are worth their volumes. Unused slots are weighed now and then. The first slot
// stays until it is certain that a cache saves nothing: without any slot no build would show that it does.
func (x *weighing) slots() {
	at := x.now.Truncate(SlotsEvery)
	for k := range x.is.Levels {
		l, age, worth := &x.is.Levels[k], time.Duration(0), x.slot
		if k == 0 {
			worth = x.hope
		}
		if k >= x.demand {
			age = max(0, at.Sub(l.Since))
		}
		x.w.Slots += yes(keeps(&l.Gaps, age, worth))
	}
}

// hold finds how many of the free agents are worth keeping.
func (x *weighing) hold() {
	for k := x.demand; k < min(x.stay, len(x.is.Levels)); k++ {
		l, gaps, worth := &x.is.Levels[k], x.is.gapsOf(k), x.start
		if l.foreseen(x.now) {
			worth = x.is.Lead // to start another in time costs no more
		}
		if keeps(gaps, x.now.Sub(l.Since), worth) || l.due(x.now, x.is.Lead) {
			x.w.Hold++
			x.is.Ledger.Held += yes(gaps != nil) // learning has its own bound
		}
	}
	x.w.Hold = max(x.w.Hold, x.w.Ahead)
	x.is.Ledger.Held = max(x.is.Ledger.Held, min(x.w.Ahead, max(0, x.stay-x.demand)))
}

// ahead finds how many agents beyond the demand are to be there now, for builds that are about to come.
func (x *weighing) ahead() {
	for k := x.demand; k < len(x.is.Levels); k++ {
		if !x.is.Levels[k].due(x.now, x.is.Lead) {
			continue
		}
		kind := x.t.floorKind()
		if x.t.Mode == ModeAuto {
			kind = x.kindOf(k)
		}
		x.due[kind]++
		x.w.Ahead++
	}
}

// policy reports whether the policy, and no IDLE_TIMEOUT, says how long the team's agents are free.
func (a *ask) policy() bool {
	return slices.ContainsFunc(a.t.Pools, func(p Pool) bool { return p.IdleTimeout == 0 && a.dec.Down[p.Kind] > 0 })
}

// aheadOfBuilds adds the agents that are started ahead of their builds, unless so many executors are free anyway.
// Beyond MAX_PERSISTENT, mode auto starts ephemeral agents for as many executors.
func (a *ask) aheadOfBuilds(free int) {
	for _, k := range Kinds() {
		due, size := a.due[k]*a.size(k), a.size(k)
		missing := max(0, due-free)
		free = max(0, free-due)
		n := agentsFor(missing, size)
		if k == Persistent && a.t.Mode == ModeAuto {
			n = min(n, a.persistentRoom())
		}
		a.up.add(k, ReasonForecast, n)
		a.up.add(Ephemeral, ReasonForecast, max(0, missing-n*size))
	}
}

// try returns how many of n agents for builds that accept either kind are persistent, if so many would be. One
// agent in many is of the other kind, to learn what a cache saves, and to notice when that changes.
func (a *ask) try(n, persistent int) int {
	out := min(n, persistent)
	if p := a.t.Pool(Persistent); p == nil || !p.Slots {
		return out
	}
	every := 200
	if out == 0 && !a.weighed.Gain.settled(attachGuess) {
		every = 10 // persistent agents learn by themselves, since new slots are cold
	}
	switch tries := (a.weighed.Made+n)/every > a.weighed.Made/every; {
	case !tries:
	case out > 0:
		out--
	default:
		out++
	}
	return out
}
