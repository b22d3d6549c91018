package scaler

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"bellboard/scaler/label"
)

// match is stage 2: it matches the waiting items to executors that are free or coming.
func (d *decider) match() {
	for _, p := range d.pools {
		d.unlabelled = d.unlabelled || p.Unlabelled
	}
	d.demands = demandsOf(d.in.Jenkins.Items, d.unlabelled, func(l string) bool { return d.byName[l] != nil })
	d.recall()
	d.supply = d.suppliesOf()
	match(d.demands, d.supply)
	d.refusals()
}

// supply is the free and coming executors of one label set.
type supply struct {
	key    string
	labels []string // sorted
	free   int
	pool   *PoolID // the pool of this instance that the surplus belongs to; nil: foreign nodes
	home   *Pool   // the pool whose label set this is now; nil if the label set is an older one

	standing   []string // agents that have waited long enough to count as refused
	refuses    []string // keys of demands whose items Jenkins does not give to these agents
	unlabelled bool     // these agents take, or may take, builds that ask for no label

	// The rest belongs to the matching.
	atoms  uint8    // which atoms of the expression at hand the label set has, as bits
	wanted int      // how many demands could use the label set
	seats  []*seats // what it serves
	dead   bool     // no chain from here leads to a free executor
}

// seats are executors of a label set that the matching gives to items of a demand.
type seats struct {
	demand *demand
	supply *supply
	n      int
}

// carries reports whether the label set has that atom. The empty atom stands for builds without a label.
func (s *supply) carries(atom string) bool {
	return atom == "" && s.unlabelled || slices.Contains(s.labels, atom)
}

// seat gives n more free executors to the demand.
func (s *supply) seat(w *demand, n int) {
	s.free -= n
	for _, t := range s.seats {
		if t.demand == w {
			t.n += n
			return
		}
	}
	s.seats = append(s.seats, &seats{w, s, n})
}

// demand is the waiting items of one label expression. The text of the items that want no label is empty.
// Items whose label is inferred are a demand beside the items that are known to want that label.
type demand struct {
	key      string // the key under which the memory knows the demand
	text     string
	inferred bool
	expr     label.Expr
	atoms    []string // of expr
	items    []int    // indices into the view's items
	oldest   time.Time
	fits     []*supply // the label sets that satisfy the expression, in the order in which it takes them
	left     int       // items that no label set serves
	nobody   *Unserved // these items, if no team serves the label
}

// inferredKey is the first character of the key of each demand whose label is inferred.
const inferredKey = "\x00"

// demandKey returns the key of the demand that an item belongs to.
func demandKey(it *Item) string {
	if it.Resolution == Inferred {
		return inferredKey + it.Label
	}
	return it.Label
}

// yes returns 1 for true and 0 for false, so that a comparison puts false first.
func yes(is bool) int {
	if is {
		return 1
	}
	return 0
}

// match gives free and coming executors to waiting items, on paper only: Jenkins does the real assignment.
//
// The scarcest expression chooses first: the expression that the fewest label sets satisfy, then the oldest.
// A demand whose label is inferred takes only what all others leave. Each demand takes from the label set
// that the fewest other demands could use, and from a foreign one before one of this instance.
//
// If nothing that fits is free, demands that chose earlier move. For example, an older demand took the only
// executor that a younger demand can use. match moves the older demand to another executor that serves it
// too.
//
// The executors left in free are the surplus. The items left in the demands are the shortfall, which is as
// small as possible.
func match(demands []*demand, supplies []*supply) {
	carry := map[string][]*supply{} // by atom
	for _, s := range supplies {
		s.wanted, s.seats, s.dead = 0, nil, false
		for _, l := range s.labels {
			carry[l] = append(carry[l], s)
		}
		if s.unlabelled {
			carry[""] = append(carry[""], s)
		}
	}
	for _, w := range demands {
		w.left, w.fits = len(w.items), w.fitting(supplies, carry)
		for _, s := range w.fits {
			s.wanted++
		}
	}
	order := slices.Clone(demands)
	slices.SortFunc(order, func(a, b *demand) int {
		return cmp.Or(
			yes(a.inferred)-yes(b.inferred), len(a.fits)-len(b.fits),
			a.oldest.Compare(b.oldest), strings.Compare(a.key, b.key),
		)
	})
	for _, w := range order {
		slices.SortStableFunc(w.fits, func(a, b *supply) int {
			return cmp.Or(a.wanted-b.wanted, yes(a.pool != nil)-yes(b.pool != nil))
		})
		for w.left > 0 {
			if !w.serve() {
				break
			}
		}
	}
}

