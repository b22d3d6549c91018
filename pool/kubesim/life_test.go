package kubesim

import (
	"context"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

var ctx = context.Background()

func TestAPodComesUpStepByStep(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		j := &journal{}
		c.SetKubelet(j)
		p := create(t, k, withSidecar(agent("a")))
		if p.Status.Phase != corev1.PodPending || p.Spec.NodeName != "" || len(p.Status.Conditions) != 0 {
			t.Fatalf("born as %+v", p.Status)
		}
		took := until(t, 20*time.Second, running(c, "a"))
		if took < 4*time.Second || took > 12*time.Second {
			t.Errorf("two pulls, a sidecar and a start took %v", took)
		}
		synctest.Wait()
		p = must(t, k, "a")
		for _, want := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady} {
			if cond := condition(p, want); cond == nil || cond.Status != corev1.ConditionTrue || cond.LastTransitionTime.IsZero() {
				t.Errorf("condition %s is %+v", want, cond)
			}
		}
		if p.Status.PodIP == "" || p.Status.StartTime == nil || p.Spec.NodeName == "" {
			t.Errorf("status is %+v", p.Status)
		}
		side, main := p.Status.InitContainerStatuses[0], p.Status.ContainerStatuses[0]
		if side.State.Running == nil || !side.Ready || main.State.Running == nil || !main.Ready {
			t.Errorf("containers are %+v and %+v", side, main)
		}
		if !main.State.Running.StartedAt.After(side.State.Running.StartedAt.Time) {
			t.Errorf("main started at %v, its sidecar at %v", main.State.Running.StartedAt, side.State.Running.StartedAt)
		}
		// The first node has the images now. The next pods go to other nodes, which pull the
		// images again. The fifth pod is back on the first node.
		for _, n := range []string{"b", "c", "d", "e"} {
			create(t, k, withSidecar(agent(n)))
			until(t, 20*time.Second, running(c, n))
		}
		if e := c.Pod(ns, "e"); e.Status.ContainerStatuses[0].State.Running.StartedAt.Sub(e.CreationTimestamp.Time) > 6*time.Second {
			t.Errorf("e took long though its images were there: %v", e.Status.ContainerStatuses[0])
		}
		if got := j.all(); len(got) != 5 || got[0] != "started a" {
			t.Errorf("the kubelet was told %v", got)
		}
	})
}

func TestExit(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		create(t, k, withSidecar(agent("good")))
		create(t, k, agent("bad"))
		until(t, 20*time.Second, running(c, "good"))
		until(t, 20*time.Second, running(c, "bad"))
		c.Exit(ns, "good", 0)
		c.Exit(ns, "bad", 3)
		p := must(t, k, "good")
		if p.Status.Phase != corev1.PodRunning || p.Status.ContainerStatuses[0].State.Terminated == nil {
			t.Errorf("with a sidecar still up: %+v", p.Status)
		}
		time.Sleep(2 * time.Second)
		p = must(t, k, "good")
		if p.Status.Phase != corev1.PodSucceeded || p.Status.InitContainerStatuses[0].State.Terminated == nil {
			t.Errorf("good ended as %+v", p.Status)
		}
		p = must(t, k, "bad")
		if s := p.Status.ContainerStatuses[0].State.Terminated; p.Status.Phase != corev1.PodFailed || s == nil || s.ExitCode != 3 || s.Reason != "Error" {
			t.Errorf("bad ended as %+v", p.Status)
		}
		if cond := condition(p, corev1.PodReady); cond.Status != corev1.ConditionFalse {
			t.Errorf("bad is ready")
		}
		// A pod that has ended goes at once, whatever the grace.
		if err := k.CoreV1().Pods(ns).Delete(ctx, "bad", metav1.DeleteOptions{GracePeriodSeconds: new(int64(30))}); err != nil {
			t.Fatal(err)
		}
		if c.Pod(ns, "bad") != nil {
			t.Error("bad is still there")
		}
	})
}

