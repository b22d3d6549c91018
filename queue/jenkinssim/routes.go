package jenkinssim

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"bellboard/scaler/label"
)

// latency is the time before and after the answer is made up.
func (j *Jenkins) latency(r *http.Request, path []string) (before, after time.Duration) {
	if j.cfg.Latency == nil {
		return 0, 0
	}
	d := j.cfg.Latency(operation(r, path))
	return d / 2, d - d/2
}

func operation(r *http.Request, path []string) string {
	last := path[len(path)-1]
	switch {
	case last == "jenkins-agent.jnlp" || last == "slave-agent.jnlp":
		return "secret"
	case last == "doCreateItem" || last == "createItem":
		return "create"
	case last == "changeOfflineCause":
		return "mark"
	case last == "toggleOffline":
		return "toggle"
	case last == "doDisconnect":
		return "disconnect"
	case last == "doDelete":
		return "delete"
	case r.Method != http.MethodGet:
		return "other"
	case path[0] == "queue":
		return "queue"
	case path[0] == "label":
		return "label"
	case path[0] == "computer" && len(path) > 3:
		return "computer"
	case path[0] == "computer":
		return "computers"
	}
	return "other"
}

// route finds what the path means.
func (j *Jenkins) route(v *visit) reply {
	p := v.path
	api := len(p) >= 2 && p[len(p)-2] == "api" && p[len(p)-1] == "json"
	if api {
		p = p[:len(p)-2]
	}
	if len(p) == 0 {
		p = []string{""}
	}
	switch p[0] {
	case "login":
		return v.problem(http.StatusOK, "Sign in")
	case "whoAmI":
		return v.whoAmI()
	case "computer":
		if len(p) == 3 && strings.HasSuffix(p[2], ".jnlp") {
			return v.jnlp(p[1])
		}
	case "wsagents":
		// Agents here come by Connect; who asks without being one is told so.
		return bare(http.StatusBadRequest, "text/plain;charset=utf-8", "This endpoint is only for use from agent.jar in WebSocket mode\n")
	case "tcpSlaveAgentListener":
		if len(p) == 1 && j.cfg.AgentPort > 0 {
			a := bare(http.StatusOK, "text/plain;charset=utf-8", "\n\n  Jenkins\n")
			for _, name := range []string{"X-Hudson-JNLP-Port", "X-Jenkins-JNLP-Port"} {
				a.header[http.CanonicalHeaderKey(name)] = []string{strconv.Itoa(j.cfg.AgentPort)}
			}
			return a
		}
		return v.problem(http.StatusNotFound, "Not Found")
	case "swarm":
		if len(p) == 2 && p[1] == "swarm-client.jar" {
			return bare(http.StatusOK, "application/java-archive", emptyJar)
		}
	}
	if a, no := v.denied(permRead); no {
		return a
	}
	switch {
	case p[0] == "" && api:
		return v.json((*page).root)
	case p[0] == "":
		return v.problem(http.StatusOK, "Dashboard")
	case p[0] == "queue":
		return v.queue(p[1:], api)
	case p[0] == "computer":
		return v.computers(p[1:], api)
	case p[0] == "label" && len(p) == 2 && api:
		return v.json(func(w *page, t *pruner) { w.label(t, p[1]) })
	case p[0] == "label" && len(p) == 3 && p[2] == "loadStatistics" && api:
		return v.json(func(w *page, t *pruner) { w.load(t, classLabelLoad, j.loadOf(label.Parse(p[1]))) })
	case p[0] == "crumbIssuer" && api:
		return v.crumb()
	case p[0] == "overallLoad" && api:
		return v.json(func(w *page, t *pruner) { w.load(t, "hudson.model.OverallLoadStatistics", j.loads.overall) })
	case p[0] == "unlabeledLoad" && api:
		return v.json(func(w *page, t *pruner) { w.load(t, "jenkins.model.UnlabeledLoadStatistics", j.loads.unlabeled) })
	case p[0] == "pluginManager":
		a, _ := v.denied(permAdminister)
		return a
	case p[0] == "plugin" && len(p) == 3 && p[1] == "swarm" && p[2] == "createSlave":
		return v.createSwarm()
	case p[0] == "quietDown" || p[0] == "cancelQuietDown":
		if a, no := v.postOnly(); no {
			return a
		}
		j.quieting = p[0] == "quietDown"
		j.changed()
		j.kick()
		return v.redirect("/")
	}
	return v.problem(http.StatusNotFound, "Not Found")
}

