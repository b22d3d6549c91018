package scaler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ended returns a first build that is over.
func ended(job string, warmth Warmth, took time.Duration) BuildDone {
	return BuildDone{PoolID: PoolID{"web", Persistent}, Job: job, Warmth: warmth, Took: took}
}

// TestPairs: two builds of one job within a day make a pair, one warm and one cold.
func TestPairs(t *testing.T) {
	twice := float32(math.Log(2))
	for _, tt := range []struct {
		name    string
		builds  []BuildDone
		ages    []time.Duration // when each build ends, before noon
		ratios  []float32
		waiting int
	}{
		{"one build waits for its pair", []BuildDone{ended("a", Cold, 2*time.Minute)}, nil, nil, 1},
		{"a cold build takes twice as long", []BuildDone{ended("a", Cold, 2*time.Minute), ended("a", Warm, time.Minute)}, nil, []float32{twice}, 0},
		{"the same the other way round", []BuildDone{ended("a", Warm, time.Minute), ended("a", Cold, 2*time.Minute)}, nil, []float32{twice}, 0},
		{"a cache may cost", []BuildDone{ended("a", Warm, 2*time.Minute), ended("a", Cold, time.Minute)}, nil, []float32{-twice}, 0},
		{"two jobs are no pair", []BuildDone{ended("a", Cold, time.Minute), ended("b", Warm, time.Minute)}, nil, nil, 2},
		{"two cold builds are no pair", []BuildDone{ended("a", Cold, time.Minute), ended("a", Cold, time.Minute)}, nil, nil, 2},
		{"each build is in one pair", []BuildDone{ended("a", Cold, time.Minute), ended("a", Warm, time.Minute), ended("a", Warm, time.Minute)}, nil, []float32{0}, 1},
		{"the newest first", []BuildDone{ended("a", Cold, time.Hour), ended("a", Cold, 2*time.Minute), ended("a", Warm, time.Minute)}, nil, []float32{twice}, 1},
		{"a day is not too long", []BuildDone{ended("a", Cold, time.Minute), ended("a", Warm, time.Minute)}, []time.Duration{pairWithin, 0}, []float32{0}, 0},
		{"longer is", []BuildDone{ended("a", Cold, time.Minute), ended("a", Warm, time.Minute)}, []time.Duration{pairWithin + 1, 0}, nil, 1},
		{"a build of no length, of no job, of another team", []BuildDone{
			ended("a", Cold, 0), ended("", Cold, time.Minute), {PoolID: PoolID{"other", Persistent}, Job: "a", Warmth: Cold, Took: time.Minute},
		}, nil, nil, 0},
	} {
		var g Gain
		for i, b := range tt.builds {
			now := noon
			if tt.ages != nil {
				now = noon.Add(-tt.ages[i])
			}
			g = g.with([]BuildDone{b}, "web", now)
		}
		if !slices.Equal(g.Ratios.Last, tt.ratios) || len(g.Waiting) != tt.waiting {
			t.Errorf("%s: pairs %v, and %d builds wait; want %v and %d", tt.name, g.Ratios.Last, len(g.Waiting), tt.ratios, tt.waiting)
		}
	}
	var g Gain
	for i := range 3 * samplesKept {
		g = g.with([]BuildDone{ended(string(rune('a'+i)), Cold, time.Minute)}, "web", noon)
	}
	if len(g.Waiting) != samplesKept || g.Waiting[samplesKept-1].Job != string(rune('a'+3*samplesKept-1)) {
		t.Errorf("%d builds wait, want the newest %d", len(g.Waiting), samplesKept)
	}
}

// pairsOf returns what is known after n pairs of a job whose builds take so long when warm, and times as long when
// cold. Of each, the share aborted ends after a random part of that time.
func pairsOf(n int, warm time.Duration, times, aborted float64) (g Gain) {
	r := rand.New(rand.NewPCG(4, uint64(n)))
	took := func(mean time.Duration) time.Duration {
		part := math.Exp(0.1 * r.NormFloat64())
		if r.Float64() < aborted {
			part = 0.01 + 0.99*r.Float64()
		}
		return time.Duration(part * float64(mean))
	}
	for range n {
		g = g.with([]BuildDone{
			ended("a", Warm, took(warm)), ended("a", Cold, took(time.Duration(times*float64(warm)))),
		}, "web", noon)
	}
	return g
}

