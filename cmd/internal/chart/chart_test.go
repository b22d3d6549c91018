package chart

import (
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"bellboard/cmd/internal/config"
	"bellboard/deploy/manifest"
	"bellboard/pool"
	"bellboard/scaler"
)

var update = flag.Bool("update", false, "write deploy/install.yaml and testdata anew")

// TestMain reads the chart. Helm is another process: without this read, go test would not see a change.
func TestMain(m *testing.M) {
	flag.Parse()
	for _, dir := range []string{"chart", "alerts", "grafana"} {
		err := filepath.WalkDir("../../../deploy/"+dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				_, err = os.ReadFile(path)
			}
			return err
		})
		if err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// golden compares a text with a file, or writes the file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what the chart renders; write it anew: make manifests\n(-file +chart):\n%s", path, diff)
	}
}

// head is the beginning of install.yaml.
const head = `# Bellboard in a cluster without Helm: kubectl apply -f install.yaml
#
# Change the image (search for registry.example.com) and the ConfigMaps: the address of Jenkins, and your
# teams. Bellboard reads them at its start: kubectl -n bellboard rollout restart deployment/bellboard
#
# This is what deploy/chart renders of examples/first.yaml (make manifests). deploy/chart/values.yaml
# explains it, and the other examples are other ways to run agents: helm template deploy/chart.
#
# This file makes three namespaces: Bellboard's own, and two for agents. A pod with Docker inside is
# privileged, and agents without Docker need no such right. The three Roles have all rights of Bellboard;
# there is no ClusterRole and no CRD.
`

// TestInstall checks that deploy/install.yaml is what the chart renders.
func TestInstall(t *testing.T) {
	text := render(t, "--values", Example("first"), "--set", "createNamespace=true", "--no-hooks")
	golden(t, "../../../deploy/install.yaml", head+strings.TrimPrefix(regexp.MustCompile("(?m)^# Source: .*\n").ReplaceAllString(text, ""), "---\n"))
}

// TestGolden shows all that the chart renders with every switch on, with every switch off, and on OpenShift.
func TestGolden(t *testing.T) {
	for _, name := range []string{"everything", "least"} {
		values := "testdata/" + name + ".values.yaml"
		golden(t, "testdata/"+name+".yaml", render(t, "--values", "cmd/internal/chart/"+values))
	}
	golden(t, "testdata/openshift.yaml", render(t, "--values", Example("websocket"), "--values", openShift))
}

