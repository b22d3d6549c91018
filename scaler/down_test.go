package scaler

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// marked returns the agents that a plan marks for a reason, without the pool's part of their names.
func marked(p Plan, why Reason) []string {
	var out []string
	for i := range p.Actions {
		if a := &p.Actions[i]; a.Verb == Mark && a.Reason == why {
			out = append(out, a.Agent[strings.LastIndex(a.Agent, "-")+1:])
		}
	}
	return out
}

// TestWantAfterLeaving: the number of wanted agents is what stays after the change that is shown with it.
func TestWantAfterLeaving(t *testing.T) {
	in := newHouse(pets(func(t *Team) { t.MinAgents = 4 }))
	in.agents(5, "web", Persistent, "f")
	in.idleFor(10 * time.Minute)
	plan, _, _ := Decide(in)
	if d := plan.Decisions[0]; d.Alive != 5 || d.Downs() != 1 || d.Want != 4 {
		t.Errorf("with 5 alive it wants %d and says %s, want 4 and -1", d.Want, d.Change())
	}
}

func TestIdle(t *testing.T) {
	ready := func(in Input, idle time.Duration) Input {
		in.idleFor(idle)
		return in
	}
	tell(t, []story{
		{
			name:   "an ephemeral agent goes unused after its idle timeout",
			house:  func() Input { in := newHouse(web()); in.agent("web", Ephemeral, "f"); return ready(in, time.Minute) },
			want:   map[string]int{"mark web ephemeral idle": 1},
			reason: map[string]string{"web": "idle: drains 1 agent: idle too long"},
		},
		{
			name:  "and not before",
			house: func() Input { in := newHouse(web()); in.agent("web", Ephemeral, "f"); return ready(in, time.Minute-1) },
		},
		{
			name:  "an agent first seen free has no idle time",
			house: func() Input { in := newHouse(web()); in.agent("web", Ephemeral, "f"); return in },
		},
		{
			name: "persistent agents have their own timeout",
			house: func() Input {
				in := newHouse(pets())
				in.agents(2, "web", Persistent, "f")
				return ready(in, 10*time.Minute)
			},
			want:   map[string]int{"mark web persistent idle": 2},
			reason: map[string]string{"web": "idle: drains 2 agents: idle too long"},
		},
		{
			name: "and not before either",
			house: func() Input {
				in := newHouse(pets())
				in.agents(2, "web", Persistent, "f")
				return ready(in, 10*time.Minute-1)
			},
		},
		{
			name: "not an agent that an item waits for, though other agents come",
			house: func() Input {
				in := newHouse(web())
				in.agent("web", Ephemeral, "f")
				in.agent("web", Ephemeral, "c", coming)
				in.wait(1, "linux", time.Second)
				return ready(in, time.Hour)
			},
		},
		{
			name: "MIN_AGENTS stays",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MinAgents = 2 }))
				in.agents(5, "web", Ephemeral, "f")
				return ready(in, time.Hour)
			},
			want:  map[string]int{"mark web ephemeral idle": 3},
			steps: []string{"web min-agents 5→3"},
		},
		{
			name: "MIN_IDLE stays",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MinIdle = 2 }))
				in.agents(3, "web", Ephemeral, "f")
				in.agents(2, "web", Ephemeral, "b", busy, ours)
				return ready(in, time.Hour)
			},
			want:  map[string]int{"mark web ephemeral idle": 1},
			steps: []string{"web min-idle 3→1"},
		},
		{
			name: "with IDLE_TIMEOUT set, auto keeps no idle agent for builds that may come: its cache slot stays",
			house: func() Input {
				in := newHouse(both())
				in.agents(5, "web", Persistent, "f")
				in.Memory.Teams = map[string]TeamMemory{"web": usedOften(2)}
				return ready(in, time.Hour)
			},
			want: map[string]int{"mark web persistent idle": 5},
		},
		{
			name: "the down cooldown blocks, and says for how long",
			house: func() Input {
				in := newHouse(pets())
				in.agents(2, "web", Persistent, "f")
				alter(&in.Memory.Pools, PoolID{"web", Persistent}, func(m *PoolMemory) { m.Down = noon.Add(-50 * time.Second) })
				return ready(in, time.Hour)
			},
			steps: []string{"web scale-down-cooldown 2→0 10s left"},
		},
		{
			name: "the down cooldown begins with the process",
			house: func() Input {
				in := newHouse(pets())
				in.agents(2, "web", Persistent, "f")
				in.Memory.Started = noon.Add(-20 * time.Second)
				return ready(in, time.Hour)
			},
			steps: []string{"web scale-down-cooldown 2→0 40s left"},
		},
		{
			name: "the down cooldown is for persistent agents",
			house: func() Input {
				in := newHouse(web())
				in.agents(2, "web", Ephemeral, "f")
				in.Memory.Started = noon
				return ready(in, time.Hour)
			},
			want: map[string]int{"mark web ephemeral idle": 2},
		},
		{
			name: "a pool that grows does not shrink",
			house: func() Input {
				in := newHouse(pets(func(t *Team) { t.MinIdle = 0 }))
				in.agents(2, "web", Persistent, "f", func(p *Pair) { p.Node.Labels = []string{"old", "persistent"} })
				in.wait(1, "linux", time.Minute)
				return ready(in, time.Hour)
			},
			want: map[string]int{"create web persistent demand": 1},
		},
		{
			name: "nothing goes in grace",
			house: func() Input {
				in := newHouse(web())
				in.agent("web", Ephemeral, "f")
				in.GraceUntil = noon.Add(time.Second)
				return ready(in, time.Hour)
			},
		},
	})
}

