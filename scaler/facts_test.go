package scaler

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// seenAs is one set of answers about one agent. nil: the agent is not there at all.
type seenAs = []func(*Pair)

// TestBuildFacts follows one ephemeral agent through several answers, and counts its lost builds and its
// second builds.
func TestBuildFacts(t *testing.T) {
	const vanished = "its pod vanished: deleted by force, or with its Kubernetes node"
	gone := seenAs(nil)
	evicted := func(p *Pair) { failed(p); p.Pod.Trouble, p.Pod.TroubleText = "Evicted", "its machine is full" }
	taken := func(p *Pair) {
		p.Pod.Deleting, p.Pod.Trouble, p.Pod.TroubleText = true, "DeletionByTaintManager", "its machine is gone"
	}
	deleted := func(p *Pair) { p.Pod.Deleting = true }
	announced := func(p *Pair) { p.Pod.Disrupted = true }
	tests := []struct {
		name         string
		ticks        []seenAs
		named        map[int]bool // in these ticks an item names the agent
		lost, second int
		why          string
	}{
		{name: "one build and gone", ticks: []seenAs{{idle}, {busy}, {busy, ours}, {ours}, {ours, deletingByUs, offline}, gone}},
		{name: "a second build slips in", ticks: []seenAs{{idle}, {busy}, {idle}, {busy}, {busy, ours}}, second: 1},
		{name: "a build that resumes is the same build", ticks: []seenAs{{busy, ours}, {offline, ours}, {offline, ours}, {idle}, {busy}}, named: map[int]bool{2: true, 3: true}},
		{name: "a short cut", ticks: []seenAs{{busy, ours}, {busy, offline, ours}, {busy, ours}, {ours}, gone}},
		{name: "its pod fails during its build, Jenkins knows", ticks: []seenAs{{busy, ours}, {offline, ours, evicted}, {offline, ours, evicted}, gone}, lost: 1, why: "its pod ended: Evicted: its machine is full"},
		{name: "its pod fails during its build, Jenkins does not know yet", ticks: []seenAs{{busy, ours}, {busy, ours, evicted}, {offline, ours, evicted}, gone}, lost: 1, why: "its pod ended: Evicted: its machine is full"},
		{name: "its pod vanishes, Jenkins waits for it", ticks: []seenAs{{busy, ours}, {busy, ours, offline, noPod}, {busy, ours, offline, noPod}, gone}, lost: 1, why: vanished},
		{name: "its pod vanishes, Jenkins gives up at once", ticks: []seenAs{{busy, ours}, {ours, offline, noPod}, {ours, offline, noPod}, gone}, lost: 1, why: vanished},
		{name: "pod and node vanish together", ticks: []seenAs{{busy, ours}, gone, gone}, lost: 1, why: vanished},
		{name: "away for good after its build was cut", ticks: []seenAs{{busy, ours}, {offline, busy, ours}, {offline, ours}, {offline, ours, noPod}, gone}, lost: 1, why: vanished},
		{name: "its Kubernetes node goes during the build", ticks: []seenAs{{busy, ours}, {busy, ours, taken}, {busy, ours, offline, taken}, gone}, lost: 1, why: "its pod was deleted: DeletionByTaintManager: its machine is gone"},
		{name: "its Kubernetes node goes during the build, its Jenkins node stays", ticks: []seenAs{{busy, ours, taken}, {busy, ours, offline, noPod}}, lost: 1, why: "its pod was deleted: DeletionByTaintManager: its machine is gone"},
		{name: "somebody deletes its pod", ticks: []seenAs{{busy, ours, deleted}, gone}, lost: 1, why: "its pod was deleted by somebody"},
		{name: "it was said that it would be taken", ticks: []seenAs{{busy, ours, announced}, gone}, lost: 1, why: "its pod was to be deleted by the cluster"},
		{name: "away, and given up", ticks: []seenAs{{busy, offline, ours}, {offline, ours}, {offline, ours, deletingByUs}, gone}, lost: 1, why: "the agent lost its connection, and did not come back"},
		{name: "its Kubernetes node goes during the build, and Bellboard deletes the pod as well", ticks: []seenAs{{busy, offline, ours}, {offline, ours, taken}, {offline, ours, taken, deletingByUs}, gone}, lost: 1, why: "its pod was deleted: DeletionByTaintManager: its machine is gone"},
		{name: "a threat that passed", ticks: []seenAs{{busy, ours, announced}, {busy, ours}, gone}, lost: 1, why: vanished},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id := PoolID{"web", Ephemeral}
			var mem Memory
			lost, second, why := 0, 0, ""
			for i, as := range tt.ticks {
				in := newHouse(web())
				in.Now = noon.Add(time.Duration(i) * time.Second)
				in.Jenkins.AskedAt, in.Jenkins.AnsweredAt, in.Memory = in.Now, in.Now, mem
				if as != nil {
					name := in.agent("web", Ephemeral, "a", as...)
					if tt.named[i] {
						in.wait(1, name, time.Second)
					}
				}
				_, next, facts := Decide(in)
				mem = next
				for _, l := range facts.BuildsLost {
					lost += l.Builds
					why = l.Text
					if l.PoolID != id || l.Agent != "web-e-a" {
						t.Errorf("%s: %s of %v lost them", tt.name, l.Agent, l.PoolID)
					}
				}
				second += facts.SecondBuilds[id]
			}
			if lost != tt.lost || second != tt.second || why != tt.why {
				t.Errorf("%s: %d builds lost (%s) and %d second builds, want %d (%s) and %d", tt.name, lost, why, second, tt.lost, tt.why, tt.second)
			}
		})
	}
}

