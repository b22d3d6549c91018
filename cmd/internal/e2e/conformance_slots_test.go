package e2e

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The storage classes of claims whose volumes can grow, and of those whose volumes cannot.
const growing, fixed = "conformance-growing", "conformance-fixed"

// claim makes a volume claim of that name, which has no volume.
func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	return w.classed(name, nil)
}

// classed makes a volume claim of a storage class; nil: without a class, so that no controller touches the
// claim.
func (w *world) classed(name string, class *string) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	got, err := w.k.CoreV1().PersistentVolumeClaims(w.ns).Create(w.ctx(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod},
			StorageClassName: class,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// on returns the volumes of a pod with this claim only.
func on(claim string) []corev1.Volume {
	return []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}}
}

// grown raises the size of a claim that has a volume, as Bellboard expands cache slots.
func (w *world) grown(name, class string) []string {
	w.classed(name, &class)
	w.bind(w, name)
	api := w.k.CoreV1().PersistentVolumeClaims(w.ns)
	c, err := api.Get(w.ctx(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	const grow = `{"metadata":{"uid":%q,"resourceVersion":%q},"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`
	_, err = api.Patch(w.ctx(), name, types.MergePatchType, fmt.Appendf(nil, grow, c.UID, c.ResourceVersion), metav1.PatchOptions{})
	out := one(gist(err, "the storageclass that provisions the pvc must support resize"))
	now, err := api.Get(w.ctx(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return append(out, now.Spec.Resources.Requests.Storage().String(), now.Status.Capacity.Storage().String())
}

// patched returns the answer to a merge patch of a claim.
func (w *world) patched(name, patch string) string {
	_, err := w.k.CoreV1().PersistentVolumeClaims(w.ns).Patch(w.ctx(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return answer(err)
}

var slotSteps = []step{
	{"of two who take a claim as they saw it one is late", func(w *world) []string {
		c := w.claim("taken")
		take := fmt.Sprintf(`{"metadata":{"uid":%q,"resourceVersion":%q,"annotations":{"taken":"yes"}}}`, c.UID, c.ResourceVersion)
		return []string{
			w.patched("taken", take), w.patched("taken", fmt.Sprintf(`{"metadata":{"resourceVersion":%q,"annotations":{"taken":"again"}}}`, c.ResourceVersion)),
			w.patched("taken", `{"metadata":{"uid":"another","annotations":{"taken":"again"}}}`),
			w.patched("none", `{"metadata":{"annotations":{"taken":"yes"}}}`),
		}
	}, []string{"ok", "409 Conflict persistentvolumeclaims/taken", "422 Invalid PersistentVolumeClaim/taken, FieldValueInvalid metadata.uid", "404 NotFound persistentvolumeclaims/none"}},
	{"a claim without a volume does not grow", func(w *world) []string {
		w.claim("small")
		return one(w.patched("small", `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`))
	}, one("422 Invalid PersistentVolumeClaim/small, FieldValueForbidden spec")},
	{"a claim with a volume grows where its class can", func(w *world) []string { return w.grown("growing", growing) }, []string{"ok", "2Gi", "1Gi"}},
	{
		"and does not where that cannot", func(w *world) []string { return w.grown("fixed", fixed) },
		[]string{"403 Forbidden persistentvolumeclaims/fixed: the storageclass that provisions the pvc must support resize", "1Gi", "1Gi"},
	},
	{"a claim that a pod has is nobody else's", func(w *world) []string {
		w.classed("one", new(fixed))
		w.bind(w, "one")
		holder, second := pod("holder"), pod("second")
		holder.Labels[placedLabel], second.Labels[placedLabel] = "yes", "yes"
		holder.Spec.Volumes, second.Spec.Volumes = on("one"), on("one")
		w.create(holder)
		w.place(w, "holder")
		second.Spec.SchedulerName = corev1.DefaultSchedulerName
		w.create(second)
		var why string
		w.await("the scheduler has seen it", func() bool {
			for _, c := range w.get("second").Status.Conditions {
				if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
					why = c.Reason
					if strings.Contains(c.Message, "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod") {
						why += ": in use"
					}
				}
			}
			return why != ""
		})
		return []string{why, fmt.Sprint(w.get("second").Spec.NodeName == "")}
	}, []string{"Unschedulable: in use", "true"}},
	{"a claim is deleted as it was seen, and not before its pod is gone", func(w *world) []string {
		seen := w.claim("kept")
		w.patched("kept", `{"metadata":{"annotations":{"a":"b"}}}`)
		p := pod("holder")
		p.Labels[placedLabel] = "yes"
		p.Spec.Volumes = on("kept")
		w.create(p)
		w.place(w, "holder")
		api := w.k.CoreV1().PersistentVolumeClaims(w.ns)
		remove := func(uid types.UID, version string) string {
			return answer(api.Delete(w.ctx(), "kept", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}}))
		}
		out := one(remove(seen.UID, seen.ResourceVersion))
		now, err := api.Get(w.ctx(), "kept", metav1.GetOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, remove(now.UID, now.ResourceVersion))
		now, err = api.Get(w.ctx(), "kept", metav1.GetOptions{})
		out = append(out, fmt.Sprint(err == nil && now.DeletionTimestamp != nil))
		w.remove("holder", new(int64), nil)
		w.await("the claim is gone", func() bool {
			_, err := api.Get(w.ctx(), "kept", metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		})
		return out
	}, []string{"409 Conflict PersistentVolumeClaim/kept", "ok", "true"}},
}
