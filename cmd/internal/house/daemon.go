package house

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

// Token is Bellboard's token in the simulated Jenkins.
const Token = "token"

// daemon is one Bellboard process. It can be killed at any moment, as by kill -9.
type daemon struct {
	app    *app.Daemon
	dead   atomic.Bool
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

var errKilled = errors.New("the process is dead")

// wire is the network of a process. After a kill it sends nothing, and drops the answers.
type wire struct {
	next http.RoundTripper
	of   *daemon
}

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.of.dead.Load() {
		return nil, errKilled
	}
	resp, err := w.next.RoundTrip(r)
	if w.of.dead.Load() {
		if err == nil {
			_ = resp.Body.Close()
		}
		return nil, errKilled
	}
	return resp, err
}

// make makes a new Bellboard process. change, if set, changes its parts.
func (h *House) make(change func(*app.Parts)) (*daemon, error) {
	settings, err := config.Load(h.env)
	if err != nil {
		return nil, err
	}
	d := &daemon{done: make(chan struct{})}
	kube := &rest.Config{Host: h.ClusterURL, UserAgent: "bellboard"}
	jenkins := http.DefaultTransport
	if !h.cfg.Network {
		kube = h.Cluster.RESTConfig()
		jenkins = h.Jenkins.Transport()
	}
	kube.Wrap(func(next http.RoundTripper) http.RoundTripper { return wire{next, d} })
	parts := app.Parts{
		Settings: settings, Clock: h.clock, Log: h.cfg.Log, Version: "demo",
		Token:   func() (string, error) { return Token, nil },
		Jenkins: wire{jenkins, d}, Kube: kube,
		Record: func(t scaler.Tick) {
			if d.dead.Load() {
				return
			}
			h.record(t)
		},
	}
	parts.Change = func(c *control.Config) {
		if h.cfg.Chaos {
			c.Jenkins = &sleepy{Jenkins: c.Jenkins, h: h, d: d}
		}
		if h.cfg.Change != nil {
			h.cfg.Change(c)
		}
	}
	if change != nil {
		change(&parts)
	}
	d.app, err = app.New(parts)
	return d, err
}

// start starts a new Bellboard process. The process runs on when ctx ends: only kill ends it.
func (h *House) start(ctx context.Context) error {
	d, err := h.make(func(p *app.Parts) {
		p.Lead = h.cfg.Lead
		if t, ok := h.page.(*net.TCPListener); ok {
			_ = t.SetDeadline(time.Time{}) // keepOpen.Close of an earlier daemon has set a deadline
			p.Listener = keepOpen{t}
		}
	})
	if err != nil {
		return err
	}
	h.run(ctx, d)
	return nil
}

func (h *House) run(ctx context.Context, d *daemon) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel = cancel
	h.daemon = d
	go func() {
		defer close(d.done)
		d.err = d.app.Run(ctx)
		if d.err != nil && !d.dead.Load() {
			h.cfg.Log.Error("bellboard ended", zap.Error(d.err))
		}
	}()
}

// kill ends the process as kill -9 does: the process finishes no request.
func (d *daemon) kill() {
	d.dead.Store(true)
	d.cancel()
	<-d.done
}

func (d *daemon) drain() { d.app.Drain() }

// sleepy is Jenkins for a process that sometimes stops (a paused VM, a full CPU), after Jenkins' answers and
// before the next write.
type sleepy struct {
	control.Jenkins
	h *House
	d *daemon
}

func (s *sleepy) Observe(ctx context.Context) (scaler.JenkinsView, error) {
	v, err := s.Jenkins.Observe(ctx)
	if err != nil {
		return v, err
	}
	if nap := s.h.nap(); nap > 0 {
		if err := clock.Sleep(ctx, s.h.clock, nap); err != nil {
			return v, err
		}
	}
	return v, nil
}
