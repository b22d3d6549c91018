package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/scaler"
)

// secretNeeds is what a quota counts for a Secret.
var secretNeeds = corev1.ResourceList{
	corev1.ResourceSecrets: resource.MustParse("1"),
	"count/secrets":        resource.MustParse("1"),
}

// classifyRejection gives the error of a creation its class of failure. A full ResourceQuota, Pod Security, a
// webhook and a missing right have the same answer: 403, reason Forbidden, with the same details. Only the
// message tells them apart. So classifyRejection reads the quotas themselves.
func (c *Client) classifyRejection(ctx context.Context, ns string, needs corev1.ResourceList, err error) error {
	var status apierrors.APIStatus
	switch {
	case apierrors.IsConflict(err) && errors.As(err, &status) &&
		status.Status().Details != nil && status.Status().Details.Kind == "resourcequotas":
		return scaler.Because(scaler.FailureQuota, err) // many creations at once change the quota's count
	case !errors.Is(err, scaler.ErrRefused):
		return err
	case !apierrors.IsForbidden(err):
		return scaler.Because(scaler.FailureAdmission, err)
	}
	full, lookupErr := c.overQuota(ctx, ns, needs)
	switch {
	case lookupErr != nil:
		err = fmt.Errorf("%w; Bellboard cannot see whether a quota is the reason: %w", err, lookupErr)
	case full:
		return scaler.Because(scaler.FailureQuota, err)
	}
	return scaler.Because(scaler.FailureAdmission, err)
}

// QuotaRemedy returns what to do if a quota counts a resource for which an agent's containers have no value;
// "": err is another error. More room in the quota does not help.
func (s *Spec) QuotaRemedy(err error) string {
	_, missing, found := strings.Cut(err.Error(), "must specify ")
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(missing, " ")
	remedy := fmt.Sprintf("write resources for each of these containers in the team's POD_TEMPLATE_FILE, "+
		"or take %s out of the quota", name)
	if of, isLimit := strings.CutPrefix(name, "limits."); isLimit {
		remedy = fmt.Sprintf("CPU and MEMORY limit the memory of an agent only: make a LimitRange in namespace %s "+
			"with a default %s for containers, no less than the team asks for, or %s", s.Namespace, of, remedy)
	}
	return remedy
}

// overQuota reports whether a ResourceQuota of the namespace has too little room for needs.
func (c *Client) overQuota(ctx context.Context, ns string, needs corev1.ResourceList) (bool, error) {
	list := func(ctx context.Context) (*corev1.ResourceQuotaList, error) {
		return c.client.CoreV1().ResourceQuotas(ns).List(ctx, metav1.ListOptions{})
	}
	quotas, err := call(ctx, c, "list", "resourcequotas", list)
	if err != nil {
		return false, err
	}
	for i := range quotas.Items {
		q := &quotas.Items[i]
		if !covers(&q.Spec) {
			continue
		}
		for name, hard := range q.Status.Hard {
			if need, counted := needs[name]; counted {
				need.Add(q.Status.Used[name])
				if need.Cmp(hard) > 0 {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// covers reports whether a quota counts agents' pods. Agents' pods have no deadline, and ask for resources.
// The pods' priority class is unknown here, so a quota for one class does not count.
func covers(q *corev1.ResourceQuotaSpec) bool {
	return q.ScopeSelector == nil && !slices.ContainsFunc(q.Scopes, func(s corev1.ResourceQuotaScope) bool {
		return s != corev1.ResourceQuotaScopeNotTerminating && s != corev1.ResourceQuotaScopeNotBestEffort
	})
}

// claimNeeds returns what a quota counts for a volume claim. If the claim names no storage class, the cluster
// chooses the class. Bellboard has no right to read which one.
func claimNeeds(spec *corev1.PersistentVolumeClaimSpec) corev1.ResourceList {
	one, size := resource.MustParse("1"), spec.Resources.Requests[corev1.ResourceStorage]
	needs := corev1.ResourceList{
		corev1.ResourcePersistentVolumeClaims: one,
		"count/persistentvolumeclaims":        one,
		corev1.ResourceRequestsStorage:        size,
	}
	if spec.StorageClassName != nil {
		class := corev1.ResourceName(*spec.StorageClassName + ".storageclass.storage.k8s.io/")
		needs[class+corev1.ResourcePersistentVolumeClaims] = one
		needs[class+corev1.ResourceRequestsStorage] = size
	}
	return needs
}

// podNeeds returns what a quota counts for a pod: the agent and its sidecars together. The other init
// containers end before the agent starts and ask for less, so they do not count.
func podNeeds(spec *corev1.PodSpec) corev1.ResourceList {
	needs := corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1"), "count/pods": resource.MustParse("1")}
	add := func(name corev1.ResourceName, q resource.Quantity) {
		sum := needs[name]
		sum.Add(q)
		needs[name] = sum
	}
	endsFirst := func(c corev1.Container) bool { return !isSidecar(&c) }
	sidecars := slices.DeleteFunc(slices.Clone(spec.InitContainers), endsFirst)
	for _, c := range slices.Concat(sidecars, spec.Containers) {
		for name, q := range c.Resources.Requests {
			add("requests."+name, q)
			if name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage {
				add(name, q)
			}
		}
		for name, q := range c.Resources.Limits {
			add("limits."+name, q)
		}
	}
	return needs
}
