package house

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler/clock"
)

// TestWindows checks a day with two windows: builds that run into a pause end, builds that come in it wait, and agents
// are ready when the next window begins. A restart within a window changes nothing. The day begins at midnight.
func TestWindows(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			core, logs := observer.New(zap.InfoLevel)
			h, err := New(t.Context(), Config{Clock: clock.Real(), Hook: true, Loads: []Load{}, Log: zap.New(core), Environ: []string{
				"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=persistent", "BELLBOARD_TEAM_WEB_MIN_AGENTS=1",
				"BELLBOARD_TEAM_WEB_SCHEDULE=0 1 * * * for 30m: PAUSED=true; 0 3 * * * for 1h: MIN_AGENTS=0, MIN_IDLE=3",
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			if err := h.start(t.Context()); err != nil {
				t.Fatal(err)
			}
			midnight := time.Now()
			at := func(after time.Duration, pods, running, queued int) {
				t.Helper()
				time.Sleep(time.Until(midnight.Add(after)))
				s := h.Jenkins.Stats()
				if n := len(h.Cluster.Pods()); n != pods || s.Running != running || s.Queued != queued {
					t.Errorf("restart %t: %s after midnight there are %d pods, %d builds run and %d wait; want %d, %d and %d", restart, after, n, s.Running, s.Queued, pods, running, queued)
				}
			}
			again := func() {
				if restart {
					h.daemon.kill()
					if err := h.start(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			build := func() { h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: 12 * time.Minute}) }
			at(50*time.Minute, 1, 0, 0)
			build()
			build()
			at(55*time.Minute, 2, 2, 0)
			at(61*time.Minute, 2, 2, 0) // both run on
			again()
			build()
			at(67*time.Minute, 0, 0, 1)
			at(89*time.Minute, 0, 0, 1)
			at(93*time.Minute, 1, 1, 0)
			at(179*time.Minute, 1, 0, 0)
			at(182*time.Minute, 3, 0, 0)
			again()
			at(230*time.Minute, 3, 0, 0)
			at(250*time.Minute, 1, 0, 0)
			if s := h.Jenkins.Stats(); s.Succeeded != 3 || s.Killed != 0 {
				t.Errorf("restart %t: %+v, want three successes", restart, s)
			}
			var told []string
			for _, e := range logs.FilterMessage("window of SCHEDULE").All() {
				words, _ := e.ContextMap()["because"].(string)
				told = append(told, e.Time.Sub(midnight).Truncate(time.Minute).String()+" "+words)
			}
			slices.Sort(told)
			first, second := "1h0m0s PAUSED=true instead of false until Sat 1 Jan 01:30 UTC", "3h0m0s MIN_IDLE=3 instead of 0 until Sat 1 Jan 04:00 UTC"
			if all := strings.Join(told, "\n"); !strings.Contains(all, first) || !strings.Contains(all, second) || len(told) != 6 && !restart {
				t.Errorf("restart %t: the log tells\n%s", restart, all)
			}
		})
	}
}
