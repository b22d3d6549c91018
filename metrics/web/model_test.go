package web

import (
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"bellboard/scaler"
)

var noon = time.Date(2026, 11, 23, 12, 0, 30, 0, time.UTC)

// seen is a state that has seen the ticks, the last one now.
func seen(ticks ...scaler.Tick) *state {
	s := &state{past: history{}}
	for i := range ticks {
		t := &ticks[i]
		if s.Tick, s.Now, s.ended = t, t.At, t.At; t.Hold == "" {
			s.seen = t
			s.past.add(t)
		}
	}
	return s
}

func decided(at time.Time, decisions ...scaler.Decision) scaler.Tick {
	return scaler.Tick{ID: "x-1", At: at, Plan: scaler.Plan{Decisions: decisions}}
}

// TestHome: the first page is made from a tick and the history alone.
func TestHome(t *testing.T) {
	c := &Config{MaxAgents: 60, MaxAge: time.Minute}
	if v := seen().home(c); v.Mood != moodUnknown || v.Shown.ID != "" || len(v.Teams) != 0 {
		t.Errorf("before any tick: %+v", v)
	}
	failing := scaler.Decision{
		Team: "web", Waiting: 25, Oldest: 12 * time.Minute, Alive: 3,
		Steps: []scaler.Step{{Rule: scaler.RuleBackoff, Pause: &scaler.Pause{Kind: scaler.Ephemeral, Failure: scaler.FailureNodeGone, Left: 18 * time.Second}}},
	}
	tick := decided(noon, scaler.Decision{Team: "idle"}, scaler.Decision{Team: "works", Busy: 2, Free: 1, Alive: 3}, scaler.Decision{Team: "waits", Waiting: 2, Oldest: time.Second, Coming: 2, Alive: 2}, failing)
	v := seen(tick).home(c)
	if want := "27 builds wait, the oldest 12m; 2 executors on the way; web: ephemeral agents failed (node-gone), next try in 18s."; v.Mood != scaler.MoodTrouble || v.Headline != want {
		t.Errorf("%s: %q, want %q", v.Mood, v.Headline, want)
	}
	if got := []int{v.Waiting, v.Busy, v.Free, v.Coming, v.Alive, v.Max}; !slices.Equal(got, []int{27, 2, 1, 2, 8, 60}) || v.Oldest != 12*time.Minute {
		t.Errorf("the numbers are %v and %s", got, v.Oldest)
	}
	var moods []string
	for _, r := range v.Teams {
		moods = append(moods, r.Name+" "+string(r.Mood))
	}
	if diff := cmp.Diff([]string{"web trouble", "waits waiting", "works working", "idle quiet"}, moods); diff != "" {
		t.Error("the teams, the worst first:", diff)
	}
	hold := scaler.Tick{ID: "x-2", At: noon.Add(time.Minute), HoldSince: noon, Hold: "it is off", HoldBy: scaler.SourceJenkins}
	if v = seen(tick, hold).home(c); v.Mood != scaler.MoodHold || v.Headline != "On hold for 1m: Jenkins cannot be read." || v.Waiting != 27 || len(v.Teams) != 4 {
		t.Errorf("in a hold: %s %q, %d waiting, %d teams", v.Mood, v.Headline, v.Waiting, len(v.Teams))
	}
}

// TestQuietTeams: many quiet teams are one line, a few are not, and no other team is ever in that line.
func TestQuietTeams(t *testing.T) {
	for quiet, folded := range map[int]int{6: 0, 7: 7, 37: 37} {
		tick := decided(noon, scaler.Decision{Team: "web", Waiting: 1})
		for i := range quiet {
			tick.Plan.Decisions = append(tick.Plan.Decisions, scaler.Decision{Team: fmt.Sprint("quiet-", i)})
		}
		tick.Plan.Agents = []scaler.Agent{{Name: "old-e-1", PoolID: scaler.PoolID{Team: "old"}, Pod: true, Class: scaler.Busy}}
		v := seen(tick).home(&Config{})
		if len(v.Quiet) != folded || len(v.Teams) != 2+quiet-folded || v.Teams[0].Name != "web" || v.Teams[1].Name != "old" {
			t.Errorf("of %d quiet teams %d are folded, and %d teams are shown; want %d folded", quiet, len(v.Quiet), len(v.Teams), folded)
		}
	}
}

