package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"bellboard/pool/kubesim"
	"bellboard/scaler/clock"
)

// world is one API server on which the conformance steps run.
type world struct {
	t  *testing.T
	k  kubernetes.Interface
	ns string
	// place schedules a pod to a Kubernetes node on which it runs, and takes its time to end.
	place func(w *world, name string)
	// bind gives a claim its volume.
	bind func(w *world, name string)
	// quota lets no pod into the namespace until the end of the step.
	quota func(w *world)
	// enforce applies the Pod Security Standard "restricted" until the end of the step.
	enforce func(w *world)
	// forget makes the server drop its history, so that a watch cannot resume there.
	forget func(w *world)
	// stranger is a client without any right, nobody a client that the server does not know.
	stranger, nobody func(w *world) kubernetes.Interface
}

// step is one request to an API server, and the answer that both servers must give.
type step struct {
	name string
	do   func(w *world) []string
	want []string
}

// conforming has the steps for both API servers.
//
// kubesim differs on purpose in what no step asks: it has no namespaces (each name exists), no server-side
// apply, no managed fields, no binary answers, tables with fewer columns, and it keeps a thousand events, not
// the events of an hour.
var conforming = slices.Concat(createSteps, deleteSteps, changeSteps, readSteps, watchSteps, otherSteps, slotSteps)

// realWorld returns the world of a real API server; nil without the build tag e2e.
var realWorld func(t *testing.T) *world

// TestConformance checks that kubesim answers as a real API server does.
func TestConformance(t *testing.T) {
	play := func(t *testing.T, w *world) {
		for _, s := range conforming {
			t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
				w := *w
				w.t = t
				if got := s.do(&w); !slices.Equal(got, s.want) {
					t.Errorf("%s:\n got  %s\n want %s", s.name, strings.Join(got, "\n      "), strings.Join(s.want, "\n      "))
				}
			})
		}
	}
	t.Run("kubesim", func(t *testing.T) { play(t, simWorld(t)) })
	t.Run("kube-apiserver", func(t *testing.T) {
		if realWorld == nil {
			t.Skip("built without the tag e2e")
		}
		play(t, realWorld(t))
	})
}

