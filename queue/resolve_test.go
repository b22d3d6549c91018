package queue

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/label"
)

// atoms are what nodes carry and items ask for; two are also names of foreign
// nodes, some need quotes, and one is nowhere.
var atoms = []string{"linux", "docker", "gpu", "os:linux", "with space", "größe", "it’s", "static-1", "mac", "nowhere"}

// anyExpression draws an expression as somebody might type it.
func anyExpression(t *rapid.T, names []string, depth int) string {
	quoted := func(atom string) string {
		if slices.Contains([]string{"with space", "os:linux"}, atom) && rapid.Bool().Draw(t, "quoted") || atom == "with space" {
			return `"` + atom + `"`
		}
		return atom
	}
	if depth == 0 || rapid.IntRange(0, 2).Draw(t, "leaf") == 0 {
		if len(names) > 0 && rapid.IntRange(0, 9).Draw(t, "a node's name") == 0 {
			return quoted(rapid.SampledFrom(names).Draw(t, "name"))
		}
		return quoted(rapid.SampledFrom(atoms).Draw(t, "tag"))
	}
	blank := rapid.SampledFrom([]string{"", " "}).Draw(t, "blank")
	a, b := anyExpression(t, names, depth-1), anyExpression(t, names, depth-1)
	switch op := rapid.SampledFrom([]string{"&&", "&&", "&&", "||", "||", "!", "()", "->", "<->"}).Draw(t, "op"); op {
	case "!":
		return "!(" + a + ")"
	case "()":
		return "(" + blank + a + ")"
	case "->", "<->":
		return "(" + a + ")" + blank + op + blank + "(" + b + ")"
	default:
		return a + blank + op + blank + b
	}
}

func anySet(t *rapid.T, what string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(atoms[:9]), 1, 3, rapid.ID[string]).Draw(t, what)
}

// meaning is what an item wants: an expression, or nothing.
type meaning struct {
	kind, typed string
}

// town is a Jenkins with teams' berths in place, and the client that reads it.
type town struct {
	*rapid.T
	*hand
	jenkins *jenkinssim.Jenkins
	client  *Client
	pools   []scaler.Pool
	names   []string // of nodes
	foreign []string
	open    []string // connected ones
	vetoes  bool
	quiet   bool
	meant   map[int64]meaning
	tally   map[string]int
}

