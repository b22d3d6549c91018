package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"bellboard/cmd/internal/term"
	"bellboard/scaler/plain"
)

// order puts findings last, where a terminal shows them.
var order = []Result{OK, NotChecked, Warning, Finding}

// WriteTable writes the report for people: every check, findings last.
func (r *Report) WriteTable(s *term.Screen) error {
	var b strings.Builder
	table := term.Table{Head: []string{"CHECK", "RESULT", "WHAT", "REMEDY"}, Short: 2}
	for _, c := range r.sorted() {
		table.Add(line(c.Name), string(c.Result), line(c.What), line(c.Remedy))
	}
	b.WriteString(table.In(s))
	if len(r.Did) > 0 {
		b.WriteString("\nThe probe:\n")
	}
	for _, d := range r.Did {
		b.WriteString(s.Text("  ", line(d)))
	}
	fmt.Fprintf(&b, "\n%d ok, %d not checked, ", r.Count(OK), r.Count(NotChecked))
	if n := r.Count(Warning); n > 0 {
		fmt.Fprintf(&b, "%d to remember, ", n)
	}
	fmt.Fprintf(&b, "%d to do\n", r.Count(Finding))
	_, err := io.WriteString(s, b.String())
	return err
}

// sorted returns the checks by result, findings last.
func (r *Report) sorted() []Check {
	return slices.SortedStableFunc(slices.Values(r.Checks), func(a, b Check) int { return slices.Index(order, a.Result) - slices.Index(order, b.Result) })
}

// WriteJSON writes the same for programs, in the same order.
func (r *Report) WriteJSON(w io.Writer) error {
	out := struct {
		Report

		OK         int `json:"ok"`
		NotChecked int `json:"notChecked"`
		Warnings   int `json:"warnings"`
		Findings   int `json:"findings"`
	}{Report{Checks: r.sorted(), Did: r.Did}, r.Count(OK), r.Count(NotChecked), r.Count(Warning), r.Count(Finding)}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return err
	}
	_, err := w.Write(plain.JSON(b.Bytes()))
	return err
}

// line makes a text of others one cell of a table.
func line(s string) string {
	s = plain.Line(strings.Join(strings.Fields(s), " "))
	if r := []rune(s); len(r) > 300 {
		return string(r[:299]) + "…"
	}
	return s
}
