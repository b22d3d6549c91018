package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

var webPool = scaler.Pool{
	PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral},
	Labels: []string{"docker", "linux", "with space"},
}

// done answers a write as Jenkins does after the write was done.
func done(w http.ResponseWriter, location string) {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusFound)
}

func TestRegister(t *testing.T) {
	for name, c := range map[string]struct {
		register     func(*Client) error
		labels, says string
		executors    string
		mode         string
	}{
		"berth": {func(c *Client) error { return c.Register(t.Context(), "web-e-1", webPool, time.Time{}) }, `docker linux "with space"`, "kind=ephemeral)", "1", "EXCLUSIVE"},
		"for builds without a label, three at once": {func(c *Client) error {
			p := webPool
			p.Executors, p.Unlabelled = 3, true
			return c.Register(t.Context(), "web-e-1", p, time.Time{})
		}, `docker linux "with space"`, "kind=ephemeral)", "3", "NORMAL"},
		"fence": {func(c *Client) error {
			return c.Fence(t.Context(), "web-e-1", webPool.PoolID, time.Now().Add(time.Second))
		}, "", "kind=ephemeral fence)", "1", "EXCLUSIVE"},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				calls++
				if r.Method != "POST" || r.URL.Path != "/jenkins/computer/doCreateItem" ||
					r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
					t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
				}
				f := form(t, r)
				if f.Get("name") != "web-e-1" || f.Get("type") != "hudson.slaves.DumbSlave" {
					t.Error(f)
				}
				var got map[string]any
				if err := json.Unmarshal([]byte(f.Get("json")), &got); err != nil {
					t.Error(err)
				}
				description, _ := got["nodeDescription"].(string)
				if !strings.HasSuffix(description, c.says) {
					t.Errorf("description %q", description)
				}
				delete(got, "nodeDescription")
				// A recorded form that a real Jenkins accepted, and the property for configuration as code.
				want := map[string]any{
					"name": "web-e-1", "numExecutors": c.executors, "remoteFS": "/home/jenkins/agent",
					"labelString": c.labels, "mode": c.mode, "type": "hudson.slaves.DumbSlave",
					"retentionStrategy": map[string]any{"stapler-class": "hudson.slaves.RetentionStrategy$Always", "$class": "hudson.slaves.RetentionStrategy$Always"},
					"nodeProperties":    map[string]any{"stapler-class-bag": "true", "io-jenkins-plugins-casc-core-CascKeepNode": map[string]any{}},
					"launcher":          map[string]any{"stapler-class": "hudson.slaves.JNLPLauncher", "$class": "hudson.slaves.JNLPLauncher", "webSocket": true},
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				done(w, "/jenkins/computer/")
			})
			if err := c.register(client); err != nil {
				t.Error(err)
			}
			if calls != 1 {
				t.Errorf("%d requests, want 1", calls)
			}
		})
	}
}

// TestMarkAndDelete: each is one request, with the name escaped.
func TestMarkAndDelete(t *testing.T) {
	var got []string
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.EscapedPath()+" "+form(t, r).Encode())
		done(w, "/jenkins/computer/")
	})
	if err := c.Mark(t.Context(), "a b%ü", "bellboard(bellboard): idle & done", time.Time{}); err != nil {
		t.Error(err)
	}
	if err := c.DeleteNode(t.Context(), "web-e-1", time.Now().Add(time.Minute)); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{
		"POST /jenkins/computer/a%20b%25%C3%BC/changeOfflineCause offlineMessage=bellboard%28bellboard%29%3A+idle+%26+done",
		"POST /jenkins/computer/web-e-1/doDelete ",
	}, got); diff != "" {
		t.Error(diff)
	}
}

