package kubesim

import (
	"cmp"
	"fmt"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type object interface {
	metav1.Object
	runtime.Object
}

// as is an object as the type of its kind: a table holds objects of one kind.
func as[T any](o any) T {
	v, ok := o.(T)
	if !ok {
		panic(fmt.Sprintf("kubesim: %T is not of its table's kind", o))
	}
	return v
}

// A kind is what the API server must know of one resource to serve it.
type kind struct {
	group, version string
	plural, single string
	name           string // Kind
	short          []string

	fresh   func() object
	fields  func(o object) fields.Set             // what a field selector may ask, beside metadata
	prepare func(o object)                        // defaults of a new object
	check   func(o object) field.ErrorList        // what is wrong with it
	update  func(now, old object) field.ErrorList // keeps what may not change, says what was changed nevertheless
	status  func(now, old object)                 // status subresource: keep all but the status; nil: there is none

	returnsDeleted  bool // DELETE answers with the object, not with a Status
	versionRequired bool // an update must say the version it rests on
	createsOnUpdate bool
	keep            int // how many objects live; the oldest go; 0: all
}

func (k *kind) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.group, Version: k.version, Kind: k.name}
}

func (k *kind) resource() schema.GroupResource {
	return schema.GroupResource{Group: k.group, Resource: k.plural}
}

func (k *kind) apiVersion() string {
	if k.group == "" {
		return k.version
	}
	return k.group + "/" + k.version
}

// head opens the JSON of an object of this kind; bodies are stored without it,
// since the items of a list carry no kind.
func (k *kind) head() string {
	return `{"kind":"` + k.name + `","apiVersion":"` + k.apiVersion() + `",`
}

func (k *kind) fieldSet(o object) fields.Set {
	set := fields.Set{}
	if k.fields != nil {
		set = k.fields(o)
	}
	set["metadata.name"] = o.GetName()
	set["metadata.namespace"] = o.GetNamespace()
	return set
}

var pods = &kind{
	version: "v1", plural: "pods", single: "pod", name: "Pod", short: []string{"po"},
	fresh: func() object { return &corev1.Pod{} },
	fields: func(o object) fields.Set {
		p := as[*corev1.Pod](o)
		return fields.Set{
			"spec.nodeName":           p.Spec.NodeName,
			"spec.restartPolicy":      string(p.Spec.RestartPolicy),
			"spec.schedulerName":      p.Spec.SchedulerName,
			"spec.serviceAccountName": p.Spec.ServiceAccountName,
			"status.phase":            string(p.Status.Phase),
			"status.podIP":            p.Status.PodIP,
		}
	},
	prepare: func(o object) { defaultPod(as[*corev1.Pod](o)) },
	check:   func(o object) field.ErrorList { return checkPod(as[*corev1.Pod](o)) },
	update: func(now, old object) field.ErrorList {
		return updatePod(as[*corev1.Pod](now), as[*corev1.Pod](old))
	},
	status: func(now, old object) {
		p, was := as[*corev1.Pod](now), as[*corev1.Pod](old)
		p.Spec = *was.Spec.DeepCopy()
		p.OwnerReferences = was.DeepCopy().OwnerReferences
	},
	returnsDeleted: true,
}

var secrets = &kind{
	version: "v1", plural: "secrets", single: "secret", name: "Secret",
	fresh: func() object { return &corev1.Secret{} },
	fields: func(o object) fields.Set {
		return fields.Set{"type": string(as[*corev1.Secret](o).Type)}
	},
	prepare: func(o object) { defaultSecret(as[*corev1.Secret](o)) },
	check:   func(o object) field.ErrorList { return checkSecret(as[*corev1.Secret](o)) },
	update: func(now, old object) field.ErrorList {
		return updateSecret(as[*corev1.Secret](now), as[*corev1.Secret](old))
	},
}

