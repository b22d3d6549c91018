package scaler

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// plenty is more than any state of a test needs, in bytes.
const plenty = 1 << 30

// handOn returns the memory of a process that reads what another process has written.
func handOn(t interface{ Fatal(...any) }, from, to Memory, now time.Time) Memory {
	data, err := from.Learnt(now, Learnt{}).Encode(plenty)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ReadLearnt(data, now)
	if err != nil {
		t.Fatal(err)
	}
	return to.With(l, now)
}

// TestLearntAgain: with numbers that were written and read, once or twice, every tick decides and learns the
// same. (Only the times at which agents are started ahead are brought up to date.)
func TestLearntAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyHouse(t)
		for range 4 {
			for name, m := range in.Memory.Teams {
				m.Demand = min(m.Demand, len(m.Levels))
				for k := range m.Levels {
					l := &m.Levels[k]
					if l.Ahead = startsAhead(l.Every, m.Lead, m.WaitValue); k < m.Demand {
						l.Since = time.Time{} // in use
					}
				}
				in.Memory.Teams[name] = m
			}
			same := in
			same.Memory = handOn(t, in.Memory, in.Memory, in.Now)
			same.Memory = handOn(t, same.Memory, same.Memory, in.Now)
			plan, mem, _ := Decide(in)
			again, learnt, _ := Decide(same)
			if diff := cmp.Diff(plan, again); diff != "" {
				t.Fatalf("after it was written and read it decides otherwise: %s", diff)
			}
			if diff := cmp.Diff(mem, learnt); diff != "" {
				t.Fatalf("after it was written and read it learns otherwise: %s", diff)
			}
			in = apply(in, plan, mem)
			in.Now = in.Now.Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "later")) * time.Second)
		}
	})
}

// aTeamThatHasLearnt returns a house with a free agent that is worth keeping, and what it has learnt.
func aTeamThatHasLearnt(t *testing.T) Input {
	t.Helper()
	in := newHouse(newTeam("web", ModeEphemeral, []string{"linux"}, func(t *Team) { t.Pools[0].IdleTimeout = 0 }))
	name := in.agent("web", Ephemeral, "a")
	amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Free = noon.Add(-20 * time.Minute) })
	m := usedOften(1)
	m.Levels[0].Since = noon.Add(-4 * time.Minute)
	m.Gaps, m.Ledger = m.Levels[0].Gaps, Ledger{At: noon.Add(-time.Second), Alive: 1, Held: 1, Paid: time.Hour, Balance: time.Minute}
	m.Start, m.Lead, m.Made, m.WaitValue, m.Levels = time.Minute, time.Minute, 7, 10, m.Levels[:2]
	m.Gain = Gain{
		Waiting: []Sample{{"job", Warm, noon.Add(-time.Hour), time.Minute}},
		Ratios:  Series{}.with(0.2), Took: Series{}.with(60),
	}
	in.Memory.Teams["web"] = m
	start := Startup{PoolID{"web", Ephemeral}, time.Minute, []PhaseTime{{PhaseConnect, time.Minute}}, noon.Add(-time.Hour), noon.Add(-time.Hour)}
	alter(&in.Memory.Pools, start.PoolID, func(p *PoolMemory) { p.Starts = p.Starts.with(start, start, start, start) })
	return in
}

// TestAProcessGoesOn: a new process keeps the free agents that the old one has kept, and adds nothing to the
// start-ups of agents that the old one has counted.
func TestAProcessGoesOn(t *testing.T) {
	in := aTeamThatHasLearnt(t)
	in.Cluster.Pods[0].Created, in.Cluster.Pods[0].ConnectedAt = noon.Add(-time.Hour), noon.Add(-59*time.Minute)
	plan, mem, _ := Decide(in)
	if plan.Decisions[0].Weighed.Hold != 1 {
		t.Fatalf("the old process weighs %+v, want it to keep one agent", plan.Decisions[0].Weighed)
	}
	fresh := in
	fresh.Memory = handOn(t, in.Memory, Memory{}, noon)
	again, learnt, _ := Decide(fresh)
	if diff := cmp.Diff(plan.Decisions[0].Weighed, again.Decisions[0].Weighed); diff != "" {
		t.Errorf("the new process weighs otherwise: %s", diff)
	}
	if diff := cmp.Diff(mem.Teams, learnt.Teams); diff != "" {
		t.Errorf("the new process learns otherwise: %s", diff)
	}
	if id := (PoolID{"web", Ephemeral}); len(learnt.Pools[id].Starts.Last) != 4 {
		t.Errorf("the new process knows %d start-ups, want the four", len(learnt.Pools[id].Starts.Last))
	}
	fresh.Memory = Memory{}
	if first, _, _ := Decide(fresh); cmp.Equal(plan.Decisions[0].Weighed, first.Decisions[0].Weighed) {
		t.Error("a process that has learnt nothing weighs the same, so this test shows nothing")
	}
}

