package pool

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	dindContainer      = "dind"
	dockerCLIContainer = "docker-cli"

	dockerDataVolume = "docker-data"
	dockerRunVolume  = "docker-run"
	dockerRunDir     = "/run/docker"
	dockerHost       = "unix://" + dockerRunDir + "/docker.sock"
	rootlessData     = "/home/rootless/.local/share/docker"
)

const (
	// usernsRuntime is a runc that lets a container write its own cgroups; the
	// cluster has to have it (docs/docker.md).
	usernsRuntime = "runc-cgroup-writable"
	sysboxRuntime = "sysbox-runc"
	// CRI-O gives a pod a user namespace by this annotation, which Sysbox needs.
	annotationUserns = "io.kubernetes.cri-o.userns-mode"

	hostSocket = "/var/run/docker.sock"
)

// addClient gives the agent Docker's client and says where the daemon is.
func addClient(pod *corev1.Pod, s *Spec) {
	spec := &pod.Spec
	spec.InitContainers = append(spec.InitContainers, dockerCLI(s))
	spec.Volumes = append(spec.Volumes, emptyDir("docker-cli"))
	a := &spec.Containers[0]
	a.Env = append(a.Env, corev1.EnvVar{Name: "DOCKER_HOST", Value: dockerHost})
	// Single files and directories, not another PATH: an image may have its own.
	a.VolumeMounts = append(
		a.VolumeMounts,
		corev1.VolumeMount{Name: "docker-cli", MountPath: "/usr/local/bin/docker", SubPath: "docker", ReadOnly: true},
		corev1.VolumeMount{Name: "docker-cli", MountPath: "/usr/local/libexec/docker/cli-plugins", SubPath: "cli-plugins", ReadOnly: true},
	)
}

// addDaemon puts a Docker daemon beside the agent. Both see the workspace and
// /tmp under the same paths, so that "docker run -v $PWD:..." means the same
// directory to both.
func addDaemon(pod *corev1.Pod, s *Spec) {
	addClient(pod, s)
	spec := &pod.Spec
	spec.InitContainers = append(spec.InitContainers, daemon(s))
	spec.Volumes = append(
		spec.Volumes,
		corev1.Volume{Name: dockerRunVolume, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: new(resource.MustParse("64Mi")),
		}}},
		dockerData(s),
	)
	a := &spec.Containers[0]
	a.VolumeMounts = append(a.VolumeMounts, corev1.VolumeMount{Name: dockerRunVolume, MountPath: dockerRunDir})
	switch s.Docker {
	case DockerUserns:
		spec.HostUsers = new(false)
		spec.RuntimeClassName = new(usernsRuntime)
	case DockerSysbox:
		spec.RuntimeClassName = new(sysboxRuntime)
		pod.Annotations[annotationUserns] = "auto:size=65536"
	case DockerNone, DockerDind, DockerRootless, DockerHost:
	}
}

