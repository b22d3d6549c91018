package pool

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/pool/kubesim"
	"bellboard/scaler"
)

// TestPhases tests that a pod has the time of each step, in the order of its start.
func TestPhases(t *testing.T) {
	bubble(t, func(h *house) {
		h.secret(h.create("web-e-1", inbound))
		h.secret(h.create("data-p-1", keeping))
		h.await(time.Minute, func() bool {
			return h.pod("web-e-1").Phase == scaler.PodRunning && h.pod("data-p-1").Phase == scaler.PodRunning
		})
		plain, docker := h.pod("web-e-1"), h.pod("data-p-1")
		for _, steps := range [][]time.Time{
			{plain.Created, plain.Scheduled, plain.Mounted, plain.Ready},
			{docker.Created, docker.Scheduled, docker.Mounted, docker.DockerUp, docker.DockerReady, docker.Ready},
		} {
			for i := range steps {
				if steps[i].IsZero() || i > 0 && steps[i].Before(steps[i-1]) {
					t.Errorf("the steps are %v; want each, in this order", steps)
				}
			}
		}
		if !plain.DockerUp.IsZero() || !plain.DockerReady.IsZero() {
			t.Errorf("an agent without Docker has a daemon since %s, ready since %s", plain.DockerUp, plain.DockerReady)
		}
		if docker.DockerReady.Sub(docker.DockerUp) < 2*time.Second {
			t.Errorf("the daemon ran at %s and answered at %s; the probe takes longer", docker.DockerUp, docker.DockerReady)
		}
		if err := h.Annotate(context.Background(), plain); err != nil {
			t.Fatal(err)
		}
		now := time.Now().Truncate(time.Second)
		h.await(time.Minute, func() bool { return h.pod("web-e-1").Connected })
		if got := h.pod("web-e-1").ConnectedAt; !got.Equal(now) {
			t.Errorf("the agent is connected since %s, want %s", got, now)
		}
	})
}

// TestFailuresOnTheNode tests that each failure that a kubelet shows has its class, and names the container
// at fault.
func TestFailuresOnTheNode(t *testing.T) {
	for fault, want := range map[kubesim.Fault]scaler.Pod{
		kubesim.Rejected:     {Trouble: "NodeAffinity", Failure: scaler.FailureNodeGone},
		kubesim.ImageName:    {Trouble: "InvalidImageName", Failure: scaler.FailureBadImage, Faulty: "agent"},
		kubesim.NoConfig:     {Trouble: "CreateContainerConfigError", Failure: scaler.FailureCrashLoop, Faulty: "agent"},
		kubesim.SidecarCrash: {Trouble: "CrashLoopBackOff", Failure: scaler.FailureCrashLoop, Faulty: "dind"},
		kubesim.Crash:        {Trouble: "Error", Failure: scaler.FailureCrashLoop, Faulty: "agent"},
		kubesim.OutOfMemory:  {Trouble: "OOMKilled", Failure: scaler.FailureOOM, Faulty: "agent"},
	} {
		t.Run(string(fault), func(t *testing.T) {
			bubble(t, func(h *house) {
				h.cluster.Spoil(func(*corev1.Pod) kubesim.Fault { return fault })
				h.secret(h.create("data-p-1", keeping))
				got := func() scaler.Pod {
					p := h.pod("data-p-1")
					return scaler.Pod{Trouble: p.Trouble, Failure: p.Failure, Faulty: p.Faulty}
				}
				h.await(time.Minute, func() bool { return got() == want })
				// The class stays the same, whatever a container does between two crashes.
				for range 600 {
					if got() != want {
						t.Fatalf("the pod is %+v now, want %+v all the time", got(), want)
					}
					time.Sleep(500 * time.Millisecond)
				}
				if p := h.pod("data-p-1"); p.DockerUp.IsZero() == (want.Faulty != "") {
					t.Errorf("the Docker daemon's container ran at %s, and %q is at fault", p.DockerUp, want.Faulty)
				}
			})
		})
	}
}

