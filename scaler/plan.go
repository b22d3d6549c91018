package scaler

import (
	"strings"
	"time"
)

// Verb says what an action does.
type Verb string

// The verbs. Each verb is one write to Jenkins or Kubernetes, but Create is several.
const (
	Register Verb = "register" // Jenkins: register a new berth; the loop chooses its name
	// Create makes a pod, and for an inbound agent its Secret. The pod uses a berth, or a name that is
	// registered first.
	Create    Verb = "create"
	PutSecret Verb = "secret"     // Kubernetes: create the Secret of a coming pod again (existing = done)
	Launch    Verb = "launch"     // Jenkins: call this agent
	Annotate  Verb = "connected"  // Kubernetes: note on the pod that its Jenkins node was online
	Protect   Verb = "protect"    // Kubernetes: keep others from evicting this pod
	Unprotect Verb = "unprotect"  // Kubernetes: let others evict this pod
	Mark      Verb = "mark"       // Jenkins: let the agent take no new build
	ClearMark Verb = "clear-mark" // Jenkins: let the agent take builds again
	// Jenkins: register an inbound node under the name of a Swarm node that is absent.
	Fence      Verb = "fence"
	DeletePod  Verb = "delete-pod"  // Kubernetes, with UID and resourceVersion
	DeleteNode Verb = "delete-node" // Jenkins
	DeleteSlot Verb = "delete-slot" // Kubernetes, with UID and resourceVersion
)

// Verbs returns every verb.
func Verbs() []Verb {
	return []Verb{
		Register, Create, PutSecret, Launch, Annotate, Protect, Unprotect, Mark, ClearMark, Fence, DeletePod, DeleteNode, DeleteSlot,
	}
}

// Destructive reports whether the verb is sent only on fresh answers: within a second after they arrived.
func (v Verb) Destructive() bool {
	return v == Mark || v == Fence || v == DeletePod || v == DeleteNode || v == DeleteSlot
}

// Reason says why a thing was done or not done. Reasons are a closed set, and a metric label.
type Reason string

// The reasons.
const (
	ReasonDemand   Reason = "demand"    // items wait
	ReasonMinimum  Reason = "minimum"   // MIN_AGENTS
	ReasonSpare    Reason = "spare"     // MIN_IDLE
	ReasonForecast Reason = "forecast"  // builds are about to come
	ReasonBerths   Reason = "berths"    // keeps Jenkins naming the labels of the pool
	ReasonOneBuild Reason = "one-build" // an ephemeral agent has its one build
	ReasonIdle     Reason = "idle"      // the agent has been free for too long
	ReasonRoom     Reason = "room"      // the other agents of the pool have room for its builds
	ReasonRenew    Reason = "renew"     // older than MAX_LIFETIME, or its settings have changed
	ReasonBuild    Reason = "build"     // a build runs on the agent
	ReasonFree     Reason = "free"      // no build has run on the agent for a while
	ReasonPaused   Reason = "paused"    // PAUSED
	ReasonTeamGone Reason = "team-gone" // no such team, or no such kind in its mode
	ReasonStuck    Reason = "stuck"     // the agent did not connect in START_TIMEOUT
	ReasonGhost    Reason = "ghost"     // the agent was connected, and has been away too long
	ReasonLeaving  Reason = "leaving"   // somebody else deletes the pod, or its Kubernetes node goes
	ReasonDocker   Reason = "docker"    // the agent's Docker daemon is dead
	ReasonEnded    Reason = "ended"     // the pod ended by itself
	ReasonStray    Reason = "stray"     // a Jenkins node that no team needs
	ReasonLost     Reason = "lost"      // the pod vanished while a build ran
	ReasonIntruder Reason = "intruder"  // a connected Jenkins node without a pod of this instance
	ReasonMonitor  Reason = "monitor"   // a node monitor of Jenkins took the agent offline
	ReasonHook     Reason = "hook"      // Bellboard replaces the hook's mark by its own before a removal
	ReasonDrained  Reason = "drained"   // the agent was marked and idle, and is removed
	ReasonResume   Reason = "resume"    // a queued build wants its agent back
	// Jenkins is about to restart, and does not wait for a build on a marked Jenkins node.
	ReasonQuietDown Reason = "quiet-down"
	ReasonConnected Reason = "connected" // Jenkins showed the agent online for the first time
	ReasonRestart   Reason = "restart"   // repeated after a restart of Bellboard
	ReasonReady     Reason = "ready"     // the agent runs, and waits for Jenkins to call it
	ReasonSteady    Reason = "steady"    // nothing to do
	ReasonBlocked   Reason = "blocked"   // the team wanted more agents, and a rule did not allow them
	ReasonCache     Reason = "cache"     // a cache slot is no longer needed, or is too small
)

