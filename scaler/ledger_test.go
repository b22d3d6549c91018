package scaler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestBook(t *testing.T) {
	const worth = 100 * time.Second
	at := func(alive, held int) Ledger { return Ledger{At: noon.Add(-secs(10)), Alive: alive, Held: held} }
	for _, tt := range []struct {
		name          string
		ledger        Ledger
		uses          int
		paid, balance time.Duration
	}{
		{"the first entry", Ledger{Alive: 3, Held: 1}, 0, 0, 0},
		{"agents at work are paid", at(3, 0), 0, secs(30), 0},
		{"a free agent that is held costs", at(3, 2), 0, secs(30), -secs(20)},
		{"and is worth its use", at(3, 2), 1, secs(30), worth - secs(20)},
		{"a use of an agent that nobody holds is worth nothing here", at(3, 0), 2, secs(30), 0},
		{"no more uses than agents were held", at(3, 1), 3, secs(30), worth - secs(10)},
		{"the clock was set back", Ledger{At: noon.Add(time.Hour), Alive: 3, Held: 1}, 0, 0, 0},
		{"after centuries", Ledger{At: noon.Add(-time.Hour), Alive: 5000, Paid: ledgerMost}, 0, ledgerMost, 0},
		{"of great savings", Ledger{At: noon, Held: 1, Balance: ledgerMost}, 1, 0, ledgerMost},
		{"or great costs", Ledger{At: noon.Add(-secs(10)), Held: 1, Balance: -ledgerMost}, 0, 0, -ledgerMost},
	} {
		l := tt.ledger
		l.book(noon, tt.uses, worth)
		if l.Paid != tt.paid || l.Balance != tt.balance || !l.At.Equal(noon) {
			t.Errorf("%s: paid %s, balance %s at %s; want %s and %s", tt.name, l.Paid, l.Balance, l.At, tt.paid, tt.balance)
		}
	}
}

// TestLeft: the balance may fall below zero by an hour, by a fiftieth of all agent time, and by two starts' worth
// for each level.
func TestLeft(t *testing.T) {
	m := TeamMemory{WaitValue: 9, Start: secs(30), Levels: make([]Level, 3)}
	for _, tt := range []struct {
		ledger Ledger
		want   time.Duration
	}{
		{Ledger{}, time.Hour + 2*3*secs(300)},
		{Ledger{Paid: 100 * time.Hour}, 3*time.Hour + 2*3*secs(300)},
		{Ledger{Balance: -time.Hour}, 2 * 3 * secs(300)},
	} {
		if m.Ledger = tt.ledger; m.left() != tt.want {
			t.Errorf("left of %+v = %s, want %s", tt.ledger, m.left(), tt.want)
		}
	}
	if m.Ledger = (Ledger{Paid: ledgerMost, Balance: ledgerMost}); m.left() < ledgerMost {
		t.Errorf("after centuries of savings %s are left, want the policy to go on", m.left())
	}
}