// TestOthersContainers tests containers that somebody else adds. The pod names such a container if it fails
// or holds the agent back. The container is no Docker daemon, and no reason to give up the agent.
func TestOthersContainers(t *testing.T) {
	native := corev1.ContainerRestartPolicyAlways
	type want struct {
		trouble, words string
		failure        scaler.Failure // as which it counts when START_TIMEOUT is over
		runs           bool           // the agent, nevertheless
	}
	for name, tt := range map[string]struct {
		fault  kubesim.Fault
		inject func(p *corev1.Pod, helper corev1.Container)
		want   want
	}{
		"a helper ends": {
			kubesim.Crash, func(p *corev1.Pod, helper corev1.Container) { p.Spec.Containers = append(p.Spec.Containers, helper) },
			want{"Error", "helper: exit code 1", scaler.FailureNeverConnected, true},
		},
		"a helper has no image": {
			kubesim.ImageName, func(p *corev1.Pod, helper corev1.Container) { p.Spec.Containers = append(p.Spec.Containers, helper) },
			want{"InvalidImageName", "helper: ", scaler.FailureNeverConnected, true},
		},
		"a proxy hangs before all else": {
			kubesim.Hang, func(p *corev1.Pod, helper corev1.Container) {
				helper.RestartPolicy = &native
				p.Spec.InitContainers = append([]corev1.Container{helper}, p.Spec.InitContainers...)
			},
			want{"ContainersNotInitialized", "helper: is not Bellboard's, and holds the agent back", scaler.FailureNeverConnected, false},
		},
		"a proxy hangs after all else": {
			kubesim.Hang, func(p *corev1.Pod, helper corev1.Container) {
				helper.RestartPolicy = &native
				p.Spec.InitContainers = append(p.Spec.InitContainers, helper)
			},
			want{"ContainersNotInitialized", "helper: is not Bellboard's, and holds the agent back", scaler.FailureNeverConnected, false},
		},
		"a proxy ends again and again": {
			kubesim.SidecarCrash, func(p *corev1.Pod, helper corev1.Container) {
				helper.RestartPolicy = &native
				p.Spec.InitContainers = append(p.Spec.InitContainers, helper)
			},
			want{"CrashLoopBackOff", "helper: ", scaler.FailureNeverConnected, false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(h *house) {
				h.cluster.Inject(func(p *corev1.Pod) { tt.inject(p, corev1.Container{Name: "helper", Image: "helper"}) })
				h.cluster.SpoilContainer(func(_ *corev1.Pod, container string) kubesim.Fault {
					if container == "helper" {
						return tt.fault
					}
					return kubesim.NoFault
				})
				h.secret(h.create("web-e-1", inbound))
				h.secret(h.create("data-p-1", keeping))
				time.Sleep(2 * time.Minute)
				for _, name := range []string{"web-e-1", "data-p-1"} {
					p := h.pod(name)
					if p.Failure != "" || p.DockerFailure != "" || p.Faulty != "helper" || p.Trouble != tt.want.trouble || !strings.HasPrefix(p.TroubleText, tt.want.words) {
						t.Errorf("%s: %q, Docker %q, at fault is %q: %s: %s; want no class, helper, %s: %s", name, p.Failure, p.DockerFailure, p.Faulty, p.Trouble, p.TroubleText, tt.want.trouble, tt.want.words)
					}
					if got := scaler.FailureOf(&p); got != tt.want.failure {
						t.Errorf("%s: after START_TIMEOUT the class is %q, want %q", name, got, tt.want.failure)
					}
					if p.Ready.IsZero() == tt.want.runs || (p.Phase == scaler.PodRunning) != tt.want.runs {
						t.Errorf("%s: the phase is %s, the agent runs since %s", name, p.Phase, p.Ready)
					}
					if !p.DockerUp.IsZero() && (name == "web-e-1" || p.DockerReady.IsZero()) {
						t.Errorf("%s: Docker runs since %s, ready since %s", name, p.DockerUp, p.DockerReady)
					}
				}
				h.cluster.SpoilContainer(nil)
				h.cluster.Exit("agents", "web-e-1", 0)
				if h.await(time.Minute, func() bool { return !tt.want.runs || h.pod("web-e-1").Phase == scaler.PodSucceeded }); !tt.want.runs {
					h.await(time.Minute, func() bool { return h.pod("data-p-1").Phase == scaler.PodRunning && h.pod("data-p-1").Trouble == "" })
				}
			})
		})
	}
}

