package control

import (
	"crypto/rand"
	"maps"
	"sync"
	"time"

	"bellboard/scaler"
)

// names is what this process knows of names: nothing in it is needed again
// after a restart.
type names struct {
	mu      sync.Mutex
	berths  map[string]bool   // registered by this process, their pod never created
	secrets map[string]bool   // pods whose Secret is known to exist
	vain    map[string]vain   // pods whose Secret could not be made
	words   map[string]string // agents' secrets that were read in advance
	heard   map[string]string // pods' last words, that are read once
}

// vain is a try that failed.
type vain struct {
	at      time.Time
	failure scaler.Failure
	text    string
}

func newNames() *names {
	return &names{berths: map[string]bool{}, secrets: map[string]bool{}, vain: map[string]vain{}, words: map[string]string{}, heard: map[string]string{}}
}

// seen forgets the names that are neither a node nor a pod any more. What was heard of
// agents at work is kept until their builds have been counted as lost.
func (n *names) seen(j scaler.JenkinsView, c scaler.ClusterView, agents map[string]scaler.AgentMemory) {
	there := make(map[string]bool, len(j.Nodes)+len(c.Pods))
	for i := range j.Nodes {
		there[j.Nodes[i].Name] = true
	}
	for i := range c.Pods {
		there[c.Pods[i].Name] = true
	}
	for _, m := range []map[string]bool{n.berths, n.secrets} {
		maps.DeleteFunc(m, func(name string, _ bool) bool { return !there[name] })
	}
	maps.DeleteFunc(n.words, func(name, _ string) bool { return !there[name] })
	maps.DeleteFunc(n.heard, func(name, _ string) bool { return !there[name] && !agents[name].Work.On })
	maps.DeleteFunc(n.vain, func(name string, _ vain) bool { return !there[name] })
}

func (n *names) set(m map[string]bool, name string, to bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if to {
		m[name] = true
	} else {
		delete(m, name)
	}
}

// settled is the pods whose Secret is not to be made now: it is there, or it
// could not be made a moment ago.
func (n *names) settled(now time.Time) map[string]bool {
	out := maps.Clone(n.secrets)
	for name, v := range n.vain {
		if now.Sub(v.at) < secretPause {
			out[name] = true
		}
	}
	return out
}

// blame says of each pod that waits for its Secret why there is none: Kubernetes
// does not, it only waits.
func (n *names) blame(pods []scaler.Pod) {
	for i := range pods {
		p := &pods[i]
		if v, ok := n.vain[p.Name]; ok && p.Trouble == "" && !p.Connected {
			p.Trouble, p.TroubleText, p.Failure = "NoSecret", v.text, v.failure
		}
	}
}

// inVain notes why a pod has no Secret, which is tried again after a pause.
func (n *names) inVain(name string, err error, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.vain[name] = vain{at: now, failure: scaler.FailureIn(err), text: err.Error()}
}

// randomName is ten characters of [a-z0-9], so that no name is ever used twice.
func randomName() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	var raw [20]byte
	out := make([]byte, 0, 10)
	for len(out) < 10 {
		_, _ = rand.Read(raw[:]) // documented never to fail
		for _, b := range raw {
			// 252 is the largest multiple of 36 in a byte: above it some letters would be likelier.
			if len(out) < 10 && b < 252 {
				out = append(out, alphabet[b%36])
			}
		}
	}
	return string(out)
}
