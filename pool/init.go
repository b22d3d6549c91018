package pool

import "strings"

// superviseScript runs one program beside a shell that is the container's first process.
// A program whose parent is gone becomes a child of that first process. A shell that waits
// takes every one of its children that ends, while a JVM or a daemon leaves them defunct.
// The shell passes a signal on, and ends with the program's own code.
const superviseScript = `pid= signal=
told() { :; } # what is done before a signal is passed on

pass() {
  told
  kill -TERM "$pid" 2>/dev/null || :
}

start() {
  pid=
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
`

// initScript is the first process of an agent's container: the image's own init, or else
// this shell. What a shell starts beside itself ignores SIGINT, and builds would inherit
// that; env undoes it where it can (busybox' cannot).
const initScript = superviseScript + `
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
`

// underInit is the command of a container that runs a program, and its first arguments,
// under an init.
func underInit(program ...string) []string {
	return append([]string{"/bin/sh", "-eu", "-c", initScript, "init"}, program...)
}

const (
	inboundRepository = "jenkins/inbound-agent"
	inboundEntrypoint = "/usr/local/bin/jenkins-agent"
)

// isInboundImage reports whether an image is Jenkins' own for inbound agents, from
// whatever registry, so that its entrypoint is known.
func isInboundImage(image string) bool {
	repository, _, _ := strings.Cut(image, "@")
	if slash := strings.LastIndex(repository, "/"); strings.LastIndex(repository, ":") > slash {
		repository = repository[:strings.LastIndex(repository, ":")]
	}
	return repository == inboundRepository || strings.HasSuffix(repository, "/"+inboundRepository)
}
