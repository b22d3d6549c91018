// Package plain shows text of others to people: labels, names of jobs, sentences of
// Jenkins, messages of pods, last lines of a log. It promises that what it returns moves
// no cursor, turns no direction and begins no line: each such character is written as
// Go would write it in a string. It leaves every other character as it is.
package plain

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// odd reports a character that a terminal or a browser would obey instead of showing
// it: control characters (C0, DEL, C1), formats (among them all that turn the direction
// of writing) and separators of lines and paragraphs.
func odd(r rune) bool {
	return r < ' ' || r >= 0x7f && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Line is s in one line.
func Line(s string) string { return escape(s, "") }

// Block is s with the line breaks that it has, for where it stands apart from all else.
func Block(s string) string { return escape(strings.ReplaceAll(s, "\r\n", "\n"), "\n") }

// Page is a text whose line breaks and tabs are nothing but space, such as HTML.
func Page(s string) string { return escape(s, "\n\t") }

func escape(s, keep string) string {
	clean := utf8.ValidString(s)
	for i := 0; clean && i < len(s); i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch _, size := utf8.DecodeRuneInString(s[i:]); {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strings.ContainsRune(keep, r), !odd(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// JSON is a JSON text that says the same: such characters, which it has in its strings
// alone, are written in JSON's own way. (Encoders do so below U+0020 only.)
func JSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r < ' ' || !odd(r) || r == utf8.RuneError:
			out = append(out, text[i:i+size]...)
		case r < 0x10000:
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		}
		i += size
	}
	return out
}