// TestLostBuildsOfManyExecutors: if an agent is lost, all its builds are lost. The agents are listed in the
// order of their names.
func TestLostBuildsOfManyExecutors(t *testing.T) {
	in := newHouse(pets())
	for _, name := range []string{"b", "a"} {
		in.agent("web", Persistent, name, busy, func(p *Pair) { p.Node.Executors, p.Node.Busy = 4, 3 })
	}
	_, mem, _ := Decide(in)
	in = newHouse(pets())
	in.Memory = mem
	_, _, facts := Decide(in)
	var got []string
	for _, l := range facts.BuildsLost {
		got = append(got, fmt.Sprint(l.Agent, " ", l.Builds))
	}
	if want := []string{"web-p-a 3", "web-p-b 3"}; !slices.Equal(got, want) {
		t.Errorf("lost are %q, want %q", got, want)
	}
}

func idle(*Pair) {}

// TestStartupIsCountedOnce: if the note on the pod is late, the start-up is still counted once.
func TestStartupIsCountedOnce(t *testing.T) {
	var mem Memory
	var got []Startup
	for i := range 3 {
		in := newHouse(web())
		in.Now, in.Memory = noon.Add(time.Duration(i)*time.Second), mem
		in.agent("web", Ephemeral, "f", unmet, func(p *Pair) { p.Pod.Created = noon.Add(-20 * time.Second) })
		_, next, facts := Decide(in)
		mem, got = next, append(got, facts.Startups...)
	}
	want := []Startup{{PoolID: PoolID{"web", Ephemeral}, Took: 20 * time.Second, Created: noon.Add(-20 * time.Second), Scheduled: noon.Add(-time.Hour)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Decide(three times) counts the start-ups %v, want %v\n%s", got, want, diff)
	}
}

// look is one answer of Jenkins for the tests of waits: the items of the queue, and which jobs run where.
type look struct {
	items []Item
	runs  []Run
}

// watch has Decide see the looks, a second apart, and returns the facts of each look.
func watch(team Team, looks ...look) (all []Facts) {
	var mem Memory
	for i, l := range looks {
		in := newHouse(team)
		in.Now, in.Memory = noon.Add(time.Duration(i)*time.Second), mem
		in.Jenkins.AskedAt, in.Jenkins.AnsweredAt, in.Jenkins.Runs = in.Now, in.Now, l.runs
		in.agent("web", Ephemeral, "a", busy)
		in.agent("web", Ephemeral, "b", busy)
		for _, it := range l.items {
			if it.Resolution == "" {
				it.Resolution, it.Label = Labelled, "linux"
			}
			in.Jenkins.Items = append(in.Jenkins.Items, it)
		}
		_, next, facts := Decide(in)
		mem, all = next, append(all, facts)
	}
	return all
}

// TestWaits: a wait begins when only an executor is missing, and ends when the build has one. A build counts once,
// also if no answer showed it in the queue. An item without a build is no wait.
func TestWaits(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	item := func(id int64, since int, state ItemState) Item {
		return Item{ID: id, Job: "app", Since: at(since), State: state}
	}
	on := func(node, job string, number int) Run {
		return Run{"web-e-" + node, job, fmt.Sprintf("%s/%d", job, number)}
	}
	none, old := []Run{}, on("b", "old", 1)
	wait := func(took time.Duration) Wait { return Wait{Team: "web", Job: "app", Took: took, Kind: Ephemeral} }
	tests := []struct {
		name  string
		looks []look
		want  []Wait
		gone  int
	}{
		{"its build is seen at once", []look{{[]Item{item(1, -10, Buildable)}, none}, {nil, []Run{on("a", "app", 1)}}, {nil, []Run{on("a", "app", 1)}}}, []Wait{wait(11 * time.Second)}, 0},
		{"its build is seen one answer later", []look{{[]Item{item(1, -10, Buildable)}, none}, {nil, none}, {nil, []Run{on("a", "app", 1)}}}, []Wait{wait(11 * time.Second)}, 0},
		{"it has an executor for two answers", []look{{[]Item{item(1, -10, Buildable)}, none}, {[]Item{item(1, -10, Pending)}, none}, {[]Item{item(1, -10, Pending)}, none}, {nil, []Run{on("a", "app", 1)}}}, []Wait{wait(11 * time.Second)}, 0},
		{"its executor vanishes", []look{{[]Item{item(1, -10, Buildable)}, none}, {[]Item{item(1, -10, Pending)}, none}, {[]Item{item(1, -10, Buildable)}, none}, {nil, []Run{on("a", "app", 1)}}}, []Wait{wait(13 * time.Second)}, 0},
		{"nobody saw it wait", []look{{nil, []Run{old}}, {nil, []Run{old, on("a", "app", 1)}}}, []Wait{wait(0)}, 0},
		{"it was only seen in its quiet period", []look{{[]Item{item(1, -4, Quiet)}, none}, {nil, []Run{on("a", "app", 1)}}}, []Wait{wait(0)}, 0},
		{"it was blocked for three seconds", []look{{[]Item{item(1, -10, Blocked)}, none}, {[]Item{item(1, -10, Blocked)}, none}, {[]Item{item(1, -10, Buildable)}, none}, {nil, []Run{on("a", "app", 1)}}}, []Wait{wait(time.Second)}, 0},
		{"nobody knew its label", []look{{[]Item{{ID: 1, Job: "app", Since: at(-10), State: Buildable, Resolution: Unresolved}}, none}, {nil, []Run{on("a", "app", 1)}}}, []Wait{wait(11 * time.Second)}, 0},
		{"a second build of one job", []look{{nil, []Run{on("a", "app", 1)}}, {[]Item{item(1, 0, Buildable)}, []Run{on("a", "app", 1)}}, {nil, []Run{on("a", "app", 1), on("b", "app", 2)}}}, []Wait{wait(2 * time.Second)}, 0},
		{"a second node block of one build", []look{{nil, none}, {nil, []Run{on("a", "app", 1)}}, {nil, []Run{on("a", "app", 1), on("b", "app", 1)}}}, []Wait{wait(0), wait(0)}, 0},
		{"a foreign node took it", []look{{[]Item{item(1, -10, Buildable)}, none}, {nil, []Run{{"static", "app", "app/1"}}}}, []Wait{{Team: "web", Job: "app", Took: 11 * time.Second}}, 0},
		{"a foreign node's own build", []look{{nil, none}, {nil, []Run{{"static", "app", "app/1"}}}}, nil, 0},
		{"somebody cancelled it", []look{{[]Item{item(1, -10, Buildable)}, none}, {nil, none}, {nil, none}, {nil, none}}, nil, 1},
		{"somebody cancelled it beside another build of its job", []look{{[]Item{item(1, -10, Buildable)}, []Run{on("a", "app", 1)}}, {nil, []Run{on("a", "app", 1)}}, {nil, []Run{on("a", "app", 1)}}}, nil, 1},
		{"it had an executor, and was over before the next answer", []look{{[]Item{item(1, -10, Pending)}, none}, {nil, none}, {nil, none}}, nil, 0},
		{"it was seen to wait, had an executor, and was over", []look{{[]Item{item(1, -10, Buildable)}, none}, {[]Item{item(1, -10, Pending)}, none}, {nil, none}, {nil, none}}, []Wait{{Team: "web", Job: "app", Took: 11 * time.Second}}, 0},
		{"a process begins while it runs", []look{{nil, []Run{on("a", "app", 1)}}, {nil, []Run{on("a", "app", 1)}}}, nil, 0},
		{"it resumes on its own agent", []look{{nil, []Run{old}}, {[]Item{{ID: 9, Job: "old", Since: at(0), State: Buildable, Resolution: Labelled, Label: "web-e-b"}}, none}, {nil, []Run{old}}, {nil, []Run{old}}}, nil, 0},
		{"an adapter that does not tell builds", []look{{[]Item{item(1, -10, Buildable)}, nil}, {nil, nil}}, []Wait{{Team: "web", Job: "app", Took: 11 * time.Second}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []Wait
			gone := 0
			for _, f := range watch(web(), tt.looks...) {
				got, gone = append(got, f.Waits...), gone+f.Gone["web"]
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || gone != tt.gone {
				t.Errorf("%d items are gone, want %d, and the waits differ:\n%s", gone, tt.gone, diff)
			}
		})
	}
}

// TestObjective: a build misses its team's objective once, as soon as an answer shows that it has waited for too long.
func TestObjective(t *testing.T) {
	team := web()
	team.Objective = Objective{Share: 0.95, Within: 2 * time.Second}
	item := Item{ID: 1, Job: "app", Since: noon, State: Buildable}
	waits := look{[]Item{item}, []Run{}}
	var missed []int
	var waited []Wait
	for _, f := range watch(team, waits, waits, waits, waits, waits, look{nil, []Run{{"web-e-a", "app", "app/1"}}}, look{nil, []Run{{"web-e-b", "app", "app/2"}}}) {
		missed, waited = append(missed, f.Missed["web"]), append(waited, f.Waits...)
	}
	want := []Wait{{Team: "web", Job: "app", Took: 5 * time.Second, Kind: Ephemeral}, {Team: "web", Job: "app", Kind: Ephemeral, Met: true}}
	if diff := cmp.Diff(want, waited); diff != "" || !slices.Equal(missed, []int{0, 0, 0, 1, 0, 0, 0}) {
		t.Errorf("the objective is missed %v times in each second\n%s", missed, diff)
	}
}

// TestObjectiveOfANewProcess: a process that begins counts what missed the objective a moment ago, and not what the
// process before has counted.
func TestObjectiveOfANewProcess(t *testing.T) {
	team := web()
	team.Objective = Objective{Share: 0.95, Within: 2 * time.Second}
	item := func(id int64, long time.Duration) Item {
		return Item{ID: id, Job: "app", Since: noon.Add(-long), State: Buildable}
	}
	late := look{[]Item{item(1, 20*time.Second), item(2, time.Hour)}, []Run{}}
	missed := 0
	for _, f := range watch(team, late, late, late) {
		missed += f.Missed["web"]
	}
	if missed != 1 {
		t.Errorf("%d builds have missed the objective, want the one of the handover", missed)
	}
}

// TestWaitsFor: each waiting build has one cause.
func TestWaitsFor(t *testing.T) {
	for _, tt := range []struct {
		name string
		d    Decision
		want map[WaitCause]int
	}{
		{"agents come", Decision{Waiting: 3, Coming: 3}, map[WaitCause]int{WaitsForStart: 3}},
		{"agents are made", Decision{Waiting: 3, Short: 3, Up: map[Kind]int{Ephemeral: 3}}, map[WaitCause]int{WaitsForStart: 3}},
		{"a cap leaves one", Decision{Waiting: 6, Short: 4, Up: map[Kind]int{Ephemeral: 1}, Steps: []Step{{Rule: RuleMaxAgents, From: 4, To: 1}}}, map[WaitCause]int{WaitsForCap: 3, WaitsForStart: 3}},
		{"agents fail", Decision{Waiting: 2, Short: 2, Steps: []Step{{Rule: RuleBackoff, From: 2, Pause: &Pause{Kind: Ephemeral, Left: time.Minute}}}}, map[WaitCause]int{WaitsForHealth: 2}},
		{"paused", Decision{Waiting: 2, Short: 2, Steps: []Step{{Rule: RulePaused, From: 2}}}, map[WaitCause]int{WaitsForSettings: 2}},
		{"a veto beside a build that gets an agent", Decision{Waiting: 3, Short: 3, Vetoed: 2, Up: map[Kind]int{Ephemeral: 1}, Steps: []Step{{Rule: RuleVetoed, From: 3, To: 1, Veto: &Vetoed{Label: "l", Why: "no"}}}}, map[WaitCause]int{WaitsForJenkins: 2, WaitsForStart: 1}},
	} {
		got := tt.d.WaitsFor()
		maps.DeleteFunc(got, func(_ WaitCause, n int) bool { return n == 0 })
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: the builds wait for\n%s", tt.name, diff)
		}
	}
	for _, r := range Rules() {
		if blocks[r] != "" && stoppedBy[r] == "" {
			t.Errorf("a build that waits for the rule %s has no cause", r)
		}
	}
}

// TestMemoryOfMarks: a run of answers that show Bellboard's mark begins with the first such answer. A single
// answer without the mark ends the run.
func TestMemoryOfMarks(t *testing.T) {
	var mem Memory
	name := "web-e-a"
	first := noon.Add(time.Second)
	for i, tt := range []struct {
		as   []func(*Pair)
		want time.Time
	}{
		{seenAs{busy}, time.Time{}},
		{seenAs{busy, ours}, first},
		{seenAs{ours}, first},
		{seenAs{hook}, time.Time{}},
		{seenAs{ours}, noon.Add(4 * time.Second)},
	} {
		in := newHouse(web())
		in.Now, in.Memory = noon.Add(time.Duration(i)*time.Second), mem
		in.Jenkins.AskedAt, in.Jenkins.AnsweredAt = in.Now.Add(-1), in.Now
		in.agent("web", Ephemeral, "a", tt.as...)
		_, mem, _ = Decide(in)
		if got := mem.agent(name).Mark.Since; !got.Equal(tt.want) {
			t.Errorf("after answer %d the mark is known since %v, want %v", i, got, tt.want)
		}
	}
}

// TestMemoryKeepsNothingOfTheDead: the memory forgets a name that is neither a Jenkins node's nor a pod's.
func TestMemoryKeepsNothingOfTheDead(t *testing.T) {
	in := newHouse()
	in.Memory = Memory{
		Started: noon, Sees: noon,
		Agents: map[string]*AgentMemory{"dead": {Mark: Marking{Since: noon, By: Ours}, Gone: noon, Away: noon, Lost: noon, Free: noon, Open: noon, Met: true, Work: Work{Builds: 1}}},
		Teams:  map[string]TeamMemory{"gone": usedOften(1)}, Items: map[int64]*ItemMemory{7: {Waiting: Waiting{Team: "web", Job: "app", Since: noon}}},
	}
	_, mem, _ := Decide(in)
	if diff := cmp.Diff(Memory{Started: noon, Sees: noon}, mem, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("Decide(no agent there) remembers %+v, want nothing\n%s", mem, diff)
	}
}

// TestMemoryOfAbsence: the clock of an agent that is away runs while every answer shows the Jenkins node
// absent, or offline and idle. The clock of a lost build runs while its agent is lost and marked.
func TestMemoryOfAbsence(t *testing.T) {
	earlier := noon.Add(-time.Hour)
	tests := []struct {
		name       string
		as         seenAs
		away, lost time.Time
	}{
		{"online", seenAs{idle}, time.Time{}, time.Time{}},
		{"at work", seenAs{busy}, time.Time{}, time.Time{}},
		{"cut", seenAs{busy, offline}, time.Time{}, time.Time{}},
		{"offline and idle", seenAs{offline}, earlier, time.Time{}},
		{"its node absent", seenAs{noNode}, earlier, time.Time{}},
		{"a berth", seenAs{offline, noPod}, time.Time{}, time.Time{}},
		{"lost, not marked yet", seenAs{offline, busy, noPod}, time.Time{}, time.Time{}},
		{"lost and marked", seenAs{offline, busy, noPod, ours}, time.Time{}, earlier},
		{"marked and cut, its pod there", seenAs{offline, busy, ours}, time.Time{}, time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(web())
			name := in.agent("web", Ephemeral, "a", tt.as...)
			amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Away, m.Lost = earlier, earlier })
			_, mem, _ := Decide(in)
			if got := mem.agent(name).Away; !got.Equal(tt.away) {
				t.Errorf("Decide(%s) knows it away since %v, want %v", tt.name, got, tt.away)
			}
			if got := mem.agent(name).Lost; !got.Equal(tt.lost) {
				t.Errorf("Decide(%s) knows it lost since %v, want %v", tt.name, got, tt.lost)
			}
		})
	}
}

