package config

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/hbollon/go-edlib"

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
	noun := "mistakes"
	if len(m) == 1 {
		noun = "mistake"
	}
	fmt.Fprintf(&b, "%d %s in the settings\n", len(m), noun)
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	for _, one := range m {
		left := one.Variable
		if one.Set {
			left += fmt.Sprintf("=%q", one.Value)
		}
		_, _ = fmt.Fprintf(w, "  %s\t%s\n", plain.Line(left), plain.Line(one.Remedy))
	}
	_ = w.Flush() // a strings.Builder returns no error
	return strings.TrimSuffix(b.String(), "\n")
}

// secretish finds variables that may hold a secret by mistake. No variable of Bellboard's holds one.
var secretish = regexp.MustCompile(`TOKEN|PASS|SECRET|CREDENTIAL|API_?KEY`)

// refuse notes the first mistake in a variable, and goes on as if the variable were not set. It does nothing
// if the remedy is "", or if the variable is "": then source has none that is not refused already.
func (l *loader) refuse(variable, remedy string) {
	if remedy == "" || variable == "" || l.bad[variable] {
		return
	}
	l.note(variable, remedy)
	l.bad[variable] = true
	delete(l.env, variable)
}

// note notes a mistake, once. Several mistakes may come from one variable, such as that of a pod template.
func (l *loader) note(variable, remedy string) {
	value, set := l.env[variable]
	if set && (l.known[variable] == nil && secretish.MatchString(variable) ||
		strings.Contains(value, "://") && strings.Contains(value, "@") || strings.Contains(value, "PRIVATE KEY")) {
		value = "***"
	}
	m := Mistake{Variable: variable, Value: value, Set: set, Remedy: remedy}
	if !slices.Contains(l.mistakes, m) {
		l.mistakes = append(l.mistakes, m)
	}
}

// refuseWindows notes the mistakes in the windows of a variable, each with the text of its window.
func (l *loader) refuseWindows(variable string, wrong Mistakes) {
	for _, m := range wrong {
		m.Variable = variable
		if !slices.Contains(l.mistakes, m) {
			l.mistakes = append(l.mistakes, m)
		}
		l.bad[variable] = true
		delete(l.env, variable)
	}
}

// sorted returns the mistakes in the order in which people read settings: unknown variables, the daemon's,
// those for every team, then team by team.
func (l *loader) sorted() Mistakes {
	order := func(m Mistake) int {
		if f := l.known[m.Variable]; f != nil {
			return f.order
		}
		return -1
	}
	slices.SortStableFunc(l.mistakes, func(a, b Mistake) int { return order(a) - order(b) })
	return l.mistakes
}

// serviceLink finds variables that look like settings, and are none. Kubernetes puts the address of every
// Service of a namespace into the variables of its pods, also that of a Service named bellboard-metrics.
var serviceLink = regexp.MustCompile(
	`^\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=|^\w+_PORT=(tcp|udp|sctp)://`)

// pageURL is a variable of the commands that ask a running Bellboard, and no setting of the daemon.
const pageURL = prefix + "_URL"

// unknown notes every BELLBOARD_ variable that is no setting. The check needs the variables of all teams:
// team a does not know the variables of team a-b.
func (l *loader) unknown() {
	for _, name := range slices.Sorted(maps.Keys(l.env)) {
		if name == pageURL || l.known[name] != nil || serviceLink.MatchString(name+"="+l.env[name]) {
			continue
		}
		team := l.unlisted(name)
		meant := l.guess(name, team)
		l.bad[meant] = true // it may be missing, or too low, for that reason alone
		add := "no team of that name in BELLBOARD_TEAMS; add " + team + " there"
		if labels := prefixOf(team, "") + "_LABELS"; !l.lists() && team != "" {
			add = "no team " + team + ", since " + labels + " is not set; set that"
			l.bad[labels] = true
		}
		own := likely(name)
		switch {
		case meant == name+"_FILE":
			l.refuse(name, "a secret comes from a file only; write it into a file, and the file's path to "+meant)
		case meant != "" && team != "":
			l.refuse(name, add+", or did you mean "+meant+"?")
		case team != "":
			l.refuse(name, add+" or unset this")
		case meant != "" && own != "" && meant != own:
			l.refuse(name, "no such setting; did you mean "+meant+" or "+own+"?")
		case meant != "" || own != "":
			l.refuse(name, "no such setting; did you mean "+cmp.Or(meant, own)+"?")
		default:
			l.refuse(name, "no such setting; unset it (bellboard config lists all)")
		}
	}
}

