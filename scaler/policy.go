package scaler

import "slices"

// levelMinutes is the window of the level policy, in minutes.
const levelMinutes = 60

// observeLevel notes the demand of now's minute and forgets what is older than the window.
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

// keepLevel is how many persistent agents an auto team keeps: the level of
// demand (busy + waiting) reached in over half of the last hour's minutes.
// Minutes without a record count as no demand. minutes is how many of the 60
// reached the level returned.
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
