package house

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// capped returns a house with one team of ephemeral agents, at most so many.
func capped(t *testing.T, most int, hook bool, record func(scaler.Tick)) *House {
	t.Helper()
	h, err := New(t.Context(), Config{
		Clock: clock.Real(), Hook: hook, Loads: []Load{}, Record: record,
		Environ: []string{"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral", fmt.Sprintf("BELLBOARD_TEAM_WEB_MAX_AGENTS=%d", most)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.start(t.Context()); err != nil {
		h.Close()
		t.Fatal(err)
	}
	return h
}

// TestPlaceIsFreeWithItsBuild checks that at a full cap the next pod comes at the second poll after the end
// of a build, with the hook and without. The clock is virtual, so the times are exact.
func TestPlaceIsFreeWithItsBuild(t *testing.T) {
	for _, hook := range []bool{true, false} {
		t.Run(fmt.Sprintf("hook=%t", hook), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				made := map[string]time.Time{}
				h := capped(t, 3, hook, func(tick scaler.Tick) {
					for _, o := range tick.Outcomes {
						if o.Action.Verb == scaler.Create && o.Result == scaler.Done {
							made[o.Action.Agent] = tick.At
						}
					}
				})
				defer h.Close()
				time.Sleep(6 * time.Minute) // no restart grace
				for i := range 12 {
					h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: 20*time.Second + time.Duration(i)*3700*time.Millisecond})
				}
				time.Sleep(10 * time.Minute)
				h.daemon.kill()
				var ends []time.Time
				for _, b := range h.Jenkins.Builds() {
					if b.Result != "SUCCESS" {
						t.Errorf("%+v, want a success", b)
					}
					ends = append(ends, b.Ended)
				}
				starts := slices.SortedFunc(maps.Values(made), time.Time.Compare)
				slices.SortFunc(ends, time.Time.Compare)
				if len(starts) != 12 || len(ends) != 12 {
					t.Fatalf("%d agents for %d builds, want 12 for 12", len(starts), len(ends))
				}
				for i, at := range starts[3:] {
					if took := at.Sub(ends[i]); took > 2500*time.Millisecond {
						t.Errorf("agent %d is created %s after the end of a build, want 2.5s at most", i+4, took)
					}
				}
			})
		})
	}
}

// TestRestartAtAFullCap restarts Jenkins in the middle of a burst. Agents whose builds resume and end make
// room at once: the burst is over before the grace is.
func TestRestartAtAFullCap(t *testing.T) {
	for _, kind := range []struct {
		name     string
		pipeline bool
		succeed  int // freestyle builds die with Jenkins
	}{{"pipelines", true, 18}, {"freestyle builds", false, 12}} {
		for _, hook := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, hook=%t", kind.name, hook), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := capped(t, 6, hook, nil)
					defer h.Close()
					time.Sleep(6 * time.Minute)
					began := time.Now()
					for range 18 {
						h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: time.Minute, Pipeline: kind.pipeline})
					}
					time.Sleep(50 * time.Second)
					if s := h.Jenkins.Stats(); s.Running != 6 {
						t.Fatalf("%+v, want a full cap at work", s)
					}
					h.Jenkins.Restart(jenkinssim.Restart{Down: 10 * time.Second, Loading: 10 * time.Second, Unauthorized: time.Second})
					for time.Since(began) < 10*time.Minute && h.Jenkins.Stats().Finished < 18 {
						time.Sleep(time.Second)
					}
					s := h.Jenkins.Stats()
					if s.Succeeded != kind.succeed || s.Killed != 0 {
						t.Errorf("%+v, want %d that succeed, and none killed", s, kind.succeed)
					}
					if took := time.Since(began); took > 5*time.Minute {
						t.Errorf("the burst takes %s, want that it does not wait out the grace of 5m", took)
					}
				})
			})
		}
	}
}
