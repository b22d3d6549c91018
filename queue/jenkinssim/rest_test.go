package jenkinssim

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bndr/gojenkins"

	"bellboard/scaler/clock"
)

// TestStatuses is nodes.json and identity.json: the answer to each request.
func TestStatuses(t *testing.T) {
	inBubble(t, Config{AgentPort: 50000}, func(h *house) {
		h.create("b-1", "Bellboard berth", "linux docker")
		msg := url.Values{"offlineMessage": {markText}}
		long := strings.Repeat("a", 200)
		tests := []struct {
			name, method, path string
			form               url.Values
			edit               func(*http.Request)
			status             int
			headers            []string // "Name: value"; a value of "-" is none
			body               string
		}{
			{"queue", "GET", "/queue/api/json", nil, nil, 200, []string{
				"Content-Type: application/json;charset=utf-8", "X-Jenkins: 2.568.1", "X-Content-Type-Options: nosniff",
				"X-Frame-Options: deny",
			}, `{"_class":"hudson.model.Queue","discoverableItems":[],"items":[]}`},
			{
				"create again", "POST", "/computer/doCreateItem", nodeForm("b-1", "", "x"), nil, 400,
				[]string{"X-Error: Agent called  b-1  already exists", "X-Jenkins: 2.568.1"},
				"",
			},
			{
				"a slash", "POST", "/computer/doCreateItem", nodeForm("bad/name", "", "x"), nil, 400,
				[]string{"X-Error: /  is an unsafe character"},
				"",
			},
			{
				"no name", "POST", "/computer/doCreateItem", nodeForm("", "", "x"), nil, 400,
				[]string{"X-Error: Query parameter 'name' is required"},
				"",
			},
			{"an umlaut", "POST", "/computer/doCreateItem", nodeForm("ü-1", "", "x"), nil, 302, []string{"Location: /computer/", "X-Jenkins: -"}, ""},
			{"a long name", "POST", "/computer/doCreateItem", nodeForm(long, "", "x"), nil, 302, []string{"Location: /computer/"}, ""},
			{"no form", "POST", "/computer/doCreateItem", url.Values{"name": {"x"}}, nil, 400, []string{"X-Jenkins: -"}, "expects a form"},
			{"create by GET", "GET", "/computer/doCreateItem", nil, nil, 404, nil, ""},
			{"computer", "GET", "/computer/b-1/api/json?tree=displayName", nil, nil, 200, nil, `{"_class":"hudson.slaves.SlaveComputer","displayName":"b-1"}`},
			{"umlaut computer", "GET", "/computer/%C3%BC-1/api/json?tree=displayName", nil, nil, 200, nil, `"displayName":"ü-1"`},
			{"built-in", "GET", "/computer/(built-in)/api/json?tree=displayName", nil, nil, 200, nil, `"Built-In Node"`},
			{"no such computer", "GET", "/computer/nope/api/json", nil, nil, 404, []string{"X-Jenkins: 2.568.1"}, ""},
			{"the page that clients are sent to", "GET", "/computer/", nil, nil, 200, nil, ""},
			{
				"jnlp", "GET", "/computer/b-1/jenkins-agent.jnlp", nil, nil, 200,
				[]string{"Content-Type: application/x-java-jnlp-file"},
				"</argument><argument>b-1</argument><argument>-webSocket</argument><argument>-workDir</argument>",
			},
			{"old jnlp", "GET", "/computer/b-1/slave-agent.jnlp", nil, nil, 200, nil, "<jnlp>"},
			{"jnlp of nobody", "GET", "/computer/nope/jenkins-agent.jnlp", nil, nil, 404, nil, ""},
			{"jnlp, anonymous", "GET", "/computer/b-1/jenkins-agent.jnlp", nil, anonymous, 403, nil, ""},
			{"encrypted jnlp, anonymous", "GET", "/computer/b-1/jenkins-agent.jnlp?encrypt=true", nil, anonymous, 200, []string{"Content-Type: application/octet-stream"}, ""},
			{"encrypted jnlp of nobody", "GET", "/computer/nope/jenkins-agent.jnlp?encrypt=true", nil, anonymous, 404, nil, ""},
			{"mark", "POST", "/computer/b-1/changeOfflineCause", msg, nil, 302, []string{"Location: /computer/b-1/"}, ""},
			{"mark again", "POST", "/computer/b-1/changeOfflineCause", msg, nil, 302, nil, ""},
			{
				"marked", "GET", "/computer/b-1/api/json?tree=temporarilyOffline,offlineCauseReason,offlineCause[description]", nil, nil, 200, nil,
				`"offlineCause":{"_class":"hudson.slaves.OfflineCause$UserCause","description":"Disconnected by bellboard : ` + markText + `"},"offlineCauseReason":"` + markText + `","temporarilyOffline":true`,
			},
			{"toggle", "POST", "/computer/b-1/toggleOffline", msg, nil, 302, nil, ""},
			{"launch, which is nothing to an agent that calls", "POST", "/computer/b-1/launchSlaveAgent", nil, nil, 302, []string{"Location: /computer/b-1/log", "X-Jenkins: -"}, ""},
			{"launch by GET", "GET", "/computer/b-1/launchSlaveAgent", nil, nil, 405, []string{"Allow: POST"}, ""},
			{"launch nobody", "POST", "/computer/nope/launchSlaveAgent", nil, nil, 404, nil, ""},
			{"launch the built-in", "POST", "/computer/(built-in)/launchSlaveAgent", nil, nil, 404, nil, ""},
			{"mark by GET", "GET", "/computer/b-1/changeOfflineCause", nil, nil, 405, []string{"Allow: POST"}, ""},
			{"mark nobody", "POST", "/computer/nope/changeOfflineCause", msg, nil, 404, nil, ""},
			{"delete", "POST", "/computer/b-1/doDelete", nil, nil, 302, []string{"Location: /computer/"}, ""},
			{"delete again", "POST", "/computer/b-1/doDelete", nil, nil, 404, nil, ""},
			{"delete the built-in", "POST", "/computer/(built-in)/doDelete", nil, nil, 400, nil, ""},
			{
				"anonymous", "GET", "/queue/api/json", nil, anonymous, 403,
				[]string{"X-You-Are-Authenticated-As: anonymous", "X-Required-Permission: hudson.model.Hudson.Read", "X-Jenkins: 2.568.1"},
				"Authentication required",
			},
			{
				"wrong token", "GET", "/queue/api/json", nil, wrongToken, 401,
				[]string{`WWW-Authenticate: Basic realm="Jenkins", charset="UTF-8"`, "X-Jenkins: -", "Content-Type: text/html;charset=iso-8859-1"},
				"Unauthorized",
			},
			{"no such page", "GET", "/nosuch/api/json", nil, nil, 404, nil, ""},
			{"broken tree", "GET", "/queue/api/json?tree=items[id", nil, nil, 500, []string{"X-Hudson: 1.395"}, ""},
			{"broken depth", "GET", "/queue/api/json?depth=x", nil, nil, 500, nil, ""},
			{"who am I", "GET", "/whoAmI/api/json", nil, nil, 200, nil, `"name":"bellboard"`},
			{"crumb", "GET", "/crumbIssuer/api/json", nil, nil, 200, nil, `"crumbRequestField":"Jenkins-Crumb"`},
			{
				"root", "GET", "/api/json?tree=mode,nodeName,quietingDown,useCrumbs,useSecurity,numExecutors,url", nil, nil, 200, nil,
				`{"_class":"hudson.model.Hudson","mode":"NORMAL","nodeName":"","numExecutors":0,"quietingDown":false,"url":"http://jenkins:8080/","useCrumbs":true,"useSecurity":true}`,
			},
			{"label", "GET", "/label/linux%26%26docker/api/json?tree=name,offline,nodes[nodeName]", nil, nil, 200, nil, `"name":"linux&&docker","nodes":[],"offline":true`},
			{"agents' page, asked by nobody", "GET", "/wsagents/", nil, anonymous, 400, []string{"X-Jenkins: -"}, "only for use from agent.jar in WebSocket mode"},
			{"agents' TCP port, asked by nobody", "GET", "/tcpSlaveAgentListener/", nil, anonymous, 200, []string{"X-Jenkins-JNLP-Port: 50000", "X-Hudson-JNLP-Port: 50000", "X-Jenkins: -"}, "Jenkins"},
			{"Swarm's client, asked by nobody", "HEAD", "/swarm/swarm-client.jar", nil, anonymous, 200, []string{"Content-Type: application/java-archive"}, ""},
			{"another file of Swarm's", "GET", "/swarm/other.jar", nil, nil, 404, nil, ""},
			{"page to mark a node", "GET", "/computer/(built-in)/markOffline", nil, nil, 200, []string{"X-Jenkins: 2.568.1"}, "offlineMessage"},
			{"page to mark a node, anonymous", "GET", "/computer/(built-in)/markOffline", nil, anonymous, 403, nil, ""},
			{"quiet down", "POST", "/quietDown", nil, nil, 302, []string{"Location: /"}, ""},
			{"quieting", "GET", "/api/json?tree=quietingDown", nil, nil, 200, nil, `"quietingDown":true`},
			{"cancel quiet down", "POST", "/cancelQuietDown", nil, nil, 302, nil, ""},
		}
		for _, tt := range tests {
			edit := tt.edit
			if edit == nil {
				edit = func(*http.Request) {}
			}
			a := h.do(tt.method, tt.path, tt.form, edit)
			if a.status != tt.status || !strings.Contains(a.body, tt.body) {
				t.Errorf("%s: %d %v %s, want %d with %s", tt.name, a.status, a.err, a.body, tt.status, tt.body)
			}
			for _, line := range tt.headers {
				name, want, _ := strings.Cut(line, ": ")
				if want == "-" {
					want = ""
				}
				if got := a.header.Get(name); got != want {
					t.Errorf("%s: %s = %q, want %q", tt.name, name, got, want)
				}
			}
		}
	})
}

