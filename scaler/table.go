package scaler

import "time"

// Class is what a pod and a node of one name mean together.
type Class string

// The classes: the first that fits wins, in this order.
const (
	FenceInTheWay Class = "fence-in-the-way" // a build wants the name that a fence holds
	Resuming      Class = "resuming"         // a build wants an agent that is marked
	Awaited       Class = "awaited"          // a build wants this very agent
	Ended         Class = "ended"            // the pod ended by itself
	Fenced        Class = "fenced"           // kept out until its pod is deleted
	Held          Class = "held"             // a person took it offline
	Leaving       Class = "leaving"          // somebody else deletes its pod
	Going         Class = "going"            // Bellboard has deleted its pod, it is not gone yet
	Coming        Class = "coming"           // not connected yet
	Stuck         Class = "stuck"            // not connected for too long
	Busy          Class = "busy"             // works, and takes more work after
	Draining      Class = "draining"         // works, and takes no more
	Free          Class = "free"             // waits for work
	Drained       Class = "drained"          // idle, takes no more
	Cut           Class = "cut"              // lost its connection under a build
	Reconnecting  Class = "reconnecting"     // lost its connection, idle
	Ghost         Class = "ghost"            // the same, for too long
	Berth         Class = "berth"            // a registered name, not used yet
	Intruder      Class = "intruder"         // online without a pod of ours
	Lost          Class = "lost"             // its pod vanished under a build
	Stray         Class = "stray"            // a node that nobody needs
)

// Classes lists every class in the table's order.
func Classes() []Class {
	return []Class{
		FenceInTheWay, Resuming, Awaited, Ended, Fenced, Held, Leaving, Going, Coming, Stuck, Busy,
		Draining, Free, Drained, Cut, Reconnecting, Ghost, Berth, Intruder, Lost, Stray,
	}
}

// The waits of the table.
const (
	// UnscheduledTimeout is how long a pod may wait for a machine.
	UnscheduledTimeout = 15 * time.Minute
	// GhostAfter is how long a connected agent may be away: a little over the five
	// minutes that Jenkins itself waits for it.
	GhostAfter = 6 * time.Minute
	// LostAfter is how long a busy node without a pod is left to Jenkins.
	LostAfter = 10 * time.Minute
	// StuckPodAfter is how long after the grace of its deletion a pod counts to the caps.
	// A machine that is well ends it in seconds. One that is dead never does, and has its
	// pods until somebody removes it, maybe for days: builds would wait for them.
	StuckPodAfter = 5 * time.Minute
)

// Pair is a pod and a node of one name, and what earlier ticks and other
// answers say of it. Pod and Node may be nil, not both.
type Pair struct {
	Name string
	PoolID
	Pod    *Pod
	Node   *Node
	Pinned bool // a queued item names it
	Berth  bool // registered by this process and never taken
	Grace  bool // within JENKINS_RESTART_GRACE of a session new to this process
	// Marked: an answer before these showed the very mark that the node carries, and every
	// one since. Only then may these answers remove it.
	Marked bool
	// Quiet: Jenkins is quieting down, without the hook. Before it restarts it waits for
	// builds, but not for those on a node that is marked.
	Quiet bool
	// Used: it was seen at work, and has finished. AtWork: it was at work in the answer before.
	Used, AtWork bool
	// Gone: an answer before these showed no node of that name, and every one
	// since. One list may miss a node.
	Gone bool
	// Away is since when every answer showed it offline and idle, or absent.
	Away time.Time
	// LostSince is since when every answer showed it without pod, offline, busy and marked.
	LostSince time.Time
	// Failing is since when every answer before these showed that its pod is failing.
	Failing      time.Time
	StartTimeout time.Duration
	Connect      Connect
	Executors    int // that its pool's agents have
}

