package jenkinssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// onPurpose has every difference between this Jenkins and the recorded one, with the reason.
// A difference that is not here fails the test. A line without a difference fails it too.
var onPurpose = []struct{ file, note, path, reason string }{
	{"nodes", "HMAC of the name", "not asked", "there is no script console; the secret's being a function of the name is checked by the remark after it"},
	{"why", "whole queue, depth 1", "items[].task", "a project has some twenty fields more at depth 1; Bellboard always names its fields"},
	{"agents-cuts", "after SIGSTOP", "monitorData.hudson.node_monitors.ResponseTimeMonitor", "monitors do not run by themselves here; MonitorOffline has what one does"},
	{"swarm-cut", "then", "last", "the recorded node was gone when its build ended: whether by its first client's end or by the recorder cannot be told"},
	{"agents-hook", "*", "offlineCauseReason", "the hook that Bellboard installs names its instance in the mark"},
	{"restart-hook", "*", "offlineCauseReason", "the hook that Bellboard installs names its instance in the mark"},
	{"agents-race", "*", "chance", "how many of 150 reads find the agent idle is chance; that none is followed by a build is not"},
	{"no-reconnect", "*", "agent", "when an agent process gives up is its own affair; here it is told of the refusal at once"},
	{"agents-life", "*", "agent", "an agent process that is refused for ever retries for ever; here it is told of the refusal at once"},
}

// recordings are all files in testdata/seen, each with its story.
var recordings = map[string]struct {
	config Config
	story  func(*replay)
}{
	"agents-cuts":    {Config{User: "admin"}, cutsStory},
	"agents-drain":   {Config{User: "admin"}, drainStory},
	"agents-hook":    {Config{User: "admin", Hook: "house"}, hookStory},
	"agents-life":    {Config{User: "admin"}, lifeStory},
	"agents-race":    {Config{User: "admin"}, raceStory},
	"agents-second":  {Config{User: "admin"}, secondStory},
	"bare":           {Config{User: "admin"}, bareStory},
	"bench-nodes":    {Config{User: "admin"}, benchStory},
	"identity":       {Config{User: "admin", BuiltInExecutors: 2}, (*replay).rest},
	"labels":         {Config{User: "admin"}, labelsStory},
	"no-reconnect":   {Config{User: "admin"}, noReconnectStory},
	"nodes":          {Config{User: "admin"}, nodesStory},
	"online":         {Config{User: "bell"}, onlineStory},
	"permissions":    {Config{User: "bell"}, permissionsStory},
	"pinned":         {Config{User: "admin"}, pinnedStory},
	"pipeline-why":   {Config{User: "admin"}, pipelineWhyStory},
	"restart-hook":   {Config{User: "admin", Hook: "house"}, restartHookStory},
	"restart-marked": {Config{User: "admin"}, restartMarkedStory},
	"restart-plain":  {Config{User: "admin"}, restartPlainStory},
	"restart-swarm":  {Config{User: "admin"}, restartSwarmStory},
	"states":         {Config{User: "admin"}, statesStory},
	"swarm":          {Config{User: "admin"}, swarmStory},
	"swarm-cut":      {Config{User: "admin"}, swarmCutStory},
	"why":            {Config{User: "admin"}, whyStory},
}

// TestReplay sends every recorded question in its order and compares every answer, and every
// recorded timeline, in virtual time.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/seen/*.json")
	if err != nil || len(files) != len(recordings) {
		t.Fatalf("%d files, %d stories, %v", len(files), len(recordings), err)
	}
	used, ran := make([]bool, len(onPurpose)), 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			ran++
			rec, ok := recordings[name]
			if !ok {
				t.Fatal("no story")
			}
			var diffs []difference
			inBubble(t, rec.config, func(h *house) {
				h.user = rec.config.User
				r := &replay{house: h, file: name, rows: recorded(t, file), sessions: map[string]string{}, ids: map[string]string{}}
				rec.story(r)
				if r.at != len(r.rows) {
					t.Errorf("the story ends at row %d of %d", r.at, len(r.rows))
				}
				diffs = r.diffs
			})
			for _, d := range diffs {
				path := strings.TrimPrefix(strings.TrimPrefix(d.path, "keys "), "length ")
				i := slices.IndexFunc(onPurpose, func(p struct{ file, note, path, reason string }) bool {
					return p.file == name && (p.note == "*" || p.note == d.note) && strings.HasPrefix(path, p.path)
				})
				if i < 0 {
					t.Errorf("%s: %s: %s", d.note, d.path, d.what)
					continue
				}
				used[i] = true
			}
		})
	}
	for i, p := range onPurpose {
		if !used[i] && ran == len(files) && !t.Failed() {
			t.Errorf("%s, %s: %s does not differ: take it off the list", p.file, p.note, p.path)
		}
	}
}

