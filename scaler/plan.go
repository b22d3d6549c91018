package scaler

import (
	"strings"
	"time"
)

// Verb is what an action does.
type Verb string

// The verbs, each one write to Jenkins or Kubernetes (Create: several).
const (
	Register   Verb = "register"    // Jenkins: a new berth; the loop chooses its name
	Create     Verb = "create"      // pod, and its Secret when inbound; on a berth, or on a name registered first
	PutSecret  Verb = "secret"      // repeat the Secret of a coming pod (exists = done)
	Launch     Verb = "launch"      // Jenkins: call this agent
	Annotate   Verb = "connected"   // Kubernetes: this pod's node was online once
	Protect    Verb = "protect"     // Kubernetes: nobody else is to evict this pod
	Unprotect  Verb = "unprotect"   // Kubernetes: anybody may
	Mark       Verb = "mark"        // Jenkins: take no new work
	ClearMark  Verb = "clear-mark"  // Jenkins: take work again
	Fence      Verb = "fence"       // Jenkins: register an inbound node under an absent Swarm node's name
	DeletePod  Verb = "delete-pod"  // Kubernetes, with UID and resourceVersion
	DeleteNode Verb = "delete-node" // Jenkins
	DeleteSlot Verb = "delete-slot" // Kubernetes, with UID and resourceVersion
)

// Verbs lists every verb.
func Verbs() []Verb {
	return []Verb{
		Register, Create, PutSecret, Launch, Annotate, Protect, Unprotect, Mark, ClearMark, Fence, DeletePod, DeleteNode, DeleteSlot,
	}
}

// Destructive verbs are sent only on fresh answers: within a second of them.
func (v Verb) Destructive() bool {
	return v == Mark || v == Fence || v == DeletePod || v == DeleteNode || v == DeleteSlot
}

// Reason is why a thing was done or not done: a closed set, and a metric label.
type Reason string

// The reasons.
const (
	ReasonDemand    Reason = "demand"     // items wait
	ReasonMinimum   Reason = "minimum"    // MIN_AGENTS
	ReasonSpare     Reason = "spare"      // MIN_IDLE
	ReasonLevel     Reason = "level"      // auto: needed in over half of the last hour
	ReasonBerths    Reason = "berths"     // keeps the labels resolvable
	ReasonOneBuild  Reason = "one-build"  // an ephemeral agent has its build
	ReasonIdle      Reason = "idle"       // nobody needed it for IDLE_TIMEOUT
	ReasonRoom      Reason = "room"       // the other agents of its pool have room for its builds
	ReasonRenew     Reason = "renew"      // over MAX_LIFETIME, or its settings have changed
	ReasonBuild     Reason = "build"      // a build runs on it
	ReasonFree      Reason = "free"       // no build has run on it for a while
	ReasonPaused    Reason = "paused"     // PAUSED
	ReasonTeamGone  Reason = "team-gone"  // no such team, or no such kind in its mode
	ReasonStuck     Reason = "stuck"      // did not connect in START_TIMEOUT
	ReasonGhost     Reason = "ghost"      // was connected, is away too long
	ReasonLeaving   Reason = "leaving"    // somebody else deletes its pod, or its node goes
	ReasonDocker    Reason = "docker"     // its Docker daemon is dead
	ReasonEnded     Reason = "ended"      // its pod ended by itself
	ReasonStray     Reason = "stray"      // a node that nobody needs
	ReasonLost      Reason = "lost"       // its pod vanished under a build
	ReasonIntruder  Reason = "intruder"   // an agent without a pod of ours
	ReasonMonitor   Reason = "monitor"    // a node monitor of Jenkins took it offline
	ReasonHook      Reason = "hook"       // the hook's mark, made ours before removal
	ReasonDrained   Reason = "drained"    // marked, idle, removed
	ReasonResume    Reason = "resume"     // a build wants its agent back
	ReasonQuietDown Reason = "quiet-down" // Jenkins is about to restart, and waits for no build on a marked node
	ReasonConnected Reason = "connected"  // seen online for the first time
	ReasonRestart   Reason = "restart"    // repeated after a restart of Bellboard
	ReasonReady     Reason = "ready"      // it runs, and Jenkins is the one to call
	ReasonSteady    Reason = "steady"     // nothing to do
	ReasonBlocked   Reason = "blocked"    // wanted more, a rule said no
	ReasonCache     Reason = "cache"      // a cache slot that nobody needs, or that is too small
)