// TestDaemonThatDies tests a daemon that ends beside a running agent. The daemon has failed until it answers
// again. A daemon that ends with its agent, or before the agent runs, has not failed.
func TestDaemonThatDies(t *testing.T) {
	bubble(t, func(h *house) {
		h.secret(h.create("data-p-1", keeping))
		dead := func() scaler.Failure { return h.pod("data-p-1").DockerFailure }
		h.await(time.Minute, func() bool { return h.pod("data-p-1").Phase == scaler.PodRunning })
		if f := dead(); f != "" {
			t.Errorf("a daemon that answers has class %q", f)
		}
		h.cluster.CrashSidecar("data", "data-p-1", 2)
		h.await(time.Second, func() bool { return dead() == scaler.FailureCrashLoop })
		if p := h.pod("data-p-1"); p.Faulty != "dind" || !strings.Contains(p.TroubleText, "dind: exit code 1") {
			t.Errorf("the trouble is with %q: %s", p.Faulty, p.TroubleText)
		}
		for range 2 * 30 { // two restarts, after 10 s and 20 s, and the daemon is never ready
			if f := dead(); f != scaler.FailureCrashLoop {
				t.Fatalf("between two crashes the class is %q", f)
			}
			time.Sleep(500 * time.Millisecond)
		}
		h.await(time.Minute, func() bool { return dead() == "" })
		if p := h.pod("data-p-1"); p.Phase != scaler.PodRunning || p.Failure != "" {
			t.Errorf("with its daemon back the pod is %+v", p)
		}
		h.cluster.CrashSidecar("data", "data-p-1", 9)
		h.await(time.Second, func() bool { return dead() != "" })
		h.cluster.Exit("data", "data-p-1", 0)
		synctest.Wait()
		h.await(time.Minute, func() bool {
			if f := dead(); f != "" {
				t.Fatalf("beside an agent that has ended, the daemon has class %q", f)
			}
			return h.pod("data-p-1").Phase == scaler.PodSucceeded
		})
	})
	bubble(t, func(h *house) {
		h.cluster.Spoil(func(*corev1.Pod) kubesim.Fault { return kubesim.SidecarCrash })
		h.secret(h.create("data-p-1", keeping))
		h.await(time.Minute, func() bool { return h.pod("data-p-1").Failure == scaler.FailureCrashLoop })
		if f := h.pod("data-p-1").DockerFailure; f != "" {
			t.Errorf("before its agent runs, a daemon has class %q", f)
		}
	})
}

// TestClaimsThatAreNotBound tests a pod that waits for the volume of its slot, and not for a Kubernetes node.
// The pod's class is storage, whether or not the scheduler has given a reason.
func TestClaimsThatAreNotBound(t *testing.T) {
	failure := func(h *house) scaler.Failure { p := h.pod("data-p-2"); return scaler.FailureOf(&p) }
	t.Run("no volume comes", func(t *testing.T) {
		bubble(t, func(h *house) {
			h.cluster.FailBinding(func(*corev1.PersistentVolumeClaim) bool { return true })
			h.secret(h.create("data-p-2", keeping))
			h.await(time.Minute, func() bool { return h.slot().Chosen })
			if p := h.pod("data-p-2"); p.Trouble != "" || failure(h) != scaler.FailureStorage || !strings.Contains(p.TroubleText, p.Slot+" is not bound") {
				t.Errorf("while the scheduler waits, the pod is %+v", p)
			}
			h.await(15*time.Minute, func() bool { return h.pod("data-p-2").Trouble == corev1.PodReasonSchedulerError })
			if p := h.pod("data-p-2"); failure(h) != scaler.FailureStorage || !strings.Contains(p.TroubleText, "binding volumes") {
				t.Errorf("after the scheduler has given up, the pod is %+v", p)
			}
			h.cluster.FailBinding(nil)
			h.await(time.Minute, func() bool { return h.pod("data-p-2").Phase == scaler.PodRunning })
			if s, p := h.slot(), h.pod("data-p-2"); p.Failure != "" || s.Unbound() {
				t.Errorf("with its volume the pod is %+v", p)
			}
		})
	})
	t.Run("its volume is gone", func(t *testing.T) {
		bubble(t, func(h *house) {
			seen := h.used(true)
			h.cluster.LoseVolume("data", seen.Name)
			if s := h.slot(); !s.Lost || s.Bound {
				t.Fatalf("the slot is %+v", s)
			}
			if _, err := h.Create(context.Background(), "data-p-2", keeping, h.slot(), scaler.Birth{}); err != nil {
				t.Fatal(err)
			}
			h.await(time.Minute, func() bool { return h.pod("data-p-2").Trouble == corev1.PodReasonUnschedulable })
			if p := h.pod("data-p-2"); failure(h) != scaler.FailureStorage || !strings.Contains(p.TroubleText, "is gone") || !p.VolumeTrouble {
				t.Errorf("the pod is %+v", p)
			}
		})
	})
	t.Run("its volume is gone under its agent", func(t *testing.T) {
		bubble(t, func(h *house) {
			h.secret(h.create("data-p-2", keeping))
			h.await(time.Minute, func() bool { return h.pod("data-p-2").Phase == scaler.PodRunning })
			h.cluster.LoseVolume("data", h.slot().Name)
			if s, p := h.slot(), h.pod("data-p-2"); !s.Lost || p.Failure != "" {
				t.Errorf("the pod is %+v", p)
			}
		})
	})
	t.Run("no Kubernetes node", func(t *testing.T) {
		bubble(t, func(h *house) {
			h.cluster.FailSchedule(func(*corev1.Pod) string { return "3 Insufficient cpu." })
			h.create("data-p-2", keeping)
			h.await(time.Minute, func() bool { return h.pod("data-p-2").Trouble != "" })
			if got := failure(h); got != scaler.FailureUnschedulable {
				t.Errorf("the class is %s", got)
			}
		})
	})
}

