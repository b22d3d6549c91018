package pool

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"bellboard/pool/kubesim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

func (h *house) slots() []scaler.Slot {
	h.t.Helper()
	view, err := h.Observe(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return view.Slots
}

// slot returns the only slot, after the cache has caught up.
func (h *house) slot() scaler.Slot {
	h.t.Helper()
	synctest.Wait()
	all := h.slots()
	if len(all) != 1 {
		h.t.Fatalf("the slots are %+v, not one", all)
	}
	return all[0]
}

// used makes a slot that an agent has used, and deletes the agent. connected says whether the agent had
// connected.
func (h *house) used(connected bool) scaler.Slot {
	h.t.Helper()
	ctx := context.Background()
	h.secret(h.create("data-p-1", keeping))
	h.await(time.Minute, func() bool { return h.pod("data-p-1").Phase == scaler.PodRunning })
	if connected {
		if err := h.Annotate(ctx, h.pod("data-p-1")); err != nil {
			h.t.Fatal(err)
		}
		synctest.Wait()
	}
	time.Sleep(time.Hour)
	if err := h.DeletePod(ctx, h.pod("data-p-1"), soon()); err != nil {
		h.t.Fatal(err)
	}
	h.await(time.Minute, func() bool { return len(h.pods()) == 0 })
	return h.slot()
}

func TestASlotOutlivesItsAgentsAndKnowsItsHistory(t *testing.T) {
	bubble(t, func(h *house) {
		ctx, began := context.Background(), time.Now()
		first := h.used(true)
		if first.PoolID != keeping || first.Namespace != "data" || first.Uses != 1 || !first.Bound || first.Deleting || first.Size != 20<<30 || first.Keep != scaler.SlotKeep {
			t.Errorf("after its first agent the slot is %+v", first)
		}
		if since := first.LastUsed.Sub(began); since < time.Hour || since > time.Hour+2*time.Minute {
			t.Errorf("the slot's use ended %s after its begin, want an hour", since)
		}
		claim := h.cluster.PVCs()[0]
		if len(claim.OwnerReferences) != 0 || claim.Spec.AccessModes[0] != corev1.ReadWriteOncePod {
			t.Errorf("the slot's claim is %+v", claim)
		}
		p, err := h.Create(ctx, "data-p-2", keeping, first, scaler.Birth{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Slot != first.Name || p.Warmth != scaler.Warm {
			t.Errorf("the next agent is %+v, not a warm one on %s", p, first.Name)
		}
		if got := h.slot(); got.Uses != 2 || !got.LastUsed.After(first.LastUsed) {
			t.Errorf("after the second agent the slot is %+v", got)
		}
		if n := h.cluster.Stats().Requests["create persistentvolumeclaims"]; n != 1 {
			t.Errorf("%d claims were made", n)
		}
	})
}

// An agent that never connected has not used its cache. The note from the begin of its use stays.
func TestTheEndOfNoUseIsNotNoted(t *testing.T) {
	bubble(t, func(h *house) {
		began := time.Now()
		if got := h.used(false).LastUsed.Sub(began); got > time.Minute {
			t.Errorf("the slot's use ended after %s", got)
		}
	})
}

// Two processes that have read the same free slot try to take it. The second gets ErrChanged, and makes no
// pod.
func TestASlotIsTakenOnce(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		seen := h.used(true)
		if _, err := h.Create(ctx, "data-p-2", keeping, seen, scaler.Birth{}); err != nil {
			t.Fatal(err)
		}
		_, err := h.Create(ctx, "data-p-3", keeping, seen, scaler.Birth{})
		is(t, err, scaler.ErrChanged)
		other := seen
		other.UID, other.ResourceVersion = "another", h.slot().ResourceVersion
		_, err = h.Create(ctx, "data-p-3", keeping, other, scaler.Birth{})
		is(t, err, scaler.ErrChanged)
		if got := len(h.cluster.Pods()); got != 1 {
			t.Errorf("there are %d pods", got)
		}
	})
}

func TestASlotThatGoesIsNotTaken(t *testing.T) {
	for name, finish := range map[string]bool{"on its way": false, "gone": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(h *house) {
				ctx := context.Background()
				seen := h.used(true)
				if !finish { // a finalizer of somebody else keeps the claim
					patch := []byte(`{"metadata":{"finalizers":["example.com/held"]}}`)
					if _, err := h.client.CoreV1().PersistentVolumeClaims("data").Patch(ctx, seen.Name, "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				if err := h.client.CoreV1().PersistentVolumeClaims("data").Delete(ctx, seen.Name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if !finish {
					if seen = h.slot(); !seen.Deleting {
						t.Fatalf("the slot is %+v", seen)
					}
				}
				_, err := h.Create(ctx, "data-p-2", keeping, seen, scaler.Birth{})
				is(t, err, scaler.ErrChanged)
				if got := len(h.cluster.Pods()); got != 0 {
					t.Errorf("there are %d pods", got)
				}
			})
		})
	}
}

