package app

import (
	"cmp"
	"fmt"
	"slices"
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
	"k8s.io/client-go/util/flowcontrol"

	"bellboard/scaler"
	"bellboard/scaler/plain"
)

// The reasons of Bellboard's events.
const (
	eventScaledUp       = "ScaledUp"
	eventScaledDown     = "ScaledDown"
	eventRenewing       = "Renewing"       // agents over their age, or with other settings, go after their builds
	eventBlocked        = "Blocked"        // a team wants more agents, and a rule does not allow them
	eventHolding        = "Holding"        // Bellboard cannot read Jenkins or Kubernetes, and changes nothing
	eventReadableAgain  = "ReadableAgain"  // the hold is over
	eventCreateRejected = "CreateRejected" // Jenkins or the API server rejected an agent, and that is no class of failure
	eventAgentFailed    = "AgentFailed"    // an agent could not be made, never connected, died, or is of no more use
	eventBuildLost      = "BuildLost"      // a build lost its agent
)

const (
	eventCombined  = " (the last of several)" // ends a message that stands for several other messages
	tickAnnotation = "bellboard.dev/tick"     // the tick of an event, as the log has it
)

// events makes Kubernetes events on the Lease of the instance, in Bellboard's own namespace. client-go's
// correlator counts equal events and limits their rate. The correlator does so for each reason and each team
// or pool, since all events are on one object. So a team with many failures suppresses no event of another
// team.
type events struct {
	stop     func()
	recorder record.EventRecorder
	on       corev1.ObjectReference
	lease    *lease // has the UID of the Lease; nil: there is no Lease
}

// eventBurst is how many events of one reason and subject client-go sends before it sends one a minute.
const eventBurst = 20

// subject returns the reason of an event, and the team or pool with which its message begins.
func subject(e *corev1.Event) string {
	about, _, _ := strings.Cut(e.Message, ":")
	return e.Reason + " " + about
}

// sink writes events. If the API server rejects a write, sink sends no write of that kind for a pause that
// doubles, since each of them would cost a request.
type sink struct {
	record.EventSink

	namespace string
	log       *zap.Logger
	pauses    *flowcontrol.Backoff // by kind of write: create or patch
	warned    sync.Once
}

// Create writes a new event.
func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.write("create", e, func() (*corev1.Event, error) { return s.EventSink.Create(e) })
}

// Patch counts an event once more.
func (s *sink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.write("patch", e, func() (*corev1.Event, error) { return s.EventSink.Patch(e, data) })
}

func (s *sink) write(kind string, e *corev1.Event, call func() (*corev1.Event, error)) (*corev1.Event, error) {
	now := s.pauses.Clock.Now()
	// An event that was not created cannot be patched either.
	if s.pauses.IsInBackOffSinceUpdate(kind, now) || s.pauses.IsInBackOffSinceUpdate("create", now) {
		return e, nil
	}
	made, err := call()
	switch {
	case err == nil:
		s.pauses.Reset(kind)
	// Not found is the namespace when an event is created, and only that event when it is patched.
	case apierrors.IsForbidden(err), kind == "create" && apierrors.IsNotFound(err):
		s.pauses.Next(kind, now)
		s.warned.Do(func() {
			s.log.Warn("Kubernetes rejects Bellboard's events, so only this log has them; give Bellboard's Role create and patch on events in its own namespace (deploy/install.yaml)",
				zap.String("namespace", s.namespace), zap.Error(err))
		})
		return e, nil
	}
	return made, err
}

// newEvents begins to send events until stop.
func newEvents(client kubernetes.Interface, namespace, instance string, lease *lease, log *zap.Logger) *events {
	b := record.NewBroadcasterWithCorrelatorOptions(record.CorrelatorOptions{
		BurstSize: eventBurst, QPS: 1. / 60, SpamKeyFunc: subject,
		KeyFunc:     func(e *corev1.Event) (group, local string) { return subject(e), e.Message },
		MessageFunc: func(e *corev1.Event) string { return e.Message + eventCombined },
	})
	b.StartRecordingToSink(&sink{
		EventSink: &typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events(namespace)},
		namespace: namespace,
		log:       log,
		pauses:    flowcontrol.NewBackOff(10*time.Minute, 12*time.Hour),
	})
	return &events{
		stop: b.Shutdown, recorder: b.NewRecorder(runtime.NewScheme(), corev1.EventSource{Component: "bellboard"}),
		on:    corev1.ObjectReference{APIVersion: "coordination.k8s.io/v1", Kind: "Lease", Namespace: namespace, Name: leaseName(instance)},
		lease: lease,
	}
}

