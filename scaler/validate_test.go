package scaler

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestValidateRefuses: for each promise, Validate refuses a plan that breaks it, and the error says which
// promise. (A property shows that Decide's own plans pass.)
func TestValidateRefuses(t *testing.T) {
	web := PoolID{"web", Ephemeral}
	pets := PoolID{"web", Persistent}
	const name = "web-e-a"
	act := func(v Verb, change ...func(*Action)) func(*Input, *Plan) {
		return func(in *Input, p *Plan) {
			a := Action{Verb: v, Agent: name, Pool: web, Reason: ReasonDrained}
			for i := range in.Cluster.Pods {
				if in.Cluster.Pods[i].Name == name {
					a.Pod = &in.Cluster.Pods[i]
				}
			}
			for _, f := range change {
				f(&a)
			}
			p.Actions = append(p.Actions, a)
		}
	}
	why := func(r Reason) func(*Action) { return func(a *Action) { a.Reason = r } }
	create := func(id PoolID, agent string) func(*Input, *Plan) {
		return func(_ *Input, p *Plan) {
			p.Actions = append(p.Actions, Action{Verb: Create, Agent: agent, Pool: id, Reason: ReasonDemand})
		}
	}
	with := func(change ...func(*Pair)) func(*Input) {
		return func(in *Input) { in.agent("web", Ephemeral, "a", change...); in.wasMarked() }
	}
	named := func(in *Input) { in.wait(1, name, time.Second) }
	inGrace := func(in *Input) { in.GraceUntil = noon.Add(1) }
	unseen := func(in *Input) { in.Memory.Agents = nil }
	missed := func(in *Input) { amend(&in.Memory.Agents, name, func(m *AgentMemory) { m.Gone = in.Jenkins.AskedAt }) }
	none := func(*Input) {}
	quieting := func(in *Input) { in.Jenkins.QuietingDown = true }
	madeNow := func(p *Pair) { p.Pod.Session = "s" }
	change := func(f func(*Marking)) func(*Input) {
		return func(in *Input) {
			amend(&in.Memory.Agents, name, func(m *AgentMemory) { f(&m.Mark) })
		}
	}
	remarked := change(func(m *Marking) { m.At = m.At.Add(-time.Second) })
	rested := change(func(m *Marking) { m.Rested = true })
	resumed := func(in string) func(*Input) {
		return func(i *Input) {
			amend(&i.Memory.Agents, name, func(m *AgentMemory) { m.Work = Work{Builds: 1, Resumed: in} })
		}
	}
	tests := []struct {
		name  string
		house []func(*Input)
		plan  []func(*Input, *Plan)
		words string // empty: Validate accepts the plan
	}{
		{"a drained agent goes", []func(*Input){with(ours)}, []func(*Input, *Plan){act(DeletePod)}, ""},
		{"not while a build names it", []func(*Input){with(ours), named}, []func(*Input, *Plan){act(DeletePod)}, "a queued build names it"},
		{"not in grace", []func(*Input){with(ours), inGrace}, []func(*Input, *Plan){act(DeletePod)}, "restart grace"},
		{"not on the answers that first show the mark", []func(*Input){with(ours), unseen}, []func(*Input, *Plan){act(DeletePod)}, "no earlier answer showed the mark"},
		{"not without a mark", []func(*Input){with()}, []func(*Input, *Plan){act(DeletePod)}, "no earlier answer showed the mark"},
		{"not on the hook's mark", []func(*Input){with(hook)}, []func(*Input, *Plan){act(DeletePod)}, "no earlier answer showed the mark"},
		{"but on a mark that was seen before", []func(*Input){with(hook, told)}, []func(*Input, *Plan){act(DeletePod)}, ""},
		{"not on the hook's next mark", []func(*Input){with(hook, told), remarked}, []func(*Input, *Plan){act(DeletePod)}, "no earlier answer showed the mark"},
		{"a mark is lifted before a restart", []func(*Input){with(ours, busy), quieting}, []func(*Input, *Plan){act(ClearMark)}, ""},
		{"not of an idle agent", []func(*Input){with(ours), quieting}, []func(*Input, *Plan){act(ClearMark)}, "only our own mark is lifted"},
		{"not without a restart", []func(*Input){with(ours, busy)}, []func(*Input, *Plan){act(ClearMark)}, "only our own mark is lifted"},
		{"no mark on a build before a restart", []func(*Input){with(busy), quieting}, []func(*Input, *Plan){act(Mark)}, "would not wait for its build"},
		{"in grace, an agent made since the restart", []func(*Input){with(ours, madeNow), inGrace}, []func(*Input, *Plan){act(DeletePod)}, ""},
		{"in grace, an agent that had no build before the restart", []func(*Input){with(ours), inGrace, rested}, []func(*Input, *Plan){act(DeletePod)}, ""},
		{"in grace, an agent that has had its build since", []func(*Input){with(ours), inGrace, resumed("s")}, []func(*Input, *Plan){act(DeletePod)}, ""},
		{"not an agent that had its build before", []func(*Input){with(ours), inGrace, resumed("before")}, []func(*Input, *Plan){act(DeletePod)}, "restart grace"},
		{"not at work", []func(*Input){with(ours, busy)}, []func(*Input, *Plan){act(DeletePod)}, "at work"},
		{"not another pod of that name", []func(*Input){with(ours)}, []func(*Input, *Plan){act(DeletePod, func(a *Action) { a.Pod = &Pod{UID: "other"} })}, "no such pod"},
		{"not a pod that is not there", []func(*Input){with(ours, noPod, offline)}, []func(*Input, *Plan){act(DeletePod)}, "no such pod"},
		{"an ended pod goes", []func(*Input){with(failed, busy), inGrace}, []func(*Input, *Plan){act(DeletePod, why(ReasonEnded))}, ""},
		{"but not an agent that a build names", []func(*Input){with(failed), named}, []func(*Input, *Plan){act(DeletePod, why(ReasonEnded))}, "a queued build names it"},
		{"an inbound pod without its node goes", []func(*Input){with(noNode), missed}, []func(*Input, *Plan){act(DeletePod, why(ReasonGhost))}, ""},
		{"not when only one answer misses its Jenkins node", []func(*Input){with(noNode)}, []func(*Input, *Plan){act(DeletePod, why(ReasonGhost))}, "missing from one answer"},
		{"a Swarm pod without its node is fenced first", []func(*Input){with(swarm, noNode)}, []func(*Input, *Plan){act(DeletePod, why(ReasonGhost))}, "not fenced"},
		{"a fenced pod goes", []func(*Input){with(swarm, fence)}, []func(*Input, *Plan){act(DeletePod, why(ReasonGhost))}, ""},
		{"a fenced pod that a build names stays", []func(*Input){with(swarm, fence), named}, []func(*Input, *Plan){act(DeletePod, why(ReasonGhost))}, "a queued build names it"},

		{"a stray node goes", []func(*Input){with(ours, noPod, offline)}, []func(*Input, *Plan){act(DeleteNode, why(ReasonStray))}, ""},
		{"not while its pod lives", []func(*Input){with(ours, offline)}, []func(*Input, *Plan){act(DeleteNode, why(ReasonStray))}, "its pod lives"},
		{"not while it is online", []func(*Input){with(ours, noPod)}, []func(*Input, *Plan){act(DeleteNode, why(ReasonStray))}, "only an offline node"},
		{"not without a mark", []func(*Input){with(noPod, offline)}, []func(*Input, *Plan){act(DeleteNode, why(ReasonStray))}, "only an offline node"},
		{"not on the answers that first show the mark", []func(*Input){with(ours, noPod, offline), unseen}, []func(*Input, *Plan){act(DeleteNode, why(ReasonStray))}, "mark was seen before"},
		{"not in grace", []func(*Input){with(ours, noPod, offline), inGrace}, []func(*Input, *Plan){act(DeleteNode, why(ReasonStray))}, "out of grace"},
		{"not while a build names it", []func(*Input){with(ours, noPod, offline), named}, []func(*Input, *Plan){act(DeleteNode, why(ReasonStray))}, "a queued build names it"},
		{"not a busy agent at once", []func(*Input){with(ours, noPod, offline, busy)}, []func(*Input, *Plan){act(DeleteNode, why(ReasonLost))}, "still waits for it"},
		{"not a node that is not there", []func(*Input){with(noNode)}, []func(*Input, *Plan){act(DeleteNode, why(ReasonStray))}, "no such node of ours"},
		{"not a foreign node", []func(*Input){with(ours, noPod, offline, func(p *Pair) { p.Node.Team = "" })}, []func(*Input, *Plan){act(DeleteNode, why(ReasonStray))}, "no such node of ours"},
		{"a fence in the way goes", []func(*Input){with(swarm, fence), named, inGrace}, []func(*Input, *Plan){act(DeleteNode, why(ReasonResume))}, ""},
		{"a fence that no item names stays while its pod lives", []func(*Input){with(swarm, fence)}, []func(*Input, *Plan){act(DeleteNode, why(ReasonGhost))}, "still keeps somebody out"},
		{"and goes without it", []func(*Input){with(fence, noPod)}, []func(*Input, *Plan){act(DeleteNode, why(ReasonGhost))}, ""},

		{"a node of ours is marked", []func(*Input){with(busy)}, []func(*Input, *Plan){act(Mark, why(ReasonPaused))}, ""},
		{"not a person's", []func(*Input){with(person)}, []func(*Input, *Plan){act(Mark, why(ReasonPaused))}, "not ours to mark"},
		{"not a foreign node", []func(*Input){with(func(p *Pair) { p.Node.Team = "" }, noPod)}, []func(*Input, *Plan){act(Mark, why(ReasonPaused))}, "not ours to mark"},
		{"not a Jenkins node that is not there", []func(*Input){with(noNode)}, []func(*Input, *Plan){act(Mark, why(ReasonPaused))}, "not ours to mark"},
		{"not an agent that a build names", []func(*Input){with(), named}, []func(*Input, *Plan){act(Mark, why(ReasonPaused))}, "a queued build names it"},
		{"no busy agent to scale down", []func(*Input){with(busy)}, []func(*Input, *Plan){act(Mark, why(ReasonIdle))}, "takes only idle ones"},
		{"our mark is lifted for a build", []func(*Input){with(ours), named}, []func(*Input, *Plan){act(ClearMark, why(ReasonResume))}, ""},
		{"not if no build wants the agent", []func(*Input){with(ours)}, []func(*Input, *Plan){act(ClearMark, why(ReasonResume))}, "for a build that names the node"},
		{"a person's is not", []func(*Input){with(person), named}, []func(*Input, *Plan){act(ClearMark, why(ReasonResume))}, "only our own mark"},

		{"an absent Swarm node is fenced", []func(*Input){with(swarm, noNode)}, []func(*Input, *Plan){act(Fence, why(ReasonGhost))}, ""},
		{"not a Jenkins node that is there", []func(*Input){with(swarm)}, []func(*Input, *Plan){act(Fence, why(ReasonGhost))}, "only an absent Swarm node"},
		{"not an inbound agent", []func(*Input){with(noNode)}, []func(*Input, *Plan){act(Fence, why(ReasonGhost))}, "only an absent Swarm node"},
		{"not in grace", []func(*Input){with(swarm, noNode), inGrace}, []func(*Input, *Plan){act(Fence, why(ReasonGhost))}, "out of grace"},
		{"no fence for an agent that a build names", []func(*Input){with(swarm, noNode), named}, []func(*Input, *Plan){act(Fence, why(ReasonGhost))}, "a queued build names it"},

		{"one step of an agent at a time", []func(*Input){with(ours)}, []func(*Input, *Plan){act(Mark), act(DeletePod)}, "the same plan says mark"},
		{"no reason", []func(*Input){with(busy)}, []func(*Input, *Plan){act(Mark, why("because"))}, "no reason of the closed set"},
		{"no such verb", []func(*Input){with()}, []func(*Input, *Plan){act("explode")}, "is no action"},
		{"no such pod to note on", []func(*Input){with(noPod)}, []func(*Input, *Plan){act(Annotate, why(ReasonConnected))}, "no such pod"},
		{"no such pod to give a Secret", []func(*Input){with(noPod)}, []func(*Input, *Plan){act(PutSecret, why(ReasonRestart))}, "no such pod"},
		{"no such pool to register for", []func(*Input){none}, []func(*Input, *Plan){act(Register, func(a *Action) { a.Agent, a.Pool = "", PoolID{"web", "odd"} })}, "no such pool"},

		{"an agent is made on a berth", []func(*Input){none}, []func(*Input, *Plan){create(web, "web-e-bertha")}, ""},
		{"once", []func(*Input){none}, []func(*Input, *Plan){create(web, "web-e-bertha"), create(web, "web-e-bertha")}, "the same plan says create"},
		{"not on another's name", []func(*Input){with()}, []func(*Input, *Plan){create(web, name)}, "not a berth of this process"},
		{"not on a berth that a build names", []func(*Input){func(in *Input) { in.wait(1, "web-e-bertha", time.Second) }}, []func(*Input, *Plan){create(web, "web-e-bertha")}, "not a berth of this process"},
		{"not on a berth that was taken", []func(*Input){with(offline), func(in *Input) { in.Berths[name] = true }}, []func(*Input, *Plan){create(web, name)}, "not a berth of this process"},
		{"not on a berth that is online", []func(*Input){with(noPod), func(in *Input) { in.Berths[name] = true }}, []func(*Input, *Plan){create(web, name)}, "not a berth of this process"},
		{"not on a berth at work", []func(*Input){with(noPod, offline, busy), func(in *Input) { in.Berths[name] = true }}, []func(*Input, *Plan){create(web, name)}, "not a berth of this process"},
		{"not on a berth whose node is gone", []func(*Input){func(in *Input) { in.Berths[name] = true }}, []func(*Input, *Plan){create(web, name)}, "not a berth of this process"},
		{"no note on another pod of that name", []func(*Input){with()}, []func(*Input, *Plan){act(Annotate, func(a *Action) { a.Pod = &Pod{UID: "other"} })}, "no such pod"},
		{"no note without saying on which pod", []func(*Input){with()}, []func(*Input, *Plan){act(Annotate, func(a *Action) { a.Pod = nil })}, "no such pod"},
		{"not for a team that is not there", []func(*Input){none}, []func(*Input, *Plan){create(PoolID{"who", Ephemeral}, "")}, "which is not there"},
		{"not for a kind that is not there", []func(*Input){func(in *Input) { in.Teams[0].Pools = in.Teams[0].Pools[:1] }}, []func(*Input, *Plan){create(pets, "")}, "which is not there"},
		{"not for a paused team", []func(*Input){func(in *Input) { in.Teams[0].Paused = true }}, []func(*Input, *Plan){create(web, "")}, "which is paused"},
		{"not over MAX_AGENTS", []func(*Input){func(in *Input) { in.Teams[0].MaxAgents = 1 }, with(busy, ours)}, []func(*Input, *Plan){create(web, "")}, "over MAX_AGENTS=1"},
		{"not over MAX_PERSISTENT", []func(*Input){func(in *Input) { in.Teams[0].MaxPersistent = 1 }}, []func(*Input, *Plan){create(pets, ""), create(pets, "")}, "over MAX_PERSISTENT=1"},
		{"not over BELLBOARD_MAX_AGENTS", []func(*Input){func(in *Input) { in.MaxAgents = 1 }, with(person)}, []func(*Input, *Plan){create(web, "")}, "over BELLBOARD_MAX_AGENTS=1"},
		{"nor a pod that should have ended long ago", []func(*Input){func(in *Input) { in.Teams[0].MaxAgents = 1 }, with(offline, endedFor(StuckPodAfter))}, []func(*Input, *Plan){create(web, "")}, ""},
		{"unless it is online", []func(*Input){func(in *Input) { in.Teams[0].MaxAgents = 1 }, with(endedFor(StuckPodAfter))}, []func(*Input, *Plan){create(web, "")}, "over MAX_AGENTS=1"},
		{"or that is not long ago", []func(*Input){func(in *Input) { in.Teams[0].MaxAgents = 1 }, with(offline, endedFor(StuckPodAfter-1))}, []func(*Input, *Plan){create(web, "")}, "over MAX_AGENTS=1"},
		{"an ended pod is not counted", []func(*Input){func(in *Input) { in.Teams[0].MaxAgents = 1 }, with(failed)}, []func(*Input, *Plan){create(web, "")}, ""},
		{"no pool grows and shrinks at once", []func(*Input){with()}, []func(*Input, *Plan){create(web, ""), act(Mark, why(ReasonIdle))}, "creates and drains"},
		{"a shortfall is made good or explained", []func(*Input){none}, []func(*Input, *Plan){func(_ *Input, p *Plan) { p.Decisions = []Decision{{Team: "web", Short: 2, Reason: ReasonSteady}} }}, "no rule says why"},
		{"a decision has a reason", []func(*Input){none}, []func(*Input, *Plan){func(_ *Input, p *Plan) { p.Decisions = []Decision{{Team: "web"}} }}, "decision without a reason"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := newHouse(newTeam("web", ModeAuto, []string{"linux"}))
			for _, f := range tt.house {
				f(&in)
			}
			var p Plan
			for _, f := range tt.plan {
				f(&in, &p)
			}
			err := p.Validate(in)
			switch {
			case tt.words == "" && err != nil:
				t.Errorf("Validate(%s) = %v, want nil", tt.name, err)
			case tt.words != "" && (err == nil || !strings.Contains(err.Error(), tt.words)):
				t.Errorf("Validate(%s) = %v, want an error with %q", tt.name, err, tt.words)
			}
		})
	}
}

