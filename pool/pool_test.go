package pool

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"bellboard/pool/kubesim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard()) // client-go logs every watch that fails
	goleak.VerifyTestMain(m)
}

var (
	inbound = scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	swarm   = scaler.PoolID{Team: "web", Kind: scaler.Persistent}
	keeping = scaler.PoolID{Team: "data", Kind: scaler.Persistent} // inbound, keeps its cache
)

// A house is a client with a simulated cluster, in virtual time.
type house struct {
	*Client
	t       *testing.T
	cluster *kubesim.Cluster
	client  kubernetes.Interface
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(*house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, func(*rest.Config) {})
		h.start()
		f(h)
	})
}

func newHouse(t *testing.T, tune func(*rest.Config)) *house {
	t.Helper()
	h := &house{t: t, cluster: kubesim.New(kubesim.Config{Clock: clock.Real(), Token: "t", Log: func(p *corev1.Pod, container string) string {
		return "container " + container + " of " + p.Name + " has started, token=s3cret\n"
	}})}
	t.Cleanup(h.cluster.Close)
	cfg := h.cluster.RESTConfig()
	tune(cfg)
	var err error
	if h.client, err = kubernetes.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	h.Client = New(Config{Client: h.client, Instance: "ci", Clock: clock.Real(), Specs: specs()})
	return h
}

func specs() []Spec {
	data := specOf(scaler.Persistent, scaler.Inbound, DockerDind)
	data.PoolID, data.Namespace, data.StorageClass = keeping, "data", "fast"
	return []Spec{specOf(scaler.Ephemeral, scaler.Inbound, DockerNone), specOf(scaler.Persistent, scaler.Swarm, DockerDind), data}
}

// start starts the client. The client stops when the test ends, and the bubble reports goroutines that stay.
func (h *house) start() {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.t.Cleanup(cancel)
	if err := h.Start(ctx); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) pods() []scaler.Pod {
	h.t.Helper()
	view, err := h.Observe(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return view.Pods
}

// pod returns the only pod of that name, as observed.
func (h *house) pod(name string) scaler.Pod {
	h.t.Helper()
	for _, p := range h.pods() {
		if p.Name == name {
			return p
		}
	}
	h.t.Fatalf("pod %s is not observed", name)
	return scaler.Pod{}
}

// known is the time since when Bellboard knows Jenkins' session.
var known = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (h *house) create(name string, id scaler.PoolID) scaler.Pod {
	h.t.Helper()
	p, err := h.Create(context.Background(), name, id, h.newSlot(name, id), scaler.Birth{Session: "s1", Since: known})
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

// newSlot returns a slot to be created, if the agent keeps its cache.
func (h *house) newSlot(agent string, id scaler.PoolID) scaler.Slot {
	s := h.specs[id]
	if !s.HasClaim() {
		return scaler.Slot{}
	}
	return scaler.Slot{PoolID: id, Namespace: s.Namespace, Name: scaler.SlotName(id.Team, agent)}
}

func (h *house) secret(p scaler.Pod) {
	h.t.Helper()
	if err := h.PutSecret(context.Background(), p, "s3cret"); err != nil {
		h.t.Fatal(err)
	}
}

// running creates an agent and waits until the agent runs.
func (h *house) running(name string) scaler.Pod {
	h.t.Helper()
	h.secret(h.create(name, inbound))
	h.await(time.Minute, func() bool { return h.pod(name).Phase == scaler.PodRunning })
	return h.pod(name)
}

func (h *house) await(limit time.Duration, ok func() bool) {
	h.t.Helper()
	for start := time.Now(); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Since(start) > limit {
			h.t.Fatalf("not within %s", limit)
		}
	}
	synctest.Wait()
}

// refuse has the cluster answer one kind of request with a status.
func (h *house) refuse(what string, err *apierrors.StatusError) {
	h.cluster.Refuse(func(_ *http.Request, verb, resource string) *metav1.Status {
		if verb+" "+resource == what {
			return &err.ErrStatus
		}
		return nil
	})
}

var podsResource = schema.GroupResource{Resource: "pods"}

func soon() time.Time { return time.Now().Add(time.Second) }

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, not %v", err, want)
	}
}

