//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/yaml"

	"bellboard/cmd/internal/chart"
	"bellboard/queue/jenkinssim"
)

// TestChart installs the chart with Helm beside a Jenkins, as a company does: forty teams, helm test, a
// burst, a 41st team while builds run, and helm uninstall. No build is lost or killed, and nothing is left in
// Kubernetes or in Jenkins. A kubelet of the test runs every pod that the chart makes, so the pods have what
// the chart gives them, and no other right. It is not parallel: it starts a dozen processes, and other tests
// measure time.
func TestChart(t *testing.T) {
	const release, agents, docker, teams, burst, long = "helm", "helm-agents", "helm-docker", 40, 80, 20
	spaces := []string{agents, docker}
	h := furnish(t, release, spaces)
	namespace(t, h.plane, release, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	h.volumes(3)
	kubelet := h.kubelet(release)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "bellboard-jenkins"}, StringData: map[string]string{"token": "token"}}
	if _, err := h.k.CoreV1().Secrets(release).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	values := map[string]any{
		"settings": map[string]any{
			"JENKINS_URL": h.url, "NAMESPACE": agents, "MAX_AGENTS": 200, "SWARM_USER": "swarm", "SWARM_PASSWORD_SECRET": "swarm",
			"POLL_INTERVAL": "200ms", "JENKINS_RESTART_GRACE": "3s",
		},
		"defaults":        map[string]any{"PERSISTENT_NAMESPACE": docker, "STORAGE_CLASS": release, "BUILD_GRACE": "30s"},
		"agentNamespaces": map[string]any{"ci": nil, agents: map[string]any{"create": true, "podSecurity": "restricted"}, docker: map[string]any{"create": true, "podSecurity": "privileged"}},
		"nodeSelector":    map[string]string{corev1.LabelHostname: release},
		"tolerations":     []map[string]string{{"key": "e2e", "operator": "Exists"}},
	}
	label := func(team int) string { return fmt.Sprintf("l%d", team) }
	// helm runs Helm with the values for that many teams. The first keeps its agents, with Docker.
	helm := func(verb string, teams int, args ...string) (says string, err error) {
		t.Helper()
		blocks := map[string]any{}
		for i := range teams {
			its := map[string]any{"LABELS": label(i), "MODE": "ephemeral"}
			if i == 0 {
				its["MODE"], its["MAX_AGENTS"] = "persistent", 3
			}
			blocks[fmt.Sprintf("team-%d", i+1)] = its
		}
		values["teams"] = blocks
		text, err := yaml.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		kubeconfig, err := h.plane.Kubeconfig(release, h.plane.Admin())
		if err != nil {
			t.Fatal(err)
		}
		if verb == "install" || verb == "upgrade" {
			args = append(args, "deploy/chart", "--wait", "--values", file)
		}
		began := time.Now()
		args = append([]string{verb, release, "--namespace", release, "--kubeconfig", kubeconfig, "--timeout", patience.String()}, args...)
		out, err := chart.Helm(t.Context(), args...)
		t.Logf("helm %s with %d teams: %s", verb, teams, time.Since(began).Round(time.Second))
		return string(out), err
	}
	must := func(says string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\nthe pods said:\n%s", err, h.said.end())
		}
		return says
	}
	builds := 0
	submit := func(n int, lasting time.Duration, label func(int) string) {
		for i := range n {
			builds++
			h.jenkins.Submit(jenkinssim.Job{Name: fmt.Sprintf("job-%d", i%7), Pipeline: i%2 == 0, Label: label(i), Duration: lasting})
		}
	}
	each := func(i int) string { return label(i % teams) }
	succeeded := func(when string) {
		t.Helper()
		if s := h.jenkins.Stats(); s.Succeeded != s.Finished || s.Killed+s.Lost+s.SecondBuilds > 0 {
			t.Errorf("%s: %+v", when, s)
		}
	}

	t.Cleanup(func() {
		for _, ns := range spaces {
			if err := notFound(h.k.CoreV1().Namespaces().Delete(context.Background(), ns, metav1.DeleteOptions{})); err != nil {
				t.Error(err)
			}
		}
	})
	notes := must(helm("install", teams))
	for _, want := range []string{
		"serves 40 teams (team-1, team-10, ", ") of " + h.url, "kubectl -n helm create secret generic bellboard-jenkins --from-file=token=FILE", "helm test helm --namespace helm\n",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
	h.swarmPassword(docker)
	h.jenkins.Deny("hudson.model.Computer.Create")
	if _, err := helm("test", teams); err == nil {
		t.Error("helm test passes though Bellboard lacks a permission in Jenkins")
	}
	if _, err := h.k.CoreV1().Pods(release).Get(t.Context(), release+"-doctor", metav1.GetOptions{}); err != nil {
		t.Errorf("the doctor's pod is not there for its log: %v", err)
	}
	h.jenkins.Deny()
	must(helm("test", teams))
	if says, starts := kubelet.said(release + "-doctor"); starts != 2 || !strings.Contains(says, "grant Agent/Create to bellboard") || !strings.Contains(says, " 0 to do\n") {
		t.Errorf("the doctor ran %d times, and said:\n%s", starts, says)
	}

	began := time.Now()
	submit(burst, 2*time.Second, each)
	h.await("a burst is served", h.finished)
	t.Logf("%d builds of %d teams: %s", burst, teams, time.Since(began).Round(time.Second))
	succeeded("after the burst")

	submit(long, 45*time.Second, each)
	h.await("long builds run", func() bool { return h.jenkins.Stats().Queued == 0 })
	must(helm("upgrade", teams+1))
	if h.jenkins.Stats().Running == 0 {
		t.Error("helm upgrade took longer than a build, so no build ran through it")
	}
	submit(3, time.Second, func(int) string { return label(teams) })
	submit(teams, time.Second, each)
	h.await("all teams are served, and the long builds end", h.finished)
	succeeded("after the 41st team")
	served := 0
	for _, b := range h.jenkins.Builds() {
		if b.Job.Label == label(teams) && strings.HasPrefix(b.Node, "team-41-e-") {
			served++
		}
	}
	if served != 3 {
		t.Errorf("the agents of team 41 ran %d of its 3 builds", served)
	}

	submit(long, 15*time.Second, each)
	h.await("builds run", func() bool { return h.jenkins.Stats().Queued == 0 })
	there, nodes := h.objects(release, spaces), len(h.jenkins.NodesList())
	for _, of := range []string{"leases helm/bellboard-helm", "configmaps helm/bellboard-learnt-helm", "persistentvolumeclaims helm-docker/team-1-", "pods helm-agents/", "secrets helm-agents/"} {
		if !slices.ContainsFunc(there, func(o string) bool { return strings.HasPrefix(o, of) }) {
			t.Errorf("helm uninstall has no %s to remove: %q", of, there)
		}
	}
	must(helm("uninstall", teams+1))
	if s := h.jenkins.Stats(); s.Succeeded != builds || s.Finished != builds {
		t.Errorf("%d builds were queued: %+v", builds, s)
	}
	succeeded("after helm uninstall")
	if says, _ := kubelet.said(release + "-cleanup"); !strings.Contains(says, "nothing is left") {
		t.Errorf("the cleanup said:\n%s", says)
	}
	if left := h.jenkins.NodesList(); len(left) > 0 {
		t.Errorf("%d Jenkins nodes are left of %d: %v", len(left), nodes, left)
	}
	// The chart keeps the agents' namespaces: a person may have put something there, such as a Secret.
	want, left := []string{"secrets " + release + "/" + secret.Name, "secrets " + docker + "/swarm"}, h.objects(release, spaces)
	for _, ns := range append(spaces, release) {
		want = append(want, "serviceaccounts "+ns+"/default", "configmaps "+ns+"/kube-root-ca.crt")
	}
	slices.Sort(want)
	for range 60 { // what Kubernetes collects as garbage goes a moment later
		if slices.Equal(left, want) {
			break
		}
		time.Sleep(time.Second)
		left = h.objects(release, spaces)
	}
	if !slices.Equal(left, want) {
		t.Errorf("%d objects are left of %d: %q, want %q", len(left), len(there), left, want)
	}
	t.Logf("%d objects in Kubernetes before helm uninstall, %d after it: %q", len(there), len(left), left)
	t.Logf("%d Jenkins nodes before helm uninstall, %d after it", nodes, len(h.jenkins.NodesList()))
	if says, starts := kubelet.said(release + "-"); starts < 7 || lacks.MatchString(says) {
		t.Errorf("%d processes ran, want two replicas twice, two doctors and the cleanup. They said:\n%s", starts, says)
	}
	for _, ns := range spaces {
		if _, err := h.k.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
}

// objects lists all objects in the namespaces of a release, and what has its label elsewhere. Events go by
// themselves.
func (h *home) objects(release string, spaces []string) []string {
	h.t.Helper()
	must := func(err error) {
		if err != nil {
			h.t.Helper()
			h.t.Fatal(err)
		}
	}
	finder, err := discovery.NewDiscoveryClientForConfig(h.plane.Admin())
	must(err)
	lists, err := finder.ServerPreferredResources()
	must(err)
	client, err := metadata.NewForConfig(h.plane.Admin())
	must(err)
	found := map[string]bool{}
	for _, l := range lists {
		group, err := schema.ParseGroupVersion(l.GroupVersion)
		must(err)
		for _, r := range l.APIResources {
			if !slices.Contains(r.Verbs, "list") || r.Name == "events" || r.Name == "componentstatuses" {
				continue
			}
			in, options := []string{""}, metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + release}
			if r.Namespaced {
				in, options = append([]string{release}, spaces...), metav1.ListOptions{}
			}
			for _, ns := range in {
				all, err := client.Resource(group.WithResource(r.Name)).Namespace(ns).List(context.Background(), options)
				must(err)
				for i := range all.Items {
					found[r.Name+" "+strings.TrimPrefix(ns+"/"+all.Items[i].Name, "/")] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
