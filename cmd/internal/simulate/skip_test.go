package simulate

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bellboard/scaler"
)

// TestSkipping checks that skipped polls change no digit.
func TestSkipping(t *testing.T) {
	for _, shape := range Shapes() {
		for _, mode := range []string{"MODE=ephemeral", "MODE=persistent", "MODE=auto"} {
			for _, s := range []Scenario{Warm(), Cold(), Slow()} {
				t.Run(fmt.Sprintf("%s %s %s", shape, mode, s.Name), func(t *testing.T) {
					t.Parallel()
					h, err := Generate(shape, 2, 3)
					if err != nil {
						t.Fatal(err)
					}
					team, err := Settings(mode)
					if err != nil {
						t.Fatal(err)
					}
					run := func(noSkip bool) *Result {
						p := Policy{Name: mode, make: func(s *Scenario, _ []Build) (policy, error) {
							b := newBellboard(team, 5*time.Second, scaler.Checked, s)
							b.noSkip = noSkip
							return b, nil
						}}
						r, err := Replay(h, s, p)
						if err != nil {
							t.Fatal(err)
						}
						return r
					}
					skipped, all := run(false), run(true)
					if diff := cmp.Diff(all, skipped, cmp.AllowUnexported(Result{}), cmpopts.IgnoreFields(Result{}, "Looks", "Took", "waits")); diff != "" {
						t.Errorf("skipping changes the result (-every poll +skipped):\n%s", diff)
					}
					if i := firstDifference(all.waits, skipped.waits); i >= 0 {
						t.Errorf("build %d of %d waits %d ms, and with skipped polls %d ms", i, len(all.waits), all.waits[i], skipped.waits[i])
					}
					if skipped.Looks*2 > all.Looks {
						t.Errorf("%d of %d polls were looked at", skipped.Looks, all.Looks)
					}
				})
			}
		}
	}
}

// firstDifference returns the first index at which two lists differ, or -1.
func firstDifference(a, b []int64) int {
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return i
		}
	}
	return -1
}
