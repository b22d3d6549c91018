package scaler

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// queueOf returns the tick that decides over a queue with these items.
func queueOf(teams []Team, items ...Item) *Tick {
	for i := range items {
		items[i].ID, items[i].Since = int64(i+1), noon.Add(-time.Duration(len(items)-i)*time.Second)
	}
	in := Input{
		Now: noon, MaxAgents: 50, Teams: teams,
		Jenkins: JenkinsView{Session: "s", AskedAt: noon, NodesAt: noon, AnsweredAt: noon, Items: items}, Cluster: ClusterView{At: noon},
	}
	plan, _, _ := Decide(in)
	return &Tick{ID: "x-1", At: noon, Items: items, Plan: plan}
}

func labelled(job, label string) Item {
	return Item{Job: job, Label: label, State: Buildable, Resolution: Labelled}
}

// TestWhy checks which builds an answer is about: by job, by the end of its path, by label as people write it,
// by team, or by a part of these.
func TestWhy(t *testing.T) {
	teams := []Team{
		newTeam("web", ModeEphemeral, []string{"linux"}, func(t *Team) { t.MaxAgents = 2 }),
		newTeam("gpu", ModeEphemeral, []string{"gpu", "linux"}, func(*Team) {}),
	}
	tick := queueOf(teams,
		labelled("shop/web", "linux"), labelled("shop/web", "linux"), labelled("nightly", "gpu&&linux"), labelled("legacy", "windows"),
		Item{Job: "waits", State: Blocked, Why: "Build #1 is already in progress"}, Item{Job: "any", State: Buildable, Resolution: Unlabelled},
		Item{Job: "odd", State: Buildable, Resolution: Unresolved, Why: "Waiting for next available executor"},
	)
	for what, want := range map[string][]string{
		"":             {"shop/web", "nightly", "legacy", "waits", "any", "odd"},
		"shop/web":     {"shop/web"},
		"web":          {"shop/web"}, // its team, and the end of its path
		"linux":        {"shop/web"},
		"gpu && linux": {"nightly"},
		"gpu":          {"nightly"}, // the team
		"night":        {"nightly"},
		"indows":       {"legacy"},
		"nobody":       nil,
	} {
		found, none := tick.Why(what)
		var jobs []string
		for i := range found {
			jobs = append(jobs, found[i].Job)
		}
		if diff := cmp.Diff(want, jobs); diff != "" || (none == "") != (want != nil) {
			t.Errorf("why %q (-want +got): %s; and it says %q", what, diff, none)
		}
	}
	found, _ := tick.Why("shop/web")
	if q := found[0]; q.Builds != 2 || q.Team != "web" || q.Oldest != 7*time.Second || q.State != Buildable || q.Next == nil {
		t.Errorf("two builds of one job: %+v", q)
	}
	if want := []string{"web", "gpu"}; !cmp.Equal(want, tick.Plan.Demands[0].Teams) {
		t.Errorf("linux is served by %v, want %v", tick.Plan.Demands[0].Teams, want)
	}
	for _, q := range []string{"legacy", "waits", "any", "odd"} {
		if found, _ := tick.Why(q); found[0].Team != "" || len(found[0].Why) == 0 {
			t.Errorf("%s: %+v, want no team, and a reason", q, found[0])
		}
	}
}

// TestExpected checks when the next agent of a team is expected.
func TestExpected(t *testing.T) {
	agent := func(name string, age time.Duration, change func(*Agent)) Agent {
		a := Agent{Name: name, PoolID: PoolID{"web", Ephemeral}, Class: Coming, Pod: true, Created: noon.Add(-age), Phase: PhasePull}
		if change != nil {
			change(&a)
		}
		return a
	}
	usual := []Usual{{Kind: Ephemeral, Half: 14 * time.Second}}
	failing := &Pause{Kind: Ephemeral, Failure: FailureOOM, Left: 20 * time.Second}
	for name, tt := range map[string]struct {
		d      Decision
		agents []Agent
		want   *Expected
	}{
		"nothing is known": {},
		"the one that was made first": {
			Decision{Usual: usual},
			[]Agent{agent("b", 2*time.Second, nil), agent("a", 9*time.Second, nil)},
			&Expected{Agent: "a", Phase: PhasePull, Age: 9 * time.Second, Start: 14 * time.Second, In: 5 * time.Second},
		},
		"one in time before one that is late": {
			Decision{Usual: usual},
			[]Agent{agent("b", time.Minute, nil), agent("a", 9*time.Second, nil), agent("c", time.Hour, nil)},
			&Expected{Agent: "a", Phase: PhasePull, Age: 9 * time.Second, Start: 14 * time.Second, In: 5 * time.Second},
		},
		"one that takes long":        {Decision{Usual: usual}, []Agent{agent("a", time.Minute, nil)}, &Expected{Agent: "a", Phase: PhasePull, Age: time.Minute, Start: 14 * time.Second}},
		"one of an unknown pool":     {Decision{}, []Agent{agent("a", time.Minute, nil)}, &Expected{Agent: "a", Phase: PhasePull, Age: time.Minute}},
		"one that hangs, and a new":  {Decision{Usual: usual, Up: map[Kind]int{Ephemeral: 1}}, []Agent{agent("a", time.Minute, func(a *Agent) { a.Overdue = true })}, &Expected{Start: 14 * time.Second, In: 14 * time.Second}},
		"one of another team":        {Decision{Usual: usual}, []Agent{agent("a", 0, func(a *Agent) { a.Team = "data" })}, nil},
		"after a pause":              {Decision{Usual: usual, Steps: []Step{{Rule: RuleBackoff, Pause: failing}}}, nil, &Expected{Start: 14 * time.Second, After: 20 * time.Second, In: 34 * time.Second}},
		"after a cooldown":           {Decision{Steps: []Step{{Rule: RuleScaleUpCooldown, Left: 9 * time.Second}}}, nil, &Expected{After: 9 * time.Second, In: 9 * time.Second}},
		"nothing ends a cap by time": {Decision{Usual: usual, Steps: []Step{{Rule: RuleMaxAgents, Limit: 2}}}, nil, nil},
	} {
		tt.d.Team = "web"
		if diff := cmp.Diff(tt.want, (&Tick{At: noon, Plan: Plan{Agents: tt.agents}}).expected(&tt.d)); diff != "" {
			t.Errorf("%s (-want +got): %s", name, diff)
		}
	}
}

