//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"bellboard/cmd/internal/house"
	"bellboard/cmd/internal/kube"
	"bellboard/pool"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// account is the name of Bellboard's ServiceAccount.
const account = "bellboard"

// home has what one Bellboard needs: a namespace of the real cluster, a simulated Jenkins on a loopback port,
// and simulated agents for the pods that kwok runs.
type home struct {
	t       *testing.T
	plane   *kube.ControlPlane
	k       kubernetes.Interface // may do everything
	ns      string               // Bellboard's own; the instance's name, too
	spaces  []string             // the agents' namespaces
	url     string               // Jenkins'
	jenkins *jenkinssim.Jenkins
	agents  *house.Agents
	env     []string
	alone   bool    // without a Lease
	said    logBook // what processes of the binary said

	mu      sync.Mutex
	pods    map[types.UID]*life
	most    int // of them, at once
	ticks   []scaler.Tick
	ward    *ward                     // where pods are made to fail; nil: nowhere
	calls   map[string]int            // of Bellboard to Kubernetes, "create pods"
	bills   map[string]map[string]int // the same by the agent that they are for
	denied  []string                  // what it was told that its Role lacks
	written []string                  // of Bellboard to Jenkins, that came through
}

// life has what the test saw of one pod.
type life struct {
	pod          *corev1.Pod // as last seen
	started      bool
	doomed, gone bool
	by           string
	stop         func() bool
}

// oneBuildTeams has teams without a common label. A build that two teams can serve may take the other team's
// agent, and then there are more agents than builds.
var oneBuildTeams = []string{
	"BELLBOARD_TEAMS=web,data,mobile",
	"BELLBOARD_MAX_AGENTS=600",
	"BELLBOARD_DEFAULT_MODE=ephemeral",
	"BELLBOARD_DEFAULT_MAX_AGENTS=200",
	"BELLBOARD_DEFAULT_IDLE_TIMEOUT=1m", // on a first day the policy keeps free agents for minutes
	"BELLBOARD_DEFAULT_BUILD_GRACE=30s",
	"BELLBOARD_TEAM_WEB_LABELS=linux",
	"BELLBOARD_TEAM_DATA_LABELS=docker",
	"BELLBOARD_TEAM_DATA_DOCKER=dind",
	"BELLBOARD_TEAM_MOBILE_LABELS=android",
}

// newHome makes a namespace with Bellboard's rights, for Bellboard and its agents.
func newHome(t *testing.T, name string, rules []rbacv1.PolicyRule, environ ...string) *home {
	t.Helper()
	namespace(t, control(t), name, nil)
	if len(environ) == 0 {
		environ = oneBuildTeams
	}
	h := furnish(t, name, []string{name}, append([]string{
		"BELLBOARD_NAMESPACE=" + name, "BELLBOARD_INSTANCE=" + name, "BELLBOARD_DEFAULT_STORAGE_CLASS=" + name,
	}, environ...)...)
	own := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}
	if _, err := h.k.CoreV1().ServiceAccounts(name).Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.grant(name, rules)
	return h
}

// furnish makes everything outside of the cluster for the instance of that name, which lives in the namespace
// of that name. The instance's agents live in spaces.
func furnish(t *testing.T, name string, spaces []string, environ ...string) *home {
	t.Helper()
	plane := control(t)
	h := &home{
		t: t, plane: plane, k: plane.Client(), ns: name, spaces: spaces, pods: map[types.UID]*life{}, calls: map[string]int{}, bills: map[string]map[string]int{},
	}
	h.jenkins = jenkinssim.New(jenkinssim.Config{Clock: clock.Real(), Seed: 1, Hook: name})
	t.Cleanup(h.jenkins.Close)
	h.url = h.serve(h.jenkins)
	h.agents = house.NewAgents(clock.Real(), h.jenkins, insides{h}, 1)
	t.Cleanup(h.agents.Close)
	h.env = append([]string{
		"BELLBOARD_JENKINS_URL=" + h.url, "BELLBOARD_JENKINS_USER=bellboard", "BELLBOARD_JENKINS_TOKEN_FILE=simulated",
		"BELLBOARD_POLL_INTERVAL=200ms", "BELLBOARD_JENKINS_RESTART_GRACE=3s",
	}, environ...)
	for _, ns := range spaces {
		h.watch(ns)
	}
	return h
}

