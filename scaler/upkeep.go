package scaler

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// FreeUnprotected is how long an agent has to be free before others may evict it.
	FreeUnprotected = 30 * time.Second
	// Relaunch is how long Jenkins is given to call an agent before it is asked again: its
	// resolver may still hold that there is no such host.
	Relaunch = 10 * time.Second
)

// tableActions turns the table's own steps into actions.
func (d *decider) tableActions() {
	carry := map[PoolID]int{}
	for _, m := range d.agents {
		if d.carrier(m) || d.spare(m) {
			carry[m.PoolID]++
		}
	}
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
		case v.Do == "" || d.waits(m, carry):
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

// waits reports whether the table's step for an agent is not for this tick. carry is how many
// Jenkins nodes make Jenkins name the labels of each pool.
func (d *decider) waits(m *agent, carry map[PoolID]int) bool {
	v := m.verdict
	switch {
	case d.quiet && v.Do.Destructive() && v.Class != Ended && v.Class != FenceInTheWay:
		return true // an item may hide which agent it waits for
	case v.Reason == ReasonOneBuild && !m.was.Work.On && d.starting():
		return true // its item would go back into the queue, and the agent for nothing
	}
	// Until fresh berths carry its labels, Jenkins needs the node to name them.
	return v.Class == Stray && v.Do == DeleteNode && m.pool != nil && carry[m.PoolID] < 2 && !d.in.Closing
}

// starting reports that some item has its executor and has not begun: an agent that looks busy
// may still give it back, if it is marked now. (Jenkins is asked for its nodes before its
// queue: what is not pending there has begun.)
func (d *decider) starting() bool {
	return slices.ContainsFunc(d.in.Jenkins.Items, func(it Item) bool { return it.State == Pending })
}

// inPace is those of the agents whose turn it is, a few each second however often is looked:
// each node that is made or deleted takes the lock of Jenkins' queue, and it suffers from
// bursts. Their turn goes round, so that some that cannot go do not keep the others.
func (d *decider) inPace(tidy []*agent) []*agent {
	const pace, turn = 8, 5 // in a second; seconds
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

// keyed reports that the agent's pod waits for a Secret of its own. Which side calls the other
// may have been changed since the pod was made.
func (m *agent) keyed() bool {
	called := m.pool != nil && m.pool.Called && m.pool.Spec == m.Pod.Spec
	return m.Connect == Inbound && !called
}

// carrier reports whether the agent's node makes Jenkins name its labels, now and for a while.
func (d *decider) carrier(m *agent) bool {
	return m.Node != nil && !m.Node.Fence && m.Pod != nil && m.capacity() > 0 && !d.left[m]
}

// spare reports whether the agent is a berth of this process that nothing in this plan takes.
// A berth that an item names is waited for, and is a berth all the same.
func (d *decider) spare(m *agent) bool {
	return !d.left[m] && (m.verdict.Class == Berth || m.verdict.Class == Awaited && m.Berth && m.Pod == nil)
}

// freeBerths are the pool's berths that may be taken: none of a Swarm pool.
func (d *decider) freeBerths(id PoolID) []*agent {
	if p := d.pools[id]; p == nil || p.Connect != Inbound {
		return nil
	}
	var out []*agent
	for _, m := range d.byPool[id] {
		if m.verdict.Class == Berth && !d.left[m] {
			out = append(out, m)
		}
	}
	return out
}

// upkeep is stage 5: protection, calls, berths and cache slots.
func (d *decider) upkeep() {
	for _, m := range d.agents {
		d.protect(m)
	}
	for _, m := range d.agents {
		d.launch(m)
	}
	d.berths()
	d.tendSlots()
}

// protect has every pod under a build protected from eviction, and no other for long: an idle
// agent is nothing that a drain of its Kubernetes node should wait for. A pod is protected when
// it is made, for the build that it is made for. A pod that no build waits for is made
// unprotected, and is protected with its first build.
func (d *decider) protect(m *agent) {
	switch {
	case m.Pod == nil || m.Pod.Requested || m.Pod.Deleting || !m.alive():
	case m.Pod.Protected:
		d.unprotect(m)
	case m.Pinned:
		d.act(Protect, m, ReasonResume, resumeText)
	case !m.idle():
		d.act(Protect, m, ReasonBuild, buildText)
	}
}

// unprotect lets others evict a pod on which nothing runs.
func (d *decider) unprotect(m *agent) {
	switch {
	case d.grace:
	case m.verdict.Class == Held && m.online() && m.idle() && !m.Pinned:
		d.act(Unprotect, m, ReasonFree, heldText)
	case m.verdict.Class == Free && !d.leaves(m) && d.in.Now.Sub(m.is.Free) >= FreeUnprotected:
		d.act(Unprotect, m, ReasonFree, freeText())
	}
}

// launch has Jenkins call an agent that does not call it, as soon as the agent can be called.
// Jenkins itself tries a few times in the minutes after a node was made, and then hardly ever;
// a berth's pod comes later than that.
func (d *decider) launch(m *agent) {
	if m.pool == nil || !m.pool.Called || m.Pod == nil || m.Node == nil || m.Node.Online {
		return
	}
	last := m.was.Called
	if !d.callable(m) || d.in.Now.Sub(last) < Relaunch { // of one that was never asked, long ago
		m.is.Called = last
		return
	}
	m.is.Called = d.in.Now
	d.act(Launch, m, ReasonReady, launchText)
}

// callable reports whether the agent runs, and whether something is lost if it does not come:
// work, or an agent on its way.
func (d *decider) callable(m *agent) bool {
	if p := m.Pod; p.Phase != PodRunning || p.Ready.IsZero() || p.Deleting || m.verdict.Do != "" || d.leaves(m) {
		return false
	}
	switch m.verdict.Class {
	case Coming, Awaited, Cut, Reconnecting:
		return true
	case Stuck:
		return m.Grace // in which it may come after all
	case FenceInTheWay, Resuming, Ended, Fenced, Held, Leaving, Going, Busy, Draining, Free, Drained, Ghost, Berth, Intruder, Lost, Stray:
	}
	return false
}

// berths keeps BERTHS registered names per inbound pool, and at least two nodes that carry each
// pool's label set, so that Jenkins' sentences name labels.
func (d *decider) berths() {
	if d.in.Closing {
		return
	}
	have, carry := map[PoolID]int{}, map[PoolID]int{}
	for _, m := range d.agents {
		switch {
		case d.spare(m):
			have[m.PoolID]++
		case d.carrier(m):
			carry[m.PoolID]++
		}
	}
	ids := slices.SortedFunc(maps.Keys(d.pools), func(a, b PoolID) int {
		return cmp.Or(strings.Compare(a.Team, b.Team), cmp.Compare(a.Kind, b.Kind))
	})
	for _, id := range ids {
		p := d.pools[id]
		want := max(p.Berths, 2-carry[id])
		if p.Connect == Swarm {
			want = 2
		}
		for range want - have[id] {
			d.plan.Actions = append(d.plan.Actions, Action{Verb: Register, Pool: id, Reason: ReasonBerths, Text: berthText})
		}
	}
}
