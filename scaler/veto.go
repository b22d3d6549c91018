package scaler

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"bellboard/scaler/label"
)

const (
	// RefusedAfter is how long an agent may wait beside an item that it fits.
	// Jenkins needs no second to bring the two together, so something in it
	// forbids that: a plugin's veto, a node property, a throttle.
	RefusedAfter = 15 * time.Second
	// RefusalKept is how long no agent is made for refused items, once a fresh
	// agent was refused too. Each further one in a row doubles the pause, up to
	// RefusalMost.
	RefusalKept = 10 * time.Minute
	// RefusalMost bounds that pause.
	RefusalMost = 3 * time.Hour
	// RefusalProbe is how long after one trial the next may be, where the agents
	// that were refused have been given work meanwhile.
	RefusalProbe = 5 * time.Minute
)

// Sighting is an item that was buildable, and of that demand, since then, or since
// agents which such items seemed to be refused were found to be given some.
type Sighting struct {
	Label string // the demand's key
	Since time.Time
	// Refused: it has waited for RefusedAfter beside an agent that it fits.
	Refused bool
}

// of reports whether it is a sighting of an item of that demand.
func (s Sighting) of(key string) bool { return !s.Since.IsZero() && s.Label == key }

// RefusalStage says how many agents are made for items that were refused.
type RefusalStage string

// The stages of a refusal.
const (
	RefusalTrial  RefusalStage = "trial"  // one at a time, to see whether it is refused too
	RefusalPause  RefusalStage = "pause"  // it was: none until the pause is over
	RefusalServed RefusalStage = "served" // a fresh agent was given such an item: as many as wait
	RefusalOver   RefusalStage = "over"   // an agent that was refused was given one: as many as wait
)

// Refusal is what is known of a label whose items Jenkins does not give to agents
// that fit it.
type Refusal struct {
	Stage RefusalStage
	// Since is when the stage began; of RefusalOver, the one before.
	Since time.Time
	// Pause is how long the last pause was to be. One shorter than RefusalKept is
	// no proof: the last trial was not long before.
	Pause time.Duration
	// Agents do not count for the label.
	Agents map[string]bool
	// Why is Jenkins' sentence on an item while an agent was refused it: afterwards
	// no agent may be there to refuse, and a plugin's words are not said any more.
	Why string
	// Left is for how many more looks an item that left the queue may turn out to
	// have been given to an agent.
	Left int
}

// looksAtLeft: Jenkins is asked for its nodes before its queue, so the answer that
// lacks an item may be one older than the first that shows its agent at work.
const looksAtLeft = 2

// recall finds what is known of refusals now: the memory, and what has become of
// the items in it. It comes before the matching.
func (d *decider) recall() {
	now, old := d.in.Now, d.in.Memory
	d.vetoes = make(map[string]Refusal, len(old.Refused))
	waits := make(map[string]bool, len(d.demands))
	for _, w := range d.demands {
		key := w.key()
		waits[key] = true
		for _, i := range w.items {
			id := d.in.Jenkins.Items[i].ID
			s := Sighting{Label: key, Since: now}
			if was := old.Items[id].Seen; was.of(key) {
				s = was
			}
			d.note(id, func(m *ItemMemory) { m.Seen = s })
		}
		if _, ok := old.Refused[key]; w.inferred && !ok {
			d.vetoes[key] = Refusal{Stage: RefusalTrial, Since: now}
		}
	}
	for key, r := range old.Refused {
		if d.age(&r, waits[key]) {
			d.vetoes[key] = r
		}
	}
	d.explainLeft()
}

// age takes a refusal to now; false: it is over. While items wait a trial has no end,
// and each pause ends in one.
func (d *decider) age(r *Refusal, waits bool) (still bool) {
	age := d.in.Now.Sub(r.Since)
	switch r.Stage {
	case RefusalTrial:
		return waits || age < RefusalKept
	case RefusalPause:
		if age < r.Pause {
			return true
		}
		d.tryAgain(r)
		return waits
	case RefusalServed:
		return age < RefusalKept
	case RefusalOver:
		return age < RefusalProbe
	}
	return false
}

