package house

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"

	"bellboard/cmd/internal/app"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
	"bellboard/scaler/control/sabotage"
)

// defaultSeeds is the number of days without -house.seeds.
var defaultSeeds = 6

// racing says that the race detector is on.
var racing bool

// unraced skips a test that takes minutes under the race detector, and has no race to find.
func unraced(t *testing.T) {
	t.Helper()
	if racing {
		t.Skip("takes minutes under the race detector, and shows what is decided: go test ./cmd/internal/house plays it")
	}
}

// classStride says which classes of failure have their own day: every fourth class, every class at full
// length. Days of chaos and the day of the demo have all classes.
var classStride = 4

var (
	seeds = flag.Int("house.seeds", 0, "how many seeds the days of chaos are played with (6; 3 under the race detector)")
	hours = flag.Float64("house.hours", 1, "how many simulated hours a day of chaos has; with 2 or more all else is played at full length, too")
	tell  = flag.Bool("house.tell", false, "print the log and the chaos of every day")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *seeds == 0 {
		*seeds = defaultSeeds
	}
	debug.SetGCPercent(1600) // days make little that lasts, and the collector took a fifth of the time
	full = *hours >= 2 && !racing
	if full {
		restartStride, classStride = 1, 1
	}
	os.Exit(m.Run())
}

// full says that every test runs at its full length, as with -house.hours=2. Plain go test runs fewer and
// shorter days, and ends in a minute or two on a laptop.
var full bool

// atLength returns d in a run at full length, and otherwise a third of d.
func atLength(d time.Duration) time.Duration {
	if full {
		return d
	}
	return d / 3
}

// startedAhead counts the agents that were started ahead of their builds in all days.
var startedAhead atomic.Int64

// day runs one day in virtual time, without a network.
func day(t *testing.T, cfg Config, length time.Duration) (s Summary, broken []string, ended error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Clock = clock.Real() // the bubble's
		if *tell {
			began := time.Now()
			enc := zap.NewDevelopmentEncoderConfig()
			enc.EncodeTime = func(at time.Time, a zapcore.PrimitiveArrayEncoder) { a.AppendString(at.Sub(began).String()) }
			cfg.Log = zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(enc), zapcore.AddSync(os.Stderr), zapcore.DebugLevel))
			cfg.Say = func(what string) { cfg.Log.Info("CHAOS " + what) }
		}
		j := &judge{}
		cfg.Record = j.tick
		h, err := New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		j.house = h
		s, ended = h.Run(t.Context(), context.Background(), length)
		renewed, faults := j.verdict()
		if t.Logf("agents marked: %v", renewed); len(cfg.Noon) > 0 && length >= time.Hour && renewed[scaler.ReasonRenew] == 0 {
			t.Error("no agent was renewed all day")
		}
		startedAhead.Add(int64(renewed[scaler.ReasonForecast]))
		broken = append(h.Broken(), faults...)
	})
	return s, broken, ended
}

// TestQuietDay checks that no build is lost while nothing breaks.
func TestQuietDay(t *testing.T) {
	t.Parallel()
	s, broken, err := day(t, Config{Seed: 1}, 40*time.Minute)
	t.Logf("%+v", s)
	if err != nil {
		t.Errorf("the day did not end: %v", err)
	}
	if s.BuildsKilled != 0 || s.BuildsLost != 0 || s.OrphansLeft != 0 || len(broken) > 0 {
		t.Errorf("killed %d, lost %d, left %v, broken plans %v; want none", s.BuildsKilled, s.BuildsLost, s.Left, broken)
	}
	if s.BuildsFinished < 100 || s.AgentsCreated["ephemeral"] == 0 || s.AgentsCreated["persistent"] == 0 {
		t.Errorf("%d builds finished on %v agents; want over 100, on both kinds", s.BuildsFinished, s.AgentsCreated)
	}
	// A slot is made only while all others are in use.
	if s.SlotsShared != 0 || s.SlotsKept == 0 || s.CacheStarts["cold"] > s.SlotsKept || s.CacheStarts["warm"] == 0 {
		t.Errorf("agents began %v, %d on a slot that another had; %d slots are kept; want none shared, and some warm", s.CacheStarts, s.SlotsShared, s.SlotsKept)
	}
}

