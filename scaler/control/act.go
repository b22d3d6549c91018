package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"bellboard/scaler"
)

const (
	// inFlight bounds the actions of one verb that are under way at once; the
	// adapters pace Jenkins and Kubernetes more finely.
	inFlight = 16
	// actFor is how long a tick goes on beginning actions, or until the next look
	// would be due. What is left is decided anew, on fresh answers: meanwhile builds
	// begin, end, and want their agents back.
	actFor = 2 * time.Second
	// few is how many pods are deleted, and how many notes made on pods, in a tick
	// that has more agents to make than places for that: the API server takes so many
	// calls a second, and builds wait.
	few = 4
	// actLimit is when a tick waits for no answer any more: as long as a write to
	// Jenkins may take.
	actLimit = time.Minute
	// secretPause is how long a Secret that could not be made is not tried again.
	secretPause = 10 * time.Second
)

// lastWords bounds the logs that are read in one tick: agents that fail together
// say the same, and marks wait behind them.
const lastWords = 8

// A round is what one tick's actions have in common.
type round struct {
	late    chan struct{} // closed when nothing more is to begin
	mu      sync.Mutex
	stopped map[errand]error // why no more of them are sent
	reads   int              // of logs
}

// errand is what a pool wants many of.
type errand struct {
	scaler.PoolID
	verb scaler.Verb
}

func (r *round) stop(e errand, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped[e] = err
}

// why is nil unless that errand has failed in this round.
func (r *round) why(e errand) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopped[e]
}

// byJenkins is an error of Jenkins in a creation: no pod was asked for yet.
type byJenkins struct{ error }

func (b byJenkins) Unwrap() error { return b.error }

// A lane is the places for the actions of one verb. Those of other verbs that
// hang do not fill them.
type lane struct {
	places chan struct{}
	asked  int
}

// enter waits for a place; false: the time is over. It never is for the first
// ones, which need not wait: no verb has nothing done because others are slow.
func (n *lane) enter(late <-chan struct{}) bool {
	if n.asked++; n.asked <= inFlight {
		n.places <- struct{}{}
		return true
	}
	select {
	case <-late:
		return false
	default: // where there is both time and a place, chance would choose
	}
	select {
	case <-late:
		return false
	case n.places <- struct{}{}:
		return true
	}
}

func (r *round) mayRead() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	return r.reads <= lastWords
}

// act carries the actions out, in their order, several at once, and in bounded
// time: what has not begun in actFor, or before due, when the next look is, is left
// to the next tick, and what has no answer in actLimit has failed. Of a pool's pods,
// and of its Secrets, none is asked for after one that was refused, or for which
// there was no answer: it would end the same. Where Jenkins gave none, that goes for
// the agents that need one.
func (l *Loop) act(ctx context.Context, view scaler.JenkinsView, actions []scaler.Action, due time.Time) []scaler.Outcome {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Clock.Wall(actLimit))
	defer cancel()
	out := make([]scaler.Outcome, len(actions))
	r := &round{late: make(chan struct{}), stopped: map[errand]error{}}
	defer l.cfg.Clock.AfterFunc(max(actFor, due.Sub(l.cfg.Clock.Now())), func() { close(r.late) })()
	lanes, burst := map[scaler.Verb]*lane{}, inBurst(actions)
	var wg sync.WaitGroup
	for i := range actions {
		o := &out[i]
		*o = scaler.Outcome{Action: actions[i], Result: scaler.Done}
		n := lanes[o.Action.Verb]
		if n == nil {
			n = &lane{places: make(chan struct{}, inFlight)}
			lanes[o.Action.Verb] = n
		}
		if waits := burst && (o.Action.Verb == scaler.DeletePod || o.Action.Verb == scaler.Annotate); waits && n.asked >= few || !n.enter(r.late) {
			o.Result = scaler.NoTime
			continue
		}
		wg.Go(func() {
			defer func() { <-n.places }()
			l.carryOut(ctx, view, r, o)
		})
	}
	wg.Wait()
	return out
}

