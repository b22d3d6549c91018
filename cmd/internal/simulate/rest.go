package simulate

import (
	"cmp"
	"time"

	"bellboard/scaler"
)

// rest returns the earliest time at which a poll can decide anything new, if nothing happens in the world
// until then. Polls before that time are skipped, which changes no digit. A decision of the same world changes
// only when one of its clocks passes a bound, so rest returns the first of these bounds.
func (b *bellboard) rest(w *world) int64 {
	next := b.last + b.poll
	m := &b.in.Memory
	if b.acted || w.count[leaving] > 0 || len(m.Vetoes) > 0 || !b.atRest() {
		return next
	}
	rest, now := b.edge, b.in.Now
	bound := func(since time.Time, after time.Duration) {
		if t := since.Add(after); !since.IsZero() && t.After(now) {
			rest = min(rest, t.Add(time.Millisecond-1).UnixMilli())
		}
	}
	for i := range b.team.Pools {
		p := &b.team.Pools[i]
		known := m.Pools[p.PoolID]
		if known.Backoff.Came || !known.Backoff.Until.IsZero() {
			return next
		}
		if p.Kind == scaler.Persistent && (w.count[free] > 0 || p.Executors > 1) { // the cooldown delays nothing else
			bound(known.Down, b.team.ScaleDownCooldown)
			bound(m.Started, b.team.ScaleDownCooldown)
		}
		bound(known.Up, b.team.ScaleUpCooldown)
		bound(known.Roomy, p.IdleTimeout)
	}
	for _, s := range b.podOf {
		known, pod := m.Agents[s.name], &b.in.Cluster.Pods[s.pod]
		if a := s.agent; a.state == starting {
			rest = min(rest, b.startBound(w, s, pod))
			continue
		}
		bound(known.Free, scaler.FreeUnprotected)
		bound(known.Free, cmp.Or(s.pool.IdleTimeout, scaler.FreeAtLeast))
		if s.pool.MaxLifetime > 0 {
			bound(pod.Created, s.pool.MaxLifetime)
		}
	}
	for i := range b.in.Cluster.Slots {
		v := &b.in.Cluster.Slots[i]
		known := m.Slots[v.Key()]
		bound(known.Used, v.Keep)
		bound(known.Aside, 0)
	}
	return min(rest, b.policyBound())
}

// policyBound returns when the policy may decide anything new: about an agent for a build to come, or about a
// cache slot that no agent uses.
func (b *bellboard) policyBound() int64 {
	rest, now := int64(never), b.in.Now
	known := b.in.Memory.Teams[b.team.Name]
	if t := known.Due(now); !t.IsZero() {
		rest = t.Add(time.Millisecond - 1).UnixMilli()
	}
	used := 0
	for _, s := range b.podOf {
		if s.agent.slot != nil {
			used++
		}
	}
	if len(b.in.Cluster.Slots) > used {
		rest = min(rest, now.Truncate(scaler.SlotsEvery).Add(scaler.SlotsEvery).UnixMilli())
	}
	return rest
}

// startBound returns when an agent that starts may be overdue. What else its start shows decides nothing.
func (b *bellboard) startBound(w *world, s *seat, pod *scaler.Pod) int64 {
	if s.agent.online == never {
		return b.last + b.poll
	}
	// An agent is overdue no earlier than after twice the time in which nine of ten starts were done.
	usual := b.in.Memory.Pools[pod.PoolID].Starts.Usual.Most
	since := pod.Scheduled
	if since.IsZero() {
		since = pod.Created
	}
	late := since.Add(min(max(30*time.Second, 2*usual), s.pool.StartTimeout)).UnixMilli()
	if late <= w.now {
		return b.last + b.poll
	}
	return late
}

// atRest reports whether nothing takes a second poll: no agent and no Jenkins node is on its way to be removed,
// and no one-build agent has ended its build without a mark.
func (b *bellboard) atRest() bool {
	for i := range b.in.Jenkins.Nodes {
		s, n := b.nodeOf[i], &b.in.Jenkins.Nodes[i]
		switch {
		case n.OfflineBy != scaler.NotMarked && n.Idle:
			return false
		case s.pod < 0 && !b.in.Berths[s.name]:
			return false
		case n.Kind == scaler.Ephemeral && n.Idle && s.agent != nil && s.agent.builds > 0:
			return false
		}
	}
	return true
}
