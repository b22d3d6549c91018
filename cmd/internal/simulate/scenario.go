package simulate

import (
	"fmt"
	"strings"
	"time"
)

// Scenario is what a replay assumes of agents, beside the history.
type Scenario struct {
	Name string
	// An agent takes between StartLeast and StartMost from its creation until Jenkins can use it.
	StartLeast, StartMost time.Duration
	// Cold: the first build on an agent without a warm cache takes longer, by ColdShare of its length and at
	// most by ColdMost.
	Cold      bool
	ColdShare float64
	ColdMost  time.Duration
	// Attach is how much longer an agent with a cache slot starts. SlotPrice is what a slot costs, in
	// agent-seconds for each second. Both count only if Cold: without a gain from a cache there are no slots.
	Attach    time.Duration
	SlotPrice float64
	// Ending is how long a deleted pod still counts as paid.
	Ending time.Duration
	// Failing is the share of agents that never connect.
	Failing float64
	Seed    uint64
}

// Warm returns the scenario in which a start takes 20 to 60 s and caches do not matter.
func Warm() Scenario {
	return Scenario{
		Name: "warm", StartLeast: 20 * time.Second, StartMost: 60 * time.Second,
		ColdShare: 0.35, ColdMost: 5 * time.Minute, Attach: 10 * time.Second, SlotPrice: 0.03, Seed: 1,
	}
}

// Cold returns the scenario in which an agent's first build pays for an empty cache.
func Cold() Scenario {
	s := Warm()
	s.Name, s.Cold = "cold", true
	return s
}

// Slow returns the scenario in which each agent needs a new machine: a start takes 2 to 4 minutes.
func Slow() Scenario {
	s := Warm()
	s.Name, s.StartLeast, s.StartMost = "slow", 2*time.Minute, 4*time.Minute
	return s
}

// Scenarios returns the three scenarios.
func Scenarios() []Scenario { return []Scenario{Warm(), Cold(), Slow()} }

// ScenarioOf returns the scenario of that name.
func ScenarioOf(name string) (Scenario, error) {
	names := make([]string, 0, 3)
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("no scenario is named %q; write one of %s", name, strings.Join(names, ", "))
}

// MeanStart returns the mean time of a start in milliseconds.
func (s *Scenario) MeanStart() int64 { return (s.StartLeast + s.StartMost).Milliseconds() / 2 }

// penalty returns how much longer a build of that length takes on an empty cache, in milliseconds.
func (s *Scenario) penalty(length int64) int64 {
	if !s.Cold {
		return 0
	}
	return min(s.ColdMost.Milliseconds(), int64(s.ColdShare*float64(length)))
}