// If the note on the slot fails, the agent is created all the same.
func TestANoteThatCannotBeMadeKeepsNobody(t *testing.T) {
	bubble(t, func(h *house) {
		seen := h.used(true)
		h.refuse("patch persistentvolumeclaims", apierrors.NewForbidden(claimsGroup, "x", errors.New("no role")))
		if p, err := h.Create(context.Background(), "data-p-2", keeping, seen, scaler.Birth{}); err != nil || p.Slot != seen.Name {
			t.Errorf("Create() = %+v, %v", p, err)
		}
	})
}

func TestAnAgentNeedsASlotWhereItLives(t *testing.T) {
	bubble(t, func(h *house) {
		for _, s := range []scaler.Slot{{}, {Name: "data-cache-1", Namespace: "agents"}} {
			if _, err := h.Create(context.Background(), "data-p-1", keeping, s, scaler.Birth{}); err == nil || !strings.Contains(err.Error(), "namespace data") {
				t.Errorf("on slot %+v: %v", s, err)
			}
		}
		if len(h.cluster.PVCs())+len(h.cluster.Pods()) != 0 {
			t.Error("a claim or a pod was created")
		}
	})
}

func TestAClaimThatIsRefusedMakesNoPod(t *testing.T) {
	bubble(t, func(h *house) {
		h.refuse("create persistentvolumeclaims", apierrors.NewForbidden(claimsGroup, "x", errors.New("exceeded quota: storage")))
		_, err := h.Create(context.Background(), "web-p-1", swarm, h.newSlot("web-p-1", swarm), scaler.Birth{})
		is(t, err, scaler.ErrRejected)
		if len(h.cluster.Pods()) != 0 {
			t.Error("a pod was created, and would wait for ever")
		}
	})
}

// A crash between claim and pod leaves a free slot, which the next agent takes.
func TestASlotWithoutAPodIsAFreeOne(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		h.refuse("create pods", apierrors.NewForbidden(podsResource, "x", errors.New("exceeded quota: pods")))
		_, err := h.Create(ctx, "data-p-1", keeping, h.newSlot("data-p-1", keeping), scaler.Birth{})
		is(t, err, scaler.ErrRejected)
		h.cluster.Refuse(nil)
		p, err := h.Create(ctx, "data-p-2", keeping, h.slot(), scaler.Birth{})
		if err != nil || p.Warmth != scaler.Cold {
			t.Fatalf("Create() = %+v, %v", p, err)
		}
		h.secret(p)
		h.await(time.Minute, func() bool { return h.pod("data-p-2").Phase == scaler.PodRunning })
	})
}

func TestADeletionHitsExactlyTheSlotThatWasLookedAt(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		seen := h.used(true)
		other := seen
		other.UID = "another"
		is(t, h.DeleteSlot(ctx, other, soon()), scaler.ErrChanged)
		other = seen
		other.ResourceVersion = "1"
		is(t, h.DeleteSlot(ctx, other, soon()), scaler.ErrChanged)
		is(t, h.DeleteSlot(ctx, seen, time.Now().Add(-time.Millisecond)), scaler.ErrExpired)
		if err := h.DeleteSlot(ctx, scaler.Slot{Name: seen.Name, Namespace: "data"}, soon()); err == nil {
			t.Error("a slot of unknown identity was deleted")
		}
		if len(h.cluster.PVCs()) != 1 {
			t.Fatal("the claim is gone")
		}
		if err := h.DeleteSlot(ctx, seen, soon()); err != nil {
			t.Fatal(err)
		}
		h.await(time.Minute, func() bool { return len(h.slots()) == 0 })
		is(t, h.DeleteSlot(ctx, seen, soon()), scaler.ErrGone)
	})
}

// Kubernetes keeps a claim while a pod uses it, and the slot shows as being deleted.
func TestASlotInUseIsNotGoneBeforeItsPod(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		h.secret(h.create("data-p-1", keeping))
		h.await(time.Minute, func() bool { return h.pod("data-p-1").Phase == scaler.PodRunning })
		if err := h.DeleteSlot(ctx, h.slot(), soon()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if s := h.slot(); !s.Deleting {
			t.Errorf("the slot is %+v", s)
		}
		if err := h.DeletePod(ctx, h.pod("data-p-1"), soon()); err != nil {
			t.Fatal(err)
		}
		h.await(time.Minute, func() bool { return len(h.slots()) == 0 })
	})
}

const claimsResource = "persistentvolumeclaims"

var claimsGroup = schema.GroupResource{Resource: claimsResource}

