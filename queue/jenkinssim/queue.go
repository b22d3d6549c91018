package jenkinssim

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bellboard/scaler/label"
)

type stage int

const (
	waiting stage = iota
	blocked
	buildable
	pending
)

// item is one entry of the queue. A pipeline has a flyweight item first, which needs no
// agent, and then an item that waits for a node.
type item struct {
	id        int64
	build     *build
	fly       bool
	state     stage
	since     time.Time
	timestamp time.Time // when the quiet period ends
	buildable time.Time // when the item left the waiting list
	labelled  bool
	expr      label.Expr
	pinned    string // the node on which the build must resume
	refused   bool   // the queue was maintained, and no executor took the item
	overtaken bool   // an executor that fits was given to another item in that round
	deadline  *event
	node      *node
	slot      int
}

func (it *item) setLabel(s string) {
	it.labelled, it.expr = s != "", label.Expr{}
	if it.labelled {
		it.expr = label.Parse(s)
	}
}

// kick has the queue maintained soon, after a change. Many changes make one round.
func (j *Jenkins) kick() {
	j.changed()
	if j.kicked || j.phase != up {
		return
	}
	j.kicked = true
	j.after(maintainDelay, j.maintain)
}

// removeItem takes an item out of the queue.
func (j *Jenkins) removeItem(it *item, cancelled bool) {
	i := slices.Index(j.items, it)
	if i < 0 {
		return
	}
	j.items = slices.Delete(j.items, i, i+1)
	it.deadline.cancel()
	if it.pinned != "" {
		j.repin()
		if n := j.registered(it.pinned); n != nil && cancelled && j.phase == up {
			j.hookCloses(n)
		}
	}
	j.changed()
}

// repin recounts which nodes have items that must resume there.
func (j *Jenkins) repin() {
	clear(j.pins)
	for _, it := range j.items {
		if it.pinned != "" && j.pins[it.pinned] == nil {
			j.pins[it.pinned] = it
		}
	}
}

// maintain is Jenkins' Queue.maintain: it moves items through their stages and gives
// buildable items to free executors.
func (j *Jenkins) maintain() {
	j.kicked = false
	if j.phase != up {
		return
	}
	now := j.clk.Now()
	j.changed()
	for _, n := range j.computers {
		n.fresh = false
	}
	for i := 0; i < len(j.items); i++ {
		it := j.items[i]
		if it.state == waiting && !it.timestamp.After(now) {
			it.state, it.buildable = buildable, now
		}
		if it.state == buildable || it.state == blocked {
			it.state = buildable
			if j.isBlocked(it) {
				it.state = blocked
			} else if it.fly && !j.quieting {
				j.startFlyweight(it)
				i--
			}
		}
	}
	if !j.quieting {
		j.deal()
	}
	j.checkLater(now)
}

// deal gives items to executors: items that resume first, then the others in order of
// waiting. Without a free executor all items are refused at once.
func (j *Jenkins) deal() {
	free := slices.ContainsFunc(j.computers, func(n *node) bool { return !n.offline() && n.freeSlot() >= 0 })
	var given []*node
	for _, resuming := range [...]bool{true, false} {
		for _, it := range j.items {
			switch {
			case it.state != buildable || (it.pinned != "") != resuming:
			case !resuming && j.isBlocked(it):
				// An earlier item of this round blocks it.
				it.state = blocked
			case !free:
				it.refused, it.overtaken = true, false
			default:
				if n := j.assign(it); n != nil {
					given = append(given, n)
					continue
				}
				it.overtaken = slices.ContainsFunc(given, func(n *node) bool {
					why, _ := j.canTake(n, it)
					return why == takes
				})
			}
		}
	}
}

// checkLater has the queue maintained again when the next quiet period ends, or after the
// queue's own period.
func (j *Jenkins) checkLater(now time.Time) {
	j.nextCheck.cancel()
	if len(j.items) == 0 {
		return
	}
	d := maintainEvery
	for _, it := range j.items {
		if it.state == waiting {
			d = min(d, max(it.timestamp.Sub(now), 0))
		}
	}
	j.nextCheck = j.after(d, func() {
		if !j.kicked {
			j.maintain()
		}
	})
}

