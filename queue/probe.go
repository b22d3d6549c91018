package queue

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// probeEndpoint is the endpoint of a question of doctor. Endpoints does not list it, since the loop never
// asks such a question.
const probeEndpoint = "probe"

// Question is one request to Jenkins. The caller judges the answer.
type Question struct {
	Method string // empty means GET
	Path   string // below the base, escaped, begins with a slash
	Query  map[string]string
	Form   url.Values // of a POST
}

// Ask sends one question as the client's user. An error means that there was no complete answer. Ask is for
// single questions: it does not pace them and does not repeat them.
func (c *Client) Ask(ctx context.Context, q Question) (Answer, error) {
	return c.ask(ctx, request{endpoint: probeEndpoint, method: q.Method, path: q.Path, query: q.Query, form: q.Form})
}

// RegisterProbe registers a node of an inbound agent, as Register does. The description has to be one that no
// instance takes for its own.
func (c *Client) RegisterProbe(ctx context.Context, name, description string, labels []string) error {
	return c.register(ctx, "registering", name, description, &scaler.Pool{Labels: labels}, inbound, time.Time{})
}

// Greet sends a request to any address. The request carries no user and no token, and follows no redirect.
func Greet(ctx context.Context, transport http.RoundTripper, c clock.Clock, method, address string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Wall(readTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return Answer{}, err
	}
	x := exchange{next: transport}
	x.Asked = c.Now()
	_, err = x.client().Do(req) //nolint:bodyclose // the exchange has closed the body
	x.Answered = c.Now()
	return x.Answer, unavailable(err)
}

// Computer is a node as Jenkins shows it, with two facts more for doctor.
type Computer struct {
	scaler.Node

	Description string
	Unseen      int // number of busy executors whose build the user may not see
}

// Computers reads all nodes anew, as Observe does. It also returns nodes if Observe would return ErrBlind:
// for an empty queue without a visible build.
func (c *Client) Computers(ctx context.Context) (all []Computer, err error) {
	c.polling.Lock()
	defer c.polling.Unlock()
	_, err = c.document(ctx, Computers, "/computer", computersTree, func(_ *Answer, in io.Reader) error {
		return c.memory.eachNode(in, c.c.Instance, func(n scaler.Node, description string, hidden int) {
			all = append(all, Computer{n, description, hidden})
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading Jenkins' nodes: %w", err)
	}
	return all, nil
}
