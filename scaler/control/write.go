package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"bellboard/scaler"
)

// byJenkins is an error of Jenkins in a creation: no pod was asked for yet.
type byJenkins struct{ error }

func (b byJenkins) Unwrap() error { return b.error }

// write carries one action out: one write to Jenkins or Kubernetes for each verb (Create: several). Chosen
// names are written back into the action.
func (l *Loop) write(ctx context.Context, view scaler.JenkinsView, a *scaler.Action) error {
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

// stillIdle returns nil if the action may go on. An action that removes an idle agent needs an answer of the
// last second that shows the Jenkins node idle. The deadline counts from the queue's answer, which comes
// later and may take half a minute. Then Jenkins is asked about the one node.
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
		return nil // the agent does not go for being idle
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer l.cfg.Clock.AfterFunc(deadline.Sub(now), func() { cancel(scaler.ErrExpired) })() // an answer after it is of no use
	still, err := l.cfg.Jenkins.StillIdle(ctx, view.Nodes[i])
	if err == nil && !still {
		err = fmt.Errorf("its node is at work, or not marked as it was: %w", scaler.ErrChanged)
	}
	return err
}

// pool returns the settings of a pool.
func (l *Loop) pool(id scaler.PoolID) (scaler.Pool, error) {
	for i := range l.teams {
		if p := l.teams[i].Pool(id.Kind); p != nil && p.Team == id.Team {
			return *p, nil
		}
	}
	return scaler.Pool{}, fmt.Errorf("team %s has no %s agents", id.Team, id.Kind)
}

// keyed reports whether each of the pool's pods waits for a Secret of its own.
func keyed(p *scaler.Pool) bool { return p.Connect == scaler.Inbound && !p.Called }

// asksJenkins reports whether the creation begins with a request to Jenkins: it has no berth, or the berth's
// secret was not read in advance.
func (l *Loop) asksJenkins(a *scaler.Action) bool {
	pool, err := l.pool(a.Pool)
	if err != nil || pool.Connect != scaler.Inbound {
		return false
	}
	return a.Agent == "" || keyed(&pool) && l.process.of(a.Agent).secret == ""
}

// register makes a berth and reads its secret, so that a creation on the berth needs no request to Jenkins. A
// berth without its secret is a berth all the same.
func (l *Loop) register(ctx context.Context, a *scaler.Action) error {
	pool, err := l.pool(a.Pool)
	if err != nil {
		return err
	}
	a.Agent = scaler.AgentName(a.Pool, randomName())
	if err := l.cfg.Jenkins.Register(ctx, a.Agent, pool, l.cfg.Clock.Now().Add(actFor)); err != nil {
		return err
	}
	l.berth(a.Agent, true)
	if keyed(&pool) {
		_, err = l.secret(ctx, a.Agent)
	}
	return err
}

// berth notes whether the Jenkins node of that name is one that this process may still use.
func (l *Loop) berth(name string, is bool) { l.process.set(name, func(k *known) { k.berth = is }) }

// secret returns the secret with which an agent connects, and asks Jenkins for it once.
func (l *Loop) secret(ctx context.Context, name string) (string, error) {
	if s := l.process.of(name).secret; s != "" {
		return s, nil
	}
	s, err := l.cfg.Jenkins.Secret(ctx, name)
	if err != nil {
		return "", err
	}
	l.process.set(name, func(k *known) { k.secret = s })
	return s, nil
}

// create makes an agent: berth (registered here if none was left), cache slot, pod, Secret. If the process
// ends between two of them, the table clears what is left. Errors of Jenkins are byJenkins.
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
			l.berth(a.Agent, true)
		}
		if keyed(&pool) {
			if _, err := l.secret(ctx, a.Agent); err != nil {
				return byJenkins{err}
			}
		}
		// The berth is taken from here on, unless the API server says that it made no pod.
		l.berth(a.Agent, false)
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
		if (errors.Is(err, scaler.ErrRejected) || errors.Is(err, scaler.ErrChanged)) && pool.Connect == scaler.Inbound {
			l.berth(a.Agent, true)
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

// putSecret makes the Secret that a pod waits for. It may be repeated.
func (l *Loop) putSecret(ctx context.Context, pod scaler.Pod) error {
	secret, err := l.secret(ctx, pod.Name)
	if err == nil {
		err = l.cfg.Cluster.PutSecret(ctx, pod, secret)
	}
	if err != nil {
		l.process.secretFailed(pod.Name, err, l.cfg.Clock.Now())
		return err
	}
	l.process.set(pod.Name, func(k *known) { k.hasSecret, k.secret, k.failed = true, "", failedSecret{} })
	return nil
}
