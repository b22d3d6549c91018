package pool

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"bellboard/scaler"
)

// The labels and annotations that Bellboard's objects carry.
const (
	LabelInstance = "bellboard.dev/instance" // the owner
	LabelTeam     = "bellboard.dev/team"
	LabelKind     = "bellboard.dev/kind"
	// LabelBusy is "true" while a build may run. The PodDisruptionBudget of the agents' namespace selects it.
	LabelBusy = "bellboard.dev/busy"

	AnnotationSpecHash = "bellboard.dev/spec-hash" // differs between pods of different settings
	// AnnotationConnected is when Bellboard first saw the agent's Jenkins node online (RFC 3339).
	AnnotationConnected = "bellboard.dev/connected"
	// AnnotationSession is the session of Jenkins in which the pod was made, and since when Bellboard had
	// known the session (RFC 3339). No older build can want the agent, so it needs no grace.
	AnnotationSession = "bellboard.dev/made-in-session"
	// AnnotationConnect is how the pod's agent reaches Jenkins. A pod stays when that setting changes.
	AnnotationConnect = "bellboard.dev/connect"
	AnnotationCache   = "bellboard.dev/cache" // whether the agent's cache slot was warm or cold

	labelName      = "app.kubernetes.io/name"
	labelManagedBy = "app.kubernetes.io/managed-by"

	annotationSafeToEvict  = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	annotationDoNotDisrupt = "karpenter.sh/do-not-disrupt"
)

// The images of agents by default, and of what Bellboard puts beside them.
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
	DockerNone     DockerMode = "none"     // builds get no Docker
	DockerDind     DockerMode = "dind"     // a privileged sidecar of the agent's own
	DockerRootless DockerMode = "rootless" // a privileged sidecar whose daemon is not root
	DockerUserns   DockerMode = "userns"   // an unprivileged sidecar of a pod with users of its own
	DockerSysbox   DockerMode = "sysbox"   // an unprivileged sidecar under the runtime Sysbox
	DockerHost     DockerMode = "host"     // the Kubernetes node's own daemon
)

// DockerModes lists the modes, from the one that gives a build the least to the one that gives the most.
func DockerModes() []DockerMode {
	return []DockerMode{DockerNone, DockerSysbox, DockerUserns, DockerRootless, DockerDind, DockerHost}
}

// Daemon reports whether each pod has a Docker daemon of its own.
func (m DockerMode) Daemon() bool { return m != "" && m != DockerNone && m != DockerHost }

// PodSecurity returns the strictest Pod Security Standard that accepts pods of this mode.
func (m DockerMode) PodSecurity() string {
	switch m {
	case DockerNone, "":
		return "restricted"
	case DockerSysbox: // the daemon is root only inside of the pod
		return "baseline"
	default:
		return "privileged"
	}
}

// Transport is how an inbound agent and Jenkins connect. For scaler every transport is inbound: Bellboard
// registers the Jenkins node first.
type Transport string

// The transports.
const (
	WebSocket Transport = "websocket" // the agent calls Jenkins' web port
	TCP       Transport = "tcp"       // the agent calls Jenkins' port for agents
	SSH       Transport = "ssh"       // Jenkins calls the agent
)

// SSHService is the headless Service in the agents' namespace by which Jenkins finds the agents that Jenkins
// calls: <name>.<SSHService>.<namespace>.svc.
const SSHService = "bellboard-agents"

// Spec holds the settings of one team and kind that shape the pods.
type Spec struct {
	scaler.PoolID
	Instance  string
	Namespace string
	Image     string
	Connect   scaler.Connect
	Transport Transport // of inbound agents
	// Tunnel is host:port of Jenkins' port for agents, for TCP. Empty: the host of JenkinsURL, and the port
	// that Jenkins itself names.
	Tunnel string
	// SSHSecret names the user's Secret for SSH: "authorized_keys" has the keys that may log in to agents,
	// and "host_key" the key by which agents identify themselves.
	SSHSecret  string
	Labels     []string // as a Swarm client claims them; the plugin adds "swarm"
	Executors  int      // builds at once; zero: one
	Unlabelled bool     // the agent also runs builds that ask for no label

	CPU, Memory resource.Quantity // of the whole pod; zero: nothing

	Docker         DockerMode
	DockerImage    string // of the daemon beside the agent; empty: that of the mode
	DockerCLIImage string // empty: DefaultDockerCLIImage
	RegistryMirror string // URL; empty: none; the Kubernetes node's own daemon has its own setting
	CacheSize      resource.Quantity
	StorageClass   string        // empty: the cluster's default
	CacheKeep      time.Duration // how long an unused slot stays; noted on the slot
	Slot           string        // the cache slot of the agent to be built

	BuildGrace time.Duration // how long a running build may go on when somebody else deletes the pod

	CAConfigMap                    string // names the user's ConfigMap with authorities in PEM, for agents and daemons
	HTTPProxy, HTTPSProxy, NoProxy string // of agents and daemons
	PlatformUser                   bool   // the platform chooses user and groups, as OpenShift does

	ServiceAccount  string // its token is not mounted
	ImagePullSecret string
	PriorityClass   string
	NodeSelector    map[string]string
	Tolerations     []corev1.Toleration

	Template  *Template // nil: none
	AllowHost bool      // the template may give a pod rights over the Kubernetes node

	JenkinsURL          string // as agents reach Jenkins
	SwarmUser           string
	SwarmPasswordSecret string // names the user's Secret, whose key "password" is SwarmUser's password
}

// PodSecurity returns the strictest Pod Security Standard that accepts the spec's pods.
func (s *Spec) PodSecurity() string {
	standard := s.Docker.PodSecurity()
	if s.Transport == SSH && standard == "restricted" { // sshd is root
		return "baseline"
	}
	return standard
}

// Keyed reports whether each pod waits for a Secret of its own.
func (s *Spec) Keyed() bool { return s.Connect != scaler.Swarm && s.Transport != SSH }

// HasClaim reports whether the agents use cache slots.
func (s *Spec) HasClaim() bool { return s.Docker.Daemon() && s.Kind == scaler.Persistent }

// labels returns the labels of every object of the pool.
func (s *Spec) labels() map[string]string {
	return map[string]string{
		labelName:      "jenkins-agent",
		labelManagedBy: "bellboard",
		LabelInstance:  s.Instance,
		LabelTeam:      s.Team,
		LabelKind:      string(s.Kind),
	}
}
