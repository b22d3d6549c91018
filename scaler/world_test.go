package scaler

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// tags are the labels of random teams, Jenkins nodes and items.
var tags = []string{"docker", "gpu", "linux"}

// expressions are the labels that random items ask for.
var expressions = []string{
	"linux", "docker", "gpu", "gpu&&linux", "docker||gpu", "!gpu&&linux", "linux&&persistent", "ephemeral", "swarm", "static1", "windows", "(docker||gpu)&&linux",
}

// anyTeams draws up to four teams with settings that config would accept.
func anyTeams(t *rapid.T) []Team {
	var out []Team
	used := map[string]bool{}
	for i := range rapid.IntRange(1, 4).Draw(t, "teams") {
		var labels []string
		for _, tag := range tags {
			if rapid.Bool().Draw(t, tag) {
				labels = append(labels, tag)
			}
		}
		if key := fmt.Sprint(labels); used[key] || len(labels) == 0 {
			labels = append(labels, fmt.Sprintf("own%d", i))
		} else {
			used[key] = true
		}
		mode := rapid.SampledFrom([]Mode{ModeEphemeral, ModePersistent, ModeAuto}).Draw(t, "mode")
		out = append(out, newTeam(fmt.Sprintf("t%d", i), mode, labels, func(tm *Team) {
			tm.MaxAgents = rapid.IntRange(0, 8).Draw(t, "max")
			tm.MaxPersistent = rapid.IntRange(0, tm.MaxAgents).Draw(t, "max persistent")
			tm.MinAgents = rapid.IntRange(0, 3).Draw(t, "min")
			tm.MinIdle = rapid.IntRange(0, 2).Draw(t, "spare")
			tm.ScaleUpStep = rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "step")
			tm.ScaleUpCooldown = rapid.SampledFrom([]time.Duration{0, 0, time.Minute}).Draw(t, "up")
			tm.ScaleDownCooldown = rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "down")
			tm.Priority = rapid.IntRange(0, 1).Draw(t, "priority")
			tm.Paused = rapid.IntRange(0, 7).Draw(t, "paused") == 0
			for j := range tm.Pools {
				tm.Pools[j].Berths = rapid.IntRange(0, 3).Draw(t, "berths")
				if rapid.Bool().Draw(t, "policy") {
					tm.Pools[j].IdleTimeout = 0
				}
				tm.Pools[j].Called = tm.Pools[j].Connect == Inbound && rapid.Bool().Draw(t, "called")
				if tm.Pools[j].Kind == Persistent {
					tm.Pools[j].Executors = rapid.SampledFrom([]int{0, 0, 2, 4}).Draw(t, "executors")
				}
			}
		}))
	}
	return out
}

// anyHouse draws a whole input: what Jenkins and Kubernetes might show together, and what earlier ticks might
// have left in the memory.
func anyHouse(t *rapid.T) Input {
	teams := anyTeams(t)
	in := newHouse(teams...)
	in.MaxAgents = rapid.IntRange(0, 20).Draw(t, "global max")
	in.Memory = Memory{
		Started: noon.Add(-rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour}).Draw(t, "started")),
		Agents:  map[string]*AgentMemory{}, Pools: map[PoolID]PoolMemory{}, Teams: map[string]TeamMemory{}, Slots: map[SlotKey]SlotMemory{},
		Items: map[int64]*ItemMemory{99: {Waiting: Waiting{Team: "t0", Job: "app", Since: noon.Add(-time.Minute)}}},
	}
	if rapid.IntRange(0, 5).Draw(t, "grace") == 0 {
		in.GraceUntil = noon.Add(time.Minute)
	}
	in.Jenkins.Hook = rapid.Bool().Draw(t, "hook")
	in.Jenkins.QuietingDown = rapid.IntRange(0, 9).Draw(t, "quieting down") == 0
	names := anyAgents(t, &in)
	anySlots(t, &in)
	for i := range rapid.IntRange(0, 3).Draw(t, "static nodes") {
		n := Node{Name: fmt.Sprintf("static%d", i), Labels: []string{"linux"}, Online: rapid.Bool().Draw(t, "static online"), Executors: 2, Busy: i, Idle: i == 0}
		in.Jenkins.Nodes = append(in.Jenkins.Nodes, n)
	}
	anyItems(t, &in, names)
	for i := range teams {
		for _, p := range teams[i].Pools {
			if rapid.IntRange(0, 6).Draw(t, "backs off") == 0 {
				in.backsOff(p.PoolID, Backoff{
					Until:   noon.Add(rapid.SampledFrom([]time.Duration{10 * time.Second, 0, -time.Minute}).Draw(t, "until")),
					Failure: rapid.SampledFrom([]Failure{"", FailureQuota, FailureOOM}).Draw(t, "failure"),
					Came:    rapid.Bool().Draw(t, "came"),
					Before:  map[string]bool{rapid.SampledFrom(append(names, "")).Draw(t, "before"): true},
				})
			}
			ago := rapid.SampledFrom([]time.Duration{0, 10 * time.Second, time.Hour}).Draw(t, "last event")
			if ago > 0 {
				alter(&in.Memory.Pools, p.PoolID, func(m *PoolMemory) { m.Up, m.Down = noon.Add(-ago), noon.Add(-ago) })
			}
		}
		in.Memory.Teams[teams[i].Name] = anyTeamMemory(t)
	}
	anyRefusals(t, &in, names)
	anyStarts(t, &in)
	return in
}

