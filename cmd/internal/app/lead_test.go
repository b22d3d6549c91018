package app

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"bellboard/cmd/internal/config"
	"bellboard/pool/kubesim"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

// write is one write that reached a server.
type write struct {
	at   time.Time
	who  string
	what string
}

// ledger has all writes, with their senders.
type ledger struct {
	mu     sync.Mutex
	writes []write
}

func (l *ledger) all() []write {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.writes)
}

// by lists the senders of the writes after a time, in order, each once.
func (l *ledger) by(after time.Time) []string {
	var who []string
	for _, w := range l.all() {
		if w.at.After(after) && !slices.Contains(who, w.who) {
			who = append(who, w.who)
		}
	}
	return who
}

// line is the network of one replica to one server. If the line is cut, no request gets through.
type line struct {
	who  string
	next http.RoundTripper
	to   *ledger
	cut  *atomic.Bool
}

func (l line) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.cut.Load() {
		return nil, errors.New("network cut")
	}
	if r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/leases") {
		l.to.mu.Lock()
		l.to.writes = append(l.to.writes, write{time.Now(), l.who, r.Method + " " + r.URL.Path})
		l.to.mu.Unlock()
	}
	return l.next.RoundTrip(r)
}

// pair has two replicas with one Jenkins and one cluster.
type pair struct {
	t       *testing.T
	jenkins *jenkinssim.Jenkins
	cluster *kubesim.Cluster
	ledger  ledger
	kube    func(http.RoundTripper) http.RoundTripper // set: on the way to Kubernetes
	change  func(*control.Config)
}

// instance is one replica.
type instance struct {
	d         *Daemon
	toJenkins atomic.Bool // cut
	toKube    atomic.Bool
	stop      context.CancelFunc
	ended     chan error
}

func newPair(t *testing.T) *pair {
	p := &pair{
		t:       t,
		jenkins: jenkinssim.New(jenkinssim.Config{Clock: clock.Real()}),
		cluster: kubesim.New(kubesim.Config{Clock: clock.Real()}),
	}
	t.Cleanup(p.jenkins.Close)
	t.Cleanup(p.cluster.Close)
	return p
}

func (p *pair) start(who string, environ ...string) *instance {
	p.t.Helper()
	i := p.make(who, environ...)
	p.run(i)
	return i
}

// run runs a replica until the end of the test.
func (p *pair) run(i *instance) {
	var ctx context.Context
	ctx, i.stop = context.WithCancel(context.Background())
	go func() { i.ended <- i.d.Run(ctx) }()
	p.t.Cleanup(func() { i.stop() })
}

// make makes a replica that does not run yet.
func (p *pair) make(who string, environ ...string) *instance {
	p.t.Helper()
	s, err := config.Load(append([]string{
		"BELLBOARD_JENKINS_URL=http://jenkins.local", "BELLBOARD_JENKINS_USER=bellboard", "BELLBOARD_JENKINS_TOKEN_FILE=none",
		"BELLBOARD_NAMESPACE=ci", "BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral",
		"BELLBOARD_TEAM_WEB_MAX_AGENTS=200",
	}, environ...))
	if err != nil {
		p.t.Fatal(err)
	}
	i := &instance{ended: make(chan error, 1)}
	kube := p.cluster.RESTConfig()
	if p.kube != nil {
		kube.Wrap(p.kube)
	}
	kube.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return line{who, next, &p.ledger, &i.toKube}
	})
	i.d, err = New(Parts{
		Settings: s, Clock: clock.Real(), Log: zap.NewNop(), Version: "test", Identity: who, Lead: true, Change: p.change,
		Token:   func() (string, error) { return "token", nil },
		Jenkins: line{who, p.jenkins.Transport(), &p.ledger, &i.toJenkins}, Kube: kube,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return i
}

// leaseHangs returns a transport that, from some moment on, lets no request for the Lease through.
func leaseHangs(since *atomic.Bool) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if since.Load() && strings.Contains(r.URL.Path, "/leases") {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return next.RoundTrip(r)
		})
	}
}

// work submits an item every second, so that the replicas have something to write.
func (p *pair) work(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		p.jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: time.Minute})
	}
}

// oneAtATime checks that a replica writes nothing any more after another replica has written.
func (p *pair) oneAtATime() {
	p.t.Helper()
	last, gone := "", map[string]bool{}
	for _, w := range p.ledger.all() {
		if w.who == last {
			continue
		}
		if gone[w.who] {
			p.t.Errorf("%s wrote %s at %s, after %s had taken over", w.who, w.what, w.at.Format("15:04:05.0"), last)
			return
		}
		gone[last], last = true, w.who
	}
}

