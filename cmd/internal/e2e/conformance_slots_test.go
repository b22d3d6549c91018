package e2e

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// claim makes a volume claim of that name, which has no volume.
func (w *world) claim(name string) *corev1.PersistentVolumeClaim {
	w.t.Helper()
	got, err := w.k.CoreV1().PersistentVolumeClaims(w.ns).Create(w.ctx(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// patched is the answer to a merge patch of a claim.
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
	{"a claim is deleted as it was seen, and not before its pod is gone", func(w *world) []string {
		seen := w.claim("kept")
		w.patched("kept", `{"metadata":{"annotations":{"a":"b"}}}`)
		p := pod("holder")
		p.Labels[placedLabel] = "yes"
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "kept"},
		}}}
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
