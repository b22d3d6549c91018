// Package grafana holds the dashboards for Grafana, fleet.json, team.json and self.json, and their tests. They
// promise that every query is PromQL, that every metric, label and label value in the queries and in the alerts
// exists, and that two replicas or a restart count nothing twice. They never need Grafana or Prometheus:
// ./deploy/grafana/seen asks a real Prometheus.
package grafana

import (
	"bytes"
	"embed"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"bellboard/metrics"
	"bellboard/scaler"
)

//go:embed fleet.json team.json self.json
var files embed.FS

// dashboard is the part of a dashboard that the tests read.
type dashboard struct {
	source []byte

	UID, Title    string
	SchemaVersion int
	Annotations   struct {
		List []struct {
			Name, TextFormat string
			Target           query
		}
	}
	Templating struct {
		List []struct {
			Name  string
			Query any
		}
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Datasource               datasource
	Links                    []struct{ URL string }
	Targets                  []query
	FieldConfig              struct{ Defaults struct{ Unit string } }
}

type query struct {
	RefID, Expr, LegendFormat, Format string
	Datasource                        datasource
	Instant, Range                    bool
}

type datasource struct{ Type, UID string }

// dashboards returns all dashboards by the name of their file.
func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	out := map[string]dashboard{}
	for _, name := range []string{"fleet", "team", "self"} {
		var d dashboard
		var err error
		if d.source, err = files.ReadFile(name + ".json"); err == nil {
			err = json.Unmarshal(d.source, &d)
		}
		if err != nil {
			t.Fatal(name, err)
		}
		out[name] = d
	}
	return out
}

// each calls f with each dashboard.
func each(t *testing.T, f func(t *testing.T, d dashboard)) {
	t.Helper()
	for name, d := range dashboards(t) {
		t.Run(name, func(t *testing.T) { f(t, d) })
	}
}

// variable is the value of a variable of the dashboard that is a constant.
func (d *dashboard) variable(name string) string {
	for _, v := range d.Templating.List {
		if value, ok := v.Query.(string); ok && v.Name == name {
			return value
		}
	}
	return ""
}

// The file has one format, so that a change shows only what it changes.
func TestFormat(t *testing.T) {
	each(t, func(t *testing.T, d dashboard) {
		var want bytes.Buffer
		if err := json.Indent(&want, bytes.TrimSpace(d.source), "", "  "); err != nil {
			t.Fatal(err)
		}
		want.WriteByte('\n')
		if diff := cmp.Diff(want.String(), string(d.source)); diff != "" {
			t.Errorf("not formatted as jq formats it:\n%s", diff)
		}
	})
}

// Grafana replaces a dashboard of the same UID, and shows an unknown variable as it is written.
func TestVariables(t *testing.T) {
	all := dashboards(t)
	for name, d := range all {
		if d.UID != "bellboard-"+name || d.Title == "" || d.SchemaVersion != 39 {
			t.Errorf("%s is %s %q of schema %d", name, d.UID, d.Title, d.SchemaVersion)
		}
		unused := map[string]bool{}
		for _, v := range d.Templating.List {
			unused[v.Name] = true
		}
		for _, must := range []string{"datasource", "namespace", "job"} {
			if !unused[must] {
				t.Errorf("%s lacks the variable %s", name, must)
			}
		}
		declared := maps.Clone(unused)
		for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllSubmatch(d.source, -1) {
			v := string(m[1])
			if !declared[v] && !strings.HasPrefix(v, "__") {
				t.Errorf("%s: $%s is no variable of the dashboard", name, v)
			}
			delete(unused, v)
		}
		for v := range unused {
			t.Errorf("%s: nothing uses the variable %s", name, v)
		}
	}
	for _, m := range regexp.MustCompile(`/d/bellboard-(\w+)\?`).FindAllSubmatch(all["fleet"].source, -1) {
		if _, there := all[string(m[1])]; !there {
			t.Errorf("fleet leads to the dashboard %s", m[1])
		}
	}
}