// inBurst: more agents are to be made than at once.
func inBurst(actions []scaler.Action) bool {
	creations := 0
	for i := range actions {
		if actions[i].Verb == scaler.Create {
			creations++
		}
	}
	return creations > inFlight
}

func (l *Loop) carryOut(ctx context.Context, view scaler.JenkinsView, r *round, o *scaler.Outcome) {
	a := &o.Action
	e := errand{a.Pool, a.Verb}
	switch a.Verb { //nolint:exhaustive // the others differ from each other
	case scaler.Create, scaler.PutSecret:
		err := r.why(e)
		if err == nil && a.Verb == scaler.Create && l.asksJenkins(a) {
			if err = r.why(errand{a.Pool, scaler.Register}); err != nil {
				o.FailedBy = scaler.SourceJenkins
			}
		}
		if err != nil {
			o.Result = scaler.Skipped
			if a.Verb == scaler.PutSecret {
				l.names.inVain(a.Agent, err, l.cfg.Clock.Now())
			}
			return
		}
	case scaler.DeletePod:
		if a.Fault() != "" {
			o.Log = l.hear(ctx, r, a.Pod)
		}
	}
	err := l.one(ctx, view, a)
	if err == nil {
		if o.Failure = a.Fault(); o.Failure != "" && a.Verb == scaler.Mark {
			o.Log = l.hear(ctx, r, a.Pod)
		}
		return
	}
	o.Result, o.Error, o.Failure = result(a.Verb, err), err.Error(), scaler.FailureIn(err)
	if j := (byJenkins{}); o.Result == scaler.Failed && errors.As(err, &j) {
		o.FailedBy, e.verb = scaler.SourceJenkins, scaler.Register
	}
	if (a.Verb == scaler.Create || a.Verb == scaler.PutSecret) && (o.Result == scaler.Refused || o.Result == scaler.Failed) {
		r.stop(e, err)
	}
}

// hear is the last words of an agent that goes since it failed: they go with its
// pod. They are read once; without them it goes all the same.
func (l *Loop) hear(ctx context.Context, r *round, pod *scaler.Pod) string {
	l.names.mu.Lock()
	words, ok := l.names.heard[pod.Name]
	l.names.mu.Unlock()
	if ok || !speaks(pod) || !r.mayRead() {
		return words
	}
	words, err := l.cfg.Cluster.LastWords(ctx, *pod)
	if err != nil {
		l.cfg.Log.Debug("an agent's last words were not heard", zap.String("agent", pod.Name), zap.Error(err))
	}
	l.names.mu.Lock()
	l.names.heard[pod.Name] = words
	l.names.mu.Unlock()
	return words
}

// speaks: something of the pod has run, and its machine can tell.
func speaks(pod *scaler.Pod) bool {
	switch scaler.FailureOf(pod) { //nolint:exhaustive // the others have nothing to say
	case scaler.FailureCrashLoop, scaler.FailureOOM:
		return true
	case scaler.FailureNeverConnected, scaler.FailureEvicted:
		return !pod.Ready.IsZero()
	}
	return false
}

// result sorts an error. What is gone is done for a deletion only: a node that
// is gone was not marked, and no agent was made on it.
func result(v scaler.Verb, err error) scaler.Result {
	switch {
	case errors.Is(err, scaler.ErrGone) && (v == scaler.DeletePod || v == scaler.DeleteNode || v == scaler.DeleteSlot):
		return scaler.Done
	case errors.Is(err, scaler.ErrLate):
		return scaler.Late
	case errors.Is(err, scaler.ErrChanged), errors.Is(err, scaler.ErrGone), errors.Is(err, scaler.ErrExists):
		return scaler.Changed
	case errors.Is(err, scaler.ErrRefused):
		return scaler.Refused
	default:
		return scaler.Failed
	}
}

