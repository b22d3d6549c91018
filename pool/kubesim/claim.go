package kubesim

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	claimFinalizer = "kubernetes.io/pvc-protection"
	// selectedNode is the annotation with the node for which a volume is to be made.
	selectedNode = "volume.kubernetes.io/selected-node"
)

// claim returns the stored claim, or nil if there is none.
func (c *Cluster) claim(ns, name string) *corev1.PersistentVolumeClaim {
	if e := c.table(claims).items[ns+"/"+name]; e != nil {
		return as[*corev1.PersistentVolumeClaim](e.obj)
	}
	return nil
}

// usersOf returns the pods with a node that name a claim. A pod that has ended uses its
// claim until the pod is gone from the API: so the protection of claims sees it.
func (c *Cluster) usersOf(ns, claim string) []*corev1.Pod {
	var out []*corev1.Pod
	for _, e := range c.table(pods).items {
		pod := as[*corev1.Pod](e.obj)
		if pod.Namespace == ns && pod.Spec.NodeName != "" && slices.Contains(claimsOf(pod), claim) {
			out = append(out, pod)
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

// bindClaims gives the pod's claims their volumes, for the node that was chosen: a claim
// is bound when it is first used. bindClaims returns false if a claim has no volume yet.
func (c *Cluster) bindClaims(pod *corev1.Pod, node string) (bound bool) {
	bound = true
	for _, name := range claimsOf(pod) {
		claim := c.claim(pod.Namespace, name).DeepCopy()
		if claim.Status.Phase == corev1.ClaimBound {
			continue
		}
		was := claim.Annotations[selectedNode]
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, selectedNode, node)
		if c.failBinding != nil && c.failBinding(claim) {
			bound = false
			if was == node {
				continue
			}
		} else {
			claim.Spec.VolumeName = "pvc-" + string(claim.UID)
			claim.Status.Phase = corev1.ClaimBound
			claim.Status.AccessModes = claim.Spec.AccessModes
			claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]}
		}
		c.put(c.table(claims), claim)
	}
	return bound
}

// releaseClaims lets deleted claims go that no pod with a node names any more.
func (c *Cluster) releaseClaims() {
	t := c.table(claims)
	for _, e := range t.matching(func(e *entry) bool { return e.obj.GetDeletionTimestamp() != nil }) {
		ns, name, uid := e.obj.GetNamespace(), e.obj.GetName(), e.obj.GetUID()
		c.after(50*time.Millisecond, func() {
			claim := c.claim(ns, name).DeepCopy()
			if claim == nil || claim.UID != uid || len(c.usersOf(ns, name)) > 0 || !slices.Contains(claim.Finalizers, claimFinalizer) {
				return
			}
			claim.Finalizers = slices.DeleteFunc(claim.Finalizers, func(f string) bool { return f == claimFinalizer })
			c.finalized(t, c.put(t, claim))
		})
	}
}
