package scaler

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/sentences.golden anew")

// TestSentences: testdata/sentences.golden has every sentence of explain.go, under the name of
// the function or constant that makes it. Write it anew with: go test ./scaler -run Sentences -update.
func TestSentences(t *testing.T) {
	said := sentences()
	for name := range sentenceMakers(t) {
		if len(said[name]) == 0 {
			t.Errorf("%s of explain.go has no sentence in this test", name)
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(said)) {
		fmt.Fprintf(&b, "%s\n", name)
		for _, s := range said[name] {
			fmt.Fprintf(&b, "  %s\n", s)
		}
	}
	const file = "testdata/sentences.golden"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the sentences differ from %s: %s", file, diff)
	}
}

// sentenceMakers are the functions of explain.go that return a string, and its constants.
func sentenceMakers(t *testing.T) map[string]bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "explain.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				of := d.Recv.List[0].Type
				if star, ok := of.(*ast.StarExpr); ok {
					of = star.X
				}
				name = of.(*ast.Ident).Name + "." + name
			}
			returns := d.Type.Results != nil && slices.ContainsFunc(d.Type.Results.List, func(f *ast.Field) bool {
				id, ok := f.Type.(*ast.Ident)
				return ok && id.Name == "string"
			})
			if returns || name == "ask.conclude" || name == "Tick.explain" {
				out[name] = true
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.CONST {
					out[v.Names[0].Name] = true
				}
			}
		}
	}
	return out
}

// TestWordsAreInOneFile: no other file of the package has words for people. A closed set, such
// as Reason, has no spaces.
func TestWordsAreInOneFile(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	apart := []string{
		"explain.go",  // which has them
		"validate.go", // broken promises: for those who mend Bellboard
		"errors.go",   // of the adapters
		"mark.go",     // what Jenkins keeps
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || slices.Contains(apart, name) {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if f, ok := n.(*ast.Field); ok && f.Tag != nil {
				return false
			}
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && strings.Contains(strings.TrimSpace(text), " ") {
					t.Errorf("%s: %s belongs into explain.go", set.Position(lit.Pos()), lit.Value)
				}
			}
			return true
		})
	}
}

