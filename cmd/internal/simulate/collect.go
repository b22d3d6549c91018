package simulate

import (
	"cmp"
	"fmt"
	"slices"
)

// Collector makes a history of builds that come in any order. A build has 48 bytes, and one that another
// build caused some 40 more. The zero Collector is ready for use.
type Collector struct {
	h            History
	labels, jobs map[string]int32
	of           []run       // the run that each build belongs to
	causes       map[run]run // of the runs that another run caused
}

// run is a run of a job.
type run struct{ job, number int32 }

// Caused notes that one run caused another. All runs of a chain make one group.
func (c *Collector) Caused(job string, number int, byJob string, byNumber int) {
	if c.causes == nil {
		c.causes = map[run]run{}
	}
	c.causes[c.run(job, number)] = c.run(byJob, byNumber)
}

// Add adds a build of a run. Its label, job and group are the texts and the run, and not the numbers in b. An
// error means that there are more builds than a history may have.
func (c *Collector) Add(b Build, label, job, runOf string, number int) error {
	if len(c.h.Builds) == MaxRows {
		return fmt.Errorf("more than %d builds; give fewer days", MaxRows)
	}
	if c.labels == nil {
		c.labels = map[string]int32{}
	}
	b.Label = index(c.labels, &c.h.Labels, label)
	c.of = append(c.of, c.run(runOf, number))
	b.Job = c.job(job)
	c.h.Builds = append(c.h.Builds, b)
	return nil
}

// History returns the builds in the order of their submission, and ends the collection. The group of a build
// is the first run of its chain.
func (c *Collector) History() *History {
	groups, roots := map[run]int32{}, map[run]run{}
	for i := range c.h.Builds {
		root := c.root(roots, c.of[i])
		g, ok := groups[root]
		if !ok {
			g = int32(len(groups))
			groups[root] = g
		}
		c.h.Builds[i].Group = g
	}
	c.h.Groups = len(groups)
	slices.SortStableFunc(c.h.Builds, func(a, b Build) int { return cmp.Compare(a.Submitted, b.Submitted) })
	return &c.h
}

// root returns the first run of the chain, and remembers that for each run on the way. A job that starts
// itself again and again makes a chain of thousands.
func (c *Collector) root(roots map[run]run, r run) run {
	var way []run
	for {
		by, caused := c.causes[r]
		known, seen := roots[r]
		if seen {
			r = known
		}
		if seen || !caused {
			break
		}
		roots[r] = r // runs that cause one another in a circle end here
		way = append(way, r)
		r = by
	}
	for _, w := range way {
		roots[w] = r
	}
	return r
}

func (c *Collector) run(job string, number int) run { return run{c.job(job), int32(number)} }

func (c *Collector) job(name string) int32 {
	if c.jobs == nil {
		c.jobs = map[string]int32{}
	}
	return index(c.jobs, &c.h.Jobs, name)
}
