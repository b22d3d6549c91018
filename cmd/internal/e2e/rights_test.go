//go:build e2e

package e2e

import (
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"bellboard/cmd/internal/kube"
)

// rights returns the rules of both Roles of deploy/install.yaml: the Role of Bellboard's own namespace and
// the Role of the agents' namespace. Here both are one namespace.
func rights(t *testing.T) []rbacv1.PolicyRule {
	t.Helper()
	return slices.Concat(role(t, "bellboard"), role(t, "bellboard-agents"))
}

// role returns the rules of a Role of deploy/install.yaml.
func role(t *testing.T, name string) []rbacv1.PolicyRule {
	t.Helper()
	return kube.Shipped[*rbacv1.Role](t, name).Rules
}

// without returns the rules without one verb on one resource.
func without(rules []rbacv1.PolicyRule, verb, resource string) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for _, r := range rules {
		r := *r.DeepCopy()
		if r.Resources[0] == resource {
			var verbs []string
			for _, v := range r.Verbs {
				if v != verb {
					verbs = append(verbs, v)
				}
			}
			r.Verbs = verbs
		}
		if len(r.Verbs) > 0 {
			out = append(out, r)
		}
	}
	return out
}