// If a pool keeps its cache in a namespace, Bellboard has to read the claims there. In other namespaces it
// does not.
func TestClaimsAreNeededWhereACacheIsKept(t *testing.T) {
	forbid := func(h *house) {
		h.cluster.Refuse(func(_ *http.Request, verb, resource string) *metav1.Status {
			if resource == claimsResource && verb != "create" {
				return &apierrors.NewForbidden(claimsGroup, "", errors.New("no role")).ErrStatus
			}
			return nil
		})
	}
	t.Run("kept", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(*rest.Config) {})
			forbid(h)
			if err := h.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "persistentvolumeclaims in ") {
				t.Errorf("Start() = %v", err)
			}
		})
	})
	t.Run("not kept", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := &house{t: t, cluster: kubesim.New(kubesim.Config{Clock: clock.Real()})}
			t.Cleanup(h.cluster.Close)
			client, err := kubernetes.NewForConfig(h.cluster.RESTConfig())
			if err != nil {
				t.Fatal(err)
			}
			h.Client = New(Config{Client: client, Instance: "ci", Clock: clock.Real(), Specs: []Spec{specOf(scaler.Ephemeral, scaler.Inbound, DockerDind)}})
			forbid(h)
			h.start()
			time.Sleep(time.Hour)
			if got := h.slots(); len(got) != 0 {
				t.Errorf("Observe returned the slots %v", got)
			}
			if n := h.cluster.Stats().Requests["list persistentvolumeclaims"] + h.cluster.Stats().Requests["watch persistentvolumeclaims"]; n > 2 {
				t.Errorf("the client sent %d requests for claims that it may not read", n)
			}
		})
	})
	t.Run("not kept any more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse(t, func(*rest.Config) {})
			h.start()
			h.create("web-p-1", swarm)
			h.Client = New(Config{Client: h.client, Instance: "ci", Clock: clock.Real(), Specs: []Spec{specOf(scaler.Ephemeral, scaler.Inbound, DockerNone)}})
			began := time.Now()
			h.cluster.Refuse(func(_ *http.Request, _, resource string) *metav1.Status {
				if resource == claimsResource && time.Since(began) < 2*time.Second {
					return &apierrors.NewInternalError(errors.New("not now")).ErrStatus
				}
				return nil
			})
			h.start()
			if got := h.slots(); len(got) != 1 { // at once, since cleanup must not take "not read yet" for "none"
				t.Errorf("Observe returned the slots %v", got)
			}
		})
	})
	t.Run("lost", func(t *testing.T) {
		bubble(t, func(h *house) {
			forbid(h)
			h.cluster.Cut(time.Millisecond)
			time.Sleep(maxStale + 10*time.Second)
			if _, err := h.Observe(context.Background()); err == nil || !strings.Contains(err.Error(), "persistentvolumeclaims in ") {
				t.Errorf("Observe() = %v", err)
			}
		})
	})
}

func TestNotesThatCannotBeReadAreNone(t *testing.T) {
	claim := BuildClaim(specOf(scaler.Persistent, scaler.Swarm, DockerDind), "web-cache-1")
	claim.Annotations = map[string]string{AnnotationLastUsed: "yesterday", AnnotationUses: "many", AnnotationKeep: "long"}
	if s := convertClaim(claim); !s.LastUsed.IsZero() || s.Uses != 0 || s.Keep != 0 || s.Deleting || s.Size != 20<<30 {
		t.Errorf("the slot is %+v", s)
	}
	claim.OwnerReferences = ownerReference(&scaler.Pod{Name: "web-p-1", UID: "u"})
	if s := convertClaim(claim); !s.Deleting {
		t.Error("an agent could take a claim that Kubernetes deletes with its pod")
	}
}

func TestTheSchedulersWordsOnVolumes(t *testing.T) {
	for words, want := range map[string]bool{
		"0/6 nodes are available: 3 Insufficient cpu, 3 node(s) didn't match PersistentVolume's node affinity. no new claims to deallocate.":                        true,
		"0/3 nodes are available: 3 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod.":              true,
		"0/3 nodes are available: 3 node(s) did not have enough free storage.":                                                                                      true,
		"0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.":                                                                      true,
		"0/3 nodes are available: 3 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s).":                                                     true,
		"0/3 nodes are available: 3 node(s) had no available volume zone.":                                                                                          true,
		"0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.":                                                                                true,
		`0/3 nodes are available: persistentvolumeclaim "web-cache-1" is being deleted.`:                                                                            true,
		"0/3 nodes are available: 3 node(s) exceed max volume count.":                                                                                               true,
		"0/3 nodes are available: 3 Insufficient cpu, 3 Insufficient ephemeral-storage, 1 node(s) had untolerated taint {spot: true}. no new claims to deallocate.": false,
	} {
		pod := Build(specOf(scaler.Persistent, scaler.Inbound, DockerDind), "web-p-1")
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: words}}
		if p := convert(pod); p.VolumeTrouble != want || p.Slot != "web-cache-9d2mfq0c7x" {
			t.Errorf("%q: %+v", words, p)
		}
		pod.Status.Conditions[0].Status = corev1.ConditionTrue
		if convert(pod).VolumeTrouble {
			t.Errorf("%q: the pod is scheduled", words)
		}
	}
}
