// Package chart runs Helm itself, and renders deploy/chart with Helm as helm install does. It returns the
// objects as Helm would send them, or Helm's own error. Only tests use it.
package chart

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// Examples lists the values files in deploy/chart/examples, one for each way to run agents.
func Examples() []string {
	return []string{"dind", "first", "host-docker", "ssh", "swarm", "swarm-dind", "tcp", "websocket"}
}

// Example returns the path of a values file, for Render.
func Example(name string) string { return "deploy/chart/examples/" + name + ".yaml" }

// Render returns the objects of a release "bellboard" in the namespace "bellboard", as YAML documents. The
// arguments are more of helm template's. Paths begin at the module's root. Render needs the go command, which
// makes Helm from go.tools.mod the first time.
func Render(ctx context.Context, args ...string) ([]byte, error) {
	return Helm(ctx, append([]string{"template", "bellboard", "deploy/chart", "--namespace", "bellboard", "--kube-version", "1.36.0"}, args...)...)
}

// Helm runs Helm at the module's root, and returns its output.
func Helm(ctx context.Context, args ...string) ([]byte, error) {
	path, err := helm()
	if err != nil {
		return nil, err
	}
	var out, words bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // Helm's path, and a test's arguments
	cmd.Dir, cmd.Stdout, cmd.Stderr = root(), &out, &words
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("helm %s: %w: %s%s", strings.Join(args, " "), err, out.Bytes(), words.Bytes())
	}
	return out.Bytes(), nil
}

// helm returns the path of Helm. It asks the go command once, which would cost as much as Helm.
var helm = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-modfile=go.tools.mod", "-n", "helm") // every caller waits for it
	cmd.Dir, cmd.Stderr = root(), os.Stderr
	path, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool -n helm: %w", err)
	}
	return strings.TrimSpace(string(path)), nil
})

// root is the module's folder.
func root() string {
	_, self, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(self), "..", "..", "..")
}
