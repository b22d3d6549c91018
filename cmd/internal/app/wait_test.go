package app

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestWhatItWaitsFor checks that a server that does not answer at the start is named after two seconds: to a
// person who asked for a plan, and in the daemon's log. A server that answers is not named.
func TestWhatItWaitsFor(t *testing.T) {
	for _, tt := range []struct {
		name string
		hang func(p *pair, silent *atomic.Bool)
		says string
	}{
		{"nobody", func(*pair, *atomic.Bool) {}, ""},
		{"the API server", func(p *pair, silent *atomic.Bool) {
			p.kube = func(next http.RoundTripper) http.RoundTripper {
				return roundTrip(func(r *http.Request) (*http.Response, error) {
					if silent.Load() {
						<-r.Context().Done()
						return nil, r.Context().Err()
					}
					return next.RoundTrip(r)
				})
			}
		}, "the API server http"},
		{"Jenkins", func(p *pair, _ *atomic.Bool) { p.jenkins.Hang(10 * time.Minute) }, "Jenkins at http://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				var silent atomic.Bool
				silent.Store(true)
				tt.hang(p, &silent)
				i := p.make("a")
				told := make(chan string, 9)
				began := time.Now()
				i.d.parts.Waiting = func(what string) {
					if took := time.Since(began); took > 3*time.Second {
						t.Errorf("%s is named after %s", what, took)
					}
					told <- what
				}
				ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
				defer cancel()
				_, err := i.d.Plan(ctx)
				synctest.Wait()
				var said []string
				for len(told) > 0 {
					said = append(said, <-told)
				}
				if tt.says == "" && (len(said) > 0 || err != nil) || tt.says != "" && (len(said) != 1 || !strings.HasPrefix(said[0], tt.says)) {
					t.Errorf("a plan says that it waits for %q (%v), want %q", said, err, tt.says)
				}
				core, logs := observer.New(zap.InfoLevel)
				i = p.make("b")
				i.d.parts.Log = zap.New(core)
				working, stop := context.WithTimeout(t.Context(), 10*time.Second)
				defer stop()
				if err := i.d.work(working, "dry run", true); err != nil {
					t.Error(err)
				}
				lines := logs.FilterMessage("waiting").All()
				if tt.says == "" && len(lines) > 0 || tt.says != "" && (len(lines) != 1 || !strings.HasPrefix(lines[0].ContextMap()["for"].(string), tt.says)) {
					t.Errorf("the log says %v, want %q", lines, tt.says)
				}
				silent.Store(false)
			})
		})
	}
}