// TestMostIdleFirst: the agent that has been idle longest goes first. Among equal agents the name decides.
func TestMostIdleFirst(t *testing.T) {
	in := newHouse(pets(func(t *Team) { t.MinAgents = 1 }))
	names := []string{}
	for _, r := range []string{"d", "b", "c", "a"} {
		names = append(names, in.agent("web", Persistent, r))
	}
	in.idleFor(time.Hour)
	amend(&in.Memory.Agents, names[2], func(m *AgentMemory) { m.Free = noon.Add(-2 * time.Hour) }) // c
	// The agent a has been idle for 1 s only.
	amend(&in.Memory.Agents, names[3], func(m *AgentMemory) { m.Free = noon.Add(-time.Second) })
	plan, mem, _ := Decide(in)
	if diff := cmp.Diff([]string{"c", "b", "d"}, marked(plan, ReasonIdle)); diff != "" {
		t.Errorf("Decide(idle) marks %v, want c, b, d\n%s", marked(plan, ReasonIdle), diff)
	}
	if got := mem.Pools[PoolID{"web", Persistent}].Down; !got.Equal(noon) {
		t.Errorf("the down cooldown begins at %v, want now", got)
	}
}

// TestGrowthStartsDownCooldown: any creation in the pool starts the cooldown.
func TestGrowthStartsDownCooldown(t *testing.T) {
	in := newHouse(pets(func(t *Team) { t.MinAgents = 1 }))
	_, mem, _ := Decide(in)
	if got := mem.Pools[PoolID{"web", Persistent}].Down; !got.Equal(noon) {
		t.Errorf("the down cooldown begins at %v, want now", got)
	}
}

