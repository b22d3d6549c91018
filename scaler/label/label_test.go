package label

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// prefix returns the tree in the form of the golden file.
func (e Expr) prefix() string {
	if len(e.nodes) == 0 {
		return "<" + e.name + ">"
	}
	var walk func(i int32) string
	walk = func(i int32) string {
		n := e.nodes[i]
		switch n.op {
		case opAtom:
			return "<" + n.atom + ">"
		case opParen, opNot:
			return "[" + n.op.text() + " " + walk(n.a) + "]"
		default:
			return "[" + n.op.text() + " " + walk(n.a) + " " + walk(n.b) + "]"
		}
	}
	return walk(int32(len(e.nodes) - 1))
}

type golden struct{ in, tree, name string }

// goldens returns the test vectors that Jenkins' own grammar produced.
func goldens(t testing.TB) []golden {
	data, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	// The file writes a tab and a newline like Go. The \b in a\b is a backslash and a b.
	unescape := strings.NewReplacer(`\t`, "\t", `\n`, "\n")
	var all []golden
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n")[1:] {
		in, out, ok := strings.Cut(line, " => ")
		if !ok {
			t.Fatalf("no vector: %q", line)
		}
		if len(all) > 0 && strings.TrimSpace(in) == "" && out == "ATOM(lax) <  >" {
			in = "  "
		} else {
			in = strings.TrimRight(in, " ")
		}
		g := golden{in: unescape.Replace(in)}
		out = unescape.Replace(out)
		if lax, ok := strings.CutPrefix(out, "ATOM(lax) "); ok {
			g.tree, g.name = lax, lax[1:len(lax)-1]
		} else if atom, ok := strings.CutPrefix(out, "ATOM name="); ok {
			g.tree, g.name = atom, atom[1:len(atom)-1]
		} else {
			g.tree, g.name, _ = strings.Cut(out, "   name=")
		}
		all = append(all, g)
	}
	return all
}

func TestGoldenVectorsOfJenkins(t *testing.T) {
	all := goldens(t)
	if len(all) < 60 {
		t.Fatalf("%d vectors read", len(all))
	}
	for _, g := range all {
		t.Run(g.in, func(t *testing.T) {
			e := Parse(g.in)
			if got := e.prefix(); got != g.tree {
				t.Errorf("tree of %q: %s, Jenkins says %s", g.in, got, g.tree)
			}
			if e.String() != g.name {
				t.Errorf("name of %q: %s, Jenkins says %s", g.in, e, g.name)
			}
		})
	}
}

