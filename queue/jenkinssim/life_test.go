package jenkinssim

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// run starts one build on an inbound node of that name, and registers a node without an agent.
func (h *house) run(name string, pipeline bool, d time.Duration) *Channel {
	h.Helper()
	h.create(name, ephemeralWords, "linux")
	h.create("berth-1", ephemeralWords, "linux")
	c := h.connect(name, name)
	h.Submit(Job{Name: "run", Pipeline: pipeline, Label: "linux", Duration: d})
	time.Sleep(time.Second)
	return c
}

var usual = Restart{Down: 4 * time.Second, Loading: 2 * time.Second, Unauthorized: 500 * time.Millisecond}

// TestRestartPlain is restart-plain.json without a hook and unmarked. It follows every answer
// on the way.
func TestRestartPlain(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		c := h.run("a1", true, time.Minute)
		h.Submit(Job{Name: "next", Pipeline: true, Label: "linux", Duration: time.Second})
		time.Sleep(time.Second)
		h.want("before", h.sees("a1"), "part of next #1: Waiting for next available executor on ‘linux’ / online busy connected")
		id := h.queueNow().Items[0].ID
		session := h.get(queueTree).header.Get("X-Jenkins-Session")
		h.Restart(usual)
		if !ended(c) {
			h.Fatal("the channel outlived Jenkins")
		}
		if a := h.get(queueTree); a.err == nil || !strings.Contains(a.err.Error(), "connection refused") {
			h.Fatalf("down: %v", a.err)
		}
		if _, err := h.Connect("a1", h.Secret("a1"), "a1"); !errors.Is(err, ErrDown) {
			h.Fatalf("connect while down: %v", err)
		}
		time.Sleep(4100 * time.Millisecond)
		if a := h.get(queueTree); a.status != 503 || a.header.Get("X-Jenkins") != "" {
			h.Fatalf("loading: %d %v", a.status, a.header)
		}
		time.Sleep(2 * time.Second)
		if a := h.get(queueTree); a.status != 401 {
			h.Fatalf("users not loaded: %d", a.status)
		}
		time.Sleep(500 * time.Millisecond)
		if a := h.get(queueTree); a.status != 503 {
			h.Fatalf("loading again: %d", a.status)
		}
		time.Sleep(time.Second)
		h.want("first answer", h.sees("a1"), "part of next #1: All nodes of label ‘linux’ are offline / offline idle")
		if s := h.get(queueTree).header.Get("X-Jenkins-Session"); s == session || len(s) != 8 {
			h.Errorf("session %s after %s", s, session)
		}
		if again := h.queueNow().Items[0].ID; again != id {
			h.Errorf("item %d is %d after the restart", id, again)
		}
		time.Sleep(500 * time.Millisecond)
		h.want("half a second later", h.sees("a1"),
			"part of run #1: ‘a1’ is offline | part of next #1: All nodes of label ‘linux’ are offline / offline idle")
		time.Sleep(500 * time.Millisecond)
		h.connect("a1", "a1")
		h.create("b1", "", "linux")
		h.connect("b1", "b1")
		time.Sleep(time.Second)
		h.want("resumed", h.sees("a1"), " / online busy connected")
		time.Sleep(time.Minute)
		h.want("fate", h.fate(), "next SUCCESS, run SUCCESS")
		for _, b := range h.Builds() {
			if b.Job.Name == "run" && b.Ended.Sub(b.Started) > 61*time.Second {
				h.Errorf("run took %v: its process should have gone on while Jenkins was away", b.Ended.Sub(b.Started))
			}
		}
	})
}

// TestRestartMarked is restart-marked.json: five minutes, then the build dies.
func TestRestartMarked(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.run("a1", true, time.Minute)
		h.mark("a1", markText)
		h.Restart(usual)
		time.Sleep(7600 * time.Millisecond)
		h.connect("a1", "a1")
		time.Sleep(500 * time.Millisecond)
		h.want("waits", h.sees("a1"), "part of run #1: ‘a1’ is offline / offline idle marked connected ("+markText+")")
		time.Sleep(5*time.Minute - 800*time.Millisecond)
		h.want("still", h.fate(), "")
		time.Sleep(time.Second)
		h.want("aborted", h.sees("a1"), " / offline idle marked connected ("+markText+")")
		h.want("fate", h.fate(), "run ABORTED killed")
	})
}

