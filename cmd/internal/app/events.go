package app

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/plain"
)

// The reasons of Bellboard's events.
const (
	eventScaledUp      = "ScaledUp"
	eventScaledDown    = "ScaledDown"
	eventRenewing      = "Renewing"      // old agents, or those of other settings, go after their builds
	eventBlocked       = "Blocked"       // it wants more, and a rule says no
	eventHolding       = "Holding"       // it cannot see, and does nothing
	eventSeesAgain     = "SeesAgain"     // and does again
	eventCreateRefused = "CreateRefused" // Jenkins, or else the API server, said no, and no agent failed by it
	eventAgentFailed   = "AgentFailed"   // an agent could not be made, went without ever connecting, died, or is of no more use
	eventBuildLost     = "BuildLost"     // an agent went under its build
)

// eventCombined ends an event that stands for many that differ in their words.
const eventCombined = " (the last of several)"

// tickAnnotation names the tick that an event tells of, as in the log.
const tickAnnotation = "bellboard.dev/tick"

// events tells what people care about as Events on the Lease of the instance,
// in Bellboard's own namespace. Repetitions are counted, not repeated: client-go's
// correlator puts equal events together and lets no flood through. What it puts
// together and holds back is of one reason and one team or pool, since all events
// are on one object: a team with many failures silences nobody.
type events struct {
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
	on          corev1.ObjectReference
	tenure      *tenure           // knows which Lease it is; nil: there is none
	said        map[string]string // by team: what was said last of its being blocked
}

// Of one reason and subject eventBurst events are sent at once, and then one in
// 1/eventRate seconds.
const (
	eventBurst = 20
	eventRate  = 1. / 60
)

// subject is the reason of an event and whom it is about, with which each begins.
func subject(e *corev1.Event) string {
	about, _, _ := strings.Cut(e.Message, ":")
	return e.Reason + " " + about
}

// A sink writes events, but none of a kind that was refused: nobody reads those, and each
// costs a call. It tries again after a pause that doubles.
type sink struct {
	record.EventSink

	namespace string
	clock     clock.Clock
	log       *zap.Logger
	mu        sync.Mutex // guards what follows
	create    refusal
	patch     refusal
	logged    bool
}

// A refusal is how long nothing of its kind is tried; zero: there was none.
type refusal struct {
	until time.Time
	pause time.Duration
}

// The first pause after a refusal, and the longest.
const (
	refusedPause    = 10 * time.Minute
	refusedPauseMax = 12 * time.Hour
)

// Create writes a new event.
func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.write(&s.create, e, func() (*corev1.Event, error) { return s.EventSink.Create(e) })
}

// Patch counts an event once more.
func (s *sink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.write(&s.patch, e, func() (*corev1.Event, error) { return s.EventSink.Patch(e, data) })
}

func (s *sink) write(r *refusal, e *corev1.Event, call func() (*corev1.Event, error)) (*corev1.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock() // events are written one after the other in any case
	// What was never created cannot be changed either.
	if now := s.clock.Now(); now.Before(r.until) || now.Before(s.create.until) {
		return e, nil
	}
	made, err := call()
	switch {
	case err == nil:
		*r = refusal{}
	// A namespace that does not exist cannot be written to either; an event that is gone can.
	case apierrors.IsForbidden(err), r == &s.create && apierrors.IsNotFound(err):
		r.pause = min(max(2*r.pause, refusedPause), refusedPauseMax)
		r.until = s.clock.Now().Add(r.pause)
		if !s.logged {
			s.logged = true
			s.log.Warn("events are refused, and told in this log only; give Bellboard's Role create and patch on events in its own namespace (deploy/install.yaml)",
				zap.String("namespace", s.namespace), zap.Error(err))
		}
		return e, nil
	}
	return made, err
}

// newEvents begins to send; it needs stop.
func newEvents(client kubernetes.Interface, namespace, instance string, lease *tenure, clk clock.Clock, log *zap.Logger) *events {
	b := record.NewBroadcasterWithCorrelatorOptions(record.CorrelatorOptions{
		BurstSize: eventBurst, QPS: eventRate, SpamKeyFunc: subject,
		KeyFunc:     func(e *corev1.Event) (group, local string) { return subject(e), e.Message },
		MessageFunc: func(e *corev1.Event) string { return e.Message + eventCombined },
	})
	b.StartRecordingToSink(&sink{EventSink: &typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events(namespace)}, namespace: namespace, clock: clk, log: log})
	scheme := runtime.NewScheme()
	return &events{
		broadcaster: b, recorder: b.NewRecorder(scheme, corev1.EventSource{Component: "bellboard"}),
		on:     corev1.ObjectReference{APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespace: namespace, Name: leaseName(instance)},
		tenure: lease, said: map[string]string{},
	}
}

func (e *events) stop() { e.broadcaster.Shutdown() }

