package house

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
	"bellboard/scaler/control"
	"bellboard/scaler/control/sabotage"
)

// restartStride says which of the rows are played: every seventh, every row at full length, fewer under the
// race detector. Every seventh row still plays every step and every way of a restart.
var restartStride = 7

// way says how the agents come back after a restart.
type way string

const (
	early way = "early" // before Jenkins itself knows what resumes
	late  way = "late"  // within the time that Jenkins waits for them
	never way = "never"
	stay  way = "stay" // they are not cut at all
)

// lateBy is after Bellboard's return, and before Jenkins drops a cut Swarm node, which is after four minutes.
const lateBy = 3*time.Minute + 30*time.Second

// again is a restart whose first good answers and early agents come before a tick, and whose resuming items
// come after it.
var again = jenkinssim.Restart{Down: 7 * time.Second, Loading: 5 * time.Second, Unauthorized: 700 * time.Millisecond}

// away returns the time without a good answer: a second of 503 follows the 401.
func away(r jenkinssim.Restart) time.Duration {
	return r.Down + r.Loading + r.Unauthorized + time.Second
}

// step is one step in the life of an agent, with the pair table's name.
type step struct {
	class scaler.Class
	how   scaler.Connect
	// reach brings the agent to that step.
	reach func(*stage)
	// connected: after a restart of Bellboard alone the agent may also be connected.
	connected bool
	// doomed: the build ends, whatever Bellboard does.
	doomed bool
	// later happens a minute after the restart.
	later func(*stage)
}

const (
	inbound = scaler.Inbound
	swarmed = scaler.Swarm
	minute  = time.Minute
)

// steps has every class of the table, for each kind of agent that can have it.
var steps = []step{
	{class: scaler.Berth, how: inbound, reach: (*stage).berth},
	{class: scaler.Berth, how: swarmed, reach: (*stage).berth},
	{class: scaler.Coming, how: inbound, reach: (*stage).hired},
	{class: scaler.Coming, how: swarmed, reach: (*stage).hired},
	{class: scaler.Stuck, how: inbound, reach: (*stage).stuck},
	{class: scaler.Stuck, how: swarmed, reach: (*stage).stuck},
	{class: scaler.Busy, how: inbound, reach: (*stage).hired, connected: true},
	{class: scaler.Busy, how: swarmed, reach: (*stage).hired, connected: true},
	{class: scaler.Draining, how: inbound, reach: (*stage).hired, connected: true},
	{class: scaler.Draining, how: swarmed, reach: (*stage).disrupted, connected: true},
	{class: scaler.Free, how: inbound, reach: (*stage).free, connected: true},
	{class: scaler.Free, how: swarmed, reach: (*stage).free, connected: true},
	{class: scaler.Drained, how: inbound, reach: (*stage).drained, connected: true},
	{class: scaler.Drained, how: swarmed, reach: (*stage).drained, connected: true},
	{class: scaler.Going, how: inbound, reach: (*stage).free, connected: true},
	{class: scaler.Going, how: swarmed, reach: (*stage).free, connected: true},
	{class: scaler.Cut, how: inbound, reach: (*stage).cutAtWork},
	{class: scaler.Cut, how: swarmed, reach: (*stage).cutAtWork},
	{class: scaler.Reconnecting, how: inbound, reach: (*stage).cutIdle},
	{class: scaler.Reconnecting, how: swarmed, reach: (*stage).cutIdle},
	{class: scaler.Ghost, how: inbound, reach: (*stage).cutIdle},
	{class: scaler.Ghost, how: swarmed, reach: (*stage).cutIdle},
	{class: scaler.Fenced, how: swarmed, reach: (*stage).cutIdle},
	{class: scaler.FenceInTheWay, how: swarmed, reach: (*stage).wantedBehindFence},
	{class: scaler.Resuming, how: inbound, reach: (*stage).resuming},
	{class: scaler.Resuming, how: swarmed, reach: (*stage).wantedWhenDrained, connected: true},
	{class: scaler.Awaited, how: inbound, reach: (*stage).resuming},
	{class: scaler.Awaited, how: swarmed, reach: (*stage).resuming},
	{class: scaler.Ended, how: inbound, reach: (*stage).ended},
	{class: scaler.Ended, how: swarmed, reach: (*stage).ended},
	{class: scaler.Held, how: inbound, reach: (*stage).held, connected: true, later: (*stage).letGo},
	{class: scaler.Held, how: swarmed, reach: (*stage).held, connected: true, later: (*stage).letGo},
	{class: scaler.Leaving, how: inbound, reach: (*stage).leaving, connected: true},
	{class: scaler.Leaving, how: swarmed, reach: (*stage).leaving, connected: true},
	{class: scaler.Intruder, how: inbound, reach: (*stage).intruder, connected: true},
	{class: scaler.Lost, how: inbound, reach: (*stage).lost, doomed: true},
	{class: scaler.Lost, how: swarmed, reach: (*stage).lost, doomed: true},
	{class: scaler.Stray, how: inbound, reach: (*stage).stray},
	{class: scaler.Stray, how: swarmed, reach: (*stage).stray},
}

