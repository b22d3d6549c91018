package scaler

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Slot is a cache slot: a volume claim that keeps one Docker data directory. One agent uses a slot
// at a time, and the slot outlives its agents.
type Slot struct {
	PoolID
	Name            string        `json:"name"`
	Namespace       string        `json:"namespace"`
	UID             string        `json:"uid"`
	ResourceVersion string        `json:"resourceVersion"`
	Created         time.Time     `json:"created"`
	LastUsed        time.Time     `json:"lastUsed"` // noted on the claim when an agent takes the slot, and when a connected agent leaves it
	Uses            int           `json:"uses"`     // agents that took it
	Size            int64         `json:"size"`     // bytes that the claim asks for
	Store           string        `json:"store"`    // noted on the claim: the kind of daemon that wrote the data; another kind cannot read it
	Keep            time.Duration `json:"keep"`     // noted on the claim: how long an unused slot is kept when its team is gone
	Bound           bool          `json:"bound"`    // the claim has a volume: an agent has used the slot
	Lost            bool          `json:"lost"`     // its volume is gone
	Chosen          bool          `json:"chosen"`   // the Kubernetes node is known for which the volume is to be made
	Deleting        bool          `json:"deleting"`
}

// The waits of cache slots.
const (
	// SlotAside is how long no agent gets a slot on which an agent did not start.
	SlotAside = 10 * time.Minute
	// VolumeTimeout is how long a pod may wait for a Kubernetes node that its volume allows: a
	// little longer than a new Kubernetes node in the volume's zone takes.
	VolumeTimeout = 5 * time.Minute
	// SlotKeep is how long an unused slot is kept if its claim has no note of its own.
	SlotKeep = 7 * 24 * time.Hour
	// slotPace is how many slots are deleted in one tick.
	slotPace = 8
)

// SlotState is the state of a slot: a closed set, and a metric label.
type SlotState string

// The states of a slot.
const (
	SlotFree  SlotState = "free"  // the next agent may take it
	SlotUsed  SlotState = "used"  // a pod uses it
	SlotApart SlotState = "aside" // an agent did not start on this slot; no agent gets it for a while
	SlotGoing SlotState = "going" // deleted, and not gone yet
)

// SlotStates lists every state.
func SlotStates() []SlotState { return []SlotState{SlotFree, SlotUsed, SlotApart, SlotGoing} }

// SlotSeen is one slot as the plan shows it to people and metrics.
type SlotSeen struct {
	PoolID
	Name      string    `json:"name"`
	Namespace string    `json:"namespace"`
	State     SlotState `json:"state"`
	Agent     string    `json:"agent,omitempty"` // the pod that uses it
	LastUsed  time.Time `json:"lastUsed"`
	Uses      int       `json:"uses"`
	Size      int64     `json:"size"`
	Text      string    `json:"text,omitempty"` // a remark; "": none
}

// SlotName returns a slot's name, made from its team and a random part.
func SlotName(team, random string) string { return team + "-cache-" + random }

// Warmth says whether an agent starts with a cache: a closed set, and a metric label.
type Warmth string

// A warm agent starts on a slot that another agent has used, a cold agent on an empty slot.
const (
	Warm Warmth = "warm"
	Cold Warmth = "cold"
)

// Warmth returns the warmth of an agent that takes the slot.
func (s *Slot) Warmth() Warmth {
	if s.Bound {
		return Warm
	}
	return Cold
}

// Unbound reports whether a pod on the slot waits for its volume: a Kubernetes node is chosen, or
// none can be.
func (s *Slot) Unbound() bool { return s.Lost || s.Chosen && !s.Bound }

// patience returns how long the pod may wait for a Kubernetes node.
func (p *Pod) patience() time.Duration {
	if p.Slot != "" && p.VolumeTrouble {
		return VolumeTimeout
	}
	return UnscheduledTimeout
}

