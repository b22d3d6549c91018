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
			needs := asked(o)
			needs[corev1.ResourcePods] = one
			return needs
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

// asked is what a pod's containers ask for and are limited to, together. (What ends before
// they begin is not in it: a real quota counts that where it is more.)
func asked(p *corev1.Pod) corev1.ResourceList {
	sum := corev1.ResourceList{}
	count := func(ctr *corev1.Container) {
		for _, name := range computed {
			if q, says := of(ctr, name); says {
				q.Add(sum[name])
				sum[name] = q
			}
		}
	}
	for i := range p.Spec.InitContainers {
		if isSidecar(&p.Spec.InitContainers[i]) {
			count(&p.Spec.InitContainers[i])
		}
	}
	for i := range p.Spec.Containers {
		count(&p.Spec.Containers[i])
	}
	return sum
}

// computed are the resources of which each container has to say something where a quota
// counts them.
var computed = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
}

// of is how much a container says of a resource as quotas name it.
func of(ctr *corev1.Container, name corev1.ResourceName) (resource.Quantity, bool) {
	list, plain := ctr.Resources.Requests, strings.TrimPrefix(string(name), "requests.")
	if limits, is := strings.CutPrefix(string(name), "limits."); is {
		list, plain = ctr.Resources.Limits, limits
	}
	q, says := list[corev1.ResourceName(plain)]
	return q.DeepCopy(), says
}

// unsaid is what a quota counts and containers of a pod say nothing of; "": nothing.
func unsaid(p *corev1.Pod, hard corev1.ResourceList) string {
	var gaps []string
	for _, name := range computed {
		if _, counts := hard[name]; !counts {
			continue
		}
		var silent []string
		for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range list {
				if _, says := of(&list[i], name); !says {
					silent = append(silent, list[i].Name)
				}
			}
		}
		if slices.Sort(silent); len(silent) > 0 {
			gaps = append(gaps, fmt.Sprintf("%s for: %s", name, strings.Join(silent, ",")))
		}
	}
	return strings.Join(gaps, "; ")
}

// withinQuota refuses an object as the admission of quotas does.
func (c *Cluster) withinQuota(k *kind, o object) error {
	needs := counted(o)
	for _, e := range c.table(quotas).sorted(o.GetNamespace()) {
		q := as[*corev1.ResourceQuota](e.obj)
		if p, ok := o.(*corev1.Pod); ok {
			if gaps := unsaid(p, q.Spec.Hard); gaps != "" {
				return &apierrors.StatusError{ErrStatus: *forbidden(k.plural, o.GetName(), fmt.Sprintf("failed quota: %s: must specify %s", q.Name, gaps))}
			}
		}
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
