package simulate

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCollector checks that builds come in the order of their submission, and that all runs of a chain are
// one group, in whatever order builds and causes come; also that what was written reads the same.
func TestCollector(t *testing.T) {
	const t0 = 1_757_000_000_000
	var c Collector
	add := func(at int64, job, of string, number int) {
		t.Helper()
		if err := c.Add(Build{Submitted: t0 + at, Length: 1500}, "linux", job, of, number); err != nil {
			t.Fatal(err)
		}
	}
	add(3000, "deploy", "deploy", 4)
	c.Caused("deploy", 4, "test", 9)
	add(2500, "matrix/a", "matrix", 2)
	add(2500, "matrix/b", "matrix", 2)
	c.Caused("test", 9, "app", 7) // a run of which no build is known
	c.Caused("matrix", 2, "app", 7)
	add(1000, "app", "app", 7)
	add(1500, "app", "app", 8)
	c.Caused("odd", 1, "odd", 2)
	c.Caused("odd", 2, "odd", 1)
	add(4000, "odd", "odd", 1)
	add(5000, "odd", "odd", 2)
	add(6000, "loop", "loop", 100_000)
	for i := range 99_999 {
		c.Caused("loop", i+2, "loop", i+1)
	}
	add(7000, "loop", "loop", 50_000)
	h := c.History()
	type row struct {
		At         int64
		Job, Label string
		Group      int32
	}
	rows := func(h *History) (out []row) {
		for _, b := range h.Builds {
			out = append(out, row{b.Submitted - t0, h.Jobs[b.Job], h.Labels[b.Label], b.Group})
		}
		return out
	}
	want := []row{
		{1000, "app", "linux", 0},
		{1500, "app", "linux", 1},
		{2500, "matrix/a", "linux", 0},
		{2500, "matrix/b", "linux", 0},
		{3000, "deploy", "linux", 0},
		{4000, "odd", "linux", 2},
		{5000, "odd", "linux", 2},
		{6000, "loop", "linux", 3},
		{7000, "loop", "linux", 3},
	}
	if diff := cmp.Diff(want, rows(h)); diff != "" || h.Groups != 4 {
		t.Errorf("the history has %d groups (-want +got):\n%s", h.Groups, diff)
	}
	var text bytes.Buffer
	if err := h.Write(&text); err != nil {
		t.Fatal(err)
	}
	again, err := Read(&text, "again")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, rows(again)); diff != "" {
		t.Errorf("what was written reads differently (-want +got):\n%s", diff)
	}
}
