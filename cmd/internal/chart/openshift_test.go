package chart

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"bellboard/cmd/internal/config"
	"bellboard/pool"
)

// openShift is the values file for OpenShift, which goes together with others.
const openShift = "deploy/chart/openshift.yaml"

// TestOpenShift checks the pods of the chart, and the agents' pods, against OpenShift's SCC restricted-v2. Every
// example whose agents need no Docker and no sshd becomes one for OpenShift by the values file.
func TestOpenShift(t *testing.T) {
	for _, example := range []string{"first", "swarm", "tcp", "websocket"} {
		t.Run(example, func(t *testing.T) {
			pods := 0
			objects := decoded(t, render(t, "--values", Example(example), "--values", openShift, "--set", "registryMirror.enabled=true"))
			for _, o := range objects {
				spec := podOf(o)
				if spec == nil {
					continue
				}
				pods++
				for _, wrong := range admit(restrictedV2, spec) {
					t.Errorf("restricted-v2 rejects a pod of the chart: %s", wrong)
				}
			}
			if pods != 5 { // the daemon, the mirror, the doctor, and those of the cleanup
				t.Errorf("%d objects have a pod", pods)
			}
			for _, s := range specsOf(t, objects) {
				s.CAConfigMap, s.HTTPProxy = "authorities", "http://proxy.example:3128"
				for _, wrong := range admit(restrictedV2, &pool.Build(s, "web-x-1").Spec) {
					t.Errorf("restricted-v2 rejects the %s agents of team %s: %s", s.Kind, s.Team, wrong)
				}
			}
		})
	}
}

// TestOpenShiftWithoutTheValues checks that restricted-v2 rejects pods with numbers of their own, and that
// nonroot-v2 admits them.
func TestOpenShiftWithoutTheValues(t *testing.T) {
	objects := decoded(t, render(t, "--values", Example("websocket")))
	var pods []*corev1.PodSpec
	for _, o := range objects {
		if spec := podOf(o); spec != nil {
			pods = append(pods, spec)
		}
	}
	for _, s := range specsOf(t, objects) {
		s.CAConfigMap = "authorities"
		pods = append(pods, &pool.Build(s, "web-x-1").Spec)
	}
	for _, spec := range pods {
		name := spec.Containers[0].Name
		if len(admit(restrictedV2, spec.DeepCopy())) == 0 {
			t.Errorf("restricted-v2 admits the pod of %s with its own numbers", name)
		}
		for _, wrong := range admit(nonrootV2, spec.DeepCopy()) {
			t.Errorf("nonroot-v2 rejects the pod of %s: %s", name, wrong)
		}
	}
}

// podOf returns the pod that an object is or makes; nil: none.
func podOf(o runtime.Object) *corev1.PodSpec {
	switch o := o.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template.Spec
	case *batchv1.Job:
		return &o.Spec.Template.Spec
	case *corev1.Pod:
		return &o.Spec
	}
	return nil
}

// specsOf returns what shapes the agents' pods by the settings among the objects.
func specsOf(t *testing.T, objects []runtime.Object) []pool.Spec {
	t.Helper()
	environ := []string{"BELLBOARD_JENKINS_TOKEN_FILE=/token"}
	for _, o := range objects {
		if m, ok := o.(*corev1.ConfigMap); ok {
			for name, value := range m.Data {
				environ = append(environ, name+"="+value)
			}
		}
	}
	c, err := config.Load(environ)
	if err != nil {
		t.Fatal(err)
	}
	return c.PoolSpecs()
}

// The SCCs of OpenShift that admit knows. They differ in the numbers that a pod may name.
const (
	restrictedV2 = "restricted-v2"
	nonrootV2    = "nonroot-v2"
)

// admit gives a pod its user and its groups as an SCC of OpenShift does, and returns the reasons for which that
// SCC rejects the pod. The rules are those of the manifests in openshift/cluster-kube-apiserver-operator.
func admit(scc string, pod *corev1.PodSpec) (wrong []string) {
	const user, group int64 = 1000650000, 1000650000 // the beginnings of the namespace's ranges
	reject := func(is bool, format string, args ...any) {
		if is {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	if pod.SecurityContext == nil {
		pod.SecurityContext = &corev1.PodSecurityContext{}
	}
	c := pod.SecurityContext
	fits := func(number *int64, given int64) bool {
		return number == nil || *number == given || scc == nonrootV2 && *number != 0
	}
	reject(pod.HostNetwork || pod.HostPID || pod.HostIPC, "a namespace of the Kubernetes node's")
	reject(!fits(c.FSGroup, group), "fsGroup %d", ptr.Deref(c.FSGroup, 0))
	reject(!fits(c.RunAsUser, user), "runAsUser %d", ptr.Deref(c.RunAsUser, 0))
	c.FSGroup, c.RunAsUser = new(group), new(user)
	for _, v := range pod.Volumes {
		s := v.VolumeSource
		reject(s.ConfigMap == nil && s.CSI == nil && s.DownwardAPI == nil && s.EmptyDir == nil && s.Ephemeral == nil && s.Image == nil &&
			s.PersistentVolumeClaim == nil && s.Projected == nil && s.Secret == nil, "volume %s", v.Name)
	}
	for _, one := range slices.Concat(pod.InitContainers, pod.Containers) {
		own := ptr.Deref(one.SecurityContext, corev1.SecurityContext{})
		reject(!fits(own.RunAsUser, user), "runAsUser %d of container %s", ptr.Deref(own.RunAsUser, 0), one.Name)
		reject(ptr.Deref(own.Privileged, false), "container %s is privileged", one.Name)
		reject(ptr.Deref(own.AllowPrivilegeEscalation, true), "container %s may get more rights", one.Name)
		seccomp := own.SeccompProfile
		if seccomp == nil {
			seccomp = c.SeccompProfile
		}
		reject(seccomp != nil && seccomp.Type != corev1.SeccompProfileTypeRuntimeDefault, "the seccomp profile of container %s", one.Name)
		reject(own.Capabilities == nil || !slices.Contains(own.Capabilities.Drop, "ALL"), "container %s keeps capabilities", one.Name)
		for _, add := range ptr.Deref(own.Capabilities, corev1.Capabilities{}).Add {
			reject(add != "NET_BIND_SERVICE", "capability %s of container %s", add, one.Name)
		}
		for _, p := range one.Ports {
			reject(p.HostPort != 0, "a port of the Kubernetes node's")
		}
	}
	return wrong
}
