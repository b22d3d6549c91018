package config

import (
	"time"

	"bellboard/pool"
	"bellboard/scaler"
)

// Each field of the three structs below is a setting. envconfig makes the variable's name of the field's
// name. The other tags are Bellboard's own:
//
//	min, max   bounds of a number or a duration; zero: 0 is allowed, too, and means this
//	why        the end of the remedy for a value that is out of bounds
//	one        the values that are allowed
//	is         the form of a text: one of forms
//	need       the remedy if the setting is not set; login: the same, unless WithoutJenkins
//	with       the setting must be set if agents connect in this way
//	shown      the default in the README if the built-in value is empty
//	persistent the default of persistent agents in the README, if other settings decide it
//	desc       the line in the README
//
// Rules between settings are in checks.go. There are no default tags, which would overwrite other settings,
// and no name tags, with which envconfig would also read the variable without its prefix.

// Global is the settings of the whole daemon: BELLBOARD_<SETTING>.
type Global struct {
	JenkinsURL          string        `split_words:"true" need:"write where Jenkins is, e.g. https://jenkins.example.com" is:"URL" desc:"address at which Bellboard reaches Jenkins"`
	JenkinsUser         string        `split_words:"true" login:"name Bellboard's user in Jenkins" desc:"Bellboard's user in Jenkins"`
	JenkinsTokenFile    string        `split_words:"true" login:"name the file that holds that user's API token" desc:"file with that user's API token; Bellboard reads the file again when it changes"`
	JenkinsCAFile       string        `split_words:"true" shown:"the system's" desc:"PEM file of the authorities that may sign Jenkins' certificate"`
	PollInterval        time.Duration `split_words:"true" min:"1ms" max:"30s" desc:"time between two polls of Jenkins. Shorter: builds wait less, Jenkins answers more reads. If Jenkins answers slowly, Bellboard waits ten times its answer time, at most 30s"`
	JenkinsRestartGrace time.Duration `split_words:"true" min:"0s" desc:"how long after a start of Jenkins Bellboard keeps agents that an older build may still want. Shorter: a pipeline about to resume may lose its agent"`
	Teams               string        `split_words:"true" is:"teams" shown:"every team with LABELS" desc:"names of the teams, in the order in which they are shown; another team is a mistake"`
	Instance            string        `split_words:"true" is:"DNS label" desc:"name of this installation; Bellboard ignores nodes and pods of other installations"`
	AgentJenkinsURL     string        `split_words:"true" is:"URL" shown:"JENKINS_URL" desc:"address at which agents reach Jenkins, if it is not JENKINS_URL"`
	AgentJenkinsTunnel  string        `split_words:"true" is:"host and port" shown:"–" desc:"host:port of Jenkins' TCP port for agents, for CONNECT=tcp, if that port is not on the host of AGENT_JENKINS_URL"`
	Namespace           string        `split_words:"true" is:"DNS label" shown:"its own" desc:"namespace of the agents"`
	MaxAgents           int           `split_words:"true" min:"1" why:"; to stop a team set its PAUSED=true" desc:"most living pods of all teams together: the upper bound of the cost"`
	Listen              string        `split_words:"true" is:"listen address" desc:"address of the metrics, the health checks and the status page"`
	LogLevel            string        `split_words:"true" one:"debug info warn error" desc:"debug, info, warn or error"`
	LogFormat           string        `split_words:"true" one:"console json" shown:"console on a terminal, else json" desc:"console (for people) or json (for programs): the form of the log"`
	LeaderElection      *bool         `split_words:"true" shown:"true in a cluster" desc:"write only while holding the Lease bellboard-<INSTANCE>, so that a second replica can stand by"`
	DryRun              bool          `split_words:"true" desc:"decide and show, but change nothing"`
	KubeQPS             float32       `split_words:"true" min:"0.1" max:"10000" desc:"calls to Kubernetes per second. Lower: the pods of a burst come later"`
	KubeBurst           int           `split_words:"true" min:"1" desc:"calls to Kubernetes that may go out at once before KUBE_QPS limits them"`
	SwarmUser           string        `split_words:"true" with:"swarm" shown:"–" desc:"Jenkins user of Swarm agents; if set, persistent agents connect by Swarm"`
	SwarmPasswordSecret string        `split_words:"true" is:"name" with:"swarm" shown:"–" desc:"name of the Secret in the agents' namespace with that user's password or token under the key password"`
	SSHCredentials      string        `split_words:"true" desc:"id of the credentials with which Jenkins calls agents, for CONNECT=ssh"`
	SSHSecret           string        `split_words:"true" is:"name" with:"ssh" shown:"–" desc:"name of the Secret in the agents' namespace with the keys authorized_keys and host_key for the agents' sshd, for CONNECT=ssh"`
	SSHHostKey          string        `split_words:"true" is:"public key" with:"ssh" shown:"–" desc:"public half of host_key, by which Jenkins recognizes an agent: ssh-ed25519 AAAA…, for CONNECT=ssh"`
}

