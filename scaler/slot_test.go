package scaler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// takes returns the slots of a plan's creations, in order. "new" is a slot that is to be made.
func takes(p Plan) []string {
	var out []string
	for i := range p.Actions {
		switch a := &p.Actions[i]; {
		case a.Verb != Create:
		case a.Slot == nil:
			out = append(out, "new")
		default:
			out = append(out, a.Slot.Name)
		}
	}
	return out
}

// tended returns the actions on slots other than creations: "verb slot text".
func tended(p Plan) []string {
	var out []string
	for i := range p.Actions {
		if a := &p.Actions[i]; a.Verb == DeleteSlot {
			out = append(out, fmt.Sprintf("%s %s: %s", a.Verb, a.Slot.Name, a.Text))
		}
	}
	return out
}

func decide(t *testing.T, in Input) (Plan, Memory) {
	t.Helper()
	plan, mem, _ := Decide(in)
	if err := plan.Validate(in); err != nil {
		t.Errorf("Validate(plan) = %v, want nil", err)
	}
	return plan, mem
}

func TestTheWarmestFreeSlotIsTaken(t *testing.T) {
	key := func(random string) SlotKey { return SlotKey{"ci", SlotName("web", random)} }
	unbound := func(s *Slot) { s.Bound = false }
	for _, tt := range []struct {
		name  string
		house func(*Input)
		wait  int
		want  []string
	}{
		{"none is there", func(*Input) {}, 1, []string{"new"}},
		{"the last used slot first, then a new slot", func(in *Input) { in.slot("web", "a", time.Hour); in.slot("web", "b", time.Minute) }, 3, []string{"web-cache-b", "web-cache-a", "new"}},
		{"of two as warm the more used", func(in *Input) {
			in.slot("web", "a", time.Hour)
			in.slot("web", "b", time.Hour, func(s *Slot) { s.Uses = 7 })
		}, 1, []string{"web-cache-b"}},
		{"then by name", func(in *Input) { in.slot("web", "b", time.Hour); in.slot("web", "a", time.Hour) }, 1, []string{"web-cache-a"}},
		{"an empty slot last, whenever it was taken", func(in *Input) { in.slot("web", "a", time.Hour); in.slot("web", "b", time.Second, unbound) }, 2, []string{"web-cache-a", "web-cache-b"}},
		{"not a slot that goes", func(in *Input) { in.slot("web", "a", time.Hour, func(s *Slot) { s.Deleting = true }) }, 1, []string{"new"}},
		{"not a slot of another namespace", func(in *Input) { in.slot("web", "a", time.Hour, func(s *Slot) { s.Namespace = "other" }) }, 1, []string{"new"}},
		{"not a slot that another kind of daemon wrote", func(in *Input) { in.slot("web", "a", time.Hour, func(s *Slot) { s.Store = "rootless" }) }, 1, []string{"new"}},
		{"not a slot of another team", func(in *Input) { in.slot("data", "a", time.Hour) }, 1, []string{"new"}},
		{"not a slot that was put aside", func(in *Input) {
			in.slot("web", "a", time.Hour)
			alter(&in.Memory.Slots, key("a"), func(m *SlotMemory) { m.Aside = noon.Add(time.Second) })
		}, 1, []string{"new"}},
		{"but again when its time is over", func(in *Input) {
			in.slot("web", "a", time.Hour)
			alter(&in.Memory.Slots, key("a"), func(m *SlotMemory) { m.Aside = noon })
		}, 1, []string{"web-cache-a"}},
		{"a working agent has its own", func(in *Input) { in.slot("web", "a", time.Hour); in.agent("web", Persistent, "x", busy, on("a")) }, 1, []string{"new"}},
		{"a pod that waits for a Kubernetes node has its slot", func(in *Input) {
			in.slot("web", "a", time.Hour)
			in.agent("web", Persistent, "x", coming, on("a"))
			in.wait(1, "linux", time.Minute)
		}, 1, []string{"new"}},
		{"a pod that goes has its slot", func(in *Input) {
			in.slot("web", "a", time.Hour)
			in.agent("web", Persistent, "x", ours, going, on("a"))
		}, 1, []string{"new"}},
		{"even if it does not go away", func(in *Input) {
			in.slot("web", "a", time.Hour)
			in.agent("web", Persistent, "x", deletingByUs, noNode, on("a"), endedFor(24*time.Hour))
		}, 1, []string{"new"}},
		{"a pod that has ended has its slot", func(in *Input) { in.slot("web", "a", time.Hour); in.agent("web", Persistent, "x", failed, on("a")) }, 1, []string{"new"}},
		{"a pod whose team is gone has its slot", func(in *Input) {
			in.slot("web", "a", time.Hour)
			in.agent("gone", Persistent, "x", busy, func(p *Pair) { p.Pod.Slot = SlotName("web", "a") })
		}, 1, []string{"new"}},
		{"a pod elsewhere with a slot of that name is another's", func(in *Input) {
			in.slot("web", "a", time.Hour)
			in.agent("web", Persistent, "x", busy, on("a"), func(p *Pair) { p.Pod.Namespace = "other" })
		}, 1, []string{"web-cache-a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(pets())
			tt.house(&in)
			in.wait(tt.wait, "linux", time.Minute)
			plan, _ := decide(t, in)
			if got := takes(plan); !slices.Equal(got, tt.want) {
				t.Errorf("Decide(%s) takes %q, want %q", tt.name, got, tt.want)
			}
		})
	}
	t.Run("no slot where no cache is kept", func(t *testing.T) {
		in := newHouse(pets(func(tm *Team) { tm.Pools[0].Slots = false }))
		in.slot("web", "a", time.Hour)
		in.wait(1, "linux", time.Minute)
		if plan, _ := decide(t, in); !slices.Equal(takes(plan), []string{"new"}) {
			t.Errorf("it takes %q", takes(plan))
		}
	})
}

