package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bellboard/scaler"
)

var id = scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}

func noGrace(c *Config) { c.Grace = 0 }

// marked is an agent with our mark, idle: the next step is its end.
func marked(_ *scaler.Pod, n *scaler.Node) {
	n.OfflineBy, n.Offline = scaler.Ours, scaler.MarkText("bell", scaler.ReasonOneBuild)
}

// TestHold: what cannot be seen holds everything, and says which side is at fault.
func TestHold(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*house)
		by    scaler.Source
		words string
	}{
		{"Jenkins does not answer", func(h *house) { h.fail["observe jenkins"] = errors.New("503") }, scaler.SourceJenkins, "503"},
		{"the cluster cannot be seen", func(h *house) { h.fail["observe cluster"] = errors.New("watch broken") }, scaler.SourceKubernetes, "watch broken"},
		{"Jenkins' answers are old", func(h *house) { h.age = 11 * time.Second }, scaler.SourceJenkins, "over 10s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				l := h.loop(noGrace)
				h.agent("web-e-a", marked)
				l.Tick(t.Context())
				h.calls = nil
				time.Sleep(time.Second)
				h.wait(3)
				tt.spoil(h)
				tick := l.Tick(t.Context())
				if tick.HoldBy != tt.by || !strings.Contains(tick.Hold, tt.words) {
					t.Errorf("Tick(%s) holds by %q: %q, want by %q with %q", tt.name, tick.HoldBy, tick.Hold, tt.by, tt.words)
				}
				if len(h.calls) != 0 || len(tick.Outcomes) != 0 {
					t.Errorf("Tick(%s) writes %q, want nothing", tt.name, h.calls)
				}
				h.fail, h.age = map[string]error{}, 0
				if tick := l.Tick(t.Context()); tick.Hold != "" || h.wrote("delete-pod") != 1 || h.wrote("create") != 3 {
					t.Errorf("Tick(seeing again) holds %q and writes %q, want three agents and the marked one gone", tick.Hold, h.calls)
				}
			})
		})
	}
}

// TestHoldStartsLostAnew: the ten minutes of a lost build count answers, not time in the dark.
func TestHoldStartsLostAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		h.agent("web-e-lost", func(p *scaler.Pod, n *scaler.Node) { marked(p, n); n.Online, n.Idle, n.Busy = false, false, 1 })
		delete(h.pods, "web-e-lost")
		minutes := func(n int) {
			for range n {
				l.Tick(t.Context())
				time.Sleep(time.Minute)
			}
		}
		minutes(9)
		h.fail["observe jenkins"] = errors.New("503")
		l.Tick(t.Context())
		delete(h.fail, "observe jenkins")
		minutes(10)
		if n := h.wrote("delete-node"); n != 0 {
			t.Fatalf("the lost node was deleted %d times within ten minutes of the hold, want it kept", n)
		}
		h.absent = false
		if got := outcomes(l.Tick(t.Context())); !slices.Contains(got, "delete-node lost changed") {
			t.Errorf("Tick(the pod is there after all) = %q, want the deletion called off", got)
		}
		h.fail["absent"] = errors.New("no answer")
		if got := outcomes(l.Tick(t.Context())); !slices.Contains(got, "delete-node lost changed") && !slices.Contains(got, "delete-node lost failed") {
			t.Errorf("Tick(the API server does not answer) = %q, want the deletion called off", got)
		}
		if n := h.wrote("delete-node"); n != 0 {
			t.Fatalf("the lost node was deleted %d times without a live read, want it kept", n)
		}
		h.absent = true
		delete(h.fail, "absent")
		if got := outcomes(l.Tick(t.Context())); !slices.Contains(got, "delete-node lost done") {
			t.Errorf("Tick(ten minutes later) = %q, want the node deleted", got)
		}
	})
}

// TestHoldStartsSeeingAnew: shortly after a hold nobody is late, for who came
// meanwhile is not seen yet.
func TestHoldStartsSeeingAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		sees := func() time.Duration {
			l.Tick(t.Context())
			return time.Since(l.memory.Sees)
		}
		sees()
		time.Sleep(time.Minute)
		if got := sees(); got != time.Minute {
			t.Errorf("it sees since %s, want 1m", got)
		}
		h.fail["observe jenkins"] = errors.New("503")
		l.Tick(t.Context())
		delete(h.fail, "observe jenkins")
		if got := sees(); got != 0 {
			t.Errorf("after a hold it sees since %s, want 0s", got)
		}
	})
}

