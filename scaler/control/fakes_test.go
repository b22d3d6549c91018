package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// house is both ports over a few slices: what is registered is a node, what is
// created is a pod, and nothing moves by itself. fail makes a call fail.
type house struct {
	mu      sync.Mutex
	session string
	slow    time.Duration // how long Jenkins needs to answer
	queue   time.Duration // how much longer for the queue
	age     time.Duration // how old its answers are when they are given
	skew    time.Duration // how far the API server's clock is ahead
	nodes   map[string]scaler.Node
	items   []scaler.Item
	pods    map[string]scaler.Pod
	slots   map[string]scaler.Slot
	secrets map[string]string                     // by pod
	absent  bool                                  // what a live read says
	calls   []string                              // every write, in order: "verb name"
	fail    map[string]error                      // by call: "observe jenkins", "create", ...
	creates func(name string)                     // what else happens in a creation
	slowly  func(verb, name string) time.Duration // how long a write takes
	times   []time.Time                           // of each question to Jenkins
	until   map[string]time.Duration              // deadlines that came with writes, from now
}

func newHouse() *house {
	return &house{
		session: "s1", nodes: map[string]scaler.Node{}, pods: map[string]scaler.Pod{}, slots: map[string]scaler.Slot{}, secrets: map[string]string{},
		fail: map[string]error{}, until: map[string]time.Duration{}, absent: true,
	}
}

// backoff is that of the pool id, and whether an agent of it has failed.
func (l *Loop) backoff() (scaler.Backoff, bool) {
	b := l.memory.Pools[id].Backoff
	return b, !b.Until.IsZero() || b.Came
}

// call notes a write and answers with the failure there is for it.
func (h *house) call(verb, name string) error {
	h.calls = append(h.calls, verb+" "+name)
	return h.fail[verb]
}

// wrote counts the writes of one verb.
func (h *house) wrote(verb string) int {
	n := 0
	for _, c := range h.calls {
		if strings.HasPrefix(c, verb+" ") {
			n++
		}
	}
	return n
}

// took lets a write take its time.
func (h *house) took(ctx context.Context, verb, name string) error {
	if h.slowly == nil {
		return nil
	}
	return clock.Sleep(ctx, clock.Real(), h.slowly(verb, name))
}

// jenkins and cluster are the two ports.
type jenkins struct{ *house }

type cluster struct{ *house }

var (
	_ Jenkins = jenkins{}
	_ Cluster = cluster{}
)