// emptyJar is an archive without files: nobody runs it here.
var emptyJar = "PK\x05\x06" + strings.Repeat("\x00", 18)

// bare is an answer that is no page of Jenkins' own.
func bare(status int, content, body string) reply {
	return reply{status, http.Header{"Content-Type": {content}}, []byte(body)}
}

func (v *visit) whoAmI() reply {
	return v.json(func(w *page, t *pruner) {
		name := v.user
		if name == "" {
			name = "anonymous"
		}
		w.open("hudson.security.WhoAmI")
		w.propBool(t, "anonymous", 1, v.user == "")
		w.propBool(t, "authenticated", 1, v.user != "")
		if k := w.prop(t, "authorities", 1); k != nil {
			authorities := []string{"authenticated"}
			if v.user == "" {
				authorities = nil
			}
			w.array(k, len(authorities), func(i int) { w.str(authorities[i]) })
		}
		w.propStr(t, "name", 1, name)
		w.close()
	})
}

func (v *visit) postOnly() (reply, bool) {
	if v.r.Method == http.MethodPost {
		return reply{}, false
	}
	a := v.problem(http.StatusMethodNotAllowed, "Method Not Allowed")
	a.header["Allow"] = []string{http.MethodPost}
	return a, true
}

func (v *visit) queue(p []string, api bool) reply {
	switch {
	case len(p) == 0 && api:
		return v.json((*page).queue)
	case len(p) == 2 && p[0] == "item" && api && !v.j.denied[permJobRead]:
		id, _ := strconv.ParseInt(p[1], 10, 64)
		for _, it := range v.j.items {
			if it.id == id {
				return v.json(func(w *page, t *pruner) { w.item(t, it) })
			}
		}
		for _, l := range v.j.left {
			if l.id == id && v.j.clk.Now().Sub(l.at) <= leftFor {
				return v.json(func(w *page, t *pruner) { w.leftItem(t, l) })
			}
		}
	}
	return v.problem(http.StatusNotFound, "Not Found")
}

func (v *visit) computers(p []string, api bool) reply {
	j := v.j
	switch {
	case len(p) == 0 && api:
		return v.json((*page).computerSet)
	case len(p) == 0:
		return v.problem(http.StatusOK, "Nodes")
	case len(p) == 1 && p[0] == "doCreateItem" && v.r.Method == http.MethodPost:
		return v.createForm()
	case len(p) == 1 && p[0] == "createItem" && j.version >= createSince:
		if a, no := v.postOnly(); no {
			return a
		}
		return v.createXML()
	}
	builtIn := p[0] == "(built-in)" || p[0] == "(master)"
	n := j.byName[p[0]]
	if builtIn {
		n = j.builtIn
	}
	switch {
	case n == nil:
		return v.problem(http.StatusNotFound, "Not Found")
	case len(p) == 1 && api:
		return v.json(func(w *page, t *pruner) { w.computer(t, n) })
	case len(p) == 1:
		return v.problem(http.StatusOK, html.EscapeString(n.shown()))
	case len(p) == 2 && p[1] == "config.xml" && !builtIn:
		if a, no := v.denied(permConfigure); no && (v.user == "" || v.lacks(permExtended)) {
			return a
		}
		return reply{http.StatusOK, http.Header{"Content-Type": {"application/xml"}}, []byte(n.config())}
	case len(p) == 2 && p[1] == "markOffline":
		return v.markOffline(n)
	case len(p) == 2:
		return v.act(n, p[1])
	}
	return v.problem(http.StatusNotFound, "Not Found")
}

// markOffline is the page on which a person marks a node: everybody who may
// read sees the page, and the form on it only who may mark.
func (v *visit) markOffline(n *node) reply {
	a := v.problem(http.StatusOK, html.EscapeString("Taking "+n.shown()+" Offline"))
	if !v.lacks(permDisconnect) {
		a.body = append(a.body, `<form method="post" action="toggleOffline"><textarea name="offlineMessage"></textarea></form>`...)
	}
	return a
}