func newTown(t *rapid.T, tally map[string]int) *town {
	now := &hand{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	w := &town{T: t, hand: now, jenkins: jenkinssim.New(jenkinssim.Config{
		Clock: now, Version: rapid.SampledFrom([]string{"2.121.3", "2.318", "2.541", "2.568.1"}).Draw(t, "version"), BuiltInExecutors: rapid.IntRange(0, 1).Draw(t, "built-in"), BuiltInExclusive: rapid.Bool().Draw(t, "exclusive built-in"),
	}), meant: map[int64]meaning{}, tally: tally}
	var err error
	unlabelled := map[scaler.PoolID]bool{}
	w.client, err = New(Config{
		URL: "http://jenkins:8080", User: "bellboard", Instance: "bellboard", Clock: now, Transport: w.jenkins.Transport(),
		Token: func() (string, error) { return "token", nil }, Unlabelled: unlabelled,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "teams") {
		id := scaler.PoolID{Team: fmt.Sprintf("t%d", i), Kind: scaler.Ephemeral}
		pool := scaler.Pool{PoolID: id, Labels: append(anySet(t, "team's labels"), "ephemeral"), Unlabelled: rapid.Bool().Draw(t, "unlabelled")}
		w.pools = append(w.pools, pool)
		unlabelled[id] = pool.Unlabelled
		for b := range 2 + rapid.IntRange(0, 2).Draw(t, "agents") {
			name := fmt.Sprintf("t%d-e-%d", i, b)
			w.names = append(w.names, name)
			if err := w.client.Register(t.Context(), name, pool, time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "foreign nodes") {
		name := []string{"static-1", "mac", "other"}[i]
		w.names, w.foreign = append(w.names, name), append(w.foreign, name)
		w.jenkins.AddNode(jenkinssim.Node{
			Name: name, Labels: labelString(anySet(t, "its labels")), Exclusive: rapid.Bool().Draw(t, "exclusive"),
		}, false)
	}
	return w
}

// submit puts an item of any kind into the queue.
func (w *town) submit(i int) {
	typed := ""
	switch rapid.IntRange(0, 9).Draw(w.T, "what it asks for") {
	case 0:
	case 1: // a build that resumes: the only way in which anybody names a node of ours
		typed = rapid.SampledFrom(w.names).Draw(w.T, "node")
	default:
		typed = anyExpression(w.T, w.foreign, 2)
	}
	job := jenkinssim.Job{Name: fmt.Sprintf("job%d", i), Label: typed, Duration: time.Hour}
	kind := rapid.SampledFrom([]string{"freestyle", "pipeline", "matrix", "label parameter", "node parameter"}).Draw(w.T, "kind")
	switch kind {
	case "pipeline":
		job.Pipeline = true
	case "matrix":
		job.Cell = "axis=" + fmt.Sprint(i)
	case "label parameter":
		job.Parameter = jenkinssim.Parameter{Name: "lbl", Value: typed}
		job.Label = rapid.SampledFrom([]string{"", "linux", "gpu&&docker"}).Draw(w.T, "project's label")
		if typed == "" {
			typed = job.Label
		}
	case "node parameter":
		typed = rapid.SampledFrom(w.names).Draw(w.T, "node")
		job.Parameter = jenkinssim.Parameter{Name: "nd", Value: typed, Node: true}
		job.Label = rapid.SampledFrom([]string{"", "linux", "gpu&&docker"}).Draw(w.T, "project's label")
	}
	w.meant[w.jenkins.Submit(job)] = meaning{kind, typed}
}

// happen changes the state of a node.
func (w *town) happen() {
	name := rapid.SampledFrom(w.names).Draw(w.T, "whose")
	switch rapid.SampledFrom([]string{"connect", "connect", "mark", "clear", "veto", "cut", "gone", "restart", "quiet"}).Draw(w.T, "what") {
	case "connect":
		if _, err := w.jenkins.Connect(name, w.jenkins.Secret(name), name); err == nil {
			w.open = append(w.open, name)
		}
	case "mark":
		w.jenkins.PersonOffline(name, "looking at it")
	case "clear":
		w.jenkins.PersonOnline(name)
	case "veto":
		w.vetoes = true
		w.jenkins.Veto(name, "‘"+name+"’ has had enough")
	case "cut":
		w.jenkins.PersonOffline(name, "away")
	case "gone": // as one that had its build
		pool := rapid.SampledFrom(w.pools).Draw(w.T, "pool")
		if err := w.client.Register(w.Context(), "gone", pool, time.Time{}); err != nil {
			w.Fatal(err)
		}
		w.jenkins.PersonDelete("gone")
	case "restart": // its items keep their ids, and what was read of them
		w.jenkins.Restart(jenkinssim.Restart{})
		w.quiet = false
	case "quiet":
		w.quiet = !w.quiet
		w.jenkins.QuietDown(w.quiet)
	}
}

// matches is which nodes an expression matches.
func matches(e label.Expr, nodes []scaler.Node) (names []string) {
	for i := range nodes {
		n := &nodes[i]
		if e.Matches(func(atom string) bool { return atom == n.Name || slices.Contains(n.Labels, atom) }) {
			names = append(names, n.Name)
		}
	}
	return names
}

func (w *town) serves(e label.Expr) (teams []string) {
	for _, p := range w.pools {
		if e.Matches(func(atom string) bool { return slices.Contains(p.Labels, atom) }) {
			teams = append(teams, p.Team)
		}
	}
	return teams
}

// judge compares what was read with what was meant.
func (w *town) judge(v scaler.JenkinsView) {
	for _, it := range v.Items {
		m, ok := w.meant[it.ID]
		if !ok || it.State == scaler.Flyweight {
			continue // a pipeline's own run, which needs no agent
		}
		want, got := label.Parse(m.typed), label.Parse(it.Label)
		on := matches(want, v.Nodes)
		w.tally[m.kind+" "+string(it.Resolution)]++
		switch it.Resolution {
		case scaler.Labelled:
			if m.typed == "" {
				w.Fatalf("%s wants nothing, read as %q (%s)", m.kind, it.Label, it.Why)
			}
			if it.Label == want.Source() {
				continue
			}
			// The name of the only node that matches stands for the expression,
			// and must not be anybody's label.
			if len(on) != 1 || it.Label != label.ParseName(on[0]).Source() {
				w.Fatalf("%s wants %s, read as %q (%s)", m.kind, want, it.Label, it.Why)
			}
			if a, b := w.serves(want), w.serves(got); !slices.Equal(a, b) {
				w.Fatalf("%s wants %s of %v, read as %q of %v (%s)", m.kind, want, a, it.Label, b, it.Why)
			}
		case scaler.Unlabelled:
			// What every node of ours carries is as good as nothing.
			every := !slices.ContainsFunc(v.Nodes, func(n scaler.Node) bool { return n.Mine() && !slices.Contains(on, n.Name) })
			if m.typed != "" && !every {
				w.Fatalf("%s wants %s, read as nothing (%s)", m.kind, want, it.Why)
			}
		default:
			// With its berths in place, what a team serves is always told, unless
			// a plugin spoils the sentence or a node has a label's name. And where
			// a team serves builds without a label, so is that they want none.
			if m.typed == "" && slices.ContainsFunc(w.pools, func(p scaler.Pool) bool { return p.Unlabelled }) && !w.vetoes && !w.quiet && it.State == scaler.Buildable {
				w.Fatalf("%s wants nothing, unresolved (%s)", m.kind, it.Why)
			}
			_, clash := slices.BinarySearch(slices.Sorted(slices.Values(w.names)), want.String())
			if m.typed != "" && len(w.serves(want)) > 0 && !w.vetoes && !w.quiet && !clash && it.State == scaler.Buildable {
				w.Fatalf("%s wants %s, unresolved (%s)", m.kind, want, it.Why)
			}
		}
	}
}

// TestResolution: whatever teams, nodes and expressions, and whatever happens
// to the nodes, an item is read as what Jenkins means by it, or as unresolved,
// and never as anything else.
func TestResolution(t *testing.T) {
	tally := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := newTown(t, tally)
		defer w.jenkins.Close()
		for i := range rapid.IntRange(1, 12).Draw(t, "items") {
			w.submit(i)
		}
		for range rapid.IntRange(1, 6).Draw(t, "rounds") {
			w.now = w.now.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "seconds")) * time.Second)
			v, err := w.client.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			w.judge(v)
			w.happen()
		}
	})
	for _, kind := range []string{"freestyle", "pipeline", "matrix", "label parameter", "node parameter"} {
		if tally[kind+" labelled"] == 0 {
			t.Errorf("no %s was resolved: %v", kind, tally)
		}
	}
}