// serve gives items of the demand to free executors, by the shortest chain of demands that each move to
// another label set. serve reports whether it served an item. If it did not, the label sets that it visited
// cannot help any other demand either, and serve marks them as dead.
func (w *demand) serve() bool {
	asks := map[*supply]*demand{} // the demand that would take from the label set
	gives := map[*demand]*seats{} // the seats that the demand would leave
	for queue := []*demand{w}; len(queue) > 0; queue = queue[1:] {
		for _, s := range queue[0].fits {
			if s.dead || asks[s] != nil {
				continue
			}
			asks[s] = queue[0]
			if s.free > 0 {
				w.shift(s, asks, gives)
				return true
			}
			for _, t := range s.seats {
				if t.n > 0 && t.demand != w && gives[t.demand] == nil {
					gives[t.demand] = t
					queue = append(queue, t.demand)
				}
			}
		}
	}
	for s := range asks {
		s.dead = true
	}
	return false
}

// shift moves as many items as possible along the chain from w to the free label set s.
func (w *demand) shift(s *supply, asks map[*supply]*demand, gives map[*demand]*seats) {
	n := min(w.left, s.free)
	for v := asks[s]; v != w; v = asks[gives[v].supply] {
		n = min(n, gives[v].n)
	}
	w.left -= n
	for v := asks[s]; ; v = asks[s] {
		s.seat(v, n)
		if v == w {
			return
		}
		s = gives[v].supply
		s.seat(v, -n)
	}
}

// maxAtoms is how many atoms fit into the bits of a supply's atoms.
const maxAtoms = 8

// fitting returns the label sets that serve a demand. carry has the label sets of each atom. An expression
// has few atoms, so fitting evaluates it once for each combination of them, and not once for each label set.
func (w *demand) fitting(supplies []*supply, carry map[string][]*supply) []*supply {
	out := w.fits[:0]
	for bit, atom := range w.atoms {
		for _, s := range carry[atom] {
			s.atoms |= 1 << bit
		}
	}
	var known, holds [1 << maxAtoms]bool
	for _, s := range supplies {
		set := s.atoms
		if s.atoms = 0; !known[set] || len(w.atoms) > maxAtoms {
			known[set], holds[set] = true, w.expr.Matches(s.carries)
		}
		if holds[set] && !slices.Contains(s.refuses, w.key) {
			out = append(out, s)
		}
	}
	return out
}

// demandsOf groups the items that a new agent could serve by their expression. Items that are pinned, not
// buildable, or of unknown label belong to no demand. Nor do items that want no label, unless some team
// serves them (unlabelled).
func demandsOf(items []Item, unlabelled bool, pinned func(string) bool) []*demand {
	byKey, of := make(map[string]*demand), make([]*demand, len(items))
	for i := range items {
		it := &items[i]
		if it.State != Buildable || it.Resolution == Unresolved || !unlabelled && it.Resolution == Unlabelled {
			continue
		}
		key := demandKey(it)
		w := byKey[key]
		if w == nil {
			if pinned(it.Label) {
				continue
			}
			w = &demand{key: key, text: it.Label, inferred: it.Resolution == Inferred, oldest: it.Since}
			w.expr = label.Parse(it.Label)
			w.atoms = w.expr.Atoms()
			byKey[key] = w
		}
		of[i] = w
		w.left++
		if it.Since.Before(w.oldest) {
			w.oldest = it.Since
		}
	}
	room := make([]int, len(items)) // the items of all demands
	for i, w := range of {
		if w == nil {
			continue
		}
		if w.items == nil {
			w.items, room = room[:0:w.left], room[w.left:]
		}
		w.items = append(w.items, i)
	}
	return slices.SortedFunc(maps.Values(byKey), func(a, b *demand) int { return strings.Compare(a.key, b.key) })
}

// suppliesOf returns the free and coming executors, grouped by label set and pool. A foreign node that some
// demand names, and an agent that Jenkins refused something, are groups of their own. The label set of each
// pool is a group even if nothing is free: it shows that an expression is not scarce, since agents can be
// made.
func (d *decider) suppliesOf() []*supply {
	byKey := make(map[string]*supply)
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
		if n := m.capacity(); n > 0 {
			add(m.labels(), &m.PoolID, m.Name, n).unlabelled = m.carries("")
		}
	}
	named := make(map[string]bool)
	for _, w := range d.demands {
		for _, a := range w.atoms {
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
		// Jenkins does not tell whether a node is for labelled builds only: refusals finds out.
		add(labels, nil, n.Name, n.free()).unlabelled = true
	}
	return slices.SortedFunc(maps.Values(byKey), func(a, b *supply) int {
		return cmp.Or(slices.Compare(a.labels, b.labels), strings.Compare(a.key, b.key))
	})
}