// TestSleepStartsLostAnew: nobody looked while the process slept, so no answer of
// that time showed the build gone.
func TestSleepStartsLostAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		h.agent("web-e-lost", func(p *scaler.Pod, n *scaler.Node) { marked(p, n); n.Online, n.Idle, n.Busy = false, false, 1 })
		delete(h.pods, "web-e-lost")
		minutes := func(n int) {
			for range n {
				l.Tick(t.Context())
				time.Sleep(time.Minute)
			}
		}
		minutes(5)
		time.Sleep(time.Hour)
		minutes(10)
		if n := h.wrote("delete-node"); n != 0 {
			t.Fatalf("the lost node was deleted %d times within ten minutes of the sleep, want it kept", n)
		}
		minutes(1)
		if n := h.wrote("delete-node"); n != 1 {
			t.Errorf("ten minutes of looks later the lost node was deleted %d times, want once", n)
		}
	})
}

// TestGrace: nothing is removed for five minutes after each session that is new to this process.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop()
		h.agent("web-e-a", marked)
		h.agent("web-e-b", nil)
		if tick := l.Tick(t.Context()); tick.Grace != 5*time.Minute {
			t.Errorf("Tick(first answer).Grace = %v, want 5m", tick.Grace)
		}
		time.Sleep(4 * time.Minute)
		if tick := l.Tick(t.Context()); tick.Grace != time.Minute || h.wrote("delete-pod")+h.wrote("mark") != 0 {
			t.Errorf("Tick(4m).Grace = %v and writes %q, want 1m and nothing removed", tick.Grace, h.calls)
		}
		h.session = "s2"
		time.Sleep(2 * time.Minute)
		if tick := l.Tick(t.Context()); tick.Grace != 5*time.Minute || h.wrote("delete-pod")+h.wrote("mark") != 0 {
			t.Errorf("Tick(new session).Grace = %v and writes %q, want 5m and nothing removed", tick.Grace, h.calls)
		}
		time.Sleep(5 * time.Minute)
		if tick := l.Tick(t.Context()); tick.Grace != 0 || h.wrote("delete-pod") != 1 || h.wrote("mark") != 1 {
			t.Errorf("Tick(out of grace).Grace = %v and writes %q, want the marked one removed and the idle one marked", tick.Grace, h.calls)
		}
	})
}

// TestGraceThatIsOver: a new process does not wait out again what another has waited
// out, as the pods tell, unless Jenkins has begun anew since.
func TestGraceThatIsOver(t *testing.T) {
	for session, want := range map[string]time.Duration{"s1": time.Minute, "s2": 5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			h := newHouse()
			l := h.loop()
			l.Tick(t.Context())
			time.Sleep(time.Minute)
			h.wait(1)
			if tick := l.Tick(t.Context()); tick.Grace != 4*time.Minute || h.wrote("create") != 1 {
				t.Fatalf("Tick(1m).Grace = %v, and %q is written, want 4m and a pod", tick.Grace, h.calls)
			}
			first := slices.Collect(maps.Keys(h.pods))
			time.Sleep(2 * time.Minute)
			l = h.loop() // which inherits from the one before, and hands on what it inherited
			h.wait(1)
			l.Tick(t.Context())
			for _, name := range first {
				delete(h.pods, name)
				delete(h.nodes, name)
			}
			h.session = session
			time.Sleep(time.Minute)
			if tick := h.loop().Tick(t.Context()); tick.Grace != want {
				t.Errorf("in session %s the grace of a third process is %v, want %v", session, tick.Grace, want)
			}
		})
	}
}

