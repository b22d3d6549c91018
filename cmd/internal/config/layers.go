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
	env      map[string]string // the variables that begin with BELLBOARD_
	known    map[string]bool   // variables that are settings
	bad      map[string]bool   // variables with a mistake: as if not set
	meant    map[string]bool   // settings that a misspelled variable was probably meant for
	origin   map[string]string // by most specific variable: built-in, or the variable that set it
	teams    []string
	mistakes Mistakes
	read     func(string) ([]byte, error)
	offline  bool
	own      string // InNamespace
	// shared is, by variable, what each kind of agent lacks of the pod template that it names.
	shared map[string][][]pool.TemplateMistake
}

var lending sync.Mutex

// lend puts env in the place of the process' own BELLBOARD_ variables until the
// returned function is called: envconfig can read nothing but the process'
// environment. With env from os.Environ this changes nothing.
func lend(env map[string]string) (giveBack func()) {
	lending.Lock()
	own := map[string]string{}
	for _, e := range os.Environ() {
		if k, v, _ := strings.Cut(e, "="); strings.HasPrefix(k, prefix+"_") {
			own[k] = v
		}
	}
	replace(own, env)
	return func() {
		now := map[string]string{}
		for k := range own {
			now[k] = ""
		}
		for k := range env {
			now[k] = ""
		}
		replace(now, own)
		lending.Unlock()
	}
}

func replace(old, with map[string]string) {
	for k := range old {
		if _, stays := with[k]; !stays {
			_ = os.Unsetenv(k) // fails for no name that was in an environment
		}
	}
	for k, v := range with {
		if was, ok := os.LookupEnv(k); !ok || was != v {
			_ = os.Setenv(k, v) // as above
		}
	}
}

// hide takes a variable out of envconfig's sight.
func (l *loader) hide(variable string) { _ = os.Unsetenv(variable) } // as in replace

// field is one setting of a settings struct.
type field struct {
	Name  string // MAX_AGENTS
	Value reflect.Value
	Tag   reflect.StructTag
}

// fieldsOf lists the settings of a settings struct by the names that envconfig
// itself gives them.
func fieldsOf(spec any) []field {
	v := reflect.ValueOf(spec).Elem()
	names := namesOf(spec)
	out := make([]field, len(names))
	for i, name := range names {
		out[i] = field{Name: name, Value: v.Field(i), Tag: v.Type().Field(i).Tag}
	}
	return out
}

// settingsOf are the settings of each type of settings struct: asking envconfig costs more
// than all else that Load does.
var settingsOf sync.Map // of []string, by reflect.Type

func namesOf(spec any) []string {
	if known, ok := settingsOf.Load(reflect.TypeOf(spec)); ok {
		return known.([]string) //nolint:forcetypeassert // nothing else is stored
	}
	var out strings.Builder
	if err := envconfig.Usagef("", spec, &out, "{{range .}}{{usage_key .}}\n{{end}}"); err != nil {
		panic(err) // no settings struct: wrong in the program, whatever the settings
	}
	fields := strings.Fields(out.String())
	settingsOf.Store(reflect.TypeOf(spec), fields)
	return fields
}

// learn notes the variables of one layer as settings. A variable that is
// another team's already makes the two teams' names ambiguous.
func (l *loader) learn(layer string, spec any, team string) {
	for _, f := range fieldsOf(spec) {
		name := layer + "_" + f.Name
		if l.known[name] && team != "" {
			l.refuse(prefix+"_TEAMS", fmt.Sprintf("team %s and another would share %s; rename one", team, name))
		}
		l.known[name] = true
	}
}

