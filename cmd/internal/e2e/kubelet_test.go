//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/retry"

	"bellboard/scaler/clock"
)

// kubelet runs the pods of one Kubernetes node, each as a process of the binary that ships. The process has
// the arguments, the variables, the files, the user and the service account's token that the pod's spec says,
// and sees no other files: its root is a directory of its own. A pod waits for a ConfigMap or Secret that is
// not there, is ready when its readiness probe says so, ends by SIGTERM, and starts again as its restart
// policy says. Anything else in a spec, such as a volume of another kind, fails the test.
//
// These things differ from a real kubelet: there is no image, and no network of a pod's own, so each process
// gets another BELLBOARD_LISTEN. KUBERNETES_SERVICE_HOST is the API server's own address. Files stay as they
// were at the start. Startup and liveness probes and limits of resources do nothing.
type kubelet struct {
	h    *home
	name string
	ctx  context.Context // ends with the test
	wg   sync.WaitGroup

	mu   sync.Mutex
	pods map[types.UID]*running
}

// running is a pod that the kubelet knows.
type running struct {
	name   string
	ctx    context.Context // ends when the pod is being deleted
	end    context.CancelFunc
	starts int
	said   logBook
}

// kubelet makes a Kubernetes node for the pods that tolerate its taint "e2e".
func (h *home) kubelet(name string) *kubelet {
	h.t.Helper()
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("8"), corev1.ResourceMemory: resource.MustParse("16Gi"), corev1.ResourcePods: resource.MustParse("20")}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "e2e", Effect: corev1.TaintEffectNoSchedule}}},
		Status:     corev1.NodeStatus{Capacity: room, Allocatable: room},
	}
	if _, err := h.k.CoreV1().Nodes().Create(h.t.Context(), node, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &kubelet{h: h, name: name, ctx: ctx, pods: map[types.UID]*running{}}
	its := cache.NewListWatchFromClient(h.k.CoreV1().RESTClient(), "pods", metav1.NamespaceAll, fields.OneTermEqualSelector("spec.nodeName", name))
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: its, ObjectType: &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { k.saw(o.(*corev1.Pod)) },
			UpdateFunc: func(_, o any) { k.saw(o.(*corev1.Pod)) },
		},
	})
	k.wg.Go(func() { informer.RunWithContext(ctx) })
	h.t.Cleanup(func() {
		cancel()
		k.wg.Wait()
		_ = h.k.CoreV1().Nodes().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	return k
}

// saw begins or ends the life of a pod.
func (k *kubelet) saw(pod *corev1.Pod) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.pods[pod.UID]
	if r == nil {
		r = &running{name: pod.Name}
		r.ctx, r.end = context.WithCancel(k.ctx)
		k.pods[pod.UID] = r
		k.wg.Go(func() {
			if err := k.live(pod.DeepCopy(), r); err != nil && k.ctx.Err() == nil {
				k.h.t.Errorf("pod %s: %v", pod.Name, err)
			}
		})
	}
	if pod.DeletionTimestamp != nil {
		r.end()
	}
}

// live runs a pod until the pod has ended, or is being deleted.
func (k *kubelet) live(pod *corev1.Pod, r *running) error {
	pods := k.h.k.CoreV1().Pods(pod.Namespace)
	dir, err := os.MkdirTemp("", "bellboard-pod-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var cmd *exec.Cmd
	for cmd == nil && r.ctx.Err() == nil {
		if cmd, err = k.container(r.ctx, pod, dir); notFound(err) != nil && r.ctx.Err() == nil {
			return err
		}
		_ = clock.Sleep(r.ctx, clock.Real(), 200*time.Millisecond) // a pod waits for what is not there
	}
	code := 0
	for r.ctx.Err() == nil {
		if code, err = k.process(pod, r, cmd); err != nil {
			return err
		}
		if p := pod.Spec.RestartPolicy; p == corev1.RestartPolicyNever || p == corev1.RestartPolicyOnFailure && code == 0 {
			break
		}
		_ = clock.Sleep(r.ctx, clock.Real(), time.Second)
	}
	if r.ctx.Err() == nil { // it has ended by itself
		phase := corev1.PodSucceeded
		if code != 0 {
			phase = corev1.PodFailed
		}
		if err := k.report(pod, phase, false, &corev1.ContainerStateTerminated{ExitCode: int32(code)}); err != nil {
			return err
		}
		<-r.ctx.Done()
	}
	return notFound(pods.Delete(k.ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0)), Preconditions: &metav1.Preconditions{UID: &pod.UID}}))
}

