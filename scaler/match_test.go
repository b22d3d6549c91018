package scaler

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"bellboard/scaler/label"
)

// TestMatch checks how many executors each supply ("free") and how many items each expression ("short") has
// left after the matching.
func TestMatch(t *testing.T) {
	linux := newTeam("a", ModeEphemeral, []string{"linux"})
	gpu := newTeam("b", ModeEphemeral, []string{"gpu", "linux"})
	mac := newTeam("c", ModeEphemeral, []string{"mac"})
	static := func(name string, labels []string, executors, busy int) Node {
		return Node{Name: name, Labels: labels, Online: true, Executors: executors, Busy: busy, Idle: busy == 0}
	}
	tests := []struct {
		name  string
		house func(in *Input)
		short map[string]int // by expression
		free  map[string]int // by label set
	}{
		{
			name: "the gpu item takes B's agent, the shortfall is A's",
			house: func(in *Input) {
				in.wait(2, "linux", 60*time.Second)
				in.wait(1, "gpu", 5*time.Second)
				in.agent("b", Ephemeral, "1")
			},
			short: map[string]int{"gpu": 0, "linux": 2},
			free:  map[string]int{},
		},
		{
			name: "a hundred items, 99 agents coming, one free: no shortfall",
			house: func(in *Input) {
				in.wait(100, "linux", 200*time.Second)
				in.agents(99, "a", Ephemeral, "c", coming)
				in.agent("a", Ephemeral, "free")
			},
			short: map[string]int{"linux": 0},
			free:  map[string]int{},
		},
		{
			name: "no shortfall when the free agent has just taken an item: shown free, its item gone from the queue",
			house: func(in *Input) {
				in.wait(99, "linux", 200*time.Second)
				in.agents(99, "a", Ephemeral, "c", coming)
				in.agent("a", Ephemeral, "free")
			},
			short: map[string]int{"linux": 0},
			free:  map[string]int{"ephemeral linux": 1},
		},
		{
			name: "no shortfall when that agent is shown at work",
			house: func(in *Input) {
				in.wait(99, "linux", 200*time.Second)
				in.agents(99, "a", Ephemeral, "c", coming)
				in.agent("a", Ephemeral, "taken", busy)
			},
			short: map[string]int{"linux": 0},
			free:  map[string]int{},
		},
		{
			name: "of two equally scarce expressions the older chooses first",
			house: func(in *Input) {
				in.wait(1, "gpu&&linux", 5*time.Second)
				in.wait(1, "gpu", 60*time.Second)
				in.agent("b", Ephemeral, "1")
			},
			short: map[string]int{"gpu": 0, "gpu&&linux": 1},
			free:  map[string]int{},
		},
		{
			name: "scarcity before age",
			house: func(in *Input) {
				in.wait(2, "linux", time.Hour)
				in.wait(1, "gpu", time.Second)
				in.agent("a", Ephemeral, "1")
				in.agent("b", Ephemeral, "1")
			},
			short: map[string]int{"gpu": 0, "linux": 1},
			free:  map[string]int{},
		},
		{
			name: "each expression takes from the label set that the fewest others want",
			house: func(in *Input) {
				in.wait(1, "linux", time.Hour)
				in.wait(1, "gpu||mac", time.Minute)
				in.agent("b", Ephemeral, "1")
				in.agent("c", Ephemeral, "1")
			},
			short: map[string]int{"gpu||mac": 0, "linux": 0},
			free:  map[string]int{},
		},
		{
			name: "foreign executors are supply, one by one",
			house: func(in *Input) {
				in.wait(3, "linux", time.Minute)
				in.Jenkins.Nodes = append(in.Jenkins.Nodes, static("s1", []string{"linux"}, 4, 2))
			},
			short: map[string]int{"linux": 1},
			free:  map[string]int{},
		},
		{
			name: "foreign nodes that take no builds are no supply",
			house: func(in *Input) {
				in.wait(3, "linux", time.Minute)
				off, marked := static("s1", []string{"linux"}, 1, 0), static("s2", []string{"linux"}, 1, 0)
				off.Online, marked.OfflineBy = false, Person
				in.Jenkins.Nodes = append(in.Jenkins.Nodes, off, marked, static("s3", []string{"linux"}, 2, 2), static("s4", []string{"linux"}, 1, 2))
			},
			short: map[string]int{"linux": 3},
			free:  map[string]int{},
		},
		{
			name: "a foreign node carries its own name",
			house: func(in *Input) {
				in.wait(1, "s2", time.Minute)
				in.wait(1, "linux&&s1", time.Minute)
				in.wait(1, "linux", time.Minute)
				in.Jenkins.Nodes = append(in.Jenkins.Nodes, static("s1", []string{"linux"}, 1, 0), static("s2", []string{"linux"}, 1, 0), static("s3", []string{"linux"}, 1, 0))
			},
			short: map[string]int{"s2": 0, "linux&&s1": 0, "linux": 0},
			free:  map[string]int{},
		},
		{
			name: "an item that names a Jenkins node or a pod of Bellboard's is no demand",
			house: func(in *Input) {
				in.wait(1, in.agent("a", Ephemeral, "1", busy), time.Minute)
				in.wait(1, in.agent("a", Ephemeral, "2", noNode), time.Minute)
				in.wait(1, AgentName(PoolID{"a", Ephemeral}, "bertha"), time.Minute)
			},
			short: map[string]int{},
			free:  map[string]int{},
		},
		{
			name: "states that are no demand",
			house: func(in *Input) {
				for _, s := range []ItemState{Quiet, Blocked, Pending, Flyweight} {
					in.wait(1, "linux", time.Minute)
					in.Jenkins.Items[len(in.Jenkins.Items)-1].State = s
				}
				for _, r := range []Resolution{Unresolved, Unlabelled} {
					in.wait(1, "", time.Minute)
					in.Jenkins.Items[len(in.Jenkins.Items)-1].Resolution = r
				}
			},
			short: map[string]int{},
			free:  map[string]int{},
		},
		{
			name: "an agent that is older than a setting serves the labels of its Jenkins node",
			house: func(in *Input) {
				in.wait(1, "linux", time.Minute)
				in.agent("a", Ephemeral, "1", func(p *Pair) { p.Node.Labels = []string{"ephemeral", "unix"} })
			},
			short: map[string]int{"linux": 1},
			free:  map[string]int{"ephemeral unix": 1},
		},
		{
			name: "an agent without a Jenkins node serves the labels of its pool",
			house: func(in *Input) {
				in.wait(1, "linux", time.Minute)
				in.agent("a", Ephemeral, "1", coming, noNode, func(p *Pair) { p.Pod.Requested = true })
			},
			short: map[string]int{"linux": 0},
			free:  map[string]int{},
		},
		{
			name: "foreign nodes before agents if both carry the same labels",
			house: func(in *Input) {
				in.wait(1, "linux", time.Minute)
				in.agent("a", Ephemeral, "1")
				in.Jenkins.Nodes = append(in.Jenkins.Nodes, static("s1", []string{"ephemeral", "linux"}, 1, 0))
			},
			short: map[string]int{"linux": 0},
			free:  map[string]int{"ephemeral linux": 1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(linux, gpu, mac)
			tt.house(&in)
			d := decider{scene: see(in), left: map[*agent]bool{}}
			d.match()
			short, free := map[string]int{}, map[string]int{}
			for _, w := range d.demands {
				short[w.text] = w.left
			}
			for _, s := range d.supply {
				if s.free > 0 {
					free[strings.Join(s.labels, " ")] += s.free
				}
			}
			if diff := cmp.Diff(tt.short, short); diff != "" {
				t.Errorf("match(%s) leaves short %v, want %v\n%s", tt.name, short, tt.short, diff)
			}
			if diff := cmp.Diff(tt.free, free); diff != "" {
				t.Errorf("match(%s) leaves free %v, want %v\n%s", tt.name, free, tt.free, diff)
			}
		})
	}
}