// Verdict is what the table says of one pair.
type Verdict struct {
	Class    Class
	Capacity int // executors it adds to supply
	// Meet: note on the pod that its node was online (the row "met").
	Meet bool
	// Do is the table's own action ("" = none): the next step of the one way to
	// remove, or its opposite. The policy's actions come on top, for Free and Busy.
	Do     Verb
	Reason Reason
}

// tidies reports a step that only tidies up in Jenkins: for a node that nobody needs, a
// fence for an agent that is away, or the end of one. No build is in danger meanwhile.
func (v *Verdict) tidies() bool {
	switch v.Class { //nolint:exhaustive // of the others a fence alone does
	case Stray, Lost:
		return v.Do != ""
	case Fenced:
		return v.Do == DeleteNode
	}
	return v.Do == Fence
}

// mark reports who marked the node; an absent node is not marked.
func (p *Pair) mark() OfflineBy {
	if p.Node == nil {
		return NotMarked
	}
	return p.Node.OfflineBy
}

func (p *Pair) online() bool { return p.Node != nil && p.Node.Online }

func (p *Pair) idle() bool { return p.Node == nil || p.Node.Idle }

// stuckPod reports that it has been deleted for so long that its machine must be dead or out of
// reach, and Jenkins sees no agent there. It counts to no cap. Something of it may run
// all the same, so that its cache slot and its name stay its own.
func (p *Pair) stuckPod(now time.Time) bool {
	return p.Pod != nil && !p.Pod.Ended() && !p.Pod.Ends.IsZero() && now.Sub(p.Pod.Ends) >= StuckPodAfter && !p.online()
}

// size is how many builds it runs at once: what its node has, and before it has
// one, its pool's.
func (p *Pair) size() int {
	if p.Node != nil {
		return p.Node.Executors
	}
	return max(1, p.Executors)
}

// closed reports whether its node carries a mark that a removal may rest on.
func (p *Pair) closed() bool { return p.Node != nil && p.Node.closed() }

// removable: an earlier answer showed the mark that this one shows, and this one says
// idle, not pinned, out of grace. Pinned pairs never get this far down the table.
func (p *Pair) removable() bool {
	return p.closed() && p.Marked && p.idle() && !p.Grace && !p.Pinned
}

// atRisk: a build runs on it, and a restart of Jenkins that is under way would not wait
// for the build, since our mark is on the node. Nothing new starts there meanwhile.
func (p *Pair) atRisk() bool {
	return p.Quiet && p.mark() == Ours && !p.Node.Idle && (p.Pod == nil || !p.Pod.DeletingByUs)
}

// Classify is the table: what a pod and a node of one name mean together, and
// the one next step for it. It is pure and total, and keeps no state: whatever
// crashes between two steps, the next answers find the same row again.
//
// Order is meaning: the rows that protect a build come before those that remove.
//
//nolint:cyclop // one flat switch: a row of the table for each case
func Classify(p Pair, now time.Time) Verdict {
	// Nothing is opened for a build that would only start on an agent that
	// Bellboard has already sent away: it would die with the grace of a few seconds.
	open := p.Pinned && (p.Pod == nil || !p.Pod.DeletingByUs)
	switch {
	case open && p.Node != nil && p.Node.Fence:
		return Verdict{Class: FenceInTheWay, Do: DeleteNode, Reason: ReasonResume}
	case open && (p.mark() == Ours || p.mark() == Hook):
		return Verdict{Class: Resuming, Do: ClearMark, Reason: ReasonResume}
	case p.Pinned:
		return Verdict{Class: Awaited, Meet: p.meets()}
	case p.Pod != nil && p.Pod.Ended():
		v := Verdict{Class: Ended}
		if !p.Pod.DeletingByUs {
			v.Do, v.Reason = DeletePod, ReasonEnded
		}
		return v
	case p.Node != nil && p.Node.Fence:
		return p.fenced()
	case p.mark() == Person:
		return Verdict{Class: Held}
	case p.atRisk():
		return Verdict{Class: Draining, Do: ClearMark, Reason: ReasonQuietDown, Meet: p.meets()}
	case p.Pod == nil:
		return p.podless(now)
	case p.Pod.DeletingByUs:
		return Verdict{Class: Going}
	case p.Pod.Deleting:
		return p.leaving()
	case !p.Pod.Connected && !p.online():
		return p.unmet(now)
	case p.online():
		return p.connected()
	default:
		return p.away(now)
	}
}

