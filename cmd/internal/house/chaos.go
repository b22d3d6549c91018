package house

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler/clock"
)

// keepOpen is the port of the page. It stays open when a daemon ends.
type keepOpen struct{ net.Listener }

// Close ends the Accept of this daemon, and leaves the port open for the next daemon.
func (k keepOpen) Close() error {
	if t, ok := k.Listener.(*net.TCPListener); ok {
		return t.SetDeadline(time.Unix(1, 0))
	}
	return nil
}

// seconds returns a random time between two numbers of seconds.
func (h *House) seconds(from, to float64) time.Duration {
	return time.Duration((from + h.float()*(to-from)) * float64(time.Second))
}

func (h *House) float() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rng.Float64()
}

func (h *House) intn(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rng.IntN(n)
}

// Trouble is a kind of thing that the chaos does.
type Trouble string

// Everything that the chaos does.
const (
	JenkinsRestarts   Trouble = "Jenkins restarts"
	SafeRestart       Trouble = "a person restarts Jenkins safely"
	SafeWithoutHook   Trouble = "a person restarts Jenkins safely without the hook"
	BellboardRestarts Trouble = "Bellboard restarts"
	BothRestart       Trouble = "Jenkins and Bellboard restart"
	AgentSilent       Trouble = "an agent falls silent"
	PodDeleted        Trouble = "somebody deletes a pod"
	PodDies           Trouble = "a pod dies"
	PodDisrupted      Trouble = "a pod is to be disrupted"
	ClusterAway       Trouble = "the API server is away"
	ProxyAnswers      Trouble = "a proxy answers for Jenkins"
	NodeDeleted       Trouble = "a person deletes the Jenkins node of a connected agent"
	NodesReloaded     Trouble = "a reload of Jenkins' configuration deletes nodes"
	PersonMarks       Trouble = "a person marks an agent"
	PersonUnmarks     Trouble = "a person clears that mark"
	PersonTakesBack   Trouble = "a person takes an agent back and builds on it"
	MarkAltered       Trouble = "Jenkins returns another text of a mark than was set"
	MarkHidden        Trouble = "a lost connection takes the place of a mark"
)

// Troubles lists every trouble.
func Troubles() []Trouble {
	return []Trouble{
		JenkinsRestarts, SafeRestart, SafeWithoutHook, BellboardRestarts, BothRestart, AgentSilent, PodDeleted, PodDies, PodDisrupted,
		ClusterAway, ProxyAnswers, NodeDeleted, NodesReloaded, PersonMarks, PersonUnmarks, PersonTakesBack, MarkAltered, MarkHidden,
	}
}

// happened counts a trouble.
func (h *House) happened(t Trouble) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tally.troubles[t]++
}

// chaos breaks something every few minutes until ctx ends, and changes settings once after noon. The steps
// are shuffled, and each comes as often as its number says before all are shuffled again.
func (h *House) chaos(ctx context.Context, noon time.Time) {
	steps := []struct {
		times int
		do    func(context.Context)
	}{
		{3, h.restartJenkins},
		{2, h.restartSafely},
		{3, h.restartBellboard},
		{2, h.restartBoth},
		{2, h.silence},
		{2, h.deletePod},
		{1, h.killPod},
		{1, h.disrupt},
		{1, h.cutCluster},
		{1, h.proxyError},
		{2, h.deleteNode},
		{1, h.reload},
		{2, h.personMarks},
	}
	var cards, left []func(context.Context)
	for _, s := range steps {
		cards = append(cards, slices.Repeat([]func(context.Context){s.do}, s.times)...)
	}
	changes := h.cfg.Noon
	for clock.Sleep(ctx, h.clock, h.seconds(30, h.cfg.Gap.Seconds())) == nil {
		if len(changes) > 0 && h.clock.Now().After(noon) {
			h.change(ctx, changes)
			changes = nil
			continue
		}
		if len(left) == 0 {
			left = slices.Clone(cards)
		}
		i := h.intn(len(left))
		do := left[i]
		left = slices.Delete(left, i, i+1)
		do(ctx)
	}
	h.Jenkins.Fault(nil)
}

// downtime returns the times of a restart of Jenkins.
func (h *House) downtime() jenkinssim.Restart {
	return jenkinssim.Restart{Down: h.seconds(2, 30), Loading: h.seconds(2, 20), Unauthorized: h.seconds(0.2, 1.5)}
}

func (h *House) restartJenkins(context.Context) {
	h.happened(JenkinsRestarts)
	r := h.downtime()
	h.cfg.Say(fmt.Sprintf("Jenkins restarts (down for %s)", (r.Down + r.Loading).Round(time.Second)))
	h.Jenkins.Restart(r)
}

