package scaler

import "time"

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

// Deadline is until when a destructive action that rests on these answers may
// be sent: one second after the last of them arrived.
func (v JenkinsView) Deadline() time.Time { return v.AnsweredAt.Add(time.Second) }
