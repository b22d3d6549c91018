package house

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler/clock"
)

// unknown is the time for which Jenkins' resolver remembers that a name does not exist.
const unknown = 15 * time.Second

// plugin is Jenkins' plugin that calls agents. It launches an agent on demand. It finds the pod by the name
// of its host, if the pod runs and DNS knows the name.
type plugin struct {
	h        *House
	launched map[string]int // by agent: how often that was asked for
	first    map[string]time.Time
	found    int
}

func (p *plugin) launch(_, host string) {
	name, _, _ := strings.Cut(host, ".")
	p.h.mu.Lock()
	p.launched[name]++
	if p.launched[name] == 1 {
		p.first[name] = time.Now()
	}
	known := time.Since(p.first[name]) >= unknown
	p.h.mu.Unlock()
	p.h.agents.mu.Lock()
	agent := p.h.agents.byName[name]
	p.h.agents.mu.Unlock()
	if agent != nil && known {
		p.call(agent)
	}
}

// call connects the agent of a pod to its Jenkins node.
func (p *plugin) call(agent *process) {
	agent.mu.Lock()
	defer agent.mu.Unlock()
	name := agent.pod.Name
	if agent.over || agent.ch != nil {
		return
	}
	ch, err := p.h.Jenkins.Connect(name, p.h.Jenkins.Secret(name), string(agent.pod.UID))
	if err != nil {
		return
	}
	agent.ch = ch
	p.h.mu.Lock()
	p.found++
	p.h.mu.Unlock()
}

// TestSSH checks that Bellboard launches agents with CONNECT=ssh when their pods run, and that each agent
// takes a build and goes.
func TestSSH(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const builds = 6
		h, err := New(t.Context(), Config{Clock: clock.Real(), Seed: 5, Loads: []Load{}, Environ: []string{
			"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_TEAM_WEB_CONNECT=ssh",
			"BELLBOARD_SSH_SECRET=" + swarmSecret, // the one that a person has made
			"BELLBOARD_SSH_HOST_KEY=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		p := &plugin{h: h, launched: map[string]int{}, first: map[string]time.Time{}}
		h.Jenkins.Caller(p.launch)
		d, err := h.make(nil)
		if err != nil {
			t.Fatal(err)
		}
		h.run(t.Context(), d)
		time.Sleep(10 * time.Minute) // berths are older than what Jenkins tries by itself
		for range builds {
			h.Jenkins.Submit(jenkinssim.Job{Name: "app", Label: "linux", Duration: time.Minute})
		}
		s, err := h.evening(t.Context())
		if err != nil {
			t.Errorf("the builds did not end: %v", err)
		}
		if s.BuildsFinished != builds || s.BuildsKilled+s.BuildsLost+s.OrphansLeft > 0 || p.found != builds {
			t.Errorf("of %d builds %d finished on %d agents, %d were killed, %d lost; left %v; %v", builds, s.BuildsFinished, p.found, s.BuildsKilled, s.BuildsLost, s.Left, p.launched)
		}
		if n := h.Cluster.Created()["secrets"]; n != 1 {
			t.Errorf("%d Secrets were made, want that person's alone", n)
		}
		for name, n := range p.launched {
			if n != 3 { // at once, and every ten seconds until its name is known
				t.Errorf("Jenkins was asked to call %s %d times", name, n)
			}
		}
	})
}
