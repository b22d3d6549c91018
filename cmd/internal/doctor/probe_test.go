package doctor

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler/clock"
)

// writes calls f at the nth write of a probe, before Jenkins does it.
func (s *scene) writes(f func(n int, w http.ResponseWriter, r *http.Request) bool) {
	n := 0
	s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || r.URL.Path == "/computer/doCreateItem" && r.FormValue("name") == "/" {
			return false
		}
		n++
		return f(n, w, r)
	})
}

// probeWrites is the number of writes of a probe without errors: four registrations, of which Jenkins rejects
// one; two deletions of the first node; three marks; a toggle; and for each of two nodes a deletion that
// succeeds and one that finds nothing.
const probeWrites = 14

// TestProbeSurvivesRestart restarts Jenkins at each write of a probe. Nothing of the probe is left.
func TestProbeSurvivesRestart(t *testing.T) {
	var total atomic.Int64
	t.Cleanup(func() { // after the parallel ones
		if total.Load() < probeWrites {
			t.Errorf("a probe writes %d times; the restarts should be tried at each of %d", total.Load(), probeWrites)
		}
	})
	for at := 1; at <= probeWrites; at++ {
		t.Run(strconv.Itoa(at), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.writes(func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				total.Store(max(total.Load(), int64(n)))
				if n == at {
					s.jenkins.Restart(jenkinssim.Restart{Down: 30 * time.Millisecond, Loading: 20 * time.Millisecond, Unauthorized: 20 * time.Millisecond})
				}
				return false
			})
			r := s.run(t.Context(), true)
			if left := s.probes(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
				show(t, r)
			}
			for _, c := range r.Checks {
				if strings.HasPrefix(c.Name, "probe") && c.Result == Finding {
					t.Errorf("a restart is no finding: %+v", c)
				}
			}
		})
	}
}

// TestProbeSurvivesLostAnswers loses the answer of each write: of a write that was done, was not done, or is
// done a moment later. Nothing of the probe is left.
func TestProbeSurvivesLostAnswers(t *testing.T) {
	for at := 1; at <= probeWrites; at++ {
		for _, done := range []string{"done", "not done", "done later"} {
			t.Run(strconv.Itoa(at)+" "+done, func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				var later sync.WaitGroup
				s.writes(func(n int, _ http.ResponseWriter, r *http.Request) bool {
					if n != at {
						return false
					}
					_ = r.ParseForm()
					switch done {
					case "done":
						s.jenkins.ServeHTTP(httptest.NewRecorder(), r)
					case "done later":
						again := r.Clone(context.WithoutCancel(r.Context()))
						later.Go(func() {
							time.Sleep(5 * time.Millisecond)
							s.jenkins.ServeHTTP(httptest.NewRecorder(), again)
						})
					}
					panic(http.ErrAbortHandler)
				})
				defer later.Wait()
				r := s.run(t.Context(), true)
				if left := s.probes(); len(left) > 0 {
					t.Errorf("left behind: %q", left)
					show(t, r)
				}
			})
		}
	}
}

// TestProbeSurvivesInterruption interrupts a probe at each write. Nothing is left, and the report says so.
func TestProbeSurvivesInterruption(t *testing.T) {
	for at := 1; at <= probeWrites-4; at++ {
		t.Run(strconv.Itoa(at), func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s.writes(func(n int, _ http.ResponseWriter, _ *http.Request) bool {
				if n == at {
					cancel()
				}
				return false
			})
			r := s.run(ctx, true)
			if left := s.probes(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Name == "probe: removal" && strings.Contains(c.What, "interrupted") }) {
				t.Error("the report does not say that it was interrupted")
				show(t, r)
			}
		})
	}
}