// overlay lays the variables of one layer over spec and notes every mistake in them.
func (l *loader) overlay(layer string, spec any) {
	fields := fieldsOf(spec)
	for _, f := range fields {
		name := layer + "_" + f.Name
		if raw, set := l.env[name]; set {
			if remedy := odd(f, raw); remedy != "" {
				l.refuse(name, remedy)
			}
		}
	}
	for { // envconfig stops at the first value it cannot read
		err := envconfig.Process(layer, spec)
		if err == nil {
			break
		}
		var parse *envconfig.ParseError
		if !errors.As(err, &parse) {
			panic(err) // as in fieldsOf
		}
		l.refuse(parse.KeyName, remedyOf(parse))
	}
	for _, f := range fields {
		name := layer + "_" + f.Name
		if _, set := l.env[name]; set && !l.bad[name] {
			if remedy := check(f); remedy != "" {
				l.refuse(name, remedy)
			}
		}
	}
}

// odd finds what envconfig would take without a word.
func odd(f field, raw string) string {
	if strings.TrimSpace(raw) == "" {
		return "set, but empty; give it a value or unset it"
	}
	t := f.Value.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Int { // envconfig reads 010 as 8 and 0x10 as 16
		if n, err := strconv.ParseInt(raw, 0, 64); err == nil && strconv.FormatInt(n, 10) != raw {
			if dec, err := strconv.Atoi(raw); err == nil {
				n = int64(dec)
			}
			return fmt.Sprintf("not a plain whole number; write %d", n)
		}
	}
	return ""
}

// remedyOf puts envconfig's words in ours. Decode errors are remedies already.
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

var amount = regexp.MustCompile(`^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\.?\s*$`)

// duration guesses what a person meant by a duration that Go cannot read.
func duration(s string) string {
	if m := amount.FindStringSubmatch(s); m != nil {
		unit := map[string]time.Duration{
			"": time.Second, "s": time.Second, "sec": time.Second, "second": time.Second, "m": time.Minute, "min": time.Minute, "minute": time.Minute,
			"h": time.Hour, "hr": time.Hour, "hour": time.Hour, "d": 24 * time.Hour, "day": 24 * time.Hour, "w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour,
		}
		word := strings.ToLower(m[2])
		u, ok := unit[word]
		if !ok {
			u = unit[strings.TrimSuffix(word, "s")]
		}
		if n, err := strconv.ParseFloat(m[1], 64); err == nil && u > 0 && n*float64(u) < float64(365*24*time.Hour) {
			return short(time.Duration(n * float64(u)))
		}
	}
	return "e.g. 30s, 10m or 1h30m"
}

// envName is a team's name in variables.
func envName(team string) string {
	return strings.ToUpper(strings.Map(func(r rune) rune {
		if r == '-' || r == '.' {
			return '_'
		}
		return r
	}, team))
}

// layersOf lists the layers of a team, or of one kind of it, from the least to
// the most specific. Each wins over those before it.
func layersOf(team string, kind scaler.Kind) []string {
	own := teamPrefix + envName(team)
	if kind == "" {
		return []string{defaultPrefix, own}
	}
	infix := "_" + strings.ToUpper(string(kind))
	return []string{defaultPrefix, defaultPrefix + infix, own, own + infix}
}

// source is the variable that sets a setting of a team, or "" for a built-in value.
func (l *loader) source(team string, kind scaler.Kind, setting string) string {
	for _, layer := range slices.Backward(layersOf(team, kind)) {
		if name := layer + "_" + setting; l.set(name) {
			return name
		}
	}
	return ""
}

func (l *loader) set(name string) bool {
	_, set := l.env[name]
	return set && !l.bad[name]
}

// clean reports that no variable behind these settings of a team has a mistake,
// so that they can be compared with one another.
func (l *loader) clean(team string, settings ...string) bool {
	for _, layer := range layersOf(team, "") {
		for _, s := range settings {
			if l.bad[layer+"_"+s] {
				return false
			}
		}
	}
	return true
}

// printValue writes a value as it would be written in a variable.
func printValue(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return short(x)
	case Quantity:
		return x.String()
	case fmt.Stringer:
		return x.String()
	}
	return fmt.Sprint(v.Interface())
}

// line writes one line of a table. What it writes to is checked when it is flushed.
func line(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
