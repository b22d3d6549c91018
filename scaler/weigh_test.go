package scaler

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// every returns a come function: a build in every so many seconds.
func every(period int) func(int) int { return func(second int) int { return yes(second%period == 0) } }

// varied returns start-ups of 20 to 60 s.
func varied(n int) time.Duration { return secs(20 + n*7%41) }

// policy returns a team without IDLE_TIMEOUT, on which the policy decides.
func policy(t Team, change ...func(*Team)) Team {
	for i := range t.Pools {
		t.Pools[i].IdleTimeout = 0
	}
	t.ScaleDownCooldown = 0
	for _, f := range change {
		f(&t)
	}
	return t
}

// TestStartsAheadOfAPeriod: builds that come at regular times find an agent: each finds its own, and not more.
func TestStartsAheadOfAPeriod(t *testing.T) {
	constant := func(int) time.Duration { return 40 * time.Second }
	for _, tt := range []struct {
		name  string
		mode  Mode
		hook  bool
		start func(int) time.Duration
	}{
		{"ephemeral", ModeEphemeral, false, varied},
		{"ephemeral with the hook", ModeEphemeral, true, varied},
		{"ephemeral, all starts equally long", ModeEphemeral, false, constant},
		{"persistent", ModePersistent, false, varied},
		{"persistent, all starts equally long", ModePersistent, false, constant},
		{"auto", ModeAuto, false, varied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, newTeam("web", tt.mode, []string{"linux"}))
			y.start, y.Jenkins.Hook = tt.start, tt.hook
			y.watch = func(y *yard, plan Plan) {
				if n := plan.Decisions[0].Alive; n > 1 {
					t.Errorf("after %s there are %d agents, want one at a time", y.Now.Sub(noon), n)
				}
			}
			y.run(1600, every(300))
			for hour := range 14 { // longer than the ledger lets anything go on that saves nothing
				made, builds, waited, free := y.made[ReasonForecast], y.builds, y.waited, y.free
				y.run(3600, every(300))
				if n := y.made[ReasonForecast] - made; n != 12 || y.builds-builds != 12 {
					t.Errorf("in hour %d it starts %d agents ahead of %d builds, want 12 of 12", hour, n, y.builds-builds)
				}
				if w, f := y.waited-waited, y.free-free; w > 100*time.Second || f > 25*time.Minute {
					t.Errorf("in hour %d builds wait %s, and agents are free for %s; want at most 100s and 25m", hour, w, f)
				}
			}
			if n := y.made[ReasonDemand]; n > 5 {
				t.Errorf("%d agents are made for builds that wait, want at most the first five", n)
			}
		})
	}
}

// TestAheadWithIdleTimeout: IDLE_TIMEOUT does not end an agent that was started ahead, and whose time is not
// over: another would be started in its place.
func TestAheadWithIdleTimeout(t *testing.T) {
	y := newYard(t, newTeam("web", ModePersistent, []string{"linux"}))
	y.Teams[0].Pools[0].IdleTimeout = 10 * time.Second
	y.run(1500, every(300))
	made, builds := y.made[ReasonForecast], y.builds
	y.run(1800, func(second int) int { return yes(second%300 == 30) }) // each build comes 30 s late
	if n := y.made[ReasonForecast] - made; n > y.builds-builds {
		t.Errorf("%d agents are started ahead of %d builds, want one for each", n, y.builds-builds)
	}
}

// learnt returns the memory of a team whose first n agents pause for two minutes between builds. Since unused
// for the given time, the demand is busy.
func learnt(n, busy int, unused time.Duration) TeamMemory {
	out := TeamMemory{Demand: busy, WaitValue: 10}
	for k := range n {
		l := Level{Began: noon.Add(-time.Hour), Gaps: series(times(fewGaps, 120)...), Every: series(100, 200, 400, 800, 1600, 3200, 6400, 12800)}
		if k >= busy {
			l.Since = noon.Add(-unused)
		}
		out.Levels = append(out.Levels, l)
	}
	return out
}

