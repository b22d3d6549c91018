package house

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/cmd/internal/app"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler/clock"
)

// TestCleanup takes the Lease from a leader at work, lets its builds end and
// leaves nothing; the leader notices, and writes nothing any more.
func TestCleanup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := New(t.Context(), Config{Clock: clock.Real(), Lead: true})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if err := h.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: 3 * time.Minute, Pipeline: true})
			h.Jenkins.Submit(jenkinssim.Job{Name: "data", Label: "docker", Duration: time.Minute})
			time.Sleep(2 * time.Second)
		}
		if h.Jenkins.Stats().Running == 0 {
			t.Fatal("no build runs; want some")
		}
		c, err := h.make(func(p *app.Parts) { p.Lead, p.Identity = true, "cleanup" })
		if err != nil {
			t.Fatal(err)
		}
		owned, err := c.app.Owned(t.Context())
		if err != nil || owned.Pods == 0 || owned.Nodes < owned.Pods || owned.Busy == 0 || owned.Slots == 0 {
			t.Fatalf("Owned() = %+v, %v; want pods, their nodes, some at work, and cache slots", owned, err)
		}
		began := time.Now()
		var last app.Left
		if err := c.app.Cleanup(context.Background(), func(l app.Left) { last = l }); err != nil {
			t.Fatalf("Cleanup() = %v, with %+v left", err, last)
		}
		t.Logf("%d pods, %d nodes and %d cache slots went in %s", owned.Pods, owned.Nodes, owned.Slots, time.Since(began))
		if left := h.left(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if s := h.Jenkins.Stats(); s.Killed+s.Lost > 0 || s.Running > 0 {
			t.Errorf("%d builds were killed, %d lost and %d run; want none", s.Killed, s.Lost, s.Running)
		}
		if <-h.daemon.done; !errors.Is(h.daemon.err, app.ErrLeaseLost) {
			t.Errorf("the leader ended with %v, want %v", h.daemon.err, app.ErrLeaseLost)
		}
	})
}