// regular has builds that come at regular times.
var regular = Load{
	Team: "mobile", Labels: []string{"android", "android && persistent"}, Period: 3 * time.Minute, Median: 30 * time.Second, Pipelines: 0.6, Burst: 2, Regular: true,
}

// TestRegularDay checks that agents are started ahead of builds at regular times, and that no build is lost.
func TestRegularDay(t *testing.T) {
	before := startedAhead.Load() // no other day is played meanwhile
	s, broken, err := day(t, Config{Seed: 2, Environ: append(DefaultEnviron(), "BELLBOARD_TEAM_MOBILE_MIN_IDLE=0"), Loads: []Load{regular}}, 45*time.Minute)
	t.Logf("%+v", s)
	if err != nil {
		t.Errorf("the day did not end: %v", err)
	}
	if s.BuildsKilled != 0 || s.BuildsLost != 0 || s.OrphansLeft != 0 || len(broken) > 0 {
		t.Errorf("killed %d, lost %d, left %v, broken plans %v; want none", s.BuildsKilled, s.BuildsLost, s.Left, broken)
	}
	if n := startedAhead.Load() - before; n < 5 || n > int64(s.BuildsFinished) {
		t.Errorf("%d agents are started ahead of %d builds, want at least 5, and no more than builds", n, s.BuildsFinished)
	}
}

// TestDaysOfChaos checks the promises while Jenkins and Bellboard restart, agents are frozen, others delete
// pods and Jenkins nodes, people mark agents, and agents fail in every way.
func TestDaysOfChaos(t *testing.T) {
	var mu sync.Mutex
	troubles, told := map[Trouble]int{}, map[scaler.Failure]int{}
	t.Run("seed", func(t *testing.T) {
		for seed := range *seeds {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				s := dayOfChaos(t, seed)
				mu.Lock()
				defer mu.Unlock()
				for what, n := range s.Troubles {
					troubles[what] += n
				}
				for f, n := range s.Failed {
					told[f] += min(n, s.Thrown[f])
				}
			})
		}
	})
	t.Logf("%v, failures %v", troubles, told)
	if *seeds < 6 || *hours < 1 {
		return
	}
	for _, what := range Troubles() {
		if troubles[what] == 0 {
			t.Errorf("never in %d days: %s", *seeds, what)
		}
	}
	for _, f := range scaler.Failures() {
		if told[f] == 0 {
			t.Errorf("never thrown and told in %d days: %s", *seeds, f)
		}
	}
}

