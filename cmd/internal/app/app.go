// Package app puts a Bellboard together from its settings: the adapters, the
// loop, the metrics, the HTTP port and the leadership. It promises that the
// daemon in a cluster, the one in the demo and the one in the tests are the
// same, and that only the holder of the Lease writes; it decides nothing.
package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"bellboard/cmd/internal/config"
	"bellboard/metrics"
	"bellboard/metrics/web"
	"bellboard/pool"
	"bellboard/queue"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

// standbyPoll is how often an instance that does not lead looks, to show what it sees.
const standbyPoll = 30 * time.Second

// Parts is what a daemon is put together from.
type Parts struct {
	Settings *config.Config
	Clock    clock.Clock
	Log      *zap.Logger
	Version  string
	// Token returns Jenkins' API token; nil reads Settings' file.
	Token func() (string, error)
	// Jenkins carries the requests to Jenkins; nil is the network.
	Jenkins http.RoundTripper
	// Kube is how to reach the API server.
	Kube *rest.Config
	// Lead makes the instance write only while it holds the Lease of its name.
	Lead bool
	// Identity is who it is on the Lease; empty makes one.
	Identity string
	// Listener is where the HTTP port is served; nil serves none.
	Listener net.Listener
	// Waiting is told what the daemon waits for, when that has not answered for a moment
	// at the start; nil: the log is.
	Waiting func(what string)
	// Record also gets every tick of a loop that may write.
	Record func(scaler.Tick)
	// Change changes what the loop is made of; nil: nothing. The demo's chaos sets it.
	Change func(*control.Config)
}

// Daemon is one Bellboard, ready to run.
type Daemon struct {
	parts   Parts
	metrics *metrics.Metrics
	web     *web.Server
	tenure  *tenure // nil: it needs no Lease
	expire  func()  // after a token that Jenkins refused; nil: there is no file to read again

	mu       sync.Mutex
	role     string
	leader   string        // who holds the Lease, as far as is known
	loop     *control.Loop // of the core at work
	draining bool
}

// New puts a daemon together. It asks nobody anything yet.
func New(p Parts) (*Daemon, error) {
	s := p.Settings
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d := &Daemon{parts: p, metrics: metrics.New(reg, s.ScalerTeams(), s.MaxAgents, p.Version), role: "starting"}
	d.metrics.JenkinsExpect(queue.Endpoints(), queue.Causes())
	d.parts.Kube = rest.CopyConfig(p.Kube)
	d.parts.Kube.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return counter{next: next, under: "/namespaces/" + s.OwnNamespace + "/", now: p.Clock.Now, count: d.metrics.KubeRequest}
	})
	if p.Token == nil {
		source := config.NewTokenSource(s.JenkinsTokenFile, p.Clock)
		d.parts.Token, d.expire = source.Token, source.Expire
	}
	if p.Jenkins == nil {
		t, err := JenkinsTransport(s.JenkinsCAFile)
		if err != nil {
			return nil, err
		}
		d.parts.Jenkins = t
	}
	d.web = web.New(web.Config{
		Gatherer: reg, Instance: s.Instance, Version: p.Version, Now: p.Clock.Now, Role: d.Role, Leader: d.Leader,
		MaxAge: max(10*s.PollInterval, 3*standbyPoll),
	})
	if p.Lead && !s.DryRun {
		var err error
		if d.tenure, err = newTenure(d.parts); err != nil {
			return nil, err
		}
	}
	_, err := d.core(true, false) // to find now what could not be put together later
	return d, err
}

// Role says what the instance is: starting, leader, standby or dry run.
func (d *Daemon) Role() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.role
}

// Leader says who holds the Lease; "" while nobody is known to.
func (d *Daemon) Leader() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.leader
}

// core is the part of a daemon that watches, and while it leads also acts. A
// new leader gets a new one: it knows nothing from before, its cache begins
// with a consistent LIST, and its berths are its own.
type core struct {
	pool   *pool.Client
	loop   *control.Loop
	tell   func() // begins to send events; nil: it only looks
	events *events
}