// TestCrumbsStayHome: no write asks for a crumb. Such a request would open a session in Jenkins.
func TestCrumbsStayHome(t *testing.T) {
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "crumb") {
			t.Errorf("request for %s", r.URL)
		}
		if r.Method == http.MethodGet {
			(&nodeServer{t: t, name: "n", mark: "bellboard(bellboard): idle"}).ServeHTTP(w, r)
			return
		}
		done(w, "/jenkins/computer/")
	})
	if err := errors.Join(
		c.Register(t.Context(), "n", webPool, time.Time{}),
		c.Fence(t.Context(), "n", webPool.PoolID, time.Now().Add(time.Minute)),
		c.Mark(t.Context(), "n", "x", time.Time{}),
		c.Launch(t.Context(), "n"),
		c.DeleteNode(t.Context(), "n", time.Time{}),
	); err != nil {
		t.Error(err)
	}
	// The simulated node stays marked.
	if err := c.ClearMark(t.Context(), "n", "x"); !errors.Is(err, scaler.ErrChanged) {
		t.Error(err)
	}
}

func TestSecret(t *testing.T) {
	const file = `<jnlp><application-desc><argument>bacb3fe6</argument><argument>web-e-1</argument><argument>-webSocket</argument></application-desc></jnlp>`
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
		is     error
	}{
		"fine":       {200, file, "bacb3fe6", nil},
		"other node": {200, strings.Replace(file, "web-e-1", "web-e-2", 1), "", ErrNotJenkins},
		"HTML":       {200, "<html><body>Sign in</body></html>", "", ErrNotJenkins},
		"empty":      {200, "", "", ErrNotJenkins},
		"cut":        {200, file[:60], "", ErrNotJenkins},
		"gone":       {404, "", "", scaler.ErrGone},
		"forbidden":  {403, "", "", scaler.ErrRejected},
		"starting":   {503, "", "", ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "GET" || r.URL.Path != "/jenkins/computer/web-e-1/jenkins-agent.jnlp" {
					t.Errorf("%s %s", r.Method, r.URL)
				}
				w.Header().Set("X-Jenkins", "2.568.1")
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			got, err := client.Secret(t.Context(), "web-e-1")
			if got != c.want || !errors.Is(err, c.is) || (err == nil) != (c.is == nil) {
				t.Errorf("%q, %v", got, err)
			}
			if err != nil && strings.Contains(err.Error(), "bacb3fe6") {
				t.Errorf("the secret is in the error: %v", err)
			}
		})
	}
}

// TestRefusals: each write gets each answer that is a rejection.
func TestRefusals(t *testing.T) {
	writes := map[string]func(*Client) error{
		"register": func(c *Client) error { return c.Register(t.Context(), "n", webPool, time.Time{}) },
		"mark":     func(c *Client) error { return c.Mark(t.Context(), "n", "x", time.Time{}) },
		"delete":   func(c *Client) error { return c.DeleteNode(t.Context(), "n", time.Time{}) },
	}
	for name, c := range map[string]struct {
		status int
		header map[string]string
		is     error
		says   string
	}{
		"exists":         {400, map[string]string{"X-Error": "Agent called  n  already exists"}, scaler.ErrExists, "already exists"},
		"bad name":       {400, map[string]string{"X-Error": "/  is an unsafe character"}, scaler.ErrRejected, "unsafe character"},
		"no form":        {400, nil, scaler.ErrRejected, "400"},
		"forbidden":      {403, map[string]string{"X-Required-Permission": "hudson.model.Computer.Create", "X-You-Are-Authenticated-As": "bell"}, scaler.ErrRejected, "as user bell, permission hudson.model.Computer.Create required"},
		"firewall":       {403, nil, ErrBlocked, "something between Bellboard and Jenkins"},
		"gone":           {404, map[string]string{"X-Jenkins": "2.568.1"}, scaler.ErrGone, "not there"},
		"proxy's 404":    {404, nil, ErrNotJenkins, "404"},
		"login page":     {302, map[string]string{"Location": "https://sso.example.com/login?to=jenkins"}, ErrNotJenkins, "sso.example.com"},
		"login of ours":  {302, map[string]string{"Location": "/jenkins/login?from=/computer/n/"}, ErrNotJenkins, "login"},
		"200 with words": {200, nil, ErrNotJenkins, "200"},
		"unauthorized":   {401, nil, ErrUnauthorized, "401"},
		"starting":       {503, nil, ErrUnavailable, "503"},
	} {
		for which, write := range writes {
			t.Run(name+" "+which, func(t *testing.T) {
				calls := 0
				client := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
					calls++
					for k, v := range c.header {
						w.Header().Set(k, v)
					}
					w.WriteHeader(c.status)
				})
				err := write(client)
				if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "node n") {
					t.Error(err)
				}
				if !errors.Is(c.is, scaler.ErrGone) && errors.Is(err, scaler.ErrGone) || !errors.Is(c.is, scaler.ErrExists) && errors.Is(err, scaler.ErrExists) {
					t.Errorf("the error says that the write was done: %v", err)
				}
				if calls != 1 {
					t.Errorf("%d requests, want 1", calls)
				}
			})
		}
	}
}

