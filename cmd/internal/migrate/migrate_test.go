package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"bellboard/cmd/internal/chart"
	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/term"
	"bellboard/pool"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

var arguments = regexp.MustCompile(`--cloud ([\w-]+)`)

// fixtures returns the files in testdata, each with the clouds that its head asks for.
func fixtures(t testing.TB) (files []File, clouds map[string][]string) {
	t.Helper()
	clouds = map[string][]string{}
	names, err := filepath.Glob("testdata/*.[yx]*ml")
	if err != nil || len(names) < 8 {
		t.Fatalf("%d fixtures, %v", len(names), err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head := text[:min(600, len(text))]
		if !bytes.Contains(head, []byte("Models: ")) {
			t.Errorf("%s does not say what it models", name)
		}
		for _, m := range arguments.FindAllSubmatch(head, -1) {
			clouds[filepath.Base(name)] = append(clouds[filepath.Base(name)], string(m[1]))
		}
		files = append(files, File{filepath.Base(name), text})
	}
	return files, clouds
}

// TestFixtures shows what becomes of each fixture, and lets Bellboard read it.
func TestFixtures(t *testing.T) {
	files, clouds := fixtures(t)
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			r, err := Migrate([]File{f}, clouds[f.Name])
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := r.Write(term.New(&out, nil), false); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", f.Name+".golden")
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Errorf("write it anew, and read the difference: go test ./cmd/internal/migrate -update\n(-file +now):\n%s", diff)
			}
			accepted(t, r)
		})
	}
}

// tester is a test, or a check of rapid's.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
}

// accepted checks that Bellboard accepts the settings and the pod templates.
func accepted(t tester, r *Result) {
	t.Helper()
	templates := r.Templates()
	for name, text := range templates {
		if _, mistakes := pool.ParseTemplate(name, []byte(text)); len(mistakes) > 0 {
			t.Errorf("%s: %v", name, mistakes[0])
		}
	}
	read := func(name string) ([]byte, error) {
		if text, ok := templates[strings.TrimPrefix(name, "dir/")]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}
	c, err := config.Load(r.Environ("dir"), config.WithoutJenkins(), config.WithFiles(read))
	if err != nil {
		t.Errorf("%v\n%s", err, strings.Join(r.Environ("dir"), "\n"))
		return
	}
	with := 0
	for _, spec := range c.PoolSpecs() {
		if spec.Template != nil {
			with++
		}
	}
	if with < len(templates) {
		t.Errorf("%d agents have a pod template, of %d templates", with, len(templates))
	}
}

// TestValues renders Bellboard's chart with what becomes of each fixture.
func TestValues(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Helm")
	}
	files, clouds := fixtures(t)
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			r, err := Migrate([]File{f}, clouds[f.Name])
			if err != nil {
				t.Fatal(err)
			}
			values := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(values, []byte(r.Values()), 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			text, err := chart.Render(ctx, "--values", values)
			if err != nil {
				t.Fatal(err)
			}
			if want := "BELLBOARD_TEAM_"; !bytes.Contains(text, []byte(want)) {
				t.Errorf("no %s in what the chart renders", want)
			}
		})
	}
}

