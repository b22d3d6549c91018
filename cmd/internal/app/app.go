// Package app makes the daemon from its settings: the adapters, the loop, the metrics, the HTTP port and the
// Lease.
//
// The daemons of a cluster, of the demo and of the tests are made in the same way. Only the replica that
// holds the Lease writes. The package decides nothing.
package app

import (
	"cmp"
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
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/tune"
	"bellboard/metrics"
	"bellboard/metrics/web"
	"bellboard/pool"
	"bellboard/queue"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

// standbyPoll is the time between two polls of a replica that does not lead. It polls to show what it reads.
const standbyPoll = 30 * time.Second

// Parts has what a daemon is made of.
type Parts struct {
	Settings *config.Config
	Clock    clock.Clock
	Log      *zap.Logger
	Version  string
	Token    func() (string, error) // returns Jenkins' API token; nil: New reads the file of the settings
	Jenkins  http.RoundTripper      // carries the requests to Jenkins; nil: the network does
	Kube     *rest.Config           // the address of the API server and the credentials
	Lead     bool                   // the replica writes only while it holds the Lease of its instance
	Identity string                 // the name of this replica on the Lease; empty: New makes one
	Listener net.Listener           // where the daemon serves its HTTP port; nil: it serves none
	Waiting  func(what string)      // gets a server that has not answered at the start; nil: the log gets it
	Record   func(scaler.Tick)      // gets every tick of a loop that may write
	Change   func(*control.Config)  // changes what the loop is made of, as the demo's chaos does; nil: nothing
}

// Daemon is one Bellboard, ready to run.
type Daemon struct {
	parts   Parts
	metrics *metrics.Metrics
	web     *web.Server
	lease   *lease // nil: the daemon needs no Lease
	record  *buildRecord
	expire  func() // called after Jenkins did not accept the token; nil: there is no file to read again

	jenkins  silence
	kube     silence
	loop     atomic.Pointer[control.Loop] // the loop that runs
	draining atomic.Bool
	mu       sync.Mutex // guards replica
	replica  web.Replica
}

// New makes a daemon. New sends no request.
func New(p Parts) (*Daemon, error) {
	s := p.Settings
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d := &Daemon{parts: p, record: newBuildRecord(), replica: web.Replica{Instance: s.Instance, Version: p.Version, Role: roleStarting}}
	d.metrics = metrics.New(reg, s.ScalerTeams(), s.MaxAgents, p.Version, queue.Endpoints(), queue.Causes())
	d.parts.Kube = rest.CopyConfig(p.Kube)
	d.kube.what, d.kube.of, d.kube.errors = "the API server "+p.Kube.Host, d, true
	d.jenkins.what, d.jenkins.of = "Jenkins at "+s.JenkinsURL+" (BELLBOARD_JENKINS_URL)", d
	d.parts.Kube.Wrap(d.kube.heard)
	d.parts.Kube.Wrap(d.counter)
	if p.Waiting == nil {
		d.parts.Waiting = func(what string) { d.parts.Log.Info("waiting", zap.String("for", what)) }
	}
	if p.Record == nil {
		d.parts.Record = func(scaler.Tick) {}
	}
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
	settings := map[string][]web.Setting{}
	for _, x := range s.Effective() {
		settings[x.Team] = append(settings[x.Team], web.Setting{Variable: x.Variable, Value: x.Value, Origin: x.Origin})
	}
	d.web = web.New(web.Config{
		Gatherer: reg, Now: p.Clock.Now, Replica: d.Replica, MaxAge: max(10*s.PollInterval, 3*standbyPoll),
		JenkinsURL: s.JenkinsURL, MaxAgents: s.MaxAgents, Settings: settings, Costs: s.CostPerHour(), History: d.history,
	})
	if p.Lead && !s.DryRun {
		var err error
		if d.lease, err = newLease(d.parts); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// The roles of a replica. A plan is one tick that a person waits for.
const (
	roleStarting = "starting"
	roleLeader   = "leader"
	roleStandby  = "standby"
	roleDryRun   = "dry run"
	rolePlan     = "plan"
)

// Replica returns what this replica is now.
func (d *Daemon) Replica() web.Replica {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.replica
}

// newLoop makes a loop for a role, and fills the cache that it reads until ctx ends. Only a leader's loop
// writes. A new leader gets a new loop: with a memory of nothing but what was learnt, a cache that begins with a
// consistent LIST, and berths of its own.
func (d *Daemon) newLoop(ctx context.Context, role string) (*control.Loop, error) {
	p, s := d.parts, d.parts.Settings
	wire := d.jenkins.heard(p.Jenkins)
	reads, beside := role != roleLeader, role == roleStandby || role == rolePlan // beside a leader
	kube := rest.CopyConfig(p.Kube)
	kube.QPS, kube.Burst = s.KubeQPS, s.KubeBurst
	if d.lease != nil {
		wire = d.lease.writeGate(wire)
		kube.Wrap(d.lease.writeGate)
	}
	server := queue.Config{URL: s.JenkinsURL, User: s.JenkinsUser, Token: p.Token, Expire: d.expire, Transport: p.Jenkins, Clock: p.Clock}
	reader, err := queue.New(server) // with a breaker of its own; its answers are long, and may take their time
	if err != nil {
		return nil, fmt.Errorf("jenkins: %w", err)
	}
	server.Transport = wire
	server.Instance, server.SSH, server.Unlabelled, server.Reader = s.Instance, s.SSH(), s.Unlabelled(), reads
	server.Observe, server.Unseen, server.Skew = d.metrics.JenkinsRequest, d.metrics.JenkinsUnseen, d.metrics.JenkinsSkew
	jenkins, err := queue.New(server)
	if err != nil {
		return nil, fmt.Errorf("jenkins: %w", err)
	}
	client, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	pods := pool.New(pool.Config{
		Client: client, Instance: s.Instance, Specs: s.PoolSpecs(), Clock: p.Clock, Log: p.Log.Named("pool"), FailFast: role == rolePlan,
	})
	if err := d.start(ctx, pods); err != nil {
		return nil, err
	}
	var news *events // nil: the loop only reads
	if !reads {
		news = newEvents(client, s.OwnNamespace, s.Instance, d.lease, p.Log.Named("events"))
		context.AfterFunc(ctx, news.stop)
	}
	tuner := tune.New(tune.Config{Settings: s, Clock: p.Clock, Log: p.Log.Named("tune"), History: reader.History})
	cfg := control.Config{
		Jenkins: jenkins, Cluster: pods, Clock: p.Clock, Log: p.Log.Named("loop"), Instance: s.Instance, Teams: tuner.Teams,
		MaxAgents: s.MaxAgents, Poll: s.PollInterval, Grace: s.JenkinsRestartGrace, DryRun: reads, Standby: role == roleStandby,
		Record: func(t scaler.Tick) {
			d.web.Observe(t)
			if beside {
				return // only the leader counts: sums over the replicas are true then
			}
			d.metrics.Observe(t)
			d.record.observe(t)
			tuner.Observe(t)
			if news != nil {
				news.observe(t)
			}
			p.Record(t)
		},
	}
	if role == roleLeader {
		cfg.Store = pool.NewStore(client, s.OwnNamespace, s.Instance)
	}
	if beside {
		cfg.Poll = max(cfg.Poll, standbyPoll)
	} else {
		go tuner.Run(ctx)
	}
	if p.Change != nil {
		p.Change(&cfg)
	}
	return control.New(cfg), nil
}

// Run runs the daemon until ctx ends, which is no error.
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
		defer func() { _ = srv.Close() }() // no answer is worth waiting for
	}
	var err error
	switch {
	case d.lease != nil:
		err = d.lead(ctx)
	case d.parts.Settings.DryRun:
		err = d.work(ctx, roleDryRun)
	default:
		err = d.work(ctx, roleLeader)
	}
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// work runs a loop in this role until ctx ends.
func (d *Daemon) work(ctx context.Context, role string) error {
	d.mu.Lock()
	d.replica.Role = role
	d.mu.Unlock()
	d.metrics.Leading(role == roleLeader)
	defer d.metrics.Leading(false)
	loop, err := d.newLoop(ctx, role)
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	d.loop.Store(loop)
	if d.draining.Load() {
		loop.Drain()
	}
	return loop.Run(ctx)
}

// Drain makes Run drain and remove everything of this instance. Run goes on.
func (d *Daemon) Drain() {
	d.draining.Store(true)
	if loop := d.loop.Load(); loop != nil {
		loop.Drain()
	}
}

// Plan makes one read-only tick, without the Lease.
func (d *Daemon) Plan(ctx context.Context) (scaler.Tick, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	loop, err := d.newLoop(ctx, rolePlan)
	if err != nil {
		return scaler.Tick{}, err
	}
	return loop.Tick(ctx), nil
}

// JenkinsTransport returns the transport to Jenkins, which also trusts the authorities in caFile, if any.
func JenkinsTransport(caFile string) (http.RoundTripper, error) {
	if caFile == "" {
		return queue.NewTransport(nil), nil
	}
	pem, err := os.ReadFile(caFile) //nolint:gosec // the path is the operator's own setting
	if err != nil {
		return nil, fmt.Errorf("BELLBOARD_JENKINS_CA_FILE: %w", err)
	}
	system, _ := x509.SystemCertPool()
	roots := cmp.Or(system, x509.NewCertPool())
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("BELLBOARD_JENKINS_CA_FILE=%q holds no PEM certificate", caFile)
	}
	return queue.NewTransport(roots), nil
}

// Waits calls say with the server that does not answer, unless the returned function is called soon.
func Waits(c clock.Clock, say func(string), what func() string) (over func() bool) {
	return c.AfterFunc(2*time.Second, func() { say(what()) })
}

// start fills the cache of pods, and names the API server if it does not answer.
func (d *Daemon) start(ctx context.Context, pods *pool.Client) error {
	defer Waits(d.parts.Clock, d.kube.say, func() string {
		words := "which has not answered yet"
		if err := pods.Why(); err != nil {
			words += fmt.Sprintf(": %v", err)
		}
		return words
	})()
	if err := pods.Start(ctx); err != nil {
		return fmt.Errorf("kubernetes: %w; the API server is %s, %s", err, d.parts.Kube.Host, WayToKube(d.parts.Kube))
	}
	return nil
}

// WayToKube returns what named the API server, and what to check if the API server does not answer.
func WayToKube(cfg *rest.Config) string {
	if strings.HasPrefix(cfg.BearerTokenFile, "/var/run/secrets/kubernetes.io/serviceaccount/") {
		return "as the service account of this pod says; check that account's Role, and the NetworkPolicy between this pod and the API server"
	}
	return "as the kubeconfig says; correct KUBECONFIG (or its current context), or open the network to that API server"
}

// roundTrip is a function on the way to a server.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// silence says that a server does not answer: once, until the server has answered again.
type silence struct {
	what   string // the server
	of     *Daemon
	errors bool // a request that fails is said at once; nobody else says so

	mu    sync.Mutex
	since time.Time // of the silence that was said; zero: the server answers
	said  time.Time // last: a server that answers now and then is not said at every request
}

// say says that the server does not answer, and how.
func (s *silence) say(how string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.of.parts.Clock.Now()
	if s.since.IsZero() && now.Sub(s.said) > time.Minute {
		s.since, s.said = now, now
		s.of.parts.Waiting(s.what + ", " + how)
	}
}

// over says that the server answers again.
func (s *silence) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.since.IsZero() {
		s.of.parts.Log.Info("answers again", zap.String("server", s.what), zap.Duration("after", s.of.parts.Clock.Now().Sub(s.since)))
		s.since = time.Time{}
	}
}

