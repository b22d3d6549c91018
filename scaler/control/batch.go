package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"bellboard/scaler"
)

const (
	// inFlight limits how many actions of one verb are under way at once. The adapters pace Jenkins and
	// Kubernetes more finely.
	inFlight = 16
	// actFor is how long a tick begins actions, unless the next poll is due later. The next tick decides the
	// rest anew, on fresh answers: meanwhile builds begin, end, and want their agents back.
	actFor = 2 * time.Second
	// few is how many pods a tick deletes and how many it annotates, if the tick makes more than inFlight
	// agents. The API server takes so many calls a second, and builds wait.
	few = 4
	// actLimit is when a tick stops to wait for answers. A write to Jenkins may take that long.
	actLimit = time.Minute
	// maxLogs limits how many logs a tick reads. Agents that fail together say the same, and marks wait
	// behind the logs.
	maxLogs = 8
)

// A batch is the actions of one tick, and what they have in common.
type batch struct {
	over    chan struct{} // closed when nothing more is to begin
	mu      sync.Mutex
	stopped map[target]error // the failure after which no more of them are sent
	logs    int              // how many logs were read
}

// target is one verb for one pool. After one action has failed, the batch tries no other action of its target.
type target struct {
	scaler.PoolID
	verb scaler.Verb
}

func (b *batch) stop(t target, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped[t] = err
}

// why returns the error of the target's action that failed in this batch, or nil.
func (b *batch) why(t target) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stopped[t]
}

func (b *batch) mayReadLog() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs++
	return b.logs <= maxLogs
}

// places are the places for actions of one verb that are under way. So an action that hangs takes no place from
// the other verbs.
type places struct {
	free  chan struct{}
	asked int
}

// enter waits for a place. enter returns false if the time is over. The first inFlight actions of a verb always
// get a place: so each verb gets something done, however slow the other verbs are.
func (p *places) enter(over <-chan struct{}) bool {
	if p.asked++; p.asked <= inFlight {
		p.free <- struct{}{}
		return true
	}
	select {
	case <-over:
		return false
	default: // the next select chooses by chance if there is a place and the time is over
	}
	select {
	case <-over:
		return false
	case p.free <- struct{}{}:
		return true
	}
}

// act carries the actions out, in their order, several at once, and in bounded time:
//
//   - act begins no action after actFor or after due, the time of the next poll, whichever is later. The next
//     tick decides these actions anew.
//   - An action without an answer after actLimit has failed.
//   - If the pod or the Secret of one agent was rejected, or got no answer, act sends no other one of its pool:
//     the result would be the same. If Jenkins gave no answer, this holds for agents that need Jenkins.
func (l *Loop) act(ctx context.Context, view scaler.JenkinsView, actions []scaler.Action, due time.Time) []scaler.Outcome {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Clock.Wall(actLimit))
	defer cancel()
	out := make([]scaler.Outcome, len(actions))
	b := &batch{over: make(chan struct{}), stopped: map[target]error{}}
	defer l.cfg.Clock.AfterFunc(max(actFor, due.Sub(l.cfg.Clock.Now())), func() { close(b.over) })()
	byVerb, burst := map[scaler.Verb]*places{}, inBurst(actions)
	var wg sync.WaitGroup
	for i := range actions {
		o := &out[i]
		*o = scaler.Outcome{Action: actions[i], Result: scaler.Done}
		p := byVerb[o.Action.Verb]
		if p == nil {
			p = &places{free: make(chan struct{}, inFlight)}
			byVerb[o.Action.Verb] = p
		}
		if waits := burst && (o.Action.Verb == scaler.DeletePod || o.Action.Verb == scaler.Annotate); waits && p.asked >= few || !p.enter(b.over) {
			o.Result = scaler.NoTime
			continue
		}
		wg.Go(func() {
			defer func() { <-p.free }()
			l.carryOut(ctx, view, b, o)
		})
	}
	wg.Wait()
	return out
}

