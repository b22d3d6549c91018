package pool

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	kyaml "sigs.k8s.io/yaml"
)

//go:embed allow.yaml
var policyYAML []byte

// policy is allow.yaml. The rules of its fields stand in objects as the fields in a pod.
var policy = readPolicy(policyYAML)

type templatePolicy struct {
	Fields                       object
	ImageVariables, Capabilities []string
}

func readPolicy(text []byte) (p templatePolicy) {
	if err := kyaml.UnmarshalStrict(text, &p); err != nil {
		panic("pool: allow.yaml: " + err.Error())
	}
	return p
}

// The rules of a field in allow.yaml. Any other text is a remedy.
const (
	ruleAllow = "allow"
	ruleHost  = "host"
)

const (
	reservedName = "Bellboard's own; leave it out"
	allowHost    = "belongs to the machine, and every build could take that over; " +
		"leave it out, or set ALLOW_HOST_DOCKER=true if that is meant"
	dataFixed = "where Docker's data are follows from the kind, and each agent has a claim of its own; " +
		"leave it out, and set CACHE_SIZE and STORAGE_CLASS"
)

// TemplateMistakes returns all changes of the spec's template that are not allowed.
func (s Spec) TemplateMistakes() []*TemplateMistake {
	if s.Template == nil {
		return nil
	}
	base := plainPod(&s, "name")
	pod, err := s.Template.merge(base)
	if err != nil {
		return []*TemplateMistake{{Remedy: err.Error()}}
	}
	l := &lint{spec: &s, base: base, pod: pod}
	l.compare(object{"": policy.Fields}, "", "", fieldsOf(base), fieldsOf(pod))
	l.refused = map[string]bool{}
	for _, m := range l.found {
		l.refused[m.Field] = true
	}
	l.values()
	slices.SortStableFunc(l.found, func(a, b *TemplateMistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field))
	})
	return l.found
}

// A lint compares a pod (base) with the same pod after its template.
type lint struct {
	spec      *Spec
	base, pod *corev1.Pod
	found     []*TemplateMistake
	refused   map[string]bool // fields that may not be set, so that their values do not matter
}

// reject adds a mistake if wrong is true.
func (l *lint) reject(wrong bool, field, remedy string) {
	if wrong && !l.refused[field] {
		l.found = append(l.found, &TemplateMistake{l.spec.Template.line(field), field, remedy})
	}
}

// compare rejects each difference that the rules do not allow. key is the field's key in the rules: for the
// elements that the template adds, the key is [+].
func (l *lint) compare(rules object, key, field string, was, is any) {
	if reflect.DeepEqual(was, is) {
		return
	}
	mergeKey, list := mergeKeys[key]
	switch rule := rules[key].(type) {
	case object:
		if list {
			l.elements(rule, field, l.byKey(field, was, mergeKey), l.byKey(field, is, mergeKey))
			return
		}
		a, b := as[object](was), as[object](is)
		for _, k := range keys(a, b) {
			l.compare(rule, k, strings.TrimPrefix(field+"."+k, "."), a[k], b[k])
		}
	case string:
		switch rule {
		case ruleAllow:
		case ruleHost:
			l.reject(is != nil && is != false && !l.spec.AllowHost, field, allowHost)
		default:
			l.reject(true, field, rule)
		}
	default:
		remedy := reservedName
		if !strings.HasPrefix(key, "[") {
			may := slices.DeleteFunc(keys(rules), func(k string) bool {
				rule := as[string](rules[k])
				return rule != "" && rule != ruleAllow && rule != ruleHost
			})
			remedy = "not for a template; leave it out (here it may set " + strings.Join(may, ", ") + ")"
		}
		l.reject(true, field, remedy)
	}
}

// mergeKeys has the lists that Kubernetes merges by a key, and the field that is the key. The empty key
// stands for the keys of a map.
var mergeKeys = map[string]string{
	"containers": "name", "initContainers": "name", "volumes": "name", "env": "name", "volumeMounts": "mountPath",
	"labels": "", "annotations": "",
}

// elements compares the elements of a list.
func (l *lint) elements(rules object, field string, was, is object) {
	for _, k := range keys(was, is) {
		at, added := field+"["+k+"]", was[k] == nil
		e := as[object](is[k])
		switch {
		case is[k] == nil, added && strings.HasPrefix(k, "bellboard.dev/"):
			l.reject(true, at, reservedName)
		case !added:
			l.compare(rules, "["+k+"]", at, was[k], is[k])
		case at == "spec.containers[jnlp]": // the name in the Kubernetes plugin's pods
			l.reject(true, at, "the agent's container is agent; correct its name, and leave image, command and args out")
		case strings.HasSuffix(field, "ontainers") && e["image"] == nil:
			own := cmp.Or(strings.Join(slices.Sorted(maps.Keys(was)), ", "), "none")
			l.reject(true, at, fmt.Sprintf("%s have no such container among %s (%s); correct its name, "+
				"set this file for another kind, or give it an image", l.spec.agents(), strings.TrimPrefix(field, "spec."), own))
		default:
			l.compare(rules, "[+]", at, nil, is[k])
		}
		if field == "spec.volumes" && len(e) > 2 { // a name and two sources
			sources := slices.DeleteFunc(keys(e), func(s string) bool { return s == "name" })
			l.reject(true, at, "is "+strings.Join(sources, " and ")+" at once; set the one that Bellboard gives it to null")
		}
	}
}