func TestLayout(t *testing.T) {
	each(t, func(t *testing.T, d dashboard) {
		ours := datasource{"prometheus", "${datasource}"}
		type cell struct{ x, y int }
		ids, titles := map[int]bool{}, map[string]bool{}
		taken := map[cell]string{}
		for _, p := range d.Panels {
			if ids[p.ID] || p.ID == 0 {
				t.Errorf("%s: id %d is another's", p.Title, p.ID)
			}
			ids[p.ID] = true
			g := p.GridPos
			if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
				t.Errorf("%s: stands outside of the grid: %+v", p.Title, g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[cell{x, y}]; other != "" {
						t.Fatalf("%s covers %s", p.Title, other)
					}
					taken[cell{x, y}] = p.Title
				}
			}
			if titles[p.Title] {
				t.Errorf("%s stands twice", p.Title)
			}
			titles[p.Title] = true
			if p.Type == "row" {
				continue
			}
			if p.Description == "" || p.FieldConfig.Defaults.Unit == "" {
				t.Errorf("%s lacks a description or a unit", p.Title)
			}
			if p.Datasource != ours || len(p.Targets) == 0 {
				t.Errorf("%s asks nothing of $datasource", p.Title)
			}
			refs := map[string]bool{}
			for _, q := range p.Targets {
				if q.Datasource != ours || q.RefID == "" || refs[q.RefID] || q.Instant == q.Range || q.Expr == "" {
					t.Errorf("%s: not a query: %+v", p.Title, q)
				}
				refs[q.RefID] = true
				if len(p.Targets) > 1 && q.LegendFormat == "" && q.Format != "table" {
					t.Errorf("%s: %q has no name beside the others", p.Title, q.Expr)
				}
			}
		}
		for y := range 6 { // what is read from afar fills the width
			for x := range 24 {
				if taken[cell{x, y}] == "" {
					t.Errorf("nothing stands at %d, %d", x, y)
				}
			}
		}
	})
}

// macros are what Grafana puts in the place of its own variables.
var macros = strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$__interval_ms", "60000", "$__interval", "1m")

// parse returns the expression of a query.
func parse(t *testing.T, where, expr string) parser.Expr {
	t.Helper()
	e, err := parser.ParseExpr(macros.Replace(expr))
	if err != nil {
		t.Fatalf("%s: %q is no PromQL: %v", where, expr, err)
	}
	return e
}

// selectors calls f with every selector of an expression, and with what it stands in, the outermost first.
func selectors(e parser.Expr, f func(s *parser.VectorSelector, in []parser.Node)) {
	parser.Inspect(e, func(n parser.Node, in []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			f(s, in)
		}
		return nil
	})
}

func matcher(s *parser.VectorSelector, name string) string {
	for _, m := range s.LabelMatchers {
		if m.Name == name {
			return m.Value
		}
	}
	return ""
}

// The variables at the top choose what every panel shows.
func TestChosen(t *testing.T) {
	known := gather(t)
	for name, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				selectors(parse(t, p.Title, q.Expr), func(s *parser.VectorSelector, _ []parser.Node) {
					if matcher(s, "namespace") != "$namespace" || matcher(s, "job") != "$job" {
						t.Errorf("%s: %s is of all installations", p.Title, s)
					}
					if name == "team" && known[s.Name]["team"] != nil && matcher(s, "team") != "$team" {
						t.Errorf("%s: %s is of all teams", p.Title, s)
					}
				})
			}
		}
	}
}

// ofReplicas are the metrics of each replica. All others are the leader's alone.
var ofReplicas = regexp.MustCompile(`^(bellboard_(leader|build_info|jenkins_clock_skew_seconds)|process_.*|go_.*|scrape_.*)$`)

// Bellboard runs as two replicas, of which the leader alone has numbers, and Prometheus adds an instance to each
// series. A query adds over the replicas, so that the leader may change, and takes a counter's rate before that.
func TestReplicasCountOnce(t *testing.T) {
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				selectors(parse(t, p.Title, q.Expr), func(s *parser.VectorSelector, in []parser.Node) {
					rated, added := false, ofReplicas.MatchString(s.Name)
					for _, n := range in {
						switch n := n.(type) {
						case *parser.Call:
							rated = rated || n.Func.Name == "rate" || n.Func.Name == "increase"
						case *parser.AggregateExpr:
							added = added || !slices.Contains(n.Grouping, "instance") && !n.Without
						}
					}
					counter := regexp.MustCompile(`_(total|bucket|sum|count)$`).MatchString(s.Name)
					if !added || counter != rated {
						t.Errorf("%s: %s is a counter: %t, its rate is taken: %t, and it is added up: %t", p.Title, s, counter, rated, added)
					}
				})
			}
		}
	}
}

func TestQueriesAskForWhatThereIs(t *testing.T) {
	known := gather(t)
	asked := map[string]bool{}
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				check(t, known, p.Title, q.Expr, q.LegendFormat)
				selectors(parse(t, p.Title, q.Expr), func(s *parser.VectorSelector, _ []parser.Node) { asked[s.Name] = true })
			}
		}
		for _, a := range d.Annotations.List {
			check(t, known, a.Name, a.Target.Expr, a.TextFormat)
		}
	}
	for metric := range known {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(metric, "_sum"), "_count"), "_bucket")
		if !asked[metric] && !asked[base+"_bucket"] && !asked[base+"_sum"] {
			t.Errorf("nobody sees %s", metric)
		}
	}
}

