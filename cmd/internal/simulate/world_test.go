package simulate

import (
	"math"
	"testing"
	"time"

	"bellboard/scaler"
)

// TestByHand checks cases whose answer can be computed by hand. Polls come every 100 ms, so that they delay
// little: an answer may be so many polls late.
func TestByHand(t *testing.T) {
	const poll = 0.1
	for _, tt := range []struct {
		name     string
		h        *History
		policy   Policy
		wait     []float64 // of the builds, in order
		paid     float64   // agent-seconds
		launches int
		slack    float64
	}{
		{"one build on a one-build agent", historyOf(0, 100), ours(t, 100*time.Millisecond, "MODE=ephemeral"), []float64{40}, 140, 1, 4 * poll},
		{"two builds far apart start twice", historyOf(0, 100, 1000, 100), ours(t, 100*time.Millisecond, "MODE=ephemeral"), []float64{40, 40}, 280, 2, 8 * poll},
		{"a persistent agent serves both, and stays idle for 10 min", historyOf(0, 100, 500, 100), ours(t, 100*time.Millisecond, "MODE=persistent", "IDLE_TIMEOUT=10m"), []float64{0, 40}, 600 + 600, 1, 6 * poll},
		{"MAX_AGENTS=1 has the second build wait for the first", historyOf(0, 100, 10, 100), ours(t, 100*time.Millisecond, "MODE=persistent", "MAX_AGENTS=1", "IDLE_TIMEOUT=10m"), []float64{40, 130}, 40 + 200 + 600, 1, 6 * poll},
		{"a fixed pool of one agent", historyOf(0, 100, 50, 100), fixedOf(1), []float64{0, 50}, 260 + 3600, 1, 10},
		{"ten builds at once on ten agents of ARC", historyOf(0, 100, 0, 100, 0, 100, 0, 100, 0, 100), ARC(0), []float64{41, 41, 41, 41, 41}, 5 * 140, 5, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := replayed(t, tt.h, startOf(40*time.Second), tt.policy)
			if len(r.waits) != len(tt.wait) {
				t.Fatalf("%d builds ran, want %d", len(r.waits), len(tt.wait))
			}
			_ = r.Wait(1) // sorts the waits
			for i, want := range tt.wait {
				if got := float64(r.waits[i]) / 1000; got < want-1e-9 || got > want+2*poll {
					t.Errorf("wait %d is %.3f s, want %.3f", i, got, want)
				}
			}
			if got := float64(r.paid) / 1000; got < tt.paid-1e-9-tt.slack || got > tt.paid+tt.slack {
				t.Errorf("paid %.3f agent-seconds, want %.3f", got, tt.paid)
			}
			if r.Launches != tt.launches {
				t.Errorf("%d agents were made, want %d", r.Launches, tt.launches)
			}
		})
	}
}

// fixedOf returns a pool of n agents, which are there when the first build comes.
func fixedOf(n int) Policy {
	return Policy{Name: "fixed", make: func(*Scenario, []Build) (policy, error) {
		r := rival{every: 10 * second, idle: never}
		r.restful = func(w *world) bool { return w.alive() >= n }
		r.grow = func(_ *rival, w *world) int { return n - w.alive() }
		return &r, nil
	}}
}

// TestColdCache checks which builds pay for an empty cache: the first of an agent, unless the agent starts on a
// cache slot that a build has filled.
func TestColdCache(t *testing.T) {
	s := startOf(40 * time.Second)
	s.Cold = true
	h := historyOf(0, 100, 5000, 100, 10000, 2000)
	for _, tt := range []struct {
		name string
		set  string
		cold float64
	}{
		{"each build of a one-build agent", "MODE=ephemeral", 35 + 35 + 300},
		{"the first build of a kept slot only", "MODE=persistent", 35},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := float64(replayed(t, h, s, ours(t, time.Second, tt.set)).cold) / 1000; got != tt.cold {
				t.Errorf("empty caches cost %g s, want %g", got, tt.cold)
			}
		})
	}
	r := replayed(t, h, s, ours(t, time.Second, "MODE=persistent", "IDLE_TIMEOUT=10m"))
	if stored := float64(r.slots) / 1000; r.Slots != 1 || math.Abs(stored-(10_000+2000+600+50)) > 20 {
		t.Errorf("%d slots were kept for %.0f s, want one from the first build to the end", r.Slots, stored)
	}
}

// TestConservation checks that the paid time is exactly the time in which agents start, work, are free and
// leave, and that agents work exactly as long as their builds take. It checks that for every policy.
func TestConservation(t *testing.T) {
	s := Cold()
	s.Ending, s.Failing = 7*time.Second, 0.02
	policies := append(Grid(), ours(t, 5*time.Second, "MODE=ephemeral"), ours(t, 5*time.Second, "MODE=persistent"), ours(t, 5*time.Second))
	for _, shape := range Shapes() {
		h := generated(t, shape, 2)
		for _, p := range policies {
			r := replayed(t, h, s, p)
			if sum := r.time[starting] + r.time[busy] + r.time[free] + r.time[leaving]; sum != r.paid {
				t.Errorf("%s, %s: paid %d ms, and starting %d + busy %d + free %d + leaving %d = %d", shape, p.Name, r.paid, r.time[starting], r.time[busy], r.time[free], r.time[leaving], sum)
			}
			if r.time[busy] != r.work+r.cold || r.work != h.Work() {
				t.Errorf("%s, %s: agents worked for %d ms, and builds took %d and %d for empty caches", shape, p.Name, r.time[busy], r.work, r.cold)
			}
			if len(r.waits) != len(h.Builds) {
				t.Errorf("%s, %s: %d of %d builds ran", shape, p.Name, len(r.waits), len(h.Builds))
			}
		}
	}
}

// TestSameSeed checks that a replay has one answer.
func TestSameSeed(t *testing.T) {
	h, p := generated(t, FanOut, 1), ours(t, 5*time.Second)
	one, two := replayed(t, h, Cold(), p), replayed(t, h, Cold(), p)
	if one.paid != two.paid || one.Cost(10) != two.Cost(10) {
		t.Errorf("the same replay costs %v and %v", one.Cost(10), two.Cost(10))
	}
	s := Cold()
	s.Seed++
	if other := replayed(t, h, s, p); other.paid == one.paid {
		t.Error("another seed gives the same start-ups")
	}
}

// TestPlansAreChecked checks that a plan that breaks a promise ends the replay.
func TestPlansAreChecked(t *testing.T) {
	teams, _, err := Settings("MODE=ephemeral")
	if err != nil {
		t.Fatal(err)
	}
	broken := Deciding("broken", time.Second, teams, func(in scaler.Input) (scaler.Plan, scaler.Memory, scaler.Facts, error) {
		plan, memory, facts := scaler.Decide(in)
		plan.Actions = append(plan.Actions, scaler.Action{Verb: scaler.Create, Pool: scaler.PoolID{Team: "nobody", Kind: scaler.Ephemeral}})
		return plan, memory, facts, plan.Validate(in)
	})
	if _, err := Replay(historyOf(0, 10), Warm(), broken); err == nil {
		t.Error("a plan for a team that does not exist is carried out")
	}
}
