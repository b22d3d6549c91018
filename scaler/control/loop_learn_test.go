package control

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bellboard/scaler"
)

// created counts the creations that a tick has asked for.
func created(t scaler.Tick, r scaler.Result) int {
	n := 0
	for _, o := range t.Outcomes {
		if o.Action.Verb == scaler.Create && o.Result == r {
			n++
		}
	}
	return n
}

// TestNoAnswerOnceIsEnough: what had no answer is not asked for a hundred times either.
func TestNoAnswerOnceIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, func(c *Config) { c.Teams(anytime)[0].MaxAgents = 100 })
		l.Tick(t.Context())
		h.wait(100)
		h.fail["create"] = errors.New("connection reset")
		tick := l.Tick(t.Context())
		asked, spared := created(tick, scaler.Failed), created(tick, scaler.Skipped)
		if asked == 0 || asked > inFlight || asked+spared != 100 || asked != h.wrote("create") {
			t.Errorf("%d of 100 creations failed and %d were not sent; want %d at most sent", asked, spared, inFlight)
		}
	})
}

// TestNoAnswerOfJenkins: one answer that Jenkins does not give is no agent that has
// failed. It costs the agents that need one a tick, whatever cooldown there is, and
// no other anything.
func TestNoAnswerOfJenkins(t *testing.T) {
	for _, call := range []string{"register", "read-secret"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				l := h.loop(noGrace, func(c *Config) {
					team := &c.Teams(anytime)[0]
					team.MaxAgents, team.Pools[0].Berths, team.ScaleUpCooldown = 100, 40, time.Hour
				})
				l.Tick(t.Context())
				want := 40
				if call == "read-secret" {
					for _, name := range slices.Sorted(maps.Keys(l.process.agents))[:20] {
						l.process.set(name, func(k *known) { k.secret = "" })
					}
					want = 20
				}
				h.wait(50)
				h.fail[call] = errors.New("the proxy: status 502")
				h.slowly = func(string, string) time.Duration { return 100 * time.Millisecond } // so that some begin after the first answer
				tick := l.Tick(t.Context())
				if got := created(tick, scaler.Done); got != want {
					t.Errorf("%d agents are made, want the %d that need nothing of Jenkins", got, want)
				}
				if n := created(tick, scaler.Failed); n == 0 || n > inFlight {
					t.Errorf("%d creations have failed, want %d at most sent", n, inFlight)
				}
				if b, ok := l.backoff(); ok || len(tick.Facts.Failures) != 0 {
					t.Errorf("the pool backs off as %+v, and %+v have failed; want neither", b, tick.Facts.Failures)
				}
				delete(h.fail, call)
				time.Sleep(time.Second)
				l.Tick(t.Context())
				if len(h.pods) != 50 {
					t.Errorf("when Jenkins answers there are %d agents after a tick, want 50", len(h.pods))
				}
			})
		})
	}
}

// TestNoAnswerOfJenkinsLeavesTheSlot: no pod was asked for that could have it.
func TestNoAnswerOfJenkinsLeavesTheSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, petsTeam, func(c *Config) { c.Teams(anytime)[0].Pools[0].Connect = scaler.Inbound })
		l.Tick(t.Context())
		h.slot("a", nil)
		h.wait(1)
		h.fail["register"], h.fail["read-secret"] = errors.New("no answer"), errors.New("no answer")
		for name := range l.process.agents {
			l.process.set(name, func(k *known) { k.secret = "" })
		}
		if got := outcomes(l.Tick(t.Context())); !slices.Contains(got, "create demand failed") {
			t.Fatalf("Tick() = %q, want a creation that fails", got)
		}
		clear(h.fail)
		time.Sleep(time.Second)
		l.Tick(t.Context())
		if len(h.pods) != 1 {
			t.Errorf("there are %d agents, want one", len(h.pods))
		}
		for _, p := range h.pods {
			if p.Slot != "pets-cache-a" {
				t.Errorf("the agent is on %s, want the slot that nobody has", p.Slot)
			}
		}
	})
}

