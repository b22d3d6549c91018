package main

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"bellboard/cmd/internal/config"
	"bellboard/metrics/web"
	"bellboard/scaler"
)

var update = flag.Bool("update", false, "write testdata anew")

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// day is a Bellboard at noon, with Jenkins and a cluster that a test makes.
type day struct {
	settings *config.Config
	in       scaler.Input
	hold     string
}

func newDay(t *testing.T) *day {
	t.Helper()
	environ := []string{
		"BELLBOARD_JENKINS_URL=http://jenkins:8080", "BELLBOARD_MAX_AGENTS=60",
		"BELLBOARD_TEAMS=web,mobile,data,docs,infra,ops,qa,search", "BELLBOARD_DEFAULT_MODE=ephemeral", "BELLBOARD_TEAM_WEB_MAX_AGENTS=4", "BELLBOARD_TEAM_WEB_LABELS=linux",
	}
	for _, team := range []string{"mobile", "data", "docs", "infra", "ops", "qa", "search"} {
		environ = append(environ, "BELLBOARD_TEAM_"+strings.ToUpper(team)+"_LABELS="+team)
	}
	settings, err := config.Load(environ, config.WithoutJenkins())
	if err != nil {
		t.Fatal(err)
	}
	usual := scaler.Usual{Kind: scaler.Ephemeral, Count: 9, Half: 14 * time.Second, Most: 20 * time.Second, Phases: []scaler.PhaseTime{{Phase: scaler.PhasePull, Took: 9 * time.Second}}}
	web := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	return &day{settings: settings, in: scaler.Input{
		Now: noon, MaxAgents: settings.MaxAgents, Teams: settings.ScalerTeams(),
		Jenkins: scaler.JenkinsView{Session: "s", AskedAt: noon, NodesAt: noon, AnsweredAt: noon}, Cluster: scaler.ClusterView{At: noon},
		Memory: scaler.Memory{Started: noon.Add(-time.Hour), Pools: map[scaler.PoolID]scaler.PoolMemory{
			web: {Starts: scaler.Starts{Last: []scaler.Startup{{PoolID: web, Took: 14 * time.Second}}, Usual: usual}},
		}},
	}}
}

// waits adds builds of one job to the queue, of which the oldest has waited so long.
func (d *day) waits(n int, job, label string, oldest time.Duration) {
	for i := range n {
		d.in.Jenkins.Items = append(d.in.Jenkins.Items, scaler.Item{
			ID: int64(len(d.in.Jenkins.Items) + 1), Job: job, Label: label, Since: noon.Add(-oldest + time.Duration(i)*time.Second),
			State: scaler.Buildable, Resolution: scaler.Labelled, Why: "Waiting for next available executor on ‘" + label + "’",
		})
	}
}

// agent adds an agent of team web of that age, which runs a build or still pulls its image.
func (d *day) agent(name string, age time.Duration, build string) {
	pod := scaler.Pod{
		Name: name, PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Namespace: "ci", UID: name, Phase: scaler.PodPending,
		Created: noon.Add(-age), Scheduled: noon.Add(-age + time.Second), Mounted: noon.Add(-age + 2*time.Second), Connect: scaler.Inbound, Spec: d.in.Teams[0].Pools[0].Spec,
	}
	node := scaler.Node{Name: name, Labels: d.in.Teams[0].Pools[0].Labels, Team: "web", Kind: scaler.Ephemeral, Executors: 1, Idle: true}
	if build != "" {
		pod.Phase, pod.Ready, pod.Connected, pod.ConnectedAt = scaler.PodRunning, noon.Add(-age+9*time.Second), true, noon.Add(-age+14*time.Second)
		node.Online, node.Busy, node.Idle, node.Build = true, 1, false, "http://jenkins:8080/job/"+build+"/12/"
		node.OfflineBy, node.Offline = scaler.Ours, "one build"
	}
	d.in.Cluster.Pods, d.in.Jenkins.Nodes = append(d.in.Cluster.Pods, pod), append(d.in.Jenkins.Nodes, node)
}

// fails makes team web's agents fail.
func (d *day) fails(left time.Duration) {
	id := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	p := d.in.Memory.Pools[id]
	p.Backoff = scaler.Backoff{Until: noon.Add(left), Failure: scaler.FailureImagePull}
	d.in.Memory.Pools[id] = p
}