// serve serves a handler on a loopback port.
func (h *home) serve(handler http.Handler) string {
	h.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }() // ends with Close, and has nothing to say then
	h.t.Cleanup(func() { _ = s.Close() })
	return "http://" + l.Addr().String()
}

// grant gives Bellboard's ServiceAccount these rights in a namespace, and returns when the API server knows
// them. Rights to one object are rights to the instance's own.
func (h *home) grant(ns string, rules []rbacv1.PolicyRule) {
	h.t.Helper()
	must := func(err error) {
		if err != nil {
			h.t.Fatal(err)
		}
	}
	ctx, api, meta := h.t.Context(), h.k.RbacV1(), metav1.ObjectMeta{Name: account + "-" + h.ns, Namespace: ns}
	rules = slices.Clone(rules)
	for i := range rules {
		if len(rules[i].ResourceNames) > 0 {
			rules[i].ResourceNames = []string{pool.StoreName(h.ns)}
		}
	}
	_, err := api.Roles(ns).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
	must(err)
	_, err = api.RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta,
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: account, Namespace: h.ns}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
	}, metav1.CreateOptions{})
	must(err)
	h.t.Cleanup(func() {
		ctx := context.Background()
		if err := errors.Join(api.RoleBindings(ns).Delete(ctx, meta.Name, metav1.DeleteOptions{}), api.Roles(ns).Delete(ctx, meta.Name, metav1.DeleteOptions{})); err != nil {
			h.t.Error(err)
		}
	})
	h.may(ns, rules[0])
}

// may waits until the API server knows that Bellboard has a right. The API server learns of Roles and
// bindings by watches.
func (h *home) may(ns string, rule rbacv1.PolicyRule) {
	h.t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "system:serviceaccount:" + h.ns + ":" + account,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: ns, Verb: rule.Verbs[0], Group: rule.APIGroups[0], Resource: rule.Resources[0],
		},
	}}
	h.await("its rights hold in "+ns, func() bool {
		r, err := h.k.AuthorizationV1().SubjectAccessReviews().Create(h.t.Context(), review, metav1.CreateOptions{})
		return err == nil && r.Status.Allowed
	})
}

// watch watches the pods, starts and ends their agents, and counts them. It connects to a new API server
// sooner than client-go's informers do.
func (h *home) watch(ns string) {
	api := h.k.CoreV1().Pods(ns)
	lw := &cache.ListWatch{
		ListWithContextFunc:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return api.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return api.Watch(ctx, o) },
	}
	r := cache.NewReflectorWithOptions(lw, &corev1.Pod{}, podStore{h, ns}, cache.ReflectorOptions{
		Backoff: &wait.Backoff{Duration: 100 * time.Millisecond, Cap: time.Second, Steps: 10, Factor: 2},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = r.ListAndWatchWithContext(ctx) // what ends it is mended by another try
			_ = clock.Sleep(ctx, clock.Real(), 200*time.Millisecond)
		}
	}()
	h.t.Cleanup(func() { cancel(); <-done })
}

// podStore is the store of the reflector.
type podStore struct {
	h  *home
	ns string
}

func (s podStore) Add(o any) error    { s.h.saw(o, false); return nil }
func (s podStore) Update(o any) error { s.h.saw(o, false); return nil }
func (s podStore) Delete(o any) error { s.h.saw(o, true); return nil }
func (s podStore) Resync() error      { return nil }

// Replace gets the complete list: other pods are gone.
func (s podStore) Replace(list []any, _ string) error {
	there := map[types.UID]bool{}
	for _, o := range list {
		if pod, ok := o.(*corev1.Pod); ok {
			there[pod.UID] = true
		}
		s.h.saw(o, false)
	}
	s.h.mu.Lock()
	var gone []*corev1.Pod
	for uid, l := range s.h.pods {
		if l.pod.Namespace == s.ns && !l.gone && !there[uid] {
			gone = append(gone, l.pod)
		}
	}
	s.h.mu.Unlock()
	for _, pod := range gone {
		s.h.saw(pod, true)
	}
	return nil
}

