package kubesim

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// A garbage collector needs a moment to see that an owner is gone.
const collectAfter = time.Second

// collectOrphansOf deletes, soon, what the gone object owned.
func (c *Cluster) collectOrphansOf(uid types.UID) {
	for _, k := range kinds {
		if k.keep > 0 {
			continue // nobody owns events
		}
		t := c.table(k)
		for _, e := range t.matching(func(e *entry) bool { return owns(uid, e.obj) }) {
			c.collectLater(t, e)
		}
	}
}

func owns(uid types.UID, o object) bool {
	for _, ref := range o.GetOwnerReferences() {
		if ref.UID == uid {
			return true
		}
	}
	return false
}

// collectLater looks again after a while whether an object's owners live, and
// deletes it when none does. Owners of kinds not held here always live.
func (c *Cluster) collectLater(t *table, e *entry) {
	k, uid := key(e.obj), e.obj.GetUID()
	c.after(collectAfter, func() {
		e := t.items[k]
		if e == nil || e.obj.GetUID() != uid || e.obj.GetDeletionTimestamp() != nil {
			return
		}
		refs := e.obj.GetOwnerReferences()
		if len(refs) == 0 {
			return
		}
		for _, ref := range refs {
			ns, lives := c.uids[ref.UID]
			if ownerKind(ref) == nil || lives && ns == e.obj.GetNamespace() {
				return
			}
		}
		c.remove(t, e, nil, "garbage-collector")
	})
}
