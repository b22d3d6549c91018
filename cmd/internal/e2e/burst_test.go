//go:build e2e

package e2e

import (
	"testing"
	"time"
)

// TestBurst: a hundred builds get a hundred agents, and all is cleared away.
func TestBurst(t *testing.T) {
	h := newHome(t, "burst", rights(t))
	h.start()
	h.within(30*time.Second, "the berths are there", func() bool { return h.jenkins.Stats().Nodes >= 6 })
	began := time.Now()
	h.submit(100, "linux", "docker", "android")
	h.within(time.Minute, "a hundred pods are created", func() bool { ever, _, _ := h.count(); return ever >= 100 })
	t.Logf("100 pods after %s", time.Since(began).Round(10*time.Millisecond))
	h.ends(100)
	t.Logf("all over after %s; calls %v", time.Since(began).Round(time.Second), h.calls)
	if ever, _, _ := h.count(); ever != 100 {
		t.Errorf("%d pods for 100 builds\n%s", ever, h.diary())
	}
}

// TestKilled: a Bellboard that is killed at the worst moments, and started
// again, makes no agent too many, kills no build and leaves nothing.
func TestKilled(t *testing.T) {
	h := newHome(t, "killed", rights(t))
	d := h.start()
	h.within(30*time.Second, "the berths are there", func() bool { return h.jenkins.Stats().Nodes >= 6 })
	blows := []struct {
		name string
		when func(moment) bool
	}{
		{"between pod and Secret", nth(10, at("create pods", true))},
		{"before a Secret is sent", nth(10, at("create secrets", false))},
		{"mid-burst", nth(15, at("create pods", false))},
		{"as an agent connects", nth(5, at("patch pods", true))},
		{"after a mark", nth(1, marking)},
		{"mid-drain", nth(8, at("delete pods", true))},
		{"before a deletion is sent", nth(8, at("delete pods", false))},
	}
	struck := d.dieAt(blows[0].when)
	h.submit(100, "linux", "docker", "android")
	for i, b := range blows {
		select {
		case <-struck:
		case <-time.After(time.Minute):
			h.t.Fatalf("no moment came: %s\n%s", b.name, h.lastTick())
		}
		d.kill()
		t.Logf("killed %s", b.name)
		d = h.start()
		if i+1 < len(blows) {
			struck = d.dieAt(blows[i+1].when)
		}
	}
	h.ends(100)
	if ever, _, _ := h.count(); ever != 100 {
		t.Errorf("%d pods for 100 builds", ever)
	}
}