// TestRefusedOnceIsEnough: what is refused is not asked for a hundred times, and
// each refusal is told with its class.
func TestRefusedOnceIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, func(c *Config) { c.Teams(anytime)[0].MaxAgents = 100 })
		l.Tick(t.Context())
		h.wait(100)
		h.fail["create"] = scaler.Because(scaler.FailureQuota, fmt.Errorf("403: %w", scaler.ErrRejected))
		tick := l.Tick(t.Context())
		asked, spared := created(tick, scaler.Rejected), created(tick, scaler.Skipped)
		if asked == 0 || asked > inFlight || asked+spared != 100 || asked != h.wrote("create") {
			t.Errorf("%d of 100 creations were refused and %d not sent; want %d at most sent", asked, spared, inFlight)
		}
		if got := len(tick.Facts.Failures); got != asked || tick.Facts.Failures[0].Failure != scaler.FailureQuota || !strings.Contains(tick.Facts.Failures[0].Text, "403") {
			t.Errorf("%d failures are told: %+v; want each refusal, as a quota", got, tick.Facts.Failures)
		}
		if b, _ := l.backoff(); b.Failure != scaler.FailureQuota || b.Until.Sub(tick.At) != 5*time.Second {
			t.Errorf("the pool backs off as %+v, want for 5s of quota", b)
		}
	})
}

// TestQuotaOfWhatGoes: a pod that Bellboard has deleted counts to no cap, but to a quota
// for some seconds more. A refusal then is no failure: the next tick tries again.
func TestQuotaOfWhatGoes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pod   func(*scaler.Pod)
		fails bool
	}{
		{"a pod goes", func(p *scaler.Pod) { p.Deleting, p.DeletingByUs = true, true }, false},
		{"it goes in another namespace", func(p *scaler.Pod) { p.Deleting, p.DeletingByUs, p.Namespace = true, true, "other" }, true},
		{"it has ended", func(p *scaler.Pod) { p.Deleting, p.DeletingByUs, p.Phase = true, true, scaler.PodFailed }, true},
		{"somebody else deletes it", func(p *scaler.Pod) { p.Deleting = true }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				l := h.loop(noGrace, func(c *Config) { c.Teams(anytime)[0].MaxAgents = 1 })
				l.Tick(t.Context())
				h.agent("web-e-a", func(p *scaler.Pod, n *scaler.Node) { tt.pod(p); n.OfflineBy = scaler.Ours })
				if tt.fails { // it counts to the cap, but for the deleted one
					l.cfg.Teams(anytime)[0].MaxAgents = 2
				}
				h.wait(1)
				h.fail["create"] = scaler.Because(scaler.FailureQuota, fmt.Errorf("403: %w", scaler.ErrRejected))
				tick := l.Tick(t.Context())
				if created(tick, scaler.Rejected) != 1 {
					t.Fatalf("%q, want one creation that is refused", outcomes(tick))
				}
				if b, fails := l.backoff(); fails != tt.fails || (len(tick.Facts.Failures) > 0) != tt.fails {
					t.Errorf("the pool backs off as %+v, and %+v have failed; want %t", b, tick.Facts.Failures, tt.fails)
				}
				delete(h.fail, "create")
				time.Sleep(time.Second)
				if made := created(l.Tick(t.Context()), scaler.Done); (made == 1) == tt.fails {
					t.Errorf("a second later %d agents are made", made)
				}
			})
		})
	}
}

// TestProbe: after the pause one agent tries. When that gets a machine, a quota's
// back-off ends; only one that connects ends any other. Who was made before the
// failure proves nothing by its machine, whatever the API server's clock says.
func TestProbe(t *testing.T) {
	for f, ends := range map[scaler.Failure]bool{scaler.FailureQuota: true, scaler.FailureUnschedulable: true, scaler.FailureAdmission: false, "": false} {
		for _, skew := range []time.Duration{0, -time.Minute, time.Minute} {
			t.Run(fmt.Sprint(f, skew), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { probe(t, f, ends, skew) }) })
		}
	}
}

