package migrate

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// dockerFields has the fields of the Docker plugin's templates that a pod has in another way.
var dockerFields = map[string]remedyOf{
	"remoteFs":         {fine: true, unless: []string{pluginHome}, text: "Bellboard's agents work in " + pluginHome},
	"removeVolumes":    {fine: true, text: "a pod's volumes go with the pod"},
	"pullTimeout":      {fine: true, text: "START_TIMEOUT limits the whole start, from when the pod has a Kubernetes node"},
	"stopTimeout":      {fine: true, text: "Bellboard ends idle agents only"},
	"pullStrategy":     {fine: true, text: "Kubernetes pulls an image that is not there, and with the tag latest each time; imagePullPolicy in the pod template differs"},
	"nodeProperties":   templateFields["nodeProperties"],
	"templateId":       {fine: true, text: "is the plugin's own"},
	"configVersion":    {fine: true, text: "is the plugin's own"},
	"nameGenerator":    {fine: true, text: "Bellboard names its agents"},
	"exposeDockerHost": {text: "Bellboard's agents have a Docker of their own (DOCKER), by DOCKER_HOST"},
}

// docker makes teams of a cloud of the Docker plugin.
func (m *migration) docker(n *node, name string) {
	c := m.object("clouds["+name+"]", n)
	c.taken["name"] = true
	most := c.value("containerCap", "containerCapStr")
	c.disabled()
	c.tell(map[string]remedyOf{
		"dockerApi":        {fine: true, text: "Kubernetes runs the agents, and no Docker host is needed"},
		"errorDuration":    {fine: true, text: "Bellboard pauses after failures by itself"},
		"exposeDockerHost": dockerFields["exposeDockerHost"],
	})
	for i, t := range c.list("templates", "name") {
		t.at = fmt.Sprintf("%s.templates[%s]", c.at, cmp.Or(t.key("name"), t.key("labelString"), strconv.Itoa(i)))
		label := t.key("labelString")
		out := &team{name: cmp.Or(t.key("name"), label), at: t.at, template: map[string]any{}}
		if strings.EqualFold(t.value("mode"), "NORMAL") {
			out.set("UNLABELLED", "true", t.at+".mode")
		}
		t.labels(out, label)
		out.set("MODE", "ephemeral", t.at)
		if s := t.take("retentionStrategy"); s != nil {
			_, body := s.described()
			keep := m.object(t.at+".retentionStrategy", body)
			keep.value("idleMinutes", "timeout")
			m.fine(keep.at, "", "an ephemeral agent takes one build and goes; MODE=persistent keeps agents, and their image cache")
			keep.taken["idleMinutes"], keep.taken["timeout"] = true, true
		}
		out.set("MAX_AGENTS", cmp.Or(t.value("instanceCap", "instanceCapStr"), most, strconv.Itoa(unlimited)), t.at+".instanceCap")
		m.base(t, out)
		t.disabled()
		t.tell(dockerFields)
		t.rest()
		m.teams = append(m.teams, out)
	}
	c.rest()
}

// disabled reports a cloud or a template that is turned off.
func (o *object) disabled() {
	if by := o.take("disabled").get("disabledByChoice"); by != nil && by.text == "true" {
		o.m.todo(o.at+".disabled", "true", "is turned off; set PAUSED=true, or leave the team out")
	}
}

