package pool

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"

	"bellboard/scaler"
)

// The classes of what keeps the caches from being current. The set is closed.
const (
	causeForbidden    scaler.HoldCause = "forbidden"
	causeUnauthorized scaler.HoldCause = "unauthorized"
	causeUnavailable  scaler.HoldCause = "unavailable"
)

// Causes lists the classes of Observe's errors.
func Causes() []scaler.HoldCause {
	return []scaler.HoldCause{causeForbidden, causeUnauthorized, causeUnavailable}
}

// staleError returns the error of a cache that err keeps from following the API server.
func staleError(doing string, err error) error {
	cause := causeUnavailable
	switch {
	case apierrors.IsForbidden(err):
		cause = causeForbidden
	case apierrors.IsUnauthorized(err):
		cause = causeUnauthorized
	}
	return scaler.Caused(cause, wrap(doing, orUnknown(err)))
}

// permanent reports whether no retry mends err: the server rejects the client, or is another server.
func permanent(err error) bool {
	cert := (*tls.CertificateVerificationError)(nil)
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) ||
		errors.As(err, &cert) || errors.Is(err, http.ErrSchemeMismatch)
}

// unreachable reports whether no server listens at the address, or the server's name does not exist.
func unreachable(err error) bool {
	dns := (*net.DNSError)(nil)
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dns) && dns.IsNotFound
}

// orUnknown returns err, or an error that says that the API server has not answered yet.
func orUnknown(err error) error { return cmp.Or(err, errors.New("no answer yet")) }

// wrap adds what Bellboard was doing when err came.
func wrap(doing string, err error) error { return fmt.Errorf("%s: %w", doing, err) }

// statusCode returns the HTTP status of the API server's answer; 0: there is no error, or no answer.
func statusCode(err error) int {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return 0
	}
	return int(status.Status().Code)
}

// rejected reports whether the server understood the request, did nothing, and would answer the same again:
// for a quota, an admission rule, a missing right, or an invalid object.
func rejected(err error) bool {
	switch statusCode(err) {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// outcomeUnknown reports whether a creation that failed may have been done nevertheless: there was no answer,
// or something between client and server stopped waiting.
func outcomeUnknown(err error) bool {
	code := statusCode(err)
	return code == 0 || code >= http.StatusInternalServerError
}

// changeError gives the error of a patch or a deletion scaler's meaning, and keeps the server's text.
func changeError(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: %w", scaler.ErrGone, err)
	case apierrors.IsConflict(err), apierrors.IsInvalid(err): // only a UID can be invalid: another object's
		return fmt.Errorf("%w: %w", scaler.ErrChanged, err)
	case rejected(err):
		return fmt.Errorf("%w: %w", scaler.ErrRejected, err)
	}
	return err
}

// createError gives the error of a creation scaler's meaning and its class of failure, and keeps the server's
// text. A full ResourceQuota, Pod Security, a webhook and a missing right have the same answer: 403, reason
// Forbidden, with the same details. Only the message tells them apart. So createError reads the quotas.
func (c *Client) createError(ctx context.Context, ns string, needs corev1.ResourceList, err error) error {
	switch {
	case apierrors.IsAlreadyExists(err):
		return fmt.Errorf("%w: %w", scaler.ErrExists, err)
	case apierrors.IsConflict(err): // many creations at once change the quota's count
		return scaler.Because(scaler.FailureQuota, err)
	case !rejected(err) && !apierrors.IsNotFound(err): // not found: the namespace
		return err
	}
	err = fmt.Errorf("%w: %w", scaler.ErrRejected, err)
	if !apierrors.IsForbidden(err) {
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
	quotas := &corev1.ResourceQuotaList{}
	err := c.send(ctx, objectKey{"resourcequotas", ns, ""}, c.rest().Get()).Into(quotas)
	if err != nil {
		return false, err
	}
	for _, q := range quotas.Items {
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

// covers reports whether a quota counts agents' pods, which have no deadline and ask for resources. Their
// priority class is unknown here, so a quota for one class does not count.
func covers(q *corev1.ResourceQuotaSpec) bool {
	return q.ScopeSelector == nil && !slices.ContainsFunc(q.Scopes, func(s corev1.ResourceQuotaScope) bool {
		return s != corev1.ResourceQuotaScopeNotTerminating && s != corev1.ResourceQuotaScopeNotBestEffort
	})
}

// oneOf returns what a quota counts for each object of a resource.
func oneOf(name corev1.ResourceName) corev1.ResourceList {
	return corev1.ResourceList{name: resource.MustParse("1"), "count/" + name: resource.MustParse("1")}
}

// claimNeeds returns what a quota counts for a volume claim. Which storage class the cluster chooses for a
// claim without one, Bellboard has no right to read.
func claimNeeds(spec *corev1.PersistentVolumeClaimSpec) corev1.ResourceList {
	needs, size := oneOf(pvcs), spec.Resources.Requests[corev1.ResourceStorage]
	needs[corev1.ResourceRequestsStorage] = size
	if spec.StorageClassName != nil {
		class := corev1.ResourceName(*spec.StorageClassName + ".storageclass.storage.k8s.io/")
		needs[class+pvcs], needs[class+corev1.ResourceRequestsStorage] = needs[pvcs], size
	}
	return needs
}

// podNeeds returns what a quota counts for a pod, by the sums that the quota itself makes.
func podNeeds(pod *corev1.Pod) corev1.ResourceList {
	needs := oneOf(corev1.ResourcePods)
	for name, q := range podresource.PodRequests(pod, podresource.PodResourcesOptions{}) {
		needs[name], needs["requests."+name] = q, q
	}
	for name, q := range podresource.PodLimits(pod, podresource.PodResourcesOptions{}) {
		needs["limits."+name] = q
	}
	return needs
}
