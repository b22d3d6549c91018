package jenkinssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

const (
	berthWords = "Bellboard berth"
	drainText  = "bellboard: drain"
	// docTree has the properties of a computer in the recorder's own notes.
	docTree   = "?tree=idle,offline,offlineCauseReason,temporarilyOffline,executors[currentExecutable[url]],oneOffExecutors[currentExecutable[url]]"
	itemsTree = "/queue/api/json?tree=items[id,why,blocked,buildable,stuck,inQueueSince,buildableStartMilliseconds,pending,params," +
		"task[_class,name,url,labelExpression,assignedLabel[name]],executable[url]]"
)

func doc(name string) string { return "/computer/" + name + "/api/json" + docTree }

// normal adds a node that takes any item, as a person would.
func (r *replay) normal(name, labels string) {
	r.AddNode(Node{Name: name, Description: berthWords, Labels: labels}, false)
}

// result returns how the last build of a job ended; "": it has not.
func (r *replay) result(job string) (result string) {
	for _, b := range r.Builds() {
		if b.Job.Name == job {
			result = b.Result
		}
	}
	return result
}

// state returns the values of a computer's keys, in the recorder's order.
func (r *replay) state(name string, keys ...string) string {
	a := r.get("/computer/" + name + "/api/json")
	if a.status != 200 {
		return fmt.Sprint(a.status)
	}
	var c map[string]any
	if err := json.Unmarshal([]byte(a.body), &c); err != nil {
		r.Fatal(err)
	}
	var s []string
	for _, k := range keys {
		s = append(s, fmt.Sprint(c[k]))
	}
	return strings.Join(s, " ")
}

var (
	fourKeys = []string{"offline", "idle", "temporarilyOffline", "offlineCauseReason"}
	oneKeys  = []string{"offline", "idle", "offlineCauseReason"}
)

// spoken writes a recorded list of values as state does. A null is left out, and a 404 stands
// for all values.
func spoken(values []any) string {
	var s []string
	for _, v := range values {
		switch v := v.(type) {
		case nil:
		case float64:
			return fmt.Sprint(v)
		default:
			s = append(s, fmt.Sprint(v))
		}
	}
	return strings.Join(s, " ")
}

func cutsStory(r *replay) {
	for _, signal := range []string{"SIGKILL", "SIGSTOP", "SIGTERM"} {
		var remark map[string]json.RawMessage
		r.remark(&remark)
		var want []moment
		if err := json.Unmarshal(remark[signal], &want); err != nil {
			r.Fatal(err)
		}
		for i := range want {
			var s []any
			if err := json.Unmarshal([]byte(want[i].state), &s); err != nil {
				r.Fatal(err)
			}
			want[i].state = fmt.Sprintf("%v %v %v|%v", s[0], s[1], s[2], s[3])
		}
		name := "cut-" + strings.ToLower(signal)
		r.create(name, berthWords, "linux")
		c := r.connect(name, name)
		r.Submit(Job{Name: signal, Label: name, Duration: time.Hour})
		time.Sleep(time.Second)
		now := func() string {
			s := strings.TrimRight(r.state(name, oneKeys...), " ")
			if strings.Count(s, " ") < 2 {
				s += " "
			}
			if res := r.result(signal); res != "" {
				return s + "|" + res
			}
			return s + "|<nil>"
		}
		got := []moment{{0, now()}}
		if signal == "SIGSTOP" {
			c.Freeze("chaos")
			got = append(got, r.watch(330*time.Second, now)[1:]...)
		} else {
			c.Close("chaos")
			got = append(got, r.watch(time.Second, now)...)
		}
		r.timeline(signal, want, got)
		r.ask()
	}
	r.create("kx", berthWords, "linux")
	r.connect("kx", "kx")
	r.Submit(Job{Name: "kx", Label: "kx", Duration: time.Hour})
	time.Sleep(time.Second)
	r.ask()
	var became struct {
		Build struct {
			Result, BuiltOn string
		} `json:"what became of its build"`
	}
	r.remark(&became)
	time.Sleep(time.Second)
	if b := r.Builds()[len(r.Builds())-1]; b.Result != became.Build.Result || b.Node != became.Build.BuiltOn {
		r.differ("what became of its build", "result", "%s on %s, want %+v", b.Result, b.Node, became.Build)
	}
}

