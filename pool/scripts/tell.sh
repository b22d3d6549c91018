#!/bin/sh
# Comes before the other scripts of the daemon's container, and after supervise.sh. Told to end, the
# shell asks the daemon what builds have used it for, and writes that where the kubelet takes a
# container's last message from. The daemon's numbers are on a socket that it always has, for
# plugins of its own; no image has a program that asks a socket but Docker's client. A daemon that
# does not answer within a second is not told of. The daemon itself begins with one container.
# shellcheck disable=SC2154 # metrics

export TINI_SUBREAPER=1 # this shell, not the daemon's, is the container's first process

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
