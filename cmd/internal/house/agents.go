package house

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"bellboard/pool/kubesim"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// agents are the processes inside the simulated pods: each reads its own pod's
// command line and Secret, as the real one would, and talks to Jenkins.
type agents struct {
	clock   clock.Clock
	jenkins *jenkinssim.Jenkins
	pods    Pods
	// hold, if set, keeps an agent from connecting for as long as it waits; an
	// error ends the agent. Only tests set it, before anything starts.
	hold func(ctx context.Context, pod *corev1.Pod) error
	deaf func(*corev1.Pod) bool // tells of a pod whose process never gets to connect; nil: of none

	mu      sync.Mutex
	rng     *rand.Rand
	procs   map[types.UID]*process
	byName  map[string]*process
	wg      sync.WaitGroup
	closed  bool
	created map[string]int
	caches  map[string]int // agents started on a cache slot, by whether it was warm
	shared  int            // agents that began on a slot on which another worked
	peak    int
}

// process is one agent process. by tells who ended it, once it has ended.
type process struct {
	pod    *corev1.Pod
	cancel context.CancelFunc
	mu     sync.Mutex
	ch     *jenkinssim.Channel
	frozen bool
	over   bool
}

// Pods is what agents need of the cluster that their pods are in.
type Pods interface {
	// Secret is the value of a key of the Secret of that name; "" is none. It may
	// wait for the Secret, as a kubelet does.
	Secret(ctx context.Context, namespace, name, key string) string
	// Exit: the pod's process has ended by itself.
	Exit(namespace, name string, code int)
}

// Agents are simulated agents for pods of any cluster: whoever sees the pods'
// lives calls Started and Terminate.
type Agents = agents

// NewAgents makes agents that connect to j. They need Close.
func NewAgents(c clock.Clock, j *jenkinssim.Jenkins, pods Pods, seed int64) *Agents {
	return newAgents(c, j, pods, seed)
}

// Counts returns how many agents were started, by kind, and the most at once.
func (a *agents) Counts() (started map[string]int, peak int) { return a.counts() }

// Close ends all of them.
func (a *agents) Close() { a.close() }

// simPods are the pods of a simulated cluster.
type simPods struct{ *kubesim.Cluster }

// Secret does not wait: the simulated kubelet has.
func (s simPods) Secret(_ context.Context, namespace, name, key string) string {
	if secret := s.Cluster.Secret(namespace, name); secret != nil {
		return string(secret.Data[key])
	}
	return ""
}

func newAgents(c clock.Clock, j *jenkinssim.Jenkins, pods Pods, seed int64) *agents {
	return &agents{
		clock: c, jenkins: j, pods: pods, rng: rand.New(rand.NewPCG(uint64(seed), 0x6167656e74)),
		procs: map[types.UID]*process{}, byName: map[string]*process{}, created: map[string]int{},
		caches: map[string]int{string(scaler.Warm): 0, string(scaler.Cold): 0},
	}
}

func (a *agents) seconds(from, to float64) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Duration((from + a.rng.Float64()*(to-from)) * float64(time.Second))
}

// Started begins the pod's agent process.
func (a *agents) Started(pod *corev1.Pod) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{pod: pod, cancel: cancel}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		cancel()
		return
	}
	if slot := slotOf(pod); slot != "" {
		a.caches[pod.Annotations["bellboard.dev/cache"]]++
		for _, other := range a.procs {
			if slotOf(other.pod) == slot {
				a.shared++
			}
		}
	}
	a.procs[pod.UID], a.byName[pod.Name] = p, p
	a.created[pod.Labels["bellboard.dev/kind"]]++
	a.peak = max(a.peak, len(a.procs))
	a.wg.Go(func() { a.run(ctx, p) })
}

// Terminate ends the process; Jenkins sees it at once.
func (a *agents) Terminate(pod *corev1.Pod, by string) {
	a.mu.Lock()
	p := a.procs[pod.UID]
	a.mu.Unlock()
	if p != nil {
		a.forget(p)
		p.end(by)
	}
}

