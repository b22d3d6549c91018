package simulate

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Question is what a study asks.
type Question struct {
	History   *History
	Scenarios []Scenario
	Set       []string  // settings of Bellboard
	Values    []float64 // C(w) is computed for each of these
	Value     float64   // the w that "best" means
	Rivals    bool      // replay the policies of other tools, at their defaults and tuned in hindsight
	Tune      bool      // search for better settings of Bellboard
	Split     float64   // choose by the first share of the history, and judge by the rest; 0: choose and judge by all
	Least     int       // leave out labels with fewer builds
	Steps     int       // of the timeline; 0: none
	Progress  func(done, all int, what string)
}

// Answer is what a study found.
type Answer struct {
	History   Facts      `json:"history"`
	Value     float64    `json:"waitValue"`
	Split     float64    `json:"split,omitempty"`
	Scenarios []Findings `json:"scenarios"`
}

// Facts describe a history.
type Facts struct {
	Name   string    `json:"name"`
	From   time.Time `json:"from"`
	Days   float64   `json:"days"`
	Builds int       `json:"builds"`
	Labels int       `json:"labels"`
	Left   int       `json:"leftOut,omitempty"` // builds of labels that are left out
	Work   float64   `json:"workHours"`
	Peak   int       `json:"peak"` // builds that run at once, if none waits
	// WaitP50 and WaitP95 are the waits that really were, in seconds. Zero: the history does not say.
	WaitP50 float64 `json:"realWaitP50,omitempty"`
	WaitP95 float64 `json:"realWaitP95,omitempty"`
}

// Findings is what a study found in one scenario.
type Findings struct {
	Scenario string   `json:"scenario"`
	Bounds   Bounds   `json:"bounds"`
	Rows     []Row    `json:"rows"`
	Effects  []Effect `json:"effects,omitempty"`
	// Line and Zoom are timelines of the first row: of all, and of the day with the most builds.
	Line *Timeline `json:"-"`
	Zoom *Timeline `json:"-"`
}

// Effect is what one setting of Bellboard does, if the others stay as they are.
type Effect struct {
	Key    string  `json:"setting"`
	Now    string  `json:"now"`
	Points []Point `json:"points"`
}

// Point is one value of a setting. Delay is the seconds that a build lost on average.
type Point struct {
	Value string  `json:"value"`
	Paid  float64 `json:"paid"`
	Delay float64 `json:"delay"`
	Cost  float64 `json:"cost"`
}

// Row is one policy in one scenario.
type Row struct {
	Measures
	Group    string   `json:"group"` // groupOwn, groupTuned, groupRival, groupBest, groupGrid
	Settings []string `json:"settings,omitempty"`
	Source   string   `json:"source,omitempty"`
}

// The groups of rows.
const (
	GroupOwn   = "bellboard"
	GroupTuned = "bellboard, tuned"
	GroupRival = "rival"
	GroupBest  = "best rival, tuned"
	GroupGrid  = "rival, other settings"
)

// Ask answers a question. It replays several policies at once.
func Ask(ctx context.Context, q Question) (*Answer, error) {
	fit, judge := q.History, q.History
	if q.Split > 0 {
		fit, judge = q.History.split(q.Split)
	}
	out := &Answer{History: judge.facts(q.Least), Value: q.Value, Split: q.Split}
	if out.History.Builds == 0 {
		return nil, &InputError{File: q.History.Name, What: fmt.Sprintf("no label has %d builds", q.Least), Remedy: "write a smaller --least"}
	}
	s := study{Question: q, fit: fit, judge: judge, known: map[string]*known{}}
	s.all = len(q.Scenarios) * s.count()
	for i := range q.Scenarios {
		f, err := s.scenario(ctx, q.Scenarios[i])
		if err != nil {
			return nil, err
		}
		out.Scenarios = append(out.Scenarios, f)
	}
	return out, nil
}

type study struct {
	Question
	fit, judge *History
	mu         sync.Mutex
	done, all  int
	known      map[string]*known
}

// known is a replay that is under way or over. Different settings may make the same team.
type known struct {
	once sync.Once
	row  Row
	err  error
}

// of returns the replay of a candidate, which is begun only once.
func (s *study) of(h *History, sc Scenario, c *candidate) *known {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprintf("%p %s %s", h, sc.Name, c.key)
	if s.known[key] == nil || len(c.lines) > 0 {
		s.known[key] = &known{}
	}
	return s.known[key]
}

// count returns how many replays a scenario has.
func (s *study) count() int {
	n, values := 3, 0
	for _, k := range knobs {
		values += len(k.values)
	}
	if s.Tune {
		n += values + len(knobs) + 1
	}
	if s.Rivals {
		n += 2*len(Grid()) + 1
	}
	if s.Tune || s.Steps > 0 {
		n += values
	}
	return n
}

// candidate is a policy with what its row says of it.
type candidate struct {
	Policy
	group    string
	settings []string
	key      string // what tells its replay from others: the rival, or the team that the settings make
	lines    []*Timeline
}