func drainStory(r *replay) {
	r.create("d1", berthWords, "linux")
	r.connect("d1", "d1")
	for range 2 {
		r.Submit(Job{Name: "d", Label: "linux", Duration: 14 * time.Second})
	}
	time.Sleep(6 * time.Second)
	r.mark("d1", drainText)
	r.ask()
	var remark map[string]json.RawMessage
	r.remark(&remark)
	r.compare("queue while draining", remark["queue while draining"], itemsTree)
	var idle struct {
		After    float64 `json:"idle after s"`
		Build    struct{ Result string }
		Computer json.RawMessage
	}
	r.remark(&idle)
	seen := r.watch(20*time.Second, func() string { return r.state("d1", "idle") })
	if len(seen) != 2 || seen[1].state != "true" || seen[1].at < idle.After-1 || seen[1].at > idle.After+1 {
		r.differ("idle after s", "timeline", "%v, want %v", seen, idle.After)
	}
	r.compare("idle", idle.Computer, doc("d1"))
	if r.result("d") != idle.Build.Result {
		r.differ("idle", "result", "%s", r.result("d"))
	}
	r.remark(&remark)
	time.Sleep(6 * time.Second)
	r.compare("6 s later", remark["6 s later: second item taken?"], doc("d1"))
	r.compare("6 s later", remark["queue"], itemsTree)
	r.ask()
}

func hookStory(r *replay) {
	r.next("")
	var remark struct {
		Agents []struct {
			Builds   int `json:"builds on it"`
			Computer json.RawMessage
		} `json:"one-build hook"`
	}
	r.remark(&remark)
	for i := range remark.Agents {
		n := fmt.Sprintf("one-%d", i)
		r.create(n, ephemeralWords, "linux")
		r.connect(n, n)
	}
	for range 2 * len(remark.Agents) {
		r.Submit(Job{Name: "j", Label: "linux", Duration: 5 * time.Second})
	}
	time.Sleep(time.Minute)
	on := map[string]int{}
	for _, b := range r.Builds() {
		on[b.Node]++
	}
	for i, a := range remark.Agents {
		n := fmt.Sprintf("one-%d", i)
		r.compare("one-build hook", a.Computer, doc(n))
		if on[n] != a.Builds {
			r.differ("one-build hook", "builds on it", "%d, want %d", on[n], a.Builds)
		}
	}
}

func lifeStory(r *replay) {
	for _, how := range []string{"ws", "tcp"} {
		var remark map[string]json.RawMessage
		r.remark(&remark)
		var want []moment
		for k, v := range remark {
			if strings.HasPrefix(k, "agent over") {
				if err := json.Unmarshal(v, &want); err != nil {
					r.Fatal(err)
				}
			}
		}
		for i := range want {
			var s []any
			if err := json.Unmarshal([]byte(want[i].state), &s); err != nil {
				r.Fatal(err)
			}
			if want[i].state = fmt.Sprintf("%v %v", s[0], s[1]); s[3] != nil {
				want[i].state += fmt.Sprint(" ", s[3])
			}
		}
		name := "life-" + how
		r.create(name, berthWords, "linux")
		r.Submit(Job{Name: how, Label: name, Duration: 2200 * time.Millisecond})
		if how == "ws" { // TCP needs a plugin that was not there
			go func() {
				time.Sleep(2600 * time.Millisecond)
				r.connect(name, name)
			}()
		}
		r.timeline("agent over "+how, want, r.watch(8*time.Second, func() string {
			return strings.TrimSpace(r.state(name, "offline", "idle") + " " + r.result(how))
		}))
		r.ask()
		r.ask()
		r.remark(&remark)
		if string(remark["agent process after its node was deleted: exit after s"]) == "null" {
			_, err := r.Connect(name, r.Secret(name), name)
			if !errors.Is(err, ErrNoNode) {
				r.Fatal(err)
			}
			r.differ("agent process", "agent", "refused: %v", err)
		}
	}
}

