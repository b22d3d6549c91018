package pool

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"bellboard/scaler"
)

// The labels and annotations that Bellboard's objects carry.
const (
	LabelInstance = "bellboard.dev/instance" // whose it is
	LabelTeam     = "bellboard.dev/team"
	LabelKind     = "bellboard.dev/kind"
	// LabelBusy is "true" while a build may run: the PodDisruptionBudget of the
	// agents' namespace selects it.
	LabelBusy = "bellboard.dev/busy"

	// AnnotationSpecHash tells pods of one name apart that were made from
	// different settings.
	AnnotationSpecHash = "bellboard.dev/spec-hash"
	// AnnotationConnected is when the agent's node was first seen online (RFC 3339).
	AnnotationConnected = "bellboard.dev/connected"
	// AnnotationSession is the session of Jenkins in which the pod was made, and after a
	// blank since when the maker knew that session (RFC 3339). No build that is older than
	// the session can want the agent, and a new process need not wait out a grace that is over.
	AnnotationSession = "bellboard.dev/made-in-session"
	// AnnotationConnect is how the pod's agent reaches Jenkins; a pod outlives a
	// change of that setting.
	AnnotationConnect = "bellboard.dev/connect"
	// AnnotationCache is whether the agent's cache slot was warm or cold.
	AnnotationCache = "bellboard.dev/cache"

	labelName      = "app.kubernetes.io/name"
	labelManagedBy = "app.kubernetes.io/managed-by"

	annotationSafeToEvict  = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	annotationDoNotDisrupt = "karpenter.sh/do-not-disrupt"
)

// The images used where a Spec names none.
const (
	DefaultImage          = "jenkins/inbound-agent:3385.vf1123fb_515da_-1"
	DefaultSSHImage       = "jenkins/ssh-agent:6.31.0-jdk21"
	DefaultDindImage      = "docker:29-dind"
	DefaultRootlessImage  = "docker:29-dind-rootless"
	DefaultDockerCLIImage = "docker:29-cli"
)

// DockerMode is how an agent's builds get a Docker daemon.
type DockerMode string

// The Docker modes.
const (
	DockerNone     DockerMode = "none"     // they get none
	DockerDind     DockerMode = "dind"     // a privileged sidecar of their own
	DockerRootless DockerMode = "rootless" // the same, whose daemon is not root
	DockerUserns   DockerMode = "userns"   // an unprivileged sidecar in a pod whose root is nobody on the machine
	DockerSysbox   DockerMode = "sysbox"   // an unprivileged sidecar under the runtime Sysbox
	DockerHost     DockerMode = "host"     // the machine's own daemon
)

// DockerModes lists them, from what gives a build the least to what gives it the most.
func DockerModes() []DockerMode {
	return []DockerMode{DockerNone, DockerSysbox, DockerUserns, DockerRootless, DockerDind, DockerHost}
}

// Daemon reports whether each pod has a Docker daemon of its own.
func (m DockerMode) Daemon() bool { return m != "" && m != DockerNone && m != DockerHost }

// PodSecurity is the strictest Pod Security Standard that takes such pods.
func (m DockerMode) PodSecurity() string {
	switch m {
	case DockerNone, "":
		return "restricted"
	case DockerSysbox: // its daemon is root, inside of the pod only
		return "baseline"
	case DockerDind, DockerRootless, DockerUserns, DockerHost:
	}
	return "privileged"
}

// Transport is how an inbound agent and Jenkins come together. To the scaler all
// of them are inbound: the node is registered first.
type Transport string

// The transports.
const (
	WebSocket Transport = "websocket" // the agent calls Jenkins' web port
	TCP       Transport = "tcp"       // the agent calls the port that Jenkins keeps for agents
	SSH       Transport = "ssh"       // Jenkins calls the agent
)

// SSHService is the headless Service in the agents' namespace by which Jenkins
// finds the agents that it calls: <name>.<SSHService>.<namespace>.svc.
const SSHService = "bellboard-agents"

