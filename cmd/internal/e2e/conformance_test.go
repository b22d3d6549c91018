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

// world is one API server that the conformance steps are played against.
type world struct {
	t  *testing.T
	k  kubernetes.Interface
	ns string
	// place puts a pod on a node where it runs, and where it takes its time to end.
	place func(w *world, name string)
	// bind gives a claim a volume, and itself to whoever waits for it.
	bind func(w *world, name string)
	// quota lets no pod into the namespace, until the end of the step.
	quota func(w *world)
	// enforce applies the Pod Security Standard "restricted", until the end of the step.
	enforce func(w *world)
	// forget makes the server forget what lies behind: watches cannot resume there.
	forget func(w *world)
	// stranger is a client who may do nothing, nobody one whom the server does not know.
	stranger, nobody func(w *world) kubernetes.Interface
}

// A step is one question to an API server, and the answer that both must give.
type step struct {
	name string
	do   func(w *world) []string
	want []string
}

// conforming plays the same steps against any API server.
//
// What kubesim does differently on purpose, and is not asked here: it has no
// namespaces (whatever is named exists), no server-side apply, no managed
// fields, no binary answers, no conversion of an object to a table, and events
// live in as many as a thousand copies and not for an hour.
var conforming = slices.Concat(createSteps, deleteSteps, changeSteps, readSteps, watchSteps, otherSteps, slotSteps)

// realWorld is the world of a real API server; nil where it was not built in.
var realWorld func(t *testing.T) *world

// TestConformance: kubesim answers as a real API server does.
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

// simWorld is kubesim's.
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

// placedLabel is on the pods that are to get a node.
const placedLabel = "conformance/placed"

func always(*corev1.Pod) bool { return true }

// answer says what an error is to a client: status, reason, what it is about,
// and which fields are at fault.
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

// gist is the error's meaning in a word that its message must hold.
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

// await polls: an API server has no call that waits for any state.
func (w *world) await(what string, done func() bool) {
	w.t.Helper()
	await(w.t, what, done)
}

// patience is how long something may take that is waited for no longer than it
// does: other tests run beside this one, on a machine that may have two cores.
const patience = 3 * time.Minute

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// pod is one that no step needs to run; a placed one would take a minute to end.
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

// create makes a pod that must come to be.
func (w *world) create(p *corev1.Pod) *corev1.Pod {
	w.t.Helper()
	got, err := w.k.CoreV1().Pods(w.ns).Create(w.ctx(), p, metav1.CreateOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.clear(p.Name)
	return got
}

// clear lets the next step find an empty namespace.
func (w *world) clear(name string) {
	w.t.Cleanup(func() {
		err := w.k.CoreV1().Pods(w.ns).Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
		if err != nil && !apierrors.IsNotFound(err) {
			w.t.Error(err)
		}
	})
}

// placed makes a pod that runs on a node.
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
