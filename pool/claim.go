package pool

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"bellboard/scaler"
)

// What is noted on the claim of a cache slot: its history, and what to do with it
// when nobody remembers its team.
const (
	// AnnotationLastUsed is when an agent took the slot, or one that had connected left it (RFC 3339).
	AnnotationLastUsed = "bellboard.dev/last-used"
	// AnnotationStore is the Docker mode of the daemons that work on the slot.
	AnnotationStore = "bellboard.dev/store"
	// AnnotationUses is how many agents have taken it.
	AnnotationUses = "bellboard.dev/uses"
	// AnnotationKeep is CACHE_KEEP as it was when an agent last took it.
	AnnotationKeep = "bellboard.dev/keep"

	// annotationSelectedNode is the scheduler's: the machine that the volume is to be
	// made for. Who makes volumes takes it away when they cannot be made there.
	annotationSelectedNode = "volume.kubernetes.io/selected-node"
)

// BuildClaim makes the volume claim of a new cache slot. It is pure.
func BuildClaim(s Spec, name string) *corev1.PersistentVolumeClaim {
	s = s.withDefaults()
	claim := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.Namespace, Labels: s.labels(), Annotations: map[string]string{AnnotationStore: string(s.Docker)}},
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

// usageNotes is what is noted on a slot when an agent takes it.
func (p *Client) usageNotes(s *Spec, uses int) map[string]string {
	return map[string]string{
		AnnotationLastUsed: p.clock.Now().UTC().Format(time.RFC3339),
		AnnotationUses:     strconv.Itoa(uses + 1),
		AnnotationKeep:     s.CacheKeep.String(),
	}
}

// take makes a new slot, or takes one that is as it was seen: of two that would
// take it at once, one is told that it has changed. A slot without a pod is a free
// one, so nothing is lost when no pod follows.
func (p *Client) take(ctx context.Context, s *Spec, slot *scaler.Slot) error {
	claims := p.client.CoreV1().PersistentVolumeClaims(s.Namespace)
	if slot.UID == "" {
		claim := BuildClaim(*s, slot.Name)
		maps.Copy(claim.Annotations, p.usageNotes(s, 0))
		err := p.call(ctx, "create", "persistentvolumeclaims", func(ctx context.Context) error {
			_, err := claims.Create(ctx, claim, metav1.CreateOptions{})
			return err
		})
		if err != nil {
			return wrap("create cache slot "+slot.Name, p.classifyRejection(ctx, s.Namespace, claimNeeds(&claim.Spec), createError(err)))
		}
		return nil
	}
	now, err := p.patchClaim(ctx, slot, map[string]any{"metadata": map[string]any{
		"uid": slot.UID, "resourceVersion": slot.ResourceVersion, "annotations": p.usageNotes(s, slot.Uses),
	}})
	switch {
	case err == nil && now.DeletionTimestamp != nil:
		return fmt.Errorf("take cache slot %s: it is being deleted: %w", slot.Name, scaler.ErrChanged)
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), apierrors.IsInvalid(err): // invalid: another UID
		return fmt.Errorf("take cache slot %s: %w: %w", slot.Name, scaler.ErrChanged, err)
	case err != nil:
		p.log.Warn("the use of a cache slot could not be noted on it", zap.String("slot", slot.Name), zap.Error(err))
	}
	return nil
}

// left notes on a slot when its use ended, of an agent that had connected.
func (p *Client) left(ctx context.Context, pod *scaler.Pod) {
	slot := p.slotsOf(pod.Namespace).named(pod.Slot)
	if slot == nil || !pod.Connected {
		return
	}
	_, err := p.patchClaim(ctx, slot, map[string]any{"metadata": map[string]any{
		"uid": slot.UID, "annotations": map[string]string{AnnotationLastUsed: p.clock.Now().UTC().Format(time.RFC3339)},
	}})
	if err != nil {
		p.log.Warn("the end of the use of a cache slot could not be noted on it", zap.String("slot", slot.Name), zap.Error(err))
	}
}

func (p *Client) patchClaim(ctx context.Context, slot *scaler.Slot, patch map[string]any) (now *corev1.PersistentVolumeClaim, err error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	err = p.call(ctx, "patch", "persistentvolumeclaims", func(ctx context.Context) error {
		now, err = p.client.CoreV1().PersistentVolumeClaims(slot.Namespace).Patch(ctx, slot.Name, types.MergePatchType, body, metav1.PatchOptions{})
		return err
	})
	return now, err
}

// ResizeSlot asks for as much as the pool's new slots have. It may be refused:
// whether a storage class can expand is not Bellboard's to read.
func (p *Client) ResizeSlot(ctx context.Context, slot scaler.Slot) error {
	s, err := p.spec(slot.PoolID)
	if err != nil {
		return err
	}
	_, err = p.patchClaim(ctx, &slot, map[string]any{
		"metadata": map[string]any{"uid": slot.UID, "resourceVersion": slot.ResourceVersion},
		"spec":     map[string]any{"resources": map[string]any{"requests": map[string]string{string(corev1.ResourceStorage): s.CacheSize.String()}}},
	})
	if err != nil {
		return wrap("expand cache slot "+slot.Name, changeError(err))
	}
	return nil
}

