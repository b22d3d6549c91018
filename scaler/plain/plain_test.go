package plain

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for s, want := range map[string]string{
		"":                          "",
		"linux && docker":           "linux && docker",
		"größe ‘x’ 日本 🚀 \\n":        "größe ‘x’ 日本 🚀 \\n",
		"a\nb\r\n\tc":               `a\nb\r\n\tc`,
		"\x1b[2J\x00\x7f":           `\x1b[2J\x00\x7f`,
		"\u009b31m\u0085":           `\u009b31m\u0085`, // C1
		"\u202egnp.exe\u2066\u200f": `\u202egnp.exe\u2066\u200f`,
		"a\u2028b\u2029c\ufeff":     `a\u2028b\u2029c\ufeff`,
		"tag \U000e0041":            `tag \U000e0041`,
		"raw \x9b31m and \xc3":      `raw \x9b31m and \xc3`,
		"it is � already":           "it is � already",
	} {
		if got := Line(s); got != want {
			t.Errorf("Line(%q) = %q, want %q", s, got, want)
		}
	}
	if got, want := Block("one\r\ntwo\n\x1b[A\rthree\u2028"), "one\ntwo\n"+`\x1b[A\rthree\u2028`; got != want {
		t.Errorf("Block = %q, want %q", got, want)
	}
	if got, want := Page("<p>\n\t\x1b\u202e"), "<p>\n\t"+`\x1b\u202e`; got != want {
		t.Errorf("Page = %q, want %q", got, want)
	}
}

// FuzzPlain: no odd character is left, and JSON keeps its meaning.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{"a\nb", "\x1b[2J", "\u009b\u202e\u2028\U000e0041", "\xff\\\"", "größe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := Line(s); strings.ContainsFunc(got, odd) || !utf8.ValidString(got) {
			t.Errorf("Line(%q) = %q", s, got)
		}
		if got := strings.Split(Block(s), "\n"); strings.ContainsFunc(strings.Join(got, ""), odd) || len(got) != strings.Count(s, "\n")+1 {
			t.Errorf("Block(%q) = %q", s, got)
		}
		text, err := json.Marshal(map[string]string{s: s})
		if err != nil {
			t.Fatal(err)
		}
		got := JSON(text)
		var before, after map[string]string
		if err := json.Unmarshal(text, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%v in %q, which was %q", err, got, text)
		}
		if strings.ContainsFunc(string(got), odd) {
			t.Errorf("JSON(%q) = %q", text, got)
		}
		for k, v := range before {
			if after[k] != v {
				t.Errorf("JSON(%q) = %q", text, got)
			}
		}
	})
}
