package doctor

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bellboard/cmd/internal/app"
	"bellboard/pool"
	"bellboard/queue"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// OldestJenkins is the oldest version that Bellboard supports. The one-build hook needs it. Agents by
// WebSocket need an older version only.
const OldestJenkins = "2.340"

const (
	// mostSkew is the difference that two clocks may have. The header Date counts in seconds.
	mostSkew = 5 * time.Second
	// secondLook is the time after which doctor reads again what may change in a moment.
	secondLook = 1500 * time.Millisecond
)

// The names of the checks of Jenkins.
const (
	checkJenkins    = "Jenkins"
	checkVersion    = "Jenkins' version"
	checkClock      = "Jenkins' clock"
	checkUser       = "user and token"
	checkAddress    = "agents' address"
	checkLanguage   = "language"
	checkReads      = "computers and queue"
	checkRead       = "Overall/Read"
	checkJobRead    = "Job/Read"
	checkCreate     = "Agent/Create"
	checkConnect    = "Agent/Connect"
	checkDisconnect = "Agent/Disconnect"
	checkDelete     = "Agent/Delete"
	checkWebSocket  = "WebSocket"
	checkTCP        = "TCP port"
	checkSwarm      = "Swarm plugin"
	checkHook       = "one-build hook"
	checkProbe      = "probe"
)

// jenkins makes or skips every check of Jenkins.
func (e *exam) jenkins(ctx context.Context) {
	within := []string{checkReads, checkJobRead, checkCreate, checkConnect, checkDisconnect, checkDelete, checkHook}
	for i := range e.Settings.Teams {
		within = append(within, "labels of "+e.Settings.Teams[i].Name)
	}
	if e.Probe {
		within = append(within, checkProbe)
	}
	hello, ok := e.reach(ctx)
	if !ok {
		const why = "Jenkins does not answer"
		e.skipAll(why, checkVersion, checkClock, checkUser, checkAddress, checkWebSocket, checkTCP, checkSwarm, checkLanguage, checkRead)
		e.skipAll(why, within...)
		return
	}
	e.version(hello.Header.Get("X-Jenkins"))
	e.clock(checkClock, "until then Bellboard corrects waiting times by the difference", hello.Header.Get("Date"), hello.Asked, hello.Answered)
	e.address(ctx, &hello)
	accepted := e.user(ctx)
	readable := accepted && e.read(ctx)
	switch {
	case !accepted:
		const why = "Jenkins does not accept the token"
		e.skipAll(why, checkLanguage, checkRead)
		e.skipAll(why, within...)
	case !readable:
		e.language(ctx, nil, "")
		e.skipAll("without Overall/Read Jenkins shows nothing else", within...)
	default:
		e.readable(ctx)
	}
	// These checks need the computers: a connected agent proves more than a page of Jenkins.
	e.webSocket(ctx)
	e.tcp(ctx)
	e.swarm(ctx)
}

// needed reports whether a team has such agents.
func (e *exam) needed(such func(*pool.Spec) bool) bool {
	specs := e.Settings.PoolSpecs()
	return slices.ContainsFunc(specs, func(s pool.Spec) bool { return such(&s) })
}

// readable makes the checks that need Overall/Read.
func (e *exam) readable(ctx context.Context) {
	items := e.reads(ctx)
	refusal := e.create(ctx)
	e.language(ctx, items, refusal)
	e.jobRead(ctx, len(items))
	var found verdicts
	if e.Probe {
		found = e.probe(ctx)
	}
	e.connect(ctx, found)
	e.disconnect(ctx, found)
	e.delete(found)
	for i := range e.Settings.Teams {
		e.labels(ctx, e.Settings.Teams[i].Name, strings.Fields(e.Settings.Teams[i].Labels))
	}
	e.hook()
	e.leftovers()
}

// greet sends a request to Jenkins without credentials.
func (e *exam) greet(ctx context.Context, method, page string) (queue.Answer, error) {
	return queue.Greet(ctx, e.Jenkins, e.Clock, method, e.Settings.JenkinsURL+page)
}

