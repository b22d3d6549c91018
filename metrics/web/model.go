package web

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"bellboard/scaler"
)

// What a page shows at most.
const (
	changesShown = 12
	namesShown   = 4   // Jenkins nodes of a class
	agentsShown  = 200 // of one team
	quietShown   = 6   // quiet teams, before they are folded into one line
	picture      = 240 // looks in the chart
)

// moodUnknown is the mood before the first tick that is no hold.
const moodUnknown scaler.Mood = "unknown"

// head is what every page begins with.
type head struct {
	Status
	Root   string       // from the page to the first page: "" or "../"
	Team   string       // "": the page shows all teams
	Shown  *scaler.Tick // the last tick that was no hold
	Chart  chart
	Costs  []cost
	Failed []Failed
	Lost   []Lost
}

// Process returns the random part of the tick's id, which each process has its own of.
func (h *head) Process() string {
	if h.Tick == nil {
		return ""
	}
	return h.Tick.ID[:max(0, strings.LastIndex(h.Tick.ID, "-"))]
}

// home is the page of all teams.
type home struct {
	head
	Teams, Quiet []row
	Podless      []string // Jenkins nodes without a pod, except berths
	Overdue      []string
	Windows      []string // what windows of SCHEDULE set now
}

// row is one team among all.
type row struct {
	*scaler.Decision // nil: the team is no longer in the settings
	Name             string
	Mood             scaler.Mood
	Groups           []group
	Pods             int
	Spark            chart
}

// group is how many agents are in one of the groups of classes.
type group struct {
	Words   string
	From    int // agents in the groups before
	Count   int
	classes []scaler.Class
}

// Class returns the class whose style the group has.
func (g group) Class() scaler.Class { return g.classes[0] }

// teamPage is the page of one team.
type teamPage struct {
	head
	Row      row
	Agents   []agent
	More     int // agents that are not shown
	Slots    []slot
	Settings []Setting
}

// agent is one agent of a team's page.
type agent struct {
	scaler.Agent
	Group   group
	Age     time.Duration
	NodeURL string // "": the agent has no Jenkins node
	Job     string // the build that it runs: "web-3 #12"
}

// slot is one cache slot, and for how long it was not used.
type slot struct {
	scaler.SlotSeen
	Unused time.Duration
}

// Change is the decision for one team in one tick, or a hold.
type Change struct {
	ID       string           `json:"id"` // of the tick
	Team     string           `json:"team"`
	What     string           `json:"what"`
	Why      string           `json:"why"`
	At       time.Time        `json:"at"`
	Decision *scaler.Decision `json:"-"` // nil: a hold
	Results  []string         `json:"results,omitempty"`
}

// groups are the groups of agents with a pod, in the order in which people see them. Agents of all other
// classes are in the last group.
var groups = []group{
	{Words: "not connected", classes: []scaler.Class{scaler.Stuck, scaler.Ghost, scaler.Cut, scaler.Reconnecting}},
	{Words: "held by a person", classes: []scaler.Class{scaler.Held}},
	{Words: "wanted back by a build", classes: []scaler.Class{scaler.Awaited, scaler.Resuming, scaler.FenceInTheWay}},
	{Words: "starting", classes: []scaler.Class{scaler.Coming}},
	{Words: "busy", classes: []scaler.Class{scaler.Busy}},
	{Words: "busy, then leaving", classes: []scaler.Class{scaler.Draining}},
	{Words: "free", classes: []scaler.Class{scaler.Free}},
	{Words: "leaving", classes: []scaler.Class{scaler.Going, scaler.Ended, scaler.Fenced, scaler.Leaving, scaler.Drained}},
}

const groupCount = 8

// State says in people's words what an agent of that class does.
func State(c scaler.Class) string { return groups[groupOf(c)].Words }

