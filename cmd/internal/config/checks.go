package config

import (
	"cmp"
	"fmt"
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
		if !l.teamless {
			need = cmp.Or(need, f.Tag.Get("work"))
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
	g.JenkinsURL = strings.TrimRight(g.JenkinsURL, "/")
	g.AgentJenkinsURL = strings.TrimRight(g.AgentJenkinsURL, "/")
	if g.AgentJenkinsURL == "" {
		g.AgentJenkinsURL = g.JenkinsURL
		l.follows[prefix+"_AGENT_JENKINS_URL"] = prefix + "_JENKINS_URL"
	}
	g.Namespace = cmp.Or(g.Namespace, l.OwnNamespace)
}

// among checks one team's settings against one another.
func (l *loader) among(t *Team) {
	l.required(&t.Limits, t.Name)
	within := func(low string, value int, high string, limit int, because string) {
		if value <= limit || !l.clean(t.Name, low, high) {
			return
		}
		name, note := l.source(t.Name, "", high), ""
		if name == "" {
			name, note = prefixOf(t.Name, "")+"_"+high, " (built-in)"
		}
		const remedy = "more than %s=%d%s%s; lower one or raise the other"
		l.refuse(l.source(t.Name, "", low), fmt.Sprintf(remedy, name, limit, note, because))
	}
	within("MIN_AGENTS", t.MinAgents, "MAX_AGENTS", t.MaxAgents, "")
	within("MIN_IDLE", t.MinIdle, "MAX_AGENTS", t.MaxAgents, "")
	if t.Mode == scaler.ModeEphemeral || !l.clean(t.Name, "MODE", "MAX_AGENTS", "MAX_PERSISTENT") {
		return
	}
	if t.Mode == scaler.ModePersistent && *t.MaxPersistent == 0 {
		const remedy = "leaves team %s, whose mode is persistent, no agent; raise it or set PAUSED=true"
		l.refuse(l.source(t.Name, "", "MAX_PERSISTENT"), fmt.Sprintf(remedy, t.Name))
	}
	within("MIN_AGENTS", t.MinAgents, "MAX_PERSISTENT", *t.MaxPersistent, ", and a minimum is persistent")
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
	if clean && least > l.MaxAgents {
		const remedy = "less than the %d that the teams' MIN_AGENTS add up to (it is %d); raise it or lower them"
		l.refuse(prefix+"_MAX_AGENTS", fmt.Sprintf(remedy, least, l.MaxAgents))
	}
	for _, f := range fieldsOf(&l.Global) {
		with := Connect(f.Tag.Get("with"))
		if teams := slices.Compact(users[with]); f.Value.IsZero() && len(teams) > 0 {
			l.refuse(prefix+"_"+f.Name, fmt.Sprintf(without[with], strings.Join(teams, ", ")))
		}
	}
}

// without has the remedies for a missing setting, by the tag with of the setting.
var without = map[Connect]string{
	ConnectSSH:   "not set, and Jenkins calls the agents of %s by SSH; set it (docs/docker.md), or write another CONNECT",
	ConnectSwarm: "not set, and the agents of %s connect by Swarm; set it, or BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound",
}
