package pool

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// Template is what a team changes of its pods: a part of a pod in YAML, laid over
// the one that Build makes by Kubernetes' strategic merge. What it does not name
// stays, containers and volumes of one name are merged, and null takes out.
type Template struct {
	File  string
	patch []byte
	root  *yaml.Node // to find lines in
}

// A TemplateMistake is one thing wrong with a template. Its text leaves the file
// out, which whoever shows it knows.
type TemplateMistake struct {
	Line   int // 0: of nothing that the file says
	Field  string
	Remedy string
}

func (m *TemplateMistake) Error() string {
	text := m.Remedy
	if m.Field != "" {
		text = m.Field + ": " + text
	}
	if m.Line > 0 {
		text = fmt.Sprintf("line %d: %s", m.Line, text)
	}
	return text
}

// ParseTemplate reads a template strictly: it names every field that a pod does
// not have. Whether the template fits a Spec only Spec.TemplateMistakes knows.
func ParseTemplate(file string, text []byte) (*Template, []error) {
	t := &Template{File: file, root: &yaml.Node{}}
	in := yaml.NewDecoder(bytes.NewReader(text))
	if err := in.Decode(t.root); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("empty; write the part of a pod that is to differ")
		}
		return nil, []error{err}
	}
	if err := in.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, []error{errors.New("more than one document; leave one pod in it")}
	}
	doc, err := kyaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, []error{errors.New(strings.Join(strings.Fields(err.Error()), " "))}
	}
	var pod corev1.Pod
	unknown, err := kjson.UnmarshalStrict(doc, &pod)
	if err != nil {
		m := &TemplateMistake{Remedy: err.Error()}
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			m.Field, m.Remedy = wrong.Field, "cannot be a "+wrong.Value
			m.Line = t.line(m.Field)
		}
		return nil, []error{m}
	}
	var mistakes []error
	for _, u := range unknown {
		field := strings.Trim(strings.TrimPrefix(u.Error(), "unknown field "), `"`)
		within := "pod"
		if i := strings.LastIndex(field, "."); i > 0 {
			within += "." + indexes.ReplaceAllString(field[:i], "")
		}
		mistakes = append(mistakes, &TemplateMistake{t.line(field), field, "a pod has no such field; kubectl explain " + within + " lists those it has"})
	}
	if pod.APIVersion != "" && pod.APIVersion != "v1" || pod.Kind != "" && pod.Kind != "Pod" {
		mistakes = append(mistakes, &TemplateMistake{t.line("kind"), "kind", "a template is a Pod of v1, or leaves both out"})
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	t.patch = doc
	return t, nil
}

var indexes = regexp.MustCompile(`\[[^\]]*\]`)

// line is where the file speaks of a field, or of the nearest one that holds it: 0
// if it does not. A list's element is named by its place or by its name.
func (t *Template) line(field string) int {
	if len(t.root.Content) == 0 {
		return 0
	}
	at, line := t.root.Content[0], 0
	for _, step := range steps.FindAllString(field, -1) {
		next := (*yaml.Node)(nil)
		key := strings.Trim(step, ".[]")
		switch at.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(at.Content); i += 2 {
				if at.Content[i].Value == key {
					line, next = at.Content[i].Line, at.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			place, err := strconv.Atoi(key)
			for i, n := range at.Content {
				if err == nil && i == place || err != nil && named(n, key) {
					line, next = n.Line, n
				}
			}
		case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
		}
		if next == nil {
			break
		}
		at = next
	}
	return line
}

var steps = regexp.MustCompile(`\[[^\]]*\]|\.?[^.\[\]]+`)

// named reports whether a list's element has that name, or that path to mount at.
func named(n *yaml.Node, name string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i].Value; (k == "name" || k == "mountPath") && n.Content[i+1].Value == name {
			return true
		}
	}
	return false
}

// withDocker are the containers and volumes that only agents with Docker have. A template
// that several kinds share may speak of them.
var withDocker = map[string][]string{
	"initContainers": {dindContainer, dockerCLIContainer},
	"volumes":        {"docker-cli", dockerRunVolume, dockerDataVolume},
}

