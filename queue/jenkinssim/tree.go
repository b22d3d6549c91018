package jenkinssim

import (
	"errors"
	"strconv"
	"strings"
	"sync"
)

// pruner says which properties of an object are wanted: by name, as the tree
// parameter of a request does, or by depth, as Jenkins does without one.
type pruner struct {
	kids map[string]*pruner
	star *pruner
	// depth is what a property's visibility must reach; 0 means that names count.
	depth int
	// lo and hi cut an array to [lo, hi).
	lo, hi int
	next   *pruner // one deeper
}

const endless = int(^uint(0) >> 1)

// byDepth are the pruners without a tree; Jenkins starts with 1-depth.
var byDepth = func() []*pruner {
	const deepest = 12
	ps := make([]*pruner, deepest)
	for i := range ps {
		ps[i] = &pruner{depth: i - deepest/2 + 1, hi: endless}
		if i > 0 {
			ps[i-1].next = ps[i]
		}
	}
	ps[deepest-1].next = ps[deepest-1]
	return ps
}()

func depthPruner(depth int) *pruner {
	const zero = 6 // the index of depth 0, which shows what has visibility 1
	return byDepth[max(zero-max(depth, 0), 0)]
}

// accept says whether a property of that visibility is wanted, and with what inside.
func (p *pruner) accept(name string, visibility int) *pruner {
	if p.kids == nil {
		if visibility >= p.depth {
			return p.next
		}
		return nil
	}
	if k := p.kids[name]; k != nil {
		return k
	}
	return p.star
}

// inline is accept for a property that Jenkins exports in line: what is inside
// counts as being on the same level.
func (p *pruner) inline(name string, visibility int) *pruner {
	k := p.accept(name, visibility)
	if k != nil && p.kids == nil {
		return p
	}
	return k
}

var errTree = errors.New("malformed tree expression")

// trees are parsed once: a client asks for the same tree every second.
var trees sync.Map

// maxCached is the longest text that is worth remembering.
const maxCached = 4096

func parseTree(s string) (*pruner, error) {
	if known, ok := trees.Load(s); ok {
		if p, ok := known.(*pruner); ok {
			return p, nil
		}
	}
	t := treeParser{s: s}
	p, err := t.list()
	if err == nil && t.i != len(s) {
		err = errTree
	}
	if err != nil {
		return nil, err
	}
	if len(s) < maxCached {
		trees.Store(s, p)
	}
	return p, nil
}

// treeParser reads list := node(','list)?, node := NAME('['list']')?('{'range'}')?.
type treeParser struct {
	s string
	i int
}

func (t *treeParser) peek() byte {
	if t.i < len(t.s) {
		return t.s[t.i]
	}
	return 0
}

func (t *treeParser) list() (*pruner, error) {
	p := &pruner{kids: map[string]*pruner{}, hi: endless}
	for {
		if c := t.peek(); c == ']' || c == 0 && t.i == len(t.s) {
			return p, nil
		}
		name, kid, err := t.node()
		if err != nil {
			return nil, err
		}
		// A name that comes again overwrites the earlier one.
		if name == "*" {
			p.star = kid
		} else {
			p.kids[name] = kid
		}
		if t.peek() != ',' {
			return p, nil
		}
		t.i++
	}
}

func (t *treeParser) node() (string, *pruner, error) {
	from := t.i
	for t.i < len(t.s) && !strings.ContainsRune("[]{},", rune(t.s[t.i])) {
		t.i++
	}
	name := t.s[from:t.i]
	if name == "" {
		return "", nil, errTree
	}
	kid := &pruner{kids: map[string]*pruner{}, hi: endless}
	if t.peek() == '[' {
		t.i++
		var err error
		if kid, err = t.list(); err != nil {
			return "", nil, err
		}
		if t.peek() != ']' {
			return "", nil, errTree
		}
		t.i++
	}
	if t.peek() == '{' {
		end := strings.IndexByte(t.s[t.i:], '}')
		if end < 0 {
			return "", nil, errTree
		}
		var err error
		if kid.lo, kid.hi, err = parseRange(t.s[t.i+1 : t.i+end]); err != nil {
			return "", nil, err
		}
		t.i += end + 1
	}
	return name, kid, nil
}

// parseRange reads {M,N}, {M,}, {,N} and {N}, which is the one element N.
func parseRange(s string) (lo, hi int, err error) {
	a, b, two := strings.Cut(s, ",")
	hi = endless
	if a != "" {
		if lo, err = strconv.Atoi(a); err != nil || lo < 0 {
			return 0, 0, errTree
		}
	}
	if !two {
		if a == "" {
			return 0, 0, errTree
		}
		return lo, lo + 1, nil
	}
	if b != "" {
		if hi, err = strconv.Atoi(b); err != nil {
			return 0, 0, errTree
		}
	}
	return lo, hi, nil
}
