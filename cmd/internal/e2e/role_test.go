//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/pool"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// allKinds has teams whose agents need every right. A persistent agent uses a cache slot, which Bellboard
// deletes as soon as no agent uses it.
var allKinds = []string{
	"BELLBOARD_TEAMS=web,data",
	"BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral",
	"BELLBOARD_TEAM_DATA_LABELS=docker", "BELLBOARD_TEAM_DATA_MODE=persistent", "BELLBOARD_TEAM_DATA_CONNECT=inbound",
	"BELLBOARD_TEAM_DATA_SCALE_DOWN_COOLDOWN=1s", "BELLBOARD_TEAM_DATA_PERSISTENT_IDLE_TIMEOUT=2s", "BELLBOARD_TEAM_DATA_CACHE_KEEP=1s",
	"BELLBOARD_DEFAULT_BUILD_GRACE=30s",
}

// volumes makes volumes for the claims: there is no provisioner here.
func (h *home) volumes(n int) {
	h.t.Helper()
	for i := range n {
		v := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", h.ns, i)},
			Spec: corev1.PersistentVolumeSpec{
				Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("20Gi")},
				// Each test has its own class: otherwise claims of another test would be bound to these
				// volumes.
				StorageClassName:       h.ns,
				AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod},
				PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/nowhere"}},
			},
		}
		if _, err := h.k.CoreV1().PersistentVolumes().Create(h.t.Context(), v, metav1.CreateOptions{}); err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() {
			if err := notFound(h.k.CoreV1().PersistentVolumes().Delete(context.Background(), v.Name, metav1.DeleteOptions{})); err != nil {
				h.t.Error(err)
			}
		})
	}
}

// lifeOf makes the daemon do everything that it ever does. The API server is old and streams no lists. An
// answer is lost, a quota is used up, an agent ends before it has connected, and one event repeats. An agent
// of each kind comes and goes.
func (h *home) lifeOf(d *daemon) {
	d.answerAs(func(r *http.Request) int {
		if r.URL.Query().Get("sendInitialEvents") != "" {
			return http.StatusUnprocessableEntity
		}
		return 0
	})
	lost := nth(1, at("create pods", true))
	d.losing(func(r *http.Request) bool { return lost(moment{r, true}) })
	lift := overQuota(h.t, h.k, h.ns)
	go func() {
		h.submitBoth()
		for end := time.Now().Add(25 * time.Second); h.called("list resourcequotas") == 0 && time.Now().Before(end); {
			time.Sleep(100 * time.Millisecond)
		}
		lift()
		h.endedPod()
		for round := range 2 { // so that the same is said twice
			if round > 0 {
				h.submitBoth()
			}
			for h.t.Context().Err() == nil && (!h.finished() || len(h.left()) > 0) {
				time.Sleep(200 * time.Millisecond)
			}
		}
	}()
}

// submitBoth queues a build for an agent of each kind.
func (h *home) submitBoth() {
	for _, label := range []string{"linux", "docker"} {
		h.jenkins.Submit(jenkinssim.Job{Name: "job", Label: label, Duration: time.Second})
	}
}

// keepAndForget has three daemons after one another create, update and delete the ConfigMap with what was learnt.
func (h *home) keepAndForget(d *daemon) {
	h.t.Helper()
	ticks := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.ticks)
	}
	for round := range 3 {
		began := ticks()
		switch round {
		case 1:
			d = h.start()
			h.submitBoth()
		case 2:
			d = h.start()
			d.app.Drain()
		}
		h.await("some ticks pass", func() bool { return ticks() > began+20 })
		d.cancel()
		if err := d.ended(); err != nil {
			h.t.Error(err)
		}
	}
}

// endedPod makes a pod of Bellboard's whose agent ended before it had connected. Admission heeds a quota for a
// while after its deletion, and Bellboard may patch the pod first. So both are tried again until the test
// ends.
func (h *home) endedPod() {
	ctx, api := h.t.Context(), h.k.CoreV1().Pods(h.ns)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-e-ended", Labels: map[string]string{
			pool.LabelInstance: h.ns, pool.LabelTeam: "web", pool.LabelKind: string(scaler.Ephemeral),
		}},
		Spec: corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "agent", Image: "agent"}}},
	}
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		now, err := api.Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			now, err = api.Get(ctx, pod.Name, metav1.GetOptions{})
		}
		if err != nil {
			continue
		}
		now.Status.Phase = corev1.PodFailed
		now.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "agent", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}},
		}}
		if _, err = api.UpdateStatus(ctx, now, metav1.UpdateOptions{}); err == nil {
			return
		}
	}
}

// TestRole checks that Bellboard uses every verb that install.yaml grants, uses no other, and reports a
// missing one.
func TestRole(t *testing.T) {
	all := rights(t)
	t.Run("used", func(t *testing.T) {
		t.Parallel()
		h := newHome(t, "role", all, allKinds...)
		h.volumes(6)
		d := h.start()
		h.lifeOf(d)
		used := func(atEnd bool) {
			for _, r := range all {
				for _, verb := range r.Verbs {
					if call := verb + " " + r.Resources[0]; atEnd == (r.Resources[0] == "configmaps") {
						h.await("the verb is used: "+call, func() bool { return h.called(call) > 0 })
					}
				}
			}
		}
		used(false)
		h.await("four builds finish", func() bool { return h.jenkins.Stats().Succeeded == 4 })
		h.ends(4)
		h.keepAndForget(d)
		used(true)
		h.mayAll()
	})
	for _, r := range all {
		for _, verb := range r.Verbs {
			name := "no-" + verb + "-" + strings.ReplaceAll(r.Resources[0], "/", "-")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				h := newHome(t, name, without(all, verb, r.Resources[0]), allKinds...)
				h.volumes(2)
				d := h.start()
				h.lifeOf(d)
				if r.Resources[0] == "configmaps" {
					h.keepAndForget(d)
				}
				h.await("it says what it may not do", func() bool {
					return h.reported(d, fmt.Sprintf("cannot %s resource %q", verb, r.Resources[0]))
				})
			})
		}
	}
}

// called returns how often Bellboard sent such a request.
func (h *home) called(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls[what]
}

// reported reports whether a tick, the daemon's error or a line of its log has these words.
func (h *home) reported(d *daemon, words string) bool {
	select {
	case <-d.done:
		if d.err != nil && strings.Contains(d.err.Error(), words) {
			return true
		}
	default:
	}
	return h.told(0, words) || logs.hold(words, "system:serviceaccount:"+h.ns+":")
}
