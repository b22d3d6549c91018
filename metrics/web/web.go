// Package web serves the state of a running Bellboard over HTTP: metrics, health, readiness, the last tick,
// the last ticks that changed something, and the record of builds.
//
// Every answer is from memory. No request changes anything, and none reaches Jenkins or Kubernetes. The
// health check is about the loop, never about Jenkins: a restart of Bellboard mends no other program.
package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"bellboard/scaler"
	"bellboard/scaler/plain"
)

// What a Server remembers at most.
const (
	kept       = 256 // ticks that changed something
	failedKept = 12  // failed agents, and agents that builds lost
)

// Config has what a Server needs.
type Config struct {
	Gatherer prometheus.Gatherer
	Now      func() time.Time
	Replica  func() Replica
	MaxAge   time.Duration // since the end of the last tick, for which the loop counts as alive
	// History writes the record of builds as CSV. If it returns an error, it has written nothing.
	History func(io.Writer) error
}

// Replica is the Bellboard that answers.
type Replica struct {
	Instance string `json:"instance"`
	Version  string `json:"version"`
	Role     string `json:"role"`             // leader, standby, dry run, or starting
	Leader   string `json:"leader,omitempty"` // the replica that holds the Lease, if known
}

// Server is the handler of all paths, and an observer of ticks.
type Server struct {
	config  Config
	handler http.Handler

	mu  sync.Mutex
	has state
}

// state is what a Server has seen. A new record makes a new list, so copies of a state share its lists.
type state struct {
	Status
	ended   time.Time     // the end of the last tick, or the time at which the server was made
	seen    *scaler.Tick  // the last tick that was no hold; nil: no such tick yet
	changes []scaler.Tick // the newest first
}

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
	Replica
	Now    time.Time    `json:"now"`
	Ready  bool         `json:"ready"`          // a tick since the start was no hold
	Tick   *scaler.Tick `json:"tick"`           // the last tick; null: no tick yet
	Seen   *scaler.Tick `json:"seen,omitempty"` // the last tick that was no hold, if the last tick is a hold
	Failed []Failed     `json:"failed"`         // the last agents that failed, the newest first
	Lost   []Lost       `json:"lost"`           // the last agents that builds lost, the newest first
}

// Decisions is the answer of /api/v1/decisions.
type Decisions struct {
	Kept  int           `json:"kept"`  // the number of ticks that are remembered at most
	Ticks []scaler.Tick `json:"ticks"` // the newest first, without their agents, pods and lists of slots
}

// New returns a server that has observed no tick yet.
func New(c Config) *Server {
	s := &Server{config: c, has: state{ended: c.Now(), changes: []scaler.Tick{}}}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: 10 * time.Second, CoalesceGather: true,
	}))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /api/v1/status", s.status)
	mux.HandleFunc("GET /api/v1/decisions", s.decisions)
	mux.HandleFunc("GET /api/history", s.history)
	mux.HandleFunc("GET /{$}", s.index)
	mux.Handle("GET /page.css", http.FileServerFS(files))
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
	s.has.ended, s.has.Tick, s.has.Seen = s.config.Now(), &t, s.has.seen
	if t.Hold == "" {
		s.has.Ready, s.has.seen, s.has.Seen = true, &t, nil
	}
	for _, f := range t.Facts.Failures {
		s.has.Failed = prepend(s.has.Failed, Failed{t.At, f}, failedKept)
	}
	for _, l := range t.Facts.BuildsLost {
		s.has.Lost = prepend(s.has.Lost, Lost{t.At, l}, failedKept)
	}
	if acted(&t) || t.Tells(scaler.NewsLost) || t.Tells(scaler.NewsHold) || t.Tells(scaler.NewsReadable) {
		s.has.changes = prepend(s.has.changes, decision(t), kept)
	}
}

// prepend returns a new list that begins with the record, and has at most so many records.
func prepend[T any](list []T, record T, most int) []T {
	return append([]T{record}, list[:min(len(list), most-1)]...)
}

// now returns what the server has seen until now.
func (s *Server) now() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.has
	has.Replica, has.Now = s.config.Replica(), s.config.Now()
	return has
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
		a.Slot = new(*a.Slot)
	}
}

// acted reports whether a tick did, or tried to do, what it had decided. A standby and a dry run skip all of
// it.
func acted(t *scaler.Tick) bool {
	return slices.ContainsFunc(t.Outcomes, func(o scaler.Outcome) bool { return o.Result != scaler.Skipped })
}

// healthz reports whether the loop is alive, whatever state Jenkins and Kubernetes have.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	has := s.now()
	if age := has.Now.Sub(has.ended); age > s.config.MaxAge {
		unavailable(w, fmt.Sprintf("the loop is stuck: no tick has ended for %s", age.Round(time.Second)))
		return
	}
	_, _ = fmt.Fprintln(w, "ok") // as in answer
}

// readyz reports whether any tick since the start was no hold.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	switch has := s.now(); {
	case has.Ready:
		_, _ = fmt.Fprintln(w, "ok") // as in answer
	case has.Tick != nil:
		unavailable(w, "not ready: "+plain.Line(has.Tick.Hold))
	default:
		unavailable(w, "not ready: no tick has ended yet")
	}
}

func unavailable(w http.ResponseWriter, why string) {
	http.Error(w, why, http.StatusServiceUnavailable)
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) { answer(w, s.now().Status) }

func (s *Server) decisions(w http.ResponseWriter, _ *http.Request) {
	answer(w, Decisions{Kept: kept, Ticks: s.now().changes})
}

// history writes the record of builds for bellboard simulate.
func (s *Server) history(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	if err := s.config.History(w); err != nil {
		unavailable(w, plain.Line(err.Error()))
	}
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
