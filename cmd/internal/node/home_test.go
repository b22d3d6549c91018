//go:build e2enode

package node

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/kube"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// home has what one Bellboard needs: a namespace of the real cluster, a simulated Jenkins that pods can
// reach, and the agents' connections to Jenkins.
type home struct {
	t       *testing.T
	node    *kube.Node
	k       kubernetes.Interface
	ns      string // the instance's name, too
	jenkins *jenkinssim.Jenkins
	url     string
	env     []string
	files   map[string]string // that settings name

	deletions atomic.Int32 // that Bellboard asked Kubernetes for

	// slow makes agents connect as late as a JVM does: after the kubelet has reported that they run. A
	// quicker agent has start phases that nobody sees.
	slow bool

	mu      sync.Mutex
	waiting []*build         // whose script no agent has got yet
	running map[int]*build   // by their order
	hellos  map[string]hello // by agent
	cuts    map[string]time.Time
	last    scaler.Tick
	past    []scaler.Tick // those in which something was done or counted
	orders  int
}

// build is a build with its script.
type build struct {
	job    jenkinssim.Job
	script string
	began  chan string // the agent's name, once it runs
	ended  chan report
}

// bare makes a home without anything in it.
func bare(t *testing.T, namespace string) *home {
	t.Helper()
	return &home{
		t: t, node: machine(t), k: cluster.Client(), ns: namespace,
		running: map[int]*build{}, hellos: map[string]hello{}, cuts: map[string]time.Time{},
	}
}

// newHome makes a home with a namespace of that name, and with these settings for agents with the label
// "any".
func newHome(t *testing.T, name string, settings ...string) *home {
	t.Helper()
	h := bare(t, name)
	if _, err := h.k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.within(time.Minute, "the namespace has its default ServiceAccount", func() bool {
		_, err := h.k.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
	h.open(h.node.Address+":0", jenkinssim.Config{Hook: name})
	h.env = append([]string{
		"BELLBOARD_JENKINS_URL=" + h.url, "BELLBOARD_JENKINS_USER=bellboard", "BELLBOARD_JENKINS_TOKEN_FILE=simulated",
		"BELLBOARD_NAMESPACE=" + name, "BELLBOARD_INSTANCE=" + name, "BELLBOARD_POLL_INTERVAL=200ms", "BELLBOARD_JENKINS_RESTART_GRACE=3s",
		"BELLBOARD_TEAMS=team", "BELLBOARD_TEAM_TEAM_LABELS=any", "BELLBOARD_TEAM_TEAM_CONNECT=inbound", "BELLBOARD_DEFAULT_IDLE_TIMEOUT=1m",
		"BELLBOARD_TEAM_TEAM_IMAGE=" + agentImage, "BELLBOARD_TEAM_TEAM_CPU=100m", "BELLBOARD_TEAM_TEAM_MEMORY=512Mi",
	}, settings...)
	return h
}

// open starts the simulated Jenkins on an address, in real time.
func (h *home) open(address string, c jenkinssim.Config) {
	h.t.Helper()
	c.Clock, c.Seed = clock.Real(), 1
	h.jenkins = jenkinssim.New(c)
	h.t.Cleanup(h.jenkins.Close)
	l, err := net.Listen("tcp", address)
	if err != nil {
		h.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", h.jenkins)
	mux.HandleFunc(agentPath, h.connect)
	mux.Handle("/v2/", registry())
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }() // ends with Close, and has nothing to say then
	h.t.Cleanup(func() { _ = s.Close() })
	h.url = "http://" + l.Addr().String()
}

// start starts a Bellboard, with these further settings. It ends with stop or with the test.
func (h *home) start(settings ...string) (stop func()) {
	h.t.Helper()
	c, err := config.Load(append(h.env, settings...), config.WithFiles(func(name string) ([]byte, error) {
		return []byte(cmp.Or(h.files[name], h.ns)), nil
	}))
	if err != nil {
		h.t.Fatal(err)
	}
	kube := cluster.Admin()
	kube.Wrap(func(next http.RoundTripper) http.RoundTripper { return counter{next, &h.deletions} })
	d, err := app.New(app.Parts{
		Settings: c, Clock: clock.Real(), Log: zap.NewNop(), Version: "e2e", Kube: kube,
		Token:  func() (string, error) { return "token", nil },
		Record: h.record,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Run(ctx); err != nil && ctx.Err() == nil {
			h.t.Error(err)
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	h.t.Cleanup(stop)
	return stop
}

func (h *home) record(t scaler.Tick) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = t
	if f := &t.Facts; len(t.Outcomes)+len(f.Startups)+len(f.Failures)+len(f.BuildsLost) > 0 {
		h.past = append(h.past, t)
	}
}

// counter counts deletions.
type counter struct {
	next      http.RoundTripper
	deletions *atomic.Int32
}

// RoundTrip sends the request.
func (c counter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodDelete {
		c.deletions.Add(1)
	}
	return c.next.RoundTrip(r)
}

// within waits until something is done, and prints the state if that takes too long.
func (h *home) within(limit time.Duration, what string, done func() bool) {
	h.t.Helper()
	for end := time.Now().Add(limit); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("not within %s: %s\n%s", limit, what, h.state())
		}
	}
}

// state describes the home for a failed test.
func (h *home) state() string {
	ctx, out := context.Background(), ""
	if h.jenkins != nil {
		out = fmt.Sprintf("Jenkins: %+v\nnodes: %+v\n", h.jenkins.Stats(), h.jenkins.NodesList())
	}
	h.mu.Lock()
	last := h.last
	h.mu.Unlock()
	out += fmt.Sprintf("last tick: hold=%q %+v\n", last.Hold, last.Outcomes)
	for i := range last.Plan.Decisions {
		out += "  " + last.Plan.Decisions[i].Text + "\n"
	}
	for _, p := range h.pods() {
		out += fmt.Sprintf("pod %s: %s, deleted %v\n", p.Name, p.Status.Phase, p.DeletionTimestamp)
		for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			out += fmt.Sprintf("  %s: %+v\n", c.Name, c.State)
			if b, err := h.k.CoreV1().Pods(h.ns).GetLogs(p.Name, &corev1.PodLogOptions{Container: c.Name, TailLines: new(int64(15))}).DoRaw(ctx); err == nil {
				out += "    " + strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "\n    ") + "\n"
			}
		}
	}
	if l, err := h.k.CoreV1().Events(h.ns).List(ctx, metav1.ListOptions{}); err == nil {
		for i := range l.Items {
			out += fmt.Sprintf("event of %s: %s: %s\n", l.Items[i].InvolvedObject.Name, l.Items[i].Reason, l.Items[i].Message)
		}
	}
	return out
}

