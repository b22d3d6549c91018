package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/scaler"
)

// twoTeams has a second team, whose builds want docker.
func twoTeams(c *Config) {
	data := webTeam()
	data.Name, data.Labels = "data", []string{"docker"}
	data.Pools[0].Team, data.Pools[0].Labels = "data", []string{"docker", "ephemeral"}
	c.Teams, c.MaxAgents = always(append(c.Teams(anytime), data)...), 1000
	c.Teams(anytime)[0].MaxAgents = 1000
}

// wants is one more build, of any label.
func (h *house) wants(label string) {
	h.wait(1)
	h.items[len(h.items)-1].Label = label
}

// TestACreationThatHangs: while the pods of one team have no answer, ticks end, a
// build gets its agent back at once, and another team's agent comes.
func TestACreationThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, twoTeams)
		l.Tick(t.Context())
		h.slowly = func(verb, name string) time.Duration {
			if verb == "create" && strings.HasPrefix(name, "web-") {
				return 15 * time.Second
			}
			return 0
		}
		h.fail["create"] = errors.New("no answer")
		h.wait(500)
		l.Tick(t.Context())
		if tick := l.Tick(t.Context()); tick.Took > 0 {
			t.Errorf("the next tick takes %s, want the pause to begin after the failure", tick.Took)
		}
		for range 10 { // minutes
			for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
				if tick := l.Tick(t.Context()); tick.Took > 16*time.Second {
					t.Fatalf("a tick takes %s", tick.Took)
				}
			}
		}
		if n := h.wrote("create"); n > inFlight+10 {
			t.Errorf("%d creations were sent in ten minutes, want one try of %d and then one at a time", n, inFlight)
		}
		// The next try hangs again; beside it others have their agents at once.
		delete(h.fail, "create")
		time.Sleep(5 * time.Minute)
		h.wants("docker")
		h.agent("web-e-back", marked)
		h.wants("web-e-back")
		began, cleared := time.Now(), time.Duration(-1)
		h.creates = func(name string) {
			if took := time.Since(began); strings.HasPrefix(name, "data-") && took > 0 {
				t.Errorf("the other team's agent is made after %s, want at once", took)
			}
		}
		slow := h.slowly
		h.slowly = func(verb, name string) time.Duration {
			if verb == "clear-mark" {
				cleared = time.Since(began)
			}
			return slow(verb, name)
		}
		l.Tick(t.Context())
		if cleared != 0 || h.nodes["web-e-back"].OfflineBy != scaler.NotMarked {
			t.Errorf("the mark is lifted after %s, want at once", cleared)
		}
		if n := created(l.Tick(t.Context()), scaler.Done); n != 0 {
			t.Errorf("%d more agents are made, want none", n)
		}
	})
}

// TestABurst: a tick makes what it has time for, and the next ones the rest: exactly
// what is needed, each team in turn, whatever cooldown and step there are.
func TestABurst(t *testing.T) {
	for _, tt := range []struct {
		name     string
		cooldown time.Duration
		step     int
		answers  time.Duration // how long Jenkins takes
		want     int
		longest  time.Duration // tick
	}{
		{"plain", 0, 0, 0, 500, 3 * time.Second},
		{"with a cooldown", time.Hour, 0, 0, 500, 3 * time.Second},
		{"with a cooldown and a step", time.Hour, 100, 0, 100, 3 * time.Second},
		{"of a slow Jenkins", 0, 0, time.Second, 500, 12 * time.Second}, // which is asked every 10s
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse()
				l := h.loop(noGrace, twoTeams, func(c *Config) {
					c.Teams(anytime)[0].ScaleUpCooldown, c.Teams(anytime)[0].ScaleUpStep = tt.cooldown, tt.step
				})
				l.Tick(t.Context())
				h.slowly = func(verb, _ string) time.Duration {
					if verb == "create" {
						return 300 * time.Millisecond // so 16 at a time are 107 in two seconds
					}
					return 0
				}
				h.wait(500)
				h.slow = tt.answers
				began := time.Now()
				for range 10 {
					if tick := l.Tick(t.Context()); tick.Took > tt.longest || tt.answers > 0 && len(h.pods) < 450 {
						t.Fatalf("a tick takes %s, and there are %d agents; want little over 2s, or all the time that it has", tick.Took, len(h.pods))
					}
					if len(h.pods) == tt.want {
						break
					}
				}
				if took := time.Since(began); len(h.pods) != tt.want || took > 12*time.Second {
					t.Errorf("there are %d agents after %s, want %d as fast as they can be made", len(h.pods), took, tt.want)
				}
				time.Sleep(time.Minute)
				l.Tick(t.Context())
				if b, failing := l.backoff(); len(h.pods) != tt.want || failing {
					t.Errorf("a minute later there are %d agents, and the pool backs off as %+v; want still %d, and no back-off", len(h.pods), b, tt.want)
				}
			})
		})
	}
}

