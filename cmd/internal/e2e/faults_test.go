//go:build e2e

package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellboard/cmd/internal/app"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// fault is something that breaks while six agents are busy and two builds wait.
type fault struct {
	name   string
	breaks func(h *home, d *daemon) (mend func())
	says   []string // what a tick must say meanwhile
	// fails is the failure class of the agents that cannot be made. Then the fault is no reason to hold, and
	// Bellboard removes agents that have ended.
	fails scaler.Failure
}

// triesMost is the most creations while the API server rejects them. By the pauses of the classes a ninth
// would come after more than two minutes.
const triesMost = 8

// answering makes Jenkins, or a proxy before it, answer every request so.
func answering(status int, header http.Header, body string) func(*home, *daemon) func() {
	return func(h *home, _ *daemon) func() {
		h.jenkins.Fault(func(*http.Request) (int, http.Header, []byte, bool) { return status, header, []byte(body), true })
		return func() { h.jenkins.Fault(nil) }
	}
}

func kind(contentType string) http.Header { return http.Header{"Content-Type": {contentType}} }

// jenkins has the headers of Jenkins' own answers.
var jenkins = http.Header{"Content-Type": {"application/json"}, "X-Jenkins": {"2.568.1"}, "X-Jenkins-Session": {"1"}}

var faults = []fault{
	{name: "jenkins-503", breaks: answering(http.StatusServiceUnavailable, kind("text/html"), "<html>Please wait while Jenkins is getting ready to work"), says: []string{"503"}},
	{name: "jenkins-401", breaks: answering(http.StatusUnauthorized, kind("text/html"), "<html>Error 401"), says: []string{"401"}},
	{name: "jenkins-html", breaks: answering(http.StatusOK, kind("text/html"), "<html><body>Sign in</body></html>"), says: []string{"X-Jenkins"}},
	{name: "jenkins-empty", breaks: answering(http.StatusOK, jenkins, ""), says: []string{"empty body"}},
	{name: "jenkins-nothing", breaks: answering(0, nil, ""), says: []string{"not available"}},
	{name: "quota", fails: scaler.FailureQuota, says: []string{"rejected", "exceeded quota"}, breaks: func(h *home, _ *daemon) func() {
		return overQuota(h.t, h.k, h.ns)
	}},
	{name: "pod-security", fails: scaler.FailureAdmission, says: []string{"rejected", "violates PodSecurity", "privileged"}, breaks: func(h *home, _ *daemon) func() {
		enforce(h.t, h.k, h.ns, "restricted")
		return func() { enforce(h.t, h.k, h.ns, "privileged") }
	}},
}

// atWork makes six agents busy in each home: two for that long, four for a moment.
func atWork(long time.Duration, homes ...*home) {
	for _, h := range homes {
		for i := range 6 {
			job := jenkinssim.Job{Name: "work", Pipeline: i%2 == 0, Label: []string{"linux", "docker"}[i%2], Duration: 8 * time.Second}
			if i < 2 {
				job.Duration = long
			}
			h.jenkins.Submit(job)
		}
	}
	for _, h := range homes {
		h.t.Helper()
		h.await("six builds run", func() bool { return h.jenkins.Stats().Running == 6 })
	}
}

// TestFaults checks that Bellboard removes nothing while it cannot read a source, and says why. Bellboard
// shows what is rejected, and goes on afterwards.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, f.name, rights(t))
			d := h.start()
			atWork(18*time.Second, h)
			mend := f.breaks(h, d)
			n := h.tickCount()
			_, _, before := h.count()
			made, sees := h.called("create pods"), f.fails != ""
			h.submit(2, "docker")
			h.await("a tick says "+strings.Join(f.says, ", "), func() bool { return h.told(n, f.says...) })
			h.await("four builds end", func() bool { return h.jenkins.Stats().Succeeded >= 4 })
			if sees {
				// Bellboard removes ended agents also while the API server rejects new ones.
				h.await("their agents go", func() bool { _, _, doomed := h.count(); return doomed >= 4 })
			} else if _, _, doomed := h.count(); doomed > before {
				t.Errorf("%d pods were deleted in the dark", doomed-before)
			}
			if ever, _, _ := h.count(); ever != 6 {
				t.Errorf("%d pods; no seventh could be made", ever)
			}
			if by := h.holdsBy(); sees && by != "" || !sees && by != scaler.SourceJenkins {
				t.Errorf("the last tick holds by %q", by)
			}
			m := h.tickCount()
			h.await("twenty ticks more", func() bool { return h.tickCount() >= m+20 })
			if tries := h.called("create pods") - made; tries > triesMost || sees == (tries == 0) {
				t.Errorf("the creation of a pod was tried %d times", tries)
			}
			failed := h.failed()
			for agent, why := range failed {
				if why != f.fails {
					t.Errorf("%s failed as %q, want %q", agent, why, f.fails)
				}
			}
			if sees == (len(failed) == 0) {
				t.Errorf("%d agents failed", len(failed))
			}
			mend()
			h.ends(8)
			if ever, _, _ := h.count(); ever != 8 {
				t.Errorf("%d pods for 8 builds", ever)
			}
		})
	}
}

