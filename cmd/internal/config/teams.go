package config

import (
	"fmt"
	"maps"
	"slices"

	"bellboard/pool"
	"bellboard/queue"
	"bellboard/scaler"
)

// name takes the teams' names, and learns which variables they may have.
func (l *loader) name(names Words) {
	taken := map[string]bool{}
	for _, n := range names {
		if !taken[envName(n)] {
			taken[envName(n)] = true
			l.teams = append(l.teams, n)
		}
	}
	for _, layer := range l.layers("") {
		l.learn(layer.prefix, layer.spec, "")
	}
	for _, n := range l.teams {
		for _, layer := range l.layers(n) {
			l.learn(layer.prefix, layer.spec, n)
		}
	}
}

type layer struct {
	prefix string
	spec   any
}

// layers lists the layers that are a team's own, or for "" those of every team.
func (l *loader) layers(team string) []layer {
	own := defaultPrefix
	if team != "" {
		own = teamPrefix + envName(team)
	}
	out := []layer{{own, &Limits{}}, {own, &PodSettings{}}}
	for _, k := range kindsOf(scaler.ModeAuto) {
		out = append(out, layer{layersOf(team, k)[1], &PodSettings{}})
		if team != "" {
			out[len(out)-1].prefix = layersOf(team, k)[3]
		}
	}
	return out
}

// defaults finds the mistakes in the variables for every team, also in those
// that every team overrides.
func (l *loader) defaults() {
	for _, layer := range l.layers("") {
		l.overlay(layer.prefix, layer.spec)
	}
}

// team reads one team's settings.
func (l *loader) team(name string, g *Global) Team {
	t := Team{Name: name, Limits: builtinLimits(), Pods: map[scaler.Kind]PodSettings{}}
	for _, layer := range layersOf(name, "") {
		l.overlay(layer, &t.Limits)
	}
	l.trace(name, "", &t.Limits)
	if t.MaxPersistent == nil {
		own := teamPrefix + envName(name)
		t.MaxPersistent = &t.MaxAgents
		l.origin[own+"_MAX_PERSISTENT"] = l.origin[own+"_MAX_AGENTS"]
	}
	most := *t.MaxPersistent
	t.MaxPersistent = &most
	for _, k := range kindsOf(scaler.ModeAuto) { // a kind that the mode forbids may still be misspelled
		pod := builtinPod(k)
		for _, layer := range layersOf(name, k) {
			l.overlay(layer, &pod)
		}
		l.trace(name, k, &pod)
		if swarm := l.swarm(); swarm != "" && k == scaler.Persistent && l.source(name, k, "CONNECT") == "" {
			pod.Connect, l.origin[layersOf(name, k)[3]+"_CONNECT"] = ConnectSwarm, swarm
		}
		if pod.Connect == ConnectSSH && l.source(name, k, "IMAGE") == "" {
			pod.Image = pool.DefaultSSHImage
		}
		if pod.Namespace == "" {
			pod.Namespace = g.Namespace
			l.origin[layersOf(name, k)[3]+"_NAMESPACE"] = l.origin[prefix+"_NAMESPACE"]
		}
		if slices.Contains(t.Kinds(), k) {
			t.Pods[k] = pod
		}
	}
	l.among(&t)
	return t
}

// swarm is the variable that has persistent agents connect by Swarm, or "". Half of
// what Swarm needs is enough: the other half is missed, then.
func (l *loader) swarm() string {
	for _, name := range []string{prefix + "_SWARM_USER", prefix + "_SWARM_PASSWORD_SECRET"} {
		if l.set(name) {
			return name
		}
	}
	return ""
}

// trace notes where each of a team's values came from.
func (l *loader) trace(team string, kind scaler.Kind, spec any) {
	layers := layersOf(team, kind)
	for _, f := range fieldsOf(spec) {
		origin := l.source(team, kind, f.Name)
		if origin == "" {
			origin = BuiltIn
		}
		l.origin[layers[len(layers)-1]+"_"+f.Name] = origin
	}
}

