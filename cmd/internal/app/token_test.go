package app

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"bellboard/cmd/internal/config"
	"bellboard/pool/kubesim"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// rotating lets only one token through to Jenkins, and replaces it by the token that Jenkins knows.
type rotating struct {
	next  http.RoundTripper
	valid *atomic.Value
}

func (r rotating) RoundTrip(q *http.Request) (*http.Response, error) {
	if user, token, _ := q.BasicAuth(); token == r.valid.Load() {
		q = q.Clone(q.Context())
		q.SetBasicAuth(user, "token")
	}
	return r.next.RoundTrip(q)
}

// TestTokenRotated checks that a daemon reads the token's file again when Jenkins does not accept the token.
// It holds only while the file has no token that Jenkins accepts.
func TestTokenRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		jenkins := jenkinssim.New(jenkinssim.Config{Clock: clock.Real()})
		cluster := kubesim.New(kubesim.Config{Clock: clock.Real()})
		defer cluster.Close()
		defer jenkins.Close()
		file := filepath.Join(t.TempDir(), "token")
		write := func(token string) {
			t.Helper()
			if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var valid atomic.Value
		valid.Store("token-1")
		write("token-1")
		settings, err := config.Load([]string{
			"BELLBOARD_JENKINS_URL=http://jenkins.local", "BELLBOARD_JENKINS_USER=bellboard", "BELLBOARD_JENKINS_TOKEN_FILE=" + file,
			"BELLBOARD_NAMESPACE=ci", "BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral",
		})
		if err != nil {
			t.Fatal(err)
		}
		var ticks, holds atomic.Int32
		d, err := New(Parts{
			Settings: settings, Clock: clock.Real(), Log: zap.NewNop(), Version: "test",
			Jenkins: rotating{jenkins.Transport(), &valid}, Kube: cluster.RESTConfig(),
			Record: func(tick scaler.Tick) {
				ticks.Add(1)
				if tick.Hold != "" {
					holds.Add(1)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		// want waits for a time, and checks the number of holds in it.
		want := func(when string, wait time.Duration, most int32) {
			t.Helper()
			ticks.Store(0)
			holds.Store(0)
			time.Sleep(wait)
			if ticks.Load() < int32(wait/time.Second)-1 || holds.Load() > most {
				t.Errorf("%s: %d of %d ticks held, want %d at most", when, holds.Load(), ticks.Load(), most)
			}
		}
		want("at the start", 5*time.Second+time.Millisecond, 0)
		for i := 2; i < 6; i++ {
			valid.Store(fmt.Sprintf("token-%d", i))
			write(fmt.Sprintf("token-%d", i))
			want("rotated", 7*time.Second, 1)
		}
		valid.Store("token-6") // and the file comes three seconds later
		want("refused", 3*time.Second, 3)
		if holds.Load() == 0 {
			t.Error("no tick held on a token that is not accepted")
		}
		write("token-6")
		want("the file has come", 5*time.Second, 1)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
