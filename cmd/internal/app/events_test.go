package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/record"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// TestEvents checks the events on the Lease, and that repeated events are counted.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		a := p.start("a")
		p.work(10 * time.Second)
		p.jenkins.Restart(jenkinssim.Restart{Loading: 20 * time.Second})
		p.work(time.Minute)
		client, err := kubernetes.NewForConfig(p.cluster.RESTConfig())
		if err != nil {
			t.Fatal(err)
		}
		list, err := client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var reasons []string
		for i := range list.Items {
			e := &list.Items[i]
			if e.InvolvedObject.Name != "bellboard-bellboard" || e.InvolvedObject.Kind != "Lease" {
				t.Errorf("event %s is on %s %s, want the Lease", e.Reason, e.InvolvedObject.Kind, e.InvolvedObject.Name)
			}
			// For many similar events client-go writes the last one again, without the annotation.
			if e.Annotations[tickAnnotation] == "" && !strings.HasSuffix(e.Message, eventCombined) {
				t.Errorf("event %s names no tick", e.Reason)
			}
			reasons = append(reasons, e.Reason)
			t.Logf("%s ×%d: %s", e.Reason, e.Count, e.Message)
		}
		for _, want := range []string{eventScaledUp, eventHolding, eventReadableAgain} {
			if !slices.Contains(reasons, want) {
				t.Errorf("no event %s among %s", want, strings.Join(reasons, " "))
			}
		}
		if n := len(list.Items); n > 30 {
			t.Errorf("%d events in 70 s, want them put together", n)
		}
		a.stop()
		<-a.ended
	})
}

// TestTheLeaseShowsItsEvents checks that events have the UID of the Lease, also of a new Lease after a
// deletion: kubectl describe shows only those.
func TestTheLeaseShowsItsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		a := p.start("a")
		p.work(10 * time.Second)
		client, err := kubernetes.NewForConfig(p.cluster.RESTConfig())
		if err != nil {
			t.Fatal(err)
		}
		leases := client.CoordinationV1().Leases("default")
		shows := func(reason string) {
			t.Helper()
			lease, err := leases.Get(t.Context(), "bellboard-bellboard", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			list, err := client.CoreV1().Events("default").SearchWithContext(t.Context(), scheme.Scheme, lease)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(list.Items, func(e corev1.Event) bool { return e.Reason == reason }) {
				t.Errorf("no event %s is shown with the Lease %s, but %d others", reason, lease.UID, len(list.Items))
			}
		}
		shows(eventScaledUp)
		if err := leases.Delete(t.Context(), "bellboard-bellboard", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * retryPeriod)
		a.toJenkins.Store(true)
		time.Sleep(10 * time.Second)
		shows(eventHolding)
		a.stop()
		<-a.ended
		b := p.start("b") // finds it there
		p.work(10 * time.Second)
		shows(eventScaledUp)
		b.stop()
		<-b.ended
	})
}

// TestAllRequestsToKubernetesAreCounted checks that each request for the Lease, for events and of the pool
// counts once, with an answer or without.
func TestAllRequestsToKubernetesAreCounted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		breaks func(p *pair, a *instance)
		counts []string // code, resource, verb
	}{
		{"all is well", func(*pair, *instance) {}, []string{"201 leases create", "200 leases update", "201 events create", "201 pods create", "200 pods watch"}},
		{"it may not have the Lease", func(p *pair, _ *instance) {
			p.cluster.Refuse(func(_ *http.Request, _, resource string) *metav1.Status {
				if resource != "leases" {
					return nil
				}
				return &apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no role")).ErrStatus
			})
		}, []string{"403 leases get"}},
		{"cut", func(_ *pair, a *instance) { a.toKube.Store(true) }, []string{"error leases get"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				a := p.make("a", "BELLBOARD_NAMESPACE=default")
				pods := func() string {
					return strconv.Itoa(len(slices.DeleteFunc(p.ledger.all(), func(w write) bool { return w.what != "POST /api/v1/namespaces/default/pods" })))
				}
				tt.breaks(p, a)
				ctx, stop := context.WithCancel(t.Context())
				go func() { a.ended <- a.d.Run(ctx) }()
				p.work(10 * time.Second)
				stop()
				<-a.ended
				said := a.ask("/metrics").Body.String()
				for _, want := range tt.counts {
					w := strings.Fields(want)
					if _, n, there := strings.Cut(said, fmt.Sprintf("bellboard_kube_requests_total{code=%q,resource=%q,verb=%q} ", w[0], w[1], w[2])); !there {
						t.Errorf("%s is not counted", want)
					} else if n, _, _ = strings.Cut(n, "\n"); want == "201 pods create" && n != pods() {
						t.Errorf("%s pods are counted, of %s", n, pods())
					}
				}
				time.Sleep(renewDeadline) // for the answers that no build waits for
			})
		})
	}
}