// restartSafely restarts Jenkins as a person does it, when no build runs that a restart ends. Without the
// hook the person does as docs/hook.md says: prepare for shutdown, and wait for some seconds. In that time
// Bellboard polls Jenkins, and clears its marks on busy agents.
func (h *House) restartSafely(ctx context.Context) {
	what := SafeRestart
	if !h.cfg.Hook {
		what = SafeWithoutHook
		h.cfg.Say("a person prepares Jenkins for a safe restart")
		h.Jenkins.QuietDown(true)
		enough := h.looks() + 3
		err := h.until(context.WithoutCancel(ctx), 5*time.Minute, func() bool { return h.looks() >= enough })
		if err != nil { // Bellboard cannot read Jenkins: the person gives up
			h.Jenkins.QuietDown(false)
			return
		}
	}
	h.happened(what)
	h.cfg.Say(string(what))
	h.Jenkins.SafeRestart(h.downtime())
}

// looks returns the number of ticks that were no hold.
func (h *House) looks() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tally.ticks - h.tally.holds
}

// ours is the beginning of Bellboard's own marks.
const ours = "bellboard("

func (h *House) restartBellboard(ctx context.Context) {
	h.happened(BellboardRestarts)
	down := h.seconds(0, 60)
	h.cfg.Say(fmt.Sprintf("Bellboard is killed (back in %s)", down.Round(time.Second)))
	h.daemon.kill()
	_ = clock.Sleep(context.WithoutCancel(ctx), h.clock, down)
	h.restarted(ctx)
}

// change restarts Bellboard with other settings.
func (h *House) change(ctx context.Context, settings []string) {
	h.cfg.Say(fmt.Sprintf("Bellboard gets %v", settings))
	h.daemon.kill()
	if err := h.set(slices.Concat(h.env, settings)); err != nil {
		panic("the settings were loaded before: " + err.Error())
	}
	h.restarted(ctx)
}

func (h *House) restarted(ctx context.Context) {
	if err := h.start(ctx); err != nil {
		panic("the daemon started before with the same settings: " + err.Error())
	}
}

// restartBoth restarts Jenkins and Bellboard. Bellboard is away for less than four minutes of the grace,
// which is five.
func (h *House) restartBoth(ctx context.Context) {
	h.happened(BothRestart)
	h.cfg.Say("Bellboard and Jenkins restart together")
	if h.intn(2) == 0 {
		h.restartJenkins(ctx)
		_ = clock.Sleep(context.WithoutCancel(ctx), h.clock, h.seconds(0, 50))
	} else {
		h.daemon.kill()
		_ = clock.Sleep(context.WithoutCancel(ctx), h.clock, h.seconds(0, 5))
		h.restartJenkins(ctx)
		_ = clock.Sleep(context.WithoutCancel(ctx), h.clock, h.seconds(0, 120))
		h.restarted(ctx)
		return
	}
	h.daemon.kill()
	_ = clock.Sleep(context.WithoutCancel(ctx), h.clock, h.seconds(0, 90))
	h.restarted(ctx)
}

// victim returns a random living pod.
func (h *House) victim() *corev1.Pod {
	pods := h.Cluster.Pods()
	if len(pods) == 0 {
		return nil
	}
	return &pods[h.intn(len(pods))]
}

func (h *House) silence(context.Context) {
	if p := h.victim(); p != nil && h.agents.freeze(p.Name) {
		h.happened(AgentSilent)
		h.cfg.Say(p.Name + " falls silent")
	}
}

func (h *House) deletePod(context.Context) {
	if p := h.victim(); p != nil {
		h.happened(PodDeleted)
		h.cfg.Say(p.Name + " is deleted by somebody else")
		h.Cluster.Delete(p.Namespace, p.Name, "chaos", h.seconds(10, 600).Round(time.Second))
	}
}

func (h *House) killPod(context.Context) {
	if p := h.victim(); p != nil {
		h.happened(PodDies)
		h.cfg.Say(p.Name + " dies with its node")
		h.Cluster.Kill(p.Namespace, p.Name, "chaos")
	}
}

func (h *House) disrupt(context.Context) {
	if p := h.victim(); p != nil {
		h.happened(PodDisrupted)
		h.cfg.Say(p.Name + " is about to be disrupted")
		h.Cluster.Disrupt(p.Namespace, p.Name)
	}
}

func (h *House) cutCluster(context.Context) {
	h.happened(ClusterAway)
	d := h.seconds(1, 60)
	h.cfg.Say(fmt.Sprintf("the API server is away for %s", d.Round(time.Second)))
	h.Cluster.Cut(d)
}