// DeleteSlot deletes exactly this version of the claim, and not after the deadline.
// Kubernetes itself keeps it for as long as a pod on a machine names it.
func (p *Client) DeleteSlot(ctx context.Context, slot scaler.Slot, deadline time.Time) error {
	if slot.UID == "" || slot.ResourceVersion == "" {
		return fmt.Errorf("delete cache slot %s: neither its UID nor its version may be unknown", slot.Name)
	}
	client := p.client.CoreV1().RESTClient()
	options := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: new(types.UID(slot.UID)), ResourceVersion: &slot.ResourceVersion}}
	err := p.call(ctx, "delete", "persistentvolumeclaims", func(ctx context.Context) error {
		return client.Delete().Namespace(slot.Namespace).Resource("persistentvolumeclaims").Name(slot.Name).Body(options).
			Throttle(deadlineLimiter{RateLimiter: orUnlimited(client.GetRateLimiter()), clock: p.clock, deadline: deadline}).
			Do(ctx).Error()
	})
	if err != nil {
		return wrap("delete cache slot "+slot.Name, changeError(err))
	}
	return nil
}

// slots is the cache of this instance's volume claims in one namespace.
type slots struct {
	mirror

	claims map[string]*scaler.Slot // by name; what it points to is never changed
}

func newSlots(p *Client, ns string, optional bool) *slots {
	f := &slots{claims: map[string]*scaler.Slot{}}
	f.mirror = mirror{
		pool: p, ns: ns, resource: "persistentvolumeclaims", example: &corev1.PersistentVolumeClaim{}, first: make(chan struct{}), told: map[string]bool{}, held: f, optional: optional,
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return p.client.CoreV1().PersistentVolumeClaims(ns).List(ctx, o)
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return p.client.CoreV1().PersistentVolumeClaims(ns).Watch(ctx, o)
		},
	}
	return f
}

func (f *slots) put(obj any) error { return intoSlots(f.claims, obj) }

func intoSlots(claims map[string]*scaler.Slot, obj any) error {
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok {
		return fmt.Errorf("not a volume claim: %T", obj)
	}
	claims[claim.Name] = convertClaim(claim)
	return nil
}

func (f *slots) drop(obj any) error {
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok {
		return fmt.Errorf("not a volume claim: %T", obj)
	}
	delete(f.claims, claim.Name)
	return nil
}

func (f *slots) replace(all []any) error {
	claims := make(map[string]*scaler.Slot, len(all))
	for _, obj := range all {
		if err := intoSlots(claims, obj); err != nil {
			return err
		}
	}
	f.claims = claims
	return nil
}

// named is the slot of that name, nil: none is known.
func (f *slots) named(name string) *scaler.Slot {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.claims[name]
}

// view appends the namespace's slots to out, and says when they were last known
// to be all. Where no pool keeps a cache, what cannot be seen is left out: nothing
// is decided of it.
func (f *slots) view(out []*scaler.Slot) ([]*scaler.Slot, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.trusted()
	if err != nil {
		if f.optional {
			return out, f.pool.clock.Now(), nil
		}
		return nil, at, err
	}
	for _, s := range f.claims {
		out = append(out, s)
	}
	return out, at, nil
}

// slotsOf is the cache of a namespace's claims, or nil.
func (p *Client) slotsOf(ns string) *slots {
	for _, f := range p.slots {
		if f.ns == ns {
			return f
		}
	}
	return nil
}

// classifyUnboundClaims gives pods without a machine the class of what they wait for, where
// that is the volume of their slot and no machine: the scheduler has one reason for both,
// and none while it waits for a volume itself.
func classifyUnboundClaims(view *scaler.ClusterView) {
	unbound := map[string]*scaler.Slot{}
	for i := range view.Slots {
		if s := &view.Slots[i]; s.Unbound() {
			unbound[s.Key()] = s
		}
	}
	for i := range view.Pods {
		p := &view.Pods[i]
		s := unbound[(&scaler.Slot{Namespace: p.Namespace, Name: p.Slot}).Key()]
		if s == nil || !p.Scheduled.IsZero() || p.Failure != "" && p.Failure != scaler.FailureUnschedulable {
			continue
		}
		p.Failure = scaler.FailureStorage
		text := "the volume of claim " + s.Name + " is gone"
		if !s.Lost {
			text = "claim " + s.Name + " is not bound, though its machine is chosen"
		}
		if p.TroubleText != "" {
			text += ": " + p.TroubleText
		}
		p.TroubleText = oneLine(text)
	}
}

// convertClaim makes the noun of a claim. Notes that cannot be read count as not there.
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
		// One that belongs to a pod goes with it.
		Deleting: claim.DeletionTimestamp != nil || len(claim.OwnerReferences) > 0,
	}
	s.LastUsed, _ = time.Parse(time.RFC3339, claim.Annotations[AnnotationLastUsed])
	s.Uses, _ = strconv.Atoi(claim.Annotations[AnnotationUses])
	s.Keep, _ = time.ParseDuration(claim.Annotations[AnnotationKeep])
	return s
}
