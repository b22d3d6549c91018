package pool

import (
	"fmt"
	"regexp"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"bellboard/scaler"
)

// tellScript comes before all other scripts of the daemon's container. Told to end,
// the daemon's shell first asks the daemon what builds have used it for, and writes
// that where the kubelet takes a container's last message from. The daemon's numbers
// are on a socket that it always has, for plugins of its own; no image has a
// program that asks a socket but Docker's client. Who cannot be asked within a second is not
// told of, and nothing else follows. The daemon itself begins with one container.
const tellScript = superviseScript + `export TINI_SUBREAPER=1 # this shell, not the daemon's, is the container's first process

tell() {
  said="$(printf 'GET /metrics HTTP/1.0\r\n\r\n' | DOCKER_HOST="unix://$metrics" timeout 1 docker system dial-stdio)" || return
  made="$(echo "$said" | sed -n 's/^engine_daemon_container_actions_seconds_count{action="create"} \([0-9]*\)$/\1/p')"
  pulled="$(echo "$said" | sed -n 's/^engine_daemon_image_actions_seconds_count{action="pull"} \([0-9]*\)$/\1/p')"
  [ -z "$made" ] || echo "bellboard docker containers=$((made - 1)) pulls=${pulled:-0}" > /dev/termination-log
}

told() { tell 2>/dev/null || :; }

begin() {
  rm -f /run/docker/containerd/containerd.pid # of a daemon that was killed: another process may have its number now
  start "$@"
}

alone() {
  begin "$@"
  finish
}
`

// daemonScript is what the daemon's container runs.
func daemonScript(s *Spec) string {
	script, where := dindScript, "store=/var/lib/docker mine=yes metrics=/var/run/docker/metrics.sock\n"
	if s.Docker == DockerRootless {
		script, where = rootlessScript, "store="+rootlessData+` mine= metrics="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}/docker/metrics.sock"`+"\n"
	}
	if s.HasClaim() {
		where += fmt.Sprintf("size=%d\n", max(1, s.CacheSize.Value()/1e6))
		return where + tellScript + tendScript + "run=tend\n" + script
	}
	return where + tellScript + "run=alone\n" + script
}

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
