package grafana

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type rules struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []struct {
			Alert       string            `json:"alert"`
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
	d, known := load(t), gather(t)
	runbooks := d.variable("runbooks")
	alerts := map[string]bool{}
	for _, g := range r.Groups {
		for _, a := range g.Rules {
			alerts[strings.ToLower(a.Alert)] = true
			check(t, known, a.Alert, a.Expr, "")
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
	for _, p := range d.Panels {
		for _, l := range p.Links {
			if anchor, ok := strings.CutPrefix(l.URL, "${runbooks}#"); !ok || !alerts[anchor] {
				t.Errorf("%s links to %s, which is no alert", p.Title, l.URL)
			}
		}
	}
}