// Reasons lists every reason.
func Reasons() []Reason {
	return []Reason{
		ReasonDemand, ReasonMinimum, ReasonSpare, ReasonLevel, ReasonBerths, ReasonOneBuild, ReasonIdle, ReasonRoom, ReasonRenew, ReasonBuild, ReasonFree,
		ReasonPaused, ReasonTeamGone, ReasonStuck, ReasonGhost, ReasonLeaving, ReasonDocker, ReasonEnded, ReasonStray, ReasonLost, ReasonIntruder,
		ReasonMonitor, ReasonHook, ReasonDrained, ReasonResume, ReasonQuietDown, ReasonConnected, ReasonRestart, ReasonReady, ReasonSteady, ReasonBlocked,
		ReasonCache,
	}
}

// DecisionReasons lists those that a Decision may have, for metrics that exist
// before they are needed. The others are of single actions.
func DecisionReasons() []Reason {
	return []Reason{ReasonDemand, ReasonMinimum, ReasonLevel, ReasonSpare, ReasonIdle, ReasonRoom, ReasonRenew, ReasonBlocked, ReasonSteady, ReasonPaused}
}

// Rule is what changed or blocked a demand: a closed set, and a metric label.
type Rule string

// The rules, named after the settings that people can change.
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
	RuleBackoff           Rule = "back-off"            // the pool's last agents failed: none for a while, then one probe
	RuleFallback          Rule = "fallback"            // the same, and the team's other kind is made instead
	RuleQuietDown         Rule = "quiet-down"          // Jenkins is about to shut down
	RuleRefused           Rule = "refused"             // Jenkins gives the items to no agent that fits
)

// Rules lists every rule.
func Rules() []Rule {
	return []Rule{
		RuleMaxAgents, RuleMaxPersistent, RuleGlobalMax, RuleScaleUpStep, RuleScaleUpCooldown,
		RuleScaleDownCooldown, RuleMinAgents, RuleMinIdle, RulePaused, RuleBackoff, RuleFallback, RuleQuietDown, RuleRefused,
	}
}

// Step is one rule that changed a number on its way to the decision, with its numbers.
type Step struct {
	Rule Rule   `json:"rule"`
	From int    `json:"from"`
	To   int    `json:"to"`
	Note string `json:"note,omitempty"` // what is left of it, or why it is there: "23s left"
	// Limit is the value of the setting, Want what the team would have without it.
	Limit int `json:"limit,omitempty"`
	Want  int `json:"want,omitempty"`
	// Left is how long it goes on.
	Left  time.Duration `json:"left,omitempty"`
	Pause *Pause        `json:"pause,omitempty"` // of RuleBackoff and RuleFallback
	Veto  *Vetoed       `json:"veto,omitempty"`  // of RuleRefused
}

// Pause is what the back-off of a pool leaves of its creations.
type Pause struct {
	Kind    Kind          `json:"kind"`
	May     int           `json:"may"` // how many agents it allows now
	Failure Failure       `json:"failure,omitempty"`
	Left    time.Duration `json:"left,omitempty"`   // until the next try
	Probes  int           `json:"probes,omitempty"` // agents that have yet to prove themselves
	Came    bool          `json:"came,omitempty"`   // they have to last, not only to come
}

// Vetoed is a label whose items Jenkins does not give to agents that fit it, or of which
// Jenkins does not say that they want it.
type Vetoed struct {
	Label     string `json:"label"`
	Inferred  bool   `json:"inferred,omitempty"`
	NamesNode bool   `json:"namesNode,omitempty"` // a Jenkins node that is not ours has that name
	Why       string `json:"why"`                 // Jenkins' sentence
}

// Action is one thing to do, with its reason. Pod is what a deletion of one rests
// on; of a creation that failed after all, the one that was made and has no Secret.
type Action struct {
	Verb   Verb   `json:"verb"`
	Agent  string `json:"agent,omitempty"` // empty: the loop chooses a new name
	Pool   PoolID `json:"pool"`
	Reason Reason `json:"reason"`
	Text   string `json:"text"` // the reason in words, with its numbers
	Pod    *Pod   `json:"pod,omitempty"`
	// Slot is the cache slot to work on, to delete or to expand. Create: nil is a
	// new one, whose name the loop chooses, if the pool keeps its cache.
	Slot *Slot `json:"slot,omitempty"`
	// Spare is of Create: no build waits for it, so anybody may evict it until one runs.
	Spare bool `json:"spare,omitempty"`
}

