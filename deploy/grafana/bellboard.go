// Package grafana makes the dashboard Bellboard, bellboard.json, for Grafana.
// It promises that every series and every value of a label in its queries is
// one that Bellboard has, and that two replicas or a restart show nothing
// twice. It never needs Grafana: what it makes is a file, which go test
// ./deploy/grafana -update writes and ./deploy/grafana/seen asks of a real
// Prometheus.
package grafana

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"bellboard/scaler"
)

// Runbooks is where the alerts and the panels say that docs/runbooks.md can be
// read. Nobody but you knows where you keep it: docs/dashboard.md says how to change it.
const Runbooks = "https://git.example/bellboard/docs/runbooks.md"

// JSON is the dashboard as the file holds it.
func JSON(d Dashboard) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // queries are full of < and >
	e.SetIndent("", "  ")
	if err := e.Encode(d); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Bellboard is the dashboard.
func Bellboard() Dashboard {
	return Dashboard{
		UID: "bellboard", Title: "Bellboard", Tags: []string{"bellboard", "jenkins", "kubernetes"},
		Description:   "Jenkins agents on Kubernetes: who waits, who works, what was decided and why, what it costs.",
		SchemaVersion: 42, Editable: true, GraphTooltip: 1, Refresh: "30s", Time: Span{From: "now-6h", To: "now"},
		Links: []Link{link("Runbooks", "${runbooks}")},
		Annotations: Annotations{List: []Annotation{{
			Name: "Holds", Datasource: datasource, Enable: true, IconColor: "red",
			Target:    Target{RefID: "Anno", Datasource: datasource, Expr: "max by (source) (bellboard_hold) > 0", Interval: "30s", Range: true, Editor: "code"},
			TitleText: "hold", Text: "cannot read {{source}}: nothing is created, marked or removed",
		}}},
		Templating: Templating{List: []Variable{
			{
				Name: "datasource", Label: "Data source", Description: "The Prometheus that scrapes Bellboard.", Type: "datasource", Query: "prometheus",
			},
			{
				Name: "team", Label: "Team", Description: "The teams of BELLBOARD_TEAMS; all of them show also what belongs to no team.", Type: "query",
				Datasource: &datasource, Definition: "label_values(bellboard_agents_desired, team)",
				Query: object{"query": "label_values(bellboard_agents_desired, team)", "refId": "team"},
				Multi: true, IncludeAll: true, AllValue: ".*", Refresh: 2, Sort: 1, Current: &Choice{Text: []string{"All"}, Value: []string{"$__all"}},
			},
			{
				Name: "runbooks", Label: "Runbooks", Description: "Where docs/runbooks.md can be read.", Type: "constant", Query: Runbooks, Hide: 2,
			},
		}},
		Panels: place(rows()),
	}
}

// Bellboard runs as two replicas: a gauge is the most that either says (the
// standby says less, or nothing), a counter the sum of both.

// most is a gauge's value for each of by.
func most(by, metric string, labels ...string) string {
	return fmt.Sprintf("max by (%s) (%s)", by, series(metric, labels))
}

// total is a gauge's value over all of by.
func total(by, metric string, labels ...string) string {
	return "sum(" + most(by, metric, labels...) + ")"
}

// perSecond is a counter's rate for each of by.
func perSecond(by, metric string, labels ...string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s[$__rate_interval]))", by, series(metric, labels))
}

// perMinute is the same by the minute, of those that happened at all: most of
// the closed sets of reasons, rules and verbs are rare.
func perMinute(by, metric string, labels ...string) string {
	return "60 * " + perSecond(by, metric, labels...) + " > 0"
}

// inRange is how much a counter grew in the time shown.
func inRange(by, metric string, labels ...string) string {
	return fmt.Sprintf("sum by (%s) (increase(%s[$__range]))", by, series(metric, labels))
}

// hours is a number's sum over the time shown, by the hour: counted as often as a
// graph of that time has points, so that a scrape that failed costs little of it.
func hours(number string) string {
	return fmt.Sprintf("sum_over_time((%s)[$__range:$__interval]) * $__interval_ms / 3600000", number)
}

// quantile is a quantile of a histogram for each of by ("": of all together).
func quantile(q float64, over, by, metric string, labels ...string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (%s) (rate(%s[%s])))", q, strings.Trim("le, "+by, ", "), series(metric+"_bucket", labels), over)
}