func TestRestartMarkCleared(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.run("a1", true, time.Minute)
		h.mark("a1", markText)
		h.Restart(usual)
		time.Sleep(8 * time.Second)
		h.connect("a1", "a1")
		time.Sleep(time.Minute)
		h.toggle("a1", markText)
		time.Sleep(3 * time.Second)
		h.want("fate", h.fate(), "run SUCCESS")
	})
}

// TestRestartHook is restart-hook.json: the hook's mark opens for the build
// that resumes and closes behind it.
func TestRestartHook(t *testing.T) {
	const hook = hookMark
	inBubble(t, Config{Hook: "house"}, func(h *house) {
		h.run("one-a", true, time.Minute)
		h.Submit(Job{Name: "next", Pipeline: true, Label: "linux", Duration: time.Second})
		time.Sleep(time.Second)
		h.want("before", h.sees("one-a"),
			"part of next #1: All nodes of label ‘linux’ are offline / offline busy marked connected ("+hook+")")
		h.Restart(usual)
		time.Sleep(7600 * time.Millisecond)
		h.want("first answer", h.node("one-a"), "offline idle marked ("+hook+")")
		time.Sleep(500 * time.Millisecond)
		h.want("opened", h.sees("one-a"),
			"part of run #1: ‘one-a’ is offline | part of next #1: All nodes of label ‘linux’ are offline / offline idle")
		h.connect("one-a", "one-a")
		time.Sleep(time.Second)
		h.want("resumed and closed", h.sees("one-a"),
			"part of next #1: All nodes of label ‘linux’ are offline / offline busy marked connected ("+hook+")")
		time.Sleep(time.Minute)
		h.want("fate", h.fate(), "run SUCCESS")
		h.want("left", h.node("one-a"), "offline idle marked connected ("+hook+")")
		if s := h.Stats(); s.SecondBuilds != 0 || s.Restarts != 1 {
			h.Errorf("stats = %+v", s)
		}
	})
}

// TestHookClearsOurs: a mark of Bellboard's own is lifted too, a person's is not.
func TestHookClearsOurs(t *testing.T) {
	for _, tt := range []struct{ text, fate string }{{markText, "run SUCCESS"}, {"looking at disk", "run ABORTED lost"}} {
		inBubble(t, Config{Hook: "house"}, func(h *house) {
			h.run("a1", true, time.Minute)
			if tt.text == markText {
				h.mark("a1", tt.text)
			} else {
				h.PersonOffline("a1", tt.text)
			}
			h.Restart(usual)
			time.Sleep(9 * time.Second)
			h.connect("a1", "a1")
			time.Sleep(6 * time.Minute)
			h.want("fate", h.fate(), tt.fate)
		})
	}
}

// TestHookClosesAgain: when a mark is lifted from an agent that has, or has had, its
// build, the hook closes the agent again, but not before a build that must go there.
func TestHookClosesAgain(t *testing.T) {
	inBubble(t, Config{Hook: "house"}, func(h *house) {
		h.run("a1", true, time.Minute)
		h.Submit(Job{Name: "next", Label: "linux", Duration: time.Second})
		closed := func(what string) {
			h.Helper()
			h.PersonOffline("a1", "looking at disk")
			if got := h.node("a1"); !strings.HasSuffix(got, "(looking at disk)") {
				h.Fatalf("a person's: %s", got)
			}
			h.PersonOnline("a1")
			if got := h.node("a1"); !strings.HasSuffix(got, "("+hookMark+")") {
				h.Fatalf("%s: %s", what, got)
			}
		}
		closed("with its build")
		h.Restart(usual)
		time.Sleep(8200 * time.Millisecond)
		h.want("the resuming build's", h.node("a1"), "offline idle")
		h.PersonOffline("a1", "looking at disk")
		h.PersonOnline("a1")
		h.want("open to it still", h.node("a1"), "offline idle")
		h.connect("a1", "a1")
		time.Sleep(2 * time.Minute)
		h.want("fate", h.fate(), "run SUCCESS")
		closed("after its build")
		h.Restart(usual)
		time.Sleep(9 * time.Second)
		h.connect("a1", "a1")
		closed("after a restart that found the hook's mark")
		h.PersonOffline("a1", "looking at disk")
		h.Restart(usual)
		time.Sleep(9 * time.Second)
		h.connect("a1", "a1")
		h.PersonOnline("a1")
		time.Sleep(10 * time.Second)
		h.want("after a restart that found a person's", h.fate(), "run SUCCESS, next SUCCESS")
	})
	// The build that was to resume is cancelled: no other build gets in.
	inBubble(t, Config{Hook: "house"}, func(h *house) {
		h.run("a1", true, time.Minute)
		h.Restart(usual)
		time.Sleep(9 * time.Second)
		h.want("open", h.node("a1"), "offline idle")
		h.Cancel(h.queueNow().Items[0].ID)
		h.want("closed", h.node("a1"), "offline idle marked ("+hookMark+")")
	})
}

