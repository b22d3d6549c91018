package config

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bellboard/pool"
	"bellboard/scaler"
)

// required notes each setting of a team, or for "" of the daemon, that has to be set, and is not. A setting
// with a mistake in one of its variables is reported already.
func (l *loader) required(spec any, team string) {
	for _, f := range fieldsOf(spec) {
		need := f.Tag.Get("need")
		if !l.offline {
			need = cmp.Or(need, f.Tag.Get("login"))
		}
		if need != "" && f.Value.IsZero() && l.clean(team, f.Name) {
			l.refuse(prefixOf(team, "")+"_"+f.Name, "not set; "+need)
		}
	}
}

// clean reports whether no variable behind these settings of a team, or for "" of the daemon, has a mistake.
// Only then can the settings be compared with one another.
func (l *loader) clean(team string, settings ...string) bool {
	for _, p := range prefixesOf(team, "") {
		if slices.ContainsFunc(settings, func(s string) bool { return l.bad[p+"_"+s] }) {
			return false
		}
	}
	return true
}

// global checks that the daemon's settings are there, and fills in those that follow from others.
func (l *loader) global() {
	g := &l.Global
	l.required(g, "")
	wrong := func(variable string) bool { return strings.HasPrefix(variable, prefix+"_TEAM") } // it may name the team
	if !l.teamless && len(l.names) == 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(l.bad)), wrong) {
		l.refuse(teamPrefix+"<NAME>_LABELS", "not set, so there is no team; write the labels of a team's agents, e.g. "+teamPrefix+"WEB_LABELS=linux docker")
	}
	if _, set := l.env[prefix+"_JENKINS_CA_FILE"]; set && l.read != nil {
		l.refuse(prefix+"_JENKINS_CA_FILE", l.authorities(g.JenkinsCAFile))
	}
	g.JenkinsURL = strings.TrimRight(g.JenkinsURL, "/")
	g.AgentJenkinsURL = strings.TrimRight(g.AgentJenkinsURL, "/")
	if g.AgentJenkinsURL == "" {
		g.AgentJenkinsURL = g.JenkinsURL
		l.follows[prefix+"_AGENT_JENKINS_URL"] = prefix + "_JENKINS_URL"
	}
	g.Namespace = cmp.Or(g.Namespace, l.OwnNamespace)
}

// authorities checks that a file has certificates. It returns the remedy, or "".
func (l *loader) authorities(file string) string {
	text, err := l.read(file)
	if err != nil {
		return fmt.Sprintf("cannot be read (%v); mount the ConfigMap that holds it, or correct the path", err)
	}
	return unless(x509.NewCertPool().AppendCertsFromPEM(text), "holds no certificate; write the authorities that sign Jenkins' certificate into it, in the form PEM")
}

// conflict is a setting of a team that is higher than another one allows.
type conflict struct {
	low     string
	value   int
	high    string
	limit   int
	because string
}

// conflicts lists what is wrong among the limits of a team.
func (l *Limits) conflicts() (out []conflict) {
	within := func(c conflict) {
		if c.value > c.limit {
			out = append(out, c)
		}
	}
	within(conflict{"MIN_AGENTS", l.MinAgents, "MAX_AGENTS", l.MaxAgents, ""})
	within(conflict{"MIN_IDLE", l.MinIdle, "MAX_AGENTS", l.MaxAgents, ""})
	if l.Mode != scaler.ModeEphemeral {
		within(conflict{"MIN_AGENTS", l.MinAgents, "MAX_PERSISTENT", *l.MaxPersistent, ", and a minimum is persistent"})
	}
	return out
}

// agentless is the remedy for MAX_PERSISTENT=0 in mode persistent.
const agentless = "leaves team %s, whose mode is persistent, no agent; raise it or set PAUSED=true"

func (l *Limits) agentless() bool { return l.Mode == scaler.ModePersistent && *l.MaxPersistent == 0 }

// among checks one team's settings against one another.
func (l *loader) among(t *Team) {
	l.required(&t.Limits, t.Name)
	if t.Tune && t.TargetWaitP95 == 0 && l.clean(t.Name, "TARGET_WAIT_P95") {
		const remedy = "needs a wait to reach, and team %s has none; set %s_TARGET_WAIT_P95, e.g. 30s, or leave TUNE out"
		l.refuse(l.source(t.Name, "", "TUNE"), fmt.Sprintf(remedy, t.Name, prefixOf(t.Name, "")))
	}
	if t.agentless() && l.clean(t.Name, "MODE", "MAX_AGENTS", "MAX_PERSISTENT") {
		l.refuse(l.source(t.Name, "", "MAX_PERSISTENT"), fmt.Sprintf(agentless, t.Name))
	}
	for _, c := range t.conflicts() {
		if !l.clean(t.Name, c.low, c.high) || c.high == "MAX_PERSISTENT" && !l.clean(t.Name, "MODE", "MAX_AGENTS") {
			continue
		}
		name, note := l.origin(t.Name, c.high)
		const remedy = "more than %s=%d%s%s; lower one or raise the other"
		l.refuse(l.source(t.Name, "", c.low), fmt.Sprintf(remedy, name, c.limit, note, c.because))
	}
}

