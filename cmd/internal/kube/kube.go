// Package kube runs a real Kubernetes control plane on loopback: etcd, kube-apiserver with RBAC and Pod
// Security admission, kube-controller-manager, kube-scheduler, and kwok, which simulates the Kubernetes
// nodes. Bellboard's end-to-end tests run against that control plane. Everything is one binary, which
// deploy/kube/build makes. In a sandbox (deploy/kube/node/sandbox) the package also runs a real Kubernetes
// node: containerd and a kubelet.
//
// Each Start has its own cluster, with certificates, ports and data in one directory. The components end with
// the process that started them, however that process ends. Stop leaves nothing; what a real Kubernetes node
// leaves ends with its sandbox. The package never downloads or builds anything, and never listens beyond
// loopback or the sandbox. No daemon imports it.
package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// startLimit is the time that each component may take to be ready, on a computer that does other things, too.
const startLimit = 2 * time.Minute

// Options has the options of Start. The zero value is usable.
type Options struct {
	// Binary is the path of the binary that deploy/kube/build makes; empty is the path where that script puts
	// it.
	Binary string
	// Nodes is the number of simulated Kubernetes nodes; 0 means 4, a negative number means none.
	Nodes int
	// Ports are ports of the pods of simulated Kubernetes nodes. kwok forwards a port-forward to such a port to
	// the same port on loopback, of whatever pod, if the Kubernetes node says where its kubelet is (Kubelet).
	Ports []int
	// Dir has the cluster's files and the components' logs; empty is a directory that Stop removes.
	Dir string
}

// ControlPlane is a running cluster.
type ControlPlane struct {
	opts   Options
	pki    *pki
	admin  *rest.Config
	client kubernetes.Interface
	api    string // its address
	etcd   string
	kwok   string // the address of the kubelet of simulated Kubernetes nodes

	store       *process // etcd
	apiserver   *process
	controllers []*process // and scheduler, and kwok
}