func TestExpel(t *testing.T) {
	all := func(in *Input, team string, k Kind) {
		in.agent(team, k, "free")
		in.agent(team, k, "busy", busy)
		in.agent(team, k, "coming", coming)
		in.agent(team, k, "draining", busy, ours)
		in.agent(team, k, "held", person)
		in.agent(team, k, "cut", offline, busy)
		in.wait(1, in.agent(team, k, "awaited", offline), time.Minute)
	}
	paused := func(t *Team) { t.Paused = true }
	tell(t, []story{
		{
			name: "PAUSED: all that can be marked is, busy ones too, and nothing is made",
			house: func() Input {
				in := newHouse(pets(paused, func(t *Team) { t.MinAgents = 3 }))
				all(&in, "web", Persistent)
				return in
			},
			want:   map[string]int{"mark web persistent paused": 3},
			reason: map[string]string{"web": "paused: paused"},
		},
		{
			name: "PAUSED: waiting items are blocked",
			house: func() Input {
				in := newHouse(web(paused))
				in.agent("web", Ephemeral, "f")
				in.wait(2, "linux", time.Minute)
				return in
			},
			want:   map[string]int{"mark web ephemeral paused": 1},
			steps:  []string{"web paused 2→0"},
			reason: map[string]string{"web": "blocked: paused"},
		},
		{
			name: "PAUSED: another team that can takes over at once",
			house: func() Input {
				in := newHouse(web(paused), newTeam("zed", ModeEphemeral, []string{"big", "linux"}))
				in.agent("web", Ephemeral, "f")
				in.wait(2, "linux", time.Minute)
				return in
			},
			want: map[string]int{"mark web ephemeral paused": 1, "create zed ephemeral demand": 2, "register zed ephemeral berths": 2},
		},
		{
			name: "PAUSED: in grace nothing is marked",
			house: func() Input {
				in := newHouse(pets(paused))
				all(&in, "web", Persistent)
				in.GraceUntil = noon.Add(time.Second)
				return in
			},
		},
		{
			name:  "team gone",
			house: func() Input { in := newHouse(web()); all(&in, "old", Persistent); return in },
			want:  map[string]int{"mark old persistent team-gone": 3},
		},
		{
			name:  "kind gone",
			house: func() Input { in := newHouse(web()); all(&in, "web", Persistent); return in },
			want:  map[string]int{"mark web persistent team-gone": 3},
		},
		{
			name: "an agent of a kind that is gone is no minimum and no supply",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MinAgents = 1 }))
				in.agent("web", Persistent, "f", func(p *Pair) { p.Node.Labels = []string{"linux", "persistent"} })
				in.wait(2, "linux", time.Minute)
				return in
			},
			want: map[string]int{
				"mark web persistent team-gone": 1, "create web ephemeral minimum": 1, "create web ephemeral demand": 1, "register web ephemeral berths": 2,
			},
		},
	})
}