func probe(t *testing.T, f scaler.Failure, ends bool, skew time.Duration) {
	h := newHouse()
	h.skew = skew
	l := h.loop(noGrace)
	l.Tick(t.Context())
	h.wait(6)
	h.agent("web-e-old", func(p *scaler.Pod, n *scaler.Node) {
		p.Phase, p.Connected, p.Scheduled, n.Online = scaler.PodPending, false, time.Time{}, false
	})
	h.fail["create"] = scaler.Because(f, fmt.Errorf("no: %w", scaler.ErrRejected))
	l.Tick(t.Context())
	delete(h.fail, "create")
	time.Sleep(f.Pause(1) - time.Second)
	if got := created(l.Tick(t.Context()), scaler.Done); got != 0 {
		t.Errorf("%d agents are made during the pause, want none", got)
	}
	time.Sleep(time.Second)
	old := h.pods["web-e-old"]
	old.Scheduled = time.Now().Add(skew)
	h.pods["web-e-old"] = old
	if got := created(l.Tick(t.Context()), scaler.Done); got != 1 {
		t.Errorf("%d agents are made after the pause, want one", got)
	}
	time.Sleep(time.Second)
	if got := created(l.Tick(t.Context()), scaler.Done); got != 0 {
		t.Errorf("%d agents are made while one tries, want none", got)
	}
	for name, p := range h.pods {
		p.Scheduled = time.Now().Add(skew)
		h.pods[name] = p
	}
	want := 0
	if ends {
		want = 4
	}
	if got := created(l.Tick(t.Context()), scaler.Done); got != want {
		t.Errorf("%d agents are made when the probe has a machine, want %d", got, want)
	}
	for name, n := range h.nodes {
		if _, ok := h.pods[name]; ok {
			n.Online = true
			h.nodes[name] = n
		}
	}
	l.Tick(t.Context())
	l.Tick(t.Context())
	if _, still := l.backoff(); still || len(h.pods) != 6 {
		t.Errorf("when the probe is connected there are %d agents, backing off: %v; want 6 and no", len(h.pods), still)
	}
}

// TestLastLog: of an agent that goes since it failed the log is read, once and
// before its pod goes, and only of as many in a tick as leave time for the rest.
func TestLastLog(t *testing.T) {
	ended := func(f scaler.Failure) func(*scaler.Pod, *scaler.Node) {
		return func(p *scaler.Pod, n *scaler.Node) {
			p.Phase, p.Connected, p.Ready, p.Failure, n.Online = scaler.PodFailed, false, time.Now(), f, false
		}
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		h.agent("web-e-crashed", ended(scaler.FailureCrashLoop))
		h.agent("web-e-rejected", ended(scaler.FailureNodeGone))
		h.agent("web-e-died", func(p *scaler.Pod, n *scaler.Node) { ended(scaler.FailureOOM)(p, n); p.Connected = true })
		h.agent("web-e-worked", func(p *scaler.Pod, n *scaler.Node) { ended("")(p, n); p.Connected = true })
		h.fail["delete-pod"] = scaler.ErrExpired
		l.Tick(t.Context())
		delete(h.fail, "delete-pod")
		tick := l.Tick(t.Context())
		words, gone := slices.Index(h.calls, "last-words web-e-crashed"), slices.Index(h.calls, "delete-pod web-e-crashed")
		if h.wrote("last-words") != 2 || words < 0 || words > gone {
			t.Errorf("the calls are %q, want the last log lines of web-e-crashed and web-e-died, once and before they go", h.calls)
		}
		logs := map[string]string{}
		for _, f := range tick.Facts.Failures {
			logs[f.Agent] = f.Log
		}
		if len(logs) != 3 || logs["web-e-crashed"] != "last log lines of web-e-crashed" || logs["web-e-rejected"] != "" || logs["web-e-died"] != "last log lines of web-e-died" {
			t.Errorf("the failures tell %q, want the words of those that ran", logs)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		for i := range 30 {
			h.agent(fmt.Sprintf("web-e-%02d", i), ended(scaler.FailureOOM))
		}
		h.fail["last-words"] = errors.New("the machine does not answer")
		tick := l.Tick(t.Context())
		if got := h.wrote("last-words"); got != maxLogs {
			t.Errorf("%d logs are read in one tick, want %d", got, maxLogs)
		}
		if got := len(tick.Facts.Failures); got != 30 || len(h.pods) != 0 {
			t.Errorf("%d failures are told and %d pods are left, want all 30 gone", got, len(h.pods))
		}
	})
}