// ours is the grace period that Bellboard gives a pod that it deletes.
const ours = 7

func (h *home) saw(o any, gone bool) {
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.pods[pod.UID]
	if l == nil {
		l = &life{}
		h.pods[pod.UID] = l
	}
	l.pod = pod
	if pod.DeletionTimestamp != nil && !l.doomed {
		l.doomed, l.by = true, "somebody"
		if g := pod.DeletionGracePeriodSeconds; pod.Spec.NodeName == "" || g != nil && *g == ours {
			l.by = "bellboard"
		}
		// The process ends with its grace period, unless the pod is gone earlier.
		l.stop = time.AfterFunc(time.Until(pod.DeletionTimestamp.Time), func() { h.agents.Terminate(pod, l.by) }).Stop
	}
	switch {
	case gone:
		l.gone = true
		if l.stop != nil {
			l.stop()
		}
		go h.agents.Terminate(pod, l.by)
	case pod.Status.Phase == corev1.PodRunning && !l.started && !l.doomed:
		l.started = true
		if !h.ward.deaf(pod) {
			h.agents.Started(pod)
		}
	}
	h.most = max(h.most, h.alive())
	if h.ward != nil && !gone {
		h.ward.saw(pod)
	}
}

// alive returns the number of living pods. The caller holds the lock.
func (h *home) alive() int {
	n := 0
	for _, l := range h.pods {
		if !l.gone {
			n++
		}
	}
	return n
}

// count returns the number of all pods so far, of living pods, and of pods that are being deleted.
func (h *home) count() (ever, alive, doomed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.pods {
		if l.doomed {
			doomed++
		}
	}
	return len(h.pods), h.alive(), doomed
}

// insides is what the processes in the pods need of the cluster.
type insides struct{ h *home }

// Secret waits for the Secret, as a real kubelet does before it starts the pod. kwok does not.
func (i insides) Secret(ctx context.Context, ns, name, key string) string {
	for {
		s, err := i.h.k.CoreV1().Secrets(ns).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			return string(s.Data[key])
		}
		if clock.Sleep(ctx, clock.Real(), 100*time.Millisecond) != nil {
			return ""
		}
	}
}

// Exit is not called: no agent here is without Jenkins for six hours.
func (insides) Exit(string, string, int) {}

// submit queues n builds of a few seconds each, spread over the labels.
func (h *home) submit(n int, labels ...string) {
	for i := range n {
		h.jenkins.Submit(jenkinssim.Job{
			Name: fmt.Sprintf("job-%d", i%7), Pipeline: i%2 == 0, Label: labels[i%len(labels)],
			Duration: time.Duration(1500+i*37%2500) * time.Millisecond,
		})
	}
}

// await waits until done, and prints the state if that takes too long.
func (h *home) await(what string, done func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			ever, alive, doomed := h.count()
			h.t.Fatalf("not within %s: %s\nJenkins: %+v\npods: %d ever, %d now, %d deleted\nleft: %v\nlast tick: %s",
				patience, what, h.jenkins.Stats(), ever, alive, doomed, h.left(), h.lastTick())
		}
	}
}

// finished reports whether no build waits or runs.
func (h *home) finished() bool {
	s := h.jenkins.Stats()
	return s.Queued == 0 && s.Running == 0
}

