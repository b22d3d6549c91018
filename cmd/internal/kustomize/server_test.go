//go:build e2e

package kustomize

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	kyaml "sigs.k8s.io/yaml"

	"bellboard/cmd/internal/kube"
	"bellboard/pool"
	"bellboard/scaler"
)

// TestOnARealAPIServer gives a real API server every object of every set-up, the pods of their Deployments in
// their namespaces, and the pods of every Docker mode under exactly the Pod Security Standard that the mode
// needs.
func TestOnARealAPIServer(t *testing.T) {
	cluster := kube.ForTest(t)
	k, ctx := cluster.Client(), t.Context()
	groups, err := restmapper.GetAPIGroupResources(k.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	for _, name := range SetUps() {
		t.Run(name, func(t *testing.T) {
			text, err := Build(ctx, name)
			if err != nil {
				t.Fatal(err)
			}
			apply(ctx, t, cluster, mapper, text)
		})
	}

	for _, name := range []string{"runc-cgroup-writable", "sysbox-runc"} {
		class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: name}
		if _, err := k.NodeV1().RuntimeClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	levels := []string{"restricted", "baseline", "privileged"}
	for _, level := range levels {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: level, Labels: map[string]string{"pod-security.kubernetes.io/enforce": level}}}
		if _, err := k.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range scaler.Kinds() {
		for _, docker := range append(pool.DockerModes(), "over ssh") {
			t.Run(string(kind)+"-"+string(docker), func(t *testing.T) {
				ssh := docker == "over ssh"
				if ssh {
					docker = pool.DockerNone
				}
				s := pool.Spec{
					PoolID: scaler.PoolID{Team: "web", Kind: kind}, Instance: "ci", Image: pool.DefaultImage, Docker: docker, CacheSize: resource.MustParse("20Gi"), BuildGrace: 10 * time.Minute, JenkinsURL: "http://jenkins/",
					CPU: resource.MustParse("1"), Memory: resource.MustParse("2Gi"), RegistryMirror: "http://mirror:5000",
				}
				if ssh {
					s.Transport, s.SSHSecret = pool.SSH, "agent-ssh"
				}
				enough := false
				for _, level := range levels {
					enough = enough || level == s.PodSecurity()
					s.Namespace = level
					refused := judge(ctx, t, cluster, s)
					if refused != nil && !strings.Contains(refused.Error(), "violates PodSecurity") {
						t.Errorf("under %s: %v", level, refused)
					}
					if (refused == nil) != enough {
						t.Errorf("under %s, with %s said to be enough: %v", level, s.PodSecurity(), refused)
					}
				}
			})
		}
	}
}

// judge creates a pod as a dry run, once the namespace has what a pod needs.
func judge(ctx context.Context, t *testing.T, cluster *kube.ControlPlane, s pool.Spec) error {
	t.Helper()
	s.Slot = "web-x-1"
	pods := cluster.Client().CoreV1().Pods(s.Namespace)
	for range 100 {
		_, err := pods.Create(ctx, pool.Build(s, "web-x-1"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "serviceaccount") {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("no service account")
}

// admits creates a pod of a Deployment. For the Deployment itself Pod Security only warns.
func admits(ctx context.Context, t *testing.T, cluster *kube.ControlPlane, o *unstructured.Unstructured) {
	t.Helper()
	var d appsv1.Deployment
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: d.Spec.Template.ObjectMeta, Spec: d.Spec.Template.Spec}
	pod.Name = "rehearsal"
	var err error
	for range 100 { // until the namespace has what a pod needs
		_, err = cluster.Client().CoreV1().Pods(d.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "serviceaccount") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		t.Errorf("a pod of %s: %v", d.Name, err)
	}
}

// apply creates every object on the API server. An unknown field is an error.
func apply(ctx context.Context, t *testing.T, cluster *kube.ControlPlane, mapper meta.RESTMapper, text []byte) {
	t.Helper()
	client, err := dynamic.NewForConfig(cluster.Admin())
	if err != nil {
		t.Fatal(err)
	}
	for r := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		o := &unstructured.Unstructured{}
		if err := kyaml.Unmarshal(doc, &o.Object); err != nil {
			t.Fatal(err)
		}
		kind := o.GroupVersionKind()
		m, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			t.Fatal(err)
		}
		var to dynamic.ResourceInterface = client.Resource(m.Resource)
		if m.Scope.Name() == meta.RESTScopeNameNamespace {
			to = client.Resource(m.Resource).Namespace(o.GetNamespace())
		}
		if _, err := to.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
			t.Errorf("%s %s: %v", kind.Kind, o.GetName(), err)
		}
		if kind.Kind == "Deployment" {
			admits(ctx, t, cluster, o)
		}
	}
}
