package simulate

import (
	"testing"
	"time"

	"bellboard/scaler"
)

// startOf returns a scenario in which each start takes exactly so long.
func startOf(d time.Duration) Scenario {
	s := Warm()
	s.StartLeast, s.StartMost = d, d
	return s
}

// historyOf returns a history of builds: pairs of submission and length, in seconds.
func historyOf(pairs ...float64) *History {
	h := &History{Name: "test", Labels: []string{"linux"}, Jobs: []string{"job"}}
	for i := 0; i < len(pairs); i += 2 {
		h.Builds = append(h.Builds, Build{Submitted: generatedFrom.UnixMilli() + int64(pairs[i]*1000), Length: int64(pairs[i+1] * 1000)})
	}
	return h
}

func replayed(t *testing.T, h *History, s Scenario, p Policy, options ...Option) *Result {
	t.Helper()
	r, err := Replay(h, s, p, options...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ours(t *testing.T, poll time.Duration, set ...string) Policy {
	t.Helper()
	p, err := Bellboard("bellboard", append(set, "POLL_INTERVAL="+poll.String())...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func generated(t *testing.T, shape Shape, days int) *History {
	t.Helper()
	h, err := Generate(shape, days, 3)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// everyPoll returns Bellboard's policy without skipped polls.
func everyPoll(t *testing.T, poll time.Duration, set ...string) Policy {
	t.Helper()
	teams, _, err := Settings(set...)
	if err != nil {
		t.Fatal(err)
	}
	return Policy{Name: "every poll", make: func(s *Scenario, _ []Build) (policy, error) {
		b := newBellboard(teams, poll, scaler.Checked, s)
		b.noSkip = true
		return b, nil
	}}
}