// Leads reports whether a replica writes only while it holds the Lease. Without LEADER_ELECTION that is so in
// a cluster.
func (g *Global) Leads(inCluster bool) bool {
	if g.LeaderElection != nil {
		return *g.LeaderElection
	}
	return inCluster
}

// Limits is the settings of a team as a whole: BELLBOARD_DEFAULT_<SETTING> for every team,
// BELLBOARD_TEAM_<NAME>_<SETTING> for one.
type Limits struct {
	Labels            string        `split_words:"true" need:"write the labels its agents carry, e.g. linux docker" is:"labels" desc:"labels of the team's agents, separated by blanks; Bellboard adds the kind, and Swarm adds swarm"`
	Mode              scaler.Mode   `split_words:"true" one:"ephemeral persistent auto" desc:"ephemeral (one agent for each build), persistent (agents stay and keep their image cache) or auto (Bellboard chooses for each new agent: persistent if its cache saves builds more than its volume costs)"`
	MinAgents         int           `split_words:"true" min:"0" desc:"agents that stay when nothing waits. Higher: that many builds start without waiting; paid day and night"`
	MinIdle           int           `split_words:"true" min:"0" desc:"free agents kept beyond the busy ones. Higher: that many builds start at once; paid day and night"`
	MaxAgents         int           `split_words:"true" min:"1" why:"; to stop a team set its PAUSED=true" desc:"most living pods of the team. This limits the cost; beyond it builds wait"`
	MaxPersistent     *int          `split_words:"true" min:"0" shown:"MAX_AGENTS" desc:"most persistent agents among them; 0 in mode auto means ephemeral agents only"`
	ScaleUpCooldown   time.Duration `split_words:"true" min:"0s" desc:"time between two scale-ups for waiting builds. Longer: builds wait longer, fewer short-lived agents"`
	ScaleDownCooldown time.Duration `split_words:"true" min:"0s" desc:"time after any change in the pool before idle persistent agents go. Longer: more idle time, fewer restarts of agents"`
	WaitValue         float64       `split_words:"true" min:"0" max:"1000" desc:"seconds of an agent that you would pay to save a build one second of waiting. Higher: more agents are kept and started ahead, builds wait less, and you pay more"`
	TargetWaitP95     time.Duration `split_words:"true" min:"1s" zero:"0s (WAIT_VALUE decides)" shown:"–" desc:"longest wait that 95 of 100 builds should have. If set, Bellboard looks for the WAIT_VALUE that reaches it"`
	WaitObjective     string        `split_words:"true" is:"objective" shown:"95% under 60s, or under TARGET_WAIT_P95" desc:"share of the builds that are to get an executor within a time, from when nothing else is missing. Metrics count the builds that miss it, and an alert tells when too many do (docs/metrics.md). It decides nothing; none: no objective"`
	Tune              bool          `split_words:"true" desc:"once a day, replay the builds of the last 14 days, and take the cheapest WAIT_VALUE that reaches TARGET_WAIT_P95 (docs/tune.md)"`
	CachePrice        float64       `split_words:"true" min:"0" max:"1000" desc:"cost of a cache slot's volume, as a share of what an agent costs. Lower: more slots are kept, and more agents are persistent"`
	ScaleUpStep       int           `split_words:"true" min:"0" desc:"most agents per scale-up; 0 for as many as wait. Lower: builds of a burst wait longer"`
	Berths            int           `split_words:"true" min:"2" why:": Jenkins names a waiting build's label only while two nodes carry it" desc:"Jenkins nodes registered in advance. That many builds of a burst get their pod without a write to Jenkins; costs no pod"`
	Executors         int           `split_words:"true" min:"1" desc:"builds that a persistent agent runs at once. More than one: they share its CPU, memory and workspace disk"`
	MaxLifetime       time.Duration `split_words:"true" min:"1m" zero:"0s (never)" desc:"age at which Bellboard replaces a persistent agent, after its build; 0s for never"`
	Unlabelled        bool          `split_words:"true" desc:"also serve builds that ask for no label"`
	Priority          int           `split_words:"true" desc:"the team with the higher number is served first when teams compete for a build or for BELLBOARD_MAX_AGENTS"`
	Paused            bool          `split_words:"true" desc:"let running builds end, remove every agent, and make none"`
	Schedule          string        `split_words:"true" shown:"–" desc:"other limits at times of the day: 0 7 * * 1-5 for 11h in Europe/Berlin: MIN_IDLE=2; windows are separated by semicolons (docs/tune.md)"`
	AllowHostDocker   bool          `split_words:"true" desc:"allow settings that give builds the Kubernetes node, such as DOCKER=host: each of these builds can take the node over"`
}

