package kube

import (
	"context"
	_ "embed" // kwok's stages
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The annotation by which kwok knows the Kubernetes nodes that it simulates.
const (
	fakeNode      = "kwok.x-k8s.io/node"
	fakeNodeValue = "fake"
)

//go:embed stages.yaml
var stages []byte

// files has the configuration files of the components.
type files struct{ manager, scheduler, kwok, stages string }

const schedulerConfig = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {kubeconfig: %q, qps: 500, burst: 1000}
leaderElection: {leaderElect: false}
`

func (c *ControlPlane) writeConfigs() (f files, err error) {
	for name, to := range map[string]*string{"manager": &f.manager, "scheduler": &f.scheduler, "kwok": &f.kwok} {
		if *to, err = c.Kubeconfig(name, c.pki.config("https://"+c.api, name)); err != nil {
			return f, err
		}
	}
	config := fmt.Sprintf(schedulerConfig, f.scheduler)
	text := slices.Clone(stages)
	for _, port := range c.opts.Ports {
		text = fmt.Appendf(text, forwarded, port)
	}
	f.scheduler, f.stages = c.path("scheduler.yaml"), c.path("stages.yaml")
	if err := os.WriteFile(f.scheduler, []byte(config), 0o600); err != nil {
		return f, err
	}
	return f, os.WriteFile(f.stages, text, 0o600)
}

const forwarded = `---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterPortForward
metadata: {name: port-%[1]d}
spec: {forwards: [{ports: [%[1]d], target: {address: 127.0.0.1, port: %[1]d}}]}
`

// Kubelet makes a simulated Kubernetes node whose pods can be reached by a port-forward. The scheduler gives it
// no pod.
func (c *ControlPlane) Kubelet(ctx context.Context, name string) error {
	host, port, err := net.SplitHostPort(c.kwok)
	if err != nil {
		return err
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return err
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{fakeNode: fakeNodeValue}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "reachable", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{
			Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(number)}},
		},
	}
	if _, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make node %s: %w", name, err)
	}
	return nil
}

func writeKubeconfig(file string, cfg *rest.Config) error {
	const name = "bellboard"
	k := clientcmdapi.NewConfig()
	k.Clusters[name] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthorityData: cfg.CAData}
	k.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificate: cfg.CertFile, ClientKey: cfg.KeyFile, Token: cfg.BearerToken,
	}
	k.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	k.CurrentContext = name
	return clientcmd.WriteToFile(*k, file)
}

// makeNodes makes Kubernetes nodes with room for more than a test needs.
func (c *ControlPlane) makeNodes(ctx context.Context) error {
	room := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("4Ti"),
		corev1.ResourcePods: resource.MustParse("2000"),
	}
	for i := range c.opts.Nodes {
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{
				Name: "node-" + number(i+1), Annotations: map[string]string{fakeNode: fakeNodeValue},
				Labels: map[string]string{corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", corev1.LabelHostname: "node-" + number(i+1)},
			},
			Status: corev1.NodeStatus{Capacity: room, Allocatable: room},
		}
		if _, err := c.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); existed(err) != nil {
			return fmt.Errorf("make node %s: %w", node.Name, err)
		}
	}
	return nil
}