func TestSecretIsOfTheName(t *testing.T) {
	inBubble(t, Config{Seed: 7}, func(h *house) {
		read := func() string {
			var j struct {
				Arguments []string `xml:"application-desc>argument"`
			}
			if err := xml.Unmarshal([]byte(h.get("/computer/b-1/jenkins-agent.jnlp").body), &j); err != nil {
				t.Fatal(err)
			}
			return j.Arguments[0]
		}
		h.create("b-1", "", "linux")
		first := read()
		h.delete("b-1")
		h.create("b-1", "", "linux")
		if again := read(); again != first || len(first) != 64 {
			t.Errorf("secret %q, then %q", first, again)
		}
		if _, err := h.Connect("b-1", "wrong", "x"); !errors.Is(err, ErrBadSecret) {
			t.Errorf("Connect = %v", err)
		}
		c, err := h.Connect("b-1", first, "x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Connect("b-1", first, "y"); !errors.Is(err, ErrAlreadyConnected) {
			t.Errorf("Connect = %v", err)
		}
		if ended(c) {
			t.Error("the first agent was disturbed")
		}
	})
}

// TestLaunch: Jenkins calls the agent of a node that has a host, at each order until the
// agent is connected. Jenkins does not call an inbound agent.
func TestLaunch(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		called := []string{}
		h.Caller(func(node, host string) {
			called = append(called, node+" at "+host)
			if len(called) > 1 { // it does not run yet at first
				h.connect(node, host)
			}
		})
		h.create("in-1", "", "linux")
		form := nodeForm("ssh-1", "", "linux")
		form.Set("json", strings.Replace(form.Get("json"), `"launcher":{`, `"launcher":{"host":"ssh-1.agents","port":"22",`, 1))
		h.must(h.post("/computer/doCreateItem", form))
		tree := "/api/json?tree=jnlpAgent,launchSupported"
		h.want("inbound", h.get("/computer/in-1"+tree).body, `{"_class":"hudson.slaves.SlaveComputer","jnlpAgent":true,"launchSupported":false}`)
		h.want("by SSH", h.get("/computer/ssh-1"+tree).body, `{"_class":"hudson.slaves.SlaveComputer","jnlpAgent":false,"launchSupported":true}`)
		for i, want := range []int{302, 302, 200, 200} {
			if a := h.post("/computer/ssh-1/launchSlaveAgent", nil); a.status != want {
				t.Errorf("launch %d: %d, want %d", i+1, a.status, want)
			}
			if a := h.post("/computer/in-1/launchSlaveAgent", nil); a.status != 302 {
				t.Errorf("launch of an inbound agent: %d", a.status)
			}
		}
		if want := []string{"ssh-1 at ssh-1.agents", "ssh-1 at ssh-1.agents"}; !slices.Equal(called, want) || h.Stats().Connected != 1 {
			t.Errorf("called %q, %d connected; want %q and one", called, h.Stats().Connected, want)
		}
	})
}