// TestTimeThatNoProcessSaw: the ledger counts the agents of a short time without a process, and not those of
// a week.
func TestTimeThatNoProcessSaw(t *testing.T) {
	in := aTeamThatHasLearnt(t)
	before := in.Memory.Teams["web"].Ledger
	for took, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, 7 * 24 * time.Hour: unseenMost} {
		later := in
		later.Now = before.At.Add(took)
		later.Memory = handOn(t, in.Memory, Memory{}, later.Now)
		_, mem, _ := Decide(later)
		if got := mem.Teams["web"].Ledger.Paid - before.Paid; got != want {
			t.Errorf("after %s without a process the ledger has paid for %s, want %s", took, got, want)
		}
	}
}

// TestTeamsThatAreGone: what was learnt of a team stays for a while after the team has left the settings.
func TestTeamsThatAreGone(t *testing.T) {
	in := aTeamThatHasLearnt(t)
	kept := in.Memory.Learnt(noon, Learnt{})
	for _, tt := range []struct {
		later time.Duration
		want  int
	}{{learntKept, 1}, {learntKept + time.Second, 0}} {
		now := noon.Add(tt.later)
		if got := (Memory{}).Learnt(now, kept); len(got.Teams) != tt.want {
			t.Errorf("%s after it was one of the teams it is written: %d, want %d", tt.later, len(got.Teams), tt.want)
		}
		if got := (Memory{}).With(kept, now); len(got.Teams) != tt.want {
			t.Errorf("%s after it was one of the teams it is remembered: %d, want %d", tt.later, len(got.Teams), tt.want)
		}
	}
	if got := in.Memory.With(Learnt{}, noon); len(got.Teams) != 0 || len(got.Pools[PoolID{"web", Ephemeral}].Starts.Last) != 0 {
		t.Errorf("with nothing in its place the memory has learnt %+v", got)
	}
}

func TestSame(t *testing.T) {
	in := aTeamThatHasLearnt(t)
	l := in.Memory.Learnt(noon, Learnt{})
	_, mem, _ := Decide(in)
	if !l.Same(in.Memory.Learnt(noon.Add(time.Hour), Learnt{})) {
		t.Error("an hour in which nothing was learnt is a change")
	}
	if l.Same(in.Memory.Learnt(noon.Add(24*time.Hour), Learnt{})) {
		t.Error("a day later the team is taken to be gone for as long")
	}
	if l.Same(mem.Learnt(noon, Learnt{})) || l.Same(Learnt{}) {
		t.Error("what a tick has learnt is no change")
	}
}

// zipped returns text as Encode writes it.
func zipped(text string) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return out.Bytes()
}

