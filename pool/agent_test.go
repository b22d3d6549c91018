package pool

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bellboard/scaler"
)

func shell(t *testing.T) string {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell here")
	}
	return sh
}

func TestScriptsAreShell(t *testing.T) {
	sh := shell(t)
	for _, name := range scriptNames(t) {
		body := script(name)
		if body == "" {
			t.Errorf("%s: no body after its head", name)
		}
		if out, err := exec.Command(sh, "-n", "-c", body).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

func scriptNames(t *testing.T) (names []string) {
	t.Helper()
	files, err := scripts.ReadDir("scripts")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".sh"))
	}
	return names
}

// standIns makes a directory with programs that run these scripts.
func standIns(t *testing.T, sh string, scripts map[string]string) string {
	t.Helper()
	bin := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!"+sh+"\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bin
}

// The test runs the agent's command as the container would. Stand-ins for curl and java print their
// arguments.
func TestTheSwarmClientGetsItsArgumentsAsTheyAre(t *testing.T) {
	sh := shell(t)
	bin := standIns(t, sh, map[string]string{
		"curl": `printf 'curl %s\n' "$@"`,
		"mv":   `:`,
		"java": `printf 'java %s\n' "$@"`,
	})
	s := specOf(scaler.Persistent, scaler.Swarm, DockerNone)
	s.JenkinsURL = `http://j/a b"; echo $(id) ${HOME} '#/`
	c := Build(s, "web-p-1").Spec.Containers[0]
	filled := func(v string) string { return strings.ReplaceAll(v, "$$", "$") } // as the kubelet does
	cmd := exec.Command(sh, c.Command[1:]...)
	for _, a := range c.Args {
		cmd.Args = append(cmd.Args, filled(a))
	}
	cmd.Env = []string{"PATH=" + bin + ":/bin", c.Env[0].Name + "=" + filled(c.Env[0].Value)}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if want := "curl " + strings.TrimRight(s.JenkinsURL, "/") + "/swarm/swarm-client.jar"; !slices.Contains(lines, want) {
		t.Errorf("no line %q in:\n%s", want, out)
	}
	want := []string{"java -jar", "java /home/jenkins/.jenkins/swarm-client.jar"}
	for _, a := range c.Args {
		want = append(want, "java "+filled(a))
	}
	if i := slices.Index(lines, "java -jar"); i < 0 || !slices.Equal(lines[i:], want) {
		t.Errorf("the client is told:\n%s", out)
	}
}

// orphans starts ten processes whose parent ends at once, and then counts the defunct processes.
const orphans = `for i in 1 2 3 4 5 6 7 8 9 10; do sh -c 'sleep 0.2 &'; done
sleep 0.7
echo "defunct: $(cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ')"
`

