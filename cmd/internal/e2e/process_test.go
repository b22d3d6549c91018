//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// shipped is the binary that ships. The first call builds it as the image's binary is built: so it needs no
// other file, and the cache of that build serves.
var shipped = sync.OnceValues(func() (file string, err error) {
	if shippedIn, err = os.MkdirTemp("", "bellboard-e2e-"); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-trimpath", "-o", shippedIn, "bellboard/cmd/bellboard")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return filepath.Join(shippedIn, "bellboard"), nil
})

// shippedIn is the directory that TestMain removes.
var shippedIn string

// process is one bellboard run, started as people start it outside of a cluster.
type process struct {
	cmd    *exec.Cmd
	listen string
	done   chan struct{}
}

// route has the addresses by which a process reaches both servers.
type route struct {
	kube    *rest.Config
	jenkins string
}

// straight returns the servers' own addresses.
func (h *home) straight() route {
	h.t.Helper()
	cfg, err := h.plane.For(h.t.Context(), h.ns, account)
	if err != nil {
		h.t.Fatal(err)
	}
	return route{cfg, h.url}
}

// command returns a command of the binary, with the rights of Bellboard's ServiceAccount.
func (h *home) command(to route, args ...string) *exec.Cmd {
	h.t.Helper()
	must := func(err error) {
		if err != nil {
			h.t.Fatal(err)
		}
	}
	dir := h.t.TempDir()
	token := filepath.Join(dir, "token")
	must(os.WriteFile(token, []byte("token"), 0o600))
	kubeconfig, err := h.plane.Kubeconfig(h.ns, to.kube)
	must(err)
	binary, err := shipped()
	must(err)
	cmd := exec.Command(binary, args...)
	cmd.Env = append(slices.Clone(h.env), "BELLBOARD_JENKINS_URL="+to.jenkins, "BELLBOARD_JENKINS_TOKEN_FILE="+token, "KUBECONFIG="+kubeconfig, "HOME="+dir)
	return cmd
}

// spawn starts a process that runs until the test ends it.
func (h *home) spawn(to route, environ ...string) *process {
	h.t.Helper()
	p := &process{cmd: h.command(to, "run"), listen: freePort(h.t), done: make(chan struct{})}
	p.cmd.Env = append(slices.Concat(p.cmd.Env, environ), "BELLBOARD_LISTEN="+p.listen)
	p.cmd.Stderr = &h.said
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel kills the process with the thread that started it, so this thread waits.
		runtime.LockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // killed is how it ends
		}
	}()
	if err := <-started; err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(p.kill)
	return p
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// moment is a time in the life of a request: before or after the server's answer.
type moment struct {
	*http.Request
	answered bool // the server has done it
}

// nth reports true for the n-th of the moments that match.
func nth(n int, match func(moment) bool) func(moment) bool {
	var seen atomic.Int32
	return func(m moment) bool { return match(m) && int(seen.Add(1)) == n }
}

// at matches one kind of request to Kubernetes, before or after the server has done it.
func at(verb string, answered bool) func(moment) bool {
	return func(m moment) bool {
		return m.answered == answered && strings.HasPrefix(m.URL.Path, "/api/") && verbOf(m.Request) == verb
	}
}

// marking matches the marks that Jenkins has set.
func marking(m moment) bool {
	return m.answered && (strings.HasSuffix(m.URL.Path, "/toggleOffline") || strings.HasSuffix(m.URL.Path, "/changeOfflineCause"))
}

// gate stands between a process and both servers, and can kill the process in a request: before the server
// gets the request, or after the server has done it and before the process gets the answer.
type gate struct {
	h *home
	route

	// delay, if set, returns what a request waits for; nil: nothing. The request arrives afterwards, also if
	// its sender has ended.
	delay func(*http.Request) <-chan struct{}
	// held is told of each request that waits, when the whole of it is there: nothing stops it any more.
	held func()

	mu     sync.Mutex
	when   func(moment) bool
	victim *process
	killed chan struct{}
}

func (h *home) gate() *gate {
	h.t.Helper()
	way := h.straight()
	g := &gate{h: h}
	// The process uses TLS and its own token, as with the server itself.
	tls, err := rest.TransportFor(&rest.Config{Host: way.kube.Host, TLSClientConfig: rest.TLSClientConfig{CAData: way.kube.CAData}})
	if err != nil {
		h.t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(g.before(way.kube.Host, tls, true))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = stdlog.New(io.Discard, "", 0) // connections of those that were killed
	s.StartTLS()
	h.t.Cleanup(s.Close)
	g.kube = rest.CopyConfig(way.kube)
	g.kube.Host, g.kube.CAData = s.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	g.jenkins = h.serve(g.before(way.jenkins, http.DefaultTransport, false))
	return g
}

var errKilled = errors.New("the process is dead")

func (g *gate) before(server string, transport http.RoundTripper, kube bool) http.Handler {
	to, err := url.Parse(server)
	if err != nil {
		g.h.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		FlushInterval: -1, Transport: transport,
		ErrorLog: stdlog.New(io.Discard, "", 0),
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(resp *http.Response) error {
			g.h.note(resp, kube)
			if g.falls(moment{resp.Request, true}) {
				return errKilled
			}
			return nil
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.falls(moment{r, false}) {
			panic(http.ErrAbortHandler)
		}
		if g.delay != nil {
			if arrives := g.delay(r); arrives != nil {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					panic(http.ErrAbortHandler)
				}
				ctx, sent := context.WithCancel(context.WithoutCancel(r.Context()))
				defer sent()
				r = r.WithContext(ctx)
				r.Body = io.NopCloser(bytes.NewReader(body))
				g.held()
				<-arrives
			}
		}
		proxy.ServeHTTP(w, r)
	})
}

// killAt kills p in the first request for which when reports true. Then the channel is closed.
func (g *gate) killAt(p *process, when func(moment) bool) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.victim, g.when, g.killed = p, when, make(chan struct{})
	return g.killed
}

func (g *gate) falls(m moment) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.when == nil || !g.when(m) {
		return false
	}
	g.when = nil
	g.victim.kill()
	close(g.killed)
	return true
}

// leads lets processes of the binary lead by a Lease. Outside of a cluster Bellboard's own namespace is
// "default".
func (h *home) leads() {
	h.t.Helper()
	h.env = append(h.env, "BELLBOARD_LEADER_ELECTION=true")
	h.grant(metav1.NamespaceDefault, role(h.t, account))
	h.t.Cleanup(h.giveUpLease)
}

// giveUpLease ends the Lease of a killed process, so that the next process need not wait.
func (h *home) giveUpLease() {
	leases := h.k.CoordinationV1().Leases(metav1.NamespaceDefault)
	if err := notFound(leases.Delete(context.Background(), "bellboard-"+h.ns, metav1.DeleteOptions{})); err != nil {
		h.t.Error(err)
	}
}

// awaitKill waits until the process is killed.
func (h *home) awaitKill(killed <-chan struct{}, when string) {
	h.t.Helper()
	h.await("a moment comes: "+when, func() bool {
		select {
		case <-killed:
			return true
		default:
			return false
		}
	})
	h.t.Logf("killed %s", when)
}
