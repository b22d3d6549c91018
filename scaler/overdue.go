package scaler

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

const (
	startsKnown  = 8                // starts of a pool that show how long its agents usually take
	overdueFloor = 30 * time.Second // the shortest time after which an agent can be overdue
	overdueShare = 2                // for so many agents that have connected, one may be overdue at once
)

// waitsSince returns the time from which on an agent is expected, and from which START_TIMEOUT counts: when
// its pod got a Kubernetes node, or else when the pod was created.
func (p *Pod) waitsSince() time.Time { return cmp.Or(p.Scheduled, p.Created) }

// overdueAfter returns how long after waitsSince an agent of the pool is overdue: after twice the time in
// which nine of ten recent starts were done. Zero: no agent of the pool is overdue, since too few starts are
// known, or since starts may look slow that are not. After a restart a new process knows only the agents that
// are connected. After a hold, agents that connected meanwhile are about to be seen.
func (d *scene) overdueAfter(id PoolID) time.Duration {
	usual, p := d.pooled.of(id).Starts.Usual, d.pools[id]
	if p == nil || d.grace || d.in.Now.Sub(d.mem.Sees) < overdueFloor || usual.Count < startsKnown {
		return 0
	}
	return min(max(overdueFloor, 2*usual.Most), p.StartTimeout)
}

// overtook reports whether the agent of the start-up s overtook the agent of pod p: then p hangs alone. Both
// of these have to hold:
//
//   - s began behind p. If p has a Kubernetes node, the agent of s got its Kubernetes node no earlier. If p
//     waits for a Kubernetes node, the agent of s was made later, and has had a Kubernetes node since.
//   - From there to its connection, the agent of s took at most half of the time that p has waited so far.
//
// For example, p got its Kubernetes node 60 s ago and has not connected. Another agent got its Kubernetes
// node 10 s after p, and connected 20 s later: it overtook p. If all starts are slow, no agent overtakes
// another.
func (s *Startup) overtook(p *Pod, now time.Time) bool {
	began, behind := s.Scheduled, !s.Scheduled.Before(p.Scheduled)
	if p.Scheduled.IsZero() {
		began, behind = s.Created, s.Created.After(p.Created)
	}
	return behind && 2*s.connected().Sub(began) <= now.Sub(p.waitsSince())
}

// lookForOverdue finds the agents that are overdue, which are no supply: no build waits for them. Nothing
// else follows. ADR 9 says why these rules double no fleet when everything is slow.
//
// Among agents that wait for a Kubernetes node, each next agent is overdue only after twice the time of the
// agent before: a replacement may have to wait for a Kubernetes node too.
func (d *scene) lookForOverdue() {
	for id := range d.pools {
		after := d.overdueAfter(id)
		if after == 0 {
			continue
		}
		hanging, most := d.hanging(id, after)
		for _, m := range hanging {
			if m.Pod.Scheduled.IsZero() {
				if m.overdue = d.in.Now.Sub(m.Pod.Created) >= after; m.overdue {
					after *= 2
				}
				continue
			}
			m.overdue = most > 0
			most--
		}
	}
}

// hanging returns the agents of a pool that have waited for longer than after and that another agent has
// overtaken, the oldest first, and how many of those with a Kubernetes node may be overdue at once. The limit
// grows with the agents that are connected, or that started within the last START_TIMEOUT: an agent that
// hangs is there for that long.
//
// If no agent is overtaken, one agent is overdue after twice the time, unless a replacement would most likely
// wait for the same thing. The replacement shows whether all starts are slow or one agent hangs.
func (d *scene) hanging(id PoolID, after time.Duration) (hanging []*agent, most int) {
	last, connected, started := d.pooled.of(id).Starts.Last, 0, 0
	for i := range last {
		if d.in.Now.Sub(last[i].Created) < d.pools[id].StartTimeout {
			started++
		}
	}
	var alone []*agent
	for _, m := range d.byPool[id] {
		if !m.alive() {
			continue
		}
		// A replacement would most likely wait too for a Kubernetes node that the cluster has yet to add, and
		// for an image that a new Kubernetes node does not have.
		phase, _ := m.Pod.reached()
		common := phase == PhaseSchedule || phase == PhasePull || phase == PhaseAgent
		switch waited := d.in.Now.Sub(m.Pod.waitsSince()); {
		case m.Pod.Connected || m.online():
			connected++
		case m.capacity() == 0 || waited < after:
		case slices.ContainsFunc(last, func(s Startup) bool { return s.overtook(m.Pod, d.in.Now) }):
			hanging = append(hanging, m)
		case waited >= 2*after && !common:
			alone = append(alone, m)
		}
	}
	most = max(1, connected/overdueShare, started/overdueShare)
	if len(hanging) == 0 {
		hanging, most = alone, 1
	}
	slices.SortFunc(hanging, func(a, b *agent) int {
		return cmp.Or(a.Pod.Created.Compare(b.Pod.Created), strings.Compare(a.Name, b.Name))
	})
	return hanging, most
}
