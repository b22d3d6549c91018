package scaler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestStartup: the phases add up to the whole start, and no phase is guessed.
func TestStartup(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	took := func(p Phase, s int) PhaseTime { return PhaseTime{p, time.Duration(s) * time.Second} }
	for _, tt := range []struct {
		name string
		pod  Pod
		want []PhaseTime
	}{
		{
			"without Docker",
			Pod{Scheduled: at(1), Mounted: at(3), Ready: at(10)},
			[]PhaseTime{took(PhaseSchedule, 1), took(PhaseMount, 2), took(PhasePull, 7), took(PhaseConnect, 10)},
		},
		{
			"with Docker",
			Pod{Scheduled: at(1), Mounted: at(3), DockerUp: at(8), DockerReady: at(12), Ready: at(15)},
			[]PhaseTime{took(PhaseSchedule, 1), took(PhaseMount, 2), took(PhasePull, 5), took(PhaseDocker, 4), took(PhaseAgent, 3), took(PhaseConnect, 5)},
		},
		{
			"a cluster that does not tell of volumes",
			Pod{Scheduled: at(1), Ready: at(10)},
			[]PhaseTime{took(PhaseSchedule, 1), took(PhasePull, 9), took(PhaseConnect, 10)},
		},
		{
			"times of different clocks",
			Pod{Scheduled: at(3), Mounted: at(2), Ready: at(10)},
			[]PhaseTime{took(PhaseSchedule, 3), took(PhaseMount, 0), took(PhasePull, 7), took(PhaseConnect, 10)},
		},
		{"its container not seen to run", Pod{Scheduled: at(1), Mounted: at(3)}, nil},
	} {
		tt.pod.Created = noon
		want := Startup{Took: 20 * time.Second, Phases: tt.want, Created: noon, Scheduled: tt.pod.Scheduled}
		if diff := cmp.Diff(want, startup(&tt.pod, at(20))); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		sum := time.Duration(0)
		for _, p := range tt.want {
			sum += p.Took
		}
		if tt.want != nil && sum != want.Took {
			t.Errorf("%s: the phases are %s, the whole is %s", tt.name, sum, want.Took)
		}
	}
}

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		all  []time.Duration
		q    float64
		want time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{7}, 0.5, 7},
		{[]time.Duration{3, 1, 2}, 0.5, 2},
		{[]time.Duration{4, 3, 1, 2}, 0.5, 2},
		{[]time.Duration{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 0.9, 9},
		{[]time.Duration{1, 2}, 0, 1},
		{[]time.Duration{1, 2}, 1, 2},
	} {
		if got := Quantile(tt.all, tt.q); got != tt.want {
			t.Errorf("Quantile(%v, %v) = %v, want %v", tt.all, tt.q, got, tt.want)
		}
	}
}

