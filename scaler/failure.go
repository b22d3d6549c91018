package scaler

import "time"

// Failure is why an agent did not connect, or why it died: a closed set, and a metric label. The class
// follows from reasons that Kubernetes gives in fields of their own, never from Kubernetes' messages.
type Failure string

// The classes of failure.
const (
	// An image could not be pulled: the registry failed, rights are missing, or there is no such image.
	// Kubernetes has one reason for all three.
	FailureImagePull     Failure = "image-pull"
	FailureBadImage      Failure = "bad-image"     // the name of an image is not valid
	FailureQuota         Failure = "quota"         // a ResourceQuota is used up
	FailureAdmission     Failure = "admission"     // the API server rejects the pod: a rule, a missing right
	FailureUnschedulable Failure = "unschedulable" // no Kubernetes node has room for the pod, or none fits
	FailureNodeGone      Failure = "node-gone"     // the Kubernetes node disappeared, or rejected the pod
	FailureEvicted       Failure = "evicted"       // the Kubernetes node or somebody evicted the pod
	FailureOOM           Failure = "oom"           // a container used more memory than its limit
	// A container ends, or cannot be created, again and again; or the agent's Docker daemon does not get
	// ready.
	FailureCrashLoop      Failure = "crash-loop"
	FailureNeverConnected Failure = "never-connected"    // the agent ran, and Jenkins did not see it connect
	FailureVetoed         Failure = "refused-by-jenkins" // Jenkins gives no item to the agent
	// The pod's volumes or its network never became ready, or its cache slot has no volume.
	FailureStorage Failure = "storage"
)

// Failures returns every class of failure.
func Failures() []Failure {
	return []Failure{
		FailureImagePull, FailureBadImage, FailureQuota, FailureAdmission, FailureUnschedulable, FailureNodeGone, FailureEvicted,
		FailureOOM, FailureCrashLoop, FailureNeverConnected, FailureVetoed, FailureStorage,
	}
}

// GiveUpAfter is how long a definite failure may last before Bellboard gives the agent up. The rest of
// START_TIMEOUT would not help the agent.
const GiveUpAfter = time.Minute

// LastsAfter is how long an agent has to stay connected to prove that the agents of its pool can live. An
// agent that dies because of its own start dies sooner, and a waiting build can still bear a minute.
const LastsAfter = time.Minute

// Lasted reports whether the agent has been connected for at least LastsAfter.
func (p *Pod) Lasted(now time.Time) bool {
	return p.Connected && now.Sub(p.ConnectedAt) >= LastsAfter
}

// definite reports whether waiting does not heal the failure: the pod stays as it is.
func (f Failure) definite() bool {
	return f == FailureBadImage || f == FailureCrashLoop || f == FailureOOM
}

// failing reports whether the pod shows a definite failure. Once the agent has connected, it can work, and
// only a failure of its Docker daemon counts.
func (p *Pod) failing() bool {
	if p.Connected {
		return p.DockerFailure.definite()
	}
	return p.Failure.definite()
}

// freed reports whether the failure heals when something else frees room. If an agent of the pool gets a
// Kubernetes node, there is room again, long before that agent connects.
func (f Failure) freed() bool { return f == FailureQuota || f == FailureUnschedulable }

// Pause returns how long a pool makes no agent after a number of such failures in a row. The pause depends on
// how the failure heals.
func (f Failure) Pause(times int) time.Duration {
	first, last := 5*time.Second, 5*time.Minute
	switch {
	case f.freed(), f == FailureNodeGone, f == FailureEvicted:
		last = time.Minute
	case f == FailureBadImage, f == FailureAdmission: // a person has to change something
		first, last = time.Minute, 10*time.Minute
	}
	return min(first<<min(max(times-1, 0), 10), last)
}

// FailedAgent is an agent that did not connect, that died, or that is of no more use.
type FailedAgent struct {
	PoolID
	Agent   string  `json:"agent"`
	Failure Failure `json:"failure"`
	Text    string  `json:"text"`
	Log     string  `json:"log,omitempty"` // the last lines that the failed container has written
}

// failureAt has the failure that belongs to each phase, if a pod stops in that phase without a reason.
var failureAt = map[Phase]Failure{
	PhaseSchedule: FailureUnschedulable,
	PhaseMount:    FailureStorage,
	PhasePull:     FailureImagePull,
	PhaseDocker:   FailureCrashLoop,
	PhaseAgent:    FailureImagePull,
	PhaseConnect:  FailureNeverConnected,
}

// FailureOf returns why a pod failed: the failure that Kubernetes reports, or else the failure that belongs
// to the phase in which the pod stopped.
func FailureOf(p *Pod) Failure {
	phase, _ := p.reached()
	switch at := failureAt[phase]; {
	case p.Failure != "":
		return p.Failure
	case p.Ended(), at == FailureImagePull && p.Faulty != "":
		// A container that is not Bellboard's may keep the agent's container from starting.
		return FailureNeverConnected
	default:
		return at
	}
}

// givenUp reports whether every answer in the last GiveUpAfter showed a definite failure. An agent that was
// connected once is never given up for such a failure.
func (p *Pair) givenUp(now time.Time) bool {
	return !p.Pod.Connected && !p.Failing.IsZero() && now.Sub(p.Failing) >= GiveUpAfter
}
