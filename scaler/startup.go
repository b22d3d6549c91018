package scaler

import (
	"slices"
	"time"
)

// Phase is one step of an agent's start. Phases are a closed set, and a metric label.
type Phase string

// The phases, in their order. An agent without Docker has no phase docker and no phase agent: its phase pull
// lasts until the agent's container runs.
const (
	PhaseSchedule Phase = "schedule" // from the pod's creation until the pod has a Kubernetes node
	PhaseMount    Phase = "mount"    // until the pod's volumes, Secret and network are there
	PhasePull     Phase = "pull"     // until the Docker daemon's (without Docker: the agent's) container runs
	PhaseDocker   Phase = "docker"   // until the Docker daemon answers: its start-up probe passed
	PhaseAgent    Phase = "agent"    // until the agent's container runs: its image comes after Docker's
	PhaseConnect  Phase = "connect"  // until Jenkins shows the Jenkins node online
)

// Phases returns every phase, in order.
func Phases() []Phase {
	return []Phase{PhaseSchedule, PhaseMount, PhasePull, PhaseDocker, PhaseAgent, PhaseConnect}
}

// PhaseTime is how long one phase took.
type PhaseTime struct {
	Phase Phase         `json:"phase"`
	Took  time.Duration `json:"took"`
}

// step is the end of a phase; zero: the phase has not ended, or Kubernetes does not say.
type step struct {
	phase Phase
	end   time.Time
}

// steps returns when each phase of a pod ended, without the last phase.
func (p *Pod) steps() []step {
	out := []step{{PhaseSchedule, p.Scheduled}, {PhaseMount, p.Mounted}}
	if p.DockerUp.IsZero() && p.DockerReady.IsZero() {
		return append(out, step{PhasePull, p.Ready})
	}
	return append(out, step{PhasePull, p.DockerUp}, step{PhaseDocker, p.DockerReady}, step{PhaseAgent, p.Ready})
}

// reached returns the phase that the pod is in, and since when. That is the phase after the last phase whose
// end is known: Kubernetes may not report the end of a phase in between.
func (p *Pod) reached() (phase Phase, since time.Time) {
	phase, since = PhaseSchedule, p.Created
	all := append(p.steps(), step{phase: PhaseConnect})
	for i, s := range all {
		if !s.end.IsZero() {
			phase, since = all[i+1].phase, s.end
		}
	}
	// A failed pull shows that the phase mount is over, even if its end is not known.
	if phase == PhaseMount && (p.Failure == FailureImagePull || p.Failure == FailureBadImage) {
		phase = PhasePull
	}
	return phase, since
}

// startup returns the start-up of an agent that was first seen connected at the time connected. A phase whose
// end is not known counts as a part of the next one. If the start of the agent's container is not known,
// startup returns no phases.
func startup(p *Pod, connected time.Time) Startup {
	connected = connected.Truncate(time.Millisecond)
	out := Startup{PoolID: p.PoolID, Took: max(0, connected.Sub(p.Created)), Created: p.Created, Scheduled: p.Scheduled}
	if p.Ready.IsZero() {
		return out
	}
	from := p.Created
	for _, s := range append(p.steps(), step{PhaseConnect, connected}) {
		if s.end.IsZero() {
			continue
		}
		took := max(0, s.end.Sub(from))
		out.Phases = append(out.Phases, PhaseTime{s.phase, took})
		from = from.Add(took)
	}
	return out
}

// startsKept is how many starts of a pool Bellboard remembers: enough for a quantile, and too few to remember
// a registry that was slow yesterday.
const startsKept = 32

// Starts is what is known of the starts of a pool's agents.
type Starts struct {
	Last  []Startup // the newest last
	Usual Usual     // summary of Last
}

// with returns s with more start-ups added, and without the oldest beyond startsKept.
func (s Starts) with(more ...Startup) Starts {
	all := slices.Concat(s.Last, more)
	all = all[max(0, len(all)-startsKept):]
	return Starts{Last: all, Usual: usual(all)}
}

// until returns when the last of the agents connected; zero: there is none.
func (s *Starts) until() time.Time {
	if len(s.Last) == 0 {
		return time.Time{}
	}
	return s.Last[len(s.Last)-1].connected()
}

// learnStarts adds the start-ups of this tick to what is known of each pool. A process that has just started
// learns from the agents that are connected: the annotations of their pods say when they connected. It leaves
// out the agents whose start-ups an earlier process has handed on.
func (d *scene) learnStarts() {
	for id := range d.pools {
		d.pooled.of(id).Starts = d.in.Memory.Pools[id].Starts
	}
	var known []Startup
	if d.in.Memory.Started.IsZero() {
		for _, m := range d.agents {
			if m.Pod != nil && m.pool != nil && m.Pod.ConnectedAt.After(d.pooled.of(m.PoolID).Starts.until()) {
				known = append(known, startup(m.Pod, m.Pod.ConnectedAt))
			}
		}
		slices.SortStableFunc(known, func(a, b Startup) int { return a.connected().Compare(b.connected()) })
	}
	more := map[PoolID][]Startup{}
	for _, s := range append(known, d.facts.Startups...) {
		more[s.PoolID] = append(more[s.PoolID], s)
	}
	for id, starts := range more {
		p := d.pooled.of(id)
		p.Starts = p.Starts.with(starts...)
	}
}

// connected returns when the agent was first seen connected.
func (s *Startup) connected() time.Time { return s.Created.Add(s.Took) }

// Usual is how long a pool's agents took to start recently.
type Usual struct {
	Kind   Kind          `json:"kind"`
	Count  int           `json:"count"`  // how many start-ups it is made from
	Half   time.Duration `json:"half"`   // half of the start-ups took no longer
	Most   time.Duration `json:"most"`   // nine in ten start-ups took no longer
	Phases []PhaseTime   `json:"phases"` // for each phase: half of the start-ups took no longer
}

// usual returns a summary of start-ups of one pool. There has to be at least one.
func usual(starts []Startup) Usual {
	all := make([]time.Duration, 0, startsKept)
	for i := range starts {
		all = append(all, starts[i].Took)
	}
	slices.Sort(all)
	out := Usual{Kind: starts[0].Kind, Count: len(all), Half: quantile(all, 0.5), Most: quantile(all, 0.9)}
	out.Phases = []PhaseTime{} // never null in JSON
	for _, phase := range Phases() {
		all = all[:0]
		for i := range starts {
			for _, p := range starts[i].Phases {
				if p.Phase == phase {
					all = append(all, p.Took)
				}
			}
		}
		if slices.Sort(all); len(all) > 0 {
			out.Phases = append(out.Phases, PhaseTime{phase, quantile(all, 0.5)})
		}
	}
	return out
}

// Quantile returns the shortest of the durations that at least the share q of them does not exceed, or 0 if
// there are none. For example, nine in ten do not exceed Quantile(all, 0.9).
func Quantile(all []time.Duration, q float64) time.Duration {
	return quantile(slices.Sorted(slices.Values(all)), q)
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	// The nearest rank: the result is a duration that occurred, not a value between two durations.
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
