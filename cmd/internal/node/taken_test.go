//go:build e2enode

package node

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// TestEvicted evicts agents by the eviction API. The budget first rejects that, and Bellboard sees nothing of
// it.
func TestEvicted(t *testing.T) {
	h := newGoing(t, "evicted")
	t.Parallel()
	h.budget()
	evict := func(p *corev1.Pod) error {
		e := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: h.ns}}
		return h.k.PolicyV1().Evictions(h.ns).Evict(t.Context(), e)
	}
	h.going(func(pods []*corev1.Pod) {
		for _, p := range pods {
			if err := evict(p); !apierrors.IsTooManyRequests(err) {
				t.Errorf("the eviction of %s with a budget: %v", p.Name, err)
			}
		}
		h.looks(5)
		for _, p := range pods {
			now := h.pod(p.Name)
			if now == nil || now.DeletionTimestamp != nil || slices.ContainsFunc(now.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget }) {
				t.Errorf("a refused eviction leaves on the pod of %s: %+v", p.Name, now)
			}
		}
		for _, n := range h.jenkins.NodesList() {
			if n.Marked != "" {
				t.Errorf("after a refused eviction %s is marked: %s", n.Name, n.Marked)
			}
		}

		if err := h.k.PolicyV1().PodDisruptionBudgets(h.ns).Delete(t.Context(), "bellboard-busy", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, p := range pods {
			if err := evict(p); err != nil {
				t.Fatal(err)
			}
		}
	})
	h.went(scaler.FailureEvicted, "EvictionByEvictionAPI")
}

// TestTainted taints the Kubernetes node of agents.
func TestTainted(t *testing.T) {
	h := newGoing(t, "tainted")
	taint := func(ctx context.Context, taints string) {
		_, err := h.k.CoreV1().Nodes().Patch(ctx, h.node.Name, "application/merge-patch+json", []byte(`{"spec":{"taints":`+taints+`}}`), metav1.PatchOptions{})
		if err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { taint(context.Background(), "null") })
	h.going(func([]*corev1.Pod) { taint(t.Context(), `[{"key":"bellboard.test/going","effect":"NoExecute"}]`) })
	taint(t.Context(), "null")
	t.Parallel() // not before: a taint is for all pods, and so is the drain of TestDrain, which is over now
	h.went(scaler.FailureNodeGone, "DeletionByTaintManager")
}

// looks waits for so many further ticks.
func (h *home) looks(times int) {
	h.t.Helper()
	seen := map[string]bool{}
	h.within(time.Minute, "Bellboard looks", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.last.Hold == "" {
			seen[h.last.ID] = true
		}
		return len(seen) > times
	})
}

// newGoing makes a home with three agents: one that has time to end its build, one that has not, and one that
// never connects.
func newGoing(t *testing.T, name string) *home {
	return newHome(
		t, name, "BELLBOARD_TEAMS=team,long,deaf", "BELLBOARD_DEFAULT_MODE=persistent", "BELLBOARD_DEFAULT_CONNECT=inbound", "BELLBOARD_DEFAULT_DOCKER=none",
		"BELLBOARD_DEFAULT_CPU=10m", "BELLBOARD_DEFAULT_MEMORY=64Mi", "BELLBOARD_DEFAULT_IMAGE="+agentImage, "BELLBOARD_DEFAULT_BUILD_GRACE=30s",
		"BELLBOARD_TEAM_LONG_LABELS=long", "BELLBOARD_TEAM_DEAF_LABELS=deaf", "BELLBOARD_TEAM_DEAF_IMAGE="+deafImage,
	)
}

// going lets the cluster take the agents, and waits until they are to take no more builds.
func (h *home) going(take func([]*corev1.Pod)) {
	h.t.Helper()
	h.start()
	pods := make([]*corev1.Pod, 0, 3)
	for _, c := range []struct {
		team, label string
		takes       time.Duration
	}{{"deaf", "deaf", time.Second}, {"long", "long", 5 * time.Minute}, {"team", "any", 20 * time.Second}} { // the short one last: it has to run yet
		h.jenkins.Submit(jenkinssim.Job{Name: "job", Label: c.label, Duration: c.takes})
		p := h.podOf(c.team)
		pods = append(pods, p)
		h.within(time.Minute, "it runs: "+c.team, func() bool {
			p := h.pod(p.Name)
			return p != nil && p.Status.Phase == corev1.PodRunning && h.jenkins.Stats().Running >= len(pods)-1
		})
	}
	take(pods)
	// Between the announcement and the deletion there is a moment in which the test can see it.
	words := []string{scaler.MarkText(h.ns, scaler.ReasonLeaving)}
	h.within(10*time.Second, "all are deleted and marked, and two at work", func() bool {
		n, busy := 0, 0
		for _, p := range pods {
			was := h.pod(p.Name)
			for _, node := range h.jenkins.NodesList() {
				if node.Name == p.Name && was != nil && was.DeletionTimestamp != nil && slices.Contains(words, node.Marked) {
					n, busy = n+1, busy+node.Busy
				}
			}
		}
		return n == 3 && busy == 2
	})
}

// went waits for the end of the three agents, and checks what Bellboard says about it.
func (h *home) went(failure scaler.Failure, reason string) {
	h.t.Helper()
	h.within(90*time.Second, "two builds are over", func() bool { return h.jenkins.Stats().Finished >= 2 })
	if s := h.jenkins.Stats(); s.Succeeded != 1 || s.Lost != 1 || s.Killed != 0 {
		h.t.Errorf("one build had the time that it needs, one had not: %+v", s)
	}
	h.within(30*time.Second, "a build is counted as lost", func() bool { return len(h.lost()) > 0 })
	h.within(30*time.Second, "an agent failed", func() bool { return len(h.failures("deaf")) > 0 })
	if l := h.lost(); len(l) != 1 || l[0].Team != "long" || l[0].Builds != 1 || !strings.Contains(l[0].Text, ": "+reason+": ") {
		h.t.Errorf("lost are %+v", l)
	}
	f := h.failures("deaf")[0]
	if f.Failure != failure {
		h.t.Errorf("the one that never connected failed: %s: %s", f.Failure, f.Text)
	}
	h.t.Logf("failed: %s: %s; lost: %s", f.Failure, f.Text, h.lost()[0].Text)
}
