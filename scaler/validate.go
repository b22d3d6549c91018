package scaler

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Validate checks a plan against the promises, from the raw input and without the table that made the plan.
// The loop calls Validate before it acts. If Validate returns an error, the loop carries out nothing of the
// plan. The error names every broken promise.
func (p Plan) Validate(in Input) error {
	v := validator{in: in, pods: map[string]*Pod{}, nodes: map[string]*Node{}, pinned: map[string]bool{}}
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
	in     Input
	pods   map[string]*Pod
	nodes  map[string]*Node
	pinned map[string]bool
	errs   []error
}

func (v *validator) broken(a *Action, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%s %s (%s): %s", a.Verb, a.Agent, a.Reason, fmt.Sprintf(format, args...)))
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
	case pod != nil && pod.Session == session, v.shownBefore(name) && v.in.Memory.Agents[name].Mark.Rested:
		return false
	}
	one := pod != nil && pod.Kind == Ephemeral && (node == nil || node.Executors == 1) || pod == nil && node != nil && node.Kind == Ephemeral && node.Executors == 1
	return !one || v.in.Memory.Agents[name].Work.Resumed != session
}

// shownBefore reports whether an earlier answer showed the mark that the Jenkins node carries now, and these
// answers were asked for later.
func (v *validator) shownBefore(name string) bool {
	was, node := v.in.Memory.Agents[name].Mark, v.nodes[name]
	return !was.Since.IsZero() && node != nil && node.OfflineBy == was.By && node.MarkedAt.Equal(was.At) && !v.in.Jenkins.AskedAt.Before(was.Since)
}

// closedBy reports whether the Jenkins node carries Bellboard's mark, or a mark of the hook's with a time.
// The time tells that mark from the hook's next mark.
func closedBy(n *Node) bool {
	return n.OfflineBy == Ours || n.OfflineBy == Hook && n.MarkedAt != time.Time{}
}

// quiet reports whether Jenkins is quieting down, and does not wait for builds on marked Jenkins nodes.
func (v *validator) quiet() bool {
	return !v.in.Jenkins.Hook && (v.in.Jenkins.QuietingDown || slices.ContainsFunc(v.in.Jenkins.Items, func(it Item) bool { return it.State == ShuttingDown }))
}

//nolint:cyclop // one flat switch: a case for each verb
func (v *validator) action(a *Action) {
	if !slices.Contains(Reasons(), a.Reason) {
		v.broken(a, "has no reason of the closed set")
	}
	pod, node := v.pods[a.Agent], v.nodes[a.Agent]
	if fence := node != nil && node.Fence; a.Verb.Destructive() && v.pinned[a.Agent] && (a.Verb != DeleteNode || !fence) {
		v.broken(a, "a queued build names it")
	}
	switch a.Verb {
	case Mark:
		v.mark(a, pod, node)
	case ClearMark:
		v.clearMark(a, node)
	case Create:
		if a.Agent != "" && (!v.in.Berths[a.Agent] || pod != nil || node == nil || node.Online || !node.Idle || v.pinned[a.Agent]) {
			v.broken(a, "is not a berth of this process")
		}
	case PutSecret, Annotate, Protect, Unprotect:
		if pod == nil || a.Pod == nil || a.Pod.UID != pod.UID {
			v.broken(a, "no such pod")
		} else if a.Verb == Unprotect && (node == nil || !node.Idle || v.pinned[a.Agent]) {
			v.broken(a, "a build needs it")
		}
	case Launch:
		if pod == nil || node == nil || node.Online || node.Fence {
			v.broken(a, "there is nobody to call")
		}
	case Register:
		if t := v.in.team(a.Pool.Team); t == nil || t.Pool(a.Pool.Kind) == nil {
			v.broken(a, "no such pool")
		}
	case DeletePod:
		v.deletePod(a, pod, node)
	case DeleteNode:
		v.deleteNode(a, pod, node)
	case Fence:
		if pod == nil || node != nil || pod.Connect != Swarm || v.grace(a.Agent) {
			v.broken(a, "only an absent Swarm node is fenced, and out of grace")
		}
	case DeleteSlot: // the method slots checks these together
	default:
		v.broken(a, "is no action")
	}
}

