package web

import (
	"fmt"
	"math"
	"strings"
	"time"

	"bellboard/scaler"
)

// What a history keeps of each team, in 31 kB.
const (
	minutesKept = 24 * 60
	waitsKept   = 60 // minutes
	waitBounds  = 64
	waitFactor  = 1.15 // from one bound to the next; the first bound is a second, the last is 1h51m
)

// What a look has the numbers of. All but waiting and wanted are executors.
const (
	waiting = iota
	busy
	free
	starting
	wanted // agents
	numbers
)

// look is one look at a team: of all ticks of a minute the one in which most builds waited, and of these the
// last.
type look struct {
	at int32 // minutes since 1970; 0: Bellboard saw nothing in that minute
	of [numbers]uint16
}

// waits are the builds that left the queue in one minute, by how long they had waited.
type waits struct {
	at     int32
	counts [waitBounds]uint16
}

// series is the last day of one team, or of all teams together.
type series struct {
	looks [minutesKept]look
	waits [waitsKept]waits
}

// history has the series of each team. The series of all teams together has no name.
type history map[string]*series

func minuteOf(t time.Time) int32 { return int32(t.Unix() / 60) }

// add adds a tick, in which Bellboard saw everything.
func (h history) add(t *scaler.Tick) {
	sum, all := t.Plan.Sum(), 0
	for i := range t.Plan.Decisions {
		d := &t.Plan.Decisions[i]
		h.of(d.Team).look(t.At, d.Waiting, d.Busy, d.Free, d.Coming, d.Want)
		all += d.Want
	}
	h.of("").look(t.At, sum.Waiting+sum.Nobodys, sum.Busy, sum.Free, sum.Coming, all)
	for _, w := range t.Facts.Waits {
		h.of(w.Team).wait(t.At, w.Took)
		h.of("").wait(t.At, w.Took)
	}
}

func (h history) of(team string) *series {
	if h[team] == nil {
		h[team] = new(series)
	}
	return h[team]
}

// look adds one look: the numbers in their order.
func (s *series) look(at time.Time, of ...int) {
	is := look{at: minuteOf(at)}
	for i, n := range of {
		is.of[i] = uint16(min(max(n, 0), math.MaxUint16))
	}
	if l := &s.looks[is.at%minutesKept]; l.at != is.at || is.of[waiting] >= l.of[waiting] {
		*l = is
	}
}

func (s *series) wait(at time.Time, took time.Duration) {
	minute := minuteOf(at)
	w := &s.waits[minute%waitsKept]
	if w.at != minute {
		*w = waits{at: minute}
	}
	bound := math.Ceil(math.Log(max(1, took.Seconds())) / math.Log(waitFactor))
	if n := &w.counts[int(min(bound, waitBounds-1))]; *n < math.MaxUint16 {
		*n++
	}
}

// p95 returns how many builds left the queue in the last hour, and a bound: 95 of 100 of them waited for no
// longer. The bound is at most 15 % too high.
func (s *series) p95(now time.Time) (bound time.Duration, builds int) {
	var counts [waitBounds]int
	for i := range s.waits {
		if w := &s.waits[i]; minuteOf(now)-w.at < waitsKept {
			for j, n := range w.counts {
				counts[j] += int(n)
				builds += int(n)
			}
		}
	}
	for i, sum := 0, 0; i < waitBounds && builds > 0; i++ {
		if sum += counts[i]; sum*100 >= builds*95 {
			return time.Duration(math.Pow(waitFactor, float64(i)) * float64(time.Second)).Round(time.Second), builds
		}
	}
	return 0, 0
}

// span returns how many minutes a picture has to show, so that it shows all that is known.
func (s *series) span(now time.Time) int {
	oldest := int32(0)
	for i := range s.looks {
		if l := &s.looks[i]; l.at > 0 {
			oldest = max(oldest, minuteOf(now)-l.at)
		}
	}
	for _, minutes := range []int{30, 60, 180, 360, 720} {
		if int(oldest) < minutes {
			return minutes
		}
	}
	return minutesKept
}

// last returns the last minutes, the oldest first, joined to so many looks. Of the minutes that are joined, it
// takes the one in which most builds waited.
func (s *series) last(now time.Time, minutes, joined int) []look {
	out := make([]look, joined)
	for m := range minutes {
		at := minuteOf(now) - int32(minutes-1-m)
		l, o := &s.looks[((at%minutesKept)+minutesKept)%minutesKept], &out[m*joined/minutes]
		if l.at == at && (o.at == 0 || l.of[waiting] >= o.of[waiting]) {
			*o = *l
		}
	}
	return out
}

// chart is a picture of a series, as the paths of an SVG that is one unit wide for each look and 100 high.
type chart struct {
	Width            int
	From, Middle, To time.Time
	Builds, Agents   int // at the upper edge: builds that wait, executors
	Waiting, Wanted  string
	Stack            []layer // executors, the highest layer first: each hides a part of the one before
}

// layer is the area below one sum of executors.
type layer struct{ Class, Path string }

func (s *series) chart(now time.Time, minutes, joined int) chart {
	joined = min(joined, minutes)
	looks := s.last(now, minutes, joined)
	sum := func(of ...int) func(*look) int {
		return func(l *look) (n int) {
			for _, i := range of {
				n += int(l.of[i])
			}
			return n
		}
	}
	c := chart{
		Width: joined, From: now.Add(-time.Duration(minutes) * time.Minute), To: now,
		Middle: now.Add(-time.Duration(minutes) * time.Minute / 2), Builds: 1, Agents: 1,
	}
	for i := range looks {
		c.Builds = max(c.Builds, sum(waiting)(&looks[i]))
		c.Agents = max(c.Agents, sum(busy, free, starting)(&looks[i]), sum(wanted)(&looks[i]))
	}
	c.Waiting = path(looks, sum(waiting), c.Builds, true)
	c.Wanted = path(looks, sum(wanted), c.Agents, false)
	c.Stack = []layer{
		{"starting", path(looks, sum(busy, free, starting), c.Agents, true)},
		{"free", path(looks, sum(busy, free), c.Agents, true)},
		{"busy", path(looks, sum(busy), c.Agents, true)},
	}
	return c
}

// path returns the steps of a value, as a line or as the area below. There is a gap where nothing was seen.
func path(looks []look, value func(*look) int, most int, area bool) string {
	var b strings.Builder
	last, open := 0, false
	end := func(x int) {
		if open {
			fmt.Fprintf(&b, "H%d", x)
		}
		if open && area {
			b.WriteString("V100Z")
		}
		open = false
	}
	for x := range looks {
		if looks[x].at == 0 {
			end(x)
			continue
		}
		y := 100 - value(&looks[x])*100/most
		switch {
		case !open && area:
			fmt.Fprintf(&b, "M%d 100V%d", x, y)
		case !open:
			fmt.Fprintf(&b, "M%d %d", x, y)
		case y != last:
			fmt.Fprintf(&b, "H%dV%d", x, y)
		}
		last, open = y, true
	}
	end(len(looks))
	return b.String()
}
