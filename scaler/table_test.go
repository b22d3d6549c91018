package scaler

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// pairOf returns a pair of an ephemeral inbound agent that works as it should: connected, online, idle, out
// of grace. Each change alters one thing.
func pairOf(change ...func(*Pair)) Pair {
	p := Pair{
		Name: "web-e-0000000001", PoolID: PoolID{"web", Ephemeral}, Connect: Inbound, StartTimeout: 5 * time.Minute,
		Pod: &Pod{
			Name: "web-e-0000000001", PoolID: PoolID{"web", Ephemeral}, UID: "u", Phase: PodRunning, Connect: Inbound,
			Created: noon.Add(-time.Hour), Scheduled: noon.Add(-time.Hour), Connected: true,
		},
		Node: &Node{Name: "web-e-0000000001", Team: "web", Kind: Ephemeral, Online: true, Executors: 1, Idle: true},
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

// The changes that the cases make to a pair.
func pinned(p *Pair)  { p.Pinned = true }
func grace(p *Pair)   { p.Grace = true }
func seen(p *Pair)    { p.Marked = true } // an earlier answer showed Bellboard's mark
func gone(p *Pair)    { p.Gone = true }   // an earlier answer showed no Jenkins node
func berth(p *Pair)   { p.Berth = true }
func noPod(p *Pair)   { p.Pod = nil }
func noNode(p *Pair)  { p.Node = nil }
func fence(p *Pair)   { p.Node.Fence, p.Node.Online = true, false }
func offline(p *Pair) { p.Node.Online = false }
func busy(p *Pair)    { p.Node.Idle, p.Node.Busy = false, 1 }
func oneOff(p *Pair)  { p.Node.Idle = false } // a one-off executor runs something
func ours(p *Pair)    { p.Node.OfflineBy = Ours }
func hook(p *Pair)    { p.Node.OfflineBy = Hook }
func told(p *Pair)    { p.Node.MarkedAt = noon.Add(-time.Minute) } // Jenkins says when the mark was set
func quiet(p *Pair)   { p.Quiet = true }
func used(p *Pair)    { p.Used = true }
func atWork(p *Pair)  { p.AtWork = true }
func monitor(p *Pair) { p.Node.OfflineBy = Monitor }
func person(p *Pair)  { p.Node.OfflineBy = Person }
func persistent(p *Pair) {
	p.Kind = Persistent
	if p.Pod != nil {
		p.Pod.Kind = Persistent
	}
}

func swarm(p *Pair) {
	persistent(p)
	p.Connect = Swarm
	if p.Pod != nil {
		p.Pod.Connect = Swarm
	}
}
func unmet(p *Pair)        { p.Pod.Connected = false }
func requested(p *Pair)    { p.Pod.Connected, p.Pod.Requested, p.Pod.Scheduled = false, true, time.Time{} }
func succeeded(p *Pair)    { p.Pod.Phase = PodSucceeded }
func failed(p *Pair)       { p.Pod.Phase = PodFailed }
func deleting(p *Pair)     { p.Pod.Deleting = true }
func deletingByUs(p *Pair) { p.Pod.Deleting, p.Pod.DeletingByUs = true, true }
func disrupted(p *Pair)    { p.Pod.Disrupted = true }

// undocked: these answers and an earlier answer show that the agent's Docker daemon is dead.
func undocked(p *Pair) { dying(p); p.Failing = noon.Add(-time.Second) }

// dying: these answers are the first ones that show that the agent's Docker daemon is dead.
func dying(p *Pair) { p.Pod.Failure, p.Pod.DockerFailure = FailureOOM, FailureOOM }

func scheduled(ago time.Duration) func(*Pair) {
	return func(p *Pair) { p.Pod.Connected, p.Pod.Scheduled = false, noon.Add(-ago) }
}

func unscheduled(ago time.Duration) func(*Pair) {
	return func(p *Pair) { p.Pod.Connected, p.Pod.Scheduled, p.Pod.Created = false, time.Time{}, noon.Add(-ago) }
}

// failing: every answer in that time has shown a failure that does not heal.
func failing(ago time.Duration) func(*Pair) {
	return func(p *Pair) { p.Pod.Failure, p.Failing = FailureCrashLoop, noon.Add(-ago) }
}

func away(ago time.Duration) func(*Pair) {
	return func(p *Pair) { p.Away = noon.Add(-ago) }
}

func lostFor(ago time.Duration) func(*Pair) {
	return func(p *Pair) { p.LostSince = noon.Add(-ago) }
}

// TestClassify has a case for every row of the table, and for every neighbour of a row: a case that leads to
// another row, and a case that changes the step.
func TestClassify(t *testing.T) {
	const justUnder, young = time.Nanosecond, time.Minute
	tests := []struct {
		name string
		pair Pair
		want Verdict
	}{
		// fence in the way
		{"a pinned fence goes at once", pairOf(swarm, fence, pinned), Verdict{Class: FenceInTheWay, Do: DeleteNode, Reason: ReasonResume}},
		{"a pinned fence goes at once, in grace too", pairOf(swarm, fence, pinned, grace), Verdict{Class: FenceInTheWay, Do: DeleteNode, Reason: ReasonResume}},
		{"a pinned fence goes at once, without a pod too", pairOf(noPod, fence, pinned), Verdict{Class: FenceInTheWay, Do: DeleteNode, Reason: ReasonResume}},
		{"a pinned fence goes at once, though its pod ended", pairOf(swarm, fence, pinned, failed), Verdict{Class: FenceInTheWay, Do: DeleteNode, Reason: ReasonResume}},
		{"a pinned fence goes at once, whatever its mark", pairOf(swarm, fence, ours, pinned), Verdict{Class: FenceInTheWay, Do: DeleteNode, Reason: ReasonResume}},
		{"a fence that no item names is no fence in the way", pairOf(swarm, fence), Verdict{Class: Fenced, Do: DeletePod, Reason: ReasonGhost}},

		// resuming
		{"pinned with our mark", pairOf(offline, ours, pinned), Verdict{Class: Resuming, Do: ClearMark, Reason: ReasonResume}},
		{"pinned with our mark, seen before", pairOf(ours, seen, pinned), Verdict{Class: Resuming, Do: ClearMark, Reason: ReasonResume}},
		{"pinned with the hook's mark", pairOf(hook, pinned), Verdict{Class: Resuming, Do: ClearMark, Reason: ReasonResume}},
		{"pinned with our mark in grace", pairOf(ours, pinned, grace), Verdict{Class: Resuming, Do: ClearMark, Reason: ReasonResume}},
		{"pinned with our mark, without a pod", pairOf(noPod, offline, ours, pinned), Verdict{Class: Resuming, Do: ClearMark, Reason: ReasonResume}},
		{"pinned with our mark, its pod ended", pairOf(offline, ours, pinned, succeeded), Verdict{Class: Resuming, Do: ClearMark, Reason: ReasonResume}},

		// awaited
		{"pinned", pairOf(pinned), Verdict{Class: Awaited}},
		{"pinned and met", pairOf(unmet, pinned), Verdict{Class: Awaited, Meet: true}},
		{"pinned and busy: not marked for its one build", pairOf(busy, pinned), Verdict{Class: Awaited}},
		{"pinned, a person's mark", pairOf(person, pinned), Verdict{Class: Awaited}},
		{"pinned, a monitor's mark", pairOf(monitor, pinned), Verdict{Class: Awaited}},
		{"pinned, away for long", pairOf(offline, away(time.Hour), pinned), Verdict{Class: Awaited}},
		{"pinned, its Swarm node absent", pairOf(swarm, noNode, away(time.Hour), pinned), Verdict{Class: Awaited}},
		{"pinned, its pod ended", pairOf(offline, failed, pinned), Verdict{Class: Awaited}},
		{"pinned, its pod ended, and Bellboard has deleted it", pairOf(offline, failed, deletingByUs, pinned), Verdict{Class: Awaited}},
		{"pinned, its pod deleted by others", pairOf(deleting, pinned), Verdict{Class: Awaited}},
		{"pinned berth", pairOf(noPod, offline, berth, pinned), Verdict{Class: Awaited}},
		{"pinned, never connected in time", pairOf(offline, scheduled(time.Hour), pinned), Verdict{Class: Awaited}},

		// ended
		{"its pod succeeded", pairOf(succeeded, offline), Verdict{Class: Ended, Do: DeletePod, Reason: ReasonEnded}},
		{"its pod failed", pairOf(failed, offline), Verdict{Class: Ended, Do: DeletePod, Reason: ReasonEnded}},
		{"its pod failed, in grace", pairOf(failed, offline, grace), Verdict{Class: Ended, Do: DeletePod, Reason: ReasonEnded}},
		{"its pod failed, Jenkins still shows it busy", pairOf(failed, busy), Verdict{Class: Ended, Do: DeletePod, Reason: ReasonEnded}},
		{"its pod failed under a person's mark", pairOf(failed, person), Verdict{Class: Ended, Do: DeletePod, Reason: ReasonEnded}},
		{"its pod failed behind a fence", pairOf(swarm, failed, fence), Verdict{Class: Ended, Do: DeletePod, Reason: ReasonEnded}},
		{"its pod failed, deleted by us already", pairOf(failed, offline, deletingByUs), Verdict{Class: Ended}},
		{"its pod failed, its node absent", pairOf(failed, noNode), Verdict{Class: Ended, Do: DeletePod, Reason: ReasonEnded}},
		{"its pod failed before it connected", pairOf(failed, offline, unmet), Verdict{Class: Ended, Do: DeletePod, Reason: ReasonEnded}},

		// fenced
		{"fenced, its pod lives", pairOf(swarm, fence), Verdict{Class: Fenced, Do: DeletePod, Reason: ReasonGhost}},
		{"fenced, in grace", pairOf(swarm, fence, grace), Verdict{Class: Fenced}},
		{"fenced, its pod is going", pairOf(swarm, fence, deletingByUs), Verdict{Class: Fenced}},
		{"fenced, its pod deleted by others", pairOf(swarm, fence, deleting), Verdict{Class: Fenced, Do: DeletePod, Reason: ReasonGhost}},
		{"a fence without a pod", pairOf(noPod, fence), Verdict{Class: Fenced, Do: DeleteNode, Reason: ReasonGhost}},
		{"a fence without a pod that somebody connected to", pairOf(noPod, fence, func(p *Pair) { p.Node.Online = true }), Verdict{Class: Fenced}},
		{"a fence without a pod at work", pairOf(noPod, fence, busy), Verdict{Class: Fenced}},
		{"a fence with a person's mark", pairOf(swarm, fence, person), Verdict{Class: Fenced, Do: DeletePod, Reason: ReasonGhost}},

		// held
		{"held", pairOf(person), Verdict{Class: Held}},
		{"held at work", pairOf(busy, person), Verdict{Class: Held}},
		{"held offline", pairOf(offline, person, away(time.Hour)), Verdict{Class: Held}},
		{"held, not met yet: hands off", pairOf(unmet, person), Verdict{Class: Held}},
		{"held, its pod deleted by others", pairOf(deleting, person), Verdict{Class: Held}},
		{"held, never connected in time", pairOf(offline, scheduled(time.Hour), person), Verdict{Class: Held}},
		{"held without a pod", pairOf(noPod, offline, person), Verdict{Class: Held}},
		{"held berth", pairOf(noPod, offline, person, berth), Verdict{Class: Held}},
		{"a monitor's cause is not a person's", pairOf(monitor), Verdict{Class: Drained, Do: Mark, Reason: ReasonMonitor}},

		// leaving
		{"leaving", pairOf(deleting), Verdict{Class: Leaving, Do: Mark, Reason: ReasonLeaving}},
		{"leaving at work", pairOf(deleting, busy), Verdict{Class: Leaving, Do: Mark, Reason: ReasonLeaving}},
		{"leaving, not met yet", pairOf(deleting, unmet), Verdict{Class: Leaving, Meet: true, Do: Mark, Reason: ReasonLeaving}},
		{"leaving with the hook's mark", pairOf(deleting, busy, hook), Verdict{Class: Leaving, Do: Mark, Reason: ReasonLeaving}},
		{"leaving with the hook's mark of a known time", pairOf(deleting, busy, hook, told), Verdict{Class: Leaving}},
		{"leaving with the hook's mark, seen before", pairOf(deleting, hook, told, seen), Verdict{Class: Leaving, Do: DeletePod, Reason: ReasonLeaving}},
		{"leaving, marked in the answers before", pairOf(deleting, ours, seen), Verdict{Class: Leaving, Do: DeletePod, Reason: ReasonLeaving}},
		{"leaving, first seen marked", pairOf(deleting, ours), Verdict{Class: Leaving}},
		{"leaving, marked and at work", pairOf(deleting, ours, seen, busy), Verdict{Class: Leaving}},
		{"leaving, marked, a one-off executor at work", pairOf(deleting, ours, seen, oneOff), Verdict{Class: Leaving}},
		{"leaving, marked, in grace", pairOf(deleting, ours, seen, grace), Verdict{Class: Leaving}},
		{"leaving, its node absent: wait", pairOf(swarm, deleting, noNode, away(time.Hour)), Verdict{Class: Leaving}},
		{"leaving, never connected", pairOf(deleting, offline, scheduled(young)), Verdict{Class: Leaving, Do: Mark, Reason: ReasonLeaving}},

		// going
		{"going", pairOf(deletingByUs, ours, seen), Verdict{Class: Going}},
		{"going, its Swarm node gone", pairOf(swarm, deletingByUs, noNode, away(time.Hour)), Verdict{Class: Going}},
		{"going, somebody lifted its mark", pairOf(deletingByUs, busy), Verdict{Class: Going}},

		// coming
		{"coming", pairOf(offline, scheduled(young)), Verdict{Class: Coming, Capacity: 1}},
		{"coming, just under the start timeout", pairOf(offline, scheduled(5*time.Minute-justUnder)), Verdict{Class: Coming, Capacity: 1}},
		{"coming, in grace", pairOf(offline, scheduled(young), grace), Verdict{Class: Coming, Capacity: 1}},
		{"coming, unscheduled", pairOf(offline, unscheduled(6*time.Minute)), Verdict{Class: Coming, Capacity: 1}},
		{"coming, unscheduled just under its limit", pairOf(offline, unscheduled(15*time.Minute-justUnder)), Verdict{Class: Coming, Capacity: 1}},
		{"coming, a Swarm agent without its node", pairOf(swarm, noNode, scheduled(young)), Verdict{Class: Coming, Capacity: 1}},
		{"coming, requested and not cached yet", pairOf(offline, requested), Verdict{Class: Coming, Capacity: 1}},
		{"coming, requested, its node not shown yet", pairOf(noNode, requested), Verdict{Class: Coming, Capacity: 1}},
		{"coming, and Kubernetes will take its pod", pairOf(offline, scheduled(young), disrupted), Verdict{Class: Coming, Do: Mark, Reason: ReasonLeaving}},
		{"coming, the same in grace", pairOf(offline, scheduled(young), disrupted, grace), Verdict{Class: Coming, Capacity: 1}},
		{"coming, the same without a node to mark", pairOf(swarm, noNode, scheduled(young), disrupted), Verdict{Class: Coming, Capacity: 1}},
		{"coming, marked by us", pairOf(offline, scheduled(young), ours), Verdict{Class: Drained}},
		{"coming, marked by us in the answers before", pairOf(offline, scheduled(young), ours, seen), Verdict{Class: Drained, Do: DeletePod, Reason: ReasonDrained}},
		{"coming, marked by us, in grace", pairOf(offline, scheduled(young), ours, seen, grace), Verdict{Class: Drained}},
		{"not annotated, offline, with the hook's mark", pairOf(offline, scheduled(young), hook), Verdict{Class: Drained, Do: Mark, Reason: ReasonHook}},
		{"the same in grace: the build may resume", pairOf(offline, scheduled(young), hook, grace), Verdict{Class: Drained}},
		{"not annotated, offline and busy", pairOf(offline, scheduled(young), busy), Verdict{Class: Cut}},
		{"not annotated, offline and busy, for long", pairOf(offline, scheduled(time.Hour), busy), Verdict{Class: Cut}},

		// stuck
		{"stuck at the start timeout", pairOf(offline, scheduled(5*time.Minute)), Verdict{Class: Stuck, Do: Mark, Reason: ReasonStuck}},
		{"stuck, unscheduled at its limit", pairOf(offline, unscheduled(15*time.Minute)), Verdict{Class: Stuck, Do: Mark, Reason: ReasonStuck}},
		{"stuck, in grace", pairOf(offline, scheduled(time.Hour), grace), Verdict{Class: Stuck}},
		{"stuck, first seen marked", pairOf(offline, scheduled(time.Hour), ours), Verdict{Class: Stuck}},
		{"stuck, marked in the answers before", pairOf(offline, scheduled(time.Hour), ours, seen), Verdict{Class: Stuck, Do: DeletePod, Reason: ReasonStuck}},
		{"stuck, marked in the answers before, in grace", pairOf(offline, scheduled(time.Hour), ours, seen, grace), Verdict{Class: Stuck}},
		{"stuck, a monitor's mark", pairOf(offline, scheduled(time.Hour), monitor), Verdict{Class: Stuck, Do: Mark, Reason: ReasonStuck}},
		{"stuck, a Swarm agent without its node", pairOf(swarm, noNode, scheduled(time.Hour)), Verdict{Class: Stuck, Do: Fence, Reason: ReasonStuck}},
		{"stuck, a Swarm agent without its node, in grace", pairOf(swarm, noNode, scheduled(time.Hour), grace), Verdict{Class: Stuck}},
		{"stuck, inbound with its node absent, however young", pairOf(noNode, gone, scheduled(time.Second)), Verdict{Class: Stuck, Do: DeletePod, Reason: ReasonStuck}},
		{"coming, inbound with its node missing from one answer", pairOf(noNode, scheduled(time.Second)), Verdict{Class: Coming, Capacity: 1}},
		{"stuck, the same for too long", pairOf(noNode, scheduled(time.Hour)), Verdict{Class: Stuck}},
		{"stuck, inbound with its node absent, in grace", pairOf(noNode, gone, scheduled(time.Second), grace), Verdict{Class: Stuck}},

		// stuck because of a definite failure: given up long before START_TIMEOUT
		{"failing for just under a minute", pairOf(offline, scheduled(young), failing(time.Minute-justUnder)), Verdict{Class: Coming, Capacity: 1}},
		{"its node was absent, and is there again", pairOf(offline, gone, scheduled(young)), Verdict{Class: Coming, Capacity: 1}},
		{"failing for a while, by its Docker daemon", pairOf(offline, scheduled(young), undocked), Verdict{Class: Coming, Capacity: 1}},
		{"failing for a minute", pairOf(offline, scheduled(2*young), failing(time.Minute)), Verdict{Class: Stuck, Do: Mark, Reason: ReasonStuck}},
		{"failing for a minute, in grace", pairOf(offline, scheduled(2*young), failing(time.Minute), grace), Verdict{Class: Stuck}},
		{"failing, first seen marked", pairOf(offline, scheduled(2*young), failing(time.Minute), ours), Verdict{Class: Stuck}},
		{"failing, marked in the answers before", pairOf(offline, scheduled(2*young), failing(time.Minute), ours, seen), Verdict{Class: Stuck, Do: DeletePod, Reason: ReasonStuck}},
		{"failing, a Swarm agent without its node", pairOf(swarm, noNode, scheduled(2*young), failing(time.Minute)), Verdict{Class: Stuck, Do: Fence, Reason: ReasonStuck}},
		{"failing, and online all the same", pairOf(scheduled(2*young), failing(time.Minute)), Verdict{Class: Free, Capacity: 1, Meet: true}},
		{"failing, and busy all the same", pairOf(offline, scheduled(2*young), failing(time.Minute), busy), Verdict{Class: Cut}},
		{"failing, and awaited by a build", pairOf(offline, scheduled(2*young), failing(time.Hour), pinned), Verdict{Class: Awaited}},
		{"failing, and held by a person", pairOf(offline, scheduled(2*young), failing(time.Hour), person), Verdict{Class: Held}},
		{"failing, connected once and online", pairOf(failing(time.Hour)), Verdict{Class: Free, Capacity: 1}},
		{"failing, connected once and at work", pairOf(failing(time.Hour), persistent, busy), Verdict{Class: Busy}},
		{"failing, connected once and away for a while", pairOf(offline, failing(time.Hour), away(GhostAfter-justUnder)), Verdict{Class: Reconnecting, Capacity: 1}},
		{"failing, connected once and cut under its build", pairOf(offline, busy, failing(time.Hour)), Verdict{Class: Cut}},

		// met
		{"met, free", pairOf(unmet), Verdict{Class: Free, Capacity: 1, Meet: true}},
		{"met, busy", pairOf(unmet, busy), Verdict{Class: Busy, Meet: true, Do: Mark, Reason: ReasonOneBuild}},
		{"met late is met", pairOf(scheduled(time.Hour)), Verdict{Class: Free, Capacity: 1, Meet: true}},
		{"met, drained", pairOf(unmet, ours), Verdict{Class: Drained, Meet: true}},
		{"online before the cache has its pod: annotated later", pairOf(requested), Verdict{Class: Free, Capacity: 1}},

		// busy
		{"busy, ephemeral: one build", pairOf(busy), Verdict{Class: Busy, Do: Mark, Reason: ReasonOneBuild}},
		{"busy, ephemeral, in grace", pairOf(busy, grace), Verdict{Class: Busy, Do: Mark, Reason: ReasonOneBuild}},
		{"busy, only a one-off executor", pairOf(oneOff), Verdict{Class: Busy, Do: Mark, Reason: ReasonOneBuild}},
		{"busy, persistent: left alone", pairOf(persistent, busy), Verdict{Class: Busy}},
		{"busy, persistent, Kubernetes will take its pod", pairOf(persistent, busy, disrupted), Verdict{Class: Busy, Do: Mark, Reason: ReasonLeaving}},
		{"busy, its Docker daemon is dead", pairOf(persistent, busy, undocked), Verdict{Class: Busy, Do: Mark, Reason: ReasonDocker}},
		{"busy, its Docker daemon is dead, and its pod is about to go", pairOf(persistent, busy, undocked, disrupted), Verdict{Class: Busy, Do: Mark, Reason: ReasonLeaving}},
		{"busy, the same of an agent with room for more builds", pairOf(persistent, busy, undocked, func(p *Pair) { p.Node.Executors = 3 }), Verdict{Class: Busy, Do: Mark, Reason: ReasonDocker}},
		{"busy, the same seen for the first time", pairOf(persistent, busy, dying, func(p *Pair) { p.Node.Executors = 3 }), Verdict{Class: Busy, Capacity: 2}},
		{"busy, ephemeral, its Docker daemon is dead", pairOf(busy, undocked), Verdict{Class: Busy, Do: Mark, Reason: ReasonDocker}},
		{"busy, its Docker daemon is dead, and a build names it", pairOf(persistent, busy, undocked, pinned), Verdict{Class: Awaited}},

		// draining
		{"draining, our mark", pairOf(busy, ours), Verdict{Class: Draining}},
		{"draining, our mark seen before", pairOf(busy, ours, seen), Verdict{Class: Draining}},
		{"draining, the hook's mark", pairOf(busy, hook), Verdict{Class: Draining}},
		{"draining, a monitor's mark", pairOf(persistent, busy, monitor), Verdict{Class: Draining}},
		{"draining, a one-off executor is left", pairOf(oneOff, ours, seen), Verdict{Class: Draining}},

		// free
		{"free", pairOf(), Verdict{Class: Free, Capacity: 1}},
		{"free, in grace", pairOf(grace), Verdict{Class: Free, Capacity: 1}},
		{"free, persistent", pairOf(persistent), Verdict{Class: Free, Capacity: 1}},
		{"free, Kubernetes will take its pod", pairOf(disrupted), Verdict{Class: Free, Do: Mark, Reason: ReasonLeaving}},
		{"free, its Docker daemon is dead", pairOf(persistent, undocked), Verdict{Class: Free, Do: Mark, Reason: ReasonDocker}},
		{"free, its Docker daemon seen dead for the first time", pairOf(persistent, dying), Verdict{Class: Free, Capacity: 1}},
		{"free, an image of its daemon does not come", pairOf(persistent, undocked, func(p *Pair) { p.Pod.DockerFailure = FailureImagePull }), Verdict{Class: Free, Capacity: 1}},
		{"met, its Docker daemon is dead", pairOf(persistent, unmet, undocked), Verdict{Class: Free, Meet: true, Do: Mark, Reason: ReasonDocker}},
		{"held, its Docker daemon is dead", pairOf(persistent, undocked, person), Verdict{Class: Held}},

		// drained
		{"drained, first seen marked", pairOf(ours), Verdict{Class: Drained}},
		{"drained, marked in the answers before", pairOf(ours, seen), Verdict{Class: Drained, Do: DeletePod, Reason: ReasonDrained}},
		{"drained, in grace", pairOf(ours, seen, grace), Verdict{Class: Drained}},
		{"drained, its Docker daemon is dead", pairOf(persistent, undocked, ours, seen), Verdict{Class: Drained, Do: DeletePod, Reason: ReasonDrained}},
		{"drained, the hook's mark, of which Jenkins does not say when it was set", pairOf(hook, seen), Verdict{Class: Drained, Do: Mark, Reason: ReasonHook}},
		{"drained, the hook's mark, first seen", pairOf(hook, told), Verdict{Class: Drained}},
		{"drained, the hook's mark, seen before", pairOf(hook, told, seen), Verdict{Class: Drained, Do: DeletePod, Reason: ReasonDrained}},
		{"the same in grace", pairOf(hook, told, seen, grace), Verdict{Class: Drained}},

		// Jenkins is about to restart
		{"a busy agent is not marked before a restart", pairOf(busy, quiet), Verdict{Class: Busy}},
		{"nor is one that is about to go", pairOf(busy, disrupted, quiet), Verdict{Class: Busy}},
		{"its mark is lifted", pairOf(busy, ours, quiet), Verdict{Class: Draining, Do: ClearMark, Reason: ReasonQuietDown}},
		{"a persistent agent's mark, too", pairOf(persistent, busy, ours, quiet), Verdict{Class: Draining, Do: ClearMark, Reason: ReasonQuietDown}},
		{"the mark of an agent whose connection is cut, too", pairOf(busy, offline, ours, quiet), Verdict{Class: Draining, Do: ClearMark, Reason: ReasonQuietDown}},
		{"the mark of an agent that others delete, too", pairOf(busy, deleting, ours, quiet), Verdict{Class: Draining, Do: ClearMark, Reason: ReasonQuietDown}},
		{"not the hook's: its script waits for the build", pairOf(busy, hook, told, quiet), Verdict{Class: Draining}},
		{"not a person's", pairOf(busy, person, quiet), Verdict{Class: Held}},
		{"not the mark of an agent that is sent away", pairOf(busy, ours, deletingByUs, quiet), Verdict{Class: Going}},
		{"not the mark of an idle agent", pairOf(ours, seen, quiet), Verdict{Class: Drained, Do: DeletePod, Reason: ReasonDrained}},

		// an ephemeral agent that has had its build
		{"an ephemeral agent whose mark was lifted is marked again", pairOf(used), Verdict{Class: Free, Do: Mark, Reason: ReasonOneBuild}},
		{"not before a restart: a build that resumes may begin", pairOf(used, quiet), Verdict{Class: Free}},
		{"a persistent agent takes the next build", pairOf(persistent, used), Verdict{Class: Free, Capacity: 1}},
		{"its build has just ended", pairOf(atWork), Verdict{Class: Free}},
		{"a persistent agent whose build has just ended", pairOf(persistent, atWork), Verdict{Class: Free, Capacity: 1}},
		{"drained, a Swarm agent goes the same way", pairOf(swarm, ours, seen), Verdict{Class: Drained, Do: DeletePod, Reason: ReasonDrained}},

		// cut
		{"cut", pairOf(offline, busy), Verdict{Class: Cut}},
		{"cut for long: Jenkins decides", pairOf(offline, busy, away(time.Hour)), Verdict{Class: Cut}},
		{"cut, marked", pairOf(offline, busy, ours, seen), Verdict{Class: Cut}},
		{"cut, a one-off executor", pairOf(offline, oneOff), Verdict{Class: Cut}},

		// reconnecting
		{"reconnecting, first seen away", pairOf(offline), Verdict{Class: Reconnecting, Capacity: 1}},
		{"reconnecting, just under six minutes", pairOf(offline, away(6*time.Minute-justUnder)), Verdict{Class: Reconnecting, Capacity: 1}},
		{"reconnecting, in grace however long", pairOf(offline, away(time.Hour), grace), Verdict{Class: Reconnecting, Capacity: 1}},
		{"reconnecting, a Swarm agent without its node", pairOf(swarm, noNode, away(time.Minute)), Verdict{Class: Reconnecting, Capacity: 1}},
		{"reconnecting, inbound with its node absent", pairOf(noNode, away(time.Minute)), Verdict{Class: Reconnecting, Capacity: 1}},
		{"reconnecting, marked: no work when it comes back", pairOf(offline, away(time.Minute), ours, seen), Verdict{Class: Reconnecting}},
		{"reconnecting, and Kubernetes will take its pod", pairOf(offline, away(time.Minute), disrupted), Verdict{Class: Reconnecting, Do: Mark, Reason: ReasonLeaving}},
		{"reconnecting, the same in grace: a build may resume", pairOf(offline, away(time.Minute), disrupted, grace), Verdict{Class: Reconnecting, Capacity: 1}},
		{"reconnecting, its Docker daemon is dead", pairOf(persistent, offline, away(time.Minute), undocked), Verdict{Class: Reconnecting, Do: Mark, Reason: ReasonDocker}},
		{"reconnecting, the same in grace", pairOf(persistent, offline, away(time.Minute), undocked, grace), Verdict{Class: Reconnecting, Capacity: 1}},

		// ghost
		{"ghost at six minutes", pairOf(offline, away(6*time.Minute)), Verdict{Class: Ghost, Do: Mark, Reason: ReasonGhost}},
		{"ghost, first seen marked", pairOf(offline, away(time.Hour), ours), Verdict{Class: Ghost}},
		{"ghost, marked in the answers before", pairOf(offline, away(time.Hour), ours, seen), Verdict{Class: Ghost, Do: DeletePod, Reason: ReasonGhost}},
		{"ghost, the hook's mark of an unknown time counts as none", pairOf(offline, away(time.Hour), hook, seen), Verdict{Class: Ghost, Do: Mark, Reason: ReasonGhost}},
		{"ghost, a Swarm agent without its node", pairOf(swarm, noNode, away(time.Hour)), Verdict{Class: Ghost, Do: Fence, Reason: ReasonGhost}},
		{"ghost, a Swarm agent whose node is offline", pairOf(swarm, offline, away(time.Hour)), Verdict{Class: Ghost, Do: Mark, Reason: ReasonGhost}},
		{"no ghost, its node was absent, and is there again", pairOf(offline, gone), Verdict{Class: Reconnecting, Capacity: 1}},
		{"ghost, inbound with its node absent", pairOf(noNode, gone, away(time.Hour)), Verdict{Class: Ghost, Do: DeletePod, Reason: ReasonGhost}},
		{"ghost, inbound with its node missing from one answer", pairOf(noNode, away(time.Hour)), Verdict{Class: Ghost}},

		// berth
		{"berth", pairOf(noPod, offline, berth), Verdict{Class: Berth}},
		{"berth, in grace", pairOf(noPod, offline, berth, grace), Verdict{Class: Berth}},
		{"a marked berth is none", pairOf(noPod, offline, berth, ours), Verdict{Class: Stray}},

		// intruder
		{"intruder", pairOf(noPod), Verdict{Class: Intruder, Do: Mark, Reason: ReasonIntruder}},
		{"intruder on a berth", pairOf(noPod, berth), Verdict{Class: Intruder, Do: Mark, Reason: ReasonIntruder}},
		{"intruder at work", pairOf(noPod, busy), Verdict{Class: Intruder, Do: Mark, Reason: ReasonIntruder}},
		{"intruder, marked: wait till it is offline", pairOf(noPod, ours, seen), Verdict{Class: Intruder}},
		{"intruder, a person's mark", pairOf(noPod, person), Verdict{Class: Held}},

		// lost
		{"lost", pairOf(noPod, offline, busy), Verdict{Class: Lost, Do: Mark, Reason: ReasonLost}},
		{"lost, a berth once", pairOf(noPod, offline, busy, berth), Verdict{Class: Lost, Do: Mark, Reason: ReasonLost}},
		{"lost, first seen marked", pairOf(noPod, offline, busy, ours), Verdict{Class: Lost}},
		{"lost, just under ten minutes", pairOf(noPod, offline, busy, ours, seen, lostFor(10*time.Minute-justUnder)), Verdict{Class: Lost}},
		{"lost for ten minutes", pairOf(noPod, offline, busy, ours, seen, lostFor(10*time.Minute)), Verdict{Class: Lost, Do: DeleteNode, Reason: ReasonLost}},
		{"lost for ten minutes, under the hook's mark since", pairOf(noPod, offline, busy, hook, told, seen, lostFor(time.Hour)), Verdict{Class: Lost, Do: Mark, Reason: ReasonLost}},
		{"lost for ten minutes, in grace", pairOf(noPod, offline, busy, ours, seen, grace, lostFor(time.Hour)), Verdict{Class: Lost}},
		{"lost, the mark not seen before", pairOf(noPod, offline, busy, ours, lostFor(time.Hour)), Verdict{Class: Lost}},
		{"lost, a one-off executor", pairOf(noPod, offline, oneOff, hook), Verdict{Class: Lost, Do: Mark, Reason: ReasonLost}},

		// stray
		{"stray", pairOf(noPod, offline), Verdict{Class: Stray, Do: Mark, Reason: ReasonStray}},
		{"stray, the hook's mark of an unknown time counts as none", pairOf(noPod, offline, hook, seen), Verdict{Class: Stray, Do: Mark, Reason: ReasonStray}},
		{"stray, the hook's mark, seen before", pairOf(noPod, offline, hook, told, seen), Verdict{Class: Stray, Do: DeleteNode, Reason: ReasonStray}},
		{"stray, first seen marked", pairOf(noPod, offline, ours), Verdict{Class: Stray}},
		{"stray, marked in the answers before", pairOf(noPod, offline, ours, seen), Verdict{Class: Stray, Do: DeleteNode, Reason: ReasonStray}},
		{"stray, in grace", pairOf(noPod, offline, ours, seen, grace), Verdict{Class: Stray}},
	}
	classes, verbs := map[Class]bool{}, map[Verb]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Classify(tt.pair, noon)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Classify(%s) = %+v, want %+v\n%s", tt.name, got, tt.want, diff)
			}
		})
		classes[tt.want.Class], verbs[tt.want.Do] = true, true
	}
	for _, c := range Classes() {
		if !classes[c] {
			t.Errorf("no case reaches the class %q", c)
		}
	}
	for _, v := range []Verb{"", Mark, ClearMark, Fence, DeletePod, DeleteNode} {
		if !verbs[v] {
			t.Errorf("no case reaches the step %q", v)
		}
	}
}

