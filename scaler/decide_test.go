package scaler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// did returns a plan in short: how often each "verb kind-or-agent reason" occurs. It leaves out the
// protection of pods, which TestShields checks.
func did(p Plan) map[string]int {
	out := map[string]int{}
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Verb == Protect || a.Verb == Unprotect {
			continue
		}
		out[fmt.Sprintf("%s %s %s %s", a.Verb, a.Pool.Team, a.Pool.Kind, a.Reason)]++
	}
	return out
}

// steps returns all rules of all teams, in words.
func steps(p Plan) []string {
	var out []string
	for i := range p.Decisions {
		for _, s := range p.Decisions[i].Steps {
			text := fmt.Sprintf("%s %s %d→%d %s", p.Decisions[i].Team, s.Rule, s.From, s.To, s.Note)
			if s.Note == "" {
				text = text[:len(text)-1]
			}
			out = append(out, text)
		}
	}
	return out
}

func reasons(p Plan) map[string]string {
	out := map[string]string{}
	for i := range p.Decisions {
		out[p.Decisions[i].Team] = string(p.Decisions[i].Reason) + ": " + p.Decisions[i].Text
	}
	return out
}

var (
	web  = func(f ...func(*Team)) Team { return newTeam("web", ModeEphemeral, []string{"linux"}, f...) }
	pets = func(f ...func(*Team)) Team { return newTeam("web", ModePersistent, []string{"linux"}, f...) }
	both = func(f ...func(*Team)) Team { return newTeam("web", ModeAuto, []string{"docker", "linux"}, f...) }
)

// usedOften returns the memory of a team whose first n agents pause for a few minutes between builds, and whose
// other agents pause for weeks. No build has run for an hour.
func usedOften(n int) TeamMemory {
	var out TeamMemory
	for k := range 40 {
		gap := 60 * 24 * time.Hour
		if k < n {
			gap = 5 * time.Minute
		}
		l := Level{Since: noon.Add(-time.Hour), Began: noon.Add(-2 * time.Hour)}
		for range fewGaps {
			l.Gaps = l.Gaps.with(gap.Seconds())
		}
		l.Gaps = l.Gaps.with(max(gap, 3*time.Hour).Seconds())
		out.Levels = append(out.Levels, l)
	}
	return out
}

type story struct {
	name   string
	house  func() Input
	want   map[string]int    // the actions
	steps  []string          // the rules that changed or blocked the demand
	reason map[string]string // by team, if given
}

// tell runs the stories.
func tell(t *testing.T, stories []story) {
	t.Helper()
	for _, tt := range stories {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.house()
			plan, _, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Errorf("Validate(plan) = %v, want nil", err)
			}
			if tt.want == nil {
				tt.want = map[string]int{}
			}
			if got := did(plan); cmp.Diff(tt.want, got) != "" {
				t.Errorf("Decide(%s) does %v, want %v\n%s", tt.name, got, tt.want, cmp.Diff(tt.want, got))
			}
			if got := steps(plan); cmp.Diff(tt.steps, got) != "" {
				t.Errorf("Decide(%s) has the steps %q, want %q", tt.name, got, tt.steps)
			}
			if tt.reason != nil {
				if got := reasons(plan); cmp.Diff(tt.reason, got) != "" {
					t.Errorf("Decide(%s) says %q, want %q", tt.name, got, tt.reason)
				}
			}
		})
	}
}

