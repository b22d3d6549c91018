package pool

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"bellboard/scaler"
)

var update = flag.Bool("update", false, "write the golden files anew")

// specOf returns a spec without optional settings.
func specOf(kind scaler.Kind, connect scaler.Connect, docker DockerMode) Spec {
	s := Spec{
		PoolID: scaler.PoolID{Team: "web", Kind: kind}, Instance: "ci", Namespace: "agents", Connect: connect,
		Image: DefaultImage, Transport: WebSocket, Labels: []string{"linux", string(kind)},
		CacheSize: resource.MustParse("20Gi"), CacheKeep: scaler.SlotKeep,
		CPU: resource.MustParse("1"), Memory: resource.MustParse("2Gi"),
		Docker: docker, BuildGrace: 10 * time.Minute, JenkinsURL: "http://jenkins.ci.svc:8080/",
	}
	if s.HasClaim() {
		s.Slot = "web-cache-9d2mfq0c7x"
	}
	if connect == scaler.Swarm {
		s.Labels = append(s.Labels, "swarm")
		s.SwarmUser, s.SwarmPasswordSecret = "swarm", "jenkins-swarm"
	}
	return s
}

// everything returns a spec with every optional setting.
func everything(s Spec) Spec {
	s.Image = "registry.example/agent:1"
	s.ServiceAccount, s.ImagePullSecret, s.PriorityClass = "builds", "registry", "low"
	s.NodeSelector = map[string]string{"disk": "ssd"}
	s.Tolerations = []corev1.Toleration{{Key: "ci", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	s.CacheSize, s.StorageClass = resource.MustParse("50Gi"), "fast"
	s.RegistryMirror = "http://mirror.ci.svc:5000"
	s.DockerImage, s.DockerCLIImage = "registry.example/docker:dind", "registry.example/docker:cli"
	s.CAConfigMap = "authorities"
	s.HTTPProxy, s.HTTPSProxy, s.NoProxy = "http://proxy.example:3128", "http://proxy.example:3129", ".svc,10.0.0.0/8"
	s.Executors, s.Unlabelled = 3, true
	return s
}

// mirrored returns a spec with a registry mirror.
func mirrored(s Spec) Spec {
	s.RegistryMirror = "http://mirror.ci.svc:5000"
	return s
}

// onPlatform returns a spec of agents whose user and groups the platform chooses.
func onPlatform(s Spec) Spec {
	s.PlatformUser = true
	return s
}

// overTCP returns a spec of agents that call Jenkins' port for agents.
func overTCP(s Spec) Spec {
	s.Transport, s.Tunnel = TCP, "jenkins-agent.ci.svc:50000"
	return s
}

// overSSH returns a spec of agents that Jenkins calls.
func overSSH(s Spec) Spec {
	s.Image, s.Transport, s.SSHSecret = DefaultSSHImage, SSH, "jenkins-ssh"
	return s
}

// dockerOf returns the Docker mode at the end of a golden file's name.
func dockerOf(name string) DockerMode { return DockerMode(name[strings.LastIndex(name, "-")+1:]) }

func TestGoldenPods(t *testing.T) {
	const e, p = "web-e-4kx7q2m9ab", "web-p-4kx7q2m9ab"
	for name, pod := range map[string]*corev1.Pod{
		"ephemeral-inbound-none":  Build(specOf(scaler.Ephemeral, scaler.Inbound, DockerNone), e),
		"ephemeral-inbound-dind":  Build(everything(specOf(scaler.Ephemeral, scaler.Inbound, DockerDind)), e),
		"persistent-swarm-dind":   Build(everything(specOf(scaler.Persistent, scaler.Swarm, DockerDind)), p),
		"persistent-inbound-dind": Build(specOf(scaler.Persistent, scaler.Inbound, DockerDind), p),
		"persistent-swarm-none":   Build(specOf(scaler.Persistent, scaler.Swarm, DockerNone), p),

		"ephemeral-platform-none": Build(everything(onPlatform(specOf(scaler.Ephemeral, scaler.Inbound, DockerNone))), e),

		"ephemeral-tcp-none": Build(overTCP(specOf(scaler.Ephemeral, scaler.Inbound, DockerNone)), e),

		"ephemeral-ssh-none":  Build(overSSH(specOf(scaler.Ephemeral, scaler.Inbound, DockerNone)), e),
		"persistent-ssh-dind": Build(overSSH(specOf(scaler.Persistent, scaler.Inbound, DockerDind)), p),

		"ephemeral-inbound-host":      Build(specOf(scaler.Ephemeral, scaler.Inbound, DockerHost), e),
		"persistent-inbound-rootless": Build(mirrored(specOf(scaler.Persistent, scaler.Inbound, DockerRootless)), p),
		"ephemeral-inbound-userns":    Build(mirrored(specOf(scaler.Ephemeral, scaler.Inbound, DockerUserns)), e),
		"persistent-swarm-sysbox":     Build(mirrored(specOf(scaler.Persistent, scaler.Swarm, DockerSysbox)), p),
	} {
		t.Run(name, func(t *testing.T) {
			decoded := &corev1.Pod{}
			golden(t, name, pod, decoded)
			invariants(t, decoded, dockerOf(name))
		})
	}
	t.Run("claim", func(t *testing.T) {
		golden(t, "claim", BuildClaim(everything(specOf(scaler.Persistent, scaler.Swarm, DockerDind)), "web-cache-9d2mfq0c7x"), &corev1.PersistentVolumeClaim{})
	})
}

// golden compares an object with its file, and decodes the file strictly into decoded. The API has to know
// every field of the file.
func golden(t *testing.T, name string, made, decoded any) {
	t.Helper()
	got, err := yaml.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".yaml")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("go test ./pool -update writes it anew (-file +made):\n%s", diff)
	}
	if err := yaml.UnmarshalStrict(want, decoded); err != nil {
		t.Errorf("not an API object: %v", err)
	}
}

