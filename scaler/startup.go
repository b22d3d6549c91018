package scaler

import (
	"slices"
	"time"
)

// Phase is a step of an agent's start: a closed set, and a metric label.
type Phase string

// The phases, in their order. Without Docker there is no docker and no agent:
// pull then lasts until the agent runs.
const (
	PhaseSchedule Phase = "schedule" // from the pod's creation until it has a machine
	PhaseMount    Phase = "mount"    // until its volumes, Secret and network are there
	PhasePull     Phase = "pull"     // until the Docker daemon's container (without Docker: the agent's) runs
	PhaseDocker   Phase = "docker"   // until the daemon answers: its start-up probe passed
	PhaseAgent    Phase = "agent"    // until the agent's container runs, its image pulled after the daemon's start
	PhaseConnect  Phase = "connect"  // until Jenkins shows its node online
)

// Phases lists every phase in its order.
func Phases() []Phase {
	return []Phase{PhaseSchedule, PhaseMount, PhasePull, PhaseDocker, PhaseAgent, PhaseConnect}
}

// A PhaseTime is how long one phase took.
type PhaseTime struct {
	Phase Phase         `json:"phase"`
	Took  time.Duration `json:"took"`
}

// steps are when each phase of a pod ended, the last one excepted.
func (p *Pod) steps() []struct {
	phase Phase
	end   time.Time
} {
	type step = struct {
		phase Phase
		end   time.Time
	}
	out := []step{{PhaseSchedule, p.Scheduled}, {PhaseMount, p.Mounted}}
	if p.DockerUp.IsZero() && p.DockerReady.IsZero() {
		return append(out, step{PhasePull, p.Ready})
	}
	return append(out, step{PhasePull, p.DockerUp}, step{PhaseDocker, p.DockerReady}, step{PhaseAgent, p.Ready})
}

// reached is the phase that a pod is in: the one after the last that ended, since
// Kubernetes may not tell of one in between.
func (p *Pod) reached() Phase {
	phase := PhaseSchedule
	all := p.steps()
	for i, s := range all {
		switch {
		case s.end.IsZero():
		case i+1 < len(all):
			phase = all[i+1].phase
		default:
			phase = PhaseConnect
		}
	}
	// A pull that failed says so, wherever the pod seems to be.
	if phase == PhaseMount && (p.Failure == FailureImagePull || p.Failure == FailureBadImage) {
		phase = PhasePull
	}
	return phase
}

// reachedAt is since when a pod is in its phase.
func (p *Pod) reachedAt() time.Time {
	at := p.Created
	for _, s := range p.steps() {
		if !s.end.IsZero() {
			at = s.end
		}
	}
	return at
}

// startup is how an agent that was seen connected at that time has started. A
// phase whose end Kubernetes has not told is a part of the next one; without
// the start of its container nothing is said of the phases.
func startup(p *Pod, connected time.Time) Startup {
	out := Startup{PoolID: p.PoolID, Took: max(0, connected.Sub(p.Created)), Created: p.Created, Scheduled: p.Scheduled}
	if p.Ready.IsZero() {
		return out
	}
	from := p.Created
	for _, s := range p.steps() {
		if s.end.IsZero() {
			continue
		}
		out.Phases = append(out.Phases, PhaseTime{s.phase, max(0, s.end.Sub(from))})
		if s.end.After(from) {
			from = s.end
		}
	}
	out.Phases = append(out.Phases, PhaseTime{PhaseConnect, max(0, connected.Sub(from))})
	return out
}

// startsKept is of how many start-ups a pool is judged: enough for a quantile,
// few enough to forget yesterday's registry.
const startsKept = 32

// Starts is what is known of how a pool's agents start.
type Starts struct {
	Last  []Startup // the newest last
	Usual Usual     // the sum of them
}

// with adds a start-up to what is known, and forgets the oldest.
func (s Starts) with(more ...Startup) Starts {
	all := slices.Concat(s.Last, more)
	all = all[max(0, len(all)-startsKept):]
	return Starts{Last: all, Usual: usual(all)}
}

// learnStarts goes on from what is known. A process that knows nothing yet
// learns from the agents that are connected: their pods tell when they were.
func (d *scene) learnStarts() {
	for id := range d.pools {
		d.pooled.of(id).Starts = d.in.Memory.Pools[id].Starts
	}
	more := map[PoolID][]Startup{}
	if d.in.Memory.Started.IsZero() {
		var pods []*Pod
		for _, m := range d.agents {
			if m.Pod != nil && m.pool != nil && !m.Pod.ConnectedAt.IsZero() {
				pods = append(pods, m.Pod)
			}
		}
		slices.SortStableFunc(pods, func(a, b *Pod) int { return a.ConnectedAt.Compare(b.ConnectedAt) })
		for _, p := range pods {
			more[p.PoolID] = append(more[p.PoolID], startup(p, p.ConnectedAt))
		}
	}
	for _, s := range d.facts.Startups {
		more[s.PoolID] = append(more[s.PoolID], s)
	}
	for id, starts := range more {
		p := d.pooled.of(id)
		p.Starts = p.Starts.with(starts...)
	}
}

// Usual is how a pool's agents have started of late.
type Usual struct {
	Kind   Kind          `json:"kind"`
	Count  int           `json:"count"`  // of how many
	Half   time.Duration `json:"half"`   // half of them took no longer
	Most   time.Duration `json:"most"`   // nine in ten took no longer
	Phases []PhaseTime   `json:"phases"` // half of them took no longer for each phase
}

// usual sums up start-ups of one pool.
func usual(starts []Startup) Usual {
	all := make([]time.Duration, 0, len(starts))
	phases := map[Phase][]time.Duration{}
	for _, s := range starts {
		all = append(all, s.Took)
		for _, p := range s.Phases {
			phases[p.Phase] = append(phases[p.Phase], p.Took)
		}
	}
	out := Usual{Kind: starts[0].Kind, Count: len(all), Half: Quantile(all, 0.5), Most: Quantile(all, 0.9), Phases: []PhaseTime{}}
	for _, p := range Phases() {
		if len(phases[p]) > 0 {
			out.Phases = append(out.Phases, PhaseTime{p, Quantile(phases[p], 0.5)})
		}
	}
	return out
}

// Quantile is the least of the durations that the share q of them does not
// exceed; 0 of none.
func Quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	// The nearest rank: a duration that was seen, not one between two.
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
