package scaler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// came returns a start-up of long ago, whose pod got its Kubernetes node a second after its creation.
func came(id PoolID, took time.Duration) Startup {
	made := noon.Add(-2 * time.Hour)
	return Startup{PoolID: id, Took: took, Created: made, Scheduled: made.Add(time.Second)}
}

// knows adds n start-ups to what Bellboard remembers, each of which took that long.
func (in *Input) knows(id PoolID, n int, took time.Duration) {
	var all []Startup
	for range n {
		all = append(all, came(id, took))
	}
	alter(&in.Memory.Pools, id, func(m *PoolMemory) { m.Starts = Starts{}.with(all...) })
	in.Memory.Sees = noon.Add(-time.Hour)
}

// overtakes adds one more start-up, of a pod that was made and got its Kubernetes node that long ago.
func (in *Input) overtakes(id PoolID, made, machine, took time.Duration) {
	s := Startup{PoolID: id, Took: took, Created: noon.Add(-made), Scheduled: noon.Add(-machine)}
	alter(&in.Memory.Pools, id, func(m *PoolMemory) { m.Starts = in.Memory.Pools[id].Starts.with(s) })
}

// made returns the change to an agent on its way, whose pod was made and got its Kubernetes node that long
// ago. If machine is zero, the pod waits for a Kubernetes node.
func made(created, machine time.Duration) func(*Pair) {
	return func(p *Pair) {
		coming(p)
		p.Pod.Created, p.Pod.Scheduled = noon.Add(-created), time.Time{}
		if machine > 0 {
			p.Pod.Scheduled = noon.Add(-machine)
		}
	}
}

func overdueIn(p Plan) []string {
	var out []string
	for _, a := range p.Agents {
		if a.Overdue {
			out = append(out, a.Name)
		}
	}
	return out
}

