// Package queue reads Jenkins and writes to Jenkins. The package reads the build queue and the nodes. The
// package registers, marks, clears and deletes nodes. Every request goes through gojenkins' Requester. In
// this package a node is a Jenkins node, which Jenkins' API calls a computer.
//
// The package promises:
//
//   - An observation is complete, or it is an error. An answer that was refused or cut short is never an
//     empty view. An answer of something that is not Jenkins is an error too, and so are the answers of two
//     sessions of Jenkins.
//   - The label of an item is what Jenkins' own words prove. Without a proof the item is unresolved, or the
//     item says that its label is inferred.
//   - A write is sent once, within its deadline, and no faster than Jenkins bears.
//   - A Jenkins that does not answer gets one small question for each poll. Every other request waits until
//     Jenkins answers, apart from one request in five seconds.
//
// The package never decides what to do, never follows a redirect and keeps no cookie. The package never
// changes a node on its own account.
package queue

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// The endpoints are the kinds of request to Jenkins. They are a closed set, for the metrics.
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

// Endpoints lists every endpoint, so that a metric exists before its first request.
func Endpoints() []string {
	return []string{Computers, Queue, Jobs, Quieting, Register, Secret, Mark, Clear, Delete, Launch, Node, Alive}
}

// The limits of one request, in the clock's time. Jenkins answers a read in milliseconds. A write may wait
// half a minute for the lock of a long queue.
const (
	readTimeout  = 30 * time.Second
	writeTimeout = time.Minute
	// No request gets less than this of the wall's time. A fast clock does not make Jenkins faster.
	leastTimeout = time.Second
	// maxText is how many bytes the client keeps of an answer that is not decoded.
	maxText = 16 << 20
)

// Config is what a Client needs to know.
type Config struct {
	URL  string // Jenkins' address, with its path
	User string
	// Token returns the user's API token. The client asks for the token before every request and again
	// after a 401, so that a rotated token is used at once.
	Token func() (string, error)
	// Expire, when set, is called after a 401. The next call of Token has to return a fresh token.
	Expire func()
	// Transport carries the requests. Nil means NewTransport(nil).
	Transport http.RoundTripper
	Clock     clock.Clock
	Instance  string
	// SSH says how Jenkins reaches the agents of a pool that Jenkins calls. The agents of all other pools
	// are inbound agents.
	SSH map[scaler.PoolID]SSH
	// Unlabelled says for each pool whether its nodes take items that ask for no label.
	Unlabelled map[scaler.PoolID]bool
	// Reader is set for a client that only reads. Another process deletes the nodes then, so that any number
	// of nodes may be gone between two answers.
	Reader bool
	// Observe, when set, gets the endpoint, the HTTP status and the duration of every request. Without a
	// complete answer the status is "error".
	Observe func(endpoint string, code string, took time.Duration)
	// Unseen, when set, gets the cause of every poll that failed. The cause is one of Causes. The error of
	// the poll has the same cause as its class.
	Unseen func(cause string)
	// Skew, when set, gets how far Jenkins' clock is ahead of Clock, as far as the answers prove it.
	Skew func(ahead time.Duration)
}

// Client talks to one Jenkins. A Client is safe for concurrent use.
type Client struct {
	c       Config
	base    string
	writes  *limiter
	breaker breaker

	polling sync.Mutex // one poll at a time; guards what polls leave to the next ones
	memory  *memory
	tried   bool          // the last poll failed, and Jenkins answered the small question
	quiet   bool          // Jenkins was quieting down at the last poll
	ahead   time.Duration // how far Jenkins' clock is ahead of Bellboard's
	jobSeen time.Time     // when Jenkins last showed that it has a job
	session string        // of the last answer with nodes
	since   time.Time     // when the first such answer of the session was complete
}

// New returns a client. New sends no request.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("jenkins URL: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("jenkins URL %q: must be http://host/ or https://host/", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("jenkins URL %q: must have no user, query or fragment", u.Redacted())
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
	memory := newMemory()
	memory.unlabelled = c.Unlabelled
	return &Client{
		c:       c,
		base:    strings.TrimRight(c.URL, "/"),
		writes:  newLimiter(c.Clock),
		breaker: breaker{clock: c.Clock},
		memory:  memory,
	}, nil
}

// Close closes idle connections. The client can still be used.
func (c *Client) Close() {
	if t, ok := c.c.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