// TestDamagedLearnt: a team whose numbers cannot be true is left out, and another team is not.
func TestDamagedLearnt(t *testing.T) {
	in := aTeamThatHasLearnt(t)
	good := in.Memory.Learnt(noon, Learnt{})
	good.Teams["good"] = good.Teams["web"]
	text, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.TrimSuffix(strings.Repeat("1,", seriesKept+1), ",")
	for _, tt := range []struct{ name, from, to, says string }{
		{"nothing is wrong", `"made":7`, `"made":8`, ""},
		{"a negative count", `"made":7`, `"made":-7`, "made is -7"},
		{"a demand without levels", `"demand":0`, `"demand":3`, "demand is 3"},
		{"a used level that is unused", `"demand":0`, `"demand":1`, "level 1 is in use by demand: true"},
		{"an unused level without a time", `"since":"2026-11-23T11:56:00Z"`, `"since":"0001-01-01T00:00:00Z"`, "level 1 is in use by demand: false"},
		{"a time in the future", `"since":"2026-11-23T11:56:00Z"`, `"since":"2026-11-23T12:01:01Z"`, "since is of 2026-11-23T12:01:01Z, and now it is 2026-11-23T12:00:00Z"},
		{"a time long ago", `"since":"2026-11-23T11:56:00Z"`, `"since":"1999-11-23T12:01:01Z"`, "since is of 1999"},
		{"a negative gap", `"last":[300,`, `"last":[-300,`, "gaps is -300"},
		{"an endless gap", `"last":[300,`, `"last":[3e38,`, "gaps is 3.0000000054977558e+38"},
		{"too many gaps", `"last":[300,`, `"last":[` + long + `,`, "gaps is 73, and not from 0 to 64"},
		{"a ratio that is none", `"ratios":{"last":[0.2]}`, `"ratios":{"last":[99]}`, "ratios is 99"},
		{"a build that took no time", `"took":60000000000}]`, `"took":0}]`, "took is 0, and not from 1"},
		{"a build neither warm nor cold", `"warmth":"warm"`, `"warmth":"hot"`, `"hot" is no warmth`},
		{"a ledger that has overflown", `"paid":3600000000000`, `"paid":9223372036854775807`, "paid is 9.2"},
		{"another kind of agent", `"starts":{"ephemeral"`, `"starts":{"eternal"`, `"eternal" is no kind`},
		{"another phase", `"phase":"connect"`, `"phase":"sleep"`, `"sleep" is no phase`},
		{"a start-up that ends before it begins", `"took":60000000000,"phases"`, `"took":-1,"phases"`, "took is -1e-09"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := strings.LastIndex(string(text), `"web":`)
			damaged := string(text[:at]) + strings.Replace(string(text[at:]), tt.from, tt.to, 1)
			if damaged == string(text) {
				t.Fatalf("%s does not hold %s", text[at:], tt.from)
			}
			l, err := ReadLearnt(zipped(damaged), noon)
			if _, there := l.Teams["good"]; !there {
				t.Errorf("the other team is gone: %v", err)
			}
			_, there := l.Teams["web"]
			if tt.says == "" && (!there || err != nil) || tt.says != "" && (there || err == nil || !strings.Contains(err.Error(), `team "web": `+tt.says)) {
				t.Errorf("it is read: %t, saying %v; want %q", there, err, tt.says)
			}
		})
	}
}

// TestUnreadableLearnt: what cannot be read is nothing, with a reason.
func TestUnreadableLearnt(t *testing.T) {
	for name, tt := range map[string]struct {
		data []byte
		says string
	}{
		"no gzip":         {[]byte(`{"version":1}`), "gzip"},
		"nothing":         {nil, "EOF"},
		"cut":             {zipped(`{"version":1}`)[:20], "EOF"},
		"no JSON":         {zipped(`version 1`), "invalid character"},
		"a later version": {zipped(`{"version":2,"teams":[1,2,3]}`), "its version is 2, and this Bellboard reads version 1"},
		"no version":      {zipped(`{}`), "its version is 0"},
		"another shape":   {zipped(`{"version":1,"teams":[1,2,3]}`), "cannot unmarshal"},
		"no number":       {zipped(`{"version":1,"teams":{"web":{"gaps":{"last":[NaN]}}}}`), "invalid character"},
		"too large":       {zipped(strings.Repeat(" ", textMost+1)), "more than 33554432 bytes"},
	} {
		l, err := ReadLearnt(tt.data, noon)
		if len(l.Teams) > 0 || err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %+v, saying %v; want nothing and %q", name, l, err, tt.says)
		}
	}
}

// large returns what n teams have learnt in so many levels, with gaps that compress badly.
func large(n, levels int) Learnt {
	dice := rand.New(rand.NewPCG(1, 2))
	series := func() (s Series) {
		for range seriesKept {
			s.Last = append(s.Last, float32(dice.IntN(100_000)))
		}
		return s
	}
	out := Learnt{Version: learntVersion, Teams: map[string]LearntTeam{}}
	for i := range n {
		t := LearntTeam{At: noon, TeamMemory: TeamMemory{Gaps: series(), Gain: Gain{Took: series(), Ratios: Series{Last: make([]float32, seriesKept)}}, Demand: levels}, Starts: map[Kind][]LearntStart{}}
		for j := range t.Gain.Ratios.Last {
			t.Gain.Ratios.Last[j] = dice.Float32()
		}
		for range samplesKept {
			t.Gain.Waiting = append(t.Gain.Waiting, Sample{fmt.Sprintf("folder/of a team/job-%d", dice.IntN(1000)), Warm, noon.Add(-time.Duration(dice.IntN(86_400_000)) * time.Millisecond), time.Duration(dice.IntN(1_000_000)) * time.Millisecond})
		}
		for range levels {
			t.Levels = append(t.Levels, Level{Began: noon.Add(-time.Duration(dice.IntN(100_000)) * time.Second), Gaps: series(), Every: series()})
		}
		for _, k := range Kinds() {
			for range startsKept {
				s := LearntStart{Created: noon, Scheduled: noon, Took: time.Duration(dice.IntN(100_000)) * time.Millisecond}
				for _, p := range Phases() {
					s.Phases = append(s.Phases, PhaseTime{p, time.Duration(dice.IntN(100)) * time.Second})
				}
				t.Starts[k] = append(t.Starts[k], s)
			}
		}
		out.Teams[fmt.Sprintf("team-%d", i)] = t
	}
	return out
}

