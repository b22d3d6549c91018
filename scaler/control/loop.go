package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// Config is what a loop is made of.
type Config struct {
	Jenkins  Jenkins
	Cluster  Cluster
	Store    Store // nil: what the loop learns ends with the process
	Clock    clock.Clock
	Log      *zap.Logger
	Instance string
	// Teams returns the teams as they are at a time; nil: there are none.
	Teams     func(now time.Time) []scaler.Team
	MaxAgents int
	// Poll is the least time between two ticks. If Jenkins answers slowly, the time is ten times what the
	// answers took, at most 30 s: so Bellboard takes a tenth of Jenkins' time. While Jenkins answers nothing
	// (scaler.ErrAway), Bellboard asks one small question every Poll.
	Poll time.Duration
	// Grace is JENKINS_RESTART_GRACE.
	Grace time.Duration
	// DryRun decides and shows, and writes nothing.
	DryRun bool
	// Standby is a DryRun beside a leader: it logs its decisions as Debug.
	Standby bool
	// Record gets every tick when the tick is over.
	Record func(scaler.Tick)
	// Decide makes the plan of a tick. Its error names each promise that the plan breaks; such a plan is not
	// carried out. Nil is scaler.Checked.
	Decide func(scaler.Input) (scaler.Plan, scaler.Memory, scaler.Facts, error)
}

// Loop runs ticks, one after another.
type Loop struct {
	cfg      Config
	teams    []scaler.Team // as they are in this tick
	memory   scaler.Memory
	learnt   learnt
	sessions map[string]time.Time // of Jenkins: since when each is known
	process  *process
	id       string // of this process
	ticks    int
	last     time.Time // the end of the last tick
	news     scaler.Newspaper
	draining atomic.Bool
}

// New returns a loop with an empty memory.
func New(cfg Config) *Loop {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Teams == nil {
		cfg.Teams = func(time.Time) []scaler.Team { return nil }
	}
	if cfg.Record == nil {
		cfg.Record = func(scaler.Tick) {}
	}
	if cfg.Decide == nil {
		cfg.Decide = scaler.Checked
	}
	return &Loop{
		cfg: cfg, sessions: map[string]time.Time{}, process: newProcess(),
		id: randomName(), // two replicas may start in the same second
	}
}

// Drain has the loop remove everything of this instance: agents as if all teams were paused, and berths as if
// this process had not registered them. Only a new Loop ends a drain.
func (l *Loop) Drain() { l.draining.Store(true) }

// teamsAt returns the teams as they are at a time, all paused during a drain.
func (l *Loop) teamsAt(now time.Time) []scaler.Team {
	out := l.cfg.Teams(now)
	if !l.draining.Load() {
		return out
	}
	out = slices.Clone(out)
	for i := range out {
		out[i].Paused = true
	}
	return out
}

// Run ticks until ctx ends, which is no error.
func (l *Loop) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		began := l.cfg.Clock.Now()
		t, pause := l.tick(ctx)
		if ctx.Err() == nil { // ctx has not cut the tick short
			l.cfg.Record(t)
			l.keep(ctx, false)
		}
		rest := pause - l.cfg.Clock.Now().Sub(began)
		_ = clock.Sleep(ctx, l.cfg.Clock, max(rest, l.cfg.Poll/10)) // the only error is ctx's, which the loop checks
	}
	l.keep(context.WithoutCancel(ctx), true)
	return nil
}

// pause returns the time between the beginnings of two ticks. answered and err are of the first tick: how
// long Jenkins' answers took, and their error.
func (l *Loop) pause(answered time.Duration, err error) time.Duration {
	if errors.Is(err, scaler.ErrAway) {
		return answered + l.cfg.Poll // the next question is a cheap one, and has a short time
	}
	return max(l.cfg.Poll, min(10*answered, 30*time.Second))
}

// Tick is one pass: observe, decide, act, record. It does not sleep.
func (l *Loop) Tick(ctx context.Context) scaler.Tick {
	t, _ := l.tick(ctx)
	return t
}

func (l *Loop) tick(ctx context.Context) (t scaler.Tick, pause time.Duration) {
	if l.ticks == 0 {
		l.recall(ctx)
	}
	began := l.cfg.Clock.Now()
	if gap := began.Sub(l.last); gap > max(time.Minute, 3*l.cfg.Poll) {
		// The process was stopped, or Jenkins took that long: no answer covers that time.
		l.memory = l.memory.Blind()
	}
	l.ticks++
	t = scaler.Tick{ID: fmt.Sprintf("%s-%d", l.id, l.ticks), At: began, Age: map[scaler.Source]time.Duration{}}
	var answered time.Duration
	in, by, err := l.observe(ctx, &t, &answered)
	pause = l.pause(answered, err)
	if err != nil {
		l.hold(&t, by, err)
	} else {
		l.decide(ctx, &t, in, began.Add(pause))
	}
	l.news.Read(&t)
	l.last = l.cfg.Clock.Now()
	t.Took = l.last.Sub(began)
	l.log(&t, ctx.Err() != nil)
	return t, pause
}

