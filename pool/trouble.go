package pool

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"

	"bellboard/scaler"
)

// maxText is the most characters that Bellboard keeps of a message. Some name every Kubernetes node.
const maxText = 400

// failures has the classes of Kubernetes' reasons. A kubelet has one reason for an image that does not exist,
// an image that needs a password, and a registry that does not answer. Only the message tells these apart.
var failures = map[string]scaler.Failure{
	"DeadlineExceeded":          "",
	"Evicted":                   scaler.FailureEvicted,
	"Preempting":                scaler.FailureEvicted,
	"DeletionByTaintManager":    scaler.FailureNodeGone,
	"DeletionByPodGC":           scaler.FailureNodeGone,
	"InvalidImageName":          scaler.FailureBadImage,
	"ErrImageNeverPull":         scaler.FailureBadImage,
	"ErrImagePull":              scaler.FailureImagePull,
	"ImagePullBackOff":          scaler.FailureImagePull,
	"ImageInspectError":         scaler.FailureImagePull,
	"RegistryUnavailable":       scaler.FailureImagePull,
	"SignatureValidationFailed": scaler.FailureImagePull,
	"ImageVolumeMountFailed":    scaler.FailureStorage,
	"RROUnsupported":            scaler.FailureStorage,
	"OOMKilled":                 scaler.FailureOOM,
}

// classOf returns the class of a reason, and other if the reason is none of the table's.
func classOf(reason string, other scaler.Failure) scaler.Failure {
	if f, ok := failures[reason]; ok {
		return f
	}
	return other
}

// missing has the reasons of a container that waits for an image, a Secret or a ConfigMap that is not there.
var missing = []string{
	"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
}

// A problem says why a pod cannot start or has ended. The zero value is no problem.
type problem struct {
	reason, text string // Kubernetes' own
	failure      scaler.Failure
	container    string // "": the problem is the pod's
}

// trouble returns why a pod cannot start or has ended, by the reasons that Kubernetes gives in their own
// fields. Messages are for people, and trouble concludes nothing from them.
func trouble(pod *corev1.Pod) problem {
	st, deleting := &pod.Status, pod.DeletionTimestamp != nil
	if st.Reason != "" {
		p := problem{reason: st.Reason, text: oneLine(st.Message)}
		if st.Phase != corev1.PodSucceeded {
			// The node is gone (NodeLost), the kubelet shuts down (Terminated, NodeShutdown), or the kubelet
			// rejects the pod (NodeAffinity, OutOfcpu, UnexpectedAdmissionError ...).
			p.failure = classOf(st.Reason, scaler.FailureNodeGone)
		}
		return p
	}
	if c := condition(pod, corev1.DisruptionTarget, corev1.ConditionTrue); c != nil && (deleting || ended(pod)) {
		// PreemptionByScheduler, EvictionByEvictionAPI, TerminationByKubelet
		return problem{reason: c.Reason, text: oneLine(c.Message), failure: classOf(c.Reason, scaler.FailureEvicted)}
	}
	others := problem{}
	for _, s := range slices.Concat(st.ContainerStatuses, st.InitContainerStatuses) {
		p := containerProblem(&s, deleting)
		switch {
		case p.reason == "":
		case ours(s.Name):
			return p
		case others.reason == "":
			// Bellboard shows the problem of somebody else's container, and gives up no agent for it.
			others, others.failure = p, ""
		}
	}
	if others = cmp.Or(others, blockingContainer(pod)); others.reason != "" {
		return others
	}
	if c := condition(pod, corev1.PodScheduled, corev1.ConditionFalse); c != nil && c.Reason != "" {
		return problem{reason: c.Reason, text: oneLine(c.Message), failure: scaler.FailureUnschedulable}
	}
	return problem{}
}

// ours reports whether Build makes a container of that name.
func ours(container string) bool {
	return slices.Contains([]string{agentContainer, caContainer, dockerCLIContainer, dindContainer}, container)
}

// blockingContainer finds somebody else's init container that runs while the agent waits for it. The
// container has not failed, so Kubernetes says only that the pod is not initialized.
func blockingContainer(pod *corev1.Pod) problem {
	if pod.DeletionTimestamp != nil || !started(pod.Status.ContainerStatuses, agentContainer).IsZero() {
		return problem{}
	}
	for _, c := range pod.Spec.InitContainers {
		s := statusOf(pod.Status.InitContainerStatuses, c.Name)
		runs := s != nil && s.State.Running != nil
		if runs && !ours(c.Name) && (!isSidecar(&c) || !startupPassed(s)) {
			text := oneLine(c.Name + ": is not Bellboard's, and holds the agent back")
			return problem{reason: "ContainersNotInitialized", text: text, container: c.Name}
		}
	}
	return problem{}
}