// TestSafeRestart: Jenkins waits for some builds, and cuts others off.
func TestSafeRestart(t *testing.T) {
	hooked, plain := Config{Hook: "house"}, Config{}
	for _, tt := range []struct {
		name     string
		cfg      Config
		pipeline bool
		before   func(h *house)
		waits    bool
		fate     string
		log      string
	}{
		{"a build on an open node", plain, false, func(*house) {}, true, "run SUCCESS", ""},
		{
			"on a node that we marked", plain, false, func(h *house) { h.mark("a1", markText) }, false,
			"run FAILURE killed", "Agent went offline during the build\nERROR: Disconnected by bellboard : " + markText,
		},
		{
			"on a node that a person marked", plain, false, func(h *house) { h.PersonOffline("a1", "disk") }, false,
			"run FAILURE lost", "Agent went offline during the build\nERROR: Disconnected by admin : disk",
		},
		{"our mark lifted in time", plain, false, func(h *house) {
			h.mark("a1", markText)
			h.QuietDown(true)
			h.toggle("a1", markText)
		}, true, "run SUCCESS", ""},
		{"the hook's mark", hooked, false, func(*house) {}, true, "run SUCCESS", ""},
		{"our mark over the hook's", hooked, false, func(h *house) { h.mark("a1", markText) }, true, "run SUCCESS", ""},
		{"a person's over the hook's", hooked, false, func(h *house) { h.PersonOffline("a1", "disk") }, true, "run SUCCESS", ""},
		{"a stranger's marked node, with the hook", hooked, false, func(h *house) {
			h.AddNode(Node{Name: "s1", Labels: "mac"}, true)
			h.Submit(Job{Name: "other", Label: "mac", Duration: time.Hour})
			time.Sleep(time.Second)
			h.PersonOffline("s1", "disk")
		}, true, "run SUCCESS, other FAILURE lost", "Agent went offline during the build\nERROR: Disconnected by admin : disk"},
		{"a pipeline", plain, true, func(*house) {}, false, "run SUCCESS", ""},
		{"a pipeline on a marked node, with the hook", hooked, true, func(*house) {}, false, "run SUCCESS", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, tt.cfg, func(h *house) {
				h.run("a1", tt.pipeline, 45*time.Second)
				tt.before(h)
				h.SafeRestart(usual)
				time.Sleep(20 * time.Millisecond)
				if waits := h.get(queueTree).status == 200; waits != tt.waits {
					t.Fatalf("waits: %t", waits)
				}
				if tt.waits {
					time.Sleep(40 * time.Second)
					var root struct{ QuietingDown bool }
					if a := h.get("/api/json?tree=quietingDown"); json.Unmarshal([]byte(a.body), &root) != nil || !root.QuietingDown {
						t.Fatalf("quieting down: %d %s", a.status, a.body)
					}
					for h.get(queueTree).status == 200 {
						time.Sleep(100 * time.Millisecond)
					}
					if took := time.Since(h.Builds()[0].Ended); took > 1100*time.Millisecond {
						t.Errorf("it asks again only after %v", took)
					}
				}
				if a := h.get(queueTree); a.status != 503 || !strings.Contains(a.body, "restarting") {
					t.Fatalf("its last moments: %d", a.status)
				}
				time.Sleep(9 * time.Second)
				if a := h.get(queueTree); a.status != 503 {
					t.Fatalf("still: %d", a.status)
				}
				time.Sleep(time.Second)
				if a := h.get(queueTree); a.err == nil {
					t.Fatalf("down: %d", a.status)
				}
				time.Sleep(8 * time.Second)
				h.connect("a1", "a1")
				time.Sleep(2 * time.Minute)
				h.want("fate", h.fate(), tt.fate)
				builds := h.Builds()
				h.want("log", builds[len(builds)-1].Log, tt.log)
				if s := h.Stats(); s.Restarts != 1 {
					t.Errorf("stats = %+v", s)
				}
			})
		})
	}
	// A cancelled restart does not come, and the builds that waited begin.
	inBubble(t, Config{}, func(h *house) {
		h.run("a1", false, 10*time.Second)
		h.Submit(Job{Name: "next", Label: "linux", Duration: time.Second})
		h.SafeRestart(usual)
		time.Sleep(5 * time.Second)
		h.want("quiet", h.sees("a1"), "next: Jenkins is about to shut down / online busy connected")
		h.QuietDown(false)
		time.Sleep(time.Minute)
		h.want("fate", h.fate(), "run SUCCESS, next SUCCESS")
		if s := h.Stats(); s.Restarts != 0 {
			h.Errorf("stats = %+v", s)
		}
	})
}

