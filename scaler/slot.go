package scaler

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Slot is a cache slot: a volume claim that keeps one Docker data directory. One agent uses a slot at a time,
// and the slot outlives its agents.
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
	// VolumeTimeout is how long a pod may wait for a Kubernetes node that its volume allows: a little longer
	// than a new Kubernetes node in the volume's zone takes.
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

// Unbound reports whether a pod on the slot waits for its volume: a Kubernetes node is chosen, or none can
// be.
func (s *Slot) Unbound() bool { return s.Lost || s.Chosen && !s.Bound }

// patience returns how long the pod may wait for a Kubernetes node.
func (p *Pod) patience() time.Duration {
	if p.Slot != "" && p.VolumeTrouble {
		return VolumeTimeout
	}
	return UnscheduledTimeout
}

// blamesSlot reports whether the cache slot may be the reason why the pod did not start. Either the pod waits
// for a Kubernetes node that its volume allows, or its Docker daemon did not come up. A slot has no part in
// the other steps of a start.
func (p *Pod) blamesSlot() bool {
	if p.Scheduled.IsZero() {
		return p.VolumeTrouble || p.Failure == FailureStorage
	}
	return !p.Connected && p.Ready.IsZero() && !p.Missing
}

// cacheSlot is a slot during a decision.
type cacheSlot struct {
	*Slot
	pool   *Pool     // nil: no pool of its team and kind keeps a cache there
	holder *agent    // the agent whose pod uses it, whatever the pod's phase; nil: none
	used   time.Time // when it was last used, as far as is known
	until  time.Time // until when no agent gets it
	aside  bool
	taken  bool // by an action of this plan
}

// SlotKey names one slot among those of all namespaces.
type SlotKey struct{ Namespace, Name string }

func (k SlotKey) String() string { return k.Namespace + "/" + k.Name }

// Key returns the slot's name with its namespace.
func (s *Slot) Key() SlotKey { return SlotKey{s.Namespace, s.Name} }

// small reports whether the claim asks for less than CACHE_SIZE.
func (s *cacheSlot) small() bool { return s.pool != nil && s.Size < s.pool.SlotSize }

// unused reports whether no pod and no action has the slot, so that it may be taken or deleted.
func (s *cacheSlot) unused() bool { return s.holder == nil && !s.Deleting && !s.taken }

// lookAtSlots joins slots and pods, the warmest slot first, and remembers the slots for the next tick.
func (d *scene) lookAtSlots() {
	now, old, all := d.in.Now, d.in.Memory.Slots, make([]cacheSlot, len(d.in.Cluster.Slots))
	d.mem.Slots = make(map[SlotKey]SlotMemory, len(all))
	for key, was := range old { // also of a slot that the cache does not show yet
		if now.Before(was.Aside) {
			d.mem.Slots[key] = SlotMemory{Aside: was.Aside}
		}
	}
	byKey := make(map[SlotKey]*cacheSlot, len(all))
	d.slots = make([]*cacheSlot, len(all))
	for i := range all {
		s := &all[i]
		s.Slot = &d.in.Cluster.Slots[i]
		byKey[s.Key()], d.slots[i] = s, s
		if p := d.pools[s.PoolID]; p != nil && p.Slots && p.Namespace == s.Namespace && p.SlotStore == s.Store {
			s.pool = p
		}
		s.used = cmp.Or(s.LastUsed, s.Created)
		was := old[s.Key()]
		if was.Used.After(s.used) {
			s.used = was.Used
		}
		if now.Before(was.Aside) {
			s.until = was.Aside
		}
	}
	for _, m := range d.agents {
		var s *cacheSlot
		if m.Pod != nil && m.Pod.Slot != "" {
			s = byKey[SlotKey{m.Pod.Namespace, m.Pod.Slot}]
		}
		if s == nil {
			continue
		}
		s.holder = m
		if m.Pod.Connected {
			s.used = now
		}
		if m.verdict.Class == Stuck && m.Pod.blamesSlot() {
			s.until = now.Add(SlotAside)
		}
	}
	for _, s := range d.slots {
		s.aside = now.Before(s.until)
		d.mem.Slots[s.Key()] = SlotMemory{Aside: s.until, Used: s.used}
	}
	slices.SortFunc(d.slots, func(a, b *cacheSlot) int {
		return cmp.Or(
			yes(b.Bound)-yes(a.Bound), b.used.Compare(a.used), b.Uses-a.Uses,
			strings.Compare(a.Name, b.Name), strings.Compare(a.Namespace, b.Namespace),
		)
	})
}

