package kubesim

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Quotas count pods only: what is beyond spec.hard.pods is refused.
var quotas = &kind{
	version: "v1", plural: "resourcequotas", single: "resourcequota", name: "ResourceQuota", short: []string{"quota"},
	fresh: func() object { return &corev1.ResourceQuota{} },
	prepare: func(o object) {
		q := as[*corev1.ResourceQuota](o)
		q.Status = corev1.ResourceQuotaStatus{}
	},
	status: func(now, old object) {
		as[*corev1.ResourceQuota](now).Spec = *as[*corev1.ResourceQuota](old).Spec.DeepCopy()
	},
}

// SetQuota lets only that many pods into a namespace; a negative number lifts it.
func (c *Cluster) SetQuota(ns string, pods int64) {
	const name = "pods"
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.table(quotas)
	if e := t.items[ns+"/"+name]; e != nil {
		c.drop(t, e)
	}
	if pods < 0 {
		return
	}
	q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(pods, resource.DecimalSI)}}}
	q.Name = name
	if _, _, err := c.createLocked(&call{verb: "create", kind: quotas, ns: ns}, q); err != nil {
		panic("kubesim: a quota of its own: " + err.Error())
	}
	c.countQuotas(ns)
}

// countQuotas is the controller that keeps a quota's status.
func (c *Cluster) countQuotas(ns string) {
	t := c.table(quotas)
	for _, e := range t.sorted(ns) {
		q := as[*corev1.ResourceQuota](e.obj)
		used := *resource.NewQuantity(c.living(q.Namespace), resource.DecimalSI)
		if was, ok := q.Status.Used[corev1.ResourcePods]; ok && was.Cmp(used) == 0 {
			continue
		}
		q = q.DeepCopy()
		q.Status.Hard = q.Spec.Hard.DeepCopy()
		q.Status.Used = corev1.ResourceList{corev1.ResourcePods: used}
		c.put(t, q)
	}
}

// living are the pods that a quota counts: what has ended is none.
func (c *Cluster) living(ns string) int64 {
	return int64(len(c.table(pods).matching(func(e *entry) bool {
		return e.obj.GetNamespace() == ns && !ended(as[*corev1.Pod](e.obj))
	})))
}

// withinQuota refuses a pod as the admission of quotas does.
func (c *Cluster) withinQuota(ns, name string) error {
	for _, e := range c.table(quotas).sorted(ns) {
		q := as[*corev1.ResourceQuota](e.obj)
		hard, used := q.Spec.Hard[corev1.ResourcePods], c.living(ns)
		if used+1 > hard.Value() {
			return &apierrors.StatusError{ErrStatus: *forbidden("pods", name, fmt.Sprintf("exceeded quota: %s, requested: pods=1, used: pods=%d, limited: pods=%d", q.Name, used, hard.Value()))}
		}
	}
	return nil
}
