package scaler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestNewspaper: what of a row of ticks is news.
func TestNewspaper(t *testing.T) {
	web := func(text string, rules ...Rule) Tick {
		d := Decision{Team: "web", Reason: ReasonBlocked, Text: text, Up: map[Kind]int{}}
		for _, r := range rules {
			d.Steps = append(d.Steps, Step{Rule: r})
		}
		return Tick{Plan: Plan{Decisions: []Decision{d}}}
	}
	held := func(by Source, cause HoldCause) Tick { return Tick{Hold: "no answer", HoldBy: by, HoldCause: cause} }
	up := web("")
	up.Plan.Decisions[0].Up[Ephemeral], up.Plan.Decisions[0].Reason = 1, ReasonDemand
	windows := func(names ...string) Tick {
		d := Decision{Team: "web", Reason: ReasonSteady}
		for _, n := range names {
			d.Scheduled = append(d.Scheduled, Scheduled{Setting: "MIN_IDLE", Value: "2", Window: n})
		}
		return Tick{Plan: Plan{Decisions: []Decision{d}}}
	}
	acts := func(outs ...Outcome) Tick { return Tick{Outcomes: outs} }
	create := func(team string, r Result, f Failure) Outcome {
		return Outcome{Action: Action{Verb: Create, Pool: PoolID{team, Ephemeral}}, Result: r, Failure: f}
	}
	for _, tt := range []struct {
		name  string
		ticks []Tick // ten seconds apart
		want  []string
	}{
		{"nothing", []Tick{{}, {}}, []string{"", ""}},
		{"a hold", []Tick{held(SourceJenkins, "timeout"), held(SourceJenkins, "timeout"), {}, {}}, []string{"hold", "", "readable", ""}},
		{"another cause, and the first again", []Tick{held(SourceJenkins, "a"), held(SourceJenkins, "b"), held(SourceJenkins, "a"), held(SourceKubernetes, "a")}, []string{"hold", "hold", "", "hold"}},
		{"a second hold", []Tick{held(SourceJenkins, "a"), {}, held(SourceJenkins, "a")}, []string{"hold", "readable", "hold"}},
		{"agents are made twice", []Tick{up, up}, []string{"scaled", "scaled"}},
		{"one block, whatever its words", []Tick{web("23s left", RuleScaleUpCooldown), web("13s left", RuleScaleUpCooldown)}, []string{"blocked", ""}},
		{"another rule", []Tick{web("", RuleScaleUpCooldown), web("", RuleMaxAgents)}, []string{"blocked", "blocked"}},
		{"a block that was over", []Tick{web("", RuleMaxAgents), {Plan: Plan{Decisions: []Decision{{Team: "web", Reason: ReasonSteady}}}}, web("", RuleMaxAgents)}, []string{"blocked", "", "blocked"}},
		{"rejected, once for each pool", []Tick{acts(create("web", Rejected, ""), create("web", Rejected, ""), create("ml", Rejected, ""))}, []string{"rejected rejected"}},
		{"a class of failure tells it", []Tick{acts(create("web", Rejected, FailureQuota))}, []string{""}},
		{"a creation", []Tick{acts(create("web", Done, ""))}, []string{""}},
		{"a rescue", []Tick{acts(Outcome{Action: Action{Verb: ClearMark}}, Outcome{Action: Action{Verb: Mark, Reason: ReasonLost}}, Outcome{Action: Action{Verb: Mark, Reason: ReasonIdle}})}, []string{"rescue rescue"}},
		{"a window begins, and ends", []Tick{windows(), windows("a"), windows("a"), windows()}, []string{"", "window", "", "window"}},
		{"a hold hides a window", []Tick{windows("a"), held(SourceJenkins, "a"), windows("a")}, []string{"window", "hold", "readable"}},
		{"another window wins", []Tick{windows("a"), windows("b")}, []string{"window", "window"}},
		{"failures and losses", []Tick{{Facts: Facts{Failures: []FailedAgent{{}, {}}, BuildsLost: []LostBuilds{{}}}}}, []string{"failed failed lost"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n Newspaper
			var got []string
			for i := range tt.ticks {
				tick := tt.ticks[i]
				tick.At = noon.Add(time.Duration(i) * 10 * time.Second)
				n.Read(&tick)
				var kinds []string
				for _, news := range tick.News {
					kinds = append(kinds, string(news.Kind))
				}
				got = append(got, strings.Join(kinds, " "))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("the news is %q, want %q", got, tt.want)
			}
		})
	}
}

// TestHoldIsReminded: a hold that goes on is told every five minutes, and a tick knows since when.
func TestHoldIsReminded(t *testing.T) {
	var n Newspaper
	var told []string
	for s := time.Duration(0); s < 11*time.Minute; s += 10 * time.Second {
		tick := Tick{At: noon.Add(s), Hold: "no answer", HoldBy: SourceJenkins}
		n.Read(&tick)
		for _, news := range tick.News {
			told = append(told, fmt.Sprint(s, " ", news.Kind))
		}
		if !tick.HoldSince.Equal(noon) {
			t.Fatalf("after %s the hold began at %s, want noon", s, tick.HoldSince)
		}
	}
	if want := []string{"0s hold", "5m0s still-held", "10m0s still-held"}; !slices.Equal(told, want) {
		t.Errorf("the hold is told %q, want %q", told, want)
	}
	end := Tick{At: noon.Add(time.Hour)}
	n.Read(&end)
	if !end.HoldSince.Equal(noon) || !end.Tells(NewsReadable) {
		t.Errorf("its end tells of a hold since %s, %v", end.HoldSince, end.News)
	}
}