// one carries one action out. Chosen names are written back into the action.
func (l *Loop) one(ctx context.Context, view scaler.JenkinsView, a *scaler.Action) error {
	deadline := view.Deadline()
	if err := l.stillIdle(ctx, view, a, deadline); err != nil {
		return err
	}
	text := scaler.MarkText(l.cfg.Instance, a.Reason)
	switch a.Verb {
	case scaler.Register:
		return l.register(ctx, a)
	case scaler.Create:
		return l.create(ctx, a, scaler.Birth{Spare: a.Spare, Session: view.Session, Since: l.sessions[view.Session]})
	case scaler.PutSecret:
		return l.putSecret(ctx, *a.Pod)
	case scaler.Launch:
		return l.cfg.Jenkins.Launch(ctx, a.Agent)
	case scaler.Annotate:
		return l.cfg.Cluster.Annotate(ctx, *a.Pod)
	case scaler.Protect:
		return l.cfg.Cluster.Protect(ctx, *a.Pod)
	case scaler.Unprotect:
		return l.cfg.Cluster.Unprotect(ctx, *a.Pod, deadline)
	case scaler.Mark:
		return l.cfg.Jenkins.Mark(ctx, a.Agent, text, deadline)
	case scaler.ClearMark:
		return l.cfg.Jenkins.ClearMark(ctx, a.Agent, text)
	case scaler.Fence:
		return l.cfg.Jenkins.Fence(ctx, a.Agent, a.Pool, deadline)
	case scaler.DeletePod:
		return l.cfg.Cluster.DeletePod(ctx, *a.Pod, deadline)
	case scaler.DeleteSlot:
		return l.cfg.Cluster.DeleteSlot(ctx, *a.Slot, deadline)
	case scaler.ResizeSlot:
		return l.cfg.Cluster.ResizeSlot(ctx, *a.Slot)
	case scaler.DeleteNode:
		if a.Reason == scaler.ReasonLost {
			if absent, err := l.cfg.Cluster.Absent(ctx, a.Agent); err != nil || !absent {
				return errors.Join(err, fmt.Errorf("its pod may be there after all: %w", scaler.ErrChanged))
			}
		}
		return l.cfg.Jenkins.DeleteNode(ctx, a.Agent, deadline)
	}
	return fmt.Errorf("no such action %q", a.Verb)
}

