package config

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"bellboard/pool"
	"bellboard/scaler"
)

// In the three structs below, a field is a setting: envconfig makes the
// variable's name of the field's, desc is its line in the README, and shown
// stands in the README's default column where the built-in value is empty, and
// persistent where that of persistent agents follows from other settings.
// There are no default tags, which would overwrite the layer below, and no name
// tags, with which envconfig would also read the variable without its prefix.

// Global is the settings of the whole daemon: BELLBOARD_<SETTING>.
type Global struct {
	JenkinsURL          string        `split_words:"true" shown:"required" desc:"where Bellboard reaches Jenkins"`
	JenkinsUser         string        `split_words:"true" shown:"required" desc:"Bellboard's user in Jenkins"`
	JenkinsTokenFile    string        `split_words:"true" shown:"required" desc:"file with that user's API token; read again as it changes"`
	JenkinsCAFile       string        `split_words:"true" shown:"the system's" desc:"PEM file of the authorities that Jenkins' certificate may come from"`
	PollInterval        time.Duration `split_words:"true" desc:"time between two looks at the queue: shorter means less waiting and more reads; stretched to ten times Jenkins' own answer time, 30s at most, while it answers"`
	JenkinsRestartGrace time.Duration `split_words:"true" desc:"after a start of Jenkins: how long agents stay that a build from before it may still want; shorter risks builds that are about to resume"`
	Teams               Words         `split_words:"true" shown:"required" desc:"the teams by name, in the order in which they are shown"`
	Instance            string        `split_words:"true" desc:"name of this Bellboard: what carries another name is left alone"`
	AgentJenkinsURL     string        `split_words:"true" shown:"JENKINS_URL" desc:"where agents reach Jenkins, if not at JENKINS_URL"`
	AgentJenkinsTunnel  string        `split_words:"true" shown:"–" desc:"host:port of Jenkins' port for agents, for CONNECT=tcp, if that is not on the host of AGENT_JENKINS_URL"`
	Namespace           string        `split_words:"true" shown:"its own" desc:"where agents live"`
	MaxAgents           int           `split_words:"true" desc:"pods alive in all teams together: the most it can cost"`
	Listen              string        `split_words:"true" desc:"address of metrics, health and status"`
	LogLevel            string        `split_words:"true" desc:"debug, info, warn or error"`
	LeaderElection      *bool         `split_words:"true" shown:"true in a cluster" desc:"write only while holding the Lease bellboard-<INSTANCE>, so that a second instance can stand by"`
	DryRun              bool          `split_words:"true" desc:"decide and show, change nothing"`
	KubeQPS             float32       `split_words:"true" desc:"calls a second to Kubernetes; lower delays a burst's pods"`
	KubeBurst           int           `split_words:"true" desc:"calls to Kubernetes at once, before KUBE_QPS holds them back"`
	SwarmUser           string        `split_words:"true" shown:"–" desc:"Jenkins user of Swarm agents; where it is set, persistent agents connect by Swarm"`
	SwarmPasswordSecret string        `split_words:"true" shown:"–" desc:"name of the Secret in the agents' namespace whose key password is that user's password or token"`
	SSHCredentials      string        `split_words:"true" desc:"id of the credentials in Jenkins with which it calls agents, for CONNECT=ssh"`
	SSHSecret           string        `split_words:"true" shown:"–" desc:"name of the Secret in the agents' namespace whose keys authorized_keys and host_key their sshd uses, for CONNECT=ssh"`
	SSHHostKey          string        `split_words:"true" shown:"–" desc:"public half of that host_key, by which Jenkins knows an agent: ssh-ed25519 AAAA…, for CONNECT=ssh"`
}

// Leads reports whether an instance writes only while it holds the Lease: as it was
// told, and else in a cluster.
func (g *Global) Leads(inCluster bool) bool {
	if g.LeaderElection != nil {
		return *g.LeaderElection
	}
	return inCluster
}

