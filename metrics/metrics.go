// Package metrics turns the record of each tick into Prometheus series.
//
// Labels have closed sets of values (team, kind, class, reason, rule, verb, result): never a job, a build, a
// node or a pod. A counter exists before its first increase if an alert or a rate has to see that increase. All
// gauges come from one tick. The package asks neither Jenkins nor Kubernetes. It never shows unknown as zero: gauges
// do not exist before the first tick that is no hold. While Bellboard holds they keep their last values, beside
// bellboard_hold. Only the replica that works counts and has gauges, so that a sum over the replicas is true.
package metrics

import (
	"cmp"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"bellboard/scaler"
)

// Values of labels.
const (
	noTeam     = "-"     // team: one that is not in the settings; no team can have this name
	noAnswer   = "error" // code
	tickActed  = "acted" // result, as the others
	tickSteady = "steady"
	tickHold   = "hold"
	met        = "met"
	missed     = "missed"
)

// Metrics has every series of Bellboard.
type Metrics struct {
	team      label
	teams     []scaler.Team
	maxAgents int

	decisions, blocks, actions, creations, ticks, holds, buildsLost, secondBuilds, started *prometheus.CounterVec
	failed, renewed, cacheStarts, jenkins, unseen, kube, waitedFor, objective, gone        *prometheus.CounterVec
	wait, startup, firstBuild, phase, tick, jenkinsTook, kubeTook                          *prometheus.HistogramVec

	leader prometheus.Gauge
	skew   *prometheus.GaugeVec // without labels: the series exists when the value is known

	mu   sync.Mutex                  // guards what the gauges are made of
	last scaler.Tick                 // the last tick, also a hold; zero: no tick yet
	seen *scaler.Plan                // of the last tick that was no hold; nil: no such tick yet
	asOf map[scaler.Source]time.Time // the time of the last view of each source
}

var (
	sources = []scaler.Source{scaler.SourceJenkins, scaler.SourceKubernetes, scaler.SourceBellboard}
	waits   = []float64{1, 5, 10, 15, 30, 45, 60, 120, 300, 600, 1800}
	starts  = []float64{5, 15, 30, 60, 120, 300, 600}
	moments = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
)

// alerting are the rules that an alert asks for.
var alerting = []scaler.Rule{scaler.RuleMaxAgents, scaler.RuleMaxPersistent, scaler.RuleGlobalMax, scaler.RulePaused, scaler.RuleQuietDown, scaler.RuleVetoed}

// label is a label with the values that are there from the start. The series of other values come when needed.
type label struct {
	name   string
	values []string
}

func oneOf[T ~string](name string, values []T) label {
	l := label{name: name}
	for _, v := range values {
		l.values = append(l.values, string(v))
	}
	return l
}

func names(labels []label) (out []string) {
	for _, l := range labels {
		out = append(out, l.name)
	}
	return out
}

// of returns the value if the label has it, and otherwise noTeam.
func (l label) of(value string) string {
	if slices.Contains(l.values, value) {
		return value
	}
	return noTeam
}

// filled makes a series of each combination of the labels' values, so that Prometheus sees a first increase
// as an increase.
func filled[V interface{ WithLabelValues(values ...string) S }, S any](v V, labels []label, chosen ...string) V {
	if len(chosen) == len(labels) {
		v.WithLabelValues(chosen...)
		return v
	}
	for _, value := range labels[len(chosen)].values {
		filled(v, labels, append(slices.Clip(chosen), value)...)
	}
	return v
}

func gauge(auto promauto.Factory, name, help string, labels ...label) *prometheus.GaugeVec {
	return filled(auto.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, names(labels)), labels)
}

