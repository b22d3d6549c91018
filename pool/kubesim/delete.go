package kubesim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

func (c *Cluster) delete(q *call, r *http.Request) ([]byte, error) {
	var opts metav1.DeleteOptions
	if err := read(r.Body, &opts); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.table(q.kind)
	e := t.items[q.ns+"/"+q.name]
	if e == nil {
		return nil, apierrors.NewNotFound(q.kind.resource(), q.name)
	}
	if err := checkPreconditions(q.kind, e.obj, opts.Preconditions); err != nil {
		return nil, err
	}
	if now := c.remove(t, e, opts.GracePeriodSeconds, author(r)); now != nil {
		e = now
	}
	if q.kind.returnsDeleted {
		return e.full(q.kind), nil
	}
	return json.Marshal(&metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusSuccess,
		Details:  &metav1.StatusDetails{Name: q.name, Group: q.kind.group, Kind: q.kind.plural, UID: e.obj.GetUID()},
	})
}

// author returns who deletes by this request: a person with one of the usual tools, or Bellboard.
func author(r *http.Request) string {
	if tool, _, _ := strings.Cut(r.UserAgent(), "/"); tool == "kubectl" || tool == "k9s" || tool == "curl" {
		return tool
	}
	return "bellboard"
}

func checkPreconditions(k *kind, o object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	// A real server names the kind here, where it names the resource elsewhere.
	gr := schema.GroupResource{Group: k.group, Resource: k.name}
	if p.UID != nil && *p.UID != o.GetUID() {
		return apierrors.NewConflict(gr, o.GetName(), fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s)", *p.UID, o.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion() {
		return apierrors.NewConflict(gr, o.GetName(), fmt.Errorf(
			"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s)",
			*p.ResourceVersion, o.GetResourceVersion()))
	}
	return nil
}

// remove deletes an object as a DELETE does. It returns the version that the deletion
// has stored, or nil if there is none.
func (c *Cluster) remove(t *table, e *entry, grace *int64, by string) *entry {
	if t.kind == pods {
		return c.removePod(t, e, grace, by)
	}
	if len(e.obj.GetFinalizers()) == 0 {
		c.drop(t, e)
		return nil
	}
	if e.obj.GetDeletionTimestamp() != nil {
		return nil
	}
	o := as[object](e.obj.DeepCopyObject())
	now, zero := c.now(), int64(0)
	o.SetDeletionTimestamp(&now)
	o.SetDeletionGracePeriodSeconds(&zero)
	e = c.put(t, o)
	if t.kind == claims {
		c.releaseClaims()
	}
	return e
}

// removePod gives a pod that a kubelet has its grace. A second deletion may only shorten
// the grace. Without grace the pod and its process go at once.
func (c *Cluster) removePod(t *table, e *entry, grace *int64, by string) *entry {
	pod := as[*corev1.Pod](e.obj)
	r := c.runs[pod.UID]
	period := *pod.Spec.TerminationGracePeriodSeconds
	if grace != nil {
		period = *grace
	}
	if was := pod.DeletionGracePeriodSeconds; was != nil {
		if grace == nil || period >= *was {
			return nil
		}
	} else if pod.Spec.NodeName == "" || ended(pod) {
		period = 0
	}
	e = c.doom(t, pod, period)
	switch {
	case period == 0 && len(pod.Finalizers) == 0:
		c.endNow(r, pod, by)
		c.drop(t, e)
	case r != nil:
		c.terminate(r, time.Duration(period)*time.Second, by)
	}
	return e
}

// doom stores when a pod is to end, also of a pod that goes at once. A watch tells both:
// that the pod is being deleted, and that it is gone.
func (c *Cluster) doom(t *table, pod *corev1.Pod, period int64) *entry {
	next := pod.DeepCopy()
	at := c.now()
	if pod.DeletionTimestamp != nil {
		at = metav1.NewTime(pod.DeletionTimestamp.Add(-time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second))
	} else {
		next.Generation++
	}
	at = metav1.NewTime(at.Add(time.Duration(period) * time.Second))
	// An API server turns a shorter grace that is over already into one second from now.
	if now := c.now(); at.Before(&now) {
		at, period = now, min(period, 1)
	}
	next.DeletionTimestamp = &at
	next.DeletionGracePeriodSeconds = &period
	return c.put(t, next)
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

// collectAfter is how long the garbage collector takes to see that an owner is gone.
const collectAfter = time.Second

// collectOrphansOf has the garbage collector look at all that the gone object owned.
func (c *Cluster) collectOrphansOf(uid types.UID) {
	for _, t := range []*table{c.table(secrets), c.table(claims)} {
		for _, e := range t.matching(func(e *entry) bool { return ownedBy(e.obj, uid) }) {
			c.collectLater(t, e)
		}
	}
}

func ownedBy(o object, by types.UID) bool {
	return slices.ContainsFunc(o.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == by })
}

// collectLater deletes an object after a while if none of its owners lives.
func (c *Cluster) collectLater(t *table, e *entry) {
	k, uid := key(e.obj), e.obj.GetUID()
	c.after(collectAfter, func() {
		e := t.items[k]
		if e == nil || e.obj.GetUID() != uid || e.obj.GetDeletionTimestamp() != nil {
			return
		}
		refs := e.obj.GetOwnerReferences()
		lives := func(ref metav1.OwnerReference) bool { return c.uids[ref.UID] }
		if len(refs) > 0 && !slices.ContainsFunc(refs, lives) {
			c.remove(t, e, nil, "garbage-collector")
		}
	})
}
