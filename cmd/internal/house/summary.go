package house

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// Summary has the numbers of a day, as the demo prints them.
type Summary struct {
	BuildsFinished int            `json:"builds_finished"`
	BuildsKilled   int            `json:"builds_killed"` // ended by Bellboard
	BuildsLost     int            `json:"builds_lost"`   // ended by the chaos
	WaitP50        float64        `json:"wait_p50_seconds"`
	WaitP95        float64        `json:"wait_p95_seconds"`
	WaitMax        float64        `json:"wait_max_seconds"`
	AgentsCreated  map[string]int `json:"agents_created"` // by kind
	AgentsPeak     int            `json:"agents_peak"`
	OrphansLeft    int            `json:"orphans_left"` // Jenkins nodes (also berths), pods, Secrets, cache slots
	CacheStarts    map[string]int `json:"cache_starts"` // agents that started on a cache slot, by warm and cold
	SlotsKept      int            `json:"slots_kept"`   // cache slots at the end of the day, before everything was removed
	SlotsShared    int            `json:"slots_shared"` // agents that started on a cache slot while another agent used it
	SecondBuilds   int            `json:"second_builds"`
	Ticks          int            `json:"ticks"`
	Holds          int            `json:"holds"`
	// Thrown has the failures that the house caused, Failed those that Bellboard reported, by class.
	Thrown map[scaler.Failure]int `json:"failures_thrown"`
	Failed map[scaler.Failure]int `json:"agents_failed"`
	// Troubles has what the chaos did, by kind.
	Troubles map[Trouble]int `json:"troubles"`

	// Killed has the builds that Bellboard ended.
	Killed []jenkinssim.Build `json:"-"`
	// Left names what is left.
	Left []string `json:"-"`
}

// tally has what can only be counted while the day goes on.
type tally struct {
	ticks, holds int
	broken       []string // plans that broke a promise
	failed       map[scaler.Failure]int
	troubles     map[Trouble]int
}

// record counts one tick.
func (h *House) record(t scaler.Tick) {
	h.mu.Lock()
	h.tally.ticks++
	for i := range t.Facts.Failures {
		if h.tally.failed == nil {
			h.tally.failed = map[scaler.Failure]int{}
		}
		h.tally.failed[t.Facts.Failures[i].Failure]++
	}
	if t.Hold != "" {
		h.tally.holds++
		if t.HoldBy == scaler.SourceBellboard {
			h.tally.broken = append(h.tally.broken, t.Hold)
		}
	}
	h.mu.Unlock()
	if h.cfg.Record != nil {
		h.cfg.Record(t)
	}
}

// Broken lists the plans that broke a promise, and that Bellboard did not carry out.
func (h *House) Broken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.tally.broken)
}

// left names the Jenkins nodes, pods, Secrets and cache slots that still exist. In the end berths and cache
// slots go, too.
func (h *House) left() []string {
	var out []string
	for _, n := range h.Jenkins.NodesList() {
		out = append(out, strings.TrimSpace("node "+n.Name+" "+n.Marked))
	}
	for _, p := range h.Cluster.Pods() {
		out = append(out, "pod "+p.Name)
	}
	for _, s := range h.Cluster.Secrets() {
		if s.Name == swarmSecret {
			continue
		}
		out = append(out, "secret "+s.Name)
	}
	for _, c := range h.Cluster.PVCs() {
		out = append(out, "slot "+c.Name)
	}
	return out
}

// Remains is what of a day is left.
type Remains struct{ Waiting, Running, Pods, Nodes, Slots int }

func (h *House) remains() Remains {
	s := h.Jenkins.Stats()
	return Remains{s.Queued, s.Running, len(h.Cluster.Pods()), s.Nodes, len(h.Cluster.PVCs())}
}

// excess names the cache slots of each team that has more of them than it may have agents at any time of the day.
func (h *House) excess() []string {
	var out []string
	room := map[string]int{}
	for i := range h.teams {
		room[h.teams[i].Name] = h.teams[i].MostPersistent
	}
	for _, c := range h.Cluster.PVCs() {
		team := c.Labels["bellboard.dev/team"]
		if room[team]--; room[team] < 0 {
			out = append(out, c.Name)
		}
	}
	return out
}

// outdated names the agents that are older than their pool's MAX_LIFETIME, or that have another image than
// the pool.
func (h *House) outdated(now time.Time) []string {
	var out []string
	for _, p := range h.Cluster.Pods() {
		id := scaler.PoolID{Team: p.Labels["bellboard.dev/team"], Kind: scaler.Kind(p.Labels["bellboard.dev/kind"])}
		old := slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return c.Name == "agent" && c.Image != h.images[id] })
		for i := range h.teams {
			if pool := h.teams[i].Pool(id.Kind); pool != nil && pool.PoolID == id && pool.MaxLifetime > 0 {
				old = old || now.Sub(p.CreationTimestamp.Time) >= pool.MaxLifetime
			}
		}
		if old {
			out = append(out, p.Name)
		}
	}
	return out
}

func (h *House) orphans() int { return len(h.left()) }

// summary returns the numbers of the day.
func (h *House) summary() Summary {
	builds, stats := h.Jenkins.Builds(), h.Jenkins.Stats()
	s := Summary{
		BuildsFinished: len(builds), BuildsKilled: stats.Killed, BuildsLost: stats.Lost, SecondBuilds: stats.SecondBuilds,
		AgentsCreated: map[string]int{string(scaler.Ephemeral): 0, string(scaler.Persistent): 0},
		Left:          h.left(),
	}
	s.OrphansLeft = len(s.Left)
	var waits []time.Duration
	for _, b := range builds {
		if b.Killed {
			s.Killed = append(s.Killed, b)
		}
		if !b.Started.IsZero() {
			waits = append(waits, b.Started.Sub(b.Queued)-b.Job.QuietPeriod)
		}
	}
	slices.Sort(waits)
	if n := len(waits); n > 0 {
		s.WaitP50, s.WaitP95, s.WaitMax = secs(waits[n/2]), secs(waits[n*95/100]), secs(waits[n-1])
	}
	created, peak := h.agents.Counts()
	maps.Copy(s.AgentsCreated, created)
	s.AgentsPeak = peak
	s.CacheStarts, s.SlotsShared = h.agents.slots()
	s.SlotsKept = h.slotsKept
	h.mu.Lock()
	s.Ticks, s.Holds, s.Failed, s.Troubles = h.tally.ticks, h.tally.holds, maps.Clone(h.tally.failed), maps.Clone(h.tally.troubles)
	h.mu.Unlock()
	for t, n := range map[Trouble]int{MarkAltered: stats.MarksAltered, MarkHidden: stats.MarksHidden} {
		if n > 0 {
			s.Troubles[t] = n
		}
	}
	h.injector.mu.Lock()
	s.Thrown = maps.Clone(h.injector.thrown)
	h.injector.mu.Unlock()
	return s
}

func secs(d time.Duration) float64 {
	return float64(d.Round(10*time.Millisecond)) / float64(time.Second)
}
