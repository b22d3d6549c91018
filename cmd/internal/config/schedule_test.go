package config

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bellboard/cmd/internal/term"
	"bellboard/scaler"
)

const webSchedule = "BELLBOARD_TEAM_WEB_SCHEDULE="

// moment reads a time with its offset from UTC.
func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05Z07", text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// edges lists the times between two moments at which a window opens (+) and closes (-), in UTC. The window is asked
// each half minute, and once more each time at which it says that it may change.
func edges(t *testing.T, w *window, from, to time.Time) []string {
	t.Helper()
	var out []string
	was, edge := w.state(from)
	for now := from; now.Before(to); now = now.Add(30 * time.Second) {
		open, next := w.state(now)
		if !next.After(now) {
			t.Fatalf("at %s the next edge is %s", now, next)
		}
		if open != was {
			if !now.Equal(edge) {
				t.Errorf("the window changes at %s, and said %s", now, edge)
			}
			out = append(out, map[bool]string{true: "+", false: "-"}[open]+now.UTC().Format("02 15:04"))
		}
		was, edge = open, next
	}
	return out
}

// TestWindowEdges checks when windows open and close, also where the clock is changed: in Berlin on 29 March 2026 from
// 02:00 to 03:00, and on 25 October from 03:00 to 02:00.
func TestWindowEdges(t *testing.T) {
	for _, tt := range []struct {
		name, when, from string
		days             int
		want             string // in UTC
	}{
		{"work days", "0 7 * * 1-5 for 11h in Europe/Berlin", "2026-11-26 00:00:00Z", 5, "+26 06:00 -26 17:00 +27 06:00 -27 17:00 +30 06:00 -30 17:00"},
		{"in UTC", "0 7 * * 1-5 for 11h", "2026-11-26 00:00:00Z", 1, "+26 07:00 -26 18:00"},
		{"Sunday may be 7", "0 7 * * 7 for 1h", "2026-11-26 00:00:00Z", 7, "+29 07:00 -29 08:00"},
		{"a weekend", "0 18 * * FRI for 60h in Europe/Berlin", "2026-11-26 00:00:00Z", 6, "+27 17:00 -30 05:00"},
		{"days that run into one another", "0 6 * * 1-3 for 24h", "2026-11-29 00:00:00Z", 6, "+30 06:00 -03 06:00"},
		{"starts within the window", "0 6,8 * * * for 3h", "2026-11-29 00:00:00Z", 1, "+29 06:00 -29 11:00"},
		{"open from the beginning", "0 22 * * * for 8h", "2026-11-26 01:00:00Z", 1, "-26 06:00 +26 22:00"},
		{"the morning after spring's change", "0 7 * * * for 11h in Europe/Berlin", "2026-03-28 00:00:00Z", 2, "+28 06:00 -28 17:00 +29 05:00 -29 16:00"},
		{"the night of spring's change is short", "0 22 * * * for 8h in Europe/Berlin", "2026-03-28 12:00:00Z", 1, "+28 21:00 -29 04:00"},
		{"the night of autumn's change is long", "0 22 * * * for 8h in Europe/Berlin", "2026-10-24 12:00:00Z", 1, "+24 20:00 -25 05:00"},
		{"a start in the hour that spring leaves out", "30 2 * * * for 8h in Europe/Berlin", "2026-03-28 12:00:00Z", 1, "+29 01:00 -29 08:30"},
		{"an end in that hour", "0 22 * * * for 4h30m in Europe/Berlin", "2026-03-28 12:00:00Z", 1, "+28 21:00 -29 01:00"},
		{"a window within that hour", "15 2 * * * for 30m in Europe/Berlin", "2026-03-28 12:00:00Z", 1, ""},
		{"a window within the hour that comes twice", "15 2 * * * for 30m in Europe/Berlin", "2026-10-24 12:00:00Z", 1, "+25 00:15 -25 00:45 +25 01:15 -25 01:45"},
		{"half an hour off UTC", "0 9 * * * for 8h in Asia/Kolkata", "2026-11-26 00:00:00Z", 1, "+26 03:30 -26 11:30"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all, wrong := windows(tt.when + ": MIN_IDLE=1")
			if len(wrong) > 0 {
				t.Fatal(wrong)
			}
			from := moment(t, tt.from)
			if got := strings.Join(edges(t, all[0], from, from.AddDate(0, 0, tt.days)), " "); got != tt.want {
				t.Errorf("%s\n got %s\nwant %s", tt.when, got, tt.want)
			}
		})
	}
}

