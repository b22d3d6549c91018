package tune

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/simulate"
	"bellboard/queue"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// pastJenkins is a Jenkins with a past: jobs of one label, and their builds, the newest first.
type pastJenkins struct {
	jobs     map[string][]map[string]any
	down     atomic.Bool
	latency  time.Duration
	mu       sync.Mutex
	requests []time.Time
}

// asked returns when requests came.
func (p *pastJenkins) asked() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

var page = regexp.MustCompile(`\{(\d+),(\d+)\}$`)

// RoundTrip answers a request as Jenkins does.
func (p *pastJenkins) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.requests = append(p.requests, time.Now())
	p.mu.Unlock()
	time.Sleep(p.latency)
	w := httptest.NewRecorder()
	w.Header().Set("X-Jenkins", "2.568.1")
	if p.down.Load() || r.Method != http.MethodGet {
		w.WriteHeader(http.StatusServiceUnavailable)
		return w.Result(), nil
	}
	_ = json.NewEncoder(w).Encode(p.answer(strings.TrimSuffix(r.URL.Path, "/api/json"), r.URL.Query().Get("tree")))
	return w.Result(), nil
}

func (p *pastJenkins) answer(path, tree string) map[string]any {
	if path == "/computer" {
		return map[string]any{"_class": "hudson.model.ComputerSet", "computer": []any{}}
	}
	m := page.FindStringSubmatch(tree)
	from, _ := strconv.Atoi(m[1])
	to, _ := strconv.Atoi(m[2])
	if path == "" {
		var jobs []any
		for name, builds := range p.jobs {
			jobs = append(jobs, map[string]any{"name": name, "fullName": name, "labelExpression": "linux", "lastBuild": builds[0]})
		}
		return map[string]any{"jobs": jobs[min(from, len(jobs)):min(to, len(jobs))]}
	}
	builds := p.jobs[strings.TrimPrefix(path, "/job/")]
	list, _, _ := strings.Cut(tree, "[")
	return map[string]any{list: builds[min(from, len(builds)):min(to, len(builds))]}
}

// office returns a past of so many days, until now. For twelve hours of each, a build of three minutes comes two
// to six minutes after the one before.
func office(days int) *pastJenkins {
	dice := rand.New(rand.NewPCG(1, 2))
	start := time.Now().AddDate(0, 0, -days)
	var builds []map[string]any
	for day := range days {
		at := start.AddDate(0, 0, day)
		for end := at.Add(12 * time.Hour); at.Before(end); at = at.Add(5*time.Minute + time.Duration(dice.Int64N(int64(4*time.Minute)))) {
			builds = append(builds, map[string]any{
				"_class": "hudson.model.FreeStyleBuild", "number": len(builds) + 1, "timestamp": at.UnixMilli(),
				"duration": 180_000, "building": false, "builtOn": "gone", "actions": []any{},
			})
		}
	}
	slices.Reverse(builds)
	return &pastJenkins{jobs: map[string][]map[string]any{"app": builds}}
}