func groupOf(c scaler.Class) int {
	for i := range groups {
		if slices.Contains(groups[i].classes, c) {
			return i
		}
	}
	return len(groups) - 1
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

// head returns what the page of a team begins with; "" stands for all teams.
func (s *state) head(c *Config, team string) head {
	h := head{Status: s.Status, Team: team, Shown: cmp.Or(s.seen, &scaler.Tick{})}
	h.Sum, h.Max = h.Shown.Plan.Sum(), c.MaxAgents
	h.Waiting += h.Nobodys
	switch {
	case s.Tick == nil:
		h.Mood, h.Headline = moodUnknown, "Bellboard has not read Jenkins and Kubernetes yet."
	case s.Tick.Hold != "":
		h.Mood, h.Headline = scaler.MoodHold, s.Tick.Headline()
	default:
		h.Headline = s.Tick.Headline()
	}
	if age := s.Now.Sub(s.ended); age > c.MaxAge {
		h.Stuck = age.Round(time.Second)
	}
	of := s.past.of(team)
	h.P95, h.Left = of.p95(s.Now)
	h.Chart = of.chart(s.Now, of.span(s.Now), picture)
	h.Costs = s.costs(c, team)
	h.Changes = changed(s.changes, team)
	for _, f := range s.Failed {
		if team == "" || f.Team == team {
			h.Failed = append(h.Failed, f)
		}
	}
	for _, l := range s.Lost {
		if team == "" || l.Team == team {
			h.Lost = append(h.Lost, l)
		}
	}
	return h
}

// home returns the page of all teams.
func (s *state) home(c *Config) *home {
	v := &home{head: s.head(c, "")}
	plan := &v.Shown.Plan // nothing changes a tick that has ended
	counts, names := tally(plan)
	for _, name := range names {
		r := row{Name: name, Mood: moodUnknown}
		if r.Decision = plan.Decision(name); r.Decision != nil {
			r.Mood = r.Decision.Mood()
			for _, w := range r.Scheduled {
				v.Windows = append(v.Windows, name+": "+w.Words())
			}
		}
		r.count(counts[name])
		v.Teams = append(v.Teams, r)
	}
	slices.SortStableFunc(v.Teams, func(a, b row) int {
		return cmp.Or(cmp.Compare(rank(b.Mood), rank(a.Mood)), cmp.Compare(b.oldest(), a.oldest()))
	})
	if n := slices.IndexFunc(v.Teams, func(r row) bool { return r.Mood == scaler.MoodQuiet }); n >= 0 && len(v.Teams)-n > quietShown {
		v.Teams, v.Quiet = v.Teams[:n], v.Teams[n:]
	}
	for i := range v.Teams {
		v.Teams[i].Spark = s.past.of(v.Teams[i].Name).chart(s.Now, waitsKept, waitsKept/2)
	}
	podless := map[scaler.Class][]string{}
	for i := range plan.Agents {
		a := &plan.Agents[i]
		if a.Overdue {
			v.Overdue = append(v.Overdue, a.Name+": "+a.Text)
		}
		switch {
		case a.Pod:
		case a.Class == scaler.Held && a.Text != "":
			podless[a.Class] = append(podless[a.Class], a.Name+" ("+a.Text+")")
		default:
			podless[a.Class] = append(podless[a.Class], a.Name)
		}
	}
	for _, l := range leftovers {
		if all := podless[l.class]; len(all) > 0 {
			text := fmt.Sprintf("%d %s: %s: %s", len(all), l.class, l.what, strings.Join(all[:min(len(all), namesShown)], ", "))
			if more := len(all) - namesShown; more > 0 {
				text += fmt.Sprintf(" and %d more", more)
			}
			v.Podless = append(v.Podless, text)
		}
	}
	return v
}

// team returns the page of one team, and nil if there is no such team.
func (s *state) team(c *Config, name string) *teamPage {
	if s.seen == nil {
		return nil
	}
	plan := &s.seen.Plan
	counts, names := tally(plan)
	if !slices.Contains(names, name) {
		return nil
	}
	v := &teamPage{head: s.head(c, name), Row: row{Decision: plan.Decision(name), Name: name, Mood: moodUnknown}, Settings: c.Settings[name]}
	v.Root, v.Sum = "../", scaler.Sum{}
	v.Row.count(counts[name])
	if d := v.Row.Decision; d != nil {
		v.Row.Mood = d.Mood()
		v.Waiting, v.Oldest, v.Busy, v.Free, v.Coming, v.Alive, v.Max = d.Waiting, d.Oldest, d.Busy, d.Free, d.Coming, d.Alive, d.MaxAgents
	}
	for i := range plan.Agents {
		if a := &plan.Agents[i]; a.Pod && a.Team == name {
			v.Agents = append(v.Agents, s.agent(c, a))
		}
	}
	slices.SortStableFunc(v.Agents, func(a, b agent) int {
		return cmp.Or(cmp.Compare(groupOf(a.Class), groupOf(b.Class)), cmp.Compare(b.Age, a.Age))
	})
	if v.More = max(0, len(v.Agents)-agentsShown); v.More > 0 {
		v.Agents = v.Agents[:agentsShown]
	}
	for _, x := range plan.Slots {
		if x.Team == name {
			v.Slots = append(v.Slots, slot{x, max(0, s.seen.At.Sub(x.LastUsed))})
		}
	}
	slices.SortStableFunc(v.Slots, func(a, b slot) int { return cmp.Compare(a.State, b.State) })
	return v
}

func (s *state) agent(c *Config, a *scaler.Agent) agent {
	out := agent{Agent: *a, Group: groups[groupOf(a.Class)], Job: BuildName(a.Build)}
	if !a.Created.IsZero() {
		out.Age = max(0, s.seen.At.Sub(a.Created))
	}
	if a.Node {
		out.NodeURL = strings.TrimSuffix(cmp.Or(s.root, c.JenkinsURL), "/") + "/computer/" + url.PathEscape(a.Name) + "/"
	}
	return out
}

// BuildName returns "folder/web #12" of the URL of a build.
func BuildName(build string) string {
	_, path, _ := strings.Cut(build, "/job/")
	path, err := url.PathUnescape(strings.TrimSuffix(strings.ReplaceAll(path, "/job/", "/"), "/"))
	if i := strings.LastIndex(path, "/"); err == nil && i >= 0 {
		return path[:i] + " #" + path[i+1:]
	}
	return build
}

// tally returns by team how many agents with a pod are in each group, and the names of the teams: first those
// of the settings.
func tally(plan *scaler.Plan) (counts map[string]*[groupCount]int, names []string) {
	counts = map[string]*[groupCount]int{}
	of := func(team string) *[groupCount]int {
		if counts[team] == nil {
			counts[team] = new([groupCount]int)
			names = append(names, team)
		}
		return counts[team]
	}
	for i := range plan.Decisions {
		of(plan.Decisions[i].Team)
	}
	for i := range plan.Agents {
		if a := &plan.Agents[i]; a.Pod {
			of(a.Team)[groupOf(a.Class)]++
		}
	}
	return counts, names
}

func (r *row) count(counts *[groupCount]int) {
	for i, n := range counts {
		if g := groups[i]; n > 0 {
			g.From, g.Count = r.Pods, n
			r.Groups, r.Pods = append(r.Groups, g), r.Pods+n
		}
	}
}

// Cap returns how many agents a bar is long.
func (r row) Cap() int {
	if r.Decision == nil {
		return r.Pods
	}
	return max(r.MaxAgents, r.Pods, 1)
}

func (r row) oldest() time.Duration {
	if r.Decision == nil {
		return 0
	}
	return r.Oldest
}

// rank orders the teams: the worst have the highest rank. Teams that are no longer in the settings have agents
// at work.
func rank(m scaler.Mood) int {
	if m == moodUnknown {
		m = scaler.MoodWorking
	}
	return slices.Index(scaler.Moods(), m)
}

// changed returns the last changes of a team, or of all teams, the newest first.
func changed(ticks []scaler.Tick, team string) (out []Change) {
	for i := range ticks {
		t := &ticks[i]
		if t.Hold != "" {
			out = append(out, Change{ID: t.ID, At: t.At, Team: "all", What: "hold", Why: t.Hold})
		}
		for j := range t.Plan.Decisions {
			if d := &t.Plan.Decisions[j]; d.Changes() && acted(t) && (team == "" || team == d.Team) {
				out = append(out, Change{t.ID, d.Team, d.Change(), d.Text, t.At, d, results(t, d.Team)})
			}
		}
		if len(out) >= changesShown {
			return out[:changesShown]
		}
	}
	return out
}

// results returns what became of a team's actions: "3 create: done".
func results(t *scaler.Tick, team string) (out []string) {
	counts := map[string]int{}
	for i := range t.Outcomes {
		if o := &t.Outcomes[i]; o.Action.Pool.Team == team {
			text := string(o.Action.Verb) + ": " + string(o.Result)
			if o.Error != "" {
				text += ": " + o.Error
			}
			if counts[text]++; counts[text] == 1 {
				out = append(out, text)
			}
		}
	}
	for i, text := range out {
		out[i] = fmt.Sprintf("%d %s", counts[text], text)
	}
	return out
}