func (v *validator) mark(a *Action, pod *Pod, node *Node) {
	switch {
	case node == nil || !node.Mine() && pod == nil || node.OfflineBy == Person:
		v.broken(a, "is not ours to mark")
	case a.Reason == ReasonIdle && !node.Idle:
		v.broken(a, "its node is at work, and a scale-down takes only idle ones")
	case !node.Idle && v.quiet():
		v.broken(a, "Jenkins is about to restart, and would not wait for its build")
	}
}

func (v *validator) clearMark(a *Action, node *Node) {
	switch {
	case node != nil && v.pinned[a.Agent] && (node.OfflineBy == Ours || node.OfflineBy == Hook):
	case node != nil && node.OfflineBy == Ours && !node.Idle && v.quiet():
	default:
		v.broken(a, "only our own mark is lifted: for a build that names the node, or for one at work before a restart")
	}
}

// once checks that the plan takes at most one step for each agent, and takes no berth twice. Notes, Secrets
// and protection do not count as steps.
func (v *validator) once(p Plan) {
	first := make(map[string]Verb, len(p.Actions))
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Agent == "" || a.Verb == Annotate || a.Verb == PutSecret || a.Verb == Protect || a.Verb == Unprotect {
			continue
		}
		if other, ok := first[a.Agent]; ok {
			v.broken(a, "the same plan says %s", other)
		}
		first[a.Agent] = a.Verb
	}
}

func (v *validator) deletePod(a *Action, pod *Pod, node *Node) {
	switch {
	case pod == nil || a.Pod == nil || a.Pod.UID != pod.UID:
		v.broken(a, "no such pod")
	case pod.Ended():
	case v.grace(a.Agent):
		v.broken(a, "within the restart grace")
	case node == nil && pod.Connect == Inbound:
		if since := v.in.Memory.Agents[a.Agent].Gone; since.IsZero() || v.in.Jenkins.AskedAt.Before(since) {
			v.broken(a, "its node is missing from one answer only")
		}
	case node == nil:
		v.broken(a, "its Swarm node is absent and not fenced")
	case node.Fence:
	case !closedBy(node) || !v.shownBefore(a.Agent):
		v.broken(a, "no earlier answer showed the mark that is on its node")
	case !node.Idle:
		v.broken(a, "its node is at work")
	}
}

func (v *validator) deleteNode(a *Action, pod *Pod, node *Node) {
	switch {
	case node == nil || !node.Mine():
		v.broken(a, "no such node of ours")
	case node.Fence && v.pinned[a.Agent]:
	case node.Fence && (pod != nil || node.Online || !node.Idle):
		v.broken(a, "the fence still keeps somebody out")
	case node.Fence:
	case pod != nil:
		v.broken(a, "its pod lives")
	case v.grace(a.Agent) || node.Online || !closedBy(node) || !v.shownBefore(a.Agent):
		v.broken(a, "only an offline node whose mark was seen before goes, and out of grace")
	case !node.Idle:
		if since := v.in.Memory.Agents[a.Agent].Lost; since.IsZero() || v.in.Now.Sub(since) < LostAfter {
			v.broken(a, "Jenkins still waits for it")
		}
	}
}

// caps checks that the plan makes no more agents than each team's caps and the global cap allow.
func (v *validator) caps(p Plan) {
	alive, persistent := map[string]int{}, map[string]int{}
	all := 0
	count := func(id PoolID) {
		all++
		alive[id.Team]++
		if id.Kind == Persistent {
			persistent[id.Team]++
		}
	}
	for name, pod := range v.pods {
		recent := pod.Ends.IsZero() || v.in.Now.Sub(pod.Ends) < StuckPodAfter
		if node := v.nodes[name]; !pod.Ended() && (!pod.DeletingByUs || pod.Slot != "") && (recent || node != nil && node.Online) {
			count(pod.PoolID)
		}
	}
	grown, shrunk := map[PoolID]bool{}, map[PoolID]bool{}
	for i := range p.Actions {
		switch a := &p.Actions[i]; {
		case a.Verb == Create:
			count(a.Pool)
			grown[a.Pool] = true
		case a.Verb == Mark && a.Reason == ReasonIdle:
			shrunk[a.Pool] = true
		}
	}
	for id := range grown {
		v.cap(id, alive[id.Team], persistent[id.Team])
		if shrunk[id] {
			v.errs = append(v.errs, fmt.Errorf("creates and drains in %s %s at once", id.Team, id.Kind))
		}
	}
	if len(grown) > 0 && all > v.in.MaxAgents {
		v.errs = append(v.errs, fmt.Errorf("all teams would have %d agents, over BELLBOARD_MAX_AGENTS=%d", all, v.in.MaxAgents))
	}
}