func TestDemand(t *testing.T) {
	tell(t, []story{
		{
			name:   "no item waits",
			house:  func() Input { return newHouse(web()) },
			reason: map[string]string{"web": "steady: no build waits"},
		},
		{
			name:   "a burst from zero: on berths first, and the berths replaced",
			house:  func() Input { in := newHouse(web()); in.wait(5, "linux", time.Minute); return in },
			want:   map[string]int{"create web ephemeral demand": 5, "register web ephemeral berths": 2},
			reason: map[string]string{"web": "demand: 5 waiting, 0 free, 0 on the way"},
		},
		{
			name: "agents on the way count once",
			house: func() Input {
				in := newHouse(web())
				in.wait(5, "linux", time.Minute)
				in.agents(3, "web", Ephemeral, "c", coming)
				in.agent("web", Ephemeral, "free")
				return in
			},
			want:   map[string]int{"create web ephemeral demand": 1, "register web ephemeral berths": 1},
			reason: map[string]string{"web": "demand: 5 waiting, 1 free, 3 on the way"},
		},
		{
			name: "enough on the way",
			house: func() Input {
				in := newHouse(web())
				in.wait(3, "linux", time.Minute)
				in.agents(3, "web", Ephemeral, "c", coming)
				return in
			},
			reason: map[string]string{"web": "steady: 3 waiting, 0 free, 3 on the way"},
		},
		{
			name: "a Swarm pool's berths are never taken",
			house: func() Input {
				in := newHouse(pets())
				in.wait(2, "linux", time.Minute)
				return in
			},
			want: map[string]int{"create web persistent demand": 2},
		},
		{
			name:  "auto makes ephemeral agents for a burst",
			house: func() Input { in := newHouse(both()); in.wait(2, "linux&&docker", time.Minute); return in },
			want:  map[string]int{"create web ephemeral demand": 2, "register web ephemeral berths": 2},
		},
		{
			name:  "docker && persistent insists on the kind",
			house: func() Input { in := newHouse(both()); in.wait(2, "docker&&persistent", time.Minute); return in },
			want:  map[string]int{"create web persistent demand": 2},
		},
		{
			name: "ephemeral insists on the other, whatever the level says",
			house: func() Input {
				in := newHouse(both(func(t *Team) { t.MinAgents = 1 }))
				in.agent("web", Persistent, "p", busy)
				in.Memory.Teams = map[string]TeamMemory{"web": usedOften(1)}
				in.wait(2, "ephemeral", time.Minute)
				return in
			},
			want: map[string]int{"create web ephemeral demand": 2, "register web ephemeral berths": 2},
		},
		{
			name:  "no team serves a kind that its mode does not allow",
			house: func() Input { in := newHouse(web()); in.wait(2, "linux&&persistent", time.Minute); return in },
		},
		{
			name: "an item that names a berth keeps it",
			house: func() Input {
				in := newHouse(web())
				in.wait(1, AgentName(PoolID{"web", Ephemeral}, "bertha"), time.Minute)
				in.wait(2, "linux", time.Minute)
				return in
			},
			want: map[string]int{"create web ephemeral demand": 2, "register web ephemeral berths": 1},
		},
		{
			name: "items that only marked, held or leaving agents could serve are short",
			house: func() Input {
				in := newHouse(web())
				in.wait(4, "linux", time.Minute)
				in.agent("web", Ephemeral, "held", person)
				in.agent("web", Ephemeral, "drained", ours)
				in.agent("web", Ephemeral, "left", ours, deleting)
				in.agent("web", Ephemeral, "cut", offline, busy)
				return in
			},
			want: map[string]int{"create web ephemeral demand": 4, "register web ephemeral berths": 2},
		},
		{
			name: "quiet-down: Jenkins does not show the waiting items, and no agent is made or removed",
			house: func() Input {
				in := newHouse(pets(func(t *Team) { t.MinAgents = 1; t.MaxAgents = 10 }))
				in.agent("web", Persistent, "stuck", offline, func(p *Pair) { p.Pod.Connected = false })
				in.agent("web", Persistent, "idle", ours)
				in.agents(3, "web", Persistent, "free")
				in.idleFor(time.Hour)
				in.wasMarked()
				in.wait(2, "linux", time.Minute)
				in.Jenkins.Items[0].State, in.Jenkins.Items[0].Resolution = ShuttingDown, Unresolved
				in.Jenkins.Items[1].State, in.Jenkins.Items[1].Resolution = ShuttingDown, Unresolved
				return in
			},
		},
		{
			name: "quiet-down: a minimum waits, and says so",
			house: func() Input {
				in := newHouse(pets(func(t *Team) { t.MinAgents = 1 }))
				in.wait(1, "", time.Minute)
				in.Jenkins.Items[0].State, in.Jenkins.Items[0].Resolution = ShuttingDown, Unresolved
				return in
			},
			steps:  []string{"web quiet-down 1→0"},
			reason: map[string]string{"web": "blocked: Jenkins is about to shut down"},
		},
	})
}

