package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMigrate migrates each fixture as a person would: migrate --out, the file of variables read by a shell, and
// bellboard config.
func TestMigrate(t *testing.T) {
	fixtures, err := filepath.Glob("../internal/migrate/testdata/*.[yx]*ml")
	if err != nil || len(fixtures) < 8 {
		t.Fatalf("%d fixtures, %v", len(fixtures), err)
	}
	for _, fixture := range fixtures {
		t.Run(filepath.Base(fixture), func(t *testing.T) {
			text, err := os.ReadFile(fixture)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "it's new")
			args := []string{"migrate", fixture, "--out", dir}
			for _, m := range regexp.MustCompile(`--cloud ([\w-]+)`).FindAllStringSubmatch(string(text[:600]), -1) {
				args = append(args, "--cloud", m[1])
			}
			code, stdout, stderr := bellboard(nil, args...)
			if code != 0 || !strings.Contains(stdout, "To do:") || strings.Contains(stdout, "==>") {
				t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
			}
			shell := exec.CommandContext(t.Context(), "sh", "-euc", `. "$1"/bellboard.env; env`, "sh", dir)
			shell.Env = []string{"PATH=" + os.Getenv("PATH")}
			environ, err := shell.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, environ)
			}
			code, stdout, stderr = bellboard(strings.Split(string(environ), "\n"), "config", "--changed")
			if code != 0 || !strings.Contains(stdout, "BELLBOARD_TEAM") {
				t.Errorf("bellboard config: exit code %d: %s%s", code, stdout, stderr)
			}
			if code, _, stderr = bellboard(nil, args...); code != exitFailed || !strings.Contains(stderr, "is there already") {
				t.Errorf("a second time: exit code %d: %s", code, stderr)
			}
		})
	}
}

// TestMigrateOutput: the two forms of the settings, standard input, and mistakes.
func TestMigrateOutput(t *testing.T) {
	const fixture = "../internal/migrate/testdata/helm-chart.yaml"
	stdin, err := os.Open(fixture)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }()
	old := os.Stdin
	os.Stdin = stdin
	defer func() { os.Stdin = old }()
	for _, tt := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{fixture}, 0, []string{"==> bellboard.env <==", "export BELLBOARD_TEAMS='default,gradle'", "==> gradle.yaml <==", "==> report <==", "container('gradle')"}},
		{[]string{"-", "-o", "values"}, 0, []string{"==> values.yaml <==", "MAX_AGENTS: 12", "build: {create: false"}},
		{[]string{fixture, "-o", "json"}, exitUsage, []string{"-o json: write env or values"}},
		{nil, exitUsage, []string{"requires at least 1 arg"}},
		{[]string{"no-such-file"}, exitUsage, []string{"no-such-file"}},
		{[]string{fixture, "--cloud", "x"}, exitFailed, []string{"no cloud x"}},
		{[]string{"migrate.go"}, exitFailed, []string{"migrate.go is no YAML", "Configuration as Code"}},
	} {
		code, stdout, stderr := bellboard(nil, append([]string{"migrate"}, tt.args...)...)
		if code != tt.code {
			t.Errorf("migrate %q: exit code %d, want %d", tt.args, code, tt.code)
		}
		for _, says := range tt.says {
			if !strings.Contains(stdout+stderr, says) {
				t.Errorf("migrate %q does not say %q: %s%s", tt.args, says, stdout, stderr)
			}
		}
		if tt.code != 0 && slices.Contains([]byte(strings.TrimSpace(stderr)), '\n') {
			t.Errorf("migrate %q says more than a line: %s", tt.args, stderr)
		}
	}
}