// TestAgentPort: Jenkins has the page only while the port is open.
func TestAgentPort(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		if a := h.get("/tcpSlaveAgentListener/"); a.status != 404 {
			t.Errorf("a closed port is told with %d", a.status)
		}
	})
}

func TestCreateByXML(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		const node = "<slave><name>x-1</name><description>d</description><remoteFS>/home/jenkins/agent</remoteFS><numExecutors>1</numExecutors>" +
			"<mode>EXCLUSIVE</mode><launcher class=\"hudson.slaves.JNLPLauncher\"><webSocket>true</webSocket></launcher><label>linux xml</label></slave>"
		send := func() answered {
			return h.do("POST", "/computer/createItem?name=x-1", nil, func(r *http.Request) {
				r.Body = http.NoBody
				r.Header.Set("Content-Type", "application/xml")
				r.Body = readCloser{strings.NewReader(node)}
			})
		}
		if a := send(); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if a := send(); a.status != 400 {
			t.Fatalf("again: %d", a.status)
		}
		h.want("labels", h.get("/computer/x-1/api/json?tree=assignedLabels[name]").body,
			`{"_class":"hudson.slaves.SlaveComputer","assignedLabels":[{"name":"linux"},{"name":"xml"},{"name":"x-1"}]}`)
	})
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// TestPermissions is permissions.json.
func TestPermissions(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.create("n1", "", "linux")
		h.Submit(Job{Name: "j", Label: "linux", Duration: time.Hour})
		time.Sleep(time.Second)
		msg := url.Values{"offlineMessage": {"x"}}
		tests := []struct {
			denied, method, path string
			form                 url.Values
			required             string
		}{
			{permRead, "GET", "/queue/api/json", nil, permRead},
			{permCreate, "POST", "/computer/doCreateItem", nodeForm("n2", "", ""), permCreate},
			{permDisconnect, "POST", "/computer/n1/changeOfflineCause", msg, permDisconnect},
			{permDelete, "POST", "/computer/n1/doDelete", nil, permDelete},
			{permConnect, "POST", "/computer/n1/launchSlaveAgent", nil, ""},
			{permConnect, "GET", "/computer/n1/jenkins-agent.jnlp", nil, ""},
		}
		for _, tt := range tests {
			h.Deny(tt.denied)
			a := h.do(tt.method, tt.path, tt.form)
			if got := a.header.Get("X-Required-Permission"); got != tt.required || (a.status == 403) != (tt.required != "") {
				t.Errorf("without %s: %d %q, want %q", tt.denied, a.status, got, tt.required)
			}
		}
		h.Deny(permConnect, permDisconnect)
		if a := h.get("/computer/n1/jenkins-agent.jnlp"); a.status != 403 || a.header.Get("X-Required-Permission") != permConnect {
			t.Errorf("secret: %d", a.status)
		}
		if a := h.post("/computer/n1/launchSlaveAgent", nil); a.status != 403 || a.header.Get("X-Required-Permission") != permConnect {
			t.Errorf("launch: %d", a.status)
		}
		// Jenkins refuses this before it asks for a permission, so the answer shows nothing.
		h.Deny(permDelete)
		if a := h.post("/computer/(built-in)/doDelete", nil); a.status != 400 {
			t.Errorf("deleting the built-in node without Agent/Delete: %d", a.status)
		}
		h.Deny(permDisconnect)
		if a := h.get("/computer/(built-in)/markOffline"); a.status != 200 || strings.Contains(a.body, "offlineMessage") {
			t.Errorf("page to mark a node: %d %s", a.status, a.body)
		}
		h.Deny()
		h.want("jobs", h.get("/api/json?tree=jobs[name]").body, `{"_class":"hudson.model.Hudson","jobs":[{"_class":"hudson.model.FreeStyleProject","name":"hello"},{"_class":"hudson.model.FreeStyleProject","name":"j"}]}`)
		h.Deny(permConnect, permDisconnect)
		h.want("monitor data without Agent/Connect", h.get("/computer/n1/api/json?tree=monitorData").body, `{"_class":"hudson.slaves.SlaveComputer","monitorData":{}}`)
		h.Deny(permJobRead)
		h.want("jobs without Job/Read", h.get("/api/json?tree=jobs[name]").body, `{"_class":"hudson.model.Hudson","jobs":[]}`)
		h.want("queue without Job/Read", h.get("/queue/api/json?tree=items[id]").body, `{"_class":"hudson.model.Queue","items":[]}`)
		h.Deny()
		h.want("queue", h.get("/queue/api/json?tree=items[id]").body,
			`{"_class":"hudson.model.Queue","items":[{"_class":"hudson.model.Queue$BuildableItem","id":1}]}`)
	})
}

