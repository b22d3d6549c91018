package jenkinssim

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// build is one build from its submission to its end.
type build struct {
	Build

	node *node // its computer; nil while the build waits in the queue, or Jenkins is away
	slot int
	home string   // the name of its node, kept while the build waits to resume
	host string   // the machine of its processes
	ch   *Channel // the latest channel to that machine

	begun    bool // the build once had an executor
	swarm    bool // the node was a Swarm client's
	due      time.Time
	ending   *event
	cut      bool // on an executor, and out of touch with its processes
	cutBy    string
	deadline *event

	// hostBy names the author of the end of the agent's process, and hostAt its time. hostBy
	// is "" while the process lives. Only the return of the same host clears hostBy.
	hostBy string
	hostAt time.Time
	// nodeBy names the author of the deletion of the build's node, and nodeAt its time.
	nodeBy string
	nodeAt time.Time

	resumeItem *item
}

// verdict names the author of a build's end, and the cause.
type verdict struct {
	killed, lost bool
	cause        string
}

func blame(by, cause string) verdict {
	return verdict{killed: by == byREST, lost: by != byREST, cause: cause + " by " + cmp.Or(by, "nobody")}
}

// startFlyweight starts a pipeline. The pipeline runs on the built-in node at once, and its
// item for an agent enters the queue.
func (j *Jenkins) startFlyweight(it *item) {
	b := it.build
	j.removeItem(it, false)
	j.numbers[b.Job.Name]++
	b.Number = j.numbers[b.Job.Name]
	j.alive = append(j.alive, b)
	now := j.clk.Now()
	part := &item{id: b.ID, build: b, state: buildable, since: now, timestamp: now, buildable: now}
	part.setLabel(b.Job.label())
	j.items = append(j.items, part)
	j.changed()
}

// start gives the item's task to the executor: a new build, or a pipeline that resumes.
func (j *Jenkins) start(it *item, n *node, slot int) {
	b := it.build
	now := j.clk.Now()
	b.node, b.slot = n, slot
	n.slots[slot].build = b
	if it.pinned != "" { // it resumes
		b.resumeItem = nil
		if n.class == classBuiltIn || n.ch != nil && n.ch.host == b.host {
			b.touch(n.ch)
			b.nodeBy = ""
			j.goOn(b, settleDelay)
		} else {
			// Another machine has that name: the processes of the build are not there.
			j.outOfTouch(b, b.cutBy, nodeWait)
		}
	} else {
		if !b.Job.Pipeline {
			j.numbers[b.Job.Name]++
			b.Number = j.numbers[b.Job.Name]
			j.alive = append(j.alive, b)
		}
		b.begun, b.Started, b.Node, b.home = true, now, n.name, n.name
		b.swarm = n.class == classSwarm
		b.due = now.Add(b.Job.Duration)
		if n.class == classBuiltIn {
			b.home = "built-in"
		} else {
			b.host, b.ch = n.ch.host, n.ch
		}
		j.stats.Queued--
		j.stats.Running++
		n.builds++
		if n.builds > 1 && ephemeral(n) {
			j.stats.SecondBuilds++
		}
		j.goOn(b, 0)
	}
	n.closing = true
	j.hookCloses(n)
	j.kick()
}

// touch notes that the build's machine is there again.
func (b *build) touch(c *Channel) {
	b.ch, b.cut, b.cutBy, b.hostBy = c, false, "", ""
	b.deadline.cancel()
}

// goOn lets the build end when its work is done, but not before least has passed. A build on
// a silent machine never ends.
func (j *Jenkins) goOn(b *build, least time.Duration) {
	now := j.clk.Now()
	b.ending.cancel()
	if b.ch != nil && b.ch.frozen {
		b.hostBy, b.hostAt = b.ch.frozenBy, now
		return
	}
	b.ending = j.after(max(b.due.Sub(now), least), func() { j.end(b, "SUCCESS", verdict{}) })
}

// outOfTouch makes the build wait for its machine, for so long.
func (j *Jenkins) outOfTouch(b *build, by string, wait time.Duration) {
	b.ending.cancel()
	b.cut, b.cutBy = true, by
	b.deadline.cancel()
	b.deadline = j.after(wait, func() { j.giveUp(b) })
}

// giveUp ends a pipeline that has waited for its node in vain.
func (j *Jenkins) giveUp(b *build) {
	n := b.node
	v := j.judge(b)
	j.end(b, "ABORTED", v)
	if n != nil && n.class == classSwarm && n.ch == nil && !n.lingering {
		j.remove(n, b.cutBy)
	}
}

// judge says why a pipeline could not go on. The end of its machine comes first, unless its
// node was deleted before. A mark is to blame only if it kept the build from an executor.
func (j *Jenkins) judge(b *build) verdict {
	if b.nodeBy == byREST && (b.hostBy == "" || b.nodeAt.Before(b.hostAt)) {
		return blame(byREST, "its node was deleted")
	}
	if b.hostBy != "" {
		return blame(b.hostBy, "its agent was ended")
	}
	n, waits := j.byName[b.home], b.node == nil
	switch {
	case n == nil || n.lingering:
		return blame(b.nodeBy, "its node is gone, deleted")
	case waits && n.mark != nil && n.mark.ours:
		return blame(byREST, "its node was marked “"+n.mark.text+"”")
	case b.swarm && n.class == classDumb && n.createdBy == byREST:
		return blame(byREST, "its node was fenced")
	case waits && n.mark != nil:
		return blame(byPerson, "its node was marked “"+n.mark.text+"”")
	default:
		return blame(b.cutBy, "its agent was cut off and did not come back,")
	}
}

