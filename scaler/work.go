package scaler

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Work is what is known of an agent's builds.
type Work struct {
	Pool PoolID
	// On: the agent runs a build, or lost its connection while it ran one. A build that waits for its agent
	// to come back is the same build.
	On     bool
	Builds int    // how many builds the agent was last seen to run
	Why    string // the last reason that the pod gave for its end, in case the end is near
	// Build is the URL of the build that was seen last. Since is the session of Jenkins in which that build
	// was first seen. Resumed is the later session in which that build was seen to go on.
	Build, Since, Resumed string
	Began                 time.Time // when that build was first seen; zero: it is over, or ran before the process began
	Again                 bool      // the agent had run a build before that build
}

// follow notes which build the Jenkins node runs, in that session of Jenkins.
func (w *Work) follow(n *Node, session string) {
	switch {
	case !n.Online || n.Build == "":
	case n.Build != w.Build:
		w.Build, w.Since, w.Resumed = n.Build, session, ""
	case session != w.Since:
		w.Resumed = session
	}
}

// over reports whether the agent was seen at work, and has finished its builds.
func (w Work) over() bool { return w.Builds > 0 && !w.On }

// work updates what is known of the agent's builds. work also counts the builds that lost their agent, and
// the second builds of ephemeral agents. Only an agent that is online, idle and not pinned has finished its
// build: a build whose agent is away may resume.
func (s *scene) work(m *agent) {
	was, class := m.was.Work, m.verdict.Class
	seen, busy := was.Builds > 0, !m.idle()
	is := was
	is.Pool, is.On = m.PoolID, false
	// If the agent was going anyway, Bellboard's own deletion of the pod is not the reason.
	if m.Pod != nil && (was.Why == "" || !m.Pod.DeletingByUs || m.Pod.Ended()) {
		is.Why = m.Pod.ending()
	}
	switch {
	case was.On && (class == Lost || !busy && (class == Ended || class == Stray)):
		s.lose(m.Name, is)
	case class == Lost: // its builds were lost before
	case busy:
		s.atWork(m, &is)
	case seen:
		if is.On = was.On && (m.Pinned || !m.online()); !is.On {
			s.built(m, &is)
		}
	default:
		return
	}
	m.is.Work = is
}

// atWork notes the builds that the agent runs now.
func (s *scene) atWork(m *agent, is *Work) {
	was := m.was.Work
	is.On, is.Builds = true, max(1, m.Node.Busy)
	is.follow(m.Node, s.in.Jenkins.Session)
	another := was.Build != "" && is.Build != was.Build
	if another {
		s.built(m, is)
	}
	if was.Builds == 0 {
		s.firstBuild(m)
	} else if !was.On && m.Kind == Ephemeral {
		s.facts.SecondBuilds[m.PoolID]++
	}
	if was.On && !another {
		return
	}
	is.Again = was.Builds > 0
	if !s.in.Memory.Started.IsZero() { // a process that begins does not know how long the build has run
		is.Began = s.in.Now
	}
}

// built notes that an agent's build is over. If Jenkins restarted meanwhile, or if the agent runs several builds
// at once, it is not known how long the build ran.
func (s *scene) built(m *agent, is *Work) {
	w := m.was.Work
	is.Began = time.Time{}
	if w.Began.IsZero() || w.Build == "" || w.Resumed != "" || m.size() > 1 {
		return
	}
	warmth := Cold
	if m.Pod != nil && m.Pod.Warmth == Warm {
		warmth = Warm
	}
	build := strings.TrimSuffix(w.Build, "/") // the URL of the job, and a number
	s.facts.Builds = append(s.facts.Builds, BuildDone{
		PoolID: m.PoolID, Agent: m.Name, Job: build[:max(0, strings.LastIndexByte(build, '/'))], Warmth: warmth,
		Began: w.Began, Took: s.in.Now.Sub(w.Began), Again: w.Again,
	})
}

// vanished finds the builds whose agent is gone without a trace, as a Swarm agent's Jenkins node goes with
// its pod.
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
