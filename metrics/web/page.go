package web

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/plain"
)

// linesShown is the number of last changes on the page.
const linesShown = 12

// view is the content of the page at one moment.
type view struct {
	Status
	Pods            int          // the number of agents that the last tick saw; a berth is no agent yet
	Shown           *scaler.Tick // the last tick that was no hold
	Fleet           []group
	Leftovers       []leftover
	Slots           map[string][]scaler.SlotSeen // the cache slots by team, sorted by state
	Changes         []line
	Starts, Overdue []string
}

// Unused returns the time for which a cache slot was not used.
func (v *view) Unused(s scaler.SlotSeen) time.Duration {
	return max(0, v.Shown.At.Sub(s.LastUsed)).Round(time.Second)
}

// group has the agents of one team, sorted by class.
type group struct {
	Team   string
	Agents []scaler.Agent
}

// leftover has the Jenkins nodes of one class without a pod, except berths.
type leftover struct {
	Class scaler.Class
	What  string // the class in words, and what Bellboard does
	Count int
	Names string // of a few of them
}

// namesShown is the number of Jenkins nodes of a class that the page names.
const namesShown = 4

// leftovers has the classes of Jenkins nodes without a pod, in words.
var leftovers = []leftover{
	{Class: scaler.FenceInTheWay, What: "a build wants the fence's name; Bellboard deletes the fence at once"},
	{Class: scaler.Resuming, What: "a build wants this agent back; Bellboard clears its mark at once"},
	{Class: scaler.Awaited, What: "a build wants this agent back; Bellboard leaves it alone"},
	{Class: scaler.Fenced, What: "a fence whose agent is gone; Bellboard deletes it"},
	{Class: scaler.Held, What: "a person took it offline; Bellboard leaves it alone"},
	{Class: scaler.Intruder, What: "online without a pod; Bellboard marks it, so that it gets no work, and deletes it when it is offline"},
	{Class: scaler.Lost, What: fmt.Sprintf("its pod vanished under a build; Bellboard marks it, and deletes it after %.0f minutes", scaler.LostAfter.Minutes())},
	{Class: scaler.Stray, What: "no longer needed; Bellboard marks it, then deletes it, a few at a time"},
}

// line is the decision for one team in one tick.
type line struct {
	At              time.Time
	Team, What, Why string
}

//go:embed page.css page.html
var files embed.FS

var page = template.Must(template.ParseFS(files, "page.html"))

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	var text strings.Builder
	if err := page.Execute(&text, s.view()); err != nil {
		http.Error(w, "cannot write the page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, plain.Page(text.String())) // as in answer
}

func (s *Server) view() *view {
	has := s.now()
	v := &view{Status: has.Status, Shown: &scaler.Tick{}, Changes: changed(has.changes), Slots: map[string][]scaler.SlotSeen{}}
	if has.Tick != nil {
		for i := range has.Tick.Plan.Agents {
			if has.Tick.Plan.Agents[i].Pod {
				v.Pods++
			}
		}
	}
	if has.seen == nil {
		return v
	}
	v.Shown = has.seen // nothing changes a tick that has ended
	plan := &has.seen.Plan
	for i := range plan.Decisions {
		d := &plan.Decisions[i]
		for _, u := range d.Usual {
			v.Starts = append(v.Starts, d.Team+" "+string(u.Kind)+": "+u.Words())
		}
	}
	for i := range plan.Agents {
		if a := &plan.Agents[i]; a.Overdue {
			v.Overdue = append(v.Overdue, a.Name+": "+a.Text)
		}
	}
	byState := func(a, b scaler.SlotSeen) int { return cmp.Compare(a.State, b.State) }
	for _, s := range slices.SortedStableFunc(slices.Values(plan.Slots), byState) {
		v.Slots[s.Team] = append(v.Slots[s.Team], s)
	}
	v.Fleet, v.Leftovers = fleet(plan), podless(plan)
	return v
}

// changed returns the last changes, the newest first. The teams' table shows what is blocked.
func changed(ticks []scaler.Tick) (out []line) {
	for i := range ticks {
		t := &ticks[i]
		if t.Hold != "" {
			out = append(out, line{t.At, "all", "hold", t.Hold})
		}
		for j := range t.Plan.Decisions {
			if d := &t.Plan.Decisions[j]; d.Changes() && acted(t) {
				out = append(out, line{t.At, d.Team, d.Change(), d.Text})
			}
		}
	}
	return out[:min(len(out), linesShown)]
}

// fleet returns the agents with a pod by team, in the order of the teams, and by class. Agents of removed
// teams come last.
func fleet(p *scaler.Plan) (out []group) {
	for i := range p.Decisions {
		out = append(out, group{Team: p.Decisions[i].Team})
	}
	for _, a := range p.Agents {
		if !a.Pod {
			continue
		}
		i := slices.IndexFunc(out, func(g group) bool { return g.Team == a.Team })
		if i < 0 {
			i = len(out)
			out = append(out, group{Team: a.Team})
		}
		out[i].Agents = append(out[i].Agents, a)
	}
	for i := range out {
		slices.SortFunc(out[i].Agents, func(a, b scaler.Agent) int {
			return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Name, b.Name))
		})
	}
	return out
}

// podless returns the Jenkins nodes without a pod by class, except berths.
func podless(p *scaler.Plan) (out []leftover) {
	for _, l := range leftovers {
		var names []string
		for i := range p.Agents {
			a := &p.Agents[i]
			switch {
			case a.Pod || a.Class != l.Class:
			case a.Class == scaler.Held && a.Text != "":
				names = append(names, a.Name+" ("+a.Text+")")
			default:
				names = append(names, a.Name)
			}
		}
		l.Count = len(names)
		l.Names = strings.Join(names[:min(l.Count, namesShown)], ", ")
		if l.Count > namesShown {
			l.Names += fmt.Sprintf(" and %d more", l.Count-namesShown)
		}
		if l.Count > 0 {
			out = append(out, l)
		}
	}
	return out
}
