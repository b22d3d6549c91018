package scaler

import "slices"

// levelMinutes is the length of the period that the level policy looks at, in minutes.
const levelMinutes = 60

// observeLevel returns levels with the demand of this minute, and without minutes older than levelMinutes.
func observeLevel(levels []Level, minute int64, demand int) []Level {
	i := 0
	for i < len(levels) && levels[i].Minute <= minute-levelMinutes {
		i++
	}
	out := slices.Clone(levels[i:])
	if n := len(out); n > 0 && out[n-1].Minute == minute {
		out[n-1].Demand = max(out[n-1].Demand, demand)
		return out
	}
	return append(out, Level{Minute: minute, Demand: demand})
}

// keepLevel returns how many executors of persistent agents a team in mode auto keeps. That is the level of
// demand (busy + waiting) that more than half of the last 60 minutes reached. For example, if the demand was
// at least 3 in 31 of the 60 minutes, keepLevel returns 3. A minute without a record counts as no demand.
// keepLevel also returns how many of the 60 minutes reached that level.
func keepLevel(levels []Level) (keep, minutes int) {
	demands := make([]int, 0, len(levels))
	for _, l := range levels {
		demands = append(demands, l.Demand)
	}
	slices.Sort(demands)
	slices.Reverse(demands)
	if len(demands) <= levelMinutes/2 {
		return 0, 0
	}
	keep = demands[levelMinutes/2]
	for _, v := range demands {
		if v >= keep {
			minutes++
		}
	}
	return keep, minutes
}
