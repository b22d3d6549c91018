// Package scaler is Bellboard's core: the nouns that every other package meets
// in, and the one decision that is made of them. It imports the standard
// library (and its own label and nothing else), does no I/O, starts no
// goroutine, logs nothing, and is told the time: the same Input always gives
// the same Plan.
//
// The path of one tick: a View of Jenkins and a View of the cluster are joined
// by name into pairs, each pair is given a Class by one table (pair.go), the
// waiting items are matched to what is free or coming (match.go), and Decide
// turns the rest into a Plan of actions, each with its reason (decide.go).
package scaler

import "time"

// Kind is how an agent lives.
type Kind string

// The two kinds of agent.
const (
	// Ephemeral agents take one build and go.
	Ephemeral Kind = "ephemeral"
	// Persistent agents take many builds and keep their image cache.
	Persistent Kind = "persistent"
)

// Kinds lists both.
func Kinds() []Kind { return []Kind{Ephemeral, Persistent} }

// Mode is which kinds a team may have.
type Mode string

// The modes of a team.
const (
	ModeEphemeral  Mode = "ephemeral"
	ModePersistent Mode = "persistent"
	ModeAuto       Mode = "auto"
)

// Connect is how an agent reaches Jenkins.
type Connect string

// The ways to connect.
const (
	// Inbound agents need their node registered first, and its secret.
	Inbound Connect = "inbound"
	// Swarm agents register their own node, which goes when they do.
	Swarm Connect = "swarm"
)

// PoolID names the agents of one team and one kind.
type PoolID struct {
	Team string `json:"team"`
	Kind Kind   `json:"kind"`
}

// Pool is the agents of one team and one kind, and the settings they share.
type Pool struct {
	PoolID
	Connect Connect
	// Called: Jenkins calls its agents when it is asked to; they need no secret of their own for that.
	Called bool
	// Labels are all that an agent of this pool carries: the team's labels, the
	// kind, and "swarm" where the Swarm plugin adds it; not its own name.
	Labels []string
	// Berths is how many spare registered nodes are kept (Swarm: at least two
	// that are never taken).
	Berths int
	// Executors is how many builds an agent runs at once; zero is one.
	Executors int
	// Unlabelled: its agents take builds that ask for no label, too.
	Unlabelled bool
	// Spec stands for all that its pods are made from; empty: not known.
	Spec         string
	IdleTimeout  time.Duration
	StartTimeout time.Duration
	MaxLifetime  time.Duration // zero: no limit
	Namespace    string        // of its pods and cache slots
	// Slots: its agents keep a cache of SlotSize bytes at least, each for SlotKeep after
	// its last use, of a kind of daemon that SlotStore names.
	Slots     bool
	SlotStore string
	SlotSize  int64
	SlotKeep  time.Duration
}

// size is how many builds an agent of this pool runs at once.
func (p *Pool) size() int {
	if p == nil {
		return 1
	}
	return max(1, p.Executors)
}

// Team is the unit of tuning: a label set, limits and up to two pools.
type Team struct {
	Name              string
	Labels            []string
	Mode              Mode
	MinAgents         int
	MinIdle           int
	MaxAgents         int
	MaxPersistent     int
	ScaleUpCooldown   time.Duration
	ScaleDownCooldown time.Duration
	ScaleUpStep       int // agents per scale-up; 0 = no limit
	Priority          int
	Paused            bool
	Pools             []Pool // one per kind that Mode allows
}

// Pool returns the team's pool of that kind, or nil.
func (t *Team) Pool(k Kind) *Pool {
	for i := range t.Pools {
		if t.Pools[i].Kind == k {
			return &t.Pools[i]
		}
	}
	return nil
}

// ItemState is where an item of the Jenkins queue stands.
type ItemState string

// The states of an item. Only Buildable items can be demand.
const (
	Buildable    ItemState = "buildable"
	Quiet        ItemState = "quiet"         // in its quiet period
	Blocked      ItemState = "blocked"       // by another build or a resource
	Pending      ItemState = "pending"       // has an executor, about to start
	Flyweight    ItemState = "flyweight"     // needs no agent
	ShuttingDown ItemState = "shutting-down" // Jenkins is about to shut down
)

// Resolution says what is known of the label an item wants.
type Resolution string

