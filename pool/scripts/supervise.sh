#!/bin/sh
# Runs one program beside a shell that is the container's first process. A process whose parent has ended
# becomes a child of that first process. A shell that waits reaps every child that ends. A JVM or a daemon
# leaves them defunct. The shell passes a signal on, and ends with the program's own exit code.

pid='' signal=''

pass() {
  kill -TERM "$pid" 2>/dev/null || :
}

start() {
  pid=''
  trap 'signal=yes; [ -z "$pid" ] || pass' TERM INT
  "$@" &
  pid=$!
  [ -z "$signal" ] || pass # it came before the number was known
}

finish() {
  code=0
  wait "$pid" || code=$?
  while [ -n "$signal" ]; do # which may be what ended the wait; a program that was waited for gives 127
    signal='' again=0
    wait "$pid" 2>/dev/null || again=$?
    [ "$again" = 127 ] || code="$again"
  done
  exit "$code"
}
