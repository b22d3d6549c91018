package control

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/scaler"
)

// petsTeam has one Swarm pool that keeps its cache.
func petsTeam(c *Config) {
	id := scaler.PoolID{Team: "pets", Kind: scaler.Persistent}
	c.Teams = always(scaler.Team{
		Name: "pets", Labels: []string{"linux"}, Mode: scaler.ModePersistent, MaxAgents: 10, MaxPersistent: 10,
		Pools: []scaler.Pool{{
			PoolID: id, Connect: scaler.Swarm, Labels: []string{"linux", "persistent", "swarm"}, Berths: 2, IdleTimeout: time.Minute, StartTimeout: 5 * time.Minute,
			Slots: true, Namespace: "ci", SlotSize: 20, SlotKeep: time.Hour,
		}},
	})
}

// slot puts a warm cache slot there.
func (h *house) slot(random string, set func(*scaler.Slot)) {
	s := scaler.Slot{
		PoolID: scaler.PoolID{Team: "pets", Kind: scaler.Persistent}, Name: scaler.SlotName("pets", random), Namespace: "ci", UID: random, ResourceVersion: "1",
		LastUsed: time.Now(), Size: 20, Bound: true,
	}
	if set != nil {
		set(&s)
	}
	h.slots[s.Name] = s
}

// TestSlots: a creation takes the slot that was chosen, or one with a new name;
// nothing is left to be made after the pod.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, petsTeam)
		h.slot("a", nil)
		h.wait(2)
		tick := l.Tick(t.Context())
		var got []string
		for _, o := range tick.Outcomes {
			if o.Action.Verb == scaler.Create {
				got = append(got, o.Action.Slot.Name)
			}
		}
		if len(got) != 2 || got[0] != "pets-cache-a" || len(got[1]) != len("pets-cache-")+10 {
			t.Errorf("Tick(two builds, one slot) creates agents on %q, want the slot and a new one", got)
		}
		if h.wrote("put-secret")+h.wrote("read-secret") != 0 {
			t.Errorf("Tick writes %q, want no Secret of a Swarm agent", h.calls)
		}
		if tick = l.Tick(t.Context()); h.wrote("create") != 2 || h.wrote("put-secret") != 0 {
			t.Errorf("the next tick writes %q, want nothing more", h.calls)
		}
	})
}

// TestASlotOfUnknownFateIsPutAside: when nobody knows whether a pod has it now,
// it is not chosen; when it has only changed, it may be.
func TestASlotOfUnknownFateIsPutAside(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{"no answer": {errors.New("timeout"), true}, "it has changed": {scaler.ErrChanged, false}, "refused": {scaler.ErrRejected, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				l := h.loop(noGrace, petsTeam)
				h.slot("a", nil)
				h.wait(1)
				h.fail["create"] = tt.err
				l.Tick(t.Context())
				h.fail = map[string]error{}
				time.Sleep(10 * time.Second) // the back-off
				l.Tick(t.Context())
				if h.wrote("create") != 2 {
					t.Fatalf("it writes %q, want two tries", h.calls)
				}
				for _, p := range h.pods {
					if aside := p.Slot != "pets-cache-a"; aside != tt.want {
						t.Errorf("the next agent is on %s", p.Slot)
					}
				}
			})
		})
	}
}

// TestABerthIsFreeAgainWhenItsSlotHasChanged: no pod was made of that name.
func TestABerthIsFreeAgainWhenItsSlotHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		l.Tick(t.Context()) // registers berths
		h.wait(1)
		h.fail["create"] = scaler.ErrChanged
		l.Tick(t.Context())
		l.Tick(t.Context())
		if h.wrote("create") != 2 || h.wrote("mark") != 0 {
			t.Errorf("it writes %q, want two tries and no berth given up as a stray", h.calls)
		}
	})
}

// TestSlotsGo: a deletion has a deadline, and what is gone is gone.
func TestSlotsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, petsTeam)
		h.slot("old", func(s *scaler.Slot) { s.LastUsed = time.Now().Add(-time.Hour) })
		h.fail["delete-slot"] = scaler.ErrGone
		tick := l.Tick(t.Context())
		got := outcomes(tick)
		if want := "delete-slot cache done"; !slices.Contains(got, want) {
			t.Errorf("Tick(an old slot) does %q, want also %q", got, want)
		}
		if d := h.until["delete-slot"]; d <= 0 || d > time.Second {
			t.Errorf("the deletion may be sent for %s, want a second", d)
		}
	})
}