// TestProbeOfADyingJenkins checks that the report names the nodes that a probe could not remove, and that a
// later probe removes them. It does not remove nodes of a probe that may still run.
func TestProbeOfADyingJenkins(t *testing.T) {
	s := newScene(t)
	s.parts.Patience = 100 * time.Millisecond
	s.writes(func(n int, _ http.ResponseWriter, _ *http.Request) bool {
		if n >= 6 { // after the second node was made
			panic(http.ErrAbortHandler)
		}
		return false
	})
	r := s.run(t.Context(), true)
	left := s.probes()
	if len(left) != 2 || !slices.Contains(named(r, Finding), "probe: removal") {
		t.Fatalf("left %q, findings %q", left, named(r, Finding))
	}
	for _, c := range r.Checks {
		for _, name := range left {
			if c.Name == "probe: removal" && !strings.Contains(c.What, name) {
				t.Errorf("it does not name %s: %+v", name, c)
			}
		}
	}
	s.intercept(func(http.ResponseWriter, *http.Request) bool { return false })
	s.parts.Patience = time.Minute
	if s.run(t.Context(), true); !slices.Equal(s.probes(), left) {
		t.Fatalf("another probe took the nodes of one that may still go on: %q of %q are left", s.probes(), left)
	}
	s.parts.Clock = quick{Clock: clock.Real(), ahead: abandoned + time.Minute}
	if r := s.run(t.Context(), false); !slices.Contains(named(r, Finding), "left by a probe") {
		t.Errorf("what a killed probe left is not found: %q", named(r, Finding))
	}
	r = s.run(t.Context(), true)
	if len(s.probes()) > 0 || len(r.Did) == 0 || !strings.Contains(r.Did[0], "left by an earlier probe") {
		t.Errorf("left %q; did %q", s.probes(), r.Did)
	}
}

// TestProbeFindsOut checks that a probe finds a Jenkins that behaves otherwise.
func TestProbeFindsOut(t *testing.T) {
	marks, node := 0, ""
	for _, tt := range []struct {
		name string
		way  func(s *scene, w http.ResponseWriter, r *http.Request) bool
		want string
		what string
	}{
		{"another secret each time", func(_ *scene, w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, ".jnlp") {
				return false
			}
			name := strings.Split(r.URL.Path, "/")[2]
			_, _ = w.Write([]byte("<jnlp><application-desc><argument>" + random() + "</argument><argument>" + name + "</argument></application-desc></jnlp>"))
			return true
		}, "probe: secret and deletion", "should be the same"},
		{"a mark that stays as it was", func(_ *scene, w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/changeOfflineCause") {
				return false
			}
			if marks++; marks == 1 {
				return false
			}
			w.Header().Set("Location", "/computer/x/")
			w.WriteHeader(http.StatusFound)
			return true
		}, "probe: mark", "mark 2"},
		{"a toggle that does nothing", func(_ *scene, w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/toggleOffline") {
				return false
			}
			w.Header().Set("Location", "/computer/x/")
			w.WriteHeader(http.StatusFound)
			return true
		}, "probe: clear", "still marked"},
		{"a deletion that is done twice", func(_ *scene, w http.ResponseWriter, r *http.Request) bool {
			name, is := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/computer/"), "/doDelete")
			if !is {
				return false
			}
			if node == "" {
				node = name
				return false
			}
			if node == name {
				node = "-"
				w.Header().Set("Location", "/computer/")
				w.WriteHeader(http.StatusFound)
				return true
			}
			return false
		}, "probe: secret and deletion", "done again"},
		{"nodes without labels", func(_ *scene, w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasPrefix(r.URL.Path, "/label/bellboard-doctor-") {
				return false
			}
			w.Header().Set("X-Jenkins", "2.568.1")
			_, _ = w.Write([]byte(`{"nodes":[]}`))
			return true
		}, "probe: pair and label", "should have the label"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool { return tt.way(s, w, r) })
			r := s.run(t.Context(), true)
			i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == tt.want })
			if i < 0 || r.Checks[i].Result != Finding || !strings.Contains(r.Checks[i].What, tt.what) {
				t.Errorf("%s is not a finding that says %q", tt.want, tt.what)
				show(t, r)
			}
			if left := s.probes(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
