//go:build e2enode

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"bellboard/cmd/internal/kube"
	"bellboard/pool"
)

// rootfs is the variable with the path of the file system of all images (deploy/kube/node/rootfs).
const rootfs = "BELLBOARD_NODE_ROOTFS"

// machineName is the name of the real Kubernetes node.
const machineName = "machine"

// One cluster with one real Kubernetes node serves all tests. Each test has its own namespace.
var cluster struct {
	once sync.Once
	*kube.ControlPlane
	node *kube.Node
	err  error
}

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == agentName {
		os.Exit(agent())
	}
	code := m.Run()
	if cluster.node != nil {
		cluster.node.Stop()
	}
	if cluster.ControlPlane != nil {
		if err := cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// machine returns the real Kubernetes node, which the first call starts. Outside of a sandbox the test is
// skipped, unless it is required.
func machine(t *testing.T) *kube.Node {
	t.Helper()
	cluster.once.Do(func() { cluster.err = startMachine(t) })
	if errors.Is(cluster.err, kube.ErrNoSandbox) && os.Getenv(kube.Required) != "1" {
		t.Skip(cluster.err)
	}
	if cluster.err != nil {
		t.Fatal(cluster.err)
	}
	return cluster.node
}

func startMachine(t *testing.T) (err error) {
	if os.Getenv(rootfs) == "" {
		return kube.ErrNoSandbox
	}
	ctx, began := context.Background(), time.Now()
	if cluster.ControlPlane, err = kube.Start(ctx, kube.Options{Nodes: -1}); err != nil {
		return err
	}
	if cluster.node, err = cluster.StartNode(ctx, machineName, pauseImage); err != nil {
		return err
	}
	t.Logf("a control plane and a real node after %s", time.Since(began).Round(100*time.Millisecond))
	began = time.Now()
	layer := filepath.Join(cluster.node.Dir, "agent.tar")
	if err := writeAgentLayer(layer); err != nil {
		return err
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	docker := imageConfig{Entrypoint: []string{"dockerd-entrypoint.sh"}, Env: env}
	inbound := imageConfig{Entrypoint: []string{agentName}, Env: append(env, "HOME=/home/jenkins"), User: "1000"}
	images := map[string]imageConfig{
		pauseImage:                       {Entrypoint: []string{"sleep", "infinity"}, Env: env},
		agentImage:                       inbound,
		"docker.io/" + pool.DefaultImage: inbound,
		"docker.io/library/" + pool.DefaultDindImage:      docker,
		"docker.io/library/" + pool.DefaultDockerCLIImage: docker,
	}
	maps.Copy(images, illImages(env))
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(writeImages(w, []string{os.Getenv(rootfs), layer}, images)) }()
	if err := cluster.node.Import(ctx, r); err != nil {
		return err
	}
	t.Logf("its images after %s more", time.Since(began).Round(100*time.Millisecond))
	return nil
}
