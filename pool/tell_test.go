package pool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// numbers are what a daemon answers, that has made three containers and pulled two images.
const numbers = "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n" +
	`# TYPE engine_daemon_container_actions_seconds histogram
engine_daemon_container_actions_seconds_bucket{action="create",le="+Inf"} 4
engine_daemon_container_actions_seconds_sum{action="create"} 0.5
engine_daemon_container_actions_seconds_count{action="commit"} 1
engine_daemon_container_actions_seconds_count{action="create"} 4
engine_daemon_container_actions_seconds_count{action="start"} 9
`

const pulls = `engine_daemon_image_actions_seconds_count{action="delete"} 7
engine_daemon_image_actions_seconds_count{action="pull"} 2
`

// telling is a daemon that is told to end when it is ready, and what it leaves as its
// last message.
func telling(t *testing.T, numbers string, change func(*tended)) (d *tended, last string) {
	t.Helper()
	d = newTended(t)
	d.env = []string{"STAYS=1"}
	d.write("numbers", numbers)
	change(d)
	done, err := d.run()
	if !slices.Equal(done, []string{"daemon", "told to end"}) || err != nil {
		t.Errorf("it did %q, and ended with %v", done, err)
	}
	b, err := os.ReadFile(filepath.Join(d.dir, "last"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return d, string(b)
}

// with is a pod whose daemon has ended with that message.
func with(container, message string) *corev1.Pod {
	pod := Build(specOf(scaler.Ephemeral, scaler.Inbound, DockerDind), "web-e-1")
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: container, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: message}}}}
	return pod
}

func TestADaemonTellsWhatItWasUsedFor(t *testing.T) {
	for name, c := range map[string]struct {
		spec Spec
		sock string
	}{
		"on a slot":         {specOf(scaler.Persistent, scaler.Inbound, DockerDind), "run/metrics.sock"},
		"without one":       {specOf(scaler.Ephemeral, scaler.Inbound, DockerDind), "run/metrics.sock"},
		"sysbox":            {specOf(scaler.Persistent, scaler.Inbound, DockerSysbox), "run/metrics.sock"},
		"rootless":          {specOf(scaler.Persistent, scaler.Inbound, DockerRootless), "user/docker/metrics.sock"},
		"rootless, no slot": {specOf(scaler.Ephemeral, scaler.Inbound, DockerRootless), "user/docker/metrics.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			d, last := telling(t, numbers+pulls, func(d *tended) {
				d.spec = c.spec
				d.env = append(d.env, "XDG_RUNTIME_DIR="+d.dir+"/user")
				if !c.spec.HasClaim() {
					d.env = append(d.env, "ALONE=1")
				}
			})
			if got, want := dockerUse(with(dindContainer, last)), (scaler.DockerUse{Containers: 3, Pulls: 2}); got != want {
				t.Errorf("%q is understood as %+v, want %+v", last, got, want)
			}
			asked, err := os.ReadFile(filepath.Join(d.dir, "asked"))
			if want := "system dial-stdio at unix://" + d.dir + "/" + c.sock + "\nGET /metrics HTTP/1.0\r\n\r\n"; string(asked) != want {
				t.Errorf("it asked %q (%v), want %q", asked, err, want)
			}
			if limit, err := os.ReadFile(filepath.Join(d.dir, "limit")); string(limit) != "1\n" {
				t.Errorf("it waits for %q seconds (%v), want one", limit, err)
			}
		})
	}
}

// A daemon that has pulled nothing has no number for that.
func TestADaemonThatPulledNothing(t *testing.T) {
	_, last := telling(t, numbers, func(*tended) {})
	if got, want := dockerUse(with(dindContainer, last)), (scaler.DockerUse{Containers: 3}); got != want {
		t.Errorf("%q is understood as %+v, want %+v", last, got, want)
	}
}

// Whatever it is that cannot be asked, the daemon ends as it would have.
func TestADaemonThatTellsNothingEndsLikeAnyOther(t *testing.T) {
	for name, c := range map[string]struct {
		numbers string
		change  func(*tended)
	}{
		"no answer":     {"", func(*tended) {}},
		"another one":   {"HTTP/1.0 404 Not Found\r\n\r\n404 page not found\n", func(*tended) {}},
		"no numbers":    {strings.ReplaceAll(numbers, `"create"} 4`, `"create"} NaN`), func(*tended) {}},
		"no client":     {"", func(d *tended) { _ = os.Remove(filepath.Join(d.dir, "numbers")) }},
		"nowhere to go": {numbers, func(d *tended) { _ = os.Mkdir(filepath.Join(d.dir, "last"), 0o755) }},
	} {
		t.Run(name, func(t *testing.T) {
			d := newTended(t)
			d.env = []string{"STAYS=1"}
			d.write("numbers", c.numbers)
			c.change(d)
			done, err := d.run()
			if !slices.Equal(done, []string{"daemon", "told to end"}) || err != nil {
				t.Errorf("it did %q, and ended with %v", done, err)
			}
			if b, err := os.ReadFile(filepath.Join(d.dir, "last")); err == nil {
				t.Errorf("it told %q", b)
			}
		})
	}
}

