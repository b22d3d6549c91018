package kubesim

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	kvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What an API server fills in and refuses of a pod. Only what a client of
// agents' pods can meet is here; the rest of a spec is taken as it comes.

func defaultPod(p *corev1.Pod) {
	p.Generation = 1
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(p)}
	s := &p.Spec
	setDefault(&s.RestartPolicy, corev1.RestartPolicyAlways)
	setDefault(&s.DNSPolicy, corev1.DNSClusterFirst)
	setDefault(&s.SchedulerName, corev1.DefaultSchedulerName)
	setPointer(&s.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	setPointer(&s.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	setPointer(&s.SecurityContext, corev1.PodSecurityContext{})
	for i := range s.InitContainers {
		defaultContainer(&s.InitContainers[i])
	}
	for i := range s.Containers {
		defaultContainer(&s.Containers[i])
	}
	for i := range s.Volumes {
		v := &s.Volumes[i]
		if v.Secret != nil {
			setPointer(&v.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
		}
		if v.ConfigMap != nil {
			setPointer(&v.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
		}
		if v.VolumeSource == (corev1.VolumeSource{}) {
			v.EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
	}
}

func defaultContainer(c *corev1.Container) {
	setDefault(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	setDefault(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = corev1.PullIfNotPresent
		if untagged(c.Image) {
			c.ImagePullPolicy = corev1.PullAlways
		}
	}
	// A limit without a request is a request too.
	for name, q := range c.Resources.Limits {
		if _, ok := c.Resources.Requests[name]; !ok {
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[name] = q.DeepCopy()
		}
	}
}

func untagged(image string) bool {
	for i := len(image) - 1; i >= 0; i-- {
		switch image[i] {
		case '@':
			return false
		case ':':
			return image[i+1:] == "latest"
		case '/':
			return true
		}
	}
	return true
}

func qosClass(p *corev1.Pod) corev1.PodQOSClass {
	class := corev1.PodQOSBestEffort
	guaranteed := true
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range list {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				req, hasReq := c.Resources.Requests[name]
				lim, hasLim := c.Resources.Limits[name]
				if hasReq || hasLim {
					class = corev1.PodQOSBurstable
				}
				if !hasLim || hasReq && req.Cmp(lim) != 0 {
					guaranteed = false
				}
			}
		}
	}
	if guaranteed {
		return corev1.PodQOSGuaranteed
	}
	return class
}

func checkPod(p *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	volumes := sets.New[string]()
	for i, v := range p.Spec.Volumes {
		at := path.Child("volumes").Index(i).Child("name")
		errs = append(errs, checkLabel(v.Name, at)...)
		if volumes.Has(v.Name) {
			errs = append(errs, field.Duplicate(at, v.Name))
		}
		volumes.Insert(v.Name)
		if c := v.PersistentVolumeClaim; c != nil && c.ClaimName == "" {
			errs = append(errs, field.Required(path.Child("volumes").Index(i).Child("persistentVolumeClaim", "claimName"), ""))
		}
	}
	if len(p.Spec.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), ""))
	}
	names := sets.New[string]()
	for i := range p.Spec.InitContainers {
		errs = append(errs, checkContainer(&p.Spec.InitContainers[i], names, volumes, path.Child("initContainers").Index(i), true)...)
	}
	for i := range p.Spec.Containers {
		errs = append(errs, checkContainer(&p.Spec.Containers[i], names, volumes, path.Child("containers").Index(i), false)...)
	}
	switch p.Spec.RestartPolicy {
	case corev1.RestartPolicyAlways, corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure:
	default:
		errs = append(errs, field.NotSupported(path.Child("restartPolicy"), p.Spec.RestartPolicy,
			[]corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}))
	}
	if g := p.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *g, "must be greater than or equal to 0"))
	}
	return errs
}

func checkContainer(c *corev1.Container, names, volumes sets.Set[string], at *field.Path, init bool) field.ErrorList {
	errs := checkLabel(c.Name, at.Child("name"))
	if names.Has(c.Name) {
		errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
	}
	names.Insert(c.Name)
	if c.Image == "" {
		errs = append(errs, field.Required(at.Child("image"), ""))
	}
	sidecar := init && c.RestartPolicy != nil
	if c.RestartPolicy != nil && !init {
		errs = append(errs, field.Forbidden(at.Child("restartPolicy"), "may not be set for non-init containers"))
	}
	if init && !sidecar {
		if c.Lifecycle != nil {
			errs = append(errs, field.Forbidden(at.Child("lifecycle"), "may not be set for init containers without restartPolicy=Always"))
		}
		if c.StartupProbe != nil {
			errs = append(errs, field.Forbidden(at.Child("startupProbe"), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Resources.Requests)) {
		limit, limited := c.Resources.Limits[name]
		if ask := c.Resources.Requests[name]; limited && ask.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(at.Child("resources", "requests"), ask.String(),
				fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	paths := sets.New[string]()
	for i, m := range c.VolumeMounts {
		mount := at.Child("volumeMounts").Index(i)
		if !volumes.Has(m.Name) {
			errs = append(errs, field.NotFound(mount.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(mount.Child("mountPath"), ""))
		} else if paths.Has(m.MountPath) {
			errs = append(errs, field.Invalid(mount.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths.Insert(m.MountPath)
	}
	for i, e := range c.Env {
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("env").Index(i).Child("name"), ""))
		}
	}
	return errs
}

func checkLabel(s string, at *field.Path) field.ErrorList {
	if s == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	for _, msg := range kvalidation.IsDNS1123Label(s) {
		errs = append(errs, field.Invalid(at, s, msg))
	}
	return errs
}

// updatePod: of a pod's spec only these may change; its status is another
// resource's.
func updatePod(now, old *corev1.Pod) field.ErrorList {
	now.Status = *old.Status.DeepCopy()
	if equality.Semantic.DeepEqual(now.Spec, old.Spec) {
		return nil
	}
	raiseGeneration(now)
	munged := now.Spec.DeepCopy()
	for i := range munged.Containers {
		if i < len(old.Spec.Containers) {
			munged.Containers[i].Image = old.Spec.Containers[i].Image
		}
	}
	for i := range munged.InitContainers {
		if i < len(old.Spec.InitContainers) {
			munged.InitContainers[i].Image = old.Spec.InitContainers[i].Image
		}
	}
	munged.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	if g := old.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		munged.TerminationGracePeriodSeconds = g
	}
	// Tolerations may be added, not taken away.
	if n := len(old.Spec.Tolerations); len(munged.Tolerations) >= n && equality.Semantic.DeepEqual(munged.Tolerations[:n], old.Spec.Tolerations) {
		munged.Tolerations = old.Spec.Tolerations
	}
	if equality.Semantic.DeepEqual(*munged, old.Spec) {
		return nil
	}
	return field.ErrorList{field.Forbidden(field.NewPath("spec"),
		"pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)")}
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
