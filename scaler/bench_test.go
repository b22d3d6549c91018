package scaler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// bigHouse returns a large installation in the middle of a working day. Every team has both kinds, a tenth of
// the agents is free, and the queue is long. The items use that many different expressions.
func bigHouse(items, teams, agents, expressions int) Input {
	r := rand.New(rand.NewPCG(1, 2))
	in := Input{
		Now: noon, MaxAgents: 2 * agents, Berths: map[string]bool{}, Secrets: map[string]bool{},
		Jenkins: JenkinsView{Session: "s", AskedAt: noon.Add(-100 * time.Millisecond), AnsweredAt: noon},
		Cluster: ClusterView{At: noon},
		Memory:  Memory{Started: noon.Add(-time.Hour), Teams: map[string]TeamMemory{}},
	}
	for i := range teams {
		name := fmt.Sprintf("team%02d", i)
		labels := []string{"linux", fmt.Sprintf("l%02d", i), fmt.Sprintf("size%d", i%4)}
		if i%3 == 0 {
			labels = append(labels, "docker")
		}
		in.Teams = append(in.Teams, newTeam(name, ModeAuto, labels, func(t *Team) { t.MaxAgents, t.MaxPersistent = 2*agents/teams, agents/teams }))
		in.Memory.Teams[name] = usedOften(agents / teams / 2)
	}
	for i := range agents {
		t := &in.Teams[i%teams]
		p := t.Pool(Kinds()[i/teams%2])
		name := fmt.Sprintf("%s-%s-%010d", t.Name, string(p.Kind)[:1], i)
		busy := i%10 != 0
		in.Cluster.Pods = append(in.Cluster.Pods, Pod{
			PoolID: p.PoolID, Name: name, Namespace: "ci", UID: name, Phase: PodRunning, Created: noon.Add(-time.Hour),
			Scheduled: noon.Add(-time.Hour), Connected: true, Connect: p.Connect,
		})
		n := Node{Name: name, Team: t.Name, Kind: p.Kind, Labels: p.Labels, Online: true, Executors: 1, Idle: !busy}
		if busy {
			n.Busy = 1
			if p.Kind == Ephemeral {
				n.OfflineBy, n.Offline = Ours, MarkText("bellboard", ReasonOneBuild)
			}
		}
		in.Jenkins.Nodes = append(in.Jenkins.Nodes, n)
	}
	for i := range 50 {
		in.Jenkins.Nodes = append(in.Jenkins.Nodes, Node{Name: fmt.Sprintf("static%d", i), Labels: []string{"big", "linux"}, Online: true, Executors: 4, Busy: i % 5, Idle: i%5 == 0})
	}
	texts := make([]string, 0, expressions)
	for i := range expressions {
		team, form := i%teams, i/teams
		texts = append(texts, fmt.Sprintf([]string{"l%02d", "linux&&l%02d", "l%02d&&persistent", "(l%02d||docker)&&linux", "!windows&&l%02d", "linux&&l%02d&&v%d"}[min(form, 5)], append([]any{team}, formArgs(form)...)...))
	}
	for i := range items {
		in.Jenkins.Items = append(in.Jenkins.Items, Item{
			ID: int64(i), Job: fmt.Sprintf("job%d", i%300), Since: noon.Add(-time.Duration(r.IntN(600)) * time.Second),
			State: Buildable, Resolution: Labelled, Label: texts[r.IntN(len(texts))], Why: "Waiting for next available executor",
		})
	}
	return in
}

func formArgs(form int) []any {
	if form < 5 {
		return nil
	}
	return []any{form}
}

// BenchmarkDecide measures one whole decision, which must stay under 20 ms on one core: the first one, in which
// every team's demand rises from zero, and the next one.
func BenchmarkDecide(b *testing.B) {
	for _, expressions := range []int{150, 1000} {
		in := bigHouse(10_000, 50, 5_000, expressions)
		b.Run(fmt.Sprintf("items=10000/teams=50/agents=5000/expressions=%d", expressions), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Decide(in)
			}
		})
		_, in.Memory, _ = Decide(in)
		b.Run(fmt.Sprintf("again/expressions=%d", expressions), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Decide(in)
			}
		})
	}
}

// BenchmarkValidate measures the check of such a plan.
func BenchmarkValidate(b *testing.B) {
	in := bigHouse(10_000, 50, 5_000, 150)
	p, _, _ := Decide(in)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Validate(in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMatch measures the matching alone.
func BenchmarkMatch(b *testing.B) {
	for _, expressions := range []int{150, 1000} {
		in := bigHouse(10_000, 50, 5_000, expressions)
		d := decider{scene: see(in), left: map[*agent]bool{}}
		demands := demandsOf(in.Jenkins.Items, false, func(string) bool { return false })
		d.demands = demands
		supplies := d.suppliesOf()
		b.Run(fmt.Sprintf("expressions=%d", expressions), func(b *testing.B) {
			b.ReportAllocs()
			free := make([]int, len(supplies))
			for i, s := range supplies {
				free[i] = s.free
			}
			for b.Loop() {
				for i, s := range supplies {
					s.free = free[i]
				}
				match(demands, supplies)
			}
		})
	}
}

// TestBigHouse: the plan of the benchmark passes Validate.
func TestBigHouse(t *testing.T) {
	in := bigHouse(1_000, 10, 500, 150)
	p, _, _ := Decide(in)
	if err := p.Validate(in); err != nil {
		t.Errorf("Validate(plan of the big house) = %v, want nil", err)
	}
	if !slices.ContainsFunc(p.Actions, func(a Action) bool { return a.Verb == Create }) {
		t.Error("Decide(big house) creates nothing, want agents for a queue of 1000")
	}
}
