package config

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"bellboard/scaler"
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

// Kubernetes puts the address of every Service of a namespace into the variables of its pods. The variables
// of a Service named bellboard or bellboard-metrics look like settings, and are none.
var (
	linkName = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	linkAddr = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

func serviceLink(name, value string) bool {
	return linkName.MatchString(name) || strings.HasSuffix(name, "_PORT") && linkAddr.MatchString(value)
}

// unknown notes every BELLBOARD_ variable that is no setting. The check needs the variables of all teams:
// team a does not know the variables of team a-b.
func (l *loader) unknown() {
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if l.known[name] || serviceLink(name, l.env[name]) {
			continue
		}
		meant, team := l.guess(name), l.stranger(name)
		if file := name + "_FILE"; l.known[file] {
			meant = file
		}
		l.meant[meant] = true
		switch {
		case meant == name+"_FILE":
			l.refuse(name, "a secret comes from a file only; write it into a file, and the file's path to "+meant)
		case meant != "" && team != "":
			l.refuse(name, "no team of that name in "+prefix+"_TEAMS; add "+team+" there, or did you mean "+meant+"?")
		case meant != "":
			l.refuse(name, "no such setting; did you mean "+meant+"?")
		case team != "":
			l.refuse(name, "no team of that name in "+prefix+"_TEAMS; add "+team+" there or unset this")
		default:
			l.refuse(name, "no such setting; unset it (bellboard config lists all)")
		}
	}
}

// guess returns the setting for which a misspelled name was probably meant, or "".
func (l *loader) guess(name string) string {
	// A setting at the wrong level: a team's setting without the team's prefix, or the daemon's setting with
	// that prefix. Or the setting has a kind, and may have none.
	rest := strings.TrimPrefix(name, prefix+"_")
	for _, try := range []string{teamPrefix + rest, defaultPrefix + "_" + rest} {
		if l.known[try] {
			return try
		}
	}
	for _, team := range append([]string{""}, l.teams...) {
		own := prefixOf(team, "") + "_"
		setting, ok := strings.CutPrefix(name, own)
		if !ok {
			continue
		}
		if l.known[prefix+"_"+setting] {
			return prefix + "_" + setting
		}
		for _, k := range scaler.Kinds() {
			if s, ok := strings.CutPrefix(setting, strings.ToUpper(string(k))+"_"); ok && l.known[own+s] {
				return own + s
			}
		}
	}
	best, nearest := "", 4
	for _, known := range slices.Sorted(maps.Keys(l.known)) {
		if d := distance(name, known, nearest); d < nearest && !l.foreign(name, known) {
			best, nearest = known, d
		}
	}
	return best
}

// foreign reports whether two variables belong to two teams with names too different for a misspelling. A
// name of two letters is no misspelling of another.
func (l *loader) foreign(name, known string) bool {
	rest, ok := strings.CutPrefix(name, teamPrefix)
	if !ok {
		return false
	}
	another := false
	for _, team := range l.teams {
		team = envName(team)
		setting, ok := strings.CutPrefix(known, teamPrefix+team+"_")
		another = another || ok
		if !ok {
			continue
		}
		for i := range rest {
			if rest[i] == '_' && distance(rest[i+1:], setting, 4) < 4 {
				limit := min(2, (min(i, len(team))-1)/2) + 1
				if distance(rest[:i], team, limit) < limit {
					return false
				}
			}
		}
	}
	return another
}

// stranger returns the team of a variable if BELLBOARD_TEAMS does not list that team, or "".
func (l *loader) stranger(name string) string {
	rest, ok := strings.CutPrefix(name, teamPrefix)
	if !ok {
		return ""
	}
	longest := ""
	for known := range l.known {
		setting, ok := strings.CutPrefix(known, defaultPrefix+"_")
		if ok && strings.HasSuffix(rest, "_"+setting) && len(setting) > len(longest) {
			longest = setting
		}
	}
	if longest == "" {
		return ""
	}
	team := strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(rest, "_"+longest), "_", "-"))
	for _, k := range scaler.Kinds() { // "web-persistent": a kind of the listed team web
		if listed, ok := strings.CutSuffix(team, "-"+string(k)); ok && slices.Contains(l.teams, listed) {
			return ""
		}
	}
	if slices.Contains(l.teams, team) {
		return ""
	}
	return team
}

// distance counts the letters to insert, drop, change or swap with their neighbour to make b of a, up to
// limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