// Reasons returns every reason.
func Reasons() []Reason {
	return append(DecisionReasons(),
		ReasonBerths, ReasonOneBuild, ReasonBuild, ReasonFree, ReasonTeamGone, ReasonStuck, ReasonGhost,
		ReasonLeaving, ReasonDocker, ReasonEnded, ReasonStray, ReasonLost, ReasonIntruder, ReasonMonitor,
		ReasonHook, ReasonDrained, ReasonResume, ReasonQuietDown, ReasonConnected, ReasonRestart, ReasonReady,
		ReasonCache,
	)
}

// DecisionReasons returns the reasons that a Decision may have. Metrics use it to exist before they are
// needed. All other reasons belong to single actions.
func DecisionReasons() []Reason {
	return []Reason{
		ReasonDemand, ReasonMinimum, ReasonSpare, ReasonForecast, ReasonIdle, ReasonRoom, ReasonRenew,
		ReasonBlocked, ReasonSteady, ReasonPaused,
	}
}

// Rule says what changed or blocked a demand. Rules are a closed set, and a metric label.
type Rule string

// The rules. Their names are those of the settings that people can change.
const (
	RuleMaxAgents         Rule = "max-agents"          // the team's MAX_AGENTS
	RuleMaxPersistent     Rule = "max-persistent"      // the team's MAX_PERSISTENT
	RuleGlobalMax         Rule = "global-max-agents"   // BELLBOARD_MAX_AGENTS
	RuleScaleUpStep       Rule = "scale-up-step"       // SCALE_UP_STEP
	RuleScaleUpCooldown   Rule = "scale-up-cooldown"   // SCALE_UP_COOLDOWN
	RuleScaleDownCooldown Rule = "scale-down-cooldown" // SCALE_DOWN_COOLDOWN
	RuleMinAgents         Rule = "min-agents"          // MIN_AGENTS
	RuleMinIdle           Rule = "min-idle"            // MIN_IDLE
	RulePaused            Rule = "paused"              // PAUSED
	RuleBackoff           Rule = "back-off"            // the pool's agents failed: a pause, then a probe
	RuleFallback          Rule = "fallback"            // the pool's agents failed: the other kind is made
	RuleQuietDown         Rule = "quiet-down"          // Jenkins is about to shut down
	RuleVetoed            Rule = "vetoed"              // Jenkins gives the items to no agent that fits them
)

// Rules returns every rule.
func Rules() []Rule {
	return []Rule{
		RuleMaxAgents, RuleMaxPersistent, RuleGlobalMax, RuleScaleUpStep, RuleScaleUpCooldown,
		RuleScaleDownCooldown, RuleMinAgents, RuleMinIdle, RulePaused, RuleBackoff, RuleFallback, RuleQuietDown, RuleVetoed,
	}
}

// Step is one rule that changed a number on the way to the decision, with the rule's numbers.
type Step struct {
	Rule  Rule          `json:"rule"`
	From  int           `json:"from"`
	To    int           `json:"to"`
	Note  string        `json:"note,omitempty"`  // how long the rule still applies, or why: "23s left"
	Limit int           `json:"limit,omitempty"` // the value of the setting
	Want  int           `json:"want,omitempty"`  // how many agents the team would have without the limit
	Left  time.Duration `json:"left,omitempty"`  // how long the rule still applies
	Pause *Pause        `json:"pause,omitempty"` // of RuleBackoff and RuleFallback
	Veto  *Vetoed       `json:"veto,omitempty"`  // of RuleVetoed
}

// Pause is what a pool's back-off allows of its creations.
type Pause struct {
	Kind    Kind          `json:"kind"`
	May     int           `json:"may"` // how many agents the back-off allows now
	Failure Failure       `json:"failure,omitempty"`
	Left    time.Duration `json:"left,omitempty"`   // time until the next agent is tried
	Probes  int           `json:"probes,omitempty"` // agents that have not proved themselves yet
	Came    bool          `json:"came,omitempty"`   // a probe has to stay connected, and not only to connect
}

// Vetoed is a label whose items Jenkins does not give to agents that fit them.
type Vetoed struct {
	Label     string `json:"label"`
	Inferred  bool   `json:"inferred,omitempty"`  // Jenkins does not even say that the items want the label
	NamesNode bool   `json:"namesNode,omitempty"` // a foreign Jenkins node has the label as its name
	Why       string `json:"why"`                 // Jenkins' sentence on the items
}

// Action is one thing to do, with its reason. Pod is the pod that a deletion rests on. If a creation failed
// after its pod was made, Pod is that pod, which has no Secret.
type Action struct {
	Verb   Verb   `json:"verb"`
	Agent  string `json:"agent,omitempty"` // empty: the loop chooses a new name
	Pool   PoolID `json:"pool"`
	Reason Reason `json:"reason"`
	Text   string `json:"text"` // the reason in words, with its numbers
	Pod    *Pod   `json:"pod,omitempty"`
	// Slot is the cache slot to use or to delete. In a Create, nil means a new slot, if the pool keeps its
	// cache; the loop chooses its name.
	Slot  *Slot `json:"slot,omitempty"`
	Spare bool  `json:"spare,omitempty"` // of a Create: see Birth
}