func TestRequestsToKubernetesHaveTheNamesOfARole(t *testing.T) {
	for call, want := range map[string]string{
		"GET /api/v1/namespaces/ci/pods?watch=true":               "watch pods",
		"GET /api/v1/namespaces/ci/pods?labelSelector=a":          "list pods",
		"GET /api/v1/namespaces/ci/pods/x":                        "get pods",
		"GET /api/v1/namespaces/ci/pods/x/log":                    "get pods/log",
		"PATCH /api/v1/namespaces/ci/persistentvolumeclaims/x":    "patch persistentvolumeclaims",
		"DELETE /api/v1/namespaces/ci/pods/x":                     "delete pods",
		"POST /api/v1/namespaces/ci/secrets":                      "create secrets",
		"PUT /apis/coordination.k8s.io/v1/namespaces/ci/leases/x": "update leases",
		"GET /apis/coordination.k8s.io/v1/namespaces/ci/leases/x": "get leases",
		"GET /api/v1/namespaces/ci/resourcequotas":                "list resourcequotas",
	} {
		method, address, _ := strings.Cut(call, " ")
		verb, resource := kubeCall(httptest.NewRequest(method, address, nil))
		if got := verb + " " + resource; got != want {
			t.Errorf("%s is %q, want %q", call, got, want)
		}
	}
}

// TestEventsOfOneSilenceNoOther checks that a team whose agents fail again and again, each with another text,
// costs few requests, and that other events arrive.
func TestEventsOfOneSilenceNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		client, err := kubernetes.NewForConfig(p.cluster.RESTConfig())
		if err != nil {
			t.Fatal(err)
		}
		var calls atomic.Int32
		cfg := p.cluster.RESTConfig()
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				calls.Add(1)
				return next.RoundTrip(r)
			})
		})
		counted, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		e := &reader{events: newEvents(counted, "default", "bellboard", nil, zap.NewNop())}
		defer e.stop()
		id := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
		for n := range 100 {
			e.observe(scaler.Tick{ID: "a-1", Facts: scaler.Facts{Failures: []scaler.FailedAgent{{PoolID: id, Failure: scaler.FailureStorage, Text: fmt.Sprint("agent ", n)}}}})
			time.Sleep(time.Second)
		}
		const most = eventBurst + 100/60 + 1
		if n := calls.Load(); n > most {
			t.Errorf("%d calls for 100 failures in 100 s, want %d at most", n, most)
		}
		// Lost builds of the same pool, a failure of another team, and holds.
		ticks := []scaler.Tick{
			{Facts: scaler.Facts{BuildsLost: []scaler.LostBuilds{{PoolID: id, Agent: "web-e-1", Builds: 1, Text: "its pod vanished"}}}},
			{Facts: scaler.Facts{Failures: []scaler.FailedAgent{{PoolID: scaler.PoolID{Team: "data", Kind: scaler.Ephemeral}, Failure: scaler.FailureOOM, Text: "it ended"}}}},
		}
		for range 3 { // as often as it is said, it is one event
			ticks = append(ticks, scaler.Tick{Hold: "Jenkins is away", HoldBy: scaler.SourceJenkins}, scaler.Tick{Hold: "it still is", HoldBy: scaler.SourceJenkins}, scaler.Tick{})
		}
		for _, tick := range ticks {
			e.observe(tick)
			time.Sleep(time.Second)
		}
		list, err := client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int32{}
		for i := range list.Items {
			got[subject(&corev1.Event{Reason: list.Items[i].Reason, Message: list.Items[i].Message})] += list.Items[i].Count
		}
		for what, count := range map[string]int32{
			"BuildLost web, ephemeral": 1, "AgentFailed data, ephemeral": 1, "Holding nothing is created, marked or removed": 3,
		} {
			if got[what] != count {
				t.Errorf("%s was told %d times, want %d; all: %v", what, got[what], count, got)
			}
		}
	})
}

