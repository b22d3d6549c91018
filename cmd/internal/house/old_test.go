package house

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// oldJenkins is a version that keeps only one cause of a mark and of a lost connection.
const oldJenkins = "2.479.3"

// TestOldJenkins checks a Jenkins before 2.482, in which the end of a pod replaces the text of the mark.
// Bellboard takes no such agent for one that a person marked, and leaves none.
func TestOldJenkins(t *testing.T) {
	t.Parallel()
	for _, hook := range []bool{false, true} {
		t.Run(fmt.Sprintf("hook %v", hook), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				held := map[string]bool{}
				h, err := New(t.Context(), Config{
					Clock: clock.Real(), Version: oldJenkins, Hook: hook, Loads: []Load{},
					Environ: []string{"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_TEAM_WEB_MAX_AGENTS=20"},
					Record:  func(tick scaler.Tick) { note(held, &tick) },
				})
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				if err := h.start(t.Context()); err != nil {
					t.Fatal(err)
				}
				for i := range 60 {
					h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Pipeline: i%2 == 0, Duration: 20 * time.Second})
				}
				s, err := h.evening(context.Background())
				if err != nil {
					t.Error(err)
				}
				if s.BuildsFinished != 60 || s.BuildsKilled+s.BuildsLost != 0 || s.OrphansLeft != 0 || len(held) > 0 {
					t.Errorf("of 60 builds %d finished, %d were killed, %d lost; left %v; held %v; want all, none, none", s.BuildsFinished, s.BuildsKilled, s.BuildsLost, s.Left, held)
				}
			})
		})
	}
}

// note notes the agents of class held.
func note(held map[string]bool, tick *scaler.Tick) {
	for i := range tick.Plan.Agents {
		if a := &tick.Plan.Agents[i]; a.Class == scaler.Held {
			held[a.Name] = true
		}
	}
}

// TestOldJenkinsSilentAgents freezes two of two busy agents. When Jenkins has noticed, they make room for the
// next build.
func TestOldJenkinsSilentAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := map[string]bool{}
		h, err := New(t.Context(), Config{
			Clock: clock.Real(), Version: oldJenkins, Loads: []Load{},
			Environ: []string{"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_TEAM_WEB_MAX_AGENTS=2"},
			Record:  func(tick scaler.Tick) { note(held, &tick) },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: time.Hour})
		}
		busy := func() bool { return h.Jenkins.Stats().Busy == 2 }
		if err := h.until(t.Context(), time.Minute, busy); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second) // they are marked
		for _, n := range h.Jenkins.NodesList() {
			if n.Busy > 0 && !h.agents.freeze(n.Name) {
				t.Fatalf("no agent %s", n.Name)
			}
		}
		began := time.Now()
		id := h.Jenkins.Submit(jenkinssim.Job{Name: "next", Label: "linux", Duration: time.Minute})
		served := func() bool {
			for _, b := range h.Jenkins.Builds() {
				if b.ID == id {
					return b.Result == "SUCCESS"
				}
			}
			return false
		}
		if err := h.until(t.Context(), time.Hour, served); err != nil {
			t.Errorf("the next build was not served: %v", err)
		}
		t.Logf("the next build was over after %s", time.Since(began))
		if len(held) > 0 {
			t.Errorf("held: %v, want none", held)
		}
		h.daemon.kill()
	})
}

// TestOldJenkinsPerson checks that an agent that a person took offline stays held, also when it loses its
// connection afterwards.
func TestOldJenkinsPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := New(t.Context(), Config{
			Clock: clock.Real(), Version: oldJenkins, Loads: []Load{},
			Environ: []string{"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_TEAM_WEB_MIN_IDLE=1"},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		name := ""
		if err := h.until(t.Context(), time.Minute, func() bool {
			for _, n := range h.Jenkins.NodesList() {
				if n.Online {
					name = n.Name
				}
			}
			return name != ""
		}); err != nil {
			t.Fatal(err)
		}
		h.Jenkins.PersonOffline(name, "looking at it")
		time.Sleep(5 * time.Second)
		h.Cluster.Kill("ci", name, "a person")
		time.Sleep(20 * time.Minute)
		for _, n := range h.Jenkins.NodesList() {
			if n.Name == name && n.Marked == "looking at it" {
				h.daemon.kill()
				return
			}
		}
		t.Errorf("the node %s that a person holds is gone, or marked by another", name)
		h.daemon.kill()
	})
}
