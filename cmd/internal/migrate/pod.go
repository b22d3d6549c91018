package migrate

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// The names that the plugin gives.
const (
	jnlp            = "jnlp"
	pluginWorkspace = "workspace-volume"
	pluginHome      = "/home/jenkins/agent"
)

// pod makes the pod that the plugin makes of a template: the template's YAML, over which its fields win.
func (t *template) pod() *corev1.Pod {
	pod := t.fieldsPod()
	pod.Annotations, pod.Labels = t.pairs("annotations"), t.cloud.podLabels()
	for _, y := range t.yamlPods() {
		whole, err := merge(y, pod)
		if err != nil {
			t.m.todo(t.at+".yaml", "", "cannot be merged ("+oneLine(err)+"), and is left out; correct it")
			continue
		}
		pod = whole
	}
	return pod
}

// fieldsPod makes a pod of the template's fields alone.
func (t *template) fieldsPod() *corev1.Pod {
	pod := &corev1.Pod{}
	spec := &pod.Spec
	spec.ServiceAccountName, spec.SchedulerName = t.value("serviceAccount"), t.value("schedulerName")
	spec.NodeSelector = map[string]string{}
	for pair := range strings.SplitSeq(t.value("nodeSelector"), ",") {
		if k, v, ok := strings.Cut(pair, "="); ok && k != "" && v != "" {
			spec.NodeSelector[strings.TrimSpace(k)] = strings.TrimSpace(v)
		} else if pair != "" {
			t.m.todo(t.at+".nodeSelector", pair, "is no key=value, and the plugin passes over it; write key=value")
		}
	}
	spec.HostNetwork = t.value("hostNetwork") != ""
	for _, s := range t.list("imagePullSecrets", "name") {
		if name := s.value("name"); name != "" {
			spec.ImagePullSecrets = append(spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
		}
		s.rest()
	}
	users := corev1.PodSecurityContext{RunAsUser: t.number("runAsUser"), RunAsGroup: t.number("runAsGroup")}
	for gid := range strings.SplitSeq(t.value("supplementalGroups"), ",") {
		if n, err := strconv.ParseInt(strings.TrimSpace(gid), 10, 64); err == nil {
			users.SupplementalGroups = append(users.SupplementalGroups, n)
		}
	}
	if grace := t.number("terminationGracePeriodSeconds"); grace != nil {
		spec.TerminationGracePeriodSeconds = grace
	}
	if users.RunAsUser != nil || users.RunAsGroup != nil || users.SupplementalGroups != nil {
		spec.SecurityContext = &users
	}
	mounts := t.volumes(spec)
	env := t.env()
	for _, o := range t.list("containers", "name") {
		c := o.container(env, mounts)
		o.rest()
		spec.Containers = append(spec.Containers, c)
	}
	t.first(spec, env, mounts)
	return pod
}

// first reads the fields of the plugin's first versions, which made one container of the template itself. With
// containers, the plugin reads them no more.
func (t *template) first(spec *corev1.PodSpec, env []corev1.EnvVar, mounts []corev1.VolumeMount) {
	old := t.m.object(t.at, t.node)
	old.taken = t.taken
	one := old.container(nil, nil)
	one.Env, one.VolumeMounts, one.Name = env, mounts, jnlp
	old.value("remoteFs")
	if t.get("containers") == nil && (one.Image != "" || len(env)+len(mounts) > 0) {
		spec.Containers = append(spec.Containers, one)
	}
}

// number returns a whole number, or nil.
func (o *object) number(name string) *int64 {
	text := o.key(name)
	n, err := strconv.ParseInt(text, 10, 64)
	if text == "" {
		return nil
	}
	if err != nil {
		o.m.todo(o.at+"."+name, text, "is no whole number; correct it")
		return nil
	}
	return &n
}

// flag returns a pointer to true, or nil.
func (o *object) flag(name string) *bool {
	if o.value(name) == "" {
		return nil
	}
	return new(true)
}

// env returns the variables of a template or a container.
func (o *object) env() (out []corev1.EnvVar) {
	for _, item := range o.list("envVars", "key") {
		_, body := item.described()
		v := o.m.object(item.at, body)
		one := corev1.EnvVar{Name: v.key("key")}
		if secret := v.value("secretName"); secret != "" {
			one.ValueFrom = &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: v.value("secretKey"), Optional: v.flag("optional"),
			}}
		} else {
			one.Value = v.key("value")
			v.taken["secretName"] = true
		}
		v.rest()
		if unresolved := !body.get("value").empty() && one.Value == ""; one.Name != "" && !unresolved {
			out = append(out, one)
		}
	}
	return out
}

