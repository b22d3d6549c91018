// Package sabotage takes one safeguard out of a loop, for the tests which show that the
// safeguard matters. Only tests import it. Each function changes the configuration of a
// loop; a sabotaged decision is not checked, since the check would refuse its plan.
package sabotage

import (
	"context"
	"maps"
	"slices"
	"time"

	"bellboard/scaler"
	"bellboard/scaler/control"
)

// Pins takes out that a queued item protects the node which it names.
func Pins(c *control.Config) {
	decide(c, func(in scaler.Input) scaler.Input {
		named := map[string]bool{}
		for i := range in.Cluster.Pods {
			named[in.Cluster.Pods[i].Name] = true
		}
		for i := range in.Jenkins.Nodes {
			named[in.Jenkins.Nodes[i].Name] = true
		}
		in.Jenkins.Items = slices.DeleteFunc(slices.Clone(in.Jenkins.Items), func(it scaler.Item) bool {
			return it.Resolution == scaler.Labelled && named[it.Label]
		})
		return in
	})
}

// Grace takes out the restart grace.
func Grace(c *control.Config) {
	decide(c, func(in scaler.Input) scaler.Input {
		in.GraceUntil = time.Time{}
		return in
	})
}

// Holders takes out that a cache slot which a pod has is not chosen.
func Holders(c *control.Config) {
	decide(c, func(in scaler.Input) scaler.Input {
		in.Cluster.Pods = slices.Clone(in.Cluster.Pods)
		for i := range in.Cluster.Pods {
			in.Cluster.Pods[i].Slot = ""
		}
		return in
	})
}

// Overdue takes out that Bellboard makes another agent in place of one that hangs. Without
// known start-ups no agent is overdue.
func Overdue(c *control.Config) {
	decide(c, func(in scaler.Input) scaler.Input {
		in.Memory.Pools = maps.Clone(in.Memory.Pools)
		for id, p := range in.Memory.Pools {
			p.Starts = scaler.Starts{}
			in.Memory.Pools[id] = p
		}
		return in
	})
}

// LaterAnswers takes out that an agent is removed only on later answers than those on
// which it was marked.
func LaterAnswers(c *control.Config) {
	c.Decide = func(in scaler.Input) (scaler.Plan, scaler.Memory, scaler.Facts, error) {
		agents := maps.Clone(in.Memory.Agents)
		if agents == nil {
			agents = map[string]*scaler.AgentMemory{}
		}
		idle := map[string]bool{}
		for i := range in.Jenkins.Nodes {
			n := &in.Jenkins.Nodes[i]
			idle[n.Name] = n.Idle
			a := in.Memory.Agent(n.Name)
			a.Mark = scaler.Marking{Since: in.Jenkins.AskedAt, By: n.OfflineBy, At: n.MarkedAt, Rested: a.Mark.Rested}
			agents[n.Name] = &a
		}
		in.Memory.Agents = agents
		plan, memory, facts := scaler.Decide(in)
		for _, a := range plan.Actions {
			at := slices.IndexFunc(in.Cluster.Pods, func(p scaler.Pod) bool { return p.Name == a.Agent })
			if a.Verb == scaler.Mark && idle[a.Agent] && at >= 0 {
				a.Verb, a.Pod = scaler.DeletePod, &in.Cluster.Pods[at]
				plan.Actions = append(plan.Actions, a)
			}
		}
		return plan, memory, facts, nil
	}
}

// decide decides from a changed input.
func decide(c *control.Config, change func(scaler.Input) scaler.Input) {
	c.Decide = func(in scaler.Input) (scaler.Plan, scaler.Memory, scaler.Facts, error) {
		plan, memory, facts := scaler.Decide(change(in))
		return plan, memory, facts, nil
	}
}

// Deadline takes out that destructive writes are sent on fresh answers only.
func Deadline(c *control.Config) {
	c.Jenkins, c.Cluster = anyTime{c.Jenkins}, anyTimeCluster{c.Cluster}
}

// longer is by how much the deadlines are late.
const longer = time.Hour

type anyTime struct{ control.Jenkins }

func (j anyTime) Register(ctx context.Context, name string, pool scaler.Pool, deadline time.Time) error {
	return j.Jenkins.Register(ctx, name, pool, deadline.Add(longer))
}

func (j anyTime) Fence(ctx context.Context, name string, id scaler.PoolID, deadline time.Time) error {
	return j.Jenkins.Fence(ctx, name, id, deadline.Add(longer))
}

func (j anyTime) Mark(ctx context.Context, name, text string, deadline time.Time) error {
	return j.Jenkins.Mark(ctx, name, text, deadline.Add(longer))
}

func (j anyTime) StillIdle(context.Context, scaler.Node) (bool, error) { return true, nil }

func (j anyTime) DeleteNode(ctx context.Context, name string, deadline time.Time) error {
	return j.Jenkins.DeleteNode(ctx, name, deadline.Add(longer))
}

type anyTimeCluster struct{ control.Cluster }

func (c anyTimeCluster) Unprotect(ctx context.Context, pod scaler.Pod, deadline time.Time) error {
	return c.Cluster.Unprotect(ctx, pod, deadline.Add(longer))
}

func (c anyTimeCluster) DeletePod(ctx context.Context, pod scaler.Pod, deadline time.Time) error {
	return c.Cluster.DeletePod(ctx, pod, deadline.Add(longer))
}

func (c anyTimeCluster) DeleteSlot(ctx context.Context, slot scaler.Slot, deadline time.Time) error {
	return c.Cluster.DeleteSlot(ctx, slot, deadline.Add(longer))
}