// blamesSlot reports whether the cache slot may be the reason why the pod did not start. Either the
// pod waits for a Kubernetes node that its volume allows, or its Docker daemon did not come up. A
// slot has no part in the other steps of a start.
func (p *Pod) blamesSlot() bool {
	switch {
	case p.Slot == "" || p.Connected || !p.Ready.IsZero() || !p.Scheduled.IsZero() && p.Missing:
		return false
	case p.Scheduled.IsZero():
		return p.VolumeTrouble || p.Failure == FailureStorage
	}
	return true
}

// cacheSlot is a slot during a decision.
type cacheSlot struct {
	*Slot
	pool   *Pool     // nil: no pool of its team and kind keeps a cache there
	holder string    // the pod that uses it, whatever its phase; "": none
	used   time.Time // when it was last used, as far as is known
	aside  bool
	taken  bool // by an action of this plan
	is     *SlotMemory
}

func slotKey(namespace, name string) string { return namespace + "/" + name }

// Key returns the slot's name with its namespace.
func (s *Slot) Key() string { return slotKey(s.Namespace, s.Name) }

// small reports whether the claim asks for less than CACHE_SIZE.
func (s *cacheSlot) small() bool { return s.pool != nil && s.Size < s.pool.SlotSize }

// unused reports whether no pod and no action has the slot, so that it may be taken or deleted.
func (s *cacheSlot) unused() bool { return s.holder == "" && !s.Deleting && !s.taken }

// lookAtSlots joins slots and pods, the warmest slot first, and remembers the slots for the next tick.
func (d *scene) lookAtSlots() {
	old, now := d.in.Memory, d.in.Now
	for key, s := range old.Slots { // also of a slot that the cache does not show yet
		if now.Before(s.Aside) {
			d.slotted.of(key).Aside = s.Aside
		}
	}
	holders, blamed, connected := map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, m := range d.agents {
		if m.Pod == nil || m.Pod.Slot == "" {
			continue
		}
		key := slotKey(m.Pod.Namespace, m.Pod.Slot)
		holders[key] = m.Name
		blamed[key] = blamed[key] || m.verdict.Class == Stuck && m.Pod.blamesSlot()
		connected[key] = connected[key] || m.Pod.Connected
	}
	for i := range d.in.Cluster.Slots {
		s := &cacheSlot{Slot: &d.in.Cluster.Slots[i]}
		key := s.Key()
		was, is := old.Slots[key], d.slotted.of(key)
		s.is = is
		if p := d.pools[s.PoolID]; p != nil && p.Slots && p.Namespace == s.Namespace && p.SlotStore == s.Store {
			s.pool = p
		}
		s.holder = holders[key]
		if blamed[key] {
			is.Aside = now.Add(SlotAside)
		}
		s.aside = now.Before(is.Aside)
		s.used = s.lastUsed(was.Used)
		if connected[key] {
			s.used = now
		}
		is.Used = s.used
		d.slots = append(d.slots, s)
	}
	slices.SortFunc(d.slots, func(a, b *cacheSlot) int {
		bound := func(s *cacheSlot) int {
			if s.Bound {
				return 0
			}
			return 1
		}
		return cmp.Or(bound(a)-bound(b), b.used.Compare(a.used), cmp.Compare(b.Uses, a.Uses), strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace))
	})
}

// lastUsed returns when the slot was last used, by its claim or by what earlier ticks saw.
func (s *Slot) lastUsed(seen time.Time) time.Time {
	used := s.LastUsed
	if used.IsZero() {
		used = s.Created
	}
	if seen.After(used) {
		return seen
	}
	return used
}

// firstBuild counts the first build of an agent on a cache slot, if the build waited for that
// agent. Such a build begins at once. The first build of a spare agent says nothing of a start.
func (d *scene) firstBuild(m *agent) {
	p, now := m.Pod, d.in.Now
	if p == nil || p.Slot == "" || !m.online() || !m.verdict.Meet && now.Sub(p.ConnectedAt) > VetoedAfter {
		return
	}
	d.facts.FirstBuilds = append(d.facts.FirstBuilds, FirstBuild{m.PoolID, cmp.Or(p.Warmth, Cold), now.Sub(p.Created)})
}

