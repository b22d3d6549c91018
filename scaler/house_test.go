package scaler

import (
	"cmp"
	"reflect"
	"slices"
	"time"
)

// noon is the time of every case.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// newTeam returns a team with the built-in settings: ephemeral agents are inbound, persistent agents use
// Swarm.
func newTeam(name string, mode Mode, labels []string, change ...func(*Team)) Team {
	t := Team{Name: name, Labels: labels, Mode: mode, MaxAgents: 10, MaxPersistent: 10, ScaleDownCooldown: time.Minute, WaitValue: 10, CachePrice: 0.03}
	pool := func(k Kind, c Connect, idle time.Duration) {
		all := append(slices.Clone(labels), string(k))
		if c == Swarm {
			all = append(all, "swarm")
		}
		slices.Sort(all)
		t.Pools = append(t.Pools, Pool{
			PoolID: PoolID{Team: name, Kind: k}, Connect: c, Labels: all, Berths: 2, IdleTimeout: idle, StartTimeout: 5 * time.Minute,
			Slots: k == Persistent, Namespace: "ci", SlotSize: 20, SlotKeep: 24 * time.Hour,
		})
	}
	if mode != ModePersistent {
		pool(Ephemeral, Inbound, time.Minute)
	}
	if mode != ModeEphemeral {
		pool(Persistent, Swarm, 10*time.Minute)
	}
	for _, f := range change {
		f(&t)
	}
	return t
}

// newHouse returns a quiet house with these teams. Jenkins has just answered, the grace is over, this
// Bellboard has run for a day, and every pool has its berths.
func newHouse(teams ...Team) Input {
	in := Input{
		Now: noon, MaxAgents: 100, Teams: teams,
		Jenkins: JenkinsView{Session: "s", AskedAt: noon.Add(-100 * time.Millisecond), AnsweredAt: noon},
		Cluster: ClusterView{At: noon},
		Berths:  map[string]bool{}, Secrets: map[string]bool{},
		Memory: Memory{Started: noon.Add(-24 * time.Hour), Teams: map[string]TeamMemory{}},
	}
	for i := range teams {
		in.Memory.Teams[teams[i].Name] = usedOften(40 * yes(teams[i].Mode == ModePersistent))
		for _, p := range teams[i].Pools {
			for b := range p.Berths {
				name := AgentName(p.PoolID, "berth"+string(rune('a'+b)))
				in.Berths[name] = true
				in.Jenkins.Nodes = append(in.Jenkins.Nodes, Node{Name: name, Team: p.Team, Kind: p.Kind, Labels: p.Labels, Executors: p.size(), Idle: true})
			}
		}
	}
	return in
}

// wait puts n items that want label into the queue. The first one has waited for ago, and each further one is
// a second younger.
func (in *Input) wait(n int, label string, ago time.Duration) {
	how := Labelled
	if label == "" {
		how = Unlabelled
	}
	for i := range n {
		in.Jenkins.Items = append(in.Jenkins.Items, Item{
			ID: int64(len(in.Jenkins.Items) + 1), Job: "job", Since: noon.Add(-ago + time.Duration(i)*time.Second),
			State: Buildable, Resolution: how, Label: label, Why: "Waiting for next available executor on ‘" + label + "’",
		})
	}
}

// agent adds an agent of a pool. The agent is connected and free, unless a change says otherwise.
func (in *Input) agent(team string, k Kind, random string, change ...func(*Pair)) string {
	name := AgentName(PoolID{team, k}, random)
	p := Pair{
		Name: name,
		Pod: &Pod{
			PoolID: PoolID{team, k}, Name: name, Namespace: "ci", UID: "uid-" + name, ResourceVersion: "1", Phase: PodRunning,
			Created: noon.Add(-time.Hour), Scheduled: noon.Add(-time.Hour), Connected: true, Connect: Inbound,
		},
		Node: &Node{Name: name, Team: team, Kind: k, Online: true, Executors: 1, Idle: true},
	}
	for i := range in.Teams {
		if pool := in.Teams[i].Pool(k); pool != nil && pool.Team == team {
			p.Pod.Connect, p.Node.Labels, p.Node.Executors = pool.Connect, pool.Labels, pool.size()
		}
	}
	for _, f := range change {
		f(&p)
	}
	in.Secrets[name] = true
	if p.Pod != nil {
		p.Pod.Protected = p.Pod.Protected || p.Node != nil && !p.Node.Idle // as an earlier tick has made it
		in.Cluster.Pods = append(in.Cluster.Pods, *p.Pod)
	}
	if p.Node != nil {
		in.Jenkins.Nodes = append(in.Jenkins.Nodes, *p.Node)
	}
	return name
}

