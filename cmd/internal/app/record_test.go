package app

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bellboard/cmd/internal/simulate"
	"bellboard/scaler"
)

// TestRecordIsTheLeaders checks that the leader serves its record, and that a standby names the leader.
func TestRecordIsTheLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		leader := p.start("a")
		time.Sleep(10 * time.Second)
		standby := p.start("b")
		time.Sleep(10 * time.Second)
		w := leader.ask("/api/history")
		if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != simulate.Header || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/csv") {
			t.Errorf("without builds the record is %d %q", w.Code, w.Body)
		}
		if w := standby.ask("/api/history"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "ask the leader, a") {
			t.Errorf("the standby answers with %d %s", w.Code, w.Body)
		}
	})
}

// TestRecordOfFacts checks which wait belongs to which build, and what a record drops.
func TestRecordOfFacts(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	r := newBuildRecord()
	observe := func(s int, waits []scaler.Wait, builds ...scaler.BuildDone) {
		r.observe(scaler.Tick{At: at(s), Facts: scaler.Facts{Waits: waits, Builds: builds}})
	}
	wait := func(job string, took int) scaler.Wait {
		return scaler.Wait{Team: "web", Job: job, Took: time.Duration(took) * time.Second}
	}
	done := func(job string, began, took int) scaler.BuildDone {
		return scaler.BuildDone{PoolID: scaler.PoolID{Team: "web"}, Job: "http:/j/job/" + job, Began: at(began), Took: time.Duration(took) * time.Second}
	}
	observe(10, []scaler.Wait{wait("a", 7), wait("b", 5)})
	observe(50, []scaler.Wait{wait("a", 20)})
	observe(200, nil, done("a", 51, 100), done("a", 11, 150), done("b", 140, 10), done("c", 11, 20))
	read := func(now time.Time) (out []string) {
		var b bytes.Buffer
		if err := r.write(&b, now); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(b.String()), "\n")[1:] {
			f := strings.Split(line, ",")
			out = append(out, strings.TrimPrefix(f[0], "18000000")+" "+f[1]+" "+f[2]+" "+strings.TrimPrefix(f[3], "18000000")+" "+f[5])
		}
		return out
	}
	// The wait of b was over too long before.
	want := []string{"04 150 web 11 a", "11 20 web  c", "31 100 web 51 a", "1800000140 10 web  b"}
	if diff := cmp.Diff(want, read(at(300))); diff != "" {
		t.Errorf("the record has (-want +got):\n%s", diff)
	}
	if got := read(at(100).Add(recordFor)); len(got) != 1 {
		t.Errorf("after 14 days the record has %v, want the last build", got)
	}
	for range 3 * recordWaits {
		observe(400, []scaler.Wait{wait("never", 1)})
	}
	for range recordBuilds + 100 {
		observe(500, nil, done("d", 400, 1))
	}
	if o := r.teams["web"]; len(o.ended) != recordBuilds || len(o.waits) != recordWaits {
		t.Errorf("%d builds and %d waits are kept", len(o.ended), len(o.waits))
	}
}
