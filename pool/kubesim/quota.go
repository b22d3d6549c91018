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

// SetQuota lets only that many pods into a namespace. A negative number lifts the limit.
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
	if _, err := c.createLocked(&call{kind: quotas, ns: ns}, q); err != nil {
		panic("kubesim: a quota of its own: " + err.Error())
	}
}

// countQuotas does the work of the controller that keeps the status of quotas.
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

// used returns how much exists of each resource that a quota limits. A resource that
// kubesim does not count is never used.
func (c *Cluster) used(ns string, hard corev1.ResourceList) corev1.ResourceList {
	sum := corev1.ResourceList{}
	for name := range hard {
		sum[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	for _, k := range []*kind{pods, claims} {
		for _, e := range c.table(k).sorted(ns) {
			for name, q := range counted(e.obj) {
				if _, limited := hard[name]; limited {
					add(sum, name, q)
				}
			}
		}
	}
	return sum
}

func add(sum corev1.ResourceList, name corev1.ResourceName, q resource.Quantity) {
	q = q.DeepCopy()
	q.Add(sum[name])
	sum[name] = q
}

// counted returns what a quota counts of an object: nothing of a pod that has ended. A real
// quota also counts the needs of init containers that exceed the needs of the others.
func counted(o object) corev1.ResourceList {
	one := *resource.NewQuantity(1, resource.DecimalSI)
	out := corev1.ResourceList{}
	switch o := o.(type) {
	case *corev1.Pod:
		if ended(o) {
			return nil
		}
		out[corev1.ResourcePods] = one
		for i := range o.Spec.Containers {
			countContainer(out, &o.Spec.Containers[i])
		}
		for i := range o.Spec.InitContainers {
			if isSidecar(&o.Spec.InitContainers[i]) {
				countContainer(out, &o.Spec.InitContainers[i])
			}
		}
	case *corev1.PersistentVolumeClaim:
		size := o.Spec.Resources.Requests[corev1.ResourceStorage]
		out[corev1.ResourcePersistentVolumeClaims], out[corev1.ResourceRequestsStorage] = one, size
		if class := o.Spec.StorageClassName; class != nil {
			const of = ".storageclass.storage.k8s.io/"
			out[corev1.ResourceName(*class+of+"persistentvolumeclaims")] = one
			out[corev1.ResourceName(*class+of+"requests.storage")] = size
		}
	}
	return out
}

func countContainer(sum corev1.ResourceList, ctr *corev1.Container) {
	for _, name := range computed {
		if q, says := of(ctr, name); says {
			add(sum, name, q)
		}
	}
}

// computed are the resources that each container has to state if a quota counts them.
var computed = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
}

// of returns how much a container states of a resource, by the name that quotas use.
func of(ctr *corev1.Container, name corev1.ResourceName) (q resource.Quantity, says bool) {
	if plain, is := strings.CutPrefix(string(name), "limits."); is {
		q, says = ctr.Resources.Limits[corev1.ResourceName(plain)]
		return q, says
	}
	q, says = ctr.Resources.Requests[corev1.ResourceName(strings.TrimPrefix(string(name), "requests."))]
	return q, says
}

// unsaid returns what a quota counts and containers of a pod do not state.
func unsaid(p *corev1.Pod, hard corev1.ResourceList) string {
	var gaps []string
	for _, name := range computed {
		if _, counts := hard[name]; !counts {
			continue
		}
		var silent []string
		for ctr := range containersOf(p) {
			if _, says := of(ctr, name); !says {
				silent = append(silent, ctr.Name)
			}
		}
		if slices.Sort(silent); len(silent) > 0 {
			gaps = append(gaps, fmt.Sprintf("%s for: %s", name, strings.Join(silent, ",")))
		}
	}
	return strings.Join(gaps, "; ")
}

// withinQuota rejects an object as the admission of quotas does.
func (c *Cluster) withinQuota(k *kind, o object) error {
	reject := func(why string) error {
		return &apierrors.StatusError{ErrStatus: *forbidden(k.plural, o.GetName(), why)}
	}
	needs := counted(o)
	for _, e := range c.table(quotas).sorted(o.GetNamespace()) {
		q := as[*corev1.ResourceQuota](e.obj)
		if p, ok := o.(*corev1.Pod); ok {
			if gaps := unsaid(p, q.Spec.Hard); gaps != "" {
				return reject(fmt.Sprintf("failed quota: %s: must specify %s", q.Name, gaps))
			}
		}
		used := c.used(q.Namespace, q.Spec.Hard)
		for _, name := range slices.Sorted(maps.Keys(needs)) {
			hard, limited := q.Spec.Hard[name]
			need, is := needs[name], used[name]
			sum := need.DeepCopy()
			if sum.Add(is); limited && sum.Cmp(hard) > 0 {
				return reject(fmt.Sprintf("exceeded quota: %[1]s, requested: %[2]s=%[3]s, used: %[2]s=%[4]s, limited: %[2]s=%[5]s",
					q.Name, name, need.String(), is.String(), hard.String()))
			}
		}
	}
	return nil
}
