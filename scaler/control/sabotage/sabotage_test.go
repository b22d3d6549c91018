package sabotage

import (
	"strings"
	"testing"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/control"
)

// TestRefused: Validate refuses the plan that each lost safeguard leads to, and accepts
// the plan that is made with it.
func TestRefused(t *testing.T) {
	noon := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name     string
		sabotage func(*control.Config)
		house    func(*scaler.Input)
		words    string
	}{
		{"pins", Pins, func(in *scaler.Input) {
			in.Jenkins.Items = []scaler.Item{{ID: 1, Since: noon, State: scaler.Buildable, Resolution: scaler.Labelled, Label: "web-e-a"}}
		}, "a queued build names it"},
		{"grace", Grace, func(in *scaler.Input) { in.GraceUntil = noon.Add(time.Minute) }, "within the restart grace"},
		{"later answers", LaterAnswers, func(in *scaler.Input) { in.Memory.Agents = nil }, "no earlier answer showed the mark"},
		{"holders", Holders, func(in *scaler.Input) {
			in.Jenkins.Nodes[0].OfflineBy, in.Jenkins.Nodes[0].Idle, in.Jenkins.Nodes[0].Busy = scaler.NotMarked, false, 1
			in.Jenkins.Items = []scaler.Item{{ID: 1, Since: noon, State: scaler.Buildable, Resolution: scaler.Labelled, Label: "linux"}}
			p := &in.Teams[0].Pools[0]
			p.Slots, p.Namespace, p.SlotKeep = true, "ci", time.Hour
			in.Cluster.Pods[0].Slot, in.Cluster.Pods[0].Namespace = "cache", "ci"
			in.Cluster.Slots = []scaler.Slot{{PoolID: p.PoolID, Name: "cache", Namespace: "ci", UID: "c", LastUsed: noon, Bound: true}}
		}, "slot ci/cache is web-e-a's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
			in := scaler.Input{
				Now: noon, MaxAgents: 9, Secrets: map[string]bool{"web-e-a": true},
				Teams: []scaler.Team{{
					Name: "web", Labels: []string{"linux"}, Mode: scaler.ModeEphemeral, MaxAgents: 9, MaxPersistent: 9,
					Pools: []scaler.Pool{{PoolID: id, Connect: scaler.Inbound, Labels: []string{"linux"}, StartTimeout: time.Minute, IdleTimeout: time.Minute}},
				}},
				Jenkins: scaler.JenkinsView{
					Session: "s", AskedAt: noon.Add(-time.Millisecond), NodesAt: noon, AnsweredAt: noon,
					Nodes: []scaler.Node{{
						Name: "web-e-a", Team: "web", Kind: scaler.Ephemeral, Labels: []string{"linux"}, Online: true, Executors: 1, Idle: true,
						OfflineBy: scaler.Ours, MarkedAt: noon.Add(-time.Minute),
					}},
				},
				Cluster: scaler.ClusterView{At: noon, Pods: []scaler.Pod{{
					PoolID: id, Name: "web-e-a", UID: "u", Phase: scaler.PodRunning, Created: noon.Add(-time.Minute), Connected: true, Connect: scaler.Inbound, Protected: true,
				}}},
				Memory: scaler.Memory{Started: noon.Add(-time.Hour), Agents: map[string]*scaler.AgentMemory{
					"web-e-a": {Mark: scaler.Marking{Since: noon.Add(-time.Minute), By: scaler.Ours, At: noon.Add(-time.Minute)}},
				}},
			}
			tt.house(&in)
			if _, _, _, err := scaler.Checked(in); err != nil {
				t.Fatalf("Checked() = %v, want nil", err)
			}
			var cfg control.Config
			tt.sabotage(&cfg)
			plan, _, _, err := cfg.Decide(in)
			if err != nil {
				t.Errorf("the sabotaged decision checks itself: %v", err)
			}
			if err := plan.Validate(in); err == nil || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("Validate() = %v, want an error with %q", err, tt.words)
			}
		})
	}
}
