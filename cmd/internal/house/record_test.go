package house

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/simulate"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler/clock"
)

// TestRecord runs builds, also two at once of one job, one in a folder, and one after another on one agent. It reads
// the daemon's record of these builds as bellboard simulate does, and replays the record.
func TestRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, err := New(t.Context(), Config{Clock: clock.Real(), Loads: []Load{}, Environ: []string{
			"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=persistent", "BELLBOARD_TEAM_WEB_MAX_AGENTS=2",
			"BELLBOARD_TEAM_WEB_IDLE_TIMEOUT=30m", "BELLBOARD_TEAM_WEB_DOCKER=none",
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		page := pipes{make(chan net.Conn), make(chan struct{})}
		d, err := h.make(func(parts *app.Parts) { parts.Listener = page })
		if err != nil {
			t.Fatal(err)
		}
		h.run(t.Context(), d)
		time.Sleep(10 * time.Second)
		from := time.Now()
		for _, b := range []struct {
			after int
			job   string
		}{{0, "app"}, {1, "app"}, {2, "folder/lib"}, {300, "folder/lib"}} {
			time.Sleep(time.Until(from.Add(time.Duration(b.after) * time.Second)))
			h.Jenkins.Submit(jenkinssim.Job{Name: b.job, Label: "linux", Duration: time.Minute})
		}
		time.Sleep(2 * time.Minute)
		web := &http.Client{Transport: &http.Transport{DialContext: page.dial, DisableKeepAlives: true}}
		resp, err := web.Get("http://bellboard/api/history")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		past, err := simulate.Read(resp.Body, "history.csv")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range past.Builds {
			waited := "waited for an agent"
			switch wait := b.Started - b.Submitted; {
			case b.Started == 0:
				waited = "may have waited"
			case wait > 60_000:
				waited = "waited for a build"
			case wait < 2_000:
				waited = "did not wait"
			}
			if b.Length < 59_000 || b.Length > 62_000 {
				t.Errorf("a build of a minute has %d ms", b.Length)
			}
			got = append(got, fmt.Sprintf("%s %s after %d %s", past.Labels[b.Label], past.Jobs[b.Job], (b.Submitted-from.UnixMilli())/2000*2, waited))
		}
		const want = "web app after 0 waited for an agent, web app after 0 waited for an agent, web folder/lib after 2 waited for a build, web folder/lib after 300 did not wait" // no poll saw it in the queue
		if strings.Join(got, ", ") != want {
			t.Errorf("the record has %s, want %s", strings.Join(got, ", "), want)
		}
		policy, err := simulate.Bellboard("bellboard")
		if err != nil {
			t.Fatal(err)
		}
		if r, err := simulate.Replay(past, simulate.Warm(), policy); err != nil || r.Launches < 2 {
			t.Errorf("the record cannot be replayed: %v", err)
		}
	})
}