// row is one recorded question with its answer, or a remark.
type row struct {
	Note    json.RawMessage
	Request *struct {
		Method, Path, Body string
		Form, Headers      map[string]string
	}
	Status  int
	Headers map[string]string
	Body    json.RawMessage
}

func (r row) note() string {
	var s string
	if json.Unmarshal(r.Note, &s) != nil {
		return string(r.Note)
	}
	return s
}

func recorded(t *testing.T, file string) []row {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Source string
		Rows   []row
	}
	if err := json.Unmarshal(raw, &doc); err != nil || doc.Source == "" {
		t.Fatalf("%s: source %q, %v", file, doc.Source, err)
	}
	return doc.Rows
}

type difference struct{ note, path, what string }

// replay sends the questions of one recording again.
type replay struct {
	*house
	file     string
	rows     []row
	at       int
	diffs    []difference
	sessions map[string]string // recorded -> here
	ids      map[string]string
}

func (r *replay) differ(note, path, what string, args ...any) {
	r.diffs = append(r.diffs, difference{note, path, fmt.Sprintf(what, args...)})
}

// rest sends all questions that are left.
func (r *replay) rest() {
	for r.at < len(r.rows) {
		r.ask()
	}
}

// next takes the next row, which has that note.
func (r *replay) next(note string) row {
	r.Helper()
	row := r.rows[r.at]
	if note != "" && row.note() != note {
		r.Fatalf("row %d is %q, not %q", r.at, row.note(), note)
	}
	r.at++
	return row
}

// remark takes the next row, a remark, and reads it.
func (r *replay) remark(into any) {
	r.Helper()
	row := r.next("")
	if row.Request != nil {
		r.Fatalf("row %q is a question", row.note())
	}
	if err := json.Unmarshal(row.Note, into); err != nil {
		r.Fatal(row.note(), err)
	}
}

// until sends the questions before the row of that note.
func (r *replay) until(note string) {
	r.Helper()
	for r.rows[r.at].note() != note {
		r.ask()
	}
}

// headersThatMatter are all recorded headers but the session, which is compared by its
// changes.
var headersThatMatter = []string{
	"Content-Type", "Location", "X-Error", "X-Jenkins", "X-Hudson", "Www-Authenticate", "Cache-Control",
	"X-You-Are-Authenticated-As", "X-Required-Permission", "X-Permission-Implied-By",
}

// ask sends the next row's question and compares the answers.
func (r *replay) ask() {
	r.Helper()
	row := r.next("")
	if row.Request == nil {
		r.Fatalf("row %d is a remark: %s", r.at-1, row.note())
	}
	note, q := row.note(), row.Request
	var form url.Values
	if q.Form != nil {
		form = url.Values{}
		for k, v := range q.Form {
			form.Set(k, v)
		}
	}
	a := r.do(q.Method, q.Path, form, func(out *http.Request) {
		out.URL.Host, out.Host = "127.0.0.1:8080", "127.0.0.1:8080"
		out.Header.Del("Authorization")
		out.Header.Del("Accept-Language")
		for k, v := range q.Headers {
			switch {
			case k != "Authorization":
				out.Header.Set(k, v)
			case row.Status == http.StatusUnauthorized:
				out.SetBasicAuth(r.user, "guess")
			default:
				out.SetBasicAuth(r.user, "token")
			}
		}
		if q.Body != "" {
			out.Body = readCloser{strings.NewReader(q.Body)}
		}
	})
	if a.err != nil {
		r.Fatal(note, a.err)
	}
	if a.status != row.Status {
		r.differ(note, "status", "%d, want %d", a.status, row.Status)
	}
	want := http.Header{}
	for k, v := range row.Headers {
		want.Set(k, v)
	}
	for _, k := range headersThatMatter {
		if got := a.header.Get(k); got != want.Get(k) {
			r.differ(note, k, "%q, want %q", got, want.Get(k))
		}
	}
	r.session(note, want.Get("X-Jenkins-Session"), a.header.Get("X-Jenkins-Session"))
	r.bodies(note, row.Body, a.body)
}

