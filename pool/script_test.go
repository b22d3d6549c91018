package pool

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	for name, script := range map[string]string{"swarm": swarmScript, "dind": dindScript, "rootless": rootlessScript, "ssh": sshScript, "tend": tellScript + tendScript + dindScript, "cli": cliScript} {
		if out, err := exec.Command(sh, "-n", "-c", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// standIns is a directory of programs that do what these scripts say.
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

// The agent's command is run as the container would run it, with stand-ins for
// curl and java that say what they are told.
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
	cmd.Env = []string{"PATH=" + bin, c.Env[0].Name + "=" + filled(c.Env[0].Value)}
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
		t.Errorf("it is told:\n%s", out)
	}
}
