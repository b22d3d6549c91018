//go:build e2e

package doctor

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/cmd/internal/kube"
)

// TestOnARealAPIServer checks the cluster's part on a real API server, with its admission and its RBAC, and
// with the account and the Role of deploy/install.yaml.
func TestOnARealAPIServer(t *testing.T) {
	cluster := kube.ForTest(t)
	k, ctx := cluster.Client(), t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(k.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ci"}}, metav1.CreateOptions{}))
	must(k.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "bellboard"}}, metav1.CreateOptions{}))
	role := func(namespace string, rules ...rbacv1.PolicyRule) {
		t.Helper()
		meta := metav1.ObjectMeta{Name: "bellboard"}
		must(k.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}))
		must(k.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "bellboard"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "bellboard"}},
		}, metav1.CreateOptions{}))
	}
	rule := func(group, resource string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
	}
	role("default", rule("coordination.k8s.io", "leases", "get", "create", "update"), rule("", "events", "create", "patch"), rule("", "configmaps", "create"),
		rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"bellboard-learnt-bellboard"}, Verbs: []string{"get", "update", "delete"}})
	role("ci", rule("", "pods", "get", "list", "watch", "create", "patch", "delete"), rule("", "secrets", "create"), rule("", "persistentvolumeclaims", "list", "watch", "create", "patch", "delete"),
		rule("", "pods/log", "get"), rule("", "resourcequotas", "list"))
	s := newScene(t)
	must(k.CoreV1().ServiceAccounts("ci").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}, metav1.CreateOptions{}))
	theirs := agentPod("web-e-1111111111") // who is connected has a pod here, too
	theirs.Spec.ServiceAccountName = "theirs"
	must(k.CoreV1().Pods("ci").Create(ctx, theirs, metav1.CreateOptions{}))
	var err error
	if s.parts.Kube, err = cluster.For(ctx, "default", "bellboard"); err != nil {
		t.Fatal(err)
	}
	label := func(level string) {
		t.Helper()
		ns, err := k.CoreV1().Namespaces().Get(ctx, "ci", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ns.Labels["pod-security.kubernetes.io/enforce"] = level
		must(k.CoreV1().Namespaces().Update(ctx, ns, metav1.UpdateOptions{}))
	}
	const web, data = "agents of web, ephemeral", "agents of data, persistent"
	for _, tt := range []struct {
		name    string
		change  func()
		environ []string
		want    []string
		what    string
	}{
		{"as installed", func() { label("privileged") }, nil, nil, ""},
		{"no such priority class", nil, []string{"BELLBOARD_TEAM_WEB_PRIORITY_CLASS=high"}, []string{web}, "no PriorityClass with name high"},
		{"no such service account", nil, []string{"BELLBOARD_TEAM_WEB_SERVICE_ACCOUNT=agent"}, []string{web}, `serviceaccount "agent" not found`},
		{"Docker under restricted", func() { label("restricted") }, nil, []string{data}, "violates PodSecurity"},
		{"no namespace", nil, []string{"BELLBOARD_TEAM_WEB_NAMESPACE=nowhere"}, []string{"pods in nowhere", "pods/log in nowhere", "resourcequotas in nowhere", "secrets in nowhere", data}, "violates PodSecurity"},
		{"a verb less", func() {
			label("privileged")
			r, err := k.RbacV1().Roles("ci").Get(ctx, "bellboard", metav1.GetOptions{})
			must(r, err)
			r.Rules[0].Verbs = slices.DeleteFunc(r.Rules[0].Verbs, func(v string) bool { return v == "watch" })
			r.Rules[1].Verbs = []string{"list"}
			must(k.RbacV1().Roles("ci").Update(ctx, r, metav1.UpdateOptions{}))
		}, nil, []string{"pods in ci", "secrets in ci"}, "not allowed: create"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change != nil {
				tt.change()
			}
			var r Report
			for range 20 { // admission and RBAC see a change a moment later
				r = s.run(t.Context(), false, tt.environ...)
				if slices.Equal(named(r, Finding), tt.want) {
					break
				}
			}
			if got := named(r, Finding); !slices.Equal(got, tt.want) {
				t.Fatalf("findings %q, want %q\n%+v", got, tt.want, r.Checks)
			}
			for _, c := range r.Checks {
				if len(tt.want) > 0 && c.Name == tt.want[len(tt.want)-1] && !strings.Contains(c.What, tt.what) {
					t.Errorf("%+v does not say %q", c, tt.what)
				}
				if c.Name == "Secret swarm in ci" && c.Result != NotChecked {
					t.Errorf("Bellboard's Role lets it read a Secret: %+v", c)
				}
			}
		})
	}
	pods, err := k.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	must(pods, err)
	claims, err := k.CoreV1().PersistentVolumeClaims("ci").List(ctx, metav1.ListOptions{})
	must(claims, err)
	secrets, err := k.CoreV1().Secrets("ci").List(ctx, metav1.ListOptions{})
	must(secrets, err)
	if n := len(pods.Items) - 1 + len(claims.Items) + len(secrets.Items); n > 0 {
		t.Errorf("an examination left %d objects", n)
	}
}