// TestOneBuildHook is agents-hook.json: five agents, and ten builds.
func TestOneBuildHook(t *testing.T) {
	inBubble(t, Config{Hook: "house"}, func(h *house) {
		names := []string{"o1", "o2", "o3", "o4", "o5"}
		for _, n := range names {
			h.create(n, ephemeralWords, "linux")
			h.connect(n, n)
		}
		for range 10 {
			h.Submit(Job{Name: "j", Label: "linux", Duration: 5 * time.Second})
		}
		time.Sleep(time.Minute)
		if s := h.Stats(); s.Succeeded != 5 || s.Queued != 5 || s.SecondBuilds != 0 {
			h.Errorf("stats = %+v", s)
		}
	})
	inBubble(t, Config{}, func(h *house) {
		h.run("a1", false, time.Second)
		h.Submit(Job{Name: "second", Label: "linux", Duration: time.Second})
		time.Sleep(10 * time.Second)
		if s := h.Stats(); s.SecondBuilds != 1 {
			h.Errorf("without the hook: stats = %+v", s)
		}
	})
}

// TestRestartSwarm is restart-swarm.json.
func TestRestartSwarm(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.create("n1", "", "other")
		h.swarm("sw")
		h.Submit(Job{Name: "run", Pipeline: true, Label: "linux", Duration: time.Minute})
		time.Sleep(time.Second)
		h.Restart(usual)
		time.Sleep(7600 * time.Millisecond)
		h.want("first answer", h.sees("sw"), " / 404")
		time.Sleep(500 * time.Millisecond)
		h.want("pinned", h.sees("sw"), "part of run #1: There are no nodes with the label ‘sw’ / 404")
		time.Sleep(2 * time.Second)
		if _, err := h.CreateSwarm(SwarmAgent{Name: "sw", Labels: "linux"}); err != nil {
			h.Fatal(err)
		}
		h.want("registered", h.sees("sw"), "part of run #1: ‘sw’ is offline / offline idle ("+textLaunchFailed+")")
		h.connect("sw", "sw")
		time.Sleep(time.Second)
		h.want("resumed", h.sees("sw"), " / online busy connected")
		time.Sleep(time.Minute)
		h.want("fate", h.fate(), "run SUCCESS")
	})
}

// TestRestartFenced: a fence keeps the client out, and so the build dies.
func TestRestartFenced(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.swarm("sw")
		h.Submit(Job{Name: "run", Pipeline: true, Label: "linux", Duration: time.Minute})
		time.Sleep(time.Second)
		h.Restart(usual)
		time.Sleep(8 * time.Second)
		h.create("sw", "a fence", "")
		if _, err := h.CreateSwarm(SwarmAgent{Name: "sw"}); err == nil || err.Error() != `Agent "sw" already exists.` {
			h.Fatalf("CreateSwarm = %v", err)
		}
		time.Sleep(6 * time.Minute)
		h.want("fate", h.fate(), "run ABORTED killed")
	})
}

