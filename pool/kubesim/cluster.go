// Package kubesim is a Kubernetes cluster that exists only in memory: an API
// server for pods, secrets, claims, leases and events that the real client-go
// talks to, and behind it a scheduler, a kubelet, a garbage collector and the
// protection of claims in use, which move objects along in the time of a given
// clock. It promises the answers of a real API server where Bellboard rests on
// them (names, versions, preconditions, grace periods, selectors, watches,
// statuses of errors), the same life for the same seed, and that nothing of it
// runs on after Close. It never starts a process, never opens a socket, never
// sleeps on the wall's clock, and never decides anything for the client.
//
// Who deletes: a request over REST is "bellboard"'s, unless its User-Agent
// begins with "kubesim-user/NAME", which makes it NAME's (see RESTConfigAs).
// The calls in chaos.go say by whom they are made. That name is told to
// Kubelet.Terminate, so that a test can tell whose deletion ended a build.
package kubesim

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"sort"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"bellboard/scaler/clock"
)

// Client is whose a REST request is when its User-Agent does not say otherwise.
const Client = "bellboard"

// Config says what kind of cluster to make. The zero value of everything but
// Clock is usable.
type Config struct {
	Clock clock.Clock
	Seed  int64  // the same seed gives a pod of the same name the same life
	Token string // the bearer token asked for; others get 401; empty: nobody is asked

	// How long things take; nil means realistic defaults. They are called with
	// the cluster locked and must not call it. Schedule: from creation to a
	// node. Pull: all images of the pod. Start: from its images being there to
	// its main container running, sidecars' start-up included.
	Schedule, Pull, Start func(r *rand.Rand, pod *corev1.Pod) time.Duration

	// LaxClaims gives a claim to any number of pods at once, as a storage driver
	// does that does not keep ReadWriteOncePod.
	LaxClaims bool

	// Expands says whether the volumes of a storage class can grow; nil means that all can.
	Expands func(class string) bool

	Nodes   int // how many nodes; 0 means 4
	History int // how many events of a resource a watch may resume over; 0 means 1000

	// Log is what a container's log says; nil means a line that it has started.
	Log func(pod *corev1.Pod, container string) string
}

// Kubelet is where the house plugs in what runs inside the pods. It is called
// without any lock of the cluster held, and in order for each pod.
type Kubelet interface {
	// Started: the main container runs, the pod's phase is Running.
	Started(pod *corev1.Pod)
	// Terminate: the process must end now. by is who deleted or killed the pod.
	Terminate(pod *corev1.Pod, by string)
}

// Stats counts what was asked of the cluster.
type Stats struct {
	PodsCreated, SecretsCreated, PVCsCreated int
	PodsDeleted                              int            // pods that are gone from the API
	Requests                                 map[string]int // "create pods", "watch secrets", "patch pods/status"
}

// Cluster is one simulated cluster. It is an http.Handler.
type Cluster struct {
	cfg   Config
	clock clock.Clock

	mu       sync.Mutex
	closed   bool
	rv       uint64
	tables   map[*kind]*table
	uids     map[types.UID]string // live objects' namespaces, for owner references
	births   map[string]uint64    // how often a name was used, so that each life differs
	runs     map[types.UID]*run   // the kubelet's side of each pod
	nodes    []*node
	timers   map[*timer]struct{}
	watchers map[*watcher]struct{}
	kubelet  Kubelet
	stats    Stats
	calls    sync.WaitGroup // running Kubelet calls

	failPulls    func(*corev1.Pod) bool
	spoil        func(*corev1.Pod) Fault
	spoilOne     func(*corev1.Pod, string) Fault
	failSchedule func(*corev1.Pod) string
	failBinding  func(*corev1.PersistentVolumeClaim) bool
	inject       func(*corev1.Pod)
	refuse       RefuseFunc
	lose         LoseFunc
	cutUntil     time.Time
}

// New makes a cluster. It needs Close.
func New(cfg Config) *Cluster {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real()
	}
	if cfg.Nodes <= 0 {
		cfg.Nodes = 4
	}
	if cfg.History <= 0 {
		cfg.History = 1000
	}
	c := &Cluster{
		cfg:      cfg,
		clock:    cfg.Clock,
		rv:       1000,
		tables:   map[*kind]*table{},
		uids:     map[types.UID]string{},
		births:   map[string]uint64{},
		runs:     map[types.UID]*run{},
		nodes:    makeNodes(cfg.Nodes),
		timers:   map[*timer]struct{}{},
		watchers: map[*watcher]struct{}{},
		stats:    Stats{Requests: map[string]int{}},
	}
	for _, k := range kinds {
		c.tables[k] = &table{kind: k, items: map[string]*entry{}, watchers: map[*watcher]struct{}{}}
	}
	return c
}

