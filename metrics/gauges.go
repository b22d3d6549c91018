package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Describe names no series, so the registry takes those of each scrape.
func (*Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect makes the gauges of one scrape, all from one tick.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last.At.IsZero() {
		return
	}
	reg := prometheus.NewRegistry()
	defer reg.Collect(ch)
	auto := promauto.With(reg)
	lastTick := gauge(auto, "bellboard_last_tick_timestamp_seconds", "Time at which the last tick began.")
	lastTick.WithLabelValues().Set(float64(m.last.At.UnixMilli()) / 1000)
	hold := gauge(auto, "bellboard_hold", "1 while Bellboard holds because the source cannot be read; the gauges of agents and queue then keep their last values.", oneOf("source", sources))
	if m.last.Hold != "" {
		hold.WithLabelValues(string(m.last.HoldBy)).Set(1)
	}
	age := gauge(auto, "bellboard_snapshot_age_seconds", "Age of the last view of the source, at the last tick.", label{name: "source"})
	for source, at := range m.asOf {
		age.WithLabelValues(string(source)).Set(m.last.At.Sub(at).Seconds())
	}
	if m.seen == nil {
		return
	}
	by := label{name: "team"}
	waiting := gauge(auto, "bellboard_queue_items", "Builds that wait for an agent of the team.", m.team)
	oldest := gauge(auto, "bellboard_queue_oldest_wait_seconds", "Time that the oldest waiting build of the team has waited.", m.team)
	desired := gauge(auto, "bellboard_agents_desired", "Agents that the team would have if no rule limited it.", m.team)
	alive := gauge(auto, "bellboard_agents_alive", "Agents of the team with a living pod, also draining and held ones. MAX_AGENTS limits this number.", m.team)
	executors := gauge(auto, "bellboard_executors", "Executors of the team's agents: with a build (busy), without one (free), or of an agent on its way (coming). Agents that a person holds or somebody else deletes are not counted.", m.team, oneOf("state", []string{"busy", "free", "coming"}))
	waitValue := gauge(auto, "bellboard_wait_value", "Seconds of an agent that one second of waiting may cost: WAIT_VALUE, or what was found for TARGET_WAIT_P95.", m.team)
	gain := gauge(auto, "bellboard_cache_gain_seconds", "What a kept cache saves a build of the team, without the time to attach its volume, as learnt so far.", m.team)
	most := gauge(auto, "bellboard_agents_max", "MAX_AGENTS of the team, now.", m.team)
	gauge(auto, "bellboard_agents_global_max", "BELLBOARD_MAX_AGENTS: the most agents that all teams may have together.").WithLabelValues().Set(float64(m.maxAgents))
	share := gauge(auto, "bellboard_wait_objective_ratio", "Share of the builds that are to get an executor within the time of WAIT_OBJECTIVE.", by)
	within := gauge(auto, "bellboard_wait_objective_seconds", "Time of WAIT_OBJECTIVE.", by)
	for i := range m.teams {
		if t := &m.teams[i]; t.Objective.Within > 0 {
			share.WithLabelValues(t.Name).Set(t.Objective.Share)
			within.WithLabelValues(t.Name).Set(t.Objective.Within.Seconds())
		}
	}
	kept := gauge(auto, "bellboard_agents_worth_keeping", "Free agents that are worth keeping for the next builds, if no IDLE_TIMEOUT is set.", m.team)
	for i := range m.seen.Decisions {
		d := &m.seen.Decisions[i]
		waitValue.WithLabelValues(d.Team).Set(d.Weighed.WaitValue)
		gain.WithLabelValues(d.Team).Set(d.Weighed.Gain.Seconds())
		kept.WithLabelValues(d.Team).Set(float64(d.Weighed.Hold))
		most.WithLabelValues(d.Team).Set(float64(d.MaxAgents))
		waiting.WithLabelValues(d.Team).Set(float64(d.Waiting))
		oldest.WithLabelValues(d.Team).Set(d.Oldest.Seconds())
		desired.WithLabelValues(d.Team).Set(float64(d.Want))
		alive.WithLabelValues(d.Team).Set(float64(d.Alive))
		executors.WithLabelValues(d.Team, "busy").Set(float64(d.Busy))
		executors.WithLabelValues(d.Team, "free").Set(float64(d.Free))
		executors.WithLabelValues(d.Team, "coming").Set(float64(d.Coming))
	}
	kind := label{name: "kind"}
	agents := gauge(auto, "bellboard_agents", "Agents and berths by class, in the last tick that was not a hold; no series: none.", by, kind, label{name: "class"})
	overdue := gauge(auto, "bellboard_agents_overdue", "Agents that take far longer to start than others of their pool took; no build waits for them; no series: none.", by)
	for i := range m.seen.Agents {
		a := &m.seen.Agents[i]
		agents.WithLabelValues(m.team.of(a.Team), string(a.Kind), string(a.Class)).Inc()
		if a.Overdue {
			overdue.WithLabelValues(m.team.of(a.Team)).Inc()
		}
	}
	slots := gauge(auto, "bellboard_cache_slots", "Cache slots (volume claims) by state: free, used by an agent, aside (an agent did not start on this slot; not used for ten minutes), or going; no series: none.", by, label{name: "state"})
	for i := range m.seen.Slots {
		s := &m.seen.Slots[i]
		slots.WithLabelValues(m.team.of(s.Team), string(s.State)).Inc()
	}
	unresolved := gauge(auto, "bellboard_queue_unresolved_items", "Builds that wait for a label that Jenkins does not name.")
	for _, u := range m.seen.Unresolved {
		unresolved.WithLabelValues().Add(float64(u.Count))
	}
	unserved := gauge(auto, "bellboard_queue_unserved_items", "Builds that wait for labels that no team serves, or without a label while no team has UNLABELLED.")
	for _, u := range m.seen.Unserved {
		unserved.WithLabelValues().Add(float64(u.Count))
	}
}
