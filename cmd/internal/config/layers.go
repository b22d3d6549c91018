package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kelseyhightower/envconfig"

	"bellboard/scaler"
)

// loader is one Load under way.
type loader struct {
	*Config // a variable with a mistake is taken out of env

	known    map[string]*variable // the variables that are settings
	bad      map[string]bool      // variables with a mistake, or misspelled
	names    []string             // of the teams
	mistakes Mistakes
	read     func(string) ([]byte, error)
	offline  bool
}

// variable is a variable that is a setting. The value of the field is what this variable alone says.
type variable struct {
	field
	prefix string // BELLBOARD_TEAM_WEB_PERSISTENT
	team   string // web
	order  int    // of all variables
}

// field is one setting of a settings struct.
type field struct {
	Name  string // MAX_AGENTS
	Value reflect.Value
	Tag   reflect.StructTag
	of    any // the struct
}

// fieldsOf lists the settings of a settings struct by the names that envconfig gives them.
func fieldsOf(spec any) []field {
	v := reflect.ValueOf(spec).Elem()
	names := namesOf()[v.Type()]
	out := make([]field, len(names))
	for i, name := range names {
		out[i] = field{name, v.Field(i), v.Type().Field(i).Tag, spec}
	}
	return out
}

// namesOf returns the names of the settings by type of settings struct, as envconfig makes them. envconfig is
// asked once: that costs more than everything else that Load does.
var namesOf = sync.OnceValue(func() map[reflect.Type][]string {
	out := map[reflect.Type][]string{}
	for _, spec := range []any{&Global{}, &Limits{}, &PodSettings{}} {
		var names strings.Builder
		if err := envconfig.Usagef("", spec, &names, "{{range .}}{{usage_key .}}\n{{end}}"); err != nil {
			panic(err) // spec is no settings struct: a bug, whatever the settings are
		}
		out[reflect.TypeOf(spec).Elem()] = strings.Fields(names.String())
	}
	return out
})

// prefixOf returns the prefix of a team's variables, for "" of those for every team; with a kind, of those
// for that kind only.
func prefixOf(team string, kind scaler.Kind) string {
	out := defaultPrefix
	if team != "" {
		out = teamPrefix + envName(team)
	}
	if kind != "" {
		out += "_" + strings.ToUpper(string(kind))
	}
	return out
}

// envName returns a team's name as variables have it.
func envName(team string) string {
	return strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(team))
}

// prefixesOf lists the prefixes whose variables set a team, or one kind of its agents, or for "" the daemon.
// Each wins over those before it.
func prefixesOf(team string, kind scaler.Kind) []string {
	switch {
	case team == "":
		return []string{prefix}
	case kind == "":
		return []string{defaultPrefix, prefixOf(team, "")}
	}
	return []string{defaultPrefix, prefixOf("", kind), prefixOf(team, ""), prefixOf(team, kind)}
}

// source returns the variable that sets a setting, or "" for a built-in value.
func (c *Config) source(team string, kind scaler.Kind, setting string) string {
	for _, p := range slices.Backward(prefixesOf(team, kind)) {
		if _, set := c.env[p+"_"+setting]; set {
			return p + "_" + setting
		}
	}
	return ""
}

// learnTeam learns the variables of a team, for "" those of every team.
func (l *loader) learnTeam(team string) {
	l.learn(prefixOf(team, ""), team, &Limits{})
	l.learn(prefixOf(team, ""), team, &PodSettings{})
	for _, k := range scaler.Kinds() {
		l.learn(prefixOf(team, k), team, &PodSettings{})
	}
}

// learn notes the variables with a prefix as settings, and reads those that are set into spec. If a variable
// is another team's already, the names of the two teams are ambiguous.
func (l *loader) learn(prefix, team string, spec any) {
	for _, f := range fieldsOf(spec) {
		name := prefix + "_" + f.Name
		if l.known[name] != nil {
			l.refuse(teamsVariable, fmt.Sprintf("team %s and another would share %s; rename one", team, name))
		}
		l.known[name] = &variable{f, prefix, team, len(l.known)}
		if text, set := l.env[name]; set {
			l.refuse(name, f.read(text))
		}
	}
}

// fill sets a settings struct of a team to what its variables say.
func (l *loader) fill(spec any, team string, kind scaler.Kind) {
	for _, f := range fieldsOf(spec) {
		if name := l.source(team, kind, f.Name); name != "" {
			f.Value.Set(l.known[name].Value)
		}
	}
}

var reading sync.Mutex

// read reads the text of a variable into the field. It returns the remedy for a mistake, or "".
//
// envconfig reads nothing but the process' environment, and stops at the first value that it cannot read. So
// envconfig is given one variable at a time, under a prefix that no layer has.
func (f field) read(text string) string {
	if strings.TrimSpace(text) == "" {
		return "set, but empty; give it a value or unset it"
	}
	const alone = prefix + "_ALONE"
	reading.Lock()
	defer reading.Unlock()
	_ = os.Setenv(alone+"_"+f.Name, text) // fails for no text that was in an environment
	defer func() { _ = os.Unsetenv(alone + "_" + f.Name) }()
	if p, wrong := errors.AsType[*envconfig.ParseError](envconfig.Process(alone, f.of)); wrong {
		switch strings.TrimPrefix(p.TypeName, "*") {
		case "time.Duration":
			return "not a duration; write " + duration(text)
		case "int":
			return "not a whole number; write e.g. 10"
		case "bool":
			return "neither true nor false; write one of the two"
		default:
			return "not a number; write e.g. 50"
		}
	}
	return check(f, text)
}

// amount is a number with a unit in words.
var amount = regexp.MustCompile(`^\s*(\d{1,5}(?:\.\d+)?)\s*([smhd]?)(?:ec|econd|in|inute|r|our|ay)?s?\.?\s*$`)

// duration guesses which duration a person meant by a text that Go cannot read as one.
func duration(text string) string {
	m := amount.FindStringSubmatch(strings.ToLower(text))
	if m == nil {
		return "e.g. 30s, 10m or 1h30m"
	}
	unit, times := cmp.Or(m[2], "s"), time.Duration(1)
	if unit == "d" {
		unit, times = "h", 24
	}
	d, _ := time.ParseDuration(m[1] + unit) // amount lets nothing else through
	return short(d * times)
}

// printValue returns a value as a variable would have it.
func printValue(v reflect.Value) string {
	if v = reflect.Indirect(v); !v.IsValid() {
		return "" // a nil pointer
	}
	if d, ok := reflect.TypeAssert[time.Duration](v); ok {
		return short(d)
	}
	return fmt.Sprint(v.Interface())
}

// short returns a duration as people write it: 1m, not 1m0s.
func short(d time.Duration) string {
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(d.String())
}

// line writes one line of a table. The flush of the table reports the error of its writer.
func line(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