// going: Bellboard has deleted the pod.
func going(p *Pair) { p.Pod.Deleting, p.Pod.DeletingByUs = true, true }

// TestAnAgentThatDoesNotStartPutsItsSlotAside: the slot is put aside if, and only if, it may be the reason.
func TestAnAgentThatDoesNotStartPutsItsSlotAside(t *testing.T) {
	volume := func(p *Pair) {
		p.Pod.Scheduled, p.Pod.VolumeTrouble, p.Pod.Trouble = time.Time{}, true, "Unschedulable"
	}
	created := func(ago time.Duration) func(*Pair) { return func(p *Pair) { p.Pod.Created = noon.Add(-ago) } }
	scheduled := func(trouble string) func(*Pair) {
		return func(p *Pair) { p.Pod.Scheduled, p.Pod.Trouble = noon.Add(-6*time.Minute), trouble }
	}
	unscheduled := func(p *Pair) { p.Pod.Scheduled, p.Pod.Trouble = time.Time{}, "Unschedulable" }
	for _, tt := range []struct {
		name   string
		change []func(*Pair)
		stuck  bool
		aside  bool
	}{
		{"its volume keeps it from a Kubernetes node, not for long", []func(*Pair){volume, created(VolumeTimeout - time.Second)}, false, false},
		{"its volume keeps it from a Kubernetes node", []func(*Pair){volume, created(VolumeTimeout)}, true, true},
		{"no Kubernetes node has room", []func(*Pair){unscheduled, created(VolumeTimeout)}, false, false},
		{"no Kubernetes node has had room for long", []func(*Pair){unscheduled, created(UnscheduledTimeout)}, true, false},
		{"its volume was never made", []func(*Pair){unscheduled, func(p *Pair) { p.Pod.Failure = FailureStorage }, created(UnscheduledTimeout)}, true, true},
		{"its volume is not let go elsewhere", []func(*Pair){scheduled("")}, true, true},
		{"its daemon does not come up", []func(*Pair){scheduled("CrashLoopBackOff")}, true, true},
		{"its image is not there", []func(*Pair){scheduled("ImagePullBackOff"), func(p *Pair) { p.Pod.Missing = true }}, true, false},
		{"it runs, and does not connect", []func(*Pair){scheduled(""), func(p *Pair) { p.Pod.Ready = noon.Add(-5 * time.Minute) }}, true, false},
		{"it was there, and is away", []func(*Pair){func(p *Pair) { p.Pod.Connected = true }, scheduled("")}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(pets())
			in.slot("web", "a", time.Hour)
			in.agent("web", Persistent, "x", append([]func(*Pair){coming, on("a")}, tt.change...)...)
			plan, mem := decide(t, in)
			if got := plan.Agents[slices.IndexFunc(plan.Agents, func(a Agent) bool { return a.Pod })].Class == Stuck; got != tt.stuck {
				t.Errorf("it is stuck: %v, want %v", got, tt.stuck)
			}
			until := mem.Slots[SlotKey{"ci", "web-cache-a"}].Aside
			aside := !until.IsZero()
			if aside != tt.aside || aside && !until.Equal(noon.Add(SlotAside)) {
				t.Errorf("its slot is put aside: %v until %s, want %v", aside, until, tt.aside)
			}
		})
	}
}

