package house

import (
	"context"
	"fmt"
	"maps"
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
)

// judge checks every tick against the promises about caps, renewals and executors. It uses the cluster's
// state, not Bellboard's words.
type judge struct {
	house *House

	mu     sync.Mutex
	faults []string
	quiet  [2]bool               // Jenkins was quieting down, at the tick before and at this one
	marked map[scaler.Reason]int // agents that were marked or made
}

// verdict returns the number of agents that were marked or made by reason, and the broken promises.
func (j *judge) verdict() (map[scaler.Reason]int, []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.marked), slices.Clone(j.faults)
}

func (j *judge) tick(t scaler.Tick) {
	if t.Hold != "" {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.quiet = [2]bool{j.quiet[1], j.house.Jenkins.Stats().QuietingDown}
	acts, ahead := map[string]scaler.Action{}, map[scaler.PoolID]int{}
	for _, a := range t.Plan.Actions {
		switch a.Verb { //nolint:exhaustive // what else is done to an agent moves it
		case scaler.Annotate, scaler.Protect, scaler.Unprotect:
			continue
		case scaler.Mark, scaler.Create:
			if j.marked == nil {
				j.marked = map[scaler.Reason]int{}
			}
			j.marked[a.Reason]++
			if a.Reason == scaler.ReasonForecast {
				ahead[a.Pool]++
			}
		}
		acts[a.Agent] = a
	}
	j.caps(&t)
	old := map[string]bool{}
	for _, name := range j.house.outdated(t.At) {
		old[name] = true
	}
	for i := range j.house.teams {
		team := &j.house.teams[i]
		for k := range team.Pools {
			j.pool(&t, team.Pools[k].PoolID, acts, old)
		}
		for k := range t.Plan.Decisions {
			if d := &t.Plan.Decisions[k]; d.Team == team.Name && team.Mode == scaler.ModePersistent {
				size := max(1, team.Pool(scaler.Persistent).Executors)
				need := (d.Short+size-1)/size + team.MinAgents
				if made := d.Up[scaler.Persistent] - ahead[scaler.PoolID{Team: team.Name, Kind: scaler.Persistent}]; made > need {
					j.fault(&t, "%s gets %d agents for %d builds, %d at once on each", d.Team, made, d.Short, size)
				}
			}
		}
	}
}

// leaves reports whether Bellboard has deleted the pod, so that its place is free. Others give a pod ten
// seconds at least.
func leaves(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && *p.DeletionGracePeriodSeconds < 10
}

// caps checks that neither a team nor all teams together have more agents than they may.
func (j *judge) caps(t *scaler.Tick) {
	all, teams, persistent := 0, map[string]int{}, map[string]int{}
	for _, p := range j.house.Cluster.Pods() {
		if p.Status.Phase != corev1.PodPending && p.Status.Phase != corev1.PodRunning || leaves(&p) {
			continue
		}
		team := p.Labels["bellboard.dev/team"]
		all++
		teams[team]++
		if p.Labels["bellboard.dev/kind"] == string(scaler.Persistent) {
			persistent[team]++
		}
	}
	if all > j.house.most {
		j.fault(t, "all teams have %d agents, over BELLBOARD_MAX_AGENTS=%d", all, j.house.most)
	}
	for i := range j.house.teams {
		if team := &j.house.teams[i]; teams[team.Name] > team.MaxAgents || persistent[team.Name] > team.MaxPersistent {
			j.fault(t, "%s has %d agents, over MAX_AGENTS=%d, or %d persistent ones, over MAX_PERSISTENT=%d",
				team.Name, teams[team.Name], team.MaxAgents, persistent[team.Name], team.MaxPersistent)
		}
	}
}

// pool checks the agents of one pool: which of them leave, which are marked now, and which stay though they
// are old.
func (j *judge) pool(t *scaler.Tick, id scaler.PoolID, acts map[string]scaler.Action, old map[string]bool) {
	calm := !slices.ContainsFunc(t.Plan.Decisions, func(d scaler.Decision) bool { return d.Waiting > 0 })
	pods, leaving, unsure := 0, 0, false
	var renewed, emptied, stay []scaler.Agent
	for _, a := range t.Plan.Agents {
		if a.PoolID != id || !a.Pod || a.Class == scaler.Ended {
			continue
		}
		pods++
		act, acted := acts[a.Name]
		switch {
		case act.Reason == scaler.ReasonRenew:
			renewed = append(renewed, a)
		case act.Reason == scaler.ReasonRoom:
			emptied = append(emptied, a)
		case acted && act.Verb == scaler.Mark && (act.Reason == scaler.ReasonIdle || act.Reason == scaler.ReasonPaused):
			leaving++
		case a.Class == scaler.Fenced, a.Class == scaler.FenceInTheWay, a.Class == scaler.Resuming, a.Class == scaler.Awaited:
			unsure = true // it may be on its way out
		case a.OfflineBy == scaler.Ours && (a.Kind == scaler.Persistent || a.Class != scaler.Draining), a.Class == scaler.Going:
			leaving++
		case !acted && (a.Class == scaler.Busy && a.Kind == scaler.Persistent || a.Class == scaler.Free && calm):
			stay = append(stay, a) // a free one that a build is about to take would be spared
		}
	}
	leaving += len(emptied)
	if n := leaving + len(renewed); len(renewed) > 0 && n > max(1, pods/10) {
		j.fault(t, "%s %s: %d of %d agents are on their way out, the last for renewal", id.Team, id.Kind, n, pods)
	}
	for _, a := range stay {
		if old[a.Name] && leaving+len(renewed) == 0 && !unsure && t.Grace == 0 && j.quiet == [2]bool{} {
			j.fault(t, "%s is old, and nobody is renewed", a.Name)
		}
		for _, b := range renewed {
			if old[a.Name] && a.Capacity > b.Capacity {
				j.fault(t, "%s is renewed before %s, which is emptier", b.Name, a.Name)
			}
		}
		for _, b := range emptied {
			if a.Class == scaler.Busy && a.Capacity > b.Capacity {
				j.fault(t, "%s is emptied before %s, which is emptier", b.Name, a.Name)
			}
		}
	}
}

func (j *judge) fault(t *scaler.Tick, format string, args ...any) {
	if len(j.faults) < 20 {
		j.faults = append(j.faults, t.ID+": "+fmt.Sprintf(format, args...))
	}
}

// TestRenewalUnderLoad checks that a pool that is full all day is renewed step by step, after new settings
// and at MAX_LIFETIME. The pool never has more agents than its builds need executors.
func TestRenewalUnderLoad(t *testing.T) {
	t.Parallel()
	const (
		executors, builds = 2, 40
		lifetime          = 30 * time.Minute
		shortest, longest = time.Minute, 2 * time.Minute
		agents            = builds / executors
	)
	synctest.Test(t, func(t *testing.T) {
		j := &judge{}
		h, err := New(t.Context(), Config{Clock: clock.Real(), Record: j.tick, Environ: []string{
			"BELLBOARD_TEAMS=data,web", "BELLBOARD_POLL_INTERVAL=2s", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_TEAM_WEB_MIN_IDLE=1", "BELLBOARD_TEAM_DATA_LABELS=docker", "BELLBOARD_TEAM_DATA_MODE=persistent",
			fmt.Sprintf("BELLBOARD_TEAM_DATA_EXECUTORS=%d", executors), fmt.Sprintf("BELLBOARD_TEAM_DATA_MAX_LIFETIME=%s", lifetime),
			"BELLBOARD_TEAM_DATA_MAX_AGENTS=60", "BELLBOARD_TEAM_DATA_IDLE_TIMEOUT=2m",
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		j.house = h
		if err := h.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		// pets returns the number of persistent agents.
		pets := func() (n int) {
			for _, p := range h.Cluster.Pods() {
				if p.Labels["bellboard.dev/team"] == "data" {
					n++
				}
			}
			return n
		}
		// Bellboard renews no busy ephemeral agent: these builds last longer than the day.
		const long = 3
		for range long {
			h.Jenkins.Submit(jenkinssim.Job{Name: "web", Label: "linux", Duration: 100 * time.Minute})
		}
		n := long
		// load keeps that many builds in Jenkins for so long.
		load := func(want int, d time.Duration) (most int) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(2 * time.Second) {
				for s := h.Jenkins.Stats(); s.Queued+s.Running < want+long; s.Queued++ {
					n++
					h.Jenkins.Submit(jenkinssim.Job{Name: fmt.Sprint("data-", n%40), Label: "docker", Pipeline: n%2 == 0, Duration: shortest + time.Duration(n%7)*(longest-shortest)/6})
				}
				most = max(most, pets())
			}
			return most
		}
		old := func(now time.Time) (n int) {
			for _, name := range h.outdated(now) {
				if strings.HasPrefix(name, "data-") {
					n++
				}
			}
			return n
		}

		if most := load(builds, 10*time.Minute); most != agents {
			t.Errorf("%d agents were made for %d builds, %d at once on each; want %d", most, builds, executors, agents)
		}
		h.change(t.Context(), []string{"BELLBOARD_DEFAULT_IMAGE=agent:2"})
		if n := old(time.Now()); n != agents {
			t.Errorf("%d agents are of old settings; want all %d", n, agents)
		}
		// A grace, and then two agents at a time, each after its builds.
		turn := longest + 15*time.Second
		most := load(builds, 5*time.Minute+agents/2*turn)
		if n := old(time.Now()); n != 0 {
			t.Errorf("%d agents of %d are still of old settings; want none", n, agents)
		}
		most = max(most, load(builds, lifetime))
		if n := old(time.Now().Add(-turn)); n != 0 {
			t.Errorf("%d agents of %d are older than their lifetime and a build; want none", n, agents)
		}
		if leave := agents / 10; most > agents+leave {
			t.Errorf("there were %d agents at once; want at most %d, and %d that still have builds", most, agents, leave)
		}
		load(builds/4, 15*time.Minute)
		if pods := pets(); pods > agents/2 {
			t.Errorf("%d agents are kept for %d builds; want at most %d", pods, builds/4, agents/2)
		}
		marked, faults := j.verdict()
		t.Logf("%d agents at most, %d at the end, marked %v, %d builds", most, pets(), marked, n)
		for _, f := range append(h.Broken(), faults...) {
			t.Errorf("a promise was broken: %s", f)
		}
		if marked[scaler.ReasonRenew] < 2*agents || marked[scaler.ReasonRoom] == 0 {
			t.Errorf("agents were marked %v; want each renewed twice, and some emptied", marked)
		}
		s, err := h.evening(context.Background())
		if err != nil || s.BuildsKilled+s.BuildsLost+s.OrphansLeft > 0 || s.BuildsFinished != n {
			t.Errorf("%v: of %d builds %d ended, %d killed and %d lost; %v is left; want none but ended", err, n, s.BuildsFinished, s.BuildsKilled, s.BuildsLost, s.Left)
		}
	})
}
