package scaler

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"time"
)

// Learnt is the part of a Memory that is worth keeping when the process ends: the numbers of the policy, and
// how long agents took to start. Losing it costs time and money, never a build.
//
// Encode writes a team with ten levels in at most 9 KiB, with a hundred levels in 41 KiB, and with all 1,024
// levels in 365 KiB. A team whose builds follow the hours of the day needs 6 KiB for twelve levels.
type Learnt struct {
	Version int                   `json:"version"`
	Teams   map[string]LearntTeam `json:"teams,omitempty"`
}

// LearntTeam is what was learnt of one team.
type LearntTeam struct {
	At time.Time `json:"at"` // when the team was last one of the settings' teams
	TeamMemory
	Starts map[Kind][]LearntStart `json:"starts,omitempty"` // the last start-ups of each pool, the newest last
}

// LearntStart is a Startup.
type LearntStart struct {
	Created   time.Time     `json:"created"`
	Scheduled time.Time     `json:"scheduled,omitzero"`
	Took      time.Duration `json:"took"`
	Phases    []PhaseTime   `json:"phases,omitempty"`
}

const (
	learntVersion = 1
	// learntKept is how long a team is remembered after it has left the settings.
	learntKept = 14 * 24 * time.Hour
	// unseenMost is the most of the time between two processes that a Ledger counts.
	unseenMost = 10 * time.Minute
	// The bounds of what ReadLearnt believes. The clocks of two replicas differ a little.
	skewMost   = time.Minute
	learntMost = 10 * 365 * 24 * time.Hour
	ratioMost  = 50 // a logarithm
	madeMost   = 1e12
	// numbersMost and textMost bound the time and the memory that Encode and ReadLearnt take.
	numbersMost = 1 << 20
	textMost    = 32 << 20
)

// Learnt returns what is worth keeping of the memory. before is what was kept last: of that stays what was
// learnt of teams that left the settings not long ago.
func (m Memory) Learnt(now time.Time, before Learnt) Learnt {
	out := Learnt{Version: learntVersion, Teams: map[string]LearntTeam{}}
	for name, t := range before.Teams {
		if now.Sub(t.At) <= learntKept {
			out.Teams[name] = t
		}
	}
	for name, t := range m.Teams {
		of := LearntTeam{At: now.UTC(), TeamMemory: t, Starts: map[Kind][]LearntStart{}}
		for _, k := range Kinds() {
			for _, s := range m.Pools[PoolID{name, k}].Starts.Last {
				of.Starts[k] = append(of.Starts[k], LearntStart{s.Created, s.Scheduled, s.Took, s.Phases})
			}
		}
		out.Teams[name] = of
	}
	return out
}

// With returns the memory with all that l says in the place of what the memory has learnt itself.
func (m Memory) With(l Learnt, now time.Time) Memory {
	m.Teams, m.Pools = map[string]TeamMemory{}, maps.Clone(m.Pools)
	if m.Pools == nil {
		m.Pools = map[PoolID]PoolMemory{}
	}
	for id, p := range m.Pools {
		p.Starts = Starts{}
		m.Pools[id] = p
	}
	for name, t := range l.Teams {
		if now.Sub(t.At) > learntKept {
			continue
		}
		m.Teams[name] = t.restored(now)
		for k, all := range t.Starts {
			p := m.Pools[PoolID{name, k}]
			for _, s := range all {
				p.Starts = p.Starts.with(Startup{PoolID{name, k}, s.Took, s.Phases, s.Created, s.Scheduled})
			}
			m.Pools[PoolID{name, k}] = p
		}
	}
	return m
}

