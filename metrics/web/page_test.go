package web_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"bellboard/metrics/web"
	"bellboard/scaler"
)

func TestIndex(t *testing.T) {
	b := newBoard(t)
	b.want("/", http.StatusOK, "Bellboard <b>ci &lt;1&gt;</b>", "v1.2.3", "no tick has ended yet", "Bellboard has not read Jenkins and Kubernetes yet.",
		`href="api/v1/status"`, `href="api/v1/decisions"`, `href="metrics"`, `href="healthz"`, `href="readyz"`)
	b.want("/team/web", http.StatusNotFound)
	b.Observe(tick("a-7"))
	b.want("/", http.StatusOK, "tick a-7", "<title>(5) Bellboard ci", `data-process="a"`, `<h1 id="headline" class="headline waiting"><span class="mood waiting">waiting</span> 5 builds wait, the oldest 0s.</h1>`)
	h := hold("a-8", scaler.SourceJenkins)
	h.At = h.At.Add(time.Minute)
	b.Observe(h)
	b.want("/", http.StatusOK, "On hold for 0s: Jenkins cannot be read.", "<b>On hold</b> since 00:17:39 UTC.", "Below is the last view before the hold, of 00:16:39 UTC.", "<p>cannot read jenkins</p>", `<dt>waiting</dt><dd>5</dd>`)
	b.now = b.now.Add(2 * time.Minute)
	b.want("/", http.StatusOK, "<b>Stuck.</b> No tick has ended for 2m.")
}

// TestPageShowsOthersText checks that a text of a build or a pod cannot change the page or the answers. The
// last lines of a log stay separate lines where they stand alone.
func TestPageShowsOthersText(t *testing.T) {
	const nasty = "x\x1b[2J\u009b\u202eenod\u2028\x7f<script>"
	b := newBoard(t)
	odd := acted("a-1")
	odd.Plan.Decisions = []scaler.Decision{{Team: "web", Text: nasty, Up: map[scaler.Kind]int{scaler.Ephemeral: 1}, Steps: []scaler.Step{{Note: nasty}}}}
	odd.Outcomes = []scaler.Outcome{{Action: scaler.Action{Pool: scaler.PoolID{Team: "web"}}, Result: scaler.Failed, Error: nasty}}
	odd.Plan.Unserved = []scaler.Unserved{{Label: nasty, Count: 1, Jobs: []string{nasty}, Text: nasty}}
	odd.Plan.Agents = []scaler.Agent{{
		Name: "web-e-1", PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Class: scaler.Held, Pod: true, Node: true, Text: nasty,
		Build: "javascript:alert(1)/job/" + nasty + "/1/",
	}}
	odd.Facts.Failures = []scaler.FailedAgent{{PoolID: scaler.PoolID{Team: "web"}, Agent: "web-e-2", Text: nasty, Log: "one\ntwo " + nasty}}
	b.Observe(odd)
	h := hold("a-2", scaler.SourceJenkins)
	h.Hold = nasty
	b.Observe(h)
	for _, path := range []string{"/", "/team/web", "/api/v1/status", "/api/v1/decisions"} {
		body := b.get(path).Body.String()
		for _, r := range body {
			if r != '\n' && r != '\t' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r)) {
				t.Errorf("%s has %U: %q", path, r, body)
				break
			}
		}
		if strings.Contains(body, "<script>") || strings.Contains(body, `="javascript:`) {
			t.Errorf("%s lets others write markup: %s", path, body)
		}
	}
	b.want("/", http.StatusOK, `<p>x\x1b[2J\u009b\u202eenod\u2028\x7f&lt;script&gt;</p>`, ">one\ntwo x")
	b.want("/team/web", http.StatusOK, ">one\ntwo x", `1 : failed: x\x1b[2J`)
	if s := decode[web.Status](b, "/api/v1/status"); s.Tick.Hold != nasty {
		t.Errorf("the status says %q, want %q", s.Tick.Hold, nasty)
	}
	b = newBoard(t)
	b.Observe(h)
	b.want("/readyz", http.StatusServiceUnavailable, `not ready: x\x1b[2J`)
}

