package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
		l := h.loop(noGrace, func(c *Config) { c.Teams[0].MaxAgents = 100 })
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

// TestRefusedOnceIsEnough: what is refused is not asked for a hundred times, and
// each refusal is told with its class.
func TestRefusedOnceIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, func(c *Config) { c.Teams[0].MaxAgents = 100 })
		l.Tick(t.Context())
		h.wait(100)
		h.fail["create"] = Because(scaler.FailureQuota, fmt.Errorf("403: %w", ErrRefused))
		tick := l.Tick(t.Context())
		asked, spared := created(tick, scaler.Refused), created(tick, scaler.Skipped)
		if asked == 0 || asked > inFlight || asked+spared != 100 || asked != h.wrote("create") {
			t.Errorf("%d of 100 creations were refused and %d not sent; want %d at most sent", asked, spared, inFlight)
		}
		if got := len(tick.Facts.Failures); got != asked || tick.Facts.Failures[0].Failure != scaler.FailureQuota || !strings.Contains(tick.Facts.Failures[0].Text, "403") {
			t.Errorf("%d failures are told: %+v; want each refusal, as a quota", got, tick.Facts.Failures)
		}
		if b := l.backoff[id]; b.Failure != scaler.FailureQuota || b.Until.Sub(tick.At) != 5*time.Second {
			t.Errorf("the pool backs off as %+v, want for 5s of quota", b)
		}
	})
}

// TestProbe: after the pause one agent tries. An agent that gets a machine ends
// the back-off of a quota; only one that connects ends any other.
func TestProbe(t *testing.T) {
	for f, ends := range map[scaler.Failure]bool{scaler.FailureQuota: true, scaler.FailureUnschedulable: true, scaler.FailureAdmission: false, "": false} {
		t.Run(string(f), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				l := h.loop(noGrace)
				l.Tick(t.Context())
				h.wait(5)
				h.fail["create"] = Because(f, fmt.Errorf("no: %w", ErrRefused))
				l.Tick(t.Context())
				delete(h.fail, "create")
				time.Sleep(f.Pause(1) - time.Second)
				if got := created(l.Tick(t.Context()), scaler.Done); got != 0 {
					t.Errorf("%d agents are made during the pause, want none", got)
				}
				time.Sleep(time.Second)
				if got := created(l.Tick(t.Context()), scaler.Done); got != 1 {
					t.Errorf("%d agents are made after the pause, want one", got)
				}
				time.Sleep(time.Second)
				if got := created(l.Tick(t.Context()), scaler.Done); got != 0 {
					t.Errorf("%d agents are made while one tries, want none", got)
				}
				for name, p := range h.pods {
					p.Scheduled = time.Now()
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
				if _, still := l.backoff[id]; still || len(h.pods) != 5 {
					t.Errorf("when the probe is connected there are %d agents, backing off: %v; want 5 and no", len(h.pods), still)
				}
			})
		})
	}
}

// TestLastWords: of an agent that goes since it failed the log is read, once and
// before its pod goes, and only of as many in a tick as leave time for the rest.
func TestLastWords(t *testing.T) {
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
		h.agent("web-e-worked", func(p *scaler.Pod, n *scaler.Node) { ended(scaler.FailureCrashLoop)(p, n); p.Connected = true })
		h.fail["delete-pod"] = ErrLate
		l.Tick(t.Context())
		delete(h.fail, "delete-pod")
		tick := l.Tick(t.Context())
		words, gone := slices.Index(h.calls, "last-words web-e-crashed"), slices.Index(h.calls, "delete-pod web-e-crashed")
		if h.wrote("last-words") != 1 || words < 0 || words > gone {
			t.Errorf("the calls are %q, want the last words of web-e-crashed, once and before it goes", h.calls)
		}
		logs := map[string]string{}
		for _, f := range tick.Facts.Failures {
			logs[f.Agent] = f.Log
		}
		if len(logs) != 2 || logs["web-e-crashed"] != "last words of web-e-crashed" || logs["web-e-rejected"] != "" {
			t.Errorf("the failures tell %q, want the words of the one that ran", logs)
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
		if got := h.wrote("last-words"); got != lastWords {
			t.Errorf("%d logs are read in one tick, want %d", got, lastWords)
		}
		if got := len(tick.Facts.Failures); got != 30 || len(h.pods) != 0 {
			t.Errorf("%d failures are told and %d pods are left, want all 30 gone", got, len(h.pods))
		}
	})
}
