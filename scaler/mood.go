package scaler

import (
	"slices"
	"time"
)

// Mood says how builds fare: a closed set.
type Mood string

// The moods.
const (
	MoodQuiet   Mood = "quiet"   // no build waits or runs
	MoodWorking Mood = "working" // builds run, and none waits
	MoodWaiting Mood = "waiting" // builds wait, as they do until their agents are there
	MoodTrouble Mood = "trouble" // agents fail, or a build waits longer than usual
	MoodHold    Mood = "hold"    // Jenkins or Kubernetes cannot be read
)

// Moods returns every mood, the best first.
func Moods() []Mood {
	return []Mood{MoodQuiet, MoodWorking, MoodWaiting, MoodTrouble, MoodHold}
}

// Worse reports whether builds fare worse in mood m than in the other.
func (m Mood) Worse(other Mood) bool {
	return slices.Index(Moods(), m) > slices.Index(Moods(), other)
}

// longWait is the shortest wait that is trouble, however fast agents usually start.
const longWait = 2 * time.Minute

// Mood returns how the builds of the team fare.
func (d *Decision) Mood() Mood {
	long, stop := longWait, d.stops()
	for _, u := range d.Usual {
		long = max(long, 2*u.Most)
	}
	switch {
	case stop != nil && (stop.Rule == RuleBackoff || stop.Rule == RuleVetoed), d.Waiting > 0 && d.Oldest >= long:
		return MoodTrouble
	case d.Waiting > 0:
		return MoodWaiting
	case d.Busy > 0:
		return MoodWorking
	}
	return MoodQuiet
}

// stops returns the rule that keeps agents from being made, and nil if none does. Of several it is the last.
func (d *Decision) stops() (stop *Step) {
	var instead Kind // of the agents that fail, and for which others are made
	for i := range d.Steps {
		switch s := &d.Steps[i]; {
		case s.Rule == RuleFallback:
			instead = s.Pause.Kind
		case s.block() == "":
		case s.Rule == RuleBackoff && s.Pause.Kind == instead && d.Ups() > 0:
			stop = nil
		default:
			stop = s
		}
	}
	return stop
}

// Sum is the numbers of all teams together. Busy, Free and Coming count executors.
type Sum struct {
	Mood    Mood          `json:"mood"`
	Waiting int           `json:"waiting"`
	Nobodys int           `json:"nobodys"` // builds that no team serves; they are not in Waiting
	Busy    int           `json:"busy"`
	Free    int           `json:"free"`
	Coming  int           `json:"coming"`
	Alive   int           `json:"alive"`
	Oldest  time.Duration `json:"oldest"` // how long the oldest of all these builds has waited
	Usual   time.Duration `json:"usual"`  // half of the agents of the slowest pool start in that time
	Worst   *Decision     `json:"-"`      // of the team whose builds fare worst; nil: there is no team
}

// worse reports whether there is more to say of a team than of another one in the same mood: a rule first.
func (d *Decision) worse(other *Decision) bool {
	if stop, its := yes(d.stops() != nil), yes(other.stops() != nil); stop != its {
		return stop > its
	}
	return d.Oldest > other.Oldest
}

// Sum returns the numbers of all teams together.
func (p *Plan) Sum() Sum {
	s := Sum{Mood: MoodQuiet}
	for i := range p.Decisions {
		d := &p.Decisions[i]
		s.Waiting, s.Busy, s.Free = s.Waiting+d.Waiting, s.Busy+d.Busy, s.Free+d.Free
		s.Coming, s.Alive, s.Oldest = s.Coming+d.Coming, s.Alive+d.Alive, max(s.Oldest, d.Oldest)
		if m := d.Mood(); s.Worst == nil || m.Worse(s.Mood) || m == s.Mood && d.worse(s.Worst) {
			s.Mood, s.Worst = m, d
		}
		for _, u := range d.Usual {
			s.Usual = max(s.Usual, u.Half)
		}
	}
	for _, u := range slices.Concat(p.Unserved, p.Unresolved) {
		s.Nobodys, s.Oldest = s.Nobodys+u.Count, max(s.Oldest, u.Oldest)
		is := MoodWaiting
		if u.Oldest >= longWait {
			is = MoodTrouble
		}
		if is.Worse(s.Mood) {
			s.Mood = is
		}
	}
	return s
}
