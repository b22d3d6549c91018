package simulate

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/control"
)

// looping is a policy that runs the daemon's own loop on a world: its ticks, its writes, its berths.
type looping struct {
	*bellboard
	w    *world
	ctx  context.Context
	loop *control.Loop
	mu   sync.Mutex
}

func (l *looping) Now() time.Time { return at(l.w.now) }
func (l *looping) AfterFunc(time.Duration, func()) (stop func() bool) {
	return func() bool { return true }
}
func (l *looping) Wall(time.Duration) time.Duration { return time.Hour }

func (l *looping) look(w *world) error {
	l.last, l.fresh = w.now, false
	w.out.Looks++
	l.w = w
	l.show(w)
	if t := l.loop.Tick(l.ctx); t.Hold != "" {
		return fmt.Errorf("the loop holds: %s", t.Hold)
	}
	return nil
}

// do carries one write out.
func (l *looping) do(a scaler.Action) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.seats[a.Agent]; s == nil {
		return fmt.Errorf("%s: %w", a.Agent, scaler.ErrGone)
	}
	l.act(l.w, &a)
	return nil
}

// jenkins and cluster are the loop's view of the world.
type (
	jenkins struct{ *looping }
	cluster struct{ *looping }
)

func (j jenkins) Observe(context.Context) (scaler.JenkinsView, error) {
	v := j.in.Jenkins
	v.Nodes, v.Items = slices.Clone(v.Nodes), slices.Clone(v.Items)
	return v, nil
}

func (j jenkins) Register(_ context.Context, name string, pool scaler.Pool, _ time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.register(pool.PoolID, name)
	return nil
}

func (j jenkins) Fence(context.Context, string, scaler.PoolID, time.Time) error {
	panic("inbound agents need no fence")
}

func (j jenkins) Secret(_ context.Context, name string) (string, error) {
	return "secret of " + name, nil
}
func (j jenkins) Launch(context.Context, string) error { panic("inbound agents are not called") }

func (j jenkins) Mark(_ context.Context, name, _ string, _ time.Time) error {
	return j.do(scaler.Action{Verb: scaler.Mark, Agent: name})
}

func (j jenkins) ClearMark(_ context.Context, name, _ string) error {
	return j.do(scaler.Action{Verb: scaler.ClearMark, Agent: name})
}
func (j jenkins) StillIdle(context.Context, scaler.Node) (bool, error) { return true, nil }

func (j jenkins) DeleteNode(_ context.Context, name string, _ time.Time) error {
	return j.do(scaler.Action{Verb: scaler.DeleteNode, Agent: name})
}

func (c cluster) Observe(context.Context) (scaler.ClusterView, error) {
	v := c.in.Cluster
	v.Pods, v.Slots = slices.Clone(v.Pods), slices.Clone(v.Slots)
	return v, nil
}

func (c cluster) Create(_ context.Context, name string, pool scaler.PoolID, slot scaler.Slot, birth scaler.Birth) (scaler.Pod, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := scaler.Action{Verb: scaler.Create, Agent: name, Pool: pool, Spare: birth.Spare}
	if slot.UID != "" {
		a.Slot = &slot
	}
	c.act(c.w, &a)
	return c.in.Cluster.Pods[c.seats[name].pod], nil
}

func (c cluster) PutSecret(context.Context, scaler.Pod, string) error { return nil }

func (c cluster) Annotate(_ context.Context, pod scaler.Pod) error {
	return c.do(scaler.Action{Verb: scaler.Annotate, Agent: pod.Name})
}

func (c cluster) Protect(_ context.Context, pod scaler.Pod) error {
	return c.do(scaler.Action{Verb: scaler.Protect, Agent: pod.Name})
}

func (c cluster) Unprotect(_ context.Context, pod scaler.Pod, _ time.Time) error {
	return c.do(scaler.Action{Verb: scaler.Unprotect, Agent: pod.Name})
}

func (c cluster) DeletePod(_ context.Context, pod scaler.Pod, _ time.Time) error {
	return c.do(scaler.Action{Verb: scaler.DeletePod, Agent: pod.Name})
}

func (c cluster) DeleteSlot(_ context.Context, slot scaler.Slot, _ time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deleteSlot(c.w, &scaler.Action{Slot: &slot})
	return nil
}
func (c cluster) LastLog(context.Context, scaler.Pod) (string, error) { return "", nil }

func (c cluster) Absent(_ context.Context, name string) (bool, error) {
	s := c.seats[name]
	return s == nil || s.pod < 0, nil
}

// TestLoop checks that a replay does the same as the daemon's own loop on the same world. One-build agents do
// not depend on names, so every digit is the same. The loop chooses names at random, and names decide which of
// two equally idle persistent agents goes: there the costs agree to one percent.
func TestLoop(t *testing.T) {
	for _, set := range []string{"MODE=ephemeral", "MODE=persistent", "MODE=auto"} {
		for _, shape := range []Shape{FanOut, Idle} {
			t.Run(string(shape)+" "+set, func(t *testing.T) {
				t.Parallel()
				h, s := generated(t, shape, 1), Cold()
				s.StartLeast = s.StartMost // the loop makes agents of one tick in any order
				teams, _, err := Settings(set)
				if err != nil {
					t.Fatal(err)
				}
				const poll = 5 * time.Second
				daemon := Policy{Name: "the loop", make: func(s *Scenario, _ []Build) (policy, error) {
					l := &looping{bellboard: newBellboard(teams, poll, scaler.Checked, s), ctx: t.Context()}
					l.noSkip = true
					l.loop = control.New(control.Config{Jenkins: jenkins{l}, Cluster: cluster{l}, Clock: l, Instance: "test", Teams: func(time.Time) []scaler.Team { return l.in.Teams }, MaxAgents: l.in.MaxAgents, Poll: poll})
					return l, nil
				}}
				got, want := replayed(t, h, s, ours(t, poll, set)), replayed(t, h, s, daemon)
				if set == "MODE=ephemeral" && (got.paid != want.paid || got.Cost(10) != want.Cost(10) || got.Launches != want.Launches) {
					t.Errorf("the replay pays %d ms, C(10) %v and makes %d agents; the loop %d, %v and %d", got.paid, got.Cost(10), got.Launches, want.paid, want.Cost(10), want.Launches)
				}
				if got.Cost(10) > 1.01*want.Cost(10) || want.Cost(10) > 1.01*got.Cost(10) {
					t.Errorf("the replay costs %v, and the loop %v", got.Cost(10), want.Cost(10))
				}
			})
		}
	}
}
