package scaler

import (
	"errors"
	"fmt"
	"slices"
)

// Validate checks a plan against the promises, from the raw input and without the table that made the plan.
// The loop calls Validate before it acts. If Validate returns an error, the loop carries out nothing of the
// plan. The error names every broken promise.
func (p Plan) Validate(in Input) error {
	v := validator{in: in, reasons: Reasons()}
	v.pods, v.nodes, v.pinned = map[string]*Pod{}, map[string]*Node{}, map[string]bool{}
	for i := range in.Cluster.Pods {
		v.pods[in.Cluster.Pods[i].Name] = &in.Cluster.Pods[i]
	}
	for i := range in.Jenkins.Nodes {
		v.nodes[in.Jenkins.Nodes[i].Name] = &in.Jenkins.Nodes[i]
	}
	for i := range in.Jenkins.Items {
		if it := &in.Jenkins.Items[i]; it.Resolution == Labelled {
			v.pinned[it.Label] = v.pods[it.Label] != nil || !in.Closing
		}
	}
	for i := range p.Actions {
		v.action(&p.Actions[i])
	}
	v.once(p)
	v.caps(p)
	v.slots(p)
	v.decisions(p)
	return errors.Join(v.errs...)
}

type validator struct {
	in      Input
	pods    map[string]*Pod
	nodes   map[string]*Node
	pinned  map[string]bool
	reasons []Reason
	errs    []error
}

func (v *validator) broken(format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf(format, args...))
}

// must notes a broken promise if the action does not keep it.
func (v *validator) must(a *Action, keeps bool, promise string) {
	if !keeps {
		v.broken("%s %s (%s): %s", a.Verb, a.Agent, a.Reason, promise)
	}
}

// grace reports whether a build from before the last restart of Jenkins may still want the agent of that
// name.
func (v *validator) grace(name string) bool {
	pod, node, session := v.pods[name], v.nodes[name], v.in.Jenkins.Session
	switch {
	case !v.in.Now.Before(v.in.GraceUntil):
		return false
	case session == "":
		return true
	case pod != nil && pod.Session == session, v.shownBefore(name) && v.in.Memory.agent(name).Mark.Rested:
		return false
	}
	ephemeral := pod != nil && pod.Kind == Ephemeral || pod == nil && node != nil && node.Kind == Ephemeral
	one := ephemeral && (node == nil || node.Executors == 1)
	return !one || v.in.Memory.agent(name).Work.Resumed != session
}

// shownBefore reports whether an earlier answer showed the mark that the Jenkins node carries now, and these
// answers were asked for later. The mark is Bellboard's, or the hook's with a time, which tells that mark
// from the hook's next mark.
func (v *validator) shownBefore(name string) bool {
	was, node := v.in.Memory.agent(name).Mark, v.nodes[name]
	closed := node != nil && (node.OfflineBy == Ours || node.OfflineBy == Hook && !node.MarkedAt.IsZero())
	same := closed && node.OfflineBy == was.By && node.MarkedAt.Equal(was.At)
	return same && !was.Since.IsZero() && !v.in.Jenkins.AskedAt.Before(was.Since)
}

// quiet reports whether Jenkins is quieting down, and does not wait for builds on marked Jenkins nodes.
func (v *validator) quiet() bool {
	shuts := slices.ContainsFunc(v.in.Jenkins.Items, func(it Item) bool { return it.State == ShuttingDown })
	return !v.in.Jenkins.Hook && (v.in.Jenkins.QuietingDown || shuts)
}

// action checks one action by itself.
func (v *validator) action(a *Action) {
	v.must(a, slices.Contains(v.reasons, a.Reason), "has no reason of the closed set")
	pod, node := v.pods[a.Agent], v.nodes[a.Agent]
	if a.Verb.Destructive() {
		v.destructive(a, pod, node)
		return
	}
	free, offline := node != nil && node.Idle && !v.pinned[a.Agent], node != nil && !node.Online
	switch a.Verb {
	case ClearMark:
		v.must(a, node != nil && v.clears(node), "only our own mark is lifted: "+
			"for a build that names the node, or for one at work before a restart")
	case Create:
		berth := v.in.Berths[a.Agent] && pod == nil && offline && free
		v.must(a, a.Agent == "" || berth, "is not a berth of this process")
	case PutSecret, Annotate, Protect, Unprotect:
		v.must(a, a.isOn(pod), "no such pod")
		v.must(a, a.Verb != Unprotect || free, "a build needs it")
	case Launch:
		v.must(a, pod != nil && offline && !node.Fence, "there is nobody to call")
	case Register:
		v.must(a, v.in.pool(a.Pool) != nil, "no such pool")
	default:
		v.must(a, false, "is no action")
	}
}

