package scaler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// gains returns the memory with what is known of a cache.
func (m TeamMemory) gains(g Gain) TeamMemory { m.Gain = g; return m }

// pauses returns the memory of a team whose agents pause for those times between builds, by level.
func pauses(all ...time.Duration) TeamMemory {
	m := TeamMemory{WaitValue: 10}
	for _, p := range all {
		m.Levels = append(m.Levels, Level{
			Since: noon.Add(-p * 3 / 4), Began: noon.Add(-2 * p), Gaps: series(times(fewGaps, p.Seconds())...), Every: series(times(fewGaps, 2*p.Seconds())...),
		})
	}
	return m
}

const (
	often  = 5 * time.Minute
	rarely = 60 * 24 * time.Hour
)

var (
	nothing  = pairsOf(seriesKept, 30*time.Second, 1, 0)     // a cache saves nothing
	aborted  = pairsOf(seriesKept, 30*time.Second, 1, 0.2)   // the same, and one build in five is aborted
	much     = pairsOf(seriesKept, 2*time.Hour, 1.5, 0)      // a cache saves an hour
	doubtful = pairsOf(fewPairs/2, 30*time.Second, 1.02, 0)  // nobody knows
	chance   = pairsOf(20, 2*time.Hour, 0.92, 0)             // by chance, a cache seems to save nothing
	much20   = pairsOf(seriesKept, 2*time.Hour, 1.5, 0.2)    // an hour, and one build in five is aborted
	some     = pairsOf(seriesKept, 10*time.Minute, 1.2, 0.1) // two minutes
)

// TestKinds: in mode auto, an agent is persistent if its cache slot is worth its volume.
func TestKinds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		memory TeamMemory
		house  func(*Input)
		want   int // persistent agents of three
	}{
		{"slots pay for all", pauses(often, often, often), nil, 3},
		{"for one", pauses(often, rarely, rarely), nil, 1},
		{"for none", pauses(rarely, rarely, rarely), nil, 0},
		{"a cache saves nothing", pauses(often, often, often).gains(nothing), nil, 0},
		{"aborted builds do not change that", pauses(often, often, often).gains(aborted), nil, 0},
		{"a cache saves an hour", pauses(24*time.Hour, 24*time.Hour, rarely).gains(much), nil, 2},
		{"aborted builds do not change that, either", pauses(24*time.Hour, 24*time.Hour, rarely).gains(much20), nil, 2},
		{"two minutes are too little for a build a day", pauses(24*time.Hour, 24*time.Hour, rarely).gains(some), nil, 0},
		{"but not for one an hour", pauses(time.Hour, time.Hour, rarely).gains(some), nil, 2},
		{"nothing is known of a new team: caches are tried", TeamMemory{}, nil, 3},
		{"slots that are there are used", pauses(rarely, rarely, rarely), func(in *Input) { in.slot("web", "a", time.Minute); in.slot("web", "b", time.Minute) }, 2},
		{"but not slots that go", pauses(rarely, rarely, rarely), func(in *Input) { in.slot("web", "a", time.Minute, func(s *Slot) { s.Deleting = true }) }, 0},
		{"nor those of another store", pauses(rarely, rarely, rarely), func(in *Input) { in.slot("web", "a", time.Minute, func(s *Slot) { s.Store = "rootless" }) }, 0},
		{"MAX_PERSISTENT", pauses(often, often, often), func(in *Input) { in.Teams[0].MaxPersistent = 2 }, 2},
		{"MIN_AGENTS are persistent", pauses(rarely, rarely, rarely), func(in *Input) { in.Teams[0].MinAgents = 1 }, 1},
		{"CACHE_PRICE=0: any saving pays", pauses(rarely, rarely, rarely), func(in *Input) { in.Teams[0].CachePrice = 0 }, 3},
		{"a high CACHE_PRICE", pauses(often, often, often), func(in *Input) { in.Teams[0].CachePrice = 1000 }, 0},
		{"without slots, agents that would be kept are persistent", pauses(2*time.Minute, rarely, rarely), func(in *Input) { in.Teams[0].Pool(Persistent).Slots = false }, 1},
		{"without slots and without any gap, none", TeamMemory{}, func(in *Input) { in.Teams[0].Pool(Persistent).Slots = false }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(policy(both()))
			in.Memory.Teams = map[string]TeamMemory{"web": tt.memory}
			if tt.house != nil {
				tt.house(&in)
			}
			in.wait(3, "linux", time.Minute)
			plan, _ := decide(t, in)
			if up := plan.Decisions[0].Up; up[Persistent] != tt.want || up[Persistent]+up[Ephemeral] != 3 {
				t.Errorf("of three agents %v are made; want %d persistent: %s", up, tt.want, plan.Decisions[0].Text)
			}
		})
	}
}

