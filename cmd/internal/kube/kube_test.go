//go:build e2e

package kube

import (
	"errors"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestControlPlane checks what Start promises.
func TestControlPlane(t *testing.T) {
	began := time.Now()
	c, err := Start(t.Context(), Options{})
	Need(t, err)
	defer func() {
		pids, dir := c.Pids(), c.opts.Dir
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		for name, pid := range pids {
			if _, err := os.Stat("/proc/" + number(pid)); err == nil {
				t.Errorf("%s runs after Stop", name)
			}
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is there after Stop", dir)
		}
	}()
	t.Logf("up after %s: %v", time.Since(began).Round(10*time.Millisecond), c.Pids())
	pods := c.Client().CoreV1().Pods("default")
	phase := func(want corev1.PodPhase) func() error {
		return func() error {
			p, err := pods.Get(t.Context(), "p", metav1.GetOptions{})
			if err == nil && p.Status.Phase != want {
				err = errors.New("the pod is " + string(p.Status.Phase))
			}
			return err
		}
	}
	made, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i:1"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.until(t.Context(), "the pod runs", phase(corev1.PodRunning)); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	if err := c.RestartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the API server is back after %s", time.Since(began).Round(10*time.Millisecond))
	if p, err := pods.Get(t.Context(), "p", metav1.GetOptions{}); err != nil || p.UID != made.UID {
		t.Errorf("after a restart of the API server the pod is %v, %v", p, err)
	}
	if err := pods.Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.until(t.Context(), "the pod is gone", func() error {
		_, err := pods.Get(t.Context(), "p", metav1.GetOptions{})
		if err == nil {
			return errors.New("it is there")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