// isOn reports whether the action names the pod by its UID.
func (a *Action) isOn(pod *Pod) bool { return pod != nil && a.Pod != nil && a.Pod.UID == pod.UID }

// clears reports whether Bellboard may lift the mark of the Jenkins node.
func (v *validator) clears(node *Node) bool {
	return v.pinned[node.Name] && (node.OfflineBy == Ours || node.OfflineBy == Hook) ||
		node.OfflineBy == Ours && !node.Idle && v.quiet()
}

// destructive checks one step of a removal.
func (v *validator) destructive(a *Action, pod *Pod, node *Node) {
	fence := node != nil && node.Fence
	v.must(a, !v.pinned[a.Agent] || a.Verb == DeleteNode && fence, "a queued build names it")
	switch a.Verb {
	case Mark:
		ours, idle := node != nil && (node.Mine() || pod != nil), node == nil || node.Idle
		v.must(a, ours && node.OfflineBy != Person, "is not ours to mark")
		v.must(a, idle || a.Reason != ReasonIdle, "its node is at work, and a scale-down takes only idle ones")
		v.must(a, idle || !v.quiet(), "Jenkins is about to restart, and would not wait for its build")
	case Fence:
		v.must(a, pod != nil && node == nil && pod.Connect == Swarm && !v.grace(a.Agent),
			"only an absent Swarm node is fenced, and out of grace")
	case DeletePod:
		v.must(a, a.isOn(pod), "no such pod")
		if pod != nil && !pod.Ended() {
			v.deletePod(a, pod, node)
		}
	case DeleteNode:
		v.deleteNode(a, pod, node)
	default: // the method slots checks the deletions of slots together
	}
}

func (v *validator) deletePod(a *Action, pod *Pod, node *Node) {
	v.must(a, !v.grace(a.Agent), "within the restart grace")
	switch {
	case node == nil && pod.Connect == Inbound:
		gone := v.in.Memory.agent(a.Agent).Gone
		twice := !gone.IsZero() && !v.in.Jenkins.AskedAt.Before(gone)
		v.must(a, twice, "its node is missing from one answer only")
	case node == nil:
		v.must(a, false, "its Swarm node is absent and not fenced")
	case !node.Fence:
		v.must(a, v.shownBefore(a.Agent), "no earlier answer showed the mark that is on its node")
		v.must(a, node.Idle, "its node is at work")
	}
}

func (v *validator) deleteNode(a *Action, pod *Pod, node *Node) {
	switch {
	case node == nil || !node.Mine():
		v.must(a, false, "no such node of ours")
	case node.Fence:
		alone := pod == nil && !node.Online && node.Idle
		v.must(a, alone || v.pinned[a.Agent], "the fence still keeps somebody out")
	default:
		v.must(a, pod == nil, "its pod lives")
		v.must(a, !v.grace(a.Agent) && !node.Online && v.shownBefore(a.Agent),
			"only an offline node whose mark was seen before goes, and out of grace")
		since := v.in.Memory.agent(a.Agent).Lost
		lost := !since.IsZero() && v.in.Now.Sub(since) >= LostAfter
		v.must(a, node.Idle || lost, "Jenkins still waits for it")
	}
}

// once checks that the plan takes at most one step for each agent, and takes no berth twice. Notes, Secrets
// and protection do not count as steps.
func (v *validator) once(p Plan) {
	first := make(map[string]Verb, len(p.Actions))
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Agent == "" || slices.Contains([]Verb{Annotate, PutSecret, Protect, Unprotect}, a.Verb) {
			continue
		}
		v.must(a, first[a.Agent] == "", "the same plan says "+string(first[a.Agent]))
		first[a.Agent] = a.Verb
	}
}

