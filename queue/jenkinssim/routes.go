package jenkinssim

import (
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// latency returns the time before the answer is made up, and the time after that.
func (j *Jenkins) latency(r *http.Request, path []string) (before, after time.Duration) {
	if j.cfg.Latency == nil {
		return 0, 0
	}
	d := j.cfg.Latency(operation(r, path))
	return d / 2, d - d/2
}

// operations are the kinds of requests, by the last part of their path.
var operations = map[string]string{
	"jenkins-agent.jnlp": "secret", "doCreateItem": "create", "changeOfflineCause": "mark",
	"toggleOffline": "toggle", "doDisconnect": "disconnect", "doDelete": "delete",
}

func operation(r *http.Request, path []string) string {
	op := operations[path[len(path)-1]]
	switch {
	case op != "":
		return op
	case r.Method != http.MethodGet:
		return "other"
	case path[0] == "computer" && len(path) > 3:
		return "computer"
	case path[0] == "computer":
		return "computers"
	case path[0] == "queue", path[0] == "label":
		return path[0]
	}
	return "other"
}

// route finds what the path means.
func (v *visit) route() reply {
	p := v.path
	api := len(p) >= 2 && p[len(p)-2] == "api" && p[len(p)-1] == "json"
	if api {
		p = p[:len(p)-2]
	}
	if len(p) == 0 {
		p = []string{""}
	}
	if a, is := v.front(); is {
		return a
	}
	if a, open := v.open(p); open {
		return a
	}
	if a, no := v.denied(permRead); no {
		return a
	}
	switch {
	case p[0] == "" && !api:
		return v.problem(http.StatusOK, "Dashboard")
	case p[0] == "computer":
		return v.computers(p[1:], api)
	case p[0] == "pluginManager":
		a, _ := v.denied(permAdminister)
		return a
	case len(p) == 3 && p[0] == "plugin" && p[1] == "swarm" && p[2] == "createSlave":
		return v.createSwarm()
	case p[0] == "quietDown" || p[0] == "cancelQuietDown":
		if a, no := v.postOnly(); no {
			return a
		}
		v.j.quieting = p[0] == "quietDown"
		v.j.kick()
		return v.redirect("/")
	case api:
		return v.export(p)
	}
	return v.problem(http.StatusNotFound, "Not Found")
}

// open answers a request that needs no permission, and reports whether the request is one.
func (v *visit) open(p []string) (a reply, is bool) {
	const text = "text/plain;charset=utf-8"
	switch {
	case p[0] == "login":
		return v.problem(http.StatusOK, "Sign in"), true
	case p[0] == "whoAmI":
		return v.json(v.whoAmI), true
	case p[0] == "computer" && len(p) == 3 && strings.HasSuffix(p[2], ".jnlp"):
		return v.jnlp(p[1]), true
	case p[0] == "wsagents": // agents connect by Connect here
		return bare(http.StatusBadRequest, text, "This endpoint is only for use from agent.jar in WebSocket mode\n"), true
	case p[0] == "tcpSlaveAgentListener" && v.j.cfg.AgentPort == 0:
		return v.problem(http.StatusNotFound, "Not Found"), true
	case p[0] == "tcpSlaveAgentListener":
		a = bare(http.StatusOK, text, "\n\n  Jenkins\n")
		a.header.Set("X-Hudson-JNLP-Port", strconv.Itoa(v.j.cfg.AgentPort))
		a.header.Set("X-Jenkins-JNLP-Port", strconv.Itoa(v.j.cfg.AgentPort))
		return a, true
	case len(p) == 2 && p[0] == "swarm" && p[1] == "swarm-client.jar":
		return bare(http.StatusOK, "application/java-archive", emptyJar), true
	}
	return reply{}, false
}

// export answers with JSON, of anything but nodes, to a user who may read.
func (v *visit) export(p []string) reply {
	gauges := []string{
		"availableExecutors", "busyExecutors", "connectingExecutors", "definedExecutors",
		"idleExecutors", "onlineExecutors", "queueLength", "totalExecutors",
	}
	if p[0] == "label" && len(p) == 2 {
		return v.json(func(w *page) bean { return w.label(p[1]) })
	}
	switch strings.Join(p, "/") {
	case "":
		return v.json((*page).root)
	case "queue":
		return v.json((*page).queue)
	case "crumbIssuer":
		return v.json(func(*page) bean {
			crumb := []prop{{"crumb", 1, v.j.Secret("crumb")}, {"crumbRequestField", 1, "Jenkins-Crumb"}}
			return bean{"hudson.security.csrf.DefaultCrumbIssuer", crumb}
		})
	case "overallLoad":
		return v.json(func(*page) bean {
			return load("hudson.model.OverallLoadStatistics", append(gauges, "totalQueueLength")...)
		})
	case "unlabeledLoad":
		return v.json(func(*page) bean { return load("jenkins.model.UnlabeledLoadStatistics", gauges...) })
	}
	return v.problem(http.StatusNotFound, "Not Found")
}

// emptyJar is an archive without files: no test runs it.
var emptyJar = "PK\x05\x06" + strings.Repeat("\x00", 18)

// bare is an answer that is no page of Jenkins' own.
func bare(status int, content, body string) reply {
	return reply{status, http.Header{"Content-Type": {content}}, []byte(body)}
}

func (v *visit) whoAmI(*page) bean {
	name, authorities := v.user, raw(`["authenticated"]`)
	if name == "" {
		name, authorities = "anonymous", none
	}
	return bean{"hudson.security.WhoAmI", []prop{
		{"anonymous", 1, v.user == ""},
		{"authenticated", 1, v.user != ""},
		{"authorities", 1, authorities},
		{"name", 1, name},
	}}
}

func (v *visit) postOnly() (reply, bool) {
	if v.r.Method == http.MethodPost {
		return reply{}, false
	}
	a := v.problem(http.StatusMethodNotAllowed, "Method Not Allowed")
	a.header["Allow"] = []string{http.MethodPost}
	return a, true
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
		return v.createXML()
	}
	builtIn := p[0] == "(built-in)" || p[0] == "(master)"
	n := j.byName[p[0]]
	if builtIn {
		n = j.builtIn
	}
	switch {
	case n == nil || len(p) > 2:
		return v.problem(http.StatusNotFound, "Not Found")
	case len(p) == 1 && api:
		return v.json(func(w *page) bean { return w.computer(n) })
	case len(p) == 1:
		return v.problem(http.StatusOK, html.EscapeString(n.shown()))
	case p[1] == "config.xml" && !builtIn:
		if a, no := v.denied(permConfigure); no && (v.user == "" || j.lacks(permExtended)) {
			return a
		}
		return bare(http.StatusOK, "application/xml", n.config())
	case p[1] == "markOffline":
		return v.markOffline(n)
	}
	return v.act(n, p[1])
}

