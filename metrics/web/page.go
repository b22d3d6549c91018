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

// What the page shows at most.
const (
	linesShown = 12 // last changes
	namesShown = 4  // names of Jenkins nodes of a class
)

// view is the content of the page at one moment.
type view struct {
	Status
	Pods            int                          // the agents that the last tick saw; a berth is no agent yet
	Shown           *scaler.Tick                 // the last tick that was no hold
	Teams           []string                     // in the order of the settings; removed teams come last
	Fleet           map[string][]scaler.Agent    // the agents with a pod by team, sorted by class
	Podless         []string                     // all other Jenkins nodes, except berths
	Slots           map[string][]scaler.SlotSeen // the cache slots by team, sorted by state
	Changes         []line
	Windows         []string // what windows of SCHEDULE set now
	Starts, Overdue []string
}

// Unused returns the time for which a cache slot was not used.
func (v *view) Unused(s scaler.SlotSeen) time.Duration {
	return max(0, v.Shown.At.Sub(s.LastUsed)).Round(time.Second)
}

// leftovers has the classes of Jenkins nodes without a pod: in words, and what Bellboard does.
var leftovers = []struct {
	class scaler.Class
	what  string
}{
	{scaler.FenceInTheWay, "a build wants the fence's name; Bellboard deletes the fence at once"},
	{scaler.Resuming, "a build wants this agent back; Bellboard clears its mark at once"},
	{scaler.Awaited, "a build wants this agent back; Bellboard leaves it alone"},
	{scaler.Fenced, "a fence whose agent is gone; Bellboard deletes it"},
	{scaler.Held, "a person took it offline; Bellboard leaves it alone"},
	{scaler.Intruder, "online without a pod; Bellboard marks it, so that it gets no work, and deletes it when it is offline"},
	{scaler.Lost, fmt.Sprintf("its pod vanished under a build; Bellboard marks it, and deletes it after %.0f minutes", scaler.LostAfter.Minutes())},
	{scaler.Stray, "no longer needed; Bellboard marks it, then deletes it, a few at a time"},
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
	v := &view{
		Status:  has.Status,
		Changes: changed(has.changes),
		Fleet:   map[string][]scaler.Agent{},
		Slots:   map[string][]scaler.SlotSeen{},
	}
	if v.Shown = has.seen; v.Shown == nil {
		v.Shown = &scaler.Tick{}
	}
	plan := &v.Shown.Plan // nothing changes a tick that has ended
	for i := range plan.Decisions {
		d := &plan.Decisions[i]
		v.Teams = append(v.Teams, d.Team)
		for j := range d.Scheduled {
			v.Windows = append(v.Windows, d.Team+": "+d.Scheduled[j].Words())
		}
		for _, u := range d.Usual {
			v.Starts = append(v.Starts, d.Team+" "+string(u.Kind)+": "+u.Words())
		}
	}
	podless := map[scaler.Class][]string{}
	for _, a := range plan.Agents {
		if a.Overdue {
			v.Overdue = append(v.Overdue, a.Name+": "+a.Text)
		}
		switch {
		case a.Pod:
			if !slices.Contains(v.Teams, a.Team) {
				v.Teams = append(v.Teams, a.Team)
			}
			v.Fleet[a.Team] = append(v.Fleet[a.Team], a)
			if has.Seen == nil { // a hold saw none
				v.Pods++
			}
		case a.Class == scaler.Held && a.Text != "":
			podless[a.Class] = append(podless[a.Class], a.Name+" ("+a.Text+")")
		default:
			podless[a.Class] = append(podless[a.Class], a.Name)
		}
	}
	for _, agents := range v.Fleet {
		slices.SortFunc(agents, func(a, b scaler.Agent) int {
			return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Name, b.Name))
		})
	}
	for _, l := range leftovers {
		names := podless[l.class]
		if len(names) == 0 {
			continue
		}
		text := fmt.Sprintf("%d %s: %s: %s", len(names), l.class, l.what, strings.Join(names[:min(len(names), namesShown)], ", "))
		if more := len(names) - namesShown; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		v.Podless = append(v.Podless, text)
	}
	byState := func(a, b scaler.SlotSeen) int { return cmp.Compare(a.State, b.State) }
	for _, s := range slices.SortedStableFunc(slices.Values(plan.Slots), byState) {
		v.Slots[s.Team] = append(v.Slots[s.Team], s)
	}
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
