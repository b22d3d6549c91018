package pool

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"bellboard/scaler"
)

// phases reads from a pod's status when it reached each step of its start. No
// event is needed: conditions and containers tell the times, in whole seconds.
// That the start-up probe of a sidecar has passed has no time of its own, but
// the pod counts as initialized from then on.
func phases(p *scaler.Pod, pod *corev1.Pod) {
	p.Scheduled = since(pod, corev1.PodScheduled)
	p.Mounted = since(pod, corev1.PodReadyToStartContainers)
	p.Ready = started(pod.Status.ContainerStatuses, agentContainer)
	if at, err := time.Parse(time.RFC3339, pod.Annotations[AnnotationConnected]); err == nil {
		p.ConnectedAt = at
	}
	if session, since, ok := strings.Cut(pod.Annotations[AnnotationSession], " "); ok {
		if at, err := time.Parse(time.RFC3339, since); err == nil {
			p.Session, p.SessionSince = session, at
		}
	}
	if p.DockerUp = started(pod.Status.InitContainerStatuses, dindContainer); p.DockerUp.IsZero() {
		return
	}
	if p.DockerReady = dockerReady(pod); p.DockerReady.IsZero() {
		p.Faulty = dindContainer // no reason is given for a daemon that hangs
	}
}

// dockerReady is when the daemon beside the agent answered; zero: not yet. The next init
// container, somebody else's, began then, or the pod was initialized. Before either of
// them has a time, the daemon's own start stands for it.
func dockerReady(pod *corev1.Pod) time.Time {
	list := pod.Status.InitContainerStatuses
	at := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == dindContainer })
	for _, c := range pod.Spec.InitContainers[at+1:] {
		if began := started(list, c.Name); !began.IsZero() {
			return began
		}
	}
	if initialized := since(pod, corev1.PodInitialized); !initialized.IsZero() {
		return initialized
	}
	if s := byName(list, dindContainer, func(s *corev1.ContainerStatus) string { return s.Name }); s.Started != nil && *s.Started {
		return started(list, dindContainer)
	}
	return time.Time{}
}

// sidecar: it runs beside the agent, and holds it back until its probe has passed.
func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// started is when a container began to run; zero: not yet. One that was begun
// anew began when it last did. Of one that could not be begun (StartError) the
// kubelet says 1970.
func started(list []corev1.ContainerStatus, name string) time.Time {
	for i := range list {
		s := &list[i]
		switch {
		case s.Name != name:
		case s.State.Running != nil:
			return s.State.Running.StartedAt.Time
		case s.State.Terminated != nil:
			return startTime(s.State.Terminated)
		case s.LastTerminationState.Terminated != nil: // it waits to be begun anew
			return startTime(s.LastTerminationState.Terminated)
		}
	}
	return time.Time{}
}

func startTime(t *corev1.ContainerStateTerminated) time.Time {
	if t.StartedAt.Unix() <= 0 {
		return time.Time{}
	}
	return t.StartedAt.Time
}
