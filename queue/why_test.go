package queue

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"

	"bellboard/scaler"
)

// TestEverySentence is the table of sentences seen on a real Jenkins.
func TestEverySentence(t *testing.T) {
	const reservedFor = " is reserved for jobs with matching label expression"
	for _, c := range []struct {
		why   string
		says  proof
		label string
	}{
		{"Waiting for next available executor", provesBare, ""},
		{"‘n1’ is offline", provesNode, "n1"},
		{"All nodes of label ‘linux&&docker’ are offline", provesLabel, "linux&&docker"},
		{"Waiting for next available executor on ‘linux&&docker’", provesEither, "linux&&docker"},
		{"There are no nodes with the label ‘with space’", provesLabel, "with space"},
		{"Waiting for next available executor on ‘a<->b’", provesEither, "a<->b"},
		{"‘b1’" + reservedFor + "; ‘b2’" + reservedFor + "; ‘w1’" + reservedFor, provesReserved, ""},
		{"‘Jenkins’" + reservedFor + "; ‘n1’ is offline", provesReserved, ""},
		{"‘b1’" + reservedFor + "; ‘b2’" + reservedFor + "; ... and 3 more", provesReserved, ""},
		{"‘b1’" + reservedFor + "; ‘x’ is being looked at", provesReserved, ""},
		{"web-e-1 has been removed from configuration; ‘b1’" + reservedFor, provesReserved, ""},
		{"‘b1’ is offline; ‘b2’ is offline; ‘x’ has had enough", provesNothing, ""},
		{"‘b1’ is offline; ‘b2’ is offline", provesAway, ""},
		{"b1 is offline; b2 is offline", provesAway, ""},
		{"‘b1’ is not accepting tasks", provesAway, ""},
		{"‘SYSTEM’ lacks permission to run on ‘b1’", provesAway, ""},
		{"Executor slot already in use; ‘b1’ is offline; ‘b2’ is offline", provesAway, ""},
		{"Exception evaluating if the node can take the task; ‘b1’ is offline", provesAway, ""},
		{"web-e-1 has been removed from configuration; ‘b1’ is offline; ‘b2’ is offline", provesAway, ""},
		{"Jenkins failed to launch the agent process on it; ‘b1’ is offline", provesNothing, ""},
		{"part of run #1 should be allowed to run first; ‘b1’ is offline; ‘b2’ is offline", provesAway, ""},
		{"‘b1’ is offline; ... and 3 more", provesNothing, ""},
		{"web-e-1 has been removed from configuration; web-e-2 has been removed from configuration; ... and 28 more", provesNothing, ""},
		{"web-e-1 has been removed from configuration", provesNothing, ""},
		{"Executor slot already in use", provesNothing, ""},
		{"Exception evaluating if the node can take the task", provesNothing, ""},
		{"b1" + reservedFor + "; b2 is offline", provesReserved, ""},
		{"‘a1’ is offline; ‘b1’ doesn’t have label ‘a1’; ‘b2’ doesn’t have label ‘a1’", provesLabel, "a1"},
		{"‘b1’ doesn’t have label ‘it’s’; ‘b2’ is offline", provesLabel, "it’s"},
		{"web-e-1 has been removed from configuration; ‘b1’ doesn’t have label ‘a1’; ... and 28 more", provesLabel, "a1"},
		{"Already running 1 builds on node; ‘b1’ doesn’t have label ‘linux’; ‘b2’ is offline", provesLabel, "linux"},
		{"Must run on a1 not b1", provesLabel, "a1"},
		{"Jenkins is about to shut down", provesNothing, ""},
		{"In the quiet period. Expires in 29 sec", provesNothing, ""},
		{"All nodes of label ‘größe’ are offline", provesLabel, "größe"},
		{"There are no nodes with the label ‘it's’", provesLabel, "it's"},
		{`All nodes of label ‘"os:linux"&&"with space"’ are offline`, provesLabel, `("os:linux"&&"with space")`},
		// Jenkins before 2.125 writes no quotes.
		{"Waiting for next available executor on linux", provesEither, "linux"},
		{"n1 is offline", provesPerhapsNode, "n1"},
		// Sentences in other languages or of other plugins prove nothing.
		{"Warte auf den nächsten freien Build-Prozessor auf linux", provesNothing, ""},
		{"Waiting for resources with label linux", provesNothing, ""},
		{"Blocked by ‘other’", provesNothing, ""},
		{"Already running 1 builds on node", provesNothing, ""},
		{"Already running 1 builds across all nodes", provesNothing, ""},
		{"Waiting for resource instances [[dcp-1]]", provesNothing, ""},
		// Sentences of Jenkins' core about other states and about its own errors.
		{"Finished waiting", provesNothing, ""},
		{"A build is already in progress", provesNothing, ""},
		{"Build #1,234 is already in progress (ETA: 5 min)", provesNothing, ""},
		{"Upstream project ‘linux’ is already building", provesNothing, ""},
		{"Downstream project ‘linux’ is already building", provesNothing, ""},
		{"Exception evaluating if the queue can run the task", provesNothing, ""},
		{"???", provesNothing, ""},
		{"", provesNothing, ""},
		{"Waiting for next available executor on ‘", provesNothing, ""},
		{"All nodes of label ‘x", provesNothing, ""},
	} {
		if got := readSentence(c.why); got.proves != c.says || got.label != c.label {
			t.Errorf("%q: %d %q, want %d %q", c.why, got.proves, got.label, c.says, c.label)
		}
	}
}

