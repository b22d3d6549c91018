package scaler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// teamRules clamps by what belongs to the team: caps, step, cooldown, back-off.
func (d *decider) teamRules(a *account) {
	t, now := a.t, d.in.Now
	for _, k := range Kinds() {
		n := a.ups(k)
		if n == 0 {
			continue
		}
		id := PoolID{t.Name, k}
		if d.quiet {
			a.step(RuleQuietDown, n, 0, "")
			a.cut(k, n)
			a.blockText = "Jenkins is about to shut down"
			continue
		}
		if d.backedOff(a, id, n) {
			continue
		}
		n = a.ups(k)
		left := t.ScaleUpCooldown - now.Sub(d.pooled.of(id).Up)
		if a.cooling[k] = left > 0 && !d.pooled.of(id).Up.IsZero(); !a.cooling[k] {
			continue
		}
		replaced := min(a.up[k][ReasonDemand], a.gone[k]+d.in.Memory.Pools[id].Unmade)
		if soft := a.up[k][ReasonDemand] + a.up[k][ReasonLevel] - replaced; soft > 0 {
			a.step(RuleScaleUpCooldown, n, n-soft, short(left)+" left")
			a.up[k][ReasonDemand], a.up[k][ReasonLevel] = replaced, 0
			a.blockText = "scale-up cooldown, " + short(left) + " left"
		}
	}
	if over := a.ups(Persistent) - max(0, t.MaxPersistent-a.alive[Persistent]); over > 0 {
		n := a.ups(Persistent)
		a.step(RuleMaxPersistent, n, n-over, "")
		a.cut(Persistent, over)
		a.blockText = fmt.Sprintf("at MAX_PERSISTENT=%d", t.MaxPersistent)
	}
	if soft := a.softUps(); t.ScaleUpStep > 0 && soft > t.ScaleUpStep {
		a.step(RuleScaleUpStep, soft, t.ScaleUpStep, "")
		a.cutAnywhere(soft-t.ScaleUpStep, ReasonLevel, ReasonDemand)
		a.blockText = fmt.Sprintf("SCALE_UP_STEP=%d at a time", t.ScaleUpStep)
	}
	if over := a.allUps() - max(0, t.MaxAgents-a.total(a.alive)); over > 0 {
		n := a.allUps()
		a.step(RuleMaxAgents, n, n-over, "")
		a.crowd = a.cutAnywhere(over, ReasonSpare, ReasonLevel, ReasonDemand, ReasonMinimum)
		a.blockText = fmt.Sprintf("at MAX_AGENTS=%d (wants %d)", t.MaxAgents, a.dec.Want)
	}
}

func (a *account) softUps() int {
	n := 0
	for _, k := range Kinds() {
		n += a.up[k][ReasonDemand] + a.up[k][ReasonLevel]
	}
	return n
}

// cutAnywhere takes n creations away in the order of reasons given, ephemeral ones
// first, and says for how many of them builds wait.
func (a *account) cutAnywhere(n int, order ...Reason) (demanded int) {
	for _, why := range order {
		for _, k := range Kinds() {
			c := min(n, a.up[k][why])
			a.up[k][why] -= c
			n -= c
			if why == ReasonDemand {
				demanded += c
			}
		}
	}
	return demanded
}

// shareGlobal gives what BELLBOARD_MAX_AGENTS leaves to the teams that want
// more: by PRIORITY, then evenly, one at a time to the team with the fewest.
func (d *decider) shareGlobal(accounts []*account, alive int) {
	room, want := max(0, d.in.MaxAgents-alive), 0
	type share struct {
		a             *account
		wish, granted int
	}
	shares := make([]share, 0, len(accounts))
	for _, a := range accounts {
		shares = append(shares, share{a: a, wish: a.allUps()})
		want += a.allUps()
	}
	if want <= room {
		return
	}
	hungry := make([]*share, len(shares))
	for i := range shares {
		hungry[i] = &shares[i]
	}
	for ; room > 0; room-- {
		hungry = slices.DeleteFunc(hungry, func(s *share) bool { return s.granted == s.wish })
		best := slices.MinFunc(hungry, func(a, b *share) int {
			return cmp.Or(
				cmp.Compare(b.a.t.Priority, a.a.t.Priority),
				cmp.Compare(a.a.dec.Alive+a.granted, b.a.dec.Alive+b.granted),
				strings.Compare(a.a.t.Name, b.a.t.Name),
			)
		})
		best.granted++
	}
	for _, s := range shares {
		if a, n, g := s.a, s.wish, s.granted; g < n {
			a.step(RuleGlobalMax, n, g, "")
			d.crowd += a.cutAnywhere(n-g, ReasonSpare, ReasonLevel, ReasonDemand, ReasonMinimum)
			a.blockText = fmt.Sprintf("all teams together at BELLBOARD_MAX_AGENTS=%d", d.in.MaxAgents)
		}
	}
}
