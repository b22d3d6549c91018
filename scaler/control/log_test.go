package control

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"bellboard/scaler"
)

// TestHoldIsToldOnce: a hold is told when it begins, when its class is new, and every
// five minutes, whatever its words are; and when it ends, with how long it lasted.
func TestHoldIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		core, logs := observer.New(zap.InfoLevel)
		l := h.loop(noGrace, func(c *Config) { c.Log = zap.New(core) })
		port, news := 40000, 0
		away := func(c scaler.HoldCause, d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				port++
				h.fail["observe jenkins"] = fmt.Errorf("reading: %w", scaler.Caused(c, fmt.Errorf("read tcp 10.0.0.1:%d->10.0.0.2:8080: reset", port)))
				tick := l.Tick(t.Context())
				if tick.HoldCause != c || tick.HoldBy != scaler.SourceJenkins {
					t.Fatalf("it holds by %s, of class %s, want jenkins, %s", tick.HoldBy, tick.HoldCause, c)
				}
				if tick.Tells(scaler.NewsHold) {
					news++
				}
			}
		}
		told := func(what string, warns, infos, wantNews int) {
			t.Helper()
			all := logs.TakeAll()
			w, i := 0, 0
			for _, e := range all {
				switch e.Level { //nolint:exhaustive // no other is said here
				case zap.WarnLevel:
					w++
				case zap.InfoLevel:
					i++
				}
			}
			if w != warns || i != infos || news != wantNews {
				t.Errorf("%s: %d warnings, %d lines beside, and %d times news; want %d, %d and %d: %v", what, w, i, news, warns, infos, wantNews, all)
			}
			news = 0
		}
		l.Tick(t.Context())
		told("all is well", 0, 0, 0)
		began := time.Now()
		away("unavailable", 4*time.Minute)
		told("for four minutes", 1, 0, 1)
		away("unavailable", 8*time.Minute)
		told("for twelve minutes", 2, 0, 0)
		away("unauthorized", 2*time.Second)
		told("of another class", 1, 0, 1)
		for range 60 {
			away("unavailable", time.Second)
			away("unauthorized", time.Second)
		}
		told("to and fro", 0, 0, 0)
		delete(h.fail, "observe jenkins")
		h.fail["observe cluster"] = errors.New("no answer")
		if tick := l.Tick(t.Context()); tick.HoldCause != scaler.CauseOther || !tick.Tells(scaler.NewsHold) || !tick.HoldSince.Equal(began) {
			t.Errorf("by the cluster it holds for %s since %s, news %v; want other, since %s, news", tick.HoldCause, tick.HoldSince, tick.News, began)
		}
		told("by another source", 1, 0, 0)
		delete(h.fail, "observe cluster")
		if tick := l.Tick(t.Context()); tick.Hold != "" || !tick.HoldSince.Equal(began) {
			t.Errorf("the tick that sees again tells of a hold since %s, want %s", tick.HoldSince, began)
		}
		end := logs.All()
		if len(end) != 1 || end[0].ContextMap()["after"] != time.Since(began) {
			t.Errorf("at its end it says %v, want one line with %s", end, time.Since(began))
		}
		told("at its end", 0, 1, 0)
		if tick := l.Tick(t.Context()); !tick.HoldSince.IsZero() {
			t.Errorf("a tick after it tells of a hold since %s", tick.HoldSince)
		}
		away("unavailable", 2*time.Second)
		told("another hold", 1, 0, 1)
		h.fail, h.age = map[string]error{}, 11*time.Second
		if tick := l.Tick(t.Context()); tick.HoldCause != scaler.CauseOld {
			t.Errorf("with old answers it holds for %q, want %q", tick.HoldCause, scaler.CauseOld)
		}
	})
}

// TestItsEndIsNoHold: a loop that is ended while it looks or acts, since another leads
// from now on, warns of nothing.
func TestItsEndIsNoHold(t *testing.T) {
	for name, spoil := range map[string]func(*house){
		"looking": func(h *house) { h.slow = time.Second },
		"acting":  func(h *house) { h.slowly = func(string, string) time.Duration { return time.Second } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				core, logs := observer.New(zap.WarnLevel)
				l := h.loop(noGrace, func(c *Config) { c.Log = zap.New(core) })
				l.Tick(t.Context())
				h.wait(3)
				spoil(h)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- l.Run(ctx) }()
				time.Sleep(500 * time.Millisecond)
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if n := logs.Len(); n > 0 {
					t.Errorf("it warns: %v", logs.All())
				}
			})
		})
	}
}

// TestLostBuildsAreNamed in the log, once.
func TestLostBuildsAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		core, logs := observer.New(zap.WarnLevel)
		l := h.loop(noGrace, func(c *Config) { c.Log = zap.New(core) })
		h.agent("web-e-a", func(_ *scaler.Pod, n *scaler.Node) { n.Idle, n.Busy = false, 1 })
		l.Tick(t.Context())
		h.agent("web-e-a", func(p *scaler.Pod, n *scaler.Node) {
			p.Phase, p.Trouble, n.Online = scaler.PodFailed, "Evicted", false
		})
		l.Tick(t.Context())
		l.Tick(t.Context())
		lost := logs.FilterMessage("builds lost their agent").All()
		if len(lost) != 1 || lost[0].ContextMap()["agent"] != "web-e-a" || lost[0].ContextMap()["because"] != "its pod ended: Evicted" {
			t.Errorf("the log says %v of %v", lost, logs.All())
		}
	})
}

// TestReadersDoNotTellDeeds: what a dry run decides it would do, and a standby says
// even that only to those who ask for all.
func TestReadersDoNotTellDeeds(t *testing.T) {
	for _, tt := range []struct {
		name           string
		dryRun, stands bool
		want           string
	}{
		{"the leader", false, false, "info decided"},
		{"a dry run", true, false, "info would"},
		{"a standby", true, true, "debug would"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				core, logs := observer.New(zap.DebugLevel)
				l := h.loop(noGrace, func(c *Config) { c.Log, c.DryRun, c.Standby = zap.New(core), tt.dryRun, tt.stands })
				h.wait(1)
				l.Tick(t.Context())
				told := logs.FilterField(zap.String("team", "web")).All()
				if len(told) != 1 || told[0].Level.String()+" "+told[0].Message != tt.want {
					t.Errorf("the log says %v, want %s", told, tt.want)
				}
			})
		})
	}
}