// TestOverdue: an agent that is overdue and overtaken, or overdue for twice the time, is no supply. Nothing else
// follows.
func TestOverdue(t *testing.T) {
	e, p := PoolID{"web", Ephemeral}, PoolID{"web", Persistent}
	const quick = 14 * time.Second
	// Three items wait. Two agents are young, and a third was made 58 s ago. Starts are known to take 14 s,
	// and an agent that was made after the third one took 14 s.
	house := func(change ...func(*Input)) func() Input {
		return func() Input {
			in := newHouse(web())
			in.wait(3, "linux", time.Minute)
			in.agents(2, "web", Ephemeral, "c", coming)
			in.agent("web", Ephemeral, "slow", made(58*time.Second, 57*time.Second))
			in.knows(e, 8, quick)
			in.overtakes(e, 40*time.Second, 39*time.Second, quick)
			for _, f := range change {
				f(&in)
			}
			return in
		}
	}
	slow := func(f ...func(*Pair)) func(*Input) {
		return func(in *Input) {
			i := slices.IndexFunc(in.Cluster.Pods, func(p Pod) bool { return p.Name == "web-e-slow" })
			j := slices.IndexFunc(in.Jenkins.Nodes, func(n Node) bool { return n.Name == "web-e-slow" })
			q := Pair{Pod: &in.Cluster.Pods[i], Node: &in.Jenkins.Nodes[j]}
			for _, g := range f {
				g(&q)
			}
		}
	}
	team := func(f func(*Team)) func(*Input) { return func(in *Input) { f(&in.Teams[0]) } }
	// seen replaces the overtaking start-up of the house by another one.
	seen := func(made, machine, took time.Duration) func(*Input) {
		return func(in *Input) { in.knows(e, 31, quick); in.overtakes(e, made, machine, took) }
	}
	one := map[string]int{"create web ephemeral demand": 1, "register web ephemeral berths": 1}
	enough := map[string]string{"web": "steady: 3 waiting, 0 free, 3 on the way, usually 14s"}
	blocked := func(text string) map[string]string { return map[string]string{"web": "blocked: " + text} }
	tell(t, []story{
		{
			name: "a replacement is made for its build", house: house(), want: one,
			reason: map[string]string{"web": "demand: 3 waiting, 0 free, 2 on the way, 1 overdue, usually 14s"},
		},
		{name: "not overdue yet", house: house(slow(made(30*time.Second, 29*time.Second)), seen(29*time.Second, 28*time.Second, 10*time.Second)), reason: enough},
		{name: "overdue at 30s", house: house(slow(made(31*time.Second, 30*time.Second)), seen(30*time.Second, 29*time.Second, quick)), want: one},
		{
			name: "usually slow: overdue only at twice what nine in ten took", reason: map[string]string{"web": "steady: 3 waiting, 0 free, 3 on the way, usually 40s"},
			house: house(func(in *Input) {
				in.knows(e, 8, 40*time.Second)
				in.overtakes(e, 40*time.Second, 39*time.Second, quick)
			}),
		},
		{
			name: "overdue at START_TIMEOUT at the latest: it is stuck then", reason: map[string]string{"web": "demand: 3 waiting, 0 free, 2 on the way, usually 4m"},
			want: map[string]int{"create web ephemeral demand": 1, "register web ephemeral berths": 1, "mark web ephemeral stuck": 1},
			house: house(slow(made(301*time.Second, 300*time.Second)), func(in *Input) {
				in.knows(e, 8, 4*time.Minute)
				in.overtakes(e, 200*time.Second, 200*time.Second, 100*time.Second)
			}),
		},
		{
			name: "the same without a Kubernetes node: a replacement is made for its build", want: one,
			reason: map[string]string{"web": "demand: 3 waiting, 0 free, 2 on the way, 1 overdue, usually 4m"},
			house: house(slow(made(300*time.Second, 0)), func(in *Input) {
				in.knows(e, 8, 4*time.Minute)
				in.overtakes(e, 200*time.Second, 200*time.Second, 100*time.Second)
			}),
		},
		{name: "seven start-ups are too few", house: house(func(in *Input) { in.knows(e, 6, quick); in.overtakes(e, 40*time.Second, 39*time.Second, quick) }), reason: enough},
		{name: "no agent is overdue in grace", house: house(func(in *Input) { in.GraceUntil = noon.Add(time.Second) }), reason: enough},
		{name: "no agent is overdue a moment after a hold", house: house(func(in *Input) { in.Memory.Sees = noon.Add(-29 * time.Second) }), reason: enough},
		{name: "half a minute after a hold", house: house(func(in *Input) { in.Memory.Sees = noon.Add(-30 * time.Second) }), want: one},
		{name: "all are slow: no agent has overtaken it", house: house(func(in *Input) { in.knows(e, 32, quick) }), reason: enough},
		{name: "the other got its Kubernetes node earlier", house: house(seen(60*time.Second, 70*time.Second, quick)), reason: enough},
		{name: "the other got its Kubernetes node in the same second", house: house(seen(50*time.Second, 57*time.Second, quick)), want: one},
		{name: "the other took over half as long", house: house(seen(57*time.Second, 57*time.Second, 29*time.Second)), reason: enough},
		{name: "the other took half as long", house: house(seen(58*time.Second, 57*time.Second, 29*time.Second+500*time.Millisecond)), want: one},
		{name: "it waits for a Kubernetes node, an agent made later has connected", house: house(slow(made(70*time.Second, 0))), want: one},
		{name: "it waits for a Kubernetes node, agents made in the same second have theirs", house: house(slow(made(70*time.Second, 0)), seen(70*time.Second, 69*time.Second, quick)), reason: enough},
		{name: "it has just got its Kubernetes node", house: house(slow(made(10*time.Minute, 29*time.Second)), seen(28*time.Second, 28*time.Second, 5*time.Second)), reason: enough},
		{name: "the other is of another pool", house: house(func(in *Input) {
			in.knows(e, 8, quick)
			s := came(p, quick)
			s.Created, s.Scheduled = noon.Add(-40*time.Second), noon.Add(-39*time.Second)
			alter(&in.Memory.Pools, p, func(m *PoolMemory) { m.Starts = Starts{}.with(s) })
		}), reason: enough},
		{
			name: "no agent has overtaken it, and it has waited for twice the time", want: one, reason: map[string]string{"web": "demand: 3 waiting, 0 free, 2 on the way, 1 overdue, usually 14s"},
			house: house(slow(made(61*time.Second, 60*time.Second)), func(in *Input) { in.knows(e, 32, quick) }),
		},
		{name: "not for twice the time yet", house: house(slow(made(60*time.Second, 59*time.Second)), func(in *Input) { in.knows(e, 32, quick) }), reason: enough},
		{name: "twice the time without a Kubernetes node: a replacement would wait too", house: house(slow(made(2*time.Minute, 0)), func(in *Input) { in.knows(e, 32, quick) }), reason: enough},
		{name: "twice the time at a pull: a new Kubernetes node would not have the image", house: house(slow(made(2*time.Minute, 2*time.Minute), func(p *Pair) { p.Pod.Mounted = noon.Add(-time.Minute) }), func(in *Input) { in.knows(e, 32, quick) }), reason: enough},
		{
			name: "twice the time, and its pod runs", want: one,
			house: house(slow(made(2*time.Minute, 2*time.Minute), func(p *Pair) { p.Pod.Mounted, p.Pod.Ready = noon.Add(-time.Minute), noon.Add(-time.Minute) }), func(in *Input) { in.knows(e, 32, quick) }),
		},
		{
			name: "all have waited for twice the time: one agent is overdue", want: one, reason: map[string]string{"web": "demand: 3 waiting, 0 free, 2 on the way, 1 overdue, usually 14s"},
			house: house(func(in *Input) {
				in.knows(e, 32, quick)
				for i := range in.Cluster.Pods {
					in.Cluster.Pods[i].Created, in.Cluster.Pods[i].Scheduled = noon.Add(-4*time.Minute), noon.Add(-4*time.Minute)
				}
			}),
		},
		{
			name: "MAX_AGENTS", house: house(team(func(t *Team) { t.MaxAgents = 3 })),
			steps: []string{"web max-agents 1→0"}, reason: blocked("at MAX_AGENTS=3 (wants 3)"),
		},
		{
			name: "BELLBOARD_MAX_AGENTS", house: house(func(in *Input) { in.MaxAgents = 3 }),
			steps: []string{"web global-max-agents 1→0"}, reason: blocked("all teams together at BELLBOARD_MAX_AGENTS=3"),
		},
		{
			name: "the cooldown", house: house(team(func(t *Team) { t.ScaleUpCooldown = time.Minute }), func(in *Input) {
				alter(&in.Memory.Pools, e, func(m *PoolMemory) { m.Up = noon.Add(-15 * time.Second) })
			}),
			steps: []string{"web scale-up-cooldown 1→0 45s left"}, reason: blocked("scale-up cooldown, 45s left"),
		},
		{
			name: "the step", house: house(team(func(t *Team) { t.ScaleUpStep = 1 }), func(in *Input) { in.wait(1, "linux", time.Minute) }),
			want: one, steps: []string{"web scale-up-step 2→1"},
		},
		{
			name: "a minimum and a spare are made up, too", want: map[string]int{"create web ephemeral minimum": 1, "create web ephemeral spare": 1, "register web ephemeral berths": 2},
			house: house(team(func(t *Team) { t.MinAgents, t.MinIdle = 3, 4 }), func(in *Input) { in.Jenkins.Items = nil }),
		},
		{name: "a person holds it", house: house(slow(person)), want: one, reason: map[string]string{"web": "demand: 3 waiting, 0 free, 2 on the way, usually 14s"}},
		{name: "it has connected after all: one more free agent", house: house(slow(func(p *Pair) { p.Pod.Connected, p.Node.Online = true, true })), reason: map[string]string{"web": "steady: 3 waiting, 1 free, 2 on the way, usually 14s"}},
	})
	plan, _, _ := Decide(house()())
	i := slices.IndexFunc(plan.Agents, func(a Agent) bool { return a.Name == "web-e-slow" })
	if a := plan.Agents[i]; !a.Overdue || a.Capacity != 0 || a.Class != Coming || a.Text != "overdue: its volumes or its network not ready since 57s" {
		t.Errorf("it is shown as %+v, want it coming, overdue, no capacity, and its phase in words", a)
	}
}

