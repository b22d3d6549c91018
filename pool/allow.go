package pool

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// A row of the table is each of the fields under each of the places. A check of nil takes any value.
type row struct {
	places, fields string
	check          func(l *lint, field string, was, is any)
}

// allowed is all that a template may change, by field. [name] is an element of a list that
// Bellboard makes, [+] one that the template adds. Bellboard's own elements stay.
var allowed = table([]row{
	{"metadata", "labels[+] annotations[+]", nil},

	{"spec", "affinity dnsConfig dnsPolicy hostAliases imagePullSecrets preemptionPolicy priorityClassName resourceClaims resources runtimeClassName", nil},
	{"spec", "schedulerName serviceAccountName setHostnameAsFQDN shareProcessNamespace tolerations topologySpreadConstraints", nil},
	{"spec", "hostIPC hostNetwork hostPID", machine},
	{"spec", "hostUsers", hostUsers},
	{"spec", "hostname subdomain", hostname},
	{"spec", "nodeSelector", nodeSelector},
	{"spec", "os.name", linux},
	{"spec", "terminationGracePeriodSeconds", grace},
	{"spec.securityContext", "fsGroupChangePolicy supplementalGroups supplementalGroupsPolicy sysctls", nil},

	{volumes, "configMap csi downwardAPI emptyDir ephemeral image nfs persistentVolumeClaim secret", nil},
	{volumes, "hostPath", machine},
	{volumes, "projected", tokens},
	{"spec.volumes[+]", "name", nil},
	{"spec.volumes[docker-data]", "emptyDir", dockerDataKept},

	{inAgent + inCLI + inDind + inAdded, "envFrom imagePullPolicy lifecycle.postStart resizePolicy terminationMessagePath terminationMessagePolicy workingDir", nil},
	{inAgent + inCLI + inDind + inAdded, "env[+]", env},
	{inAgent + inCLI + inDind + inAdded, "volumeMounts[+]", mount},
	{inAgent + inCLI + inDind + inAdded, "ports", ports},
	{inAgent + inCLI + inDind + inAdded, "resources", requests},
	{inAgent, "readinessProbe tty", nil},
	{inCLI + inDind, "image", nil},
	{inDind, "startupProbe.failureThreshold startupProbe.initialDelaySeconds startupProbe.periodSeconds startupProbe.terminationGracePeriodSeconds startupProbe.timeoutSeconds", nil},
	{inAdded, "args command image lifecycle.preStop livenessProbe name readinessProbe restartPolicy startupProbe tty", nil},
	{securities, "appArmorProfile runAsGroup runAsNonRoot runAsUser seLinuxOptions.level seccompProfile", nil},
	{securities, "seLinuxOptions.role seLinuxOptions.type seLinuxOptions.user", machine},
	{containerSecurity, "allowPrivilegeEscalation capabilities.drop readOnlyRootFilesystem", nil},
	{containerSecurity, "capabilities.add", capabilities},
	{containerSecurity, "privileged", machine},
})

// Places of the table.
const (
	inAgent = " spec.containers[agent]"
	inCLI   = " spec.initContainers[docker-cli]"
	inDind  = " spec.initContainers[dind]"
	inAdded = " spec.initContainers[+]"

	containerSecurity = inAgent + ".securityContext" + inCLI + ".securityContext" + inAdded + ".securityContext"
	securities        = "spec.securityContext" + containerSecurity
	volumes           = "spec.volumes[workspace] spec.volumes[jenkins-home] spec.volumes[tmp] spec.volumes[+]"
)

const (
	reservedName   = "Bellboard's own; leave it out"
	needsAllowHost = "belongs to the machine, and every build could take that over; leave it out, or set ALLOW_HOST_DOCKER=true if that is meant"
	startFixed     = "Bellboard starts it; leave it out, and have the image do what is to be done before"
	dataFixed      = "where Docker's data are follows from the kind, and each agent has a claim of its own; leave it out, and set CACHE_SIZE and STORAGE_CLASS"
)

