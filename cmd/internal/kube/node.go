package kube

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed" // a node's configuration
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The variables by which the sandbox says what a Kubernetes node may use (deploy/kube/node/sandbox).
const (
	nodeDir     = "BELLBOARD_NODE_DIR"
	nodeCgroup  = "BELLBOARD_NODE_CGROUP"
	nodeAddress = "BELLBOARD_NODE_ADDRESS"
)

// ErrNoSandbox says that a real Kubernetes node would change the computer on which it runs.
var ErrNoSandbox = errors.New("a real Kubernetes node runs in a sandbox only: run make e2e-node")

const containerdSocket = "/run/containerd.sock"

//go:embed containerd.toml
var containerdConfig string

//go:embed kubelet.yaml
var kubeletConfig string

//go:embed cni.json
var cniConfig string

// Node is a real Kubernetes node of a cluster: containerd and a kubelet, in a sandbox.
type Node struct {
	// Name is the name of the Kubernetes node.
	Name string
	// Address is the address at which its pods reach a server in the sandbox.
	Address string
	// Dir is a directory that ends with the sandbox.
	Dir string

	binary     string
	env        []string // the environment of kubectl
	containerd *process
	kubelet    *process
}

// StartNode starts a real Kubernetes node of that name, and returns when it is ready. The node has only the
// images that are imported. pause is the image, imported later, that keeps a pod's namespaces. Only a sandbox
// can have a node, and only one; otherwise the error is ErrNoSandbox. After an error nothing of the node
// runs.
func (c *ControlPlane) StartNode(ctx context.Context, name, pause string) (n *Node, err error) {
	n = &Node{Name: name, Address: os.Getenv(nodeAddress), Dir: os.Getenv(nodeDir)}
	cgroup := os.Getenv(nodeCgroup)
	if n.Address == "" || n.Dir == "" || cgroup == "" {
		return nil, ErrNoSandbox
	}
	if n.binary, err = binary(ctx, "node"); err != nil {
		return nil, err
	}
	plugin, err := exec.LookPath("host-local") // no other program has that name
	if err != nil {
		return nil, fmt.Errorf("the CNI plugins: %w", err)
	}
	defer func() {
		if err != nil {
			n.Stop()
		}
	}()
	if err = n.furnish(c); err != nil {
		return nil, err
	}
	user := "node-" + name
	err = c.pki.issue(user, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, err
	}
	kubeconfig, err := c.Kubeconfig(user, c.pki.config("https://"+c.api, user))
	if err != nil {
		return nil, err
	}
	config := map[string]string{
		"Dir": n.Dir, "Cgroup": cgroup, "Address": n.Address, "Socket": containerdSocket, "CA": c.pki.file("ca.crt"),
		"Pause": pause, "Plugins": filepath.Dir(plugin),
	}
	for file, text := range map[string]string{
		"containerd.toml": containerdConfig, "kubelet.yaml": kubeletConfig, "cni/house.conflist": cniConfig, "resolv.conf": "nameserver " + n.Address,
	} {
		if err := writeTemplate(n.path(file), text, config); err != nil {
			return nil, err
		}
	}
	n.containerd, err = startProcess("containerd", "containerd", []string{"--config", n.path("containerd.toml")}, n.path("containerd.log"))
	if err != nil {
		return nil, err
	}
	if err := c.until(ctx, "containerd answers", func() error {
		return errors.Join(n.containerd.ended(), n.ctr(ctx, "version").Run())
	}); err != nil {
		return nil, err
	}
	n.kubelet, err = startProcess("kubelet", n.binary, []string{
		"kubelet", "--config=" + n.path("kubelet.yaml"), "--kubeconfig=" + kubeconfig,
		"--hostname-override=" + name, "--node-ip=" + n.Address, "--root-dir=" + n.path("kubelet"), "--cert-dir=" + n.path("kubelet", "pki"), "--v=3",
	}, n.path("kubelet.log"))
	if err != nil {
		return nil, err
	}
	return n, c.until(ctx, "the node is ready", func() error {
		if err := n.kubelet.ended(); err != nil {
			return err
		}
		node, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, cond := range node.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status != corev1.ConditionTrue {
				return errors.New(cond.Message)
			} else if cond.Type == corev1.NodeReady {
				return nil
			}
		}
		return errors.New("the kubelet has not reported yet")
	})
}

// Import imports the images of a docker-archive.
func (n *Node) Import(ctx context.Context, archive io.Reader) error {
	cmd := n.ctr(ctx, "--namespace=k8s.io", "images", "import", "-")
	cmd.Stdin = archive
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ctr images import: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Command returns a command that finds kubectl, and runs as the cluster's administrator.
func (n *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...) //nolint:gosec // the test's own arguments
	cmd.Env = append(os.Environ(), n.env...)
	return cmd
}

// Kubectl returns a command of kubectl, of the cluster's own version.
func (n *Node) Kubectl(ctx context.Context, args ...string) *exec.Cmd {
	return n.Command(ctx, n.path("bin", "kubectl"), args...)
}

// furnish makes kubectl, its configuration and a home directory.
func (n *Node) furnish(c *ControlPlane) error {
	config, err := c.Kubeconfig("kubectl", c.admin)
	if err != nil {
		return err
	}
	n.env = []string{"PATH=" + n.path("bin") + ":" + os.Getenv("PATH"), "KUBECONFIG=" + config, "HOME=" + n.Dir}
	if err := os.MkdirAll(n.path("bin"), 0o700); err != nil {
		return err
	}
	return os.Symlink(n.binary, n.path("bin", "kubectl"))
}

// Stop ends the kubelet and containerd. Their containers end with the sandbox.
func (n *Node) Stop() {
	for _, p := range []*process{n.kubelet, n.containerd} {
		if p != nil {
			p.kill()
		}
	}
}

func (n *Node) ctr(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ctr", append([]string{"--address=" + containerdSocket}, args...)...) //nolint:gosec // the test's own arguments
}

func (n *Node) path(elem ...string) string {
	return filepath.Join(append([]string{n.Dir}, elem...)...)
}

func writeTemplate(file, text string, data map[string]string) error {
	t, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o600)
}
