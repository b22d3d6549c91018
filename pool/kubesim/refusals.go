package kubesim

import (
	"fmt"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The refusals of a real API server that this one does not come to by itself,
// in its words and with its details, for a RefuseFunc to give.

// OverQuota is the answer to the creation of a pod beyond a ResourceQuota.
func OverQuota(quota, pod string) *metav1.Status {
	return forbidden("pods", pod, fmt.Sprintf("exceeded quota: %s, requested: pods=1, used: pods=0, limited: pods=0", quota))
}

// Insecure is the answer to a pod that Pod Security admission does not let in.
func Insecure(level, pod string) *metav1.Status {
	return forbidden("pods", pod, fmt.Sprintf(
		"violates PodSecurity %q: privileged (container \"docker\" must not set securityContext.privileged=true)", level))
}

// NoPermission is the answer to whom RBAC grants nothing.
func NoPermission(user, verb, resource, namespace, name string) *metav1.Status {
	plural, _, _ := strings.Cut(resource, "/")
	return forbidden(plural, name, fmt.Sprintf("User %q cannot %s resource %q in API group \"\" in the namespace %q", user, verb, resource, namespace))
}

func forbidden(resource, name, why string) *metav1.Status {
	return &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Message: fmt.Sprintf("%s %q is forbidden: %s", resource, name, why),
		Details: &metav1.StatusDetails{Name: name, Kind: resource},
	}
}
