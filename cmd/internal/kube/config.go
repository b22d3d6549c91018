package kube

import (
	"context"
	_ "embed" // kwok's stages
	"fmt"
	"os"

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
	f.scheduler, f.stages = c.path("scheduler.yaml"), c.path("stages.yaml")
	if err := os.WriteFile(f.scheduler, []byte(config), 0o600); err != nil {
		return f, err
	}
	return f, os.WriteFile(f.stages, stages, 0o600)
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