// anyTeamMemory draws what is known of a team: nothing, or levels of any use.
func anyTeamMemory(t *rapid.T) TeamMemory {
	out := TeamMemory{Made: rapid.IntRange(0, 300).Draw(t, "made"), Demand: rapid.IntRange(0, 6).Draw(t, "demand before"), Start: time.Minute, Lead: time.Minute}
	out.Ledger.Balance = -rapid.SampledFrom([]time.Duration{0, time.Hour, 1000 * time.Hour}).Draw(t, "debt")
	for range rapid.IntRange(0, 6).Draw(t, "levels") {
		l := Level{Since: noon.Add(-time.Duration(rapid.IntRange(0, 7200).Draw(t, "unused for")) * time.Second)}
		l.Began = l.Since.Add(-time.Duration(rapid.IntRange(0, 600).Draw(t, "used for")) * time.Second)
		for range rapid.IntRange(0, 10).Draw(t, "gaps") {
			gap := float64(rapid.IntRange(10, 7200).Draw(t, "gap"))
			l.Gaps, l.Every = l.Gaps.with(gap), l.Every.with(gap+300)
		}
		if l.Ahead = startsAhead(l.Every, time.Minute, 10); rapid.Bool().Draw(t, "due now") {
			l.Ahead = []float32{float32(noon.Sub(l.Began).Seconds())}
		}
		out.Levels = append(out.Levels, l)
	}
	for range rapid.IntRange(0, 20).Draw(t, "pairs") {
		out.Gain.Ratios = out.Gain.Ratios.with(rapid.Float64Range(-1, 1).Draw(t, "ratio"))
	}
	return out
}

// anyRefusals draws refusals: items that Jenkins gave to no agent.
func anyRefusals(t *rapid.T, in *Input, names []string) {
	in.Memory.Vetoes = map[string]Veto{}
	for _, it := range in.Jenkins.Items {
		if rapid.Bool().Draw(t, "seen") {
			amend(&in.Memory.Items, it.ID, func(m *ItemMemory) {
				m.Seen = Sighting{key(it), noon.Add(-time.Minute), rapid.Bool().Draw(t, "refused")}
			})
		}
	}
	for _, text := range slices.Concat(expressions, inferredWishes) {
		if len(names) == 0 || rapid.IntRange(0, 5).Draw(t, "refused") > 0 {
			continue
		}
		in.Memory.Vetoes[text] = Veto{
			Stage:  rapid.SampledFrom([]VetoStage{VetoTrial, VetoPause, VetoServed, VetoOver}).Draw(t, "stage"),
			Since:  noon.Add(-rapid.SampledFrom([]time.Duration{0, time.Minute, VetoKept}).Draw(t, "refused for")),
			Pause:  rapid.SampledFrom([]time.Duration{VetoProbe, VetoKept, VetoMost}).Draw(t, "pause"),
			Agents: map[string]bool{rapid.SampledFrom(names).Draw(t, "refused agent"): true},
			Left:   rapid.IntRange(0, looksAtLeft).Draw(t, "left"),
		}
	}
}

