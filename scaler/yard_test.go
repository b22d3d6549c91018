package scaler

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// yard is one team in virtual time: Jenkins and Kubernetes as far as the policy sees them. The world moves each
// second, and Decide is asked at each poll.
type yard struct {
	Input
	t      testing.TB
	begins time.Time
	poll   int
	next   int // the id of the last build
	named  int // names that were given
	ends   map[string]time.Time
	ready  map[string]time.Time
	// start returns how long the n-th agent takes to start, and length how long the n-th build runs.
	start, length func(n int) time.Duration
	watch         func(y *yard, plan Plan) // is called after each decision, before its plan is carried out

	made   map[Reason]int
	gone   int           // agents that were marked because they were free
	builds int           // builds that have begun
	waited time.Duration // by all builds together
	free   time.Duration // agent time that no build used: of agents beyond those that builds need
	uses   int           // builds that began on an agent that was free before they came
}

func newYard(t testing.TB, team Team) *yard {
	for i := range team.Pools {
		team.Pools[i].IdleTimeout = 0
	}
	team.ScaleDownCooldown = 0
	y := &yard{
		Input: newHouse(team), t: t, begins: noon, poll: 5, ends: map[string]time.Time{}, ready: map[string]time.Time{}, made: map[Reason]int{},
		start:  func(int) time.Duration { return 40 * time.Second },
		length: func(int) time.Duration { return time.Minute },
	}
	y.Memory = Memory{}
	return y
}

// build adds a build to the queue.
func (y *yard) build() {
	y.next++
	y.Jenkins.Items = append(y.Jenkins.Items, Item{
		ID: int64(y.next), Job: "job", Since: y.Now, State: Buildable, Resolution: Labelled, Label: y.Teams[0].Labels[0], Why: "Waiting for next available executor",
	})
}

// run moves the world on by so many seconds. come returns how many builds come in the n-th second since noon.
func (y *yard) run(seconds int, come func(second int) int) {
	for range seconds {
		y.Now = y.Now.Add(time.Second)
		second := int(y.Now.Sub(y.begins) / time.Second)
		y.move()
		for range come(second) {
			y.build()
		}
		y.give()
		if second%y.poll == 0 {
			y.decide()
		}
	}
}

// move ends builds and starts, and removes what Bellboard has deleted.
func (y *yard) move() {
	node := map[string]*Node{}
	y.Jenkins.Nodes = slices.Clone(y.Jenkins.Nodes)
	for i := range y.Jenkins.Nodes {
		n := &y.Jenkins.Nodes[i]
		node[n.Name] = n
		if end, runs := y.ends[n.Name]; runs && !y.Now.Before(end) {
			n.Busy, n.Idle, n.Build = 0, true, ""
			delete(y.ends, n.Name)
		}
	}
	y.Cluster.Pods = slices.Clone(y.Cluster.Pods)
	pods := y.Cluster.Pods[:0]
	for i := range y.Cluster.Pods {
		p := y.Cluster.Pods[i]
		if p.Requested {
			p.Requested, p.Scheduled = false, p.Created
			y.ready[p.Name] = p.Created.Add(y.start(len(y.ready)))
		}
		if p.DeletingByUs {
			if p.Connect == Swarm {
				y.Jenkins.Nodes = slices.DeleteFunc(y.Jenkins.Nodes, func(n Node) bool { return n.Name == p.Name })
			} else if n := node[p.Name]; n != nil {
				n.Online = false
			}
			continue
		}
		if !y.Now.Before(y.ready[p.Name]) && p.Ready.IsZero() {
			p.Phase, p.Ready, p.ConnectedAt = PodRunning, y.Now, y.Now
			if n := node[p.Name]; n != nil {
				n.Online = true
			} else {
				y.Jenkins.Nodes = append(y.Jenkins.Nodes, Node{
					Name: p.Name, Team: p.Team, Kind: p.Kind, Labels: poolOf(&y.Input, p.PoolID).Labels, Online: true, Executors: 1, Idle: true,
				})
			}
		}
		pods = append(pods, p)
	}
	y.Cluster.Pods = pods
}

// give gives waiting builds to free agents.
func (y *yard) give() {
	for len(y.Jenkins.Items) > 0 {
		at := slices.IndexFunc(y.Jenkins.Nodes, func(n Node) bool { return n.Online && n.Idle && n.OfflineBy == NotMarked })
		if at < 0 {
			return
		}
		n, it := &y.Jenkins.Nodes[at], y.Jenkins.Items[0]
		n.Busy, n.Idle, n.Build = 1, false, fmt.Sprintf("job/%d", it.ID)
		if y.Jenkins.Hook && n.Kind == Ephemeral {
			n.OfflineBy, n.MarkedAt = Hook, y.Now
		}
		y.ends[n.Name] = y.Now.Add(y.length(int(it.ID)))
		y.builds++
		y.waited += y.Now.Sub(it.Since)
		y.uses += yes(y.Now.Equal(it.Since))
		y.Jenkins.Items = slices.Clone(y.Jenkins.Items[1:])
	}
}

// decide asks Decide, and carries its plan out.
func (y *yard) decide() {
	y.Jenkins.AskedAt, y.Jenkins.AnsweredAt, y.Cluster.At = y.Now.Add(-100*time.Millisecond), y.Now, y.Now
	plan, mem, _ := Decide(y.Input)
	if err := plan.Validate(y.Input); err != nil {
		y.t.Fatalf("at %s: Validate(plan) = %v, want nil", y.Now, err)
	}
	if y.watch != nil {
		y.watch(y, plan)
	}
	known := mem.Teams[y.Teams[0].Name]
	y.free += time.Duration(max(0, known.Ledger.Alive-known.Demand)*y.poll) * time.Second
	for i := range plan.Actions {
		a := &plan.Actions[i]
		if a.Agent == "" { // no name is used twice
			y.named++
			a.Agent = AgentName(a.Pool, fmt.Sprintf("%010d", y.named))
			if p := poolOf(&y.Input, a.Pool); a.Verb == Create && p.Connect == Inbound {
				y.Jenkins.Nodes = append(y.Jenkins.Nodes, Node{Name: a.Agent, Team: a.Pool.Team, Kind: a.Pool.Kind, Labels: p.Labels, Executors: p.size(), Idle: true})
			}
		}
		switch {
		case a.Verb == Create:
			y.made[a.Reason]++
		case a.Verb == Mark && a.Reason == ReasonIdle:
			y.gone++
		}
	}
	asked, at := y.Jenkins.AskedAt, y.Jenkins.AnsweredAt
	y.Input = apply(y.Input, plan, mem)
	y.Jenkins.AskedAt, y.Jenkins.AnsweredAt = asked, at
}