func TestLeadership(t *testing.T) {
	// The standby reads the Lease every retryPeriod, and up to 1.2 times that later. So it may see both the
	// last renewal and the end of the Lease that late.
	const most = leaseDuration + 2*(retryPeriod*22/10) + time.Second
	// A standby sees a Lease that is given back at its next read.
	const givenBack = retryPeriod*22/10 + time.Second
	for _, tt := range []struct {
		name string
		// end ends the leadership of a.
		end func(*pair, *instance)
		// err is the error of the Run of a; nil: it goes on.
		err error
		// most is the longest time until b writes.
		most time.Duration
	}{
		{"given back", func(_ *pair, a *instance) { a.stop() }, nil, givenBack},
		{"killed", func(_ *pair, a *instance) {
			a.toJenkins.Store(true)
			a.toKube.Store(true)
		}, ErrLeaseLost, most},
		{"cut from Kubernetes", func(_ *pair, a *instance) { a.toKube.Store(true) }, ErrLeaseLost, most},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				a := p.start("a")
				p.work(10 * time.Second)
				b := p.start("b")
				p.work(30 * time.Second)
				if who := p.ledger.by(time.Time{}); !slices.Equal(who, []string{"a"}) {
					t.Fatalf("%v wrote; want a alone, which came first", who)
				}
				if a.d.Replica().Role != "leader" || b.d.Replica().Role != "standby" {
					t.Fatalf("roles %s and %s, want leader and standby", a.d.Replica().Role, b.d.Replica().Role)
				}
				if a.d.Replica().Leader != "a" || b.d.Replica().Leader != "a" {
					t.Errorf("they say that %q and %q lead, want a", a.d.Replica().Leader, b.d.Replica().Leader)
				}
				ended := time.Now()
				tt.end(p, a)
				p.work(40 * time.Second)
				took := time.Duration(-1)
				for _, w := range p.ledger.all() {
					if w.who == "b" {
						took = w.at.Sub(ended)
						break
					}
				}
				t.Logf("b wrote %s after a's end", took)
				if took < 0 || took > tt.most {
					t.Errorf("b wrote after %s, want within %s", took, tt.most)
				}
				p.oneAtATime()
				if b.d.Replica().Role != "leader" || b.d.Replica().Leader != "b" {
					t.Errorf("b is %s, and says that %q leads; want b", b.d.Replica().Role, b.d.Replica().Leader)
				}
				if err := <-a.ended; !errors.Is(err, tt.err) {
					t.Errorf("a ended with %v, want %v", err, tt.err)
				}
				b.stop()
				if err := <-b.ended; err != nil {
					t.Errorf("b ended with %v", err)
				}
			})
		})
	}
}

// TestLeaderCutFromJenkins checks that a leader that cannot reach Jenkins holds and keeps the Lease: a
// standby could do no better.
func TestLeaderCutFromJenkins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		a := p.start("a")
		p.work(10 * time.Second)
		b := p.start("b")
		a.toJenkins.Store(true)
		p.work(time.Minute)
		if a.d.Replica().Role != "leader" || b.d.Replica().Role != "standby" {
			t.Errorf("roles %s and %s, want leader and standby", a.d.Replica().Role, b.d.Replica().Role)
		}
		if a, b := a.hold(t), b.hold(t); !strings.Contains(a, "network cut") || b != "" {
			t.Errorf("a holds: %q, b: %q; want a to, for its network", a, b)
		}
		a.toJenkins.Store(false)
		p.work(10 * time.Second)
		if who := p.ledger.by(time.Time{}); !slices.Equal(who, []string{"a"}) {
			t.Errorf("%v wrote; want a alone", who)
		}
		for _, i := range []*instance{a, b} {
			i.stop()
			<-i.ended
		}
	})
}