// inferredWishes are the keys of some demands whose label is inferred.
var inferredWishes = []string{inferredKey + "linux", inferredKey + "docker||gpu"}

// key returns the key of the demand that the item belongs to.
func key(it Item) string { return demandKey(&it) }

// anyStarts draws how long agents took to start: long ago, and a minute ago.
func anyStarts(t *rapid.T, in *Input) {
	for i := range in.Teams {
		for _, p := range in.Teams[i].Pools {
			var all []Startup
			for range rapid.SampledFrom([]int{0, 7, 32}).Draw(t, "starts") {
				all = append(all, came(p.PoolID, rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second}).Draw(t, "took")))
			}
			if rapid.IntRange(0, 3).Draw(t, "overtaken") > 0 {
				at := noon.Add(-time.Minute)
				all = append(all, Startup{PoolID: p.PoolID, Took: 10 * time.Second, Created: at, Scheduled: at})
			}
			if len(all) > 0 {
				alter(&in.Memory.Pools, p.PoolID, func(m *PoolMemory) { m.Starts = Starts{}.with(all...) })
			}
		}
	}
}

// anyAgents draws pods and Jenkins nodes of the teams, and of a team that is gone. It returns their names.
func anyAgents(t *rapid.T, in *Input) []string {
	var names []string
	pools := []PoolID{{"gone", Ephemeral}, {"t0", Persistent}}
	for i := range in.Teams {
		for _, p := range in.Teams[i].Pools {
			pools = append(pools, p.PoolID)
		}
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "agents") {
		id := rapid.SampledFrom(pools).Draw(t, "pool")
		usual := rapid.SampledFrom([][]func(*Pair){nil, {busy}, {coming}, {made(2*time.Minute, 0)}, {made(2*time.Minute, time.Minute)}, {ours}, {busy, ours}, {noPod, offline}}).Draw(t, "usual")
		name := in.agent(id.Team, id.Kind, fmt.Sprintf("x%d", i), append(slices.Clone(usual), func(p *Pair) {
			if rapid.Bool().Draw(t, "odd") {
				odd := anyPair(t)
				odd.alter(p)
				if p.Pod == nil && p.Node == nil {
					noNode(p)
					p.Pod = &Pod{PoolID: id, Name: p.Name, UID: "u", Phase: PodRunning, Connect: Swarm}
				}
			}
			if p.Pod != nil && rapid.Bool().Draw(t, "runs") {
				p.Pod.Ready = noon
			}
			if p.Pod != nil && p.Node != nil && rapid.IntRange(0, 8).Draw(t, "described anew") == 0 {
				p.Node.Team, p.Node.Kind, p.Node.Fence = "", "", false
			}
		})...)
		names = append(names, name)
		ago := func(what string) (time.Time, bool) {
			d := rapid.SampledFrom([]time.Duration{-1, 0, time.Minute, time.Hour}).Draw(t, what)
			return in.Jenkins.AskedAt.Add(-d), d >= 0
		}
		var known AgentMemory
		for _, since := range []*time.Time{&known.Gone, &known.Away, &known.Lost, &known.Failing, &known.Free, &known.Open, &known.Called} {
			if at, ok := ago("since"); ok {
				*since = at
			}
		}
		if at, ok := ago("marked"); ok {
			known.Mark = Marking{
				Since: at, By: rapid.SampledFrom([]OfflineBy{Ours, Hook}).Draw(t, "marked by"), At: anyMarkTime(t), Rested: rapid.Bool().Draw(t, "rested"),
			}
		}
		if rapid.Bool().Draw(t, "worked") {
			known.Work = Work{
				Pool: id, On: rapid.Bool().Draw(t, "works"), Builds: 1, Resumed: rapid.SampledFrom([]string{"", "s", "before"}).Draw(t, "resumed"),
			}
		}
		in.Memory.Agents[name] = &known
		if rapid.IntRange(0, 4).Draw(t, "secret unknown") == 0 {
			delete(in.Secrets, name)
		}
		if rapid.IntRange(0, 6).Draw(t, "berth") == 0 {
			in.Berths[name] = true
		}
	}
	return names
}

