package jenkinssim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"bellboard/scaler/clock"
)

// These are the permissions that Deny takes away and X-Required-Permission names.
const (
	permRead       = "hudson.model.Hudson.Read"
	permJobRead    = "hudson.model.Item.Read"
	permCreate     = "hudson.model.Computer.Create"
	permConnect    = "hudson.model.Computer.Connect"
	permDisconnect = "hudson.model.Computer.Disconnect"
	permDelete     = "hudson.model.Computer.Delete"
	permConfigure  = "hudson.model.Computer.Configure"
	permExtended   = "hudson.model.Computer.ExtendedRead"
	permAdminister = "hudson.model.Hudson.Administer" // never granted
)

// reply is an answer before Jenkins sends it.
type reply struct {
	status int
	header http.Header
	body   []byte
}

var (
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errBroken  = errors.New("jenkinssim: connection broken")
)

// ServeHTTP answers as Jenkins does. ServeHTTP drops a refused or broken connection.
func (j *Jenkins) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := j.answer(r.Context(), r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	header := j.dated(a.header)
	if _, set := w.Header()["Date"]; set { // by a proxy in front of this Jenkins
		header.Del("Date")
	}
	maps.Copy(w.Header(), header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// Transport carries requests to this Jenkins without a network and without a goroutine, so
// that it works inside a testing/synctest bubble.
func (j *Jenkins) Transport() http.RoundTripper { return transport{j} }

type transport struct{ j *Jenkins }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	in := r
	if r.Method != http.MethodGet {
		// A RoundTripper leaves its request as it was; parsing a form does not.
		in = r.Clone(r.Context())
		in.Body = r.Body
	}
	a, err := t.j.answer(r.Context(), in)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: strconv.Itoa(a.status) + " " + http.StatusText(a.status), StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: t.j.dated(a.header), Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)),
		Request: r,
	}, nil
}

// dated adds the time of this Jenkins, as every answer of a real Jenkins has it.
func (j *Jenkins) dated(h http.Header) http.Header {
	out := http.Header{"Date": {j.clk.Now().UTC().Format(http.TimeFormat)}}
	maps.Copy(out, h)
	return out
}

func (j *Jenkins) answer(ctx context.Context, r *http.Request) (reply, error) {
	j.enter()
	j.stats.Requests++
	fault, hung := j.fault, j.hung
	j.leave()
	if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
			return reply{}, ctx.Err()
		}
	}
	if fault != nil {
		if status, header, body, is := fault(r); is {
			if status <= 0 {
				return reply{}, errBroken
			}
			return reply{status, header, body}, nil
		}
	}
	path, ours := j.segments(r.URL)
	if !ours {
		return container(r, http.StatusNotFound, "Not Found"), nil
	}
	before, after := j.latency(r, path)
	if err := clock.Sleep(ctx, j.clk, before); err != nil {
		return reply{}, err
	}
	a, slow, err := j.locked(r, path)
	if err != nil {
		return reply{}, err
	}
	after += slow
	if after > 0 {
		if err := clock.Sleep(ctx, j.clk, after); err != nil {
			return reply{}, err
		}
		j.enter()
		gone := j.phase == down || j.closed
		j.leave()
		if gone {
			return reply{}, errBroken
		}
	}
	return a, nil
}

// locked makes the answer up, and returns how long Jenkins then takes to send it. locked
// never waits.
func (j *Jenkins) locked(r *http.Request, path []string) (a reply, slow time.Duration, err error) {
	j.enter()
	defer j.leave()
	if j.closed {
		return reply{}, 0, errRefused
	}
	switch j.phase {
	case down:
		return reply{}, 0, errRefused
	case leaving:
		return bare(http.StatusServiceUnavailable, contentHTML, pageLeaving), j.slow, nil
	case loading:
		return bare(http.StatusServiceUnavailable, contentHTML, pageLoading), j.slow, nil
	case unauthorized:
		return j.wrongToken(r), j.slow, nil
	case up:
	}
	user, known := j.user(r)
	if !known {
		return j.wrongToken(r), 0, nil
	}
	return (&visit{j: j, r: r, user: user, path: path}).route(), 0, nil
}

// user reads the credentials. "" is a request without a user. known is false if the
// credentials are wrong.
func (j *Jenkins) user(r *http.Request) (user string, known bool) {
	if r.Header.Get("Authorization") == "" {
		return "", true
	}
	user, token, ok := r.BasicAuth()
	return user, ok && user == j.cfg.User && token == j.cfg.Token
}

// segments returns the path below the prefix. ours is false for any other path.
func (j *Jenkins) segments(u *url.URL) (path []string, ours bool) {
	below, ours := strings.CutPrefix(u.EscapedPath(), j.cfg.Prefix)
	if !ours || below != "" && below[0] != '/' {
		return nil, false
	}
	path = strings.Split(strings.Trim(below, "/"), "/")
	for i, s := range path {
		path[i], _ = url.PathUnescape(s) // an escaped path is never wrong
	}
	return path, true
}

const (
	contentJSON = "application/json;charset=utf-8"
	contentHTML = "text/html;charset=utf-8"
	pageLeaving = `<!DOCTYPE html><html lang="en"><head><title>Restarting Jenkins</title></head><body>Please wait while Jenkins is restarting</body></html>`
	pageLoading = `               <!DOCTYPE html><html lang="en"><head><title>Starting Jenkins</title></head><body>Please wait while Jenkins is getting ready to work</body></html>`
)

