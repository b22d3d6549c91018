package house

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler/clock"
)

// Load has the builds of one team.
type Load struct {
	Team string
	// Labels has the label expressions of the jobs, each as often as the others; "" is none.
	Labels []string
	// PerHour is the mean number of builds an hour. In each Period the number goes from nearly zero to twice
	// the mean and back.
	PerHour float64
	Period  time.Duration
	// Median is the median length of a build. One build in twenty takes four times as long.
	Median time.Duration
	// Pipelines is the share of pipelines among the builds.
	Pipelines float64
	// Burst is the most builds that come at once.
	Burst int
	// Regular: Burst builds come at once in each Period, and no others.
	Regular bool
}

// DefaultEnviron returns the settings of three teams. The first has ephemeral agents, also for builds without
// a label. The second has persistent Swarm agents with Docker, two builds each. The third has mode auto.
func DefaultEnviron() []string {
	return []string{
		"BELLBOARD_TEAMS=web,data,mobile",
		"BELLBOARD_MAX_AGENTS=60",
		"BELLBOARD_DEFAULT_COST_PER_HOUR=0.12",
		"BELLBOARD_DEFAULT_PERSISTENT_COST_PER_HOUR=0.15",
		"BELLBOARD_TEAM_WEB_LABELS=linux",
		"BELLBOARD_TEAM_WEB_MODE=ephemeral",
		"BELLBOARD_TEAM_WEB_MAX_AGENTS=25",
		"BELLBOARD_TEAM_WEB_UNLABELLED=true",
		"BELLBOARD_TEAM_DATA_LABELS=linux docker",
		"BELLBOARD_TEAM_DATA_MODE=persistent",
		"BELLBOARD_TEAM_DATA_MIN_AGENTS=1",
		"BELLBOARD_TEAM_DATA_MAX_AGENTS=12",
		"BELLBOARD_TEAM_DATA_EXECUTORS=2",
		"BELLBOARD_TEAM_DATA_PERSISTENT_IDLE_TIMEOUT=5m",
		"BELLBOARD_TEAM_MOBILE_LABELS=android",
		"BELLBOARD_TEAM_MOBILE_MODE=auto",
		"BELLBOARD_TEAM_MOBILE_MIN_IDLE=1",
		"BELLBOARD_TEAM_MOBILE_MAX_AGENTS=15",
		"BELLBOARD_TEAM_MOBILE_MAX_PERSISTENT=4",
		"BELLBOARD_TEAM_MOBILE_MAX_LIFETIME=20m",
	}
}

// DefaultLoads returns a few hundred builds an hour for the three teams.
func DefaultLoads() []Load {
	return []Load{
		{Team: "web", Labels: []string{"linux", "linux", ""}, PerHour: 120, Period: 10 * time.Minute, Median: 50 * time.Second, Pipelines: 0.5, Burst: 6},
		{Team: "data", Labels: []string{"linux && docker", "docker"}, PerHour: 60, Period: 15 * time.Minute, Median: 70 * time.Second, Pipelines: 0.7, Burst: 3},
		{Team: "mobile", Labels: []string{"android", "android", "android", "android && persistent"}, PerHour: 90, Period: 12 * time.Minute, Median: 80 * time.Second, Pipelines: 0.6, Burst: 4},
	}
}

// load submits one team's builds until ctx ends.
func (h *House) load(ctx context.Context, l Load, stream uint64) {
	rng := rand.New(rand.NewPCG(uint64(h.cfg.Seed), 0x6c6f6164+stream))
	began := h.clock.Now()
	burst := max(1, l.Burst)
	mean := time.Duration(float64(time.Hour) / l.PerHour * float64(burst+1) / 2)
	for l.Regular {
		if clock.Sleep(ctx, h.clock, l.Period) != nil {
			return
		}
		for range burst {
			h.submit(l, rng)
		}
	}
	for {
		phase := 2 * math.Pi * float64(h.clock.Now().Sub(began)) / float64(l.Period)
		rate := 1 - 0.95*math.Cos(phase)
		gap := time.Duration(rng.ExpFloat64() * float64(mean) / rate)
		if clock.Sleep(ctx, h.clock, min(gap, l.Period/4)) != nil {
			return
		}
		if gap > l.Period/4 {
			continue // the rate has fallen meanwhile
		}
		for range 1 + rng.IntN(burst) {
			h.submit(l, rng)
		}
	}
}

func (h *House) submit(l Load, rng *rand.Rand) {
	length := float64(l.Median) * math.Exp(0.5*rng.NormFloat64())
	if rng.IntN(20) == 0 {
		length *= 4
	}
	job := jenkinssim.Job{
		Name:     fmt.Sprintf("%s-%d", l.Team, rng.IntN(12)),
		Pipeline: rng.Float64() < l.Pipelines,
		Label:    l.Labels[rng.IntN(len(l.Labels))],
		Duration: time.Duration(length).Round(100 * time.Millisecond),
	}
	if !job.Pipeline && rng.IntN(4) == 0 {
		job.QuietPeriod = 5 * time.Second
	}
	h.Jenkins.Submit(job)
}
