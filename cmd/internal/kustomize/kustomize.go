// Package kustomize builds the set-ups in deploy/kustomize with Kustomize itself,
// as kubectl apply -k would. It promises the objects as they would be
// applied, or Kustomize's own error; only tests use it, and it applies nothing.
package kustomize

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
)

// folder is where the set-ups are, from the module's root.
const folder = "deploy/kustomize"

// SetUps are the folders that can be applied, one for each way to run agents.
func SetUps() []string {
	return []string{"host-docker", "websocket", "tcp", "ssh", "dind", "swarm", "swarm-dind"}
}

// Build is a set-up's objects, in YAML, a document each. It needs the go command,
// which makes Kustomize out of go.tools.mod the first time.
func Build(ctx context.Context, setUp string) ([]byte, error) {
	return build(ctx, setUp, "go", "tool", "-modfile=go.tools.mod", "kustomize")
}

// build has a command that is a Kustomize build a set-up.
func build(ctx context.Context, setUp string, command ...string) ([]byte, error) {
	_, self, _, ok := runtime.Caller(0)
	if !ok {
		return nil, fmt.Errorf("set-up %s: where this package's folder is cannot be told", setUp)
	}
	var out, words bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], "build", folder+"/"+setUp)...) //nolint:gosec // a folder's name, as an argument
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(filepath.Dir(self), "..", "..", ".."), &out, &words
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("set-up %s: %w: %s", setUp, err, bytes.TrimSpace(words.Bytes()))
	}
	return out.Bytes(), nil
}