func TestWayOut(t *testing.T) {
	tell(t, []story{
		{
			name:  "an ephemeral agent is marked when its build begins",
			house: func() Input { in := newHouse(web()); in.agent("web", Ephemeral, "b", busy); return in },
			want:  map[string]int{"mark web ephemeral one-build": 1},
		},
		{
			name: "not while its item may still go back into the queue",
			house: func() Input {
				in := newHouse(web())
				in.agent("web", Ephemeral, "b", busy)
				in.Jenkins.Items = append(in.Jenkins.Items, Item{ID: 9, Job: "j", State: Pending, Resolution: Labelled, Label: "linux", Since: in.Now})
				return in
			},
		},
		{
			name: "but a tick later, whoever else is about to start",
			house: func() Input {
				in := newHouse(web())
				name := in.agent("web", Ephemeral, "b", busy)
				amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Work = Work{On: true, Builds: 1} })
				in.Jenkins.Items = append(in.Jenkins.Items, Item{ID: 9, Job: "j", State: Pending, Resolution: Labelled, Label: "linux", Since: in.Now})
				return in
			},
			want: map[string]int{"mark web ephemeral one-build": 1},
		},
		{
			name: "first marked, then seen marked, then removed",
			house: func() Input {
				in := newHouse(web())
				in.agent("web", Ephemeral, "d", ours)
				return in
			},
		},
		{
			name: "on answers asked for after an answer with the mark",
			house: func() Input {
				in := newHouse(web())
				in.agent("web", Ephemeral, "d", ours)
				in.wasMarked()
				return in
			},
			want: map[string]int{"delete-pod web ephemeral drained": 1},
		},
		{
			name: "not on answers asked for before the answer with the mark was complete",
			house: func() Input {
				in := newHouse(web())
				name := in.agent("web", Ephemeral, "d", ours)
				amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Mark = Marking{Since: in.Jenkins.AskedAt.Add(1), By: Ours} })
				return in
			},
		},
		{
			name: "not in grace",
			house: func() Input {
				in := newHouse(web())
				in.agent("web", Ephemeral, "d", ours)
				in.wasMarked()
				in.GraceUntil = noon.Add(1)
				return in
			},
		},
		{
			name: "not when a build names it: its mark is lifted",
			house: func() Input {
				in := newHouse(web())
				in.wait(1, in.agent("web", Ephemeral, "d", ours), time.Second)
				in.wasMarked()
				return in
			},
			want: map[string]int{"clear-mark web ephemeral resume": 1},
		},
		{
			name: "a build that names it need not be buildable",
			house: func() Input {
				in := newHouse(web())
				in.wait(1, in.agent("web", Ephemeral, "d", ours), time.Second)
				in.Jenkins.Items[0].State = Blocked
				in.wasMarked()
				return in
			},
			want: map[string]int{"clear-mark web ephemeral resume": 1},
		},
		{
			name: "a Swarm ghost is fenced, then its pod goes, then the fence",
			house: func() Input {
				in := newHouse(pets())
				name := in.agent("web", Persistent, "g", noNode)
				in.agent("web", Persistent, "h", fence)
				in.agent("web", Persistent, "i", fence, noPod)
				amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Away = noon.Add(-time.Hour) })
				return in
			},
			want: map[string]int{"fence web persistent ghost": 1, "delete-pod web persistent ghost": 1, "delete-node web persistent ghost": 1},
		},
		{
			name: "a restart of ours repeats the Secret of a coming pod",
			house: func() Input {
				in := newHouse(web())
				in.agents(2, "web", Ephemeral, "c", coming)
				delete(in.Secrets, "web-e-caa")
				return in
			},
			want: map[string]int{"secret web ephemeral restart": 1},
		},
		{
			name: "an agent that Jenkins calls has none, if it was made so",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.Pools[0].Called, t.Pools[0].Spec = true, "ssh" }))
				in.agent("web", Ephemeral, "c", coming, func(p *Pair) { p.Pod.Spec = "ssh" })
				in.agent("web", Ephemeral, "d", coming, func(p *Pair) { p.Pod.Spec = "before" })
				in.Secrets = map[string]bool{}
				return in
			},
			want: map[string]int{"secret web ephemeral restart": 1},
		},
		{
			name:  "an agent seen online for the first time is noted",
			house: func() Input { in := newHouse(web()); in.agent("web", Ephemeral, "f", unmet); return in },
			want:  map[string]int{"connected web ephemeral connected": 1},
		},
		{
			name: "in quiet-down only ended pods and fences in the way go on, and no mark stays on a build",
			house: func() Input {
				in := newHouse(web())
				in.agent("web", Ephemeral, "b", busy)
				in.agent("web", Ephemeral, "c", busy, ours)
				in.agent("web", Ephemeral, "d", ours)
				in.agent("web", Ephemeral, "e", failed, offline)
				in.agent("web", Ephemeral, "s", noPod, offline)
				in.wait(1, in.agent("web", Ephemeral, "f", fence), time.Minute)
				in.wait(1, "", time.Minute)
				in.Jenkins.Items[1].State, in.Jenkins.Items[1].Resolution = ShuttingDown, Unresolved
				in.wasMarked()
				return in
			},
			want: map[string]int{"clear-mark web ephemeral quiet-down": 1, "delete-pod web ephemeral ended": 1, "delete-node web ephemeral resume": 1},
		},
	})
}

// TestTurns: if time is short, no team waits for all the agents of another team.
func TestTurns(t *testing.T) {
	data := newTeam("data", ModeEphemeral, []string{"docker"})
	in := newHouse(web(), data)
	in.wait(5, "linux", time.Minute)
	in.wait(2, "docker", time.Second)
	plan, _, _ := Decide(in)
	var got []string
	for i := range plan.Actions {
		if plan.Actions[i].Verb == Create {
			got = append(got, plan.Actions[i].Pool.Team)
		}
	}
	want := []string{"web", "data", "web", "data", "web", "web", "web"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Decide(5 and 2 waiting) makes agents in the order %q, want %q\n%s", got, want, diff)
	}
}