// TestBuildsDone follows one persistent agent: each of its builds is a fact when it is over, with its beginning.
// Only its first build says something of the cache. A build that ran before the process began is no fact.
func TestBuildsDone(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	for _, tt := range []struct {
		name   string
		builds []string // the URL of the build in each answer; "": idle
		want   []string
	}{
		{"two builds with a pause", []string{"", "http://j/job/a/1/", "http://j/job/a/1/", "", "http://j/job/b/7/", ""}, []string{"http://j/job/a from 1 for 2s", "http://j/job/b from 4 for 1s, again"}},
		{"one build right after the other", []string{"", "http://j/job/a/1/", "http://j/job/b/7/", "http://j/job/b/7/", ""}, []string{"http://j/job/a from 1 for 1s", "http://j/job/b from 2 for 2s, again"}},
		{"there before the process", []string{"http://j/job/a/1/", "http://j/job/a/1/", "", "http://j/job/b/7/", ""}, []string{"http://j/job/b from 3 for 1s, again"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mem Memory
			var got []string
			for i, build := range tt.builds {
				in := newHouse(pets())
				in.Now, in.Memory = at(i), mem
				in.Jenkins.AskedAt, in.Jenkins.AnsweredAt = at(i), at(i)
				as := seenAs{idle}
				if build != "" {
					as = seenAs{busy, func(p *Pair) { p.Node.Build = build }}
				}
				name := in.agent("web", Persistent, "a", as...)
				_, next, facts := Decide(in)
				mem = next
				for _, b := range facts.Builds {
					words := fmt.Sprintf("%s from %.0f for %s", b.Job, b.Began.Sub(noon).Seconds(), b.Took)
					if b.Again {
						words += ", again"
					}
					got = append(got, words)
					if b.Agent != name || b.PoolID != (PoolID{"web", Persistent}) {
						t.Errorf("%s ran on %s of %v", b.Job, b.Agent, b.PoolID)
					}
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Decide(%s) counts other builds\n%s", tt.name, diff)
			}
			if took := len(mem.Teams["web"].Gain.Took.Last); took != yes(tt.name != "there before the process") {
				t.Errorf("%s: %d builds count for the cache, want the agent's first build only", tt.name, took)
			}
		})
	}
}