// fit is the template without what it says of containers and volumes of Bellboard's that a
// pod does not have, and the fields that are left out.
func (t *Template) fit(pod *corev1.Pod) (patch []byte, without []string, err error) {
	has := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		has["initContainers"+pod.Spec.InitContainers[i].Name] = true
	}
	for i := range pod.Spec.Volumes {
		has["volumes"+pod.Spec.Volumes[i].Name] = true
	}
	var doc map[string]any
	in := json.NewDecoder(bytes.NewReader(t.patch))
	in.UseNumber()
	if err := in.Decode(&doc); err != nil {
		return nil, nil, err
	}
	spec, _ := doc["spec"].(map[string]any)
	for _, list := range slices.Sorted(maps.Keys(withDocker)) {
		items, _ := spec[list].([]any)
		left := slices.DeleteFunc(slices.Clone(items), func(item any) bool {
			fields, _ := item.(map[string]any)
			name, _ := fields["name"].(string)
			gone := slices.Contains(withDocker[list], name) && !has[list+name]
			if gone {
				without = append(without, "spec."+list+"["+name+"]")
			}
			return gone
		})
		if len(left) < len(items) {
			spec[list] = left
		}
	}
	if len(without) == 0 {
		return t.patch, nil, nil
	}
	patch, err = json.Marshal(doc)
	return patch, without, err
}

// TemplateWithout is what the spec's template says of Docker that these agents do not have.
// They are made without it: whether another kind of agent has it, only the settings tell.
func (s Spec) TemplateWithout() []TemplateMistake {
	s = s.withDefaults()
	t := s.Template
	if t == nil {
		return nil
	}
	s.Template = nil
	_, fields, err := t.fit(build(&s, "name"))
	if err != nil {
		return nil // TemplateMistakes says so
	}
	var out []TemplateMistake
	for _, field := range fields {
		what := "container"
		if strings.HasPrefix(field, "spec.volumes") {
			what = "volume"
		}
		out = append(out, TemplateMistake{t.line(field), field, fmt.Sprintf("the %s agents of team %s (DOCKER=%s) have no such %s", s.Kind, s.Team, s.Docker, what)})
	}
	return out
}

