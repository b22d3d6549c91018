package deploy

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"bellboard/scaler"
)

// The names begin with TestJenkins, by which jenkins/check runs them.

func readJenkins(t *testing.T, name string) string {
	t.Helper()
	b, err := Files.ReadFile("jenkins/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// decode reads YAML and refuses doubled keys, which Jenkins and Helm would take
// the last of.
func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// dig is the value under those keys.
func dig(t *testing.T, v map[string]any, keys ...string) any {
	t.Helper()
	var at any = v
	for _, k := range keys {
		m, ok := at.(map[string]any)
		if !ok || m[k] == nil {
			t.Fatalf("nothing under %s of %s", k, strings.Join(keys, "."))
		}
		at = m[k]
	}
	return at
}

// TestJenkinsPermissionsAreTheLeast holds both files, and the table in the manual,
// to what was seen to be needed and enough.
func TestJenkinsPermissionsAreTheLeast(t *testing.T) {
	want := map[string][]string{
		"user admin":          {"Overall/Administer"},
		"group authenticated": {"Job/Build", "Job/Read", "Overall/Read"},
		"user bellboard":      {"Agent/Create", "Agent/Delete", "Agent/Disconnect", "Job/Read", "Overall/Read"},
		"user swarm":          {"Agent/Connect", "Agent/Create", "Overall/Read"},
	}
	manual, err := os.ReadFile("../docs/jenkins.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\w+/\w+) \|`).FindAllSubmatch(manual, -1) {
		rows = append(rows, string(row[1]))
	}
	slices.Sort(rows)
	if diff := cmp.Diff(want["user bellboard"], rows); diff != "" {
		t.Errorf("docs/jenkins.md (-want +got):\n%s", diff)
	}

	values := decode(t, readJenkins(t, "values.yaml"))
	strategy, _ := dig(t, values, "controller", "JCasC", "authorizationStrategy").(string)
	for name, matrix := range map[string]any{
		"values.yaml": decode(t, strategy),
		"jcasc.yaml":  dig(t, decode(t, readJenkins(t, "jcasc.yaml")), "jenkins", "authorizationStrategy"),
	} {
		b, err := yaml.Marshal(matrix)
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			ProjectMatrix struct {
				Entries []map[string]struct {
					Name        string   `json:"name"`
					Permissions []string `json:"permissions"`
				} `json:"entries"`
			} `json:"projectMatrix"`
		}
		if err := yaml.UnmarshalStrict(b, &m); err != nil {
			t.Fatal(name, err)
		}
		may := map[string][]string{}
		for _, e := range m.ProjectMatrix.Entries {
			for kind, w := range e {
				// The chart has its administrator's name in a Secret.
				who := kind + " " + strings.Replace(w.Name, "${chart-admin-username}", "admin", 1)
				slices.Sort(w.Permissions)
				may[who] = append(may[who], w.Permissions...)
			}
		}
		if diff := cmp.Diff(want, may); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestJenkinsPermissionsByStrategy holds the examples of docs/permissions.md to the same permissions.
func TestJenkinsPermissionsByStrategy(t *testing.T) {
	page, err := os.ReadFile("../docs/permissions.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) != 3 {
		t.Fatalf("%d examples, want Role Strategy, its folders, and Folder Authorization", len(blocks))
	}
	type role struct {
		Name        string   `json:"name"`
		Pattern     string   `json:"pattern"`
		Permissions []any    `json:"permissions"`
		Sids        []string `json:"sids"`
		Folders     []string `json:"folders"`
		Entries     []struct {
			User string `json:"user"`
		} `json:"entries"`
	}
	// Folder Authorization has the names of the permissions in the source.
	names := map[string]string{
		"hudson.model.Hudson.Read": "Overall/Read", "hudson.model.Item.Read": "Job/Read", "hudson.model.Computer.Create": "Agent/Create",
		"hudson.model.Computer.Disconnect": "Agent/Disconnect", "hudson.model.Computer.Delete": "Agent/Delete",
	}
	granted := func(roles ...role) []string {
		var all []string
		for _, r := range roles {
			if !slices.Contains(r.Sids, "bellboard") && (len(r.Entries) != 1 || r.Entries[0].User != "bellboard") {
				t.Errorf("the role %s is not bellboard's", r.Name)
			}
			for _, p := range r.Permissions {
				if id, ok := p.(map[string]any); ok {
					p = names[id["id"].(string)]
				}
				all = append(all, p.(string))
			}
		}
		slices.Sort(all)
		return all
	}
	var all struct {
		Jenkins struct {
			AuthorizationStrategy struct {
				RoleBased struct {
					Roles struct{ Global, Items []role }
				}
				FolderBased struct{ GlobalRoles, FolderRoles []role }
			}
		}
	}
	unmarshal := func(text string) {
		if err := yaml.Unmarshal([]byte(text), &all); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"Agent/Create", "Agent/Delete", "Agent/Disconnect", "Job/Read", "Overall/Read"}
	unmarshal(string(blocks[0][1]) + string(blocks[1][1])) // the second continues the first
	unmarshal(string(blocks[2][1]))
	s := all.Jenkins.AuthorizationStrategy
	if diff := cmp.Diff(want, granted(s.RoleBased.Roles.Global...)); diff != "" {
		t.Errorf("Role Strategy (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, granted(append(s.FolderBased.GlobalRoles, s.FolderBased.FolderRoles...)...)); diff != "" {
		t.Errorf("Folder Authorization (-want +got):\n%s", diff)
	}
	if len(s.RoleBased.Roles.Items) != 1 || !slices.Equal(granted(s.RoleBased.Roles.Items[0]), []string{"Job/Read"}) {
		t.Errorf("the items' roles are %v", s.RoleBased.Roles.Items)
	}
	pattern := regexp.MustCompile("pattern for the teams `web` and `mobile` is\\s+`([^`]+)`").FindSubmatch(page)
	if pattern == nil {
		t.Fatal("no pattern of Jenkins nodes")
	}
	of := regexp.MustCompile("^" + string(pattern[1]) + "$")
	for _, kind := range scaler.Kinds() {
		if name := scaler.AgentName(scaler.PoolID{Team: "web", Kind: kind}, "4kx7q2m9ab"); !of.MatchString(name) {
			t.Errorf("%s does not match %s", of, name)
		}
	}
}

// TestJenkinsChartFindsWhatIsMade holds the chart's values to what prepare makes
// and the scripts read, and to where install.yaml looks for that Jenkins.
func TestJenkinsChartFindsWhatIsMade(t *testing.T) {
	values, prepare := decode(t, readJenkins(t, "values.yaml")), readJenkins(t, "prepare")
	var mounted struct {
		Persistence struct {
			Volumes []corev1.Volume      `json:"volumes"`
			Mounts  []corev1.VolumeMount `json:"mounts"`
		} `json:"persistence"`
	}
	if err := yaml.Unmarshal([]byte(readJenkins(t, "values.yaml")), &mounted); err != nil {
		t.Fatal(err)
	}
	volumes, mounts := mounted.Persistence.Volumes, mounted.Persistence.Mounts
	if len(volumes) != 1 || len(mounts) != 1 || volumes[0].Secret == nil || volumes[0].Name != mounts[0].Name {
		t.Fatalf("volumes %v, mounts %v", volumes, mounts)
	}
	scripts := readJenkins(t, "init.groovy.d/bellboard-access.groovy") + readJenkins(t, "init.groovy.d/bellboard-credentials.groovy")
	if dir := "?: '" + mounts[0].MountPath + "')"; strings.Count(scripts, dir) != 2 {
		t.Errorf("the scripts do not read %s", mounts[0].MountPath)
	}
	configMap, _ := dig(t, values, "controller", "initConfigMap").(string)
	for _, made := range []string{
		`secret "$jenkins" ` + volumes[0].Secret.SecretName + " ",
		`kubectl -n "$jenkins" create configmap ` + configMap + " --from-file=init.groovy.d ",
	} {
		if !strings.Contains(prepare, made) {
			t.Errorf("prepare has no %s", made)
		}
	}

	address, _ := dig(t, values, "controller", "jenkinsUrl").(string)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	service, namespace, _ := strings.Cut(strings.TrimSuffix(u.Hostname(), ".svc"), ".")
	if command := "helm upgrade --install " + service + " jenkins "; !strings.Contains(readJenkins(t, "values.yaml"), command) {
		t.Errorf("the Service %s is not of the release of this name", service)
	}
	if strings.Contains(prepare, "${BELLBOARD_") {
		t.Error("prepare reads a setting of Bellboard's, where another name would tell them apart")
	}
	if ns := "jenkins=${JENKINS_NAMESPACE:-" + namespace + "}"; !strings.Contains(prepare, ns) {
		t.Errorf("prepare has no %s", ns)
	}
	for _, o := range install(t) {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			if o.Name == "bellboard" && o.Data["BELLBOARD_JENKINS_URL"] != address {
				t.Errorf("BELLBOARD_JENKINS_URL is %s, not %s", o.Data["BELLBOARD_JENKINS_URL"], address)
			}
		case *networkingv1.NetworkPolicy:
			if o.Name != "bellboard" {
				continue
			}
			if !slices.ContainsFunc(o.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
				return len(r.To) == 1 && r.To[0].NamespaceSelector != nil && len(r.Ports) == 1 &&
					r.To[0].NamespaceSelector.MatchLabels[corev1.LabelMetadataName] == namespace && r.Ports[0].Port.String() == u.Port()
			}) {
				t.Errorf("the NetworkPolicy does not let Bellboard reach %s", address)
			}
		}
	}
}

// TestJenkinsHookSpeaksOurWords holds the script's words to those that Bellboard
// writes and reads.
func TestJenkinsHookSpeaksOurWords(t *testing.T) {
	hook := readJenkins(t, "init.groovy.d/bellboard-hook.groovy")
	parts := func(s string) []string { return strings.Split(s, "INSTANCE") }
	words := [][]string{
		parts(scaler.HookText("INSTANCE") + ": one build only; this mark ends no build"),
		parts(scaler.MarkText("INSTANCE", "")),
		parts(scaler.HookLabel("INSTANCE")),
		{"bellboard instance="},
		{" kind=" + string(scaler.Ephemeral)},
	}
	description := scaler.Describe("INSTANCE", scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, false)
	for _, w := range words {
		if quoted := strings.TrimSuffix("'"+strings.Join(w, "' + nodes.instance + '"), " + '"); !strings.Contains(hook, quoted) && !strings.Contains(hook, strings.ReplaceAll(quoted, "nodes.", "")) {
			t.Errorf("the hook lacks %s", quoted)
		}
	}
	if !strings.Contains(readJenkins(t, "init.groovy.d/bellboard-log.groovy"), "'bellboard instance='") {
		t.Error("bellboard-log.groovy does not know our nodes")
	}
	if !strings.Contains(description, "bellboard instance=INSTANCE ") || !strings.Contains(description, " kind=ephemeral") {
		t.Errorf("the hook does not know our nodes: %s", description)
	}
}

func TestJenkinsJobsAreXML(t *testing.T) {
	jobs, err := fs.Glob(Files, "jenkins/jobs/*.xml")
	if err != nil || len(jobs) < 2 {
		t.Fatal("no jobs:", jobs, err)
	}
	for _, name := range jobs {
		b, err := Files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(bytes.NewReader(b)); ; {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
	}
}
