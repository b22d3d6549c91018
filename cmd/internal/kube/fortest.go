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

// Need fails the test for an error of Start; where the binary has not been built
// it is skipped, unless it is Required.
func Need(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, ErrNotBuilt) && os.Getenv(Required) != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ForTest is a control plane that ends with the test.
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

// Budget is install.yaml's PodDisruptionBudget of an agents' namespace.
func Budget(t testing.TB, namespace string) *policyv1.PodDisruptionBudget {
	t.Helper()
	b := Shipped[*policyv1.PodDisruptionBudget](t, "bellboard-busy")
	b.Namespace = namespace
	return b
}

// Shipped is install.yaml's first object of that type and name.
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