// hand is a clock that is moved by hand; the simulated Jenkins does what is due
// whenever it is asked something.
type hand struct{ now time.Time }

func (h *hand) Now() time.Time                     { return h.now }
func (h *hand) Wall(d time.Duration) time.Duration { return d }
func (h *hand) AfterFunc(time.Duration, func()) (stop func() bool) {
	return func() bool { return true }
}

// TestParameters: of several NodeLabel parameters the first with a value counts,
// as in Jenkins; one whose value is not shown leaves the project's label unproven.
func TestParameters(t *testing.T) {
	const class = `{"_class":"org.jvnet.jenkins.plugins.nodelabelparameter.`
	for name, c := range map[string]struct {
		parameters string
		how        scaler.Resolution
		label      string
	}{
		"one":               {class + `LabelParameterValue","name":"l","value":"linux && docker"}`, scaler.Labelled, "linux&&docker"},
		"two":               {class + `LabelParameterValue","name":"l","value":"gpu"},` + class + `NodeParameterValue","name":"n","value":"b1"}`, scaler.Labelled, "gpu"},
		"the first is null": {class + `LabelParameterValue","name":"l","value":null},` + class + `NodeParameterValue","name":"n","value":"b1"}`, scaler.Labelled, "b1"},
		"empty":             {class + `LabelParameterValue","name":"l","value":""}`, scaler.Labelled, "project"},
		"not shown":         {class + `LabelParameterValue","name":"l"}`, scaler.Labelled, "b1"},
		"another plugin's":  {`{"_class":"hudson.model.StringParameterValue","name":"l","value":"gpu"}`, scaler.Labelled, "project"},
	} {
		m := newMemory()
		items, err := m.items(`{"_class":"hudson.model.Queue","items":[{"_class":"hudson.model.Queue$BuildableItem","id":7,"inQueueSince":1,"why":"‘b1’ is offline",
			"actions":[{},{"_class":"hudson.model.ParametersAction","parameters":[`+c.parameters+`]}],
			"task":{"_class":"hudson.model.FreeStyleProject","url":"http://h/job/a/","labelExpression":"project"}}]}`, ours("b1", "b2"))
		if err != nil {
			t.Fatal(err)
		}
		if items[0].Resolution != c.how || items[0].Label != c.label {
			t.Errorf("%s: %s %q", name, items[0].Resolution, items[0].Label)
		}
	}
}

// TestNameThatIsALabel: the only node that matches may have the name of a label
// that other nodes have; its name would stand for them too.
func TestNameThatIsALabel(t *testing.T) {
	nodes := append(ours("b1", "b2"), scaler.Node{Name: "gpu"}, scaler.Node{Name: "mac", Labels: []string{"gpu"}})
	for why, want := range map[string]scaler.Resolution{
		"‘gpu’ is offline":                                     scaler.Unresolved,
		"Waiting for next available executor on ‘gpu’":         scaler.Unresolved,
		"‘mac’ is offline":                                     scaler.Labelled,
		"All nodes of label ‘gpu’ are offline":                 scaler.Labelled,
		"Waiting for next available executor on ‘gpu&&docker’": scaler.Labelled,
	} {
		m := newMemory()
		items, err := m.items(`{"_class":"hudson.model.Queue","items":[{"_class":"hudson.model.Queue$BuildableItem","id":7,"inQueueSince":1,"why":"`+why+
			`","task":{"_class":"org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask","url":"job/a/1/"}}]}`, nodes)
		if err != nil {
			t.Fatal(err)
		}
		if items[0].Resolution != want {
			t.Errorf("%s: %s %q", why, items[0].Resolution, items[0].Label)
		}
	}
}