type object = map[string]any

// as returns the value if it is of that type, and else the type's zero value.
func as[T any](v any) T {
	out, _ := v.(T)
	return out
}

// byKey returns a list's elements by their keys, and rejects a key that is there twice.
func (l *lint) byKey(field string, list any, key string) object {
	if key == "" {
		return as[object](list)
	}
	out := object{}
	for _, e := range as[[]any](list) {
		name := as[string](as[object](e)[key])
		l.reject(out[name] != nil, field+"["+name+"]", "is there twice; leave one of them out")
		out[name] = e
	}
	return out
}

// keys returns the keys of all maps, sorted.
func keys(all ...object) []string {
	union := object{}
	for _, m := range all {
		maps.Copy(union, m)
	}
	return slices.Sorted(maps.Keys(union))
}

// values rejects values of fields that a template may set.
func (l *lint) values() {
	base, pod, mode := &l.base.Spec, &l.pod.Spec, l.spec.Docker
	grace, least := pod.TerminationGracePeriodSeconds, *base.TerminationGracePeriodSeconds
	l.reject(grace == nil || *grace < least, "spec.terminationGracePeriodSeconds", fmt.Sprintf(
		"less than the %d s that BUILD_GRACE gives: builds would be cut off; leave it out, and set BUILD_GRACE", least))
	l.group(base, pod)
	const named = "Jenkins calls the agent by this name; leave it out"
	l.reject(base.Hostname != "" && pod.Hostname != base.Hostname, "spec.hostname", named)
	l.reject(base.Subdomain != "" && pod.Subdomain != base.Subdomain, "spec.subdomain", named)
	l.reject(mode == DockerUserns && !ownUsers(pod), "spec.hostUsers",
		"DOCKER=userns is this being false; leave it out")
	l.reject((mode == DockerDind || mode == DockerRootless) && ownUsers(pod), "spec.hostUsers",
		"a privileged daemon cannot begin in a user namespace; leave it out, and set DOCKER=userns")
	wrong := NotLinux(pod.NodeSelector)
	l.reject(wrong != "" && !maps.Equal(pod.NodeSelector, base.NodeSelector), "spec.nodeSelector", wrong)
	l.reject(pod.OS != nil && pod.OS.Name != corev1.Linux, "spec.os.name",
		"Bellboard's agents are for Linux only; leave it out")
	for _, v := range pod.Volumes {
		own := volumeOf(base, v.Name)
		l.reject(v.Name == dockerDataVolume && own != nil && own.EmptyDir != nil && v.EmptyDir == nil,
			"spec.volumes[docker-data].emptyDir", dataFixed)
		if v.Projected != nil {
			l.projected("spec.volumes["+v.Name+"].projected", fieldsOf(v.Projected))
		}
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if c.Image != "" && !l.refused["spec.containers["+c.Name+"]"] {
			l.container(&c)
		}
	}
}

// group rejects groups of the pod with which the agent cannot read its secret, or builds can read one.
func (l *lint) group(base, pod *corev1.PodSpec) {
	was := ptr.Deref(base.SecurityContext, corev1.PodSecurityContext{}).FSGroup
	is := ptr.Deref(pod.SecurityContext, corev1.PodSecurityContext{}).FSGroup
	const field = "spec.securityContext.fsGroup"
	switch {
	case l.spec.Transport == SSH:
		l.reject(is != nil, field, "with a group of the pod builds could read the agent's host key; leave it out")
	case was != nil && is == nil:
		l.reject(true, field, "without a group the agent cannot read its secret; leave it out, "+
			"and set RUN_AS=platform where the platform gives a group")
	case l.spec.Docker.Daemon():
		l.reject(!ptr.Equal(was, is), field, "Docker's socket and its cache are of this group; leave it out")
	}
}

// ownUsers reports whether the pod's users are none of the Kubernetes node's.
func ownUsers(pod *corev1.PodSpec) bool { return !ptr.Deref(pod.HostUsers, true) }

