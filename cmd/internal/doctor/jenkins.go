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

// OldestJenkins is the oldest version that Bellboard supports: the one-build
// hook needs it, and WebSocket agents have been there for long.
const OldestJenkins = "2.340"

const (
	// mostSkew is how far another clock may be from this one. Its Date header
	// counts in seconds.
	mostSkew = 5 * time.Second
	// secondLook is how long after a look the next is made, where one may catch a
	// state that is over in a moment.
	secondLook = 1500 * time.Millisecond
)

// The checks that stand on others.
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

// jenkins makes every check of Jenkins, or says which could not be made.
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
	e.clock(checkClock, "until then waiting times are corrected by the difference", hello.Header.Get("Date"), hello.Asked, hello.Answered)
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
		e.skipAll("without Overall/Read nothing else is told", within...)
	default:
		e.readable(ctx)
	}
	// After the computers are known: an agent that is connected says more than a page.
	e.webSocket(ctx)
	e.tcp(ctx)
	e.swarm(ctx)
}

// needed reports whether some team's agents are such.
func (e *exam) needed(such func(*pool.Spec) bool) bool {
	specs := e.Settings.PoolSpecs()
	return slices.ContainsFunc(specs, func(s pool.Spec) bool { return such(&s) })
}

// readable makes the checks of a Jenkins that can be read.
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
		e.labels(ctx, e.Settings.Teams[i].Name, e.Settings.Teams[i].Labels)
	}
	e.hook()
	e.leftovers()
}

// reach greets Jenkins as nobody, and makes the client.
func (e *exam) reach(ctx context.Context) (queue.Answer, bool) {
	wire, err := e.wire()
	if err != nil {
		e.finding(checkJenkins, "correct BELLBOARD_JENKINS_CA_FILE", "the authorities of its certificate: %v", err)
		return queue.Answer{}, false
	}
	e.Jenkins = wire
	e.client, err = queue.New(queue.Config{
		URL: e.Settings.JenkinsURL, User: e.Settings.JenkinsUser, Token: e.Token, Transport: wire, Clock: e.Clock, Instance: e.Settings.Instance,
		Unlabelled: e.Settings.Unlabelled(),
	})
	if err != nil {
		e.finding(checkJenkins, "correct BELLBOARD_JENKINS_URL", "%v", err)
		return queue.Answer{}, false
	}
	over := app.Waits(e.Clock, e.Waiting, func() string { return "Jenkins at " + e.Settings.JenkinsURL + ", which has not answered yet" })
	hello, err := queue.Greet(ctx, wire, e.Clock, http.MethodGet, e.Settings.JenkinsURL+"/login")
	over()
	if err == nil && hello.Header.Get("X-Jenkins") == "" && hello.Status != http.StatusServiceUnavailable {
		// What stands before it may let only known users through.
		if a, asked := e.client.Ask(ctx, queue.Question{Path: "/whoAmI/api/json"}); asked == nil && (a.Header.Get("X-Jenkins") != "" || errors.Is(a.Document(), queue.ErrStripped)) {
			hello = a
		}
	}
	switch {
	case err != nil:
		e.finding(checkJenkins, unreachable(err), "%s: %v", e.Settings.JenkinsURL, err)
	case hello.Status == http.StatusServiceUnavailable:
		e.finding(checkJenkins, "wait until it has started, and try again", "it is starting, or not there: %v", hello.Refusal())
	case hello.Header.Get("X-Jenkins") == "" && e.between(checkJenkins, notJenkins(&hello)):
	case hello.Header.Get("X-Jenkins") == "":
		e.finding(checkJenkins, "correct BELLBOARD_JENKINS_URL: with Jenkins' path, if it has one, and past any login page", "%s is not Jenkins: %v", e.Settings.JenkinsURL, notJenkins(&hello))
	default:
		e.ok(checkJenkins, "%s answers in %s", e.Settings.JenkinsURL, hello.Answered.Sub(hello.Asked).Round(time.Millisecond))
		return hello, true
	}
	return hello, false
}