// addHostDocker gives the agent the machine's own daemon. Its socket belongs to
// root and to a group whose number differs from machine to machine, so the agent
// is root; whoever has the socket is root of the machine anyway.
func addHostDocker(pod *corev1.Pod, s *Spec) {
	addClient(pod, s)
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: dockerRunVolume, VolumeSource: corev1.VolumeSource{
		// A machine without Docker is named in the pod's events, and gets no directory of that name.
		HostPath: &corev1.HostPathVolumeSource{Path: hostSocket, Type: new(corev1.HostPathSocket)},
	}})
	a := &pod.Spec.Containers[0]
	a.VolumeMounts = append(a.VolumeMounts, corev1.VolumeMount{Name: dockerRunVolume, MountPath: dockerRunDir + "/docker.sock"})
	a.SecurityContext = &corev1.SecurityContext{
		RunAsUser:                new(int64(0)),
		AllowPrivilegeEscalation: new(false),
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// daemon is a native sidecar, which starts before the agent, holds it back until
// it answers, and ends after it. It has no liveness probe: a restart would end
// every container of a running build, which an overloaded daemon that answers
// late does not.
func daemon(s *Spec) corev1.Container {
	c := corev1.Container{
		Name:          dindContainer,
		Image:         s.DindImage,
		RestartPolicy: new(corev1.ContainerRestartPolicyAlways),
		Command:       []string{"sh", "-euc"},
		Args:          []string{daemonScript(s)},
		Env: []corev1.EnvVar{
			{Name: "DOCKER_HOST", Value: dockerHost},
			{Name: "DOCKER_TLS_CERTDIR", Value: ""}, // the socket only: no TCP port, so no certificates
		},
		SecurityContext: daemonRights(s.Docker),
		StartupProbe: &corev1.Probe{
			ProbeHandler:     corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: daemonReady(s)}},
			PeriodSeconds:    1,
			TimeoutSeconds:   5,
			FailureThreshold: 240,
		},
		Resources: resources(s),
		VolumeMounts: []corev1.VolumeMount{
			{Name: dockerRunVolume, MountPath: dockerRunDir},
			// A directory of the volume, whose root keeps the pod's group: Docker
			// sets its own rights on what it is given, and a root without the
			// group would have every file of every image changed at the next mount.
			{Name: dockerDataVolume, MountPath: "/var/lib/docker", SubPath: "docker"},
			{Name: "workspace", MountPath: workDir},
			{Name: "tmp", MountPath: "/tmp"},
		},
	}
	if s.Docker == DockerRootless {
		c.VolumeMounts[1] = corev1.VolumeMount{Name: dockerDataVolume, MountPath: rootlessData}
	}
	if s.RegistryMirror != "" {
		c.Env = append(c.Env, corev1.EnvVar{Name: "REGISTRY_MIRROR", Value: escapeVars(s.RegistryMirror)})
	}
	return c
}

// daemonRights is what a daemon needs to make containers.
func daemonRights(m DockerMode) *corev1.SecurityContext {
	switch m {
	case DockerRootless: // to make namespaces, which a container may not
		return &corev1.SecurityContext{Privileged: new(true), RunAsUser: new(int64(jenkinsID)), RunAsGroup: new(int64(jenkinsID))}
	case DockerUserns:
		return &corev1.SecurityContext{
			Privileged:               new(false),
			AllowPrivilegeEscalation: new(true),
			RunAsUser:                new(int64(0)),
			ProcMount:                new(corev1.UnmaskedProcMount),
			Capabilities:             &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN", "NET_ADMIN"}},
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined},
			AppArmorProfile:          &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined},
		}
	case DockerSysbox:
		return &corev1.SecurityContext{RunAsUser: new(int64(0))}
	case DockerNone, DockerDind, DockerHost:
	}
	return &corev1.SecurityContext{Privileged: new(true), RunAsUser: new(int64(0))}
}

// dockerCLI copies Docker's client: agent images have none.
func dockerCLI(s *Spec) corev1.Container {
	requestList := func(cpu, memory string) corev1.ResourceList {
		l := corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
		if cpu != "" {
			l[corev1.ResourceCPU] = resource.MustParse(cpu)
		}
		return l
	}
	return corev1.Container{
		Name:            dockerCLIContainer,
		Image:           s.DockerCLIImage,
		Command:         []string{"sh", "-euc"},
		Args:            []string{script("cli")},
		SecurityContext: restricted(),
		Resources:       corev1.ResourceRequirements{Requests: requestList("10m", "64Mi"), Limits: requestList("", "128Mi")},
		VolumeMounts:    []corev1.VolumeMount{{Name: "docker-cli", MountPath: "/opt/docker"}},
	}
}

// dockerData keeps images and containers: never the container's own layer, on
// which Docker could not stack others.
func dockerData(s *Spec) corev1.Volume {
	if !s.HasClaim() {
		return emptyDir(dockerDataVolume)
	}
	return corev1.Volume{Name: dockerDataVolume, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: s.Slot},
	}}
}

// daemonScript is what the daemon's container runs.
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

// daemonReady asks whether the daemon may be used.
func daemonReady(s *Spec) []string {
	if s.HasClaim() {
		return []string{"sh", "-c", "test -e " + dockerRunDir + "/ready && exec docker info"}
	}
	return []string{"docker", "info"}
}
