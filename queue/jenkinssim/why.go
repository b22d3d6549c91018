package jenkinssim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bellboard/scaler/label"
)

// whyKey is all on which a buildable item's sentence depends besides the state.
type whyKey struct {
	expr      string
	labelled  bool
	pinned    string
	refused   bool
	overtaken bool
	job       string // of a job with a throttle
	tongue    tongue
}

// why returns the item's sentence. Jenkins makes it again for each request. why makes it
// once for all items that want the same.
func (j *Jenkins) why(it *item, t tongue) string {
	switch it.state {
	case waiting:
		left := int(it.timestamp.Sub(j.clk.Now()).Seconds())
		return j.say(t, quietPeriod, strconv.Itoa(left)+" sec")
	case blocked:
		if other := j.runningOf(it.build); other != nil && other.Number > 0 {
			return fmt.Sprintf("Build #%d is already in progress (ETA: N/A)", other.Number)
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

// labelView is what Jenkins' Label says of an expression.
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
	agents := slices.ContainsFunc(j.computers[1:], func(n *node) bool { return !n.lingering })
	var said string
	var idle int
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
		case single:
			name = v.nodes[0].shown()
		}
		said, idle = j.say(t, waitsOn, name), v.idle
	} else {
		said = j.say(t, waits, "")
		for _, n := range j.computers {
			if !n.offline() {
				idle += len(n.slots) - n.busy()
			}
		}
	}
	if idle > 0 && it.hasCauses() {
		return cmp.Or(j.composite(it, t), said)
	}
	return said
}

// hasCauses reports whether Jenkins knows why each executor refused the item. Jenkins does
// not before the queue was first maintained, nor if the item has its executor.
func (it *item) hasCauses() bool { return it.refused && it.state == buildable }

// composite lists why each idle executor refused the item when the queue was last
// maintained. An agent that came since then still counts as offline.
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
			parts = append(parts, fmt.Sprintf("Already running %d builds on node", n.runs(it.build.Job.Name)))
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

// stuck is what Jenkins calls stuck: at once if no node with the label is online.
func (j *Jenkins) stuck(it *item) bool {
	return it.state >= buildable && it.labelled && j.view(it.expr).offline
}
