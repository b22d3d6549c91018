package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// Remote is the HTTP port of a Bellboard that runs elsewhere.
type Remote struct {
	url  string
	name string // of the pod, or the address
	stop func()
}

// answerLimit is how long an answer of a Bellboard may take.
const answerLimit = 15 * time.Second

// At returns the Bellboard at an address that people gave.
func At(address string) (*Remote, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("--url %q is no address; write it as in http://localhost:8080", address)
	}
	return &Remote{url: strings.TrimSuffix(u.String(), "/"), name: u.Redacted(), stop: func() {}}, nil
}

// Leader finds the replica that leads the instance by its Lease, in the first of the namespaces that has it,
// and reaches the HTTP port of that replica's pod through the API server. Close ends that.
func Leader(ctx context.Context, kube *rest.Config, instance string, namespaces ...string) (*Remote, error) {
	kube = rest.CopyConfig(kube)
	kube.Timeout = answerLimit
	client, err := kubernetes.NewForConfig(kube)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	namespace, pod, err := leaderPod(ctx, client, instance, namespaces)
	if err != nil {
		return nil, err
	}
	port, err := httpPort(pod)
	if err != nil {
		return nil, err
	}
	to := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod.Name).SubResource("portforward").URL()
	dialer, err := dialer(kube, to)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	ready, ended := make(chan struct{}), make(chan error, 1)
	forward, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, ready, io.Discard, io.Discard)
	if err != nil {
		stop()
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	go func() { ended <- forward.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		stop()
		return nil, reaching(fmt.Sprintf("the pod %s/%s, which leads, by a port-forward", namespace, pod.Name), namespace, cmp.Or(err, errors.New("interrupted")))
	}
	ports, err := forward.GetPorts()
	if err != nil {
		stop()
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	return &Remote{url: fmt.Sprintf("http://127.0.0.1:%d", ports[0].Local), name: "pod " + namespace + "/" + pod.Name, stop: stop}, nil
}

// leaderPod returns the pod of the replica that holds the Lease.
func leaderPod(ctx context.Context, client kubernetes.Interface, instance string, namespaces []string) (string, *corev1.Pod, error) {
	for i, namespace := range namespaces {
		lease, err := client.CoordinationV1().Leases(namespace).Get(ctx, leaseName(instance), metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err) && i+1 < len(namespaces):
			continue
		case err != nil:
			return "", nil, reaching("the Lease "+namespace+"/"+leaseName(instance), namespace, err)
		}
		holder := resourcelock.LeaseSpecToLeaderElectionRecord(&lease.Spec).HolderIdentity
		if holder == "" {
			return "", nil, fmt.Errorf("no replica leads: nobody holds the Lease %s/%s; see kubectl -n %s get pods", namespace, lease.Name, namespace)
		}
		name := holder[:max(0, strings.LastIndex(holder, "_"))] // newLease adds a number to the name of the host, which is the pod's
		pod, err := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || name == "" {
			return "", nil, fmt.Errorf("the leader is %s, and namespace %s has no such pod; if the leader runs elsewhere, give its address by --url", holder, namespace)
		}
		if err != nil {
			return "", nil, reaching("the pod "+namespace+"/"+name+", which leads", namespace, err)
		}
		return namespace, pod, nil
	}
	return "", nil, fmt.Errorf("there is no Lease %s in namespace %s; name Bellboard's own namespace by --namespace and its BELLBOARD_INSTANCE by --instance, or give the address of a Bellboard without a Lease by --url",
		leaseName(instance), strings.Join(namespaces, " or "))
}

// reaching adds to an error of the API server which rights a person needs.
func reaching(what, namespace string, err error) error {
	if apierrors.IsForbidden(err) || strings.Contains(err.Error(), "forbidden") { // an upgrade has only a text
		return fmt.Errorf("you may not reach %s: %w; ask for the Role of the chart's readers in %s (docs/page.md)", what, err, namespace)
	}
	return fmt.Errorf("cannot reach %s: %w", what, err)
}

// httpPort returns the port that the pod serves its page on: the one with the name http, or its only one.
func httpPort(pod *corev1.Pod) (int32, error) {
	var all []corev1.ContainerPort
	for i := range pod.Spec.Containers {
		all = append(all, pod.Spec.Containers[i].Ports...)
	}
	for _, p := range all {
		if p.Name == "http" || len(all) == 1 {
			return p.ContainerPort, nil
		}
	}
	return 0, fmt.Errorf("the pod %s/%s, which leads, names no port http; name BELLBOARD_LISTEN's port so in its manifest, or give its address by --url", pod.Namespace, pod.Name)
}

// dialer returns what opens a port-forward: as kubectl does, by a WebSocket, or by SPDY if the API server is
// older than 1.31 or a proxy is in the way.
func dialer(kube *rest.Config, to *url.URL) (httpstream.Dialer, error) {
	transport, upgrader, err := spdy.RoundTripperFor(kube)
	if err != nil {
		return nil, err
	}
	older := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, to)
	socket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(to, kube)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(socket, older, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// Close ends the way to the Bellboard.
func (r *Remote) Close() { r.stop() }

// Get returns the answer for a path.
func (r *Remote) Get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	ask, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(ask)
	if err != nil {
		return nil, fmt.Errorf("the Bellboard at %s does not answer: %w", r.name, errors.Unwrap(err)) // without the request's address
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the Bellboard at %s does not answer in full: %w", r.name, err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the Bellboard at %s answers %s: %s", r.name, resp.Status, strings.TrimSpace(string(body[:min(len(body), 500)])))
	}
	return body, nil
}
