package control

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"bellboard/scaler"
)

// TestWindow runs a loop through a window that pauses the team. The window applies from its first to its last second,
// and the log tells its begin and its end once: after a hold, and again by a new process.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		core, logs := observer.New(zap.InfoLevel)
		begin := time.Now().Add(time.Minute)
		end := begin.Add(time.Hour)
		window := func(c *Config) {
			c.Log = zap.New(core)
			c.Teams = func(now time.Time) []scaler.Team {
				team := webTeam()
				if !now.Before(begin) && now.Before(end) {
					team.Paused = true
					team.Scheduled = []scaler.Scheduled{{Setting: "PAUSED", Value: "true", Else: "false", Window: "the window", Until: end.UTC()}}
				}
				return []scaler.Team{team}
			}
		}
		l := h.loop(noGrace, window)
		at := func(when time.Time, creates int, words ...string) {
			t.Helper()
			time.Sleep(time.Until(when))
			tick := l.Tick(t.Context())
			var told []string
			for _, e := range logs.TakeAll() {
				if e.Message == "window of SCHEDULE" {
					text, _ := e.ContextMap()["because"].(string)
					told = append(told, text)
				}
			}
			if h.wrote("create") != creates || !slices.Equal(told, words) {
				t.Errorf("%s after its begin: %d agents were made and the log tells %q; want %d and %q", time.Since(begin), h.wrote("create"), told, creates, words)
			}
			if paused := len(tick.Plan.Decisions) == 1 && len(tick.Plan.Decisions[0].Scheduled) == 1; tick.Hold == "" && paused != (len(l.teams[0].Scheduled) == 1) {
				t.Errorf("%s after its begin the decision shows %+v", time.Since(begin), tick.Plan.Decisions)
			}
		}
		const begins, over = "PAUSED=true instead of false until Sat 1 Jan 01:01 UTC: the window", "PAUSED=false again: the window is over"
		at(begin.Add(-time.Second), 0)
		h.fail["observe jenkins"] = errors.New("503")
		at(begin, 0)
		delete(h.fail, "observe jenkins")
		h.wait(1)
		at(begin.Add(time.Second), 0, begins)
		at(begin.Add(2*time.Second), 0)
		l = h.loop(noGrace, window)
		at(begin.Add(3*time.Second), 0, begins)
		at(end.Add(-time.Second), 0)
		at(end, 1, over)
		at(end.Add(time.Second), 1)
	})
}

// TestDrainPauses: a drain pauses all teams, and changes none of the settings.
func TestDrainPauses(t *testing.T) {
	l := newHouse().loop()
	l.Drain()
	if teams := l.teamsAt(anytime); !teams[0].Paused || l.cfg.Teams(anytime)[0].Paused {
		t.Error("a drain does not pause the teams, or changes those of the settings")
	}
}
