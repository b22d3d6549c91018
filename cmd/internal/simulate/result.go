package simulate

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Result is what one policy did with one history in one scenario.
type Result struct {
	Policy   string
	Launches int
	Failed   int // agents that never connected
	Slots    int // cache slots that were made
	Looks    int // how often the policy looked at the world
	Took     time.Duration

	work  int64 // all in milliseconds, over all pools
	paid  int64
	cold  int64
	slots int64 // slot-milliseconds
	price float64
	time  [states]int64
	waits []int64
}

// Measures is a result in numbers for people. Times are in seconds, money in agent-seconds over the seconds of
// work.
type Measures struct {
	Policy   string   `json:"policy"`
	Builds   int      `json:"builds"`
	WaitMean float64  `json:"waitMeanSeconds"`
	WaitP50  float64  `json:"waitP50Seconds"`
	WaitP95  float64  `json:"waitP95Seconds"`
	WaitP99  float64  `json:"waitP99Seconds"`
	Cold     float64  `json:"coldSeconds"` // that empty caches added to each build
	Paid     float64  `json:"paid"`        // agents and slots
	Starting float64  `json:"starting"`
	Busy     float64  `json:"busy"`
	Idle     float64  `json:"idle"`
	Leaving  float64  `json:"leaving"`
	Stored   float64  `json:"slots"`
	Launches int      `json:"launches"`
	Slots    int      `json:"slotsMade"`
	Looks    int      `json:"decisions"`
	Took     float64  `json:"tookSeconds"` // real time
	Cost     []Priced `json:"cost"`
}

// Priced is C(w): paid time, and w times the time that builds lost by waiting and by empty caches, over work.
type Priced struct {
	WaitValue float64 `json:"waitValue"`
	Cost      float64 `json:"cost"`
}

// Cost returns C(w).
func (r *Result) Cost(w float64) float64 {
	lost := r.cold
	for _, x := range r.waits {
		lost += x
	}
	return r.Paid() + w*float64(lost)/float64(r.work)
}

// Paid returns the paid time of agents and slots over work.
func (r *Result) Paid() float64 {
	return (float64(r.paid) + r.price*float64(r.slots)) / float64(r.work)
}

// PaidHours returns the paid time of agents and slots in agent-hours.
func (r *Result) PaidHours() float64 { return r.Paid() * float64(r.work) / 3_600_000 }

// Wait returns the wait in seconds that the share q of the builds does not exceed.
func (r *Result) Wait(q float64) float64 {
	if len(r.waits) == 0 {
		return 0
	}
	if !slices.IsSorted(r.waits) {
		slices.Sort(r.waits)
	}
	i := int(q*float64(len(r.waits))+0.999999) - 1
	return float64(r.waits[min(max(i, 0), len(r.waits)-1)]) / 1000
}

// MeanWait returns the mean wait in seconds.
func (r *Result) MeanWait() float64 {
	sum := int64(0)
	for _, x := range r.waits {
		sum += x
	}
	return float64(sum) / 1000 / float64(max(1, len(r.waits)))
}

// Measures returns the result in numbers, with C(w) for each of the values of waiting.
func (r *Result) Measures(values ...float64) Measures {
	over := func(ms int64) float64 { return float64(ms) / float64(r.work) }
	m := Measures{
		Policy: r.Policy, Builds: len(r.waits), WaitMean: r.MeanWait(), WaitP50: r.Wait(0.5), WaitP95: r.Wait(0.95), WaitP99: r.Wait(0.99),
		Cold: float64(r.cold) / 1000 / float64(max(1, len(r.waits))), Paid: r.Paid(),
		Starting: over(r.time[starting]), Busy: over(r.time[busy]), Idle: over(r.time[free]), Leaving: over(r.time[leaving]),
		Stored: r.price * over(r.slots), Launches: r.Launches, Slots: r.Slots, Looks: r.Looks, Took: r.Took.Seconds(),
	}
	for _, w := range values {
		m.Cost = append(m.Cost, Priced{w, r.Cost(w)})
	}
	return m
}

// Replay replays a history against a policy, one pool after another.
func Replay(h *History, s Scenario, p Policy, options ...Option) (*Result, error) {
	var o replaying
	for _, option := range options {
		option(&o)
	}
	began := time.Now()
	out := &Result{Policy: p.Name, price: s.SlotPrice}
	if !s.Cold {
		out.price = 0
	}
	pools := h.pools(o.least)
	for i, builds := range pools {
		for j := range builds {
			out.work += builds[j].Length
		}
		pol, err := p.make(&s, builds)
		if err != nil {
			return nil, err
		}
		one := s
		one.Seed += uint64(i) * 7919
		if err := replay(builds, &one, pol, out, o.lines, o.stop); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	out.Took = time.Since(began)
	return out, nil
}

// Option changes a replay.
type Option func(*replaying)

type replaying struct {
	least int
	lines []*Timeline
	stop  func() error
}

// Least leaves out the labels with fewer builds.
func Least(builds int) Option { return func(r *replaying) { r.least = builds } }

// Until ends the replay with the error that stop returns, if it returns one.
func Until(stop func() error) Option { return func(r *replaying) { r.stop = stop } }

// With records timelines.
func With(lines ...*Timeline) Option { return func(r *replaying) { r.lines = lines } }

// Policy is a policy that a history can be replayed against.
type Policy struct {
	Name   string
	Source string // where the policy is described
	make   func(*Scenario, []Build) (policy, error)
}

// pools returns the builds of each label, the label with the most builds first.
func (h *History) pools(least int) [][]Build {
	count := make([]int, len(h.Labels))
	for i := range h.Builds {
		count[h.Builds[i].Label]++
	}
	all := make([][]Build, len(h.Labels))
	for i, n := range count {
		if n >= max(1, least) {
			all[i] = make([]Build, 0, n)
		}
	}
	for i := range h.Builds {
		if l := h.Builds[i].Label; all[l] != nil {
			all[l] = append(all[l], h.Builds[i])
		}
	}
	all = slices.DeleteFunc(all, func(b []Build) bool { return len(b) == 0 })
	slices.SortStableFunc(all, func(a, b []Build) int { return cmp.Compare(len(b), len(a)) })
	return all
}
