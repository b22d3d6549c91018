package scaler

import "slices"

// levelMinutes is the length of the period that usualLevel looks at, in minutes.
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

// usualLevel returns the level of demand (busy + waiting builds) that more than half of the last 60 minutes
// reached. For example, if the demand was at least 3 in 31 of the 60 minutes, usualLevel returns 3. A minute
// without a record counts as no demand.
func usualLevel(levels []Level) int {
	demands := make([]int, 0, len(levels))
	for _, l := range levels {
		demands = append(demands, l.Demand)
	}
	slices.Sort(demands)
	slices.Reverse(demands)
	if len(demands) <= levelMinutes/2 {
		return 0
	}
	return demands[levelMinutes/2]
}