// caps checks that the plan makes no more agents than each team's caps and the global cap allow.
func (v *validator) caps(p Plan) {
	alive, grown, shrunk := map[PoolID]int{}, map[PoolID]bool{}, map[PoolID]bool{}
	for name, pod := range v.pods {
		node := v.nodes[name]
		recent := pod.Ends.IsZero() || v.in.Now.Sub(pod.Ends) < StuckPodAfter || node != nil && node.Online
		if !pod.Ended() && (!pod.DeletingByUs || pod.Slot != "") && recent {
			alive[pod.PoolID]++
		}
	}
	for i := range p.Actions {
		switch a := &p.Actions[i]; {
		case a.Verb == Create:
			alive[a.Pool]++
			grown[a.Pool] = true
		case a.Verb == Mark && a.Reason == ReasonIdle:
			shrunk[a.Pool] = true
		}
	}
	for id := range grown {
		v.cap(id, alive[PoolID{id.Team, Ephemeral}], alive[PoolID{id.Team, Persistent}])
		if shrunk[id] {
			v.broken("creates and drains in %s %s at once", id.Team, id.Kind)
		}
	}
	all := 0
	for _, n := range alive {
		all += n
	}
	if len(grown) > 0 && all > v.in.MaxAgents {
		v.broken("all teams would have %d agents, over BELLBOARD_MAX_AGENTS=%d", all, v.in.MaxAgents)
	}
}

// cap checks that the pool of a creation exists, and that its team has no more agents than it may.
func (v *validator) cap(id PoolID, ephemeral, persistent int) {
	t, alive := v.in.team(id.Team), ephemeral+persistent
	switch {
	case v.in.pool(id) == nil:
		v.broken("creates for %s %s, which is not there", id.Team, id.Kind)
	case t.Paused:
		v.broken("creates for %s, which is paused", id.Team)
	case alive > t.MaxAgents:
		v.broken("%s would have %d agents, over MAX_AGENTS=%d", id.Team, alive, t.MaxAgents)
	case id.Kind == Persistent && persistent > t.MaxPersistent:
		v.broken("%s would have %d persistent agents, over MAX_PERSISTENT=%d", id.Team, persistent, t.MaxPersistent)
	}
}

// decisions checks that a rule explains each demand that got too few agents.
func (v *validator) decisions(p Plan) {
	for i := range p.Decisions {
		d := &p.Decisions[i]
		made := d.Up[Ephemeral] + d.Up[Persistent]*v.in.pool(PoolID{d.Team, Persistent}).size()
		if d.Short > made && len(d.Steps) == 0 {
			v.broken("%s: %d items are short, %d agents are made, and no rule says why", d.Team, d.Short, d.Ups())
		}
		if !slices.Contains(DecisionReasons(), d.Reason) {
			v.broken("%s: decision without a reason", d.Team)
		}
	}
}

// slots checks the actions on cache slots. The plan gives no slot to two pods, and neither deletes nor
// changes a slot that a pod names. The agent of a creation can use its slot.
func (v *validator) slots(p Plan) {
	held, done := map[SlotKey]string{}, map[SlotKey]Verb{}
	for i := range v.in.Cluster.Pods {
		if pod := &v.in.Cluster.Pods[i]; pod.Slot != "" {
			held[SlotKey{pod.Namespace, pod.Slot}] = pod.Name
		}
	}
	for i := range p.Actions {
		a := &p.Actions[i]
		switch {
		case a.Verb != Create && a.Verb != DeleteSlot, a.Verb == Create && a.Slot == nil:
			continue
		case a.Slot == nil:
			v.must(a, false, "names no slot")
			continue
		}
		key := a.Slot.Key()
		at := 0
		for ; at < len(v.in.Cluster.Slots); at++ {
			if s := &v.in.Cluster.Slots[at]; s.UID == a.Slot.UID && s.Key() == key && s.PoolID == a.Pool {
				break
			}
		}
		there := at < len(v.in.Cluster.Slots)
		v.must(a, there, "no such slot "+key.String())
		v.must(a, done[key] == "", fmt.Sprintf("the same plan says %s of slot %s", done[key], key))
		v.must(a, held[key] == "", fmt.Sprintf("slot %s is %s's", key, held[key]))
		v.must(a, !there || !v.in.Cluster.Slots[at].Deleting, fmt.Sprintf("slot %s is being deleted", key))
		v.must(a, a.Verb != DeleteSlot || !v.in.Now.Before(v.in.GraceUntil), "within the restart grace")
		if pool := v.in.pool(a.Pool); pool != nil && a.Verb == Create {
			near, same := pool.Namespace == a.Slot.Namespace, pool.SlotStore == a.Slot.Store
			v.must(a, near, "slot "+key.String()+" is in another namespace than the agent")
			v.must(a, same, "slot "+key.String()+" is of another kind of daemon")
		}
		done[key] = a.Verb
	}
}
