//go:build e2enode

package node

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// illImages returns the images of agents that fail.
func illImages(env []string) map[string]imageConfig {
	sh := func(script string) imageConfig {
		return imageConfig{Entrypoint: []string{"sh", "-c", script}, Env: env}
	}
	return map[string]imageConfig{
		"bellboard.test/ends:1":    sh("echo ill at once; exit 1"),
		"bellboard.test/quits:1":   sh("echo well, and over"),
		"bellboard.test/eats:1":    sh("echo hungry; exec tail /dev/zero"),
		"bellboard.test/fills:1":   sh("dd if=/dev/zero of=/var/tmp/full bs=1M count=32; sleep 600"),
		deafImage:                  sh("echo deaf; sleep 600"),
		"bellboard.test/nothing:1": {Entrypoint: []string{"/nothing"}},
	}
}

const deafImage = "bellboard.test/deaf:1"

// ill is a team whose agents fail.
type ill struct {
	team     string
	settings string // of the team, by blanks
	template string // of its pods, if it has one
	// do acts on the team's first pod.
	do func(*home, *corev1.Pod)

	want scaler.Failure
	text string // a pattern: what its failure says
	log  string // the last log lines that are kept
}

var ills = []ill{
	{team: "absent", settings: "IMAGE=127.0.0.1:1/absent:1", want: scaler.FailureImagePull, text: `image pull since .* \((ErrImagePull|ImagePullBackOff)\): agent: `},
	{team: "misnamed", settings: "IMAGE=Not:an:image", want: scaler.FailureBadImage, text: `image pull since .* \(InvalidImageName\): agent: `},
	{
		team: "unpulled", settings: "IMAGE=127.0.0.1:1/absent:2", template: "spec: {containers: [{name: agent, imagePullPolicy: Never}]}",
		want: scaler.FailureBadImage, text: `image pull since .* \(ErrImageNeverPull\): agent: `,
	},
	{team: "ends", settings: "IMAGE=bellboard.test/ends:1", want: scaler.FailureCrashLoop, text: `^its pod ended: Failed Error: agent: exit code 1$`, log: "ill at once"},
	{team: "quits", settings: "IMAGE=bellboard.test/quits:1", want: scaler.FailureNeverConnected, text: `^its pod ended: Succeeded$`, log: "well, and over"},
	{team: "eats", settings: "IMAGE=bellboard.test/eats:1", want: scaler.FailureOOM, text: `^its pod ended: Failed OOMKilled: agent: OOMKilled, exit code 137$`, log: "hungry"},
	{
		team: "eats-dind", settings: "DOCKER=dind START_TIMEOUT=30s", template: "spec: {initContainers: [{name: dind, resources: {limits: {memory: 16Mi}, requests: {memory: 16Mi}}}]}",
		want: scaler.FailureOOM, text: `\((CrashLoopBackOff|OOMKilled)\): dind: .*OOMKilled`,
	},
	{
		team: "ends-dind", settings: "DOCKER=dind START_TIMEOUT=30s", template: "spec: {initContainers: [{name: dind, env: [{name: PATH, value: '/usr/bin:/bin'}]}]}",
		want: scaler.FailureCrashLoop, text: `^Docker did not become ready in 30s \((CrashLoopBackOff|Error)\): dind: .*exit code 127`, log: "not found",
	},
	{
		team: "unsealed", template: "spec: {containers: [{name: agent, securityContext: {seccompProfile: {type: Localhost, localhostProfile: nobody.json}}}]}",
		want: scaler.FailureCrashLoop, text: `a container cannot be made since .* \(CreateContainerError\): agent: .*nobody.json`,
	},
	{
		team: "lost-dind", settings: "DOCKER=dind START_TIMEOUT=30s", template: "spec: {initContainers: [{name: dind, workingDir: /etc/passwd}]}",
		want: scaler.FailureCrashLoop, text: `a container cannot be made since [0-9]+s \((RunContainerError|CrashLoopBackOff)\): dind: .*not a directory`,
	},
	{team: "nothing", settings: "IMAGE=bellboard.test/nothing:1", want: scaler.FailureCrashLoop, text: `^its pod ended: Failed StartError: agent: StartError, exit code 128: .*no such file`},
	{
		team: "keyless", template: "spec: {containers: [{name: agent, env: [{name: KEY, valueFrom: {secretKeyRef: {name: nobody, key: key}}}]}]}",
		want: scaler.FailureCrashLoop, text: `a container cannot be made since .* \(CreateContainerConfigError\): agent: secret "nobody" not found`,
	},
	{
		team: "team", template: "spec: {volumes: [{name: late, secret: {secretName: late}}], containers: [{name: agent, volumeMounts: [{name: late, mountPath: /late}]}]}",
		want: scaler.FailureStorage, text: `its volumes or its network not ready`,
	},
	{team: "deaf", settings: "IMAGE=" + deafImage, want: scaler.FailureNeverConnected, text: `runs, and does not connect since `, log: "deaf"},
	{
		team: "fills", settings: "IMAGE=bellboard.test/fills:1 START_TIMEOUT=1m", template: "spec: {containers: [{name: agent, resources: {limits: {ephemeral-storage: 1Mi}}}]}",
		want: scaler.FailureEvicted, text: `^its pod ended: Failed Evicted: .*ephemeral`,
	},
	{
		team: "full", settings: "CPU=999", template: "spec: {schedulerName: nobody}", do: (*home).bind,
		want: scaler.FailureNodeGone, text: `^its pod ended: Failed OutOfcpu: `,
	},
}