func TestSlotsAreTended(t *testing.T) {
	day := 24 * time.Hour
	small := func(s *Slot) { s.Size = 10 }
	few := func(n int) func(*Team) { return func(tm *Team) { tm.MaxPersistent = n } }
	aside := func(in *Input, until time.Time, random ...string) {
		for _, r := range random {
			alter(&in.Memory.Slots, SlotKey{"ci", SlotName("web", r)}, func(m *SlotMemory) { m.Aside = until })
		}
	}
	// atItsCap adds one agent at work, which is all that the cap allows, and a slot that no agent uses.
	atItsCap := func(in *Input) {
		in.slot("web", "a", time.Hour)
		in.slot("web", "b", time.Minute)
		in.agent("web", Persistent, "x", busy, on("b"))
	}
	for _, tt := range []struct {
		name  string
		team  Team
		house func(*Input)
		want  []string
	}{
		{"a warm slot is kept", pets(), func(in *Input) { in.slot("web", "a", day-time.Second) }, nil},
		{"not for ever", pets(), func(in *Input) { in.slot("web", "a", day) }, []string{"delete-slot web-cache-a: unused for 24h (CACHE_KEEP=24h)"}},
		{"an agent keeps it", pets(), func(in *Input) { in.slot("web", "a", day); in.agent("web", Persistent, "x", busy, on("a")) }, nil},
		{"a pod that has ended keeps its slot", pets(), func(in *Input) { in.slot("web", "a", day); in.agent("web", Persistent, "x", failed, on("a")) }, nil},
		{"its use is remembered", pets(), func(in *Input) {
			in.slot("web", "a", 9*day)
			alter(&in.Memory.Slots, SlotKey{"ci", "web-cache-a"}, func(m *SlotMemory) { m.Used = noon.Add(-time.Hour) })
		}, nil},
		{"a slot without a note is as old as its claim", pets(), func(in *Input) { in.slot("web", "a", day, func(s *Slot) { s.LastUsed = time.Time{} }) }, []string{"delete-slot web-cache-a: unused for 25h (CACHE_KEEP=24h)"}},
		{"not in grace", pets(), func(in *Input) { in.slot("web", "a", day); in.GraceUntil = noon.Add(1) }, nil},
		{"not twice", pets(), func(in *Input) { in.slot("web", "a", day, func(s *Slot) { s.Deleting = true }) }, nil},
		{"more than agents may be: the coldest go", pets(few(2)), func(in *Input) {
			in.slot("web", "a", 3*time.Hour)
			in.slot("web", "b", time.Hour)
			in.slot("web", "c", 2*time.Hour)
			in.slot("web", "d", time.Minute, func(s *Slot) { s.Bound = false })
		}, []string{"delete-slot web-cache-a: more than MAX_PERSISTENT=2 agents can use", "delete-slot web-cache-d: more than MAX_PERSISTENT=2 agents can use"}},
		{"but not those of another time of the day", pets(few(2), func(t *Team) { t.MostPersistent = 3 }), func(in *Input) {
			in.slot("web", "a", 3*time.Hour)
			in.slot("web", "b", time.Hour)
			in.slot("web", "c", 2*time.Hour)
		}, nil},
		{"those in use are among them", pets(few(2)), func(in *Input) {
			in.slot("web", "a", time.Hour)
			in.slot("web", "b", time.Minute)
			in.slot("web", "c", time.Minute)
			in.agent("web", Persistent, "x", busy, on("c"))
		}, []string{"delete-slot web-cache-a: more than MAX_PERSISTENT=2 agents can use"}},
		{"the slot of a pod that does not go away is not among them", pets(few(1)), func(in *Input) {
			atItsCap(in)
			in.Cluster.Pods[0].Ends, in.Cluster.Pods[0].Deleting, in.Cluster.Pods[0].DeletingByUs = noon.Add(-StuckPodAfter), true, true
			in.Jenkins.Nodes = nil
		}, nil},
		{"nor is it freed", pets(few(1)), func(in *Input) {
			in.slot("web", "a", 9*day)
			in.agent("web", Persistent, "x", deletingByUs, noNode, on("a"), endedFor(9*day))
		}, nil},
		{"a slot that was put aside is not one too many", pets(few(1)), func(in *Input) { atItsCap(in); aside(in, noon.Add(1), "a") }, nil},
		{"but is when its time is over", pets(few(1)), func(in *Input) { atItsCap(in); aside(in, noon, "a") }, []string{"delete-slot web-cache-a: more than MAX_PERSISTENT=1 agents can use"}},
		{"or when it has nothing to lose", pets(few(1)), func(in *Input) {
			atItsCap(in)
			in.Cluster.Slots[0].Bound = false
			aside(in, noon.Add(1), "a")
		}, []string{"delete-slot web-cache-a: more than MAX_PERSISTENT=1 agents can use"}},
		{"as many are put aside as agents may be: the coldest go", pets(few(2)), func(in *Input) {
			in.slot("web", "a", 3*time.Hour)
			in.slot("web", "b", 2*time.Hour)
			in.slot("web", "c", time.Hour)
			in.slot("web", "d", time.Minute)
			in.slot("web", "e", 4*time.Hour)
			aside(in, noon.Add(1), "a", "b", "c")
		}, []string{"delete-slot web-cache-a: more than MAX_PERSISTENT=2 are put aside"}},
		{"a team that is gone leaves its own time", pets(), func(in *Input) {
			in.slot("gone", "a", time.Hour, func(s *Slot) { s.Keep = 2 * time.Hour })
			in.slot("gone", "b", 2*time.Hour, func(s *Slot) { s.Keep = 2 * time.Hour })
		}, []string{"delete-slot gone-cache-b: no pool uses this slot any more, for 2h now"}},
		{"and a week if nothing is noted", pets(), func(in *Input) {
			in.slot("gone", "a", 6*day, func(s *Slot) { s.Keep = 0 })
			in.slot("gone", "b", 7*day, func(s *Slot) { s.Keep = 0 })
		}, []string{"delete-slot gone-cache-b: no pool uses this slot any more, for 168h now"}},
		{"a kind that is gone", web(), func(in *Input) { in.slot("web", "a", day) }, []string{"delete-slot web-cache-a: no pool uses this slot any more, for 24h now"}},
		{"a pool that keeps no cache any more", pets(func(tm *Team) { tm.Pools[0].Slots = false }), func(in *Input) { in.slot("web", "a", day) }, []string{"delete-slot web-cache-a: no pool uses this slot any more, for 24h now"}},
		{"a pool that has moved", pets(), func(in *Input) { in.slot("web", "a", day, func(s *Slot) { s.Namespace = "other" }) }, []string{"delete-slot web-cache-a: no pool uses this slot any more, for 24h now"}},
		{"a small slot goes", pets(), func(in *Input) { in.slot("web", "a", time.Hour, small) }, []string{"delete-slot web-cache-a: smaller than CACHE_SIZE"}},
		{"when no agent uses it", pets(), func(in *Input) {
			in.slot("web", "a", time.Hour, small)
			in.agent("web", Persistent, "x", busy, on("a"))
		}, nil},
		{"and is not taken", pets(), func(in *Input) { in.slot("web", "a", time.Hour, small); in.wait(1, "linux", time.Minute) }, []string{"delete-slot web-cache-a: smaller than CACHE_SIZE"}},
		{"a slot that has lost its volume goes, and is not taken", pets(), func(in *Input) {
			in.slot("web", "a", time.Hour, func(s *Slot) { s.Bound, s.Lost = false, true })
			in.wait(1, "linux", time.Minute)
		}, []string{"delete-slot web-cache-a: its volume is gone"}},
		{"a slot that is taken is left alone", pets(), func(in *Input) { in.slot("web", "a", time.Hour); in.wait(1, "linux", time.Minute) }, nil},
		{"all of them at the end", pets(func(tm *Team) { tm.Paused = true }), func(in *Input) {
			in.Closing = true
			in.slot("web", "a", time.Hour)
			in.slot("gone", "b", time.Hour)
			in.slot("web", "c", time.Hour)
			in.agent("web", Persistent, "x", busy, ours, on("c"))
		}, []string{"delete-slot gone-cache-b: a cleanup removes everything of this instance", "delete-slot web-cache-a: a cleanup removes everything of this instance"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(tt.team)
			tt.house(&in)
			plan, _ := decide(t, in)
			got := tended(plan)
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("Decide(%s) does %q, want %q", tt.name, got, tt.want)
			}
			for i := range plan.Actions {
				if a := &plan.Actions[i]; a.Slot != nil && a.Verb != Create && a.Reason != ReasonCache {
					t.Errorf("its reason is %s", a.Reason)
				}
			}
		})
	}
	t.Run("a few at a time", func(t *testing.T) {
		in := newHouse(pets())
		for i := range 50 {
			in.slot("web", fmt.Sprintf("%02d", i), 2*day)
		}
		if plan, _ := decide(t, in); len(tended(plan)) != slotPace {
			t.Errorf("Decide(50 old slots) deletes %d at once, want %d", len(tended(plan)), slotPace)
		}
	})
}

