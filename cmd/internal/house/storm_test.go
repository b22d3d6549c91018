package house

import (
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/cmd/internal/app"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// pipes is a listener without a socket, for virtual time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	close(p.done)
	return nil
}

func (pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours, nil
}

// TestAWebhookThatHangs leaves the pods of one team without an answer for ten minutes, with 200 builds
// waiting. The loop goes on: it is alive for its probe, clears the mark of an agent that a build wants back,
// and makes agents of another team. Afterwards all builds get agents.
func TestAWebhookThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const builds, soon = 200, 20 * time.Second
		var last, worst atomic.Int64
		began := time.Now()
		h, err := New(t.Context(), Config{Clock: clock.Real(), Seed: 5, Loads: []Load{}, Environ: []string{
			"BELLBOARD_TEAMS=web,data", "BELLBOARD_DEFAULT_MODE=ephemeral", "BELLBOARD_MAX_AGENTS=500",
			"BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_NAMESPACE=web", "BELLBOARD_TEAM_WEB_MAX_AGENTS=300",
			"BELLBOARD_TEAM_DATA_LABELS=docker",
		}, Record: func(scaler.Tick) {
			now := int64(time.Since(began))
			worst.Store(max(worst.Load(), now-last.Swap(now)))
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		page := pipes{make(chan net.Conn), make(chan struct{})}
		d, err := h.make(func(parts *app.Parts) { parts.Listener = page })
		if err != nil {
			t.Fatal(err)
		}
		h.run(t.Context(), d)
		web := &http.Client{Transport: &http.Transport{DialContext: page.dial, DisableKeepAlives: true}}
		await := func(what string, limit time.Duration, done func() bool) {
			t.Helper()
			for start := time.Now(); !done(); time.Sleep(100 * time.Millisecond) {
				if time.Since(start) > limit {
					t.Errorf("not within %s: %s", limit, what)
					return
				}
			}
		}

		// A long build, whose agent is marked, as busy ephemeral agents are.
		h.Jenkins.Submit(jenkinssim.Job{Name: "long", Label: "linux", Duration: 25 * time.Minute})
		marked := func() bool {
			return slices.ContainsFunc(h.Jenkins.NodesList(), func(n jenkinssim.NodeInfo) bool { return n.Busy > 0 && n.Marked != "" })
		}
		await("it runs on a marked agent", 5*time.Minute, marked)
		pods := h.Cluster.Pods()
		if len(pods) != 1 {
			t.Fatalf("there are %d pods, want one", len(pods))
		}
		var hanging atomic.Bool
		hanging.Store(true)
		h.Cluster.Refuse(func(r *http.Request, verb, resource string) *metav1.Status {
			if hanging.Load() && verb == "create" && resource == "pods" && strings.Contains(r.URL.Path, "/namespaces/web/") {
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			}
			return nil
		})
		worst.Store(0)
		for range builds {
			h.Jenkins.Submit(jenkinssim.Job{Name: "app", Label: "linux", Duration: time.Minute})
		}
		alive := time.NewTicker(5 * time.Second)
		go func() {
			for range 120 {
				<-alive.C
				resp, err := web.Get("http://bellboard/healthz")
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("/healthz says %s", resp.Status)
				}
			}
		}()
		time.Sleep(3 * time.Second) // in the midst of it
		h.Jenkins.Submit(jenkinssim.Job{Name: "by-hand", Label: pods[0].Name, Duration: time.Minute})
		h.Jenkins.Submit(jenkinssim.Job{Name: "other", Label: "docker", Duration: time.Minute})
		await("the mark is lifted", soon, func() bool { return !marked() })
		await("the other team's agent is there", soon, func() bool { return len(h.Cluster.Pods()) > 1 })
		time.Sleep(10 * time.Minute)
		if w := time.Duration(worst.Load()); w > soon {
			t.Errorf("for %s no tick ended", w)
		}
		hanging.Store(false)
		s, err := h.evening(t.Context())
		if err != nil {
			t.Errorf("the builds did not end: %v", err)
		}
		if s.BuildsFinished != builds+3 || s.BuildsKilled+s.BuildsLost+s.OrphansLeft > 0 {
			t.Errorf("of %d builds %d finished, %d were killed, %d lost; left %v", builds+3, s.BuildsFinished, s.BuildsKilled, s.BuildsLost, s.Left)
		}
		if n := s.AgentsCreated["ephemeral"]; n > builds+3 {
			t.Errorf("%d agents were made for %d builds", n, builds+2)
		}
	})
}
