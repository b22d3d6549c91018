//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// daemon is one Bellboard in the process of the test, so that the test gets every tick and can break the
// network.
type daemon struct {
	h      *home
	app    *app.Daemon
	dead   atomic.Bool
	cancel context.CancelFunc
	done   chan struct{}
	err    error

	mu      sync.Mutex
	lose    func(*http.Request) bool // answers that do not come back
	instead func(*http.Request) int  // answers that the server does not give; 0 is none
	blind   bool                     // no watch opens
	watches map[*watchBody]struct{}
}

// start starts a new daemon with the rights of its ServiceAccount. change, if any, changes its parts.
func (h *home) start(change ...func(*app.Parts)) *daemon {
	h.t.Helper()
	settings, err := config.Load(h.env, config.WithFiles(func(name string) ([]byte, error) {
		if strings.HasPrefix(name, os.TempDir()) {
			return os.ReadFile(name) // a pod template of the test's
		}
		return []byte(h.ns), nil
	}))
	if err != nil {
		h.t.Fatal(err)
	}
	d := &daemon{h: h, done: make(chan struct{}), watches: map[*watchBody]struct{}{}}
	cfg, err := h.plane.For(h.t.Context(), h.ns, account)
	if err != nil {
		h.t.Fatal(err)
	}
	cfg.UserAgent = "bellboard"
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return wire{next, d, true} })
	parts := app.Parts{
		Settings: settings, Clock: clock.Real(), Log: logs.log, Version: "e2e",
		Token:   func() (string, error) { return "token", nil },
		Jenkins: wire{http.DefaultTransport, d, false}, Kube: cfg,
		// Under the identity of the killed daemon this one need not wait for the Lease.
		Lead: !h.alone, Identity: "e2e",
		Record: func(t scaler.Tick) {
			if !d.dead.Load() {
				h.record(t)
			}
		},
	}
	for _, f := range change {
		f(&parts)
	}
	if d.app, err = app.New(parts); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go func() {
		defer close(d.done)
		d.err = d.app.Run(ctx)
	}()
	h.t.Cleanup(d.kill)
	return d
}

// kill ends the daemon, which finishes no request.
func (d *daemon) kill() {
	d.dead.Store(true)
	d.cancel()
	d.cut()
	<-d.done
}

// blindfold breaks the watches and lets none open, or ends that.
func (d *daemon) blindfold(on bool) {
	d.mu.Lock()
	d.blind = on
	d.mu.Unlock()
	if on {
		d.cut()
	}
}

func (d *daemon) blinded(r *http.Request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.blind && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/pods")
}

// answerAs answers instead of the API server, with a status.
func (d *daemon) answerAs(which func(*http.Request) int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.instead = which
}

func (d *daemon) inStead(r *http.Request) *http.Response {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.instead == nil {
		return nil
	}
	code := d.instead(r)
	if code == 0 {
		return nil
	}
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":%d}`, code)
	return &http.Response{
		StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// losing loses the answers of requests that the server carries out; nil ends that.
func (d *daemon) losing(which func(*http.Request) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lose = which
}

func (d *daemon) loses(r *http.Request) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lose != nil && d.lose(r)
}

func (d *daemon) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for b := range d.watches {
		_ = b.ReadCloser.Close()
	}
}

// wire is the network of a daemon.
type wire struct {
	next http.RoundTripper
	of   *daemon
	kube bool
}

// RoundTrip sends a request unless the daemon is killed, and drops the answer if the daemon was killed
// meanwhile.
func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	d := w.of
	if d.dead.Load() {
		return nil, errKilled
	}
	if w.kube && d.blinded(r) {
		return nil, errors.New("the network is down")
	}
	if w.kube {
		if resp := d.inStead(r); resp != nil {
			return resp, nil
		}
	}
	resp, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if err := d.h.note(resp, w.kube); err != nil {
		return nil, err
	}
	switch {
	case d.dead.Load():
		_ = resp.Body.Close()
		return nil, errKilled
	case w.kube && d.loses(r):
		_ = resp.Body.Close()
		return nil, io.ErrUnexpectedEOF
	case w.kube && r.URL.Query().Get("watch") != "":
		b := &watchBody{resp.Body, d}
		d.mu.Lock()
		d.watches[b] = struct{}{}
		d.mu.Unlock()
		resp.Body = b
	}
	return resp, nil
}

// note notes the requests of the daemon, and those that the server rejected.
func (h *home) note(resp *http.Response, kube bool) error {
	var said []byte
	if kube && resp.StatusCode == http.StatusForbidden {
		var err error
		said, err = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return err
		}
		resp.Body = io.NopCloser(bytes.NewReader(said))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if kube {
		h.calls[verbOf(resp.Request)]++
		h.charge(resp.Request)
		// Admission and quotas forbid requests, too, with another message.
		if lacks.Match(said) {
			h.denied = append(h.denied, verbOf(resp.Request)+": "+string(said))
		}
	} else if resp.Request.Method == http.MethodPost && resp.StatusCode < http.StatusBadRequest {
		h.written = append(h.written, resp.Request.URL.Path)
	}
	return nil
}

// lacks matches the message for a right that a Role does not grant.
var lacks = regexp.MustCompile(`cannot [a-z]+ resource`)

// mayAll checks that Bellboard lacked no right.
func (h *home) mayAll() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, what := range h.denied {
		h.t.Errorf("the Role lacks a right: %q", what)
	}
}

// verbOf returns the verb and the resource of a request for RBAC: "create pods".
func verbOf(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	for i, p := range parts {
		if p == "namespaces" && len(parts) > i+2 {
			parts = parts[i+2:]
			break
		}
	}
	verb := map[string]string{http.MethodPost: "create", http.MethodPatch: "patch", http.MethodDelete: "delete", http.MethodPut: "update"}[r.Method]
	if r.Method == http.MethodGet {
		switch {
		case r.URL.Query().Get("watch") != "":
			verb = "watch"
		case len(parts) > 1:
			verb = "get"
		default:
			verb = "list"
		}
	}
	if len(parts) > 2 {
		return verb + " " + parts[0] + "/" + parts[2]
	}
	return verb + " " + parts[0]
}

// watchBody is the body of a watch that can be cut.
type watchBody struct {
	io.ReadCloser
	of *daemon
}

// Close is called by the reader.
func (b *watchBody) Close() error {
	b.of.mu.Lock()
	delete(b.of.watches, b)
	b.of.mu.Unlock()
	return b.ReadCloser.Close()
}

// ended waits until the daemon ends without a kill.
func (d *daemon) ended() error {
	select {
	case <-d.done:
		return d.err
	case <-time.After(patience):
		return errors.New("it still runs")
	}
}

var _ http.RoundTripper = wire{}