// newTuner returns a tuner of team web with its log, and with a client of that Jenkins.
func newTuner(t *testing.T, jenkins http.RoundTripper, environ ...string) (*Tuner, *observer.ObservedLogs) {
	t.Helper()
	settings, err := config.Load(append([]string{
		"BELLBOARD_JENKINS_URL=http://jenkins", "BELLBOARD_JENKINS_USER=bell", "BELLBOARD_JENKINS_TOKEN_FILE=none", "BELLBOARD_POLL_INTERVAL=5s",
		"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux docker", "BELLBOARD_TEAM_WEB_MODE=persistent", "BELLBOARD_TEAM_WEB_TUNE=true",
	}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	client, err := queue.New(queue.Config{
		URL: settings.JenkinsURL, User: "bell", Token: func() (string, error) { return "token", nil }, Transport: jenkins, Clock: clock.Real(),
	})
	if err != nil {
		t.Fatal(err)
	}
	core, lines := observer.New(zap.InfoLevel)
	return New(Config{Settings: settings, Clock: clock.Real(), Log: zap.New(core), History: client.History}), lines
}

// team shows what the decision gets of team web.
func (t *Tuner) shown() string {
	web := &t.Teams(time.Now())[0]
	return fmt.Sprintf("%g %s", web.WaitValue, web.TargetWait)
}

// TestTune checks which value a past chooses, and that the decision gets that value.
func TestTune(t *testing.T) {
	for _, tt := range []struct {
		name, value, target string
		seen                float64 // the value that the search has found; 0: no tick yet
		days                int
		because             string
		change              int // the value rises, falls or stays
	}{
		{"a target that needs a higher value", "1", "55s", 0, 4, "the present value misses the target", +1},
		{"a target that is reached for less", "100", "59s", 0, 4, "the target is reached for less", -1},
		{"the search has found a value", "1", "59s", 100, 4, "the target is reached for less", -1},
		{"a target that no value reaches", "10", "1s", 0, 2 * leastDays, "no value reaches the target", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				jenkins := office(tt.days)
				if tt.change == 0 { // a start takes longer than that
					few := jenkins.jobs["app"][:0:0]
					for i := 0; i < len(jenkins.jobs["app"]); i += 10 {
						few = append(few, jenkins.jobs["app"][i])
					}
					jenkins.jobs["app"] = few
				}
				tuner, lines := newTuner(t, jenkins, "BELLBOARD_TEAM_WEB_WAIT_VALUE="+tt.value, "BELLBOARD_TEAM_WEB_TARGET_WAIT_P95="+tt.target)
				if tt.seen > 0 {
					tuner.Observe(scaler.Tick{Plan: scaler.Plan{Decisions: []scaler.Decision{{Team: "web", Weighed: scaler.Weighed{WaitValue: tt.seen}}}}})
				}
				if err := tuner.once(t.Context()); err != nil {
					t.Fatal(err)
				}
				all := lines.All()
				if len(all) != 1 || all[0].Message != "WAIT_VALUE tuned" {
					t.Fatalf("the log has %v", all)
				}
				m := all[0].ContextMap()
				from, to, before, paid := m["from"].(float64), m["to"].(float64), m["paid_hours_before"].(float64), m["paid_hours"].(float64)
				p95Before, p95, target := m["p95_before"].(time.Duration), m["p95"].(time.Duration), m["target_wait_p95"].(time.Duration)
				good := m["because"] == tt.because && m["team"] == "web" && m["builds"].(int64) >= leastBuilds && m["days"].(float64) > float64(tt.days)-1
				switch tt.change {
				case +1:
					good = good && from == 1 && to > from && p95Before > target && p95 <= target
				case -1:
					good = good && from == 100 && to < from && p95Before <= target && p95 <= target && paid <= before*(1-saving)
				case 0:
					good = good && from == 10 && to == from && p95 > target
				}
				if !good {
					t.Errorf("it says %v", m)
				}
				if got, want := tuner.shown(), fmt.Sprintf("%g 0s", to); got != want {
					t.Errorf("the team has %s, want %s", got, want)
				}
			})
		})
	}
}

// TestFewBuilds checks that too few builds, or builds of too few days, change nothing and are told of once, until
// there were enough.
func TestFewBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jenkins := office(4)
		all := jenkins.jobs["app"]
		few := all[:0:0]
		for k := range leastBuilds - 1 {
			few = append(few, all[k*len(all)/leastBuilds])
		}
		tuner, lines := newTuner(t, jenkins, "BELLBOARD_TEAM_WEB_TARGET_WAIT_P95=55s")
		found := ""
		for i, tt := range []struct {
			builds []map[string]any
			told   int
		}{{all, 0}, {few, 1}, {few, 1}, {all, 1}, {all[:200], 2}, {all[:200], 2}, {all[:1], 2}} {
			jenkins.jobs["app"] = tt.builds
			if err := tuner.once(t.Context()); err != nil {
				t.Fatal(err)
			}
			if told := lines.FilterMessageSnippet("too few builds").Len(); told != tt.told {
				t.Errorf("run %d with %d builds: told %d times of too few, want %d", i, len(tt.builds), told, tt.told)
			}
			if i == 0 {
				found = tuner.shown()
				tuner.budget = 0
			}
			if got := tuner.shown(); got != found || !strings.HasSuffix(got, " 0s") {
				t.Errorf("run %d: the team has %s, want what the first run found: %s", i, got, found)
			}
		}
	})
}