// TestHasLog: the log of a pod that has run is read, if there may be one.
func TestHasLog(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		pod  scaler.Pod
		want bool
	}{
		"crashed":                     {scaler.Pod{Failure: scaler.FailureCrashLoop}, true},
		"runs and does not connect":   {scaler.Pod{Scheduled: now, Ready: now}, true},
		"its Docker daemon hangs":     {scaler.Pod{Scheduled: now, DockerUp: now}, true},
		"evicted after it ran":        {scaler.Pod{Failure: scaler.FailureEvicted, Ready: now}, true},
		"evicted before it ran":       {scaler.Pod{Failure: scaler.FailureEvicted}, false},
		"its image does not come":     {scaler.Pod{Failure: scaler.FailureImagePull}, false},
		"its machine cannot be asked": {scaler.Pod{Failure: scaler.FailureNodeGone, Ready: now}, false},
	} {
		if got := hasLog(&tt.pod); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// TestBackoff doubles while agents fail, and ends when one connects.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		l.Tick(t.Context())
		h.wait(1)
		h.fail["create"] = errors.New("no answer")
		var gaps []time.Duration
		last := time.Time{}
		h.creates = func(string) {
			if !last.IsZero() {
				gaps = append(gaps, time.Since(last))
			}
			last = time.Now()
		}
		for range 20 * 60 {
			l.Tick(t.Context())
			time.Sleep(time.Second)
		}
		var want []time.Duration
		for _, seconds := range []int{5, 10, 20, 40, 80, 160, 300, 300} {
			want = append(want, time.Duration(seconds)*time.Second)
		}
		if diff := cmp.Diff(want, gaps); diff != "" {
			t.Errorf("a pool that fails tries again after %v, want %v\n%s", gaps, want, diff)
		}
		delete(h.fail, "create")
		time.Sleep(5 * time.Minute)
		l.Tick(t.Context())
		if len(h.pods) != 1 {
			t.Fatalf("after the back-off there are %d pods, want one", len(h.pods))
		}
		if _, ok := l.backoff(); !ok {
			t.Error("a created pod ends the back-off, want an agent that connects to")
		}
		for name, n := range h.nodes {
			if _, ok := h.pods[name]; ok {
				n.Online = true
				h.nodes[name] = n
			}
		}
		if got := outcomes(l.Tick(t.Context())); !slices.Contains(got, "connected connected done") {
			t.Errorf("Tick(online) = %q, want it noted", got)
		}
		if f, ok := l.backoff(); ok {
			t.Errorf("after an agent connected the pool backs off until %v, want no more", f.Until)
		}
	})
}

// TestBackoffOfOneBatchThatFailsSlowly: agents that were made together are one failure, when
// they fail further apart than the pause is long, and whatever the API server's clock says of when they were made.
// One of them may have been made though nobody answered. One that was made since is
// another failure.
func TestBackoffOfOneBatchThatFailsSlowly(t *testing.T) {
	for _, skew := range []time.Duration{0, -2 * time.Minute, 2 * time.Minute} {
		synctest.Test(t, func(t *testing.T) { slowBatch(t, skew) })
	}
}

