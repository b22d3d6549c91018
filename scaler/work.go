package scaler

import (
	"cmp"
	"slices"
	"strings"
)

// Work is what is known of an agent's builds.
type Work struct {
	Pool PoolID
	// On: it has work, or lost its connection while it had. A build that waits
	// for its agent to come back is the same build.
	On bool
	// Builds is how many it was last seen to run, Why what its pod told last of
	// its end, should it be near.
	Builds int
	Why    string
	// Build is the URL of the build that was seen last, Since Jenkins' session in which
	// it was first seen, and Resumed the later one in which it was seen to go on.
	Build, Since, Resumed string
}

// follow notes which build the node runs, in that session of Jenkins.
func (w *Work) follow(n *Node, session string) {
	switch {
	case !n.Online || n.Build == "":
	case n.Build != w.Build:
		w.Build, w.Since, w.Resumed = n.Build, session, ""
	case session != w.Since:
		w.Resumed = session
	}
}

// over reports whether its agent was seen at work, and has finished.
func (w Work) over() bool { return w.Builds > 0 && !w.On }

// work follows who is at work, to count the builds that lost their agent and
// the second builds of ephemeral ones. Only an agent that is online, idle and
// named by nobody has finished: one that is away may resume.
func (s *scene) work(m *agent) {
	was := m.was.Work
	seen := was.Builds > 0
	busy := m.Node != nil && !m.Node.Idle
	is := was
	is.Pool, is.On = m.PoolID, false
	// Our own deletion of what was going anyway is not why it went.
	if m.Pod != nil && (was.Why == "" || !m.Pod.DeletingByUs || m.Pod.Ended()) {
		is.Why = m.Pod.ending()
	}
	switch {
	case m.verdict.Class == Lost || !busy && was.On && (m.verdict.Class == Ended || m.verdict.Class == Stray):
		if was.On {
			s.lose(m.Name, is)
		}
	case busy:
		is.On, is.Builds = true, max(1, m.Node.Busy)
		is.follow(m.Node, s.in.Jenkins.Session)
		switch {
		case !seen:
			s.firstBuild(m)
		case !was.On && m.Kind == Ephemeral:
			s.facts.SecondBuilds[m.PoolID]++
		}
	case seen:
		is.On = was.On && (m.Pinned || !m.online())
	default:
		return
	}
	m.is.Work = is
}

// vanished finds the builds whose agent is gone without a trace, as Swarm's
// are: their node goes with their pod.
func (s *scene) vanished() {
	for name, was := range s.in.Memory.Agents {
		if was.Work.On && s.byName[name] == nil {
			s.lose(name, was.Work)
		}
	}
	slices.SortFunc(s.facts.BuildsLost, func(a, b LostBuilds) int { return strings.Compare(a.Agent, b.Agent) })
}

func (s *scene) lose(agent string, w Work) {
	why := cmp.Or(w.Why, vanishedText)
	s.facts.BuildsLost = append(s.facts.BuildsLost, LostBuilds{PoolID: w.Pool, Agent: agent, Builds: max(1, w.Builds), Text: why})
}
