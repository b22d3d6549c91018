// Package plain makes text of others safe to show: labels, names of jobs, sentences of Jenkins, messages of
// pods, last lines of a log. The package promises that the text it returns moves no cursor, turns no
// direction of writing and begins no line. Each character that would is written as Go writes it in a string.
// All other characters stay as they are.
package plain

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// odd reports whether a terminal or a browser would obey the character instead of showing it: a control
// character, a format (such as a turn of the direction of writing), a separator of lines or paragraphs.
func odd(r rune) bool {
	return r < ' ' || r >= 0x7f && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Line returns s as safe text in one line.
func Line(s string) string { return escape(s, "") }

// Block returns s as safe text with its line breaks, for places where the text stands apart from all else.
func Block(s string) string { return escape(strings.ReplaceAll(s, "\r\n", "\n"), "\n") }

// Page returns s as safe text with its line breaks and tabs, which are only space in text such as HTML.
func Page(s string) string { return escape(s, "\n\t") }

func escape(s, keep string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, odd) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch _, size := utf8.DecodeRuneInString(s[i:]); {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strings.ContainsRune(keep, r), !odd(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// JSON returns a JSON text with the same meaning, in which odd characters are escaped in JSON's own way. Only
// the strings of a JSON text contain such characters. (Go's encoder escapes them below U+0020 only.)
func JSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r < ' ' || !odd(r) {
			out = append(out, text[i:i+size]...)
		} else {
			for _, unit := range utf16.Encode([]rune{r}) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		}
		i += size
	}
	return out
}