// TestLint asks Helm what it thinks of the chart with each example.
func TestLint(t *testing.T) {
	lint := []string{"lint", "deploy/chart", "--strict", "--kube-version", "1.36.0", "--values"}
	for _, name := range append(Examples(), "openshift") {
		files := []string{Example(name)}
		if name == "openshift" {
			files = []string{openShift, "--values", Example("websocket")}
		}
		out, err := Helm(t.Context(), slices.Concat(lint, files)...)
		if err != nil || strings.Contains(string(out), "[WARNING]") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestSchema checks that Helm rejects likely mistakes in values, and names the place.
func TestSchema(t *testing.T) {
	for _, tt := range []struct{ set, want string }{
		{"teams=null", "teams"},
		{"teams.web=null", "/teams"},
		{"teams.Web.LABELS=x", "'Web'"},
		{"teams.mobile.MODE=auto", "'LABELS'"},
		{"teams.web.maxAgents=3", "'maxAgents'"},
		{"teams.web.MAX_AGNETS=3", "'MAX_AGNETS'"},
		{"teams.web.MAX_AGENTS=some", "/teams/web/MAX_AGENTS"},
		{"teams.web.MODE=both", "/teams/web/MODE"},
		{"teams.web.PERSISTENT_DOCKER=yes", "/teams/web/PERSISTENT_DOCKER"},
		{"teams.web.EPHEMERAL_RUN_AS=root", "/teams/web/EPHEMERAL_RUN_AS"},
		{"teams.web.PERSISTENT_MODE=auto", "'PERSISTENT_MODE'"},
		{"teams.web.BUILD_GRACE=10", "/teams/web/BUILD_GRACE"},
		{"teams.web.DOCKER_CONNECT=tcp", "'DOCKER_CONNECT'"},
		{"defaults.JENKINS_URL=http://x", "'JENKINS_URL'"},
		{"settings.MAX_AGENT=3", "'MAX_AGENT'"},
		{"teams.web.MAX_AGENTS={1,2}", "/teams/web/MAX_AGENTS"},
		{"settings.JENKINS_URL=jenkins:8080", "/settings/JENKINS_URL"},
		{"settings.JENKINS_TOKEN_FILE=/x", "'JENKINS_TOKEN_FILE'"},
		{"agentNamespaces.ci=null", "/agentNamespaces"},
		{"agentNamespaces.ci.podSecurity=strict", "/agentNamespaces/ci/podSecurity"},
		{"agentNamespaces.other=null", "/agentNamespaces/other"},
		{"networkPolicy.enabled=true", "networkPolicy"},
		{"networkPolicies.dnsPorts={dns}", "/networkPolicies/dnsPorts/0"},
		{"replicas=two", "/replicas"},
		{"readers={developers}", "/readers/0"},
		{"readers[0].name=developers", "/readers/0"},
		{"image.tagg=1", "tagg"},
	} {
		if _, err := Render(t.Context(), "--values", Example("websocket"), "--set", tt.set); err == nil || !strings.Contains(err.Error(), "specifications of the schema") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("--set %s: %v, want an error of the schema with %s", tt.set, err, tt.want)
		}
	}
}

// TestEveryExampleIsKnown checks that Examples lists every file: users would find the mistakes in a file that
// no test renders.
func TestEveryExampleIsKnown(t *testing.T) {
	got, err := filepath.Glob("../../../deploy/chart/examples/*")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range Examples() {
		want = append(want, "../../../"+Example(name))
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("examples (-known +there):\n%s", diff)
	}
}

// TestSettingsRollThePods checks that other settings make other pods, and that nothing else does.
func TestSettingsRollThePods(t *testing.T) {
	sum := func(args ...string) string {
		m := regexp.MustCompile(`checksum/settings: (\w+)\n`).FindStringSubmatch(render(t, append([]string{"--values", Example("first")}, args...)...))
		if m == nil {
			t.Fatal("no checksum")
		}
		return m[1]
	}
	was := sum()
	for _, set := range []string{"teams.web.MAX_AGENTS=3", "teams.mobile.LABELS=mac", "settings.MAX_AGENTS=51", "defaults.WAIT_VALUE=1", "registryMirror.enabled=true"} {
		if sum("--set", set) == was {
			t.Errorf("--set %s changes no pod", set)
		}
	}
	for _, set := range []string{"replicas=3", "podMonitor.enabled=true", "agentNamespaces.other.create=false"} {
		if sum("--set", set) != was {
			t.Errorf("--set %s makes other pods", set)
		}
	}
}

// TestMonitoring checks that every alert and every dashboard reaches the cluster as its file has it.
func TestMonitoring(t *testing.T) {
	const runbooks = "https://wiki.example.com/bellboard"
	link := regexp.MustCompile(`docs/runbooks\.md`)
	text := render(t, "--values", Example("websocket"), "--show-only", "templates/monitoring.yaml", "--set",
		"podMonitor.enabled=true,prometheusRule.enabled=true,runbooks="+runbooks+",dashboards.enabled=true,prometheusRule.labels.release=ours")
	files, err := filepath.Glob("../../../deploy/grafana/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no dashboards:", err)
	}
	missing := map[string]string{}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		missing[filepath.Base(path)] = strings.TrimSpace(link.ReplaceAllString(string(b), runbooks))
	}
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var o unstructured.Unstructured
		if err := yaml.UnmarshalStrict([]byte(strings.TrimPrefix(doc, "---\n")), &o.Object); err != nil {
			t.Fatal(err)
		}
		switch o.GetKind() {
		case "ConfigMap":
			if o.GetLabels()["grafana_dashboard"] != "1" {
				t.Errorf("%s has the labels %v", o.GetName(), o.GetLabels())
			}
			data, _, _ := unstructured.NestedStringMap(o.Object, "data")
			for name, got := range data {
				if strings.TrimSpace(got) != missing[name] {
					t.Errorf("%s differs from its file", name)
				}
				delete(missing, name)
			}
		case "PrometheusRule":
			b, err := os.ReadFile("../../../deploy/alerts/bellboard.yaml")
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]any
			if err := yaml.Unmarshal(link.ReplaceAll(b, []byte(runbooks)), &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, o.Object["spec"]); diff != "" || !strings.Contains(doc, runbooks+"#bellboard") || o.GetLabels()["release"] != "ours" {
				t.Errorf("rules (-file +chart):\n%s", diff)
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("no ConfigMap of %v", slices.Sorted(maps.Keys(missing)))
	}
}

