package jenkinssim

import (
	"strings"
	"testing"
	"time"
)

// TestFront: people without an account find a page, programs find Jenkins.
func TestFront(t *testing.T) {
	inBubble(t, Config{Front: true}, func(h *house) {
		h.create("b-1", ephemeralWords, "linux")
		h.create("b-2", ephemeralWords, "linux")
		h.create("b-3", ephemeralWords, "linux")
		h.connect("b-1", "one")
		h.connect("b-3", "three")
		h.mark("b-3", markText)
		h.Submit(Job{Name: "team/app", Label: "linux", Duration: time.Minute})
		time.Sleep(time.Second)
		h.Submit(Job{Name: "<odd>", Label: "gpu && linux", Pipeline: true})
		time.Sleep(2 * time.Second)
		a := h.do("GET", "/", nil, anonymous)
		for _, want := range []string{
			"This is no Jenkins.", "Queue: 1 waiting", "<td>part of &lt;odd&gt; #1</td><td>gpu&amp;&amp;linux</td><td>2s</td><td>There are no nodes",
			`<tr id="computer/b-1"><td>b-1</td><td>linux</td><td>online</td><td></td></tr>`, `<tr id="job/team/job/app/1"><td></td><td></td><td>builds</td><td>team/app #1, 57s left</td></tr>`,
			`<td>b-2</td><td>linux</td><td>offline</td>`, `<td>b-3</td><td>linux</td><td>takes no new build</td><td>Disconnected by bellboard : ` + markText,
		} {
			if a.status != 200 || !strings.Contains(a.body, want) {
				t.Errorf("the page (%d) has no %s: %s", a.status, want, a.body)
			}
		}
		for path, to := range map[string]string{"/computer/b-1/": "/#computer/b-1", "/job/team/job/app/1/": "/#job/team/job/app/1"} {
			if a := h.do("GET", path, nil, anonymous); a.status != 302 || a.header.Get("Location") != to {
				t.Errorf("%s is %d and leads to %s, want %s", path, a.status, a.header.Get("Location"), to)
			}
		}
		for _, path := range []string{"/queue/api/json", "/computer/api/json", "/computer/b-1/api/json", "/api/json"} {
			if a := h.do("GET", path, nil, anonymous); a.status != 403 {
				t.Errorf("%s gives a stranger %d", path, a.status)
			}
		}
		if a := h.get("/"); strings.Contains(a.body, "no Jenkins") {
			t.Errorf("Bellboard finds the page for people: %s", a.body)
		}
	})
	inBubble(t, Config{}, func(h *house) {
		if a := h.do("GET", "/", nil, anonymous); a.status != 403 {
			t.Errorf("without Front a stranger gets %d", a.status)
		}
	})
}