// TestZonesAreBuiltIn: the image of Bellboard has no files of time zones.
func TestZonesAreBuiltIn(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "bellboard/cmd/bellboard").Output()
	if err != nil || !slices.Contains(strings.Fields(string(out)), "time/tzdata") {
		t.Errorf("bellboard does not have time/tzdata: %v", err)
	}
}

// TestTimetable checks what windows make of a team, of which one window sets a setting, and the next edge.
func TestTimetable(t *testing.T) {
	const (
		day   = "0 7 * * * for 10h: MIN_IDLE=2, MAX_AGENTS=20"
		noon  = "0 11 * * * for 2h: MIN_IDLE=5"
		night = "0 22 * * * for 8h: PAUSED=true"
	)
	c := load(t, env("BELLBOARD_TEAMS=web,data", "BELLBOARD_TEAM_DATA_LABELS=data", webSchedule+day+" ;\n "+noon+"; "+night+";", "BELLBOARD_TEAM_WEB_MIN_AGENTS=1"))
	table := c.Timetable()
	for _, tt := range []struct{ at, want, set string }{
		{"06:30", "1 0 10 10 false, 07:00", ""},
		{"07:00", "1 2 20 20 false, 11:00", "MIN_IDLE=2 instead of 0 until Thu 26 Nov 17:00 UTC: 0 7 * * * for 10h\nMAX_AGENTS=20 instead of 10 until Thu 26 Nov 17:00 UTC: 0 7 * * * for 10h"},
		{"11:00", "1 5 20 20 false, 13:00", "MIN_IDLE=5 instead of 0 until Thu 26 Nov 13:00 UTC: 0 11 * * * for 2h\nMAX_AGENTS=20 instead of 10 until Thu 26 Nov 17:00 UTC: 0 7 * * * for 10h"},
		{"13:00", "1 2 20 20 false, 17:00", "MIN_IDLE=2 instead of 0 until Thu 26 Nov 17:00 UTC: 0 7 * * * for 10h\nMAX_AGENTS=20 instead of 10 until Thu 26 Nov 17:00 UTC: 0 7 * * * for 10h"},
		{"17:00", "1 0 10 10 false, 22:00", ""},
		{"23:00", "1 0 10 10 true, 06:00", "PAUSED=true instead of false until Fri 27 Nov 06:00 UTC: 0 22 * * * for 8h"},
	} {
		teams, edge := table.At(moment(t, "2026-11-26 "+tt.at+":00Z"))
		web := &teams[0]
		if got := fmt.Sprintf("%d %d %d %d %t, %s", web.MinAgents, web.MinIdle, web.MaxAgents, web.MaxPersistent, web.Paused, edge.Format("15:04")); got != tt.want {
			t.Errorf("at %s the team is %s, want %s", tt.at, got, tt.want)
		}
		var set []string
		for i := range web.Scheduled {
			set = append(set, web.Scheduled[i].Words())
		}
		if got := strings.Join(set, "\n"); got != tt.set {
			t.Errorf("at %s windows set\n%s\nwant\n%s", tt.at, got, tt.set)
		}
		if web.MostPersistent != 20 {
			t.Errorf("at %s cache slots are kept for %d agents, want 20", tt.at, web.MostPersistent)
		}
		if diff := cmp.Diff(c.ScalerTeams()[1], teams[1]); diff != "" {
			t.Errorf("at %s the team without windows changes:\n%s", tt.at, diff)
		}
	}
	if diff := cmp.Diff(c.ScalerTeams(), table.Base); diff != "" {
		t.Errorf("outside of all windows (-want +got):\n%s", diff)
	}
	if _, edge := load(t, env()).Timetable().At(time.Now()); !edge.IsZero() {
		t.Errorf("without windows the next edge is %s, want none", edge)
	}
}

