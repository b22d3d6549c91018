package scaler

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// dump returns an input on which a property failed, as text.
func dump(in Input) string {
	var b strings.Builder
	fmt.Fprintf(&b, "grace %v, at most %d\n", in.Now.Before(in.GraceUntil), in.MaxAgents)
	for i := range in.Teams {
		tm := in.Teams[i]
		for _, p := range tm.Pools {
			fmt.Fprintf(&b, "pool %s %s %s %v, berths %d, executors %d, back-off %v\n", p.Team, p.Kind, p.Connect, p.Labels, p.Berths, p.Executors, !in.Memory.Pools[p.PoolID].Backoff.Until.IsZero())
		}
		tm.Pools = nil
		fmt.Fprintf(&b, "team %+v, memory %+v\n", tm, in.Memory.Teams[tm.Name])
	}
	d := decider{scene: see(in), left: map[*agent]bool{}}
	for _, m := range d.agents {
		fmt.Fprintf(&b, "%s %s %s %+v\n", m.Name, m.Kind, m.Connect, m.verdict)
	}
	for _, n := range d.foreign {
		fmt.Fprintf(&b, "foreign %+v\n", *n)
	}
	for _, it := range in.Jenkins.Items {
		fmt.Fprintf(&b, "item %s %s %q since %s\n", it.State, it.Resolution, it.Label, in.Now.Sub(it.Since))
	}
	return b.String()
}

// TestPlansKeepPromises: for every house, the plan passes the check that runs before acting.
func TestPlansKeepPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyHouse(t)
		plan, _, _ := Decide(in)
		if err := plan.Validate(in); err != nil {
			t.Fatalf("Validate(Decide(in)) = %v, want nil for\n%s", err, dump(in))
		}
	})
}

// TestSameAnswerAlways: neither chance nor the order of the input changes the plan, and Decide does not
// change its input.
func TestSameAnswerAlways(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyHouse(t)
		before, err := json.Marshal(in.Jenkins)
		if err != nil {
			t.Fatal(err)
		}
		kept := in
		kept.Memory = deepCopy(in.Memory)
		kept.Berths, kept.Cluster.Pods = maps.Clone(in.Berths), slices.Clone(in.Cluster.Pods)
		plan, mem, facts := Decide(in)
		after, err := json.Marshal(in.Jenkins)
		if err != nil {
			t.Fatal(err)
		}
		if string(before) != string(after) {
			t.Fatalf("Decide changed the view of Jenkins: %s, want %s", after, before)
		}
		if diff := cmp.Diff(kept, in); diff != "" {
			t.Fatalf("Decide changed its input:\n%s", diff)
		}
		for seed := range uint64(3) {
			p, m, f := Decide(shuffled(in, rand.New(rand.NewPCG(seed, 1))))
			for i := range p.Decisions {
				if diff := cmp.Diff(plan.Decisions[i], p.Decisions[i]); diff != "" {
					t.Fatalf("Decide(in another order) decides otherwise:\n%s\n%s", diff, dump(in))
				}
			}
			if diff := cmp.Diff(plan, p); diff != "" {
				t.Fatalf("Decide(in another order) plans otherwise:\n%s\n%s", diff, dump(in))
			}
			if diff := cmp.Diff(mem, m); diff != "" {
				t.Fatalf("Decide(in another order) remembers otherwise:\n%s", diff)
			}
			if diff := cmp.Diff(facts, f); diff != "" {
				t.Fatalf("Decide(in another order) sees other facts:\n%s", diff)
			}
		}
	})
}