// anySlots draws cache slots of the teams, and of a team that is gone. Pods name some of them.
func anySlots(t *rapid.T, in *Input) {
	for i := range rapid.IntRange(0, 12).Draw(t, "slots") {
		team := rapid.SampledFrom([]string{"t0", "t0", "t1", "gone"}).Draw(t, "slot's team")
		ago := rapid.SampledFrom([]time.Duration{time.Minute, time.Hour, 25 * time.Hour}).Draw(t, "last used")
		s := in.slot(team, fmt.Sprintf("s%d", i), ago, func(s *Slot) {
			s.Bound, s.Deleting = rapid.IntRange(0, 3).Draw(t, "bound") > 0, rapid.IntRange(0, 5).Draw(t, "goes") == 0
			s.Size = rapid.SampledFrom([]int64{20, 20, 10}).Draw(t, "size")
			s.Namespace = rapid.SampledFrom([]string{"ci", "ci", "other"}).Draw(t, "namespace")
		})
		var known SlotMemory
		for _, at := range []*time.Time{&known.Aside, &known.Used} {
			if rapid.IntRange(0, 4).Draw(t, "remembered") == 0 {
				*at = noon.Add(time.Minute)
			}
		}
		in.Memory.Slots[s.Key()] = known
		if len(in.Cluster.Pods) > 0 && rapid.Bool().Draw(t, "named") {
			p := &in.Cluster.Pods[rapid.IntRange(0, len(in.Cluster.Pods)-1).Draw(t, "by")]
			p.Slot, p.Namespace, p.VolumeTrouble = s.Name, s.Namespace, rapid.Bool().Draw(t, "volume")
		}
	}
}

// alter copies the state of p to q, and keeps the name and the pool of q.
func (p *Pair) alter(q *Pair) {
	if p.Pod == nil {
		q.Pod = nil
	} else if q.Pod != nil {
		id, name, uid, connect := q.Pod.PoolID, q.Pod.Name, q.Pod.UID, q.Pod.Connect
		*q.Pod = *p.Pod
		q.Pod.PoolID, q.Pod.Name, q.Pod.UID, q.Pod.Connect = id, name, uid, connect
	}
	if p.Node == nil {
		if q.Pod != nil {
			q.Node = nil
		}
	} else if q.Node != nil {
		old := *q.Node
		*q.Node = *p.Node
		q.Node.Name, q.Node.Team, q.Node.Kind, q.Node.Labels = old.Name, old.Team, old.Kind, old.Labels
	}
}

// anyItems draws a queue. Some items name an agent or a berth.
func anyItems(t *rapid.T, in *Input, names []string) {
	for name := range in.Berths {
		names = append(names, name)
	}
	slices.Sort(names)
	for i := range rapid.IntRange(0, 12).Draw(t, "items") {
		it := Item{
			ID: int64(i), Job: "job", Since: noon.Add(-time.Duration(rapid.IntRange(0, 5).Draw(t, "since")) * time.Minute),
			State: Buildable, Resolution: Labelled, Label: rapid.SampledFrom(expressions).Draw(t, "expression"),
		}
		switch rapid.IntRange(0, 11).Draw(t, "what") {
		case 0:
			it.State = rapid.SampledFrom([]ItemState{Quiet, Blocked, Pending, Flyweight}).Draw(t, "state")
		case 1:
			it.Resolution, it.Label = rapid.SampledFrom([]Resolution{Unresolved, Unlabelled}).Draw(t, "resolution"), ""
		case 2:
			if len(names) > 0 {
				it.Label = rapid.SampledFrom(names).Draw(t, "named")
			}
		case 3:
			if rapid.IntRange(0, 9).Draw(t, "shuts down") == 0 {
				it.State, it.Resolution, it.Label = ShuttingDown, Unresolved, ""
			}
		case 4:
			it.Resolution = Inferred
		}
		in.Jenkins.Items = append(in.Jenkins.Items, it)
	}
}

