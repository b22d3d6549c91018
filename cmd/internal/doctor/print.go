package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"bellboard/scaler/plain"
)

// order puts findings last, where a terminal shows them.
var order = []Result{OK, NotChecked, Warning, Finding}

// WriteTable writes the report for people: every check, findings last.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = io.WriteString(table, strings.Join(cells, "\t")+"\n") } // a strings.Builder returns no error
	row("CHECK", "RESULT", "WHAT", "REMEDY")
	for _, c := range r.sorted() {
		cells := []string{line(c.Name), string(c.Result), line(c.What)}
		if c.Remedy != "" { // a row without this cell needs no blanks up to it
			cells = append(cells, line(c.Remedy))
		}
		row(cells...)
	}
	_ = table.Flush() // as in row
	if len(r.Did) > 0 {
		b.WriteString("\nThe probe:\n")
	}
	for _, d := range r.Did {
		b.WriteString("  " + line(d) + "\n")
	}
	fmt.Fprintf(&b, "\n%d ok, %d not checked, ", r.Count(OK), r.Count(NotChecked))
	if n := r.Count(Warning); n > 0 {
		fmt.Fprintf(&b, "%d to remember, ", n)
	}
	fmt.Fprintf(&b, "%d to do\n", r.Count(Finding))
	_, err := io.WriteString(w, b.String())
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