func series(metric string, labels []string) string {
	if len(labels) == 0 {
		return metric
	}
	return metric + "{" + strings.Join(labels, ", ") + "}"
}

// oneOf matches a label with values of one of scaler's closed sets.
func oneOf[T ~string](label string, values ...T) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	if len(words) == 1 {
		return fmt.Sprintf("%s=%q", label, words[0])
	}
	return fmt.Sprintf("%s=~%q", label, strings.Join(words, "|"))
}

const (
	team   = `team=~"$team"`
	teams  = "{{team}}"
	window = "$__rate_interval"
)

func rows() []row {
	working := oneOf("class", scaler.Busy, scaler.Draining, scaler.Cut)
	free := oneOf("class", scaler.Free)
	alive := total("team", "bellboard_agents_alive", team)
	wait, startup, phase := "bellboard_queue_wait_seconds", "bellboard_agent_startup_seconds", "bellboard_agent_start_phase_seconds"

	return []row{
		{height: 6, panels: []panel{
			number("Bellboard", "none", "Whether Jenkins and Kubernetes can be read. While Bellboard holds it creates, marks and removes nothing, and what is shown of queue and agents is as last seen.",
				query("max(bellboard_hold)", "")).says("green sees", "red HOLDS").runbook("BellboardCannotSee"),
			number("Waiting builds", "none", "Builds in Jenkins' queue that wait for an agent of these teams.",
				query(total("team", "bellboard_queue_items", team), "")).runbook("BellboardNothingCreated"),
			number("Oldest wait", "s", "How long the oldest of them waits: yellow from a minute, red from five.",
				query("max("+series("bellboard_queue_oldest_wait_seconds", []string{team})+")", "")).steps(60, 300).runbook("BellboardQueueCapped"),
			number("95 % waited less than", "s", "Of the builds that left the queue in the time shown; estimated from buckets.",
				once(quantile(0.95, "$__range", "", wait, team), "")).steps(60, 300),
			number("Agents", "none", "Pods alive, and those among them at work.",
				query(alive, "alive"), query(total("team, kind, class", "bellboard_agents", working, team), "at work")),
			number("Idle share", "percentunit", "Share of the living agents that wait for work: what is paid for nothing but the next build's start.",
				query(total("team, kind", "bellboard_agents", free, team)+" / ("+alive+" > 0)", "")),
		}},
		{title: "Queue", height: 8, panels: []panel{
			lines(8, "Waiting builds", "none", "Builds that wait for an agent of the team.",
				query(most("team", "bellboard_queue_items", team), teams)).runbook("BellboardQueueCapped"),
			lines(8, "Oldest wait", "s", "How long the oldest of them waits.",
				query(most("team", "bellboard_queue_oldest_wait_seconds", team), teams)).runbook("BellboardNothingCreated"),
			lines(8, "Waiting for nobody", "none", "Builds whose labels no team serves, and builds whose label Jenkins does not tell. bellboard plan names their jobs.",
				query("max(bellboard_queue_nobodys_items)", "nobody's"), query("max(bellboard_queue_unresolved_items)", "label not told")),
		}},
		{title: "Agents", height: 10, panels: []panel{
			areas(16, "Agents by kind and class, against desired and MAX_AGENTS", "none",
				"Every pair of pod and node by what it is (berths, which have no pod, left out); over them how many there would be if no rule had said no, the most that may be (the sum of the teams' MAX_AGENTS, or BELLBOARD_MAX_AGENTS where that is less), and how many of those that are coming are late: no build waits for them.",
				query(most("kind, class", "bellboard_agents", `class!="`+string(scaler.Berth)+`"`, team)+" > 0", "{{kind}} {{class}}"),
				query(total("team", "bellboard_agents_desired", team), "desired"),
				query("clamp_max("+total("team", "bellboard_agents_max", team)+", scalar(max(bellboard_agents_global_max)))", "MAX_AGENTS"),
				query(total("team, kind", "bellboard_agents_late", team)+" > 0", "late")).
				line("desired", "text", 10, 6).line("MAX_AGENTS", "red").line("late", "orange"),
			func() panel {
				p := gauges(8, "Alive of MAX_AGENTS", "percentunit", "How much of its MAX_AGENTS each team uses: pods alive, draining and held ones too.",
					query(most("team", "bellboard_agents_alive", team)+" / "+most("team", "bellboard_agents_max", team), teams))
				p.FieldConfig.Defaults.Max = &one
				return p
			}().runbook("BellboardQueueCapped"),
			areas(18, "Executors", "none", "Builds that the agents can run at once: those that run (busy), and those that could (free) or soon can (coming). MIN_IDLE is counted in these, MIN_AGENTS and MAX_AGENTS in agents.",
				query("sum by (state) ("+most("team, state", "bellboard_executors", team)+")", "{{state}}")),
			bars("Agents renewed", "Sent away after their builds, since they were older than MAX_LIFETIME or their settings had changed.",
				query(perMinute("team, kind", "bellboard_agents_renewed_total", team), "{{team}} {{kind}}")),
		}},
		{title: "Decisions", height: 8, panels: []panel{
			bars("Decisions by reason", "One for each team and tick; those that found nothing to do left out.",
				query(perMinute("reason", "bellboard_decisions_total", `reason!="`+string(scaler.ReasonSteady)+`"`, team), "{{reason}}")),
			bars("Blocks by rule", "How often a rule allowed fewer agents to be created, or to go, than were wanted. Each is named after the setting to change.",
				query(perMinute("rule", "bellboard_blocks_total", team), "{{rule}}")).runbook("BellboardQueueCapped"),
			bars("Writes by verb", "What was done in Jenkins and Kubernetes.",
				query(perMinute("verb", "bellboard_actions_total", oneOf("result", scaler.Done), team), "{{verb}}")),
			bars("Writes that were not done", "late and changed: decided anew in the next tick, as meant. refused and failed: the server said no, or did not answer.",
				query(perMinute("verb, result", "bellboard_actions_total", oneOf("result", scaler.Late, scaler.Changed, scaler.Refused, scaler.Failed), team), "{{verb}} {{result}}")).
				where("/(refused|failed)$/", paint("red")).runbook("BellboardAgentsFail"),
		}},
		{title: "Waiting and starting", height: 8, panels: []panel{
			lines(6, "Wait in the queue", "s", "Of the builds that left the queue; estimated from buckets.",
				query(quantile(0.5, window, "", wait, team), "half"), query(quantile(0.95, window, "", wait, team), "95 %"), query(quantile(0.99, window, "", wait, team), "99 %")),
			lines(6, "Start of an agent", "s", "From the creation of its pod until its node was online; estimated from buckets.",
				query(quantile(0.5, window, "kind", startup, team), "{{kind}} half"), query(quantile(0.95, window, "kind", startup, team), "{{kind}} 95 %")).
				runbook("BellboardAgentsFail"),
			lines(6, "Start by phase", "s", "Half of the agents that connected took no longer for each step: schedule (a machine), mount (volumes, Secret, network), pull (the first image), docker (the daemon answers), agent (its image, after the daemon's), connect; estimated from buckets.",
				query(quantile(0.5, window, "phase", phase, team), "{{phase}}")).runbook("BellboardAgentsFail"),
			heat(6, "Waits", "s", "How many builds left the queue after which wait.",
				fmt.Sprintf("sum by (le) (increase(%s[%s]))", series(wait+"_bucket", []string{team}), window)),
		}},
		{title: "Image caches", height: 8, panels: []panel{
			areas(8, "Cache slots", "none", "Volumes that keep the images of persistent agents: used by one, free for the next, aside for a while since an agent did not start on one, or going.",
				query(most("team, state", "bellboard_cache_slots", team)+" > 0", "{{team}} {{state}}")),
			lines(8, "Warm share", "percentunit", "Share of the agents with a cache slot that were created on one that another has worked on: their first build finds its images.",
				query(perSecond("team", "bellboard_cache_starts_total", oneOf("cache", scaler.Warm), team)+" / ("+perSecond("team", "bellboard_cache_starts_total", team)+" > 0)", teams)),
			lines(8, "First build, warm and cold", "s", "From the creation of a pod with a cache slot until a build that had waited for it began, 95 %; estimated from buckets. What a build then saves by images that are there is in its own time.",
				query(quantile(0.95, window, "cache", "bellboard_cache_first_build_seconds", team), "{{cache}}")),
		}},
		{title: "Idle cost", height: 8, panels: []panel{
			areas(8, "Free agents", "none", "Agents that wait for work. IDLE_TIMEOUT, MIN_IDLE and MIN_AGENTS keep them.",
				query(most("team, kind", "bellboard_agents", free, team), "{{team}} {{kind}}")),
			lines(8, "Idle share by team", "percentunit", "Share of the team's living agents that wait for work.",
				query(fmt.Sprintf("sum by (team) (%s) / (%s > 0)", most("team, kind", "bellboard_agents", free, team), most("team", "bellboard_agents_alive", team)), teams)),
			gauges(4, "Idle agent-hours", "h", "In the time shown: what waiting agents cost, each by the hour.",
				once(hours("sum by (team) ("+most("team, kind", "bellboard_agents", free, team)+")"), teams)),
			gauges(4, "Agent-hours", "h", "In the time shown: what all agents cost, each by the hour.",
				once(hours(most("team", "bellboard_agents_alive", team)), teams)),
		}},
		{title: "Health", height: 7, panels: []panel{
			number("Builds lost", "none", "In the time shown: builds whose agent's pod vanished under them, or whose agent lost its connection to Jenkins for good.",
				once("sum("+inRange("team", "bellboard_builds_lost_total", team)+")", "")).mustBeZero().runbook("BellboardBuildsLost"),
			number("Second builds", "none", "In the time shown: builds that slipped onto an ephemeral agent after its first. The one-build hook in Jenkins prevents them.",
				once("sum("+inRange("team", "bellboard_second_builds_total", team)+")", "")).mustBeZero(),
			number("Agents failed", "none", "In the time shown: agents that could not be made, were removed without ever having connected, or lost their Docker daemon, by why.",
				once(inRange("reason", "bellboard_agents_failed_total", team), "{{reason}}")).mustBeZero().runbook("BellboardAgentsFail"),
			number("Last tick", "s", "How long ago the last pass of the loop began.",
				query("time() - max(bellboard_last_tick_timestamp_seconds)", "")).steps(60, 120).runbook("BellboardNotTicking"),
			lines(8, "Leader", "none", "1 for the replica that acts. The others watch.",
				query("max by (instance) (bellboard_leader)", "{{instance}}")).runbook("BellboardNoLeader"),
			areas(6, "Ticks by result", "cps", "Passes of the loop: acted, steady (nothing to do) or hold (could not see).",
				query(perSecond("result", "bellboard_ticks_total"), "{{result}}")).where("hold", paint("red")).runbook("BellboardNotTicking"),
			bars("Holds by source", "Passes in which nothing was done, by what could not be read. bellboard: a plan of its own broke a promise and was not carried out.",
				query("60 * "+perSecond("source", "bellboard_holds_total"), "{{source}}")).runbook("BellboardCannotSee"),
			lines(6, "Snapshot age", "s", "Age of what was last seen of each source, at the last tick.",
				query(most("source", "bellboard_snapshot_age_seconds"), "{{source}}")),
			lines(6, "Tick duration", "s", "Time that one pass of the loop took; estimated from buckets.",
				query(quantile(0.5, window, "", "bellboard_tick_duration_seconds"), "half"), query(quantile(0.99, window, "", "bellboard_tick_duration_seconds"), "99 %")),
			areas(6, "Requests to Jenkins", "reqps", "By HTTP status code; error: no answer.",
				query(perSecond("code", "bellboard_jenkins_requests_total"), "{{code}}")).codes().runbook("BellboardCannotSee"),
			lines(6, "Jenkins' answers", "s", "95 % came within; by endpoint, estimated from buckets.",
				query(quantile(0.95, window, "endpoint", "bellboard_jenkins_request_duration_seconds"), "{{endpoint}}")),
			areas(6, "Requests to Kubernetes", "reqps", "By HTTP status code; error: no answer. A 404 or 409 is a precondition that did not hold, as meant.",
				query(perSecond("code", "bellboard_kube_requests_total"), "{{code}}")).codes().runbook("BellboardCannotSee"),
			lines(6, "Kubernetes' answers", "s", "95 % came within; by verb and resource, estimated from buckets.",
				query(quantile(0.95, window, "verb, resource", "bellboard_kube_request_duration_seconds"), "{{verb}} {{resource}}")),
			bars("Jenkins not seen", "Looks at Jenkins that showed nothing, by cause.",
				query(perMinute("cause", "bellboard_jenkins_unseen_total"), "{{cause}}")).runbook("BellboardCannotSee"),
			lines(6, "Jenkins' clock", "s", "How far it is from Bellboard's. Waiting times are corrected by it.",
				query("max(abs(bellboard_jenkins_clock_skew_seconds))", "")),
		}},
	}
}
