package metrics

import (
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bellboard/scaler"
)

// gauges makes the gauges. Each scrape makes them from one tick, so that a scrape never mixes two ticks.
type gauges struct {
	teams     []scaler.Team
	maxAgents int // BELLBOARD_MAX_AGENTS

	agents, executors, overdue, slots, alive, waiting, unresolved, unserved, oldest, desired, most, globalMost, hold, age, lastTick *prometheus.Desc

	mu   sync.Mutex
	last scaler.Tick                 // the last tick, also a hold; zero: no tick yet
	seen *scaler.Tick                // the last tick that was no hold; nil: no such tick yet
	asOf map[scaler.Source]time.Time // the time of the last view of each source
}

// What an executor does: the values of the label state of bellboard_executors.
const (
	executorBusy   = "busy"
	executorFree   = "free"
	executorComing = "coming"
)

func newGauges(teams []scaler.Team, maxAgents int) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &gauges{
		teams:     teams,
		maxAgents: maxAgents,
		asOf:      map[scaler.Source]time.Time{},

		agents:     desc("bellboard_agents", "Agents and berths by class, in the last tick that was not a hold.", "team", "kind", "class"),
		executors:  desc("bellboard_executors", "Executors of the team's agents: with a build (busy), without one (free), or of an agent on its way (coming). Agents that a person holds or somebody else deletes are not counted.", "team", "state"),
		overdue:    desc("bellboard_agents_overdue", "Agents that take far longer to start than others of their pool took; no build waits for them.", "team", "kind"),
		slots:      desc("bellboard_cache_slots", "Cache slots (volume claims) by state: free, used by an agent, aside (an agent did not start on this slot; not used for ten minutes), or going.", "team", "state"),
		alive:      desc("bellboard_agents_alive", "Agents of the team with a living pod, also draining and held ones. MAX_AGENTS limits this number.", "team"),
		waiting:    desc("bellboard_queue_items", "Builds that wait for an agent of the team.", "team"),
		unresolved: desc("bellboard_queue_unresolved_items", "Builds that wait for a label that Jenkins does not name."),
		unserved:   desc("bellboard_queue_unserved_items", "Builds that wait for labels that no team serves, or without a label while no team has UNLABELLED."),
		oldest:     desc("bellboard_queue_oldest_wait_seconds", "Time that the oldest waiting build of the team has waited.", "team"),
		desired:    desc("bellboard_agents_desired", "Agents that the team would have if no rule limited it.", "team"),
		most:       desc("bellboard_agents_max", "MAX_AGENTS of the team.", "team"),
		globalMost: desc("bellboard_agents_global_max", "BELLBOARD_MAX_AGENTS: the most agents that all teams may have together."),
		hold:       desc("bellboard_hold", "1 while Bellboard holds because the source cannot be read; the gauges of agents and queue then keep their last values.", "source"),
		age:        desc("bellboard_snapshot_age_seconds", "Age of the last view of the source, at the last tick.", "source"),
		lastTick:   desc("bellboard_last_tick_timestamp_seconds", "Time at which the last tick began."),
	}
}

// observe keeps the tick for later scrapes.
func (g *gauges) observe(t scaler.Tick) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = t
	if t.Hold == "" {
		g.seen = &t
	}
	for s, age := range t.Age {
		g.asOf[s] = t.At.Add(-age)
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.agents, g.executors, g.overdue, g.slots, g.alive, g.waiting, g.unresolved, g.unserved, g.oldest, g.desired, g.most, g.globalMost, g.hold, g.age, g.lastTick} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	last, seen := g.last, g.seen
	asOf := maps.Clone(g.asOf)
	g.mu.Unlock()

	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for i := range g.teams {
		gauge(g.most, float64(g.teams[i].MaxAgents), g.teams[i].Name)
	}
	gauge(g.globalMost, float64(g.maxAgents))
	if last.At.IsZero() {
		return
	}
	gauge(g.lastTick, float64(last.At.UnixMilli())/1000)
	for _, s := range sources {
		holding := 0.0
		if last.Hold != "" && source(last.HoldBy) == s {
			holding = 1
		}
		gauge(g.hold, holding, string(s))
		if at, ever := asOf[s]; ever {
			gauge(g.age, last.At.Sub(at).Seconds(), string(s))
		}
	}
	if seen != nil {
		g.collectSeen(gauge, &seen.Plan)
	}
}

func (g *gauges) collectSeen(gauge func(*prometheus.Desc, float64, ...string), p *scaler.Plan) {
	decisions := map[string]*scaler.Decision{}
	for i := range p.Decisions {
		decisions[p.Decisions[i].Team] = &p.Decisions[i]
	}
	agents, overdue, slots := map[[3]string]int{}, map[[2]string]int{}, map[[2]string]int{}
	for i := range g.teams {
		team := g.teams[i].Name
		d := decisions[team]
		if d == nil {
			d = &scaler.Decision{}
		}
		gauge(g.waiting, float64(d.Waiting), team)
		gauge(g.oldest, d.Oldest.Seconds(), team)
		gauge(g.desired, float64(d.Want), team)
		gauge(g.alive, float64(d.Alive), team)
		gauge(g.executors, float64(d.Busy), team, executorBusy)
		gauge(g.executors, float64(d.Free), team, executorFree)
		gauge(g.executors, float64(d.Coming), team, executorComing)
		for _, s := range scaler.SlotStates() {
			slots[[2]string{team, string(s)}] = 0
		}
		for _, k := range scaler.Kinds() {
			overdue[[2]string{team, string(k)}] = 0
			for _, c := range scaler.Classes() {
				agents[[3]string{team, string(k), string(c)}] = 0
			}
		}
	}
	for i := range p.Agents {
		a := [3]string{p.Agents[i].Team, string(p.Agents[i].Kind), string(p.Agents[i].Class)}
		if _, ours := agents[a]; !ours {
			a[0] = noTeam
		}
		agents[a]++
		if p.Agents[i].Overdue {
			overdue[[2]string{a[0], a[1]}]++
		}
	}
	for i := range p.Slots {
		s := [2]string{p.Slots[i].Team, string(p.Slots[i].State)}
		if _, ours := slots[s]; !ours {
			s[0] = noTeam
		}
		slots[s]++
	}
	for l, n := range overdue {
		gauge(g.overdue, float64(n), l[:]...)
	}
	for s, n := range slots {
		gauge(g.slots, float64(n), s[:]...)
	}
	for a, n := range agents {
		gauge(g.agents, float64(n), a[:]...)
	}
	gauge(g.unresolved, count(p.Unresolved))
	gauge(g.unserved, count(p.Unserved))
}

func count(groups []scaler.Unserved) float64 {
	n := 0
	for _, g := range groups {
		n += g.Count
	}
	return float64(n)
}
