//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestBurst checks that a hundred builds get a hundred agents, and that nothing is left afterwards.
func TestBurst(t *testing.T) {
	h := newHome(t, "burst", rights(t))
	h.start()
	h.await("the berths are there", func() bool { return h.jenkins.Stats().Nodes >= 6 })
	began := time.Now()
	h.submit(100, "linux", "docker", "android")
	h.await("a hundred pods are created", func() bool { ever, _, _ := h.count(); return ever >= 100 })
	t.Logf("100 pods after %s", time.Since(began).Round(10*time.Millisecond))
	h.ends(100)
	t.Logf("all over after %s; calls %v", time.Since(began).Round(time.Second), h.calls)
	if ever, _, _ := h.count(); ever != 100 {
		t.Errorf("%d pods for 100 builds\n%s", ever, h.diary())
	}
}

// TestKilled kills the binary with SIGKILL at the worst moments and starts it again. The binary makes no
// agent too many, kills no build and leaves nothing.
func TestKilled(t *testing.T) {
	t.Parallel()
	h := newHome(t, "killed", rights(t))
	h.leads()
	g := h.gate()
	p := h.spawn(g.route)
	h.await("the berths are there", func() bool { return h.jenkins.Stats().Nodes >= 6 })
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
	killed := g.killAt(p, blows[0].when)
	h.submit(100, "linux", "docker", "android")
	for i, b := range blows {
		h.awaitKill(killed, b.name)
		if i != 2 { // once the Lease has to run out, as after any kill
			h.giveUpLease()
		}
		p = h.spawn(g.route)
		if i+1 < len(blows) {
			killed = g.killAt(p, blows[i+1].when)
		}
	}
	h.ends(100)
	if ever, _, _ := h.count(); ever != 100 {
		t.Errorf("%d pods for 100 builds", ever)
	}
}

// swarmTeams is one team whose agents register themselves and stay for a while.
var swarmTeams = []string{
	"BELLBOARD_TEAMS=apps", "BELLBOARD_TEAM_APPS_LABELS=docker", "BELLBOARD_TEAM_APPS_MODE=persistent", "BELLBOARD_TEAM_APPS_MAX_AGENTS=6",
	"BELLBOARD_TEAM_APPS_SCALE_DOWN_COOLDOWN=1s", "BELLBOARD_TEAM_APPS_PERSISTENT_IDLE_TIMEOUT=2s", "BELLBOARD_TEAM_APPS_BUILD_GRACE=30s", "BELLBOARD_TEAM_APPS_CACHE_KEEP=15s",
	"BELLBOARD_SWARM_USER=swarm", "BELLBOARD_SWARM_PASSWORD_SECRET=swarm",
}

// TestSwarm checks persistent agents that register themselves, each on its own cache slot. They serve a burst
// of twice their number, and go when they are idle. The slots go when no agent has used them for a while.
// Meanwhile the test kills the binary, as the agents come and as they go.
func TestSwarm(t *testing.T) {
	t.Parallel()
	h := newHome(t, "swarm", rights(t), swarmTeams...)
	h.volumes(6)
	h.leads()
	password := h.swarmPassword(h.ns)
	g := h.gate()
	p := h.spawn(g.route)
	h.await("the berths are there", func() bool { return h.jenkins.Stats().Nodes >= 2 })
	killed := g.killAt(p, nth(3, at("create persistentvolumeclaims", true)))
	h.submit(12, "docker && swarm")
	h.awaitKill(killed, "between slot and pod")
	h.giveUpLease()
	p = h.spawn(g.route)
	killed = g.killAt(p, nth(2, at("delete pods", true)))

	h.await("agents work on slots", func() bool { return len(h.claimed()) > 1 })
	h.awaitKill(killed, "mid-drain")
	h.giveUpLease()
	h.spawn(g.route)
	h.ends(12)
	h.mu.Lock()
	most := h.most
	h.mu.Unlock()
	if most < 2 || most > 6 {
		t.Errorf("%d pods at once for at most 6 agents", most)
	}
	// A late agent may take the slot of an agent that has gone.
	if n := h.called("create persistentvolumeclaims"); n < 1 || n > 6 {
		t.Errorf("%d slots were made for 6 agents", n)
	}
	for _, b := range h.jenkins.Builds() {
		if !strings.HasPrefix(b.Node, "apps-p-") {
			t.Errorf("build %d ran on %s", b.ID, b.Node)
		}
	}
	if n := h.called("create secrets"); n > 0 {
		t.Errorf("%d Secrets were made for agents that have a password", n)
	}
	// Bellboard keeps the Secret that a person has made.
	if _, err := h.k.CoreV1().Secrets(h.ns).Get(t.Context(), password, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// swarmPassword makes the Secret with the password of the Swarm agents.
func (h *home) swarmPassword(ns string) string {
	h.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "swarm"}, StringData: map[string]string{"password": "simulated"}}
	if _, err := h.k.CoreV1().Secrets(ns).Create(h.t.Context(), s, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	return s.Name
}

// claimed returns the cache slots that a pod uses, by namespace and name.
func (h *home) claimed() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, l := range h.pods {
		for _, v := range l.pod.Spec.Volumes {
			if c := v.PersistentVolumeClaim; c != nil && !l.gone {
				out = append(out, l.pod.Namespace+"/"+c.ClaimName)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