func (h *home) pods() []corev1.Pod {
	h.t.Helper()
	l, err := h.k.CoreV1().Pods(h.ns).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		h.t.Error(err)
		return nil
	}
	return l.Items
}

// pod returns the pod of that name, nil if it is gone.
func (h *home) pod(name string) *corev1.Pod {
	h.t.Helper()
	p, err := h.k.CoreV1().Pods(h.ns).Get(context.Background(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		h.t.Error(err)
	}
	return p
}

// gone waits until the pod is gone.
func (h *home) gone(limit time.Duration, name string) {
	h.t.Helper()
	h.within(limit, "the pod is gone: "+name, func() bool { return h.pod(name) == nil })
}

// begin submits a build that runs the script on its agent. In Jenkins the build takes a time that the script
// should not need.
func (h *home) begin(takes time.Duration, script string) *build {
	return h.submit(jenkinssim.Job{Name: "job", Label: "any", Duration: takes}, script)
}

func (h *home) submit(job jenkinssim.Job, script string) *build {
	b := &build{job: job, script: script, began: make(chan string, 1), ended: make(chan report, 1)}
	h.mu.Lock()
	h.waiting = append(h.waiting, b)
	h.mu.Unlock()
	h.jenkins.Submit(b.job)
	return b
}

// on waits until an agent has the build, and returns the agent's name.
func (h *home) on(b *build) string {
	h.t.Helper()
	select {
	case name := <-b.began:
		return name
	case <-time.After(2 * time.Minute):
		h.t.Fatalf("no agent took the build\n%s", h.state())
		return ""
	}
}

// output waits for the end of the script, which has to succeed.
func (h *home) output(b *build) string {
	h.t.Helper()
	select {
	case r := <-b.ended:
		if r.Code != 0 {
			h.t.Fatalf("the build's script ended with %d:\n%s\n%s", r.Code, r.Output, h.state())
		}
		return strings.TrimSpace(r.Output)
	case <-time.After(2 * time.Minute):
		h.t.Fatalf("the build's script does not end\n%s", h.state())
		return ""
	}
}

// succeeded waits until Jenkins has so many successful builds, and no lost build.
func (h *home) succeeded(n int) {
	h.t.Helper()
	h.within(time.Minute, fmt.Sprintf("%d builds are over", n), func() bool { return h.jenkins.Stats().Finished >= n })
	if s := h.jenkins.Stats(); s.Succeeded != n || s.Killed != 0 || s.Lost != 0 {
		h.t.Errorf("of %d builds %d succeeded, %d were killed and %d lost: %+v", n, s.Succeeded, s.Killed, s.Lost, h.jenkins.Builds())
	}
}
