//go:build e2e

package chart

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"bellboard/cmd/internal/kube"
	"bellboard/pool"
	"bellboard/scaler"
)

// TestOnARealAPIServer gives a real API server every object of every example, in a namespace that enforces
// "restricted" and in one that enforces "privileged", with the pods of Deployments, hooks and agents. The
// server accepts a pod exactly under the Pod Security Standards that are enough for it.
func TestOnARealAPIServer(t *testing.T) {
	cluster := kube.ForTest(t)
	k, ctx := cluster.Client(), t.Context()
	groups, err := restmapper.GetAPIGroupResources(k.Discovery())
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	const everything = "cmd/internal/chart/testdata/everything.values.yaml"
	for _, name := range []string{"infra", "theirs"} { // everything takes them for granted
		if _, err := k.SchedulingV1().PriorityClasses().Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := k.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	privileged := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "lax", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}}}
	if _, err := k.CoreV1().Namespaces().Create(ctx, privileged, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	values := map[string][]string{"everything": {"--values", everything}, "openshift": {"--values", Example("websocket"), "--values", openShift}}
	for _, name := range Examples() {
		values[name] = []string{"--values", Example(name)}
	}
	rendered := func(t *testing.T, args ...string) string {
		text, err := Render(ctx, args...)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const unsafe = "podSecurityContext.runAsNonRoot=null,podSecurityContext.seccompProfile=null"
	for name, files := range values {
		// The Prometheus operator's kinds are not here.
		args := slices.Concat(files, []string{"--set", "podMonitor.enabled=false"})
		t.Run(name, func(t *testing.T) {
			for _, refused := range apply(ctx, t, cluster, mapper, rendered(t, append(args, "--set", "createNamespace=true")...)) {
				t.Error(refused)
			}
			for _, refused := range apply(ctx, t, cluster, mapper, rendered(t, append(args, "--namespace", "lax", "--set", unsafe)...)) {
				t.Error(refused)
			}
			refused := apply(ctx, t, cluster, mapper, rendered(t, append(args, "--set", unsafe)...))
			if len(refused) < 4 { // the daemon's pod, the doctor's, and those of both hooks of the cleanup
				t.Errorf("under restricted only %d unsafe pods are refused: %v", len(refused), refused)
			}
			for _, err := range refused {
				if !strings.Contains(err.Error(), `violates PodSecurity "restricted:latest"`) {
					t.Error(err)
				}
			}
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
		for _, docker := range append(pool.DockerModes(), "over ssh", "on openshift") {
			t.Run(string(kind)+"-"+string(docker), func(t *testing.T) {
				ssh, platform := docker == "over ssh", docker == "on openshift"
				if ssh || platform {
					docker = pool.DockerNone
				}
				s := pool.Spec{
					PoolID: scaler.PoolID{Team: "web", Kind: kind}, Instance: "ci", Image: pool.DefaultImage, Docker: docker, CacheSize: resource.MustParse("20Gi"), BuildGrace: 10 * time.Minute, JenkinsURL: "http://jenkins/",
					CPU: resource.MustParse("1"), Memory: resource.MustParse("2Gi"), RegistryMirror: "http://mirror:5000",
					CAConfigMap: "authorities", HTTPProxy: "http://proxy.example:3128", PlatformUser: platform,
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
		pod := pool.Build(s, "web-x-1")
		if s.PlatformUser {
			if wrong := admit(restrictedV2, &pod.Spec); len(wrong) > 0 {
				return fmt.Errorf("restricted-v2 rejects the pod: %v", wrong)
			}
		}
		_, err := pods.Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "serviceaccount") {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("no service account")
}

// admits creates a pod, as a dry run. For what makes pods Pod Security only warns.
func admits(ctx context.Context, cluster *kube.ControlPlane, namespace string, template corev1.PodTemplateSpec) (err error) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "rehearsal", Labels: template.Labels}, Spec: template.Spec}
	for range 100 { // until the namespace has what a pod needs
		_, err = cluster.Client().CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "serviceaccount") {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// apply creates every object on the API server, hooks as a dry run, and returns why pods were refused. An
// unknown field is an error.
func apply(ctx context.Context, t *testing.T, cluster *kube.ControlPlane, mapper meta.RESTMapper, text string) (refused []error) {
	t.Helper()
	client, err := dynamic.NewForConfig(cluster.Admin())
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range decoded(t, text) {
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		unstructured.RemoveNestedField(fields, "status")
		o := &unstructured.Unstructured{Object: fields}
		kind := o.GroupVersionKind()
		m, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			t.Fatal(err)
		}
		var to dynamic.ResourceInterface = client.Resource(m.Resource)
		if m.Scope.Name() == meta.RESTScopeNameNamespace {
			to = client.Resource(m.Resource).Namespace(o.GetNamespace())
		}
		hook := o.GetAnnotations()["helm.sh/hook"] != ""
		options := metav1.ApplyOptions{FieldManager: "test", Force: true}
		if hook {
			options.DryRun = []string{metav1.DryRunAll}
		}
		if _, err := to.Apply(ctx, o.GetName(), o, options); err != nil && kind.Kind != "Pod" {
			t.Errorf("%s %s: %v", kind.Kind, o.GetName(), err)
		}
		var template corev1.PodTemplateSpec
		switch object := object.(type) {
		case *appsv1.Deployment:
			template = object.Spec.Template
		case *batchv1.Job:
			template = object.Spec.Template
		case *corev1.Pod:
			template = corev1.PodTemplateSpec{ObjectMeta: object.ObjectMeta, Spec: object.Spec}
		default:
			continue
		}
		if err := admits(ctx, cluster, o.GetNamespace(), template); err != nil {
			refused = append(refused, fmt.Errorf("a pod of %s %s: %w", kind.Kind, o.GetName(), err))
		}
	}
	return refused
}