// TestLedgerBoundsTheCost: whatever comes, free agents cost no more than they save, a fiftieth of all agent time,
// an hour, two starts' worth for each level, and what it takes to learn: a start's worth for each level, and for
// each of the first gaps. What an agent costs that is on its way, or that leaves, when the ledger closes is
// on top.
func TestLedgerBoundsTheCost(t *testing.T) {
	worlds := []struct {
		name string
		come func(r *rand.Rand) func(second int) int
	}{
		{"at random", func(r *rand.Rand) func(int) int {
			mean := 20 + r.IntN(1200)
			return func(int) int { return yes(r.IntN(mean) == 0) }
		}},
		{"a period that ends after each lesson", func(r *rand.Rand) func(int) int {
			period := 100 + r.IntN(600)
			return func(second int) int { return yes(second%period == 0 && second/period%8 < 6) }
		}},
		{"bursts", func(r *rand.Rand) func(int) int {
			period, size := 300+r.IntN(2000), 1+r.IntN(6)
			return func(int) int { return size * yes(r.IntN(period) == 0) }
		}},
		{"gaps just longer than the last ones", func(*rand.Rand) func(int) int {
			next, gap := 60, 60
			return func(second int) int {
				if second < next {
					return 0
				}
				gap += gap/8 + 1
				if gap > 2000 {
					gap = 60
				}
				next = second + gap
				return 1
			}
		}},
		{"a build when its agent has just gone", nil},
	}
	for _, tt := range worlds {
		for seed := range uint64(3) {
			r := rand.New(rand.NewPCG(seed, 8))
			mode := []Mode{ModeEphemeral, ModePersistent, ModeAuto}[seed]
			y := newYard(t, newTeam("web", mode, []string{"linux"}, func(t *Team) { t.WaitValue = []float64{10, 1, 3}[seed] }))
			y.start = func(int) time.Duration { return secs(10 + r.IntN(60)) }
			y.length = func(int) time.Duration { return secs(20 + r.IntN(300)) }
			gone := 0
			come := func(int) int { // the adversary waits until the agent has been marked
				if y.gone > gone || y.next == 0 {
					gone = y.gone
					return 1
				}
				return yes(len(y.Cluster.Pods) == 0 && len(y.Jenkins.Items) == 0)
			}
			if tt.come != nil {
				come = tt.come(r)
			}
			y.run(6*3600, come)
			m := y.Memory.Teams["web"]
			worth, levels := m.startWorth(), len(m.Levels)
			saved := worth * time.Duration(y.uses)
			agents := 0
			for _, n := range y.made {
				agents += n
			}
			bound := saved + m.Ledger.Paid/50 + time.Hour + worth*time.Duration(3*levels+fewGaps) + time.Duration(agents)*20*time.Second
			t.Logf("%s, %s: %d builds, free %s, saved %s, bound %s", tt.name, mode, y.builds, y.free, saved, bound)
			if y.free > bound {
				t.Errorf("%s, %s, seed %d: free agents cost %s, want at most %s", tt.name, mode, seed, y.free, bound)
			}
		}
	}
}

// TestSeek finds the WAIT_VALUE with which one wait in twenty is longer than TARGET_WAIT_P95.
func TestSeek(t *testing.T) {
	const target = 30 * time.Second
	team := newTeam("web", ModeAuto, []string{"linux"}, func(t *Team) { t.TargetWait = target })
	for _, begin := range []float64{0.1, 10, 300} {
		r, m := rand.New(rand.NewPCG(3, uint64(begin))), TeamMemory{WaitValue: begin}
		var last []float64
		long := 0
		for i := range 8000 {
			// Waits are shorter if waiting costs more: with the value 8, one in twenty is longer than 30 s.
			took := time.Duration(r.ExpFloat64() / -math.Log(0.05) * float64(target) * 8 / m.WaitValue)
			m.seek(&team, []Wait{{Team: "other", Took: time.Hour}, {Team: "web", Took: took}})
			if i >= 4000 {
				last, long = append(last, m.WaitValue), long+yes(took > target)
			}
		}
		slices.Sort(last)
		if half := last[len(last)/2]; half < 6 || half > 10 {
			t.Errorf("from %v the value comes to %v, want some 8", begin, half)
		}
		if share := float64(long) / float64(len(last)); share < 0.04 || share > 0.06 {
			t.Errorf("from %v, a share of %v of the waits is longer than the target, want 0.05", begin, share)
		}
	}
	for _, tt := range []struct {
		name       string
		was, value float64
		target     time.Duration
		waits      []time.Duration
		want       float64
	}{
		{"without a target WAIT_VALUE counts", 50, 10, 0, []time.Duration{time.Hour}, 10},
		{"WAIT_VALUE is where the search begins", 0, 10, target, nil, 10},
		{"a wait as long as the target is not longer", 10, 10, target, []time.Duration{target}, 10 * math.Exp(-0.005)},
		{"a longer wait", 10, 10, target, []time.Duration{target + 1}, 10 * math.Exp(0.095)},
		{"no value is below the least", 0.1, 10, target, []time.Duration{0}, 0.1},
		{"no value is above the most", 300, 10, target, []time.Duration{time.Hour}, 300},
		{"WAIT_VALUE=0 does not end the search", 0, 0, target, []time.Duration{time.Hour}, 0.1 * math.Exp(0.095)},
	} {
		team.WaitValue, team.TargetWait = tt.value, tt.target
		m := TeamMemory{WaitValue: tt.was}
		var waits []Wait
		for _, w := range tt.waits {
			waits = append(waits, Wait{Team: "web", Took: w})
		}
		if m.seek(&team, waits); math.Abs(m.WaitValue-tt.want) > 1e-9 {
			t.Errorf("%s: the value is %v, want %v", tt.name, m.WaitValue, tt.want)
		}
	}
}