// ScalerTeams is the teams as the decision knows them.
func (c *Config) ScalerTeams() []scaler.Team {
	hash := map[scaler.PoolID]string{}
	for _, s := range c.PoolSpecs() {
		hash[s.PoolID] = s.Hash()
	}
	var out []scaler.Team
	for i := range c.Teams {
		t := &c.Teams[i]
		one := scaler.Team{
			Name: t.Name, Labels: unique(t.Labels), Mode: t.Mode, MinAgents: t.MinAgents, MinIdle: t.MinIdle,
			MaxAgents: t.MaxAgents, MaxPersistent: *t.MaxPersistent,
			ScaleUpCooldown: t.ScaleUpCooldown, ScaleDownCooldown: t.ScaleDownCooldown,
			ScaleUpStep: t.ScaleUpStep, Priority: t.Priority, Paused: t.Paused,
		}
		for _, k := range t.Kinds() {
			p := t.Pods[k]
			id := scaler.PoolID{Team: t.Name, Kind: k}
			agents := scaler.Pool{
				PoolID: id, Connect: p.Connect.scaler(), Called: p.Connect == ConnectSSH, Labels: t.labels(k),
				Berths: t.Berths, IdleTimeout: p.IdleTimeout, StartTimeout: p.StartTimeout,
				Unlabelled: t.Unlabelled, Spec: hash[id], Namespace: p.Namespace,
			}
			if k == scaler.Persistent {
				agents.Executors, agents.MaxLifetime = t.Executors, t.MaxLifetime
			}
			if (&pool.Spec{PoolID: id, Docker: p.Docker}).HasClaim() {
				agents.Slots, agents.SlotStore, agents.SlotSize, agents.SlotKeep = true, string(p.Docker), p.CacheSize.Value(), p.CacheKeep
			}
			one.Pools = append(one.Pools, agents)
		}
		out = append(out, one)
	}
	return out
}

// PoolSpecs is what shapes the pods of each team and kind.
func (c *Config) PoolSpecs() []pool.Spec {
	var out []pool.Spec
	for i := range c.Teams {
		for _, k := range c.Teams[i].Kinds() {
			out = append(out, c.poolSpec(&c.Teams[i], k))
		}
	}
	return out
}

func (c *Config) poolSpec(t *Team, k scaler.Kind) pool.Spec {
	p := t.Pods[k]
	executors := 1
	if k == scaler.Persistent {
		executors = t.Executors
	}
	return pool.Spec{
		Executors: executors, Unlabelled: t.Unlabelled,
		PoolID: scaler.PoolID{Team: t.Name, Kind: k}, Instance: c.Instance, Namespace: p.Namespace, Image: p.Image,
		Connect: p.Connect.scaler(), Transport: p.Connect.transport(), Tunnel: c.AgentJenkinsTunnel, SSHSecret: c.SSHSecret,
		Labels: t.labels(k), CPU: p.CPU.Quantity, Memory: p.Memory.Quantity,
		Docker: p.Docker, RegistryMirror: p.RegistryMirror, CacheSize: p.CacheSize.Quantity, StorageClass: p.StorageClass, CacheKeep: p.CacheKeep,
		BuildGrace: p.BuildGrace, ServiceAccount: p.ServiceAccount, ImagePullSecret: p.ImagePullSecret,
		PriorityClass: p.PriorityClass, NodeSelector: p.NodeSelector, Tolerations: p.Tolerations,
		Template: t.templates[k], AllowHost: t.AllowHostDocker,
		JenkinsURL: c.AgentJenkinsURL, SwarmUser: c.SwarmUser, SwarmPasswordSecret: c.SwarmPasswordSecret,
	}
}

