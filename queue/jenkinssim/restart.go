package jenkinssim

import (
	"slices"
	"time"
)

// phase is what a visitor finds.
type phase int

const (
	up           phase = iota
	leaving            // 503 and a page: the last moments before a safe restart
	down               // connection refused
	loading            // 503 and a page
	unauthorized       // 401 to valid tokens
)

// secondLoading is how long the 503 returns after the 401.
const secondLoading = time.Second

// Restart says how long each part of a restart takes. The zero value is a
// restart that nobody outside could time.
type Restart struct {
	// Down is the time of refused connections, Loading that of 503 pages,
	// Unauthorized that of 401 for valid tokens, which one more second of 503
	// follows.
	Down, Loading, Unauthorized time.Duration
	// Slow is how long a Jenkins that starts takes for each of its refusals.
	Slow time.Duration
}

// Hang lets nothing be answered for so long: connections are taken and kept, and who
// still waits at its end is answered then.
func (j *Jenkins) Hang(d time.Duration) {
	j.enter()
	defer j.leave()
	thawed := make(chan struct{})
	j.hung = thawed
	j.after(d, func() { close(thawed) })
}

// Restart ends Jenkins and starts it again. Agents lose their channels,
// freestyle builds die, Swarm nodes vanish; nodes, marks and the queue stay.
// Half a second after the first good answer the pipelines that ran on agents
// are queued again, each pinned to its node.
func (j *Jenkins) Restart(r Restart) {
	j.enter()
	defer j.leave()
	if !j.closed {
		j.restart(r, false)
	}
}

// SafeRestart quiets Jenkins down and restarts it as soon as no build blocks that,
// as Jenkins' own safe restart does. Once a second it asks the executors of all nodes
// that are online, which a marked node is not. Freestyle builds block, and items that
// an executor has been given; pipelines do not. The hook asks marked nodes too. Then
// Jenkins answers 503 for ten seconds and goes; builds that still run end by that as
// by any restart. QuietDown(false) before that cancels it.
func (j *Jenkins) SafeRestart(r Restart) {
	j.enter()
	defer j.leave()
	if j.closed || j.phase != up {
		return
	}
	j.quieting = true
	j.changed()
	j.askRestart(j.boot, r)
}

func (j *Jenkins) askRestart(boot int, r Restart) {
	switch {
	case j.boot != boot || !j.quieting:
	case j.blocked():
		j.after(restartAsks, func() { j.askRestart(boot, r) })
	default:
		j.phase = leaving
		j.after(restartPause, func() {
			if j.boot == boot {
				j.restart(r, true)
			}
		})
	}
}

// blocked reports whether a build keeps a safe restart waiting.
func (j *Jenkins) blocked() bool {
	for _, n := range j.computers {
		if n.offline() && (n.ch == nil || !j.hookMinds(n)) {
			continue
		}
		for _, s := range n.slots {
			if s.item != nil || s.build != nil && !s.build.Job.Pipeline {
				return true
			}
		}
	}
	return false
}

// restart ends Jenkins and starts it again.
func (j *Jenkins) restart(r Restart, safe bool) {
	j.stats.Restarts++
	j.boot++
	boot := j.boot
	j.phase, j.slow = down, r.Slow
	j.kicked = false
	j.nextCheck.cancel()
	j.nextCheck = nil
	j.quieting = false
	for _, n := range j.computers {
		j.release(n)
	}
	j.away(safe)
	for _, n := range slices.Clone(j.computers) {
		if n == j.builtIn {
			continue
		}
		if n.ch != nil {
			n.ch.end()
			n.ch = nil
		}
		n.lost = mark{}
		j.hookForgets(n)
		if n.class == classSwarm {
			n.lingering = true
		}
		j.dropIfGone(n)
	}
	j.forgetMarks()
	j.changed()
	at := func(d time.Duration, do func()) {
		j.after(d, func() {
			if j.boot == boot {
				do()
			}
		})
	}
	d := r.Down
	at(d, func() { j.phase = loading })
	d += r.Loading
	if r.Unauthorized > 0 {
		at(d, func() { j.phase = unauthorized })
		d += r.Unauthorized
		at(d, func() { j.phase = loading })
		d += secondLoading
	}
	at(d, j.comeUp)
}

// comeUp is the first moment of good answers.
func (j *Jenkins) comeUp() {
	j.phase = up
	j.newSession()
	boot, now := j.boot, j.clk.Now()
	j.after(resumeDelay, func() {
		if j.boot == boot && j.phase == up {
			j.resume(now)
		}
	})
	j.changed()
	j.kick()
}
