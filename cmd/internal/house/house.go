// Package house runs a simulated Jenkins, a simulated cluster, simulated agents, a load of builds and the
// real daemon in one process. The demo and the tests of the promises use it.
//
// The simulators count the builds. The package never looks into the daemon.
package house

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bellboard/cmd/internal/config"
	"bellboard/pool/kubesim"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

// Config has what a house is made of.
type Config struct {
	Clock clock.Clock
	Seed  int64
	Log   *zap.Logger
	// Environ has the settings of the teams, as variables; nil is DefaultEnviron.
	Environ []string
	// Loads has the builds of each team; nil is DefaultLoads.
	Loads []Load
	// Chaos breaks something again and again, at most Gap apart (default 10 m).
	Chaos bool
	Gap   time.Duration
	// Noon has the settings that chaos changes in the middle of the day, as variables.
	Noon []string
	// Throw has the classes of failure with which agents fail during the day; nil is every class with Chaos,
	// and none without.
	Throw []scaler.Failure
	// Hook installs the one-build hook in Jenkins.
	Hook bool
	// Version is the version of Jenkins; "" is jenkinssim's own.
	Version string
	// LaxClaims makes the storage give a volume to any number of pods at once.
	LaxClaims bool
	// Lead makes the daemon work only while it holds a Lease.
	Lead bool
	// Network serves everything on loopback ports; without it there is no network. Listen is the address of the
	// page; "" is a loopback port, too.
	Network bool
	Listen  string
	// Record gets every tick of every daemon.
	Record func(scaler.Tick)
	// Say gets a line for each thing that the chaos breaks.
	Say func(what string)
	// Empties, if set, gets what is left, again and again after the day, until nothing is.
	Empties func(Remains)
	// Change changes what the daemon's loop is made of; nil: nothing.
	Change func(*control.Config)
}

// House is a running house.
type House struct {
	cfg      Config
	clock    clock.Clock
	Jenkins  *jenkinssim.Jenkins
	Cluster  *kubesim.Cluster
	agents   *Agents
	injector *injector
	// The addresses, with Config.Network.
	JenkinsURL, ClusterURL, PageURL string

	servers []*http.Server
	page    net.Listener
	daemon  *daemon
	env     []string
	teams   []scaler.Team
	most    int                      // BELLBOARD_MAX_AGENTS
	images  map[scaler.PoolID]string // the images of new agents

	slotsKept int // the number of cache slots at the end of the day

	mu    sync.Mutex
	rng   *rand.Rand
	naps  *rand.Rand // its own, so that the chaos does not depend on the number of ticks
	tally tally
}

// New makes the house and its servers. Run begins the day. ctx is for New only.
func New(ctx context.Context, cfg Config) (*House, error) {
	if cfg.Environ == nil {
		cfg.Environ = DefaultEnviron()
	}
	if cfg.Loads == nil {
		cfg.Loads = DefaultLoads()
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Gap == 0 {
		cfg.Gap = 10 * time.Minute
	}
	if cfg.Throw == nil && cfg.Chaos {
		cfg.Throw = scaler.Failures()
	}
	if cfg.Say == nil {
		cfg.Say = func(string) {}
	}
	h := &House{
		cfg: cfg, clock: cfg.Clock, injector: newInjector(),
		rng:  rand.New(rand.NewPCG(uint64(cfg.Seed), 0x6368616f73)),
		naps: rand.New(rand.NewPCG(uint64(cfg.Seed), 0x6e6170)), tally: tally{troubles: map[Trouble]int{}},
	}
	hook := ""
	if cfg.Hook {
		hook = "bellboard"
	}
	h.Jenkins = jenkinssim.New(jenkinssim.Config{Clock: cfg.Clock, Seed: cfg.Seed, Hook: hook, Version: cfg.Version, Front: cfg.Network})
	h.Cluster = kubesim.New(kubesim.Config{Clock: cfg.Clock, Seed: cfg.Seed, LaxClaims: cfg.LaxClaims})
	h.agents = NewAgents(cfg.Clock, h.Jenkins, simPods{h.Cluster}, cfg.Seed)
	if len(cfg.Throw) > 0 {
		h.inject()
	}
	h.Cluster.SetKubelet(h.agents)
	h.JenkinsURL, h.ClusterURL = "http://jenkins.local", "http://kubesim.local"
	if cfg.Network {
		var err error
		if h.JenkinsURL, err = h.serve(ctx, h.Jenkins); err != nil {
			return nil, err
		}
		if h.ClusterURL, err = h.serve(ctx, h.Cluster); err != nil {
			return nil, err
		}
		if h.page, err = listen(ctx, cmp.Or(cfg.Listen, loopback)); err != nil {
			return nil, fmt.Errorf("the page at %q: %w", cfg.Listen, err)
		}
		h.PageURL = "http://" + h.page.Addr().String()
		if at, ok := h.page.Addr().(*net.TCPAddr); ok && at.IP.IsUnspecified() {
			h.PageURL = fmt.Sprintf("http://127.0.0.1:%d", at.Port)
		}
	}
	if err := h.userSecrets(ctx); err != nil {
		return nil, err
	}
	env := append([]string{
		"BELLBOARD_JENKINS_URL=" + h.JenkinsURL,
		"BELLBOARD_JENKINS_USER=bellboard",
		"BELLBOARD_JENKINS_TOKEN_FILE=simulated",
		"BELLBOARD_NAMESPACE=ci",
		"BELLBOARD_SWARM_USER=agents",
		"BELLBOARD_SWARM_PASSWORD_SECRET=" + swarmSecret,
	}, cfg.Environ...)
	if _, err := config.Load(slices.Concat(env, cfg.Noon)); err != nil {
		return nil, err
	}
	return h, h.set(env)
}

// set sets the settings of the next daemon.
func (h *House) set(env []string) error {
	settings, err := config.Load(env)
	if err != nil {
		return err
	}
	h.env, h.teams, h.most, h.images = env, settings.ScalerTeams(), settings.MaxAgents, map[scaler.PoolID]string{}
	for _, s := range settings.PoolSpecs() {
		h.images[s.PoolID] = s.Image
	}
	return nil
}

// swarmSecret is the Secret that a person would make for Swarm agents.
const swarmSecret = "swarm"

// userSecrets makes the Secrets that a person would make.
func (h *House) userSecrets(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(h.Cluster.RESTConfig())
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Secrets("ci").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: swarmSecret}, StringData: map[string]string{"password": "simulated"},
	}, metav1.CreateOptions{})
	return err
}

