package app

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// callee is a Jenkins that is asked to call agents, and the pods it would find.
type callee struct {
	mu    sync.Mutex
	asked []string
	pods  []scaler.Pod
	blind error
}

func (c *callee) Launch(_ context.Context, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, name)
	return errors.New("no such host")
}

func (c *callee) Observe(context.Context) (scaler.ClusterView, error) {
	return scaler.ClusterView{Pods: c.pods}, c.blind
}

func TestLauncher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ssh, other := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, scaler.PoolID{Team: "data", Kind: scaler.Ephemeral}
		c := &callee{}
		l := &launcher{jenkins: c, pods: c, called: func(id scaler.PoolID) bool { return id == ssh }, clock: clock.Real(), log: zap.NewNop()}
		pod := func(name string) scaler.Pod {
			return scaler.Pod{Name: name, Phase: scaler.PodRunning, Ready: time.Now()}
		}
		agent := func(name string) scaler.Agent {
			return scaler.Agent{Name: name, PoolID: ssh, Class: scaler.Coming, Pod: true, Node: true}
		}
		tick := func(when string, t2 scaler.Tick, want ...string) {
			t.Helper()
			c.asked = nil
			l.observe(t.Context(), t2)
			l.running.Wait()
			slices.Sort(c.asked)
			if diff := cmp.Diff(want, c.asked); diff != "" {
				t.Errorf("%s (-want +asked):\n%s", when, diff)
			}
		}
		of := func(agents ...scaler.Agent) scaler.Tick { return scaler.Tick{Plan: scaler.Plan{Agents: agents}} }

		berth, online, foreign := agent("berth"), agent("online"), agent("foreign")
		berth.Pod, online.Online, foreign.PoolID = false, true, other
		unborn, leaving, ended := pod("unborn"), pod("leaving"), pod("ended")
		unborn.Ready, leaving.Deleting, ended.Phase = time.Time{}, true, scaler.PodFailed
		c.pods = []scaler.Pod{pod("a"), pod("b"), pod("berth"), pod("online"), pod("foreign"), unborn, leaving, ended}
		all := of(agent("a"), agent("b"), berth, online, foreign, agent("unborn"), agent("leaving"), agent("ended"), agent("unseen"))
		tick("those that run and wait", all, "a", "b")
		time.Sleep(9 * time.Second)
		tick("a moment later", all)
		time.Sleep(time.Second)
		tick("and again", all, "a", "b")
		gone := agent("a")
		gone.Online = true
		tick("one has come", of(gone, agent("b")))
		tick("and is cut off at once", of(agent("a"), agent("b")), "a")
		time.Sleep(time.Minute)
		tick("in a hold", scaler.Tick{Hold: "x", Plan: all.Plan})
		c.blind = errors.New("cannot see")
		tick("blind", all)
	})
}