// restarts has what restarts, and in which ways the agents may come back.
var restarts = []struct {
	what string
	do   func(*stage, way)
	ways []way
}{
	{"Jenkins", (*stage).restartJenkins, []way{early, late, never}},
	{"Bellboard", (*stage).restartBellboard, []way{stay, early, late, never}},
	{"both", (*stage).restartBoth, []way{early, late, never}},
}

// TestRestarts restarts Jenkins, Bellboard and both at every step in the life of an agent. A running build
// survives if its agent comes back. A waiting build gets another agent. Bellboard kills no build and leaves
// nothing.
func TestRestarts(t *testing.T) {
	for _, c := range scaler.Classes() {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.class == c }) {
			t.Errorf("no row for an agent that is %s", c)
		}
	}
	n, played := 0, map[string]bool{}
	for _, s := range steps {
		for _, r := range restarts {
			for _, how := range r.ways {
				if how == stay && !s.connected {
					continue
				}
				if n++; n%restartStride != 0 {
					continue
				}
				played[string(s.class+" "+scaler.Class(s.how))], played[r.what+string(how)] = true, true
				t.Run(strings.Join([]string{string(s.class), string(s.how), r.what, string(how)}, "/"), func(t *testing.T) {
					t.Parallel()
					restart(t, s, r.do, how, nil, (*stage).judge)
				})
			}
		}
	}
	if want := len(steps) + 10; len(played) != want && !racing {
		t.Errorf("%d steps and ways of restarts are played; want all %d", len(played), want)
	}
}

// TestRestartsMatter plays rows without the safeguard that they are there for:
// a build must die then, or the rows above would say nothing.
func TestRestartsMatter(t *testing.T) {
	row := func(c scaler.Class, how scaler.Connect) step {
		return steps[slices.IndexFunc(steps, func(s step) bool { return s.class == c && s.how == how })]
	}
	for name, r := range map[string]struct {
		step   step
		way    way
		unsafe func(*control.Config)
	}{
		"no restart grace":                        {row(scaler.Draining, inbound), early, sabotage.Grace},
		"a pinned item does not protect its node": {row(scaler.Draining, inbound), late, sabotage.Pins},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			restart(t, r.step, (*stage).restartJenkins, r.way, r.unsafe, func(s *stage, _ way, _ step) {
				if s.Jenkins.Stats().Killed == 0 {
					s.Errorf("no build was killed without this safeguard")
				}
			})
		})
	}
}

// restart runs one row: it brings an agent to a step, restarts, and runs the rest of the day.
func restart(t *testing.T, at step, do func(*stage, way), how way, unsafe func(*control.Config), judge func(*stage, way, step)) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{T: t, how: at.how, seen: make(chan scaler.Tick, 1), back: map[string]time.Time{}}
		team := []string{"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_POLL_INTERVAL=2s"}
		if at.how == swarmed {
			team = append(team, "BELLBOARD_TEAM_WEB_MODE=persistent", "BELLBOARD_TEAM_WEB_IDLE_TIMEOUT=1m")
		}
		var err error
		s.House, err = New(t.Context(), Config{Clock: clock.Real(), Environ: team, Loads: []Load{}, Change: unsafe, Record: s.record})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.agents.hold = s.hold
		s.begin()
		at.reach(s)
		s.reaches(at.class)
		do(s, how)
		// A build that comes now is served as usual.
		s.submit("next", minute)
		if at.later != nil {
			s.clock.AfterFunc(minute, func() { at.later(s) })
		}
		s.evening(context.Background())
		judge(s, how, at)
	})
}

// stage is a house with one agent under test.
type stage struct {
	*testing.T
	*House
	how  scaler.Connect
	name string // the agent's
	id   int64  // its build; 0 is none
	seen chan scaler.Tick
	over bool

	mu   sync.Mutex
	back map[string]time.Time // when an agent that stays away comes back
}

