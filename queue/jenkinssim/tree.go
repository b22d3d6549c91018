package jenkinssim

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// pruner says which properties of an object are wanted: by name, as the tree parameter of
// a request does, or by depth, as Jenkins does without one.
type pruner struct {
	kids map[string]*pruner // nil: by depth
	star *pruner            // for the names that are not in kids
	// depth is what a property's visibility has to reach.
	depth int
	// lo and hi cut an array to [lo, hi).
	lo, hi int
}

// byDepth returns the pruner of a request without a tree.
func byDepth(depth int) *pruner { return &pruner{depth: 1 - depth, hi: math.MaxInt} }

// accept returns the pruner for the inside of a property of that visibility, or nil if the
// property is not wanted.
func (p *pruner) accept(name string, visibility int) *pruner {
	switch k := p.kids[name]; {
	case k != nil:
		return k
	case p.kids != nil:
		return p.star
	case visibility >= p.depth:
		return &pruner{depth: p.depth + 1, hi: math.MaxInt}
	}
	return nil
}

var errTree = errors.New("malformed tree expression")

func parseTree(s string) (*pruner, error) {
	t := treeParser{rest: s}
	p := t.list()
	if t.bad || t.rest != "" {
		return nil, errTree
	}
	return p, nil
}

// treeParser reads list := node(','list)?, node := NAME('['list']')?('{'M','N'}')?.
type treeParser struct {
	rest string
	bad  bool
}

// take reads c if it is next.
func (t *treeParser) take(c string) (is bool) {
	t.rest, is = strings.CutPrefix(t.rest, c)
	return is
}

func (t *treeParser) list() *pruner {
	p := &pruner{kids: map[string]*pruner{}, hi: math.MaxInt}
	for t.rest != "" && t.rest[0] != ']' && !t.bad {
		name, kid := t.node()
		p.kids[name] = kid // a name that comes again overwrites the earlier one
		if !t.take(",") {
			break
		}
	}
	p.star = p.kids["*"]
	return p
}

func (t *treeParser) node() (name string, kid *pruner) {
	end := strings.IndexAny(t.rest, "[]{},")
	if end < 0 {
		end = len(t.rest)
	}
	name, t.rest = t.rest[:end], t.rest[end:]
	t.bad = name == ""
	kid = &pruner{kids: map[string]*pruner{}, hi: math.MaxInt}
	if t.take("[") {
		kid = t.list()
		t.bad = t.bad || !t.take("]")
	}
	if t.take("{") {
		from, rest, _ := strings.Cut(t.rest, ",")
		to, after, _ := strings.Cut(rest, "}")
		var wrong, wrongToo error
		kid.lo, wrong = strconv.Atoi(from)
		kid.hi, wrongToo = strconv.Atoi(to)
		t.bad = t.bad || wrong != nil || wrongToo != nil || kid.lo < 0
		t.rest = after
	}
	return name, kid
}