func (s *study) scenario(ctx context.Context, sc Scenario) (Findings, error) {
	out := Findings{Scenario: sc.Name, Bounds: BoundsOf(s.judge, sc, s.Least)}
	list, err := s.own()
	if err != nil {
		return out, err
	}
	if s.Steps > 0 {
		b := s.judge.Builds
		out.Line = NewTimeline(b[0].Submitted-minute, b[0].Submitted+s.judge.Span().Milliseconds()+10*minute, s.Steps)
		day := s.judge.busiestDay()
		out.Zoom = NewTimeline(day, day+86_400_000, s.Steps)
		list[0].lines = []*Timeline{out.Line, out.Zoom}
	}
	if s.Tune {
		tuned, err := s.tune(ctx, sc)
		if err != nil {
			return out, err
		}
		list = append(list, tuned)
	}
	if s.Rivals {
		for _, p := range Defaults() {
			list = append(list, candidate{Policy: p, group: GroupRival, key: p.Name})
		}
		best, others, err := s.hindsight(ctx, sc)
		if err != nil {
			return out, err
		}
		list = append(list, best)
		list = append(list, others...)
	}
	if out.Rows, err = s.replayAll(ctx, s.judge, sc, list); err != nil {
		return out, err
	}
	if s.Tune || s.Steps > 0 {
		out.Effects, err = s.effects(ctx, sc)
	}
	return out, err
}