// Birth is what a pod is told of its creation.
type Birth struct {
	// Spare: no build waits for its agent, so anybody may evict the pod until one runs.
	Spare bool
	// Session is Jenkins' session, known since then.
	Session string
	Since   time.Time
}

// Decision is what was decided for one team, and all it was decided from.
type Decision struct {
	Team    string        `json:"team"`
	Waiting int           `json:"waiting"` // items that a new agent of this team would serve
	Oldest  time.Duration `json:"oldest"`  // how long the oldest of them waits
	Free    int           `json:"free"`    // executors, like coming, late and busy
	Coming  int           `json:"coming"`
	Late    int           `json:"late"` // on the way, and not counted on: see Agent
	Busy    int           `json:"busy"`
	Alive   int           `json:"alive"`     // pods, draining and held ones too, without those that Bellboard has deleted: what the caps count
	Short   int           `json:"shortfall"` // waiting items that nothing free or coming serves
	Refused int           `json:"refused"`   // of those, items that Jenkins gives to no agent that fits
	Level   int           `json:"level"`     // auto: persistent agents that the last hour justifies
	Want    int           `json:"want"`      // agents alive after that, if no rule had said no
	Up      map[Kind]int  `json:"up"`        // to create
	Down    map[Kind]int  `json:"down"`      // to mark now, as a scale-down
	Renew   map[Kind]int  `json:"renew"`     // to mark now, and to be replaced: old, or of other settings
	Reason  Reason        `json:"reason"`
	Text    string        `json:"text"`
	Steps   []Step        `json:"steps,omitempty"`
	Usual   []Usual       `json:"usual,omitempty"` // how long its agents took to start, of late
}

// Agent is one pair as the table saw it, for people and metrics.
type Agent struct {
	Name string `json:"name"`
	PoolID
	Class     Class     `json:"class"`
	Pod       bool      `json:"pod"`  // it has one
	Node      bool      `json:"node"` // it has one
	Online    bool      `json:"online"`
	Capacity  int       `json:"capacity"`
	Late      bool      `json:"late,omitempty"` // on the way for far longer than those that got their machine after it and have come; not counted on
	Text      string    `json:"text,omitempty"`
	OfflineBy OfflineBy `json:"offlineBy,omitempty"`
}

// Unserved is a group of waiting items that no team can serve.
type Unserved struct {
	Label string   `json:"label"`
	Count int      `json:"count"`
	Jobs  []string `json:"jobs"` // a few names
	Why   string   `json:"why"`  // what Jenkins said of the first
	Text  string   `json:"text"` // why none serves them
}

// Plan is what one tick wants done. Actions are in order of urgency.
type Plan struct {
	Actions    []Action   `json:"actions"`
	Decisions  []Decision `json:"decisions"`
	Agents     []Agent    `json:"agents"`
	Slots      []SlotSeen `json:"slots,omitempty"`
	Nobodys    []Unserved `json:"nobodys,omitempty"`
	Unresolved []Unserved `json:"unresolved,omitempty"`
}

// Ups is how many agents the decision creates.
func (d *Decision) Ups() int { return d.Up[Ephemeral] + d.Up[Persistent] }

// Downs is how many agents it marks, as a scale-down.
func (d *Decision) Downs() int { return d.Down[Ephemeral] + d.Down[Persistent] }

// Renewals is how many agents it marks, to be replaced by new ones.
func (d *Decision) Renewals() int { return d.Renew[Ephemeral] + d.Renew[Persistent] }

// Changes reports whether it does any of these.
func (d *Decision) Changes() bool { return d.Ups()+d.Downs()+d.Renewals() > 0 }

// Rules names those that changed a number on its way, in their order. Unlike the
// words of a decision they count no seconds down: they tell whether it is the same block.
func (d *Decision) Rules() string {
	rules := make([]string, 0, len(d.Steps))
	for _, s := range d.Steps {
		rules = append(rules, string(s.Rule))
	}
	return strings.Join(rules, " ")
}
