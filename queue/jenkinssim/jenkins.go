// Package jenkinssim is a Jenkins controller in one process: it speaks the
// REST that Bellboard uses, lets simulated agents connect, and runs builds, in
// the time of the clock it is given.
//
// It promises what was seen on a real Jenkins 2.568.1: the sentences of "why",
// the statuses and headers, how builds fare when their node is marked, deleted
// or cut, and what a restart looks like from outside. It keeps account of every
// build: how it ended and through whom. It never decides anything for
// Bellboard, never sleeps or starts a goroutine of its own beyond its clock's
// timer, and nothing of it is left after Close.
package jenkinssim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"bellboard/scaler/clock"
)

// These are Jenkins' own times.
const (
	// maintainDelay lies between an event and the queue's answer to it.
	maintainDelay = 10 * time.Millisecond
	// startDelay is how long an item is pending: given to an executor that has
	// not yet begun.
	startDelay = 10 * time.Millisecond
	// maintainEvery is the queue's own period, should no event come.
	maintainEvery = 5 * time.Second
	// resumeDelay lies between the first good answer after a restart and the
	// items of the pipelines that resume.
	resumeDelay = 500 * time.Millisecond
	// nodeWait is how long a pipeline waits for its node.
	nodeWait = 5 * time.Minute
	// swarmWait is how long a cut Swarm node stays listed while a pipeline runs on it.
	swarmWait = 4*time.Minute + 5*time.Second
	// silence is how long a silent agent stays online: ping interval and timeout.
	silence = 9 * time.Minute
	// leftFor is how long an item that left the queue can still be read.
	leftFor = 5 * time.Minute
	// removedFor is how long the lists of refusals name a node that was deleted. On a
	// real Jenkins it hangs on what else happens: from seconds to minutes.
	removedFor = 30 * time.Second
	// settleDelay lies between a pipeline's reconnection and its going on.
	settleDelay = time.Second
	// restartAsks is how often a safe restart asks whether any build still blocks it.
	restartAsks = time.Second
	// restartPause lies between the last such question and the end of Jenkins.
	restartPause = 10 * time.Second
)

// Config is what a Jenkins is made of; only Clock is required.
type Config struct {
	Clock clock.Clock
	// Version is what X-Jenkins says; default 2.568.1.
	Version string
	// User and Token are the REST account; default bellboard and token. With its
	// Password, "" for none, it is a session, whose every POST needs a crumb.
	User, Token, Password string
	// NoCrumbs is a Jenkins whose protection by crumbs is off.
	NoCrumbs bool
	// Prefix is the path below which Jenkins is served, such as "/jenkins".
	Prefix string
	// Hook is the Bellboard instance whose one-build hook is installed, with its
	// RestartListener; "" is none.
	Hook string
	// BuiltInExecutors is the number of executors of the built-in node.
	BuiltInExecutors int
	// BuiltInExclusive has the built-in node refuse items that ask for no label.
	BuiltInExclusive bool
	// AgentPort is the TCP port for agents, as Jenkins tells it; 0 is none.
	AgentPort int
	// Seed makes session names and secrets.
	Seed int64
	// Latency is how long a request of that kind takes; half of it passes
	// before the answer is made up and half after. Kinds: queue, computers,
	// computer, label, secret, create, mark, toggle, disconnect, delete, other.
	Latency func(op string) time.Duration
}

// Parameter is a parameter of the NodeLabel plugin: a label, or a node's name.
type Parameter struct {
	Name, Value string
	Node        bool
}

// Job is one build to come. Its name may lie in folders: "team/app".
type Job struct {
	Name     string
	Pipeline bool
	// Label is the expression as a user would type it; "" asks for nothing.
	Label string
	// Parameter, when it has a value, decides where the build runs instead of
	// Label, as the NodeLabel plugin has it.
	Parameter Parameter
	// Cell makes the build one cell of the matrix job Name, such as "label=linux".
	Cell        string
	Duration    time.Duration
	QuietPeriod time.Duration
	// Serial blocks the item while another build of the same name runs.
	Serial bool
	// PerNode is how many builds of the same name the throttle-concurrents plugin
	// allows on one node; 0 is any number.
	PerNode int
}

// Build is one build that ended.
type Build struct {
	ID     int64
	Job    Job
	Node   string
	Number int
	// Queued, Started and Ended are when it was submitted, when it got its
	// executor first (zero if never), and when it was over.
	Queued, Started, Ended time.Time
	// Result is SUCCESS, FAILURE or ABORTED.
	Result string
	// Killed is a build that Bellboard ended: it deleted or disconnected the
	// node, ended the agent, kept the build from resuming, or hid it from a safe restart.
	Killed bool
	// Log is what a freestyle build that lost its agent says of that.
	Log string
	// Lost is a build that anything else ended: chaos, a restart, an agent
	// that did not come back. A build that a person cancelled is neither.
	Lost  bool
	Cause string
}

