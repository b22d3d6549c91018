package scaler

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// kinds is which kinds of a team an expression accepts.
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

// claim is a part of the shortfall that one team answers for.
type claim struct {
	n int
	k kinds
}

// account is one team's numbers on the way to its decision.
type account struct {
	t         *Team
	dec       Decision
	alive     map[Kind]int // living pods
	stay      map[Kind]int // of them, those that are not leaving
	coming    map[Kind]int // executors that are on the way
	gone      map[Kind]int // agents on their way out that nobody decided about
	surplus   map[Kind]int // free or coming executors that no waiting item takes
	rank      int          // its place in teamOrder
	claims    []claim
	claimed   map[Kind]int // room already promised to claims, by kind (ephemeral: any)
	up        map[Kind]map[Reason]int
	cooling   map[Kind]bool // in the scale-up cooldown: only minimums, spares and replacements
	blockText string
	hint      string   // how sure the label is of items that have or get an agent
	fallback  string   // why agents of the other kind are made
	made      int      // places that its agents give up for builds that wait at a full cap
	emptied   int      // agents at work that go after their builds, since the others have room
	renewed   []string // why agents are renewed, for each
	crowd     int      // agents that builds wait for, and that only MAX_AGENTS forbids
	dead      int      // pods that do not go away
}

func (a *account) total(m map[Kind]int) int { return m[Ephemeral] + m[Persistent] }

func (a *account) ups(k Kind) int {
	n := 0
	for _, v := range a.up[k] {
		n += v
	}
	return n
}

func (a *account) allUps() int { return a.ups(Ephemeral) + a.ups(Persistent) }

func (a *account) add(k Kind, why Reason, n int) {
	if n > 0 {
		a.up[k][why] += n
	}
}

// step notes that a rule changed a number.
func (a *account) step(r Rule, from, to int, noteText string) {
	a.dec.Steps = append(a.dec.Steps, Step{Rule: r, From: from, To: to, Note: noteText})
}

// cut takes n creations away: the least urgent reason first, minimums last.
func (a *account) cut(k Kind, n int) {
	for _, why := range []Reason{ReasonSpare, ReasonLevel, ReasonDemand, ReasonMinimum} {
		c := min(n, a.up[k][why])
		a.up[k][why] -= c
		n -= c
	}
}

// decideTeams makes every team's decision, then shares the global cap.
func (d *decider) decideTeams() {
	accounts := make([]*account, 0, len(d.in.Teams))
	byTeam := make(map[string]*account)
	for i := range d.in.Teams {
		t := &d.in.Teams[i]
		a := &account{
			t: t, alive: map[Kind]int{}, stay: map[Kind]int{}, coming: map[Kind]int{}, gone: map[Kind]int{}, cooling: map[Kind]bool{}, surplus: map[Kind]int{}, claimed: map[Kind]int{},
			up: map[Kind]map[Reason]int{Ephemeral: {}, Persistent: {}},
		}
		a.dec = Decision{Team: t.Name, Up: map[Kind]int{}, Down: map[Kind]int{}, Renew: map[Kind]int{}}
		accounts = append(accounts, a)
		byTeam[t.Name] = a
	}
	global := d.tally(byTeam)
	d.claim(accounts, byTeam)
	for _, a := range accounts {
		d.history(a)
		d.expect(a)
		d.wantUp(a)
		d.teamRules(a)
	}
	d.shareGlobal(accounts, global)
	d.makingRoom(byTeam)
	for _, a := range accounts {
		d.emitUp(a)
	}
	for _, a := range slices.SortedStableFunc(slices.Values(accounts), func(a, b *account) int { return a.t.Priority - b.t.Priority }) {
		d.wantDown(a)
	}
	for _, a := range accounts {
		d.renew(a)
		d.conclude(a)
		d.plan.Decisions = append(d.plan.Decisions, a.dec)
	}
}

// alive reports whether something of its pod may run.
func (m *member) alive() bool {
	return m.Pod != nil && !m.Pod.Ended() && !m.dead
}

// counts reports whether its pod counts to the caps. One that Bellboard has deleted was
// idle, and is gone in a few seconds: the next build need not wait for that. One on a
// cache slot does count: the next agent is to have that slot, and not an empty one.
func (m *member) counts() bool { return m.alive() && (!m.Pod.DeletingByUs || m.Pod.Slot != "") }