// TestTrouble: these are the things that make a team trouble, and these are not.
func TestTrouble(t *testing.T) {
	long := []scaler.Usual{{Kind: scaler.Ephemeral, Half: time.Minute, Most: 5 * time.Minute}}
	backoff := scaler.Step{Rule: scaler.RuleBackoff, Pause: &scaler.Pause{Kind: scaler.Ephemeral}}
	fallback := scaler.Step{Rule: scaler.RuleFallback, Pause: &scaler.Pause{Kind: scaler.Ephemeral}}
	for _, tt := range []struct {
		name string
		d    scaler.Decision
		want scaler.Mood
	}{
		{"nothing", scaler.Decision{Free: 3, Coming: 1}, scaler.MoodQuiet},
		{"a build runs", scaler.Decision{Busy: 1}, scaler.MoodWorking},
		{"a build waits", scaler.Decision{Waiting: 1, Busy: 1, Oldest: 119 * time.Second}, scaler.MoodWaiting},
		{"a build waits long", scaler.Decision{Waiting: 1, Oldest: 2 * time.Minute}, scaler.MoodTrouble},
		{"no longer than agents take", scaler.Decision{Waiting: 1, Oldest: 9 * time.Minute, Usual: long}, scaler.MoodWaiting},
		{"longer than agents take", scaler.Decision{Waiting: 1, Oldest: 10 * time.Minute, Usual: long}, scaler.MoodTrouble},
		{"a full cap", scaler.Decision{Waiting: 1, Steps: []scaler.Step{{Rule: scaler.RuleMaxAgents}}}, scaler.MoodWaiting},
		{"agents fail", scaler.Decision{Steps: []scaler.Step{backoff}}, scaler.MoodTrouble},
		{"agents fail, and others come", scaler.Decision{Waiting: 1, Up: map[scaler.Kind]int{scaler.Persistent: 1}, Steps: []scaler.Step{fallback, backoff}}, scaler.MoodWaiting},
		{"a veto", scaler.Decision{Waiting: 1, Steps: []scaler.Step{{Rule: scaler.RuleVetoed, Veto: &scaler.Vetoed{Label: "linux", Why: "throttled"}}}}, scaler.MoodTrouble},
	} {
		if got := tt.d.Mood(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestGroups: each class is in one group, and the classes without a pod are in none.
func TestGroups(t *testing.T) {
	counts := map[scaler.Class]int{}
	for _, g := range groups {
		for _, c := range g.classes {
			counts[c]++
		}
	}
	for _, c := range scaler.Classes() {
		want := 1
		if slices.Contains([]scaler.Class{scaler.Berth, scaler.Intruder, scaler.Lost, scaler.Stray}, c) {
			want = 0
		}
		if counts[c] != want {
			t.Errorf("class %s is in %d groups, want %d", c, counts[c], want)
		}
	}
}

// TestHistory: a history shows of each minute the tick in which most builds waited, and a gap where Bellboard
// saw nothing. It ends after a day.
func TestHistory(t *testing.T) {
	if size := unsafe.Sizeof(series{}); size > 31_000 {
		t.Errorf("a team's history takes %d bytes; the comment says 31 kB", size)
	}
	if size := unsafe.Sizeof(bill{}); size > 512 {
		t.Errorf("a team's bill takes %d bytes; the comment says half a kB", size)
	}
	h := history{}
	add := func(after time.Duration, waiting, busy int) {
		tick := decided(noon.Add(after), scaler.Decision{Team: "web", Waiting: waiting, Busy: busy, Free: 1, Want: 4}, scaler.Decision{Team: "data", Busy: 1})
		h.add(&tick)
	}
	add(-2*time.Minute, 1, 1)
	add(0, 2, 1)
	add(time.Second, 4, 2)
	add(2*time.Second, 3, 3)
	web := h.of("web").last(noon, 4, 4)
	if diff := cmp.Diff([][numbers]uint16{{}, {1, 1, 1, 0, 4}, {}, {4, 2, 1, 0, 4}}, values(web)); diff != "" {
		t.Error(diff)
	}
	if all := values(h.of("").last(noon, 1, 1))[0]; all != [numbers]uint16{4, 3, 1, 0, 4} {
		t.Errorf("all teams together: %v", all)
	}
	if joined := values(h.of("web").last(noon, 4, 2)); joined[0][waiting] != 1 || joined[1][waiting] != 4 {
		t.Errorf("joined: %v", joined)
	}
	c := h.of("web").chart(noon, 4, 4)
	if c.Builds != 4 || c.Agents != 4 || c.Waiting != "M1 100V75H2V100ZM3 100V0H4V100Z" || c.Wanted != "M1 0H2M3 0H4" || c.Stack[2] != (layer{"busy", "M1 100V75H2V100ZM3 100V50H4V100Z"}) {
		t.Errorf("the chart is %+v", c)
	}
	for after, span := range map[time.Duration]int{0: 30, 28 * time.Minute: 60, 3 * time.Hour: 360, 20 * time.Hour: minutesKept} {
		if got := h.of("web").span(noon.Add(after)); got != span {
			t.Errorf("after %s the chart shows %d minutes, want %d", after, got, span)
		}
	}
	add(24*time.Hour-2*time.Minute, 9, 9)
	if got := values(h.of("web").last(noon.Add(24*time.Hour-2*time.Minute), minutesKept, minutesKept)); got[0] != [numbers]uint16{} || got[1][waiting] != 4 || got[minutesKept-1][waiting] != 9 {
		t.Errorf("after a day: %v, %v, %v", got[0], got[1], got[minutesKept-1])
	}
}

func values(looks []look) (out [][numbers]uint16) {
	for i := range looks {
		out = append(out, looks[i].of)
	}
	return out
}

// TestP95: 95 of 100 builds waited no longer than the bound, which is at most 15 % too high. Waits are
// forgotten after an hour.
func TestP95(t *testing.T) {
	h := history{}
	wait := func(after time.Duration, waits ...time.Duration) {
		tick := decided(noon.Add(after))
		for _, w := range waits {
			tick.Facts.Waits = append(tick.Facts.Waits, scaler.Wait{Team: "web", Took: w})
		}
		h.add(&tick)
	}
	check := func(after time.Duration, least, most time.Duration, builds int) {
		t.Helper()
		if got, n := h.of("web").p95(noon.Add(after)); got < least || got > most || n != builds {
			t.Errorf("after %s: %s of %d builds, want %s to %s of %d", after, got, n, least, most, builds)
		}
	}
	check(0, 0, 0, 0)
	for i := range 95 {
		wait(0, time.Duration(i)*100*time.Millisecond)
	}
	wait(time.Minute, time.Hour, time.Hour, time.Hour, time.Hour, 24*time.Hour)
	check(2*time.Minute, 9400*time.Millisecond, 11*time.Second, 100)
	wait(2*time.Minute, time.Hour)
	check(2*time.Minute, time.Hour, 69*time.Minute, 101)
	check(time.Hour, time.Hour, 2*time.Hour, 6)
	check(2*time.Hour, 0, 0, 0)
}

func TestBuildName(t *testing.T) {
	for build, want := range map[string]string{
		"":                                   "",
		"https://ci.example.com/job/web/12/": "web #12",
		"https://ci.example.com/x/job/a/job/b%20c/7": "a/b c #7",
		"https://ci.example.com/job/web":             "https://ci.example.com/job/web",
	} {
		if got := BuildName(build); got != want {
			t.Errorf("BuildName(%q) = %q, want %q", build, got, want)
		}
	}
}