// proxyError lets a proxy answer instead of Jenkins.
func (h *House) proxyError(context.Context) {
	h.happened(ProxyAnswers)
	h.cfg.Say("a proxy answers for Jenkins")
	kind := h.intn(4)
	h.Jenkins.Fault(proxyAnswer(kind))
	h.clock.AfterFunc(h.seconds(2, 40), func() { h.Jenkins.Fault(nil) })
}

// connected returns a random agent that is connected to Jenkins; "": none.
func (h *House) connected() string {
	nodes := slices.DeleteFunc(h.Jenkins.NodesList(), func(n jenkinssim.NodeInfo) bool { return !n.Online || n.Lingering })
	if len(nodes) == 0 {
		return ""
	}
	return nodes[h.intn(len(nodes))].Name
}

// deleteNode deletes a Jenkins node as a person does it. The agent's pod stays.
func (h *House) deleteNode(context.Context) {
	if name := h.connected(); name != "" && h.Jenkins.PersonDelete(name) {
		h.happened(NodeDeleted)
		h.cfg.Say("a person deletes the Jenkins node " + name)
	}
}

// reload reloads a configuration (JCasC) that has nodes, by a plugin before version 2080.
func (h *House) reload(context.Context) { h.reloadBy(false) }

// reloadBy reloads a configuration (JCasC) that has nodes: Jenkins deletes all other Jenkins nodes except those
// of Swarm clients. A newer plugin keeps the nodes that ask for that.
func (h *House) reloadBy(newer bool) {
	n := 0
	for _, node := range h.Jenkins.NodesList() {
		if !node.Swarm && !node.Lingering && (!newer || !node.Kept) && h.Jenkins.PersonDelete(node.Name) && node.Online {
			n++
		}
	}
	if h.cfg.Say(fmt.Sprintf("a reload deletes the Jenkins nodes of %d connected agents, and all berths", n)); n > 0 {
		h.happened(NodesReloaded)
	}
}

// personMarks takes an agent offline as a person does it, with a text that Jenkins returns escaped and cut.
// After some minutes the person brings the agent back online.
func (h *House) personMarks(context.Context) {
	name := h.connected()
	if name == "" || !h.Jenkins.PersonOffline(name, "disk \"<full>\" & slow : it's looked at") {
		return
	}
	h.happened(PersonMarks)
	h.cfg.Say("a person marks " + name)
	h.clock.AfterFunc(h.seconds(10, 500), func() {
		for _, n := range h.Jenkins.NodesList() {
			if n.Name == name && strings.HasPrefix(n.Marked, "disk") && h.Jenkins.PersonOnline(name) {
				h.happened(PersonUnmarks)
				h.cfg.Say("the person clears the mark of " + name)
			}
		}
	})
}

// nap returns the time for which the process stops between Jenkins' answers and its writes. Mostly the time
// is zero, or less than the second in which a write may still be sent. Sometimes it is longer, and then a
// person takes back an agent that Bellboard is about to remove.
func (h *House) nap() time.Duration {
	h.mu.Lock()
	n, share := h.naps.IntN(1000), h.naps.Float64()
	h.mu.Unlock()
	between := func(from, to float64) time.Duration {
		return time.Duration((from + share*(to-from)) * float64(time.Second))
	}
	switch {
	case n < 25 && h.takeBack(between(20, 90)):
		return between(2, 8)
	case n < 300:
		return between(0, 0.9)
	}
	return 0
}

// takeBack brings a Jenkins node back online that Bellboard is about to remove, and starts a build on it, as
// a person does it. takeBack does nothing in the second in which a write may be sent, or while the pod's
// deletion is under way: nothing could save that build.
func (h *House) takeBack(build time.Duration) bool {
	going := map[string]bool{}
	for _, p := range h.Cluster.Pods() {
		going[p.Name] = p.DeletionTimestamp != nil
	}
	for _, n := range h.Jenkins.NodesList() {
		if deleted, there := going[n.Name]; there && !deleted && n.Online && n.Busy == 0 && strings.HasPrefix(n.Marked, ours) {
			h.happened(PersonTakesBack)
			h.cfg.Say("a person takes " + n.Name + " back and builds on it")
			h.Jenkins.PersonOnline(n.Name)
			id := h.Jenkins.Submit(jenkinssim.Job{Name: "by-hand", Label: n.Name, Duration: build})
			// If the Jenkins node goes for another reason, the build does not wait for ever.
			h.clock.AfterFunc(10*time.Minute, func() { h.Jenkins.Cancel(id) })
			return true
		}
	}
	return false
}
