package doctor

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"bellboard/cmd/internal/term"
)

// TestOthersTextIsShown checks that a text of Jenkins or Kubernetes stays in its row, and in its string of
// JSON.
func TestOthersTextIsShown(t *testing.T) {
	const nasty = "x\x1b[2J\u009b\nJenkins  ok  fine\r\u202eenod\u2028\x7f"
	r := Report{Checks: []Check{{nasty, Finding, "it says " + nasty, "do " + nasty}, {"Jenkins", OK, "2.568.1", ""}}, Did: []string{nasty}}
	obeyed := func(s string) bool {
		return strings.ContainsFunc(s, func(c rune) bool {
			return c != '\n' && (unicode.Is(unicode.Cc, c) || unicode.Is(unicode.Cf, c) || unicode.Is(unicode.Zl, c))
		})
	}
	var table, text strings.Builder
	if err := r.WriteTable(&term.Screen{Writer: &table}); err != nil {
		t.Fatal(err)
	}
	if obeyed(table.String()) || strings.Count(table.String(), "\n") != 3+3+2 {
		t.Errorf("the table is:\n%q", table.String())
	}
	if err := r.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal([]byte(text.String()), &got); err != nil || obeyed(text.String()) || got.Did[0] != nasty {
		t.Errorf("the JSON is %q, %v", text.String(), err)
	}
}
