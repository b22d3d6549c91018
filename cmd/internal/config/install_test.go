package config

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"bellboard/deploy"
	"bellboard/deploy/manifest"
)

// TestInstall loads the settings of deploy/install.yaml as they are applied, and
// sees that what they need of a namespace is there.
func TestInstall(t *testing.T) {
	b, err := deploy.Files.ReadFile("install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := manifest.Objects(b)
	if err != nil {
		t.Fatal(err)
	}
	var environ []string
	enforced, granted, guarded := map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Namespace:
			enforced[o.Name] = o.Labels["pod-security.kubernetes.io/enforce"]
		case *corev1.ConfigMap:
			for k, v := range o.Data {
				if !strings.HasPrefix(k, prefix+"_") {
					t.Errorf("ConfigMap %s holds %s, which is no setting", o.Name, k)
				}
				environ = append(environ, k+"="+v)
			}
		case *appsv1.Deployment:
			for _, e := range o.Spec.Template.Spec.Containers[0].Env {
				environ = append(environ, e.Name+"="+e.Value)
			}
		case *rbacv1.RoleBinding:
			granted[o.Namespace] = true
		case *policyv1.PodDisruptionBudget:
			guarded[o.Namespace] = true
		}
	}
	c := load(t, environ)
	if len(c.Teams) < 2 {
		t.Errorf("%d teams; an example shows two", len(c.Teams))
	}
	for _, spec := range c.PoolSpecs() {
		ns := spec.Namespace
		if !granted[ns] || !guarded[ns] {
			t.Errorf("the %s agents of %s live in %s: Role %t, PodDisruptionBudget %t", spec.Kind, spec.Team, ns, granted[ns], guarded[ns])
		}
		if want := spec.PodSecurity(); enforced[ns] != want {
			t.Errorf("the %s agents of %s (Docker: %s) live in %s, which enforces %s, want %s", spec.Kind, spec.Team, spec.Docker, ns, enforced[ns], want)
		}
	}
}