// TestOverdueShare: for every two agents that have connected, one agent may be overdue at once, but at least one.
// The agents that were made first are overdue first.
func TestOverdueShare(t *testing.T) {
	e := PoolID{"web", Ephemeral}
	// Apart from these, one agent has connected and gone.
	for have, want := range map[int]int{0: 1, 2: 1, 3: 2, 9: 5, 40: 9} {
		in := newHouse(web(func(t *Team) { t.MaxAgents = 100 }))
		in.wait(11, "linux", time.Minute)
		met := func(p *Pair) {
			p.Pod.Connected, p.Pod.Created, p.Pod.Scheduled = false, noon.Add(-14*time.Second), noon.Add(-13*time.Second)
		}
		in.agents(have, "web", Ephemeral, "b", busy, ours, met)
		in.agents(8, "web", Ephemeral, "e", offline, failed)
		for i := range 9 {
			in.agent("web", Ephemeral, fmt.Sprint("s", i), made(time.Duration(90+i)*time.Second, time.Minute))
		}
		in.agents(2, "web", Ephemeral, "w", made(59*time.Second, 0))
		in.knows(e, 8, 14*time.Second)
		in.overtakes(e, 40*time.Second, 40*time.Second, 14*time.Second)
		plan, _, _ := Decide(in)
		got := overdueIn(plan)
		if !slices.Contains(got, "web-e-waa") || slices.Contains(got, "web-e-wab") {
			t.Errorf("%v are overdue, want one of the agents that wait for a Kubernetes node", got)
		}
		got = slices.DeleteFunc(got, func(name string) bool { return name == "web-e-waa" })
		if len(got) != want || plan.Decisions[0].Overdue != want+1 || plan.Decisions[0].Coming != 10-want || plan.Decisions[0].Up[Ephemeral] != want+1 {
			t.Errorf("beside %d connected agents %v are overdue, decided %+v; want %d, and as many made", have, got, plan.Decisions[0], want)
		}
		for i, name := range got {
			if name != fmt.Sprint("web-e-s", 9-want+i) {
				t.Errorf("%v are overdue, want the agents that were made first", got)
			}
		}
	}
}

