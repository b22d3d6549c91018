package scaler

import "time"

// Class is what a pod and a Jenkins node of one name mean together.
type Class string

// The classes, in the order in which Classify tries them. If several fit, the first one wins.
const (
	FenceInTheWay Class = "fence-in-the-way" // a queued build wants the name that a fence has
	Resuming      Class = "resuming"         // a queued build wants this agent, which is marked
	Awaited       Class = "awaited"          // a queued build wants this agent and no other
	Ended         Class = "ended"            // the pod has ended by itself
	Fenced        Class = "fenced"           // a fence has the agent's name until the pod is deleted
	Held          Class = "held"             // a person took the Jenkins node offline
	Leaving       Class = "leaving"          // somebody else is deleting the pod
	Going         Class = "going"            // Bellboard has deleted the pod, and the pod is not gone yet
	Coming        Class = "coming"           // on its way: the agent has not connected yet
	Stuck         Class = "stuck"            // the agent did not connect in time
	Busy          Class = "busy"             // runs a build, and takes more builds afterwards
	Draining      Class = "draining"         // runs a build, and takes no other afterwards
	Free          Class = "free"             // connected and idle: waits for a build
	Drained       Class = "drained"          // idle and marked: takes no build
	Cut           Class = "cut"              // lost its connection while a build ran
	Reconnecting  Class = "reconnecting"     // lost its connection while idle
	Ghost         Class = "ghost"            // lost its connection, and was away for too long
	Berth         Class = "berth"            // a Jenkins node registered in advance, without a pod
	Intruder      Class = "intruder"         // a connected Jenkins node without a pod of this instance
	Lost          Class = "lost"             // the pod vanished while a build ran
	Stray         Class = "stray"            // a Jenkins node without a pod, which no team needs
)

// Classes returns every class, in the table's order.
func Classes() []Class {
	return []Class{
		FenceInTheWay, Resuming, Awaited, Ended, Fenced, Held, Leaving, Going, Coming, Stuck, Busy,
		Draining, Free, Drained, Cut, Reconnecting, Ghost, Berth, Intruder, Lost, Stray,
	}
}

// The waiting times of the table.
const (
	UnscheduledTimeout = 15 * time.Minute // how long a pod may wait for a Kubernetes node
	GhostAfter         = 6 * time.Minute  // how long an agent may be away; Jenkins itself waits five minutes
	LostAfter          = 10 * time.Minute // how long a busy Jenkins node without a pod is left to Jenkins
	// StuckPodAfter is how long a deleted pod counts to the caps after the grace of its deletion has ended. A
	// healthy Kubernetes node ends the pod in seconds. A dead Kubernetes node keeps its pods until somebody
	// removes it, maybe days later, and builds would wait for those pods.
	StuckPodAfter = 5 * time.Minute
)

// Pair is a pod and a Jenkins node of one name, with what earlier ticks and other answers say of them. Pod or
// Node may be nil, but not both.
type Pair struct {
	Name string
	PoolID
	Pod    *Pod
	Node   *Node
	Pinned bool // a queued item names this agent
	Berth  bool // this process registered the Jenkins node, and has never used it for a pod
	Grace  bool // within JENKINS_RESTART_GRACE after this process first saw Jenkins' session
	// Marked: an earlier answer showed the mark that the Jenkins node carries now, and so did every answer
	// since. Only then may the answers of this tick remove the agent.
	Marked bool
	// Quiet: Jenkins is quieting down, and the hook is not installed. Before Jenkins restarts, it waits for
	// running builds, but not for builds on a marked Jenkins node.
	Quiet  bool
	Used   bool // Bellboard saw the agent run a build, and that build has finished
	AtWork bool // the previous answer showed the agent at work
	// Gone: an earlier answer showed no Jenkins node of that name, and neither did any answer since. A single
	// list may miss a Jenkins node.
	Gone         bool
	Away         time.Time // since when every answer has shown the Jenkins node absent, or offline and idle
	LostSince    time.Time // since when every answer has shown it without a pod, offline, busy and marked
	Failing      time.Time // since when every earlier answer has shown that the pod is failing
	StartTimeout time.Duration
	Connect      Connect
	Executors    int // how many executors an agent of the pool has
}

