package scaler

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// This file weighs agent time against waiting. Its unit is one second of an agent. A team would pay WAIT_VALUE
// of them to save a build one second of waiting, so an agent that is there when its build comes is worth its
// start: (1 + WAIT_VALUE) x start.
//
// Agents of a team do the same work. So the question is never which agent to keep, but how many: the k-th
// agent is kept if the k-th agent's pauses were short enough. A level is the work of that k-th agent: level k is
// in use while at least k agents' worth of builds run or wait.

// Level is what is remembered of the work of a team's k-th agent.
type Level struct {
	Since time.Time `json:"since,omitzero"` // since when the level is not in use; zero: it is
	Began time.Time `json:"began,omitzero"` // when its last use began; zero: it has not been used yet
	Gaps  Series    `json:"gaps,omitzero"`  // the times between two uses
	Every Series    `json:"every,omitzero"` // the times between the beginnings of two uses
	// Ahead has the times after Began, in seconds, at which it pays to start an agent for the next use.
	Ahead []float32 `json:"-"`
}

const (
	seriesKept  = 64   // durations that a Series keeps
	levelsKept  = 1024 // levels of one team that are remembered
	fewGaps     = 8    // gaps that a level needs to be known
	ownGaps     = 4    // gaps that a level needs to be judged by them alone
	fewPeriods  = 3    // earlier uses that have to tell of the next one
	missesAdded = 6    // forecasts that are taken to have failed before any was made
	// blink is how short a gap has to be to count as none: a build has just left the queue, and does not show
	// on its agent yet.
	blink = 10 * time.Second
	// aheadFor is how long an agent that was started ahead may wait for its build at least: see reach.
	aheadFor = time.Minute
	// FreeAtLeast is how long an agent is free before it goes, if IDLE_TIMEOUT is not set: Jenkins needs a
	// moment to give it a build.
	FreeAtLeast = 5 * time.Second
	// SlotsEvery is how often unused cache slots are weighed.
	SlotsEvery = 10 * time.Minute
	// The guesses of a first day.
	startGuess  = 40 * time.Second
	leadGuess   = time.Minute
	attachGuess = 10 * time.Second
	ledgerMost  = math.MaxInt64 / 4 // the longest time in a ledger: some 73 years of an agent
)

// Series is the last numbers of one kind; durations are in seconds.
type Series struct {
	Last   []float32 `json:"last,omitempty"` // the newest last
	Sorted []float32 `json:"-"`
}

// with returns the series with one more number, and without the oldest beyond seriesKept.
func (s Series) with(x float64) Series {
	drop := max(0, len(s.Last)+1-seriesKept)
	last := append(make([]float32, 0, len(s.Last)+1-drop), s.Last[drop:]...)
	sorted := append(make([]float32, 0, len(s.Sorted)+1), s.Sorted...)
	for _, old := range s.Last[:drop] {
		i, _ := slices.BinarySearch(sorted, old)
		sorted = slices.Delete(sorted, i, i+1)
	}
	i, _ := slices.BinarySearch(sorted, float32(x))
	return Series{Last: append(last, float32(x)), Sorted: slices.Insert(sorted, i, float32(x))}
}

func newSeries(last []float32) Series {
	return Series{Last: last, Sorted: slices.Sorted(slices.Values(last))}
}

// after returns the durations that are longer than age, in their order.
func (s Series) after(age time.Duration) []float32 {
	i, _ := slices.BinarySearch(s.Sorted, math.Nextafter32(float32(age.Seconds()), math.MaxFloat32))
	return s.Sorted[i:]
}

// mean returns the mean of the durations, and 0 if there are none.
func (s Series) mean() time.Duration {
	sum := 0.0
	for _, x := range s.Last {
		sum += float64(x)
	}
	return seconds(sum / float64(max(1, len(s.Last))))
}

// seconds returns x seconds as a duration, and the longest duration if x is longer.
func seconds(x float64) time.Duration {
	if x >= math.MaxInt64/float64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(x * float64(time.Second))
}