// TestShapesAsSeen compares whole answers with recorded ones, byte by byte,
// but for times, ids and names.
func TestShapesAsSeen(t *testing.T) {
	seen := func(name string) string {
		raw, err := os.ReadFile("testdata/seen-" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			t.Fatal(err)
		}
		return normal(b.String())
	}
	inBubble(t, Config{}, func(h *house) {
		h.create("b-1", "Bellboard berth", "linux docker")
		h.want("computer", normal(h.get("/computer/b-1/api/json").body),
			strings.Replace(seen("computer"), `{"name":"linux"},{"name":"b-1"},{"name":"docker"}`, `{"name":"docker"},{"name":"linux"},{"name":"b-1"}`, 1))
		h.create("b-2", "Bellboard berth", "linux docker")
		h.Submit(Job{Name: "w01", Label: "linux && docker", Duration: time.Minute})
		h.Submit(Job{Name: "free", Duration: time.Minute})
		time.Sleep(time.Second)
		h.want("queue", normal(h.get("/queue/api/json").body), seen("queue-depth0"))
	})
	inBubble(t, Config{}, func(h *house) {
		h.create("b-1", "", "linux")
		h.create("b-2", "", "linux")
		h.Submit(Job{Name: "p00", Pipeline: true, Label: "linux", Duration: time.Minute})
		time.Sleep(time.Second)
		h.want("pipeline", normal(h.get("/queue/api/json").body), seen("pipeline-depth0"))
		h.connect("b-1", "b-1")
		time.Sleep(time.Second)
		h.want("computers", normal(h.get("/computer/api/json?tree=busyExecutors,totalExecutors,computer[displayName,idle,"+
			"executors[idle,currentExecutable[url]],oneOffExecutors[currentExecutable[url]],absoluteRemotePath]").body),
			`{"_class":"hudson.model.ComputerSet","busyExecutors":1,"computer":[`+
				`{"_class":"hudson.model.Hudson$MasterComputer","displayName":"Built-In Node","executors":[],"idle":false,"oneOffExecutors":[`+
				`{"currentExecutable":{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowRun","url":"ROOT/job/p00/1/"}}]},`+
				`{"_class":"hudson.slaves.SlaveComputer","displayName":"b-1","executors":[{"currentExecutable":{"_class":"`+classPlaceholderExec+
				`","url":"ROOT/job/p00/1/"},"idle":false}],"idle":false,"oneOffExecutors":[],"absoluteRemotePath":"/home/jenkins/agent"},`+
				`{"_class":"hudson.slaves.SlaveComputer","displayName":"b-2","executors":[{"currentExecutable":null,"idle":true}],"idle":true,`+
				`"oneOffExecutors":[],"absoluteRemotePath":null}],"totalExecutors":1}`)
	})
}