// Verdict is what the table says of one pair.
type Verdict struct {
	Class    Class
	Capacity int  // how many executors the agent adds to the supply
	Meet     bool // Bellboard is to note on the pod that its Jenkins node was online (the row "met")
	// Do is the table's own action: the next step towards the removal of the agent, a step back from it, or
	// nothing. Later stages may add actions for agents that are Free or Busy.
	Do     Verb
	Reason Reason
}

// tidies reports whether the verdict's step only tidies up in Jenkins: a Jenkins node that no team needs, or
// a fence. While such a step waits, no build is in danger.
func (v *Verdict) tidies() bool {
	return v.Do == Fence || v.Do == DeleteNode && v.Class == Fenced || v.Class == Stray || v.Class == Lost
}

// mark returns whose mark the Jenkins node carries. A Jenkins node that is absent is not marked.
func (p *Pair) mark() OfflineBy {
	if p.Node == nil {
		return NotMarked
	}
	return p.Node.OfflineBy
}

func (p *Pair) online() bool { return p.Node != nil && p.Node.Online }

func (p *Pair) idle() bool { return p.Node == nil || p.Node.Idle }

// stuckPod reports whether the pod's deletion is overdue by StuckPodAfter, and Jenkins sees no agent there:
// its Kubernetes node must be dead or out of reach. Such a pod counts to no cap. Containers of the pod may
// still run, so the pod keeps its cache slot and its name.
func (p *Pair) stuckPod(now time.Time) bool {
	return p.Pod != nil && !p.Pod.Ended() && !p.Pod.Ends.IsZero() && now.Sub(p.Pod.Ends) >= StuckPodAfter && !p.online()
}

// size returns how many builds the agent runs at once: as many as its Jenkins node has executors, or, before
// it has a Jenkins node, as the pool says.
func (p *Pair) size() int {
	if p.Node != nil {
		return p.Node.Executors
	}
	return max(1, p.Executors)
}

// Classify is the table: it returns what a pod and a Jenkins node of one name mean together, and the one next
// step for them. Classify is pure and total, and keeps no state: after a crash between two steps, the next
// answers lead to the same row again. Rows that protect a build come before rows that remove an agent.
//
//nolint:cyclop // one flat switch: a row of the table for each case
func Classify(p Pair, now time.Time) Verdict {
	// A mark or a fence stays on an agent whose pod Bellboard has already deleted. Otherwise a build would
	// start there, and die a few seconds later with the pod.
	going := p.Pod != nil && p.Pod.DeletingByUs
	fence, ended := p.Node != nil && p.Node.Fence, p.Pod != nil && p.Pod.Ended()
	switch {
	case p.Pinned && !going && fence:
		return Verdict{Class: FenceInTheWay, Do: DeleteNode, Reason: ReasonResume}
	case p.Pinned && !going && (p.mark() == Ours || p.mark() == Hook):
		return Verdict{Class: Resuming, Do: ClearMark, Reason: ReasonResume}
	case p.Pinned:
		return Verdict{Class: Awaited, Meet: p.meets()}
	case ended && going:
		return Verdict{Class: Ended}
	case ended:
		return Verdict{Class: Ended, Do: DeletePod, Reason: ReasonEnded}
	case fence:
		return p.fenced()
	case p.mark() == Person:
		return Verdict{Class: Held}
	case p.Quiet && p.mark() == Ours && !p.idle() && !going:
		// Jenkins is about to restart, and does not wait for a build on a marked Jenkins node. While Jenkins
		// is quieting down, nothing new starts there.
		return Verdict{Class: Draining, Do: ClearMark, Reason: ReasonQuietDown, Meet: p.meets()}
	case p.Pod == nil:
		return p.podless(now)
	case going:
		return Verdict{Class: Going}
	case p.Pod.Deleting && p.Node == nil:
		return Verdict{Class: Leaving}
	case p.Pod.Deleting: // the agent lives until the grace of that deletion ends, and is to take no new build
		return p.remove(Verdict{Class: Leaving, Meet: p.meets()}, DeletePod, ReasonLeaving)
	case !p.Pod.Connected && !p.online():
		return p.unmet(now)
	case p.online():
		return p.connected()
	default:
		return p.away(now)
	}
}

