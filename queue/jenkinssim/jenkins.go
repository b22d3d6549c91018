// Package jenkinssim is a Jenkins controller in one process. It answers the REST requests
// that Bellboard sends, lets simulated agents connect, and runs builds, in the time of
// the clock that it is given.
//
// Jenkinssim promises the behaviour that was seen on a real Jenkins 2.568.1: the sentences
// of "why", statuses and headers, the fate of a build on a node that is marked, deleted or
// cut, and the answers in a restart. Jenkinssim keeps account of every build: its end, and
// the author of that end. Jenkinssim never decides anything for Bellboard, never sleeps, and
// starts no goroutine but its clock's timer. Nothing of a Jenkins is left after Close.
package jenkinssim

import (
	"cmp"
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
	// startDelay is how long an item is pending: an executor has it and has not begun.
	startDelay = 10 * time.Millisecond
	// maintainEvery is the queue's own period, if no event comes.
	maintainEvery = 5 * time.Second
	// resumeDelay lies between the first good answer after a restart and the items of the
	// pipelines that resume.
	resumeDelay = 500 * time.Millisecond
	// nodeWait is how long a pipeline waits for its node.
	nodeWait = 5 * time.Minute
	// swarmWait is how long a cut Swarm node stays listed while a pipeline runs on it.
	swarmWait = 4*time.Minute + 5*time.Second
	// silence is how long a silent agent stays online: ping interval and timeout.
	silence = 9 * time.Minute
	// removedFor is how long the lists of refusals name a deleted node. On a real Jenkins
	// this takes from seconds to minutes.
	removedFor = 30 * time.Second
	// settleDelay lies between a pipeline's reconnection and its next step.
	settleDelay = time.Second
	// restartAsks is how often a safe restart asks whether a build blocks it.
	restartAsks = time.Second
	// restartPause lies between the last such question and the end of Jenkins.
	restartPause = 10 * time.Second
)

// Config describes a Jenkins. The zero value of every field is usable.
type Config struct {
	Clock clock.Clock
	// Version is what X-Jenkins says. The default is 2.568.1.
	Version string
	// User and Token are the REST account. The defaults are bellboard and token.
	User, Token string
	// Prefix is the path below which Jenkins is served, such as "/jenkins".
	Prefix string
	// Hook is the instance of the one-build hook that is installed; "": none.
	Hook string
	// BuiltInExecutors is the number of executors of the built-in node.
	BuiltInExecutors int
	// BuiltInExclusive makes the built-in node refuse items that ask for no label.
	BuiltInExclusive bool
	// AgentPort is the TCP port for agents; 0: none.
	AgentPort int
	// Front answers people without an account with a page that says what this is.
	Front bool
	// Seed makes session names and secrets.
	Seed int64
	// Latency is how long a request of that kind takes: half before the answer is made up,
	// and half after. Kinds: queue, computers, computer, label, secret, create, mark,
	// toggle, disconnect, delete, other.
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
	// Label is the expression as a user types it; "": none.
	Label string
	// Parameter decides where the build runs if it has a value, and Label does not.
	Parameter Parameter
	// Cell makes the build one cell of the matrix job Name, such as "label=linux".
	Cell        string
	Duration    time.Duration
	QuietPeriod time.Duration
	// Serial blocks the item while another build of the same name runs.
	Serial bool
	// PerNode is how many builds of the same name the throttle-concurrents plugin allows
	// on one node; 0: any number.
	PerNode int
}

// Build is one build that ended.
type Build struct {
	ID     int64
	Job    Job
	Node   string
	Number int
	// Queued is when the build was submitted, Started when it got its first executor (zero:
	// never), and Ended when it was over.
	Queued, Started, Ended time.Time
	// Result is SUCCESS, FAILURE or ABORTED.
	Result string
	// Killed says that Bellboard ended the build: Bellboard deleted or disconnected the node,
	// ended the agent, kept the build from resuming, or hid the build from a safe restart.
	Killed bool
	// Log is what the log of a project's build says about the loss of its agent.
	Log string
	// Lost says that anything else ended the build: chaos, a restart, an agent that did not
	// come back. A build that a person cancelled is neither killed nor lost.
	Lost  bool
	Cause string
}