// observe asks Jenkins, then reads the caches of the cluster. Answers that are too old are an error. answered
// is how long Jenkins took, also for an error: a Jenkins that times out is not asked again at once.
func (l *Loop) observe(ctx context.Context, t *scaler.Tick, answered *time.Duration) (in scaler.Input, by scaler.Source, err error) {
	asked := l.cfg.Clock.Now()
	jenkins, err := l.cfg.Jenkins.Observe(ctx)
	*answered = l.cfg.Clock.Now().Sub(asked)
	if err != nil {
		return in, scaler.SourceJenkins, err
	}
	cluster, err := l.cfg.Cluster.Observe(ctx)
	if err != nil {
		return in, scaler.SourceKubernetes, err
	}
	if _, known := l.sessions[jenkins.Session]; !known {
		l.sessions[jenkins.Session] = knownSince(&jenkins, cluster.Pods)
	}
	now, graceUntil := l.cfg.Clock.Now(), l.sessions[jenkins.Session].Add(l.cfg.Grace)
	t.Age[scaler.SourceJenkins] = now.Sub(jenkins.AnsweredAt)
	t.Age[scaler.SourceKubernetes] = max(0, now.Sub(cluster.At))
	t.Grace = max(0, graceUntil.Sub(now))
	if limit := max(10*time.Second, 3*l.cfg.Poll); t.Age[scaler.SourceJenkins] > limit {
		return in, scaler.SourceJenkins, scaler.TooOld(t.Age[scaler.SourceJenkins], limit)
	}
	l.process.seen(jenkins, cluster, &l.memory)
	cluster.Pods = l.process.explained(cluster.Pods)
	berths, secrets := l.process.input(now)
	if l.cfg.DryRun {
		berths, secrets = asReader(jenkins, cluster)
	}
	l.teams = l.teamsAt(now)
	return scaler.Input{
		Now: now, MaxAgents: l.cfg.MaxAgents, Teams: l.teams, Jenkins: jenkins, Cluster: cluster,
		GraceUntil: graceUntil, Berths: berths, Closing: l.draining.Load(), Secrets: secrets,
		Memory: l.memory,
	}, "", nil
}

// knownSince returns since when Jenkins' session is known, to this process or to a process that made a pod in
// that session.
func knownSince(j *scaler.JenkinsView, pods []scaler.Pod) time.Time {
	since := j.AnsweredAt
	if !j.SessionSince.IsZero() {
		since = j.SessionSince
	}
	for i := range pods {
		if p := &pods[i]; p.Session == j.Session && p.SessionSince.Before(since) {
			since = p.SessionSince
		}
	}
	return since
}

// asReader returns what a reader counts as its own, since it makes neither: the Jenkins nodes without a pod as
// berths, and the Secrets of all pods.
func asReader(j scaler.JenkinsView, c scaler.ClusterView) (berths, secrets map[string]bool) {
	berths, secrets = map[string]bool{}, map[string]bool{}
	for i := range j.Nodes {
		if n := &j.Nodes[i]; n.Mine() && !n.Fence {
			berths[n.Name] = true
		}
	}
	for i := range c.Pods {
		delete(berths, c.Pods[i].Name)
		secrets[c.Pods[i].Name] = true
	}
	return berths, secrets
}

// hold does nothing, and says why.
func (l *Loop) hold(t *scaler.Tick, by scaler.Source, err error) {
	t.Hold, t.HoldBy, t.HoldCause = err.Error(), by, scaler.CauseOf(err)
	l.memory = l.memory.Blind()
}

// decide makes the plan, checks it against the promises, and acts. due is the time of the next poll.
func (l *Loop) decide(ctx context.Context, t *scaler.Tick, in scaler.Input, due time.Time) {
	plan, memory, facts, broken := l.cfg.Decide(in)
	t.Items, t.Plan, t.Facts = in.Jenkins.Items, plan, facts
	// The memory is of what the answers showed, whatever becomes of the plan: a mark that they did not show
	// is not remembered as seen.
	l.memory = memory
	if broken != nil {
		// A plan that breaks a promise is a bug: nothing of it is done.
		l.cfg.Log.Error("the plan breaks a promise; nothing is done", zap.String("tick", t.ID), zap.Error(broken))
		l.hold(t, scaler.SourceBellboard, scaler.Caused(scaler.CausePlan, fmt.Errorf("the plan breaks a promise: %w", broken)))
		return
	}
	if l.cfg.DryRun {
		for _, a := range plan.Actions {
			t.Outcomes = append(t.Outcomes, scaler.Outcome{Action: a, Result: scaler.Skipped})
		}
		return
	}
	t.Outcomes = l.act(ctx, in.Jenkins, plan.Actions, due)
	var failed []scaler.FailedAgent
	l.memory, failed = memory.Learn(in, facts, t.Outcomes, l.cfg.Clock.Now())
	t.Facts.Failures = append(t.Facts.Failures, failed...)
	for i := range t.Facts.BuildsLost {
		b := &t.Facts.BuildsLost[i]
		b.Log = l.process.of(b.Agent).log
	}
}
