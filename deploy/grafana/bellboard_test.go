// Package grafana holds the dashboard for Grafana, bellboard.json, and its tests. They
// promise that every metric, label and label value in its queries and in the alerts
// exists, and that two replicas or a restart count nothing twice. They never need
// Grafana or Prometheus: ./deploy/grafana/seen asks a real Prometheus.
package grafana

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"bellboard/metrics"
	"bellboard/scaler"
)

//go:embed bellboard.json
var source []byte

// dashboard is the part of bellboard.json that the tests read.
type dashboard struct {
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
	RefID, Expr, LegendFormat string
	Datasource                datasource
	Instant, Range            bool
}

type datasource struct{ Type, UID string }

func load(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal(source, &d); err != nil {
		t.Fatal("bellboard.json:", err)
	}
	return d
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
	var want bytes.Buffer
	if err := json.Indent(&want, bytes.TrimSpace(source), "", "  "); err != nil {
		t.Fatal("bellboard.json:", err)
	}
	want.WriteByte('\n')
	if diff := cmp.Diff(want.String(), string(source)); diff != "" {
		t.Errorf("bellboard.json is not formatted as jq formats it (jq . bellboard.json):\n%s", diff)
	}
}

// Grafana replaces a dashboard of the same UID, and shows an unknown variable as it is written.
func TestVariables(t *testing.T) {
	d := load(t)
	if d.UID != "bellboard" || d.Title != "Bellboard" || d.SchemaVersion != 42 {
		t.Errorf("the dashboard is %s %q of schema %d", d.UID, d.Title, d.SchemaVersion)
	}
	unused := map[string]bool{}
	for _, v := range d.Templating.List {
		unused[v.Name] = true
	}
	declared := maps.Clone(unused)
	for _, m := range regexp.MustCompile(`\$\{?(\w+)`).FindAllSubmatch(source, -1) {
		name := string(m[1])
		if !declared[name] && !strings.HasPrefix(name, "__") {
			t.Errorf("$%s is no variable of the dashboard", name)
		}
		delete(unused, name)
	}
	for name := range unused {
		t.Errorf("nothing uses the variable %s", name)
	}
}

