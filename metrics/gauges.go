package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"bellboard/scaler"
)

// gauges makes the gauges. Each scrape makes them from one tick, so that a scrape never mixes two ticks.
type gauges struct {
	team label

	mu   sync.Mutex
	last scaler.Tick                 // the last tick, also a hold; zero: no tick yet
	seen *scaler.Plan                // of the last tick that was no hold; nil: no such tick yet
	asOf map[scaler.Source]time.Time // the time of the last view of each source
}

// observe keeps the tick for later scrapes.
func (g *gauges) observe(t scaler.Tick) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = t
	if t.Hold == "" {
		g.seen = &t.Plan
	}
	for s, age := range t.Age {
		g.asOf[s] = t.At.Add(-age)
	}
}

// Describe names no series, so the registry takes those of each scrape.
func (*gauges) Describe(chan<- *prometheus.Desc) {}

// Collect makes the gauges of one scrape.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last.At.IsZero() {
		return
	}
	reg := prometheus.NewRegistry()
	defer reg.Collect(ch)
	auto := promauto.With(reg)
	lastTick := gauge(auto, "bellboard_last_tick_timestamp_seconds", "Time at which the last tick began.")
	lastTick.WithLabelValues().Set(float64(g.last.At.UnixMilli()) / 1000)
	hold := gauge(auto, "bellboard_hold", "1 while Bellboard holds because the source cannot be read; the gauges of agents and queue then keep their last values.", oneOf("source", sources))
	if g.last.Hold != "" {
		hold.WithLabelValues(string(g.last.HoldBy)).Set(1)
	}
	age := gauge(auto, "bellboard_snapshot_age_seconds", "Age of the last view of the source, at the last tick.", label{name: "source"})
	for source, at := range g.asOf {
		age.WithLabelValues(string(source)).Set(g.last.At.Sub(at).Seconds())
	}
	if g.seen == nil {
		return
	}
	waiting := gauge(auto, "bellboard_queue_items", "Builds that wait for an agent of the team.", g.team)
	oldest := gauge(auto, "bellboard_queue_oldest_wait_seconds", "Time that the oldest waiting build of the team has waited.", g.team)
	desired := gauge(auto, "bellboard_agents_desired", "Agents that the team would have if no rule limited it.", g.team)
	alive := gauge(auto, "bellboard_agents_alive", "Agents of the team with a living pod, also draining and held ones. MAX_AGENTS limits this number.", g.team)
	executors := gauge(auto, "bellboard_executors", "Executors of the team's agents: with a build (busy), without one (free), or of an agent on its way (coming). Agents that a person holds or somebody else deletes are not counted.", g.team, oneOf("state", []string{"busy", "free", "coming"}))
	for i := range g.seen.Decisions {
		d := &g.seen.Decisions[i]
		waiting.WithLabelValues(d.Team).Set(float64(d.Waiting))
		oldest.WithLabelValues(d.Team).Set(d.Oldest.Seconds())
		desired.WithLabelValues(d.Team).Set(float64(d.Want))
		alive.WithLabelValues(d.Team).Set(float64(d.Alive))
		executors.WithLabelValues(d.Team, "busy").Set(float64(d.Busy))
		executors.WithLabelValues(d.Team, "free").Set(float64(d.Free))
		executors.WithLabelValues(d.Team, "coming").Set(float64(d.Coming))
	}
	kind := oneOf("kind", scaler.Kinds())
	agents := gauge(auto, "bellboard_agents", "Agents and berths by class, in the last tick that was not a hold.", g.team, kind, oneOf("class", scaler.Classes()))
	overdue := gauge(auto, "bellboard_agents_overdue", "Agents that take far longer to start than others of their pool took; no build waits for them.", g.team, kind)
	for i := range g.seen.Agents {
		a := &g.seen.Agents[i]
		agents.WithLabelValues(g.team.of(a.Team), string(a.Kind), string(a.Class)).Inc()
		if a.Overdue {
			overdue.WithLabelValues(g.team.of(a.Team), string(a.Kind)).Inc()
		}
	}
	slots := gauge(auto, "bellboard_cache_slots", "Cache slots (volume claims) by state: free, used by an agent, aside (an agent did not start on this slot; not used for ten minutes), or going.", g.team, oneOf("state", scaler.SlotStates()))
	for i := range g.seen.Slots {
		s := &g.seen.Slots[i]
		slots.WithLabelValues(g.team.of(s.Team), string(s.State)).Inc()
	}
	unresolved := gauge(auto, "bellboard_queue_unresolved_items", "Builds that wait for a label that Jenkins does not name.")
	for _, u := range g.seen.Unresolved {
		unresolved.WithLabelValues().Add(float64(u.Count))
	}
	unserved := gauge(auto, "bellboard_queue_unserved_items", "Builds that wait for labels that no team serves, or without a label while no team has UNLABELLED.")
	for _, u := range g.seen.Unserved {
		unserved.WithLabelValues().Add(float64(u.Count))
	}
}
