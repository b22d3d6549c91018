package pool

import (
	"regexp"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"bellboard/scaler"
)

// A build can write what it likes there, so a number has an end.
var lastMessage = regexp.MustCompile(`^bellboard docker containers=(\d{1,6}) pulls=(\d{1,6})\n?$`)

// dockerUse reads what the pod's daemon told at its end. What is not understood, and
// a daemon that told nothing, is zero.
func dockerUse(pod *corev1.Pod) (use scaler.DockerUse) {
	for i := range pod.Status.InitContainerStatuses {
		c := &pod.Status.InitContainerStatuses[i]
		if c.Name != dindContainer || c.State.Terminated == nil {
			continue
		}
		if m := lastMessage.FindStringSubmatch(c.State.Terminated.Message); m != nil {
			use.Containers, _ = strconv.Atoi(m[1]) // six digits at most
			use.Pulls, _ = strconv.Atoi(m[2])
		}
	}
	return use
}