// TestRestartFreestyle: a project's build dies with Jenkins, and Bellboard is not to blame.
func TestRestartFreestyle(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.run("a1", false, time.Minute)
		h.mark("a1", markText)
		h.Restart(usual)
		time.Sleep(10 * time.Second)
		h.want("fate", h.fate(), "run FAILURE lost")
		h.want("node", h.sees("a1"), " / offline idle marked ("+markText+")")
	})
}

// TestRestartTwice: a pipeline that waited to resume is queued again.
func TestRestartTwice(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.run("a1", true, time.Minute)
		h.Restart(usual)
		time.Sleep(9 * time.Second)
		h.want("pinned", h.sees("a1"), "part of run #1: ‘a1’ is offline / offline idle")
		h.Restart(usual)
		time.Sleep(4 * time.Minute)
		h.want("pinned again", h.sees("a1"), "part of run #1: ‘a1’ is offline / offline idle")
		time.Sleep(2 * time.Minute)
		h.want("fate", h.fate(), "run ABORTED lost")
	})
}

// TestSwarmCut is swarm-cut.json.
func TestSwarmCut(t *testing.T) {
	start := func(h *house) *Channel {
		c := h.swarm("sw")
		h.Submit(Job{Name: "run", Pipeline: true, Label: "linux", Duration: 45 * time.Second})
		time.Sleep(time.Second)
		c.Close("chaos")
		time.Sleep(15 * time.Second)
		h.want("cut", h.sees("sw"), " / offline busy (Connection was broken)")
		return c
	}
	t.Run("new client", func(t *testing.T) {
		inBubble(t, Config{}, func(h *house) {
			start(h)
			h.swarm("sw")
			h.want("back", h.sees("sw"), " / online busy connected")
			time.Sleep(30 * time.Second)
			h.want("fate", h.fate(), "run SUCCESS")
		})
	})
	t.Run("for good", func(t *testing.T) {
		inBubble(t, Config{}, func(h *house) {
			start(h)
			time.Sleep(230 * time.Second)
			h.want("gone", h.sees("sw"), " / 404")
			h.want("fate", h.fate(), "run ABORTED lost")
		})
	})
	t.Run("idle or freestyle", func(t *testing.T) {
		inBubble(t, Config{}, func(h *house) {
			c := h.swarm("sw")
			h.mark("sw", markText)
			c.Close("bellboard")
			h.want("gone with its mark", h.node("sw"), "404")
			c = h.swarm("sw")
			h.want("back unmarked", h.node("sw"), "online idle connected")
			h.Submit(Job{Name: "free", Label: "docker", Duration: time.Minute})
			time.Sleep(time.Second)
			c.Close("bellboard")
			h.want("gone", h.node("sw"), "404")
			h.want("fate", h.fate(), "free FAILURE killed")
		})
	})
	t.Run("disconnected by hand", func(t *testing.T) {
		inBubble(t, Config{}, func(h *house) {
			c := h.swarm("sw")
			h.must(h.post("/computer/sw/doDisconnect", nil))
			h.want("gone", h.node("sw"), "404")
			if !ended(c) {
				h.Error("channel not ended")
			}
		})
	})
}

// TestCuts is agents-cuts.json: SIGKILL is seen at once, silence after nine
// minutes, and a deleted node fails its build.
func TestCuts(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		c := h.run("a1", false, time.Minute)
		c.Close("chaos")
		h.want("killed agent", h.sees("a1"), " / offline idle (Connection was broken)")
		h.want("fate", h.fate(), "run FAILURE lost")
	})
	inBubble(t, Config{}, func(h *house) {
		c := h.run("a1", false, time.Minute)
		c.Freeze("chaos")
		time.Sleep(330 * time.Second)
		h.want("silent agent", h.sees("a1"), " / online busy connected")
		if _, err := h.Connect("a1", h.Secret("a1"), "elsewhere"); err == nil {
			h.Error("a second agent was let in")
		}
		time.Sleep(240 * time.Second)
		h.want("noticed", h.sees("a1"), " / offline idle (Connection was broken)")
		h.want("fate", h.fate(), "run FAILURE lost")
	})
	inBubble(t, Config{}, func(h *house) {
		c := h.run("a1", false, time.Minute)
		h.delete("a1")
		h.want("deleted", h.sees("a1"), " / 404")
		h.want("fate", h.fate(), "run FAILURE killed")
		if !ended(c) {
			h.Error("channel not ended")
		}
		if _, err := h.Connect("a1", h.Secret("a1"), "a1"); err == nil {
			h.Error("connected to a deleted node")
		}
		h.create("a1", "", "linux")
		h.connect("a1", "a1")
	})
}

