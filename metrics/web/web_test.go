package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/prometheus/client_golang/prometheus"

	"bellboard/metrics/web"
	"bellboard/scaler"
)

// board is a server with a clock that stands still until a test moves it.
type board struct {
	*web.Server

	t     *testing.T
	now   time.Time
	paper scaler.Newspaper
}

// Observe finds the news of the tick first, as a loop does.
func (b *board) Observe(t scaler.Tick) {
	b.paper.Read(&t)
	b.Server.Observe(t)
}

func newBoard(t *testing.T) *board {
	t.Helper()
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "some_total", Help: "Some."})
	c.(prometheus.ExemplarAdder).AddWithExemplar(1, prometheus.Labels{"decision_id": "a-1"})
	reg.MustRegister(c)
	b := &board{t: t, now: time.Unix(1000, 0)}
	costs := map[scaler.PoolID]float64{{Team: "web", Kind: scaler.Ephemeral}: 0.5, {Team: "web", Kind: scaler.Persistent}: 2}
	for i := range 40 { // the teams of crowd
		costs[scaler.PoolID{Team: fmt.Sprint("team-", i), Kind: scaler.Ephemeral}] = 0.12
	}
	b.Server = web.New(web.Config{
		Gatherer: reg, Now: func() time.Time { return b.now }, MaxAge: time.Minute, JenkinsURL: "http://jenkins.svc/ci/", MaxAgents: 60,
		Settings: map[string][]web.Setting{"web": {{Variable: "BELLBOARD_TEAM_WEB_LABELS", Value: "linux <x>", Origin: "BELLBOARD_DEFAULT_LABELS"}}},
		Costs:    costs,
		Replica:  func() web.Replica { return web.Replica{Instance: "ci <1>", Version: "v1.2.3", Role: "leader"} },
	})
	return b
}

