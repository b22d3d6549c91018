package queue

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bellboard/scaler"

	"github.com/bndr/gojenkins"
)

// NewTransport returns the transport that a Client uses by default. roots are the certificate authorities
// that the transport trusts. Nil means the authorities of the system. The transport has a bound for its
// connections and sends one request at a time on each. More requests wait.
func NewTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout: 10 * time.Second,
		MaxConnsPerHost:     2 * maxInFlight,
		MaxIdleConns:        2 * maxInFlight,
		MaxIdleConnsPerHost: 2 * maxInFlight,
		IdleConnTimeout:     90 * time.Second,
		// Jenkins would compress every answer anew, twice a second. Most often the client runs close to
		// Jenkins, so that compression saves nothing.
		DisableCompression: true,
	}
}

// answer is the answer to one request. The recorder fills it, because gojenkins returns no response at all
// when an answer has Jenkins' header for an error.
type answer struct {
	status          int // 0 without an answer
	header          http.Header
	body            string
	asked, answered time.Time
	decode          func(*answer, io.Reader) error // as in request
	broken          error                          // why the document is not one of Jenkins'
}

type answerKey struct{}

// noDebug is the context that gojenkins gets. noDebug hides the key "debug". With that key gojenkins would
// dump answers and might end the process.
type noDebug struct{ context.Context }

func (s noDebug) Value(key any) any {
	if key == any("debug") {
		return nil
	}
	return s.Context.Value(key)
}

// recorder stands between gojenkins and the network. It asks for the language of the sentences that
// readSentence knows. It reads each answer, up to a bound.
type recorder struct{ next http.RoundTripper }

func (t *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.Contains(req.URL.Path, "/crumbIssuer/") {
		// An API token needs no crumb. A request for a crumb opens a session in Jenkins.
		return &http.Response{
			Status: "404 Not Found", StatusCode: http.StatusNotFound, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: req,
		}, nil
	}
	req = req.Clone(req.Context())
	req.Header.Set("Accept-Language", "en")
	req.Header.Set("User-Agent", "bellboard")
	res, err := t.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	a, ok := req.Context().Value(answerKey{}).(*answer)
	if !ok {
		return res, nil
	}
	a.status, a.header = res.StatusCode, res.Header.Clone()
	// An answer with this header would make gojenkins drop the answer and leave its body open.
	res.Header.Del("X-Error")
	if err := a.read(res); err != nil {
		return nil, err
	}
	res.Body = http.NoBody
	return res, nil
}

// read reads the body, because gojenkins would hold it in memory three times. read decodes a document while
// the document arrives, and keeps only its first words.
func (a *answer) read(res *http.Response) error {
	defer func() { _ = res.Body.Close() }()
	if a.decode == nil || a.status != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(res.Body, maxText))
		a.body = string(text)
		return err
	}
	in := bufio.NewReaderSize(res.Body, 64<<10)
	head, err := in.Peek(excerptBytes)
	if err != nil && err != io.EOF {
		return err
	}
	a.body = string(head)
	if a.broken = a.accept(); a.broken == nil {
		a.broken = a.decode(a, in)
	}
	if l, ok := errors.AsType[connError](a.broken); ok {
		return l.error
	}
	return nil
}

// request is one request to Jenkins.
type request struct {
	endpoint string
	method   string
	path     string // below the base, escaped
	suffix   string // gojenkins puts a slash before it
	query    map[string]string
	form     url.Values
	timeout  time.Duration
	deadline time.Time // latest time of sending; zero means none
	probe    bool      // a small question, which is sent even if Jenkins does not answer
	// decode, when set, reads the document of an answer with status 200.
	decode func(*answer, io.Reader) error
	// accept, when set, accepts an answer to a write that is no redirect to a page of Jenkins.
	accept func(*answer) bool
}

