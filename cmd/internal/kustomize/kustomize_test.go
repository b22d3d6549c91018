package kustomize

import (
	"bytes"
	"flag"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"bellboard/cmd/internal/config"
	"bellboard/deploy"
	"bellboard/deploy/manifest"
	"bellboard/pool"
	"bellboard/scaler"
)

var update = flag.Bool("update", false, "write base/install.yaml anew")

const base = "../../../" + folder + "/base/install.yaml"

// TestBase checks the copy of the manifest. Kustomize reads nothing outside of its folder, so the manifest
// has a copy there.
func TestBase(t *testing.T) {
	want, err := deploy.Files.ReadFile("install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(base, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("base/install.yaml is not deploy/install.yaml; copy it: make kustomize")
	}
}

// TestEveryFolderIsKnown checks that SetUps lists every folder: users would find the mistakes in a folder
// that no test builds.
func TestEveryFolderIsKnown(t *testing.T) {
	entries, err := os.ReadDir("../../../" + folder)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.IsDir() {
			got = append(got, e.Name())
		}
	}
	want := append(SetUps(), "base", "only-ci", "only-ci-docker", "registry-mirror")
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("folders (-known +there):\n%s", diff)
	}
}

// way has the properties of the agents of a set-up.
type way struct {
	Kind      scaler.Kind
	Connect   scaler.Connect
	Transport pool.Transport
	Docker    pool.DockerMode
	Namespace string
	Mirror    string
}

// TestSetUps builds each set-up. The API has each field of each object, the settings have no mistake, and the
// agents are as the name of the set-up says.
func TestSetUps(t *testing.T) {
	const mirror = "http://registry-mirror.registry-mirror.svc:5000"
	want := map[string][]way{
		"host-docker": {{scaler.Ephemeral, scaler.Inbound, pool.WebSocket, pool.DockerHost, "ci-docker", ""}},
		"websocket":   {{scaler.Ephemeral, scaler.Inbound, pool.WebSocket, pool.DockerNone, "ci", ""}},
		"tcp":         {{scaler.Ephemeral, scaler.Inbound, pool.TCP, pool.DockerNone, "ci", ""}},
		"ssh":         {{scaler.Ephemeral, scaler.Inbound, pool.SSH, pool.DockerNone, "ci", ""}},
		"dind":        {{scaler.Ephemeral, scaler.Inbound, pool.WebSocket, pool.DockerDind, "ci-docker", mirror}},
		"swarm":       {{scaler.Persistent, scaler.Swarm, pool.WebSocket, pool.DockerNone, "ci", ""}},
		"swarm-dind":  {{scaler.Persistent, scaler.Swarm, pool.WebSocket, pool.DockerDind, "ci-docker", mirror}},
	}
	if !slices.Equal(slices.Sorted(maps.Keys(want)), slices.Sorted(slices.Values(SetUps()))) {
		t.Errorf("tried are %v, there are %v", slices.Sorted(maps.Keys(want)), SetUps())
	}
	// Kustomize is another process: without this read, go test would not see a change of these files.
	err := filepath.WalkDir("../../../"+folder, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			_, err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range SetUps() {
		t.Run(name, func(t *testing.T) {
			text, err := Build(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			objects := decoded(t, text)
			var environ []string
			made, enforced, needs := map[string]bool{}, map[string]string{}, map[string]int{}
			for _, o := range objects {
				switch o := o.(type) {
				case *corev1.Namespace:
					made[o.Name], enforced[o.Name] = true, o.Labels["pod-security.kubernetes.io/enforce"]
				case *corev1.ConfigMap:
					for k, v := range o.Data {
						environ = append(environ, k+"="+v)
					}
				case *appsv1.Deployment:
					if o.Name == "bellboard" {
						for _, e := range o.Spec.Template.Spec.Containers[0].Env {
							environ = append(environ, e.Name+"="+e.Value)
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
			if delete(made, "bellboard"); !maps.Equal(made, map[string]bool{"registry-mirror": true}) && len(made) > 0 {
				t.Errorf("nobody lives in %v", made)
			}
			if made["registry-mirror"] {
				if got := enforced["registry-mirror"]; got != "restricted" {
					t.Errorf("the mirror lives where %q is enforced, want restricted", got)
				}
				mirrored(t, objects, want[name][0].Mirror)
			} else if want[name][0].Mirror != "" {
				t.Error("there is no mirror")
			}
		})
	}
}

// older is the Kustomize of kubectl 1.31, and of 1.32 except for details.
const older = "sigs.k8s.io/kustomize/kustomize/v5@v5.4.3"

// TestOlderKustomize checks that an older Kustomize builds the same objects: users have the Kustomize of
// their kubectl.
func TestOlderKustomize(t *testing.T) {
	bin := t.TempDir()
	install := exec.CommandContext(t.Context(), "go", "install", older)
	install.Env = append(os.Environ(), "GOBIN="+bin)
	if words, err := install.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v: %s", older, err, words)
	}
	for _, name := range SetUps() {
		t.Run(name, func(t *testing.T) {
			newer, err := Build(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := build(t.Context(), name, filepath.Join(bin, "kustomize"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(newer), string(got)); diff != "" {
				t.Errorf("objects (-newer +older):\n%s", diff)
			}
		})
	}
}

// TestSSHSetUp checks that Jenkins can call the agents under the names that Bellboard gives it.
func TestSSHSetUp(t *testing.T) {
	text, err := Build(t.Context(), "ssh")
	if err != nil {
		t.Fatal(err)
	}
	s := pool.Spec{PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Instance: "ci", Transport: pool.SSH, SSHSecret: "agent-ssh"}
	pod := pool.Build(s, "web-e-1")
	found := 0
	for _, o := range decoded(t, text) {
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

// mirrored checks the address of the registry mirror, and the policy on the way to the mirror.
func mirrored(t *testing.T, objects []runtime.Object, address string) {
	t.Helper()
	found := 0
	for _, o := range objects {
		m := o.(metav1.Object)
		if m.GetNamespace() != "registry-mirror" {
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
	if found != 4 {
		t.Errorf("the mirror is made of %d objects in its namespace, want claim, Deployment, Service and policy", found)
	}
}

// decoded reads objects. An unknown field is an error.
func decoded(t *testing.T, text []byte) []runtime.Object {
	t.Helper()
	out, err := manifest.Objects(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
