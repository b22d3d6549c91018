package queue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

// pipes is a network inside a bubble. Each connection takes the time dial.
type pipes struct {
	dial time.Duration
	made chan net.Conn
	done chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.made:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) connect(context.Context, string, string) (net.Conn, error) {
	time.Sleep(p.dial)
	near, far := net.Pipe()
	p.made <- far
	return near, nil
}

// onPipes runs a story with a client that has its own transport, in a bubble.
func onPipes(t *testing.T, dial time.Duration, h http.HandlerFunc, story func(*testing.T, *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{dial: dial, made: make(chan net.Conn), done: make(chan struct{})}
		server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(p) }()
		transport := NewTransport(nil)
		transport.Proxy, transport.DialContext = nil, p.connect
		c, err := New(Config{
			URL: "http://jenkins/jenkins", User: "u", Instance: "bellboard", Clock: clock.Real(), Transport: transport,
			Token: func() (string, error) { return "t", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		story(t, c)
		time.Sleep(time.Minute) // by then every connection is made
		closeIdle(c)
		_ = server.Close()
		synctest.Wait()
	})
}

// TestLateConnection: the deadline holds for the moment of sending, and not for the moment before the client
// connects.
func TestLateConnection(t *testing.T) {
	for _, c := range []struct {
		dial time.Duration
		sent int32
	}{{900 * time.Millisecond, 3}, {1100 * time.Millisecond, 0}} {
		var sent atomic.Int32
		onPipes(t, c.dial, func(w http.ResponseWriter, _ *http.Request) {
			sent.Add(1)
			time.Sleep(3 * time.Second) // a slow answer is not a late request
			done(w, "/computer/")
		}, func(t *testing.T, client *Client) {
			for name, write := range map[string]func(time.Time) error{
				"mark":   func(by time.Time) error { return client.Mark(t.Context(), "n", "x", by) },
				"fence":  func(by time.Time) error { return client.Fence(t.Context(), "n", webPool.PoolID, by) },
				"delete": func(by time.Time) error { return client.DeleteNode(t.Context(), "n", by) },
			} {
				began := time.Now()
				err := write(began.Add(time.Second))
				if c.sent > 0 && err != nil || c.sent == 0 && (!errors.Is(err, scaler.ErrExpired) || time.Since(began) != time.Second) {
					t.Errorf("%s, with a connection in %s: error %v after %s", name, c.dial, err, time.Since(began))
				}
				time.Sleep(time.Minute)
				closeIdle(client) // the next write needs a connection of its own
			}
			if got := sent.Load(); got != c.sent {
				t.Errorf("with a connection in %s: %d requests sent, want %d", c.dial, got, c.sent)
			}
		})
	}
}

// TestInFlight: the number of requests at once is bounded for all callers together.
func TestInFlight(t *testing.T) {
	var now, most atomic.Int32
	onPipes(t, 0, func(w http.ResponseWriter, r *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(time.Second)
		now.Add(-1)
		name := strings.Split(r.URL.Path, "/")[3]
		fmt.Fprintf(w, `<jnlp><application-desc><argument>s</argument><argument>%s</argument></application-desc></jnlp>`, name)
	}, func(t *testing.T, client *Client) {
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if _, err := client.Secret(t.Context(), fmt.Sprintf("n%d", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := most.Load(); got != 2*maxInFlight {
			t.Errorf("%d requests at once", got)
		}
	})
}

// TestSentOnce: the client repeats no request because its answer was lost. Go's transport would repeat a POST
// that it takes for idempotent.
func TestSentOnce(t *testing.T) {
	for name, ask := range map[string]func(*Client) error{
		"register": func(c *Client) error { return c.Register(t.Context(), "n", webPool, time.Time{}) },
		"fence": func(c *Client) error {
			return c.Fence(t.Context(), "n", webPool.PoolID, time.Now().Add(time.Minute))
		},
		"mark":   func(c *Client) error { return c.Mark(t.Context(), "n", "x", time.Time{}) },
		"delete": func(c *Client) error { return c.DeleteNode(t.Context(), "n", time.Time{}) },
		"toggle": func(c *Client) error { return c.ClearMark(t.Context(), "n", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			var writes atomic.Int32
			house := &nodeServer{t: t, name: "n", mark: "bellboard(bellboard): idle", class: "x"}
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					house.ServeHTTP(w, r)
					return
				}
				writes.Add(1)
				panic(http.ErrAbortHandler)
			})
			if _, _, err := client.node(t.Context(), Clear, "n"); err != nil { // keeps a connection
				t.Fatal(err)
			}
			if err := ask(client); !errors.Is(err, ErrUnavailable) || writes.Load() != 1 {
				t.Errorf("%d writes sent, error %v", writes.Load(), err)
			}
		})
	}
	t.Run("look", func(t *testing.T) {
		var reads, small atomic.Int32
		client := newClient(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("tree") == quietTree {
				small.Add(1)
			} else {
				reads.Add(1)
			}
			panic(http.ErrAbortHandler)
		})
		for i := range int32(3) {
			if _, err := client.Observe(t.Context()); !errors.Is(err, ErrUnavailable) || reads.Load() != 1 || small.Load() != i+1 {
				t.Errorf("%d reads and %d small questions, error %v", reads.Load(), small.Load(), err)
			}
		}
	})
}