// takeSlot returns the warmest free slot of the pool for one more agent, and nil if the agent gets
// a new slot.
func (d *decider) takeSlot(id PoolID) *Slot {
	for _, s := range d.slots {
		if s.PoolID == id && s.pool != nil && !s.aside && !s.Lost && !s.small() && s.unused() {
			s.taken = true
			return s.Slot
		}
	}
	return nil
}

// tendSlots deletes slots that no pool needs and slots that are too small, a few at a time. It
// lists all slots in the plan.
func (d *decider) tendSlots() {
	if !d.grace {
		left := slotPace
		room := d.roomForSlots()
		for _, s := range d.slots {
			if !s.unused() {
				continue
			}
			text := d.needless(s, room)
			if text == "" {
				continue
			}
			if left--; left < 0 {
				break
			}
			s.taken = true
			d.plan.Actions = append(d.plan.Actions, Action{Verb: DeleteSlot, Pool: s.PoolID, Reason: ReasonCache, Text: text, Slot: s.Slot})
		}
	}
	for _, s := range d.slots {
		d.plan.Slots = append(d.plan.Slots, s.seen())
	}
}

// slotGroup names the unused slots of a pool that are counted together.
type slotGroup struct {
	PoolID
	aside bool // the slots that are put aside and have a cache to lose
}

func (s *cacheSlot) slotGroup() slotGroup { return slotGroup{s.PoolID, s.aside && s.Bound} }

// roomForSlots returns how many unused slots each pool may keep: as many as the pool may still have
// agents. Beside them a pool may keep as many slots that are put aside, since agents use other
// slots meanwhile. So a pool keeps at most twice as many slots as it may have agents.
func (d *decider) roomForSlots() map[slotGroup]int {
	room := map[slotGroup]int{}
	for id := range d.pools {
		most := d.teams[id.Team].MaxPersistent
		room[slotGroup{id, false}], room[slotGroup{id, true}] = most, most
	}
	for _, s := range d.slots {
		if m := d.byName[s.holder]; m != nil && m.stuck {
			continue // the stuck pod counts to no cap, so another agent needs a slot as well
		}
		if s.pool != nil && (s.holder != "" || s.taken) {
			room[slotGroup{s.PoolID, false}]--
		}
	}
	return room
}

// needless says why an unused slot is to be deleted; "": it is kept. It counts room down.
func (d *decider) needless(s *cacheSlot, room map[slotGroup]int) string {
	age := d.in.Now.Sub(s.used)
	switch {
	case d.in.Closing:
		return slotClosingText
	case s.Lost:
		return slotLostText
	case s.pool == nil:
		if keep := cmp.Or(s.Keep, SlotKeep); age >= keep {
			return slotOrphanText(age)
		}
		return ""
	case age >= s.pool.SlotKeep:
		return slotOldText(age, s.pool.SlotKeep)
	case s.small():
		return slotSmallText
	}
	group := s.slotGroup()
	if room[group] <= 0 {
		return slotCrowdText(d.teams[s.Team].MaxPersistent, group.aside)
	}
	room[group]--
	return ""
}

// seen returns the slot as people see it.
func (s *cacheSlot) seen() SlotSeen {
	out := SlotSeen{
		PoolID: s.PoolID, Name: s.Name, Namespace: s.Namespace, State: SlotFree, Agent: s.holder,
		LastUsed: s.used, Uses: s.Uses, Size: s.Size,
	}
	switch {
	case s.Deleting:
		out.State = SlotGoing
	case s.holder != "":
		out.State = SlotUsed
	case s.aside:
		out.State, out.Text = SlotApart, slotAsideText
	}
	switch {
	case s.Lost:
		out.Text = slotLostText
	case out.Text != "":
	case s.pool == nil:
		out.Text = slotUnusedText
	case s.small():
		out.Text = slotSmallText
	}
	return out
}
