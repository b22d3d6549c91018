// Package kustomize builds the set-ups in deploy/kustomize with Kustomize itself, as kubectl apply -k does.
// It returns the objects as kubectl would apply them, or Kustomize's own error. It applies nothing. Only
// tests use it.
package kustomize

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
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
	return build(ctx, setUp, "go", "tool", "-modfile=go.tools.mod", "kustomize")
}

// build builds a set-up with a command that is a Kustomize.
func build(ctx context.Context, setUp string, command ...string) ([]byte, error) {
	_, self, _, ok := runtime.Caller(0)
	if !ok {
		return nil, fmt.Errorf("set-up %s: the folder of this package is not known", setUp)
	}
	var out, words bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], "build", folder+"/"+setUp)...) //nolint:gosec // a folder's name, as an argument
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(filepath.Dir(self), "..", "..", ".."), &out, &words
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("set-up %s: %w: %s", setUp, err, bytes.TrimSpace(words.Bytes()))
	}
	return out.Bytes(), nil
}
