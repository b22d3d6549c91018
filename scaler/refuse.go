package scaler

import (
	"fmt"
	"slices"
	"time"
)

const (
	// RefusedAfter is how long an agent may wait beside an item that it fits.
	// Jenkins needs no second to bring the two together, so something in it
	// forbids that: a plugin's veto, a node property, a throttle.
	RefusedAfter = 15 * time.Second
	// RefusalKept is how long that is believed.
	RefusalKept = 10 * time.Minute
	// RefusalProbe is how long after one agent was made to see whether it is
	// refused too the next may be, should the label have been served between.
	RefusalProbe = 5 * time.Minute
)

// Sighting is an item that was buildable, and wanted that label, since then, or
// since agents which such items seemed to be refused were found to be given some.
type Sighting struct {
	Label string
	Since time.Time
}

// Refusal is what is known of a label whose items Jenkins does not give to
// agents that fit it.
type Refusal struct {
	Since  time.Time
	Agents map[string]bool // they do not count for it
	// Probe is when one more was allowed last, to see whether it is refused too.
	Probe time.Time
	// Again: one that came, or had room, only after that was refused too, so no more are made.
	Again bool
	// Served: an item of the label has left the queue since, and none of the agents
	// has taken it, so more may help.
	Served bool
}

// believed: the refusal says something about the label now.
func (r *Refusal) believed(now time.Time) bool {
	return !r.Since.IsZero() && now.Sub(r.Since) < RefusalKept
}

// refusedBy lists, for each agent, the labels that it does not count for.
func (d *decider) refusedBy() map[string][]string {
	out := map[string][]string{}
	for text, r := range d.in.Memory.Refused {
		if !r.believed(d.in.Now) {
			continue
		}
		for name := range r.Agents {
			out[name] = append(out[name], text)
		}
	}
	for _, labels := range out {
		slices.Sort(labels)
	}
	return out
}

// refusals looks for agents that wait beside items which they fit. It comes
// after the matching, and counts from the next tick on.
func (d *decider) refusals() {
	now, old := d.in.Now, d.in.Memory
	d.mem.Seen = make(map[int64]Sighting, len(old.Seen))
	d.mem.Refused = make(map[string]Refusal, len(old.Refused))
	waits := make(map[string]time.Time, len(d.wishes)) // by label: since when one item is buildable
	for _, w := range d.wishes {
		since := now
		for _, i := range w.items {
			id := d.in.Jenkins.Items[i].ID
			s := Sighting{Label: w.text, Since: now}
			if was, ok := old.Seen[id]; ok && was.Label == w.text {
				s.Since = was.Since
			}
			d.mem.Seen[id] = s
			if s.Since.Before(since) {
				since = s.Since
			}
		}
		waits[w.text] = since
	}
	for text, r := range old.Refused {
		if r.believed(now) || now.Sub(r.Probe) < RefusalProbe {
			d.mem.Refused[text] = r
		}
	}
	for id, s := range old.Seen {
		if is, still := d.mem.Seen[id]; still && is.Label == s.Label { // it may be without a label, which is one, too
			continue
		}
		if r, ok := d.mem.Refused[s.Label]; ok {
			r = d.served(r)
			if d.mem.Refused[s.Label] = r; r.Since.IsZero() {
				waits[s.Label] = now
			}
		}
	}
	for id, s := range d.mem.Seen {
		if since, ok := waits[s.Label]; ok && since.Equal(now) {
			d.mem.Seen[id] = Sighting{Label: s.Label, Since: now}
		}
	}
	for _, w := range d.wishes {
		if now.Sub(waits[w.text]) < RefusedAfter {
			continue
		}
		for _, i := range w.fits {
			for _, name := range d.supply[i].standing {
				d.refuse(w, name)
			}
		}
	}
}

// served is what is left of a refusal when an item of its label has left the queue.
// If an agent that was refused has taken work, the agents are none to be refused: Jenkins
// was slow, or does not want those other items to be built yet. If none has, more agents help.
func (d *decider) served(r Refusal) Refusal {
	for name := range r.Agents {
		if d.tookWork(name) {
			return Refusal{Probe: r.Probe}
		}
	}
	r.Served, r.Again = true, false
	return r
}

// tookWork: it runs more builds than at the last look. One that is gone went unused,
// unless it was seen at work.
func (d *decider) tookWork(name string) bool {
	m, was := d.byName[name], d.in.Memory.Worked[name]
	switch {
	case m == nil || m.verdict.Class == Ended:
		return was.Builds > 0
	case m.Node == nil || m.Node.Idle:
		return false
	}
	return !was.On || m.Node.Busy > was.Builds
}

// standing: it has waited for work for so long that Jenkins must have seen it.
func (d *decider) standing(name string) bool {
	since, ok := d.mem.Open[name]
	return ok && d.in.Now.Sub(since) >= RefusedAfter
}

// refuse notes that an agent was not given any item of that label.
func (d *decider) refuse(w *wish, name string) {
	text := w.text
	r := d.mem.Refused[text]
	known := r.believed(d.in.Now)
	if !known {
		r.Since = d.in.Now
		if d.in.Now.Sub(r.Probe) >= RefusalProbe {
			r.Probe = d.in.Now
		}
	}
	agents := map[string]bool{name: true} // a Memory that was given away is not changed
	for a := range r.Agents {
		agents[a] = true
	}
	r.Agents, r.Served = agents, false
	if m := d.byName[name]; m != nil && m.Pod != nil {
		d.facts.Failures = append(d.facts.Failures, FailedAgent{PoolID: m.PoolID, Agent: name, Failure: FailureRefused, Text: d.refusedText(w)})
		r.Again = r.Again || known && d.mem.Open[name].After(r.Since)
	}
	d.mem.Refused[text] = r
}

// offered is how many of the items that a wish has left may have an agent made
// for them: one to see whether a fresh agent is refused too, none if it was; where
// it has turned out already that nobody was refused, as many as there are more than agents.
func (d *decider) offered(w *wish) (n int, note string) {
	r := d.in.Memory.Refused[w.text]
	if !r.believed(d.in.Now) || r.Served {
		return w.left, ""
	}
	n = min(w.left, max(0, 1-(len(w.items)-w.left)))
	switch {
	case !r.Probe.Equal(r.Since):
		// Not long ago it was none: those that are refused may be given work yet.
		if n = max(0, w.left-len(r.Agents)); n == w.left {
			return n, ""
		}
	case r.Again:
		n = 0
	}
	return n, d.refusedText(w)
}

// refusedText says it in Jenkins' words.
func (d *decider) refusedText(w *wish) string {
	if w.text == "" {
		return "Jenkins gives builds without a label to no agent that fits: " + d.in.Jenkins.Items[w.items[0]].Why
	}
	return fmt.Sprintf("Jenkins gives %q to no agent that fits: %s", w.text, d.in.Jenkins.Items[w.items[0]].Why)
}
