package scaler

import (
	"slices"
	"testing"
	"time"
)

// TestPausesByClass: the pause doubles with each failure of its class. An earlier failure by a quota does not
// lengthen the pause after a rejection that only a person can mend.
func TestPausesByClass(t *testing.T) {
	var b Backoff
	now := noon
	var got []time.Duration
	for _, why := range []Failure{"quota", "quota", "quota", "admission", "quota", "admission"} {
		b.fail(why, false, now, nil)
		got = append(got, b.Until.Sub(now))
		now = b.Until
	}
	if want := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, time.Minute, 40 * time.Second, 2 * time.Minute}; !slices.Equal(got, want) {
		t.Errorf("the pauses are %v, want %v", got, want)
	}
}

// TestBackoffOfOneBatch: agents that were made together and fail one after another count as one failure.
func TestBackoffOfOneBatch(t *testing.T) {
	var b Backoff
	for i := range 4 {
		b.fail("", false, noon.Add(time.Duration(i)*time.Second), nil)
	}
	if got := b.Until.Sub(noon); got != 5*time.Second {
		t.Errorf("after four failures in a row the back-off ends after %v, want 5s", got)
	}
	if !b.pauses() {
		t.Error("the pool does not back off")
	}
}
