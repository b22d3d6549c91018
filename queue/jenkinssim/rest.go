package jenkinssim

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
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

var permTitle = map[string]string{
	permRead: "Overall/Read", permCreate: "Agent/Create", permConnect: "Agent/Connect",
	permDisconnect: "Agent/Disconnect", permDelete: "Agent/Delete", permConfigure: "Agent/Configure", permAdminister: "Overall/Administer",
}

// reply is an answer before it is on the wire.
type reply struct {
	status int
	header http.Header
	body   []byte
}

var (
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errBroken  = errors.New("jenkinssim: connection broken")
)

// ServeHTTP answers as Jenkins does; a refused or broken connection is a
// dropped one.
func (j *Jenkins) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := j.answer(r.Context(), r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	header := j.dated(a.header)
	if _, set := w.Header()["Date"]; set { // by what stands in front of it
		header.Del("Date")
	}
	maps.Copy(w.Header(), header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// Transport carries requests to this Jenkins without a network and without a
// goroutine, so that it can be used in a testing/synctest bubble.
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

// dated adds the time of this Jenkins, as every answer of a real one has it.
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
			if header == nil {
				header = http.Header{}
			}
			return reply{status, header, body}, nil
		}
	}
	path, ours := j.segments(r.URL)
	if !ours {
		return container(r, http.StatusNotFound, "Not Found"), nil
	}
	before, after := j.latency(r, path)
	if before > 0 {
		if err := clock.Sleep(ctx, j.clk, before); err != nil {
			return reply{}, err
		}
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

// locked makes the answer up, and says how long it then takes to be given. Nothing in
// it waits.
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
		return reply{http.StatusServiceUnavailable, http.Header{"Content-Type": {contentHTML}}, []byte(pageLeaving)}, j.slow, nil
	case loading:
		return reply{http.StatusServiceUnavailable, http.Header{"Content-Type": {contentHTML}}, []byte(pageLoading)}, j.slow, nil
	case unauthorized:
		return j.wrongToken(r), j.slow, nil
	case up:
	}
	user, session, known := j.user(r)
	if !known {
		return j.wrongToken(r), 0, nil
	}
	v := &visit{j: j, r: r, user: user, path: path}
	if session && r.Method == http.MethodPost && !v.crumbed() {
		return v.problem(http.StatusForbidden, "No valid crumb was included in the request"), 0, nil
	}
	return j.route(v), 0, nil
}

// user reads the credentials: "" is nobody, known is false when they are wrong,
// session is true for who needs a crumb: all but the bearers of a token.
func (j *Jenkins) user(r *http.Request) (user string, session, known bool) {
	if r.Header.Get("Authorization") == "" {
		return "", true, true
	}
	u, secret, ok := r.BasicAuth()
	same := func(right string) bool { return subtle.ConstantTimeCompare([]byte(secret), []byte(right)) == 1 }
	session = j.cfg.Password != "" && same(j.cfg.Password)
	return u, session, ok && u == j.cfg.User && (session || same(j.cfg.Token))
}

// sessionCookie names the session that a crumb belongs to.
const sessionCookie = "JSESSIONID"

// crumbed reports whether the request has the crumb of its session.
func (v *visit) crumbed() bool {
	if v.j.cfg.NoCrumbs {
		return true
	}
	c, err := v.r.Cookie(sessionCookie)
	if err != nil {
		return false
	}
	crumb := v.r.Header.Get("Jenkins-Crumb")
	if crumb == "" {
		crumb = v.r.FormValue("Jenkins-Crumb")
	}
	return crumb == v.j.Secret("crumb "+v.j.session+c.Value)
}

// crumb issues one, and opens a session for it if there is none.
func (v *visit) crumb() reply {
	if v.j.cfg.NoCrumbs {
		return v.problem(http.StatusNotFound, "Not Found")
	}
	session, fresh := "", ""
	if c, err := v.r.Cookie(sessionCookie); err == nil {
		session = c.Value
	} else {
		session = fmt.Sprintf("node0%08x", v.j.rng.Uint32())
		fresh = sessionCookie + "=" + session + "; Path=/; HttpOnly"
	}
	a := v.json(func(w *page, t *pruner) {
		w.open("hudson.security.csrf.DefaultCrumbIssuer")
		w.propStr(t, "crumb", 1, v.j.Secret("crumb "+v.j.session+session))
		w.propStr(t, "crumbRequestField", 1, "Jenkins-Crumb")
		w.close()
	})
	if fresh != "" {
		a.header["Set-Cookie"] = []string{fresh}
	}
	return a
}

