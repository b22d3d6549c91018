package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

var _ control.Jenkins = (*Client)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	twoNodes = `{"_class":"hudson.model.ComputerSet","computer":[
{"_class":"hudson.model.Hudson$MasterComputer","assignedLabels":[{"name":"built-in"}],"description":"the Jenkins controller's built-in node","displayName":"Built-In Node","executors":[],"idle":true,"numExecutors":0,"offline":false,"offlineCause":null,"offlineCauseReason":"","oneOffExecutors":[{"idle":false}],"temporarilyOffline":false},
{"_class":"hudson.slaves.SlaveComputer","assignedLabels":[{"name":"web-e-1"},{"name":"linux"},{"name":"docker"}],"description":"Bellboard: waiting (bellboard instance=bellboard team=web kind=ephemeral)","displayName":"web-e-1","executors":[{"idle":false}],"idle":false,"numExecutors":1,"offline":true,"offlineCause":{"_class":"hudson.slaves.OfflineCause$UserCause"},"offlineCauseReason":"bellboard(bellboard): one-build","oneOffExecutors":[],"temporarilyOffline":true,"absoluteRemotePath":"/home/jenkins/agent"}]}`
	oneItem     = `{"_class":"hudson.model.Queue","items":[{"_class":"hudson.model.Queue$BuildableItem","actions":[],"blocked":false,"buildable":true,"id":7,"inQueueSince":1795395095524,"task":{"_class":"hudson.model.FreeStyleProject","labelExpression":"linux \u0026\u0026 docker","url":"http://h/job/a/"},"why":"All nodes of label ‘linux&&docker’ are offline","pending":false}]}`
	notQuieting = `{"_class":"hudson.model.Hudson","quietingDown":false}`
)

// newClient starts a server with that handler and returns a client for it.
func newClient(t testing.TB, h http.HandlerFunc, change ...func(*Config)) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	c := Config{
		URL: server.URL + "/jenkins/", User: "bell", Instance: "bellboard", Clock: clock.Real(), Transport: NewTransport(nil),
		Token: func() (string, error) { return "token", nil },
	}
	for _, f := range change {
		f(&c)
	}
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIdle(client); server.Close() })
	return client
}

func closeIdle(c *Client) { (&http.Client{Transport: c.c.Transport}).CloseIdleConnections() }

// good answers like Jenkins.
func good(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Jenkins", "2.568.1")
	w.Header().Set("X-Jenkins-Session", "a63ce597")
	switch r.URL.Path {
	case "/jenkins/computer/api/json":
		fmt.Fprint(w, twoNodes)
	case "/jenkins/queue/api/json":
		fmt.Fprint(w, oneItem)
	case "/jenkins/api/json":
		fmt.Fprint(w, notQuieting)
	default:
		http.NotFound(w, r)
	}
}

func TestObserve(t *testing.T) {
	var asked []string
	var told []string
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		user, token, _ := r.BasicAuth()
		if r.Header.Get("Accept-Language") != "en" || user != "bell" || token != "token" || r.Header.Get("Cookie") != "" {
			t.Errorf("%s: headers %v", r.URL, r.Header)
		}
		http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: "x"})
		asked = append(asked, r.URL.Path+" "+r.URL.Query().Get("tree"))
		good(w, r)
	}, func(c *Config) {
		c.Observe = func(e, code string, _ time.Duration) { told = append(told, e+" "+code) }
	})
	for i := range 2 {
		v, err := c.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if v.AskedAt.IsZero() || v.AnsweredAt.Before(v.AskedAt) {
			t.Error(v.AskedAt, v.AnsweredAt)
		}
		if v.SessionSince.Before(v.AskedAt) == (i == 0) || v.SessionSince.After(v.NodesAt) {
			t.Errorf("the session is known since %s, and the poll read the nodes from %s to %s", v.SessionSince, v.AskedAt, v.NodesAt)
		}
		v.AskedAt, v.NodesAt, v.AnsweredAt, v.SessionSince = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		want := scaler.JenkinsView{
			Session: "a63ce597", Version: "2.568.1",
			Nodes: []scaler.Node{
				{Name: "built-in", Labels: []string{}, Online: true, Idle: false},
				{
					Name: "web-e-1", Labels: []string{"docker", "linux"}, Team: "web", Kind: scaler.Ephemeral, Online: true,
					Executors: 1, Busy: 1, OfflineBy: scaler.Ours, Offline: "bellboard(bellboard): one-build",
				},
			},
			Items: []scaler.Item{{
				ID: 7, Job: "a", Since: time.UnixMilli(1795395095524), State: scaler.Buildable, Resolution: scaler.Labelled,
				Label: "linux&&docker", Why: "All nodes of label ‘linux&&docker’ are offline",
			}},
			Runs: []scaler.Run{},
		}
		if diff := cmp.Diff(want, v); diff != "" {
			t.Error(diff)
		}
	}
	// Jenkins' root is asked last, because the busy agent has Bellboard's mark.
	one := []string{"/jenkins/computer/api/json " + computersTree, "/jenkins/queue/api/json " + queueTree, "/jenkins/api/json " + quietTree}
	if diff := cmp.Diff(append(one, one...), asked); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"computers 200", "queue 200", "quieting 200", "computers 200", "queue 200", "quieting 200"}, told); diff != "" {
		t.Error(diff)
	}
}