func raceStory(r *replay) {
	var want struct {
		Rounds int
		Idle   int   `json:"idle at once"`
		Then   []any `json:"idle answers followed by a build"`
	}
	r.remark(&want)
	r.create("race", berthWords, "linux")
	r.connect("race", "race")
	idle, followed := 0, 0
	for i := range want.Rounds {
		r.Submit(Job{Name: "feed", Label: "linux", Duration: 300 * time.Millisecond})
		time.Sleep(time.Duration(i%40) * 10 * time.Millisecond)
		r.mark("race", drainText)
		if r.state("race", "idle") == "true" {
			idle++
			time.Sleep(200 * time.Millisecond)
			if r.state("race", "idle") != "true" {
				followed++
			}
		}
		r.toggle("race", drainText)
	}
	if followed != len(want.Then) {
		r.differ("race", "idle answers followed by a build", "%d of %d", followed, idle)
	}
	if idle != want.Idle {
		r.differ("race", "chance", "%d, want %d", idle, want.Idle)
	}
}

func secondStory(r *replay) {
	r.create("s1", berthWords, "linux")
	first := r.connect("s1", "s1")
	for _, who := range []struct {
		name, secret string
		is           error
	}{
		{"s1", r.Secret("s1"), ErrAlreadyConnected}, {"s1", "wrong", ErrBadSecret}, {"nowhere", r.Secret("nowhere"), ErrNoNode},
	} {
		var remark struct{ Log []string }
		r.remark(&remark)
		if len(remark.Log) == 0 || !strings.Contains(remark.Log[0], "Failed to connect") {
			r.Fatal(remark)
		}
		if _, err := r.Connect(who.name, who.secret, "other"); !errors.Is(err, who.is) {
			r.differ(who.name, "refusal", "%v", err)
		}
	}
	if ended(first) {
		r.differ("s1", "refusal", "the first one was disturbed")
	}
}

func noReconnectStory(r *replay) {
	for range r.rows {
		var remark map[string]float64
		r.remark(&remark)
		for what := range remark {
			switch {
			case strings.Contains(what, "node deleted"):
				r.create("gone", berthWords, "linux")
				c := r.connect("gone", "gone")
				r.delete("gone")
				if !ended(c) {
					r.differ(what, "channel", "outlived its node")
				}
				r.differ(what, "agent", "told at once")
			case strings.Contains(what, "wrong secret"):
				r.create("other", berthWords, "linux")
				if _, err := r.Connect("other", "wrong", "other"); !errors.Is(err, ErrBadSecret) {
					r.differ(what, "refusal", "%v", err)
				}
			}
		}
	}
}

func bareStory(r *replay) {
	r.Submit(Job{Name: "free", Duration: time.Hour})
	for i, labels := range []string{"", "exclusive", "exclusive", "normal", "normal"} {
		name := fmt.Sprintf("n%d", i)
		switch labels {
		case "exclusive":
			r.create(name, berthWords, "linux")
		case "normal":
			r.normal(name, "linux")
		}
		time.Sleep(time.Second)
		r.ask()
	}
}

// benchStory compares Seen with the measurements.
func benchStory(r *replay) {
	for range r.rows {
		var m struct {
			Nodes, Queued int
			Create        []float64 `json:"create one at a time ms"`
			Queue         []float64 `json:"read queue ms"`
			Computers     float64   `json:"read computers ms"`
			Delete        []float64 `json:"delete ms"`
			Mark          []float64 `json:"mark offline ms"`
		}
		r.remark(&m)
		if m.Nodes == 10 && m.Queued == 100 || m.Nodes == 100 && m.Queued == 0 || m.Nodes == 300 && m.Queued == 100 {
			continue // not in the table, which has the next larger one for it
		}
		slow := Seen(func() (int, int) { return m.Nodes, m.Queued })
		for op, ms := range map[string]float64{
			"create": median(m.Create), "queue": median(m.Queue), "computers": m.Computers, "delete": median(m.Delete), "mark": median(m.Mark),
		} {
			if got := float64(slow(op)) / float64(time.Millisecond); got < ms/2 || got > 2*ms+2 {
				r.differ(fmt.Sprint(m.Nodes, " nodes, ", m.Queued, " items"), op, "%v ms, want %v", got, ms)
			}
		}
	}
}

func labelsStory(r *replay) {
	r.create("n1", berthWords, "linux docker")
	r.create("n2", berthWords, `linux x "two words"`)
	r.rest()
}

