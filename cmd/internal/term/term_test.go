package term

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"bellboard/scaler"
)

// TestWidth checks that no line of a table or a text is longer than the screen is wide, at any width, and that
// no word is lost.
func TestWidth(t *testing.T) {
	table := Table{Head: []string{"TEAM", "WAITING", "BECAUSE", "REMEDY"}, Short: 2}
	table.Add("web", "25", "3 waiting, 0 free, 2 on the way, usually 14s; at MAX_AGENTS=4 (wants 7)", "raise the limit of the team, or wait until a build ends")
	table.Add("a-team-with-a-name", "1", "", "none")
	table.Add("data", "0", "no build waits")
	const text = "25 builds wait, the oldest 12m; 1 executor on the way, usually 18s; ‘web’: ephemeral agents failed."
	words := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	for width := 40; width < 260; width++ {
		s := &Screen{Width: width}
		for _, out := range []string{table.In(s), s.Text("trouble  ", text)} {
			for line := range strings.Lines(out) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width || strings.HasSuffix(line, " \n") {
					t.Errorf("at %d columns a line has %d, or ends with a blank: %q", width, n, line)
				}
			}
		}
		for _, cell := range []string{"3 waiting, 0 free, 2 on the way, usually 14s; at MAX_AGENTS=4 (wants 7)", "raise the limit of the team, or wait until a build ends", "a-team-with-a-name 1", "no build waits"} {
			if !strings.Contains(words(table.In(s)), cell) {
				t.Errorf("at %d columns %q is not there: %s", width, cell, table.In(s))
			}
		}
	}
	if out := table.In(&Screen{}); strings.Count(out, "\n") != 4 {
		t.Errorf("into a file a row is not one line:\n%s", out)
	}
}

// TestNew checks where a command prints lines of any length, and no colour.
func TestNew(t *testing.T) {
	for name, tt := range map[string]struct {
		environ []string
		width   int
	}{
		"a pipe": {nil, 0}, "a pipe with a width": {[]string{"COLUMNS=100"}, 100}, "too narrow": {[]string{"COLUMNS=7"}, narrowest}, "no number": {[]string{"COLUMNS=wide"}, 0},
	} {
		s := New(&strings.Builder{}, append(tt.environ, "TERM=xterm"))
		if s.Width != tt.width || s.Colour || s.Mood(scaler.MoodTrouble) != "trouble" || s.Clear() != "\n" || s.LogFormat() != "json" {
			t.Errorf("%s: %+v, want %d columns and no colour", name, s, tt.width)
		}
	}
}

// TestTerminal checks colour on a real terminal, and NO_COLOR's rule: an empty value is none.
func TestTerminal(t *testing.T) {
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminal can be made here: ", err)
	}
	defer func() { _ = tty.Close() }()
	for environ, colour := range map[string]bool{"TERM=xterm": true, "NO_COLOR=": true, "NO_COLOR=1": false, "TERM=dumb": false} {
		s := New(tty, []string{environ})
		if s.Colour != colour || strings.Contains(s.Mood(scaler.MoodTrouble), "\x1b[") != colour || !strings.Contains(s.Mood(scaler.MoodTrouble), "trouble") {
			t.Errorf("%s: colour is %t, want %t", environ, s.Colour, colour)
		}
		if s.LogFormat() != "console" || s.Clear() == "\n" {
			t.Errorf("%s: it is no terminal: %+v", environ, s)
		}
	}
}