// meets: its node is online and the pod does not say so yet.
func (p *Pair) meets() bool {
	return p.Pod != nil && !p.Pod.Connected && !p.Pod.Requested && p.online()
}

// fenced: the name is taken in Jenkins, so its agent cannot come back. The
// fence itself goes once the pod is gone, and nothing is connected to it.
func (p *Pair) fenced() Verdict {
	v := Verdict{Class: Fenced}
	switch {
	case p.Pod == nil:
		if !p.online() && p.idle() {
			v.Do, v.Reason = DeleteNode, ReasonGhost
		}
	case !p.Grace && !p.Pod.DeletingByUs:
		v.Do, v.Reason = DeletePod, ReasonGhost
	}
	return v
}

// leaving: somebody else deletes the pod. The agent lives until its grace ends,
// so it takes no new work, and goes as soon as it is idle.
func (p *Pair) leaving() Verdict {
	v := Verdict{Class: Leaving, Meet: p.meets()}
	switch {
	case p.Node == nil:
	case !p.closed():
		v.Do, v.Reason = Mark, ReasonLeaving
	case p.removable():
		v.Do, v.Reason = DeletePod, ReasonLeaving
	}
	return v
}

// unmet: a pod whose node was never online.
func (p *Pair) unmet(now time.Time) Verdict {
	if p.Node != nil && !p.Node.Idle {
		return Verdict{Class: Cut}
	}
	deadline, wait := p.Pod.Scheduled, p.StartTimeout
	if deadline.IsZero() {
		deadline, wait = p.Pod.Created, p.Pod.patience()
	}
	orphaned := p.Gone && p.Connect == Inbound && p.Node == nil && !p.Pod.Requested
	if !orphaned && (p.Pod.Requested || now.Sub(deadline) < wait && !p.givenUp(now)) {
		if p.mark() == NotMarked {
			return p.barred(Verdict{Class: Coming, Capacity: p.size()})
		}
		v := Verdict{Class: Drained}
		if p.Grace {
			return v // what Jenkins shows of an agent that is not connected may still change
		}
		return p.removeMarked(v, ReasonDrained)
	}
	return p.removeAway(Stuck, ReasonStuck)
}

// connected: the node is online.
func (p *Pair) connected() Verdict {
	v := Verdict{Meet: p.meets()}
	if !p.Node.Idle {
		if p.mark() != NotMarked {
			v.Class = Draining
			return v
		}
		v.Class = Busy
		switch why := p.doomed(); {
		case p.Quiet: // a mark would only take the build out of what the restart waits for
		case why != "":
			v.Do, v.Reason = Mark, why
		case p.Kind == Ephemeral:
			v.Do, v.Reason = Mark, ReasonOneBuild
		default:
			v.Capacity = p.Node.free()
		}
		return v
	}
	switch why := p.doomed(); {
	case p.mark() != NotMarked:
		v.Class = Drained
		return p.removeMarked(v, ReasonDrained)
	case why != "":
		v.Class, v.Do, v.Reason = Free, Mark, why
	case p.Kind == Ephemeral && p.Used:
		// Its mark was lifted: by a person, or by Bellboard while Jenkins was quieting down.
		// In quiet-down it stays off: only a build that resumes can start now.
		if v.Class = Free; !p.Quiet {
			v.Do, v.Reason = Mark, ReasonOneBuild
		}
	case p.Kind == Ephemeral && p.AtWork:
		v.Class = Free // its build is over: the next look marks it
	default:
		v.Class, v.Capacity = Free, p.size()
	}
	return v
}

