package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"bellboard/scaler"
)

// ErrBegunAnew ends a cleanup that removed everything, after which another
// instance leads.
var ErrBegunAnew = errors.New("another instance leads now and begins anew")

// peopleWait is how long a cleanup waits for people when nothing else is left. A
// connection that died is noticed by Jenkins before that, so that what is still
// connected then is alive.
const peopleWait = 5 * time.Minute

// Left is what an instance owns on both sides, or what stands in its way.
type Left struct {
	Pods, Nodes int
	Slots       int    // cache slots
	Busy        int    // of them, at work: they go when their builds end
	Hold        string // why nothing can be done right now
	News        bool   // of Hold: it begins, or has a new cause, whatever its words
	Grace       string // how long nothing is removed yet
	// Held are the agents that a person took offline, Intruders those that are
	// connected without a pod of Bellboard's: names with a comma between. Both stay
	// until a person does something.
	Held, Intruders string
	// From is who held the Lease when the cleanup took it; it may begin anew.
	From string
}

// working are the classes with a build on them, or one that will resume there.
var working = []scaler.Class{scaler.Busy, scaler.Draining, scaler.Cut, scaler.Awaited, scaler.Resuming}

// left counts what a tick saw.
func left(t *scaler.Tick) Left {
	l := Left{Hold: t.Hold, News: t.HoldNews, Slots: len(t.Plan.Slots)}
	var held, intruders []string
	if t.Grace > 0 {
		l.Grace = t.Grace.String()
	}
	for i := range t.Plan.Agents {
		a := &t.Plan.Agents[i]
		if a.Pod {
			l.Pods++
		}
		if a.Node {
			l.Nodes++
		}
		if slices.Contains(working, a.Class) {
			l.Busy++
		}
		switch a.Class { //nolint:exhaustive // the others go by themselves
		case scaler.Held:
			held = append(held, a.Name)
		case scaler.Intruder:
			intruders = append(intruders, a.Name)
		}
	}
	l.Held, l.Intruders = strings.Join(held, ", "), strings.Join(intruders, ", ")
	return l
}

// forPeople reports whether all that is left waits for a person.
func forPeople(t *scaler.Tick) bool {
	stays := map[string]bool{}
	for i := range t.Plan.Agents {
		a := &t.Plan.Agents[i]
		if a.Class != scaler.Held && a.Class != scaler.Intruder {
			return false
		}
		stays[a.Name] = true
	}
	for i := range t.Plan.Slots {
		if !stays[t.Plan.Slots[i].Agent] {
			return false
		}
	}
	return t.Hold == "" && t.Grace == 0 && len(stays) > 0
}

// Remedy says what a person has to do about what stays; empty: nothing.
func (l *Left) Remedy() string {
	var parts []string
	if l.Held != "" {
		parts = append(parts, "taken offline by a person: "+l.Held+" (bring it online, or delete its node in Jenkins)")
	}
	if l.Intruders != "" {
		parts = append(parts, "connected without a pod of Bellboard's: "+l.Intruders+" (end that process, wherever it runs)")
	}
	return strings.Join(parts, "; ")
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

// Lease names the Lease that a cleanup takes, and reports whether it is there: who
// led once has left it there.
func (d *Daemon) Lease(ctx context.Context) (name string, there bool, err error) {
	_, _, err = d.tenure.Interface.Get(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return d.tenure.Describe(), false, nil
	case err != nil:
		return "", false, fmt.Errorf("reading the Lease %s: %w", d.tenure.Describe(), err)
	}
	return d.tenure.Describe(), true, nil
}

// Cleanup drains and removes all that the instance owns, and returns when
// nothing is left. It takes the Lease first, so that the leader stops acting.
// Builds that run are let end. say is told of every tick. When all that is left
// waits for a person it waits a while, and ends with what has to be done. It is
// ErrBegunAnew when another instance takes the Lease after it.
func (d *Daemon) Cleanup(ctx context.Context, say func(Left)) error {
	working, done := context.WithCancel(ctx)
	defer done()
	from := ""
	if d.tenure != nil {
		var err error
		if from, err = d.tenure.seize(ctx); err != nil {
			return err
		}
	}
	clean := false
	var waits time.Time // for people, since then
	var stuck error
	record := d.parts.Record
	d.parts.Record = func(t scaler.Tick) {
		if record != nil {
			record(t)
		}
		l := left(&t)
		l.From = from
		say(l)
		switch {
		case l.Hold == "" && l.Pods == 0 && l.Nodes == 0 && l.Slots == 0:
			clean = true
			done()
		case !forPeople(&t):
			waits = time.Time{}
		case waits.IsZero():
			waits = t.At
		case t.At.Sub(waits) >= peopleWait:
			stuck = errors.New(l.Remedy())
			done()
		}
	}
	d.Drain()
	if err := d.Run(working); err != nil {
		return err
	}
	switch {
	case stuck != nil:
		return stuck
	case !clean:
		return context.Cause(ctx)
	case d.tenure == nil:
		return nil
	}
	switch heir, err := d.tenure.heir(ctx); {
	case err != nil:
		return fmt.Errorf("whether another instance begins anew was not seen: %w", err)
	case heir != "":
		return fmt.Errorf("%w: %s", ErrBegunAnew, heir)
	}
	return nil
}