// session compares sessions: two sessions are the same if they were the same in the recording.
func (r *replay) session(note, want, got string) {
	if (want == "") != (got == "") {
		r.differ(note, "X-Jenkins-Session", "%q, want %q", got, want)
		return
	}
	known, ok := r.sessions[want]
	if !ok {
		for there, here := range r.sessions {
			if here == got {
				r.differ(note, "X-Jenkins-Session", "still that of %s", there)
			}
		}
		r.sessions[want] = got
	} else if known != got {
		r.differ(note, "X-Jenkins-Session", "%q, want %q as before", got, known)
	}
}

var pageTitle = regexp.MustCompile(`<title>[^<]*`)

// bodies compares JSON by shape and value, pages by kind and title, and other text as a whole.
func (r *replay) bodies(note string, want json.RawMessage, got string) {
	if len(want) == 0 {
		if got != "" {
			r.differ(note, "body", "%q, want none", got)
		}
		return
	}
	if want[0] != '"' {
		r.documents(note, want, []byte(got))
		return
	}
	var text string
	if err := json.Unmarshal(want, &text); err != nil {
		r.Fatal(err)
	}
	if !strings.HasPrefix(text, "<html>") {
		if plain(got) != plain(text) {
			r.differ(note, "text", "\n%s\nwant\n%s", got, text)
		}
		return
	}
	if lower := strings.ToLower(strings.TrimSpace(got)); !strings.HasPrefix(lower, "<!doctype") && !strings.HasPrefix(lower, "<html") {
		r.differ(note, "page", "%.40q is none", got)
	}
	if t := pageTitle.FindString(text); t != "" && !strings.HasPrefix(pageTitle.FindString(got), t) {
		r.differ(note, "title", "%q, want %q", pageTitle.FindString(got), t)
	}
}

var secrets = regexp.MustCompile(`[0-9a-f]{64}`)

func plain(s string) string { return secrets.ReplaceAllString(s, "SECRET") }

// documents compares two JSON documents: the same keys in the same order, the
// same types, and the same values but for times, ids and secrets.
func (r *replay) documents(note string, want, got json.RawMessage) {
	w, g := leaves(r.T, want), leaves(r.T, got)
	known := make(map[string]string, len(g))
	for _, l := range g {
		known[l.path] = l.value
	}
	for _, l := range w {
		value, ok := known[l.path]
		delete(known, l.path)
		path := indices.ReplaceAllString(l.path, "[]")
		switch {
		case !ok:
			r.differ(note, path, "missing, want %s", l.value)
		case !r.same(l.path, l.value, value):
			r.differ(note, path, "%s, want %s", value, l.value)
		}
	}
	for path, value := range known {
		r.differ(note, indices.ReplaceAllString(path, "[]"), "%s, want none", value)
	}
}

var (
	indices  = regexp.MustCompile(`\[\d+\]`)
	times    = regexp.MustCompile(`\.(inQueueSince|buildableStartMilliseconds|timestamp|duration)$`)
	queueURL = regexp.MustCompile(`queue/item/(\d+)/`)
)

// same compares two leaves. Two ids are the same if they were the same in the recording.
func (r *replay) same(path, want, got string) bool {
	switch {
	case times.MatchString(path):
		return strings.Trim(want, "0123456789") == strings.Trim(got, "0123456789")
	case strings.HasSuffix(path, ".id"):
		return r.sameID(want, got)
	}
	if w := queueURL.FindStringSubmatch(want); w != nil {
		g := queueURL.FindStringSubmatch(got)
		return g != nil && r.sameID(w[1], g[1])
	}
	return plain(want) == plain(got)
}

