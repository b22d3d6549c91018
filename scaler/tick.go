package scaler

import "time"

// Source is an API that can fail to answer.
type Source string

// The sources.
const (
	SourceJenkins    Source = "jenkins"
	SourceKubernetes Source = "kubernetes"
	SourceBellboard  Source = "bellboard" // Bellboard's own plan broke a promise
)

// HoldCause is the class of a fault. Each adapter has a closed set of its own.
type HoldCause string

// The causes that the loop finds by itself.
const (
	CauseOld   HoldCause = "old"   // the answers came too late
	CausePlan  HoldCause = "plan"  // a plan broke a promise
	CauseOther HoldCause = "other" // an error of no known class
)

// Tick is the whole record of one pass. The log line, the metrics, the page and the status answer are all
// made from it.
type Tick struct {
	ID   string        `json:"id"` // <process>-<number>, the decision id everywhere
	At   time.Time     `json:"at"`
	Took time.Duration `json:"took"`
	// Hold, when set, says why nothing was decided. For one fault its words may differ from tick to tick. The
	// class of the fault does not, and decides whether the hold is news.
	Hold      string                   `json:"hold,omitempty"`
	HoldBy    Source                   `json:"holdBy,omitempty"` // the source at fault
	HoldCause HoldCause                `json:"holdCause,omitempty"`
	HoldSince time.Time                `json:"holdSince,omitzero"` // of the hold that the tick is in, or ends
	News      []News                   `json:"-"`                  // for people; points into the tick
	Grace     time.Duration            `json:"grace"`              // what is left of JENKINS_RESTART_GRACE
	Age       map[Source]time.Duration `json:"age,omitempty"`      // of the answers, when the decision began
	Items     []Item                   `json:"-"`                  // of Jenkins' queue, for Why: there may be thousands
	Plan      Plan                     `json:"plan"`
	Outcomes  []Outcome                `json:"outcomes,omitempty"`
	Facts     Facts                    `json:"facts"`
}

// Outcome is the result of one action.
type Outcome struct {
	Action Action `json:"action"`
	Result Result `json:"result"`
	Error  string `json:"error,omitempty"`
	// FailedBy is SourceJenkins if a creation ended before its pod was asked for: Jenkins gave no answer to
	// this creation, or to an earlier one of its pool.
	FailedBy Source  `json:"failedBy,omitempty"`
	Failure  Failure `json:"failure,omitempty"` // the class of the agent's failure that this outcome tells of
	Log      string  `json:"-"`                 // the last lines of the log of an agent that failed
}

// Result is how an action ended: a closed set, and a metric label.
type Result string

// The results.
const (
	Done     Result = "done"
	Expired  Result = "expired"  // not sent: the answers it rests on were too old; the next tick decides anew
	NoTime   Result = "no-time"  // not begun: other actions took all of the tick; the next tick decides anew
	Changed  Result = "changed"  // a precondition did not hold; the next tick decides anew
	Rejected Result = "rejected" // the server rejected it
	Failed   Result = "failed"
	Skipped  Result = "skipped" // DRY_RUN, or the same action failed for the same pool in this tick
)

// Results lists every result.
func Results() []Result { return []Result{Done, Expired, NoTime, Changed, Rejected, Failed, Skipped} }

// Facts are the events since the tick before, each counted once.
type Facts struct {
	Waits        []Wait         `json:"waits,omitempty"`  // builds that got an executor
	Gone         map[string]int `json:"gone,omitempty"`   // by team: items that left the queue, and whose build was never seen
	Missed       map[string]int `json:"missed,omitempty"` // by team: builds that have now waited for longer than WAIT_OBJECTIVE
	Startups     []Startup      `json:"startups,omitempty"`
	FirstBuilds  []FirstBuild   `json:"firstBuilds,omitempty"` // of agents that have a cache slot
	Builds       []BuildDone    `json:"builds,omitempty"`      // builds that are over
	BuildsLost   []LostBuilds   `json:"buildsLost,omitempty"`  // by agent
	SecondBuilds map[PoolID]int `json:"-"`                     // builds of an ephemeral agent after its first
	// Failures are the agents that could not be made, that never connected, or that died. Also: agents that
	// get no item of a label that they fit, and agents whose Docker daemon is dead.
	Failures []FailedAgent `json:"failures,omitempty"`
}

// Wait is how long one build waited: from when only an executor was missing until it had one. Job is the full name of
// the job. A build that no answer showed in the queue has waited for zero.
type Wait struct {
	Team string        `json:"team"`
	Job  string        `json:"job,omitempty"`
	Took time.Duration `json:"took"`
	Kind Kind          `json:"kind,omitempty"` // of the agent; empty: not an agent of this instance, or not known
	Met  bool          `json:"met,omitempty"`  // within the team's objective
}

// Startup is how long one agent took from the creation of its pod until its Jenkins node was online.
type Startup struct {
	PoolID
	Took               time.Duration `json:"took"`
	Phases             []PhaseTime   `json:"phases,omitempty"` // its parts in order, as far as known
	Created, Scheduled time.Time     `json:"-"`                // of the agent's pod
}

// LostBuilds are the builds that lost one agent, and the reason, as far as the pod tells it.
type LostBuilds struct {
	PoolID
	Agent  string `json:"agent"`
	Builds int    `json:"builds"`
	Text   string `json:"text"`
	Log    string `json:"log,omitempty"` // the last lines that the failed container has written
}

// BuildDone is a build of an agent that runs one build at a time. Job is the URL of the job.
type BuildDone struct {
	PoolID
	Agent  string        `json:"agent"`
	Job    string        `json:"job"`
	Warmth Warmth        `json:"warmth"`          // of the agent's cache when the agent was made
	Began  time.Time     `json:"began"`           // the first poll that saw the build
	Took   time.Duration `json:"took"`            // until the first poll that did not
	Again  bool          `json:"again,omitempty"` // the agent had run a build before
}

// FirstBuild is how long a build waited for its agent, from the creation of the agent's pod until the build
// ran.
type FirstBuild struct {
	PoolID
	Warmth Warmth        `json:"warmth"`
	Took   time.Duration `json:"took"`
}
