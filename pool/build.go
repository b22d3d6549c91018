package pool

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"bellboard/scaler"
)

// minGrace is the shortest grace of a pod that somebody else deletes. With so much more than
// deletionGraceSeconds, such a deletion never looks like Bellboard's.
const minGrace = 30 * time.Second

// Build makes an agent's pod, always the same of the same Spec and name. The Spec's template has no mistakes.
func Build(s Spec, name string) *corev1.Pod {
	pod := build(&s, name)
	pod.Annotations[AnnotationSpecHash] = s.Hash()
	return pod
}

// Objects returns all objects of an agent of that name, but for the Secret, whose content only Jenkins knows.
func Objects(s Spec, name string) []runtime.Object {
	objects := []runtime.Object{Build(s, name)}
	if s.HasClaim() {
		objects = append(objects, BuildClaim(s, name))
	}
	return objects
}

// build makes an agent's pod without AnnotationSpecHash.
func build(s *Spec, name string) *corev1.Pod {
	if s.Template == nil {
		return plainPod(s, name)
	}
	merged, err := s.Template.merge(plainPod(s, name))
	if err != nil {
		panic("pool: a template that was not checked: " + err.Error())
	}
	if merged.Spec.HostPID { // the Kubernetes node's init waits for orphans; a pod cannot have both
		merged.Spec.ShareProcessNamespace = nil
	}
	return merged
}

//go:embed manifests
var manifestFiles embed.FS

// manifests has the objects that Bellboard makes. Their texts are in YAML's double quotes, with the escapes of
// Go or of JSON, which YAML has, too. So no text of a setting changes the object around it.
var manifests = template.Must(template.New("").Funcs(template.FuncMap{
	"quote":  quote,
	"escape": func(s string) string { return quote(strings.ReplaceAll(s, "$", "$$")) },
	"script": script,
	"underInit": func(program ...string) (string, error) {
		list, err := json.Marshal(underInit(program...))
		return string(list), err
	},
	"official":     inboundImage.MatchString,
	"describe":     scaler.Describe,
	"trimRight":    strings.TrimRight,
	"daemonScript": daemonScript,
	"javaOptions":  javaOptions,
}).ParseFS(manifestFiles, "manifests/*.yaml"))

func quote(text any) string { return fmt.Sprintf("%+q", text) }

// fillIn makes an object of a manifest.
func fillIn(manifest string, s *Spec, name string, object metav1.Object) {
	var text bytes.Buffer
	err := manifests.ExecuteTemplate(&text, manifest, struct {
		*Spec
		Name                                        string
		Grace, PreStop                              int64 // seconds
		Service, CLIImage, DindImage, RootlessImage string
		Proxies                                     []variable
	}{
		s, name, int64(max(s.BuildGrace, minGrace) / time.Second), int64(s.BuildGrace / time.Second),
		SSHService, DefaultDockerCLIImage, DefaultDindImage, DefaultRootlessImage, proxies(s),
	})
	if err == nil {
		err = yaml.UnmarshalStrict(text.Bytes(), object)
	}
	if err != nil {
		panic("pool: " + manifest + ": " + err.Error())
	}
	object.SetLabels(s.labels())
}

// plainPod makes an agent's pod without its template.
func plainPod(s *Spec, name string) *corev1.Pod {
	pod := &corev1.Pod{}
	fillIn("pod.yaml", s, name, pod)
	pod.Labels[LabelBusy] = "true" // nothing may evict the pod before the build that waits for it has run
	pod.Spec.NodeSelector, pod.Spec.Tolerations = s.NodeSelector, s.Tolerations
	pod.Spec.Containers[0].Resources = resources(s)
	for i := range pod.Spec.InitContainers {
		// The container of the authorities ends before the agent begins, so its requests cost nothing more.
		if c := &pod.Spec.InitContainers[i]; c.Name == dindContainer || c.Name == caContainer {
			c.Resources = resources(s)
		}
	}
	return pod
}

// Hash returns the value of AnnotationSpecHash. It differs if the pods differ but for their name, cache slot
// and CACHE_SIZE, or if the Jenkins nodes of inbound agents differ in labels or executors.
func (s Spec) Hash() string {
	s.Slot, s.CacheSize = "", resource.Quantity{}
	b, err := json.Marshal([]any{build(&s, "name"), s.Labels, s.Executors, s.Unlabelled})
	if err != nil {
		panic("pool: an API object that JSON cannot hold: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// resources returns one container's share of what the pod asks for. With Docker, either the agent or the
// daemon does the work. So each of the two asks for half, and may use the whole memory. CPU has no limit:
// builds may use idle CPU of the Kubernetes node.
func resources(s *Spec) corev1.ResourceRequirements {
	shares := int64(1)
	if s.Docker.Daemon() {
		shares = 2
	}
	share := func(whole int64) int64 { return (whole + shares - 1) / shares }
	r := corev1.ResourceRequirements{Requests: corev1.ResourceList{}}
	if !s.CPU.IsZero() {
		r.Requests[corev1.ResourceCPU] = *resource.NewMilliQuantity(share(s.CPU.MilliValue()), s.CPU.Format)
	}
	if !s.Memory.IsZero() {
		r.Requests[corev1.ResourceMemory] = *resource.NewQuantity(share(s.Memory.Value()), s.Memory.Format)
		r.Limits = corev1.ResourceList{corev1.ResourceMemory: s.Memory}
	}
	return r
}