// TestRefusals tests that a full quota and an admission rule have different classes, though their answers are
// alike. Only the quotas themselves tell them apart.
func TestRefusals(t *testing.T) {
	create := func(h *house) (scaler.Failure, error) {
		_, err := h.Create(context.Background(), "web-e-2", inbound, scaler.Slot{}, scaler.Birth{})
		return scaler.FailureIn(err), err
	}
	bubble(t, func(h *house) {
		h.secret(h.create("web-e-1", inbound))
		h.cluster.SetQuota("agents", 1)
		if f, err := create(h); f != scaler.FailureQuota || !strings.Contains(err.Error(), "exceeded quota") {
			t.Errorf("beyond the quota: %q, %v", f, err)
		}
		h.cluster.SetQuota("agents", 5)
		h.refuse("create pods", &apierrors.StatusError{ErrStatus: *kubesim.OverQuota("words", "web-e-2")})
		if f, err := create(h); f != scaler.FailureAdmission {
			t.Errorf("a quota's text without a quota: %q, %v", f, err)
		}
		h.refuse("create pods", &apierrors.StatusError{ErrStatus: *kubesim.Insecure("restricted", "web-e-2")})
		if f, err := create(h); f != scaler.FailureAdmission {
			t.Errorf("Pod Security: %q, %v", f, err)
		}
		h.refuse("create pods", apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Pod").GroupKind(), "web-e-2", nil))
		if f, err := create(h); f != scaler.FailureAdmission {
			t.Errorf("invalid: %q, %v", f, err)
		}
		h.refuse("create pods", apierrors.NewConflict(corev1.Resource("resourcequotas"), "q", nil))
		if f, err := create(h); f != scaler.FailureQuota {
			t.Errorf("a quota whose count changes: %q, %v", f, err)
		}
		h.refuse("create pods", apierrors.NewInternalError(context.DeadlineExceeded))
		if f, err := create(h); f != "" {
			t.Errorf("a server that fails: %q, %v", f, err)
		}
		h.cluster.Refuse(nil)
	})
	bubble(t, func(h *house) {
		h.secret(h.create("web-e-1", inbound))
		h.cluster.SetQuota("agents", 1)
		h.refuse("list resourcequotas", &apierrors.StatusError{ErrStatus: *kubesim.NoPermission("me", "list", "resourcequotas", "agents", "")})
		f, err := create(h)
		if f != scaler.FailureAdmission || !strings.Contains(err.Error(), `cannot list resource "resourcequotas"`) {
			t.Errorf("quotas that Bellboard may not read: %q, %v; want the text to say so", f, err)
		}
		is(t, err, scaler.ErrRejected)
	})
}

// TestAQuotaThatWantsALimit tests a quota on a resource for which an agent's containers have no value. More
// room in the quota does not help. The error names the remedy, and the remedy works.
func TestAQuotaThatWantsALimit(t *testing.T) {
	silent := func(h *house, name string) error {
		_, err := h.Create(context.Background(), name, keeping, h.newSlot(name, keeping), scaler.Birth{})
		if err != nil {
			is(t, err, scaler.ErrRejected)
			if f := scaler.FailureIn(err); f != scaler.FailureAdmission {
				t.Errorf("the class is %s", f)
			}
		}
		return err
	}
	limits := func(h *house) {
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "limits"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			corev1.ResourceLimitsCPU: resource.MustParse("20"), corev1.ResourceRequestsCPU: resource.MustParse("20"),
			corev1.ResourceLimitsMemory: resource.MustParse("64Gi"), corev1.ResourceRequestsMemory: resource.MustParse("64Gi"),
		}}}
		if _, err := h.client.CoreV1().ResourceQuotas("data").Create(context.Background(), quota, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	bubble(t, func(h *house) {
		limits(h)
		err := silent(h, "data-p-1")
		for _, want := range []string{"must specify limits.cpu for: agent,dind,docker-cli", "a LimitRange in namespace data", "POD_TEMPLATE_FILE"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("the rejection is %v, want %q in it", err, want)
			}
		}
		if err != nil && strings.Contains(err.Error(), "MAX_AGENTS") {
			t.Errorf("the rejection is %v, with a remedy that does not help", err)
		}
		h.cluster.Inject(func(p *corev1.Pod) { // like a LimitRange
			for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
				for i := range list {
					if list[i].Resources.Limits == nil {
						list[i].Resources.Limits = corev1.ResourceList{}
					}
					if _, limited := list[i].Resources.Limits[corev1.ResourceCPU]; !limited {
						list[i].Resources.Limits[corev1.ResourceCPU] = resource.MustParse("4")
					}
				}
			}
		})
		if err := silent(h, "data-p-2"); err != nil {
			t.Errorf("with a LimitRange: %v", err)
		}
	})
	s := specs()[slices.IndexFunc(specs(), func(s Spec) bool { return s.PoolID == keeping })]
	const limit = "resources: {limits: {cpu: 2}}"
	template, wrong := ParseTemplate("t", []byte("spec:\n  initContainers:\n  - {name: dind, "+limit+"}\n  - {name: docker-cli, "+limit+"}\n  containers:\n  - {name: agent, "+limit+"}\n"))
	if s.Template = template; wrong != nil || s.TemplateMistakes() != nil {
		t.Fatal(wrong, s.TemplateMistakes())
	}
	bubble(t, func(h *house) {
		limits(h)
		pod := Build(s, "data-p-1")
		if _, err := h.client.CoreV1().Pods("data").Create(context.Background(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil && strings.Contains(err.Error(), "quota") {
			t.Errorf("with a template: %v", err)
		}
	})
}

// TestSecretsAreRefusedLikePods tests that a quota or admission may reject a Secret.
func TestSecretsAreRefusedLikePods(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		p := h.create("web-e-1", inbound)
		put := func() scaler.Failure {
			err := h.PutSecret(ctx, p, "s3cret")
			is(t, err, scaler.ErrRejected)
			return scaler.FailureIn(err)
		}
		h.refuse("create secrets", apierrors.NewForbidden(corev1.Resource("secrets"), "web-e-1", errors.New("no")))
		if f := put(); f != scaler.FailureAdmission {
			t.Errorf("a webhook's rejection has class %q", f)
		}
		quota := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceSecrets: resource.MustParse("0"), corev1.ResourcePods: resource.MustParse("9")}}}
		quota.Name = "secrets"
		if _, err := h.client.CoreV1().ResourceQuotas("agents").Create(ctx, quota, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		h.create("web-e-2", inbound) // the simulated cluster counts the quotas again
		if f := put(); f != scaler.FailureQuota {
			t.Errorf("a quota's rejection has class %q", f)
		}
	})
}