// busyDay is a board that has seen a day with everything that a page can show, and holds now.
func busyDay(t *testing.T) *board {
	b := newBoard(t)
	data, ephemeral := scaler.PoolID{Team: "data", Kind: scaler.Persistent}, scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	for i := range 20 {
		grows := acted(fmt.Sprint("a-", i))
		grows.At = b.now
		if i == 0 {
			grows.At = b.now.Add(-time.Minute) // so that agents have cost something
		}
		grows.Outcomes = []scaler.Outcome{
			{Action: scaler.Action{Verb: scaler.Create, Pool: ephemeral}, Result: scaler.Done},
			{Action: scaler.Action{Verb: scaler.Create, Pool: ephemeral}, Result: scaler.Done},
			{Action: scaler.Action{Verb: scaler.Create, Pool: ephemeral}, Result: scaler.Rejected, Error: "no <quota>"},
		}
		grows.Plan.Decisions = []scaler.Decision{
			{Team: "data", Reason: scaler.ReasonBlocked, Text: "at MAX_AGENTS=1", MaxAgents: 1, Scheduled: []scaler.Scheduled{{Setting: "MAX_AGENTS", Value: "1", Else: "9", Window: "0 7 * * * for 9h"}}},
			{
				Team: "web", Waiting: 4, Oldest: 90 * time.Second, Free: 1, Coming: 2, Overdue: 1, Busy: 7, Want: 14, Alive: 11, MaxAgents: 12,
				Up: map[scaler.Kind]int{scaler.Ephemeral: i}, Text: fmt.Sprint(i, " <waiting>"), Steps: []scaler.Step{{Rule: scaler.RuleMaxAgents, From: 20, To: i, Limit: 12}},
				Usual: []scaler.Usual{{Kind: scaler.Ephemeral, Count: 3, Half: 14 * time.Second, Most: 20 * time.Second}},
			},
		}
		grows.Plan.Agents = []scaler.Agent{
			{Name: "old-e-1", PoolID: scaler.PoolID{Team: "old", Kind: scaler.Ephemeral}, Class: scaler.Busy, Pod: true},
			{Name: "data-p-2", PoolID: data, Class: scaler.Free, Pod: true},
			{Name: "data-p-1", PoolID: data, Class: scaler.Held, Pod: true, Text: `"repair"`},
			{Name: "web-e-berth", PoolID: ephemeral, Class: scaler.Berth, Node: true},
			{Name: "web-e-2", PoolID: ephemeral, Class: scaler.Coming, Pod: true, Node: true, Created: b.now.Add(-80 * time.Second), Phase: scaler.PhasePull, Overdue: true, Text: "overdue: image pull since 1m"},
			{Name: "web-e-1", PoolID: ephemeral, Class: scaler.Busy, Pod: true, Node: true, Build: "https://ci.example.com/job/team/job/my%20app/12/"},
		}
		grows.Plan.Slots = []scaler.SlotSeen{
			{PoolID: scaler.PoolID{Team: "pets"}, Name: "pets-cache-a", State: scaler.SlotUsed, Agent: "pets-p-1", Uses: 3},
			{PoolID: data, Name: "data-cache-c", State: scaler.SlotUsed, Agent: "data-p-1", Uses: 3},
			{PoolID: data, Name: "data-cache-a", State: scaler.SlotFree, LastUsed: b.now.Add(-3 * time.Minute), Uses: 5},
			{PoolID: data, Name: "data-cache-b", State: scaler.SlotApart, LastUsed: b.now, Uses: 1, Text: "an agent did not start on <it>"},
		}
		grows.Plan.Unserved = []scaler.Unserved{{Label: "windows&&gpu", Count: 2, Oldest: time.Hour, Jobs: []string{"a", "b"}, Text: "no team serves ‘windows&&gpu’", Near: &scaler.Near{Team: "web", Lacks: []string{"gpu", "windows"}}}}
		grows.Plan.Unresolved = []scaler.Unserved{{Count: 1, Jobs: []string{"c"}, Text: "Jenkins does not name the label: ???"}}
		grows.Facts.Failures = []scaler.FailedAgent{{PoolID: ephemeral, Agent: fmt.Sprint("web-e-", i), Failure: scaler.FailureCrashLoop, Text: "its pod ended", Log: "no <space> left"}}
		grows.Facts.BuildsLost = []scaler.LostBuilds{{PoolID: data, Agent: fmt.Sprint("data-p-", i), Builds: 2, Text: "its pod ended: Evicted", Log: "no room"}}
		grows.Facts.Waits = []scaler.Wait{{Team: "web", Took: 10 * time.Second}}
		b.Observe(grows)
	}
	b.Observe(hold("a-21", scaler.SourceJenkins))
	return b
}

