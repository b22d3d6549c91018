package house

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler/clock"
)

// TestATeamThatGoes restarts Bellboard without a team that has busy and idle agents, a berth and a free cache
// slot. The team's builds end, its agents and berths go, and its slots go after their CACHE_KEEP. The other
// team is not affected.
func TestATeamThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := New(t.Context(), Config{Clock: clock.Real(), Loads: []Load{}, Environ: []string{
			"BELLBOARD_TEAMS=web,data", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_POLL_INTERVAL=4s",
			"BELLBOARD_TEAM_DATA_LABELS=docker", "BELLBOARD_TEAM_DATA_CACHE_KEEP=3h", "BELLBOARD_TEAM_DATA_PERSISTENT_IDLE_TIMEOUT=3m",
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		submit := func(label string, length time.Duration) {
			h.Jenkins.Submit(jenkinssim.Job{Name: strings.Fields(label)[0], Label: label, Duration: length, Pipeline: true})
		}
		time.Sleep(6 * time.Minute) // the grace
		submit("docker && persistent", time.Hour)
		submit("docker && persistent", time.Minute)
		submit("docker && persistent", time.Minute)
		time.Sleep(8 * time.Minute) // two agents are gone, their slots are free
		submit("docker && ephemeral", 40*time.Minute)
		submit("docker && persistent", time.Minute) // its agent is on one of them, and idle soon
		submit("linux", 40*time.Minute)
		time.Sleep(3 * time.Minute)

		of := func(what string) (out []string) {
			for _, l := range h.left() {
				if strings.HasPrefix(l, what) {
					out = append(out, l)
				}
			}
			return out
		}
		busy, idle := 0, 0
		for _, n := range h.Jenkins.NodesList() {
			switch {
			case !strings.HasPrefix(n.Name, "data-") || !n.Online:
			case n.Busy > 0:
				busy++
			default:
				idle++
			}
		}
		if busy != 2 || idle != 1 || len(of("pod data-")) != 3 || len(of("slot data-")) != 3 || len(of("node data-")) != len(of("pod data-"))+4 {
			t.Fatalf("%d agents are at work and %d idle, %v is there; want 2 and 1, with 3 slots and 4 berths", busy, idle, h.left())
		}
		h.daemon.kill()
		env := slices.DeleteFunc(h.Environ(), func(v string) bool { return strings.HasPrefix(v, "BELLBOARD_TEAM_DATA_") })
		if err := h.set(append(env, "BELLBOARD_TEAMS=web")); err != nil {
			t.Fatal(err)
		}
		h.restarted(t.Context())
		time.Sleep(10 * time.Minute) // the grace, and what is idle goes
		if got := len(of("pod data-")); got != 2 || h.Jenkins.Stats().Running != 3 {
			t.Errorf("%d agents are left of the team, and %d builds run; want those of 2, and 3", got, h.Jenkins.Stats().Running)
		}
		time.Sleep(45 * time.Minute) // the builds' end
		if left := slices.Concat(of("node data-"), of("pod data-"), of("secret data-")); len(left) > 0 || len(of("slot data-")) != 3 {
			t.Errorf("%v is left of the team, and %v; want 3 slots alone", left, of("slot data-"))
		}
		time.Sleep(3 * time.Hour)
		if left := of("slot data-"); len(left) > 0 {
			t.Errorf("%v is left after CACHE_KEEP; want none", left)
		}
		if len(of("node web-")) != 2 {
			t.Errorf("%v is there of the other team, want its 2 berths", of("node web-"))
		}
		s, err := h.evening(context.Background())
		if err != nil || s.BuildsFinished != 6 || s.BuildsKilled+s.BuildsLost+s.OrphansLeft > 0 || len(h.Broken()) > 0 {
			t.Errorf("%v: %d builds ended, %d killed, %d lost, left %v, broken plans %v; want 6 that ended", err, s.BuildsFinished, s.BuildsKilled, s.BuildsLost, s.Left, h.Broken())
		}
	})
}
