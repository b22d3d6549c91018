package kubesim

import (
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
	for i := range p.Spec.InitContainers {
		if isSidecar(&p.Spec.InitContainers[i]) {
			return true
		}
	}
	return false
}

func condition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// setCondition keeps the time of the last transition when there is none.
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

// showCreating: the kubelet has the pod and nothing of it runs.
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
			no := false
			out = append(out, corev1.ContainerStatus{
				Name: ctr.Name, Image: ctr.Image, Started: &no,
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

// showRunning: started says that the container has passed its start-up probe,
// if it has one.
func (c *Cluster) showRunning(list []corev1.ContainerStatus, i int, started bool) {
	s := &list[i]
	if s.State.Running == nil {
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: c.now()}}
	}
	s.ContainerID = "kubesim://" + s.Name
	s.ImageID = s.Image
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
	no := false
	s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: reason, StartedAt: from, FinishedAt: c.now(), ContainerID: s.ContainerID,
	}}
	s.Started, s.Ready = &no, false
}

// showExited: the regular containers have ended, sidecars still run. A pod
// that was never started has nothing to show.
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

// showEnded: nothing of the pod runs any more.
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
