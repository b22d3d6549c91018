package migrate

import (
	"cmp"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	kjson "sigs.k8s.io/json"

	"bellboard/pool"
	"bellboard/scaler"
)

// parts sorts the parts of the plugin's pod into settings and a pod template.
type parts struct {
	team *team
	t    *template
	pod  *corev1.Pod

	agent    corev1.Container
	tools    []corev1.Container // that jobs enter by container()
	services []corev1.Container // that run beside the agent
	daemon   *corev1.Container  // Docker
	socket   bool               // of the Kubernetes node's Docker
}

func (p *parts) todo(field, value, text string) { p.t.m.todo(p.t.at+field, value, text) }

// settle does all that.
func (p *parts) settle() {
	spec := &p.pod.Spec
	p.sort()
	p.sockets()
	p.docker()
	p.image()
	p.resources()
	out, at := p.team, p.t.at
	ns := cmp.Or(p.pod.Namespace, p.t.value("namespace"), p.t.cloud.namespace)
	out.set("NAMESPACE", ns, at+".namespace")
	if account := cmp.Or(spec.ServiceAccountName, spec.DeprecatedServiceAccount); account != "" && account != "default" {
		out.set("SERVICE_ACCOUNT", account, at+".serviceAccount")
		p.todo(".serviceAccount", account, "the agents have it, and no token of it: a build that calls Kubernetes needs credentials from Jenkins")
	}
	if len(spec.ImagePullSecrets) > 0 {
		out.set("IMAGE_PULL_SECRET", spec.ImagePullSecrets[0].Name, at+".imagePullSecrets")
		spec.ImagePullSecrets = spec.ImagePullSecrets[1:]
	}
	out.set("PRIORITY_CLASS", spec.PriorityClassName, at+".yaml")
	var selector []string
	for _, k := range slices.Sorted(maps.Keys(spec.NodeSelector)) {
		selector = append(selector, k+"="+spec.NodeSelector[k])
	}
	out.set("NODE_SELECTOR", strings.Join(selector, ","), at+".nodeSelector")
	if list, ok := tolerations(spec.Tolerations); ok {
		out.set("TOLERATIONS", list, at+".yaml")
		spec.Tolerations = nil
	}
	if len(p.pod.Annotations) > 0 {
		p.team.part("metadata")["annotations"] = texts(p.pod.Annotations)
	}
	if len(p.pod.Labels) > 0 {
		p.team.part("metadata")["labels"] = texts(p.pod.Labels)
	}
	spec.ServiceAccountName, spec.DeprecatedServiceAccount, spec.NodeSelector, spec.PriorityClassName = "", "", nil, ""
	p.template()
}