// Limits is the settings of a team as a whole: BELLBOARD_DEFAULT_<SETTING> for
// every team, BELLBOARD_TEAM_<NAME>_<SETTING> for one.
type Limits struct {
	Labels            Labels        `split_words:"true" shown:"required" desc:"the labels its agents carry, with blanks between; the kind (and swarm) is added"`
	Mode              scaler.Mode   `split_words:"true" desc:"ephemeral (an agent for each build), persistent (kept, with its image cache) or auto (persistent for what is always needed, ephemeral for the rest)"`
	MinAgents         int           `split_words:"true" desc:"agents kept though nobody waits: no waiting for so many builds, paid day and night"`
	MinIdle           int           `split_words:"true" desc:"agents kept free beyond those that work: the next builds start at once, paid day and night"`
	MaxAgents         int           `split_words:"true" desc:"pods alive at most: caps the cost, beyond it builds wait"`
	MaxPersistent     *int          `split_words:"true" shown:"MAX_AGENTS" desc:"persistent ones among them at most; 0 in mode auto means ephemeral only"`
	ScaleUpCooldown   time.Duration `split_words:"true" desc:"time between two scale-ups for waiting builds; longer means more waiting, fewer short-lived agents"`
	ScaleDownCooldown time.Duration `split_words:"true" desc:"time after any change before idle persistent agents go; longer costs idle time, spares restarts"`
	ScaleUpStep       int           `split_words:"true" desc:"agents per scale-up at most, 0 for as many as wait; lower means more waiting in a burst"`
	Berths            int           `split_words:"true" desc:"nodes registered in advance: so many builds of a burst get their pod without a write to Jenkins; costs no pod"`
	Executors         int           `split_words:"true" desc:"builds that a persistent agent runs at once; more than one shares its CPU, memory and workspace disk"`
	MaxLifetime       time.Duration `split_words:"true" desc:"age at which a persistent agent is replaced, after its build; 0s for never"`
	Unlabelled        bool          `split_words:"true" desc:"serve builds that ask for no label, too"`
	Priority          int           `split_words:"true" desc:"higher is served first when teams compete for a build or for MAX_AGENTS"`
	Paused            bool          `split_words:"true" desc:"let builds end, then remove every agent and make none"`
	AllowHostDocker   bool          `split_words:"true" desc:"let its builds have what belongs to the machine, such as DOCKER=host: each of them can take the machine over"`
}

// PodSettings is the settings that shape one kind of a team's agents: as
// Limits, and BELLBOARD_DEFAULT_<KIND>_<SETTING> and
// BELLBOARD_TEAM_<NAME>_<KIND>_<SETTING> for one kind only.
type PodSettings struct {
	IdleTimeout     time.Duration   `split_words:"true" desc:"how long an agent may be free before it goes; longer saves restarts, costs idle time"`
	StartTimeout    time.Duration   `split_words:"true" desc:"how long a scheduled agent may take to connect before it is replaced"`
	BuildGrace      time.Duration   `split_words:"true" desc:"how long a running build may go on when somebody else deletes its pod"`
	Connect         Connect         `split_words:"true" persistent:"swarm if SWARM_USER is set, else inbound" desc:"inbound (by WebSocket), tcp (inbound by Jenkins' port for agents), ssh (Jenkins calls; needs SSH_SECRET and SSH_HOST_KEY), or swarm (needs SWARM_USER and SWARM_PASSWORD_SECRET)"`
	Namespace       string          `split_words:"true" shown:"BELLBOARD_NAMESPACE" desc:"where these agents live"`
	Image           string          `split_words:"true" desc:"the agent's image"`
	CPU             Quantity        `split_words:"true" desc:"CPU an agent asks for: what it costs while it lives"`
	Memory          Quantity        `split_words:"true" desc:"memory an agent asks for and may use"`
	Docker          pool.DockerMode `split_words:"true" desc:"none, dind (a privileged daemon beside the agent), rootless, userns, sysbox, or host (the machine's own; needs ALLOW_HOST_DOCKER): docs/docker.md compares them"`
	CacheSize       Quantity        `split_words:"true" desc:"size of the volume that keeps the images of one persistent agent after another; raised, free volumes are expanded"`
	CacheKeep       time.Duration   `split_words:"true" desc:"how long an unused volume of that kind is kept; longer starts warm after a quiet week, costs storage"`
	StorageClass    string          `split_words:"true" shown:"the cluster's" desc:"storage class of that volume"`
	RegistryMirror  string          `split_words:"true" shown:"–" desc:"URL of a registry mirror for the daemons beside the agents: shorter pulls"`
	ServiceAccount  string          `split_words:"true" shown:"–" desc:"service account of the pod; its token is not mounted"`
	ImagePullSecret string          `split_words:"true" shown:"–" desc:"name of the Secret to pull IMAGE with"`
	PriorityClass   string          `split_words:"true" shown:"–" desc:"priority class of the pod"`
	NodeSelector    Pairs           `split_words:"true" shown:"–" desc:"machines it may run on: key=value,key=value"`
	Tolerations     Tolerations     `split_words:"true" shown:"–" desc:"taints it stands: key=value:Effect, key:Effect or key, comma between two"`
	PodTemplateFile string          `split_words:"true" shown:"–" desc:"file with a part of a pod, which is merged over Bellboard's own: docs/docker.md; read at the start"`
}