// reach makes the client, and sends Jenkins a first request without credentials.
func (e *exam) reach(ctx context.Context) (queue.Answer, bool) {
	var err error
	if e.Jenkins == nil {
		if e.Jenkins, err = app.JenkinsTransport(e.Settings.JenkinsCAFile); err != nil {
			e.finding(checkJenkins, "correct BELLBOARD_JENKINS_CA_FILE", "the authorities of Jenkins' certificate: %v", err)
			return queue.Answer{}, false
		}
	}
	e.client, err = queue.New(queue.Config{
		URL: e.Settings.JenkinsURL, User: e.Settings.JenkinsUser, Token: e.Token, Transport: e.Jenkins, Clock: e.Clock, Instance: e.Settings.Instance,
		Unlabelled: e.Settings.Unlabelled(),
	})
	if err != nil {
		e.finding(checkJenkins, "correct BELLBOARD_JENKINS_URL", "%v", err)
		return queue.Answer{}, false
	}
	over := app.Waits(e.Clock, e.Waiting, func() string { return "Jenkins at " + e.Settings.JenkinsURL + ", which has not answered yet" })
	hello, err := e.greet(ctx, http.MethodGet, "/login")
	over()
	if err == nil && hello.Header.Get("X-Jenkins") == "" && hello.Status != http.StatusServiceUnavailable {
		// A proxy before Jenkins may let only known users through.
		if a, asked := e.client.Ask(ctx, queue.Question{Path: "/whoAmI/api/json"}); asked == nil && (a.Header.Get("X-Jenkins") != "" || errors.Is(a.Document(), queue.ErrStripped)) {
			hello = a
		}
	}
	switch {
	case err != nil:
		e.finding(checkJenkins, unreachable(err), "%s: %v", e.Settings.JenkinsURL, err)
	case hello.Status == http.StatusServiceUnavailable:
		e.finding(checkJenkins, "wait until Jenkins has started, and try again", "Jenkins is starting, or is not there: %v", hello.Refusal())
	case hello.Header.Get("X-Jenkins") == "" && e.between(checkJenkins, notJenkins(&hello)):
	case hello.Header.Get("X-Jenkins") == "":
		e.finding(checkJenkins, "correct BELLBOARD_JENKINS_URL: with the path of Jenkins, if Jenkins has one, and not to a login page", "%s is not Jenkins: %v", e.Settings.JenkinsURL, notJenkins(&hello))
	default:
		e.ok(checkJenkins, "%s answers in %s", e.Settings.JenkinsURL, hello.Answered.Sub(hello.Asked).Round(time.Millisecond))
		return hello, true
	}
	return hello, false
}

// between makes the finding if err comes from a firewall or proxy before Jenkins. No permission and no
// setting of Jenkins is the remedy for such an answer.
func (e *exam) between(name string, err error) bool {
	remedy := ""
	switch {
	case errors.Is(err, queue.ErrBlocked):
		remedy = "have the firewall or proxy before Jenkins pass Bellboard's GET and POST requests below " + e.Settings.JenkinsURL + ", or set BELLBOARD_JENKINS_URL to an address behind that firewall or proxy"
	case errors.Is(err, queue.ErrStripped):
		remedy = "have the proxy before Jenkins pass the headers X-Jenkins and X-Jenkins-Session of Jenkins' answers on, or set BELLBOARD_JENKINS_URL to an address behind that proxy"
	default:
		return false
	}
	e.finding(name, remedy, "%v", err)
	return true
}

func notJenkins(a *queue.Answer) error {
	if a.Status == http.StatusOK {
		return a.Document()
	}
	return a.Refusal()
}

// unreachable returns the remedy for a request without an answer.
func unreachable(err error) string {
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &dns):
		return "correct the host in BELLBOARD_JENKINS_URL, or its entry in DNS"
	case errors.As(err, &authority):
		return "set BELLBOARD_JENKINS_CA_FILE to the file with the authority of Jenkins' certificate"
	case errors.As(err, &host):
		return "set BELLBOARD_JENKINS_URL to a name that Jenkins' certificate has"
	default:
		return "start Jenkins, correct BELLBOARD_JENKINS_URL, or open the network to Jenkins (NetworkPolicy, firewall, proxy)"
	}
}

func (e *exam) version(version string) {
	older, known := olderThan(version, OldestJenkins)
	switch {
	case !known:
		e.skip(checkVersion, "", "version %q cannot be compared; the oldest supported version is %s", version, OldestJenkins)
	case older:
		e.finding(checkVersion, "update Jenkins to "+OldestJenkins+" at least", "%s is older than %s, the oldest supported version", version, OldestJenkins)
	default:
		e.ok(checkVersion, "%s; the oldest supported version is %s", version, OldestJenkins)
	}
}

// olderThan compares versions such as 2.568.1 and 2.541-SNAPSHOT.
func olderThan(version, than string) (older, known bool) {
	v, _, _ := strings.Cut(version, "-")
	parts, others := strings.Split(v, "."), strings.Split(than, ".")
	for i, o := range others {
		want, _ := strconv.Atoi(o)
		if i >= len(parts) {
			return true, true
		}
		have, err := strconv.Atoi(parts[i])
		if err != nil {
			return false, false
		}
		if have != want {
			return have < want, true
		}
	}
	return false, true
}

