package kubesim

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestFaults: each fault shows the statuses that a kubelet writes. A pod that waits goes on
// when the fault is over.
func TestFaults(t *testing.T) {
	waits := func(list []corev1.ContainerStatus) string {
		if len(list) == 0 || list[0].State.Waiting == nil {
			return ""
		}
		return list[0].State.Waiting.Reason
	}
	for _, tt := range []struct {
		fault Fault
		shows func(p *corev1.Pod) bool
		heals bool
	}{
		{Rejected, func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodFailed && p.Status.Reason == "NodeAffinity" && len(p.Status.ContainerStatuses) == 0
		}, false},
		{NoMount, func(p *corev1.Pod) bool {
			c := condition(p, corev1.PodReadyToStartContainers)
			return c != nil && c.Status == corev1.ConditionFalse && waits(p.Status.InitContainerStatuses) == "PodInitializing" && p.Status.StartTime != nil
		}, true},
		{ImageName, func(p *corev1.Pod) bool { return waits(p.Status.ContainerStatuses) == "InvalidImageName" }, true},
		{NoConfig, func(p *corev1.Pod) bool { return waits(p.Status.ContainerStatuses) == "CreateContainerConfigError" }, true},
		{SidecarCrash, func(p *corev1.Pod) bool {
			if waits(p.Status.InitContainerStatuses) != "CrashLoopBackOff" {
				return false
			}
			s := p.Status.InitContainerStatuses[0]
			return s.RestartCount == 2 && s.LastTerminationState.Terminated.ExitCode == 1 && condition(p, corev1.PodInitialized).Status == corev1.ConditionFalse
		}, true},
		{Crash, func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodFailed && p.Status.Reason == "" && p.Status.ContainerStatuses[0].State.Terminated.Reason == "Error"
		}, false},
		{OutOfMemory, func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodFailed && p.Status.ContainerStatuses[0].State.Terminated.Reason == "OOMKilled" && p.Status.ContainerStatuses[0].State.Terminated.ExitCode == 137
		}, false},
	} {
		t.Run(string(tt.fault), func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
				c.Spoil(func(p *corev1.Pod) Fault {
					if p.Name == "a" {
						return tt.fault
					}
					return NoFault
				})
				create(t, k, withSidecar(agent("a")))
				create(t, k, withSidecar(agent("b")))
				until(t, time.Minute, func() bool { return tt.shows(must(t, k, "a")) })
				until(t, time.Minute, running(c, "b"))
				c.Spoil(nil)
				if tt.heals {
					until(t, 2*time.Minute, running(c, "a"))
				}
			})
		})
	}
}

// TestACrashEndsTheProcess: the process in a spoiled pod is told to end.
func TestACrashEndsTheProcess(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		j := &journal{}
		c.SetKubelet(j)
		c.Spoil(func(*corev1.Pod) Fault { return Crash })
		create(t, k, agent("a"))
		until(t, time.Minute, func() bool { return c.Pod(ns, "a").Status.Phase == corev1.PodFailed })
		synctest.Wait()
		if got := fmt.Sprint(j.all()); got != "[started a terminate a by itself]" {
			t.Errorf("the kubelet was told %v", got)
		}
	})
}

// TestQuota: a quota lets in as many pods as it says, and shows how many exist. A pod that
// has ended does not count.
func TestQuota(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
		c.SetQuota(ns, 1)
		create(t, k, agent("a"))
		full := func() error {
			_, err := k.CoreV1().Pods(ns).Create(ctx, agent("b"), metav1.CreateOptions{})
			return err
		}
		err := full()
		if want := `pods "b" is forbidden: exceeded quota: pods, requested: pods=1, used: pods=1, limited: pods=1`; !apierrors.IsForbidden(err) || err.Error() != want {
			t.Errorf("beyond the quota: %v", err)
		}
		list, err := k.CoreV1().ResourceQuotas(ns).List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%d quotas, %v", len(list.Items), err)
		}
		st := list.Items[0].Status
		if used, hard := st.Used[corev1.ResourcePods], st.Hard[corev1.ResourcePods]; used.Value() != 1 || hard.Value() != 1 {
			t.Errorf("%s of %s are used", used.String(), hard.String())
		}
		until(t, time.Minute, running(c, "a"))
		c.Exit(ns, "a", 0)
		create(t, k, agent("b"))
		c.SetQuota(ns, -1)
		create(t, k, agent("c"))
	})
}

