package pool

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/scaler"
)

// The annotations of a cache slot's claim.
const (
	// AnnotationLastUsed is when an agent took the slot, or when a connected agent left the slot (RFC 3339).
	AnnotationLastUsed = "bellboard.dev/last-used"
	AnnotationStore    = "bellboard.dev/store" // the Docker mode of the daemons that use the slot
	AnnotationUses     = "bellboard.dev/uses"  // how many agents have taken the slot
	// AnnotationKeep is CACHE_KEEP when an agent last took the slot, for when its team is gone.
	AnnotationKeep = "bellboard.dev/keep"

	// annotationSelectedNode is the scheduler's: the Kubernetes node for which the volume is to be made. The
	// provisioner of volumes removes the annotation if it cannot make a volume there.
	annotationSelectedNode = "volume.kubernetes.io/selected-node"
)

const pvcs = "persistentvolumeclaims"

// BuildClaim makes the volume claim of a new cache slot, always the same of the same arguments.
func BuildClaim(s Spec, name string) *corev1.PersistentVolumeClaim {
	claim := &corev1.PersistentVolumeClaim{}
	fillIn("claim.yaml", &s, name, claim)
	return claim
}

// takeSlot creates a new slot, or notes on an existing slot that an agent uses it. If two processes take one
// slot at once, one of them gets ErrChanged. If no pod follows, the slot is free.
func (c *Client) takeSlot(ctx context.Context, s *Spec, slot *scaler.Slot) error {
	notes := map[string]string{
		AnnotationLastUsed: c.timestamp(),
		AnnotationUses:     strconv.Itoa(slot.Uses + 1),
		AnnotationKeep:     s.CacheKeep.String(),
	}
	if slot.UID == "" {
		claim := BuildClaim(*s, slot.Name)
		maps.Copy(claim.Annotations, notes)
		if err := c.create(ctx, pvcs, claim).Error(); err != nil {
			err = c.createError(ctx, s.Namespace, claimNeeds(&claim.Spec), err)
			return wrap("create cache slot "+slot.Name, err)
		}
		return nil
	}
	claim, err := c.annotateClaim(ctx, slot, slot.ResourceVersion, notes)
	switch {
	case err == nil && claim.DeletionTimestamp != nil:
		return fmt.Errorf("take cache slot %s: the claim is being deleted: %w", slot.Name, scaler.ErrChanged)
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), apierrors.IsInvalid(err): // invalid: another UID
		return fmt.Errorf("take cache slot %s: %w: %w", slot.Name, scaler.ErrChanged, err)
	case err != nil:
		// The history is worth less than the agent.
		c.cfg.Log.Warn("cannot note the use of a cache slot", zap.String("slot", slot.Name), zap.Error(err))
	}
	return nil
}

// leaveSlot notes on a slot when an agent that had connected stopped using it.
func (c *Client) leaveSlot(ctx context.Context, pod *scaler.Pod) {
	slot := c.namespaces[pod.Namespace].claims.named(pod.Slot)
	if slot == nil || !pod.Connected {
		return
	}
	notes := map[string]string{AnnotationLastUsed: c.timestamp()}
	if _, err := c.annotateClaim(ctx, slot, "", notes); err != nil {
		c.cfg.Log.Warn("cannot note the end of a cache slot's use", zap.String("slot", slot.Name), zap.Error(err))
	}
}

// annotateClaim notes something on exactly this claim, and if version is not "", on that version only.
func (c *Client) annotateClaim(
	ctx context.Context, slot *scaler.Slot, version string, notes map[string]string,
) (*corev1.PersistentVolumeClaim, error) {
	metadata := map[string]any{"uid": slot.UID, "annotations": notes}
	if version != "" {
		metadata["resourceVersion"] = version
	}
	claim := &corev1.PersistentVolumeClaim{}
	return claim, c.patch(ctx, objectKey{pvcs, slot.Namespace, slot.Name}, time.Time{}, metadata, claim)
}

// DeleteSlot deletes exactly this version of the claim, and not after the deadline. Kubernetes keeps a claim
// as long as a scheduled pod uses it.
func (c *Client) DeleteSlot(ctx context.Context, slot scaler.Slot, deadline time.Time) error {
	options := metav1.DeleteOptions{Preconditions: exactly(slot.UID, slot.ResourceVersion)}
	if err := c.delete(ctx, objectKey{pvcs, slot.Namespace, slot.Name}, deadline, &options); err != nil {
		return wrap("delete cache slot "+slot.Name, err)
	}
	return nil
}

// classifyUnboundClaims gives the class FailureStorage to unscheduled pods that wait for the volume of their
// slot, and not for a Kubernetes node. The scheduler has one reason for both, and none while it waits itself.
func classifyUnboundClaims(view *scaler.ClusterView) {
	unbound := map[scaler.SlotKey]*scaler.Slot{}
	for i := range view.Slots {
		if s := &view.Slots[i]; s.Unbound() {
			unbound[s.Key()] = s
		}
	}
	for i := range view.Pods {
		p := &view.Pods[i]
		s := unbound[scaler.SlotKey{Namespace: p.Namespace, Name: p.Slot}]
		if s == nil || !p.Scheduled.IsZero() || p.Failure != "" && p.Failure != scaler.FailureUnschedulable {
			continue
		}
		text := "the volume of claim " + s.Name + " is gone"
		if !s.Lost {
			text = "claim " + s.Name + " is not bound, though its machine is chosen"
		}
		if p.TroubleText != "" {
			text += ": " + p.TroubleText
		}
		p.Failure, p.TroubleText = scaler.FailureStorage, oneLine(text)
	}
}

// convertClaim converts a claim to a slot. An annotation that is unreadable counts as missing.
func convertClaim(claim *corev1.PersistentVolumeClaim) *scaler.Slot {
	size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	s := &scaler.Slot{
		PoolID:          scaler.PoolID{Team: claim.Labels[LabelTeam], Kind: scaler.Kind(claim.Labels[LabelKind])},
		Name:            claim.Name,
		Namespace:       claim.Namespace,
		UID:             string(claim.UID),
		ResourceVersion: claim.ResourceVersion,
		Created:         claim.CreationTimestamp.Time,
		Size:            size.Value(),
		Store:           claim.Annotations[AnnotationStore],
		Bound:           claim.Status.Phase == corev1.ClaimBound,
		Lost:            claim.Status.Phase == corev1.ClaimLost,
		Chosen:          claim.Annotations[annotationSelectedNode] != "",
		// Kubernetes deletes a claim that a pod owns together with the pod.
		Deleting: claim.DeletionTimestamp != nil || len(claim.OwnerReferences) > 0,
	}
	s.LastUsed, _ = time.Parse(time.RFC3339, claim.Annotations[AnnotationLastUsed])
	s.Uses, _ = strconv.Atoi(claim.Annotations[AnnotationUses])
	s.Keep, _ = time.ParseDuration(claim.Annotations[AnnotationKeep])
	return s
}