// heard listens to the answers of the server.
func (s *silence) heard(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		inTime := Waits(s.of.parts.Clock, s.say, func() string { return "which does not answer" })
		resp, err := next.RoundTrip(r)
		switch quick := inTime(); {
		case err == nil && quick:
			s.over()
		case err != nil && s.errors && r.Context().Err() == nil:
			s.say("which does not answer: " + err.Error())
		}
		return resp, err
	})
}

// counter counts the requests to Kubernetes.
func (d *Daemon) counter(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		began, code := d.parts.Clock.Now(), "error"
		resp, err := next.RoundTrip(r)
		if err == nil {
			code = strconv.Itoa(resp.StatusCode)
		}
		verb, resource := kubeCall(r)
		d.metrics.KubeRequest(verb, resource, code, d.parts.Clock.Now().Sub(began))
		return resp, err
	})
}

// kubeCall returns the verb and the resource of a request to Kubernetes, as a Role has them.
func kubeCall(r *http.Request) (verb, resource string) {
	_, path, _ := strings.Cut(r.URL.Path, "/namespaces/")
	parts := append(strings.Split(path, "/"), "", "", "") // namespace, resource, name, subresource
	resource = strings.TrimSuffix(parts[1]+"/"+parts[3], "/")
	switch {
	case r.URL.Query().Has("watch"):
		return "watch", resource
	case r.Method == http.MethodGet && parts[2] == "":
		return "list", resource
	case r.Method == http.MethodPost:
		return "create", resource
	case r.Method == http.MethodPut:
		return "update", resource
	}
	return strings.ToLower(r.Method), resource
}
