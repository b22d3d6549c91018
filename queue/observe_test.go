package queue

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

// TestSeenSoonAfterItsReturn: Jenkins is away in several ways. The loop reads Jenkins again within about two
// seconds of its return, and the grace counts from the return. Meanwhile at most one small question is under
// way, and at most one begins in a second.
func TestSeenSoonAfterItsReturn(t *testing.T) {
	const gone = 10 * time.Minute
	for name, tt := range map[string]struct {
		leave  func(*harness)
		lost   bool // a request that is sent meanwhile gets no answer
		within time.Duration
	}{
		"refused":          {func(f *harness) { f.jenkins.Restart(jenkinssim.Restart{Down: gone}) }, false, 2 * time.Second},
		"starting":         {func(f *harness) { f.jenkins.Restart(jenkinssim.Restart{Down: gone / 2, Loading: gone / 2}) }, false, 2 * time.Second},
		"starting, slowly": {func(f *harness) { f.jenkins.Restart(jenkinssim.Restart{Loading: gone, Slow: 1900 * time.Millisecond}) }, false, 3 * time.Second},
		"starting, at last": {func(f *harness) {
			f.jenkins.Restart(jenkinssim.Restart{Loading: 2 * time.Second, Slow: 1900 * time.Millisecond})
		}, false, 3 * time.Second},
		"hanging": {func(f *harness) { f.jenkins.Hang(gone) }, false, 2 * time.Second},
		"cut off": {func(*harness) {}, true, aliveTimeout + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			withHarness(t, jenkinssim.Config{}, func(f *harness) {
				gone := gone
				if name == "starting, at last" {
					gone = 2 * time.Second
				}
				var flying, most, sent atomic.Int32
				var read, lost atomic.Bool
				lost.Store(tt.lost)
				c, err := New(Config{
					URL: "http://jenkins:8080", User: "bellboard", Instance: "bellboard", Clock: clock.Real(),
					Token: func() (string, error) { return f.token, nil },
					Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
						most.Store(max(most.Load(), flying.Add(1)))
						defer flying.Add(-1)
						sent.Add(1)
						if r.URL.Query().Get("tree") != quietTree {
							read.Store(true)
						}
						if lost.Load() {
							<-r.Context().Done()
							return nil, r.Context().Err()
						}
						return f.jenkins.Transport().RoundTrip(r)
					}),
				})
				if err != nil {
					f.Fatal(err)
				}
				var seen scaler.Tick // the first tick after Jenkins' return
				loop := control.New(control.Config{
					Jenkins: c, Cluster: f.pods, Clock: clock.Real(), Instance: "bellboard", MaxAgents: 10, Poll: time.Second, Grace: 5 * time.Minute, DryRun: true,
					Record: func(tick scaler.Tick) {
						if tick.Hold != "" {
							seen = scaler.Tick{}
						} else if seen.ID == "" {
							seen = tick
						}
					},
				})
				ctx, stop := context.WithCancel(f.Context())
				ended := make(chan error)
				left := time.Now()
				tt.leave(f)
				go func() { ended <- loop.Run(ctx) }()
				if gone > time.Minute {
					time.Sleep(time.Minute) // by then the first reads have failed
					read.Store(false)
					sent.Store(0)
					time.Sleep(gone - time.Minute - time.Millisecond)
					if n := sent.Load(); n > 9*60+1 || read.Load() || most.Load() > 1 {
						f.Errorf("Bellboard sent %d requests in nine minutes, %d at once; not all were small: %v", n, most.Load(), read.Load())
					}
					time.Sleep(time.Millisecond)
				} else {
					time.Sleep(gone)
				}
				lost.Store(false)
				time.Sleep(20 * time.Second)
				stop()
				if err := <-ended; err != nil {
					f.Error(err)
				}
				back := left.Add(gone)
				if after := seen.At.Add(seen.Took).Sub(back); seen.ID == "" || after < 0 || after > tt.within {
					f.Fatalf("the first good tick ended %s after Jenkins' return, want at most %s", after, tt.within)
				}
				if since := seen.At.Add(seen.Grace - 5*time.Minute); name != "cut off" && name != "hanging" && (since.Before(back) || since.After(seen.At)) {
					f.Errorf("the grace counts from %s after Jenkins' return, and the poll began %s after it", since.Sub(back), seen.At.Sub(back))
				}
			})
		})
	}
}

// TestSmallQuestionsAlone: Jenkins answers small questions only. Bellboard reads nothing large more often
// than before: the pause after each read is ten times the time of the read, or 30 s.
func TestSmallQuestionsAlone(t *testing.T) {
	withHarness(t, jenkinssim.Config{Latency: func(op string) time.Duration {
		if op == "computers" {
			return time.Hour
		}
		return 0
	}}, func(f *harness) {
		reads, began := 0, time.Now()
		for time.Since(began) < 10*time.Minute {
			f.requests = nil
			looked := time.Now()
			_, err := f.client.Observe(f.Context())
			if errors.Is(err, scaler.ErrAway) || !errors.Is(err, ErrUnavailable) || scaler.CauseOf(err) != "unavailable" {
				f.Fatalf("error %v of class %s, want ErrUnavailable without ErrAway", err, scaler.CauseOf(err))
			}
			reads += strings.Count(strings.Join(f.requests, "\n"), Computers)
			time.Sleep(max(time.Second, 30*time.Second-time.Since(looked)))
		}
		if reads > 21 {
			f.Errorf("%d reads in ten minutes, want at most 21: one for each half minute, and one more", reads)
		}
	})
}

// TestSlowIsNotAway: Jenkins takes four seconds for the smallest question. Such a Jenkins counts as alive.
func TestSlowIsNotAway(t *testing.T) {
	slow := time.Duration(0)
	withHarness(t, jenkinssim.Config{Latency: func(string) time.Duration { return slow }}, func(f *harness) {
		f.jenkins.Hang(40 * time.Second)
		if _, err := f.client.Observe(f.Context()); !errors.Is(err, scaler.ErrAway) {
			f.Fatalf("error %v, want ErrAway", err)
		}
		slow = 4 * time.Second
		began := time.Now()
		for i := 0; ; i++ {
			if _, err := f.client.Observe(f.Context()); err == nil {
				break
			}
			if i > 3 {
				f.Fatalf("no view in %s", time.Since(began))
			}
		}
	})
}

// TestGraceFromTheFirstAnswer: the grace of a session counts from Jenkins' first answer in it, even if that
// answer was no view.
func TestGraceFromTheFirstAnswer(t *testing.T) {
	withHarness(t, jenkinssim.Config{}, func(f *harness) {
		f.tick()
		f.jenkins.Restart(jenkinssim.Restart{Down: time.Second})
		time.Sleep(time.Second)
		first := time.Now()
		f.wire = func(r *http.Request, res *http.Response) (*http.Response, error) {
			if strings.Contains(r.URL.Path, "queue") {
				return nil, fmt.Errorf("cut")
			}
			return res, nil
		}
		for range 20 {
			if t := f.tick(); t.Hold == "" {
				f.Fatal("a tick without the queue did not hold")
			}
			time.Sleep(time.Second)
		}
		f.wire = nil
		if t := f.tick(); t.Hold != "" || t.At.Add(t.Grace).Sub(first) != 5*time.Minute {
			f.Errorf("hold %q; the grace ends %s after the first answer, want 5m", t.Hold, t.At.Add(t.Grace).Sub(first))
		}
	})
}
