package scaler

import (
	"flag"
	"maps"
	"testing"
	"time"
)

// mostFaults is how many faults a story may have, unless the flag says otherwise.
var mostFaults = 2

var (
	exploreFaults = flag.Int("explore.faults", 0, "how many faults the stories of an explored agent may have (2, or 1 if they show nothing; 1 under the race detector)")
	exploreTell   = flag.Bool("explore.tell", false, "print the stories of what happens without a safeguard")
)

func faultsOrLess(want int) int {
	if *exploreFaults > 0 {
		return *exploreFaults
	}
	return min(want, mostFaults)
}

// agentKinds are all kinds of agents.
var agentKinds = []struct {
	name                   string
	swarm, ephemeral, hook bool
}{
	{"inbound ephemeral", false, true, false},
	{"inbound ephemeral with the hook", false, true, true},
	{"inbound persistent", false, false, false},
	{"Swarm ephemeral", true, true, false},
	{"Swarm ephemeral with the hook", true, true, true},
	{"Swarm persistent", true, false, false},
}

// TestExplore tries every order of every step in the life of one agent with two builds, with up to three
// faults. The faults are:
//
//   - restarts of Jenkins and of Bellboard between any two steps,
//   - lost answers, lagging caches, holds, cuts and silence,
//   - pods that fail, vanish or are deleted by others,
//   - monitors and people.
//
// No build dies that would have lived without Bellboard. From wherever a story stops, everything goes in the
// end.
func TestExplore(t *testing.T) {
	models := make([]*model, len(agentKinds))
	t.Run("kinds", func(t *testing.T) {
		for i, k := range agentKinds {
			t.Run(k.name, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				m := newModel(k.swarm, k.ephemeral, k.hook, without{})
				models[i] = m
				f := m.explore(faultsOrLess(3))
				if m.err != nil {
					t.Error(m.err)
				}
				if f.injury != noHarm {
					t.Errorf("%s, after %d faults and %d steps:\n%s", f.injury, f.faults, f.steps, f.story)
				}
				t.Logf("%d states in %s", f.states, time.Since(began).Round(time.Millisecond))
			})
		}
	})
	// The stories have to reach the whole table: they prove nothing about a row that they never reach.
	classes, verbs, late := map[Class]bool{}, map[Verb]bool{}, true
	for _, m := range models {
		if m == nil {
			return // not all kinds were asked for
		}
		maps.Copy(classes, m.classes)
		maps.Copy(verbs, m.verbs)
		late = late && m.late
	}
	if !late {
		t.Error("some kind of agent is never late")
	}
	for _, c := range Classes() {
		if !classes[c] {
			t.Errorf("no story meets the class %q", c)
		}
	}
	for _, v := range []Verb{Annotate, Mark, ClearMark, Fence, DeletePod, DeleteNode} {
		if !verbs[v] {
			t.Errorf("no story takes the step %q", v)
		}
	}
}

// lostAgent is where the stories of lost agents may begin: the agent is at work, and its pod was deleted by
// force.
var lostAgent = life{
	node: ownComputer, online: true, builds: [2]uint8{buildWaiting, buildRunning}, pod: podView{phase: podGone}, process: true,
	alive: true, known: true, calm: true,
}