// TestDeadline: what is destructive goes out with a deadline of one second after the answers.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		h.agent("web-e-a", marked)
		h.agent("web-e-b", func(_ *scaler.Pod, n *scaler.Node) { n.Idle, n.Busy = false, 1 })
		h.agent("web-e-c", marked)
		delete(h.pods, "web-e-c")
		c := h.nodes["web-e-c"]
		c.Online = false
		h.nodes["web-e-c"] = c
		l.Tick(t.Context())
		l.Tick(t.Context())
		for _, verb := range []string{"mark", "delete-pod", "delete-node"} {
			if got, ok := h.until[verb]; !ok || got != time.Second {
				t.Errorf("%s is sent with %v left (sent: %v), want 1s", verb, got, ok)
			}
		}
		if got := h.until["register"]; got != 2*time.Second {
			t.Errorf("register is sent with %v left, want 2s: a berth rests on no answers, but others wait", got)
		}
		h.fail["mark"] = fmt.Errorf("in the queue: %w", scaler.ErrExpired)
		h.agent("web-e-d", func(_ *scaler.Pod, n *scaler.Node) { n.Idle, n.Busy = false, 1 })
		if got := outcomes(l.Tick(t.Context())); !slices.Contains(got, "mark one-build expired") {
			t.Errorf("Tick(expired) = %q, want an expired mark", got)
		}
		view := scaler.JenkinsView{AnsweredAt: time.Now()}
		if err := l.write(t.Context(), view, &scaler.Action{Verb: scaler.Fence, Agent: "web-e-f", Pool: id}); err != nil || h.until["fence"] != time.Second {
			t.Errorf("one(fence) = %v with %v left, want nil with 1s", err, h.until["fence"])
		}
		h.agent("web-e-g", nil)
		free := h.pods["web-e-g"]
		if err := l.write(t.Context(), view, &scaler.Action{Verb: scaler.Unprotect, Agent: "web-e-g", Pod: &free}); err != nil || h.until["unprotect"] != time.Second {
			t.Errorf("one(unprotect) = %v with %v left, want nil with 1s", err, h.until["unprotect"])
		}
		if !h.nodes["web-e-f"].Fence {
			t.Errorf("one(fence) registers %+v, want a fence", h.nodes["web-e-f"])
		}
	})
}

// credulous takes every agent for idle still.
type credulous struct{ Jenkins }

func (credulous) StillIdle(context.Context, scaler.Node) (bool, error) { return true, nil }