// sentencesOfWhy has the answers to why.
func sentencesOfWhy(say func(name string, texts ...string)) {
	usual := []Usual{{Kind: Ephemeral, Half: 14 * time.Second}}
	capped := []Step{{Rule: RuleMaxAgents, Limit: 4, Want: 7}}
	paused := []Step{{Rule: RuleBackoff, Pause: &Pause{Kind: Ephemeral, Failure: FailureOOM, Left: 20 * time.Second}}}
	decisions := []*Decision{
		{Team: "web", Waiting: 2, Busy: 1, Coming: 2, Alive: 3, MaxAgents: 4, Up: map[Kind]int{Ephemeral: 1}, Text: "2 waiting, 0 free, 2 on the way"},
		{Team: "web", Short: 1, Reason: ReasonBlocked, Steps: capped, Text: "at MAX_AGENTS=4 (wants 7)"},
		{Team: "web", Short: 1},
		{Team: "web", Free: 1},
	}
	say("Decision.has", decisions[0].has())
	for _, d := range decisions {
		say("Expected.words", (*Expected)(nil).words(d))
	}
	for _, x := range []Expected{
		{},
		{Start: 14 * time.Second, In: 14 * time.Second},
		{After: 20 * time.Second},
		{After: 20 * time.Second, Start: 14 * time.Second, In: 34 * time.Second},
		{Agent: "web-e-a", Start: 14 * time.Second, Age: time.Minute},
		{Agent: "web-e-a", Start: 14 * time.Second, Age: time.Minute, Text: "Unschedulable: 0/4 nodes"},
		{Agent: "web-e-a", Phase: PhasePull},
		{Agent: "web-e-a", Phase: PhasePull, Start: 14 * time.Second},
		{Agent: "web-e-a", Start: 14 * time.Second, In: 5 * time.Second},
	} {
		say("Expected.words", x.words(decisions[0]))
	}
	for _, w := range []Demand{{Builds: 1}, {Builds: 3, Short: 3}, {Builds: 3, Short: 1}, {Builds: 1, Short: 1}} {
		say("Demand.served", w.served())
	}
	say("sentence", sentence("no team serves ‘windows’"))
	held := Agent{Name: "web-e-a", Class: Reconnecting, Text: "maintenance"}
	say("pinnedText", pinnedText(&held), pinnedText(&Agent{Name: "web-e-a", Class: Awaited}))
	tick := &Tick{At: noon, Plan: Plan{
		Agents:    []Agent{held},
		Decisions: []Decision{{Team: "web", Waiting: 3, Coming: 1, Short: 2, MaxAgents: 4, Alive: 4, Usual: usual, Reason: ReasonBlocked, Steps: paused, Text: paused[0].block()}},
		Demands: []Demand{
			{Label: "linux", Builds: 3, Short: 2, Teams: []string{"web", "apps"}},
			{Label: "docker", Builds: 1, Teams: []string{"web"}},
			{Label: "mac", Builds: 1},
			{Label: "windows", Builds: 1, Short: 1},
			{Label: "arm", Inferred: true, Builds: 1, Short: 1},
		},
	}}
	for i, it := range []Item{
		labelled("shop", "linux"), labelled("shop", "linux"), labelled("image", "docker"), labelled("app", "mac"), labelled("legacy", "windows"), labelled("resumes", "web-e-a"),
		{Job: "maybe", Label: "arm", State: Buildable, Resolution: Inferred},
		{Job: "any", State: Buildable, Resolution: Unlabelled},
		{Job: "odd", State: Buildable, Resolution: Unresolved, Why: "Waiting for next available executor"},
		{Job: "new", State: Quiet},
		{Job: "second", State: Blocked, Why: "Build #1 is already in progress"},
		{Job: "blocked", State: Blocked},
		{Job: "soon", State: Pending},
		{Job: "flow", State: Flyweight},
		{Job: "late", State: ShuttingDown},
	} {
		it.Since = noon.Add(-time.Duration(30-i) * time.Second)
		tick.Items = append(tick.Items, it)
	}
	found, _ := tick.Why("")
	for i := range found {
		q := &found[i]
		say("Queued.words", q.Text)
		say("Tick.explain", q.Job+": "+strings.Join(q.Why, " "))
		say("Queued.stateText", q.stateText())
	}
	say("Tick.noneText", tick.noneText("web", 3), tick.noneText("nobody", 3), tick.noneText("nobody", 1), tick.noneText("nobody", 0), tick.noneText("", 0))
}
