package pool

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// A row of the table stands for each of its fields under each of its paths. If check is nil, every value is
// allowed.
type row struct {
	paths, fields string
	check         func(l *lint, field string, was, is any)
}

// allowed has all fields that a template may change. [name] is an element of a list that Bellboard makes, and
// [+] is an element that the template adds. Bellboard's own elements stay.
var allowed = table([]row{
	{"metadata", "labels[+] annotations[+]", nil},

	{"spec", "affinity dnsConfig dnsPolicy hostAliases imagePullSecrets preemptionPolicy priorityClassName", nil},
	{"spec", "resourceClaims resources runtimeClassName schedulerName serviceAccountName setHostnameAsFQDN", nil},
	{"spec", "shareProcessNamespace tolerations topologySpreadConstraints", nil},
	{"spec", "hostIPC hostNetwork hostPID", needsAllowHost},
	{"spec", "hostUsers", hostUsers},
	{"spec", "hostname subdomain", hostname},
	{"spec", "nodeSelector", nodeSelector},
	{"spec", "os.name", linuxOnly},
	{"spec", "terminationGracePeriodSeconds", gracePeriod},
	{"spec.securityContext", "fsGroupChangePolicy supplementalGroups supplementalGroupsPolicy sysctls", nil},

	{volumes, "configMap csi downwardAPI emptyDir ephemeral image nfs persistentVolumeClaim secret", nil},
	{volumes, "hostPath", needsAllowHost},
	{volumes, "projected", projected},
	{"spec.volumes[+]", "name", nil},
	{"spec.volumes[docker-data]", "emptyDir", dockerDataStays},

	{everyContainer, "envFrom imagePullPolicy lifecycle.postStart resizePolicy workingDir", nil},
	{everyContainer, "terminationMessagePath terminationMessagePolicy", nil},
	{everyContainer, "env[+]", env},
	{everyContainer, "volumeMounts[+]", volumeMount},
	{everyContainer, "ports", ports},
	{everyContainer, "resources", requests},
	{inAgent, "readinessProbe tty", nil},
	{inCLI + inDind, "image", nil},
	{inDind, "startupProbe.failureThreshold startupProbe.initialDelaySeconds startupProbe.periodSeconds", nil},
	{inDind, "startupProbe.terminationGracePeriodSeconds startupProbe.timeoutSeconds", nil},
	{inAdded, "args command image lifecycle.preStop livenessProbe name readinessProbe", nil},
	{inAdded, "restartPolicy startupProbe tty", nil},
	{podOrContainer, "appArmorProfile runAsGroup runAsNonRoot runAsUser seLinuxOptions.level seccompProfile", nil},
	{podOrContainer, "seLinuxOptions.role seLinuxOptions.type seLinuxOptions.user", needsAllowHost},
	{containerSecurity, "allowPrivilegeEscalation capabilities.drop readOnlyRootFilesystem", nil},
	{containerSecurity, "capabilities.add", capabilities},
	{containerSecurity, "privileged", needsAllowHost},
})

// The paths of the table.
const (
	inAgent = " spec.containers[agent]"
	inCLI   = " spec.initContainers[docker-cli]"
	inDind  = " spec.initContainers[dind]"
	inAdded = " spec.initContainers[+]"

	everyContainer    = inAgent + inCLI + inDind + inAdded
	containerSecurity = inAgent + ".securityContext" + inCLI + ".securityContext" + inAdded + ".securityContext"
	podOrContainer    = "spec.securityContext" + containerSecurity
	volumes           = "spec.volumes[workspace] spec.volumes[jenkins-home] spec.volumes[tmp] spec.volumes[+]"
)

const (
	reservedName = "Bellboard's own; leave it out"
	allowHost    = "belongs to the machine, and every build could take that over; " +
		"leave it out, or set ALLOW_HOST_DOCKER=true if that is meant"
	startFixed = "Bellboard starts it; leave it out, and have the image do what is to be done before"
	dataFixed  = "where Docker's data are follows from the kind, and each agent has a claim of its own; " +
		"leave it out, and set CACHE_SIZE and STORAGE_CLASS"
)

// remedies has the remedy for some of the fields that are not allowed.
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

// table returns the rows by path and field.
func table(rows []row) map[string]row {
	out := map[string]row{}
	for _, r := range rows {
		for path := range strings.FieldsSeq(r.paths) {
			for field := range strings.FieldsSeq(r.fields) {
				out[path+"."+field] = r
			}
		}
	}
	return out
}