// anyPair draws a pair, whether it makes sense or not.
func anyPair(t *rapid.T) Pair {
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	ago := func(name string) time.Time {
		d := rapid.SampledFrom([]time.Duration{
			-1, 0, time.Second, 5*time.Minute - 1, 5 * time.Minute, 6*time.Minute - 1, 6 * time.Minute, 10 * time.Minute, 15 * time.Minute, time.Hour,
		}).Draw(t, name)
		if d < 0 {
			return time.Time{}
		}
		return noon.Add(-d)
	}
	p := Pair{
		Name: "n", PoolID: PoolID{"web", rapid.SampledFrom(Kinds()).Draw(t, "kind")},
		Connect: rapid.SampledFrom([]Connect{Inbound, Swarm}).Draw(t, "connect"), StartTimeout: 5 * time.Minute,
		Pinned: flag("pinned"), Berth: flag("berth"), Grace: flag("grace"), Quiet: flag("quiet"), Used: flag("used"), AtWork: flag("at work"), Marked: flag("marked"), Gone: flag("gone"), Away: ago("away"), LostSince: ago("lost"), Failing: ago("failing"),
	}
	has := rapid.SampledFrom([]string{"both", "pod", "node"}).Draw(t, "has")
	if has != "node" {
		p.Pod = &Pod{
			Name: "n", UID: "u", PoolID: p.PoolID, Connect: p.Connect, Created: noon.Add(-20 * time.Minute), Scheduled: ago("scheduled"),
			Phase:     rapid.SampledFrom([]PodPhase{PodPending, PodRunning, PodRunning, PodSucceeded, PodFailed}).Draw(t, "phase"),
			Connected: flag("connected"), Deleting: flag("deleting"), Disrupted: flag("disrupted"), Requested: flag("requested"),
		}
		p.Pod.DeletingByUs = p.Pod.Deleting && flag("by us")
		if p.Pod.Deleting {
			p.Pod.Ends = ago("ends")
		}
		if p.Pod.Connected {
			p.Pod.Session = rapid.SampledFrom([]string{"", "s", "before"}).Draw(t, "session")
		}
		p.Pod.DockerFailure = rapid.SampledFrom([]Failure{"", "", FailureOOM}).Draw(t, "docker")
	}
	if has != "pod" {
		p.Node = &Node{
			Name: "n", Team: "web", Kind: p.Kind, Fence: flag("fence"), Online: flag("online"), Executors: rapid.SampledFrom([]int{1, 1, 3}).Draw(t, "executors"), Idle: flag("idle"),
			OfflineBy: rapid.SampledFrom([]OfflineBy{NotMarked, Ours, Hook, Monitor, Person}).Draw(t, "by"),
		}
		if p.Node.OfflineBy != NotMarked {
			p.Node.MarkedAt = anyMarkTime(t)
		}
		if !p.Node.Idle { // Busy may be 0: then a one-off executor runs something
			p.Node.Busy = rapid.IntRange(0, p.Node.Executors).Draw(t, "busy")
		}
	}
	return p
}

