package scaler

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"bellboard/scaler/label"
)

// matching is the result of stage 2, which matches waiting items to executors.
type matching struct {
	demands []*demand
	supply  []*supply
	// vetoes has the refusals known before this tick looks for more, by the key of a demand.
	vetoes map[string]Veto
	// unlabelled: at least one team serves builds that ask for no label.
	unlabelled bool
}

// match matches the waiting items to executors that are free or coming.
func (d *decider) match() {
	items := d.in.Jenkins.Items
	for _, p := range d.pools {
		d.unlabelled = d.unlabelled || p.Unlabelled
	}
	d.demands = demandsOf(items, d.unlabelled, func(l string) bool { return d.byName[l] != nil })
	d.recall()
	d.supply = d.suppliesOf()
	match(d.demands, d.supply)
	d.refusals()
	unresolved := unserved{}
	for i := range items {
		if it := &items[i]; it.State == Buildable && it.Resolution == Unresolved {
			unresolved.note(it, "", "", unresolvedText(it.Why))
		}
	}
	d.plan.Unresolved = unresolved.sorted()
}

// unserved holds groups of items that no team serves. The key says what the items of a group ask for.
type unserved map[string]*Unserved

func (u unserved) note(it *Item, key, label, text string) {
	g := u[key]
	if g == nil {
		g = &Unserved{Label: label, Why: it.Why, Text: text}
		u[key] = g
	}
	g.Count++
	if len(g.Jobs) < 3 && !slices.Contains(g.Jobs, it.Job) {
		g.Jobs = append(g.Jobs, it.Job)
	}
}

func (u unserved) sorted() []Unserved {
	var out []Unserved
	for _, k := range slices.Sorted(maps.Keys(u)) {
		out = append(out, *u[k])
	}
	return out
}

// supply is the free and coming executors of one label set.
type supply struct {
	key    string
	labels []string // sorted
	free   int
	pool   *PoolID // the pool of this instance that the surplus belongs to; nil: foreign nodes
	home   *Pool   // the pool whose label set this is now; nil if the label set is an older one
	// standing lists the agents that have waited long enough to count as refused.
	standing   []string
	takers     []*demand // demands that it serves, or served at an earlier step of the matching
	refuses    []string  // keys of demands whose items Jenkins does not give to these agents
	unlabelled bool      // these agents take, or may take, builds that ask for no label
}

// ours returns 1 for agents of this instance, and 0 for foreign nodes. If nothing else decides, a waiting
// item takes a foreign executor. A spare agent of this instance then stays free.
func (s *supply) ours() int {
	if s.pool == nil {
		return 0
	}
	return 1
}

// demand is the waiting items of one label expression. Items that want no label are one demand, whose text is
// empty. Items whose label is inferred are a demand of their own, beside the items that are known to want
// that label.
type demand struct {
	text     string
	inferred bool
	expr     label.Expr
	items    []int // indices into the view's items, oldest first
	oldest   time.Time
	fits     []int           // indices of the label sets that satisfy the expression
	left     int             // items that no label set serves
	assigned map[*supply]int // items that each label set serves
}

// inferredKey is the first character of the key of each demand whose label is inferred.
const inferredKey = "\x00"

func inferred(key string) bool { return strings.HasPrefix(key, inferredKey) }

// unproven returns 1 if the label is inferred, and 0 otherwise. Items with an inferred label take only what
// the other items leave.
func (w *demand) unproven() int {
	if w.inferred {
		return 1
	}
	return 0
}

// key returns the key under which the memory knows the demand.
func (w *demand) key() string {
	if w.inferred {
		return inferredKey + w.text
	}
	return w.text
}

// teamOrder compares two teams that could serve the same shortfall. The team with the fewest labels comes
// first, then the team with the higher PRIORITY, then the name decides.
func teamOrder(a, b *Team) int {
	return cmp.Or(
		cmp.Compare(len(a.Labels), len(b.Labels)),
		cmp.Compare(b.Priority, a.Priority),
		strings.Compare(a.Name, b.Name),
	)
}

