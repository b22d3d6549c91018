package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.uber.org/zap"

	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/term"
	"bellboard/metrics/web"
	"bellboard/scaler"
)

// nasty is a label that would clear the screen, add a false row and reverse the line.
const nasty = "x\x1b[2J\u009b1A\nweb  0  -  9  0  0  9  none\tfine\r\u202eenod\u2028\x7f"

// obeyed returns the characters in a text that control a terminal, except line feeds.
func obeyed(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r)) {
			return r
		}
		return -1
	}, s)
}

// TestOthersTextIsShown checks that a text from a Jenkinsfile, a pod or a template stays in its row of a
// table, its line of an error and its string of JSON.
func TestOthersTextIsShown(t *testing.T) {
	id := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	tick := scaler.Tick{Plan: scaler.Plan{
		Decisions:  []scaler.Decision{{Team: "web", Text: "refused: " + nasty}},
		Unserved:   []scaler.Unserved{{Label: nasty, Count: 1, Text: "no team serves ‘" + nasty + "’", Jobs: []string{"a", nasty}}},
		Unresolved: []scaler.Unserved{{Count: 1, Text: nasty, Jobs: []string{nasty}}},
		Actions:    []scaler.Action{{Verb: scaler.Mark, Pool: id, Agent: nasty, Text: nasty}},
	}}
	for _, output := range []string{"table", "json"} {
		var out strings.Builder
		if err := printPlan(&term.Screen{Writer: &out}, tick, output); !errors.As(err, new(codeError)) {
			t.Fatal(err)
		}
		if got := obeyed(out.String()); got != "" {
			t.Errorf("plan -o %s lets through %q:\n%q", output, got, out.String())
		}
		switch output {
		case "table":
			if rows := strings.Count(out.String(), "\n"); rows != 1+1+1+1+2+1+strings.Count(fresh, "\n") {
				t.Errorf("plan has %d lines:\n%s", rows, out.String())
			}
		case "json":
			var got scaler.Tick
			if err := web.ReadJSON([]byte(out.String()), &got); err != nil || got.Plan.Unserved[0].Label != nasty {
				t.Errorf("plan -o json says %q, %v", got.Plan.Unserved[0].Label, err)
			}
		}
	}

	for _, tt := range []struct {
		err   error
		lines int
	}{
		{errors.New("holding: jenkins: " + nasty), 1},
		{config.Mistakes{{Variable: "BELLBOARD_X", Remedy: "line 1: " + nasty}, {Variable: nasty, Value: nasty, Set: true, Remedy: "y"}}, 3},
	} {
		if got := words(tt.err); obeyed(got) != "" || strings.Count(got, "\n") != tt.lines-1 {
			t.Errorf("the error says %q, want %d lines", got, tt.lines)
		}
	}

	var out strings.Builder
	log := newLog(&out, "info", "json")
	log.Warn("an agent failed", zap.String("log", nasty), zap.Error(errors.New(nasty)))
	var line map[string]any
	if err := json.Unmarshal([]byte(out.String()), &line); err != nil || line["log"] != nasty || obeyed(out.String()) != "" || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("the log has %q, %v", out.String(), err)
	}
	out.Reset()
	newLog(&out, "info", "console").Warn(nasty, zap.String("log", nasty))
	if got := strings.ReplaceAll(out.String(), "\t", " "); obeyed(got) != "" {
		t.Errorf("the log for people has %q", out.String())
	}
}

// TestLogKeys checks that no key of the log has a blank, in all of the program: tools for logs ask for keys
// by their name. A duration has its unit.
func TestLogKeys(t *testing.T) {
	keys := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			of, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := of.X.(*ast.Ident); ok && pkg.Name == "zap" {
				if key, ok := call.Args[0].(*ast.BasicLit); ok {
					keys++
					if !regexp.MustCompile(`^"[a-z][a-z0-9_]*"$`).MatchString(key.Value) {
						t.Errorf("%s: the key %s of the log is no word", set.Position(key.Pos()), key.Value)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil || keys < 50 {
		t.Errorf("%d keys, %v", keys, err)
	}
	var out strings.Builder
	newLog(&out, "info", "json").Info("holding", zap.Duration("for", 90*time.Second))
	if !strings.Contains(out.String(), `"for":"1m30s"`) {
		t.Errorf("the log has %q", out.String())
	}
}

// TestPlanNamesSlots checks that plan names a slot that goes, not its pool.
func TestPlanNamesSlots(t *testing.T) {
	var out strings.Builder
	err := printPlan(&term.Screen{Writer: &out}, scaler.Tick{Plan: scaler.Plan{Actions: []scaler.Action{
		{Verb: scaler.DeleteSlot, Pool: scaler.PoolID{Team: "data", Kind: scaler.Persistent}, Text: "unused for 168h", Slot: &scaler.Slot{Name: "data-cache-1"}},
		{Verb: scaler.Register, Pool: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Text: "keeps its labels"},
	}}}, "table")
	if err == nil {
		t.Error("something would change, and it says nothing of it")
	}
	for _, want := range []string{"delete-slot  data-cache-1", "unused for 168h", "web ephemeral"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

// TestPlanShowsWindows checks that plan shows which settings a window sets now.
func TestPlanShowsWindows(t *testing.T) {
	var out strings.Builder
	until := time.Date(2026, time.November, 30, 18, 0, 0, 0, time.UTC)
	tick := scaler.Tick{Plan: scaler.Plan{Decisions: []scaler.Decision{{Team: "data"}, {Team: "web", Scheduled: []scaler.Scheduled{
		{Setting: "MIN_IDLE", Value: "2", Else: "0", Window: "0 7 * * 1-5 for 11h", Until: until},
	}}}}}
	if err := printPlan(&term.Screen{Writer: &out}, tick, "table"); err != nil {
		t.Fatal(err)
	}
	const want = "\nSet by windows of SCHEDULE now:\n  web                      MIN_IDLE=2 instead of 0 until Mon 30 Nov 18:00 UTC: 0 7 * * 1-5 for 11h\n"
	if !strings.Contains(out.String(), want) {
		t.Errorf("plan does not show the window:\n%s", out.String())
	}
}