// shuffled returns the same input with everything in another order.
func shuffled(in Input, r *rand.Rand) Input {
	in.Jenkins.Nodes, in.Jenkins.Items = slices.Clone(in.Jenkins.Nodes), slices.Clone(in.Jenkins.Items)
	in.Cluster.Pods, in.Cluster.Slots = slices.Clone(in.Cluster.Pods), slices.Clone(in.Cluster.Slots)
	r.Shuffle(len(in.Cluster.Slots), func(i, j int) {
		in.Cluster.Slots[i], in.Cluster.Slots[j] = in.Cluster.Slots[j], in.Cluster.Slots[i]
	})
	r.Shuffle(len(in.Jenkins.Nodes), func(i, j int) { in.Jenkins.Nodes[i], in.Jenkins.Nodes[j] = in.Jenkins.Nodes[j], in.Jenkins.Nodes[i] })
	r.Shuffle(len(in.Jenkins.Items), func(i, j int) { in.Jenkins.Items[i], in.Jenkins.Items[j] = in.Jenkins.Items[j], in.Jenkins.Items[i] })
	r.Shuffle(len(in.Cluster.Pods), func(i, j int) { in.Cluster.Pods[i], in.Cluster.Pods[j] = in.Cluster.Pods[j], in.Cluster.Pods[i] })
	return in
}

// apply returns the input after a plan was carried out, as the next answers show it. A pod that the plan
// creates or deletes is still on its way.
func apply(in Input, p Plan, mem Memory) Input {
	in.Jenkins.Nodes, in.Cluster.Pods, in.Cluster.Slots = slices.Clone(in.Jenkins.Nodes), slices.Clone(in.Cluster.Pods), slices.Clone(in.Cluster.Slots)
	in.Berths, in.Secrets, in.Memory = maps.Clone(in.Berths), maps.Clone(in.Secrets), mem
	node := func(name string) *Node {
		i := slices.IndexFunc(in.Jenkins.Nodes, func(n Node) bool { return n.Name == name })
		if i < 0 {
			return nil
		}
		return &in.Jenkins.Nodes[i]
	}
	pod := func(name string) *Pod {
		return &in.Cluster.Pods[slices.IndexFunc(in.Cluster.Pods, func(p Pod) bool { return p.Name == name })]
	}
	drop := func(name string) {
		in.Jenkins.Nodes = slices.DeleteFunc(in.Jenkins.Nodes, func(n Node) bool { return n.Name == name })
	}
	for i := range p.Actions {
		a := &p.Actions[i]
		pool := poolOf(&in, a.Pool)
		name := a.Agent
		if name == "" {
			name = AgentName(a.Pool, fmt.Sprintf("n%d-%d", len(in.Jenkins.Nodes), len(in.Cluster.Pods)))
		}
		register := func() {
			in.Jenkins.Nodes = append(in.Jenkins.Nodes, Node{Name: name, Team: a.Pool.Team, Kind: a.Pool.Kind, Labels: pool.Labels, Executors: pool.size(), Idle: true})
		}
		switch a.Verb {
		case Register:
			register()
			in.Berths[name] = true
		case Create:
			if a.Agent == "" && pool.Connect == Inbound {
				register()
			}
			delete(in.Berths, name)
			in.Secrets[name] = true
			made := Pod{PoolID: a.Pool, Name: name, UID: "uid-" + name, Phase: PodPending, Created: in.Now, Requested: true, Connect: pool.Connect, Namespace: pool.Namespace, Protected: !a.Spare}
			if a.Slot != nil {
				made.Slot = a.Slot.Name
			}
			in.Cluster.Pods = append(in.Cluster.Pods, made)
		case PutSecret:
			in.Secrets[name] = true
		case Launch: // later answers show how the call ends
		case Annotate:
			pod(name).Connected = true
		case Protect, Unprotect:
			pod(name).Protected = a.Verb == Protect
		case Mark:
			node(name).OfflineBy = Ours
		case ClearMark:
			node(name).OfflineBy = NotMarked
		case Fence:
			in.Jenkins.Nodes = append(in.Jenkins.Nodes, Node{Name: name, Team: a.Pool.Team, Kind: a.Pool.Kind, Fence: true, Executors: 1, Idle: true})
		case DeletePod:
			pod(name).Deleting, pod(name).DeletingByUs = true, true
		case DeleteNode:
			drop(name)
		case DeleteSlot:
			at := slices.IndexFunc(in.Cluster.Slots, func(s Slot) bool { return s.UID == a.Slot.UID })
			in.Cluster.Slots[at].Deleting = true
		}
	}
	in.Jenkins.AskedAt = in.Jenkins.AnsweredAt
	return in
}

func poolOf(in *Input, id PoolID) *Pool {
	for i := range in.Teams {
		if in.Teams[i].Name == id.Team {
			return in.Teams[i].Pool(id.Kind)
		}
	}
	return nil
}
