//go:build e2e

package e2e

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/chart"
	"bellboard/deploy/manifest"
	"bellboard/queue/jenkinssim"
)

// person is the name of the ServiceAccount of somebody with a kubeconfig, who has no right of Bellboard's.
const person = "person"

// reader gives the person what the chart gives readers.
func (h *home) reader() {
	h.t.Helper()
	text, err := chart.Render(h.t.Context(), "--values", chart.Example("first"), "--namespace", h.ns, "--show-only", "templates/rbac.yaml",
		"--set", "readers[0].kind=ServiceAccount,readers[0].name="+person+",readers[0].namespace="+h.ns)
	if err != nil {
		h.t.Fatal(err)
	}
	objects, err := manifest.Objects(text)
	if err != nil {
		h.t.Fatal(err)
	}
	made := 0
	for _, o := range objects {
		var err error
		switch o := o.(type) {
		case *rbacv1.Role:
			if o.Name != "bellboard-reader" {
				continue
			}
			_, err = h.k.RbacV1().Roles(h.ns).Create(h.t.Context(), o, metav1.CreateOptions{})
		case *rbacv1.RoleBinding:
			if o.Name != "bellboard-reader" {
				continue
			}
			_, err = h.k.RbacV1().RoleBindings(h.ns).Create(h.t.Context(), o, metav1.CreateOptions{})
		default:
			continue
		}
		if made++; err != nil {
			h.t.Fatal(err)
		}
	}
	if made != 2 {
		h.t.Fatalf("the chart makes %d objects for readers, want a Role and its binding", made)
	}
}

// ask runs the binary as that person, on a terminal of 200 columns.
func (h *home) ask(args ...string) (stdout, stderr string, code int) {
	h.t.Helper()
	cfg, err := h.plane.For(h.t.Context(), h.ns, person)
	if err != nil {
		h.t.Fatal(err)
	}
	kubeconfig, err := h.plane.Kubeconfig(h.ns+"-"+person, cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	binary, err := shipped()
	if err != nil {
		h.t.Fatal(err)
	}
	var out, errs strings.Builder
	cmd := exec.Command(binary, append([]string{args[0], "--namespace", h.ns, "--instance", h.ns}, args[1:]...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + h.t.TempDir(), "COLUMNS=200"}, &out, &errs
	_ = cmd.Run() // its code tells
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestStatusAndWhy asks two replicas from outside of the cluster, with the rights of the chart's readers and
// through the API server: whichever leads answers, also after the other has died.
func TestStatusAndWhy(t *testing.T) {
	t.Parallel()
	h := newHome(t, "terminal", rights(t))
	ctx := t.Context()
	if err := h.plane.Kubelet(ctx, "reachable"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.k.CoreV1().Nodes().Delete(context.Background(), "reachable", metav1.DeleteOptions{}) })
	if _, err := h.k.CoreV1().ServiceAccounts(h.ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: person}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var replicas []*daemon
	for i, name := range []string{"bellboard-6d5f8c9b7-aaaaa", "bellboard-6d5f8c9b7-bbbbb"} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			NodeName: "reachable",
			Containers: []corev1.Container{
				{Name: "sidecar", Image: "a", Ports: []corev1.ContainerPort{{ContainerPort: 9}}},
				{Name: "bellboard", Image: "a", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: int32(reachable[i].Addr().(*net.TCPAddr).Port)}}},
			},
		}}
		if _, err := h.k.CoreV1().Pods(h.ns).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		h.await(name+" runs", func() bool {
			p, err := h.k.CoreV1().Pods(h.ns).Get(ctx, name, metav1.GetOptions{})
			return err == nil && p.Status.Phase == corev1.PodRunning
		})
		d := h.start(func(p *app.Parts) { p.Identity, p.Listener = name+"_0b5e", reachable[i] })
		replicas = append(replicas, d)
		role := []string{"leader", "standby"}[i]
		h.await(name+" is the "+role, func() bool { return d.app.Replica().Role == role })
	}
	h.jenkins.Submit(jenkinssim.Job{Name: "legacy", Label: "windows && gpu"})

	if _, stderr, code := h.ask("status"); code != 1 || !strings.Contains(stderr, "ask for the Role of the chart's readers in terminal") {
		t.Errorf("without any right: %d, %s", code, stderr)
	}
	h.reader()
	var stdout, stderr string
	var code int
	defer func() {
		if t.Failed() {
			t.Logf("the last answer: %d, %q, saying %q", code, stdout, stderr)
		}
	}()
	for i, lead := range []string{"bellboard-6d5f8c9b7-aaaaa", "bellboard-6d5f8c9b7-bbbbb"} {
		leads := "Bellboard terminal, leader " + lead + "_0b5e, "
		h.await(lead+" answers status", func() bool {
			stdout, stderr, code = h.ask("status")
			return code == 0 && strings.Contains(stdout, leads) && strings.Contains(stdout, "no team serves ‘windows&&gpu’ (jobs: legacy)")
		})
		if stdout, stderr, code = h.ask("why", "legacy"); code != 0 || !strings.Contains(stdout, leads) || !strings.Contains(stdout, "1 build of legacy waits for ‘windows&&gpu’") || !strings.Contains(stdout, "  To serve it: give a team all of these labels") {
			t.Errorf("why legacy = %d, %q, saying %q", code, stdout, stderr)
		}
		if stdout, stderr, code = h.ask("status", "data"); code != 0 || !strings.Contains(stdout, "\ndata: waiting 0, oldest - · busy 0") {
			t.Errorf("status data = %d, %q, saying %q", code, stdout, stderr)
		}
		if i == 0 {
			replicas[0].kill()
			h.await("the other leads", func() bool { return replicas[1].app.Replica().Role == "leader" })
		}
	}
	if _, stderr, code := h.ask("status", "--instance", "another"); code != 1 || !strings.Contains(stderr, "no Lease bellboard-another in namespace terminal") {
		t.Errorf("another instance: %d, %s", code, stderr)
	}
	replicas[1].kill()
}
