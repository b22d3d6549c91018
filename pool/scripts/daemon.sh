#!/bin/sh
# Precedes the other scripts of the daemon's container, and follows supervise.sh. This shell is the container's
# first process, and not the shell of the image's entrypoint.

export TINI_SUBREAPER=1

begin() {
  rm -f /run/docker/containerd/containerd.pid # of a daemon that was killed: another process may have its number now
  start "$@"
}

alone() {
  begin "$@"
  finish
}
