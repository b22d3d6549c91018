package config

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/sets"

	"bellboard/pool"
	"bellboard/queue"
	"bellboard/scaler"
)

// teamPrefix begins the variables of every team.
var teamPrefix = scaler.VariablesOf("", "")

// teamOf returns the name of the team that variables have in capitals.
func teamOf(capitals string) string { return strings.ToLower(strings.ReplaceAll(capitals, "_", "-")) }

// lists reports whether BELLBOARD_TEAMS names the teams.
func (l *loader) lists() bool { return len(words(l.Global.Teams)) > 0 }

// teamNames returns the names of the teams: those of BELLBOARD_TEAMS, or else of all teams that have labels.
func (l *loader) teamNames() []string {
	if l.lists() {
		seen := sets.New[string]() // checkTeams reports a name that shares its variables with a name before it
		return slices.DeleteFunc(words(l.Global.Teams), func(name string) bool {
			again := seen.Has(prefixOf(name, ""))
			seen.Insert(prefixOf(name, ""))
			return again
		})
	}
	var names []string
	for _, variable := range slices.Sorted(maps.Keys(l.env)) {
		capitals, labels := strings.CutSuffix(strings.TrimPrefix(variable, teamPrefix), "_LABELS")
		name := teamOf(capitals)
		if !labels || prefixOf(name, "")+"_LABELS" != variable {
			continue
		}
		stem := strings.TrimSuffix(strings.TrimSuffix(name, "-persistent"), "-ephemeral")
		switch remedy, labels := checkTeam(name), prefixOf(stem, "")+"_LABELS"; {
		case remedy != "":
			l.refuse(variable, remedy)
		case stem != name && l.env[labels] != "":
			const remedy = "agents of both kinds have the labels of %s; unset this, or, if there is a team %s, name all teams in BELLBOARD_TEAMS"
			l.refuse(variable, fmt.Sprintf(remedy, labels, name))
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// team makes one team's settings of the variables.
func (l *loader) team(name string) Team {
	t := Team{Name: name, Limits: builtinLimits(), Pods: map[scaler.Kind]PodSettings{}}
	l.fill(&t.Limits, name, "")
	if t.MaxPersistent == nil {
		t.MaxPersistent, t.sameMost = new(t.MaxAgents), true
		l.follows[prefixOf(name, "")+"_MAX_PERSISTENT"] = l.source(name, "", "MAX_AGENTS")
	}
	if t.TargetWaitP95 > 0 && l.source(name, "", "WAIT_OBJECTIVE") == "" {
		t.WaitObjective = "95% under " + short(t.TargetWaitP95)
		l.follows[prefixOf(name, "")+"_WAIT_OBJECTIVE"] = l.source(name, "", "TARGET_WAIT_P95")
	}
	if t.Schedule != "" {
		t.windows, _ = windows(t.Schedule) // learn has noted the mistakes
	}
	for _, k := range t.Kinds() {
		pod, own := builtinPod(k), prefixOf(name, k)
		l.fill(&pod, name, k)
		// One of the two is enough: a check then reports that the other is missing.
		swarm := cmp.Or(l.source("", "", "SWARM_USER"), l.source("", "", "SWARM_PASSWORD_SECRET"))
		if swarm != "" && k == scaler.Persistent && l.source(name, k, "CONNECT") == "" {
			pod.Connect, l.follows[own+"_CONNECT"] = ConnectSwarm, swarm
		}
		if pod.Connect == ConnectSSH && l.source(name, k, "IMAGE") == "" {
			pod.Image = pool.DefaultSSHImage
		}
		if pod.Namespace == "" {
			pod.Namespace = l.Namespace
			l.follows[own+"_NAMESPACE"] = l.source("", "", "NAMESPACE")
		}
		t.Pods[k] = pod
		l.specs = append(l.specs, l.spec(&t, k))
	}
	l.among(&t)
	return t
}

// set sets the limits of a team as the decision knows it.
func (l *Limits) set(t *scaler.Team) {
	t.MinAgents, t.MinIdle, t.MaxAgents, t.MaxPersistent = l.MinAgents, l.MinIdle, l.MaxAgents, *l.MaxPersistent
	t.WaitValue, t.Paused = l.WaitValue, l.Paused
}

// ScalerTeams returns the teams as the decision knows them outside of all windows.
func (c *Config) ScalerTeams() []scaler.Team {
	var out []scaler.Team
	for i := range c.Teams {
		t := &c.Teams[i]
		one := scaler.Team{
			Name: t.Name, Labels: unique(t.Labels), Mode: t.Mode,
			ScaleUpCooldown: t.ScaleUpCooldown, ScaleDownCooldown: t.ScaleDownCooldown,
			TargetWait: t.TargetWaitP95, CachePrice: t.CachePrice,
			ScaleUpStep: t.ScaleUpStep, Priority: t.Priority, MostPersistent: t.mostPersistent(),
		}
		one.Objective, _ = objective(t.WaitObjective) // forms has checked it
		t.set(&one)
		for _, spec := range c.specs {
			if spec.Team != t.Name {
				continue
			}
			p := t.Pods[spec.Kind]
			agents := scaler.Pool{
				PoolID: spec.PoolID, Connect: spec.Connect, Called: spec.Transport == pool.SSH, Labels: spec.Labels,
				Berths: t.Berths, IdleTimeout: p.IdleTimeout, StartTimeout: p.StartTimeout,
				Unlabelled: t.Unlabelled, Spec: spec.Hash(), Namespace: p.Namespace,
			}
			if spec.Kind == scaler.Persistent {
				agents.Executors, agents.MaxLifetime = t.Executors, t.MaxLifetime
			}
			if spec.HasClaim() {
				agents.Slots, agents.SlotStore = true, string(p.Docker)
				agents.SlotSize, agents.SlotKeep = spec.CacheSize.Value(), p.CacheKeep
			}
			one.Pools = append(one.Pools, agents)
		}
		out = append(out, one)
	}
	return out
}

// CostPerHour returns what an agent of each pool costs an hour, as far as that is set.
func (c *Config) CostPerHour() map[scaler.PoolID]float64 {
	out := map[scaler.PoolID]float64{}
	for i := range c.Teams {
		for k, p := range c.Teams[i].Pods {
			if p.CostPerHour > 0 {
				out[scaler.PoolID{Team: c.Teams[i].Name, Kind: k}] = p.CostPerHour
			}
		}
	}
	return out
}

// PoolSpecs returns what shapes the pods of each team and kind.
func (c *Config) PoolSpecs() []pool.Spec { return slices.Clone(c.specs) }

// spec returns what shapes the pods of one kind of a team's agents, without their template.
func (c *Config) spec(t *Team, k scaler.Kind) pool.Spec {
	p := t.Pods[k]
	selector, _ := pairs(p.NodeSelector) // forms has checked both
	tolerated, _ := tolerations(p.Tolerations)
	executors, connect, transport, labels := 1, scaler.Inbound, pool.WebSocket, t.Labels+" "+string(k)
	if k == scaler.Persistent {
		executors = t.Executors
	}
	switch p.Connect {
	case ConnectTCP:
		transport = pool.TCP
	case ConnectSSH:
		transport = pool.SSH
	case ConnectSwarm:
		connect, labels = scaler.Swarm, labels+" swarm"
	case ConnectInbound:
	}
	return pool.Spec{
		PoolID: scaler.PoolID{Team: t.Name, Kind: k}, Instance: c.Instance, Namespace: p.Namespace, Image: p.Image,
		Connect: connect, Transport: transport, Tunnel: c.AgentJenkinsTunnel, SSHSecret: c.SSHSecret,
		Labels: unique(labels), Executors: executors, Unlabelled: t.Unlabelled,
		CPU: resource.MustParse(p.CPU), Memory: resource.MustParse(p.Memory),
		Docker: p.Docker, DockerImage: p.DockerImage, DockerCLIImage: p.DockerCLIImage,
		RegistryMirror: p.RegistryMirror, AllowHost: t.AllowHostDocker, CAConfigMap: p.AgentCAConfigmap,
		HTTPProxy: strings.TrimSuffix(p.HTTPProxy, "/"), HTTPSProxy: strings.TrimSuffix(p.HTTPSProxy, "/"),
		NoProxy: strings.Join(words(p.NoProxy), ","), PlatformUser: p.RunAs == UserPlatform,
		CacheSize: resource.MustParse(p.CacheSize), CacheKeep: p.CacheKeep, StorageClass: p.StorageClass,
		BuildGrace: p.BuildGrace, ServiceAccount: p.ServiceAccount, ImagePullSecret: p.ImagePullSecret,
		PriorityClass: p.PriorityClass, NodeSelector: selector, Tolerations: tolerated,
		JenkinsURL: c.AgentJenkinsURL, SwarmUser: c.SwarmUser, SwarmPasswordSecret: c.SwarmPasswordSecret,
	}
}

func unique(labels string) []string { return sets.List(sets.New(strings.Fields(labels)...)) }

// SSH returns how Jenkins calls the agents of each pool with CONNECT=ssh.
func (c *Config) SSH() map[scaler.PoolID]queue.SSH {
	out := map[scaler.PoolID]queue.SSH{}
	for _, s := range c.specs {
		if s.Transport == pool.SSH {
			out[s.PoolID] = queue.SSH{Domain: pool.SSHService + "." + s.Namespace + ".svc", CredentialsID: c.SSHCredentials, HostKey: c.SSHHostKey}
		}
	}
	return out
}

// Unlabelled reports for every pool whether Jenkins gives its agents builds without a label.
func (c *Config) Unlabelled() map[scaler.PoolID]bool {
	out := map[scaler.PoolID]bool{}
	for _, s := range c.specs {
		out[s.PoolID] = s.Unlabelled
	}
	return out
}

// templates reads the pod templates, and notes what is wrong with them. Agents that share a template are made
// without those of its parts that they lack. A part that all of them lack is a mistake.
func (l *loader) templates() {
	type lack struct {
		variable string
		pool.TemplateMistake
	}
	var lacks []lack
	sharing, lacking := map[string]int{}, map[string]int{} // kinds of agent, by variable and by part
	for i := range l.specs {
		spec := &l.specs[i]
		variable := l.source(spec.Team, spec.Kind, "POD_TEMPLATE_FILE")
		if variable == "" {
			continue
		}
		template, wrong := l.template(l.env[variable])
		if template != nil {
			spec.Template = template
			wrong = spec.TemplateMistakes()
			sharing[variable]++
			for _, m := range spec.TemplateWithout() {
				lacking[variable+" "+m.Field]++
				lacks = append(lacks, lack{variable, m})
			}
		}
		for _, err := range wrong {
			l.note(variable, err.Error())
		}
	}
	for _, one := range lacks {
		if lacking[one.variable+" "+one.Field] == sharing[one.variable] {
			one.Remedy += "; set DOCKER, or this file for another kind, or leave it out"
			l.note(one.variable, one.Error())
			continue
		}
		one.Remedy += ", and are made without it"
		l.notes = append(l.notes, one.variable+": "+one.Error())
	}
}

// template reads a pod template, and returns what is wrong with it.
func (l *loader) template(file string) (*pool.Template, []*pool.TemplateMistake) {
	if l.read == nil {
		return nil, []*pool.TemplateMistake{{Remedy: "no pod template can be read here; unset it"}}
	}
	text, err := l.read(file)
	if err != nil {
		remedy := fmt.Sprintf("cannot be read (%v); mount the ConfigMap that holds it, or correct the path", err)
		return nil, []*pool.TemplateMistake{{Remedy: remedy}}
	}
	return pool.ParseTemplate(file, text)
}

// Notes returns what the settings say that does not hold for all the agents that they name.
func (c *Config) Notes() []string { return c.notes }

// Warnings returns the dangers that the settings allow. Bellboard logs them at every start.
func (c *Config) Warnings() []string {
	var out []string
	for _, s := range c.specs {
		out = append(out, proxyWarnings(&s)...)
		if s.Docker != pool.DockerHost {
			continue
		}
		name := prefixOf(s.Team, s.Kind)
		out = append(out, fmt.Sprintf("%s_DOCKER=host: every build on the %s agents of team %s can take over its Kubernetes node, and its containers stay there after the build", name, s.Kind, s.Team))
		if s.RegistryMirror != "" {
			out = append(out, fmt.Sprintf("%s_REGISTRY_MIRROR does not reach the Kubernetes node's own Docker: set registry-mirrors in that Docker's daemon.json", name))
		}
		for _, proxy := range []struct{ setting, value string }{{"HTTP_PROXY", s.HTTPProxy}, {"HTTPS_PROXY", s.HTTPSProxy}} {
			if proxy.value != "" {
				out = append(out, fmt.Sprintf("%s_%s does not reach the Kubernetes node's own Docker: set proxies in that Docker's daemon.json", name, proxy.setting))
			}
		}
		if s.CAConfigMap != "" {
			out = append(out, fmt.Sprintf("%s_AGENT_CA_CONFIGMAP does not reach the Kubernetes node's own Docker: put the authorities into the Kubernetes node's /etc/docker/certs.d", name))
		}
	}
	return out
}

// proxyWarnings names the hosts of the cluster that agents and their daemons ask a proxy for. A proxy outside
// of the cluster does not reach them, and no agent would connect.
func proxyWarnings(s *pool.Spec) (out []string) {
	var hosts []string
	if s.Transport != pool.SSH {
		hosts = append(hosts, s.JenkinsURL)
	}
	if s.Docker.Daemon() && s.RegistryMirror != "" {
		hosts = append(hosts, s.RegistryMirror)
	}
	through := (&httpproxy.Config{HTTPProxy: s.HTTPProxy, HTTPSProxy: s.HTTPSProxy, NoProxy: s.NoProxy}).ProxyFunc()
	for _, address := range hosts {
		u, err := url.Parse(address) // forms has checked it
		if err != nil {
			continue
		}
		host := u.Hostname()
		inside := !strings.Contains(host, ".") || strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".cluster.local")
		if proxy, err := through(u); err != nil || proxy == nil || !inside {
			continue
		}
		const text = "%s_%s_PROXY is the way of the %s agents of team %s to %s: add %s to %[1]s_NO_PROXY, " +
			"unless the proxy reaches this host of the cluster"
		out = append(out, fmt.Sprintf(text, prefixOf(s.Team, s.Kind), strings.ToUpper(u.Scheme), s.Kind, s.Team, address, host))
	}
	return out
}