// sentences are examples of every sentence, by what makes them.
func sentences() map[string][]string {
	out := map[string][]string{}
	say := func(name string, texts ...string) { out[name] = append(out[name], texts...) }
	d := func(s string) time.Duration {
		v, err := time.ParseDuration(s)
		if err != nil {
			panic(err)
		}
		return v
	}
	say("Short", Short(d("3s")), Short(d("2m")), Short(d("1h")), Short(d("1h2m3s")))
	say("plural", plural(1, "agent"), plural(2, "agent"))

	pauses := []Pause{
		{Kind: Ephemeral, Failure: FailureImagePull, Left: d("20s")},
		{Kind: Ephemeral, Left: d("300ms")},
		{Kind: Persistent, Failure: FailureOOM, May: 1},
		{Kind: Ephemeral, Failure: FailureOOM, Probes: 1},
		{Kind: Ephemeral, Failure: FailureOOM, Probes: 1, Came: true},
		{Kind: Ephemeral, Failure: FailureOOM, Probes: 2},
		{Kind: Ephemeral, Failure: FailureOOM, Probes: 2, May: 1},
	}
	for i := range pauses {
		say("Pause.text", pauses[i].text())
	}
	say("Pause.instead", pauses[0].instead(), pauses[2].instead())
	vetoes := []Vetoed{
		{Label: "linux", Why: "‘web-e-1’ is reserved"},
		{Why: "‘web-e-1’ is reserved"},
		{Label: "linux", Inferred: true, Why: "Waiting for next available executor"},
		{Label: "linux", Inferred: true, NamesNode: true},
	}
	for i := range vetoes {
		say("Vetoed.text", vetoes[i].text())
	}
	for _, r := range Rules() {
		s := Step{Rule: r, From: 5, To: 2, Limit: 2, Want: 5, Pause: &pauses[0]}
		switch r { //nolint:exhaustive // the others have no more numbers
		case RuleVetoed:
			s.Veto = &vetoes[0]
		case RuleScaleUpCooldown, RuleScaleDownCooldown:
			s.Left = d("23s")
		}
		say("Step.note", string(r)+": "+s.note())
		say("Step.block", string(r)+": "+s.block())
	}

	team := func(change func(*ask)) *ask {
		t := newTeam("web", ModeAuto, []string{"linux"}, func(t *Team) { t.MinAgents, t.MinIdle = 2, 1 })
		a := &ask{t: &t, up: newCreations(), coming: map[Kind]int{}, surplus: map[Kind]int{}, weighed: &TeamMemory{Lead: d("1m")}, dec: Decision{Up: map[Kind]int{}, Down: map[Kind]int{}, Renew: map[Kind]int{}}}
		a.dec.Weighed = Weighed{WaitValue: 10, Start: d("40s"), Gain: d("2m"), Costs: d("43m")}
		for _, every := range []time.Duration{d("1h"), d("30h"), 0} { // agents 1 and 2 are known
			var l Level
			for range fewGaps {
				if every > 0 {
					l.Gaps, l.Every = l.Gaps.with(every.Seconds()-60), l.Every.with(every.Seconds())
				}
			}
			a.weighed.Levels = append(a.weighed.Levels, l)
		}
		change(a)
		for _, k := range Kinds() {
			a.dec.Up[k] = a.ups(k)
		}
		return a
	}
	for _, change := range []func(*ask){
		func(*ask) {},
		func(a *ask) { a.stuck = 1 },
		func(a *ask) { a.stuck = 2 },
		func(a *ask) { a.t.Paused = true },
		func(a *ask) { a.dec.Waiting, a.dec.Coming = 2, 2 },
		func(a *ask) { a.dec.Waiting, a.dec.Coming, a.veto = 2, 2, &vetoes[2] },
		func(a *ask) {
			a.dec.Waiting, a.dec.Coming, a.dec.Overdue, a.coming[Ephemeral] = 3, 1, 1, 1
			a.dec.Usual = []Usual{{Kind: Ephemeral, Half: d("14s")}}
		},
		func(a *ask) {
			a.dec.Waiting, a.dec.Level = 3, 2
			a.up.add(Ephemeral, ReasonDemand, 3)
			a.up.add(Persistent, ReasonMinimum, 1)
			a.up.add(Ephemeral, ReasonSpare, 1)
		},
		func(a *ask) {
			a.dec.Waiting = 3
			a.up.add(Ephemeral, ReasonDemand, 1)
			a.step(Step{Rule: RuleMaxAgents, Limit: 4, Want: 6}, 3, 1)
		},
		func(a *ask) {
			a.dec.Waiting = 3
			a.up.add(Persistent, ReasonDemand, 1)
			a.step(Step{Rule: RuleFallback, Pause: &pauses[0]}, 3, 2)
			a.step(Step{Rule: RuleBackoff, Pause: &pauses[0]}, 2, 0)
		},
		func(a *ask) { a.step(Step{Rule: RuleScaleUpCooldown, Left: d("23s")}, 3, 0) },
		func(a *ask) { a.dec.Down[Ephemeral] = 1 },
		func(a *ask) { a.dec.Down[Persistent], a.t.Pools[1].IdleTimeout = 2, 0 },
		func(a *ask) { a.dec.Weighed.Hold, a.surplus[Persistent] = 2, 2 },
		func(a *ask) { a.dec.Weighed.Hold, a.dec.Weighed.Ahead, a.surplus[Persistent] = 2, 1, 2 },
		func(a *ask) { a.dec.Weighed.Ahead = 2; a.up.add(Persistent, ReasonForecast, 2) },
		func(a *ask) { a.dec.Waiting = 1; a.dec.Level = 1; a.up.add(Persistent, ReasonDemand, 1) },
		func(a *ask) { a.dec.Waiting = 1; a.dec.Level = 1; a.up.add(Ephemeral, ReasonDemand, 1) },
		func(a *ask) { a.dec.Waiting = 1; a.dec.Level = 3; a.up.add(Persistent, ReasonDemand, 1) },
		func(a *ask) { a.dec.Down[Ephemeral], a.departs.made = 2, 1 },
		func(a *ask) { a.dec.Down[Persistent], a.departs.emptied = 1, 1 },
		func(a *ask) {
			a.dec.Renew[Persistent] = 3
			a.departs.renewed = map[outdated]int{{settings: true}: 1, {lifetime: d("24h")}: 2}
		},
	} {
		a := team(change)
		block, fallback := a.blocked()
		_, growing := a.growing()
		_, leaving := a.leaving()
		say("ask.blocked", block, fallback)
		say("ask.growing", growing)
		say("ask.leaving", leaving)
		say("ask.creationText", a.creationText(ReasonSpare), a.creationText(ReasonMinimum), a.creationText(ReasonForecast))
		say("ask.comingText", a.comingText())
		say("ask.kindText", said(a.kindText())...)
		say("ask.heldText", said(a.heldText())...)
		a.conclude()
		say("ask.conclude", string(a.dec.Reason)+": "+a.dec.Text)
		say("Decision.Change", a.dec.Change())
		say("Decision.OnTheWay", a.dec.OnTheWay())
		say("Decision.Waited", a.dec.Waited())
	}
	waits := Decision{Waiting: 1, Oldest: d("72s")}
	say("Decision.Waited", waits.Waited())
	for _, o := range []outdated{{settings: true}, {lifetime: d("24h")}} {
		say("outdated.text", o.text())
		say("renewText", renewText(o))
	}
	say("Usual.Words", Usual{Half: d("14s"), Most: d("20s")}.Words(), Usual{Half: d("14s"), Most: d("20s"), Phases: []PhaseTime{{PhasePull, d("9s")}}}.Words())

	at := Scheduled{Setting: "MIN_IDLE", Value: "2", Else: "0", Window: "0 7 * * 1-5 for 11h in Europe/Berlin", Until: noon}
	say("WindowTime", WindowTime(noon))
	say("Scheduled.Words", at.Words())
	say("Scheduled.Over", at.Over())

	say("unlabelledText", unlabelledText)
	sentencesOfAll(say)
	sentencesOfWhy(say)
	say("noTeamText", noTeamText("linux", false), noTeamText("linux", true))
	say("unresolvedText", unresolvedText("Waiting for next available executor"))
	for name, text := range map[string]string{
		"resumeText": resumeText, "roomText": roomText, "connectedText": connectedText, "secretText": secretText, "buildText": buildText,
		"heldText": heldText, "launchText": launchText, "berthText": berthText, "goneTeamText": goneTeamText, "pausedText": pausedText,
		"vanishedText": vanishedText, "slotClosingText": slotClosingText, "slotLostText": slotLostText,
		"slotSmallText": slotSmallText, "slotAsideText": slotAsideText, "slotUnusedText": slotUnusedText,
	} {
		say(name, text)
	}
	say("freeText", freeText())
	say("idleText", idleText(d("10m"), false), idleText(d("40s"), true))
	say("slotOrphanText", slotOrphanText(d("24h")))
	say("slotOldText", slotOldText(d("25h"), d("24h")))
	say("slotWorthText", slotWorthText(0), slotWorthText(1), slotWorthText(2))
	say("slotCrowdText", slotCrowdText(3, false), slotCrowdText(3, true))
	sentencesOfAgents(say)
	for name := range out {
		slices.Sort(out[name])
		out[name] = slices.DeleteFunc(slices.Compact(out[name]), func(s string) bool { return s == "" })
	}
	return out
}