func TestFloors(t *testing.T) {
	tell(t, []story{
		{
			name:   "MIN_AGENTS",
			house:  func() Input { return newHouse(web(func(t *Team) { t.MinAgents = 3 })) },
			want:   map[string]int{"create web ephemeral minimum": 3, "register web ephemeral berths": 2},
			reason: map[string]string{"web": "minimum: MIN_AGENTS=3"},
		},
		{
			name: "MIN_AGENTS counts agents that are connected or coming",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MinAgents = 4 }))
				in.agent("web", Ephemeral, "b", busy, ours)
				in.agent("web", Ephemeral, "c", coming)
				in.agent("web", Ephemeral, "f")
				return in
			},
			want: map[string]int{"create web ephemeral minimum": 1, "register web ephemeral berths": 1},
		},
		{
			name:  "MIN_AGENTS in auto is persistent",
			house: func() Input { return newHouse(both(func(t *Team) { t.MinAgents = 2 })) },
			want:  map[string]int{"create web persistent minimum": 2},
		},
		{
			name: "the minimum serves the waiting items first",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MinAgents = 2 }))
				in.wait(3, "linux", time.Minute)
				return in
			},
			want: map[string]int{"create web ephemeral minimum": 2, "create web ephemeral demand": 1, "register web ephemeral berths": 2},
		},
		{
			name:   "MIN_IDLE",
			house:  func() Input { return newHouse(web(func(t *Team) { t.MinIdle = 2 })) },
			want:   map[string]int{"create web ephemeral spare": 2, "register web ephemeral berths": 2},
			reason: map[string]string{"web": "spare: MIN_IDLE=2"},
		},
		{
			name: "MIN_IDLE is beyond demand, and replaced when taken",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MinIdle = 2 }))
				in.wait(1, "linux", time.Minute)
				in.agents(2, "web", Ephemeral, "f")
				return in
			},
			want: map[string]int{"create web ephemeral spare": 1, "register web ephemeral berths": 1},
		},
		{
			name: "MIN_IDLE beside demand is told beside it",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MinIdle = 1 }))
				in.wait(2, "linux", time.Minute)
				return in
			},
			want:   map[string]int{"create web ephemeral demand": 2, "create web ephemeral spare": 1, "register web ephemeral berths": 2},
			reason: map[string]string{"web": "demand: 2 waiting, 0 free, 0 on the way; 1 of the 3 new agents for MIN_IDLE=1"},
		},
		{
			name:  "MIN_IDLE in auto is ephemeral",
			house: func() Input { return newHouse(both(func(t *Team) { t.MinIdle = 1 })) },
			want:  map[string]int{"create web ephemeral spare": 1, "register web ephemeral berths": 1},
		},
		{
			name:  "a minimum is spare as well if no item waits for it",
			house: func() Input { return newHouse(web(func(t *Team) { t.MinIdle, t.MinAgents = 2, 3 })) },
			want:  map[string]int{"create web ephemeral minimum": 3, "register web ephemeral berths": 2},
		},
		{
			name: "a minimum is not spare if items wait for it",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MinIdle, t.MinAgents = 1, 2 }))
				in.wait(2, "linux", time.Minute)
				return in
			},
			want:   map[string]int{"create web ephemeral minimum": 2, "create web ephemeral spare": 1, "register web ephemeral berths": 2},
			reason: map[string]string{"web": "minimum: MIN_AGENTS=2; 1 of the 3 new agents for MIN_IDLE=1"},
		},
		{
			name: "auto makes no agent beside the waiting items, however often builds come",
			house: func() Input {
				in := newHouse(both())
				in.Memory.Teams = map[string]TeamMemory{"web": usedOften(2)}
				return in
			},
			reason: map[string]string{"web": "steady: no build waits"},
		},
		{
			name: "auto makes persistent agents as far as their cache slots pay",
			house: func() Input {
				in := newHouse(both())
				in.Memory.Teams = map[string]TeamMemory{"web": usedOften(2)}
				in.wait(3, "linux", time.Minute)
				return in
			},
			want: map[string]int{"create web persistent demand": 2, "create web ephemeral demand": 1, "register web ephemeral berths": 1},
		},
		{
			name: "auto makes ephemeral agents if builds are too rare for a cache slot",
			house: func() Input {
				in := newHouse(both())
				in.Memory.Teams = map[string]TeamMemory{"web": usedOften(0)}
				in.wait(1, "linux", time.Minute)
				return in
			},
			want: map[string]int{"create web ephemeral demand": 1, "register web ephemeral berths": 1},
		},
	})
}

// TestWhatDoesNotGoAwayIsNamed: the plan names each pod that does not go away by its agent, even if its team
// is gone.
func TestWhatDoesNotGoAwayIsNamed(t *testing.T) {
	in := newHouse(web())
	name := in.agent("gone", Persistent, "g", deletingByUs, noNode, endedFor(26*time.Hour))
	plan, _ := decide(t, in)
	at := slices.IndexFunc(plan.Agents, func(a Agent) bool { return a.Name == name })
	if got := plan.Agents[at]; got.Class != Going || got.Text != "its pod does not go away: its deletion was due 26h ago" {
		t.Errorf("it is %s: %q", got.Class, got.Text)
	}
}

