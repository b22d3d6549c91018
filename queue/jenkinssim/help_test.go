package jenkinssim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bellboard/scaler/clock"
)

const (
	ephemeralWords = "Bellboard: at work (bellboard instance=house team=web kind=ephemeral)"
	markText       = "bellboard(house): one build"
	hookMark       = "bellboard-hook(house): one build only; this mark ends no build"
	queueTree      = "/queue/api/json?tree=items[id,inQueueSince,blocked,pending,stuck,why,task[name,url,labelExpression]]"
)

// house is a Jenkins with a client.
type house struct {
	*testing.T
	*Jenkins
	client *http.Client
	lang   string
	user   string
}

// inBubble runs a story in a testing/synctest bubble, whose end also proves
// that nothing of the Jenkins is left running.
func inBubble(t *testing.T, cfg Config, story func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg.Clock = clock.Real()
		j := New(cfg)
		defer j.Close()
		story(&house{T: t, Jenkins: j, lang: "en", user: "bellboard", client: &http.Client{
			Transport:     j.Transport(),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}})
	})
}

type answered struct {
	status int
	header http.Header
	body   string
	err    error
}

func (h *house) do(method, path string, form url.Values, edit ...func(*http.Request)) answered {
	h.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, "http://jenkins:8080"+path, body)
	if err != nil {
		h.Fatal(err)
	}
	r.SetBasicAuth(h.user, "token")
	if h.lang != "" {
		r.Header.Set("Accept-Language", h.lang)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, f := range edit {
		f(r)
	}
	res, err := h.client.Do(r)
	if err != nil {
		return answered{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return answered{res.StatusCode, res.Header, string(b), err}
}

func anonymous(r *http.Request)  { r.Header.Del("Authorization") }
func wrongToken(r *http.Request) { r.SetBasicAuth("bellboard", "guess") }

func (h *house) get(path string) answered { h.Helper(); return h.do("GET", path, nil) }

func (h *house) post(path string, f url.Values) answered { h.Helper(); return h.do("POST", path, f) }

func (h *house) mark(name, text string) {
	h.Helper()
	h.must(h.post("/computer/"+name+"/changeOfflineCause", url.Values{"offlineMessage": {text}}))
}

func (h *house) toggle(name, text string) {
	h.Helper()
	h.must(h.post("/computer/"+name+"/toggleOffline", url.Values{"offlineMessage": {text}}))
}

func (h *house) delete(name string) { h.Helper(); h.must(h.post("/computer/"+name+"/doDelete", nil)) }

func (h *house) must(a answered) {
	h.Helper()
	if a.err != nil || a.status >= 400 {
		h.Fatalf("status %d, %v: %s %s", a.status, a.err, a.header.Get("X-Error"), a.body)
	}
}

func nodeForm(name, description, labels string) url.Values {
	j, _ := json.Marshal(map[string]any{
		"name": name, "nodeDescription": description, "numExecutors": "1", "remoteFS": "/home/jenkins/agent",
		"labelString": labels, "mode": "EXCLUSIVE", "type": "hudson.slaves.DumbSlave",
		"launcher": map[string]any{"$class": "hudson.slaves.JNLPLauncher", "webSocket": true},
	})
	return url.Values{"name": {name}, "type": {"hudson.slaves.DumbSlave"}, "json": {string(j)}}
}

func (h *house) create(name, description, labels string) {
	h.Helper()
	a := h.post("/computer/doCreateItem", nodeForm(name, description, labels))
	if a.status != 302 || a.header.Get("Location") != "/computer/" {
		h.Fatalf("create %s: %d %v %v", name, a.status, a.header, a.err)
	}
}

func (h *house) connect(name, host string) *Channel {
	h.Helper()
	c, err := h.Connect(name, h.Secret(name), host)
	if err != nil {
		h.Fatal(err)
	}
	return c
}

func (h *house) swarm(name string) *Channel {
	h.Helper()
	if _, err := h.CreateSwarm(SwarmAgent{Name: name, Description: "bellboard", Labels: "linux docker", Executors: 1}); err != nil {
		h.Fatal(err)
	}
	return h.connect(name, name)
}

func ended(c *Channel) bool {
	select {
	case <-c.Done():
		return true
	default:
		return false
	}
}

// sees returns the queue and one node in the words of the recordings.
func (h *house) sees(node string) string {
	h.Helper()
	var q struct {
		Items []struct {
			Why  string
			Task struct{ Name string }
		}
	}
	a := h.get(queueTree)
	if a.err != nil || a.status != 200 {
		return fmt.Sprintf("%d %v", a.status, a.err != nil)
	}
	if err := json.Unmarshal([]byte(a.body), &q); err != nil {
		h.Fatal(err)
	}
	var s []string
	for _, it := range q.Items {
		s = append(s, it.Task.Name+": "+it.Why)
	}
	return strings.Join(s, " | ") + " / " + h.node(node)
}

func (h *house) node(name string) string {
	h.Helper()
	a := h.get("/computer/" + name + "/api/json?tree=offline,idle,temporarilyOffline,offlineCauseReason,absoluteRemotePath")
	if a.status != 200 {
		return fmt.Sprint(a.status)
	}
	var c struct {
		Offline, Idle, TemporarilyOffline bool
		OfflineCauseReason                string
		AbsoluteRemotePath                *string
	}
	if err := json.Unmarshal([]byte(a.body), &c); err != nil {
		h.Fatal(err)
	}
	s := "online"
	if c.Offline {
		s = "offline"
	}
	if c.Idle {
		s += " idle"
	} else {
		s += " busy"
	}
	if c.TemporarilyOffline {
		s += " marked"
	}
	if c.AbsoluteRemotePath != nil {
		s += " connected"
	}
	if c.OfflineCauseReason != "" {
		s += " (" + c.OfflineCauseReason + ")"
	}
	return s
}

func (h *house) want(what, got, want string) {
	h.Helper()
	if got != want {
		h.Fatalf("%s at %v:\n got %s\nwant %s", what, time.Now().Format("15:04:05.000"), got, want)
	}
}

// fate returns how the builds ended, in order.
func (h *house) fate() string {
	var s []string
	for _, b := range h.Builds() {
		f := b.Job.Name + " " + b.Result
		if b.Killed {
			f += " killed"
		}
		if b.Lost {
			f += " lost"
		}
		s = append(s, f)
	}
	return strings.Join(s, ", ")
}