// markOffline is the page on which a person marks a node. A user who may read sees the page,
// and only a user who may mark sees its form.
func (v *visit) markOffline(n *node) reply {
	a := v.problem(http.StatusOK, html.EscapeString("Taking "+n.shown()+" Offline"))
	if !v.j.lacks(permDisconnect) {
		a.body = append(a.body, `<form method="post" action="toggleOffline"><textarea name="offlineMessage"></textarea></form>`...)
	}
	return a
}

// permissionFor is the permission that each action on a computer needs.
var permissionFor = map[string]string{
	"changeOfflineCause": permDisconnect, "toggleOffline": permDisconnect, "doDisconnect": permDisconnect, "doDelete": permDelete,
	"launchSlaveAgent": permConnect,
}

// act is a POST on a computer.
func (v *visit) act(n *node, action string) reply {
	j, permission := v.j, permissionFor[action]
	if permission == "" {
		return v.problem(http.StatusNotFound, "Not Found")
	}
	if a, no := v.postOnly(); no {
		return a
	}
	if action == "doDelete" && n.class == classBuiltIn { // Jenkins says so before it asks for any permission
		return v.problem(http.StatusBadRequest, "The built-in node cannot be deleted")
	}
	if action == "toggleOffline" && n.mark != nil {
		permission = permConnect
	}
	if a, no := v.denied(permission); no {
		return a
	}
	// The computer of a deleted node is still listed, but there is no node to keep a cause.
	if action == "launchSlaveAgent" && n.class == classBuiltIn || n.lingering && action != "doDelete" {
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
		if call := j.caller; n.host != "" && call != nil {
			j.calls = append(j.calls, func() { call(n.name, n.host) })
		}
		return v.redirect(here + "log")
	case "doDelete":
		if !n.lingering {
			j.stats.Deletes++
			j.remove(n, byREST)
		}
		return v.redirect("/computer/")
	}
	return v.redirect(here)
}