func dayOfChaos(t *testing.T, seed int) Summary {
	// A short day has no fewer troubles than a long one.
	// Every other day Jenkins has the one-build hook.
	// On every third storage does not see to it that a volume has one pod.
	// On every fifth Jenkins is one that keeps one cause of a mark and of a lost connection,
	// and on another one that escapes a mark's text twice.
	cfg := Config{Seed: int64(seed), Chaos: true, Gap: min(10*time.Minute, time.Duration(*hours*float64(5*time.Minute))), Hook: seed%2 == 1, LaxClaims: seed%3 == 1}
	switch seed % 5 {
	case 2:
		cfg.Version = oldJenkins
	case 4:
		cfg.Version = "2.555.1"
	}
	if seed%4 < 2 { // agents grow old, and in the middle of the day all get another image
		cfg.Environ = append(DefaultEnviron(),
			fmt.Sprintf("BELLBOARD_TEAM_DATA_EXECUTORS=%d", 2+seed%2),
			fmt.Sprintf("BELLBOARD_TEAM_DATA_MAX_LIFETIME=%dm", 10+seed*17%51),
			fmt.Sprintf("BELLBOARD_TEAM_MOBILE_EXECUTORS=%d", 1+seed/4%3))
		cfg.Noon = []string{"BELLBOARD_DEFAULT_IMAGE=agent:2"}
	}
	if seed%3 == 2 { // windows come and go, also while Bellboard is away
		if cfg.Environ == nil {
			cfg.Environ = DefaultEnviron()
		}
		cfg.Environ = append(cfg.Environ,
			"BELLBOARD_TEAM_WEB_SCHEDULE=5/20 * * * * for 4m: PAUSED=true; */15 * * * * for 3m: MAX_AGENTS=3",
			"BELLBOARD_TEAM_DATA_SCHEDULE=10/20 * * * * for 5m: MAX_AGENTS=5; 3/20 * * * * for 4m: PAUSED=true, MIN_AGENTS=0",
			"BELLBOARD_TEAM_MOBILE_SCHEDULE=7/20 * * * * for 6m: MAX_PERSISTENT=1, MIN_IDLE=3")
	}
	if seed%3 == 0 { // the policy alone says which agents are free, and starts some ahead of builds at regular times
		if cfg.Environ == nil {
			cfg.Environ = DefaultEnviron()
		}
		cfg.Environ = append(cfg.Environ, "BELLBOARD_TEAM_DATA_PERSISTENT_IDLE_TIMEOUT=0s", "BELLBOARD_TEAM_MOBILE_MIN_IDLE=0")
		cfg.Loads = DefaultLoads()
		cfg.Loads[2] = regular
	}
	s, broken, err := day(t, cfg, time.Duration(*hours*float64(time.Hour)))
	t.Logf("%+v", s)
	if err != nil {
		t.Errorf("the day did not end: %v", err)
	}
	for _, b := range s.Killed {
		t.Errorf("killed: %+v", b)
	}
	for _, f := range scaler.Failures() {
		if (s.Thrown[f] == 0 || s.Failed[f] == 0) && *hours >= 2 {
			t.Errorf("%s was thrown %d times and told %d times all day; want some of each", f, s.Thrown[f], s.Failed[f])
		}
	}
	if s.OrphansLeft != 0 {
		t.Errorf("left behind: %v", s.Left)
	}
	if s.SlotsShared != 0 || s.CacheStarts["warm"] == 0 {
		t.Errorf("%d daemons began on a slot that another had; agents began %v; want none, and some warm", s.SlotsShared, s.CacheStarts)
	}
	for _, b := range broken {
		t.Errorf("a plan broke a promise: %s", b)
	}
	if s.BuildsFinished < 100 || s.AgentsCreated["ephemeral"] == 0 || s.AgentsCreated["persistent"] == 0 {
		t.Errorf("%d builds finished on %v agents; want over 100, on both kinds", s.BuildsFinished, s.AgentsCreated)
	}
	return s
}

// TestSafeguardsMatter takes one safeguard out at a time: the same days must
// then kill builds, or the zeros above would say nothing. What marks and removes on the same
// answers meets a build too seldom: that is in TestBuildsThatComeInBetween alone.
func TestSafeguardsMatter(t *testing.T) {
	if unraced(t); !full {
		t.Skip("plays many days; TestRestartsMatter and TestBuildsThatComeInBetween show the same of single builds")
	}
	unsafe := map[string]func(*control.Config){
		"a pinned item does not protect its node": sabotage.Pins,
		"no restart grace":                        sabotage.Grace,
		"no write deadline":                       sabotage.Deadline,
	}
	for name, take := range unsafe {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// As many days as it may take: the first build that dies is enough.
			const days = 60
			for seed := range days {
				// A quicker poll and denser chaos find the narrow windows sooner.
				cfg := Config{
					Seed: int64(seed), Chaos: true, Gap: 150 * time.Second, Hook: seed%2 == 1,
					Environ: append(DefaultEnviron(), "BELLBOARD_POLL_INTERVAL=300ms"), Change: take,
				}
				if dead := firstKilled(t, cfg); dead != nil {
					t.Logf("seed %d: killed: %+v", seed, dead)
					return
				}
			}
			t.Errorf("no build was killed in %d days without this safeguard", days)
		})
	}
}