// reader is events of ticks whose news is found as a loop does it.
type reader struct {
	*events
	paper scaler.Newspaper
}

func (r *reader) observe(t scaler.Tick) {
	r.paper.Read(&t)
	r.events.observe(t)
}

// TestRefusedEventsCostNothing checks a Bellboard without the right to write events. It sends one request and
// logs one line, and then sends nothing for a long and growing time. With the right it writes the events that
// happen then.
func TestRefusedEventsCostNothing(t *testing.T) {
	web := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	failed := func(n int) scaler.Tick { // each as in no tick before
		return scaler.Tick{ID: "a-1", Facts: scaler.Facts{Failures: []scaler.FailedAgent{{PoolID: web, Failure: scaler.FailureOOM, Text: fmt.Sprint("agent ", n)}}}}
	}
	for verb, want := range map[string]struct{ sooner, later int32 }{
		"POST":  {1, 5},   // at once, after ten minutes, after twenty more; a change may come before the last two
		"PATCH": {14, 60}, // what is new is told all the same
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t)
			var calls, refused atomic.Int32
			var given atomic.Bool
			cfg := p.cluster.RESTConfig()
			cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
				return roundTrip(func(r *http.Request) (*http.Response, error) {
					calls.Add(1)
					if r.Method == verb && !given.Load() {
						refused.Add(1)
					}
					return next.RoundTrip(r)
				})
			})
			p.cluster.Refuse(func(r *http.Request, _, resource string) *metav1.Status {
				if resource != "events" || r.Method != verb || given.Load() {
					return nil
				}
				return &apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no role")).ErrStatus
			})
			client, err := kubernetes.NewForConfig(cfg)
			if err != nil {
				t.Fatal(err)
			}
			core, logged := observer.New(zap.WarnLevel)
			e := &reader{events: newEvents(client, "default", "bellboard", nil, zap.New(core))}
			defer e.stop()
			tell := func(from, to int) {
				for n := from; n < to; n++ {
					e.observe(failed(n / 2)) // each twice: the second is a change of the first
					time.Sleep(20 * time.Second)
				}
			}
			tell(0, 25) // not yet ten minutes
			if n := refused.Load(); n != 1 || calls.Load() > want.sooner {
				t.Errorf("%s: %d refused and %d calls in all in 8 minutes, want 1 and %d", verb, n, calls.Load(), want.sooner)
			}
			tell(25, 180) // an hour
			if n := refused.Load(); n != 3 || calls.Load() > want.later {
				t.Errorf("%s: %d refused and %d calls in all in an hour, want 3 and %d", verb, n, calls.Load(), want.later)
			}
			if logged.Len() != 1 || !strings.Contains(fmt.Sprint(logged.All()[0]), "deploy/install.yaml") {
				t.Errorf("%s: the log says %v, want one line with a remedy", verb, logged.All())
			}
			given.Store(true)
			time.Sleep(2 * time.Hour)
			tell(200, 204)
			list, err := client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(list.Items, func(e corev1.Event) bool { return strings.Contains(e.Message, "agent 101") }) {
				t.Errorf("%s: with the right given nothing is told: %d events", verb, len(list.Items))
			}
		})
	}
}