// container makes a container of a container template.
func (o *object) container(env []corev1.EnvVar, mounts []corev1.VolumeMount) corev1.Container {
	c := corev1.Container{
		Name: o.key("name"), Image: o.value("image"), WorkingDir: o.value("workingDir"), TTY: o.value("ttyEnabled") != "",
		Command: words(o.value("command")), Args: words(o.value("args")),
		Env: append(append([]corev1.EnvVar{}, env...), o.env()...), VolumeMounts: append([]corev1.VolumeMount{}, mounts...),
	}
	if o.value("alwaysPullImage") != "" {
		c.ImagePullPolicy = corev1.PullAlways
	}
	rights := corev1.SecurityContext{Privileged: o.flag("privileged"), RunAsUser: o.number("runAsUser"), RunAsGroup: o.number("runAsGroup")}
	if rights != (corev1.SecurityContext{}) {
		c.SecurityContext = &rights
	}
	for name, field := range map[corev1.ResourceName]string{
		corev1.ResourceCPU: "Cpu", corev1.ResourceMemory: "Memory", corev1.ResourceEphemeralStorage: "EphemeralStorage",
	} {
		o.amount(&c.Resources.Requests, name, "resourceRequest"+field)
		o.amount(&c.Resources.Limits, name, "resourceLimit"+field)
	}
	for _, item := range o.list("ports", "name") {
		_, body := item.described()
		p := o.m.object(item.at, body)
		one := corev1.ContainerPort{Name: p.value("name")}
		for field, to := range map[string]*int32{"containerPort": &one.ContainerPort, "hostPort": &one.HostPort} {
			if n := p.number(field); n != nil {
				*to = int32(*n)
			}
		}
		p.rest()
		c.Ports = append(c.Ports, one)
	}
	if n := o.take("livenessProbe"); n != nil {
		p := o.m.object(o.at+".livenessProbe", n)
		probe := &corev1.Probe{}
		for field, to := range map[string]*int32{
			"timeoutSeconds": &probe.TimeoutSeconds, "initialDelaySeconds": &probe.InitialDelaySeconds, "failureThreshold": &probe.FailureThreshold,
			"periodSeconds": &probe.PeriodSeconds, "successThreshold": &probe.SuccessThreshold,
		} {
			if n := p.number(field); n != nil {
				*to = int32(*n)
			}
		}
		if command := words(p.value("execArgs")); len(command) > 0 { // without a command the plugin makes no probe
			probe.Exec, c.LivenessProbe = &corev1.ExecAction{Command: command}, probe
		}
		p.rest()
	}
	o.tell(map[string]remedyOf{"shell": {text: "is for the step container(), which Bellboard's agents do not have; give it to the step sh, by #! in its first line"}})
	return c
}

// amount reads a quantity into a list of resources.
func (o *object) amount(to *corev1.ResourceList, name corev1.ResourceName, field string) {
	text := o.value(field)
	if text == "" {
		return
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() <= 0 {
		o.m.todo(o.at+"."+field, text, "is no amount; write e.g. 500m, 2 or 4Gi")
		return
	}
	if *to == nil {
		*to = corev1.ResourceList{}
	}
	(*to)[name] = q
}

// words splits a command line at blanks outside of quotes, as the plugin does.
func words(line string) (out []string) {
	var word strings.Builder
	quote, inside := rune(0), false
	for _, r := range line {
		switch {
		case r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inside = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if inside {
				out = append(out, word.String())
				word.Reset()
			}
			inside = false
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	if inside {
		out = append(out, word.String())
	}
	return out
}

// volumes adds the template's volumes to the pod, and returns where its containers have them.
func (t *template) volumes(spec *corev1.PodSpec) (mounts []corev1.VolumeMount) {
	for i, item := range t.list("volumes", "mountPath") {
		symbol, body := item.described()
		v := t.m.object(item.at, body)
		dir := v.value("mountPath")
		source, ok := v.source(symbol)
		v.rest()
		if dir == "" || !ok {
			t.m.todo(item.at, symbol, "is no volume that bellboard migrate knows; write it into the pod template")
			continue
		}
		name := fmt.Sprintf("volume-%d", i)
		mount := corev1.VolumeMount{Name: name, MountPath: path.Clean(dir), SubPath: v.value("subPath")}
		if source.HostPath != nil || source.NFS != nil || source.PersistentVolumeClaim != nil {
			mount.ReadOnly = v.value("readOnly") != ""
		}
		mounts = append(mounts, mount)
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	}
	if n := t.take("workspaceVolume"); n != nil {
		symbol, body := n.described()
		v := t.m.object(t.at+".workspaceVolume", body)
		if source, ok := v.source(symbol); ok {
			if source.EmptyDir == nil || *source.EmptyDir != (corev1.EmptyDirVolumeSource{}) {
				spec.Volumes = append(spec.Volumes, corev1.Volume{Name: pluginWorkspace, VolumeSource: source})
			}
		} else {
			t.m.todo(v.at, symbol, "is no volume that bellboard migrate knows; write it into the pod template as volume workspace")
		}
		v.rest()
	}
	return mounts
}

// source makes a volume of one of the plugin's volumes.
func (o *object) source(symbol string) (out corev1.VolumeSource, ok bool) {
	o.taken["mountPath"], o.taken["subPath"], o.taken["readOnly"], o.taken["id"] = true, true, true, true
	readOnly := !o.get("readOnly").empty() && o.get("readOnly").text == "true"
	kind := strings.ToLower(symbol)
	kind = strings.TrimSuffix(strings.TrimSuffix(kind, "volume"), "workspace")
	switch kind {
	case "emptydir":
		dir := &corev1.EmptyDirVolumeSource{}
		if o.value("memory") != "" {
			dir.Medium = corev1.StorageMediumMemory
		}
		limits := corev1.ResourceList{}
		if o.amount(&limits, "size", "sizeLimit"); len(limits) > 0 {
			size := limits["size"]
			dir.SizeLimit = &size
		}
		out.EmptyDir = dir
	case "hostpath":
		out.HostPath = &corev1.HostPathVolumeSource{Path: o.value("hostPath")}
	case "nfs":
		out.NFS = &corev1.NFSVolumeSource{Server: o.value("serverAddress"), Path: o.value("serverPath"), ReadOnly: readOnly}
	case "secret":
		s := &corev1.SecretVolumeSource{SecretName: o.value("secretName"), Optional: o.flag("optional")}
		if mode, err := strconv.ParseInt(o.value("defaultMode"), 10, 32); err == nil { // the plugin, too, reads a decimal number
			s.DefaultMode = new(int32(mode))
		}
		out.Secret = s
	case "configmap":
		out.ConfigMap = &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: o.value("configMapName")}, Optional: o.flag("optional"),
		}
	case "persistentvolumeclaim":
		out.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: o.value("claimName"), ReadOnly: readOnly}
	case "dynamicpvc", "genericephemeral":
		claim := corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}}
		if mode := o.value("accessModes"); mode != "" {
			claim.AccessModes[0] = corev1.PersistentVolumeAccessMode(mode)
		}
		if class := o.value("storageClassName"); class != "" {
			claim.StorageClassName = &class
		}
		if o.amount(&claim.Resources.Requests, corev1.ResourceStorage, "requestsSize"); claim.Resources.Requests == nil {
			claim.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")} // the plugin's default
		}
		out.Ephemeral = &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: claim}}
	default:
		return out, false
	}
	return out, true
}

