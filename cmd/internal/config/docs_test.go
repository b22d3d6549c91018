package config

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the tables of settings in README.md")

const (
	readme = "../../../README.md"
	begin  = "<!-- settings:begin -->\n"
	end    = "<!-- settings:end -->"
)

// TestREADME checks that the README has the tables of the settings.
func TestREADME(t *testing.T) {
	var want bytes.Buffer
	if err := Docs(&want); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, opened := strings.Cut(string(b), begin)
	got, after, closed := strings.Cut(rest, end)
	if !opened || !closed {
		t.Fatalf("README.md has no section between %s and %s for the settings", strings.TrimSpace(begin), end)
	}
	if got == want.String() {
		return
	}
	if !*update {
		t.Fatal("README.md's tables of settings are not those of the program; rewrite them: make docs")
	}
	if err := os.WriteFile(readme, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDocs(t *testing.T) {
	var b bytes.Buffer
	if err := Docs(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| `JENKINS_URL` | required | address at which Bellboard reaches Jenkins |",
		"| `POLL_INTERVAL` | `1s` |",
		"| `MAX_PERSISTENT` | MAX_AGENTS |",
		"| `IDLE_TIMEOUT` | as long as it pays |",
		"| `DOCKER` | ephemeral `none`, persistent `dind` |",
		"| `CONNECT` | ephemeral `inbound`, persistent swarm if SWARM_USER is set, else inbound |",
		"| `CPU` | `1` |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("Docs lacks %q", want)
		}
	}
	for l := range strings.Lines(b.String()) {
		if strings.HasPrefix(l, "|") && strings.Count(l, "|") != 4 {
			t.Errorf("a table line with other than three columns: %s", l)
		}
	}
}