// act is a POST on a computer.
func (v *visit) act(n *node, action string) reply {
	j := v.j
	permission := map[string]string{
		"changeOfflineCause": permDisconnect, "toggleOffline": permDisconnect, "doDisconnect": permDisconnect, "doDelete": permDelete,
		"launchSlaveAgent": permConnect,
	}[action]
	if permission == "" {
		return v.problem(http.StatusNotFound, "Not Found")
	}
	if a, no := v.postOnly(); no {
		return a
	}
	if action == "doDelete" && n.class == classBuiltIn {
		// Jenkins says so before it asks who wants it.
		return v.problem(http.StatusBadRequest, "The built-in node cannot be deleted")
	}
	if action == "toggleOffline" && n.mark != nil {
		permission = permConnect
	}
	if a, no := v.denied(permission); no {
		return a
	}
	if action == "launchSlaveAgent" && n.class == classBuiltIn {
		return v.problem(http.StatusNotFound, "Not Found")
	}
	if n.lingering && action != "doDelete" {
		// The computer is still listed, but there is no node to keep a cause.
		return v.problem(http.StatusNotFound, "Not Found")
	}
	here := "/computer/" + v.path[1] + "/"
	own := &mark{class: causeUser, text: strings.TrimSpace(v.r.FormValue("offlineMessage")), user: v.user, ours: true}
	switch action {
	case "changeOfflineCause":
		j.stats.Marks++
		j.setMark(n, own)
	case "toggleOffline":
		if n.mark != nil {
			own = nil
		}
		j.setMark(n, own)
	case "doDisconnect":
		if n.ch != nil {
			j.cut(n, byREST, false)
		}
	case "launchSlaveAgent":
		if n.ch != nil {
			return v.problem(http.StatusOK, "This agent is connected already")
		}
		if n.host != "" && j.caller != nil {
			call := j.caller
			j.calls = append(j.calls, func() { call(n.name, n.host) })
		}
		return v.redirect(here + "log")
	case "doDelete":
		if n.lingering {
			return v.redirect("/computer/")
		}
		j.stats.Deletes++
		j.remove(n, byREST)
		return v.redirect("/computer/")
	}
	return v.redirect(here)
}

// flexInt is a number that may come as a string, as Jenkins' forms have it.
type flexInt int

// UnmarshalJSON reads 1 and "1".
func (f *flexInt) UnmarshalJSON(b []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(b), `"`))
	*f = flexInt(n)
	return err
}

func (v *visit) createForm() reply {
	if a, no := v.denied(permCreate); no {
		return a
	}
	if err := v.r.ParseForm(); err != nil {
		return container(v.r, http.StatusBadRequest, err.Error())
	}
	name, form := v.r.FormValue("name"), v.r.FormValue("json")
	if form == "" {
		return container(v.r, http.StatusBadRequest, "This page expects a form submission")
	}
	if a, bad := v.badName(name, "Agent called  "+name+"  already exists"); bad {
		return a
	}
	var f struct {
		NodeDescription string
		NumExecutors    flexInt
		RemoteFS        string
		LabelString     string
		Mode            string
		Launcher        struct {
			WebSocket bool
			Host      string // of an SSH launcher
		}
	}
	if err := json.Unmarshal([]byte(form), &f); err != nil {
		return v.problem(http.StatusInternalServerError, "Oops! A problem occurred while processing the request.")
	}
	v.create(restNode{name, f.NodeDescription, f.LabelString, f.RemoteFS, f.Mode, int(f.NumExecutors), f.Launcher.WebSocket, f.Launcher.Host})
	return v.redirect("/computer/")
}

func (v *visit) createXML() reply {
	if a, no := v.denied(permCreate); no {
		return a
	}
	const limit = 1 << 20
	body, err := io.ReadAll(io.LimitReader(v.r.Body, limit))
	if err != nil {
		return container(v.r, http.StatusBadRequest, err.Error())
	}
	var f struct {
		XMLName     xml.Name `xml:"slave"`
		Name        string   `xml:"name"`
		Description string   `xml:"description"`
		RemoteFS    string   `xml:"remoteFS"`
		Executors   int      `xml:"numExecutors"`
		Mode        string   `xml:"mode"`
		Label       string   `xml:"label"`
		WebSocket   bool     `xml:"launcher>webSocket"`
		Host        string   `xml:"launcher>host"`
	}
	if err := xml.Unmarshal(body, &f); err != nil {
		return v.failure("cannot read the node: " + err.Error())
	}
	name := v.r.URL.Query().Get("name")
	if name == "" {
		name = f.Name
	}
	if a, bad := v.badName(name, "Node '"+name+"' already exists"); bad {
		return a
	}
	v.create(restNode{name, f.Description, f.Label, f.RemoteFS, f.Mode, f.Executors, f.WebSocket, f.Host})
	return reply{http.StatusOK, http.Header{}, nil}
}

