//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"bellboard/cmd/internal/kube"
)

// One control plane serves all tests. Each test has its own namespaces.
var cluster struct {
	once sync.Once
	*kube.ControlPlane
	err error
}

// logs has the log of all daemons, with client-go's messages, as the binary logs them.
var logs = newLogs()

type spoken struct {
	logBook

	log *zap.Logger
}

// logBook keeps lines of a log.
type logBook struct {
	mu  sync.Mutex
	all strings.Builder
}

func newLogs() *spoken {
	b := &spoken{}
	b.log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(b), zapcore.WarnLevel))
	klog.SetLogger(zapr.NewLoggerWithOptions(b.log.Named("client-go"), zapr.ErrorKey("error")))
	return b
}

// Write adds one line.
func (b *logBook) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(line)
}

// hold reports whether one line has all of the words.
func (b *logBook) hold(words ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.all.String()) {
		line = strings.ReplaceAll(line, `\\\"`, `"`)
		line = strings.ReplaceAll(line, `\"`, `"`)
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			return true
		}
	}
	return false
}

// end returns the last lines.
func (b *logBook) end() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.all.String()
	return s[max(0, len(s)-4000):]
}

func TestMain(m *testing.M) {
	code := m.Run()
	if cluster.ControlPlane != nil {
		if err := cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if shippedIn != "" {
		_ = os.RemoveAll(shippedIn)
	}
	os.Exit(code)
}

// reachable are the ports that a port-forward to a pod can reach.
var reachable [2]net.Listener

// control returns the control plane, which the first call starts. If the binary is not built, the test is
// skipped, unless the binary is required.
func control(t *testing.T) *kube.ControlPlane {
	t.Helper()
	cluster.once.Do(func() {
		var ports []int
		for i := range reachable {
			var err error
			if reachable[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
				t.Fatal(err)
			}
			ports = append(ports, reachable[i].Addr().(*net.TCPAddr).Port)
		}
		cluster.ControlPlane, cluster.err = kube.Start(context.Background(), kube.Options{Ports: ports})
	})
	kube.Need(t, cluster.err)
	return cluster.ControlPlane
}

// namespace makes a namespace in which pods can be made, and deletes it at the end of the test.
func namespace(t *testing.T, c *kube.ControlPlane, name string, labels map[string]string) {
	t.Helper()
	api := c.Client().CoreV1()
	if _, err := api.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	await(t, "the namespace has its default ServiceAccount", func() bool {
		_, err := api.ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
}

func init() {
	realWorld = func(t *testing.T) *world {
		t.Helper()
		c := control(t)
		k, ns := c.Client(), "conformance"
		namespace(t, c, ns, nil)
		// kwok does not simulate this Kubernetes node: a pod that is to end there takes its time.
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "idle"}}
		if _, err := k.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = k.CoreV1().Nodes().Delete(context.Background(), node.Name, metav1.DeleteOptions{}) })
		class(t, k, storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: growing}, Provisioner: "nobody.example/volumes", AllowVolumeExpansion: new(true)})
		class(t, k, storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: fixed}, Provisioner: "nobody.example/volumes"})
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "stranger"}}
		if _, err := k.CoreV1().ServiceAccounts(ns).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		client := func(w *world, cfg *rest.Config, err error) kubernetes.Interface {
			if err != nil {
				w.t.Fatal(err)
			}
			k, err := kubernetes.NewForConfig(cfg)
			if err != nil {
				w.t.Fatal(err)
			}
			return k
		}
		return &world{
			k: k, ns: ns,
			place: func(w *world, name string) {
				bind := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: node.Name}}
				if err := k.CoreV1().Pods(ns).Bind(w.ctx(), bind, metav1.CreateOptions{}); err != nil {
					w.t.Fatal(err)
				}
				// The API server deletes the pod at once until its cache knows the node (7 of 1500 times, on
				// 1.36).
				w.await("the pod has a node", func() bool {
					p, err := k.CoreV1().Pods(ns).Get(w.ctx(), name, metav1.GetOptions{ResourceVersion: "0"})
					return err == nil && p.Spec.NodeName != ""
				})
			},
			bind: func(w *world, name string) { volume(w.t, k, ns, name, nil) },
			// The API server knows what has happened since its start.
			forget: func(w *world) {
				if err := c.RestartAPIServer(w.ctx()); err != nil {
					w.t.Fatal(err)
				}
			},
			quota: func(w *world) { overQuota(w.t, k, ns) },
			enforce: func(w *world) {
				enforce(w.t, k, ns, "restricted")
				w.t.Cleanup(func() { enforce(w.t, k, ns, "privileged") })
			},
			stranger: func(w *world) kubernetes.Interface {
				cfg, err := c.For(w.ctx(), ns, account.Name)
				return client(w, cfg, err)
			},
			nobody: func(w *world) kubernetes.Interface {
				cfg := c.Admin()
				cfg.CertFile, cfg.KeyFile, cfg.BearerToken = "", "", "wrong"
				return client(w, cfg, nil)
			},
		}
	}
}

// overQuota lets no further pod into a namespace until the end of the test.
func overQuota(t *testing.T, k kubernetes.Interface, ns string) (lift func()) {
	t.Helper()
	const name = "none"
	api := k.CoreV1().ResourceQuotas(ns)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("0")}},
	}
	if _, err := api.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	lift = func() {
		once.Do(func() {
			if err := api.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(lift)
	await(t, "the quota is counted", func() bool {
		q, err := api.Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && len(q.Status.Hard) > 0
	})
	return lift
}

// enforce applies a Pod Security Standard to a namespace.
func enforce(t *testing.T, k kubernetes.Interface, ns, level string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":%q}}}`, level)
	if _, err := k.CoreV1().Namespaces().Patch(context.Background(), ns, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	// Admission hears of it a moment later.
	probe := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "probe"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "a", Image: "a", SecurityContext: &corev1.SecurityContext{Privileged: new(true)}}},
	}}
	await(t, ns+" is "+level, func() bool {
		_, err := k.CoreV1().Pods(ns).Create(context.Background(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return (err != nil && strings.Contains(err.Error(), "violates PodSecurity")) == (level != "privileged")
	})
}