// TestQuietingDown: a view says whether Jenkins is about to shut down. The client asks a third question only
// while Bellboard's own mark hides a build from a safe restart.
func TestQuietingDown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   jenkinssim.Config
		asks  bool // the root is asked if no item says that Jenkins is quieting down
		marks func(f *harness)
	}{
		{"no mark", jenkinssim.Config{}, false, func(*harness) {}},
		{"our mark on a busy agent", jenkinssim.Config{}, true, func(f *harness) { f.mark("web-e-0", "one-build") }},
		{"our mark on an idle node", jenkinssim.Config{}, false, func(f *harness) { f.mark("web-e-5", "idle") }},
		{"a person's mark", jenkinssim.Config{}, false, func(f *harness) { f.jenkins.PersonOffline("web-e-0", "disk") }},
		{"another's node", jenkinssim.Config{}, false, func(f *harness) {
			f.jenkins.AddNode(jenkinssim.Node{Name: "mac", Labels: "mac"}, true)
			f.jenkins.Submit(jenkinssim.Job{Name: "ios", Label: "mac", Duration: time.Hour})
			time.Sleep(time.Second)
			f.mark("mac", "one-build")
		}},
		{"the hook's mark", jenkinssim.Config{Hook: "bellboard"}, false, func(*harness) {}},
		{"our mark over the hook's", jenkinssim.Config{Hook: "bellboard"}, false, func(f *harness) { f.mark("web-e-0", "one-build") }},
		{"our mark, another's hook", jenkinssim.Config{Hook: "other"}, true, func(f *harness) { f.mark("web-e-0", "one-build") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withHarness(t, tt.cfg, func(f *harness) {
				tt.marks(f)
				look := func(quiet bool, asked int) {
					t.Helper()
					f.requests = nil
					v := f.poll()
					if v.QuietingDown != quiet {
						t.Errorf("quieting down: %t, want %t", v.QuietingDown, quiet)
					}
					if got := strings.Count(strings.Join(f.requests, ","), Quieting+" 200"); got != asked {
						t.Errorf("%d requests for the root, want %d: %q", got, asked, f.requests)
					}
				}
				one, again := 0, 0
				if tt.asks {
					one = 1
				}
				if tt.cfg.Hook != "bellboard" {
					again = 1
				}
				look(false, one)
				f.jenkins.QuietDown(true)
				time.Sleep(time.Second)
				look(true, 0) // the items say it
				for _, it := range f.poll().Items {
					f.jenkins.Cancel(it.ID)
				}
				look(tt.cfg.Hook != "bellboard", again)
				look(tt.cfg.Hook != "bellboard", again) // as long as Jenkins is quieting down
				f.jenkins.QuietDown(false)
				look(false, again)
				look(false, one)
			})
		})
	}
	// The last answer dates the view.
	withHarness(t, jenkinssim.Config{}, func(f *harness) {
		f.mark("web-e-0", "one-build")
		f.jenkins.Fault(func(r *http.Request) (int, http.Header, []byte, bool) {
			if r.URL.Path == "/api/json" {
				time.Sleep(3 * time.Second)
			}
			return 0, nil, nil, false
		})
		if v := f.poll(); v.AnsweredAt.Sub(v.NodesAt) != 3*time.Second || !v.AnsweredAt.Equal(time.Now()) {
			t.Errorf("nodes at %v, answered at %v", v.NodesAt, v.AnsweredAt)
		}
	})
}

