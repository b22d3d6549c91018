package app

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/client-go/rest"

	"bellboard/cmd/internal/config"
	"bellboard/metrics/web"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// TestRunWarns checks that Bellboard logs at every start what is dangerous and allowed.
func TestRunWarns(t *testing.T) {
	settings, err := config.Load([]string{
		"BELLBOARD_JENKINS_URL=http://127.0.0.1:1", "BELLBOARD_JENKINS_USER=bellboard", "BELLBOARD_JENKINS_TOKEN_FILE=/run/token", "BELLBOARD_DRY_RUN=true",
		"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral",
		"BELLBOARD_TEAM_WEB_DOCKER=host", "BELLBOARD_TEAM_WEB_ALLOW_HOST_DOCKER=true",
	})
	if err != nil {
		t.Fatal(err)
	}
	log, lines := observer.New(zap.WarnLevel)
	d, err := New(Parts{Settings: settings, Clock: clock.Real(), Log: zap.New(log), Kube: &rest.Config{Host: "http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if lines.FilterMessageSnippet("can take over its Kubernetes node").Len() != 1 {
		var all []string
		for _, l := range lines.All() {
			all = append(all, l.Message)
		}
		t.Errorf("it says: %s", strings.Join(all, "; "))
	}
}

// hold returns the reason of the replica's hold.
func (i *instance) hold(t *testing.T) string {
	t.Helper()
	w := i.ask("/api/v1/status")
	var s web.Status
	if err := web.ReadJSON(w.Body.Bytes(), &s); err != nil || s.Tick == nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return s.Tick.Hold
}

// TestNodesThatAreGone deletes half of the Jenkins nodes between two answers. For the leader, which has
// deleted none, that is an incomplete answer. A standby or a dry run polls seldom and cannot know: for them
// the leader may have deleted the nodes.
func TestNodesThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		nodes := func(round int) (names []string) {
			for i := range 10 {
				names = append(names, fmt.Sprintf("web-e-%d%09d", round, i))
			}
			return names
		}
		add := func(round int) {
			for _, n := range nodes(round) {
				p.jenkins.AddNode(jenkinssim.Node{
					Name: n, Labels: "linux", Description: scaler.Describe("bellboard", scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, false),
				}, false)
			}
		}
		add(0)
		p.jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: time.Minute})
		leader := p.start("a")
		time.Sleep(10*time.Second + 500*time.Millisecond)
		standby, dry := p.start("b"), p.start("c", "BELLBOARD_DRY_RUN=true")
		for round := range 4 {
			time.Sleep(standbyPoll)
			for _, i := range []*instance{leader, standby, dry} {
				if hold := i.hold(t); hold != "" {
					t.Errorf("round %d: the %s holds: %s; want nobody to", round, i.d.Replica().Role, hold)
				}
			}
			for _, n := range nodes(round) {
				p.jenkins.PersonDelete(n)
			}
			add(round + 1)
			time.Sleep(time.Second) // one look of the leader, who looks in the middle of it
			if hold := leader.hold(t); !strings.Contains(hold, "nodes of this instance are missing since the answer before") {
				t.Errorf("round %d: the leader holds: %q, want it to for the nodes that are missing", round, hold)
			}
			if hold := dry.hold(t); hold != "" {
				t.Errorf("round %d: the dry run holds: %s", round, hold)
			}
		}
	})
}

// ask returns an answer of the replica's HTTP port.
func (i *instance) ask(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	i.d.web.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w
}

// TestHealthAllowsRareLooks checks that a loop counts as stuck after ten polls without a tick, and after
// three polls of a standby.
func TestHealthAllowsRareLooks(t *testing.T) {
	for poll, most := range map[string]time.Duration{"1s": 90 * time.Second, "30s": 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			i := newPair(t).make("a", "BELLBOARD_POLL_INTERVAL="+poll) // no tick of it ever ends
			time.Sleep(most)
			if got := i.ask("/healthz").Code; got != http.StatusOK {
				t.Errorf("POLL_INTERVAL=%s: %s without a tick are answered with %d, want 200", poll, most, got)
			}
			time.Sleep(time.Second)
			if got := i.ask("/healthz").Code; got != http.StatusServiceUnavailable {
				t.Errorf("POLL_INTERVAL=%s: a second more is answered with %d, want 503", poll, got)
			}
		})
	}
}

// itsOwn are the series that each replica has of itself. Sums over the replicas leave all others to the leader.
var itsOwn = regexp.MustCompile(`^bellboard_(leader|build_info|jenkins_|kube_)`)

