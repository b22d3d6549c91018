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
