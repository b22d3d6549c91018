package pool

import (
	"embed"
	"fmt"
	"regexp"
	"strings"
)

// The containers and volumes of manifests/pod.yaml that other code knows by name.
const (
	agentContainer     = "agent"
	dindContainer      = "dind"
	dockerCLIContainer = "docker-cli" // the container's volume has the same name
	caContainer        = "ca"         // the same

	secretVolumeName = "agent-secret" // of the Secret by which the agent and Jenkins know each other
	dockerDataVolume = "docker-data"
	dockerRunVolume  = "docker-run"

	inboundSecretKey = "secret" // of the Secret that has the pod's name
	rootlessData     = "/home/rootless/.local/share/docker"
)

// scripts has the scripts that agents' pods run. A script's first paragraph is its head: its purpose, and
// directives of shellcheck.
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

// inboundImage finds Jenkins' own image for inbound agents, from any registry. Its entrypoint is known.
var inboundImage = regexp.MustCompile(`^(.*/)?jenkins/inbound-agent(:[^:/@]+)?(@.*)?$`)

// daemonScript returns the script of the daemon's container.
func daemonScript(s *Spec) string {
	where, run, tend, daemon := "store=/var/lib/docker mine=yes\n", "run=alone\n", "", script("dind")
	if s.Docker == DockerRootless {
		where, daemon = "store="+rootlessData+" mine=\n", script("rootless")
	}
	if s.HasClaim() {
		where += fmt.Sprintf("size=%d\n", max(1, s.CacheSize.Value()/1e6))
		run, tend = "run=tend\n", script("tend")
	}
	return where + run + script("supervise") + script("daemon") + tend + daemon
}
