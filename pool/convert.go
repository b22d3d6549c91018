package pool

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"bellboard/scaler"
)

// convert makes the noun of a pod.
func convert(pod *corev1.Pod) *scaler.Pod {
	p := &scaler.Pod{
		PoolID:          scaler.PoolID{Team: pod.Labels[LabelTeam], Kind: scaler.Kind(pod.Labels[LabelKind])},
		Name:            pod.Name,
		Namespace:       pod.Namespace,
		UID:             string(pod.UID),
		ResourceVersion: pod.ResourceVersion,
		Phase:           scaler.PodPhase(phase(pod)),
		Created:         pod.CreationTimestamp.Time,
		Connected:       pod.Annotations[AnnotationConnected] != "",
		Deleting:        pod.DeletionTimestamp != nil,
		DeletingByUs:    deletingByUs(pod),
		Disrupted:       !since(pod, corev1.DisruptionTarget).IsZero(),
		Connect:         scaler.Connect(pod.Annotations[AnnotationConnect]),
		Spec:            pod.Annotations[AnnotationSpecHash],
		Protected:       pod.Labels[LabelBusy] == "true",
	}
	if pod.DeletionTimestamp != nil {
		p.Ends = pod.DeletionTimestamp.Time
	}
	phases(p, pod)
	if t := trouble(pod); t.reason != "" {
		p.Trouble, p.TroubleText, p.Failure, p.Faulty = t.reason, t.text, t.failure, t.container
	}
	p.DockerFailure = daemonFailure(pod)
	p.Slot, p.Warmth, p.VolumeTrouble = slotOf(pod), warmth(pod), volumeTrouble(pod)
	return p
}

// phase is the pod's own, but beside other plain containers it is the agent's: what
// somebody else puts there may run on when the agent has ended, which would keep the pod
// for ever, may wait while the agent runs, and may fail where the agent has not. What was
// meant to outlive the agent (a sidecar among the init containers) the kubelet ends itself.
func phase(pod *corev1.Pod) corev1.PodPhase {
	if pod.Status.Reason != "" || pod.Spec.RestartPolicy != corev1.RestartPolicyNever || len(pod.Spec.Containers) < 2 {
		return pod.Status.Phase
	}
	s := byName(pod.Status.ContainerStatuses, agentContainer, func(s *corev1.ContainerStatus) string { return s.Name })
	switch {
	case s == nil:
	case s.State.Running != nil:
		return corev1.PodRunning
	case s.State.Terminated == nil:
	case s.State.Terminated.ExitCode == 0:
		return corev1.PodSucceeded
	default:
		return corev1.PodFailed
	}
	return pod.Status.Phase
}

// deletingByUs: the grace of a deletion says whose it is. Bellboard's own is
// deletionGraceSeconds, which nobody else is likely to give. An API server makes every
// grace 0 for a pod of which nothing runs. Such a pod is still there only while a
// finalizer keeps it, and no deletion changes that. A deletion without a grace of its own
// has the pod's, which is never that short (minGrace).
func deletingByUs(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return false
	}
	grace := *pod.DeletionGracePeriodSeconds
	return grace == deletionGraceSeconds || grace == 0 && (pod.Spec.NodeName == "" || ended(pod))
}

// since is when a condition became true; zero: it is not.
func since(pod *corev1.Pod, what corev1.PodConditionType) time.Time {
	if c := condition(pod, what); c != nil && c.Status == corev1.ConditionTrue {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

func condition(pod *corev1.Pod, what corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == what {
			return c
		}
	}
	return nil
}

// slotOf is the claim that the pod's Docker data is on; "": on none.
func slotOf(pod *corev1.Pod) string {
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.Name == dockerDataVolume && v.PersistentVolumeClaim != nil {
			return v.PersistentVolumeClaim.ClaimName
		}
	}
	return ""
}

// warmth is what its slot was when the pod was made; "": it has none, or does not say.
func warmth(pod *corev1.Pod) scaler.Warmth {
	if w := scaler.Warmth(pod.Annotations[AnnotationCache]); w == scaler.Warm || w == scaler.Cold {
		return w
	}
	return ""
}

// volumeTrouble reports that a volume is among what keeps a pod from a machine.
// The scheduler has one reason for all of that, so this alone is read from its
// words; all that follows is that an agent that has not begun is given up sooner.
func volumeTrouble(pod *corev1.Pod) bool {
	c := condition(pod, corev1.PodScheduled)
	if c == nil || c.Status != corev1.ConditionFalse {
		return false
	}
	return slices.ContainsFunc([]string{"volume", "free storage", "pvc(s)"}, func(words string) bool { return strings.Contains(strings.ToLower(c.Message), words) })
}