// TestPage checks that the first page shows the teams, the worst first, what waits for nobody, and the last
// changes with what they were made from. A hold shows what was seen before it. Nothing is taken for markup.
func TestPage(t *testing.T) {
	b := busyDay(t)
	b.want(
		"/", http.StatusOK, "On hold for 0s: Jenkins cannot be read.",
		`<dt>waiting</dt><dd>7</dd>`, `<dt>oldest</dt><dd>1h</dd>`, `<dt>alive of 60</dt><dd>11</dd>`, `<dd>11s <small>of 20 builds</small></dd>`,
		`<tr id="t-web" class="waiting"><th scope="row"><a href="team/web">web</a> <span class="mood waiting">waiting</span></th><td><b>4</b>, oldest 1m30s</td>`,
		`1 starting, 1 busy</td><td class="n">11 of 12</td><td><b>&#43;19 ephemeral</b>: 19 &lt;waiting&gt;</td></tr>`,
		`1 held by a person, 1 free</td>`, "no longer in the settings: its agents finish and go",
		`<li><b>2</b> wait, the oldest 1h: no team serves ‘windows&amp;&amp;gpu’ <span class="soft">(jobs: a, b)</span><br>To serve them: add ‘gpu’ and ‘windows’ to BELLBOARD_TEAM_WEB_LABELS, if`,
		`<li><b>1</b> waits, the oldest 0s: Jenkins does not name the label: ??? <span class="soft">(jobs: c)</span></li>`,
		"<li>data: MAX_AGENTS=1 instead of 9 until Mon 1 Jan 00:00 UTC: 0 7 * * * for 9h</li>",
		"<li>web-e-2: overdue: image pull since 1m</li>", "Today: <b>0.02</b> for 0.1 hours of agents, 40 % idle",
		`<b>all</b> <span>hold</span> <span class="why">cannot read jenkins</span>`, `<b>web</b> <span>&#43;9 ephemeral</span> <span class="why">9 &lt;waiting&gt;</span>`,
		`<details id="d-a-19-web">`, `4, the oldest 1m30s</dd>`, `7 busy, 1 free, 2&#43;1 overdue on the way`,
		"<li>max-agents: 19 instead of 20, the limit is 12</li>", "<li>&#43;19 ephemeral; 14 agents wanted</li><li>2 create: done</li><li>1 create: rejected: no &lt;quota&gt;</li>",
		`<span>crash-loop</span> <span class="why">its pod ended</span></summary><p>ephemeral agent web-e-19</p><pre tabindex="0">no &lt;space&gt; left</pre>`,
		`<b>data</b> <span>2 lost</span> <span class="why">its pod ended: Evicted</span>`, `<pre tabindex="0">no room</pre>`,
	)
	body := b.get("/").Body.String()
	if strings.Contains(body, "&#43;8 ephemeral") || strings.Contains(body, "berth") {
		t.Errorf("the page has more than twelve changes, or a name that is no agent yet:\n%s", body)
	}
	order := []string{`id="t-web"`, `id="t-old"`, `id="t-data"`}
	if !slices.IsSortedFunc(order, func(x, y string) int { return strings.Index(body, x) - strings.Index(body, y) }) {
		t.Errorf("the worst team is not the first one:\n%s", body)
	}
	if s := decode[web.Status](b, "/api/v1/status"); len(s.Failed) != 12 || s.Failed[0].Agent != "web-e-19" || s.Failed[11].Agent != "web-e-8" || s.Failed[0].Log == "" || s.Failed[0].At.IsZero() {
		t.Errorf("status has %d failed agents, from %+v; want the last 12, the newest first", len(s.Failed), s.Failed)
	}
}

