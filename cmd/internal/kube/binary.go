package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Required is the variable that, set to 1, makes a missing binary an error: CI has
// built it, and a test that did not run is not one that passed.
const Required = "BELLBOARD_E2E"

// ErrNotBuilt says that there is no binary yet, and how to make one.
var ErrNotBuilt = errors.New("the Kubernetes binary is not built: run make kube")

// Binary is where deploy/kube/build puts the control plane's binary, or ErrNotBuilt.
func Binary(ctx context.Context) (string, error) { return binary(ctx) }

// binary is where the script puts what it is told to build.
func binary(ctx context.Context, what ...string) (string, error) {
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("built without the paths of its sources")
	}
	script := filepath.Join(filepath.Dir(here), "..", "..", "..", "deploy", "kube", "build")
	out, err := exec.CommandContext(ctx, script, append([]string{"--path"}, what...)...).Output() //nolint:gosec // a file of this repository
	if err != nil {
		return "", fmt.Errorf("%s --path: %w", script, err)
	}
	path := strings.TrimSpace(string(out))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w (%s)", ErrNotBuilt, path)
	}
	return path, nil
}