// TestSlowQueue: the queue's answer may come long after the one that shows who is
// idle. Who goes for being idle is then asked about once more, and nobody else is.
func TestSlowQueue(t *testing.T) {
	starts := func(n *scaler.Node) { n.OfflineBy, n.Offline, n.Idle, n.Busy = scaler.NotMarked, "", false, 1 }
	podless := func(h *house) {
		delete(h.pods, "web-e-a")
		n := h.nodes["web-e-a"]
		n.Online = false
		h.nodes["web-e-a"] = n
	}
	for name, tt := range map[string]struct {
		verb      scaler.Verb
		agent     func(*scaler.Pod, *scaler.Node)
		before    func(*house)
		queue     time.Duration
		meanwhile func(*scaler.Node)
		fail      error
		takes     time.Duration // to tell
		unsafe    bool
		asks      int
		want      scaler.Result
	}{
		"a mark is lifted, a build starts": {verb: scaler.DeletePod, agent: marked, queue: 25 * time.Second, meanwhile: starts, asks: 1, want: scaler.Changed},
		"without the safeguard it dies":    {verb: scaler.DeletePod, agent: marked, queue: 25 * time.Second, meanwhile: starts, unsafe: true, want: scaler.Done},
		"a person's mark comes over ours": {
			verb: scaler.DeletePod, agent: marked, queue: 2 * time.Second, asks: 1, want: scaler.Changed,
			meanwhile: func(n *scaler.Node) { n.OfflineBy = scaler.Person },
		},
		"nothing has changed":      {verb: scaler.DeletePod, agent: marked, queue: 25 * time.Second, asks: 1, want: scaler.Done},
		"it cannot be asked":       {verb: scaler.DeletePod, agent: marked, queue: 25 * time.Second, fail: errors.New("status 503"), asks: 1, want: scaler.Failed},
		"it takes long to tell":    {verb: scaler.DeletePod, agent: marked, queue: 25 * time.Second, takes: 20 * time.Second, want: scaler.Expired},
		"the queue answers soon":   {verb: scaler.DeletePod, agent: marked, queue: time.Second, want: scaler.Done},
		"a pod that has ended":     {verb: scaler.DeletePod, agent: func(p *scaler.Pod, n *scaler.Node) { marked(p, n); p.Phase = scaler.PodFailed }, queue: 25 * time.Second, want: scaler.Done},
		"a fence":                  {verb: scaler.DeletePod, agent: func(_ *scaler.Pod, n *scaler.Node) { n.Online, n.Fence = false, true }, queue: 25 * time.Second, want: scaler.Done},
		"a stray is somebody's":    {verb: scaler.DeleteNode, agent: marked, before: podless, queue: 25 * time.Second, meanwhile: starts, asks: 1, want: scaler.Changed},
		"a stray":                  {verb: scaler.DeleteNode, agent: marked, before: podless, queue: 25 * time.Second, asks: 1, want: scaler.Done},
		"a free one gets a build":  {verb: scaler.Unprotect, queue: 25 * time.Second, meanwhile: starts, asks: 1, want: scaler.Changed},
		"a free one that stays so": {verb: scaler.Unprotect, queue: 25 * time.Second, asks: 1, want: scaler.Done},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				l := h.loop(noGrace, func(c *Config) {
					c.Poll, c.Teams(anytime)[0].MinAgents = 40*time.Second, 1
					if tt.unsafe {
						c.Jenkins = credulous{c.Jenkins}
					}
				})
				h.agent("web-e-a", tt.agent)
				if tt.before != nil {
					tt.before(h)
				}
				h.fail["delete-pod"] = scaler.ErrExpired // in the first tick
				l.Tick(t.Context())
				clear(h.fail)
				h.fail["still-idle"], h.queue, h.calls = tt.fail, tt.queue, nil
				h.slowly = func(verb, _ string) time.Duration {
					if verb == "still-idle" {
						return tt.takes
					}
					return 0
				}
				time.Sleep(40 * time.Second)
				if tt.meanwhile != nil {
					time.AfterFunc(tt.queue/2, func() {
						h.mu.Lock()
						defer h.mu.Unlock()
						n := h.nodes["web-e-a"]
						tt.meanwhile(&n)
						h.nodes["web-e-a"] = n
					})
				}
				tick := l.Tick(t.Context())
				i := slices.IndexFunc(tick.Outcomes, func(o scaler.Outcome) bool { return o.Action.Verb == tt.verb })
				if i < 0 || tick.Outcomes[i].Result != tt.want {
					t.Fatalf("Tick() = %q, want %s %s", outcomes(tick), tt.verb, tt.want)
				}
				if most := tt.queue + time.Second; tick.Took > most {
					t.Errorf("the tick takes %s, want %s at most", tick.Took, most)
				}
				if got := h.wrote("still-idle"); got != tt.asks {
					t.Errorf("Jenkins is asked %d times whether it is idle, want %d", got, tt.asks)
				}
				if got := h.wrote(string(tt.verb)) == 1; got != (tt.want == scaler.Done) {
					t.Errorf("it writes %q", h.calls)
				}
			})
		})
	}
}

// TestCreateErrors: a refusal says that there is no pod, so the berth is free
// again; any other error leaves that open, so its name is spent.
func TestCreateErrors(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		result scaler.Result
		back   bool
		backs  bool // starts the back-off
	}{
		{"refused", fmt.Errorf("quota: %w", scaler.ErrRejected), scaler.Rejected, true, true},
		{"ambiguous", errors.New("timeout"), scaler.Failed, false, true},
		{"exists", scaler.ErrExists, scaler.Changed, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				l := h.loop(noGrace)
				l.Tick(t.Context())
				berths := slices.Sorted(maps.Keys(h.nodes))
				h.wait(1)
				h.fail["create"] = tt.err
				tick := l.Tick(t.Context())
				if got := outcomes(tick); !slices.Contains(got, "create demand "+string(tt.result)) {
					t.Errorf("Tick(create %s) = %q, want %s", tt.name, got, tt.result)
				}
				used := tick.Outcomes[slices.IndexFunc(tick.Outcomes, func(o scaler.Outcome) bool { return o.Action.Verb == scaler.Create })].Action.Agent
				if !slices.Contains(berths, used) {
					t.Fatalf("Tick(create) uses %q, want one of the berths %q", used, berths)
				}
				if got := l.process.of(used).berth; got != tt.back {
					t.Errorf("after %s %s is a berth: %v, want %v", tt.name, used, got, tt.back)
				}
				if _, got := l.backoff(); got != tt.backs {
					t.Errorf("after %s the pool backs off: %v, want %v", tt.name, got, tt.backs)
				}
				// A name that is spent is a stray, and goes: it is not used again.
				delete(h.fail, "create")
				for range 5 {
					time.Sleep(10 * time.Second)
					l.Tick(t.Context())
				}
				if _, stays := h.nodes[used]; stays != tt.back {
					t.Errorf("after %s the node %s is there: %v, want %v", tt.name, used, stays, tt.back)
				}
				if _, made := h.pods[used]; made && !tt.back {
					t.Errorf("after %s a pod was made on %s, want its name not used again", tt.name, used)
				}
				if len(h.pods) != 1 {
					t.Errorf("after %s there are %d pods, want one", tt.name, len(h.pods))
				}
			})
		})
	}
}

