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

// faults has the classes whose pods fail on their Kubernetes node.
var faults = map[scaler.Failure]kubesim.Fault{
	scaler.FailureBadImage:  kubesim.ImageName,
	scaler.FailureNodeGone:  kubesim.Rejected,
	scaler.FailureOOM:       kubesim.OutOfMemory,
	scaler.FailureCrashLoop: kubesim.Crash,
	scaler.FailureStorage:   kubesim.NoMount,
}

// slow has the classes that Bellboard reports after minutes, or only while builds wait; the slowest is the
// last.
var slow = []scaler.Failure{scaler.FailureVetoed, scaler.FailureImagePull, scaler.FailureNeverConnected, scaler.FailureStorage, scaler.FailureUnschedulable}

// injector makes pods fail. Each failure waits for the next pod, and stays with that pod.
type injector struct {
	mu     sync.Mutex
	armed  []scaler.Failure // of the next pods, in order
	on     map[types.UID]injected
	loop   map[types.UID]bool // the pods that crash in their sidecar, again and again
	denied int                // the creations that admission will still reject
	short  bool               // the quota is used up, which is then the reason of each rejection
	veto   time.Duration      // the time for which Jenkins vetoes an agent
	thrown map[scaler.Failure]int
}

// injected is the failure of a pod, and the time at which the pod came.
type injected struct {
	class scaler.Failure // "": none
	since time.Time
}

func newInjector() *injector {
	return &injector{on: map[types.UID]injected{}, loop: map[types.UID]bool{}, thrown: map[scaler.Failure]int{}}
}

// of returns the failure of a pod. The first call comes when the pod is to get a Kubernetes node.
func (s *injector) of(p *corev1.Pod) scaler.Failure {
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
	s.on[p.UID] = injected{f, p.CreationTimestamp.Time}
	return f
}

// place returns why no Kubernetes node takes the pod; "": one does.
func (s *injector) place(p *corev1.Pod) string {
	if s.of(p) == scaler.FailureUnschedulable {
		return "4 Insufficient cpu."
	}
	return ""
}

func (s *injector) fault(p *corev1.Pod) kubesim.Fault {
	f := faults[s.of(p)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == kubesim.Crash && s.loop[p.UID] {
		return kubesim.SidecarCrash
	}
	return f
}

// deny returns the answer to a creation that admission rejects.
func (s *injector) deny(_ *http.Request, verb, resource string) *metav1.Status {
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

// lift ends the injection. Pods that have a failure still fail, except pods that would wait long for a
// Kubernetes node: they get one.
func (s *injector) lift(now time.Time) {
	const soon = 5 * time.Minute // as START_TIMEOUT
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.on, func(_ types.UID, on injected) bool {
		return on.class == scaler.FailureUnschedulable && now.Sub(on.since) < scaler.UnscheduledTimeout-soon
	})
	s.armed, s.denied = nil, 0
}

// inject lets the injector act on the cluster and the agents.
func (h *House) inject() {
	s := h.injector
	h.Cluster.FailSchedule(s.place)
	h.Cluster.Spoil(s.fault)
	h.Cluster.FailPulls(func(p *corev1.Pod) bool { return s.of(p) == scaler.FailureImagePull })
	h.Cluster.Refuse(s.deny)
	h.agents.deaf = func(p *corev1.Pod) bool {
		switch s.of(p) { //nolint:exhaustive // pods of the other classes fail elsewhere
		case scaler.FailureEvicted:
			h.Cluster.Evict(p.Namespace, p.Name, "chaos", "Evicted", "The node was low on resource: memory.")
			return true
		case scaler.FailureNeverConnected:
			return true
		case scaler.FailureVetoed:
			h.forbid(p.Name)
		}
		return false
	}
}

// forbid makes a plugin of Jenkins veto an agent for a while.
func (h *House) forbid(agent string) {
	h.injector.mu.Lock()
	d := h.injector.veto
	h.injector.mu.Unlock()
	h.Jenkins.Veto(agent, "‘"+agent+"’ is not to be used yet")
	h.clock.AfterFunc(d, func() { h.Jenkins.Veto(agent, "") })
}

// failures throws one class of failure after another until ctx ends, in a new order each round. In the first
// round the pauses are shorter, and the classes that Bellboard reports late come first. In later rounds the
// classes that Bellboard has not reported yet come first. So even a short day has every class.
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
				h.injector.lift(h.clock.Now())
				h.Cluster.SetQuota("ci", -1)
				h.Cluster.FailSchedule(h.injector.place) // makes the cluster schedule its pods again
				return
			}
			h.throw(h.cfg.Throw[i], 1+rng.IntN(2), pause())
		}
	}
}

// throw makes the next n pods fail with this class, or all pods for a while.
func (h *House) throw(f scaler.Failure, n int, d time.Duration) {
	s := h.injector
	switch f { //nolint:exhaustive // the pods of the other classes have them
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
		h.cfg.Say(fmt.Sprintf("%s: admission rejects the next %d pods", f, n))
		s.mu.Lock()
		s.denied += n
		s.mu.Unlock()
		return
	}
	h.cfg.Say(fmt.Sprintf("%s: the next %d agents fail", f, n))
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == scaler.FailureVetoed {
		s.veto = d
	}
	for range n {
		s.armed = append(s.armed, f)
	}
}