// core makes one. once: for a single look, which somebody waits for.
func (d *Daemon) core(reader, once bool) (*core, error) {
	p, s := d.parts, d.parts.Settings
	wire := p.Jenkins
	reads := s.DryRun || reader
	kube := rest.CopyConfig(p.Kube)
	kube.QPS, kube.Burst = s.KubeQPS, s.KubeBurst
	if d.tenure != nil {
		wire = fence{next: wire, open: d.tenure.valid}
		kube.Wrap(func(next http.RoundTripper) http.RoundTripper { return fence{next: next, open: d.tenure.valid} })
	}
	jenkins, err := queue.New(queue.Config{
		URL: s.JenkinsURL, User: s.JenkinsUser, Token: p.Token, Expire: d.expire, Transport: wire, Clock: p.Clock,
		Instance: s.Instance, SSH: s.SSH(), Unlabelled: s.Unlabelled(), Reader: reads, Observe: d.metrics.JenkinsRequest, Unseen: d.metrics.JenkinsUnseen, Skew: d.metrics.JenkinsSkew,
	})
	if err != nil {
		return nil, fmt.Errorf("jenkins: %w", err)
	}
	client, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	pods, err := pool.New(pool.Config{
		Client: client, Instance: s.Instance, Specs: s.PoolSpecs(), Clock: p.Clock, Log: p.Log.Named("pool"), Requests: d.metrics.KubeRequest, Impatient: once,
	})
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	made := &core{pool: pods}
	cfg := control.Config{
		Jenkins: jenkins, Cluster: pods, Clock: p.Clock, Log: p.Log.Named("loop"), Instance: s.Instance, Teams: s.ScalerTeams(),
		MaxAgents: s.MaxAgents, Poll: s.PollInterval, Grace: s.JenkinsRestartGrace, DryRun: reads, Standby: reader && !s.DryRun,
		Record: func(t scaler.Tick) {
			d.web.Observe(t)
			if reader {
				return // the leader's numbers are the numbers
			}
			d.metrics.Observe(t)
			if made.events != nil {
				made.events.observe(t)
			}
			if p.Record != nil {
				p.Record(t)
			}
		},
	}
	if reader {
		cfg.Poll = max(cfg.Poll, standbyPoll)
	}
	if p.Change != nil {
		p.Change(&cfg)
	}
	cfg.Jenkins = &awaited{Jenkins: cfg.Jenkins, d: d}
	made.loop = control.New(cfg)
	if !cfg.DryRun {
		made.tell = func() {
			made.events = newEvents(client, s.OwnNamespace, s.Instance, d.tenure, p.Clock, p.Log.Named("events"))
		}
	}
	return made, nil
}

// Run works until ctx ends, which is no error.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, w := range d.parts.Settings.Warnings() {
		d.parts.Log.Warn(w)
	}
	if d.parts.Listener != nil {
		srv := &http.Server{Handler: d.web, ReadHeaderTimeout: 10 * time.Second}
		go func() {
			if err := srv.Serve(d.parts.Listener); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("the HTTP port: %w", err))
			}
		}()
		defer func() { _ = srv.Close() }() // nothing that it serves is worth waiting for
	}
	var err error
	switch {
	case d.tenure != nil:
		err = d.lead(ctx)
	case d.parts.Settings.DryRun:
		err = d.work(ctx, "dry run", false)
	default:
		err = d.work(ctx, "leader", false)
	}
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// work runs a core in that role until ctx ends.
func (d *Daemon) work(ctx context.Context, role string, reader bool) error {
	c, err := d.core(reader, false)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.role, d.loop = role, c.loop
	if d.draining {
		c.loop.Drain()
	}
	d.mu.Unlock()
	leads := role == "leader"
	d.metrics.Leading(leads)
	defer d.metrics.Leading(false)
	if err := d.start(ctx, c.pool); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if c.tell != nil {
		c.tell()
		defer c.events.stop()
	}
	return c.loop.Run(ctx)
}

// Drain makes everything of this instance go; Run goes on.
func (d *Daemon) Drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draining = true
	if d.loop != nil {
		d.loop.Drain()
	}
}

// Plan makes one read-only tick. It takes no Lease.
func (d *Daemon) Plan(ctx context.Context) (scaler.Tick, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := d.core(true, true)
	if err != nil {
		return scaler.Tick{}, err
	}
	if d.draining {
		c.loop.Drain()
	}
	if err := d.start(ctx, c.pool); err != nil {
		return scaler.Tick{}, err
	}
	return c.loop.Tick(ctx), nil
}

// JenkinsTransport is the way to Jenkins, trusting caFile too when it is set.
func JenkinsTransport(caFile string) (http.RoundTripper, error) {
	if caFile == "" {
		return queue.NewTransport(nil), nil
	}
	pem, err := os.ReadFile(caFile) //nolint:gosec // the path is the operator's own setting
	if err != nil {
		return nil, fmt.Errorf("BELLBOARD_JENKINS_CA_FILE: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("BELLBOARD_JENKINS_CA_FILE=%q holds no PEM certificate", caFile)
	}
	return queue.NewTransport(roots), nil
}

// counter counts the requests to Kubernetes that are not the pool's, which counts
// its own: for the Lease and for events.
type counter struct {
	next  http.RoundTripper
	under string // where in the API Bellboard's own namespace is
	now   func() time.Time
	count func(verb, resource, code string, took time.Duration)
}

var kubeVerbs = map[string]string{http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch"}

func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	_, path, _ := strings.Cut(r.URL.Path, c.under)
	resource, _, _ := strings.Cut(path, "/")
	if resource != "leases" && resource != "events" {
		return c.next.RoundTrip(r)
	}
	began, code := c.now(), "error"
	resp, err := c.next.RoundTrip(r)
	if err == nil {
		code = strconv.Itoa(resp.StatusCode)
	}
	c.count(kubeVerbs[r.Method], resource, code, c.now().Sub(began))
	return resp, err
}
