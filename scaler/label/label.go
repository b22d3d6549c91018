// Package label reads Jenkins' label expressions exactly as Jenkins does, its
// oddities included: text in outer quotes is unquoted before it is read, "!!a"
// and "a->b->c" are mistakes, and a mistake makes the whole text one label that
// in practice no node has. It is pure, never fails and never panics, and it
// knows nothing of nodes: whoever asks says which labels are there.
package label

import (
	"slices"
	"strings"
)

// op is what one node of an expression does.
type op uint8

const (
	opAtom op = iota
	opParen
	opNot
	opAnd
	opOr
	opImplies
	opIff
)

// text is the operator as Jenkins writes it.
func (o op) text() string {
	return [...]string{"", "()", "!", "&&", "||", "->", "<->"}[o]
}

// node is one step of an expression; a and b are the places of its operands.
type node struct {
	atom string
	a, b int32
	op   op
}

// Expr is a parsed label expression. The zero Expr is the label of no name.
type Expr struct {
	// name is what Jenkins calls the expression: the canonical form, or the raw
	// name of a single atom.
	name string
	// nodes holds the tree with its root last; empty for a single atom.
	nodes []node
}

// Parse reads an expression as a person typed it, as Jenkins.getLabel does:
// outer quotes are taken off, and what is no expression is one atom.
func Parse(s string) Expr { return ParseName(unquote(s)) }

// ParseName reads an expression's canonical name, as Jenkins prints it in its
// sentences: like Parse, but quotes at both ends belong to the first and the
// last atom ("os:linux"&&"with space").
func ParseName(s string) Expr {
	if plain(s) {
		return Expr{name: s}
	}
	p := parser{in: s}
	var stack [16]node
	var out [128]byte
	p.nodes, p.out = stack[:0], out[:0]
	root, ok := p.iff()
	if !ok || p.skip() {
		return Expr{name: s}
	}
	if p.nodes[root].op == opAtom {
		return Expr{name: p.nodes[root].atom}
	}
	e := Expr{name: s, nodes: slices.Clone(p.nodes)}
	if s != string(p.out) { // already canonical in most cases: no copy then
		e.name = string(p.out)
	}
	return e
}

// String is the name that Jenkins gives the expression: without blanks, with
// the parentheses as typed, atoms quoted where they need it; the bare name of a
// single atom.
func (e Expr) String() string { return e.name }

// Source is a text that Parse reads as this expression again. It is String
// except where Jenkins' own names are ambiguous: quotes at both ends, an atom
// that looks like an expression, an atom with a quote inside.
func (e Expr) Source() string {
	if len(e.nodes) == 0 {
		if back := Parse(e.name); len(back.nodes) == 0 && back.name == e.name {
			return e.name
		}
		return "(" + string(appendQuoted(nil, e.name)) + ")"
	}
	out := e.name
	if e.hasQuotes() {
		out = string(e.write(nil, int32(len(e.nodes)-1)))
	}
	if unquote(out) != out {
		return "(" + out + ")"
	}
	return out
}

// hasQuotes reports whether an atom has a quote in it, which Jenkins prints as
// it is and could not read again.
func (e Expr) hasQuotes() bool {
	for i := range e.nodes {
		if strings.ContainsAny(e.nodes[i].atom, `"'`) {
			return true
		}
	}
	return false
}

// write appends the expression with every odd atom quoted.
func (e Expr) write(out []byte, i int32) []byte {
	n := &e.nodes[i]
	switch n.op {
	case opAtom:
		if needsQuotes(n.atom) || strings.ContainsAny(n.atom, `"'`) {
			return appendQuoted(out, n.atom)
		}
		return append(out, n.atom...)
	case opParen:
		return append(e.write(append(out, '('), n.a), ')')
	case opNot:
		return e.write(append(out, '!'), n.a)
	default:
		return e.write(append(e.write(out, n.a), n.op.text()...), n.b)
	}
}

// Matches reports whether the expression holds for a node that has the atoms
// for which has answers true.
func (e Expr) Matches(has func(atom string) bool) bool {
	if len(e.nodes) == 0 {
		return has(e.name)
	}
	return e.eval(int32(len(e.nodes)-1), has)
}

func (e Expr) eval(i int32, has func(string) bool) bool {
	n := &e.nodes[i]
	switch n.op {
	case opAtom:
		return has(n.atom)
	case opParen:
		return e.eval(n.a, has)
	case opNot:
		return !e.eval(n.a, has)
	case opAnd:
		return e.eval(n.a, has) && e.eval(n.b, has)
	case opOr:
		return e.eval(n.a, has) || e.eval(n.b, has)
	case opImplies:
		return !e.eval(n.a, has) || e.eval(n.b, has)
	default:
		return e.eval(n.a, has) == e.eval(n.b, has)
	}
}

// Atom returns the one atom that the expression is, in parentheses or not.
func (e Expr) Atom() (string, bool) {
	if len(e.nodes) == 0 {
		return e.name, true
	}
	i := len(e.nodes) - 1
	for e.nodes[i].op == opParen {
		i = int(e.nodes[i].a)
	}
	return e.nodes[i].atom, e.nodes[i].op == opAtom
}

// Atoms lists the atoms of the expression, sorted, each once.
func (e Expr) Atoms() []string {
	if len(e.nodes) == 0 {
		return []string{e.name}
	}
	var atoms []string
	for i := range e.nodes {
		if e.nodes[i].op == opAtom {
			atoms = append(atoms, e.nodes[i].atom)
		}
	}
	slices.Sort(atoms)
	return slices.Compact(atoms)
}

// ParseSet reads a node's label string: labels between blanks, which quotes may
// hold together. The result is sorted and has each label once.
func ParseSet(s string) []string {
	var set []string
	var token strings.Builder
	add := func() {
		if token.Len() > 0 {
			set = append(set, token.String())
			token.Reset()
		}
	}
	quote, escaped := byte(0), false
	for i := range len(s) {
		c := s[i]
		switch {
		case quote != 0 && escaped:
			if strings.IndexByte(`\"' `, c) < 0 {
				token.WriteByte('\\')
			}
			token.WriteByte(c)
			escaped = false
		case quote != 0 && c == '\\':
			escaped = true
		case c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && strings.IndexByte(" \t\n\r", c) >= 0:
			add()
		default:
			token.WriteByte(c)
		}
	}
	add()
	slices.Sort(set)
	return slices.Compact(set)
}
