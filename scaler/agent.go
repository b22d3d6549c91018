package scaler

import "time"

// PodPhase is a pod's phase, in the words of Kubernetes.
type PodPhase string

// The phases of a pod.
const (
	PodPending   PodPhase = "Pending"
	PodRunning   PodPhase = "Running"
	PodSucceeded PodPhase = "Succeeded"
	PodFailed    PodPhase = "Failed"
)

// Pod is one agent's pod, as the cache shows it. A zero time means: not yet, or Kubernetes does not say.
type Pod struct {
	PoolID
	Name            string    `json:"name"`
	Namespace       string    `json:"namespace"`
	UID             string    `json:"uid"`
	ResourceVersion string    `json:"resourceVersion"`
	Phase           PodPhase  `json:"phase"`
	Created         time.Time `json:"created"`
	Scheduled       time.Time `json:"scheduled"`   // when the pod got its Kubernetes node
	Mounted         time.Time `json:"mounted"`     // when the pod's volumes and network were ready
	DockerUp        time.Time `json:"dockerUp"`    // when the container of the Docker daemon began to run
	DockerReady     time.Time `json:"dockerReady"` // when that daemon answered
	Ready           time.Time `json:"ready"`       // when the agent's container ran
	Connected       bool      `json:"connected"`   // the annotation "connected": its Jenkins node was online
	ConnectedAt     time.Time `json:"connectedAt"` // since when, as that annotation says
	// Session is the session of Jenkins in which the pod was made. SessionSince is since when Bellboard knew
	// that session when it made the pod.
	Session      string    `json:"session,omitempty"`
	SessionSince time.Time `json:"sessionSince,omitzero"`
	Deleting     bool      `json:"deleting"`
	DeletingByUs bool      `json:"deletingByUs"`  // deleted with the grace that only Bellboard uses
	Ends         time.Time `json:"ends,omitzero"` // when the grace of the pod's deletion is over
	Disrupted    bool      `json:"disrupted"`     // the pod has the condition DisruptionTarget
	Requested    bool      `json:"requested"`     // created by Bellboard, and not in the cache yet
	Connect      Connect   `json:"connect"`
	Spec         string    `json:"spec"`      // the Spec of the pool when the pod was made
	Protected    bool      `json:"protected"` // others are told not to evict the pod
	// Trouble is Kubernetes' own reason if the pod cannot start or has ended (ImagePullBackOff,
	// Unschedulable, OOMKilled, Evicted ...). TroubleText is Kubernetes' own message.
	Trouble     string `json:"trouble,omitempty"`
	TroubleText string `json:"troubleText,omitempty"`
	Slot        string `json:"slot,omitempty"` // the volume claim with its Docker data; "": none
	Warmth      Warmth `json:"warmth,omitempty"`
	// VolumeTrouble: a volume is among the things that keep the pod from a Kubernetes node.
	VolumeTrouble bool `json:"volumeTrouble,omitempty"`
	// Missing: a container of the pod needs an image, a Secret or a ConfigMap that is not there.
	Missing bool `json:"missing,omitempty"`
	// Failure is the class of Trouble. Empty: there is no trouble, or none that fails an agent.
	Failure Failure `json:"failure,omitempty"`
	// Faulty is the name of the container that the trouble is with, or of a Docker daemon's container that
	// does not answer yet. Empty: the trouble is with the pod.
	Faulty string `json:"faulty,omitempty"`
	// DockerFailure is the class of what is wrong with the pod's Docker daemon while its agent runs. Empty:
	// nothing is known to be wrong, or the pod has no Docker daemon.
	DockerFailure Failure `json:"dockerFailure,omitempty"`
}

// Ended reports whether no container of the pod runs, and none will ever run again.
func (p *Pod) Ended() bool { return p.Phase == PodSucceeded || p.Phase == PodFailed }

// ClusterView is the pods and cache slots of this instance, as the caches show them.
type ClusterView struct {
	At    time.Time // when the caches were last known to follow the API server
	Pods  []Pod
	Slots []Slot
}
