// Package web serves the state of a running Bellboard over HTTP: metrics, health, readiness, the last tick,
// the last ticks that changed something, and the record of builds.
//
// Every answer is from memory. No request changes anything, and none reaches Jenkins or Kubernetes. The
// health check is about the loop, never about Jenkins: a restart of Bellboard mends no other program.
package web

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzhttp"
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
	Gatherer   prometheus.Gatherer
	Now        func() time.Time
	Replica    func() Replica
	MaxAge     time.Duration             // since the end of the last tick, for which the loop counts as alive
	JenkinsURL string                    // where people find Jenkins, until a build shows it
	MaxAgents  int                       // of all teams together
	Settings   map[string][]Setting      // by team; no secrets
	Costs      map[scaler.PoolID]float64 // of an agent in an hour, as far as known
	// History writes the record of builds as CSV. If it returns an error, it has written nothing.
	History func(io.Writer) error
}

// Setting is a setting of a team, with its value and where the value comes from.
type Setting struct{ Variable, Value, Origin string }

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
	past    history
	spent   bills
	since   time.Time // the first tick that was no hold
	root    string    // Jenkins' address, as Jenkins itself gives it; "": not known yet
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
	Now time.Time `json:"now"`
	// Headline and Sum are what the page says of all teams together; Nobodys count as waiting. Left, P95 and
	// Changes are of one team if the request asks for one: /api/v1/status?team=web.
	Headline   string `json:"headline"`
	scaler.Sum `json:"sum"`
	Max        int           `json:"maxAgents"`       // the most agents that may be alive
	P95        time.Duration `json:"waitP95"`         // 95 of 100 builds that left the queue in the last hour had waited no longer
	Left       int           `json:"left"`            // builds that left the queue in the last hour
	Stuck      time.Duration `json:"stuck,omitempty"` // since the last tick has ended, if that is too long
	Ready      bool          `json:"ready"`           // a tick since the start was no hold
	Tick       *scaler.Tick  `json:"tick"`            // the last tick; null: no tick yet
	Seen       *scaler.Tick  `json:"seen,omitempty"`  // the last tick that was no hold, if the last tick is a hold
	Changes    []Change      `json:"changes"`         // the last, the newest first
	Failed     []Failed      `json:"failed"`          // the last agents that failed, the newest first
	Lost       []Lost        `json:"lost"`            // the last agents that builds lost, the newest first
}

// Why is the answer of /api/v1/why: the builds in Jenkins' queue, and why they wait.
type Why struct {
	Replica
	Now      time.Time       `json:"now"`
	Headline string          `json:"headline"`
	Mood     scaler.Mood     `json:"mood"`
	Of       string          `json:"of"` // the job, label or team that was asked for; "": all
	Queued   []scaler.Queued `json:"queued"`
	None     string          `json:"none,omitempty"` // says that no such build waits
}

// Decisions is the answer of /api/v1/decisions.
type Decisions struct {
	Kept  int           `json:"kept"`  // the number of ticks that are remembered at most
	Ticks []scaler.Tick `json:"ticks"` // the newest first, without their agents, pods and lists of slots
}

// New returns a server that has observed no tick yet.
func New(c Config) *Server {
	s := &Server{config: c, has: state{ended: c.Now(), changes: []scaler.Tick{}, past: history{}, spent: bills{}}}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(c.Gatherer, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: 10 * time.Second, CoalesceGather: true,
	}))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /api/v1/status", s.status)
	mux.HandleFunc("GET /api/v1/why", s.why)
	mux.HandleFunc("GET /api/v1/decisions", s.decisions)
	mux.HandleFunc("GET /api/history", s.history)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s.page(w, r, "home", func(has *state) any { return has.home(&s.config) })
	})
	mux.HandleFunc("GET /team/{team}", func(w http.ResponseWriter, r *http.Request) {
		s.page(w, r, "team", func(has *state) any {
			if p := has.team(&s.config, r.PathValue("team")); p != nil {
				return p
			}
			return nil
		})
	})
	for _, file := range []string{"page.css", "page.js", "bell.svg"} {
		mux.Handle("GET /"+file, http.FileServerFS(files))
	}
	s.handler = gzhttp.GzipHandler(mux)
	return s
}

//go:embed page.css page.html page.js bell.svg
var files embed.FS