// stays reports an agent that is not on its way out. An ephemeral one at work
// stays: the end of its build is not a scale-down.
func (m *member) stays() bool {
	if m.Pod == nil || m.pool == nil || m.left {
		return false
	}
	switch m.verdict.Class {
	case Awaited, Resuming:
		return true
	case Coming, Free, Reconnecting:
		return m.verdict.Capacity > 0
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

// tally counts agents by team; it returns the living pods of all.
func (d *decider) tally(byTeam map[string]*account) (global int) {
	for _, m := range d.pairs {
		if m.counts() {
			global++
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
		if m.dead {
			a.dead++
		}
		switch m.verdict.Class {
		case Busy, Draining, Cut:
			a.dec.Busy += max(1, m.Node.Busy)
			a.dec.Free += m.verdict.Capacity
		case Free:
			a.dec.Free += m.verdict.Capacity
		case Coming, Reconnecting:
			a.dec.Coming += m.verdict.Capacity
			a.coming[m.Kind] += m.verdict.Capacity
			if m.late {
				a.dec.Late += m.size()
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
	return global
}

// room is how many more agents of those kinds the team's caps allow.
func (a *account) room(k kinds) int {
	if a.t.Paused {
		return 0
	}
	all := a.t.MaxAgents - a.total(a.alive) - a.total(a.claimed)
	if !k.ephemeral {
		all = min(all, a.t.MaxPersistent-a.alive[Persistent]-a.claimed[Persistent])
	}
	return max(all, 0)
}

// room is how many more agents of those kinds the team's caps and back-offs allow
// now. Where they allow none, another team that fits is asked.
func (d *decider) room(a *account, k kinds) int {
	most, may := a.room(k), 0
	if k.ephemeral {
		n, _ := d.mayCreate(PoolID{a.t.Name, Ephemeral})
		may = min(n, most)
	}
	if k.persistent {
		n, _ := d.mayCreate(PoolID{a.t.Name, Persistent})
		may += min(n, most)
	}
	return min(most, may)
}

// size is how many builds an agent of that kind runs at once.
func (a *account) size(k Kind) int { return a.t.Pool(k).size() }

// agentsFor is how many agents of size executors n builds need.
func agentsFor(n, size int) int { return (max(n, 0) + size - 1) / size }

// claim gives each expression's waiting items to the team that answers for
// them: fewest labels first, then PRIORITY, then name, skipping teams at their cap.
func (d *decider) claim(accounts []*account, byTeam map[string]*account) {
	order := slices.Clone(accounts)
	slices.SortFunc(order, func(a, b *account) int { return teamOrder(a.t, b.t) })
	for i, a := range order {
		a.rank = i
	}
	accepts := make([]kinds, len(order)) // by rank; zero between two wishes
	var fit []*account
	var accept []kinds
	nobodys := map[string]*Unserved{}
	wishes := slices.Clone(d.wishes)
	slices.SortStableFunc(wishes, func(a, b *wish) int { return a.oldest.Compare(b.oldest) })
	for _, w := range wishes {
		fit, accept = fit[:0], accept[:0]
		for _, i := range w.fits {
			if p := d.supply[i].home; p != nil {
				a := byTeam[p.Team]
				k := &accepts[a.rank]
				if *k == (kinds{}) {
					fit = append(fit, a)
				}
				k.ephemeral = k.ephemeral || p.Kind == Ephemeral
				k.persistent = k.persistent || p.Kind == Persistent
			}
		}
		slices.SortFunc(fit, func(a, b *account) int { return a.rank - b.rank })
		for _, a := range fit {
			accept = append(accept, accepts[a.rank])
			accepts[a.rank] = kinds{}
		}
		if len(fit) == 0 {
			words := "no team serves ‘" + w.text + "’"
			if w.inferred {
				words += ", which is most likely the label"
			}
			for _, i := range w.items[:w.left] {
				note(nobodys, &d.in.Jenkins.Items[i], w.key(), words)
				nobodys[w.key()].Label = w.text
			}
			continue
		}
		first := fit[0]
		left, refused := d.offered(w)
		kept := w.left - left
		first.dec.Waiting += len(w.items) - w.left
		if old := d.in.Now.Sub(w.oldest); old > first.dec.Oldest {
			first.dec.Oldest = old
		}
		for _, i := range w.items {
			it := &d.in.Jenkins.Items[i]
			d.mem.Waiting[it.ID] = Waiting{Team: first.t.Name, Since: it.Since}
		}
		give := func(a *account, k kinds, n int) {
			if n <= 0 {
				return
			}
			a.claims = append(a.claims, claim{n: n, k: k})
			a.dec.Waiting += n
			a.dec.Short += n
		}
		for i, a := range fit {
			k, size := Ephemeral, 1
			if !accept[i].ephemeral {
				k, size = Persistent, a.size(Persistent)
			}
			n := min(left, d.room(a, accept[i])*size)
			give(a, accept[i], n)
			a.claimed[k] += agentsFor(n, size)
			left -= n
		}
		give(first, accept[0], left) // blocked there, and shown there
		if kept > 0 {
			first.dec.Waiting += kept
			first.dec.Short += kept
			first.dec.Refused += kept
			first.step(RuleRefused, w.left, w.left-kept, refused)
			first.blockText = refused
		} else if refused != "" {
			first.hint = refused
		}
	}
	for i := range d.in.Jenkins.Items {
		if it := &d.in.Jenkins.Items[i]; !d.unlabelled && it.State == Buildable && it.Resolution == Unlabelled {
			note(nobodys, it, "", "no team serves builds without a label: give them one, or a team UNLABELLED=true")
		}
	}
	d.plan.Nobodys = sortedUnserved(nobodys)
	d.waits()
}

// waits turns items that left the queue since the last tick into facts.
func (d *decider) waits() {
	if len(d.in.Memory.Waiting) == 0 {
		return
	}
	there := make(map[int64]bool, len(d.in.Jenkins.Items))
	for i := range d.in.Jenkins.Items {
		it := &d.in.Jenkins.Items[i]
		if it.State != Pending {
			there[it.ID] = true
		}
	}
	gone := make([]int64, 0)
	for id, w := range d.in.Memory.Waiting {
		if there[id] {
			if _, ok := d.mem.Waiting[id]; !ok {
				d.mem.Waiting[id] = w
			}
			continue
		}
		gone = append(gone, id)
	}
	slices.Sort(gone)
	for _, id := range gone {
		w := d.in.Memory.Waiting[id]
		d.facts.Waits = append(d.facts.Waits, Wait{Team: w.Team, Took: d.in.Jenkins.AnsweredAt.Sub(w.Since)})
	}
}

// history feeds the level policy.
func (d *decider) history(a *account) {
	demand := a.dec.Waiting - a.dec.Refused + a.dec.Busy
	levels := observeLevel(d.in.Memory.Levels[a.t.Name], d.in.Now.Unix()/60, demand)
	d.mem.Levels[a.t.Name] = levels
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

// wantUp is what the team would create if no rule said no.
func (d *decider) wantUp(a *account) {
	t := a.t
	if t.Paused {
		a.dec.Want = a.total(a.stay) + a.dec.Short
		if a.dec.Short > 0 {
			a.step(RulePaused, a.dec.Short, 0, "")
			a.blockText = "paused"
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
	slices.SortStableFunc(a.claims, func(x, y claim) int { return x.k.count() - y.k.count() })
	size := a.size(Persistent)
	slack := 0 // executors of agents added here that no item has yet
	for _, c := range a.claims {
		n := c.n
		// up adds agents of a kind for what is left, and says how many of them.
		up := func(k Kind, why Reason, agents int) int {
			a.add(k, why, agents)
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
				m = d.persistentOf(a, m)
			}
			missing -= up(floor, ReasonMinimum, m)
		}
		if c.k.persistent {
			p := agentsFor(n, size)
			if c.k.ephemeral {
				p = d.persistentOf(a, min(p, max(0, a.dec.Level-a.stay[Persistent]-a.ups(Persistent))))
			}
			up(Persistent, ReasonDemand, p)
		}
		if c.k.ephemeral {
			if c.k.persistent {
				up(Persistent, ReasonDemand, d.instead(a, n))
			}
			up(Ephemeral, ReasonDemand, n)
		}
	}
	a.add(floor, ReasonMinimum, missing)
	beyond := a.total(a.surplus) + slack + missing*a.size(floor)
	if level := a.dec.Level - a.stay[Persistent] - a.ups(Persistent); t.Mode == ModeAuto && level > 0 {
		a.add(Persistent, ReasonLevel, level)
		beyond += level * size
	}
	a.add(t.spareKind(), ReasonSpare, agentsFor(t.MinIdle-beyond, a.size(t.spareKind())))
	a.dec.Want = a.total(a.stay) + a.allUps()
}

// persistentRoom is how many more persistent agents can be made now; what may
// be of either kind is made ephemeral beyond it.
func (d *decider) persistentRoom(a *account) int {
	may, _ := d.mayCreate(PoolID{a.t.Name, Persistent})
	return max(0, min(may, a.t.MaxPersistent-a.alive[Persistent])-a.ups(Persistent))
}

// emitUp turns numbers into creations: on berths first, on new names then.
func (d *decider) emitUp(a *account) {
	for _, k := range []Kind{Persistent, Ephemeral} {
		n := a.ups(k)
		a.dec.Up[k] = n
		if n == 0 {
			continue
		}
		id := PoolID{a.t.Name, k}
		berths := d.freeBerths(id)
		for _, why := range []Reason{ReasonMinimum, ReasonDemand, ReasonLevel, ReasonSpare} {
			for range a.up[k][why] {
				act := Action{Verb: Create, Pool: id, Reason: why, Text: a.upText(why), Slot: d.takeSlot(id), Spare: why == ReasonSpare || a.dec.Short == 0}
				if len(berths) > 0 {
					berths[0].left = true
					act.Agent, berths = berths[0].Name, berths[1:]
				}
				d.plan.Actions = append(d.plan.Actions, act)
			}
		}
		if a.up[k][ReasonDemand]+a.up[k][ReasonLevel] > 0 && !a.cooling[k] {
			d.mem.Up[id] = d.in.Now
		}
		d.mem.Down[id] = d.in.Now
	}
}

func (a *account) upText(why Reason) string {
	switch why {
	case ReasonMinimum:
		return fmt.Sprintf("MIN_AGENTS=%d", a.t.MinAgents)
	case ReasonSpare:
		return fmt.Sprintf("MIN_IDLE=%d", a.t.MinIdle)
	case ReasonLevel:
		return fmt.Sprintf("%d needed in over half of the last hour", a.dec.Level)
	default:
		return a.comingText()
	}
}

func (a *account) comingText() string {
	late := ""
	if a.dec.Late > 0 {
		late = fmt.Sprintf(", %d late", a.dec.Late)
	}
	return fmt.Sprintf("%d waiting, %d free, %d on the way%s%s", a.dec.Waiting, a.dec.Free, a.dec.Coming, late, a.usually())
}

// leaving says who goes in this tick, and why; the reason is that of the first.
func (a *account) leaving() (why Reason, text string) {
	var parts []string
	say := func(r Reason, words string) {
		if parts = append(parts, words); why == "" {
			why = r
		}
	}
	switch idle := a.dec.Downs() - a.emptied; {
	case idle > 0 && a.made > 0:
		say(ReasonIdle, plural(idle, "idle agent")+" less: builds wait at a full cap")
	case idle > 0:
		say(ReasonIdle, plural(idle, "agent")+" idle too long")
	}
	if a.emptied > 0 {
		say(ReasonRoom, plural(a.emptied, "agent")+" at work less: the others have room for its builds")
	}
	count := map[string]int{}
	for _, words := range a.renewed {
		count[words]++
	}
	for _, words := range slices.Sorted(maps.Keys(count)) {
		say(ReasonRenew, plural(count[words], "agent")+" "+words)
	}
	return why, strings.Join(parts, "; ")
}

// conclude finds the words for the decision.
func (d *decider) conclude(a *account) {
	dec := &a.dec
	dec.Want -= dec.Downs()
	switch {
	case dec.Ups() > 0:
		for _, why := range []Reason{ReasonDemand, ReasonMinimum, ReasonLevel, ReasonSpare} {
			switch n := a.up[Ephemeral][why] + a.up[Persistent][why]; {
			case n > 0 && dec.Text == "":
				dec.Reason, dec.Text = why, a.upText(why)
			case n > 0:
				dec.Text += fmt.Sprintf("; %d of the %d new agents for %s", n, dec.Ups(), a.upText(why))
			}
		}
		block := a.blockText
		if block != "" && strings.HasPrefix(a.fallback, block) {
			block = "" // the other says it, and what is done about it
		}
		_, leaving := a.leaving()
		for _, more := range []string{block, a.fallback, leaving} {
			if more != "" {
				dec.Text += "; " + more
			}
		}
	case dec.Downs() > 0 || dec.Renewals() > 0 && a.blockText == "":
		dec.Reason, dec.Text = a.leaving()
	case a.blockText != "":
		dec.Reason, dec.Text = ReasonBlocked, a.blockText
		if _, leaving := a.leaving(); leaving != "" {
			dec.Text += "; " + leaving
		}
	case dec.Waiting > 0:
		dec.Reason, dec.Text = ReasonSteady, a.comingText()
	case a.t.Paused:
		dec.Reason, dec.Text = ReasonPaused, "paused"
	default:
		dec.Reason, dec.Text = ReasonSteady, "nobody waits"
	}
	if a.hint != "" {
		dec.Text += "; " + a.hint
	}
	switch {
	case a.dead == 1:
		dec.Text += "; 1 pod does not go away"
	case a.dead > 1:
		dec.Text += fmt.Sprintf("; %d pods do not go away", a.dead)
	}
}