func (b *board) get(path string, header ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func (b *board) want(path string, code int, words ...string) {
	b.t.Helper()
	w := b.get(path)
	if w.Code != code {
		b.t.Errorf("GET %s = %d, want %d; it says %s", path, w.Code, code, w.Body)
	}
	for _, word := range words {
		if !strings.Contains(w.Body.String(), word) {
			b.t.Errorf("GET %s does not say %q: %s", path, word, w.Body)
		}
	}
}

func decode[T any](b *board, path string) (out T) {
	b.t.Helper()
	w := b.get(path)
	if got := w.Header().Get("Content-Type"); got != "application/json" || w.Code != http.StatusOK {
		b.t.Fatalf("GET %s = %d %s", path, w.Code, got)
	}
	if err := web.ReadJSON(w.Body.Bytes(), &out); err != nil {
		b.t.Fatalf("GET %s: %v in %s", path, err, w.Body)
	}
	return out
}

func tick(id string) scaler.Tick {
	return scaler.Tick{ID: id, At: time.Unix(999, 0), Plan: scaler.Plan{
		Agents:    []scaler.Agent{{Name: "web-e-1", PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Class: scaler.Busy}},
		Decisions: []scaler.Decision{{Team: "web", Waiting: 5, Reason: scaler.ReasonDemand, Text: "5 waiting"}},
	}}
}

func acted(id string) scaler.Tick {
	t := tick(id)
	t.Outcomes = []scaler.Outcome{{Action: scaler.Action{Verb: scaler.Create}, Result: scaler.Done}}
	return t
}

func hold(id string, by scaler.Source) scaler.Tick {
	return scaler.Tick{ID: id, At: time.Unix(999, 0), Hold: "cannot read " + string(by), HoldBy: by}
}

func TestHealthIsTheLoops(t *testing.T) {
	b := newBoard(t)
	b.want("/healthz", http.StatusOK, "ok")
	b.now = b.now.Add(61 * time.Second)
	b.want("/healthz", http.StatusServiceUnavailable, "no tick has ended for 1m1s")
	b.Observe(hold("a-1", scaler.SourceJenkins))
	b.want("/healthz", http.StatusOK)
	b.now = b.now.Add(time.Minute)
	b.want("/healthz", http.StatusOK)
	b.now = b.now.Add(time.Second)
	b.want("/healthz", http.StatusServiceUnavailable, "stuck")
}

func TestReadyFromTheFirstSight(t *testing.T) {
	b := newBoard(t)
	b.want("/readyz", http.StatusServiceUnavailable, "no tick has ended yet")
	b.Observe(hold("a-1", scaler.SourceJenkins))
	b.want("/readyz", http.StatusServiceUnavailable, "cannot read jenkins")
	b.Observe(tick("a-2"))
	b.want("/readyz", http.StatusOK, "ok")
	b.Observe(hold("a-3", scaler.SourceJenkins))
	b.want("/readyz", http.StatusOK) // the answers of a ready Bellboard stay reachable while Jenkins restarts
}

// TestWhy checks that an answer is about what was asked for, and says so if nothing is known yet.
func TestWhy(t *testing.T) {
	b := newBoard(t)
	if w := decode[web.Why](b, "/api/v1/why?of=web"); w.None != "Bellboard has not read Jenkins and Kubernetes yet." || w.None != w.Headline || w.Of != "web" {
		t.Errorf("before the first tick: %+v", w)
	}
	k := tick("a-1")
	for i, job := range []string{"shop", "shop", "nightly"} {
		k.Items = append(k.Items, scaler.Item{Job: job, Label: "linux", State: scaler.Buildable, Resolution: scaler.Labelled, Since: k.At.Add(-time.Duration(90-i) * time.Second)})
	}
	k.Plan.Demands = []scaler.Demand{{Label: "linux", Builds: 3, Short: 1, Teams: []string{"web"}}}
	b.Observe(k)
	if w := decode[web.Why](b, "/api/v1/why?of=shop"); len(w.Queued) != 1 || w.Queued[0].Builds != 2 || w.Queued[0].Team != "web" || len(w.Queued[0].Why) != 5 || w.None != "" || w.Mood != scaler.MoodWaiting {
		t.Errorf("two builds of one job: %+v", w)
	}
	if w := decode[web.Why](b, "/api/v1/why"); len(w.Queued) != 2 {
		t.Errorf("all builds: %+v", w)
	}
	b.Observe(hold("a-2", scaler.SourceJenkins))
	if w := decode[web.Why](b, "/api/v1/why?of=nobody"); w.Mood != scaler.MoodHold || len(w.Queued) != 0 || !strings.Contains(w.None, "‘nobody’") || !strings.HasPrefix(w.Headline, "On hold") {
		t.Errorf("in a hold: %+v", w)
	}
	if text := b.get("/api/v1/why?of=shop").Body.String(); !strings.Contains(text, `"oldest": "1m30s"`) {
		t.Errorf("a duration without its unit: %s", text)
	}
}

func TestStatus(t *testing.T) {
	b := newBoard(t)
	s := decode[web.Status](b, "/api/v1/status")
	if s.Instance != "ci <1>" || s.Version != "v1.2.3" || s.Ready || s.Tick != nil || !s.Now.Equal(b.now) {
		t.Errorf("before the first tick: %+v", s)
	}
	b.Observe(tick("a-1"))
	if s = decode[web.Status](b, "/api/v1/status"); !s.Ready || s.Tick.ID != "a-1" || s.Seen != nil || s.Tick.Plan.Decisions[0].Waiting != 5 || s.Tick.Plan.Agents[0].Team != "web" {
		t.Errorf("after a tick: %+v", s)
	}
	if s.Headline != "5 builds wait, the oldest 0s." || s.Max != 60 || s.Waiting != 5 || s.Mood != scaler.MoodWaiting {
		t.Errorf("the page's words and numbers: %q, %+v of %d", s.Headline, s.Sum, s.Max)
	}
	b.want("/api/v1/status?team=web", http.StatusOK)
	b.want("/api/v1/status?team=wbe", http.StatusNotFound, "no team ‘wbe’; the teams are: web")
	b.Observe(hold("a-2", scaler.SourceKubernetes))
	if s = decode[web.Status](b, "/api/v1/status"); s.Tick.ID != "a-2" || s.Seen == nil || s.Seen.ID != "a-1" || len(s.Seen.Plan.Agents) != 1 {
		t.Errorf("in a hold: %+v", s)
	}
}

func TestDecisions(t *testing.T) {
	b := newBoard(t)
	ids := func() string {
		var out []string
		for _, t := range decode[web.Decisions](b, "/api/v1/decisions").Ticks {
			out = append(out, t.ID)
		}
		return strings.Join(out, " ")
	}
	if got := b.get("/api/v1/decisions").Body.String(); !strings.Contains(got, `"ticks": []`) {
		t.Errorf("without any: %s, want an empty list", got)
	}
	for _, tick := range []scaler.Tick{
		tick("steady"), acted("first"), hold("begins", scaler.SourceJenkins), hold("goes-on", scaler.SourceJenkins),
		hold("other", scaler.SourceKubernetes),
		{ID: "class", Hold: "cannot read kubernetes", HoldBy: scaler.SourceKubernetes, HoldCause: "forbidden"},
		tick("ends"), tick("steady"), acted("last"),
	} {
		b.Observe(tick)
	}
	if got, want := ids(), "last ends class other begins first"; got != want {
		t.Errorf("decisions %q, want %q", got, want)
	}
	d := decode[web.Decisions](b, "/api/v1/decisions")
	if len(d.Ticks[0].Plan.Decisions) != 1 || d.Ticks[0].Plan.Agents != nil {
		t.Errorf("a decision is %+v, want it with its inputs and without the agents", d.Ticks[0].Plan)
	}
	if s := decode[web.Status](b, "/api/v1/status"); len(s.Tick.Plan.Agents) != 1 {
		t.Error("keeping a decision took the agents from the last tick")
	}
	for i := range d.Kept + 10 {
		b.Observe(acted(fmt.Sprint(i)))
	}
	d = decode[web.Decisions](b, "/api/v1/decisions")
	if first, last := d.Ticks[0].ID, d.Ticks[len(d.Ticks)-1].ID; len(d.Ticks) != d.Kept || first != fmt.Sprint(d.Kept+9) || last != "10" {
		t.Errorf("a full ring holds %d from %s to %s, want %d from %d to 10", len(d.Ticks), first, last, d.Kept, d.Kept+9)
	}
}

// TestDecisionsAreSmall checks that a remembered action does not keep the pods, slots and items of the whole
// tick in memory.
func TestDecisionsAreSmall(t *testing.T) {
	b := newBoard(t)
	acts := func() (pods weak.Pointer[scaler.Pod], slots weak.Pointer[scaler.Slot], items weak.Pointer[scaler.Item]) {
		p, s, q := make([]scaler.Pod, 100), make([]scaler.Slot, 100), make([]scaler.Item, 100)
		p[0].Name, s[0].Name = "pets-p-1", "pets-cache-a"
		done := acted("a-1")
		done.Plan.Slots, done.Items = []scaler.SlotSeen{{}}, q
		for _, a := range []scaler.Action{{Verb: scaler.DeletePod, Agent: "pets-p-1", Text: "drained", Pod: &p[0]}, {Verb: scaler.DeleteSlot, Slot: &s[0]}} {
			done.Plan.Actions = append(done.Plan.Actions, a)
			done.Outcomes = append(done.Outcomes, scaler.Outcome{Action: a, Result: scaler.Done})
		}
		b.Observe(done)
		if done.Plan.Actions[0].Pod != &p[0] || done.Outcomes[2].Action.Slot != &s[0] {
			t.Error("the record of others is changed")
		}
		return weak.Make(&p[99]), weak.Make(&s[99]), weak.Make(&q[99])
	}
	pods, slots, items := acts()
	b.Observe(tick("a-2")) // is the last tick, which is whole, from here on
	runtime.GC()
	if pods.Value() != nil || slots.Value() != nil || items.Value() != nil {
		t.Errorf("after the next tick the pods are kept: %v, the slots: %v, the items: %v; want none", pods.Value() != nil, slots.Value() != nil, items.Value() != nil)
	}
	d := decode[web.Decisions](b, "/api/v1/decisions").Ticks[0]
	deletes, retires := d.Outcomes[1].Action, d.Plan.Actions[1]
	if deletes.Agent != "pets-p-1" || deletes.Text != "drained" || retires.Slot == nil || retires.Slot.Name != "pets-cache-a" || d.Plan.Slots != nil {
		t.Errorf("the decision says %+v, %+v, and has %d slots; want the agent, the slot, and no list of slots", deletes, retires, len(d.Plan.Slots))
	}
	runtime.KeepAlive(b)
}

// TestStandby checks that a standby says what it is and which replica leads. It shows nothing as done that it
// only would have done, not even in a tick that is remembered for something else.
func TestStandby(t *testing.T) {
	s := web.New(web.Config{
		Gatherer: prometheus.NewRegistry(), Now: time.Now, Replica: func() web.Replica { return web.Replica{Role: "standby", Leader: "bellboard-1"} },
	})
	b := &board{Server: s, t: t}
	would := acted("a-1")
	would.Plan.Decisions[0].Up = map[scaler.Kind]int{scaler.Ephemeral: 5}
	would.Outcomes[0].Result = scaler.Skipped
	b.Observe(would)
	if n := len(decode[web.Decisions](b, "/api/v1/decisions").Ticks); n != 0 {
		t.Errorf("%d ticks changed something, want none", n)
	}
	would.ID, would.Facts.BuildsLost = "a-2", []scaler.LostBuilds{{Agent: "web-e-1", Builds: 1}}
	b.Observe(would)
	b.want("/", http.StatusOK, "stands by and changes nothing; bellboard-1 leads.", "what it would do if it started now", "<b>&#43;5 ephemeral</b>: 5 waiting")
	if body := b.get("/").Body.String(); strings.Contains(body, "What Bellboard did") {
		t.Errorf("the page of a standby tells what was done:\n%s", body)
	}
	if s := decode[web.Status](b, "/api/v1/status"); s.Role != "standby" || s.Leader != "bellboard-1" {
		t.Errorf("role %q, leader %q", s.Role, s.Leader)
	}
}

func TestMetrics(t *testing.T) {
	b := newBoard(t)
	b.want("/metrics", http.StatusOK, "some_total 1\n")
	w := b.get("/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if got := w.Body.String(); !strings.Contains(got, `# {decision_id="a-1"}`) || !strings.HasSuffix(got, "# EOF\n") {
		t.Errorf("OpenMetrics without the exemplar or its end:\n%s", got)
	}
}

func TestOnlyReads(t *testing.T) {
	b := newBoard(t)
	b.Observe(tick("a-1"))
	for _, path := range []string{"/", "/team/web", "/page.css", "/page.js", "/bell.svg", "/metrics", "/healthz", "/readyz", "/api/v1/status", "/api/v1/decisions"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			w := httptest.NewRecorder()
			b.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			if w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s = %d, want 405", method, path, w.Code)
			}
		}
		h := b.get(path).Header()
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
			if h.Get(name) != want {
				t.Errorf("GET %s: %s is %q, want %q", path, name, h.Get(name), want)
			}
		}
		if h.Get("Set-Cookie") != "" {
			t.Errorf("GET %s sets a cookie", path)
		}
	}
	b.want("/nothing", http.StatusNotFound)
	b.want("/team/nobody", http.StatusNotFound)
}