// clock compares the clock of an answer's Date with the clock of this computer, at the middle of the request.
func (e *exam) clock(check, why, date string, asked, answered time.Time) {
	said, err := http.ParseTime(date)
	if err != nil {
		e.skip(check, "", "the answer has no Date")
		return
	}
	here := asked.Add(answered.Sub(asked) / 2)
	skew := said.Sub(here).Round(time.Second)
	if skew.Abs() > mostSkew {
		e.finding(check, "set both clocks by NTP: "+why, "the clock differs by %s from this computer's clock (%s there)", skew, said.UTC().Format(time.RFC3339))
		return
	}
	e.ok(check, "within %s of this computer's clock", mostSkew)
}

// address checks that the agents' address leads to the same Jenkins.
func (e *exam) address(ctx context.Context, hello *queue.Answer) {
	address := e.Settings.AgentJenkinsURL
	if address == e.Settings.JenkinsURL {
		e.ok(checkAddress, "agents use the same address as Bellboard")
		return
	}
	const remedy = "correct BELLBOARD_AGENT_JENKINS_URL"
	a, err := queue.Greet(ctx, e.Jenkins, e.Clock, http.MethodGet, address+"/login")
	switch here := hello.Header.Get("X-Jenkins-Session"); {
	case err != nil:
		e.skip(checkAddress, remedy+", if agents do not connect", "%s cannot be reached from here, but perhaps by agents: %v", address, err)
	case a.Header.Get("X-Jenkins") == "":
		e.finding(checkAddress, remedy, "%s is not Jenkins: %v", address, notJenkins(&a))
	case here == "":
		e.skip(checkAddress, "", "Jenkins' answers have no X-Jenkins-Session to compare")
	case a.Header.Get("X-Jenkins-Session") != here:
		e.finding(checkAddress, remedy, "%s is another Jenkins, or it restarted just now", address)
	default:
		e.ok(checkAddress, "%s leads to the same Jenkins", address)
	}
}

// user asks Jenkins for the name of Bellboard's user, which needs no permission.
func (e *exam) user(ctx context.Context) bool {
	remedy := "make a new API token for " + e.Settings.JenkinsUser + " in Jenkins, and put it into " + e.Settings.JenkinsTokenFile
	ask := func() (queue.Answer, error) { return e.client.Ask(ctx, queue.Question{Path: "/whoAmI/api/json"}) }
	a, err := ask()
	if err == nil && a.Status == http.StatusUnauthorized {
		// A Jenkins that has just started accepts no user for a moment.
		if err = clock.Sleep(ctx, e.Clock, secondLook); err == nil {
			a, err = ask()
		}
	}
	var who struct {
		Anonymous bool
		Name      string
	}
	switch {
	case err != nil:
		e.skip(checkUser, "", "%v", err)
		return false
	case a.Status == http.StatusUnauthorized:
		e.finding(checkUser, remedy, "Jenkins does not accept user and token (401): the user does not exist, or the token is wrong, revoked or expired")
		return false
	case e.between(checkUser, a.Document()):
		return false
	case a.Document() != nil || json.Unmarshal([]byte(a.Body), &who) != nil:
		e.finding(checkUser, "find what answers instead of Jenkins, such as a proxy", "whoAmI: %v", notJenkins(&a))
		return false
	case who.Anonymous:
		e.finding(checkUser, "have the proxy before Jenkins pass the Authorization header on", "Jenkins sees no user: something before Jenkins drops the token")
		return false
	}
	e.ok(checkUser, "accepted as %s", who.Name)
	return true
}

// read reads the root of Jenkins' API.
func (e *exam) read(ctx context.Context) bool {
	a, err := e.client.Ask(ctx, queue.Question{Path: "/api/json", Query: map[string]string{"tree": "quietingDown"}})
	var root struct{ QuietingDown bool }
	switch {
	case err != nil:
		e.skip(checkRead, "", "%v", err)
		return false
	case e.between(checkRead, a.Document()):
		return false
	case a.Status == http.StatusForbidden:
		e.finding(checkRead, grant(checkRead, e.Settings.JenkinsUser), "%v", a.Refusal())
		return false
	case a.Document() != nil:
		e.skip(checkRead, "", "%v", a.Document())
		return false
	case json.Unmarshal([]byte(a.Body), &root) == nil && root.QuietingDown:
		e.finding("quiet", "wait for Jenkins' restart, or cancel the shutdown in Jenkins (Manage Jenkins, Prepare for Shutdown)", "Jenkins is about to shut down, and starts no build")
	}
	e.ok(checkRead, "granted")
	return true
}