// TestUrgency: actions that protect a build come first, then actions that rest on fresh answers.
func TestUrgency(t *testing.T) {
	in := newHouse(web(func(t *Team) { t.Pools[0].Berths = 3 }))
	in.agent("web", Ephemeral, "b", busy)
	in.agent("web", Ephemeral, "u", unmet)
	in.wait(1, in.agent("web", Ephemeral, "z", ours), time.Minute)
	in.wait(3, "linux", time.Minute)
	delete(in.Berths, "web-e-berthc")
	plan, _, _ := Decide(in)
	var got []string
	for i := range plan.Actions {
		got = append(got, string(plan.Actions[i].Verb))
	}
	want := []string{"clear-mark", "protect", "mark", "mark", "create", "create", "connected", "register", "register", "register"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Decide(mixed) acts in the order %q, want %q\n%s", got, want, diff)
	}
	if !slices.IsSortedFunc(plan.Agents, func(a, b Agent) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("Decide(mixed).Agents = %v, want them by name", plan.Agents)
	}
}

// TestFloorOfAKindThatIsGone: the minimum is made of the kind that the mode allows.
func TestFloorOfAKindThatIsGone(t *testing.T) {
	tell(t, []story{
		{
			name: "the floor of a kind that is gone is not kept by its last agent",
			house: func() Input {
				in := newHouse(pets(func(t *Team) { t.MinAgents = 1 }))
				in.agent("web", Ephemeral, "f")
				in.GraceUntil = noon.Add(1) // Bellboard cannot mark it yet
				return in
			},
			want: map[string]int{"create web persistent minimum": 1},
		},
	})
}

// TestStraysTakeTurns: strays that cannot be deleted do not keep other strays from being deleted.
func TestStraysTakeTurns(t *testing.T) {
	in := newHouse(web())
	in.agents(20, "web", Ephemeral, "s", noPod, offline, ours)
	in.wasMarked()
	asked := map[string]bool{}
	for range 20 {
		plan, mem, _ := Decide(in)
		n := 0
		for _, a := range plan.Actions {
			if a.Reason == ReasonStray {
				n++
				asked[a.Agent] = true
			}
		}
		if n > 8 {
			t.Fatalf("%d strays in one plan, want 8 at most", n)
		}
		in.Memory, in.Now = mem, in.Now.Add(time.Second)
	}
	if len(asked) != 20 {
		t.Errorf("%d of 20 strays had their turn in 20 s, want all", len(asked))
	}
}

// TestTidyingIsPaced: Bellboard makes and deletes Jenkins nodes and fences a few in each second, however many
// there are and however short the ticks are. Not paced are steps that a build waits for, and steps that keep
// a build from an agent that goes.
func TestTidyingIsPaced(t *testing.T) {
	in := newHouse(pets(func(t *Team) { t.MaxAgents, t.MaxPersistent = 200, 200 }))
	away := func(p *Pair) { p.Pod.ConnectedAt = noon.Add(-time.Hour) }
	in.agents(20, "web", Persistent, "g", noNode, away)
	in.agents(20, "web", Persistent, "f", noPod, fence)
	in.agents(20, "web", Persistent, "s", noPod, offline, ours)
	in.agents(20, "web", Persistent, "b", noPod, offline, busy)
	in.agents(20, "web", Persistent, "w", fence, away)
	in.agents(20, "web", Persistent, "x", fence, away)
	in.agents(20, "web", Persistent, "l", deleting)
	for _, p := range in.Cluster.Pods {
		amend(&in.Memory.Agents, p.Name, func(m *AgentMemory) { m.Away = noon.Add(-time.Hour) })
	}
	for i := range in.Jenkins.Nodes {
		if n := &in.Jenkins.Nodes[i]; strings.HasPrefix(n.Name, "web-p-w") {
			in.wait(1, n.Name, time.Minute)
		}
	}
	in.wasMarked()
	asked, seconds := map[string]bool{}, map[int64]int{}
	for i := range 5 * 60 { // for one minute
		in.Now = noon.Add(time.Duration(i) * 200 * time.Millisecond)
		plan, mem := decide(t, in)
		for _, a := range plan.Actions {
			if a.Verb == Fence || a.Reason == ReasonStray || a.Reason == ReasonLost || a.Verb == DeleteNode && a.Reason == ReasonGhost {
				asked[a.Agent] = true
				seconds[in.Now.Unix()]++
			}
		}
		for _, all := range []string{"delete-node web persistent resume", "delete-pod web persistent ghost", "mark web persistent leaving"} {
			if got := did(plan); got[all] != 20 {
				t.Fatalf("Decide() = %v, want all 20 of %q at once", got, all)
			}
		}
		in.Memory = mem
	}
	for _, n := range seconds {
		if n != 8 {
			t.Errorf("Decide() tidies up %d times in one second, want 8", n)
		}
	}
	if len(asked) != 80 || len(seconds) != 60 {
		t.Errorf("%d of 80 ghosts, fences, strays and lost nodes had their turn in %d s, want all in 60", len(asked), len(seconds))
	}
}

