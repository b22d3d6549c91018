package jenkinssim

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestVersions has the changes between versions of Jenkins.
func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		version, all, one, lacks, last string
		createItem                     int
	}{
		{"2.121.3", "All nodes of label linux are offline", "x1 is offline", "a1 doesn't have label x1", "‘", 404},
		{"2.138", "All nodes of label ‘linux’ are offline", "‘x1’ is offline", "‘a1’ doesn’t have label ‘x1’", "... and", 404},
		{"2.541", "All nodes of label ‘linux’ are offline", "‘x1’ is offline", "‘a1’ doesn’t have label ‘x1’", "... and", 200},
		{"2.542", "All nodes of label ‘linux’ are offline", "‘x1’ is offline", "‘a1’ doesn’t have label ‘x1’", "", 200},
	} {
		t.Run(tt.version, func(t *testing.T) {
			inBubble(t, Config{Version: tt.version}, func(h *house) {
				for _, n := range []string{"a1", "a2", "a3", "a4", "a5", "a6"} {
					h.create(n, "", "linux")
				}
				h.create("x1", "", "other")
				h.Submit(Job{Name: "all", Label: "linux"})
				h.Submit(Job{Name: "one", Label: "x1", Duration: time.Hour})
				time.Sleep(time.Second)
				q := h.queueNow().Items
				h.want("one", q[0].Why, tt.one)
				h.want("all", q[1].Why, tt.all)
				h.connect("x1", "x1")
				why := h.queueNow().Items[0].Why
				if !strings.HasPrefix(why, tt.lacks) {
					t.Errorf("lacks: %s", why)
				}
				if cut := strings.Contains(why, "; ... and 2 more"); cut != (tt.last == "") {
					t.Errorf("cut: %s", why)
				}
				a := h.do("POST", "/computer/createItem?name=z", nil, func(r *http.Request) {
					r.Body = readCloser{strings.NewReader("<slave><name>z</name></slave>")}
				})
				if a.status != tt.createItem || a.status == 200 && a.header.Get("X-Jenkins") != "" {
					t.Errorf("createItem: %d", a.status)
				}
			})
		})
	}
}

// TestFoldersAndPrefix: jobs in folders, below a path.
func TestFoldersAndPrefix(t *testing.T) {
	inBubble(t, Config{Prefix: "/jenkins"}, func(h *house) {
		if a := h.get("/queue/api/json"); a.status != 404 || a.header.Get("X-Jenkins") != "" {
			t.Errorf("outside: %d", a.status)
		}
		if a := h.get("/jenkinsx/queue/api/json"); a.status != 404 {
			t.Errorf("beside: %d", a.status)
		}
		if a := h.post("/jenkins/computer/doCreateItem", nodeForm("n1", "", "linux")); a.header.Get("Location") != "/jenkins/computer/" {
			t.Errorf("create: %d %v", a.status, a.header)
		}
		h.Submit(Job{Name: "team/my app", Label: "linux", Pipeline: true})
		h.Submit(Job{Name: "team/lib", Label: "linux"})
		time.Sleep(time.Second)
		const task = `{"_class":"hudson.model.Queue$BuildableItem","task":{"_class":"`
		h.want("tasks", h.get("/jenkins/queue/api/json?tree=items[task[name,fullName,url]]").body,
			`{"_class":"hudson.model.Queue","items":[`+
				task+classPlaceholder+`","name":"part of team » my app #1","url":"job/team/job/my%20app/1/"}},`+
				task+classFreeStyle+`","fullName":"team/lib","name":"lib","url":"http://jenkins:8080/jenkins/job/team/job/lib/"}}]}`)
		h.Submit(Job{Name: "app", Label: "linux", Pipeline: true})
		h.Submit(Job{Name: "grid", Cell: "os=linux", Label: "linux"})
		h.want("jobs", h.get("/jenkins/api/json?tree=jobs[name,url]").body, `{"_class":"hudson.model.Hudson","jobs":[`+
			`{"_class":"`+classWorkflowJob+`","name":"app","url":"http://jenkins:8080/jenkins/job/app/"},`+
			`{"_class":"`+classMatrix+`","name":"grid","url":"http://jenkins:8080/jenkins/job/grid/"},`+
			`{"_class":"`+classFreeStyle+`","name":"hello","url":"http://jenkins:8080/jenkins/job/hello/"},`+
			`{"_class":"`+classFolder+`","name":"team","url":"http://jenkins:8080/jenkins/job/team/"}]}`)
	})
}

