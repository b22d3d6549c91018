package scaler

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// series returns a Series of these numbers.
func series(xs ...float64) (out Series) {
	for _, x := range xs {
		out = out.with(x)
	}
	return out
}

// times returns n times the same number.
func times(n int, x float64) []float64 { return slices.Repeat([]float64{x}, n) }

func secs(n int) time.Duration { return time.Duration(n) * time.Second }

func TestSeries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Float32Range(-9, 9), 0, 3*seriesKept).Draw(t, "numbers")
		var s Series
		for i, x := range all {
			last, sorted := slices.Clone(s.Last), slices.Clone(s.Sorted)
			next := s.with(float64(x))
			if diff := cmp.Diff(Series{last, sorted}, s); diff != "" {
				t.Fatalf("with changes the series before:\n%s", diff)
			}
			want := all[max(0, i+1-seriesKept) : i+1]
			if s = next; cmp.Diff(newSeries(want), s) != "" {
				t.Fatalf("after %v the series is %v, want %v", all[:i+1], s, newSeries(want))
			}
		}
	})
	s := series(30, 10, 20, 20)
	for _, tt := range []struct {
		age  time.Duration
		want []float32
	}{
		{-time.Second, []float32{10, 20, 20, 30}},
		{secs(10) - time.Millisecond, []float32{10, 20, 20, 30}},
		{secs(10), []float32{20, 20, 30}},
		{secs(20), []float32{30}},
		{secs(30), []float32{}},
	} {
		if got := s.after(tt.age); !slices.Equal(got, tt.want) {
			t.Errorf("after(%s) = %v, want %v", tt.age, got, tt.want)
		}
	}
	if got := s.mean(); got != secs(20) {
		t.Errorf("mean() = %s, want 20s", got)
	}
	if got := (Series{}).mean(); got != 0 {
		t.Errorf("the mean of nothing = %s, want 0s", got)
	}
}

// anyGaps draws gaps of whole seconds.
func anyGaps(t *rapid.T, most int) Series {
	var s Series
	for range rapid.IntRange(0, most).Draw(t, "gaps") {
		s = s.with(float64(rapid.IntRange(1, 2000).Draw(t, "gap")))
	}
	return s
}

// TestPays: waiting pays if, and only if, some time to give up costs less than to give up now. A use that is
// missed costs its worth.
func TestPays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gaps, age := anyGaps(t, 20), rapid.IntRange(0, 2500).Draw(t, "age")
		worth := rapid.IntRange(0, 3000).Draw(t, "worth")
		left := gaps.after(secs(age))
		cost := func(giveUp int) (sum int) {
			for _, g := range left {
				if r := int(g) - age; r <= giveUp {
					sum += r
				} else {
					sum += giveUp + worth
				}
			}
			return sum
		}
		want, best := false, 0
		for giveUp := range 2001 {
			if cost(giveUp) < cost(0) {
				want, best = true, giveUp
			}
		}
		if got := pays(left, secs(age), secs(worth)); got != want {
			t.Fatalf("pays(%v, %d, %d) = %t, want %t: to give up at %d costs %d, now %d", left, age, worth, got, want, best, cost(best), cost(0))
		}
	})
}

// TestPaysUntilTheNextGap: if waiting pays, it pays until one more use has not come.
func TestPaysUntilTheNextGap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gaps, age := anyGaps(t, 20), rapid.IntRange(0, 2500).Draw(t, "age")
		worth := secs(rapid.IntRange(0, 3000).Draw(t, "worth"))
		left := gaps.after(secs(age))
		if !pays(left, secs(age), worth) {
			return
		}
		for later := age; later < int(left[0]); later++ {
			if !pays(gaps.after(secs(later)), secs(later), worth) {
				t.Fatalf("pays(%v) at %d and not at %d", left, age, later)
			}
		}
	})
}

// TestKeepsLikeAHiredSki: if little is known, waiting and missed uses together cost at most twice what the best
// choice would cost, however long the gaps are.
func TestKeepsLikeAHiredSki(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		worth := rapid.IntRange(1, 300).Draw(t, "worth")
		for _, known := range []*Series{nil, {}, new(series(times(ownGaps-1, 5)...))} {
			gap := rapid.IntRange(0, 900).Draw(t, "gap")
			cost, age := 0, 0
			for age < gap && keeps(known, secs(age), secs(worth)) {
				age++
				cost++
			}
			if age < gap {
				cost += worth
			}
			if best := min(gap, worth); cost > 2*best {
				t.Fatalf("a gap of %d costs %d, want at most twice %d", gap, cost, best)
			}
		}
	})
	own := series(times(ownGaps, 5)...)
	if keeps(&own, secs(6), secs(10)) {
		t.Error("an agent is kept after all known gaps, want the gaps to decide")
	}
}

