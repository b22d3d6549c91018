package migrate

import (
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	kyaml "sigs.k8s.io/yaml"

	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/term"
	"bellboard/scaler/plain"
)

// mounted is where the chart's values mount the pod templates.
const mounted = "/etc/bellboard/templates"

// mapName is the ConfigMap with the pod templates.
const mapName = "bellboard-templates"

func (t *team) prefix() string {
	return "BELLBOARD_TEAM_" + strings.ToUpper(strings.ReplaceAll(t.name, "-", "_")) + "_"
}

func (t *team) file() string { return t.name + ".yaml" }

// order has the settings of a team in the order in which people read them.
var order = []string{
	"LABELS", "MODE", "PAUSED", "UNLABELLED", "MAX_AGENTS", "IDLE_TIMEOUT", "START_TIMEOUT", "CONNECT", "NAMESPACE", "IMAGE", "CPU", "MEMORY", "DOCKER",
	"SERVICE_ACCOUNT", "IMAGE_PULL_SECRET", "PRIORITY_CLASS", "NODE_SELECTOR", "TOLERATIONS",
}

// sorted returns the team's settings, with the file of its pod template in a directory.
func (t *team) sorted(dir string, template bool) []setting {
	out := slices.Clone(t.settings)
	slices.SortStableFunc(out, func(a, b setting) int { return slices.Index(order, a.name) - slices.Index(order, b.name) })
	if template && t.yaml() != "" {
		out = append(out, setting{name: "POD_TEMPLATE_FILE", value: filepath.ToSlash(filepath.Join(dir, t.file()))})
	}
	return out
}

// environ returns the variables in the form of os.Environ. The pod templates are in a directory.
func (r *Result) environ(dir string, templates bool) (out []string) {
	add := func(prefix string, all []setting) {
		for _, s := range all {
			if s.value != "" {
				out = append(out, prefix+s.name+"="+s.value)
			}
		}
	}
	var names []string
	for _, t := range r.teams {
		names = append(names, t.name)
	}
	add("BELLBOARD_", r.daemon)
	out = append(out, "BELLBOARD_TEAMS="+strings.Join(names, ","))
	add("BELLBOARD_DEFAULT_", r.defaults)
	for _, t := range r.teams {
		add(t.prefix(), t.sorted(dir, templates))
	}
	return out
}

// Environ returns the settings in the form of os.Environ. The pod templates are in a directory.
func (r *Result) Environ(dir string) []string { return r.environ(dir, true) }

