//go:build e2e

package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	"bellboard/cmd/internal/kube"
)

const (
	release = "app.kubernetes.io/instance=bellboard"
	daemon  = release + ",app.kubernetes.io/component=daemon"
)

// TestHelm installs the chart on a real API server with Helm itself, adds a 41st team, runs helm test and
// uninstalls. kwok runs the pods. The test ends the pods of the hooks, as the doctor and the cleanup would.
func TestHelm(t *testing.T) {
	cluster := kube.ForTest(t)
	k, ctx := cluster.Client(), t.Context()
	kubeconfig, err := cluster.Kubeconfig("helm", cluster.Admin())
	if err != nil {
		t.Fatal(err)
	}
	helm := func(args ...string) (string, error) {
		out, err := run(ctx, append(args, "--namespace", "bellboard", "--kubeconfig", kubeconfig)...)
		return string(out), err
	}
	pods := func(selector string) []corev1.Pod {
		l, err := k.CoreV1().Pods("bellboard").List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			t.Fatal(err)
		}
		return l.Items
	}
	// hook runs Helm, and ends the hook's pod when that pod runs.
	hook := func(pod func() *corev1.Pod, end corev1.PodPhase, args ...string) (string, error) {
		t.Helper()
		type result struct {
			says string
			err  error
		}
		ended := make(chan result, 1)
		go func() {
			says, err := helm(args...)
			ended <- result{says, err}
		}()
		await(t, "the hook's pod runs", func() bool { p := pod(); return p != nil && p.Status.Phase == corev1.PodRunning })
		patch := fmt.Sprintf(`{"status":{"phase":%q}}`, end)
		if _, err := k.CoreV1().Pods("bellboard").Patch(ctx, pod().Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		r := <-ended
		return r.says, r.err
	}

	notes, err := helm("install", "bellboard", "deploy/chart", "--create-namespace", "--values", Example("first"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"serves 2 teams (apps, web) of http://jenkins.jenkins.svc:8080/",
		"kubectl -n bellboard create secret generic bellboard-jenkins --from-file=token=FILE", "helm test bellboard --namespace bellboard\n",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
	await(t, "two replicas run", func() bool { return len(pods(daemon)) == 2 })

	teams := "teams:\n"
	for i := range 41 {
		teams += fmt.Sprintf("  team-%d: {LABELS: l%d}\n", i, i)
	}
	file := filepath.Join(t.TempDir(), "teams.yaml")
	if err := os.WriteFile(file, []byte(teams), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := helm("upgrade", "bellboard", "deploy/chart", "--values", file); err != nil {
		t.Fatal(err, out)
	}
	await(t, "both replicas have the ConfigMaps of 41 teams", func() bool {
		p := pods(daemon)
		return len(p) == 2 && !slices.ContainsFunc(p, func(p corev1.Pod) bool { return len(p.Spec.Containers[0].EnvFrom) != 42 })
	})

	doctor := func() *corev1.Pod {
		p, err := k.CoreV1().Pods("bellboard").Get(ctx, "bellboard-doctor", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if out, err := hook(doctor, corev1.PodFailed, "test", "bellboard"); err == nil {
		t.Errorf("helm test passes with findings:\n%s", out)
	}
	await(t, "the doctor's pod is there for its log", func() bool { return doctor() != nil })
	if err := k.CoreV1().Pods("bellboard").Delete(ctx, "bellboard-doctor", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the doctor's pod is gone", func() bool { return doctor() == nil })
	if out, err := hook(doctor, corev1.PodSucceeded, "test", "bellboard"); err != nil {
		t.Errorf("helm test: %v\n%s", err, out)
	}

	cleanup := func() *corev1.Pod {
		p := pods("batch.kubernetes.io/job-name=bellboard-cleanup")
		if len(p) == 0 || len(pods(daemon)) > 0 { // the cleanup waits for the daemon's Lease
			return nil
		}
		return &p[0]
	}
	if out, err := hook(cleanup, corev1.PodSucceeded, "uninstall", "bellboard", "--timeout", "1m"); err != nil {
		t.Fatalf("helm uninstall: %v\n%s", err, out)
	}
	objects, err := metadata.NewForConfig(cluster.Admin())
	if err != nil {
		t.Fatal(err)
	}
	left := func() (left []string) {
		for _, r := range []schema.GroupVersionResource{
			{Version: "v1", Resource: "pods"},
			{Version: "v1", Resource: "services"},
			{Version: "v1", Resource: "configmaps"},
			{Version: "v1", Resource: "serviceaccounts"},
			{Group: "apps", Version: "v1", Resource: "deployments"},
			{Group: "batch", Version: "v1", Resource: "jobs"},
			{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
			{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
			{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
			{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
		} {
			l, err := objects.Resource(r).List(ctx, metav1.ListOptions{LabelSelector: release})
			if err != nil {
				t.Fatal(err)
			}
			for i := range l.Items {
				left = append(left, r.Resource+" "+l.Items[i].Namespace+"/"+l.Items[i].Name)
			}
		}
		return left
	}
	if len(left()) > 0 { // pods that are ending, at most
		t.Log(left())
	}
	await(t, "nothing is left", func() bool { return len(left()) == 0 })
	if l, err := k.CoreV1().Secrets("bellboard").List(ctx, metav1.ListOptions{}); err != nil || len(l.Items) > 0 {
		t.Errorf("Secrets are left: %v, %v", l, err)
	}
	for _, ns := range []string{"ci", "ci-docker"} { // builds may be there
		if _, err := k.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// await waits for a condition, for a minute at most.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