// endedFor: the grace of the pod's deletion ended that long ago.
func endedFor(d time.Duration) func(*Pair) {
	return func(p *Pair) { p.Pod.Deleting, p.Pod.Ends = true, noon.Add(-d) }
}

func TestCaps(t *testing.T) {
	tell(t, []story{
		{
			name: "MAX_AGENTS",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MaxAgents = 2 }))
				in.wait(5, "linux", time.Minute)
				return in
			},
			want:   map[string]int{"create web ephemeral demand": 2, "register web ephemeral berths": 2},
			steps:  []string{"web max-agents 5→2"},
			reason: map[string]string{"web": "demand: 5 waiting, 0 free, 0 on the way; at MAX_AGENTS=2 (wants 5)"},
		},
		{
			name: "MAX_AGENTS counts draining, held and leaving pods, not those that ended or that Bellboard has deleted",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MaxAgents = 6 }))
				in.wait(5, "linux", time.Minute)
				in.agent("web", Ephemeral, "d", busy, ours)
				in.agent("web", Ephemeral, "h", person)
				in.agent("web", Ephemeral, "l", deleting, ours)
				in.agent("web", Ephemeral, "g", deletingByUs, ours)
				in.agent("web", Ephemeral, "e", failed, deletingByUs, offline)
				return in
			},
			want:  map[string]int{"create web ephemeral demand": 3, "register web ephemeral berths": 2},
			steps: []string{"web max-agents 5→3"},
		},
		{
			name: "pods that should have ended five minutes ago do not count, unless the agent is online",
			house: func() Input {
				in := newHouse(both(func(t *Team) { t.MaxAgents, t.MaxPersistent = 6, 3 }))
				in.MaxAgents = 6
				in.agent("web", Ephemeral, "g", deletingByUs, ours, offline, endedFor(24*time.Hour))
				in.agent("web", Persistent, "f", deletingByUs, fence, offline, endedFor(StuckPodAfter))
				in.agent("web", Persistent, "e", deletingByUs, failed, ours, offline, endedFor(24*time.Hour))
				// Others deleted this pod, and the Swarm node went with its agent.
				in.agent("web", Persistent, "l", deleting, noNode, endedFor(StuckPodAfter))
				// The slot of this pod is for the next agent.
				in.agent("web", Persistent, "a", deletingByUs, noNode, endedFor(StuckPodAfter-1), on("a"))
				in.agent("web", Persistent, "o", deletingByUs, ours, endedFor(24*time.Hour), on("o"))
				in.wait(5, "linux && persistent", time.Minute)
				return in
			},
			want:   map[string]int{"create web persistent demand": 1},
			steps:  []string{"web max-persistent 5→1"},
			reason: map[string]string{"web": "demand: 5 waiting, 0 free, 0 on the way; at MAX_PERSISTENT=3; 3 pods do not go away"},
		},
		{
			name: "the decision names a pod that does not go away",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MaxAgents = 1 }))
				in.MaxAgents = 1
				in.agent("web", Ephemeral, "g", deletingByUs, ours, offline, endedFor(24*time.Hour))
				return in
			},
			reason: map[string]string{"web": "steady: no build waits; 1 pod does not go away"},
		},
		{
			name: "MAX_PERSISTENT: beyond it, items that accept either kind get ephemeral agents",
			house: func() Input {
				in := newHouse(both(func(t *Team) { t.MaxPersistent = 2 }))
				in.agents(2, "web", Persistent, "b", busy, ours)
				in.Memory.Teams = map[string]TeamMemory{"web": usedOften(4)}
				in.wait(2, "linux", time.Minute)
				return in
			},
			want: map[string]int{"create web ephemeral demand": 2, "register web ephemeral berths": 2},
		},
		{
			name: "MAX_PERSISTENT: items that want a persistent agent wait",
			house: func() Input {
				in := newHouse(both(func(t *Team) { t.MaxPersistent = 1 }))
				in.wait(3, "persistent", time.Minute)
				return in
			},
			want:   map[string]int{"create web persistent demand": 1},
			steps:  []string{"web max-persistent 3→1"},
			reason: map[string]string{"web": "demand: 3 waiting, 0 free, 0 on the way; at MAX_PERSISTENT=1"},
		},
		{
			name: "a spare gives way before a waiting item does",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.MaxAgents, t.MinIdle = 3, 2 }))
				in.wait(2, "linux", time.Minute)
				return in
			},
			want:  map[string]int{"create web ephemeral demand": 2, "create web ephemeral spare": 1, "register web ephemeral berths": 2},
			steps: []string{"web max-agents 4→3"},
		},
		{
			name: "the global cap: PRIORITY first",
			house: func() Input {
				low := newTeam("low", ModeEphemeral, []string{"l"})
				high := newTeam("high", ModeEphemeral, []string{"h"}, func(t *Team) { t.Priority = 1 })
				in := newHouse(low, high)
				in.MaxAgents = 5
				in.wait(4, "l", time.Hour)
				in.wait(4, "h", time.Minute)
				return in
			},
			want:   map[string]int{"create high ephemeral demand": 4, "create low ephemeral demand": 1, "register high ephemeral berths": 2, "register low ephemeral berths": 1},
			steps:  []string{"low global-max-agents 4→1"},
			reason: map[string]string{"high": "demand: 4 waiting, 0 free, 0 on the way", "low": "demand: 4 waiting, 0 free, 0 on the way; all teams together at BELLBOARD_MAX_AGENTS=5"},
		},
		{
			name: "the global cap: then evenly, counting the agents that each team has",
			house: func() Input {
				in := newHouse(newTeam("a", ModeEphemeral, []string{"a"}), newTeam("b", ModeEphemeral, []string{"b"}), newTeam("c", ModeEphemeral, []string{"c"}))
				in.MaxAgents = 7
				in.agents(2, "a", Ephemeral, "x", busy, ours)
				in.wait(5, "a", time.Minute)
				in.wait(5, "b", time.Minute)
				in.wait(1, "c", time.Minute)
				return in
			},
			want: map[string]int{
				"create a ephemeral demand": 1, "create b ephemeral demand": 3, "create c ephemeral demand": 1,
				"register a ephemeral berths": 1, "register b ephemeral berths": 2, "register c ephemeral berths": 1,
			},
			steps: []string{"a global-max-agents 5→1", "b global-max-agents 5→3"},
		},
		{
			name: "the global cap counts agents whose team is gone",
			house: func() Input {
				in := newHouse(web())
				in.MaxAgents = 2
				in.agents(2, "old", Ephemeral, "x", busy, ours)
				in.wait(1, "linux", time.Minute)
				return in
			},
			steps:  []string{"web global-max-agents 1→0"},
			reason: map[string]string{"web": "blocked: all teams together at BELLBOARD_MAX_AGENTS=2"},
		},
		{
			name: "SCALE_UP_STEP",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.ScaleUpStep = 3 }))
				in.wait(8, "linux", time.Minute)
				return in
			},
			want:   map[string]int{"create web ephemeral demand": 3, "register web ephemeral berths": 2},
			steps:  []string{"web scale-up-step 8→3"},
			reason: map[string]string{"web": "demand: 8 waiting, 0 free, 0 on the way; SCALE_UP_STEP=3 at a time"},
		},
		{
			name: "SCALE_UP_STEP does not delay a minimum or a spare",
			house: func() Input {
				in := newHouse(web(func(t *Team) { t.ScaleUpStep, t.MinAgents, t.MinIdle = 1, 2, 2 }))
				in.wait(4, "linux", time.Minute)
				return in
			},
			want: map[string]int{
				"create web ephemeral minimum": 2, "create web ephemeral demand": 1, "create web ephemeral spare": 2, "register web ephemeral berths": 2,
			},
			steps: []string{"web scale-up-step 2→1"},
		},
		{
			name: "back-off",
			house: func() Input {
				in := newHouse(web())
				in.wait(2, "linux", time.Minute)
				in.backsOff(PoolID{"web", Ephemeral}, Backoff{Until: noon.Add(20 * time.Second)})
				return in
			},
			steps:  []string{"web back-off 2→0 20s left"},
			reason: map[string]string{"web": "blocked: ephemeral agents failed, next try in 20s"},
		},
		{
			name: "back-off is over",
			house: func() Input {
				in := newHouse(web())
				in.wait(1, "linux", time.Minute)
				in.backsOff(PoolID{"web", Ephemeral}, Backoff{Until: noon})
				return in
			},
			want: map[string]int{"create web ephemeral demand": 1, "register web ephemeral berths": 1},
		},
		{
			name: "back-off of one kind: items that accept either kind get the other",
			house: func() Input {
				in := newHouse(both(func(t *Team) { t.MinAgents = 1 }))
				in.wait(1, "linux", time.Minute)
				in.backsOff(PoolID{"web", Persistent}, Backoff{Until: noon.Add(90 * time.Second)})
				return in
			},
			want:  map[string]int{"create web ephemeral demand": 1, "register web ephemeral berths": 1},
			steps: []string{"web fallback 1→0 persistent agents failed, next try in 1m30s", "web back-off 1→0 1m30s left"},
		},
	})
}

