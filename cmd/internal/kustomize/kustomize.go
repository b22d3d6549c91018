// Package kustomize builds the set-ups in deploy/kustomize with Kustomize itself, as kubectl apply -k does.
// It returns the objects as kubectl would apply them, or Kustomize's own error. It applies nothing. Only
// tests use it.
package kustomize

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

// folder is the folder of the set-ups, from the module's root.
const folder = "deploy/kustomize"

// SetUps lists the folders that can be applied, one for each way to run agents.
func SetUps() []string {
	return []string{"host-docker", "websocket", "tcp", "ssh", "dind", "swarm", "swarm-dind"}
}

// Build returns the objects of a set-up, as YAML documents. Build needs the go command, which makes Kustomize
// from go.tools.mod the first time.
func Build(ctx context.Context, setUp string) ([]byte, error) {
	path, err := newest()
	if err != nil {
		return nil, err
	}
	return build(ctx, setUp, path)
}

// newest returns the path of Kustomize. It asks the go command once, which would cost as much as Kustomize.
var newest = sync.OnceValues(func() (string, error) {
	cmd := exec.Command("go", "tool", "-modfile=go.tools.mod", "-n", "kustomize") // every caller waits for it
	cmd.Dir, cmd.Stderr = root(), os.Stderr
	path, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool -n kustomize: %w", err)
	}
	return strings.TrimSpace(string(path)), nil
})

// root is the module's folder.
func root() string {
	_, self, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(self), "..", "..", "..")
}

// build builds a set-up with the Kustomize of that path.
func build(ctx context.Context, setUp, kustomize string) ([]byte, error) {
	var out, words bytes.Buffer
	cmd := exec.CommandContext(ctx, kustomize, "build", folder+"/"+setUp) //nolint:gosec // a folder's name, as an argument
	cmd.Dir, cmd.Stdout, cmd.Stderr = root(), &out, &words
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("set-up %s: %w: %s", setUp, err, bytes.TrimSpace(words.Bytes()))
	}
	return out.Bytes(), nil
}
