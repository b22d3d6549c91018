package pool

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/scaler"
)

// TestTrouble tests the reason, the text and the class of everything that can be wrong with a pod.
func TestTrouble(t *testing.T) {
	of := func(name string, s corev1.ContainerState) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: s}
	}
	agent := func(s corev1.ContainerState) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{of(agentContainer, s)}}
	}
	waits := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	waiting := func(reason, message string) corev1.PodStatus { return agent(waits(reason, message)) }
	end := func(code int32, reason string) *corev1.ContainerStateTerminated {
		return &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}
	}
	terminated := func(code int32, reason string) corev1.PodStatus {
		return agent(corev1.ContainerState{Terminated: end(code, reason)})
	}
	dind := func(s corev1.ContainerState, last *corev1.ContainerStateTerminated, started bool) corev1.PodStatus {
		c := of(dindContainer, s)
		c.LastTerminationState.Terminated, c.Started, c.RestartCount = last, &started, 3
		return corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{c}}
	}
	runs := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	failed := func(reason string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodFailed, Reason: reason, Message: "words"}
	}
	disrupted := func(phase corev1.PodPhase, reason string) corev1.PodStatus {
		return corev1.PodStatus{Phase: phase, Conditions: []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, Message: "words"}}}
	}
	unscheduled := corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available:\n3 Insufficient cpu.",
	}}}
	crash, oom := scaler.FailureCrashLoop, scaler.FailureOOM
	for name, c := range map[string]struct {
		status   corev1.PodStatus
		deleting bool
		want     problem
	}{
		"starting":     {status: waiting("ContainerCreating", "")},
		"initializing": {status: waiting("PodInitializing", "")},
		"pull":         {status: waiting("ImagePullBackOff", "Back-off pulling"), want: problem{"ImagePullBackOff", "agent: Back-off pulling", scaler.FailureImagePull, "agent"}},
		"pull of an image that is not there, which only the message says": {
			status: waiting("ErrImagePull", "manifest unknown"), want: problem{"ErrImagePull", "agent: manifest unknown", scaler.FailureImagePull, "agent"},
		},
		"registry":           {status: waiting("RegistryUnavailable", "x"), want: problem{"RegistryUnavailable", "agent: x", scaler.FailureImagePull, "agent"}},
		"image name":         {status: waiting("InvalidImageName", "bad"), want: problem{"InvalidImageName", "agent: bad", scaler.FailureBadImage, "agent"}},
		"never to be pulled": {status: waiting("ErrImageNeverPull", "no"), want: problem{"ErrImageNeverPull", "agent: no", scaler.FailureBadImage, "agent"}},
		"config":             {status: waiting("CreateContainerConfigError", "no key"), want: problem{"CreateContainerConfigError", "agent: no key", crash, "agent"}},
		"cannot be made":     {status: waiting("CreateContainerError", "no"), want: problem{"CreateContainerError", "agent: no", crash, "agent"}},
		"crashes":            {status: dind(waits("CrashLoopBackOff", "back-off 10s"), end(1, "Error"), false), want: problem{"CrashLoopBackOff", "dind: exit code 1; back-off 10s", crash, "dind"}},
		"crashes for memory": {status: dind(waits("CrashLoopBackOff", "back-off 10s"), end(137, "OOMKilled"), false), want: problem{"CrashLoopBackOff", "dind: OOMKilled, exit code 137; back-off 10s", oom, "dind"}},
		"between two crashes": {
			status: dind(runs, end(1, "Error"), false), want: problem{"CrashLoopBackOff", "dind: restarted 3 times: exit code 1", crash, "dind"},
		},
		"has crashed, and lasts":    {status: dind(runs, end(1, "Error"), true)},
		"its image gone meanwhile":  {status: dind(waits("ErrImagePull", "x"), end(1, "Error"), false), want: problem{"ErrImagePull", "dind: exit code 1; x", scaler.FailureImagePull, "dind"}},
		"ended well":                {status: terminated(0, "Completed")},
		"ended badly":               {status: terminated(1, "Error"), want: problem{"Error", "agent: exit code 1", crash, "agent"}},
		"told to end":               {status: terminated(143, "Error"), deleting: true},
		"out of memory":             {status: terminated(137, "OOMKilled"), want: problem{"OOMKilled", "agent: OOMKilled, exit code 137", oom, "agent"}},
		"evicted":                   {status: failed("Evicted"), want: problem{"Evicted", "words", scaler.FailureEvicted, ""}},
		"preempted":                 {status: failed("Preempting"), want: problem{"Preempting", "words", scaler.FailureEvicted, ""}},
		"node lost":                 {status: failed("NodeLost"), want: problem{"NodeLost", "words", scaler.FailureNodeGone, ""}},
		"node shut down":            {status: failed("Terminated"), want: problem{"Terminated", "words", scaler.FailureNodeGone, ""}},
		"not taken by its node":     {status: failed("NodeAffinity"), want: problem{"NodeAffinity", "words", scaler.FailureNodeGone, ""}},
		"its node full after all":   {status: failed("OutOfcpu"), want: problem{"OutOfcpu", "words", scaler.FailureNodeGone, ""}},
		"past a deadline":           {status: failed("DeadlineExceeded"), want: problem{"DeadlineExceeded", "words", "", ""}},
		"drained":                   {status: disrupted(corev1.PodRunning, "EvictionByEvictionAPI"), deleting: true, want: problem{"EvictionByEvictionAPI", "words", scaler.FailureEvicted, ""}},
		"its node tainted":          {status: disrupted(corev1.PodPending, "DeletionByTaintManager"), deleting: true, want: problem{"DeletionByTaintManager", "words", scaler.FailureNodeGone, ""}},
		"collected after its node":  {status: disrupted(corev1.PodFailed, "DeletionByPodGC"), want: problem{"DeletionByPodGC", "words", scaler.FailureNodeGone, ""}},
		"to be disrupted, at work":  {status: disrupted(corev1.PodRunning, "DeletionByTaintManager")},
		"unscheduled":               {status: unscheduled, want: problem{"Unschedulable", "0/3 nodes are available: 3 Insufficient cpu.", scaler.FailureUnschedulable, ""}},
		"words alone say nothing":   {status: corev1.PodStatus{Message: "ImagePullBackOff"}},
		"nor those of a container":  {status: waiting("ContainerCreating", "ErrImagePull: manifest unknown")},
		"nor those of its schedule": {status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "Unschedulable"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Status: c.status}
			if c.deleting {
				pod.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
			}
			if got := trouble(pod); got != c.want {
				t.Errorf("trouble() = %+v, want %+v", got, c.want)
			}
		})
	}
	if got := []rune(oneLine(strings.Repeat("ü ", 1000))); len(got) != maxText+1 {
		t.Errorf("oneLine keeps %d characters", len(got))
	}
}