// Close ends everything that runs: timers, watches, and after the calls under
// way have returned, calls of the Kubelet. It must not be called from one.
func (c *Cluster) Close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		for t := range c.timers {
			t.stop()
		}
		clear(c.timers)
		c.cutWatches()
	}
	c.mu.Unlock()
	c.calls.Wait()
}

// SetKubelet plugs in what runs inside the pods. Pods that already run are
// told of at once.
func (c *Cluster) SetKubelet(k Kubelet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kubelet = k
	if k == nil {
		return
	}
	for _, e := range c.table(pods).sorted("") {
		if r := c.runs[e.obj.GetUID()]; r != nil && r.runs() {
			c.callStarted(r)
		}
	}
}

// RESTConfig is a configuration for the real client-go that reaches this
// cluster without a socket.
func (c *Cluster) RESTConfig() *rest.Config { return c.RESTConfigAs("") }

// RESTConfigAs is RESTConfig for somebody else than Bellboard: what it deletes
// is deleted by that name.
func (c *Cluster) RESTConfigAs(name string) *rest.Config {
	cfg := &rest.Config{
		Host:        "http://kubesim.local",
		Transport:   c.Transport(),
		BearerToken: c.cfg.Token,
		ContentConfig: rest.ContentConfig{
			ContentType:        "application/json",
			AcceptContentTypes: "application/json",
		},
		QPS:   50,
		Burst: 100,
	}
	if name != "" {
		cfg.UserAgent = userAgentPrefix + name
	}
	return cfg
}

// Pods are all pods, by namespace and name. What they point to is the cluster's own:
// it is to be read only, and stays as it is.
func (c *Cluster) Pods() []corev1.Pod { return listOf[corev1.Pod](c, pods) }

// Secrets are all secrets, by namespace and name, to be read only as Pods are.
func (c *Cluster) Secrets() []corev1.Secret { return listOf[corev1.Secret](c, secrets) }

// PVCs are all claims, by namespace and name, to be read only as Pods are.
func (c *Cluster) PVCs() []corev1.PersistentVolumeClaim {
	return listOf[corev1.PersistentVolumeClaim](c, claims)
}

// Pod is a copy of one pod, nil if there is none.
func (c *Cluster) Pod(ns, name string) *corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pod(ns, name); p != nil {
		return p.DeepCopy()
	}
	return nil
}

// Secret is a copy of one secret, nil if there is none.
func (c *Cluster) Secret(ns, name string) *corev1.Secret {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.table(secrets).items[ns+"/"+name]; e != nil {
		return as[*corev1.Secret](e.obj).DeepCopy()
	}
	return nil
}

// Stats is what was counted so far.
func (c *Cluster) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Requests = make(map[string]int, len(c.stats.Requests))
	maps.Copy(s.Requests, c.stats.Requests)
	return s
}

// Created is how many objects of each resource were created over its life.
func (c *Cluster) Created() map[string]int {
	s := c.Stats()
	return map[string]int{"pods": s.PodsCreated, "secrets": s.SecretsCreated, "persistentvolumeclaims": s.PVCsCreated}
}

// listOf copies no more than the first level: a stored version never changes.
func listOf[T any](c *Cluster, k *kind) []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	es := c.table(k).sorted("")
	out := make([]T, len(es))
	for i, e := range es {
		out[i] = *as[*T](e.obj)
	}
	return out
}

// A timer is a call to come that Close forgets.
type timer struct{ stop func() bool }

// after calls f with the cluster locked, once, unless cancelled or closed.
func (c *Cluster) after(d time.Duration, f func()) *timer {
	t := &timer{}
	if c.closed {
		t.stop = func() bool { return false }
		return t
	}
	c.timers[t] = struct{}{}
	t.stop = c.clock.AfterFunc(max(d, 0), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if _, ok := c.timers[t]; !ok {
			return
		}
		delete(c.timers, t)
		f()
	})
	return t
}

func (c *Cluster) cancel(t *timer) {
	if t != nil {
		delete(c.timers, t)
		t.stop()
	}
}

// errCut is what a client sees of a cluster that cannot be reached.
var errCut = errors.New("kubesim: the cluster was cut off")

var _ http.Handler = (*Cluster)(nil)

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
