package kubesim

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestKillAndDisrupt(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		j := &journal{}
		c.SetKubelet(j)
		create(t, k, withSidecar(agent("a")))
		until(t, 20*time.Second, running(c, "a"))
		c.Disrupt(ns, "a")
		if cond := condition(must(t, k, "a"), corev1.DisruptionTarget); cond == nil || cond.Status != corev1.ConditionTrue {
			t.Errorf("condition is %+v", cond)
		}
		c.Kill(ns, "a", "chaos")
		p := must(t, k, "a")
		if p.Status.Phase != corev1.PodFailed || p.Status.Reason != "NodeLost" || p.Status.ContainerStatuses[0].State.Terminated.ExitCode != 137 {
			t.Errorf("killed into %+v", p.Status)
		}
		c.Exit(ns, "a", 0)
		c.Kill(ns, "a", "chaos")
		synctest.Wait()
		if got := fmt.Sprint(j.all()); got != "[started a terminate a by chaos]" {
			t.Errorf("the kubelet was told %v", got)
		}
		// A pod that waits for a Kubernetes node can fail too, and ends there.
		create(t, k, agent("b"))
		c.Evict(ns, "b", "chaos", "Evicted", "The node was low on resource: memory.")
		time.Sleep(time.Minute)
		if p := must(t, k, "b"); p.Status.Phase != corev1.PodFailed || p.Status.Reason != "Evicted" || p.Spec.NodeName != "" {
			t.Errorf("evicted into %+v on %q", p.Status, p.Spec.NodeName)
		}
	})
}

func TestFailedPullsBackOff(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		c.FailPulls(func(p *corev1.Pod) bool { return p.Name == "a" })
		create(t, k, withSidecar(agent("a")))
		create(t, k, agent("b"))
		reason := func(want string) func() bool {
			return func() bool {
				s := c.Pod(ns, "a").Status.ContainerStatuses
				return len(s) > 0 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == want
			}
		}
		until(t, 30*time.Second, reason("ErrImagePull"))
		until(t, 30*time.Second, reason("ImagePullBackOff"))
		until(t, 30*time.Second, running(c, "b"))
		time.Sleep(time.Minute)
		if p := must(t, k, "a"); p.Status.Phase != corev1.PodPending || p.Status.InitContainerStatuses[0].State.Running == nil {
			t.Errorf("a is %+v", p.Status)
		}
		c.FailPulls(nil)
		until(t, 2*time.Minute, running(c, "a"))
	})
}

func TestFailSchedule(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		c.FailSchedule(func(*corev1.Pod) string { return "4 Insufficient cpu." })
		create(t, k, agent("a"))
		time.Sleep(time.Minute)
		cond := condition(must(t, k, "a"), corev1.PodScheduled)
		if cond == nil || cond.Message != "0/4 nodes are available: 4 Insufficient cpu." {
			t.Fatalf("condition is %+v", cond)
		}
		c.FailSchedule(nil)
		until(t, 20*time.Second, running(c, "a"))
	})
}

func TestRefuseAndLose(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		c.Refuse(func(_ *http.Request, verb, resource string) *metav1.Status {
			if verb != "create" || resource != "pods" {
				return nil
			}
			return &metav1.Status{
				Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
				Message: `pods "a" is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5`,
			}
		})
		_, err := k.CoreV1().Pods(ns).Create(ctx, agent("a"), metav1.CreateOptions{})
		if !apierrors.IsForbidden(err) || len(c.Pods()) != 0 {
			t.Errorf("refused with %v", err)
		}
		if _, err := k.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		c.Refuse(nil)
		c.Lose(func(_ *http.Request, verb, _ string) bool { return verb == "create" })
		if _, err = k.CoreV1().Pods(ns).Create(ctx, agent("a"), metav1.CreateOptions{}); err == nil || len(c.Pods()) != 1 {
			t.Errorf("an answer that was lost: %v, %d pods", err, len(c.Pods()))
		}
		c.Lose(nil)
		if _, err = k.CoreV1().Pods(ns).Create(ctx, agent("a"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
			t.Errorf("tried again: %v", err)
		}
	})
}

func TestCutOverASocket(t *testing.T) {
	served(t, Config{Schedule: forever}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		w, err := k.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		c.Cut(500 * time.Millisecond)
		if got := told(t, w, 1); got != "end" {
			t.Errorf("told %s", got)
		}
		soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if _, err := k.CoreV1().Pods(ns).List(soon, metav1.ListOptions{}); err == nil {
			t.Error("reached through a cut")
		}
		until(t, 5*time.Second, func() bool {
			_, err := k.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
			return err == nil
		})
	})
}
