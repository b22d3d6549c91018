package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"bellboard/scaler"
)

// Computer is a node as Jenkins shows it, with two facts more for doctor.
type Computer struct {
	scaler.Node

	Description string
	Unseen      int // number of busy executors whose build the user may not see
}

// Computers reads all nodes anew, as Observe does. It also returns nodes if Observe would return ErrBlind:
// for an empty queue without a visible build.
func (c *Client) Computers(ctx context.Context) (all []Computer, err error) {
	_, err = c.document(ctx, Computers, "/computer", computersTree, func(_ *answer, in io.Reader) error {
		var doc computer
		all = nil
		return decodeList(in, computersClass, "computer", &doc, func() error {
			if !doc.complete() {
				return errors.New("a node without displayName, idle or temporarilyOffline")
			}
			c.memory.mu.Lock()
			defer c.memory.mu.Unlock()
			_, unseen := doc.busy()
			all = append(all, Computer{c.memory.node(&doc, c.c.Instance), strings.Clone(doc.Description), unseen})
			doc = computer{}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading Jenkins' nodes: %w", err)
	}
	return all, nil
}