var changing = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`"(inQueueSince|buildableStartMilliseconds|id)":\d+`), `"$1":0`},
	{regexp.MustCompile(`http://[a-z0-9.]+:8080`), `ROOT`},
	{regexp.MustCompile(`queue/item/\d+/`), `queue/item/0/`},
}

func normal(s string) string {
	for _, c := range changing {
		s = c.re.ReplaceAllString(s, c.to)
	}
	return s
}

func TestTree(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		for i := range 3 {
			h.create(fmt.Sprintf("n%d", i), "", "linux")
		}
		const c, m = `{"_class":"hudson.slaves.SlaveComputer"`, `{"_class":"hudson.model.Hudson$MasterComputer"`
		set := func(s string) string { return `{"_class":"hudson.model.ComputerSet","computer":[` + s + `]}` }
		tests := []struct{ tree, want string }{
			{"computer[displayName]{1,3}", set(c + `,"displayName":"n0"},` + c + `,"displayName":"n1"}`)},
			{"computer[idle]{3,9}", set(c + `,"idle":true}`)},
			{"computer[idle]{0,1}", set(m + `,"idle":true}`)},
			{"computer[idle]{0,1},computer[offline]{0,1}", set(m + `,"offline":false}`)},
			{"computer[nosuch]{2,3}", set(c + `}`)},
			{"computer{2,3}", set(c + `}`)},
			{"computer[assignedLabels[name]{0,1}]{1,2}", set(c + `,"assignedLabels":[{"name":"linux"}]}`)},
			{"computer[assignedLabels[*]]{1,2}", set(c + `,"assignedLabels":[{"name":"linux"},{"name":"n0"}]}`)},
			{"nosuch[a,b[c]]", `{"_class":"hudson.model.ComputerSet"}`},
		}
		for _, tt := range tests {
			h.want(tt.tree, h.get("/computer/api/json?tree="+url.QueryEscape(tt.tree)).body, tt.want)
		}
		for _, bad := range []string{"a[", "a]", "[a]", "a{", "a{x}", "a[b", "a,,b", "a{1", "a{}"} {
			if a := h.get("/computer/api/json?tree=" + url.QueryEscape(bad)); a.status != 500 {
				t.Errorf("tree %q: %d, want 500", bad, a.status)
			}
		}
	})
}