func (j *Jenkins) isBlocked(it *item) bool {
	return it.build.Job.Serial && it.pinned == "" && (!it.build.Job.Pipeline || it.fly) && j.runningOf(it.build) != nil
}

// runningOf returns the build for which a serial job must wait, or nil.
func (j *Jenkins) runningOf(b *build) *build {
	for _, other := range j.alive {
		if other != b && other.Job.Name == b.Job.Name {
			return other
		}
	}
	for _, it := range j.items {
		if it.build != b && it.state == pending && it.build.Job.Name == b.Job.Name {
			return it.build
		}
	}
	return nil
}

// refusal is why a node gives an item no executor.
type refusal int

const (
	takes refusal = iota
	lacksLabel
	reserved
	another
	vetoed
	throttled
	isOffline
)

// canTake returns why a node refuses an item, in the order in which Jenkins asks: the node's
// labels and mode, then the dispatchers, then whether the node is online.
func (j *Jenkins) canTake(n *node, it *item) (refusal, *item) {
	switch {
	case it.labelled && !n.matches(it.expr):
		return lacksLabel, nil
	case !it.labelled && n.mode == modeExclusive:
		return reserved, nil
	}
	if it.pinned == "" {
		if other := j.pins[n.name]; other != nil {
			return another, other
		}
	}
	if j.vetoes[n.name] != "" {
		return vetoed, nil
	}
	if most := it.build.Job.PerNode; most > 0 && n.runs(it.build.Job.Name) >= most {
		return throttled, nil
	}
	if n.offline() {
		return isOffline, nil
	}
	return takes, nil
}

// assign gives the item to a free executor that may take it, and returns the executor's
// node. Without such an executor assign returns nil.
func (j *Jenkins) assign(it *item) *node {
	var best *node
	var bestAt uint64
	for _, n := range j.computers {
		if n.offline() || n.freeSlot() < 0 {
			continue
		}
		if why, _ := j.canTake(n, it); why != takes {
			continue
		}
		if at := spread(it.build.Job.Name, n.name); best == nil || at < bestAt {
			best, bestAt = n, at
		}
	}
	if best == nil {
		it.refused = true
		return nil
	}
	it.state, it.node, it.slot = pending, best, best.freeSlot()
	best.slots[it.slot].item = it
	j.changed()
	j.after(startDelay, func() { j.begin(it, best) })
	return best
}

// begin is the executor's locked start section. If the node went offline meanwhile, the
// executor gives the item back.
func (j *Jenkins) begin(it *item, n *node) {
	if it.state != pending || it.node != n || n.slots[it.slot].item != it {
		return
	}
	n.slots[it.slot].item = nil
	it.node = nil
	if n.offline() {
		it.state = buildable
		j.changed()
		j.dropIfGone(n)
		j.kick()
		return
	}
	j.removeItem(it, false)
	j.start(it, n, it.slot)
}

// release gives pending items of a node back to the queue.
func (j *Jenkins) release(n *node) {
	for i := range n.slots {
		if it := n.slots[i].item; it != nil {
			n.slots[i].item = nil
			it.state, it.node = buildable, nil
		}
	}
}

// label is the label expression for which the build asks.
func (job Job) label() string {
	if job.Parameter.Value != "" {
		return job.Parameter.Value
	}
	return job.Label
}

// full is the name of a job as pages show it, with its folders.
func (job Job) full() string { return strings.ReplaceAll(job.Name, "/", " » ") }

// simple is the job's name in its folder, or the axes of a cell.
func (job Job) simple() string {
	if job.Cell != "" {
		return job.Cell
	}
	return job.Name[strings.LastIndexByte(job.Name, '/')+1:]
}

// path is the job's URL below the root.
func (job Job) path() string {
	var p strings.Builder
	for part := range strings.SplitSeq(job.Name, "/") {
		p.WriteString("job/" + url.PathEscape(part) + "/")
	}
	if job.Cell != "" {
		p.WriteString(url.PathEscape(job.Cell) + "/")
	}
	return p.String()
}

// taskName is the name of an item's task in the queue and in sentences.
func (b *build) taskName() string {
	if b.Job.Pipeline {
		return "part of " + b.Job.full() + " #" + strconv.Itoa(b.Number)
	}
	return b.Job.full()
}