// firstBuild counts the first build of an agent on a cache slot, if the build waited for that agent. Such a
// build begins at once. The first build of a spare agent says nothing of a start.
func (d *scene) firstBuild(m *agent) {
	p, now := m.Pod, d.in.Now
	if p == nil || p.Slot == "" || !m.online() || !m.verdict.Meet && now.Sub(p.ConnectedAt) > VetoedAfter {
		return
	}
	d.facts.FirstBuilds = append(d.facts.FirstBuilds, FirstBuild{m.PoolID, cmp.Or(p.Warmth, Cold), now.Sub(p.Created)})
}

// takeSlot returns the warmest free slot of the pool for one more agent, and nil if the agent gets a new
// slot.
func (d *decider) takeSlot(id PoolID) *Slot {
	for _, s := range d.slots {
		if s.PoolID == id && s.pool != nil && !s.aside && !s.Lost && !s.small() && s.unused() {
			s.taken = true
			return s.Slot
		}
	}
	return nil
}

// slotGroup names the slots of a pool that are counted together.
type slotGroup struct {
	PoolID
	aside bool // the slots that are put aside and have a cache to lose
}

// tendSlots deletes slots that no pool needs and slots that are too small, a few at a time. It lists all
// slots in the plan.
func (d *decider) tendSlots() {
	left, kept := slotPace, map[slotGroup]int{}
	d.plan.Slots = slices.Grow(d.plan.Slots, len(d.slots))
	for _, s := range d.slots {
		d.plan.Slots = append(d.plan.Slots, s.seen())
		// A stuck pod counts to no cap, so another agent needs a slot as well.
		if s.pool != nil && (s.taken || s.holder != nil && !s.holder.stuck) {
			kept[slotGroup{PoolID: s.PoolID}]++
		}
	}
	for _, s := range d.slots {
		if d.grace || left == 0 || !s.unused() {
			continue
		}
		if text := d.needless(s, kept); text != "" {
			left--
			d.plan.Actions = append(d.plan.Actions, Action{
				Verb: DeleteSlot, Pool: s.PoolID, Reason: ReasonCache, Text: text, Slot: s.Slot,
			})
		}
	}
}

// needless says why an unused slot is to be deleted; "": it is kept, and counted in kept. A pool keeps as
// many slots as it may have agents at any time of the day. Beside them it keeps as many slots that are put
// aside, since agents use other slots meanwhile.
func (d *decider) needless(s *cacheSlot, kept map[slotGroup]int) string {
	age := d.in.Now.Sub(s.used)
	switch {
	case d.in.Closing:
		return slotClosingText
	case s.Lost:
		return slotLostText
	case s.pool == nil && age >= cmp.Or(s.Keep, SlotKeep):
		return slotOrphanText(age)
	case s.pool == nil:
		return ""
	case age >= s.pool.SlotKeep:
		return slotOldText(age, s.pool.SlotKeep)
	case s.small():
		return slotSmallText
	}
	group := slotGroup{s.PoolID, s.aside && s.Bound}
	t := d.teams[s.Team]
	most := max(t.MaxPersistent, t.MostPersistent)
	switch worth := d.asks[s.Team].dec.Weighed.Slots; {
	case kept[group] >= most:
		return slotCrowdText(most, group.aside)
	case kept[group] >= worth && !group.aside:
		return slotWorthText(worth)
	}
	kept[group]++
	return ""
}

// seen returns the slot as people see it.
func (s *cacheSlot) seen() SlotSeen {
	out := SlotSeen{
		PoolID: s.PoolID, Name: s.Name, Namespace: s.Namespace, State: SlotFree,
		LastUsed: s.used, Uses: s.Uses, Size: s.Size,
	}
	if s.holder != nil {
		out.State, out.Agent = SlotUsed, s.holder.Name
	} else if s.aside {
		out.State = SlotApart
	}
	if s.Deleting {
		out.State = SlotGoing
	}
	switch {
	case s.Lost:
		out.Text = slotLostText
	case out.State == SlotApart:
		out.Text = slotAsideText
	case s.pool == nil:
		out.Text = slotUnusedText
	case s.small():
		out.Text = slotSmallText
	}
	return out
}