// TestSlotsAreRefusedLikePods tests that admission or a quota, whatever it counts for claims, may reject a
// claim.
func TestSlotsAreRefusedLikePods(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		refused := func(name string) (scaler.Failure, error) {
			_, err := h.Create(ctx, name, keeping, h.newSlot(name, keeping), scaler.Birth{})
			is(t, err, scaler.ErrRejected)
			return scaler.FailureIn(err), err
		}
		h.refuse("create persistentvolumeclaims", apierrors.NewForbidden(claimsGroup, "x", errors.New("maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 20Gi")))
		if f, err := refused("data-p-1"); f != scaler.FailureAdmission {
			t.Errorf("a LimitRange: %q, %v", f, err)
		}
		h.cluster.Refuse(nil)
		h.secret(h.create("data-p-2", keeping))
		for name, hard := range map[corev1.ResourceName]string{
			"persistentvolumeclaims": "1", "requests.storage": "39Gi",
			"fast.storageclass.storage.k8s.io/persistentvolumeclaims": "1", "fast.storageclass.storage.k8s.io/requests.storage": "39Gi",
		} {
			quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "claims"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{name: resource.MustParse(hard)}}}
			quotas := h.client.CoreV1().ResourceQuotas("data")
			if _, err := quotas.Create(ctx, quota, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if f, err := refused("data-p-3"); f != scaler.FailureQuota || !strings.Contains(err.Error(), "exceeded quota: claims, requested: "+string(name)) {
				t.Errorf("beyond the quota of %s: %q, %v", name, f, err)
			}
			if err := quotas.Delete(ctx, "claims", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestNeeds tests what a quota counts for an agent with a Docker daemon beside it.
func TestNeeds(t *testing.T) {
	s := specOf(scaler.Persistent, scaler.Swarm, DockerDind)
	s.CPU, s.Memory = resource.MustParse("2"), resource.MustParse("4Gi")
	pod := Build(s, "web-p-1")
	needs := podNeeds(pod)
	for name, want := range map[corev1.ResourceName]string{
		"pods": "1", "count/pods": "1", "cpu": "2", "requests.cpu": "2", "memory": "4Gi", "requests.memory": "4Gi", "limits.memory": "8Gi",
	} {
		if got := needs[name]; got.Cmp(resource.MustParse(want)) != 0 {
			t.Errorf("the pod needs %s of %s, want %s", got.String(), name, want)
		}
	}
	pod.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("5")}}
	if got := podNeeds(pod)["requests.cpu"]; got.Cmp(resource.MustParse("5")) != 0 {
		t.Errorf("a pod whose template asks for 5 CPU as a whole needs %s", got.String())
	}
	for scope, want := range map[corev1.ResourceQuotaScope]bool{
		corev1.ResourceQuotaScopeNotTerminating: true, corev1.ResourceQuotaScopeNotBestEffort: true,
		corev1.ResourceQuotaScopeBestEffort: false, corev1.ResourceQuotaScopePriorityClass: false,
	} {
		if got := covers(&corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{scope}}); got != want {
			t.Errorf("a quota for %s covers agents: %v, want %v", scope, got, want)
		}
	}
	if covers(&corev1.ResourceQuotaSpec{ScopeSelector: &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{
		{ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"high"}},
	}}}) {
		t.Error("a quota for a priority class covers agents, whose class is unknown")
	}
}