// TestExploreWithout takes the safeguards out one by one. Each safeguard is there because of a story. If no
// story shows the loss of a safeguard, its case says why the safeguard is kept.
func TestExploreWithout(t *testing.T) {
	const swarm = true
	tests := []struct {
		name    string
		without without
		swarm   bool
		hook    bool
		faults  int
		want    injury
		from    *life
		because string // why no story shows the loss, not even with three faults on every kind
	}{
		{name: "a mark before removal", without: without{mark: true}, want: harmPod},
		{name: "mark in one tick, remove in a later one", without: without{laterTick: true}, want: harmPod},
		{name: "an earlier answer showed the mark", without: without{earlierAnswer: true}, faults: 1, want: harmPod},
		{name: "idle", without: without{idle: true}, want: harmPod},
		{name: "not pinned", without: without{pins: true}, faults: 1, want: harmMark},
		{name: "out of grace", without: without{grace: true}, faults: 1, want: harmPod},
		{name: "out of grace, Swarm", without: without{grace: true}, swarm: swarm, faults: 1, want: harmPod},
		{name: "grace after a start of Bellboard, too", without: without{graceOfOwn: true}, faults: 2, want: harmPod},
		{name: "the deadline", without: without{deadline: true}, faults: 1, want: harmPod},
		{name: "no write past the lease", without: without{lease: true}, faults: 2, want: harmPod},
		{name: "our own words when clearing", without: without{ownWords: true}, faults: 2, want: harmMark},
		{name: "clear the mark for a build that resumes", without: without{clearing: true}, faults: 1, want: harmMark},
		{name: "the same with the hook", without: without{clearing: true}, hook: true, faults: 2, want: harmMark},
		{name: "clear nothing for an agent that is sent away", without: without{closedGoing: true}, faults: 1, want: harmPod},
		{name: "the hook's next mark is not the one seen before", without: without{oneMark: true}, hook: true, faults: 1, want: harmPod},
		{name: "no mark of ours on a build before a restart", without: without{quietMarks: true}, faults: 1, want: harmRestart},
		{name: "idle before the restart, not after it", without: without{restedInGrace: true}, faults: 1, want: harmPod},
		{name: "the build from before the restart, no other", without: without{anyBuild: true}, swarm: swarm, faults: 1, want: harmPod},
		{name: "only the note of this session", without: without{sessions: true}, faults: 1, want: harmPod},
		{name: "a fence for an absent Swarm node", without: without{fence: true}, swarm: swarm, want: harmPod},
		{name: "a pinned fence goes at once", without: without{fenceInTheWay: true}, swarm: swarm, faults: 1, want: harmLeak},
		{name: "no open fence for an agent that is sent away", without: without{closedGoing: true}, swarm: swarm, faults: 1, want: harmPod},
		{name: "never delete a Swarm node whose pod lives", without: without{nodeAfterPod: true}, swarm: swarm, want: harmPod},
		{name: "a node goes marked only", without: without{nodeMarked: true}, faults: 1, want: harmNode},
		{name: "lost only after ten minutes", without: without{lostWait: true}, faults: 2, want: harmNode},
		{name: "a hold starts the lost clock anew", without: without{lostAnew: true}, from: &lostAgent, faults: 3, want: harmNode},

		{
			name: "a node goes offline only", without: without{nodeOffline: true}, faults: 2,
			because: "it is marked and idle by then; it spares a living agent its connection",
		},
		{
			name: "an inbound node goes after its pod", without: without{nodeAfterPod: true}, faults: 2,
			because: "a pod whose node is gone is deleted, too; until then its agent would ask Jenkins in vain",
		},
		{
			name: "UID and resourceVersion", without: without{preconditions: true}, faults: 2,
			because: "no name is used twice and no pod goes by its own state alone; they guard against what is not in the model",
		},
		{
			name: "read before the toggle", without: without{readFirst: true}, faults: 2,
			because: "the words are our own: the next look finds the mark and lifts it",
		},
		{
			name: "both answers of one session", without: without{oneSession: true}, faults: 2,
			because: "the newer session begins a grace",
		},
		{
			name: "a live look for the pod of a lost node", without: without{absent: true}, faults: 2,
			because: "the model's cache may lag, but never misses a pod; it guards against one that does",
		},
		{
			name: "a ghost only after six minutes", without: without{ghostWait: true}, swarm: swarm, faults: 2,
			because: "it saves agents that come back, not builds",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.faults > faultsOrLess(3) && tt.because == "" {
				t.Skipf("its story needs %d faults", tt.faults)
			}
			m := newModel(tt.swarm, true, tt.hook, tt.without)
			m.from, m.killsOnly = tt.from, tt.because == "" && tt.want != harmLeak
			faults := faultsOrLess(tt.faults)
			if tt.because != "" && *exploreFaults == 0 {
				faults = 1 // without a story to find, the search ends only after every life: CI asks for more faults
			}
			f := m.explore(faults)
			if f.injury != tt.want {
				t.Fatalf("%q after %d states, want %q\n%s", f.injury, f.states, tt.want, f.story)
			}
			switch {
			case tt.because != "":
				t.Logf("nothing in %d states: %s", f.states, tt.because)
			case *exploreTell:
				t.Logf("%d faults, %d steps\n%s", f.faults, f.steps, f.story)
			}
		})
	}
}

// TestExploreBeyond has the stories of things that the model assumes not to happen. They are the remaining
// risk of the promise, each a matter of a few seconds.
func TestExploreBeyond(t *testing.T) {
	tests := []struct {
		name   string
		beyond beyond
		faults int
	}{
		{"Jenkins forgets the mark of a Swarm node that is taken anew", beyond{retakes: true}, 0},
		{"the cache lags behind Bellboard's own deletion", beyond{cacheLags: true}, 3},
		{"a Swarm client is back at once", beyond{quickClient: true}, 1},
		{"Jenkins is back at once", beyond{quickRestart: true}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.faults > faultsOrLess(3) {
				t.Skipf("its story needs %d faults", tt.faults)
			}
			m := newModel(true, true, false, without{})
			m.beyond = tt.beyond
			f := m.explore(faultsOrLess(tt.faults))
			if f.injury != harmPod {
				t.Fatalf("%q after %d states, want %q\n%s", f.injury, f.states, harmPod, f.story)
			}
			if *exploreTell {
				t.Logf("%d faults, %d steps\n%s", f.faults, f.steps, f.story)
			}
		})
	}
}
