package pool

import (
	"embed"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"bellboard/scaler"
)

const (
	secretVolumeName = "agent-secret" // of the Secret by which the agent and Jenkins know each other

	inboundSecretDir = "/run/secrets/jenkins-agent" // the Secret has the pod's name
	inboundSecretKey = "secret"
	swarmSecretDir   = "/run/secrets/jenkins-swarm" // Swarm clients share the password of one user
	swarmSecretKey   = "password"
	sshSecretDir     = "/run/secrets/jenkins-ssh" // the host key, and the public keys that may log in
)

// sshAgent starts sshd, which waits for Jenkins' call. sshd is root, and sessions are the image's user's.
func sshAgent(c *corev1.Container) {
	c.Command = []string{"/bin/sh", "-eu", "-c", script("ssh"), "sshd"}
	c.Args = []string{sshSecretDir}
	c.Ports = []corev1.ContainerPort{{Name: "ssh", ContainerPort: 22}}
	c.SecurityContext = rootContext()
}

// inboundAgent starts the agent of the inbound-agent image by arguments. With variables, the image's script
// takes an argument that contains the name for the name, and passes a URL twice.
func inboundAgent(c *corev1.Container, s *Spec, name string) {
	c.Args = []string{"-url", escapeVars(s.JenkinsURL)}
	switch {
	case s.Transport == WebSocket:
		c.Args = append(c.Args, "-webSocket")
	case s.Tunnel != "":
		c.Args = append(c.Args, "-tunnel", escapeVars(s.Tunnel))
	}
	c.Args = append(
		c.Args,
		"-name", escapeVars(name),
		"-secret", "@"+inboundSecretDir+"/"+inboundSecretKey,
		"-workDir", workDir,
		"-noReconnectAfter", "6h", // an agent that cannot reach Jenkins ends by itself
	)
	if inboundImage.MatchString(s.Image) {
		c.Command = underInit("/usr/local/bin/jenkins-agent")
	}
}

// swarmAgent starts a Swarm client. The client retries for ever (no -noRetryAfterConnected): after a restart
// of Jenkins it registers itself again, and its pipeline goes on.
func swarmAgent(c *corev1.Container, s *Spec, name string) {
	c.Command = underInit("/bin/sh", "-eu", "-c", script("swarm"), "swarm-client")
	c.Args = []string{
		"-url", escapeVars(s.JenkinsURL),
		"-name", escapeVars(name),
	}
	for _, l := range s.Labels {
		if l != "swarm" { // the plugin adds this label
			c.Args = append(c.Args, "-labels", escapeVars(l))
		}
	}
	mode := "exclusive"
	if s.Unlabelled {
		mode = "normal"
	}
	c.Args = append(
		c.Args,
		"-description", escapeVars(scaler.Describe(s.Instance, s.PoolID, false)),
		"-executors", strconv.Itoa(max(1, s.Executors)),
		"-mode", mode,
		"-disableClientsUniqueId",
		"-webSocket",
		"-fsroot", workDir,
		"-username", escapeVars(s.SwarmUser),
		"-passwordFile", swarmSecretDir+"/"+swarmSecretKey,
		"-retryInterval", "10",
	)
	jar := strings.TrimRight(s.JenkinsURL, "/") + "/swarm/swarm-client.jar"
	c.Env = append(c.Env, corev1.EnvVar{Name: "SWARM_CLIENT_URL", Value: escapeVars(jar)})
}

// addSecret adds the volume with the agent's Secret. The kubelet waits for a missing Secret.
func addSecret(pod *corev1.PodSpec, s *Spec, name string) {
	dir, secret, mode, keys := inboundSecretDir, name, int32(0o440), []string{inboundSecretKey}
	switch {
	case s.Connect == scaler.Swarm:
		dir, secret, keys = swarmSecretDir, s.SwarmPasswordSecret, []string{swarmSecretKey}
	case s.Transport == SSH:
		dir, secret, mode, keys = sshSecretDir, s.SSHSecret, 0o400, []string{"authorized_keys", "host_key"}
	}
	source := corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret, DefaultMode: &mode}}
	for _, key := range keys {
		source.Secret.Items = append(source.Secret.Items, corev1.KeyToPath{Key: key, Path: key})
	}
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: secretVolumeName, VolumeSource: source})
	mount := corev1.VolumeMount{Name: secretVolumeName, MountPath: dir, ReadOnly: true}
	pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts, mount)
}

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