// containerProblem returns what is wrong with one container. If the pod is being deleted, a container that
// ends has not failed.
func containerProblem(s *corev1.ContainerStatus, deleting bool) problem {
	const crashLoop = scaler.FailureCrashLoop
	p := problem{container: s.Name}
	last := s.LastTerminationState.Terminated
	switch w, t := s.State.Waiting, s.State.Terminated; {
	case w != nil && (w.Reason == "" || w.Reason == "ContainerCreating" || w.Reason == "PodInitializing"):
		return problem{}
	case w != nil: // ImagePullBackOff, CreateContainerConfigError, RunContainerError, CrashLoopBackOff ...
		p.reason, p.text, p.failure = w.Reason, w.Message, classOf(w.Reason, crashLoop)
		if last != nil {
			p.text = strings.TrimSpace(exitText(last) + "; " + p.text)
			if p.failure == crashLoop {
				p.failure = classOf(last.Reason, crashLoop)
			}
		}
	case t != nil && t.ExitCode != 0 && !deleting: // OOMKilled, Error, StartError ...
		p.reason, p.text, p.failure = cmp.Or(t.Reason, "Error"), exitText(t), classOf(t.Reason, crashLoop)
	case t == nil && last != nil && last.ExitCode != 0 && !startupPassed(s) && !deleting:
		// The container runs again, and its start-up probe has not passed: the class stays.
		p.reason, p.failure = "CrashLoopBackOff", classOf(last.Reason, crashLoop)
		p.text = fmt.Sprintf("restarted %d times: %s", s.RestartCount, exitText(last))
	default:
		return problem{}
	}
	p.text = oneLine(s.Name + ": " + p.text)
	return p
}

// daemonFailure returns the class of what is wrong with the Docker daemon beside a running agent; "": none.
func daemonFailure(pod *corev1.Pod) scaler.Failure {
	daemon := statusOf(pod.Status.InitContainerStatuses, dindContainer)
	agent := statusOf(pod.Status.ContainerStatuses, agentContainer)
	if daemon == nil || pod.DeletionTimestamp != nil || agent == nil || agent.State.Running == nil {
		return ""
	}
	return containerProblem(daemon, false).failure
}

// exitText says how a container ended.
func exitText(t *corev1.ContainerStateTerminated) string {
	out := fmt.Sprintf("exit code %d", t.ExitCode)
	if t.Reason != "" && t.Reason != "Error" && t.Reason != "Completed" {
		out = t.Reason + ", " + out
	}
	if t.Message != "" {
		out += ": " + t.Message
	}
	return out
}

// oneLine makes one line of a message, of at most maxText characters.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxText {
		s = string(r[:maxText]) + "…"
	}
	return s
}

const (
	// lastLogTimeout is short, since the deletion of the pod waits for its last log lines, and is sent
	// within a second of the answers that it rests on.
	lastLogTimeout = 400 * time.Millisecond
	lastLines      = 20
	lastBytes      = 8 << 10
)

// LastLog returns the last log lines of the container at fault, or of the agent if the pod itself has
// failed. LastLog hides what looks like a secret, since a build or a broken start may print anything.
func (c *Client) LastLog(ctx context.Context, pod scaler.Pod) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Clock.Wall(lastLogTimeout))
	defer cancel()
	options := &corev1.PodLogOptions{
		Container:  cmp.Or(pod.Faulty, agentContainer),
		TailLines:  new(int64(lastLines)),
		LimitBytes: new(int64(lastBytes)),
	}
	// DoRaw of the typed client leaves out what the API server says of an error.
	request := c.rest().Get().SubResource("log").VersionedParams(options, scheme.ParameterCodec)
	answer := c.send(ctx, objectKey{"pods", pod.Namespace, pod.Name}, request)
	text, _ := answer.Raw()
	err := answer.Error()
	if apierrors.IsForbidden(err) && c.logsDenied.CompareAndSwap(false, true) {
		c.cfg.Log.Warn("not allowed to read the logs of agents that failed", zap.Error(err))
	}
	if err != nil {
		return "", wrap("read the log of "+pod.Name, err)
	}
	return redact(strings.ToValidUTF8(strings.TrimSpace(string(text)), "?")), nil
}

var (
	// hexSecret finds an inbound agent's secret, or an image's digest, which has 64 digits too.
	hexSecret = regexp.MustCompile(`(sha256:)?\b[0-9a-f]{64}\b`)
	// namedSecret finds password=..., "token": "..." and Authorization: Basic ...
	namedSecret = regexp.MustCompile(`(?i)((?:password|passwd|secret|token|api[-_]?key|authorization)["']?\s*[=:]\s*)` +
		`(?:(?:basic|bearer)\s+)?["']?[^\s"',;]+["']?`)
	// urlSecret finds the password in an address.
	urlSecret = regexp.MustCompile(`(://[^/\s:@]+:)[^/\s@]+@`)
)

const hidden = "[hidden]"

// redact hides what looks like a secret.
func redact(s string) string {
	s = hexSecret.ReplaceAllStringFunc(s, func(m string) string {
		if strings.HasPrefix(m, "sha256:") {
			return m
		}
		return hidden
	})
	s = namedSecret.ReplaceAllString(s, "${1}"+hidden)
	return urlSecret.ReplaceAllString(s, "${1}"+hidden+"@")
}
