//go:build e2enode

package node

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/cmd/internal/kube"
	"bellboard/pool"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// TestDeletedBySomebody deletes the pod of a busy agent, as docs/nodes.md empties a Kubernetes node. The
// build ends. Then Bellboard deletes the pod again, and the pod goes when BUILD_GRACE is over.
func TestDeletedBySomebody(t *testing.T) {
	deletedBySomebody(t, "deleted", "none", "sleep 10; echo whole")
}

// TestDeletedWithDocker does the same during a build that uses its Docker daemon.
func TestDeletedWithDocker(t *testing.T) {
	deletedBySomebody(t, "deleted-docker", "dind", makeImage+"docker run --rm kept /bin/busybox sleep 10; docker run --rm kept /bin/busybox echo whole")
}

func deletedBySomebody(t *testing.T, name, docker, script string) {
	h := newHome(t, name, "BELLBOARD_TEAM_TEAM_MODE=ephemeral", "BELLBOARD_TEAM_TEAM_BUILD_GRACE=40s", "BELLBOARD_TEAM_TEAM_DOCKER="+docker)
	t.Parallel()
	h.start()
	b := h.begin(20*time.Second, script)
	name = h.on(b)
	h.kubectl("delete", "pods", "-A", "-l", "bellboard.dev/instance="+h.ns, "--field-selector", "spec.nodeName="+h.node.Name, "--wait=false")
	deleted := time.Now()
	if out := h.output(b); !strings.HasSuffix(out, "whole") {
		t.Errorf("the build says %q", out)
	}
	if took := time.Since(deleted); took < 9*time.Second {
		t.Errorf("the build was over %s after the deletion, and so shows nothing", took)
	}
	h.succeeded(1)
	over := time.Now()
	h.within(time.Minute, "Bellboard deletes the pod, too", func() bool {
		p := h.pod(name)
		return p == nil || *p.DeletionGracePeriodSeconds <= ours // counted from the first
	})
	again := time.Now()
	if h.pod(name) == nil {
		t.Error("Bellboard did not delete the pod")
	}
	h.gone(2*time.Minute, name)
	t.Logf("the build ended %s after the deletion, Bellboard's own came %s after that, and the pod was gone %s later",
		over.Sub(deleted).Round(100*time.Millisecond), again.Sub(over).Round(100*time.Millisecond), time.Since(again).Round(100*time.Millisecond))
	h.succeeded(1)
	if n := h.deletions.Load(); n != 1 {
		t.Errorf("Bellboard deleted the pod %d times, want once", n)
	}
}

// TestPreStop checks what the kubelet makes of an agent's preStop hook. The hook holds the process for
// BUILD_GRACE, and the pod even after the process ended. A deletion with a short grace period limits the hook
// only if it is the first deletion: a hook that runs already is not shortened.
func TestPreStop(t *testing.T) {
	const grace, short, pause = 30 * time.Second, ours * time.Second, 4 * time.Second
	h := newHome(t, "prestop")
	t.Parallel()
	pods := h.k.CoreV1().Pods(h.ns)
	cases := []*struct {
		name   string
		graces []time.Duration // of each deletion; 0 is the pod's own
		// The times, after the last deletion, for which the process and the pod stay.
		processLeast, podLeast, podMost time.Duration
		last                            time.Time
		gone                            time.Duration // the pod, after it
	}{
		{name: "held", graces: []time.Duration{0}, processLeast: grace, podLeast: grace},
		{name: "again", graces: []time.Duration{0, short}, processLeast: grace - 2*pause, podLeast: grace - 2*pause},
		{name: "exited", graces: []time.Duration{0}, podLeast: grace},
		{name: "short", graces: []time.Duration{short}, processLeast: short, podLeast: short, podMost: grace},
	}
	for _, c := range cases {
		label := "" // of the one that is told to end
		if c.name == "exited" {
			label = "any"
		}
		h.jenkins.AddNode(jenkinssim.Node{Name: c.name, Labels: label}, false)
		h.run(c.name, grace)
	}
	for _, c := range cases {
		h.within(time.Minute, "the agent is connected: "+c.name, func() bool { return h.hello(c.name).Name != "" })
	}
	for round := range 2 {
		for _, c := range cases {
			if round >= len(c.graces) {
				continue
			}
			var options metav1.DeleteOptions
			if g := c.graces[round]; g != 0 {
				options.GracePeriodSeconds = new(int64(g / time.Second))
			}
			c.last = time.Now()
			if err := pods.Delete(t.Context(), c.name, options); err != nil {
				t.Fatal(err)
			}
		}
		if round == 0 {
			time.Sleep(pause)
		}
	}
	h.begin(time.Minute, "kill -TERM 1")
	h.within(3*grace, "all pods are gone", func() bool {
		left := 0
		for _, c := range cases {
			if c.gone == 0 && h.pod(c.name) == nil {
				c.gone = time.Since(c.last)
			}
			if c.gone == 0 {
				left++
			}
		}
		return left == 0
	})
	for _, c := range cases {
		took := h.cutAt(c.name).Sub(c.last)
		t.Logf("%s: preStop of %s, deleted with graces %s (0s is the pod's own): the process ended %s after the last deletion, the pod was gone after %s",
			c.name, grace, c.graces, took.Round(100*time.Millisecond), c.gone.Round(100*time.Millisecond))
		if took < c.processLeast || c.gone < c.podLeast || c.podMost > 0 && c.gone > c.podMost {
			t.Errorf("%s: the kubelet did something else before; then docs/nodes.md and what Bellboard does about it have to follow", c.name)
		}
	}
}