// reads makes the reads of a tick.
func (e *exam) reads(ctx context.Context) []scaler.Item {
	v, err := e.client.Observe(ctx)
	if e.between(checkReads, err) {
		return nil
	}
	if err != nil {
		e.finding(checkReads, "find what answers instead of Jenkins, or see Jenkins' log; Bellboard holds until then", "%v", err)
		return nil
	}
	e.ok(checkReads, "%d nodes and %d queue items in %s", len(v.Nodes), len(v.Items), v.AnsweredAt.Sub(v.AskedAt).Round(time.Millisecond))
	return v.Items
}

// english has parts of Jenkins' sentences that Bellboard understands.
var english = []string{
	"Waiting for next available executor", "is offline", "are offline", "There are no nodes with the label", "have label",
	"is reserved for jobs", "should be allowed to run first", "In the quiet period", "is about to shut down", "is already in progress",
	"has been removed from configuration", "Executor slot already in use", "is not accepting tasks", "lacks permission to run on",
}

// language checks that Jenkins answers in English if asked for English. Only Jenkins' sentences name the
// labels of pipelines. refusal is what Jenkins says about a bad name.
func (e *exam) language(ctx context.Context, items []scaler.Item, refusal string) {
	const remedy = "in Jenkins' Locale plugin untick ‘Ignore browser preference’, and start Jenkins without -Duser.language"
	var set struct{ DisplayName string }
	if e.document(ctx, "/computer/api/json", "displayName", &set) != nil {
		e.skip(checkLanguage, "", "Jenkins' nodes cannot be read")
		return
	}
	foreign, understood := "", 0
	for i := range items {
		it := &items[i]
		switch {
		case it.State != scaler.Buildable || it.Why == "":
		case it.Resolution != scaler.Unresolved || known(it.Why):
			understood++
		default:
			foreign = it.Why
		}
	}
	switch {
	case !strings.EqualFold(set.DisplayName, "nodes"):
		e.finding(checkLanguage, remedy, "asked for English, Jenkins calls the list of its nodes %q", set.DisplayName)
	case refusal != "" && !strings.Contains(refusal, "is an unsafe character"):
		e.finding(checkLanguage, remedy, "asked for English, Jenkins says %q", refusal)
	case foreign != "" && understood == 0:
		e.finding(checkLanguage, remedy, "Bellboard understands no sentence about a waiting build, such as %q", foreign)
	default:
		e.ok(checkLanguage, "Jenkins answers in English")
	}
}

func known(why string) bool {
	return slices.ContainsFunc(english, func(part string) bool { return strings.Contains(why, part) })
}

// webSocket checks that Jenkins has the page to which agents connect. Jenkins answers everybody there, and a
// request that is no WebSocket with 400.
func (e *exam) webSocket(ctx context.Context) {
	if !e.needed(func(s *pool.Spec) bool { return s.Connect == scaler.Swarm || s.Transport == pool.WebSocket }) {
		e.ok(checkWebSocket, "no team needs it")
		return
	}
	a, err := e.greet(ctx, http.MethodGet, "/wsagents/")
	connected := e.connected(func(c *queue.Computer) bool {
		id := scaler.PoolID{Team: c.Team, Kind: c.Kind}
		return !swarm(c) && e.needed(func(s *pool.Spec) bool { return s.PoolID == id && s.Transport == pool.WebSocket })
	})
	switch {
	case connected > 0:
		e.ok(checkWebSocket, "agents of Bellboard's connected by it: %d", connected)
	case err != nil:
		e.skip(checkWebSocket, "", "%v", err)
	case a.Status == http.StatusBadRequest:
		e.ok(checkWebSocket, "agents can connect through Jenkins' web port; no TCP port is needed")
	case a.Status == http.StatusNotFound:
		e.finding(checkWebSocket, "run Jenkins in its own container (java -jar jenkins.war), and let a proxy before it pass /wsagents/ on",
			"Jenkins has no /wsagents/, to which agents connect unless CONNECT=tcp or ssh")
	default:
		e.skip(checkWebSocket, "let a proxy before Jenkins pass /wsagents/ on", "/wsagents/ answers with status %d", a.Status)
	}
}

