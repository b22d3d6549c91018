package scaler

import (
	"strings"
	"time"
)

// Kind says how long an agent lives.
type Kind string

// The two kinds of agent.
const (
	Ephemeral  Kind = "ephemeral"  // runs one build and goes
	Persistent Kind = "persistent" // runs many builds, and keeps its Docker image cache
)

// Kinds returns both kinds.
func Kinds() []Kind { return []Kind{Ephemeral, Persistent} }

// Mode says which kinds of agents a team may have.
type Mode string

// The modes of a team.
const (
	ModeEphemeral  Mode = "ephemeral"
	ModePersistent Mode = "persistent"
	ModeAuto       Mode = "auto"
)

// Connect says how an agent reaches Jenkins.
type Connect string

// The ways to connect.
const (
	Inbound Connect = "inbound" // needs a Jenkins node that is registered before, and its secret
	Swarm   Connect = "swarm"   // registers its own Jenkins node, which goes when the agent goes
)

// PoolID identifies a pool: the agents of one team and one kind.
type PoolID struct {
	Team string `json:"team"`
	Kind Kind   `json:"kind"`
}

// VariablesOf returns the prefix of the variables that set a team, or with a kind those of that kind only:
// BELLBOARD_TEAM_WEB_SHOP of the team web-shop. An underscore and the setting's name follow.
func VariablesOf(team string, kind Kind) string {
	out := "BELLBOARD_TEAM_" + strings.ToUpper(strings.ReplaceAll(team, "-", "_"))
	if kind != "" {
		out += "_" + strings.ToUpper(string(kind))
	}
	return out
}

// Pool is the agents of one team and one kind, and their common settings.
type Pool struct {
	PoolID
	Connect Connect
	Called  bool // Jenkins calls the agents when Bellboard asks it to, so they need no secret of their own
	// Labels are all labels that an agent of this pool carries: the team's labels, the kind, and "swarm" if
	// the Swarm plugin adds it. The agent's own name is not among them.
	Labels []string
	// Berths is how many spare Jenkins nodes are kept registered. A Swarm pool keeps at least two, which no
	// agent ever takes.
	Berths       int
	Executors    int           // how many builds an agent runs at once; zero means one
	Unlabelled   bool          // the agents also take builds that ask for no label
	Spec         string        // identifies all settings that the pool's pods are made from; "": not known
	IdleTimeout  time.Duration // zero: an agent is free as long as that is worth its cost
	StartTimeout time.Duration
	MaxLifetime  time.Duration // zero: no limit
	Namespace    string        // the namespace of the pool's pods and cache slots
	// Slots: the agents keep their Docker cache in cache slots of at least SlotSize bytes. A slot is kept for
	// SlotKeep after its last use. SlotStore names the kind of Docker daemon that the slots are for.
	Slots     bool
	SlotStore string
	SlotSize  int64
	SlotKeep  time.Duration
}

// size returns how many builds an agent of this pool runs at once.
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
	ScaleUpStep       int // agents per scale-up; 0: no limit
	// WaitValue is how many agent-seconds it is worth to save a build one second of waiting. If TargetWait is
	// set, that value is found: the one with which one wait in twenty is longer than TargetWait.
	WaitValue  float64
	TargetWait time.Duration
	Objective  Objective
	CachePrice float64 // what a cache slot costs, in agents: at 0.03, slots for 33 hours cost an agent for one
	Priority   int
	Paused     bool
	// MostPersistent is the highest MAX_PERSISTENT of the day: the number of cache slots that are kept, if it is
	// higher than MaxPersistent.
	MostPersistent int
	Scheduled      []Scheduled // the settings above that a window sets now
	Pools          []Pool      // one pool for each kind that Mode allows
}

// Scheduled is a setting of a team that a window of its SCHEDULE sets now.
type Scheduled struct {
	Setting string    `json:"setting"` // MIN_IDLE
	Value   string    `json:"value"`
	Else    string    `json:"else"`   // the value outside of all windows
	Window  string    `json:"window"` // 0 7 * * 1-5 for 11h in Europe/Berlin
	Until   time.Time `json:"until"`  // the end of the window, in its zone
}

// Pool returns the team's pool of kind k, or nil.
func (t *Team) Pool(k Kind) *Pool {
	for i := range t.Pools {
		if t.Pools[i].Kind == k {
			return &t.Pools[i]
		}
	}
	return nil
}