// Start starts a cluster, and returns when the cluster schedules pods. After an error nothing of the cluster
// runs.
func Start(ctx context.Context, opts Options) (c *ControlPlane, err error) {
	if opts.Binary == "" {
		if opts.Binary, err = Binary(ctx); err != nil {
			return nil, err
		}
	}
	if opts.Nodes == 0 {
		opts.Nodes = 4
	}
	c = &ControlPlane{opts: opts}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	if c.opts.Dir == "" {
		if c.opts.Dir, err = os.MkdirTemp("", "bellboard-kube-"); err != nil {
			return c, err
		}
	}
	if c.pki, err = newPKI(c.path("pki")); err != nil {
		return c, err
	}
	if c.etcd, err = freeAddress(ctx); err != nil {
		return c, err
	}
	if c.api, err = freeAddress(ctx); err != nil {
		return c, err
	}
	c.admin = c.pki.config("https://"+c.api, "admin")
	if c.client, err = kubernetes.NewForConfig(c.admin); err != nil {
		return c, err
	}
	if err = c.startEtcd(); err != nil {
		return c, err
	}
	if err = c.StartAPIServer(ctx); err != nil {
		return c, err
	}
	if err = c.makeNodes(ctx); err != nil {
		return c, err
	}
	return c, c.until(ctx, "the controllers work", func() error {
		_, err := c.client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// Admin returns the configuration of a user who may do everything.
func (c *ControlPlane) Admin() *rest.Config { return rest.CopyConfig(c.admin) }

// Client returns a client for Admin.
func (c *ControlPlane) Client() kubernetes.Interface { return c.client }

// For returns the configuration of a ServiceAccount that exists, as a pod of that account has it, with a
// token for an hour.
func (c *ControlPlane) For(ctx context.Context, namespace, serviceAccount string) (*rest.Config, error) {
	hour := int64(time.Hour / time.Second)
	token, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, serviceAccount,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("a token for %s/%s: %w", namespace, serviceAccount, err)
	}
	return &rest.Config{
		Host: c.admin.Host, BearerToken: token.Status.Token,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.pki.caPEM},
	}, nil
}

// Kubeconfig writes a configuration to a file, for KUBECONFIG.
func (c *ControlPlane) Kubeconfig(name string, cfg *rest.Config) (string, error) {
	file := c.path(name + ".kubeconfig")
	return file, writeKubeconfig(file, cfg)
}

// Pids returns the process ids of the components by name.
func (c *ControlPlane) Pids() map[string]int {
	out := map[string]int{}
	for _, p := range c.processes() {
		out[p.name] = p.pid
	}
	return out
}

func (c *ControlPlane) processes() []*process {
	var out []*process
	for _, p := range append([]*process{c.store, c.apiserver}, c.controllers...) {
		if p != nil {
			out = append(out, p)
		}
	}
	return out
}

// Stop ends the cluster and, unless Dir was given, removes its files.
func (c *ControlPlane) Stop() error {
	for _, p := range c.processes() {
		p.kill()
	}
	c.store, c.apiserver, c.controllers = nil, nil, nil
	if filepath.Base(c.opts.Dir) == "." || c.keeps() {
		return nil
	}
	return os.RemoveAll(c.opts.Dir)
}

// keeps reports whether the files stay, for a person who wants to read the logs.
func (c *ControlPlane) keeps() bool { return os.Getenv("BELLBOARD_KUBE_KEEP") != "" }

// StopAPIServer ends the API server as a crash does: every connection breaks, and the stored objects stay.
// The controllers end with the API server. A controller that is still starting would otherwise give up when
// the next API server answers it before that API server knows the permissions.
func (c *ControlPlane) StopAPIServer() {
	for _, p := range c.controllers {
		p.kill()
	}
	c.controllers = nil
	if c.apiserver != nil {
		c.apiserver.kill()
		c.apiserver = nil
	}
}

// StartAPIServer starts the API server on the same address, and returns when it is ready. The controllers
// start again with it: otherwise each would wait for up to half a minute before it looks for the API server
// again.
func (c *ControlPlane) StartAPIServer(ctx context.Context) error {
	host, port, err := net.SplitHostPort(c.api)
	if err != nil {
		return err
	}
	c.apiserver, err = c.start("kube-apiserver",
		"--etcd-servers=http://"+c.etcd,
		"--bind-address="+host, "--secure-port="+port, "--advertise-address="+host, "--endpoint-reconciler-type=none",
		"--tls-cert-file="+c.pki.file("apiserver.crt"), "--tls-private-key-file="+c.pki.file("apiserver.key"),
		"--client-ca-file="+c.pki.file("ca.crt"),
		"--service-account-key-file="+c.pki.file("sa.pub"), "--service-account-signing-key-file="+c.pki.file("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--authorization-mode=Node,RBAC",
		// No kubelet reports, so no Kubernetes node would ever lose the taint that this plugin adds.
		"--enable-admission-plugins=NodeRestriction", "--disable-admission-plugins=TaintNodesByCondition",
		"--allow-privileged=true",
		// The API server asks a real kubelet for a container's log with these.
		"--kubelet-client-certificate="+c.pki.file("admin.crt"), "--kubelet-client-key="+c.pki.file("admin.key"),
		"--kubelet-preferred-address-types=InternalIP",
	)
	if err != nil {
		return err
	}
	err = c.until(ctx, "kube-apiserver is ready", func() error {
		_, err := c.client.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err
	})
	if err != nil {
		return err
	}
	return c.startControllers(ctx)
}

// RestartAPIServer ends the API server as a crash does, and starts it again.
func (c *ControlPlane) RestartAPIServer(ctx context.Context) error {
	c.StopAPIServer()
	return c.StartAPIServer(ctx)
}

func (c *ControlPlane) startEtcd() error {
	p, err := c.start("etcd",
		"--data-dir="+c.path("etcd"), "--listen-client-urls=http://"+c.etcd, "--advertise-client-urls=http://"+c.etcd,
		"--listen-peer-urls=http://127.0.0.1:0", "--log-level=warn",
		"--unsafe-no-fsync", // no data have to survive the computer
	)
	if err != nil {
		return err
	}
	c.store = p
	return nil
}

func (c *ControlPlane) startControllers(ctx context.Context) error {
	files, err := c.writeConfigs()
	if err != nil {
		return err
	}
	components := [][]string{
		{
			"kube-controller-manager", "--kubeconfig=" + files.manager, "--secure-port=0", "--leader-elect=false",
			"--use-service-account-credentials=true", "--service-account-private-key-file=" + c.pki.file("sa.key"),
			"--root-ca-file=" + c.pki.file("ca.crt"), "--kube-api-qps=500", "--kube-api-burst=1000",
			"--controllers=garbage-collector-controller,pod-garbage-collector-controller,namespace-controller," +
				"resourcequota-controller,serviceaccount-controller,root-ca-certificate-publisher-controller,disruption-controller," +
				"taint-eviction-controller,daemonset-controller," + // gives the controller before it its index of pods
				"deployment-controller,replicaset-controller,job-controller," +
				"persistentvolume-binder-controller,persistentvolumeclaim-protection-controller,persistentvolume-protection-controller",
			"--pvclaimbinder-sync-period=2s", "--min-resync-period=1m",
		},
		{"kube-scheduler", "--config=" + files.scheduler, "--secure-port=0"},
		{
			"kwok", "--kubeconfig=" + files.kwok, "--config=" + files.stages, "--node-lease-duration-seconds=0",
			"--manage-nodes-with-annotation-selector=" + fakeNode + "=" + fakeNodeValue, "--cidr=10.64.0.1/16",
		},
	}
	if len(c.opts.Ports) > 0 {
		// It listens only if a test needs that: another process may take the address before kwok does.
		var err error
		if c.kwok, err = freeAddress(ctx); err != nil {
			return err
		}
		kwok := &components[len(components)-1]
		*kwok = append(*kwok, "--server-address="+c.kwok, "--tls-cert-file="+c.pki.file("apiserver.crt"), "--tls-private-key-file="+c.pki.file("apiserver.key"))
	}
	for _, args := range components {
		p, err := c.start(args[0], args[1:]...)
		if err != nil {
			return err
		}
		c.controllers = append(c.controllers, p)
	}
	return nil
}

// start starts one component. Its output goes to a file of its name.
func (c *ControlPlane) start(name string, args ...string) (*process, error) {
	return startProcess(name, c.opts.Binary, append([]string{name}, args...), c.path(name+".log"))
}

func (c *ControlPlane) path(elem ...string) string {
	return filepath.Join(append([]string{c.opts.Dir}, elem...)...)
}

// until calls a function until there is no error. After too long its error names what it waited for.
func (c *ControlPlane) until(ctx context.Context, what string, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		for _, p := range c.processes() {
			if gone := p.ended(); gone != nil {
				return gone
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freeAddress returns a loopback address that was free a moment ago.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// existed drops the error of a creation if the object exists already.
func existed(err error) error {
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func number(i int) string { return strconv.Itoa(i) }