// TestRun checks when the past is read: an hour after the start, an hour after Jenkins was down, and then once a
// day, with a rest after each job. A Jenkins that is down changes nothing.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jenkins := office(4)
		jenkins.latency = 200 * time.Millisecond
		for i := range 20 {
			jenkins.jobs[fmt.Sprint("job", i)] = jenkins.jobs["app"][:1]
		}
		jenkins.down.Store(true)
		tuner, lines := newTuner(t, jenkins, "BELLBOARD_TEAM_WEB_TARGET_WAIT_P95=55s", "BELLBOARD_TEAM_WEB_WAIT_VALUE=1")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); tuner.Run(ctx) }()
		start := time.Now()
		runs := func(until time.Duration) (began []time.Duration) {
			time.Sleep(time.Until(start.Add(until)))
			synctest.Wait()
			all := jenkins.asked()
			for i, at := range all {
				if i == 0 || at.Sub(all[i-1]) > 30*time.Minute {
					began = append(began, at.Sub(start))
				}
			}
			return began
		}
		within := func(at, least, most time.Duration) {
			t.Helper()
			if at < least || at > most {
				t.Errorf("a reading begins after %s, want between %s and %s", at, least, most)
			}
		}
		first := runs(100 * time.Minute)
		if len(first) != 1 || lines.FilterMessageSnippet("cannot be read").Len() != 1 || tuner.shown() != "1 55s" {
			t.Fatalf("readings began after %v, and the team has %s; %v", first, tuner.shown(), lines.All())
		}
		within(first[0], firstAfter, firstAfter+jitter)
		jenkins.down.Store(false)
		second := runs(160 * time.Minute)[1]
		within(second, first[0]+again, first[0]+again+jitter)
		if lines.FilterMessage("WAIT_VALUE tuned").Len() != 1 || !strings.HasSuffix(tuner.shown(), " 0s") || tuner.shown() == "1 0s" {
			t.Errorf("the team has %s; %v", tuner.shown(), lines.All())
		}
		took, n := time.Duration(0), 0 // of the second reading
		all := jenkins.asked()
		for i, at := range all {
			if at.Sub(start) >= second {
				took, n = at.Sub(all[i-n]), n+1
			}
		}
		if least := time.Duration(n-8) * 2 * time.Second; took < least || n < 27 { // a job with five pages has its pause after them
			t.Errorf("%d requests of 200 ms took %s, want at least %s", n, took, least)
		}
		third := runs(28 * time.Hour)
		within(third[2], second+every, second+every+jitter+took+time.Minute)
		if len(third) != 3 || lines.FilterMessage("WAIT_VALUE tuned").Len() != 2 {
			t.Errorf("readings began after %v", third)
		}
		cancel()
		<-ended
		off, _ := newTuner(t, jenkins, "BELLBOARD_TEAM_WEB_TUNE=false")
		off.Run(t.Context()) // returns at once
	})
}

// TestNoTime checks that replays for which there is no time change nothing.
func TestNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tuner, lines := newTuner(t, office(4), "BELLBOARD_TEAM_WEB_TARGET_WAIT_P95=55s")
		tuner.budget = 0
		if err := tuner.once(t.Context()); err != nil {
			t.Fatal(err)
		}
		if lines.FilterMessage("WAIT_VALUE is not tuned").Len() != 1 || tuner.shown() != "10 55s" {
			t.Errorf("the team has %s; %v", tuner.shown(), lines.All())
		}
	})
}

// TestChoose checks which of several replays wins.
func TestChoose(t *testing.T) {
	f := func(value, paid float64, p95 int) found { return found{value, paid, time.Duration(p95) * time.Second} }
	for _, tt := range []struct {
		name    string
		present found
		others  []found
		want    float64
	}{
		{"the cheapest that reaches it", f(1, 80, 60), []found{f(5, 90, 40), f(10, 100, 30), f(20, 95, 30), f(50, 120, 10)}, 20},
		{"a miss is mended also at a higher price", f(10, 100, 31), []found{f(20, 200, 30)}, 20},
		{"3 % less", f(10, 100, 30), []found{f(5, 97, 30)}, 5},
		{"less than 3 % less", f(10, 100, 30), []found{f(5, 97.1, 30)}, 10},
		{"cheaper, but it misses", f(10, 100, 30), []found{f(5, 50, 31)}, 10},
		{"none reaches it", f(10, 100, 60), []found{f(5, 50, 70), f(20, 200, 50)}, 10},
	} {
		all := append([]found{tt.present}, tt.others...)
		if got, why := choose(tt.present, all, 30*time.Second); got.value != tt.want || why == "" {
			t.Errorf("%s: choose = %g (%s), want %g", tt.name, got.value, why, tt.want)
		}
	}
}

// TestAffordable checks that replays have fewer days if they take long, and never fewer than the least.
func TestAffordable(t *testing.T) {
	for took, want := range map[time.Duration]float64{0: days, time.Second: days, 5 * time.Second: days, 10 * time.Second: 9, 20 * time.Second: 4.5, time.Minute: leastDays} {
		if got := affordable(10*time.Minute, took, 10); got != want {
			t.Errorf("if three days take %s, there is time for %g days, want %g", took, got, want)
		}
	}
}