// serve returns the address of a Bellboard that has seen the day, and holds if the day has a hold.
func (d *day) serve(t *testing.T) string {
	t.Helper()
	now := noon
	s := web.New(web.Config{
		Gatherer: prometheus.NewRegistry(), Now: func() time.Time { return now }, MaxAge: time.Minute, MaxAgents: d.settings.MaxAgents,
		Replica: func() web.Replica {
			return web.Replica{Instance: "ci", Version: "0.2.0", Role: "leader", Leader: "bellboard-6d5f8c9b7-x2x4z_0b5e"}
		},
	})
	plan, _, facts := scaler.Decide(d.in)
	tick := scaler.Tick{ID: "k3x-41", At: noon, Items: d.in.Jenkins.Items, Plan: plan, Facts: facts}
	if n := len(d.in.Cluster.Pods); n > 0 && d.in.Memory.Pools[scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}].Backoff.Failure != "" {
		tick.Facts.Failures = append(tick.Facts.Failures, scaler.FailedAgent{
			PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Agent: "web-e-7dk2m9q4xp", Failure: scaler.FailureImagePull,
			Text: `ImagePullBackOff: agent: Back-off pulling image "registry.example.com/agents/web:4711": manifest unknown`,
		})
	}
	for i := range plan.Actions {
		tick.Outcomes = append(tick.Outcomes, scaler.Outcome{Action: plan.Actions[i], Result: scaler.Done})
	}
	var paper scaler.Newspaper
	for _, k := range []scaler.Tick{tick, {ID: "k3x-42", At: noon.Add(90 * time.Second), Hold: d.hold, HoldBy: scaler.SourceJenkins}} {
		if k.Hold == "" && k.ID == "k3x-42" {
			break
		}
		now = k.At
		paper.Read(&k)
		if k.Hold != "" {
			k.HoldSince = noon.Add(time.Second)
		}
		s.Observe(k)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

// TestTerminal: testdata/status has what status and why print, on terminals of 80 and 200 columns. Write it
// anew with: go test ./cmd/bellboard -run TestTerminal -update.
func TestTerminal(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(*day)
		asks [][]string
	}{
		"quiet": {func(*day) {}, [][]string{{"status"}, {"why"}, {"why", "web"}, {"why", "nightly"}}},
		"on-the-way": {func(d *day) {
			d.waits(3, "shop/web", "linux", 12*time.Second)
			d.waits(1, "nightly", "linux", 4*time.Second)
			d.agent("web-e-4kx7q2m9ab", 6*time.Second, "")
			d.agent("web-e-9mm2c3x8zz", 3*time.Second, "")
			d.agent("web-e-b6w1d5v0aa", 3*time.Minute, "shop/job/web")
		}, [][]string{{"status"}, {"status", "web"}, {"why"}, {"why", "shop/web"}}},
		"failing": {func(d *day) {
			d.waits(25, "shop/web", "linux", 12*time.Minute)
			d.agent("web-e-b6w1d5v0aa", 20*time.Minute, "shop/job/web")
			d.fails(18 * time.Second)
		}, [][]string{{"status"}, {"status", "web"}, {"why", "web"}}},
		"hold": {func(d *day) {
			d.waits(2, "shop/web", "linux", 12*time.Second)
			d.hold = "reading Jenkins' nodes: jenkins is not available: status 503 Service Unavailable"
		}, [][]string{{"status"}, {"why", "web"}}},
		"nobody-serves": {func(d *day) {
			d.waits(2, "legacy-build", "windows&&gpu", time.Hour+2*time.Minute)
		}, [][]string{{"status"}, {"why", "windows && gpu"}}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDay(t)
			tt.make(d)
			address := d.serve(t)
			for _, columns := range []int{80, 200} {
				var b strings.Builder
				for _, args := range tt.asks {
					code, out, errs := bellboard([]string{fmt.Sprint("COLUMNS=", columns)}, append(args, "--url", address)...)
					if code != 0 || errs != "" {
						t.Fatalf("bellboard %s = %d: %s", args, code, errs)
					}
					fmt.Fprintf(&b, "$ bellboard %s\n%s\n", strings.Join(args, " "), out)
				}
				file := filepath.Join("testdata", "status", fmt.Sprintf("%s-%d.txt", name, columns))
				if *update {
					if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), b.String()); diff != "" {
					t.Errorf("%s (-want +got): %s", file, diff)
				}
			}
		})
	}
}

// TestStatusOfOthers checks what status and why say if there is no Bellboard to ask, and -o json.
func TestStatusOfOthers(t *testing.T) {
	away := httptest.NewServer(http.NotFoundHandler())
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no address", []string{"status", "--url", "localhost:8080"}, exitUsage, "http://localhost:8080"},
		{"another server", []string{"why", "web", "--url", away.URL}, exitFailed, "answers 404"},
		{"nobody there", []string{"status", "--url", "http://127.0.0.1:9"}, exitFailed, "http://127.0.0.1:9 does not answer: dial tcp"},
		{"an output that is none", []string{"why", "-o", "yaml"}, exitUsage, "-o yaml"},
		{"two teams", []string{"status", "web", "data"}, exitUsage, "arg"},
		{"no kubeconfig", []string{"status"}, exitFailed, "set KUBECONFIG"},
	} {
		if code, stdout, stderr := bellboard(nil, tt.args...); code != tt.code || stdout != "" || !strings.Contains(stderr, tt.says) {
			t.Errorf("%s: %d, %q, saying %q; want %d and %q", tt.name, code, stdout, stderr, tt.code, tt.says)
		}
	}
	away.Close()
	d := newDay(t)
	d.waits(1, "shop/web", "linux", 90*time.Second)
	address := d.serve(t)
	var status web.Status
	var why web.Why
	_, out, _ := bellboard(nil, "status", "-o", "json", "--url", address)
	_, reasons, _ := bellboard(nil, "why", "shop/web", "-o", "json", "--url", address)
	if err := web.ReadJSON([]byte(out), &status); err != nil || status.Oldest != 90*time.Second {
		t.Errorf("status -o json: %v, %s", err, out)
	}
	if err := web.ReadJSON([]byte(reasons), &why); err != nil || len(why.Queued) != 1 || why.Queued[0].Team != "web" {
		t.Errorf("why -o json: %v, %s", err, reasons)
	}
	if code, _, stderr := bellboard(nil, "status", "wbe", "--url", address); code != exitFailed || !strings.Contains(stderr, "the teams are: web, mobile") {
		t.Errorf("status of no team: %d, %s", code, stderr)
	}
}
