package scaler

import (
	"time"
)

// Failure is why an agent did not come, or died: a
// closed set, and a metric label. It is concluded from the reasons that
// Kubernetes gives in fields of their own, never from its messages.
type Failure string

// The classes of failure.
const (
	FailureImagePull      Failure = "image-pull"         // an image did not come: registry, rights, or no such image (Kubernetes has one reason for all three)
	FailureBadImage       Failure = "bad-image"          // what is called an image can be none
	FailureQuota          Failure = "quota"              // a ResourceQuota is used up
	FailureAdmission      Failure = "admission"          // the API server takes no such pod: admission, or permission
	FailureUnschedulable  Failure = "unschedulable"      // no machine has room or fits
	FailureNodeGone       Failure = "node-gone"          // its machine went, or would not take it
	FailureEvicted        Failure = "evicted"            // its machine, or somebody with a right to, put it out
	FailureOOM            Failure = "oom"                // a container used more memory than it may
	FailureCrashLoop      Failure = "crash-loop"         // a container ends, or cannot be made, again and again, or its Docker daemon does not become ready
	FailureNeverConnected Failure = "never-connected"    // it ran, and Jenkins did not see it
	FailureRefused        Failure = "refused-by-jenkins" // Jenkins gives it nothing to do
	FailureStorage        Failure = "storage"            // its volumes (or its network) were never ready, or its cache slot has no volume
)

// Failures lists every class.
func Failures() []Failure {
	return []Failure{
		FailureImagePull, FailureBadImage, FailureQuota, FailureAdmission, FailureUnschedulable, FailureNodeGone, FailureEvicted,
		FailureOOM, FailureCrashLoop, FailureNeverConnected, FailureRefused, FailureStorage,
	}
}

// GiveUpAfter is how long a definite failure may last before its agent is
// given up: no START_TIMEOUT would help it.
const GiveUpAfter = time.Minute

// LastsAfter is how long an agent has to be connected to show that its pool's agents
// can live: long enough for what dies of its own start, and no longer than a build
// that waits for the next one can bear.
const LastsAfter = time.Minute

// Died reports that an agent which had come has ended by itself, of what fails one.
// What somebody has deleted, or what ended well, has not.
func (p *Pod) Died() bool {
	return p.Connected && p.Phase == PodFailed && !p.Deleting && p.Failure != ""
}

// Lasted reports that the pod has been connected for long enough.
func (p *Pod) Lasted(now time.Time) bool {
	return p.Connected && now.Sub(p.ConnectedAt) >= LastsAfter
}

// definite failures do not heal by waiting: the pod stays as it is.
func (f Failure) definite() bool {
	return f == FailureBadImage || f == FailureCrashLoop || f == FailureOOM
}

// failing: the pod shows a definite failure. Of one that has been connected only
// its Docker daemon's counts: its agent can work.
func (p *Pod) failing() bool {
	if p.Connected {
		return p.DockerFailure.definite()
	}
	return p.Failure.definite()
}

// freed failures heal when something else ends: an agent that has a machine
// shows that there is room again, long before it connects.
func (f Failure) freed() bool { return f == FailureQuota || f == FailureUnschedulable }

// stubborn failures heal only when a person changes something.
func (f Failure) stubborn() bool { return f == FailureBadImage || f == FailureAdmission }

// Pause is how long a pool makes no agent after that many have failed so, one after
// another: the longer the more, and by how such a failure heals.
func (f Failure) Pause(times int) time.Duration {
	first, last := 5*time.Second, 5*time.Minute
	switch {
	case f.freed(), f == FailureNodeGone, f == FailureEvicted:
		last = time.Minute
	case f.stubborn():
		first, last = time.Minute, 10*time.Minute
	}
	return min(first<<min(max(times-1, 0), 10), last)
}

// A FailedAgent is one that did not come, died, or is of no more use.
type FailedAgent struct {
	PoolID
	Agent   string  `json:"agent"`
	Failure Failure `json:"failure"`
	Text    string  `json:"text"`
	// Log is the last lines of the container at fault, if it has written any.
	Log string `json:"log,omitempty"`
}

// FailureOf is why a pod failed: what Kubernetes says, and where it says nothing, the
// step at which it stood still.
func FailureOf(p *Pod) Failure {
	switch {
	case p.Failure != "":
		return p.Failure
	case p.Ended():
		return FailureNeverConnected
	}
	switch p.reached() {
	case PhasePull, PhaseAgent:
		if p.Faulty == "" {
			return FailureImagePull
		}
		// A container that is not Bellboard's keeps the agent's from starting.
	case PhaseSchedule:
		return FailureUnschedulable
	case PhaseMount:
		return FailureStorage
	case PhaseDocker:
		return FailureCrashLoop
	case PhaseConnect:
	}
	return FailureNeverConnected
}

// givenUp: every answer of the last minute showed a definite failure. What was
// connected once is never given up for it.
func (p *Pair) givenUp(now time.Time) bool {
	return !p.Pod.Connected && !p.Failing.IsZero() && now.Sub(p.Failing) >= GiveUpAfter
}
