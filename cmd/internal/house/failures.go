package house

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"bellboard/pool/kubesim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// faults are the classes whose pods fail on their node.
var faults = map[scaler.Failure]kubesim.Fault{
	scaler.FailureBadImage:  kubesim.ImageName,
	scaler.FailureNodeGone:  kubesim.Rejected,
	scaler.FailureOOM:       kubesim.OutOfMemory,
	scaler.FailureCrashLoop: kubesim.Crash,
	scaler.FailureStorage:   kubesim.NoMount,
}

// slow are the classes that are told after minutes, or only while builds wait; the
// slowest last.
var slow = []scaler.Failure{scaler.FailureRefused, scaler.FailureImagePull, scaler.FailureNeverConnected, scaler.FailureStorage, scaler.FailureUnschedulable}

// spell makes pods fail: each class that is thrown waits for the next pods, and
// stays with them.
type spell struct {
	mu     sync.Mutex
	armed  []scaler.Failure // for the pods to come, in order
	on     map[types.UID]strike
	loop   map[types.UID]bool // of those that crash: in their sidecar, again and again
	denied int                // creations that admission will refuse yet
	short  bool               // the quota is used up: what is refused then is told as that
	veto   time.Duration      // how long Jenkins refuses an agent
	thrown map[scaler.Failure]int
}

// strike is what a pod fails with, and since when it is there.
type strike struct {
	class scaler.Failure // "": with nothing
	since time.Time
}

func newSpell() *spell {
	return &spell{on: map[types.UID]strike{}, loop: map[types.UID]bool{}, thrown: map[scaler.Failure]int{}}
}

// of is what a pod fails with. It is asked first when the pod is to get a node.
func (s *spell) of(p *corev1.Pod) scaler.Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, ok := s.on[p.UID]; ok {
		return was.class
	}
	var f scaler.Failure
	if len(s.armed) > 0 && p.Status.Phase == corev1.PodPending {
		f, s.armed = s.armed[0], s.armed[1:]
		s.thrown[f]++
		s.loop[p.UID] = len(p.Spec.InitContainers) > 0
	}
	s.on[p.UID] = strike{f, p.CreationTimestamp.Time}
	return f
}

// place is why no machine takes the pod; "": one does.
func (s *spell) place(p *corev1.Pod) string {
	if s.of(p) == scaler.FailureUnschedulable {
		return "4 Insufficient cpu."
	}
	return ""
}

func (s *spell) fault(p *corev1.Pod) kubesim.Fault {
	f := faults[s.of(p)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == kubesim.Crash && s.loop[p.UID] {
		return kubesim.SidecarCrash
	}
	return f
}

// deny is the answer to a creation that admission refuses.
func (s *spell) deny(_ *http.Request, verb, resource string) *metav1.Status {
	if verb != "create" || resource != "pods" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.denied == 0 || s.short {
		return nil
	}
	s.denied--
	s.thrown[scaler.FailureAdmission]++
	return kubesim.Insecure("restricted:latest", "agent")
}

// lift ends it, and what is struck fails yet; but for pods that would wait long for
// a machine: they get one.
func (s *spell) lift(now time.Time) {
	const soon = 5 * time.Minute // as START_TIMEOUT
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.on, func(_ types.UID, on strike) bool {
		return on.class == scaler.FailureUnschedulable && now.Sub(on.since) < scaler.UnscheduledTimeout-soon
	})
	s.armed, s.denied = nil, 0
}

// cast puts the spell on the cluster and the agents.
func (h *House) cast() {
	s := h.spell
	h.Cluster.FailSchedule(s.place)
	h.Cluster.Spoil(s.fault)
	h.Cluster.FailPulls(func(p *corev1.Pod) bool { return s.of(p) == scaler.FailureImagePull })
	h.Cluster.Refuse(s.deny)
	h.agents.deaf = func(p *corev1.Pod) bool {
		switch s.of(p) { //nolint:exhaustive // the others fail elsewhere
		case scaler.FailureEvicted:
			h.Cluster.Evict(p.Namespace, p.Name, "chaos", "Evicted", "The node was low on resource: memory.")
			return true
		case scaler.FailureNeverConnected:
			return true
		case scaler.FailureRefused:
			h.forbid(p.Name)
		}
		return false
	}
}

// forbid has a plugin of Jenkins give an agent nothing for a while.
func (h *House) forbid(agent string) {
	h.spell.mu.Lock()
	d := h.spell.veto
	h.spell.mu.Unlock()
	h.Jenkins.Veto(agent, "‘"+agent+"’ is not to be used yet")
	h.clock.AfterFunc(d, func() { h.Jenkins.Veto(agent, "") })
}

// failures throws one class after another, in an order of its own each time
// round, until ctx ends. What waits to be thrown then is forgotten. The first time round is
// quick and what is told late comes first, and later what has not been told yet, so that
// a short day tells of all.
func (h *House) failures(ctx context.Context) {
	rng := rand.New(rand.NewPCG(uint64(h.cfg.Seed), 0x6661696c))
	pause := func() time.Duration { return time.Duration(30+rng.IntN(90)) * time.Second }
	for round := 0; ; round++ {
		order := rng.Perm(len(h.cfg.Throw))
		if round == 0 {
			late := func(i int) int { return slices.Index(slow, h.cfg.Throw[i]) }
			slices.SortStableFunc(order, func(x, y int) int { return late(y) - late(x) })
		} else {
			h.mu.Lock()
			slices.SortStableFunc(order, func(x, y int) int {
				return min(1, h.tally.failed[h.cfg.Throw[x]]) - min(1, h.tally.failed[h.cfg.Throw[y]])
			})
			h.mu.Unlock()
		}
		for _, i := range order {
			wait := pause()
			if round == 0 {
				wait = wait * 2 / 3
			}
			if clock.Sleep(ctx, h.clock, wait) != nil {
				h.spell.lift(h.clock.Now())
				h.Cluster.SetQuota("ci", -1)
				h.Cluster.FailSchedule(h.spell.place) // lets the cluster look again
				return
			}
			h.throw(h.cfg.Throw[i], 1+rng.IntN(2), pause())
		}
	}
}

// throw makes the next n pods fail with that class, or all for a while.
func (h *House) throw(f scaler.Failure, n int, d time.Duration) {
	s := h.spell
	switch f { //nolint:exhaustive // the others are on the pods
	case scaler.FailureQuota:
		alive := int64(0)
		for _, p := range h.Cluster.Pods() {
			if p.Status.Phase == corev1.PodPending || p.Status.Phase == corev1.PodRunning {
				alive++
			}
		}
		h.cfg.Say(fmt.Sprintf("%s: the quota is used up for %s", f, d))
		quota := func(pods int64) {
			h.Cluster.SetQuota("ci", pods)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.short = pods >= 0
		}
		quota(alive)
		h.clock.AfterFunc(d, func() { quota(-1) })
		s.mu.Lock()
		defer s.mu.Unlock()
		s.thrown[f]++
		return
	case scaler.FailureAdmission:
		h.cfg.Say(fmt.Sprintf("%s: refuses the next %d pods", f, n))
		s.mu.Lock()
		s.denied += n
		s.mu.Unlock()
		return
	}
	h.cfg.Say(fmt.Sprintf("%s: strikes the next %d agents", f, n))
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == scaler.FailureRefused {
		s.veto = d
	}
	for range n {
		s.armed = append(s.armed, f)
	}
}
