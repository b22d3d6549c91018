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

	// minGrace is the shortest grace of a pod that somebody else deletes. minGrace is well over
	// deletionGraceSeconds, so that such a deletion never looks like Bellboard's.
	minGrace = 30 * time.Second
)

// Build makes an agent's pod. The same Spec and name always make the same pod. The caller has checked the
// Spec's template for mistakes.
func Build(s Spec, name string) *corev1.Pod {
	pod := build(&s, name)
	pod.Annotations[AnnotationSpecHash] = s.Hash()
	return pod
}

// Objects returns all objects of an agent of that name, but for the Secret, whose content only Jenkins knows.
func Objects(s Spec, name string) []runtime.Object {
	if s.HasClaim() {
		return []runtime.Object{Build(s, name), BuildClaim(s, name)}
	}
	return []runtime.Object{Build(s, name)}
}

// build makes an agent's pod without AnnotationSpecHash.
func build(s *Spec, name string) *corev1.Pod {
	pod := plainPod(s, name)
	if s.Template == nil {
		return pod
	}
	merged, err := s.Template.merge(pod)
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
	// A build waits for the pod, and nothing may evict the pod before that build has run. Create removes the
	// label from a spare pod, for which no build waits.
	labels[LabelBusy] = "true"
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
			// The group lets the agent read its Secret. If the root of a volume has the group already, the
			// kubelet does not change every file.
			SecurityContext: &corev1.PodSecurityContext{
				FSGroup:             new(int64(jenkinsID)),
				FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
			},
			Containers: []corev1.Container{agent(s, name)},
			Volumes: []corev1.Volume{
				emptyDir("workspace"),
				emptyDir("jenkins-home"),
				emptyDir("tmp"),
				secretVolume(s, name),
			},
		},
	}
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

// Hash returns the value of AnnotationSpecHash. All pods of one spec have the same hash, whatever their name,
// cache slot and CACHE_SIZE. If other settings change the pods, the hash differs. The labels and executors of
// an inbound agent are part of the hash, though only its Jenkins node has them.
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
	// SIGTERM ends the agent at once, and its build too. The sleep delays the signal for as long as a build
	// may take to end. The hook does not ask Jenkins, since an answer during a restart of Jenkins would be
	// wrong. The short grace of Bellboard's own deletions ends the sleep early.
	if seconds := int64(s.BuildGrace / time.Second); seconds > 0 {
		c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds}}}
	}
	return c
}

// restricted returns what the Pod Security Standard "restricted" asks of a container. The root file system
// stays writable, since builds write to their home (~/.m2, ~/.npm, ~/.gitconfig), and the image has files
// there.
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
	r := corev1.ResourceRequirements{Requests: corev1.ResourceList{}}
	if !s.CPU.IsZero() {
		cpu := resource.NewMilliQuantity((s.CPU.MilliValue()+shares-1)/shares, s.CPU.Format)
		r.Requests[corev1.ResourceCPU] = *cpu
	}
	if !s.Memory.IsZero() {
		memory := resource.NewQuantity((s.Memory.Value()+shares-1)/shares, s.Memory.Format)
		r.Requests[corev1.ResourceMemory] = *memory
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
