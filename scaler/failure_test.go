package scaler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPause: the pause of each class depends on how the failure heals, and never exceeds its limit.
func TestPause(t *testing.T) {
	seconds := func(n ...int) []time.Duration {
		var out []time.Duration
		for _, s := range n {
			out = append(out, time.Duration(s)*time.Second)
		}
		return out
	}
	for f, want := range map[Failure][]time.Duration{
		"":                   seconds(5, 10, 20, 40, 80, 160, 300, 300),
		FailureImagePull:     seconds(5, 10, 20, 40, 80, 160, 300, 300),
		FailureQuota:         seconds(5, 10, 20, 40, 60, 60),
		FailureUnschedulable: seconds(5, 10, 20, 40, 60, 60),
		FailureEvicted:       seconds(5, 10, 20, 40, 60, 60),
		FailureAdmission:     seconds(60, 120, 240, 480, 600, 600),
		FailureBadImage:      seconds(60, 120, 240, 480, 600, 600),
	} {
		var got []time.Duration
		for i := range want {
			got = append(got, f.Pause(i+1))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q pauses for %v, want %v", f, got, want)
		}
	}
	if got := FailureOOM.Pause(1 << 20); got != 5*time.Minute {
		t.Errorf("a million failures pause for %s, want 5m", got)
	}
}

