//go:build e2enode

package node

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/scaler"
)

// TestEphemeral checks an ephemeral agent: it starts for a build, runs the build, reaps what the build
// leaves, and goes soon with everything that belonged to it.
func TestEphemeral(t *testing.T) {
	h := newHome(t, "ephemeral", "BELLBOARD_TEAM_TEAM_MODE=ephemeral", "BELLBOARD_TEAM_TEAM_BUILD_GRACE=30s")
	t.Parallel()
	h.start()
	began := time.Now()
	b := h.begin(3*time.Second, "cat /etc/hostname; id -u; pwd; touch here; "+leaveOrphans+"sleep 1; ls; "+countDefunct)
	name := h.on(b)
	t.Logf("the build is on %s after %s", name, time.Since(began).Round(100*time.Millisecond))
	if out, want := h.output(b), name+"\n1000\n/home/jenkins/agent\nhere\ndefunct: 0"; out != want {
		t.Errorf("the build says %q, want %q", out, want)
	}
	h.succeeded(1)
	over := time.Now()
	h.within(time.Minute, "the pod is deleted", func() bool { p := h.pod(name); return p == nil || p.DeletionTimestamp != nil })
	asked := time.Now()
	h.gone(time.Minute, name)
	took := time.Since(over)
	t.Logf("the build was over, its pod was deleted %s later and gone %s after the build",
		asked.Sub(over).Round(100*time.Millisecond), took.Round(100*time.Millisecond))
	if took > 8*time.Second {
		t.Errorf("the pod was gone %s after its build, want 8 s at most", took)
	}
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

// leaveOrphans makes processes whose parent ends before them, as the sh steps of a pipeline do. countDefunct
// counts those that nobody has reaped.
const (
	leaveOrphans = `for i in 1 2 3; do sh -c 'sleep 0.2 >/dev/null 2>&1 &'; done; `
	countDefunct = `echo "defunct: $(cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ')"`
)

// makeImage makes an image without a registry, and runs it.
const makeImage = `
mkdir context
cp /usr/bin/busybox context/
printf 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "touch", "/made"]\n' > context/Dockerfile
DOCKER_BUILDKIT=0 docker build --quiet --tag kept context
echo told > file
docker run --rm --volume "$PWD:/w" kept /bin/busybox cat /w/file
`

// useImage creates a container of an image of a registry, and pulls that image if necessary.
const useImage = `docker create ` + tiny + ` /nothing >/dev/null
`

// findImage checks that the image exists, and runs it.
const findImage = `docker run --rm --pull never kept /bin/busybox ls /made`

// TestPersistent checks that Docker answers before the agent connects. A later build finds the images of an
// earlier one: on the same agent, on the next agent with the same cache slot, and after the daemon was
// killed. A busy agent that is drained ends its build first. A full slot is emptied before a build uses it.
func TestPersistent(t *testing.T) {
	h := newHome(
		t, "persistent", "BELLBOARD_TEAM_TEAM_MODE=persistent", "BELLBOARD_TEAM_TEAM_PERSISTENT_STORAGE_CLASS=here",
		"BELLBOARD_TEAM_TEAM_MAX_AGENTS=1", "BELLBOARD_TEAM_TEAM_BUILD_GRACE=60s", "BELLBOARD_TEAM_TEAM_SCALE_DOWN_COOLDOWN=1s",
	)
	h.slow = true
	t.Parallel()
	h.volume("here")
	h.env = append(h.env, "BELLBOARD_TEAM_TEAM_REGISTRY_MIRROR="+h.url)
	stop := h.start()
	began := time.Now()
	b := h.begin(20*time.Second, useImage+useImage+makeImage)
	first := h.on(b)
	t.Logf("the build is on %s after %s", first, time.Since(began).Round(100*time.Millisecond))
	docker := h.hello(first).Docker
	if !strings.HasPrefix(docker, "2") { // a version
		t.Errorf("before the agent connected, docker info said %q", docker)
	}
	t.Logf("before the agent connected, docker info said %s", docker)
	if took := h.phases()[scaler.PhaseDocker]; took < daemonSleeps {
		t.Errorf("its daemon answered after %s; it sleeps %s before it begins", took, daemonSleeps)
	}
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

	stop = h.start()
	began = time.Now()
	b = h.begin(5*time.Second, useImage+findImage)
	next := h.on(b)
	t.Logf("the build on the kept slot is on %s after %s", next, time.Since(began).Round(100*time.Millisecond))
	if next == first {
		t.Errorf("a name came back: %s", next)
	}
	if out := h.output(b); out != "/made" {
		t.Errorf("the build on the kept slot says %q", out)
	}
	h.succeeded(4)

	// While no Bellboard runs, the daemon comes back, and nothing else happens. In the next container another
	// process has the number that the old containerd left in its file. The test makes that so each time.
	stop()
	h.kubectl("-n", h.ns, "exec", next, "-c", "dind", "--", "sh", "-c", "echo 1 > /run/docker/containerd/containerd.pid; kill -KILL $(cat /var/run/docker.pid)")
	began = time.Now()
	h.within(time.Minute, "the killed daemon is back", func() bool {
		for _, c := range h.pod(next).Status.InitContainerStatuses {
			if c.Name == "dind" {
				return c.RestartCount == 1 && c.Started != nil && *c.Started
			}
		}
		return false
	})
	t.Logf("a killed daemon is back after %s", time.Since(began).Round(100*time.Millisecond))
	stop = h.start()
	b = h.begin(4*time.Second, findImage)
	if name := h.on(b); name != next {
		t.Errorf("the build after the daemon was killed is on %s, not on %s", name, next)
	}
	if out := h.output(b); out != "/made" {
		t.Errorf("the build after the daemon was killed says %q", out)
	}
	h.succeeded(5)

	// Bellboard sees a daemon that stays away. Its agent gets no more builds, and the next agent has its cache.
	h.kubectl("-n", h.ns, "exec", next, "-c", "dind", "--", "sh", "-c", "kill -KILL $(cat /var/run/docker.pid)")
	h.gone(time.Minute, next)
	b = h.begin(4*time.Second, findImage)
	last := h.on(b)
	if last == next {
		t.Errorf("a name came back: %s", last)
	}
	if out := h.output(b); out != "/made" {
		t.Errorf("the build after the agent without a daemon says %q", out)
	}
	h.succeeded(6)
	stop()
	stop = h.start("BELLBOARD_TEAM_TEAM_PAUSED=true")
	h.gone(time.Minute, last)
	stop()

	// The slot has only the image of the first build, which is too much now.
	h.start("BELLBOARD_TEAM_TEAM_CACHE_SIZE=1M")
	b = h.begin(10*time.Second, "docker images --all --quiet | wc -l"+makeImage)
	name := h.on(b)
	if out := h.output(b); !strings.HasPrefix(out, "0\n") || !strings.HasSuffix(out, "\ntold") {
		t.Errorf("on the slot that was full, images are left or Docker does not work:\n%s", out)
	}
	said := h.kubectl("-n", h.ns, "logs", name, "-c", "dind")
	t.Logf("on a slot that is full, before the build:\n%s", strings.Join(regexp.MustCompile("(?m)^bellboard: .*").FindAllString(said, -1), "\n"))
	if !regexp.MustCompile(`(?m)^bellboard: the volume is [0-9]+ % full: docker image prune -af$`).MatchString(said) || strings.Contains(said, "did not work") {
		t.Errorf("the daemon's container says\n%s", said)
	}
	h.succeeded(7)
}

// daemonSleeps is the time for which the daemon's entrypoint waits (deploy/kube/node/rootfs).
const daemonSleeps = 4 * time.Second

// phases waits until a tick has reported all phases of the first agent's start, in order, and returns the
// time of each.
func (h *home) phases() map[scaler.Phase]time.Duration {
	h.t.Helper()
	var s scaler.Startup
	h.within(10*time.Second, "how an agent's start went is told", func() bool {
		for _, t := range h.ticks() {
			for _, s = range t.Facts.Startups {
				return true
			}
		}
		return false
	})
	var told []scaler.Phase
	took, sum := map[scaler.Phase]time.Duration{}, time.Duration(0)
	for _, p := range s.Phases {
		told, took[p.Phase], sum = append(told, p.Phase), p.Took, sum+p.Took
	}
	if !slices.Equal(told, scaler.Phases()) || sum != s.Took {
		h.t.Errorf("a start of %s is told as %v, want all of it in %v", s.Took, s.Phases, scaler.Phases())
	}
	h.t.Logf("a start is told as %v", s.Phases)
	return took
}
