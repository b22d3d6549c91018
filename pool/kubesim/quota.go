package kubesim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Quotas count pods and volume claims: what is beyond spec.hard of those is refused.
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
		used := c.used(ns, q.Spec.Hard)
		if equality.Semantic.DeepEqual(q.Status.Used, used) {
			continue
		}
		q = q.DeepCopy()
		q.Status.Hard = q.Spec.Hard.DeepCopy()
		q.Status.Used = used
		c.put(t, q)
	}
}

// used is how much there is of what a quota limits; of what is not counted here, none.
func (c *Cluster) used(ns string, hard corev1.ResourceList) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for name := range hard {
		sum[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	for _, k := range []*kind{pods, claims} {
		for _, e := range c.table(k).sorted(ns) {
			for name, q := range counted(e.obj) {
				if _, limited := hard[name]; limited {
					q.Add(sum[name])
					sum[name] = q
				}
			}
		}
	}
	return sum
}

// counted is what a quota counts of an object: nothing of a pod that has ended.
func counted(o object) corev1.ResourceList {
	one := *resource.NewQuantity(1, resource.DecimalSI)
	switch o := o.(type) {
	case *corev1.Pod:
		if !ended(o) {
			return corev1.ResourceList{corev1.ResourcePods: one}
		}
	case *corev1.PersistentVolumeClaim:
		size := o.Spec.Resources.Requests[corev1.ResourceStorage]
		out := corev1.ResourceList{corev1.ResourcePersistentVolumeClaims: one, corev1.ResourceRequestsStorage: size}
		if class := o.Spec.StorageClassName; class != nil && *class != "" {
			out[corev1.ResourceName(*class+".storageclass.storage.k8s.io/persistentvolumeclaims")] = one
			out[corev1.ResourceName(*class+".storageclass.storage.k8s.io/requests.storage")] = size
		}
		return out
	}
	return nil
}

// withinQuota refuses an object as the admission of quotas does.
func (c *Cluster) withinQuota(k *kind, o object) error {
	needs := counted(o)
	for _, e := range c.table(quotas).sorted(o.GetNamespace()) {
		q := as[*corev1.ResourceQuota](e.obj)
		used := c.used(q.Namespace, q.Spec.Hard)
		var requested, taken, limited []string
		for _, name := range slices.Sorted(maps.Keys(needs)) {
			hard, has := q.Spec.Hard[name]
			need, is := needs[name], used[name]
			sum := need.DeepCopy()
			if sum.Add(is); !has || sum.Cmp(hard) <= 0 {
				continue
			}
			requested = append(requested, fmt.Sprintf("%s=%s", name, need.String()))
			taken = append(taken, fmt.Sprintf("%s=%s", name, is.String()))
			limited = append(limited, fmt.Sprintf("%s=%s", name, hard.String()))
		}
		if len(requested) > 0 {
			return &apierrors.StatusError{ErrStatus: *forbidden(k.plural, o.GetName(), fmt.Sprintf("exceeded quota: %s, requested: %s, used: %s, limited: %s",
				q.Name, strings.Join(requested, ","), strings.Join(taken, ","), strings.Join(limited, ",")))}
		}
	}
	return nil
}