func TestGainAhead(t *testing.T) {
	const start, value = 40 * time.Second, 10.0
	most := reach(start).Seconds()
	for _, tt := range []struct {
		name string
		left []float32
		age  time.Duration
		want float64 // without the misses that are added
	}{
		{"nothing is known", nil, 0, 0},
		{"a use just when the agent is there saves the whole start", []float32{140}, secs(100), 400},
		{"a use while the agent starts saves a part", []float32{110}, secs(100), 100},
		{"a use now saves nothing", []float32{100}, secs(100), 0},
		{"a later use saves the start and costs the wait", []float32{160}, secs(100), 400 - 20},
		{"the last moment", []float32{260}, secs(100), 400 - 120},
		{"a use after that costs all", []float32{261}, secs(100), -most},
		{"they add up", []float32{140, 160, 999}, secs(100), 400 + 380 - most},
	} {
		if got := gainAhead(tt.left, tt.age, start, value) + missesAdded*most; got < tt.want-0.01 || got > tt.want+0.01 {
			t.Errorf("%s: gainAhead(%v, %s) = %v, want %v", tt.name, tt.left, tt.age, got, tt.want)
		}
	}
}

func TestStartsAhead(t *testing.T) {
	const start, value, day = 40 * time.Second, 10.0, 86400
	for _, tt := range []struct {
		name  string
		every []float64
		value float64
		want  []float32
	}{
		{"nothing is known", nil, value, nil},
		{"two periods are too few", times(2, 300), value, nil},
		{"three are enough", times(3, 300), value, []float32{260}},
		{"a strict period", times(64, 300), value, []float32{260}},
		{"not if waiting costs little", times(3, 300), 1, nil},
		{"a period shorter than a start", times(9, 30), value, []float32{0}},
		{"a cron a day", times(9, day), value, []float32{day - 40}},
		{"weekdays: on Saturday in vain, on Monday not", slices.Concat(times(48, day), times(12, 3*day)), value, []float32{day - 40, 3*day - 40}},
		{"a Sunday in ten weekdays: not for so few", slices.Concat(times(2, 2*day), times(9, day)), value, []float32{day - 40}},
		{"two periods at once", slices.Concat(times(32, 600), times(32, 1200)), value, []float32{560, 1160}},
		{"mostly another time", slices.Concat(times(4, 600), []float64{1000, 2000, 3000, 4000, 5000}), value, nil},
	} {
		if got := startsAhead(series(tt.every...), start, tt.value); !slices.Equal(got, tt.want) {
			t.Errorf("%s: startsAhead(%v) = %v, want %v", tt.name, tt.every, got, tt.want)
		}
	}
}

// starts returns how many agents are started ahead in a run of uses, and for how many of these uses in time.
func starts(every []float64, lead time.Duration, value float64) (made, inTime int) {
	var known Series
	for _, next := range every {
		l := Level{Since: noon, Began: noon, Ahead: startsAhead(known, lead, value)}
		before := false
		for age := range int(next) + 1 {
			now := l.due(noon.Add(secs(age)), lead)
			if made += yes(now && !before); now && age == int(next) {
				inTime++
			}
			before = now
		}
		known = known.with(next)
	}
	return made, inTime
}

// TestStartsAheadOfWhat: agents are started ahead of uses at regular times, and hardly ever for uses at random.
func TestStartsAheadOfWhat(t *testing.T) {
	const uses = 600
	r := rand.New(rand.NewPCG(1, 2))
	run := func(next func(i int) float64) []float64 {
		out := make([]float64, uses)
		for i := range out {
			out[i] = next(i)
		}
		return out
	}
	for _, tt := range []struct {
		name         string
		every        []float64
		least        int // of the uses that have an agent in time
		mostWasted   int // agents that are started for no use
		mostStarted  int
		leastStarted int
	}{
		{"a strict period", run(func(int) float64 { return 300 }), uses - 9, 0, uses, uses - 9},
		{"a strict period, seen by polls", run(func(int) float64 { return 300 + 5*float64(r.IntN(3)-1) }), uses - 9, 0, uses, uses - 9},
		{"a period that misses one in ten", run(func(int) float64 { return 300 * float64(1+yes(r.IntN(10) == 0)) }), uses - 90, 70, uses + 70, uses - 9},
		{"ten minutes or twenty", run(func(i int) float64 { return []float64{1200, 600, 600, 1200}[i%4] }), uses - 25, uses/2 + 25, 2 * uses, uses - 25},
		{"a Poisson process", run(func(int) float64 { return 600 * r.ExpFloat64() }), 0, uses / 25, uses / 20, 0},
	} {
		made, inTime := starts(tt.every, 40*time.Second, 10)
		t.Logf("%s: %d started, %d of %d uses in time", tt.name, made, inTime, uses)
		if made > tt.mostStarted || made < tt.leastStarted || inTime < tt.least || made-inTime > tt.mostWasted {
			t.Errorf("%s: %d agents are started, and %d of %d uses have one in time; want %+v", tt.name, made, inTime, uses, tt)
		}
	}
}