// TestClosedSets: every constant of a closed set is in its list, once.
func TestClosedSets(t *testing.T) {
	sets := map[string][]string{
		"Kind": texts(Kinds()), "Verb": texts(Verbs()), "Reason": texts(Reasons()), "Rule": texts(Rules()), "Class": texts(Classes()), "Failure": texts(Failures()),
		"Result": texts(Results()), "Phase": texts(Phases()), "SlotState": texts(SlotStates()),
	}
	declared := map[string][]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
				of, typed := spec.Type.(*ast.Ident)
				value, literal := spec.Values[0].(*ast.BasicLit)
				if typed && literal && value.Value != `""` { // "" means that there is none
					declared[of.Name] = append(declared[of.Name], strings.Trim(value.Value, `"`))
				}
			}
			return true
		})
	}
	for name, listed := range sets {
		if want := slices.Sorted(slices.Values(declared[name])); len(want) == 0 || !slices.Equal(slices.Sorted(slices.Values(listed)), want) {
			t.Errorf("of %s are listed %q, want %q", name, listed, want)
		}
	}
}

func texts[T ~string](values []T) (out []string) {
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

func TestDeadline(t *testing.T) {
	v := JenkinsView{AnsweredAt: noon}
	if got := v.Deadline(); !got.Equal(noon.Add(time.Second)) {
		t.Errorf("Deadline() = %v, want one second after the answers", got)
	}
}