// between makes the row of an answer that what stands before Jenkins gave, or changed:
// no permission and no setting of Jenkins' mends that.
func (e *exam) between(name string, err error) bool {
	remedy := ""
	switch {
	case errors.Is(err, queue.ErrBlocked):
		remedy = "have the firewall or proxy before Jenkins pass Bellboard's GET and POST requests below " + e.Settings.JenkinsURL + ", or lead BELLBOARD_JENKINS_URL past it"
	case errors.Is(err, queue.ErrStripped):
		remedy = "have the proxy before Jenkins pass the headers X-Jenkins and X-Jenkins-Session of its answers on, or lead BELLBOARD_JENKINS_URL past it"
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

// unreachable is the remedy for a request without an answer.
func unreachable(err error) string {
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &dns):
		return "correct the host in BELLBOARD_JENKINS_URL, or the name service"
	case errors.As(err, &authority):
		return "name the file with Jenkins' authority in BELLBOARD_JENKINS_CA_FILE"
	case errors.As(err, &host):
		return "use the name that is in Jenkins' certificate in BELLBOARD_JENKINS_URL"
	default:
		return "start Jenkins, correct BELLBOARD_JENKINS_URL, or open the way (network policy, firewall, proxy)"
	}
}

func (e *exam) version(version string) {
	older, known := olderThan(version, OldestJenkins)
	switch {
	case !known:
		e.skip(checkVersion, "", "%q is no version that can be compared; the oldest supported is %s", version, OldestJenkins)
	case older:
		e.finding(checkVersion, "update Jenkins to "+OldestJenkins+" at least", "%s is older than %s, the oldest supported", version, OldestJenkins)
	default:
		e.ok(checkVersion, "%s; the oldest supported is %s", version, OldestJenkins)
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

// clock compares the clock that an answer's Date is by with this machine's, by the
// middle of the request.
func (e *exam) clock(check, why, date string, asked, answered time.Time) {
	said, err := http.ParseTime(date)
	if err != nil {
		e.skip(check, "", "its answer has no Date")
		return
	}
	here := asked.Add(answered.Sub(asked) / 2)
	skew := said.Sub(here).Round(time.Second)
	if skew.Abs() > mostSkew {
		e.finding(check, "set both clocks by NTP: "+why, "it is %s from this machine's (%s there)", skew, said.UTC().Format(time.RFC3339))
		return
	}
	e.ok(check, "within %s of this machine's", mostSkew)
}

// address looks whether the agents' address leads to the same Jenkins.
func (e *exam) address(ctx context.Context, hello *queue.Answer) {
	address := e.Settings.AgentJenkinsURL
	if address == e.Settings.JenkinsURL {
		e.ok(checkAddress, "the same as Bellboard's")
		return
	}
	const remedy = "correct BELLBOARD_AGENT_JENKINS_URL"
	a, err := queue.Greet(ctx, e.Jenkins, e.Clock, http.MethodGet, address+"/login")
	switch here := hello.Header.Get("X-Jenkins-Session"); {
	case err != nil:
		e.skip(checkAddress, remedy+", if agents do not connect", "%s cannot be reached from here, which agents may: %v", address, err)
	case a.Header.Get("X-Jenkins") == "":
		e.finding(checkAddress, remedy, "%s is not Jenkins: %v", address, notJenkins(&a))
	case here == "":
		e.skip(checkAddress, "", "Jenkins' answers have no X-Jenkins-Session, which would tell")
	case a.Header.Get("X-Jenkins-Session") != here:
		e.finding(checkAddress, remedy, "%s is another Jenkins, or it restarted just now", address)
	default:
		e.ok(checkAddress, "%s leads to the same Jenkins", address)
	}
}

// user asks Jenkins whom it takes us for; that needs no permission.
func (e *exam) user(ctx context.Context) bool {
	remedy := "make a new API token for " + e.Settings.JenkinsUser + " in Jenkins, and put it into " + e.Settings.JenkinsTokenFile
	ask := func() (queue.Answer, error) { return e.client.Ask(ctx, queue.Question{Path: "/whoAmI/api/json"}) }
	a, err := ask()
	if err == nil && a.Status == http.StatusUnauthorized {
		// A Jenkins that has just started does not know its users for a moment.
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
		e.finding(checkUser, remedy, "Jenkins does not accept them (401): the user does not exist, or the token is wrong, revoked or expired")
		return false
	case e.between(checkUser, a.Document()):
		return false
	case a.Document() != nil || json.Unmarshal([]byte(a.Body), &who) != nil:
		e.finding(checkUser, "let nothing between Bellboard and Jenkins answer for it", "whoAmI: %v", notJenkins(&a))
		return false
	case who.Anonymous:
		e.finding(checkUser, "have the proxy before Jenkins pass the Authorization header on", "Jenkins was shown no user: what stands before it drops the token")
		return false
	}
	e.ok(checkUser, "accepted as %s", who.Name)
	return true
}

// read looks at Jenkins' own page.
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
		e.finding("quiet", "wait for its restart, or cancel it in Jenkins (Manage Jenkins, Prepare for Shutdown)", "Jenkins is about to shut down: no build is started")
	}
	e.ok(checkRead, "granted")
	return true
}