// TestTeam checks that the page of a team has its agents, decisions, failures, slots, start-ups and settings,
// and nothing of other teams.
func TestTeam(t *testing.T) {
	b := busyDay(t)
	b.want(
		"/team/web", http.StatusOK, `<h1 id="headline" class="headline waiting"><span class="mood waiting">waiting</span> web: 19 &lt;waiting&gt;</h1>`, "<b>On hold</b>",
		`<dt>alive of 12</dt><dd>11</dd>`,
		`<tr id="a-web-e-2"><th scope="row"><code>web-e-2</code></th><td><i class="coming"></i>starting <span class="soft">ephemeral, pull, overdue</span></td><td class="n">1m20s</td><td>–</td><td><a href="https://ci.example.com/computer/web-e-2/" aria-label="node web-e-2 in Jenkins">node</a> overdue: image pull since 1m</td></tr>`,
		`<a href="https://ci.example.com/job/team/job/my%20app/12/">team/my app #12</a>`,
		"<li>ephemeral: 14s (9 in 10 within 20s)</li>", "<span>crash-loop</span>", `id="d-a-19-web"`,
		`<th scope="row">BELLBOARD_TEAM_WEB_LABELS</th><td>linux &lt;x&gt;</td><td>BELLBOARD_DEFAULT_LABELS</td>`,
	)
	if body := b.get("/team/web").Body.String(); strings.Contains(body, "berth") || strings.Contains(body, "data-p-") || strings.Contains(body, "Cache slots") {
		t.Errorf("the page of web shows a berth, or what is data's:\n%s", body)
	}
	b.want(
		"/team/data", http.StatusOK, `<i class="held"></i>held by a person <span class="soft">persistent</span>`, `&#34;repair&#34;`,
		`<li><code>data-cache-b</code>: aside, unused for 0s, uses 1: an agent did not start on &lt;it&gt;</li>
<li><code>data-cache-a</code>: free, unused for 3m, uses 5</li>
<li><code>data-cache-c</code>: used by data-p-1, uses 3</li>`, "<li>MAX_AGENTS=1 instead of 9 until Mon 1 Jan 00:00 UTC",
		"<span>2 lost</span>",
	)
	if body := b.get("/team/data").Body.String(); strings.Contains(body, "crash-loop") || strings.Contains(body, "ephemeral") || strings.Contains(body, "BELLBOARD_TEAM_WEB") {
		t.Errorf("the page of data shows what is web's:\n%s", body)
	}
	b.want("/team/old", http.StatusOK, "old is no longer in the settings. Its agents finish and go.", "old-e-1")
	b = newBoard(t) // before any build shows Jenkins' address
	idle := tick("a-1")
	idle.Plan.Agents[0].Pod, idle.Plan.Agents[0].Node = true, true
	b.Observe(idle)
	b.want("/team/web", http.StatusOK, `href="http://jenkins.svc/ci/computer/web-e-1/"`)
}

// TestLeftovers checks that the page shows each Jenkins node without a pod, except berths, and what Bellboard
// does about it.
func TestLeftovers(t *testing.T) {
	b := newBoard(t)
	b.Observe(tick("a-1"))
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
	)
}

// TestColours: each group of agents has a colour of its own, except those that leave in order. A word stands
// beside every colour: TestPage and TestTeam see them.
func TestColours(t *testing.T) {
	css := newBoard(t).get("/page.css")
	if !strings.HasPrefix(css.Header().Get("Content-Type"), "text/css") {
		t.Errorf("the style is %q", css.Header())
	}
	seen := map[string]string{}
	for _, class := range []string{"busy", "draining", "free", "coming", "held", "awaited", "stuck"} {
		m := regexp.MustCompile(`i\.` + class + `[^{}]*\{ background: (var\(--\w+\))`).FindStringSubmatch(css.Body.String())
		fill := regexp.MustCompile(`(?m)^\.` + class + `[^{}]*\{ fill: (var\(--\w+\))`).FindStringSubmatch(css.Body.String())
		if m == nil || fill == nil || m[1] != fill[1] || seen[m[1]] != "" {
			t.Errorf("class %s has the colours %q and %q; %s has it, too", class, m, fill, seen[m[1]])
			continue
		}
		seen[m[1]] = class
	}
	for _, mood := range scaler.Moods() {
		if !strings.Contains(css.Body.String(), ".headline."+string(mood)) {
			t.Errorf("mood %s has no colour", mood)
		}
	}
}

