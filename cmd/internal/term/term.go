// Package term prints for people: tables and paragraphs that fit the terminal, and colour where it is wanted.
//
// On a terminal no line is longer than the terminal is wide, unless one word is. Into a file or a pipe the
// package prints one line for each row, without colour, so that other programs can read it.
package term

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"bellboard/scaler"
	"bellboard/scaler/plain"
)

const (
	narrowest = 40 // columns; a narrower terminal gets lines of that width
	beside    = 30 // columns that a long text needs beside the others; otherwise it is below them
	gap       = 2  // blanks between two columns
	indent    = 4  // of a text below its row
)

// Screen is where a command prints. The zero width stands for lines of any length.
type Screen struct {
	io.Writer

	Width  int
	Colour bool
	tty    bool
}

// New returns the screen that w is. Colour needs a terminal that has it, and no NO_COLOR in environ. COLUMNS
// in environ is the width if w is no terminal.
func New(w io.Writer, environ []string) *Screen {
	env := map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	s := &Screen{Writer: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.tty, s.Colour = true, env["NO_COLOR"] == "" && env["TERM"] != "dumb"
		s.Width, _, _ = term.GetSize(int(f.Fd()))
	}
	if n, err := strconv.Atoi(env["COLUMNS"]); err == nil && s.Width == 0 {
		s.Width = n
	}
	if s.Width > 0 {
		s.Width = max(s.Width, narrowest)
	}
	return s
}

// Clear empties a terminal, so that the next print takes the place of the one before. Elsewhere it prints an
// empty line.
func (s *Screen) Clear() string {
	if s.tty {
		return "\x1b[H\x1b[2J\x1b[3J"
	}
	return "\n"
}

// LogFormat returns the default of BELLBOARD_LOG_FORMAT: a terminal has a person in front of it.
func (s *Screen) LogFormat() string {
	if s.tty {
		return "console"
	}
	return "json"
}

// Mood returns the name of the mood, in its colour.
func (s *Screen) Mood(m scaler.Mood) string {
	code, ok := map[scaler.Mood]string{
		scaler.MoodQuiet: "32", scaler.MoodWorking: "32", scaler.MoodWaiting: "33", scaler.MoodTrouble: "31", scaler.MoodHold: "35",
	}[m]
	if !s.Colour || !ok {
		return string(m)
	}
	return "\x1b[1;" + code + "m" + string(m) + "\x1b[0m"
}

// wrap returns the text in lines of that width; 0: in one line. A longer word has a line of its own.
func wrap(text string, width int) []string {
	lines, at := []string{""}, 0
	for word := range strings.FieldsSeq(text) {
		last, n := &lines[len(lines)-1], utf8.RuneCountInString(word)
		switch {
		case *last == "":
			*last, at = word, n
		case width == 0 || at+1+n <= width:
			*last, at = *last+" "+word, at+1+n
		default:
			lines, at = append(lines, word), n
		}
	}
	return lines
}

// oneLine returns a text of others as one safe line.
func oneLine(text string) string { return plain.Line(strings.Join(strings.Fields(text), " ")) }

// Text returns the text in lines that begin with prefix, and go on below its end.
func (s *Screen) Text(prefix, text string) string {
	wide, width := utf8.RuneCountInString(prefix), 0
	if s.Width > 0 {
		width = max(s.Width-wide, 1)
	}
	return prefix + strings.Join(wrap(oneLine(text), width), "\n"+strings.Repeat(" ", wide)) + "\n"
}

// Table is rows under a head. The cells beyond the first Short ones are long texts: on a terminal they are
// wrapped, beside the short cells if there is room for them, and below otherwise.
type Table struct {
	Head  []string
	Short int
	Rows  [][]string
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// In returns the table for a screen.
func (t *Table) In(s *Screen) string {
	rows, wide := append([][]string{t.Head}, t.Rows...), make([]int, len(t.Head))
	for i, row := range rows {
		rows[i] = make([]string, len(row))
		for j, cell := range row {
			rows[i][j] = oneLine(cell)
			wide[j] = max(wide[j], utf8.RuneCountInString(rows[i][j]))
		}
	}
	left, all, word := 0, -gap, beside // and the longest word of the text beside the short cells
	for _, row := range rows {
		if len(row) > t.Short {
			for w := range strings.FieldsSeq(row[t.Short]) {
				word = max(word, utf8.RuneCountInString(w))
			}
		}
	}
	for j, n := range wide {
		if all += n + gap; j < t.Short {
			left += n + gap
		}
	}
	folds := s.Width > 0 && all > s.Width
	at, below := left, folds && s.Width-left < word
	more := left // where the second long text is
	if below {
		at = indent
	}
	if s.Width-left < 2*beside {
		more = indent
	}
	var b strings.Builder
	for i, row := range rows {
		line := ""
		for j, cell := range row {
			switch blanks := strings.Repeat(" ", wide[j]-utf8.RuneCountInString(cell)+gap); {
			case j < t.Short || !folds:
				line += cell + blanks
			case i == 0 && (below || j > t.Short), cell == "": // the head of a text that is not in a column
			default:
				at, last := at, utf8.RuneCountInString(line[strings.LastIndexByte(line, '\n')+1:])
				if j > t.Short {
					at, cell = more, strings.ToLower(t.Head[j])+": "+cell
				}
				switch {
				case j > t.Short && last+gap+utf8.RuneCountInString(cell) <= s.Width:
					line += strings.Repeat(" ", gap)
				case below || j > t.Short:
					line = strings.TrimRight(line, " ") + "\n" + strings.Repeat(" ", at)
				}
				line += strings.Join(wrap(cell, s.Width-at), "\n"+strings.Repeat(" ", at))
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}
