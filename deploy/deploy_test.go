package deploy

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"bellboard/deploy/manifest"
	"bellboard/pool"
	"bellboard/scaler"
)

// agents are the namespaces of install.yaml in which agents live.
var agents = []string{"ci", "ci-docker"}

// install decodes install.yaml, strictly.
func install(t *testing.T) []runtime.Object {
	t.Helper()
	b, err := Files.ReadFile("install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := manifest.Objects(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// all are the objects of one type, by namespace and name.
func all[T metav1.Object](t *testing.T) map[string]T {
	t.Helper()
	out := map[string]T{}
	for _, o := range install(t) {
		if o, ok := o.(T); ok {
			key := strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")
			if _, twice := out[key]; twice {
				t.Errorf("%T %s is there twice", o, key)
			}
			out[key] = o
		}
	}
	return out
}

func TestInstallIsComplete(t *testing.T) {
	got := map[string]int{}
	namespaces := map[string]bool{}
	for _, o := range install(t) {
		kind := o.GetObjectKind().GroupVersionKind().Kind
		got[kind]++
		m := o.(metav1.Object)
		if kind == "Namespace" {
			namespaces[m.GetName()] = true
		} else if !namespaces[m.GetNamespace()] {
			t.Errorf("%s %s is in namespace %q, which was not made before it", kind, m.GetName(), m.GetNamespace())
		}
	}
	want := map[string]int{
		"Namespace": 3, "ConfigMap": 3, // the daemon's and two teams'
		"ServiceAccount": 1, "Role": 3, "RoleBinding": 3, "Deployment": 1, "Service": 1,
		"PodDisruptionBudget": 3, "NetworkPolicy": 3, // and no ClusterRole, CRD or Secret
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

func TestNamespacesEnforceWhatTheirPodsNeed(t *testing.T) {
	want := map[string]string{"bellboard": "restricted", "ci": "restricted", "ci-docker": "privileged"}
	got := map[string]string{}
	for name, ns := range all[*corev1.Namespace](t) {
		got[name] = ns.Labels["pod-security.kubernetes.io/enforce"]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("enforced (-want +got):\n%s", diff)
	}
}

func TestDeploymentIsHardened(t *testing.T) {
	d := all[*appsv1.Deployment](t)["bellboard/bellboard"]
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	tag := c.Image[strings.LastIndex(c.Image, "/")+1:]
	_, tag, tagged := strings.Cut(tag, ":")
	for what, ok := range map[string]bool{
		"two replicas":                  *d.Spec.Replicas == 2,
		"none goes before one is ready": d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() == 0,
		"one container":                 len(pod.Containers) == 1 && len(pod.InitContainers) == 0,
		"no service links":              pod.EnableServiceLinks != nil && !*pod.EnableServiceLinks,
		"not root":                      *pod.SecurityContext.RunAsNonRoot && *pod.SecurityContext.RunAsUser == 65532,
		"seccomp":                       pod.SecurityContext.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
		"nothing of the machine's":      !pod.HostNetwork && !pod.HostPID && !pod.HostIPC,
		"read-only root":                *c.SecurityContext.ReadOnlyRootFilesystem,
		"no way to more privileges":     !*c.SecurityContext.AllowPrivilegeEscalation && slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}),
		"a tag, and not latest":         tagged && tag != "" && tag != "latest",
		"requests":                      !c.Resources.Requests.Cpu().IsZero() && !c.Resources.Requests.Memory().IsZero(),
		"a memory limit":                !c.Resources.Limits.Memory().IsZero(),
		"start and life from /healthz":  c.StartupProbe.HTTPGet.Path == "/healthz" && c.LivenessProbe.HTTPGet.Path == "/healthz",
		"readiness from /readyz":        c.ReadinessProbe.HTTPGet.Path == "/readyz",
		"its ServiceAccount":            pod.ServiceAccountName == "bellboard" && *pod.AutomountServiceAccountToken,
		"spread":                        len(pod.TopologySpreadConstraints) > 0,
	} {
		if !ok {
			t.Errorf("the Deployment lacks: %s", what)
		}
	}
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			t.Errorf("volume %s is the machine's", v.Name)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil {
			t.Errorf("%s comes from an object; secrets come from files", e.Name)
		}
		if e.Name == "GOMEMLIMIT" {
			soft := resource.MustParse(strings.TrimSuffix(e.Value, "B")) // but for the B, Go writes it as Kubernetes does
			if soft.Cmp(*c.Resources.Limits.Memory()) >= 0 {
				t.Errorf("GOMEMLIMIT=%s is not below the limit %s", e.Value, c.Resources.Limits.Memory())
			}
		}
	}
	if s := all[*corev1.Service](t)["bellboard/bellboard"]; !maps.Equal(s.Spec.Selector, d.Spec.Selector.MatchLabels) || s.Spec.Ports[0].Port != 8080 {
		t.Errorf("the Service selects %v on port %d", s.Spec.Selector, s.Spec.Ports[0].Port)
	}
}

// TestCleanupTakesTheDaemonsPlace: the patch of the uninstall changes what the pod
// does, and neither its image, settings and rights nor its hardening.
func TestCleanupTakesTheDaemonsPlace(t *testing.T) {
	text, err := os.ReadFile("cleanup.yaml")
	if err != nil {
		t.Fatal(err)
	}
	patch, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	want := all[*appsv1.Deployment](t)["bellboard/bellboard"]
	before, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, appsv1.Deployment{})
	if err != nil {
		t.Fatal(err)
	}
	var got appsv1.Deployment
	if err := yaml.UnmarshalStrict(after, &got); err != nil {
		t.Fatal(err)
	}
	c := &want.Spec.Template.Spec.Containers[0]
	c.Args, c.StartupProbe, c.LivenessProbe, c.ReadinessProbe = []string{"cleanup", "--yes"}, nil, nil, nil
	want.Spec.Replicas, want.Spec.Strategy = new(int32(1)), appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Errorf("the Deployment (-want +patched):\n%s", diff)
	}
}