// Stats are counts, as of now or since the beginning.
type Stats struct {
	// Queued builds have no executor yet; Running ones have, or wait to resume.
	Queued, Running int
	// Finished builds ended in any way.
	Finished, Succeeded, Killed, Lost, Cancelled int
	// SecondBuilds counts builds beyond the first on one ephemeral node.
	SecondBuilds int
	// Nodes are the registered agents, Connected those with a channel, Busy
	// those with a build.
	Nodes, Connected, Busy int
	// Creates, Marks and Deletes count successful writes over REST, Requests all.
	Creates, Marks, Deletes, Requests int
	Restarts                          int
	// QuietingDown: no new build starts.
	QuietingDown bool
	// MarksAltered and MarksHidden count how often a computer was shown whose mark has
	// another text than was set, or whose lost connection is shown in the mark's place.
	MarksAltered, MarksHidden int
}

// Jenkins is a simulated controller. Its methods may be called from anywhere.
type Jenkins struct {
	cfg Config
	clk clock.Clock
	key []byte

	mu     sync.Mutex
	closed bool
	timers timers
	rng    *rand.Rand

	phase    phase
	slow     time.Duration   // refusals while it starts
	hung     <-chan struct{} // closed when it answers again; nil: it never hung
	boot     int
	version  int // the second number of the version
	session  string
	quieting bool
	denied   map[string]bool
	fault    func(*http.Request) (int, http.Header, []byte, bool)
	caller   func(node, host string)
	calls    []func() // of the caller, to come when nothing is locked

	vetoes    map[string]string // a plugin's words against a node
	builtIn   *node
	computers []*node // every listed computer, lingering ones too, sorted by name, the built-in first
	byName    map[string]*node
	removed   []string // nodes that were deleted a while ago at most, in their order
	gen       uint64   // grows with every change that a "why" could show
	whys      map[whyKey]string
	whysGen   uint64

	items     []*item          // in order of entering
	pins      map[string]*item // by the node on which an item must resume
	left      []leftItem
	lastID    int64
	numbers   map[string]int
	jobs      map[string]string // what is at the top, with its class: at first one job that is never built
	loads     loads
	alive     []*build // started pipelines and builds with an executor, in order of starting
	kicked    bool
	nextCheck *event

	ended []Build
	stats Stats
}

// New starts a Jenkins that is up, with no agents and an empty queue.
func New(cfg Config) *Jenkins {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real()
	}
	if cfg.Version == "" {
		cfg.Version = "2.568.1"
	}
	if cfg.User == "" {
		cfg.User = "bellboard"
	}
	if cfg.Token == "" {
		cfg.Token = "token"
	}
	j := &Jenkins{
		cfg:     cfg,
		clk:     cfg.Clock,
		key:     fmt.Appendf(nil, "hudson.slaves.SlaveComputer %d", cfg.Seed),
		rng:     rand.New(rand.NewPCG(uint64(cfg.Seed), 0x6a656e6b696e73)), //nolint:gosec // a seed tells the whole story
		version: secondNumber(cfg.Version),
		denied:  map[string]bool{},
		vetoes:  map[string]string{},
		byName:  map[string]*node{},
		pins:    map[string]*item{},
		whys:    map[whyKey]string{},
		numbers: map[string]int{},
		jobs:    map[string]string{"hello": classFreeStyle},
		loads:   newLoads(cfg.Clock.Now()),
	}
	j.newSession()
	j.builtIn = &node{class: classBuiltIn, mode: modeNormal, executors: cfg.BuiltInExecutors}
	if cfg.BuiltInExclusive {
		j.builtIn.mode = modeExclusive
	}
	if cfg.Hook != "" {
		j.builtIn.labelString = "bellboard-hook-" + cfg.Hook
	}
	j.builtIn.setLabels()
	j.builtIn.slots = make([]slot, cfg.BuiltInExecutors)
	j.computers = []*node{j.builtIn}
	return j
}

// Close ends everything: channels, timers, builds. Nothing happens any more.
func (j *Jenkins) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	j.closed = true
	for _, n := range j.computers {
		if n.ch != nil {
			n.ch.end()
		}
	}
	j.timers.stop()
}

// enter locks the state and brings it up to now, so that what is due happens
// in order of time, whichever of a caller and the clock's timer comes first.
func (j *Jenkins) enter() {
	j.mu.Lock()
	j.runDue()
}