// TestStandbyCountsNothing checks that a standby shows on its page what it reads. Only the leader counts in
// the sums over all replicas.
func TestStandbyCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		const window = "BELLBOARD_TEAM_WEB_SCHEDULE=0 0 * * * for 1h: MAX_AGENTS=150" // the bubble begins at midnight
		a := p.start("a", window)
		p.work(10 * time.Second)
		b := p.start("b", window)
		p.work(time.Minute)
		for _, tt := range []struct {
			i      *instance
			counts bool
		}{{a, true}, {b, false}} {
			if got := tt.i.ask("/readyz").Code; got != http.StatusOK {
				t.Errorf("the %s is not ready: %d", tt.i.d.Replica().Role, got)
			}
			shown := false
			for line := range strings.Lines(tt.i.ask("/metrics").Body.String()) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
				if name == "bellboard_tick_duration_seconds_count" && (value != "0") != tt.counts {
					t.Errorf("the %s has counted %s ticks, want some: %t", tt.i.d.Replica().Role, value, tt.counts)
				}
				shown = shown || name == `bellboard_agents_max{team="web"}` && value == "150"
				if !tt.counts && value != "0" && strings.HasPrefix(name, "bellboard_") && !itsOwn.MatchString(name) || !tt.counts && strings.HasPrefix(name, "bellboard_agents{") {
					t.Errorf("the %s shows %s", tt.i.d.Replica().Role, strings.TrimSpace(line))
				}
			}
			if shown != tt.counts {
				t.Errorf("the %s shows MAX_AGENTS of the window: %t, want %t", tt.i.d.Replica().Role, shown, tt.counts)
			}
			defer func() { tt.i.stop(); <-tt.i.ended }()
		}
	})
}

// TestWhatItWaitsFor checks that a server that does not answer at the start is named after two seconds: to a
// person who asked for a plan, and in the daemon's log. A server that answers is not named.
func TestWhatItWaitsFor(t *testing.T) {
	for _, tt := range []struct {
		name string
		hang func(p *pair, silent *atomic.Bool)
		says string
	}{
		{"nobody", func(*pair, *atomic.Bool) {}, ""},
		{"the API server", func(p *pair, silent *atomic.Bool) {
			p.kube = func(next http.RoundTripper) http.RoundTripper {
				return roundTrip(func(r *http.Request) (*http.Response, error) {
					if silent.Load() {
						<-r.Context().Done()
						return nil, r.Context().Err()
					}
					return next.RoundTrip(r)
				})
			}
		}, "the API server http"},
		{"Jenkins", func(p *pair, _ *atomic.Bool) { p.jenkins.Hang(10 * time.Minute) }, "Jenkins at http://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				var silent atomic.Bool
				silent.Store(true)
				tt.hang(p, &silent)
				i := p.make("a")
				told := make(chan string, 9)
				began := time.Now()
				i.d.parts.Waiting = func(what string) {
					if took := time.Since(began); took > 3*time.Second {
						t.Errorf("%s is named after %s", what, took)
					}
					told <- what
				}
				ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
				defer cancel()
				_, err := i.d.Plan(ctx)
				synctest.Wait()
				var said []string
				for len(told) > 0 {
					said = append(said, <-told)
				}
				if tt.says == "" && (len(said) > 0 || err != nil) || tt.says != "" && (len(said) != 1 || !strings.HasPrefix(said[0], tt.says)) {
					t.Errorf("a plan says that it waits for %q (%v), want %q", said, err, tt.says)
				}
				core, logs := observer.New(zap.InfoLevel)
				i = p.make("b")
				i.d.parts.Log = zap.New(core)
				working, stop := context.WithTimeout(t.Context(), 10*time.Second)
				defer stop()
				if err := i.d.work(working, roleStandby); err != nil {
					t.Error(err)
				}
				lines := logs.FilterMessage("waiting").All()
				if tt.says == "" && len(lines) > 0 || tt.says != "" && (len(lines) != 1 || !strings.HasPrefix(lines[0].ContextMap()["for"].(string), tt.says)) {
					t.Errorf("the log says %v, want %q", lines, tt.says)
				}
				silent.Store(false)
			})
		})
	}
}

// TestSilenceIsSaid checks that the log names a server at once that answers no more, once for each silence, and
// that it says when the server answers again. A Jenkins that takes a second is no silence.
func TestSilenceIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		core, logs := observer.New(zap.InfoLevel)
		i := p.make("a")
		i.d.parts.Log = zap.New(core)
		p.run(i)
		said := func(message, server string) (n int) {
			for _, l := range logs.FilterMessage(message).All() {
				for _, text := range l.ContextMap() {
					if words, ok := text.(string); ok && strings.HasPrefix(words, server) {
						n++
					}
				}
			}
			return n
		}
		time.Sleep(2 * time.Minute)
		for _, tt := range []struct {
			server string
			lasts  time.Duration // a leader ends after ten seconds without Kubernetes
			silent func(bool)
		}{
			{"Jenkins at http://jenkins.local (BELLBOARD_JENKINS_URL), which does not answer", 50 * time.Second, func(on bool) {
				if on {
					p.jenkins.Hang(50 * time.Second)
				}
			}},
			{"the API server http://", 7 * time.Second, i.toKube.Store},
		} {
			if n := said("waiting", tt.server); n != 0 {
				t.Errorf("%s is named %d times while it answers", tt.server, n)
			}
			tt.silent(true)
			time.Sleep(3500 * time.Millisecond) // a poll, and two seconds
			if n := said("waiting", tt.server); n != 1 {
				t.Errorf("%s is named %d times after 3.5 s, want once", tt.server, n)
			}
			time.Sleep(tt.lasts - 3500*time.Millisecond)
			tt.silent(false)
			time.Sleep(2 * time.Minute)
			server, _, _ := strings.Cut(tt.server, ",")
			if n, again := said("waiting", tt.server), said("answers again", server); n != 1 || again != 1 {
				t.Errorf("%s is named %d times in one silence, and answers again %d times", tt.server, n, again)
			}
		}
	})
}