// TestGain: pairs show what a cache saves; some aborted builds do not mislead them.
func TestGain(t *testing.T) {
	for _, tt := range []struct {
		name        string
		g           Gain
		least, most time.Duration // that a cache saves
		settled     bool          // that it saves more, or less, than ten seconds
	}{
		{"no pair: hope, but no more than a few minutes", Gain{}, time.Minute, guessTook, false},
		{"few pairs of hours: images load in minutes", pairsOf(4, 10*time.Hour, 1.5, 0), guessTook, guessTook, true},
		{"nothing, after a few", pairsOf(8, 5*time.Minute, 1, 0), 0, 70 * time.Second, false},
		{"nothing", pairsOf(64, 5*time.Minute, 1, 0), 0, 15 * time.Second, false},
		{"nothing, of short builds", pairsOf(64, 30*time.Second, 1, 0), 0, 5 * time.Second, true},
		{"a half", pairsOf(64, 5*time.Minute, 1.5, 0), 130 * time.Second, 200 * time.Second, true},
		{"a half of hours", pairsOf(64, 2*time.Hour, 1.5, 0), 50 * time.Minute, 80 * time.Minute, true},
		{"a half, one build in five aborted", pairsOf(64, 5*time.Minute, 1.5, 0.2), 90 * time.Second, 200 * time.Second, true},
		{"nothing, one build in five aborted", pairsOf(64, 5*time.Minute, 1, 0.2), 0, 30 * time.Second, false},
		{"a cache costs", pairsOf(64, 5*time.Minute, 0.7, 0), -3 * time.Minute, -30 * time.Second, true},
	} {
		if got := tt.g.saves(); got < tt.least || got > tt.most {
			t.Errorf("%s: a cache saves %s, want %s to %s", tt.name, got, tt.least, tt.most)
		}
		if got := tt.g.settled(attachGuess); got != tt.settled {
			half, err := tt.g.share()
			t.Errorf("%s: settled is %t, want %t (%.3f ± %.3f)", tt.name, got, tt.settled, half, err)
		}
	}
}

// TestFirstBuildsAreTimed: the first build of an agent is timed from its beginning to its end.
func TestFirstBuildsAreTimed(t *testing.T) {
	runs := func(build string) func(*Pair) {
		return func(p *Pair) {
			p.Node.Busy, p.Node.Idle, p.Node.Build = yes(build != ""), build == "", build
			p.Pod.Warmth = Warm
		}
	}
	type look struct {
		build   string
		session string
	}
	first := []BuildDone{{
		PoolID: PoolID{"web", Persistent}, Agent: "web-p-x", Job: "https://ci/job/a", Warmth: Warm, Began: noon.Add(time.Minute), Took: 2 * time.Minute,
	}}
	const a1, a2 = "https://ci/job/a/1/", "https://ci/job/a/2/"
	for _, tt := range []struct {
		name      string
		looks     []look // a minute apart
		fresh     bool   // the process begins with the second look
		executors int
		want      []BuildDone
	}{
		{"idle, at work for two minutes, idle", []look{{}, {build: a1}, {build: a1}, {}}, false, 1, first},
		{"the next build came at once", []look{{}, {build: a1}, {build: a1}, {build: a2}, {}}, false, 1, first},
		{"the second build is not the first", []look{{}, {build: a1}, {build: a1}, {}, {build: a2}, {}}, false, 1, first},
		{"it is not over", []look{{}, {build: a1}, {build: a1}}, false, 1, nil},
		{"it went on after a restart of Jenkins", []look{{}, {build: a1}, {build: a1, session: "next"}, {session: "next"}}, false, 1, nil},
		{"several builds at once", []look{{}, {build: a1}, {build: a1}, {}}, false, 2, nil},
		{"it ran before the process began: nobody knows for how long", []look{{}, {build: a1}, {build: a1}, {}}, true, 1, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mem Memory
			var got []BuildDone
			for i, l := range tt.looks {
				in := newHouse(pets(func(t *Team) { t.Pools[0].Executors = tt.executors }))
				in.Now = noon.Add(time.Duration(i) * time.Minute)
				if l.session != "" {
					in.Jenkins.Session = l.session
				}
				if in.Memory = mem; tt.fresh && i == 1 {
					in.Memory = Memory{}
				}
				in.agent("web", Persistent, "x", runs(l.build))
				var facts Facts
				_, mem, facts = Decide(in)
				got = append(got, slices.DeleteFunc(facts.Builds, func(b BuildDone) bool { return b.Again })...)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("the first builds are not as wanted:\n%s", diff)
			}
		})
	}
}