// TestNothingInline: the page obeys its own Content-Security-Policy, and works below any path.
func TestNothingInline(t *testing.T) {
	b := busyDay(t)
	for path, root := range map[string]string{"/": "", "/team/web": "../"} {
		w := b.get(path)
		policy := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
			if !slices.Contains(strings.Split(policy, "; "), want) {
				t.Errorf("%s: the policy %q has no %q", path, policy, want)
			}
		}
		body := w.Body.String()
		if m := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script(?: [^>]*)?>[^<]`).FindString(body); m != "" {
			t.Errorf("%s has %q inline", path, m)
		}
		for _, m := range regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllStringSubmatch(body, -1) {
			if strings.HasPrefix(m[1], "/") {
				t.Errorf("%s links to %s, which is wrong below another path", path, m[1])
			}
		}
		for _, want := range []string{`<script src="` + root + `page.js" defer></script>`, `<noscript><meta http-equiv="refresh" content="10"></noscript>`, `<html lang="en">`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s has no %s", path, want)
			}
		}
	}
	b.want("/page.js", http.StatusOK, "fetch(location.href")
}

// TestSizes: 40 teams with 5,000 agents, all with something to say, and one team with all of them.
func TestSizes(t *testing.T) {
	const document, update = 300_000, 20_000
	for _, teams := range []int{1, 40} {
		b := newBoard(t)
		b.fill(teams)
		b.want("/", http.StatusOK, "Last 7 days: <b>10.00</b> for 83.3 hours of agents")
		for _, path := range []string{"/", "/team/team-0"} {
			whole, zipped := b.get(path).Body.Len(), b.get(path, "Accept-Encoding", "gzip")
			if zipped.Header().Get("Content-Encoding") != "gzip" {
				t.Errorf("%s is not compressed", path)
			}
			t.Logf("%d teams: %s has %d bytes, %d compressed", teams, path, whole, zipped.Body.Len())
			if whole > document || zipped.Body.Len() > update {
				t.Errorf("%d teams: %s has %d bytes, %d compressed; want at most %d and %d", teams, path, whole, zipped.Body.Len(), document, update)
			}
		}
	}
	b := newBoard(t)
	b.Observe(crowd(b.now, 1, 5000, 24*60-1))
	b.want("/team/team-0", http.StatusOK, "And 4800 more:")
}

// fill makes the board see a day of many teams, with 5,000 agents at its end.
func (b *board) fill(teams int) {
	for minute := range 24 * 60 {
		b.Observe(crowd(b.now, teams, 5000, minute))
		b.now = b.now.Add(time.Minute)
	}
	b.Observe(crowd(b.now, teams, 5000, 24*60-1)) // the agents of the tick before have cost something
}

// crowd is a tick of many teams and agents.
func crowd(now time.Time, teams, agents, minute int) scaler.Tick {
	t := acted(fmt.Sprintf("x5kq7zt2-%d", minute))
	t.At, t.Plan.Decisions, t.Plan.Agents = now, nil, nil
	random := uint32(minute)
	next := func(n int) int {
		random = random*1664525 + 1013904223
		return int(random>>8) % n
	}
	for i := range teams {
		t.Plan.Decisions = append(t.Plan.Decisions, scaler.Decision{
			Team: fmt.Sprint("team-", i), Waiting: 1 + next(30), Oldest: time.Duration(next(200)) * time.Second, Busy: next(100), Free: next(9), Coming: next(20),
			Want: next(130), Alive: agents / teams, MaxAgents: agents/teams + 10, Up: map[scaler.Kind]int{scaler.Ephemeral: next(5)},
			Text:  fmt.Sprintf("%d waiting, %d free, %d on the way, usually %ds; all teams together at BELLBOARD_MAX_AGENTS=5000", next(30), next(9), next(20), next(60)),
			Steps: []scaler.Step{{Rule: scaler.RuleMaxAgents, From: next(50), To: next(10), Limit: 130}},
		})
	}
	if minute < 24*60-1 {
		return t // the history needs the numbers alone
	}
	return withAgents(t, now, teams, agents, next)
}

func withAgents(t scaler.Tick, now time.Time, teams, agents int, next func(int) int) scaler.Tick {
	classes := []scaler.Class{scaler.Busy, scaler.Busy, scaler.Free, scaler.Coming, scaler.Draining}
	for i := range agents {
		team := fmt.Sprint("team-", i%teams)
		name := fmt.Sprintf("%s-e-%08x", team, next(1<<24)*977)
		t.Plan.Agents = append(t.Plan.Agents, scaler.Agent{
			Name: name, PoolID: scaler.PoolID{Team: team, Kind: scaler.Ephemeral}, Class: classes[next(len(classes))], Pod: true, Node: true,
			Created: now.Add(-time.Duration(next(4000)) * time.Second), Build: fmt.Sprintf("https://ci.example.com/job/job-%d/%d/", next(300), next(5000)),
		})
	}
	for i := range 12 {
		t.Facts.Failures = append(t.Facts.Failures, scaler.FailedAgent{PoolID: scaler.PoolID{Team: "team-0"}, Agent: fmt.Sprint("team-0-e-", i), Log: strings.Repeat("a line of a log\n", 20)})
	}
	return t
}
