package simulate

import (
	"cmp"
	"slices"
)

// Bounds is what no policy can beat, as if all start-ups took the mean time. Money is over work.
type Bounds struct {
	// Clairvoyant is what a policy pays that knows all builds in advance, and lets none of them wait.
	Clairvoyant float64 `json:"clairvoyant"`
	// Least is what any policy pays at least that lets no build wait for more than a minute.
	Least float64 `json:"least"`
}

// BoundsOf returns the bounds of a history. The clairvoyant one follows Lu, Chen and Andrew (arXiv 1112.0442):
// agents are interchangeable, so the k-th agent works while at least k builds run. In each gap it is either
// kept or started again, whichever costs less.
func BoundsOf(h *History, s Scenario, least int) Bounds {
	var none, some, work int64
	for _, builds := range h.pools(least) {
		for i := range builds {
			work += builds[i].Length
		}
		none += clairvoyant(builds, s.MeanStart())
		some += leastPaid(builds, s.MeanStart(), minute)
	}
	return Bounds{float64(none) / float64(work), float64(some) / float64(work)}
}

// clairvoyant returns OPT0: the work, and for each level a start and the cheaper way over each gap.
func clairvoyant(builds []Build, start int64) int64 {
	sum := int64(0)
	for i := range builds {
		sum += builds[i].Length
	}
	return sum + overhead(builds, start, 0)
}

// leastPaid returns LB(wait): what any schedule pays that lets no build wait longer. A build surely runs from
// the end of that wait until it would have ended without any.
func leastPaid(builds []Build, start, wait int64) int64 {
	sum, sure := int64(0), int64(0)
	for i := range builds {
		sum += builds[i].Length
		sure += min(builds[i].Length, wait)
	}
	return sum + max(start, overhead(builds, start, wait)-sure)
}

// overhead returns the starts and the gaps of all levels.
func overhead(builds []Build, start, wait int64) int64 {
	sum := int64(0)
	var free []int64 // since when each level above the current one is free
	level := 0
	edges := edgesOf(builds, wait)
	for _, e := range edges {
		if e.up {
			if level < len(free) {
				sum += min(e.at-free[level], start)
			} else {
				free = append(free, 0)
				sum += start
			}
			level++
			continue
		}
		level--
		free[level] = e.at
	}
	return sum
}

// edge is a time at which one more or one fewer build runs.
type edge struct {
	at int64
	up bool
}

// edgesOf returns when builds begin and end if none waits, without the first wait milliseconds of each. At one
// time ends come first.
func edgesOf(builds []Build, wait int64) []edge {
	out := make([]edge, 0, 2*len(builds))
	for i := range builds {
		if b := &builds[i]; b.Length > wait {
			out = append(out, edge{b.Submitted + wait, true}, edge{b.Submitted + b.Length, false})
		}
	}
	slices.SortFunc(out, func(a, b edge) int {
		if c := cmp.Compare(a.at, b.at); c != 0 {
			return c
		}
		switch {
		case a.up == b.up:
			return 0
		case b.up:
			return -1
		}
		return 1
	})
	return out
}

// sweepLevels calls f for each period in which the same number of builds runs.
func sweepLevels(builds []Build, wait int64, f func(level int, from, to int64)) {
	level, last := 0, int64(-1)
	for _, e := range edgesOf(builds, wait) {
		if last >= 0 && e.at > last {
			f(level, last, e.at)
		}
		if e.up {
			level++
		} else {
			level--
		}
		last = e.at
	}
}
