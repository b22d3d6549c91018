package pool

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"bellboard/scaler"
)

func TestADeletionHitsExactlyThePodThatWasLookedAt(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		old := h.running("web-e-1")
		if err := h.Annotate(ctx, old); err != nil {
			t.Fatal(err)
		}
		is(t, h.DeletePod(ctx, old, soon()), scaler.ErrChanged)
		other := h.pod("web-e-1")
		other.UID = "another"
		is(t, h.DeletePod(ctx, other, soon()), scaler.ErrChanged)
		is(t, h.Annotate(ctx, other), scaler.ErrChanged)
		other.Name = "web-e-2"
		is(t, h.DeletePod(ctx, other, soon()), scaler.ErrGone)
		is(t, h.Annotate(ctx, other), scaler.ErrGone)
		if err := h.DeletePod(ctx, scaler.Pod{Name: "web-e-1", Namespace: "agents"}, soon()); err == nil {
			t.Error("a pod of unknown identity was deleted")
		}
		synctest.Wait()
		if h.pod("web-e-1").Deleting {
			t.Error("the pod is being deleted")
		}
	})
}

func TestNothingIsDeletedLate(t *testing.T) {
	bubble(t, func(h *house) {
		p := h.running("web-e-1")
		is(t, h.DeletePod(context.Background(), p, time.Now().Add(-time.Millisecond)), scaler.ErrExpired)
		if n := h.cluster.Stats().Requests["delete pods"]; n != 0 {
			t.Errorf("%d deletions were sent", n)
		}
	})
}

// TestAnAgentIsUnprotectedAsItWasSeen tests that Unprotect changes only the version that the caller has read.
// A newer version may have a build.
func TestAnAgentIsUnprotectedAsItWasSeen(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		seen := h.running("web-e-1")
		is(t, h.Unprotect(ctx, seen, time.Now().Add(-time.Millisecond)), scaler.ErrExpired)
		if n := h.cluster.Stats().Requests["patch pods"]; n != 0 {
			t.Errorf("%d changes were sent late", n)
		}
		if err := h.Protect(ctx, seen); err != nil {
			t.Fatal(err)
		}
		if err := h.Annotate(ctx, seen); err != nil { // whatever the version: the note stays true
			t.Fatal(err)
		}
		is(t, h.Unprotect(ctx, seen, soon()), scaler.ErrChanged)
		synctest.Wait()
		if !h.pod("web-e-1").Protected {
			t.Error("the pod is not protected any more")
		}
		if err := h.Unprotect(ctx, h.pod("web-e-1"), soon()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if h.pod("web-e-1").Protected {
			t.Error("the pod is still protected")
		}
	})
}

// A request that is late already takes no turn from others.
func TestTheLateTakeUnservedTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *rest.Config) { c.QPS, c.Burst = 0.5, 4 })
		h.start()
		p := h.running("web-e-1")
		began := time.Now()
		for range 100 {
			is(t, h.DeletePod(context.Background(), p, time.Now().Add(-time.Millisecond)), scaler.ErrExpired)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("a hundred late requests wait for %s", took)
		}
	})
}

// client-go lets requests wait for their turn, and the deadline may pass meanwhile.
func TestNothingIsDeletedLateAfterWaitingForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *rest.Config) { c.QPS, c.Burst = 0.5, 4 })
		h.start()
		p := h.running("web-e-1")
		time.Sleep(time.Minute)
		for range 4 {
			if absent, err := h.Absent(context.Background(), "web-e-1"); err != nil || absent {
				t.Fatal(absent, err)
			}
		}
		began := time.Now()
		is(t, h.DeletePod(context.Background(), p, soon()), scaler.ErrExpired)
		if time.Since(began) < time.Second {
			t.Error("the request did not wait for its turn")
		}
		if n := h.cluster.Stats().Requests["delete pods"]; n != 0 {
			t.Errorf("%d deletions were sent", n)
		}
	})
}