func TestDueAndForeseen(t *testing.T) {
	const lead = 30 * time.Second // windows from 100 to 220 and from 300 to 420
	l := Level{Since: noon.Add(secs(20)), Began: noon, Ahead: []float32{100, 300}}
	for _, tt := range []struct {
		age           time.Duration
		due, foreseen bool
	}{
		{secs(20), false, true},
		{secs(100) - time.Millisecond, false, true},
		{secs(100), true, true},
		{secs(220) - time.Millisecond, true, true},
		{secs(220), false, true},
		{secs(300) - time.Millisecond, false, true},
		{secs(300), true, false},
		{secs(420) - time.Millisecond, true, false},
		{secs(420), false, false},
		{time.Hour, false, false},
	} {
		now := noon.Add(tt.age)
		if due, foreseen := l.due(now, lead), l.foreseen(now); due != tt.due || foreseen != tt.foreseen {
			t.Errorf("after %s: due %t, foreseen %t; want %t and %t", tt.age, due, foreseen, tt.due, tt.foreseen)
		}
	}
	l.Since = time.Time{}
	if l.due(noon.Add(secs(150)), lead) {
		t.Error("an agent is due for a level that is in use")
	}
	l = Level{Since: noon, Began: noon}
	if l.due(noon.Add(secs(150)), lead) || l.foreseen(noon) {
		t.Error("an agent is due or foreseen without any forecast")
	}
}

func TestBegin(t *testing.T) {
	began, since := noon.Add(-time.Hour), noon.Add(-time.Minute)
	for _, tt := range []struct {
		name  string
		level Level
		want  Level
		learn bool
	}{
		{"the first use teaches nothing", Level{Since: since}, Level{Began: noon}, false},
		{"a gap and a period", Level{Since: since, Began: began}, Level{Began: noon, Gaps: series(60), Every: series(3600)}, true},
		{"a blink is the same use", Level{Since: noon.Add(1 - blink), Began: began}, Level{Began: began}, false},
		{"as long as a blink is a gap", Level{Since: noon.Add(-blink), Began: began}, Level{Began: noon, Gaps: series(10), Every: series(3600)}, true},
		{"the clock was set back", Level{Since: noon.Add(time.Hour), Began: began}, Level{Began: began}, false},
	} {
		got := tt.level
		if learnt := got.begin(noon); learnt != tt.learn || cmp.Diff(tt.want, got) != "" {
			t.Errorf("%s: begin() = %t, want %t:\n%s", tt.name, learnt, tt.learn, cmp.Diff(tt.want, got))
		}
	}
}

// TestGapsOf: a level with few gaps borrows those of the nearest level below, then those of all levels.
func TestGapsOf(t *testing.T) {
	few, known := series(times(fewGaps-1, 7)...), func(x float64) Series { return series(times(fewGaps, x)...) }
	levels := func(all ...Series) (out []Level) {
		for _, s := range all {
			out = append(out, Level{Gaps: s})
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		memory TeamMemory
		k      int
		want   float32 // 0: nothing
	}{
		{"nothing is known", TeamMemory{}, 3, 0},
		{"its own", TeamMemory{Levels: levels(known(1), known(2))}, 1, 2},
		{"the nearest below", TeamMemory{Levels: levels(known(1), known(2), few, few, known(3))}, 3, 2},
		{"never one above", TeamMemory{Levels: levels(few, known(2))}, 0, 0},
		{"all levels together", TeamMemory{Levels: levels(few, known(2)), Gaps: known(9)}, 0, 9},
		{"all together are few", TeamMemory{Levels: levels(few), Gaps: few}, 0, 0},
		{"of a level that is not remembered", TeamMemory{Levels: levels(known(1), few)}, 50, 1},
	} {
		got := tt.memory.gapsOf(tt.k)
		if (got == nil) != (tt.want == 0) || got != nil && got.Last[0] != tt.want {
			t.Errorf("%s: gapsOf(%d) = %v, want gaps of %v", tt.name, tt.k, got, tt.want)
		}
	}
}