// TestSlowOnesDoNotKeepTheOthers: deletions that hang cost no creation its place or its time.
func TestSlowOnesDoNotKeepTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		for i := range 40 {
			h.agent(fmt.Sprintf("web-e-%02d", i), marked)
		}
		l.Tick(t.Context())
		h.slowly = func(verb, _ string) time.Duration {
			if verb == "delete-pod" {
				return 15 * time.Second
			}
			return 0
		}
		h.fail["delete-pod"] = errors.New("no answer")
		l.cfg.Teams(anytime)[0].MaxAgents = 100
		h.wait(3)
		tick := l.Tick(t.Context())
		if got := created(tick, scaler.Done); got != 3 || tick.Took > 16*time.Second || h.wrote("delete-pod") > inFlight {
			t.Errorf("%d agents are made beside %d deletions that hang, in %s; want 3, %d, and one of them waited for", got, h.wrote("delete-pod"), tick.Took, inFlight)
		}
	})
}

// TestABurstComesFirst: while many builds wait, few calls to Kubernetes are for
// agents that go or are there already.
func TestABurstComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, func(c *Config) { c.Teams(anytime)[0].MaxAgents, c.MaxAgents = 1000, 1000 })
		for i := range 40 {
			h.agent(fmt.Sprintf("web-e-go-%02d", i), marked)
			h.agent(fmt.Sprintf("web-e-met-%02d", i), func(p *scaler.Pod, n *scaler.Node) { p.Connected, n.Idle, n.Busy = false, false, 1 })
		}
		l.Tick(t.Context())
		h.calls = nil
		for i := range 40 { // they connect again
			h.agent(fmt.Sprintf("web-e-met-%02d", i), func(p *scaler.Pod, n *scaler.Node) { p.Connected, n.Idle, n.Busy = false, false, 1 })
		}
		h.wait(100)
		l.Tick(t.Context())
		if a, b, c, d := h.wrote("create"), h.wrote("delete-pod"), h.wrote("annotate"), h.wrote("mark"); a != 100 || b != few || c != few || d != 40 {
			t.Errorf("%d agents are made, %d deleted, %d noted and %d marked; want 100, %d, %d and 40", a, b, c, d, few, few)
		}
		h.wait(1)
		l.Tick(t.Context())
		if b, c := h.wrote("delete-pod"), h.wrote("annotate"); b != 40 || c != 40 {
			t.Errorf("after it %d are deleted and %d noted, want 40 each", b, c)
		}
	})
}

// TestATickEnds: whatever has no answer, a tick ends.
func TestATickEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace)
		h.agent("web-e-back", marked)
		h.wants("web-e-back")
		h.slowly = func(string, string) time.Duration { return time.Hour }
		if tick := l.Tick(t.Context()); tick.Took != time.Minute || len(tick.Outcomes) == 0 || tick.Outcomes[0].Result != scaler.Failed {
			t.Errorf("the tick takes %s, with %v; want it to end after a minute, its first write failed", tick.Took, outcomes(tick))
		}
	})
}