// reads makes the very reads that a tick rests on.
func (e *exam) reads(ctx context.Context) []scaler.Item {
	v, err := e.client.Observe(ctx)
	if e.between(checkReads, err) {
		return nil
	}
	if err != nil {
		e.finding(checkReads, "see what answers in Jenkins' stead, or its log; Bellboard holds while this lasts", "%v", err)
		return nil
	}
	e.ok(checkReads, "%d nodes and %d queue items in %s", len(v.Nodes), len(v.Items), v.AnsweredAt.Sub(v.AskedAt).Round(time.Millisecond))
	return v.Items
}

// english are parts of Jenkins' sentences as they are understood.
var english = []string{
	"Waiting for next available executor", "is offline", "are offline", "There are no nodes with the label", "have label",
	"is reserved for jobs", "should be allowed to run first", "In the quiet period", "is about to shut down", "is already in progress",
	"has been removed from configuration", "Executor slot already in use", "is not accepting tasks", "lacks permission to run on",
}

// language looks whether Jenkins answers in English when asked for it. Labels of
// pipelines are told by its sentences alone. refusal is its word on a bad name.
func (e *exam) language(ctx context.Context, items []scaler.Item, refusal string) {
	const remedy = "in Jenkins' Locale plugin untick ‘Ignore browser preference’, and start it without -Duser.language"
	var set struct{ DisplayName string }
	if e.document(ctx, "/computer/api/json", "displayName", &set) != nil {
		e.skip(checkLanguage, "", "nothing that it says can be read")
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
		e.finding(checkLanguage, remedy, "asked for English, Jenkins calls its nodes %q", set.DisplayName)
	case refusal != "" && !strings.Contains(refusal, "is an unsafe character"):
		e.finding(checkLanguage, remedy, "asked for English, Jenkins says %q", refusal)
	case foreign != "" && understood == 0:
		e.finding(checkLanguage, remedy, "no sentence about a waiting build is understood, such as %q", foreign)
	default:
		e.ok(checkLanguage, "Jenkins answers in English")
	}
}

func known(why string) bool {
	for _, s := range english {
		if strings.Contains(why, s) {
			return true
		}
	}
	return false
}

// webSocket looks for the page that agents connect to. It is there for everybody
// and answers a plain question with 400.
func (e *exam) webSocket(ctx context.Context) {
	if !e.needed(func(s *pool.Spec) bool { return s.Connect == scaler.Swarm || s.Transport == pool.WebSocket }) {
		e.ok(checkWebSocket, "no team needs it")
		return
	}
	a, err := queue.Greet(ctx, e.Jenkins, e.Clock, http.MethodGet, e.Settings.JenkinsURL+"/wsagents/")
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
			"Jenkins has no /wsagents/, by which agents connect unless CONNECT=tcp")
	default:
		e.skip(checkWebSocket, "let a proxy before Jenkins pass /wsagents/ on", "/wsagents/ answers with status %d", a.Status)
	}
}

