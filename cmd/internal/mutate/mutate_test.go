package main

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"slices"
	"testing"
)

const source = `package rules

import "time"

const After = 5 * time.Minute

const most, name = 8, "a" // no times

func may(n int, free, ours bool, at []int) bool {
	if n > 4 && !free {
		return false
	}
	switch {
	case ours, n == at[2]:
		return true
	case n < most || free:
		return n*2 > 6
	}
	return time.Duration(n) > 3*time.Second
}
`

// TestHarmless: each mutant in harmless.txt is there, and has a reason.
func TestHarmless(t *testing.T) {
	all, _, err := overlay("../../..", t.TempDir(), files)
	if err != nil {
		t.Fatal(err)
	}
	for key, reason := range reasons(harmless) {
		if reason == "" || !slices.ContainsFunc(all, func(m mutant) bool { return m.key() == key }) {
			t.Errorf("%q with the reason %q is no mutant", key, reason)
		}
	}
	if len(all) < 1000 || len(reasons(harmless)) == 0 {
		t.Errorf("%d mutants, %d of them harmless", len(all), len(reasons(harmless)))
	}
}

// TestMutate: every rule of a file has its mutants, and the file with all of them compiles.
func TestMutate(t *testing.T) {
	var got []string
	text, err := mutate("rules.go", []byte(source), func(m mutant) int {
		got = append(got, m.key())
		return len(got)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"rules.go: : halves After",
		"rules.go: may: never: n > 4 && !free",
		"rules.go: may: drops n > 4 && …",
		"rules.go: may: drops … && !free",
		"rules.go: may: negates n > 4",
		"rules.go: may: halves 4",
		"rules.go: may: never: ours",
		"rules.go: may: never: n == at[2]",
		"rules.go: may: puts after the next case: ours",
		"rules.go: may: never: n < most || free",
		"rules.go: may: negates n == at[2]",
		"rules.go: may: drops n < most || …",
		"rules.go: may: drops … || free",
		"rules.go: may: negates n < most",
		"rules.go: may: negates n*2 > 6",
		"rules.go: may: halves n*2",
		"rules.go: may: halves 6",
		"rules.go: may: negates time.Duration(n) > 3*time.Second",
		"rules.go: may: halves 3*time.Second",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the mutants are\n%q, want\n%q", got, want)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for name, text := range map[string]string{"rules.go": string(text), "mutated.go": "package rules\n" + helper[len("package %s\n"):]} {
		f, err := parser.ParseFile(fset, name, text, 0)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		files = append(files, f)
	}
	if _, err := (&types.Config{Importer: importer.ForCompiler(fset, "source", nil)}).Check("rules", fset, files, nil); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
}
