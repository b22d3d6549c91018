package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
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

// What is dangerous and allowed is said at every start.
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
	if lines.FilterMessageSnippet("is root of their machine").Len() != 1 {
		var all []string
		for _, l := range lines.All() {
			all = append(all, l.Message)
		}
		t.Errorf("it says: %s", strings.Join(all, "; "))
	}
}

// hold is why an instance decides nothing, as it tells it.
func (i *instance) hold(t *testing.T) string {
	t.Helper()
	w := httptest.NewRecorder()
	i.d.web.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/status", nil))
	var s web.Status
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Tick == nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return s.Tick.Hold
}

// TestNodesThatAreGone: half of the nodes gone from one answer to the next are an
// incomplete answer to the leader, who has deleted none, and the leader's work to
// all others, who look seldom and cannot know.
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
					t.Errorf("round %d: the %s holds: %s; want nobody to", round, i.d.Role(), hold)
				}
			}
			for _, n := range nodes(round) {
				p.jenkins.PersonDelete(n)
			}
			add(round + 1)
			time.Sleep(time.Second) // one look of the leader, who looks in the middle of it
			if hold := leader.hold(t); !strings.Contains(hold, "are missing that were there before") {
				t.Errorf("round %d: the leader holds: %q, want it to for the nodes that are missing", round, hold)
			}
			if hold := dry.hold(t); hold != "" {
				t.Errorf("round %d: the dry run holds: %s", round, hold)
			}
		}
	})
}
