package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/label"
)

// atoms are labels of nodes and of items. Two are also the names of foreign nodes, some need quotes, and no
// node has the last one.
var atoms = []string{"linux", "docker", "gpu", "os:linux", "with space", "größe", "it’s", "static-1", "mac", "nowhere"}

// anyExpression draws an expression as a person might type it.
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

// meaning is the expression that an item wants, or nothing.
type meaning struct {
	kind, typed string
}

// world is a Jenkins with the berths of some teams, and a client.
type world struct {
	*rapid.T
	*manualClock
	jenkins *jenkinssim.Jenkins
	client  *Client
	pools   []scaler.Pool
	names   []string // of all nodes
	foreign []string
	open    []string // of connected nodes
	vetoes  bool
	quiet   bool
	meant   map[int64]meaning
	tally   map[string]int
}

func newWorld(t *rapid.T, tally map[string]int) *world {
	now := &manualClock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	w := &world{T: t, manualClock: now, jenkins: jenkinssim.New(jenkinssim.Config{
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
func (w *world) submit(i int) {
	typed := ""
	switch rapid.IntRange(0, 9).Draw(w.T, "what it asks for") {
	case 0:
	case 1: // a build that resumes: only such an item names a node of Bellboard's
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

func (w *world) connect(name string) {
	if _, err := w.jenkins.Connect(name, w.jenkins.Secret(name), name); err == nil {
		w.open = append(w.open, name)
	}
}

// change puts a node into another state.
func (w *world) change() {
	name := rapid.SampledFrom(w.names).Draw(w.T, "whose")
	switch rapid.SampledFrom([]string{"connect", "connect", "mark", "clear", "veto", "cut", "gone", "restart", "quiet"}).Draw(w.T, "what") {
	case "connect":
		w.connect(name)
	case "mark":
		w.jenkins.PersonOffline(name, "looking at it")
	case "clear":
		w.jenkins.PersonOnline(name)
	case "veto":
		w.vetoes = true
		w.jenkins.Veto(name, "‘"+name+"’ has had enough")
		w.connect(name) // Jenkins says it only of idle executors
	case "cut":
		w.jenkins.PersonOffline(name, "away")
	case "gone": // like a node that has had its build
		pool := rapid.SampledFrom(w.pools).Draw(w.T, "pool")
		if err := w.client.Register(w.Context(), "gone", pool, time.Time{}); err != nil {
			w.Fatal(err)
		}
		w.jenkins.PersonDelete("gone")
	case "restart": // the items keep their ids, and the client keeps their labels
		w.jenkins.Restart(jenkinssim.Restart{})
		w.quiet = false
	case "quiet":
		w.quiet = !w.quiet
		w.jenkins.QuietDown(w.quiet)
	}
}

// matches returns the names of the nodes that an expression matches.
func matches(e label.Expr, nodes []scaler.Node) (names []string) {
	for i := range nodes {
		n := &nodes[i]
		if e.Matches(func(atom string) bool { return atom == n.Name || slices.Contains(n.Labels, atom) }) {
			names = append(names, n.Name)
		}
	}
	return names
}

func (w *world) serves(e label.Expr) (teams []string) {
	for _, p := range w.pools {
		if e.Matches(func(atom string) bool { return slices.Contains(p.Labels, atom) }) {
			teams = append(teams, p.Team)
		}
	}
	return teams
}

// check compares the labels that the client read with the labels that the items want.
func (w *world) check(v scaler.JenkinsView) {
	for _, it := range v.Items {
		m, ok := w.meant[it.ID]
		if !ok || it.State == scaler.Flyweight {
			continue // the run of a pipeline itself, which needs no agent
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
			// The name of the only node that matches stands for the expression. The name must not be the
			// label of another node.
			if len(on) != 1 || it.Label != label.ParseName(on[0]).Source() {
				w.Fatalf("%s wants %s, read as %q (%s)", m.kind, want, it.Label, it.Why)
			}
			if a, b := w.serves(want), w.serves(got); !slices.Equal(a, b) {
				w.Fatalf("%s wants %s, which teams %v serve; read as %q, which teams %v serve (%s)", m.kind, want, a, it.Label, b, it.Why)
			}
		case scaler.Unlabelled:
			// A label that every node of Bellboard's has is as good as no label.
			every := !slices.ContainsFunc(v.Nodes, func(n scaler.Node) bool { return n.Mine() && !slices.Contains(on, n.Name) })
			if m.typed != "" && !every {
				w.Fatalf("%s wants %s, read as nothing (%s)", m.kind, want, it.Why)
			}
		case scaler.Inferred:
			// Bellboard tries one agent. There has to be a node with these labels that fits the item. The
			// only exception is a foreign node with the name of a label.
			if slices.Contains(w.foreign, it.Label) {
				continue
			}
			if !slices.ContainsFunc(v.Nodes, func(n scaler.Node) bool {
				own := got.Matches(func(atom string) bool { return slices.Contains(n.Labels, atom) })
				return own && n.Mine() && (m.typed == "" || slices.Contains(on, n.Name))
			}) {
				w.Fatalf("%s wants %s, inferred as %s, but no node of Bellboard's with these labels fits (%s)", m.kind, want, got, it.Why)
			}
		default:
			// If a team with berths serves the item, the label is always known. There are two exceptions: a
			// plugin spoils the sentence, or a node has the name of a label. The same holds for an item
			// without a label, if a team serves such items.
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

// TestResolution: for any teams, nodes and expressions, and whatever happens to the nodes, the client reads
// an item as Jenkins means it, or as unresolved. It never reads anything else.
func TestResolution(t *testing.T) {
	tally := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, tally)
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
			w.check(v)
			w.change()
		}
	})
	for _, kind := range []string{"freestyle", "pipeline", "matrix", "label parameter", "node parameter"} {
		if tally[kind+" labelled"] == 0 {
			t.Errorf("no item of kind %s was labelled: %v", kind, tally)
		}
	}
}

// manualClock is a clock that the test moves. The simulated Jenkins does what is due at each request.
type manualClock struct{ now time.Time }

func (h *manualClock) Now() time.Time                     { return h.now }
func (h *manualClock) Wall(d time.Duration) time.Duration { return d }
func (h *manualClock) AfterFunc(time.Duration, func()) (stop func() bool) {
	return func() bool { return true }
}

// TestParameters: of several NodeLabel parameters the first with a value counts, as in Jenkins. If the
// value of a parameter is hidden, the label of the project proves nothing.
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
		m := &memory{}
		items, err := m.items(strings.NewReader(`{"_class":"hudson.model.Queue","items":[{"_class":"hudson.model.Queue$BuildableItem","id":7,"inQueueSince":1,"why":"‘b1’ is offline",
			"actions":[{},{"_class":"hudson.model.ParametersAction","parameters":[`+c.parameters+`]}],
			"task":{"_class":"hudson.model.FreeStyleProject","url":"http://h/job/a/","labelExpression":"project"}}]}`), ownNodes("b1", "b2"))
		if err != nil {
			t.Fatal(err)
		}
		if items[0].Resolution != c.how || items[0].Label != c.label {
			t.Errorf("%s: %s %q", name, items[0].Resolution, items[0].Label)
		}
	}
}

// pipelines reads a queue of pipelines. jobsAndWhys has the name of each job, followed by its sentence.
func pipelines(t *testing.T, m *memory, nodes []scaler.Node, jobsAndWhys ...string) []scaler.Item {
	t.Helper()
	body := `{"_class":"hudson.model.Queue","items":[`
	for i := 0; i < len(jobsAndWhys); i += 2 {
		if i > 0 {
			body += ","
		}
		body += fmt.Sprintf(`{"_class":"hudson.model.Queue$BuildableItem","id":%d,"inQueueSince":1,"why":%q,`, 7+i, jobsAndWhys[i+1]) +
			`"task":{"_class":"org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask","url":"job/` + jobsAndWhys[i] + `/1/"}}`
	}
	items, err := m.items(strings.NewReader(body+"]}"), nodes)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// TestNameThatIsALabel: the only node that matches may have the name of another node's label. The name
// would stand for that other node too. If nodes of Bellboard's have the label, the sentence may mean
// either. The name of a node of Bellboard's never means anything else.
func TestNameThatIsALabel(t *testing.T) {
	const on = "Waiting for next available executor on "
	foreign := append(ownNodes("b1", "b2"), scaler.Node{Name: "gpu"}, scaler.Node{Name: "mac", Labels: []string{"gpu"}})
	alike := append(ownNodes("b1", "b2"), scaler.Node{Name: "gpu"})
	alike[1].Labels, alike[2].Labels = []string{"gpu"}, []string{"gpu"}
	named := append(ownNodes("b1", "b2"), scaler.Node{Name: "gpu", Labels: []string{"b1"}})
	named[2].Labels = []string{"b1"}
	fence := append(ownNodes("b1", "b2"), scaler.Node{Name: "old", Team: "web", Kind: scaler.Ephemeral, Fence: true}, scaler.Node{Name: "mac", Labels: []string{"old"}})
	for _, c := range []struct {
		nodes []scaler.Node
		why   string
		how   scaler.Resolution
		label string
	}{
		{foreign, "‘gpu’ is offline", scaler.Unresolved, ""},
		{foreign, on + "‘gpu’", scaler.Unresolved, ""},
		{foreign, "‘mac’ is offline", scaler.Labelled, "mac"},
		{foreign, "All nodes of label ‘gpu’ are offline", scaler.Labelled, "gpu"},
		{foreign, on + "‘gpu&&docker’", scaler.Labelled, "gpu&&docker"},
		{alike, on + "‘gpu’", scaler.Inferred, "gpu"},
		{alike, "‘gpu’ is offline", scaler.Unresolved, ""}, // three nodes have this label
		{alike, "All nodes of label ‘gpu’ are offline", scaler.Labelled, "gpu"},
		{named, on + "‘b1’", scaler.Labelled, "b1"},
		{named, "‘b1’ is offline", scaler.Labelled, "b1"},
		{fence, on + "‘old’", scaler.Labelled, "old"},
	} {
		m := &memory{}
		it := pipelines(t, m, c.nodes, "a", c.why)[0]
		if it.Resolution != c.how || it.Label != c.label {
			t.Errorf("%s, nodes %v: %s %q, want %s %q", c.why, c.nodes, it.Resolution, it.Label, c.how, c.label)
		}
		if len(m.labels) > 0 && c.how == scaler.Inferred {
			t.Errorf("%s: %v is remembered", c.why, m.labels)
		}
	}
}

// TestInferred: the words of a plugin hide the label. The client infers the label from the other items of the
// job, and from the nodes that must have the label according to the sentence.
func TestInferred(t *testing.T) {
	const running, waits = "Already running 1 builds on node; ", "All nodes of label ‘linux’ are offline"
	nodes := []scaler.Node{
		{Name: "built-in"},
		{Name: "b1", Team: "web", Kind: scaler.Ephemeral, Labels: []string{"ephemeral", "linux"}},
		{Name: "b2", Team: "gpu", Kind: scaler.Ephemeral, Labels: []string{"ephemeral", "gpu", "os:linux"}},
		{Name: "b3", Team: "web", Kind: scaler.Ephemeral, Fence: true},
		{Name: "b5", Team: "odd", Kind: scaler.Ephemeral, Labels: []string{"it’s", `say "x"`, "with space"}},
		{Name: "b4", Team: "big", Kind: scaler.Ephemeral, Labels: []string{"big", "ephemeral", "linux"}},
		{Name: "mac", Labels: []string{"mac"}},
	}
	for name, c := range map[string]struct {
		before []string // jobs and sentences in the answer before
		why    string
		how    scaler.Resolution
		label  string
	}{
		"one of ours has it":            {nil, running + "‘b4’ is offline", scaler.Inferred, "big&&ephemeral&&linux"},
		"the one with fewest labels":    {nil, running + "‘b4’ is offline; ‘b1’ is offline; ‘mac’ is offline", scaler.Inferred, "ephemeral&&linux"},
		"with odd labels":               {nil, running + "‘b2’ is offline", scaler.Inferred, `ephemeral&&gpu&&"os:linux"`},
		"with odder labels":             {nil, running + "‘b5’ is offline", scaler.Inferred, `it’s&&"say \"x\""&&"with space"`},
		"a plugin names it":             {nil, "‘b1’ has no licence", scaler.Inferred, "ephemeral&&linux"},
		"a user may not":                {nil, "‘mac’ lacks permission to run on ‘b1’", scaler.Inferred, "ephemeral&&linux"},
		"one is not for it":             {nil, "‘b1’ is reserved for jobs with matching label expression; Already running 1 builds on node", scaler.Unlabelled, ""},
		"none of ours is named":         {nil, running + "‘mac’ is offline", scaler.Unresolved, ""},
		"a fence":                       {nil, running + "‘b3’ is offline", scaler.Unresolved, ""},
		"nobody is named":               {nil, "Already running 1 builds on node", scaler.Unresolved, ""},
		"one lacks it":                  {[]string{"a", waits}, running + "‘b2’ doesn’t have label ‘!gpu’", scaler.Labelled, "!gpu"},
		"the job's":                     {[]string{"a", waits}, "Already running 1 builds on node", scaler.Inferred, "linux"},
		"the job's, and nodes agree":    {[]string{"a", waits}, running + "‘b1’ is offline; ‘b4’ is offline", scaler.Inferred, "linux"},
		"the job's, and a node has not": {[]string{"a", waits}, running + "‘b2’ is offline", scaler.Inferred, `ephemeral&&gpu&&"os:linux"`},
		"another job's":                 {[]string{"b", waits}, "Already running 1 builds on node", scaler.Unresolved, ""},
		"the job wants several":         {[]string{"a", waits, "a", "All nodes of label ‘gpu’ are offline", "a", waits}, "Already running 1 builds on node", scaler.Unresolved, ""},
		"the job's, which none has":     {[]string{"a", "There are no nodes with the label ‘web-p-gone’"}, "Already running 1 builds on node", scaler.Unresolved, ""},
		"a foreign language":            {nil, "‘b1’ ist offline", scaler.Inferred, "ephemeral&&linux"},
		"all were offline":              {nil, "‘b1’ is offline; ‘b4’ is offline", scaler.Inferred, "ephemeral&&linux"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			if c.before != nil {
				pipelines(t, m, nodes, c.before...)
				m.labels = map[int64]string{} // those items have left the queue
			}
			for range 2 { // the second time from memory, if it was remembered
				it := pipelines(t, m, nodes, "a", c.why)[0]
				if it.Resolution != c.how || it.Label != c.label {
					t.Errorf("%s %q, want %s %q", it.Resolution, it.Label, c.how, c.label)
				}
			}
		})
	}
	t.Run("a list of agents just online says nothing of later ones", func(t *testing.T) {
		m := &memory{}
		pipelines(t, m, nodes, "a", "‘b1’ is offline; ‘b4’ is offline")
		if it := pipelines(t, m, nodes, "a", running+"‘b1’ is offline")[0]; it.Resolution != scaler.Inferred {
			t.Errorf("%s %q, want %s", it.Resolution, it.Label, scaler.Inferred)
		}
	})
	t.Run("a job that was found to want something else", func(t *testing.T) {
		m := &memory{}
		pipelines(t, m, nodes, "a", waits)
		m.labels = map[int64]string{}
		pipelines(t, m, nodes, "a", running+"‘b2’ is offline")
		if it := pipelines(t, m, nodes, "a", "Already running 1 builds on node")[0]; it.Resolution != scaler.Unresolved {
			t.Errorf("%s %q, want %s, since the items of the job want different labels", it.Resolution, it.Label, scaler.Unresolved)
		}
	})
}