func nodesStory(r *replay) {
	r.until("HMAC of the name")
	row := r.next("HMAC of the name")
	r.differ(row.note(), "not asked", "%s", row.Request.Path)
	r.next("")
	if body := r.get("/computer/b-1/jenkins-agent.jnlp").body; !strings.Contains(body, r.Secret("b-1")) {
		r.differ("secret", "HMAC(name)", "%s", body)
	}
	for r.rows[r.at].Request != nil {
		r.ask()
	}
	r.next("")
	r.create("b-1", berthWords, "linux docker")
	if body := r.get("/computer/b-1/jenkins-agent.jnlp").body; !strings.Contains(body, r.Secret("b-1")) {
		r.differ("secret", "after delete and create", "%s", body)
	}
	r.rest()
}

func onlineStory(r *replay) {
	r.create("o1", berthWords, "linux")
	r.ask() // registered
	c := r.connect("o1", "o1")
	r.ask()
	r.mark("o1", drainText)
	r.ask()
	c.Close("chaos")
	r.ask()
	r.toggle("o1", drainText)
	r.ask()
	c = r.swarm("os")
	r.ask()
	r.mark("os", drainText)
	r.ask()
	c.Close("chaos")
	r.create("o2", berthWords, "linux")
	r.connect("o2", "o2")
	r.MonitorOffline("o2", "1 B out of 0 B left on /x.")
	r.ask()
	r.PersonOnline("o2")
	r.PersonOffline("o2", "looking at disk")
	r.ask()
}

// permissionsStory asks the same ten things with each permission taken away.
func permissionsStory(r *replay) {
	everything := []string{permJobRead, permCreate, permConnect, permConfigure, permDisconnect, permDelete, permExtended}
	r.normal("n1", "linux")
	r.normal("n2", "linux")
	r.Submit(Job{Name: "j", Label: "linux", Duration: time.Hour})
	r.Submit(Job{Name: "p", Pipeline: true, Label: "linux", Duration: time.Hour})
	time.Sleep(time.Second)
	for range r.rows {
		var remark map[string]map[string]json.RawMessage
		r.remark(&remark)
		for what, want := range remark {
			r.Deny()
			switch {
			case strings.HasPrefix(what, "without "):
				r.Deny("hudson.model." + strings.TrimPrefix(what, "without "))
			case what != "all":
				r.Deny(everything...)
			}
			for question, answer := range r.askAll() {
				if got, _ := json.Marshal(answer); string(got) != string(want[question]) {
					r.differ(what, question, "%s, want %s", got, want[question])
				}
			}
			r.Deny()
			r.PersonDelete("t")
		}
	}
}

// askAll sends the recorder's questions, and returns the answers as the recorder noted them.
func (r *replay) askAll() map[string][]any {
	required := func(a answered) any {
		if p := a.header.Get("X-Required-Permission"); p != "" {
			return p
		}
		return nil
	}
	all := map[string][]any{}
	if a := r.get("/queue/api/json?tree=items[why,task[name,labelExpression]]"); a.status != 200 {
		all["queue"] = []any{a.status, ""}
	} else {
		var q struct {
			Items []struct {
				Why  string
				Task struct {
					Class           string `json:"_class"`
					Name            string
					LabelExpression *string
				}
			}
		}
		if err := json.Unmarshal([]byte(a.body), &q); err != nil {
			r.Fatal(err)
		}
		items := []any{}
		for _, it := range q.Items {
			items = append(items, []any{it.Task.Name, it.Task.Class[strings.LastIndexByte(it.Task.Class, '.')+1:], it.Why, it.Task.LabelExpression})
		}
		all["queue"] = []any{a.status, items}
	}
	if a := r.get("/computer/api/json?tree=computer[displayName]"); a.status != 200 {
		all["computers"] = []any{a.status, ""}
	} else {
		all["computers"] = []any{a.status, strings.Count(a.body, "displayName")}
	}
	a := r.post("/computer/doCreateItem", nodeForm("t", "", "t"))
	all["create"] = []any{a.status, required(a)}
	r.normal("t", "t") // for a user who may not create one
	a = r.get("/computer/t/jenkins-agent.jnlp")
	secret := r.do("GET", "/computer/t/jenkins-agent.jnlp?encrypt=true", nil, anonymous).status == 200
	all["secret"] = []any{a.status, required(a), secret}
	msg := url.Values{"offlineMessage": {drainText}}
	a = r.post("/computer/t/changeOfflineCause", msg)
	marked := false
	for _, n := range r.NodesList() {
		marked = marked || n.Name == "t" && n.Marked != ""
	}
	all["changeOfflineCause"] = []any{a.status, required(a), marked}
	a = r.post("/computer/t/toggleOffline", msg)
	all["toggleOffline"] = []any{a.status, required(a)}
	config := r.get("/computer/t/config.xml")
	all["config.xml"] = []any{config.status, required(config)}
	a = r.post("/computer/t/doDelete", nil)
	all["delete"] = []any{a.status, required(a)}
	all["label"] = []any{r.get("/label/linux/api/json").status}
	a = r.get("/pluginManager/api/json")
	all["pluginManager"] = []any{a.status, required(a)}
	all["whoAmI"] = []any{r.get("/whoAmI/api/json").status}
	return all
}

