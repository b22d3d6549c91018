package scaler

import "time"

// ItemState is the state of an item of the Jenkins queue.
type ItemState string

// The states of an item. Only items in state Buildable can be demand.
const (
	Buildable    ItemState = "buildable"
	Quiet        ItemState = "quiet"         // the item is in its quiet period
	Blocked      ItemState = "blocked"       // another build or a resource blocks the item
	Pending      ItemState = "pending"       // the item has an executor, and its build is about to start
	Flyweight    ItemState = "flyweight"     // the item needs no agent
	ShuttingDown ItemState = "shutting-down" // Jenkins is about to shut down
)

// Resolution says how much is known of the label that an item wants.
type Resolution string

// The resolutions.
const (
	Labelled   Resolution = "labelled"   // the item wants Label
	Unlabelled Resolution = "unlabelled" // the item is known to want no label
	Unresolved Resolution = "unresolved" // the label is not known: Bellboard counts and shows the item
	// Inferred: Label fits all that is known, but nothing proves it. Bellboard tries one agent at a time,
	// until Jenkins has given such an item to an agent.
	Inferred Resolution = "inferred"
)

// Item is one entry of the Jenkins queue.
type Item struct {
	ID         int64      `json:"id"`
	Job        string     `json:"job"`
	Since      time.Time  `json:"since"` // when the item entered the queue, or its quiet period was over
	State      ItemState  `json:"state"`
	Resolution Resolution `json:"resolution"`
	// Label is the expression in Jenkins' canonical form, set if the item is Labelled or Inferred. The label
	// of a Labelled item may be a Jenkins node's name: a build that wants to resume on that node.
	Label string `json:"label,omitempty"`
	Why   string `json:"why"`
}

// OfflineBy says who took a Jenkins node temporarily offline.
type OfflineBy string

// The values of OfflineBy.
const (
	NotMarked OfflineBy = ""        // not offline: the Jenkins node takes builds when it is connected
	Ours      OfflineBy = "ours"    // a mark of this instance
	Hook      OfflineBy = "hook"    // the mark of the one-build hook inside Jenkins
	Monitor   OfflineBy = "monitor" // one of Jenkins' node monitors, or a technical cause, but no person
	Person    OfflineBy = "person"  // anybody else: Bellboard leaves the Jenkins node alone
)

// Node is a Jenkins node (a computer in Jenkins' API), as one answer showed it.
type Node struct {
	Name   string   `json:"name"`
	Labels []string `json:"labels"` // sorted, without the Jenkins node's own name
	// Team, Kind and Fence are read from the Jenkins node's description. Team is empty for foreign nodes.
	Team      string `json:"team,omitempty"`
	Kind      Kind   `json:"kind,omitempty"`
	Fence     bool   `json:"fence,omitempty"`
	Online    bool   `json:"online"` // the agent is connected (absoluteRemotePath is not null), marked or not
	Executors int    `json:"executors"`
	Busy      int    `json:"busy"`
	Idle      bool   `json:"idle"` // no executor and no one-off executor of the Jenkins node has work
	// Build is the URL of the build that runs on the Jenkins node. Build is empty if there is no build, or
	// several, or one that Bellboard may not see.
	Build     string    `json:"build,omitempty"`
	Mortal    bool      `json:"mortal,omitempty"` // the build ends when Jenkins stops, and never resumes
	OfflineBy OfflineBy `json:"offlineBy,omitempty"`
	Offline   string    `json:"offlineText,omitempty"` // the words of the author of the mark
	// MarkedAt is when the Jenkins node was taken offline, by Jenkins' clock, which tells one mark from the
	// next. Zero: the Jenkins node is not marked, or Jenkins does not say.
	MarkedAt time.Time `json:"markedAt,omitzero"`
}

// Mine reports whether the Jenkins node belongs to this instance.
func (n *Node) Mine() bool { return n.Team != "" }

// closed reports whether the Jenkins node carries a mark that a removal may rest on. As long as exactly this
// mark stays, the Jenkins node takes no new build.
//
// The hook sets its mark when a build starts, and Jenkins does not write its answers in one instant. So only
// the time of the hook's mark shows that two answers have the same mark.
func (n *Node) closed() bool {
	return n != nil && (n.OfflineBy == Ours || n.OfflineBy == Hook && !n.MarkedAt.IsZero())
}

// free returns how many more builds the Jenkins node can take now.
func (n *Node) free() int {
	if !n.Online || n.OfflineBy != NotMarked {
		return 0
	}
	return max(0, n.Executors-n.Busy)
}

// JenkinsView is one accepted observation of Jenkins: its nodes, and then its queue, both from one session.
type JenkinsView struct {
	Session      string    // X-Jenkins-Session, new at every start of Jenkins
	Version      string    // X-Jenkins
	AskedAt      time.Time // just before the first request was sent
	NodesAt      time.Time // when the answer with the nodes was complete
	AnsweredAt   time.Time // when the last answer was complete
	SessionSince time.Time // when the first nodes of that session were read; zero: these are the first
	QuietingDown bool      // Jenkins starts no new build, and may restart as soon as no build runs
	Hook         bool      // the one-build hook is there: a restart waits for builds on marked nodes too
	Nodes        []Node
	Items        []Item
	Runs         []Run // of all executors; nil: not known, and each item that leaves the queue counts as begun
}

// Deadline returns until when a destructive action that rests on these answers may be sent.
func (v JenkinsView) Deadline() time.Time { return v.AnsweredAt.Add(time.Second) }
