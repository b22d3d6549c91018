package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// poisson returns a history of n builds that come at random, each of a random length.
func poisson(n int, perSecond, meanLength float64, seed uint64) *History {
	r := rand.New(rand.NewPCG(seed, 1))
	h := &History{Name: "poisson", Labels: []string{"linux"}, Jobs: []string{"job"}}
	at := 0.0
	for range n {
		at += r.ExpFloat64() / perSecond
		h.Builds = append(h.Builds, Build{Submitted: generatedFrom.UnixMilli() + int64(at*1000), Length: int64(r.ExpFloat64() * meanLength * 1000)})
	}
	return h
}

// erlangC returns the share of builds that wait, and their mean wait over all builds, in M/M/k.
func erlangC(k int, load, meanLength float64) (share, wait float64) {
	sum, term := 0.0, 1.0
	for i := range k {
		sum += term
		term *= load / float64(i+1)
	}
	last := term * float64(k) / (float64(k) - load)
	share = last / (sum + last)
	return share, share * meanLength / (float64(k) - load)
}

// batches returns the mean of a measure over several histories, and its standard error.
func batches(t *testing.T, n int, measure func(seed uint64) float64) (mean, deviation float64) {
	t.Helper()
	var sum, squares float64
	for i := range n {
		x := measure(uint64(i) + 1)
		sum += x
		squares += x * x
	}
	mean = sum / float64(n)
	variance := (squares - sum*mean) / float64(n-1)
	return mean, math.Sqrt(variance / float64(n))
}

// TestErlangC checks pools of fixed size against the closed form of M/M/k.
func TestErlangC(t *testing.T) {
	for _, tt := range []struct {
		k    int
		load float64
	}{{1, 0.7}, {2, 1.5}, {5, 4}, {20, 17}} {
		t.Run(fmt.Sprintf("k=%d load=%g", tt.k, tt.load), func(t *testing.T) {
			t.Parallel()
			const length = 100.0
			_, want := erlangC(tt.k, tt.load, length)
			got, deviation := batches(t, 20, func(seed uint64) float64 {
				return replayed(t, poisson(20_000, tt.load/length, length, seed), startOf(10*time.Second), fixedOf(tt.k)).MeanWait()
			})
			if math.Abs(got-want) > 3.5*deviation || deviation > 0.05*want {
				t.Errorf("the mean wait is %.3f ± %.3f s, want %.3f", got, deviation, want)
			}
		})
	}
}

// onDemand has one agent while builds are there, and none otherwise: a server that is switched off when idle.
func onDemand() Policy {
	return Policy{Name: "M/M/1 with set-up", make: func(*Scenario, []Build) (policy, error) {
		r := rival{every: minute, react: 1, idle: never}
		r.grow = func(_ *rival, w *world) int {
			if w.waiting() > 0 && w.alive() == 0 {
				return 1
			}
			return 0
		}
		r.shrink = func(_ *rival, w *world) {
			for len(w.open) > 0 {
				w.remove(w.open[0])
			}
		}
		r.restful = func(w *world) bool { return w.count[free] == 0 }
		return &r, nil
	}}
}

// TestSetUp checks the wait of M/M/1 with set-up against its closed form. With a set-up of the fixed length S,
// a build waits as in M/M/1, and (2S + λS²) / (2(1 + λS)) longer.
func TestSetUp(t *testing.T) {
	const length, load, start = 50.0, 0.6, 40.0
	rate := load / length
	want := load*length/(1-load) + (2*start+rate*start*start)/(2*(1+rate*start))
	got, deviation := batches(t, 20, func(seed uint64) float64 {
		return replayed(t, poisson(20_000, rate, length, seed), startOf(start*time.Second), onDemand()).MeanWait()
	})
	if math.Abs(got-want) > 3.5*deviation+0.002 || deviation > 0.05*want {
		t.Errorf("the mean wait is %.3f ± %.3f s, want %.3f", got, deviation, want)
	}
}

// TestAgentForEachBuild checks the real decision where it has a closed form: with one-build agents and no
// limit, and if waiting costs nothing, each build makes one agent. Its agent serves it, or an older build, so the mean wait is the mean start
// and half a poll. In M/M/∞ with set-up the paid time is that of the work and of the starts.
func TestAgentForEachBuild(t *testing.T) {
	const length, rate, poll = 1000.0, 0.01, 1.0
	s := startOf(40 * time.Second)
	var paid float64
	got, deviation := batches(t, 8, func(seed uint64) float64 {
		h := poisson(1_000, rate, length, seed)
		for i := range h.Builds {
			h.Builds[i].Length += 5000 // long enough for a mark
		}
		r := replayed(t, h, s, ours(t, poll*1000*time.Millisecond, "MODE=ephemeral", "WAIT_VALUE=0"))
		paid += r.Paid() / 8
		if r.Launches != len(h.Builds) {
			t.Errorf("%d agents were made for %d builds", r.Launches, len(h.Builds))
		}
		return r.MeanWait()
	})
	if want := 40 + poll/2; math.Abs(got-want) > 4*deviation+0.02 {
		t.Errorf("the mean wait is %.3f ± %.3f s, want %.3f", got, deviation, want)
	}
	if want := 1 + 40.5/(length+5); math.Abs(paid-want) > 0.005 {
		t.Errorf("paid is %.4f of the work, want %.4f", paid, want)
	}
}