// podLabels returns the labels that a cloud gives its pods.
func (c *cloud) podLabels() map[string]string {
	out := c.pairs("podLabels")
	for _, e := range c.list("labels", "") { // the form of old files: entries of two strings
		if len(e.items) == 2 {
			out[e.items[0].text] = e.items[1].text
		}
	}
	return out
}

// yamlPods reads the template's YAML: with the strategy merge all that it inherits, otherwise the last one.
func (t *template) yamlPods() (out []*corev1.Pod) {
	t.taken["yaml"], t.taken["yamls"], t.taken[allYAML] = true, true, true
	all := t.get(allYAML).items
	merging := false
	if s := t.get("yamlMergeStrategy"); s != nil {
		symbol, _ := s.described()
		merging = strings.EqualFold(symbol, "merge")
	}
	if len(all) > 1 && !merging {
		all = all[len(all)-1:]
	}
	at := t.at + ".yaml"
	for _, y := range slices.Backward(all) {
		text := y.text
		if v := t.m.resolve(at, text); v != "" {
			text = v
		}
		doc, err := kyaml.YAMLToJSONStrict([]byte(text))
		pod := &corev1.Pod{}
		var unknown []error
		if err == nil {
			unknown, err = kjson.UnmarshalStrict(doc, pod)
		}
		if err != nil {
			t.m.todo(at, "", "cannot be read ("+oneLine(err)+"), and is left out; correct it")
			continue
		}
		for _, u := range unknown {
			t.m.todo(at, "", oneLine(u)+": a pod has no such field; leave it out")
		}
		out = append(out, pod)
	}
	return out
}

// merge returns a pod with what another pod has beyond it. What the child says wins.
func merge(parent, child *corev1.Pod) (*corev1.Pod, error) {
	parent.Status, parent.CreationTimestamp, parent.TypeMeta = corev1.PodStatus{}, metav1.Time{}, metav1.TypeMeta{}
	under, err := runtime.DefaultUnstructuredConverter.ToUnstructured(parent)
	if err != nil {
		return nil, err
	}
	over, err := runtime.DefaultUnstructuredConverter.ToUnstructured(child)
	if err != nil {
		return nil, err
	}
	withoutNulls(over) // null would remove what the parent has
	merged, err := strategicpatch.StrategicMergeMapPatch(under, over, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	out := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(merged, out); err != nil {
		return nil, err
	}
	out.Spec.Tolerations = slices.Concat(parent.Spec.Tolerations, child.Spec.Tolerations)
	return out, nil
}

func withoutNulls(at map[string]any) {
	for name, value := range at {
		if o, ok := value.(map[string]any); ok {
			withoutNulls(o)
		} else if value == nil {
			delete(at, name)
		}
	}
}