// TestRolesAreWhatTheCodeUses holds the Roles of the agents' namespaces to the
// calls in package pool, which names each of them where it is made.
func TestRolesAreWhatTheCodeUses(t *testing.T) {
	used := map[string]bool{}
	files, err := filepath.Glob("../pool/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no sources of package pool:", err)
	}
	var source strings.Builder
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(b)
	}
	find := func(pattern string) (out [][]string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(source.String(), -1) {
			for i := range m {
				m[i] = strings.Trim(strings.Replace(m[i], "pvcs", "persistentvolumeclaims", 1), `"`)
			}
			out = append(out, m)
		}
		return out
	}
	const resource = `("[a-z/]+"|pvcs)`
	for _, call := range []string{`(create)\(ctx, `, `(patch|delete)\(ctx, objectKey{`} {
		for _, m := range find(call + resource) {
			used["/"+m[2]+" "+m[1]] = true
		}
	}
	for verb, key := range map[string]string{"get": "ns, name", "list": `ns, ""`} {
		for _, m := range find(`send\(ctx, objectKey{` + resource + ", " + key + `}, c\.rest\(\)\.Get\(\)`) {
			used["/"+m[1]+" "+verb] = true
		}
	}
	used["/pods/log get"] = len(find(`SubResource\("log"\)`)) > 0
	maps.DeleteFunc(used, func(_ string, is bool) bool { return !is })
	for _, v := range find(`answered\("([a-z]+)"`) { // every cache lists and watches
		for _, r := range find(`newCache\(c, ns, ` + resource) {
			used["/"+r[1]+" "+v[1]] = true
		}
	}
	want := map[string][]string{
		"bellboard/bellboard": {
			"/configmaps create", "/configmaps delete bellboard-learnt-bellboard", "/configmaps get bellboard-learnt-bellboard", "/configmaps update bellboard-learnt-bellboard",
			"/events create", "/events patch",
			"coordination.k8s.io/leases create", "coordination.k8s.io/leases get", "coordination.k8s.io/leases update",
		},
	}
	for _, ns := range agents {
		want[ns+"/bellboard-agents"] = slices.Sorted(maps.Keys(used))
	}
	got := map[string][]string{}
	for name, role := range all[*rbacv1.Role](t) {
		for _, r := range role.Rules {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, verb := range r.Verbs {
						got[name] = append(got[name], strings.Join(append([]string{group + "/" + resource, verb}, r.ResourceNames...), " "))
					}
				}
			}
		}
		slices.Sort(got[name])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rights (-used +granted):\n%s", diff)
	}
	bound := map[string]bool{}
	for name, b := range all[*rbacv1.RoleBinding](t) {
		subject := rbacv1.Subject{Kind: "ServiceAccount", Name: "bellboard", Namespace: "bellboard"}
		if len(b.Subjects) != 1 || b.Subjects[0] != subject || b.RoleRef.Kind != "Role" {
			t.Errorf("RoleBinding %s binds %v to %v", name, b.RoleRef, b.Subjects)
		}
		bound[b.Namespace+"/"+b.RoleRef.Name] = true
	}
	for name := range got {
		if !bound[name] {
			t.Errorf("Role %s is not bound", name)
		}
	}
}