// TestTry: one agent in many is of the other kind, so that pairs of builds are made. As long as ephemeral agents
// are made in doubt, it is one in ten.
func TestTry(t *testing.T) {
	for _, tt := range []struct {
		name       string
		memory     TeamMemory
		change     func(*Team)
		persistent int // of 2000 agents
	}{
		{"caches pay", pauses(often), nil, 1990},
		{"they do not, certainly", pauses(often).gains(nothing), nil, 10},
		{"they do not, by what little is known", pauses(rarely).gains(doubtful), nil, 200},
		{"no persistent agent may be", pauses(rarely).gains(doubtful), func(t *Team) { t.MaxPersistent = 0 }, 0},
		{"without slots there is nothing to learn", pauses(rarely), func(t *Team) { t.Pool(Persistent).Slots = false }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(policy(both()))
			if tt.change != nil {
				tt.change(&in.Teams[0])
			}
			in.wait(1, "linux", time.Minute)
			n, m := 0, tt.memory
			for range 2000 {
				in.Memory.Teams = map[string]TeamMemory{"web": m}
				plan, mem := decide(t, in)
				n += plan.Decisions[0].Up[Persistent]
				made := mem.Teams["web"].Made
				if made != m.Made+1 {
					t.Fatalf("after one more agent %d are counted, want %d", made, m.Made+1)
				}
				m.Made = made
			}
			if n != tt.persistent {
				t.Errorf("%d of 2000 agents are persistent, want %d", n, tt.persistent)
			}
		})
	}
	in := newHouse(policy(both()))
	in.Memory.Teams = map[string]TeamMemory{"web": {}}
	in.wait(1, "linux&&ephemeral", time.Minute)
	in.Teams[0].MaxAgents = 0
	if _, mem := decide(t, in); mem.Teams["web"].Made != 0 {
		t.Errorf("an agent that a limit forbids is counted")
	}
}

// TestSlotsByWorth: as many cache slots are kept as are worth their volumes. The longest unused go first.
func TestSlotsByWorth(t *testing.T) {
	three := func(in *Input) {
		in.slot("web", "old", 5*time.Hour)
		in.slot("web", "new", time.Hour)
		in.slot("web", "older", 6*time.Hour)
	}
	aside := func(random string) func(*Input) {
		return func(in *Input) {
			alter(&in.Memory.Slots, SlotKey{"ci", SlotName("web", random)}, func(m *SlotMemory) { m.Aside = noon.Add(time.Minute) })
		}
	}
	unused := func(m TeamMemory, k int, d time.Duration) TeamMemory {
		m.Levels = slices.Clone(m.Levels)
		m.Levels[k].Since = noon.Add(-d)
		return m
	}
	begun := func(ago time.Duration) func(*Input) { return func(in *Input) { in.Memory.Started = noon.Add(-ago) } }
	later := func(d time.Duration) func(*Input) { return func(in *Input) { in.Now = in.Now.Add(d) } }
	most := func(n int) func(*Input) { return func(in *Input) { in.Teams[0].MaxPersistent = n } }
	for _, tt := range []struct {
		name   string
		memory TeamMemory
		house  []func(*Input)
		gone   string
	}{
		{"all are worth it", pauses(often, often, often), nil, ""},
		{"two are", pauses(often, often, rarely), nil, "older"},
		{"one is", pauses(often, rarely, rarely), nil, "old older"},
		{"none is", pauses(rarely, rarely, rarely), nil, "new old older"},
		{"a cache saves nothing", pauses(often, often, often).gains(nothing), nil, "new old older"},
		{"a cache seems to save nothing: the first slot stays, to find out", pauses(often, often, often).gains(chance), nil, "old older"},
		{"a cache saves an hour", pauses(24*time.Hour, 24*time.Hour, 24*time.Hour).gains(much), nil, ""},
		{"nothing is known of a new team: kept as long as that may be worth it", TeamMemory{}, []func(*Input){begun(0)}, ""},
		{"that time is over", TeamMemory{}, []func(*Input){begun(24 * time.Hour)}, "new old older"},
		{"a slot that is put aside is kept, and not counted", pauses(often, rarely, rarely), []func(*Input){aside("old")}, "older"},
		{"even if no slot is worth its volume", pauses(rarely, rarely, rarely), []func(*Input){aside("old")}, "new older"},
		{"a slot with an agent is counted first", pauses(often, rarely, rarely), []func(*Input){func(in *Input) { in.agent("web", Persistent, "x", busy, on("older")) }}, "new old"},
		{"MAX_PERSISTENT", pauses(often, often, often), []func(*Input){most(1)}, "old older"},
		{"MAX_PERSISTENT of another time of day", pauses(often, often, often), []func(*Input){most(1), func(in *Input) { in.Teams[0].MostPersistent = 2 }}, "older"},
		{"more than that are never kept", pauses(often, often, rarely), []func(*Input){most(1), func(in *Input) { in.Teams[0].MostPersistent = 3 }}, "older"},
		{"a use that does not come", unused(pauses(often, often, often), 2, often), nil, "older"},
		{"it is weighed every ten minutes, not yet", unused(pauses(rarely, rarely, 12*time.Minute), 2, 11*time.Minute), []func(*Input){later(SlotsEvery - 1)}, "old older"},
		{"now it is", unused(pauses(rarely, rarely, 12*time.Minute), 2, 11*time.Minute), []func(*Input){later(SlotsEvery)}, "new old older"},
		{"the grace", pauses(rarely, rarely, rarely), []func(*Input){func(in *Input) { in.GraceUntil = noon.Add(time.Second) }}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(policy(pets()))
			in.Memory.Teams = map[string]TeamMemory{"web": tt.memory}
			three(&in)
			for _, f := range tt.house {
				f(&in)
			}
			plan, _ := decide(t, in)
			var gone []string
			for _, a := range plan.Actions {
				if a.Verb == DeleteSlot {
					gone = append(gone, strings.TrimPrefix(a.Slot.Name, "web-cache-"))
				}
			}
			slices.Sort(gone)
			if got := strings.Join(gone, " "); got != tt.gone {
				t.Errorf("%q go, want %q (%d are worth it)", got, tt.gone, plan.Decisions[0].Weighed.Slots)
			}
		})
	}
}

