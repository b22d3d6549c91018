package kubesim

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func hasSidecar(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool { return isSidecar(&c) })
}

func condition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// setCondition sets a condition. Without a transition the time of the last one stays.
func (c *Cluster) setCondition(p *corev1.Pod, now corev1.PodCondition) {
	now.LastTransitionTime = c.now()
	was := condition(p, now.Type)
	if was == nil {
		p.Status.Conditions = append(p.Status.Conditions, now)
		return
	}
	if was.Status == now.Status {
		now.LastTransitionTime = was.LastTransitionTime
	}
	*was = now
}

func (c *Cluster) setReady(p *corev1.Pod, ready bool, reason string) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	c.setCondition(p, corev1.PodCondition{Type: corev1.PodReady, Status: status, Reason: reason})
	c.setCondition(p, corev1.PodCondition{Type: corev1.ContainersReady, Status: status, Reason: reason})
}

// showCreating shows that the kubelet has the pod, and that nothing of the pod runs.
func (c *Cluster) showCreating(p *corev1.Pod) {
	reason := "ContainerCreating"
	c.setCondition(p, corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse})
	if len(p.Spec.InitContainers) > 0 {
		reason = "PodInitializing"
		c.setCondition(p, corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionFalse, Reason: "ContainersNotInitialized"})
	} else {
		c.setCondition(p, corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue})
	}
	c.setReady(p, false, "ContainersNotReady")
	show := func(list []corev1.Container) []corev1.ContainerStatus {
		var out []corev1.ContainerStatus
		for _, ctr := range list {
			out = append(out, corev1.ContainerStatus{
				Name: ctr.Name, Image: ctr.Image, Started: new(false),
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
			})
		}
		return out
	}
	p.Status.InitContainerStatuses = show(p.Spec.InitContainers)
	p.Status.ContainerStatuses = show(p.Spec.Containers)
}

func setWaiting(list []corev1.ContainerStatus, i int, reason, message string) {
	list[i].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// showRunning shows a container that runs. started says that the container has passed its
// start-up probe, if it has one.
func (c *Cluster) showRunning(list []corev1.ContainerStatus, i int, started bool) {
	s := &list[i]
	if s.State.Running == nil {
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: c.now()}}
	}
	s.Started = &started
	s.Ready = started
}

func (c *Cluster) showTerminated(list []corev1.ContainerStatus, i, code int) {
	s := &list[i]
	if s.State.Terminated != nil {
		return
	}
	var from metav1.Time
	if s.State.Running != nil {
		from = s.State.Running.StartedAt
	}
	reason := "Error"
	if code == 0 {
		reason = "Completed"
	}
	s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: reason, StartedAt: from, FinishedAt: c.now(),
	}}
	s.Started, s.Ready = new(false), false
}

// showExited shows that the plain containers have ended. Sidecars may still run. A pod that
// was never started has nothing to show.
func (c *Cluster) showExited(p *corev1.Pod, code int) {
	for i := range p.Status.ContainerStatuses {
		c.showTerminated(p.Status.ContainerStatuses, i, code)
	}
	if len(p.Status.ContainerStatuses) > 0 {
		reason := "PodCompleted"
		if code != 0 {
			reason = "PodFailed"
		}
		c.setReady(p, false, reason)
	}
}

// showEnded shows that nothing of the pod runs any more.
func (c *Cluster) showEnded(p *corev1.Pod, code int) {
	for i := range p.Status.InitContainerStatuses {
		if p.Status.InitContainerStatuses[i].State.Running != nil {
			// A sidecar's end says nothing about the pod's.
			c.showTerminated(p.Status.InitContainerStatuses, i, terminated)
		}
	}
	p.Status.Phase = corev1.PodSucceeded
	if code != 0 {
		p.Status.Phase = corev1.PodFailed
	}
	if condition(p, corev1.PodReadyToStartContainers) != nil {
		c.setCondition(p, corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse})
	}
}