// recorded is a file of testdata, with the answers in the order of the requests.
type recorded struct {
	Source  string
	Answers []struct {
		Note string
		Body json.RawMessage
	}
}

func load(t testing.TB, name string) recorded {
	data, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var r recorded
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// wanted are the expressions of the recorded jobs in canonical form. The index is the number in the job's
// name (w03, p03).
var wanted = []string{
	"linux", "linux&&docker", "linux||docker", "!windows&&linux", "linux->docker", "a<->b",
	"(linux||docker)&&big", "with space", "x&&(y||z)", "docker&&!slow", "größe", "it's",
}

func wantedOf(t *testing.T, job string) string {
	var n int
	if _, err := fmt.Sscanf(job[1:], "%d", &n); err != nil {
		t.Fatalf("job %q", job)
	}
	return wanted[n]
}

func ownNodes(names ...string) []scaler.Node {
	nodes := []scaler.Node{{Name: "built-in"}}
	for _, n := range names {
		nodes = append(nodes, scaler.Node{Name: n, Team: "web", Kind: scaler.Ephemeral})
	}
	return nodes
}

// unlabelledPools: Bellboard's pool takes items without a label.
var unlabelledPools = map[scaler.PoolID]bool{{Team: "web", Kind: scaler.Ephemeral}: true}

// nodesAt returns the nodes that Jenkins had when the answer was recorded.
func nodesAt(note string) []scaler.Node {
	switch {
	case strings.Contains(note, "0 agent"):
		return ownNodes()
	case strings.Contains(note, "1 agent") || strings.Contains(note, "1 node") || strings.Contains(note, "1 exclusive"):
		return ownNodes("n1")
	}
	return ownNodes("n1", "n2")
}

// TestRecordedProjects: a freestyle item exports its label, or null. So each item has a label, whatever its
// sentence is.
func TestRecordedProjects(t *testing.T) {
	for _, a := range load(t, "why").Answers {
		nodes := nodesAt(a.Note)
		m := &memory{}
		items, err := m.items(strings.NewReader(string(a.Body)), nodes)
		if err != nil || len(items) < 10 {
			t.Fatalf("%s: %d items, %v", a.Note, len(items), err)
		}
		for _, it := range items {
			switch it.Job {
			case "free":
				if it.Resolution != scaler.Unlabelled {
					t.Errorf("%s: free is %s (%s)", a.Note, it.Resolution, it.Why)
				}
			default:
				if want := wantedOf(t, it.Job); it.Resolution != scaler.Labelled || it.Label != want {
					t.Errorf("%s: %s is %s %q, want %q (%s)", a.Note, it.Job, it.Resolution, it.Label, want, it.Why)
				}
			}
			if it.State != scaler.Buildable {
				t.Errorf("%s: %s is %s", a.Note, it.Job, it.State)
			}
		}
	}
}

// TestRecordedPipelines: only the sentence shows the label of a pipeline. The client remembers the label by
// queue id. Without a sentence and without memory the item is unresolved.
func TestRecordedPipelines(t *testing.T) {
	answers := load(t, "pipeline-why").Answers
	if len(answers) != 3 {
		t.Fatal(len(answers))
	}
	fresh := &memory{}
	items, err := fresh.items(strings.NewReader(string(answers[0].Body)), ownNodes())
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		if it.Resolution != scaler.Unresolved {
			t.Errorf("no node: %s is %s %q", it.Job, it.Resolution, it.Label)
		}
	}
	items, err = fresh.items(strings.NewReader(string(answers[1].Body)), ownNodes("n1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		switch {
		case it.Why == "‘n1’ is offline":
			if it.Label != "n1" {
				t.Errorf("one node: %s has label %q", it.Job, it.Label)
			}
			if _, cached := fresh.labels[it.ID]; cached {
				t.Errorf("the node's name is remembered as the label of %s", it.Job)
			}
		case it.Job == "pfree":
			if it.Resolution != scaler.Unresolved {
				t.Errorf("one node: pfree is %s", it.Resolution)
			}
		case it.Label != wantedOf(t, it.Job):
			t.Errorf("one node: %s is %s %q", it.Job, it.Resolution, it.Label)
		}
	}
	// With two nodes the sentences show every label. After that the client knows the labels from memory, even
	// with the older answers that show less.
	for _, again := range []int{2, 1, 0} {
		items, err = fresh.items(strings.NewReader(string(answers[again].Body)), nodesAt(answers[again].Note))
		if err != nil || len(items) != 13 {
			t.Fatal(len(items), err)
		}
		for _, it := range items {
			switch {
			case it.Job == "pfree":
				if it.Resolution != scaler.Unlabelled {
					t.Errorf("%d: pfree is %s", again, it.Resolution)
				}
			case it.Label != wantedOf(t, it.Job):
				t.Errorf("%d: %s is %s %q", again, it.Job, it.Resolution, it.Label)
			}
		}
	}
	if _, err = fresh.items(strings.NewReader(`{"_class":"hudson.model.Queue","items":[]}`), nil); err != nil {
		t.Fatal(err)
	}
	if len(fresh.labels) != 0 {
		t.Error("labels of items that left the queue are kept")
	}
}