var pages = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock":  func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"day":    func(t time.Time) string { return t.UTC().Format("Mon 2 Jan 15:04 UTC") },
	"minute": func(t time.Time) string { return t.UTC().Format("15:04") },
	"titled": func(id, title string, items []string) any {
		return struct {
			ID, Title string
			Items     []string
		}{id, title, items}
	},
	"short": func(d time.Duration) string {
		text := strings.Replace(d.Round(time.Second).String(), "m0s", "m", 1)
		return strings.Replace(text, "h0m", "h", 1)
	},
}).ParseFS(files, "page.html"))

// page writes the page of that name, or 404 if it has no content.
func (s *Server) page(w http.ResponseWriter, r *http.Request, name string, content func(*state) any) {
	s.mu.Lock()
	has := s.now()
	data := content(&has) // copies what it needs of the history
	s.mu.Unlock()
	if data == nil {
		http.NotFound(w, r)
		return
	}
	var text strings.Builder
	if err := pages.ExecuteTemplate(&text, name, data); err != nil {
		http.Error(w, "cannot write the page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, plain.Page(text.String())) // as in answer
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; img-src 'self'; script-src 'self'; style-src 'self'")
	h.Set("Cache-Control", "no-store")
	s.handler.ServeHTTP(w, r)
}

// Observe adds the record of one tick, which has just ended.
func (s *Server) Observe(t scaler.Tick) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.has.ended, s.has.Tick, s.has.Seen = s.config.Now(), &t, s.has.seen
	if t.Hold == "" {
		if s.has.seen == nil {
			s.has.since = t.At
		} else if len(s.config.Costs) > 0 {
			s.has.spent.spend(s.has.seen, t.At)
		}
		s.has.Ready, s.has.seen, s.has.Seen = true, &t, nil
		s.has.past.add(&t)
		for i := range t.Plan.Agents {
			if root, _, found := strings.Cut(t.Plan.Agents[i].Build, "/job/"); found {
				s.has.root = root
				break
			}
		}
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

// lockedNow returns what the server has seen until now. The history in it changes.
func (s *Server) lockedNow() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// now is lockedNow for those that hold the lock.
func (s *Server) now() state {
	has := s.has
	has.Replica, has.Now = s.config.Replica(), s.config.Now()
	return has
}

// decision returns the part of a tick that a Server remembers. It has no pointer to an agent or an item, which
// would keep all of that tick: there may be thousands.
func decision(t scaler.Tick) scaler.Tick {
	t.Items = nil
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
	has := s.lockedNow()
	if age := has.Now.Sub(has.ended); age > s.config.MaxAge {
		unavailable(w, fmt.Sprintf("the loop is stuck: no tick has ended for %s", age.Round(time.Second)))
		return
	}
	_, _ = fmt.Fprintln(w, "ok") // as in answer
}

// readyz reports whether any tick since the start was no hold.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	switch has := s.lockedNow(); {
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

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	h, team := s.lockedHead(r.URL.Query().Get("team")), r.URL.Query().Get("team")
	if h.Team != team {
		var teams []string
		for i := range h.Shown.Plan.Decisions {
			teams = append(teams, h.Shown.Plan.Decisions[i].Team)
		}
		http.Error(w, plain.Line("no team ‘"+team+"’; the teams are: "+strings.Join(teams, ", ")), http.StatusNotFound)
		return
	}
	answer(w, h.Status)
}

// lockedHead returns what the page of a team begins with. "" stands for all teams, and so does a team that is
// not there.
func (s *Server) lockedHead(team string) head {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.now()
	if has.seen == nil || has.seen.Plan.Decision(team) == nil {
		team = ""
	}
	return has.head(&s.config, team)
}

// why answers for a job, a label or a team.
func (s *Server) why(w http.ResponseWriter, r *http.Request) {
	h := s.lockedHead("")
	out := Why{Replica: h.Replica, Now: h.Now, Headline: h.Headline, Mood: h.Mood, Of: r.URL.Query().Get("of")}
	if out.None = h.Headline; h.Shown.ID != "" {
		out.Queued, out.None = h.Shown.Why(out.Of)
	}
	answer(w, out)
}

func (s *Server) decisions(w http.ResponseWriter, _ *http.Request) {
	answer(w, Decisions{Kept: kept, Ticks: s.lockedNow().changes})
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
	b, err := JSON(v)
	if err != nil {
		http.Error(w, "cannot write the answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // an error means that the reader has gone
}