// meets reports whether the Jenkins node is online, and the pod does not have the annotation "connected" yet.
func (p *Pair) meets() bool {
	return p.Pod != nil && !p.Pod.Connected && !p.Pod.Requested && p.online()
}

// fenced returns the verdict for a pair whose Jenkins node is a fence, which keeps the agent from coming
// back. Bellboard deletes the fence once the pod is gone and nothing is connected under that name.
func (p *Pair) fenced() Verdict {
	switch {
	case p.Pod == nil && !p.online() && p.idle():
		return Verdict{Class: Fenced, Do: DeleteNode, Reason: ReasonGhost}
	case p.Pod != nil && !p.Grace && !p.Pod.DeletingByUs:
		return Verdict{Class: Fenced, Do: DeletePod, Reason: ReasonGhost}
	}
	return Verdict{Class: Fenced}
}

// remove returns v with the next step of the one way to remove: first a mark that a removal may rest on,
// then, on later answers, the removal. These answers allow the removal if all of this holds:
//
//   - An earlier answer showed the same mark that this answer shows.
//   - This answer shows the Jenkins node idle.
//   - The agent is not in the restart grace.
//   - No queued item names the agent. (This is a second check: a pinned pair has rows of its own.)
func (p *Pair) remove(v Verdict, removal Verb, why Reason) Verdict {
	switch {
	case !p.Node.closed():
		v.Do, v.Reason = Mark, why
	case p.Marked && p.idle() && !p.Grace && !p.Pinned:
		v.Do, v.Reason = removal, why
	}
	return v
}

// removeMarked returns the next step of the removal of an agent that is marked and idle. If no removal may
// rest on the mark, Bellboard replaces it by its own.
func (p *Pair) removeMarked(v Verdict) Verdict {
	v.Class = Drained
	switch {
	case p.Node.closed():
		return p.remove(v, DeletePod, ReasonDrained)
	case p.mark() == Hook:
		return p.remove(v, DeletePod, ReasonHook)
	}
	return p.remove(v, DeletePod, ReasonMonitor)
}

// removeAway returns the next step of the removal of an agent that is not online:
//
//   - If the Jenkins node is there, Bellboard marks it, and then deletes the pod.
//   - If a Swarm agent's Jenkins node is absent, Bellboard registers a fence, and then deletes the pod.
//   - If an inbound agent's Jenkins node is absent, the agent cannot connect. Bellboard deletes the pod when
//     a second answer shows the Jenkins node absent.
func (p *Pair) removeAway(c Class, why Reason) Verdict {
	v := Verdict{Class: c}
	switch {
	case p.Grace:
	case p.Node != nil:
		return p.remove(v, DeletePod, why)
	case p.Connect != Inbound:
		v.Do, v.Reason = Fence, why
	case p.Gone:
		v.Do, v.Reason = DeletePod, why
	}
	return v
}

// unmet returns the verdict for a pod whose Jenkins node was never online.
func (p *Pair) unmet(now time.Time) Verdict {
	wait := p.StartTimeout
	if p.Pod.Scheduled.IsZero() {
		wait = p.Pod.patience()
	}
	orphaned := p.Gone && p.Connect == Inbound && p.Node == nil
	switch {
	case !p.idle():
		return Verdict{Class: Cut}
	case !p.Pod.Requested && (orphaned || now.Sub(p.Pod.waitsSince()) >= wait || p.givenUp(now)):
		return p.removeAway(Stuck, ReasonStuck)
	case p.mark() == NotMarked:
		return p.barred(Verdict{Class: Coming, Capacity: p.size()})
	case p.Grace: // what Jenkins shows of an agent that is not connected may still change
		return Verdict{Class: Drained}
	}
	return p.removeMarked(Verdict{})
}

