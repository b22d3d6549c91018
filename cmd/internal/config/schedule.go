package config

import (
	"cmp"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the image of Bellboard has no time zones

	cron "github.com/netresearch/go-cron"

	"bellboard/cmd/internal/term"
	"bellboard/scaler"
)

// scheduleSetting is the setting that has a team's windows.
const scheduleSetting = "SCHEDULE"

// scheduled lists the settings of Limits that a window may set.
var scheduled = []string{"MIN_AGENTS", "MIN_IDLE", "MAX_AGENTS", "MAX_PERSISTENT", "WAIT_VALUE", "PAUSED"}

// window is a part of the day in which some settings of a team have other values.
//
// A window follows the clock on the wall of its zone: it is open while that clock shows a time from the start
// until the length after it. So a window ends at the same time of the day when the clock is changed, and a
// start in the hour that spring leaves out opens the window at the end of that hour.
type window struct {
	text   string // as SCHEDULE has it
	when   string // the same without the settings
	starts cron.Schedule
	length time.Duration
	zone   *time.Location
	sets   []assignment
}

// assignment is the value of one setting of Limits.
type assignment struct {
	setting string
	at      int // the index of its field
	value   reflect.Value
}

// The bounds of a window's length.
const (
	windowLeast = time.Minute
	windowMost  = 7 * 24 * time.Hour
)

var windowForm = regexp.MustCompile(`(?s)^(.+?)\s+for\s+(.+?)(?:\s+in\s+(\S+))?\s*:(.*)$`)

// windows reads the text of SCHEDULE. Each mistake has the text of its window as its value, and no variable.
func windows(text string) (out []*window, wrong Mistakes) {
	for part := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(text), ";"), ";") {
		w := &window{text: strings.Join(strings.Fields(part), " "), zone: time.UTC}
		for _, remedy := range w.read() {
			wrong = append(wrong, Mistake{Value: w.text, Set: true, Remedy: remedy})
		}
		out = append(out, w)
	}
	return out, wrong
}

// read reads the window's text, and returns the remedies for its mistakes.
func (w *window) read() (remedies []string) {
	refuse := func(remedy string) {
		if remedy != "" {
			remedies = append(remedies, remedy)
		}
	}
	m := windowForm.FindStringSubmatch(w.text)
	if m == nil {
		refuse("not CRON for DURATION in ZONE: SETTING=VALUE; write e.g. 0 7 * * 1-5 for 11h in Europe/Berlin: MIN_IDLE=2")
		return remedies
	}
	w.when, _, _ = strings.Cut(w.text, ":")
	w.when = strings.TrimSpace(w.when)
	refuse(w.readStart(m[1]))
	refuse(w.readLength(m[2]))
	if m[3] != "" {
		zone, err := time.LoadLocation(m[3])
		if err != nil || zone == time.Local { // Local differs from machine to machine
			refuse(fmt.Sprintf("no time zone is named %s; write one such as Europe/Berlin, or none for UTC", m[3]))
		} else {
			w.zone = zone
		}
	}
	for one := range strings.SplitSeq(m[4], ",") {
		refuse(w.readValue(strings.TrimSpace(one)))
	}
	if len(remedies) == 0 {
		refuse(w.endless())
	}
	return remedies
}

func (w *window) readStart(text string) string {
	const leapless = 8 // the most years from one 29 February to the next
	parser := cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow).WithMaxSearchYears(leapless)
	starts, err := parser.Parse(text)
	if err != nil || strings.Contains(text, "=") { // the parser would take the zone from TZ=
		return fmt.Sprintf("%q is not a start; write minute, hour, day of the month, month and weekday, e.g. 0 7 * * 1-5", text)
	}
	w.starts = starts
	return ""
}

func (w *window) readLength(text string) string {
	length, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not a duration; write %s", text, duration(text))
	case length < windowLeast || length > windowMost:
		return fmt.Sprintf("%q is no length of a window; it must be at least %s and at most %s (7 days)", text, short(windowLeast), short(windowMost))
	}
	w.length = length
	return ""
}

