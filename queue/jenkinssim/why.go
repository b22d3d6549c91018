package jenkinssim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bellboard/scaler/label"
)

// whyKey is all that a buildable item's sentence depends on besides the state.
type whyKey struct {
	expr      string
	labelled  bool
	pinned    string
	refused   bool
	overtaken bool
	job       string // of a job with a throttle
	tongue    tongue
}

// why is the item's sentence. Jenkins works it out for every request anew; so
// does this, but once for all items that want the same.
func (j *Jenkins) why(it *item, t tongue) string {
	switch it.state {
	case waiting:
		left := it.timestamp.Sub(j.clk.Now())
		if left <= 0 {
			return j.say(t, finishedWaiting, "")
		}
		return j.say(t, quietPeriod, span(left))
	case blocked:
		if other := j.runningOf(it.build); other != nil && other.Number > 0 {
			return fmt.Sprintf("Build #%s is already in progress (ETA: N/A)", grouped(other.Number))
		}
		return "A build is already in progress"
	case buildable, pending:
	}
	if j.quieting {
		return j.say(t, shutsDown, "")
	}
	if j.whysGen != j.gen {
		clear(j.whys)
		j.whysGen = j.gen
	}
	key := whyKey{labelled: it.labelled, pinned: it.pinned, refused: it.hasCauses(), overtaken: it.overtaken, tongue: t}
	if it.labelled {
		key.expr = it.expr.String()
	}
	if it.build.Job.PerNode > 0 {
		key.job = it.build.Job.Name
	}
	w, ok := j.whys[key]
	if !ok {
		w = j.sentence(it, t)
		j.whys[key] = w
	}
	return w
}

// labelView is what Jenkins' Label tells of an expression.
type labelView struct {
	nodes   []*node
	offline bool
	idle    int
}

func (j *Jenkins) view(e label.Expr) labelView {
	v := labelView{offline: true}
	for _, n := range j.computers {
		if n.lingering || !n.matches(e) {
			continue
		}
		v.nodes = append(v.nodes, n)
		if !n.offline() {
			v.offline = false
			v.idle += len(n.slots) - n.busy()
		}
	}
	return v
}

// sentence is Queue.BuildableItem.getCauseOfBlockage of Jenkins, step by step.
func (j *Jenkins) sentence(it *item, t tongue) string {
	agents := slices.ContainsFunc(j.computers, func(n *node) bool { return n != j.builtIn && !n.lingering })
	if it.labelled && agents {
		v := j.view(it.expr)
		name := it.expr.String()
		single := len(v.nodes) == 1
		switch {
		case v.offline && single:
			return j.say(t, nodeOffline, v.nodes[0].shown())
		case v.offline && len(v.nodes) == 0:
			return j.say(t, noNodes, name)
		case v.offline:
			return j.say(t, allOffline, name)
		}
		if v.idle > 0 && it.hasCauses() {
			if c := j.composite(it, t); c != "" {
				return c
			}
		}
		if single {
			name = v.nodes[0].shown()
		}
		return j.say(t, waitsOn, name)
	}
	idle := 0
	for _, n := range j.computers {
		if !n.offline() {
			idle += len(n.slots) - n.busy()
		}
	}
	if idle > 0 && it.hasCauses() {
		if c := j.composite(it, t); c != "" {
			return c
		}
	}
	return j.say(t, waits, "")
}

// hasCauses: Jenkins knows why each executor refused the item. It does not
// before the queue was first maintained, nor of an item that has its executor.
func (it *item) hasCauses() bool { return it.refused && it.state == buildable }

// composite lists why each idle executor was refused to the item when the
// queue was last maintained: an agent that came since still counts as offline.
func (j *Jenkins) composite(it *item, t tongue) string {
	var parts []string
	for _, n := range j.computers {
		if n.lingering || n.freeSlot() < 0 {
			continue
		}
		why, other := j.canTake(n, it)
		switch why {
		case takes:
			if n.fresh {
				parts = append(parts, j.say(t, nodeOffline, n.shown()))
			}
		case lacksLabel:
			parts = append(parts, j.say(t, lacks, n.shown(), it.expr.String()))
		case reserved:
			parts = append(parts, j.say(t, isReserved, n.shown()))
		case another:
			parts = append(parts, other.build.taskName()+" should be allowed to run first")
		case vetoed:
			parts = append(parts, j.vetoes[n.name])
		case throttled:
			parts = append(parts, "Already running "+grouped(n.runs(it.build.Job.Name))+" builds on node")
		case isOffline:
			parts = append(parts, j.say(t, nodeOffline, n.shown()))
		}
	}
	if it.overtaken {
		parts = append(parts, j.say(t, slotInUse))
	}
	for _, name := range j.removed {
		parts = append(parts, j.say(t, isRemoved, name))
	}
	slices.Sort(parts)
	parts = slices.Compact(parts)
	const shown = 5
	if more := len(parts) - shown; more > 0 && j.version >= compositeCut {
		return strings.Join(parts[:shown], "; ") + "; ... and " + strconv.Itoa(more) + " more"
	}
	return strings.Join(parts, "; ")
}

// stuck is what Jenkins calls stuck: at once when nothing of the label is online.
func (j *Jenkins) stuck(it *item) bool {
	if it.state < buildable {
		return false
	}
	if it.labelled && j.view(it.expr).offline {
		return true
	}
	return j.clk.Now().Sub(it.buildable) > 24*time.Hour
}

// span is Jenkins' way to write a duration.
func span(d time.Duration) string {
	ms := d.Milliseconds()
	s := ms / 1000
	switch {
	case s >= 3600:
		return fmt.Sprintf("%d hr %d min", s/3600, s/60%60)
	case s >= 60:
		return fmt.Sprintf("%d min %d sec", s/60, s%60)
	case s >= 10:
		return fmt.Sprintf("%d sec", s)
	case s >= 1:
		return fmt.Sprintf("%d.%d sec", s, ms%1000/100)
	case ms >= 100:
		return fmt.Sprintf("0.%02d sec", ms/10)
	default:
		return fmt.Sprintf("%d ms", ms)
	}
}

// grouped is how MessageFormat writes a number.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
