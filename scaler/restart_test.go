package scaler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// after returns a house in the restart grace of session "new".
func after(in Input) Input {
	in.Jenkins.Session, in.GraceUntil = "new", in.Now.Add(5*time.Minute)
	return in
}

// TestSettled: in the grace after a restart of Jenkins, an agent goes only if no build from before the
// restart can want it.
func TestSettled(t *testing.T) {
	gone := map[string]int{"delete-pod web ephemeral drained": 1}
	marking := func(in *Input, name string, f func(*Marking)) {
		in.wasMarked()
		amend(&in.Memory.Agents, name, func(m *AgentMemory) { f(&m.Mark) })
	}
	worked := func(w Work) func(*Input, string) {
		return func(in *Input, name string) {
			in.wasMarked()
			amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Work = w })
		}
	}
	tests := []struct {
		name   string
		as     []func(*Pair)
		before func(*Input, string)
		want   map[string]int
	}{
		{"nothing is known of it", []func(*Pair){ours}, func(in *Input, _ string) { in.wasMarked() }, map[string]int{}},
		{"it was idle under this mark before", []func(*Pair){ours}, func(in *Input, n string) { marking(in, n, func(m *Marking) { m.Rested = true }) }, gone},
		{"it was idle under another mark", []func(*Pair){hook, told}, func(in *Input, n string) {
			marking(in, n, func(m *Marking) { m.Rested, m.At = true, noon.Add(-time.Hour) })
		}, map[string]int{}},
		{"it was made after the restart", []func(*Pair){ours, func(p *Pair) { p.Pod.Session = "new" }}, func(in *Input, _ string) { in.wasMarked() }, gone},
		{"it was made before", []func(*Pair){ours, func(p *Pair) { p.Pod.Session = "old" }}, func(in *Input, _ string) { in.wasMarked() }, map[string]int{}},
		{"its build was seen to go on", []func(*Pair){ours}, worked(Work{Builds: 1, Build: "job/a/1", Since: "old", Resumed: "new"}), gone},
		{"its build went on after an earlier restart", []func(*Pair){ours}, worked(Work{Builds: 1, Build: "job/a/1", Since: "older", Resumed: "old"}), map[string]int{}},
		{"another build was seen on it", []func(*Pair){ours}, worked(Work{Builds: 1, Build: "job/b/1", Since: "new"}), map[string]int{}},
		{"one of two builds was seen to go on", []func(*Pair){ours, func(p *Pair) { p.Node.Executors = 2 }}, worked(Work{Builds: 1, Build: "job/a/1", Since: "old", Resumed: "new"}), map[string]int{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := after(newHouse(web()))
			tt.before(&in, in.agent("web", Ephemeral, "a", tt.as...))
			plan, _, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Fatal(err)
			}
			if got := did(plan); cmp.Diff(tt.want, got) != "" {
				t.Errorf("Decide() does %v, want %v", got, tt.want)
			}
		})
	}
}

// TestFollow checks what a tick remembers of the build on an agent, and of the agent's mark.
func TestFollow(t *testing.T) {
	at := func(session, build string, mortal, idle bool) func(*Input) {
		return func(in *Input) {
			in.Jenkins.Session = session
			n := &in.Jenkins.Nodes[len(in.Jenkins.Nodes)-1]
			n.Build, n.Mortal, n.Idle = build, mortal, idle
			if n.Busy = 1; idle {
				n.Busy = 0
			}
		}
	}
	grace := func(in *Input) { in.GraceUntil = in.Now.Add(time.Minute) }
	tests := []struct {
		name            string
		ticks           [][]func(*Input)
		resumed, rested bool // at the end, in session "new"
	}{
		{"a build goes on after the restart", [][]func(*Input){{at("old", "a", false, false)}, {at("new", "a", false, false), grace}}, true, false},
		{"another build", [][]func(*Input){{at("old", "a", false, false)}, {at("new", "b", false, false), grace}}, false, false},
		{"a build that began after it", [][]func(*Input){{at("new", "a", false, false)}, {at("new", "a", false, false)}}, false, false},
		{"a build that may not be seen", [][]func(*Input){{at("old", "", false, false)}, {at("new", "", false, false), grace}}, false, false},
		{"idle in the first answer with the mark", [][]func(*Input){{at("new", "", false, true)}}, false, false},
		{"idle in the second", [][]func(*Input){{at("new", "", false, true)}, {at("new", "", false, true)}}, false, true},
		{"idle in grace", [][]func(*Input){{at("new", "", false, true), grace}, {at("new", "", false, true), grace}}, false, false},
		{"runs a build that ends with Jenkins", [][]func(*Input){{at("new", "a", true, false)}, {at("new", "a", true, false)}}, false, true},
		{"runs a build that may resume", [][]func(*Input){{at("new", "a", false, false)}, {at("new", "a", false, false)}}, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var mem Memory
			name := ""
			for i, change := range tt.ticks {
				in := newHouse(web())
				in.Now, in.Memory = noon.Add(time.Duration(i)*time.Second), mem
				in.Jenkins.AskedAt, in.Jenkins.AnsweredAt = in.Now, in.Now
				name = in.agent("web", Ephemeral, "a", hook, told)
				for _, f := range change {
					f(&in)
				}
				_, mem, _ = Decide(in)
			}
			if got := mem.agent(name).Work.Resumed == "new"; got != tt.resumed {
				t.Errorf("its build is remembered as %+v, want that it went on: %t", mem.agent(name).Work, tt.resumed)
			}
			if got := mem.agent(name).Mark.Rested; got != tt.rested {
				t.Errorf("its mark is remembered as %+v, want rested: %t", mem.agent(name).Mark, tt.rested)
			}
		})
	}
}

// TestDeletedNode: an inbound agent whose Jenkins node was deleted can never come back. When a second answer
// shows no Jenkins node, Bellboard removes the pod, and the build gets another agent.
func TestDeletedNode(t *testing.T) {
	tell(t, []story{
		{
			name: "in the first answer it may be missing",
			house: func() Input {
				in := newHouse(web())
				in.wait(1, "linux", time.Minute)
				in.agent("web", Ephemeral, "a", noNode)
				return in
			},
		},
		{
			name: "in the second it is gone",
			house: func() Input {
				in := newHouse(web())
				in.wait(1, "linux", time.Minute)
				amend(&in.Memory.Agents, in.agent("web", Ephemeral, "a", noNode), func(m *AgentMemory) { m.Gone = in.Jenkins.AskedAt })
				return in
			},
			want:   map[string]int{"delete-pod web ephemeral ghost": 1, "create web ephemeral demand": 1, "register web ephemeral berths": 1},
			reason: map[string]string{"web": "demand: 1 waiting, 0 free, 0 on the way"},
		},
		{
			name: "in grace Jenkins may not have loaded it",
			house: func() Input {
				in := newHouse(web())
				in.GraceUntil = noon.Add(1)
				amend(&in.Memory.Agents, in.agent("web", Ephemeral, "a", noNode), func(m *AgentMemory) { m.Gone = in.Jenkins.AskedAt })
				return in
			},
		},
		{
			name: "a Swarm client registers its node anew",
			house: func() Input {
				in := newHouse(newTeam("web", ModePersistent, []string{"linux"}))
				amend(&in.Memory.Agents, in.agent("web", Persistent, "a", noNode), func(m *AgentMemory) { m.Gone = in.Jenkins.AskedAt })
				return in
			},
		},
	})
}