// TestTextsStayText checks that no text of a setting is read as YAML, as a part of the template or as a
// variable of Kubernetes.
func TestTextsStayText(t *testing.T) {
	for _, text := range []string{"true", "0123", "~", "a: b", "- a", "#", "{{.Name}}", "it's \"x\"\\n", "a\nb", "\x01\x7f\u0085\u2028\ufffe\U000e0001", "é$(HOME)"} {
		for _, connect := range []scaler.Connect{scaler.Inbound, scaler.Swarm} {
			s := specOf(scaler.Persistent, connect, DockerDind)
			s.Image, s.Namespace, s.ServiceAccount, s.PriorityClass, s.ImagePullSecret, s.Slot = text, text, text, text, text, text
			s.JenkinsURL, s.SwarmUser, s.RegistryMirror, s.Labels = text, text, text, []string{text, "swarm"}
			s.Transport, s.Tunnel, s.SwarmPasswordSecret, s.NodeSelector = TCP, text, text, map[string]string{text: text}
			pod := Build(s, text)
			a, spec, escaped := pod.Spec.Containers[0], pod.Spec, strings.ReplaceAll(text, "$", "$$")
			for at, got := range map[string]string{
				"name": pod.Name, "namespace": pod.Namespace, "image": a.Image, "account": spec.ServiceAccountName, "class": spec.PriorityClassName,
				"pull secret": spec.ImagePullSecrets[0].Name, "selector": spec.NodeSelector[text], "secret": spec.Volumes[3].Secret.SecretName,
				"claim": spec.Volumes[len(spec.Volumes)-1].PersistentVolumeClaim.ClaimName,
			} {
				if got != text {
					t.Errorf("%s: %q is %q", at, text, got)
				}
			}
			args := []string{"-url", escaped, "-tunnel", escaped, "-name", escaped, "-secret", "@/run/secrets/jenkins-agent/secret"}
			if connect == scaler.Swarm {
				args = []string{"-url", escaped, "-name", escaped, "-labels", escaped, "-description"}
			}
			if got := a.Args[:len(args)]; !slices.Equal(got, args) || connect == scaler.Swarm && !slices.Contains(a.Args[len(args):], escaped) {
				t.Errorf("%q: the arguments are %q", text, a.Args)
			}
			if env := spec.InitContainers[len(spec.InitContainers)-1].Env; env[len(env)-1].Value != escaped {
				t.Errorf("%q: the mirror is %q", text, env)
			}
		}
	}
}