// PodSettings is the settings that shape one kind of a team's agents: the variables of Limits, and
// BELLBOARD_DEFAULT_<KIND>_<SETTING> and BELLBOARD_TEAM_<NAME>_<KIND>_<SETTING> for one kind only.
type PodSettings struct {
	IdleTimeout  time.Duration `split_words:"true" min:"1s" zero:"0s (as long as it pays)" shown:"as long as it pays" desc:"how long an agent may be free before it goes. Longer: fewer restarts of agents, more idle time"`
	StartTimeout time.Duration `split_words:"true" min:"1s" desc:"how long an agent may take to connect, from when it has a Kubernetes node, before Bellboard replaces it"`
	// BUILD_GRACE is the pod's grace period, in seconds. A few seconds mark Bellboard's own deletions.
	BuildGrace       time.Duration   `split_words:"true" min:"30s" desc:"how long a running build may go on after somebody else deletes its pod"`
	Connect          Connect         `split_words:"true" one:"inbound tcp ssh swarm" persistent:"swarm if SWARM_USER is set, else inbound" desc:"inbound (by WebSocket), tcp (inbound by Jenkins' TCP port for agents), ssh (Jenkins calls; needs SSH_SECRET and SSH_HOST_KEY) or swarm (needs SWARM_USER and SWARM_PASSWORD_SECRET)"`
	Namespace        string          `split_words:"true" is:"DNS label" shown:"BELLBOARD_NAMESPACE" desc:"namespace of these agents"`
	Image            string          `split_words:"true" is:"image" desc:"image of the agent"`
	CPU              string          `split_words:"true" is:"amount" desc:"CPU that an agent requests: its cost while it lives"`
	Memory           string          `split_words:"true" is:"amount" desc:"memory that an agent requests, and its limit"`
	Docker           pool.DockerMode `split_words:"true" one:"none sysbox userns rootless dind host" desc:"none, dind (a privileged daemon beside the agent), rootless, userns, sysbox, or host (the Kubernetes node's own; needs ALLOW_HOST_DOCKER): docs/docker.md compares them"`
	DockerImage      string          `split_words:"true" is:"image" shown:"docker:29-dind, for rootless docker:29-dind-rootless" desc:"image of the Docker daemon beside the agent"`
	DockerCLIImage   string          `split_words:"true" is:"image" desc:"image from which the agent gets Docker's client"`
	CacheSize        string          `split_words:"true" is:"amount" desc:"size of the volume that keeps the images from one persistent agent to the next; if raised, Bellboard replaces smaller volumes when no agent uses them"`
	CacheKeep        time.Duration   `split_words:"true" min:"1s" desc:"how long an unused volume of that kind is kept. Longer: warm starts after a quiet week, more storage"`
	CostPerHour      float64         `split_words:"true" min:"0" max:"100000" shown:"–" desc:"what an agent costs an hour, in any currency. If set, the page shows what was paid for, by team and by state"`
	StorageClass     string          `split_words:"true" is:"name" shown:"the cluster's" desc:"storage class of that volume"`
	RegistryMirror   string          `split_words:"true" is:"URL" shown:"–" desc:"URL of a registry mirror for the Docker daemons beside the agents: shorter pulls"`
	AgentCAConfigmap string          `split_words:"true" is:"name" shown:"–" desc:"name of a ConfigMap in the agents' namespace with authorities in PEM; agents, their JVMs and their Docker daemons trust them besides those of the image (docs/corporate.md)"`
	HTTPProxy        string          `split_words:"true" is:"proxy" shown:"–" desc:"proxy for http addresses, of agents, builds and the Docker daemons beside them: http://host:port (docs/corporate.md)"`
	HTTPSProxy       string          `split_words:"true" is:"proxy" shown:"–" desc:"the same for https addresses"`
	NoProxy          string          `split_words:"true" is:"hosts" shown:"–" desc:"hosts, domains and networks that need no proxy, as in .svc,.example.com,10.0.0.0/8"`
	RunAs            User            `split_words:"true" one:"jenkins platform" desc:"jenkins (user and group 1000, as Jenkins' images have it) or platform (the platform chooses both, as OpenShift does: docs/openshift.md)"`
	ServiceAccount   string          `split_words:"true" is:"name" shown:"–" desc:"service account of the pod; its token is not mounted"`
	ImagePullSecret  string          `split_words:"true" is:"name" shown:"–" desc:"name of the Secret with which Kubernetes pulls IMAGE"`
	PriorityClass    string          `split_words:"true" is:"name" shown:"–" desc:"priority class of the pod"`
	NodeSelector     string          `split_words:"true" is:"pairs" shown:"–" desc:"Kubernetes nodes that the pod may run on: key=value,key=value"`
	Tolerations      string          `split_words:"true" is:"tolerations" shown:"–" desc:"taints that the pod tolerates: key=value:Effect, key:Effect or key, separated by commas"`
	PodTemplateFile  string          `split_words:"true" shown:"–" desc:"file with a part of a pod, merged over Bellboard's own pod (docs/templates.md); read at the start"`
}

