package kubesim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// A filter says which objects a list or a watch has.
type filter struct {
	ns     string
	labels labels.Selector
	fields fields.Selector
}

func newFilter(q *call, query url.Values) (*filter, error) {
	f := &filter{ns: q.ns}
	var err error
	if f.labels, err = labels.Parse(query.Get("labelSelector")); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if f.fields, err = fields.ParseSelector(query.Get("fieldSelector")); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	known := fieldSet(q.kind.fresh())
	for _, req := range f.fields.Requirements() {
		if _, ok := known[req.Field]; !ok {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", req.Field))
		}
	}
	return f, nil
}

func (f *filter) passes(o object) bool {
	if f.ns != "" && o.GetNamespace() != f.ns {
		return false
	}
	if !f.labels.Empty() && !f.labels.Matches(labels.Set(o.GetLabels())) {
		return false
	}
	return f.fields.Empty() || f.fields.Matches(fieldSet(o))
}

func (c *Cluster) get(q *call) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.table(q.kind).items[q.ns+"/"+q.name]
	if e == nil {
		return nil, apierrors.NewNotFound(q.kind.resource(), q.name)
	}
	if q.table {
		return c.asTable(q, metav1.ListMeta{ResourceVersion: e.obj.GetResourceVersion()}, e.obj), nil
	}
	return e.full(q.kind), nil
}

// continueAt is where a limited list goes on: a version and a key.
const continueAt = "%d:%s"

func (c *Cluster) list(q *call, query url.Values) ([]byte, error) {
	f, err := newFilter(q, query)
	if err != nil {
		return nil, err
	}
	limit, _ := strconv.Atoi(query.Get("limit"))
	var at uint64    // the version of all pages
	var start string // the first key of this page
	if s := query.Get("continue"); s != "" {
		if _, err := fmt.Sscanf(s, continueAt, &at, &start); err != nil {
			return nil, apierrors.NewBadRequest("continue key is not valid")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.kind == quotas {
		c.countQuotas(q.ns)
	}
	if err := c.notTooNew(query.Get("resourceVersion")); err != nil {
		return nil, err
	}
	rv, all := c.rv, c.table(q.kind).sorted(q.ns)
	if at != 0 {
		rv, all = at, c.table(q.kind).before(q.ns, at)
	}
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatUint(rv, 10)}
	var items []string
	var objects []object
	for _, e := range all {
		if key(e.obj) < start || !f.passes(e.obj) {
			continue
		}
		if limit > 0 && len(objects) == limit {
			meta.Continue = fmt.Sprintf(continueAt, rv, key(e.obj))
			break
		}
		if objects = append(objects, e.obj); !q.table {
			items = append(items, string(e.json()))
		}
	}
	if q.table {
		return c.asTable(q, meta, objects...), nil
	}
	head, err := json.Marshal(meta)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{"kind":"%sList","apiVersion":"%s","metadata":%s,"items":[%s]}`,
		q.kind.name, q.kind.gvk().GroupVersion(), head, strings.Join(items, ",")), nil
}

// notTooNew rejects a version that this cluster has not reached. A client with a cache
// from another life of the cluster asks for such a version.
func (c *Cluster) notTooNew(s string) error {
	if s == "" {
		return nil
	}
	rv, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return apierrors.NewBadRequest("invalid resource version: " + s)
	}
	if rv <= c.rv {
		return nil
	}
	tooNew := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", rv, c.rv), 1)
	tooNew.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return tooNew
}

// serveLog answers with the log of a container that has run.
func (c *Cluster) serveLog(w http.ResponseWriter, r *http.Request, q *call) {
	pod := c.Pod(q.ns, q.name)
	if pod == nil {
		fail(w, apierrors.NewNotFound(q.kind.resource(), q.name))
		return
	}
	name := r.URL.Query().Get("container")
	all := slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses)
	i := slices.IndexFunc(all, func(s corev1.ContainerStatus) bool { return s.Name == name })
	if i < 0 || all[i].State.Waiting != nil && all[i].LastTerminationState.Terminated == nil {
		fail(w, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start", name, pod.Name)))
		return
	}
	text := "container " + name + " of pod " + pod.Name + " has started\n"
	if c.cfg.Log != nil {
		text = c.cfg.Log(pod, name)
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, text)
}