func TestGracefulDeletionRunsPreStopThenTerminates(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		j := &journal{}
		c.SetKubelet(j)
		hour := &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 3600}}
		create(t, k, withSleep(agent("a"), hour, 3600))
		until(t, 20*time.Second, running(c, "a"))
		start := time.Now()
		c.Delete(ns, "a", "drain", -1)
		p := must(t, k, "a")
		if p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 3600 || p.DeletionTimestamp.Sub(start) > time.Hour {
			t.Fatalf("deletion is %v, %v", p.DeletionTimestamp, p.DeletionGracePeriodSeconds)
		}
		time.Sleep(10 * time.Minute)
		if got := j.all(); len(got) != 1 {
			t.Fatalf("the kubelet was told %v", got)
		}
		// A longer grace changes nothing. A shorter grace is stored, and does not cut the hook.
		if err := k.CoreV1().Pods(ns).Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: new(int64(7200))}); err != nil {
			t.Fatal(err)
		}
		if got := *must(t, k, "a").DeletionGracePeriodSeconds; got != 3600 {
			t.Fatalf("grace became %d", got)
		}
		if err := k.CoreV1().Pods(ns).Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: new(int64(1000))}); err != nil {
			t.Fatal(err)
		}
		if p := must(t, k, "a"); *p.DeletionGracePeriodSeconds != 1000 || !p.DeletionTimestamp.Equal(&metav1.Time{Time: start.Add(1000 * time.Second).Truncate(time.Second)}) {
			t.Fatalf("grace became %d, of a pod that is to end at %s; begun at %s", *p.DeletionGracePeriodSeconds, p.DeletionTimestamp, start)
		}
		time.Sleep(20 * time.Minute)
		// A grace that is over already, counted from the first deletion, becomes one second.
		if err := k.CoreV1().Pods(ns).Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: new(int64(5))}); err != nil {
			t.Fatal(err)
		}
		if p := must(t, k, "a"); *p.DeletionGracePeriodSeconds != 1 || time.Since(p.DeletionTimestamp.Time) > time.Second {
			t.Fatalf("grace became %d, of a pod that is to end at %s", *p.DeletionGracePeriodSeconds, p.DeletionTimestamp)
		}
		took := until(t, time.Hour, goneFrom(c, "a"))
		if took < 30*time.Minute || took > 30*time.Minute+3*time.Second {
			t.Errorf("gone after %v", took)
		}
		if got, want := j.all(), []string{"started a", "terminate a by drain"}; !reflect.DeepEqual(got, want) {
			t.Errorf("the kubelet was told %v", got)
		}
	})
}

// TestAShortGraceCutsPreStop: the grace of the first deletion bounds the hook. The process is
// then told to end, and has two seconds more.
func TestAShortGraceCutsPreStop(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		for name, pod := range map[string]*corev1.Pod{"alone": agent("alone"), "beside": withSidecar(agent("beside"))} {
			pod = withSleep(pod, &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 600}}, 600)
			pod.Finalizers = []string{"test/keeps"}
			create(t, k, pod)
			until(t, 20*time.Second, running(c, name))
			c.Delete(ns, name, "bellboard", 2*time.Second)
			took := until(t, time.Minute, func() bool { return ended(c.Pod(ns, name)) })
			if took < 2*time.Second || took > 4*time.Second {
				t.Errorf("%s ended after %v, want a little more than 2 s", name, took)
			}
			if code := c.Pod(ns, name).Status.ContainerStatuses[0].State.Terminated.ExitCode; code != terminated {
				t.Errorf("%s ended with %d, want %d", name, code, terminated)
			}
		}
	})
}

// TestExitDuringPreStop: the kubelet's own sleep goes on when the process has ended.
func TestExitDuringPreStop(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		j := &journal{}
		c.SetKubelet(j)
		create(t, k, withSleep(agent("own"), &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 600}}, 900))
		until(t, 20*time.Second, running(c, "own"))
		c.Delete(ns, "own", "drain", -1)
		time.Sleep(time.Minute)
		c.Exit(ns, "own", 0)
		if took := until(t, time.Hour, goneFrom(c, "own")); took < 8*time.Minute {
			t.Errorf("own went after %v", took)
		}
		if got := j.all(); len(got) != 1 {
			t.Errorf("a process that had ended was told to: %v", got)
		}
	})
}

func TestDeletionWithoutGrace(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		j := &journal{}
		c.SetKubelet(j)
		create(t, k, agent("early"))
		if err := k.CoreV1().Pods(ns).Delete(ctx, "early", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if c.Pod(ns, "early") != nil {
			t.Error("a pod without a node goes at once")
		}
		create(t, k, agent("a"))
		until(t, 20*time.Second, running(c, "a"))
		if err := k.CoreV1().Pods(ns).Delete(ctx, "a", metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
			t.Fatal(err)
		}
		if c.Pod(ns, "a") != nil {
			t.Error("a is still there")
		}
		synctest.Wait()
		if got, want := j.all(), []string{"started a", "terminate a by bellboard"}; !reflect.DeepEqual(got, want) {
			t.Errorf("the kubelet was told %v", got)
		}
	})
}