func TestEveryCombinationKeepsTheInvariants(t *testing.T) {
	for _, kind := range scaler.Kinds() {
		for _, connect := range []scaler.Connect{scaler.Inbound, scaler.Swarm} {
			for _, docker := range DockerModes() {
				s := specOf(kind, connect, docker)
				t.Run(strings.Join([]string{string(kind), string(connect), string(docker)}, "-"), func(t *testing.T) {
					invariants(t, Build(s, "web-x-1"), docker)
					invariants(t, Build(everything(s), "web-x-1"), docker)
					bare := s
					bare.CPU, bare.Memory, bare.BuildGrace = resource.Quantity{}, resource.Quantity{}, 0
					invariants(t, Build(bare, "web-x-1"), docker)
				})
			}
		}
	}
}

// invariants checks what every agent's pod has, whatever its settings.
func invariants(t *testing.T, pod *corev1.Pod, docker DockerMode) {
	t.Helper()
	spec := &pod.Spec
	if spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Error("the kubelet restarts the pod")
	}
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		t.Error("the pod has a token of the cluster")
	}
	if spec.EnableServiceLinks == nil || *spec.EnableServiceLinks {
		t.Error("the environment has the cluster's services")
	}
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		t.Error("the pod shares the Kubernetes node's namespaces")
	}
	for _, l := range []string{LabelInstance, LabelTeam, LabelKind, labelName, labelManagedBy} {
		if pod.Labels[l] == "" {
			t.Errorf("no label %s", l)
		}
	}
	if pod.Labels[LabelBusy] != "true" || pod.Annotations[annotationSafeToEvict] != "false" || pod.Annotations[annotationDoNotDisrupt] != "true" {
		t.Error("the pod may be evicted before its build has run")
	}
	if len(pod.Annotations[AnnotationSpecHash]) != 16 {
		t.Errorf("the pod's hash is %q", pod.Annotations[AnnotationSpecHash])
	}
	if len(pod.OwnerReferences) > 0 {
		t.Error("the pod has an owner")
	}
	grace := *spec.TerminationGracePeriodSeconds
	if grace <= deletionGraceSeconds {
		t.Errorf("a deletion by others, with %d s, looks like Bellboard's", grace)
	}
	a := spec.Containers[0]
	if a.Lifecycle != nil && (a.Lifecycle.PreStop.Sleep.Seconds > grace || a.Lifecycle.PreStop.Sleep.Seconds <= 0) {
		t.Errorf("preStop sleeps for %d s of a grace of %d s", a.Lifecycle.PreStop.Sleep.Seconds, grace)
	}
	ssh := spec.Subdomain != ""
	platform := slices.ContainsFunc(a.Env, func(e corev1.EnvVar) bool { return e.Name == "HOME" })
	if group := spec.SecurityContext.FSGroup; (group == nil) != (ssh || platform) || ssh && (spec.Hostname != pod.Name || spec.Subdomain != SSHService) {
		t.Errorf("the pod's group is %v, its host %s.%s", group, spec.Hostname, spec.Subdomain)
	}
	volumes := map[string]corev1.Volume{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = v
		if v.Projected != nil {
			t.Errorf("volume %s carries a token", v.Name)
		}
		if v.HostPath != nil && (docker != DockerHost || v.HostPath.Path != "/var/run/docker.sock" || *v.HostPath.Type != corev1.HostPathSocket) {
			t.Errorf("volume %s is %+v of the Kubernetes node", v.Name, v.HostPath)
		}
		if v.Secret != nil && *v.Secret.DefaultMode != map[bool]int32{false: 0o440, true: 0o400}[ssh] {
			t.Errorf("volume %s has mode %o", v.Name, *v.Secret.DefaultMode)
		}
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, e := range c.Env {
			if e.ValueFrom != nil || e.Name == "JENKINS_URL" || strings.Contains(strings.ToLower(e.Name), "secret") {
				t.Errorf("container %s has variable %s", c.Name, e.Name)
			}
		}
		for _, m := range c.VolumeMounts {
			if _, ok := volumes[m.Name]; !ok {
				t.Errorf("container %s mounts %s, which is not there", c.Name, m.Name)
			}
		}
		if p := c.SecurityContext.Privileged; p != nil && *p && (c.Name != dindContainer || docker != DockerDind && docker != DockerRootless) {
			t.Errorf("container %s is privileged", c.Name)
		}
		if c.Name == dindContainer || (docker == DockerHost || ssh) && c.Name == agentContainer {
			continue
		}
		if sc := c.SecurityContext; sc == nil || !*sc.RunAsNonRoot || (sc.RunAsUser == nil) != platform || *sc.AllowPrivilegeEscalation || sc.Privileged != nil ||
			sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || !slices.Equal(sc.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("container %s is not restricted: %+v", c.Name, sc)
		}
	}
	authorities := len(spec.InitContainers) > 0 && spec.InitContainers[0].Name == caContainer // first, since others mount its files
	if mounted(&a, "/run/ca") != map[bool]string{true: "ca"}[authorities] {
		t.Error("the agent has no authorities, or has them from nowhere")
	}
	client := slices.ContainsFunc(spec.InitContainers, func(c corev1.Container) bool { return c.Name == dockerCLIContainer })
	if client != (docker != DockerNone) || (mounted(&a, "/usr/local/bin/docker") != "") != (docker != DockerNone) {
		t.Errorf("with Docker %s the agent has Docker's client or not", docker)
	}
	if !docker.Daemon() {
		if slices.ContainsFunc(spec.InitContainers, func(c corev1.Container) bool { return c.Name == dindContainer }) {
			t.Error("the pod has a daemon")
		}
		return
	}
	if (docker == DockerUserns) != (spec.HostUsers != nil && !*spec.HostUsers) {
		t.Error("the pod's root is wrongly the Kubernetes node's root, or wrongly not")
	}
	if want := map[DockerMode]string{DockerUserns: "runc-cgroup-writable", DockerSysbox: "sysbox-runc"}[docker]; (spec.RuntimeClassName != nil) != (want != "") || want != "" && *spec.RuntimeClassName != want {
		t.Errorf("the pod's runtime is %v, want %q", spec.RuntimeClassName, want)
	}
	d := spec.InitContainers[slices.IndexFunc(spec.InitContainers, func(c corev1.Container) bool { return c.Name == dindContainer })]
	if d.RestartPolicy == nil || *d.RestartPolicy != corev1.ContainerRestartPolicyAlways || !strings.HasSuffix(strings.Join(d.StartupProbe.Exec.Command, " "), "docker info") {
		t.Error("the daemon does not hold the agent back")
	}
	if d.LivenessProbe != nil {
		t.Error("a slow daemon is ended under its builds")
	}
	for _, path := range []string{"/home/jenkins/agent", "/tmp", "/run/docker"} {
		in, beside := mounted(&a, path), mounted(&d, path)
		if in == "" || in != beside {
			t.Errorf("%s is volume %q for the agent, %q for the daemon", path, in, beside)
		}
	}
	if authorities != (mounted(&d, "/etc/ssl/certs/ca-certificates.crt") != "") {
		t.Error("the daemon does not have the agent's authorities")
	}
	script := d.Args[0]
	for _, want := range []string{`--mtu="$mtu"`, "com.docker.network.driver.mtu", "--registry-mirror=$REGISTRY_MIRROR", `--host="$DOCKER_HOST"`} {
		if !strings.Contains(script, want) {
			t.Errorf("the daemon's script has no %s", want)
		}
	}
	root := "/var/lib/docker"
	if docker == DockerRootless {
		root = "/home/rootless/.local/share/docker"
		if !strings.HasPrefix(script, "store="+root+" ") || !strings.Contains(script, `--data-root="$store/data"`) || strings.Contains(script, "--cgroup-parent") || !strings.Contains(script, "ROOTLESSKIT_MTU") {
			t.Error("the daemon's script has no directory for its data, or a cgroup that the daemon may not make")
		}
	}
	data := volumes[mounted(&d, root)]
	if data.EmptyDir == nil && data.PersistentVolumeClaim == nil {
		t.Error("Docker's data is on no volume")
	}
	if persistent := pod.Labels[LabelKind] == string(scaler.Persistent); persistent != (data.PersistentVolumeClaim != nil) {
		t.Errorf("Docker's data is on %+v", data.VolumeSource)
	}
	if mounted(&a, root) != "" {
		t.Error("the agent can read Docker's data")
	}
	if slices.ContainsFunc(d.VolumeMounts, func(m corev1.VolumeMount) bool { return volumes[m.Name].Secret != nil }) {
		t.Error("the daemon can read a secret")
	}
}

