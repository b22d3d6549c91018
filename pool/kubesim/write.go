package kubesim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *Cluster) create(q *call, r *http.Request) ([]byte, error) {
	o := q.kind.fresh()
	if err := read(r.Body, o); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.createLocked(q, o)
}

func (c *Cluster) createLocked(q *call, o object) ([]byte, error) {
	if o.GetNamespace() != "" && o.GetNamespace() != q.ns {
		return nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if o.GetResourceVersion() != "" {
		return nil, plainError(http.StatusInternalServerError, metav1.StatusReasonUnknown, "resourceVersion should not be set on objects to be created")
	}
	o.SetNamespace(q.ns)
	chances := q.kind.plural
	if q.kind.keep == 0 {
		chances += "/" + key(o)
	}
	o.SetUID(newUID(c.rand(chances)))
	o.SetCreationTimestamp(c.now())
	if pod, ok := o.(*corev1.Pod); ok && c.inject != nil {
		c.inject(pod)
	}
	prepare(o)
	errs := validation.ValidateObjectMetaAccessor(o, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	if errs = append(errs, check(o)...); len(errs) > 0 {
		return nil, apierrors.NewInvalid(q.kind.gvk().GroupKind(), o.GetName(), errs)
	}
	t := c.table(q.kind)
	if err := c.withinQuota(q.kind, o); err != nil {
		return nil, err
	}
	if old := t.items[key(o)]; old != nil {
		err := apierrors.NewAlreadyExists(q.kind.resource(), o.GetName())
		if old.obj.GetDeletionTimestamp() != nil {
			err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
		}
		return nil, err
	}
	e := &entry{obj: o}
	if !q.dry {
		e = c.put(t, o)
	}
	return e.full(q.kind), nil
}

func (c *Cluster) replace(q *call, r *http.Request) ([]byte, error) {
	o := q.kind.fresh()
	if err := read(r.Body, o); err != nil {
		return nil, err
	}
	if o.GetResourceVersion() == "" && q.kind.versionRequired {
		// A real server names the resource here, where it names the kind elsewhere.
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: q.kind.group, Kind: q.kind.plural}, q.name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update"),
		})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.table(q.kind).items[q.ns+"/"+q.name]
	if old == nil {
		return nil, apierrors.NewNotFound(q.kind.resource(), q.name)
	}
	return c.update(q, old, o)
}

func (c *Cluster) patch(q *call, r *http.Request) ([]byte, error) {
	patch, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.table(q.kind).items[q.ns+"/"+q.name]
	if old == nil {
		return nil, apierrors.NewNotFound(q.kind.resource(), q.name)
	}
	o := q.kind.fresh()
	patched, err := applyPatch(types.PatchType(r.Header.Get("Content-Type")), old.full(q.kind), patch, o)
	if err != nil {
		return nil, err
	}
	if err := read(bytes.NewReader(patched), o); err != nil {
		return nil, err
	}
	return c.update(q, old, o)
}

func applyPatch(how types.PatchType, doc, patch []byte, schema object) (out []byte, err error) {
	switch how {
	case types.MergePatchType:
		out, err = jsonpatch.MergePatch(doc, patch)
	case types.StrategicMergePatchType:
		out, err = strategicpatch.StrategicMergePatch(doc, patch, schema)
	case types.JSONPatchType:
		var p jsonpatch.Patch
		if p, err = jsonpatch.DecodePatch(patch); err != nil {
			break
		}
		if out, err = p.Apply(doc); err != nil {
			return nil, plainError(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, err.Error())
		}
	default:
		return nil, plainError(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType, "the body of the request was in an unknown format")
	}
	if err != nil {
		return nil, apierrors.NewBadRequest("error decoding patch: " + err.Error())
	}
	return out, nil
}

// update stores o as the next version of old, if the change is allowed.
func (c *Cluster) update(q *call, old *entry, o object) ([]byte, error) {
	if o.GetName() != q.name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", o.GetName(), q.name))
	}
	if v := o.GetResourceVersion(); v != "" && v != old.obj.GetResourceVersion() {
		return nil, apierrors.NewConflict(q.kind.resource(), q.name,
			errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	if o.GetUID() == "" {
		o.SetUID(old.obj.GetUID())
	}
	o.SetNamespace(q.ns)
	o.SetResourceVersion(old.obj.GetResourceVersion())
	o.SetCreationTimestamp(old.obj.GetCreationTimestamp())
	o.SetDeletionTimestamp(old.obj.GetDeletionTimestamp())
	o.SetDeletionGracePeriodSeconds(old.obj.GetDeletionGracePeriodSeconds())
	o.SetGeneration(old.obj.GetGeneration())

	path := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(o, true, validation.NameIsDNSSubdomain, path)
	errs = append(errs, validation.ValidateImmutableField(o.GetUID(), old.obj.GetUID(), path.Child("uid"))...)
	if pod, ok := o.(*corev1.Pod); ok && q.sub == "status" {
		pod.Spec = *as[*corev1.Pod](old.obj).Spec.DeepCopy()
	} else {
		errs = append(errs, checkUpdate(o, old.obj)...)
		errs = append(errs, check(o)...)
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(q.kind.gvk().GroupKind(), q.name, errs)
	}
	if err := c.expands(o, old.obj); err != nil {
		return nil, err
	}
	// An update that changes nothing makes no version, as with a real server.
	next := &entry{obj: o, rv: old.rv}
	if q.dry || bytes.Equal(next.json(), old.json()) {
		return next.full(q.kind), nil
	}
	t := c.table(q.kind)
	e := c.put(t, o)
	c.finalized(t, e)
	return e.full(q.kind), nil
}
