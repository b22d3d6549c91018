package config

import (
	"encoding/base64"
	"fmt"
	"math"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"bellboard/pool"
	"bellboard/scaler"
)

// longestTeam leaves room in a node's and pod's name for the kind and the random part.
const longestTeam = 40

// check finds what is wrong with the value of one setting, whatever the others
// are. It returns the remedy, or "".
func check(f field) string {
	v := f.Value
	if p, ok := reflect.TypeAssert[*int](v); ok {
		return atLeast(*p, 0, "")
	}
	switch f.Name {
	case "JENKINS_URL", "AGENT_JENKINS_URL", "REGISTRY_MIRROR":
		return checkURL(v.String())
	case "TEAMS":
		names, _ := reflect.TypeAssert[Words](v) // of a field of that type
		return checkNames(names)
	case "LABELS":
		labels, _ := reflect.TypeAssert[Labels](v) // as above
		return checkLabels(labels)
	case "INSTANCE", "NAMESPACE":
		if len(validation.IsDNS1123Label(v.String())) > 0 {
			return "not a DNS label; write lower-case letters, digits and dashes, 63 at most"
		}
	case "SWARM_PASSWORD_SECRET", "SSH_SECRET", "STORAGE_CLASS", "SERVICE_ACCOUNT", "IMAGE_PULL_SECRET", "PRIORITY_CLASS":
		if len(validation.IsDNS1123Subdomain(v.String())) > 0 {
			return "not a name in Kubernetes; write lower-case letters, digits, dashes and dots"
		}
	case "MODE":
		return oneOf(v.String(), string(scaler.ModeEphemeral), string(scaler.ModePersistent), string(scaler.ModeAuto))
	case "CONNECT":
		return oneOf(v.String(), string(ConnectInbound), string(ConnectTCP), string(ConnectSSH), string(ConnectSwarm))
	case "DOCKER":
		var modes []string
		for _, m := range pool.DockerModes() {
			modes = append(modes, string(m))
		}
		return oneOf(v.String(), modes...)
	case "LOG_LEVEL":
		return oneOf(v.String(), "debug", "info", "warn", "error")
	case "LISTEN":
		if _, port, err := net.SplitHostPort(v.String()); err != nil || port == "" || len(validation.IsValidPortName(port)) > 0 && !number(port) {
			return "not an address; write :8080 or 127.0.0.1:8080"
		}
	case "AGENT_JENKINS_TUNNEL":
		if host, port, err := net.SplitHostPort(v.String()); err != nil || host == "" || port == "" || !number(port) {
			return "not host:port; write e.g. jenkins-agent.jenkins.svc:50000"
		}
	case "SSH_HOST_KEY":
		if parts := strings.Fields(v.String()); len(parts) < 2 || !hostKey(parts[1]) || strings.Contains(v.String(), "PRIVATE") {
			return "not a public key; write what ssh-keygen -y -f host_key prints: ssh-ed25519 AAAA…"
		}
	case "IMAGE":
		if strings.ContainsAny(v.String(), " \t\n,") {
			return "not an image; write e.g. " + pool.DefaultImage
		}
	case "NODE_SELECTOR":
		pairs, _ := reflect.TypeAssert[Pairs](v) // of a field of that type
		return pool.NotLinux(pairs)
	case "MAX_AGENTS":
		return atLeast(int(v.Int()), 1, "; to stop a team set its PAUSED=true")
	case "EXECUTORS":
		return atLeast(int(v.Int()), 1, "")
	case "MAX_LIFETIME":
		if d := time.Duration(v.Int()); d != 0 && d < time.Minute {
			return "must be 0s (never) or at least 1m"
		}
	case "MIN_AGENTS", "MIN_IDLE", "SCALE_UP_STEP":
		return atLeast(int(v.Int()), 0, "")
	case "KUBE_BURST":
		return atLeast(int(v.Int()), 1, "")
	case "KUBE_QPS":
		if q := v.Float(); !(q > 0) || math.IsInf(q, 0) {
			return "must be a number above 0; write e.g. 50"
		}
	case "BERTHS":
		return atLeast(int(v.Int()), 2, ": Jenkins names a waiting build's label only while two nodes carry it")
	case "POLL_INTERVAL":
		if d := time.Duration(v.Int()); d <= 0 || d > 30*time.Second {
			return "must be above 0 and at most 30s; write e.g. 1s"
		}
	case "IDLE_TIMEOUT", "START_TIMEOUT", "CACHE_KEEP":
		return longer(v.Int(), time.Second)
	case "BUILD_GRACE": // Kubernetes counts it in seconds, and a few of them mark Bellboard's own deletions
		return longer(v.Int(), 30*time.Second)
	case "SCALE_UP_COOLDOWN", "SCALE_DOWN_COOLDOWN", "JENKINS_RESTART_GRACE":
		return longer(v.Int(), 0)
	}
	return ""
}

