package pool

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxWords bounds what is kept of Kubernetes' explanations: they go into logs,
// and some name every machine of the cluster.
const maxWords = 400

// trouble is why a pod cannot start or has ended, by the reasons that Kubernetes
// gives in fields of their own. Its messages are for people: nothing is ever
// concluded from them. "" means that nothing is wrong.
func trouble(pod *corev1.Pod) (reason, text string) {
	st := &pod.Status
	if st.Reason != "" { // Evicted, NodeLost, DeadlineExceeded ...
		return st.Reason, words(st.Message)
	}
	for _, list := range [][]corev1.ContainerStatus{st.ContainerStatuses, st.InitContainerStatuses} {
		for i := range list {
			if reason, text = failure(&list[i], pod.DeletionTimestamp != nil); reason != "" {
				return reason, text
			}
		}
	}
	if c := condition(pod, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse && c.Reason != "" {
		return c.Reason, words(c.Message)
	}
	return "", ""
}

// failure is what is wrong with one container. In a pod that is being deleted a
// container that was told to end has not failed.
func failure(s *corev1.ContainerStatus, deleting bool) (reason, text string) {
	switch w, t := s.State.Waiting, s.State.Terminated; {
	case w != nil && (w.Reason == "" || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing"):
		return "", ""
	case w != nil: // ImagePullBackOff, ErrImagePull, InvalidImageName, CreateContainerConfigError, CrashLoopBackOff ...
		text = w.Message
		if last := s.LastTerminationState.Terminated; last != nil {
			text = strings.TrimSpace(ended(last) + "; " + text)
		}
		return w.Reason, words(s.Name + ": " + text)
	case t != nil && t.ExitCode != 0 && !deleting: // OOMKilled, Error, ContainerCannotRun ...
		reason = t.Reason
		if reason == "" {
			reason = "Error"
		}
		return reason, words(s.Name + ": " + ended(t))
	}
	return "", ""
}

// ended says how a container ended.
func ended(t *corev1.ContainerStateTerminated) string {
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

// words makes one line of a message, of bounded length.
func words(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxWords {
		s = string(r[:maxWords]) + "…"
	}
	return s
}
