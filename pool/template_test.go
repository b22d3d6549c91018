package pool

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"bellboard/scaler"
)

// good is a template with what teams ask for, and nothing that is not allowed.
const good = `# Java with a cache, and a database beside the build
apiVersion: v1
kind: Pod
metadata:
  labels: {cost-centre: "42"}
spec:
  terminationGracePeriodSeconds: 900
  dnsConfig:
    options: [{name: ndots, value: "1"}]
  initContainers:
  - name: database
    image: postgres:18
    restartPolicy: Always
    env: [{name: POSTGRES_HOST_AUTH_METHOD, value: trust}]
    resources:
      requests: {cpu: 100m, memory: 256Mi}
    securityContext:
      runAsUser: 999
      runAsNonRoot: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
      seccompProfile: {type: RuntimeDefault}
  - name: dind
    image: registry.example/docker:29-dind
    startupProbe: {failureThreshold: 300}
    resources:
      limits: {memory: 4Gi}
  containers:
  - name: agent
    env: [{name: MAVEN_OPTS, value: -Xmx1g}]
    volumeMounts: [{name: maven, mountPath: /home/jenkins/.m2}]
  volumes:
  - name: maven
    emptyDir: {}
  - name: workspace
    emptyDir: null
    ephemeral:
      volumeClaimTemplate:
        spec:
          accessModes: [ReadWriteOnce]
          resources: {requests: {storage: 20Gi}}
`

func parsed(t *testing.T, text string) *Template {
	t.Helper()
	out, mistakes := ParseTemplate("pod.yaml", []byte(text))
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	return out
}

func texts(errs []*TemplateMistake) string {
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return strings.Join(out, "\n")
}

func TestTemplate(t *testing.T) {
	s := specOf(scaler.Persistent, scaler.Inbound, DockerDind)
	plain := Build(s, "web-p-4kx7q2m9ab")
	s.Template = parsed(t, good)
	if m := s.TemplateMistakes(); m != nil {
		t.Fatalf("the template has mistakes:\n%s", texts(m))
	}
	decoded := &corev1.Pod{}
	pod := Build(s, "web-p-4kx7q2m9ab")
	golden(t, "template", pod, decoded)
	invariants(t, decoded, DockerDind)
	var names []string
	for i := range pod.Spec.InitContainers {
		names = append(names, pod.Spec.InitContainers[i].Name)
	}
	if diff := cmp.Diff([]string{"docker-cli", "dind", "database"}, names); diff != "" {
		t.Errorf("init containers (-want +got):\n%s", diff)
	}
	if len(pod.Spec.Containers) != 1 || pod.Annotations[AnnotationSpecHash] == plain.Annotations[AnnotationSpecHash] {
		t.Errorf("%d containers, hash %s as before", len(pod.Spec.Containers), pod.Annotations[AnnotationSpecHash])
	}
	if again := Build(s, "web-p-4kx7q2m9ab"); !cmp.Equal(pod, again) {
		t.Error("Build makes another pod each time")
	}
}

