// Package web serves the state of a running Bellboard over HTTP: metrics, health, readiness, the last tick,
// and the last ticks that changed something.
//
// Every answer is from memory. No request changes anything, and none reaches Jenkins or Kubernetes. The
// health check is about the loop, never about Jenkins: a restart of Bellboard mends no other program.
package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bellboard/scaler"
	"bellboard/scaler/plain"
)

// kept is the number of ticks that changed something that a Server remembers.
const kept = 256

// Config has what a Server needs.
type Config struct {
	Gatherer prometheus.Gatherer
	Instance string
	Version  string
	Now      func() time.Time
	// Role returns the role of this replica: leader, standby, dry run; nil: leader.
	Role func() string
	// Leader returns the holder of the Lease, if known; nil: there is no Lease.
	Leader func() string
	// MaxAge is the longest time since the end of the last tick for which the loop counts as alive; 0 means a
	// minute.
	MaxAge time.Duration
}

// Server is the handler of all paths, and an observer of ticks.
type Server struct {
	config  Config
	handler http.Handler

	mu      sync.Mutex
	ended   time.Time     // the end of the last tick, or the time at which the server was made
	last    *scaler.Tick  // the last tick; nil: no tick yet
	seen    *scaler.Tick  // the last tick that was no hold; nil: no such tick yet
	changes []scaler.Tick // the newest first
	lines   []line        // the last changes on the page, the newest first
	failed  []Failed      // the newest first
	lost    []Lost        // the newest first
}

// failedKept is the number of failed agents that a Server remembers, and of agents that builds lost.
const failedKept = 12

// Failed is an agent that failed, and the time of its failure.
type Failed struct {
	At time.Time `json:"at"`
	scaler.FailedAgent
}

// Lost is an agent that builds lost, and the time at which Bellboard saw it.
type Lost struct {
	At time.Time `json:"at"`
	scaler.LostBuilds
}

// Status is the answer of /api/v1/status.
type Status struct {
	Instance string       `json:"instance"`
	Version  string       `json:"version"`
	Role     string       `json:"role"`             // leader, standby, dry run, or starting
	Leader   string       `json:"leader,omitempty"` // the replica that holds the Lease, if known
	Now      time.Time    `json:"now"`
	Ready    bool         `json:"ready"`          // a tick since the start was no hold
	Tick     *scaler.Tick `json:"tick"`           // the last tick; null: no tick yet
	Seen     *scaler.Tick `json:"seen,omitempty"` // the last tick that was no hold, if the last tick is a hold
	Failed   []Failed     `json:"failed"`         // the last agents that failed, the newest first
	Lost     []Lost       `json:"lost"`           // the last agents that builds lost, the newest first
}

// Decisions is the answer of /api/v1/decisions.
type Decisions struct {
	Kept  int           `json:"kept"`  // the number of ticks that are remembered at most
	Ticks []scaler.Tick `json:"ticks"` // the newest first, without their agents, pods and lists of slots
}

// New returns a server that has observed no tick yet.
func New(c Config) *Server {
	c.MaxAge = cmp.Or(c.MaxAge, time.Minute)
	if c.Role == nil {
		c.Role = func() string { return "leader" }
	}
	if c.Leader == nil {
		c.Leader = func() string { return "" }
	}
	s := &Server{config: c, ended: c.Now()}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: 10 * time.Second, CoalesceGather: true,
	}))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /api/v1/status", s.status)
	mux.HandleFunc("GET /api/v1/decisions", s.decisions)
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /page.css", style)
	s.handler = mux
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	s.handler.ServeHTTP(w, r)
}

// Observe adds the record of one tick, which has just ended.
func (s *Server) Observe(t scaler.Tick) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = s.config.Now()
	for i := range t.Facts.Failures {
		s.failed = prepend(s.failed, Failed{t.At, t.Facts.Failures[i]}, failedKept)
	}
	for i := range t.Facts.BuildsLost {
		s.lost = prepend(s.lost, Lost{t.At, t.Facts.BuildsLost[i]}, failedKept)
	}
	changed := acted(&t) || t.Tells(scaler.NewsLost) || t.Tells(scaler.NewsHold) || t.Tells(scaler.NewsReadable)
	for _, l := range slices.Backward(newLines(&t)) {
		s.lines = prepend(s.lines, l, linesKept)
	}
	s.last = &t
	if t.Hold == "" {
		s.seen = &t
	}
	if changed {
		s.changes = prepend(s.changes, decision(t), kept)
	}
}

// prepend puts a record before the list, and keeps the first most of them.
func prepend[T any](list []T, record T, most int) []T {
	list = slices.Insert(list, 0, record)
	return list[:min(len(list), most)]
}

// decision returns the part of a tick that a Server remembers. It has no pointer to an agent, which would
// keep all agents of that tick: there may be thousands.
func decision(t scaler.Tick) scaler.Tick {
	t.Plan.Agents, t.Plan.Slots, t.News = nil, nil, nil // by far the longest parts, and not needed to explain the decision
	t.Plan.Actions, t.Outcomes = slices.Clone(t.Plan.Actions), slices.Clone(t.Outcomes)
	for i := range t.Plan.Actions {
		loosen(&t.Plan.Actions[i])
	}
	for i := range t.Outcomes {
		loosen(&t.Outcomes[i].Action)
	}
	return t
}

// loosen removes the pod, whose name is the agent's, and copies the slot.
func loosen(a *scaler.Action) {
	a.Pod = nil
	if a.Slot != nil {
		slot := *a.Slot
		a.Slot = &slot
	}
}

// acted reports whether a tick did, or tried to do, what it had decided. A standby and a dry run skip all of
// it.
func acted(t *scaler.Tick) bool {
	return slices.ContainsFunc(t.Outcomes, func(o scaler.Outcome) bool { return o.Result != scaler.Skipped })
}

// healthz reports whether the loop is alive, whatever state Jenkins and Kubernetes have.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	age := s.config.Now().Sub(s.ended)
	s.mu.Unlock()
	if age > s.config.MaxAge {
		http.Error(w, fmt.Sprintf("the loop is stuck: no tick has ended for %s", age.Round(time.Second)), http.StatusServiceUnavailable)
		return
	}
	say(w, "ok")
}

// readyz reports whether any tick since the start was no hold.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	last, seen := s.last, s.seen
	s.mu.Unlock()
	switch {
	case seen != nil:
		say(w, "ok")
	case last != nil:
		http.Error(w, "not ready: "+plain.Line(last.Hold), http.StatusServiceUnavailable)
	default:
		http.Error(w, "not ready: no tick has ended yet", http.StatusServiceUnavailable)
	}
}

// now returns the status. The caller holds the lock.
func (s *Server) now() Status {
	a := Status{
		Instance: s.config.Instance, Version: s.config.Version, Role: s.config.Role(), Leader: s.config.Leader(), Now: s.config.Now(),
		Ready: s.seen != nil, Tick: s.last, Failed: slices.Clone(s.failed), Lost: slices.Clone(s.lost),
	}
	if s.seen != s.last {
		a.Seen = s.seen
	}
	return a
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	a := s.now()
	s.mu.Unlock()
	answer(w, a)
}

func (s *Server) decisions(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	a := Decisions{Kept: kept, Ticks: append([]scaler.Tick{}, s.changes...)} // never null
	s.mu.Unlock()
	answer(w, a)
}

// answer writes v as JSON: complete, or an error.
func answer(w http.ResponseWriter, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "cannot write the answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(plain.JSON(b), '\n')) // an error means that the reader has gone
}

func say(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, text) // as in answer
}