// Connect is how a team's agents and Jenkins come together.
type Connect string

// The ways to connect.
const (
	ConnectInbound Connect = "inbound"
	ConnectTCP     Connect = "tcp"
	ConnectSSH     Connect = "ssh"
	ConnectSwarm   Connect = "swarm"
)

// scaler is what the decision knows of it: whether the node is registered first.
func (c Connect) scaler() scaler.Connect {
	if c == ConnectSwarm {
		return scaler.Swarm
	}
	return scaler.Inbound
}

// transport is what the pod knows of it.
func (c Connect) transport() pool.Transport {
	switch c {
	case ConnectTCP:
		return pool.TCP
	case ConnectSSH:
		return pool.SSH
	case ConnectInbound, ConnectSwarm:
	}
	return pool.WebSocket
}

// Every call makes new structs: envconfig writes through pointers, so layers
// laid over a shared one would change each other's teams.

func builtinGlobal() Global {
	return Global{
		PollInterval: time.Second, JenkinsRestartGrace: 5 * time.Minute, Instance: "bellboard", MaxAgents: 100,
		Listen: ":8080", LogLevel: "info", KubeQPS: 50, KubeBurst: 100, SSHCredentials: "jenkins-agent-ssh",
	}
}

func builtinLimits() Limits {
	return Limits{Mode: scaler.ModeAuto, MaxAgents: 10, ScaleDownCooldown: time.Minute, Berths: 2, Executors: 1, MaxLifetime: 24 * time.Hour}
}

func builtinPod(kind scaler.Kind) PodSettings {
	p := PodSettings{
		IdleTimeout: time.Minute, StartTimeout: 5 * time.Minute, BuildGrace: 10 * time.Minute, Connect: ConnectInbound,
		Image: pool.DefaultImage, CPU: quantity("1"), Memory: quantity("2Gi"), Docker: pool.DockerNone, CacheSize: quantity("20Gi"),
		CacheKeep: scaler.SlotKeep,
	}
	if kind == scaler.Persistent {
		p.IdleTimeout, p.Docker = 10*time.Minute, pool.DockerDind
	}
	return p
}

func quantity(s string) Quantity { return Quantity{resource.MustParse(s)} }

// kindsOf lists the kinds that a mode allows, in the order in which they are shown.
func kindsOf(m scaler.Mode) []scaler.Kind {
	switch m {
	case scaler.ModeEphemeral:
		return []scaler.Kind{scaler.Ephemeral}
	case scaler.ModePersistent:
		return []scaler.Kind{scaler.Persistent}
	case scaler.ModeAuto:
	}
	return scaler.Kinds()
}