// TestStartsAreLearnt: a process learns starts from the agents that are there when it begins, then from
// agents that connect. It forgets the oldest starts, and a pool that is gone.
func TestStartsAreLearnt(t *testing.T) {
	web1 := PoolID{"web", Ephemeral}
	in := newHouse(web())
	in.Memory = Memory{}
	for i, s := range []int{10, 12, 14, 16, 40} {
		in.agent("web", Ephemeral, string(rune('a'+i)), func(p *Pair) {
			p.Pod.Created, p.Pod.ConnectedAt = noon.Add(-time.Hour), noon.Add(-time.Hour+time.Duration(s)*time.Second)
		})
	}
	in.agent("web", Ephemeral, "old", func(p *Pair) { p.Pod.ConnectedAt = time.Time{} })
	in.wait(9, "linux", time.Second)
	plan, mem, _ := Decide(in)
	if got := plan.Decisions[0].Usual; len(got) != 1 || got[0].Count != 5 || got[0].Half != 14*time.Second || got[0].Most != 40*time.Second {
		t.Errorf("at the start its agents usually take %+v, want 14s of five, at most 40s", got)
	}
	if got, want := plan.Decisions[0].Text, "9 waiting, 6 free, 0 on the way, usually 14s"; got != want {
		t.Errorf("the decision says %q, want %q", got, want)
	}
	// A second tick adds nothing from the same pods.
	in.Memory = mem
	if _, again, _ := Decide(in); len(again.Pools[web1].Starts.Last) != 5 {
		t.Errorf("a second tick knows %d start-ups, want the same five", len(again.Pools[web1].Starts.Last))
	}
	for i := range 40 {
		in := newHouse(web())
		in.Memory = mem
		in.agent("web", Ephemeral, "n"+string(rune('a'+i)), unmet, func(p *Pair) { p.Pod.Created = noon.Add(-30 * time.Second) })
		_, mem, _ = Decide(in)
	}
	if s := mem.Pools[web1].Starts; len(s.Last) != startsKept || s.Usual.Count != startsKept || s.Usual.Half != 30*time.Second || s.Usual.Most != 30*time.Second {
		t.Errorf("after 45 start-ups %d are kept, usually %+v; want %d, all of 30s", len(s.Last), s.Usual, startsKept)
	}
	quiet := newHouse(web())
	quiet.Memory = mem
	if plan, _, _ := Decide(quiet); plan.Decisions[0].Text != "no build waits" {
		t.Errorf("with nothing on the way the decision says %q", plan.Decisions[0].Text)
	}
	other := newHouse(pets())
	other.Memory = mem
	if _, mem, _ = Decide(other); len(mem.Pools[web1].Starts.Last) != 0 {
		t.Errorf("a pool that is gone is remembered: %v", mem.Pools)
	}
}

func TestUsualInWords(t *testing.T) {
	u := usual([]Startup{
		{PoolID: PoolID{"web", Ephemeral}, Took: 14 * time.Second, Phases: []PhaseTime{{PhasePull, 9 * time.Second}, {PhaseConnect, 3 * time.Second}}},
		{PoolID: PoolID{"web", Ephemeral}, Took: 20 * time.Second, Phases: []PhaseTime{{PhasePull, 12 * time.Second}}},
	})
	if got, want := u.Words(), "14s (9 in 10 within 20s, the longest part pull with 9s)"; got != want {
		t.Errorf("Words() = %q, want %q", got, want)
	}
	if got, want := (Usual{Half: 2 * time.Second, Most: time.Minute}).Words(), "2s (9 in 10 within 1m)"; got != want {
		t.Errorf("Words() = %q, want %q", got, want)
	}
}

// TestAgentsForPeople: the plan says of each agent when its pod was made, at which step of its start it is
// until it has connected, and which build it runs.
func TestAgentsForPeople(t *testing.T) {
	in := newHouse(newTeam("a", ModeEphemeral, []string{"linux"}))
	in.agent("a", Ephemeral, "comes", coming, func(p *Pair) {
		p.Pod.Created, p.Pod.Scheduled, p.Pod.Mounted = noon.Add(-time.Minute), noon.Add(-50*time.Second), noon.Add(-40*time.Second)
	})
	in.agent("a", Ephemeral, "works", busy, func(p *Pair) {
		p.Pod.Created, p.Node.Build = noon.Add(-time.Hour), "http://jenkins/job/web/12/"
	})
	plan, _, _ := Decide(in)
	seen := map[string]Agent{}
	for _, a := range plan.Agents {
		seen[a.Name] = Agent{Created: a.Created, Phase: a.Phase, Build: a.Build}
	}
	for name, want := range map[string]Agent{
		"a-e-comes": {Created: noon.Add(-time.Minute), Phase: PhasePull},
		"a-e-works": {Created: noon.Add(-time.Hour), Build: "http://jenkins/job/web/12/"},
	} {
		if seen[name] != want {
			t.Errorf("%s: %+v, want %+v", name, seen[name], want)
		}
	}
}