// TestRecordedBare: while Jenkins has fewer than two nodes of Bellboard's, the bare sentence proves nothing
// about an item. A project that shows no label wants none.
func TestRecordedBare(t *testing.T) {
	for _, a := range load(t, "bare").Answers {
		nodes := nodesAt(a.Note)
		m := &memory{}
		items, err := m.items(strings.NewReader(string(a.Body)), nodes)
		if err != nil || len(items) != 1 {
			t.Fatal(a.Note, len(items), err)
		}
		if items[0].Resolution != scaler.Unlabelled || items[0].Label != "" {
			t.Errorf("%s: %s %q", a.Note, items[0].Resolution, items[0].Label)
		}
		hidden := strings.ReplaceAll(string(a.Body), `"labelExpression"`, `"other"`)
		want := scaler.Unresolved
		if len(nodes) >= 3 {
			want = scaler.Unlabelled
		}
		m = &memory{}
		if items, err = m.items(strings.NewReader(hidden), nodes); err != nil || items[0].Resolution != want {
			t.Errorf("%s, its project's label not shown: %s, %v, want %s", a.Note, items[0].Resolution, err, want)
		}
	}
}

func TestRecordedPinned(t *testing.T) {
	m := &memory{}
	items, err := m.items(strings.NewReader(string(load(t, "pinned").Answers[0].Body)), ownNodes("n1", "n2"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"gone": "nothere", "mix": "n1&&linux", "two": "n1||n2", "self1": "n1"}
	for _, it := range items {
		if it.Resolution != scaler.Labelled || it.Label != want[it.Job] {
			t.Errorf("%s: %s %q, want %q", it.Job, it.Resolution, it.Label, want[it.Job])
		}
		if _, cached := m.labels[it.ID]; cached == (it.Job == "self1") {
			t.Errorf("%s: remembered %v", it.Job, cached)
		}
	}
	if len(items) != len(want) {
		t.Error(len(items))
	}
}

// TestStatesAndSources has what the recordings lack: other states, and the other sources of a label.
func TestStatesAndSources(t *testing.T) {
	const placeholder = "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask"
	for name, c := range map[string]struct {
		item  string
		state scaler.ItemState
		how   scaler.Resolution
		label string
		job   string
	}{
		"label parameter": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"‘b1’ is offline","actions":[{},{"_class":"hudson.model.ParametersAction","parameters":[{"_class":"hudson.model.StringParameterValue","name":"x","value":"y"},{"_class":"org.jvnet.jenkins.plugins.nodelabelparameter.LabelParameterValue","name":"lbl","value":"linux && docker"}]}],"task":{"_class":"hudson.model.FreeStyleProject","url":"http://h/jenkins/job/a%20b/job/c/","labelExpression":"project-label"}`,
			scaler.Buildable, scaler.Labelled, "linux&&docker", "a b/c",
		},
		"other parameter": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"?","actions":[{"parameters":[{"_class":"hudson.model.BooleanParameterValue","name":"x","value":true}]}],"task":{"_class":"hudson.model.FreeStyleProject","url":"http://h/job/c/","labelExpression":"\"with space\""}`,
			scaler.Buildable, scaler.Labelled, "with space", "c",
		},
		"why beats the project": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"All nodes of label ‘linux’ are offline","task":{"_class":"hudson.model.FreeStyleProject","url":"http://h/job/c/","labelExpression":"project-label"}`,
			scaler.Buildable, scaler.Labelled, "linux", "c",
		},
		"matrix cell": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"All nodes of label ‘linux&&docker’ are offline","task":{"_class":"hudson.matrix.MatrixConfiguration","url":"http://h/job/m/label=linux%20&&%20docker/","labelExpression":null}`,
			scaler.Buildable, scaler.Labelled, "linux&&docker", "m/label=linux && docker",
		},
		"matrix parent": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"Waiting for next available executor","task":{"_class":"hudson.matrix.MatrixProject","url":"http://h/job/m/"}`,
			scaler.Flyweight, scaler.Unlabelled, "", "m",
		},
		"pipeline run": {
			`"_class":"hudson.model.Queue$WaitingItem","why":"In the quiet period. Expires in 4.2 sec","task":{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowJob","url":"http://h/job/p/"}`,
			scaler.Flyweight, scaler.Unlabelled, "", "p",
		},
		"quiet": {
			`"_class":"hudson.model.Queue$WaitingItem","why":"In the quiet period. Expires in 29 sec","task":{"_class":"hudson.model.FreeStyleProject","url":"http://h/job/q/","labelExpression":"linux"}`,
			scaler.Quiet, scaler.Labelled, "linux", "q",
		},
		"blocked": {
			`"_class":"hudson.model.Queue$BlockedItem","blocked":true,"why":"Build #12 is already in progress (ETA: 5 min)","task":{"_class":"hudson.model.FreeStyleProject","url":"http://h/job/q/"}`,
			scaler.Blocked, scaler.Unresolved, "", "q",
		},
		"pending": {
			`"_class":"hudson.model.Queue$BuildableItem","pending":true,"why":null,"task":{"_class":"` + placeholder + `","url":"job/p/12/"}`,
			scaler.Pending, scaler.Unresolved, "", "p",
		},
		"shutting down": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"Jenkins is about to shut down","task":{"_class":"` + placeholder + `","url":"job/p/12/"}`,
			scaler.ShuttingDown, scaler.Unresolved, "", "p",
		},
		"stopping": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"Stopping part of p #12","task":{"_class":"` + placeholder + `","url":"job/p/12/"}`,
			scaler.Blocked, scaler.Unresolved, "", "p",
		},
		"resuming": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"Waiting for next available executor on ‘b1’","task":{"_class":"` + placeholder + `","url":"job/p/12/"}`,
			scaler.Buildable, scaler.Labelled, "b1", "p",
		},
		"resuming on an absent swarm agent": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"There are no nodes with the label ‘sw’","task":{"_class":"` + placeholder + `","url":"job/p/12/"}`,
			scaler.Buildable, scaler.Labelled, "sw", "p",
		},
		"built-in": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"Waiting for next available executor on ‘Jenkins’","task":{"_class":"` + placeholder + `","url":"job/p/12/"}`,
			scaler.Buildable, scaler.Labelled, "built-in", "p",
		},
		"run deleted": {
			`"_class":"hudson.model.Queue$BuildableItem","why":"ACME license server is offline","task":{"_class":"` + placeholder + `","url":""}`,
			scaler.Buildable, scaler.Unresolved, "", "PlaceholderTask",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			items, err := m.items(strings.NewReader(`{"_class":"hudson.model.Queue","items":[{"id":7,"inQueueSince":1795395095524,`+c.item+`}]}`), ownNodes("b1", "b2"))
			if err != nil {
				t.Fatal(err)
			}
			it := items[0]
			if it.State != c.state || it.Resolution != c.how || it.Label != c.label || it.Job != c.job || it.ID != 7 || it.Since.UnixMilli() != 1795395095524 {
				t.Errorf("%+v", it)
			}
		})
	}
}

// TestListOfRefusals: a list of refusals says something about the label of a pipeline. If one part says
// nothing, the other parts count as far as they prove something.
func TestListOfRefusals(t *testing.T) {
	const reserved = " is reserved for jobs with matching label expression"
	web, big := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, scaler.PoolID{Team: "big", Kind: scaler.Ephemeral}
	nodes := append(ownNodes("b1", "b2"), scaler.Node{Name: "c1", Team: "big", Kind: scaler.Ephemeral}, scaler.Node{Name: "d1", Team: "gone", Kind: scaler.Ephemeral}, scaler.Node{Name: "mac"})
	for why, want := range map[string]scaler.Resolution{
		"web-e-9 has been removed from configuration; ‘b1’ is offline; ‘b2’ is offline":             scaler.Unlabelled,
		"Executor slot already in use; ‘b1’ is offline; ‘mac’ is offline":                           scaler.Unlabelled,
		"‘b1’ is not accepting tasks; ‘b2’ is offline":                                              scaler.Unlabelled,
		"part of run #1 should be allowed to run first; ‘b1’ is offline; ‘b2’ is offline":           scaler.Unlabelled,
		"‘c1’ is reserved for jobs with matching label expression; ‘mac’ is being looked at":        scaler.Unlabelled,
		"‘b1’ is offline; ‘d1’ is offline":                                                          scaler.Unlabelled,
		"web-e-9 has been removed from configuration; ‘c1’" + reserved + "; ‘b1’ is offline":        scaler.Unlabelled,
		"web-e-9 has been removed from configuration; ‘c1’" + reserved + "; ... and 28 more":        scaler.Unlabelled,
		"web-e-9 has been removed from configuration; ‘b1’ doesn’t have label ‘x’; ‘b2’ is offline": scaler.Labelled,
		"‘b1’ doesn’t have label ‘x’; ‘mac’ is being looked at; ... and 28 more":                    scaler.Labelled,
		// An agent that takes only its own labels has not refused the item, so that the item has a label.
		"‘b1’ is offline; ‘c1’ is offline":                                        scaler.Unresolved,
		"web-e-9 has been removed from configuration; ‘c1’ is offline":            scaler.Unresolved,
		"‘b1’ is offline; ‘b2’ is offline; ‘mac’ is being looked at":              scaler.Unresolved,
		"‘b1’ is offline; ‘mac’ n’a pas le label ‘x’":                             scaler.Unresolved,
		"b1 is offline; mac doesn't have label x":                                 scaler.Unresolved,
		"‘c1’ is offline; ‘mac’ is being looked at":                               scaler.Unresolved,
		"‘d1’ is offline; ‘mac’ is offline":                                       scaler.Unresolved,
		"‘b1’ is offline; ‘b2’ is offline; ... and 28 more":                       scaler.Unresolved,
		"web-e-8 has been removed from configuration; ... and 28 more":            scaler.Unresolved,
		"web-e-8 has been removed from configuration":                             scaler.Unresolved,
		"Executor slot already in use; ‘mac’ is being looked at; ‘pc’ is offline": scaler.Unresolved,
	} {
		m := &memory{}
		m.unlabelled = map[scaler.PoolID]bool{web: true, big: false}
		items, err := m.items(strings.NewReader(`{"_class":"hudson.model.Queue","items":[{"_class":"hudson.model.Queue$BuildableItem","id":7,"inQueueSince":1,"why":"`+why+
			`","task":{"_class":"org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask","url":"job/a/1/"}}]}`), nodes)
		if err != nil {
			t.Fatal(err)
		}
		if it := items[0]; it.Resolution != want || it.Resolution == scaler.Labelled && it.Label != "x" {
			t.Errorf("%s: %s %q, want %s", why, it.Resolution, it.Label, want)
		}
		if _, kept := m.labels[7]; kept && strings.Contains(why, "‘b1’ is offline") && !strings.Contains(why, reserved) && want == scaler.Unlabelled {
			t.Errorf("%s: the item may have a label, and memory says that it has none", why)
		}
	}
}

