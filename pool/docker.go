package pool

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	dindContainer      = "dind"
	dockerCLIContainer = "docker-cli"

	dockerDataVolume = "docker-data"
	dockerRunDir     = "/run/docker"
	dockerHost       = "unix://" + dockerRunDir + "/docker.sock"
)

// dindScript starts the daemon, by what run says: in place of the shell, or tended. Its containers are put under the pod's own
// cgroup, since a privileged container would otherwise put them beside all pods,
// out of the reach of the pod's limits. Networks get the MTU of the pod's
// interface: with a larger one, small requests work and large ones hang.
const dindScript = `cg="$(sed -n 's/^0:://p' /proc/self/cgroup)"
parent=/docker
if [ -f /sys/fs/cgroup/cgroup.controllers ] && [ "${cg:-/}" != / ] && [ -d "/sys/fs/cgroup$cg" ]; then
  mkdir -p "/sys/fs/cgroup$cg/init"
  xargs -rn1 < "/sys/fs/cgroup$cg/cgroup.procs" > "/sys/fs/cgroup$cg/init/cgroup.procs" || :
  sed -e 's/ / +/g' -e 's/^/+/' < "/sys/fs/cgroup$cg/cgroup.controllers" > "/sys/fs/cgroup$cg/cgroup.subtree_control" || :
  parent="$cg/dind"
fi
mtu="$(cat /sys/class/net/eth0/mtu 2>/dev/null || echo 1500)"
$run dockerd-entrypoint.sh dockerd \
  --host="$DOCKER_HOST" --group=1000 \
  --mtu="$mtu" --default-network-opt=bridge=com.docker.network.driver.mtu="$mtu" \
  --cgroup-parent="$parent" \
  ${REGISTRY_MIRROR:+"--registry-mirror=$REGISTRY_MIRROR"}
`

// cliScript hands the client and its plugins (buildx, compose) to the agent.
const cliScript = `cp /usr/local/bin/docker /opt/docker/docker
mkdir -p /opt/docker/cli-plugins
cp -r /usr/local/libexec/docker/cli-plugins/. /opt/docker/cli-plugins/
`

// addDocker puts a Docker daemon beside the agent. Both see the workspace and
// /tmp under the same paths, so that "docker run -v $PWD:..." means the same
// directory to both.
func addDocker(pod *corev1.Pod, s *Spec) {
	spec := &pod.Spec
	spec.InitContainers = []corev1.Container{dockerCLI(s), dind(s)}
	spec.Volumes = append(
		spec.Volumes,
		corev1.Volume{Name: "docker-run", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: new(resource.MustParse("64Mi")),
		}}},
		emptyDir("docker-cli"),
		dockerData(s),
	)
	a := &spec.Containers[0]
	a.Env = append(a.Env, corev1.EnvVar{Name: "DOCKER_HOST", Value: dockerHost})
	// Single files and directories, not another PATH: an image may have its own.
	a.VolumeMounts = append(
		a.VolumeMounts,
		corev1.VolumeMount{Name: "docker-run", MountPath: dockerRunDir},
		corev1.VolumeMount{Name: "docker-cli", MountPath: "/usr/local/bin/docker", SubPath: "docker", ReadOnly: true},
		corev1.VolumeMount{Name: "docker-cli", MountPath: "/usr/local/libexec/docker/cli-plugins", SubPath: "cli-plugins", ReadOnly: true},
	)
}

// dind is the daemon: a native sidecar, which starts before the agent, holds it
// back until it answers, and ends after it. It has no liveness probe: a restart
// would end every container of a running build, which an overloaded daemon that
// answers late does not.
func dind(s *Spec) corev1.Container {
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
		SecurityContext: &corev1.SecurityContext{Privileged: new(true), RunAsUser: new(int64(0))},
		StartupProbe: &corev1.Probe{
			ProbeHandler:     corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: daemonReady(s)}},
			PeriodSeconds:    1,
			TimeoutSeconds:   5,
			FailureThreshold: 240,
		},
		Resources: resources(s),
		VolumeMounts: []corev1.VolumeMount{
			{Name: "docker-run", MountPath: dockerRunDir},
			// A directory of the volume, whose root keeps the pod's group: Docker
			// sets its own rights on what it is given, and a root without the
			// group would have every file of every image changed at the next mount.
			{Name: dockerDataVolume, MountPath: "/var/lib/docker", SubPath: "docker"},
			{Name: "workspace", MountPath: workDir},
			{Name: "tmp", MountPath: "/tmp"},
		},
	}
	if s.RegistryMirror != "" {
		c.Env = append(c.Env, corev1.EnvVar{Name: "REGISTRY_MIRROR", Value: literal(s.RegistryMirror)})
	}
	return c
}

// dockerCLI copies Docker's client: agent images have none.
func dockerCLI(s *Spec) corev1.Container {
	few := func(cpu, memory string) corev1.ResourceList {
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
		Args:            []string{cliScript},
		SecurityContext: restricted(),
		Resources:       corev1.ResourceRequirements{Requests: few("10m", "64Mi"), Limits: few("", "128Mi")},
		VolumeMounts:    []corev1.VolumeMount{{Name: "docker-cli", MountPath: "/opt/docker"}},
	}
}

// dockerData keeps images and containers: never the container's own layer, on
// which Docker could not stack others.
func dockerData(s *Spec) corev1.Volume {
	if !s.hasClaim() {
		return emptyDir(dockerDataVolume)
	}
	return corev1.Volume{Name: dockerDataVolume, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: s.Slot},
	}}
}