// remedies is the remedy for some of the fields that are not allowed.
var remedies = map[string]string{ //nolint:gosec // G101: words
	"metadata.namespace":                              "leave it out, and set NAMESPACE",
	"spec.activeDeadlineSeconds":                      "ends the build that runs then; leave it out, and give the job a timeout",
	"spec.automountServiceAccountToken":               "every build could read a token of the cluster; leave it out",
	"spec.containers[+]":                              "keeps the pod when its agent has ended; make it an init container with restartPolicy: Always",
	"spec.containers[agent].args":                     startFixed,
	"spec.containers[agent].command":                  startFixed,
	"spec.containers[agent].image":                    "leave it out, and set IMAGE",
	"spec.containers[agent].lifecycle.preStop":        "lets a build end when somebody else deletes its pod; leave it out, and set BUILD_GRACE",
	"spec.containers[agent].livenessProbe":            "ends the build of an agent that is merely slow; leave it out",
	"spec.enableServiceLinks":                         "every Service would change what builds find in their environment; leave it out",
	"spec.initContainers[dind].args":                  startFixed,
	"spec.initContainers[dind].livenessProbe":         "ends the build of a daemon that is merely slow; leave it out",
	"spec.initContainers[dind].securityContext":       "follows from DOCKER; leave it out",
	"spec.initContainers[dind].startupProbe.exec":     "holds the agent back until Docker answers; leave it out",
	"spec.nodeName":                                   "takes the choice from the scheduler, full or not; leave it out, and set NODE_SELECTOR",
	"spec.restartPolicy":                              "an agent that is started again has lost its build; leave it out",
	"spec.securityContext.fsGroup":                    "with another group the agent cannot read its secret; leave it out",
	"spec.volumes[docker-data].ephemeral":             dataFixed,
	"spec.volumes[docker-data].persistentVolumeClaim": dataFixed,
}

func table(rows []row) map[string]row {
	out := map[string]row{}
	for _, r := range rows {
		for place := range strings.FieldsSeq(r.places) {
			for field := range strings.FieldsSeq(r.fields) {
				out[place+"."+field] = r
			}
		}
	}
	return out
}

