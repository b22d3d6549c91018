//go:build e2e

package e2e

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/kube"
	"bellboard/deploy"
	"bellboard/pool"
)

// warnings has the warnings of the API server about objects that it accepts.
type warnings struct {
	mu  sync.Mutex
	all []string
}

// HandleWarningHeader adds one warning.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

// install applies deploy/install.yaml as kubectl apply --server-side does, and deletes its namespaces at the
// end of the test. An unknown field is an error.
func install(t *testing.T, c *kube.ControlPlane) (namespaces []string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	var said warnings
	cfg := c.Admin()
	cfg.WarningHandler = &said
	finder, err := discovery.NewDiscoveryClientForConfig(cfg)
	must(err)
	known, err := restmapper.GetAPIGroupResources(finder)
	must(err)
	mapper := restmapper.NewDiscoveryRESTMapper(known)
	client, err := dynamic.NewForConfig(cfg)
	must(err)
	file, err := deploy.Files.ReadFile("install.yaml")
	must(err)
	for doc := range strings.SplitSeq(string(file), "\n---\n") {
		body, err := yaml.YAMLToJSONStrict([]byte(doc))
		must(err)
		var o unstructured.Unstructured
		must(o.UnmarshalJSON(body))
		kind := o.GroupVersionKind()
		found, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		must(err)
		var api dynamic.ResourceInterface = client.Resource(found.Resource)
		if found.Scope.Name() == meta.RESTScopeNameNamespace {
			api = client.Resource(found.Resource).Namespace(o.GetNamespace())
		}
		if _, err := api.Patch(t.Context(), o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "kubectl", FieldValidation: metav1.FieldValidationStrict}); err != nil {
			t.Fatalf("%s %s: %v", kind.Kind, o.GetName(), err)
		}
		if kind.Kind == "Namespace" {
			namespaces = append(namespaces, o.GetName())
			t.Cleanup(func() {
				if err := api.Delete(context.Background(), o.GetName(), metav1.DeleteOptions{}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if len(said.all) > 0 {
		t.Errorf("the API server warns: %q", said.all)
	}
	return namespaces
}

// TestInstall applies deploy/install.yaml as it ships. The API server accepts the pods of both replicas under
// "restricted". Bellboard, with the settings and the rights of that file, makes agents where they are
// allowed, and says why elsewhere.
func TestInstall(t *testing.T) {
	t.Parallel()
	c := control(t)
	k := c.Client()
	namespaces := install(t, c)
	if !slices.Equal(namespaces, []string{account, "ci", "ci-docker"}) {
		t.Fatalf("install.yaml makes the namespaces %v", namespaces)
	}
	for _, ns := range namespaces {
		await(t, "the namespace has its default ServiceAccount", func() bool {
			_, err := k.CoreV1().ServiceAccounts(ns).Get(t.Context(), "default", metav1.GetOptions{})
			return err == nil
		})
	}
	settings, err := k.CoreV1().ConfigMaps(account).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=" + account})
	if err != nil {
		t.Fatal(err)
	}

	// The settings of the file, except Jenkins' address and the waiting times of people.
	h := furnish(
		t, account, namespaces[1:], "BELLBOARD_DEFAULT_STORAGE_CLASS="+account,
		"BELLBOARD_DEFAULT_SCALE_DOWN_COOLDOWN=1s", "BELLBOARD_DEFAULT_PERSISTENT_IDLE_TIMEOUT=2s", "BELLBOARD_DEFAULT_CACHE_KEEP=15s",
	)
	h.volumes(2) // also for the slot of the one that is refused
	h.swarmPassword("ci-docker")
	var environ []string
	for _, of := range settings.Items {
		for name, value := range of.Data {
			environ = append(environ, name+"="+value)
		}
	}
	h.env = slices.Concat(environ, h.env)
	for _, ns := range namespaces[1:] {
		h.may(ns, rbacv1.PolicyRule{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"pods"}})
	}
	h.may(account, rbacv1.PolicyRule{Verbs: []string{"create"}, APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}})

	h.await("two replicas are available", func() bool {
		d, err := k.AppsV1().Deployments(account).Get(t.Context(), account, metav1.GetOptions{})
		return err == nil && d.Status.AvailableReplicas == 2
	})
	h.admitted()

	// Agents with Docker in the namespace of the others, which is a likely mistake.
	asShipped := h.env
	h.env = append(slices.Clone(asShipped), "BELLBOARD_DEFAULT_PERSISTENT_NAMESPACE=ci")
	d := h.start()
	h.submit(1, "docker && persistent")
	why := []string{"violates PodSecurity", "restricted", "privileged"}
	h.await("a tick says that the agent is refused", func() bool { return h.told(0, append(why, "rejected")...) })
	h.await("an event says so too", func() bool {
		l, err := k.CoreV1().Events(account).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=AgentFailed"})
		return err == nil && len(l.Items) > 0 && !slices.ContainsFunc(why, func(w string) bool { return !strings.Contains(l.Items[0].Message, w) })
	})
	d.kill()

	h.env = asShipped
	h.start()
	h.submit(2, "linux")
	h.await("the Docker agent works on a slot", func() bool {
		return len(h.claimed()) == 1 && strings.HasPrefix(h.claimed()[0], "ci-docker/apps-cache-")
	})
	h.ends(3)
	h.mayAll()
	where := map[string]int{}
	h.mu.Lock()
	for _, l := range h.pods {
		where[l.pod.Labels[pool.LabelTeam]+" in "+l.pod.Namespace]++
	}
	h.mu.Unlock()
	if len(where) != 2 || where["web in ci"] != 2 || where["apps in ci-docker"] != 1 {
		t.Errorf("agents: %v", where)
	}
	if l, err := k.CoordinationV1().Leases(account).Get(t.Context(), "bellboard-"+account, metav1.GetOptions{}); err != nil || *l.Spec.HolderIdentity != "e2e" {
		t.Errorf("the Lease: %v, %v", l, err)
	}
}

// admitted asks with Bellboard's rights, as a dry run, whether admission accepts a pod of each pool.
// Admission has to accept each pod in the namespace of its settings, and a pod with Docker in no other.
func (h *home) admitted() {
	h.t.Helper()
	s, err := config.Load(h.env, config.WithFiles(func(string) ([]byte, error) { return []byte(h.ns), nil }))
	if err != nil {
		h.t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(h.straight().kube)
	if err != nil {
		h.t.Fatal(err)
	}
	docker := 0
	for _, spec := range s.PoolSpecs() {
		for _, ns := range h.spaces {
			if spec.HasClaim() {
				spec.Slot = "slot"
			}
			pod := pool.Build(spec, spec.Team+"-x-0123456789")
			pod.Namespace = ns
			_, err := client.CoreV1().Pods(ns).Create(h.t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			switch {
			case ns == spec.Namespace && err != nil:
				h.t.Errorf("%s agents of %s in %s: %v", spec.Kind, spec.Team, ns, err)
			case ns != spec.Namespace && spec.Docker != pool.DockerNone:
				docker++
				if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
					h.t.Errorf("%s agents of %s, with Docker, in %s: %v", spec.Kind, spec.Team, ns, err)
				}
			}
		}
	}
	if docker == 0 {
		h.t.Error("no team of install.yaml has Docker")
	}
}
