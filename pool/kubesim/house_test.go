package kubesim

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"bellboard/scaler/clock"
)

// process is a Kubelet whose processes end when they are told to, as a simulated agent does.
// An ending process calls the cluster.
type process struct {
	journal
	c *Cluster
}

func (p *process) Terminate(pod *corev1.Pod, by string) {
	p.journal.Terminate(pod, by)
	p.c.Exit(pod.Namespace, pod.Name, 143)
}

// TestManyAtOnce has many pods in real time and fast: nothing races, nothing is left, and
// each pod's calls come in order.
func TestManyAtOnce(t *testing.T) {
	c := New(Config{Clock: clock.Fast(50), Seed: 1, History: 30})
	defer c.Close()
	pr := &process{c: c}
	c.SetKubelet(pr)
	cfg := c.RESTConfig()
	cfg.QPS = -1
	k, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f := informers.NewSharedInformerFactory(k, 0)
	inf := f.Core().V1().Pods().Informer()
	stop := make(chan struct{})
	f.Start(stop)
	defer f.Shutdown()
	defer close(stop)
	f.WaitForCacheSync(stop)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			name := fmt.Sprintf("p%d", i)
			p, err := k.CoreV1().Pods(ns).Create(ctx, withSidecar(agent(name)), metav1.CreateOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			for !running(c, name)() {
				time.Sleep(5 * time.Millisecond)
			}
			if _, err := k.CoreV1().Pods(ns).Patch(ctx, name, types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"busy":"true"}}}`), metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
			switch i % 4 {
			case 0:
				c.Exit(ns, name, 0)
			case 1:
				c.Kill(ns, name, "chaos")
			case 2:
				c.Delete(ns, name, "drain", 10*time.Second)
			}
			if err := k.CoreV1().Pods(ns).Delete(ctx, name, metav1.DeleteOptions{
				GracePeriodSeconds: new(int64(2)), Preconditions: &metav1.Preconditions{UID: &p.UID},
			}); err != nil && !apierrors.IsNotFound(err) { // on a slow machine the drain is over
				t.Error(err)
			}
		})
	}
	wg.Wait()
	until(t, 10*time.Second, func() bool { return len(c.Pods()) == 0 && len(inf.GetStore().List()) == 0 })
	c.Close()
	seen := map[string]int{}
	for _, line := range pr.all() {
		var verb, name string
		_, _ = fmt.Sscan(line, &verb, &name)
		if verb == "terminate" && seen["started "+name] == 0 {
			t.Errorf("%s was terminated before it started", name)
		}
		seen[verb+" "+name]++
	}
	for what, n := range seen {
		if n != 1 {
			t.Errorf("%s %d times", what, n)
		}
	}
	for _, r := range c.nodes {
		if r.pods != 0 {
			t.Errorf("%s still has %d pods", r.name, r.pods)
		}
	}
}

func TestLeaderElection(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, _ *Cluster, k kubernetes.Interface) {
		var mu sync.Mutex
		var leaders []string
		var wg sync.WaitGroup
		run := func(ctx context.Context, id string) {
			wg.Go(func() {
				leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
					Lock: &resourcelock.LeaseLock{
						LeaseMeta: metav1.ObjectMeta{Name: "bellboard", Namespace: ns}, Client: k.CoordinationV1(),
						LockConfig: resourcelock.ResourceLockConfig{Identity: id},
					},
					LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second, ReleaseOnCancel: true,
					Callbacks: leaderelection.LeaderCallbacks{
						OnStartedLeading: func(context.Context) { mu.Lock(); leaders = append(leaders, id); mu.Unlock() },
						OnStoppedLeading: func() {},
					},
				})
			})
		}
		one, end := context.WithCancel(ctx)
		two, endTwo := context.WithCancel(ctx)
		run(one, "one")
		time.Sleep(time.Minute)
		run(two, "two")
		time.Sleep(time.Minute)
		end()
		time.Sleep(10 * time.Second)
		endTwo()
		wg.Wait()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(leaders) != "[one two]" {
			t.Errorf("led by %v", leaders)
		}
	})
}

// TestTwoHours runs two simulated hours of pods that come, are annotated, and go, under an
// informer.
func TestTwoHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{Clock: clock.Real()})
		defer c.Close()
		cfg := c.RESTConfig()
		cfg.QPS = -1
		k, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		f := informers.NewSharedInformerFactory(k, 0)
		inf := f.Core().V1().Pods().Informer()
		stop := make(chan struct{})
		f.Start(stop)
		defer f.Shutdown()
		defer close(stop)
		f.WaitForCacheSync(stop)
		api := k.CoreV1().Pods(ns)
		const alive, lives = 40, 300
		for i := range lives {
			name := fmt.Sprintf("p%d", i)
			p := create(t, k, withSidecar(agent(name)))
			owned(t, k, name, p)
			if i >= alive {
				old := fmt.Sprintf("p%d", i-alive)
				if _, err := api.Patch(ctx, old, types.MergePatchType, []byte(`{"metadata":{"annotations":{"met":"yes"}}}`), metav1.PatchOptions{}); err != nil {
					t.Fatal(err)
				}
				if err := api.Delete(ctx, old, metav1.DeleteOptions{GracePeriodSeconds: new(int64(3))}); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Hour / lives)
		}
		if n := len(inf.GetStore().List()); n != alive || len(c.Secrets()) != alive {
			t.Errorf("%d pods and %d secrets live", n, len(c.Secrets()))
		}
	})
}