// TestCannotLook checks that a replica that may not read the pods ends with that error: before it gets the
// Lease, at the same time, or afterwards.
func TestCannotLook(t *testing.T) {
	for _, tt := range []struct {
		name        string
		lease, list time.Duration // how long the API server thinks
	}{
		{"before the Lease", time.Second, 0},
		{"at the same time", 0, 0},
		{"between asking and getting", 20 * time.Millisecond, 10 * time.Millisecond},
		{"after the Lease", 0, time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.kube = func(next http.RoundTripper) http.RoundTripper {
					return roundTrip(func(r *http.Request) (*http.Response, error) {
						switch {
						case strings.Contains(r.URL.Path, "/leases"):
							time.Sleep(tt.lease)
						case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/pods"):
							time.Sleep(tt.list)
							return &http.Response{
								StatusCode: http.StatusForbidden, Request: r, Header: http.Header{"Content-Type": {"application/json"}},
								Body: io.NopCloser(strings.NewReader(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"cannot list resource \"pods\""}`)),
							}, nil
						}
						return next.RoundTrip(r)
					})
				}
				a := p.start("a")
				select {
				case err := <-a.ended:
					if err == nil || !strings.Contains(err.Error(), "cannot list resource") {
						t.Errorf("ended with %v, want the reason", err)
					}
				case <-time.After(time.Minute):
					t.Error("still runs after a minute")
					a.stop()
					<-a.ended
				}
				time.Sleep(2 * time.Second) // for the answers that no build waits for
			})
		})
	}
}

// TestNoWritePastTheLease checks that a process that wakes after its time sends no write, though it takes
// itself for the leader.
func TestNoWritePastTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		held := &lease{}
		f := held.writeGate(line{"a", roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		}), l, new(atomic.Bool)})
		send := func(method string) error {
			r, err := http.NewRequestWithContext(t.Context(), method, "http://server/x", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := f.RoundTrip(r)
			if err == nil {
				_ = resp.Body.Close()
			}
			return err
		}
		for _, tt := range []struct {
			name string
			wait time.Duration
			held bool
		}{
			{"never held", 0, false},
			{"just renewed", 0, true},
			{"almost over", renewDeadline, true},
			{"over", renewDeadline + time.Nanosecond, false},
		} {
			if tt.name != "never held" {
				held.renewed.Store(now())
			}
			time.Sleep(tt.wait)
			if err := send(http.MethodPost); (err == nil) != tt.held {
				t.Errorf("%s: a write says %v, want it sent: %v", tt.name, err, tt.held)
			}
			if err := send(http.MethodGet); err != nil {
				t.Errorf("%s: a read says %v, want none", tt.name, err)
			}
		}
		if n := len(l.all()); n != 2 {
			t.Errorf("%d writes reached the server, want 2", n)
		}
	})
}

// nap stops a process once, after its decision on a write and before it sends that write, until its Lease is over.
// The write then has no deadline, and nothing cancels it.
type nap struct {
	due, taken atomic.Bool
	woke       time.Time
	err        error
}

func (n *nap) take(ctx context.Context, send func(context.Context) error) error {
	if !n.due.CompareAndSwap(true, false) {
		return send(ctx)
	}
	n.taken.Store(true)
	time.Sleep(renewDeadline + time.Second)
	n.woke = time.Now()
	n.err = send(context.WithoutCancel(ctx))
	return n.err
}

type napsBeforeJenkins struct {
	control.Jenkins

	*nap
}

func (n napsBeforeJenkins) Register(ctx context.Context, name string, pool scaler.Pool, _ time.Time) error {
	return n.take(ctx, func(ctx context.Context) error { return n.Jenkins.Register(ctx, name, pool, time.Time{}) })
}

type napsBeforeKubernetes struct {
	control.Cluster

	*nap
}

func (n napsBeforeKubernetes) Create(ctx context.Context, name string, pool scaler.PoolID, slot scaler.Slot, birth scaler.Birth) (pod scaler.Pod, err error) {
	err = n.take(ctx, func(ctx context.Context) error {
		pod, err = n.Cluster.Create(ctx, name, pool, slot, birth)
		return err
	})
	return pod, err
}

// TestTheWriteGateStandsBeforeBothServers checks that the write gate keeps back a write that wakes too late.
// Nothing else in a daemon does.
func TestTheWriteGateStandsBeforeBothServers(t *testing.T) {
	for server, wrap := range map[string]func(*nap, control.Jenkins, control.Cluster) (control.Jenkins, control.Cluster){
		"Jenkins": func(n *nap, j control.Jenkins, c control.Cluster) (control.Jenkins, control.Cluster) {
			return napsBeforeJenkins{j, n}, c
		},
		"Kubernetes": func(n *nap, j control.Jenkins, c control.Cluster) (control.Jenkins, control.Cluster) {
			return j, napsBeforeKubernetes{c, n}
		},
	} {
		t.Run(server, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, n := newPair(t), &nap{}
				p.change = func(c *control.Config) { c.Jenkins, c.Cluster = wrap(n, c.Jenkins, c.Cluster) }
				p.kube = leaseHangs(&n.taken)
				a := p.start("a")
				p.work(10 * time.Second)
				n.due.Store(true)
				p.work(30 * time.Second)
				if err := <-a.ended; !errors.Is(err, ErrLeaseLost) {
					t.Errorf("it ended with %v, want %v", err, ErrLeaseLost)
				}
				if !errors.Is(n.err, scaler.ErrExpired) {
					t.Errorf("what it sent when it woke: %v, want %v", n.err, scaler.ErrExpired)
				}
				for _, w := range p.ledger.all() {
					if !w.at.Before(n.woke) {
						t.Errorf("%s came %s after it woke", w.what, w.at.Sub(n.woke))
					}
				}
			})
		})
	}
}

// TestEitherClockEndsTheLease checks both clocks: the wall clock may be set back, and the monotonic clock
// stands still while the computer sleeps.
func TestEitherClockEndsTheLease(t *testing.T) {
	const long = renewDeadline + time.Second
	for _, tt := range []struct {
		name       string
		wall, mono time.Duration // ago
		valid      bool
	}{
		{"just renewed", time.Second, time.Second, true},
		{"long ago", long, long, false},
		{"the wall clock was set back", long - time.Hour, long, false},
		{"the machine slept", long, time.Second, false},
		{"the wall clock was set back a little", time.Second - time.Hour, time.Second, true},
	} {
		n := now()
		held := &lease{}
		held.renewed.Store(&moment{wall: n.wall.Add(-tt.wall), mono: n.mono.Add(-tt.mono)})
		if err := held.valid(); (err == nil) != tt.valid {
			t.Errorf("%s: valid() = %v, want it valid: %t", tt.name, err, tt.valid)
		}
	}
}

// TestReadersTakeNoLease checks that a dry run, a plan and the first look of a cleanup neither write nor use
// the Lease, also with Lead. Other daemons do both.
func TestReadersTakeNoLease(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		look    func(context.Context, *Daemon) error
		quiet   bool
	}{
		{"a dry run", []string{"BELLBOARD_DRY_RUN=true"}, func(ctx context.Context, d *Daemon) error { return d.Run(ctx) }, true},
		{"a plan", nil, func(ctx context.Context, d *Daemon) error { _, err := d.Plan(ctx); return err }, true},
		{"a cleanup's first look", nil, func(ctx context.Context, d *Daemon) error { _, err := d.Owned(ctx); return err }, true},
		{"a leader", nil, func(ctx context.Context, d *Daemon) error { return d.Run(ctx) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				var leases atomic.Int32
				p.kube = func(next http.RoundTripper) http.RoundTripper {
					return roundTrip(func(r *http.Request) (*http.Response, error) {
						if strings.Contains(r.URL.Path, "/leases") {
							leases.Add(1)
						}
						return next.RoundTrip(r)
					})
				}
				p.jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: time.Minute})
				time.Sleep(time.Second)
				i := p.make("a", tt.environ...)
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(30*time.Second, cancel)
				if err := tt.look(ctx, i.d); err != nil {
					t.Fatal(err)
				}
				if n, w := leases.Load(), p.ledger.all(); (n == 0 && len(w) == 0) != tt.quiet {
					t.Errorf("%d calls to the Lease and %d writes, want none: %t", n, len(w), tt.quiet)
				}
			})
		})
	}
}

// TestCleanupWaitsForTheLeader cuts a leader from its Lease only. The leader writes until its time is over,
// and the cleanup does not write before that.
func TestCleanupWaitsForTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		var hangs atomic.Bool
		p.kube = leaseHangs(&hangs)
		a := p.start("a")
		p.work(10 * time.Second)
		p.kube = nil
		b := p.make("b")
		hangs.Store(true)
		began := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		go func() { b.ended <- b.d.Cleanup(ctx, func(Left) {}) }()
		p.work(40 * time.Second)
		if who := p.ledger.by(began.Add(retryPeriod)); !slices.Equal(who, []string{"a", "b"}) {
			t.Errorf("%v wrote after it began, want a and then b", who)
		}
		p.oneAtATime()
		if err := <-a.ended; !errors.Is(err, ErrLeaseLost) {
			t.Errorf("a ended with %v, want %v", err, ErrLeaseLost)
		}
		stop()
		<-b.ended
	})
}

// TestCleanupEnds checks that a cleanup ends at once when its context ends, though the API server does not
// answer.
func TestCleanupEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		a := p.start("a")
		p.work(10 * time.Second)
		a.stop()
		<-a.ended
		began := time.Now()
		var gone atomic.Bool
		asked := make(chan struct{}, 100)
		p.kube = func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				if gone.Load() {
					asked <- struct{}{}
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				if strings.Contains(r.URL.Path, "/leases") && time.Since(began) > renewDeadline {
					gone.Store(true) // with this answer the Lease is renewed once more
				}
				return next.RoundTrip(r)
			})
		}
		b := p.make("b")
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { b.ended <- b.d.Cleanup(ctx, func(Left) {}) }()
		<-asked
		time.Sleep(time.Second)
		stop()
		select {
		case err := <-b.ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("Cleanup() = %v, want %v", err, context.Canceled)
			}
		case <-time.After(time.Minute):
			panic("it still runs after a minute, and the test could not end it either")
		}
		time.Sleep(renewDeadline) // for the answers that no build waits for
	})
}
