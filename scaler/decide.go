package scaler

import (
	"slices"
	"time"
)

// Input is all that a decision rests on.
type Input struct {
	Now       time.Time
	MaxAgents int // BELLBOARD_MAX_AGENTS: for all teams together
	Teams     []Team
	Jenkins   JenkinsView
	Cluster   ClusterView
	// GraceUntil is the end of JENKINS_RESTART_GRACE. Bellboard removes nothing before it.
	GraceUntil time.Time
	// Berths are the Jenkins nodes that this process has registered, and for which no pod was ever created.
	Berths map[string]bool
	// Closing: Bellboard removes everything, berths too. All teams are then given as paused.
	Closing bool
	// Secrets are the pods whose Secret exists, as far as this process knows.
	Secrets map[string]bool
	Memory  Memory
}

// pool returns the pool with that id, or nil.
func (in *Input) pool(id PoolID) *Pool {
	if t := in.team(id.Team); t != nil {
		return t.Pool(id.Kind)
	}
	return nil
}

// team returns the team of that name, or nil.
func (in *Input) team(name string) *Team {
	for i := range in.Teams {
		if in.Teams[i].Name == name {
			return &in.Teams[i]
		}
	}
	return nil
}

// Checked returns what Decide returns, and the error of Validate, which checks the plan against the promises.
func Checked(in Input) (Plan, Memory, Facts, error) {
	plan, memory, facts := Decide(in)
	return plan, memory, facts, plan.Validate(in)
}

// Decide returns the plan of one tick, the memory for the next tick, and the facts: what happened since the
// tick before. Decide never fails and never panics. The same Input gives the same answer. Decide does not
// change in.
func Decide(in Input) (Plan, Memory, Facts) {
	d := decider{scene: see(in), left: map[*agent]bool{}} // 1  what is there
	d.tableActions()                                      //    the table's steps; agents that no team wants
	d.match()                                             // 2  what is short
	teams := d.up()                                       // 3  which agents are made
	d.down(teams)                                         // 4  which agents go
	d.upkeep()                                            // 5  berths, slots, calls, protection
	d.report(teams)                                       //    the words for all of it
	return d.plan, d.memory(), d.facts
}

// decider is one run of Decide: the scene, the matching, and the plan that each stage adds to.
type decider struct {
	scene
	demands    []*demand
	supply     []*supply
	unlabelled bool            // at least one team serves builds that ask for no label
	asks       map[string]*ask // by team
	plan       Plan
	crowd      int             // how many agents builds wait for that only BELLBOARD_MAX_AGENTS forbids
	left       map[*agent]bool // agents whose berth this plan takes, or that a rule of this plan marks
}

func (d *decider) act(v Verb, m *agent, why Reason, text string) {
	d.plan.Actions = append(d.plan.Actions, Action{
		Verb: v, Agent: m.Name, Pool: m.PoolID, Reason: why, Text: text, Pod: m.Pod,
	})
}

// report adds the decisions and the list of agents for people to the plan, and orders the actions.
func (d *decider) report(teams []*ask) {
	for _, a := range teams {
		a.conclude()
		d.plan.Decisions = append(d.plan.Decisions, a.dec)
	}
	d.plan.Agents = make([]Agent, 0, len(d.agents))
	for _, m := range d.agents {
		a := Agent{
			Name: m.Name, PoolID: m.PoolID, Class: m.verdict.Class, Pod: m.Pod != nil, Node: m.Node != nil, Online: m.online(),
			Capacity: m.capacity(), Overdue: m.overdue, Text: agentText(m, d.in.Now),
		}
		if m.Node != nil {
			a.OfflineBy, a.Build = m.Node.OfflineBy, m.Node.Build
		}
		if m.Pod != nil {
			if a.Created = m.Pod.Created; !m.Pod.Connected {
				a.Phase, _ = m.Pod.reached()
			}
		}
		d.plan.Agents = append(d.plan.Agents, a)
	}
	d.plan.Actions = inOrder(d.plan.Actions)
}

// urgent lists the verbs in the order in which they are carried out: first the verbs that protect a build,
// then those that rest on fresh answers, then the rest.
var urgent = [][]Verb{
	{ClearMark, Protect},
	{Mark, Fence, DeletePod, DeleteNode, Unprotect},
	{PutSecret, Create},
	{Annotate, Launch},
	{Register},
	{DeleteSlot},
}

// inOrder returns the actions sorted by urgency.
func inOrder(actions []Action) []Action {
	rank := make([]int8, len(actions))
	for i := range actions {
		rank[i] = int8(slices.IndexFunc(urgent, func(verbs []Verb) bool { return slices.Contains(verbs, actions[i].Verb) }))
	}
	out := make([]Action, 0, len(actions))
	for r := range urgent {
		for i := range actions {
			if rank[i] == int8(r) {
				out = append(out, actions[i])
			}
		}
	}
	return out
}
