package kube

import (
	"errors"
	"os"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/deploy"
	"bellboard/deploy/manifest"
)

// Need fails the test for an error of Start. If the binary is not built, Need skips the test, unless the
// binary is Required.
func Need(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrNotBuilt) && os.Getenv(Required) != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ForTest returns a control plane that ends with the test.
func ForTest(t testing.TB) *ControlPlane {
	t.Helper()
	c, err := Start(t.Context(), Options{Dir: t.TempDir()})
	Need(t, err)
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Budget returns install.yaml's PodDisruptionBudget of an agents' namespace.
func Budget(t testing.TB, namespace string) *policyv1.PodDisruptionBudget {
	t.Helper()
	b := Shipped[*policyv1.PodDisruptionBudget](t, "bellboard-busy")
	b.Namespace = namespace
	return b
}

// Shipped returns install.yaml's first object of that type and name.
func Shipped[T metav1.Object](t testing.TB, name string) T {
	t.Helper()
	install, err := deploy.Files.ReadFile("install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := manifest.Objects(install)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o, ok := o.(T); ok && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("deploy/install.yaml has no %T %s", *new(T), name)
	return *new(T)
}