// Connect is the way in which a team's agents and Jenkins connect.
type Connect string

// The ways to connect.
const (
	ConnectInbound Connect = "inbound"
	ConnectTCP     Connect = "tcp"
	ConnectSSH     Connect = "ssh"
	ConnectSwarm   Connect = "swarm"
)

// User is the user as whom agents run.
type User string

// The users.
const (
	UserJenkins  User = "jenkins"
	UserPlatform User = "platform"
)

func builtinGlobal() Global {
	return Global{
		PollInterval: time.Second, JenkinsRestartGrace: 5 * time.Minute, Instance: "bellboard", MaxAgents: 100,
		Listen: ":8080", LogLevel: "info", KubeQPS: 50, KubeBurst: 100, SSHCredentials: "jenkins-agent-ssh",
	}
}

func builtinLimits() Limits {
	return Limits{Mode: scaler.ModeAuto, MaxAgents: 10, WaitValue: 10, WaitObjective: "95% under 60s", CachePrice: 0.03, Berths: 2, Executors: 1, MaxLifetime: 24 * time.Hour}
}

func builtinPod(kind scaler.Kind) PodSettings {
	p := PodSettings{
		StartTimeout: 5 * time.Minute, BuildGrace: 10 * time.Minute, Connect: ConnectInbound,
		Image: pool.DefaultImage, CPU: "1", Memory: "2Gi", Docker: pool.DockerNone, CacheSize: "20Gi",
		CacheKeep: scaler.SlotKeep, DockerCLIImage: pool.DefaultDockerCLIImage, RunAs: UserJenkins,
	}
	if kind == scaler.Persistent {
		p.Docker = pool.DockerDind
	}
	return p
}