func pinnedStory(r *replay) {
	r.create("n1", berthWords, "linux")
	r.create("n2", berthWords, "linux")
	for _, j := range []Job{{Name: "self1", Label: "n1"}, {Name: "two", Label: "n1 || n2"}, {Name: "mix", Label: "n1 && linux"}, {Name: "gone", Label: "nothere"}} {
		r.Submit(j)
	}
	time.Sleep(time.Second)
	r.rest()
}

const whyLabels = "linux docker a b x y big größe"

// whyLabel are the labels of the recorded jobs w00 to w11 and p00 to p11.
var whyLabel = []string{
	"linux", "linux && docker", "linux||docker", "!windows && linux", "linux -> docker", "a <-> b", "(linux || docker) && big",
	`"with space"`, "x&&(y||z)", "docker&&!slow", "größe", "it's",
}

func (r *replay) submitAll(prefix, free string, pipeline bool) {
	for i, label := range whyLabel {
		r.Submit(Job{Name: fmt.Sprintf("%s%02d", prefix, i), Label: label, Duration: 100 * time.Millisecond, Pipeline: pipeline})
	}
	r.Submit(Job{Name: free, Duration: 200 * time.Second, Pipeline: pipeline})
	time.Sleep(time.Second)
}

func pipelineWhyStory(r *replay) {
	r.submitAll("p", "pfree", true)
	r.ask()
	r.create("n1", berthWords, whyLabels)
	r.ask()
	r.create("n2", berthWords, whyLabels)
	r.rest()
}

func whyStory(r *replay) {
	jobs := r.next("").note()
	for _, label := range whyLabel {
		if quoted, _ := json.Marshal(label); !strings.Contains(strings.ReplaceAll(jobs, `\\`, `\`), strings.ReplaceAll(strings.ReplaceAll(string(quoted), `\u0026`, "&"), `\u003e`, ">")) && !strings.ContainsAny(label, `<"`) {
			r.Fatalf("%s is not in %s", quoted, jobs)
		}
	}
	r.submitAll("w", "free", false)
	r.until("2 agent nodes (offline) that match")
	r.create("n2", berthWords, whyLabels)
	r.until("built-in with 1 executor, EXCLUSIVE")
	r.BuiltIn(1, true)
	time.Sleep(time.Second)
	// The built-in node has taken the two items that it matches.
	r.rest()
}

func statesStory(r *replay) {
	r.Submit(Job{Name: "quiet", Label: "linux", QuietPeriod: 30 * time.Second, Duration: time.Hour})
	time.Sleep(100 * time.Millisecond)
	r.ask()
	r.Submit(Job{Name: "serial", Serial: true, Label: "linux", Duration: time.Hour})
	r.Submit(Job{Name: "later", Label: "linux", Duration: time.Hour})
	r.ask() // quietDown
	time.Sleep(7 * time.Second)
	r.until("cancelQuietDown")
	r.ask()
	time.Sleep(7 * time.Second)
	r.rest()
}

func median(v []float64) float64 {
	s := append([]float64(nil), v...)
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
	return s[len(s)/2]
}