// TestOverdueWithoutMachine: several agents wait for a Kubernetes node, and agents made after them have
// connected. Each next agent is then late only after twice the time of the agent before.
func TestOverdueWithoutMachine(t *testing.T) {
	e := PoolID{"web", Ephemeral}
	for waited, want := range map[int]int{29: 0, 30: 1, 59: 1, 60: 2, 120: 3, 239: 3, 240: 4} {
		in := newHouse(web(func(t *Team) { t.MaxAgents = 100 }))
		in.wait(6, "linux", time.Minute)
		in.agents(6, "web", Ephemeral, "w", made(time.Duration(waited)*time.Second, 0))
		in.knows(e, 8, time.Second)
		in.overtakes(e, 10*time.Second, 10*time.Second, time.Second)
		plan, _, _ := Decide(in)
		if got := overdueIn(plan); len(got) != want || plan.Decisions[0].Up[Ephemeral] != want {
			t.Errorf("after %d s without a Kubernetes node %v are overdue, and %v made; want %d", waited, got, plan.Decisions[0].Up, want)
		}
	}
}

// TestOverdueShareOfThoseGone: agents that connected a short while ago count just as much after their builds are
// over.
func TestOverdueShareOfThoseGone(t *testing.T) {
	e := PoolID{"web", Ephemeral}
	in := newHouse(web())
	in.wait(9, "linux", time.Minute)
	in.agents(9, "web", Ephemeral, "s", made(299*time.Second, 299*time.Second))
	in.knows(e, 20, time.Second)
	in.overtakes(e, 300*time.Second, 250*time.Second, 60*time.Second)
	for range 5 {
		in.overtakes(e, 299*time.Second, 250*time.Second, 60*time.Second)
	}
	if plan, _, _ := Decide(in); len(overdueIn(plan)) != 2 {
		t.Errorf("after 5 that came within START_TIMEOUT overdue are %v; want two", overdueIn(plan))
	}
	in.overtakes(e, 298*time.Second, 250*time.Second, 60*time.Second)
	if plan, _, _ := Decide(in); len(overdueIn(plan)) != 3 {
		t.Errorf("after 6 that came within START_TIMEOUT overdue are %v; want three", overdueIn(plan))
	}
}

