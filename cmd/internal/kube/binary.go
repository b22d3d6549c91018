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

// Required is the variable that, set to 1, makes a missing binary an error. CI has built the binary, and a
// skipped test proves nothing.
const Required = "BELLBOARD_E2E"

// ErrNotBuilt says that there is no binary yet, and how to build one.
var ErrNotBuilt = errors.New("the Kubernetes binary is not built: run make kube")

// Binary returns the path of the control plane's binary, which deploy/kube/build makes, or ErrNotBuilt.
func Binary(ctx context.Context) (string, error) { return binary(ctx) }

// binary returns the path of a binary that the script builds.
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