// allowedIn returns the names of the fields that a template may change within a field.
func allowedIn(name string) []string {
	names := map[string]bool{}
	for field := range allowed {
		rest, ok := strings.CutPrefix("."+field, strings.TrimSuffix("."+name, "."))
		if ok && strings.ContainsAny(rest[:1], ".[") {
			names[strings.FieldsFunc(rest, func(r rune) bool { return r == '.' || r == '[' })[0]] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// TemplateMistakes returns all changes of the spec's template that are not allowed.
func (s Spec) TemplateMistakes() []error {
	if s.Template == nil {
		return nil
	}
	base := plainPod(&s, "name")
	pod, err := s.Template.merge(base)
	if err != nil {
		return []error{&TemplateMistake{Remedy: err.Error()}}
	}
	l := &lint{spec: &s, base: base, pod: pod}
	l.compare("", "", fieldsOf(base), fieldsOf(pod))
	slices.SortStableFunc(l.found, func(a, b *TemplateMistake) int { return cmp.Compare(a.Line, b.Line) })
	var out []error
	for _, m := range l.found {
		out = append(out, m)
	}
	return out
}

// A lint compares a pod (base) with the same pod after its template.
type lint struct {
	spec      *Spec
	base, pod *corev1.Pod
	found     []*TemplateMistake
}

// reject adds a mistake if wrong is true.
func (l *lint) reject(wrong bool, field, remedy string) {
	if wrong {
		l.found = append(l.found, &TemplateMistake{l.spec.Template.line(field), field, remedy})
	}
}

// compare rejects each difference that the table does not allow. field is the field's own name, and name is
// its name in the table. For the elements that the template adds, field and name differ.
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
		l.reject(true, field, remedyFor(name))
	case list:
		l.elements(name, field, l.byKey(field, was, key), l.byKey(field, is, key))
	default:
		a, b := as[object](was), as[object](is)
		for _, k := range keys(a, b) {
			l.compare(strings.TrimPrefix(name+"."+k, "."), strings.TrimPrefix(field+"."+k, "."), a[k], b[k])
		}
	}
}

// remedyFor returns the remedy for a field that is not in the table.
func remedyFor(name string) string {
	if strings.HasSuffix(name, "]") {
		return cmp.Or(remedies[name], reservedName)
	}
	around := name[:max(0, strings.LastIndex(name, "."))]
	others := "not for a template; leave it out (here it may set " + strings.Join(allowedIn(around), ", ") + ")"
	return cmp.Or(remedies[name], others)
}

// mergeKeys has the lists that Kubernetes merges by a key, and the field that is the key. The empty key
// stands for the keys of a map.
var mergeKeys = map[string]string{
	"containers": "name", "initContainers": "name", "volumes": "name", "env": "name", "volumeMounts": "mountPath",
	"labels": "", "annotations": "",
}

// elements compares the elements of a list.
func (l *lint) elements(list, field string, was, is object) {
	for _, k := range keys(was, is) {
		at, added := field+"["+k+"]", was[k] == nil
		e := as[object](is[k])
		switch {
		case is[k] == nil, added && strings.HasPrefix(k, "bellboard.dev/"):
			l.reject(true, at, reservedName)
		case !added:
			l.compare(list+"["+k+"]", at, was[k], is[k])
		case strings.HasSuffix(list, "ontainers") && e["image"] == nil:
			l.reject(true, at, l.spec.agents()+" have no such container; "+
				"correct its name, set this file for another kind, or give it an image")
		default:
			l.compare(list+"[+]", at, nil, is[k])
		}
		if list == "spec.volumes" && len(e) > 2 { // a name and two sources
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

// The checks of the table follow.

// needsAllowHost rejects what gives builds rights over the Kubernetes node, unless AllowHost is set.
func needsAllowHost(l *lint, field string, _, is any) {
	l.reject(is != nil && is != false && !l.spec.AllowHost, field, allowHost)
}

func hostUsers(l *lint, field string, _, is any) {
	mode := l.spec.Docker
	l.reject(mode == DockerUserns && is != false, field, "DOCKER=userns is this being false; leave it out")
	l.reject((mode == DockerDind || mode == DockerRootless) && is == false, field,
		"a privileged daemon cannot begin in a user namespace; leave it out, and set DOCKER=userns")
}

func hostname(l *lint, field string, was, _ any) {
	l.reject(was != nil, field, "Jenkins calls the agent by this name; leave it out")
}

func nodeSelector(l *lint, field string, _, _ any) {
	wrong := NotLinux(l.pod.Spec.NodeSelector)
	l.reject(wrong != "", field, wrong)
}

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

func linuxOnly(l *lint, field string, _, is any) {
	l.reject(is != string(corev1.Linux), field, "Bellboard's agents are for Linux only; leave it out")
}

func gracePeriod(l *lint, field string, _, _ any) {
	was, is := *l.base.Spec.TerminationGracePeriodSeconds, l.pod.Spec.TerminationGracePeriodSeconds
	l.reject(is == nil || *is < was, field, fmt.Sprintf("less than the %d s that BUILD_GRACE gives: "+
		"builds would be cut off; leave it out, and set BUILD_GRACE", was))
}

func dockerDataStays(l *lint, field string, _, is any) { l.reject(is == nil, field, dataFixed) }

// projected rejects a token with which a build can use the cluster's API. A token for somebody else, such as
// a cloud or a vault, is worth nothing there.
func projected(l *lint, field string, _, is any) {
	const remedy = "the cluster itself accepts this token, and every build could read it; " +
		"leave it out, or give the audience that the token is for"
	for i, source := range as[[]any](as[object](is)["sources"]) {
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

// imageVariables has the variables that the agent image's script turns into arguments, beside the arguments
// that Bellboard gives.
var imageVariables = []string{
	"JENKINS_URL", "JENKINS_TUNNEL", "JENKINS_SECRET", "JENKINS_AGENT_NAME", "JENKINS_NAME", "JENKINS_AGENT_WORKDIR",
	"JENKINS_WEB_SOCKET", "JENKINS_DIRECT_CONNECTION", "JENKINS_INSTANCE_IDENTITY", "JENKINS_PROTOCOLS",
}

func env(l *lint, field string, _, is any) {
	name, value := as[string](as[object](is)["name"]), as[string](as[object](is)["value"])
	l.reject(isIn(field, inAgent) && slices.Contains(imageVariables, name), field,
		"the image would pass it to the agent a second time; leave it out")
	private := strings.HasPrefix(value, "unix:") || strings.HasPrefix(value, "ssh:")
	l.reject(name == "DOCKER_HOST" && !private, field,
		"everybody who reaches that Docker may be able to use it; leave it out, and set DOCKER")
}

// isIn reports whether a field belongs to that container.
func isIn(field, container string) bool { return strings.HasPrefix(field, container[1:]+".") }

// volumeMount keeps two things apart: Bellboard's volumes from containers that do not need them, and volumes
// that several agents may share from the directory of Docker's data.
func volumeMount(l *lint, field string, _, is any) {
	name, path := as[string](as[object](is)["name"]), as[string](as[object](is)["mountPath"])
	find := func(pod *corev1.Pod) int {
		return slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
	}
	l.reject(name == secretVolumeName && !isIn(field, inAgent), field,
		"is the agent's secret, and for the agent only; leave it out")
	l.reject(name == dockerDataVolume && !isIn(field, inDind), field,
		"two daemons on one /var/lib/docker destroy it; leave it out")
	at := find(l.pod)
	l.reject(at < 0 && find(l.base) < 0, field,
		l.spec.agents()+" have no volume "+name+"; correct its name, or add it")
	shared := at < 0 || l.pod.Spec.Volumes[at].EmptyDir == nil && l.pod.Spec.Volumes[at].Ephemeral == nil
	inside := strings.HasPrefix(path+"/", "/var/lib/docker/") || strings.HasPrefix(path+"/", rootlessData+"/")
	l.reject(inside && name != dockerDataVolume && shared, field, "other agents may have volume "+name+" too, "+
		"and two daemons on one /var/lib/docker destroy it; leave it out, or make it emptyDir or ephemeral")
}

func ports(l *lint, field string, _, is any) {
	for _, port := range as[[]any](is) {
		onHost := as[object](port)["hostPort"] != nil || as[object](port)["hostIP"] != nil
		l.reject(onHost && !l.spec.AllowHost, field, "a port of the Kubernetes node "+allowHost)
	}
}

// requests rejects a container for which the scheduler reserves nothing. If the settings ask for nothing
// either, that is meant.
func requests(l *lint, field string, was, is any) {
	names := []string{"cpu", "memory"}
	if was != nil { // one of Bellboard's containers
		names = keys(as[object](as[object](was)["requests"]))
	}
	for _, name := range names {
		l.reject(as[object](as[object](is)["requests"])[name] == nil, field+".requests."+name,
			"missing, so the scheduler does not know what the container needs; write how much")
	}
}

// defaultCapabilities has the capabilities that a runtime gives to a container which drops none.
var defaultCapabilities = []string{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
	"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

func capabilities(l *lint, field string, _, is any) {
	hostUsers := l.pod.Spec.HostUsers
	if l.spec.AllowHost || hostUsers != nil && !*hostUsers { // in a user namespace they are rights over the pod only
		return
	}
	for _, capability := range as[[]any](is) {
		name := as[string](capability)
		known := slices.Contains(defaultCapabilities, strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
		l.reject(!known, field, name+" "+allowHost)
	}
}
