package config

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"

	"bellboard/scaler"
	"bellboard/scaler/plain"
)

// Docs writes the tables of all settings in Markdown, as the README has them.
func Docs(w io.Writer) error {
	var b bytes.Buffer
	g, limits, e, p := builtinGlobal(), builtinLimits(), builtinPod(scaler.Ephemeral), builtinPod(scaler.Persistent)
	const effect = "| | default | meaning, and effect on waiting and cost |\n"
	markdown(&b, "| `BELLBOARD_…` | default | meaning |\n", fieldsOf(&g), fieldsOf(&g))
	b.WriteString("\nSet these for every team as `BELLBOARD_DEFAULT_…`, or for one team as `BELLBOARD_TEAM_<NAME>_…`, which wins.\n" +
		"The team `web-shop` is `WEB_SHOP` there.\n\n")
	markdown(&b, effect, fieldsOf(&limits), fieldsOf(&limits))
	b.WriteString("\nSet these in the same two ways, or for one kind of agent only, as `BELLBOARD_DEFAULT_PERSISTENT_…` or\n" +
		"`BELLBOARD_TEAM_<NAME>_EPHEMERAL_…`. A variable that names a team wins over one that does not.\n" +
		"Among those, a variable that names a kind wins.\n\n")
	markdown(&b, effect, fieldsOf(&e), fieldsOf(&p))
	_, err := w.Write(b.Bytes())
	return err
}

// markdown writes one table. persistent has the same settings with the defaults of persistent agents.
func markdown(b *bytes.Buffer, head string, fields, persistent []*field) {
	b.WriteString(head + "|---|---|---|\n")
	for i, f := range fields {
		value := shown(f)
		if other := cmp.Or(f.Tag.Get("persistent"), shown(persistent[i])); other != value {
			value = "ephemeral " + value + ", persistent " + other
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", f.Name, value, f.Tag.Get("desc"))
	}
}

// shown returns the default of a setting as the tables have it.
func shown(f *field) string {
	if f.Tag.Get("need")+f.Tag.Get("login")+f.Tag.Get("work") != "" {
		return "required"
	}
	return cmp.Or(f.Tag.Get("shown"), "`"+printValue(f.Value)+"`")
}

// BuiltIn is the origin of a value that no variable sets.
const BuiltIn = "built-in"

// Setting is one setting with the value that applies to the daemon, to a team, or to one kind of agent.
type Setting struct {
	Team     string // whose value it is; "": the daemon's
	Variable string // the most specific variable that can set it
	Value    string
	Origin   string // built-in, or the variable from which the value comes
}

// Effective lists every setting with its value and its origin. No setting is a secret: secrets are in files,
// and the settings only name the files.
func (c *Config) Effective() []Setting {
	var out []Setting
	add := func(team string, kind scaler.Kind, spec any) {
		for _, f := range fieldsOf(spec) {
			name := prefixOf(team, kind) + "_" + f.Name
			origin := cmp.Or(c.follows[name], c.source(team, kind, f.Name), BuiltIn)
			out = append(out, Setting{team, name, printValue(f.Value), origin})
		}
	}
	add("", "", &c.Global)
	for i := range c.Teams {
		t := &c.Teams[i]
		add(t.Name, "", &t.Limits)
		for _, k := range t.Kinds() {
			p := t.Pods[k]
			add(t.Name, k, &p)
		}
	}
	return out
}

// WriteTable writes Effective as a table for people.
func (c *Config) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(t, "VARIABLE\tVALUE\tFROM\n")
	for _, s := range c.Effective() {
		from := s.Origin
		if from == s.Variable {
			from = "itself"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", s.Variable, plain.Line(cmp.Or(s.Value, "-")), from)
	}
	return t.Flush()
}