// TestEventsAreOneLine checks that each event has one line, whatever the last lines of a log are: kubectl
// shows each event as a row.
func TestEventsAreOneLine(t *testing.T) {
	fake := record.NewFakeRecorder(20)
	e := &reader{events: &events{recorder: fake}}
	id := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	e.observe(scaler.Tick{Facts: scaler.Facts{
		Failures: []scaler.FailedAgent{{PoolID: id, Failure: scaler.FailureCrashLoop, Text: "it ended\x1b[2J", Log: "one\ntwo\u202e"}},
	}})
	if got, want := <-fake.Events, `last log lines: one\ntwo\u202e`; strings.ContainsAny(got, "\n\x1b\u202e") || !strings.Contains(got, want) {
		t.Errorf("the event is %q, want %q in it", got, want)
	}
}

// TestDecisionEvents checks that each change has an event. A block has an event when it begins and when its
// rules change, not when its text counts down.
func TestDecisionEvents(t *testing.T) {
	fake := record.NewFakeRecorder(20)
	e := &reader{events: &events{recorder: fake}}
	blocked := func(text string, rules ...scaler.Rule) scaler.Decision {
		d := scaler.Decision{Team: "web", Waiting: 3, Reason: scaler.ReasonBlocked, Text: text}
		for _, r := range rules {
			d.Steps = append(d.Steps, scaler.Step{Rule: r, From: 3})
		}
		return d
	}
	for _, d := range []scaler.Decision{
		{Team: "web", Up: map[scaler.Kind]int{scaler.Ephemeral: 2, scaler.Persistent: 1}, Text: "3 waiting"},
		{Team: "web", Down: map[scaler.Kind]int{scaler.Persistent: 1}, Text: "drains 1 agent: idle too long"},
		{Team: "web", Renew: map[scaler.Kind]int{scaler.Persistent: 1}, Text: "renews 1 agent: older than MAX_LIFETIME=24h"},
		{Team: "web", Text: "no build waits"},
		blocked("9s left", scaler.RuleScaleUpCooldown),
		blocked("8s left", scaler.RuleScaleUpCooldown),
		blocked("8s left, MAX_AGENTS=3", scaler.RuleMaxAgents, scaler.RuleScaleUpCooldown),
	} {
		e.observe(scaler.Tick{ID: "a-1", Plan: scaler.Plan{Decisions: []scaler.Decision{d}}})
	}
	close(fake.Events)
	var got []string
	for text := range fake.Events {
		text, _, _ = strings.Cut(text, " map[") // the annotation
		got = append(got, text)
	}
	want := []string{
		"Normal ScaledUp web: +2 ephemeral, +1 persistent: 3 waiting", "Normal ScaledDown web: -1 persistent: drains 1 agent: idle too long",
		"Normal Renewing web: renew 1 persistent: renews 1 agent: older than MAX_LIFETIME=24h",
		"Warning Blocked web: 3 waiting: 9s left", "Warning Blocked web: 3 waiting: 8s left, MAX_AGENTS=3",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the events are %q, want %q", got, want)
	}
}

// TestRefusalEvents checks that a rejection with a class of failure has only the event of that failure. Other
// rejections have one event for each pool.
func TestRefusalEvents(t *testing.T) {
	fake := record.NewFakeRecorder(10)
	e := &reader{events: &events{recorder: fake}}
	web := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	refused := func(v scaler.Verb, f scaler.Failure, text string) scaler.Outcome {
		return scaler.Outcome{Action: scaler.Action{Verb: v, Pool: web}, Result: scaler.Rejected, Failure: f, Error: text}
	}
	e.observe(scaler.Tick{
		ID: "a-1",
		Outcomes: []scaler.Outcome{
			refused(scaler.Create, scaler.FailureQuota, "exceeded quota"), refused(scaler.Create, scaler.FailureQuota, "exceeded quota"),
			refused(scaler.Register, "", "no such permission"), refused(scaler.Register, "", "no such permission"),
		},
		Facts: scaler.Facts{Failures: []scaler.FailedAgent{
			{PoolID: web, Failure: scaler.FailureQuota, Text: "exceeded quota"}, {PoolID: web, Failure: scaler.FailureQuota, Text: "exceeded quota"},
		}},
	})
	close(fake.Events)
	var got []string
	for text := range fake.Events {
		got = append(got, text)
	}
	want := []string{"Warning CreateRejected web, ephemeral: no such permission", "Warning AgentFailed web, ephemeral: 2 failed: quota: exceeded quota"}
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], " map[") // the annotation
	}
	if !slices.Equal(got, want) {
		t.Errorf("the events are %q, want %q", got, want)
	}
}