func (v *visit) createForm() reply {
	if a, no := v.denied(permCreate); no {
		return a
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
		NumExecutors    json.Number // may come as a string
		RemoteFS        string
		LabelString     string
		Mode            string
		Launcher        struct {
			WebSocket bool
			Host      string // of an SSH launcher
		}
		NodeProperties map[string]any
	}
	if err := json.Unmarshal([]byte(form), &f); err != nil {
		return v.problem(http.StatusInternalServerError, "Oops! A problem occurred while processing the request.")
	}
	executors, _ := f.NumExecutors.Int64()
	_, kept := f.NodeProperties["io-jenkins-plugins-casc-core-CascKeepNode"]
	v.create(settings{
		name: name, description: f.NodeDescription, labelString: f.LabelString, remoteFS: f.RemoteFS, mode: f.Mode,
		executors: int(executors), webSocket: f.Launcher.WebSocket, host: f.Launcher.Host, kept: kept,
	})
	return v.redirect("/computer/")
}

func (v *visit) createXML() reply {
	if a, no := v.denied(permCreate); no {
		return a
	}
	var f struct {
		XMLName     xml.Name `xml:"slave"`
		Description string   `xml:"description"`
		RemoteFS    string   `xml:"remoteFS"`
		Executors   int      `xml:"numExecutors"`
		Mode        string   `xml:"mode"`
		Label       string   `xml:"label"`
		WebSocket   bool     `xml:"launcher>webSocket"`
	}
	if err := xml.NewDecoder(v.r.Body).Decode(&f); err != nil {
		return v.failure("cannot read the node: " + err.Error())
	}
	name := v.r.URL.Query().Get("name")
	if a, bad := v.badName(name, "Node '"+name+"' already exists"); bad {
		return a
	}
	v.create(settings{
		name: name, description: f.Description, labelString: f.Label, remoteFS: f.RemoteFS, mode: f.Mode,
		executors: f.Executors, webSocket: f.WebSocket,
	})
	return reply{http.StatusOK, http.Header{}, nil}
}

func (v *visit) create(s settings) {
	s.mode = cmp.Or(s.mode, modeNormal)
	v.j.stats.Creates++
	v.j.register(s, classDumb, byREST)
}

// badName is the check of Jenkins for a new node's name.
func (v *visit) badName(name, exists string) (reply, bool) {
	switch unsafe := strings.IndexAny(name, `?*/\%!@#$^&|<>[]:;`); {
	case name == "":
		return v.failure("Query parameter 'name' is required"), true
	case v.j.registered(name) != nil:
		return v.failure(exists), true
	case unsafe >= 0:
		return v.failure(name[unsafe:unsafe+1] + "  is an unsafe character"), true
	}
	return reply{}, false
}

// jnlp answers with an agent's secret. Everybody may read the secret encrypted, and so see
// whether the node exists.
func (v *visit) jnlp(name string) reply {
	n := v.j.registered(name)
	encrypted := v.r.URL.Query().Get("encrypt") == "true"
	if a, no := v.denied(permRead); no && !encrypted {
		return a
	}
	if n == nil {
		return v.problem(http.StatusNotFound, "Not Found")
	}
	if encrypted {
		return bare(http.StatusOK, "application/octet-stream", strings.Repeat("?", 512))
	}
	if a, no := v.denied(permConnect); no {
		return a
	}
	arguments := []string{v.j.Secret(name), name, "-workDir", n.remoteFS, "-internalDir", "remoting", "-url", v.root()}
	if n.webSocket {
		arguments = slices.Insert(arguments, 2, "-webSocket")
	}
	var b strings.Builder
	for _, s := range arguments {
		b.WriteString("<argument>" + html.EscapeString(s) + "</argument>")
	}
	return bare(http.StatusOK, "application/x-java-jnlp-file", "<jnlp><application-desc>"+b.String()+"</application-desc></jnlp>")
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
