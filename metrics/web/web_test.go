package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
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
	b.Server = web.New(web.Config{
		Gatherer: reg, Now: func() time.Time { return b.now }, MaxAge: time.Minute,
		Replica: func() web.Replica { return web.Replica{Instance: "ci <1>", Version: "v1.2.3", Role: "leader"} },
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
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
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

// TestDecisionsAreSmall checks that a remembered action does not keep the pods and slots of the whole tick in
// memory.
func TestDecisionsAreSmall(t *testing.T) {
	b := newBoard(t)
	acts := func() (pods weak.Pointer[scaler.Pod], slots weak.Pointer[scaler.Slot]) {
		p, s := make([]scaler.Pod, 100), make([]scaler.Slot, 100)
		p[0].Name, s[0].Name = "pets-p-1", "pets-cache-a"
		done := acted("a-1")
		done.Plan.Slots = []scaler.SlotSeen{{}}
		for _, a := range []scaler.Action{{Verb: scaler.DeletePod, Agent: "pets-p-1", Text: "drained", Pod: &p[0]}, {Verb: scaler.DeleteSlot, Slot: &s[0]}} {
			done.Plan.Actions = append(done.Plan.Actions, a)
			done.Outcomes = append(done.Outcomes, scaler.Outcome{Action: a, Result: scaler.Done})
		}
		b.Observe(done)
		if done.Plan.Actions[0].Pod != &p[0] || done.Outcomes[2].Action.Slot != &s[0] {
			t.Error("the record of others is changed")
		}
		return weak.Make(&p[99]), weak.Make(&s[99])
	}
	pods, slots := acts()
	b.Observe(tick("a-2")) // is the last tick, which is whole, from here on
	runtime.GC()
	if pods.Value() != nil || slots.Value() != nil {
		t.Errorf("after the next tick the pods are kept: %v, the slots: %v; want neither", pods.Value() != nil, slots.Value() != nil)
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
	b.want("/", http.StatusOK, "stands by and changes nothing; bellboard-1 leads.")
	if body := b.get("/").Body.String(); strings.Contains(body, "decided last") {
		t.Errorf("the page of a standby tells what was decided:\n%s", body)
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

func TestIndex(t *testing.T) {
	b := newBoard(t)
	b.want("/", http.StatusOK, "Bellboard ci &lt;1&gt;", "v1.2.3", "No tick has ended yet", `href="api/v1/status"`, `href="api/v1/decisions"`, `href="metrics"`, `href="healthz"`, `href="readyz"`)
	seen := tick("a-7")
	seen.Plan.Agents[0].Pod = true
	seen.Plan.Agents = append(seen.Plan.Agents, scaler.Agent{Name: "web-e-2", Class: scaler.Berth, Node: true})
	b.Observe(seen)
	b.want("/", http.StatusOK, "tick a-7 saw 1 agents")
	b.Observe(hold("a-8", scaler.SourceJenkins))
	b.want("/", http.StatusOK, "Holding: cannot read jenkins")
}

// TestPageShowsOthersText checks that a text of a build or a pod cannot change the page or the answers. The
// last lines of a log stay separate lines where they stand alone.
func TestPageShowsOthersText(t *testing.T) {
	const nasty = "x\x1b[2J\u009b\u202eenod\u2028\x7f"
	b := newBoard(t)
	odd := acted("a-1")
	odd.Plan.Decisions = []scaler.Decision{{Team: "web", Text: nasty, Up: map[scaler.Kind]int{scaler.Ephemeral: 1}}}
	odd.Plan.Unserved = []scaler.Unserved{{Label: nasty, Count: 1, Jobs: []string{nasty}, Text: nasty}}
	odd.Plan.Agents = []scaler.Agent{{Name: "web-e-1", PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Class: scaler.Held, Pod: true, Text: nasty}}
	odd.Facts.Failures = []scaler.FailedAgent{{Agent: "web-e-2", Text: nasty, Log: "one\ntwo " + nasty}}
	b.Observe(odd)
	h := hold("a-2", scaler.SourceJenkins)
	h.Hold = nasty
	b.Observe(h)
	for _, path := range []string{"/", "/api/v1/status", "/api/v1/decisions"} {
		body := b.get(path).Body.String()
		for _, r := range body {
			if r != '\n' && r != '\t' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r)) {
				t.Errorf("%s has %U: %q", path, r, body)
				break
			}
		}
	}
	b.want("/", http.StatusOK, `Holding: x\x1b[2J\u009b\u202eenod\u2028\x7f`, "<pre>one\ntwo x")
	if s := decode[web.Status](b, "/api/v1/status"); s.Tick.Hold != nasty {
		t.Errorf("the status says %q, want %q", s.Tick.Hold, nasty)
	}
	b = newBoard(t)
	b.Observe(h)
	b.want("/readyz", http.StatusServiceUnavailable, `not ready: x\x1b[2J`)
}

// TestPage checks that the page shows the teams, their agents and the last changes, in a hold as before the
// hold. Nothing of them is taken for markup.
func TestPage(t *testing.T) {
	b := newBoard(t)
	for i := range 20 {
		grows := acted(fmt.Sprint("a-", i))
		grows.Plan.Decisions = []scaler.Decision{
			{Team: "web", Waiting: 4, Oldest: 90 * time.Second, Free: 1, Coming: 2, Overdue: 1, Busy: 7, Want: 14, Up: map[scaler.Kind]int{scaler.Ephemeral: i}, Text: fmt.Sprint(i, " <waiting>")},
			{Team: "data", Reason: scaler.ReasonBlocked, Text: "at MAX_AGENTS=1", Scheduled: []scaler.Scheduled{{Setting: "MAX_AGENTS", Value: "1", Else: "9", Window: "0 7 * * * for 9h"}}},
		}
		grows.Plan.Agents = []scaler.Agent{
			{Name: "old-e-1", PoolID: scaler.PoolID{Team: "old", Kind: scaler.Ephemeral}, Class: scaler.Busy, Pod: true},
			{Name: "data-p-2", PoolID: scaler.PoolID{Team: "data", Kind: scaler.Persistent}, Class: scaler.Free, Pod: true},
			{Name: "data-p-1", PoolID: scaler.PoolID{Team: "data", Kind: scaler.Persistent}, Class: scaler.Held, Pod: true, Text: `"repair"`},
			{Name: "web-e-berth", PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Class: scaler.Berth, Node: true},
		}
		grows.Plan.Unserved = []scaler.Unserved{{Label: "windows&&gpu", Count: 2, Jobs: []string{"a", "b"}, Text: "no team serves ‘windows&&gpu’"}}
		grows.Plan.Unresolved = []scaler.Unserved{{Count: 1, Jobs: []string{"c"}, Text: "Jenkins does not name the label: ???"}}
		b.Observe(grows)
	}
	b.Observe(hold("a-21", scaler.SourceJenkins))
	b.want(
		"/", http.StatusOK, "Holding: cannot read jenkins",
		`<tr><th scope="row">web<td class="n">4<td class="n">1m30s<td class="n">1<td class="n">2&#43;1 overdue<td class="n">7<td class="n">14<td>&#43;19 ephemeral<td>19 &lt;waiting&gt;</tr>`,
		"<li>data: MAX_AGENTS=1 instead of 9 until Mon 1 Jan 00:00 UTC: 0 7 * * * for 9h</li>",
		"unserved<td>no team serves ‘windows&amp;&amp;gpu’ (jobs: a, b)", "unresolved<td>Jenkins does not name the label: ??? (jobs: c)",
		`<dt>data</dt><dd><span class="agent free persistent" title="data-p-2: persistent, free"></span><span class="agent held persistent" title="data-p-1: persistent, held: &#34;repair&#34;"></span></dd>`,
		`<dt>web</dt><dd></dd>`, `<dt>old</dt><dd><span class="agent busy ephemeral"`,
		`<th scope="row">all<td>hold<td>cannot read jenkins`, `<th scope="row">web<td>&#43;9 ephemeral<td>9 &lt;waiting&gt;`,
	)
	if body := b.get("/").Body.String(); strings.Contains(body, "&#43;8 ephemeral") || strings.Contains(body, "berth") || strings.Index(body, "<dt>web") > strings.Index(body, "<dt>data") || strings.Index(body, "<dt>data") > strings.Index(body, "<dt>old") {
		t.Errorf("the page has more than twelve changes, a name that is no agent yet, or other teams first:\n%s", body)
	}
	css := b.get("/page.css")
	if !strings.HasPrefix(css.Header().Get("Content-Type"), "text/css") || !strings.Contains(css.Body.String(), ".agent") {
		t.Errorf("the style is %q: %s", css.Header(), css.Body)
	}
	// Every class of an agent with a pod has the colour of its group. The classes that leave in order have
	// the default colour.
	leaving := []scaler.Class{scaler.Ended, scaler.Fenced, scaler.Leaving, scaler.Going, scaler.Drained}
	for _, class := range scaler.Classes() {
		if unserved := []scaler.Class{scaler.Berth, scaler.Intruder, scaler.Lost, scaler.Stray}; slices.Contains(unserved, class) {
			continue
		}
		coloured := regexp.MustCompile(`\.` + string(class) + `\b[^{}]*\{ background`).MatchString(css.Body.String())
		if coloured == slices.Contains(leaving, class) {
			t.Errorf("that class %s has a colour of its own is %t", class, coloured)
		}
	}
	trouble := regexp.MustCompile(`\n\.stuck, \.ghost, \.cut, \.reconnecting \{ background: var\(--bad\)`)
	if !trouble.MatchString(css.Body.String()) {
		t.Errorf("trouble has no colour of its own: %s", css.Body)
	}
	b.want("/", http.StatusOK, `<span class="agent going"></span> leaving <span class="agent stuck"></span> not connected`)
}

// TestLeftovers checks that the page shows each Jenkins node without a pod, except berths, and what Bellboard
// does about it. It also shows every cache slot.
func TestLeftovers(t *testing.T) {
	b := newBoard(t)
	b.Observe(tick("a-1"))
	if body := b.get("/").Body.String(); strings.Contains(body, "without a pod") || strings.Contains(body, "Cache slots") {
		t.Errorf("the page shows leftovers and slots where there are none:\n%s", body)
	}
	odd := tick("a-2")
	odd.Plan.Agents = nil
	shown := map[scaler.Class]bool{}
	for i := range 1 << 4 {
		for _, by := range []scaler.OfflineBy{scaler.NotMarked, scaler.Ours, scaler.Hook, scaler.Monitor, scaler.Person} {
			n := &scaler.Node{Online: i&1 > 0, Idle: i&2 > 0, Fence: i&4 > 0, OfflineBy: by}
			class := scaler.Classify(scaler.Pair{Node: n, Pinned: i&8 > 0, Berth: true}, odd.At).Class
			if !shown[class] {
				shown[class] = true
				odd.Plan.Agents = append(odd.Plan.Agents, scaler.Agent{Name: "web-e-" + string(class), Class: class, Node: true, Text: "<repair>"})
			}
		}
	}
	for i := range 6 {
		odd.Plan.Agents = append(odd.Plan.Agents, scaler.Agent{Name: fmt.Sprint("data-p-", i), Class: scaler.Stray, Node: true})
	}
	odd.Plan.Agents = append(odd.Plan.Agents, scaler.Agent{Name: "web-e-pod", Class: scaler.Held, Pod: true, Node: true}) // stands with the agents
	data, pets := scaler.PoolID{Team: "data", Kind: scaler.Persistent}, scaler.PoolID{Team: "pets", Kind: scaler.Persistent}
	odd.Plan.Slots = []scaler.SlotSeen{
		{PoolID: pets, Name: "pets-cache-a", State: scaler.SlotUsed, Agent: "pets-p-1", Uses: 3},
		{PoolID: data, Name: "data-cache-a", State: scaler.SlotFree, LastUsed: odd.At.Add(-3 * time.Minute), Uses: 5},
		{PoolID: data, Name: "data-cache-b", State: scaler.SlotApart, LastUsed: odd.At, Uses: 1, Text: "an agent did not start on <it>"},
	}
	b.Observe(odd)
	b.Observe(hold("a-3", scaler.SourceJenkins))
	body := b.get("/").Body.String()
	for class := range shown {
		if is := strings.Contains(body, "web-e-"+string(class)); is == (class == scaler.Berth) {
			t.Errorf("a node without a pod that is %s is shown: %v", class, is)
		}
	}
	if len(shown) != 9 {
		t.Errorf("a node without a pod is one of %v; want nine classes", shown)
	}
	b.want(
		"/", http.StatusOK, "<li>7 stray: no longer needed; Bellboard marks it, then deletes it, a few at a time: web-e-stray, data-p-0, data-p-1, data-p-2 and 3 more</li>",
		"<li>1 held: a person took it offline; Bellboard leaves it alone: web-e-held (&lt;repair&gt;)</li>", "deletes it after 10 minutes: web-e-lost</li>",
		"<dt>data</dt><dd><ul><li>data-cache-b: aside, unused for 0s, uses 1: an agent did not start on &lt;it&gt;</li><li>data-cache-a: free, unused for 3m0s, uses 5</li></ul></dd>",
		"<dt>pets</dt><dd><ul><li>pets-cache-a: used by pets-p-1, uses 3</li></ul></dd>",
	)
}

// TestFailed checks that the page shows the last failed agents with their last log lines, and how long agents
// take to start.
func TestFailed(t *testing.T) {
	b := newBoard(t)
	for i := range 20 {
		failed := tick(fmt.Sprint("a-", i))
		failed.Facts.Failures = []scaler.FailedAgent{{
			PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Agent: fmt.Sprint("web-e-", i), Failure: scaler.FailureCrashLoop, Text: "its pod ended", Log: "no <space> left",
		}}
		b.Observe(failed)
	}
	started := tick("a-21")
	started.Plan.Decisions[0].Usual = []scaler.Usual{{Kind: scaler.Ephemeral, Count: 3, Half: 14 * time.Second, Most: 20 * time.Second}}
	started.Plan.Agents = append(started.Plan.Agents, scaler.Agent{Name: "web-e-20", Class: scaler.Coming, Overdue: true, Text: "overdue: image pull since 1m"})
	b.Observe(started)
	s := decode[web.Status](b, "/api/v1/status")
	if len(s.Failed) != 12 || s.Failed[0].Agent != "web-e-19" || s.Failed[11].Agent != "web-e-8" || s.Failed[0].Log == "" || s.Failed[0].At.IsZero() {
		t.Errorf("status has %d failed agents, from %+v; want the last 12, the newest first", len(s.Failed), s.Failed)
	}
	b.want("/", http.StatusOK, "web ephemeral web-e-19: crash-loop: its pod ended", "<pre>no &lt;space&gt; left</pre>", "web ephemeral: 14s (9 in 10 within 20s)", "web-e-20: overdue: image pull since 1m")
}

// TestLost checks that the page shows the last agents that builds lost. Their ticks are remembered, though
// Bellboard did nothing in them.
func TestLost(t *testing.T) {
	b := newBoard(t)
	for i := range 20 {
		lost := tick(fmt.Sprint("a-", i))
		lost.Outcomes = nil
		lost.Facts.BuildsLost = []scaler.LostBuilds{{PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Agent: fmt.Sprint("web-e-", i), Builds: 2, Text: "its pod ended: Evicted", Log: "no room"}}
		b.Observe(lost)
	}
	s := decode[web.Status](b, "/api/v1/status")
	if len(s.Lost) != 12 || s.Lost[0].Agent != "web-e-19" || s.Lost[0].Builds != 2 || s.Lost[11].Agent != "web-e-8" || s.Lost[0].At.IsZero() {
		t.Errorf("status has %d lost agents, from %+v; want the last 12, the newest first", len(s.Lost), s.Lost)
	}
	if n := len(decode[web.Decisions](b, "/api/v1/decisions").Ticks); n != 20 {
		t.Errorf("%d ticks are remembered, want 20", n)
	}
	b.want("/", http.StatusOK, "web ephemeral web-e-19: 2 lost: its pod ended: Evicted<pre>no room</pre>")
}

func TestOnlyReads(t *testing.T) {
	b := newBoard(t)
	for _, path := range []string{"/", "/page.css", "/metrics", "/healthz", "/readyz", "/api/v1/status", "/api/v1/decisions"} {
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
}