// TestSizeOfLearnt: what is written always fits. The lowest levels stay, which are used most.
func TestSizeOfLearnt(t *testing.T) {
	for _, tt := range []struct {
		teams, levels, most int
		least               int // levels that are left
	}{
		{1, 10, 20 << 10, 10},
		{1, 100, 50 << 10, 100},
		{1, 1024, 400 << 10, 1024},
		{50, 1024, 900 << 10, 16},
		{50, 20, 40 << 10, 0},
	} {
		l := large(tt.teams, tt.levels)
		began := time.Now()
		data, err := l.Encode(tt.most)
		if err != nil || len(data) > tt.most {
			t.Errorf("%d teams of %d levels: %d bytes, saying %v; want at most %d", tt.teams, tt.levels, len(data), err, tt.most)
			continue
		}
		wrote := time.Since(began)
		read, err := ReadLearnt(data, noon)
		if err != nil || len(read.Teams) != tt.teams {
			t.Errorf("%d of %d teams can be read: %v", len(read.Teams), tt.teams, err)
		}
		for name, team := range read.Teams {
			if n := len(team.Levels); n < tt.least || team.Demand != n || n > 0 && !cmp.Equal(team.Levels[n-1].Gaps.Last, l.Teams[name].Levels[n-1].Gaps.Last) {
				t.Errorf("%s of %d has %d levels and a demand for %d, want %d at least", name, tt.teams, n, team.Demand, tt.least)
			}
		}
		t.Logf("%d teams of %d levels: %d bytes in %s", tt.teams, tt.levels, len(data), wrote)
	}
	if _, err := large(50, 10).Encode(1000); err == nil {
		t.Error("50 teams fit into 1000 bytes")
	}
}

// FuzzLearnt: whatever is read, no decision fails, and what the decision leaves can be written and read.
func FuzzLearnt(f *testing.F) {
	in := aTeamThatHasLearnt(&testing.T{})
	text, err := json.Marshal(in.Memory.Learnt(noon, Learnt{}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(strings.ReplaceAll(string(text), "300", "1"))
	f.Add(`{"version":1,"teams":{"web":{"at":"2026-11-23T12:00:00Z","demand":1,"levels":[{}]}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = ReadLearnt([]byte(text), noon)
		l, _ := ReadLearnt(zipped(text), noon)
		in := newHouse(newTeam("web", ModeAuto, []string{"linux"}, func(t *Team) { t.Pools[0].IdleTimeout, t.Pools[1].IdleTimeout = 0, 0 }))
		in.wait(3, "linux", time.Minute)
		in.agent("web", Ephemeral, "a")
		in.agent("web", Persistent, "b")
		in.Memory = Memory{}.With(l, in.Now)
		for range 3 {
			plan, mem, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Fatal(err)
			}
			data, err := mem.Learnt(in.Now, l).Encode(plenty)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ReadLearnt(data, in.Now)
			if err != nil {
				t.Fatalf("what was learnt from %s cannot be read: %v", text, err)
			}
			if !maps.EqualFunc(again.Teams, mem.Learnt(in.Now, l).Teams, func(a, b LearntTeam) bool { return a.Made == b.Made }) {
				t.Fatalf("%+v was read", again)
			}
			for _, m := range mem.Teams {
				_ = m.Due(in.Now)
			}
			in.Memory, in.Now, in.Jenkins.Items = mem, in.Now.Add(time.Minute), nil
			in.Jenkins.AskedAt, in.Jenkins.AnsweredAt, in.Cluster.At = in.Now, in.Now, in.Now
		}
	})
}