// pays reports whether waiting for the next use pays, if a use is worth so much and one of left is the time of
// that use, counted from the same moment as age. It does if there is some time to give up at which the uses
// that come until then are worth more than all the waiting.
func pays(left []float32, age, worth time.Duration) bool {
	a, w, waited := age.Seconds(), worth.Seconds(), 0.0
	for i, g := range left {
		r := float64(g) - a
		waited += r
		if float64(i+1)*w > waited+float64(len(left)-i-1)*r {
			return true
		}
	}
	return false
}

// gainAhead returns what it is worth, in agent-seconds, to start an agent now for the next use, which comes at
// one of the times left. Some uses that do not come are added, so that few uses prove little.
func gainAhead(left []float32, age, start time.Duration, waitValue float64) float64 {
	a, s, most := age.Seconds(), start.Seconds(), reach(start).Seconds()
	gain := -missesAdded * most
	for _, g := range left {
		switch r := float64(g) - a; {
		case r <= s:
			gain += waitValue * r
		case r <= most:
			gain += waitValue*s - (r - s)
		default:
			gain -= most
		}
	}
	return gain
}

// startsAhead returns the ages at which it pays to start an agent for the next use, which has come so long after
// the one before it as every says. As long as no use comes, the gain is highest just when the start is as long
// as the time until one of the uses.
func startsAhead(every Series, start time.Duration, waitValue float64) (out []float32) {
	for _, g := range every.Sorted {
		age := max(0, seconds(float64(g))-start)
		left := every.after(age)
		hits, _ := slices.BinarySearch(left, float32((age + reach(start)).Seconds()))
		if len(left) >= fewPeriods && 2*hits >= len(left) && gainAhead(left, age, start, waitValue) > 0 {
			out = append(out, float32(age.Seconds()))
		}
	}
	return slices.Compact(out)
}

// due reports whether an agent that is started ahead is to be there, or on its way.
func (l *Level) due(now time.Time, start time.Duration) bool {
	if l.Since.IsZero() || len(l.Ahead) == 0 {
		return false
	}
	age := float32(now.Sub(l.Began).Seconds())
	i, exact := slices.BinarySearch(l.Ahead, age)
	if exact {
		return true
	}
	return i > 0 && age < l.Ahead[i-1]+float32(reach(start).Seconds())
}

// foreseen reports whether an agent will be started ahead for the level's next use: at most half of the uses that
// may be the next one come before that start.
func (l *Level) foreseen(now time.Time) bool {
	age := now.Sub(l.Began)
	i, _ := slices.BinarySearch(l.Ahead, math.Nextafter32(float32(age.Seconds()), math.MaxFloat32))
	if i == len(l.Ahead) {
		return false
	}
	left := l.Every.after(age)
	missed, _ := slices.BinarySearch(left, l.Ahead[i])
	return 2*missed <= len(left)
}

// begin begins a use of the level, and reports whether it has learnt from that.
func (l *Level) begin(now time.Time) bool {
	gap := now.Sub(l.Since)
	l.Since = time.Time{}
	switch {
	case l.Began.IsZero():
		l.Began = now
	case gap >= blink:
		l.Gaps, l.Every = l.Gaps.with(gap.Seconds()), l.Every.with(now.Sub(l.Began).Seconds())
		l.Began = now
		return true
	}
	return false
}

// gapsOf returns the gaps from which to judge an agent of the level: its own, or if these are few, those of the
// nearest level below that is known, or those of all levels together. It returns nil if these are few, too.
func (m *TeamMemory) gapsOf(k int) *Series {
	for i := min(k, len(m.Levels)-1); i >= 0; i-- {
		if len(m.Levels[i].Gaps.Last) >= fewGaps {
			return &m.Levels[i].Gaps
		}
	}
	if len(m.Gaps.Last) >= fewGaps {
		return &m.Gaps
	}
	return nil
}

// keeps reports whether something that a use of the level is worth is kept for the next use, if it has not
// been used for that age. If too little is known, it is kept as long as it is worth: then it costs at most
// twice what the best choice would.
func keeps(gaps *Series, age, worth time.Duration) bool {
	if gaps == nil || len(gaps.Last) < ownGaps {
		return age < worth
	}
	return pays(gaps.after(age), age, worth)
}

