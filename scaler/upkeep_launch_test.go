package scaler

import (
	"slices"
	"testing"
	"time"
)

// ready: the agent's pod runs.
func ready(p *Pair) { p.Pod.Ready = noon.Add(-time.Second) }

// called returns the names of the agents that the plan asks Jenkins to call.
func called(p Plan) []string {
	var out []string
	for i := range p.Actions {
		if p.Actions[i].Verb == Launch {
			out = append(out, p.Actions[i].Agent)
		}
	}
	return out
}

// TestCallable: Jenkins calls agents that run and do not connect by themselves.
func TestCallable(t *testing.T) {
	const name = "web-e-a"
	named := func(in *Input) { in.wait(1, name, time.Second) }
	grace := func(in *Input) { in.GraceUntil = noon.Add(time.Minute) }
	seen := func(in *Input) { in.wasMarked() }
	paused := func(in *Input) { in.Teams[0].Paused = true }
	away := func(in *Input) {
		amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Away = noon.Add(-GhostAfter) })
	}
	late := scheduled(time.Hour)
	tests := []struct {
		name  string
		as    seenAs
		house []func(*Input)
		want  bool
	}{
		{"on its way", seenAs{coming, ready}, nil, true},
		{"its container does not run yet", seenAs{coming}, nil, false},
		{"its pod does not run yet", seenAs{coming, ready, func(p *Pair) { p.Pod.Phase = PodPending }}, nil, false},
		{"its pod has ended", seenAs{coming, ready, failed}, nil, false},
		{"somebody else deletes its pod", seenAs{coming, ready, deleting}, nil, false},
		{"Bellboard deletes its pod, and a build names the agent", seenAs{coming, ready, deletingByUs}, []func(*Input){named}, false},
		{"a berth", seenAs{coming, noPod}, []func(*Input){func(in *Input) { in.Berths[name] = true }}, false},
		{"Jenkins does not show its node yet", seenAs{coming, ready, noNode}, nil, false},
		{"online", seenAs{ready}, nil, false},
		{"online, and a build waits for it", seenAs{ready}, []func(*Input){named}, false},
		{"a fence of its name", seenAs{ready, fence}, nil, false},
		{"a person has taken it offline", seenAs{coming, ready, person}, nil, false},
		{"it calls Jenkins", seenAs{coming, ready}, []func(*Input){func(in *Input) { in.Teams[0].Pools[0].Called = false }}, false},
		{"its team is gone", seenAs{coming, ready}, []func(*Input){func(in *Input) { in.Teams = nil }}, false},
		{"its team is paused", seenAs{coming, ready}, []func(*Input){paused}, false},
		{"and it is marked", seenAs{coming, ready, ours}, []func(*Input){paused}, false},
		{"and about to go", seenAs{coming, ready, ours}, []func(*Input){paused, seen}, false},
		{"its Kubernetes node is about to go", seenAs{coming, ready, disrupted}, nil, false},
		{"did not come in time", seenAs{coming, ready, late}, nil, false},
		{"did not come in time, marked", seenAs{coming, ready, late, ours}, nil, false},
		{"did not come in time, in grace", seenAs{coming, ready, late}, []func(*Input){grace}, true},
		{"cut off", seenAs{ready, offline}, nil, true},
		{"cut off, marked", seenAs{ready, offline, ours}, nil, true},
		{"cut off for too long", seenAs{ready, offline}, []func(*Input){away}, false},
		{"cut off under its build", seenAs{ready, offline, busy, ours}, nil, true},
		{"a build waits for it", seenAs{ready, offline}, []func(*Input){named}, true},
		// The mark is cleared first.
		{"a build waits for it, marked", seenAs{ready, offline, ours}, []func(*Input){named}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(web(func(t *Team) { t.Pools[0].Called = true }))
			in.agent("web", Ephemeral, "a", tt.as...)
			for _, f := range tt.house {
				f(&in)
			}
			plan, _, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Fatal(err)
			}
			if got := called(plan); len(got) > 0 != tt.want {
				t.Errorf("Decide(%s) has Jenkins call %q, want a call: %v; it does %v", tt.name, got, tt.want, did(plan))
			}
		})
	}
}

// TestRelaunch: an agent that does not connect is called again after a while. An agent that connected and was
// cut off is called at once.
func TestRelaunch(t *testing.T) {
	var mem Memory
	now := noon
	tick := func(when string, later time.Duration, as func(in *Input), want ...string) {
		t.Helper()
		in := newHouse(web(func(t *Team) { t.Pools[0].Called = true }))
		now = now.Add(later)
		in.Now, in.Jenkins.AskedAt, in.Jenkins.AnsweredAt, in.Memory = now, now, now, mem
		as(&in)
		plan, next, _ := Decide(in)
		if got := called(plan); !slices.Equal(got, want) {
			t.Errorf("%s: Jenkins is to call %q, want %q", when, got, want)
		}
		mem = next
	}
	both := func(in *Input) {
		in.agent("web", Ephemeral, "a", coming, ready)
		in.agent("web", Ephemeral, "b", coming, ready)
	}
	tick("both run", 0, both, "web-e-a", "web-e-b")
	tick("a moment later", Relaunch-1, both)
	tick("in time", 1, both, "web-e-a", "web-e-b")
	tick("one agent has connected", time.Second, func(in *Input) {
		in.agent("web", Ephemeral, "a", ready)
		in.agent("web", Ephemeral, "b", coming, ready)
	})
	tick("and is cut off at once", time.Second, func(in *Input) {
		in.agent("web", Ephemeral, "a", offline, ready)
		in.agent("web", Ephemeral, "b", coming, ready)
	}, "web-e-a")
	tick("all have gone", time.Second, func(*Input) {})
	if len(mem.Agents) > 0 {
		t.Errorf("%v is remembered of agents that have gone", mem.Agents)
	}
	tick("a person has it for a moment", time.Second, both, "web-e-a", "web-e-b")
	tick("has it", time.Second, func(in *Input) { in.agent("web", Ephemeral, "a", coming, ready, person) })
	tick("and gives it back", time.Second, both, "web-e-b")
}