// TestOnceIsEnough: a plan that no rule limited was carried out, and Decide runs again at the same time. Then
// it makes no more agents and no more berths, and marks no further agent as a scale-down.
//
// Some inputs are left out, because Decide may go on there:
//
//   - A rule limited the plan. What the rule held back goes on later.
//   - On paper, an executor of another team or of a foreign node may serve what one team's new agent served
//     before, or the other way round. So no agent is spare or started ahead there.
//   - An agent was refused. From then on it serves nothing.
func TestOnceIsEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyHouse(t)
		static := slices.ContainsFunc(in.Jenkins.Nodes, func(n Node) bool { return !n.Mine() })
		shared := static || len(in.Teams) > 1
		for i := range in.Teams {
			in.Teams[i].ScaleUpStep = 0 // a team with a step goes on in the next tick
			if shared {
				in.Teams[i].MinIdle = 0
				alter(&in.Memory.Teams, in.Teams[i].Name, func(m *TeamMemory) {
					for k := range m.Levels {
						m.Levels[k].Ahead = nil
					}
				})
			}
		}
		plan, mem, facts := Decide(in)
		if len(steps(plan)) > 0 || slices.ContainsFunc(facts.Failures, func(f FailedAgent) bool { return f.Failure == FailureVetoed }) {
			return
		}
		for name, a := range mem.Agents {
			if !a.Gone.IsZero() && in.Memory.agent(name).Gone.IsZero() {
				return // a second answer without the Jenkins node allows more than the first
			}
		}
		next := apply(in, plan, mem)
		again, _, _ := Decide(next)
		if err := again.Validate(next); err != nil {
			t.Fatalf("Validate(second plan) = %v, want nil", err)
		}
		idle := func(a Action) bool { return a.Verb == Mark && a.Reason == ReasonIdle }
		if len(in.Teams) > 1 && slices.ContainsFunc(again.Actions, idle) {
			return // on paper, another team's new agent serves what this team's agent served
		}
		for _, a := range again.Actions {
			if a.Verb == Create || a.Verb == Register || idle(a) {
				t.Fatalf("Decide(again) wants %s %s %s (%s), want nothing more after %v for\n%s", a.Verb, a.Pool, a.Reason, a.Text, did(plan), dump(in))
			}
		}
	})
}

// TestBounds: each decision stays within the team's minimum and caps, and explains what it could not do.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyHouse(t)
		plan, _, _ := Decide(in)
		up, down := map[PoolID]int{}, map[PoolID]int{}
		for i := range plan.Actions {
			switch a := &plan.Actions[i]; {
			case a.Verb == Create:
				up[a.Pool]++
			case a.Verb == Mark && a.Reason == ReasonIdle:
				down[a.Pool]++
			}
		}
		for i := range plan.Decisions {
			d, tm := &plan.Decisions[i], &in.Teams[i]
			ups := 0
			for _, k := range Kinds() {
				id := PoolID{d.Team, k}
				ups += up[id]
				if d.Up[k] != up[id] || d.Down[k] != down[id] {
					t.Fatalf("%s %s: decides up %d and down %d, acts up %d and down %d", d.Team, k, d.Up[k], d.Down[k], up[id], down[id])
				}
				if up[id] > 0 && down[id] > 0 {
					t.Fatalf("%s %s grows by %d and shrinks by %d in one tick", d.Team, k, up[id], down[id])
				}
			}
			if ups > 0 && d.Alive+ups > tm.MaxAgents {
				t.Fatalf("%s: %d alive and %d made, want at most %d for\n%s", d.Team, d.Alive, ups, tm.MaxAgents, dump(in))
			}
			if serve := d.Up[Ephemeral] + d.Up[Persistent]*tm.Pool(Persistent).size(); d.Short > serve && len(d.Steps) == 0 {
				t.Fatalf("%s is short of %d, makes %d agents, and no rule says why, for\n%s", d.Team, d.Short, ups, dump(in))
			}
			if !tm.Paused && d.Want < tm.MinAgents {
				t.Fatalf("%s wants %d agents, want at least MIN_AGENTS=%d for\n%s", d.Team, d.Want, tm.MinAgents, dump(in))
			}
			if tm.ScaleUpStep > 0 && d.Up[Ephemeral]+d.Up[Persistent] > tm.ScaleUpStep+tm.MinAgents+tm.MinIdle+d.Weighed.Ahead {
				t.Fatalf("%s makes %d agents at once, want at most SCALE_UP_STEP=%d beyond its floors", d.Team, ups, tm.ScaleUpStep)
			}
			if d.Text == "" || !slices.Contains(DecisionReasons(), d.Reason) {
				t.Fatalf("%s: reason %q %q, want words", d.Team, d.Reason, d.Text)
			}
		}
	})
}

