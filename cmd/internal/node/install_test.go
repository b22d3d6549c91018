//go:build e2enode

package node

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/queue/jenkinssim"
)

// builtImage is the variable with the name of the image that deploy/image/build has made.
const builtImage = "BELLBOARD_NODE_IMAGE"

const installYAML = "../../../deploy/install.yaml"

// TestInstall follows README.md from an empty cluster to a first scaled build. It uses kubectl, the image of
// the Dockerfile, and the files and scripts as they ship. The simulated Jenkins stands for the Jenkins chart.
// It has the token and the job that deploy/jenkins/prepare has made.
func TestInstall(t *testing.T) {
	h := bare(t, "ci")
	t.Parallel()
	h.printBellboard()
	h.dns()
	h.apiServer()

	image, err := os.Open(os.Getenv(builtImage))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if err := h.node.Import(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	h.kubectl("apply", "-f", installYAML)
	prepare := func() (secrets string) {
		h.person(h.node.Command(t.Context(), "../../../deploy/jenkins/prepare"))
		for _, of := range []string{"jenkins/bellboard-bootstrap", "bellboard/bellboard-jenkins", "ci-docker/swarm"} {
			namespace, name, _ := strings.Cut(of, "/")
			secrets += of + h.kubectl("-n", namespace, "get", "secret", name, "-o", "jsonpath={.data}") + "\n"
		}
		return secrets
	}
	if first := prepare(); prepare() != first {
		t.Errorf("run again, prepare changes what is in the Secrets, which had %d bytes", len(first))
	}
	h.within(time.Minute, "two replicas wait for Jenkins", func() bool {
		n := 0
		for _, p := range h.replicas() {
			if s := p.Status.ContainerStatuses; len(s) == 1 && s[0].State.Running != nil && !s[0].Ready {
				n++
			}
		}
		return n == 2
	})

	// What the chart and the scripts in init.groovy.d would make.
	token := h.kubectl("-n", "jenkins", "get", "secret", "bellboard-bootstrap", "-o", "go-template={{base64decode .data.token}}")
	h.kubectl("-n", "jenkins", "create", "service", "clusterip", "jenkins", "--tcp=8080")
	h.open(h.own("jenkins", "jenkins")+":8080", jenkinssim.Config{Token: token, Hook: "bellboard"})
	for token, want := range map[string]int{token: http.StatusOK, token[:33] + "x": http.StatusUnauthorized} {
		if got, _ := h.get(h.url+"/queue/api/json", token); got != want {
			t.Errorf("Jenkins answers a token with %d, want %d", got, want)
		}
	}
	h.kubectl("-n", "bellboard", "rollout", "status", "deployment/bellboard", "--timeout=2m")
	t.Logf("both replicas are ready after %s", time.Since(began).Round(100*time.Millisecond))
	leader := h.leads()

	// The first job, as its script defines it.
	script := h.kubectl("-n", "jenkins", "get", "configmap", "bellboard-init", "-o", `jsonpath={.data.bellboard-hello\.groovy}`)
	part := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(script)
		if m == nil {
			t.Fatalf("no %s in\n%s", pattern, script)
		}
		return m[1]
	}
	watched := h.behind("-n", "ci", "get", "pods", "--watch")
	began = time.Now()
	b := h.submit(jenkinssim.Job{
		Name: part(`name = '(.+)'`), Label: part("<assignedNode>(.+)</assignedNode>"), Duration: 30 * time.Second,
	}, "NODE_NAME=$(cat /etc/hostname)\n"+part("<command>(.+)</command>"))
	name := h.on(b)
	t.Logf("the build is on %s after %s", name, time.Since(began).Round(100*time.Millisecond))
	if !strings.HasPrefix(name, "web-e-") || h.hello(name).User != 1000 {
		t.Errorf("the build is on %s, user %d", name, h.hello(name).User)
	}

	h.behind("-n", "bellboard", "port-forward", "service/bellboard", "8080")
	for path, says := range map[string]string{"": "Bellboard", "readyz": "ok", "metrics": `bellboard_build_info`} {
		h.within(time.Minute, "the page answers: "+path, func() bool {
			status, body := h.get("http://localhost:8080/"+path, "")
			return status == http.StatusOK && strings.Contains(body, says)
		})
	}
	log := h.kubectl("-n", "bellboard", "logs", "--selector", "app.kubernetes.io/name=bellboard", "--tail", "-1")
	if why := "1 waiting, 0 free, 0 on the way"; !strings.Contains(log, why) {
		t.Errorf("the log does not say %s:\n%s", why, log)
	}
	if says := h.kubectl("-n", "bellboard", "exec", "deploy/bellboard", "--", "/bellboard", "doctor"); !strings.Contains(says, " 0 to do") {
		t.Errorf("doctor says\n%s", says)
	}
	h.unharmed()

	// New settings while the build runs: one setting that ends the pod within the test, and one that people
	// try.
	settings, err := os.ReadFile(installYAML)
	if err != nil {
		t.Fatal(err)
	}
	const was = "  BELLBOARD_DEFAULT_PERSISTENT_NAMESPACE: \"ci-docker\"\n"
	if bytes.Count(settings, []byte(was)) != 1 {
		t.Fatalf("not once in %s: %s", installYAML, was)
	}
	apply := h.node.Kubectl(t.Context(), "apply", "-f", "-")
	apply.Stdin = bytes.NewReader(bytes.Replace(settings, []byte(was),
		[]byte("  BELLBOARD_DEFAULT_PERSISTENT_NAMESPACE: ci\n  BELLBOARD_JENKINS_RESTART_GRACE: 3s\n"), 1))
	h.person(apply)
	h.kubectl("-n", "bellboard", "rollout", "restart", "deployment/bellboard")
	h.kubectl("-n", "bellboard", "rollout", "status", "deployment/bellboard", "--timeout=2m")
	if out, want := h.output(b), "Hello from "+name; out != want {
		t.Errorf("the build says %q, want %q", out, want)
	}
	h.succeeded(1)
	h.gone(time.Minute, name)
	if seen := watched.String(); !regexp.MustCompile(name + ` +1/1 +Running`).MatchString(seen) {
		t.Errorf("kubectl get pods --watch says\n%s", seen)
	}
	h.within(time.Minute, "the replicas from before are gone", func() bool { return len(h.replicas()) == 2 })
	if h.leads() == leader {
		t.Errorf("after the restart %s leads, as before", leader)
	}

	h.jenkins.Submit(jenkinssim.Job{Name: "images", Label: "docker && persistent"})
	h.within(time.Minute, "an agent with Docker is refused among the others, and people are told why", func() bool {
		events := h.kubectl("-n", "bellboard", "describe", "lease", "bellboard-bellboard")
		return strings.Contains(events, "AgentFailed") && strings.Contains(events, `violates PodSecurity "restricted:latest"`)
	})
	h.unharmed()

	// The uninstall of docs/upgrade.md.
	began = time.Now()
	if owns := h.kubectl("-n", "bellboard", "exec", "deployment/bellboard", "--", "/bellboard", "cleanup", "--dry-run"); !strings.Contains(owns, " 4 nodes ") {
		t.Errorf("cleanup --dry-run says %s", owns) // two berths for each team
	}
	h.kubectl("-n", "bellboard", "patch", "deployment", "bellboard", "--patch-file", "../../../deploy/cleanup.yaml")
	h.within(time.Minute, "nothing is left", func() bool {
		out, _ := h.node.Kubectl(t.Context(), "-n", "bellboard", "logs", "deployment/bellboard").CombinedOutput() // none while there is no pod
		return strings.Contains(string(out), "nothing is left")
	})
	if s := h.jenkins.Stats(); s.Nodes != 0 || len(h.pods()) != 0 {
		t.Errorf("nodes are left in Jenkins, or pods: %+v\n%s", s, h.state())
	}
	h.kubectl("delete", "-f", installYAML)
	t.Logf("uninstalled after %s", time.Since(began).Round(100*time.Millisecond))
}

