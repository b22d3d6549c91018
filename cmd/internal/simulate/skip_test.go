package simulate

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestSkipping checks that skipped polls change no digit.
func TestSkipping(t *testing.T) {
	settings := [][]string{
		{"MODE=ephemeral"},
		{"MODE=persistent"},
		{"MODE=auto"},
		{"MODE=persistent", "MAX_AGENTS=6", "EXECUTORS=2", "SCALE_UP_COOLDOWN=20s", "IDLE_TIMEOUT=3m", "MAX_LIFETIME=2h", "CACHE_KEEP=5h"},
		{"MODE=auto", "MIN_AGENTS=2", "MIN_IDLE=1", "MAX_AGENTS=8", "SCALE_DOWN_COOLDOWN=7m"},
		{"MODE=auto", "MAX_AGENTS=9", "SCHEDULE=0 7 * * 1-5 for 11h in Europe/Berlin: MIN_IDLE=3, MIN_AGENTS=2; 30 12 * * * for 7m: PAUSED=true; 0 19 * * * for 9h: MAX_AGENTS=3"},
		{"MODE=persistent", "MIN_AGENTS=1", "SCHEDULE=*/50 * * * * for 3m: MIN_AGENTS=4; 0 */5 * * * for 10m: MAX_PERSISTENT=2, MIN_AGENTS=0"},
	}
	scenarios := Scenarios()
	for i := range scenarios {
		scenarios[i].Ending = time.Duration(i) * 3 * time.Second
	}
	scenarios[2].Failing = 0.05
	for i, shape := range Shapes() {
		for j, set := range settings {
			s := scenarios[(i+j)%len(scenarios)]
			t.Run(fmt.Sprintf("%s %s %v", shape, s.Name, set), func(t *testing.T) {
				t.Parallel()
				h := generated(t, shape, 1)
				skipped, all := replayed(t, h, s, ours(t, 5*time.Second, set...)), replayed(t, h, s, everyPoll(t, 5*time.Second, set...))
				if diff := cmp.Diff(all, skipped, cmp.AllowUnexported(Result{}), cmpopts.IgnoreFields(Result{}, "Looks", "Took", "Policy", "waits")); diff != "" {
					t.Errorf("skipping changes the result (-every poll +skipped):\n%s", diff)
				}
				if !slices.Equal(all.waits, skipped.waits) {
					t.Error("skipping changes the waits")
				}
				if skipped.Looks >= all.Looks {
					t.Errorf("%d of %d polls were looked at", skipped.Looks, all.Looks)
				}
			})
		}
	}
}
