//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"bellboard/scaler"
)

// ward schedules the pods of a home, and is the kubelet of the pods that are to fail: one in so many, in each
// phase of the start in turn. kwok is the kubelet of the others.
type ward struct {
	h        *home
	one      int      // pod in so many fails; 0: none
	machine  string   // nobody else plays it
	machines []string // kwok does

	ctx  context.Context // for what its watch starts
	busy chan struct{}
	wg   sync.WaitGroup

	mu             sync.Mutex
	placed, buried map[types.UID]bool
	seen           [2]int                  // pods, without a Docker daemon and with one
	failing        map[scaler.Phase]int    // how many fail at it
	ill            map[string]scaler.Phase // by the pod's name
}

// openWard begins to schedule the pods. The name of their scheduler has to be the name of the namespace.
func (h *home) openWard(one int) *ward {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &ward{
		h: h, one: one, machine: h.ns + "-ward", ctx: ctx, busy: make(chan struct{}, 8),
		placed: map[types.UID]bool{}, buried: map[types.UID]bool{}, ill: map[string]scaler.Phase{}, failing: map[scaler.Phase]int{},
	}
	api := h.k.CoreV1().Nodes()
	all, err := api.List(ctx, metav1.ListOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	for i := range all.Items {
		if len(all.Items[i].Annotations) > 0 && len(all.Items[i].Status.Allocatable) > 0 {
			w.machines = append(w.machines, all.Items[i].Name)
		}
	}
	if _, err := api.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.machine}}, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	h.ward = w
	h.mu.Unlock()
	h.t.Cleanup(func() {
		h.mu.Lock()
		h.ward = nil
		h.mu.Unlock()
		cancel()
		w.wg.Wait()
		if err := api.Delete(context.Background(), w.machine, metav1.DeleteOptions{}); err != nil {
			h.t.Error(err)
		}
	})
	return w
}

// draw decides whether a new pod fails, and in which phase: in the phase with the fewest failures; "" is
// none. Pods with a Docker daemon have their own count, since only they can fail in that daemon. The caller
// holds the lock.
func (w *ward) draw(pod *corev1.Pod) scaler.Phase {
	phases := slices.DeleteFunc(scaler.Phases(), func(p scaler.Phase) bool { return p == scaler.PhaseDocker })
	of := &w.seen[0]
	if len(pod.Spec.InitContainers) > 0 {
		phases, of = slices.Insert(phases, 0, scaler.PhaseDocker), &w.seen[1]
	}
	if *of++; w.one == 0 || *of%w.one != 0 {
		return ""
	}
	return slices.MinFunc(phases, func(a, b scaler.Phase) int { return cmp.Compare(w.failing[a], w.failing[b]) })
}

// failsIn returns the phase in which a pod fails; "" is none.
func (w *ward) failsIn(pod *corev1.Pod) scaler.Phase {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ill[pod.Name]
}

// deaf reports whether the pod runs, and its agent never connects.
func (w *ward) deaf(pod *corev1.Pod) bool { return w != nil && w.failsIn(pod) == scaler.PhaseConnect }

// saw gets every change of a pod.
func (w *ward) saw(pod *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case pod.DeletionTimestamp != nil && pod.Spec.NodeName == w.machine && !w.buried[pod.UID]:
		w.buried[pod.UID] = true
		w.do(func() error { return w.endPod(pod) })
	case pod.DeletionTimestamp == nil && pod.Spec.NodeName == "" && !w.placed[pod.UID]:
		w.placed[pod.UID] = true
		at := w.machines[len(w.placed)%len(w.machines)]
		if phase := w.draw(pod); phase != "" {
			w.ill[pod.Name] = phase
			w.failing[phase]++
			if phase != scaler.PhaseConnect {
				at = w.machine
			}
		}
		w.do(func() error { return w.place(pod, at) })
	}
}

// do calls a function soon, a few at a time.
func (w *ward) do(what func() error) {
	w.wg.Go(func() {
		w.busy <- struct{}{}
		defer func() { <-w.busy }()
		if err := notFound(what()); err != nil && w.ctx.Err() == nil {
			w.h.t.Error(err)
		}
	})
}

func (w *ward) place(pod *corev1.Pod, at string) error {
	api := w.h.k.CoreV1().Pods(pod.Namespace)
	bind := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: at}}
	if err := api.Bind(w.ctx, bind, metav1.CreateOptions{}); err != nil || at != w.machine {
		return err
	}
	patch, err := json.Marshal(map[string]any{"status": failedStatus(pod, w.failsIn(pod))})
	if err != nil {
		return err
	}
	_, err = api.Patch(w.ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// endPod ends a pod as the kubelet does when all its containers have ended.
func (w *ward) endPod(pod *corev1.Pod) error {
	return w.h.k.CoreV1().Pods(pod.Namespace).Delete(w.ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &pod.UID},
	})
}

// failedStatus returns the status that a kubelet writes for a pod that fails in a phase.
func failedStatus(pod *corev1.Pod, phase scaler.Phase) corev1.PodStatus {
	now := metav1.Now()
	if phase == scaler.PhaseSchedule {
		return corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu", Message: "Pod was rejected: Node didn't have enough resource: cpu"}
	}
	st := corev1.PodStatus{Phase: corev1.PodPending, StartTime: &now}
	condition := func(t corev1.PodConditionType, is bool) {
		c := corev1.PodCondition{Type: t, Status: corev1.ConditionFalse, LastTransitionTime: now}
		if is {
			c.Status = corev1.ConditionTrue
		}
		st.Conditions = append(st.Conditions, c)
	}
	show := func(list []corev1.Container, s corev1.ContainerState) (out []corev1.ContainerStatus) {
		for i := range list {
			out = append(out, corev1.ContainerStatus{Name: list[i].Name, Image: list[i].Image, State: s})
		}
		return out
	}
	waits := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: fmt.Sprintf("the test says so: %s", phase)}}
	}
	ends := func(code int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, StartedAt: now, FinishedAt: now}}
	}
	inits := show(pod.Spec.InitContainers, waits("PodInitializing"))
	mains := show(pod.Spec.Containers, waits("ContainerCreating"))
	condition(corev1.PodReadyToStartContainers, phase != scaler.PhaseMount)
	switch phase { //nolint:exhaustive // the others have no status of their own
	case scaler.PhasePull:
		first := mains
		if len(inits) > 0 {
			first = inits
		}
		first[0].State = waits("ImagePullBackOff")
	case scaler.PhaseDocker:
		// The daemon is the last init container before the agent.
		for i := range inits {
			inits[i].State = ends(0, "Completed")
		}
		d := &inits[len(inits)-1]
		d.State, d.LastTerminationState, d.RestartCount = waits("CrashLoopBackOff"), ends(1, "Error"), 3
	case scaler.PhaseAgent:
		for i := range inits {
			inits[i].State = ends(0, "Completed")
		}
		condition(corev1.PodInitialized, true)
		st.Phase = corev1.PodFailed
		mains[0].State = ends(1, "Error")
	}
	st.InitContainerStatuses, st.ContainerStatuses = inits, mains
	return st
}