func (h jenkins) Observe(ctx context.Context) (scaler.JenkinsView, error) {
	h.mu.Lock()
	slow, queue := h.slow, h.queue
	h.times = append(h.times, time.Now())
	h.mu.Unlock()
	asked := time.Now()
	if err := clock.Sleep(ctx, clock.Real(), slow); err != nil {
		return scaler.JenkinsView{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fail["observe jenkins"]; err != nil {
		return scaler.JenkinsView{}, err
	}
	v := scaler.JenkinsView{Session: h.session, AskedAt: asked.Add(-h.age), NodesAt: time.Now().Add(-h.age)}
	for _, name := range slices.Sorted(maps.Keys(h.nodes)) {
		v.Nodes = append(v.Nodes, h.nodes[name])
	}
	h.mu.Unlock()
	err := clock.Sleep(ctx, clock.Real(), queue)
	h.mu.Lock()
	v.AnsweredAt, v.Items = time.Now().Add(-h.age), slices.Clone(h.items)
	return v, err
}

func (h jenkins) Fence(_ context.Context, name string, id scaler.PoolID, deadline time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until["fence"] = time.Until(deadline)
	if err := h.call("register", name); err != nil {
		return err
	}
	h.nodes[name] = scaler.Node{Name: name, Team: id.Team, Kind: id.Kind, Fence: true, Executors: 1, Idle: true}
	return nil
}

func (h jenkins) Register(_ context.Context, name string, pool scaler.Pool, deadline time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until["register"] = time.Until(deadline)
	if err := h.call("register", name); err != nil {
		return err
	}
	h.nodes[name] = scaler.Node{Name: name, Team: pool.Team, Kind: pool.Kind, Labels: pool.Labels, Executors: 1, Idle: true}
	return nil
}

func (h jenkins) Secret(_ context.Context, name string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.call("read-secret", name); err != nil {
		return "", err
	}
	return "secret of " + name, nil
}

func (h jenkins) Launch(ctx context.Context, name string) error {
	if err := h.took(ctx, "launch", name); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.call("launch", name)
}

func (h jenkins) Mark(_ context.Context, name, text string, deadline time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until["mark"] = time.Until(deadline)
	if err := h.call("mark", name); err != nil {
		return err
	}
	n := h.nodes[name]
	cause := scaler.Cause{Reason: text[strings.LastIndex(" : "+text, " : "):]} // as Jenkins cuts it
	n.OfflineBy, n.Offline = scaler.ReadMark("bell", true, cause, ""), cause.Text()
	h.nodes[name] = n
	return nil
}

func (h jenkins) ClearMark(ctx context.Context, name, _ string) error {
	if err := h.took(ctx, "clear-mark", name); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.call("clear-mark", name); err != nil {
		return err
	}
	n := h.nodes[name]
	n.OfflineBy, n.Offline = scaler.NotMarked, ""
	h.nodes[name] = n
	return nil
}

func (h jenkins) StillIdle(ctx context.Context, seen scaler.Node) (bool, error) {
	if err := h.took(ctx, "still-idle", seen.Name); err != nil {
		return false, context.Cause(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.call("still-idle", seen.Name)
	n, ok := h.nodes[seen.Name]
	return ok && n.Idle && n.OfflineBy == seen.OfflineBy && n.MarkedAt.Equal(seen.MarkedAt), err
}

func (h jenkins) DeleteNode(_ context.Context, name string, deadline time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until["delete-node"] = time.Until(deadline)
	if err := h.call("delete-node", name); err != nil {
		return err
	}
	delete(h.nodes, name)
	return nil
}

func (h cluster) Observe(context.Context) (scaler.ClusterView, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := scaler.ClusterView{At: time.Now()}
	for _, name := range slices.Sorted(maps.Keys(h.pods)) {
		v.Pods = append(v.Pods, h.pods[name])
	}
	for _, name := range slices.Sorted(maps.Keys(h.slots)) {
		v.Slots = append(v.Slots, h.slots[name])
	}
	return v, h.fail["observe cluster"]
}

func (h cluster) Create(ctx context.Context, name string, id scaler.PoolID, slot scaler.Slot, birth scaler.Birth) (scaler.Pod, error) {
	if err := h.took(ctx, "create", name); err != nil {
		return scaler.Pod{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.creates != nil {
		h.creates(name)
	}
	if err := h.call("create", name); err != nil {
		return scaler.Pod{}, err
	}
	p := scaler.Pod{PoolID: id, Name: name, UID: "uid-" + name, Phase: scaler.PodPending, Created: time.Now().Add(h.skew), Connect: scaler.Inbound, Protected: !birth.Spare, Slot: slot.Name, Namespace: slot.Namespace, Session: birth.Session, SessionSince: birth.Since}
	if id.Kind == scaler.Persistent {
		p.Connect = scaler.Swarm
	}
	h.pods[name] = p
	return p, nil
}

func (h cluster) DeleteSlot(_ context.Context, slot scaler.Slot, deadline time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until["delete-slot"] = time.Until(deadline)
	if err := h.call("delete-slot", slot.Name); err != nil {
		return err
	}
	delete(h.slots, slot.Name)
	return nil
}

func (h cluster) PutSecret(ctx context.Context, pod scaler.Pod, secret string) error {
	if err := h.took(ctx, "put-secret", pod.Name); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.call("put-secret", pod.Name); err != nil {
		return err
	}
	h.secrets[pod.Name] = secret
	return nil
}

func (h cluster) Protect(_ context.Context, pod scaler.Pod) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.call("protect", pod.Name); err != nil {
		return err
	}
	p := h.pods[pod.Name]
	p.Protected = true
	h.pods[pod.Name] = p
	return nil
}

func (h cluster) Unprotect(_ context.Context, pod scaler.Pod, deadline time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until["unprotect"] = time.Until(deadline)
	if err := h.call("unprotect", pod.Name); err != nil {
		return err
	}
	p := h.pods[pod.Name]
	p.Protected = false
	h.pods[pod.Name] = p
	return nil
}

func (h cluster) Annotate(_ context.Context, pod scaler.Pod) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.call("annotate", pod.Name); err != nil {
		return err
	}
	p := h.pods[pod.Name]
	p.Connected, p.ConnectedAt = true, time.Now()
	h.pods[pod.Name] = p
	return nil
}

func (h cluster) DeletePod(ctx context.Context, pod scaler.Pod, deadline time.Time) error {
	if err := h.took(ctx, "delete-pod", pod.Name); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until["delete-pod"] = time.Until(deadline)
	if err := h.call("delete-pod", pod.Name); err != nil {
		return err
	}
	delete(h.pods, pod.Name)
	return nil
}

func (h cluster) LastLog(_ context.Context, pod scaler.Pod) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.call("last-words", pod.Name); err != nil {
		return "", err
	}
	return "last log lines of " + pod.Name, nil
}

func (h cluster) Absent(_ context.Context, name string) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.call("absent", name); err != nil {
		return false, err
	}
	return h.absent, nil
}

// What happens in the house between two ticks.

// wait puts n items into the queue.
func (h *house) wait(n int) {
	for range n {
		h.items = append(h.items, scaler.Item{
			ID: int64(len(h.items) + 1), Job: "job", Since: time.Now(), State: scaler.Buildable, Resolution: scaler.Labelled, Label: "linux",
		})
	}
}

// agent puts an agent of the team there, connected and free; set changes it.
func (h *house) agent(name string, set func(*scaler.Pod, *scaler.Node)) {
	id := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	p := scaler.Pod{PoolID: id, Name: name, UID: "uid-" + name, Phase: scaler.PodRunning, Created: time.Now().Add(h.skew), Scheduled: time.Now().Add(h.skew), Connected: true, Connect: scaler.Inbound, Protected: true}
	n := scaler.Node{Name: name, Team: id.Team, Kind: id.Kind, Labels: webLabels, Online: true, Executors: 1, Idle: true}
	if set != nil {
		set(&p, &n)
	}
	h.pods[name], h.nodes[name] = p, n
}

var webLabels = []string{"ephemeral", "linux"}

// webTeam has one inbound pool and two berths.
func webTeam() scaler.Team {
	id := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	return scaler.Team{
		Name: "web", Labels: []string{"linux"}, Mode: scaler.ModeEphemeral, MaxAgents: 10, MaxPersistent: 10,
		Pools: []scaler.Pool{{PoolID: id, Connect: scaler.Inbound, Labels: webLabels, Berths: 2, IdleTimeout: time.Minute, StartTimeout: 5 * time.Minute}},
	}
}

// anytime is a time at which teams are asked for that are always the same.
var anytime time.Time

// always returns these teams at every time.
func always(teams ...scaler.Team) func(time.Time) []scaler.Team {
	return func(time.Time) []scaler.Team { return teams }
}

// loop makes a loop over the house.
func (h *house) loop(change ...func(*Config)) *Loop {
	cfg := Config{
		Jenkins: jenkins{h}, Cluster: cluster{h}, Clock: clock.Real(), Instance: "bell", Teams: always(webTeam()),
		MaxAgents: 100, Poll: time.Second, Grace: 5 * time.Minute,
	}
	for _, f := range change {
		f(&cfg)
	}
	return New(cfg)
}

// outcomes are a tick's outcomes in short, sorted: "verb reason result".
func outcomes(t scaler.Tick) []string {
	var out []string
	for _, o := range t.Outcomes {
		out = append(out, fmt.Sprintf("%s %s %s", o.Action.Verb, o.Action.Reason, o.Result))
	}
	slices.Sort(out)
	return out
}