// Builds can write there what they like.
func TestLastMessagesThatAreNotOurs(t *testing.T) {
	const good = "bellboard docker containers=3 pulls=2\n"
	if got := dockerUse(with(dindContainer, good)); got.Containers != 3 {
		t.Fatalf("%q is understood as %+v", good, got)
	}
	for _, message := range []string{
		"", "\n", "exit status 1", good + good, " " + good, "x" + good, good + "x", strings.ToUpper(good),
		"bellboard docker containers=3", "bellboard docker containers=-3 pulls=2", "bellboard docker containers=3 pulls=", "bellboard docker containers=3 pulls=2.5",
		"bellboard docker containers=1e5 pulls=2", "bellboard docker containers=1234567 pulls=2", "bellboard docker containers=3 pulls=99999999999999999999",
		"bellboard docker containers=٣ pulls=2", "bellboard docker  containers=3 pulls=2", strings.Repeat("bellboard ", 400) + good,
	} {
		if got := dockerUse(with(dindContainer, message)); got != (scaler.DockerUse{}) {
			t.Errorf("%q is understood as %+v", message, got)
		}
	}
	if got := dockerUse(with("database", good)); got != (scaler.DockerUse{}) {
		t.Errorf("of another container it is understood as %+v", got)
	}
	running := with(dindContainer, good)
	s := &running.Status.InitContainerStatuses[0]
	s.LastTerminationState, s.State = s.State, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	if got := dockerUse(running); got != (scaler.DockerUse{}) {
		t.Errorf("of a daemon that runs again it is understood as %+v", got)
	}
}

// However a pod goes, its daemon's last message is told once.
func TestWhatADaemonToldIsToldOnce(t *testing.T) {
	want := scaler.DockerUsed{PoolID: keeping, Agent: "data-p-1", Warmth: scaler.Cold, DockerUse: scaler.DockerUse{Containers: 5, Pulls: 4}}
	gone := func(h *house) bool { return h.cluster.Pod("data", "data-p-1") == nil }
	for name, end := range map[string]func(h *house){
		"deleted by us": func(h *house) {
			if err := h.DeletePod(context.Background(), h.pod("data-p-1"), soon()); err != nil {
				h.t.Fatal(err)
			}
		},
		"deleted by somebody": func(h *house) { h.cluster.Delete("data", "data-p-1", "somebody", -1) },
		"ended by itself": func(h *house) {
			h.cluster.Exit("data", "data-p-1", 0)
			h.await(time.Minute, func() bool { return h.pod("data-p-1").Phase == scaler.PodSucceeded })
			if got := h.DockerUsed(); got != nil {
				h.t.Errorf("told of one that is still there: %+v", got)
			}
			h.cluster.Delete("data", "data-p-1", "somebody", -1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(h *house) {
				h.secret(h.create("data-p-1", keeping))
				h.await(time.Minute, func() bool { return h.pod("data-p-1").Phase == scaler.PodRunning })
				end(h)
				h.await(20*time.Minute, func() bool { return gone(h) && len(h.pods()) == 0 })
				if got := h.DockerUsed(); len(got) != 1 || got[0] != want {
					t.Errorf("told %+v, want %+v", got, want)
				}
				h.cluster.Cut(time.Second) // and lists anew
				time.Sleep(time.Minute)
				if got := h.DockerUsed(); got != nil {
					t.Errorf("told again: %+v", got)
				}
			})
		})
	}
}

// A list tells of nothing that went: what it does not have any more is gone.
func TestWhatADaemonToldBeforeAListIsToldOnce(t *testing.T) {
	p, err := New(Config{Client: kubernetes.New(nil), Instance: "ci", Specs: []Spec{specOf(scaler.Ephemeral, scaler.Inbound, DockerDind)}})
	if err != nil {
		t.Fatal(err)
	}
	ended := with(dindContainer, told(nil, dindContainer))
	ended.UID = "first"
	other := ended.DeepCopy()
	other.UID = "second"
	f := p.followers[0]
	for i, c := range []struct {
		list []any
		told int
	}{{[]any{ended}, 0}, {[]any{ended}, 0}, {[]any{other}, 1}, {nil, 1}, {nil, 0}} {
		if err := f.Replace(c.list, "7"); err != nil {
			t.Fatal(err)
		}
		if got := p.DockerUsed(); len(got) != c.told {
			t.Errorf("after list %d told is %+v, want %d", i, got, c.told)
		}
	}
}

// A process that begins when the agent has ended, and is still there, is the one that tells.
func TestWhatADaemonToldOutlivesARestart(t *testing.T) {
	bubble(t, func(h *house) {
		h.secret(h.create("data-p-1", keeping))
		h.await(time.Minute, func() bool { return h.pod("data-p-1").Phase == scaler.PodRunning })
		h.cluster.Exit("data", "data-p-1", 0)
		h.await(time.Minute, func() bool { return h.pod("data-p-1").Phase == scaler.PodSucceeded })
		next, err := New(Config{Client: h.client, Instance: "ci", Clock: clock.Real(), Specs: specs()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		if err := next.Start(ctx); err != nil {
			t.Fatal(err)
		}
		h.cluster.Delete("data", "data-p-1", "somebody", 0)
		synctest.Wait()
		if got := next.DockerUsed(); len(got) != 1 || got[0].Containers != 5 {
			t.Errorf("the next process tells %+v", got)
		}
	})
}

// told is what the daemon in a simulated pod says at its end.
func told(_ *corev1.Pod, container string) string {
	if container != dindContainer {
		return ""
	}
	return fmt.Sprintf("bellboard docker containers=%d pulls=%d\n", 5, 4)
}
