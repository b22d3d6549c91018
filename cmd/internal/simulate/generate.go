package simulate

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Shape is a kind of load that Generate knows.
type Shape string

// The shapes.
const (
	Diurnal  Shape = "diurnal"     // single builds, many by day and few at night and at weekends
	FanOut   Shape = "fan-out"     // each push begins a build, and its end begins many
	Cron     Shape = "cron"        // a nightly run of many builds, and a few by day
	Periodic Shape = "periodic"    // ten builds every 760 s, for ever
	Idle     Shape = "nearly-idle" // a build every few hours
)

// Shapes returns every shape.
func Shapes() []Shape { return []Shape{Diurnal, FanOut, Cron, Periodic, Idle} }

// generatedFrom is the first day of generated histories: a Monday.
var generatedFrom = time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)

// generator makes one history.
type generator struct {
	*rand.Rand
	h      *History
	jobs   map[string]int32
	groups int32
}

// Generate returns a history of that shape and length. The same seed gives the same history.
func Generate(shape Shape, days int, seed uint64) (*History, error) {
	g := generator{
		Rand: rand.New(rand.NewPCG(seed, 0x6265_6c6c)), jobs: map[string]int32{},
		h: &History{Name: fmt.Sprintf("generated %s, %d days, seed %d", shape, days, seed), Labels: []string{"linux"}},
	}
	if days < 1 || days > 3660 {
		return nil, fmt.Errorf("a history of %d days cannot be generated; write a number from 1 to 3660", days)
	}
	switch shape {
	case Diurnal:
		g.diurnal(days, 40, func(at float64) { g.add(at, g.lognormal(300, 0.8), "build", g.run()) })
	case FanOut:
		g.diurnal(days, 4, g.fanOut)
	case Cron:
		g.cron(days)
	case Periodic:
		for at := 0.0; at < float64(days)*86400; at += 760 {
			run := g.run()
			for i := range 10 {
				g.add(at, 120+10*g.Float64(), fmt.Sprintf("part-%d", i), run)
			}
		}
	case Idle:
		for at := g.ExpFloat64() * 4 * 3600; at < float64(days)*86400; at += g.ExpFloat64() * 4 * 3600 {
			g.add(at, g.lognormal(600, 0.5), "rare", g.run())
		}
	default:
		names := make([]string, 0, len(Shapes()))
		for _, s := range Shapes() {
			names = append(names, string(s))
		}
		return nil, fmt.Errorf("no shape is named %q; write one of %s", shape, strings.Join(names, ", "))
	}
	slices.SortStableFunc(g.h.Builds, func(a, b Build) int { return cmp.Compare(a.Submitted, b.Submitted) })
	g.h.Groups = int(g.groups)
	return g.h, nil
}

func (g *generator) run() int32 { g.groups++; return g.groups - 1 }

func (g *generator) add(at, length float64, job string, run int32) {
	g.h.Builds = append(g.h.Builds, Build{
		Submitted: generatedFrom.UnixMilli() + int64(at*1000), Length: int64(max(1, length) * 1000), Job: index(g.jobs, &g.h.Jobs, job), Group: run,
	})
}

func (g *generator) lognormal(median, sigma float64) float64 {
	return median * math.Exp(sigma*g.NormFloat64())
}

// diurnal calls event at the times of a Poisson process with that many events in the busiest hour.
func (g *generator) diurnal(days int, perHour float64, event func(at float64)) {
	for at := 0.0; ; {
		at += g.ExpFloat64() * 3600 / perHour
		day, hour := int(at/86400), math.Mod(at, 86400)/3600
		if day >= days {
			return
		}
		load := 0.05 + 0.95*math.Exp(-(hour-13.5)/3.5*((hour-13.5)/3.5))
		if day%7 >= 5 {
			load *= 0.15
		}
		if g.Float64() < load {
			event(at)
		}
	}
}

// fanOut adds one run of three stages: a short build, then many, then one.
func (g *generator) fanOut(at float64) {
	run, first := g.run(), g.lognormal(90, 0.3)
	g.add(at, first, "prepare", run)
	end := at + first
	for i := range 8 + g.IntN(17) {
		length := g.lognormal(420, 0.6)
		g.add(at+first+45, length, fmt.Sprintf("test-%d", i), run)
		end = max(end, at+first+45+length)
	}
	g.add(end+45, g.lognormal(120, 0.3), "publish", run)
}

// cron adds a run of 120 builds every night, and single builds by day.
func (g *generator) cron(days int) {
	for day := range days {
		run := g.run()
		for i := range 120 {
			g.add(float64(day)*86400+6*3600+float64(i)*0.1, g.lognormal(1200, 0.5), fmt.Sprintf("nightly-%d", i), run)
		}
	}
	g.diurnal(days, 3, func(at float64) { g.add(at, g.lognormal(600, 0.6), "push", g.run()) })
}