// forget takes a process that ends from those that live.
func (a *agents) forget(p *process) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.procs, p.pod.UID)
	if a.byName[p.pod.Name] == p {
		delete(a.byName, p.pod.Name)
	}
}

// slotOf is the claim that the daemon beside an agent works on; "": none.
func slotOf(pod *corev1.Pod) string {
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			return pod.Namespace + "/" + v.PersistentVolumeClaim.ClaimName
		}
	}
	return ""
}

func (p *process) end(by string) {
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.ch != nil {
		p.ch.Close(by)
	}
}

// freeze makes an agent fall silent, if it is connected.
func (a *agents) freeze(name string) bool {
	a.mu.Lock()
	p := a.byName[name]
	a.mu.Unlock()
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch == nil || p.frozen || p.over {
		return false
	}
	p.frozen = true
	p.cancel()
	p.ch.Freeze("chaos")
	return true
}

// counts returns how many agents were started, by kind, and the most at once.
func (a *agents) counts() (map[string]int, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string]int, len(a.created))
	maps.Copy(out, a.created)
	return out, a.peak
}

// slots returns how many agents began on a cache slot, warm and cold, and how
// many of them on one that another worked on.
func (a *agents) slots() (map[string]int, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.caches), a.shared
}

func (a *agents) close() {
	a.mu.Lock()
	a.closed = true
	for _, p := range a.procs {
		p.cancel()
	}
	a.mu.Unlock()
	a.wg.Wait()
}

// The agents' own waits, as seen on real ones.
const (
	noReconnectAfter = 6 * time.Hour
	retryEvery       = 10 * time.Second
)

// run is the life of one agent: start, connect, and connect again for ever,
// until the pod is terminated, the process falls silent, or -noReconnectAfter.
func (a *agents) run(ctx context.Context, p *process) {
	cmd := commandOf(p.pod)
	if a.deaf != nil && a.deaf(p.pod) {
		<-ctx.Done()
		return
	}
	wait := a.seconds(1.2, 2.7) // a JVM starts
	away := time.Duration(0)
	for {
		if clock.Sleep(ctx, a.clock, wait) != nil {
			return
		}
		if a.hold != nil && a.hold(ctx, p.pod) != nil {
			return
		}
		ch, err := a.connect(ctx, cmd, p)
		if err != nil {
			wait = retryEvery
			if errors.Is(err, jenkinssim.ErrDown) && !cmd.swarm {
				wait = a.seconds(0.5, 5)
			}
			if away += wait; !cmd.swarm && away > noReconnectAfter {
				a.forget(p)
				a.pods.Exit(p.pod.Namespace, p.pod.Name, 0)
				return
			}
			continue
		}
		away = 0
		p.mu.Lock()
		if p.over || ctx.Err() != nil {
			p.mu.Unlock()
			ch.Close("self")
			return
		}
		p.ch = ch
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-ch.Done():
		}
		wait = a.seconds(0.3, 5)
		if cmd.swarm {
			wait = retryEvery
		}
	}
}

var errNoPassword = errors.New("no password to register with")

func (a *agents) connect(ctx context.Context, cmd command, p *process) (*jenkinssim.Channel, error) {
	secret := a.pods.Secret(ctx, p.pod.Namespace, cmd.secret, cmd.key)
	if cmd.swarm {
		if secret == "" {
			return nil, errNoPassword
		}
		// What Jenkins answers to the one who has the password.
		var err error
		secret, err = a.jenkins.CreateSwarm(jenkinssim.SwarmAgent{
			Name: cmd.name, Description: cmd.description, Labels: cmd.labels, Executors: cmd.executors, Exclusive: cmd.exclusive,
		})
		if err != nil {
			return nil, err
		}
	}
	return a.jenkins.Connect(cmd.name, secret, string(p.pod.UID))
}