// kubectl runs a command of kubectl, which has to succeed without a warning.
func (h *home) kubectl(args ...string) (says string) {
	h.t.Helper()
	return h.person(h.node.Kubectl(h.t.Context(), args...))
}

func (h *home) person(cmd *exec.Cmd) (says string) {
	h.t.Helper()
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	if bad := cmd.Run(); bad != nil || strings.Contains(err.String(), "Warning") {
		h.t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), bad, out.String(), err.String())
	}
	return out.String()
}

// behind runs a command of kubectl until the test ends.
func (h *home) behind(args ...string) (says *lockedBuffer) {
	h.t.Helper()
	says = &lockedBuffer{}
	cmd := h.node.Kubectl(h.t.Context(), args...)
	cmd.Stdout, cmd.Stderr = says, says
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = cmd.Wait() }) // killed
	return says
}

// get sends a request as Bellboard's user, with a token if there is one.
func (h *home) get(url, token string) (status int, body string) {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if token != "" {
		r.SetBasicAuth("bellboard", token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

// replicas returns Bellboard's own pods.
func (h *home) replicas() []corev1.Pod {
	h.t.Helper()
	l, err := h.k.CoreV1().Pods("bellboard").List(h.t.Context(), metav1.ListOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return l.Items
}

// leads returns the replica that leads, by the Lease and by what each replica says.
func (h *home) leads() string {
	h.t.Helper()
	var holder string
	h.within(time.Minute, "one of two ready replicas leads", func() bool {
		identity := h.kubectl("-n", "bellboard", "get", "lease", "bellboard-bellboard", "-o", "jsonpath={.spec.holderIdentity}")
		holder, _, _ = strings.Cut(identity, "_")
		ready, leaders := 0, ""
		for _, p := range h.replicas() {
			says := func(path string) string {
				b, err := h.k.CoreV1().Pods("bellboard").ProxyGet("http", p.Name, "8080", path, nil).DoRaw(h.t.Context())
				if err != nil {
					return err.Error()
				}
				return string(b)
			}
			if strings.TrimSpace(says("readyz")) == "ok" {
				ready++
			}
			if strings.Contains(says("metrics"), "\nbellboard_leader 1\n") {
				leaders += p.Name
			}
		}
		return ready == 2 && leaders == holder
	})
	return holder
}

// unharmed checks that no container of Bellboard's has restarted.
func (h *home) unharmed() {
	h.t.Helper()
	for _, p := range h.replicas() {
		for _, c := range p.Status.ContainerStatuses {
			if c.RestartCount != 0 {
				h.t.Errorf("%s was restarted %d times, after %+v", p.Name, c.RestartCount, c.LastTerminationState)
			}
		}
	}
}

// printBellboard prints what a person would look at after a failure.
func (h *home) printBellboard() {
	h.t.Cleanup(func() {
		if !h.t.Failed() {
			return
		}
		for _, args := range []string{"describe pods", "logs deployment/bellboard --all-pods --tail 30", "get events", "get lease -o yaml"} {
			out, _ := h.node.Kubectl(context.Background(), append([]string{"-n", "bellboard"}, strings.Fields(args)...)...).CombinedOutput()
			h.t.Logf("kubectl %s\n%s", args, out)
		}
	})
}
