package kubesim

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	claimFinalizer = "kubernetes.io/pvc-protection"
	// selectedNode is where the scheduler notes the node that a volume is to be made for.
	selectedNode = "volume.kubernetes.io/selected-node"
)

func defaultClaim(p *corev1.PersistentVolumeClaim) {
	p.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
	setPointer(&p.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	if slices.Contains(p.Finalizers, claimFinalizer) {
		return
	}
	p.Finalizers = append(p.Finalizers, claimFinalizer)
}

func checkClaim(p *corev1.PersistentVolumeClaim) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	if len(p.Spec.AccessModes) == 0 {
		errs = append(errs, field.Required(path.Child("accessModes"), "at least 1 access mode is required"))
	}
	known := sets.New(corev1.ReadWriteOnce, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOncePod)
	once := false
	for i, m := range p.Spec.AccessModes {
		if !known.Has(m) {
			errs = append(errs, field.NotSupported(path.Child("accessModes").Index(i), m, sets.List(known)))
		}
		once = once || m == corev1.ReadWriteOncePod
	}
	if once && len(p.Spec.AccessModes) > 1 {
		errs = append(errs, field.Forbidden(path.Child("accessModes"), "may not use ReadWriteOncePod with other access modes"))
	}
	q, ok := p.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		errs = append(errs, field.Required(path.Child("resources").Key(string(corev1.ResourceStorage)), ""))
	} else if q.Sign() <= 0 {
		errs = append(errs, field.Invalid(path.Child("resources").Key(string(corev1.ResourceStorage)), q.String(), "must be greater than zero"))
	}
	return errs
}

func updateClaim(now, old *corev1.PersistentVolumeClaim) field.ErrorList {
	now.Status = *old.Status.DeepCopy()
	munged := now.Spec.DeepCopy()
	if now.Status.Phase == corev1.ClaimBound {
		munged.Resources = old.Spec.Resources
		munged.VolumeAttributesClassName = old.Spec.VolumeAttributesClassName
	}
	var errs field.ErrorList
	if !equality.Semantic.DeepEqual(*munged, old.Spec) {
		errs = append(errs, field.Forbidden(field.NewPath("spec"),
			"spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"))
	}
	is, was := now.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	if is.Cmp(was) < 0 {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "resources", "requests", "storage"),
			fmt.Sprintf("field can not be less than status.capacity (%s)", was.String())))
	}
	return errs
}

// expands refuses to let a claim grow whose class does not.
func (c *Cluster) expands(now, old object) error {
	is, ok := now.(*corev1.PersistentVolumeClaim)
	if !ok || c.cfg.Expands == nil {
		return nil
	}
	was := as[*corev1.PersistentVolumeClaim](old)
	if is.Spec.Resources.Requests.Storage().Cmp(*was.Spec.Resources.Requests.Storage()) <= 0 || is.Spec.StorageClassName != nil && c.cfg.Expands(*is.Spec.StorageClassName) {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: *forbidden(claims.plural, is.Name,
		"only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")}
}

// usersOf are the pods on nodes that name a claim, ended ones too: for the
// protection of claims a pod uses its claim until it is gone from the API.
func (c *Cluster) usersOf(ns, claim string) []*corev1.Pod {
	var out []*corev1.Pod
	for _, e := range c.table(pods).items {
		pod := as[*corev1.Pod](e.obj)
		if pod.Namespace != ns || pod.Spec.NodeName == "" {
			continue
		}
		for _, name := range claimsOf(pod) {
			if name == claim {
				out = append(out, pod)
			}
		}
	}
	return out
}

func claimsOf(pod *corev1.Pod) []string {
	var out []string
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			out = append(out, v.PersistentVolumeClaim.ClaimName)
		}
	}
	return out
}

// bindClaims gives the pod's claims their volumes, for the node that was chosen: a
// claim is bound when it is first used. false: some have none yet.
func (c *Cluster) bindClaims(pod *corev1.Pod, node string) (bound bool) {
	t := c.table(claims)
	bound = true
	for _, name := range claimsOf(pod) {
		e := t.items[pod.Namespace+"/"+name]
		if e == nil {
			continue
		}
		claim := as[*corev1.PersistentVolumeClaim](e.obj)
		if claim.Status.Phase == corev1.ClaimBound {
			continue
		}
		claim = claim.DeepCopy()
		was := claim.Annotations[selectedNode]
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, selectedNode, node)
		if c.failBinding != nil && c.failBinding(claim) {
			bound = false
			if was != node {
				c.put(t, claim)
			}
			continue
		}
		claim.Spec.VolumeName = "pvc-" + string(claim.UID)
		claim.Status.Phase = corev1.ClaimBound
		claim.Status.AccessModes = claim.Spec.AccessModes
		claim.Status.Capacity = map[corev1.ResourceName]resource.Quantity{
			corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage],
		}
		c.put(t, claim)
	}
	return bound
}

// releaseClaims lets deleted claims go that no pod on a node names any more.
func (c *Cluster) releaseClaims() {
	t := c.table(claims)
	for _, e := range t.matching(func(e *entry) bool { return e.obj.GetDeletionTimestamp() != nil }) {
		ns, name, uid := e.obj.GetNamespace(), e.obj.GetName(), e.obj.GetUID()
		c.after(50*time.Millisecond, func() {
			e := t.items[ns+"/"+name]
			if e == nil || e.obj.GetUID() != uid || len(c.usersOf(ns, name)) > 0 {
				return
			}
			claim := as[object](e.obj.DeepCopyObject())
			var rest []string
			for _, f := range claim.GetFinalizers() {
				if f != claimFinalizer {
					rest = append(rest, f)
				}
			}
			if len(rest) == len(claim.GetFinalizers()) {
				return
			}
			claim.SetFinalizers(rest)
			c.finalized(t, c.put(t, claim))
		})
	}
}