func (f *harness) mark(name string, reason scaler.Reason) {
	f.Helper()
	if err := f.client.Mark(f.Context(), name, scaler.MarkText("bellboard", reason), time.Time{}); err != nil {
		f.Fatal(err)
	}
}

// TestRecordedComputers reads the recorded answers of a real Jenkins about agents in every state.
func TestRecordedComputers(t *testing.T) {
	type seen struct {
		name   string
		online bool
		by     scaler.OfflineBy
	}
	want := map[string]seen{
		"registered":           {"o1", false, scaler.NotMarked},
		"connected, idle":      {"o1", true, scaler.NotMarked},
		"connected, marked":    {"o1", true, scaler.Person}, // "bellboard: drain" is not this instance's text
		"gone, marked":         {"o1", false, scaler.Person},
		"gone, unmarked":       {"o1", false, scaler.NotMarked},
		"swarm connected":      {"os", true, scaler.NotMarked},
		"swarm marked":         {"os", true, scaler.Person},
		"offline by a monitor": {"o2", true, scaler.Monitor},
		"offline by a person":  {"o2", true, scaler.Person},
	}
	answers := load(t, "online").Answers
	if len(answers) != len(want) {
		t.Fatal(len(answers))
	}
	for _, a := range answers {
		m := &memory{}
		nodes, _, err := m.nodes(strings.NewReader(string(a.Body)), "bellboard")
		if err != nil {
			t.Fatal(a.Note, err)
		}
		last := nodes[len(nodes)-1]
		if got := (seen{last.Name, last.Online, last.OfflineBy}); got != want[a.Note] {
			t.Errorf("%s: %+v, want %+v", a.Note, got, want[a.Note])
		}
		if nodes[0].Name != "built-in" || !nodes[0].Online || nodes[0].Mine() || !last.Idle {
			t.Errorf("%s: %+v", a.Note, nodes)
		}
	}
}

// TestBuildsAndMarks: a node shows its build, whether the build ends with Jenkins, and the time of its mark.
func TestBuildsAndMarks(t *testing.T) {
	const (
		freestyle = `{"_class":"hudson.model.FreeStyleBuild","url":"http://j/job/a/1/"}`
		pipeline  = `{"_class":"org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask$PlaceholderExecutable","url":"http://j/job/p/2/"}`
	)
	for _, tt := range []struct {
		name, executors, cause string
		build                  string
		mortal                 bool
		at                     int64
	}{
		{"idle", `{"currentExecutable":null,"idle":true}`, "", "", false, 0},
		{"freestyle", `{"currentExecutable":` + freestyle + `,"idle":false}`, "", "http://j/job/a/1/", true, 0},
		{"a pipeline, marked", `{"currentExecutable":` + pipeline + `,"idle":false}`, "1796004033796", "http://j/job/p/2/", false, 1796004033796},
		{"it may not be seen", `{"currentExecutable":null,"idle":false}`, "", "", false, 0},
		{"one of two executors", `{"currentExecutable":` + pipeline + `,"idle":false},{"currentExecutable":null,"idle":true}`, "", "http://j/job/p/2/", false, 0},
		{"two builds", `{"currentExecutable":` + pipeline + `,"idle":false},{"currentExecutable":` + freestyle + `,"idle":false}`, "", "", false, 0},
	} {
		cause, temporarily := "null", "false"
		if tt.cause != "" {
			cause, temporarily = `{"_class":"hudson.slaves.OfflineCause$UserCause","timestamp":`+tt.cause+`}`, "true"
		}
		m := &memory{}
		nodes, _, err := m.nodes(strings.NewReader(`{"_class":"hudson.model.ComputerSet","computer":[{"_class":"hudson.slaves.SlaveComputer","displayName":"web-e-1",`+
			`"description":"x (bellboard instance=bellboard team=web kind=ephemeral)","absoluteRemotePath":"/a","offlineCause":`+cause+`,"offlineCauseReason":"bellboard-hook(bellboard): one build",`+
			`"temporarilyOffline":`+temporarily+`,"idle":false,"numExecutors":2,"executors":[`+tt.executors+`],"oneOffExecutors":[]}]}`), "bellboard")
		if err != nil {
			t.Fatal(tt.name, err)
		}
		n := nodes[0]
		at := time.UnixMilli(tt.at)
		if tt.at == 0 {
			at = time.Time{}
		}
		if n.Build != tt.build || n.Mortal != tt.mortal || !n.MarkedAt.Equal(at) {
			t.Errorf("%s: build %q (mortal %t), marked at %v; want %q, %t, %v", tt.name, n.Build, n.Mortal, n.MarkedAt, tt.build, tt.mortal, at)
		}
	}
}