// TestTheAgentsInit runs the init as a container would: as the first process of a PID namespace.
func TestTheAgentsInit(t *testing.T) {
	sh, dir := shell(t), t.TempDir()
	first := func(path string, command ...string) (string, int) {
		cmd := exec.Command("unshare", append([]string{"--pid", "--fork", "--mount-proc"}, command...)...)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + path}
		out, err := cmd.Output() // a shell may say on stderr how a program ended
		if _, exits := errors.AsType[*exec.ExitError](err); err != nil && !exits {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out)), cmd.ProcessState.ExitCode()
	}
	path := os.Getenv("PATH")
	if out, code := first(path, sh, "-c", "echo $$"); out != "1" || code != 0 {
		t.Skipf("no process here may have a PID namespace of its own: %q, exit code %d", out, code)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "over"), 0o600); err != nil {
		t.Fatal(err)
	}
	// It becomes a program that waits for no process, as a JVM does, and ends when the processes are counted.
	const deaf = "(sleep 0.1; " + orphans + "echo >over) & exec cat over"
	if out, _ := first(path, sh, "-c", deaf); out != "defunct: 10" {
		t.Errorf("a first process that never waits leaves %q, want ten defunct", out)
	}
	shells := []string{sh}
	for _, other := range []string{"dash", "bash", "busybox"} { // the shells that are /bin/sh in agents' images
		if at, err := exec.LookPath(other); err == nil {
			shells = append(shells, at)
		}
	}
	for _, s := range shells {
		// env's own way to restore SIGINT is not tested here, since an image may have another env.
		for name, tt := range map[string]struct {
			script, said string
			code         int
		}{
			"orphans are waited for":  {deaf, "defunct: 0", 0},
			"it ends by itself":       {"exit 7", "", 7},
			"a signal is passed on":   {"trap 'echo told; exit 42' TERM; kill -TERM 1; sleep 5 & wait", "told", 42},
			"so is an interrupt":      {"trap 'echo told; exit 42' TERM; kill -INT 1; sleep 5 & wait", "told", 42},
			"it ends by a signal":     {"kill -TERM 1; sleep 5", "", 143},
			"arguments come as given": {`printf '<%s>' "$@"`, `<a b><$(id)><>`, 0},
		} {
			command := underInit(sh, "-c", tt.script, "agent", "a b", "$(id)", "")
			command[0] = s
			if filepath.Base(s) == "busybox" {
				command = append([]string{s, "sh"}, command[1:]...)
			}
			if out, code := first(path, command...); out != tt.said || code != tt.code {
				t.Errorf("%s: %s: the program says %q and ends with %d, want %q and %d", s, name, out, code, tt.said, tt.code)
			}
		}
	}
	if exec.Command("env", "--default-signal=INT", "true").Run() == nil {
		if out, _ := first(path, underInit(sh, "-c", "grep SigIgn /proc/self/status")...); !strings.HasSuffix(out, "\t0000000000000000") {
			t.Errorf("builds ignore signals: %s", out)
		}
	}
	bin := standIns(t, sh, map[string]string{"dumb-init": `echo "$$ dumb-init $*"`})
	if out, _ := first(bin+":"+path, underInit("/agent", "-url")...); out != "1 dumb-init -- /agent -url" {
		t.Errorf("with an init in the image, the output is %q", out)
	}
}

// TestWhoseInitItIs tests which images have a known entrypoint, and what happens to other images.
func TestWhoseInitItIs(t *testing.T) {
	for image, known := range map[string]bool{
		DefaultImage: true, "jenkins/inbound-agent": true, "registry.example.com:5000/hub/jenkins/inbound-agent@sha256:00": true,
		"registry.example.com:5000/jenkins/inbound-agent": true, "docker.io/jenkins/inbound-agent:1@sha256:00": true,
		"example.com/agent:1": false, "example.com/our-jenkins/inbound-agent:1": false, "jenkins/agent:1": false, "jenkins/inbound-agent-2:1": false,
	} {
		for _, docker := range []DockerMode{DockerNone, DockerDind} {
			s := specOf(scaler.Ephemeral, scaler.Inbound, docker)
			s.Image = image
			pod := Build(s, "web-e-1")
			if command := pod.Spec.Containers[0].Command; known != (command != nil) || known && !slices.Equal(command, underInit("/usr/local/bin/jenkins-agent")) {
				t.Errorf("%s: the command is %q", image, command)
			}
			// Beside a daemon that is root, nothing is shared by default.
			if shares := pod.Spec.ShareProcessNamespace; (shares != nil) != (!known && docker == DockerNone) || shares != nil && !*shares {
				t.Errorf("%s, Docker %s: the processes are shared: %v", image, docker, shares)
			}
		}
	}
	s := specOf(scaler.Ephemeral, scaler.Inbound, DockerNone)
	s.Image, s.AllowHost = "example.com/agent:1", true
	template, wrong := ParseTemplate("t", []byte("spec: {hostPID: true}"))
	if wrong != nil {
		t.Fatal(wrong)
	}
	s.Template = template
	if pod := Build(s, "web-e-1"); pod.Spec.ShareProcessNamespace != nil {
		t.Error("a pod has hostPID and shareProcessNamespace, which an API server rejects")
	}
}
