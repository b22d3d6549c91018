package metrics

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bellboard/scaler"
)

// house is the gauges. They are made at each scrape from one tick, so that a
// scrape never mixes two.
type house struct {
	teams     []scaler.Team
	maxAgents int // BELLBOARD_MAX_AGENTS

	agents, executors, late, slots, alive, waiting, unresolved, nobodys, oldest, desired, most, globalMost, hold, age, lastTick *prometheus.Desc

	mu   sync.Mutex
	last scaler.Tick                 // the last tick, a hold too; zero: none yet
	seen *scaler.Tick                // the last that could see; nil: none yet
	asOf map[scaler.Source]time.Time // from when what was last seen of each source is
}

// What an executor does: the values of the label state of bellboard_executors.
const (
	executorBusy   = "busy"
	executorFree   = "free"
	executorComing = "coming"
)

func newHouse(teams []scaler.Team, maxAgents int) *house {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &house{
		teams:     teams,
		maxAgents: maxAgents,
		asOf:      map[scaler.Source]time.Time{},

		agents:     desc("bellboard_agents", "Agents and berths by class, in the last tick that was not a hold.", "team", "kind", "class"),
		executors:  desc("bellboard_executors", "Executors of the team's agents: with a build (busy), without one (free), or of an agent on its way (coming). Agents that a person holds or somebody else deletes are not counted.", "team", "state"),
		late:       desc("bellboard_agents_late", "Agents that take far longer to start than others of their pool took; no build waits for them.", "team", "kind"),
		slots:      desc("bellboard_cache_slots", "Cache slots (volume claims) by state: free, used by an agent, aside (an agent did not start on it; not used for ten minutes), or going.", "team", "state"),
		alive:      desc("bellboard_agents_alive", "Agents of the team with a living pod, also draining and held ones. MAX_AGENTS limits this number.", "team"),
		waiting:    desc("bellboard_queue_items", "Builds that wait for an agent of the team.", "team"),
		unresolved: desc("bellboard_queue_unresolved_items", "Builds that wait for a label that Jenkins does not name."),
		nobodys:    desc("bellboard_queue_nobodys_items", "Builds that wait for labels that no team serves, or without a label while no team has UNLABELLED."),
		oldest:     desc("bellboard_queue_oldest_wait_seconds", "Time that the oldest waiting build of the team has waited.", "team"),
		desired:    desc("bellboard_agents_desired", "Agents that the team would have if no rule limited it.", "team"),
		most:       desc("bellboard_agents_max", "MAX_AGENTS of the team.", "team"),
		globalMost: desc("bellboard_agents_global_max", "BELLBOARD_MAX_AGENTS: the most agents that all teams may have together."),
		hold:       desc("bellboard_hold", "1 while Bellboard holds because the source cannot be read; the gauges of agents and queue then keep their last values.", "source"),
		age:        desc("bellboard_snapshot_age_seconds", "Age of the last view of the source, at the last tick.", "source"),
		lastTick:   desc("bellboard_last_tick_timestamp_seconds", "Time at which the last tick began."),
	}
}

// observe keeps the tick for the scrapes that follow.
func (h *house) observe(t scaler.Tick) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = t
	if t.Hold == "" {
		h.seen = &t
	}
	for s, age := range t.Age {
		h.asOf[s] = t.At.Add(-age)
	}
}

// Describe implements prometheus.Collector.
func (h *house) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{h.agents, h.executors, h.late, h.slots, h.alive, h.waiting, h.unresolved, h.nobodys, h.oldest, h.desired, h.most, h.globalMost, h.hold, h.age, h.lastTick} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (h *house) Collect(ch chan<- prometheus.Metric) {
	h.mu.Lock()
	last, seen := h.last, h.seen
	asOf := maps.Clone(h.asOf)
	h.mu.Unlock()

	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for i := range h.teams {
		gauge(h.most, float64(h.teams[i].MaxAgents), h.teams[i].Name)
	}
	gauge(h.globalMost, float64(h.maxAgents))
	if last.At.IsZero() {
		return
	}
	gauge(h.lastTick, float64(last.At.UnixMilli())/1000)
	for _, s := range sources {
		holding := 0.0
		if last.Hold != "" && source(last.HoldBy) == s {
			holding = 1
		}
		gauge(h.hold, holding, string(s))
		if at, ever := asOf[s]; ever {
			gauge(h.age, last.At.Sub(at).Seconds(), string(s))
		}
	}
	if seen != nil {
		h.collectSeen(gauge, &seen.Plan)
	}
}

func (h *house) collectSeen(gauge func(*prometheus.Desc, float64, ...string), p *scaler.Plan) {
	decisions := map[string]*scaler.Decision{}
	for i := range p.Decisions {
		decisions[p.Decisions[i].Team] = &p.Decisions[i]
	}
	type cell struct {
		scaler.PoolID
		class scaler.Class
	}
	agents, late := map[cell]int{}, map[scaler.PoolID]int{}
	type place struct {
		team  string
		state scaler.SlotState
	}
	slots := map[place]int{}
	for i := range h.teams {
		d := decisions[h.teams[i].Name]
		if d == nil {
			d = &scaler.Decision{}
		}
		gauge(h.waiting, float64(d.Waiting), h.teams[i].Name)
		gauge(h.oldest, d.Oldest.Seconds(), h.teams[i].Name)
		gauge(h.desired, float64(d.Want), h.teams[i].Name)
		gauge(h.alive, float64(d.Alive), h.teams[i].Name)
		gauge(h.executors, float64(d.Busy), h.teams[i].Name, executorBusy)
		gauge(h.executors, float64(d.Free), h.teams[i].Name, executorFree)
		gauge(h.executors, float64(d.Coming), h.teams[i].Name, executorComing)
		for _, s := range scaler.SlotStates() {
			slots[place{h.teams[i].Name, s}] = 0
		}
		for _, k := range scaler.Kinds() {
			late[scaler.PoolID{Team: h.teams[i].Name, Kind: k}] = 0
			for _, c := range scaler.Classes() {
				agents[cell{scaler.PoolID{Team: h.teams[i].Name, Kind: k}, c}] = 0
			}
		}
	}
	for i := range p.Agents {
		c := cell{p.Agents[i].PoolID, p.Agents[i].Class}
		if _, ours := agents[c]; !ours {
			c.Team = noTeam
		}
		agents[c]++
		if p.Agents[i].Late {
			late[c.PoolID]++
		}
	}
	for i := range p.Slots {
		s := place{p.Slots[i].Team, p.Slots[i].State}
		if _, ours := slots[s]; !ours {
			s.team = noTeam
		}
		slots[s]++
	}
	for p, n := range late {
		gauge(h.late, float64(n), p.Team, string(p.Kind))
	}
	for s, n := range slots {
		gauge(h.slots, float64(n), s.team, string(s.state))
	}
	for c, n := range agents {
		gauge(h.agents, float64(n), c.Team, string(c.Kind), string(c.class))
	}
	gauge(h.unresolved, count(p.Unresolved))
	gauge(h.nobodys, count(p.Nobodys))
}

func count(groups []scaler.Unserved) float64 {
	n := 0
	for _, g := range groups {
		n += g.Count
	}
	return float64(n)
}
