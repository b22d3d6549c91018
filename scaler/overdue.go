package scaler

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

const (
	// startsKnown is from how many start-ups on it is known how long a pool's take.
	startsKnown = 8
	// overdueFloor is the least that an agent is waited for like any other.
	overdueFloor = 30 * time.Second
	// lateShare: for so many agents of a pool that have come, one may be late at once.
	lateShare = 2
)

// waitsSince is from when on an agent is expected: since it has a machine, or
// since it was made. START_TIMEOUT counts from there, too.
func (p *Pod) waitsSince() time.Time {
	if p.Scheduled.IsZero() {
		return p.Created
	}
	return p.Scheduled
}

// overdueAfter is how long after that an agent of the pool is overdue: twice what
// nine in ten took of late. Zero: nobody knows, and none is. In grace none is
// either: all may be slow for the restart, and a new process knows only of those
// that are connected. Nor is one shortly after Jenkins or Kubernetes did not answer:
// those who came meanwhile are about to be seen.
func (d *scene) overdueAfter(id PoolID) time.Duration {
	usual, p := d.pooled.of(id).Starts.Usual, d.pools[id]
	if p == nil || d.grace || d.in.Now.Sub(d.mem.Sees) < overdueFloor || usual.Count < startsKnown {
		return 0
	}
	return min(max(overdueFloor, 2*usual.Most), p.StartTimeout)
}

// overtook reports that the agent which started so was behind p, and came in half
// of the time that p has waited: so the way is clear, and p hangs alone. Behind it
// is who got a machine no earlier; behind one that waits for a machine, who was
// made later and has had one since. Where all take as long as one another, or up
// to twice as long, and machines are given in turn, nobody overtakes anybody.
func (s *Startup) overtook(p *Pod, now time.Time) bool {
	began, behind := s.Scheduled, !s.Scheduled.Before(p.Scheduled)
	if p.Scheduled.IsZero() {
		began, behind = s.Created, s.Created.After(p.Created)
	}
	return behind && 2*s.Created.Add(s.Took).Sub(began) <= now.Sub(p.waitsSince())
}

// lookForOverdue finds the agents that are late: overdue, and overtaken by another
// of their pool. No build is to wait for them, so they are no supply; nothing else
// follows from it, and one that comes after all is one more that is free. There
// are never many, so that no odd way of learning doubles a fleet; and of those that
// wait for a machine each is waited for twice as long as the one before, since another
// may have to wait for one as well. Who has come lives, or did so within START_TIMEOUT:
// so long who hangs is there.
//
// Where nobody is overtaken all may be slow, or there is no other. Then one is late
// when it is overdue for as long again, unless it waits for what another would wait
// for, too: another that is made tells which it is.
func (d *scene) lookForOverdue() {
	for id := range d.pools {
		after, came := d.overdueAfter(id), 0
		if after == 0 {
			continue
		}
		var late, alone []*agent
		for _, m := range d.byPool[id] {
			if !m.alive() {
				continue
			}
			if m.Pod.Connected || m.online() {
				came++
				continue
			}
			switch waited := d.in.Now.Sub(m.Pod.waitsSince()); {
			case m.capacity() == 0 || waited < after:
			case d.overtaken(m.Pod):
				late = append(late, m)
			case waited >= 2*after && !m.Pod.waitsForAll():
				alone = append(alone, m)
			}
		}
		came = max(came, d.cameWithin(id))
		may, machineless := max(1, came/lateShare), 0
		if len(late) == 0 {
			late, may = alone, 1
		}
		slices.SortFunc(late, func(a, b *agent) int {
			return cmp.Or(a.Pod.Created.Compare(b.Pod.Created), strings.Compare(a.Name, b.Name))
		})
		for _, m := range late {
			switch {
			case !m.Pod.Scheduled.IsZero():
				if may--; may < 0 {
					continue
				}
			case d.in.Now.Sub(m.Pod.Created) < after<<machineless:
				continue
			default:
				machineless++
			}
			m.overdue = true
		}
	}
}

// waitsForAll: it stands where another would most likely stand as well: a machine
// that the cluster has yet to make, or an image that a new machine has not.
func (p *Pod) waitsForAll() bool {
	phase := p.reached()
	return phase == PhaseSchedule || phase == PhasePull || phase == PhaseAgent
}

// cameWithin is how many of the pool's last start-ups are no older than START_TIMEOUT.
func (d *scene) cameWithin(id PoolID) int {
	n, last := 0, d.pooled.of(id).Starts.Last
	for i := range last {
		if d.in.Now.Sub(last[i].Created) < d.pools[id].StartTimeout {
			n++
		}
	}
	return n
}

func (d *scene) overtaken(p *Pod) bool {
	last := d.pooled.of(p.PoolID).Starts.Last
	for i := range last {
		if last[i].overtook(p, d.in.Now) {
			return true
		}
	}
	return false
}