// judge compares the numbers of the day with those of a day without Bellboard.
func (s *stage) judge(how way, at step) {
	if st := s.Jenkins.Stats(); st.Killed > 0 || st.Queued+st.Running > 0 {
		s.Errorf("%d builds were killed, %d still wait and %d run", st.Killed, st.Queued, st.Running)
	}
	for _, b := range s.Jenkins.Builds() {
		mine := b.ID == s.id
		switch {
		case b.Result == "SUCCESS":
			if mine && at.doomed {
				s.Errorf("a build without an agent succeeded: %+v", b)
			}
		case b.Job.Name == fickle:
		case mine && (at.doomed || how == never || how == stay && !at.connected):
		default:
			s.Errorf("it would have lived: %+v", b)
		}
	}
	if left := s.left(); len(left) > 0 {
		s.Errorf("left behind: %v", left)
	}
	if broken := s.Broken(); len(broken) > 0 {
		s.Errorf("a plan broke a promise: %v", broken)
	}
}

// evening ends what only the test keeps going, and then everything else.
func (s *stage) evening(ctx context.Context) {
	// A build that wants an agent that is gone waits until somebody cancels it.
	stop := s.clock.AfterFunc(12*minute, func() { s.Jenkins.Cancel(s.id) })
	defer stop()
	idle := func() bool { st := s.Jenkins.Stats(); return st.Queued+st.Running == 0 }
	if err := s.until(ctx, 30*minute, idle); err != nil {
		s.Errorf("builds did not end %v: %+v", err, s.Jenkins.Stats())
	}
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.daemon.drain()
	if err := s.until(ctx, 30*minute, func() bool { return s.orphans() == 0 }); err != nil {
		s.Errorf("the house is not empty %v", err)
	}
}