// TestRefusedTokenLate: Jenkins rejects the token of a write. The client repeats the write with a newer
// token only within the deadline.
func TestRefusedTokenLate(t *testing.T) {
	for _, took := range []time.Duration{100 * time.Millisecond, 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			token, sent := "old", 0
			c, err := New(Config{
				URL: "http://h", User: "u", Instance: "bellboard", Clock: clock.Real(),
				Token: func() (string, error) { return token, nil }, Expire: func() { token = "new" },
				Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					sent++
					rec := httptest.NewRecorder()
					if _, got, _ := r.BasicAuth(); got == "new" {
						done(rec, "/computer/")
					} else {
						time.Sleep(took)
						rec.WriteHeader(http.StatusUnauthorized)
					}
					return rec.Result(), nil
				}),
			})
			if err != nil {
				t.Fatal(err)
			}
			err = c.Mark(t.Context(), "n", "x", time.Now().Add(time.Second))
			switch {
			case took < time.Second && (err != nil || sent != 2):
				t.Errorf("in time: %d requests sent, error %v", sent, err)
			case took > time.Second && (!errors.Is(err, scaler.ErrExpired) || sent != 1):
				t.Errorf("late: %d requests sent, error %v", sent, err)
			}
		})
	}
}

// TestSilentInATick: Jenkins falls silent in the middle of a tick's writes. All writes together take the
// timeout of one.
func TestSilentInATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int32
		c, err := New(Config{
			URL: "http://h", User: "u", Instance: "bellboard", Clock: clock.Real(),
			Token: func() (string, error) { return "t", nil },
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				sent.Add(1)
				<-r.Context().Done()
				return nil, r.Context().Err()
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if err := c.Register(t.Context(), fmt.Sprintf("n%d", i), webPool, time.Time{}); !errors.Is(err, ErrUnavailable) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); sent.Load() != maxInFlight || took != writeTimeout {
			t.Errorf("%d requests sent in %s", sent.Load(), took)
		}
	})
}

