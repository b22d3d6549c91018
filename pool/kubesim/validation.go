package kubesim

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// This file has the defaults and the checks of an API server that Bellboard's objects meet.
// The rest of a spec is stored as it comes.

// prepare fills in the defaults of a new object.
func prepare(o object) {
	switch o := o.(type) {
	case *corev1.Pod:
		defaultPod(o)
	case *corev1.Secret:
		defaultSecret(o)
	case *corev1.PersistentVolumeClaim:
		o.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
		setPointer(&o.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
		o.Finalizers = append(o.Finalizers, claimFinalizer)
	case *corev1.ResourceQuota:
		o.Status = corev1.ResourceQuotaStatus{}
	}
}

// check returns the mistakes of an object.
func check(o object) field.ErrorList {
	switch o := o.(type) {
	case *corev1.Pod:
		return checkPod(o)
	case *corev1.PersistentVolumeClaim:
		if len(o.Spec.AccessModes) == 0 {
			return field.ErrorList{field.Required(field.NewPath("spec", "accessModes"), "at least 1 access mode is required")}
		}
	}
	return nil
}

// checkUpdate keeps the status of old, and returns the changes that an update may not make.
func checkUpdate(now, old object) field.ErrorList {
	switch now := now.(type) {
	case *corev1.Pod:
		return updatePod(now, as[*corev1.Pod](old))
	case *corev1.Secret:
		return updateSecret(now, as[*corev1.Secret](old))
	case *corev1.PersistentVolumeClaim:
		return updateClaim(now, as[*corev1.PersistentVolumeClaim](old))
	}
	return nil
}

func defaultPod(p *corev1.Pod) {
	p.Generation = 1
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort}
	s := &p.Spec
	setDefault(&s.RestartPolicy, corev1.RestartPolicyAlways)
	setDefault(&s.DNSPolicy, corev1.DNSClusterFirst)
	setPointer(&s.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	setPointer(&s.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	setPointer(&s.SecurityContext, corev1.PodSecurityContext{})
	for c := range containersOf(p) {
		setDefault(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
		setDefault(&c.ImagePullPolicy, corev1.PullIfNotPresent)
		// A limit without a request is a request too.
		requests := corev1.ResourceList{}
		maps.Copy(requests, c.Resources.Limits)
		maps.Copy(requests, c.Resources.Requests)
		if len(requests) > 0 {
			c.Resources.Requests = requests
			p.Status.QOSClass = corev1.PodQOSBurstable
		}
	}
}

// containersOf yields all containers of a pod, the init containers first.
func containersOf(p *corev1.Pod) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
			for i := range list {
				if !yield(&list[i]) {
					return
				}
			}
		}
	}
}

func checkPod(p *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	volumes := sets.New[string]()
	for _, v := range p.Spec.Volumes {
		volumes.Insert(v.Name)
	}
	if len(p.Spec.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), ""))
	}
	for i := range p.Spec.InitContainers {
		errs = append(errs, checkContainer(&p.Spec.InitContainers[i], volumes, path.Child("initContainers").Index(i))...)
	}
	for i := range p.Spec.Containers {
		errs = append(errs, checkContainer(&p.Spec.Containers[i], volumes, path.Child("containers").Index(i))...)
	}
	policies := sets.New(corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	if !policies.Has(p.Spec.RestartPolicy) {
		errs = append(errs, field.NotSupported(path.Child("restartPolicy"), p.Spec.RestartPolicy, sets.List(policies)))
	}
	return errs
}

func checkContainer(c *corev1.Container, volumes sets.Set[string], at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Image == "" {
		errs = append(errs, field.Required(at.Child("image"), ""))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Resources.Requests)) {
		limit, limited := c.Resources.Limits[name]
		if ask := c.Resources.Requests[name]; limited && ask.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(at.Child("resources", "requests"), ask.String(),
				fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	for i, m := range c.VolumeMounts {
		if !volumes.Has(m.Name) {
			errs = append(errs, field.NotFound(at.Child("volumeMounts").Index(i).Child("name"), m.Name))
		}
	}
	return errs
}

// updatePod lets nothing of a pod's spec change. A real server lets the images change too.
func updatePod(now, old *corev1.Pod) field.ErrorList {
	now.Status = *old.Status.DeepCopy()
	if equality.Semantic.DeepEqual(now.Spec, old.Spec) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("spec"), "pod updates may not change fields other than `spec.containers[*].image`")}
}

func defaultSecret(s *corev1.Secret) {
	setDefault(&s.Type, corev1.SecretTypeOpaque)
	for k, v := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}

func updateSecret(now, old *corev1.Secret) field.ErrorList {
	defaultSecret(now)
	if old.Immutable != nil && *old.Immutable && !equality.Semantic.DeepEqual(now.Data, old.Data) {
		return field.ErrorList{field.Forbidden(field.NewPath("data"), "field is immutable when `immutable` is set")}
	}
	return nil
}

func updateClaim(now, old *corev1.PersistentVolumeClaim) field.ErrorList {
	now.Status = *old.Status.DeepCopy()
	kept := now.Spec.DeepCopy()
	if now.Status.Phase == corev1.ClaimBound {
		kept.Resources = old.Spec.Resources
	}
	if equality.Semantic.DeepEqual(*kept, old.Spec) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("spec"),
		"spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")}
}

// expands rejects the growth of a claim whose storage class does not allow it.
func (c *Cluster) expands(now, old object) error {
	is, ok := now.(*corev1.PersistentVolumeClaim)
	if !ok || c.cfg.Expands == nil {
		return nil
	}
	was := as[*corev1.PersistentVolumeClaim](old)
	grows := is.Spec.Resources.Requests.Storage().Cmp(*was.Spec.Resources.Requests.Storage()) > 0
	if !grows || is.Spec.StorageClassName != nil && c.cfg.Expands(*is.Spec.StorageClassName) {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: *forbidden(claims.plural, is.Name,
		"only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func setPointer[T any](p **T, v T) {
	if *p == nil {
		*p = &v
	}
}