// TestTuned checks that a tuned WAIT_VALUE takes the place of the search for one, and that a window that sets
// WAIT_VALUE wins over both. The teams before stay as they are.
func TestTuned(t *testing.T) {
	c := load(t, env("BELLBOARD_TEAMS=web,data", "BELLBOARD_TEAM_DATA_LABELS=data", "BELLBOARD_DEFAULT_TARGET_WAIT_P95=30s", webSchedule+"0 7 * * * for 10h: WAIT_VALUE=40; 0 20 * * * for 1h: MIN_IDLE=1"))
	searching := c.Timetable()
	tuned := searching.Tuned("web", 7)
	show := func(table *Timetable, clock string) string {
		teams, _ := table.At(moment(t, "2026-11-26 "+clock+":00Z"))
		text := ""
		for _, one := range teams {
			text += fmt.Sprintf("%s %g %s; ", one.Name, one.WaitValue, one.TargetWait)
			for i := range one.Scheduled {
				text += one.Scheduled[i].Words() + "; "
			}
		}
		return text
	}
	const night = "MIN_IDLE=1 instead of 0 until Thu 26 Nov 21:00 UTC: 0 20 * * * for 1h; "
	const day = " until Thu 26 Nov 17:00 UTC: 0 7 * * * for 10h; "
	for _, tt := range []struct {
		name     string
		table    *Timetable
		at, want string
	}{
		{"searching", searching, "06:00", "web 10 30s; data 10 30s; "},
		{"tuned", tuned, "06:00", "web 7 0s; data 10 30s; "},
		{"in a window of another setting", tuned, "20:30", "web 7 0s; " + night + "data 10 30s; "},
		{"in a window", tuned, "12:00", "web 40 0s; WAIT_VALUE=40 instead of 7" + day + "data 10 30s; "},
		{"searching in a window", searching, "12:00", "web 40 0s; WAIT_VALUE=40 instead of 10" + day + "data 10 30s; "},
		{"one team", tuned.Of("web"), "06:00", "web 7 0s; "},
		{"one team in a window", tuned.Of("web"), "12:00", "web 40 0s; WAIT_VALUE=40 instead of 7" + day},
	} {
		if got := show(tt.table, tt.at); got != tt.want {
			t.Errorf("%s at %s: %s\nwant %s", tt.name, tt.at, got, tt.want)
		}
	}
}

// TestEveryWindowSetting checks that a window can set each setting of the table, and that the decision gets it.
func TestEveryWindowSetting(t *testing.T) {
	values := map[string]string{"MIN_AGENTS": "3", "MIN_IDLE": "3", "MAX_AGENTS": "30", "MAX_PERSISTENT": "3", "WAIT_VALUE": "3", "PAUSED": "true"}
	for _, setting := range scheduled {
		c := load(t, env(webSchedule+"0 7 * * * for 1h: "+setting+"="+values[setting]))
		plain := load(t, env("BELLBOARD_TEAM_WEB_"+setting+"="+values[setting])).ScalerTeams()[0]
		teams, _ := c.Timetable().At(moment(t, "2026-11-26 07:30:00Z"))
		if len(teams[0].Scheduled) != 1 || teams[0].Scheduled[0].Setting != setting || teams[0].Scheduled[0].Value != values[setting] {
			t.Errorf("%s is shown as %+v", setting, teams[0].Scheduled)
		}
		teams[0].Scheduled = nil
		teams[0].MostPersistent, plain.MostPersistent = 0, 0
		if diff := cmp.Diff(plain, teams[0]); diff != "" {
			t.Errorf("%s in a window is not the plain setting (-plain +window):\n%s", setting, diff)
		}
		if cmp.Equal(teams[0], func() scaler.Team { one := c.ScalerTeams()[0]; one.MostPersistent = 0; return one }()) {
			t.Errorf("%s in a window changes nothing", setting)
		}
	}
}