func TestCooldownUp(t *testing.T) {
	slow := func(t *Team) { t.ScaleUpCooldown = time.Minute }
	since := func(in Input, ago time.Duration) Input {
		alter(&in.Memory.Pools, PoolID{"web", Ephemeral}, func(m *PoolMemory) { m.Up = noon.Add(-ago) })
		return in
	}
	tell(t, []story{
		{
			name: "blocks, and says for how long",
			house: func() Input {
				in := newHouse(web(slow))
				in.wait(2, "linux", time.Minute)
				return since(in, 37*time.Second)
			},
			steps:  []string{"web scale-up-cooldown 2→0 23s left"},
			reason: map[string]string{"web": "blocked: scale-up cooldown, 23s left"},
		},
		{
			name: "is over",
			house: func() Input {
				in := newHouse(web(slow))
				in.wait(2, "linux", time.Minute)
				return since(in, time.Minute)
			},
			want: map[string]int{"create web ephemeral demand": 2, "register web ephemeral berths": 2},
		},
		{
			name:  "has not begun",
			house: func() Input { in := newHouse(web(slow)); in.wait(2, "linux", time.Minute); return in },
			want:  map[string]int{"create web ephemeral demand": 2, "register web ephemeral berths": 2},
		},
		{
			name: "never delays a minimum, though items wait for it, nor a spare",
			house: func() Input {
				in := newHouse(web(slow, func(t *Team) { t.MinAgents, t.MinIdle = 2, 1 }))
				in.wait(5, "linux", time.Minute)
				return since(in, time.Second)
			},
			want:  map[string]int{"create web ephemeral minimum": 2, "create web ephemeral spare": 1, "register web ephemeral berths": 2},
			steps: []string{"web scale-up-cooldown 6→3 59s left"},
		},
		{
			name: "never delays the replacement of an agent that leaves",
			house: func() Input {
				in := newHouse(web(slow))
				in.agent("web", Ephemeral, "l", deleting, ours)
				in.wait(3, "linux", time.Minute)
				return since(in, time.Second)
			},
			want:  map[string]int{"create web ephemeral demand": 1, "register web ephemeral berths": 1},
			steps: []string{"web scale-up-cooldown 3→1 59s left"},
		},
		{
			name: "the cooldown of one pool does not slow another pool",
			house: func() Input {
				in := newHouse(both(slow))
				in.wait(1, "persistent", time.Minute)
				return since(in, time.Second)
			},
			want: map[string]int{"create web persistent demand": 1},
		},
	})
}

