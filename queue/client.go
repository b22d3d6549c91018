// Package queue reads Jenkins' build queue, nodes and past builds, and registers, marks, clears and deletes
// nodes. Every request goes through gojenkins' Requester. In this package a node is a Jenkins node, which
// Jenkins' API calls a computer.
//
// The package promises:
//
//   - An observation is complete, of one session of Jenkins, or it is an error. An answer that was refused,
//     was cut short or is not Jenkins' is never an empty view.
//   - The label of an item is what Jenkins' own words prove. Without a proof the item is unresolved, or the
//     item says that its label is inferred.
//   - A write is sent once, within its deadline, and no faster than Jenkins bears.
//   - A Jenkins that does not answer gets one small question for each poll. Of all other requests it gets one
//     in five seconds.
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

// Config is what a Client needs to know.
type Config struct {
	URL  string // Jenkins' address, with its path
	User string
	// Token returns the user's API token. The client asks for it before every request and after a 401.
	Token func() (string, error)
	// Expire, when set, is called after a 401. The next call of Token has to return a fresh token.
	Expire    func()
	Transport http.RoundTripper
	Clock     clock.Clock
	Instance  string
	// SSH has the pools whose agents Jenkins calls. The agents of all other pools are inbound agents.
	SSH map[scaler.PoolID]SSH
	// Unlabelled says for each pool whether its nodes take items that ask for no label.
	Unlabelled map[scaler.PoolID]bool
	// Reader is set if another process deletes the nodes. Then any number of nodes may be gone between two
	// answers.
	Reader bool
	// Observe, when set, gets the endpoint, the HTTP status and the duration of every request. Without a
	// complete answer the status is "error".
	Observe func(endpoint string, code string, took time.Duration)
	// Unseen, when set, gets the cause of every poll that failed, which is one of Causes.
	Unseen func(cause string)
	// Skew, when set, gets how far Jenkins' clock is ahead of Clock, as far as the answers prove it.
	Skew func(ahead time.Duration)
}

// Client talks to one Jenkins. A Client is safe for concurrent use.
type Client struct {
	c       Config
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
	c.URL = strings.TrimRight(c.URL, "/")
	if c.Observe == nil {
		c.Observe = func(string, string, time.Duration) {}
	}
	if c.Unseen == nil {
		c.Unseen = func(string) {}
	}
	if c.Skew == nil {
		c.Skew = func(time.Duration) {}
	}
	return &Client{
		c:       c,
		writes:  newLimiter(c.Clock),
		breaker: breaker{clock: c.Clock},
		memory:  &memory{unlabelled: c.Unlabelled},
	}, nil
}