// distance counts the letters to insert, drop, change or swap with their neighbour to make b of a.
var distance = edlib.OSADamerauLevenshteinDistance

// guess returns the setting for which an unknown name was probably meant, or "". team is the unlisted team in
// the name, or "".
func (l *loader) guess(name, team string) string {
	// A secret itself; or a setting at the wrong level, which lacks a part of its name or has one too many.
	tries := []string{
		name + "_FILE",
		strings.Replace(name, prefix, prefix+"_TEAM", 1),
		strings.Replace(name, prefix, prefix+"_DEFAULT", 1),
		strings.ToUpper(name),
	}
	parts := []string{"_DEFAULT", "_EPHEMERAL", "_PERSISTENT"}
	for _, team := range l.names {
		parts = append(parts, strings.TrimPrefix(prefixOf(team, ""), prefix))
	}
	for _, part := range parts {
		tries = append(tries, strings.Replace(name, part, "", 1))
	}
	for _, try := range tries {
		if l.known[try] != nil {
			return try
		}
	}
	nearest := slices.MinFunc(slices.Sorted(maps.Keys(l.known)), func(a, b string) int {
		return cmp.Compare(distance(name, a), distance(name, b))
	})
	most := 3
	if team != "" { // names that differ in two letters, or have two letters only, are of different teams
		most = min(1, len(team)-2)
	}
	if distance(name, nearest) > most {
		return ""
	}
	return nearest
}

// teamSettings returns the names of all settings of a team.
func teamSettings() (names []string) {
	for _, f := range slices.Concat(fieldsOf(&Limits{}), fieldsOf(&PodSettings{})) {
		names = append(names, f.Name)
	}
	return names
}

// unlisted returns the team of a variable that sets a team which is not there, or "". Of several settings
// that the name may end with, the longest is meant: A_ALLOW_HOST_DOCKER is of team a, not of team
// a-allow-host.
func (l *loader) unlisted(name string) string {
	setting := `(_EPHEMERAL|_PERSISTENT)?_(` + strings.Join(teamSettings(), "|") + `)$`
	m := regexp.MustCompile("^" + teamPrefix + "(.+?)" + setting).FindStringSubmatch(name)
	if m == nil || slices.ContainsFunc(l.names, func(n string) bool { return teamOf(m[1]) == n }) {
		return ""
	}
	return teamOf(m[1])
}

// likely returns the variable of the same team whose setting looks like the unknown one in the name, or "".
// The team need not be there.
func likely(name string) string {
	rest, ofTeam := strings.CutPrefix(name, teamPrefix)
	if !ofTeam {
		return ""
	}
	words, nearest, least := strings.Split(rest, "_"), "", 0.34 // of the letters of a setting
	for _, s := range teamSettings() {
		if s == rest {
			return teamPrefix + "<NAME>_" + s
		}
		n := len(words) - strings.Count(s, "_") - 1
		if n < 1 {
			continue
		}
		if d := float64(distance(strings.Join(words[n:], "_"), s)) / float64(len(s)); d < least {
			nearest, least = teamPrefix+strings.Join(words[:n], "_")+"_"+s, d
		}
	}
	if nearest == name {
		return "" // the setting is right, and the kind of agent is wrong
	}
	return nearest
}