// TestBuildsThatComeInBetween: a build takes an agent after Jenkins' answers and before what
// Bellboard does about them. It lives, for a marked agent is removed on later answers, and
// on none that are old. Without either safeguard it dies.
func TestBuildsThatComeInBetween(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		late   bool // they come to marked agents, which a person has taken back
		unsafe func(*control.Config)
		kills  bool
	}{
		{"to agents that are marked next", false, nil, false},
		{"mark and remove on the same answers", false, sabotage.LaterAnswers, true},
		{"to agents that are removed next", true, nil, false},
		{"no write deadline", true, sabotage.Deadline, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, err := New(t.Context(), Config{Clock: clock.Real(), Environ: []string{
					"BELLBOARD_TEAMS=data", "BELLBOARD_TEAM_DATA_LABELS=docker", "BELLBOARD_TEAM_DATA_MODE=persistent",
					"BELLBOARD_TEAM_DATA_IDLE_TIMEOUT=2s", "BELLBOARD_TEAM_DATA_WAIT_VALUE=0", // builds at regular times would keep their agents
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				between := &inBetween{rng: rand.New(rand.NewPCG(1, 0x6265747765656e)), house: h, late: tt.late}
				d, err := h.make(func(p *app.Parts) {
					p.Change = func(c *control.Config) {
						between.Jenkins = c.Jenkins
						c.Jenkins = between
						if tt.unsafe != nil {
							tt.unsafe(c)
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				h.run(t.Context(), d)
				for range 30 {
					h.Jenkins.Submit(jenkinssim.Job{Name: "data", Label: "docker", Duration: 10 * time.Second})
					time.Sleep(30 * time.Second)
				}
				d.kill()
				if n := h.Jenkins.Stats().Killed; (n > 0) != tt.kills || between.crossed.Load() < 5 {
					t.Errorf("%d builds were killed, and %d came in between; want killed ones: %v, and five that came", n, between.crossed.Load(), tt.kills)
				}
			})
		})
	}
}

// inBetween is Jenkins where a build comes, now and then, to each agent that the answers
// show as free, or as marked, and has begun when they are read.
type inBetween struct {
	control.Jenkins
	house   *House
	late    bool
	rng     *rand.Rand
	crossed atomic.Int32 // marks, or removals, that a build has crossed
}

func (b *inBetween) Observe(ctx context.Context) (scaler.JenkinsView, error) {
	v, err := b.Jenkins.Observe(ctx)
	switch {
	case err != nil:
	case !b.late:
		for i := range v.Nodes {
			if n := &v.Nodes[i]; n.Online && n.Idle && n.OfflineBy == scaler.NotMarked && b.rng.IntN(4) == 0 {
				b.house.Jenkins.Submit(jenkinssim.Job{Name: "between", Label: "docker", Duration: 10 * time.Second})
				time.Sleep(100 * time.Millisecond)
			}
		}
	case b.rng.IntN(2) == 0 && b.house.takeBack(10*time.Second):
		b.crossed.Add(1)
		time.Sleep(3 * time.Second)
	}
	return v, err
}

func (b *inBetween) Mark(ctx context.Context, name, reason string, by time.Time) error {
	err := b.Jenkins.Mark(ctx, name, reason, by)
	for _, n := range b.house.Jenkins.NodesList() {
		if n.Name == name && err == nil && n.Busy > 0 {
			b.crossed.Add(1)
		}
	}
	return err
}

// firstKilled plays 40 minutes of a day, or until Bellboard ends a build; nil: it ended none.
func firstKilled(t *testing.T, cfg Config) (dead *jenkinssim.Build) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithTimeout(t.Context(), 40*time.Minute)
		defer end()
		var h *House
		cfg.Clock = clock.Real()
		cfg.Record = func(scaler.Tick) {
			if h.Jenkins.Stats().Killed > 0 {
				end()
			}
		}
		h, err := New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		s, _ := h.Run(ctx, ctx, time.Hour) // it does not end by itself
		if len(s.Killed) > 0 {
			dead = &s.Killed[0]
		}
	})
	return dead
}