// TestRoomUnderAFullCap: builds wait at a full cap while other agents are idle. Those agents go before
// IDLE_TIMEOUT, but no more of them than builds wait.
func TestRoomUnderAFullCap(t *testing.T) {
	house := func(free time.Duration, waiting int, change ...func(*Team)) Input {
		a := newTeam("a", ModePersistent, []string{"linux"}, append([]func(*Team){func(t *Team) { t.MaxPersistent = 8 }}, change...)...)
		in := newHouse(a, newTeam("b", ModeEphemeral, []string{"windows"}), newTeam("c", ModePersistent, []string{"mac"}, func(t *Team) { t.Priority = -1 }))
		in.MaxAgents = 10
		in.agents(8, "a", Persistent, "x")
		in.agents(2, "c", Persistent, "y")
		in.idleFor(free)
		in.wait(waiting, "windows", time.Minute)
		return in
	}
	for _, tt := range []struct {
		name string
		in   Input
		want map[string]int
	}{
		{"as many as wait, those of the lowest PRIORITY first", house(RoomAfter, 5), map[string]int{"a": 3, "c": 2}},
		{"more wait than are idle", house(RoomAfter, 20), map[string]int{"a": 8, "c": 2}},
		{"no item waits", house(RoomAfter, 0), map[string]int{}},
		{"free only just now", house(RoomAfter-time.Second, 5), map[string]int{}},
		{"a minimum stays", house(RoomAfter, 20, func(t *Team) { t.MinAgents = 6 }), map[string]int{"a": 2, "c": 2}},
		{"the cooldown is kept", house(RoomAfter, 5, func(t *Team) { t.ScaleDownCooldown = 48 * time.Hour }), map[string]int{"c": 2}},
		{"agents idle for IDLE_TIMEOUT go in any case, and make room", house(10*time.Minute, 5), map[string]int{"a": 8, "c": 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			plan, mem, _ := Decide(tt.in)
			if err := plan.Validate(tt.in); err != nil {
				t.Fatal(err)
			}
			got := map[string]int{}
			for _, d := range plan.Decisions {
				if n := d.Down[Persistent]; n > 0 {
					got[d.Team] = n
				}
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("agents go: %v, want %v", got, tt.want)
			}
			if tt.name != "as many as wait, those of the lowest PRIORITY first" {
				return
			}
			if text := reasons(plan)["c"]; text != "idle: drains 2 idle agents: builds wait at a full cap" {
				t.Errorf("the team that makes room says %q", text)
			}
			// Until these agents are gone, no other agent has to go.
			in := apply(tt.in, plan, mem)
			in.idleFor(time.Minute)
			if plan, _, _ = Decide(in); did(plan)["mark a persistent idle"] > 0 {
				t.Errorf("a tick later %v, want no other agent to go", did(plan))
			}
		})
	}
	t.Run("of the team's own other kind", func(t *testing.T) {
		in := newHouse(both())
		in.agents(10, "web", Persistent, "x")
		in.idleFor(time.Minute)
		in.wait(2, "ephemeral&&linux", time.Minute)
		plan, _, _ := Decide(in)
		if n := did(plan)["mark web persistent idle"]; n != 2 {
			t.Errorf("Decide() = %v, want two persistent agents to make room for the ephemeral ones that two builds insist on", did(plan))
		}
	})
}