func sentencesOfAll(say func(name string, texts ...string)) {
	failing := []Step{{Rule: RuleBackoff, Pause: &Pause{Kind: Ephemeral, Failure: FailureNodeGone, Left: 18 * time.Second}}}
	usual := []Usual{{Kind: Ephemeral, Half: 14 * time.Second, Most: 20 * time.Second}}
	nobodys := []Unserved{{Label: "windows", Count: 2, Oldest: time.Hour}}
	for _, p := range []Plan{
		{},
		{Decisions: []Decision{{Team: "data", Busy: 1}, {Team: "web"}}},
		{Decisions: []Decision{{Team: "data", Busy: 2}, {Team: "web", Steps: failing}}},
		{Decisions: []Decision{{Team: "web", Waiting: 1, Oldest: 3 * time.Second}}},
		{Decisions: []Decision{{Team: "web", Waiting: 3, Oldest: 12 * time.Second, Coming: 3, Usual: usual}}},
		{Decisions: []Decision{{Team: "data", Waiting: 9, Oldest: time.Hour}, {Team: "web", Waiting: 25, Oldest: 12 * time.Minute, Coming: 1, Steps: failing}}},
		{Decisions: []Decision{{Team: "web", Waiting: 25, Oldest: 12 * time.Minute, Steps: failing}}},
		{Decisions: []Decision{{Team: "web", Waiting: 7, Oldest: 5 * time.Second, Steps: []Step{{Rule: RuleMaxAgents, Limit: 4, Want: 9}}}}},
		{Decisions: []Decision{{Team: "web", Waiting: 1, Oldest: 3 * time.Second}}, Unserved: nobodys},
		{Unresolved: nobodys},
		{Decisions: []Decision{{Team: "web", Waiting: 1, Steps: []Step{{Rule: RuleVetoed, Veto: &Vetoed{Label: "linux", Why: "‘web-e-1’ is reserved; ‘web-e-2’ is reserved"}}}}}},
		{Unserved: []Unserved{{Count: 1, Oldest: time.Second}}},
	} {
		say("Tick.Headline", (&Tick{Plan: p}).Headline())
	}
	for _, by := range []Source{SourceJenkins, SourceKubernetes, SourceBellboard} {
		say("Tick.Headline", (&Tick{At: noon.Add(3 * time.Minute), HoldSince: noon, Hold: "cannot read", HoldBy: by}).Headline())
	}
	say("usually", usually(14*time.Second), usually(0))
	say("Unserved.Remedy", nobodys[0].Remedy(), (&Unserved{}).Remedy())
	for _, n := range []Near{
		{Team: "web-shop", Lacks: []string{"gpu"}},
		{Team: "web", Lacks: []string{"gpu", "cuda"}, Kind: Persistent},
		{Team: "web", Kind: Persistent},
		{Team: "web", Lacks: []string{"linx"}, Meant: "linux"},
	} {
		say("Near.settings", n.settings())
		say("Unserved.Remedy", (&Unserved{Label: "linux&&gpu", Near: &n}).Remedy())
	}
}