// tcp looks for the page on which Jenkins tells agents its port. Jenkins has it
// only while the port is open.
func (e *exam) tcp(ctx context.Context) {
	if !e.needed(func(s *pool.Spec) bool { return s.Connect == scaler.Inbound && s.Transport == pool.TCP }) {
		e.ok(checkTCP, "no team needs it")
		return
	}
	a, err := queue.Greet(ctx, e.Jenkins, e.Clock, http.MethodGet, e.Settings.JenkinsURL+"/tcpSlaveAgentListener/")
	port := a.Header.Get("X-Jenkins-JNLP-Port")
	switch {
	case err != nil:
		e.skip(checkTCP, "", "%v", err)
	case a.Status == http.StatusOK && port != "":
		e.ok(checkTCP, "Jenkins keeps port %s for agents; whether they reach it is not checked", port)
	case a.Status == http.StatusNotFound:
		e.finding(checkTCP, "open it in Jenkins (Security, TCP port for inbound agents, fixed: 50000) with the plugin ‘instance-identity’, or set CONNECT=inbound",
			"Jenkins keeps no port for agents, and agents connect by TCP")
	default:
		e.skip(checkTCP, "", "/tcpSlaveAgentListener/ answers with status %d", a.Status)
	}
}

// swarm looks for the client that the plugin serves, and that pods fetch.
func (e *exam) swarm(ctx context.Context) {
	if !e.needed(func(s *pool.Spec) bool { return s.Connect == scaler.Swarm }) {
		e.ok(checkSwarm, "no team needs it")
		return
	}
	a, err := queue.Greet(ctx, e.Jenkins, e.Clock, http.MethodHead, e.Settings.JenkinsURL+"/swarm/swarm-client.jar")
	connected := e.connected(swarm)
	switch {
	case connected > 0:
		e.ok(checkSwarm, "agents of Bellboard's connected by it: %d", connected)
	case err != nil:
		e.skip(checkSwarm, "", "%v", err)
	case a.Status == http.StatusOK:
		e.ok(checkSwarm, "Jenkins serves its client; whether %s may use it is not checked", e.Settings.SwarmUser)
	case a.Status == http.StatusNotFound:
		e.finding(checkSwarm, "install the plugin ‘swarm’, or set BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound", "Jenkins serves no Swarm client, and agents connect by Swarm")
	default:
		e.skip(checkSwarm, "", "/swarm/swarm-client.jar answers with status %d", a.Status)
	}
}

// labels looks for whoever else serves a team's labels.
func (e *exam) labels(ctx context.Context, team string, labels []string) {
	name, expression := "labels of "+team, strings.Join(labels, "&&")
	if e.computers == nil {
		e.skip(name, "", "the computers cannot be read")
		return
	}
	var doc struct {
		// A cloud that exports no name is known by its class.
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
		e.finding(name, "rename it: Jenkins does not tell whether a pipeline waits for the node or for the label, so one agent is tried first",
			"a Jenkins node is named like the label ‘%s’", l)
	}
	if len(others) > 0 {
		e.finding(name, "give them other labels, or the team: Bellboard counts such agents as supply, and a cloud makes agents for the same builds",
			"‘%s’ is also served by %s", expression, few(others))
	}
	if len(alike)+len(others) == 0 {
		e.ok(name, "‘%s’ is nobody else's", expression)
	}
}

// carried are the labels that agents have besides their team's.
var carried = []string{string(scaler.Ephemeral), string(scaler.Persistent), "swarm"}

// namedLike finds the labels that are also the name of a node that is not the instance's.
func (e *exam) namedLike(labels []string) (names []string) {
	for i := range e.computers {
		if c := &e.computers[i]; !c.Mine() && !builtIn(c) && slices.Contains(labels, c.Name) {
			names = append(names, c.Name)
		}
	}
	return names
}

// grant is the remedy for a permission that is missing.
func grant(permission, user string) string {
	return fmt.Sprintf("grant %s to %s (docs/jenkins.md)", permission, user)
}
