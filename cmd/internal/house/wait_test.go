package house

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bellboard/metrics"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// poll is POLL_INTERVAL's default.
const poll = time.Second

// waited returns how long each build waited, the shortest first: as the simulator of Jenkins knows, and as the daemon
// tells.
func waited(builds []jenkinssim.Build, told []scaler.Wait) (truth, got []time.Duration) {
	for _, b := range builds {
		if !b.Started.IsZero() {
			truth = append(truth, b.Started.Sub(b.Queued)-b.Job.QuietPeriod)
		}
	}
	for _, w := range told {
		got = append(got, w.Took)
	}
	slices.Sort(truth)
	slices.Sort(got)
	return truth, got
}

// within counts the waits that are no longer than the bound.
func within(waits []time.Duration, bound time.Duration) int {
	n, found := slices.BinarySearch(waits, bound)
	for found && n < len(waits) && waits[n] == bound {
		n++
	}
	return n
}

// TestWaitMetric plays a day and compares what the metric tells of waiting with what the simulator of Jenkins knows.
// Every build counts once. Half of the builds, and 95 of 100, waited as long as the metric tells, give or take a poll.
// A bucket lacks no build but those within a poll of its bound. While Jenkins and Bellboard restart all the time, some
// builds are not counted.
func TestWaitMetric(t *testing.T) {
	unraced(t)
	for _, chaos := range []bool{false, true} {
		t.Run(map[bool]string{false: "a day", true: "a day of chaos"}[chaos], func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var told []scaler.Wait
				gone, missed := 0, 0
				var mu sync.Mutex // the last tick may end after the day
				var h *House
				var m *metrics.Metrics
				reg := prometheus.NewRegistry()
				h, err := New(t.Context(), Config{Clock: clock.Real(), Seed: 3, Chaos: chaos, Hook: true, Record: func(tick scaler.Tick) {
					mu.Lock()
					defer mu.Unlock()
					m.Observe(tick)
					told = append(told, tick.Facts.Waits...)
					for team := range tick.Facts.Gone {
						gone += tick.Facts.Gone[team]
					}
					for team := range tick.Facts.Missed {
						missed += tick.Facts.Missed[team]
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				m = metrics.New(reg, h.teams, h.most, "", nil, nil)
				if _, err := h.Run(t.Context(), t.Context(), atLength(4*time.Hour)); err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				defer mu.Unlock()
				truth, got := waited(h.Jenkins.Builds(), told)
				at := func(waits []time.Duration, percent int) time.Duration { return waits[len(waits)*percent/100] }
				for _, percent := range []int{50, 95, 99} {
					t.Logf("%d %% of the builds waited at most %v, and the metric tells %v", percent, at(truth, percent), at(got, percent))
				}
				over := len(truth) - within(truth, time.Minute)
				t.Logf("%d builds, and the metric tells %d, and %d that are gone; %d waited for more than a minute, and %d missed their objective", len(truth), len(got), gone, over, missed)
				if chaos { // a process that begins does not know which builds have just begun
					if len(got) > len(truth) || len(got) < len(truth)*9/10 {
						t.Errorf("%d builds got an executor, and the metric tells %d", len(truth), len(got))
					}
					return
				}
				if len(got) != len(truth) || gone != 0 {
					t.Errorf("%d builds got an executor, and the metric tells %d, and %d that are gone", len(truth), len(got), gone)
				}
				for _, percent := range []int{50, 95} {
					if off := at(got, percent) - at(truth, percent); off.Abs() > poll {
						t.Errorf("%d %% of the builds waited at most %v, and the metric tells %v", percent, at(truth, percent), at(got, percent))
					}
				}
				buckets := map[float64]int{}
				families, err := reg.Gather()
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range families {
					for _, s := range f.GetMetric() {
						for _, b := range s.GetHistogram().GetBucket() {
							if f.GetName() == "bellboard_queue_wait_seconds" {
								buckets[b.GetUpperBound()] += int(b.GetCumulativeCount())
							}
						}
					}
				}
				for _, bound := range []float64{10, 45, 60} {
					b := time.Duration(bound) * time.Second
					if n, least, most := buckets[bound], within(truth, b-poll), within(truth, b+poll); n < least || n > most {
						t.Errorf("the bucket of %v has %d builds, want %d to %d", b, n, least, most)
					}
				}
				if least, most := len(truth)-within(truth, time.Minute+poll), len(truth)-within(truth, time.Minute-poll); missed < least || missed > most {
					t.Errorf("%d builds missed 60 s, want %d to %d", missed, least, most)
				}
			})
		})
	}
}
