package kubesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/kubernetes/scheme"
)

const userAgentPrefix = "kubesim-user/"

// A call is one request to a resource, taken apart.
type call struct {
	verb string
	kind *kind
	ns   string
	name string
	sub  string
	by   string
	dry  bool
}

func (q *call) resource() string {
	if q.sub != "" {
		return q.kind.plural + "/" + q.sub
	}
	return q.kind.plural
}

// ServeHTTP answers as an API server would.
func (c *Cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.unreachable() {
		panic(http.ErrAbortHandler)
	}
	if c.cfg.Token != "" && r.Header.Get("Authorization") != "Bearer "+c.cfg.Token {
		fail(w, apierrors.NewUnauthorized("Unauthorized"))
		return
	}
	if !acceptsJSON(r.Header.Get("Accept")) {
		fail(w, plainError(http.StatusNotAcceptable, metav1.StatusReasonNotAcceptable,
			"only the following media types are accepted: application/json"))
		return
	}
	q, ok := parse(r)
	if !ok {
		c.serveOther(w, r)
		return
	}
	what := q.verb + " " + q.resource()
	c.mu.Lock()
	c.stats.Requests[what]++
	refuse, lose := c.refuse, c.lose
	c.mu.Unlock()
	if refuse != nil {
		if st := refuse(r, q.verb, q.resource()); st != nil {
			fail(w, &apierrors.StatusError{ErrStatus: *st})
			return
		}
	}
	if lose != nil && lose(r, q.verb, q.resource()) {
		c.dispatch(&recorder{header: http.Header{}}, r, q)
		panic(http.ErrAbortHandler)
	}
	c.dispatch(w, r, q)
}

func (c *Cluster) dispatch(w http.ResponseWriter, r *http.Request, q *call) {
	var code int
	var body []byte
	var err error
	switch q.verb {
	case "get":
		if q.sub == "log" {
			c.serveLog(w, r, q)
			return
		}
		code, body, err = c.get(q)
	case "list":
		code, body, err = c.list(q, r.URL.Query())
	case "watch":
		c.watch(w, r, q)
		return
	case "create":
		code, body, err = c.create(q, r)
	case "update":
		code, body, err = c.replace(q, r)
	case "patch":
		code, body, err = c.patch(q, r)
	case "delete":
		code, body, err = c.delete(q, r)
	case "deletecollection":
		code, body, err = c.deleteCollection(q, r)
	default:
		err = apierrors.NewMethodNotSupported(q.kind.resource(), strings.ToLower(r.Method))
	}
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, code, body)
}

// parse takes a resource's path apart; false when it is not one.
func parse(r *http.Request) (*call, bool) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	var group, version string
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		group, version, parts = parts[1], parts[2], parts[3:]
	default:
		return nil, false
	}
	q := &call{by: Client}
	if parts[0] == "namespaces" {
		if len(parts) < 3 {
			return nil, false
		}
		q.ns, parts = parts[1], parts[2:]
	}
	if q.kind = kindOf(group, version, parts[0]); q.kind == nil || len(parts) > 3 {
		return nil, false
	}
	if len(parts) > 1 {
		q.name = parts[1]
	}
	if len(parts) > 2 {
		q.sub = parts[2]
	}
	if q.name != "" && q.ns == "" {
		return nil, false
	}
	switch {
	case q.sub == "":
	case q.sub == "status" && q.kind.status != nil:
	case q.kind == pods && (q.sub == "log" || q.sub == "eviction"):
	default:
		return nil, false
	}
	query := r.URL.Query()
	q.dry = query.Get("dryRun") == metav1.DryRunAll
	if who, ok := strings.CutPrefix(r.UserAgent(), userAgentPrefix); ok {
		q.by, _, _ = strings.Cut(who, " ")
	}
	q.verb = verbOf(r.Method, q, isTrue(query.Get("watch")))
	return q, true
}

func verbOf(method string, q *call, watch bool) string {
	one := q.name != ""
	switch {
	case method == http.MethodGet && watch && q.sub == "":
		return "watch"
	case method == http.MethodGet && one:
		return "get"
	case method == http.MethodGet:
		return "list"
	case method == http.MethodPost && (!one || q.sub == "eviction") && q.ns != "":
		return "create"
	case method == http.MethodPut && one && q.sub != "log" && q.sub != "eviction":
		return "update"
	case method == http.MethodPatch && one && q.sub != "log" && q.sub != "eviction":
		return "patch"
	case method == http.MethodDelete && one && q.sub == "":
		return "delete"
	case method == http.MethodDelete && !one && q.ns != "":
		return "deletecollection"
	}
	return strings.ToLower(method)
}