// TestBackAtOnce: while Jenkins is away, it gets one small question for each poll, and one other request in
// five seconds. The first poll after its return is a complete view, and writes go out again.
func TestBackAtOnce(t *testing.T) {
	for name, restart := range map[string]jenkinssim.Restart{
		"away": {Down: 10 * time.Minute}, "starting": {Loading: 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			withHarness(t, jenkinssim.Config{}, func(f *harness) {
				f.poll()
				f.jenkins.Restart(restart)
				f.requests = nil
				for range 600 {
					if _, err := f.client.Observe(f.Context()); !errors.Is(err, ErrUnavailable) {
						f.Fatal(err)
					}
					for i := range 20 {
						if err := f.client.Mark(f.Context(), fmt.Sprintf("web-e-%d", i%6), "x", time.Time{}); !errors.Is(err, ErrUnavailable) {
							f.Fatal(err)
						}
					}
					time.Sleep(time.Second - time.Millisecond)
				}
				told := strings.Join(f.requests, "\n")
				if reads, small := strings.Count(told, Computers), strings.Count(told, Alive); reads != 1 || small != 600 || len(f.requests) > 600+600/5+maxFailures {
					f.Errorf("%d reads, %d small questions and %d requests to a Jenkins that was away for 600 polls", reads, small, len(f.requests))
				}
				time.Sleep(time.Second)
				f.poll()
				if err := f.client.Mark(f.Context(), "web-e-0", "bellboard(bellboard): idle", time.Time{}); err != nil {
					f.Error(err)
				}
			})
		})
	}
}

// TestLoopBackAtOnce: the loop reads Jenkins again within one poll of its return, and a write goes out then
// too.
func TestLoopBackAtOnce(t *testing.T) {
	for name, restart := range map[string]jenkinssim.Restart{
		"away": {Down: 10 * time.Minute}, "starting": {Loading: 10 * time.Minute}, "unauthorized": {Unauthorized: 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			withHarness(t, jenkinssim.Config{}, func(f *harness) {
				var back time.Time // time of the first tick that did not hold
				held := 0
				ctx, stop := context.WithCancel(f.Context())
				ended := make(chan error)
				loop := control.New(control.Config{
					Jenkins: f.client, Cluster: f.pods, Clock: clock.Real(), Instance: "bellboard",
					MaxAgents: 10, Poll: time.Second, Grace: 5 * time.Minute, DryRun: true,
					Record: func(tick scaler.Tick) {
						if tick.Hold != "" {
							held++
							back = time.Time{}
						} else if back.IsZero() {
							back = time.Now()
						}
					},
				})
				f.jenkins.Restart(restart)
				returns := time.Now().Add(10 * time.Minute)
				go func() { ended <- loop.Run(ctx) }()
				time.Sleep(11 * time.Minute)
				stop()
				if err := <-ended; err != nil {
					f.Error(err)
				}
				if after := back.Sub(returns); after < 0 || after > time.Second || held < 590 || held > 601 {
					f.Errorf("the first view came %s after Jenkins' return, and %d ticks held", after, held)
				}
				if err := f.client.Mark(f.Context(), "web-e-0", "bellboard(bellboard): idle", time.Time{}); err != nil {
					f.Error(err)
				}
			})
		})
	}
}

// TestFuseMinds: which results make the breaker stop requests, and which do not.
func TestFuseMinds(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		err    error
		blows  bool
	}{
		"no answer":         {0, ErrUnavailable, true},
		"half an answer":    {200, ErrUnavailable, true},
		"502":               {502, nil, true},
		"503":               {503, nil, true},
		"504":               {504, nil, true},
		"429":               {429, nil, true},
		"an error of its":   {500, nil, false},
		"refused":           {403, nil, false},
		"unauthorized":      {401, nil, false},
		"fine":              {200, nil, false},
		"given up":          {0, context.Canceled, false},
		"late, so not sent": {0, scaler.ErrExpired, false},
	} {
		f := breaker{clock: clock.Real()}
		for range maxFailures {
			if err := f.allow(false); err != nil {
				t.Errorf("%s: the breaker stops requests too early", name)
			}
			f.record(c.status, c.err)
		}
		if (f.allow(false) != nil) != c.blows || f.allow(true) != nil {
			t.Errorf("%s: allow() = %v", name, f.allow(false))
		}
		f.record(0, context.Canceled)
		if (f.allow(false) != nil) != c.blows {
			t.Errorf("%s: a request that was given up changed the breaker", name)
		}
		if f.record(403, nil); f.allow(false) != nil {
			t.Errorf("%s: the breaker stops requests after an answer", name)
		}
	}
}
