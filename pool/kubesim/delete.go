package kubesim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func readDelete(q *call, r *http.Request) (*metav1.DeleteOptions, error) {
	opts := &metav1.DeleteOptions{}
	if err := readInto(r, opts); err != nil {
		return nil, err
	}
	if s := r.URL.Query().Get("gracePeriodSeconds"); s != "" && opts.GracePeriodSeconds == nil {
		g, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		opts.GracePeriodSeconds = &g
	}
	for _, d := range opts.DryRun {
		q.dry = q.dry || d == metav1.DryRunAll
	}
	return opts, nil
}

func (c *Cluster) delete(q *call, r *http.Request) (int, []byte, error) {
	opts, err := readDelete(q, r)
	if err != nil {
		return 0, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deleteLocked(q, opts)
}

func (c *Cluster) deleteLocked(q *call, opts *metav1.DeleteOptions) (int, []byte, error) {
	t := c.table(q.kind)
	e := t.items[q.ns+"/"+q.name]
	if e == nil {
		return 0, nil, apierrors.NewNotFound(q.kind.resource(), q.name)
	}
	if err := checkPreconditions(q.kind, e.obj, opts.Preconditions); err != nil {
		return 0, nil, err
	}
	if !q.dry {
		if now := c.remove(t, e, opts.GracePeriodSeconds, q.by); now != nil {
			e = now
		}
	}
	if q.kind.returnsDeleted || t.items[key(e.obj)] != nil && !q.dry {
		return http.StatusOK, e.full(q.kind), nil
	}
	b, err := json.Marshal(&metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusSuccess,
		Details:  &metav1.StatusDetails{Name: q.name, Group: q.kind.group, Kind: q.kind.plural, UID: e.obj.GetUID()},
	})
	return http.StatusOK, b, err
}

func checkPreconditions(k *kind, o object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	// A real server names the kind here, where it names the resource elsewhere.
	gr := schema.GroupResource{Group: k.group, Resource: k.name}
	if p.UID != nil && *p.UID != o.GetUID() {
		return apierrors.NewConflict(gr, o.GetName(), fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated",
			*p.UID, o.GetUID()))
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion() {
		return apierrors.NewConflict(gr, o.GetName(), fmt.Errorf(
			"the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified",
			*p.ResourceVersion, o.GetResourceVersion()))
	}
	return nil
}

// remove deletes an object as a DELETE does, and gives its last version when
// that is another one than e.
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
	raiseGeneration(o)
	e = c.put(t, o)
	if t.kind == claims {
		c.releaseClaims()
	}
	return e
}

// removePod: a pod that a kubelet has is given its grace; a second deletion
// may only shorten it; without grace the object goes and the process with it.
func (c *Cluster) removePod(t *table, e *entry, grace *int64, by string) *entry {
	pod := as[*corev1.Pod](e.obj)
	r := c.runs[pod.UID]
	var period int64
	if pod.DeletionTimestamp != nil {
		if pod.DeletionGracePeriodSeconds != nil {
			if grace == nil || *grace >= *pod.DeletionGracePeriodSeconds {
				return nil
			}
			period = max(*grace, 0)
		}
	} else {
		if grace != nil {
			period = *grace
		} else if pod.Spec.TerminationGracePeriodSeconds != nil {
			period = *pod.Spec.TerminationGracePeriodSeconds
		}
		if period < 0 {
			period = 1
		}
		if pod.Spec.NodeName == "" || ended(pod) {
			period = 0
		}
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

// doom stores when a pod is to end. Also one that goes at once is stored so
// first, and a watch tells of both: that it is being deleted, and that it is gone.
func (c *Cluster) doom(t *table, pod *corev1.Pod, period int64) *entry {
	next := pod.DeepCopy()
	at := c.now()
	if pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil {
		at = metav1.NewTime(pod.DeletionTimestamp.Add(-time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second))
	}
	at = metav1.NewTime(at.Add(time.Duration(period) * time.Second))
	// Of a shorter grace that is over already an API server makes one second from now.
	if now := c.now(); pod.DeletionTimestamp != nil && at.Before(&now) {
		at, period = now, min(period, 1)
	}
	next.DeletionTimestamp = &at
	next.DeletionGracePeriodSeconds = &period
	if pod.DeletionTimestamp == nil {
		raiseGeneration(next)
	}
	return c.put(t, next)
}

func (c *Cluster) deleteCollection(q *call, r *http.Request) (int, []byte, error) {
	opts, err := readDelete(q, r)
	if err != nil {
		return 0, nil, err
	}
	f, err := newFilter(q, r.URL.Query())
	if err != nil {
		return 0, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.table(q.kind)
	for _, e := range t.sorted(q.ns) {
		if f.passes(e.obj) && !q.dry && checkPreconditions(q.kind, e.obj, opts.Preconditions) == nil {
			c.remove(t, e, opts.GracePeriodSeconds, q.by)
		}
	}
	b, err := json.Marshal(&metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
	})
	return http.StatusOK, b, err
}

// evict is a deletion that a disruption budget could refuse. There are no
// budgets here; a test that wants one refuses "create pods/eviction" itself.
func (c *Cluster) evict(q *call, r *http.Request) (int, []byte, error) {
	var ev policyv1.Eviction
	if err := readInto(r, &ev); err != nil {
		return 0, nil, err
	}
	opts := ev.DeleteOptions
	if opts == nil {
		opts = &metav1.DeleteOptions{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if pod := c.pod(q.ns, q.name); pod != nil && pod.DeletionTimestamp == nil && !q.dry && pod.Spec.NodeName != "" && !ended(pod) {
		c.disrupt(pod, "EvictionByEvictionAPI", "Eviction API: evicting")
	}
	if _, _, err := c.deleteLocked(q, opts); err != nil {
		return 0, nil, err
	}
	b, err := json.Marshal(&metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess, Code: http.StatusCreated,
	})
	return http.StatusCreated, b, err
}

// raiseGeneration: being deleted is a change of what is wished for, where a
// kind counts those.
func raiseGeneration(o object) {
	if g := o.GetGeneration(); g > 0 {
		o.SetGeneration(g + 1)
	}
}
