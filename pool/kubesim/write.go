package kubesim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
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

const suffixLetters = "bcdfghjklmnpqrstvwxz2456789"

func (c *Cluster) create(q *call, r *http.Request) (int, []byte, error) {
	if q.sub == "eviction" {
		return c.evict(q, r)
	}
	o, err := readBody(q, r)
	if err != nil {
		return 0, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.createLocked(q, o)
}

func (c *Cluster) createLocked(q *call, o object) (int, []byte, error) {
	if o.GetNamespace() != "" && o.GetNamespace() != q.ns {
		return 0, nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	if o.GetResourceVersion() != "" {
		return 0, nil, plainError(http.StatusInternalServerError, metav1.StatusReasonUnknown, "resourceVersion should not be set on objects to be created")
	}
	o.SetNamespace(q.ns)
	chances := q.kind.plural
	if q.kind.keep == 0 {
		chances += "/" + q.ns + "/" + o.GetName() + o.GetGenerateName()
	}
	r := c.rand(chances)
	if o.GetName() == "" && o.GetGenerateName() != "" {
		b := []byte(o.GetGenerateName())
		for range 5 {
			b = append(b, suffixLetters[r.IntN(len(suffixLetters))])
		}
		o.SetName(string(b))
	}
	o.SetUID(newUID(r))
	o.SetCreationTimestamp(c.now())
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.SetManagedFields(nil)
	o.SetSelfLink("")
	if pod, ok := o.(*corev1.Pod); ok && c.inject != nil {
		c.inject(pod)
	}
	if q.kind.prepare != nil {
		q.kind.prepare(o)
	}
	errs := validation.ValidateObjectMetaAccessor(o, true, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
	if q.kind.check != nil {
		errs = append(errs, q.kind.check(o)...)
	}
	if len(errs) > 0 {
		return 0, nil, apierrors.NewInvalid(q.kind.gvk().GroupKind(), o.GetName(), errs)
	}
	t := c.table(q.kind)
	if err := c.withinQuota(q.kind, o); err != nil {
		return 0, nil, err
	}
	if old := t.items[key(o)]; old != nil {
		err := apierrors.NewAlreadyExists(q.kind.resource(), o.GetName())
		if old.obj.GetDeletionTimestamp() != nil {
			err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
		}
		return 0, nil, err
	}
	e := &entry{obj: o}
	if !q.dry {
		e = c.put(t, o)
	}
	return http.StatusCreated, e.full(q.kind), nil
}

func (c *Cluster) replace(q *call, r *http.Request) (int, []byte, error) {
	o, err := readBody(q, r)
	if err != nil {
		return 0, nil, err
	}
	if o.GetName() != q.name {
		return 0, nil, apierrors.NewBadRequest(fmt.Sprintf(
			"the name of the object (%s) does not match the name on the URL (%s)", o.GetName(), q.name))
	}
	if o.GetNamespace() != "" && o.GetNamespace() != q.ns {
		return 0, nil, apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	o.SetNamespace(q.ns)
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.table(q.kind).items[q.ns+"/"+q.name]
	if old == nil {
		if q.kind.createsOnUpdate && q.sub == "" && o.GetUID() == "" && o.GetResourceVersion() == "" {
			return c.createLocked(q, o)
		}
		return 0, nil, apierrors.NewNotFound(q.kind.resource(), q.name)
	}
	if o.GetUID() != "" && o.GetUID() != old.obj.GetUID() {
		return 0, nil, apierrors.NewConflict(q.kind.resource(), q.name, fmt.Errorf( //nolint:staticcheck // these are the words of a real server
			"Precondition failed: UID in precondition: %s, UID in object meta: %s", o.GetUID(), old.obj.GetUID()))
	}
	o.SetUID(old.obj.GetUID())
	if o.GetResourceVersion() == "" && q.kind.versionRequired {
		// A real server names the resource here, where it names the kind elsewhere.
		return 0, nil, apierrors.NewInvalid(schema.GroupKind{Group: q.kind.group, Kind: q.kind.plural}, q.name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update"),
		})
	}
	return c.update(q, old, o)
}

func (c *Cluster) patch(q *call, r *http.Request) (int, []byte, error) {
	patch, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, nil, apierrors.NewBadRequest(err.Error())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.table(q.kind).items[q.ns+"/"+q.name]
	if old == nil {
		return 0, nil, apierrors.NewNotFound(q.kind.resource(), q.name)
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	patched, err := applyPatch(types.PatchType(kind), old.full(q.kind), patch, q.kind)
	if err != nil {
		return 0, nil, err
	}
	o, err := decode(q.kind, patched)
	if err != nil {
		return 0, nil, err
	}
	if o.GetName() != q.name {
		return 0, nil, apierrors.NewBadRequest(fmt.Sprintf(
			"the name of the object (%s) does not match the name on the URL (%s)", o.GetName(), q.name))
	}
	return c.update(q, old, o)
}

func applyPatch(how types.PatchType, doc, patch []byte, k *kind) ([]byte, error) {
	switch how {
	case types.MergePatchType:
		out, err := jsonpatch.MergePatch(doc, patch)
		if err != nil {
			return nil, apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		return out, nil
	case types.StrategicMergePatchType:
		out, err := strategicpatch.StrategicMergePatch(doc, patch, k.fresh())
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return out, nil
	case types.JSONPatchType:
		p, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		out, err := p.Apply(doc)
		if err != nil {
			if errors.Is(err, jsonpatch.ErrTestFailed) {
				return nil, invalidPatch("the server rejected our request due to an error in our request")
			}
			return nil, invalidPatch(err.Error())
		}
		return out, nil
	default:
		return nil, plainError(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
			"the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json")
	}
}

func invalidPatch(msg string) error {
	return plainError(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, msg)
}

// update stores o as the next version of old, if it may be.
func (c *Cluster) update(q *call, old *entry, o object) (int, []byte, error) {
	if v := o.GetResourceVersion(); v != "" && v != old.obj.GetResourceVersion() {
		return 0, nil, apierrors.NewConflict(q.kind.resource(), q.name,
			errors.New("the object has been modified; please apply your changes to the latest version and try again"))
	}
	o.SetResourceVersion(old.obj.GetResourceVersion())
	if o.GetGenerateName() == "" {
		o.SetGenerateName(old.obj.GetGenerateName())
	}
	o.SetCreationTimestamp(old.obj.GetCreationTimestamp())
	o.SetDeletionTimestamp(old.obj.GetDeletionTimestamp())
	o.SetDeletionGracePeriodSeconds(old.obj.GetDeletionGracePeriodSeconds())
	o.SetGeneration(old.obj.GetGeneration())
	o.SetManagedFields(nil)

	path := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(o, true, validation.NameIsDNSSubdomain, path)
	errs = append(errs, validation.ValidateImmutableField(o.GetName(), old.obj.GetName(), path.Child("name"))...)
	errs = append(errs, validation.ValidateImmutableField(o.GetNamespace(), old.obj.GetNamespace(), path.Child("namespace"))...)
	errs = append(errs, validation.ValidateImmutableField(o.GetUID(), old.obj.GetUID(), path.Child("uid"))...)
	if q.sub == "status" {
		q.kind.status(o, old.obj)
	} else {
		if q.kind.update != nil {
			errs = append(errs, q.kind.update(o, old.obj)...)
		}
		if q.kind.check != nil {
			errs = append(errs, q.kind.check(o)...)
		}
	}
	if len(errs) > 0 {
		return 0, nil, apierrors.NewInvalid(q.kind.gvk().GroupKind(), q.name, errs)
	}
	if err := c.expands(o, old.obj); err != nil {
		return 0, nil, err
	}
	// An update that changes nothing makes no version, as with a real server.
	next := &entry{obj: o, rv: old.rv}
	if q.dry || bytes.Equal(next.json(), old.json()) {
		return http.StatusOK, next.full(q.kind), nil
	}
	t := c.table(q.kind)
	e := c.put(t, o)
	c.finalized(t, e)
	return http.StatusOK, e.full(q.kind), nil
}

// finalized drops an object whose deletion waited only for its finalizers.
func (c *Cluster) finalized(t *table, e *entry) {
	if e.obj.GetDeletionTimestamp() == nil || len(e.obj.GetFinalizers()) > 0 {
		return
	}
	if g := e.obj.GetDeletionGracePeriodSeconds(); g == nil || *g == 0 {
		c.drop(t, e)
	}
}
