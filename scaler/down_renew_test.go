package scaler

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestRenew(t *testing.T) {
	settings := func(tm *Team) {
		for i := range tm.Pools {
			tm.Pools[i].Spec, tm.Pools[i].IdleTimeout = "new", 24*time.Hour
			if tm.Pools[i].Kind == Persistent {
				tm.Pools[i].MaxLifetime = 24 * time.Hour
			}
		}
	}
	aged := func(d time.Duration) func(*Pair) {
		return func(p *Pair) { p.Pod.Created, p.Pod.Spec = noon.Add(-d), "new" }
	}
	before := func(p *Pair) { p.Pod.Spec = "old" }
	tests := []struct {
		name  string
		team  Team
		house func(*Input)
		want  []string
	}{
		{"young and of today's settings", pets(settings), func(in *Input) { in.agent("web", Persistent, "a", aged(23*time.Hour)) }, nil},
		{"old", pets(settings), func(in *Input) { in.agent("web", Persistent, "a", aged(24*time.Hour)) }, []string{"web-p-a older than MAX_LIFETIME=24h, leaving"}},
		{"no lifetime", pets(settings, func(tm *Team) { tm.Pools[0].MaxLifetime = 0 }), func(in *Input) { in.agent("web", Persistent, "a", aged(240*time.Hour)) }, nil},
		{"made from other settings", pets(settings), func(in *Input) { in.agent("web", Persistent, "a", before) }, []string{"web-p-a made from settings that have changed, leaving"}},
		{"its settings are not known", pets(settings), func(in *Input) { in.agent("web", Persistent, "a") }, nil},
		{"a free ephemeral agent of other settings", web(settings), func(in *Input) { in.agent("web", Ephemeral, "a", before) }, []string{"web-e-a made from settings that have changed, leaving"}},
		{"an ephemeral agent at work goes anyway", web(settings), func(in *Input) { in.agent("web", Ephemeral, "a", before, busy, ours) }, nil},
		{"a free agent, while others go after their builds", web(settings), func(in *Input) {
			in.agent("web", Ephemeral, "a", busy, ours)
			in.agent("web", Ephemeral, "b", before)
		}, []string{"web-e-b made from settings that have changed, leaving"}},
		{"not while a free agent is on its way out", web(settings), func(in *Input) {
			in.agent("web", Ephemeral, "a", before, ours)
			in.agent("web", Ephemeral, "b", before)
		}, nil},
		{"one agent at a time, the free agent first", pets(settings), func(in *Input) {
			in.agent("web", Persistent, "a", before, busy)
			in.agent("web", Persistent, "b", before)
		}, []string{"web-p-b made from settings that have changed, leaving"}},
		{"not starved by load: the oldest at work", pets(settings), func(in *Input) {
			in.agent("web", Persistent, "a", aged(25*time.Hour), busy)
			in.agent("web", Persistent, "b", aged(26*time.Hour), busy)
		}, []string{"web-p-b older than MAX_LIFETIME=24h, leaving"}},
		{"not the next while an agent is leaving", pets(settings), func(in *Input) {
			in.agent("web", Persistent, "a", before, busy, ours)
			in.agent("web", Persistent, "b", before)
		}, nil},
		{"the next, while an agent does not go away", pets(settings), func(in *Input) {
			in.agent("web", Persistent, "a", before, deletingByUs, noNode, endedFor(StuckPodAfter))
			in.agent("web", Persistent, "b", before)
		}, []string{"web-p-b made from settings that have changed, leaving"}},
		{"a tenth of many", pets(settings, func(tm *Team) { tm.MaxAgents, tm.MaxPersistent = 40, 40 }), func(in *Input) {
			in.agents(25, "web", Persistent, "x", before)
		}, []string{"web-p-xaa made from settings that have changed, leaving", "web-p-xab made from settings that have changed, leaving"}},
		{"not an agent that a waiting build is about to take", pets(settings), func(in *Input) {
			in.agent("web", Persistent, "a", before)
			in.wait(1, "linux", time.Second)
		}, nil},
		{"in grace nothing", pets(settings), func(in *Input) {
			in.agent("web", Persistent, "a", before)
			in.GraceUntil = noon.Add(1)
		}, nil},
		{"not an agent that a build names", pets(settings), func(in *Input) {
			in.wait(1, in.agent("web", Persistent, "a", before), time.Second)
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(tt.team)
			tt.house(&in)
			plan, _, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range plan.Actions {
				if a.Verb == Mark && a.Reason == ReasonRenew {
					got = append(got, fmt.Sprintf("%s %s", a.Agent, a.Text))
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Decide(%s) renews %q, want %q", tt.name, got, tt.want)
			}
		})
	}
}

// TestRenewalIsTold: a decision says how many agents it renews, and why, together with everything else.
func TestRenewalIsTold(t *testing.T) {
	settings := func(tm *Team) {
		tm.Pools[0].Spec, tm.Pools[0].MaxLifetime = "new", 24*time.Hour
		tm.MaxAgents, tm.MaxPersistent = 40, 40
	}
	before := func(p *Pair) { p.Pod.Spec = "old" }
	old := func(p *Pair) { p.Pod.Created, p.Pod.Spec = noon.Add(-25*time.Hour), "new" }
	crowd := func(in *Input) {
		in.agents(20, "web", Persistent, "x", before, busy)
		in.agent("web", Persistent, "y", old, busy)
	}
	tests := []struct {
		name         string
		team         Team
		house        func(*Input)
		renew        int
		change, told string
	}{
		{"one agent", pets(settings), func(in *Input) { in.agent("web", Persistent, "a", before) }, 1, "renew 1 persistent", "renew: renews 1 agent: made from settings that have changed"},
		{"two, each for its own reason", pets(settings), crowd, 2, "renew 2 persistent", "renew: renews 1 agent: made from settings that have changed; renews 1 agent: older than MAX_LIFETIME=24h"},
		{"together with creations", pets(settings, func(tm *Team) { tm.MinIdle = 1 }), func(in *Input) { in.agent("web", Persistent, "a", before, busy) }, 1, "+1 persistent, renew 1 persistent", "spare: MIN_IDLE=1; renews 1 agent: made from settings that have changed"},
		{"beside a block", pets(settings, func(tm *Team) { tm.MaxAgents = 1 }), func(in *Input) {
			in.agent("web", Persistent, "a", before, busy)
			in.wait(1, "linux", time.Second)
		}, 1, "renew 1 persistent", "blocked: at MAX_AGENTS=1 (wants 2); renews 1 agent: made from settings that have changed"},
		{"no agent", pets(settings), func(*Input) {}, 0, "none", "steady: no build waits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(tt.team)
			tt.house(&in)
			plan, _, _ := Decide(in)
			d := &plan.Decisions[0]
			if told := reasons(plan)["web"]; d.Renewals() != tt.renew || d.Change() != tt.change || told != tt.told || d.Changes() != (tt.renew > 0) {
				t.Errorf("Decide(%s) renews %d and says %q, %q; changes: %v; want %d, %q, %q", tt.name, d.Renewals(), d.Change(), told, d.Changes(), tt.renew, tt.change, tt.told)
			}
		})
	}
}