// anyMarkTime draws the time of a mark. Zero means that Jenkins does not say.
func anyMarkTime(t *rapid.T) time.Time {
	return rapid.SampledFrom([]time.Time{{}, noon.Add(-time.Hour), noon.Add(-time.Minute)}).Draw(t, "marked at")
}

// TestTimes: other tests say these times by their names, and would not notice another value.
func TestTimes(t *testing.T) {
	for what, tt := range map[string][2]time.Duration{
		"a pod may wait for a Kubernetes node":     {UnscheduledTimeout, 15 * time.Minute},
		"an agent may be away":                     {GhostAfter, 6 * time.Minute},
		"a busy Jenkins node without a pod waits":  {LostAfter, 10 * time.Minute},
		"a deleted pod counts to the caps":         {StuckPodAfter, 5 * time.Minute},
		"a free agent's pod stays protected":       {FreeUnprotected, 30 * time.Second},
		"Jenkins is asked again to call an agent":  {Relaunch, 10 * time.Second},
		"a slot on which no agent started is left": {SlotAside, 10 * time.Minute},
	} {
		if tt[0] != tt[1] {
			t.Errorf("%s for %s, want %s", what, tt[0], tt[1])
		}
	}
}

// TestClassifyNeverHarms: the rules that protect a build hold for every pair there could be.
func TestClassifyNeverHarms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPair(t)
		v := Classify(p, noon)
		if reason := harm(&p, v); reason != "" {
			t.Fatalf("Classify(%s) = %+v: %s", show(p), v, reason)
		}
	})
}

