// Package config reads Bellboard's settings from environment variables. It
// promises that every mistake in them is reported at once with its remedy, that
// a misspelled variable is a mistake, and that every value can say where it
// came from. It never reads a file that it was not given a way to read, never holds a secret (TokenSource
// reads one from its file each time it is due), and never guesses at a value it
// could not read.
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
	// namespaceFile is where Kubernetes tells a pod its namespace.
	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
)

// Config is the settings of one Bellboard.
type Config struct {
	Global

	Teams []Team // in the order of BELLBOARD_TEAMS
	// OwnNamespace is where Bellboard itself runs, and where its Lease is.
	OwnNamespace string
	origin       map[string]string
	notes        []string
}

// Team is the settings of one team.
type Team struct {
	Name string
	Limits

	Pods map[scaler.Kind]PodSettings // of the kinds that Mode allows

	templates map[scaler.Kind]*pool.Template // nil: none
}

// Kinds lists the kinds of agent that the team may have, in a fixed order.
func (t *Team) Kinds() []scaler.Kind { return kindsOf(t.Mode) }

// Option changes what Load expects and may do.
type Option func(*loader)

// WithFiles lets Load read files, by read: pod templates, and the one in which
// Kubernetes tells a pod its namespace. Without it the namespace is "default"
// unless set, and a pod template is a mistake.
func WithFiles(read func(name string) ([]byte, error)) Option {
	return func(l *loader) { l.read = read }
}

// WithoutJenkins is for commands that never speak to Jenkins: Bellboard's user and
// token there may be missing. Its address may not: agents are told it.
func WithoutJenkins() Option {
	return func(l *loader) { l.offline = true }
}

// InNamespace tells Bellboard's own namespace where Kubernetes does not; "" does
// nothing.
func InNamespace(name string) Option {
	return func(l *loader) { l.own = cmp.Or(name, l.own) }
}

// Load reads the settings from variables in the form of os.Environ. Its error
// is a Mistakes, which lists all that is wrong with them.
func Load(environ []string, options ...Option) (*Config, error) {
	l := &loader{env: map[string]string{}, bad: map[string]bool{}, known: map[string]bool{}, meant: map[string]bool{}, origin: map[string]string{}, shared: map[string][][]pool.TemplateMistake{}}
	for _, o := range options {
		o(l)
	}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok && strings.HasPrefix(k, prefix+"_") {
			l.env[k] = v
		}
	}
	defer lend(l.env)()

	c := &Config{Global: builtinGlobal(), origin: l.origin, OwnNamespace: l.ownNamespace()}
	l.learn(prefix, &Global{}, "")
	l.overlay(prefix, &c.Global)
	l.name(c.Global.Teams)
	l.defaults()
	l.unknown()
	l.global(&c.Global)
	for _, name := range l.teams {
		c.Teams = append(c.Teams, l.team(name, &c.Global))
	}
	l.across(c)
	for i := range c.Teams {
		l.templates(c, &c.Teams[i])
	}
	l.partly(c)
	if len(l.mistakes) > 0 {
		return nil, l.sorted()
	}
	return c, nil
}

// ownNamespace is the namespace that it was told, or else the one that Kubernetes
// says the process is in.
func (l *loader) ownNamespace() string {
	if l.own != "" {
		return l.own
	}
	if l.read != nil {
		if b, err := l.read(namespaceFile); err == nil && len(strings.TrimSpace(string(b))) > 0 {
			return strings.TrimSpace(string(b))
		}
	}
	return "default"
}
