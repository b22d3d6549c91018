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

// Agents has the agent processes for the pods of any cluster. The caller watches the pods, and calls Started
// and Terminate. Each process reads the command line and the Secret of its pod, as a real agent does, and
// connects to Jenkins.
type Agents struct {
	clock   clock.Clock
	jenkins *jenkinssim.Jenkins
	pods    Pods
	// hold, if set, keeps an agent from connecting until hold returns. An error ends the agent. Only tests
	// set hold, before anything starts.
	hold func(ctx context.Context, pod *corev1.Pod) error
	deaf func(*corev1.Pod) bool // reports a pod whose process never connects; nil: there is none

	mu      sync.Mutex
	rng     *rand.Rand
	procs   map[types.UID]*process
	byName  map[string]*process
	wg      sync.WaitGroup
	closed  bool
	created map[string]int
	caches  map[string]int // agents that started on a cache slot, by warm and cold
	shared  int            // agents that started on a cache slot while another agent used it
	peak    int
}

// process is one agent process.
type process struct {
	pod    *corev1.Pod
	cancel context.CancelFunc
	mu     sync.Mutex
	ch     *jenkinssim.Channel
	frozen bool
	over   bool
}

// Pods has what agents need of the cluster of their pods.
type Pods interface {
	// Secret returns the value of a key of a Secret; "" is none. Secret may wait for the Secret, as a kubelet
	// does.
	Secret(ctx context.Context, namespace, name, key string) string
	// Exit gets a pod whose process has ended.
	Exit(namespace, name string, code int)
}

// simPods is the Pods of a simulated cluster.
type simPods struct{ *kubesim.Cluster }

// Secret does not wait: the simulated kubelet has waited.
func (s simPods) Secret(_ context.Context, namespace, name, key string) string {
	if secret := s.Cluster.Secret(namespace, name); secret != nil {
		return string(secret.Data[key])
	}
	return ""
}

// NewAgents returns agents that connect to j. The caller has to call Close.
func NewAgents(c clock.Clock, j *jenkinssim.Jenkins, pods Pods, seed int64) *Agents {
	return &Agents{
		clock: c, jenkins: j, pods: pods, rng: rand.New(rand.NewPCG(uint64(seed), 0x6167656e74)),
		procs: map[types.UID]*process{}, byName: map[string]*process{}, created: map[string]int{},
		caches: map[string]int{string(scaler.Warm): 0, string(scaler.Cold): 0},
	}
}

func (a *Agents) seconds(from, to float64) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Duration((from + a.rng.Float64()*(to-from)) * float64(time.Second))
}

// Started starts the agent process of a pod.
func (a *Agents) Started(pod *corev1.Pod) {
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

// Terminate ends the agent process of a pod. Jenkins sees that at once.
func (a *Agents) Terminate(pod *corev1.Pod, by string) {
	a.mu.Lock()
	p := a.procs[pod.UID]
	a.mu.Unlock()
	if p != nil {
		a.forget(p)
		p.end(by)
	}
}

// forget removes a process that ends from the lists.
func (a *Agents) forget(p *process) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.procs, p.pod.UID)
	if a.byName[p.pod.Name] == p {
		delete(a.byName, p.pod.Name)
	}
}

// slotOf returns the volume claim of the Docker daemon beside an agent; "": none.
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

// freeze makes a connected agent send nothing any more.
func (a *Agents) freeze(name string) bool {
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

// Counts returns the number of agents that started, by kind, and the most at once.
func (a *Agents) Counts() (started map[string]int, peak int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[string]int, len(a.created))
	maps.Copy(out, a.created)
	return out, a.peak
}

// slots returns the number of agents that started on a cache slot, by warm and cold, and how many of them
// shared it with another agent.
func (a *Agents) slots() (map[string]int, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.caches), a.shared
}

// Close ends all agents.
func (a *Agents) Close() {
	a.mu.Lock()
	a.closed = true
	for _, p := range a.procs {
		p.cancel()
	}
	a.mu.Unlock()
	a.wg.Wait()
}

// The waiting times of real agents.
const (
	noReconnectAfter = 6 * time.Hour
	retryEvery       = 10 * time.Second
)

// run starts one agent, connects it, and connects it again and again, until the pod is terminated, the agent
// is frozen, or -noReconnectAfter is over.
func (a *Agents) run(ctx context.Context, p *process) {
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

func (a *Agents) connect(ctx context.Context, cmd command, p *process) (*jenkinssim.Channel, error) {
	secret := a.pods.Secret(ctx, p.pod.Namespace, cmd.secret, cmd.key)
	if cmd.swarm {
		if secret == "" {
			return nil, errNoPassword
		}
		// Jenkins answers an agent that has the password with the agent's secret.
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