// segments is the path below the prefix; ours is false for any other path.
func (j *Jenkins) segments(u *url.URL) (path []string, ours bool) {
	below, ours := strings.CutPrefix(u.EscapedPath(), j.cfg.Prefix)
	if !ours || below != "" && j.cfg.Prefix != "" && below[0] != '/' {
		return nil, false
	}
	path = strings.Split(strings.Trim(below, "/"), "/")
	for i, s := range path {
		if strings.IndexByte(s, '%') < 0 {
			continue
		}
		if plain, err := url.PathUnescape(s); err == nil {
			path[i] = plain
		}
	}
	return path, true
}

const (
	contentJSON = "application/json;charset=utf-8"
	contentHTML = "text/html;charset=utf-8"
	pageLeaving = `<!DOCTYPE html><html lang="en"><head><title>Restarting Jenkins</title></head><body>Please wait while Jenkins is restarting</body></html>`
	pageLoading = `               <!DOCTYPE html><html lang="en"><head><title>Starting Jenkins</title></head><body>Please wait while Jenkins is getting ready to work</body></html>`
)

// visit is one request of somebody.
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

// container is an error page of the servlet container, which knows no Jenkins.
func container(r *http.Request, status int, message string) reply {
	return reply{
		status,
		http.Header{"Content-Type": {"text/html;charset=iso-8859-1"}, "Cache-Control": {"must-revalidate,no-cache,no-store"}},
		[]byte("<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=ISO-8859-1\"/>\n<title>Error " +
			strconv.Itoa(status) + " " + message + "</title>\n</head>\n<body><h2>HTTP ERROR " + strconv.Itoa(status) + " " + message +
			"</h2>\n<table>\n<tr><th>URI:</th><td>" + r.URL.EscapedPath() + "</td></tr>\n</table>\n</body>\n</html>\n"),
	}
}

func (j *Jenkins) wrongToken(r *http.Request) reply {
	a := container(r, http.StatusUnauthorized, "Unauthorized")
	a.header["Www-Authenticate"] = []string{`Basic realm="Jenkins", charset="UTF-8"`}
	return a
}

func (v *visit) redirect(to string) reply {
	return reply{http.StatusFound, http.Header{"Location": {v.j.cfg.Prefix + to}}, nil}
}

func (v *visit) json(write func(w *page, p *pruner)) reply {
	q := queryOf(v.r.URL.RawQuery)
	if q.err != nil {
		return v.problem(http.StatusInternalServerError, "Oops! "+q.err.Error())
	}
	w := &page{j: v.j, base: v.root(), tongue: tongueOf(v.r.Header.Get("Accept-Language"))}
	w.out = make([]byte, 0, 16<<10)
	write(w, q.pruner)
	return reply{http.StatusOK, v.j.headers(contentJSON), w.out}
}

// root is Jenkins' own URL, as the visitor knows it.
func (v *visit) root() string {
	host := v.r.Host
	if host == "" {
		host = v.r.URL.Host
	}
	return "http://" + host + v.j.cfg.Prefix + "/"
}

// query is what a query string asks of an export.
type query struct {
	pruner *pruner
	err    error
}

var queries sync.Map

func queryOf(raw string) query {
	if known, ok := queries.Load(raw); ok {
		if q, ok := known.(query); ok {
			return q
		}
	}
	var q query
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query{err: err}
	}
	if tree := values.Get("tree"); tree != "" {
		q.pruner, q.err = parseTree(tree)
	} else {
		depth := 0
		if d := values.Get("depth"); d != "" {
			depth, q.err = strconv.Atoi(d)
		}
		q.pruner = depthPruner(depth)
	}
	if len(raw) < maxCached {
		queries.Store(raw, q)
	}
	return q
}

// denied is the answer to somebody who lacks a permission.
func (v *visit) denied(permission string) (reply, bool) {
	if v.user != "" && !v.lacks(permission) {
		return reply{}, false
	}
	user := v.user
	if user == "" {
		user, permission = "anonymous", permRead
	} else if v.lacks(permRead) {
		permission = permRead
	}
	h := v.j.headers(contentHTML)
	h["X-Hudson"] = []string{"1.395"}
	h["X-You-Are-Authenticated-As"] = []string{user}
	h["X-Required-Permission"] = []string{permission}
	h["X-Permission-Implied-By"] = []string{"hudson.model.Hudson.Administer"}
	body := "<html><head><title>Error</title></head><body>" + user + " is missing the " + permTitle[permission] + " permission</body></html>"
	if v.user == "" {
		from := v.j.cfg.Prefix + "/login?from=" + url.QueryEscape(v.r.URL.RequestURI())
		body = "<html><head><meta http-equiv='refresh' content='1;url=" + from + "'/></head><body>\nAuthentication required\n</body></html>"
	}
	return reply{http.StatusForbidden, h, []byte(body)}, true
}

// lacks knows what implies what: who may disconnect may also connect.
func (v *visit) lacks(permission string) bool { return v.j.lacks(permission) }

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