// stillIdle is nil when a's node, if a lets an agent go since that is idle, was so
// a second ago at most. The deadline counts from the later answer, which is the
// queue's, and that may take half a minute: then Jenkins is asked about the one node.
func (l *Loop) stillIdle(ctx context.Context, view scaler.JenkinsView, a *scaler.Action, deadline time.Time) error {
	switch {
	case a.Verb == scaler.DeletePod && !a.Pod.Ended():
	case a.Verb == scaler.DeleteNode, a.Verb == scaler.Unprotect:
	default:
		return nil
	}
	now := l.cfg.Clock.Now()
	if now.Sub(view.NodesAt) <= time.Second || now.After(deadline) {
		return nil
	}
	i := slices.IndexFunc(view.Nodes, func(n scaler.Node) bool { return n.Name == a.Agent })
	if i < 0 || view.Nodes[i].Fence || !view.Nodes[i].Idle {
		return nil // it does not go for that
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer l.cfg.Clock.AfterFunc(deadline.Sub(now), func() { cancel(scaler.ErrLate) })() // an answer after it is of no use
	still, err := l.cfg.Jenkins.StillIdle(ctx, view.Nodes[i])
	if err == nil && !still {
		err = fmt.Errorf("its node is at work, or not marked as it was: %w", scaler.ErrChanged)
	}
	return err
}

// pool is the settings of a pool that a plan creates in.
func (l *Loop) pool(id scaler.PoolID) (scaler.Pool, error) {
	for i := range l.cfg.Teams {
		if p := l.cfg.Teams[i].Pool(id.Kind); p != nil && p.Team == id.Team {
			return *p, nil
		}
	}
	return scaler.Pool{}, fmt.Errorf("team %s has no %s agents", id.Team, id.Kind)
}

// keyed: each of the pool's pods waits for a Secret of its own.
func keyed(p *scaler.Pool) bool { return p.Connect == scaler.Inbound && !p.Called }

// asksJenkins: the creation begins with a question to Jenkins, for there is no
// berth, or its secret was not read in advance.
func (l *Loop) asksJenkins(a *scaler.Action) bool {
	pool, err := l.pool(a.Pool)
	if err != nil || pool.Connect != scaler.Inbound {
		return false
	}
	l.names.mu.Lock()
	defer l.names.mu.Unlock()
	_, read := l.names.words[a.Agent]
	return a.Agent == "" || keyed(&pool) && !read
}

// register makes a berth and reads its secret, so that taking it needs no
// question to Jenkins. A berth without its secret is a berth all the same.
func (l *Loop) register(ctx context.Context, a *scaler.Action) error {
	pool, err := l.pool(a.Pool)
	if err != nil {
		return err
	}
	a.Agent = scaler.AgentName(a.Pool, randomName())
	if err := l.cfg.Jenkins.Register(ctx, a.Agent, pool, l.cfg.Clock.Now().Add(actFor)); err != nil {
		return err
	}
	l.names.set(l.names.berths, a.Agent, true)
	if keyed(&pool) {
		_, err = l.secret(ctx, a.Agent)
	}
	return err
}

func (l *Loop) secret(ctx context.Context, name string) (string, error) {
	l.names.mu.Lock()
	s, ok := l.names.words[name]
	l.names.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := l.cfg.Jenkins.Secret(ctx, name)
	if err != nil {
		return "", err
	}
	l.names.mu.Lock()
	l.names.words[name] = s
	l.names.mu.Unlock()
	return s, nil
}

// create makes an agent: berth (registered here when none was left), cache slot,
// pod, Secret. A crash between any two leaves what the table clears. Errors of
// Jenkins are byJenkins.
func (l *Loop) create(ctx context.Context, a *scaler.Action, birth scaler.Birth) error {
	pool, err := l.pool(a.Pool)
	if err != nil {
		return err
	}
	fresh := a.Agent == ""
	if fresh {
		a.Agent = scaler.AgentName(a.Pool, randomName())
	}
	if pool.Connect == scaler.Inbound {
		if fresh {
			if err := l.cfg.Jenkins.Register(ctx, a.Agent, pool, l.cfg.Clock.Now().Add(actFor)); err != nil {
				return byJenkins{err}
			}
			l.names.set(l.names.berths, a.Agent, true)
		}
		if keyed(&pool) {
			if _, err := l.secret(ctx, a.Agent); err != nil {
				return byJenkins{err}
			}
		}
		// Taken from here on, unless the API server says that it made no pod.
		l.names.set(l.names.berths, a.Agent, false)
	}
	if pool.Slots && a.Slot == nil {
		a.Slot = &scaler.Slot{PoolID: a.Pool, Namespace: pool.Namespace, Store: pool.SlotStore, Name: scaler.SlotName(a.Pool.Team, randomName())}
	}
	var slot scaler.Slot
	if a.Slot != nil {
		slot = *a.Slot
	}
	pod, err := l.cfg.Cluster.Create(ctx, a.Agent, a.Pool, slot, birth)
	if err != nil {
		if (errors.Is(err, scaler.ErrRefused) || errors.Is(err, scaler.ErrChanged)) && pool.Connect == scaler.Inbound {
			l.names.set(l.names.berths, a.Agent, true)
		}
		return err
	}
	if !keyed(&pool) {
		return nil
	}
	if err := l.putSecret(ctx, pod); err != nil {
		a.Pod = &pod
		return err
	}
	return nil
}

// putSecret gives a coming pod what it waits for. It may be repeated.
func (l *Loop) putSecret(ctx context.Context, pod scaler.Pod) error {
	secret, err := l.secret(ctx, pod.Name)
	if err == nil {
		err = l.cfg.Cluster.PutSecret(ctx, pod, secret)
	}
	if err != nil {
		l.names.inVain(pod.Name, err, l.cfg.Clock.Now())
		return err
	}
	l.names.set(l.names.secrets, pod.Name, true)
	l.names.mu.Lock()
	delete(l.names.words, pod.Name)
	delete(l.names.vain, pod.Name)
	l.names.mu.Unlock()
	return nil
}
