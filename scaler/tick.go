package scaler

import "time"

// Source is an API that can fail to answer.
type Source string

// The sources.
const (
	SourceJenkins    Source = "jenkins"
	SourceKubernetes Source = "kubernetes"
	SourceBellboard  Source = "bellboard" // a plan of its own that broke a promise
)

// HoldCause is the class of a fault. Each adapter has a closed set of its own; these are
// the loop's.
type HoldCause string

// The causes that the loop finds by itself.
const (
	CauseOld   HoldCause = "old"   // the answers came too late
	CausePlan  HoldCause = "plan"  // a plan broke a promise
	CauseOther HoldCause = "other" // an error of no known class
)

// Tick is the whole record of one pass: what the log line, the metrics, the
// page and the status answer are all made from.
type Tick struct {
	ID   string        `json:"id"` // <process>-<number>, the decision id everywhere
	At   time.Time     `json:"at"`
	Took time.Duration `json:"took"`
	// Hold, when set, says why nothing was decided; HoldBy is the source at fault.
	Hold   string `json:"hold,omitempty"`
	HoldBy Source `json:"holdBy,omitempty"`
	// HoldCause is the class of the fault. Hold's words may differ from tick to tick
	// for one and the same fault; its class does not, and tells what is news.
	HoldCause HoldCause `json:"holdCause,omitempty"`
	// HoldSince is when the hold began; of a tick that does not hold, when that one
	// began which it ends.
	HoldSince time.Time `json:"holdSince,omitzero"`
	// News is what of the tick people should hear of. It points into the tick.
	News []News `json:"-"`
	// Grace is what is left of the restart grace, in which nothing is removed.
	Grace time.Duration `json:"grace"`
	// Ages of what the tick rests on, at its start of deciding.
	Age      map[Source]time.Duration `json:"age,omitempty"`
	Plan     Plan                     `json:"plan"`
	Outcomes []Outcome                `json:"outcomes,omitempty"`
	Facts    Facts                    `json:"facts"`
}

// Outcome is what became of one action.
type Outcome struct {
	Action Action `json:"action"`
	Result Result `json:"result"`
	Error  string `json:"error,omitempty"`
	// FailedBy is SourceJenkins of a creation that did not come to its pod, since
	// Jenkins gave no answer to it, or to another of its pool before it.
	FailedBy Source `json:"failedBy,omitempty"`
	// Failure is the class of an agent's failure that this tells of.
	Failure Failure `json:"failure,omitempty"`
	// Log is the last lines of an agent that was deleted since it failed.
	Log string `json:"-"`
}

// Result is how an action ended: a closed set, and a metric label.
type Result string

// The results.
const (
	Done    Result = "done"
	Late    Result = "late"    // not sent: its answers had grown too old; decided anew next tick
	NoTime  Result = "no-time" // not begun: others took all of the tick; decided anew next tick
	Changed Result = "changed" // a precondition did not hold; decided anew next tick
	Refused Result = "refused" // the server said no
	Failed  Result = "failed"
	Skipped Result = "skipped" // DRY_RUN, or the pool's last of the same did not work in this tick
)

// Results lists every result.
func Results() []Result { return []Result{Done, Late, NoTime, Changed, Refused, Failed, Skipped} }

// Facts is what happened since the tick before, counted once.
type Facts struct {
	Waits    []Wait    `json:"waits,omitempty"`
	Startups []Startup `json:"startups,omitempty"`
	// FirstBuilds are those of agents that have a cache slot.
	FirstBuilds []FirstBuild `json:"firstBuilds,omitempty"`
	// BuildsLost are the agents that went under their builds, by name.
	BuildsLost []LostBuilds `json:"buildsLost,omitempty"`
	// SecondBuilds counts builds that slipped onto an ephemeral agent after its first.
	SecondBuilds map[PoolID]int `json:"-"`
	// Failures are the agents that could not be made, or were removed without ever
	// having connected, or died after that, or to which Jenkins gives no item of a label that they fit, or
	// were marked since their Docker daemon is dead.
	Failures []FailedAgent `json:"failures,omitempty"`
}

// Wait is how long one item waited from entering the queue to leaving it.
type Wait struct {
	Team string        `json:"team"`
	Took time.Duration `json:"took"`
}

// Startup is how long one agent took from its pod's creation to its node being online.
type Startup struct {
	PoolID
	Took   time.Duration `json:"took"`
	Phases []PhaseTime   `json:"phases,omitempty"` // what it is made of, in order, as far as Kubernetes told
	// Created and Scheduled are its pod's.
	Created   time.Time `json:"-"`
	Scheduled time.Time `json:"-"`
}

// LostBuilds is what one agent's builds lost, and why as far as its pod told.
type LostBuilds struct {
	PoolID
	Agent  string `json:"agent"`
	Builds int    `json:"builds"`
	Text   string `json:"text"`
	// Log is the last lines of the container at fault, if it has written any.
	Log string `json:"log,omitempty"`
}

// FirstBuild is how long it took from the creation of an agent's pod until it was
// at work, for a build that had waited for it.
type FirstBuild struct {
	PoolID
	Warmth Warmth        `json:"warmth"`
	Took   time.Duration `json:"took"`
}
