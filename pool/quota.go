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

// secretNeeds is what a quota counts of a Secret.
var secretNeeds = corev1.ResourceList{corev1.ResourceSecrets: resource.MustParse("1"), "count/secrets": resource.MustParse("1")}

// classifyRejection gives the error of a creation its class of failure. A used-up
// ResourceQuota, Pod Security, a webhook and a missing permission all answer 403,
// reason Forbidden, with the same details: only the message tells them apart. So
// the quotas themselves are asked.
func (p *Client) classifyRejection(ctx context.Context, ns string, needs corev1.ResourceList, err error) error {
	var status apierrors.APIStatus
	switch {
	case apierrors.IsConflict(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "resourcequotas":
		return scaler.Because(scaler.FailureQuota, err) // it is being counted, by many at once
	case !errors.Is(err, scaler.ErrRefused):
		return err
	case !apierrors.IsForbidden(err):
		return scaler.Because(scaler.FailureAdmission, err)
	}
	full, lookupErr := p.overQuota(ctx, ns, needs)
	switch {
	case lookupErr != nil:
		err = fmt.Errorf("%w; and whether a quota is the reason cannot be seen: %w", err, lookupErr)
	case full:
		return scaler.Because(scaler.FailureQuota, err)
	}
	return scaler.Because(scaler.FailureAdmission, err)
}

// QuotaRemedy is what to do where a quota counts what containers of an agent say nothing
// of; "" if the error is another. More room in the quota would not help.
func (s *Spec) QuotaRemedy(err error) string {
	_, gaps, found := strings.Cut(err.Error(), "must specify ")
	if !found {
		return ""
	}
	resource, _, _ := strings.Cut(gaps, " ")
	remedy := fmt.Sprintf("write resources for each of these containers in the team's POD_TEMPLATE_FILE, or take %s out of the quota", resource)
	if strings.HasPrefix(resource, "limits.") {
		_, of, _ := strings.Cut(resource, ".")
		remedy = fmt.Sprintf("CPU and MEMORY limit the memory of an agent only: make a LimitRange in namespace %s with a default %s for containers, no less than the team asks for, or %s", s.Namespace, of, remedy)
	}
	return remedy
}

// overQuota reports whether some ResourceQuota has no room for what needs that.
func (p *Client) overQuota(ctx context.Context, ns string, needs corev1.ResourceList) (bool, error) {
	var list *corev1.ResourceQuotaList
	err := p.call(ctx, "list", "resourcequotas", func(ctx context.Context) error {
		var err error
		list, err = p.client.CoreV1().ResourceQuotas(ns).List(ctx, metav1.ListOptions{})
		return err
	})
	if err != nil {
		return false, err
	}
	for i := range list.Items {
		if !covers(&list.Items[i].Spec) {
			continue
		}
		st := &list.Items[i].Status
		for name, hard := range st.Hard {
			need, counted := needs[name]
			if !counted {
				continue
			}
			need.Add(st.Used[name])
			if need.Cmp(hard) > 0 {
				return true, nil
			}
		}
	}
	return false, nil
}

// covers reports whether a quota counts agents' pods: they have no deadline, and
// ask for something. Of one for a class of priority nothing is known here.
func covers(q *corev1.ResourceQuotaSpec) bool {
	if q.ScopeSelector != nil {
		return false
	}
	return !slices.ContainsFunc(q.Scopes, func(s corev1.ResourceQuotaScope) bool {
		return s != corev1.ResourceQuotaScopeNotTerminating && s != corev1.ResourceQuotaScopeNotBestEffort
	})
}

// claimNeeds is what a quota counts of a volume claim. Which class one without a name
// gets is the cluster's, and not Bellboard's to read.
func claimNeeds(spec *corev1.PersistentVolumeClaimSpec) corev1.ResourceList {
	one, size := resource.MustParse("1"), spec.Resources.Requests[corev1.ResourceStorage]
	needs := corev1.ResourceList{corev1.ResourcePersistentVolumeClaims: one, "count/persistentvolumeclaims": one, corev1.ResourceRequestsStorage: size}
	if spec.StorageClassName != nil {
		class := corev1.ResourceName(*spec.StorageClassName + ".storageclass.storage.k8s.io/")
		needs[class+corev1.ResourcePersistentVolumeClaims], needs[class+corev1.ResourceRequestsStorage] = one, size
	}
	return needs
}

// needsOf is what a quota counts of a pod. A sidecar's share counts beside the
// agent's; what ends before the agent starts asks for less than they do.
func needsOf(spec *corev1.PodSpec) corev1.ResourceList {
	needs := corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1"), "count/pods": resource.MustParse("1")}
	add := func(name corev1.ResourceName, q resource.Quantity) {
		sum := needs[name]
		sum.Add(q)
		needs[name] = sum
	}
	count := func(c *corev1.Container) {
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
	for i := range spec.InitContainers {
		if sidecar(&spec.InitContainers[i]) {
			count(&spec.InitContainers[i])
		}
	}
	for i := range spec.Containers {
		count(&spec.Containers[i])
	}
	return needs
}