// sees is what the policy decides of free agents at one moment.
type sees struct {
	hold, ahead int
	open        bool
}

// at returns what the policy decides at that time, if nothing has changed since the memory was written.
func (m TeamMemory) at(now time.Time) sees {
	team := newTeam("web", ModePersistent, []string{"linux"})
	a := &ask{t: &team, due: map[Kind]int{}}
	x := weighing{ask: a, now: now, is: m, w: &a.dec.Weighed, demand: m.Demand, stay: m.Ledger.Alive, start: m.startWorth()}
	x.is.Ledger.book(now, 0, 0)
	open := x.is.left() > 0
	if open {
		x.ahead()
		x.hold()
	}
	return sees{a.dec.Weighed.Hold, a.dec.Weighed.Ahead, open}
}

// TestDue: nothing changes before the time that Due returns, as long as the agents that are not held go.
func TestDue(t *testing.T) {
	const horizon = 4 * 3600
	changes := 0
	rapid.Check(t, func(t *rapid.T) {
		m := anyTeamMemory(t)
		m.WaitValue, m.Lead = 10, secs(rapid.IntRange(1, 120).Draw(t, "lead"))
		m.Demand = rapid.IntRange(0, len(m.Levels)).Draw(t, "demand")
		for k := range m.Levels[:m.Demand] {
			m.Levels[k].Since = time.Time{}
		}
		if rapid.Bool().Draw(t, "all know something") {
			m.Gaps = series(100, 200, 300, 400, 500, 600, 700, 4000)
		}
		m.Ledger.At, m.Ledger.Alive = noon, m.Demand+rapid.IntRange(0, 6).Draw(t, "free")
		for { // what is not held goes
			before := m.Ledger.Alive
			if m.Ledger.Alive = min(before, m.Demand+m.at(noon).hold); m.Ledger.Alive == before {
				break
			}
		}
		m.Ledger.Held = m.at(noon).hold
		due, was := m.Due(noon), m.at(noon)
		for s := 1; s < horizon; s++ {
			now := noon.Add(secs(s))
			if !due.IsZero() && !now.Before(due) {
				return
			}
			if is := m.at(now); is != was {
				t.Fatalf("%d s later the policy finds %+v instead of %+v, and Due said %s of %+v", s, is, was, due.Sub(noon), m)
			}
		}
		if !due.IsZero() && due.Before(noon.Add(secs(horizon))) {
			changes++
		}
	})
}

