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
	Jenkins   Jenkins
	Cluster   Cluster
	Clock     clock.Clock
	Log       *zap.Logger
	Instance  string
	Teams     []scaler.Team
	MaxAgents int
	// Poll is the least time between two ticks; it is stretched to ten times what
	// Jenkins needed to answer, so that Bellboard costs it a tenth of its time, up to 30 s.
	// While Jenkins answers nothing at all (scaler.ErrAway), one poll follows each cheap question.
	Poll time.Duration
	// Grace is JENKINS_RESTART_GRACE.
	Grace time.Duration
	// DryRun decides and shows, and writes nothing.
	DryRun bool
	// Standby is a DryRun beside a leader: what it says of its decisions is Debug.
	Standby bool
	// Record gets every tick when it is over.
	Record func(scaler.Tick)
	// Decide makes the plan of a tick. Its error names each promise that the plan
	// breaks; such a plan is not carried out. Nil is scaler.Checked.
	Decide func(scaler.Input) (scaler.Plan, scaler.Memory, scaler.Facts, error)
}

// Loop is one Bellboard at work. Its ticks run one after another.
type Loop struct {
	cfg      Config
	memory   scaler.Memory
	sessions map[string]time.Time // of Jenkins: since when each is known
	process  *process
	id       string // of this process
	ticks    int
	last     time.Time // the end of the last tick
	news     scaler.Newspaper
	draining atomic.Bool
}

// New makes a loop that has seen nothing yet.
func New(cfg Config) *Loop {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
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

// Drain makes everything of this instance go: agents as if all teams were
// paused, berths as if nobody had registered them. There is no way back but a
// new Loop.
func (l *Loop) Drain() { l.draining.Store(true) }

// teams are the teams as they are to be decided for now.
func (l *Loop) teams() []scaler.Team {
	if !l.draining.Load() {
		return l.cfg.Teams
	}
	out := slices.Clone(l.cfg.Teams)
	for i := range out {
		out[i].Paused = true
	}
	return out
}

// Run ticks until ctx ends, whose end is no error.
func (l *Loop) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		began := l.cfg.Clock.Now()
		t, pause := l.tick(ctx)
		if ctx.Err() == nil { // a tick that ctx has cut short shows nothing
			l.cfg.Record(t)
		}
		rest := pause - l.cfg.Clock.Now().Sub(began)
		_ = clock.Sleep(ctx, l.cfg.Clock, max(rest, l.cfg.Poll/10)) // its only error is ctx's, which the loop looks at
	}
	return nil
}

// pause is the time between the beginnings of two ticks, of which the first had
// answers that took that long, or err.
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
	began := l.cfg.Clock.Now()
	if gap := began.Sub(l.last); gap > max(time.Minute, 3*l.cfg.Poll) {
		// It slept, or Jenkins took that long: what it did not look at, it cannot vouch for.
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

// observe asks Jenkins, then looks at the cache of pods, and refuses what is too
// old. answered is how long Jenkins was busy with it, also when it failed: who
// times out is not to be asked again at once.
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
	l.process.seen(jenkins, cluster, l.memory.Agents)
	l.process.explain(cluster.Pods)
	berths, secrets := l.process.input(now)
	if l.cfg.DryRun {
		// A reader makes neither; it takes what is there for what it would have made.
		berths, secrets = podless(jenkins, cluster), podNames(cluster)
	}
	return scaler.Input{
		Now: now, MaxAgents: l.cfg.MaxAgents, Teams: l.teams(), Jenkins: jenkins, Cluster: cluster,
		GraceUntil: graceUntil, Berths: berths, Closing: l.draining.Load(), Secrets: secrets,
		Memory: l.memory,
	}, "", nil
}

// knownSince is since when Jenkins' session is known, here or to the process that
// made a pod in it.
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

// podless are the nodes that a reader who registers none counts as berths.
func podless(j scaler.JenkinsView, c scaler.ClusterView) map[string]bool {
	out := make(map[string]bool)
	for i := range j.Nodes {
		if n := &j.Nodes[i]; n.Mine() && !n.Fence {
			out[n.Name] = true
		}
	}
	for i := range c.Pods {
		delete(out, c.Pods[i].Name)
	}
	return out
}

func podNames(c scaler.ClusterView) map[string]bool {
	out := make(map[string]bool, len(c.Pods))
	for i := range c.Pods {
		out[c.Pods[i].Name] = true
	}
	return out
}

// hold does nothing, and says why.
func (l *Loop) hold(t *scaler.Tick, by scaler.Source, err error) {
	t.Hold, t.HoldBy, t.HoldCause = err.Error(), by, scaler.CauseOf(err)
	l.memory = l.memory.Blind()
}

// decide plans, checks the plan against the promises, and acts. due is when the
// next look is.
func (l *Loop) decide(ctx context.Context, t *scaler.Tick, in scaler.Input, due time.Time) {
	plan, memory, facts, broken := l.cfg.Decide(in)
	t.Plan, t.Facts = plan, facts
	// What the answers showed stays true whatever becomes of the plan: a mark that
	// they did not show is not remembered as seen.
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