// TestSecretsThatAreRefused are asked for now and then, and people are told why
// an agent does not come.
func TestSecretsThatAreRefused(t *testing.T) {
	refused := scaler.Because(scaler.FailureQuota, fmt.Errorf("exceeded quota: secrets: %w", scaler.ErrRejected))
	minute := func(t *testing.T, l *Loop) (last scaler.Tick) {
		for range 60 {
			time.Sleep(time.Second)
			last = l.Tick(t.Context())
		}
		return last
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, func(c *Config) { c.Teams(anytime)[0].MaxAgents = 1000 })
		for i := range 100 { // of the leader before
			h.agent(fmt.Sprintf("web-e-%02d", i), func(p *scaler.Pod, n *scaler.Node) { p.Connected, n.Online = false, false })
		}
		h.fail["put-secret"] = refused
		h.slowly = func(string, string) time.Duration { return 100 * time.Millisecond } // so several are under way at once
		tick := minute(t, l)
		if n := h.wrote("put-secret"); n == 0 || n > 7*inFlight {
			t.Errorf("%d Secrets were asked for in a minute, want at most %d every 10s", n, inFlight)
		}
		told := 0
		for _, a := range tick.Plan.Agents {
			if strings.Contains(a.Text, "NoSecret: exceeded quota: secrets") {
				told++
			}
		}
		if told != 100 {
			t.Errorf("of %d agents it is said that their Secret is refused, want of all 100", told)
		}
		delete(h.fail, "put-secret")
		time.Sleep(10 * time.Second)
		l.Tick(t.Context())
		if len(h.secrets) != 100 {
			t.Errorf("when they are let, there are %d Secrets, want all", len(h.secrets))
		}
		for _, a := range l.Tick(t.Context()).Plan.Agents {
			if a.Text != "" {
				t.Errorf("%s: %s; want nothing said any more", a.Name, a.Text)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(noGrace, func(c *Config) { c.Teams(anytime)[0].MaxAgents = 1000 })
		l.Tick(t.Context())
		h.wait(100)
		h.fail["put-secret"] = refused
		tick := l.Tick(t.Context())
		made := len(h.pods)
		if b, _ := l.backoff(); made > inFlight || b.Failure != scaler.FailureQuota || len(tick.Facts.Failures) != 0 {
			t.Errorf("%d agents without a Secret are made, backing off as %+v, and %d have failed; want at most %d, for a quota, and none yet", made, b, len(tick.Facts.Failures), inFlight)
		}
		for range 4 { // to have a machine proves nothing
			for name, p := range h.pods {
				if p.Scheduled.IsZero() {
					p.Scheduled = time.Now()
				}
				h.pods[name] = p
			}
			tick = minute(t, l)
		}
		if len(h.pods) > made+1 {
			t.Errorf("%d more agents are made while no Secret can be, want one probe", len(h.pods)-made)
		}
		if d := tick.Plan.Decisions[0].Text; !strings.Contains(d, "quota") {
			t.Errorf("the decision says %q, want why", d)
		}
		failed := 0
		for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
			for _, f := range l.Tick(t.Context()).Facts.Failures {
				failed++
				if f.Failure != scaler.FailureQuota || !strings.Contains(f.Text, "exceeded quota: secrets") {
					t.Errorf("an agent failed as %+v, want for the quota", f)
				}
			}
		}
		if failed < made {
			t.Errorf("%d agents have failed after START_TIMEOUT, want the %d that got no Secret", failed, made)
		}
	})
}

// TestTaking a berth: its secret was read when it was registered, so that it
// costs Jenkins nothing.
func TestTakingABerth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(func(c *Config) { c.Teams(anytime)[0].Pools[0].Berths = 2 })
		l.Tick(t.Context())
		h.calls = nil
		h.wait(1)
		l.Tick(t.Context())
		if h.wrote("read-secret") != 1 || h.wrote("register") != 1 { // those of the berth that replaces it
			t.Errorf("taking a berth writes %q, want no more than its replacement", h.calls)
		}
		for name, s := range h.secrets {
			if s != "secret of "+name {
				t.Errorf("the Secret of %s is %q, want its own", name, s)
			}
		}
		if len(h.secrets) != 1 {
			t.Errorf("%d Secrets were put, want one", len(h.secrets))
		}
	})
}

// TestAgentsThatJenkinsCalls need no secret: none is read, and none is put, by the
// process that made them or by the next.
func TestAgentsThatJenkinsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		called := func(c *Config) { c.Teams(anytime)[0].Pools[0].Berths, c.Teams(anytime)[0].Pools[0].Called = 1, true }
		l := h.loop(called)
		l.Tick(t.Context())
		h.wait(2) // the second has no berth
		l.Tick(t.Context())
		h.loop(called).Tick(t.Context())
		if h.wrote("create") != 2 || h.wrote("read-secret")+h.wrote("put-secret") != 0 {
			t.Errorf("they write %q, want two agents and no secret", h.calls)
		}
	})
}