// readValue reads one SETTING=VALUE, and checks the value as that of the plain setting.
func (w *window) readValue(text string) string {
	name, value, ok := strings.Cut(text, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch {
	case !ok:
		return fmt.Sprintf("%q is not SETTING=VALUE; write e.g. MIN_IDLE=2", text)
	case !slices.Contains(scheduled, name):
		last := len(scheduled) - 1
		return fmt.Sprintf("%s is no setting of a window; write %s or %s", name, strings.Join(scheduled[:last], ", "), scheduled[last])
	case slices.ContainsFunc(w.sets, func(a assignment) bool { return a.setting == name }):
		return name + " is set twice in this window; drop one"
	}
	for i, f := range fieldsOf(&Limits{}) {
		if f.Name != name {
			continue
		}
		if remedy := f.read(value); remedy != "" {
			return fmt.Sprintf("%s=%q: %s", name, value, remedy)
		}
		w.sets = append(w.sets, assignment{name, i, f.Value})
	}
	return ""
}

// reference is a day from which windows are tried out. It begins a year with a 29 February.
var reference = time.Date(2028, time.January, 1, 0, 0, 0, 0, time.UTC)

// endless returns the remedy for a window that never begins, or never ends; "" for any other.
func (w *window) endless() string {
	start := w.starts.Next(reference)
	if start.IsZero() {
		return "never begins, since no day of the year is such a day; correct the start"
	}
	const most = 20_000 // edges, more than the minutes of a week
	now := start.Add(-48 * time.Hour)
	for range most {
		open, edge := w.state(now)
		if !open && now.After(start) {
			return ""
		}
		now = edge
	}
	return "never ends, since it begins again before it is over; set the settings themselves, or shorten the window"
}

// state reports whether the window is open, and the earliest time at which that may change.
func (w *window) state(now time.Time) (open bool, edge time.Time) {
	local := now.In(w.zone)
	_, offset := local.Zone()
	ahead := time.Duration(offset) * time.Second
	wall := now.UTC().Add(ahead) // the clock on the wall, as if it were UTC, which knows no change of the clock
	start := w.starts.Next(wall.Add(-w.length))
	if open = !start.After(wall); open {
		edge = start.Add(w.length)
	} else {
		edge = start
	}
	edge = edge.Add(-ahead)
	if _, change := local.ZoneBounds(); !change.IsZero() && change.Before(edge) {
		edge = change.UTC()
	}
	return open, edge
}

// next returns the earliest time from now on at which the window is open, or is not, on the clock of its zone.
func (w *window) next(now time.Time, wanted bool) time.Time {
	for {
		open, edge := w.state(now)
		if open == wanted {
			return now.In(w.zone)
		}
		now = edge
	}
}

// at returns the team's settings at a time, which window sets each of those that a window sets, and the
// earliest time at which that may change (zero: never). Of two windows the later one in SCHEDULE wins.
func (t *Team) at(now time.Time) (limits Limits, by map[string]*window, edge time.Time) {
	limits, by = t.Limits, map[string]*window{}
	for _, w := range t.windows {
		open, change := w.state(now)
		if edge.IsZero() || change.Before(edge) {
			edge = change
		}
		if !open {
			continue
		}
		for _, a := range w.sets {
			reflect.ValueOf(&limits).Elem().Field(a.at).Set(a.value)
			by[a.setting] = w
		}
	}
	if t.sameMost && by["MAX_PERSISTENT"] == nil {
		limits.MaxPersistent = new(limits.MaxAgents)
	}
	return limits, by, edge
}

// tryWindows checks each team's settings against one another at the edges of all windows of a year. It returns
// the highest sum of the teams' MIN_AGENTS.
func (l *loader) tryWindows() (peak int) {
	const most = 20_000 // edges: more would delay the start, and the decision keeps the caps without this check
	now, end := reference, reference.AddDate(1, 0, 2)
	minimums, edges := make([]int, len(l.Teams)), make([]time.Time, len(l.Teams)) // by team: now, and until when
	var wrong Mistakes
	for n := 0; n < most && now.Before(end); n++ {
		least, next := 0, end
		for i := range l.Teams {
			if t := &l.Teams[i]; !edges[i].After(now) {
				limits, by, edge := t.at(now)
				minimums[i], edges[i] = limits.MinAgents, edge
				if edge.IsZero() {
					edges[i] = end
				}
				for _, m := range l.within(t, &limits, by) {
					if !slices.Contains(wrong, m) {
						wrong = append(wrong, m)
					}
				}
			}
			least += minimums[i]
			if edges[i].Before(next) {
				next = edges[i]
			}
		}
		peak, now = max(peak, least), next
	}
	for _, m := range wrong {
		l.refuseWindows(m.Variable, Mistakes{m})
	}
	return peak
}

// within returns the mistakes among the limits of a team at one time. by has the windows that set some of them.
func (l *loader) within(t *Team, limits *Limits, by map[string]*window) (wrong Mistakes) {
	if len(by) == 0 {
		return nil
	}
	variable := l.source(t.Name, "", scheduleSetting)
	refuse := func(w *window, remedy string) {
		if w != nil {
			wrong = append(wrong, Mistake{Variable: variable, Value: w.text, Set: true, Remedy: remedy})
		}
	}
	for _, c := range limits.conflicts() {
		if !l.clean(t.Name, "MODE", c.low, c.high, "MAX_AGENTS") {
			continue
		}
		high := by[c.high]
		if c.high == "MAX_PERSISTENT" && high == nil && t.sameMost {
			continue // MIN_AGENTS is above MAX_AGENTS, too
		}
		name, note := l.origin(t.Name, c.high)
		if high != nil {
			name, note = c.high, ""
			if by[c.low] != high {
				note = " of window " + high.when
			}
		}
		const remedy = "%s=%d is more than %s=%d%s%s; lower one or raise the other"
		refuse(cmp.Or(by[c.low], high), fmt.Sprintf(remedy, c.low, c.value, name, c.limit, note, c.because))
	}
	if limits.agentless() {
		refuse(by["MAX_PERSISTENT"], "MAX_PERSISTENT=0 "+fmt.Sprintf(agentless, t.Name))
	}
	return wrong
}

// Timetable is the teams as the decision knows them, at each time.
type Timetable struct {
	Base  []scaler.Team // outside of all windows
	teams []Team
}

// Timetable returns the teams with their windows.
func (c *Config) Timetable() *Timetable { return &Timetable{Base: c.ScalerTeams(), teams: c.Teams} }

// At returns the teams at a time, and the earliest time at which they may change; zero: never.
func (t *Timetable) At(now time.Time) (teams []scaler.Team, edge time.Time) {
	teams = slices.Clone(t.Base)
	for i := range teams {
		team := &t.teams[i]
		if len(team.windows) == 0 {
			continue
		}
		limits, by, change := team.at(now)
		limits.set(&teams[i])
		if by["WAIT_VALUE"] != nil {
			teams[i].TargetWait = 0
		}
		teams[i].Scheduled = team.shown(&limits, by, now)
		if edge.IsZero() || change.Before(edge) {
			edge = change
		}
	}
	return teams, edge
}

// Tuned returns the timetable with this WAIT_VALUE for a team, which then looks for no other. A window that sets
// WAIT_VALUE still does.
func (t *Timetable) Tuned(team string, waitValue float64) *Timetable {
	out := &Timetable{Base: slices.Clone(t.Base), teams: slices.Clone(t.teams)}
	for i := range out.Base {
		if out.Base[i].Name == team {
			out.Base[i].WaitValue, out.Base[i].TargetWait = waitValue, 0
			out.teams[i].WaitValue = waitValue
		}
	}
	return out
}

// Of returns the timetable of one team.
func (t *Timetable) Of(team string) *Timetable {
	i := slices.IndexFunc(t.Base, func(one scaler.Team) bool { return one.Name == team })
	return &Timetable{Base: t.Base[i : i+1 : i+1], teams: t.teams[i : i+1 : i+1]}
}

// String has all that sets one timetable apart from another.
func (t *Timetable) String() string {
	schedules := make([]string, 0, len(t.teams))
	for i := range t.teams {
		schedules = append(schedules, t.teams[i].Schedule)
	}
	return fmt.Sprint(t.Base, schedules)
}

// shown lists what windows set now, for people.
func (t *Team) shown(limits *Limits, by map[string]*window, now time.Time) (out []scaler.Scheduled) {
	for _, setting := range scheduled {
		w := by[setting]
		if w == nil {
			continue
		}
		at := w.sets[slices.IndexFunc(w.sets, func(a assignment) bool { return a.setting == setting })].at
		value := func(l *Limits) string { return printValue(reflect.ValueOf(l).Elem().Field(at)) }
		out = append(out, scaler.Scheduled{Setting: setting, Value: value(limits), Else: value(&t.Limits), Window: w.when, Until: w.next(now, false)})
	}
	return out
}

// mostPersistent returns the highest MAX_PERSISTENT that the team has at any time.
func (t *Team) mostPersistent() int {
	most := *t.MaxPersistent
	for _, w := range t.windows {
		for _, a := range w.sets {
			if a.setting == "MAX_PERSISTENT" || a.setting == "MAX_AGENTS" && t.sameMost {
				most = max(most, int(reflect.Indirect(a.value).Int()))
			}
		}
	}
	return most
}

// WriteWindows writes a table of the windows of a team for people, or of all teams (""): what each sets, and
// when it opens or closes next. It writes nothing if there are none.
func (c *Config) WriteWindows(s *term.Screen, team string, now time.Time) error {
	table := term.Table{Head: []string{"TEAM", "WINDOW OF SCHEDULE", "SETS", "NOW"}, Short: 2}
	for i := range c.Teams {
		t := &c.Teams[i]
		for _, one := range t.windows {
			if team != "" && team != t.Name {
				continue
			}
			_, sets, _ := strings.Cut(one.text, ":")
			open, _ := one.state(now)
			state := "closed until "
			if open {
				state = "open until "
			}
			table.Add(t.Name, one.when, sets, state+scaler.WindowTime(one.next(now, !open)))
		}
	}
	if len(table.Rows) == 0 {
		return nil
	}
	_, err := io.WriteString(s, "\n"+table.In(s))
	return err
}
