package config

import (
	"io"
	"text/tabwriter"

	"bellboard/scaler"
	"bellboard/scaler/plain"
)

// BuiltIn is the origin of a value that no variable sets.
const BuiltIn = "built-in"

// Setting is one setting as it holds for the daemon, a team, or one kind of a
// team's agents.
type Setting struct {
	Variable string      `json:"variable"` // the most specific variable that can set it
	Team     string      `json:"team,omitempty"`
	Kind     scaler.Kind `json:"kind,omitempty"`
	Value    string      `json:"value"`
	Origin   string      `json:"origin"` // built-in, or the variable it came from
}

// Effective lists every setting as it holds, with its origin. No setting is a
// secret: those are in files, of which the settings only say where.
func (c *Config) Effective() []Setting {
	var out []Setting
	add := func(layer, team string, kind scaler.Kind, spec any) {
		for _, f := range fieldsOf(spec) {
			name := layer + "_" + f.Name
			out = append(out, Setting{Variable: name, Team: team, Kind: kind, Value: printValue(f.Value), Origin: c.origin[name]})
		}
	}
	add(prefix, "", "", &c.Global)
	for i := range c.Teams {
		t := &c.Teams[i]
		add(teamPrefix+envName(t.Name), t.Name, "", &t.Limits)
		for _, k := range t.Kinds() {
			p := t.Pods[k]
			add(layersOf(t.Name, k)[3], t.Name, k, &p)
		}
	}
	return out
}

// WriteTable writes Effective as a table for people.
func (c *Config) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line(t, "VARIABLE\tVALUE\tFROM\n")
	for _, s := range c.Effective() {
		value := s.Value
		if value == "" {
			value = "-"
		}
		from := s.Origin
		if from == s.Variable {
			from = "itself"
		}
		line(t, "%s\t%s\t%s\n", s.Variable, plain.Line(value), from)
	}
	return t.Flush()
}
