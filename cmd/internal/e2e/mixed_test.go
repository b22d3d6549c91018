//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
)

// costLiving is the most requests to Kubernetes that a living ephemeral agent may cost, costFailing an agent
// that fails.
const costLiving, costFailing = 5, 5

// crowd has agents that come at once.
type crowd struct {
	ephemeral  int // builds that get an agent each
	persistent int // builds that come with them, for agents on cache slots
	one        int // pod in so many fails; 0: none
}

// mixedTeams has agents of each kind; the persistent ones with Swarm and without.
var mixedTeams = []string{
	"BELLBOARD_TEAMS=web,data,mobile,apps,tools",
	"BELLBOARD_MAX_AGENTS=800",
	"BELLBOARD_DEFAULT_MODE=ephemeral",
	"BELLBOARD_DEFAULT_MAX_AGENTS=200",
	"BELLBOARD_DEFAULT_BUILD_GRACE=30s",
	"BELLBOARD_DEFAULT_START_TIMEOUT=30s",
	"BELLBOARD_TEAM_WEB_LABELS=linux",
	"BELLBOARD_TEAM_DATA_LABELS=docker",
	"BELLBOARD_TEAM_DATA_DOCKER=dind",
	"BELLBOARD_TEAM_MOBILE_LABELS=android",
	"BELLBOARD_TEAM_APPS_LABELS=gradle", "BELLBOARD_TEAM_APPS_MODE=persistent", "BELLBOARD_TEAM_APPS_MAX_AGENTS=60",
	"BELLBOARD_TEAM_TOOLS_LABELS=maven", "BELLBOARD_TEAM_TOOLS_MODE=persistent", "BELLBOARD_TEAM_TOOLS_MAX_AGENTS=60", "BELLBOARD_TEAM_TOOLS_CONNECT=inbound",
	"BELLBOARD_DEFAULT_SCALE_DOWN_COOLDOWN=1s", "BELLBOARD_DEFAULT_PERSISTENT_IDLE_TIMEOUT=5s", "BELLBOARD_DEFAULT_CACHE_KEEP=15s",
	"BELLBOARD_SWARM_USER=swarm", "BELLBOARD_SWARM_PASSWORD_SECRET=swarm",
	"BELLBOARD_POLL_INTERVAL=1s", "BELLBOARD_KUBE_QPS=200", "BELLBOARD_KUBE_BURST=400",
}

// TestSpeedMixed measures the requests to Kubernetes for many agents of each kind: when all of them come, and
// when one in ten fails in one of the phases of its start. It prints a table of docs/performance.md.
func TestSpeedMixed(t *testing.T) {
	if os.Getenv("BELLBOARD_SPEED") != "1" {
		t.Skip("measures for some minutes, and wants a quiet machine: set BELLBOARD_SPEED=1")
	}
	rows := []string{
		"| | agents made | to last build finished | to all cleared away | calls per ephemeral agent that lived | at most | per agent that failed | at most | all calls |",
		"|---|--:|--:|--:|--:|--:|--:|--:|--:|",
	}
	for _, c := range []struct {
		name, says string
		crowd
	}{{"well", "none fails", crowd{400, 100, 0}}, {"ill", "a tenth fails", crowd{400, 100, 10}}} {
		t.Run(c.name, func(t *testing.T) { rows = append(rows, "| "+c.says+" "+c.come(t, c.name)) })
	}
	t.Logf("400 ephemeral and 100 persistent agents from zero, over five teams, on %d cores\n\n%s\n", runtime.NumCPU(), strings.Join(rows, "\n"))
}

// TestMixed is TestSpeedMixed with a few agents, of which one in four fails: the cost of an agent does not
// depend on the number of agents.
func TestMixed(t *testing.T) {
	t.Parallel()
	crowd{40, 10, 4}.come(t, "few")
}

// TestSpareCost checks that an agent for which no build waited costs no more than any other, however long it
// has been free before its build.
func TestSpareCost(t *testing.T) {
	t.Parallel()
	h := newHome(t, "spare", rights(t), "BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_TEAM_WEB_MIN_IDLE=1",
		"BELLBOARD_POLL_INTERVAL=1s", "BELLBOARD_JENKINS_RESTART_GRACE=1s")
	h.start()
	// free returns the spare agent that has been free for longer than Bellboard protects an idle agent.
	free := func() (name string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		since := map[string]time.Time{}
		for i := range h.ticks {
			for _, a := range h.ticks[i].Plan.Agents {
				if _, ok := since[a.Name]; !ok && a.Class == scaler.Free {
					since[a.Name] = h.ticks[i].At
				}
				if at, ok := since[a.Name]; ok && h.ticks[i].At.Sub(at) > scaler.FreeUnprotected+3*time.Second {
					name = a.Name
				}
			}
		}
		return name
	}
	h.await("the spare is free for long", func() bool { return free() != "" })
	spare := free()
	h.jenkins.Submit(jenkinssim.Job{Name: "late", Label: "linux", Duration: 5 * time.Second})
	h.await("its build finishes", h.finished)
	bill := func() map[string]int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return maps.Clone(h.bills[spare])
	}
	h.await("the spare is deleted", func() bool { return bill()["delete pods"] > 0 })
	var cost tally
	if cost.add(bill()); cost.most != costLiving || cost.verbs["patch pods"] != 2 {
		t.Errorf("a spare cost %d calls: %v; want %d, and of them two patches: connected, protected", cost.most, cost.verbs, costLiving)
	}
}