// tcp checks that Jenkins has the page that tells agents the TCP port. Jenkins has that page only while the
// port is open.
func (e *exam) tcp(ctx context.Context) {
	if !e.needed(func(s *pool.Spec) bool { return s.Connect == scaler.Inbound && s.Transport == pool.TCP }) {
		e.ok(checkTCP, "no team needs it")
		return
	}
	a, err := e.greet(ctx, http.MethodGet, "/tcpSlaveAgentListener/")
	port := a.Header.Get("X-Jenkins-JNLP-Port")
	switch {
	case err != nil:
		e.skip(checkTCP, "", "%v", err)
	case a.Status == http.StatusOK && port != "":
		e.ok(checkTCP, "Jenkins has port %s open for agents; whether agents can reach that port is not checked", port)
	case a.Status == http.StatusNotFound:
		e.finding(checkTCP, "open the port in Jenkins (Security, TCP port for inbound agents, fixed: 50000) with the plugin ‘instance-identity’, or set CONNECT=inbound",
			"Jenkins has no port for agents, and agents connect by TCP")
	default:
		e.skip(checkTCP, "", "/tcpSlaveAgentListener/ answers with status %d", a.Status)
	}
}

// swarm checks that Jenkins has the Swarm client, which the pods of Swarm agents fetch.
func (e *exam) swarm(ctx context.Context) {
	if !e.needed(func(s *pool.Spec) bool { return s.Connect == scaler.Swarm }) {
		e.ok(checkSwarm, "no team needs it")
		return
	}
	a, err := e.greet(ctx, http.MethodHead, "/swarm/swarm-client.jar")
	connected := e.connected(swarm)
	switch {
	case connected > 0:
		e.ok(checkSwarm, "agents of Bellboard's connected by it: %d", connected)
	case err != nil:
		e.skip(checkSwarm, "", "%v", err)
	case a.Status == http.StatusOK:
		e.ok(checkSwarm, "Jenkins serves its client; whether %s may use the client is not checked", e.Settings.SwarmUser)
	case a.Status == http.StatusNotFound:
		e.finding(checkSwarm, "install the plugin ‘swarm’, or set BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound", "Jenkins serves no Swarm client, and agents connect by Swarm")
	default:
		e.skip(checkSwarm, "", "/swarm/swarm-client.jar answers with status %d", a.Status)
	}
}

// labels looks for foreign agents and clouds with a team's labels, and for Jenkins nodes named like a label.
func (e *exam) labels(ctx context.Context, team string, labels []string) {
	name, expression := "labels of "+team, strings.Join(labels, "&&")
	if e.computers == nil {
		e.skip(name, "", "the computers cannot be read")
		return
	}
	var doc struct {
		// A cloud without a name is named by its class.
		Clouds []struct {
			Class string `json:"_class"`
			Name  string
		}
	}
	if err := e.document(ctx, "/label/"+url.PathEscape(expression)+"/api/json", "clouds[name]", &doc); err != nil {
		e.skip(name, "", "%v", err)
		return
	}
	var others []string
	alike := e.namedLike(slices.Concat(labels, carried))
	for _, c := range doc.Clouds {
		cloud := c.Name
		if cloud == "" {
			cloud = c.Class[strings.LastIndexByte(c.Class, '.')+1:]
		}
		others = append(others, "cloud "+cloud)
	}
	for i := range e.computers {
		c := &e.computers[i]
		lacks := func(label string) bool { return label != c.Name && !slices.Contains(c.Labels, label) }
		switch {
		case c.Mine() || slices.Contains(alike, c.Name) || slices.ContainsFunc(labels, lacks):
		case builtIn(c):
			others = append(others, "the built-in node")
		default:
			others = append(others, c.Name)
		}
	}
	for _, l := range alike {
		e.finding(name, "rename it: Jenkins does not say whether a pipeline waits for that Jenkins node or for the label, so Bellboard tries one agent first",
			"a Jenkins node is named like the label ‘%s’", l)
	}
	if len(others) > 0 {
		e.finding(name, "give those or the team other labels: Bellboard counts such agents as supply, and a cloud makes agents for the same builds",
			"‘%s’ is also served by %s", expression, few(others))
	}
	if len(alike)+len(others) == 0 {
		e.ok(name, "nothing else serves ‘%s’", expression)
	}
}

// carried has the labels that agents may have besides their team's labels.
var carried = []string{string(scaler.Ephemeral), string(scaler.Persistent), "swarm"}

// namedLike returns the labels that are also the name of a Jenkins node that is not the instance's.
func (e *exam) namedLike(labels []string) (names []string) {
	for i := range e.computers {
		if c := &e.computers[i]; !c.Mine() && !builtIn(c) && slices.Contains(labels, c.Name) {
			names = append(names, c.Name)
		}
	}
	return names
}

// grant returns the remedy for a permission that is missing.
func grant(permission, user string) string {
	return fmt.Sprintf("grant %s to %s (docs/jenkins.md)", permission, user)
}
