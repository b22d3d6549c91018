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
			t.Error("it is being deleted")
		}
	})
}

func TestNothingIsDeletedLate(t *testing.T) {
	bubble(t, func(h *house) {
		p := h.running("web-e-1")
		is(t, h.DeletePod(context.Background(), p, time.Now().Add(-time.Millisecond)), scaler.ErrLate)
		if n := h.cluster.Stats().Requests["delete pods"]; n != 0 {
			t.Errorf("%d deletions were sent", n)
		}
	})
}

// TestAnAgentIsUnprotectedAsItWasSeen: it may have a build since.
func TestAnAgentIsUnprotectedAsItWasSeen(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		seen := h.running("web-e-1")
		is(t, h.Unprotect(ctx, seen, time.Now().Add(-time.Millisecond)), scaler.ErrLate)
		if n := h.cluster.Stats().Requests["patch pods"]; n != 0 {
			t.Errorf("%d changes were sent late", n)
		}
		if err := h.Protect(ctx, seen); err != nil {
			t.Fatal(err)
		}
		if err := h.Annotate(ctx, seen); err != nil { // of whatever version: it stays true
			t.Fatal(err)
		}
		is(t, h.Unprotect(ctx, seen, soon()), scaler.ErrChanged)
		synctest.Wait()
		if !h.pod("web-e-1").Protected {
			t.Error("it is not protected any more")
		}
		if err := h.Unprotect(ctx, h.pod("web-e-1"), soon()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if h.pod("web-e-1").Protected {
			t.Error("it is still protected")
		}
	})
}

// What is late already does not take the turn of what is not.
func TestTheLateTakeNobodysTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(c *rest.Config) { c.QPS, c.Burst = 0.5, 4 })
		h.start()
		p := h.running("web-e-1")
		began := time.Now()
		for range 100 {
			is(t, h.DeletePod(context.Background(), p, time.Now().Add(-time.Millisecond)), scaler.ErrLate)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("a hundred of them wait for %s", took)
		}
	})
}

// client-go lets requests wait for their turn; a deadline may pass meanwhile.
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
		is(t, h.DeletePod(context.Background(), p, soon()), scaler.ErrLate)
		if time.Since(began) < time.Second {
			t.Error("it did not wait for its turn")
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
			t.Errorf("announced: %+v", p)
		}
		h.cluster.Delete("agents", "web-e-1", "drain", -1)
		synctest.Wait()
		p := h.pod("web-e-1")
		if !p.Deleting || p.DeletingByUs || time.Until(p.Ends) < minGrace-time.Second {
			t.Errorf("drained: %+v", p)
		}
		// Its build has ended: Bellboard shortens the grace. An API server makes one second
		// of it, which anybody could have given. The kubelet holds to what it began with.
		time.Sleep(time.Minute)
		if err := h.DeletePod(context.Background(), h.pod("web-e-1"), soon()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if grace := *h.cluster.Pod("agents", "web-e-1").DeletionGracePeriodSeconds; grace != 1 {
			t.Errorf("a second deletion's grace is %d", grace)
		}
		for range 2 { // however often it is looked at
			if now := h.pod("web-e-1"); !now.DeletingByUs || !now.Ends.Equal(p.Ends) {
				t.Errorf("deleted, it is %+v; want it to end at %s", now, p.Ends)
			}
		}
		// The kubelet does not cut the hook that it runs since the first deletion.
		h.await(h.specs[inbound].BuildGrace+5*time.Second, func() bool { return len(h.pods()) == 0 })
	})
}

// TestOurDeletionIsQuick: Bellboard deletes idle agents only, and their place under a cap
// and on the machine is free soon. It looks like nobody else's usual deletion.
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
					t.Errorf("somebody's deletion with %d seconds is taken for Bellboard's", grace)
				}
				// Of a pod of which nothing runs, an API server makes every grace 0.
				pod.Status.Phase = corev1.PodFailed
				if got := convert(pod).DeletingByUs; got != (grace == 0) {
					t.Errorf("of a pod that has ended, a deletion with %d seconds is Bellboard's: %v", grace, got)
				}
			}
		}
	})
}

// A mesh's proxy beside the agent does not know that the agent has ended; a sidecar of
// the kubelet's ends after it.
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
					t.Errorf("%s ended with %d and is %s, to Kubernetes %s; want %s", name, code, p.Phase, shown, want)
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
		// Wherever it is: the pool's namespace may have been another one.
		if absent, err := h.Absent(ctx, "data-p-1"); err != nil || absent {
			t.Error(absent, err)
		}
		if absent, err := h.Absent(ctx, "data-p-2"); err != nil || !absent {
			t.Error(absent, err)
		}
		h.cluster.Cut(time.Hour)
		if absent, err := h.Absent(ctx, "data-p-2"); err == nil || absent {
			t.Error("nobody answered, and that was taken for an answer")
		}
	})
}

// Between our deletion and the cache hearing of it the pod is shown as going:
// otherwise a build that asks for its agent could still be let onto it.
func TestOurOwnDeletionIsKnownAtOnce(t *testing.T) {
	bubble(t, func(h *house) {
		p := h.running("web-e-1")
		f := h.namespace(p.Namespace).pods
		behind := f.objects["web-e-1"]
		if err := h.DeletePod(context.Background(), p, soon()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		f.mu.Lock()
		f.objects["web-e-1"] = behind // a cache that lags
		f.mu.Unlock()
		if p := h.pod("web-e-1"); !p.Deleting || !p.DeletingByUs {
			t.Errorf("it shows as deleting: %v, by us: %v; want both", p.Deleting, p.DeletingByUs)
		}
		f.mu.Lock()
		delete(f.objects, "web-e-1")
		f.mu.Unlock()
		if _, err := h.Observe(context.Background()); err != nil || len(f.deleted) > 0 { // it is gone
			t.Errorf("Observe() = %v, and %d deletions are still remembered; want none", err, len(f.deleted))
		}
	})
}