// TestBadInput: one error that names the file and the remedy.
func TestBadInput(t *testing.T) {
	cloud := func(fields string) string {
		return "jenkins: {clouds: [{kubernetes: {name: k, templates: [{name: a, label: a" + fields + "}]}}]}"
	}
	deep := strings.Repeat("{a: ", 200) + strings.Repeat("}", 200)
	bomb := "a0: &a0 [x]\n"
	for _, n := range "123456789" {
		one, before := string(n), string(n-1)
		bomb += "a" + one + ": &a" + one + " [" + strings.Repeat("*a"+before+", ", 9) + "*a" + before + "]\n"
	}
	for _, tt := range []struct {
		name, text string
		clouds     []string
		says       []string
	}{
		{"nothing", "", nil, []string{"is empty", "config.xml"}},
		{"binary", "\x89PNG\r\n\x00\xff", nil, []string{"is no text in UTF-8", "config.xml"}},
		{"not YAML", "a: [", nil, []string{"is no YAML", "config.xml"}},
		{"not XML", "<hudson><clouds></hudson>", nil, []string{"is no XML", "config.xml"}},
		{"XML without an element", "<?xml version='1.1'?>", nil, []string{"without an element"}},
		{"XML in another encoding", "<?xml version='1.0' encoding='ISO-8859-1'?><hudson/>", nil, []string{"iconv -f ISO-8859-1 -t UTF-8"}},
		{"no cloud", "jenkins: {numExecutors: 0}", nil, []string{"no cloud and no static agent", "View Configuration"}},
		{"no cloud in XML", "<hudson><clouds/></hudson>", nil, []string{"no cloud and no static agent"}},
		{"another cloud", "jenkins: {clouds: [{amazonEC2: {name: spot}}]}", nil, []string{"only clouds", "(spot)", "docs/install.md"}},
		{"values of the Jenkins chart", "controller: {JCasC: {}}\nagent: {podName: x}", nil, []string{"values of a chart", "kubectl -n jenkins get configmaps"}},
		{"a cloud that is not there", cloud(""), []string{"other"}, []string{"no cloud other", "--cloud"}},
		{"no label", "jenkins: {clouds: [{kubernetes: {name: k, templates: [{name: a}]}}]}", nil, []string{"no team", "no label"}},
		{"no template", "jenkins: {clouds: [{kubernetes: {name: k}}]}", nil, []string{"no team", "docs/migrate.md"}},
		{"Windows only", cloud(", nodeSelector: kubernetes.io/os=windows"), nil, []string{"no team", "Linux only"}},
		{"too deep", deep, nil, []string{"config.xml"}},
		{"too much", bomb, nil, []string{"config.xml"}},
		{"a cycle", "a: &a {b: *a}", nil, []string{"more than"}},
		{"a field twice", "jenkins: {clouds: []}\njenkins: {}", nil, []string{"a second time"}},
		{
			"two clusters", "jenkins: {clouds: [{kubernetes: {name: k, serverUrl: 'https://a'}}, {kubernetes: {name: l}}]}", nil,
			[]string{"2 clusters", "--cloud k", "k (https://a), l (Jenkins' own cluster)"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Migrate([]File{{"the-file", []byte(tt.text)}}, tt.clouds)
			if err == nil {
				t.Fatal("no error")
			}
			for _, says := range tt.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("the error %q does not say %q", err, says)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %q", err)
			}
		})
	}
}

