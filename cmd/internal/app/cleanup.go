package app

import (
	"context"
	"errors"
	"slices"

	"bellboard/scaler"
)

// Left is what an instance owns on both sides, or what stands in its way.
type Left struct {
	Pods, Nodes int
	Slots       int    // cache slots
	Busy        int    // of them, at work: they go when their builds end
	Hold        string // why nothing can be done right now
	Grace       string // how long nothing is removed yet
}

// working are the classes with a build on them, or one that will resume there.
var working = []scaler.Class{scaler.Busy, scaler.Draining, scaler.Cut, scaler.Awaited, scaler.Resuming}

// left counts what a tick saw.
func left(t *scaler.Tick) Left {
	l := Left{Hold: t.Hold, Slots: len(t.Plan.Slots)}
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
	}
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

// Cleanup drains and removes all that the instance owns, and returns when
// nothing is left. It takes the Lease first, so that the leader stops acting.
// Builds that run are let end. say is told of every tick.
func (d *Daemon) Cleanup(ctx context.Context, say func(Left)) error {
	ctx, done := context.WithCancel(ctx)
	defer done()
	if d.tenure != nil {
		if err := d.tenure.seize(ctx); err != nil {
			return err
		}
	}
	clean := false
	record := d.parts.Record
	d.parts.Record = func(t scaler.Tick) {
		if record != nil {
			record(t)
		}
		l := left(&t)
		say(l)
		if l.Hold == "" && l.Pods == 0 && l.Nodes == 0 && l.Slots == 0 {
			clean = true
			done()
		}
	}
	d.Drain()
	if err := d.Run(ctx); err != nil {
		return err
	}
	if !clean {
		return context.Cause(ctx)
	}
	return nil
}
