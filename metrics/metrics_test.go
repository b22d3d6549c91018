package metrics

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"bellboard/scaler"
)

var update = flag.Bool("update", false, "rewrite testdata")

func teams(n int) []scaler.Team {
	var out []scaler.Team
	for i := range n {
		out = append(out, scaler.Team{Name: fmt.Sprintf("team-%d", i), MaxAgents: 10 + i, Objective: scaler.Objective{Share: 0.95, Within: time.Minute}})
	}
	return out
}

// rich returns a tick with something of everything.
func rich() scaler.Tick {
	e, p := scaler.PoolID{Team: "team-0", Kind: scaler.Ephemeral}, scaler.PoolID{Team: "team-0", Kind: scaler.Persistent}
	return scaler.Tick{
		ID: "a-1", At: time.Unix(1000, 5e8), Took: 20 * time.Millisecond,
		Age: map[scaler.Source]time.Duration{scaler.SourceJenkins: 300 * time.Millisecond, scaler.SourceKubernetes: 2 * time.Second},
		Plan: scaler.Plan{
			Decisions: []scaler.Decision{{
				Team: "team-0", MaxAgents: 12, Waiting: 5, Oldest: 12 * time.Second, Alive: 9, Want: 11, Busy: 6, Free: 2, Coming: 4, Reason: scaler.ReasonDemand,
				Weighed: scaler.Weighed{WaitValue: 10, Gain: 90 * time.Second, Hold: 1},
				Steps:   []scaler.Step{{Rule: scaler.RuleMaxAgents, From: 11, To: 10}, {Rule: scaler.RuleMinIdle, From: 0, To: 1}},
			}},
			Agents: []scaler.Agent{{Name: "x", PoolID: e, Class: scaler.Busy}, {Name: "y", PoolID: e, Class: scaler.Busy}, {Name: "l", PoolID: e, Class: scaler.Coming, Overdue: true}, {Name: "z", PoolID: scaler.PoolID{Team: "old", Kind: scaler.Persistent}, Class: scaler.Draining}},
			Slots: []scaler.SlotSeen{
				{PoolID: p, State: scaler.SlotFree},
				{PoolID: p, State: scaler.SlotFree},
				{PoolID: p, State: scaler.SlotUsed},
				{PoolID: scaler.PoolID{Team: "old", Kind: scaler.Persistent}, State: scaler.SlotGoing},
			},
			Unserved:   []scaler.Unserved{{Count: 2}, {Count: 1}},
			Unresolved: []scaler.Unserved{{Count: 4}},
		},
		Outcomes: []scaler.Outcome{
			{Action: scaler.Action{Verb: scaler.Create, Pool: e}, Result: scaler.Done},
			{Action: scaler.Action{Verb: scaler.Create, Pool: p, Slot: &scaler.Slot{Bound: true}}, Result: scaler.Done},
			{Action: scaler.Action{Verb: scaler.Create, Pool: p, Slot: &scaler.Slot{Bound: true}}, Result: scaler.Changed},
			{Action: scaler.Action{Verb: scaler.Mark, Pool: p, Reason: scaler.ReasonRenew}, Result: scaler.Done},
			{Action: scaler.Action{Verb: scaler.Mark, Pool: p, Reason: scaler.ReasonRenew}, Result: scaler.Expired},
			{Action: scaler.Action{Verb: scaler.Mark, Pool: p, Reason: scaler.ReasonIdle}, Result: scaler.Done},
			{Action: scaler.Action{Verb: scaler.Mark, Pool: scaler.PoolID{Team: "old", Kind: scaler.Persistent}}, Result: scaler.Expired},
		},
		Facts: scaler.Facts{
			Waits: []scaler.Wait{{Team: "team-0", Took: 2 * time.Second, Kind: scaler.Ephemeral, Met: true}, {Team: "team-0", Took: 70 * time.Second}}, Missed: map[string]int{"team-0": 1}, Gone: map[string]int{"team-0": 3},
			Startups:    []scaler.Startup{{PoolID: e, Took: 8 * time.Second, Phases: []scaler.PhaseTime{{Phase: scaler.PhasePull, Took: 6 * time.Second}, {Phase: scaler.PhaseConnect, Took: 2 * time.Second}}}},
			FirstBuilds: []scaler.FirstBuild{{PoolID: p, Warmth: scaler.Cold, Took: 20 * time.Second}},
			BuildsLost:  []scaler.LostBuilds{{PoolID: e, Builds: 1}}, SecondBuilds: map[scaler.PoolID]int{e: 2},
			Failures: []scaler.FailedAgent{{PoolID: p, Failure: scaler.FailureOOM}, {PoolID: p, Failure: scaler.FailureOOM}, {PoolID: p, Failure: scaler.FailureQuota}},
		},
	}
}

