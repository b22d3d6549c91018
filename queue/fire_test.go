package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"bellboard/metrics"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

// harness is a real client and a simulated Jenkins, with a network between them that can misbehave.
type harness struct {
	*testing.T
	jenkins *jenkinssim.Jenkins
	client  *Client
	loop    *control.Loop // polls through the client, and writes nothing
	metrics *metrics.Metrics
	reg     *prometheus.Registry
	pods    *podCluster
	view    scaler.JenkinsView // the loop's last view
	err     error
	// wire, when set, changes or loses an answer on its way.
	wire     func(*http.Request, *http.Response) (*http.Response, error)
	token    string
	requests []string // endpoint and code of every request
}

// RoundTrip sends a request through the wire.
func (f *harness) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := f.jenkins.Transport().RoundTrip(r)
	if err != nil || f.wire == nil {
		return res, err
	}
	return f.wire(r, res)
}

// watchedClient is the client for the loop. It keeps the last view and the last error.
type watchedClient struct {
	*Client
	f *harness
}

func (w watchedClient) Observe(ctx context.Context) (scaler.JenkinsView, error) {
	w.f.view, w.f.err = w.Client.Observe(ctx)
	return w.f.view, w.f.err
}

// podCluster is a cluster that answers Observe only.
type podCluster struct {
	control.Cluster
	all []scaler.Pod
}

func (p *podCluster) Observe(context.Context) (scaler.ClusterView, error) {
	return scaler.ClusterView{At: time.Now(), Pods: p.all}, nil
}

// withHarness runs a story in a bubble. The house has six nodes of Bellboard's, two of them with builds, and
// five waiting pipelines.
func withHarness(t *testing.T, cfg jenkinssim.Config, story func(*harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Clock = clock.Real()
		f := &harness{T: t, jenkins: jenkinssim.New(cfg), token: "token", reg: prometheus.NewRegistry(), pods: &podCluster{}}
		defer f.jenkins.Close()
		f.metrics = metrics.New(f.reg, nil, 0, "test", Endpoints(), Causes())
		var err error
		f.client, err = New(Config{
			URL: "http://jenkins:8080" + cfg.Prefix, User: "bellboard", Instance: "bellboard", Clock: clock.Real(), Transport: f,
			Token: func() (string, error) { return f.token, nil },
			Observe: func(e, code string, took time.Duration) {
				f.requests = append(f.requests, e+" "+code)
				f.metrics.JenkinsRequest(e, code, took)
			},
			Unseen: f.metrics.JenkinsUnseen, Skew: f.metrics.JenkinsSkew,
		})
		if err != nil {
			t.Fatal(err)
		}
		pool := webPool
		pool.StartTimeout, pool.IdleTimeout = 5*time.Minute, time.Minute
		f.loop = control.New(control.Config{
			Jenkins: watchedClient{f.client, f}, Cluster: f.pods, Clock: clock.Real(), Instance: "bellboard",
			Teams: func(time.Time) []scaler.Team {
				return []scaler.Team{{Name: "web", Labels: webPool.Labels, Mode: scaler.ModeEphemeral, MaxAgents: 10, Pools: []scaler.Pool{pool}}}
			},
			MaxAgents: 10, Poll: time.Second, Grace: 5 * time.Minute, DryRun: true,
		})
		for i := range 6 {
			name := fmt.Sprintf("web-e-%d", i)
			if err := f.client.Register(t.Context(), name, webPool, time.Time{}); err != nil {
				t.Fatal(err)
			}
			if i < 2 {
				f.connect(name)
			}
		}
		f.jenkins.Submit(jenkinssim.Job{Name: "build", Label: "linux", Duration: time.Hour})
		f.jenkins.Submit(jenkinssim.Job{Name: "test", Label: "linux && docker", Duration: time.Hour, Pipeline: true})
		time.Sleep(time.Second)
		for i := range 5 {
			f.jenkins.Submit(jenkinssim.Job{Name: fmt.Sprintf("folder/wait-%d", i), Label: "linux && docker", Duration: time.Hour, Pipeline: true})
		}
		time.Sleep(time.Second)
		story(f)
	})
}