// TestGone: what is gone is done for a deletion, and changed for all else.
func TestGone(t *testing.T) {
	for _, tt := range []struct {
		verb scaler.Verb
		err  error
		want scaler.Result
	}{
		{scaler.DeletePod, scaler.ErrGone, scaler.Done},
		{scaler.DeleteNode, fmt.Errorf("404: %w", scaler.ErrGone), scaler.Done},
		{scaler.Mark, scaler.ErrGone, scaler.Changed},
		{scaler.Create, scaler.ErrGone, scaler.Changed},
		{scaler.PutSecret, scaler.ErrGone, scaler.Changed},
		{scaler.Fence, scaler.ErrExists, scaler.Changed},
		{scaler.Register, scaler.ErrExists, scaler.Changed},
		{scaler.DeletePod, scaler.ErrChanged, scaler.Changed},
		{scaler.DeletePod, scaler.ErrExpired, scaler.Expired},
		{scaler.Create, scaler.ErrRejected, scaler.Rejected},
		{scaler.Create, context.DeadlineExceeded, scaler.Failed},
	} {
		if got := result(tt.verb, tt.err); got != tt.want {
			t.Errorf("result(%s, %v) = %s, want %s", tt.verb, tt.err, got, tt.want)
		}
	}
}

// TestDryRun decides as ever, takes podless nodes for berths, and writes nothing.
func TestDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, func(c *Config) { c.DryRun = true })
		h.agent("web-e-a", func(_ *scaler.Pod, n *scaler.Node) { n.Idle, n.Busy = false, 1 })
		for _, name := range []string{"web-e-x", "web-e-y"} {
			h.nodes[name] = scaler.Node{Name: name, Team: "web", Kind: scaler.Ephemeral, Labels: webLabels, Executors: 1, Idle: true}
		}
		h.wait(1)
		for range 3 {
			tick := l.Tick(t.Context())
			want := []string{"create demand skipped", "mark one-build skipped", "register berths skipped"}
			if diff := cmp.Diff(want, outcomes(tick)); diff != "" {
				t.Errorf("Tick(dry run) = %q, want %q\n%s", outcomes(tick), want, diff)
			}
			if tick.Hold != "" {
				t.Errorf("Tick(dry run) holds: %s", tick.Hold)
			}
		}
		if len(h.calls) != 0 {
			t.Errorf("Tick(dry run) writes %q, want nothing", h.calls)
		}
	})
}

// TestPoll: the pause is stretched to ten times what Jenkins needed, up to 30 s,
// whether it answered or not.
func TestPoll(t *testing.T) {
	tests := []struct {
		name string
		slow time.Duration
		fail error
		want time.Duration
	}{
		{"quick", 10 * time.Millisecond, nil, time.Second},
		{"slow", 300 * time.Millisecond, nil, 3 * time.Second},
		{"very slow", 5 * time.Second, nil, 30 * time.Second},
		{"refuses at once", 0, errors.New("connection refused"), time.Second},
		{"fails after long", 8 * time.Second, errors.New("timeout"), 30 * time.Second},
		{"away at once", 0, fmt.Errorf("connection refused: %w", scaler.ErrAway), time.Second},
		{"away after long", 5 * time.Second, fmt.Errorf("timeout: %w", scaler.ErrAway), 6 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				h.slow = tt.slow
				if tt.fail != nil {
					h.fail["observe jenkins"] = tt.fail
				}
				recorded := 0
				l := h.loop(func(c *Config) { c.Record = func(scaler.Tick) { recorded++ } })
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- l.Run(ctx) }()
				time.Sleep(100 * time.Second)
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run = %v, want nil when its context ends", err)
				}
				for i := 1; i < len(h.times); i++ {
					if got := h.times[i].Sub(h.times[i-1]); got != tt.want {
						t.Fatalf("Run(%s) asks again after %v, want %v", tt.name, got, tt.want)
					}
				}
				if len(h.times) < 2 || recorded < len(h.times)-1 {
					t.Errorf("Run(%s) asks %d times and records %d ticks, want a record of each", tt.name, len(h.times), recorded)
				}
			})
		})
	}
}