// hostKey reports whether it is the second word of a public key: its kind again,
// and more, in base64.
func hostKey(s string) bool {
	b, err := base64.StdEncoding.DecodeString(s)
	return err == nil && len(b) > 32
}

func number(s string) bool { return strings.Trim(s, "0123456789") == "" }

func atLeast(n, least int, why string) string {
	if n < least {
		return fmt.Sprintf("must be at least %d%s", least, why)
	}
	return ""
}

func longer(d int64, least time.Duration) string {
	if time.Duration(d) < least {
		return "must be at least " + short(least)
	}
	return ""
}

func oneOf(s string, words ...string) string {
	if slices.Contains(words, s) {
		return ""
	}
	last := len(words) - 1
	return "no such choice; write " + strings.Join(words[:last], ", ") + " or " + words[last]
}

func checkURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "not an address of the web; write e.g. https://jenkins.example.com"
	case u.User != nil:
		return "holds a user or a password; leave them out of it"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		u.RawQuery, u.Fragment, u.ForceQuery = "", "", false
		return "has a query or a fragment; write " + u.String()
	}
	return ""
}

func checkNames(names Words) string {
	seen := map[string]string{}
	for _, n := range names {
		switch other, twice := seen[envName(n)]; {
		case twice && other == n:
			return fmt.Sprintf("names %s twice; drop one", n)
		case twice:
			return fmt.Sprintf("teams %s and %s would share the variables %s%s_…; rename one", other, n, teamPrefix, envName(n))
		case len(validation.IsDNS1123Label(n)) > 0:
			return fmt.Sprintf("%q cannot name a team; write lower-case letters, digits and dashes, a letter or digit first and last", n)
		case len(n) > longestTeam:
			return fmt.Sprintf("%q is longer than %d characters; shorten it", n, longestTeam)
		}
		seen[envName(n)] = n
	}
	return ""
}

// checkLabels wants plain atoms of Jenkins' label grammar, so that a job can
// name each without quotes.
func checkLabels(labels Labels) string {
	for _, l := range labels {
		if strings.Contains(l, ",") {
			apart := Labels(strings.Fields(strings.ReplaceAll(labels.String(), ",", " ")))
			if len(apart) == 0 {
				apart = Labels{"linux", "docker"}
			}
			return fmt.Sprintf("%q is one label in Jenkins, comma and all; write blanks between labels: %s", l, apart)
		}
		if strings.ContainsAny(l, `&|!<>()"'`) || strings.Contains(l, "->") {
			return fmt.Sprintf("%q is no plain label in Jenkins' grammar; leave out & | ! < > ( ) \" ' and ->", l)
		}
		if l == string(scaler.Ephemeral) || l == string(scaler.Persistent) {
			return fmt.Sprintf("%q is added by itself to the agents of that kind; leave it out, and set MODE if there shall be no others", l)
		}
	}
	return ""
}

// missing notes that a variable has to be set.
func (l *loader) missing(variable, remedy string) {
	if !l.meant[variable] {
		l.refuse(variable, remedy)
	}
}

// global checks what the daemon's settings need of one another, and fills in
// those that follow from others.
func (l *loader) global(g *Global) {
	if g.JenkinsURL == "" {
		l.missing(prefix+"_JENKINS_URL", "not set; write where Jenkins is, e.g. https://jenkins.example.com")
	}
	if !l.offline {
		if g.JenkinsUser == "" {
			l.missing(prefix+"_JENKINS_USER", "not set; name Bellboard's user in Jenkins")
		}
		if g.JenkinsTokenFile == "" {
			l.missing(prefix+"_JENKINS_TOKEN_FILE", "not set; name the file that holds that user's API token")
		}
	}
	if len(g.Teams) == 0 {
		l.missing(prefix+"_TEAMS", "not set; name your teams, e.g. web,mobile")
	}
	for _, f := range fieldsOf(g) {
		name := prefix + "_" + f.Name
		l.origin[name] = BuiltIn
		if l.set(name) {
			l.origin[name] = name
		}
	}
	g.JenkinsURL = strings.TrimRight(g.JenkinsURL, "/")
	g.AgentJenkinsURL = strings.TrimRight(g.AgentJenkinsURL, "/")
	if g.AgentJenkinsURL == "" {
		g.AgentJenkinsURL = g.JenkinsURL
		l.origin[prefix+"_AGENT_JENKINS_URL"] = l.origin[prefix+"_JENKINS_URL"]
	}
	if g.Namespace == "" {
		g.Namespace = l.ownNamespace()
	}
}

// named is a setting of a team with its value, as a remedy names it.
func (l *loader) named(team, setting string, value int) string {
	if name := l.source(team, "", setting); name != "" {
		return fmt.Sprintf("%s=%d", name, value)
	}
	return fmt.Sprintf("%s%s_%s=%d (built-in)", teamPrefix, envName(team), setting, value)
}