// origin returns the variable that has the value of a team's setting, and a note if the value is built in.
func (l *loader) origin(team, setting string) (name, note string) {
	if name = l.source(team, "", setting); name != "" {
		return name, ""
	}
	return prefixOf(team, "") + "_" + setting, " (built-in)"
}

// across checks the settings of pools, of teams against one another, and of teams against the daemon's.
func (l *loader) across() {
	least, clean := 0, l.clean("", "MAX_AGENTS")
	owner, users := map[string]string{}, map[Connect][]string{} // teams, by their labels and by ways to connect
	for i := range l.Teams {
		t := &l.Teams[i]
		least += t.MinAgents
		clean = clean && l.clean(t.Name, "MIN_AGENTS")
		labels := strings.Join(unique(t.Labels), " ")
		if other, twice := owner[labels]; twice {
			const remedy = "the same labels as team %s has, so Bellboard cannot tell their builds apart; change one"
			l.refuse(l.source(t.Name, "", "LABELS"), fmt.Sprintf(remedy, other))
		}
		owner[labels] = t.Name
		for _, p := range t.Pods {
			users[p.Connect] = append(users[p.Connect], t.Name)
		}
	}
	for _, s := range l.specs {
		docker := l.source(s.Team, s.Kind, "DOCKER")
		if s.Docker == pool.DockerHost && !s.AllowHost {
			const remedy = "gives every build of team %s the Kubernetes node; " +
				"write dind, or set %s_ALLOW_HOST_DOCKER=true if that is meant"
			l.refuse(docker, fmt.Sprintf(remedy, s.Team, prefixOf(s.Team, "")))
		}
		if s.Transport == pool.SSH && (s.Docker == pool.DockerHost || s.Docker == pool.DockerRootless) {
			const remedy = "not for the agents of team %s, which Jenkins calls by SSH: " +
				"an SSH session cannot use that Docker; write dind, userns or sysbox"
			l.refuse(docker, fmt.Sprintf(remedy, s.Team))
		}
	}
	l.platformUsers()
	if clean && least > l.MaxAgents {
		const remedy = "less than the %d that the teams' MIN_AGENTS add up to (it is %d); raise it or lower them"
		l.refuse(prefix+"_MAX_AGENTS", fmt.Sprintf(remedy, least, l.MaxAgents))
	}
	if peak := l.tryWindows(); clean && peak > l.MaxAgents {
		const remedy = "less than the %d that the teams' MIN_AGENTS add up to in windows of SCHEDULE (it is %d); raise it or lower them"
		l.refuse(prefix+"_MAX_AGENTS", fmt.Sprintf(remedy, peak, l.MaxAgents))
	}
	for _, f := range fieldsOf(&l.Global) {
		with := Connect(f.Tag.Get("with"))
		if teams := slices.Compact(users[with]); f.Value.IsZero() && len(teams) > 0 {
			l.refuse(prefix+"_"+f.Name, fmt.Sprintf(without[with], strings.Join(teams, ", ")))
		}
	}
}

// platformUsers notes each RUN_AS=platform of agents that have a user of their own.
func (l *loader) platformUsers() {
	for _, s := range l.specs {
		because, instead := "", ""
		switch {
		case !s.PlatformUser:
		case s.Transport == pool.SSH:
			because, instead = "sshd is root", "CONNECT=inbound"
		case s.Docker != pool.DockerNone:
			because, instead = "with DOCKER="+string(s.Docker)+" they need rights that allow user 1000, too", "DOCKER=none"
		}
		if because != "" {
			const remedy = "not for the %s agents of team %s: %s; write %s_RUN_AS=jenkins, or %[4]s_%s"
			text := fmt.Sprintf(remedy, s.Kind, s.Team, because, prefixOf(s.Team, s.Kind), instead)
			l.refuse(l.source(s.Team, s.Kind, "RUN_AS"), text)
		}
	}
}

// without has the remedies for a missing setting, by the tag with of the setting.
var without = map[Connect]string{
	ConnectSSH:   "not set, and Jenkins calls the agents of %s by SSH; set it (docs/ssh.md), or write another CONNECT",
	ConnectSwarm: "not set, and the agents of %s connect by Swarm; set it, or BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound",
}
