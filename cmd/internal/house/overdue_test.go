package house

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control/sabotage"
)

// TestAgentsThatHang runs the same day twice, on which one agent in ten, or in five, runs and never connects.
// A build that would wait for such an agent for START_TIMEOUT gets another agent as soon as the first is
// late. Bellboard makes few agents that are not needed.
func TestAgentsThatHang(t *testing.T) {
	t.Parallel()
	unraced(t)
	busy := Load{PerHour: 240, Burst: 6, Pipelines: 0.5}
	for _, c := range []struct {
		nth  int
		load Load
	}{{10, Load{PerHour: 20, Burst: 1}}, {10, busy}, {5, busy}} {
		if c.load.Burst > 1 && !full {
			continue
		}
		t.Run(fmt.Sprintf("one in %d, %g builds an hour", c.nth, c.load.PerHour), func(t *testing.T) { hang(t, c.nth, c.load) })
	}
}

func hang(t *testing.T, nth int, load Load) {
	load.Team, load.Labels, load.Period, load.Median = "web", []string{"linux"}, 20*time.Minute, time.Minute
	type waits struct{ half, most, longest time.Duration }
	play := func(wait bool) (w waits, agents int) {
		synctest.Test(t, func(t *testing.T) {
			cfg := Config{
				Clock: clock.Real(), Seed: 5,
				// WAIT_VALUE=0: no agent is kept or started ahead, which would help builds that wait for the overdue.
				Environ: []string{"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_TEAM_WEB_MAX_AGENTS=60", "BELLBOARD_TEAM_WEB_WAIT_VALUE=0"},
				Loads:   []Load{load},
			}
			if wait {
				cfg.Change = sabotage.Overdue
			}
			h, err := New(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			var mu sync.Mutex
			asked := map[types.UID]int{} // by pod: the how-manieth it is
			h.agents.deaf = func(p *corev1.Pod) bool {
				mu.Lock()
				defer mu.Unlock()
				if asked[p.UID] == 0 {
					asked[p.UID] = len(asked) + 1
				}
				return asked[p.UID]%nth == 0
			}
			began := time.Now()
			s, err := h.Run(t.Context(), context.Background(), atLength(3*time.Hour))
			if err != nil {
				t.Errorf("the day did not end: %v", err)
			}
			if s.BuildsKilled != 0 || s.BuildsLost != 0 || s.OrphansLeft != 0 || len(h.Broken()) > 0 {
				t.Errorf("killed %d, lost %d, left %v, broken plans %v; want none", s.BuildsKilled, s.BuildsLost, s.Left, h.Broken())
			}
			var all []time.Duration
			for _, b := range h.Jenkins.Builds() {
				if b.Queued.Sub(began) > 10*time.Minute { // out of grace, and some start-ups are known
					all = append(all, b.Started.Sub(b.Queued)-b.Job.QuietPeriod)
				}
			}
			w = waits{scaler.Quantile(all, 0.5).Round(time.Second), scaler.Quantile(all, 0.95).Round(time.Second), scaler.Quantile(all, 1).Round(time.Second)}
			agents = s.AgentsCreated[string(scaler.Ephemeral)]
			t.Logf("waiting for the overdue: %v; %d builds waited %s (half), %s (95 %%), %s (the longest); %d agents made, %d at once",
				wait, len(all), w.half, w.most, w.longest, agents, s.AgentsPeak)
		})
		return w, agents
	}
	before, made := play(true)
	after, more := play(false)
	if after.most > before.most/2 || after.half > before.half {
		t.Errorf("builds waited %+v, and %+v when none waits for the overdue; want less than half of it for 95 %%", before, after)
	}
	if load.Burst == 1 && after.longest > before.longest/2 {
		t.Errorf("where few builds come one waited %s, and %s when none waits for the overdue; want less than half of it", before.longest, after.longest)
	}
	if more > made*11/10 {
		t.Errorf("%d agents were made, and %d when no build waits for the overdue; want at most a tenth more", made, more)
	}
}
