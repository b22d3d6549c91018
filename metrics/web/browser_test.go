//go:build e2e

package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"bellboard/scaler"
)

// tab is a tab of a real browser, on a board whose server is below a path and holds the page's own policy.
type tab struct {
	*board
	ctx    context.Context
	url    string
	asked  chan struct{} // one for each request of a page
	server *httptest.Server
}

// open opens a tab on the page of a busy day. BELLBOARD_BROWSER is the browser: see make seen.
func open(t *testing.T, path string, wide int64) *tab {
	t.Helper()
	browser := os.Getenv("BELLBOARD_BROWSER")
	if browser == "" {
		t.Skip("BELLBOARD_BROWSER names no browser; make seen does")
	}
	x := &tab{board: busyDay(t), asked: make(chan struct{}, 1000)}
	x.server = httptest.NewServer(http.StripPrefix("/below/a/path", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			x.asked <- struct{}{}
		}
		x.ServeHTTP(w, r)
	})))
	t.Cleanup(x.server.Close)
	x.url = x.server.URL + "/below/a/path" + path
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.DisableGPU)...)
	t.Cleanup(cancel)
	x.ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	x.do(chromedp.EmulateViewport(wide, 900))
	go func() { // what the page's own policy forbids is an error of the console
		for m, err := range chromedp.Console(x.ctx) {
			if err != nil {
				return
			}
			if text := m.String(); strings.Contains(text, "Content Security Policy") || m.IsException() {
				t.Errorf("%s: %s", path, text)
			}
		}
	}()
	return x
}

func (x *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	x.t.Helper()
	if err := chromedp.Do(x.ctx, steps...); err != nil {
		x.t.Fatal(err)
	}
}

func (x *tab) load() { x.t.Helper(); x.do(chromedp.Navigate(x.url)) }

// is fails the test if the expression is not true within some seconds.
func (x *tab) is(expression string) {
	x.t.Helper()
	if _, err := chromedp.Run(x.ctx, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingTimeout(20*time.Second), chromedp.WithPollingInterval(50*time.Millisecond))); err != nil {
		text, _ := chromedp.Run(x.ctx, chromedp.Evaluate[string]("document.body.innerText"))
		x.t.Fatalf("not so: %s: %v\n%s", expression, err, text)
	}
}

func says(text string) string { return fmt.Sprintf("document.body.innerText.includes(%q)", text) }

// quietNow makes the board see a quiet house in its next tick.
func (x *tab) quietNow(process string) {
	next := tick(process + "-77")
	next.Plan.Decisions = []scaler.Decision{{Team: "web", Text: "no build waits"}}
	x.Observe(next)
}

// TestBrowserLive: the page changes by itself. What is open, has the focus or is selected stays so.
func TestBrowserLive(t *testing.T) {
	x := open(t, "/", 1280)
	x.load()
	x.is(says("On hold for 0s"))
	x.do(chromedp.Click(chromedp.CSS("#d-a-19-web summary")))
	x.is("document.querySelector('#d-a-19-web').open && " + says("max-agents: 19 instead of 20"))
	x.is("document.activeElement.parentElement.id === 'd-a-19-web'")
	x.is("getSelection().selectAllChildren(document.querySelector('#d-a-19-web b')), true")
	x.is("getSelection().toString() === 'web'")
	x.quietNow("a")
	x.is(says("All quiet: no build waits or runs."))
	x.is("!document.title.startsWith('(')")
	x.is("document.querySelector('#d-a-19-web').open")
	x.is("document.activeElement.parentElement.id === 'd-a-19-web'")
	x.is("getSelection().toString() === 'web'")
	x.is("document.getElementById('note').hidden")
	again := acted("a-78")
	again.Plan.Decisions[0].Up = map[scaler.Kind]int{scaler.Ephemeral: 3}
	x.Observe(again)
	x.is("document.querySelector('#d-a-78-web') && document.querySelector('#d-a-19-web').open && !document.querySelector('#d-a-78-web').open")
}

// TestBrowserPause: a paused page asks for nothing and says from when it is.
func TestBrowserPause(t *testing.T) {
	x := open(t, "/", 1280)
	x.load()
	x.do(chromedp.Click(chromedp.CSS("#pause")))
	x.is(says("Paused: the page shows 00:16:40 UTC.") + " && " + says("Resume"))
	for len(x.asked) > 0 {
		<-x.asked
	}
	x.quietNow("a")
	select {
	case <-x.asked:
		t.Error("a paused page asks")
	case <-time.After(5 * time.Second):
	}
	x.is(says("On hold for 0s"))
	x.do(chromedp.Click(chromedp.CSS("#pause")))
	x.is(says("All quiet") + " && document.getElementById('note').hidden")
}

// TestBrowserLeader: the page says when another process answers, and when none does.
func TestBrowserLeader(t *testing.T) {
	x := open(t, "/", 1280)
	x.load()
	x.quietNow("other")
	x.is(says("another Bellboard process answers. Its history is its own."))
	x.server.CloseClientConnections()
	x.server.Close()
	x.is(says("Bellboard has not answered for") + " && " + says("The page shows 00:16:40 UTC."))
	x.is(says("All quiet"))
}