// TestFailures checks the class, the text and the last log lines of agents that a real kubelet or scheduler
// keeps from starting. After a failure one agent at a time tries. Nothing of the failed agents is left.
func TestFailures(t *testing.T) {
	teams, settings, files := []string{"large"}, []string{
		"BELLBOARD_DEFAULT_MODE=ephemeral", "BELLBOARD_DEFAULT_IMAGE=" + agentImage, "BELLBOARD_DEFAULT_CPU=10m", "BELLBOARD_DEFAULT_MEMORY=64Mi",
		"BELLBOARD_DEFAULT_BUILD_GRACE=30s", "BELLBOARD_DEFAULT_START_TIMEOUT=20s", "BELLBOARD_TEAM_LARGE_LABELS=large", "BELLBOARD_TEAM_LARGE_CPU=999",
	}, map[string]string{}
	for i := range ills {
		c := &ills[i]
		prefix := "BELLBOARD_TEAM_" + strings.ToUpper(strings.ReplaceAll(c.team, "-", "_")) + "_"
		teams = append(teams, c.team)
		if c.team != "team" {
			settings = append(settings, prefix+"LABELS="+c.team)
		}
		for s := range strings.FieldsSeq(c.settings) {
			settings = append(settings, prefix+s)
		}
		if c.template != "" {
			files["/"+c.team] = c.template
			settings = append(settings, prefix+"POD_TEMPLATE_FILE=/"+c.team)
		}
	}
	h := newHome(t, "failures", append(settings, "BELLBOARD_TEAMS="+strings.Join(teams, ","))...)
	h.files = files
	t.Parallel()
	stop := h.start()
	for range 3 { // and one more
		h.jenkins.Submit(jenkinssim.Job{Name: "more", Label: "ends"})
	}
	for _, team := range teams {
		label := team
		if team == "team" {
			label = "any"
		}
		h.jenkins.Submit(jenkinssim.Job{Name: "job", Label: label, Duration: time.Second})
	}
	for i := range ills {
		if c := &ills[i]; c.do != nil {
			c.do(h, h.podOf(c.team))
		}
	}
	// Nobody tells Bellboard that the cause is gone: the next probe starts.
	h.within(90*time.Second, "an agent of team fails", func() bool { return len(h.failures("team")) > 0 })
	late := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "late"}}
	if _, err := h.k.CoreV1().Secrets(h.ns).Create(t.Context(), late, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := range ills {
		c := &ills[i]
		h.within(90*time.Second, "an agent of "+c.team+" fails, and is heard", func() bool {
			// Bellboard asks for a log once and does not wait, so that one of several equal logs may be
			// missing.
			return slices.ContainsFunc(h.failures(c.team), func(f scaler.FailedAgent) bool { return strings.Contains(f.Log, c.log) })
		})
	}
	h.succeeded(1)
	h.within(time.Minute, "two tries after those that ended", func() bool { return len(h.failures("ends")) >= 6 })
	stop()
	h.oneProbe("ends")

	h.start("BELLBOARD_DEFAULT_PAUSED=true")
	h.within(time.Minute, "nothing is left", func() bool {
		secrets, err := h.k.CoreV1().Secrets(h.ns).List(t.Context(), metav1.ListOptions{})
		return err == nil && len(secrets.Items) == 1 && len(h.pods()) == 0 && h.agentsLeft() == 0
	})
	for i := range ills {
		c := &ills[i]
		for j, f := range h.failures(c.team) {
			if f.Failure != c.want || !regexp.MustCompile(c.text).MatchString(f.Text) {
				t.Errorf("%s failed: %s: %s\nwant %s: %s", f.Agent, f.Failure, f.Text, c.want, c.text)
			} else if j == 0 {
				t.Logf("%s failed: %s: %s (its last log lines: %q)", f.Agent, f.Failure, f.Text, f.Log)
			}
		}
	}
	// Bellboard waits for a Kubernetes node for longer than this test runs.
	pod := h.deleted("large")
	if got := scaler.FailureOf(pod); got != scaler.FailureUnschedulable || pod.Trouble != corev1.PodReasonUnschedulable || !strings.Contains(pod.TroubleText, "Insufficient cpu") {
		t.Errorf("what no machine has room for is %s: %s: %s", got, pod.Trouble, pod.TroubleText)
	}
}