// run makes an agent's pod as Bellboard does, for a Jenkins node that exists.
func (h *home) run(name string, grace time.Duration) {
	h.t.Helper()
	ctx := h.t.Context()
	pod := pool.Build(pool.Spec{
		PoolID: scaler.PoolID{Team: "team", Kind: scaler.Ephemeral}, Instance: h.ns, Namespace: h.ns, Image: agentImage,
		Connect: scaler.Inbound, Transport: pool.WebSocket, Docker: pool.DockerNone,
		CPU: resource.MustParse("100m"), Memory: resource.MustParse("128Mi"), BuildGrace: grace, JenkinsURL: h.url,
	}, name)
	if _, err := h.k.CoreV1().Pods(h.ns).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"secret": h.jenkins.Secret(name)}}
	if _, err := h.k.CoreV1().Secrets(h.ns).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

// TestDrain checks that kubectl drain waits for the build of a busy ephemeral agent. It also waits for a
// persistent agent that always has a next build, until a person takes that agent offline. The drain ends
// after both.
func TestDrain(t *testing.T) {
	h := newHome(
		t, "drain", "BELLBOARD_TEAM_TEAM_MODE=ephemeral", "BELLBOARD_DEFAULT_BUILD_GRACE=30s",
		"BELLBOARD_TEAMS=team,stays", "BELLBOARD_TEAM_STAYS_LABELS=stays", "BELLBOARD_TEAM_STAYS_MODE=persistent", "BELLBOARD_TEAM_STAYS_CONNECT=inbound",
		"BELLBOARD_TEAM_STAYS_DOCKER=none", "BELLBOARD_TEAM_STAYS_IMAGE="+agentImage, "BELLBOARD_TEAM_STAYS_CPU=100m", "BELLBOARD_TEAM_STAYS_MEMORY=128Mi",
		"BELLBOARD_TEAM_STAYS_MAX_AGENTS=1",
	)
	h.budget()
	h.start()
	var more []int64
	for n := range 60 { // jobs of their own, which share nothing but the agent
		more = append(more, h.jenkins.Submit(jenkinssim.Job{Name: fmt.Sprintf("stays-%d", n), Label: "stays", Duration: 2 * time.Second}))
	}
	h.within(time.Minute, "a build is over on the agent that stays", func() bool { return h.jenkins.Stats().Finished > 0 })
	stays := h.podOf("stays").Name
	b := h.begin(17*time.Second, "sleep 15; echo whole")
	name := h.on(b)
	t.Cleanup(func() {
		if out, err := h.node.Kubectl(context.Background(), "uncordon", h.node.Name).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	var said lockedBuffer
	drain := h.node.Kubectl(t.Context(), "drain", h.node.Name, "--force", "--delete-emptydir-data", "--timeout=2m")
	drain.Stdout, drain.Stderr = &said, &said
	if err := drain.Start(); err != nil {
		t.Fatal(err)
	}
	began, ended := time.Now(), make(chan error, 1)
	go func() { ended <- drain.Wait() }()
	h.within(time.Minute, "kubectl is told to wait", func() bool {
		return strings.Contains(said.String(), "would violate the pod's disruption budget")
	})
	for _, of := range []string{name, stays} {
		if p := h.pod(of); p == nil || p.DeletionTimestamp != nil {
			t.Errorf("the busy agent's pod: %v", p)
		}
	}

	// The persistent agent always has a next build, until a person acts as docs/nodes.md says.
	before := h.jenkins.Stats().Finished
	h.within(time.Minute, "builds go on under the drain", func() bool { return h.jenkins.Stats().Finished >= before+2 })
	busy := h.kubectl("get", "pods", "-A", "-l", "bellboard.dev/busy", "-o", "wide")
	if !regexp.MustCompile(`(?m)^` + h.ns + ` +` + stays + ` .* ` + h.node.Name + ` `).MatchString(busy) {
		t.Errorf("%s on %s is not among the busy:\n%s", stays, h.node.Name, busy)
	}
	h.jenkins.PersonOffline(stays, "its machine is drained")
	offline := time.Now()
	left := 0
	for _, id := range more {
		if h.jenkins.Cancel(id) {
			left++
		}
	}
	if left == 0 {
		t.Error("it had no next build, and so shows nothing")
	}

	if out := h.output(b); out != "whole" {
		t.Errorf("the build says %q", out)
	}
	select {
	case err := <-ended:
		t.Errorf("kubectl drain ended before the build: %v", err)
	default:
	}
	h.within(time.Minute, "the last build is over", func() bool { return h.jenkins.Stats().Running == 0 })
	over := time.Now()
	h.gone(time.Minute, name)
	t.Logf("under kubectl drain, which began %s before, the pod was gone %s after its build", over.Sub(began).Round(100*time.Millisecond), time.Since(over).Round(100*time.Millisecond))
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("kubectl drain: %v", err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatalf("kubectl drain does not end\n%s", h.state())
	}
	t.Logf("kubectl drain ended %s after the agent that stays was taken offline:\n%s", time.Since(offline).Round(100*time.Millisecond), said.String())
	h.succeeded(len(more) - left + 1)
	h.jenkins.PersonOnline(stays)
	h.within(time.Minute, "its node is gone", func() bool {
		return !slices.ContainsFunc(h.jenkins.NodesList(), func(n jenkinssim.NodeInfo) bool { return n.Name == stays })
	})
}

// budget makes install.yaml's PodDisruptionBudget of the agents' namespace.
func (h *home) budget() {
	h.t.Helper()
	if _, err := h.k.PolicyV1().PodDisruptionBudgets(h.ns).Create(h.t.Context(), kube.Budget(h.t, h.ns), metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write is called by a command.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