// TestLastLog tests that LastLog returns the log of the container at fault, without secrets, in bounded
// time.
func TestLastLog(t *testing.T) {
	words := func(h *house, p scaler.Pod) (string, error) { return h.LastLog(context.Background(), p) }
	bubble(t, func(h *house) {
		p := h.running("web-e-1")
		if got, err := words(h, p); err != nil || got != "container agent of web-e-1 has started, token=[hidden]" {
			t.Errorf("LastLog() = %q, %v", got, err)
		}
		h.cluster.Spoil(func(*corev1.Pod) kubesim.Fault { return kubesim.SidecarCrash })
		h.secret(h.create("data-p-1", keeping))
		h.await(time.Minute, func() bool { return h.pod("data-p-1").Failure == scaler.FailureCrashLoop })
		if got, err := words(h, h.pod("data-p-1")); err != nil || got != "container dind of data-p-1 has started, token=[hidden]" {
			t.Errorf("for its daemon LastLog() = %q, %v", got, err)
		}
		h.cluster.Spoil(nil)
		h.secret(h.create("data-p-2", keeping))
		hangs := func() bool {
			p := h.pod("data-p-2")
			return !p.DockerUp.IsZero() && p.DockerReady.IsZero()
		}
		h.await(time.Minute, hangs) // and Kubernetes gives no reason
		p2 := h.pod("data-p-2")
		if got, err := words(h, p2); err != nil || p2.Trouble != "" || scaler.FailureOf(&p2) != scaler.FailureCrashLoop || got != "container dind of data-p-2 has started, token=[hidden]" {
			t.Errorf("a daemon that does not answer has class %q and trouble %q, and LastLog() = %q, %v", scaler.FailureOf(&p2), p2.Trouble, got, err)
		}
		h.await(time.Minute, func() bool { return h.pod("data-p-2").Phase == scaler.PodRunning })
		if f := h.pod("data-p-2").Faulty; f != "" {
			t.Errorf("after the daemon's answer the trouble is with %q", f)
		}
		p.Name = "nobody"
		if got, err := words(h, p); err == nil {
			t.Errorf("for a pod that is gone LastLog() = %q", got)
		}
		if n := h.cluster.Stats().Requests["get pods/log"]; n != 4 {
			t.Errorf("%d logs were asked for, want 4", n)
		}
	})
}