// TestCooldownUpStarts: only agents that demand created start the cooldown.
func TestCooldownUpStarts(t *testing.T) {
	id := PoolID{"web", Ephemeral}
	earlier := noon.Add(-time.Second)
	tests := []struct {
		name  string
		house func() Input
		want  time.Time
	}{
		{"demand", func() Input { in := newHouse(web()); in.wait(1, "linux", time.Minute); return in }, noon},
		{"minimum", func() Input { return newHouse(web(func(t *Team) { t.MinAgents = 1 })) }, time.Time{}},
		{"spare", func() Input { return newHouse(web(func(t *Team) { t.MinIdle = 1 })) }, time.Time{}},
		{"replacement", func() Input {
			in := newHouse(web(func(t *Team) { t.ScaleUpCooldown = time.Minute }))
			in.agent("web", Ephemeral, "l", deleting, ours)
			in.wait(1, "linux", time.Minute)
			alter(&in.Memory.Pools, id, func(m *PoolMemory) { m.Up = earlier })
			return in
		}, earlier},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := tt.house()
			plan, mem, _ := Decide(in)
			if !slices.ContainsFunc(plan.Actions, func(a Action) bool { return a.Verb == Create }) {
				t.Fatalf("Decide(%s) creates nothing, want one agent", tt.name)
			}
			if got := mem.Pools[id].Up; !got.Equal(tt.want) {
				t.Errorf("Decide(%s) starts the cooldown at %v, want %v", tt.name, got, tt.want)
			}
		})
	}
}