var claims = &kind{
	version: "v1", plural: "persistentvolumeclaims", single: "persistentvolumeclaim", name: "PersistentVolumeClaim", short: []string{"pvc"},
	fresh:   func() object { return &corev1.PersistentVolumeClaim{} },
	prepare: func(o object) { defaultClaim(as[*corev1.PersistentVolumeClaim](o)) },
	check:   func(o object) field.ErrorList { return checkClaim(as[*corev1.PersistentVolumeClaim](o)) },
	update: func(now, old object) field.ErrorList {
		return updateClaim(as[*corev1.PersistentVolumeClaim](now), as[*corev1.PersistentVolumeClaim](old))
	},
	status: func(now, old object) {
		p, was := as[*corev1.PersistentVolumeClaim](now), as[*corev1.PersistentVolumeClaim](old)
		p.Spec = *was.Spec.DeepCopy()
	},
	returnsDeleted: true,
}

var leases = &kind{
	group: "coordination.k8s.io", version: "v1", plural: "leases", single: "lease", name: "Lease",
	fresh:           func() object { return &coordinationv1.Lease{} },
	versionRequired: true,
	createsOnUpdate: true,
}

// Events of both API groups are accepted and kept apart; a real server keeps
// one store of them for both.
var coreEvents = &kind{
	version: "v1", plural: "events", single: "event", name: "Event", short: []string{"ev"},
	fresh: func() object { return &corev1.Event{} },
	fields: func(o object) fields.Set {
		e := as[*corev1.Event](o)
		return fields.Set{
			"involvedObject.kind":            e.InvolvedObject.Kind,
			"involvedObject.namespace":       e.InvolvedObject.Namespace,
			"involvedObject.name":            e.InvolvedObject.Name,
			"involvedObject.uid":             string(e.InvolvedObject.UID),
			"involvedObject.apiVersion":      e.InvolvedObject.APIVersion,
			"involvedObject.resourceVersion": e.InvolvedObject.ResourceVersion,
			"involvedObject.fieldPath":       e.InvolvedObject.FieldPath,
			"reason":                         e.Reason,
			"reportingComponent":             e.ReportingController,
			"source":                         cmp.Or(e.Source.Component, e.ReportingController),
			"type":                           e.Type,
		}
	},
	createsOnUpdate: true,
	keep:            1000,
}

var events = &kind{
	group: "events.k8s.io", version: "v1", plural: "events", single: "event", name: "Event", short: []string{"ev"},
	fresh: func() object { return &eventsv1.Event{} },
	fields: func(o object) fields.Set {
		e := as[*eventsv1.Event](o)
		return fields.Set{
			"regarding.kind":            e.Regarding.Kind,
			"regarding.namespace":       e.Regarding.Namespace,
			"regarding.name":            e.Regarding.Name,
			"regarding.uid":             string(e.Regarding.UID),
			"regarding.apiVersion":      e.Regarding.APIVersion,
			"regarding.resourceVersion": e.Regarding.ResourceVersion,
			"regarding.fieldPath":       e.Regarding.FieldPath,
			"reason":                    e.Reason,
			"reportingController":       e.ReportingController,
			"type":                      e.Type,
		}
	},
	createsOnUpdate: true,
	keep:            1000,
}

var kinds = []*kind{pods, secrets, claims, coreEvents, leases, events, quotas}

func kindOf(group, version, plural string) *kind {
	for _, k := range kinds {
		if k.group == group && k.version == version && k.plural == plural {
			return k
		}
	}
	return nil
}

// ownerKind is the kind an owner reference speaks of, nil when this cluster
// does not hold such objects and so cannot say whether the owner lives.
func ownerKind(ref metav1.OwnerReference) *kind {
	group, version, ok := strings.Cut(ref.APIVersion, "/")
	if !ok {
		group, version = "", ref.APIVersion
	}
	for _, k := range kinds {
		if k.group == group && k.version == version && k.name == ref.Kind {
			return k
		}
	}
	return nil
}