func TestLateWritesAreNotSent(t *testing.T) {
	c := newClient(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("sent %s", r.URL) })
	past := time.Now().Add(-time.Millisecond)
	if err := c.Mark(t.Context(), "n", "x", past); !errors.Is(err, scaler.ErrExpired) {
		t.Error(err)
	}
	if err := c.Register(t.Context(), "n", webPool, past); !errors.Is(err, scaler.ErrExpired) {
		t.Error(err)
	}
	if err := c.Fence(t.Context(), "n", webPool.PoolID, past); !errors.Is(err, scaler.ErrExpired) {
		t.Error(err)
	}
	if err := c.DeleteNode(t.Context(), "n", past); !errors.Is(err, scaler.ErrExpired) {
		t.Error(err)
	}
}

// TestLateAfterWaiting: the client checks the deadline after the wait for a turn. A write that waits beyond
// its deadline is not sent.
func TestLateAfterWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int32
		c, err := New(Config{
			URL: "http://h", User: "u", Instance: "bellboard", Clock: clock.Real(),
			Token: func() (string, error) { return "t", nil },
			Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				sent.Add(1)
				time.Sleep(3 * time.Second)
				rec := httptest.NewRecorder()
				done(rec, "/computer/")
				return rec.Result(), nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		for range maxInFlight {
			go func() { _ = c.DeleteNode(t.Context(), "a", time.Time{}) }()
		}
		synctest.Wait()
		if err := c.DeleteNode(t.Context(), "b", time.Now().Add(time.Second)); !errors.Is(err, scaler.ErrExpired) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if sent.Load() != maxInFlight || c.writes.limit != maxInFlight/2 {
			t.Errorf("%d requests sent, limit %d", sent.Load(), c.writes.limit)
		}
	})
}

// TestTimeout: Jenkins accepts a connection and never answers. Observe takes one timeout, and after it the
// timeout of a small question.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{
			URL: "http://h", User: "u", Instance: "bellboard", Clock: clock.Real(),
			Token: func() (string, error) { return "t", nil },
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := c.Observe(t.Context()); !errors.Is(err, ErrUnavailable) || time.Since(began) != readTimeout+aliveTimeout {
			t.Error(time.Since(began), err)
		}
	})
}

// nodeServer is one node with a mark that the client can read and toggle.
type nodeServer struct {
	t        *testing.T
	mark     string // "" is no mark
	class    string
	toggled  []string
	onToggle func(*nodeServer) // what somebody else does just before the toggle
	after    func(*nodeServer) // what somebody else does just after the toggle
	name     string
}

func (h *nodeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Jenkins", "2.568.1")
	switch r.Method + " " + r.URL.Path {
	case "GET /jenkins/computer/n/api/json":
		cause := "null"
		if h.mark != "" {
			cause = `{"_class":"` + h.class + `"}`
		}
		fmt.Fprintf(w, `{"_class":"hudson.slaves.SlaveComputer","displayName":%q,"offlineCause":%s,"offlineCauseReason":%q,"temporarilyOffline":%v,"idle":true}`, h.name, cause, h.mark, h.mark != "")
	case "POST /jenkins/computer/n/toggleOffline":
		message := form(h.t, r).Get("offlineMessage")
		h.toggled = append(h.toggled, message)
		if h.onToggle != nil {
			h.onToggle(h)
		}
		if h.mark == "" {
			h.mark = message
		} else {
			h.mark = ""
		}
		if h.after != nil {
			h.after(h)
		}
		done(w, "/jenkins/computer/n/")
	default:
		w.WriteHeader(404)
	}
}

