package jenkinssim

import (
	"cmp"
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

// Connect connects an agent process to its Jenkins node. host names the machine or the pod
// of the process: the processes of a pipeline survive only there.
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
	j.kick()
	return c, nil
}

// SwarmAgent is what a Swarm client says of itself.
type SwarmAgent struct {
	Name, Description, Labels string
	Executors                 int
	Exclusive                 bool
}

// CreateSwarm is the Swarm client's first call: it makes the Jenkins node to which the
// client then connects. A client may take over a Swarm node that is offline. Any other
// node of that name is in the way.
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
		return "", errors.New("Agent " + strconv.Quote(a.Name) + " already exists.") // the plugin's own words
	}
	j.register(settings{
		name: a.Name, description: "Swarm agent from 127.0.0.1: " + a.Description, labelString: "swarm " + a.Labels,
		remoteFS: "/home/jenkins/agent/" + a.Name, mode: modeOf(a.Exclusive), executors: a.Executors, webSocket: true,
	}, classSwarm, byAgent)
	return j.Secret(a.Name), nil
}

// createSwarm is the same call over HTTP, as the client makes it.
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
	const text = "text/plain;charset=iso-8859-1"
	if err != nil {
		return bare(http.StatusConflict, text, err.Error()+"\n")
	}
	return bare(http.StatusOK, text, "name="+name+"\nsecret="+secret+"\n")
}

// Done is closed when the connection is over: the node was deleted or disconnected,
// Jenkins went down, or the agent closed the channel.
func (c *Channel) Done() <-chan struct{} { return c.done }

// end closes Done, once.
func (c *Channel) end() {
	if !c.ended {
		c.ended = true
		close(c.done)
	}
}

// Close is the end of the agent's process, by SIGTERM or SIGKILL: Jenkins sees the end at
// once. by names its author for the accounts: "bellboard", or anything else. by counts also
// if Jenkins had ended the connection before, because the process was still there.
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

// Freeze makes the agent's machine fall silent for ever. The node stays online, and busy
// if it was, until Jenkins' pings fail after nine minutes.
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
		}
	}
	j.after(silence, func() {
		if c.node.ch == c {
			j.cut(c.node, by, false)
		}
	})
}

// hostGone notes on the builds of a channel that their machine is gone.
func (j *Jenkins) hostGone(c *Channel, by string) {
	now := j.clk.Now()
	for _, b := range j.alive {
		if b.ch == c && b.begun && b.hostBy == "" {
			b.hostBy, b.hostAt = cmp.Or(by, "nobody"), now
		}
	}
}

// cut takes the channel from a node. A Swarm node goes with its client, unless a pipeline
// is on it.
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
