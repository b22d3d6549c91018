package scaler

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

// FuzzTeamMemory: Decide never panics and never breaks a promise, whatever a team's memory says. A memory may come
// from an older process, or from a hand.
func FuzzTeamMemory(f *testing.F) {
	for _, m := range []TeamMemory{
		{},
		learnt(2, 1, time.Minute),
		regular(learnt(3, 1, time.Minute)),
		pauses(often, rarely).gains(much),
		{Demand: 9, Levels: make([]Level, 2)},
		{Demand: -1},
		{Levels: []Level{{Since: noon.Add(time.Hour), Began: noon.Add(2 * time.Hour), Ahead: []float32{9, 1, -5}}}, WaitValue: -3, Lead: -time.Hour, Start: -1},
	} {
		text, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, uint8(3), false)
		f.Add(text, uint8(0), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, waiting uint8, auto bool) {
		var m TeamMemory
		if json.Unmarshal(text, &m) != nil || len(m.Levels) > 2000 {
			return
		}
		m.Gaps, m.Gain.Ratios, m.Gain.Took = newSeries(m.Gaps.Last), newSeries(m.Gain.Ratios.Last), newSeries(m.Gain.Took.Last)
		for k := range m.Levels {
			l := &m.Levels[k]
			l.Gaps, l.Every = newSeries(l.Gaps.Last), newSeries(l.Every.Last)
		}
		team := policy(pets())
		if auto {
			team = policy(both())
		}
		in := newHouse(team)
		in.Memory.Teams["web"] = m
		in.agents(2, "web", Persistent, "f")
		in.agent("web", Persistent, "b", busy)
		in.slot("web", "a", time.Hour)
		in.idleFor(time.Minute)
		in.wait(int(waiting%16), "linux", time.Minute)
		for range 3 { // builds come, then they are over
			plan, mem, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Fatalf("Validate(plan) = %v, want nil", err)
			}
			if due := mem.Teams["web"]; !due.Due(in.Now).IsZero() && !due.Due(in.Now).After(in.Now) {
				t.Fatalf("Due() = %s, want a time after %s", due.Due(in.Now), in.Now)
			}
			in.Memory, in.Jenkins.Items, in.Now = mem, slices.Clone(in.Jenkins.Items[:0]), in.Now.Add(time.Minute)
		}
	})
}
