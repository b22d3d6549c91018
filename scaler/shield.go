package scaler

import "time"

// FreeUnprotected is how long an agent has to be free before others may evict it.
const FreeUnprotected = 30 * time.Second

// shields has every pod under a build protected from eviction, and no other for
// long: an idle agent is nothing that a drain of its machine should wait for.
// Agents are born protected, for the build they are made for; one that no build waits
// for is born as one that has been free for long, and is protected with its first.
func (d *decider) shields() {
	for _, m := range d.pairs {
		switch {
		case m.Pod == nil || m.Pod.Requested || m.Pod.Deleting || !m.alive():
		case m.Pod.Protected:
			d.unprotect(m)
		case m.Pinned:
			d.act(Protect, m, ReasonResume, "a build wants its agent back")
		case !m.idle():
			d.act(Protect, m, ReasonBuild, "a build runs on it")
		}
	}
}

// unprotect lets others evict a pod on which nothing runs.
func (d *decider) unprotect(m *member) {
	switch {
	case d.grace:
	case m.verdict.Class == Held && m.online() && m.idle() && !m.Pinned:
		d.act(Unprotect, m, ReasonFree, "held by a person, and nothing runs on it")
	case m.verdict.Class == Free && !m.left && d.in.Now.Sub(m.is.Free) >= FreeUnprotected:
		d.act(Unprotect, m, ReasonFree, "free for over "+short(FreeUnprotected))
	}
}
