package config

import (
	"fmt"
	"maps"
	"slices"

	"bellboard/pool"
	"bellboard/queue"
	"bellboard/scaler"
)

// team reads one team's settings.
func (l *loader) team(name string, g *Global) Team {
	t := Team{Name: name, Limits: builtinLimits(), Pods: map[scaler.Kind]PodSettings{}}
	for _, p := range prefixesOf(name, "") {
		l.overlay(layer{p, &t.Limits})
	}
	if t.MaxPersistent == nil {
		t.MaxPersistent = new(t.MaxAgents)
		l.follows[prefixOf(name, "")+"_MAX_PERSISTENT"] = l.source(name, "", "MAX_AGENTS")
	}
	for _, k := range scaler.Kinds() { // settings of a kind that the mode forbids may have mistakes, too
		pod, own := builtinPod(k), prefixOf(name, k)
		for _, p := range prefixesOf(name, k) {
			l.overlay(layer{p, &pod})
		}
		if swarm := l.swarm(); swarm != "" && k == scaler.Persistent && l.source(name, k, "CONNECT") == "" {
			pod.Connect, l.follows[own+"_CONNECT"] = ConnectSwarm, swarm
		}
		if pod.Connect == ConnectSSH && l.source(name, k, "IMAGE") == "" {
			pod.Image = pool.DefaultSSHImage
		}
		if pod.Namespace == "" {
			pod.Namespace = g.Namespace
			l.follows[own+"_NAMESPACE"] = l.env.source([]string{prefix}, "NAMESPACE")
		}
		if slices.Contains(t.Kinds(), k) {
			t.Pods[k] = pod
		}
	}
	l.among(&t)
	return t
}

// swarm returns the variable that has persistent agents connect by Swarm, or "". One of the two is enough: a
// check then reports that the other is missing.
func (l *loader) swarm() string {
	for _, name := range []string{prefix + "_SWARM_USER", prefix + "_SWARM_PASSWORD_SECRET"} {
		if _, set := l.env[name]; set {
			return name
		}
	}
	return ""
}

// ScalerTeams returns the teams as the decision knows them.
func (c *Config) ScalerTeams() []scaler.Team {
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
			p, spec := t.Pods[k], c.poolSpec(t, k)
			agents := scaler.Pool{
				PoolID: spec.PoolID, Connect: spec.Connect, Called: spec.Transport == pool.SSH, Labels: spec.Labels,
				Berths: t.Berths, IdleTimeout: p.IdleTimeout, StartTimeout: p.StartTimeout,
				Unlabelled: t.Unlabelled, Spec: spec.Hash(), Namespace: p.Namespace,
			}
			if k == scaler.Persistent {
				agents.Executors, agents.MaxLifetime = t.Executors, t.MaxLifetime
			}
			if spec.HasClaim() {
				agents.Slots, agents.SlotStore, agents.SlotSize, agents.SlotKeep = true, string(p.Docker), p.CacheSize.Value(), p.CacheKeep
			}
			one.Pools = append(one.Pools, agents)
		}
		out = append(out, one)
	}
	return out
}

// PoolSpecs returns what shapes the pods of each team and kind.
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
	executors, connect, transport, labels := 1, scaler.Inbound, pool.WebSocket, append(slices.Clone(t.Labels), string(k))
	if k == scaler.Persistent {
		executors = t.Executors
	}
	switch p.Connect {
	case ConnectTCP:
		transport = pool.TCP
	case ConnectSSH:
		transport = pool.SSH
	case ConnectSwarm:
		connect, labels = scaler.Swarm, append(labels, "swarm")
	case ConnectInbound:
	}
	return pool.Spec{
		Executors: executors, Unlabelled: t.Unlabelled,
		PoolID: scaler.PoolID{Team: t.Name, Kind: k}, Instance: c.Instance, Namespace: p.Namespace, Image: p.Image,
		Connect: connect, Transport: transport, Tunnel: c.AgentJenkinsTunnel, SSHSecret: c.SSHSecret,
		Labels: unique(labels), CPU: p.CPU.Quantity, Memory: p.Memory.Quantity,
		Docker: p.Docker, RegistryMirror: p.RegistryMirror, CacheSize: p.CacheSize.Quantity, StorageClass: p.StorageClass, CacheKeep: p.CacheKeep,
		BuildGrace: p.BuildGrace, ServiceAccount: p.ServiceAccount, ImagePullSecret: p.ImagePullSecret,
		PriorityClass: p.PriorityClass, NodeSelector: p.NodeSelector, Tolerations: p.Tolerations,
		Template: t.templates[k], AllowHost: t.AllowHostDocker,
		JenkinsURL: c.AgentJenkinsURL, SwarmUser: c.SwarmUser, SwarmPasswordSecret: c.SwarmPasswordSecret,
	}
}

func unique(labels []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(labels)))
}

// SSH returns how Jenkins calls the agents of each pool with CONNECT=ssh.
func (c *Config) SSH() map[scaler.PoolID]queue.SSH {
	out := map[scaler.PoolID]queue.SSH{}
	for _, s := range c.PoolSpecs() {
		if s.Transport == pool.SSH {
			out[s.PoolID] = queue.SSH{Domain: pool.SSHService + "." + s.Namespace + ".svc", CredentialsID: c.SSHCredentials, HostKey: c.SSHHostKey}
		}
	}
	return out
}

// Unlabelled reports for every pool whether Jenkins gives its agents builds without a label.
func (c *Config) Unlabelled() map[scaler.PoolID]bool {
	out := map[scaler.PoolID]bool{}
	for _, s := range c.PoolSpecs() {
		out[s.PoolID] = s.Unlabelled
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

// partly notes each part of a shared pod template that only some of its agents have. A part that none of them
// has is a mistake.
func (l *loader) partly(c *Config) {
	for _, variable := range slices.Sorted(maps.Keys(l.shared)) {
		kinds, lack := l.shared[variable], map[string]int{}
		parts := slices.Concat(kinds...)
		for _, m := range parts {
			lack[m.Field]++
		}
		for _, m := range parts {
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

// Notes returns what the settings say that does not hold for all the agents that they name.
func (c *Config) Notes() []string { return c.notes }

// Warnings returns the dangers that the settings allow. Bellboard logs them at every start.
func (c *Config) Warnings() []string {
	var out []string
	for _, s := range c.PoolSpecs() {
		if s.Docker != pool.DockerHost {
			continue
		}
		name := prefixOf(s.Team, s.Kind)
		out = append(out, fmt.Sprintf("%s_DOCKER=host: every build on the %s agents of team %s can take over its Kubernetes node, and its containers stay there after the build", name, s.Kind, s.Team))
		if s.RegistryMirror != "" {
			out = append(out, fmt.Sprintf("%s_REGISTRY_MIRROR does not reach the Kubernetes node's own Docker: set registry-mirrors in that Docker's daemon.json", name))
		}
	}
	return out
}
