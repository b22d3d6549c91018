package pool

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"bellboard/scaler"
)

// BuildClaim makes the volume claim of an agent with Docker's data. It is pure.
func BuildClaim(s Spec, name string) *corev1.PersistentVolumeClaim {
	s = s.withDefaults(s.Instance)
	claim := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.Namespace, Labels: s.labels()},
		Spec: corev1.PersistentVolumeClaimSpec{
			// Two daemons on one data directory would destroy it.
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: s.CacheSize},
			},
		},
	}
	if s.StorageClass != "" {
		claim.Spec.StorageClassName = &s.StorageClass
	}
	return claim
}

// putClaim makes the pod's claim, owned by the pod: it can only come after it,
// and the scheduler waits for it. An existing one is as good.
func (p *Pool) putClaim(ctx context.Context, pod *scaler.Pod) error {
	s, err := p.spec(pod.PoolID)
	if err != nil {
		return err
	}
	claim := BuildClaim(s, pod.Name)
	claim.Namespace = pod.Namespace
	claim.OwnerReferences = ownedBy(pod)
	err = p.call(ctx, "create", "persistentvolumeclaims", func(ctx context.Context) error {
		_, err := p.client.CoreV1().PersistentVolumeClaims(pod.Namespace).Create(ctx, claim, metav1.CreateOptions{})
		return err
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create the volume claim of %s: %w", pod.Name, createError(err))
	}
	return nil
}

// ownedBy lets the garbage collector remove what belongs to a pod that is gone.
func ownedBy(pod *scaler.Pod) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: types.UID(pod.UID)}}
}
