package grafana

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite deploy/alerts/prometheusrule.yaml")

type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []struct {
			Alert       string            `json:"alert"`
			Record      string            `json:"record"`
			Expr        string            `json:"expr"`
			For         string            `json:"for"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"rules"`
	} `json:"groups"`
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Every alert can be understood, leads to its section of the runbooks, and is
// tested; every section has its alert, and every panel's link its section.
func TestAlerts(t *testing.T) {
	var r rules
	if err := yaml.UnmarshalStrict([]byte(read(t, "../alerts/bellboard.yaml")), &r); err != nil {
		t.Fatal(err)
	}
	tests, book := read(t, "../alerts/bellboard_test.yaml"), read(t, "../../docs/runbooks.md")
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (Bellboard\w+)$`).FindAllStringSubmatch(book, -1) {
		sections[m[1]] = true
	}
	known, recorded := gather(t), map[string]bool{}
	all := dashboards(t)
	d := all["fleet"]
	runbooks := d.variable("runbooks")
	alerts := map[string]bool{}
	for _, g := range r.Groups {
		for _, a := range g.Rules {
			check(t, known, a.Alert+a.Record, a.Expr, "")
			if a.Record != "" {
				known[a.Record], recorded[a.Record] = map[string][]string{"team": nil}, true
				continue
			}
			for name := range recorded {
				if strings.Contains(a.Expr, name) {
					delete(recorded, name)
				}
			}
			alerts[strings.ToLower(a.Alert)] = true
			if a.For == "" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
				t.Errorf("%s lacks for, summary or description", a.Alert)
			}
			if s := a.Labels["severity"]; s != "critical" && s != "warning" {
				t.Errorf("%s: severity %q", a.Alert, s)
			}
			if want := runbooks + "#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
				t.Errorf("%s: runbook_url is %q, want %q", a.Alert, a.Annotations["runbook_url"], want)
			}
			if !sections[a.Alert] {
				t.Errorf("%s has no section in docs/runbooks.md", a.Alert)
			}
			delete(sections, a.Alert)
			if n := strings.Count(tests, "alertname: "+a.Alert+"\n"); n < 2 || !strings.Contains(tests, "#"+strings.ToLower(a.Alert)) {
				t.Errorf("%s is not tested to fire and to stay silent", a.Alert)
			}
		}
	}
	for s := range sections {
		t.Errorf("docs/runbooks.md has a section %s that no alert leads to", s)
	}
	for name := range recorded {
		t.Errorf("no alert uses %s", name)
	}
	for _, d := range all {
		for _, p := range d.Panels {
			for _, l := range p.Links {
				if anchor, ok := strings.CutPrefix(l.URL, "${runbooks}#"); !ok || !alerts[anchor] {
					t.Errorf("%s links to %s, which is no alert", p.Title, l.URL)
				}
			}
		}
	}
}

// The PrometheusRule for the Prometheus operator has the very rules of bellboard.yaml.
func TestPrometheusRule(t *testing.T) {
	const head = `# The alerts of bellboard.yaml for the Prometheus operator (kube-prometheus). Made of that file by
# go test ./deploy/grafana -update. Set the label that your Prometheus selects rules by.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: bellboard
  namespace: bellboard
  labels: {app.kubernetes.io/name: bellboard, release: kube-prometheus-stack}
spec:
`
	const path = "../alerts/prometheusrule.yaml"
	_, groups, _ := strings.Cut(read(t, "../alerts/bellboard.yaml"), "\ngroups:\n")
	var want bytes.Buffer
	want.WriteString(head + "  groups:\n")
	for line := range strings.Lines(groups) {
		if line != "\n" {
			line = "  " + line
		}
		want.WriteString(line)
	}
	if *update {
		if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if read(t, path) != want.String() {
		t.Errorf("%s differs from bellboard.yaml: go test ./deploy/grafana -update writes it", path)
	}
	var a, b struct {
		Groups any                  `json:"groups"`
		Spec   struct{ Groups any } `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(read(t, path)), &a); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(read(t, "../alerts/bellboard.yaml")), &b); err != nil || !reflect.DeepEqual(a.Spec.Groups, b.Groups) {
		t.Errorf("the rules of the two files differ (%v)", err)
	}
}

// The PodMonitor finds the very pods of install.yaml, and their port.
func TestPodMonitor(t *testing.T) {
	var m struct {
		Metadata struct{ Namespace string } `json:"metadata"`
		Spec     struct {
			Selector            struct{ MatchLabels map[string]string } `json:"selector"`
			PodMetricsEndpoints []struct{ Port, Path string }           `json:"podMetricsEndpoints"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "../alerts/podmonitor.yaml")), &m); err != nil {
		t.Fatal(err)
	}
	var pods int
	for one := range strings.SplitSeq(read(t, "../install.yaml"), "\n---\n") {
		var d struct {
			Kind     string                     `json:"kind"`
			Metadata struct{ Namespace string } `json:"metadata"`
			Spec     struct {
				Template struct {
					Metadata struct{ Labels map[string]string } `json:"metadata"`
					Spec     struct {
						Containers []struct {
							Ports []struct {
								Name string `json:"name"`
							} `json:"ports"`
						} `json:"containers"`
					} `json:"spec"`
				} `json:"template"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal([]byte(one), &d); err != nil {
			t.Fatal(err)
		}
		if d.Kind != "Deployment" || d.Metadata.Namespace != m.Metadata.Namespace {
			continue
		}
		for k, v := range m.Spec.Selector.MatchLabels {
			if d.Spec.Template.Metadata.Labels[k] != v {
				t.Errorf("the pods have no label %s=%s", k, v)
			}
		}
		e := m.Spec.PodMetricsEndpoints
		if c := d.Spec.Template.Spec.Containers; len(e) != 1 || len(m.Spec.Selector.MatchLabels) == 0 || len(c) != 1 || c[0].Ports[0].Name != e[0].Port {
			t.Errorf("the PodMonitor asks %+v of %+v", e, c)
		}
		pods++
	}
	if pods != 1 {
		t.Errorf("the PodMonitor is for %d Deployments of install.yaml", pods)
	}
}