// TestQuotaOfClaims: a quota counts the storage that claims ask for, of all classes and of
// one class.
func TestQuotaOfClaims(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, _ *Cluster, k kubernetes.Interface) {
		const ofFast = "fast.storageclass.storage.k8s.io/requests.storage"
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "claims"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			corev1.ResourcePersistentVolumeClaims: resource.MustParse("2"), ofFast: resource.MustParse("3Gi"), corev1.ResourceSecrets: resource.MustParse("9"),
		}}}
		if _, err := k.CoreV1().ResourceQuotas(ns).Create(ctx, quota, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		claim := func(name, class string) error {
			c := slot(name)
			c.Spec.StorageClassName = &class
			c.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("2Gi")
			_, err := k.CoreV1().PersistentVolumeClaims(ns).Create(ctx, c, metav1.CreateOptions{})
			return err
		}
		create(t, k, agent("a")) // pods are not limited
		if err := claim("a", "fast"); err != nil {
			t.Fatal(err)
		}
		want := `persistentvolumeclaims "b" is forbidden: exceeded quota: claims, requested: ` + ofFast + "=2Gi, used: " + ofFast + "=2Gi, limited: " + ofFast + "=3Gi"
		if err := claim("b", "fast"); !apierrors.IsForbidden(err) || err.Error() != want {
			t.Errorf("beyond the quota of a class: %v", err)
		}
		if err := claim("b", "slow"); err != nil {
			t.Errorf("of another class: %v", err)
		}
		if err := claim("c", "slow"); !apierrors.IsForbidden(err) {
			t.Errorf("beyond the number of claims: %v", err)
		}
		list, err := k.CoreV1().ResourceQuotas(ns).List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%d quotas, %v", len(list.Items), err)
		}
		used := list.Items[0].Status.Used
		if n, size := used[corev1.ResourcePersistentVolumeClaims], used[ofFast]; n.Value() != 2 || size.Value() != 2<<30 {
			t.Errorf("%s claims and %s are used", n.String(), size.String())
		}
	})
}

// TestFaultsBeside: a container beside the main container fails, and the main container runs
// on, or is held back, as with a kubelet.
func TestFaultsBeside(t *testing.T) {
	for fault, tt := range map[Fault]struct {
		native bool
		shows  func(p *corev1.Pod, s *corev1.ContainerStatus) bool
	}{
		Crash: {false, func(p *corev1.Pod, s *corev1.ContainerStatus) bool {
			return p.Status.Phase == corev1.PodRunning && s.State.Terminated != nil && s.State.Terminated.ExitCode == 1 && p.Status.ContainerStatuses[0].State.Running != nil
		}},
		ImageName: {false, func(p *corev1.Pod, s *corev1.ContainerStatus) bool {
			return p.Status.Phase == corev1.PodPending && s.State.Waiting != nil && s.State.Waiting.Reason == "InvalidImageName" && p.Status.ContainerStatuses[0].State.Running != nil
		}},
		Hang: {true, func(p *corev1.Pod, s *corev1.ContainerStatus) bool {
			return p.Status.Phase == corev1.PodPending && s.State.Running != nil && !*s.Started && p.Status.ContainerStatuses[0].State.Waiting != nil
		}},
		SidecarCrash: {true, func(p *corev1.Pod, s *corev1.ContainerStatus) bool {
			return p.Status.Phase == corev1.PodPending && s.State.Waiting != nil && s.State.Waiting.Reason == "CrashLoopBackOff" && p.Status.ContainerStatuses[0].State.Waiting != nil
		}},
	} {
		t.Run(string(fault), func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, c *Cluster, k kubernetes.Interface) {
				c.Inject(func(p *corev1.Pod) {
					proxy := corev1.Container{Name: "proxy", Image: "proxy"}
					if tt.native {
						proxy.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
						p.Spec.InitContainers = append(p.Spec.InitContainers, proxy)
						return
					}
					p.Spec.Containers = append(p.Spec.Containers, proxy)
				})
				c.SpoilContainer(func(_ *corev1.Pod, container string) Fault {
					if container == "proxy" {
						return fault
					}
					return NoFault
				})
				create(t, k, agent("a"))
				until(t, time.Minute, func() bool {
					p := c.Pod(ns, "a")
					list := p.Status.ContainerStatuses
					if tt.native {
						list = p.Status.InitContainerStatuses
					}
					return len(list) > 0 && tt.shows(p, &list[len(list)-1])
				})
				if c.SpoilContainer(nil); !tt.native {
					return
				}
				until(t, time.Minute, running(c, "a")) // it was only held back
			})
		})
	}
}