// serveOther answers what is not a resource held here: health, version,
// discovery and the question what one may do.
func (c *Cluster) serveOther(w http.ResponseWriter, r *http.Request) {
	switch path := strings.TrimRight(r.URL.Path, "/"); path {
	case "/healthz", "/livez", "/readyz":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok")
	case "/version":
		replyJSON(w, http.StatusOK, map[string]string{
			"major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "kubesim", "gitTreeState": "clean",
			"buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.26", "compiler": "gc", "platform": "linux/amd64",
		})
	case "/api":
		replyJSON(w, http.StatusOK, metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
		})
	case "/apis":
		list := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for _, g := range []string{leases.group, events.group} {
			gv := metav1.GroupVersionForDiscovery{GroupVersion: g + "/v1", Version: "v1"}
			list.Groups = append(list.Groups, metav1.APIGroup{Name: g, Versions: []metav1.GroupVersionForDiscovery{gv}, PreferredVersion: gv})
		}
		replyJSON(w, http.StatusOK, list)
	case "/api/v1", "/apis/" + leases.group + "/v1", "/apis/" + events.group + "/v1":
		replyJSON(w, http.StatusOK, resourcesOf(strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/")))
	case "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
		c.serveReview(w, r)
	default:
		fail(w, plainError(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource"))
	}
}

// serveReview: here everybody may do everything.
func (c *Cluster) serveReview(w http.ResponseWriter, r *http.Request) {
	var review authorizationv1.SelfSubjectAccessReview
	err := readInto(r, &review)
	if r.Method != http.MethodPost || err != nil {
		fail(w, apierrors.NewBadRequest("a SelfSubjectAccessReview was expected"))
		return
	}
	review.Kind, review.APIVersion = "SelfSubjectAccessReview", "authorization.k8s.io/v1"
	review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true}
	replyJSON(w, http.StatusCreated, &review)
}

func resourcesOf(gv string) *metav1.APIResourceList {
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv}
	for _, k := range kinds {
		if k.apiVersion() != gv {
			continue
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: k.plural, SingularName: k.single, Namespaced: true, Kind: k.name, ShortNames: k.short,
			Verbs: metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
		})
		if k.status != nil {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: k.plural + "/status", Namespaced: true, Kind: k.name, Verbs: metav1.Verbs{"get", "patch", "update"},
			})
		}
	}
	return list
}

// binary reads what a typed client sends unless it is told to send JSON.
// Answers are JSON always, which every client understands.
var binary = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)

const protobufType = "application/vnd.kubernetes.protobuf"

// readBody reads a request's object of the call's kind.
func readBody(q *call, r *http.Request) (object, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	switch t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t {
	case "", "application/json":
		return decode(q.kind, b)
	case protobufType:
		o := q.kind.fresh()
		if err := readBinary(b, o); err != nil {
			return nil, err
		}
		return named(q.kind, o)
	}
	return nil, plainError(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		"the body of the request was in an unknown format - accepted media types include: application/json, "+protobufType)
}

// readInto reads a request's body that is not an object to store.
func readInto(r *http.Request, into runtime.Object) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if len(b) == 0 {
		return nil
	}
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t == protobufType {
		return readBinary(b, into)
	}
	if err := kjson.Unmarshal(b, into); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

func readBinary(b []byte, into runtime.Object) error {
	if _, _, err := binary.Decode(b, nil, into); err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

func decode(k *kind, b []byte) (object, error) {
	o := k.fresh()
	if err := kjson.Unmarshal(b, o); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", k.name, k.version, k.name, err))
	}
	return named(k, o)
}

// named checks that an object says to be what its path says it is.
func named(k *kind, o object) (object, error) {
	gvk := o.GetObjectKind().GroupVersionKind()
	if !gvk.Empty() && gvk != k.gvk() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf(
			"the API version in the data (%s) does not match the expected API version (%s)", gvk.GroupVersion(), k.apiVersion()))
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return o, nil
}

func acceptsJSON(accept string) bool {
	if accept == "" {
		return true
	}
	for part := range strings.SplitSeq(accept, ",") {
		t, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		if t == "application/json" || t == "*/*" || t == "application/*" || strings.HasPrefix(t, "text/") {
			return true
		}
	}
	return false
}

func isTrue(s string) bool { b, _ := strconv.ParseBool(s); return b }

func reply(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

func replyJSON(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fail(w, apierrors.NewInternalError(err))
		return
	}
	reply(w, code, b)
}

// fail answers with the Status of an error.
func fail(w http.ResponseWriter, err error) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	st := status.Status()
	st.Kind, st.APIVersion = "Status", "v1"
	if st.Status == "" {
		st.Status = metav1.StatusFailure
	}
	if st.Code == 0 {
		st.Code = http.StatusInternalServerError
	}
	if st.Details != nil && st.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(st.Details.RetryAfterSeconds)))
	}
	replyJSON(w, int(st.Code), &st)
}

func plainError(code int32, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message,
		Details: &metav1.StatusDetails{},
	}}
}