// TestOneBuild: an ephemeral agent gets one build. The hook in Jenkins sees to
// it even where Bellboard may not mark; without the hook Bellboard marks at first
// sight; where neither can be, the builds that come second are counted.
func TestOneBuild(t *testing.T) {
	for _, tt := range []struct {
		name              string
		hook              bool
		denied            []string
		agents, marks     int // agents used, and how many of them Bellboard marked
		second, countedAs int // second builds, as Jenkins and as Bellboard count them
	}{
		{name: "hook", hook: true, agents: 4},
		{name: "hook alone", hook: true, denied: []string{"hudson.model.Computer.Disconnect"}, agents: 4},
		{name: "marked at first sight", agents: 4, marks: 4},
		{name: "neither", denied: []string{"hudson.model.Computer.Disconnect"}, agents: 1, second: 3, countedAs: 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				marked, counted := map[string]time.Time{}, 0
				h, err := New(t.Context(), Config{
					Clock: clock.Real(), Hook: tt.hook, Loads: []Load{},
					Environ: []string{"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral"},
					Record: func(tick scaler.Tick) {
						for _, o := range tick.Outcomes {
							if o.Action.Reason == scaler.ReasonOneBuild && o.Result == scaler.Done {
								marked[o.Action.Agent] = tick.At
							}
						}
						for _, n := range tick.Facts.SecondBuilds {
							counted += n
						}
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				h.Jenkins.Deny(tt.denied...)
				if err := h.start(t.Context()); err != nil {
					t.Fatal(err)
				}
				for range 4 {
					h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: 12 * time.Second})
					time.Sleep(40 * time.Second)
				}
				h.daemon.kill()
				nodes := map[string]bool{}
				for _, b := range h.Jenkins.Builds() {
					nodes[b.Node] = true
					if at, ok := marked[b.Node]; ok && at.Sub(b.Started) > time.Second {
						t.Errorf("%s was marked %s after its build began, want the first look after", b.Node, at.Sub(b.Started))
					}
				}
				st := h.Jenkins.Stats()
				if st.Succeeded != 4 || len(nodes) != tt.agents || st.SecondBuilds != tt.second {
					t.Errorf("%d builds succeeded on %d agents, %d as second ones; want 4 on %d, %d", st.Succeeded, len(nodes), st.SecondBuilds, tt.agents, tt.second)
				}
				if len(marked) != tt.marks || counted != tt.countedAs {
					t.Errorf("%d agents were marked, and %d second builds counted; want %d and %d", len(marked), counted, tt.marks, tt.countedAs)
				}
			})
		})
	}
}

// TestOneDaemonOnASlot: the choice of slots alone keeps two daemons off one, and so
// does Kubernetes alone; without either they meet.
func TestOneDaemonOnASlot(t *testing.T) {
	busy := DefaultLoads()[1]
	busy.PerHour *= 4
	for name, c := range map[string]struct{ ignore, lax, meet bool }{
		"storage that sees to nothing":         {lax: true},
		"a choice that looks at nobody":        {ignore: true},
		"a choice that looks at nobody on top": {ignore: true, lax: true, meet: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{
				Seed: 3, LaxClaims: c.lax, Loads: []Load{busy},
				Environ: append(slices.DeleteFunc(DefaultEnviron(), func(v string) bool { return !strings.Contains(v, "_DATA_") }), "BELLBOARD_TEAMS=data"),
			}
			if c.ignore {
				cfg.Change = sabotage.Holders
			}
			s, _, _ := day(t, cfg, atLength(time.Hour))
			t.Logf("agents began %v, %d on a slot that another had", s.CacheStarts, s.SlotsShared)
			if (s.SlotsShared > 0) != c.meet {
				t.Errorf("%d daemons began on a slot that another had; want some: %v", s.SlotsShared, c.meet)
			}
		})
	}
}

// TestDemoDay checks that a day as short as a minute of the demo, with the seed of make seen, has every class
// of failure.
func TestDemoDay(t *testing.T) {
	t.Parallel()
	s, broken, err := day(t, Config{Seed: 4, Chaos: true}, 20*time.Minute)
	t.Logf("%+v", s)
	if err != nil {
		t.Errorf("the day did not end: %v", err)
	}
	for _, f := range scaler.Failures() {
		if s.Thrown[f] == 0 || s.Failed[f] == 0 {
			t.Errorf("%s was thrown %d times and told %d times; want some of each", f, s.Thrown[f], s.Failed[f])
		}
	}
	if s.BuildsKilled != 0 || s.OrphansLeft != 0 || len(broken) > 0 {
		t.Errorf("killed %d, left %v, broken plans %v; want none", s.BuildsKilled, s.Left, broken)
	}
}