// holdsBy returns the source of the last tick's hold; "" without a hold.
func (h *home) holdsBy() scaler.Source {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ticks[len(h.ticks)-1].HoldBy
}

// writes returns the number of writes that Jenkins got.
func (h *home) writes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.written)
}

// TestWatchCut checks that Bellboard trusts its cache of pods for half a minute after the watch broke.
// Afterwards Bellboard removes nothing, though Jenkins and the API server answer.
func TestWatchCut(t *testing.T) {
	t.Parallel()
	h := newHome(t, "watch-cut", rights(t))
	d := h.start()
	atWork(44*time.Second, h)
	d.blindfold(true)
	n := h.tickCount()
	h.await("a tick holds", func() bool { return h.told(n, "not followed for") })
	_, _, before := h.count()
	h.submit(2, "docker")
	h.await("the long builds end", func() bool { return h.jenkins.Stats().Succeeded == 6 })
	n = h.tickCount()
	h.await("ten ticks more", func() bool { return h.tickCount() >= n+10 })
	if ever, _, after := h.count(); after != before || ever != 6 || h.holdsBy() != scaler.SourceKubernetes {
		t.Errorf("while it held, %d pods were deleted and %d made; held by %q", after-before, ever-6, h.holdsBy())
	}
	d.blindfold(false)
	h.ends(8)
}

// TestAPIServerAway stops the API server for longer than Bellboard trusts its cache. One daemon leads by a
// Lease, which it cannot renew: the daemon ends, and is started again as a kubelet does. The other daemon
// needs no Lease and holds. Then a crash follows that is soon over.
//
// The test does not run in parallel: there is one API server.
func TestAPIServerAway(t *testing.T) {
	led, alone := newHome(t, "away-led", rights(t)), newHome(t, "away-alone", rights(t))
	alone.alone = true
	leader, holder := led.start(), alone.start()
	atWork(45*time.Second, led, alone)
	control(t).StopAPIServer()
	n := alone.tickCount()
	alone.await("a tick holds", func() bool { return alone.told(n, "not followed for") })
	written := alone.writes()
	m := alone.tickCount()
	alone.await("ten ticks more", func() bool { return alone.tickCount() >= m+10 })
	if after := alone.writes(); after != written {
		t.Errorf("%d writes to Jenkins while it held", after-written)
	}
	if err := leader.ended(); !errors.Is(err, app.ErrLeaseLost) {
		t.Errorf("the leader that cannot renew: %v; want %v", err, app.ErrLeaseLost)
	}
	for _, h := range []*home{led, alone} {
		h.submit(2, "linux")
	}
	if err := control(t).StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	leader = led.start()
	for _, h := range []*home{led, alone} {
		h.await("it makes two more", func() bool { ever, _, _ := h.count(); return ever == 8 })
	}
	// A short crash ends no daemon, unless the computer is so slow that the crash is longer than the Lease
	// lasts.
	began := time.Now()
	if err := control(t).RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	slow := time.Since(began) > 5*time.Second
	led.await("all builds finish", func() bool {
		select {
		case <-leader.done:
			if slow && errors.Is(leader.err, app.ErrLeaseLost) {
				leader = led.start()
			}
		default:
		}
		return led.finished()
	})
	for _, h := range []*home{led, alone} {
		h.ends(8)
		if ever, _, _ := h.count(); ever != 8 {
			t.Errorf("%s: %d pods for 8 builds", h.ns, ever)
		}
	}
	for _, d := range []*daemon{leader, holder} {
		select {
		case <-d.done:
			t.Errorf("%s: a daemon ended: %v", d.h.ns, d.err)
		default:
		}
	}
}