// ask sends a request once. If Jenkins rejects the token and a newer token is available, ask sends the
// request a second time: Jenkins has done nothing yet. No other request is repeated:
//
//   - Jenkins may have done a write although no answer came.
//   - The next tick repeats the questions of the loop. A repetition here would only make the answers of this
//     tick older.
//
// (Go's transport repeats a question if a kept connection turns out to be closed. It repeats a write then if
// nothing of the write was sent.)
//
// An error means that there was no complete answer. The caller judges the status.
func (c *Client) ask(ctx context.Context, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, max(c.c.Clock.Wall(r.timeout), leastTimeout))
	defer cancel()
	token, err := c.c.Token()
	if err != nil {
		return answer{}, fmt.Errorf("%w: reading the token of Jenkins user %s: %w", ErrNoToken, c.c.User, err)
	}
	a, err := c.send(ctx, r, token)
	if err != nil || a.status != http.StatusUnauthorized {
		return a, err
	}
	if c.c.Expire != nil {
		c.c.Expire()
	}
	if newer, err := c.c.Token(); err == nil && newer != token {
		return c.send(ctx, r, newer)
	}
	return a, nil
}

func (c *Client) send(ctx context.Context, r request, token string) (a answer, err error) {
	var payload io.Reader
	if r.method == http.MethodPost {
		payload = strings.NewReader(r.form.Encode())
	}
	ar := gojenkins.NewAPIRequest(r.method, r.path, payload)
	ar.Suffix = r.suffix
	if payload != nil {
		ar.SetHeader("Content-Type", "application/x-www-form-urlencoded")
	}
	requester := gojenkins.Requester{
		Base: c.base, Client: c.http,
		BasicAuth: &gojenkins.BasicAuth{Username: c.c.User, Password: token},
	}
	if err := c.breaker.allow(r.probe); err != nil {
		return a, err
	}
	ctx, release, err := c.withDeadline(ctx, r.deadline)
	if err != nil {
		return a, err
	}
	defer release()
	a.decode = r.decode
	a.asked = c.c.Clock.Now()
	err = c.call(context.WithValue(ctx, answerKey{}, &a), &requester, ar, r.query)
	a.answered = c.c.Clock.Now()
	code := strconv.Itoa(a.status)
	if err != nil {
		code = "error"
	}
	c.c.Observe(r.endpoint, code, a.answered.Sub(a.asked))
	c.breaker.record(a.status, err)
	c.pulse.met(&a)
	return a, err
}

// withDeadline checks the deadline for the last time. The returned context also ends with the deadline, as
// long as there is no connection yet. Connecting may take long, and the request would be sent after the
// deadline.
func (c *Client) withDeadline(ctx context.Context, deadline time.Time) (context.Context, func(), error) {
	if deadline.IsZero() {
		return ctx, func() {}, nil
	}
	left := deadline.Sub(c.c.Clock.Now())
	if left < 0 {
		return nil, nil, fmt.Errorf("%w: %s past the deadline", scaler.ErrLate, (-left).Round(time.Millisecond))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := func() bool { return true }
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			stop = c.c.Clock.AfterFunc(deadline.Sub(c.c.Clock.Now()), func() {
				cancel(fmt.Errorf("%w: no connection before the deadline", scaler.ErrLate))
			})
		},
		GotConn: func(httptrace.GotConnInfo) { stop() },
	})
	return ctx, func() { stop(); cancel(nil) }, nil
}

// call calls gojenkins. A panic in gojenkins becomes an error.
func (c *Client) call(ctx context.Context, rq *gojenkins.Requester, ar *gojenkins.APIRequest, query map[string]string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: gojenkins panicked: %v", ErrUnavailable, p)
		}
	}()
	var none string                                // the recorder has read the body
	_, err = rq.Do(noDebug{ctx}, ar, &none, query) //nolint:bodyclose,contextcheck // gojenkins has closed the body; noDebug is ctx
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); errors.Is(cause, scaler.ErrLate) {
		return cause
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok { // its text repeats the whole query
		err = wrapped.Err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
