package pool

import (
	"embed"
	"strings"
)

// scripts has the scripts that agents' pods run. A script's head is its first paragraph: its purpose, and
// directives of shellcheck. The head is not part of the pods.
//
//go:embed scripts/*.sh
var scripts embed.FS

// script returns the named script without its head.
func script(name string) string {
	text, err := scripts.ReadFile("scripts/" + name + ".sh")
	if err != nil {
		panic("pool: " + err.Error())
	}
	_, body, _ := strings.Cut(string(text), "\n\n")
	return body
}

// underInit returns the command of a container that runs a program, with its first arguments, under an init.
func underInit(program ...string) []string {
	return append([]string{"/bin/sh", "-eu", "-c", script("supervise") + script("init"), "init"}, program...)
}

const (
	inboundRepository = "jenkins/inbound-agent"
	inboundEntrypoint = "/usr/local/bin/jenkins-agent"
)

// isInboundImage reports whether an image is Jenkins' own image for inbound agents, from any registry. The
// entrypoint of that image is known.
func isInboundImage(image string) bool {
	repository, _, _ := strings.Cut(image, "@")
	if slash := strings.LastIndex(repository, "/"); strings.LastIndex(repository, ":") > slash {
		repository = repository[:strings.LastIndex(repository, ":")]
	}
	return repository == inboundRepository || strings.HasSuffix(repository, "/"+inboundRepository)
}