// restored returns the memory of a team, with all that follows from other numbers.
func (t *LearntTeam) restored(now time.Time) TeamMemory {
	m := t.TeamMemory
	m.Gaps, m.Gain.Ratios, m.Gain.Took = newSeries(m.Gaps.Last), newSeries(m.Gain.Ratios.Last), newSeries(m.Gain.Took.Last)
	m.Levels = slices.Clone(m.Levels)
	for k := range m.Levels {
		l := &m.Levels[k]
		l.Since, l.Began = earlier(l.Since, now), earlier(l.Began, now)
		l.Gaps, l.Every = newSeries(l.Gaps.Last), newSeries(l.Every.Last)
		l.Ahead = startsAhead(l.Every, m.Lead, m.WaitValue)
	}
	if from := now.Add(-unseenMost); !m.Ledger.At.IsZero() && m.Ledger.At.Before(from) {
		m.Ledger.At = from
	}
	m.Ledger.At = earlier(m.Ledger.At, now)
	return m
}

// earlier returns the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Same reports whether both say the same, apart from the times at which they were made. After a day these
// times tell that a team is still there.
func (l Learnt) Same(other Learnt) bool {
	return maps.EqualFunc(l.Teams, other.Teams, func(a, b LearntTeam) bool {
		day := a.At.Sub(b.At).Abs() >= 24*time.Hour
		a.At, a.Ledger.At = b.At, b.Ledger.At
		return !day && reflect.DeepEqual(a, b)
	})
}

// Encode returns l as gzipped JSON of at most that many bytes. If that is too small, Encode leaves out the
// highest levels of each team, which are used least. Then it leaves out the builds that wait for a pair, and
// the start-ups.
func (l Learnt) Encode(most int) ([]byte, error) {
	levels := 0
	for _, t := range l.Teams {
		levels = max(levels, len(t.Levels))
	}
	for l.numbers(levels) > numbersMost {
		levels /= 2
	}
	for {
		out, err := l.upTo(levels).pack()
		switch {
		case err != nil || len(out) <= most:
			return out, err
		case levels < 0:
			return nil, tooLarge(len(l.Teams), len(out), most)
		case levels == 0:
			levels = -1
		default:
			levels /= 2
		}
	}
}

// numbers returns how many gaps and times there are in so many levels of each team.
func (l Learnt) numbers(levels int) (n int) {
	for _, t := range l.Teams {
		for k := range min(levels, len(t.Levels)) {
			n += len(t.Levels[k].Gaps.Last) + len(t.Levels[k].Every.Last)
		}
	}
	return n
}

// upTo returns l with so many levels of each team; -1: also without all that is not a number of the policy.
func (l Learnt) upTo(levels int) Learnt {
	teams := make(map[string]LearntTeam, len(l.Teams))
	for name, t := range l.Teams {
		if levels < 0 {
			t.Gain.Waiting, t.Starts = nil, nil
		}
		n := min(max(levels, 0), len(t.Levels))
		t.Levels, t.Demand = t.Levels[:n], min(t.Demand, n)
		teams[name] = t
	}
	l.Teams = teams
	return l
}

func (l Learnt) pack() ([]byte, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err = w.Write(text); err == nil {
		err = w.Close()
	}
	return out.Bytes(), err
}

// ReadLearnt returns what Encode has written, without the teams whose numbers cannot be true. The error names
// these teams and numbers, or says why nothing can be read.
func ReadLearnt(data []byte, now time.Time) (Learnt, error) {
	l := Learnt{Version: learntVersion}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return l, err
	}
	text, err := io.ReadAll(io.LimitReader(r, textMost+1))
	if err == nil && len(text) > textMost {
		err = tooLong(textMost)
	}
	if err != nil {
		return l, err
	}
	var head struct{ Version int }
	if err := json.Unmarshal(text, &head); err != nil {
		return l, err
	}
	if head.Version != learntVersion {
		return l, unknownVersion(head.Version)
	}
	var read Learnt
	if err := json.Unmarshal(text, &read); err != nil {
		return l, err
	}
	l.Teams = read.Teams
	var bad []error
	for _, name := range slices.Sorted(maps.Keys(l.Teams)) {
		t := l.Teams[name]
		c := checks{now: now}
		if c.team(&t); c.bad != nil {
			bad = append(bad, ofTeam(name, c.bad))
			delete(l.Teams, name)
		}
	}
	return l, errors.Join(bad...)
}