// TestHooks checks the pods of helm test and helm uninstall. They have the daemon's settings and rights, and
// neither the Service nor the budget takes them for the daemon's.
func TestHooks(t *testing.T) {
	var daemon, last *appsv1.Deployment
	var doctor *corev1.Pod
	var cleanup *batchv1.Job
	for _, o := range decoded(t, render(t, "--values", Example("first"))) {
		switch o := o.(type) {
		case *appsv1.Deployment:
			if o.Annotations["helm.sh/hook"] == "" {
				daemon = o
			} else {
				last = o
			}
		case *corev1.Pod:
			doctor = o
		case *batchv1.Job:
			cleanup = o
		}
	}
	if last.Name != daemon.Name || *last.Spec.Replicas != 0 || last.Annotations["helm.sh/hook-delete-policy"] != "before-hook-creation" {
		t.Errorf("helm uninstall does not end the daemon: %+v", last.ObjectMeta)
	}
	if before, after := last.Annotations["helm.sh/hook-weight"], cleanup.Annotations["helm.sh/hook-weight"]; before >= after || cleanup.Annotations["helm.sh/hook"] != "pre-delete" {
		t.Errorf("the cleanup comes %s, the daemon's end %s", after, before)
	}
	for name, hook := range map[string]corev1.PodTemplateSpec{
		"doctor": {ObjectMeta: doctor.ObjectMeta, Spec: doctor.Spec}, "cleanup": cleanup.Spec.Template,
	} {
		want := daemon.Spec.Template.Spec.DeepCopy()
		want.RestartPolicy, want.TopologySpreadConstraints = hook.Spec.RestartPolicy, nil
		c := &want.Containers[0]
		c.Args, c.Ports, c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = map[string][]string{"doctor": {"doctor"}, "cleanup": {"cleanup", "--yes"}}[name], nil, nil, nil, nil
		if diff := cmp.Diff(want, &hook.Spec); diff != "" {
			t.Errorf("pod of %s (-daemon's +hook's):\n%s", name, diff)
		}
		selector, err := metav1.LabelSelectorAsSelector(daemon.Spec.Selector)
		if err != nil || selector.Matches(labels.Set(hook.Labels)) || hook.Labels["app.kubernetes.io/name"] != "bellboard" {
			t.Errorf("the pod of %s has the labels %v, the daemon's are selected by %s", name, hook.Labels, selector)
		}
	}
}

// TestReaders checks that a person who asks the running Bellboard only reads, except for the port-forward.
func TestReaders(t *testing.T) {
	rights := map[string][]string{}
	var who []rbacv1.Subject
	for _, o := range decoded(t, render(t, "--values", Example("first"), "--set", "readers[0].kind=Group,readers[0].name=developers")) {
		switch o := o.(type) {
		case *rbacv1.Role:
			if o.Name != "bellboard-reader" {
				continue
			}
			for _, r := range o.Rules {
				for _, resource := range r.Resources {
					rights[o.Namespace+" "+resource] = r.Verbs
				}
			}
		case *rbacv1.RoleBinding:
			if o.RoleRef.Name == "bellboard-reader" {
				who = append(who, o.Subjects...)
			}
		}
	}
	want := map[string][]string{"bellboard leases": {"get"}, "bellboard pods": {"get"}, "bellboard pods/portforward": {"create", "get"}}
	if diff := cmp.Diff(want, rights); diff != "" {
		t.Errorf("rights (-want +chart):\n%s", diff)
	}
	if diff := cmp.Diff([]rbacv1.Subject{{Kind: "Group", Name: "developers"}}, who); diff != "" {
		t.Errorf("subjects (-want +chart):\n%s", diff)
	}
}

// way has the properties of the agents of an example.
type way struct {
	Kind      scaler.Kind
	Connect   scaler.Connect
	Transport pool.Transport
	Docker    pool.DockerMode
	Namespace string
	Mirror    string
}

