// Package kubesim is a Kubernetes cluster in memory, to which the real client-go talks.
// It has an API server for pods, secrets, claims, quotas, leases and events. Behind the
// API server a scheduler, a kubelet, a garbage collector and the protection of claims
// move objects along, in the time of a given clock.
//
// Kubesim promises the answers of a real API server where Bellboard depends on them:
// names, versions, preconditions, grace periods, selectors, watches, statuses of errors.
// The same seed gives the same life. Nothing of a cluster runs after Close. Kubesim never
// starts a process, never opens a socket, never sleeps on the wall's clock, and never
// decides anything for the client.
//
// A deletion over REST is Bellboard's, unless kubectl or a like tool sends it. The calls in chaos.go name their author. A Kubelet
// is told the author, so that a test can tell which deletion ended a build.
package kubesim

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"bellboard/scaler/clock"
)

// Config describes a cluster. The zero value of everything but Clock is usable.
type Config struct {
	Clock clock.Clock
	Seed  int64  // the same seed gives a pod of the same name the same life
	Token string // the bearer token that a request must have; "": none

	// Schedule is the time from a pod's creation to its Kubernetes node. Pull is the time
	// for each image. Start is the time from the images to the start of the main
	// container. nil means realistic defaults. The functions run with the cluster locked
	// and must not call it.
	Schedule, Pull, Start func(r *rand.Rand, pod *corev1.Pod) time.Duration

	// LaxClaims gives a claim to any number of pods at once, as a storage driver does that
	// does not keep ReadWriteOncePod.
	LaxClaims bool

	// Expands says whether the volumes of a storage class can grow; nil: all can.
	Expands func(class string) bool

	History int // the number of events of a resource over which a watch may resume; 0: 1000

	// Log returns the log of a container; nil: one line.
	Log func(pod *corev1.Pod, container string) string
}

// Kubelet runs the processes inside the pods. Its methods are called without a lock of the
// cluster, and in order for each pod.
type Kubelet interface {
	// Started is called when the main container runs and the pod's phase is Running.
	Started(pod *corev1.Pod)
	// Terminate is called when the process must end. by is the author of the deletion.
	Terminate(pod *corev1.Pod, by string)
}

// Stats counts the requests to the cluster.
type Stats struct {
	Requests map[string]int // "create pods", "watch secrets", "patch pods/status"
}

// Cluster is one simulated cluster. It is an http.Handler.
type Cluster struct {
	cfg   Config
	clock clock.Clock

	mu       sync.Mutex
	closed   bool
	rv       uint64
	tables   map[*kind]*table
	uids     map[types.UID]bool // of the objects that exist, for owner references
	births   map[string]uint64  // how often a name was used, so that each life differs
	runs     map[types.UID]*run // the kubelet's side of each pod
	nodes    []*node
	timers   map[*timer]struct{}
	kubelet  Kubelet
	requests map[string]int
	created  map[string]int
	calls    sync.WaitGroup // running Kubelet calls

	failPulls    func(*corev1.Pod) bool
	spoil        func(*corev1.Pod) Fault
	spoilOne     func(*corev1.Pod, string) Fault
	failSchedule func(*corev1.Pod) string
	failBinding  func(*corev1.PersistentVolumeClaim) bool
	inject       func(*corev1.Pod)
	refuse       RefuseFunc
	lose         func(r *http.Request, verb, resource string) bool
	cutUntil     time.Time
}

// New makes a cluster. It needs Close.
func New(cfg Config) *Cluster {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real()
	}
	if cfg.History <= 0 {
		cfg.History = 1000
	}
	c := &Cluster{
		cfg:      cfg,
		clock:    cfg.Clock,
		rv:       1000,
		tables:   map[*kind]*table{},
		uids:     map[types.UID]bool{},
		births:   map[string]uint64{},
		runs:     map[types.UID]*run{},
		nodes:    makeNodes(),
		timers:   map[*timer]struct{}{},
		requests: map[string]int{},
		created:  map[string]int{},
	}
	for _, k := range kinds {
		c.tables[k] = &table{kind: k, items: map[string]*entry{}, watchers: map[*watcher]struct{}{}}
	}
	return c
}

// Close ends everything that runs: timers, watches, and then the calls of the Kubelet. A
// Kubelet must not call Close.
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

// SetKubelet sets the Kubelet of the pods that start from now on.
func (c *Cluster) SetKubelet(k Kubelet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kubelet = k
}

// RESTConfig returns a configuration for the real client-go that reaches this cluster
// without a socket.
func (c *Cluster) RESTConfig() *rest.Config {
	return &rest.Config{
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
}

// Pods returns all pods, by namespace and name. The caller may read the pods and never
// change them: their parts belong to the cluster.
func (c *Cluster) Pods() []corev1.Pod { return listOf[corev1.Pod](c, pods) }

// Secrets returns all secrets, by namespace and name, to be read only as Pods are.
func (c *Cluster) Secrets() []corev1.Secret { return listOf[corev1.Secret](c, secrets) }

// PVCs returns all claims, by namespace and name, to be read only as Pods are.
func (c *Cluster) PVCs() []corev1.PersistentVolumeClaim {
	return listOf[corev1.PersistentVolumeClaim](c, claims)
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

// Pod returns a copy of a pod, or nil if there is none.
func (c *Cluster) Pod(ns, name string) *corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pod(ns, name).DeepCopy()
}

// Secret returns a copy of a secret, or nil if there is none.
func (c *Cluster) Secret(ns, name string) *corev1.Secret {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.table(secrets).items[ns+"/"+name]; e != nil {
		return as[*corev1.Secret](e.obj).DeepCopy()
	}
	return nil
}

// Stats returns what was counted so far.
func (c *Cluster) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Requests: maps.Clone(c.requests)}
}

// Created returns how many objects of each resource were ever created.
func (c *Cluster) Created() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.created)
}

// A timer is a call to come. Close stops all timers.
type timer struct{ stop func() bool }

// after calls f once when d has passed, with the cluster locked, unless the timer is
// cancelled or the cluster is closed before.
func (c *Cluster) after(d time.Duration, f func()) *timer {
	t := &timer{}
	if c.closed {
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
	if _, ok := c.timers[t]; ok {
		delete(c.timers, t)
		t.stop()
	}
}