// TestOverdueAfterRestart: in its restart grace and in its first half minute, a new process calls no agent overdue.
// After that it has learnt from the agents that are connected. If it has learnt nothing, it calls no agent
// late.
func TestOverdueAfterRestart(t *testing.T) {
	house := func(others int) Input {
		in := newHouse(web(func(t *Team) { t.MaxAgents = 100 }))
		in.wait(1, "linux", time.Minute)
		in.agent("web", Ephemeral, "slow", made(200*time.Second, 199*time.Second))
		in.agents(others, "web", Ephemeral, "b", busy, ours, func(p *Pair) {
			p.Pod.Created, p.Pod.Scheduled, p.Pod.ConnectedAt = noon.Add(-100*time.Second), noon.Add(-99*time.Second), noon.Add(-86*time.Second)
		})
		in.Memory = Memory{Sees: noon.Add(-time.Minute)}
		return in
	}
	for _, tt := range []struct {
		others int
		grace  bool
		want   int
	}{{8, true, 0}, {8, false, 1}, {7, false, 0}} {
		in := house(tt.others)
		if tt.grace {
			in.GraceUntil = noon.Add(time.Minute)
		}
		fresh := in
		fresh.Memory = Memory{}
		if plan, _, _ := Decide(fresh); len(overdueIn(plan)) > 0 {
			t.Errorf("with %d others %v are overdue in the first tick", tt.others, overdueIn(plan))
		}
		plan, mem, _ := Decide(in)
		if got := overdueIn(plan); len(got) != tt.want {
			t.Errorf("with %d others, in grace: %v, overdue are %v; want %d", tt.others, tt.grace, got, tt.want)
		}
		in.Memory, in.GraceUntil = mem, time.Time{}
		if plan, _, _ = Decide(in); len(overdueIn(plan)) == 0 != (tt.others < 8) {
			t.Errorf("with %d others, out of grace: overdue are %v", tt.others, overdueIn(plan))
		}
	}
}

// TestProbesAreFew: if a pool's agents fail, and its probes hang, then the wait for each next probe doubles.
func TestProbesAreFew(t *testing.T) {
	e := PoolID{"web", Ephemeral}
	play := func(known int, took time.Duration) (at []time.Duration) {
		in := newHouse(web())
		in.wait(5, "linux", time.Minute)
		in.knows(e, known, took)
		in.backsOff(e, Backoff{Until: noon.Add(-5 * time.Second), Failure: FailureImagePull})
		for s := range 299 {
			in.Now = noon.Add(time.Duration(s) * time.Second)
			in.Jenkins.AskedAt, in.Jenkins.AnsweredAt = in.Now, in.Now
			plan, mem, _ := Decide(in)
			for range plan.Decisions[0].Up[Ephemeral] {
				at = append(at, in.Now.Sub(noon))
			}
			in = apply(in, plan, mem)
			for i := range in.Cluster.Pods {
				if p := &in.Cluster.Pods[i]; p.Requested && p.Created.Before(in.Now) {
					p.Requested, p.Scheduled = false, p.Created
				}
			}
		}
		return at
	}
	for _, tt := range []struct {
		known int
		took  time.Duration
		want  []time.Duration
	}{
		{7, 10 * time.Second, []time.Duration{0}},
		{8, 10 * time.Second, []time.Duration{0, 30 * time.Second, 90 * time.Second, 210 * time.Second}},
		{8, 40 * time.Second, []time.Duration{0, 80 * time.Second, 240 * time.Second}},
		{8, 4 * time.Minute, []time.Duration{0}},
	} {
		if got := play(tt.known, tt.took); !slices.Equal(got, tt.want) {
			t.Errorf("of %d start-ups that took %s: probes are made at %v, want %v", tt.known, tt.took, got, tt.want)
		}
	}
}

