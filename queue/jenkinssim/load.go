package jenkinssim

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"bellboard/scaler/label"
)

// loadClock is the period of Jenkins' load statistics.
const loadClock = 10 * time.Second

// scales are Jenkins' three series of one number: a sample goes into each of
// them every so many ticks, and each keeps so many averages.
var scales = [...]struct {
	name        string
	every, keep int
}{{"sec10", 1, 6 * 60 * 6}, {"min", 6, 2 * 24 * 60}, {"hour", 360, 56 * 24}}

// gauges are the numbers that are followed, in the order in which they are told.
var gauges = [...]string{
	"availableExecutors", "busyExecutors", "connectingExecutors", "definedExecutors", "idleExecutors", "onlineExecutors", "queueLength",
}

// gauge is one number's history on each scale, the newest last; before the
// first sample it is one zero.
type gauge [len(scales)][]float32

// load follows the numbers of some nodes and some items.
type load struct {
	nodes  func(*node) bool
	items  func(*item) bool
	always bool // also while no node is among them
	ticks  int
	gauges [len(gauges)]gauge
}

func newLoad(always bool, nodes func(*node) bool, items func(*item) bool) *load {
	l := &load{nodes: nodes, items: items, always: always}
	for i := range l.gauges {
		for s := range scales {
			l.gauges[i][s] = []float32{0}
		}
	}
	return l
}

// loads are Jenkins' load statistics: of everything, of what asks for no label,
// and of each label that somebody asked about.
type loads struct {
	next      time.Time
	overall   *load
	unlabeled *load
	labels    map[string]*load
}

func newLoads(now time.Time) loads {
	return loads{
		next:      now.Add(loadClock),
		overall:   newLoad(true, func(*node) bool { return true }, func(*item) bool { return true }),
		unlabeled: newLoad(true, func(n *node) bool { return n.mode == modeNormal }, func(it *item) bool { return !it.labelled }),
		labels:    map[string]*load{},
	}
}

// loadOf is a label's; it begins when it is first asked for. Items count by the
// name of their label, not by what it means.
func (j *Jenkins) loadOf(e label.Expr) *load {
	name := e.String()
	l := j.loads.labels[name]
	if l == nil {
		l = newLoad(false, func(n *node) bool { return n.matches(e) }, func(it *item) bool { return it.labelled && it.expr.String() == name })
		j.loads.labels[name] = l
	}
	return l
}

// sample takes every sample that is due before or at that time, of the state as
// it is: nothing has changed since the last one that was taken.
func (j *Jenkins) sample(until time.Time) {
	for ; !j.loads.next.After(until); j.loads.next = j.loads.next.Add(loadClock) {
		if j.phase != up {
			continue
		}
		j.loads.overall.update(j)
		j.loads.unlabeled.update(j)
		for _, l := range j.loads.labels {
			l.update(j)
		}
	}
}

// update takes one sample. A label without a node is not looked at: what it
// showed last stays.
func (l *load) update(j *Jenkins) {
	var available, busy, defined, online, queued, nodes int
	for _, n := range j.computers {
		if n == j.builtIn || n.lingering || !l.nodes(n) {
			continue
		}
		nodes++
		defined += n.executors
		if !n.offline() {
			online += n.executors
			busy += n.busy()
			available += n.executors - n.busy()
		}
	}
	if nodes == 0 && !l.always {
		return
	}
	for _, it := range j.items {
		if it.state >= buildable && l.items(it) {
			queued++
		}
	}
	l.ticks++
	for i, v := range [len(gauges)]int{available, busy, 0, defined, online - busy, online, queued} {
		for s, scale := range scales {
			if l.ticks%scale.every != 0 {
				continue
			}
			const decay = float32(0.9)
			h := l.gauges[i][s]
			// Each product is rounded by itself, as in Java.
			h = append(h, float32(h[len(h)-1]*decay)+float32(float32(v)*(1-decay)))
			l.gauges[i][s] = h[max(0, len(h)-scale.keep):]
		}
	}
}

// load writes load statistics. Two numbers are told twice, under older names.
func (w *page) load(p *pruner, class string, l *load) {
	w.open(class)
	for i, name := range gauges {
		w.gauge(p, name, &l.gauges[i])
	}
	w.gauge(p, "totalExecutors", &l.gauges[slices.Index(gauges[:], "onlineExecutors")])
	if l == w.j.loads.overall {
		w.gauge(p, "totalQueueLength", &l.gauges[slices.Index(gauges[:], "queueLength")])
	}
	w.close()
}

func (w *page) gauge(p *pruner, name string, g *gauge) {
	k := w.prop(p, name, 1)
	if k == nil {
		return
	}
	w.open("")
	for _, s := range [...]int{2, 1, 0} { // by name
		inner := w.prop(k, scales[s].name, 1)
		if inner == nil {
			continue
		}
		h := g[s]
		w.open("")
		if list := w.prop(inner, "history", 1); list != nil {
			w.array(list, len(h), func(i int) { w.float(h[len(h)-1-i]) })
		}
		if w.prop(inner, "latest", 1) != nil {
			w.float(h[len(h)-1])
		}
		w.close()
	}
	w.close()
}

// float writes a number as Java does, but for its exponents.
func (w *writer) float(f float32) {
	s := strconv.FormatFloat(float64(f), 'f', -1, 32)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	w.out = append(w.out, s...)
}