// TestScheduleLayers: a team's SCHEDULE wins over that of all teams, as a whole.
func TestScheduleLayers(t *testing.T) {
	const every = "BELLBOARD_DEFAULT_SCHEDULE=0 7 * * * for 1h: MIN_IDLE=3"
	at := moment(t, "2026-11-26 07:30:00Z")
	for want, environ := range map[int][]string{3: env(every), 0: env(every, webSchedule+"0 9 * * * for 1h: MIN_IDLE=4")} {
		if teams, _ := load(t, environ).Timetable().At(at); teams[0].MinIdle != want {
			t.Errorf("MIN_IDLE is %d, want %d", teams[0].MinIdle, want)
		}
	}
}

// TestWindowMistakes has schedules with mistakes, and the complete report.
func TestWindowMistakes(t *testing.T) {
	web := func(schedule string, more ...string) []string { return env(append(more, webSchedule+schedule)...) }
	const form = "not CRON for DURATION in ZONE: SETTING=VALUE; write e.g. 0 7 * * 1-5 for 11h in Europe/Berlin: MIN_IDLE=2"
	for _, tt := range []struct {
		name    string
		environ []string
		want    string // value and remedy of each mistake, lines
	}{
		{"none", web("0 7 * * 1-5 for 11h in Europe/Berlin: MIN_IDLE=2, MIN_AGENTS=1; 0 22 * * * for 8h: PAUSED=true"), ""},
		{"no form", web("7-18: MIN_IDLE=2"), "7-18: MIN_IDLE=2 | " + form},
		{"an empty window", web("0 7 * * * for 1h: MIN_IDLE=2;;"), " | " + form},
		{"no start", web("0 7 * * for 11h: MIN_IDLE=2"), `0 7 * * for 11h: MIN_IDLE=2 | "0 7 * *" is not a start; write minute, hour, day of the month, month and weekday, e.g. 0 7 * * 1-5`},
		{"a zone in the start", web("TZ=Asia/Tokyo 0 7 * * * for 11h: MIN_IDLE=2"), `TZ=Asia/Tokyo 0 7 * * * for 11h: MIN_IDLE=2 | "TZ=Asia/Tokyo 0 7 * * *" is not a start; write minute, hour, day of the month, month and weekday, e.g. 0 7 * * 1-5`},
		{"every", web("@every 1h for 1m: MIN_IDLE=2"), `@every 1h for 1m: MIN_IDLE=2 | "@every 1h" is not a start; write minute, hour, day of the month, month and weekday, e.g. 0 7 * * 1-5`},
		{"never begins", web("0 7 31 2 * for 1h: MIN_IDLE=2"), "0 7 31 2 * for 1h: MIN_IDLE=2 | never begins, since no day of the year is such a day; correct the start"},
		{"a day of leap years", web("0 7 29 2 * for 1h: MIN_IDLE=2"), ""},
		{"never ends", web("0 7 * * * for 24h: MIN_IDLE=2"), "0 7 * * * for 24h: MIN_IDLE=2 | never ends, since it begins again before it is over; set the settings themselves, or shorten the window"},
		{"ends once a week", web("* * * * 1-5 for 1m: MIN_IDLE=2"), ""},
		{"no time", web("0 7 * * * for 0s: MIN_IDLE=2"), `0 7 * * * for 0s: MIN_IDLE=2 | "0s" is no length of a window; it must be at least 1m and at most 168h (7 days)`},
		{"a long time", web("0 7 1 * * for 169h: MIN_IDLE=2"), `0 7 1 * * for 169h: MIN_IDLE=2 | "169h" is no length of a window; it must be at least 1m and at most 168h (7 days)`},
		{"seven days", web("0 7 1 * * for 168h: MIN_IDLE=2"), ""},
		{"no duration", web("0 7 * * * for 2d: MIN_IDLE=2"), `0 7 * * * for 2d: MIN_IDLE=2 | "2d" is not a duration; write 48h`},
		{"a unit in words", web("0 7 * * * for 8 hours in UTC: PAUSED=on"), `0 7 * * * for 8 hours in UTC: PAUSED=on | "8 hours" is not a duration; write 8h
0 7 * * * for 8 hours in UTC: PAUSED=on | PAUSED="on": neither true nor false; write one of the two`},
		{"no zone", web("0 7 * * * for 1h in Berlin: MIN_IDLE=2"), "0 7 * * * for 1h in Berlin: MIN_IDLE=2 | no time zone is named Berlin; write one such as Europe/Berlin, or none for UTC"},
		{"the zone of some machine", web("0 7 * * * for 1h in Local: MIN_IDLE=2"), "0 7 * * * for 1h in Local: MIN_IDLE=2 | no time zone is named Local; write one such as Europe/Berlin, or none for UTC"},
		{"no setting", web("0 7 * * * for 1h: IDLE_TIMEOUT=2m"), "0 7 * * * for 1h: IDLE_TIMEOUT=2m | IDLE_TIMEOUT is no setting of a window; write MIN_AGENTS, MIN_IDLE, MAX_AGENTS, MAX_PERSISTENT, WAIT_VALUE or PAUSED"},
		{"no settings", web("0 7 * * * for 1h:"), `0 7 * * * for 1h: | "" is not SETTING=VALUE; write e.g. MIN_IDLE=2`},
		{"a setting twice", web("0 7 * * * for 1h: MIN_IDLE=2, MIN_IDLE=3"), "0 7 * * * for 1h: MIN_IDLE=2, MIN_IDLE=3 | MIN_IDLE is set twice in this window; drop one"},
		{"no number", web("0 7 * * * for 1h: MIN_IDLE=few"), `0 7 * * * for 1h: MIN_IDLE=few | MIN_IDLE="few": not a whole number; write e.g. 10`},
		{"below zero", web("0 7 * * * for 1h: MIN_IDLE=-1"), `0 7 * * * for 1h: MIN_IDLE=-1 | MIN_IDLE="-1": must be at least 0`},
		{"no truth", web("0 7 * * * for 1h: PAUSED=yes"), `0 7 * * * for 1h: PAUSED=yes | PAUSED="yes": neither true nor false; write one of the two`},
		{"all at once", web("0 7 * * for 0s in X: MIN_IDLE=x; 0 8 * * * for 1h: Y=1"), `0 7 * * for 0s in X: MIN_IDLE=x | "0 7 * *" is not a start; write minute, hour, day of the month, month and weekday, e.g. 0 7 * * 1-5
0 7 * * for 0s in X: MIN_IDLE=x | "0s" is no length of a window; it must be at least 1m and at most 168h (7 days)
0 7 * * for 0s in X: MIN_IDLE=x | no time zone is named X; write one such as Europe/Berlin, or none for UTC
0 7 * * for 0s in X: MIN_IDLE=x | MIN_IDLE="x": not a whole number; write e.g. 10
0 8 * * * for 1h: Y=1 | Y is no setting of a window; write MIN_AGENTS, MIN_IDLE, MAX_AGENTS, MAX_PERSISTENT, WAIT_VALUE or PAUSED`},

		// Settings against one another.
		{"above the built-in limit", web("0 7 * * * for 1h: MIN_AGENTS=11"), "0 7 * * * for 1h: MIN_AGENTS=11 | MIN_AGENTS=11 is more than BELLBOARD_TEAM_WEB_MAX_AGENTS=10 (built-in); lower one or raise the other"},
		{"above the window's own limit", web("0 7 * * * for 1h: MIN_IDLE=5, MAX_AGENTS=4"), "0 7 * * * for 1h: MIN_IDLE=5, MAX_AGENTS=4 | MIN_IDLE=5 is more than MAX_AGENTS=4; lower one or raise the other"},
		{"with a limit of its own", web("0 7 * * * for 1h: MIN_AGENTS=11, MAX_AGENTS=12"), ""},
		{"a limit below the plain minimum", web("0 7 * * * for 1h: MAX_AGENTS=4", "BELLBOARD_DEFAULT_MIN_AGENTS=5"), "0 7 * * * for 1h: MAX_AGENTS=4 | MIN_AGENTS=5 is more than MAX_AGENTS=4 of window 0 7 * * * for 1h; lower one or raise the other"},
		{"windows that overlap", web("0 7 * * * for 3h: MIN_AGENTS=8; 0 9 * * * for 3h: MAX_AGENTS=4"), "0 7 * * * for 3h: MIN_AGENTS=8 | MIN_AGENTS=8 is more than MAX_AGENTS=4 of window 0 9 * * * for 3h; lower one or raise the other"},
		{"windows that do not", web("0 7 * * * for 2h: MIN_AGENTS=8; 0 9 * * * for 3h: MAX_AGENTS=4"), ""},
		{"windows that overlap once a year", web("0 7 24 12 * for 3h: MIN_AGENTS=8; 0 9 * * * for 3h: MAX_AGENTS=4"), "0 7 24 12 * for 3h: MIN_AGENTS=8 | MIN_AGENTS=8 is more than MAX_AGENTS=4 of window 0 9 * * * for 3h; lower one or raise the other"},
		{"a third window settles it", web("0 7 * * * for 3h: MIN_AGENTS=8; 0 9 * * * for 3h: MAX_AGENTS=4; 0 9 * * * for 1h: MAX_AGENTS=9"), ""},
		{"persistent agents", web("0 7 * * * for 1h: MAX_PERSISTENT=1", "BELLBOARD_TEAM_WEB_MIN_AGENTS=2"), "0 7 * * * for 1h: MAX_PERSISTENT=1 | MIN_AGENTS=2 is more than MAX_PERSISTENT=1 of window 0 7 * * * for 1h, and a minimum is persistent; lower one or raise the other"},
		{"no agent", web("0 7 * * * for 1h: MAX_PERSISTENT=0", "BELLBOARD_TEAM_WEB_MODE=persistent"), "0 7 * * * for 1h: MAX_PERSISTENT=0 | MAX_PERSISTENT=0 leaves team web, whose mode is persistent, no agent; raise it or set PAUSED=true"},
		{"all teams together", web("0 7 * * * for 1h: MIN_AGENTS=8", "BELLBOARD_TEAMS=web,data", "BELLBOARD_TEAM_DATA_LABELS=data", "BELLBOARD_TEAM_DATA_SCHEDULE=30 7 * * * for 1h: MIN_AGENTS=8", "BELLBOARD_MAX_AGENTS=15"), "15 | less than the 16 that the teams' MIN_AGENTS add up to in windows of SCHEDULE (it is 15); raise it or lower them"},
		{"one after the other", web("0 7 * * * for 1h: MIN_AGENTS=8", "BELLBOARD_TEAMS=web,data", "BELLBOARD_TEAM_DATA_LABELS=data", "BELLBOARD_TEAM_DATA_SCHEDULE=0 8 * * * for 1h: MIN_AGENTS=8", "BELLBOARD_MAX_AGENTS=15"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, m := range mistakes(t, tt.environ) {
				got = append(got, m.Value+" | "+m.Remedy)
				if m.Variable+"=" != webSchedule && m.Variable != "BELLBOARD_MAX_AGENTS" {
					t.Errorf("a mistake in %s", m.Variable)
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

// TestWriteWindows checks what bellboard config shows of windows.
func TestWriteWindows(t *testing.T) {
	var b strings.Builder
	c := load(t, env(webSchedule+"0 7 * * 1-5 for 11h in Europe/Berlin: MIN_IDLE=2, MIN_AGENTS=1; 0 22 * * * for 8h: PAUSED=true"))
	if err := c.WriteWindows(&term.Screen{Writer: &b}, "", moment(t, "2026-11-27 05:30:00Z")); err != nil {
		t.Fatal(err)
	}
	const want = `
TEAM  WINDOW OF SCHEDULE                    SETS                      NOW
web   0 7 * * 1-5 for 11h in Europe/Berlin  MIN_IDLE=2, MIN_AGENTS=1  closed until Fri 27 Nov 07:00 CET
web   0 22 * * * for 8h                     PAUSED=true               open until Fri 27 Nov 06:00 UTC
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("windows (-want +got):\n%s", diff)
	}
	b.Reset()
	if err := load(t, env()).WriteWindows(&term.Screen{Writer: &b}, "", time.Now()); err != nil || b.Len() > 0 {
		t.Errorf("without windows: %v %q", err, b.String())
	}
}