// TestOverdueChangesNothingElse: in every house, a overdue agent is in class coming, gets no action that it would
// not get anyway, and few agents are overdue.
func TestOverdueChangesNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyHouse(t)
		plan, mem, _ := Decide(in)
		late, waits := map[string]bool{}, map[PoolID]int{} // waits: agents without a Kubernetes node
		ever, have := map[PoolID]int{}, map[PoolID]int{}
		for _, a := range plan.Agents {
			if a.Overdue {
				late[a.Name] = true
				ever[a.PoolID]++
				if a.Class != Coming || a.Capacity != 0 {
					t.Fatalf("%s is overdue and %s with capacity %d, want it coming with none, in\n%s", a.Name, a.Class, a.Capacity, dump(in))
				}
			}
		}
		for i := range in.Cluster.Pods {
			p := &in.Cluster.Pods[i]
			online := slices.ContainsFunc(in.Jenkins.Nodes, func(n Node) bool { return n.Name == p.Name && n.Online })
			if (p.Connected || online) && p.Phase != PodSucceeded && p.Phase != PodFailed {
				have[p.PoolID]++
			}
			if late[p.Name] && p.Scheduled.IsZero() {
				waits[p.PoolID]++
			}
		}
		for id, n := range ever {
			gone := 0
			for _, s := range mem.Pools[id].Starts.Last {
				if in.Now.Sub(s.Created) < 5*time.Minute {
					gone++
				}
			}
			if w := waits[id]; w > 1 || n-w > max(1, max(have[id], gone)/4) {
				t.Fatalf("%d of %v are overdue, %d of them without a Kubernetes node, beside %d that have connected, in\n%s", n, id, w, have[id], dump(in))
			}
			if in.Memory.Pools[id].Starts.Usual.Count < 8 || in.Now.Before(in.GraceUntil) {
				t.Fatalf("some of %v are overdue, in grace or without anything known, in\n%s", id, dump(in))
			}
		}
		for id := range in.Memory.Pools { // if nothing is known of a pool, none of its agents is overdue
			alter(&in.Memory.Pools, id, func(m *PoolMemory) { m.Starts = Starts{} })
		}
		anyway, _, _ := Decide(in)
		for _, a := range plan.Actions {
			if late[a.Agent] && !slices.ContainsFunc(anyway.Actions, func(b Action) bool { return b.Agent == a.Agent && b.Verb == a.Verb }) {
				t.Fatalf("%s of %s, only because it is overdue, in\n%s", a.Verb, a.Agent, dump(in))
			}
		}
	})
}

// TestAllSlowOneOverdue: pods get their Kubernetes nodes in turn, and from there no agent takes twice as long to
// Jenkins as another. It does not matter how long that is, nor how fast agents were yesterday. Then one agent
// is overdue at once, and only after twice the time in which it was overdue. So one replacement is made for it,
// and none of the agents gets two.
func TestAllSlowOneOverdue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := PoolID{"web", Ephemeral}
		base := rapid.IntRange(1, 240).Draw(t, "at least")
		type start struct{ made, machine, online int }
		var all []start
		made, machine := 0, 0
		for range rapid.IntRange(1, 30).Draw(t, "agents") {
			made += rapid.SampledFrom([]int{0, 0, 0, 1, 5, 60}).Draw(t, "after")
			machine = max(machine, made) + rapid.SampledFrom([]int{0, 0, 0, 1, 200}).Draw(t, "machine after")
			all = append(all, start{made, machine, machine + base + rapid.IntRange(0, base-1).Draw(t, "more")})
		}
		var mem Memory
		for s := 0; s < 1200; s += 7 {
			at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
			in := newHouse(web(func(t *Team) { t.MaxAgents = 100 }))
			in.wait(40, "linux", time.Minute)
			in.Now = at(s)
			in.Jenkins.AskedAt, in.Jenkins.AnsweredAt = in.Now, in.Now
			for i, a := range all {
				if a.made > s {
					break
				}
				in.agent("web", Ephemeral, fmt.Sprintf("%02d", i), func(p *Pair) {
					coming(p)
					p.Pod.Created, p.Pod.Scheduled = at(a.made), time.Time{}
					if a.machine <= s {
						p.Pod.Scheduled = at(a.machine)
					}
					if a.online <= s {
						p.Node.Online, p.Node.Idle, p.Node.Busy = true, false, 1
						p.Pod.Connected = mem.agent(p.Name).Met
					}
				})
			}
			if in.Memory = mem; s == 0 {
				in.knows(id, 32, time.Second)
				in.Memory.Started = noon.Add(-time.Hour)
			}
			// A tick learns of a start-up a few seconds after it is done. So the start-up looks longer than
			// it was, like all the others.
			plan, next, _ := Decide(in)
			got := overdueIn(plan)
			if len(got) > 1 {
				t.Fatalf("after %ds %v are overdue, of %+v", s, got, all)
			}
			for i := range in.Cluster.Pods {
				if p := &in.Cluster.Pods[i]; slices.Contains(got, p.Name) && in.Now.Sub(p.waitsSince()) < 2*overdueFloor {
					t.Fatalf("after %ds %s is overdue already, of %+v", s, p.Name, all)
				}
			}
			mem = next
		}
	})
}