// TestBrowserWithoutScripts: everything is there without JavaScript, and the page reloads itself.
func TestBrowserWithoutScripts(t *testing.T) {
	x := open(t, "/", 1280)
	x.do(chromedp.Action[chromedp.Void](func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
		_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return chromedp.Void{}, err
	}))
	x.load()
	text, err := chromedp.Run(x.ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"On hold for 0s", "no team serves", "What Bellboard did", "the page does so every ten seconds"} {
		if !strings.Contains(text, want) {
			t.Errorf("without scripts the page does not say %q: %s", want, text)
		}
	}
	if strings.Contains(text, "Pause") {
		t.Error("without scripts there is a button that does nothing")
	}
	x.do(chromedp.Click(chromedp.CSS("#d-a-19-web summary")), chromedp.WaitVisible(chromedp.CSS("#d-a-19-web .steps")))
}

// TestBrowserKeyboard: the keyboard alone leads to a decision's numbers and to a team.
func TestBrowserKeyboard(t *testing.T) {
	x := open(t, "/", 1280)
	x.load()
	seen := []string{}
	for range 40 {
		x.do(chromedp.KeyEvent("\t"))
		at, err := chromedp.Run(x.ctx, chromedp.Evaluate[string]("document.activeElement.id || document.activeElement.parentElement.id || document.activeElement.textContent"))
		if err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, at); at == "d-a-19-web" {
			break
		}
	}
	if !slices.Contains(seen, "pause") || !slices.Contains(seen, "t-web") && !slices.Contains(seen, "web") || seen[len(seen)-1] != "d-a-19-web" {
		t.Fatalf("the tab key leads to %v", seen)
	}
	x.do(chromedp.KeyEvent("\r"))
	x.is("document.querySelector('#d-a-19-web').open")
}

// TestBrowserLooks: in light and dark, wide and narrow, nothing is wider than the window, and axe-core finds no
// violation. BELLBOARD_AXE is the file axe.min.js.
func TestBrowserLooks(t *testing.T) {
	axe, err := os.ReadFile(os.Getenv("BELLBOARD_AXE"))
	if err != nil && os.Getenv("BELLBOARD_BROWSER") != "" {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/team/web", "/team/data", "/team/old"} {
		for _, wide := range []int64{360, 1280} {
			t.Run(fmt.Sprintf("%s at %d", path, wide), func(t *testing.T) {
				x := open(t, path, wide)
				grounds := map[string]string{}
				for _, scheme := range []string{"light", "dark"} {
					x.do(chromedp.Action[chromedp.Void](func(ctx context.Context, _ *chromedp.Target) (chromedp.Void, error) {
						_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
						return chromedp.Void{}, err
					}))
					x.load()
					x.is("document.querySelectorAll('details').forEach((d) => d.open = true), true")
					x.is(fmt.Sprintf("document.documentElement.scrollWidth <= %d", wide))
					if grounds[scheme], err = chromedp.Run(x.ctx, chromedp.Evaluate[string]("getComputedStyle(document.body).backgroundColor")); err != nil {
						t.Fatal(err)
					}
					found, err := chromedp.Run(x.ctx, chromedp.Evaluate[string](string(axe)+`;axe.run().then((r) => JSON.stringify(r.violations.map((v) => v.id + ": " + v.nodes.map((n) => n.html + " " + n.failureSummary).join(" | "))))`, chromedp.EvalAwaitPromise))
					if err != nil {
						t.Fatal(err)
					}
					var violations []string
					if err := json.Unmarshal([]byte(found), &violations); err != nil || len(violations) > 0 {
						t.Errorf("%s: %v %s", scheme, err, strings.Join(violations, "\n"))
					}
				}
				if grounds["light"] == grounds["dark"] {
					t.Errorf("dark is as light: %v", grounds)
				}
			})
		}
	}
}

// TestBrowserCrowd: a browser shows and updates the page of 40 teams with 5,000 agents, and that of one team. The
// answer begins soon, and neither the document nor an update is large.
func TestBrowserCrowd(t *testing.T) {
	const firstByte, document, update = 30.0, 300_000, 20_000 // milliseconds, bytes
	for _, path := range []string{"/", "/team/team-0"} {
		x := open(t, path, 1280)
		x.fill(40)
		soonest, whole := math.Inf(1), 0.0
		for range 5 { // other programs may have slowed one of them down
			x.load()
			x.is(says("tick x5kq7zt2-1439"))
			took, err := chromedp.Run(x.ctx, chromedp.Evaluate[[]float64]("(({responseStart, requestStart, decodedBodySize}) => [responseStart - requestStart, decodedBodySize])(performance.getEntriesByType('navigation')[0])"))
			if err != nil {
				t.Fatal(err)
			}
			soonest, whole = min(soonest, took[0]), max(whole, took[1])
		}
		next := crowd(x.now, 40, 5000, 24*60-1)
		next.ID = "x5kq7zt2-1440"
		x.Observe(next)
		x.is(says("tick x5kq7zt2-1440"))
		sent, err := chromedp.Run(x.ctx, chromedp.Evaluate[float64]("Math.max(...performance.getEntriesByType('resource').filter((r) => r.initiatorType === 'fetch').map((r) => r.transferSize))"))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("40 teams with 5,000 agents: %s begins after %.1f ms, has %.0f kB, and updates itself by %.1f kB", path, soonest, whole/1000, sent/1000)
		if soonest > firstByte || whole > document || sent > update || sent == 0 {
			t.Errorf("want at most %.0f ms, %d bytes and %d bytes", firstByte, document, update)
		}
	}
}