// end closes the build's account and frees its executor.
func (j *Jenkins) end(b *build, result string, v verdict) {
	b.ending.cancel()
	b.deadline.cancel()
	if b.resumeItem != nil {
		j.removeItem(b.resumeItem, true)
		b.resumeItem = nil
	}
	if i := slices.Index(j.alive, b); i >= 0 {
		j.alive = slices.Delete(j.alive, i, i+1)
	}
	b.Ended, b.Result, b.Killed, b.Lost, b.Cause = j.clk.Now(), result, v.killed, v.lost, v.cause
	if b.begun {
		j.stats.Running--
	} else {
		j.stats.Queued--
	}
	j.stats.Finished++
	switch {
	case result == "SUCCESS":
		j.stats.Succeeded++
	case v.killed:
		j.stats.Killed++
	case v.lost:
		j.stats.Lost++
	default:
		j.stats.Cancelled++
	}
	j.ended = append(j.ended, b.Build)
	n := b.node
	b.node = nil
	if n != nil && n.slots[b.slot].build == b {
		n.slots[b.slot].build = nil
	}
	if n != nil {
		j.dropIfGone(n)
	}
	j.kick()
}

// cutBuilds tells a node's builds that the channel or the node is gone: a project's build
// fails at once, and a pipeline waits.
func (j *Jenkins) cutBuilds(n *node, by string, wait time.Duration) {
	j.release(n)
	for i := range n.slots {
		b := n.slots[i].build
		if b == nil {
			continue
		}
		if !b.Job.Pipeline {
			b.Log = j.lostWords(n)
			cause := "its agent was cut off"
			if n.lingering {
				cause = "its node was deleted"
			}
			if b.hostBy != "" {
				by, cause = b.hostBy, "its agent was ended"
			}
			j.end(b, "FAILURE", blame(by, cause))
			continue
		}
		if !b.cut {
			j.outOfTouch(b, by, wait)
		}
	}
}

// regain tells builds that their machine has connected to a node. The builds that were out
// of touch go on. The builds that wait in the queue learn that their machine lives.
func (j *Jenkins) regain(n *node, c *Channel) {
	for _, b := range j.alive {
		if b.home != n.name || b.host != c.host || !b.begun {
			continue
		}
		b.ch, b.hostBy, b.nodeBy = c, "", ""
		if b.node == n && b.cut {
			b.touch(c)
			j.goOn(b, settleDelay)
		}
	}
}

// away takes every build off its executor because Jenkins goes. Projects' builds die, and
// pipelines keep running on their machines. A safe restart did not wait for builds on marked
// nodes.
func (j *Jenkins) away(safe bool) {
	for _, b := range slices.Clone(j.alive) {
		if !b.begun {
			continue
		}
		if !b.Job.Pipeline {
			v := verdict{lost: true, cause: "Jenkins restarted"}
			if n := b.node; n != nil && n.class != classBuiltIn {
				b.Log = j.lostWords(n)
				if safe && n.mark != nil && n.mark.ours {
					v = blame(byREST, "Jenkins' safe restart did not wait for it, its node being marked “"+n.mark.text+"”")
				}
			}
			j.end(b, "FAILURE", v)
			continue
		}
		b.ending.cancel()
		b.deadline.cancel()
		b.cut = false
		if b.node != nil {
			b.node.slots[b.slot].build = nil
			b.node = nil
		}
		if b.resumeItem != nil {
			j.removeItem(b.resumeItem, true)
			b.resumeItem = nil
		}
	}
}

// resume puts an item into the queue for every pipeline that a restart found on a node. The
// pipeline must go on there within five minutes.
func (j *Jenkins) resume(since time.Time) {
	now := j.clk.Now()
	for _, b := range j.alive {
		if !b.begun || b.node != nil || b.resumeItem != nil {
			continue
		}
		j.lastID++
		it := &item{id: j.lastID, build: b, state: buildable, since: now, timestamp: now, buildable: now, pinned: b.home}
		it.setLabel(quoteLabel(b.home))
		it.deadline = j.after(nodeWait-now.Sub(since), func() { j.abandon(it) })
		b.resumeItem = it
		j.items = append(j.items, it)
		j.repin()
		j.hookOpens(b.home)
	}
	j.kick()
}

// abandon ends a build that has waited five minutes to resume.
func (j *Jenkins) abandon(it *item) {
	if it.build.resumeItem != it {
		return
	}
	if it.state == pending {
		it.deadline = j.after(startDelay, func() { j.abandon(it) })
		return
	}
	j.end(it.build, "ABORTED", j.judge(it.build))
}

// quoteLabel writes a node's name as an expression.
func quoteLabel(name string) string {
	if strings.ContainsAny(name, " \t&|!<>()\"'") || strings.Contains(name, "->") {
		return `"` + strings.ReplaceAll(name, `"`, `\"`) + `"`
	}
	return name
}