func texts(m map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// tolerations writes tolerations in the form of a setting, and reports whether they have it.
func tolerations(all []corev1.Toleration) (string, bool) {
	var out []string
	for _, t := range all {
		one := t.Key
		if t.Operator != corev1.TolerationOpExists && t.Value != "" {
			one += "=" + t.Value
		}
		if t.Effect != "" {
			one += ":" + string(t.Effect)
		}
		if t.Key == "" || t.TolerationSeconds != nil || strings.ContainsAny(t.Key+t.Value, ", ") || t.Operator != corev1.TolerationOpExists && t.Value == "" {
			return "", false
		}
		out = append(out, one)
	}
	return strings.Join(out, ","), true
}

var (
	daemonImage = regexp.MustCompile(`(^|/)docker(:[^/@]*)?-?dind(-rootless)?[^/]*$|(^|/)docker:[^/]*dind`)
	oldAgent    = regexp.MustCompile(`(^|/)(jenkins/|jenkinsci/)?(jnlp-slave|slave|jnlp-agent-[a-z-]+)(:|@|$)`)
	inbound     = regexp.MustCompile(`(^|/)inbound-agent(:(\d*)|@|$)`)
	agentStart  = regexp.MustCompile(`^(/usr/local/bin/)?jenkins-(slave|agent)$`) // of the agent's images
	agentArgs   = regexp.MustCompile(`^\$?\{?computer\.(jnlpmac|name)\}?$`)
)

// waits reports whether a container does nothing by itself, so that jobs enter it by container().
func waits(c *corev1.Container) bool {
	line := strings.Join(append(slices.Clone(c.Command), c.Args...), " ")
	if strings.Contains(line, "sleep ") || strings.Contains(line, "tail -f") {
		return true
	}
	last := line[strings.LastIndexAny(line, " /")+1:]
	return line != "" && slices.Contains([]string{"cat", "bash", "sh", "infinity"}, last)
}

// sort finds the agent's container, and what the others are for.
func (p *parts) sort() {
	name := cmp.Or(p.t.value("agentContainer"), jnlp)
	p.agent.Name = name
	for _, c := range p.pod.Spec.Containers {
		privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
		switch {
		case c.Name == name:
			p.agent = c
		case daemonImage.MatchString(c.Image) && !waits(&c), strings.Contains(c.Image, "dind") && privileged && !waits(&c):
			p.daemon = &c
		case waits(&c):
			p.tools = append(p.tools, c)
		default:
			p.services = append(p.services, c)
		}
	}
}

// sockets takes the Kubernetes node's Docker socket out of the pod.
func (p *parts) sockets() {
	gone := map[string]bool{}
	p.pod.Spec.Volumes = slices.DeleteFunc(p.pod.Spec.Volumes, func(v corev1.Volume) bool {
		is := v.HostPath != nil && strings.HasSuffix(strings.TrimRight(v.HostPath.Path, "/"), "/docker.sock")
		p.socket, gone[v.Name] = p.socket || is, is
		return is
	})
	if p.daemon != nil { // its directories and certificates are for the daemon and its clients only
		for _, m := range p.daemon.VolumeMounts {
			if m.Name != pluginWorkspace && (strings.Contains(m.MountPath, "docker") || strings.Contains(m.MountPath, "cert")) {
				gone[m.Name] = true
			}
		}
		p.pod.Spec.Volumes = slices.DeleteFunc(p.pod.Spec.Volumes, func(v corev1.Volume) bool { return gone[v.Name] })
	}
	without := func(c *corev1.Container) {
		c.VolumeMounts = slices.DeleteFunc(slices.Clone(c.VolumeMounts), func(m corev1.VolumeMount) bool { return gone[m.Name] })
	}
	without(&p.agent)
	for _, list := range [][]corev1.Container{p.tools, p.services, p.pod.Spec.InitContainers} {
		for i := range list {
			without(&list[i])
		}
	}
}

// docker sets which Docker the builds get.
func (p *parts) docker() {
	mode := pool.DockerNone
	switch at := p.t.at; {
	case p.daemon != nil:
		mode = pool.DockerDind
		if strings.Contains(p.daemon.Image, "rootless") {
			mode = pool.DockerRootless
		}
		p.todo(".containers["+p.daemon.Name+"]", p.daemon.Image, "DOCKER="+string(mode)+" takes its place: a daemon of Bellboard's beside each agent, "+
			"and its client in the agent; the agents' namespace has to allow privileged pods")
		if args := strings.Join(append(slices.Clone(p.daemon.Command), p.daemon.Args...), " "); args != "" {
			p.todo(".containers["+p.daemon.Name+"].args", args, "Bellboard starts its daemon with its own arguments; a registry mirror has the setting REGISTRY_MIRROR")
		}
	case p.socket:
		mode = pool.DockerDind
		p.todo(".volumes[/var/run/docker.sock]", "", "DOCKER=dind takes the place of the Kubernetes node's Docker: a daemon beside each agent, in a namespace that allows privileged pods; "+
			"DOCKER=host with ALLOW_HOST_DOCKER=true is the old way, in which each build can take over its Kubernetes node")
	default:
		if p.team.get("MODE") == string(scaler.ModePersistent) {
			p.team.set("DOCKER", string(mode), at)
		}
		return
	}
	p.team.set("DOCKER", string(mode), p.t.at)
	client := func(e corev1.EnvVar) bool {
		return slices.Contains([]string{"DOCKER_HOST", "DOCKER_TLS_CERTDIR", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"}, e.Name)
	}
	p.agent.Env = slices.DeleteFunc(slices.Clone(p.agent.Env), client)
	for i := range p.tools {
		p.tools[i].Env = slices.DeleteFunc(slices.Clone(p.tools[i].Env), client)
	}
}

// image sets the agents' image, and says what becomes of the containers that jobs enter.
func (p *parts) image() {
	image, at := p.agent.Image, p.t.at+".containers["+p.agent.Name+"].image"
	switch {
	case p.t.value("agentInjection") != "" && image != "":
		p.todo(".agentInjection", image, "the plugin puts the agent program into this image, and Bellboard does not; build an image with both "+
			"(docs/migrate.md has the lines), and set IMAGE")
		image = ""
	case oldAgent.MatchString(image), tooOld(image):
		p.todo(".containers["+p.agent.Name+"].image", image, "is too old for the way in which Bellboard starts agents; "+pool.DefaultImage+" takes its place")
		image = ""
	}
	if registry := p.t.cloud.value("jnlpregistry"); image == "" && registry != "" {
		image, at = strings.TrimSuffix(registry, "/")+"/"+pool.DefaultImage, p.t.cloud.at+".jnlpregistry"
	}
	p.team.set("IMAGE", image, at)
	for _, c := range p.tools {
		where := ".containers[" + c.Name + "]"
		if p.team.get("DOCKER") != "" && p.team.get("DOCKER") != string(pool.DockerNone) && strings.HasPrefix(c.Image[strings.LastIndex(c.Image, "/")+1:], "docker") {
			p.todo(where, c.Image, "jobs enter it by container('"+c.Name+"'); leave that step out, since the agent itself has Docker's client")
			continue
		}
		p.todo(where, c.Image, "jobs enter it by container('"+c.Name+"'), a step that Bellboard's agents do not have; build one image with the agent "+
			"and these tools, and set IMAGE; or set DOCKER=dind, and write docker.image('…').inside { } (docs/migrate.md)")
	}
	for _, c := range p.services {
		if c.Image == "" {
			p.todo(".containers["+c.Name+"]", "", "has no image, and is left out")
		}
	}
	p.services = slices.DeleteFunc(p.services, func(c corev1.Container) bool { return c.Image == "" })
}

// noReconnectAfter is the first version of the agent program with the argument -noReconnectAfter, of May 2024.
const noReconnectAfter = 3244

// tooOld reports whether an image of Jenkins' has an agent program that does not know Bellboard's arguments.
func tooOld(image string) bool {
	m := inbound.FindStringSubmatch(image)
	if m == nil || m[3] == "" {
		return false
	}
	n, err := strconv.Atoi(m[3])
	return err == nil && n < noReconnectAfter
}

// sum adds up a resource of some containers, and reports whether each of them has it.
func sum(all []corev1.Container, name corev1.ResourceName, of func(*corev1.Container) corev1.ResourceList) (total resource.Quantity, each bool) {
	each = len(all) > 0
	for i := range all {
		q, ok := of(&all[i])[name]
		total.Add(q)
		each = each && ok
	}
	return total, each
}

// resources sets CPU and MEMORY: builds run in the agent's container now, with what all the containers had in
// which they ran before.
func (p *parts) resources() {
	worked := append([]corev1.Container{p.agent}, p.tools...)
	if p.daemon != nil {
		worked = append(worked, *p.daemon)
	}
	requests := func(c *corev1.Container) corev1.ResourceList { return c.Resources.Requests }
	limits := func(c *corev1.Container) corev1.ResourceList { return c.Resources.Limits }
	cpu, _ := sum(worked, corev1.ResourceCPU, requests)
	mostCPU, limitedCPU := sum(worked, corev1.ResourceCPU, limits)
	memory, _ := sum(worked, corev1.ResourceMemory, requests)
	mostMemory, limited := sum(worked, corev1.ResourceMemory, limits)
	at := p.t.at + ".containers"
	if cpu.IsZero() && memory.IsZero() && mostCPU.IsZero() && mostMemory.IsZero() {
		p.todo(".containers", "", "request nothing, which the plugin makes 100m and 256Mi; Bellboard's agents request CPU=1 and MEMORY=2Gi, and may use no more memory: "+
			"set both to what builds need")
		return
	}
	if cpu.IsZero() {
		cpu = mostCPU
	}
	if !cpu.IsZero() {
		p.team.set("CPU", cpu.String(), at)
	}
	docker := p.team.get("DOCKER") != "" && p.team.get("DOCKER") != string(pool.DockerNone)
	own := map[string]any{} // the resources of the pod template
	put := func(list string, name corev1.ResourceName, value any) { part(own, list)[string(name)] = value }
	if limitedCPU && !docker {
		put("limits", corev1.ResourceCPU, mostCPU.String())
	}
	whole := memory
	if limited || memory.IsZero() {
		whole = mostMemory
	}
	switch {
	case whole.IsZero():
	case limited && !docker && !memory.IsZero() && memory.Cmp(mostMemory) < 0:
		put("requests", corev1.ResourceMemory, memory.String())
	case !limited && !docker && !memory.IsZero():
		put("limits", corev1.ResourceMemory, nil) // the plugin sets none
	}
	if !whole.IsZero() {
		p.team.set("MEMORY", whole.String(), at)
	}
	for list, of := range map[string]func(*corev1.Container) corev1.ResourceList{"requests": requests, "limits": limits} {
		if disk, each := sum(worked, corev1.ResourceEphemeralStorage, of); !disk.IsZero() && (each || list == "requests") {
			put(list, corev1.ResourceEphemeralStorage, disk.String())
		}
	}
	if len(own) > 0 {
		p.own()["resources"] = own
	}
	if len(p.tools) > 0 {
		var names []string
		for _, c := range p.tools {
			names = append(names, c.Name)
		}
		p.t.m.fine(at, "", "CPU and MEMORY are those of the containers "+p.agent.Name+", "+strings.Join(names, ", ")+" together, since builds now run in one")
	}
}

// own returns the agent's container in the pod template.
func (p *parts) own() map[string]any {
	spec := p.team.part("spec")
	if list, _ := spec["containers"].([]any); len(list) > 0 {
		if first, ok := list[0].(map[string]any); ok {
			return first
		}
	}
	agent := map[string]any{"name": "agent"}
	spec["containers"] = []any{agent}
	return agent
}

// volumeName returns the name in a pod of Bellboard of a volume in a pod of the plugin.
func volumeName(name string) string {
	if name == pluginWorkspace {
		return "workspace"
	}
	return name
}

// template writes into the pod template what no setting does.
func (p *parts) template() {
	spec := &p.pod.Spec
	for _, c := range p.tools { // builds now run in the agent's container, with what these had
		for _, e := range c.Env {
			if !slices.ContainsFunc(p.agent.Env, func(own corev1.EnvVar) bool { return own.Name == e.Name }) {
				p.agent.Env = append(p.agent.Env, e)
			}
		}
		for _, m := range c.VolumeMounts {
			if !slices.ContainsFunc(p.agent.VolumeMounts, func(own corev1.VolumeMount) bool { return own.MountPath == m.MountPath }) {
				p.agent.VolumeMounts = append(p.agent.VolumeMounts, m)
			}
		}
		p.agent.EnvFrom = append(p.agent.EnvFrom, c.EnvFrom...)
	}
	p.agentContainer()
	var inits []any
	for _, c := range spec.InitContainers {
		inits = append(inits, p.beside(c, false))
	}
	for _, c := range p.services {
		inits = append(inits, p.beside(c, true))
		p.t.m.fine(p.t.at+".containers["+c.Name+"]", c.Image, "runs beside the agent as an init container with restartPolicy: Always, which ends with the agent")
	}
	var volumes []any
	for _, v := range spec.Volumes {
		one := fields(v)
		one["name"] = volumeName(v.Name)
		if one["name"] == "workspace" && v.EmptyDir == nil {
			one["emptyDir"] = nil // Bellboard's own
		}
		volumes = append(volumes, one)
	}
	if users := spec.SecurityContext; users != nil && users.RunAsUser != nil && *users.RunAsUser == 0 && users.RunAsNonRoot == nil {
		users.RunAsNonRoot = new(false)
	}
	spec.Containers, spec.InitContainers, spec.Volumes = nil, nil, nil
	into := p.team.part("spec")
	for name, value := range fields(*spec) {
		if value != nil && name != "containers" {
			into[name] = value
		}
	}
	if len(inits) > 0 {
		into["initContainers"] = inits
	}
	if len(volumes) > 0 {
		into["volumes"] = volumes
	}
}

// agentContainer writes the agent's container into the pod template.
func (p *parts) agentContainer() {
	c := &p.agent
	url := strings.TrimRight(p.t.cloud.value("jenkinsUrl"), "/")
	c.Env = slices.DeleteFunc(slices.Clone(c.Env), func(e corev1.EnvVar) bool { // Bellboard's agents have it already
		return e.Name == "JENKINS_URL" && strings.TrimRight(e.Value, "/") == url
	})
	c.VolumeMounts = slices.DeleteFunc(slices.Clone(c.VolumeMounts), func(m corev1.VolumeMount) bool { return m.Name == pluginWorkspace })
	c.Args = slices.DeleteFunc(slices.Clone(c.Args), agentArgs.MatchString)
	c.Command = slices.DeleteFunc(slices.Clone(c.Command), agentStart.MatchString)
	if dir := c.WorkingDir; dir != "" && strings.TrimRight(dir, "/") != pluginHome {
		p.todo(".containers["+c.Name+"].workingDir", dir, "Bellboard's agents work in "+pluginHome+"; change jobs that name the old directory")
	}
	if users := p.pod.Spec.SecurityContext; users != nil && (users.RunAsUser != nil || users.RunAsGroup != nil) {
		if c.SecurityContext == nil {
			c.SecurityContext = &corev1.SecurityContext{}
		}
		c.SecurityContext.RunAsUser = cmp.Or(c.SecurityContext.RunAsUser, users.RunAsUser)
		c.SecurityContext.RunAsGroup = cmp.Or(c.SecurityContext.RunAsGroup, users.RunAsGroup)
	}
	if rights := c.SecurityContext; rights != nil && rights.RunAsUser != nil && *rights.RunAsUser == 0 {
		rights.RunAsNonRoot = new(false)
		p.todo(".runAsUser", "0", "builds are root in their container, so the agents' namespace has to allow the Pod Security Standard baseline")
	}
	c.Name, c.Image, c.WorkingDir, c.Resources = "agent", "", "", corev1.ResourceRequirements{}
	if c.ImagePullPolicy == corev1.PullIfNotPresent {
		c.ImagePullPolicy = ""
	}
	for name, value := range fields(*c) {
		if list, ok := value.([]any); name == "name" || name == "resources" || ok && len(list) == 0 {
			continue
		}
		p.own()[name] = value
	}
}

// The least that a container of a pod template has to request, and what is written where the plugin's had nothing.
var leastRequests = map[corev1.ResourceName]string{corev1.ResourceCPU: "100m", corev1.ResourceMemory: "256Mi"}

// beside writes a container that is not the agent's as an init container.
func (p *parts) beside(c corev1.Container, stays bool) map[string]any {
	if slices.Contains([]string{"agent", "dind", "docker-cli"}, c.Name) {
		c.Name = "own-" + c.Name
	}
	var mounts []corev1.VolumeMount
	for _, m := range c.VolumeMounts {
		m.Name = volumeName(m.Name)
		mounts = append(mounts, m)
	}
	c.VolumeMounts = mounts
	var written []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if _, has := c.Resources.Requests[name]; has {
			continue
		}
		if c.Resources.Requests == nil {
			c.Resources.Requests = corev1.ResourceList{}
		}
		q, limited := c.Resources.Limits[name]
		if !limited {
			q = resource.MustParse(leastRequests[name])
			written = append(written, string(name)+"="+leastRequests[name])
		}
		c.Resources.Requests[name] = q
	}
	if len(written) > 0 {
		p.todo(".containers["+c.Name+"]", "", "does not request all that it needs, and a pod template has to; "+strings.Join(written, " ")+" is written: correct it")
	}
	if stays {
		c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	}
	if c.ImagePullPolicy == corev1.PullIfNotPresent {
		c.ImagePullPolicy = ""
	}
	return fields(c)
}

// fields returns a part of a pod as JSON has it, without what says nothing.
func fields(o any) (out map[string]any) {
	text, err := json.Marshal(o)
	if err == nil {
		err = kjson.UnmarshalCaseSensitivePreserveInts(text, &out)
	}
	if err != nil {
		panic("migrate: a part of a pod that JSON cannot hold: " + err.Error())
	}
	return out
}
