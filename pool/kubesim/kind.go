package kubesim

import (
	"cmp"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

type object interface {
	metav1.Object
	runtime.Object
}

// as returns o with the type of its kind. All objects of a table are of one kind.
func as[T any](o any) T {
	v, ok := o.(T)
	if !ok {
		panic(fmt.Sprintf("kubesim: %T is not of its table's kind", o))
	}
	return v
}

// A kind is one resource that the API server serves.
type kind struct {
	group, version string
	plural         string
	name           string // Kind
	short          string // what people may type

	returnsDeleted  bool // DELETE answers with the object, not with a Status
	versionRequired bool // an update has to name the version that it rests on
	keep            int  // the number of objects that are kept; the oldest go; 0: all
}

var (
	pods   = &kind{version: "v1", plural: "pods", name: "Pod", short: "po", returnsDeleted: true}
	claims = &kind{version: "v1", plural: "persistentvolumeclaims", name: "PersistentVolumeClaim", short: "pvc", returnsDeleted: true}

	secrets = &kind{version: "v1", plural: "secrets", name: "Secret"}
	quotas  = &kind{version: "v1", plural: "resourcequotas", name: "ResourceQuota", short: "quota"}
	configs = &kind{version: "v1", plural: "configmaps", name: "ConfigMap", short: "cm"}
	leases  = &kind{group: "coordination.k8s.io", version: "v1", plural: "leases", name: "Lease", versionRequired: true}

	// A real server has one store for the events of both API groups.
	coreEvents = &kind{version: "v1", plural: "events", name: "Event", short: "ev", keep: 1000}
	events     = &kind{group: "events.k8s.io", version: "v1", plural: "events", name: "Event", short: "ev", keep: 1000}

	kinds = []*kind{pods, secrets, claims, coreEvents, leases, events, quotas, configs}
)

func kindOf(group, version, plural string) *kind {
	for _, k := range kinds {
		if k.group == group && k.version == version && k.plural == plural {
			return k
		}
	}
	return nil
}

func (k *kind) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.group, Version: k.version, Kind: k.name}
}

func (k *kind) resource() schema.GroupResource {
	return schema.GroupResource{Group: k.group, Resource: k.plural}
}

// fresh returns an empty object of the kind.
func (k *kind) fresh() object {
	o, err := scheme.Scheme.New(k.gvk())
	if err != nil {
		panic("kubesim: " + err.Error())
	}
	return as[object](o)
}

// head opens the JSON of an object of this kind. Bodies are stored without it,
// because the items of a list carry no kind.
func (k *kind) head() string {
	return `{"kind":"` + k.name + `","apiVersion":"` + k.gvk().GroupVersion().String() + `",`
}

// fieldSet returns the fields that a field selector may name.
func fieldSet(o object) fields.Set {
	set := fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()}
	about := func(prefix string, ref *corev1.ObjectReference) {
		set[prefix+".kind"] = ref.Kind
		set[prefix+".namespace"] = ref.Namespace
		set[prefix+".name"] = ref.Name
		set[prefix+".uid"] = string(ref.UID)
		set[prefix+".apiVersion"] = ref.APIVersion
		set[prefix+".resourceVersion"] = ref.ResourceVersion
		set[prefix+".fieldPath"] = ref.FieldPath
	}
	switch o := o.(type) {
	case *corev1.Pod:
		set["spec.nodeName"] = o.Spec.NodeName
		set["status.phase"] = string(o.Status.Phase)
	case *corev1.Event:
		about("involvedObject", &o.InvolvedObject)
		set["reason"], set["type"] = o.Reason, o.Type
		set["reportingComponent"] = o.ReportingController
		set["source"] = cmp.Or(o.Source.Component, o.ReportingController)
	case *eventsv1.Event:
		about("regarding", &o.Regarding)
		set["reason"], set["type"] = o.Reason, o.Type
		set["reportingController"] = o.ReportingController
	}
	return set
}

// discover returns what a client asks for to learn which resources there are; nil: the path is no such question.
func discover(path string) any {
	groups := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	for _, k := range kinds {
		v := k.gvk().GroupVersion().String()
		at := metav1.GroupVersionForDiscovery{GroupVersion: v, Version: k.version}
		if k.group != "" {
			groups.Groups = append(groups.Groups, metav1.APIGroup{Name: k.group, Versions: []metav1.GroupVersionForDiscovery{at}, PreferredVersion: at})
		}
	}
	switch path {
	case "/api":
		return metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}}
	case "/apis":
		return groups
	}
	list := metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/"),
	}
	for _, k := range kinds {
		if list.GroupVersion != k.gvk().GroupVersion().String() {
			continue
		}
		r := metav1.APIResource{
			Name: k.plural, SingularName: strings.ToLower(k.name), Namespaced: true, Kind: k.name,
			Verbs: metav1.Verbs{"create", "delete", "get", "list", "patch", "update", "watch"},
		}
		if k.short != "" {
			r.ShortNames = []string{k.short}
		}
		if k == pods {
			r.Categories = []string{"all"}
		}
		list.APIResources = append(list.APIResources, r)
	}
	if len(list.APIResources) == 0 {
		return nil
	}
	return list
}