func (e *events) say(t *scaler.Tick, kind, reason, format string, args ...any) {
	on := e.on
	on.UID = e.lease.uid()
	e.recorder.AnnotatedEventf(&on, map[string]string{tickAnnotation: t.ID}, kind, reason, "%s", plain.Line(fmt.Sprintf(format, args...)))
}

// observe turns the news of one tick into events.
func (e *events) observe(t scaler.Tick) {
	for i := range t.News {
		switch n := &t.News[i]; n.Kind {
		case scaler.NewsHold:
			e.say(&t, corev1.EventTypeWarning, eventHolding, "nothing is created, marked or removed: %s: %s", t.HoldBy, t.Hold)
		case scaler.NewsReadable:
			e.say(&t, corev1.EventTypeNormal, eventReadableAgain, "Jenkins and the cluster can be read again")
		case scaler.NewsScaled:
			e.scaled(&t, n.Decision)
		case scaler.NewsBlocked:
			e.say(&t, corev1.EventTypeWarning, eventBlocked, "%s: %d waiting: %s", n.Decision.Team, n.Decision.Waiting, n.Decision.Text)
		case scaler.NewsRejected:
			id := n.Outcome.Action.Pool
			e.say(&t, corev1.EventTypeWarning, eventCreateRejected, "%s, %s: %s", id.Team, id.Kind, n.Outcome.Error)
		case scaler.NewsFailed, scaler.NewsLost, scaler.NewsStillHeld, scaler.NewsWindow, scaler.NewsRescue: // below, or no events
		}
	}
	e.failures(&t)
	e.lost(&t)
}

// What one event has at most: agents, characters of a log, and characters of the end of each agent.
const (
	eventAgents = 3
	eventLog    = 300
	eventWhy    = 200
)

// lost makes one event for each pool whose agents were lost with their builds. The event has the last lines
// of the first log that has any.
func (e *events) lost(t *scaler.Tick) {
	same := func(a, b scaler.LostBuilds) bool { return a.PoolID == b.PoolID }
	for _, all := range grouped(t.Facts.BuildsLost, same) {
		var names []string
		builds, log := 0, ""
		for _, l := range all {
			names = append(names, l.Agent+" ("+firstOf(l.Text, eventWhy)+")")
			builds, log = builds+l.Builds, cmp.Or(log, l.Log)
		}
		agents := strings.Join(names[:min(len(names), eventAgents)], ", ")
		if n := len(names) - eventAgents; n > 0 {
			agents += fmt.Sprintf(" and %d more", n)
		}
		e.say(t, corev1.EventTypeWarning, eventBuildLost, "%s, %s: %d lost with their agents: %s%s", all[0].Team, all[0].Kind, builds, agents, logEnd(log))
	}
}

// failures makes one event for each pool and class of failure. The agents of one tick fail for the same
// cause, so the event has the text of the first agent that has a log.
func (e *events) failures(t *scaler.Tick) {
	same := func(a, b scaler.FailedAgent) bool { return a.PoolID == b.PoolID && a.Failure == b.Failure }
	for _, all := range grouped(t.Facts.Failures, same) {
		f := all[max(0, slices.IndexFunc(all, func(f scaler.FailedAgent) bool { return f.Log != "" }))]
		e.say(t, corev1.EventTypeWarning, eventAgentFailed, "%s, %s: %d failed: %s: %s%s", f.Team, f.Kind, len(all), f.Failure, f.Text, logEnd(f.Log))
	}
}

// grouped returns the records in groups of the same kind, in the order of each group's first record.
func grouped[T any](records []T, same func(a, b T) bool) (out [][]T) {
	for _, r := range records {
		i := slices.IndexFunc(out, func(group []T) bool { return same(group[0], r) })
		if i < 0 {
			i, out = len(out), append(out, nil)
		}
		out[i] = append(out[i], r)
	}
	return out
}

// firstOf returns the beginning of a text.
func firstOf(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// logEnd returns the end of a log as an event has it; "" without a log.
func logEnd(log string) string {
	if r := []rune(log); len(r) > eventLog {
		log = "…" + string(r[len(r)-eventLog:])
	}
	if log == "" {
		return ""
	}
	return "; last log lines: " + log
}

// scaled makes an event for each way in which a team's number of agents changes.
func (e *events) scaled(t *scaler.Tick, d *scaler.Decision) {
	for _, change := range []struct {
		reason string
		agents int
	}{{eventScaledUp, d.Ups()}, {eventScaledDown, d.Downs()}, {eventRenewing, d.Renewals()}} {
		if change.agents > 0 {
			e.say(t, corev1.EventTypeNormal, change.reason, "%s: %s: %s", d.Team, d.Change(), d.Text)
		}
	}
}
