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

// order puts what asks for something last, where a terminal stops.
var order = []Result{OK, NotChecked, Warning, Finding}

// WriteTable writes the report for people: every check, findings last.
func (r *Report) WriteTable(w io.Writer) error {
	var rows, b strings.Builder
	rows.WriteString("CHECK\tRESULT\tWHAT\tREMEDY\n")
	for _, result := range order {
		for i := range r.Checks {
			c := &r.Checks[i]
			if c.Result != result {
				continue
			}
			fmt.Fprintf(&rows, "%s\t%s\t%s", line(c.Name), c.Result, line(c.What))
			if c.Remedy != "" { // else no cell: the widest words need not be bridged with blanks
				rows.WriteString("\t" + line(c.Remedy))
			}
			rows.WriteByte('\n')
		}
	}
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(tw, rows.String()); err != nil {
		return err
	}
	if err := tw.Flush(); err != nil {
		return err
	}
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

// WriteJSON writes the same for programs, in the same order.
func (r *Report) WriteJSON(w io.Writer) error {
	out := struct {
		Report

		OK         int `json:"ok"`
		NotChecked int `json:"notChecked"`
		Warnings   int `json:"warnings"`
		Findings   int `json:"findings"`
	}{Report{Checks: slices.Clone(r.Checks), Did: r.Did}, r.Count(OK), r.Count(NotChecked), r.Count(Warning), r.Count(Finding)}
	slices.SortStableFunc(out.Checks, func(a, b Check) int { return slices.Index(order, a.Result) - slices.Index(order, b.Result) })
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

// line keeps the words of others to one line of a table.
func line(s string) string {
	s = plain.Line(strings.Join(strings.Fields(s), " "))
	if r := []rune(s); len(r) > 300 {
		return string(r[:299]) + "…"
	}
	return s
}