// New registers every series for teams, which may have maxAgents agents together. endpoints are Jenkins', and
// causes those of a poll without a view.
func New(
	reg prometheus.Registerer, teams []scaler.Team, maxAgents int, version string, endpoints, causes []string,
) *Metrics {
	auto := promauto.With(reg)
	counter := func(name, help string, labels ...label) *prometheus.CounterVec {
		return filled(auto.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, names(labels)), labels)
	}
	// A histogram without buckets has its native ones, its sum and its count.
	histogram := func(name, help string, buckets []float64, labels ...label) *prometheus.HistogramVec {
		return filled(auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, names(labels)), labels)
	}
	team, promised := label{name: "team"}, label{name: "team"}
	for i := range teams {
		team.values = append(team.values, teams[i].Name)
		if teams[i].Objective.Within > 0 {
			promised.values = append(promised.values, teams[i].Name)
		}
	}
	m := &Metrics{team: team, teams: teams, maxAgents: maxAgents, asOf: map[scaler.Source]time.Time{}}
	source := oneOf("source", sources)
	cache := oneOf("cache", []scaler.Warmth{scaler.Warm, scaler.Cold})
	endpoint, cause := label{"endpoint", endpoints}, label{"cause", causes}
	code, verb, resource := label{"code", []string{noAnswer}}, label{name: "verb"}, label{name: "resource"}

	m.decisions = counter("bellboard_decisions_total", "Decisions by reason: one for each team and each tick that was not a hold.", oneOf("reason", scaler.DecisionReasons()))
	m.blocks = counter("bellboard_blocks_total", "Times that a rule let fewer agents be created or removed than were wanted.", team, oneOf("rule", alerting))
	m.actions = counter("bellboard_actions_total", "Writes to Jenkins and Kubernetes, by verb and result.", verb, label{name: "result"})
	m.creations = counter("bellboard_creations_total", "Agents that were created (done), or could not be because Kubernetes or Jenkins said no (rejected) or did not answer (failed).", team, oneOf("result", []scaler.Result{scaler.Done, scaler.Failed}))
	m.started = counter("bellboard_builds_started_total", "Builds of the team that got an executor, by kind of agent (-: not an agent of Bellboard's, or not known).", team, oneOf("kind", scaler.Kinds()))
	m.gone = counter("bellboard_queue_gone_total", "Builds that left the queue and were not seen on an executor: somebody cancelled them, or they were over within a poll.", team)
	m.waitedFor = counter("bellboard_queue_wait_cause_seconds_total", "Time that builds have waited, added up over all builds, by cause. Its rate is how many builds wait for that cause.", team, label{name: "cause"})
	m.objective = counter("bellboard_wait_objective_builds_total", "Builds that got an executor within the time of WAIT_OBJECTIVE (met), or have waited for longer (missed, counted as soon as that is so).", promised, oneOf("result", []string{met, missed}))
	m.ticks = counter("bellboard_ticks_total", "Ticks by result: acted, steady (nothing to do) or hold (Jenkins or Kubernetes could not be read).", oneOf("result", []string{tickActed, tickSteady, tickHold}))
	m.holds = counter("bellboard_holds_total", "Ticks that changed nothing, by the source that could not be read.", source)
	m.buildsLost = counter("bellboard_builds_lost_total", "Builds that lost their agent: its pod vanished, or it lost its connection to Jenkins for good.", team)
	m.secondBuilds = counter("bellboard_second_builds_total", "Builds that an ephemeral agent took after its first build.", team)
	m.failed = counter("bellboard_agents_failed_total", "Agents that failed, by class: they could not be created, never connected, died, lost their Docker daemon, or got no build from Jenkins that they fit.", team, oneOf("reason", scaler.Failures()))
	m.renewed = counter("bellboard_agents_renewed_total", "Agents replaced because they were over MAX_LIFETIME or their settings had changed.", team)
	m.cacheStarts = counter("bellboard_cache_starts_total", "Agents created on a cache slot that another agent has used (warm) or on an empty slot (cold).", team, cache)
	m.jenkins = counter("bellboard_jenkins_requests_total", "Requests to Jenkins, by HTTP status code (error: no answer).", endpoint, code)
	m.unseen = counter("bellboard_jenkins_unseen_total", "Polls of Jenkins that gave no view, by cause.", cause)
	m.kube = counter("bellboard_kube_requests_total", "Requests to Kubernetes, by HTTP status code (error: no answer).", verb, resource, code)
	m.wait = histogram("bellboard_queue_wait_seconds", "Time that builds waited for an executor: from when only an executor was missing until they had one.", waits, team)
	m.startup = histogram("bellboard_agent_startup_seconds", "Time from the creation of an agent's pod until its node was online.", starts, label{name: "team"})
	m.firstBuild = histogram("bellboard_cache_first_build_seconds", "Time from the creation of a pod with a cache slot until a build that had waited for the pod began, by warm and cold slots.", nil, team, label{name: "cache"})
	m.phase = histogram("bellboard_agent_start_phase_seconds", "Time that each phase of an agent's start took, of agents that connected.", nil, team, label{name: "phase"})
	m.jenkinsTook = histogram("bellboard_jenkins_request_duration_seconds", "Time that requests to Jenkins took.", moments, endpoint)
	m.tick = histogram("bellboard_tick_duration_seconds", "Time that one tick took.", moments)
	m.kubeTook = histogram("bellboard_kube_request_duration_seconds", "Time that requests to Kubernetes took.", moments, verb, resource)

	m.leader = gauge(auto, "bellboard_leader", "1 on the replica that holds the Lease and writes, 0 on a replica that only reads.").WithLabelValues()
	m.skew = auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "bellboard_jenkins_clock_skew_seconds", Help: "Seconds by which Jenkins' clock is ahead of Bellboard's clock; Bellboard corrects waiting times by them.",
	}, nil)
	build := gauge(auto, "bellboard_build_info", "Always 1, with the version of Bellboard.", label{name: "version"}, label{name: "goversion"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	reg.MustRegister(m)
	return m
}

// Leading records whether this replica may write. The gauges of an earlier role go: another replica may have them now.
func (m *Metrics) Leading(yes bool) {
	m.leader.Set(map[bool]float64{true: 1}[yes])
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.seen = scaler.Tick{}, nil
	clear(m.asOf)
}

// Observe adds the record of one tick.
func (m *Metrics) Observe(t scaler.Tick) {
	m.tick.WithLabelValues().Observe(t.Took.Seconds())
	result := tickSteady
	switch {
	case t.Hold != "":
		result = tickHold
		m.holds.WithLabelValues(string(t.HoldBy)).Inc()
	case len(t.Outcomes) > 0:
		result = tickActed
	}
	m.ticks.WithLabelValues(result).Inc()
	for i := range t.Plan.Decisions {
		d := &t.Plan.Decisions[i]
		team := m.team.of(d.Team)
		m.decisions.WithLabelValues(string(d.Reason)).Inc()
		for _, s := range d.Steps {
			if s.To < s.From {
				m.blocks.WithLabelValues(team, string(s.Rule)).Inc()
			}
		}
	}
	for i := range t.Outcomes {
		a, result := &t.Outcomes[i].Action, t.Outcomes[i].Result
		team := m.team.of(a.Pool.Team)
		m.actions.WithLabelValues(string(a.Verb), string(result)).Inc()
		if a.Verb == scaler.Create && (result == scaler.Done || result == scaler.Failed || result == scaler.Rejected) {
			m.creations.WithLabelValues(team, string(result)).Inc()
		}
		switch {
		case result != scaler.Done:
		case a.Verb == scaler.Mark && a.Reason == scaler.ReasonRenew:
			m.renewed.WithLabelValues(team).Inc()
		case a.Verb == scaler.Create && a.Slot != nil:
			m.cacheStarts.WithLabelValues(team, string(a.Slot.Warmth())).Inc()
		}
	}
	m.facts(t)

	m.mu.Lock()
	defer m.mu.Unlock()
	since := m.last.At
	m.last = t
	if t.Hold == "" {
		m.seen = &t.Plan
	}
	if m.seen != nil && !since.IsZero() {
		m.waited(t.At.Sub(since))
	}
	for s, age := range t.Age {
		m.asOf[s] = t.At.Add(-age)
	}
}

// waited adds the time since the tick before to all builds that wait.
func (m *Metrics) waited(took time.Duration) {
	add := func(team string, cause scaler.WaitCause, builds int) {
		if builds > 0 {
			m.waitedFor.WithLabelValues(team, string(cause)).Add(float64(builds) * max(0, took).Seconds())
		}
	}
	for i := range m.seen.Decisions {
		d := &m.seen.Decisions[i]
		causes := map[scaler.WaitCause]int{scaler.WaitsForSight: d.Waiting}
		if m.last.Hold == "" {
			causes = d.WaitsFor()
		}
		for cause, n := range causes {
			add(m.team.of(d.Team), cause, n)
		}
	}
	for _, u := range m.seen.Unserved {
		add(noTeam, scaler.WaitsForTeam, u.Count)
	}
	for _, u := range m.seen.Unresolved {
		add(noTeam, scaler.WaitsForLabel, u.Count)
	}
}

func (m *Metrics) facts(t scaler.Tick) {
	observe := func(h *prometheus.HistogramVec, took time.Duration, labels ...string) {
		if o, ok := h.WithLabelValues(labels...).(prometheus.ExemplarObserver); ok { // every histogram is one
			// The time is of two clocks, and a histogram's sum does not fall.
			o.ObserveWithExemplar(max(0, took).Seconds(), prometheus.Labels{"decision_id": t.ID})
		}
	}
	for _, w := range t.Facts.Waits {
		team := m.team.of(w.Team)
		observe(m.wait, w.Took, team)
		m.started.WithLabelValues(team, cmp.Or(string(w.Kind), noTeam)).Inc()
		if w.Met {
			m.objective.WithLabelValues(team, met).Inc()
		}
	}
	for team, n := range t.Facts.Missed {
		m.objective.WithLabelValues(m.team.of(team), missed).Add(float64(n))
	}
	for team, n := range t.Facts.Gone {
		m.gone.WithLabelValues(m.team.of(team)).Add(float64(n))
	}
	for _, s := range t.Facts.Startups {
		observe(m.startup, s.Took, m.team.of(s.Team))
		for _, p := range s.Phases {
			observe(m.phase, p.Took, m.team.of(s.Team), string(p.Phase))
		}
	}
	for _, b := range t.Facts.FirstBuilds {
		observe(m.firstBuild, b.Took, m.team.of(b.Team), string(b.Warmth))
	}
	for _, l := range t.Facts.BuildsLost {
		m.buildsLost.WithLabelValues(m.team.of(l.Team)).Add(float64(l.Builds))
	}
	for p, n := range t.Facts.SecondBuilds {
		m.secondBuilds.WithLabelValues(m.team.of(p.Team)).Add(float64(n))
	}
	for _, f := range t.Facts.Failures {
		m.failed.WithLabelValues(m.team.of(f.Team), string(f.Failure)).Inc()
	}
}

// JenkinsRequest counts one request to Jenkins. code is the HTTP status, or any other number if there was no
// answer.
func (m *Metrics) JenkinsRequest(endpoint, code string, took time.Duration) {
	m.jenkins.WithLabelValues(endpoint, status(code)).Inc()
	m.jenkinsTook.WithLabelValues(endpoint).Observe(took.Seconds())
}

// JenkinsUnseen counts one poll of Jenkins without a view. cause is of a closed set.
func (m *Metrics) JenkinsUnseen(cause string) { m.unseen.WithLabelValues(cause).Inc() }

// JenkinsSkew records how far Jenkins' clock is ahead.
func (m *Metrics) JenkinsSkew(ahead time.Duration) { m.skew.WithLabelValues().Set(ahead.Seconds()) }

// KubeRequest counts one request to Kubernetes, as JenkinsRequest does.
func (m *Metrics) KubeRequest(verb, resource, code string, took time.Duration) {
	m.kube.WithLabelValues(verb, resource, status(code)).Inc()
	m.kubeTook.WithLabelValues(verb, resource).Observe(took.Seconds())
}

// status maps a code to the closed set of the label code.
func status(code string) string {
	if n, err := strconv.Atoi(code); err != nil || n < 100 || n > 599 {
		return noAnswer
	}
	return code
}