func TestAnAgentsLife(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		if got := h.pods(); len(got) != 0 {
			t.Fatalf("Observe returned %v", got)
		}
		h.secret(h.create("web-e-1", inbound))
		p := h.pod("web-e-1")
		if p.Connect != scaler.Inbound || p.Phase != scaler.PodPending || p.PoolID != inbound || p.Namespace != "agents" || p.UID == "" {
			t.Errorf("after its creation the pod is %+v", p)
		}
		h.await(time.Minute, func() bool { return h.pod("web-e-1").Phase == scaler.PodRunning })
		p = h.pod("web-e-1")
		if p.Requested || p.Connected || p.Scheduled.IsZero() || p.Ready.Before(p.Scheduled) || p.Created.IsZero() || p.Trouble != "" {
			t.Errorf("the running pod is %+v", p)
		}
		s := h.cluster.Secret("agents", "web-e-1")
		if s == nil || string(s.Data["secret"]) != "s3cret" || !*s.Immutable || s.Labels[LabelInstance] != "ci" || string(s.OwnerReferences[0].UID) != p.UID {
			t.Errorf("the pod's Secret is %+v", s)
		}
		if err := h.Annotate(ctx, p); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p = h.pod("web-e-1")
		if !p.Connected || p.Session != "s1" || !p.SessionSince.Equal(known) {
			t.Errorf("the agent is connected: %t, in session %q, known since %s; want true, s1, %s", p.Connected, p.Session, p.SessionSince, known)
		}
		for _, on := range []bool{false, true} {
			change := h.Protect
			if !on {
				change = func(ctx context.Context, p scaler.Pod) error { return h.Unprotect(ctx, p, soon()) }
			}
			if err := change(ctx, p); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			got := h.cluster.Pod("agents", "web-e-1")
			if p = h.pod("web-e-1"); p.Protected != on || got.Annotations[annotationSafeToEvict] != strconv.FormatBool(!on) || on != (got.Annotations[annotationDoNotDisrupt] == "true") || on != (got.Labels[LabelBusy] == "true") {
				t.Errorf("protected is %v: the pod has labels %v and annotations %v", on, got.Labels, got.Annotations)
			}
		}
		if err := h.DeletePod(ctx, p, soon()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p = h.pod("web-e-1"); !p.Deleting || !p.DeletingByUs {
			t.Errorf("after the deletion the pod is %+v", p)
		}
		time.Sleep(30 * time.Second)
		if got := h.pods(); len(got) != 0 {
			t.Errorf("Observe returned %v after the deletion", got)
		}
		if len(h.cluster.Secrets()) != 0 {
			t.Error("the pod's Secret is left")
		}
		for what, n := range map[string]int{"create pods": 1, "create secrets": 1, "patch pods": 3, "delete pods": 1, "get pods": 0} {
			if got := h.cluster.Stats().Requests[what]; got != n {
				t.Errorf("%s: %d times, not %d", what, got, n)
			}
		}
	})
}

