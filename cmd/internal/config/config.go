// Package config reads Bellboard's settings from environment variables.
//
// The package reports every mistake at once, each with its remedy. A misspelled variable is a mistake. Every
// value can say where it came from. The package never guesses at a value that it could not read, and reads no
// file unless its caller gives it a way to read. Settings hold no secret: TokenSource reads the token from
// its file again and again.
package config

import (
	"cmp"
	"strings"

	"bellboard/pool"
	"bellboard/scaler"
)

const (
	prefix        = "BELLBOARD"
	defaultPrefix = "BELLBOARD_DEFAULT"
	teamPrefix    = "BELLBOARD_TEAM_"
	teamsVariable = "BELLBOARD_TEAMS"
	// namespaceFile is where Kubernetes tells a pod its namespace.
	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// Config is the settings of one Bellboard.
type Config struct {
	Global

	Teams []Team // in the order of BELLBOARD_TEAMS
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

// InNamespace sets Bellboard's own namespace where Kubernetes does not tell it; "" does nothing.
func InNamespace(name string) Option {
	return func(l *loader) { l.OwnNamespace = cmp.Or(name, l.OwnNamespace) }
}

// Load reads the settings from variables in the form of os.Environ. Its error is a Mistakes, which lists
// everything that is wrong with the settings.
func Load(environ []string, options ...Option) (*Config, error) {
	l := &loader{
		Config: &Config{Global: builtinGlobal(), env: map[string]string{}, follows: map[string]string{}},
		known:  map[string]*variable{},
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
	l.learn(prefix, "", &l.Global)
	l.learnTeam("")
	for _, name := range words(l.Global.Teams) {
		// checkTeams reports a name that shares its variables with a name before it.
		if l.known[prefixOf(name, "")+"_LABELS"] == nil {
			l.names = append(l.names, name)
			l.learnTeam(name)
		}
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
