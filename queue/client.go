// Package queue is Bellboard's eye and hand in Jenkins: it reads the build
// queue and the computers, and it registers, marks, clears and deletes nodes,
// through gojenkins' Requester.
//
// It promises that an observation is complete or an error: an answer that was
// refused, cut short, came from something that is not Jenkins or from two
// sessions of it is never an empty view. Every item's label is what Jenkins'
// own words prove, or unresolved, never a guess. A write is sent once, within
// its deadline, and no faster than Jenkins bears. To a Jenkins that does not
// answer nothing goes but the question whether it does.
//
// It never decides what to do, never follows a redirect, keeps no cookie, and
// never touches a node on its own account.
package queue

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// The endpoints are the kinds of question and order to Jenkins, for metrics: a closed set.
const (
	Computers = "computers"
	Queue     = "queue"
	Jobs      = "jobs"
	Quieting  = "quieting"
	Register  = "register"
	Secret    = "secret"
	Mark      = "mark"
	Clear     = "clear"
	Delete    = "delete"
	Launch    = "launch"
	Node      = "node"
	Alive     = "alive"
)

// Endpoints lists every endpoint, for metrics that exist before they are needed.
func Endpoints() []string {
	return []string{Computers, Queue, Jobs, Quieting, Register, Secret, Mark, Clear, Delete, Launch, Node, Alive}
}

// The limits of one request, in the clock's time. Reads answer in milliseconds;
// a write may wait half a minute for the lock of a long queue.
const (
	readTimeout  = 30 * time.Second
	writeTimeout = time.Minute
	// A fast clock does not make computers faster: no request gets less of the wall's time.
	leastTimeout = time.Second
	// maxText is what is kept of an answer that is a page, or that the asker wants whole.
	maxText = 16 << 20
)

// Config is what a Client needs to know.
type Config struct {
	URL  string // of Jenkins, with its path
	User string
	// Token returns the user's API token. It is asked before every request and
	// again after a 401, so a rotated secret is used at once.
	Token func() (string, error)
	// Expire, when set, is called after a 401: the next Token is to be a fresh one.
	Expire func()
	// Transport carries the requests; nil means NewTransport(nil).
	Transport http.RoundTripper
	Clock     clock.Clock
	Instance  string
	// SSH is how Jenkins reaches the agents of the pools that cannot call it; the
	// nodes of all others are inbound.
	SSH map[scaler.PoolID]SSH
	// Unlabelled says of every pool whether its nodes take items that ask for no label.
	Unlabelled map[scaler.PoolID]bool
	// Reader: nodes are deleted by another's hand, so that any number of them may be
	// gone between two answers.
	Reader bool
	// Observe, when set, is told of every request: the endpoint, the HTTP status
	// ("error" when there was no whole answer) and how long it took.
	Observe func(endpoint string, code string, took time.Duration)
	// Unseen, when set, is told of every Observe that showed nothing: one of Causes, which
	// is also the class of its error.
	Unseen func(cause string)
	// Skew, when set, is told how far Jenkins' clock is ahead of Clock, as far as its answers prove it.
	Skew func(ahead time.Duration)
}

// Client talks to one Jenkins. It is safe for concurrent use.
type Client struct {
	c      Config
	base   string
	http   *http.Client
	writes *limiter
	fuse   fuse
	pulse  pulse
	known  *memory

	mu     sync.Mutex    // guards what earlier ticks knew
	ahead  time.Duration // of Jenkins' clock to ours
	sawJob time.Time     // when Jenkins last showed that it has a job
	quiet  bool          // Jenkins was quieting down at the last look
}

// New makes a client. It sends nothing yet.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("jenkins URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("jenkins URL %q: must be http://host/ or https://host/", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("jenkins URL %q: must have no user, query or fragment", u.Redacted())
	case c.Token == nil || c.Clock == nil || c.Instance == "":
		return nil, errors.New("jenkins client: token, clock and instance are required")
	}
	if c.Transport == nil {
		c.Transport = NewTransport(nil)
	}
	if c.Observe == nil {
		c.Observe = func(string, string, time.Duration) {}
	}
	if c.Unseen == nil {
		c.Unseen = func(string) {}
	}
	if c.Skew == nil {
		c.Skew = func(time.Duration) {}
	}
	known := newMemory()
	known.unlabelled = c.Unlabelled
	return &Client{
		c:    c,
		base: strings.TrimRight(c.URL, "/"),
		http: &http.Client{
			Transport: &carrier{next: c.Transport},
			// A redirect answers a write; followed on a read it would end at a login page.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		writes: newLimiter(c.Clock),
		fuse:   fuse{clock: c.Clock},
		known:  known,
	}, nil
}

// Close lets idle connections go. The client can still be used.
func (c *Client) Close() {
	if t, ok := c.c.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
