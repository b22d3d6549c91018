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
	// VetoedAfter is how long an agent may wait beside an item that it fits before the agent counts as
	// refused. Jenkins needs less than a second, unless a plugin's veto, a node property or a throttle
	// forbids it.
	VetoedAfter = 15 * time.Second
	// VetoKept is how long Bellboard makes no agent for refused items after Jenkins refused a fresh agent
	// too. Each further refused agent in a row doubles the pause, up to VetoMost.
	VetoKept = 10 * time.Minute
	// VetoMost is the longest such pause.
	VetoMost = 3 * time.Hour
	// VetoProbe is how long after one trial the next trial may begin, if the refused agents have been
	// given other work meanwhile.
	VetoProbe = 5 * time.Minute
)

// Sighting records since when an item has been buildable, as part of one demand. Since starts again if agents
// that seemed refused get such items after all.
type Sighting struct {
	Label  string // the demand's key
	Since  time.Time
	Vetoed bool // the item has waited for VetoedAfter beside an agent that fits it
}

// of reports whether the sighting is of an item of the demand with that key.
func (s Sighting) of(key string) bool { return !s.Since.IsZero() && s.Label == key }

// VetoStage says how many agents Bellboard makes for refused items.
type VetoStage string

// The stages of a refusal.
const (
	VetoTrial  VetoStage = "trial"  // one agent at a time, to see whether Jenkins refuses it too
	VetoPause  VetoStage = "pause"  // Jenkins refused it too: no agent until the pause ends
	VetoServed VetoStage = "served" // a fresh agent got such an item: an agent for each item
	VetoOver   VetoStage = "over"   // a refused agent got such an item: an agent for each item
)

// Veto is what is known of a label whose items Jenkins does not give to agents that fit it.
type Veto struct {
	Stage VetoStage
	// Since is when the stage began. In VetoOver it is when the stage before began.
	Since time.Time
	// Pause is how long the last pause was meant to be. A pause shorter than VetoKept proves no veto: it
	// only says that the last trial was not long ago.
	Pause  time.Duration
	Agents map[string]bool // the names of the agents that do not count for the label
	// Why is Jenkins' sentence on an item while Jenkins refused the item to an agent. When there is no such
	// agent, Jenkins no longer repeats a plugin's words.
	Why  string
	Left int // how many more ticks look for the agent of an item that left the queue
}

// looksAtLeft is how many ticks look for the agent of an item that left the queue. Bellboard asks Jenkins for
// its nodes before its queue, so only the tick after may show that agent at work.
const looksAtLeft = 2

// recall brings the known refusals up to date, before the matching.
func (d *decider) recall() {
	now, old := d.in.Now, d.in.Memory
	d.mem.Vetoes = make(map[string]Veto, len(old.Vetoes))
	asked := make([]bool, len(d.items))
	for _, w := range d.demands {
		for _, i := range w.items {
			if asked[i] = true; !d.items[i].Seen.of(w.key) {
				d.items[i].Seen = Sighting{Label: w.key, Since: now}
			}
		}
		if w.inferred {
			d.mem.Vetoes[w.key] = Veto{Stage: VetoTrial, Since: now}
		}
	}
	for i := range asked {
		if !asked[i] {
			d.items[i].Seen = Sighting{}
		}
	}
	for key, r := range old.Vetoes {
		r.Agents = maps.Clone(r.Agents) // Decide does not change the Memory that it was given
		waits := slices.ContainsFunc(d.demands, func(w *demand) bool { return w.key == key })
		if r.age(now, waits) {
			d.mem.Vetoes[key] = r
		}
	}
	d.explainLeft()
}

// age brings a refusal up to the time of this tick, and reports whether it still holds. While items wait, a
// trial has no end, and each pause ends in a trial.
func (r *Veto) age(now time.Time, waits bool) (still bool) {
	holds := map[VetoStage]time.Duration{
		VetoTrial:  VetoKept,
		VetoPause:  r.Pause,
		VetoServed: VetoKept,
		VetoOver:   VetoProbe,
	}
	if now.Sub(r.Since) < holds[r.Stage] {
		return true
	}
	if r.Stage == VetoPause {
		r.Stage, r.Since = VetoTrial, now
	}
	return waits && r.Stage == VetoTrial
}

// explainLeft looks at refused items that left the queue, and finds out whether Jenkins gave them to an
// agent.
func (d *decider) explainLeft() {
	for _, id := range d.taken {
		was := d.in.Memory.Items[id].Seen
		r, known := d.mem.Vetoes[was.Label]
		if known && (was.Vetoed || r.Stage == VetoTrial && strings.HasPrefix(was.Label, inferredKey)) {
			r.Left = looksAtLeft
			d.mem.Vetoes[was.Label] = r
		}
	}
	for key, r := range d.mem.Vetoes {
		if r.Left > 0 {
			d.mem.Vetoes[key] = d.explained(key, r)
		}
	}
}