// Spec is what shapes the pods of one team and kind.
type Spec struct {
	scaler.PoolID
	Instance  string
	Namespace string
	Image     string // empty: DefaultImage, or DefaultSSHImage
	Connect   scaler.Connect
	Transport Transport // of inbound agents; empty: WebSocket
	// Tunnel is host:port of Jenkins' port for agents, for TCP. Empty: the host of
	// JenkinsURL and the port that Jenkins itself names.
	Tunnel string
	// SSHSecret names the Secret, made by the user in the same namespace, whose keys
	// "authorized_keys" and "host_key" are whom the agents let in, and what they prove
	// themselves with; for SSH.
	SSHSecret string
	// Labels are what a Swarm client claims; "swarm" among them is left to the
	// plugin, which adds it by itself.
	Labels []string
	// Executors is how many builds the agent runs at once; zero is one.
	Executors int
	// Unlabelled: it takes builds that ask for no label, too.
	Unlabelled bool

	// CPU and Memory are what the whole pod asks for; zero asks for nothing.
	CPU, Memory resource.Quantity

	Docker         DockerMode // empty: DockerNone
	DindImage      string     // empty: DefaultDindImage, or DefaultRootlessImage
	DockerCLIImage string     // empty: DefaultDockerCLIImage
	RegistryMirror string     // URL; empty: none; the machine's own daemon has its own
	CacheSize      resource.Quantity
	StorageClass   string        // empty: the cluster's default
	CacheKeep      time.Duration // how long a slot is kept unused; noted on it
	Slot           string        // the cache slot of the agent to be built

	// BuildGrace is how long a running build may go on when somebody else deletes the pod.
	BuildGrace time.Duration

	ServiceAccount  string // its token is not mounted
	ImagePullSecret string
	PriorityClass   string
	NodeSelector    map[string]string
	Tolerations     []corev1.Toleration

	Template *Template // nil: none
	// AllowHost lets the template give a pod what belongs to the machine.
	AllowHost bool

	JenkinsURL string // as agents reach it
	SwarmUser  string
	// SwarmPasswordSecret names the Secret, made by the user in the same
	// namespace, whose key "password" is SwarmUser's.
	SwarmPasswordSecret string
}

// withDefaults fills in what may be left out.
func (s Spec) withDefaults() Spec {
	if s.Transport == SSH {
		s.Image = cmp.Or(s.Image, DefaultSSHImage)
	}
	s.Image = cmp.Or(s.Image, DefaultImage)
	if s.Docker == DockerRootless {
		s.DindImage = cmp.Or(s.DindImage, DefaultRootlessImage)
	}
	s.DindImage = cmp.Or(s.DindImage, DefaultDindImage)
	s.DockerCLIImage = cmp.Or(s.DockerCLIImage, DefaultDockerCLIImage)
	s.Docker = cmp.Or(s.Docker, DockerNone)
	s.Connect = cmp.Or(s.Connect, scaler.Inbound)
	s.Transport = cmp.Or(s.Transport, WebSocket)
	s.CacheKeep = cmp.Or(s.CacheKeep, scaler.SlotKeep)
	if s.CacheSize.IsZero() {
		s.CacheSize = resource.MustParse("20Gi")
	}
	return s
}

// PodSecurity is the strictest Pod Security Standard that takes the spec's pods.
func (s *Spec) PodSecurity() string {
	standard := s.Docker.PodSecurity()
	if s.Transport == SSH && standard == "restricted" { // sshd is root
		return "baseline"
	}
	return standard
}

// name is what messages call the pool.
func (s *Spec) name() string { return fmt.Sprintf("team %s, %s", s.Team, s.Kind) }

// check finds all that makes pods of this spec impossible.
func (s *Spec) check(instance string) []error {
	var wrong []error
	need := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("%s: %w", s.name(), errors.New(what)))
		}
	}
	need(s.Instance == instance, "belongs to another instance")
	need(s.Team != "", "no team")
	need(s.Kind == scaler.Ephemeral || s.Kind == scaler.Persistent, "no such kind")
	need(s.Namespace != "", "no namespace")
	need(s.JenkinsURL != "", "no Jenkins URL")
	need(s.BuildGrace >= 0, "a negative build grace")
	need(slices.Contains(DockerModes(), s.Docker), "no such Docker mode: "+string(s.Docker))
	switch s.Connect {
	case scaler.Inbound:
		need(s.Transport == WebSocket || s.Transport == TCP || s.Transport == SSH, "no such transport: "+string(s.Transport))
		need(s.Transport != SSH || s.Docker != DockerHost && s.Docker != DockerRootless, "Docker "+string(s.Docker)+" is not for agents that Jenkins calls by SSH")
		need(s.Transport != SSH || s.SSHSecret != "", "agents that Jenkins calls by SSH need the Secret with their keys")
	case scaler.Swarm:
		need(s.SwarmUser != "" && s.SwarmPasswordSecret != "", "Swarm agents need a user and the Secret of its password")
	default:
		need(false, "no such way to connect: "+string(s.Connect))
	}
	for _, err := range s.TemplateMistakes() {
		wrong = append(wrong, fmt.Errorf("%s: %s: %w", s.name(), s.Template.File, err))
	}
	return wrong
}

// Keyed reports whether each pod waits for a Secret of its own.
func (s *Spec) Keyed() bool { return s.Connect == scaler.Inbound && s.Transport != SSH }

// HasClaim reports whether the agents work on cache slots.
func (s *Spec) HasClaim() bool { return s.Docker.Daemon() && s.Kind == scaler.Persistent }

// labels are what every object of the pool carries.
func (s *Spec) labels() map[string]string {
	return map[string]string{
		labelName:      "jenkins-agent",
		labelManagedBy: "bellboard",
		LabelInstance:  s.Instance,
		LabelTeam:      s.Team,
		LabelKind:      string(s.Kind),
	}
}

// swarmLabels are the labels that a Swarm client claims.
func (s *Spec) swarmLabels() []string {
	return slices.DeleteFunc(slices.Clone(s.Labels), func(l string) bool { return l == "swarm" })
}
