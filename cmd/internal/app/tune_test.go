package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/metrics/web"
	"bellboard/scaler"
	"bellboard/scaler/control"
)

// hindsight is the network to a Jenkins that also tells of its past: five days in which a build of three minutes came
// every ten minutes.
type hindsight struct {
	next http.RoundTripper
	now  time.Time
	mu   sync.Mutex
	read int
}

func (h *hindsight) RoundTrip(r *http.Request) (*http.Response, error) {
	tree := r.URL.Query().Get("tree")
	answer := map[string]any{}
	switch {
	case strings.HasPrefix(tree, "jobs[name,fullName"):
		answer["jobs"] = []any{map[string]any{"name": "app", "fullName": "app", "labelExpression": "linux", "lastBuild": map[string]any{"timestamp": h.now.UnixMilli()}}}
	case strings.HasPrefix(tree, "builds["), strings.HasPrefix(tree, "allBuilds["):
		list, _, _ := strings.Cut(tree, "[")
		var from, to int
		_, _ = fmt.Sscanf(tree[strings.LastIndex(tree, "{"):], "{%d,%d}", &from, &to)
		builds := []any{}
		for i := from; i < min(to, 720); i++ {
			builds = append(builds, map[string]any{
				"_class": "hudson.model.FreeStyleBuild", "number": 1000 - i, "timestamp": h.now.Add(time.Duration(-10*i) * time.Minute).UnixMilli(),
				"duration": 180_000, "building": false, "builtOn": "", "actions": []any{},
			})
		}
		answer[list] = builds
		h.mu.Lock()
		h.read += len(builds)
		h.mu.Unlock()
	default:
		return h.next.RoundTrip(r)
	}
	w := httptest.NewRecorder()
	w.Header().Set("X-Jenkins", "2.568.1")
	_ = json.NewEncoder(w).Encode(answer)
	return w.Result(), nil
}

// TestTune checks that the leader replays Jenkins' past after an hour, and that the decision has the value that the
// replay chose from then on. A standby reads no past.
func TestTune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		var mu sync.Mutex
		given := map[string]int{} // how often a decision got a team with this value and target
		p.change = func(c *control.Config) {
			if c.DryRun {
				return
			}
			c.Decide = func(in scaler.Input) (scaler.Plan, scaler.Memory, scaler.Facts, error) {
				mu.Lock()
				given[fmt.Sprintf("%g %s", in.Teams[0].WaitValue, in.Teams[0].TargetWait)]++
				mu.Unlock()
				return scaler.Checked(in)
			}
		}
		past := func(i *instance) *hindsight {
			h := &hindsight{next: i.d.parts.Jenkins, now: time.Now()}
			i.d.parts.Jenkins = h
			return h
		}
		settings := []string{"BELLBOARD_POLL_INTERVAL=10s", "BELLBOARD_TEAM_WEB_TARGET_WAIT_P95=1m10s", "BELLBOARD_TEAM_WEB_WAIT_VALUE=300", "BELLBOARD_TEAM_WEB_MODE=persistent", "BELLBOARD_TEAM_WEB_TUNE=true"}
		leader := p.make("a", settings...)
		read := past(leader)
		p.run(leader)
		time.Sleep(20 * time.Second)
		standby := p.make("b", settings...)
		idle := past(standby)
		p.run(standby)
		time.Sleep(55 * time.Minute)
		mu.Lock()
		if given["300 1m10s"] == 0 || len(given) != 1 {
			t.Errorf("before the replay the decision gets %v", given)
		}
		clear(given)
		mu.Unlock()
		time.Sleep(40 * time.Minute)
		var s web.Status
		if err := web.ReadJSON(leader.ask("/api/v1/status").Body.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		value := s.Tick.Plan.Decisions[0].Weighed.WaitValue
		mu.Lock()
		defer mu.Unlock()
		if value <= 0 || value >= 300 || given[fmt.Sprintf("%g 0s", value)] == 0 || len(given) != 2 {
			t.Errorf("after the replay the status shows WAIT_VALUE=%g, and the decision got %v", value, given)
		}
		if read.read != 720 || idle.read != 0 {
			t.Errorf("the leader reads %d builds of the past and the standby %d, want 720 and none", read.read, idle.read)
		}
	})
}