func mounted(c *corev1.Container, path string) string {
	for _, m := range c.VolumeMounts {
		if m.MountPath == path {
			return m.Name
		}
	}
	return ""
}

func TestValuesAreNeverCode(t *testing.T) {
	evil := `http://j/$(HOME)"; rm -rf / #`
	s := specOf(scaler.Persistent, scaler.Swarm, DockerDind)
	s.JenkinsURL, s.SwarmUser, s.RegistryMirror, s.Labels = evil, evil, evil, []string{evil}
	pod := Build(s, "web-p-1")
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, script := range append(c.Command, c.Args...) {
			if strings.Contains(script, "exec ") && strings.Contains(script, "rm -rf") {
				t.Errorf("container %s runs %q", c.Name, script)
			}
		}
		for _, e := range c.Env {
			if strings.Contains(strings.ReplaceAll(e.Value, "$$", ""), "$(") {
				t.Errorf("container %s has Kubernetes replace a variable in %s=%q", c.Name, e.Name, e.Value)
			}
		}
	}
	if args := pod.Spec.Containers[0].Args; args[1] != strings.ReplaceAll(evil, "$", "$$") {
		t.Errorf("the URL became %q", args[1])
	}
}

func TestTheSwarmClientClaimsItsLabelsButNotThePlugins(t *testing.T) {
	args := Build(specOf(scaler.Persistent, scaler.Swarm, DockerNone), "web-p-1").Spec.Containers[0].Args
	var got []string
	for i, a := range args {
		if a == "-labels" {
			got = append(got, args[i+1])
		}
	}
	if want := []string{"linux", "persistent"}; !slices.Equal(got, want) {
		t.Errorf("the client claims %v, want %v", got, want)
	}
	if i := slices.Index(args, "-description"); args[i+1] != scaler.Describe("ci", scaler.PoolID{Team: "web", Kind: scaler.Persistent}, false) {
		t.Errorf("the description is %q", args[i+1])
	}
	if slices.Contains(args, "-noRetryAfterConnected") {
		t.Error("the client does not come back after a restart of Jenkins")
	}
}