// staying returns how many agents of a team the rules counted as staying. If the team's minimum is made of
// one of its two kinds, only that kind counts.
func staying(in Input, tm *Team) int {
	d := decider{scene: see(in), left: map[*agent]bool{}}
	n := 0
	for _, m := range d.agents {
		if m.Team == tm.Name && m.stays() && (tm.Mode != ModeAuto || m.Kind == Persistent) {
			n++
		}
	}
	return n
}

// TestShrinkingKeepsFloors: after a scale-down, the minimum, the spare agents, and a free agent for each
// waiting item are still there.
func TestShrinkingKeepsFloors(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := newHouse(anyTeams(t)...)
		for i := range in.Teams {
			in.Teams[i].ScaleDownCooldown = 0
			for _, p := range in.Teams[i].Pools {
				in.agents(rapid.IntRange(0, 5).Draw(t, "free"), p.Team, p.Kind, "f")
				in.agents(rapid.IntRange(0, 2).Draw(t, "busy"), p.Team, p.Kind, "b", busy)
				in.agents(rapid.IntRange(0, 2).Draw(t, "coming"), p.Team, p.Kind, "c", coming)
			}
		}
		in.idleFor(time.Hour)
		anyItems(t, &in, nil)
		plan, mem, _ := Decide(in)
		next := apply(in, plan, mem)
		again, _, _ := Decide(next)
		for i := range plan.Decisions {
			d, a, tm := &plan.Decisions[i], &again.Decisions[i], &in.Teams[i]
			if d.Down[Ephemeral]+d.Down[Persistent] == 0 {
				continue
			}
			was, n := staying(in, tm), staying(next, tm)
			if n < min(tm.MinAgents, was) {
				t.Fatalf("%s keeps %d agents after its scale-down, want at least MIN_AGENTS=%d for\n%s", tm.Name, n, tm.MinAgents, dump(in))
			}
			if a.Short > 0 && d.Short == 0 {
				t.Fatalf("%s is short of %d after its scale-down, want none for\n%s", tm.Name, a.Short, dump(in))
			}
			if a.Free+a.Coming < tm.MinIdle {
				t.Fatalf("%s has %d spare after its scale-down, want at least MIN_IDLE=%d for\n%s", tm.Name, a.Free+a.Coming, tm.MinIdle, dump(in))
			}
		}
	})
}

// TestMoreWaitingNeverWantsFewer: if one more item of an expression waits, no team wants fewer agents, as
// long as no cap sends items from one team to another.
func TestMoreWaitingNeverWantsFewer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyHouse(t)
		in.MaxAgents = 1000
		for id := range in.Memory.Pools {
			in.backsOff(id, Backoff{})
		}
		for i := range in.Teams {
			in.Teams[i].MaxAgents, in.Teams[i].MaxPersistent, in.Teams[i].Paused = 100, 100, false
			in.Teams[i].ScaleUpCooldown, in.Teams[i].ScaleUpStep = 0, 0
		}
		in.Jenkins.Items = slices.DeleteFunc(in.Jenkins.Items, func(it Item) bool { return it.State != Buildable || it.Resolution != Labelled })
		if len(in.Jenkins.Items) == 0 {
			t.Skip("no item waits")
		}
		before, _, _ := Decide(in)
		more := in.Jenkins.Items[rapid.IntRange(0, len(in.Jenkins.Items)-1).Draw(t, "one more of")]
		more.ID, more.Since = 1000, noon
		in.Jenkins.Items = append(slices.Clone(in.Jenkins.Items), more)
		after, _, _ := Decide(in)
		for i := range before.Decisions {
			executors := func(d *Decision) (n int) { // one persistent agent may stand for several ephemeral ones
				for _, k := range Kinds() {
					n += (d.Up[k] - d.Down[k]) * in.pool(PoolID{d.Team, k}).size()
				}
				return n
			}
			b, a := executors(&before.Decisions[i]), executors(&after.Decisions[i])
			came := before.Decisions[i].Weighed.Ahead - after.Decisions[i].Weighed.Ahead // the item was expected
			if a < b-max(0, came)*in.pool(PoolID{before.Decisions[i].Team, Persistent}).size() {
				t.Fatalf("%s wants %d executors more, and %d when one more item waits for %s, in\n%s", before.Decisions[i].Team, b, a, more.Label, dump(in))
			}
		}
	})
}