// TestExamples renders each example. The API has each field of each object, the settings have no mistake, and
// the agents are as the name of the example says.
func TestExamples(t *testing.T) {
	const mirror = "http://bellboard-registry-mirror.bellboard.svc:5000"
	want := map[string][]way{
		"first": {
			{scaler.Persistent, scaler.Swarm, pool.WebSocket, pool.DockerDind, "ci-docker", ""},
			{scaler.Ephemeral, scaler.Inbound, pool.WebSocket, pool.DockerNone, "ci", ""},
		},
		"host-docker": {{scaler.Ephemeral, scaler.Inbound, pool.WebSocket, pool.DockerHost, "ci-docker", ""}},
		"websocket":   {{scaler.Ephemeral, scaler.Inbound, pool.WebSocket, pool.DockerNone, "ci", ""}},
		"tcp":         {{scaler.Ephemeral, scaler.Inbound, pool.TCP, pool.DockerNone, "ci", ""}},
		"ssh":         {{scaler.Ephemeral, scaler.Inbound, pool.SSH, pool.DockerNone, "ci", ""}},
		"dind":        {{scaler.Ephemeral, scaler.Inbound, pool.WebSocket, pool.DockerDind, "ci-docker", mirror}},
		"swarm":       {{scaler.Persistent, scaler.Swarm, pool.WebSocket, pool.DockerNone, "ci", ""}},
		"swarm-dind":  {{scaler.Persistent, scaler.Swarm, pool.WebSocket, pool.DockerDind, "ci-docker", mirror}},
	}
	if !slices.Equal(slices.Sorted(maps.Keys(want)), Examples()) {
		t.Errorf("tried are %v, there are %v", slices.Sorted(maps.Keys(want)), Examples())
	}
	for _, name := range Examples() {
		t.Run(name, func(t *testing.T) {
			objects := decoded(t, render(t, "--values", Example(name), "--set", "createNamespace=true", "--no-hooks"))
			var environ []string
			data := map[string]map[string]string{}
			made, enforced, needs := map[string]bool{}, map[string]string{}, map[string]int{}
			for _, o := range objects {
				switch o := o.(type) {
				case *corev1.Namespace:
					made[o.Name], enforced[o.Name] = true, o.Labels["pod-security.kubernetes.io/enforce"]
					if keep := o.Annotations["helm.sh/resource-policy"] == "keep"; keep != (o.Name != "bellboard") {
						t.Errorf("helm uninstall keeps %s: %t", o.Name, keep)
					}
				case *corev1.ConfigMap:
					data[o.Name] = o.Data
				case *appsv1.Deployment:
					if o.Name == "bellboard" {
						for _, e := range o.Spec.Template.Spec.Containers[0].Env {
							environ = append(environ, e.Name+"="+e.Value)
						}
						for _, from := range o.Spec.Template.Spec.Containers[0].EnvFrom { // ConfigMaps are sent before
							for k, v := range data[from.ConfigMapRef.Name] {
								environ = append(environ, k+"="+v)
							}
						}
					}
				case *rbacv1.Role, *rbacv1.RoleBinding, *policyv1.PodDisruptionBudget, *networkingv1.NetworkPolicy:
					needs[o.(metav1.Object).GetNamespace()]++
				}
			}
			for _, o := range objects {
				if m := o.(metav1.Object); m.GetNamespace() != "" && !made[m.GetNamespace()] {
					t.Errorf("%T %s is in %s, which is not made", o, m.GetName(), m.GetNamespace())
				}
			}
			c, err := config.Load(environ)
			if err != nil {
				t.Fatal(err)
			}
			var got []way
			for _, s := range c.PoolSpecs() {
				got = append(got, way{s.Kind, s.Connect, s.Transport, s.Docker, s.Namespace, s.RegistryMirror})
				if enforced[s.Namespace] != s.PodSecurity() || needs[s.Namespace] != 4 {
					t.Errorf("agents with Docker %s live in %s, which enforces %q and has %d of Role, RoleBinding, budget and policy", s.Docker, s.Namespace, enforced[s.Namespace], needs[s.Namespace])
				}
				delete(made, s.Namespace)
			}
			if diff := cmp.Diff(want[name], got); diff != "" {
				t.Errorf("agents (-want +got):\n%s", diff)
			}
			if delete(made, "bellboard"); len(made) > 0 {
				t.Errorf("nobody lives in %v", made)
			}
			mirrored(t, objects, want[name][0].Mirror)
		})
	}
}