// container makes the root directory of the pod's container, and returns its process as it would be started.
func (k *kubelet) container(ctx context.Context, pod *corev1.Pod, in string) (*exec.Cmd, error) {
	binary, err := shipped()
	if err != nil {
		return nil, err
	}
	if len(pod.Spec.Containers) != 1 || len(pod.Spec.InitContainers) > 0 || pod.Spec.SecurityContext == nil || pod.Spec.SecurityContext.RunAsUser == nil {
		return nil, errors.New("not one container with a user")
	}
	c, user, root := pod.Spec.Containers[0], pod.Spec.SecurityContext, os.Geteuid() == 0
	if err := os.Chmod(in, 0o755); err != nil {
		return nil, err
	}
	if err := os.Link(binary, filepath.Join(in, "bellboard")); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	for _, m := range c.VolumeMounts {
		i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		files, mode, err := k.volume(ctx, pod, &pod.Spec.Volumes[i])
		if err != nil {
			return nil, err
		}
		dir := filepath.Join(in, m.MountPath)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		for name, text := range files {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, text, os.FileMode(mode)); err != nil {
				return nil, err
			}
			if err := os.Chown(file, -1, int(*user.FSGroup)); root && err != nil {
				return nil, err
			}
		}
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(k.h.plane.Admin().Host, "https://"))
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{Path: "/bellboard", Args: append([]string{"/bellboard"}, c.Args...), Dir: "/"}
	cmd.Env = []string{"HOSTNAME=" + pod.Name, "KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port}
	for _, from := range c.EnvFrom {
		of, err := k.h.k.CoreV1().ConfigMaps(pod.Namespace).Get(ctx, from.ConfigMapRef.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		for name, value := range of.Data {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom != nil {
			return nil, fmt.Errorf("the variable %s has no value of its own", e.Name)
		}
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot: in, Pdeathsig: syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: uint32(*user.RunAsUser), Gid: uint32(*user.RunAsGroup), Groups: []uint32{uint32(*user.FSGroup)}},
	}
	if !root { // a user namespace has the same user, who is this one outside
		cmd.SysProcAttr.Cloneflags, cmd.SysProcAttr.Credential.NoSetGroups = syscall.CLONE_NEWUSER, true
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: int(*user.RunAsUser), HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: int(*user.RunAsGroup), HostID: os.Getegid(), Size: 1}}
	}
	return cmd, nil
}

