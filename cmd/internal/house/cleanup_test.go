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

// cleaning is a cleanup, with the messages about what it waits for.
type cleaning struct {
	*daemon

	waits []string
}

// cleaner returns a house with builds and a leader, and a cleanup that has not begun.
func cleaner(t *testing.T) (h *House, c *cleaning) {
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
	return h, h.cleanup(t)
}

// cleanup returns a cleanup that has not begun.
func (h *House) cleanup(t *testing.T) *cleaning {
	t.Helper()
	c := &cleaning{}
	var err error
	c.daemon, err = h.make(func(p *app.Parts) {
		p.Lead, p.Identity = true, "cleanup"
		p.Waiting = func(what string) { c.waits = append(c.waits, what) }
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// end ends the leader as SIGTERM does, so that the leader gives the Lease back.
func (h *House) end(t *testing.T) {
	t.Helper()
	h.daemon.cancel()
	if <-h.daemon.done; h.daemon.err != nil {
		t.Errorf("the leader ended with %v", h.daemon.err)
	}
}

// TestCleanup checks that a cleanup waits while a leader works, names the leader, and touches nothing. When
// the leader has ended, the cleanup lets builds end and leaves nothing.
func TestCleanup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := cleaner(t)
		defer h.Close()
		owned, err := c.app.Owned(t.Context())
		if err != nil || owned.Pods == 0 || owned.Nodes < owned.Pods || owned.Busy == 0 || owned.Slots == 0 {
			t.Fatalf("Owned() = %+v, %v; want pods, their nodes, some at work, and cache slots", owned, err)
		}
		began := time.Now()
		var ticks int
		var last app.Left
		ended := make(chan error, 1)
		go func() { ended <- c.app.Cleanup(context.Background(), func(l app.Left) { ticks, last = ticks+1, l }) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if c.app.Replica().Role != "standby" || ticks > 0 || h.daemon.app.Replica().Role != "leader" {
			t.Errorf("beside a leader it is %s, after %d ticks of its own; want it to stand by", c.app.Replica().Role, ticks)
		}
		if len(c.waits) != 1 || !strings.Contains(c.waits[0], h.daemon.app.Replica().Leader) || !strings.Contains(c.waits[0], "--replicas=0") {
			t.Errorf("it says that it waits for %q, want the leader %s and what to do", c.waits, h.daemon.app.Replica().Leader)
		}
		h.end(t)
		if err := <-ended; err != nil {
			t.Fatalf("Cleanup() = %v, with %+v left", err, last)
		}
		t.Logf("%d pods, %d nodes and %d cache slots went in %s", owned.Pods, owned.Nodes, owned.Slots, time.Since(began))
		if last.Remedy != "" {
			t.Errorf("it says %q, want nothing to do", last.Remedy)
		}
		if left := h.left(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if s := h.Jenkins.Stats(); s.Killed+s.Lost > 0 || s.Running > 0 {
			t.Errorf("%d builds were killed, %d lost and %d run; want none", s.Killed, s.Lost, s.Running)
		}
	})
}

// TestCleanupBesideAnother checks that a cleanup reports a standby that leads afterwards.
func TestCleanupBesideAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := cleaner(t)
		defer h.Close()
		h.end(t)
		b, err := h.make(func(p *app.Parts) { p.Lead, p.Identity = true, "standby" })
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithCancel(context.Background())
		defer end()
		time.AfterFunc(time.Minute, func() { // the cleanup leads by then
			defer close(b.done)
			b.err = b.app.Run(ctx)
		})
		if err := c.app.Cleanup(t.Context(), func(app.Left) {}); !errors.Is(err, app.ErrBegunAnew) || !strings.Contains(err.Error(), "standby") {
			t.Errorf("Cleanup() = %v, want %v, and who", err, app.ErrBegunAnew)
		}
		time.Sleep(10 * time.Second)
		if len(h.left()) == 0 {
			t.Error("the standby did not begin anew")
		}
		end()
		<-b.done
		if err := h.cleanup(t).app.Cleanup(t.Context(), func(app.Left) {}); err != nil || len(h.left()) > 0 {
			t.Errorf("when the other has ended: Cleanup() = %v, left %v", err, h.left())
		}
	})
}

// TestCleanupWaitsForPeople checks that an agent that only a person can end stays. The cleanup names it and
// the remedy, and ends when nothing else is left.
func TestCleanupWaitsForPeople(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		// spoil makes an agent stay, and undo is the remedy.
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
				h.end(t)
				began := time.Now()
				var last app.Left
				ctx, end := context.WithTimeout(t.Context(), time.Hour)
				defer end()
				err := c.app.Cleanup(ctx, func(l app.Left) { last = l })
				if err == nil || !strings.Contains(err.Error(), agent) || !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("Cleanup() = %v, want %s and %q", err, agent, tt.says)
				}
				t.Logf("it ended after %s: %v", time.Since(began), err)
				if last.Nodes != 1 || last.Slots != last.Pods || last.Busy > 0 || last.Remedy != err.Error() || !last.Stuck {
					t.Errorf("left are %+v, want one agent with what it uses", last)
				}
				undo()
				ctx, end = context.WithTimeout(t.Context(), time.Hour)
				defer end()
				if err := h.cleanup(t).app.Cleanup(ctx, func(app.Left) {}); err != nil || len(h.left()) > 0 {
					t.Errorf("after the remedy: Cleanup() = %v, left %v", err, h.left())
				}
			})
		})
	}
}