func sentencesOfAgents(say func(name string, texts ...string)) {
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	pod := func(change func(*Pod)) *Pod {
		p := &Pod{Name: "web-e-a", Phase: PodRunning, Created: ago(6 * time.Minute), Connect: Inbound}
		change(p)
		return p
	}
	pods := []*Pod{
		pod(func(*Pod) {}),
		pod(func(p *Pod) { p.Failure, p.Trouble = FailureStorage, "Unschedulable" }),
		pod(func(p *Pod) { p.Scheduled = ago(5 * time.Minute) }),
		pod(func(p *Pod) { p.Scheduled, p.Mounted = ago(5*time.Minute), ago(4*time.Minute) }),
		pod(func(p *Pod) {
			p.Scheduled, p.Mounted, p.Failure, p.Trouble = ago(5*time.Minute), ago(4*time.Minute), FailureCrashLoop, "CreateContainerError"
		}),
		pod(func(p *Pod) { p.Scheduled, p.Mounted, p.Faulty = ago(5*time.Minute), ago(4*time.Minute), "proxy" }),
		pod(func(p *Pod) {
			p.Scheduled, p.Mounted, p.DockerUp = ago(5*time.Minute), ago(4*time.Minute), ago(3*time.Minute)
		}),
		pod(func(p *Pod) {
			p.Scheduled, p.Mounted, p.DockerUp, p.DockerReady = ago(5*time.Minute), ago(4*time.Minute), ago(3*time.Minute), ago(2*time.Minute)
		}),
		pod(func(p *Pod) {
			p.Scheduled, p.Mounted, p.Ready = ago(5*time.Minute), ago(4*time.Minute), ago(3*time.Minute)
		}),
	}
	for _, p := range pods {
		say("culprit", culprit(p, noon))
		say("reasonOf", reasonOf(p))
		m := &agent{Pair: Pair{Name: p.Name, Pod: p, Node: &Node{}, StartTimeout: 5 * time.Minute, Connect: Inbound}, overdue: true}
		say("agent.stuckText", m.stuckText(noon))
		say("agentText", agentText(m, noon))
	}
	for _, p := range Phases() {
		say("Phase.words", p.words())
	}
	say("agent.stuckText", (&agent{}).stuckText(noon), (&agent{Pair: Pair{Pod: pods[0], Connect: Inbound}}).stuckText(noon),
		(&agent{Pair: Pair{Pod: pods[4], Node: &Node{}, Failing: ago(time.Hour)}}).stuckText(noon))
	say("agentText", agentText(&agent{Pair: Pair{Pod: pod(func(p *Pod) { p.Ends = ago(time.Hour) })}, stuck: true}, noon),
		agentText(&agent{Pair: Pair{Pod: pod(func(p *Pod) { p.Trouble, p.TroubleText = "ErrImagePull", "not found" })}}, noon),
		agentText(&agent{Pair: Pair{Node: &Node{Offline: "maintenance"}}}, noon))
	for _, c := range Classes() {
		for _, r := range []Reason{"", ReasonOneBuild, ReasonDocker} {
			connected := pod(func(p *Pod) { p.Connected, p.DockerFailure, p.Scheduled = true, FailureOOM, ago(time.Minute) })
			m := &agent{Pair: Pair{Name: "web-e-a", Pod: connected, Node: &Node{}}, verdict: Verdict{Class: c, Reason: r}}
			say("stepText", string(c)+": "+stepText(m, noon))
			m.Node, m.Connect = nil, Inbound
			say("stepText", string(c)+": "+stepText(m, noon))
		}
	}
	for _, change := range []func(*Pod){
		func(p *Pod) { p.Phase, p.Trouble, p.TroubleText = PodFailed, "Evicted", "the node was low on memory" },
		func(p *Pod) { p.DeletingByUs = true }, func(p *Pod) { p.Deleting = true }, func(p *Pod) { p.Deleting, p.Trouble = true, "NodeLost" },
		func(p *Pod) { p.Disrupted = true }, func(*Pod) {},
	} {
		say("Pod.ending", pod(change).ending())
	}
	say("failedText", failedText(&Action{Text: "its pod ended: Failed", Pod: pods[0]}),
		failedText(&Action{Text: "its pod ended: Failed OOMKilled", Pod: &Pod{TroubleText: "agent: exit code 137"}}))
}
