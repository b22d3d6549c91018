package pool

import (
	"embed"
	"strings"
)

// The scripts that agents' pods run, by name. A script's head (its first paragraph: what it is
// for, and directives of shellcheck) stays out of the pods.
//
//go:embed scripts/*.sh
var scripts embed.FS

// script is the named script without its head.
func script(name string) string {
	text, err := scripts.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		panic("pool: " + err.Error())
	}
	_, body, _ := strings.Cut(string(text), "\n\n")
	return body
}

// underInit is the command of a container that runs a program, and its first arguments,
// under an init.
func underInit(program ...string) []string {
	return append([]string{"/bin/sh", "-eu", "-c", script("supervise") + script("init"), "init"}, program...)
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
