package simulate

import (
	"context"
	"math"
	"strings"
	"testing"
)

// TestTimeline checks that the columns of a timeline add up to what the result says.
func TestTimeline(t *testing.T) {
	h := generated(t, FanOut, 1)
	first := h.Builds[0].Submitted
	line := NewTimeline(first-minute, first+h.Span().Milliseconds()+2*tail, 500)
	r := replayed(t, h, Warm(), NoDelay(5), With(line))
	waited := 0.0
	for i := range line.Waiting {
		waited += line.Waiting[i] * float64(line.Step)
	}
	if want := 1000 * r.MeanWait() * float64(len(r.waits)); math.Abs(waited-want) > 1 {
		t.Errorf("the timeline has %.0f ms of waiting, and the builds %.0f", waited, want)
	}
	for s := range states {
		sum := 0.0
		for _, n := range line.By[s] {
			sum += n * float64(line.Step)
		}
		if want := float64(r.time[s]); s != gone && math.Abs(sum-want) > 1 {
			t.Errorf("the timeline has %.0f ms of state %d, and the result %.0f", sum, s, want)
		}
	}
}

// TestSplit checks that settings are chosen by the first part of a history, and judged by the rest.
func TestSplit(t *testing.T) {
	h := generated(t, Periodic, 2)
	a, err := Ask(t.Context(), Question{History: h, Scenarios: []Scenario{Warm()}, Values: []float64{1, 10}, Value: 10, Split: 0.5, Rivals: true})
	if err != nil {
		t.Fatal(err)
	}
	if n := a.History.Builds; n < len(h.Builds)*45/100 || n > len(h.Builds)*55/100 {
		t.Errorf("%d of %d builds judge", n, len(h.Builds))
	}
	for i := range a.Scenarios[0].Rows {
		if r := &a.Scenarios[0].Rows[i]; r.Builds != a.History.Builds {
			t.Errorf("%s is judged by %d builds", r.Policy, r.Builds)
		}
	}
}

// TestInterrupted checks that a study ends when its context does.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ask(ctx, Question{History: generated(t, Idle, 1), Scenarios: []Scenario{Warm()}, Value: 10}); err == nil {
		t.Error("a study goes on after ctrl-c")
	}
}

// TestNames checks that no text of a history becomes a part of the page.
func TestNames(t *testing.T) {
	h := generated(t, Idle, 2)
	h.Name = `<script>alert("x")</script>.csv`
	a, err := Ask(t.Context(), Question{History: h, Scenarios: []Scenario{Warm()}, Value: 10, Values: []float64{10}, Steps: 100})
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	if err := a.WriteReport(&page); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(page.String(), "<script") || !strings.Contains(page.String(), "busiest day") {
		t.Error("the name of the history is a part of the page")
	}
}
