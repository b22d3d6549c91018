package config

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"bellboard/pool"
	"bellboard/scaler"
)

// check checks the value of one setting alone, by the tags of its field or by the method check of its type.
// It returns the remedy, or "".
func check(f field) string {
	v := reflect.Indirect(f.Value)
	if own, ok := reflect.TypeAssert[interface{ check() string }](v); ok {
		return own.check()
	}
	if words := strings.Fields(f.Tag.Get("one")); len(words) > 0 && !slices.Contains(words, v.String()) {
		last := len(words) - 1
		return "no such choice; write " + strings.Join(words[:last], ", ") + " or " + words[last]
	}
	if is := f.Tag.Get("is"); is != "" {
		return forms[is](v.String())
	}
	return outside(v, f.Tag)
}

// outside returns the remedy for a number or a duration that is below min or above max, or "".
func outside(v reflect.Value, tag reflect.StructTag) string {
	least, most, zero := tag.Get("min"), tag.Get("max"), tag.Get("zero")
	if least == "" {
		return ""
	}
	n, remedy := number(fmt.Sprint(v.Interface())), "at least "+least
	if n >= number(least) && (most == "" || n <= number(most)) || zero != "" && n == 0 {
		return ""
	}
	if most != "" {
		remedy += " and at most " + most
	}
	if zero != "" {
		remedy = zero + " or " + remedy
	}
	return "must be " + remedy + tag.Get("why")
}

// number reads a number, or a duration as its seconds.
func number(s string) float64 {
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return n
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err) // a tag has neither: a bug
	}
	return d.Seconds()
}

// forms has a check of a text for each value of the tag is. Each returns the remedy, or "".
var forms = map[string]func(string) string{
	"URL": checkURL,
	"DNS label": func(s string) string {
		return unless(len(validation.IsDNS1123Label(s)) == 0, "not a DNS label; write lower-case letters, digits and dashes, 63 at most")
	},
	"name": func(s string) string {
		return unless(len(validation.IsDNS1123Subdomain(s)) == 0, "not a name in Kubernetes; write lower-case letters, digits, dashes and dots")
	},
	"listen address": func(s string) string {
		_, port, err := net.SplitHostPort(s)
		return unless(err == nil && port != "" && (digits(port) || len(validation.IsValidPortName(port)) == 0), "not an address; write :8080 or 127.0.0.1:8080")
	},
	"host and port": func(s string) string {
		host, port, err := net.SplitHostPort(s)
		return unless(err == nil && host != "" && port != "" && digits(port), "not host:port; write e.g. jenkins-agent.jenkins.svc:50000")
	},
	"public key": func(s string) string { // the kind of key, and the key in base64
		parts := append(strings.Fields(s), "", "")
		b, err := base64.StdEncoding.DecodeString(parts[1])
		return unless(err == nil && len(b) > 32 && !strings.Contains(s, "PRIVATE"), "not a public key; write what ssh-keygen -y -f host_key prints: ssh-ed25519 AAAA…")
	},
	"image": func(s string) string {
		return unless(!strings.ContainsAny(s, " \t\n,"), "not an image; write e.g. "+pool.DefaultImage)
	},
}

func unless(ok bool, remedy string) string {
	if ok {
		return ""
	}
	return remedy
}

func digits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func checkURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return "not an http or https address; write e.g. https://jenkins.example.com"
	case u.User != nil:
		return "holds a user or a password; leave both out"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		u.RawQuery, u.Fragment, u.ForceQuery = "", "", false
		return "has a query or a fragment; write " + u.String()
	}
	return ""
}

// missing notes that a variable has to be set, unless a misspelled variable was probably meant for it.
func (l *loader) missing(variable, remedy string) {
	if !l.meant[variable] {
		l.refuse(variable, remedy)
	}
}

// required notes a setting with the tag need or login that is not set.
func (l *loader) required(variable string, f field) {
	need := f.Tag.Get("need")
	if !l.offline {
		need = cmp.Or(need, f.Tag.Get("login"))
	}
	if need != "" && f.Value.IsZero() {
		l.missing(variable, "not set; "+need)
	}
}