// among checks what one team's settings need of one another.
func (l *loader) among(t *Team) {
	own := func(s string) string { return teamPrefix + envName(t.Name) + "_" + s }
	blame := func(s string) string {
		if name := l.source(t.Name, "", s); name != "" {
			return name
		}
		return own(s)
	}
	if len(t.Labels) == 0 && l.clean(t.Name, "LABELS") {
		l.missing(own("LABELS"), "not set; write the labels its agents carry, e.g. linux docker")
	}
	l.docker(t)
	const fix = "; lower one or raise the other"
	for _, s := range []struct {
		setting string
		value   int
	}{{"MIN_AGENTS", t.MinAgents}, {"MIN_IDLE", t.MinIdle}} {
		if s.value > t.MaxAgents && l.clean(t.Name, s.setting, "MAX_AGENTS") {
			l.refuse(blame(s.setting), "more than "+l.named(t.Name, "MAX_AGENTS", t.MaxAgents)+fix)
		}
	}
	if !l.clean(t.Name, "MODE", "MIN_AGENTS", "MAX_PERSISTENT", "MAX_AGENTS") || t.Mode == scaler.ModeEphemeral {
		return
	}
	if t.Mode == scaler.ModePersistent && *t.MaxPersistent == 0 {
		l.refuse(blame("MAX_PERSISTENT"), fmt.Sprintf("leaves team %s, whose mode is persistent, no agent; raise it or set PAUSED=true", t.Name))
	} else if t.MinAgents > *t.MaxPersistent {
		l.refuse(blame("MIN_AGENTS"), "more than "+l.named(t.Name, "MAX_PERSISTENT", *t.MaxPersistent)+", and a minimum is persistent"+fix)
	}
}

// docker refuses what a team is not allowed to have, or what does not go together.
func (l *loader) docker(t *Team) {
	for _, k := range t.Kinds() {
		name, p := l.source(t.Name, k, "DOCKER"), t.Pods[k]
		if name == "" {
			continue
		}
		if p.Docker == pool.DockerHost && !t.AllowHostDocker {
			l.refuse(name, fmt.Sprintf("gives every build of team %s its machine; write dind, or set %s%s_ALLOW_HOST_DOCKER=true if that is meant", t.Name, teamPrefix, envName(t.Name)))
		}
		if p.Connect == ConnectSSH && (p.Docker == pool.DockerHost || p.Docker == pool.DockerRootless) {
			l.refuse(name, fmt.Sprintf("not for the agents of team %s, which Jenkins calls by SSH: their sessions could not use it; write dind, userns or sysbox", t.Name))
		}
	}
}

// across checks what the teams need of one another and of the daemon.
func (l *loader) across(c *Config) {
	total, by := 0, map[string]string{}
	var swarm, ssh []string
	for i := range c.Teams {
		t := &c.Teams[i]
		total += t.MinAgents
		if key := strings.Join(slices.Compact(slices.Sorted(slices.Values(t.Labels))), " "); key != "" {
			if other, twice := by[key]; twice {
				l.refuse(l.source(t.Name, "", "LABELS"), fmt.Sprintf("the same labels as team %s has, so nothing tells their builds apart; change one", other))
			}
			by[key] = t.Name
		}
		for _, k := range t.Kinds() {
			if t.Pods[k].Connect == ConnectSwarm && !slices.Contains(swarm, t.Name) {
				swarm = append(swarm, t.Name)
			}
			if t.Pods[k].Connect == ConnectSSH && !slices.Contains(ssh, t.Name) {
				ssh = append(ssh, t.Name)
			}
		}
	}
	if total > c.MaxAgents && !l.bad[prefix+"_MAX_AGENTS"] && l.minimumsClean() {
		l.refuse(prefix+"_MAX_AGENTS", fmt.Sprintf("less than the %d that the teams' MIN_AGENTS add up to (it is %d); raise it or lower them", total, c.MaxAgents))
	}
	if len(ssh) > 0 {
		l.needSSH(c, ssh)
	}
	if len(swarm) > 0 {
		why := fmt.Sprintf("not set, and the agents of %s connect by Swarm; set it, or BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound", strings.Join(swarm, ", "))
		if c.SwarmUser == "" {
			l.missing(prefix+"_SWARM_USER", why)
		}
		if c.SwarmPasswordSecret == "" {
			l.missing(prefix+"_SWARM_PASSWORD_SECRET", why)
		}
	}
}

// needSSH wants what Jenkins and the agents need to know each other.
func (l *loader) needSSH(c *Config, teams []string) {
	why := fmt.Sprintf("not set, and Jenkins calls the agents of %s by SSH; set it (docs/docker.md), or write another CONNECT", strings.Join(teams, ", "))
	if c.SSHSecret == "" {
		l.missing(prefix+"_SSH_SECRET", why)
	}
	if c.SSHHostKey == "" {
		l.missing(prefix+"_SSH_HOST_KEY", why)
	}
}

func (l *loader) minimumsClean() bool {
	return !slices.ContainsFunc(l.teams, func(t string) bool { return !l.clean(t, "MIN_AGENTS") })
}
