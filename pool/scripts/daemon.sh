#!/bin/sh
# Comes before the other scripts of the daemon's container, and after supervise.sh: this shell, not
# the one of the image's entrypoint, is the container's first process.

export TINI_SUBREAPER=1

begin() {
  rm -f /run/docker/containerd/containerd.pid # of a daemon that was killed: another process may have its number now
  start "$@"
}

alone() {
  begin "$@"
  finish
}
