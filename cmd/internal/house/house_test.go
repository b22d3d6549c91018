package house

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
)

// defaultSeeds is how many days are played when nobody says how many.
var defaultSeeds = 20

var (
	seeds = flag.Int("house.seeds", 0, "how many seeds the days of chaos are played with (20; 3 under the race detector)")
	hours = flag.Float64("house.hours", 2, "how many simulated hours each day has")
	tell  = flag.Bool("house.tell", false, "print the log and the chaos of every day")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *seeds == 0 {
		*seeds = defaultSeeds
	}
	os.Exit(m.Run())
}

// day plays one day in virtual time, in process.
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
		h, err := New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		s, ended = h.Run(t.Context(), context.Background(), length)
		broken = h.Broken()
	})
	return s, broken, ended
}

// TestQuietDay: nothing breaks, so nothing may be lost either.
func TestQuietDay(t *testing.T) {
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
}

// TestDaysOfChaos holds the promises through restarts of Jenkins and Bellboard,
// silent agents, pods that others delete, and agents that fail in every way.
func TestDaysOfChaos(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			// Every other day Jenkins has the one-build hook.
			s, broken, err := day(t, Config{Seed: int64(seed), Chaos: true, Hook: seed%2 == 1}, time.Duration(*hours*float64(time.Hour)))
			t.Logf("%+v", s)
			if err != nil {
				t.Errorf("the day did not end: %v", err)
			}
			for _, b := range s.Killed {
				t.Errorf("killed: %+v", b)
			}
			for _, f := range Throwable() {
				if s.Thrown[f] == 0 && *hours >= 2 {
					t.Errorf("%s was not thrown all day", f)
				}
			}
			if s.OrphansLeft != 0 {
				t.Errorf("left behind: %v", s.Left)
			}
			for _, b := range broken {
				t.Errorf("a plan broke a promise: %s", b)
			}
			if s.BuildsFinished < 100 || s.AgentsCreated["ephemeral"] == 0 || s.AgentsCreated["persistent"] == 0 {
				t.Errorf("%d builds finished on %v agents; want over 100, on both kinds", s.BuildsFinished, s.AgentsCreated)
			}
		})
	}
}

// TestSafeguardsMatter takes one safeguard out at a time: the same days must
// then kill builds, or the zeros above would say nothing.
func TestSafeguardsMatter(t *testing.T) {
	unsafe := map[string]func(*control.Sabotage){
		"a pinned item does not protect its node": func(s *control.Sabotage) { s.IgnorePins = true },
		"no restart grace":                        func(s *control.Sabotage) { s.IgnoreGrace = true },
		"mark and remove on the same answers":     func(s *control.Sabotage) { s.MarkAndGo = true },
		"no write deadline":                       func(s *control.Sabotage) { s.IgnoreDeadline = true },
	}
	for name, take := range unsafe {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Always as many days as it may take: the first that kills is enough.
			for seed := range max(*seeds, 20) {
				// A quicker poll and denser chaos find the narrow windows sooner.
				cfg := Config{
					Seed: int64(seed), Chaos: true, Gap: 150 * time.Second, Hook: seed%2 == 1,
					Environ: append(DefaultEnviron(), "BELLBOARD_POLL_INTERVAL=300ms"),
				}
				take(&cfg.Unsafe)
				if s, _, _ := day(t, cfg, time.Duration(*hours*float64(time.Hour))); s.BuildsKilled > 0 {
					t.Logf("seed %d: %d builds killed, the first: %+v", seed, s.BuildsKilled, s.Killed[0])
					return
				}
			}
			t.Errorf("no build was killed in %d days without this safeguard", max(*seeds, 20))
		})
	}
}

// TestFailureClasses: each class of failure, thrown all day long, is told by its
// own name, and costs neither a build nor a corpse.
func TestFailureClasses(t *testing.T) {
	for _, f := range Throwable() {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			s, broken, err := day(t, Config{Seed: 3, Throw: []scaler.Failure{f}}, 45*time.Minute)
			t.Logf("%+v", s)
			if err != nil {
				t.Errorf("the day did not end: %v", err)
			}
			if s.Thrown[f] == 0 || s.Failed[f] == 0 {
				t.Errorf("%s was thrown %d times and told %d times; want some of each", f, s.Thrown[f], s.Failed[f])
			}
			for other, n := range s.Failed {
				// What is lifted at the end of the day may be too late to connect in time.
				if other != f && other != scaler.FailureNeverConnected {
					t.Errorf("%d agents failed of %s; want only %s", n, other, f)
				}
			}
			if s.BuildsKilled != 0 || s.BuildsLost != 0 || s.OrphansLeft != 0 || len(broken) > 0 {
				t.Errorf("killed %d, lost %d, left %v, broken plans %v; want none", s.BuildsKilled, s.BuildsLost, s.Left, broken)
			}
			if s.BuildsFinished < 100 {
				t.Errorf("%d builds finished; want over 100", s.BuildsFinished)
			}
		})
	}
}