// left names what should be gone: Bellboard's pods, Secrets and claims, and Jenkins nodes beyond two berths
// of each pool.
func (h *home) left() []string {
	ctx := context.Background()
	var out []string
	ours := metav1.ListOptions{LabelSelector: "bellboard.dev/instance"}
	for _, ns := range h.spaces {
		pods, err := h.k.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return []string{err.Error()}
		}
		for i := range pods.Items {
			out = append(out, "pod "+pods.Items[i].Name)
		}
		secrets, err := h.k.CoreV1().Secrets(ns).List(ctx, ours)
		if err != nil {
			return []string{err.Error()}
		}
		for i := range secrets.Items {
			out = append(out, "secret "+secrets.Items[i].Name)
		}
		claims, err := h.k.CoreV1().PersistentVolumeClaims(ns).List(ctx, ours)
		if err != nil {
			return []string{err.Error()}
		}
		for i := range claims.Items {
			out = append(out, "claim "+claims.Items[i].Name)
		}
	}
	berths := map[string]int{}
	for _, n := range h.jenkins.NodesList() {
		pool := n.Name[:strings.LastIndex(n.Name, "-")]
		if !n.Online && n.Marked == "" && n.Busy == 0 && berths[pool] < 2 {
			berths[pool]++
			continue
		}
		out = append(out, "node "+n.Name+" "+n.Marked)
	}
	return out
}

// ends waits until all builds have ended and everything is removed, and checks what must hold after any day.
func (h *home) ends(builds int) {
	h.t.Helper()
	h.await("all builds finish", h.finished)
	h.await("nothing is left", func() bool { return len(h.left()) == 0 })
	s := h.jenkins.Stats()
	if s.Succeeded != builds || s.Killed != 0 || s.Lost != 0 || s.SecondBuilds != 0 {
		h.t.Errorf("%d builds of %d succeeded, %d were killed, %d lost, %d were second ones", s.Succeeded, builds, s.Killed, s.Lost, s.SecondBuilds)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.ticks {
		if t := &h.ticks[i]; t.HoldBy == scaler.SourceBellboard {
			h.t.Errorf("a plan broke a promise: %s", t.Hold)
		}
	}
	if h.said.hold("the plan breaks a promise") {
		h.t.Error("a plan broke a promise")
	}
}

func (h *home) record(t scaler.Tick) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ticks = append(h.ticks, t)
}

func (h *home) tickCount() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ticks)
}

// told reports whether a tick after the first n has these words: in a hold, or in the error of an action.
func (h *home) told(n int, words ...string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	says := func(s string) bool {
		return s != "" && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(s, w) })
	}
	for i := range h.ticks[min(n, len(h.ticks)):] {
		t := &h.ticks[min(n, len(h.ticks))+i]
		if says(t.Hold) || slices.ContainsFunc(t.Outcomes, func(o scaler.Outcome) bool { return says(string(o.Result) + ": " + o.Error) }) {
			return true
		}
	}
	return false
}

func (h *home) lastTick() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ticks) == 0 {
		return h.said.end()
	}
	t := h.ticks[len(h.ticks)-1]
	out := fmt.Sprintf("%s hold=%q grace=%s", t.ID, t.Hold, t.Grace)
	for _, o := range t.Outcomes {
		out += fmt.Sprintf("\n  %s %s: %s %s", o.Action.Verb, o.Action.Agent, o.Result, o.Error)
	}
	for i := range t.Plan.Decisions {
		out += "\n  " + t.Plan.Decisions[i].Team + ": " + t.Plan.Decisions[i].Text
	}
	return out
}

// diary lists what every tick decided and did, for a failed test.
func (h *home) diary() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out strings.Builder
	for i := range h.ticks {
		t := &h.ticks[i]
		did := map[string]int{}
		for _, o := range t.Outcomes {
			did[fmt.Sprintf("%s %s (%s) %s", o.Action.Verb, o.Action.Pool.Team, o.Action.Reason, o.Result)]++
		}
		if t.Hold == "" && len(did) == 0 {
			continue
		}
		fmt.Fprintf(&out, "%s %s hold=%q %v\n", t.At.Format("05.000"), t.ID, t.Hold, did)
		for j := range t.Plan.Decisions {
			fmt.Fprintf(&out, "    %s: %s\n", t.Plan.Decisions[j].Team, t.Plan.Decisions[j].Text)
		}
	}
	return out.String()
}

// notFound drops the error that an object is gone already.
func notFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