var legend = regexp.MustCompile(`\{\{([a-z]+)\}\}`)

// check holds an expression to the series and the labels' values that there are. known may have the series of
// recording rules too.
func check(t *testing.T, known map[string]map[string][]string, where, expr, text string) {
	t.Helper()
	e, found := parse(t, where, expr), 0
	has := []string{"namespace", "job", "instance"} // Prometheus' own
	selectors(e, func(s *parser.VectorSelector, _ []parser.Node) {
		found++
		series, there := known[s.Name]
		if process := !strings.HasPrefix(s.Name, "bellboard_") && ofReplicas.MatchString(s.Name); !there && !process {
			t.Errorf("%s: there is no metric %s", where, s.Name)
		}
		has = slices.AppendSeq(has, maps.Keys(series))
		for _, m := range s.LabelMatchers {
			if strings.HasPrefix(m.Value, "$") || m.Name == labels.MetricName {
				continue
			}
			for v := range strings.SplitSeq(m.Value, "|") {
				if !slices.Contains(series[m.Name], v) {
					t.Errorf("%s: %s has no %s=%q", where, s.Name, m.Name, v)
				}
			}
		}
	})
	if found == 0 {
		t.Errorf("%s: %q asks for nothing", where, expr)
	}
	var named []string
	for _, l := range legend.FindAllStringSubmatch(text, -1) {
		named = append(named, l[1])
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.AggregateExpr:
			named = append(named, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				named = append(named, n.VectorMatching.MatchingLabels...)
			}
		}
		return nil
	})
	for _, l := range named {
		if !slices.Contains(has, l) {
			t.Errorf("%s: nothing that %q asks for has a label %s", where, expr, l)
		}
	}
}

// gather is every series that Bellboard can show, with the values of its labels.
func gather(t *testing.T) map[string]map[string][]string {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	web := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	m := metrics.New(reg, []scaler.Team{{Name: "web", Objective: scaler.Objective{Share: 0.95, Within: time.Minute}}}, 100, "v1", nil, nil)
	m.Leading(true)
	tick := scaler.Tick{
		ID: "a-1", At: time.Unix(1000, 0), Took: time.Millisecond,
		Age:  map[scaler.Source]time.Duration{scaler.SourceJenkins: time.Second, scaler.SourceKubernetes: time.Second},
		Plan: scaler.Plan{Decisions: []scaler.Decision{{Team: "web", Waiting: 1, Alive: 1, Want: 2, Reason: scaler.ReasonDemand}}},
		Facts: scaler.Facts{
			Waits: []scaler.Wait{{Team: "web", Took: time.Second}}, Startups: []scaler.Startup{{PoolID: web, Took: time.Second}},
			FirstBuilds: []scaler.FirstBuild{{PoolID: web, Warmth: scaler.Warm}},
		},
	}
	for _, c := range scaler.Classes() {
		tick.Plan.Agents = append(tick.Plan.Agents, scaler.Agent{PoolID: web, Class: c, Overdue: true})
	}
	for _, s := range scaler.SlotStates() {
		tick.Plan.Slots = append(tick.Plan.Slots, scaler.SlotSeen{PoolID: web, State: s})
	}
	for _, p := range scaler.Phases() {
		tick.Facts.Startups[0].Phases = append(tick.Facts.Startups[0].Phases, scaler.PhaseTime{Phase: p})
	}
	for _, r := range scaler.Results() {
		tick.Outcomes = append(tick.Outcomes, scaler.Outcome{Action: scaler.Action{Verb: scaler.Create, Pool: web}, Result: r})
	}
	m.Observe(tick)
	tick.At = time.Unix(1001, 0)
	m.Observe(tick)
	m.JenkinsUnseen("unavailable")
	m.JenkinsSkew(time.Second)
	m.JenkinsRequest("queue", "200", time.Millisecond)
	m.KubeRequest("create", "pods", "201", time.Millisecond)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]map[string][]string{}
	for _, f := range families {
		values := map[string][]string{}
		for _, series := range f.GetMetric() {
			for _, l := range series.GetLabel() {
				values[l.GetName()] = append(values[l.GetName()], l.GetValue())
			}
			if series.Histogram != nil {
				values["le"] = []string{}
			}
		}
		if values["le"] == nil {
			known[f.GetName()] = values
			continue
		}
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			known[f.GetName()+part] = values
		}
	}
	return known
}