func slowBatch(t *testing.T, skew time.Duration) {
	h := newHouse()
	h.skew = skew
	l := h.loop(noGrace)
	l.Tick(t.Context())
	batch := []string{"web-e-a", "web-e-b", "web-e-c"}
	is := func(phase scaler.PodPhase) func(*scaler.Pod, *scaler.Node) {
		return func(p *scaler.Pod, n *scaler.Node) {
			p.Phase, p.Connected, p.Scheduled, n.Online = phase, false, time.Time{}, false
		}
	}
	for _, name := range batch {
		h.agent(name, is(scaler.PodPending))
	}
	h.wait(4)
	h.fail["create"] = errors.New("connection reset")
	h.creates = func(name string) { batch = append(batch, name) }
	failures := func() (n int) {
		b, _ := l.backoff()
		for _, k := range b.Times {
			n += k
		}
		return n
	}
	l.Tick(t.Context())
	if got := failures(); got != 1 || len(batch) != 4 {
		t.Fatalf("after a creation without an answer %d have failed in a row, of %q; want 1 of 4", got, batch)
	}
	h.items, h.creates = nil, nil
	h.agent(batch[3], is(scaler.PodPending)) // it was made after all
	fails := func(name string) int {
		time.Sleep(time.Minute)
		h.agent(name, is(scaler.PodFailed))
		if got := outcomes(l.Tick(t.Context())); !slices.Contains(got, "delete-pod ended done") {
			t.Fatalf("Tick(%s) = %q, want its pod deleted", name, got)
		}
		return failures()
	}
	for _, name := range batch {
		if got := fails(name); got != 1 {
			t.Errorf("after %s, made with the others, %d have failed in a row, want 1", name, got)
		}
	}
	if got := fails("web-e-probe"); got != 2 {
		t.Errorf("after the probe %d have failed in a row, want 2", got)
	}
}

// TestFailures: an agent that went without ever connecting, unasked, is one, and so is
// one that had connected and ended by itself of what fails agents.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		h.agent("web-e-ended", func(p *scaler.Pod, n *scaler.Node) { p.Phase, p.Connected, n.Online = scaler.PodFailed, false, false })
		connected := func(phase scaler.PodPhase, f scaler.Failure, set func(*scaler.Pod)) func(*scaler.Pod, *scaler.Node) {
			return func(p *scaler.Pod, n *scaler.Node) {
				p.Phase, p.Failure, p.Trouble, n.Online = phase, f, string(f), false
				if set != nil {
					set(p)
				}
			}
		}
		h.agent("web-e-died", connected(scaler.PodFailed, scaler.FailureOOM, nil))
		h.agent("web-e-unknown", connected(scaler.PodFailed, "", nil))
		// Its daemon ended with 1 when it was told to end.
		h.agent("web-e-well", connected(scaler.PodSucceeded, scaler.FailureCrashLoop, nil))
		h.agent("web-e-ours", connected(scaler.PodFailed, scaler.FailureOOM, func(p *scaler.Pod) { p.Deleting, p.DeletingByUs = true, true }))
		h.agent("web-e-theirs", connected(scaler.PodFailed, scaler.FailureEvicted, func(p *scaler.Pod) { p.Deleting = true }))
		h.agent("web-e-asked", func(p *scaler.Pod, n *scaler.Node) { marked(p, n); p.Connected, n.Online = false, false })
		tick := l.Tick(t.Context())
		second := l.Tick(t.Context())
		got := slices.Concat(tick.Facts.Failures, second.Facts.Failures)
		slices.SortFunc(got, func(a, b scaler.FailedAgent) int { return strings.Compare(a.Agent, b.Agent) })
		want := []scaler.FailedAgent{
			{PoolID: id, Agent: "web-e-died", Failure: scaler.FailureOOM, Text: "its pod ended: Failed oom", Log: "last log lines of web-e-died"},
			{PoolID: id, Agent: "web-e-ended", Failure: scaler.FailureNeverConnected, Text: "its pod ended: Failed"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the agents that failed: %s\noutcomes %q, %q", diff, outcomes(tick), outcomes(second))
		}
	})
}

