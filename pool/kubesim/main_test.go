package kubesim

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bellboard/scaler/clock"
)

const ns = "agents"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs a test in virtual time against a cluster of its own.
func bubble(t *testing.T, cfg Config, f func(t *testing.T, c *Cluster, k kubernetes.Interface)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Clock = clock.Real()
		if cfg.Token == "" {
			cfg.Token = "secret"
		}
		c := New(cfg)
		defer c.Close()
		f(t, c, client(t, c))
	})
}

func client(t *testing.T, c *Cluster) kubernetes.Interface {
	t.Helper()
	k, err := kubernetes.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func agent(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": "a"}},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "agent", Image: "jenkins/inbound-agent:1"}},
		},
	}
}

func withSidecar(p *corev1.Pod) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	p.Spec.InitContainers = []corev1.Container{{
		Name: "docker", Image: "docker:27-dind", RestartPolicy: &always,
		StartupProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"docker", "info"}}}},
	}}
	return p
}

func withSleep(p *corev1.Pod, preStop *corev1.LifecycleHandler, grace int64) *corev1.Pod {
	p.Spec.TerminationGracePeriodSeconds = &grace
	p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: preStop}
	return p
}

func create(t *testing.T, k kubernetes.Interface, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	p, err := k.CoreV1().Pods(ns).Create(context.Background(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// must returns a pod as the API has it.
func must(t *testing.T, k kubernetes.Interface, name string) *corev1.Pod {
	t.Helper()
	p, err := k.CoreV1().Pods(ns).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// until waits in steps of 10 ms and returns how long the wait took.
func until(t *testing.T, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("not within %v", limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

func running(c *Cluster, name string) func() bool {
	return func() bool {
		p := c.Pod(ns, name)
		return p != nil && p.Status.Phase == corev1.PodRunning
	}
}

func goneFrom(c *Cluster, name string) func() bool {
	return func() bool { return c.Pod(ns, name) == nil }
}

// journal is a Kubelet that notes its calls.
type journal struct {
	mu    sync.Mutex
	lines []string
	at    []time.Time
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
	j.at = append(j.at, time.Now())
}

func (j *journal) Started(p *corev1.Pod)              { j.add("started " + p.Name) }
func (j *journal) Terminate(p *corev1.Pod, by string) { j.add("terminate " + p.Name + " by " + by) }

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.lines...)
}