func (v *visit) create(r restNode) {
	if r.mode == "" {
		r.mode = modeNormal
	}
	v.j.stats.Creates++
	v.j.register(r, classDumb, byREST)
}

// badName is Jenkins.checkGoodName and the check for a node of that name.
func (v *visit) badName(name, exists string) (reply, bool) {
	switch {
	case name == "":
		return v.failure("Query parameter 'name' is required"), true
	case name == "." || name == "..":
		return v.failure("‘" + name + "’ is not allowed as a name"), true
	case strings.HasSuffix(name, "."):
		return v.failure("A name cannot end with ‘.’"), true
	case v.j.registered(name) != nil:
		return v.failure(exists), true
	}
	for _, c := range name {
		if unicode.IsControl(c) {
			return v.failure("No name may contain a control character"), true
		}
		if strings.ContainsRune(`?*/\%!@#$^&|<>[]:;`, c) {
			return v.failure(string(c) + "  is an unsafe character"), true
		}
	}
	return reply{}, false
}

// jnlp tells an agent's secret. Encrypted, it is told to anybody: it is of use
// only to who knows the secret, but shows whether the node exists.
func (v *visit) jnlp(name string) reply {
	n := v.j.registered(name)
	encrypted := v.r.URL.Query().Get("encrypt") == "true"
	if encrypted {
		if n == nil {
			return v.problem(http.StatusNotFound, "Not Found")
		}
		const blocks = 512
		body := make([]byte, blocks)
		for i := range body {
			body[i] = byte(v.j.rng.Uint32())
		}
		return reply{http.StatusOK, http.Header{"Content-Type": {"application/octet-stream"}}, body}
	}
	if a, no := v.denied(permRead); no {
		return a
	}
	if n == nil {
		return v.problem(http.StatusNotFound, "Not Found")
	}
	if a, no := v.denied(permConnect); no {
		return a
	}
	var b strings.Builder
	b.WriteString("<jnlp><application-desc>")
	arg := func(s string) { b.WriteString("<argument>" + html.EscapeString(s) + "</argument>") }
	arg(v.j.Secret(name))
	arg(name)
	if n.webSocket {
		arg("-webSocket")
	}
	for _, s := range []string{"-workDir", n.remoteFS, "-internalDir", "remoting", "-url", v.root()} {
		arg(s)
	}
	b.WriteString("</application-desc></jnlp>")
	return reply{http.StatusOK, http.Header{"Content-Type": {"application/x-java-jnlp-file"}}, []byte(b.String())}
}

func (n *node) config() string {
	e := html.EscapeString
	class, plugin, strategy, launcher, disabled := "slave", "", "Always", "hudson.slaves.JNLPLauncher", false
	webSocket := n.webSocket
	if n.class == classSwarm {
		class, plugin, strategy = "hudson.plugins.swarm.SwarmSlave", ` plugin="swarm@1254.vf26a_5e188f26"`, "NoOp"
		launcher, disabled = "hudson.plugins.swarm.SwarmLauncher", true
		webSocket = false // the client's own affair
	}
	return fmt.Sprintf(configXML, class, plugin, e(n.name), e(n.description), e(n.remoteFS), n.executors, n.mode,
		strategy, launcher, disabled, webSocket, e(n.labelString), class)
}

const configXML = `<?xml version="1.1" encoding="UTF-8"?>
<%s%s>
  <name>%s</name>
  <description>%s</description>
  <remoteFS>%s</remoteFS>
  <numExecutors>%d</numExecutors>
  <mode>%s</mode>
  <retentionStrategy class="hudson.slaves.RetentionStrategy$%s"/>
  <launcher class="%s">
    <workDirSettings>
      <disabled>%v</disabled>
      <internalDir>remoting</internalDir>
      <failIfWorkDirIsMissing>false</failIfWorkDirIsMissing>
    </workDirSettings>
    <webSocket>%v</webSocket>
  </launcher>
  <label>%s</label>
  <nodeProperties/>
</%s>`