// tryAgain begins a trial, and forgets agents that are gone.
func (d *decider) tryAgain(r *Refusal) {
	r.Stage, r.Since = RefusalTrial, d.in.Now
	r.Agents = maps.Clone(r.Agents) // a Memory that was given away is not changed
	maps.DeleteFunc(r.Agents, func(name string, _ bool) bool {
		static := slices.ContainsFunc(d.foreign, func(n *Node) bool { return n.Name == name })
		return d.byName[name] == nil && !static
	})
}

// explainLeft asks of refused items that left the queue whether an agent was given them.
func (d *decider) explainLeft() {
	if len(d.vetoes) == 0 {
		return
	}
	queued := make(map[int64]bool, len(d.in.Jenkins.Items))
	for i := range d.in.Jenkins.Items {
		it := &d.in.Jenkins.Items[i]
		queued[it.ID] = it.State != Pending
	}
	for id, was := range d.in.Memory.Items {
		s := was.Seen
		r, ok := d.vetoes[s.Label]
		if ok = ok && !s.Since.IsZero(); !ok {
			continue
		}
		if counts := s.Refused || inferred(s.Label) && r.Stage == RefusalTrial; ok && counts && !queued[id] {
			r.Left = looksAtLeft
			d.vetoes[s.Label] = r
		}
	}
	for key, r := range d.vetoes {
		if r.Left > 0 {
			d.vetoes[key] = d.explained(key, r)
		}
	}
}

// explained is what is left of a refusal when such an item has left the queue.
// If an agent that was refused has taken work, the agents are none to be refused:
// Jenkins was slow, or did not want those items to be built yet. If another one
// that fits has, more agents help. Otherwise a person may have cancelled it, or a
// foreign agent has it: that is worth one trial.
func (d *decider) explained(key string, r Refusal) Refusal {
	for name := range r.Agents {
		if !d.tookWork(name) {
			continue
		}
		for id, is := range d.mem.Items {
			if is.Seen.of(key) {
				is.Seen = Sighting{Label: key, Since: d.in.Now}
				d.mem.Items[id] = is
			}
		}
		return Refusal{Stage: RefusalOver, Since: r.Since}
	}
	fits := d.fitsKey(key)
	for _, m := range d.agents {
		if m.Pod != nil && !m.Pod.Ended() && fits(m) && d.tookWork(m.Name) {
			return Refusal{Stage: RefusalServed, Since: d.in.Now, Agents: r.Agents, Why: r.Why}
		}
	}
	r.Left--
	if r.Left == 0 && r.Stage == RefusalPause && d.in.Now.Sub(r.Since) >= RefusalProbe {
		d.tryAgain(&r)
	}
	return r
}

// fitsKey tells whether an agent fits the items of a demand, which may be gone.
func (d *decider) fitsKey(key string) func(*agent) bool {
	text := strings.TrimPrefix(key, inferredKey)
	if text == "" {
		return func(m *agent) bool { return m.pool != nil && m.pool.Unlabelled }
	}
	e := label.Parse(text)
	return func(m *agent) bool {
		labels := m.labels()
		return e.Matches(func(atom string) bool { return slices.Contains(labels, atom) })
	}
}

// tookWork: it runs more builds than at the last look. One that is gone went unused,
// unless it was seen at work.
func (d *decider) tookWork(name string) bool {
	m, was := d.byName[name], d.in.Memory.Agents[name].Work
	switch {
	case m == nil || m.verdict.Class == Ended:
		return was.Builds > 0
	case m.Node == nil || m.Node.Idle:
		return false
	}
	return !was.On || m.Node.Busy > was.Builds
}

// refusedBy lists, for each agent, the demands that it does not count for.
func (d *decider) refusedBy() map[string][]string {
	out := map[string][]string{}
	for key, r := range d.vetoes {
		for name := range r.Agents {
			out[name] = append(out[name], key)
		}
	}
	for _, keys := range out {
		slices.Sort(keys)
	}
	return out
}

