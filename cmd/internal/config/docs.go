package config

import (
	"bytes"
	"cmp"
	"fmt"
	"io"

	"bellboard/cmd/internal/term"
	"bellboard/scaler"
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
	if f.Tag.Get("need")+f.Tag.Get("login") != "" {
		return "required"
	}
	return cmp.Or(f.Tag.Get("shown"), "`"+printValue(f.Value)+"`")
}

// BuiltIn is the origin of a value that no variable sets.
const BuiltIn = "built-in"

// Setting is one setting with the value that applies to the daemon, to a team, or to one kind of agent.
type Setting struct {
	Team     string `json:"team,omitempty"` // whose value it is; "": the daemon's
	Variable string `json:"variable"`       // the most specific variable that can set it
	Value    string `json:"value"`
	Default  string `json:"default"` // the built-in value
	Origin   string `json:"origin"`  // built-in, or the variable from which the value comes
}

// Changed reports whether a variable gives the setting another value than the built-in one.
func (s *Setting) Changed() bool { return s.Origin != BuiltIn && s.Value != s.Default }

// Effective lists every setting with its value and its origin. No setting is a secret: secrets are in files,
// and the settings only name the files.
func (c *Config) Effective() []Setting {
	var out []Setting
	add := func(team string, kind scaler.Kind, spec, builtin any) {
		defaults := fieldsOf(builtin)
		for i, f := range fieldsOf(spec) {
			name := prefixOf(team, kind) + "_" + f.Name
			origin := cmp.Or(c.follows[name], c.source(team, kind, f.Name), BuiltIn)
			out = append(out, Setting{team, name, printValue(f.Value), printValue(defaults[i].Value), origin})
		}
	}
	global, limits := builtinGlobal(), builtinLimits()
	add("", "", &c.Global, &global)
	for i := range c.Teams {
		t := &c.Teams[i]
		add(t.Name, "", &t.Limits, &limits)
		for _, k := range t.Kinds() {
			p, builtin := t.Pods[k], builtinPod(k)
			add(t.Name, k, &p, &builtin)
		}
	}
	return out
}

// WriteTable writes settings as a table for people.
func (c *Config) WriteTable(s *term.Screen, settings []Setting) error {
	t := term.Table{Head: []string{"VARIABLE", "VALUE", "FROM"}, Short: 1}
	for _, x := range settings {
		from := x.Origin
		if from == x.Variable {
			from = "itself"
		}
		t.Add(x.Variable, cmp.Or(x.Value, "-"), from)
	}
	_, err := io.WriteString(s, t.In(s))
	return err
}