func (r *replay) sameID(want, got string) bool {
	if known, ok := r.ids[want]; ok {
		return known == got
	}
	for _, here := range r.ids {
		if here == got {
			return false
		}
	}
	r.ids[want] = got
	return true
}

// leaf is a value of a document, or the keys of an object, or an array's length.
type leaf struct{ path, value string }

func leaves(t *testing.T, doc json.RawMessage) (out []leaf) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var walk func(path string)
	walk = func(path string) {
		token, err := d.Token()
		if err != nil {
			t.Fatalf("%v in %s", err, doc)
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '{' {
				var keys []string
				for d.More() {
					k, _ := d.Token()
					keys = append(keys, k.(string))
					walk(strings.TrimPrefix(path+"."+k.(string), "."))
				}
				out = append(out, leaf{"keys " + path, strings.Join(keys, " ")})
			} else {
				n, from := 0, len(out)
				for ; d.More(); n++ {
					walk(fmt.Sprintf("%s[%d]", path, n))
				}
				if strings.HasSuffix(path, "assignedLabels") { // a set in Jenkins
					set := make([]string, 0, n)
					for _, l := range out[from:] {
						set = append(set, l.value)
					}
					slices.Sort(set)
					out = append(out[:from], leaf{path, strings.Join(set, " ")})
				}
				out = append(out, leaf{"length " + path, fmt.Sprint(n)})
			}
			_, _ = d.Token()
		case string:
			out = append(out, leaf{path, fmt.Sprintf("%q", v)})
		default:
			out = append(out, leaf{path, fmt.Sprint(v)})
		}
	}
	walk("")
	return out
}

// compare compares a document that a remark holds with the answer to a question.
func (r *replay) compare(note string, want json.RawMessage, path string) {
	r.Helper()
	a := r.do("GET", path, nil, func(out *http.Request) { out.Host = "127.0.0.1:8080" })
	if a.status != 200 {
		r.differ(note, "status", "%d", a.status)
		return
	}
	r.documents(note, want, []byte(a.body))
}

// moment is a state and when it began, in seconds.
type moment struct {
	at    float64
	state string
}

func (m *moment) UnmarshalJSON(b []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(b, &pair); err != nil {
		return err
	}
	m.state = string(pair[1])
	return json.Unmarshal(pair[0], &m.at)
}

// watch looks every tenth of a second and notes every change.
func (r *replay) watch(d time.Duration, state func() string) (seen []moment) {
	start := time.Now()
	for time.Since(start) <= d {
		if s := state(); len(seen) == 0 || seen[len(seen)-1].state != s {
			seen = append(seen, moment{time.Since(start).Seconds(), s})
		}
		time.Sleep(100 * time.Millisecond)
	}
	return seen
}

// timeline compares a recorded timeline with this one. The recorder looked once or twice a
// second, so a shorter state may be on one side only.
func (r *replay) timeline(note string, want, got []moment) {
	const blink, slack = 1.2, 1.2
	short := func(m []moment, i int) bool { return i+1 < len(m) && m[i+1].at-m[i].at < blink }
	var match func(i, j int) bool
	match = func(i, j int) bool {
		switch {
		case i == len(want) && j == len(got):
			return true
		case i < len(want) && j < len(got) && want[i].state == got[j].state && max(want[i].at-got[j].at, got[j].at-want[i].at) < slack && match(i+1, j+1):
			return true
		}
		return i < len(want) && short(want, i) && match(i+1, j) || j < len(got) && short(got, j) && match(i, j+1)
	}
	if !match(0, 0) {
		r.differ(note, "timeline", "\n%s\nwant\n%s", moments(got), moments(want))
	}
}

func moments(ms []moment) string {
	var b strings.Builder
	for _, m := range ms {
		fmt.Fprintf(&b, "  %6.1f %s\n", m.at, m.state)
	}
	return b.String()
}
