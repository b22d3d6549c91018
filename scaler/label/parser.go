package label

import "strings"

// maxDepth limits the nesting of parentheses. Jenkins' own stack does not allow much more. A deeper text
// counts as a mistake like any other: it is one atom.
const maxDepth = 500

// parser parses by recursive descent through Jenkins' grammar:
//
//	iff     = implies { "<->" implies }
//	implies = or [ "->" or ]                 (no chain)
//	or      = and { "||" and }
//	and     = not { "&&" not }
//	not     = [ "!" ] term                   (no stack)
//	term    = "(" iff ")" | ATOM | STRING
//
// The parser writes the canonical form while it reads. The grammar demands parentheses wherever the canonical
// form needs them, so the canonical form is the tokens without blanks.
type parser struct {
	in    string
	at    int
	depth int
	nodes []node
	out   []byte
}

// plain reports whether s is obviously a single bare atom, as most labels are.
func plain(s string) bool {
	for i := range len(s) {
		switch s[i] {
		case '&', '|', '!', '<', '>', '(', ')', ' ', '\t', '"', '\'':
			return false
		}
	}
	return true
}

// skip skips blanks, and reports whether something follows.
func (p *parser) skip() bool {
	for p.at < len(p.in) && (p.in[p.at] == ' ' || p.in[p.at] == '\t') {
		p.at++
	}
	return p.at < len(p.in)
}

// take reports whether token is next, and then skips the token and copies it to the canonical form.
func (p *parser) take(token string) bool {
	if !p.skip() || !strings.HasPrefix(p.in[p.at:], token) {
		return false
	}
	p.at += len(token)
	p.out = append(p.out, token...)
	return true
}

// push adds a node to the tree and returns its place.
func (p *parser) push(n node) int32 {
	p.nodes = append(p.nodes, n)
	return int32(len(p.nodes) - 1)
}

func (p *parser) iff() (int32, bool) {
	left, ok := p.implies()
	for ok && p.take("<->") {
		var right int32
		right, ok = p.implies()
		left = p.push(node{op: opIff, a: left, b: right})
	}
	return left, ok
}

func (p *parser) implies() (int32, bool) {
	left, ok := p.or()
	if ok && p.take("->") {
		var right int32
		right, ok = p.or()
		left = p.push(node{op: opImplies, a: left, b: right})
	}
	return left, ok
}

func (p *parser) or() (int32, bool) {
	left, ok := p.and()
	for ok && p.take("||") {
		var right int32
		right, ok = p.and()
		left = p.push(node{op: opOr, a: left, b: right})
	}
	return left, ok
}

func (p *parser) and() (int32, bool) {
	left, ok := p.not()
	for ok && p.take("&&") {
		var right int32
		right, ok = p.not()
		left = p.push(node{op: opAnd, a: left, b: right})
	}
	return left, ok
}

func (p *parser) not() (int32, bool) {
	if !p.take("!") {
		return p.term()
	}
	base, ok := p.term()
	return p.push(node{op: opNot, a: base}), ok
}

func (p *parser) term() (int32, bool) {
	if p.take("(") {
		p.depth++
		if p.depth > maxDepth {
			return 0, false
		}
		base, ok := p.iff()
		p.depth--
		if !ok || !p.take(")") {
			return 0, false
		}
		return p.push(node{op: opParen, a: base}), true
	}
	if !p.skip() {
		return 0, false
	}
	from := p.at
	if p.in[from] == '"' {
		if !p.quoted() {
			return 0, false
		}
		return p.atom(unquote(p.in[from:p.at])), true
	}
	for p.at < len(p.in) && p.inAtom() {
		p.at++
	}
	if p.at == from {
		return 0, false
	}
	return p.atom(p.in[from:p.at]), true
}

// atom adds an atom to the tree and returns its place. In the canonical form the atom has quotes where
// Jenkins writes them.
func (p *parser) atom(name string) int32 {
	if needsQuotes(name) {
		p.out = appendQuoted(p.out, name)
	} else {
		p.out = append(p.out, name...)
	}
	return p.push(node{op: opAtom, atom: name})
}

// inAtom reports whether the next byte belongs to a bare atom. A minus does, unless it begins an arrow.
func (p *parser) inAtom() bool {
	switch p.in[p.at] {
	case '&', '|', '!', '<', '>', '(', ')', ' ', '\t', '"', '\'':
		return false
	case '-':
		return p.at+1 == len(p.in) || p.in[p.at+1] != '>'
	}
	return true
}

// quoted skips a string in double quotes, and reports whether it is well formed.
func (p *parser) quoted() bool {
	for p.at++; p.at < len(p.in); p.at++ {
		switch p.in[p.at] {
		case '"':
			p.at++
			return true
		case '\n', '\r':
			return false
		case '\\':
			p.at++
			if p.at == len(p.in) || strings.IndexByte(`btnfr"'\`, p.in[p.at]) < 0 {
				return false
			}
		}
	}
	return false
}

// unquote removes the quotes if the first and the last byte are the same kind of quote, and replaces the
// escapes between them.
func unquote(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '"' && s[0] != '\'' {
		return s
	}
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	out := make([]byte, 0, len(s))
	escaped := false
	for i := range len(s) {
		c := s[i]
		switch {
		case escaped:
			if at := strings.IndexByte("nrtfb", c); at >= 0 {
				c = "\n\r\t\f\b"[at]
			}
			out = append(out, c)
			escaped = false
		case c == '\\':
			escaped = true
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// needsQuotes reports whether Jenkins quotes an atom in a canonical form. Jenkins quotes a name that would
// not be valid for a job, and a name with blanks or parentheses.
func needsQuotes(name string) bool {
	if strings.TrimSpace(name) == "" || strings.HasSuffix(strings.TrimSpace(name), ".") {
		return true
	}
	for i := range len(name) {
		c := name[i]
		if c < ' ' || c == 0x7f || strings.IndexByte(`?*/\%!@#$^&|<>[]:; ()`, c) >= 0 {
			return true
		}
		// The control characters of Latin-1, in UTF-8.
		if c == 0xc2 && i+1 < len(name) && name[i+1] < 0xa0 {
			return true
		}
	}
	return false
}

// appendQuoted appends the name to out, in double quotes and escaped, and returns out.
func appendQuoted(out []byte, name string) []byte {
	out = append(out, '"')
	for i := range len(name) {
		c := name[i]
		if at := strings.IndexByte("\"\\\n\r\t\f\b", c); at >= 0 {
			out = append(out, '\\', `"\nrtfb`[at])
		} else {
			out = append(out, c)
		}
	}
	return append(out, '"')
}
