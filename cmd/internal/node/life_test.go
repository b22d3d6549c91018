//go:build e2enode

package node

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestEphemeral: an agent is started for a build, runs it, and goes with all
// that belonged to it.
func TestEphemeral(t *testing.T) {
	h := newHome(t, "ephemeral", "BELLBOARD_TEAM_TEAM_MODE=ephemeral", "BELLBOARD_TEAM_TEAM_BUILD_GRACE=30s")
	t.Parallel()
	h.start()
	began := time.Now()
	b := h.begin(3*time.Second, "cat /etc/hostname; id -u; pwd; touch here; sleep 1; ls")
	name := h.on(b)
	t.Logf("the build is on %s after %s", name, time.Since(began).Round(100*time.Millisecond))
	if out, want := h.output(b), name+"\n1000\n/home/jenkins/agent\nhere"; out != want {
		t.Errorf("the build says %q, want %q", out, want)
	}
	h.succeeded(1)
	h.gone(time.Minute, name)
	h.within(time.Minute, "its node and its Secret are gone", func() bool {
		for _, n := range h.jenkins.NodesList() {
			if n.Name == name {
				return false
			}
		}
		l, err := h.k.CoreV1().Secrets(h.ns).List(t.Context(), metav1.ListOptions{})
		return err == nil && len(l.Items) == 0
	})
	if pods := h.pods(); len(pods) != 0 {
		t.Errorf("%d pods are left:\n%s", len(pods), h.state())
	}
}

// makeImage makes an image without a registry, and runs it.
const makeImage = `
mkdir context
cp /usr/bin/busybox context/
printf 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "touch", "/made"]\n' > context/Dockerfile
DOCKER_BUILDKIT=0 docker build --quiet --tag kept context
echo told > file
docker run --rm --volume "$PWD:/w" kept /bin/busybox cat /w/file
`

// findImage tells whether the image is there, and runs it.
const findImage = `docker run --rm --pull never kept /bin/busybox ls /made`

// TestPersistent: Docker answers before the agent connects; a later build finds
// what an earlier one has left in it, on the same agent and on the next one on the
// same cache slot; and a busy agent that is drained ends its build first.
func TestPersistent(t *testing.T) {
	h := newHome(
		t, "persistent", "BELLBOARD_TEAM_TEAM_MODE=persistent", "BELLBOARD_TEAM_TEAM_PERSISTENT_STORAGE_CLASS=here",
		"BELLBOARD_TEAM_TEAM_MAX_AGENTS=1", "BELLBOARD_TEAM_TEAM_BUILD_GRACE=60s", "BELLBOARD_TEAM_TEAM_SCALE_DOWN_COOLDOWN=1s",
	)
	t.Parallel()
	h.volume("here")
	stop := h.start()
	began := time.Now()
	b := h.begin(20*time.Second, makeImage)
	first := h.on(b)
	t.Logf("the build is on %s after %s", first, time.Since(began).Round(100*time.Millisecond))
	docker := h.hello(first).Docker
	if !strings.HasPrefix(docker, "2") { // a version
		t.Errorf("before the agent connected, docker info said %q", docker)
	}
	t.Logf("before the agent connected, docker info said %s", docker)
	if out := h.output(b); !strings.HasSuffix(out, "\ntold") {
		t.Errorf("the first build says %q", out)
	}
	h.succeeded(1)
	b = h.begin(4*time.Second, findImage)
	if name := h.on(b); name != first {
		t.Errorf("the second build is on %s, not on %s", name, first)
	}
	if out := h.output(b); out != "/made" {
		t.Errorf("the second build says %q", out)
	}
	h.succeeded(2)

	b = h.begin(15*time.Second, "docker run --rm kept /bin/busybox sleep 12; echo whole")
	h.on(b)
	stop()
	stop = h.start("BELLBOARD_TEAM_TEAM_PAUSED=true")
	h.within(time.Minute, "the busy agent is marked", func() bool {
		for _, n := range h.jenkins.NodesList() {
			if n.Name == first {
				return n.Marked != "" && n.Busy == 1
			}
		}
		t.Fatal("the node is gone while it should be busy")
		return false
	})
	if p := h.pod(first); p == nil || p.DeletionTimestamp != nil {
		t.Errorf("the pod of a busy agent that is drained: %v", p)
	}
	if out := h.output(b); out != "whole" {
		t.Errorf("the drained agent's build says %q", out)
	}
	h.succeeded(3)
	h.gone(time.Minute, first)
	stop()

	h.start()
	began = time.Now()
	b = h.begin(5*time.Second, findImage)
	next := h.on(b)
	t.Logf("the build on the kept slot is on %s after %s", next, time.Since(began).Round(100*time.Millisecond))
	if next == first {
		t.Errorf("a name came back: %s", next)
	}
	if out := h.output(b); out != "/made" {
		t.Errorf("the build on the kept slot says %q", out)
	}
	h.succeeded(4)
}