// TestLongSentences: a sentence that names every node is read to its end and shown only in part. The client
// does not remember it, since it changes with each node that comes or goes.
func TestLongSentences(t *testing.T) {
	parts := func(n int, part string) string { return strings.Repeat("‘web-e-größe’ "+part+"; ", n) }
	const reserved = "is reserved for jobs with matching label expression"
	for name, tt := range map[string]struct {
		why   string // names so many nodes
		how   scaler.Resolution
		label string
	}{
		"reserved":               {parts(200, reserved) + "‘x’ " + reserved, scaler.Unlabelled, ""},
		"all offline":            {parts(200, "is offline") + "‘b1’ is offline", scaler.Unlabelled, ""},
		"all offline, none ours": {parts(200, "is offline") + "‘x’ is offline", scaler.Unresolved, ""},
		"vetoed at the end":      {parts(200, "is offline") + "‘x’ is too busy", scaler.Unresolved, ""},
		"one lacks the label":    {parts(200, "is offline") + "‘x’ doesn’t have label ‘linux’", scaler.Labelled, "linux"},
		"a long label":           {"All nodes of label ‘" + strings.Repeat("a||", 500) + "b’ are offline", scaler.Labelled, strings.Repeat("a||", 500) + "b"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{unlabelled: unlabelledPools}
			item := `{"_class":"hudson.model.Queue$BuildableItem","id":%d,"inQueueSince":1,"why":"` + tt.why +
				`","task":{"_class":"org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask","url":"job/a/1/"}}`
			if _, _, err := m.nodes(strings.NewReader(strings.Replace(twoNodes, "one-build", tt.why, 1)), "bellboard"); err != nil {
				t.Fatal(err)
			}
			body := `{"_class":"hudson.model.Queue","items":[` + fmt.Sprintf(item+","+item, 7, 8) + `]}`
			items, err := m.items(strings.NewReader(body), ownNodes("b1", "b2"))
			if err != nil || len(items) != 2 {
				t.Fatal(len(items), err)
			}
			for _, it := range items {
				if it.Resolution != tt.how || it.Label != tt.label {
					t.Errorf("%s %q, want %s %q", it.Resolution, it.Label, tt.how, tt.label)
				}
				if cut, ok := strings.CutSuffix(it.Why, "…"); !ok || !utf8.ValidString(cut) || !strings.HasPrefix(tt.why, cut) || len(cut) > maxString || len(cut) < maxString-utf8.UTFMax {
					t.Errorf("%d of %d bytes are shown: …%q", len(it.Why), len(tt.why), it.Why[len(it.Why)-20:])
				}
				if of(body, it.Label) || of(body, m.labels[it.ID]) {
					t.Error("the label keeps the whole answer in memory")
				}
			}
			for _, s := range slices.Collect(maps.Keys(m.sentences)) {
				if len(s) > maxString {
					t.Errorf("%d bytes are remembered: %.40q", len(s), s)
				}
			}
		})
	}
}

// of reports whether s is a part of the memory of whole, and not a copy.
func of(whole, s string) bool {
	at, from := uintptr(unsafe.Pointer(unsafe.StringData(s))), uintptr(unsafe.Pointer(unsafe.StringData(whole)))
	return s != "" && at >= from && at < from+uintptr(len(whole))
}