// TestPipelineCut has all that can happen to a pipeline on an inbound node.
func TestPipelineCut(t *testing.T) {
	tests := []struct {
		name  string
		story func(h *house, c *Channel)
		want  string
	}{
		{"the same host returns", func(h *house, c *Channel) {
			c.Close("chaos")
			time.Sleep(4 * time.Minute)
			h.want("cut", h.sees("a1"), " / offline busy (Connection was broken)")
			h.connect("a1", "a1")
			time.Sleep(2 * time.Second)
		}, "run SUCCESS"},
		{"nobody returns", func(_ *house, c *Channel) { c.Close("chaos"); time.Sleep(5 * time.Minute) }, "run ABORTED lost"},
		{"another host comes", func(h *house, c *Channel) {
			c.Close("chaos")
			h.connect("a1", "other")
			time.Sleep(5 * time.Minute)
		}, "run ABORTED lost"},
		{"Bellboard deleted its pod", func(_ *house, c *Channel) { c.Close("bellboard"); time.Sleep(5 * time.Minute) }, "run ABORTED killed"},
		{"chaos, then marked and deleted", func(h *house, c *Channel) {
			c.Close("chaos")
			h.mark("a1", markText)
			h.delete("a1")
			time.Sleep(5 * time.Minute)
		}, "run ABORTED lost"},
		{"marked, then chaos", func(h *house, c *Channel) {
			h.mark("a1", markText)
			c.Close("chaos")
			time.Sleep(5 * time.Minute)
		}, "run ABORTED lost"},
		{"deleted by Bellboard, then chaos", func(h *house, c *Channel) {
			h.delete("a1")
			time.Sleep(time.Second)
			c.Close("chaos")
			h.want("lingers", h.node("a1"), "offline busy (Connection was broken)")
			time.Sleep(5 * time.Minute)
			h.want("gone", h.node("a1"), "404")
		}, "run ABORTED killed"},
		{"deleted by a person", func(h *house, _ *Channel) { h.PersonDelete("a1"); time.Sleep(5 * time.Minute) }, "run ABORTED lost"},
		{"deleted and made again", func(h *house, _ *Channel) {
			h.delete("a1")
			h.create("a1", ephemeralWords, "linux")
			h.connect("a1", "a1")
			time.Sleep(2 * time.Minute)
		}, "run SUCCESS"},
		{"frozen, then deleted by Bellboard", func(h *house, c *Channel) {
			c.Freeze("chaos")
			time.Sleep(time.Minute)
			h.delete("a1")
			time.Sleep(5 * time.Minute)
		}, "run ABORTED lost"},
		{"frozen", func(_ *house, c *Channel) { c.Freeze("chaos"); time.Sleep(14 * time.Minute) }, "run ABORTED lost"},
		{"disconnected and back", func(h *house, c *Channel) {
			h.must(h.post("/computer/a1/doDisconnect", nil))
			if !ended(c) {
				h.Error("channel not ended")
			}
			time.Sleep(10 * time.Second)
			h.connect("a1", "a1")
			time.Sleep(time.Minute)
		}, "run SUCCESS"},
		{"disconnected for good", func(h *house, _ *Channel) {
			h.must(h.post("/computer/a1/doDisconnect", nil))
			time.Sleep(5 * time.Minute)
		}, "run ABORTED killed"},
		{"restart, and its pod ended meanwhile", func(h *house, c *Channel) {
			h.mark("a1", markText)
			h.Restart(usual)
			time.Sleep(time.Second)
			c.Close("chaos")
			time.Sleep(6 * time.Minute)
		}, "run ABORTED lost"},
		{"restart, and its pod deleted by Bellboard after", func(h *house, c *Channel) {
			h.Restart(usual)
			time.Sleep(9 * time.Second)
			c.Close("bellboard")
			time.Sleep(6 * time.Minute)
		}, "run ABORTED killed"},
		{"restart, and its node deleted while it waits", func(h *house, _ *Channel) {
			h.Restart(usual)
			time.Sleep(9 * time.Second)
			h.delete("a1")
			time.Sleep(6 * time.Minute)
		}, "run ABORTED killed"},
		{"restart, and a person cancels", func(h *house, _ *Channel) {
			h.Restart(usual)
			time.Sleep(9 * time.Second)
			if !h.Cancel(2) {
				h.Error("not cancelled")
			}
		}, "run ABORTED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, Config{}, func(h *house) {
				tt.story(h, h.run("a1", true, time.Minute))
				h.want("fate", h.fate(), tt.want)
			})
		})
	}
}