// cap checks that the pool of a creation exists, and that its team has no more agents than it may.
func (v *validator) cap(id PoolID, alive, persistent int) {
	t := v.in.team(id.Team)
	switch {
	case t == nil || t.Pool(id.Kind) == nil:
		v.errs = append(v.errs, fmt.Errorf("creates for %s %s, which is not there", id.Team, id.Kind))
	case t.Paused:
		v.errs = append(v.errs, fmt.Errorf("creates for %s, which is paused", id.Team))
	case alive > t.MaxAgents:
		v.errs = append(v.errs, fmt.Errorf("%s would have %d agents, over MAX_AGENTS=%d", id.Team, alive, t.MaxAgents))
	case id.Kind == Persistent && persistent > t.MaxPersistent:
		v.errs = append(v.errs, fmt.Errorf("%s would have %d persistent agents, over MAX_PERSISTENT=%d", id.Team, persistent, t.MaxPersistent))
	}
}

// decisions checks that a rule explains each demand that got too few agents.
func (v *validator) decisions(p Plan) {
	for i := range p.Decisions {
		d := &p.Decisions[i]
		if d.Short > d.Up[Ephemeral]+d.Up[Persistent]*v.in.team(d.Team).Pool(Persistent).size() && len(d.Steps) == 0 {
			v.errs = append(v.errs, fmt.Errorf("%s: %d items are short, %d agents are made, and no rule says why", d.Team, d.Short, d.Ups()))
		}
		if !slices.Contains(DecisionReasons(), d.Reason) {
			v.errs = append(v.errs, fmt.Errorf("%s: decision without a reason", d.Team))
		}
	}
}

// slots checks the actions on cache slots. The plan gives no slot to two pods, and neither deletes nor
// changes a slot that a pod names.
func (v *validator) slots(p Plan) {
	held, done := map[string]string{}, map[string]Verb{}
	for i := range v.in.Cluster.Pods {
		if pod := &v.in.Cluster.Pods[i]; pod.Slot != "" {
			held[slotKey(pod.Namespace, pod.Slot)] = pod.Name
		}
	}
	for i := range p.Actions {
		a := &p.Actions[i]
		if a.Verb != Create && a.Verb != DeleteSlot || a.Verb == Create && a.Slot == nil {
			continue
		}
		if a.Slot == nil {
			v.broken(a, "names no slot")
			continue
		}
		key := a.Slot.Key()
		at := slices.IndexFunc(v.in.Cluster.Slots, func(s Slot) bool {
			return s.UID == a.Slot.UID && s.Name == a.Slot.Name && s.Namespace == a.Slot.Namespace
		})
		switch other, twice := done[key]; {
		case at < 0 || v.in.Cluster.Slots[at].PoolID != a.Pool:
			v.broken(a, "no such slot %s", key)
		case twice:
			v.broken(a, "the same plan says %s of slot %s", other, key)
		case held[key] != "":
			v.broken(a, "slot %s is %s's", key, held[key])
		case v.in.Cluster.Slots[at].Deleting:
			v.broken(a, "slot %s is being deleted", key)
		case a.Verb == DeleteSlot && v.in.Now.Before(v.in.GraceUntil):
			v.broken(a, "within the restart grace")
		case a.Verb == Create:
			v.fits(a)
		}
		done[key] = a.Verb
	}
}

// fits checks that the agent of a creation can use the slot that the creation takes.
func (v *validator) fits(a *Action) {
	switch p := v.in.pool(a.Pool); {
	case p == nil:
	case p.Namespace != a.Slot.Namespace:
		v.broken(a, "slot %s is in another namespace than the agent", a.Slot.Key())
	case p.SlotStore != a.Slot.Store:
		v.broken(a, "slot %s is of another kind of daemon", a.Slot.Key())
	}
}