// TestLaunch: Jenkins is asked to call an agent until it comes, whether it said that
// it would or not; never in a hold, nor by a reader.
func TestLaunch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		called := func(c *Config) { c.Teams(anytime)[0].Pools[0].Berths, c.Teams(anytime)[0].Pools[0].Called = 0, true }
		l := h.loop(called)
		h.agent("web-e-a", func(p *scaler.Pod, n *scaler.Node) { p.Connected, p.Ready, n.Online = false, time.Now(), false })
		tick := func(when string, want ...string) {
			t.Helper()
			got := outcomes(l.Tick(t.Context()))
			got = slices.DeleteFunc(got, func(o string) bool { return strings.HasPrefix(o, "register") })
			if !slices.Equal(got, want) {
				t.Errorf("Tick(%s) = %q, want %q", when, got, want)
			}
		}
		tick("it waits", "launch ready done")
		h.fail["launch"] = errors.New("no answer")
		time.Sleep(scaler.Relaunch)
		tick("Jenkins does not answer", "launch ready failed")
		h.fail["launch"] = fmt.Errorf("404: %w", scaler.ErrGone)
		time.Sleep(scaler.Relaunch)
		tick("its node has just gone", "launch ready changed")
		time.Sleep(scaler.Relaunch)
		h.fail = map[string]error{"observe cluster": errors.New("watch broken")}
		tick("the cluster cannot be seen")
		h.fail, h.age = nil, 11*time.Second
		tick("Jenkins' answers are old")
		h.age = 0
		tick("seeing again", "launch ready done")
		if n := h.wrote("launch"); n != 4 {
			t.Errorf("Jenkins was asked %d times, want 4: %q", n, h.calls)
		}
		l = h.loop(called, func(c *Config) { c.DryRun = true })
		if tick("a reader", "launch ready skipped"); h.wrote("launch") != 4 {
			t.Errorf("a reader writes %q", h.calls)
		}
	})
}

// TestLaunchInTurns: what there was no time for is asked for in the next tick, not
// after the pause of those that were called.
func TestLaunchInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop(func(c *Config) { c.Teams(anytime)[0].Pools[0].Berths, c.Teams(anytime)[0].Pools[0].Called = 0, true })
		const agents = 2*inFlight + 1
		for i := range agents {
			h.agent(fmt.Sprintf("web-e-%02d", i), func(p *scaler.Pod, n *scaler.Node) { p.Connected, p.Ready, n.Online = false, time.Now(), false })
		}
		h.slowly = func(verb, _ string) time.Duration { return map[string]time.Duration{"launch": 3 * time.Second}[verb] }
		for i, want := range []int{inFlight, 2 * inFlight, agents} {
			l.Tick(t.Context())
			if got := h.wrote("launch"); got != want {
				t.Errorf("after tick %d Jenkins was asked %d times, want %d", i, got, want)
			}
		}
	})
}

// TestMarkSaysTheReasonAlone: the words of a decision may quote anything. Jenkins would
// cut a mark with them, so they stay in the record of the tick.
func TestMarkSaysTheReasonAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		l := h.loop()
		h.nodes["web-e-1"] = scaler.Node{Name: "web-e-1", Team: "web", Kind: scaler.Ephemeral, Idle: true}
		a := scaler.Action{
			Verb: scaler.Mark, Agent: "web-e-1", Pool: id, Reason: scaler.ReasonStuck,
			Text: `did not connect: MountVolume.SetUp failed for volume "x" : timed out`,
		}
		view := scaler.JenkinsView{NodesAt: time.Now(), AskedAt: time.Now(), AnsweredAt: time.Now()}
		if err := l.write(t.Context(), view, &a); err != nil {
			t.Fatal(err)
		}
		if n := h.nodes["web-e-1"]; n.OfflineBy != scaler.Ours || n.Offline != "bellboard(bell): stuck" {
			t.Errorf("the mark reads %q by %q, want bellboard(bell): stuck by ours", n.Offline, n.OfflineBy)
		}
	})
}
