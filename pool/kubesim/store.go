package kubesim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// An entry is one version of an object. A stored entry never changes. Its JSON is made once,
// and all answers share it.
type entry struct {
	obj  object
	rv   uint64
	body []byte
}

func (e *entry) json() []byte {
	if e.body == nil {
		e.body = encode(e.obj)
	}
	return e.body
}

// encode returns an object's JSON without its kind. kind.head supplies the kind.
func encode(o any) []byte {
	b, err := json.Marshal(o)
	if err != nil {
		// Only the types of k8s.io get here, and they always marshal.
		panic("kubesim: " + err.Error())
	}
	return b
}

// full returns the JSON of a version with its kind.
func (e *entry) full(k *kind) []byte {
	head, body := k.head(), e.json()
	b := make([]byte, 0, len(head)+len(body)-1)
	b = append(b, head...)
	return append(b, body[1:]...)
}

// A change is one event of a resource's history.
type change struct {
	rv       uint64
	typ      watch.EventType
	now, was *entry
}

// A table holds the objects of one kind and their recent history.
type table struct {
	kind     *kind
	items    map[string]*entry // by namespace/name
	history  []change
	first    uint64 // the number of history[0], counted from the beginning
	forgot   uint64 // the version of the last change that history has forgotten
	watchers map[*watcher]struct{}
	births   []string // keys by age, of a kind of which only some objects are kept
}

func (c *Cluster) table(k *kind) *table { return c.tables[k] }

func key(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }

// sorted returns what a namespace holds, in etcd's order. "" is all namespaces.
func (t *table) sorted(ns string) []*entry { return t.matching(within(ns)) }

// matching returns the entries for which ok is true, in the same order, so that nothing
// depends on the order of a map.
func (t *table) matching(ok func(*entry) bool) []*entry { return inOrder(t.items, ok) }

// before returns what a namespace held at an earlier version, as far as the history
// reaches back.
func (t *table) before(ns string, rv uint64) []*entry {
	items := maps.Clone(t.items)
	for _, ch := range slices.Backward(t.history) {
		if ch.rv <= rv {
			break
		}
		if ch.was == nil {
			delete(items, key(ch.now.obj))
		} else {
			items[key(ch.was.obj)] = ch.was
		}
	}
	return inOrder(items, within(ns))
}

func within(ns string) func(*entry) bool {
	return func(e *entry) bool { return ns == "" || e.obj.GetNamespace() == ns }
}

func inOrder(items map[string]*entry, ok func(*entry) bool) []*entry {
	var out []*entry
	for _, e := range items {
		if ok(e) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *entry) int {
		return cmp.Or(strings.Compare(a.obj.GetNamespace(), b.obj.GetNamespace()), strings.Compare(a.obj.GetName(), b.obj.GetName()))
	})
	return out
}

// put stores a new version. o belongs to the store from then on.
func (c *Cluster) put(t *table, o object) *entry {
	k := key(o)
	was := t.items[k]
	e := c.version(o)
	t.items[k] = e
	typ := watch.Modified
	if was == nil {
		typ = watch.Added
		c.uids[o.GetUID()] = true
	}
	c.record(t, change{rv: e.rv, typ: typ, now: e, was: was})
	if was == nil {
		c.born(t, e)
	}
	if len(o.GetOwnerReferences()) > 0 && (was == nil || len(was.obj.GetOwnerReferences()) == 0) {
		c.collectLater(t, e)
	}
	return e
}

// drop takes an object out of the store. The history keeps the last version, because
// watchers send it.
func (c *Cluster) drop(t *table, e *entry) {
	k := key(e.obj)
	if t.items[k] != e {
		return
	}
	delete(t.items, k)
	delete(c.uids, e.obj.GetUID())
	last := c.version(as[object](e.obj.DeepCopyObject()))
	c.record(t, change{rv: last.rv, typ: watch.Deleted, now: last, was: e})
	c.gone(t, last)
}

func (c *Cluster) version(o object) *entry {
	c.rv++
	o.SetResourceVersion(strconv.FormatUint(c.rv, 10))
	return &entry{obj: o, rv: c.rv}
}

func (c *Cluster) record(t *table, ch change) {
	t.history = append(t.history, ch)
	// The history is cut in halves, so that copies are rare.
	if n := len(t.history); n >= 2*c.cfg.History {
		cut := n - c.cfg.History
		t.forgot = t.history[cut-1].rv
		t.first += uint64(cut)
		t.history = append(make([]change, 0, 2*c.cfg.History), t.history[cut:]...)
	}
	for w := range t.watchers {
		w.poke()
	}
}

// born does what the controllers of a cluster do about a new object.
func (c *Cluster) born(t *table, e *entry) {
	c.created[t.kind.plural]++
	switch t.kind {
	case pods:
		c.adopt(e)
	case secrets:
		c.secretCame(e.obj.GetNamespace())
	case claims:
		c.rescheduleWaiting()
	}
	if t.kind.keep > 0 {
		t.births = append(t.births, key(e.obj))
		for len(t.births) > t.kind.keep {
			if old := t.items[t.births[0]]; old != nil && old != e {
				c.drop(t, old)
			}
			t.births = t.births[1:]
		}
	}
}

// gone does what the controllers do about an object that is gone.
func (c *Cluster) gone(t *table, e *entry) {
	if t.kind == pods {
		c.forget(e.obj.GetUID())
		c.rescheduleWaiting()
		c.releaseClaims()
	}
	c.collectOrphansOf(e.obj.GetUID())
}

// now returns the clock's time as the API has it: in whole seconds.
func (c *Cluster) now() metav1.Time { return metav1.NewTime(c.clock.Now()).Rfc3339Copy() }

// rand returns the source of chance for a name. The source depends only on the seed, the
// name, and how often the name was used before. So the order of unrelated requests changes
// no life.
func (c *Cluster) rand(what string) *rand.Rand {
	n := c.births[what]
	c.births[what] = n + 1
	h := fnv.New64a()
	_, _ = h.Write([]byte(what))
	//nolint:gosec // chances here are to be repeatable, not secret
	return rand.New(rand.NewPCG(uint64(c.cfg.Seed)^n<<40, h.Sum64()))
}

func newUID(r *rand.Rand) types.UID {
	a, b := r.Uint64(), r.Uint64()
	return types.UID(fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>52, b&0xffffffffffff))
}

// between draws a duration evenly from lo to hi.
func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(r.Int64N(int64(hi-lo)+1))
}
