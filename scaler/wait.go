package scaler

import (
	"cmp"
	"slices"
	"time"
)

// Objective is a promise about waiting: that share of the builds gets an executor within that time. Zero: there is
// no promise.
type Objective struct {
	Share  float64 // between 0 and 1
	Within time.Duration
}

// Run is a build on an executor, as one answer showed it. Job is the full name of the job, as in Item.
type Run struct{ Node, Job, URL string }

// Waiting is one item of the queue, and one that has left it until its build is seen.
type Waiting struct {
	Team     string        // which team has to serve the item; empty: none
	Job      string        // full name
	Since    time.Time     // since when only an executor has been missing; zero: more was
	Took     time.Duration // how long the item has waited, or had when it got its executor
	Held     bool          // the last answer showed the item blocked: it does not wait for an executor
	Assigned bool          // the last answer showed that the item has an executor
	Missed   bool          // the item has waited for longer than its team's objective
}

// handover is the longest time between the last answer of one process and the first of the next.
const handover = 30 * time.Second

// met reports whether the item has waited no longer than its team's objective, and counts it as soon as it has. When a
// process begins, the process before has counted those that had waited for too long already.
func (s *scene) met(w *Waiting) bool {
	t := s.teams[w.Team]
	if t == nil || t.Objective.Within == 0 {
		return false
	}
	if !w.Missed && w.Took > t.Objective.Within {
		w.Missed = true
		if from := s.mem.Started.Add(-handover); w.Since.Add(t.Objective.Within).After(from) {
			s.facts.Missed[w.Team]++
		}
	}
	return !w.Missed
}

// wait has the item wait until then, unless it has an executor.
func (w *Waiting) wait(until time.Time) {
	if !w.Assigned && !w.Since.IsZero() {
		w.Took = max(0, until.Sub(w.Since))
	}
}

// waits follows each item from the first answer in which only an executor was missing, until its build is seen
// on one. Jenkins reads its nodes before its queue, so the answers after may be the first that show the build.
//
// The item of a build that begins between two answers is never seen. The build then waited for less than the time
// between the two, and counts as one that did not wait. A build of which only the item was seen counts as gone:
// a person cancelled it, or it was over before the next answer.
func (s *scene) waits() {
	old, at := &s.in.Memory, s.in.Jenkins.AnsweredAt
	s.facts.Missed, s.facts.Gone = map[string]int{}, map[string]int{}
	for i := range s.items {
		if s.resumes[i] {
			s.items[i].Waiting = Waiting{}
			continue
		}
		s.items[i].Waiting = s.waiting(&s.in.Jenkins.Items[i], s.items[i].Waiting)
	}
	left := slices.Clone(old.Left)
	for _, id := range s.taken {
		if w := old.Items[id].Waiting; s.mem.Items[id] == nil && w.Job != "" {
			w.wait(at)
			left = append(left, w)
		}
	}
	started := func(w Waiting, kind Kind) {
		if w.Team != "" {
			s.facts.Waits = append(s.facts.Waits, Wait{Team: w.Team, Job: w.Job, Took: w.Took, Kind: kind, Met: s.met(&w)})
		}
	}
	expected := len(old.Left) // so many have been looked for twice
	for _, r := range s.newRuns() {
		var w Waiting
		if i := slices.IndexFunc(left, func(w Waiting) bool { return w.Job == r.Job }); i >= 0 {
			w = left[i]
			left = slices.Delete(left, i, i+1)
			expected -= yes(i < expected)
		}
		pool := PoolID{}
		if m := s.byName[r.Node]; m != nil {
			pool = m.PoolID
		}
		w.Team, w.Job = cmp.Or(w.Team, pool.Team), r.Job
		started(w, pool.Kind)
	}
	for i, w := range left {
		switch {
		case w.Team == "":
		case s.in.Jenkins.Runs == nil, i < expected && w.Assigned:
			started(w, "")
		case i < expected:
			s.facts.Gone[w.Team]++
		default:
			s.mem.Left = append(s.mem.Left, w)
		}
	}
}

// waiting returns what is known of an item of the queue, after what was known before.
func (s *scene) waiting(it *Item, w Waiting) Waiting {
	at := s.in.Jenkins.AnsweredAt
	w.Job = it.Job
	switch it.State {
	case Buildable, ShuttingDown, Pending:
		if w.Since.IsZero() {
			if w.Since = it.Since; w.Held {
				w.Since = at
			}
		}
		w.wait(at)
		s.met(&w)
		w.Held, w.Assigned = false, it.State == Pending
		return w
	case Flyweight:
		return Waiting{}
	default:
		return Waiting{Team: w.Team, Job: w.Job, Held: it.State == Blocked || w.Held, Missed: w.Missed}
	}
}

// newRuns returns the builds that the answers before did not show, and remembers all. A process that begins cannot
// tell them. A build whose agent is away may come back, and is none that begins.
func (s *scene) newRuns() (out []Run) {
	old := &s.in.Memory
	s.mem.Runs = make(map[Run]int, len(s.in.Jenkins.Runs))
	for _, r := range s.in.Jenkins.Runs {
		if s.mem.Runs[r]++; s.mem.Runs[r] > old.Runs[r] && !old.Started.IsZero() {
			out = append(out, r)
		}
	}
	for r, n := range old.Runs {
		if m := s.byName[r.Node]; m != nil && (m.Pinned || !m.online()) {
			s.mem.Runs[r] = max(n, s.mem.Runs[r])
		}
	}
	return out
}

// WaitCause says for what a build waits: a closed set, and a metric label.
type WaitCause string

// The causes.
const (
	WaitsForStart    WaitCause = "starting"   // an agent is free or on its way
	WaitsForCap      WaitCause = "cap"        // MAX_AGENTS, MAX_PERSISTENT or BELLBOARD_MAX_AGENTS
	WaitsForHealth   WaitCause = "failing"    // the team's agents fail
	WaitsForSettings WaitCause = "settings"   // PAUSED, SCALE_UP_STEP or SCALE_UP_COOLDOWN
	WaitsForJenkins  WaitCause = "jenkins"    // Jenkins is about to shut down, or gives the build to no agent that fits
	WaitsForSight    WaitCause = "hold"       // Jenkins or Kubernetes cannot be read
	WaitsForTeam     WaitCause = "unserved"   // no team serves the label
	WaitsForLabel    WaitCause = "unresolved" // Jenkins does not name the label
)

// stoppedBy is the cause for each rule that keeps agents from being made.
var stoppedBy = map[Rule]WaitCause{
	RuleMaxAgents: WaitsForCap, RuleMaxPersistent: WaitsForCap, RuleGlobalMax: WaitsForCap, RuleBackoff: WaitsForHealth,
	RulePaused: WaitsForSettings, RuleScaleUpStep: WaitsForSettings, RuleScaleUpCooldown: WaitsForSettings,
	RuleQuietDown: WaitsForJenkins, RuleVetoed: WaitsForJenkins,
}

// WaitsFor returns how many of the team's waiting builds wait for what. If several rules limit the team, all builds
// beyond the agents that are made count to the rule that the decision's text names.
func (d *Decision) WaitsFor() map[WaitCause]int {
	out, short := map[WaitCause]int{}, d.Short-d.Vetoed
	if stop := d.stops(); stop != nil {
		out[stoppedBy[stop.Rule]] = max(0, short-d.Ups())
	}
	out[WaitsForJenkins] += d.Vetoed
	rest := d.Waiting
	for _, n := range out {
		rest -= n
	}
	out[WaitsForStart] += max(0, rest)
	return out
}
