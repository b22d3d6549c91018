package queue

import (
	"context"
	"fmt"
	"strings"

	"bellboard/scaler"
)

// Computer is a node as Jenkins shows it, with what an examination needs besides.
type Computer struct {
	scaler.Node

	Description string
	Unseen      int // busy executors whose build the user may not see
}

// Computers reads all nodes anew, as Observe does, for somebody who examines Jenkins. It
// also shows them where Observe refuses what it sees: an empty queue and no visible build.
func (c *Client) Computers(ctx context.Context) ([]Computer, error) {
	a, err := c.document(ctx, Computers, "/computer", computersTree)
	if err != nil {
		return nil, fmt.Errorf("reading Jenkins' computers: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	nodes, _, err := c.known.nodes(a.body, c.c.Instance)
	if err != nil {
		return nil, fmt.Errorf("reading Jenkins' computers: %w", err)
	}
	all := make([]Computer, 0, len(nodes))
	s := scanner{in: a.body}
	s.computers(func(c *computer) {
		all = append(all, Computer{nodes[len(all)], strings.Clone(c.description), c.unseen})
	})
	return all, s.end()
}