// TestShortfallGoesTo: the shortfall goes to the team with the fewest labels, then by PRIORITY, then by name,
// and never to a team at its cap.
func TestShortfallGoesTo(t *testing.T) {
	full := func(t *Team) { t.MaxAgents = 0 }
	first := func(t *Team) { t.Priority = 1 }
	paused := func(t *Team) { t.Paused = true }
	small := func(t *Team) { t.MaxAgents = 2 }
	few, many := []string{"linux"}, []string{"gpu", "linux"}
	tests := []struct {
		name  string
		teams []Team
		want  map[string]int
	}{
		{"fewest labels", []Team{newTeam("a", ModeEphemeral, many), newTeam("b", ModeEphemeral, few)}, map[string]int{"b": 3}},
		{"fewest labels before priority", []Team{newTeam("a", ModeEphemeral, many, first), newTeam("b", ModeEphemeral, few)}, map[string]int{"b": 3}},
		{"priority", []Team{newTeam("a", ModeEphemeral, []string{"linux", "x"}), newTeam("b", ModeEphemeral, many, first)}, map[string]int{"b": 3}},
		{"name", []Team{newTeam("b", ModeEphemeral, []string{"linux", "x"}), newTeam("a", ModeEphemeral, many)}, map[string]int{"a": 3}},
		{"skips the team at its cap", []Team{newTeam("a", ModeEphemeral, few, full), newTeam("b", ModeEphemeral, many)}, map[string]int{"b": 3}},
		{"skips the paused team", []Team{newTeam("a", ModeEphemeral, few, paused), newTeam("b", ModeEphemeral, many)}, map[string]int{"b": 3}},
		{"the rest goes on", []Team{newTeam("a", ModeEphemeral, few, small), newTeam("b", ModeEphemeral, many)}, map[string]int{"a": 2, "b": 1}},
		{"agents that no team may make stay with the first team", []Team{newTeam("a", ModeEphemeral, few, full), newTeam("b", ModeEphemeral, many, small)}, map[string]int{"a": 1, "b": 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(tt.teams...)
			in.wait(3, "linux", time.Minute)
			plan, _, _ := Decide(in)
			got := map[string]int{}
			for _, d := range plan.Decisions {
				if d.Short > 0 {
					got[d.Team] = d.Short
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Decide(3 waiting) gives the shortfall to %v, want %v\n%s", got, tt.want, diff)
			}
			if err := plan.Validate(in); err != nil {
				t.Errorf("Validate(plan) = %v, want nil", err)
			}
		})
	}
}

// TestRoom: agents that are alive, or that are promised to one expression, are no room for the next
// expression. Agents that a rule blocks take no room.
func TestRoom(t *testing.T) {
	a := newTeam("a", ModeAuto, []string{"linux"}, func(t *Team) { t.MaxAgents, t.MaxPersistent = 4, 1 })
	b := newTeam("b", ModeEphemeral, []string{"gpu", "linux"})
	in := newHouse(a, b)
	in.agent("a", Ephemeral, "x", busy, ours)
	// There is room for one agent. The other items wait for that agent.
	in.wait(3, "linux&&persistent", time.Hour)
	in.wait(1, "linux", 30*time.Minute)
	in.wait(3, "linux&&!windows", time.Minute)
	plan, _, _ := Decide(in)
	if err := plan.Validate(in); err != nil {
		t.Errorf("Validate(plan) = %v, want nil", err)
	}
	want := map[string]int{
		"create a persistent demand": 1, "create a ephemeral demand": 2, "create b ephemeral demand": 2,
		"register a ephemeral berths": 2, "register b ephemeral berths": 2,
	}
	if got := did(plan); cmp.Diff(want, got) != "" {
		t.Errorf("Decide(three expressions) does %v, want %v\n%s", got, want, cmp.Diff(want, got))
	}
}

// TestUnserved: a plan shows items that no team can serve, and items whose label is not known.
func TestUnserved(t *testing.T) {
	in := newHouse(newTeam("a", ModeEphemeral, []string{"linux"}))
	in.wait(4, "linux&&windows", time.Minute)
	in.wait(2, "linux", time.Minute)
	for i, job := range []string{"x", "y", "y", "z"} {
		in.Jenkins.Items[i].Job = job
	}
	in.Jenkins.Items[2].Since = in.Now.Add(-6 * time.Minute)
	in.Jenkins.Items[4].Resolution, in.Jenkins.Items[4].Label, in.Jenkins.Items[4].Why = Unresolved, "", "who knows"
	plan, _, _ := Decide(in)
	want := []Unserved{{
		Label: "linux&&windows", Count: 4, Jobs: []string{"x", "y", "z"}, Why: "Waiting for next available executor on ‘linux&&windows’",
		Text: "no team serves ‘linux&&windows’", Oldest: 6 * time.Minute, Near: &Near{Team: "a", Lacks: []string{"windows"}},
	}}
	if diff := cmp.Diff(want, plan.Unserved); diff != "" {
		t.Errorf("Decide(windows).Unserved = %+v, want %+v\n%s", plan.Unserved, want, diff)
	}
	want = []Unserved{{Count: 1, Jobs: []string{"job"}, Why: "who knows", Text: "Jenkins does not name the label: who knows", Oldest: time.Minute}}
	if diff := cmp.Diff(want, plan.Unresolved); diff != "" {
		t.Errorf("Decide(unresolved).Unresolved = %+v, want %+v\n%s", plan.Unresolved, want, diff)
	}
	in.Jenkins.Items[5].Resolution, in.Jenkins.Items[5].Label = Unlabelled, ""
	plan, _, _ = Decide(in)
	if n := len(plan.Unserved); n != 2 || plan.Unserved[0].Label != "" || plan.Unserved[0].Count != 1 {
		t.Errorf("Decide(a build without a label).Unserved = %+v, want it too", plan.Unserved)
	}
	in.Teams[0].Pools[0].Unlabelled = true
	if plan, _, _ = Decide(in); len(plan.Unserved) != 1 {
		t.Errorf("Decide(a team serves it).Unserved = %+v, want the others only", plan.Unserved)
	}
}

// TestMatchIgnoresOrder: the order in which Jenkins lists its nodes decides nothing.
func TestMatchIgnoresOrder(t *testing.T) {
	in := newHouse(newTeam("a", ModeEphemeral, []string{"linux"}))
	in.wait(1, "linux", time.Minute)
	in.agents(20, "a", Ephemeral, "x")
	for _, labels := range [][]string{{"ephemeral", "linux"}, {"linux"}, {"big", "linux"}} {
		in.Jenkins.Nodes = append(in.Jenkins.Nodes, Node{Name: "s" + labels[0], Labels: labels, Online: true, Executors: 1, Idle: true})
	}
	left := func(in Input) map[string]int {
		d := decider{scene: see(in), left: map[*agent]bool{}}
		d.match()
		out := map[string]int{}
		for _, s := range d.supply {
			out[s.key] += s.free
		}
		return out
	}
	want := left(in)
	in.Jenkins.Nodes = slices.Clone(in.Jenkins.Nodes)
	slices.Reverse(in.Jenkins.Nodes)
	if got := left(in); !maps.Equal(got, want) {
		t.Errorf("match(nodes the other way round) leaves %v, want %v", got, want)
	}
}

// TestMatchServesAsManyAsCanBe compares match with a simple matching of single items to single executors,
// which only finds how many items can be served.
func TestMatchServesAsManyAsCanBe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sets := [][]string{{"docker"}, {"docker", "linux"}, {"gpu"}, {"gpu", "linux"}, {"linux"}}
		var supplies []*supply
		var seats [][]string
		for _, set := range sets {
			n := rapid.IntRange(0, 3).Draw(t, strings.Join(set, "+"))
			supplies = append(supplies, &supply{key: strings.Join(set, " "), labels: set, free: n})
			for range n {
				seats = append(seats, set)
			}
		}
		in := newHouse()
		for range rapid.IntRange(0, 12).Draw(t, "items") {
			in.wait(1, rapid.SampledFrom([]string{"docker", "linux", "gpu", "docker||gpu", "gpu&&linux", "!gpu", "linux&&!docker"}).Draw(t, "label"), time.Minute)
		}
		demands := demandsOf(in.Jenkins.Items, false, func(string) bool { return false })
		match(demands, supplies)
		left := 0
		for _, w := range demands {
			left += w.left
		}

		holder := make([]int, len(seats)) // by seat: the item that has the seat, counted from 1
		var seat func(item int, asked []bool) bool
		seat = func(item int, asked []bool) bool {
			e := label.Parse(in.Jenkins.Items[item].Label)
			for i, set := range seats {
				if asked[i] || !e.Matches(func(l string) bool { return slices.Contains(set, l) }) {
					continue
				}
				asked[i] = true
				if holder[i] == 0 || seat(holder[i]-1, asked) {
					holder[i] = item + 1
					return true
				}
			}
			return false
		}
		want := len(in.Jenkins.Items)
		for item := range in.Jenkins.Items {
			if seat(item, make([]bool, len(seats))) {
				want--
			}
		}
		free := len(seats) - (len(in.Jenkins.Items) - want)
		for _, s := range supplies {
			free -= s.free
			if s.free < 0 {
				t.Fatalf("%s has %d free", s.key, s.free)
			}
		}
		if left != want || free != 0 {
			t.Fatalf("%d items are left, want %d; %d executors are miscounted\n%v", left, want, free, in.Jenkins.Items)
		}
	})
}
