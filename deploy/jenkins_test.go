package deploy

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

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

// TestJenkinsPermissionsAreTheLeast holds both files to what was seen to be
// needed and enough.
func TestJenkinsPermissionsAreTheLeast(t *testing.T) {
	values := decode(t, readJenkins(t, "values.yaml"))
	strategy, _ := dig(t, values, "controller", "JCasC", "authorizationStrategy").(string)
	for name, entries := range map[string]any{
		"values.yaml": dig(t, decode(t, strategy), "projectMatrix", "entries"),
		"jcasc.yaml":  dig(t, decode(t, readJenkins(t, "jcasc.yaml")), "jenkins", "authorizationStrategy", "projectMatrix", "entries"),
	} {
		want := map[string][]string{
			"bellboard": {"Agent/Create", "Agent/Delete", "Agent/Disconnect", "Job/Read", "Overall/Read"},
			"swarm":     {"Agent/Connect", "Agent/Create", "Overall/Read"},
		}
		list, _ := entries.([]any)
		for _, e := range list {
			user, ok := e.(map[string]any)["user"].(map[string]any)
			if !ok {
				continue
			}
			who, _ := user["name"].(string)
			var may []string
			for _, p := range user["permissions"].([]any) {
				may = append(may, p.(string))
			}
			slices.Sort(may)
			if need, ours := want[who]; ours && !slices.Equal(may, need) {
				t.Errorf("%s: %s may %v, want %v", name, who, may, need)
			}
			delete(want, who)
		}
		for who := range want {
			t.Errorf("%s gives %s nothing", name, who)
		}
	}
}

// TestJenkinsHookSpeaksOurWords holds the script's words to those that Bellboard
// writes and reads.
func TestJenkinsHookSpeaksOurWords(t *testing.T) {
	hook := readJenkins(t, "init.groovy.d/bellboard-hook.groovy")
	parts := func(s string) []string { return strings.Split(s, "INSTANCE") }
	words := [][]string{
		parts(scaler.HookText("INSTANCE") + ": one build"),
		parts(scaler.MarkText("INSTANCE", "")),
		{"bellboard instance="},
		{" kind=" + string(scaler.Ephemeral)},
	}
	description := scaler.Describe("INSTANCE", scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, false)
	for _, w := range words {
		if quoted := "'" + strings.Join(w, "' + nodes.instance + '"); !strings.Contains(hook, quoted) && !strings.Contains(hook, strings.ReplaceAll(quoted, "nodes.", "")) {
			t.Errorf("the hook lacks %s", quoted)
		}
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