// global notes what is missing among the daemon's settings, and fills in those that follow from others.
func (l *loader) global(g *Global) {
	for _, f := range fieldsOf(g) {
		l.required(prefix+"_"+f.Name, f)
	}
	g.JenkinsURL = strings.TrimRight(g.JenkinsURL, "/")
	g.AgentJenkinsURL = strings.TrimRight(g.AgentJenkinsURL, "/")
	if g.AgentJenkinsURL == "" {
		g.AgentJenkinsURL = g.JenkinsURL
		l.follows[prefix+"_AGENT_JENKINS_URL"] = prefix + "_JENKINS_URL"
	}
	if g.Namespace == "" {
		g.Namespace = l.ownNamespace()
	}
}

// named returns a setting of a team with its value, as a remedy names it.
func (l *loader) named(team, setting string, value int) string {
	if name := l.source(team, "", setting); name != "" {
		return fmt.Sprintf("%s=%d", name, value)
	}
	return fmt.Sprintf("%s_%s=%d (built-in)", prefixOf(team, ""), setting, value)
}

// among checks one team's settings against one another.
func (l *loader) among(t *Team) {
	own := func(s string) string { return prefixOf(t.Name, "") + "_" + s }
	blame := func(s string) string { return cmp.Or(l.source(t.Name, "", s), own(s)) }
	for _, f := range fieldsOf(&t.Limits) {
		if l.clean(t.Name, f.Name) {
			l.required(own(f.Name), f)
		}
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

// docker notes a Docker mode that the team does not allow, or that its way to connect cannot use.
func (l *loader) docker(t *Team) {
	for _, k := range t.Kinds() {
		name, p := l.source(t.Name, k, "DOCKER"), t.Pods[k]
		if name == "" {
			continue
		}
		if p.Docker == pool.DockerHost && !t.AllowHostDocker {
			l.refuse(name, fmt.Sprintf("gives every build of team %s the Kubernetes node; write dind, or set %s_ALLOW_HOST_DOCKER=true if that is meant", t.Name, prefixOf(t.Name, "")))
		}
		if p.Connect == ConnectSSH && (p.Docker == pool.DockerHost || p.Docker == pool.DockerRootless) {
			l.refuse(name, fmt.Sprintf("not for the agents of team %s, which Jenkins calls by SSH: an SSH session cannot use that Docker; write dind, userns or sysbox", t.Name))
		}
	}
}

// across checks the settings of the teams against one another and against those of the daemon.
func (l *loader) across(c *Config) {
	total, known, by := 0, !l.bad[prefix+"_MAX_AGENTS"], map[string]string{}
	for i := range c.Teams {
		t := &c.Teams[i]
		total += t.MinAgents
		known = known && l.clean(t.Name, "MIN_AGENTS")
		// A variable that a team before has made a mistake is no source any more, and is reported already.
		if key, variable := strings.Join(unique(t.Labels), " "), l.source(t.Name, "", "LABELS"); variable != "" {
			if other, twice := by[key]; twice {
				l.refuse(variable, fmt.Sprintf("the same labels as team %s has, so Bellboard cannot tell their builds apart; change one", other))
			}
			by[key] = t.Name
		}
	}
	if known && total > c.MaxAgents {
		l.refuse(prefix+"_MAX_AGENTS", fmt.Sprintf("less than the %d that the teams' MIN_AGENTS add up to (it is %d); raise it or lower them", total, c.MaxAgents))
	}
	for _, f := range fieldsOf(&c.Global) {
		with := Connect(f.Tag.Get("with"))
		if teams := c.teamsWith(with); f.Value.IsZero() && len(teams) > 0 {
			l.missing(prefix+"_"+f.Name, fmt.Sprintf(without[with], strings.Join(teams, ", ")))
		}
	}
}

// without has the remedies for a missing setting, by the tag with of the setting.
var without = map[Connect]string{
	ConnectSSH:   "not set, and Jenkins calls the agents of %s by SSH; set it (docs/docker.md), or write another CONNECT",
	ConnectSwarm: "not set, and the agents of %s connect by Swarm; set it, or BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound",
}

// teamsWith lists the teams that have agents that connect in that way.
func (c *Config) teamsWith(connect Connect) []string {
	var out []string
	for i := range c.Teams {
		for _, p := range c.Teams[i].Pods {
			if p.Connect == connect && !slices.Contains(out, c.Teams[i].Name) {
				out = append(out, c.Teams[i].Name)
			}
		}
	}
	return out
}