// regular makes a memory expect the next build of each unused level now.
func regular(m TeamMemory) TeamMemory {
	for k := m.Demand; k < len(m.Levels); k++ {
		l := &m.Levels[k]
		l.Began = noon.Add(-secs(300 - 60))
		l.Gaps, l.Every = series(times(fewGaps, 240)...), series(times(fewGaps, 300)...)
		l.Ahead = startsAhead(l.Every, leadGuess, 10)
	}
	return m
}

// TestFree: a free agent is kept while that pays. Whatever else limits a scale-down still does.
func TestFree(t *testing.T) {
	three := func(m TeamMemory, change ...func(*Team)) func() Input {
		return func() Input {
			in := newHouse(policy(pets(change...)))
			in.agents(3, "web", Persistent, "f")
			in.idleFor(time.Minute)
			in.Memory.Teams = map[string]TeamMemory{"web": m}
			return in
		}
	}
	with := func(house func() Input, change func(*Input)) func() Input {
		return func() Input { in := house(); change(&in); return in }
	}
	const goes = "mark web persistent idle"
	broke := learnt(3, 0, time.Minute)
	broke.Ledger.Balance = -100 * time.Hour
	two := learnt(3, 0, time.Minute)
	two.Levels[2].Since = noon.Add(-200 * time.Second)
	foreseen := learnt(3, 0, time.Minute)
	foreseen.Levels[0].Ahead = []float32{float32((2 * time.Hour).Seconds())}
	young := TeamMemory{WaitValue: 10, Levels: []Level{{Since: noon.Add(-secs(439))}, {Since: noon.Add(-secs(440))}, {Since: noon.Add(-secs(441))}}}
	tell(t, []story{
		{name: "each pays", house: three(learnt(3, 0, time.Minute)), reason: map[string]string{
			"web": "steady: no build waits; keeps up to 3 free agents: builds usually come soon, and a start takes 40s",
		}},
		{name: "none pays: all gaps were shorter", house: three(learnt(3, 0, 3*time.Minute)), want: map[string]int{goes: 3}},
		{name: "the third does not pay", house: three(two), want: map[string]int{goes: 1}},
		{name: "the ledger is closed", house: three(broke), want: map[string]int{goes: 3}},
		{name: "little is known: kept as long as a start is worth", house: three(young), want: map[string]int{goes: 2}},
		{name: "another is started in time: not worth the wait", house: three(foreseen), want: map[string]int{goes: 1}},
		{name: "no gap is known to a team without a memory", house: with(three(TeamMemory{}), func(in *Input) { in.Memory.Started = noon.Add(-time.Minute) })},
		{name: "a moment is not enough", house: with(three(learnt(3, 0, 3*time.Minute)), func(in *Input) { in.idleFor(FreeAtLeast - 1) })},
		{name: "the moment is over", house: with(three(learnt(3, 0, 3*time.Minute)), func(in *Input) { in.idleFor(FreeAtLeast) }), want: map[string]int{goes: 3}},
		{
			name: "MIN_AGENTS", house: three(learnt(3, 0, 3*time.Minute), func(t *Team) { t.MinAgents = 2 }), want: map[string]int{goes: 1},
			steps: []string{"web min-agents 3→1"},
		},
		{
			name: "MIN_IDLE", house: three(learnt(3, 0, 3*time.Minute), func(t *Team) { t.MinIdle = 1 }), want: map[string]int{goes: 2},
			steps: []string{"web min-idle 3→2"},
		},
		{
			name: "SCALE_DOWN_COOLDOWN",
			house: with(three(learnt(3, 0, 3*time.Minute)), func(in *Input) {
				in.Teams[0].ScaleDownCooldown = time.Minute
				alter(&in.Memory.Pools, PoolID{"web", Persistent}, func(p *PoolMemory) { p.Down = noon.Add(-20 * time.Second) })
			}),
			steps: []string{"web scale-down-cooldown 3→0 40s left"},
		},
		{name: "the grace", house: with(three(learnt(3, 0, 3*time.Minute)), func(in *Input) { in.GraceUntil = noon.Add(time.Second) })},
		{name: "Jenkins is about to restart", house: with(three(learnt(3, 0, 3*time.Minute)), func(in *Input) { in.Jenkins.QuietingDown = true })},
		{
			name:  "a build that waits takes one, and the next level is asked",
			house: with(three(two), func(in *Input) { in.wait(1, "linux", time.Second) }), want: map[string]int{goes: 1},
		},
		{
			name: "builds of another team wait for its place: agents that are free for 30 s go",
			house: with(three(learnt(3, 0, time.Minute)), func(in *Input) {
				in.Teams = append(in.Teams, newTeam("other", ModeEphemeral, []string{"gpu"}))
				in.MaxAgents = 3
				in.wait(2, "gpu", time.Minute)
			}),
			want: map[string]int{goes: 2, "register other ephemeral berths": 2}, steps: []string{"other global-max-agents 2→0"},
		},
		{
			name: "not yet free for 30 s",
			house: with(three(learnt(3, 0, time.Minute)), func(in *Input) {
				in.Teams = append(in.Teams, newTeam("other", ModeEphemeral, []string{"gpu"}))
				in.MaxAgents = 3
				in.wait(2, "gpu", time.Minute)
				in.idleFor(RoomAfter - 1)
			}),
			want: map[string]int{"register other ephemeral berths": 2}, steps: []string{"other global-max-agents 2→0"},
		},
	})
}

