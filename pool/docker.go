package pool

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	dindContainer      = "dind"
	dockerCLIContainer = "docker-cli" // the container's volume has the same name

	dockerDataVolume = "docker-data"
	dockerRunVolume  = "docker-run"
	dockerRunDir     = "/run/docker"
	dockerHost       = "unix://" + dockerRunDir + "/docker.sock"
	rootlessData     = "/home/rootless/.local/share/docker"
)

// addDocker gives the agent Docker's client and a daemon. A daemon of the pod's own and the agent have the
// workspace and /tmp under the same paths, so "docker run -v $PWD:..." names the same directory for both.
func addDocker(pod *corev1.Pod, s *Spec) {
	spec, a := &pod.Spec, &pod.Spec.Containers[0]
	spec.InitContainers = append(spec.InitContainers, dockerCLI())
	a.Env = append(a.Env, corev1.EnvVar{Name: "DOCKER_HOST", Value: dockerHost})
	// The client is mounted as single files and directories. PATH stays, since an image may have its own.
	for _, to := range []string{"/usr/local/bin/docker", "/usr/local/libexec/docker/cli-plugins"} {
		mount := corev1.VolumeMount{Name: dockerCLIContainer, MountPath: to, SubPath: path.Base(to), ReadOnly: true}
		a.VolumeMounts = append(a.VolumeMounts, mount)
	}
	run, at := corev1.VolumeSource{}, dockerRunDir
	if s.Docker == DockerHost {
		// The socket belongs to root, and to a group whose number differs between Kubernetes nodes. So the
		// agent is root. A user of the socket is root of the Kubernetes node in any case.
		a.SecurityContext = rootContext()
		a.SecurityContext.AllowPrivilegeEscalation = new(false)
		at += "/docker.sock"
		// With this type the kubelet makes no directory of that name on a Kubernetes node without Docker. The
		// pod's events name the Kubernetes node.
		run.HostPath = &corev1.HostPathVolumeSource{Path: "/var/run/docker.sock", Type: new(corev1.HostPathSocket)}
	} else {
		spec.InitContainers = append(spec.InitContainers, daemon(s))
		size := resource.MustParse("64Mi")
		run.EmptyDir = &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &size}
	}
	a.VolumeMounts = append(a.VolumeMounts, corev1.VolumeMount{Name: dockerRunVolume, MountPath: at})
	runVolume := corev1.Volume{Name: dockerRunVolume, VolumeSource: run}
	spec.Volumes = append(spec.Volumes, emptyDir(dockerCLIContainer), runVolume)
	if s.Docker.Daemon() {
		spec.Volumes = append(spec.Volumes, dockerData(s))
	}
	switch s.Docker {
	case DockerUserns:
		spec.HostUsers = new(false)
		spec.RuntimeClassName = new("runc-cgroup-writable") // containers may write their own cgroups
	case DockerSysbox:
		spec.RuntimeClassName = new("sysbox-runc")
		pod.Annotations["io.kubernetes.cri-o.userns-mode"] = "auto:size=65536" // Sysbox under CRI-O needs it
	default:
	}
}

// daemon makes the Docker daemon's container, a native sidecar, which ends after the agent. The agent starts
// when the daemon answers. A liveness probe would restart a daemon that is only slow, and end every container
// of a running build.
func daemon(s *Spec) corev1.Container {
	c := corev1.Container{
		Name:          dindContainer,
		Image:         DefaultDindImage,
		RestartPolicy: new(corev1.ContainerRestartPolicyAlways),
		Command:       []string{"sh", "-euc"},
		Args:          []string{daemonScript(s)},
		Env: []corev1.EnvVar{
			{Name: "DOCKER_HOST", Value: dockerHost},
			{Name: "DOCKER_TLS_CERTDIR", Value: ""}, // without a TCP port the daemon needs no certificates
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
			// Docker changes the rights of the directory that it gets. If the volume's root lost the pod's
			// group, the kubelet would change every file of every image at the next mount.
			{Name: dockerDataVolume, MountPath: "/var/lib/docker", SubPath: "docker"},
			{Name: "workspace", MountPath: workDir},
			{Name: "tmp", MountPath: "/tmp"},
		},
	}
	if s.Docker == DockerRootless {
		c.Image = DefaultRootlessImage
		c.VolumeMounts[1] = corev1.VolumeMount{Name: dockerDataVolume, MountPath: rootlessData}
	}
	if s.RegistryMirror != "" {
		c.Env = append(c.Env, corev1.EnvVar{Name: "REGISTRY_MIRROR", Value: escapeVars(s.RegistryMirror)})
	}
	return c
}

// daemonRights returns the rights that a daemon needs to make containers.
func daemonRights(m DockerMode) *corev1.SecurityContext {
	switch m {
	case DockerRootless: // an unprivileged container may not make namespaces
		return &corev1.SecurityContext{
			Privileged: new(true), RunAsUser: new(int64(jenkinsID)), RunAsGroup: new(int64(jenkinsID)),
		}
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
	default: // DockerDind
		return &corev1.SecurityContext{Privileged: new(true), RunAsUser: new(int64(0))}
	}
}

// dockerCLI makes the init container that copies Docker's client for the agent, whose image has none.
func dockerCLI() corev1.Container {
	return corev1.Container{
		Name:            dockerCLIContainer,
		Image:           DefaultDockerCLIImage,
		Command:         []string{"sh", "-euc"},
		Args:            []string{script("cli")},
		SecurityContext: restricted(),
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			},
			Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: dockerCLIContainer, MountPath: "/opt/docker"}},
	}
}

// dockerData makes the volume for images and containers: Docker stacks no layers on a container's own.
func dockerData(s *Spec) corev1.Volume {
	v := emptyDir(dockerDataVolume)
	if s.HasClaim() {
		claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: s.Slot}
		v.VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: claim}
	}
	return v
}

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

// daemonReady returns the command that succeeds when builds may use the daemon.
func daemonReady(s *Spec) []string {
	if s.HasClaim() {
		return []string{"sh", "-c", "test -e " + dockerRunDir + "/ready && exec docker info"}
	}
	return []string{"docker", "info"}
}