func TestClearMark(t *testing.T) {
	const text = "bellboard(bellboard): cleared for a resuming build"
	for name, c := range map[string]struct {
		house  nodeServer
		is     error
		toggle bool
		left   string
	}{
		"ours":       {nodeServer{mark: "bellboard(bellboard): idle"}, nil, true, ""},
		"the hook's": {nodeServer{mark: "bellboard-hook(bellboard): one build"}, nil, true, ""},
		"a person's": {nodeServer{mark: "looking at it"}, nil, false, "looking at it"},
		"another's":  {nodeServer{mark: "bellboard(other): idle"}, nil, false, "bellboard(other): idle"},
		"a monitor's": {
			nodeServer{mark: "1 B left", class: "hudson.node_monitors.DiskSpaceMonitorDescriptor$DiskSpace"}, nil, false, "1 B left",
		},
		"none": {nodeServer{}, nil, false, ""},
		"lifted just before": {
			nodeServer{mark: "bellboard(bellboard): idle", onToggle: func(h *nodeServer) { h.mark = "" }}, scaler.ErrChanged, true, text,
		},
		"a person just after": {
			nodeServer{mark: "bellboard(bellboard): idle", after: func(h *nodeServer) { h.mark = "mine" }}, scaler.ErrChanged, true, "mine",
		},
		"another node's answer": {nodeServer{mark: "bellboard(bellboard): idle", name: "m"}, ErrNotJenkins, false, "bellboard(bellboard): idle"},
	} {
		t.Run(name, func(t *testing.T) {
			h := c.house
			h.t = t
			if h.name == "" {
				h.name = "n"
			}
			if h.class == "" {
				h.class = "hudson.slaves.OfflineCause$UserCause"
			}
			client := newClient(t, h.ServeHTTP)
			err := client.ClearMark(t.Context(), "n", text)
			if !errors.Is(err, c.is) || (err == nil) != (c.is == nil) {
				t.Errorf("error %v, want %v", err, c.is)
			}
			want := []string(nil)
			if c.toggle {
				want = []string{text}
			}
			if !cmp.Equal(h.toggled, want) || h.mark != c.left {
				t.Errorf("toggled with %q, mark afterwards %q", h.toggled, h.mark)
			}
		})
	}
	client := newClient(t, (&nodeServer{t: t, name: "n"}).ServeHTTP)
	if err := client.ClearMark(t.Context(), "gone", text); !errors.Is(err, scaler.ErrGone) {
		t.Error(err)
	}
	// A text that is not one of Bellboard's mark texts becomes one. If somebody else is faster, the toggle
	// must not leave a mark with a strange text.
	h := &nodeServer{t: t, name: "n", mark: "bellboard(bellboard): idle", class: "x"}
	if err := newClient(t, h.ServeHTTP).ClearMark(t.Context(), "n", "resume"); err != nil {
		t.Error(err)
	}
	if !cmp.Equal(h.toggled, []string{"bellboard(bellboard): resume"}) {
		t.Error(h.toggled)
	}
}

