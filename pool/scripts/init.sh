#!/bin/sh
# Begins an agent's container, after supervise.sh. The first process is the image's own init, or else this shell.
# A program that a shell starts in the background ignores SIGINT, and builds would inherit that. env undoes that
# if env can (busybox' env cannot).

for init in tini dumb-init; do
  if command -v "$init" >/dev/null 2>&1; then
    exec "$init" -- "$@"
  fi
done
if env --default-signal=INT true 2>/dev/null; then
  set -- env --default-signal=INT,QUIT "$@"
fi
start "$@"
finish
