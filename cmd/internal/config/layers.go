package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
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

// variables are the variables that begin with BELLBOARD_, by name.
type variables map[string]string

func variablesOf(environ []string) variables {
	v := variables{}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, prefix+"_") {
			v[name] = value
		}
	}
	return v
}

// source returns the variable that sets a setting, or "" for a built-in value. The last prefix wins.
func (v variables) source(prefixes []string, setting string) string {
	for _, p := range slices.Backward(prefixes) {
		if _, set := v[p+"_"+setting]; set {
			return p + "_" + setting
		}
	}
	return ""
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

// prefixesOf lists the prefixes whose variables set a team, or one kind of its agents. Each wins over those
// before it.
func prefixesOf(team string, kind scaler.Kind) []string {
	if kind == "" {
		return []string{defaultPrefix, prefixOf(team, "")}
	}
	return []string{defaultPrefix, prefixOf("", kind), prefixOf(team, ""), prefixOf(team, kind)}
}

// source returns the variable that sets a setting of a team, or "" for a built-in value.
func (l *loader) source(team string, kind scaler.Kind, setting string) string {
	return l.env.source(prefixesOf(team, kind), setting)
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
	const alone = prefix + "_ALONE"
	if remedy := odd(f, text); remedy != "" {
		return remedy
	}
	reading.Lock()
	defer reading.Unlock()
	_ = os.Setenv(alone+"_"+f.Name, text) // fails for no text that was in an environment
	defer func() { _ = os.Unsetenv(alone + "_" + f.Name) }()
	if p, wrong := errors.AsType[*envconfig.ParseError](envconfig.Process(alone, f.of)); wrong {
		return remedyOf(p)
	}
	return check(f)
}

// odd returns the remedy for a value that envconfig accepts and a person does not expect, or "".
func odd(f field, raw string) string {
	if strings.TrimSpace(raw) == "" {
		return "set, but empty; give it a value or unset it"
	}
	if strings.TrimPrefix(f.Value.Type().String(), "*") == "int" { // envconfig reads 010 as 8 and 0x10 as 16
		if n, err := strconv.ParseInt(raw, 0, 64); err == nil && strconv.FormatInt(n, 10) != raw {
			if dec, err := strconv.Atoi(raw); err == nil {
				n = int64(dec)
			}
			return fmt.Sprintf("not a plain whole number; write %d", n)
		}
	}
	return ""
}

// remedyOf returns the remedy for a value that envconfig cannot read. An error of Decode is one already.
func remedyOf(p *envconfig.ParseError) string {
	switch strings.TrimPrefix(p.TypeName, "*") {
	case "time.Duration":
		return "not a duration; write " + duration(p.Value)
	case "int":
		return "not a whole number; write e.g. 10"
	case "float32":
		return "not a number; write e.g. 50"
	case "bool":
		return "neither true nor false; write one of the two"
	}
	return p.Err.Error()
}

var (
	amount = regexp.MustCompile(`^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\.?\s*$`)
	units  = map[string]time.Duration{ // by the unit's name without a final s
		"": time.Second, "sec": time.Second, "second": time.Second, "m": time.Minute, "min": time.Minute, "minute": time.Minute,
		"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "d": 24 * time.Hour, "day": 24 * time.Hour,
		"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour,
	}
)

// duration guesses which duration a person meant by a text that Go cannot read as one.
func duration(s string) string {
	if m := amount.FindStringSubmatch(s); m != nil {
		unit := units[strings.TrimSuffix(strings.ToLower(m[2]), "s")]
		if n, err := strconv.ParseFloat(m[1], 64); err == nil && unit > 0 && n*float64(unit) < float64(365*24*time.Hour) {
			return short(time.Duration(n * float64(unit)))
		}
	}
	return "e.g. 30s, 10m or 1h30m"
}

// printValue returns a value as a variable would have it.
func printValue(v reflect.Value) string {
	if v = reflect.Indirect(v); !v.IsValid() {
		return "" // a nil pointer
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return short(x)
	case Quantity:
		return x.String()
	}
	return fmt.Sprint(v.Interface())
}

// line writes one line of a table. The flush of the table reports the error of its writer.
func line(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
