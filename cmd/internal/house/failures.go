package house

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"bellboard/pool/kubesim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// Throwable are the classes of failure that a house can make agents fail with.
// (What Jenkins refuses is a matter of its queue, not of an agent.)
func Throwable() []scaler.Failure {
	var out []scaler.Failure
	for _, f := range scaler.Failures() {
		if f != scaler.FailureRefused {
			out = append(out, f)
		}
	}
	return out
}

// faults are the classes whose pods fail on their node.
var faults = map[scaler.Failure]kubesim.Fault{
	scaler.FailureBadImage:  kubesim.ImageName,
	scaler.FailureNodeGone:  kubesim.Rejected,
	scaler.FailureOOM:       kubesim.OutOfMemory,
	scaler.FailureCrashLoop: kubesim.Crash,
	scaler.FailureStorage:   kubesim.NoMount,
}

// spell makes pods fail: each class that is thrown waits for the next pods, and
// stays with them.
type spell struct {
	mu     sync.Mutex
	armed  []scaler.Failure // for the pods to come, in order
	on     map[types.UID]scaler.Failure
	loop   map[types.UID]bool // of those that crash: in their sidecar, again and again
	denied int                // creations that admission will refuse yet
	thrown map[scaler.Failure]int
}

func newSpell() *spell {
	return &spell{on: map[types.UID]scaler.Failure{}, loop: map[types.UID]bool{}, thrown: map[scaler.Failure]int{}}
}

// of is what a pod fails with. It is asked first when the pod is to get a node.
func (s *spell) of(p *corev1.Pod) scaler.Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.on[p.UID]
	if ok {
		return f
	}
	if len(s.armed) > 0 && p.Status.Phase == corev1.PodPending {
		f, s.armed = s.armed[0], s.armed[1:]
		s.thrown[f]++
		s.loop[p.UID] = len(p.Spec.InitContainers) > 0
	}
	s.on[p.UID] = f
	return f
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
	if s.denied == 0 {
		return nil
	}
	s.denied--
	s.thrown[scaler.FailureAdmission]++
	return kubesim.Insecure("restricted:latest", "agent")
}

// lift ends it: pods that only wait go on.
func (s *spell) lift() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.on)
	s.armed, s.denied = nil, 0
}

// cast puts the spell on the cluster and the agents.
func (h *House) cast() {
	s := h.spell
	h.Cluster.FailSchedule(func(p *corev1.Pod) string {
		if s.of(p) == scaler.FailureUnschedulable {
			return "4 Insufficient cpu."
		}
		return ""
	})
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
		}
		return false
	}
}

// failures throws one class after another, in an order of its own each time
// round, until ctx ends. What waits to be thrown then is forgotten, and what
// waits for its end goes on.
func (h *House) failures(ctx context.Context) {
	rng := rand.New(rand.NewPCG(uint64(h.cfg.Seed), 0x6661696c))
	pause := func() time.Duration { return time.Duration(30+rng.IntN(90)) * time.Second }
	for {
		for _, i := range rng.Perm(len(h.cfg.Throw)) {
			if clock.Sleep(ctx, h.clock, pause()) != nil {
				h.spell.lift()
				h.Cluster.SetQuota("ci", -1)
				h.Cluster.FailSchedule(nil) // lets the cluster look again
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
		h.Cluster.SetQuota("ci", alive)
		h.clock.AfterFunc(d, func() { h.Cluster.SetQuota("ci", -1) })
		s.mu.Lock()
		s.thrown[f]++
		s.mu.Unlock()
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
	for range n {
		s.armed = append(s.armed, f)
	}
}