// TestMatrixAndParameters has the shapes of a matrix cell and of a NodeLabel parameter.
func TestMatrixAndParameters(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		for _, n := range []string{"b1", "b2"} {
			h.create(n, "", "linux docker")
		}
		h.Submit(Job{Name: "m", Cell: "label=linux && docker", Label: "linux && docker"})
		h.Submit(Job{Name: "p", Label: "project-label", Parameter: Parameter{Name: "lbl", Value: "linux && docker"}})
		h.Submit(Job{Name: "n", Label: "project-label", Parameter: Parameter{Name: "nd", Value: "b1", Node: true}})
		time.Sleep(time.Second)
		const item = `{"_class":"hudson.model.Queue$BuildableItem","actions":[{"_class":"hudson.model.CauseAction"}`
		parameter := func(class, name, value string) string {
			return `,{"_class":"hudson.model.ParametersAction","parameters":[{"_class":"org.jvnet.jenkins.plugins.nodelabelparameter.` +
				class + `","name":"` + name + `","value":"` + value + `"}]}`
		}
		h.want("queue", h.get("/queue/api/json?tree=items[params,why,actions[parameters[name,value]],task[name,labelExpression]]").body,
			`{"_class":"hudson.model.Queue","items":[`+
				item+parameter("NodeParameterValue", "nd", "b1")+`],"params":"\n[NodeParameterValue: nd=b1]","task":{"_class":"`+classFreeStyle+
				`","name":"n","labelExpression":"project-label"},"why":"‘b1’ is offline"},`+
				item+parameter("LabelParameterValue", "lbl", "linux && docker")+`],"params":"\n[LabelParameterValue: lbl=linux && docker]","task":{"_class":"`+
				classFreeStyle+`","name":"p","labelExpression":"project-label"},"why":"All nodes of label ‘linux&&docker’ are offline"},`+
				item+`],"params":"","task":{"_class":"`+classMatrixCell+`","name":"label=linux && docker","labelExpression":null},`+
				`"why":"All nodes of label ‘linux&&docker’ are offline"}]}`)
	})
}

// TestVeto: a plugin's refusal hides the label of every item that waits.
func TestVeto(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		for _, n := range []string{"b1", "b2", "x"} {
			h.create(n, "", "linux")
		}
		h.connect("x", "x")
		h.Veto("x", "‘x’ had its one build")
		h.Submit(Job{Name: "j", Label: "linux", Duration: time.Minute})
		time.Sleep(time.Second)
		h.want("why", h.queueNow().Items[0].Why, "‘b1’ is offline; ‘b2’ is offline; ‘x’ had its one build")
		h.Veto("x", "")
		time.Sleep(time.Second)
		h.want("taken", h.sees("x"), " / online busy connected")
	})
}

// TestThrottle: the throttle-concurrents plugin refuses an executor in words that
// name no node, and the sentence then names no label.
func TestThrottle(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		for _, n := range []string{"b1", "b2"} {
			h.create(n, "", "linux")
		}
		h.AddNode(Node{Name: "x", Labels: "linux", Executors: 2}, true)
		for range 2 {
			h.Submit(Job{Name: "p", Label: "linux", Pipeline: true, Duration: time.Minute, PerNode: 1})
		}
		h.Submit(Job{Name: "other", Label: "linux", Duration: 10 * time.Second})
		time.Sleep(5 * time.Second)
		h.want("full", h.queueNow().Items[0].Why, "Waiting for next available executor on ‘linux’")
		time.Sleep(10 * time.Second)
		h.want("an executor refuses", h.queueNow().Items[0].Why, "Already running 1 builds on node; ‘b1’ is offline; ‘b2’ is offline")
		time.Sleep(time.Minute)
		h.want("fate", h.fate(), "other SUCCESS, p SUCCESS")
		h.want("the next one", h.sees("x"), " / online busy connected")
	})
}

