// Package tune finds the WAIT_VALUE of each team with TUNE=true. Once a day it reads the builds of the last days
// from Jenkins, replays them with Bellboard's own decision, and takes the cheapest value that reaches
// TARGET_WAIT_P95.
//
// The package only reads. It sends Jenkins one request after another, and rests after each job.
// Replays take one processor, half of the time, for some minutes. A reading that fails, or replays that take too
// long, change nothing.
package tune

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/simulate"
	"bellboard/queue"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

const (
	firstAfter = time.Hour // after the process begins to lead: by then it has seen agents start
	every      = 24 * time.Hour
	again      = time.Hour // after a reading that failed
	jitter     = 15 * time.Minute

	days        = 14 // that are read
	leastDays   = 3  // that a team's builds have to span
	leastBuilds = 50
	mostRows    = 500_000 // of all teams, 48 bytes each while they are read
	budget      = 10 * time.Minute
	saving      = 0.03 // the share of the paid time that is worth another value
)

// values are the WAIT_VALUEs that are tried, beside the present one.
var values = []float64{1, 2, 5, 10, 20, 50, 100}

// Config is what a Tuner is made of.
type Config struct {
	Settings *config.Config
	Clock    clock.Clock
	Log      *zap.Logger
	// History reads the builds of the past: (*queue.Client).History.
	History func(context.Context, *queue.Reading) error
}

// Tuner knows the teams with the values that it has found. A new Tuner has found none.
type Tuner struct {
	c      Config
	table  atomic.Pointer[config.Timetable]
	budget time.Duration // of the replays of one team, with their pauses

	mu    sync.Mutex // guards what ticks tell
	known map[string]known
	jobs  map[string]string // the team on whose agents a job has run, by the job's full name

	tuned map[string]float64 // found values, by team
	told  map[string]bool    // teams whose builds were too few, and that have been told of
}

// known is what ticks tell of a team.
type known struct {
	value   float64 // the WAIT_VALUE outside of windows that set it
	weighed scaler.Weighed
	usual   []scaler.Usual
}

// New returns a Tuner. It does nothing until Run.
func New(c Config) *Tuner {
	t := &Tuner{c: c, budget: budget, known: map[string]known{}, jobs: map[string]string{}, tuned: map[string]float64{}, told: map[string]bool{}}
	t.table.Store(c.Settings.Timetable())
	return t
}

// Teams returns the teams as they are at a time.
func (t *Tuner) Teams(now time.Time) []scaler.Team {
	out, _ := t.table.Load().At(now)
	return out
}

// Observe learns from a tick how agents start, what caches save, and on which team's agents a job runs.
func (t *Tuner) Observe(tick scaler.Tick) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range tick.Plan.Decisions {
		d := &tick.Plan.Decisions[i]
		k := known{t.known[d.Team].value, d.Weighed, d.Usual}
		if !slices.ContainsFunc(d.Scheduled, func(s scaler.Scheduled) bool { return s.Setting == "WAIT_VALUE" }) {
			k.value = d.Weighed.WaitValue
		}
		t.known[d.Team] = k
	}
	for _, b := range tick.Facts.Builds {
		const mostJobs = 20_000
		job := queue.JobName(b.Job)
		if _, has := t.jobs[job]; has || len(t.jobs) < mostJobs {
			t.jobs[job] = b.Team
		}
	}
}

// Run tunes once a day until ctx ends. It returns at once if no team is to be tuned.
func (t *Tuner) Run(ctx context.Context) {
	if !slices.ContainsFunc(t.c.Settings.Teams, func(one config.Team) bool { return one.Tune }) {
		return
	}
	pause := firstAfter
	for clock.Sleep(ctx, t.c.Clock, pause+rand.N(jitter)) == nil { //nolint:gosec // a time of the day is no secret
		pause = every
		if err := t.once(ctx); err != nil && ctx.Err() == nil {
			pause = again
			t.c.Log.Warn("WAIT_VALUE is not tuned: the builds of the past cannot be read", zap.Error(err), zap.Duration("next", pause))
		}
	}
}

