package scaler

import (
	"encoding/json"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImports: package scaler imports only the standard library and its own package label.
func TestImports(t *testing.T) {
	allowed := map[string][]string{
		"bellboard/scaler":         {"bellboard/scaler/label"},
		"bellboard/scaler/label":   nil,
		"bellboard/scaler/plain":   nil,
		"bellboard/scaler/clock":   nil,
		"bellboard/scaler/control": {"bellboard/scaler", "bellboard/scaler/clock", "go.uber.org/zap"},
	}
	// Packages that would let the core do I/O, or read the time without being told.
	impure := []string{"net", "net/http", "os", "os/exec", "io/fs", "log", "log/slog", "sync", "context", "math/rand", "math/rand/v2", "crypto/rand", "syscall", "unsafe"}
	for _, path := range []string{"bellboard/scaler", "bellboard/scaler/label", "bellboard/scaler/plain", "bellboard/scaler/clock", "bellboard/scaler/control"} {
		t.Run(path, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "go", "list", "-json=Imports", path).Output()
			if err != nil {
				t.Fatalf("go list %s: %v", path, err)
			}
			var p struct{ Imports []string }
			if err := json.Unmarshal(out, &p); err != nil {
				t.Fatalf("go list %s: %v", path, err)
			}
			for _, i := range p.Imports {
				first, _, _ := strings.Cut(i, "/")
				std := !strings.Contains(first, ".") && first != "bellboard"
				if !std && !slices.Contains(allowed[path], i) {
					t.Errorf("%s imports %s, want only the standard library and %q", path, i, allowed[path])
				}
				if (path == "bellboard/scaler" || path == "bellboard/scaler/label" || path == "bellboard/scaler/plain") && slices.Contains(impure, i) {
					t.Errorf("%s imports %s, want no I/O, no goroutines and no chance", path, i)
				}
			}
		})
	}
}

// TestPure: the core starts no goroutine and reads no clock.
func TestPure(t *testing.T) {
	for _, dir := range []string{".", "label", "plain"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, offence := range offences(f) {
				t.Errorf("%s: %s, want a pure core", fset.Position(offence.pos), offence.what)
			}
		}
	}
}

// TestPackageComments: every package here says what it promises.
func TestPackageComments(t *testing.T) {
	for _, dir := range []string{".", "label", "plain", "clock", "control"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		comment := ""
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil && !strings.HasSuffix(name, "_test.go") {
				if comment != "" {
					t.Errorf("%s: a second package comment in %s", dir, name)
				}
				comment = new(doc.Package).Synopsis(f.Doc.Text())
			}
		}
		if !strings.HasPrefix(comment, "Package ") {
			t.Errorf("%s: package comment = %q, want one that begins with \"Package\"", dir, comment)
		}
	}
}

type offence struct {
	pos  token.Pos
	what string
}

// offences returns the places that start a goroutine, use select, or read the clock.
func offences(f *ast.File) []offence {
	var out []offence
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			out = append(out, offence{n.Pos(), "starts a goroutine"})
		case *ast.SelectStmt:
			out = append(out, offence{n.Pos(), "selects on channels"})
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" {
				switch n.Sel.Name {
				case "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick":
					out = append(out, offence{n.Pos(), "asks the clock: time." + n.Sel.Name})
				}
			}
		}
		return true
	})
	return out
}
