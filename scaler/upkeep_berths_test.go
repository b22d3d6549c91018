package scaler

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBerths(t *testing.T) {
	none := func(in Input) Input {
		in.Berths, in.Jenkins.Nodes = map[string]bool{}, nil
		return in
	}
	noBerths := func(t *Team) { t.Pools[0].Berths = 0 }
	old := func(in *Input, n int, change ...func(*Pair)) {
		for i := range n {
			in.agent("web", Ephemeral, fmt.Sprintf("old%07d", i), append(change, noPod, offline)...)
		}
	}
	tell(t, []story{
		{
			name:  "BERTHS are registered",
			house: func() Input { return none(newHouse(web(func(t *Team) { t.Pools[0].Berths = 5 }))) },
			want:  map[string]int{"register web ephemeral berths": 5},
		},
		{
			name:  "BERTHS=0: two nodes carry the labels all the same",
			house: func() Input { return none(newHouse(web(noBerths))) },
			want:  map[string]int{"register web ephemeral berths": 2},
		},
		{
			name: "BERTHS=0: agents that stay will do",
			house: func() Input {
				in := none(newHouse(web(noBerths)))
				in.agent("web", Ephemeral, "f")
				in.agent("web", Ephemeral, "b", busy, ours)
				return in
			},
			want: map[string]int{"register web ephemeral berths": 1},
		},
		{
			name:  "a Swarm pool keeps two, whatever BERTHS says",
			house: func() Input { return none(newHouse(pets(func(t *Team) { t.Pools[0].Berths = 7 }))) },
			want:  map[string]int{"register web persistent berths": 2},
		},
		{
			name:  "both kinds have theirs",
			house: func() Input { return none(newHouse(both())) },
			want:  map[string]int{"register web ephemeral berths": 2, "register web persistent berths": 2},
		},
		{
			name: "those of an earlier process are marked, and fresh ones registered",
			house: func() Input {
				in := none(newHouse(web()))
				old(&in, 2)
				return in
			},
			want: map[string]int{"register web ephemeral berths": 2, "mark web ephemeral stray": 2},
		},
		{
			name: "the old ones stay until the fresh ones are there",
			house: func() Input {
				in := none(newHouse(web()))
				old(&in, 2, ours)
				in.wasMarked()
				return in
			},
			want: map[string]int{"register web ephemeral berths": 2},
		},
		{
			name: "and go when they are",
			house: func() Input {
				in := newHouse(web())
				old(&in, 2, ours)
				in.wasMarked()
				return in
			},
			want: map[string]int{"delete-node web ephemeral stray": 2},
		},
		{
			name: "strays of a pool that is gone wait for nothing",
			house: func() Input {
				in := newHouse(web())
				in.agent("gone", Ephemeral, "s", noPod, offline, ours)
				in.wasMarked()
				return in
			},
			want: map[string]int{"delete-node gone ephemeral stray": 1},
		},
		{
			name: "strays go at a pace, and an agent's drain does not wait for them",
			house: func() Input {
				in := newHouse(web())
				old(&in, 20, ours)
				in.agent("web", Ephemeral, "zz", ours)
				in.wasMarked()
				return in
			},
			want: map[string]int{"delete-node web ephemeral stray": 8, "delete-pod web ephemeral drained": 1},
		},
		{
			name: "a held berth is replaced, and a lost berth too",
			house: func() Input {
				in := newHouse(web())
				in.Jenkins.Nodes[0].OfflineBy = Person
				in.Jenkins.Nodes = in.Jenkins.Nodes[:1]
				return in
			},
			want: map[string]int{"register web ephemeral berths": 2},
		},
		{
			name: "a lost build's node goes after ten minutes",
			house: func() Input {
				in := newHouse(web())
				name := in.agent("web", Ephemeral, "l", noPod, offline, busy, ours)
				in.wasMarked()
				amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Lost = noon.Add(-10 * time.Minute) })
				return in
			},
			want: map[string]int{"delete-node web ephemeral lost": 1},
		},
	})
}

// TestTakenBerth: an agent is made on a berth of its pool, and each berth is used once.
func TestTakenBerth(t *testing.T) {
	in := newHouse(web())
	in.wait(3, "linux", time.Minute)
	plan, _, _ := Decide(in)
	var on []string
	for i := range plan.Actions {
		if plan.Actions[i].Verb == Create {
			on = append(on, plan.Actions[i].Agent)
		}
	}
	want := []string{"web-e-bertha", "web-e-berthb", ""}
	if diff := cmp.Diff(want, on); diff != "" {
		t.Errorf("Decide(3 waiting, 2 berths) creates on %q, want %q\n%s", on, want, diff)
	}
}

// TestTheLastNodeGoes: if only one Jenkins node carries a label, Jenkins tells only that node's name. The
// words are those for a build that waits for that very node. If Bellboard removes everything, such an item
// does not keep the node.
func TestTheLastNodeGoes(t *testing.T) {
	for _, tt := range []struct {
		name    string
		closing bool
		change  []func(*Pair)
		want    map[string]int
	}{
		{"all is to go", true, []func(*Pair){noPod, offline, ours}, map[string]int{"delete-node web ephemeral stray": 1}},
		{"its agent has a pod", true, []func(*Pair){offline, ours}, map[string]int{"clear-mark web ephemeral resume": 1}},
		{"all else goes on", false, []func(*Pair){noPod, offline, ours}, map[string]int{"clear-mark web ephemeral resume": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(web(func(t *Team) { t.Paused = true }))
			in.Closing, in.Berths = tt.closing, map[string]bool{}
			in.Jenkins.Nodes = nil
			name := in.agent("web", Ephemeral, "last", tt.change...)
			in.wasMarked()
			in.wait(1, name, time.Minute)
			plan, _, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Error(err)
			}
			got := did(plan)
			delete(got, "register web ephemeral berths")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Decide() = %v, want %v\n%s", got, tt.want, diff)
			}
		})
	}
}