func TestWhoDeletes(t *testing.T) {
	bubble(t, func(h *house) {
		h.running("web-e-1")
		h.cluster.Disrupt("agents", "web-e-1")
		synctest.Wait()
		if p := h.pod("web-e-1"); !p.Disrupted || p.Deleting || !p.Ends.IsZero() {
			t.Errorf("after the announcement the pod is %+v", p)
		}
		h.cluster.Delete("agents", "web-e-1", "drain", -1)
		synctest.Wait()
		p := h.pod("web-e-1")
		if !p.Deleting || p.DeletingByUs || time.Until(p.Ends) < minGrace-time.Second {
			t.Errorf("after the drain the pod is %+v", p)
		}
		// The pod's build has ended, and Bellboard shortens the grace. An API server makes one second of that
		// grace, which anybody could have given. The kubelet keeps the first grace.
		time.Sleep(time.Minute)
		if err := h.DeletePod(context.Background(), h.pod("web-e-1"), soon()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if grace := *h.cluster.Pod("agents", "web-e-1").DeletionGracePeriodSeconds; grace != 1 {
			t.Errorf("a second deletion's grace is %d", grace)
		}
		for range 2 { // a second look returns the same
			if now := h.pod("web-e-1"); !now.DeletingByUs || !now.Ends.Equal(p.Ends) {
				t.Errorf("after the deletion the pod is %+v; want its end at %s", now, p.Ends)
			}
		}
		// The kubelet does not stop the hook that runs since the first deletion.
		h.await(h.specs[inbound].BuildGrace+5*time.Second, func() bool { return len(h.pods()) == 0 })
	})
}

// TestOurDeletionIsQuick tests that a deleted agent's place under a cap and on the Kubernetes node is free
// soon. Bellboard deletes idle agents only. No usual deletion by others looks like Bellboard's.
func TestOurDeletionIsQuick(t *testing.T) {
	bubble(t, func(h *house) {
		for _, id := range []scaler.PoolID{inbound, keeping} {
			name := id.Team + "-x-1"
			h.secret(h.create(name, id))
			h.await(time.Minute, func() bool { return h.pod(name).Phase == scaler.PodRunning })
			p := h.pod(name)
			began := time.Now()
			if err := h.DeletePod(context.Background(), p, soon()); err != nil {
				t.Fatal(err)
			}
			h.await(time.Minute, func() bool { return h.cluster.Pod(p.Namespace, name) == nil })
			took := time.Since(began)
			t.Logf("the pod of %s is gone after %s", name, took)
			if took > 3500*time.Millisecond {
				t.Errorf("the pod of %s is gone after %s, want 3.5 s at most", name, took)
			}
			for _, grace := range []int64{0, 1, 30, int64(h.specs[id].BuildGrace / time.Second)} {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: began}, DeletionGracePeriodSeconds: &grace}}
				pod.Spec.NodeName, pod.Status.Phase = "machine", corev1.PodRunning
				if convert(pod).DeletingByUs {
					t.Errorf("another's deletion with a grace of %d s counts as Bellboard's", grace)
				}
				// If nothing of a pod runs, an API server changes every grace to 0.
				pod.Status.Phase = corev1.PodFailed
				if got := convert(pod).DeletingByUs; got != (grace == 0) {
					t.Errorf("for a pod that has ended, a deletion with a grace of %d s is Bellboard's: %v", grace, got)
				}
			}
		}
	})
}

// A mesh's proxy beside the agent runs on when the agent has ended. The kubelet ends a sidecar after the
// agent.
func TestAnAgentThatEndsBesideAnotherContainerHasEnded(t *testing.T) {
	for code, want := range map[int]scaler.PodPhase{0: scaler.PodSucceeded, 3: scaler.PodFailed} {
		bubble(t, func(h *house) {
			h.cluster.Inject(func(p *corev1.Pod) {
				proxy := corev1.Container{Name: "istio-proxy", Image: "proxy"}
				p.Spec.Containers = append([]corev1.Container{}, p.Spec.Containers[0], proxy)
			})
			h.running("web-e-1")
			h.secret(h.create("data-p-1", keeping))
			h.await(time.Minute, func() bool { return h.pod("data-p-1").Phase == scaler.PodRunning })
			for _, name := range []string{"web-e-1", "data-p-1"} {
				ns := h.pod(name).Namespace
				h.cluster.Exit(ns, name, code)
				time.Sleep(time.Minute)
				p := h.pod(name)
				if shown := h.cluster.Pod(ns, name).Status.Phase; shown != corev1.PodRunning || p.Phase != want {
					t.Errorf("%s ended with %d: the phase is %s, Kubernetes shows %s; want %s", name, code, p.Phase, shown, want)
				}
				if failed := want == scaler.PodFailed; failed != (p.Failure == scaler.FailureCrashLoop) || failed && !strings.Contains(p.TroubleText, "exit code 3") {
					t.Errorf("%s: %q, %q", name, p.Failure, p.TroubleText)
				}
				other := p
				other.UID = "another"
				is(t, h.DeletePod(context.Background(), other, soon()), scaler.ErrChanged)
				if err := h.DeletePod(context.Background(), p, soon()); err != nil {
					t.Fatal(err)
				}
			}
			h.await(20*time.Second, func() bool { return len(h.pods()) == 0 })
		})
	}
}

func TestAbsentAsksTheServer(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		h.create("data-p-1", keeping)
		// Absent asks in every namespace, since the pool's namespace may have been another one.
		if absent, err := h.Absent(ctx, "data-p-1"); err != nil || absent {
			t.Error(absent, err)
		}
		if absent, err := h.Absent(ctx, "data-p-2"); err != nil || !absent {
			t.Error(absent, err)
		}
		h.cluster.Cut(time.Hour)
		if absent, err := h.Absent(ctx, "data-p-2"); err == nil || absent {
			t.Error("Absent returned true, or no error, without an answer")
		}
	})
}

// Until the watch shows Bellboard's own deletion, Observe shows the pod as being deleted. Otherwise a build
// could still start on the pod.
func TestOurOwnDeletionIsKnownAtOnce(t *testing.T) {
	bubble(t, func(h *house) {
		p := h.running("web-e-1")
		f := h.namespaces[p.Namespace].pods
		behind := h.cluster.Pod(p.Namespace, "web-e-1")
		if err := h.DeletePod(context.Background(), p, soon()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := f.Update(behind); err != nil { // a cache that lags
			t.Fatal(err)
		}
		if p := h.pod("web-e-1"); !p.Deleting || !p.DeletingByUs {
			t.Errorf("the pod is deleting: %v, by Bellboard: %v; want both", p.Deleting, p.DeletingByUs)
		}
		if err := f.Delete(behind); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Observe(context.Background()); err != nil || len(f.deleted) > 0 { // the pod is gone
			t.Errorf("Observe() = %v, and the cache still has %d deletions; want none", err, len(f.deleted))
		}
	})
}