// TestText: UTF-8 is written as it is, and only control characters are escaped.
func TestText(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		h.create("n1", "a\tb\u0001 \"größe\" \\ ‘x’ 😀", "linux")
		h.want("description", h.get("/computer/n1/api/json?tree=description").body,
			`{"_class":"hudson.slaves.SlaveComputer","description":"a\tb\u0001 \"größe\" \\ ‘x’ 😀"}`)
	})
}

// TestLatency: a request takes its time, its answer shows the state of half that time, and the
// context ends the wait.
func TestLatency(t *testing.T) {
	cfg := Config{Latency: func(op string) time.Duration {
		return map[string]time.Duration{"queue": 2 * time.Second, "create": 4 * time.Second}[op]
	}}
	inBubble(t, cfg, func(h *house) {
		start := time.Now()
		h.get(queueTree)
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("queue took %v", took)
		}
		ctx, cancel := context.WithTimeout(h.Context(), 3*time.Second)
		defer cancel()
		a := h.do("POST", "/computer/doCreateItem", nodeForm("n1", "", ""), func(r *http.Request) { *r = *r.WithContext(ctx) })
		if !errors.Is(a.err, context.DeadlineExceeded) {
			t.Errorf("create = %+v", a)
		}
		h.want("created for all that", h.node("n1"), "offline idle")
		h.Fault(func(*http.Request) (int, http.Header, []byte, bool) {
			h.Restart(Restart{Down: time.Minute})
			return 0, nil, nil, false
		})
		if a := h.get(queueTree); a.err == nil {
			t.Errorf("queue while Jenkins went = %+v", a)
		}
	})
}