// TestUnlabelled: items that ask for no label are demand if a team serves such items.
func TestUnlabelled(t *testing.T) {
	other := newTeam("mobile", ModeEphemeral, []string{"android", "mac"})
	wait := func(in *Input, n int) { in.wait(n, "", time.Minute) }
	static := func(in *Input) {
		in.Jenkins.Nodes = append(in.Jenkins.Nodes, Node{Name: "static", Labels: []string{"mac"}, Online: true, Executors: 1, Idle: true})
	}
	tests := []struct {
		name  string
		teams []Team
		house func(*Input)
		want  int
	}{
		{"no team serves them", []Team{web(), other}, func(in *Input) { wait(in, 3) }, 0},
		{"one team serves them", []Team{web(unlabelled), other}, func(in *Input) { wait(in, 3) }, 3},
		{"its free agents do", []Team{web(unlabelled), other}, func(in *Input) { wait(in, 3); in.agent("web", Ephemeral, "a") }, 2},
		{"not those of a team that does not", []Team{web(unlabelled), other}, func(in *Input) { wait(in, 3); in.agent("mobile", Ephemeral, "a") }, 3},
		{"a static agent may", []Team{web(unlabelled), other}, func(in *Input) { wait(in, 3); static(in) }, 2},
		{"items whose label is not known are no demand", []Team{web(unlabelled), other}, func(in *Input) {
			wait(in, 3)
			for i := range in.Jenkins.Items {
				in.Jenkins.Items[i].Resolution = Unresolved
			}
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(tt.teams...)
			tt.house(&in)
			plan, _, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Fatal(err)
			}
			if got := did(plan)["create web ephemeral demand"]; got != tt.want {
				t.Errorf("Decide(%s) creates %d, want %d: %v", tt.name, got, tt.want, did(plan))
			}
		})
	}
}