// podOf returns the first pod of the team.
func (h *home) podOf(team string) (pod *corev1.Pod) {
	h.t.Helper()
	h.within(time.Minute, "there is a pod of "+team, func() bool {
		for _, p := range h.pods() {
			if strings.HasPrefix(p.Name, team+"-e-") || strings.HasPrefix(p.Name, team+"-p-") {
				pod = &p
			}
		}
		return pod != nil
	})
	return pod
}

// bind binds the pod to the Kubernetes node, without any check of a scheduler.
func (h *home) bind(pod *corev1.Pod) {
	b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: h.node.Name}}
	if err := h.k.CoreV1().Pods(h.ns).Bind(h.t.Context(), b, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

// ticks returns the ticks in which something was done or counted.
func (h *home) ticks() []scaler.Tick {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.past
}

func (h *home) failures(team string) (out []scaler.FailedAgent) {
	for _, t := range h.ticks() {
		for _, f := range t.Facts.Failures {
			if f.Team == team {
				out = append(out, f)
			}
		}
	}
	return out
}

func (h *home) lost() (out []scaler.LostBuilds) {
	for _, t := range h.ticks() {
		out = append(out, t.Facts.BuildsLost...)
	}
	return out
}

// deleted returns the last pod of the team that Bellboard deleted, as Bellboard saw it.
func (h *home) deleted(team string) *scaler.Pod {
	h.t.Helper()
	var out *scaler.Pod
	for _, t := range h.ticks() {
		for _, o := range t.Outcomes {
			if o.Action.Verb == scaler.DeletePod && o.Action.Pool.Team == team && o.Result == scaler.Done {
				out = o.Action.Pod
			}
		}
	}
	if out == nil {
		h.t.Fatalf("no pod of %s was deleted", team)
	}
	return out
}

// oneProbe checks that since the team's first known failure there was at most one probe at a time. Agents
// that were made before are no probes.
func (h *home) oneProbe(team string) {
	h.t.Helper()
	probes, known, failed := map[string]bool{}, false, false
	for _, t := range h.ticks() {
		known = failed // what was decided before knew nothing
		for _, o := range t.Outcomes {
			done := o.Action.Pool.Team == team && o.Result == scaler.Done
			if done && o.Action.Verb == scaler.Create && known {
				if probes[o.Action.Agent] = true; len(probes) > 1 {
					h.t.Errorf("an agent of %s tries beside another: %s", team, o.Action.Text)
				}
			}
			if done && o.Action.Verb == scaler.DeletePod {
				delete(probes, o.Action.Agent)
				failed = true
			}
		}
	}
}

// agentsLeft counts the Jenkins nodes of agents.
func (h *home) agentsLeft() (n int) {
	made := map[string]bool{}
	for _, t := range h.ticks() {
		for _, o := range t.Outcomes {
			made[o.Action.Agent] = made[o.Action.Agent] || o.Action.Verb == scaler.Create
		}
	}
	for _, node := range h.jenkins.NodesList() {
		if made[node.Name] {
			n++
		}
	}
	return n
}