// SSH is how Jenkins calls the agents of each team and kind that does not call it.
func (c *Config) SSH() map[scaler.PoolID]queue.SSH {
	out := map[scaler.PoolID]queue.SSH{}
	for _, s := range c.PoolSpecs() {
		if s.Connect == scaler.Inbound && s.Transport == pool.SSH {
			out[s.PoolID] = queue.SSH{Domain: pool.SSHService + "." + s.Namespace + ".svc", CredentialsID: c.SSHCredentials, HostKey: c.SSHHostKey}
		}
	}
	return out
}

// Unlabelled says of every pool whether Jenkins gives its agents builds without a label.
func (c *Config) Unlabelled() map[scaler.PoolID]bool {
	out := map[scaler.PoolID]bool{}
	for _, t := range c.ScalerTeams() {
		for i := range t.Pools {
			out[t.Pools[i].PoolID] = t.Pools[i].Unlabelled
		}
	}
	return out
}

// templates reads the pod templates of a team, and notes what is wrong with them.
func (l *loader) templates(c *Config, t *Team) {
	t.templates = map[scaler.Kind]*pool.Template{}
	for _, k := range t.Kinds() {
		file, variable := t.Pods[k].PodTemplateFile, l.source(t.Name, k, "POD_TEMPLATE_FILE")
		if variable == "" {
			continue
		}
		if l.read == nil {
			l.note(variable, "no pod template can be read here; unset it")
			continue
		}
		text, err := l.read(file)
		if err != nil {
			l.note(variable, fmt.Sprintf("cannot be read (%v); mount the ConfigMap that holds it, or correct the path", err))
			continue
		}
		template, wrong := pool.ParseTemplate(file, text)
		if template != nil {
			t.templates[k] = template
			spec := c.poolSpec(t, k)
			wrong = spec.TemplateMistakes()
			l.shared[variable] = append(l.shared[variable], spec.TemplateWithout())
		}
		for _, err := range wrong {
			l.note(variable, err.Error())
		}
	}
}

// partly tells what of a pod template only some of the agents have that share it. What
// none of them has is a mistake.
func (l *loader) partly(c *Config) {
	for _, variable := range slices.Sorted(maps.Keys(l.shared)) {
		kinds, lack := l.shared[variable], map[string]int{}
		for _, without := range kinds {
			for _, m := range without {
				lack[m.Field]++
			}
		}
		for _, m := range slices.Concat(kinds...) {
			if lack[m.Field] == len(kinds) {
				m.Remedy += "; set DOCKER, or this file for another kind, or leave it out"
				l.note(variable, m.Error())
				continue
			}
			m.Remedy += ", and are made without it"
			c.notes = append(c.notes, variable+": "+m.Error())
		}
	}
}

// Notes is what the settings say that does not hold for all whom they name.
func (c *Config) Notes() []string { return c.notes }

// Warnings is what the settings allow and nobody should be surprised by: it is
// said at every start.
func (c *Config) Warnings() []string {
	var out []string
	for i := range c.Teams {
		t := &c.Teams[i]
		for _, k := range t.Kinds() {
			p := t.Pods[k]
			if p.Docker != pool.DockerHost {
				continue
			}
			name := layersOf(t.Name, k)[3]
			out = append(out, fmt.Sprintf("%s_DOCKER=host: every build on the %s agents of team %s can take over its Kubernetes node, and its containers stay there after the build", name, k, t.Name))
			if p.RegistryMirror != "" {
				out = append(out, fmt.Sprintf("%s_REGISTRY_MIRROR does not reach the Kubernetes node's own Docker: set registry-mirrors in that Docker's daemon.json", name))
			}
		}
	}
	return out
}

// labels are all that the team's agents of that kind carry.
func (t *Team) labels(k scaler.Kind) []string {
	out := append(slices.Clone(t.Labels), string(k))
	if t.Pods[k].Connect == ConnectSwarm {
		out = append(out, "swarm")
	}
	return unique(out)
}

func unique(labels []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(labels)))
}