func TestOnlyTheInstancesPodsAreSeen(t *testing.T) {
	bubble(t, func(h *house) {
		for i, labels := range []map[string]string{nil, {LabelInstance: "other"}} {
			pod := Build(specOf(scaler.Ephemeral, scaler.Inbound, DockerNone), fmt.Sprintf("x-%d", i))
			pod.Labels = labels
			if _, err := h.client.CoreV1().Pods("agents").Create(context.Background(), pod, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		h.create("web-e-1", inbound)
		h.create("data-p-1", keeping)
		synctest.Wait()
		got := h.pods()
		if len(got) != 2 || got[0].Name != "data-p-1" || got[0].Namespace != "data" || got[1].Name != "web-e-1" {
			t.Errorf("Observe returned %+v", got)
		}
	})
}

func TestAnAgentOnTheWayCountsExactlyOnce(t *testing.T) {
	bubble(t, func(h *house) {
		const n = 60
		for i := range n {
			p := h.create(fmt.Sprintf("web-e-%02d", i), inbound)
			if !p.Requested {
				t.Fatalf("after its creation the pod is %+v", p)
			}
			// The watch and this goroutine race. In either order, the pod counts once.
			if got := len(h.pods()); got != i+1 {
				t.Fatalf("%d agents count as %d", i+1, got)
			}
		}
		synctest.Wait()
		for _, p := range h.pods() {
			if p.Requested {
				t.Errorf("%s is still pending", p.Name)
			}
		}
		if f := h.namespaces["agents"].pods; len(f.written) > 0 {
			t.Errorf("%d pending pods are left", len(f.written))
		}
	})
}

// breakWatch ends the watch, and lets none begin as long as the result is true.
func (h *house) breakWatch() *atomic.Bool {
	var broken atomic.Bool
	broken.Store(true)
	h.cluster.Refuse(func(_ *http.Request, verb, _ string) *metav1.Status {
		if broken.Load() && (verb == "watch" || verb == "list") {
			return &apierrors.NewTooManyRequests("not now", 1).ErrStatus
		}
		return nil
	})
	h.cluster.Cut(time.Millisecond)
	time.Sleep(time.Second)
	return &broken
}

func TestAnAgentCountsWhileTheWatchIsBroken(t *testing.T) {
	bubble(t, func(h *house) {
		broken := h.breakWatch()
		kept := h.create("web-e-1", inbound)
		gone := h.create("web-e-2", inbound)
		if p := h.pod("web-e-1"); !p.Requested {
			t.Errorf("the pod is %+v", p)
		}
		// The pod is gone before the cache ever had it. The pod counts until the cache has caught up, and no
		// longer.
		if err := h.DeletePod(context.Background(), gone, soon()); err != nil {
			t.Fatal(err)
		}
		if got := len(h.pods()); got != 2 {
			t.Errorf("%d agents count", got)
		}
		broken.Store(false)
		time.Sleep(15 * time.Second)
		got := h.pods()
		if len(got) != 1 || got[0].UID != kept.UID || got[0].Requested {
			t.Errorf("Observe returned %+v", got)
		}
	})
}

func TestACreationWhoseAnswerIsLostIsFound(t *testing.T) {
	bubble(t, func(h *house) {
		lost := 0
		h.cluster.Lose(func(_ *http.Request, verb, resource string) bool {
			if verb+" "+resource == "create pods" {
				lost++
				return true
			}
			return false
		})
		p := h.create("web-e-1", inbound)
		if lost != 1 || p.UID != string(h.cluster.Pod("agents", "web-e-1").UID) {
			t.Errorf("%d answers were lost, and the pod is %+v", lost, p)
		}
		h.cluster.Lose(nil)
		// A second creation with the same settings returns the same pod.
		if again := h.create("web-e-1", inbound); again.UID != p.UID {
			t.Errorf("there is a second pod: %+v", again)
		}
		synctest.Wait()
		if got := len(h.pods()); got != 1 {
			t.Errorf("the pod counts as %d", got)
		}
	})
}

func TestANameThatIsTaken(t *testing.T) {
	bubble(t, func(h *house) {
		h.create("web-x-1", inbound)
		_, err := h.Create(context.Background(), "web-x-1", swarm, h.newSlot("web-x-1", swarm), scaler.Birth{})
		is(t, err, scaler.ErrExists)
		if got := len(h.pods()); got != 1 {
			t.Errorf("%d agents count", got)
		}
		_, err = h.Create(context.Background(), "x", scaler.PoolID{Team: "nobody", Kind: scaler.Ephemeral}, scaler.Slot{}, scaler.Birth{})
		if err == nil || errors.Is(err, scaler.ErrRejected) {
			t.Errorf("with an unknown pool, Create() = %v", err)
		}
	})
}

func TestWhatTheServerSays(t *testing.T) {
	kind := schema.GroupKind{Kind: "Pod"}
	for name, c := range map[string]struct {
		answer  *apierrors.StatusError
		refused bool
		words   string
	}{
		"quota":     {apierrors.NewForbidden(podsResource, "x", errors.New("exceeded quota: pods")), true, "exceeded quota: pods"},
		"invalid":   {apierrors.NewInvalid(kind, "x", nil), true, "invalid"},
		"namespace": {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "agents"), true, `namespaces "agents" not found`},
		"busy":      {apierrors.NewTooManyRequests("later", 0), false, "later"},
		"broken":    {apierrors.NewInternalError(errors.New("webhook is away")), false, "webhook is away"},
		"conflict":  {apierrors.NewConflict(schema.GroupResource{Resource: "resourcequotas"}, "q", errors.New("modified")), false, "modified"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(h *house) {
				h.refuse("create pods", c.answer)
				_, err := h.Create(context.Background(), "web-e-1", inbound, scaler.Slot{}, scaler.Birth{})
				if err == nil || errors.Is(err, scaler.ErrRejected) != c.refused || !strings.Contains(err.Error(), c.words) {
					t.Errorf("Create() = %v", err)
				}
				if got := len(h.pods()); got != 0 {
					t.Errorf("%d agents count", got)
				}
			})
		})
	}
}

func TestPutSecretKnowsItsPod(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		p := h.create("web-e-1", inbound)
		if err := h.PutSecret(ctx, p, ""); err == nil {
			t.Error("PutSecret accepted an empty secret")
		}
		p.UID = "another"
		is(t, h.PutSecret(ctx, p, "s3cret"), scaler.ErrGone)
		p.Namespace = "elsewhere"
		if err := h.PutSecret(ctx, p, "s3cret"); err == nil {
			t.Error("PutSecret created a Secret in a namespace without agents")
		}
		if len(h.cluster.Secrets()) != 0 {
			t.Error("there is a Secret")
		}
	})
}

// TestSpare tests a pod for which no build waits. The pod has the same settings as any other, is unprotected,
// and can be protected.
func TestSpare(t *testing.T) {
	bubble(t, func(h *house) {
		ctx := context.Background()
		usual := h.create("web-e-1", inbound)
		p, err := h.Create(ctx, "web-e-2", inbound, scaler.Slot{}, scaler.Birth{Spare: true})
		if err != nil {
			t.Fatal(err)
		}
		got := h.cluster.Pod("agents", p.Name)
		if p.Protected || p.Spec != usual.Spec || got.Labels[LabelBusy] != "" || got.Annotations[annotationSafeToEvict] != "true" || got.Annotations[annotationDoNotDisrupt] != "" {
			t.Errorf("a spare is protected: %v, of spec %s (the usual: %s), %v %v; want it as Unprotect leaves one", p.Protected, p.Spec, usual.Spec, got.Labels, got.Annotations)
		}
		err = h.Protect(ctx, p)
		if synctest.Wait(); err != nil || !h.pod(p.Name).Protected {
			t.Errorf("Protect(a spare) = %v; protected: %v", err, h.pod(p.Name).Protected)
		}
	})
}