// Environ returns the settings of the daemon, as variables.
func (h *House) Environ() []string { return slices.Clone(h.env) }

const loopback = "127.0.0.1:0"

func listen(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", address)
}

// serve answers on a loopback port.
func (h *House) serve(ctx context.Context, handler http.Handler) (string, error) {
	l, err := listen(ctx, loopback)
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	h.servers = append(h.servers, s)
	go func() { _ = s.Serve(l) }() // ends with Close, always with an error
	return "http://" + l.Addr().String(), nil
}

// Close ends everything.
func (h *House) Close() {
	if h.daemon != nil {
		h.daemon.kill()
	}
	h.agents.Close()
	h.Jenkins.Close()
	h.Cluster.Close()
	for _, s := range h.servers {
		_ = s.Close()
	}
	if h.page != nil {
		_ = h.page.Close()
	}
}

// Run runs a day of that length, and then removes all agents. When ctx ends, the day ends early. When now
// ends, everything ends at once.
func (h *House) Run(ctx, now context.Context, day time.Duration) (Summary, error) {
	if err := h.start(ctx); err != nil {
		return Summary{}, err
	}
	dayCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := h.clock.AfterFunc(day, cancel)
	defer stop()
	var wg sync.WaitGroup
	for i, l := range h.cfg.Loads {
		wg.Go(func() { h.load(dayCtx, l, uint64(i)) })
	}
	if h.cfg.Chaos {
		wg.Go(func() { h.chaos(dayCtx, h.clock.Now().Add(day/2)) })
	}
	if len(h.cfg.Throw) > 0 {
		wg.Go(func() { h.failures(dayCtx) })
	}
	wg.Wait()
	return h.evening(now)
}

// evening lets the waiting builds end, and then removes all agents. No new builds come.
func (h *House) evening(ctx context.Context) (Summary, error) {
	// Jenkins notices a silent agent after nine minutes, and Bellboard deletes a lost one ten minutes later.
	const limit = 45 * time.Minute
	err := h.until(ctx, limit, func() bool {
		s := h.Jenkins.Stats()
		return s.Queued == 0 && s.Running == 0
	})
	if err != nil {
		s := h.Jenkins.Stats()
		err = fmt.Errorf("%d builds still waited and %d ran: %w", s.Queued, s.Running, err)
		return h.summary(), err
	}
	old := func() []string { return h.outdated(h.clock.Now()) }
	if err := h.until(ctx, limit, func() bool { return len(old()) == 0 }); err != nil {
		return h.summary(), fmt.Errorf("agents that should have been renewed: %v: %w", old(), err)
	}
	// Bellboard keeps the cache slots of agents that are gone, but no more than it can use.
	if err := h.until(ctx, limit, func() bool { return len(h.excess()) == 0 }); err != nil {
		return h.summary(), fmt.Errorf("more cache slots than agents may be: %v: %w", h.excess(), err)
	}
	h.slotsKept = len(h.Cluster.PVCs())
	h.daemon.drain()
	if err := h.until(ctx, limit, func() bool { return h.orphans() == 0 }); err != nil && ctx.Err() != nil {
		return h.summary(), err
	}
	return h.summary(), nil
}

// until waits for done, which it calls every two seconds.
func (h *House) until(ctx context.Context, limit time.Duration, done func() bool) error {
	for end := h.clock.Now().Add(limit); !done(); {
		if h.cfg.Empties != nil {
			h.cfg.Empties(h.remains())
		}
		if h.clock.Now().After(end) {
			return fmt.Errorf("after %s", limit)
		}
		if err := clock.Sleep(ctx, h.clock, 2*time.Second); err != nil {
			return err
		}
	}
	return nil
}
