package scaler

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestUsualLevel(t *testing.T) {
	minutes := func(runs ...int) []Level { // pairs of a length in minutes and a demand
		var out []Level
		for i := 0; i < len(runs); i += 2 {
			for range runs[i] {
				out = append(out, Level{Minute: int64(len(out)), Demand: runs[i+1]})
			}
		}
		return out
	}
	tests := []struct {
		name   string
		levels []Level
		want   int
	}{
		{"no history", nil, 0},
		{"half an hour is not over half", minutes(30, 5), 0},
		{"31 minutes are", minutes(31, 5), 5},
		{"31 of 60", minutes(31, 5, 29, 0), 5},
		{"30 of 60", minutes(30, 5, 30, 0), 0},
		{"peaks count as the level under them", minutes(20, 9, 11, 2, 29, 0), 2},
		{"the whole hour", minutes(60, 3), 3},
		{"an hour of nothing", minutes(60, 0), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := usualLevel(tt.levels); got != tt.want {
				t.Errorf("usualLevel(%s) = %d, want %d", tt.name, got, tt.want)
			}
		})
	}
}

func TestObserveLevel(t *testing.T) {
	tests := []struct {
		name   string
		levels []Level
		minute int64
		demand int
		want   []Level
	}{
		{"the first", nil, 7, 2, []Level{{7, 2}}},
		{"the highest of a minute", []Level{{7, 2}}, 7, 3, []Level{{7, 3}}},
		{"not the latest", []Level{{7, 3}}, 7, 1, []Level{{7, 3}}},
		{"the next minute", []Level{{7, 3}}, 8, 1, []Level{{7, 3}, {8, 1}}},
		{"a gap stays a gap", []Level{{7, 3}}, 20, 1, []Level{{7, 3}, {20, 1}}},
		{"59 minutes ago is in the hour", []Level{{1, 3}}, 60, 1, []Level{{1, 3}, {60, 1}}},
		{"60 minutes ago is not", []Level{{1, 3}}, 61, 1, []Level{{61, 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := observeLevel(tt.levels, tt.minute, tt.demand); cmp.Diff(tt.want, got) != "" {
				t.Errorf("observeLevel(%v, %d, %d) = %v, want %v", tt.levels, tt.minute, tt.demand, got, tt.want)
			}
		})
	}
}

// TestObserveLevelStaysSmall: however the clock jumps, there is at most one record for each minute, none is
// older than an hour, and the records before stay unchanged.
func TestObserveLevelStaysSmall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []Level
		minute := int64(1000)
		for range rapid.IntRange(1, 300).Draw(t, "ticks") {
			minute += rapid.Int64Range(0, 3).Draw(t, "pass")
			before := append([]Level(nil), all...)
			next := observeLevel(all, minute, rapid.IntRange(0, 9).Draw(t, "demand"))
			if diff := cmp.Diff(before, all); diff != "" {
				t.Fatalf("observeLevel changed its input:\n%s", diff)
			}
			all = next
			if len(all) > levelMinutes || all[0].Minute <= minute-levelMinutes || all[len(all)-1].Minute != minute {
				t.Fatalf("observeLevel at minute %d = %v, want at most the last hour", minute, all)
			}
		}
	})
}