// TestOverHTTP uses a real server and the client library that Bellboard uses.
func TestOverHTTP(t *testing.T) {
	j := New(Config{})
	defer j.Close()
	srv := httptest.NewServer(j)
	defer srv.Close()
	rq := &gojenkins.Requester{Base: srv.URL, Client: srv.Client(), BasicAuth: &gojenkins.BasicAuth{Username: "bellboard", Password: "token"}}
	ctx := t.Context()
	form := nodeForm("n1", "Bellboard berth", "linux")
	var page string
	post := gojenkins.NewAPIRequest("POST", "/computer/doCreateItem", strings.NewReader(form.Encode()))
	post.SetHeader("Content-Type", "application/x-www-form-urlencoded")
	res, err := rq.Do(ctx, post, &page)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("create: %v %v", res, err)
	}
	c, err := j.Connect("n1", j.Secret("n1"), "n1")
	if err != nil {
		t.Fatal(err)
	}
	j.Submit(Job{Name: "j", Label: "linux", Duration: 10 * time.Millisecond})
	var set struct {
		Computer []struct{ DisplayName string }
	}
	if _, err := rq.GetJSON(ctx, "/computer", &set, map[string]string{"tree": "computer[displayName]"}); err != nil || len(set.Computer) != 2 {
		t.Fatalf("computers: %+v %v", set, err)
	}
	for deadline := time.Now().Add(10 * time.Second); j.Stats().Succeeded == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no build ended: %+v", j.Stats())
		}
	}
	if res, err = rq.Do(ctx, gojenkins.NewAPIRequest("POST", "/computer/n1/doDelete", nil), &page); err != nil || res.StatusCode != 200 {
		t.Fatalf("delete: %v %v", res, err)
	}
	<-c.Done()
	j.Restart(Restart{Down: time.Minute})
	if _, err := rq.GetJSON(ctx, "/computer", &set, nil); err == nil {
		t.Error("a restarting Jenkins answered")
	}
}

// TestFastClock: an hour of builds passes in moments, in the clock's own time.
func TestFastClock(t *testing.T) {
	const speed = 20_000
	j := New(Config{Clock: clock.Fast(speed)})
	defer j.Close()
	j.AddNode(Node{Name: "n1", Labels: "linux"}, true)
	for range 4 {
		j.Submit(Job{Name: "j", Label: "linux", Duration: 15 * time.Minute})
	}
	for deadline := time.Now().Add(10 * time.Second); j.Stats().Succeeded < 4; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("stats = %+v", j.Stats())
		}
	}
	for _, b := range j.Builds() {
		if took := b.Ended.Sub(b.Started); took < 15*time.Minute {
			t.Errorf("build took %v", took)
		}
	}
}

// TestGoneForGood: after Close nothing answers and nothing happens.
func TestGoneForGood(t *testing.T) {
	inBubble(t, Config{}, func(h *house) {
		c := h.run("a1", true, time.Hour)
		h.Close()
		if !ended(c) {
			h.Error("channel not ended")
		}
		c.Close("chaos")
		if a := h.get(queueTree); a.err == nil {
			h.Errorf("answered %d", a.status)
		}
		if _, err := h.Connect("a1", h.Secret("a1"), "a1"); !errors.Is(err, ErrDown) {
			h.Errorf("Connect = %v", err)
		}
	})
}

// BenchmarkPoll is what one poll of a mid-sized house costs.
func BenchmarkPoll(b *testing.B) {
	j := New(Config{})
	defer j.Close()
	for i := range 50 {
		name := fmt.Sprintf("agent-%02d", i)
		j.AddNode(Node{Name: name, Labels: "linux docker", Exclusive: true}, i%2 == 0)
	}
	for range 75 {
		j.Submit(Job{Name: "j", Pipeline: true, Label: "linux && docker", Duration: time.Hour})
	}
	time.Sleep(100 * time.Millisecond)
	client := &http.Client{Transport: j.Transport()}
	const computers = "/computer/api/json?tree=busyExecutors,totalExecutors,computer[displayName,description,absoluteRemotePath,offline," +
		"temporarilyOffline,offlineCause[_class],offlineCauseReason,idle,numExecutors,assignedLabels[name]," +
		"executors[idle,currentExecutable[url,timestamp]],oneOffExecutors[currentExecutable[url]]]"
	for _, path := range []string{computers, queueTree} {
		b.Run(path[1:strings.IndexByte(path, '?')], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				j.mu.Lock()
				j.changed()
				j.mu.Unlock()
				r, _ := http.NewRequest("GET", "http://jenkins"+path, nil)
				r.SetBasicAuth("bellboard", "token")
				r.Header.Set("Accept-Language", "en")
				res, err := client.Do(r)
				if err != nil || res.StatusCode != 200 {
					b.Fatal(res, err)
				}
			}
		})
	}
	b.Run("maintain", func(b *testing.B) {
		for b.Loop() {
			j.enter()
			j.maintain()
			j.leave()
		}
	})
}
