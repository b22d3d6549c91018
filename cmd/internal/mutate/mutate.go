// Command mutate breaks the rules that protect builds, one at a time, and runs the tests that should notice. It
// makes its changes itself: each comparison is negated, each operand of && and || is dropped, each condition is
// made to hold never, each two cases of a switch change places, and each number is halved.
//
// All changes of all files are in one program, and a variable of the environment chooses one of them: so the
// tests are compiled once. mutate changes no file, and needs neither Jenkins nor Kubernetes.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// mutant is one change of a file.
type mutant struct {
	id   int
	file string // from the top of the repository
	line int
	in   string // the function, or "" for a constant
	what string // such as "negates n > 0"
}

// key names a mutant, wherever its lines are.
func (m *mutant) key() string { return m.file + ": " + m.in + ": " + m.what }

// edit is a text put around a piece of a file. At one place the edits of the longer piece are outside, and of
// those of one piece the earlier ones.
type edit struct {
	from, to      int
	before, after string
}

// mutated is a file with all its mutants.
type mutated struct {
	name  string
	src   []byte
	fset  *token.FileSet
	in    string
	next  func(m mutant) int // gives a mutant its number
	edits []edit
	vars  map[int]bool // where constants become variables
}

// mutate returns the file with all mutants in it.
func mutate(name string, src []byte, next func(m mutant) int) ([]byte, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, 0)
	if err != nil {
		return nil, err
	}
	m := &mutated{name: name, src: src, fset: fset, next: next, vars: map[int]bool{}}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if m.in = d.Name.Name; d.Body != nil {
				ast.Inspect(d.Body, m.node)
			}
		case *ast.GenDecl:
			m.in = ""
			m.constants(d)
		}
	}
	return m.write(), nil
}

func (m *mutated) offset(p token.Pos) int { return m.fset.Position(p).Offset }

// text returns the words of a node on one line.
func (m *mutated) text(n ast.Node) string {
	return strings.Join(strings.Fields(string(m.src[m.offset(n.Pos()):m.offset(n.End())])), " ")
}

// add puts a new mutant around a node. The texts have %d for its number.
func (m *mutated) add(n ast.Node, what, before, after string) {
	id := strconv.Itoa(m.next(mutant{file: m.name, line: m.fset.Position(n.Pos()).Line, in: m.in, what: what}))
	m.around(n, strings.ReplaceAll(before, "%d", id), strings.ReplaceAll(after, "%d", id))
}

func (m *mutated) around(n ast.Node, before, after string) {
	m.edits = append(m.edits, edit{m.offset(n.Pos()), m.offset(n.End()), before, after})
}

// node adds the mutants of one node. The nodes below come later, and their edits are inside.
func (m *mutated) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok != token.CONST
	case *ast.IfStmt:
		m.never(n.Cond)
	case *ast.SwitchStmt:
		if n.Tag == nil {
			m.rows(n.Body.List)
		}
	case *ast.BinaryExpr:
		if (n.Op == token.MUL || n.Op == token.QUO) && (number(n.X) || number(n.Y)) { // a part may be of another type
			m.add(n, "halves "+m.text(n), "halved(%d, ", ")")
			for _, x := range []ast.Expr{n.X, n.Y} {
				if !number(x) {
					ast.Inspect(x, m.node)
				}
			}
			return false
		}
		m.binary(n)
	case *ast.IndexExpr: // an index is no number of a rule
		ast.Inspect(n.X, m.node)
		return false
	case *ast.BasicLit:
		m.half(n)
	}
	return true
}

func (m *mutated) never(cond ast.Expr) {
	m.add(cond, "never: "+m.text(cond), "((", ") && !mutated(%d))")
}

func (m *mutated) binary(n *ast.BinaryExpr) {
	switch n.Op { //nolint:exhaustive // arithmetic stays
	case token.LAND:
		m.add(n.X, "drops "+m.text(n.X)+" && …", "((", ") || mutated(%d))")
		m.add(n.Y, "drops … && "+m.text(n.Y), "((", ") || mutated(%d))")
	case token.LOR:
		m.add(n.X, "drops "+m.text(n.X)+" || …", "((", ") && !mutated(%d))")
		m.add(n.Y, "drops … || "+m.text(n.Y), "((", ") && !mutated(%d))")
	case token.EQL, token.NEQ, token.LSS, token.GTR, token.LEQ, token.GEQ:
		m.add(n, "negates "+m.text(n), "((", ") != mutated(%d))")
	}
}