// connect has every agent that is there come, and come says whether one has.
func (h *house) connect() {
	for name, p := range h.pods {
		if n, ok := h.nodes[name]; ok && !p.Ended() && !p.Connected {
			n.Online = true
			h.nodes[name] = n
			p.Phase = scaler.PodRunning
			h.pods[name] = p
		}
	}
}

// works gives an agent a build, or takes it away.
func (h *house) works(name string, on bool) {
	n := h.nodes[name]
	n.Idle, n.Busy = !on, 0
	if on {
		n.Busy = 1
	}
	h.nodes[name] = n
}

// dies ends an agent's pod, with the connection and the build that it has.
func (h *house) dies(name string) {
	p, n := h.pods[name], h.nodes[name]
	p.Phase, p.Failure, p.Trouble = scaler.PodFailed, scaler.FailureOOM, "OOMKilled"
	n.Online, n.Idle, n.Busy = false, true, 0
	h.pods[name], h.nodes[name] = p, n
}

// TestAgentsThatComeAndDie: each one is told, and few are made.
func TestAgentsThatComeAndDie(t *testing.T) {
	for _, atWork := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse()
			l := h.loop(noGrace)
			l.Tick(t.Context())
			h.wait(5)
			died, told, lost := 0, 0, 0
			for range 60 {
				for name, p := range h.pods {
					switch {
					case p.Connected && !p.Ended() && (!atWork || !h.nodes[name].Idle):
						h.dies(name)
						died++
					case p.Connected && atWork && !p.Ended():
						h.works(name, true)
					}
				}
				h.connect()
				tick := l.Tick(t.Context())
				for _, f := range tick.Facts.Failures {
					if f.Failure == scaler.FailureOOM && f.Log == "last log lines of "+f.Agent {
						told++
					}
				}
				for _, b := range tick.Facts.BuildsLost {
					if b.Log == "last log lines of "+b.Agent {
						lost++
					}
				}
				time.Sleep(time.Second)
			}
			most := 5 + 5 + 3 // those in the tick that sees it were decided before; then one after each pause of 5, 10 and 20 s
			if atWork {
				most += 10 // the first that die may be their builds' fault
			}
			if n := h.wrote("create"); n > most || n < 7 {
				t.Errorf("at work %v: %d agents are made in a minute, want %d at most", atWork, n, most)
			}
			if told != died || atWork && lost != died || !atWork && lost != 0 {
				t.Errorf("at work %v: %d died, %d are told, and %d lost builds; each with its last log lines", atWork, died, told, lost)
			}
		})
	}
}

