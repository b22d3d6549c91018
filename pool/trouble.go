package pool

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"bellboard/scaler"
)

// maxText bounds what is kept of Kubernetes' explanations: they go into logs,
// and some name every machine of the cluster.
const maxText = 400

// A problem is why a pod cannot start or has ended. The zero value is none.
type problem struct {
	reason, text string // Kubernetes' own
	failure      scaler.Failure
	container    string // "": it is the pod's
}

// trouble is why a pod cannot start or has ended, by the reasons that Kubernetes
// gives in fields of their own. Its messages are for people: nothing is ever
// concluded from them.
func trouble(pod *corev1.Pod) problem {
	st := &pod.Status
	if st.Reason != "" { // Evicted, NodeLost, DeadlineExceeded ...
		return problem{reason: st.Reason, text: oneLine(st.Message), failure: podFailure(st)}
	}
	if c := condition(pod, corev1.DisruptionTarget); c != nil && c.Status == corev1.ConditionTrue && (ended(pod) || pod.DeletionTimestamp != nil) {
		return problem{reason: c.Reason, text: oneLine(c.Message), failure: disruption(c.Reason)}
	}
	others := problem{}
	for _, list := range [][]corev1.ContainerStatus{st.ContainerStatuses, st.InitContainerStatuses} {
		for i := range list {
			p := containerProblem(&list[i], pod.DeletionTimestamp != nil)
			switch {
			case p.reason == "":
			case ours(list[i].Name):
				return p
			case others.reason == "":
				// What somebody has put beside the agent is shown, and no agent is given up for it.
				others, others.failure = p, ""
			}
		}
	}
	if others.reason == "" {
		others = blockingContainer(pod)
	}
	if others.reason != "" {
		return others
	}
	if c := condition(pod, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse && c.Reason != "" {
		return problem{reason: c.Reason, text: oneLine(c.Message), failure: scaler.FailureUnschedulable}
	}
	return problem{}
}

// ours reports whether a container is one that Build makes.
func ours(container string) bool {
	return container == agentContainer || container == dindContainer || container == dockerCLIContainer
}

// blockingContainer is which init container of somebody else's runs, and has the agent wait. That
// one has not failed, so Kubernetes has no more to say than that the pod is not initialized.
func blockingContainer(pod *corev1.Pod) problem {
	if pod.DeletionTimestamp != nil || !started(pod.Status.ContainerStatuses, agentContainer).IsZero() {
		return problem{}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		s := byName(pod.Status.InitContainerStatuses, c.Name, func(s *corev1.ContainerStatus) string { return s.Name })
		if ours(c.Name) || s == nil || s.State.Running == nil || sidecar(c) && s.Started != nil && *s.Started {
			continue
		}
		return problem{reason: "ContainersNotInitialized", text: oneLine(c.Name + ": is not Bellboard's, and holds the agent back"), container: c.Name}
	}
	return problem{}
}

func ended(pod *corev1.Pod) bool {
	p := phase(pod)
	return p == corev1.PodSucceeded || p == corev1.PodFailed
}

// podFailure is the class of a pod's own reason, which its kubelet or the node
// controller has given.
func podFailure(st *corev1.PodStatus) scaler.Failure {
	switch st.Reason {
	case "Evicted", "Preempting":
		return scaler.FailureEvicted
	case "DeadlineExceeded":
		return ""
	}
	if st.Phase == corev1.PodSucceeded {
		return ""
	}
	// NodeLost, and a kubelet's shutdown (Terminated, NodeShutdown) or refusal of
	// what it was given: NodeAffinity, OutOfcpu, UnexpectedAdmissionError ...
	return scaler.FailureNodeGone
}

// disruption is the class of the reason why the cluster takes a pod.
func disruption(reason string) scaler.Failure {
	switch reason {
	case "DeletionByTaintManager", "DeletionByPodGC":
		return scaler.FailureNodeGone
	}
	return scaler.FailureEvicted // PreemptionByScheduler, EvictionByEvictionAPI, TerminationByKubelet
}

// containerProblem is what is wrong with one container. In a pod that is being
// deleted a container that was told to end has not failed.
func containerProblem(s *corev1.ContainerStatus, deleting bool) problem {
	p := problem{container: s.Name}
	last := s.LastTerminationState.Terminated
	switch w, t := s.State.Waiting, s.State.Terminated; {
	case w != nil && (w.Reason == "" || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing"):
		return problem{}
	case w != nil: // ImagePullBackOff, ErrImagePull, InvalidImageName, CreateContainerConfigError, CrashLoopBackOff ...
		p.reason, p.text, p.failure = w.Reason, w.Message, waitFailure(w.Reason)
		if last != nil {
			p.text = strings.TrimSpace(end(last) + "; " + p.text)
			if p.failure == scaler.FailureCrashLoop {
				p.failure = endFailure(last)
			}
		}
	case t != nil && t.ExitCode != 0 && !deleting: // OOMKilled, Error, StartError ...
		p.reason, p.text, p.failure = t.Reason, end(t), endFailure(t)
		if p.reason == "" {
			p.reason = "Error"
		}
	case t == nil && last != nil && last.ExitCode != 0 && (s.Started == nil || !*s.Started) && !deleting:
		// It runs again, and has yet to show that it lasts: between two crashes it
		// is no better than during them.
		p.reason, p.text, p.failure = "CrashLoopBackOff", fmt.Sprintf("restarted %d times: %s", s.RestartCount, end(last)), endFailure(last)
	default:
		return problem{}
	}
	p.text = oneLine(s.Name + ": " + p.text)
	return p
}

// daemonFailure is the class of what is wrong with the Docker daemon beside an agent
// that runs; "": nothing. After the agent it is told to end, which is no failure.
func daemonFailure(pod *corev1.Pod) scaler.Failure {
	list, deleting := pod.Status.InitContainerStatuses, pod.DeletionTimestamp != nil
	at := slices.IndexFunc(list, func(s corev1.ContainerStatus) bool { return s.Name == dindContainer })
	runs := func(s corev1.ContainerStatus) bool { return s.Name == agentContainer && s.State.Running != nil }
	if at < 0 || deleting || !slices.ContainsFunc(pod.Status.ContainerStatuses, runs) {
		return ""
	}
	return containerProblem(&list[at], deleting).failure
}

// waitFailure is the class of the reason why a container waits. A kubelet has
// one reason for an image that is not there, one that may not be had, and a
// registry that does not answer: only its message tells them apart.
func waitFailure(reason string) scaler.Failure {
	switch reason {
	case "InvalidImageName", "ErrImageNeverPull":
		return scaler.FailureBadImage
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		return scaler.FailureImagePull
	case "ImageVolumeMountFailed", "RROUnsupported":
		return scaler.FailureStorage
	}
	// CrashLoopBackOff, CreateContainerConfigError, CreateContainerError, RunContainerError ...
	return scaler.FailureCrashLoop
}

func endFailure(t *corev1.ContainerStateTerminated) scaler.Failure {
	if t.Reason == "OOMKilled" {
		return scaler.FailureOOM
	}
	return scaler.FailureCrashLoop
}

// end says how a container ended.
func end(t *corev1.ContainerStateTerminated) string {
	out := fmt.Sprintf("exit code %d", t.ExitCode)
	if t.Signal != 0 {
		out = fmt.Sprintf("signal %d", t.Signal)
	}
	if t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed" {
		out = t.Reason + ", " + out
	}
	if t.Message != "" {
		out += ": " + t.Message
	}
	return out
}

// oneLine makes one line of a message, of bounded length.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxText {
		s = string(r[:maxText]) + "…"
	}
	return s
}