func TestLayout(t *testing.T) {
	ours := datasource{"prometheus", "${datasource}"}
	type cell struct{ x, y int }
	type title struct {
		text string
		y    int
	}
	ids, titles := map[int]bool{}, map[title]bool{}
	taken := map[cell]string{}
	for _, p := range load(t).Panels {
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
		if p.Type == "row" {
			continue
		}
		key := title{p.Title, g.Y}
		if titles[key] {
			t.Errorf("%s stands twice in a row", p.Title)
		}
		titles[key] = true
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
			if len(p.Targets) > 1 && q.LegendFormat == "" {
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
}

// A team chosen at the top changes every panel that has teams.
func TestTeamsAreChosen(t *testing.T) {
	known := gather(t)
	for _, p := range load(t).Panels {
		for _, q := range p.Targets {
			for _, s := range selectors(q.Expr) {
				if known[s.metric]["team"] != nil && s.labels["team"] == "" {
					t.Errorf("%s: %s is of all teams", p.Title, s.metric)
				}
			}
		}
	}
}

// Bellboard runs as two replicas. The leader alone has numbers of queue and agents, so
// a gauge is the larger of both values. A counter is the sum of both rates.
func TestReplicasCountOnce(t *testing.T) {
	gauge := regexp.MustCompile(`max(?: by \([a-z, ]+\))? ?\((?:abs\()?$`)
	counter := regexp.MustCompile(`sum(?: by \([a-z, ]+\))? ?\((?:rate|increase)\($`)
	for _, p := range load(t).Panels {
		for _, q := range p.Targets {
			for _, at := range selector.FindAllStringSubmatchIndex(q.Expr, -1) {
				metric, want := q.Expr[at[2]:at[3]], gauge
				if strings.HasSuffix(metric, "_total") || strings.HasSuffix(metric, "_bucket") {
					want = counter
				}
				if !want.MatchString(q.Expr[:at[0]]) {
					t.Errorf("%s: %s counts every replica: %q", p.Title, metric, q.Expr)
				}
			}
		}
	}
}

func TestQueriesAskForWhatThereIs(t *testing.T) {
	known := gather(t)
	asked := map[string]bool{}
	for _, p := range load(t).Panels {
		for _, q := range p.Targets {
			check(t, known, p.Title, q.Expr, q.LegendFormat)
			for _, s := range selectors(q.Expr) {
				asked[s.metric] = true
			}
		}
	}
	for _, a := range load(t).Annotations.List {
		check(t, known, a.Name, a.Target.Expr, a.TextFormat)
	}
	for metric := range known {
		if base := strings.TrimSuffix(strings.TrimSuffix(metric, "_sum"), "_count"); !asked[metric] && !asked[base+"_bucket"] && metric != "bellboard_build_info" {
			t.Errorf("nobody sees %s", metric)
		}
	}
}

var (
	selector = regexp.MustCompile(`(bellboard_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z]+)(?:=|!=|=~|!~)"([^"]*)"`)
	grouping = regexp.MustCompile(`(?:by|on) \(([^)]*)\)`)
	legend   = regexp.MustCompile(`\{\{([a-z]+)\}\}`)
)

type asks struct {
	metric string
	labels map[string]string
}

func selectors(expr string) []asks {
	var out []asks
	for _, m := range selector.FindAllStringSubmatch(expr, -1) {
		a := asks{metric: m[1], labels: map[string]string{}}
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			a.labels[l[1]] = l[2]
		}
		out = append(out, a)
	}
	return out
}

// check holds an expression to the series and the labels' values that there are.
func check(t *testing.T, known map[string]map[string][]string, where, expr, text string) {
	t.Helper()
	if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") {
		t.Errorf("%s: %q has a bracket too many or too few", where, expr)
	}
	found := selectors(expr)
	if len(found) == 0 {
		t.Errorf("%s: %q asks for nothing of Bellboard's", where, expr)
	}
	labels := []string{"namespace", "job", "instance"} // Prometheus' own
	for _, s := range found {
		has, there := known[s.metric]
		if !there {
			t.Errorf("%s: there is no metric %s", where, s.metric)
			continue
		}
		for l := range has {
			labels = append(labels, l)
		}
		for l, values := range s.labels {
			if values == "$team" {
				continue
			}
			for v := range strings.SplitSeq(values, "|") {
				if !slices.Contains(has[l], v) {
					t.Errorf("%s: %s has no %s=%q", where, s.metric, l, v)
				}
			}
		}
	}
	named := legend.FindAllStringSubmatch(text, -1)
	for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(g[1], ", ") {
			named = append(named, []string{"", l})
		}
	}
	for _, l := range named {
		if !slices.Contains(labels, l[1]) {
			t.Errorf("%s: nothing that %q asks for has a label %s", where, expr, l[1])
		}
	}
}

// gather is every series that Bellboard can show, with the values of its labels.
func gather(t *testing.T) map[string]map[string][]string {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	m := metrics.New(reg, []scaler.Team{{Name: "web", MaxAgents: 10}}, 100, "v1", nil, nil)
	web := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	m.Observe(scaler.Tick{
		ID: "a-1", At: time.Unix(1000, 0), Took: time.Millisecond,
		Age:  map[scaler.Source]time.Duration{scaler.SourceJenkins: time.Second, scaler.SourceKubernetes: time.Second},
		Plan: scaler.Plan{Decisions: []scaler.Decision{{Team: "web", Waiting: 1, Alive: 1, Want: 2, Reason: scaler.ReasonDemand}}},
		Facts: scaler.Facts{
			Waits: []scaler.Wait{{Team: "web", Took: time.Second}}, Startups: []scaler.Startup{{PoolID: web, Took: time.Second}},
		},
	})
	m.Leading(true)
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
		labels := map[string][]string{}
		for _, series := range f.GetMetric() {
			for _, l := range series.GetLabel() {
				labels[l.GetName()] = append(labels[l.GetName()], l.GetValue())
			}
			if series.Histogram != nil {
				labels["le"] = []string{}
			}
		}
		if labels["le"] == nil {
			known[f.GetName()] = labels
			continue
		}
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			known[f.GetName()+part] = labels
		}
	}
	return known
}