// TestMisbehaviour: everything but complete answers of one session of Jenkins is an error. The error says
// what came instead. Each of the questions gets every kind of answer.
func TestMisbehaviour(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		is     error
		says   string
	}{
		"401": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(401)
			fmt.Fprint(w, "<html>\n<head><title>Error 401 Unauthorized</title></head></html>")
		}, ErrUnauthorized, "Error 401 Unauthorized"},
		"403": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Jenkins", "2")
			w.Header().Set("X-You-Are-Authenticated-As", "bell")
			w.Header().Set("X-Required-Permission", "hudson.model.Hudson.Read")
			w.WriteHeader(403)
			fmt.Fprint(w, "<html><body>bell is missing the Overall/Read permission</body></html>")
		}, ErrForbidden, "permission hudson.model.Hudson.Read required"},
		"404": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, ErrNotJenkins, "404"},
		"500": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, "<html><style>x</style><body>Oops!</body></html>")
		}, ErrUnavailable, `"Oops!"`},
		"500 JSON": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, `{"message":"no"}`)
		}, ErrUnavailable, "no"},
		"503 empty": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, ErrUnavailable, "503"},
		"302": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/login?from=x", http.StatusFound)
		}, ErrNotJenkins, "/login?from=x"},
		"empty 200": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Jenkins", "2") }, ErrNotJenkins, "empty body"},
		"HTML 200": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Jenkins", "2")
			fmt.Fprint(w, "<html><head><title>Sign in</title></head></html>")
		}, ErrNotJenkins, "Sign in"},
		"proxy's {}":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }, ErrNotJenkins, "no X-Jenkins header"},
		"Jenkins' {}": {with(func(string) string { return "{}" }), ErrNotJenkins, "no "},
		"truncated":   {with(func(s string) string { return s[:len(s)-40] }), ErrNotJenkins, "JSON broken"},
		"trailing":    {with(func(s string) string { return s + "<html>" }), ErrNotJenkins, "after the end"},
		"wrong class": {with(func(s string) string { return strings.Replace(s, "hudson.model.", "hudson.other.", 1) }), ErrNotJenkins, "hudson.other."},
		"null list":   {with(func(s string) string { return strings.Replace(s, `":[`, `":7,"x":[`, 1) }), ErrNotJenkins, "want ["},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Jenkins", "2")
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, `{"_class":`)
		}, ErrUnavailable, "unexpected EOF"},
		"X-Error": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Error", "not today")
			w.WriteHeader(400)
		}, scaler.ErrRejected, "not today"},
		"no session": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Jenkins", "2")
			fmt.Fprint(w, map[bool]string{true: oneItem, false: twoNodes}[strings.Contains(r.URL.Path, "queue")])
		}, ErrStripped, "X-Jenkins-Session"},
		"other session": {func(w http.ResponseWriter, r *http.Request) {
			good(&header{w, "X-Jenkins-Session", "79874158"}, r)
		}, ErrRestarted, "79874158"},
		"a value without end": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Jenkins", "2")
			w.Header().Set("X-Jenkins-Session", "a63ce597")
			_, err := io.WriteString(w, `{"x":"`)
			for chunk := bytes.Repeat([]byte("x"), 1<<20); err == nil; {
				_, err = w.Write(chunk)
			}
		}, ErrNotJenkins, "one value is longer than 16 MiB"},
		"text without end": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Jenkins", "2")
			var err error
			for chunk := make([]byte, 1<<20); err == nil; {
				_, err = w.Write(chunk)
			}
		}, ErrNotJenkins, "no JSON"},
		"a second document":  {with(func(s string) string { return s + "{}" }), ErrNotJenkins, "after the end"},
		"no string":          {with(func(s string) string { return strings.Replace(s, `"_class":"`, `"_class":7,"x":"`, 1) }), ErrNotJenkins, "JSON broken at byte 10: a JSON number does not fit"},
		"nested without end": {with(func(string) string { return `{"x":` + strings.Repeat("[", 1<<20) }), ErrNotJenkins, "JSON broken at byte 10004: exceeded max depth"},
		"hang up":            {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrUnavailable, "EOF"},
	} {
		for _, which := range []string{"/computer", "/queue", ""} {
			if which == "" && name == "null list" {
				continue // the client reads no list at the root
			}
			t.Run(name+" on "+which, func(t *testing.T) {
				client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/jenkins"+which+"/api/json" {
						c.answer(w, r)
					} else {
						good(w, r)
					}
				})
				v, err := client.Observe(t.Context())
				if err == nil || !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error: %v", err)
				}
				if !cmp.Equal(v, scaler.JenkinsView{}) {
					t.Errorf("view: %+v", v)
				}
			})
		}
	}
}