// TestLearnsThatACacheSavesNothing: a team whose builds gain nothing from a cache has persistent agents at first,
// and one-build agents after enough pairs. A team that gains keeps its caches.
func TestLearnsThatACacheSavesNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		times float64
		share float64 // of aborted builds
		want  map[int]bool
	}{
		{"nothing", 1, 0, map[int]bool{0: true, 40: false, 64: false}},
		{"nothing, with aborted builds", 1, 0.2, map[int]bool{0: true, 64: false}},
		{"much", 3, 0, map[int]bool{0: true, 1: true, 40: true, 64: true}},
		{"much, with aborted builds", 3, 0.2, map[int]bool{0: true, 40: true, 64: true}},
	} {
		for pairs, want := range tt.want {
			in := newHouse(policy(both()))
			in.Memory.Teams = map[string]TeamMemory{"web": pauses(time.Hour).gains(pairsOf(pairs, 30*time.Second, tt.times, tt.share))}
			in.wait(1, "linux", time.Minute)
			plan, _ := decide(t, in)
			if got := plan.Decisions[0].Level == 1; got != want {
				t.Errorf("a cache saves %s: after %d pairs the agent is persistent: %t, want %t (%+v)", tt.name, pairs, got, want, plan.Decisions[0].Weighed)
			}
		}
	}
}

// TestPolicyOfExecutors: levels are agents, and builds share them.
func TestPolicyOfExecutors(t *testing.T) {
	house := func(m TeamMemory, works ...int) func() Input {
		return func() Input {
			in := newHouse(policy(pets(func(t *Team) { t.Pools[0].Executors = 4 })))
			for i, n := range works {
				in.agent("web", Persistent, fmt.Sprint("x", i), func(p *Pair) { p.Node.Busy, p.Node.Idle = n, n == 0 })
			}
			in.idleFor(time.Minute)
			alter(&in.Memory.Pools, PoolID{"web", Persistent}, func(p *PoolMemory) { p.Roomy = noon.Add(-RoomAfter) })
			in.Memory.Teams = map[string]TeamMemory{"web": m}
			return in
		}
	}
	const emptied, goes, ahead = "mark web persistent room", "mark web persistent idle", "create web persistent forecast"
	tell(t, []story{
		{name: "two agents with three builds: one would do, and the other pays", house: house(learnt(2, 1, time.Minute), 2, 1)},
		{name: "it does not pay", house: house(learnt(2, 1, 3*time.Minute), 2, 1), want: map[string]int{emptied: 1}},
		{name: "five builds need both", house: house(learnt(2, 2, 3*time.Minute), 3, 2)},
		{name: "a free agent pays", house: house(learnt(2, 1, time.Minute), 4, 0)},
		{name: "a free agent does not pay", house: house(learnt(2, 1, 3*time.Minute), 4, 0), want: map[string]int{goes: 1}},
		{name: "an agent is started ahead beside one whose executors are all in use", house: house(regular(learnt(2, 1, time.Minute)), 4), want: map[string]int{ahead: 1}},
		{name: "not beside a free one", house: house(regular(learnt(2, 1, time.Minute)), 4, 0)},
	})
}