// checks looks for numbers that cannot be true. bad is the first of them.
type checks struct {
	now time.Time
	bad error
}

func (c *checks) team(t *LearntTeam) {
	c.within("demand", float64(t.Demand), 0, float64(len(t.Levels)))
	c.within("levels", float64(len(t.Levels)), 0, levelsKept)
	c.within("made", float64(t.Made), 0, madeMost)
	c.within("waitValue", t.WaitValue, 0, 1000)
	c.within("alive", float64(t.Ledger.Alive), 0, madeMost)
	c.within("held", float64(t.Ledger.Held), 0, madeMost)
	c.within("paid", float64(t.Ledger.Paid), 0, float64(ledgerMost))
	c.within("balance", float64(t.Ledger.Balance), -float64(ledgerMost), float64(ledgerMost))
	c.took("start", t.Start)
	c.took("lead", t.Lead)
	c.at("at", t.At)
	c.since("ledger", t.Ledger.At)
	c.series("gaps", t.Gaps, 0, learntMost.Seconds())
	for k := range t.Levels {
		l := &t.Levels[k]
		if used := k < t.Demand; used != l.Since.IsZero() {
			c.wrong(useInDoubt(k+1, used))
		}
		c.since("since", l.Since)
		c.since("began", l.Began)
		c.series("gaps", l.Gaps, 0, learntMost.Seconds())
		c.series("every", l.Every, 0, learntMost.Seconds())
	}
	c.series("ratios", t.Gain.Ratios, -ratioMost, ratioMost)
	c.series("took", t.Gain.Took, 0, learntMost.Seconds())
	c.within("waiting", float64(len(t.Gain.Waiting)), 0, samplesKept)
	for i := range t.Gain.Waiting {
		s := &t.Gain.Waiting[i]
		c.at("waiting", s.At)
		c.within("took", float64(s.Took), 1, float64(learntMost))
		if s.Warmth != Warm && s.Warmth != Cold {
			c.wrong(unknownWord("warmth", string(s.Warmth)))
		}
	}
	for k, all := range t.Starts {
		if !slices.Contains(Kinds(), k) {
			c.wrong(unknownWord("kind", string(k)))
		}
		c.within("starts", float64(len(all)), 0, startsKept)
		for i := range all {
			c.startup(&all[i])
		}
	}
}

func (c *checks) startup(s *LearntStart) {
	c.at("created", s.Created)
	c.since("scheduled", s.Scheduled)
	c.took("took", s.Took)
	c.within("phases", float64(len(s.Phases)), 0, float64(len(Phases())))
	for _, p := range s.Phases {
		c.took("phases", p.Took)
		if !slices.Contains(Phases(), p.Phase) {
			c.wrong(unknownWord("phase", string(p.Phase)))
		}
	}
}

func (c *checks) wrong(err error) { c.bad = cmp.Or(c.bad, err) }

func (c *checks) within(what string, x, least, most float64) {
	if math.IsNaN(x) || x < least || x > most {
		c.wrong(outOfBounds(what, x, least, most))
	}
}

// took checks a duration, in seconds.
func (c *checks) took(what string, d time.Duration) {
	c.within(what, d.Seconds(), 0, learntMost.Seconds())
}

func (c *checks) at(what string, t time.Time) {
	if t.Before(c.now.Add(-learntMost)) || t.After(c.now.Add(skewMost)) {
		c.wrong(outOfTime(what, t, c.now))
	}
}

// since checks a time that may be zero.
func (c *checks) since(what string, t time.Time) {
	if !t.IsZero() {
		c.at(what, t)
	}
}

func (c *checks) series(what string, s Series, least, most float64) {
	c.within(what, float64(len(s.Last)), 0, seriesKept)
	for _, x := range s.Last {
		c.within(what, float64(x), least, most)
	}
}