// TestAhead: agents are started ahead unless something forbids it.
func TestAhead(t *testing.T) {
	house := func(team Team, m TeamMemory, change ...func(*Input)) func() Input {
		return func() Input {
			in := newHouse(team)
			in.Memory.Teams = map[string]TeamMemory{"web": m}
			for _, f := range change {
				f(&in)
			}
			return in
		}
	}
	one, two := regular(learnt(1, 0, time.Minute)), regular(learnt(2, 0, time.Minute))
	beside := regular(learnt(2, 1, time.Minute))
	over := regular(learnt(1, 0, time.Minute))
	over.Levels[0].Began = over.Levels[0].Began.Add(-reach(leadGuess))
	early := regular(learnt(1, 0, time.Minute))
	early.Levels[0].Began = early.Levels[0].Began.Add(time.Second)
	broke := regular(learnt(1, 0, time.Minute))
	broke.Ledger.Balance = -100 * time.Hour
	const p, e = "create web persistent forecast", "create web ephemeral forecast"
	berth := func(want map[string]int, n int) map[string]int {
		want["register web ephemeral berths"] = n
		return want
	}
	tell(t, []story{
		{name: "one", house: house(policy(pets()), one), want: map[string]int{p: 1}, reason: map[string]string{"web": "forecast: 1 build expected within 4m"}},
		{name: "two", house: house(policy(pets()), two), want: map[string]int{p: 2}, reason: map[string]string{"web": "forecast: 2 builds expected within 4m"}},
		{name: "ephemeral", house: house(policy(web()), one), want: berth(map[string]int{e: 1}, 1)},
		{name: "too early", house: house(policy(pets()), early)},
		{name: "too late", house: house(policy(pets()), over)},
		{name: "the ledger is closed", house: house(policy(pets()), broke)},
		{name: "an agent is free", house: house(policy(pets()), one, func(in *Input) { in.agent("web", Persistent, "f"); in.idleFor(time.Minute) }), reason: map[string]string{
			"web": "steady: no build waits; keeps up to 1 free agent: builds are expected about now",
		}},
		{name: "an agent is on its way", house: house(policy(pets()), one, func(in *Input) { in.agent("web", Persistent, "c", coming) })},
		{name: "beside a busy agent", house: house(policy(pets()), beside, func(in *Input) { in.agent("web", Persistent, "b", busy) }), want: map[string]int{p: 1}},
		{
			name:  "a build waits for the free agent: one more",
			house: house(policy(pets()), two, func(in *Input) { in.agent("web", Persistent, "f"); in.wait(1, "linux", time.Second) }), want: map[string]int{p: 1},
		},
		{name: "MIN_IDLE serves", house: house(policy(pets(func(t *Team) { t.MinIdle = 1 })), one), want: map[string]int{"create web persistent spare": 1}},
		{name: "PAUSED", house: house(policy(pets(func(t *Team) { t.Paused = true })), one), reason: map[string]string{"web": "paused: paused"}},
		{name: "Jenkins is about to restart", house: house(policy(pets()), one, func(in *Input) { in.Jenkins.QuietingDown = true }), steps: []string{"web quiet-down 1→0"}},
		{
			name: "the pool backs off",
			house: house(policy(pets()), one, func(in *Input) {
				in.backsOff(PoolID{"web", Persistent}, Backoff{Until: noon.Add(time.Minute), Failure: FailureQuota})
			}),
			steps: []string{"web back-off 1→0 1m left"},
		},
		{
			name:  "MAX_AGENTS",
			house: house(policy(pets(func(t *Team) { t.MaxAgents, t.MaxPersistent = 1, 1 })), two), want: map[string]int{p: 1}, steps: []string{"web max-persistent 2→1"},
		},
		{
			name: "at BELLBOARD_MAX_AGENTS, builds that wait come first",
			house: house(policy(pets()), two, func(in *Input) {
				in.Teams = append(in.Teams, newTeam("other", ModePersistent, []string{"gpu"}))
				in.MaxAgents = 2
				in.wait(1, "gpu", time.Minute)
			}),
			want: map[string]int{"create other persistent demand": 1, "register other persistent berths": 2}, steps: []string{"web global-max-agents 2→0"},
		},
		{
			name:  "beyond MAX_PERSISTENT, mode auto starts ephemeral agents",
			house: house(policy(both(func(t *Team) { t.MaxPersistent = 1 })), two), want: berth(map[string]int{p: 1, e: 1}, 1),
		},
	})
}

