package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"bellboard/scaler/plain"
)

// Mistake is one mistake in the settings, and its remedy.
type Mistake struct {
	Variable string
	Value    string
	Set      bool // false: the variable is missing, and has no value
	Remedy   string
}

// Mistakes has every mistake in the settings. As an error Mistakes is never empty.
type Mistakes []Mistake

// Error lists the mistakes under their number, one in a line.
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
	_ = w.Flush() // a strings.Builder returns no error
	return strings.TrimSuffix(b.String(), "\n")
}

// secretish finds variables that may hold a secret by mistake. No variable of Bellboard's holds one.
var secretish = regexp.MustCompile(`TOKEN|PASS|SECRET|CREDENTIAL|API_?KEY`)

// refuse notes the first mistake in a variable, and goes on as if the variable were not set. It does nothing
// if the remedy is "".
func (l *loader) refuse(variable, remedy string) {
	if remedy == "" || l.bad[variable] {
		return
	}
	l.note(variable, remedy)
	l.bad[variable] = true
	delete(l.env, variable)
	_ = os.Unsetenv(variable) // for envconfig; fails for no name that was in an environment
}

// note notes a mistake, once. Several mistakes may come from one variable, such as that of a pod template.
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

// sorted returns the mistakes in the order in which people read settings: the daemon's, those for every team,
// then team by team.
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