// header is a response writer that sets one header last.
type header struct {
	http.ResponseWriter
	key, value string
}

func (h *header) Write(b []byte) (int, error) {
	h.Header().Set(h.key, h.value)
	return h.ResponseWriter.Write(b)
}

// with answers like Jenkins, with a body that f has changed.
func with(f func(string) string) func(w http.ResponseWriter, r *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		good(rec, r)
		maps.Copy(w.Header(), rec.Header())
		fmt.Fprint(w, f(rec.Body.String()))
	}
}

// TestUnreachable: nothing listens at the address. The client returns an error and does not panic.
func TestUnreachable(t *testing.T) {
	c := newClient(t, good, func(c *Config) { c.URL = "http://127.0.0.1:1" })
	if _, err := c.Observe(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if err := c.DeleteNode(t.Context(), "x", time.Time{}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	panicking := newClient(t, good, func(c *Config) {
		c.Transport = roundTrip(func(*http.Request) (*http.Response, error) { panic("boo") })
	})
	if _, err := panicking.Observe(t.Context()); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "boo") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Observe(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestTruncatedAnywhere: both documents are cut at every byte. Each cut is an error.
func TestTruncatedAnywhere(t *testing.T) {
	for i := range len(twoNodes) {
		m := &memory{}
		if _, _, err := m.nodes(strings.NewReader(twoNodes[:i]), "bellboard"); err == nil {
			t.Errorf("nodes cut at byte %d: no error", i)
		}
	}
	for i := range len(oneItem) {
		m := &memory{}
		if _, err := m.items(strings.NewReader(oneItem[:i]), nil); err == nil {
			t.Errorf("queue cut at byte %d: no error", i)
		}
	}
}

// FuzzDecode: without an error the client reads as many elements as encoding/json.
func FuzzDecode(f *testing.F) {
	f.Add(twoNodes)
	f.Add(oneItem)
	f.Add(strings.Replace(oneItem, `"actions":[]`, `"actions":[{"parameters":[{"_class":"org.jvnet.jenkins.plugins.nodelabelparameter.LabelParameterValue","name":"l","value":"x"}]}]`, 1))
	f.Add(`{"_class":"hudson.model.Queue","items":[{"id":1e3,"inQueueSince":-1,"task":null,"why":"\u2018\ud800"}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		m := &memory{}
		nodes, unseen, errNodes := m.nodes(strings.NewReader(s), "bellboard")
		items, errItems := m.items(strings.NewReader(s), nodes)
		if errNodes != nil && (nodes != nil || unseen != nil) || errItems != nil && items != nil {
			t.Error("an error came with a view")
		}
		if errNodes == nil {
			if n, ok := count(s, "computer"); ok && n != len(nodes) {
				t.Errorf("%d nodes, want %d", len(nodes), n)
			}
			for _, n := range nodes {
				if n.Name == "" || n.Idle && n.Busy > 0 || n.Busy > 0 && unseen[n.Name] && !n.Mine() {
					t.Errorf("%+v", n)
				}
			}
		}
		if errItems == nil {
			if n, ok := count(s, "items"); ok && n != len(items) {
				t.Errorf("%d items, want %d", len(items), n)
			}
			for _, it := range items {
				if it.ID == 0 || (it.Resolution == scaler.Labelled) != (it.Label != "") && it.Resolution != scaler.Labelled || it.State == "" {
					t.Errorf("%+v", it)
				}
			}
		}
	})
}

// count returns the number of elements that encoding/json finds in a list. encoding/json keeps only the
// last of several equal keys; then ok is false.
func count(s, key string) (n int, ok bool) {
	var doc map[string]json.RawMessage
	var list []json.RawMessage
	if json.Unmarshal([]byte(s), &doc) != nil || json.Unmarshal(doc[key], &list) != nil {
		return 0, false
	}
	return len(list), strings.Count(s, `"`+key+`"`) == 1
}

func TestTokenIsReadAgain(t *testing.T) {
	tokens := []string{"old", "new"}
	var used []string
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		_, token, _ := r.BasicAuth()
		used = append(used, token)
		if token != "new" {
			w.WriteHeader(401)
			return
		}
		good(w, r)
	}, func(c *Config) {
		c.Token = func() (string, error) {
			now := tokens[0]
			if len(tokens) > 1 {
				tokens = tokens[1:]
			}
			return now, nil
		}
	})
	if _, err := c.Observe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"old", "new", "new", "new"}, used); diff != "" {
		t.Error(diff)
	}
	c = newClient(t, good, func(c *Config) {
		c.Token = func() (string, error) { return "", errors.New("no file") }
	})
	if _, err := c.Observe(t.Context()); err == nil || !strings.Contains(err.Error(), "no file") {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	fine := Config{URL: "http://h", Clock: clock.Real(), Instance: "i", Token: func() (string, error) { return "", nil }}
	if _, err := New(fine); err != nil {
		t.Error(err)
	}
	for _, u := range []string{"", "h:8080", "ftp://h", "http://u:p@h/", "http://h/?x=1", "://"} {
		c := fine
		c.URL = u
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "u:p@") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(clock.Real())
		var inFlight, most atomic.Int32
		run := func(n int, took time.Duration) {
			var wg sync.WaitGroup
			most.Store(0)
			for range n {
				wg.Go(func() {
					if err := l.acquire(t.Context(), time.Time{}); err != nil {
						t.Error(err)
						return
					}
					asked := time.Now()
					if now := inFlight.Add(1); now > most.Load() {
						most.Store(now)
					}
					time.Sleep(took)
					inFlight.Add(-1)
					l.release(asked, time.Now(), true)
				})
			}
			wg.Wait()
		}
		run(100, 10*time.Millisecond)
		if most.Load() != 8 {
			t.Errorf("%d in flight, want 8", most.Load())
		}
		// Eight slow writes at once halve the limit once, not eight times.
		run(8, 2*time.Second)
		if l.limit != 4 {
			t.Errorf("limit %d after slow writes, want 4", l.limit)
		}
		for range 5 {
			run(1, 2*time.Second)
		}
		if l.limit != 1 {
			t.Errorf("limit %d, want 1", l.limit)
		}
		run(200, 10*time.Millisecond)
		if l.limit != 8 {
			t.Errorf("limit %d after a good run, want 8", l.limit)
		}
		// One slow write halves the limit at once, also for places that are free.
		run(1, 2*time.Second)
		for range 4 {
			if err := l.acquire(t.Context(), time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.acquire(t.Context(), time.Now().Add(time.Second)); !errors.Is(err, scaler.ErrExpired) {
			t.Errorf("a fifth write is let in after a slow one: %v", err)
		}
		for range 4 {
			l.release(time.Time{}, time.Time{}, false)
		}
		run(200, 10*time.Millisecond)
		// A deadline passes during the wait, and a context ends during the wait.
		for range 8 {
			if err := l.acquire(t.Context(), time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.acquire(t.Context(), time.Now().Add(time.Second)); !errors.Is(err, scaler.ErrExpired) {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.acquire(ctx, time.Time{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		for range 8 {
			l.release(time.Time{}, time.Time{}, false)
		}
		if len(l.places) != maxInFlight || l.excess != 0 {
			t.Errorf("%d places are free and %d in excess, want all free and none in excess", len(l.places), l.excess)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			w.Header().Set("Location", "/jenkins/computer/")
			w.WriteHeader(302)
			return
		}
		good(w, r)
	})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := c.Observe(t.Context()); err != nil {
				t.Error(err)
			}
			if err := c.Mark(t.Context(), fmt.Sprint("n", i), "x", time.Time{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// bodies returns a transport that serves two documents without a network.
func bodies(computers, queue string) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		body := `{"_class":"hudson.model.Hudson","quietingDown":false}`
		switch {
		case strings.Contains(r.URL.Path, "queue"):
			body = queue
		case strings.Contains(r.URL.Path, "computer"):
			body = computers
		}
		return &http.Response{
			StatusCode: 200, Header: http.Header{"X-Jenkins": {"2"}, "X-Jenkins-Session": {"s"}},
			Body: readCloser{strings.NewReader(body)}, ContentLength: int64(len(body)), Request: r,
		}, nil
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// BenchmarkObserve10k observes 10,000 pipeline items with 200 labels, and 300 nodes. "new" is the first poll,
// and "again" is every later poll.
func BenchmarkObserve10k(b *testing.B) {
	var q, n strings.Builder
	q.WriteString(`{"_class":"hudson.model.Queue","items":[`)
	for i := range 10_000 {
		if i > 0 {
			q.WriteByte(',')
		}
		fmt.Fprintf(&q, `{"_class":"hudson.model.Queue$BuildableItem","actions":[{"_class":"hudson.model.CauseAction"},{"_class":"hudson.model.ParametersAction","parameters":[{"_class":"hudson.model.StringParameterValue","name":"branch","value":"main"}]}],"blocked":false,"buildable":true,"id":%d,"inQueueSince":1795395095524,"task":{"_class":"org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask","url":"job/folder/job/job%d/12/"},"why":"Waiting for next available executor on ‘linux&&docker&&x%d’","pending":false}`, i+1, i, i%200)
	}
	q.WriteString(`]}`)
	n.WriteString(`{"_class":"hudson.model.ComputerSet","computer":[`)
	for i := range 300 {
		if i > 0 {
			n.WriteByte(',')
		}
		fmt.Fprintf(&n, `{"_class":"hudson.slaves.SlaveComputer","assignedLabels":[{"name":"web-e-%d"},{"name":"linux"},{"name":"docker"}],"description":"Bellboard: waiting (bellboard instance=bellboard team=web kind=ephemeral)","displayName":"web-e-%d","executors":[{"idle":true}],"idle":true,"numExecutors":1,"offline":true,"offlineCause":null,"offlineCauseReason":"","oneOffExecutors":[],"temporarilyOffline":false,"absoluteRemotePath":null}`, i, i)
	}
	n.WriteString(`]}`)
	client, err := New(Config{
		URL: "http://h", User: "u", Instance: "bellboard", Clock: clock.Real(),
		Token: func() (string, error) { return "t", nil }, Transport: bodies(n.String(), q.String()),
	})
	if err != nil {
		b.Fatal(err)
	}
	for _, again := range []bool{false, true} {
		b.Run(map[bool]string{false: "new", true: "again"}[again], func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if !again {
					client.memory = &memory{}
				}
				v, err := client.Observe(b.Context())
				if err != nil || len(v.Items) != 10_000 || v.Items[9_999].Label != "linux&&docker&&x199" || len(v.Nodes) != 300 {
					b.Fatal(err, len(v.Items))
				}
			}
			b.SetBytes(int64(q.Len() + n.Len()))
		})
	}
}

// form returns the form of a body. A query is an error.
func form(t *testing.T, r *http.Request) url.Values {
	t.Helper()
	if err := r.ParseForm(); err != nil {
		t.Error(err)
	}
	if r.URL.RawQuery != "" {
		t.Errorf("query %q", r.URL.RawQuery)
	}
	return r.PostForm
}
