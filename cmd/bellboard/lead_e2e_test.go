//go:build e2e

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bellboard/cmd/internal/house"
	"bellboard/queue/jenkinssim"
)

// writes is what reached the servers, by which process, in order, and how often
// each asked for the Lease.
type writes struct {
	mu     sync.Mutex
	all    []string
	leases map[string]int
}

func (w *writes) add(who string, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case strings.Contains(r.URL.Path, "/leases"):
		w.leases[who]++
	case r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/events"):
		w.all = append(w.all, who)
	}
}

func (w *writes) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

func (w *writes) looked(who string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.leases[who] > 0
}

// runs is who wrote, in order, each run of one writer once.
func (w *writes) runs() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Compact(slices.Clone(w.all))
}

// through is a way to a server that notes who writes.
func (w *writes) through(t *testing.T, who, to string) string {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.add(who, r)
		proxy.ServeHTTP(rw, r)
	})}
	go func() { _ = s.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = s.Close() })
	return "http://" + l.Addr().String()
}

// TestStoppedLeader: the real binary, two of it. The leader's process is stopped
// (SIGSTOP) for longer than its Lease holds, and woken while it still believes.
func TestStoppedLeader(t *testing.T) {
	h, environ := quietHouse(t)
	binary := filepath.Join(t.TempDir(), "bellboard")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	seen := writes{leases: map[string]int{}}
	a := process(t, h, environ, binary, "a", &seen)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { // something to write about
		for ctx.Err() == nil {
			h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: time.Minute})
			time.Sleep(time.Second)
		}
	}()
	eventually(t, 20*time.Second, "a writes", func() bool { return slices.Equal(seen.runs(), []string{"a"}) })
	b := process(t, h, environ, binary, "b", &seen)
	eventually(t, 20*time.Second, "b looks at the Lease", func() bool { return seen.looked("b") })
	send(t, a, syscall.SIGSTOP)
	stopped := time.Now()
	eventually(t, 40*time.Second, "b takes over", func() bool { return slices.Contains(seen.runs(), "b") })
	t.Logf("b wrote %s after a was stopped", time.Since(stopped).Round(100*time.Millisecond))
	send(t, a, syscall.SIGCONT)
	if err := a.Wait(); err == nil {
		t.Error("a ended well, want it to say that its Lease is lost")
	}
	soFar := seen.count()
	eventually(t, 20*time.Second, "b goes on", func() bool { return seen.count() >= soFar+3 })
	if got, want := seen.runs(), []string{"a", "b"}; !slices.Equal(got, want) {
		t.Errorf("writers, in order: %v, want %v", got, want)
	}
	send(t, b, syscall.SIGTERM)
	if err := b.Wait(); err != nil {
		t.Errorf("b ended with %v", err)
	}
}

func send(t *testing.T, c *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := c.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// process starts one bellboard run, with its own way to both servers.
func process(t *testing.T, h *house.House, environ []string, binary, who string, seen *writes) *exec.Cmd {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: it,
clusters: [{name: it, cluster: {server: %q}}], contexts: [{name: it, context: {cluster: it}}]}`, seen.through(t, who, h.ClusterURL))
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), binary, "run")
	c.Env = append(slices.DeleteFunc(slices.Clone(environ), func(e string) bool { return strings.HasPrefix(e, "BELLBOARD_JENKINS_URL=") }),
		"BELLBOARD_JENKINS_URL="+seen.through(t, who, h.JenkinsURL), "BELLBOARD_LISTEN=127.0.0.1:0", "BELLBOARD_LEADER_ELECTION=true",
		"BELLBOARD_TEAM_WEB_MAX_AGENTS=200", "KUBECONFIG="+kubeconfig, "HOME="+t.TempDir())
	c.Stderr = t.Output()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	return c
}