// visit is one request of a user.
type visit struct {
	j    *Jenkins
	r    *http.Request
	user string
	path []string
}

func (j *Jenkins) headers(content string) http.Header {
	return http.Header{
		"Content-Type":           {content},
		"X-Jenkins":              {j.cfg.Version},
		"X-Jenkins-Session":      {j.session},
		"X-Content-Type-Options": {"nosniff"},
		"X-Frame-Options":        {"deny"},
	}
}

// problem is one of Jenkins' own HTML pages.
func (v *visit) problem(status int, title string) reply {
	h := v.j.headers(contentHTML)
	h["X-Hudson"] = []string{"1.395"}
	h["Cache-Control"] = []string{"no-cache,no-store,must-revalidate"}
	return reply{status, h, []byte("<!DOCTYPE html><html><head><title>" + title + " - Jenkins</title></head><body><h1>" + title + "</h1></body></html>")}
}

func (v *visit) failure(text string) reply {
	a := v.problem(http.StatusBadRequest, text)
	a.header["X-Error"] = []string{text}
	return a
}

// container is an error page of the servlet container.
func container(r *http.Request, status int, message string) reply {
	a := bare(status, "text/html;charset=iso-8859-1", fmt.Sprintf("<html>\n<head>\n<title>Error %[1]d %[2]s</title>\n</head>\n"+
		"<body><h2>HTTP ERROR %[1]d %[2]s</h2>\n%[3]s\n</body>\n</html>\n", status, message, html.EscapeString(r.URL.Path)))
	a.header["Cache-Control"] = []string{"must-revalidate,no-cache,no-store"}
	return a
}

func (j *Jenkins) wrongToken(r *http.Request) reply {
	a := container(r, http.StatusUnauthorized, "Unauthorized")
	a.header["Www-Authenticate"] = []string{`Basic realm="Jenkins", charset="UTF-8"`}
	return a
}

func (v *visit) redirect(to string) reply {
	return reply{http.StatusFound, http.Header{"Location": {v.j.cfg.Prefix + to}}, nil}
}

// json answers with what export makes, as far as the request wants it.
func (v *visit) json(export func(w *page) bean) reply {
	q := queryOf(v.r.URL.RawQuery)
	if q.err != nil {
		return v.problem(http.StatusInternalServerError, "Oops! "+q.err.Error())
	}
	w := writer{make([]byte, 0, 16<<10)}
	w.bean(q.pruner, export(&page{j: v.j, base: v.root(), tongue: tongueOf(v.r.Header.Get("Accept-Language"))}))
	return reply{http.StatusOK, v.j.headers(contentJSON), w.out}
}

// root is Jenkins' own URL, as the request has it.
func (v *visit) root() string {
	host := v.r.Host
	if host == "" {
		host = v.r.URL.Host
	}
	return "http://" + host + v.j.cfg.Prefix + "/"
}

// query is a query string, as an export reads it.
type query struct {
	pruner *pruner
	err    error
}

// queries caches parsed query strings: a client sends the same query every second.
var queries sync.Map

func queryOf(raw string) (q query) {
	if known, ok := queries.Load(raw); ok {
		return known.(query) //nolint:forcetypeassert // nothing else is stored
	}
	values, err := url.ParseQuery(raw)
	switch tree, depth := values.Get("tree"), values.Get("depth"); {
	case err != nil:
		q.err = err
	case tree != "":
		q.pruner, q.err = parseTree(tree)
	case depth != "":
		n, err := strconv.Atoi(depth)
		q = query{byDepth(n), err}
	default:
		q.pruner = byDepth(0)
	}
	queries.Store(raw, q)
	return q
}

// denied returns the answer to a user without the permission, and whether that is so.
func (v *visit) denied(permission string) (reply, bool) {
	if v.user != "" && !v.j.lacks(permission) {
		return reply{}, false
	}
	user := v.user
	if user == "" {
		user, permission = "anonymous", permRead
	} else if v.j.lacks(permRead) {
		permission = permRead
	}
	h := v.j.headers(contentHTML)
	h["X-Hudson"] = []string{"1.395"}
	h["X-You-Are-Authenticated-As"] = []string{user}
	h["X-Required-Permission"] = []string{permission}
	h["X-Permission-Implied-By"] = []string{"hudson.model.Hudson.Administer"}
	body := "<html><head><title>Error</title></head><body>" + user + " is missing the " + permission + " permission</body></html>"
	if v.user == "" {
		from := v.j.cfg.Prefix + "/login?from=" + url.QueryEscape(v.r.URL.RequestURI())
		body = "<html><head><meta http-equiv='refresh' content='1;url=" + from + "'/></head><body>\nAuthentication required\n</body></html>"
	}
	return reply{http.StatusForbidden, h, []byte(body)}, true
}

// lacks reports whether the account lacks a permission. The right to disconnect implies
// the right to connect.
func (j *Jenkins) lacks(permission string) bool {
	d := j.denied
	switch permission {
	case permConnect:
		return d[permRead] || d[permConnect] && d[permDisconnect]
	case permAdminister:
		return true
	}
	return d[permRead] || d[permission]
}
