package main

import (
	"context"
	_ "embed" // harmless.txt
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// files are those with the rules that protect builds, and those with the preconditions of the writes.
var files = []string{
	"scaler/table.go", "scaler/validate.go", "scaler/up.go", "scaler/down.go", "scaler/upkeep.go",
	"scaler/control/loop.go", "scaler/control/write.go", "pool/write.go", "queue/write.go",
}

// stage is a part of the tests of one package, the fastest first. Of slow tests, later stages run what the
// first one leaves out.
type stage struct {
	pkg  string
	args []string
}

const slow = "Explore|Property|Chaos|Restart"

// stages are the tests that should notice a mutant, by the folder of its file.
var stages = map[string][]stage{
	"scaler": {
		{"scaler", []string{"-test.skip", slow, "-rapid.nofailfile"}},
		{pkg: "scaler/control"},
		{"scaler", []string{"-test.run", slow, "-rapid.nofailfile"}},
		{pkg: "cmd/internal/house"},
	},
	"scaler/control": {{pkg: "scaler/control"}, {pkg: "cmd/internal/house"}},
	"pool":           {{pkg: "pool"}, {pkg: "cmd/internal/house"}},
	"queue":          {{pkg: "queue"}, {pkg: "cmd/internal/house"}},
}

// patience is how long a stage may take before the mutant counts as one that hangs.
const patience = 4 * time.Minute

func main() {
	only := flag.String("only", "", "only mutants whose line in the report matches this regular expression")
	list := flag.Bool("list", false, "print the mutants and run nothing")
	procs := flag.Int("procs", runtime.NumCPU(), "how many mutants to run at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *only, *list, *procs)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, list bool, procs int) (err error) {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only=%q is no regular expression: %w", only, err)
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	all, path, err := overlay(root, folder, files)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(m mutant) bool { return !chosen.MatchString(m.key()) })
	if list {
		for i := range all {
			fmt.Printf("%s:%d: %s\n", all[i].file, all[i].line, all[i].key())
		}
		return nil
	}
	t := tests{root: root, folder: folder, built: map[string]string{}}
	if err := t.build(ctx, path, all); err != nil {
		return err
	}
	if err := t.healthy(ctx); err != nil {
		return err
	}
	return t.all(ctx, all, reasons(harmless), procs)
}

//go:embed harmless.txt
var harmless string

// reasons returns why mutants that live are harmless, by their keys: a line with the key, and below it, after a
// tab, the reason.
func reasons(text string) map[string]string {
	out, key := map[string]string{}, ""
	for line := range strings.Lines(text) {
		switch line := strings.TrimSuffix(line, "\n"); {
		case line == "" || line[0] == '#':
		case line[0] == '\t':
			out[key] = strings.TrimSpace(line)
		default:
			key = line
		}
	}
	return out
}

// tests are the compiled tests, by package.
type tests struct {
	root, folder string
	built        map[string]string
}

// build compiles the tests of all packages that the mutants need.
func (t *tests) build(ctx context.Context, overlay string, all []mutant) error {
	for i := range all {
		for _, s := range stages[filepath.Dir(all[i].file)] {
			if t.built[s.pkg] != "" {
				continue
			}
			to := filepath.Join(t.folder, strings.ReplaceAll(s.pkg, "/", "-")+".test")
			cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", to, "./"+s.pkg) //nolint:gosec // our own packages
			cmd.Dir = t.root
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("the tests of %s do not compile: %w\n%s", s.pkg, err, out)
			}
			t.built[s.pkg] = to
		}
	}
	return nil
}

// run runs a stage with the mutant of that number, and returns what the tests print.
func (t *tests) run(ctx context.Context, s stage, id int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.built[s.pkg], append([]string{"-test.failfast"}, s.args...)...) //nolint:gosec // what build made
	cmd.Dir = filepath.Join(t.root, s.pkg)
	cmd.Env = append(os.Environ(), "BELLBOARD_MUTANT="+strconv.Itoa(id))
	return cmd.CombinedOutput()
}

// healthy returns an error if some tests fail without any mutant.
func (t *tests) healthy(ctx context.Context) error {
	for _, all := range stages {
		for _, s := range all {
			if t.built[s.pkg] == "" {
				continue
			}
			if out, err := t.run(ctx, s, 0); err != nil {
				return fmt.Errorf("the tests of %s fail without any mutant: %w\n%s", s.pkg, err, out[max(0, len(out)-2000):])
			}
		}
	}
	return nil
}

// lives reports whether no test notices the mutant.
func (t *tests) lives(ctx context.Context, m *mutant) bool {
	return !slices.ContainsFunc(stages[filepath.Dir(m.file)], func(s stage) bool {
		_, err := t.run(ctx, s, m.id)
		return err != nil
	})
}

// all runs every mutant, prints those that live, and sums up by file. Its error says that a mutant lives for
// no known reason.
func (t *tests) all(ctx context.Context, all []mutant, harmless map[string]string, procs int) error {
	type sum struct{ killed, harmless, lives int }
	var mu sync.Mutex
	sums := map[string]*sum{}
	work := make(chan *mutant)
	var wg sync.WaitGroup
	for range procs {
		wg.Go(func() {
			for m := range work {
				lives := t.lives(ctx, m)
				mu.Lock()
				s := sums[m.file]
				if s == nil {
					s = &sum{}
					sums[m.file] = s
				}
				switch {
				case !lives:
					s.killed++
				case harmless[m.key()] != "":
					s.harmless++
					fmt.Printf("harmless  %s:%d  %s: %s\n          %s\n", m.file, m.line, m.in, m.what, harmless[m.key()])
				default:
					s.lives++
					fmt.Printf("LIVES     %s:%d  %s: %s\n", m.file, m.line, m.in, m.what)
				}
				mu.Unlock()
			}
		})
	}
	for i := range all {
		if ctx.Err() == nil {
			work <- &all[i]
		}
	}
	close(work)
	wg.Wait()
	if ctx.Err() != nil { // what ran then was cut off, and counts for nothing
		return ctx.Err()
	}
	fmt.Printf("\n%-24s %7s %6s %8s %5s\n", "file", "mutants", "killed", "harmless", "lives")
	lives := 0
	for _, f := range files {
		if s := sums[f]; s != nil {
			n := s.killed + s.harmless + s.lives
			fmt.Printf("%-24s %7d %5d%% %8d %5d\n", f, n, 100*s.killed/n, s.harmless, s.lives)
			lives += s.lives
		}
	}
	if lives > 0 {
		return fmt.Errorf("%d mutants live: write a test that notices them, or the reason in harmless.txt", lives)
	}
	return nil
}
