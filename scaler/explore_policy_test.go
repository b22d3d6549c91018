package scaler

import (
	"testing"
	"time"
)

// letsGo puts the policy in the place of PAUSED: a free agent goes, or is kept, because of what the memory says.
func (m *model) letsGo(in *Input, name string, goes bool) {
	in.Teams[0].Paused, in.Teams[0].ScaleDownCooldown = false, 0
	in.Teams[0].Pools = []Pool{in.Teams[0].Pools[0]}
	in.Teams[0].Pools[0].IdleTimeout = 0
	unused := 115 * time.Second // a little shorter than the gaps before: the agent pays
	if goes {
		unused = time.Hour
	}
	in.Memory.Teams = map[string]TeamMemory{"web": learnt(1, 0, unused)}
	amend(&in.Memory.Agents, name, func(a *AgentMemory) { a.Free = noon.Add(-time.Minute) })
}

// TestExplorePolicy tries every order of every step, as TestExplore does, while the policy lets free agents go at
// any moment: no build dies. Without a safeguard of the removal, builds die here, too.
func TestExplorePolicy(t *testing.T) {
	for _, k := range agentKinds {
		for _, tt := range []struct {
			name    string
			without without
			faults  int
			want    injury
		}{
			{"all safeguards", without{}, 1, noHarm},
			{"without the mark before removal", without{earlierAnswer: true}, 1, harmPod},
			{"without the grace", without{grace: true}, 1, harmPod},
			{"without the idle agent", without{idle: true}, 1, harmPod},
			{"mark and removal at once", without{laterTick: true}, 0, harmPod},
		} {
			if k.hook && tt.want != noHarm {
				continue
			}
			t.Run(k.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				m := newModel(k.swarm, k.ephemeral, k.hook, tt.without)
				m.policy, m.killsOnly = true, tt.want != noHarm
				f := m.explore(faultsOrLess(tt.faults))
				if m.err != nil {
					t.Error(m.err)
				}
				if f.injury != tt.want {
					t.Errorf("%q after %d states, want %q\n%s", f.injury, f.states, tt.want, f.story)
				}
				if tt.want == noHarm && !m.verbs[Mark] {
					t.Error("no story marks the agent")
				}
			})
		}
	}
}

// TestExplorePolicyLetsGo: the question that the exploration asks is one that the policy answers.
func TestExplorePolicyLetsGo(t *testing.T) {
	for _, goes := range []bool{false, true} {
		m := newModel(false, false, false, without{})
		m.policy = true
		l := life{node: ownComputer, online: true, sawNode: ownComputer, sawOnline: true, sawIdle: true, known: true, calm: true, pod: podView{phase: podRunning, connected: true}}
		in, name := m.input(&l, l.pod, false, goes)
		plan, _ := decide(t, in)
		var why Reason
		for _, a := range plan.Actions {
			if a.Agent == name && a.Verb == Mark {
				why = a.Reason
			}
		}
		if (why == ReasonIdle) != goes {
			t.Errorf("a free agent that goes: %t is marked for %q, want %q or nothing", goes, why, ReasonIdle)
		}
	}
}
