package house

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/queue/jenkinssim"
)

// TestSafeRestart restarts Jenkins safely while builds run on agents that are marked for their one build.
// Jenkins waits for these builds: with the hook, and without the hook if a person prepares the restart.
func TestSafeRestart(t *testing.T) {
	for _, hook := range []bool{true, false} {
		t.Run(fmt.Sprintf("hook=%t", hook), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := capped(t, 3, hook, nil)
				defer h.Close()
				time.Sleep(6 * time.Minute) // no restart grace
				for range 6 {
					h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: 90 * time.Second})
				}
				time.Sleep(40 * time.Second)
				for _, n := range h.Jenkins.NodesList() {
					if n.Busy > 0 && n.Marked == "" {
						t.Errorf("%s is at work and not marked", n.Name)
					}
				}
				h.restartSafely(t.Context())
				over := func() bool { return h.Jenkins.Stats().Finished == 6 }
				if err := h.until(t.Context(), 15*time.Minute, over); err != nil {
					t.Errorf("the builds are not over: %v", err)
				}
				if s := h.Jenkins.Stats(); s.Succeeded != 6 || s.Restarts != 1 {
					t.Errorf("%+v; want six that succeed, and one restart", s)
				}
			})
		})
	}
}
