package pool

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"bellboard/scaler"
)

const (
	agentContainer = "agent"

	// jenkinsID is the user of the agent images, and the user's group.
	jenkinsID = 1000

	workDir = "/home/jenkins/agent"

	// minGrace is the shortest grace of a pod that somebody else deletes. With so much more than
	// deletionGraceSeconds, such a deletion never looks like Bellboard's.
	minGrace = 30 * time.Second
)

// Build makes an agent's pod, always the same of the same Spec and name. The Spec's template has no mistakes.
func Build(s Spec, name string) *corev1.Pod {
	pod := build(&s, name)
	pod.Annotations[AnnotationSpecHash] = s.Hash()
	return pod
}

// Objects returns all objects of an agent of that name, but for the Secret, whose content only Jenkins knows.
func Objects(s Spec, name string) []runtime.Object {
	objects := []runtime.Object{Build(s, name)}
	if s.HasClaim() {
		objects = append(objects, BuildClaim(s, name))
	}
	return objects
}

// build makes an agent's pod without AnnotationSpecHash.
func build(s *Spec, name string) *corev1.Pod {
	if s.Template == nil {
		return plainPod(s, name)
	}
	merged, err := s.Template.merge(plainPod(s, name))
	if err != nil {
		panic("pool: a template that was not checked: " + err.Error())
	}
	if merged.Spec.HostPID { // the Kubernetes node's init waits for orphans; a pod cannot have both
		merged.Spec.ShareProcessNamespace = nil
	}
	return merged
}

// plainPod makes an agent's pod without its template.
func plainPod(s *Spec, name string) *corev1.Pod {
	labels := s.labels()
	labels[LabelBusy] = "true" // nothing may evict the pod before the build that waits for it has run
	grace := int64(max(s.BuildGrace, minGrace) / time.Second)
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: s.Namespace, Labels: labels,
			Annotations: map[string]string{
				AnnotationConnect:      string(s.Connect),
				annotationSafeToEvict:  "false",
				annotationDoNotDisrupt: "true",
			},
		},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			AutomountServiceAccountToken:  new(false),
			EnableServiceLinks:            new(false),
			TerminationGracePeriodSeconds: &grace,
			ServiceAccountName:            s.ServiceAccount,
			PriorityClassName:             s.PriorityClass,
			NodeSelector:                  s.NodeSelector,
			Tolerations:                   s.Tolerations,
			// The group lets the agent read its Secret. The kubelet changes no file of a volume whose root
			// has the group already.
			SecurityContext: &corev1.PodSecurityContext{
				FSGroup:             new(int64(jenkinsID)),
				FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
			},
			Containers: []corev1.Container{agent(s, name)},
			Volumes:    []corev1.Volume{emptyDir("workspace"), emptyDir("jenkins-home"), emptyDir("tmp")},
		},
	}
	addSecret(&pod.Spec, s, name)
	if s.ImagePullSecret != "" {
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: s.ImagePullSecret}}
	}
	if s.Transport == SSH {
		pod.Spec.Hostname, pod.Spec.Subdomain = name, SSHService
		// With the pod's group, builds could read the pod's secrets.
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	if s.Docker.Daemon() || s.Docker == DockerHost {
		addDocker(pod, s)
	}
	if pod.Spec.Containers[0].Command == nil && !s.Docker.Daemon() {
		// The image's own entrypoint may be a JVM, which waits for no orphan process. The pod's pause process
		// does. If the agent's container is the only other one, nothing else is shared.
		pod.Spec.ShareProcessNamespace = new(true)
	}
	return pod
}

// Hash returns the value of AnnotationSpecHash. It differs if the pods differ but for their name, cache slot
// and CACHE_SIZE, or if the Jenkins nodes of inbound agents differ in labels or executors.
func (s Spec) Hash() string {
	s.Slot, s.CacheSize = "", resource.Quantity{}
	b, err := json.Marshal([]any{build(&s, "name"), s.Labels, s.Executors, s.Unlabelled})
	if err != nil {
		panic("pool: an API object that JSON cannot hold: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// agent makes the container that runs the agent, and all that builds run without Docker.
func agent(s *Spec, name string) corev1.Container {
	c := corev1.Container{
		Name:            agentContainer,
		Image:           s.Image,
		SecurityContext: restricted(),
		Resources:       resources(s),
		VolumeMounts: []corev1.VolumeMount{
			{Name: "workspace", MountPath: workDir},
			{Name: "jenkins-home", MountPath: "/home/jenkins/.jenkins"},
			{Name: "tmp", MountPath: "/tmp"},
		},
	}
	switch {
	case s.Connect == scaler.Swarm:
		swarmAgent(&c, s, name)
	case s.Transport == SSH:
		sshAgent(&c)
	default:
		inboundAgent(&c, s, name)
	}
	// SIGTERM ends the agent and its build at once, so the sleep delays the signal. The hook does not ask
	// Jenkins, whose answer would be wrong during a restart. Bellboard's own short grace ends the sleep.
	if seconds := int64(s.BuildGrace / time.Second); seconds > 0 {
		c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds}}}
	}
	return c
}

// restricted returns what the Pod Security Standard "restricted" asks of a container. The root file system
// stays writable, since builds write to their home (~/.m2, ~/.npm), where the image has files.
func restricted() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsUser:                new(int64(jenkinsID)),
		RunAsGroup:               new(int64(jenkinsID)),
		RunAsNonRoot:             new(true),
		AllowPrivilegeEscalation: new(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// resources returns one container's share of what the pod asks for. With Docker, either the agent or the
// daemon does the work. So each of the two asks for half, and may use the whole memory. CPU has no limit:
// builds may use idle CPU of the Kubernetes node.
func resources(s *Spec) corev1.ResourceRequirements {
	shares := int64(1)
	if s.Docker.Daemon() {
		shares = 2
	}
	share := func(whole int64) int64 { return (whole + shares - 1) / shares }
	r := corev1.ResourceRequirements{Requests: corev1.ResourceList{}}
	if !s.CPU.IsZero() {
		r.Requests[corev1.ResourceCPU] = *resource.NewMilliQuantity(share(s.CPU.MilliValue()), s.CPU.Format)
	}
	if !s.Memory.IsZero() {
		r.Requests[corev1.ResourceMemory] = *resource.NewQuantity(share(s.Memory.Value()), s.Memory.Format)
		r.Limits = corev1.ResourceList{corev1.ResourceMemory: s.Memory}
	}
	return r
}

// rootContext returns the rights of a container whose user is root.
func rootContext() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsUser:      new(int64(0)),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func emptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// escapeVars keeps Kubernetes from replacing $(VARIABLES) in the value of a setting.
func escapeVars(s string) string { return strings.ReplaceAll(s, "$", "$$") }
