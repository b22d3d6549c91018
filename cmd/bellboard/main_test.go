package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/house"
	"bellboard/cmd/internal/term"
	"bellboard/deploy/manifest"
	"bellboard/metrics/web"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// bellboard runs one command as a person would.
func bellboard(environ []string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, environ, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUsage(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no such command", []string{"scale"}, exitUsage, "scale"},
		{"no such flag", []string{"demo", "--slow"}, exitUsage, "--slow"},
		{"an argument too many", []string{"version", "x"}, exitUsage, "x"},
		{"a file that exists", []string{"demo", "--env-file", "main_test.go"}, exitUsage, "--env-file main_test.go: the file exists"},
		{"no address", []string{"demo", "--listen", "nowhere"}, exitFailed, `the page at "nowhere"`},
		{"a speed beyond reason", []string{"demo", "--speed", "1000"}, exitUsage, "--speed 1000"},
		{"an output that is none", []string{"plan", "-o", "xml"}, exitUsage, "-o xml"},
		{"no settings", []string{"plan"}, exitUsage, "BELLBOARD_JENKINS_URL"},
		{"version", []string{"version"}, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := bellboard(nil, tt.args...)
			if code != tt.code || !strings.Contains(stderr, tt.says) {
				t.Errorf("bellboard %s = %d, saying %q; want %d and %q", strings.Join(tt.args, " "), code, stderr, tt.code, tt.says)
			}
		})
	}
}

func TestBadSettings(t *testing.T) {
	code, _, stderr := bellboard([]string{
		"BELLBOARD_JENKINS_URL=http://jenkins:8080/", "BELLBOARD_JENKINS_USER=bellboard", "BELLBOARD_JENKINS_TOKEN_FILE=/run/token",
		"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral",
		"BELLBOARD_TEAM_WEB_IDLE_TIMEOUT=10 minutes", "BELLBOARD_TEAM_WEB_MAX_AGENST=4",
	}, "config")
	want := `bellboard: 2 mistakes in the settings
  BELLBOARD_TEAM_WEB_MAX_AGENST="4"              no such setting; did you mean BELLBOARD_TEAM_WEB_MAX_AGENTS?
  BELLBOARD_TEAM_WEB_IDLE_TIMEOUT="10 minutes"   not a duration; write 10m
`
	if code != exitUsage || stderr != want {
		t.Errorf("bellboard config = %d, saying\n%s\nwant %d, saying\n%s", code, stderr, exitUsage, want)
	}
}