// TestOneGreedyBuild: an agent that dies at work may have died of its build. No pause
// begins unless the next one dies so soon as well, before one has lived.
func TestOneGreedyBuild(t *testing.T) {
	next := func(t *testing.T, h *house, l *Loop) (name string) {
		t.Helper()
		h.wait(1)
		h.creates = func(n string) { name = n }
		l.Tick(t.Context())
		h.connect()
		l.Tick(t.Context())
		h.items = nil
		h.works(name, true)
		l.Tick(t.Context())
		time.Sleep(time.Second)
		return name
	}
	for _, tt := range []struct {
		name  string
		lives func(h *house, l *Loop, name string) // what becomes of the second; the first has died
		third bool                                 // another one dies after that
		want  bool                                 // the pool backs off
	}{
		{"the second dies, too", func(h *house, _ *Loop, name string) { h.dies(name) }, false, true},
		{"the second ends its build", func(h *house, _ *Loop, name string) { h.works(name, false) }, true, false},
		{"the second lasts", func(*house, *Loop, string) { time.Sleep(scaler.LastsAfter) }, true, false},
		{"the second goes on", func(*house, *Loop, string) {}, true, true},
		{"its Docker daemon dies, and its build with it", func(h *house, _ *Loop, name string) {
			p := h.pods[name]
			p.DockerFailure = scaler.FailureOOM
			h.pods[name] = p
			h.works(name, false)
			n := h.nodes[name]
			n.OfflineBy, n.Offline = scaler.NotMarked, "" // as persistent ones are at work
			h.nodes[name] = n
		}, false, true},
		{"the process is another", func(h *house, l *Loop, name string) {
			l.memory = scaler.Memory{} // so much for all that it knew
			h.dies(name)
		}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				l := h.loop(noGrace)
				l.Tick(t.Context())
				first := next(t, h, l)
				h.dies(first)
				l.Tick(t.Context())
				if b, _ := l.backoff(); !b.Until.IsZero() || h.pods[first].Name != "" {
					t.Fatalf("one has died at work, and the pool backs off as %+v", b)
				}
				second := next(t, h, l)
				tt.lives(h, l, second)
				l.Tick(t.Context())
				time.Sleep(time.Second)
				l.Tick(t.Context())
				if tt.third {
					h.dies(next(t, h, l))
				}
				l.Tick(t.Context())
				if b, _ := l.backoff(); b.Until.IsZero() == tt.want {
					t.Errorf("the pool backs off as %+v, want a back-off: %v", b, tt.want)
				}
			})
		})
	}
}

// TestOnTrial: after agents that came and died one tries, and the rest come when it
// has lasted, or ended a build.
func TestOnTrial(t *testing.T) {
	for _, build := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse()
			l := h.loop(noGrace)
			l.Tick(t.Context())
			h.wait(6)
			var names []string
			h.creates = func(name string) { names = append(names, name) }
			l.Tick(t.Context())
			h.connect()
			l.Tick(t.Context())
			for range 2 { // those that are made in the tick that sees it, too
				for _, name := range names {
					h.dies(name)
				}
				names = nil
				l.Tick(t.Context())
				h.connect()
				l.Tick(t.Context())
			}
			made := func(d time.Duration) int { // in that time, second by second
				names = nil
				for range d / time.Second {
					l.Tick(t.Context())
					h.connect()
					time.Sleep(time.Second)
				}
				return len(names)
			}
			if n := made(10 * time.Second); n != 1 {
				t.Fatalf("%d are made after the pause, want one", n)
			}
			probe := names[0]
			h.works(probe, true)
			if n := made(30 * time.Second); n != 0 {
				t.Errorf("%d are made beside one that has come a moment ago, want none", n)
			}
			if build {
				h.works(probe, false)
				h.items = h.items[1:]
			}
			if n := made(5 * time.Second); (n > 0) != build {
				t.Errorf("when it has ended a build (%v) %d are made", build, n)
			}
			n := made(30 * time.Second)
			if b, failing := l.backoff(); n == 0 && !build || failing {
				t.Errorf("after a minute %d more are made, and the pool backs off as %+v", n, b)
			}
		})
	}
}

// TestDeadDaemonIsToldOnce, when its agent is marked, with its last log lines; nothing
// pauses for it.
func TestDeadDaemonIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		h.agent("web-e-a", func(p *scaler.Pod, _ *scaler.Node) {
			p.Failure, p.DockerFailure, p.TroubleText = scaler.FailureOOM, scaler.FailureOOM, "dind: OOMKilled, exit code 137"
		})
		var got []scaler.FailedAgent
		for range 4 {
			got = append(got, l.Tick(t.Context()).Facts.Failures...)
		}
		want := []scaler.FailedAgent{{
			PoolID: id, Agent: "web-e-a", Failure: scaler.FailureOOM,
			Text: "its Docker daemon is dead (oom): dind: OOMKilled, exit code 137", Log: "last log lines of web-e-a",
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the agents that failed: %s", diff)
		}
		if b, failing := l.backoff(); len(h.pods) != 0 || failing {
			t.Errorf("%d pods are left, and the pool backs off as %+v; want neither", len(h.pods), b)
		}
	})
}
