package scaler

import (
	"slices"
	"time"
)

// NewsKind is what a piece of news is about: a closed set.
type NewsKind string

// The kinds of news.
const (
	NewsHold      NewsKind = "hold"       // a hold begins, or has a cause that it did not have before
	NewsStillHeld NewsKind = "still-held" // the hold goes on, told every HoldReminder
	NewsReadable  NewsKind = "readable"   // the hold is over
	NewsScaled    NewsKind = "scaled"     // a team makes, drains or renews agents
	NewsBlocked   NewsKind = "blocked"    // rules keep a team from making agents, and other ones than before
	NewsRejected  NewsKind = "rejected"   // Jenkins or Kubernetes rejected a creation, for no class of failure
	NewsFailed    NewsKind = "failed"     // an agent failed
	NewsLost      NewsKind = "lost"       // a build lost its agent
	NewsWindow    NewsKind = "window"     // a window of SCHEDULE sets a setting, or no longer does
	NewsRescue    NewsKind = "rescue"     // an agent was given back to a build, or kept out, or given up under one
)

// HoldReminder is how often a hold that goes on is told.
const HoldReminder = 5 * time.Minute

// News is one thing that people should hear of. It points into its Tick.
type News struct {
	Kind     NewsKind
	Decision *Decision    // of NewsScaled, NewsBlocked and NewsWindow
	Text     string       // of NewsWindow
	Outcome  *Outcome     // of NewsRejected and NewsRescue
	Failed   *FailedAgent // of NewsFailed
	Lost     *LostBuilds  // of NewsLost
}

// Newspaper decides what of a loop's ticks is news. The log, the events, the page and the demo print what it
// finds. The zero value has read nothing.
type Newspaper struct {
	held    time.Time              // when the hold began
	causes  map[string]bool        // of the hold, with their sources; nil: there is no hold
	told    time.Time              // when the hold was told last
	blocked map[string]string      // by team: the rules that block it
	windows map[string][]Scheduled // by team: what windows set
}

// Read notes on the tick when its hold began, or when the hold began that the tick ends, and adds its news.
func (n *Newspaper) Read(t *Tick) {
	t.HoldSince, t.News = n.held, nil
	if t.Hold != "" {
		n.hold(t)
		return
	}
	if n.causes != nil {
		t.News = append(t.News, News{Kind: NewsReadable})
		n.held, n.causes = time.Time{}, nil
	}
	n.schedule(t)
	blocked := map[string]string{}
	for i := range t.Plan.Decisions {
		d := &t.Plan.Decisions[i]
		if d.Changes() {
			t.News = append(t.News, News{Kind: NewsScaled, Decision: d})
		}
		if d.Reason == ReasonBlocked {
			// The words of a block may count seconds down, so its rules tell whether it is the same block.
			if blocked[d.Team] = d.Rules(); blocked[d.Team] != n.blocked[d.Team] {
				t.News = append(t.News, News{Kind: NewsBlocked, Decision: d})
			}
		}
	}
	n.blocked = blocked
	rejected := map[PoolID]bool{} // told once for each pool
	for i := range t.Outcomes {
		o := &t.Outcomes[i]
		a := &o.Action
		switch made := a.Verb == Create || a.Verb == Register; {
		case made && o.Result == Rejected && o.Failure == "" && !rejected[a.Pool]:
			rejected[a.Pool] = true
			t.News = append(t.News, News{Kind: NewsRejected, Outcome: o})
		case a.Verb == ClearMark || a.Verb == Fence || a.Reason == ReasonLost:
			t.News = append(t.News, News{Kind: NewsRescue, Outcome: o})
		}
	}
	for i := range t.Facts.Failures {
		t.News = append(t.News, News{Kind: NewsFailed, Failed: &t.Facts.Failures[i]})
	}
	for i := range t.Facts.BuildsLost {
		t.News = append(t.News, News{Kind: NewsLost, Lost: &t.Facts.BuildsLost[i]})
	}
}

// schedule adds the news of settings that a window sets since this tick, or no longer sets.
func (n *Newspaper) schedule(t *Tick) {
	was := n.windows
	n.windows = map[string][]Scheduled{}
	for i := range t.Plan.Decisions {
		d := &t.Plan.Decisions[i]
		before := was[d.Team]
		n.windows[d.Team] = d.Scheduled
		for j := range before {
			s := &before[j]
			if !slices.ContainsFunc(d.Scheduled, func(x Scheduled) bool { return x.Setting == s.Setting }) {
				t.News = append(t.News, News{Kind: NewsWindow, Decision: d, Text: s.Over()})
			}
		}
		for j := range d.Scheduled {
			s := &d.Scheduled[j]
			if !slices.ContainsFunc(before, func(x Scheduled) bool { return x.Setting == s.Setting && x.Window == s.Window }) {
				t.News = append(t.News, News{Kind: NewsWindow, Decision: d, Text: s.Words()})
			}
		}
	}
}

// Tells reports whether the tick has news of that kind.
func (t *Tick) Tells(k NewsKind) bool {
	return slices.ContainsFunc(t.News, func(n News) bool { return n.Kind == k })
}

// hold adds the news of a tick that holds. A cause that comes back within one hold is no news.
func (n *Newspaper) hold(t *Tick) {
	if n.causes == nil {
		n.held, n.causes = t.At, map[string]bool{}
		t.HoldSince = t.At
	}
	cause := string(t.HoldBy) + "/" + string(t.HoldCause)
	switch {
	case !n.causes[cause]:
		t.News = append(t.News, News{Kind: NewsHold})
	case t.At.Sub(n.told) >= HoldReminder:
		t.News = append(t.News, News{Kind: NewsStillHeld})
	default:
		return
	}
	n.causes[cause], n.told = true, t.At
}