// inBurst reports whether the actions make more agents than may be under way at once.
func inBurst(actions []scaler.Action) bool {
	creations := 0
	for i := range actions {
		if actions[i].Verb == scaler.Create {
			creations++
		}
	}
	return creations > inFlight
}

func (l *Loop) carryOut(ctx context.Context, view scaler.JenkinsView, b *batch, o *scaler.Outcome) {
	a := &o.Action
	t := target{a.Pool, a.Verb}
	switch a.Verb { //nolint:exhaustive // the others differ from each other
	case scaler.Create, scaler.PutSecret:
		err := b.why(t)
		if err == nil && a.Verb == scaler.Create && l.asksJenkins(a) {
			if err = b.why(target{a.Pool, scaler.Register}); err != nil {
				o.FailedBy = scaler.SourceJenkins
			}
		}
		if err != nil {
			o.Result = scaler.Skipped
			if a.Verb == scaler.PutSecret {
				l.process.secretFailed(a.Agent, err, l.cfg.Clock.Now())
			}
			return
		}
	case scaler.DeletePod:
		if a.Fault() != "" {
			o.Log = l.lastLog(ctx, b, a.Pod)
		}
	}
	err := l.write(ctx, view, a)
	if err == nil {
		if o.Failure = a.Fault(); o.Failure != "" && a.Verb == scaler.Mark {
			o.Log = l.lastLog(ctx, b, a.Pod)
		}
		return
	}
	o.Result, o.Error, o.Failure = result(a.Verb, err), err.Error(), scaler.FailureIn(err)
	if j := (byJenkins{}); o.Result == scaler.Failed && errors.As(err, &j) {
		o.FailedBy, t.verb = scaler.SourceJenkins, scaler.Register
	}
	if (a.Verb == scaler.Create || a.Verb == scaler.PutSecret) && (o.Result == scaler.Rejected || o.Result == scaler.Failed) {
		b.stop(t, err)
	}
}

// lastLog returns the last log lines of an agent that goes because it failed: the lines go with its pod. Each
// agent's log is read once. If the log cannot be read, the agent goes all the same.
func (l *Loop) lastLog(ctx context.Context, b *batch, pod *scaler.Pod) string {
	if k := l.process.of(pod.Name); k.logRead || !hasLog(pod) || !b.mayReadLog() {
		return k.log
	}
	text, err := l.cfg.Cluster.LastLog(ctx, *pod)
	if err != nil {
		l.cfg.Log.Debug("the log of an agent that failed was not read", zap.String("agent", pod.Name), zap.Error(err))
	}
	l.process.set(pod.Name, func(k *known) { k.log, k.logRead = text, true })
	return text
}

// hasLog reports whether a container of the pod has run on a Kubernetes node that still answers.
func hasLog(pod *scaler.Pod) bool {
	switch scaler.FailureOf(pod) { //nolint:exhaustive // the others have nothing to say
	case scaler.FailureCrashLoop, scaler.FailureOOM:
		return true
	case scaler.FailureNeverConnected, scaler.FailureEvicted:
		return !pod.Ready.IsZero()
	}
	return false
}

// result returns the result that an error means. A deletion of something that is gone is done. But a Jenkins node
// that is gone was not marked, and no agent was made on it.
func result(v scaler.Verb, err error) scaler.Result {
	switch {
	case errors.Is(err, scaler.ErrGone) && (v == scaler.DeletePod || v == scaler.DeleteNode || v == scaler.DeleteSlot):
		return scaler.Done
	case errors.Is(err, scaler.ErrExpired):
		return scaler.Expired
	case errors.Is(err, scaler.ErrChanged), errors.Is(err, scaler.ErrGone), errors.Is(err, scaler.ErrExists):
		return scaler.Changed
	case errors.Is(err, scaler.ErrRejected):
		return scaler.Rejected
	default:
		return scaler.Failed
	}
}
