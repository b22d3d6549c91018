package house

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bellboard/queue/jenkinssim"
)

// TestNodesDeletedUnderTheirAgents reloads Jenkins' configuration, which deletes the Jenkins nodes of all
// agents of a team at its MAX_AGENTS. The builds of these agents end. The agents can never come back, so
// Bellboard makes others for the waiting builds, also a Bellboard that starts just then.
func TestNodesDeletedUnderTheirAgents(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted=%t", restarted), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := capped(t, 3, false, nil)
				defer h.Close()
				time.Sleep(6 * time.Minute) // no restart grace
				for range 6 {
					h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: 5 * time.Minute})
				}
				time.Sleep(time.Minute)
				h.reload(t.Context())
				if s := h.Jenkins.Stats(); s.Lost != 3 || s.Queued != 3 {
					t.Fatalf("%+v; want three builds that end with their nodes, and three that wait", s)
				}
				if restarted {
					h.daemon.kill()
					h.restarted(t.Context())
				}
				time.Sleep(30 * time.Second)
				if s := h.Jenkins.Stats(); s.Running != 3 {
					t.Errorf("%+v; want that the three that waited run half a minute later", s)
				}
			})
		})
	}
}

// TestReloadKeepsNodes reloads Jenkins' configuration by a plugin that keeps the Jenkins nodes that ask for it.
// No build is lost, and no agent is made anew.
func TestReloadKeepsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := capped(t, 3, false, nil)
		defer h.Close()
		time.Sleep(6 * time.Minute) // no restart grace
		for range 3 {
			h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: 5 * time.Minute})
		}
		time.Sleep(time.Minute)
		before := h.Jenkins.NodesList()
		h.reloadBy(true)
		time.Sleep(30 * time.Second)
		if s := h.Jenkins.Stats(); s.Lost != 0 || s.Running != 3 {
			t.Errorf("%+v; want three builds that go on", s)
		}
		if diff := cmp.Diff(before, h.Jenkins.NodesList()); diff != "" {
			t.Errorf("nodes (-before +after the reload):\n%s", diff)
		}
	})
}