func (s *stage) begin() {
	s.Helper()
	if err := s.start(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// record keeps the newest tick.
func (s *stage) record(t scaler.Tick) {
	select {
	case <-s.seen:
	default:
	}
	s.seen <- t
}

// ticks waits for a tick that is as wanted.
func (s *stage) ticks(what string, as func(*scaler.Tick) bool) {
	s.Helper()
	limit := time.After(40 * minute)
	for {
		select {
		case t := <-s.seen:
			if as(&t) {
				return
			}
		case <-limit:
			s.Fatalf("%s is never %s", s.name, what)
		}
	}
}

// reaches waits until a tick gives the agent that class.
func (s *stage) reaches(c scaler.Class) {
	s.Helper()
	s.ticks(string(c), func(t *scaler.Tick) bool {
		for i := range t.Plan.Agents {
			if a := &t.Plan.Agents[i]; a.Class == c && (a.Name == s.name || s.name == "") {
				s.name = a.Name
				return true
			}
		}
		return false
	})
}

// does waits until a tick has done that to the agent.
func (s *stage) does(v scaler.Verb) {
	s.Helper()
	s.ticks(string(v), func(t *scaler.Tick) bool {
		return slices.ContainsFunc(t.Outcomes, func(o scaler.Outcome) bool {
			return o.Action.Verb == v && o.Action.Agent == s.name && o.Result == scaler.Done
		})
	})
}

func (s *stage) submit(name string, d time.Duration) int64 {
	return s.Jenkins.Submit(jenkinssim.Job{Name: name, Label: "linux", Pipeline: true, Duration: d})
}

// hold keeps an agent away for as long as its row says.
func (s *stage) hold(ctx context.Context, pod *corev1.Pod) error {
	for {
		s.mu.Lock()
		wait := time.Until(s.back[pod.Name])
		s.mu.Unlock()
		if wait <= 0 {
			return ctx.Err()
		}
		if err := clock.Sleep(ctx, s.clock, min(wait, 100*time.Millisecond)); err != nil {
			return err
		}
	}
}

// ever is longer than any row.
const ever = 1000 * time.Hour

// keep makes an agent stay away for so long if it loses its connection.
func (s *stage) keep(name string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.back[name] = time.Now().Add(d)
}

// comeBack sets when the agents come back, counted from Jenkins' return.
func (s *stage) comeBack(how way, since time.Duration) {
	wait := map[way]time.Duration{early: since + 100*time.Millisecond, late: since + lateBy, never: ever}[how]
	for _, p := range s.Cluster.Pods() {
		s.keep(p.Name, wait)
	}
	s.keep(s.name, wait)
}

// cut ends an agent's connection and not its process.
func (s *stage) cut(name string) {
	s.agents.mu.Lock()
	p := s.agents.byName[name]
	s.agents.mu.Unlock()
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ch != nil {
		p.ch.Close("chaos")
	}
}

func (s *stage) restartJenkins(how way) {
	s.comeBack(how, away(again))
	s.Jenkins.Restart(again)
}

func (s *stage) restartBellboard(how way) {
	if how != stay {
		s.comeBack(how, 0)
		for _, p := range s.Cluster.Pods() {
			s.cut(p.Name)
		}
	}
	s.daemon.kill()
	time.Sleep(30 * time.Second)
	s.begin()
}

// restartBoth restarts both. Bellboard is back two minutes after Jenkins.
func (s *stage) restartBoth(how way) {
	s.daemon.kill()
	s.restartJenkins(how)
	time.Sleep(away(again) + 2*minute)
	s.begin()
}

// work is longer than an agent may be late, and longer than the restart grace.
const work = 7 * minute

func (s *stage) berth() {}

// hired submits a build that waits for its agent, and then runs on it.
func (s *stage) hired() {
	s.id = s.submit("work", work)
	s.agent()
}

// atWork waits until a build runs on its agent. A tick may see the agent busy a moment earlier, when the
// executor has the item and has not begun.
func (s *stage) atWork() {
	s.hired()
	s.reaches(scaler.Busy)
	for s.Jenkins.Stats().Running == 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

// agent waits for the pod of the agent under test.
func (s *stage) agent() {
	s.Helper()
	for range 600 {
		if pods := s.Cluster.Pods(); len(pods) > 0 {
			s.name = pods[0].Name
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.Fatal("no agent is made")
}

// fickle is a build that is cancelled while it waits.
const fickle = "fickle"

// free brings an agent without a build: its build is cancelled.
func (s *stage) free() {
	id := s.submit(fickle, work)
	s.agent()
	s.Jenkins.Cancel(id)
}

func (s *stage) stuck() {
	s.hired()
	s.keep(s.name, ever)
}

func (s *stage) disrupted() {
	s.atWork()
	s.Cluster.Disrupt("ci", s.name)
}

// drained brings an agent that is marked and idle, and waits for the end of a grace.
func (s *stage) drained() {
	s.free()
	s.does(scaler.Mark)
	s.daemon.kill()
	s.begin()
	s.reaches(scaler.Drained)
}

func (s *stage) cutAtWork() {
	s.atWork()
	s.keep(s.name, ever)
	s.cut(s.name)
}

func (s *stage) cutIdle() {
	s.free()
	s.reaches(scaler.Free)
	s.keep(s.name, ever)
	s.cut(s.name)
}

// wantedBehindFence submits a build that wants the agent that was just fenced.
func (s *stage) wantedBehindFence() {
	s.cutIdle()
	s.does(scaler.Fence)
	s.wanted()
}

func (s *stage) wantedWhenDrained() {
	s.drained()
	s.wanted()
}

func (s *stage) wanted() {
	s.id = s.Jenkins.Submit(jenkinssim.Job{Name: "by-hand", Label: s.name, Duration: minute})
}

// resuming brings a build that waits for its agent after an earlier restart.
func (s *stage) resuming() {
	s.atWork()
	if s.how == inbound {
		s.reaches(scaler.Draining)
	}
	s.keep(s.name, ever)
	s.Jenkins.Restart(again)
}

func (s *stage) ended() {
	s.free()
	s.reaches(scaler.Free)
	s.agents.Terminate(s.Cluster.Pod("ci", s.name), "chaos")
	s.Cluster.Exit("ci", s.name, 1)
}

func (s *stage) held() {
	s.atWork()
	s.Jenkins.PersonOffline(s.name, "looking at it")
}

func (s *stage) letGo() { s.Jenkins.PersonOnline(s.name) }

// leaving deletes the pod as somebody else does it. The pod lives for ten minutes more.
func (s *stage) leaving() {
	s.atWork()
	s.Cluster.Delete("ci", s.name, "chaos", 20*minute)
}

func (s *stage) lost() {
	s.atWork()
	s.Cluster.Delete("ci", s.name, "chaos", 0)
}

func (s *stage) stray() {
	s.reaches(scaler.Berth)
	s.daemon.kill()
	s.begin()
}

// intruder brings a connected agent without a known pod, with a build on it.
func (s *stage) intruder() {
	s.reaches(scaler.Berth)
	s.name = "web-e-0000000000"
	ch := s.Jenkins.AddNode(jenkinssim.Node{
		Name: s.name, Labels: "linux ephemeral", Exclusive: true,
		Description: scaler.Describe("bellboard", scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, false),
	}, true)
	s.id = s.submit("work", work)
	go s.stranger(s.name, ch)
}

// stranger is the process of that agent. It comes back as its row says, and ends when all builds have ended.
func (s *stage) stranger(name string, ch *jenkinssim.Channel) {
	for {
		s.mu.Lock()
		over, wait := s.over, time.Until(s.back[name])
		s.mu.Unlock()
		if over {
			if ch != nil {
				ch.Close("self")
			}
			return
		}
		time.Sleep(100 * time.Millisecond)
		if ch != nil {
			select {
			case <-ch.Done():
				ch = nil
			default:
			}
		}
		if ch == nil && wait <= 0 {
			ch, _ = s.Jenkins.Connect(name, s.Jenkins.Secret(name), name)
		}
	}
}