func TestSlotsAreShown(t *testing.T) {
	in := newHouse(pets())
	in.slot("web", "a", time.Minute)
	in.slot("web", "b", 2*time.Minute)
	in.slot("web", "c", 3*time.Minute)
	in.slot("web", "d", 4*time.Minute, func(s *Slot) { s.Deleting = true })
	in.slot("gone", "e", 5*time.Minute)
	name := in.agent("web", Persistent, "x", busy, on("a"))
	alter(&in.Memory.Slots, SlotKey{"ci", "web-cache-b"}, func(m *SlotMemory) { m.Aside = noon.Add(time.Minute) })
	plan, mem := decide(t, in)
	var got []string
	for _, s := range plan.Slots {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", s.Name, s.State, s.Agent, s.Text)))
	}
	want := []string{
		"web-cache-a used " + name, "web-cache-b aside  an agent did not start on this slot", "web-cache-c free", "web-cache-d going", "gone-cache-e free  no pool uses this slot any more",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
	if !plan.Slots[0].LastUsed.Equal(noon) || !mem.Slots[SlotKey{"ci", "web-cache-a"}].Used.Equal(noon) {
		t.Errorf("the slot in use was last used at %s", plan.Slots[0].LastUsed)
	}
}

// TestFirstBuilds: if an agent's first build had waited for that agent, it is counted once, as warm or cold
// as the pod says.
func TestFirstBuilds(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	created := func(p *Pair) { p.Pod.Created, p.Pod.ConnectedAt = at(-60), at(-10) }
	var mem Memory
	var got []FirstBuild
	for i := range 4 {
		in := newHouse(pets())
		in.Now, in.Memory = at(i), mem
		in.agent("web", Persistent, "a", busy, on("a"), created, func(p *Pair) { p.Pod.Warmth = Warm })
		in.agent("web", Persistent, "b", busy, on("b"), func(p *Pair) { p.Pod.Connected, p.Pod.Created = false, at(-20) })
		in.agent("web", Persistent, "c", created, on("c"), func(p *Pair) { // this agent runs its second build
			if i%2 == 1 {
				busy(p)
			}
		})
		in.agent("web", Persistent, "spare", busy, on("d"), func(p *Pair) { p.Pod.ConnectedAt = at(-int(VetoedAfter/time.Second) - 1) })
		in.agent("web", Persistent, "before", busy, on("e")) // not known when this agent connected
		in.agent("web", Persistent, "cut", busy, offline, on("f"), created)
		in.agent("web", Persistent, "none", busy, created)
		in.agent("web", Persistent, "idle", on("g"), created)
		_, next, facts := Decide(in)
		mem, got = next, append(got, facts.FirstBuilds...)
	}
	id := PoolID{"web", Persistent}
	want := []FirstBuild{{id, Warm, 60 * time.Second}, {id, Cold, 20 * time.Second}, {id, Cold, 61 * time.Second}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}

// TestNoSlotTwice: in every house a plan gives no slot to two pods, even if the next plan is made right after
// it. If Decide did not check which agents have the slots, a plan would.
func TestNoSlotTwice(t *testing.T) {
	shared := func(in Input) string {
		by := map[SlotKey]string{}
		for _, p := range in.Cluster.Pods {
			if p.Slot == "" || !strings.HasPrefix(p.UID, "uid-"+p.Name) || p.Created != in.Now {
				continue // only pods that the plan makes count; other pods may share a slot from the start
			}
			key := SlotKey{p.Namespace, p.Slot}
			if other := by[key]; other != "" {
				return p.Name + " and " + other + " on " + key.String()
			}
			by[key] = p.Name
			for _, q := range in.Cluster.Pods {
				if q.Name != p.Name && q.Slot == p.Slot && q.Namespace == p.Namespace {
					return p.Name + " and " + q.Name + " on " + key.String()
				}
			}
		}
		return ""
	}
	rapid.Check(t, func(t *rapid.T) {
		in := anyHouse(t)
		plan, mem, _ := Decide(in)
		next := apply(in, plan, mem)
		if s := shared(next); s != "" {
			t.Fatalf("after one plan: %s\n%s", s, dump(in))
		}
		next.wait(3, "persistent", time.Minute)
		again, mem, _ := Decide(next)
		if err := again.Validate(next); err != nil {
			t.Fatalf("Validate(second plan) = %v, want nil", err)
		}
		if s := shared(apply(next, again, mem)); s != "" {
			t.Fatalf("after two plans: %s\n%s", s, dump(in))
		}
	})
	in := newHouse(pets())
	in.slot("web", "a", time.Hour)
	in.agent("web", Persistent, "x", busy, on("a"))
	in.wait(1, "linux", time.Minute)
	blind := in
	blind.Cluster.Pods = slices.Clone(in.Cluster.Pods)
	blind.Cluster.Pods[0].Slot = ""
	plan, mem, _ := Decide(blind)
	if s := shared(apply(in, plan, mem)); s == "" {
		t.Error("a choice that ignores the pods gives no slot to two pods; want this test to notice")
	}
	if err := plan.Validate(in); err == nil || !strings.Contains(err.Error(), "slot ci/web-cache-a is web-p-x's") {
		t.Errorf("Validate(that plan) = %v, want whose the slot is", err)
	}
}

// TestValidateSlots: Validate refuses a plan that misuses slots.
func TestValidateSlots(t *testing.T) {
	id := PoolID{"web", Persistent}
	for _, tt := range []struct {
		name  string
		house func(*Input, *Slot)
		plan  []Action
		words string // empty: Validate accepts the plan
	}{
		{"a free slot is taken", nil, []Action{{Verb: Create}}, ""},
		{"or goes", nil, []Action{{Verb: DeleteSlot}}, ""},
		{"not twice", nil, []Action{{Verb: Create}, {Verb: Create}}, "the same plan says create of slot ci/web-cache-a"},
		{"not taken and deleted", nil, []Action{{Verb: DeleteSlot}, {Verb: Create}}, "the same plan says delete-slot"},
		{"not while a pod names it", func(in *Input, _ *Slot) { in.agent("web", Persistent, "x", failed, on("a")) }, []Action{{Verb: DeleteSlot}}, "is web-p-x's"},
		{"not a slot that goes", func(_ *Input, s *Slot) { s.Deleting = true }, []Action{{Verb: Create}}, "is being deleted"},
		{"not in grace", func(in *Input, _ *Slot) { in.GraceUntil = noon.Add(1) }, []Action{{Verb: DeleteSlot}}, "restart grace"},
		{"not another of its name", func(_ *Input, s *Slot) { s.UID = "other" }, []Action{{Verb: DeleteSlot}}, "no such slot"},
		{"not another team's", func(_ *Input, s *Slot) { s.Team = "data" }, []Action{{Verb: Create}}, "no such slot"},
		{"not nothing", nil, []Action{{Verb: DeleteSlot, Agent: "nothing"}}, "names no slot"},
		{"not a slot elsewhere", func(in *Input, _ *Slot) { in.Teams[0].Pools[0].Namespace = "other" }, []Action{{Verb: Create}}, "another namespace"},
		{"not another daemon's", func(in *Input, _ *Slot) { in.Teams[0].Pools[0].SlotStore = "rootless" }, []Action{{Verb: Create}}, "another kind of daemon"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(pets())
			slot := *in.slot("web", "a", time.Hour)
			if tt.house != nil {
				tt.house(&in, &in.Cluster.Slots[0])
			}
			plan := Plan{Actions: slices.Clone(tt.plan)}
			for i := range plan.Actions {
				plan.Actions[i].Pool, plan.Actions[i].Reason = id, ReasonCache
				if plan.Actions[i].Agent == "" {
					plan.Actions[i].Slot = &slot
				}
			}
			err := plan.Validate(in)
			if tt.words == "" && err != nil || tt.words != "" && (err == nil || !strings.Contains(err.Error(), tt.words)) {
				t.Errorf("Validate(%s) = %v, want %q", tt.name, err, tt.words)
			}
		})
	}
}
