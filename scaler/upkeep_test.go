package scaler

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// TestShields: a pod is protected if a build runs on it or waits for it. A pod that has been free for a while
// is not.
func TestShields(t *testing.T) {
	const name = "web-p-a"
	protected := func(on bool) func(*Input) { return func(in *Input) { in.Cluster.Pods[0].Protected = on } }
	free := func(d time.Duration) func(*Input) { return func(in *Input) { in.idleFor(d) } }
	named := func(in *Input) { in.wait(1, name, time.Second) }
	tests := []struct {
		name  string
		as    seenAs
		house []func(*Input)
		want  []Verb
	}{
		{"at work, bare", seenAs{busy}, []func(*Input){protected(false)}, []Verb{Protect}},
		{"at work", seenAs{busy}, nil, nil},
		{"a one-off executor works, bare", seenAs{oneOff}, []func(*Input){protected(false)}, []Verb{Protect}},
		{"draining, bare", seenAs{busy, ours}, []func(*Input){protected(false)}, []Verb{Protect}},
		{"cut, bare", seenAs{busy, offline}, []func(*Input){protected(false)}, []Verb{Protect}},
		{"named by a build, bare", seenAs{offline}, []func(*Input){protected(false), named}, []Verb{Protect}},
		{"free just now", nil, []func(*Input){protected(true), free(29 * time.Second)}, nil},
		{"free for a while", nil, []func(*Input){protected(true), free(30 * time.Second)}, []Verb{Unprotect}},
		{"free for a while, bare", nil, []func(*Input){protected(false), free(time.Minute)}, nil},
		{"free for a while, in grace", nil, []func(*Input){protected(true), free(time.Minute), func(in *Input) { in.GraceUntil = noon.Add(1) }}, nil},
		{"free, and named by a build", nil, []func(*Input){protected(true), free(time.Minute), named}, nil},
		{"away for a while", seenAs{offline}, []func(*Input){protected(true), free(time.Minute)}, nil},
		{"held, and nothing runs on it", seenAs{person}, []func(*Input){protected(true)}, []Verb{Unprotect}},
		{"held at work", seenAs{person, busy}, []func(*Input){protected(true)}, nil},
		{"held at work, bare", seenAs{person, busy}, []func(*Input){protected(false)}, []Verb{Protect}},
		{"held and cut", seenAs{person, offline}, []func(*Input){protected(true)}, nil},
		{"held, and named by a build", seenAs{person}, []func(*Input){protected(true), named}, nil},
		{"held, in grace", seenAs{person}, []func(*Input){protected(true), func(in *Input) { in.GraceUntil = noon.Add(1) }}, nil},
		{"its pod is on its way out", seenAs{busy, deleting}, []func(*Input){protected(false)}, nil},
		{"its pod has ended", seenAs{busy, failed}, []func(*Input){protected(false)}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(pets())
			in.agent("web", Persistent, "a", tt.as...)
			for _, f := range tt.house {
				f(&in)
			}
			plan, _, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Fatal(err)
			}
			var got []Verb
			for _, a := range plan.Actions {
				if a.Verb == Protect || a.Verb == Unprotect {
					got = append(got, a.Verb)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("Decide(%s) does %v, want %v", tt.name, got, tt.want)
			}
		})
	}
}

// TestBornSpare: an agent's pod is made without protection only if no build waits for it.
func TestBornSpare(t *testing.T) {
	wait := func(in *Input) { in.wait(1, "linux", time.Minute) }
	tests := []struct {
		name  string
		team  Team
		house func(*Input)
		want  map[Reason]bool // by reason: whether the agent is a spare
	}{
		{"for a build", web(), wait, map[Reason]bool{ReasonDemand: false}},
		{"for MIN_IDLE", web(func(tm *Team) { tm.MinIdle = 1 }), func(*Input) {}, map[Reason]bool{ReasonSpare: true}},
		{"for MIN_IDLE, together with an agent for a build", web(func(tm *Team) { tm.MinIdle = 1 }), wait, map[Reason]bool{ReasonDemand: false, ReasonSpare: true}},
		{"for a minimum", web(func(tm *Team) { tm.MinAgents = 1 }), func(*Input) {}, map[Reason]bool{ReasonMinimum: true}},
		{"for a minimum, and a build waits", web(func(tm *Team) { tm.MinAgents = 1 }), wait, map[Reason]bool{ReasonMinimum: false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(tt.team)
			tt.house(&in)
			plan, _, _ := Decide(in)
			got := map[Reason]bool{}
			for _, a := range plan.Actions {
				if a.Verb == Create {
					got[a.Reason] = a.Spare
				}
			}
			if !maps.Equal(got, tt.want) {
				t.Errorf("Decide(%s) makes spares %v, want %v", tt.name, got, tt.want)
			}
		})
	}
}
