package scaler

import "time"

// PodPhase is a pod's phase, in Kubernetes' words.
type PodPhase string

// The phases of a pod.
const (
	PodPending   PodPhase = "Pending"
	PodRunning   PodPhase = "Running"
	PodSucceeded PodPhase = "Succeeded"
	PodFailed    PodPhase = "Failed"
)

// Pod is one agent's pod as the cache shows it.
type Pod struct {
	PoolID
	Name            string    `json:"name"`
	Namespace       string    `json:"namespace"`
	UID             string    `json:"uid"`
	ResourceVersion string    `json:"resourceVersion"`
	Phase           PodPhase  `json:"phase"`
	Created         time.Time `json:"created"`
	Scheduled       time.Time `json:"scheduled"` // zero: not yet
	Mounted         time.Time `json:"mounted"`   // when its volumes and network were ready; zero: not yet, or not told
	// DockerUp is when the container of its Docker daemon began to run,
	// DockerReady when the daemon answered; zero: not yet, or it has none.
	DockerUp    time.Time `json:"dockerUp"`
	DockerReady time.Time `json:"dockerReady"`
	Ready       time.Time `json:"ready"`       // when the agent's container ran; zero: not yet
	Connected   bool      `json:"connected"`   // annotated: its node was once online
	ConnectedAt time.Time `json:"connectedAt"` // and since when, as the annotation says
	// Session is Jenkins' in which the pod was made, and SessionSince since when the
	// maker knew that session.
	Session      string    `json:"session,omitempty"`
	SessionSince time.Time `json:"sessionSince,omitzero"`
	Deleting     bool      `json:"deleting"`
	DeletingByUs bool      `json:"deletingByUs"`  // with the grace that only Bellboard uses
	Ends         time.Time `json:"ends,omitzero"` // when the grace of its deletion is over; zero: it has none, or is not told yet
	Disrupted    bool      `json:"disrupted"`     // condition DisruptionTarget
	Requested    bool      `json:"requested"`     // created by us, not in the cache yet
	Connect      Connect   `json:"connect"`
	Spec         string    `json:"spec"`      // what its pool's Spec was when it was made
	Protected    bool      `json:"protected"` // others are told not to evict it
	// Trouble is Kubernetes' own reason when the pod cannot start or has ended
	// (ImagePullBackOff, Unschedulable, OOMKilled, Evicted ...), TroubleText its words.
	Trouble     string `json:"trouble,omitempty"`
	TroubleText string `json:"troubleText,omitempty"`
	// Slot is the claim that its Docker data is on; empty: on none. VolumeTrouble: a
	// volume is among what keeps the pod from a machine.
	Slot          string `json:"slot,omitempty"`
	Warmth        Warmth `json:"warmth,omitempty"`
	VolumeTrouble bool   `json:"volumeTrouble,omitempty"`
	// Missing: one of its containers needs an image, a Secret or a ConfigMap that is not there.
	Missing bool `json:"missing,omitempty"`
	// Failure is the class of that reason; "" when it is none that fails an agent.
	Failure Failure `json:"failure,omitempty"`
	// Faulty is the container that the trouble is with, or a Docker daemon that does
	// not answer yet; "" when it is with the pod.
	Faulty string `json:"faulty,omitempty"`
	// DockerFailure is the class of what is wrong with its Docker daemon while its
	// agent runs; "": nothing that is known, or it has none.
	DockerFailure Failure `json:"dockerFailure,omitempty"`
}

// Ended reports whether nothing of it runs any more, nor ever will.
func (p *Pod) Ended() bool { return p.Phase == PodSucceeded || p.Phase == PodFailed }

// ClusterView is the pods and cache slots of this instance as the caches show them.
type ClusterView struct {
	At    time.Time // when the caches were last known to follow the API server
	Pods  []Pod
	Slots []Slot
}