// harm returns which promise a verdict breaks, or "".
func harm(p *Pair, v Verdict) string {
	ended := p.Pod != nil && (p.Pod.Phase == PodSucceeded || p.Pod.Phase == PodFailed)
	isFence := p.Node != nil && p.Node.Fence
	closed := p.mark() == Ours || p.mark() == Hook && !p.Node.MarkedAt.IsZero()
	removable := closed && p.Marked && p.idle() && !p.Grace
	beforeRestart := p.Quiet && p.mark() == Ours && !p.idle()
	deletePod := func() bool {
		return ended || removable || isFence && !p.Grace || p.Connect == Inbound && p.Node == nil && p.Gone && !p.Grace
	}
	deleteNode := func() bool {
		lost := !p.idle() && p.mark() == Ours && p.Marked && !p.Grace && !p.LostSince.IsZero() && noon.Sub(p.LostSince) >= LostAfter
		return !p.Node.Online && p.Pod == nil && (isFence && p.idle() || removable || lost)
	}
	fenceable := p.Connect == Swarm && p.Pod != nil && p.Node == nil && !p.Grace
	switch {
	case p.Pinned && v.Do.Destructive() && (v.Do != DeleteNode || !isFence):
		return "a build names it"
	case v.Do == ClearMark && !beforeRestart && (!p.Pinned || p.mark() != Ours && p.mark() != Hook):
		return "lifts a mark that is to stay"
	case p.mark() == Person && v.Do != "" && !isFence && !ended:
		return "a person holds it"
	case v.Do == DeletePod && !deletePod():
		return "deletes a pod that may be at work"
	case v.Do == DeleteNode && !p.Pinned && !deleteNode():
		return "deletes a node that may be needed"
	case v.Do == Fence && !fenceable:
		return "fences an agent that could be marked"
	case v.Do == Mark && (p.Node == nil || isFence):
		return "marks an agent that cannot be marked"
	case v.Class == Stuck && p.Pod.Connected:
		return "gives up an agent that was connected once"
	case v.Capacity < 0 || v.Capacity > p.size():
		return "counts more executors than it has"
	case v.Capacity > 0 && v.Class == Busy && (p.Kind == Ephemeral || v.Capacity > p.Node.Executors-p.Node.Busy):
		return "counts executors that work"
	case v.Capacity > 0 && v.Class != Coming && v.Class != Free && v.Class != Reconnecting && v.Class != Busy:
		return "counts an agent that takes no builds"
	case v.Capacity > 0 && (p.mark() != NotMarked || p.Pinned || v.Do != ""):
		return "counts an agent that will take no builds"
	case v.Do == "" != (v.Reason == ""):
		return "a step without a reason, or a reason without a step"
	case v.Meet && (p.Pod == nil || p.Pod.Connected || !p.online()):
		return "notes a connection that is not there, or not new"
	case v.Class == "":
		return "no class"
	}
	return ""
}

func show(p Pair) string {
	var pod, node any
	if p.Pod != nil {
		pod = *p.Pod
	}
	if p.Node != nil {
		node = *p.Node
	}
	return fmt.Sprintf("%+v pod %+v node %+v", p, pod, node)
}

// TestDescribedAnew: a person who edits a Jenkins node's description takes no agent away from Bellboard, and
// gives Bellboard no foreign agent. The pod says whose agent it is.
func TestDescribedAnew(t *testing.T) {
	in := newHouse(web(), newTeam("other", ModeEphemeral, []string{"windows"}))
	in.agent("web", Ephemeral, "edited", busy, func(p *Pair) { p.Node.Team, p.Node.Kind = "", "" })
	in.wait(3, "windows", time.Minute)
	plan, _, _ := Decide(in)
	if err := plan.Validate(in); err != nil {
		t.Error(err)
	}
	if got, want := did(plan), map[string]int{"mark web ephemeral one-build": 1, "create other ephemeral demand": 3, "register other ephemeral berths": 2}; !maps.Equal(got, want) {
		t.Errorf("Decide() = %v, want %v", got, want)
	}
}