// TestNodeNamedLikeALabel: a sentence with a label is the same as the sentence with a node
// of that name, if the node is the only one with the item's label.
func TestNodeNamedLikeALabel(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		for _, n := range []string{"b1", "b2"} {
			h.create(n, "", "linux")
		}
		h.AddNode(Node{Name: "linux", Labels: "big"}, true)
		h.Submit(Job{Name: "long", Label: "big", Duration: time.Hour})
		time.Sleep(time.Second)
		for _, label := range []string{"linux", "big"} {
			id := h.Submit(Job{Name: "wants " + label, Label: label, Pipeline: true})
			time.Sleep(time.Second)
			h.want(label, h.queueNow().Items[0].Why, "Waiting for next available executor on ‘linux’")
			h.Cancel(id)
		}
	})
}

// TestSeenGrows: beyond the measurements, writes wait for items times nodes.
func TestSeenGrows(t *testing.T) {
	slow := Seen(func() (int, int) { return 5000, 10_000 })
	for op, least := range map[string]time.Duration{
		"queue": 1500 * time.Millisecond, "computers": 300 * time.Millisecond, "create": time.Minute, "other": time.Millisecond,
	} {
		if got := slow(op); got < least {
			t.Errorf("%s takes %v", op, got)
		}
	}
}

// TestConsistentHash: a job comes back to its node while the node is free. Jobs spread over
// nodes. A new node takes some jobs, and moves no other.
func TestConsistentHash(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		for _, n := range []string{"n1", "n2", "n3", "n4"} {
			h.create(n, "", "linux")
			h.connect(n, n)
		}
		jobs := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
		run := func(job string) string {
			h.Submit(Job{Name: job, Label: "linux", Duration: time.Second})
			time.Sleep(2 * time.Second)
			built := h.Builds()
			return built[len(built)-1].Node
		}
		home, all := map[string]string{}, map[string]bool{}
		for _, job := range jobs {
			home[job] = run(job)
			all[home[job]] = true
			for range 3 {
				if node := run(job); node != home[job] {
					t.Errorf("%s went to %s, then to %s", job, home[job], node)
				}
			}
		}
		if len(all) < 3 {
			t.Errorf("all went to %v", all)
		}
		h.create("n5", "", "linux")
		h.connect("n5", "n5")
		moved := 0
		for _, job := range jobs {
			switch node := run(job); node {
			case home[job]:
			case "n5":
				moved++
			default:
				t.Errorf("%s moved from %s to %s when n5 came", job, home[job], node)
			}
		}
		if moved == 0 || moved == len(jobs) {
			t.Errorf("%d of %d jobs moved to n5", moved, len(jobs))
		}
	})
}

// TestLingering: a deleted node's computer stays, without executors to come, while a
// pipeline is on it, and cannot be marked.
func TestLingering(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.run("a1", true, time.Hour)
		h.delete("a1")
		h.want("computer", h.get("/computer/a1/api/json?tree=numExecutors,offline,idle").body,
			`{"_class":"`+classSlaveComputer+`","idle":false,"numExecutors":0,"offline":true}`)
		if a := h.post("/computer/a1/changeOfflineCause", url.Values{"offlineMessage": {"x"}}); a.status != 404 {
			t.Errorf("mark: %d", a.status)
		}
		time.Sleep(nodeWait + time.Second)
		h.want("gone", h.node("a1"), "404")
		h.want("fate", h.fate(), "run ABORTED killed")
	})
}