// slot adds a cache slot that was last used that long ago. The slot is warm and free, unless a change says
// otherwise.
func (in *Input) slot(team, random string, ago time.Duration, change ...func(*Slot)) *Slot {
	s := Slot{
		PoolID: PoolID{team, Persistent}, Name: SlotName(team, random), Namespace: "ci", UID: "uid-" + random, ResourceVersion: "1",
		Created: noon.Add(-ago - time.Hour), LastUsed: noon.Add(-ago), Uses: 1, Size: 20, Keep: 24 * time.Hour, Bound: true,
	}
	for _, f := range change {
		f(&s)
	}
	in.Cluster.Slots = append(in.Cluster.Slots, s)
	return &in.Cluster.Slots[len(in.Cluster.Slots)-1]
}

// on: the agent works on that slot.
func on(random string) func(*Pair) {
	return func(p *Pair) { p.Pod.Slot = SlotName(p.Pod.Team, random) }
}

// agents adds n agents, like agent.
func (in *Input) agents(n int, team string, k Kind, random string, change ...func(*Pair)) {
	for i := range n {
		in.agent(team, k, random+string(rune('a'+i/26))+string(rune('a'+i%26)), change...)
	}
}

// idleFor sets how long each free agent has been free.
func (in *Input) idleFor(d time.Duration) {
	for i := range in.Jenkins.Nodes {
		amend(&in.Memory.Agents, in.Jenkins.Nodes[i].Name, func(m *AgentMemory) { m.Free = in.Now.Add(-d) })
	}
}

// wasMarked adds to the memory that earlier answers showed the mark of Bellboard or of the hook on every
// Jenkins node that has one.
func (in *Input) wasMarked() {
	for i := range in.Jenkins.Nodes {
		if n := &in.Jenkins.Nodes[i]; n.closed() {
			amend(&in.Memory.Agents, n.Name, func(m *AgentMemory) {
				m.Mark = Marking{Since: in.Jenkins.AskedAt.Add(-time.Second), By: n.OfflineBy, At: n.MarkedAt}
			})
		}
	}
}

// coming: the agent is on its way.
func coming(p *Pair) {
	p.Node.Online, p.Pod.Connected, p.Pod.Scheduled = false, false, noon.Add(-10*time.Second)
}

// alter changes one record of a memory.
func alter[K comparable, R any](in *map[K]R, k K, f func(*R)) {
	if *in == nil {
		*in = map[K]R{}
	}
	r := (*in)[k]
	f(&r)
	(*in)[k] = r
}

// amend is alter for the records of agents and items.
func amend[K comparable, R any](in *map[K]*R, k K, f func(*R)) {
	alter(in, k, func(r **R) {
		changed := *cmp.Or(*r, new(R))
		f(&changed)
		*r = &changed
	})
}

// backsOff gives a pool a back-off.
func (in *Input) backsOff(id PoolID, b Backoff) {
	alter(&in.Memory.Pools, id, func(p *PoolMemory) { p.Backoff = b })
}

// deepCopy returns a copy of v that shares nothing changeable with v.
func deepCopy[T any](v T) T { return copyOf(reflect.ValueOf(v)).Interface().(T) }

func copyOf(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() { // values of all other kinds contain no references
	case reflect.Map:
		if v.IsNil() {
			return out
		}
		out = reflect.MakeMapWithSize(v.Type(), v.Len())
		for _, k := range v.MapKeys() {
			out.SetMapIndex(k, copyOf(v.MapIndex(k)))
		}
	case reflect.Slice:
		if v.IsNil() {
			return out
		}
		out = reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(copyOf(v.Index(i)))
		}
	case reflect.Pointer:
		if v.IsNil() {
			return out
		}
		out = reflect.New(v.Type().Elem())
		out.Elem().Set(copyOf(v.Elem()))
	case reflect.Struct:
		out.Set(v) // the unexported fields of a time.Time are plain values
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(copyOf(v.Field(i)))
			}
		}
	default:
		out.Set(v)
	}
	return out
}