func (e *events) say(t *scaler.Tick, kind, reason, format string, args ...any) {
	on := e.on
	on.UID = e.tenure.uid()
	e.recorder.AnnotatedEventf(&on, map[string]string{tickAnnotation: t.ID}, kind, reason, "%s", plain.Line(fmt.Sprintf(format, args...)))
}

// observe turns one tick into events.
func (e *events) observe(t scaler.Tick) {
	if t.Hold != "" {
		if t.HoldNews {
			e.say(&t, corev1.EventTypeWarning, eventHolding, "nothing is created, marked or removed: %s: %s", t.HoldBy, t.Hold)
		}
		return
	}
	if !t.HoldSince.IsZero() {
		e.say(&t, corev1.EventTypeNormal, eventSeesAgain, "Jenkins and the cluster can be read again")
	}
	for i := range t.Plan.Decisions {
		e.decision(&t, &t.Plan.Decisions[i])
	}
	told := map[scaler.PoolID]bool{}
	for i := range t.Outcomes {
		o := &t.Outcomes[i]
		id := o.Action.Pool
		// What has a class is told among the failures.
		if o.Result == scaler.Refused && o.Failure == "" && (o.Action.Verb == scaler.Create || o.Action.Verb == scaler.Register) && !told[id] {
			told[id] = true
			e.say(&t, corev1.EventTypeWarning, eventCreateRefused, "%s, %s: %s", id.Team, id.Kind, o.Error)
		}
	}
	e.failures(&t)
	e.lost(&t)
}

// eventAgents is how many agents one event names.
const eventAgents = 3

// lost tells of the builds that lost their agents, once for each pool, with the last
// words of the first agent that left any.
func (e *events) lost(t *scaler.Tick) {
	type story struct {
		builds, agents int
		names          []string
		log            string
	}
	var order []scaler.PoolID
	stories := map[scaler.PoolID]*story{}
	for i := range t.Facts.BuildsLost {
		l := &t.Facts.BuildsLost[i]
		s := stories[l.PoolID]
		if s == nil {
			s = &story{}
			stories[l.PoolID], order = s, append(order, l.PoolID)
		}
		s.builds += l.Builds
		if s.log == "" && l.Log != "" {
			s.log = "; last words: " + lastOf(l.Log, eventLog)
		}
		if s.agents++; s.agents <= eventAgents {
			s.names = append(s.names, l.Agent+" ("+firstOf(l.Text, eventWhy)+")")
		}
	}
	for _, id := range order {
		s, more := stories[id], ""
		if n := s.agents - len(s.names); n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		e.say(t, corev1.EventTypeWarning, eventBuildLost, "%s, %s: %d lost with their agents: %s%s%s", id.Team, id.Kind, s.builds, strings.Join(s.names, ", "), more, s.log)
	}
}

// failures tells of the agents that failed, once for each pool and class: those
// of one tick have the same story, and the first that left words tells it.
func (e *events) failures(t *scaler.Tick) {
	type story struct {
		scaler.PoolID
		failure scaler.Failure
	}
	var order []story
	count, first := map[story]int{}, map[story]*scaler.FailedAgent{}
	for i := range t.Facts.Failures {
		f := &t.Facts.Failures[i]
		s := story{f.PoolID, f.Failure}
		if count[s]++; count[s] == 1 {
			order = append(order, s)
		}
		if first[s] == nil || first[s].Log == "" {
			first[s] = f
		}
	}
	for _, s := range order {
		f, log := first[s], ""
		if f.Log != "" {
			log = "; last words: " + lastOf(f.Log, eventLog)
		}
		e.say(t, corev1.EventTypeWarning, eventAgentFailed, "%s, %s: %d failed: %s: %s%s", s.Team, s.Kind, count[s], s.failure, f.Text, log)
	}
}

// eventLog is how much of a log an event has room for, eventWhy how much of each
// agent's end.
const (
	eventLog = 300
	eventWhy = 200
)

// firstOf is the beginning of a text.
func firstOf(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// lastOf is the end of a text.
func lastOf(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return "…" + string(r[len(r)-n:])
	}
	return s
}

func (e *events) decision(t *scaler.Tick, d *scaler.Decision) {
	if d.Ups() > 0 {
		e.say(t, corev1.EventTypeNormal, eventScaledUp, "%s: %s: %s", d.Team, d.Change(), d.Text)
	}
	if d.Downs() > 0 {
		e.say(t, corev1.EventTypeNormal, eventScaledDown, "%s: %s: %s", d.Team, d.Change(), d.Text)
	}
	if d.Renewals() > 0 {
		e.say(t, corev1.EventTypeNormal, eventRenewing, "%s: %s: %s", d.Team, d.Change(), d.Text)
	}
	if d.Reason != scaler.ReasonBlocked {
		delete(e.said, d.Team)
		return
	}
	if now := d.Rules(); e.said[d.Team] != now {
		e.said[d.Team] = now
		e.say(t, corev1.EventTypeWarning, eventBlocked, "%s: %d waiting: %s", d.Team, d.Waiting, d.Text)
	}
}