// effects replays Bellboard with one setting changed at a time.
func (s *study) effects(ctx context.Context, sc Scenario) ([]Effect, error) {
	var list []candidate
	for _, k := range knobs {
		for _, v := range k.values {
			c, err := s.bellboard(k.key+"="+v, with(s.Set, k.key, v))
			if err != nil {
				return nil, err
			}
			list = append(list, c)
		}
	}
	rows, err := s.replayAll(ctx, s.judge, sc, list)
	if err != nil {
		return nil, err
	}
	var out []Effect
	for _, k := range knobs {
		e := Effect{Key: k.key}
		for _, v := range k.values {
			e.Points = append(e.Points, Point{v, rows[0].Paid, rows[0].delay(), rows[0].cost(s.Value)})
			rows = rows[1:]
		}
		for _, set := range s.Set {
			if key, value, _ := strings.Cut(set, "="); strings.EqualFold(key, k.key) {
				e.Now = value
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// busiestDay returns the beginning of the day (UTC) on which the most builds came.
func (h *History) busiestDay() int64 {
	const day = 86_400_000
	count, best := map[int64]int{}, int64(0)
	for i := range h.Builds {
		d := h.Builds[i].Submitted / day
		if count[d]++; count[d] > count[best] {
			best = d
		}
	}
	return best * day
}

// own returns Bellboard with the settings of the question, and the same in its other modes.
func (s *study) own() ([]candidate, error) {
	first, err := s.bellboard("bellboard", s.Set)
	if err != nil {
		return nil, err
	}
	out := []candidate{first}
	teams, _, err := Settings(s.Set...)
	if err != nil {
		return nil, err
	}
	own := string(teams.Base[0].Mode)
	out[0].Name = "bellboard " + own
	for _, mode := range []string{"auto", "ephemeral", "persistent"} {
		if mode == own {
			continue
		}
		c, err := s.bellboard("bellboard "+mode, with(s.Set, "MODE", mode))
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (s *study) bellboard(name string, set []string) (candidate, error) {
	teams, poll, err := Settings(set...)
	return candidate{Policy: Deciding(name, poll, teams, nil), group: GroupOwn, settings: set, key: fmt.Sprint(teams, poll)}, err
}

// with returns settings with one of them changed.
func with(set []string, key, value string) []string {
	out := slices.DeleteFunc(slices.Clone(set), func(x string) bool { return strings.HasPrefix(strings.ToUpper(x), key+"=") })
	return append(out, key+"="+value)
}

// knobs are the settings that tune tries, and their values.
var knobs = []struct {
	key    string
	values []string
}{
	{"MODE", []string{"ephemeral", "persistent", "auto"}},
	{"WAIT_VALUE", []string{"1", "3", "10", "30", "100"}},
	{"IDLE_TIMEOUT", []string{"30s", "1m", "3m", "10m", "30m"}},
	{"MIN_IDLE", []string{"0", "1", "3"}},
}

// knobTexts say what the settings are for.
var knobTexts = map[string]string{
	"MODE": "kinds of agents", "IDLE_TIMEOUT": "how long an agent may be free", "MIN_IDLE": "free agents kept beyond the busy ones",
	"WAIT_VALUE": "seconds of an agent for a second of waiting",
}

// tune searches for settings with a lower C(w): one setting after the other, each with the best values of the
// settings before.
func (s *study) tune(ctx context.Context, sc Scenario) (candidate, error) {
	best, err := s.bellboard(GroupTuned, s.Set)
	if err != nil {
		return best, err
	}
	for _, k := range knobs {
		list := []candidate{best} // stays if no value is better
		for _, v := range k.values {
			c, err := s.bellboard(GroupTuned, with(best.settings, k.key, v))
			if err != nil {
				return c, err
			}
			list = append(list, c)
		}
		i, err := s.best(ctx, sc, list)
		if err != nil {
			return best, err
		}
		best = list[i]
	}
	best.group, best.Name = GroupTuned, "bellboard tuned: "+cmp.Or(strings.Join(best.settings, " "), "as it is")
	return best, nil
}

// hindsight returns the rival with the lowest C(w) of the grid, and all others of the grid.
func (s *study) hindsight(ctx context.Context, sc Scenario) (best candidate, others []candidate, err error) {
	var list []candidate
	for _, p := range Grid() {
		list = append(list, candidate{Policy: p, group: GroupGrid, key: p.Name})
	}
	i, err := s.best(ctx, sc, list)
	if err != nil {
		return best, nil, err
	}
	best = list[i]
	best.group, best.Name = GroupBest, "best rival: "+best.Name
	names := map[string]bool{list[i].Name: true}
	for _, p := range Defaults() {
		names[p.Name] = true
	}
	return best, slices.DeleteFunc(list, func(c candidate) bool { return names[c.Name] }), nil
}

// best returns the index of the candidate with the lowest C(w) on the part of the history that it is chosen by.
func (s *study) best(ctx context.Context, sc Scenario, list []candidate) (int, error) {
	rows, err := s.replayAll(ctx, s.fit, sc, list)
	if err != nil {
		return 0, err
	}
	at := 0
	for i := range rows {
		if rows[i].cost(s.Value) < rows[at].cost(s.Value) {
			at = i
		}
	}
	return at, nil
}

// cost returns C(w) of a row, for a w that was asked for.
func (m *Measures) cost(w float64) float64 {
	for _, c := range m.Cost {
		if c.WaitValue == w {
			return c.Cost
		}
	}
	return m.Paid
}

// replayAll replays a history against all candidates, as many at once as there are processors.
func (s *study) replayAll(ctx context.Context, h *History, sc Scenario, list []candidate) ([]Row, error) {
	rows, errs := make([]Row, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	places := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range list {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			if errs[i] = ctx.Err(); errs[i] != nil {
				return
			}
			c := &list[i]
			k := s.of(h, sc, c)
			k.once.Do(func() {
				var r *Result
				if r, k.err = Replay(h, sc, c.Policy, Least(s.Least), With(c.lines...), Until(ctx.Err)); k.err == nil {
					k.row.Measures = r.Measures(s.values()...)
				}
			})
			errs[i] = k.err
			rows[i] = Row{Measures: k.row.Measures, Group: c.group, Settings: c.settings, Source: c.Source}
			rows[i].Policy = c.Name
			s.tell(sc.Name + " " + c.Name)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (s *study) tell(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	if s.Progress != nil {
		s.Progress(min(s.done, s.all), s.all, what)
	}
}

// values returns the values of waiting that costs are computed for, the one that counts among them.
func (s *study) values() []float64 {
	return slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(s.Values), s.Value))))
}

// split returns the builds of the first share of the time, and the rest.
func (h *History) split(share float64) (first, rest *History) {
	from, last := h.Builds[0].Submitted, h.Builds[len(h.Builds)-1].Submitted
	at, _ := slices.BinarySearchFunc(h.Builds, from+int64(share*float64(last-from)), func(b Build, t int64) int { return cmp.Compare(b.Submitted, t) })
	at = min(max(at, 1), len(h.Builds)-1)
	a, b := *h, *h
	a.Builds, b.Builds = h.Builds[:at], h.Builds[at:]
	return &a, &b
}

// Last returns the builds of the last days.
func (h *History) Last(days float64) *History {
	from := h.Builds[len(h.Builds)-1].Submitted - int64(days*86_400_000)
	at, _ := slices.BinarySearchFunc(h.Builds, from, func(b Build, t int64) int { return cmp.Compare(b.Submitted, t) })
	out := *h
	out.Builds = h.Builds[at:]
	return &out
}

func (h *History) facts(least int) Facts {
	f := Facts{Name: h.Name, From: at(h.Builds[0].Submitted), Days: h.Span().Hours() / 24}
	var waits []time.Duration
	var all []Build
	for _, builds := range h.pools(least) {
		f.Labels++
		f.Builds += len(builds)
		all = append(all, builds...)
		for i := range builds {
			f.Work += float64(builds[i].Length) / 3_600_000
			if builds[i].Started > 0 {
				waits = append(waits, time.Duration(builds[i].Started-builds[i].Submitted)*time.Millisecond)
			}
		}
	}
	f.Left = len(h.Builds) - f.Builds
	sweepLevels(all, 0, func(level int, _, _ int64) { f.Peak = max(f.Peak, level) })
	slices.Sort(waits)
	if n := len(waits); n > 0 && 2*n > f.Builds {
		f.WaitP50, f.WaitP95 = waits[n/2].Seconds(), waits[min(n-1, n*95/100)].Seconds()
	}
	return f
}
