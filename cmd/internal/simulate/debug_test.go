package simulate

import (
	"fmt"
	"testing"
	"time"
	"os"

	"bellboard/scaler"
)

func TestDebug(t *testing.T) {
	h, _ := Generate(Periodic, 1, 3)
	h.Builds = h.Builds[:40]
	team, _ := Settings("MODE=persistent")
	for _, noSkip := range []bool{false, true} {
		f, _ := os.Create(fmt.Sprintf("/tmp/b/sim-debug-%v", noSkip))
		p := Policy{Name: "x", make: func(s *Scenario) (policy, error) {
			b := newBellboard(team, 5*time.Second, func(in scaler.Input) (scaler.Plan, scaler.Memory, scaler.Facts, error) {
				p, m, fa, e := scaler.Checked(in)
				for _, a := range p.Actions {
					fmt.Fprintln(f, in.Now.Format("15:04:05.000"), a.Verb, a.Agent, a.Reason, a.Text)
				}
				if !noSkip { fmt.Fprintln(f, in.Now.Format("15:04:05.000"), "LOOK")}
				return p, m, fa, e
			}, s)
			b.noSkip = noSkip
			return b, nil
		}}
		Replay(h, Warm(), p)
	}
}
