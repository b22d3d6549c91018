package jenkinssim

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"testing"
	"time"
)

// check checks what must be true of the state at any moment.
func (h *house) check(submitted int) {
	h.Helper()
	j := h.Jenkins
	j.enter()
	defer j.leave()
	s := j.stats
	if s.Queued+s.Running+s.Finished != submitted || len(j.ended) != s.Finished {
		h.Fatalf("of %d builds: %+v", submitted, s)
	}
	if s.Succeeded+s.Killed+s.Lost+s.Cancelled != s.Finished {
		h.Fatalf("ends do not add up: %+v", s)
	}
	running, seen := 0, map[*build]int{}
	for _, b := range j.alive {
		if b.begun {
			running++
		}
		if b.node != nil && b.node.slots[b.slot].build != b {
			h.Fatalf("%s is not on its executor", b.Job.Name)
		}
	}
	for _, it := range j.items {
		seen[it.build]++
		if it.state == pending && it.node.slots[it.slot].item != it {
			h.Fatalf("item %d is not on its executor", it.id)
		}
		if it.pinned == "" && it.build.begun {
			h.Fatalf("item %d waits and runs", it.id)
		}
	}
	for b, n := range seen {
		if n > 1 {
			h.Fatalf("%s has %d items", b.Job.Name, n)
		}
	}
	if running != s.Running {
		h.Fatalf("%d builds run, %+v", running, s)
	}
	for _, n := range j.computers {
		if n.lingering && n.busy() == 0 {
			h.Fatalf("%s lingers with nothing on it", n.name)
		}
		if n.ch != nil && n.ch.ended {
			h.Fatalf("%s holds a dead channel", n.name)
		}
		for _, sl := range n.slots {
			if sl.build != nil && !slices.Contains(j.alive, sl.build) {
				h.Fatalf("%s has a dead build", n.name)
			}
		}
	}
	if !slices.IsSortedFunc(j.computers, compareNames) || len(j.byName) != len(j.computers)-1 {
		h.Fatal("computers out of order")
	}
}

// story lets everything happen at random and returns the result. rest says whether
// Bellboard's account takes part.
func story(h *house, seed uint64, rest bool) string {
	rng := rand.New(rand.NewPCG(seed, 1))
	names := []string{"a", "b", "c", "d", "e"}
	channels := map[string]*Channel{}
	submitted := 0
	for range 400 {
		name := names[rng.IntN(len(names))]
		switch rng.IntN(14) {
		case 0, 1, 2:
			submitted++
			h.Submit(Job{
				Name: fmt.Sprint("job", rng.IntN(4)), Pipeline: rng.IntN(2) == 0, Label: "linux", Serial: rng.IntN(4) == 0,
				Duration: time.Duration(rng.IntN(300)) * time.Second, QuietPeriod: time.Duration(rng.IntN(2)) * time.Second,
			})
		case 3, 4:
			if rng.IntN(2) == 0 {
				_, _ = h.CreateSwarm(SwarmAgent{Name: name, Labels: "linux", Executors: 1 + rng.IntN(2)})
			} else if h.node(name) == "404" {
				h.AddNode(Node{Name: name, Labels: "linux", Description: ephemeralWords, Executors: 1 + rng.IntN(2)}, false)
			}
		case 5, 6, 7:
			if c, err := h.Connect(name, h.Secret(name), fmt.Sprint(name, rng.IntN(2))); err == nil {
				channels[name] = c
			}
		case 8:
			if c := channels[name]; c != nil {
				c.Close("chaos")
			}
		case 9:
			if c := channels[name]; c != nil && rng.IntN(3) == 0 {
				c.Freeze("chaos")
			}
		case 10:
			if rng.IntN(8) == 0 {
				r := Restart{Down: time.Duration(rng.IntN(20)) * time.Second, Loading: time.Second, Unauthorized: time.Duration(rng.IntN(2)) * time.Second}
				if rng.IntN(2) == 0 {
					h.SafeRestart(r)
				} else {
					h.Restart(r)
				}
			}
		case 11:
			h.Cancel(int64(rng.IntN(2*submitted + 1)))
		case 12:
			if rng.IntN(2) == 0 {
				h.PersonOffline(name, "looking")
			} else {
				h.PersonOnline(name)
			}
		case 13:
			if rest {
				h.post("/computer/"+name+"/"+[]string{"changeOfflineCause", "toggleOffline", "doDelete", "doDisconnect"}[rng.IntN(4)],
					url.Values{"offlineMessage": {markText}})
			} else if rng.IntN(4) == 0 {
				h.PersonDelete(name)
			}
		}
		h.get("/computer/api/json")
		h.get("/queue/api/json?depth=1")
		h.check(submitted)
		time.Sleep(time.Duration(rng.IntN(20_000)) * time.Millisecond)
		h.check(submitted)
	}
	// Every build that is left must come to an end.
	for _, name := range names {
		h.PersonDelete(name)
	}
	time.Sleep(15 * time.Minute)
	h.AddNode(Node{Name: "z", Labels: "linux", Executors: 8}, true)
	time.Sleep(6 * time.Hour)
	h.check(submitted)
	s := h.Stats()
	if s.Finished != submitted {
		h.Fatalf("seed %d: %d of %d builds ended: %+v", seed, s.Finished, submitted, s)
	}
	if !rest && s.Killed > 0 {
		h.Fatalf("seed %d: Bellboard killed %d builds without being there", seed, s.Killed)
	}
	return fmt.Sprintf("%+v %s", s, h.fate())
}

// TestChaos: whatever happens, every build is accounted for, and one seed gives one story.
func TestChaos(t *testing.T) {
	killed := 0
	for seed := range uint64(8) {
		for _, rest := range []bool{false, true} {
			var told [2]string
			for i := range told {
				inBubble(t, Config{Hook: "house"}, func(h *house) {
					told[i] = story(h, seed, rest)
					killed += h.Stats().Killed
				})
			}
			if told[0] != told[1] {
				t.Fatalf("seed %d tells two stories:\n%s\n%s", seed, told[0], told[1])
			}
		}
	}
	if killed == 0 {
		t.Error("no build was ever killed: the stories are too tame")
	}
}
