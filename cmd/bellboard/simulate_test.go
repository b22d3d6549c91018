package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bellboard/cmd/internal/simulate"
)

// historyFile writes a history of a day into a file.
func historyFile(t *testing.T) string {
	t.Helper()
	h, err := simulate.Generate(simulate.FanOut, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "builds.csv")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

// twoLabels writes a history with two builds of different labels into a file.
func twoLabels(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "two.csv")
	if err := os.WriteFile(name, []byte("submitted_unix,duration_s,label\n1757006747,5,linux\n1757006748,5,mac\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSimulate(t *testing.T) {
	file := historyFile(t)
	report := filepath.Join(t.TempDir(), "report.html")
	code, stdout, stderr := bellboard(nil, "simulate", file, "--rivals", "--scenario", "cold", "--report", report, "--set", "MODE=persistent", "--wait-value", "5")
	if code != 0 || stderr != "" {
		t.Fatalf("bellboard simulate = %d, saying %q", code, stderr)
	}
	for _, want := range []string{
		`builds.csv: \d+ builds in [0-9.]+ days, 1 labels, \d+ hours of work, at most \d+ at once`,
		`cold   no wait at all costs at least 1\.\d+`,
		`C\(1\) +C\(5\) +C\(10\) +C\(30\) +policy\n.* bellboard persistent\n.* bellboard auto\n.* bellboard ephemeral\n`,
		`k8s-nodelay\+once\n`, `fixed@p99\n`, `best rival: `,
	} {
		if !regexp.MustCompile(want).MatchString(stdout) {
			t.Errorf("bellboard simulate does not say %q:\n%s", want, stdout)
		}
	}
	page, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<title>Bellboard replay: ", "<svg ", "prefers-color-scheme: dark", "kedacore/keda 8b4f083c", "What each setting does", "</html>"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the report has no %q", want)
		}
	}
	for _, not := range []string{"<script", "http://", "https://", "src=", "%!", "NaN", "ZgotmplZ"} {
		if strings.Contains(string(page), not) {
			t.Errorf("the report has %q", not)
		}
	}
}

func TestSimulateJSON(t *testing.T) {
	code, stdout, stderr := bellboard(nil, "simulate", historyFile(t), "--tune", "--split", "0.5", "--scenario", "warm", "-o", "json")
	var a simulate.Answer
	if err := json.Unmarshal([]byte(stdout), &a); err != nil || code != 0 || stderr != "" {
		t.Fatalf("bellboard simulate -o json = %d, %v, saying %q", code, err, stderr)
	}
	if len(a.Scenarios) != 1 || len(a.Scenarios[0].Rows) != 4 || a.Scenarios[0].Rows[3].Group != simulate.GroupTuned || len(a.Scenarios[0].Effects) == 0 {
		t.Errorf("the answer is %+v", a)
	}
}

// TestSimulateSideBySide checks that several histories make one table for each value of waiting.
func TestSimulateSideBySide(t *testing.T) {
	code, stdout, stderr := bellboard(nil, "simulate", historyFile(t), "--generate", "nearly-idle", "--days", "1", "--scenario", "warm,slow")
	if want := "| C(10) | builds warm | builds slow | nearly-idle warm | nearly-idle slow |\n|---|--:|--:|--:|--:|\n| bellboard auto | "; code != 0 || !strings.Contains(stdout, want) {
		t.Errorf("bellboard simulate of two histories = %d, %q:\n%s", code, stderr, stdout)
	}
}

func TestSimulateMistakes(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.csv")
	if err := os.WriteFile(bad, []byte("submitted_unix,duration_s,label\n1757006747,soon,linux\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := historyFile(t)
	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"no history", nil, "write the file with the history"},
		{"no such file", []string{"/not/there.csv"}, "/not/there.csv: no such file"},
		{"a bad line", []string{bad}, bad + `:2:12: duration_s="soon" is not a number; write seconds`},
		{"a report of two", []string{file, bad, "--report", "r.html"}, "--report r.html: a report is about one history, and 2 are given"},
		{"no such scenario", []string{file, "--scenario", "hot"}, `--scenario: no scenario is named "hot"; write one of warm, cold, slow`},
		{"no such setting", []string{file, "--set", "MAX_AGENST=4"}, "BELLBOARD_DEFAULT_MAX_AGENTS"},
		{"a bad value", []string{file, "--set", "MODE=fast"}, `BELLBOARD_DEFAULT_MODE="fast"`},
		{"no key", []string{file, "--set", "fast"}, `the setting "fast" is no KEY=VALUE`},
		{"a bad output", []string{file, "-o", "xml"}, "-o xml: write table or json"},
		{"a bad split", []string{file, "--split", "2"}, "--split 2: write a share from 0 to 1"},
		{"one time only", []string{file, "--start", "5s"}, "--start [5s]: write the least and the most time"},
		{"all fail", []string{file, "--failing", "1"}, "--failing 1: write a share from 0 to 0.9"},
		{"no such shape", []string{"--generate", "square"}, "--generate: no shape is named \"square\""},
		{"no such label", []string{file, "--label", "mac"}, `--label: no build has the label "mac"; the history has linux`},
		{"no such team", []string{file, "--team", "web"}, `--team: "web" is no team; write NAME=LABEL,LABEL`},
		{"too few builds", []string{twoLabels(t), "--least", "1000000"}, "write a smaller --least"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := bellboard(nil, append([]string{"simulate"}, tt.args...)...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, tt.says) || strings.Count(stderr, "bellboard:") != 1 {
				t.Errorf("bellboard simulate %v = %d, saying %q; want %d and %q", tt.args, code, stderr, exitUsage, tt.says)
			}
		})
	}
}