func TestOverTCP(t *testing.T) {
	s := specOf(scaler.Ephemeral, scaler.Inbound, DockerNone)
	s.Transport = TCP
	args := Build(s, "web-e-1").Spec.Containers[0].Args
	if slices.Contains(args, "-webSocket") || slices.Contains(args, "-tunnel") || !slices.Contains(args, "-url") {
		t.Errorf("without a tunnel the arguments are %q", args)
	}
	args = Build(overTCP(s), "web-e-1").Spec.Containers[0].Args
	if i := slices.Index(args, "-tunnel"); i < 0 || args[i+1] != "jenkins-agent.ci.svc:50000" {
		t.Errorf("with a tunnel the arguments are %q", args)
	}
	if pod := Build(s, "web-e-1"); pod.Annotations[AnnotationConnect] != string(scaler.Inbound) {
		t.Errorf("for scaler the agent connects by %s", pod.Annotations[AnnotationConnect])
	}
}

func TestOverSSH(t *testing.T) {
	for docker, want := range map[DockerMode]string{
		DockerNone: "baseline", DockerSysbox: "baseline", DockerUserns: "privileged", DockerDind: "privileged",
		DockerHost: "privileged", DockerRootless: "privileged",
	} {
		s := overSSH(specOf(scaler.Ephemeral, scaler.Inbound, docker))
		if got := s.PodSecurity(); got != want {
			t.Errorf("with Docker %s the standard is %s, want %s", docker, got, want)
		}
	}
	s := overSSH(specOf(scaler.Ephemeral, scaler.Inbound, DockerNone))
	if c := Build(s, "web-e-1").Spec.Containers[0]; c.Image != DefaultSSHImage || slices.Contains(c.Args, "-url") {
		t.Errorf("the image is %s, the arguments are %q", c.Image, c.Args)
	}
}