// TestFailureOf: the failure is what Kubernetes reports, or else belongs to the phase in which the pod
// stopped.
func TestFailureOf(t *testing.T) {
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	for _, tt := range []struct {
		name string
		pod  Pod
		want Failure
	}{
		{"Kubernetes' own reason comes first", Pod{Failure: FailureOOM, Scheduled: at(1), Mounted: at(2), Ready: at(3)}, FailureOOM},
		{"no Kubernetes node", Pod{}, FailureUnschedulable},
		{"no volumes", Pod{Scheduled: at(1)}, FailureStorage},
		{"no image", Pod{Scheduled: at(1), Mounted: at(2)}, FailureImagePull},
		{"no Docker daemon", Pod{Scheduled: at(1), Mounted: at(2), DockerUp: at(3)}, FailureCrashLoop},
		{"no agent's image, after the daemon's", Pod{Scheduled: at(1), Mounted: at(2), DockerUp: at(3), DockerReady: at(4)}, FailureImagePull},
		{"no connection", Pod{Scheduled: at(1), Mounted: at(2), Ready: at(3)}, FailureNeverConnected},
		{"a cluster that does not tell of volumes", Pod{Scheduled: at(1), Ready: at(3)}, FailureNeverConnected},
		{"ended without a word", Pod{Phase: PodSucceeded}, FailureNeverConnected},
	} {
		if got := FailureOf(&tt.pod); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	for _, f := range Failures() {
		if f == "" || len(Failures()) != 12 {
			t.Errorf("the classes are %v, want 12 with a name each", Failures())
		}
	}
}

// TestHalfOpen: when the pause is over, one agent is made as a probe. The other agents are made when the
// probe has proved itself.
func TestHalfOpen(t *testing.T) {
	e, p := PoolID{"web", Ephemeral}, PoolID{"web", Persistent}
	over := func(f Failure) Backoff { return Backoff{Until: noon.Add(-time.Minute), Failure: f} }
	waiting := func(b Backoff, change ...func(*Input)) func() Input {
		return func() Input {
			in := newHouse(web())
			in.wait(5, "linux", time.Minute)
			in.backsOff(e, b)
			for _, f := range change {
				f(&in)
			}
			return in
		}
	}
	with := func(f ...func(*Pair)) func(*Input) { return func(in *Input) { in.agent("web", Ephemeral, "a", f...) } }
	unmarked := func(ago time.Duration) func(*Pair) {
		return func(p *Pair) { scheduled(ago)(p); offline(p) }
	}
	died := Backoff{Until: noon.Add(-time.Second), Failure: FailureOOM, Came: true}
	probe := map[string]int{"create web ephemeral demand": 1, "register web ephemeral berths": 1}
	wait := []string{"web back-off 4→0 ephemeral agents failed (image-pull), one probe on the way"}
	tell(t, []story{
		{
			name: "the pause goes on", house: waiting(Backoff{Until: noon.Add(20 * time.Second), Failure: FailureImagePull}),
			steps:  []string{"web back-off 5→0 20s left"},
			reason: map[string]string{"web": "blocked: ephemeral agents failed (image-pull), next try in 20s"},
		},
		{
			name: "one probe", house: waiting(over(FailureImagePull)), want: probe,
			steps:  []string{"web back-off 5→1 ephemeral agents failed (image-pull), one probe first"},
			reason: map[string]string{"web": "demand: 5 waiting, 0 free, 0 on the way; ephemeral agents failed (image-pull), one probe first"},
		},
		{
			name: "the probe is on the way", house: waiting(over(FailureImagePull), with(coming)), steps: wait,
			reason: map[string]string{"web": "blocked: ephemeral agents failed (image-pull), one probe on the way"},
		},
		{
			name: "the probe has a Kubernetes node, which proves nothing about an image", steps: wait,
			house: waiting(over(FailureImagePull), with(coming)),
		},
		{
			name: "the probe has a Kubernetes node, which proves that there is room", house: waiting(over(FailureQuota), with(coming)),
			want: map[string]int{"create web ephemeral demand": 4, "register web ephemeral berths": 2},
		},
		{
			name: "the probe still shows the failure: its Kubernetes node proves nothing", steps: []string{"web back-off 4→0 ephemeral agents failed (quota), one probe on the way"},
			house: waiting(over(FailureQuota), with(coming, func(p *Pair) { p.Pod.Failure = FailureQuota })),
		},
		{
			name: "the probe is stuck: none is made while it goes",
			want: map[string]int{"mark web ephemeral stuck": 1}, steps: []string{"web back-off 5→0 ephemeral agents failed (image-pull), one probe on the way"},
			house: waiting(over(FailureImagePull), with(unmarked(time.Hour)), func(in *Input) { in.knows(e, 8, time.Second) }),
		},
		{
			name: "the probe hangs: one more probe", house: waiting(over(FailureImagePull), with(unmarked(30*time.Second)), func(in *Input) { in.knows(e, 8, time.Second) }),
			want: probe, steps: []string{"web back-off 4→1 ephemeral agents failed (image-pull), one more probe, 1 overdue"},
		},
		{
			name: "both hang, the second not for twice as long", steps: []string{"web back-off 4→0 ephemeral agents failed (image-pull), 2 probes on the way"},
			house: waiting(over(FailureImagePull), with(unmarked(time.Minute)), func(in *Input) {
				in.agent("web", Ephemeral, "b", unmarked(59*time.Second))
				in.knows(e, 8, time.Second)
			}),
		},
		{
			name: "an agent that was made before the failure is no probe, coming or stuck", want: map[string]int{"mark web ephemeral stuck": 1, "create web ephemeral demand": 1, "register web ephemeral berths": 1},
			steps: []string{"web back-off 4→1 ephemeral agents failed (image-pull), one probe first"},
			house: waiting(Backoff{Until: noon.Add(-5 * time.Second), Failure: FailureImagePull, Before: map[string]bool{"web-e-a": true, "web-e-b": true}},
				with(coming), func(in *Input) { in.agent("web", Ephemeral, "b", unmarked(time.Hour)) }),
		},
		{
			name: "the probe has ended: none is made in the tick that clears it",
			want: map[string]int{"delete-pod web ephemeral ended": 1}, steps: []string{"web back-off 5→0 ephemeral agents failed (oom), one probe on the way"},
			house: waiting(over(FailureOOM), with(unmet, offline, failed)),
		},
		{
			name: "an agent that a person holds is no probe", want: probe, steps: []string{"web back-off 5→1 ephemeral agents failed (oom), one probe first"},
			house: waiting(over(FailureOOM), with(coming, person)),
		},
		{
			name: "a connected agent is no probe", want: probe, steps: []string{"web back-off 4→1 ephemeral agents failed (oom), one probe first"},
			house: waiting(over(FailureOOM), with()),
		},
		{
			name: "if others died, an agent that has just connected has yet to last", steps: []string{"web back-off 4→0 ephemeral agents failed (oom), one probe on trial"},
			house: waiting(died, with(func(p *Pair) { p.Pod.ConnectedAt = noon.Add(-LastsAfter + time.Second) })),
		},
		{
			name: "an agent that connected before they died is no probe", want: probe, steps: []string{"web back-off 4→1 ephemeral agents failed (oom), one probe first"},
			house: waiting(Backoff{Until: noon, Failure: FailureOOM, Came: true, Before: map[string]bool{"web-e-a": true}}, with(func(p *Pair) { p.Pod.ConnectedAt = noon })),
		},
		{
			name: "ephemeral agents fail: items that accept either kind get persistent agents",
			want: map[string]int{"create web persistent demand": 5}, steps: []string{"web fallback 5→0 ephemeral agents failed (oom), next try in 9s"},
			reason: map[string]string{
				"web": "demand: 5 waiting, 0 free, 0 on the way; ephemeral agents failed (oom), next try in 9s: persistent ones instead",
			},
			house: func() Input {
				in := newHouse(both())
				in.wait(5, "linux", time.Minute)
				in.backsOff(e, Backoff{Until: noon.Add(9 * time.Second), Failure: FailureOOM})
				return in
			},
		},
		{
			name: "the same, and no spare is made: it is said once", steps: []string{"web fallback 5→0 ephemeral agents failed (oom), next try in 9s", "web back-off 1→0 9s left"},
			want: map[string]int{"create web persistent demand": 5},
			reason: map[string]string{
				"web": "demand: 5 waiting, 0 free, 0 on the way; ephemeral agents failed (oom), next try in 9s: persistent ones instead",
			},
			house: func() Input {
				in := newHouse(both(func(tm *Team) { tm.MinIdle = 1 }))
				in.wait(5, "linux", time.Minute)
				in.backsOff(e, Backoff{Until: noon.Add(9 * time.Second), Failure: FailureOOM})
				return in
			},
		},
		{
			name: "the same, after the pause: one ephemeral agent is a probe",
			want: map[string]int{"create web persistent demand": 4, "create web ephemeral demand": 1, "register web ephemeral berths": 1}, steps: []string{"web fallback 5→1 ephemeral agents failed (oom), one probe first"},
			house: func() Input {
				in := newHouse(both())
				in.wait(5, "linux", time.Minute)
				in.backsOff(e, over(FailureOOM))
				return in
			},
		},
		{
			name:  "persistent agents fail: ephemeral ones are made in their place",
			want:  map[string]int{"create web ephemeral demand": 5, "register web ephemeral berths": 2},
			steps: []string{"web fallback 2→0 persistent agents failed (storage), next try in 9s"},
			reason: map[string]string{
				"web": "demand: 5 waiting, 0 free, 0 on the way; persistent agents failed (storage), next try in 9s: ephemeral ones instead",
			},
			house: func() Input {
				in := newHouse(both())
				in.wait(5, "linux", time.Minute)
				in.Memory.Teams = map[string]TeamMemory{"web": usedOften(2)}
				in.backsOff(p, Backoff{Until: noon.Add(9 * time.Second), Failure: FailureStorage})
				return in
			},
		},
		{
			name: "a cap is no failure: nothing is told of a fallback",
			want: map[string]int{"create web ephemeral demand": 4, "create web persistent demand": 1, "register web ephemeral berths": 2},
			house: func() Input {
				in := newHouse(both(func(t *Team) { t.MaxPersistent = 1 }))
				in.wait(5, "linux", time.Minute)
				in.Memory.Teams = map[string]TeamMemory{"web": usedOften(2)}
				return in
			},
		},
		{
			name: "the same, up to MAX_PERSISTENT",
			want: map[string]int{"create web persistent demand": 2}, steps: []string{"web fallback 5→3 ephemeral agents failed, next try in 9s", "web back-off 3→0 9s left"},
			house: func() Input {
				in := newHouse(both(func(t *Team) { t.MaxPersistent = 2 }))
				in.wait(5, "linux", time.Minute)
				in.backsOff(e, Backoff{Until: noon.Add(9 * time.Second)})
				return in
			},
		},
		{
			name:  "items that want a kind get no other kind",
			steps: []string{"web back-off 2→0 9s left"},
			house: func() Input {
				in := newHouse(both())
				in.wait(2, "ephemeral", time.Minute)
				in.backsOff(e, Backoff{Until: noon.Add(9 * time.Second)})
				return in
			},
		},
		{
			name:  "both kinds fail: one probe of each kind",
			want:  map[string]int{"create web persistent demand": 1, "create web ephemeral demand": 1, "register web ephemeral berths": 1},
			steps: []string{"web fallback 2→1 ephemeral agents failed (oom), one probe first", "web back-off 4→1 ephemeral agents failed (oom), one probe first"},
			house: func() Input {
				in := newHouse(both())
				in.wait(5, "linux", time.Minute)
				in.backsOff(e, over(FailureOOM))
				in.backsOff(p, over(FailureStorage))
				return in
			},
		},
	})
}

// TestGivenUp follows an agent whose Docker daemon crashes. After a minute Bellboard begins to remove the
// agent, and the text names the container.
func TestGivenUp(t *testing.T) {
	var mem Memory
	var marks []string
	var at []time.Duration
	play := func(seconds int, failure func(s int) Failure) {
		mem, marks, at = Memory{Started: noon}, nil, nil
		for s := range seconds {
			in := newHouse(web())
			in.Now, in.Memory = noon.Add(time.Duration(s)*time.Second), mem
			in.Jenkins.AskedAt, in.Jenkins.AnsweredAt = in.Now, in.Now
			in.agent("web", Ephemeral, "f", offline, unmet, func(p *Pair) {
				p.Pod.Created, p.Pod.Scheduled, p.Pod.Mounted, p.Pod.DockerUp = noon, noon, noon.Add(time.Second), noon.Add(5*time.Second)
				if p.Pod.Failure = failure(s); p.Pod.Failure != "" {
					p.Pod.Trouble = "CrashLoopBackOff"
				}
			})
			plan, next, _ := Decide(in)
			mem = next
			for _, a := range plan.Actions {
				if a.Verb == Mark {
					marks, at = append(marks, a.Text), append(at, time.Duration(s)*time.Second)
				}
			}
		}
	}
	play(80, func(s int) Failure {
		if s < 10 {
			return ""
		}
		return FailureCrashLoop
	})
	if len(at) == 0 || at[0] != 70*time.Second || marks[0] != "given up after 1m10s: Docker daemon not ready since 1m5s (CrashLoopBackOff)" {
		t.Errorf("it is given up at %v with %q, want at 70s", at, marks)
	}
	for name, failure := range map[string]func(s int) Failure{
		"an image that does not come may come yet": func(int) Failure { return FailureImagePull },
		"a class that healed in between begins anew": func(s int) Failure {
			if s%61 == 0 { // in the same answer in which Bellboard would give the agent up
				return ""
			}
			return FailureCrashLoop
		},
	} {
		if play(200, failure); len(at) > 0 {
			t.Errorf("%s: it is given up at %v (%q), want not within 200s", name, at, marks)
		}
	}
}

// TestDeadDaemon follows idle and busy agents whose Docker daemons die. When a second answer shows the dead
// daemon, the agents get no more builds, and other agents are made. If a daemon is back by then, its agent is
// left alone.
func TestDeadDaemon(t *testing.T) {
	play := func(show func(s int, p *Pair), also ...func(*Pair)) (marked []string, made int) {
		in := newHouse(pets())
		for s := range 4 {
			mem := in.Memory
			in = newHouse(pets())
			in.Now, in.Memory = noon.Add(time.Duration(s)*time.Second), mem
			in.Jenkins.AskedAt, in.Jenkins.AnsweredAt = in.Now, in.Now
			in.wait(1, "linux", time.Minute)
			in.agent("web", Persistent, "a", append(also, func(p *Pair) { show(s, p) })...)
			plan, next, _ := Decide(in)
			if err := plan.Validate(in); err != nil {
				t.Fatal(err)
			}
			in.Memory, made = next, 0
			for _, a := range plan.Actions {
				if a.Verb == Mark {
					marked = append(marked, fmt.Sprintf("%ds %s %s: %s", s, a.Agent, a.Reason, a.Text))
				}
				if a.Verb == Create {
					made++
				}
			}
		}
		return marked, made
	}
	dies := func(s int, p *Pair) {
		if s > 0 {
			dying(p)
		}
		if s > 2 {
			ours(p)
		}
	}
	want := []string{"2s web-p-a docker: its Docker daemon is dead (oom)"}
	if marked, made := play(dies); !slices.Equal(marked, want) || made != 1 {
		t.Errorf("idle: the agent is marked %q and %d agents are made, want %q and one", marked, made, want)
	}
	roomy := func(p *Pair) { p.Node.Executors = 2 }
	if marked, made := play(dies, busy, roomy); !slices.Equal(marked, want) || made != 1 {
		t.Errorf("busy: the agent is marked %q and %d agents are made, want %q and one", marked, made, want)
	}
	blinks := func(s int, p *Pair) {
		if s%2 == 1 {
			dying(p)
		}
	}
	if marked, made := play(blinks); len(marked) > 0 || made > 0 {
		t.Errorf("with its daemon back in the next answer it is marked %q and %d are made, want neither", marked, made)
	}
	others := func(_ int, p *Pair) { p.Pod.Failure = FailureCrashLoop }
	if marked, made := play(others); len(marked) > 0 || made > 0 {
		t.Errorf("with another container dead it is marked %q and %d are made, want neither", marked, made)
	}
}

// TestStuckNamesTheCulprit: the text of a start timeout names the phase that failed.
func TestStuckNamesTheCulprit(t *testing.T) {
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	for _, tt := range []struct {
		want   string
		change func(*Pair)
	}{
		{"did not connect in 5m: image pull since 4m50s (ErrImagePull)", func(p *Pair) {
			p.Pod.Scheduled, p.Pod.Mounted, p.Pod.Trouble, p.Pod.Failure = ago(5*time.Minute), ago(290*time.Second), "ErrImagePull", FailureImagePull
		}},
		// This cluster does not report when volumes are ready.
		{"did not connect in 5m: image pull since 5m (ErrImagePull)", func(p *Pair) {
			p.Pod.Scheduled, p.Pod.Trouble, p.Pod.Failure = ago(5*time.Minute), "ErrImagePull", FailureImagePull
		}},
		{"did not connect in 5m: a container cannot be made since 4m50s (CreateContainerConfigError)", func(p *Pair) {
			p.Pod.Scheduled, p.Pod.Mounted, p.Pod.Trouble, p.Pod.Failure = ago(5*time.Minute), ago(290*time.Second), "CreateContainerConfigError", FailureCrashLoop
		}},
		{"did not connect in 5m: its volumes or its network not ready since 5m", func(p *Pair) { p.Pod.Scheduled = ago(5 * time.Minute) }},
		{"did not connect in 5m: runs, and does not connect since 4m", func(p *Pair) {
			p.Pod.Scheduled, p.Pod.Mounted, p.Pod.Ready = ago(5*time.Minute), ago(299*time.Second), ago(4*time.Minute)
		}},
		{"Docker did not become ready in 5m", func(p *Pair) {
			p.Pod.Scheduled, p.Pod.Mounted, p.Pod.DockerUp = ago(5*time.Minute), ago(299*time.Second), ago(4*time.Minute)
		}},
		{"did not connect in 5m: agent's container not started since 3m", func(p *Pair) {
			p.Pod.Scheduled, p.Pod.Mounted, p.Pod.DockerUp, p.Pod.DockerReady = ago(5*time.Minute), ago(299*time.Second), ago(4*time.Minute), ago(3*time.Minute)
		}},
		{"did not connect in 15m: waits for its volume since 15m (SchedulerError)", func(p *Pair) {
			p.Pod.Created, p.Pod.Scheduled, p.Pod.Trouble, p.Pod.Failure = ago(15*time.Minute), time.Time{}, "SchedulerError", FailureStorage
		}},
		{"did not connect in 5m: waits for its volume since 6m (SchedulerError)", func(p *Pair) {
			p.Pod.Slot, p.Pod.VolumeTrouble = "web-s-a", true
			p.Pod.Created, p.Pod.Scheduled, p.Pod.Trouble, p.Pod.Failure = ago(6*time.Minute), time.Time{}, "SchedulerError", FailureStorage
		}},
		{"did not connect in 15m: waits for a Kubernetes node since 15m (Unschedulable)", func(p *Pair) {
			p.Pod.Created, p.Pod.Scheduled, p.Pod.Trouble = ago(15*time.Minute), time.Time{}, "Unschedulable"
		}},
		{"did not connect in 5m: its volumes or its network not ready since 10m", func(p *Pair) { swarm(p); fence(p); p.Pod.Scheduled = ago(10 * time.Minute) }},
		{"its Jenkins node is gone, so the agent cannot connect", func(p *Pair) { noNode(p); p.Pod.Scheduled = ago(time.Minute) }},
	} {
		in := newHouse(web())
		in.agent("web", Ephemeral, "f", offline, unmet, func(p *Pair) { p.Pod.Created = ago(301 * time.Second) }, tt.change)
		amend(&in.Memory.Agents, "web-e-f", func(m *AgentMemory) { m.Gone = in.Jenkins.AskedAt })
		plan, _, _ := Decide(in)
		i := slices.IndexFunc(plan.Actions, func(a Action) bool { return a.Reason == ReasonStuck || a.Reason == ReasonGhost })
		if i < 0 || plan.Actions[i].Text != tt.want {
			t.Errorf("the actions are %+v, want an action that says %q", plan.Actions, tt.want)
		}
	}
}

// TestABackoffIsNoRoom: builds do not wait for a team whose agents fail if another team fits them.
func TestABackoffIsNoRoom(t *testing.T) {
	in := newHouse(web(), newTeam("gpu", ModeEphemeral, []string{"gpu", "linux"}))
	in.wait(5, "linux", time.Minute)
	in.backsOff(PoolID{"web", Ephemeral}, Backoff{Until: noon.Add(10 * time.Minute), Failure: FailureBadImage})
	plan, _, _ := Decide(in)
	if got := did(plan); got["create gpu ephemeral demand"] != 5 {
		t.Errorf("Decide(web backs off) = %v, want 5 agents of team gpu", got)
	}
	in.backsOff(PoolID{"web", Ephemeral}, Backoff{Until: noon, Failure: FailureBadImage})
	plan, _, _ = Decide(in)
	if got := did(plan); got["create web ephemeral demand"] != 1 || got["create gpu ephemeral demand"] != 4 {
		t.Errorf("Decide(web tries again) = %v, want one probe of team web and 4 agents of team gpu", got)
	}
}
