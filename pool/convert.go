package pool

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"bellboard/scaler"
)

// convert converts a pod of the API to scaler's type.
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
		Disrupted:       !trueSince(pod, corev1.DisruptionTarget).IsZero(),
		Connect:         scaler.Connect(pod.Annotations[AnnotationConnect]),
		Spec:            pod.Annotations[AnnotationSpecHash],
		Protected:       pod.Labels[LabelBusy] == "true",
		DockerFailure:   daemonFailure(pod),
		Warmth:          warmths[pod.Annotations[AnnotationCache]],
		Slot:            slotOf(pod),
		VolumeTrouble:   volumeTrouble(pod),
	}
	if p.Deleting {
		p.Ends = pod.DeletionTimestamp.Time
	}
	readStart(p, pod)
	if t := trouble(pod); t.reason != "" {
		p.Trouble, p.TroubleText, p.Failure, p.Faulty = t.reason, t.text, t.failure, t.container
		p.Missing = slices.Contains(missing, t.reason)
	}
	return p
}

// phase returns the pod's own phase, or the agent's if there are other plain containers: what somebody else
// adds may run on after the agent has ended, or wait or fail while the agent works. The kubelet itself ends
// sidecars among the init containers.
func phase(pod *corev1.Pod) corev1.PodPhase {
	s := statusOf(pod.Status.ContainerStatuses, agentContainer)
	switch {
	case pod.Status.Reason != "" || len(pod.Spec.Containers) < 2 || s == nil:
		return pod.Status.Phase
	case s.State.Running != nil:
		return corev1.PodRunning
	case s.State.Terminated == nil:
		return pod.Status.Phase
	case s.State.Terminated.ExitCode == 0:
		return corev1.PodSucceeded
	}
	return corev1.PodFailed
}

// ended reports whether the agent has ended.
func ended(pod *corev1.Pod) bool {
	p := phase(pod)
	return p == corev1.PodSucceeded || p == corev1.PodFailed
}

// deletingByUs reports whether Bellboard has deleted the pod, by the deletion's grace: nobody else is likely
// to give deletionGraceSeconds, and the pod's own grace is longer (minGrace). An API server makes every grace
// 0 if nothing of the pod runs. Only a finalizer keeps such a pod, and no deletion changes that.
func deletingByUs(pod *corev1.Pod) bool {
	grace := pod.DeletionGracePeriodSeconds
	return pod.DeletionTimestamp != nil && grace != nil &&
		(*grace == deletionGraceSeconds || *grace == 0 && (pod.Spec.NodeName == "" || ended(pod)))
}

// slotOf returns the name of the claim that has the pod's Docker data; "": no claim has.
func slotOf(pod *corev1.Pod) string {
	v := volumeOf(&pod.Spec, dockerDataVolume)
	if v == nil || v.PersistentVolumeClaim == nil {
		return ""
	}
	return v.PersistentVolumeClaim.ClaimName
}

// warmths has what AnnotationCache may say.
var warmths = map[string]scaler.Warmth{string(scaler.Warm): scaler.Warm, string(scaler.Cold): scaler.Cold}

// volumeCause finds a volume among the scheduler's causes.
var volumeCause = regexp.MustCompile(`(?i)volume|free storage|pvc\(s\)`)

// volumeTrouble reports whether a volume is among the reasons why the pod is not scheduled. Only the message
// says so, since the scheduler has one reason for all causes. All that follows is that Bellboard gives up a
// waiting agent sooner.
func volumeTrouble(pod *corev1.Pod) bool {
	c := condition(pod, corev1.PodScheduled, corev1.ConditionFalse)
	return c != nil && volumeCause.MatchString(c.Message)
}

// readStart reads when the pod reached each step of its start, in whole seconds.
func readStart(p *scaler.Pod, pod *corev1.Pod) {
	p.Scheduled = trueSince(pod, corev1.PodScheduled)
	p.Mounted = trueSince(pod, corev1.PodReadyToStartContainers)
	p.Ready = started(pod.Status.ContainerStatuses, agentContainer)
	p.ConnectedAt, _ = time.Parse(time.RFC3339, pod.Annotations[AnnotationConnected])
	if session, since, ok := strings.Cut(pod.Annotations[AnnotationSession], " "); ok {
		if at, err := time.Parse(time.RFC3339, since); err == nil {
			p.Session, p.SessionSince = session, at
		}
	}
	if p.DockerUp = started(pod.Status.InitContainerStatuses, dindContainer); p.DockerUp.IsZero() {
		return
	}
	if p.DockerReady = dockerReady(pod); p.DockerReady.IsZero() {
		p.Faulty = dindContainer // for a daemon that hangs, Kubernetes gives no reason
	}
}

// dockerReady returns when the daemon beside the agent first answered; zero: not yet. Then the next init
// container (somebody else's) starts, or the pod becomes initialized. If neither has a time yet, dockerReady
// returns when the daemon started.
func dockerReady(pod *corev1.Pod) time.Time {
	list := pod.Status.InitContainerStatuses
	at := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == dindContainer })
	for _, c := range pod.Spec.InitContainers[at+1:] {
		if next := started(list, c.Name); !next.IsZero() {
			return next
		}
	}
	if initialized := trueSince(pod, corev1.PodInitialized); !initialized.IsZero() {
		return initialized
	}
	if startupPassed(statusOf(list, dindContainer)) {
		return started(list, dindContainer)
	}
	return time.Time{}
}

// started returns when a container last started; zero: not yet.
func started(list []corev1.ContainerStatus, name string) time.Time {
	s := statusOf(list, name)
	if s == nil {
		return time.Time{}
	}
	if s.State.Running != nil {
		return s.State.Running.StartedAt.Time
	}
	last := cmp.Or(s.State.Terminated, s.LastTerminationState.Terminated) // the latter: it waits for its restart
	if last == nil || last.StartedAt.Unix() <= 0 {                        // the kubelet gives 1970 after a StartError
		return time.Time{}
	}
	return last.StartedAt.Time
}

// startupPassed reports whether the container's start-up probe has passed.
func startupPassed(s *corev1.ContainerStatus) bool { return ptr.Deref(s.Started, false) }

// isSidecar reports whether an init container runs beside the agent, which waits for its start-up probe.
func isSidecar(c *corev1.Container) bool {
	return ptr.Deref(c.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways
}

// trueSince returns when a condition became true; zero: the condition is not true.
func trueSince(pod *corev1.Pod, what corev1.PodConditionType) time.Time {
	if c := condition(pod, what, corev1.ConditionTrue); c != nil {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

// condition returns the pod's condition of that type if the condition has that status, or nil.
func condition(pod *corev1.Pod, what corev1.PodConditionType, is corev1.ConditionStatus) *corev1.PodCondition {
	wanted := func(c *corev1.PodCondition) bool { return c.Type == what && c.Status == is }
	return find(pod.Status.Conditions, wanted)
}

// statusOf returns the status of the container of that name, or nil.
func statusOf(list []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	return find(list, func(s *corev1.ContainerStatus) bool { return s.Name == name })
}

// volumeOf returns the pod's volume of that name, or nil.
func volumeOf(pod *corev1.PodSpec, name string) *corev1.Volume {
	return find(pod.Volumes, func(v *corev1.Volume) bool { return v.Name == name })
}

// find returns the first element of a list that is as wanted, or nil.
func find[T any](list []T, wanted func(*T) bool) *T {
	for i := range list {
		if wanted(&list[i]) {
			return &list[i]
		}
	}
	return nil
}
