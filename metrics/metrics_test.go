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
		out = append(out, scaler.Team{Name: fmt.Sprintf("team-%d", i), MaxAgents: 10 + i})
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
			Waits: []scaler.Wait{{Team: "team-0", Took: 2 * time.Second}, {Took: time.Minute}}, Startups: []scaler.Startup{{PoolID: e, Took: 8 * time.Second, Phases: []scaler.PhaseTime{{Phase: scaler.PhasePull, Took: 6 * time.Second}, {Phase: scaler.PhaseConnect, Took: 2 * time.Second}}}},
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
	for _, tick := range ticks {
		m.Observe(tick)
	}
	if len(ticks) > 0 {
		m.Leading(true)
		m.Leading(true)
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
		"bellboard_actions_total":                    2 * 2 * len(scaler.Verbs()) * len(scaler.Results()),
		"bellboard_decisions_total":                  2 * len(scaler.DecisionReasons()),
		"bellboard_blocks_total":                     2 * len(scaler.Rules()),
		"bellboard_ticks_total":                      3,
		"bellboard_holds_total":                      len(sources),
		"bellboard_builds_lost_total":                2,
		"bellboard_second_builds_total":              2,
		"bellboard_agents_failed_total":              4 * len(scaler.Failures()),
		"bellboard_agents_renewed_total":             4,
		"bellboard_agents_global_max":                1,
		"bellboard_executors":                        0,
		"bellboard_queue_wait_seconds":               2,
		"bellboard_agent_startup_seconds":            4,
		"bellboard_agent_start_phase_seconds":        4 * len(scaler.Phases()),
		"bellboard_cache_starts_total":               4,
		"bellboard_cache_first_build_seconds":        4,
		"bellboard_cache_slots":                      0,
		"bellboard_agents_max":                       2,
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

func TestHoldBeforeAnythingWasSeen(t *testing.T) {
	n, err := testutil.GatherAndCount(registry(t, 1, hold()), "bellboard_agents", "bellboard_queue_items", "bellboard_queue_oldest_wait_seconds", "bellboard_agents_desired")
	if err != nil || n != 0 {
		t.Errorf("%d gauges of a house that nobody has seen (%v), want none", n, err)
	}
}

// TestCardinality checks that many ticks add no series, and that each team adds the same number.
func TestCardinality(t *testing.T) {
	count := func(n int) int {
		reg := prometheus.NewPedanticRegistry()
		m := New(reg, teams(n), 15, "v1", nil, nil)
		for i := range 500 {
			tick := rich()
			tick.ID = fmt.Sprint("a-", i)
			for j := range tick.Plan.Agents {
				tick.Plan.Agents[j].Name = fmt.Sprint("agent-", i, j)
			}
			for j := range n {
				tick.Facts.Waits = append(tick.Facts.Waits, scaler.Wait{Team: fmt.Sprintf("team-%d", j), Took: time.Duration(i) * time.Second})
			}
			tick.Plan.Agents = append(tick.Plan.Agents, scaler.Agent{PoolID: scaler.PoolID{Team: fmt.Sprint("gone-", i), Kind: scaler.Persistent}, Class: scaler.Draining})
			tick.Plan.Slots = append(tick.Plan.Slots, scaler.SlotSeen{PoolID: scaler.PoolID{Team: fmt.Sprint("gone-", i), Kind: scaler.Persistent}, State: scaler.SlotFree})
			m.Observe(tick)
			m.JenkinsRequest("queue", fmt.Sprint("error ", i), time.Duration(i))
		}
		got, err := testutil.GatherAndCount(reg)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	one, two, ten := count(1), count(2), count(10)
	if perTeam := two - one; ten != one+9*perTeam || perTeam < 50 || perTeam > 450 {
		t.Errorf("1 team: %d series, 2: %d, 10: %d; want the same number, 50 to 450, for each team", one, two, ten)
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
