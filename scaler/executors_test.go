package scaler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestExecutors: free executors, coming executors and the shortfall are counted in executors. Creations and
// removals are counted in agents.
func TestExecutors(t *testing.T) {
	four := func(tm *Team) {
		for i := range tm.Pools {
			if tm.Pools[i].Kind == Persistent {
				tm.Pools[i].Executors = 4
			}
		}
	}
	works := func(n int) func(*Pair) {
		return func(p *Pair) { p.Node.Executors, p.Node.Busy, p.Node.Idle = 4, n, n == 0 }
	}
	roomy := func(ago time.Duration) func(*Input) {
		return func(in *Input) {
			alter(&in.Memory.Pools, PoolID{"web", Persistent}, func(m *PoolMemory) { m.Roomy = noon.Add(-ago) })
		}
	}
	spread := func(in *Input) {
		in.agent("web", Persistent, "a", works(2))
		in.agent("web", Persistent, "b", works(1))
		in.agent("web", Persistent, "c", works(3))
	}
	wait := func(n int) func(*Input) { return func(in *Input) { in.wait(n, "linux", time.Minute) } }
	// beside adds a second team, which serves the same items when the first team's cap is full.
	beside := func(in *Input) {
		*in = newHouse(append(in.Teams, newTeam("xeb", ModePersistent, []string{"docker", "linux"}, four))...)
	}
	most := func(n int) Team { return pets(four, func(tm *Team) { tm.MaxAgents, tm.MaxPersistent = n, n }) }
	const up, other, leave = "create web persistent demand", "create xeb persistent demand", "mark web persistent room"
	tests := []struct {
		name  string
		team  Team
		house []func(*Input)
		want  map[string]int
	}{
		{"ten items, four to an agent", pets(four), []func(*Input){wait(10)}, map[string]int{up: 3}},
		{"two expressions share an agent", pets(four), []func(*Input){wait(1), func(in *Input) { in.wait(1, "linux&&persistent", time.Minute) }}, map[string]int{up: 1}},
		{"free executors beside builds serve", pets(four), []func(*Input){spread, wait(6)}, nil},
		{"one more item does not fit", pets(four), []func(*Input){spread, wait(7)}, map[string]int{up: 1}},
		{"a coming agent serves four", pets(four), []func(*Input){
			func(in *Input) { in.agent("web", Persistent, "a", works(0), coming) }, wait(4),
		}, nil},
		{"a coming agent without a Jenkins node serves four", pets(four), []func(*Input){
			func(in *Input) { in.agent("web", Persistent, "a", coming, noNode) }, wait(4),
		}, nil},
		{"an agent that is reconnecting serves four", pets(four), []func(*Input){
			func(in *Input) { in.agent("web", Persistent, "a", works(0), offline) }, wait(4),
		}, nil},
		{"a full cap leaves the other items to the other team", most(1), []func(*Input){beside, wait(10)}, map[string]int{up: 1, other: 2}},
		{"an expression takes agents, not executors, from a cap", most(3), []func(*Input){
			beside, wait(5), func(in *Input) { in.wait(8, "linux&&persistent", time.Second) },
		}, map[string]int{up: 3, other: 1}},
		{"if ephemeral agents fail, persistent agents run four builds each", both(four), []func(*Input){wait(5), func(in *Input) {
			in.backsOff(PoolID{"web", Ephemeral}, Backoff{Until: noon.Add(time.Minute), Failure: FailureOOM})
		}}, map[string]int{up: 2}},
		{"a spare is an executor", pets(four, func(tm *Team) { tm.MinIdle = 2 }), nil, map[string]int{"create web persistent spare": 1}},
		{"a spare may be an executor beside builds", pets(four, func(tm *Team) { tm.MinIdle = 6 }), []func(*Input){spread}, nil},
		{"a minimum is an agent, and serves", pets(four, func(tm *Team) { tm.MinAgents = 2 }), []func(*Input){wait(9)}, map[string]int{"create web persistent minimum": 2, up: 1}},
		{"auto makes persistent agents for the level, and ephemeral agents for the rest", both(four), []func(*Input){
			func(in *Input) { in.Memory.Teams = map[string]TeamMemory{"web": usedOften(1)} },
			func(in *Input) { in.wait(6, "docker", time.Minute) },
		}, map[string]int{up: 1, "create web ephemeral demand": 2, "register web ephemeral berths": 2}},
		{"the agent with the fewest builds is marked", pets(four), []func(*Input){spread, roomy(10 * time.Minute)}, map[string]int{leave: 1}},
		{"not before the others had room for long", pets(four), []func(*Input){spread, roomy(9 * time.Minute)}, nil},
		{"not below the spares", pets(four, func(tm *Team) { tm.MinIdle = 3 }), []func(*Input){spread, roomy(time.Hour)}, nil},
		{"not below the minimum", pets(four, func(tm *Team) { tm.MinAgents = 3 }), []func(*Input){spread, roomy(time.Hour)}, nil},
		{"not while builds wait for that room", pets(four), []func(*Input){spread, roomy(time.Hour), wait(3)}, nil},
		{"one of two idle agents goes, while others come and items wait", pets(four), []func(*Input){
			func(in *Input) { in.agents(2, "web", Persistent, "d", works(0)); in.idleFor(time.Hour) },
			func(in *Input) { in.agent("web", Persistent, "c", works(0), coming) }, wait(3),
		}, map[string]int{"mark web persistent idle": 1}},
		{"an idle agent goes first", pets(four), []func(*Input){
			spread, func(in *Input) { in.agent("web", Persistent, "d", works(0)); in.idleFor(time.Hour) }, roomy(time.Hour),
		}, map[string]int{"mark web persistent idle": 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(tt.team)
			for _, f := range tt.house {
				f(&in)
			}
			plan, _, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, did(plan), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Decide(%s) does (-want +got)\n%s%v", tt.name, diff, plan.Decisions[0])
			}
			for _, a := range plan.Actions {
				if a.Reason != ReasonRoom {
					continue
				}
				if a.Agent != "web-p-b" {
					t.Errorf("Decide(%s) empties %s, want the emptiest, web-p-b", tt.name, a.Agent)
				}
				const says = "room: drains 1 agent at work: the other agents have room for its builds"
				if got := reasons(plan)["web"]; got != says {
					t.Errorf("Decide(%s) says %q, want %q", tt.name, got, says)
				}
			}
		})
	}
}