// Ledger compares what free agents that were kept or started ahead have cost with what they were worth. It is
// never reset. So the cost is never higher than the worth by more than a fiftieth of all agent time, an hour, and
// two starts' worth for each level.
type Ledger struct {
	At      time.Time     `json:"at,omitzero"`
	Alive   int           `json:"alive,omitempty"` // agents since then
	Held    int           `json:"held,omitempty"`  // those of them that are free because of the policy
	Paid    time.Duration `json:"paid,omitempty"`
	Balance time.Duration `json:"balance,omitempty"`
}

// left returns what may still be spent on free agents. Each level may cost two starts' worth before it saves
// anything.
func (m *TeamMemory) left() time.Duration {
	return m.Ledger.Balance + m.Ledger.Paid/50 + 2*m.startWorth()*time.Duration(len(m.Levels)) + time.Hour
}

// book adds the time since the last entry, and uses of agents that were free, each worth so much.
func (l *Ledger) book(now time.Time, uses int, worth time.Duration) {
	if took := now.Sub(l.At); !l.At.IsZero() && took > 0 {
		l.Paid += took * time.Duration(l.Alive)
		l.Balance -= took * time.Duration(l.Held)
	}
	l.Balance += worth * time.Duration(min(uses, l.Held))
	// A ledger outlives its process, and its sums must not overflow.
	l.At, l.Paid, l.Balance = now, min(l.Paid, ledgerMost), min(max(l.Balance, -ledgerMost), ledgerMost)
}

// The bounds of a WAIT_VALUE that is found for TARGET_WAIT_P95, and the largest step that a wait changes it by.
const (
	waitValueLeast = 0.1
	waitValueMost  = 300
	waitValueStep  = 0.1
)

// seek brings the value for TARGET_WAIT_P95 nearer to the one with which one wait in twenty is longer: a longer
// wait raises it nineteen times as much as a shorter one lowers it.
func (m *TeamMemory) seek(t *Team, waits []Wait) {
	if t.TargetWait == 0 {
		m.WaitValue = t.WaitValue
		return
	}
	value := math.Log(max(cmp.Or(m.WaitValue, t.WaitValue), waitValueLeast))
	for _, w := range waits {
		switch {
		case w.Team != t.Name:
		case w.Took > t.TargetWait:
			value += waitValueStep * 0.95
		default:
			value -= waitValueStep * 0.05
		}
	}
	m.WaitValue = min(max(math.Exp(value), waitValueLeast), waitValueMost)
}

// startWorth returns what it is worth that an agent is there when its build comes.
func (m *TeamMemory) startWorth() time.Duration {
	return seconds((1 + m.WaitValue) * m.Start.Seconds())
}

// Due returns the first time after now at which the policy may decide anything new, if no demand and no agent
// changes until then. A zero time means that there is none.
func (m *TeamMemory) Due(now time.Time) time.Time {
	var first time.Time
	at := func(t time.Time) {
		if t.After(now) && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	next := func(from time.Time, s *Series) {
		if left := s.after(now.Sub(from)); len(left) > 0 {
			at(from.Add(seconds(float64(left[0]))))
		}
	}
	for k := m.Demand; k < len(m.Levels); k++ {
		l := &m.Levels[k]
		if k < m.Ledger.Alive { // a free agent is held until another use has not come
			gaps := m.gapsOf(k)
			if gaps == nil {
				gaps = &Series{Sorted: []float32{float32(m.Lead.Seconds()), float32(m.startWorth().Seconds())}}
			}
			next(l.Since, gaps)
			if len(l.Ahead) > 0 {
				next(l.Began, &l.Every)
			}
		}
		for _, age := range l.Ahead {
			from := l.Began.Add(seconds(float64(age)))
			at(from)
			at(from.Add(reach(m.Lead)))
		}
	}
	at(m.turns())
	return first
}

// turns returns when the ledger opens or closes, if nothing changes.
func (m *TeamMemory) turns() time.Time {
	l, left := &m.Ledger, m.left()
	slope := float64(l.Alive)/50 - float64(l.Held)
	if slope == 0 || left > 0 == (slope > 0) {
		return time.Time{}
	}
	return l.At.Add(seconds(-left.Seconds() / slope)).Add(time.Millisecond)
}

// reach returns how long an agent that is started ahead may take until its build comes, its own start included.
func reach(start time.Duration) time.Duration { return start + max(aheadFor, 3*start) }
