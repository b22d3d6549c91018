//go:build e2e

package e2e

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"bellboard/cmd/internal/kube"
	"bellboard/pool"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// stayers has the settings of agents without Docker that stay for longer than a test.
var stayers = []string{
	"BELLBOARD_TEAMS=apps", "BELLBOARD_TEAM_APPS_LABELS=docker", "BELLBOARD_TEAM_APPS_MODE=persistent", "BELLBOARD_TEAM_APPS_CONNECT=inbound",
	"BELLBOARD_TEAM_APPS_DOCKER=none", "BELLBOARD_TEAM_APPS_BUILD_GRACE=30s", "BELLBOARD_TEAM_APPS_PERSISTENT_IDLE_TIMEOUT=10m",
}

// TestEviction checks install.yaml's budget. The budget protects a busy agent from an eviction. It allows the
// eviction of an agent that has been free for a while, until that agent's next build.
func TestEviction(t *testing.T) {
	t.Parallel()
	h := newHome(t, "eviction", rights(t), stayers...)
	h.budget()
	h.start()
	build := func(n int) *corev1.Pod {
		h.jenkins.Submit(jenkinssim.Job{Name: "job", Label: "docker", Duration: 12 * time.Second})
		h.await("a build runs", func() bool { return h.jenkins.Stats().Running == 1 })
		var pod *corev1.Pod
		h.await("its agent is protected", func() bool {
			pods, err := h.k.CoreV1().Pods(h.ns).List(t.Context(), metav1.ListOptions{})
			if err != nil || len(pods.Items) != 1 {
				return false
			}
			pod = &pods.Items[0]
			return pod.Labels[pool.LabelBusy] == "true"
		})
		h.await("it may not be evicted", func() bool { return apierrors.IsTooManyRequests(h.evict(pod, true)) })
		h.await("the build is over", func() bool { return h.jenkins.Stats().Succeeded == n })
		h.await("it may be evicted", func() bool { return h.evict(pod, true) == nil })
		return pod
	}
	first := build(1)
	second := build(2)
	if first.UID != second.UID {
		t.Errorf("the second build ran on %s, not on %s", second.Name, first.Name)
	}
	if err := h.evict(second, false); err != nil {
		t.Errorf("an agent that has been free for a while is not evicted: %v", err)
	}
	h.ends(2)
}

// TestDisruptionTarget checks the condition that announces a deletion of a pod. From then on the agent takes
// no more builds, and its build ends first.
func TestDisruptionTarget(t *testing.T) {
	t.Parallel()
	h := newHome(t, "disruption", rights(t), stayers...)
	h.start()
	for _, duration := range []time.Duration{2 * time.Second, 20 * time.Second} {
		h.jenkins.Submit(jenkinssim.Job{Name: "job", Label: "docker", Duration: duration})
	}
	h.await("one agent is busy, one idle", func() bool { s := h.jenkins.Stats(); return s.Succeeded == 1 && s.Running == 1 })
	busy, idle := "", ""
	for _, n := range h.jenkins.NodesList() {
		switch {
		case n.Online && n.Busy > 0:
			busy = n.Name
		case n.Online:
			idle = n.Name
		}
	}
	for _, name := range []string{busy, idle} {
		patch := `{"status":{"conditions":[{"type":"DisruptionTarget","status":"True","reason":"PreemptionByScheduler","lastTransitionTime":"` + time.Now().UTC().Format(time.RFC3339) + `"}]}}`
		if _, err := h.k.CoreV1().Pods(h.ns).Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	}
	h.await("both are marked, or gone", func() bool {
		marked := true
		for _, n := range h.jenkins.NodesList() {
			marked = marked && (n.Name != busy && n.Name != idle || n.Marked != "")
		}
		return marked
	})
	if s := h.jenkins.Stats(); s.Running != 1 {
		t.Errorf("%d builds run once the agents are marked, want 1", s.Running)
	}
	h.ends(2)
	h.mu.Lock()
	defer h.mu.Unlock()
	why := map[string]scaler.Reason{}
	for i := range h.ticks {
		for _, o := range h.ticks[i].Outcomes {
			if o.Action.Verb == scaler.Mark && o.Result == scaler.Done && (o.Action.Agent == busy || o.Action.Agent == idle) {
				why[o.Action.Agent] = o.Action.Reason
			}
		}
	}
	if len(why) != 2 || why[busy] != scaler.ReasonLeaving || why[idle] != scaler.ReasonLeaving {
		t.Errorf("they were marked for %v, want %q", why, scaler.ReasonLeaving)
	}
}

// evict evicts a pod as kubectl drain does; with dry as a dry run.
func (h *home) evict(pod *corev1.Pod, dry bool) error {
	e := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}}
	if dry {
		e.DeleteOptions = &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
	}
	return h.k.PolicyV1().Evictions(pod.Namespace).Evict(h.t.Context(), e)
}

// budget makes install.yaml's PodDisruptionBudget of the agents' namespace.
func (h *home) budget() {
	h.t.Helper()
	if _, err := h.k.PolicyV1().PodDisruptionBudgets(h.ns).Create(h.t.Context(), kube.Budget(h.t, h.ns), metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}
