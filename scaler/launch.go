package scaler

import "time"

// Relaunch is how long Jenkins is given to call an agent before it is asked again:
// its resolver may still hold that there is no such host.
const Relaunch = 10 * time.Second

// launches has Jenkins call the agents that do not call it, as soon as they can be
// called. Jenkins itself tries a few times in the minutes after a node was made, and
// then hardly ever; a berth's pod comes later than that.
func (d *decider) launches() {
	for _, m := range d.pairs {
		if m.pool == nil || !m.pool.Called || m.Pod == nil || m.Node == nil || m.Node.Online {
			continue
		}
		last := m.was.Called
		if !m.callable() || d.in.Now.Sub(last) < Relaunch { // of one that was never asked, long ago
			m.is.Called = last
			continue
		}
		m.is.Called = d.in.Now
		d.act(Launch, m, ReasonReady, "it runs, and Jenkins is to call it")
	}
}

// callable: it runs, and something is lost if it does not come: work, or an agent on its way.
func (m *member) callable() bool {
	if p := m.Pod; p.Phase != PodRunning || p.Ready.IsZero() || p.Deleting || m.verdict.Do != "" || m.left {
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
