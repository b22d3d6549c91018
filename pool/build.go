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

	// The user, and its group, of the agent images.
	jenkinsID = 1000

	workDir = "/home/jenkins/agent"

	// minGrace is what a pod gets at least when somebody else deletes it. It is
	// well over deletionGraceSeconds, so that such a deletion never looks like ours.
	minGrace = 30 * time.Second
)

// Build makes an agent's pod. It is pure: the same Spec and name always give
// the same pod. The Spec's template must have no mistakes.
func Build(s Spec, name string) *corev1.Pod {
	s = s.withDefaults()
	pod := build(&s, name)
	pod.Annotations[AnnotationSpecHash] = specHash(&s)
	return pod
}

// Objects are all that an agent of that name would be made of, in the order in
// which it is made; but for its Secret, whose content only Jenkins knows.
func Objects(s Spec, name string) []runtime.Object {
	s = s.withDefaults()
	out := []runtime.Object{Build(s, name)}
	if s.HasClaim() {
		out = append(out, BuildClaim(s, name))
	}
	return out
}

func build(s *Spec, name string) *corev1.Pod {
	labels := s.labels()
	// Born busy: it is made for a build that waits, and nothing may evict it
	// before that build has run. Create takes it from one that no build waits for.
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
			// The group makes Secrets readable to the agent. A volume whose root
			// already has it is not walked through file by file.
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
	if s.Connect == scaler.Inbound && s.Transport == SSH {
		pod.Spec.Hostname, pod.Spec.Subdomain = name, SSHService
		// The pod's group could read its secrets, and builds are of that group.
		pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
	}
	switch {
	case s.Docker.Daemon():
		addDaemon(pod, s)
	case s.Docker == DockerHost:
		addHostDocker(pod, s)
	}
	if pod.Spec.Containers[0].Command == nil && !s.Docker.Daemon() {
		// An image's own entrypoint stays, and may be a JVM that waits for no orphan. The pod's
		// pause process does. Where the agent is alone with it, nothing else is shared.
		pod.Spec.ShareProcessNamespace = new(true)
	}
	if s.Template == nil {
		return pod
	}
	refined, err := s.Template.merge(pod)
	if err != nil {
		panic("pool: a template that was not checked: " + err.Error())
	}
	if refined.Spec.HostPID { // the machine's init waits; a pod cannot have both
		refined.Spec.ShareProcessNamespace = nil
	}
	return refined
}

// Hash is the same for all pods of one spec, whatever their name, cache slot and
// CACHE_SIZE, and differs where they would: what a pod carries as AnnotationSpecHash.
func (s Spec) Hash() string {
	s = s.withDefaults()
	return specHash(&s)
}

// specHash is what Hash is, for a spec that is filled in. What an inbound agent
// offers stands in its node, not in its pod.
func specHash(s *Spec) string {
	plain := *s
	plain.Slot, plain.CacheSize = "", resource.Quantity{}
	b, err := json.Marshal([]any{build(&plain, "name"), s.Labels, s.Executors, s.Unlabelled})
	if err != nil {
		panic("pool: an API object that JSON cannot hold: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// agent is the container in which the agent, and what builds run without
// Docker, live.
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
	// The agent dies at once of SIGTERM, and its build with it. The sleep holds
	// the signal back for as long as a build may take to end; it asks nobody,
	// since an answer during a restart of Jenkins would lie. A deletion by
	// Bellboard has a short grace, which bounds the sleep too.
	if seconds := int64(s.BuildGrace / time.Second); seconds > 0 {
		c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: seconds}}}
	}
	return c
}

// restricted is what the Pod Security Standard of that name asks of a container.
// The image's own files stay writable to their owner: builds write to their home
// (~/.m2, ~/.npm, ~/.gitconfig), and whatever the image keeps there is not hidden.
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

// resources is one container's share of what the pod asks for. With Docker the
// work is done on either side, so each of the two asks for half and may use the
// memory of the whole. CPU has no limit: what is idle on the machine may be used.
func resources(s *Spec) corev1.ResourceRequirements {
	shares := int64(1)
	if s.Docker.Daemon() {
		shares = 2
	}
	var r corev1.ResourceRequirements
	if !s.CPU.IsZero() || !s.Memory.IsZero() {
		r.Requests = corev1.ResourceList{}
	}
	if !s.CPU.IsZero() {
		r.Requests[corev1.ResourceCPU] = *resource.NewMilliQuantity((s.CPU.MilliValue()+shares-1)/shares, s.CPU.Format)
	}
	if !s.Memory.IsZero() {
		r.Requests[corev1.ResourceMemory] = *resource.NewQuantity((s.Memory.Value()+shares-1)/shares, s.Memory.Format)
		r.Limits = corev1.ResourceList{corev1.ResourceMemory: s.Memory}
	}
	return r
}

func emptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// escapeVars keeps Kubernetes from filling in $(VARIABLES): a setting means what it says.
func escapeVars(s string) string { return strings.ReplaceAll(s, "$", "$$") }