// TestStillIdle: a mark is lifted while the client reads the queue, and the node gets a build. StillIdle says
// so.
func TestStillIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := jenkinssim.New(jenkinssim.Config{Clock: clock.Real(), Latency: func(op string) time.Duration {
			if op == "queue" {
				return 25 * time.Second
			}
			return 0
		}})
		defer j.Close()
		j.AddNode(jenkinssim.Node{Name: "web-e-1", Description: scaler.Describe("bellboard", webPool.PoolID, false), Labels: "linux"}, true)
		c, err := New(Config{
			URL: "http://jenkins:8080", User: "bellboard", Instance: "bellboard", Clock: clock.Real(), Transport: j.Transport(),
			Token: func() (string, error) { return "token", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		still := func(by scaler.OfflineBy, want bool) {
			t.Helper()
			if got, err := c.StillIdle(t.Context(), scaler.Node{Name: "web-e-1", OfflineBy: by}); err != nil || got != want {
				t.Errorf("StillIdle(%q) = %v, %v, want %v", by, got, err, want)
			}
		}
		still(scaler.NotMarked, true)
		still(scaler.Ours, false)
		if err := c.Mark(t.Context(), "web-e-1", "bellboard(bellboard): idle", time.Time{}); err != nil {
			t.Fatal(err)
		}
		j.Submit(jenkinssim.Job{Name: "a", Label: "linux", Duration: time.Hour})
		still(scaler.Ours, true)
		time.AfterFunc(10*time.Second, func() { j.PersonOnline("web-e-1") })
		v, err := c.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range v.Nodes {
			if n.Name == "web-e-1" && (!n.Idle || n.OfflineBy != scaler.Ours) {
				t.Errorf("the view shows %+v, want the node as it was before the read of the queue", n)
			}
		}
		if took := v.AnsweredAt.Sub(v.NodesAt); took != 25*time.Second {
			t.Errorf("the nodes are %s older than the queue, want 25s", took)
		}
		still(scaler.Ours, false)
		j.PersonOffline("web-e-1", "bellboard(bellboard): idle")
		still(scaler.Ours, false) // marked again, but busy
	})
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{
			URL: "http://h", User: "u", Instance: "bellboard", Clock: clock.Real(), Token: func() (string, error) { return "t", nil },
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(scaler.ErrExpired) })
		if _, err := c.StillIdle(ctx, scaler.Node{Name: "n", OfflineBy: scaler.Ours}); !errors.Is(err, scaler.ErrExpired) || c.breaker.failed != 0 {
			t.Errorf("error %v after %d failures in a row, want ErrExpired and no failure", err, c.breaker.failed)
		}
	})
	const idle = `{"_class":"hudson.slaves.SlaveComputer","displayName":"n","offlineCause":null,"offlineCauseReason":"","temporarilyOffline":false,"idle":true,"executors":[{"idle":true}],"oneOffExecutors":[]}`
	for name, tt := range map[string]struct {
		status int
		body   string
		want   bool
		is     error
	}{
		"idle":                    {200, idle, true, nil},
		"a one-off executor":      {200, strings.Replace(idle, `"oneOffExecutors":[]`, `"oneOffExecutors":[{"idle":false}]`, 1), false, nil},
		"gone":                    {404, "", false, nil},
		"not told":                {200, strings.Replace(idle, `"idle":true,`, "", 1), false, ErrNotJenkins},
		"about another":           {200, strings.Replace(idle, `"n"`, `"m"`, 1), false, ErrNotJenkins},
		"cut":                     {200, idle[:len(idle)-1], false, ErrNotJenkins},
		"starting":                {503, "", false, ErrUnavailable},
		"a permission is missing": {403, "", false, ErrForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != "GET" || r.URL.Path != "/jenkins/computer/n/api/json" || r.URL.Query().Get("tree") != nodeTree {
					t.Errorf("%s %s", r.Method, r.URL)
				}
				w.Header().Set("X-Jenkins", "2.568.1")
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			})
			got, err := c.StillIdle(t.Context(), scaler.Node{Name: "n"})
			if got != tt.want || !errors.Is(err, tt.is) || (err == nil) != (tt.is == nil) || errors.Is(err, scaler.ErrGone) {
				t.Errorf("StillIdle() = %v, %v, want %v, %v", got, err, tt.want, tt.is)
			}
		})
	}
}

// TestStillIdleUnderTheSameMark: the hook marks a node when a build begins. So only the time of the mark
// shows that no build has begun.
func TestStillIdleUnderTheSameMark(t *testing.T) {
	const at = 1796004033796
	c := newClient(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Jenkins", "2.568.1")
		fmt.Fprintf(w, `{"_class":"hudson.slaves.SlaveComputer","displayName":"n","offlineCause":{"_class":"hudson.slaves.OfflineCause$UserCause","timestamp":%d},`+
			`"offlineCauseReason":"bellboard-hook(bellboard): one build","temporarilyOffline":true,"idle":true,"executors":[{"idle":true}],"oneOffExecutors":[]}`, at)
	})
	for _, tt := range []struct {
		name string
		at   time.Time
		want bool
	}{{"the same", time.UnixMilli(at), true}, {"a later one", time.UnixMilli(at - 1), false}, {"Jenkins did not say when", time.Time{}, true}} {
		got, err := c.StillIdle(t.Context(), scaler.Node{Name: "n", OfflineBy: scaler.Hook, MarkedAt: tt.at})
		if err != nil || got != tt.want {
			t.Errorf("%s: StillIdle() = %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}