func hold() scaler.Tick {
	return scaler.Tick{
		ID: "a-2", At: time.Unix(1010, 5e8), Took: time.Second, Hold: "Jenkins is restarting (503)", HoldBy: scaler.SourceJenkins,
		Age: map[scaler.Source]time.Duration{scaler.SourceKubernetes: time.Second},
	}
}

func registry(t *testing.T, n int, ticks ...scaler.Tick) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	m := New(reg, teams(n), 15, "v1.2.3", []string{"queue", "computers"}, []string{"partial", "blind"})
	m.Leading(len(ticks) > 0)
	for _, tick := range ticks {
		m.Observe(tick)
	}
	if len(ticks) > 0 {
		m.JenkinsRequest("queue", "200", 8*time.Millisecond)
		m.JenkinsRequest("queue", "dial tcp 10.0.0.1: connection refused", time.Millisecond)
		m.JenkinsUnseen("partial")
		m.JenkinsSkew(-90 * time.Second)
		m.KubeRequest("create", "pods", "201", 30*time.Millisecond)
	}
	return reg
}

func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(registry(t, 2, rich(), hold()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestExposition checks all series after one tick, without those that are zero.
func TestExposition(t *testing.T) {
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry(t, 1, rich(), hold()), promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	var kept bytes.Buffer
	for l := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(l, "#") || !strings.HasSuffix(l, " 0\n") && !strings.Contains(l, "_build_info{") {
			kept.WriteString(l)
		}
	}
	const golden = "testdata/tick.txt"
	if *update {
		if err := os.WriteFile(golden, kept.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := kept.String(); got != string(want) {
		t.Errorf("the exposition differs from %s (go test -update rewrites it):\n%s", golden, got)
	}
}

// TestEveryMetricIsSet checks that every metric has a value after a tick with something of everything.
func TestEveryMetricIsSet(t *testing.T) {
	families, err := registry(t, 1, rich(), hold()).Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) < 20 {
		t.Fatalf("%d metrics, want them all", len(families))
	}
	for _, f := range families {
		set := false
		for _, m := range f.GetMetric() {
			set = set || m.GetGauge().GetValue() != 0 || m.GetCounter().GetValue() != 0 || m.GetHistogram().GetSampleCount() != 0
		}
		if !set {
			t.Errorf("%s is 0 everywhere", f.GetName())
		}
	}
}

// TestCountersExistAtStart checks that every series with known labels exists before the first tick.
func TestCountersExistAtStart(t *testing.T) {
	families, err := registry(t, 2).Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range families {
		got[f.GetName()] = len(f.GetMetric())
	}
	for name, want := range map[string]int{
		"bellboard_actions_total":                    0, // no alert asks for these
		"bellboard_creations_total":                  4,
		"bellboard_builds_started_total":             4,
		"bellboard_queue_gone_total":                 2,
		"bellboard_queue_wait_cause_seconds_total":   0,
		"bellboard_wait_objective_builds_total":      4,
		"bellboard_decisions_total":                  len(scaler.DecisionReasons()),
		"bellboard_blocks_total":                     2 * len(alerting),
		"bellboard_ticks_total":                      3,
		"bellboard_holds_total":                      len(sources),
		"bellboard_builds_lost_total":                2,
		"bellboard_second_builds_total":              2,
		"bellboard_agents_failed_total":              2 * len(scaler.Failures()),
		"bellboard_agents_renewed_total":             2,
		"bellboard_agents_global_max":                0,
		"bellboard_executors":                        0,
		"bellboard_queue_wait_seconds":               2,
		"bellboard_agent_startup_seconds":            0,
		"bellboard_agent_start_phase_seconds":        0,
		"bellboard_cache_starts_total":               4,
		"bellboard_cache_first_build_seconds":        0,
		"bellboard_cache_slots":                      0,
		"bellboard_agents_max":                       0,
		"bellboard_jenkins_unseen_total":             2,
		"bellboard_jenkins_requests_total":           2,
		"bellboard_jenkins_request_duration_seconds": 2,
		"bellboard_jenkins_clock_skew_seconds":       0,
		"bellboard_build_info":                       1,
		"bellboard_agents":                           0, // unknown is never zero
		"bellboard_agents_alive":                     0,
		"bellboard_queue_items":                      0,
		"bellboard_hold":                             0,
	} {
		if got[name] != want {
			t.Errorf("%s has %d series at start, want %d", name, got[name], want)
		}
	}
}

func TestHoldKeepsWhatWasSeen(t *testing.T) {
	reg := registry(t, 1, rich(), hold())
	const want = `
# HELP bellboard_hold 1 while Bellboard holds because the source cannot be read; the gauges of agents and queue then keep their last values.
# TYPE bellboard_hold gauge
bellboard_hold{source="bellboard"} 0
bellboard_hold{source="jenkins"} 1
bellboard_hold{source="kubernetes"} 0
# HELP bellboard_queue_items Builds that wait for an agent of the team.
# TYPE bellboard_queue_items gauge
bellboard_queue_items{team="team-0"} 5
# HELP bellboard_snapshot_age_seconds Age of the last view of the source, at the last tick.
# TYPE bellboard_snapshot_age_seconds gauge
bellboard_snapshot_age_seconds{source="jenkins"} 10.3
bellboard_snapshot_age_seconds{source="kubernetes"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "bellboard_hold", "bellboard_queue_items", "bellboard_snapshot_age_seconds"); err != nil {
		t.Error(err)
	}
}

// TestTheNextLeaderIsAlone checks that a replica that no longer leads shows no agents and no queue: another one does.
func TestTheNextLeaderIsAlone(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := New(reg, teams(1), 15, "v1", nil, nil)
	gauges := []string{"bellboard_agents", "bellboard_queue_items", "bellboard_agents_max", "bellboard_hold", "bellboard_wait_objective_ratio", "bellboard_last_tick_timestamp_seconds"}
	for _, leads := range []bool{true, false} {
		m.Leading(leads)
		if leads {
			m.Observe(rich())
		}
		if n, err := testutil.GatherAndCount(reg, gauges...); err != nil || (n > 0) != leads {
			t.Errorf("the replica leads: %t, and has %d gauges (%v)", leads, n, err)
		}
	}
}

func TestHoldBeforeAnythingWasSeen(t *testing.T) {
	n, err := testutil.GatherAndCount(registry(t, 1, hold()), "bellboard_agents", "bellboard_queue_items", "bellboard_queue_oldest_wait_seconds", "bellboard_agents_desired")
	if err != nil || n != 0 {
		t.Errorf("%d gauges of a house that nobody has seen (%v), want none", n, err)
	}
}

// series returns how many series the registry shows, as Prometheus counts them.
func series(t *testing.T, reg prometheus.Gatherer) (n int) {
	t.Helper()
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	for l := range strings.Lines(answer.Body.String()) {
		if !strings.HasPrefix(l, "#") {
			n++
		}
	}
	return n
}

// everything returns a tick in which all happens to every team that may happen: agents of both kinds start and fail
// in all ways, builds wait for every cause, and every rule limits the team.
func everything(n int) scaler.Tick {
	t := rich()
	p, f := &t.Plan, &t.Facts
	f.Missed, f.Gone, f.SecondBuilds = map[string]int{}, map[string]int{}, map[scaler.PoolID]int{}
	for _, team := range teams(n) {
		d := scaler.Decision{Team: team.Name, Waiting: 9, Short: 8, Vetoed: 1, Reason: scaler.ReasonBlocked}
		for _, r := range scaler.Rules() {
			d.Steps = append(d.Steps, scaler.Step{Rule: r, From: 1, Pause: &scaler.Pause{}, Veto: &scaler.Vetoed{}})
		}
		p.Decisions = append(p.Decisions, d)
		f.Missed[team.Name], f.Gone[team.Name] = 1, 1
		for _, failure := range scaler.Failures() {
			f.Failures = append(f.Failures, scaler.FailedAgent{PoolID: scaler.PoolID{Team: team.Name}, Failure: failure})
		}
		for _, s := range scaler.SlotStates() {
			p.Slots = append(p.Slots, scaler.SlotSeen{PoolID: scaler.PoolID{Team: team.Name}, State: s})
		}
		for _, w := range []scaler.Warmth{scaler.Warm, scaler.Cold} {
			f.FirstBuilds = append(f.FirstBuilds, scaler.FirstBuild{PoolID: scaler.PoolID{Team: team.Name}, Warmth: w})
		}
		f.Waits = append(f.Waits, scaler.Wait{Team: team.Name}) // on a foreign node
		for _, k := range scaler.Kinds() {
			id, start := scaler.PoolID{Team: team.Name, Kind: k}, scaler.Startup{PoolID: scaler.PoolID{Team: team.Name, Kind: k}}
			for _, ph := range scaler.Phases() {
				start.Phases = append(start.Phases, scaler.PhaseTime{Phase: ph})
			}
			f.Startups, f.SecondBuilds[id] = append(f.Startups, start), 1
			f.BuildsLost = append(f.BuildsLost, scaler.LostBuilds{PoolID: id, Builds: 1})
			f.Waits = append(f.Waits, scaler.Wait{Team: team.Name, Kind: k})
			for _, class := range []scaler.Class{scaler.Berth, scaler.Coming, scaler.Busy, scaler.Free, scaler.Stuck} {
				p.Agents = append(p.Agents, scaler.Agent{PoolID: id, Class: class, Overdue: class == scaler.Coming})
			}
			for _, r := range scaler.Results() {
				t.Outcomes = append(t.Outcomes, scaler.Outcome{Action: scaler.Action{Verb: scaler.Create, Pool: id}, Result: r})
			}
			t.Outcomes = append(t.Outcomes, scaler.Outcome{Action: scaler.Action{Verb: scaler.Mark, Reason: scaler.ReasonRenew, Pool: id}, Result: scaler.Done})
		}
	}
	return t
}

// TestCardinality checks that each team adds at most 120 series, whatever happens, and that many ticks add none.
func TestCardinality(t *testing.T) {
	const constant, perTeam = 300, 120
	count := func(n int) int {
		reg := prometheus.NewPedanticRegistry()
		m := New(reg, teams(n), 15, "v1", nil, nil)
		if got := series(t, reg); got > constant+perTeam*n {
			t.Errorf("%d teams have %d series before any work", n, got)
		} else {
			t.Logf("%d teams have %d series before any work", n, got)
		}
		for i := range 50 {
			tick := everything(n)
			tick.ID, tick.At = fmt.Sprint("a-", i), time.Unix(int64(i), 0)
			gone := scaler.PoolID{Team: fmt.Sprint("gone-", i), Kind: scaler.Persistent}
			tick.Plan.Agents = append(tick.Plan.Agents, scaler.Agent{Name: fmt.Sprint("agent-", i), PoolID: gone, Class: scaler.Draining})
			tick.Plan.Slots = append(tick.Plan.Slots, scaler.SlotSeen{PoolID: gone, State: scaler.SlotFree})
			tick.Facts.Waits = append(tick.Facts.Waits, scaler.Wait{Team: gone.Team, Took: time.Duration(i) * time.Second})
			for j := range tick.Plan.Decisions { // another rule comes last, and is the cause
				s := &tick.Plan.Decisions[j].Steps
				*s = (*s)[:min(i+1, len(*s))]
			}
			m.Observe(tick)
			m.JenkinsRequest("queue", fmt.Sprint("error ", i), time.Duration(i))
		}
		return series(t, reg)
	}
	one, two, forty := count(1), count(2), count(40)
	t.Logf("when everything has happened to everybody: %d series, and %d for each team", 2*one-two, two-one)
	if forty != one+39*(two-one) || forty > constant+40*perTeam || two-one < 50 {
		t.Errorf("1 team: %d series, 2: %d, 40: %d; want the same number for each team, and at most %d + %d for each", one, two, forty, constant, perTeam)
	}
}

// TestNoNegativeWait checks that a negative wait, from two clocks, does not make the sum fall.
func TestNoNegativeWait(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := New(reg, teams(1), 15, "v1", nil, nil)
	m.Observe(scaler.Tick{ID: "a-1", At: time.Unix(1000, 0), Facts: scaler.Facts{Waits: []scaler.Wait{{Team: "team-0", Took: -time.Second}}}})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "bellboard_queue_wait_seconds" {
			continue
		}
		if h := f.GetMetric()[0].GetHistogram(); h.GetSampleCount() != 1 || h.GetSampleSum() != 0 {
			t.Errorf("%d waits of %v s", h.GetSampleCount(), h.GetSampleSum())
		}
	}
}