// once reads the builds of the past, and tunes each team. Its error is of the reading.
func (t *Tuner) once(ctx context.Context) error {
	p := t.newPast()
	last := t.c.Clock.Now()
	r := queue.Reading{Since: last.AddDate(0, 0, -days), Past: p.add, Failed: func(string, error) { p.failed++ }}
	r.Progress = func(int, int, string) { // comes before each job: it rests nine times as long as a job took
		_ = clock.Sleep(ctx, t.c.Clock, min(9*t.c.Clock.Now().Sub(last), 30*time.Second)) // History sees that ctx has ended
		last = t.c.Clock.Now()
	}
	if err := t.c.History(ctx, &r); err != nil {
		return err
	}
	for i := range t.c.Settings.Teams {
		team := &t.c.Settings.Teams[i]
		if !team.Tune || team.Paused {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, t.budget)
		err := t.team(limited, team, p)
		if limited.Err() != nil {
			err = fmt.Errorf("the replays take more than %s", t.budget)
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			t.c.Log.Warn("WAIT_VALUE is not tuned", zap.String("team", team.Name), zap.Error(err))
		}
	}
	return ctx.Err()
}

// found is what the replays with one WAIT_VALUE found. Paid is in agent-hours.
type found struct {
	value, paid float64
	p95         time.Duration
}

// team replays a team's builds, and sets the value that these choose.
func (t *Tuner) team(ctx context.Context, team *config.Team, p *past) error {
	h := p.history(team.Name)
	span := spanned(h)
	log := t.c.Log.With(zap.String("team", team.Name))
	if span < leastDays*24*time.Hour || len(h.Builds) < leastBuilds {
		if !t.told[team.Name] {
			log.Info("WAIT_VALUE is not tuned: too few builds of the past", size(h)[0], size(h)[1],
				zap.Int("least_builds", leastBuilds), zap.Int("least_days", leastDays), zap.Int("without_team", p.strange))
		}
		t.told[team.Name] = true
		return nil
	}
	t.told[team.Name] = false
	k, present := t.of(team)
	h, all, err := t.replays(ctx, team, h, k, present)
	if err != nil {
		return err
	}
	before := all[slices.IndexFunc(all, func(f found) bool { return f.value == present })]
	best, why := choose(before, all, team.TargetWaitP95)
	t.tuned[team.Name] = best.value
	t.table.Store(t.table.Load().Tuned(team.Name, best.value))
	log.Info("WAIT_VALUE tuned", size(h)[0], size(h)[1], zap.Float64("from", tenths(before.value)), zap.Float64("to", tenths(best.value)), zap.String("because", why),
		zap.Duration("target_wait_p95", team.TargetWaitP95), zap.Duration("p95_before", before.p95.Round(tenth)), zap.Duration("p95", best.p95.Round(tenth)),
		zap.Float64("paid_hours_before", tenths(before.paid)), zap.Float64("paid_hours", tenths(best.paid)), zap.Int("jobs_not_read", p.failed))
	return nil
}

// of returns what is known of a team, and its present WAIT_VALUE.
func (t *Tuner) of(team *config.Team) (known, float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.known[team.Name]
	present := team.WaitValue
	if value, tuned := t.tuned[team.Name]; tuned {
		present = value
	} else if k.value > 0 {
		present = k.value // the search for TARGET_WAIT_P95 has found it
	}
	return k, present
}

