//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"bellboard/metrics/web"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// contest has several processes of the binary with one Lease.
type contest struct {
	*home

	builds int       // that were submitted
	last   time.Time // when the last one was

	runs []writing // guarded by home.mu
}

// writing has the process that wrote, and when it began to. Consecutive writes of one process are one
// writing.
type writing struct {
	who  string
	when time.Time
}

// contender is one process, with its own connections to both servers.
type contender struct {
	*process

	cut, cutJenkins atomic.Bool
	// Writes of this kind are sent, and arrive when late is closed.
	slow          atomic.Value
	late          chan struct{}
	land          func() // closes late
	sent, arrived atomic.Int32
}

// start starts one more process.
func (c *contest) start(who string) *contender {
	c.t.Helper()
	p := &contender{late: make(chan struct{})}
	p.land = sync.OnceFunc(func() { close(p.late) })
	g := c.gate()
	c.t.Cleanup(p.land)
	slow := func(r *http.Request) bool {
		kind, _ := p.slow.Load().(string)
		return kind != "" && strings.Contains(r.Method+" "+r.URL.Path, kind)
	}
	g.killAt(nil, func(m moment) bool { // kills nothing
		if m.answered && slow(m.Request) {
			p.arrived.Add(1)
		}
		kube := strings.HasPrefix(m.URL.Path, "/api")
		if kube && p.cut.Load() || !kube && p.cutJenkins.Load() {
			panic(http.ErrAbortHandler)
		}
		if !m.answered && m.Method != http.MethodGet && !strings.Contains(m.URL.Path, "/leases") && !strings.Contains(m.URL.Path, "/events") {
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.runs) == 0 || c.runs[len(c.runs)-1].who != who {
				c.runs = append(c.runs, writing{who, time.Now()})
			}
		}
		return false
	})
	g.delay = func(r *http.Request) <-chan struct{} {
		if !slow(r) {
			return nil
		}
		return p.late
	}
	g.held = func() { p.sent.Add(1) }
	p.process = c.spawn(g.route)
	return p
}

// wrote returns the time of the first write of a process; zero: it has not written.
func (c *contest) wrote(who string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.runs {
		if r.who == who {
			return r.when
		}
	}
	return time.Time{}
}

// works submits builds until done, so that the processes have something to write.
func (c *contest) works(what string, done func() bool) {
	c.t.Helper()
	c.await(what, func() bool {
		if time.Since(c.last) > time.Second {
			c.last = time.Now()
			c.builds++
			c.submit(1, "linux")
		}
		return done()
	})
}

func (c *contest) writes(who string) {
	c.t.Helper()
	c.works(who+" writes", func() bool { return !c.wrote(who).IsZero() })
}

// wroteInOrder checks that these processes wrote, each only until the next one wrote.
func (c *contest) wroteInOrder(names ...string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var order []string
	for _, r := range c.runs {
		order = append(order, r.who)
	}
	if !slices.Equal(order, names) {
		c.t.Errorf("writers, in order: %v, want %v", order, names)
	}
}

// resumes submits a build that asks for an agent by its name, so that Bellboard clears the agent's mark. The
// returned function cancels the build.
func (c *contest) resumes() (cancel func()) {
	c.t.Helper()
	c.await("all builds finish", c.finished)
	c.builds++
	c.jenkins.Submit(jenkinssim.Job{Name: "long", Label: "linux", Duration: 30 * time.Second})
	var id int64
	c.await("it runs", func() bool {
		for _, n := range c.jenkins.NodesList() {
			if n.Busy > 0 && n.Marked != "" {
				id = c.jenkins.Submit(jenkinssim.Job{Name: "resumes", Label: n.Name})
				return true
			}
		}
		return false
	})
	return func() { c.jenkins.Cancel(id) }
}