// TestDrain is agents-drain.json and agents-race.json: a marked node finishes its build and
// takes no other, not even a build that it had just been given.
func TestDrain(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.create("d1", "", "linux")
		h.connect("d1", "d1")
		h.Submit(Job{Name: "d", Label: "linux", Duration: 14 * time.Second})
		time.Sleep(time.Second)
		h.mark("d1", markText)
		h.Submit(Job{Name: "d", Label: "linux", Duration: time.Second})
		time.Sleep(time.Second)
		h.want("busy", h.sees("d1"), "d: ‘d1’ is offline / offline busy marked connected ("+markText+")")
		time.Sleep(20 * time.Second)
		h.want("idle", h.sees("d1"), "d: ‘d1’ is offline / offline idle marked connected ("+markText+")")
		h.delete("d1")
		h.want("fate", h.fate(), "d SUCCESS")
	})
	inBubble(t, Config{}, func(h *house) {
		h.create("d1", "", "linux")
		h.connect("d1", "d1")
		time.Sleep(time.Second)
		h.Submit(Job{Name: "d", Label: "linux", Duration: time.Minute})
		time.Sleep(maintainDelay + startDelay/2)
		if q := h.queueNow(); !q.Items[0].Pending {
			h.Fatal("not pending")
		}
		h.want("given", h.node("d1"), "online busy connected")
		h.mark("d1", markText)
		time.Sleep(time.Second)
		h.want("given back", h.sees("d1"), "d: ‘d1’ is offline / offline idle marked connected ("+markText+")")
	})
	inBubble(t, Config{}, func(h *house) {
		h.create("d1", "", "linux")
		c := h.connect("d1", "d1")
		time.Sleep(time.Second)
		h.Submit(Job{Name: "d", Label: "linux", Duration: time.Second})
		time.Sleep(maintainDelay + startDelay/2)
		c.Close("chaos")
		time.Sleep(time.Second)
		h.want("given back by a lost agent", h.sees("d1"), "d: ‘d1’ is offline / offline idle (Connection was broken)")
		h.connect("d1", "d1")
		time.Sleep(3 * time.Second)
		h.want("fate", h.fate(), "d SUCCESS")
	})
}

// TestFaults makes requests fail.
func TestFaults(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.Fault(func(r *http.Request) (int, http.Header, []byte, bool) {
			switch r.URL.Path {
			case "/queue/api/json":
				return 502, nil, []byte("bad gateway"), true
			case "/computer/api/json":
				return 0, nil, nil, true
			}
			return 0, nil, nil, false
		})
		if a := h.get(queueTree); a.status != 502 || a.body != "bad gateway" {
			h.Errorf("queue: %+v", a)
		}
		if a := h.get("/computer/api/json"); a.err == nil {
			h.Errorf("computers: %+v", a)
		}
		if a := h.get("/api/json"); a.status != 200 {
			h.Errorf("root: %+v", a)
		}
		h.Fault(nil)
		if a := h.get(queueTree); a.status != 200 {
			h.Errorf("queue: %+v", a)
		}
	})
}
