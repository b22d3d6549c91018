package house

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"bellboard/pool/kubesim"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// TestFallback checks a team whose new agents fail. Builds get other agents that fit: the team's other kind,
// with a rule of its own in the decision, or agents of a team with another DOCKER.
func TestFallback(t *testing.T) {
	t.Parallel()
	auto := []string{"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=auto"}
	for _, tt := range []struct {
		name, label string
		environ     []string
		fails       func(*corev1.Pod) bool
		serves      string // the beginning of the agents' names that builds run on
		says        string // "": nothing of a fallback
	}{
		{"ephemeral ones fail", "linux", append(auto, "BELLBOARD_TEAM_WEB_CACHE_PRICE=1000"), ofKind("ephemeral"), "web-p-", "ephemeral agents failed (image-pull)"},
		{"persistent ones fail", "linux", append(auto, "BELLBOARD_TEAM_WEB_MIN_AGENTS=1"), ofKind("persistent"), "web-e-", "persistent agents failed (image-pull)"},
		{"a Docker mode fails", "docker", []string{
			"BELLBOARD_TEAMS=root,user", "BELLBOARD_DEFAULT_MODE=ephemeral",
			"BELLBOARD_TEAM_ROOT_LABELS=docker", "BELLBOARD_TEAM_ROOT_DOCKER=dind",
			"BELLBOARD_TEAM_USER_LABELS=docker rootless", "BELLBOARD_TEAM_USER_DOCKER=rootless",
		}, func(p *corev1.Pod) bool { return p.Labels["bellboard.dev/team"] == "root" }, "user-e-", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const builds = 6
				var mu sync.Mutex
				said, steps := "", 0
				h, err := New(t.Context(), Config{Clock: clock.Real(), Seed: 5, Loads: []Load{}, Environ: tt.environ, Record: func(tick scaler.Tick) {
					mu.Lock()
					defer mu.Unlock()
					for _, d := range tick.Plan.Decisions {
						for _, s := range d.Steps {
							if s.Rule == scaler.RuleFallback && s.To < s.From {
								said, steps = d.Text, steps+1
							}
						}
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
				if tt.says == "" {
					h.Cluster.Spoil(func(p *corev1.Pod) kubesim.Fault {
						if tt.fails(p) {
							return kubesim.SidecarCrash
						}
						return kubesim.NoFault
					})
				} else {
					h.Cluster.FailPulls(tt.fails)
				}
				if err := h.start(t.Context()); err != nil {
					t.Fatal(err)
				}
				for range builds {
					h.Jenkins.Submit(jenkinssim.Job{Name: "app", Label: tt.label, Duration: time.Minute})
				}
				time.Sleep(20 * time.Minute)
				for _, b := range h.Jenkins.Builds() {
					if !strings.HasPrefix(b.Node, tt.serves) {
						t.Errorf("a build ran on %s, want %s…", b.Node, tt.serves)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				if !strings.Contains(said, tt.says) || (steps > 0) != (tt.says != "") {
					t.Errorf("%d steps tell of a fallback, the last in %q; want %q", steps, said, tt.says)
				}
				if s := h.Jenkins.Stats(); s.Succeeded != builds {
					t.Errorf("%d of %d builds are over", s.Succeeded, builds)
				}
			})
		})
	}
}

func ofKind(kind string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p.Labels["bellboard.dev/kind"] == kind }
}