// TestLostEvents checks that builds that lost their agents in one tick are one event for each pool. The event
// names some of the agents.
func TestLostEvents(t *testing.T) {
	fake := record.NewFakeRecorder(10)
	e := &reader{events: &events{recorder: fake}}
	web, data := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, scaler.PoolID{Team: "data", Kind: scaler.Persistent}
	var lost []scaler.LostBuilds
	for _, name := range []string{"web-e-1", "web-e-2", "web-e-3", "web-e-4", "web-e-5"} {
		lost = append(lost, scaler.LostBuilds{PoolID: web, Agent: name, Builds: 1, Text: "its pod vanished"})
	}
	lost[3].Log = strings.Repeat("y", 1000) + "no memory"
	lost = append(lost, scaler.LostBuilds{PoolID: data, Agent: "data-p-1", Builds: 3, Text: "its pod ended: Evicted: " + strings.Repeat("x", 1000)})
	e.observe(scaler.Tick{ID: "a-1", Facts: scaler.Facts{BuildsLost: lost}})
	close(fake.Events)
	var got []string
	for text := range fake.Events {
		got = append(got, text)
	}
	if len(got) != 2 ||
		!strings.HasPrefix(got[0], "Warning BuildLost web, ephemeral: 5 lost with their agents: web-e-1 (its pod vanished), web-e-2 (its pod vanished), web-e-3 (its pod vanished) and 2 more; last log lines: …yyy") || !strings.Contains(got[0], "no memory") || len(got[0]) > 600 ||
		!strings.HasPrefix(got[1], "Warning BuildLost data, persistent: 3 lost with their agents: data-p-1 (its pod ended: Evicted: xxx") || len(got[1]) > 400 {
		t.Errorf("the events are %q", got)
	}
}

// TestFailureEvents checks that agents that failed alike in one tick are one event, with the last lines of
// the first log.
func TestFailureEvents(t *testing.T) {
	fake := record.NewFakeRecorder(10)
	e := &reader{events: &events{recorder: fake}}
	web := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	failed := func(f scaler.Failure, text, log string) scaler.FailedAgent {
		return scaler.FailedAgent{PoolID: web, Failure: f, Text: text, Log: log}
	}
	e.observe(scaler.Tick{ID: "a-1", Facts: scaler.Facts{Failures: []scaler.FailedAgent{
		failed(scaler.FailureCrashLoop, "its pod ended", ""),
		failed(scaler.FailureQuota, "exceeded quota", ""),
		failed(scaler.FailureCrashLoop, "its pod ended too", strings.Repeat("x", 1000)+"the end"),
	}}})
	close(fake.Events)
	var got []string
	for text := range fake.Events {
		got = append(got, text)
	}
	if len(got) != 2 || !strings.HasPrefix(got[0], "Warning AgentFailed web, ephemeral: 2 failed: crash-loop: its pod ended too; last log lines: …xxx") ||
		!strings.Contains(got[0], "the end") || len(got[0]) > 600 || !strings.HasPrefix(got[1], "Warning AgentFailed web, ephemeral: 1 failed: quota: exceeded quota") {
		t.Errorf("the events are %q", got)
	}
}
