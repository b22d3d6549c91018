package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

var (
	// ErrBegunAnew ends a cleanup that removed everything, if another replica leads afterwards.
	ErrBegunAnew = errors.New("another replica leads now and makes agents again")

	errClean = errors.New("nothing is left") // ends the Run of a cleanup
)

// peopleWait is the time for which a cleanup waits for people when nothing else is left. Jenkins notices a
// dead connection earlier, so an agent that is still connected after that time is alive.
const peopleWait = 5 * time.Minute

// Left is what an instance owns in Jenkins and in Kubernetes, or what keeps a cleanup from going on.
type Left struct {
	Pods, Nodes int
	Slots       int    // cache slots
	Busy        int    // agents with a build: they go when their builds end
	Hold        string // the reason of a hold; empty: no hold
	News        bool   // the hold has begun with this tick, or has a new cause
	Grace       bool   // Bellboard removes nothing yet (BELLBOARD_JENKINS_RESTART_GRACE)
	Remedy      string // what a person has to do about agents that stay; empty: nothing
	Stuck       bool   // everything that is left waits for that person
}

// left counts what a tick read.
func left(t *scaler.Tick) Left {
	l := Left{Hold: t.Hold, News: t.Tells(scaler.NewsHold), Grace: t.Grace > 0, Slots: len(t.Plan.Slots)}
	var held, intruders []string
	for i := range t.Plan.Agents {
		a := &t.Plan.Agents[i]
		if a.Pod {
			l.Pods++
		}
		if a.Node {
			l.Nodes++
		}
		switch a.Class {
		case scaler.Busy, scaler.Draining, scaler.Cut, scaler.Awaited, scaler.Resuming:
			l.Busy++
		case scaler.Held:
			held = append(held, a.Name)
		case scaler.Intruder:
			intruders = append(intruders, a.Name)
		default: // goes without a person
		}
	}
	all := slices.Concat(held, intruders)
	l.Stuck = l.Hold == "" && !l.Grace && len(all) > 0 && len(all) == len(t.Plan.Agents) &&
		!slices.ContainsFunc(t.Plan.Slots, func(s scaler.SlotSeen) bool { return !slices.Contains(all, s.Agent) })
	var remedies []string
	if len(held) > 0 {
		remedies = append(remedies, "taken offline by a person: "+strings.Join(held, ", ")+" (bring it online, or delete its node in Jenkins)")
	}
	if len(intruders) > 0 {
		remedies = append(remedies, "connected to Jenkins without a pod of Bellboard's: "+strings.Join(intruders, ", ")+" (end that process, on whatever computer it runs)")
	}
	l.Remedy = strings.Join(remedies, "; ")
	return l
}

// Owned counts what the instance owns, and changes nothing.
func (d *Daemon) Owned(ctx context.Context) (Left, error) {
	t, err := d.Plan(ctx)
	if err != nil {
		return Left{}, err
	}
	if t.Hold != "" {
		return Left{}, errors.New(string(t.HoldBy) + ": " + t.Hold)
	}
	return left(&t), nil
}

// Cleanup is Run with a drain: it waits for the Lease as every replica does, removes everything that the
// instance owns, and returns when nothing is left. Running builds end first. say gets what every tick that
// may write has left. If everything that is left waits for a person, Cleanup waits for a while, and its error
// says what that person has to do. The error is ErrBegunAnew if another replica takes the Lease afterwards.
func (d *Daemon) Cleanup(ctx context.Context, say func(Left)) error {
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	var waits time.Time // since when everything waits for a person
	record := d.parts.Record
	d.parts.Record = func(t scaler.Tick) {
		record(t)
		l := left(&t)
		say(l)
		switch {
		case l.Hold == "" && l.Pods+l.Nodes+l.Slots == 0:
			end(errClean)
		case !l.Stuck:
			waits = time.Time{}
		case waits.IsZero():
			waits = t.At
		case t.At.Sub(waits) >= peopleWait:
			end(errors.New(l.Remedy))
		}
	}
	d.Drain()
	switch err := d.Run(running); {
	case err == nil:
		return context.Cause(ctx)
	case !errors.Is(err, errClean):
		return err
	case d.lease == nil:
		return nil
	}
	// A standby reads the Lease more often than this. If ctx ends, Holder has its error.
	_ = clock.Sleep(ctx, clock.Real(), 3*retryPeriod)
	holder, err := d.Holder(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("everything was removed, but whether another replica leads now is not known: %w", err)
	case holder != "" && holder != d.lease.lock.Identity():
		return fmt.Errorf("%w: %s", ErrBegunAnew, holder)
	}
	return nil
}
