// Package config reads Bellboard's settings from environment variables.
//
// The package reports every mistake at once, each with its remedy. A misspelled variable is a mistake. Every
// value can say where it came from. The package never guesses at a value that it could not read, and reads no
// file unless its caller gives it a way to read. Settings hold no secret: TokenSource reads the token from
// its file again and again.
package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/kelseyhightower/envconfig"

	"bellboard/pool"
	"bellboard/scaler"
)

const (
	prefix = "BELLBOARD"
	// everyTeam is the team of the variables that begin with BELLBOARD_DEFAULT_.
	everyTeam = "*"
	// namespaceFile is where Kubernetes tells a pod its namespace.
	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// Config is the settings of one Bellboard.
type Config struct {
	Global

	Teams []Team // in the order of BELLBOARD_TEAMS, or else by name
	// OwnNamespace is the namespace in which Bellboard itself runs, and in which its Lease is.
	OwnNamespace string

	env     map[string]string // the variables that set something
	follows map[string]string // the origin of each value that follows from another setting, by variable
	specs   []pool.Spec       // of each team and kind
	notes   []string
}

// Team is the settings of one team.
type Team struct {
	Name string
	Limits

	Pods map[scaler.Kind]PodSettings // of the kinds that Mode allows

	windows  []*window // of Schedule
	sameMost bool      // nothing sets MAX_PERSISTENT, so it is MAX_AGENTS
}

// Kinds lists the kinds of agent that the team may have, in the order in which they are shown.
func (t *Team) Kinds() []scaler.Kind {
	if t.Mode == scaler.ModeAuto {
		return scaler.Kinds()
	}
	return []scaler.Kind{scaler.Kind(t.Mode)} // the other modes have the name of their kind
}

// Option changes what Load expects and may do.
type Option func(*loader)

// WithFiles lets Load read files by read: pod templates, and the file in which Kubernetes tells a pod its
// namespace. Without WithFiles a pod template is a mistake, and the namespace is "default" unless it is set.
func WithFiles(read func(name string) ([]byte, error)) Option {
	return func(l *loader) { l.read = read }
}

// WithoutJenkins is for commands that never call Jenkins: Bellboard's user and token in Jenkins may be
// missing. Jenkins' address must be set: agents are given that address.
func WithoutJenkins() Option {
	return func(l *loader) { l.offline = true }
}

// WithoutTeams is for commands that make no agents: no team has to be named.
func WithoutTeams() Option {
	return func(l *loader) { l.teamless = true }
}

// InNamespace sets Bellboard's own namespace where Kubernetes does not tell it; "" does nothing.
func InNamespace(name string) Option {
	return func(l *loader) { l.OwnNamespace = cmp.Or(name, l.OwnNamespace) }
}

// Load reads the settings from variables in the form of os.Environ. Its error is a Mistakes, which lists
// everything that is wrong with the settings.
func Load(environ []string, options ...Option) (*Config, error) {
	l := &loader{
		Config: &Config{Global: builtinGlobal(), env: map[string]string{}, follows: map[string]string{}},
		known:  map[string]*field{},
		bad:    map[string]bool{},
	}
	for _, o := range options {
		o(l)
	}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, prefix+"_") {
			l.env[name] = value
		}
	}
	var told []byte
	if l.read != nil {
		told, _ = l.read(namespaceFile) // outside of a cluster there is no such file
	}
	l.OwnNamespace = cmp.Or(l.OwnNamespace, strings.TrimSpace(string(told)), "default")

	// Every variable is read, also a default that every team overrides, and a setting of a kind that the mode
	// forbids: it may have a mistake, too.
	l.learn("", "", &l.Global)
	l.learnTeam(everyTeam)
	l.names = l.teamNames()
	for _, name := range l.names {
		l.learnTeam(name)
	}
	l.unknown()
	l.global()
	for _, name := range l.names {
		l.Teams = append(l.Teams, l.team(name))
	}
	l.across()
	l.templates()
	if len(l.mistakes) > 0 {
		return nil, l.sorted()
	}
	return l.Config, nil
}

// loader is one Load under way.
type loader struct {
	*Config // a variable with a mistake is taken out of env

	known    map[string]*field // the variables that are settings, with the value that each alone has
	bad      map[string]bool   // variables with a mistake, or that a misspelled one meant
	names    []string          // of the teams
	mistakes Mistakes
	read     func(string) ([]byte, error)
	offline  bool
	teamless bool
}

// field is one setting of a settings struct.
type field struct {
	Name  string // MAX_AGENTS
	Value reflect.Value
	Tag   reflect.StructTag
	spec  any    // the struct
	team  string // of a variable that is known
	order int    // of a variable that is known
}

// fieldsOf lists the settings of a settings struct by the names that envconfig gives them.
func fieldsOf(spec any) []*field {
	var names strings.Builder
	if err := envconfig.Usagef("", spec, &names, "{{range .}}{{usage_key .}}\n{{end}}"); err != nil {
		panic(err) // spec is no settings struct: a bug, whatever the settings are
	}
	var out []*field
	v := reflect.ValueOf(spec).Elem()
	for i, name := range strings.Fields(names.String()) {
		out = append(out, &field{Name: name, Value: v.Field(i), Tag: v.Type().Field(i).Tag, spec: spec})
	}
	return out
}

// prefixOf returns the prefix of the variables of the daemon (""), of every team, or of one team. With a kind
// these are the variables for that kind only.
func prefixOf(team string, kind scaler.Kind) string {
	switch team {
	case "":
		return prefix
	case everyTeam:
		return strings.Replace(scaler.VariablesOf("default", kind), "_TEAM", "", 1)
	}
	return scaler.VariablesOf(team, kind)
}

// prefixesOf lists the prefixes whose variables set the daemon, a team, or one kind of its agents. Each wins
// over those before it.
func prefixesOf(team string, kind scaler.Kind) []string {
	switch {
	case team == "":
		return []string{prefix}
	case kind == "":
		return []string{prefixOf(everyTeam, ""), prefixOf(team, "")}
	}
	return []string{prefixOf(everyTeam, ""), prefixOf(everyTeam, kind), prefixOf(team, ""), prefixOf(team, kind)}
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

// learnTeam learns the variables of a team, or of every team.
func (l *loader) learnTeam(team string) {
	l.learn(team, "", &Limits{})
	for _, kind := range append([]scaler.Kind{""}, scaler.Kinds()...) {
		l.learn(team, kind, &PodSettings{})
	}
}

// learn notes the variables of a struct as settings, and reads those that are set into the struct. A variable
// that is set, and is a setting of another team, too, is ambiguous.
func (l *loader) learn(team string, kind scaler.Kind, spec any) {
	for _, f := range fieldsOf(spec) {
		name := prefixOf(team, kind) + "_" + f.Name
		if other := l.known[name]; other != nil {
			if _, set := l.env[name]; set {
				of := func(team string) string { return strings.TrimPrefix(name, prefixOf(team, "")+"_") + " of team " + team }
				l.refuse(name, fmt.Sprintf("may be %s or %s; rename one of the two teams", of(other.team), of(team)))
			}
			continue
		}
		f.team, f.order = team, len(l.known)
		l.known[name] = f
		if text, set := l.env[name]; set {
			l.refuse(name, f.read(text))
			if f.Name == scheduleSetting && !l.bad[name] {
				_, wrong := windows(text)
				l.refuseWindows(name, wrong)
			}
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