// refusals looks for agents that wait beside items which they fit. It comes
// after the matching, and counts from the next tick on.
func (d *decider) refusals() {
	d.mem.Refused = maps.Clone(d.vetoes)
	for _, w := range d.demands {
		waited := w.items[:0:0] // those that have waited for long enough
		for _, i := range w.items {
			if d.in.Now.Sub(d.mem.Items[d.in.Jenkins.Items[i].ID].Seen.Since) >= RefusedAfter {
				waited = append(waited, i)
			}
		}
		if len(waited) == 0 {
			continue
		}
		for _, i := range w.fits {
			for _, name := range d.supply[i].standing {
				d.refuse(w, name)
			}
		}
		beside := false
		for name := range d.mem.Refused[w.key()].Agents {
			beside = beside || d.standing(name)
		}
		for _, i := range waited {
			d.note(d.in.Jenkins.Items[i].ID, func(m *ItemMemory) { m.Seen.Refused = m.Seen.Refused || beside })
		}
	}
}

// open is since when that agent, or foreign node, has an executor that waits for work.
func (d *decider) open(name string) time.Time {
	if m := d.byName[name]; m != nil {
		return m.is.Open
	}
	return d.foreignOpen[name]
}

// standing: it has waited for work for so long that Jenkins must have seen it.
func (d *decider) standing(name string) bool {
	since := d.open(name)
	return !since.IsZero() && d.in.Now.Sub(since) >= RefusedAfter
}

// refuse notes that an agent was not given any item of that demand. That proves a veto
// if the agent came during a trial, or after one that had helped, and has no work at all.
func (d *decider) refuse(w *demand, name string) {
	now, r := d.in.Now, d.mem.Refused[w.key()]
	m := d.byName[name]
	ours := m != nil && m.Pod != nil
	switch r.Stage {
	case "":
		r.Stage, r.Since = RefusalTrial, now
	case RefusalOver: // its trial is not long ago
		r.Stage, r.Pause = RefusalPause, RefusalProbe
	case RefusalTrial, RefusalServed:
		if ours && m.Node.Idle && d.open(name).After(r.Since) {
			r.Stage, r.Since, r.Pause = RefusalPause, now, min(max(2*r.Pause, RefusalKept), RefusalMost)
		}
	case RefusalPause:
	}
	r.Agents = maps.Clone(r.Agents)
	if r.Agents == nil {
		r.Agents = map[string]bool{}
	}
	r.Agents[name], r.Why = true, d.in.Jenkins.Items[w.items[0]].Why
	d.mem.Refused[w.key()] = r
	if ours {
		d.facts.Failures = append(d.facts.Failures, FailedAgent{
			PoolID: m.PoolID, Agent: name, Failure: FailureRefused, Text: d.vetoOf(w, r.Why).text(),
		})
	}
}

// offered is how many of the items that a demand has left may have an agent made for
// them, and the words for those that may not. An item that came since others were
// refused may be another matter: it has its agent, or an idle one of those that the
// others were refused, until it is refused itself. Where the label is inferred, all
// of them have one agent at a time, until such an item was given to one.
func (d *decider) offered(w *demand) (n int, veto *Vetoed) {
	r, known := d.vetoes[w.key()]
	if w.inferred {
		veto = d.vetoOf(w, r.Why)
	}
	if !known || r.Stage == RefusalServed || r.Stage == RefusalOver {
		return w.left, veto
	}
	refused := 0
	for _, i := range w.items {
		if d.mem.Items[d.in.Jenkins.Items[i].ID].Seen.Refused {
			refused++
		}
	}
	idle := 0
	for _, s := range d.supply {
		if slices.Contains(s.refuses, w.key()) {
			idle += s.free
		}
	}
	want := max(0, len(w.items)-refused-idle)
	switch {
	case r.Stage == RefusalTrial:
		want += min(1, refused)
	case r.Pause < RefusalKept: // those that were refused may be given work yet
		want += max(0, refused-len(r.Agents))
	}
	if w.inferred {
		want = min(want, 1)
	}
	if n = min(w.left, max(0, want-(len(w.items)-w.left))); n < w.left {
		veto = d.vetoOf(w, r.Why)
	}
	return n, veto
}

// vetoOf is what is known of the demand that agents were not given.
func (d *decider) vetoOf(w *demand, why string) *Vetoed {
	return &Vetoed{
		Label: w.text, Inferred: w.inferred, Why: cmp.Or(why, d.in.Jenkins.Items[w.items[0]].Why),
		NamesNode: w.inferred && slices.ContainsFunc(d.foreign, func(n *Node) bool { return n.Name == w.text }),
	}
}