func (j *Jenkins) leave() {
	j.arm()
	calls := j.calls
	j.calls = nil
	j.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

func (j *Jenkins) newSession() {
	j.boot++
	j.session = fmt.Sprintf("%08x", j.rng.Uint32())
}

// changed tells that a computed "why" may be stale.
func (j *Jenkins) changed() { j.gen++ }

// Secret is what an agent of that name must show. As in Jenkins it is a pure
// function of the name: deleting and creating a name gives the same secret.
func (j *Jenkins) Secret(name string) string {
	m := hmac.New(sha256.New, j.key)
	m.Write([]byte(name))
	return hex.EncodeToString(m.Sum(nil))
}

// Submit puts a build into the queue and returns the id of the item that will
// wait for an agent; Build.ID is the same. (A pipeline has one more item, its
// flyweight, with the id before; it needs no agent.)
func (j *Jenkins) Submit(job Job) int64 {
	j.enter()
	defer j.leave()
	now := j.clk.Now()
	b := &build{Build: Build{Job: job, Queued: now}}
	j.stats.Queued++
	top, _, _ := strings.Cut(job.Name, "/")
	j.jobs[top] = job.topClass()
	it := &item{build: b, since: now, timestamp: now.Add(job.QuietPeriod), state: waiting}
	it.setLabel(job.label())
	j.lastID++
	it.id = j.lastID
	if job.Pipeline {
		it.fly = true
		it.setLabel("")
		j.lastID++
	}
	b.ID = j.lastID
	j.items = append(j.items, it)
	j.kick()
	return b.ID
}

// BuiltIn configures the built-in node anew.
func (j *Jenkins) BuiltIn(executors int, exclusive bool) {
	j.enter()
	defer j.leave()
	j.builtIn.mode = modeNormal
	if exclusive {
		j.builtIn.mode = modeExclusive
	}
	j.builtIn.executors = executors
	j.builtIn.fitSlots()
	j.changed()
	j.kick()
}

// Veto has a plugin refuse every item on that node, in its own words; ""
// lifts it.
func (j *Jenkins) Veto(node, words string) {
	j.enter()
	defer j.leave()
	if words == "" {
		delete(j.vetoes, node)
	} else {
		j.vetoes[node] = words
	}
	j.changed()
	j.kick()
}

// Cancel removes the build of that id from the queue, as a person would: also
// one that waits to resume. It reports whether it was there. A build that has
// its executor is not touched.
func (j *Jenkins) Cancel(id int64) bool {
	j.enter()
	defer j.leave()
	for _, it := range j.items {
		if it.build.ID != id && it.id != id {
			continue
		}
		if it.state == pending {
			return false
		}
		j.removeItem(it, true)
		j.end(it.build, "ABORTED", verdict{cause: "cancelled by a person"})
		return true
	}
	return false
}

// QuietDown sets or lifts "Jenkins is about to shut down".
func (j *Jenkins) QuietDown(on bool) {
	j.enter()
	defer j.leave()
	j.quieting = on
	j.changed()
	j.kick()
}

// Fault makes f judge every request before anything else sees it. When f says
// fault its answer is sent; a status of 0 or less breaks the connection. nil
// clears it.
func (j *Jenkins) Fault(f func(*http.Request) (status int, header http.Header, body []byte, fault bool)) {
	j.enter()
	defer j.leave()
	j.fault = f
}

// Caller is the plugin that calls agents by SSH: f gets each order to launch the
// agent of a node that says its host, unless it is connected, and may Connect it.
func (j *Jenkins) Caller(f func(node, host string)) {
	j.enter()
	defer j.leave()
	j.caller = f
}

// Deny takes permissions from the REST account, by Jenkins' names (such as
// "hudson.model.Computer.Create"); called with none it gives all back.
func (j *Jenkins) Deny(permissions ...string) {
	j.enter()
	defer j.leave()
	clear(j.denied)
	for _, p := range permissions {
		j.denied[p] = true
	}
}

// Builds returns the builds that ended, in order of ending.
func (j *Jenkins) Builds() []Build {
	j.enter()
	defer j.leave()
	return slices.Clone(j.ended)
}

// Stats returns the counts.
func (j *Jenkins) Stats() Stats {
	j.enter()
	defer j.leave()
	s := j.stats
	s.QuietingDown = j.quieting
	for _, n := range j.computers {
		if n == j.builtIn {
			continue
		}
		if !n.lingering {
			s.Nodes++
		}
		if n.ch != nil {
			s.Connected++
		}
		if n.busy() > 0 {
			s.Busy++
		}
	}
	return s
}

// spread orders nodes for a job the way Jenkins' consistent hash does: always
// the same, and different for each job.
func spread(job, node string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(job + "\x00" + node)) // documented never to fail
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