// Env returns the settings as a file for a shell: . bellboard.env.
func (r *Result) Env(dir string) string {
	var b strings.Builder
	last := ""
	for _, v := range r.Environ(dir) {
		name, value, _ := strings.Cut(v, "=")
		if team := teamOf(r.teams, name); team != last {
			last = team
			b.WriteString("\n")
		}
		b.WriteString("export " + name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'\n")
	}
	return b.String()
}

// teamOf returns the team of a variable, or "".
func teamOf(teams []*team, variable string) (out string) {
	longest := 0
	for _, t := range teams {
		if p := t.prefix(); strings.HasPrefix(variable, p) && len(p) > longest {
			out, longest = t.name, len(p)
		}
	}
	return out
}

// Templates returns the pod templates by the names of their files.
func (r *Result) Templates() map[string]string {
	out := map[string]string{}
	for _, t := range r.teams {
		if text := t.yaml(); text != "" {
			out[t.file()] = text
		}
	}
	return out
}

// number finds the values that the chart's schema wants without quotes.
var number = regexp.MustCompile(`^(MAX_AGENTS|PAUSED|UNLABELLED)$`)

// Values returns the settings as values of Bellboard's chart.
func (r *Result) Values() string {
	var b strings.Builder
	line := func(indent string, s setting) {
		value := s.value
		if !number.MatchString(s.name) {
			text, err := kyaml.Marshal(value)
			if err != nil {
				panic("migrate: a text that YAML cannot hold: " + err.Error())
			}
			value = strings.TrimSpace(string(text))
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, s.name, value)
	}
	b.WriteString("settings:\n")
	for _, s := range r.daemon {
		line("  ", s)
	}
	if len(r.defaults) > 0 {
		b.WriteString("defaults:\n")
	}
	for _, s := range r.defaults {
		line("  ", s)
	}
	b.WriteString("teams:\n")
	for _, t := range r.teams {
		b.WriteString("  " + t.name + ":\n")
		for _, s := range t.sorted(mounted, true) {
			line("    ", s)
		}
	}
	b.WriteString(r.namespaces())
	b.WriteString("# If Jenkins is not in the namespace jenkins, port 8080: networkPolicies.jenkins\n")
	if len(r.Templates()) > 0 {
		fmt.Fprintf(&b, "# kubectl -n bellboard create configmap %s --from-file=FILE.yaml …\n", mapName)
		fmt.Fprintf(&b, "extraVolumes:\n- name: templates\n  configMap: {name: %s}\n", mapName)
		fmt.Fprintf(&b, "extraVolumeMounts:\n- {name: templates, mountPath: %s, readOnly: true}\n", mounted)
	}
	return b.String()
}

// namespaces returns the value agentNamespaces.
func (r *Result) namespaces() string {
	loaded, err := config.Load(r.environ("", false), config.WithoutJenkins(), config.InNamespace("ci")) // ci is the chart's default
	if err != nil {
		panic("migrate: settings that were accepted before: " + err.Error())
	}
	given := map[string]bool{} // there already, as the plugin's
	for _, s := range r.daemon {
		given[s.value] = s.name == "NAMESPACE"
	}
	for _, t := range r.teams {
		given[t.get("NAMESPACE")] = true
	}
	standards := []string{"restricted", "baseline", "privileged"}
	most, names := map[string]int{}, []string{}
	for _, spec := range loaded.PoolSpecs() {
		ns := spec.Namespace
		if _, has := most[ns]; !has {
			names = append(names, ns)
		}
		most[ns] = max(most[ns], slices.Index(standards, spec.PodSecurity()))
	}
	var b strings.Builder
	b.WriteString("agentNamespaces:\n")
	if !slices.Contains(names, "ci") {
		b.WriteString("  ci: null\n")
	}
	for _, ns := range names {
		create := ""
		if given[ns] {
			create = "create: false, "
		}
		fmt.Fprintf(&b, "  %s: {%spodSecurity: %s}\n", ns, create, standards[most[ns]])
	}
	return b.String()
}

// Write prints the settings, the pod templates and the report, each under the name of its file.
func (r *Result) Write(s *term.Screen, values bool) error {
	name, text := "bellboard.env", r.Env("")
	if values {
		name, text = "values.yaml", r.Values()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "==> %s <==\n%s\n", name, plain.Block(text))
	templates := r.Templates()
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		fmt.Fprintf(&b, "==> %s <==\n%s\n", name, plain.Block(templates[name]))
	}
	b.WriteString("==> report <==\n")
	if _, err := io.WriteString(s, b.String()); err != nil {
		return err
	}
	return r.WriteReport(s)
}

// WriteReport prints what becomes of the fields that are no settings.
func (r *Result) WriteReport(s *term.Screen) error {
	var b strings.Builder
	for _, part := range []struct {
		title string
		fine  bool
	}{{"To do:", false}, {"\nNothing to do:", true}} {
		b.WriteString(part.title + "\n")
		var texts []string // each once, below all the fields that it is about
		places := map[string][]string{}
		for _, n := range r.Notes {
			if n.Fine != part.fine {
				continue
			}
			if places[n.Text] == nil {
				texts = append(texts, n.Text)
			}
			at := n.At
			if n.Value != "" {
				at += " = " + n.Value
			}
			places[n.Text] = append(places[n.Text], at)
		}
		for _, text := range texts {
			for _, at := range places[text] {
				b.WriteString(s.Text("  ", at))
			}
			b.WriteString(s.Text("      ", text))
		}
		if len(texts) == 0 {
			b.WriteString("  nothing\n")
		}
	}
	_, err := io.WriteString(s, b.String())
	return err
}