// TestIdleHouseSettles: if no item waits, each team falls to its minimum and stays there.
func TestIdleHouseSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := newHouse(anyTeams(t)...)
		for i := range in.Teams {
			tm := &in.Teams[i]
			tm.Paused, tm.MaxAgents, tm.MaxPersistent = false, 10, 10
			for _, p := range tm.Pools {
				in.agents(rapid.IntRange(0, 5).Draw(t, "free"), p.Team, p.Kind, "f")
			}
		}
		quiet := 0
		for minute := range 120 {
			in.Now = noon.Add(time.Duration(minute) * time.Minute)
			in.Jenkins.AskedAt, in.Jenkins.AnsweredAt = in.Now, in.Now
			for i := range in.Cluster.Pods { // an agent on its way connects within a minute
				in.Cluster.Pods[i].Requested, in.Cluster.Pods[i].Scheduled = false, in.Now
			}
			settle(&in)
			plan, mem, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Fatalf("minute %d: Validate = %v", minute, err)
			}
			quiet++
			if slices.ContainsFunc(plan.Actions, func(a Action) bool { return a.Verb == Create || a.Verb == Mark }) {
				quiet = 0
			}
			in = apply(in, plan, mem)
		}
		if quiet < 30 {
			t.Fatalf("after two hours without a waiting item the house has been steady for %d minutes, want at least 30", quiet)
		}
		for i := range in.Teams {
			tm := &in.Teams[i]
			n := 0
			for j := range in.Cluster.Pods {
				if in.Cluster.Pods[j].Team == tm.Name {
					n++
				}
			}
			// MIN_IDLE counts executors. The least is the number of agents that have so many executors, or in
			// mode auto that many agents with one executor each.
			least := max(tm.MinAgents, agentsFor(tm.MinIdle, tm.Pool(Persistent).size()))
			most := least
			if tm.Mode == ModeAuto {
				most = max(tm.MinAgents, tm.MinIdle)
			}
			if n < least || n > most {
				t.Fatalf("%s settles at %d agents, want %d to %d", tm.Name, n, least, most)
			}
		}
	})
}

// settle finishes what was begun. Pods that were deleted are gone, a Swarm agent's Jenkins node with its pod.
// Agents that were made are online.
func settle(in *Input) {
	gone := map[string]bool{}
	in.Cluster.Pods = slices.DeleteFunc(in.Cluster.Pods, func(p Pod) bool {
		gone[p.Name] = p.DeletingByUs
		return p.DeletingByUs
	})
	there := map[string]bool{}
	in.Jenkins.Nodes = slices.DeleteFunc(slices.Clone(in.Jenkins.Nodes), func(n Node) bool {
		there[n.Name] = true
		return gone[n.Name]
	})
	for i := range in.Cluster.Pods {
		p := &in.Cluster.Pods[i]
		if !there[p.Name] {
			in.Jenkins.Nodes = append(in.Jenkins.Nodes, Node{Name: p.Name, Team: p.Team, Kind: p.Kind, Labels: poolOf(in, p.PoolID).Labels, Executors: poolOf(in, p.PoolID).size(), Idle: true})
		}
		for j := range in.Jenkins.Nodes {
			if n := &in.Jenkins.Nodes[j]; n.Name == p.Name && n.OfflineBy == NotMarked {
				n.Online = true
			}
		}
	}
}

// TestNothingChangesWhatIsSeen: no stage after the first changes the scene, nor a verdict of the table.
func TestNothingChangesWhatIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyHouse(t)
		d := decider{scene: see(in), left: map[*agent]bool{}}
		show := func() string {
			var b strings.Builder
			for _, m := range d.agents {
				fmt.Fprintf(&b, "%+v %+v %v %v %v %d\n", m.Pair, m.verdict, m.stuck, m.retired, m.overdue, m.capacity())
			}
			return b.String()
		}
		before := show()
		d.tableActions()
		d.match()
		teams := d.up()
		d.down(teams)
		d.upkeep()
		d.report(teams)
		if after := show(); before != after {
			t.Fatalf("the agents were\n%s\nand are\n%s", before, after)
		}
	})
}