// simWorld returns the world of kubesim.
func simWorld(t *testing.T) *world {
	t.Helper()
	const token = "conformance"
	c := kubesim.New(kubesim.Config{
		Clock: clock.Real(), Token: token, History: 12,
		Schedule: after(func(p *corev1.Pod) bool { return p.Labels[placedLabel] != "" }),
		Pull:     after(always), Start: after(always),
		Expands: func(class string) bool { return class == growing },
	})
	t.Cleanup(c.Close)
	client := func(token string) kubernetes.Interface {
		cfg := c.RESTConfig()
		cfg.QPS, cfg.BearerToken = -1, token
		k, err := kubernetes.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	refuse := func(w *world, f kubesim.RefuseFunc) {
		c.Refuse(f)
		w.t.Cleanup(func() { c.Refuse(nil) })
	}
	pods := func(status *metav1.Status) kubesim.RefuseFunc {
		return func(_ *http.Request, verb, resource string) *metav1.Status {
			if verb != "create" || resource != "pods" {
				return nil
			}
			return status
		}
	}
	return &world{
		k: client(token), ns: "conformance",
		place: func(w *world, name string) {
			w.await("the pod runs", func() bool {
				p := c.Pod(w.ns, name)
				return p != nil && p.Status.Phase == corev1.PodRunning
			})
		},
		// A claim gets its volume with its first pod.
		bind: func(w *world, name string) {
			p := pod("first-" + name)
			p.Labels[placedLabel] = "yes"
			p.Spec.Volumes = on(name)
			w.create(p)
			w.await("the claim has a volume", func() bool {
				claim, err := w.k.CoreV1().PersistentVolumeClaims(w.ns).Get(w.ctx(), name, metav1.GetOptions{})
				return err == nil && claim.Status.Phase == corev1.ClaimBound
			})
			w.remove(p.Name, new(int64), nil)
		},
		// It keeps a dozen events.
		forget: func(w *world) {
			for i := range 30 {
				w.patch(types.MergePatchType, `{"metadata":{"annotations":{"x":"%d"}}}`, i)
			}
		},
		quota: func(w *world) {
			c.SetQuota(w.ns, 0)
			w.t.Cleanup(func() { c.SetQuota(w.ns, -1) })
		},
		enforce: func(w *world) { refuse(w, pods(kubesim.Insecure("restricted:latest", "refused"))) },
		stranger: func(w *world) kubernetes.Interface {
			refuse(w, func(r *http.Request, verb, resource string) *metav1.Status {
				name := ""
				if verb == "get" {
					name = path.Base(r.URL.Path)
				}
				return kubesim.NoPermission("system:serviceaccount:conformance:stranger", verb, resource, w.ns, name)
			})
			return w.k
		},
		nobody: func(*world) kubernetes.Interface { return client("wrong") },
	}
}

// placedLabel is the label of the pods that are to get a Kubernetes node.
const placedLabel = "conformance/placed"

func always(*corev1.Pod) bool { return true }

// answer returns what an error tells a client: the status, the reason, the object and the wrong fields.
func answer(err error) string {
	if err == nil {
		return "ok"
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return "no answer: " + err.Error()
	}
	st := status.Status()
	out := fmt.Sprintf("%d %s", st.Code, st.Reason)
	if st.Details != nil {
		if st.Details.Kind != "" || st.Details.Name != "" {
			out += " " + st.Details.Kind + "/" + st.Details.Name
		}
		var causes []string
		for _, c := range st.Details.Causes {
			causes = append(causes, strings.TrimSpace(string(c.Type)+" "+c.Field))
		}
		slices.Sort(causes)
		for _, c := range slices.Compact(causes) {
			out += ", " + c
		}
	}
	return out
}

// gist returns the answer of an error, with the first of the words that the message of the error has.
func gist(err error, words ...string) string {
	if err != nil {
		for _, w := range words {
			if strings.Contains(err.Error(), w) {
				return answer(err) + ": " + w
			}
		}
	}
	return answer(err)
}

// await polls until done: an API server has no request that waits for a state.
func (w *world) await(what string, done func() bool) {
	w.t.Helper()
	await(w.t, what, done)
}

// patience is the longest wait for something that may take as long as it does: other tests run at the same
// time, perhaps on two cores.
const patience = 3 * time.Minute

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// pod returns a pod that no step needs to run. A scheduled one would take a minute to end.
func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"step": name}},
		Spec: corev1.PodSpec{
			SchedulerName: "nobody", RestartPolicy: corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: new(int64(60)),
			Containers: []corev1.Container{{
				Name: "agent", Image: "jenkins/inbound-agent:1",
				Lifecycle: &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 60}}},
			}},
		},
	}
}

// create creates a pod that the API server has to accept.
func (w *world) create(p *corev1.Pod) *corev1.Pod {
	w.t.Helper()
	got, err := w.k.CoreV1().Pods(w.ns).Create(w.ctx(), p, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.clear(p.Name)
	return got
}

// clear empties the namespace for the next step.
func (w *world) clear(name string) {
	w.t.Cleanup(func() {
		err := w.k.CoreV1().Pods(w.ns).Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
		if err != nil && !apierrors.IsNotFound(err) {
			w.t.Error(err)
		}
	})
}

// placed creates a pod that runs on a Kubernetes node.
func (w *world) placed(name string) *corev1.Pod {
	w.t.Helper()
	p := pod(name)
	p.Labels[placedLabel] = "yes"
	w.create(p)
	w.place(w, name)
	return w.get(name)
}

func (w *world) get(name string) *corev1.Pod {
	w.t.Helper()
	p, err := w.k.CoreV1().Pods(w.ns).Get(w.ctx(), name, metav1.GetOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) gone(name string) bool {
	_, err := w.k.CoreV1().Pods(w.ns).Get(w.ctx(), name, metav1.GetOptions{})
	return apierrors.IsNotFound(err)
}

func (w *world) ctx() context.Context { return w.t.Context() }
