package scaler

import (
	"slices"
	"time"
)

const (
	// FreeUnprotected is how long an agent has to be free before others may evict its pod.
	FreeUnprotected = 30 * time.Second
	// Relaunch is how long Bellboard waits after it asked Jenkins to call an agent, before it asks again.
	// Until then Jenkins' resolver may remember that there is no such host.
	Relaunch = 10 * time.Second
)

// tableActions turns the steps of the table into actions, and marks the agents that no team wants. It runs
// before the matching, because these agents serve no item.
func (d *decider) tableActions() {
	d.plan.Actions = make([]Action, 0, len(d.agents)) // room for most plans
	spares, carriers := d.carry()
	var tidy []*agent
	for _, m := range d.agents {
		v := m.verdict
		if v.Meet {
			d.act(Annotate, m, ReasonConnected, connectedText)
		}
		if v.Class == Coming && m.keyed() && !m.Pod.Requested && !d.in.Secrets[m.Name] {
			d.act(PutSecret, m, ReasonRestart, secretText)
		}
		switch {
		case m.retired && m.pool == nil:
			d.act(Mark, m, ReasonTeamGone, goneTeamText)
		case m.retired:
			d.act(Mark, m, ReasonPaused, pausedText)
		case v.Do == "" || d.waits(m, spares[m.PoolID]+carriers[m.PoolID]):
		case v.tidies():
			tidy = append(tidy, m)
		default:
			d.act(v.Do, m, v.Reason, stepText(m, d.in.Now))
		}
	}
	for _, m := range d.inPace(tidy) {
		d.act(m.verdict.Do, m, m.verdict.Reason, stepText(m, d.in.Now))
	}
}

// waits reports whether the table's step for an agent has to wait for a later tick. carry is how many Jenkins
// nodes make Jenkins name the labels of the agent's pool.
func (d *decider) waits(m *agent, carry int) bool {
	v := m.verdict
	switch {
	case d.quiet && v.Do.Destructive() && v.Class != Ended && v.Class != FenceInTheWay:
		return true // an item may not show which agent it waits for
	case v.Reason == ReasonOneBuild && !m.was.Work.On && d.starting:
		// If Bellboard marked the agent now, its item might go back into the queue, and the agent would go
		// without a build. (Nodes are asked for before the queue. So if no item is pending, every build that
		// the nodes show has begun.)
		return true
	}
	// Jenkins needs this Jenkins node to name its labels, until new berths carry them.
	return v.Class == Stray && v.Do == DeleteNode && m.pool != nil && carry < 2 && !d.in.Closing
}

// inPace returns the agents whose step may be taken now: a few in each second, since each Jenkins node that
// is made or deleted takes the lock of Jenkins' queue. The agents take turns, so that agents whose step fails
// do not keep the others waiting.
func (d *decider) inPace(tidy []*agent) []*agent {
	const pace, turn = 8, 5 // steps in a second; seconds until the next agents' turn
	second, steps := d.in.Now.Unix(), 0
	if old := d.in.Memory.Tidied; old.Second == second {
		steps = old.Steps
	}
	if n := len(tidy); n > pace {
		first := int(second/turn) * pace % n
		tidy = slices.Concat(tidy[first:], tidy[:first])
	}
	n := min(len(tidy), pace-steps)
	if steps += n; steps > 0 {
		d.mem.Tidied = Tidied{second, steps}
	}
	return tidy[:n]
}

// keyed reports whether the agent's pod waits for a Secret of its own. The setting that says which side calls
// the other may have changed since the pod was made.
func (m *agent) keyed() bool {
	called := m.pool != nil && m.pool.Called && m.pool.Spec == m.Pod.Spec
	return m.Connect == Inbound && !called
}