// TestFailureClasses throws each class of failure during a whole day. Bellboard reports that class, kills no
// build and leaves no pod.
func TestFailureClasses(t *testing.T) {
	for i, f := range scaler.Failures() {
		if i%classStride != 0 {
			continue
		}
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			length := atLength(45 * time.Minute)
			s, broken, err := day(t, Config{Seed: 3, Throw: []scaler.Failure{f}, Environ: append(DefaultEnviron(), "BELLBOARD_POLL_INTERVAL=2s")}, length)
			t.Logf("%+v", s)
			if err != nil {
				t.Errorf("the day did not end: %v", err)
			}
			if s.Thrown[f] == 0 || s.Failed[f] == 0 {
				t.Errorf("%s was thrown %d times and told %d times; want some of each", f, s.Thrown[f], s.Failed[f])
			}
			for other, n := range s.Failed {
				// An agent whose failure is lifted at the end of the day may connect too late.
				if other != f && other != scaler.FailureNeverConnected {
					t.Errorf("%d agents failed of %s; want only %s", n, other, f)
				}
			}
			if s.BuildsKilled != 0 || s.BuildsLost != 0 || s.OrphansLeft != 0 || len(broken) > 0 {
				t.Errorf("killed %d, lost %d, left %v, broken plans %v; want none", s.BuildsKilled, s.BuildsLost, s.Left, broken)
			}
			if least := int(2 * length.Minutes()); s.BuildsFinished < least {
				t.Errorf("%d builds finished; want over %d", s.BuildsFinished, least)
			}
		})
	}
}

// TestAVolumeWhoseZoneIsFull checks an agent whose volume is in a zone without room. Bellboard gives up that
// agent, puts the volume aside, and makes another agent for the build before the zone has room. The volume is
// kept, though no more agents may be than have another volume.
func TestAVolumeWhoseZoneIsFull(t *testing.T) {
	for _, most := range []int{10, 1} {
		t.Run(fmt.Sprintf("MAX_PERSISTENT=%d", most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fullZone(t, most) })
		})
	}
}

func fullZone(t *testing.T, most int) {
	var last atomic.Pointer[scaler.Tick]
	h, err := New(t.Context(), Config{Clock: clock.Real(), Record: func(tick scaler.Tick) { last.Store(&tick) }, Environ: []string{
		"BELLBOARD_TEAMS=data", "BELLBOARD_TEAM_DATA_LABELS=docker", "BELLBOARD_TEAM_DATA_MODE=persistent", "BELLBOARD_TEAM_DATA_PERSISTENT_IDLE_TIMEOUT=1m",
		fmt.Sprintf("BELLBOARD_TEAM_DATA_MAX_PERSISTENT=%d", most),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(6 * time.Minute) // the grace
	h.Jenkins.Submit(jenkinssim.Job{Name: "first", Label: "docker", Duration: time.Minute})
	time.Sleep(10 * time.Minute)
	slots := h.Cluster.PVCs()
	if len(slots) != 1 || len(h.Cluster.Pods()) != 0 {
		t.Fatalf("%d slots and %d pods are there after the first build, want its slot alone", len(slots), len(h.Cluster.Pods()))
	}
	h.Cluster.FailSchedule(func(p *corev1.Pod) string {
		if slotOf(p) == "ci/"+slots[0].Name {
			return "3 Insufficient cpu, 3 node(s) didn't match PersistentVolume's node affinity."
		}
		return ""
	})
	h.Jenkins.Submit(jenkinssim.Job{Name: "second", Label: "docker", Duration: time.Minute})
	time.Sleep(scaler.VolumeTimeout + 90*time.Second)
	if s := h.Jenkins.Stats(); s.Running+s.Succeeded != 2 {
		t.Errorf("%+v; want that the second build has begun", s)
	}
	states := map[string]scaler.SlotState{}
	for _, s := range last.Load().Plan.Slots {
		states[s.Name] = s.State
	}
	if len(states) != 2 || states[slots[0].Name] != scaler.SlotApart {
		t.Errorf("the slots are %v, want the first one aside", states)
	}
}