// quietHouse returns a Jenkins and a cluster on loopback without agents and builds.
func quietHouse(t *testing.T) (h *house.House, environ []string) {
	t.Helper()
	h, err := house.New(t.Context(), house.Config{Clock: clock.Real(), Network: true, Hook: true, Environ: []string{
		"BELLBOARD_TEAMS=web,mobile",
		"BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral",
		"BELLBOARD_TEAM_MOBILE_LABELS=android", "BELLBOARD_TEAM_MOBILE_MODE=ephemeral", "BELLBOARD_TEAM_MOBILE_MAX_AGENTS=2",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("KUBECONFIG", write("kubeconfig", fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: it,
clusters: [{name: it, cluster: {server: %q}}], contexts: [{name: it, context: {cluster: it}}]}`, h.ClusterURL)))
	return h, append(h.Environ(), "BELLBOARD_JENKINS_TOKEN_FILE="+write("token", "token\n"))
}

// TestOwnNamespace checks that outside of a cluster Bellboard's own namespace is the one of kubectl's
// context. Agents without a namespace setting, the Lease and the events are there.
func TestOwnNamespace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	t.Setenv("KUBECONFIG", file)
	environ := []string{"BELLBOARD_JENKINS_URL=http://jenkins:8080", "BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral"}
	for context, want := range map[string]string{"cluster: it": "default", "cluster: it, namespace: team-ci": "team-ci"} {
		text := "{apiVersion: v1, kind: Config, current-context: it, clusters: [{name: it, cluster: {server: 'http://127.0.0.1:1'}}], contexts: [{name: it, context: {" + context + "}}]}"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		settings, err := load(environ, config.WithoutJenkins())
		if err != nil {
			t.Fatal(err)
		}
		if settings.OwnNamespace != want || settings.Namespace != want {
			t.Errorf("with context {%s} its own namespace is %q and the agents' %q, want %q", context, settings.OwnNamespace, settings.Namespace, want)
		}
		if _, stdout, stderr := bellboard(environ, "config"); !regexp.MustCompile(`(?m)^BELLBOARD_NAMESPACE +` + want + ` `).MatchString(stdout) {
			t.Errorf("with context {%s} bellboard config says\n%s%s", context, stdout, stderr)
		}
	}
	if settings, err := load(environ, config.WithoutJenkins(), config.InNamespace("told")); err != nil || settings.OwnNamespace != "told" {
		t.Errorf("a namespace that is told is not its own: %v", err)
	}
}

func TestPlan(t *testing.T) {
	h, environ := quietHouse(t)
	for range 3 {
		h.Jenkins.Submit(jenkinssim.Job{Name: "web-1", Label: "linux", Duration: time.Minute})
	}
	for range 5 {
		h.Jenkins.Submit(jenkinssim.Job{Name: "app", Label: "android", Duration: time.Minute})
	}
	h.Jenkins.Submit(jenkinssim.Job{Name: "legacy", Label: "windows && gpu", Duration: time.Minute})
	// A moment later the quiet period of the items, which is zero, is over.
	time.Sleep(100 * time.Millisecond) // the house is on the wall's clock
	code, stdout, stderr := bellboard(environ, "plan")
	if code != exitChanges {
		t.Fatalf("bellboard plan = %d, saying %s; want %d", code, stderr, exitChanges)
	}
	for _, want := range []string{
		`web +3 +\d+s +0 +0 +0 +3 +\+3 ephemeral +3 waiting, 0 free, 0 on the way`,
		`mobile +5 +\d+s +0 +0 +0 +5 +\+2 ephemeral +5 waiting, 0 free, 0 on the way; at MAX_AGENTS=2 \(wants 5\)`,
		`- +1 .*unserved +no team serves ‘windows&&gpu’ \(jobs: legacy\)`,
		`register +web ephemeral`,
		`(?s)remembers nothing: .*bellboard why JOB\.\n$`,
	} {
		if !regexp.MustCompile(want).MatchString(stdout) {
			t.Errorf("bellboard plan does not say %q:\n%s", want, stdout)
		}
	}
	if s := h.Jenkins.Stats(); s.Creates+s.Marks+s.Deletes != 0 || len(h.Cluster.Pods()) != 0 {
		t.Errorf("bellboard plan wrote: %+v, %d pods", s, len(h.Cluster.Pods()))
	}

	code, stdout, _ = bellboard(environ, "plan", "-o", "json")
	var tick scaler.Tick
	if err := web.ReadJSON([]byte(stdout), &tick); err != nil || code != exitChanges || len(tick.Plan.Decisions) != 2 {
		t.Errorf("bellboard plan -o json = %d, %v, %d decisions; want %d and 2 decisions", code, err, len(tick.Plan.Decisions), exitChanges)
	}
}

// TestPlanYAML checks that the API knows every printed object, and that the objects have the template's
// fields.
func TestPlanYAML(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pod.yaml")
	if err := os.WriteFile(file, []byte("metadata: {labels: {cost-centre: \"42\"}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{
		"BELLBOARD_JENKINS_URL=http://jenkins:8080/", // no user and no token: nobody is asked
		"BELLBOARD_SWARM_USER=swarm", "BELLBOARD_SWARM_PASSWORD_SECRET=swarm",
		"BELLBOARD_TEAMS=web,mobile", "BELLBOARD_DEFAULT_POD_TEMPLATE_FILE=" + file,
		"BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_MOBILE_LABELS=android", "BELLBOARD_TEAM_MOBILE_DOCKER=userns",
	}
	code, stdout, stderr := bellboard(environ, "plan", "-o", "yaml")
	if code != 0 || stderr != "" {
		t.Fatalf("bellboard plan -o yaml = %d, saying %q; want 0", code, stderr)
	}
	objects, err := manifest.Objects([]byte(stdout))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range objects {
		m, kind := o.(metav1.Object), o.GetObjectKind().GroupVersionKind().Kind
		got = append(got, kind+" "+m.GetName())
		if kind == "Pod" && m.GetLabels()["cost-centre"] != "42" {
			t.Errorf("%s is not made of its template", m.GetName())
		}
	}
	want := []string{
		"Pod web-e-planned", "Pod web-p-planned", "PersistentVolumeClaim web-p-planned",
		"Pod mobile-e-planned", "Pod mobile-p-planned", "PersistentVolumeClaim mobile-p-planned",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

func TestConfigWarns(t *testing.T) {
	code, stdout, stderr := bellboard([]string{
		"BELLBOARD_JENKINS_URL=http://jenkins:8080/",
		"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral",
		"BELLBOARD_TEAM_WEB_DOCKER=host", "BELLBOARD_TEAM_WEB_ALLOW_HOST_DOCKER=true",
	}, "config")
	if code != 0 || !strings.HasPrefix(stderr, "warning: BELLBOARD_TEAM_WEB_EPHEMERAL_DOCKER=host: ") || strings.Contains(stdout, "warning") {
		t.Errorf("bellboard config = %d, saying %q", code, stderr)
	}
}

// TestPlanSaysHowLongAgentsTake checks that plan prints how long agents take to start, if known.
func TestPlanSaysHowLongAgentsTake(t *testing.T) {
	out := planTable(&term.Screen{}, scaler.Plan{Decisions: []scaler.Decision{{Team: "mobile"}, {Team: "web", Coming: 2, Overdue: 1, Usual: []scaler.Usual{{
		Kind: scaler.Ephemeral, Count: 9, Half: 14 * time.Second, Most: 20 * time.Second, Phases: []scaler.PhaseTime{{Phase: scaler.PhasePull, Took: 9 * time.Second}},
	}}}}})
	if want := "\nAgents usually start in:\n  web ephemeral            14s (9 in 10 within 20s, the longest part pull with 9s)\n"; !strings.HasSuffix(out, want) {
		t.Errorf("the plan is\n%s\nwant it to end in%s", out, want)
	}
	if !strings.Contains(out, "  2+1 overdue  ") {
		t.Errorf("the plan is\n%s\nwant 2+1 overdue on the way", out)
	}
}

func TestPlanThatCannotSee(t *testing.T) {
	h, environ := quietHouse(t)
	h.Jenkins.Restart(jenkinssim.Restart{Loading: time.Hour})
	code, stdout, stderr := bellboard(environ, "plan")
	if code != exitFailed || stdout != "" || !strings.Contains(stderr, "503") {
		t.Errorf("bellboard plan = %d, %q, saying %q; want %d and the 503", code, stdout, stderr, exitFailed)
	}
}

// TestNoWayToKubernetes checks that the error comes at once, and names only what Bellboard reads.
func TestNoWayToKubernetes(t *testing.T) {
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	_ = closed.Close()
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	config := func(server string) string {
		return `{"apiVersion":"v1","kind":"Config","current-context":"x","contexts":[{"name":"x","context":{"cluster":"x","user":"x"}}],"users":[{"name":"x"}],"clusters":[{"name":"x","cluster":{"server":"` + server + `"}}]}`
	}
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	defer tls.Close()
	_, environ := quietHouse(t)
	t.Setenv("HOME", t.TempDir())
	for name, tt := range map[string]struct{ kubeconfig, says string }{
		"no kubeconfig":        {"", "there is no ~/.kube/config; set KUBECONFIG"},
		"none of that name":    {"/not/there", `KUBECONFIG="/not/there" has none; set KUBECONFIG`},
		"one that is wrong":    {file("clusters: ["), "correct KUBECONFIG"},
		"nobody listens":       {file(config("http://" + address)), "the API server is http://" + address + ", as the kubeconfig says; correct KUBECONFIG"},
		"of another authority": {file(config(tls.URL)), "the API server is " + tls.URL + ", as the kubeconfig says; correct KUBECONFIG"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", tt.kubeconfig)
			began := time.Now()
			code, _, stderr := bellboard(environ, "plan")
			if code != exitFailed || !strings.Contains(stderr, tt.says) || strings.Contains(stderr, "KUBERNETES_MASTER") {
				t.Errorf("bellboard plan = %d, saying %q; want %d and %q", code, stderr, exitFailed, tt.says)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it says so after %s", took)
			}
		})
	}
}

// TestCleanupCommand runs cleanup as on a laptop, with the daemon's variables. It lists what there is, and
// removes it with the Lease. It needs no pod template, which only the daemon has.
func TestCleanupCommand(t *testing.T) {
	h, environ := quietHouse(t)
	h.Jenkins.AddNode(jenkinssim.Node{Name: "web-e-0123456789", Labels: "linux", Description: "bellboard instance=bellboard team=web kind=ephemeral"}, false)
	environ = append(environ, "BELLBOARD_JENKINS_RESTART_GRACE=0s", "BELLBOARD_TEAM_WEB_POD_TEMPLATE_FILE=/not/there.yaml")
	for _, tt := range []struct {
		name string
		args []string
		says string
	}{
		{"which of both", nil, "--dry-run"},
		{"no namespace", []string{"--yes"}, "--namespace bellboard"},
		{"no namespace to look in", []string{"--dry-run"}, "--namespace bellboard"},
		{"no Lease there", []string{"--yes", "--namespace", "bellbord"}, "no Lease bellbord/bellboard-bellboard"},
	} {
		if code, _, stderr := bellboard(environ, append([]string{"cleanup"}, tt.args...)...); code != exitUsage || !strings.Contains(stderr, tt.says) {
			t.Errorf("%s: %d, saying %q; want %d and %q", tt.name, code, stderr, exitUsage, tt.says)
		}
	}
	if s := h.Jenkins.Stats(); s.Marks+s.Deletes > 0 {
		t.Errorf("that wrote: %+v", s)
	}

	leases := kubernetes.NewForConfigOrDie(&rest.Config{Host: h.ClusterURL}).CoordinationV1().Leases("bellboard")
	// A leader that was killed does not give its Lease back.
	led := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "bellboard-bellboard"}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("another"), LeaseDurationSeconds: new(int32(1)), RenewTime: new(metav1.NowMicro()),
	}}
	if _, err := leases.Create(t.Context(), led, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := bellboard(environ, "cleanup", "--dry-run", "--namespace", "bellboard")
	if code != 0 || !strings.Contains(stdout, " owns 0 pods, 1 nodes and 0 cache slots; 0 agents are at work\n") {
		t.Fatalf("bellboard cleanup --dry-run = %d, %q, saying %q", code, stdout, stderr)
	}
	if code, stdout, stderr = bellboard(environ, "cleanup", "--yes", "--namespace", "bellboard"); code != 0 || !strings.HasSuffix(stdout, "\nnothing is left\n") {
		t.Errorf("bellboard cleanup --yes = %d, %q, saying %q", code, stdout, stderr)
	}
	if want := "waiting for the Lease bellboard/bellboard-bellboard, which another holds. End every Bellboard"; !strings.Contains(stderr, want) {
		t.Errorf("it says %q, want %q", stderr, want)
	}
	if lease, err := leases.Get(t.Context(), "bellboard-bellboard", metav1.GetOptions{}); err != nil || *lease.Spec.HolderIdentity != "" {
		t.Errorf("it wrote without the Lease, or did not give it back: %v, %+v", err, lease.Spec)
	}
}

// TestDemo runs the demo, and meanwhile the other commands with the variables that it writes.
func TestDemo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	type ending struct {
		code           int
		stdout, stderr string
	}
	over := make(chan ending, 1)
	go func() {
		code, stdout, stderr := bellboard(nil, "demo", "--for", "6s", "--speed", "50", "--seed", "3", "--hook", "-o", "json", "--env-file", file, "--listen", "127.0.0.1:0")
		over <- ending{code, stdout, stderr}
	}()
	for _, err := os.Stat(file); err != nil; _, err = os.Stat(file) {
		select {
		case e := <-over:
			t.Fatalf("bellboard demo = %d without variables, saying %s", e.code, e.stderr)
		case <-time.After(20 * time.Millisecond):
		}
	}
	shell := exec.CommandContext(t.Context(), "sh", "-c", ". "+file+" && env")
	shell.Env = []string{"PATH=" + os.Getenv("PATH")} // and no variable of a demo that reads its settings just now
	told, err := shell.Output()
	if err != nil {
		t.Fatal(err)
	}
	environ := slices.DeleteFunc(strings.Split(string(told), "\n"), func(v string) bool {
		name, value, _ := strings.Cut(v, "=")
		if name == "KUBECONFIG" {
			t.Setenv(name, value)
		}
		return !strings.HasPrefix(name, "BELLBOARD_")
	})
	time.Sleep(time.Second) // the demo's clock is then 49 s ahead
	if code, stdout, stderr := bellboard(environ, "plan"); code != 0 && code != exitChanges || !strings.Contains(stdout, "mobile  ") {
		t.Errorf("bellboard plan = %d on the demo, printing %q, saying %q", code, stdout, stderr)
	}
	for _, args := range [][]string{{"status"}, {"status", "mobile"}, {"why", "mobile"}} {
		if code, stdout, stderr := bellboard(environ, args...); code != 0 || !strings.Contains(stdout, "mobile") {
			t.Errorf("bellboard %v = %d on the demo, printing %q, saying %q", args, code, stdout, stderr)
		}
	}
	code, stdout, stderr := bellboard(environ, "doctor")
	if findings := regexp.MustCompile(`(?m)^.*  finding .*$`).FindAllString(stdout, -1); code != exitChanges || len(findings) != 1 || !strings.HasPrefix(findings[0], "Jenkins' clock ") {
		t.Errorf("bellboard doctor = %d on the demo, finding %q, saying %q", code, findings, stderr)
	}
	e := <-over
	if _, err := os.Stat(file); err == nil {
		t.Error("the demo leaves its file")
	}
	for _, want := range []string{". " + file, "ctrl-c: no new builds come", "no new builds ", " volume claims", "lost: builds that something else ended"} {
		if !strings.Contains(e.stderr, want) {
			t.Errorf("bellboard demo does not say %q: %s", want, e.stderr)
		}
	}
	lines := strings.Split(strings.TrimSpace(e.stdout), "\n")
	var s map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || e.code != 0 {
		t.Fatalf("bellboard demo = %d, %v, saying\n%s", e.code, err, e.stderr)
	}
	if s["builds_killed"] != 0.0 || s["orphans_left"] != 0.0 || s["builds_finished"] == 0.0 {
		t.Errorf("bellboard demo ended with %v", s)
	}
	for _, key := range []string{
		"builds_finished", "builds_killed", "builds_lost", "wait_p50_seconds", "wait_p95_seconds", "agents_created",
		"agents_peak", "orphans_left", "second_builds", "ticks", "holds",
	} {
		if _, ok := s[key]; !ok {
			t.Errorf("bellboard demo's summary has no %s: %v", key, s)
		}
	}
}