// rows adds the mutants of the cases of a switch without a tag: each case never holds, and each changes its
// place with the next one.
func (m *mutated) rows(list []ast.Stmt) {
	for i, s := range list {
		row, ok := s.(*ast.CaseClause)
		if !ok || row.List == nil {
			continue
		}
		for _, cond := range row.List {
			m.never(cond)
		}
		if i+1 == len(list) {
			continue
		}
		next, ok := list[i+1].(*ast.CaseClause)
		if !ok || next.List == nil {
			continue
		}
		conds := make([]string, 0, len(next.List))
		for _, cond := range next.List {
			conds = append(conds, "("+m.text(cond)+")")
		}
		or := strings.Join(conds, " || ")
		id := strconv.Itoa(m.next(mutant{
			file: m.name, line: m.fset.Position(row.Pos()).Line, in: m.in, what: "puts after the next case: " + m.text(row.List[0]),
		}))
		for _, cond := range row.List {
			m.around(cond, "((", ") && !(mutated("+id+") && ("+or+")))")
		}
	}
}

// half adds the mutant of a number.
func (m *mutated) half(n *ast.BasicLit) {
	if v, err := strconv.Atoi(n.Value); err == nil && v > 1 {
		m.add(n, "halves "+n.Value, "halved(%d, ", ")")
	}
}

// constants makes variables of the constants that are times, and adds their mutants. Other numbers may be of any
// type.
func (m *mutated) constants(d *ast.GenDecl) {
	if d.Tok != token.CONST {
		return
	}
	for _, s := range d.Specs {
		v, ok := s.(*ast.ValueSpec)
		if !ok || len(v.Values) != len(v.Names) || slices.ContainsFunc(v.Values, func(e ast.Expr) bool { return !duration(e) }) {
			return
		}
	}
	m.vars[m.offset(d.Pos())] = true
	for _, s := range d.Specs {
		v := s.(*ast.ValueSpec) //nolint:forcetypeassert // checked above
		for i, e := range v.Values {
			m.add(e, "halves "+v.Names[i].Name, "halved(%d, ", ")")
		}
	}
}

// duration reports whether an expression is a number of a unit of time.
func duration(e ast.Expr) bool {
	product, ok := e.(*ast.BinaryExpr)
	if !ok || !number(product) {
		return false
	}
	_, ok = product.Y.(*ast.SelectorExpr)
	return ok
}

// number reports whether an expression is a number, or a product of numbers and a unit of time.
func number(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.INT
	case *ast.SelectorExpr:
		x, ok := e.X.(*ast.Ident)
		return ok && x.Name == "time"
	case *ast.BinaryExpr:
		return e.Op == token.MUL && number(e.X) && number(e.Y)
	}
	return false
}

// write returns the file with its edits.
func (m *mutated) write() []byte {
	type insert struct {
		at, rank, seq int
		text          string
	}
	all := make([]insert, 0, 2*len(m.edits))
	for i, e := range m.edits {
		size := e.to - e.from // ends of shorter pieces come first, and beginnings of longer ones
		all = append(all, insert{e.to, size - len(m.src), -i, e.after}, insert{e.from, len(m.src) - size, i, e.before})
	}
	slices.SortFunc(all, func(a, b insert) int { return cmp.Or(a.at-b.at, a.rank-b.rank, a.seq-b.seq) })
	var out []byte
	at := 0
	copyTo := func(to int) {
		for ; at < to; at++ {
			if m.vars[at] {
				out = append(out, "var"...)
				at += len("const")
			}
			out = append(out, m.src[at])
		}
	}
	for _, i := range all {
		copyTo(i.at)
		out = append(out, i.text...)
	}
	copyTo(len(m.src))
	return out
}

// helper is what each package with mutants gets beside its files.
const helper = `package %s

import (
	"os"
	"strconv"
)

var chosen, _ = strconv.Atoi(os.Getenv("BELLBOARD_MUTANT"))

func mutated(n int) bool { return chosen == n }

func halved[T ~int | ~int32 | ~int64 | ~float64](n int, x T) T {
	if chosen == n {
		return x / 2
	}
	return x
}
`

// overlay writes all mutants of the files into the folder, and returns them and the file for go's -overlay.
func overlay(root, folder string, files []string) (all []mutant, path string, err error) {
	replace, helped := map[string]string{}, map[string]bool{}
	next := func(m mutant) int {
		m.id = len(all) + 1
		all = append(all, m)
		return m.id
	}
	for _, name := range files {
		from := filepath.Join(root, name)
		src, err := os.ReadFile(from) //nolint:gosec // our own files
		if err != nil {
			return nil, "", err
		}
		text, err := mutate(name, src, next)
		if err != nil {
			return nil, "", err
		}
		to := filepath.Join(folder, strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(to, text, 0o600); err != nil { //nolint:gosec // a folder of this process
			return nil, "", err
		}
		replace[from] = to
		dir := filepath.Dir(name)
		if helped[dir] {
			continue
		}
		helped[dir] = true
		to = filepath.Join(folder, strings.ReplaceAll(dir, "/", "-")+"-mutated.go")
		if err := os.WriteFile(to, fmt.Appendf(nil, helper, filepath.Base(dir)), 0o600); err != nil {
			return nil, "", err
		}
		replace[filepath.Join(root, dir, "mutated.go")] = to
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, "", err
	}
	path = filepath.Join(folder, "overlay.json")
	return all, path, os.WriteFile(path, text, 0o600)
}
