package scaler

import (
	"math"
	"slices"
	"time"
)

// Gain is what is known of how much faster a team's builds are on a warm cache than on an empty one. It is
// learnt from pairs: two builds of one job on new agents within a day, one warm and one cold. A mean over all
// builds would mostly compare different jobs and different times of day.
type Gain struct {
	Waiting []Sample `json:"waiting,omitempty"` // builds that no other build has been compared with yet
	Ratios  Series   `json:"ratios,omitzero"`   // the logarithms of cold/warm of the last pairs
	Took    Series   `json:"took,omitzero"`     // the durations of the last builds
}

// Sample is one build on a new agent.
type Sample struct {
	Job    string        `json:"job"`
	Warmth Warmth        `json:"warmth"`
	At     time.Time     `json:"at"`
	Took   time.Duration `json:"took"`
}

const (
	pairWithin  = 24 * time.Hour
	samplesKept = 128
	fewPairs    = 16
	guessTook   = 5 * time.Minute
)

// guesses stand in for pairs before there are any: a cache saves some 15 % of a build, and may save nothing.
var guesses = [...]float32{-0.2, -0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.5}

// with returns what is known after the builds of one tick. Only the first build of an agent meets an empty
// cache.
func (g Gain) with(builds []BuildDone, team string, now time.Time) Gain {
	owned := false // what an earlier tick has remembered is never written
	for _, b := range builds {
		if b.Team != team || b.Again || b.Job == "" || b.Took <= 0 {
			continue
		}
		if !owned {
			g.Waiting = slices.DeleteFunc(slices.Clone(g.Waiting), func(s Sample) bool { return now.Sub(s.At) > pairWithin })
			owned = true
		}
		g.add(b, now)
	}
	return g
}

func (g *Gain) add(b BuildDone, now time.Time) {
	g.Took = g.Took.with(b.Took.Seconds())
	for i, s := range slices.Backward(g.Waiting) {
		if s.Job == b.Job && s.Warmth != b.Warmth {
			g.Waiting = slices.Delete(g.Waiting, i, i+1)
			ratio := math.Log(s.Took.Seconds() / b.Took.Seconds())
			if b.Warmth == Cold {
				ratio = -ratio
			}
			g.Ratios = g.Ratios.with(ratio)
			return
		}
	}
	g.Waiting = append(g.Waiting, Sample{b.Job, b.Warmth, now, b.Took})
	g.Waiting = g.Waiting[max(0, len(g.Waiting)-samplesKept):]
}

// pairs returns how many pairs are known.
func (g Gain) pairs() int { return len(g.Ratios.Last) }

// share returns the logarithm of cold/warm, and its standard error. It is a median: builds that were aborted
// make pairs of any ratio.
func (g Gain) share() (half, err float64) {
	var room [seriesKept + len(guesses)]float32 // of the pairs and the guesses
	all := append(append(room[:0], g.Ratios.Last...), guesses[:]...)
	slices.Sort(all)
	n := len(all)
	half = float64(all[n/2]+all[(n-1)/2]) / 2
	spread := float64(all[3*n/4]-all[n/4]) / 1.35 // of a normal distribution
	return half, 1.25 * spread / math.Sqrt(float64(n))
}

// saves returns by how much a warm cache shortens a build that takes as long as half of the builds.
func (g Gain) saves() time.Duration {
	half, err := g.share()
	doubt := 1 - float64(g.pairs())/seriesKept
	if saved := g.of(half + doubt*err); g.pairs() >= fewPairs || saved < guessTook {
		return saved
	}
	return guessTook // images and packages take minutes to load, however long the build is
}

// hopes returns by how much a warm cache may shorten such a build, as far as the pairs leave that open.
func (g Gain) hopes() time.Duration {
	half, err := g.share()
	return g.of(half + 2*err)
}

func (g Gain) of(share float64) time.Duration {
	took := guessTook
	if n := len(g.Took.Sorted); n > 0 {
		took = seconds(float64(g.Took.Sorted[n/2]))
	}
	return seconds(took.Seconds() * (math.Exp(share) - 1))
}

// settled reports whether the pairs show for certain that a cache saves more than so much, or less.
func (g Gain) settled(cost time.Duration) bool {
	half, err := g.share()
	return g.of(half-2*err) > cost || g.of(half+2*err) < cost
}
