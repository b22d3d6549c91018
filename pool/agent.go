package pool

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"bellboard/scaler"
)

const (
	secretVolumeName = "agent-secret"

	// An inbound agent's own secret: the Secret is named like the pod.
	inboundSecretDir = "/run/secrets/jenkins-agent"
	inboundSecretKey = "secret"

	// The password of the user as whom Swarm clients register themselves.
	swarmSecretDir = "/run/secrets/jenkins-swarm"
	swarmSecretKey = "password"

	// What an agent that Jenkins calls by SSH proves itself with, and whom it lets in.
	sshSecretDir = "/run/secrets/jenkins-ssh"

	// reconnectLimit is after how long without Jenkins an inbound agent ends by itself.
	reconnectLimit = "6h"
)

// sshAgent waits for Jenkins to call it: Jenkins brings the agent along. sshd is root,
// and each session the image's user.
func sshAgent(c *corev1.Container) {
	c.Command = []string{"/bin/sh", "-eu", "-c", script("ssh"), "sshd"}
	c.Args = []string{sshSecretDir}
	c.Ports = []corev1.ContainerPort{{Name: "ssh", ContainerPort: 22}}
	c.SecurityContext = &corev1.SecurityContext{
		RunAsUser:      new(int64(0)),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: secretVolumeName, MountPath: sshSecretDir, ReadOnly: true})
}

// inboundAgent starts the agent of the inbound-agent image. All is said by
// arguments and nothing by the image's variables: its script takes an argument
// that merely contains the name for the name, and passes a URL twice.
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
		"-noReconnectAfter", reconnectLimit,
	)
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: secretVolumeName, MountPath: inboundSecretDir, ReadOnly: true})
	if isInboundImage(s.Image) {
		c.Command = underInit(inboundEntrypoint)
	}
}

// swarmAgent starts a Swarm client. It retries for ever (no -noRetryAfterConnected):
// a client that registers itself anew after a restart of Jenkins lets its
// pipeline go on.
func swarmAgent(c *corev1.Container, s *Spec, name string) {
	c.Command = underInit("/bin/sh", "-eu", "-c", script("swarm"), "swarm-client")
	c.Args = []string{
		"-url", escapeVars(s.JenkinsURL),
		"-name", escapeVars(name),
	}
	for _, l := range s.swarmLabels() {
		c.Args = append(c.Args, "-labels", escapeVars(l))
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
	c.Env = append(c.Env, corev1.EnvVar{
		Name: "SWARM_CLIENT_URL", Value: escapeVars(strings.TrimRight(s.JenkinsURL, "/") + "/swarm/swarm-client.jar"),
	})
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: secretVolumeName, MountPath: swarmSecretDir, ReadOnly: true})
}

// secretVolume is what the agent proves itself with. The kubelet waits for the
// Secret to exist, so the pod may come first.
func secretVolume(s *Spec, name string) corev1.Volume {
	src := &corev1.SecretVolumeSource{
		SecretName:  name,
		DefaultMode: new(int32(0o440)),
		Items:       []corev1.KeyToPath{{Key: inboundSecretKey, Path: inboundSecretKey}},
	}
	switch {
	case s.Connect == scaler.Swarm:
		src.SecretName = s.SwarmPasswordSecret
		src.Items = []corev1.KeyToPath{{Key: swarmSecretKey, Path: swarmSecretKey}}
	case s.Transport == SSH:
		src.SecretName = s.SSHSecret
		src.DefaultMode = new(int32(0o400))
		src.Items = []corev1.KeyToPath{{Key: "authorized_keys", Path: "authorized_keys"}, {Key: "host_key", Path: "host_key"}}
	}
	return corev1.Volume{Name: secretVolumeName, VolumeSource: corev1.VolumeSource{Secret: src}}
}