// Each row is a file, and all mistakes that are found in it.
func TestTemplatesThatAreNone(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "empty; write the part of a pod that is to differ"},
		{"no YAML", "spec: [", "yaml: line 1: did not find expected node content"},
		{"two pods", "kind: Pod\n---\nkind: Pod\n", "more than one document; leave one pod in it"},
		{"another kind", "apiVersion: apps/v1\nkind: Deployment\n", "line 2: kind: a template is a Pod of v1, or leaves both out"},
		{
			"unknown fields, all of them", "spec:\n  nodeSelektor: {}\n  containers:\n  - name: agent\n    volumeMounts:\n    - mountpath: /x\n      name: x\n",
			"line 6: spec.containers[0].volumeMounts[0].mountpath: a pod has no such field; kubectl explain pod.spec.containers.volumeMounts lists those it has\n" +
				"line 2: spec.nodeSelektor: a pod has no such field; kubectl explain pod.spec lists those it has",
		},
		{"a field at the wrong place", "nodeSelector: {disk: ssd}\n", "line 1: nodeSelector: a pod has no such field; kubectl explain pod lists those it has"},
		{"a word for a number", "spec:\n  terminationGracePeriodSeconds: long\n", "line 2: spec.terminationGracePeriodSeconds: cannot be a string"},
		{"the same key twice", "spec:\n  hostPID: true\n  hostPID: false\n", `yaml: unmarshal errors: line 3: key "hostPID" already set in map`},
		{"a directive", "spec:\n  containers:\n  - name: agent\n    $patch: delete\n", "line 4: spec.containers[0].$patch: a pod has no such field; kubectl explain pod.spec.containers lists those it has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, mistakes := ParseTemplate("pod.yaml", []byte(tt.text))
			if got := texts(mistakes); got != tt.want || out != nil {
				t.Errorf("the mistakes are:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

// Each row is a template, and the fields that are rejected.
func TestTemplateMistakes(t *testing.T) {
	agent := func(text string) string { return "spec:\n  containers:\n  - name: agent\n    " + text }
	dind := func(text string) string { return "spec:\n  initContainers:\n  - name: dind\n    " + text }
	added := func(text string) string {
		return "spec:\n  initContainers:\n  - name: db\n    image: db:1\n    resources: {requests: {cpu: 1, memory: 1Gi}}\n    " + text
	}
	for _, tt := range []struct {
		name, text string
		want       string // "line field", a line each
		docker     DockerMode
		allow      bool
		persistent bool
	}{
		{name: "nothing", text: "spec: {}"},
		{name: "a name", text: "metadata: {name: x}", want: "1 metadata.name"},
		{name: "a namespace", text: "metadata:\n  namespace: x", want: "2 metadata.namespace"},
		{name: "an owner", text: "metadata:\n  ownerReferences: [{kind: Pod, name: x, uid: x, apiVersion: v1}]", want: "2 metadata.ownerReferences"},
		{name: "its labels", text: "metadata:\n  labels:\n    bellboard.dev/team: x\n    app.kubernetes.io/name: null\n    bellboard.dev/new: x", want: "3 metadata.labels[bellboard.dev/team]\n4 metadata.labels[app.kubernetes.io/name]\n5 metadata.labels[bellboard.dev/new]"},
		{name: "its annotations", text: "metadata:\n  annotations: {karpenter.sh/do-not-disrupt: \"false\"}", want: "2 metadata.annotations[karpenter.sh/do-not-disrupt]"},
		{name: "a restart", text: "spec: {restartPolicy: OnFailure}", want: "1 spec.restartPolicy"},
		{name: "a token", text: "spec: {automountServiceAccountToken: true}", want: "1 spec.automountServiceAccountToken"},
		{name: "a token by leaving it open", text: "spec: {automountServiceAccountToken: null}", want: "1 spec.automountServiceAccountToken"},
		{name: "a token for the cluster", text: "spec:\n  volumes:\n  - name: x\n    projected:\n      sources:\n      - serviceAccountToken: {path: mine, audience: vault}\n      - serviceAccountToken: {path: token}", want: "7 spec.volumes[x].projected.sources[1].serviceAccountToken"},
		{name: "a token for the cluster by its name", text: "spec:\n  volumes:\n  - name: x\n    projected:\n      sources: [{serviceAccountToken: {path: token, audience: \"https://kubernetes.default.svc\"}}]", want: "5 spec.volumes[x].projected.sources[0].serviceAccountToken.audience"},
		{name: "a token for a cloud", text: "spec: {volumes: [{name: x, projected: {sources: [{serviceAccountToken: {path: token, audience: sts.amazonaws.com}}]}}]}"},
		{name: "service links", text: "spec: {enableServiceLinks: true}", want: "1 spec.enableServiceLinks"},
		{name: "a short grace", text: "spec:\n  terminationGracePeriodSeconds: 599", want: "2 spec.terminationGracePeriodSeconds"},
		{name: "an end", text: "spec: {activeDeadlineSeconds: 3600}", want: "1 spec.activeDeadlineSeconds"},
		{name: "a Kubernetes node", text: "spec: {nodeName: n1}", want: "1 spec.nodeName"},
		{name: "Kubernetes nodes with Windows", text: "spec:\n  nodeSelector:\n    kubernetes.io/os: windows\n  os: {name: windows}", want: "2 spec.nodeSelector\n4 spec.os.name"},
		{name: "Kubernetes nodes with Linux", text: "spec: {nodeSelector: {kubernetes.io/os: linux, disk: ssd}}"},
		{name: "the Kubernetes node's network", text: "spec: {hostNetwork: true, hostPID: true, hostIPC: true}", want: "1 spec.hostIPC\n1 spec.hostNetwork\n1 spec.hostPID"},
		{name: "allowed", text: "spec: {hostNetwork: true, volumes: [{name: x, hostPath: {path: /x}}]}", allow: true},
		{name: "what no template needs", text: "spec:\n  schedulingGates: [{name: x}]\n  ephemeralContainers: [{name: x, image: x}]\n  overhead: {cpu: 1}\nstatus: {phase: Running}", want: "2 spec.schedulingGates\n3 spec.ephemeralContainers\n4 spec.overhead\n5 status"},
		{name: "the scheduler's part", text: "spec: {priorityClassName: low, runtimeClassName: gvisor, serviceAccountName: x, affinity: {nodeAffinity: {}}, topologySpreadConstraints: [{maxSkew: 1}]}"},
		{name: "another type of SELinux", text: "spec:\n  securityContext:\n    seLinuxOptions: {level: s0, type: spc_t}", want: "3 spec.securityContext.seLinuxOptions.type"},
		{name: "another group than that of Docker's socket", text: "spec: {securityContext: {fsGroup: 0}}", want: "1 spec.securityContext.fsGroup"},
		{name: "another group, which the secret gets", text: "spec: {securityContext: {fsGroup: 2000, runAsUser: 2000}}", docker: DockerNone},
		{name: "no group", text: "spec:\n  securityContext:\n    fsGroup: null", docker: DockerNone, want: "3 spec.securityContext.fsGroup"},
		{name: "no context", text: "spec:\n  securityContext: null", docker: DockerNone, want: "2 spec.securityContext.fsGroup"},
		{name: "a user namespace for a privileged daemon", text: "spec: {hostUsers: false}", want: "1 spec.hostUsers"},
		{name: "no user namespace", text: "spec: {hostUsers: true}", docker: DockerUserns, want: "1 spec.hostUsers"},
		{name: "a runtime of that kind by another name", text: "spec: {runtimeClassName: mine}", docker: DockerUserns},
		{name: "Sysbox under containerd", text: "spec: {hostUsers: false}", docker: DockerSysbox},
		{name: "a directory of the Kubernetes node", text: "spec:\n  volumes:\n  - name: x\n    hostPath: {path: /x}", want: "4 spec.volumes[x].hostPath"},
		{name: "the socket of the Kubernetes node, if that is allowed", text: "spec: {}", docker: DockerHost, allow: true},
		{name: "a kind of volume that runs programs of the Kubernetes node", text: "spec:\n  volumes:\n  - name: x\n    flexVolume: {driver: x}\n  - name: z\n    gitRepo: {repository: x}", want: "4 spec.volumes[x].flexVolume\n6 spec.volumes[z].gitRepo"},
		{name: "a certificate of the cluster", text: "spec: {volumes: [{name: x, projected: {sources: [{podCertificate: {signerName: kubernetes.io/kube-apiserver-client-pod, keyType: RSA}}]}}]}", want: "1 spec.volumes[x].projected.sources[0].podCertificate"},
		{name: "Docker's data nowhere", text: "spec: {volumes: [{name: docker-data, emptyDir: null}]}", want: "1 spec.volumes[docker-data].emptyDir"},
		{name: "two sources", text: "spec: {volumes: [{name: tmp, ephemeral: {}}]}", want: "1 spec.volumes[tmp]"},
		{name: "a size", text: "spec: {volumes: [{name: tmp, emptyDir: {sizeLimit: 1Gi}}]}"},
		{name: "the secret's volume", text: "spec: {volumes: [{name: agent-secret, secret: {secretName: x}}]}", want: "1 spec.volumes[agent-secret]"},
		{name: "Docker's data elsewhere", text: "spec: {volumes: [{name: docker-data, persistentVolumeClaim: {claimName: x}, emptyDir: null}]}", want: "1 spec.volumes[docker-data].emptyDir\n1 spec.volumes[docker-data].persistentVolumeClaim"},
		{name: "another claim for Docker's data", text: "spec: {volumes: [{name: docker-data, persistentVolumeClaim: {claimName: shared}}]}", persistent: true, want: "1 spec.volumes[docker-data].persistentVolumeClaim"},
		{name: "Docker's data to be read only", text: "spec: {volumes: [{name: docker-data, persistentVolumeClaim: {readOnly: true}}]}", persistent: true, want: "1 spec.volumes[docker-data].persistentVolumeClaim"},
		{name: "no claim for Docker's data", text: "spec: {volumes: [{name: docker-data, persistentVolumeClaim: null, emptyDir: {}}]}", persistent: true, want: "1 spec.volumes[docker-data].persistentVolumeClaim"},
		{name: "a size of Docker's data", text: "spec: {volumes: [{name: docker-data, emptyDir: {sizeLimit: 30Gi}}]}"},
		{name: "nothing of an agent with a slot", text: "spec: {}", persistent: true},
		{name: "a claim among Docker's data", text: dind("volumeMounts: [{name: x, mountPath: /var/lib/docker/volumes/}]\n  volumes: [{name: x, persistentVolumeClaim: {claimName: shared}}]"), persistent: true, want: "4 spec.initContainers[dind].volumeMounts[/var/lib/docker/volumes/]"},
		{name: "a volume of its own among Docker's data", text: dind("volumeMounts: [{name: x, mountPath: /var/lib/docker/volumes}]\n  volumes: [{name: x, emptyDir: {}}]"), persistent: true},
		{name: "no volumes", text: "spec: {volumes: null}", want: strings.TrimSpace(strings.Repeat("1 spec.volumes[x]\n", 7))},
		{name: "no containers", text: "spec: {containers: null}", want: "1 spec.containers[agent]"},
		{name: "another start", text: agent("command: [bash]\n    args: null"), want: "4 spec.containers[agent].command\n5 spec.containers[agent].args"},
		{name: "another image", text: agent("image: x"), want: "4 spec.containers[agent].image"},
		{name: "no preStop", text: agent("lifecycle: null"), want: "4 spec.containers[agent].lifecycle.preStop"},
		{name: "another preStop", text: agent("lifecycle: {preStop: {sleep: {seconds: 1}}}"), want: "4 spec.containers[agent].lifecycle.preStop"},
		{name: "a postStart", text: agent("lifecycle: {postStart: {exec: {command: [x]}}}")},
		{name: "a liveness probe", text: agent("livenessProbe: {exec: {command: [x]}}"), want: "4 spec.containers[agent].livenessProbe"},
		{name: "a privileged agent", text: agent("securityContext: {privileged: true}"), want: "4 spec.containers[agent].securityContext.privileged"},
		{name: "an agent that is root of the Kubernetes node", text: agent("securityContext: {runAsUser: 0, capabilities: {add: [SYS_ADMIN, CHOWN, CAP_NET_ADMIN, ALL]}, seccompProfile: {type: Unconfined}}"), want: strings.TrimSpace(strings.Repeat("4 spec.containers[agent].securityContext.capabilities.add\n", 3))},
		{name: "one that is allowed to be", text: agent("securityContext: {capabilities: {add: [SYS_ADMIN]}}"), allow: true},
		{name: "one that is root of its pod", text: "spec:\n  hostUsers: false\n  containers:\n  - name: agent\n    securityContext: {capabilities: {add: [SYS_ADMIN]}}", docker: DockerNone},
		{name: "a port of the Kubernetes node", text: agent("ports: [{containerPort: 80}, {containerPort: 81, hostPort: 81}]"), want: "4 spec.containers[agent].ports"},
		{name: "a start-up probe", text: agent("startupProbe: {exec: {command: [x]}}"), want: "4 spec.containers[agent].startupProbe"},
		{name: "a block device", text: agent("volumeDevices: [{name: x, devicePath: /dev/x}]"), want: "4 spec.containers[agent].volumeDevices"},
		{name: "variables of a ConfigMap", text: agent("envFrom: [{configMapRef: {name: x}}]")},
		{name: "the image's variables", text: agent("env: [{name: JENKINS_URL, value: x}]"), want: "4 spec.containers[agent].env[JENKINS_URL]"},
		{name: "a Docker for everybody", text: agent("env: [{name: DOCKER_HOST, value: \"tcp://x:2375\"}]"), docker: DockerNone, want: "4 spec.containers[agent].env[DOCKER_HOST]"},
		{name: "another Docker", text: agent("env: [{name: DOCKER_HOST, value: \"tcp://x:2375\"}]"), want: "4 spec.containers[agent].env[DOCKER_HOST]"},
		{name: "another workspace", text: agent("volumeMounts: [{name: tmp, mountPath: /home/jenkins/agent}]"), want: "4 spec.containers[agent].volumeMounts[/home/jenkins/agent]"},
		{name: "Docker's data for the agent", text: agent("volumeMounts: [{name: docker-data, mountPath: /var/lib/docker}]"), want: "4 spec.containers[agent].volumeMounts[/var/lib/docker]"},
		{name: "no requests", text: agent("resources: {requests: null}"), want: "4 spec.containers[agent].resources.requests.cpu\n4 spec.containers[agent].resources.requests.memory"},
		{name: "other requests", text: agent("resources: {requests: {cpu: 3}}")},
		{name: "another daemon", text: dind("args: [dockerd]"), want: "4 spec.initContainers[dind].args"},
		{name: "an unprivileged daemon", text: dind("securityContext: {privileged: false}"), want: "4 spec.initContainers[dind].securityContext"},
		{name: "a daemon that is not waited for", text: dind("startupProbe: null"), want: "4 spec.initContainers[dind].startupProbe.exec"},
		{name: "a daemon that is waited for longer", text: dind("startupProbe: {failureThreshold: 600}")},
		{name: "a daemon that ends first", text: dind("restartPolicy: null"), want: "4 spec.initContainers[dind].restartPolicy"},
		{name: "a daemon with a liveness probe", text: dind("livenessProbe: {exec: {command: [x]}}"), want: "4 spec.initContainers[dind].livenessProbe"},
		{name: "a daemon that is not there, but may be for another kind", text: dind("image: x\n  volumes: [{name: docker-data, emptyDir: {sizeLimit: 30Gi}}]"), docker: DockerNone},
		{name: "a volume that is not there", text: added("volumeMounts: [{name: docker-run, mountPath: /run/docker}]"), docker: DockerNone, want: "6 spec.initContainers[db].volumeMounts[/run/docker]"},
		{name: "a container that no agent has", text: "spec:\n  initContainers:\n  - name: dint\n    resources: {}", want: "3 spec.initContainers[dint]"},
		{name: "the agent by the Kubernetes plugin's name", text: "spec:\n  containers:\n  - name: jnlp\n    image: x", want: "3 spec.containers[jnlp]"},
		{name: "an image for the daemon", text: dind("image: x")},
		{name: "one more", text: added("restartPolicy: Always")},
		{name: "one more that stays", text: "spec:\n  containers:\n  - {name: db, image: x, resources: {requests: {cpu: 1, memory: 1Gi}}}", want: "3 spec.containers[db]"},
		{name: "one more without requests", text: "spec:\n  initContainers:\n  - {name: db, image: x}", want: "3 spec.initContainers[db].resources.requests.cpu\n3 spec.initContainers[db].resources.requests.memory"},
		{name: "one more with the secret", text: added("volumeMounts: [{name: agent-secret, mountPath: /s}]"), want: "6 spec.initContainers[db].volumeMounts[/s]"},
		{name: "one more daemon", text: added("volumeMounts: [{name: docker-data, mountPath: /var/lib/docker}]\n    securityContext: {privileged: true}"), want: "6 spec.initContainers[db].volumeMounts[/var/lib/docker]\n7 spec.initContainers[db].securityContext.privileged"},
		{name: "one more daemon on a claim", text: added("volumeMounts: [{name: x, mountPath: /var/lib/docker}]\n  volumes: [{name: x, persistentVolumeClaim: {claimName: shared}}]"), allow: true, persistent: true, want: "6 spec.initContainers[db].volumeMounts[/var/lib/docker]"},
		{name: "one more daemon on a volume of its own", text: added("volumeMounts: [{name: x, mountPath: /var/lib/docker}]\n    securityContext: {privileged: true}\n  volumes: [{name: x, ephemeral: {}}]"), allow: true, persistent: true},
		{name: "one more that is root of the Kubernetes node", text: added("securityContext: {capabilities: {add: [SYS_PTRACE]}}"), want: "6 spec.initContainers[db].securityContext.capabilities.add"},
		{name: "one more with capabilities as usual", text: added("securityContext: {capabilities: {drop: [ALL], add: [SETUID, NET_BIND_SERVICE]}}")},
		{name: "one more with a Docker for everybody", text: added("env: [{name: DOCKER_HOST, value: \"tcp://x:2375\"}]"), want: "6 spec.initContainers[db].env[DOCKER_HOST]"},
		{name: "one more with a Docker that a Secret names", text: added("env: [{name: DOCKER_HOST, valueFrom: {secretKeyRef: {name: x, key: x}}}]"), want: "6 spec.initContainers[db].env[DOCKER_HOST]"},
		{name: "one more that says a thing twice", text: added("volumeMounts: [{name: agent-secret, mountPath: /s}, {name: tmp, mountPath: /s}]"), want: "6 spec.initContainers[db].volumeMounts[/s]"},
		{name: "one more with the pod's Docker", text: added("env: [{name: DOCKER_HOST, value: \"unix:///run/docker/docker.sock\"}]")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docker := tt.docker
			if docker == "" {
				docker = DockerDind
			}
			kind := scaler.Ephemeral
			if tt.persistent {
				kind = scaler.Persistent
			}
			s := specOf(kind, scaler.Inbound, docker)
			s.Template, s.AllowHost = parsed(t, tt.text), tt.allow
			var got []string
			for _, m := range s.TemplateMistakes() {
				if m.Remedy == "" || !strings.HasPrefix(m.Error(), "line ") {
					t.Errorf("%q has no line or no remedy", m)
				}
				field := m.Field
				if tt.name == "no volumes" {
					field = "spec.volumes[x]"
				}
				got = append(got, strings.TrimSpace(strings.TrimPrefix(strings.SplitN(m.Error(), ":", 2)[0], "line")+" "+field))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s\n%s", diff, texts(s.TemplateMistakes()))
			}
			if tt.want == "" {
				Build(s, "web-e-1")
			}
		})
	}
}

// A template that names a container which the agents lack is told so, with those that they have.
func TestAContainerThatTheAgentsLack(t *testing.T) {
	for text, want := range map[string]string{
		"spec:\n  initContainers:\n  - name: dint": "line 3: spec.initContainers[dint]: the ephemeral agents of team web (DOCKER=dind) have no such container among initContainers (dind, docker-cli); " +
			"correct its name, set this file for another kind, or give it an image",
		"spec:\n  containers:\n  - name: dind": "line 3: spec.containers[dind]: the ephemeral agents of team web (DOCKER=dind) have no such container among containers (agent); " +
			"correct its name, set this file for another kind, or give it an image",
		"spec:\n  containers:\n  - name: jnlp": "line 3: spec.containers[jnlp]: the agent's container is agent; correct its name, and leave image, command and args out",
	} {
		s := specOf(scaler.Ephemeral, scaler.Inbound, DockerDind)
		s.Template = parsed(t, text)
		if diff := cmp.Diff(want, texts(s.TemplateMistakes())); diff != "" {
			t.Errorf("mistakes (-want +got):\n%s", diff)
		}
	}
	s := specOf(scaler.Persistent, scaler.Inbound, DockerNone)
	s.Template = parsed(t, "spec: {initContainers: [{name: ca}]}")
	const want = "line 1: spec.initContainers[ca]: the persistent agents of team web (DOCKER=none) have no such container among initContainers (none); " +
		"correct its name, set this file for another kind, or give it an image"
	if got := texts(s.TemplateMistakes()); got != want {
		t.Errorf("the mistakes are:\n%s\nwant:\n%s", got, want)
	}
}

// rulesOf returns the rule of each field of the policy.
func rulesOf(path string, rules object) map[string]string {
	out := map[string]string{}
	for key, rule := range rules {
		at := strings.TrimPrefix(strings.ReplaceAll(path+"."+key, ".[", "["), ".")
		maps.Copy(out, rulesOf(at, as[object](rule)))
		if text := as[string](rule); text != "" {
			out[at] = text
		}
	}
	return out
}

// A pod has each field of the policy.
func TestTheTableNamesFieldsOfPods(t *testing.T) {
	has := func(path string) bool {
		at := reflect.TypeFor[corev1.Pod]()
		for name := range strings.SplitSeq(path, ".") {
			if at.Kind() == reflect.Pointer || at.Kind() == reflect.Slice {
				at = at.Elem()
			}
			i := slices.IndexFunc(reflect.VisibleFields(at), func(f reflect.StructField) bool { tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); return tag == name })
			if i < 0 {
				return false
			}
			at = reflect.VisibleFields(at)[i].Type
			for at.Kind() == reflect.Pointer || at.Kind() == reflect.Slice {
				at = at.Elem()
			}
		}
		return true
	}
	for name, rule := range rulesOf("", policy.Fields) {
		if rule != ruleAllow && rule != ruleHost && !strings.Contains(rule, "leave it out") && !strings.Contains(rule, "make it") {
			t.Errorf("%s: neither a rule nor a remedy: %q", name, rule)
		}
		if path := indexes.ReplaceAllString(name, ""); path != "" && !has(path) {
			t.Errorf("%s: a pod has no such field", name)
		}
	}
}

// docs/templates.md names all fields that a template may set.
func TestThePageNamesTheTable(t *testing.T) {
	page, err := os.ReadFile("../docs/templates.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, rule := range rulesOf("", policy.Fields) {
		if rule != ruleAllow && rule != ruleHost {
			continue
		}
		field := indexes.ReplaceAllString(name[strings.LastIndex(name, ".")+1:], "")
		if !strings.Contains(string(page), "`"+field+"`") {
			t.Errorf("docs/templates.md does not name %s", name)
		}
	}
}