// base reads what the Docker plugin says of the container.
func (m *migration) base(t *object, out *team) {
	connector := ""
	if n := t.take("connector"); n != nil {
		connector, _ = n.described()
	}
	connector = strings.ToLower(connector)
	n := t.take("dockerTemplateBase")
	if n == nil {
		return
	}
	b := m.object(t.at+".dockerTemplateBase", n)
	image := b.value("image")
	switch {
	case image == "":
	case strings.Contains(connector, "ssh"):
		m.todo(b.at+".image", image, "is called by Jenkins; set IMAGE to it and CONNECT=ssh (docs/ssh.md says what SSH needs), or use an image from jenkins/inbound-agent")
	case strings.Contains(connector, "jnlp") || inbound.MatchString(image):
		out.set("IMAGE", image, b.at+".image")
	default:
		m.todo(b.at+".image", image, "gets its agent program from the plugin, and Bellboard's agents bring their own; build an image from jenkins/inbound-agent with its tools, and set IMAGE")
	}
	if mb, err := strconv.Atoi(b.value("memoryLimit")); err == nil && mb > 0 {
		out.set("MEMORY", fmt.Sprintf("%dMi", mb), b.at+".memoryLimit")
	}
	out.set("CPU", b.value("cpus"), b.at+".cpus")
	if n := b.take("environment"); n != nil {
		m.variables(out, b.at+".environment", n)
	}
	if n := b.take("environmentsString"); n != nil {
		m.variables(out, b.at+".environmentsString", n)
	}
	const volumes = "is a directory or a volume of the Docker host; write what builds need as a volume into the pod template, and for /var/run/docker.sock set DOCKER=dind"
	const pod = "is not in the settings; a pod template can have it, if Kubernetes has it"
	known := map[string]remedyOf{
		"mounts": {text: volumes}, "mountsString": {text: volumes}, "volumes": {text: volumes}, "volumesString": {text: volumes}, "volumesFrom": {text: volumes},
		"pullCredentialsId": {text: "is a credential in Jenkins; make a Secret of it in the agents' namespace, and set IMAGE_PULL_SECRET"},
		"network":           {text: "is a network of the Docker host; pods reach one another and Services, as NetworkPolicies allow"},
		"privileged":        {text: "gives builds the Docker host; for Docker in builds set DOCKER=dind"},
		"dockerCommand":     {text: "Bellboard starts the agent; have the image do what is to be done before"},
		"tty":               {fine: true, text: "an agent needs no terminal"},
		"bindAllPorts":      {fine: true, text: "agents have no ports to offer"},
	}
	for _, name := range b.names {
		if _, has := known[name]; !has && !b.taken[name] {
			known[name] = remedyOf{text: pod}
		}
	}
	b.tell(known)
}

// variables writes NAME=value lines, or a list of them, as the agent's variables.
func (m *migration) variables(out *team, at string, n *node) {
	lines := strings.Split(n.text, "\n")
	for _, item := range n.items {
		lines = append(lines, item.text)
	}
	var env []any
	for _, line := range lines {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if value = m.resolve(at, value); ok && name != "" {
			env = append(env, map[string]any{"name": name, "value": value})
		}
	}
	if len(env) > 0 {
		out.part("spec")["containers"] = []any{map[string]any{"name": "agent", "env": env}}
	}
}

// notLinux finds the labels and names of machines that no pod with Linux replaces.
var notLinux = regexp.MustCompile(`(?i)(^|[^a-z])(windows|win\d*|macos|mac|osx|darwin|ios|solaris|aix|freebsd)([^a-z]|$)`)

// static makes a team of a static agent, or adds the agent's executors to the team of the same labels.
func (m *migration) static(in *found, item *node) {
	symbol, body := item.described()
	o := m.object("nodes["+symbol+"]", body)
	name, label := o.key("name"), o.key("labelString")
	if label == "" {
		label = o.key("label")
	}
	o.at = "nodes[" + name + "]"
	in.others++
	if symbol != "permanent" {
		m.fine(o.at, symbol, "is no static agent, and stays as it is")
		return
	}
	if notLinux.MatchString(name + " " + label) {
		m.fine(o.at, label, "is not for Linux, and stays as it is")
		return
	}
	executors, _ := strconv.Atoi(o.key("numExecutors"))
	executors = max(1, min(executors, 1000))
	t := &team{name: cmp.Or(strings.Join(strings.Fields(label)[:min(1, len(strings.Fields(label)))], ""), name), at: o.at, template: map[string]any{}}
	o.labels(t, label)
	for _, other := range m.teams {
		if sortedWords(other.get("LABELS")) != sortedWords(t.get("LABELS")) || !strings.HasPrefix(other.at, "nodes[") {
			continue
		}
		n, _ := strconv.Atoi(other.get("MAX_AGENTS"))
		other.drop("MAX_AGENTS")
		other.set("MAX_AGENTS", strconv.Itoa(n+executors), o.at+".numExecutors")
		m.fine(o.at, label, fmt.Sprintf("adds its %d executors to the agents of %s", executors, other.at))
		return
	}
	t.set("MODE", "persistent", o.at)
	t.set("DOCKER", "none", o.at)
	t.set("MAX_AGENTS", strconv.Itoa(executors), o.at+".numExecutors")
	if mode := o.key("mode"); mode == "" || strings.EqualFold(mode, "NORMAL") {
		t.set("UNLABELLED", "true", o.at+".mode")
	}
	m.todo(o.at, label, "becomes agents of one executor each, MAX_AGENTS of them; IMAGE needs the tools of the static agent, "+
		"and a pod template the volumes with what builds read from its disk")
	if !m.xml {
		m.todo("nodes", "", "a reload of configuration as code deletes every Jenkins node that nodes: does not list, Bellboard's too; take nodes: out of the file (docs/jenkins.md)")
	}
	m.teams = append(m.teams, t)
}
