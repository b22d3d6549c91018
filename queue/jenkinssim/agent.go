package jenkinssim

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// These are the answers to an agent that may not connect.
var (
	ErrNoNode           = errors.New("no such agent")
	ErrBadSecret        = errors.New("wrong secret")
	ErrAlreadyConnected = errors.New("is already connected to this controller")
	ErrDown             = errors.New("jenkins is down")
	// ErrNameTaken is Swarm's 409.
	ErrNameTaken = errors.New("already exists")
)

// Channel is the connection of one agent process.
type Channel struct {
	j        *Jenkins
	node     *node
	host     string
	done     chan struct{}
	ended    bool
	frozen   bool
	frozenBy string
}

// Connect is an agent process connecting to its node. host names the machine
// or pod instance it runs on: a pipeline's processes survive only there.
func (j *Jenkins) Connect(name, secret, host string) (*Channel, error) {
	j.enter()
	defer j.leave()
	if j.closed || j.phase != up {
		return nil, ErrDown
	}
	n := j.registered(name)
	if n == nil {
		return nil, fmt.Errorf("%q: %w", name, ErrNoNode)
	}
	if !hmac.Equal([]byte(secret), []byte(j.Secret(name))) {
		return nil, fmt.Errorf("%q: %w", name, ErrBadSecret)
	}
	if n.ch != nil {
		return nil, fmt.Errorf("%q %w", name, ErrAlreadyConnected)
	}
	c := &Channel{j: j, node: n, host: host, done: make(chan struct{})}
	n.ch = c
	n.lost = mark{}
	n.recallMark()
	n.fresh = true
	j.regain(n, c)
	j.changed()
	j.kick()
	return c, nil
}

// takenError is the plugin's refusal in its own words.
type takenError struct{ name string }

func (e takenError) Error() string { return fmt.Sprintf("Agent %q already exists.", e.name) }
func (e takenError) Unwrap() error { return ErrNameTaken }

// SwarmAgent is what a Swarm client says of itself.
type SwarmAgent struct {
	Name, Description, Labels string
	Executors                 int
	Exclusive                 bool
}

// CreateSwarm is the Swarm client's first call: it makes the node that the
// client then connects to. A Swarm node that is offline may be taken over; any
// other node of that name is refused with ErrNameTaken.
func (j *Jenkins) CreateSwarm(a SwarmAgent) (secret string, err error) {
	j.enter()
	defer j.leave()
	if j.closed || j.phase != up {
		return "", ErrDown
	}
	return j.createSwarm(a)
}

func (j *Jenkins) createSwarm(a SwarmAgent) (secret string, err error) {
	if n := j.registered(a.Name); n != nil && (n.class != classSwarm || n.ch != nil) {
		return "", takenError{a.Name}
	}
	r := restNode{
		name: a.Name, description: "Swarm agent from 127.0.0.1: " + a.Description, labels: "swarm " + a.Labels,
		remoteFS: "/home/jenkins/agent/" + a.Name, mode: modeNormal, executors: a.Executors, webSocket: true,
	}
	if a.Exclusive {
		r.mode = modeExclusive
	}
	j.register(r, classSwarm, byAgent)
	return j.Secret(a.Name), nil
}

// createSwarm is the same call as the client makes it, over HTTP.
func (v *visit) createSwarm() reply {
	for _, permission := range [...]string{permCreate, permConnect} {
		if a, no := v.denied(permission); no {
			return a
		}
	}
	if a, no := v.postOnly(); no {
		return a
	}
	name := v.r.FormValue("name")
	if hash := v.r.FormValue("hash"); hash != "" {
		name += "-" + hash
	}
	executors, _ := strconv.Atoi(v.r.FormValue("executors"))
	secret, err := v.j.createSwarm(SwarmAgent{
		Name: name, Description: v.r.FormValue("description"), Labels: v.r.FormValue("labels"),
		Executors: executors, Exclusive: v.r.FormValue("mode") == modeExclusive,
	})
	h := http.Header{"Content-Type": {"text/plain;charset=iso-8859-1"}}
	if err != nil {
		return reply{http.StatusConflict, h, []byte(err.Error() + "\n")}
	}
	return reply{http.StatusOK, h, []byte("name=" + name + "\nsecret=" + secret + "\n")}
}

// Done is closed when the connection is over: the node was deleted or
// disconnected, Jenkins went down, or the agent itself was closed.
func (c *Channel) Done() <-chan struct{} { return c.done }

// end closes Done, once.
func (c *Channel) end() {
	if !c.ended {
		c.ended = true
		close(c.done)
	}
}

// Close is the end of the agent's process, by SIGTERM or SIGKILL: Jenkins sees
// it at once. by says whose doing it was, for the accounts: "bellboard", or
// anything else. It counts also when the controller had ended the connection
// before, for then the process was still there.
func (c *Channel) Close(by string) {
	j := c.j
	j.enter()
	defer j.leave()
	if j.closed {
		return
	}
	j.hostGone(c, by)
	if c.node.ch == c {
		j.cut(c.node, by, false)
	}
	c.end()
}

// Freeze is a machine that falls silent and never speaks again: the node stays
// online, and busy if it was, until Jenkins' pings fail after nine minutes.
func (c *Channel) Freeze(by string) {
	j := c.j
	j.enter()
	defer j.leave()
	if j.closed || c.frozen {
		return
	}
	j.hostGone(c, by)
	if c.ended {
		return
	}
	c.frozen, c.frozenBy = true, by
	for _, s := range c.node.slots {
		if c.node.ch == c && s.build != nil {
			s.build.ending.cancel()
			s.build.ending = nil
		}
	}
	j.after(silence, func() {
		if c.node.ch == c {
			j.cut(c.node, by, false)
		}
	})
}

// hostGone notes on the builds of a channel that their machine is no more.
func (j *Jenkins) hostGone(c *Channel, by string) {
	now := j.clk.Now()
	for _, b := range j.alive {
		if b.ch == c && b.begun && b.hostBy == "" {
			b.hostBy, b.hostAt = orNobody(by), now
		}
	}
}

// cut takes the channel from a node, with all that follows. A Swarm node goes
// with its client, unless a pipeline is on it.
func (j *Jenkins) cut(n *node, by string, deleted bool) {
	c := n.ch
	n.ch = nil
	n.lost = mark{class: causeTermination, text: textBroken, at: j.clk.Now()}
	c.end()
	j.changed()
	wait := nodeWait
	if n.class == classSwarm && !deleted {
		wait = swarmWait
	}
	j.cutBuilds(n, by, wait)
	if n.class == classSwarm && !n.lingering && n.busy() == 0 {
		j.remove(n, by)
	}
	j.kick()
}
