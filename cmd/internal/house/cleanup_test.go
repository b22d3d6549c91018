package house

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/cmd/internal/app"
	"bellboard/pool"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler/clock"
)

// cleaner is a house with builds at work and a leader, and a cleanup beside it that
// has not begun.
func cleaner(t *testing.T) (h *House, c *daemon) {
	t.Helper()
	h, err := New(t.Context(), Config{Clock: clock.Real(), Lead: true, Environ: append(DefaultEnviron(), "BELLBOARD_POLL_INTERVAL=2s")})
	if err != nil {
		t.Fatal(err)
	}
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
	c, err = h.make(func(p *app.Parts) { p.Lead, p.Identity = true, "cleanup" })
	if err != nil {
		t.Fatal(err)
	}
	return h, c
}

// TestCleanup takes the Lease from a leader at work, lets its builds end and
// leaves nothing; the leader notices, and writes nothing any more.
func TestCleanup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := cleaner(t)
		defer h.Close()
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
		if last.From == "" || last.Remedy() != "" {
			t.Errorf("it took the Lease from %q and says %q, want the leader's name and nothing to do", last.From, last.Remedy())
		}
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

// TestCleanupBesideAnother: whoever stands by would begin anew, and a cleanup says so.
func TestCleanupBesideAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := cleaner(t)
		defer h.Close()
		b, err := h.make(func(p *app.Parts) { p.Lead, p.Identity = true, "standby" })
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(context.Background())
		defer end()
		go func() {
			defer close(b.done)
			b.err = b.app.Run(ctx)
		}()
		if err := c.app.Cleanup(t.Context(), func(app.Left) {}); !errors.Is(err, app.ErrBegunAnew) || !strings.Contains(err.Error(), "standby") {
			t.Errorf("Cleanup() = %v, want %v, and who", err, app.ErrBegunAnew)
		}
		time.Sleep(10 * time.Second)
		if len(h.left()) == 0 {
			t.Error("the standby did not begin anew")
		}
		end()
		<-b.done
		<-h.daemon.done
		if c, err = h.make(func(p *app.Parts) { p.Lead, p.Identity = true, "cleanup" }); err != nil {
			t.Fatal(err)
		}
		if err := c.app.Cleanup(t.Context(), func(app.Left) {}); err != nil || len(h.left()) > 0 {
			t.Errorf("when the other has ended: Cleanup() = %v, left %v", err, h.left())
		}
	})
}

// TestCleanupWaitsForPeople: what only a person can end stays, is named with what to
// do, and ends the cleanup when nothing else is left.
func TestCleanupWaitsForPeople(t *testing.T) {
	for _, tt := range []struct {
		name string
		// spoil does it to an agent, and undo is what the remedy asks for.
		spoil func(t *testing.T, h *House) (agent string, undo func())
		says  string
	}{
		{"held", func(t *testing.T, h *House) (string, func()) {
			t.Helper()
			for _, p := range h.Cluster.Pods() {
				if p.Labels[pool.LabelTeam] == "data" && h.Jenkins.PersonOffline(p.Name, "looking at it") {
					return p.Name, func() { h.Jenkins.PersonOnline(p.Name) }
				}
			}
			t.Fatal("no agent keeps a cache slot")
			return "", nil
		}, "bring it online"},
		{"an intruder", func(t *testing.T, h *House) (string, func()) {
			t.Helper()
			for _, n := range h.Jenkins.NodesList() {
				if strings.HasPrefix(n.Name, "web-e-") && h.Cluster.Pod("ci", n.Name) == nil && !n.Online {
					ch, err := h.Jenkins.Connect(n.Name, h.Jenkins.Secret(n.Name), "elsewhere")
					if err != nil {
						t.Fatal(err)
					}
					return n.Name, func() { ch.Close("it was ended") }
				}
			}
			t.Fatal("no berth")
			return "", nil
		}, "end that process"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, c := cleaner(t)
				defer h.Close()
				agent, undo := tt.spoil(t, h)
				began := time.Now()
				var last app.Left
				ctx, end := context.WithTimeout(t.Context(), time.Hour)
				defer end()
				err := c.app.Cleanup(ctx, func(l app.Left) { last = l })
				if err == nil || !strings.Contains(err.Error(), agent) || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("Cleanup() = %v, want %s and %q", err, agent, tt.says)
				}
				t.Logf("it ended after %s: %v", time.Since(began), err)
				if last.Nodes != 1 || last.Slots != last.Pods || last.Busy > 0 || last.Remedy() != err.Error() {
					t.Errorf("left are %+v, want one agent with what it uses", last)
				}
				undo()
				ctx, end = context.WithTimeout(t.Context(), time.Hour)
				defer end()
				if c, err = h.make(func(p *app.Parts) { p.Lead, p.Identity = true, "cleanup" }); err != nil {
					t.Fatal(err)
				}
				if err := c.app.Cleanup(ctx, func(app.Left) {}); err != nil || len(h.left()) > 0 {
					t.Errorf("after the remedy: Cleanup() = %v, left %v", err, h.left())
				}
				<-h.daemon.done
			})
		})
	}
}