// come lets the agents come and go, and returns the row of the table.
func (c crowd) come(t *testing.T, name string) string {
	t.Helper()
	template := filepath.Join(t.TempDir(), "pod.yaml")
	if err := os.WriteFile(template, []byte("spec: {schedulerName: the-test}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHome(t, "mixed-"+name, rights(t), append(slices.Clone(mixedTeams), "BELLBOARD_DEFAULT_POD_TEMPLATE_FILE="+template)...)
	h.volumes(2 * c.persistent)
	h.swarmPassword(h.ns)
	w := h.openWard(c.one)
	defer func() { t.Logf("%s: made to fail: %s; calls %v", name, w.story(h.failed()), h.spent()) }()
	h.start()
	h.await("the berths are there", func() bool { return h.jenkins.Stats().Nodes >= 10 })

	builds := c.ephemeral + c.persistent
	began := time.Now()
	h.submit(c.ephemeral, "linux", "docker", "android")
	for i := range c.persistent {
		h.jenkins.Submit(jenkinssim.Job{Name: fmt.Sprintf("long-%d", i%7), Label: []string{"gradle", "maven"}[i%2], Duration: 15 * time.Second})
	}
	h.await("nine builds in ten finish", func() bool { return h.jenkins.Stats().Finished >= builds*9/10 })
	t.Logf("%s: nine builds in ten after %s", name, time.Since(began).Round(time.Second))
	h.await("all builds finish", h.finished)
	finished := time.Since(began)
	h.await("pods and nodes are cleared away", func() bool { _, alive, _ := h.count(); return alive == 0 && h.jenkins.Stats().Nodes <= 10 })
	cleared := time.Since(began)
	h.ends(builds)

	failed := h.failed()
	h.mu.Lock()
	defer h.mu.Unlock()
	var living, failing tally
	for _, l := range h.pods {
		switch _, did := failed[l.pod.Name]; {
		case did:
			failing.add(h.bills[l.pod.Name])
		case strings.Contains(l.pod.Name, "-e-"):
			living.add(h.bills[l.pod.Name])
		}
	}
	if living.most > costLiving {
		t.Errorf("an ephemeral agent that lived cost %d calls: %v; all of them %v", living.most, living.dearest, living.verbs)
	}
	if failing.most > costFailing {
		t.Errorf("an agent that failed cost %d calls: %v", failing.most, failing.dearest)
	}
	// Agents that stay have cache slots, which count for no agent.
	stayed := len(h.pods) - living.agents - failing.agents
	all, most := 0, costLiving*living.agents+costFailing*(failing.agents+stayed)
	for what, n := range h.calls {
		if !strings.Contains(what, " leases") && !strings.Contains(what, " configmaps") && !strings.HasPrefix(what, "watch ") {
			all += n
		}
	}
	if all > most {
		t.Errorf("%d calls for %d agents: %v", all, len(h.pods), h.calls)
	}
	if living.agents != c.ephemeral {
		t.Errorf("%d ephemeral agents that lived for %d builds", living.agents, c.ephemeral)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := map[scaler.Phase]bool{}
	for pod, phase := range w.ill {
		at[phase] = true
		if _, ok := failed[pod]; !ok {
			t.Errorf("%s was made to fail (%s), and did not", pod, phase)
		}
	}
	if c.one > 0 && len(at) < len(scaler.Phases()) {
		t.Errorf("of the phases only these failed: %v", at)
	}
	return fmt.Sprintf("| %d | %.0f s | %.0f s | %.2f | %d | %.2f | %d | %d |",
		len(h.pods), finished.Seconds(), cleared.Seconds(), living.mean(), living.most, failing.mean(), failing.most, all)
}

// failed returns the class of failure of each failed agent, by name.
func (h *home) failed() map[string]scaler.Failure {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]scaler.Failure{}
	for i := range h.ticks {
		for _, f := range h.ticks[i].Facts.Failures {
			out[f.Agent] = f.Failure
		}
	}
	return out
}

// story lists the agents that were made to fail, and the agents that failed otherwise.
func (w *ward) story(failed map[string]scaler.Failure) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for pod, why := range failed {
		phase := string(w.ill[pod])
		if phase == "" {
			phase = "not made to (" + pod + ")"
		}
		out[phase+": "+string(why)]++
	}
	return fmt.Sprint(out)
}

// spent returns the requests to Kubernetes.
func (h *home) spent() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.calls)
}

// tally sums up what agents have cost.
type tally struct {
	agents, calls, most int
	verbs, dearest      map[string]int
}

func (t *tally) add(bill map[string]int) {
	if t.verbs == nil {
		t.verbs = map[string]int{}
	}
	sum := 0
	for verb, n := range bill {
		sum += n
		t.verbs[verb] += n
	}
	t.agents++
	t.calls += sum
	if sum > t.most {
		t.most, t.dearest = sum, maps.Clone(bill)
	}
}

func (t *tally) mean() float64 { return float64(t.calls) / float64(max(1, t.agents)) }

var agentIn = regexp.MustCompile(`\b[a-z]+-[ep]-[a-z0-9]{10}\b`)

// charge counts a request for its agent, by the address or, for a creation, by the body. The caller holds the
// lock.
func (h *home) charge(r *http.Request) {
	verb := verbOf(r)
	if strings.HasSuffix(verb, " events") {
		return // they tell of ticks
	}
	name := agentIn.FindString(r.URL.Path)
	if name == "" && r.Method == http.MethodPost && r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return
		}
		sent, _ := io.ReadAll(body) // from memory
		name = string(agentIn.Find(sent))
	}
	if name == "" {
		return
	}
	if h.bills[name] == nil {
		h.bills[name] = map[string]int{}
	}
	h.bills[name][verb]++
}
