package jenkinssim

import (
	"slices"
	"time"
)

// phase is how Jenkins answers.
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

// Restart says how long each part of a restart takes.
type Restart struct {
	// Down is the time of refused connections, Loading the time of 503 pages, and
	// Unauthorized the time of 401 for valid tokens. One more second of 503 follows the 401.
	Down, Loading, Unauthorized time.Duration
	// Slow is how long a starting Jenkins takes for each refusal.
	Slow time.Duration
}

// Hang lets Jenkins answer nothing for so long. Jenkins takes connections and keeps them. At
// the end Jenkins answers the requests that still wait.
func (j *Jenkins) Hang(d time.Duration) {
	j.enter()
	defer j.leave()
	thawed := make(chan struct{})
	j.hung = thawed
	j.after(d, func() { close(thawed) })
}

// Restart ends Jenkins and starts it again. Agents lose their channels, projects' builds
// die, and Swarm nodes vanish. Other nodes, marks and the queue stay. Half a second after
// the first good answer the pipelines that ran on agents are queued again, each pinned to
// its node.
func (j *Jenkins) Restart(r Restart) {
	j.enter()
	defer j.leave()
	if !j.closed {
		j.restart(r, false)
	}
}

// SafeRestart quiets Jenkins down and restarts Jenkins as soon as no build blocks that. Once
// a second Jenkins asks the executors of all online nodes, and the hook asks marked nodes
// too. A project's build blocks, and an item that an executor has. A pipeline does not
// block. Then Jenkins answers 503 for ten seconds and goes, and builds that still run end as
// by any restart. QuietDown(false) before that cancels the restart.
func (j *Jenkins) SafeRestart(r Restart) {
	j.enter()
	defer j.leave()
	if j.closed || j.phase != up {
		return
	}
	j.quieting = true
	j.changed()
	j.askRestart(r)
}

func (j *Jenkins) askRestart(r Restart) {
	switch {
	case !j.quieting:
	case j.blocked():
		j.later(restartAsks, func() { j.askRestart(r) })
	default:
		j.phase = leaving
		j.later(restartPause, func() { j.restart(r, true) })
	}
}

// later makes do happen when d has passed, unless Jenkins restarts before.
func (j *Jenkins) later(d time.Duration, do func()) {
	boot := j.boot
	j.after(d, func() {
		if j.boot == boot {
			do()
		}
	})
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
	j.phase, j.slow = down, r.Slow
	j.kicked = false
	j.nextCheck.cancel()
	j.quieting = false
	for _, n := range j.computers {
		j.release(n)
	}
	j.away(safe)
	for _, n := range slices.Clone(j.computers[1:]) {
		if n.ch != nil {
			n.ch.end()
			n.ch = nil
		}
		n.lost = mark{}
		n.closing = j.hookKnows(n.mark) // the hook knows only the marks that the nodes keep
		if n.class == classSwarm {
			n.lingering = true
		}
		j.dropIfGone(n)
	}
	j.forgetMarks()
	j.changed()
	d := r.Down
	j.later(d, func() { j.phase = loading })
	d += r.Loading
	if r.Unauthorized > 0 {
		j.later(d, func() { j.phase = unauthorized })
		d += r.Unauthorized
		j.later(d, func() { j.phase = loading })
		d += secondLoading
	}
	j.later(d, j.comeUp)
}

// comeUp is the first moment of good answers.
func (j *Jenkins) comeUp() {
	j.phase = up
	j.newSession()
	now := j.clk.Now()
	j.later(resumeDelay, func() {
		if j.phase == up {
			j.resume(now)
		}
	})
	j.kick()
}