// match gives free and coming executors to waiting items, on paper only: Jenkins does the real assignment.
//
// The demands choose in this order:
//
//   - A demand whose label is inferred comes last.
//   - The scarcest expression comes first: the expression that the fewest label sets satisfy.
//   - Among equally scarce expressions, the oldest comes first.
//
// Each demand takes from the label set that the fewest other demands could use. If two label sets are equal
// in that, a foreign label set comes before a label set of this instance.
//
// Afterwards some demand may have items left although executors are free elsewhere. Then match moves other
// demands. For example, an older demand took the only executor that a younger demand can use, and another
// executor would serve the older demand too. match moves the older demand to that other executor.
//
// What is left is the answer. The executors left in free are the surplus. The items left in the demands are
// the shortfall, which is as small as possible.
func match(demands []*demand, supplies []*supply) {
	wanted := make([]int, len(supplies)) // how many demands could use each label set
	f := newFitter(supplies)
	for _, s := range supplies {
		s.takers = nil
	}
	for _, w := range demands {
		w.left, w.assigned = len(w.items), nil
		w.fits = slices.DeleteFunc(f.of(w), func(i int) bool { return slices.Contains(supplies[i].refuses, w.key()) })
		for _, i := range w.fits {
			wanted[i]++
		}
	}
	order := slices.Clone(demands)
	slices.SortStableFunc(order, func(a, b *demand) int {
		return cmp.Or(a.unproven()-b.unproven(), cmp.Compare(len(a.fits), len(b.fits)), a.oldest.Compare(b.oldest), strings.Compare(a.key(), b.key()))
	})
	var takes []int
	for _, w := range order {
		takes = takes[:0]
		for _, i := range w.fits {
			if supplies[i].free > 0 {
				takes = append(takes, i)
			}
		}
		slices.SortStableFunc(takes, func(a, b int) int {
			return cmp.Or(cmp.Compare(wanted[a], wanted[b]), supplies[a].ours()-supplies[b].ours())
		})
		for _, i := range takes {
			n := min(w.left, supplies[i].free)
			w.take(supplies[i], n)
			supplies[i].free -= n
			w.left -= n
			if w.left == 0 {
				break
			}
		}
	}
	dead := make([]bool, len(supplies))
	for _, w := range order {
		for w.left > 0 {
			if !reseat(supplies, dead, w) {
				break
			}
		}
	}
}

// take notes that the label set s serves n more items of the demand.
func (w *demand) take(s *supply, n int) {
	if w.assigned == nil {
		w.assigned = map[*supply]int{}
	}
	if _, known := w.assigned[s]; !known {
		s.takers = append(s.takers, w)
	}
	w.assigned[s] += n
}

// reseat finds a free executor for a demand that has items left. To do so, reseat looks for the shortest
// chain of demands that each move to another label set. reseat reports whether it found such a chain. If it
// found none, the label sets that it visited cannot help any other demand either, and reseat marks them as
// dead.
func reseat(supplies []*supply, dead []bool, w *demand) bool {
	asks := map[int]*demand{}       // by label set: the demand that would take from it
	gives := map[*demand]int{w: -1} // by demand: the label set that the demand would leave
	for queue := []*demand{w}; len(queue) > 0; queue = queue[1:] {
		for _, i := range queue[0].fits {
			if dead[i] || asks[i] != nil {
				continue
			}
			asks[i] = queue[0]
			if supplies[i].free > 0 {
				shift(asks, gives, supplies, w, i)
				return true
			}
			for _, v := range supplies[i].takers {
				if _, there := gives[v]; !there && v.assigned[supplies[i]] > 0 {
					gives[v] = i
					queue = append(queue, v)
				}
			}
		}
	}
	for i := range asks {
		dead[i] = true
	}
	return false
}

// shift moves as many items as possible along the chain that ends at label set i.
func shift(asks map[int]*demand, gives map[*demand]int, supplies []*supply, first *demand, i int) {
	n := min(first.left, supplies[i].free)
	for v := asks[i]; v != first; v = asks[gives[v]] {
		n = min(n, v.assigned[supplies[gives[v]]])
	}
	supplies[i].free -= n
	for v := asks[i]; ; v = asks[i] {
		v.take(supplies[i], n)
		if v == first {
			break
		}
		i = gives[v]
		v.take(supplies[i], -n)
	}
	first.left -= n
}

// fitter finds the label sets that satisfy an expression. Whether a label set satisfies an expression depends
// only on which of the expression's few atoms the set has. So the fitter evaluates the expression once for
// each combination of atoms, and not once for each label set.
type fitter struct {
	supplies []*supply
	carry    map[string][]int // by atom: the label sets that have that atom
	there    []uint8          // by label set: which atoms of the expression that set has, as bits
}

// maxAtoms is how many atoms fit into the bits of there. A larger expression is evaluated once for each label
// set.
const maxAtoms = 8

func newFitter(supplies []*supply) *fitter {
	f := &fitter{supplies: supplies, carry: map[string][]int{}, there: make([]uint8, len(supplies))}
	for i, s := range supplies {
		for _, l := range s.labels {
			f.carry[l] = append(f.carry[l], i)
		}
	}
	return f
}

// of returns the label sets that serve a demand.
func (f *fitter) of(w *demand) []int {
	if w.text != "" {
		return f.fits(w.expr, w.fits[:0])
	}
	out := w.fits[:0]
	for i, s := range f.supplies {
		if s.unlabelled {
			out = append(out, i)
		}
	}
	return out
}

