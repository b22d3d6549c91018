//go:build e2e

package e2e

import (
	"slices"
	"testing"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// TestFullCap lets thirty builds share six agents, with the default poll interval. It logs how soon after the
// end of a build the next pod comes, and what an agent costs the API server.
func TestFullCap(t *testing.T) {
	t.Parallel()
	const places, builds = 6, 30
	h := newHome(t, "full-cap", rights(t),
		"BELLBOARD_POLL_INTERVAL=1s", "BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral",
		"BELLBOARD_TEAM_WEB_MAX_AGENTS=6", "BELLBOARD_TEAM_WEB_BUILD_GRACE=30s")
	h.start()
	h.await("the berths are there", func() bool { return h.jenkins.Stats().Nodes >= 2 })
	began := time.Now()
	for i := range builds {
		h.jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Pipeline: i%2 == 0, Duration: 4*time.Second + time.Duration(i*370%2900)*time.Millisecond})
	}
	h.ends(builds)
	var ends, starts []time.Time
	for _, b := range h.jenkins.Builds() {
		ends = append(ends, b.Ended)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.ticks {
		for j := range h.ticks[i].Outcomes {
			if o := &h.ticks[i].Outcomes[j]; o.Action.Verb == scaler.Create && o.Result == scaler.Done {
				starts = append(starts, h.ticks[i].At.Add(h.ticks[i].Took)) // no later than that
			}
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	slices.SortFunc(starts, time.Time.Compare)
	if len(starts) != builds {
		t.Fatalf("%d agents for %d builds", len(starts), builds)
	}
	var took []time.Duration
	for i, at := range starts[places:] {
		took = append(took, at.Sub(ends[i]))
	}
	slices.Sort(took)
	calls, most := 0, 0
	for _, bill := range h.bills {
		n := 0
		for _, c := range bill {
			n += c
		}
		calls, most = calls+n, max(most, n)
	}
	if most > 5 {
		t.Errorf("an agent costs %d calls, want 5 at most: %v", most, h.bills)
	}
	t.Logf("from a build's end to the next pod: p50 %s, p95 %s, longest %s; all over after %s; %.2f calls for each agent, %d at most",
		took[len(took)/2].Round(10*time.Millisecond), took[len(took)*95/100].Round(10*time.Millisecond), took[len(took)-1].Round(10*time.Millisecond),
		time.Since(began).Round(time.Second), float64(calls)/builds, most)
}
