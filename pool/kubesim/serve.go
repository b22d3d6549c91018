package kubesim

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// A call is one request to a resource, taken apart.
type call struct {
	verb string
	kind *kind
	ns   string
	name string
	sub  string
	dry  bool

	table   bool   // answer with a table
	include string // what each row of the table has
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
	q, ok := parse(r)
	if !ok {
		c.serveOther(w, r)
		return
	}
	c.mu.Lock()
	c.requests[q.verb+" "+q.resource()]++
	refuse, lose := c.refuse, c.lose
	c.mu.Unlock()
	if refuse != nil {
		if st := refuse(r, q.verb, q.resource()); st != nil {
			fail(w, &apierrors.StatusError{ErrStatus: *st})
			return
		}
	}
	if lose != nil && lose(r, q.verb, q.resource()) {
		c.dispatch(httptest.NewRecorder(), r, q)
		panic(http.ErrAbortHandler)
	}
	c.dispatch(w, r, q)
}

func (c *Cluster) dispatch(w http.ResponseWriter, r *http.Request, q *call) {
	var body []byte
	var err error
	code := http.StatusOK
	switch q.verb {
	case "get":
		if q.sub == "log" {
			c.serveLog(w, r, q)
			return
		}
		body, err = c.get(q)
	case "list":
		body, err = c.list(q, r.URL.Query())
	case "watch":
		c.watch(w, r, q)
		return
	case "create":
		code = http.StatusCreated
		body, err = c.create(q, r)
	case "update":
		body, err = c.replace(q, r)
	case "patch":
		body, err = c.patch(q, r)
	case "delete":
		body, err = c.delete(q, r)
	default:
		err = apierrors.NewMethodNotSupported(q.kind.resource(), q.verb)
	}
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, code, body)
}

// parse takes the path of a resource apart. parse returns false for any other path.
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
	q := &call{}
	if parts[0] == "namespaces" && len(parts) > 2 {
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
	if q.sub != "" && (q.kind != pods || q.sub != "status" && q.sub != "log") {
		return nil, false
	}
	query := r.URL.Query()
	q.dry = query.Get("dryRun") == metav1.DryRunAll
	q.table, q.include = wantsTable(r), query.Get("includeObject")
	q.verb = verbOf(r.Method, q.name != "", isTrue(query.Get("watch")))
	return q, true
}

func verbOf(method string, one, watch bool) string {
	switch {
	case method == http.MethodGet && watch:
		return "watch"
	case method == http.MethodGet && one:
		return "get"
	case method == http.MethodGet:
		return "list"
	case method == http.MethodPost && !one:
		return "create"
	case method == http.MethodPut && one:
		return "update"
	}
	return strings.ToLower(method)
}

// serveOther answers requests that are for no resource: the version, what the server serves, and the question
// whether the client may do something. Here everybody may do everything.
func (c *Cluster) serveOther(w http.ResponseWriter, r *http.Request) {
	if found := discover(r.URL.Path); found != nil {
		replyJSON(w, http.StatusOK, found)
		return
	}
	switch r.URL.Path {
	case "/version":
		replyJSON(w, http.StatusOK, map[string]string{"major": "1", "minor": "36", "gitVersion": "v1.36.3"})
	case "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
		var review authorizationv1.SelfSubjectAccessReview
		if err := read(r.Body, &review); err != nil {
			fail(w, err)
			return
		}
		review.Kind, review.APIVersion = "SelfSubjectAccessReview", "authorization.k8s.io/v1"
		review.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true}
		replyJSON(w, http.StatusCreated, &review)
	default:
		fail(w, plainError(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource"))
	}
}

// decoder reads JSON and the protobuf that a typed client sends by default. Answers are
// always JSON, which every client reads.
var decoder = scheme.Codecs.UniversalDeserializer()

// read decodes a request's body into an object of the type that the body names.
func read(body io.Reader, into runtime.Object) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if len(b) == 0 {
		return nil
	}
	o, gvk, err := decoder.Decode(b, nil, into)
	switch {
	case err != nil:
		return apierrors.NewBadRequest(err.Error())
	case o != into:
		return apierrors.NewBadRequest("the object provided is unrecognized: a " + gvk.String())
	}
	into.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return nil
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
