package control

import (
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"bellboard/scaler"
)

// secretPause is how long a Secret that could not be made is not tried again.
const secretPause = 10 * time.Second

// process is what only this process knows of agents, by name. A new process needs none of it.
type process struct {
	mu     sync.Mutex
	agents map[string]known
}

// known is what this process knows of one agent.
type known struct {
	berth     bool         // this process has registered its Jenkins node, and never created its pod
	hasSecret bool         // its pod's Secret exists
	secret    string       // the secret with which it connects, read in advance; "": not read
	failed    failedSecret // why its pod has no Secret
	log       string       // the last lines of its pod's log
	logRead   bool         // those lines were asked for, which is done once
}

// failedSecret is a Secret that could not be made.
type failedSecret struct {
	at      time.Time // zero: none failed
	failure scaler.Failure
	text    string
}

func newProcess() *process { return &process{agents: map[string]known{}} }

// of returns what is known of an agent.
func (p *process) of(name string) known {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agents[name]
}

// set changes what is known of an agent.
func (p *process) set(name string, change func(*known)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.agents[name]
	change(&k)
	p.agents[name] = k
}

// seen forgets the names that are neither a Jenkins node nor a pod any more. The log of an agent at work is
// kept until its builds have been counted as lost.
func (p *process) seen(j scaler.JenkinsView, c scaler.ClusterView, m *scaler.Memory) {
	there := make(map[string]bool, len(j.Nodes)+len(c.Pods))
	for i := range j.Nodes {
		there[j.Nodes[i].Name] = true
	}
	for i := range c.Pods {
		there[c.Pods[i].Name] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.agents, func(name string, _ known) bool { return !there[name] && !m.Agent(name).Work.On })
	for name, k := range p.agents {
		if !there[name] {
			p.agents[name] = known{log: k.log, logRead: k.logRead}
		}
	}
}

// input returns the berths, and the pods whose Secret is not to be made now: the Secret is there, or could
// not be made a moment ago.
func (p *process) input(now time.Time) (berths, secrets map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	berths, secrets = map[string]bool{}, map[string]bool{}
	for name, k := range p.agents {
		if k.berth {
			berths[name] = true
		}
		if k.hasSecret || !k.failed.at.IsZero() && now.Sub(k.failed.at) < secretPause {
			secrets[name] = true
		}
	}
	return berths, secrets
}

// explained returns the pods. A pod that waits for its Secret gets the reason why there is none: Kubernetes
// does not say the reason, Kubernetes only waits.
func (p *process) explained(pods []scaler.Pod) []scaler.Pod {
	out := slices.Clone(pods)
	for i := range out {
		pod := &out[i]
		if f := p.of(pod.Name).failed; !f.at.IsZero() && pod.Trouble == "" && !pod.Connected {
			pod.Trouble, pod.TroubleText, pod.Failure = "NoSecret", f.text, f.failure
		}
	}
	return out
}

// secretFailed notes why a pod has no Secret, which is tried again after a pause.
func (p *process) secretFailed(name string, err error, now time.Time) {
	p.set(name, func(k *known) { k.failed = failedSecret{at: now, failure: scaler.FailureIn(err), text: err.Error()} })
}

// randomName returns ten random characters of [a-z2-7]: fifty bits, so that no name is ever used twice.
func randomName() string { return strings.ToLower(rand.Text()[:10]) }