// surplus leaves an agent without a build: it cancels the agent's build as the agent starts. Bellboard marks
// such an agent before it removes it. Most other agents have the hook's mark already, so that a test might
// wait for a mark in vain.
func (c *contest) surplus() {
	c.t.Helper()
	c.await("all builds finish", c.finished)
	c.await("a build is cancelled before its agent connects", func() bool {
		before, _, _ := c.count()
		id := c.jenkins.Submit(jenkinssim.Job{Name: "cancelled", Label: "linux"})
		c.await("its agent's pod is there", func() bool {
			pods, _, _ := c.count()
			return pods > before || c.finished()
		})
		if c.jenkins.Cancel(id) {
			return true
		}
		c.builds++ // it runs
		c.await("it finishes", c.finished)
		return false
	})
}

// TestHandOver runs two processes of the binary with a real API server between them. However the leader ends,
// the other process goes on, and the old leader never writes again. A write of the old leader that was under
// way arrives after the new leader's first write, and does no harm. Each case delays another kind of write.
func TestHandOver(t *testing.T) {
	t.Parallel()
	h := newHome(t, "hand-over", rights(t))
	h.leads()
	c := &contest{home: h}
	signal := func(p *contender, s syscall.Signal) {
		t.Helper()
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	leader := c.start("1")
	c.writes("1")
	names := []string{"1"}
	var before []string // nodes that an earlier leader had registered
	for _, tt := range []struct {
		how  string
		end  func(*contender)
		wake bool // it is stopped, and goes on when the other leads
		code int
		late string // the writes that are under way
	}{
		{"its process stopped, and woken later", func(p *contender) { signal(p, syscall.SIGSTOP) }, true, 1, "/doDelete"},
		{"killed", func(p *contender) { signal(p, syscall.SIGKILL) }, false, -1, "/toggleOffline"},
		{"cut from Kubernetes", func(p *contender) { p.cut.Store(true) }, false, 1, "/changeOfflineCause"},
		{"gave the Lease back", func(p *contender) { signal(p, syscall.SIGTERM) }, false, 0, "DELETE /api/v1/namespaces/hand-over/pods/"},
	} {
		who := string(rune('1' + len(names)))
		next := c.start(who)
		c.await(who+" stands by", func() bool { return ready(next.listen) })
		leader.slow.Store(tt.late)
		cancel := func() {}
		under := func() bool { return leader.sent.Load() > 0 }
		switch tt.late {
		case "/toggleOffline":
			cancel = c.resumes()
		case "/changeOfflineCause":
			c.surplus()
			c.await(tt.late+" is under way", under) // a new build would take the agent
		}
		c.works(tt.late+" is under way", under)
		cancel() // so that nobody else lifts that mark
		for _, n := range h.jenkins.NodesList() {
			before = append(before, n.Name)
		}
		ended := time.Now()
		tt.end(leader)
		c.writes(who)
		t.Logf("%s: the next wrote %s after; %d of %s arrive then", tt.how, c.wrote(who).Sub(ended).Round(100*time.Millisecond), leader.sent.Load(), tt.late)
		leader.land()
		c.await("they arrive", func() bool { return leader.arrived.Load() == leader.sent.Load() })
		if tt.wake {
			signal(leader, syscall.SIGCONT)
		}
		c.await("the one before has ended: "+tt.how, func() bool {
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
	h.ends(c.builds)
	c.await("what earlier leaders have registered is gone", func() bool {
		return !slices.ContainsFunc(h.jenkins.NodesList(), func(n jenkinssim.NodeInfo) bool { return slices.Contains(before, n.Name) })
	})
	c.wroteInOrder(names...)
}

// TestCutFromJenkins cuts the leader from Jenkins. The leader says why it does nothing. It keeps the Lease
// for longer than a Lease lasts without renewals: the standby could not do better, and writes nothing.
func TestCutFromJenkins(t *testing.T) {
	t.Parallel()
	h := newHome(t, "cut-from-jenkins", rights(t))
	h.leads()
	c := &contest{home: h}
	leader := c.start("1")
	c.writes("1")
	next := c.start("2")
	c.await("2 stands by", func() bool { return ready(next.listen) })
	leads := h.status(leader.listen).Leader
	leader.cutJenkins.Store(true)
	cut := time.Now()
	c.works("it says that it holds, and renews the Lease", func() bool {
		s := h.status(leader.listen)
		lease, err := h.k.CoordinationV1().Leases(metav1.NamespaceDefault).Get(t.Context(), "bellboard-"+h.ns, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Role != "leader" || s.Leader != leads || *lease.Spec.HolderIdentity != leads {
			t.Fatalf("it is %s, says that %s leads, and %s holds the Lease; want %s", s.Role, s.Leader, *lease.Spec.HolderIdentity, leads)
		}
		last := time.Duration(*lease.Spec.LeaseDurationSeconds) * time.Second
		return s.Tick.HoldBy == scaler.SourceJenkins && s.Tick.Hold != "" && lease.Spec.RenewTime.Sub(cut) > last+5*time.Second
	})
	lease, err := h.k.CoordinationV1().Leases(metav1.NamespaceDefault).Get(t.Context(), "bellboard-"+h.ns, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// As kubectl describe finds the events.
	events, err := h.k.CoreV1().Events(metav1.NamespaceDefault).SearchWithContext(t.Context(), scheme.Scheme, lease)
	if err != nil || !slices.ContainsFunc(events.Items, func(e corev1.Event) bool { return e.Reason == "Holding" }) {
		t.Errorf("the Lease shows %d events, none of them Holding: %v", len(events.Items), err)
	}
	leader.cutJenkins.Store(false)
	h.ends(c.builds)
	if s := h.status(next.listen); s.Role != "standby" || s.Tick == nil || s.Tick.Hold != "" {
		t.Errorf("the other is %s, and its last look: %+v", s.Role, s.Tick)
	}
	c.wroteInOrder("1")
}

// status returns the status that a process serves.
func (h *home) status(listen string) (s web.Status) {
	h.t.Helper()
	resp, err := http.Get("http://" + listen + "/api/v1/status")
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, web.ReadJSON(body, &s)); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// TestCleanup runs the binary's cleanup beside a leader and a standby. The cleanup waits, and names the
// leader. When both have ended, the cleanup lets the builds end, and leaves nothing.
func TestCleanup(t *testing.T) {
	t.Parallel()
	h := newHome(t, "cleanup", rights(t))
	h.leads()
	first := h.spawn(h.straight())
	for range 6 {
		h.jenkins.Submit(jenkinssim.Job{Name: "long", Pipeline: true, Label: "linux", Duration: 30 * time.Second})
	}
	h.await("builds run", func() bool { return h.jenkins.Stats().Running > 3 })
	second := h.spawn(h.straight())
	h.await("another stands by", func() bool { return ready(second.listen) })

	// As on a laptop, where no setting says that the cleanup needs the Lease.
	cmd := h.command(h.straight(), "cleanup", "--yes", "--namespace", metav1.NamespaceDefault)
	cmd.Env = slices.DeleteFunc(cmd.Env, func(e string) bool { return strings.HasPrefix(e, "BELLBOARD_LEADER_ELECTION=") })
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended by itself, as a rule
	defer time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() }).Stop()
	says, leader := bufio.NewScanner(stderr), h.status(first.listen).Leader
	for says.Scan() && !strings.Contains(says.Text(), ", which "+leader+" holds. ") {
		t.Log(says.Text())
	}
	if says.Text() == "" {
		t.Errorf("it does not say that it waits for %s", leader)
	}
	if s := h.status(first.listen); s.Role != "leader" {
		t.Errorf("beside the cleanup the leader is %s", s.Role)
	}
	for _, p := range []*process{second, first} {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-p.done
	}
	for says.Scan() { // until it ends
		t.Log(says.Text())
	}
	err = cmd.Wait()
	t.Logf("%v\n%s", err, out.String())
	if err != nil || !strings.HasSuffix(out.String(), "nothing is left\n") {
		t.Error("it does not end well")
	}
	if s := h.jenkins.Stats(); len(h.left()) > 0 || s.Nodes > 0 || s.Killed+s.Lost > 0 {
		t.Errorf("left are %v and %d nodes; %d builds were killed, %d lost", h.left(), s.Nodes, s.Killed, s.Lost)
	}
}

// ready reports whether the process has read Jenkins and the cluster.
func ready(listen string) bool {
	resp, err := http.Get("http://" + listen + "/readyz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