// explained returns what remains of a refusal after such an item has left the queue:
//
//   - A refused agent has taken work. Then there is no veto: Jenkins was slow, or had something against these
//     items alone.
//   - Another agent that fits has taken work. Then more agents help.
//   - Neither: a person has cancelled the item, or a foreign node runs it. That is worth one trial.
func (d *decider) explained(key string, r Veto) Veto {
	served, expr := false, label.Parse(strings.TrimPrefix(key, inferredKey))
	for _, m := range d.agents {
		switch {
		case !m.tookWork():
		case r.Agents[m.Name]:
			for i := range d.items {
				if s := &d.items[i].Seen; s.of(key) {
					*s = Sighting{Label: key, Since: d.in.Now}
				}
			}
			return Veto{Stage: VetoOver, Since: r.Since}
		case m.Pod != nil && expr.Matches(m.carries):
			served = true
		}
	}
	if served {
		return Veto{Stage: VetoServed, Since: d.in.Now, Agents: r.Agents, Why: r.Why}
	}
	r.Left--
	if r.Left == 0 && r.Stage == VetoPause && d.in.Now.Sub(r.Since) >= VetoProbe {
		r.Stage, r.Since = VetoTrial, d.in.Now
	}
	return r
}

// tookWork reports whether the agent runs more builds than at the last tick.
func (m *agent) tookWork() bool {
	was := &m.was.Work
	return m.Node != nil && !m.Node.Idle && (!was.On || m.Node.Busy > was.Builds)
}

// refusedBy returns, for each agent, the keys of the demands that the agent does not count for.
func (d *decider) refusedBy() map[string][]string {
	out := map[string][]string{}
	for _, key := range slices.Sorted(maps.Keys(d.mem.Vetoes)) {
		for name := range d.mem.Vetoes[key].Agents {
			out[name] = append(out[name], key)
		}
	}
	return out
}

// refusals looks for agents that wait beside items that they fit. refusals runs after the matching: what it
// finds counts for the matching from the next tick on.
func (d *decider) refusals() {
	for _, w := range d.demands {
		waited := func(i int) bool { return d.in.Now.Sub(d.items[i].Seen.Since) >= VetoedAfter }
		if !slices.ContainsFunc(w.items, waited) {
			continue
		}
		for _, s := range w.fits {
			for _, name := range s.standing {
				d.refuse(w, name)
			}
		}
		for name := range d.mem.Vetoes[w.key].Agents {
			if !d.standing(name) {
				continue
			}
			for _, i := range w.items {
				d.items[i].Seen.Vetoed = d.items[i].Seen.Vetoed || waited(i)
			}
			break
		}
	}
}

// standing reports whether the agent or foreign node has had an executor that waits for work for so long that
// Jenkins must have noticed it.
func (d *decider) standing(name string) bool {
	since := d.mem.agent(name).Open // of a foreign node
	if m := d.byName[name]; m != nil {
		since = m.is.Open
	}
	return !since.IsZero() && d.in.Now.Sub(since) >= VetoedAfter
}

// refuse notes that Jenkins gave an agent none of the items of a demand. That proves a veto if the agent is
// idle, and became free during a trial, or after a trial that had helped. For example, Bellboard makes one
// agent as a trial, and that agent waits idle for 15 s beside the item. Then Bellboard pauses.
func (d *decider) refuse(w *demand, name string) {
	now, r := d.in.Now, d.mem.Vetoes[w.key]
	m := d.byName[name]
	ours := m != nil && m.Pod != nil
	switch r.Stage {
	case "":
		r.Stage, r.Since = VetoTrial, now
	case VetoOver: // the last trial is not long ago
		r.Stage, r.Pause = VetoPause, VetoProbe
	case VetoTrial, VetoServed:
		if ours && m.Node.Idle && m.is.Open.After(r.Since) {
			r.Stage, r.Since, r.Pause = VetoPause, now, min(max(2*r.Pause, VetoKept), VetoMost)
		}
	case VetoPause:
	}
	if r.Agents == nil {
		r.Agents = map[string]bool{}
	}
	r.Agents[name], r.Why = true, d.in.Jenkins.Items[w.items[0]].Why
	d.mem.Vetoes[w.key] = r
	if ours {
		d.facts.Failures = append(d.facts.Failures, FailedAgent{
			PoolID: m.PoolID, Agent: name, Failure: FailureVetoed, Text: d.vetoOf(w, r.Why).text(),
		})
	}
}

// offered returns for how many of the demand's remaining items an agent may be made, and the veto that keeps
// the other items from one.
//
// An item that came after others were refused may be a different case. Until Jenkins refuses it too, the item
// gets an agent of its own, or an idle agent that Jenkins refused to the others. If the label is inferred,
// all the items together get one agent at a time, until Jenkins has given such an item to an agent.
func (d *decider) offered(w *demand) (n int, veto *Vetoed) {
	r, known := d.mem.Vetoes[w.key]
	if w.inferred {
		veto = d.vetoOf(w, r.Why)
	}
	if !known || r.Stage == VetoServed || r.Stage == VetoOver {
		return w.left, veto
	}
	refused, want := 0, len(w.items)
	for _, i := range w.items {
		refused += yes(d.items[i].Seen.Vetoed)
	}
	want -= refused
	for _, s := range d.supply {
		if slices.Contains(s.refuses, w.key) {
			want -= s.free
		}
	}
	want = max(0, want)
	switch {
	case r.Stage == VetoTrial:
		want += min(1, refused)
	case r.Pause < VetoKept: // the refused agents may still be given work
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

// vetoOf returns what is known of a demand whose items Jenkins did not give to agents.
func (d *decider) vetoOf(w *demand, why string) *Vetoed {
	return &Vetoed{
		Label: w.text, Inferred: w.inferred, Why: cmp.Or(why, d.in.Jenkins.Items[w.items[0]].Why),
		NamesNode: w.inferred && slices.ContainsFunc(d.foreign, func(n *Node) bool { return n.Name == w.text }),
	}
}