// TestNoFieldIsLost: each text of a cloud is in the settings, in a pod template or in the report.
func TestNoFieldIsLost(t *testing.T) {
	const text = `
jenkins:
  clouds:
  - kubernetes:
      name: k
      unknownOfCloud: lost-1
      templates:
      - name: a
        label: a
        unknownOfTemplate: lost-2
        unknownObject: {inner: x}
        containers:
        - {name: jnlp, unknownOfContainer: lost-3}
        volumes:
        - nfsVolume: {mountPath: /x, serverAddress: h, serverPath: /p, unknownOfVolume: lost-4}
        envVars:
        - envVar: {key: A, value: b, unknownOfVariable: lost-5}
  - docker:
      name: d
      unknownOfDocker: lost-6
      templates:
      - {labelString: b, unknownOfDockerTemplate: lost-7, dockerTemplateBase: {image: jenkins/inbound-agent, unknownOfBase: lost-8}}
`
	r, err := Migrate([]File{{"casc.yaml", []byte(text)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.WriteReport(term.New(&out, nil)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"unknownOfCloud = lost-1", "unknownOfTemplate = lost-2", "unknownObject", "containers[jnlp].unknownOfContainer = lost-3", "volumes[/x].unknownOfVolume = lost-4",
		"envVars[A].unknownOfVariable = lost-5", "clouds[d].unknownOfDocker = lost-6", "unknownOfDockerTemplate = lost-7", "unknownOfBase = lost-8",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not have %s:\n%s", want, &out)
		}
	}
	accepted(t, r)
}

// TestRoots: a file may be one cloud or one node of Jenkins, or have several documents and ConfigMaps.
func TestRoots(t *testing.T) {
	const configMap = "kind: ConfigMap\ndata:\n  a.yaml: |\n    jenkins: {clouds: [{kubernetes: {name: %s, templates: [{label: %s}]}}]}\n  b.yaml: '{kind: Job}'\n  c.sh: 'a: ['\n"
	for name, tt := range map[string]struct{ text, teams string }{
		"a cloud":            {"<a.KubernetesCloud><name>k</name><templates><a.PodTemplate><label>x y</label></a.PodTemplate></templates></a.KubernetesCloud>", "x-y"},
		"a node":             {"<slave><name>n</name><label>linux</label></slave>", "linux"},
		"nodes of Jenkins 1": {"<hudson><slaves><slave><name>n</name></slave><slave><name>o</name></slave></slaves></hudson>", "n,o"},
		"documents":          {fmt.Sprintf(configMap+"---\n"+configMap, "a", "x", "b", "y"), "x,y"},
		"a list":             {"kind: List\nitems:\n- kind: ConfigMap\n  data: {a.yml: '{jenkins: {clouds: {kubernetes: {templates: [{label: z}]}}}}'}\n- kind: ConfigMap", "z"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Migrate([]File{{"file", []byte(tt.text)}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if env := strings.Join(r.Environ(""), "\n"); !strings.Contains(env+"\n", "BELLBOARD_TEAMS="+tt.teams+"\n") {
				t.Errorf("want the teams %s:\n%s", tt.teams, env)
			}
			accepted(t, r)
		})
	}
}

// TestWords splits command lines as the plugin does.
func TestWords(t *testing.T) {
	for line, want := range map[string][]string{
		"": nil, "cat": {"cat"}, "/bin/sh -c": {"/bin/sh", "-c"}, ` sh -c "sleep 1; echo 'x'" `: {"sh", "-c", "sleep 1; echo 'x'"}, `a ''`: {"a", ""},
	} {
		if diff := cmp.Diff(want, words(line)); diff != "" {
			t.Errorf("words(%q): %s", line, diff)
		}
	}
}

// readable checks what Migrate promises of any file: one error in one line, or settings that Bellboard accepts.
func readable(t tester, text []byte) {
	t.Helper()
	r, err := Migrate([]File{{"file", text}}, nil)
	if err != nil {
		if err.Error() == "" || errors.As(err, new(config.Mistakes)) || !utf8.ValidString(err.Error()) {
			t.Errorf("the error is %q", err)
		}
		return
	}
	accepted(t, r)
	r.Values()
}

// FuzzMigrate reads files.
func FuzzMigrate(f *testing.F) {
	for _, seed := range []string{
		"jenkins: {clouds: [{kubernetes: {name: k, templates: [{name: a, label: a b}, {inheritFrom: a, nodeUsageMode: NORMAL}]}}]}",
		"jenkins:\n  nodes:\n  - permanent: {name: n, labelString: x}\n  clouds:\n  - docker: {templates: [{labelString: b}]}\n",
		"kind: ConfigMap\ndata:\n  x: |\n    a: &a {label: l}\n    jenkins: {clouds: [{kubernetes: {templates: [{<<: *a, yaml: 'spec: {}'}]}}]}\n",
		"<hudson><clouds><x.KubernetesCloud><templates><x.PodTemplate><label>a</label></x.PodTemplate></templates></x.KubernetesCloud></clouds></hudson>",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) { readable(t, text) })
}

// TestAnyFields: whatever is in the fields that become settings and pod templates, Bellboard accepts what comes of
// them.
func TestAnyFields(t *testing.T) {
	texts := rapid.OneOf(rapid.StringMatching(`[!-~ \n\tä]{0,20}`), rapid.SampledFrom([]string{
		"", "0", "1", "-1", "3", "2147483647", "99999999999999999999", "1e9", "false", "true", "a", "a b", "A_B", "web-ephemeral", "x-persistent", "agent", "dind", "jnlp",
		"persistent linux", "a,b", "docker&&x", "default", "k=v,kubernetes.io/os=windows", "k=v", "=", "a=b c", "jenkins/jnlp-slave:1", "jenkins/inbound-agent:4.1", "docker:27-dind", "img:1",
		"http://jenkins:8080/", "ftp://x", "jenkins:50000", ":50000", "512Mi", "500m", "0Mi", "cat", "sleep 1", "/var/run/docker.sock", "/home/jenkins/agent", "/tmp", "/var/lib/docker",
		"${X}", "${X:-y}", "^${computer.name}", "bellboard.dev/team", "workspace", "tmp", "docker-data", "workspace-volume", "DOCKER_HOST", "JENKINS_URL", "tcp://localhost:2375",
	}))
	yamls := rapid.SampledFrom([]string{
		"", "{}", "[", "a: b", "spec: {hostNetwork: true, hostPID: true, restartPolicy: Always, dnsPolicy: None}", "spec: {containers: [{name: jnlp, command: [cat], lifecycle: {preStop: {sleep: {seconds: 1}}}}]}",
		"spec: {containers: [{name: a, image: i}, {name: agent, image: i}, {name: dind, image: i}]}", "spec: {containers: [{image: i}]}",
		"spec: {volumes: [{name: tmp, hostPath: {path: /}}, {name: workspace-volume, nfs: {server: s, path: /}}, {name: docker-data, emptyDir: {}}]}",
		"spec: {initContainers: [{name: docker-cli, image: i}, {name: x, image: i, restartPolicy: Always, volumeMounts: [{name: agent-secret, mountPath: /s}]}]}",
		"spec: {tolerations: [{operator: Exists}], nodeSelector: {'a/b/c': 'x y'}, securityContext: {fsGroup: 5, runAsUser: 0, sysctls: [{name: n, value: v}]}, priorityClassName: 'X Y'}",
		"metadata: {name: n, namespace: 'X Y', labels: {bellboard.dev/team: x}, ownerReferences: [{name: o}]}\nspec: {nodeName: n, hostname: h, terminationGracePeriodSeconds: 5}",
		"spec: {volumes: [{name: p, projected: {sources: [{serviceAccountToken: {path: t}}, {configMap: {name: c}}]}}], containers: [{name: jnlp, volumeMounts: [{name: p, mountPath: /p}, {name: none, mountPath: /q}]}]}",
	})
	rapid.Check(t, func(t *rapid.T) {
		type object = map[string]any
		draw := func(name string) string { return texts.Draw(t, name) }
		template := object{"yaml": yamls.Draw(t, "yaml"), "inheritFrom": draw("inheritFrom")}
		for _, name := range []string{
			"name", "label", "namespace", "instanceCap", "idleMinutes", "nodeSelector", "serviceAccount", "slaveConnectTimeout", "nodeUsageMode", "runAsUser", "runAsGroup",
			"supplementalGroups", "schedulerName", "hostNetwork", "agentContainer", "agentInjection", "podRetention", "yamlMergeStrategy",
		} {
			if rapid.Bool().Draw(t, "has "+name) {
				template[name] = draw(name)
			}
		}
		template["imagePullSecrets"] = []object{{"name": draw("secret")}, {"name": draw("another secret")}}
		template["annotations"] = []object{{"key": draw("annotation"), "value": draw("its value")}}
		template["workspaceVolume"] = object{"genericEphemeralVolume": object{"requestsSize": draw("size"), "accessModes": draw("mode")}}
		template["volumes"] = []object{
			{"hostPathVolume": object{"hostPath": draw("hostPath"), "mountPath": draw("dir")}},
			{"secretVolume": object{"secretName": draw("secretName"), "mountPath": draw("another dir")}},
			{"persistentVolumeClaim": object{"claimName": draw("claimName"), "mountPath": draw("third dir"), "readOnly": draw("readOnly")}},
		}
		var containers []object
		for _, name := range []string{"jnlp", draw("container")} {
			c := object{"name": name, "ports": []object{{"portMapping": object{"name": draw("port"), "containerPort": draw("number"), "hostPort": draw("hostPort")}}}}
			for _, field := range []string{
				"image", "command", "args", "workingDir", "privileged", "runAsUser", "ttyEnabled", "resourceRequestCpu", "resourceLimitCpu", "resourceRequestMemory",
				"resourceLimitMemory", "resourceRequestEphemeralStorage", "alwaysPullImage", "shell",
			} {
				if rapid.Bool().Draw(t, name+" has "+field) {
					c[field] = draw(field)
				}
			}
			c["envVars"] = []object{{"envVar": object{"key": draw("key"), "value": draw("value")}}, {"secretEnvVar": object{"key": draw("secret key"), "secretName": draw("of"), "secretKey": draw("at")}}}
			containers = append(containers, c)
		}
		template["containers"] = containers
		cloud := object{"templates": []object{template, {"name": draw("heir"), "inheritFrom": template["name"], "label": draw("label of heir")}}, "podLabels": []object{{"key": draw("pod label"), "value": draw("of pod label")}}}
		for _, name := range []string{"name", "jenkinsUrl", "jenkinsTunnel", "namespace", "containerCapStr", "webSocket", "jnlpregistry", "podRetention"} {
			if rapid.Bool().Draw(t, "cloud has "+name) {
				cloud[name] = draw("cloud's " + name)
			}
		}
		text, err := json.Marshal(object{"jenkins": object{"clouds": []object{{"kubernetes": cloud}}}})
		if err != nil {
			t.Fatal(err)
		}
		readable(t, text)
	})
}

// TestVariables: configuration as code replaces ${…}, config.xml does not. Both may be read at once.
func TestVariables(t *testing.T) {
	casc := "jenkins: {clouds: [{kubernetes: {name: a, templates: [{label: a, containers: [{name: jnlp, image: '${IMAGE:-casc:1}'}]}]}}]}"
	config := "<hudson><clouds><x.KubernetesCloud><name>b</name><templates><x.PodTemplate><label>b</label><image>${IMAGE:-x}</image></x.PodTemplate></templates></x.KubernetesCloud></clouds></hudson>"
	for _, files := range [][]File{{{"a", []byte(casc)}, {"b", []byte(config)}}, {{"b", []byte(config)}, {"a", []byte(casc)}}} {
		r, err := Migrate(files, nil)
		if err != nil {
			t.Fatal(err)
		}
		env := strings.Join(r.Environ(""), "\n")
		for _, want := range []string{"BELLBOARD_TEAM_A_IMAGE=casc:1", "BELLBOARD_TEAM_B_IMAGE=${IMAGE:-x}"} {
			if !strings.Contains(env, want) {
				t.Errorf("no %s:\n%s", want, env)
			}
		}
	}
}