// Birth is what a pod records of its creation.
type Birth struct {
	Spare   bool      // no build waits for the agent, so anybody may evict the pod until a build runs
	Session string    // Jenkins' session
	Since   time.Time // since when Bellboard has known that session
}

// Decision is what was decided for one team, with all the numbers that it was decided from.
type Decision struct {
	Team    string        `json:"team"`
	Waiting int           `json:"waiting"` // waiting items that a new agent of this team would serve
	Oldest  time.Duration `json:"oldest"`  // how long the oldest of these items has waited
	Free    int           `json:"free"`    // free executors; Coming, Overdue and Busy count executors too
	Coming  int           `json:"coming"`
	Overdue int           `json:"overdue"` // on the way, but not part of the supply: see Agent.Overdue
	Busy    int           `json:"busy"`
	Alive   int           `json:"alive"`     // pods that count to the caps, not those that we deleted
	Short   int           `json:"shortfall"` // waiting items that no free or coming executor serves
	Vetoed  int           `json:"vetoed"`    // of these, items that Jenkins gives to no agent that fits them
	Level   int           `json:"level"`     // mode auto: as many agents are persistent; the other new ones are ephemeral
	Weighed Weighed       `json:"weighed"`
	Want    int           `json:"want"`  // agents alive after this decision, if no rule limited it
	Up      map[Kind]int  `json:"up"`    // agents to create
	Down    map[Kind]int  `json:"down"`  // agents to mark now, as a scale-down
	Renew   map[Kind]int  `json:"renew"` // agents to mark now and to replace: old, or of other settings
	Reason  Reason        `json:"reason"`
	Text    string        `json:"text"`
	Steps   []Step        `json:"steps,omitempty"`
	Usual   []Usual       `json:"usual,omitempty"` // how long the team's agents took to start recently
	// MaxAgents is the team's MAX_AGENTS now, and Scheduled are the settings that a window sets now.
	MaxAgents int         `json:"maxAgents"`
	Scheduled []Scheduled `json:"scheduled,omitempty"`
}

// Agent is one pair as the table saw it, for people and for metrics.
type Agent struct {
	Name string `json:"name"`
	PoolID
	Class     Class     `json:"class"`
	Pod       bool      `json:"pod"`  // the agent has a pod
	Node      bool      `json:"node"` // the agent has a Jenkins node
	Online    bool      `json:"online"`
	Capacity  int       `json:"capacity"`
	Overdue   bool      `json:"overdue,omitempty"` // on its way for so long that no build waits for it
	Text      string    `json:"text,omitempty"`
	OfflineBy OfflineBy `json:"offlineBy,omitempty"`
	Created   time.Time `json:"created,omitzero"` // of its pod
	Phase     Phase     `json:"phase,omitempty"`  // of its start, as long as it has never connected
	Build     string    `json:"build,omitempty"`  // see Node.Build
}

// Unserved is a group of waiting items that no team can serve.
type Unserved struct {
	Label string   `json:"label"`
	Count int      `json:"count"`
	Jobs  []string `json:"jobs"` // the names of up to three jobs
	Why   string   `json:"why"`  // Jenkins' sentence on the first item
	Text  string   `json:"text"` // why no team serves the items
	// Oldest is how long the oldest of the items has waited.
	Oldest time.Duration `json:"oldest"`
	Near   *Near         `json:"near,omitempty"` // the team that comes nearest to serving the items
}

// Plan is what one tick wants done. The actions are in the order of their urgency.
type Plan struct {
	Actions    []Action   `json:"actions"`
	Decisions  []Decision `json:"decisions"`
	Demands    []Demand   `json:"demands,omitempty"`
	Agents     []Agent    `json:"agents"`
	Slots      []SlotSeen `json:"slots,omitempty"`
	Unserved   []Unserved `json:"unserved,omitempty"`
	Unresolved []Unserved `json:"unresolved,omitempty"`
}

// Ups returns how many agents the decision creates.
func (d *Decision) Ups() int { return d.Up[Ephemeral] + d.Up[Persistent] }

// Downs returns how many agents the decision marks, as a scale-down.
func (d *Decision) Downs() int { return d.Down[Ephemeral] + d.Down[Persistent] }

// Renewals returns how many agents the decision marks in order to replace them.
func (d *Decision) Renewals() int { return d.Renew[Ephemeral] + d.Renew[Persistent] }

// Changes reports whether the decision creates, marks or replaces any agent.
func (d *Decision) Changes() bool { return d.Ups()+d.Downs()+d.Renewals() > 0 }

// Rules returns the names of the rules that changed a number, in the order in which they did. A decision's
// text counts seconds down. Rules does not, and shows whether the same rules still block the team.
func (d *Decision) Rules() string {
	rules := make([]string, 0, len(d.Steps))
	for _, s := range d.Steps {
		rules = append(rules, string(s.Rule))
	}
	return strings.Join(rules, " ")
}
