package config

import (
	"html"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"bellboard/deploy"
	"bellboard/deploy/manifest"
	"bellboard/pool"
	"bellboard/scaler/label"
)

// TestInstall loads the settings of deploy/install.yaml, and checks that each namespace has what the settings
// need.
func TestInstall(t *testing.T) {
	environ, enforced, granted, guarded := installed(t)
	c := load(t, environ)
	if len(c.Teams) < 2 {
		t.Errorf("%d teams; an example shows two", len(c.Teams))
	}
	for _, spec := range c.PoolSpecs() {
		ns := spec.Namespace
		if !granted[ns] || !guarded[ns] {
			t.Errorf("the %s agents of %s live in %s: Role %t, PodDisruptionBudget %t", spec.Kind, spec.Team, ns, granted[ns], guarded[ns])
		}
		if want := spec.PodSecurity(); enforced[ns] != want {
			t.Errorf("the %s agents of %s (Docker: %s) live in %s, which enforces %s, want %s", spec.Kind, spec.Team, spec.Docker, ns, enforced[ns], want)
		}
	}
}

// installed returns the settings of deploy/install.yaml, and by namespace the enforced standard, the Roles
// and the budgets.
func installed(t *testing.T) (environ []string, enforced map[string]string, granted, guarded map[string]bool) {
	t.Helper()
	b, err := deploy.Files.ReadFile("install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := manifest.Objects(b)
	if err != nil {
		t.Fatal(err)
	}
	enforced, granted, guarded = map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Namespace:
			enforced[o.Name] = o.Labels["pod-security.kubernetes.io/enforce"]
		case *corev1.ConfigMap:
			for k, v := range o.Data {
				if !strings.HasPrefix(k, prefix+"_") {
					t.Errorf("ConfigMap %s holds %s, which is no setting", o.Name, k)
				}
				environ = append(environ, k+"="+v)
			}
		case *appsv1.Deployment:
			for _, e := range o.Spec.Template.Spec.Containers[0].Env {
				environ = append(environ, e.Name+"="+e.Value)
			}
		case *rbacv1.RoleBinding:
			granted[o.Namespace] = true
		case *policyv1.PodDisruptionBudget:
			guarded[o.Namespace] = true
		}
	}
	return environ, enforced, granted, guarded
}

// TestSampleJobsHaveTeams checks that an agent of install.yaml takes each job of deploy/jenkins.
func TestSampleJobsHaveTeams(t *testing.T) {
	environ, _, _, _ := installed(t)
	specs := load(t, environ).PoolSpecs()
	for name, pattern := range map[string]string{
		"jobs/Jenkinsfile":                     `agent \{ label '(.+)' \}`,
		"jobs/freestyle.xml":                   `<assignedNode>(.+)</assignedNode>`,
		"jobs/matrix.xml":                      `<string>(.+)</string>`,
		"init.groovy.d/bellboard-hello.groovy": `<assignedNode>(.+)</assignedNode>`,
	} {
		text, _, _ := strings.Cut(jenkinsFile(t, name), "<hudson.matrix.TextAxis>") // of words, not of labels
		asks := regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1)
		if len(asks) == 0 {
			t.Errorf("%s asks for no label by %s", name, pattern)
		}
		for _, m := range asks {
			e := label.Parse(html.UnescapeString(m[1]))
			if !slices.ContainsFunc(specs, func(s pool.Spec) bool {
				return e.Matches(func(atom string) bool { return slices.Contains(s.Labels, atom) })
			}) {
				t.Errorf("%s asks for %s, which no team of install.yaml has", name, e)
			}
		}
	}
}

// TestSSHCredentialsAreTheDefault checks that deploy/jenkins gives the key the id that is the default of
// SSH_CREDENTIALS.
func TestSSHCredentialsAreTheDefault(t *testing.T) {
	id := builtinGlobal().SSHCredentials
	for name, says := range map[string]string{
		"init.groovy.d/bellboard-credentials.groovy": `BasicSSHUserPrivateKey(CredentialsScope.SYSTEM, '` + id + `', `,
		"jcasc.yaml": "basicSSHUserPrivateKey:\n          scope: SYSTEM\n          id: " + id + "\n",
	} {
		if !strings.Contains(jenkinsFile(t, name), says) {
			t.Errorf("%s lacks %s", name, says)
		}
	}
}

func jenkinsFile(t *testing.T, name string) string {
	t.Helper()
	b, err := deploy.Files.ReadFile("jenkins/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