// TestExecutorsAreCounted: the numbers that a decision shows count executors.
func TestExecutorsAreCounted(t *testing.T) {
	in := newHouse(pets(func(tm *Team) { tm.Pools[0].Executors = 4 }))
	four := func(p *Pair) { p.Node.Executors = 4 }
	in.agent("web", Persistent, "a", func(p *Pair) { p.Node.Executors, p.Node.Busy, p.Node.Idle = 4, 3, false })
	in.agent("web", Persistent, "b", four)
	in.agent("web", Persistent, "c", coming, four)
	in.agent("web", Persistent, "d", offline, four)
	in.agent("web", Persistent, "e", made(58*time.Second, 57*time.Second), four)
	in.knows(PoolID{"web", Persistent}, 8, 14*time.Second)
	in.overtakes(PoolID{"web", Persistent}, 40*time.Second, 39*time.Second, 14*time.Second)
	plan, _, _ := Decide(in)
	type numbers struct{ Busy, Free, Coming, Late, Alive, Want int }
	d := plan.Decisions[0]
	if got, want := (numbers{d.Busy, d.Free, d.Coming, d.Overdue, d.Alive, d.Want}), (numbers{3, 5, 8, 4, 5, 4}); got != want {
		t.Errorf("Decide(five agents of four executors) counts %+v, want %+v", got, want)
	}
}

// TestRoomIsRemembered: the wait begins when a tick first sees the free executors, and ends when they are
// gone.
func TestRoomIsRemembered(t *testing.T) {
	in := newHouse(pets(func(tm *Team) { tm.Pools[0].Executors = 4 }))
	in.agent("web", Persistent, "a", func(p *Pair) { p.Node.Executors, p.Node.Busy, p.Node.Idle = 4, 1, false })
	id := PoolID{"web", Persistent}
	_, mem, _ := Decide(in)
	if !mem.Pools[id].Roomy.IsZero() {
		t.Error("three free executors of four are remembered as an agent's worth")
	}
	on := in
	on.agent("web", Persistent, "c", coming, func(p *Pair) { p.Node.Executors = 4 })
	_, mem, _ = Decide(on)
	if !mem.Pools[id].Roomy.IsZero() {
		t.Error("an agent on the way is remembered as room that the others have")
	}
	in.agent("web", Persistent, "b", func(p *Pair) { p.Node.Executors, p.Node.Busy, p.Node.Idle = 4, 3, false })
	_, mem, _ = Decide(in)
	if !mem.Pools[id].Roomy.Equal(noon) {
		t.Errorf("room since %v, want %v", mem.Pools[id].Roomy, noon)
	}
	in.Memory, in.Now = mem, noon.Add(time.Minute)
	in.wait(1, "linux", time.Second)
	_, mem, _ = Decide(in)
	if !mem.Pools[id].Roomy.IsZero() {
		t.Error("the room is remembered while an item takes of it")
	}
}