// TestDueIsNotTooSoon: Due names the moments themselves.
func TestDueIsNotTooSoon(t *testing.T) {
	free := learnt(1, 0, time.Minute)
	free.Ledger.Alive, free.Ledger.At = 1, noon
	ahead := regular(learnt(1, 0, time.Minute))
	ahead.Lead, ahead.Ledger.At = leadGuess, noon
	ahead.Levels[0].Began = noon
	started := ahead
	started.Levels = slices.Clone(ahead.Levels)
	started.Levels[0].Began = noon.Add(-secs(250))
	young := TeamMemory{Levels: []Level{{Since: noon}}, WaitValue: 10, Start: secs(40), Lead: leadGuess, Ledger: Ledger{At: noon, Alive: 1}}
	closes := TeamMemory{Ledger: Ledger{At: noon, Alive: 1, Held: 1, Balance: secs(49) - time.Hour}}
	opens := TeamMemory{Ledger: Ledger{At: noon, Alive: 1, Balance: -secs(3) - time.Hour}}
	busy := learnt(1, 1, 0)
	busy.Ledger.Alive, busy.Ledger.At = 1, noon
	for _, tt := range []struct {
		name string
		m    TeamMemory
		want time.Duration // 0: never
	}{
		{"nothing is known", TeamMemory{}, 0},
		{"an agent at work", busy, 0},
		{"a free agent whose use does not come", free, secs(60)},
		{"little is known: the time to start another, then a start's worth", young, secs(60)},
		{"an agent is started", ahead, secs(240)},
		{"its time is over", started, secs(240 + 240 - 250)},
		{"the ledger closes", closes, secs(50) + time.Millisecond},
		{"the ledger opens", opens, secs(150) + time.Millisecond},
	} {
		want := time.Time{}
		if tt.want > 0 {
			want = noon.Add(tt.want)
		}
		if got := tt.m.Due(noon); !got.Equal(want) {
			t.Errorf("%s: Due() = %s, want %s", tt.name, got.Sub(noon), tt.want)
		}
	}
}

// TestWeighWritesNoOldMemory: the memories of two ticks share slices, so no tick writes into the slices of the
// tick before. The demand rises and falls, so that levels begin, end and are added; and builds end in pairs.
func TestWeighWritesNoOldMemory(t *testing.T) {
	in := newHouse(policy(both()))
	m := regular(learnt(3, 1, time.Minute))
	for i, w := range []Warmth{Warm, Warm, Cold} {
		m.Gain.Waiting = append(m.Gain.Waiting, Sample{Job: "job/" + string(rune('a'+i)), Warmth: w, At: noon.Add(-time.Minute), Took: time.Minute})
	}
	m.Gain.Waiting[0].At = noon.Add(-2 * pairWithin)
	m.Gain.Ratios = series(times(seriesKept, 0.1)...)
	m.Levels = slices.Grow(m.Levels, 9)
	for i := range m.Levels {
		m.Levels[i].Gaps.Last = slices.Grow(m.Levels[i].Gaps.Last, 9)
		m.Levels[i].Every.Last = slices.Grow(m.Levels[i].Every.Last, 9)
	}
	for demand := range 6 {
		house := in
		house.Memory.Teams = map[string]TeamMemory{"web": m}
		before := deepCopy(m)
		spare := slices.Clone(m.Levels[:cap(m.Levels)])
		house.wait(demand, "linux", time.Minute)
		house.agent("web", Ephemeral, "x", func(p *Pair) { p.Node.Idle = true })
		house.Memory.Agents = map[string]*AgentMemory{AgentName(PoolID{"web", Ephemeral}, "x"): {Work: Work{
			Pool: PoolID{"web", Ephemeral}, On: true, Builds: 1, Build: "job/b/7", Began: noon.Add(-time.Minute),
		}}}
		_, mem, facts := Decide(house)
		if len(facts.Builds) != 1 {
			t.Fatalf("%d builds are over, want one", len(facts.Builds))
		}
		if diff := cmp.Diff(before, m); diff != "" {
			t.Errorf("with a demand of %d, Decide has changed the old memory:\n%s", demand, diff)
		}
		if diff := cmp.Diff(spare, m.Levels[:cap(m.Levels)]); diff != "" {
			t.Errorf("with a demand of %d, Decide has written behind the old levels:\n%s", demand, diff)
		}
		if demand != 1 && cmp.Equal(before.Levels, mem.Teams["web"].Levels) {
			t.Errorf("a demand of %d teaches nothing, want this test to reach the levels", demand)
		}
	}
}