// Stats are counts, of now or since the beginning.
type Stats struct {
	// Queued builds have no executor yet. Running builds have one, or wait to resume.
	Queued, Running int
	// Finished builds ended in any way.
	Finished, Succeeded, Killed, Lost, Cancelled int
	// SecondBuilds counts builds beyond the first on one ephemeral node.
	SecondBuilds int
	// Nodes are the registered agents, Connected the agents with a channel, and Busy the
	// agents with a build.
	Nodes, Connected, Busy int
	// Creates, Marks and Deletes count successful writes over REST, and Requests all requests.
	Creates, Marks, Deletes, Requests int
	Restarts                          int
	// QuietingDown says that no new build starts.
	QuietingDown bool
	// MarksAltered counts how often a computer was shown with another text than its mark
	// has. MarksHidden counts how often a lost connection was shown in the mark's place.
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
	slow     time.Duration   // of each refusal while Jenkins starts
	hung     <-chan struct{} // closed when Jenkins answers again; nil: it never hung
	boot     int
	version  int // the second number of the version
	session  string
	quieting bool
	denied   map[string]bool
	fault    func(*http.Request) (int, http.Header, []byte, bool)
	caller   func(node, host string)
	calls    []func() // of the caller, to make when nothing is locked

	vetoes    map[string]string // a plugin's words against a node
	builtIn   *node
	computers []*node // every listed computer, lingering ones too, by name, the built-in node first
	byName    map[string]*node
	removed   []string // nodes that were deleted lately, in their order
	gen       uint64   // grows with every change that a "why" could show
	whys      map[whyKey]string
	whysGen   uint64

	items     []*item          // in order of entering
	pins      map[string]*item // by the node on which the item must resume
	lastID    int64
	numbers   map[string]int
	jobs      map[string]string // the class of each job or folder at the top
	alive     []*build          // started pipelines, and builds with an executor, in order of starting
	kicked    bool
	nextCheck *event

	ended []Build
	stats Stats
}

// New starts a Jenkins that is up, with no agents, an empty queue and one job that is
// never built.
func New(cfg Config) *Jenkins {
	if cfg.Clock == nil {
		cfg.Clock = clock.Real()
	}
	cfg.Version = cmp.Or(cfg.Version, "2.568.1")
	cfg.User, cfg.Token = cmp.Or(cfg.User, "bellboard"), cmp.Or(cfg.Token, "token")
	j := &Jenkins{
		cfg:     cfg,
		clk:     cfg.Clock,
		key:     fmt.Appendf(nil, "hudson.slaves.SlaveComputer %d", cfg.Seed),
		rng:     rand.New(rand.NewPCG(uint64(cfg.Seed), 0x6a656e6b696e73)), //nolint:gosec // the seed determines everything
		version: secondNumber(cfg.Version),
		denied:  map[string]bool{},
		vetoes:  map[string]string{},
		byName:  map[string]*node{},
		pins:    map[string]*item{},
		whys:    map[whyKey]string{},
		numbers: map[string]int{},
		jobs:    map[string]string{"hello": classFreeStyle},
	}
	j.newSession()
	j.builtIn = &node{class: classBuiltIn}
	j.computers = []*node{j.builtIn}
	if cfg.Hook != "" {
		j.builtIn.labelString = "bellboard-hook-" + cfg.Hook
	}
	j.builtIn.setLabels()
	j.setBuiltIn(cfg.BuiltInExecutors, cfg.BuiltInExclusive)
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

// enter locks the state and brings it up to now. So events happen in order of time, whether
// a caller or the clock's timer comes first.
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

// changed says that a computed "why" may be stale.
func (j *Jenkins) changed() { j.gen++ }

// Secret returns what an agent of that name must show. As in Jenkins the secret is a
// function of the name: a name that is deleted and created again has the same secret.
func (j *Jenkins) Secret(name string) string {
	m := hmac.New(sha256.New, j.key)
	m.Write([]byte(name))
	return hex.EncodeToString(m.Sum(nil))
}

// Submit puts a build into the queue and returns the id of the item that waits for an
// agent, which is Build.ID. A pipeline has one more item, its flyweight, with the id
// before: it needs no agent.
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

// BuiltIn configures the built-in node again.
func (j *Jenkins) BuiltIn(executors int, exclusive bool) {
	j.enter()
	defer j.leave()
	j.setBuiltIn(executors, exclusive)
	j.kick()
}

func (j *Jenkins) setBuiltIn(executors int, exclusive bool) {
	j.builtIn.mode, j.builtIn.executors = modeOf(exclusive), executors
	j.builtIn.fitSlots()
}

// Veto makes a plugin refuse every item on that node, in its own words. "" lifts the veto.
func (j *Jenkins) Veto(node, words string) {
	j.enter()
	defer j.leave()
	j.vetoes[node] = words
	j.kick()
}

// Cancel removes the build of that id from the queue, as a person would, also if the
// build waits to resume. Cancel reports whether the build was there. It leaves a build
// that has its executor alone.
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
	j.kick()
}

// Fault makes f judge every request before anything else does. If fault is true, the
// answer of f is sent. A status of 0 breaks the connection. A nil f ends that.
func (j *Jenkins) Fault(f func(*http.Request) (status int, header http.Header, body []byte, fault bool)) {
	j.enter()
	defer j.leave()
	j.fault = f
}

// Caller sets the plugin that calls agents by SSH. f gets each order to launch an agent
// that is not connected, if its node has a host, and may Connect the agent.
func (j *Jenkins) Caller(f func(node, host string)) {
	j.enter()
	defer j.leave()
	j.caller = f
}

// Deny takes permissions from the REST account, by Jenkins' names, such as
// "hudson.model.Computer.Create". Deny without a name gives all back.
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
	for _, n := range j.computers[1:] {
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

// spread orders nodes for a job as Jenkins' consistent hash does: always the same order,
// and another for each job.
func spread(job, node string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(job + "\x00" + node)) // documented never to fail
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}