// NotLinux returns the mistake in a selector of Kubernetes nodes that do not run Linux; "": there is none.
func NotLinux(selector map[string]string) string {
	for _, label := range []string{corev1.LabelOSStable, "beta.kubernetes.io/os"} {
		if os := selector[label]; os != "" && os != string(corev1.Linux) {
			return fmt.Sprintf("selects machines that run %s, and Bellboard's agents are for Linux only; write %s=linux, "+
				"and give builds for %[1]s agents of another kind (a static agent, a cloud)", os, label)
		}
	}
	return ""
}

// projected rejects a token with which a build can use the cluster's API. A token for somebody else, such as
// a cloud or a vault, is worth nothing there.
func (l *lint) projected(field string, volume object) {
	const remedy = "the cluster itself accepts this token, and every build could read it; " +
		"leave it out, or give the audience that the token is for"
	for i, source := range as[[]any](volume["sources"]) {
		for _, kind := range keys(as[object](source)) {
			at := fmt.Sprintf("%s.sources[%d].%s", field, i, kind)
			switch kind {
			case "clusterTrustBundle", "configMap", "downwardAPI", "secret":
			case "serviceAccountToken":
				audience := as[string](as[object](as[object](source)[kind])["audience"])
				host := strings.TrimPrefix(audience, "https://")
				cluster := host == "api" || host == "kubernetes" || strings.HasPrefix(host, "kubernetes.default")
				l.reject(audience == "", at, remedy)
				l.reject(cluster, at+".audience", audience+": "+remedy)
			default:
				l.reject(true, at, "not for a template; leave it out")
			}
		}
	}
}

// container rejects values of a container's fields.
func (l *lint) container(c *corev1.Container) {
	at := "spec.initContainers[" + c.Name + "]."
	needs := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
	if c.Name == agentContainer {
		at = "spec.containers[agent]."
	}
	for _, own := range slices.Concat(l.base.Spec.InitContainers, l.base.Spec.Containers) {
		if own.Name == c.Name { // if the settings ask for nothing, that is meant
			needs = slices.Sorted(maps.Keys(own.Resources.Requests))
		}
	}
	for _, name := range needs {
		_, ok := c.Resources.Requests[name]
		l.reject(!ok, at+"resources.requests."+string(name),
			"missing, so the scheduler does not know what the container needs; write how much")
	}
	for _, e := range c.Env {
		field := at + "env[" + e.Name + "]"
		l.reject(c.Name == agentContainer && slices.Contains(policy.ImageVariables, e.Name), field,
			"the image would pass it to the agent a second time; leave it out")
		private := strings.HasPrefix(e.Value, "unix:") || strings.HasPrefix(e.Value, "ssh:")
		l.reject(e.Name == "DOCKER_HOST" && !private, field,
			"everybody who reaches that Docker may be able to use it; leave it out, and set DOCKER")
	}
	l.mounts(c, at)
	for _, p := range c.Ports {
		l.reject((p.HostPort != 0 || p.HostIP != "") && !l.spec.AllowHost, at+"ports",
			"a port of the Kubernetes node "+allowHost)
	}
	rights := ptr.Deref(c.SecurityContext, corev1.SecurityContext{})
	if rights.Capabilities == nil || c.Name == dindContainer || l.spec.AllowHost || ownUsers(&l.pod.Spec) {
		return // with users of its own, capabilities are rights over the pod only
	}
	for _, name := range rights.Capabilities.Add {
		known := slices.Contains(policy.Capabilities, strings.TrimPrefix(strings.ToUpper(string(name)), "CAP_"))
		l.reject(!known, at+"securityContext.capabilities.add", string(name)+" "+allowHost)
	}
}

// mounts keeps two things apart: Bellboard's volumes from containers that do not need them, and volumes that
// several agents may share from the directory of Docker's data.
func (l *lint) mounts(c *corev1.Container, at string) {
	for _, m := range c.VolumeMounts {
		field, v := at+"volumeMounts["+m.MountPath+"]", volumeOf(&l.pod.Spec, m.Name)
		l.reject(m.Name == secretVolumeName && c.Name != agentContainer, field,
			"is the agent's secret, and for the agent only; leave it out")
		l.reject(m.Name == dockerDataVolume && c.Name != dindContainer, field,
			"two daemons on one /var/lib/docker destroy it; leave it out")
		l.reject(v == nil && volumeOf(&l.base.Spec, m.Name) == nil, field,
			l.spec.agents()+" have no volume "+m.Name+"; correct its name, or add it")
		dir := m.MountPath + "/"
		inside := strings.HasPrefix(dir, "/var/lib/docker/") || strings.HasPrefix(dir, rootlessData+"/")
		shared := v == nil || v.EmptyDir == nil && v.Ephemeral == nil
		l.reject(inside && shared && m.Name != dockerDataVolume, field, "other agents may have volume "+m.Name+
			" too, and two daemons on one /var/lib/docker destroy it; leave it out, or make it emptyDir or ephemeral")
	}
}