// refine lays the template over a pod.
func (t *Template) refine(pod *corev1.Pod) (*corev1.Pod, error) {
	was, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	patch, _, err := t.fit(pod)
	if err != nil {
		return nil, err
	}
	is, err := strategicpatch.StrategicMergePatch(was, patch, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	out := &corev1.Pod{}
	if err := json.Unmarshal(is, out); err != nil {
		return nil, err
	}
	// What the template adds may need Docker, and begins after it.
	place := func(c corev1.Container) int {
		if i := slices.IndexFunc(pod.Spec.InitContainers, func(was corev1.Container) bool { return was.Name == c.Name }); i >= 0 {
			return i
		}
		return len(pod.Spec.InitContainers)
	}
	slices.SortStableFunc(out.Spec.InitContainers, func(a, b corev1.Container) int { return cmp.Compare(place(a), place(b)) })
	return out, nil
}

// TemplateMistakes finds all that the spec's template must not do to an agent: what
// ends builds, keeps agents from connecting or counting, or gives builds more than
// the team is allowed.
func (s Spec) TemplateMistakes() []error {
	s = s.withDefaults()
	t := s.Template
	if t == nil {
		return nil
	}
	s.Template = nil
	base := build(&s, "name")
	pod, err := t.refine(base)
	if err != nil {
		return []error{&TemplateMistake{Remedy: err.Error()}}
	}
	l := &lint{spec: &s, template: t, base: base, pod: pod}
	l.metadata()
	l.podSpec()
	l.volumes()
	l.containers()
	slices.SortStableFunc(l.found, func(a, b *TemplateMistake) int { return cmp.Compare(a.Line, b.Line) })
	var out []error
	for _, m := range l.found {
		out = append(out, m)
	}
	return out
}

// lint compares a pod with a template laid over it with the same pod without.
type lint struct {
	spec      *Spec
	template  *Template
	base, pod *corev1.Pod
	found     []*TemplateMistake
}

// refuse notes a mistake when it is one.
func (l *lint) refuse(wrong bool, field, remedy string) {
	if wrong {
		l.found = append(l.found, &TemplateMistake{l.template.line(field), field, remedy})
	}
}

const (
	bellboards = "Bellboard's own; leave it out"
	needsAllow = "belongs to the machine, and every build could take that over; leave it out, or set ALLOW_HOST_DOCKER=true if that is meant"
)

func (l *lint) metadata() {
	was, is := l.base.ObjectMeta.DeepCopy(), l.pod.ObjectMeta.DeepCopy()
	for _, m := range []struct {
		field   string
		was, is map[string]string
	}{{"metadata.labels", was.Labels, is.Labels}, {"metadata.annotations", was.Annotations, is.Annotations}} {
		for _, k := range sortedKeys(m.was, m.is) {
			_, ours := m.was[k]
			l.refuse((ours || strings.HasPrefix(k, "bellboard.dev/")) && m.was[k] != m.is[k], m.field+"["+k+"]", bellboards)
		}
	}
	l.refuse(is.Namespace != was.Namespace, "metadata.namespace", "leave it out, and set NAMESPACE")
	is.Namespace = was.Namespace
	is.Labels, is.Annotations = was.Labels, was.Annotations
	l.refuse(!equality.Semantic.DeepEqual(was, is), "metadata", "may hold labels and annotations only: Bellboard names its pods and says whose they are; leave the rest out")
}

func sortedKeys(maps ...map[string]string) []string {
	var out []string
	for _, m := range maps {
		for k := range m {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (l *lint) podSpec() {
	was, is, s := &l.base.Spec, &l.pod.Spec, l.spec
	l.refuse(is.RestartPolicy != was.RestartPolicy, "spec.restartPolicy", "an agent that is started again has lost its build; leave it out")
	l.refuse(!isFalse(is.AutomountServiceAccountToken), "spec.automountServiceAccountToken", "every build could read a token of the cluster; leave it out")
	l.refuse(!isFalse(is.EnableServiceLinks), "spec.enableServiceLinks", "every Service would change what builds find in their environment; leave it out")
	l.refuse(is.TerminationGracePeriodSeconds == nil || *is.TerminationGracePeriodSeconds < *was.TerminationGracePeriodSeconds,
		"spec.terminationGracePeriodSeconds", fmt.Sprintf("less than the %d that BUILD_GRACE makes of it: builds would be cut off; leave it out, and set BUILD_GRACE", *was.TerminationGracePeriodSeconds))
	l.refuse(is.ActiveDeadlineSeconds != nil, "spec.activeDeadlineSeconds", "ends the build that runs then; leave it out, and give the job a timeout")
	l.refuse(is.NodeName != "", "spec.nodeName", "takes the choice from the scheduler, full or not; leave it out, and set NODE_SELECTOR")
	not := NotLinux(is.NodeSelector)
	l.refuse(not != "", "spec.nodeSelector", not)
	l.refuse(is.OS != nil && is.OS.Name != corev1.Linux, "spec.os", "Bellboard's agents are for Linux only; leave it out")
	l.refuse(is.HostNetwork && !s.AllowHost, "spec.hostNetwork", needsAllow)
	l.refuse(is.HostPID && !s.AllowHost, "spec.hostPID", needsAllow)
	l.refuse(is.HostIPC && !s.AllowHost, "spec.hostIPC", needsAllow)
	l.refuse(is.SecurityContext == nil || !equality.Semantic.DeepEqual(is.SecurityContext.FSGroup, was.SecurityContext.FSGroup),
		"spec.securityContext.fsGroup", "with another group the agent cannot read its secret; leave it out")
	switch s.Docker {
	case DockerUserns:
		l.refuse(!isFalse(is.HostUsers), "spec.hostUsers", "DOCKER=userns is this being false; leave it out")
	case DockerDind, DockerRootless:
		l.refuse(isFalse(is.HostUsers), "spec.hostUsers", "a privileged daemon cannot begin in a user namespace; leave it out, and set DOCKER=userns")
	case DockerNone, DockerSysbox, DockerHost:
	}
}

// NotLinux finds the mistake in a selector of machines that are not Linux; "": none.
func NotLinux(selector map[string]string) string {
	for _, label := range []string{corev1.LabelOSStable, "beta.kubernetes.io/os"} {
		if os := selector[label]; os != "" && os != string(corev1.Linux) {
			return fmt.Sprintf("selects machines that run %s, and Bellboard's agents are for Linux only; write %s=linux, and give builds for %[1]s agents of another kind (a static agent, a cloud)", os, label)
		}
	}
	return ""
}

func isFalse(b *bool) bool { return b != nil && !*b }

func (l *lint) volumes() {
	for i := range l.base.Spec.Volumes {
		was := &l.base.Spec.Volumes[i]
		field := "spec.volumes[" + was.Name + "]"
		is := byName(l.pod.Spec.Volumes, was.Name, func(v *corev1.Volume) string { return v.Name })
		if is == nil {
			l.refuse(true, field, bellboards)
			continue
		}
		switch was.Name {
		case "workspace", "jenkins-home", "tmp", dockerDataVolume:
			// Their size and medium are the team's; where Docker's data are is not, and which claim it is least of all.
			l.refuse(was.Name == dockerDataVolume && (!slices.Equal(sourceKind(was), sourceKind(is)) || !equality.Semantic.DeepEqual(was.PersistentVolumeClaim, is.PersistentVolumeClaim)),
				field, "where Docker's data are follows from the kind, and each agent has a claim of its own; leave it out, and set CACHE_SIZE and STORAGE_CLASS")
		default:
			l.refuse(!equality.Semantic.DeepEqual(was, is), field, bellboards)
		}
	}
	for i := range l.pod.Spec.Volumes {
		v := &l.pod.Spec.Volumes[i]
		field := "spec.volumes[" + v.Name + "]"
		kinds := sourceKind(v)
		l.refuse(len(kinds) > 1, field, "is "+strings.Join(kinds, " and ")+" at once; set the one that Bellboard gives it to null")
		ours := byName(l.base.Spec.Volumes, v.Name, func(v *corev1.Volume) string { return v.Name })
		l.refuse(v.HostPath != nil && !l.spec.AllowHost && (ours == nil || ours.HostPath == nil), field+".hostPath", needsAllow)
		l.tokens(field, v)
	}
}

// tokens refuses those with which the cluster's API can be asked. One for somebody
// else (a cloud, a vault) is worth nothing there.
func (l *lint) tokens(field string, v *corev1.Volume) {
	if v.Projected == nil {
		return
	}
	for i := range v.Projected.Sources {
		t := v.Projected.Sources[i].ServiceAccountToken
		if t == nil {
			continue
		}
		host := strings.TrimPrefix(t.Audience, "https://")
		at := fmt.Sprintf("%s.projected.sources[%d].serviceAccountToken", field, i)
		const remedy = "the cluster itself takes this token, and every build could read it; leave it out, or give the audience of whom it is for"
		l.refuse(t.Audience == "", at, remedy)
		l.refuse(host == "api" || host == "kubernetes" || strings.HasPrefix(host, "kubernetes.default"), at+".audience", t.Audience+": "+remedy)
	}
}

// sourceKind names what a volume is made of, as YAML does.
func sourceKind(v *corev1.Volume) []string {
	var out []string
	src := reflect.ValueOf(v.VolumeSource)
	for i := range src.NumField() {
		if !src.Field(i).IsNil() {
			name, _, _ := strings.Cut(src.Type().Field(i).Tag.Get("json"), ",")
			out = append(out, name)
		}
	}
	return out
}

func byName[T any](list []T, name string, nameOf func(*T) string) *T {
	for i := range list {
		if nameOf(&list[i]) == name {
			return &list[i]
		}
	}
	return nil
}

func (l *lint) containers() {
	nameOf := func(c *corev1.Container) string { return c.Name }
	for _, list := range []struct {
		field   string
		was, is []corev1.Container
	}{{"spec.initContainers", l.base.Spec.InitContainers, l.pod.Spec.InitContainers}, {"spec.containers", l.base.Spec.Containers, l.pod.Spec.Containers}} {
		for i := range list.was {
			field := list.field + "[" + list.was[i].Name + "]"
			if is := byName(list.is, list.was[i].Name, nameOf); is == nil {
				l.refuse(true, field, bellboards)
			} else {
				l.own(field, &list.was[i], is)
			}
		}
		for i := range list.is {
			if c := &list.is[i]; byName(list.was, c.Name, nameOf) == nil {
				l.added(list.field, c)
			}
		}
	}
}

// own holds one of Bellboard's containers to what it has to be.
func (l *lint) own(field string, was, is *corev1.Container) {
	same := func(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
	agent, daemon := was.Name == agentContainer, was.Name == dindContainer
	start := "Bellboard starts it; leave it out, and have the image do what is to be done before"
	l.refuse(!same(was.Command, is.Command), field+".command", start)
	l.refuse(!same(was.Args, is.Args), field+".args", start)
	l.refuse(agent && was.Image != is.Image, field+".image", "leave it out, and set IMAGE")
	l.refuse(!same(preStop(was), preStop(is)), field+".lifecycle.preStop", "lets a build end when somebody else deletes its pod; leave it out, and set BUILD_GRACE")
	l.refuse(is.LivenessProbe != nil, field+".livenessProbe", "ends the build of an agent that is merely slow; leave it out")
	l.refuse(!same(was.RestartPolicy, is.RestartPolicy), field+".restartPolicy", bellboards)
	if daemon {
		l.refuse(!same(was.SecurityContext, is.SecurityContext), field+".securityContext", "follows from DOCKER; leave it out")
		p := is.StartupProbe
		l.refuse(p == nil || !same(p.ProbeHandler, was.StartupProbe.ProbeHandler), field+".startupProbe", "holds the agent back until Docker answers; leave all but its times out")
	} else {
		l.privileges(field, is)
	}
	for i := range was.Env {
		e := byName(is.Env, was.Env[i].Name, func(e *corev1.EnvVar) string { return e.Name })
		l.refuse(e == nil || !same(*e, was.Env[i]), field+".env["+was.Env[i].Name+"]", bellboards)
	}
	if agent {
		l.agentEnv(field, is)
	}
	l.open(field, was, is)
	for i := range was.VolumeMounts {
		m := byName(is.VolumeMounts, was.VolumeMounts[i].MountPath, func(m *corev1.VolumeMount) string { return m.MountPath })
		l.refuse(m == nil || !same(*m, was.VolumeMounts[i]), field+".volumeMounts["+was.VolumeMounts[i].MountPath+"]", bellboards)
	}
	l.guarded(field, is, func(volume string) bool {
		return slices.ContainsFunc(was.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume })
	})
	for _, name := range slices.Sorted(maps.Keys(was.Resources.Requests)) {
		_, asks := is.Resources.Requests[name]
		l.refuse(!asks, field+".resources.requests."+string(name), "missing; leave it to CPU and MEMORY, or write how much")
	}
}

func preStop(c *corev1.Container) *corev1.LifecycleHandler {
	if c.Lifecycle == nil {
		return nil
	}
	return c.Lifecycle.PreStop
}

// imageVariables are those that the agent image's script makes arguments of, beside
// the arguments that it is given.
var imageVariables = []string{
	"JENKINS_URL", "JENKINS_TUNNEL", "JENKINS_SECRET", "JENKINS_AGENT_NAME", "JENKINS_NAME", "JENKINS_AGENT_WORKDIR", "JENKINS_WEB_SOCKET",
	"JENKINS_DIRECT_CONNECTION", "JENKINS_INSTANCE_IDENTITY", "JENKINS_PROTOCOLS",
}

func (l *lint) agentEnv(field string, is *corev1.Container) {
	for i := range is.Env {
		e := &is.Env[i]
		l.refuse(slices.Contains(imageVariables, e.Name), field+".env["+e.Name+"]", "the image would pass it to the agent a second time; leave it out")
	}
}

// open refuses a Docker that is more than a socket. What Bellboard gave the container
// is in was.
func (l *lint) open(field string, was, is *corev1.Container) {
	known := was != nil && byName(was.Env, "DOCKER_HOST", func(e *corev1.EnvVar) string { return e.Name }) != nil
	e := byName(is.Env, "DOCKER_HOST", func(e *corev1.EnvVar) string { return e.Name })
	l.refuse(!known && e != nil && strings.HasPrefix(e.Value, "tcp:"), field+".env[DOCKER_HOST]", "is a Docker that whoever reaches it may use; leave it out, and set DOCKER")
}

// guarded keeps volumes of Bellboard's from containers that have nothing to do with
// them, and what other agents may have too from where Docker keeps its data.
func (l *lint) guarded(field string, c *corev1.Container, may func(volume string) bool) {
	for _, m := range c.VolumeMounts {
		at := field + ".volumeMounts[" + m.MountPath + "]"
		l.refuse(m.Name == secretVolumeName && !may(m.Name), at, "is the agent's secret, and for the agent only; leave it out")
		l.refuse(m.Name == dockerDataVolume && !may(m.Name), at, "two on one /var/lib/docker destroy it; leave it out")
		nameOf := func(v *corev1.Volume) string { return v.Name }
		v := byName(l.pod.Spec.Volumes, m.Name, nameOf)
		l.refuse(v == nil && byName(l.base.Spec.Volumes, m.Name, nameOf) == nil, at, fmt.Sprintf("the %s agents of team %s (DOCKER=%s) have no volume %s; correct its name, or add it", l.spec.Kind, l.spec.Team, l.spec.Docker, m.Name))
		within := slices.ContainsFunc([]string{"/var/lib/docker", rootlessData}, func(dir string) bool { return strings.HasPrefix(m.MountPath+"/", dir+"/") })
		l.refuse(within && m.Name != dockerDataVolume && (v == nil || v.EmptyDir == nil && v.Ephemeral == nil), at,
			"other agents may have volume "+m.Name+" too, and two on one /var/lib/docker destroy it; leave it out, or make it emptyDir or ephemeral")
	}
}

// usual are the capabilities that a runtime gives to a container which drops none.
var usual = []corev1.Capability{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

func (l *lint) privileges(field string, c *corev1.Container) {
	sc := c.SecurityContext
	if sc == nil || l.spec.AllowHost {
		return
	}
	l.refuse(sc.Privileged != nil && *sc.Privileged, field+".securityContext.privileged", needsAllow)
	// In a user namespace of the pod's they are rights over the pod.
	if sc.Capabilities == nil || isFalse(l.pod.Spec.HostUsers) {
		return
	}
	for _, name := range sc.Capabilities.Add {
		l.refuse(!slices.Contains(usual, corev1.Capability(strings.TrimPrefix(strings.ToUpper(string(name)), "CAP_"))), field+".securityContext.capabilities.add", string(name)+" "+needsAllow)
	}
}

// added holds a container of the template's own to what a pod of Bellboard's bears.
func (l *lint) added(list string, c *corev1.Container) {
	field := list + "[" + c.Name + "]"
	if c.Image == "" {
		l.refuse(true, field, fmt.Sprintf("the %s agents of team %s (DOCKER=%s) have no such container; correct its name, set this file for another kind, or give it an image", l.spec.Kind, l.spec.Team, l.spec.Docker))
		return
	}
	l.refuse(list == "spec.containers", field, "keeps the pod when its agent has ended; make it an init container with restartPolicy: Always")
	l.privileges(field, c)
	l.open(field, nil, c)
	l.guarded(field, c, func(string) bool { return false })
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		_, asks := c.Resources.Requests[name]
		l.refuse(!asks, field+".resources.requests."+string(name), "missing, so the machine is not told; write how much it needs")
	}
}