// fits appends the indices of the label sets that satisfy e to out, in order, and returns out.
func (f *fitter) fits(e label.Expr, out []int) []int {
	if atom, ok := e.Atom(); ok {
		return append(out, f.carry[atom]...)
	}
	atoms := e.Atoms()
	if len(atoms) > maxAtoms {
		for i, s := range f.supplies {
			if e.Matches(func(atom string) bool { return slices.Contains(s.labels, atom) }) {
				out = append(out, i)
			}
		}
		return out
	}
	clear(f.there)
	for bit, atom := range atoms {
		for _, i := range f.carry[atom] {
			f.there[i] |= 1 << bit
		}
	}
	var asked, holds [1 << maxAtoms]bool
	for i, set := range f.there {
		if !asked[set] {
			asked[set] = true
			holds[set] = e.Matches(func(atom string) bool { return set>>slices.Index(atoms, atom)&1 == 1 })
		}
		if holds[set] {
			out = append(out, i)
		}
	}
	return out
}

// demandsOf groups the items that a new agent could serve by their expression, and returns the groups. These
// items belong to no demand:
//
//   - pinned items,
//   - items that are not buildable,
//   - items whose label is not known,
//   - items that want no label, if unlabelled is false. unlabelled says that some team serves such items.
func demandsOf(items []Item, unlabelled bool, pinned func(string) bool) []*demand {
	type group struct {
		text string
		how  Resolution
	}
	byGroup := make(map[group]*demand)
	var out []*demand
	for i := range items {
		it := &items[i]
		if it.State != Buildable || it.Resolution == Unresolved || !unlabelled && it.Resolution == Unlabelled {
			continue
		}
		w := byGroup[group{it.Label, it.Resolution}]
		if w == nil {
			if pinned(it.Label) {
				continue
			}
			w = &demand{text: it.Label, inferred: it.Resolution == Inferred, oldest: it.Since}
			if w.text != "" {
				w.expr = label.Parse(it.Label)
			}
			byGroup[group{it.Label, it.Resolution}] = w
			out = append(out, w)
		}
		w.items = append(w.items, i)
		if it.Since.Before(w.oldest) {
			w.oldest = it.Since
		}
	}
	slices.SortFunc(out, func(a, b *demand) int { return strings.Compare(a.key(), b.key()) })
	return out
}

// suppliesOf returns the free and coming executors, grouped by label set. Agents of this instance are grouped
// by pool too, foreign nodes only by the labels that they carry. There are three special cases:
//
//   - A foreign node that some demand names is a group of its own.
//   - An agent that Jenkins refused something is a group of its own.
//   - The label set of each pool is a group, even if no executor is free just now. Such a group shows that an
//     expression is not scarce, since agents that serve it can be made.
func (d *decider) suppliesOf() []*supply {
	byKey := make(map[string]*supply)
	var out []*supply
	refused := d.refusedBy()
	add := func(labels []string, pool *PoolID, name string, n int) *supply {
		key := strings.Join(labels, "\x00")
		refuses := refused[name]
		if refuses != nil {
			key += "\x02" + name
		}
		if pool != nil {
			key = pool.Team + "\x01" + string(pool.Kind) + "\x01" + key
		}
		s := byKey[key]
		if s == nil {
			s = &supply{key: key, labels: labels, pool: pool, refuses: refuses}
			byKey[key] = s
			out = append(out, s)
		}
		s.free += n
		if n > 0 && d.standing(name) {
			s.standing = append(s.standing, name)
		}
		return s
	}
	for i := range d.in.Teams {
		for j := range d.in.Teams[i].Pools {
			p := &d.in.Teams[i].Pools[j]
			s := add(p.Labels, &p.PoolID, "", 0)
			s.home, s.unlabelled = p, p.Unlabelled
		}
	}
	for _, m := range d.agents {
		if m.capacity() > 0 {
			s := add(m.labels(), &m.PoolID, m.Name, m.capacity())
			s.unlabelled = m.pool != nil && m.pool.Unlabelled
		}
	}
	if len(d.foreign) > 0 {
		named := make(map[string]bool)
		for _, w := range d.demands {
			for _, a := range w.expr.Atoms() {
				named[a] = true
			}
		}
		for _, n := range d.foreign {
			if !n.Online || n.OfflineBy != NotMarked || n.Executors == 0 {
				continue
			}
			labels := n.Labels
			if named[n.Name] {
				labels = append(slices.Clone(labels), n.Name)
				slices.Sort(labels)
			}
			// Jenkins does not tell whether a node is for labelled builds only. If such a node gets no
			// unlabelled item, refusals notes that.
			add(labels, nil, n.Name, n.free()).unlabelled = true
		}
	}
	slices.SortFunc(out, func(a, b *supply) int {
		return cmp.Or(slices.Compare(a.labels, b.labels), strings.Compare(a.key, b.key))
	})
	return out
}
