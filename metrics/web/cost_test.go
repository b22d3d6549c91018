package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"bellboard/scaler"
)

// paidFor is a tick that sees one agent in each class.
func paidFor(b *board, n int, agents map[scaler.PoolID][]scaler.Class) scaler.Tick {
	t := tick(fmt.Sprint("a-", n))
	t.At, t.Plan.Agents = b.now, nil
	for id, classes := range agents {
		for i, c := range classes {
			t.Plan.Agents = append(t.Plan.Agents, scaler.Agent{Name: fmt.Sprint(id.Team, "-", id.Kind, i), PoolID: id, Class: c, Pod: c != scaler.Berth})
		}
	}
	return t
}

// TestCosts: the hours of agents by team, kind and state, and what they cost, today and in the last seven days. A
// time in which Bellboard saw nothing does not count.
func TestCosts(t *testing.T) {
	b := newBoard(t)
	b.now = time.Date(2026, 11, 30, 21, 0, 0, 0, time.UTC)
	web := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	agents := map[scaler.PoolID][]scaler.Class{
		web: {scaler.Coming, scaler.Busy, scaler.Draining, scaler.Free, scaler.Leaving, scaler.Berth}, {Team: "web", Kind: scaler.Persistent}: {scaler.Busy, scaler.Held},
		{Team: "data", Kind: scaler.Persistent}: {scaler.Free},
	}
	ticks := 0
	during := func(d time.Duration, agents map[scaler.PoolID][]scaler.Class) {
		for end := b.now.Add(d); !b.now.After(end); b.now = b.now.Add(time.Minute) {
			ticks++
			b.Observe(paidFor(b, ticks, agents))
		}
		b.now = b.now.Add(-time.Minute)
	}
	costs := func(path string) string {
		_, body, _ := strings.Cut(b.get(path).Body.String(), `<section id="costs">`)
		body, _, _ = strings.Cut(body, "</section>")
		return body
	}
	is := func(path string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if body := costs(path); !strings.Contains(body, want) {
				t.Errorf("%s does not say %s: %s", path, want, body)
			}
		}
	}
	during(time.Hour, agents)
	is("/", `Today: <b>6.50</b> for 8.0 hours of agents, 38 % idle <span class="why">since Mon 30 Nov 21:00 UTC</span>`,
		`<a href="team/web">web</a></th><td>`, `1.0 h starting (0.50), 3.0 h busy (3.00), 2.0 h idle (2.50), 1.0 h leaving (0.50)</td><td class="n">7.0 h: <b>6.50</b></td><td class="n">29 % idle</td>`,
		`<a href="team/data">data</a></th><td>`, `1.0 h idle</td><td class="n">1.0 h</td><td class="n">100 % idle</td>`, `<rect class="busy" x="14.3" width="42.9" height="1"/>`)
	is("/team/web", `Today: <b>6.50</b> for 7.0 hours`, `<th scope="row">persistent</th>`, `1.0 h busy (2.00), 1.0 h idle (2.00)`, `<th scope="row">ephemeral</th>`, `5.0 h: <b>2.50</b>`)
	if strings.Contains(costs("/"), "Last 7 days") || costs("/team/data") != "" {
		t.Errorf("on its first day a process knows of a week, or shows a cost of a team that has none: %s %s", costs("/"), costs("/team/data"))
	}
	// The hold of a minute counts; the hold of an hour does not.
	for _, hold := range []time.Duration{time.Minute, time.Hour} {
		b.now = b.now.Add(hold)
		b.Observe(holdNow(b, ticks))
		b.now = b.now.Add(time.Minute)
		ticks++
		b.Observe(paidFor(b, ticks, agents))
	}
	is("/", `Today: <b>6.72</b> for 8.3 hours`)
	b.now = time.Date(2026, 12, 1, 0, 30, 0, 0, time.UTC)
	during(time.Hour, map[scaler.PoolID][]scaler.Class{web: {scaler.Busy}})
	is("/", `Today: <b>0.50</b> for 1.0 hours of agents, 0 % idle <span class="why">since Tue 1 Dec 00:00 UTC</span>`,
		`Last 7 days: <b>7.22</b> for 9.3 hours of agents, 33 % idle <span class="why">since Mon 30 Nov 21:00 UTC</span>`)
	b.now = time.Date(2026, 12, 7, 12, 0, 0, 0, time.UTC) // the first day is over a week ago
	b.Observe(paidFor(b, ticks+1, nil))
	is("/", `Today: <b>0.00</b> for 0.0 hours`, `Last 7 days: <b>0.50</b> for 1.0 hours of agents, 0 % idle <span class="why">since Tue 1 Dec 00:00 UTC</span>`)
	b.want("/", http.StatusOK, "By COST_PER_HOUR.")
}

func holdNow(b *board, n int) scaler.Tick {
	t := hold(fmt.Sprint("a-", n), scaler.SourceJenkins)
	t.At = b.now
	return t
}
