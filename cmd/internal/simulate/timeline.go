package simulate

// Timeline records how many builds wait and what agents do, in equal steps of time.
type Timeline struct {
	From, Step int64 // in milliseconds
	Waiting    []float64
	By         [states][]float64 // agents by state
}

// add books the time from now until to.
func (t *Timeline) add(w *world, to int64) {
	for at := w.now; at < to; {
		i := (at - t.From) / t.Step
		if at < t.From {
			at = min(to, t.From)
			continue
		}
		if i >= int64(len(t.Waiting)) {
			return
		}
		end := min(to, t.From+(i+1)*t.Step)
		share := float64(end-at) / float64(t.Step)
		t.Waiting[i] += share * float64(w.waiting())
		for s := range states {
			t.By[s][i] += share * float64(w.count[s])
		}
		at = end
	}
}

// NewTimeline returns a timeline of n steps from one time to another.
func NewTimeline(from, to int64, n int) *Timeline {
	t := &Timeline{From: from, Step: max(1, (to-from+int64(n)-1)/int64(n)), Waiting: make([]float64, n)}
	for s := range states {
		t.By[s] = make([]float64, n)
	}
	return t
}
