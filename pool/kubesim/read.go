package kubesim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// A filter is what a list or a watch lets through.
type filter struct {
	kind   *kind
	ns     string
	labels labels.Selector
	fields fields.Selector
}

func newFilter(q *call, query url.Values) (*filter, error) {
	f := &filter{kind: q.kind, ns: q.ns}
	var err error
	if f.labels, err = labels.Parse(query.Get("labelSelector")); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if f.fields, err = fields.ParseSelector(query.Get("fieldSelector")); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	known := q.kind.fieldSet(q.kind.fresh())
	for _, req := range f.fields.Requirements() {
		if _, ok := known[req.Field]; !ok {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", req.Field))
		}
	}
	if q.name != "" { // a watch on one object's own path
		f.fields = fields.AndSelectors(f.fields, fields.OneTermEqualSelector("metadata.name", q.name))
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
	return f.fields.Empty() || f.fields.Matches(f.kind.fieldSet(o))
}

func (c *Cluster) get(q *call) (int, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.table(q.kind).items[q.ns+"/"+q.name]
	if e == nil {
		return 0, nil, apierrors.NewNotFound(q.kind.resource(), q.name)
	}
	return http.StatusOK, e.full(q.kind), nil
}

// position is where a limited list goes on.
type position struct {
	RV    uint64 `json:"rv"`
	Start string `json:"start"`
}

func (c *Cluster) list(q *call, query url.Values) (int, []byte, error) {
	f, err := newFilter(q, query)
	if err != nil {
		return 0, nil, err
	}
	limit, _ := strconv.Atoi(query.Get("limit"))
	var from position
	if s := query.Get("continue"); s != "" {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err == nil {
			err = json.Unmarshal(b, &from)
		}
		if err != nil {
			return 0, nil, apierrors.NewBadRequest("continue key is not valid")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.kind == quotas {
		c.countQuotas(q.ns)
	}
	if err := c.notTooNew(query.Get("resourceVersion")); err != nil {
		return 0, nil, err
	}
	rv, all := c.rv, c.table(q.kind).sorted(q.ns)
	if from.RV != 0 { // all pages are of the first one's time
		rv = from.RV
		var ok bool
		if all, ok = c.table(q.kind).before(q.ns, rv); !ok {
			return 0, nil, apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result.")
		}
	}
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatUint(rv, 10)}
	var items []byte
	n := 0
	for _, e := range all {
		if key(e.obj) < from.Start || !f.passes(e.obj) {
			continue
		}
		if limit > 0 && n == limit {
			b, _ := json.Marshal(position{RV: rv, Start: key(e.obj)})
			meta.Continue = base64.RawURLEncoding.EncodeToString(b)
			break
		}
		if n > 0 {
			items = append(items, ',')
		}
		items = append(items, e.json()...)
		n++
	}
	head, err := json.Marshal(meta)
	if err != nil {
		return 0, nil, err
	}
	out := make([]byte, 0, len(items)+len(head)+96)
	out = append(out, `{"kind":"`+q.kind.name+`List","apiVersion":"`+q.kind.apiVersion()+`","metadata":`...)
	out = append(out, head...)
	out = append(out, `,"items":[`...)
	out = append(out, items...)
	return http.StatusOK, append(out, `]}`...), nil
}

// notTooNew refuses a version that this cluster has not reached, which is what
// a client with a cache from another life of the cluster asks for.
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