// removeMarked is one step of the way out for a marked, idle agent: our own mark over
// one that no removal may rest on, then, on later answers, the deletion of the pod.
func (p *Pair) removeMarked(v Verdict, why Reason) Verdict {
	switch {
	case p.mark() == Hook && !p.closed():
		v.Do, v.Reason = Mark, ReasonHook
	case p.mark() == Monitor:
		v.Do, v.Reason = Mark, ReasonMonitor
	case p.removable():
		v.Do, v.Reason = DeletePod, why
	}
	return v
}

// away: an agent that was connected once, and is not now.
func (p *Pair) away(now time.Time) Verdict {
	switch {
	case !p.idle():
		return Verdict{Class: Cut}
	case p.Node == nil && p.Connect == Inbound && p.Gone && !p.Grace:
		// Somebody has deleted its node, and without it the agent can never come back.
		return p.removeAway(Ghost, ReasonGhost)
	}
	if p.Grace || p.Away.IsZero() || now.Sub(p.Away) < GhostAfter {
		v := Verdict{Class: Reconnecting, Capacity: p.size()}
		if p.mark() != NotMarked {
			v.Capacity = 0 // when it comes back it takes no work
		}
		return p.barred(v)
	}
	return p.removeAway(Ghost, ReasonGhost)
}

// doomed is why an agent that nobody has marked is to take no more work: Kubernetes
// has said that it will take its pod, or its Docker daemon is dead, so that every
// build would fail at once. One answer is not enough for that: a daemon may have
// come back since. One that has not come is given up, or comes with its daemon.
func (p *Pair) doomed() Reason {
	switch {
	case p.Pod.Disrupted:
		return ReasonLeaving
	case (p.Pod.Connected || p.online()) && p.Pod.DockerFailure.definite() && !p.Failing.IsZero():
		return ReasonDocker
	}
	return ""
}

// barred: an agent that is not online gets no work when it comes, if it is
// doomed. In grace that waits: the item of a build that resumes may not be in
// the queue yet.
func (p *Pair) barred(v Verdict) Verdict {
	if why := p.doomed(); why != "" && p.Node != nil && p.mark() == NotMarked && !p.Grace {
		v.Capacity, v.Do, v.Reason = 0, Mark, why
	}
	return v
}

// removeAway is one step of the way out for an agent that is not online: mark,
// or fence where Swarm's node is absent, then delete the pod. An inbound agent
// whose node is absent cannot connect, so its pod goes when a second answer says so.
func (p *Pair) removeAway(c Class, why Reason) Verdict {
	v := Verdict{Class: c}
	if p.Grace {
		return v
	}
	switch {
	case p.Node == nil && p.Connect == Inbound:
		if p.Gone {
			v.Do, v.Reason = DeletePod, why
		}
	case p.Node == nil:
		v.Do, v.Reason = Fence, why
	case !p.closed():
		v.Do, v.Reason = Mark, why
	case p.removable():
		v.Do, v.Reason = DeletePod, why
	}
	return v
}

// podless: a node of ours without a pod.
func (p *Pair) podless(now time.Time) Verdict {
	switch {
	case p.Node.Online:
		v := Verdict{Class: Intruder}
		if !p.closed() {
			v.Do, v.Reason = Mark, ReasonIntruder
		}
		return v
	case !p.Node.Idle:
		v := Verdict{Class: Lost}
		switch {
		case p.mark() != Ours:
			v.Do, v.Reason = Mark, ReasonLost
		case p.Marked && !p.Grace && !p.LostSince.IsZero() && now.Sub(p.LostSince) >= LostAfter:
			v.Do, v.Reason = DeleteNode, ReasonLost
		}
		return v
	case p.Berth && p.mark() == NotMarked:
		return Verdict{Class: Berth}
	}
	v := Verdict{Class: Stray}
	switch {
	case !p.closed():
		v.Do, v.Reason = Mark, ReasonStray
	case p.removable():
		v.Do, v.Reason = DeleteNode, ReasonStray
	}
	return v
}