// replays replays the builds with each value, the present one among them, and returns what it has replayed: the
// last days for which there is time, as a replay of the least days shows.
func (t *Tuner) replays(ctx context.Context, team *config.Team, h *simulate.History, k known, present float64) (*simulate.History, []found, error) {
	s := scenario(k, h, team.CachePrice)
	table := t.c.Settings.Timetable().Of(team.Name)
	replay := func(h *simulate.History, value float64) (*simulate.Result, error) {
		policy := simulate.Deciding(team.Name, t.c.Settings.PollInterval, table.Tuned(team.Name, value), nil)
		r, err := simulate.Replay(h, s, policy, simulate.Until(ctx.Err))
		if err != nil {
			return nil, err
		}
		return r, clock.Sleep(ctx, t.c.Clock, r.Took)
	}
	try := slices.Compact(slices.Sorted(slices.Values(append([]float64{present}, values...))))
	trial, err := replay(h.Last(leastDays), present)
	if err != nil {
		return nil, nil, err
	}
	h = h.Last(affordable(t.budget, trial.Took, len(try)+1))
	var out []found
	for _, v := range try {
		r, err := replay(h, v)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, found{v, r.PaidHours(), time.Duration(r.Wait(0.95) * float64(time.Second))})
	}
	return h, out, nil
}

// affordable returns how many days a number of replays may have, each with a rest, if one of leastDays took so long.
func affordable(budget, took time.Duration, replays int) float64 {
	return min(days, max(leastDays, leastDays*budget.Seconds()/float64(2*replays)/max(1e-3, took.Seconds())))
}

// choose returns the cheapest value whose waits reach the target. It returns the present one if none does, or if
// the present one does and the cheapest saves too little.
func choose(present found, all []found, target time.Duration) (found, string) {
	var best *found
	for i := range all {
		if f := &all[i]; f.p95 <= target && (best == nil || f.paid < best.paid) {
			best = f
		}
	}
	switch {
	case best == nil:
		return present, "no value reaches the target"
	case present.p95 > target:
		return *best, "the present value misses the target"
	case best.paid <= present.paid*(1-saving):
		return *best, "the target is reached for less"
	}
	return present, fmt.Sprintf("the present value reaches the target, and no other one saves %.0f %%", 100*saving)
}

// scenario returns what a replay assumes of a team's agents: what was learnt of their starts and their caches.
func scenario(k known, h *simulate.History, price float64) simulate.Scenario {
	s := simulate.Warm()
	s.Name, s.SlotPrice = "as learnt", price
	var starts, persistent *scaler.Usual
	for i := range k.usual {
		if u := &k.usual[i]; u.Kind == scaler.Persistent {
			persistent = u
		} else {
			starts = u
		}
	}
	switch {
	case starts != nil && persistent != nil:
		s.Attach = max(0, persistent.Half-starts.Half)
	case persistent != nil:
		starts, s.Attach = persistent, 0
	}
	if starts != nil { // uniform times of which half are at most Half, and nine in ten at most Most
		reach := (starts.Most - starts.Half) * 5 / 4
		s.StartLeast, s.StartMost = max(0, starts.Half-reach), starts.Half+reach
	}
	if half := halfLength(h); k.weighed.Gain > 0 && half > 0 {
		s.Cold, s.ColdShare = true, (k.weighed.Gain+s.Attach).Seconds()/half.Seconds()
	}
	return s
}

// halfLength returns how long half of the builds run at most.
func halfLength(h *simulate.History) time.Duration {
	all := make([]int64, len(h.Builds))
	for i := range h.Builds {
		all[i] = h.Builds[i].Length
	}
	slices.Sort(all)
	return time.Duration(all[len(all)/2]) * time.Millisecond
}

// spanned returns the time from the first submission to the last.
func spanned(h *simulate.History) time.Duration {
	if len(h.Builds) == 0 {
		return 0
	}
	return time.Duration(h.Builds[len(h.Builds)-1].Submitted-h.Builds[0].Submitted) * time.Millisecond
}

// size returns how many builds a history has, and of how many days.
func size(h *simulate.History) [2]zap.Field {
	return [2]zap.Field{zap.Int("builds", len(h.Builds)), zap.Float64("days", tenths(spanned(h).Hours()/24))}
}

// tenths rounds a number for people.
func tenths(x float64) float64 { return float64(int64(x*10+0.5)) / 10 }

const tenth = 100 * time.Millisecond

var errTooMany = fmt.Errorf("there are more than %d builds in %d days", mostRows, days)