// carry counts the Jenkins nodes that make Jenkins name the labels of their pool: the berths of this process
// that nothing in this plan takes, awaited or not, and the Jenkins nodes of agents that take builds.
func (d *decider) carry() (spares, carriers map[PoolID]int) {
	spares, carriers = map[PoolID]int{}, map[PoolID]int{}
	for _, m := range d.agents {
		switch {
		case d.left[m] || m.Node == nil:
		case m.verdict.Class == Berth, m.verdict.Class == Awaited && m.Berth && m.Pod == nil:
			spares[m.PoolID]++
		case !m.Node.Fence && m.Pod != nil && m.capacity() > 0:
			carriers[m.PoolID]++
		}
	}
	return spares, carriers
}

// freeBerths returns the pool's berths that may be taken. A Swarm pool has none.
func (d *decider) freeBerths(id PoolID) (out []*agent) {
	for _, m := range d.byPool[id] {
		if m.verdict.Class == Berth && m.pool.Connect == Inbound && !d.left[m] {
			out = append(out, m)
		}
	}
	return out
}

// upkeep is stage 5: it adds the actions for protection, calls, berths and cache slots.
func (d *decider) upkeep() {
	for _, m := range d.agents {
		d.protect(m)
		d.launch(m)
	}
	d.berths()
	d.tendSlots()
}

// protect protects every pod with a build from eviction, and no other pod for long: a drain of a Kubernetes
// node should not wait for an idle agent. A pod that is made for a build is protected from the start. A pod
// that no build waits for is made unprotected, and is protected with its first build.
func (d *decider) protect(m *agent) {
	switch p := m.Pod; {
	case p == nil || p.Requested || p.Deleting || !m.alive():
	case m.Pinned && !p.Protected:
		d.act(Protect, m, ReasonResume, resumeText)
	case !m.idle() && !p.Protected:
		d.act(Protect, m, ReasonBuild, buildText)
	case m.Pinned || !m.idle() || !p.Protected || d.grace:
	case m.verdict.Class == Held && m.online():
		d.act(Unprotect, m, ReasonFree, heldText)
	case m.verdict.Class == Free && !d.leaves(m) && d.in.Now.Sub(m.is.Free) >= FreeUnprotected:
		d.act(Unprotect, m, ReasonFree, freeText())
	}
}

// launch asks Jenkins to call an agent that does not call Jenkins, as soon as the agent can be called, if
// something is lost otherwise: a build, or an agent on its way. Jenkins itself tries a few times in the
// minutes after a Jenkins node was made, and then hardly ever. A berth's pod comes later than that.
func (d *decider) launch(m *agent) {
	p, c := m.Pod, m.verdict.Class
	if m.pool == nil || !m.pool.Called || p == nil || m.Node == nil || m.Node.Online {
		return
	}
	m.is.Called = m.was.Called // zero if Jenkins was never asked, which is longer ago than Relaunch
	ready := p.Phase == PodRunning && !p.Ready.IsZero() && !p.Deleting && m.verdict.Do == "" && !d.leaves(m)
	comes := c == Coming || c == Awaited || c == Cut || c == Reconnecting || c == Stuck && m.Grace
	if ready && comes && d.in.Now.Sub(m.was.Called) >= Relaunch {
		m.is.Called = d.in.Now
		d.act(Launch, m, ReasonReady, launchText)
	}
}

// berths keeps BERTHS registered Jenkins nodes for each inbound pool, and at least two Jenkins nodes that
// carry each pool's label set. With these, the sentences of Jenkins name labels.
func (d *decider) berths() {
	if d.in.Closing {
		return
	}
	spares, carriers := d.carry()
	for i := range d.in.Teams {
		for j := range d.in.Teams[i].Pools {
			p := &d.in.Teams[i].Pools[j]
			want := max(p.Berths, 2-carriers[p.PoolID])
			if p.Connect == Swarm {
				want = 2
			}
			for range want - spares[p.PoolID] {
				d.plan.Actions = append(d.plan.Actions, Action{
					Verb: Register, Pool: p.PoolID, Reason: ReasonBerths, Text: berthText,
				})
			}
		}
	}
}
