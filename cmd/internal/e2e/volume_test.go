//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"bellboard/pool"
	"bellboard/scaler"
)

// class makes a storage class until the end of the test.
func class(t *testing.T, k kubernetes.Interface, c storagev1.StorageClass) {
	t.Helper()
	api := k.StorageV1().StorageClasses()
	if _, err := api.Create(t.Context(), &c, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Delete(context.Background(), c.Name, metav1.DeleteOptions{}) })
}

// volume makes a volume for a claim, and waits until the claim has it. The volume is on one Kubernetes node;
// nil: on all.
func volume(t *testing.T, k kubernetes.Interface, ns, name string, machine *string) {
	t.Helper()
	api := k.CoreV1().PersistentVolumeClaims(ns)
	claim, err := api.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: ns + "-" + name}, Spec: corev1.PersistentVolumeSpec{
		Capacity: claim.Spec.Resources.Requests, AccessModes: claim.Spec.AccessModes, StorageClassName: *claim.Spec.StorageClassName,
		PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/nowhere"}},
		ClaimRef:               &corev1.ObjectReference{Namespace: ns, Name: name},
	}}
	if machine != nil {
		v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{*machine}}},
		}}}}
	}
	if _, err := k.CoreV1().PersistentVolumes().Create(t.Context(), v, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = k.CoreV1().PersistentVolumes().Delete(context.Background(), v.Name, metav1.DeleteOptions{})
	})
	await(t, "claim "+name+" has its volume", func() bool {
		claim, err := api.Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && claim.Status.Phase == corev1.ClaimBound
	})
}

// TestAgentsWithoutTheirVolume checks what a real scheduler says about volumes of cache slots, and what
// Bellboard makes of it.
func TestAgentsWithoutTheirVolume(t *testing.T) {
	t.Parallel()
	c := control(t)
	k, ns := c.Client(), "volumes"
	namespace(t, c, ns, nil)
	later := storagev1.VolumeBindingWaitForFirstConsumer
	class(t, k, storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "volumes-at-once"}, Provisioner: "dead.example/volumes"})
	for name, provisioner := range map[string]string{"volumes-dead": "dead.example/volumes", "volumes-full": "full.example", "volumes-none": "kubernetes.io/no-provisioner"} {
		class(t, k, storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &later})
	}
	// A driver that reports its free space, and has reported none.
	driver := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "full.example"}, Spec: storagev1.CSIDriverSpec{StorageCapacity: new(true)}}
	if _, err := k.StorageV1().CSIDrivers().Create(t.Context(), driver, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = k.StorageV1().CSIDrivers().Delete(context.Background(), driver.Name, metav1.DeleteOptions{})
	})

	spec := pool.Spec{
		PoolID: scaler.PoolID{Team: "web", Kind: scaler.Persistent}, Instance: ns, Namespace: ns, Labels: []string{"web"},
		Image: pool.DefaultImage, Connect: scaler.Inbound, Docker: pool.DockerDind, CacheSize: resource.MustParse("20Gi"), JenkinsURL: "http://jenkins.example",
	}
	p := pool.New(pool.Config{Client: k, Instance: ns, Specs: []pool.Spec{spec}})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// agent makes an agent on a slot. It also makes the slot, unless the slot has no class.
	agent := func(name, slot, class string, bind func()) {
		s := spec
		s.Slot, s.StorageClass = slot, class
		if class != "" {
			if _, err := k.CoreV1().PersistentVolumeClaims(ns).Create(t.Context(), pool.BuildClaim(s, slot), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			bind()
		}
		if _, err := k.CoreV1().Pods(ns).Create(t.Context(), pool.Build(s, name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(name string) *scaler.Pod {
		view, err := p.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range view.Pods {
			if view.Pods[i].Name == name {
				return &view.Pods[i]
			}
		}
		return nil
	}
	elsewhere := "a-machine-that-is-gone"
	agent("holder", "one", "volumes-at-once", func() { volume(t, k, ns, "one", nil) })
	await(t, "the first agent on a slot has a machine", func() bool { a := seen("holder"); return a != nil && !a.Scheduled.IsZero() })
	agent("second", "one", "", nil)
	agent("far", "far", "volumes-at-once", func() { volume(t, k, ns, "far", &elsewhere) })
	agent("full", "full", "volumes-full", func() {})
	agent("none", "none", "volumes-none", func() {})
	agent("dead", "dead", "volumes-dead", func() {})
	for name, words := range map[string]string{
		"second": "already in-use by another pod", "far": "didn't match PersistentVolume's node affinity",
		"full": "did not have enough free storage", "none": "didn't find available persistent volumes to bind",
	} {
		await(t, "the scheduler has words for "+name, func() bool { a := seen(name); return a != nil && a.TroubleText != "" })
		if a := seen(name); !a.VolumeTrouble || a.Failure != scaler.FailureUnschedulable || !strings.Contains(a.TroubleText, words) {
			t.Errorf("%s: volumes %v, %s: %s; want %q", name, a.VolumeTrouble, a.Failure, a.TroubleText, words)
		}
	}
	// The scheduler says nothing about this pod: it waits for the volume itself.
	await(t, "a machine is chosen for the volume that nobody makes", func() bool { a := seen("dead"); return a != nil && a.Failure == scaler.FailureStorage })
	if a := seen("dead"); !strings.Contains(a.TroubleText, "claim dead is not bound, though its machine is chosen") {
		t.Errorf("dead: %s", a.TroubleText)
	}
	if a := seen("second"); !a.Scheduled.IsZero() {
		t.Error("two daemons are on one slot")
	}
}