// volume returns the files of a volume, and their mode.
func (k *kubelet) volume(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (files map[string][]byte, mode int32, err error) {
	api := k.h.k.CoreV1()
	files = map[string][]byte{}
	configMap := func(name string, items []corev1.KeyToPath) error {
		of, err := api.ConfigMaps(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for key, text := range of.Data {
			if len(items) == 0 {
				files[key] = []byte(text)
			}
		}
		for _, item := range items {
			files[item.Path] = []byte(of.Data[item.Key])
		}
		return nil
	}
	switch {
	case v.Secret != nil:
		of, err := api.Secrets(pod.Namespace).Get(ctx, v.Secret.SecretName, metav1.GetOptions{})
		if err != nil {
			return nil, 0, err
		}
		return of.Data, *v.Secret.DefaultMode, nil
	case v.ConfigMap != nil:
		return files, *v.ConfigMap.DefaultMode, configMap(v.ConfigMap.Name, v.ConfigMap.Items)
	case v.Projected == nil:
		return nil, 0, fmt.Errorf("the volume %s is of another kind", v.Name)
	}
	for _, from := range v.Projected.Sources {
		switch {
		case from.ConfigMap != nil:
			err = configMap(from.ConfigMap.Name, from.ConfigMap.Items)
		case from.ServiceAccountToken != nil:
			var token *authenticationv1.TokenRequest
			token, err = api.ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
				ExpirationSeconds: from.ServiceAccountToken.ExpirationSeconds,
				BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
			}}, metav1.CreateOptions{})
			if err == nil {
				files[from.ServiceAccountToken.Path] = []byte(token.Status.Token)
			}
		case from.DownwardAPI != nil: // only the namespace is ever asked for
			files[from.DownwardAPI.Items[0].Path] = []byte(pod.Namespace)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return files, 0o640, nil // as the token's file has it for a pod with an fsGroup
}

// process runs the process until it ends, and returns its exit code. The deletion of the pod is SIGTERM, and
// SIGKILL after the grace period.
func (k *kubelet) process(pod *corev1.Pod, r *running, as *exec.Cmd) (code int, err error) {
	k.mu.Lock()
	r.starts++
	k.mu.Unlock()
	l, err := (&net.ListenConfig{}).Listen(k.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	listen := l.Addr().String()
	_ = l.Close()
	cmd := &exec.Cmd{
		Path: as.Path, Args: as.Args, Dir: as.Dir, SysProcAttr: as.SysProcAttr, Env: append(slices.Clone(as.Env), "BELLBOARD_LISTEN="+listen),
		Stdout: &r.said, Stderr: io.MultiWriter(&r.said, &k.h.said),
	}
	started, done := make(chan error), make(chan struct{})
	k.wg.Go(func() {
		runtime.LockOSThread() // the kernel kills the process with the thread that started it
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the exit code tells
		}
	})
	if err := <-started; err != nil {
		return 0, err
	}
	probe := pod.Spec.Containers[0].ReadinessProbe
	if err := k.report(pod, corev1.PodRunning, probe == nil, nil); err != nil {
		_ = cmd.Process.Kill()
		return 0, err
	}
	if probe != nil {
		k.wg.Go(func() { k.probe(pod, probe, "http://"+listen+probe.HTTPGet.Path, done) })
	}
	select {
	case <-done:
	case <-r.ctx.Done():
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended meanwhile
		select {
		case <-done:
		case <-time.After(time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second):
			k.h.t.Errorf("pod %s does not end in its grace period", pod.Name)
		case <-k.ctx.Done():
		}
		_ = cmd.Process.Kill()
		<-done
	}
	return cmd.ProcessState.ExitCode(), nil
}

// probe reports whether the pod is ready. It asks five times as often as the probe says, which only makes the
// test shorter.
func (k *kubelet) probe(pod *corev1.Pod, probe *corev1.Probe, url string, done <-chan struct{}) {
	was := false
	for {
		select {
		case <-done:
			return
		case <-time.After(time.Duration(probe.PeriodSeconds) * time.Second / 5):
		}
		resp, err := http.Get(url)
		if err == nil {
			_ = resp.Body.Close()
		}
		if is := err == nil && resp.StatusCode == http.StatusOK; is != was {
			was = is
			_ = k.report(pod, corev1.PodRunning, is, nil) // the pod may be gone
		}
	}
}

// report writes the status of a pod, if the pod is still there.
func (k *kubelet) report(pod *corev1.Pod, phase corev1.PodPhase, ready bool, end *corev1.ContainerStateTerminated) error {
	status, at := corev1.ConditionFalse, metav1.Now()
	if ready {
		status = corev1.ConditionTrue
	}
	state := corev1.ContainerState{Terminated: end}
	if end == nil {
		state.Running = &corev1.ContainerStateRunning{StartedAt: at}
	}
	pods, container := k.h.k.CoreV1().Pods(pod.Namespace), &pod.Spec.Containers[0]
	return notFound(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		now, err := pods.Get(k.ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now.Status.Phase = phase
		now.Status.Conditions = slices.DeleteFunc(now.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type != corev1.PodScheduled })
		for _, of := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
			now.Status.Conditions = append(now.Status.Conditions, corev1.PodCondition{Type: of, Status: status, LastTransitionTime: at})
		}
		now.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: container.Name, Image: container.Image, Ready: ready, State: state}}
		_, err = pods.UpdateStatus(k.ctx, now, metav1.UpdateOptions{})
		return err
	}))
}

// said returns what the processes of pods whose names begin so have said, and how often they were started.
func (k *kubelet) said(name string) (all string, starts int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.pods {
		if strings.HasPrefix(r.name, name) {
			r.said.mu.Lock()
			all += r.said.all.String()
			r.said.mu.Unlock()
			starts += r.starts
		}
	}
	return all, starts
}