// TestSeenNames: a real Jenkins printed these canonical names for typed expressions (recorded in why.json).
func TestSeenNames(t *testing.T) {
	for typed, name := range map[string]string{
		"(linux || docker) && big": "(linux||docker)&&big",
		"!windows && linux":        "!windows&&linux",
		"a <-> b":                  "a<->b",
		"linux -> docker":          "linux->docker",
		`"with space"`:             "with space",
		"größe":                    "größe",
		"it's":                     "it's",
	} {
		if got := Parse(typed).String(); got != name {
			t.Errorf("%q: %q, want %q", typed, got, name)
		}
		if got := ParseName(name).String(); got != name {
			t.Errorf("name %q read back as %q", name, got)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		expr, labels string
		want         bool
	}{
		{"linux", "linux docker", true},
		{"linux", "Linux", false},
		{"linux && docker", "linux docker", true},
		{"linux && !docker", "linux docker", false},
		{"a->b", "", true},
		{"a->b", "a", false},
		{"a->b", "a b", true},
		{"a<->b", "", true},
		{"a<->b", "b", false},
		{"a<->b<->c", "c", true},
		{"(a||b)&&c", "b c", true},
		{"a||b&&c", "b", false},
		{`"a b"`, `"a b"`, true},
		{"a b", "a b", false},
		{"!!a", "a", false},
		{"", "", false},
	} {
		set := ParseSet(c.labels)
		has := func(atom string) bool { return slices.Contains(set, atom) }
		if got := Parse(c.expr).Matches(has); got != c.want {
			t.Errorf("%q on %q: %v", c.expr, c.labels, got)
		}
	}
}

func TestAtoms(t *testing.T) {
	for in, want := range map[string][]string{
		"linux":           {"linux"},
		"b && a && b":     {"a", "b"},
		`!"x y" || (z)`:   {"x y", "z"},
		"a->b->c":         {"a->b->c"},
		`'single quotes'`: {"single quotes"},
	} {
		if diff := cmp.Diff(want, Parse(in).Atoms()); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
	for in, want := range map[string]string{"n1": "n1", "((n1))": "n1", `("a b")`: "a b", "!n1": "", "a||b": ""} {
		got, ok := Parse(in).Atom()
		if ok != (want != "") || ok && got != want {
			t.Errorf("Atom of %q: %q %v", in, got, ok)
		}
	}
}

func TestParseSet(t *testing.T) {
	for in, want := range map[string][]string{
		"":                        nil,
		"  linux\tdocker\nlinux ": {"docker", "linux"},
		`"with space" b`:          {"b", "with space"},
		`a"b c"d`:                 {"ab cd"},
		`'x "y'`:                  {`x "y`},
		`"a\"b" "c\d"`:            {`a"b`, `c\d`},
		`os:linux größe`:          {"größe", "os:linux"},
		`"open`:                   {"open"},
	} {
		if diff := cmp.Diff(want, ParseSet(in)); diff != "" {
			t.Errorf("%q: %s", in, diff)
		}
	}
}

// TestQuotesAtBothEnds: Jenkins' own names have a trap. Read as typed text, the canonical name of this
// expression would be one odd atom.
func TestQuotesAtBothEnds(t *testing.T) {
	e := Parse("os:linux && a:b")
	if e.String() != `"os:linux"&&"a:b"` {
		t.Fatal(e)
	}
	if _, atom := Parse(e.String()).Atom(); !atom {
		t.Error("Jenkins takes such text for one atom")
	}
	if got := ParseName(e.String()).prefix(); got != e.prefix() {
		t.Error(got)
	}
	if got := Parse(e.Source()).Atoms(); !cmp.Equal(got, []string{"a:b", "os:linux"}) {
		t.Error(got)
	}
}

func TestDeepNestingIsOneAtom(t *testing.T) {
	deep := strings.Repeat("(", 100_000) + "a" + strings.Repeat(")", 100_000)
	if atom, ok := Parse(deep).Atom(); !ok || atom != deep {
		t.Error("not one atom")
	}
	fine := strings.Repeat("(", 400) + "a" + strings.Repeat(")", 400)
	if atom, ok := Parse(fine).Atom(); !ok || atom != "a" {
		t.Error("not the atom a")
	}
}

// source generates the text of an expression, and evaluates the expression by itself.
type source struct {
	text string
	eval func(map[string]bool) bool
}

var someAtoms = []string{"a", "b", "c-d", "os:x", "with space", "größe", `q"t`, "e."}

func generate(t *rapid.T, depth int) source {
	blank := rapid.SampledFrom([]string{"", " ", "\t "}).Draw(t, "blank")
	kind := 0
	if depth > 0 {
		kind = rapid.IntRange(0, 6).Draw(t, "kind")
	}
	paren := func(s source) source { return source{"(" + blank + s.text + ")", s.eval} }
	switch kind {
	case 0, 6:
		name := rapid.SampledFrom(someAtoms).Draw(t, "atom")
		text := name
		if needsQuotes(name) || strings.Contains(name, `"`) || rapid.Bool().Draw(t, "quoted") {
			text = string(appendQuoted(nil, name))
		}
		return source{text + blank, func(m map[string]bool) bool { return m[name] }}
	case 1:
		x := paren(generate(t, depth-1))
		return source{"!" + blank + x.text, func(m map[string]bool) bool { return !x.eval(m) }}
	}
	x, y := paren(generate(t, depth-1)), paren(generate(t, depth-1))
	join := func(o string, f func(p, q bool) bool) source {
		return source{x.text + blank + o + y.text, func(m map[string]bool) bool { return f(x.eval(m), y.eval(m)) }}
	}
	switch kind {
	case 2:
		return join("&&", func(p, q bool) bool { return p && q })
	case 3:
		return join("||", func(p, q bool) bool { return p || q })
	case 4:
		return join("->", func(p, q bool) bool { return !p || q })
	default:
		return join("<->", func(p, q bool) bool { return p == q })
	}
}

func TestCanonicalFormEvaluatesAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := generate(t, 4)
		labels := map[string]bool{}
		for _, a := range someAtoms {
			labels[a] = rapid.Bool().Draw(t, a)
		}
		has := func(a string) bool { return labels[a] }
		e := ParseName(s.text)
		if e.Matches(has) != s.eval(labels) {
			t.Fatalf("%q evaluates otherwise", s.text)
		}
		again := ParseName(e.String())
		// Jenkins' own name of an atom with a quote inside cannot be read again.
		if e.hasQuotes() || strings.Contains(e.String(), `"`) && len(e.nodes) == 0 {
			again = Parse(e.Source())
		}
		if again.String() != e.String() || again.Matches(has) != e.Matches(has) {
			t.Fatalf("%q became %q", e, again)
		}
		if typed := Parse(e.Source()); typed.Matches(has) != e.Matches(has) {
			t.Fatalf("source %q of %q evaluates otherwise", e.Source(), e)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, e := range []Expr{Parse(s), ParseName(s)} {
			if back := ParseName(e.String()); len(e.nodes) > 0 && !e.hasQuotes() && (back.String() != e.String() || back.prefix() != e.prefix()) {
				t.Fatalf("%q: name %q read back as %q", s, e, back)
			}
			typed := Parse(e.Source())
			if !cmp.Equal(typed.Atoms(), e.Atoms()) {
				t.Fatalf("%q: source %q has atoms %q, not %q", s, e.Source(), typed.Atoms(), e.Atoms())
			}
			for _, all := range []bool{true, false} {
				has := func(a string) bool { return all != (len(a)%2 == 0) }
				if typed.Matches(has) != e.Matches(has) {
					t.Fatalf("%q: source %q evaluates otherwise", s, e.Source())
				}
			}
		}
		ParseSet(s)
	})
}

func BenchmarkParse(b *testing.B) {
	in := []string{"linux", "linux&&docker", "(linux||docker) && big && !slow", `"with space"`}
	b.ReportAllocs()
	for i := range b.N {
		Parse(in[i%len(in)])
	}
}
