// Package label reads Jenkins' label expressions exactly as Jenkins does, with its oddities:
//
//   - Jenkins removes outer quotes before it reads a text.
//   - "!!a" and "a->b->c" are mistakes.
//   - A text with a mistake is one single label, which in practice no Jenkins node has.
//
// The package is pure, never fails and never panics. The package knows no Jenkins nodes: the caller says
// which labels are there.
package label

import (
	"slices"
	"strings"
)

// op is the operation of one node of an expression.
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

// text returns the operator as Jenkins writes it.
func (o op) text() string {
	return [...]string{"", "()", "!", "&&", "||", "->", "<->"}[o]
}

// node is one step of an expression. a and b are the places of its operands in Expr.nodes.
type node struct {
	atom string
	a, b int32
	op   op
}

// Expr is a parsed label expression. The zero Expr is the label whose name is empty.
type Expr struct {
	// name is what Jenkins calls the expression: the canonical form, or the bare name of a single atom.
	name string
	// nodes holds the tree, with its root last. nodes is empty for a single atom.
	nodes []node
}

// Parse reads an expression that a person typed, like Jenkins.getLabel. Parse removes outer quotes. A text
// that is no expression is one atom.
func Parse(s string) Expr { return ParseName(unquote(s)) }

// ParseName reads the canonical name of an expression, as Jenkins prints it in its sentences. ParseName works
// like Parse, but quotes at both ends belong to the first and the last atom ("os:linux"&&"with space").
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
	if s != string(p.out) { // most texts are canonical already, and need no copy
		e.name = string(p.out)
	}
	return e
}

// String returns the name that Jenkins gives the expression. The name has no blanks, keeps the parentheses as
// typed, and quotes the atoms that need quotes. For a single atom String returns the bare name.
func (e Expr) String() string { return e.name }

// Source returns a text that Parse reads as this expression again. Source returns the same as String, except
// where Jenkins' own names are ambiguous: quotes at both ends, an atom that looks like an expression, an atom
// with a quote inside.
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

// hasQuotes reports whether an atom contains a quote. Jenkins prints such a quote as it is, and could not
// read the result again.
func (e Expr) hasQuotes() bool {
	for i := range e.nodes {
		if strings.ContainsAny(e.nodes[i].atom, `"'`) {
			return true
		}
	}
	return false
}

// write appends the expression to out, with quotes around every atom that needs them, and returns out.
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

// Matches reports whether the expression holds for a Jenkins node. The function has says which atoms that
// node has.
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

// Atom returns the atom of an expression that is a single atom, in parentheses or not. Otherwise the second
// result is false.
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

// Atoms returns the atoms of the expression, sorted and each once.
func (e Expr) Atoms() []string {
	if len(e.nodes) == 0 {
		return []string{e.name}
	}
	atoms := make([]string, 0, (len(e.nodes)+1)/2) // an operator joins two
	for i := range e.nodes {
		if e.nodes[i].op == opAtom {
			atoms = append(atoms, e.nodes[i].atom)
		}
	}
	slices.Sort(atoms)
	return slices.Compact(atoms)
}

// ParseSet reads the label string of a Jenkins node. Blanks separate the labels, and quotes may hold a label
// with blanks together. The result is sorted and has each label once.
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
