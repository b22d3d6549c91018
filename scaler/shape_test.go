package scaler

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sources parses the product files of a directory.
func sources(t *testing.T, dir string) (*token.FileSet, map[string]*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no sources in %s: %v", dir, err)
	}
	set, out := token.NewFileSet(), map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if out[name], err = parser.ParseFile(set, name, nil, parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
	}
	return set, out
}

// TestOnlyScalerWritesTheMemory: the loop hands the memory on, and changes nothing in it.
func TestOnlyScalerWritesTheMemory(t *testing.T) {
	set, files := sources(t, "control")
	inside := func(e ast.Expr) bool { // a part of a memory, as in l.memory.Agents[name]
		for {
			switch x := e.(type) {
			case *ast.IndexExpr:
				e = x.X
			case *ast.SelectorExpr:
				if in, ok := x.X.(*ast.SelectorExpr); ok && in.Sel.Name == "memory" {
					return true
				}
				if in, ok := x.X.(*ast.Ident); ok && in.Name == "memory" {
					return true
				}
				e = x.X
			default:
				return false
			}
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			var written []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				written = n.Lhs
			case *ast.IncDecStmt:
				written = []ast.Expr{n.X}
			case *ast.CallExpr:
				if fun, ok := n.Fun.(*ast.Ident); ok && (fun.Name == "delete" || fun.Name == "clear") {
					written = n.Args[:1]
				}
			}
			for _, e := range written {
				if inside(e) {
					t.Errorf("%s: the loop writes into the memory", set.Position(e.Pos()))
				}
			}
			return true
		})
	}
}

// TestLimitsAreInOnePlace: each setting that limits creations is read by limits, which applies
// it, and by the few functions that say what it will leave.
func TestLimitsAreInOnePlace(t *testing.T) {
	readers := map[string][]string{
		"ScaleUpStep":     {"limits"},
		"ScaleUpCooldown": {"newAsk"},                                              // limits gets what is left of it
		"MaxAgents":       {"limits", "room", "shareGlobal", "cap", "caps", "has"}, // has puts a decision's into words
		"MaxPersistent":   {"limits", "room", "persistentRoom", "persistent", "needless", "cap"},
	}
	set, files := sources(t, ".")
	for _, f := range files {
		for _, decl := range f.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && readers[s.Sel.Name] != nil && !slices.Contains(readers[s.Sel.Name], fn.Name.Name) {
					t.Errorf("%s: %s reads %s; want only %q to", set.Position(s.Pos()), fn.Name.Name, s.Sel.Name, readers[s.Sel.Name])
				}
				return true
			})
		}
	}
}

// TestNoReasonOfKubernetes: the core reads no reason string of Kubernetes, such as
// ImagePullBackOff: the adapter turns it into a class.
func TestNoReasonOfKubernetes(t *testing.T) {
	reason := regexp.MustCompile(`^([A-Z][a-z]+){2,}$`)
	set, files := sources(t, ".")
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && reason.MatchString(text) {
					t.Errorf("%s: %s", set.Position(lit.Pos()), lit.Value)
				}
			}
			return true
		})
	}
}