// TestNotBegun tests that a container that could not start has not run, though the kubelet gives a time.
func TestNotBegun(t *testing.T) {
	failed := &corev1.ContainerStateTerminated{ExitCode: 128, Reason: "StartError", StartedAt: metav1.Unix(0, 0), FinishedAt: metav1.Unix(100, 0)}
	dind := corev1.ContainerStatus{Name: dindContainer, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}
	dind.LastTerminationState.Terminated = failed
	pod := &corev1.Pod{
		Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: dindContainer, RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}},
		Status: corev1.PodStatus{
			InitContainerStatuses: []corev1.ContainerStatus{dind},
			ContainerStatuses:     []corev1.ContainerStatus{{Name: agentContainer, State: corev1.ContainerState{Terminated: failed}}},
		},
	}
	if p := convert(pod); !p.DockerUp.IsZero() || !p.Ready.IsZero() || p.Failure != scaler.FailureCrashLoop {
		t.Errorf("the daemon began at %s, the agent at %s, and the class is %q", p.DockerUp, p.Ready, p.Failure)
	}
}

// TestRedact tests that LastLog hides what looks like a secret.
func TestRedact(t *testing.T) {
	secret := strings.Repeat("0123456789abcdef", 4)
	for in, want := range map[string]string{
		"-secret " + secret + " -workDir /x":              "-secret [hidden] -workDir /x",
		"pulled docker@sha256:" + secret:                  "pulled docker@sha256:" + secret,
		`Login with password=hunter2, then`:               "Login with password=[hidden], then",
		`{"token": "abc.def", "user": "me"}`:              `{"token": [hidden], "user": "me"}`,
		"> Authorization: Basic dXNlcjpwYXNz":             "> Authorization: [hidden]",
		"git clone https://me:pw@git.example/x.git":       "git clone https://me:[hidden]@git.example/x.git",
		"SEVERE: https://jenkins.example/ is not Jenkins": "SEVERE: https://jenkins.example/ is not Jenkins",
	} {
		if got := redact(in); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestMissing: a container that waits for an image, a Secret or a ConfigMap cannot be blamed
// on the pod's cache slot; a container that ends can.
func TestMissing(t *testing.T) {
	for reason, want := range map[string]bool{
		"ErrImagePull": true, "ImagePullBackOff": true, "InvalidImageName": true, "ErrImageNeverPull": true, "CreateContainerConfigError": true,
		"CrashLoopBackOff": false, "CreateContainerError": false,
	} {
		pod := &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: agentContainer, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
		}}}}
		if got := convert(pod).Missing; got != want {
			t.Errorf("%s: missing is %v, want %v", reason, got, want)
		}
	}
}