func TestTheHashTellsSettingsApartAndNamesNot(t *testing.T) {
	for _, connect := range []scaler.Connect{scaler.Inbound, scaler.Swarm} {
		t.Run(string(connect), func(t *testing.T) { hashTells(t, specOf(scaler.Persistent, connect, DockerDind)) })
	}
}

func hashTells(t *testing.T, s Spec) {
	t.Helper()
	hash := func(s Spec, name string) string { return Build(s, name).Annotations[AnnotationSpecHash] }
	if hash(s, "a") != hash(s, "b") {
		t.Error("the hash depends on the name")
	}
	// The settings of the cache slot are not part of a pod, so their change replaces no pod.
	slot := s
	slot.Slot, slot.CacheSize, slot.StorageClass, slot.CacheKeep = "another", resource.MustParse("50Gi"), "fast", time.Hour
	if hash(slot, "a") != hash(s, "a") {
		t.Error("the hash depends on the cache slot")
	}
	// Set each field that differs between everything(s) and s, one at a time.
	all := everything(s)
	all.Labels, all.PlatformUser = append(slices.Clone(s.Labels), "more"), true
	seen := map[string]string{hash(s, "a"): "nothing"}
	from, to := reflect.ValueOf(all), reflect.ValueOf(s)
	for i := range from.NumField() {
		if reflect.DeepEqual(from.Field(i).Interface(), to.Field(i).Interface()) {
			continue
		}
		if name := from.Type().Field(i).Name; name == "CacheSize" || name == "StorageClass" {
			continue
		}
		changed := s
		reflect.ValueOf(&changed).Elem().Field(i).Set(from.Field(i))
		name := from.Type().Field(i).Name
		if was, ok := seen[hash(changed, "a")]; ok {
			t.Errorf("%s makes the same hash as %s", name, was)
		}
		seen[hash(changed, "a")] = name
	}
	for _, must := range []string{"Labels", "Executors", "Unlabelled"} { // an inbound agent's pod has none of these
		if !slices.Contains(slices.Collect(maps.Values(seen)), must) {
			t.Errorf("no spec changes %s", must)
		}
	}
}

func TestBothContainersTogetherAskForWhatWasSet(t *testing.T) {
	s := specOf(scaler.Ephemeral, scaler.Inbound, DockerDind)
	s.CPU, s.Memory = resource.MustParse("1500m"), resource.MustParse("3Gi")
	pod := Build(s, "a")
	cpu, memory := resource.Quantity{}, resource.Quantity{}
	for _, c := range []corev1.Container{pod.Spec.InitContainers[1], pod.Spec.Containers[0]} {
		cpu.Add(*c.Resources.Requests.Cpu())
		memory.Add(*c.Resources.Requests.Memory())
		if c.Resources.Limits.Memory().Cmp(s.Memory) != 0 {
			t.Errorf("%s may use %s", c.Name, c.Resources.Limits.Memory())
		}
	}
	if cpu.Cmp(s.CPU) != 0 || memory.Cmp(s.Memory) != 0 {
		t.Errorf("together they ask for %s and %s", &cpu, &memory)
	}
}
