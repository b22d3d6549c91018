package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"bellboard/scaler/plain"
)

// Mistake is one thing wrong with the settings, and what to do about it.
type Mistake struct {
	Variable string
	Value    string
	Set      bool // false: the variable is missing, and there is no value to show
	Remedy   string
}

// Mistakes is every mistake in the settings at once, never empty as an error.
type Mistakes []Mistake

// Error lists the mistakes, one a line, under their count.
func (m Mistakes) Error() string {
	var b strings.Builder
	if len(m) == 1 {
		b.WriteString("1 mistake in the settings\n")
	} else {
		fmt.Fprintf(&b, "%d mistakes in the settings\n", len(m))
	}
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, one := range m {
		left := one.Variable
		if one.Set {
			left += fmt.Sprintf("=%q", one.Value)
		}
		line(w, "  %s\t%s\n", plain.Line(left), plain.Line(one.Remedy))
	}
	_ = w.Flush() // a strings.Builder takes everything
	return strings.TrimSuffix(b.String(), "\n")
}

// secretish finds variables that may hold a secret by mistake. None of
// Bellboard's own does.
var secretish = regexp.MustCompile(`TOKEN|PASS|SECRET|CREDENTIAL|API_?KEY`)

// refuse notes a mistake in a variable, once, and keeps the variable out of
// everything that follows.
func (l *loader) refuse(variable, remedy string) {
	if l.bad[variable] {
		return
	}
	l.bad[variable] = true
	l.hide(variable)
	l.note(variable, remedy)
}

// note notes one of several mistakes behind a variable, each once.
func (l *loader) note(variable, remedy string) {
	value, set := l.env[variable]
	if set && (!l.known[variable] && secretish.MatchString(variable) || strings.Contains(value, "://") && strings.Contains(value, "@") || strings.Contains(value, "PRIVATE KEY")) {
		value = "***"
	}
	m := Mistake{Variable: variable, Value: value, Set: set, Remedy: remedy}
	if !slices.Contains(l.mistakes, m) {
		l.mistakes = append(l.mistakes, m)
	}
}

// sorted is the mistakes in the order in which people read settings: the
// daemon's, those for every team, then team by team.
func (l *loader) sorted() Mistakes {
	rank := func(m Mistake) int {
		if strings.HasPrefix(m.Variable, defaultPrefix+"_") {
			return 1
		}
		if !strings.HasPrefix(m.Variable, teamPrefix) {
			return 0
		}
		best, length := len(l.teams), 0
		for i, name := range l.teams { // the longest name that fits: web-shop before web
			if p := teamPrefix + envName(name); strings.HasPrefix(m.Variable, p+"_") && len(p) > length {
				best, length = i, len(p)
			}
		}
		return 2 + best
	}
	slices.SortStableFunc(l.mistakes, func(a, b Mistake) int { return rank(a) - rank(b) })
	return l.mistakes
}