// TestAheadIsSpare: no build waits for an agent that is started ahead, so anybody may evict its pod.
func TestAheadIsSpare(t *testing.T) {
	in := newHouse(policy(pets()))
	in.Memory.Teams = map[string]TeamMemory{"web": regular(learnt(2, 0, time.Minute))}
	in.wait(1, "linux", time.Second)
	plan, _ := decide(t, in)
	spare := map[Reason]string{}
	for _, a := range plan.Actions {
		spare[a.Reason] += fmt.Sprint(a.Spare)
	}
	if want := map[Reason]string{ReasonDemand: "false", ReasonForecast: "true"}; cmp.Diff(want, spare) != "" {
		t.Errorf("the creations are spare: %v, want %v", spare, want)
	}
}

// TestAheadBeyondMaxPersistent: where MAX_PERSISTENT leaves no room, ephemeral agents are started ahead for as many
// executors as are missing, and not for more.
func TestAheadBeyondMaxPersistent(t *testing.T) {
	for _, tt := range []struct{ due, free, most, persistent, ephemeral int }{
		{due: 1, most: 0, ephemeral: 2},
		{due: 1, free: 1, most: 0, ephemeral: 1},
		{due: 1, free: 2, most: 0},
		{due: 2, most: 1, persistent: 1, ephemeral: 2},
		{due: 2, free: 1, most: 1, persistent: 1, ephemeral: 1},
		{due: 1, free: 1, most: 1, persistent: 1},
	} {
		team := Team{Mode: ModeAuto, MaxPersistent: tt.most, Pools: []Pool{{PoolID: PoolID{Kind: Ephemeral}}, {PoolID: PoolID{Kind: Persistent}, Executors: 2}}}
		a := ask{t: &team, up: newCreations(), due: map[Kind]int{Persistent: tt.due}, pause: map[Kind]Pause{Persistent: {May: 9}}}
		a.aheadOfBuilds(tt.free)
		if a.ups(Persistent) != tt.persistent || a.ups(Ephemeral) != tt.ephemeral {
			t.Errorf("%+v: started %d persistent and %d ephemeral ones", tt, a.ups(Persistent), a.ups(Ephemeral))
		}
	}
}
