package house

import (
	"fmt"
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

// vetoes is a house in which Jenkins keeps builds from agents that fit.
type vetoes struct {
	*House
	t    *testing.T
	mu   sync.Mutex
	made int    // agents
	said string // of team web
}

func playVetoes(t *testing.T, story func(v *vetoes), environ ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		v := &vetoes{t: t}
		h, err := New(t.Context(), Config{
			Clock: clock.Real(), Seed: 5, Loads: []Load{}, Record: v.tick,
			Environ: append([]string{"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MAX_AGENTS=60"}, environ...),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		v.House = h
		if err := h.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Minute) // out of grace
		story(v)
		if broken := h.Broken(); len(broken) > 0 {
			t.Errorf("broken plans: %v", broken)
		}
	})
}

func (v *vetoes) tick(tick scaler.Tick) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, o := range tick.Outcomes {
		if o.Action.Verb == scaler.Create && o.Result == scaler.Done {
			v.made++
		}
	}
	for i := range tick.Plan.Decisions {
		v.said = tick.Plan.Decisions[i].Text
	}
}

func (v *vetoes) seen() (made int, said string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.made, v.said
}

// TestANodeNamedLikeALabel checks a label and a Jenkins node with the same name, linux, which Jenkins does
// not tell apart. Bellboard tries one agent. Builds for the label all get agents; builds for the node get
// none.
func TestANodeNamedLikeALabel(t *testing.T) {
	const hint = "a Jenkins node is named like the label ‘linux’; rename it"
	for _, tt := range []struct {
		wants string
		most  int // agents
		ran   int
	}{{"linux", 5, 5}, {"big", 2, 0}} {
		t.Run(tt.wants, func(t *testing.T) {
			playVetoes(t, func(v *vetoes) {
				v.Jenkins.AddNode(jenkinssim.Node{Name: "linux", Labels: "big"}, true)
				v.Jenkins.Submit(jenkinssim.Job{Name: "long", Label: "big", Duration: 2 * time.Hour})
				time.Sleep(time.Minute)
				for i := range 5 {
					v.Jenkins.Submit(jenkinssim.Job{Name: fmt.Sprint("app", i), Label: tt.wants, Pipeline: true, Duration: time.Minute})
				}
				time.Sleep(2500 * time.Millisecond)
				if made, said := v.seen(); made != 1 || !strings.Contains(said, hint) {
					t.Errorf("at first %d agents are made, and the team says %q; want 1 and %q", made, said, hint)
				}
				time.Sleep(15 * time.Minute)
				made, said := v.seen()
				if made > tt.most || v.Jenkins.Stats().Succeeded != tt.ran {
					t.Errorf("%d agents were made and %d builds are over, want at most %d, and %d; the team says %q", made, v.Jenkins.Stats().Succeeded, tt.most, tt.ran, said)
				}
				if tt.ran == 0 && !strings.Contains(said, hint) {
					t.Errorf("the team says %q, want %q", said, hint)
				}
			}, "BELLBOARD_TEAM_WEB_MODE=ephemeral")
		})
	}
}

// TestAThrottleOnEachNode checks a plugin that lets each agent run only one build of a kind. While a plugin
// vetoes the waiting builds, Jenkins names no label of a pipeline.
func TestAThrottleOnEachNode(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("the job is known %t", known), func(t *testing.T) {
			playVetoes(t, func(v *vetoes) {
				job := jenkinssim.Job{Name: "app", Label: "linux", Pipeline: true, Duration: time.Hour, PerNode: 1}
				if !known { // a build without a label in the sentence comes first
					v.Jenkins.Submit(jenkinssim.Job{Name: "lib", Label: "linux", Duration: time.Hour})
					time.Sleep(time.Minute)
				}
				v.Jenkins.Submit(job)
				time.Sleep(time.Minute)
				for range 5 {
					v.Jenkins.Submit(job)
				}
				time.Sleep(6 * time.Minute)
				if s := v.Jenkins.Stats(); s.Queued != 0 {
					made, said := v.seen()
					t.Errorf("%d pipelines wait after six minutes, want none; %d agents were made, and the team says %q", s.Queued, made, said)
				}
			}, "BELLBOARD_TEAM_WEB_MODE=persistent", "BELLBOARD_TEAM_WEB_EXECUTORS=2")
		})
	}
}

// TestAVeto checks a plugin that gives the builds of a label to no agent. Bellboard makes one agent now and
// then to see whether the veto is over. Then all builds get agents.
func TestAVeto(t *testing.T) {
	t.Parallel()
	const builds, words = 50, "has no licence"
	playVetoes(t, func(v *vetoes) {
		over := time.Now().Add(35 * time.Minute)
		v.agents.deaf = func(p *corev1.Pod) bool {
			if time.Now().Before(over) {
				v.Jenkins.Veto(p.Name, "‘"+p.Name+"’ "+words)
				v.clock.AfterFunc(time.Until(over), func() { v.Jenkins.Veto(p.Name, "") })
			}
			return false
		}
		for i := range builds {
			v.Jenkins.Submit(jenkinssim.Job{Name: fmt.Sprint("app", i), Label: "linux", Pipeline: true, Duration: time.Minute})
		}
		time.Sleep(time.Minute)
		for range 6 {
			if _, said := v.seen(); !strings.Contains(said, words) {
				t.Fatalf("the team says %q, want the plugin's words", said)
			}
			time.Sleep(5 * time.Minute)
		}
		time.Sleep(time.Minute) // the second pause ends within seconds of the half hour
		if made, _ := v.seen(); made != builds+3 {
			t.Errorf("%d agents were made in half an hour, want one for each build, one to see, and one more after each of two pauses: %d", made, builds+3)
		}
		time.Sleep(45 * time.Minute) // past the third pause
		if made, said := v.seen(); v.Jenkins.Stats().Succeeded != builds || made > 2*builds+4 {
			t.Errorf("%d of %d builds are over, and %d agents were made; the team says %q", v.Jenkins.Stats().Succeeded, builds, made, said)
		}
	}, "BELLBOARD_TEAM_WEB_MODE=ephemeral")
}
