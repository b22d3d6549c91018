package queue

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// probeEndpoint is the endpoint of doctor's questions. Endpoints lacks it, since the loop never asks one.
const probeEndpoint = "probe"

// Ask sends one question as the client's user, without pacing or repeating it. An error means that there was
// no complete answer.
func (c *Client) Ask(ctx context.Context, q Question) (Answer, error) {
	q.endpoint = probeEndpoint
	return c.ask(ctx, q)
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
		return c.memory.eachNode(in, c.c.Instance, func(n Computer) { all = append(all, n) })
	})
	if err != nil {
		return nil, fmt.Errorf("reading Jenkins' nodes: %w", err)
	}
	return all, nil
}
