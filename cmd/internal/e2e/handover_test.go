//go:build e2e

package e2e

import (
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/queue/jenkinssim"
)

// writing is who wrote, in the order in which the servers heard of it, each run of
// one writer once, and when it began.
type writing struct {
	who  string
	when time.Time
}

// contender is one of several processes of the binary, with its own way to both
// servers.
type contender struct {
	*process

	cut atomic.Bool // from Kubernetes
}

// contend starts one. seen is told of its writes, one at a time.
func (h *home) contend(seen func()) *contender {
	h.t.Helper()
	c := &contender{}
	g := h.gate()
	g.strike(nil, func(m moment) bool { // which never falls
		kube := strings.HasPrefix(m.URL.Path, "/api")
		if kube && c.cut.Load() {
			panic(http.ErrAbortHandler)
		}
		if !m.answered && m.Method != http.MethodGet && !strings.Contains(m.URL.Path, "/leases") && !strings.Contains(m.URL.Path, "/events") {
			seen()
		}
		return false
	})
	c.process = h.spawn(g.route)
	return c
}

// TestHandOver: the binary, two of it at a time, with a real API server between
// them. However the leader ends, the other goes on, and whoever wrote before it
// never writes again.
func TestHandOver(t *testing.T) {
	t.Parallel()
	h := newHome(t, "hand-over", rights(t))
	h.leads()
	var runs []writing // guarded by h.mu
	start := func(who string) *contender {
		return h.contend(func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			if len(runs) == 0 || runs[len(runs)-1].who != who {
				runs = append(runs, writing{who, time.Now()})
			}
		})
	}
	wrote := func(who string) (when time.Time) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, r := range runs {
			if r.who == who {
				return r.when
			}
		}
		return time.Time{}
	}
	signal := func(c *contender, s syscall.Signal) {
		t.Helper()
		if err := c.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	builds, last := 0, time.Time{}
	leads := func(who string) {
		t.Helper()
		h.await(who+" writes", func() bool {
			if time.Since(last) > time.Second { // something to write about
				last = time.Now()
				builds++
				h.submit(1, "linux")
			}
			return !wrote(who).IsZero()
		})
	}

	leader := start("1")
	leads("1")
	names := []string{"1"}
	for _, tt := range []struct {
		how  string
		end  func(*contender)
		wake bool // it is stopped, and goes on when the other leads
		code int
	}{
		{"its process stopped, and woken later", func(c *contender) { signal(c, syscall.SIGSTOP) }, true, 1},
		{"killed", func(c *contender) { signal(c, syscall.SIGKILL) }, false, -1},
		{"cut from Kubernetes", func(c *contender) { c.cut.Store(true) }, false, 1},
		{"gave the Lease back", func(c *contender) { signal(c, syscall.SIGTERM) }, false, 0},
	} {
		who := string(rune('1' + len(names)))
		next := start(who)
		h.await(who+" stands by", func() bool { return ready(next.listen) })
		ended := time.Now()
		tt.end(leader)
		leads(who)
		t.Logf("%s: the next wrote %s after", tt.how, wrote(who).Sub(ended).Round(100*time.Millisecond))
		if tt.wake {
			signal(leader, syscall.SIGCONT)
		}
		h.await("the one before has ended: "+tt.how, func() bool {
			select {
			case <-leader.done:
				return true
			default:
				return false
			}
		})
		if code := leader.cmd.ProcessState.ExitCode(); code != tt.code {
			t.Errorf("%s: it ended with code %d, want %d", tt.how, code, tt.code)
		}
		leader, names = next, append(names, who)
	}
	h.ends(builds)
	h.mu.Lock()
	defer h.mu.Unlock()
	var order []string
	for _, r := range runs {
		order = append(order, r.who)
	}
	if !slices.Equal(order, names) {
		t.Errorf("writers, in order: %v, want %v", order, names)
	}
}

// TestCleanup: the binary's cleanup beside a leader at work and one that stands by.
// It stops the first, lets builds end, removes everything, and says that the second
// begins anew; when nobody does, it ends well and nothing is left.
func TestCleanup(t *testing.T) {
	t.Parallel()
	h := newHome(t, "cleanup", rights(t))
	h.leads()
	cleanup := func() *exec.Cmd { // from a laptop, where nobody says that it has to lead
		cmd := h.command(h.straight(), "cleanup", "--yes", "--namespace", metav1.NamespaceDefault)
		cmd.Env = slices.DeleteFunc(cmd.Env, func(e string) bool { return strings.HasPrefix(e, "BELLBOARD_LEADER_ELECTION=") })
		return cmd
	}
	first := h.spawn(h.straight())
	for range 6 {
		h.jenkins.Submit(jenkinssim.Job{Name: "long", Pipeline: true, Label: "linux", Duration: 30 * time.Second})
	}
	h.await("builds run", func() bool { return h.jenkins.Stats().Running > 3 })
	second := h.spawn(h.straight())
	h.await("another stands by", func() bool { return ready(second.listen) })

	out, err := cleanup().CombinedOutput()
	t.Logf("%v\n%s", err, out)
	<-first.done
	if !strings.Contains(string(out), "took the Lease from ") || !strings.Contains(string(out), "another instance leads now and begins anew") || err == nil {
		t.Error("it does not say that another begins anew")
	}
	h.await("it does", func() bool { return h.jenkins.Stats().Nodes >= 6 })
	if err := second.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-second.done

	out, err = cleanup().CombinedOutput()
	t.Logf("%v\n%s", err, out)
	if err != nil || !strings.HasSuffix(string(out), "nothing is left\n") {
		t.Error("it does not end well")
	}
	if s := h.jenkins.Stats(); len(h.left()) > 0 || s.Nodes > 0 || s.Killed+s.Lost > 0 {
		t.Errorf("left are %v and %d nodes; %d builds were killed, %d lost", h.left(), s.Nodes, s.Killed, s.Lost)
	}
}

// ready: the process has seen Jenkins and the cluster.
func ready(listen string) bool {
	resp, err := http.Get("http://" + listen + "/readyz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
