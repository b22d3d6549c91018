package scaler

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"bellboard/scaler/label"
)

// Demand is the waiting builds of one label.
type Demand struct {
	Label    string        `json:"label"`              // "": the builds ask for no label
	Inferred bool          `json:"inferred,omitempty"` // Jenkins does not name the label
	Builds   int           `json:"builds"`
	Oldest   time.Duration `json:"oldest"`          // how long the oldest of the builds has waited
	Short    int           `json:"shortfall"`       // builds that no free or coming executor serves
	Teams    []string      `json:"teams,omitempty"` // teams that fit; the first one answers, as long as it has room
}

// Queued is the builds of one job that wait in Jenkins' queue for one label and in one state, and why they
// wait.
type Queued struct {
	Job    string        `json:"job"`
	Label  string        `json:"label,omitempty"` // "": no label, or it is not known
	State  ItemState     `json:"state"`
	Builds int           `json:"builds"`
	Oldest time.Duration `json:"oldest"`
	Team   string        `json:"team,omitempty"` // that answers
	Next   *Expected     `json:"next,omitempty"` // the team's next agent, as far as it can be foreseen
	Text   string        `json:"text"`
	Why    []string      `json:"why"` // sentences, from the label to the next agent

	resolution Resolution
	jenkins    string // Jenkins' sentence on the first of the builds
}

// Expected is the next agent of a team.
type Expected struct {
	Agent string        `json:"agent,omitempty"` // "": it is not made yet
	Phase Phase         `json:"phase,omitempty"`
	Text  string        `json:"text,omitempty"` // what is odd about it
	Age   time.Duration `json:"age,omitempty"`
	In    time.Duration `json:"in,omitempty"`    // until it connects; 0: it is late, or not known
	Start time.Duration `json:"start,omitempty"` // half of such agents start in that time; 0: not known
	After time.Duration `json:"after,omitempty"` // until a rule lets it be made
}

// demand adds what a demand asks for to the plan. names has the teams that fit.
func (d *decider) demand(w *demand, names []string) {
	d.plan.Demands = append(d.plan.Demands, Demand{
		Label: w.text, Inferred: w.inferred, Builds: len(w.items), Oldest: d.in.Now.Sub(w.oldest), Short: w.left, Teams: names,
	})
}

// Why returns the builds in Jenkins' queue that have what as their job, label or team, the oldest first. If
// none has, Why looks for what inside of jobs and labels. An empty what stands for all builds. If there is no
// such build, none says so.
func (t *Tick) Why(what string) (found []Queued, none string) {
	found = t.queued()
	if what != "" {
		all := found
		if found = matching(all, what, func(is, what string) bool { return is == what }); len(found) == 0 {
			found = matching(all, what, strings.Contains)
		}
	}
	if len(found) == 0 {
		return nil, t.noneText(what, len(t.Items))
	}
	for i := range found {
		t.explain(&found[i])
	}
	return found, ""
}

func matching(all []Queued, what string, fits func(is, what string) bool) (found []Queued) {
	name := label.Parse(what).String()
	for i := range all {
		q := &all[i]
		short := q.Job[strings.LastIndex(q.Job, "/")+1:]
		if fits(q.Job, what) || fits(short, what) || q.Label != "" && fits(q.Label, name) || q.Team != "" && fits(q.Team, what) {
			found = append(found, *q)
		}
	}
	return found
}

// queued groups the items of the queue by job, label and state, the oldest first.
func (t *Tick) queued() []Queued {
	type key struct {
		job, label string
		state      ItemState
		resolution Resolution
	}
	at, out := map[key]int{}, []Queued{}
	for i := range t.Items {
		it := &t.Items[i]
		k := key{it.Job, it.Label, it.State, it.Resolution}
		n, known := at[k]
		if !known {
			n, at[k] = len(out), len(out)
			out = append(out, Queued{Job: it.Job, Label: it.Label, State: it.State, resolution: it.Resolution, jenkins: it.Why})
			if w := t.demandOf(&out[n]); w != nil && len(w.Teams) > 0 {
				out[n].Team = w.Teams[0]
			}
		}
		out[n].Builds++
		out[n].Oldest = max(out[n].Oldest, t.At.Sub(it.Since))
	}
	slices.SortStableFunc(out, func(a, b Queued) int { return cmp.Compare(b.Oldest, a.Oldest) })
	return out
}

// demandOf returns the demand that the builds are part of, and nil if no new agent could serve them.
func (t *Tick) demandOf(q *Queued) *Demand {
	if q.State != Buildable || q.resolution == Unresolved {
		return nil
	}
	for i := range t.Plan.Demands {
		if w := &t.Plan.Demands[i]; w.Label == q.Label && w.Inferred == (q.resolution == Inferred) {
			return w
		}
	}
	return nil
}

// agentOf returns the agent of that name, and nil if there is none.
func (t *Tick) agentOf(name string) *Agent {
	for i := range t.Plan.Agents {
		if name != "" && t.Plan.Agents[i].Name == name {
			return &t.Plan.Agents[i]
		}
	}
	return nil
}

// expected returns the team's next agent, and nil if no agent is on its way and no rule ends soon.
func (t *Tick) expected(d *Decision) (next *Expected) {
	half := map[Kind]time.Duration{}
	for _, u := range d.Usual {
		half[u.Kind] = u.Half
	}
	for i := range t.Plan.Agents {
		a := &t.Plan.Agents[i]
		if a.Team != d.Team || a.Class != Coming || a.Overdue {
			continue
		}
		x := Expected{Agent: a.Name, Phase: a.Phase, Text: a.Text, Age: max(0, t.At.Sub(a.Created)), Start: half[a.Kind]}
		x.In = max(0, x.Start-x.Age)
		if next == nil || x.order(next) < 0 {
			next = &x
		}
	}
	for _, k := range Kinds() {
		if next == nil && d.Up[k] > 0 {
			next = &Expected{Start: half[k], In: half[k]}
		}
	}
	if s := d.stops(); next == nil && s != nil {
		k, left := Ephemeral, s.Left
		if s.Pause != nil {
			k, left = s.Pause.Kind, s.Pause.Left
		}
		if left > 0 {
			next = &Expected{Start: half[k], After: left, In: left + half[k]}
		}
	}
	return next
}

// order compares two agents on their way: first those that are in time, then the late ones, then those of
// which nothing is known.
func (x *Expected) order(y *Expected) int {
	return cmp.Or(yes(x.Start == 0)-yes(y.Start == 0), yes(x.In == 0)-yes(y.In == 0), cmp.Compare(x.In, y.In), cmp.Compare(x.Age, y.Age))
}

// Decision returns the decision for a team, and nil if there is none.
func (p *Plan) Decision(team string) *Decision {
	for i := range p.Decisions {
		if p.Decisions[i].Team == team {
			return &p.Decisions[i]
		}
	}
	return nil
}