func TestBudgets(t *testing.T) {
	budgets := all[*policyv1.PodDisruptionBudget](t)
	own := budgets["bellboard/bellboard"]
	if own.Spec.MinAvailable.IntValue() != 1 || *own.Spec.UnhealthyPodEvictionPolicy != policyv1.AlwaysAllow {
		t.Errorf("Bellboard's own budget is %+v", own.Spec)
	}
	for _, ns := range agents {
		b := budgets[ns+"/bellboard-busy"]
		if b == nil {
			t.Errorf("no budget guards the builds in %s", ns)
			continue
		}
		if b.Spec.MinAvailable.IntValue() != 1000000 || !maps.Equal(b.Spec.Selector.MatchLabels, map[string]string{pool.LabelBusy: "true"}) {
			t.Errorf("the budget in %s is %+v", ns, b.Spec)
		}
		// The other policy would let a busy pod that is not ready be evicted.
		if b.Spec.UnhealthyPodEvictionPolicy != nil {
			t.Errorf("the budget in %s lets pods go that are not ready", ns)
		}
	}
}

func TestAgentsAreWalledIn(t *testing.T) {
	policies := all[*networkingv1.NetworkPolicy](t)
	for _, ns := range agents {
		p := policies[ns+"/bellboard-agents"]
		if p == nil {
			t.Errorf("no NetworkPolicy in %s", ns)
			continue
		}
		if len(p.Spec.Ingress) != 0 || !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			t.Errorf("agents in %s may be called", ns)
		}
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil {
			t.Fatal(err)
		}
		if selector.Empty() || len(p.Spec.Egress) != 1 {
			t.Errorf("the policy in %s selects %q, with %d ways out", ns, selector, len(p.Spec.Egress))
		}
		for _, kind := range []scaler.Kind{scaler.Ephemeral, scaler.Persistent} {
			for _, mode := range pool.DockerModes() {
				pod := pool.Build(pool.Spec{PoolID: scaler.PoolID{Team: "web", Kind: kind}, Instance: "another", Docker: mode}, "x")
				if !selector.Matches(labels.Set(pod.Labels)) {
					t.Errorf("the policy in %s does not select %s agents with DOCKER=%s: they have %v", ns, kind, mode, pod.Labels)
				}
			}
		}
		for _, to := range p.Spec.Egress[0].To {
			if to.IPBlock != nil && to.IPBlock.CIDR == "0.0.0.0/0" && !slices.Contains(to.IPBlock.Except, "169.254.169.254/32") {
				t.Errorf("agents in %s reach the cloud's credentials", ns)
			}
		}
	}
}