func (f *harness) connect(name string) {
	f.Helper()
	if _, err := f.jenkins.Connect(name, f.jenkins.Secret(name), name); err != nil {
		f.Fatal(err)
	}
}

func (f *harness) poll() scaler.JenkinsView {
	f.Helper()
	v, err := f.client.Observe(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	return v
}

// tick runs one tick of the loop and records it as the daemon does.
func (f *harness) tick() scaler.Tick {
	t := f.loop.Tick(f.Context())
	f.metrics.Observe(t)
	if t.HoldBy == scaler.SourceJenkins && t.HoldCause != scaler.CauseOld && !slices.Contains(Causes(), string(t.HoldCause)) {
		f.Errorf("the hold's cause %q is none of %v", t.HoldCause, Causes())
	}
	return t
}

// settle waits until the grace has passed. Each node has a pod, so that agents that are not online yet
// count as on their way.
func (f *harness) settle() {
	f.Helper()
	f.tick()
	time.Sleep(6 * time.Minute)
	for i := range 6 {
		f.pods.all = append(f.pods.all, scaler.Pod{
			PoolID: webPool.PoolID, Name: fmt.Sprintf("web-e-%d", i), UID: "u", ResourceVersion: "1", Phase: scaler.PodRunning,
			Created: time.Now(), Scheduled: time.Now(), Connected: i < 2, Connect: scaler.Inbound,
		})
	}
	for range 2 {
		time.Sleep(time.Second)
		if t := f.tick(); t.Hold != "" || t.Grace != 0 {
			f.Fatalf("hold %q, %s of grace left", t.Hold, t.Grace)
		}
	}
}

// series returns the value of the series with these label values.
func (f *harness) series(name string, values ...string) float64 {
	f.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		f.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			got := []string{}
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if family.GetName() == name && slices.Equal(got, values) {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	f.Errorf("no series %s%q", name, values)
	return 0
}

var jenkinsHeaders = http.Header{"X-Jenkins": {"2.568.1"}, "X-Jenkins-Session": {"12345678"}, "Content-Type": {"application/json;charset=utf-8"}}

// strip removes a header from Jenkins' answers.
func (f *harness) strip(endpoint, header string) {
	f.wire = func(r *http.Request, res *http.Response) (*http.Response, error) {
		if on(r, endpoint) {
			res.Header.Del(header)
		}
		return res, nil
	}
}

// endless is a text that never ends.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

// TestUnderFire is the table of misbehaviours. Each of them makes the loop hold, with a text for people and a
// code and a cause for the metrics. The next good poll is as complete as ever.
func TestUnderFire(t *testing.T) {
	const login = "<html><head><title>Sign in [Jenkins]</title></head></html>"
	for name, c := range map[string]struct {
		do   func(f *harness, endpoint string)
		is   error
		says string
		code string // of a request; "error" stands for no complete answer
		away time.Duration
	}{
		"token wrong for good": {func(f *harness, _ string) { f.token = "old" }, ErrUnauthorized, "Error 401 Unauthorized", "401", 0},
		"permission taken":     {func(f *harness, _ string) { f.jenkins.Deny("hudson.model.Hudson.Read") }, ErrForbidden, "permission hudson.model.Hudson.Read required", "403", 0},
		"404":                  {func(f *harness, e string) { f.fault(e, 404, nil, "not here") }, ErrNotJenkins, "404", "404", 0},
		"500 page": {func(f *harness, e string) {
			f.fault(e, 500, jenkinsHeaders, "<html><head><title>Oops!</title></head><body>stack</body></html>")
		}, ErrUnavailable, "Oops!", "500", 0},
		"502 from a proxy": {func(f *harness, e string) {
			f.fault(e, 502, nil, "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>")
		}, ErrUnavailable, "502 Bad Gateway", "502", 0},
		"503 while starting": {func(f *harness, _ string) {
			f.jenkins.Restart(jenkinssim.Restart{Loading: time.Minute})
		}, ErrUnavailable, "Starting Jenkins", "503", time.Minute},
		"401 while starting": {func(f *harness, _ string) {
			f.jenkins.Restart(jenkinssim.Restart{Unauthorized: time.Minute})
		}, ErrUnauthorized, "while Jenkins starts", "401", time.Minute},
		"refused while down": {func(f *harness, _ string) {
			f.jenkins.Restart(jenkinssim.Restart{Down: time.Minute})
		}, ErrUnavailable, "connection refused", "error", time.Minute},
		"empty 200": {func(f *harness, e string) { f.fault(e, 200, jenkinsHeaders, "") }, ErrNotJenkins, "empty body", "200", 0},
		"HTML 200":  {func(f *harness, e string) { f.fault(e, 200, jenkinsHeaders, login) }, ErrNotJenkins, "Sign in [Jenkins]", "200", 0},
		"login page": {func(f *harness, e string) {
			f.fault(e, 302, http.Header{"Location": {"https://sso.example/login"}}, "")
		}, ErrNotJenkins, `redirected to "https://sso.example/login"`, "302", 0},
		"truncated": {func(f *harness, e string) { f.body(e, func(s string) string { return s[:len(s)/2] }) }, ErrNotJenkins, "JSON broken", "200", 0},
		"wrong class": {func(f *harness, e string) {
			f.body(e, func(s string) string { return strings.Replace(s, "hudson.model.", "hudson.other.", 1) })
		}, ErrNotJenkins, "hudson.other.", "200", 0},
		"proxy's {}": {func(f *harness, e string) { f.fault(e, 200, nil, "{}") }, ErrNotJenkins, "no X-Jenkins header", "200", 0},
		"reset":      {func(f *harness, e string) { f.fault(e, 0, nil, "") }, ErrUnavailable, "broken", "error", 0},
		"cut off": {func(f *harness, e string) {
			f.wire = func(r *http.Request, res *http.Response) (*http.Response, error) {
				if on(r, e) {
					res.Body = io.NopCloser(io.MultiReader(io.LimitReader(res.Body, 50), failing{}))
				}
				return res, nil
			}
		}, ErrUnavailable, "unexpected EOF", "error", 0},
		"slow body": {func(f *harness, e string) {
			f.wire = func(r *http.Request, res *http.Response) (*http.Response, error) {
				if on(r, e) {
					res.Body = slowBody{r.Context(), io.LimitReader(res.Body, 50)}
				}
				return res, nil
			}
		}, ErrUnavailable, "deadline", "error", 0},
		"a value without end": {func(f *harness, e string) {
			f.wire = func(r *http.Request, res *http.Response) (*http.Response, error) {
				if on(r, e) {
					res.ContentLength, res.Body = -1, io.NopCloser(io.MultiReader(strings.NewReader(`{"x":"`), endless{}))
				}
				return res, nil
			}
		}, ErrNotJenkins, "one value is longer than 16 MiB", "200", 0},
		"a firewall": {func(f *harness, e string) {
			f.fault(e, 403, nil, "<html><head><title>403 Forbidden</title></head><body>nginx</body></html>")
		}, ErrBlocked, `(status 403 without an X-Jenkins header): "403 Forbidden"`, "403", 0},
		"a proxy that takes the session away": {func(f *harness, e string) { f.strip(e, "X-Jenkins-Session") }, ErrStripped, "X-Jenkins-Session", "200", 0},
		"a proxy that takes the version away": {func(f *harness, e string) { f.strip(e, "X-Jenkins") }, ErrStripped, "has no X-Jenkins", "200", 0},
		"changed session": {func(f *harness, e string) {
			f.wire = func(r *http.Request, res *http.Response) (*http.Response, error) {
				if on(r, e) {
					res.Header.Set("X-Jenkins-Session", "abcdabcd")
				}
				return res, nil
			}
		}, ErrRestarted, "abcdabcd", "200", 0},
		"half an element": {func(f *harness, e string) {
			f.body(e, list(map[string]string{"computer": "computer", "queue": "items"}[e], func(all []json.RawMessage) []json.RawMessage {
				return append(all, json.RawMessage(`{"_class":"x","displayName":"y"}`))
			}))
		}, ErrNotJenkins, "without", "200", 0},
		"half of the nodes missing": {func(f *harness, _ string) {
			f.body("computer", list("computer", func(all []json.RawMessage) []json.RawMessage { return all[:len(all)-3] }))
		}, ErrPartial, "3 of 6 nodes of this instance are missing", "200", 0},
		"Job/Read lost": {func(f *harness, _ string) { f.jenkins.Deny("hudson.model.Item.Read") }, ErrBlind, "Job/Read", "200", 0},
	} {
		for _, endpoint := range []string{"computer", "queue"} {
			t.Run(name+" on "+endpoint, func(t *testing.T) {
				withHarness(t, jenkinssim.Config{}, func(f *harness) {
					if t := f.tick(); t.Hold != "" || len(t.Outcomes) == 0 {
						f.Fatalf("before the misbehaviour: hold %q, %d outcomes", t.Hold, len(t.Outcomes))
					}
					before := f.view
					c.do(f, endpoint)
					f.requests = nil
					t := f.tick()
					if !errors.Is(f.err, c.is) || !cmp.Equal(f.view, scaler.JenkinsView{}) {
						f.Errorf("a view of %d nodes and %d items, error %v", len(f.view.Nodes), len(f.view.Items), f.err)
					}
					if !strings.Contains(t.Hold, c.says) || t.HoldBy != scaler.SourceJenkins || len(t.Plan.Actions)+len(t.Outcomes) != 0 {
						f.Errorf("hold by %s: %q, %d actions", t.HoldBy, t.Hold, len(t.Plan.Actions))
					}
					if f.series("bellboard_hold", "jenkins") != 1 || f.series("bellboard_jenkins_unseen_total", string(scaler.CauseOf(c.is))) != 1 {
						f.Errorf("the metrics lack the hold or the cause %q", string(scaler.CauseOf(c.is)))
					}
					if last := f.requests[len(f.requests)-1]; !strings.HasSuffix(last, " "+c.code) || f.series("bellboard_jenkins_requests_total", c.code, strings.Fields(last)[0]) == 0 {
						f.Errorf("requests %q, want code %s at last", f.requests, c.code)
					}
					f.wire, f.token = nil, "token"
					f.jenkins.Fault(nil)
					f.jenkins.Deny()
					for range c.away / time.Second {
						time.Sleep(time.Second)
						f.tick()
					}
					time.Sleep(time.Second)
					if t := f.tick(); t.Hold != "" || f.series("bellboard_hold", "jenkins") != 0 {
						f.Fatalf("the tick afterwards holds: %s", t.Hold)
					}
					if len(f.view.Nodes) != len(before.Nodes) || len(f.view.Items) < len(before.Items) {
						f.Errorf("the view afterwards has %d nodes and %d items", len(f.view.Nodes), len(f.view.Items))
					}
				})
			})
		}
	}
}

// TestRightAnswersUnderFire is the table of misbehaviours that still leave a view. Such a view may show
// less than usual, but never anything wrong.
func TestRightAnswersUnderFire(t *testing.T) {
	t.Run("token rotated", func(t *testing.T) {
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			kept := "old" // a source keeps a token until Expire
			f.client.c.Token = func() (string, error) { return kept, nil }
			f.client.c.Expire = func() { kept = "token" }
			f.requests = nil
			f.poll()
			if diff := cmp.Diff([]string{"computers 401", "computers 200", "queue 200"}, f.requests); diff != "" {
				f.Error(diff)
			}
		})
	})
	t.Run("nodes missing for good", func(t *testing.T) {
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			all := f.poll()
			f.body("computer", list("computer", func(all []json.RawMessage) []json.RawMessage { return all[:len(all)-3] }))
			if _, err := f.client.Observe(f.Context()); !errors.Is(err, ErrPartial) {
				f.Fatal(err)
			}
			if v := f.poll(); len(v.Nodes) != len(all.Nodes)-3 { // a second answer without them is accepted
				f.Error(len(v.Nodes))
			}
		})
	})
	t.Run("nodes deleted by ourselves", func(t *testing.T) {
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			all := f.poll()
			for i := range 4 {
				if err := f.client.DeleteNode(f.Context(), fmt.Sprintf("web-e-%d", 2+i), time.Time{}); err != nil {
					f.Fatal(err)
				}
			}
			if v := f.poll(); len(v.Nodes) != len(all.Nodes)-4 {
				f.Error(len(v.Nodes))
			}
		})
	})
	t.Run("a node deleted by somebody before us", func(t *testing.T) {
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			f.poll()
			f.jenkins.PersonDelete("web-e-5")
			if err := f.client.DeleteNode(f.Context(), "web-e-5", time.Time{}); !errors.Is(err, scaler.ErrGone) {
				f.Error(err)
			}
			f.poll()
		})
	})
	t.Run("Swarm nodes go with their clients", func(t *testing.T) {
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			for i := range 9 {
				if _, err := f.jenkins.CreateSwarm(jenkinssim.SwarmAgent{
					Name: fmt.Sprintf("web-p-%d", i), Labels: "linux", Executors: 1, Exclusive: true,
					Description: scaler.Describe("bellboard", scaler.PoolID{Team: "web", Kind: scaler.Persistent}, false),
				}); err != nil {
					f.Fatal(err)
				}
			}
			if v := f.poll(); len(v.Nodes) != 16 {
				f.Fatal(len(v.Nodes))
			}
			for i := range 9 {
				f.jenkins.PersonDelete(fmt.Sprintf("web-p-%d", i))
			}
			if v := f.poll(); len(v.Nodes) != 7 {
				f.Error(len(v.Nodes))
			}
		})
	})
	t.Run("Swarm nodes go with a restart", func(t *testing.T) {
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			for i := range 9 {
				name := fmt.Sprintf("web-p-%d", i)
				if _, err := f.jenkins.CreateSwarm(jenkinssim.SwarmAgent{
					Name: name, Labels: "linux", Executors: 1, Exclusive: true,
					Description: scaler.Describe("bellboard", scaler.PoolID{Team: "web", Kind: scaler.Persistent}, false),
				}); err != nil {
					f.Fatal(err)
				}
			}
			if v := f.poll(); len(v.Nodes) != 16 {
				f.Fatal(len(v.Nodes))
			}
			f.jenkins.Restart(jenkinssim.Restart{})
			time.Sleep(time.Millisecond)
			if v := f.poll(); len(v.Nodes) != 7 {
				f.Error(len(v.Nodes))
			}
		})
	})
	t.Run("queue suddenly empty", func(t *testing.T) {
		// Jenkins says that no item waits. This may be true, because people cancel items. Bellboard accepts
		// the answer, because it does no harm: no agent on its way and no busy agent is touched for it. The
		// next poll shows the items again.
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			f.settle()
			before := f.view
			f.body("queue", list("items", func([]json.RawMessage) []json.RawMessage { return []json.RawMessage{} }))
			t := f.tick()
			if t.Hold != "" || len(f.view.Items) != 0 || len(f.view.Nodes) != len(before.Nodes) {
				f.Errorf("hold %q, %d nodes, %d items", t.Hold, len(f.view.Nodes), len(f.view.Items))
			}
			for _, a := range t.Plan.Actions {
				if a.Verb.Destructive() && a.Reason != scaler.ReasonOneBuild {
					f.Errorf("action %s of %s, because the queue looked empty", a.Verb, a.Agent)
				}
			}
			f.wire = nil
			f.tick()
			if diff := cmp.Diff(before.Items, f.view.Items); diff != "" {
				f.Error(diff)
			}
		})
	})
	t.Run("an agent's node missing while its build begins", func(t *testing.T) {
		// This is the one answer that could kill a build: it makes Bellboard delete the pod of an agent that
		// was not seen online yet.
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			deleted := func(t scaler.Tick) bool {
				return slices.ContainsFunc(t.Plan.Actions, func(a scaler.Action) bool { return a.Verb == scaler.DeletePod && a.Agent == "web-e-5" })
			}
			f.settle()
			f.connect("web-e-5") // and the agent gets a build at once
			f.body("computer", list("computer", func(all []json.RawMessage) []json.RawMessage { return all[:len(all)-1] }))
			if t := f.tick(); t.Hold != "" || deleted(t) {
				f.Errorf("the node is missing from one answer: hold %q, pod deleted: %v", t.Hold, deleted(t))
			}
			if t := f.tick(); t.Hold != "" || !deleted(t) {
				f.Errorf("the node is missing from two answers: hold %q, pod deleted: %v", t.Hold, deleted(t))
			}
		})
	})
	t.Run("an item left out", func(t *testing.T) {
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			before := f.poll()
			f.body("queue", list("items", func(all []json.RawMessage) []json.RawMessage { return all[1:] }))
			if diff := cmp.Diff(before.Items[1:], f.poll().Items); diff != "" {
				f.Error(diff)
			}
		})
	})
	t.Run("clock skew", func(t *testing.T) {
		// Jenkins' clock is an hour ahead, and then right again. Our clock says when an item entered the
		// queue.
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			f.tick()
			before := f.view.Items
			if got := f.series("bellboard_jenkins_clock_skew_seconds"); got != 0 {
				f.Errorf("clocks that agree differ by %v s", got)
			}
			const ahead = time.Hour
			shift := regexp.MustCompile(`"inQueueSince":\d+`)
			f.body("queue", func(s string) string {
				return shift.ReplaceAllStringFunc(s, func(s string) string {
					var ms int64
					if _, err := fmt.Sscanf(s, `"inQueueSince":%d`, &ms); err != nil {
						panic(err)
					}
					return fmt.Sprintf(`"inQueueSince":%d`, ms+ahead.Milliseconds())
				})
			})
			shifted := f.wire
			f.wire = func(r *http.Request, res *http.Response) (*http.Response, error) {
				res.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
				return shifted(r, res)
			}
			for range 20 {
				time.Sleep(900 * time.Millisecond)
				if t := f.tick(); t.Hold != "" {
					f.Fatal(t.Hold)
				}
				got := f.series("bellboard_jenkins_clock_skew_seconds")
				if off := math.Abs(got - ahead.Seconds()); off > 1 {
					f.Errorf("clock skew of an hour is %v s", got)
				}
				for i, it := range f.view.Items {
					if off := it.Since.Sub(before[i].Since).Abs(); off > time.Second {
						f.Errorf("the time of item %d is wrong by %s", it.ID, off)
					}
				}
			}
			f.wire = nil
			f.tick()
			if got := f.series("bellboard_jenkins_clock_skew_seconds"); math.Abs(got) > 1 {
				f.Errorf("the clock is right again, and the skew is still %v s", got)
			}
		})
	})
	t.Run("no clock", func(t *testing.T) {
		withHarness(t, jenkinssim.Config{}, func(f *harness) {
			told := false
			f.client.c.Skew = func(time.Duration) { told = true }
			for _, date := range []string{"", "today"} {
				f.wire = func(_ *http.Request, res *http.Response) (*http.Response, error) {
					res.Header.Set("Date", date)
					return res, nil
				}
				if f.poll(); told {
					f.Errorf("the skew was set from Date %q", date)
				}
			}
		})
	})
	t.Run("below a path, other permissions", func(t *testing.T) {
		withHarness(t, jenkinssim.Config{Prefix: "/ci/jenkins"}, func(f *harness) {
			if v := f.poll(); len(v.Items) != 5 || v.Items[0].Job != "folder/wait-4" {
				f.Errorf("%+v", v.Items)
			}
			for permission, write := range map[string]func() error{
				"Create":     func() error { return f.client.Register(f.Context(), "web-e-x", webPool, time.Time{}) },
				"Disconnect": func() error { return f.client.Mark(f.Context(), "web-e-0", "bellboard(bellboard): idle", time.Time{}) },
				"Delete":     func() error { return f.client.DeleteNode(f.Context(), "web-e-0", time.Time{}) },
			} {
				f.jenkins.Deny("hudson.model.Computer." + permission)
				if err := write(); !errors.Is(err, scaler.ErrRejected) || !strings.Contains(err.Error(), "hudson.model.Computer."+permission+" required") {
					f.Errorf("without %s: %v", permission, err)
				}
			}
			f.jenkins.Deny("hudson.model.Computer.Connect", "hudson.model.Computer.Disconnect")
			if _, err := f.client.Secret(f.Context(), "web-e-0"); err == nil || !strings.Contains(err.Error(), "hudson.model.Computer.Connect required") {
				f.Error(err)
			}
		})
	})
}