// TestBrokenPlan: a plan that breaks a promise is not acted on, and named.
func TestBrokenPlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		// Two teams of one name: the decision looks one up, the check the other.
		small := webTeam()
		small.MaxAgents = 1
		l := h.loop(noGrace, func(c *Config) { c.Teams = always(small, webTeam()) })
		h.wait(3)
		tick := l.Tick(t.Context())
		if tick.HoldBy != scaler.SourceBellboard || !strings.Contains(tick.Hold, "breaks a promise") {
			t.Errorf("Tick(broken plan) holds by %q: %q, want by bellboard", tick.HoldBy, tick.Hold)
		}
		if len(h.calls) != 0 || len(tick.Outcomes) != 0 {
			t.Errorf("Tick(broken plan) writes %q, want nothing", h.calls)
		}
	})
}

// TestRestart: a new process repeats Secrets, registers its own berths, and lets
// the old ones go as strays; what is coming stays.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		old := h.loop()
		old.Tick(t.Context())
		h.wait(1)
		old.Tick(t.Context())
		before := slices.Sorted(maps.Keys(h.nodes))
		if len(h.pods) != 1 || len(before) != 3 || h.wrote("put-secret") != 1 {
			t.Fatalf("before the restart there are %d pods, %d nodes, and %d Secrets were put, want 1, 3 and 1", len(h.pods), len(before), h.wrote("put-secret"))
		}
		h.calls = nil
		l := h.loop()
		first := outcomes(l.Tick(t.Context()))
		want := []string{"mark stray done", "mark stray done", "register berths done", "register berths done", "secret restart done"}
		if diff := cmp.Diff(want, first); diff != "" {
			t.Errorf("Tick(first after the restart) = %q, want %q\n%s", first, want, diff)
		}
		for range 3 {
			time.Sleep(time.Second)
			l.Tick(t.Context())
		}
		if h.wrote("put-secret") != 1 || h.wrote("delete-node") != 0 || h.wrote("create") != 0 {
			t.Errorf("in grace it writes %q, want one Secret, nothing removed and nothing made", h.calls)
		}
		for name := range h.pods { // connects meanwhile
			n := h.nodes[name]
			n.Online = true
			h.nodes[name] = n
		}
		h.items = nil
		time.Sleep(5 * time.Minute)
		l.Tick(t.Context())
		var left []string
		for _, name := range before {
			if _, ok := h.nodes[name]; ok {
				left = append(left, name)
			}
		}
		if want := slices.Sorted(maps.Keys(h.pods)); cmp.Diff(want, left) != "" || len(h.nodes) != 3 {
			t.Errorf("out of grace %q of the old nodes are left of %d, want only the agent's %q and two berths", left, len(h.nodes), want)
		}
	})
}

// TestDrain makes every agent go, and makes none.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		h.agent("web-e-a", nil)
		h.wait(5)
		l.Drain()
		for range 3 {
			l.Tick(t.Context())
		}
		if len(h.pods) != 0 || h.wrote("create") != 0 {
			t.Errorf("Drain leaves %d pods and writes %q, want none and nothing made", len(h.pods), h.calls)
		}
	})
}

// TestRandomName: ten characters that Kubernetes and Jenkins accept, never the same.
func TestRandomName(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		n := randomName()
		if len(n) != 10 || strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || seen[n] {
			t.Fatalf("randomName() = %q, want ten new characters of [a-z0-9]", n)
		}
		seen[n] = true
	}
}