// TestSSH checks that Jenkins can call the agents under the names that Bellboard gives it.
func TestSSH(t *testing.T) {
	s := pool.Spec{PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Instance: "ci", Transport: pool.SSH, SSHSecret: "agent-ssh"}
	pod := pool.Build(s, "web-e-1")
	found := 0
	for _, o := range decoded(t, render(t, "--values", Example("ssh"))) {
		switch o := o.(type) {
		case *corev1.Service:
			if o.Name == "bellboard" {
				continue
			}
			found++
			for k, v := range o.Spec.Selector {
				if pod.Labels[k] != v {
					t.Errorf("agents have no label %s=%s", k, v)
				}
			}
			if o.Name != pod.Spec.Subdomain || o.Namespace != "ci" || o.Spec.ClusterIP != "None" || !o.Spec.PublishNotReadyAddresses || o.Spec.Ports[0].TargetPort.StrVal != pod.Spec.Containers[0].Ports[0].Name {
				t.Errorf("Service %s of %s is %+v", o.Name, o.Namespace, o.Spec)
			}
		case *networkingv1.NetworkPolicy:
			if o.Namespace != "ci" {
				continue
			}
			found++
			in := o.Spec.Ingress
			if len(in) != 1 || len(in[0].From) != 1 || in[0].From[0].NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] != "jenkins" || in[0].Ports[0].Port.IntVal != 22 || len(o.Spec.Egress) != 1 {
				t.Errorf("the policy lets in %+v and out %+v", in, o.Spec.Egress)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d of Service and policy are there", found)
	}
}

// mirrored checks the address of the registry mirror, and the policy on the way to the mirror. "": there is
// none.
func mirrored(t *testing.T, objects []runtime.Object, address string) {
	t.Helper()
	found := 0
	for _, o := range objects {
		m := o.(metav1.Object)
		if !strings.HasSuffix(m.GetName(), "registry-mirror") {
			continue
		}
		found++
		switch o := o.(type) {
		case *corev1.Service:
			if got := "http://" + o.Name + "." + o.Namespace + ".svc:5000"; got != address || o.Spec.Ports[0].Port != 5000 {
				t.Errorf("the mirror is %s, and daemons are told %s", got, address)
			}
		case *networkingv1.NetworkPolicy:
			s := pool.Spec{PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Instance: "ci"}
			from := o.Spec.Ingress[0].From[0].PodSelector
			for k, v := range from.MatchLabels {
				if pool.Build(s, "x").Labels[k] != v {
					t.Errorf("agents have no label %s=%s, and do not reach the mirror", k, v)
				}
			}
		case *appsv1.Deployment:
			pod := o.Spec.Template.Spec
			c := pod.Containers[0]
			if !*pod.SecurityContext.RunAsNonRoot || !*c.SecurityContext.ReadOnlyRootFilesystem || o.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType ||
				strings.HasSuffix(c.Image, ":latest") || !strings.Contains(c.Image, ":") {
				t.Errorf("the mirror's Deployment is %+v", o.Spec)
			}
		}
	}
	if want := map[bool]int{true: 4}[address != ""]; found != want {
		t.Errorf("the mirror is made of %d objects, want %d: claim, Deployment, Service and policy", found, want)
	}
}

func render(t *testing.T, args ...string) string {
	t.Helper()
	text, err := Render(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// decoded reads objects. An unknown field is an error.
func decoded(t *testing.T, text string) []runtime.Object {
	t.Helper()
	out, err := manifest.Objects([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestInstallPage renders the values that docs/install.md has for a Jenkins that runs already.
func TestInstallPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n   ```yaml\n(.*?)\n   ```\n").FindSubmatch(page)
	if block == nil {
		t.Fatal("docs/install.md has no values")
	}
	values := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(values, []byte(strings.ReplaceAll("\n"+string(block[1]), "\n   ", "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	var environ []string
	reached := false
	for _, o := range decoded(t, render(t, "--values", values)) {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			for k, v := range o.Data {
				environ = append(environ, k+"="+v)
			}
		case *networkingv1.NetworkPolicy:
			if o.Namespace == "bellboard" {
				last := o.Spec.Egress[len(o.Spec.Egress)-1]
				reached = len(last.To) == 0 && last.Ports[0].Port.IntValue() == 443
			}
		}
	}
	if !reached {
		t.Error("Bellboard does not reach that Jenkins")
	}
	environ = append(environ, "BELLBOARD_JENKINS_TOKEN_FILE=/token")
	if _, err := config.Load(environ); err != nil {
		t.Errorf("Bellboard does not start with it: %v", err)
	}
}