// How an item's label is known.
const (
	Labelled   Resolution = "labelled"   // Label is what it wants
	Unlabelled Resolution = "unlabelled" // it is known to want none
	Unresolved Resolution = "unresolved" // not known: counted and shown
	// Inferred: Label fits all that is known, and nothing proves it. One agent at a
	// time is tried for such items, until one was given to an agent.
	Inferred Resolution = "inferred"
)

// Item is one entry of the Jenkins queue.
type Item struct {
	ID         int64      `json:"id"`
	Job        string     `json:"job"`
	Since      time.Time  `json:"since"` // when it entered the queue
	State      ItemState  `json:"state"`
	Resolution Resolution `json:"resolution"`
	// Label is the expression in Jenkins' canonical form, set when Labelled or
	// Inferred. When Labelled it may be a node's name (a build that wants to resume there).
	Label string `json:"label,omitempty"`
	Why   string `json:"why"`
}

// OfflineBy says who took a node temporarily offline.
type OfflineBy string

// Who took a node temporarily offline.
const (
	NotMarked OfflineBy = ""        // it takes new work when connected
	Ours      OfflineBy = "ours"    // this instance's mark
	Hook      OfflineBy = "hook"    // the one-build hook inside Jenkins
	Monitor   OfflineBy = "monitor" // no person: one of Jenkins' node monitors, or a technical cause
	Person    OfflineBy = "person"  // anybody else: hands off
)

// Node is a Jenkins node (computer) as one answer showed it.
type Node struct {
	Name   string   `json:"name"`
	Labels []string `json:"labels"` // sorted, without its own name
	// Team and Kind are from the description; Team is empty for foreign nodes.
	Team  string `json:"team,omitempty"`
	Kind  Kind   `json:"kind,omitempty"`
	Fence bool   `json:"fence,omitempty"`
	// Online is "connected" (absoluteRemotePath is not null), marked or not.
	Online    bool `json:"online"`
	Executors int  `json:"executors"`
	Busy      int  `json:"busy"`
	// Idle means that no executor and no one-off executor has work.
	Idle bool `json:"idle"`
	// Build is the URL of the build that runs on it; "" without one, with several, or
	// with one that may not be seen. Mortal: it ends with Jenkins, and never resumes.
	Build     string    `json:"build,omitempty"`
	Mortal    bool      `json:"mortal,omitempty"`
	OfflineBy OfflineBy `json:"offlineBy,omitempty"`
	Offline   string    `json:"offlineText,omitempty"` // the words of the one who did
	// MarkedAt is when the node was taken offline, by Jenkins' clock. It tells one mark
	// from the next. Zero: the node is not marked, or Jenkins does not say.
	MarkedAt time.Time `json:"markedAt,omitzero"`
}

// Mine reports whether the node belongs to this instance.
func (n *Node) Mine() bool { return n.Team != "" }

// closed reports whether the node carries a mark that a removal may rest on: it takes no
// new build as long as exactly this mark stays. The hook sets its mark as a build starts,
// and Jenkins' answers are not written in one instant: only the time of the mark shows
// that it is the same one in two answers.
func (n *Node) closed() bool {
	return n.OfflineBy == Ours || n.OfflineBy == Hook && !n.MarkedAt.IsZero()
}

// free is how many builds it takes now, if it is one that Jenkins gives any.
func (n *Node) free() int {
	if !n.Online || n.OfflineBy != NotMarked {
		return 0
	}
	return max(0, n.Executors-n.Busy)
}

// JenkinsView is one accepted observation of Jenkins: computers asked first,
// then the queue, both from one session.
type JenkinsView struct {
	Session    string    // X-Jenkins-Session, new at every start of Jenkins
	Version    string    // X-Jenkins
	AskedAt    time.Time // before the first question was sent
	NodesAt    time.Time // when the answer that shows the nodes was complete
	AnsweredAt time.Time // when the last answer was complete
	// SessionSince is when the first answer of that session was complete, whatever it was
	// an answer to: Jenkins had started by then. Zero: when these were.
	SessionSince time.Time
	// QuietingDown: Jenkins starts no new build, and may restart as soon as it sees none running.
	QuietingDown bool
	// Hook: the one-build hook is there. It makes a restart wait for builds on marked nodes.
	Hook  bool
	Nodes []Node
	Items []Item
}

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

// Deadline is until when a destructive action that rests on these answers may
// be sent: one second after the last of them arrived.
func (v JenkinsView) Deadline() time.Time { return v.AnsweredAt.Add(time.Second) }
