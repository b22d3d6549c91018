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

	"bellboard/pool"
	"bellboard/scaler"
)

// loader is one Load under way.
type loader struct {
	env      variables         // a variable with a mistake is taken out
	known    map[string]bool   // variables that are settings
	bad      map[string]bool   // variables with a mistake
	meant    map[string]bool   // settings for which a misspelled variable was probably meant
	follows  map[string]string // as in Config
	teams    []string
	mistakes Mistakes
	read     func(string) ([]byte, error)
	offline  bool
	own      string // InNamespace
	// shared is, by variable, what each kind of agent lacks of the pod template that the variable names.
	shared map[string][][]pool.TemplateMistake
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

// replaceEnvironment makes v the process' own BELLBOARD_ variables.
func (v variables) replaceEnvironment() {
	for name := range variablesOf(os.Environ()) {
		if _, stays := v[name]; !stays {
			_ = os.Unsetenv(name) // fails for no name that was in an environment
		}
	}
	for name, value := range v {
		_ = os.Setenv(name, value) // as above
	}
}

var lending sync.Mutex

// lend puts env in the place of the process' own BELLBOARD_ variables until the returned function is called:
// envconfig reads nothing but the process' environment. With env from os.Environ lend changes nothing.
func lend(env variables) (giveBack func()) {
	lending.Lock()
	own := variablesOf(os.Environ())
	env.replaceEnvironment()
	return func() {
		own.replaceEnvironment()
		lending.Unlock()
	}
}

// field is one setting of a settings struct.
type field struct {
	Name  string // MAX_AGENTS
	Value reflect.Value
	Tag   reflect.StructTag
}

// fieldsOf lists the settings of a settings struct by the names that envconfig gives them.
func fieldsOf(spec any) []field {
	v := reflect.ValueOf(spec).Elem()
	names := namesOf()[v.Addr().Type()]
	out := make([]field, len(names))
	for i, name := range names {
		out[i] = field{Name: name, Value: v.Field(i), Tag: v.Type().Field(i).Tag}
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
		out[reflect.TypeOf(spec)] = strings.Fields(names.String())
	}
	return out
})

// layer is a settings struct with the prefix of the variables that are laid over the struct.
type layer struct {
	prefix string
	spec   any
}

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

// layersOf lists the layers that are a team's own, or for "" those of every team.
func layersOf(team string) []layer {
	out := []layer{{prefixOf(team, ""), &Limits{}}, {prefixOf(team, ""), &PodSettings{}}}
	for _, k := range scaler.Kinds() {
		out = append(out, layer{prefixOf(team, k), &PodSettings{}})
	}
	return out
}

// source returns the variable that sets a setting of a team, or "" for a built-in value.
func (l *loader) source(team string, kind scaler.Kind, setting string) string {
	return l.env.source(prefixesOf(team, kind), setting)
}

// learnTeams notes the variables of every team as settings. A name that shares its variables with a name
// before it is a mistake, which Words.check reports.
func (l *loader) learnTeams(names []string) {
	for _, n := range names {
		if !slices.ContainsFunc(l.teams, func(other string) bool { return envName(other) == envName(n) }) {
			l.teams = append(l.teams, n)
		}
	}
	for _, team := range append([]string{""}, l.teams...) {
		for _, one := range layersOf(team) {
			l.learn(one, team)
		}
	}
}

// learn notes the variables of one layer as settings. If a variable is another team's already, the names of
// the two teams are ambiguous.
func (l *loader) learn(one layer, team string) {
	for _, f := range fieldsOf(one.spec) {
		name := one.prefix + "_" + f.Name
		if l.known[name] && team != "" {
			l.refuse(prefix+"_TEAMS", fmt.Sprintf("team %s and another would share %s; rename one", team, name))
		}
		l.known[name] = true
	}
}

// overlay lays the variables of one layer over its struct and notes every mistake in them.
func (l *loader) overlay(one layer) {
	fields := fieldsOf(one.spec)
	for _, f := range fields {
		name := one.prefix + "_" + f.Name
		if raw, set := l.env[name]; set {
			l.refuse(name, odd(f, raw))
		}
	}
	for { // envconfig stops at the first value that it cannot read
		err := envconfig.Process(one.prefix, one.spec)
		if err == nil {
			break
		}
		var parse *envconfig.ParseError
		if !errors.As(err, &parse) {
			panic(err) // as in namesOf
		}
		l.refuse(parse.KeyName, remedyOf(parse))
	}
	for _, f := range fields {
		name := one.prefix + "_" + f.Name
		if _, set := l.env[name]; set {
			l.refuse(name, check(f))
		}
	}
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

// clean reports whether no variable behind these settings of a team has a mistake. Only then can the settings
// be compared with one another.
func (l *loader) clean(team string, settings ...string) bool {
	for _, p := range prefixesOf(team, "") {
		for _, s := range settings {
			if l.bad[p+"_"+s] {
				return false
			}
		}
	}
	return true
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