func TestAPodWaitsForItsSecret(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		p := agent("a")
		p.Spec.Volumes = []corev1.Volume{{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "a"}}}}
		p = create(t, k, p)
		time.Sleep(20 * time.Second)
		got := must(t, k, "a")
		if w := got.Status.ContainerStatuses[0].State.Waiting; w == nil || w.Reason != "ContainerCreating" {
			t.Fatalf("a is %+v", got.Status.ContainerStatuses)
		}
		owned(t, k, "a", p)
		until(t, 30*time.Second, running(c, "a"))

		// With the pod its Secret goes. A Secret of an unknown owner goes too.
		owned(t, k, "late", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "gone"}})
		c.Delete(ns, "a", "someone", 0)
		until(t, 5*time.Second, func() bool { return len(c.Secrets()) == 0 })
	})
}

func owned(t *testing.T, k kubernetes.Interface, name string, by *corev1.Pod) {
	t.Helper()
	_, err := k.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "v1", Kind: "Pod", Name: by.Name, UID: by.UID,
		}}},
		StringData: map[string]string{"s": "x"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// TestExitBesideAnother: a plain container that does not end keeps the pod.
func TestExitBesideAnother(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		c.Inject(func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "proxy", Image: "proxy"})
		})
		create(t, k, agent("a"))
		until(t, time.Minute, running(c, "a"))
		c.Exit(ns, "a", 3)
		time.Sleep(time.Hour)
		p := c.Pod(ns, "a")
		if p == nil || p.Status.Phase != corev1.PodRunning {
			t.Fatalf("it is %+v", p)
		}
		first, second := p.Status.ContainerStatuses[0].State, p.Status.ContainerStatuses[1].State
		if first.Terminated == nil || first.Terminated.ExitCode != 3 || second.Running == nil {
			t.Errorf("the first is %+v, the second %+v", first, second)
		}
		c.Delete(ns, "a", "somebody", -1)
		until(t, time.Minute, func() bool { return c.Pod(ns, "a") == nil })
	})
}

func slot(name string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}},
		},
	}
}

func onSlot(p *corev1.Pod, claim string) *corev1.Pod {
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "cache", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}})
	return p
}

func TestClaims(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		create(t, k, onSlot(agent("a"), "s"))
		time.Sleep(5 * time.Second)
		p := must(t, k, "a")
		if cond := condition(p, corev1.PodScheduled); cond == nil || cond.Status != corev1.ConditionFalse || cond.Reason != corev1.PodReasonUnschedulable {
			t.Fatalf("without its claim: %+v", p.Status)
		}
		if _, err := k.CoreV1().PersistentVolumeClaims(ns).Create(ctx, slot("s"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		until(t, 20*time.Second, running(c, "a"))
		if got := c.PVCs()[0].Status.Phase; got != corev1.ClaimBound {
			t.Errorf("the claim in use is %s", got)
		}
		// ReadWriteOncePod: a second pod waits until the first is gone.
		create(t, k, onSlot(agent("b"), "s"))
		time.Sleep(20 * time.Second)
		if p := must(t, k, "b"); p.Spec.NodeName != "" {
			t.Fatalf("b shares the claim on %s", p.Spec.NodeName)
		}
		c.Exit(ns, "a", 0)
		until(t, 20*time.Second, running(c, "b"))
		c.Delete(ns, "a", "someone", 0)
		// A deleted claim stays until its pod is gone.
		if err := k.CoreV1().PersistentVolumeClaims(ns).Delete(ctx, "s", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if s := c.PVCs(); len(s) != 1 || s[0].DeletionTimestamp == nil {
			t.Fatalf("claims are %v", s)
		}
		c.Exit(ns, "b", 0)
		time.Sleep(time.Minute)
		if len(c.PVCs()) != 1 {
			t.Error("a pod that has ended but is still there holds its claim")
		}
		c.Delete(ns, "b", "someone", -1)
		until(t, 5*time.Second, func() bool { return len(c.PVCs()) == 0 })
		if _, err := k.CoreV1().PersistentVolumeClaims(ns).Get(ctx, "s", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("get says %v", err)
		}
	})
}

func TestTheSameSeedGivesTheSameLife(t *testing.T) {
	life := func(seed int64, order []string) (out map[string]time.Duration) {
		bubble(t, Config{Seed: seed}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
			out = map[string]time.Duration{}
			for _, n := range order {
				create(t, k, agent(n))
			}
			for _, n := range order {
				until(t, time.Minute, running(c, n))
				p := c.Pod(ns, n)
				out[n+string(p.UID)] = 0
			}
		})
		return out
	}
	a, b := life(1, []string{"a", "b"}), life(1, []string{"b", "a"})
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%v and %v", a, b)
	}
	if reflect.DeepEqual(a, life(2, []string{"a", "b"})) {
		t.Error("another seed gave the same life")
	}
}