// TestScenario checks that a replay starts agents as fast as the team's agents start, and makes builds slower on an
// empty cache as much as was learnt.
func TestScenario(t *testing.T) {
	h := &simulate.History{Builds: []simulate.Build{{Length: 100_000}, {Length: 400_000}, {Length: 900_000}}}
	usual := func(kind scaler.Kind, half, most time.Duration) scaler.Usual {
		return scaler.Usual{Kind: kind, Count: 9, Half: half, Most: most}
	}
	e, p := usual(scaler.Ephemeral, 30*time.Second, 38*time.Second), usual(scaler.Persistent, 50*time.Second, 130*time.Second)
	for _, tt := range []struct {
		name  string
		known known
		want  string
	}{
		{"nothing known", known{}, "20s to 1m0s, with a slot 10s more"},
		{"both kinds", known{usual: []scaler.Usual{e, p}}, "20s to 40s, with a slot 20s more"},
		{"one kind", known{usual: []scaler.Usual{p}}, "0s to 2m30s, with a slot 0s more"},
		{"a cache saves a tenth", known{usual: []scaler.Usual{e, p}, weighed: scaler.Weighed{Gain: 20 * time.Second}}, "20s to 40s, with a slot 20s more, cold 0.1 longer"},
	} {
		s := scenario(tt.known, h, 0.07)
		got := fmt.Sprintf("%s to %s, with a slot %s more", s.StartLeast, s.StartMost, s.Attach)
		if s.Cold {
			got += fmt.Sprintf(", cold %g longer", s.ColdShare)
		}
		if got != tt.want || s.SlotPrice != 0.07 {
			t.Errorf("%s: %s at %g, want %s", tt.name, got, s.SlotPrice, tt.want)
		}
	}
}

// TestPast checks which team serves the builds of a label, and of builds whose label Jenkins does not tell.
func TestPast(t *testing.T) {
	tuner, _ := newTuner(t, nil, "BELLBOARD_DEFAULT_TARGET_WAIT_P95=30s", "BELLBOARD_TEAMS=web,data,big", "BELLBOARD_TEAM_DATA_LABELS=linux", "BELLBOARD_TEAM_BIG_LABELS=big", "BELLBOARD_TEAM_BIG_UNLABELLED=true")
	tuner.Observe(scaler.Tick{Facts: scaler.Facts{Builds: []scaler.BuildDone{{PoolID: scaler.PoolID{Team: "big"}, Job: "http:/jenkins/job/f/job/pipe"}}}})
	only, _ := newTuner(t, nil, "BELLBOARD_DEFAULT_TARGET_WAIT_P95=30s")
	got := map[string]string{}
	for _, label := range []string{"docker", "linux", "linux&&persistent", "linux&&ephemeral", "docker&&persistent&&linux", "!linux", "windows", queue.LabelBuiltIn, queue.LabelGone, queue.LabelPipeline} {
		for of, tuner := range map[string]*Tuner{"three": tuner, "one": only} {
			p := tuner.newPast()
			if err := p.add(queue.Past{Run: queue.Run{Job: "f/pipe", Number: 1}, Uses: []queue.Use{{Job: "f/pipe", Label: label, Submitted: time.Now()}}}); err != nil {
				t.Fatal(err)
			}
			for team := range p.builds {
				got[of+" "+label] = team
			}
		}
	}
	want := map[string]string{
		"three docker": "web", "three linux": "data", "three linux&&persistent": "data", "three linux&&ephemeral": "data", "three docker&&persistent&&linux": "web", "three !linux": "big",
		"three (gone)": "big", "three (pipeline)": "big",
		"one docker": "web", "one linux": "web", "one linux&&persistent": "web", "one docker&&persistent&&linux": "web", "one (gone)": "web", "one (pipeline)": "web",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the teams are others (-want +got):\n%s", diff)
	}
	other := tuner.newPast()
	if err := other.add(queue.Past{Uses: []queue.Use{{Job: "never seen", Label: queue.LabelPipeline}}}); err != nil || other.strange != 1 || other.rows != 0 {
		t.Errorf("a pipeline that ran on no agent of Bellboard: %v, %+v", err, other)
	}
	other.rows = mostRows
	if err := other.add(queue.Past{Uses: []queue.Use{{Label: "linux"}}}); err == nil {
		t.Error("there is no bound of rows")
	}
}
