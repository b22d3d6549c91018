package app

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
	"unique"

	"bellboard/cmd/internal/simulate"
	"bellboard/queue"
	"bellboard/scaler"
)

// What a record keeps of one team: less than a megabyte, and the name of each job once.
const (
	recordFor    = 14 * 24 * time.Hour
	recordBuilds = 20_000 // 32 bytes each
	recordWaits  = 5_000  // of builds that are not over, 24 bytes each
	// A build is seen on its agent in the poll in which its item leaves the queue, or in one of the next.
	waitWithin = 2 * time.Minute
)

// buildRecord is the builds that this process has seen on its agents, as a history for bellboard simulate.
type buildRecord struct {
	mu    sync.Mutex
	teams map[string]*ownBuilds
}

// ownBuilds is the builds of one team, in the order of their ends. Times are in milliseconds.
type ownBuilds struct {
	ended []ownBuild
	waits []ownWait
}

type ownBuild struct {
	job         unique.Handle[string]
	began, took int64
	waited      int64 // unknown: it is not known how long the build waited
}

const unknown = -1

type ownWait struct {
	job      unique.Handle[string]
	at, took int64 // when the wait was over, and how long it was
}

func newBuildRecord() *buildRecord { return &buildRecord{teams: map[string]*ownBuilds{}} }

// observe adds the builds of a tick.
func (r *buildRecord) observe(t scaler.Tick) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := func(team string) *ownBuilds {
		if r.teams[team] == nil {
			r.teams[team] = &ownBuilds{}
		}
		return r.teams[team]
	}
	for _, w := range t.Facts.Waits {
		o := of(w.Team)
		o.waits = append(o.waits, ownWait{unique.Make(w.Job), t.At.UnixMilli(), max(0, w.Took.Milliseconds())})
		o.waits = last(o.waits, recordWaits)
	}
	for i := range t.Facts.Builds {
		b := &t.Facts.Builds[i]
		o, job := of(b.Team), unique.Make(queue.JobName(b.Job))
		one := ownBuild{job, b.Began.UnixMilli(), b.Took.Milliseconds(), unknown}
		if at := o.waitOf(job, one.began); at >= 0 {
			one.waited = o.waits[at].took
			o.waits = slices.Delete(o.waits, at, at+1)
		}
		o.ended = last(append(o.ended, one), recordBuilds)
	}
}

// last returns the last n of a list.
func last[T any](list []T, n int) []T { return slices.Delete(list, 0, max(0, len(list)-n)) }

// waitOf returns the index of the wait that was over nearest to the beginning of a build of its job, or -1.
func (o *ownBuilds) waitOf(job unique.Handle[string], began int64) int {
	best, least := -1, waitWithin.Milliseconds()+1
	for i := range o.waits {
		if off := max(began-o.waits[i].at, o.waits[i].at-began); o.waits[i].job == job && off < least {
			best, least = i, off
		}
	}
	return best
}

// write writes the builds that began in the last 14 days, as CSV with the columns of bellboard simulate. The label
// of a build is its team.
func (r *buildRecord) write(w io.Writer, now time.Time) error {
	var all simulate.Collector
	from := now.Add(-recordFor).UnixMilli()
	r.mu.Lock()
	n := 0
	for team, o := range r.teams {
		for i := range o.ended {
			b := &o.ended[i]
			if b.began < from {
				continue
			}
			n++
			row := simulate.Build{Submitted: b.began, Length: b.took}
			if b.waited != unknown {
				row.Submitted, row.Started = b.began-b.waited, b.began
			}
			if err := all.Add(row, team, b.job.Value(), "", n); err != nil {
				break // a history has no room for so many teams
			}
		}
	}
	r.mu.Unlock()
	return all.History().Write(w)
}

// history writes the record, if this replica is the one that keeps it.
func (d *Daemon) history(w io.Writer) error {
	if r := d.Replica(); r.Role == roleStandby {
		return fmt.Errorf("this replica stands by and keeps no record of builds; ask the leader, %s", r.Leader)
	}
	_ = d.record.write(w, d.parts.Clock.Now()) // an error means that the reader has gone
	return nil
}