// connected returns the verdict for a pair whose Jenkins node is online.
func (p *Pair) connected() Verdict {
	v := Verdict{Class: Free, Meet: p.meets()}
	if !p.Node.Idle {
		v.Class = Busy
	}
	switch why := p.doomed(); {
	case p.mark() != NotMarked && p.Node.Idle:
		return p.removeMarked(v)
	case p.mark() != NotMarked:
		v.Class = Draining
	case v.Class == Busy && p.Quiet:
		// If Bellboard marked the agent now, Jenkins' restart would no longer wait for the build.
	case why != "":
		v.Do, v.Reason = Mark, why
	case p.Kind == Ephemeral && (v.Class == Busy || p.Used && !p.Quiet):
		// A free agent that has had its one build has lost its mark: to a person, or to Bellboard while
		// Jenkins was quieting down. During quiet-down the mark stays off: only a build that resumes can
		// start then.
		v.Do, v.Reason = Mark, ReasonOneBuild
	case p.Kind == Ephemeral && (p.Used || p.AtWork):
		// The build of this agent is over. The next tick marks the agent.
	default:
		v.Capacity = p.Node.free()
	}
	return v
}

// away returns the verdict for an agent that was connected before and is not connected now.
func (p *Pair) away(now time.Time) Verdict {
	// Somebody has deleted the Jenkins node. Without it an inbound agent can never come back.
	deleted := p.Node == nil && p.Connect == Inbound && p.Gone
	switch {
	case !p.idle():
		return Verdict{Class: Cut}
	case !p.Grace && (deleted || !p.Away.IsZero() && now.Sub(p.Away) >= GhostAfter):
		return p.removeAway(Ghost, ReasonGhost)
	case p.mark() != NotMarked: // a marked agent takes no build when it reconnects
		return Verdict{Class: Reconnecting}
	}
	return p.barred(Verdict{Class: Reconnecting, Capacity: p.size()})
}

// doomed returns why an unmarked agent is to take no more builds, or "" if it may take more. Either
// Kubernetes has announced that it will remove the pod, or the agent's Docker daemon is dead, so that every
// build would fail at once.
//
// One answer that shows a dead daemon is not enough, because the daemon may have restarted since. Before an
// agent connects, it waits for its daemon, or Bellboard gives the agent up.
func (p *Pair) doomed() Reason {
	switch {
	case p.Pod.Disrupted:
		return ReasonLeaving
	case (p.Pod.Connected || p.online()) && p.Pod.DockerFailure.definite() && !p.Failing.IsZero():
		return ReasonDocker
	}
	return ""
}

// barred returns v, with a mark as its step if the agent is doomed. An unmarked agent that is not online then
// gets no build when it connects. In grace the mark waits: the queue may not show yet that a build resumes.
func (p *Pair) barred(v Verdict) Verdict {
	if why := p.doomed(); why != "" && p.Node != nil && !p.Grace {
		v.Capacity, v.Do, v.Reason = 0, Mark, why
	}
	return v
}

// podless returns the verdict for a Jenkins node of this instance without a pod.
func (p *Pair) podless(now time.Time) Verdict {
	switch {
	case p.Node.Online && p.Node.closed():
		return Verdict{Class: Intruder}
	case p.Node.Online:
		return Verdict{Class: Intruder, Do: Mark, Reason: ReasonIntruder}
	case !p.Node.Idle && p.mark() != Ours:
		return Verdict{Class: Lost, Do: Mark, Reason: ReasonLost}
	case !p.Node.Idle && p.Marked && !p.Grace && !p.LostSince.IsZero() && now.Sub(p.LostSince) >= LostAfter:
		return Verdict{Class: Lost, Do: DeleteNode, Reason: ReasonLost}
	case !p.Node.Idle:
		return Verdict{Class: Lost}
	case p.Berth && p.mark() == NotMarked:
		return Verdict{Class: Berth}
	}
	return p.remove(Verdict{Class: Stray}, DeleteNode, ReasonStray)
}