// allowedIn names what a template may change within a field.
func allowedIn(name string) (names []string) {
	for field := range allowed {
		if rest, ok := strings.CutPrefix("."+field, strings.TrimSuffix("."+name, ".")); ok && strings.ContainsAny(rest[:1], ".[") {
			names = append(names, strings.FieldsFunc(rest, func(r rune) bool { return r == '.' || r == '[' })[0])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TemplateMistakes finds all that the spec's template changes of an agent's pod and may not.
func (s Spec) TemplateMistakes() []error {
	s = s.withDefaults()
	t := s.Template
	if t == nil {
		return nil
	}
	s.Template = nil
	base := build(&s, "name")
	pod, err := t.merge(base)
	if err != nil {
		return []error{&TemplateMistake{Remedy: err.Error()}}
	}
	l := &lint{spec: &s, template: t, base: base, pod: pod}
	l.compare("", "", fieldsOf(base), fieldsOf(pod))
	slices.SortStableFunc(l.found, func(a, b *TemplateMistake) int { return cmp.Compare(a.Line, b.Line) })
	var out []error
	for _, m := range l.found {
		out = append(out, m)
	}
	return out
}

// fieldsOf is the pod as JSON has it.
func fieldsOf(pod *corev1.Pod) (out object) {
	b, err := json.Marshal(pod)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		panic("pool: an API object that JSON cannot hold: " + err.Error())
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

// compare refuses each difference that is not allowed. A field of an element that the template
// adds has two names: its own, and the one in the table.
func (l *lint) compare(name, field string, was, is any) {
	if reflect.DeepEqual(was, is) {
		return
	}
	r, ok := allowed[name]
	key, list := mergeKeys[name[strings.LastIndex(name, ".")+1:]]
	switch {
	case ok && r.check != nil:
		r.check(l, field, was, is)
	case ok:
	case len(allowedIn(name)) == 0:
		l.refuse(true, field, remedy(name))
	case list:
		l.elements(name, field, l.byKey(field, was, key), l.byKey(field, is, key))
	default:
		a, b := as[object](was), as[object](is)
		for _, k := range union(a, b) {
			l.compare(strings.TrimPrefix(name+"."+k, "."), strings.TrimPrefix(field+"."+k, "."), a[k], b[k])
		}
	}
}

// remedy is what to do about a field that is not in the table.
func remedy(name string) string {
	if r := remedies[name]; r != "" {
		return r
	}
	if strings.HasSuffix(name, "]") {
		return reservedName
	}
	return "not for a template; leave it out (here it may set " + strings.Join(allowedIn(name[:max(0, strings.LastIndex(name, "."))]), ", ") + ")"
}

// mergeKeys are the lists that Kubernetes merges by a name, and the field of that name. Of a map
// the keys are the names.
var mergeKeys = map[string]string{"containers": "name", "initContainers": "name", "volumes": "name", "env": "name", "volumeMounts": "mountPath", "labels": "", "annotations": ""}

func (l *lint) elements(list, field string, was, is object) {
	for _, k := range union(was, is) {
		at := field + "[" + k + "]"
		_, ours := was[k]
		e, stays := is[k]
		switch image := as[object](e)["image"]; {
		case !stays || !ours && strings.HasPrefix(k, "bellboard.dev/"):
			l.refuse(true, at, reservedName)
		case ours:
			l.compare(list+"["+k+"]", at, was[k], e)
		case strings.HasSuffix(list, "ontainers") && image == nil:
			l.refuse(true, at, fmt.Sprintf("%s have no such container; correct its name, set this file for another kind, or give it an image", l.agents()))
		default:
			l.compare(list+"[+]", at, nil, e)
		}
		if sources := union(as[object](e)); list == "spec.volumes" && len(sources) > 2 { // and its name
			sources = slices.DeleteFunc(sources, func(s string) bool { return s == "name" })
			l.refuse(true, at, "is "+strings.Join(sources, " and ")+" at once; set the one that Bellboard gives it to null")
		}
	}
}

// agents names the agents of the spec.
func (l *lint) agents() string {
	return fmt.Sprintf("the %s agents of team %s (DOCKER=%s)", l.spec.Kind, l.spec.Team, l.spec.Docker)
}

type object = map[string]any

// as is the value where it is of that type, and else none.
func as[T any](v any) T {
	out, _ := v.(T)
	return out
}

// byKey is a list's elements by their names, each of which may be there once.
func (l *lint) byKey(field string, list any, key string) object {
	if key == "" {
		return as[object](list)
	}
	out := object{}
	for _, e := range as[[]any](list) {
		name := as[string](as[object](e)[key])
		l.refuse(out[name] != nil, field+"["+name+"]", "is there twice; leave one of them out")
		out[name] = e
	}
	return out
}

// union is the keys of all maps, in order.
func union(all ...object) []string {
	keys := object{}
	for _, m := range all {
		maps.Copy(keys, m)
	}
	return slices.Sorted(maps.Keys(keys))
}

// machine is the check of what gives builds the machine.
func machine(l *lint, field string, _, is any) {
	l.refuse(is != nil && is != false && !l.spec.AllowHost, field, needsAllowHost)
}

func hostUsers(l *lint, field string, _, is any) {
	switch l.spec.Docker {
	case DockerUserns:
		l.refuse(is != false, field, "DOCKER=userns is this being false; leave it out")
	case DockerDind, DockerRootless:
		l.refuse(is == false, field, "a privileged daemon cannot begin in a user namespace; leave it out, and set DOCKER=userns")
	case DockerNone, DockerSysbox, DockerHost:
	}
}

func hostname(l *lint, field string, was, _ any) {
	l.refuse(was != nil, field, "Jenkins calls the agent by this name; leave it out")
}

func nodeSelector(l *lint, field string, _, _ any) {
	wrong := NotLinux(l.pod.Spec.NodeSelector)
	l.refuse(wrong != "", field, wrong)
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

func linux(l *lint, field string, _, is any) {
	l.refuse(is != string(corev1.Linux), field, "Bellboard's agents are for Linux only; leave it out")
}

func grace(l *lint, field string, _, _ any) {
	was, is := *l.base.Spec.TerminationGracePeriodSeconds, l.pod.Spec.TerminationGracePeriodSeconds
	l.refuse(is == nil || *is < was, field, fmt.Sprintf("less than the %d that BUILD_GRACE makes of it: builds would be cut off; leave it out, and set BUILD_GRACE", was))
}

func dockerDataKept(l *lint, field string, _, is any) { l.refuse(is == nil, field, dataFixed) }

// tokens refuses a token with which the cluster's API can be asked. A token for somebody else (a
// cloud, a vault) is worth nothing there.
func tokens(l *lint, field string, _, is any) {
	for i, source := range as[[]any](as[object](is)["sources"]) {
		at := fmt.Sprintf("%s.sources[%d]", field, i)
		for _, kind := range union(as[object](source)) {
			l.refuse(!slices.Contains([]string{"clusterTrustBundle", "configMap", "downwardAPI", "secret", "serviceAccountToken"}, kind), at+"."+kind, "not for a template; leave it out")
		}
		token := as[object](source)["serviceAccountToken"]
		audience := as[string](as[object](token)["audience"])
		host := strings.TrimPrefix(audience, "https://")
		const remedy = "the cluster itself takes this token, and every build could read it; leave it out, or give the audience of whom it is for"
		l.refuse(token != nil && audience == "", at+".serviceAccountToken", remedy)
		l.refuse(host == "api" || host == "kubernetes" || strings.HasPrefix(host, "kubernetes.default"), at+".serviceAccountToken.audience", audience+": "+remedy)
	}
}

// imageVariables are those that the agent image's script makes arguments of, beside the arguments
// that it is given.
var imageVariables = []string{
	"JENKINS_URL", "JENKINS_TUNNEL", "JENKINS_SECRET", "JENKINS_AGENT_NAME", "JENKINS_NAME", "JENKINS_AGENT_WORKDIR", "JENKINS_WEB_SOCKET",
	"JENKINS_DIRECT_CONNECTION", "JENKINS_INSTANCE_IDENTITY", "JENKINS_PROTOCOLS",
}

func env(l *lint, field string, _, is any) {
	name, value := as[string](as[object](is)["name"]), as[string](as[object](is)["value"])
	l.refuse(of(field, inAgent) && slices.Contains(imageVariables, name), field, "the image would pass it to the agent a second time; leave it out")
	l.refuse(name == "DOCKER_HOST" && !strings.HasPrefix(value, "unix:") && !strings.HasPrefix(value, "ssh:"), field, "may be a Docker that whoever reaches it may use; leave it out, and set DOCKER")
}

// of reports whether a field is of that container.
func of(field, container string) bool { return strings.HasPrefix(field, container[1:]+".") }

// mount keeps volumes of Bellboard's from containers that have nothing to do with them, and
// volumes that other agents may have too from where Docker keeps its data.
func mount(l *lint, field string, _, is any) {
	name, path := as[string](as[object](is)["name"]), as[string](as[object](is)["mountPath"])
	find := func(pod *corev1.Pod) *corev1.Volume {
		return byName(pod.Spec.Volumes, name, func(v *corev1.Volume) string { return v.Name })
	}
	v := find(l.pod)
	l.refuse(name == secretVolumeName && !of(field, inAgent), field, "is the agent's secret, and for the agent only; leave it out")
	l.refuse(name == dockerDataVolume && !of(field, inDind), field, "two on one /var/lib/docker destroy it; leave it out")
	l.refuse(v == nil && find(l.base) == nil, field, l.agents()+" have no volume "+name+"; correct its name, or add it")
	inside := slices.ContainsFunc([]string{"/var/lib/docker", rootlessData}, func(dir string) bool { return strings.HasPrefix(path+"/", dir+"/") })
	l.refuse(inside && name != dockerDataVolume && (v == nil || v.EmptyDir == nil && v.Ephemeral == nil), field,
		"other agents may have volume "+name+" too, and two on one /var/lib/docker destroy it; leave it out, or make it emptyDir or ephemeral")
}

func ports(l *lint, field string, _, is any) {
	for _, port := range as[[]any](is) {
		l.refuse((as[object](port)["hostPort"] != nil || as[object](port)["hostIP"] != nil) && !l.spec.AllowHost, field, "a port of the machine "+needsAllowHost)
	}
}

// requests refuses a container for which the scheduler keeps nothing free, but where the settings
// ask for nothing either.
func requests(l *lint, field string, was, is any) {
	names := []string{"cpu", "memory"}
	if of(field, inAgent) || of(field, inCLI) || of(field, inDind) {
		names = union(as[object](as[object](was)["requests"]))
	}
	for _, name := range names {
		l.refuse(as[object](as[object](is)["requests"])[name] == nil, field+".requests."+name, "missing, so the scheduler does not know what the container needs; write how much")
	}
}

// usual are the capabilities that a runtime gives to a container which drops none.
var defaultCapabilities = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

func capabilities(l *lint, field string, _, is any) {
	if hostUsers := l.pod.Spec.HostUsers; l.spec.AllowHost || hostUsers != nil && !*hostUsers { // in a user namespace they are rights over the pod
		return
	}
	for _, name := range as[[]any](is) {
		l.refuse(!slices.Contains(defaultCapabilities, strings.TrimPrefix(strings.ToUpper(as[string](name)), "CAP_")), field, as[string](name)+" "+needsAllowHost)
	}
}
